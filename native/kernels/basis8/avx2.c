/* AVX2: vpmaddubsw adds the products of a pair of taps into 16 bits, vpmaddwd the two pairs into 32 bits.
 *
 * vpmaddubsw saturates: the products of a pair sum to less than 2^15 (lutkan/kernels.h). */
#include "basis8.h"

#if defined(__AVX2__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE void tile(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t units, size_t first, size_t last,
                 size_t groups, size_t n, size_t o, int32_t *acc, const int count, const int vectors) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[4][4];
#pragma GCC unroll 4
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v)
            sum[r][v] = _mm256_loadu_si256((const __m256i *)(acc + (size_t)r * n + o + 8 * (size_t)v));
    for (size_t u = first; u < last; ++u) {
        for (size_t g = 0; g < groups; ++g) {
#pragma GCC unroll 4
            for (int r = 0; r < count; ++r) {
                const size_t at = (size_t)r * units + u;
                const int8_t *q = packed + (size_t)off[at] * 64 + (g * n + o) * 4;
                const __m256i weight = _mm256_set1_epi32((int)w[at * groups + g]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v) {
                    const __m256i pairs =
                        _mm256_maddubs_epi16(weight, _mm256_loadu_si256((const __m256i *)(q + 32 * (size_t)v)));
                    sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v)
            _mm256_storeu_si256((__m256i *)(acc + (size_t)r * n + o + 8 * (size_t)v), sum[r][v]);
}

INLINE void column(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                   size_t groups, size_t n, size_t o, int32_t *acc, const int count, const int vectors) {
    for (size_t first = 0; first < units; first += LK_UNIT_BLOCK) {
        const size_t last = first + LK_UNIT_BLOCK < units ? first + LK_UNIT_BLOCK : units;
        size_t r = 0;
        for (; r + (size_t)count <= rows; r += (size_t)count)
            tile(packed, off + r * units, w + r * units * groups, units, first, last, groups, n, o, acc + r * n, count,
                 vectors);
        for (; r < rows; ++r)
            tile(packed, off + r * units, w + r * units * groups, units, first, last, groups, n, o, acc + r * n, 1,
                 vectors);
    }
}

void lk_basis8_avx2(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                    size_t groups, size_t n, int32_t *acc) {
    size_t o = 0;
    for (; o + 32 <= n; o += 32) column(packed, off, w, rows, units, groups, n, o, acc, 2, 4);
    for (; o < n; o += 16) column(packed, off, w, rows, units, groups, n, o, acc, 4, 2);
}

void lk_finish8_avx2(const int32_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; o += 8) {
        const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(acc + o))),
                                           _mm256_loadu_ps(scale + o));
        _mm256_storeu_ps(sums + o, _mm256_add_ps(_mm256_loadu_ps(sums + o), value));
    }
}

#endif
