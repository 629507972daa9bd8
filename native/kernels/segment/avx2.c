/* AVX2: eight outputs a vector. */
#include "segment.h"

#if defined(__AVX2__)
#include "vectors/avx2.h"

#define TILE 8

#define vint8(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
#define vuint8(p) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p))))

#include "vector.h"

#endif
