/* Inputs to table positions; the contract stands in lutkan/kernels.h. */
#ifndef LUTKAN_ENCODE_H
#define LUTKAN_ENCODE_H

#include "lutkan/kernels.h"

#define LK_DECLARE_ENCODE(isa)                                                                                       \
    void lk_encode_##isa(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n);              \
    int lk_codes_##isa(const float *values, float inverse, float half, uint32_t levels, uint32_t zero,               \
                       uint8_t *code, size_t n);                                                                     \
    int lk_outside_##isa(const float *x, const float *low, const float *high, size_t n)

LK_DECLARE_ENCODE(serial);
LK_DECLARE_ENCODE(avx2);
LK_DECLARE_ENCODE(avx512vnni);
LK_DECLARE_ENCODE(neon);

/* The position of one input. */
static inline uint32_t lk_position_one(const lk_positions *at, const float *x, size_t i) {
    const float last = (float)(at->count - 1u), shifted = x[i] - at->low[i];
    float v = shifted * at->inverse[i];
    v = v < last ? v : last;
    v = v > 0.0f ? v : 0.0f;
    return (uint32_t)v;
}

/* One input, as every instruction set does those that do not fill a vector. */
static inline void lk_encode_one(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t i) {
    const uint32_t p = lk_position_one(at, x, i);
    const uint32_t *from = at->weights + (size_t)(p & ((1u << at->bits) - 1u)) * at->words;
    off[i] = at->base[i] + (p >> at->bits) * at->block;
    for (uint32_t m = 0; m < at->words; ++m) w[i * at->words + m] = from[m];
}

static inline int lk_code_one(float value, float inverse, float half, uint32_t levels, uint32_t zero, uint8_t *code) {
    const float scaled = value * inverse, v = scaled + half;
    const int coded = v >= 0.0f && v < (float)levels;
    *code = (uint8_t)(coded ? (uint32_t)v : zero);
    return !coded;
}

#endif
