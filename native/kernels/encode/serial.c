/* The reference of the family. */
#include "encode.h"

void lk_encode_serial(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    for (size_t i = 0; i < n; ++i) lk_encode_one(at, x, off, w, i);
}

void lk_encode_codes_serial(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    for (size_t i = 0; i < n; ++i) lk_encode_code_one(at, x, off, w, i);
}

int lk_codes_serial(const float *values, float inverse, float half, uint32_t levels, uint32_t zero, uint8_t *code,
                    size_t n) {
    int beyond = 0;
    for (size_t i = 0; i < n; ++i) beyond |= lk_code_one(values[i], inverse, half, levels, zero, code + i);
    return beyond;
}

int lk_outside_serial(const float *x, const float *low, const float *high, size_t n) {
    for (size_t i = 0; i < n; ++i)
        if (x[i] < low[i] || x[i] > high[i]) return 1;
    return 0;
}

void lk_locate_serial(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w, uint8_t *inside,
                     size_t n) {
    for (size_t i = 0; i < n; ++i) lk_locate_one(at, x, row, segment, w, inside, i);
}
