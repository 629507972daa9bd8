/* AVX2: vpmaddwd does a pair of taps of 8 outputs; int32 partial sums go into int64 every `flush` units. */
#include "basis16.h"

#if defined(__AVX2__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE void widen(int64_t *acc, __m256i sum) {
    __m256i *at = (__m256i *)acc;
    const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(sum));
    const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(sum, 1));
    _mm256_storeu_si256(at, _mm256_add_epi64(_mm256_loadu_si256(at), low));
    _mm256_storeu_si256(at + 1, _mm256_add_epi64(_mm256_loadu_si256(at + 1), high));
}

INLINE void tile(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t units, size_t first, size_t last,
                 size_t groups, size_t n, size_t o, int64_t *acc, const int vectors) {
    __m256i sum[4];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[v] = _mm256_setzero_si256();
    for (size_t u = first; u < last; ++u) {
        for (size_t g = 0; g < 2 * groups; ++g) {
            const int16_t *q = packed + (size_t)off[u] * 32 + (g * n + o) * 2;
            const __m256i weight = _mm256_set1_epi32((int)w[u * 2 * groups + g]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v)
                sum[v] = _mm256_add_epi32(
                    sum[v], _mm256_madd_epi16(weight, _mm256_loadu_si256((const __m256i *)(q + 16 * (size_t)v))));
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) widen(acc + o + 8 * (size_t)v, sum[v]);
    (void)units;
}

INLINE void column(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                   size_t groups, size_t n, size_t o, size_t flush, int64_t *acc, const int vectors) {
    for (size_t first = 0; first < units; first += flush) {
        const size_t last = first + flush < units ? first + flush : units;
        for (size_t r = 0; r < rows; ++r)
            tile(packed, off + r * units, w + r * units * 2 * groups, units, first, last, groups, n, o, acc + r * n,
                 vectors);
    }
}

void lk_basis16_avx2(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                     size_t groups, size_t n, size_t flush, int64_t *acc) {
    size_t o = 0;
    for (; o + 32 <= n; o += 32) column(packed, off, w, rows, units, groups, n, o, flush, acc, 4);
    for (; o < n; o += 16) column(packed, off, w, rows, units, groups, n, o, flush, acc, 2);
}

void lk_finish16_avx2(const int64_t *acc, const float *scale, float *sums, size_t n) {
    /* AVX2 has no conversion from int64; once an output, the scalar one does. */
    for (size_t o = 0; o < n; ++o) {
        const float value = (float)acc[o] * scale[o];
        sums[o] = sums[o] + value;
    }
}

#endif
