/* AVX2: eight floats, masked tails. What the macros are stands in functions.h. */
#ifndef LUTKAN_VECTORS_AVX2_H
#define LUTKAN_VECTORS_AVX2_H

#include <immintrin.h>

#define ISA(name) lk_##name##_avx2
#define WIDTH 8
typedef __m256 vec;
typedef __m256i words;
typedef __m256 mask;

static inline __attribute__((always_inline)) __m256i first(size_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#define vset(a) _mm256_set1_ps(a)
#define vload(p) _mm256_loadu_ps(p)
#define vstore(p, v) _mm256_storeu_ps(p, v)
#define vload_part(p, count) _mm256_maskload_ps(p, first(count))
#define vstore_part(p, v, count) _mm256_maskstore_ps(p, first(count), v)
#define vkeep(v, count) _mm256_and_ps(_mm256_castsi256_ps(first(count)), v)

#define vadd(a, b) _mm256_add_ps(a, b)
#define vsub(a, b) _mm256_sub_ps(a, b)
#define vmul(a, b) _mm256_mul_ps(a, b)
#define vdiv(a, b) _mm256_div_ps(a, b)
#define vsqrt(a) _mm256_sqrt_ps(a)
#define vmax(a, b) _mm256_max_ps(a, b)
#define vmin(a, b) _mm256_min_ps(a, b)

#define vlt(a, b) _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define vle(a, b) _mm256_cmp_ps(a, b, _CMP_LE_OQ)
#define vnan(a) _mm256_cmp_ps(a, a, _CMP_UNORD_Q)
#define vselect(m, a, b) _mm256_blendv_ps(b, a, m)
#define mnone _mm256_setzero_ps()
#define mor(a, b) _mm256_or_ps(a, b)
#define many(m) (_mm256_movemask_ps(m) != 0)

#define vbits(v) _mm256_castps_si256(v)
#define vfrom(w) _mm256_castsi256_ps(w)
#define wset(u) _mm256_set1_epi32((int)(u))
#define wand(a, b) _mm256_and_si256(a, b)
#define wor(a, b) _mm256_or_si256(a, b)
#define wadd(a, b) _mm256_add_epi32(a, b)
#define wshift(w, by) _mm256_slli_epi32(w, by)
#define wright(w, by) _mm256_srli_epi32(w, by)

#endif
