/* AVX-512: sixteen outputs a vector. */
#include "segment.h"

#if defined(__AVX512F__)
#include "vectors/avx512vnni.h"

#define TILE 8

#define vint8(p) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(p))))
#define vuint8(p) _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(p))))

#include "vector.h"

#endif
