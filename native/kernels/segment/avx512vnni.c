/* AVX-512: sixteen outputs a vector. */
#include "segment.h"

#if defined(__AVX512F__)
#include <immintrin.h>

#define ISA(name) lk_##name##_avx512vnni
#define WIDTH 16
#define TILE 8
typedef __m512 vec;

#define vset(a) _mm512_set1_ps(a)
#define vload(p) _mm512_loadu_ps(p)
#define vstore(p, v) _mm512_storeu_ps(p, v)
#define vadd(a, b) _mm512_add_ps(a, b)
#define vsub(a, b) _mm512_sub_ps(a, b)
#define vmul(a, b) _mm512_mul_ps(a, b)
#define vint8(p) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(p))))
#define vuint8(p) _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(p))))

#include "vector.h"

#endif
