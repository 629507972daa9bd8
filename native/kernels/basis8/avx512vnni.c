/* AVX-512 VNNI: one vpdpbusd does all four taps of 16 outputs.
 *
 * A tile is `vectors` registers of outputs times `count` rows of accumulators; 8 to 16 independent chains hide the
 * latency of vpdpbusd. Integer sums do not depend on their order, so blocking changes nothing. */
#include "basis8.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* `count` rows from `off`, `w`, `acc` on, units [first, last), outputs of `vectors` registers from `o` on. */
INLINE void tile(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t units, size_t first, size_t last,
                 size_t groups, size_t n, size_t o, int32_t *acc, const int count, const int vectors) {
    __m512i sum[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[r][v] = _mm512_loadu_si512(acc + (size_t)r * n + o + 16 * (size_t)v);
    for (size_t u = first; u < last; ++u) {
        for (size_t g = 0; g < groups; ++g) {
#pragma GCC unroll 8
            for (int r = 0; r < count; ++r) {
                const size_t at = (size_t)r * units + u;
                const int8_t *q = packed + (size_t)off[at] * 64 + (g * n + o) * 4;
                const __m512i weight = _mm512_set1_epi32((int)w[at * groups + g]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v)
                    sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], weight, _mm512_loadu_si512(q + 64 * (size_t)v));
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) _mm512_storeu_si512(acc + (size_t)r * n + o + 16 * (size_t)v, sum[r][v]);
}

/* All rows of one output tile, in blocks of units. */
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

void lk_basis8_avx512vnni(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                          size_t groups, size_t n, int32_t *acc) {
    size_t o = 0;
    for (; o + 64 <= n; o += 64) column(packed, off, w, rows, units, groups, n, o, acc, 4, 4);
    for (; o + 32 <= n; o += 32) column(packed, off, w, rows, units, groups, n, o, acc, 4, 2);
    for (; o < n; o += 16) column(packed, off, w, rows, units, groups, n, o, acc, 8, 1);
}

void lk_finish8_avx512vnni(const int32_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; o += 16) {
        const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(acc + o)), _mm512_loadu_ps(scale + o));
        _mm512_storeu_ps(sums + o, _mm512_add_ps(_mm512_loadu_ps(sums + o), value));
    }
}

#endif
