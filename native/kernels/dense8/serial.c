/* The reference of the family. */
#include "dense8.h"

void lk_spread8_serial(const uint32_t *s, const uint32_t *w, size_t inputs, size_t groups, uint32_t shift,
                       uint32_t depth, uint8_t *to) {
    lk_spread_any(s, w, inputs, groups, shift, depth, to);
}

void lk_dense8_serial(const uint8_t *rows_, size_t stride, const int8_t *tiles, size_t rows, size_t n_tiles, size_t n,
                      int32_t *acc) {
    for (size_t r = 0; r < rows; ++r)
        for (size_t o = 0; o < n; ++o)
            for (size_t k = 0; k < 64 * n_tiles; ++k) {
                const int8_t *tile = tiles + ((o / 16) * n_tiles + k / 64) * 1024;
                acc[r * n + o] += (int32_t)rows_[r * stride + k] * tile[(k % 64 / 4) * 64 + o % 16 * 4 + k % 4];
            }
}

void lk_encode_dense_serial(const lk_positions *at, const uint64_t *bytes, const float *x, uint8_t *to, size_t n) {
    for (size_t i = 0; i < n; ++i) memcpy(to + 8 * i, bytes + lk_position_one(at, x, i), 8);
}

void lk_encode_bytes_serial(const lk_positions *at, const float *x, size_t width, uint8_t *to, size_t n) {
    for (size_t i = 0; i < n; ++i) lk_encode_bytes_one(at, x, width, to, i);
}
