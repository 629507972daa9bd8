/* The family for any vector width: an instruction set includes this after vectors/<isa>.h, and after defining
 *
 * TILE                 vectors of sums held in registers while all hits pass; TILE / 2 where fewer outputs are left, then
 *                      LK_PAD
 * vint8(p), vuint8(p)  WIDTH codes as floats
 *
 * Tiles of outputs are the outer loop and hits the inner one: every sum still takes hit after hit. */
#include "segment.h"
#include "vectors/functions.h"

/* Which samples a hit needs is only known from the inputs, so they are called for so many hits ahead. */
#define AHEAD 6

INLINE vec codes(const void *row, size_t o, const int is_unsigned) {
    return is_unsigned ? vuint8((const uint8_t *)row + o) : vint8((const int8_t *)row + o);
}

/* Outputs o .. o + count * WIDTH - 1. */
INLINE void tile(const lk_hits *hits, size_t n_hits, const int is_unsigned, const int nearest, float *sums, size_t n,
                 size_t o, const int count) {
    vec sum[TILE];
#pragma GCC unroll 8
    for (int v = 0; v < count; ++v) sum[v] = vload(sums + o + WIDTH * (size_t)v);
    for (size_t h = 0; h < n_hits; ++h) {
        const char *q0 = (const char *)hits->q + lk_left(hits, h) * n;
        const char *q1 = (const char *)hits->q + lk_right(hits, h) * n;
        const size_t segment = hits->segment[h] * n;
        if (h + AHEAD < n_hits) {
            const char *next = (const char *)hits->q + o, *l = next + lk_left(hits, h + AHEAD) * n;
            const char *r = next + lk_right(hits, h + AHEAD) * n;
            for (size_t byte = 0; byte < WIDTH * (size_t)count; byte += 64) {
                __builtin_prefetch(l + byte);
                __builtin_prefetch(r + byte);
            }
        }
        if (nearest && !(hits->w[h] < 0.5f)) q0 = q1;
        const vec w = vset(hits->w[h]);
#pragma GCC unroll 8
        for (int v = 0; v < count; ++v) {
            const size_t at = o + WIDTH * (size_t)v;
            vec value = codes(q0, at, is_unsigned);
            if (!nearest) value = vadd(value, vmul(w, vsub(codes(q1, at, is_unsigned), value)));
            value = vmul(vload(hits->scale + segment + at), value);
            if (is_unsigned) value = vadd(vload(hits->offset + segment + at), value);
            sum[v] = vadd(sum[v], value);
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < count; ++v) vstore(sums + o + WIDTH * (size_t)v, sum[v]);
}

INLINE void tiles(const lk_hits *hits, size_t n_hits, const int is_unsigned, const int nearest, float *sums, size_t n) {
    const size_t most = TILE * WIDTH, half = most / 2;
    size_t o = 0;
    for (; o + most <= n; o += most) tile(hits, n_hits, is_unsigned, nearest, sums, n, o, TILE);
    for (; o + half <= n; o += half) tile(hits, n_hits, is_unsigned, nearest, sums, n, o, TILE / 2);
    for (; o + half / 2 <= n; o += half / 2) tile(hits, n_hits, is_unsigned, nearest, sums, n, o, TILE / 4);
    for (; o < n; o += LK_PAD) tile(hits, n_hits, is_unsigned, nearest, sums, n, o, LK_PAD / WIDTH);
}

void ISA(segment)(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n) {
    if (is_unsigned)
        tiles(hits, n_hits, 1, 0, sums, n);
    else
        tiles(hits, n_hits, 0, 0, sums, n);
}

void ISA(segment_nearest)(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n) {
    if (is_unsigned)
        tiles(hits, n_hits, 1, 1, sums, n);
    else
        tiles(hits, n_hits, 0, 1, sums, n);
}
