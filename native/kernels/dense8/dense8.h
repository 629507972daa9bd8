/* The integer sums of a batch as one dense product; the contract stands in lutkan/kernels.h. */
#ifndef LUTKAN_DENSE8_H
#define LUTKAN_DENSE8_H

#include "encode/encode.h"

#include <string.h>

#define LK_DECLARE_DENSE8(isa)                                                                                       \
    void lk_spread8_##isa(const uint32_t *s, const uint32_t *w, size_t inputs, size_t groups, uint32_t shift,        \
                          uint32_t depth, uint8_t *to);                                                              \
    void lk_dense8_##isa(const uint8_t *rows_, size_t stride, const int8_t *tiles, size_t rows, size_t n_tiles,      \
                         size_t n, int32_t *acc);                                                                    \
    void lk_encode_dense_##isa(const lk_positions *at, const uint64_t *bytes, const float *x, uint8_t *to, size_t n); \
    void lk_encode_bytes_##isa(const lk_positions *at, const float *x, size_t width, uint8_t *to, size_t n)

LK_DECLARE_DENSE8(serial);
LK_DECLARE_DENSE8(amx);

/* One row, any depth. A store of four bytes may run over the end of an input; the next input is written after it, and
 * behind the last one there are three bytes to spare. */
static inline void lk_spread_any(const uint32_t *s, const uint32_t *w, size_t inputs, size_t groups, uint32_t shift,
                                 uint32_t depth, uint8_t *to) {
    if (groups > 1) {
        memcpy(to, w, inputs * groups * sizeof(uint32_t));
        return;
    }
    memset(to, 0, inputs * depth);
    for (size_t i = 0; i < inputs; ++i) {
        uint32_t word = w[i], at = s[i];
        if (at < shift) {
            word = shift - at < 4u ? word >> (8u * (shift - at)) : 0u;
            at = shift;
        }
        at -= shift;
        if (at >= depth) continue;
        if (at + 4u > depth) word &= (1u << (8u * (depth - at))) - 1u;
        memcpy(to + i * depth + at, &word, sizeof word);
    }
}

static inline void lk_encode_bytes_one(const lk_positions *at, const float *x, size_t width, uint8_t *to, size_t i) {
    const uint32_t w = at->weights[i * at->stride + lk_position_one(at, x, i)];
    to[width * i] = (uint8_t)w;
    if (width == 2) to[2 * i + 1] = (uint8_t)(w >> 8);
}

#endif
