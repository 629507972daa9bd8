/* AVX-512 VNNI: one vpdpwssd does a pair of taps of 16 outputs; int32 partial sums go into int64 every `flush` units. */
#include "basis16.h"

#if defined(__AVX512VNNI__) && defined(__AVX512DQ__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE void widen(int64_t *acc, __m512i sum) {
    const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum));
    const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(sum, 1));
    _mm512_storeu_si512(acc, _mm512_add_epi64(_mm512_loadu_si512(acc), low));
    _mm512_storeu_si512(acc + 8, _mm512_add_epi64(_mm512_loadu_si512(acc + 8), high));
}

INLINE void tile(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t units, size_t first, size_t last,
                 size_t groups, size_t n, size_t o, int64_t *acc, const int count, const int vectors) {
    __m512i sum[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[r][v] = _mm512_setzero_si512();
    for (size_t u = first; u < last; ++u) {
        for (size_t g = 0; g < 2 * groups; ++g) {
#pragma GCC unroll 8
            for (int r = 0; r < count; ++r) {
                const size_t at = (size_t)r * units + u;
                const int16_t *q = packed + (size_t)off[at] * 32 + (g * n + o) * 2;
                const __m512i weight = _mm512_set1_epi32((int)w[at * 2 * groups + g]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v)
                    sum[r][v] = _mm512_dpwssd_epi32(sum[r][v], weight, _mm512_loadu_si512(q + 32 * (size_t)v));
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) widen(acc + (size_t)r * n + o + 16 * (size_t)v, sum[r][v]);
}

INLINE void column(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                   size_t groups, size_t n, size_t o, size_t flush, int64_t *acc, const int count, const int vectors) {
    for (size_t first = 0; first < units; first += flush) {
        const size_t last = first + flush < units ? first + flush : units;
        size_t r = 0;
        for (; r + (size_t)count <= rows; r += (size_t)count)
            tile(packed, off + r * units, w + r * units * 2 * groups, units, first, last, groups, n, o, acc + r * n,
                 count, vectors);
        for (; r < rows; ++r)
            tile(packed, off + r * units, w + r * units * 2 * groups, units, first, last, groups, n, o, acc + r * n, 1,
                 vectors);
    }
}

void lk_basis16_avx512vnni(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                           size_t groups, size_t n, size_t flush, int64_t *acc) {
    size_t o = 0;
    for (; o + 64 <= n; o += 64) column(packed, off, w, rows, units, groups, n, o, flush, acc, 2, 4);
    for (; o + 32 <= n; o += 32) column(packed, off, w, rows, units, groups, n, o, flush, acc, 4, 2);
    for (; o < n; o += 16) column(packed, off, w, rows, units, groups, n, o, flush, acc, 8, 1);
}

void lk_finish16_avx512vnni(const int64_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; o += 8) {
        const __m256 value = _mm256_mul_ps(_mm512_cvtepi64_ps(_mm512_loadu_si512(acc + o)), _mm256_loadu_ps(scale + o));
        _mm256_storeu_ps(sums + o, _mm256_add_ps(_mm256_loadu_ps(sums + o), value));
    }
}

#endif
