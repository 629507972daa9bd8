/* AVX2: eight outputs a vector. */
#include "segment.h"

#if defined(__AVX2__)
#include <immintrin.h>

#define ISA(name) lk_##name##_avx2
#define WIDTH 8
#define TILE 8
typedef __m256 vec;

#define vset(a) _mm256_set1_ps(a)
#define vload(p) _mm256_loadu_ps(p)
#define vstore(p, v) _mm256_storeu_ps(p, v)
#define vadd(a, b) _mm256_add_ps(a, b)
#define vsub(a, b) _mm256_sub_ps(a, b)
#define vmul(a, b) _mm256_mul_ps(a, b)
#define vint8(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
#define vuint8(p) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p))))

#include "vector.h"

#endif
