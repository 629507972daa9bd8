/* Inputs to table positions; the contract stands in lutkan/kernels.h. */
#ifndef LUTKAN_ENCODE_H
#define LUTKAN_ENCODE_H

#include "lutkan/kernels.h"

#include <math.h>

#define LK_DECLARE_ENCODE(isa)                                                                                       \
    void lk_encode_##isa(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n);              \
    void lk_encode_codes_##isa(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n);        \
    int lk_codes_##isa(const float *values, float inverse, float half, uint32_t levels, uint32_t zero,               \
                       uint8_t *code, size_t n);                                                                     \
    void lk_locate_##isa(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w,           \
                         uint8_t *inside, size_t n);                                                                 \
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

static inline void lk_encode_code_one(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t i) {
    const size_t p = i * at->stride + lk_position_one(at, x, i);
    off[i] = at->base[i] + (at->first == NULL ? 0 : at->first[p] * at->block);
    for (uint32_t m = 0; m < at->words; ++m) w[i * at->words + m] = at->weights[p * at->words + m];
}

/* The float that comes before a finite one. */
static inline float lk_before(float x) {
    union {
        float value;
        uint32_t bits;
    } at = {x};
    if (x == 0.0f)
        at.bits = UINT32_C(0x80000001);
    else
        at.bits += x > 0.0f ? UINT32_C(0xffffffff) : 1u;
    return at.value;
}

/* An input, drawn to the ends of its knots unless the end segments go on. */
static inline float lk_clipped(const lk_segments *at, const float *knots, float x) {
    if (at->line) return x;
    const float low = knots[0], high = knots[at->segments], top = at->closed ? high : lk_before(high);
    const float point = x < top ? x : top;
    return point > low ? point : low;
}

/* One input, from a segment `s` that is right or next to the right one. */
static inline void lk_locate_from(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w,
                                  uint8_t *inside, size_t i, uint32_t s) {
    const float *knots = at->knots + i * (at->segments + 1u);
    const float low = knots[0], high = knots[at->segments], last = (float)(at->samples - 1u);
    const float point = lk_clipped(at, knots, x[i]);
    inside[i] = (uint8_t)(x[i] >= low && (at->closed ? x[i] <= high : x[i] < high));
    if (s > 0 && point < knots[s])
        --s;
    else if (s + 1u < at->segments && point >= knots[s + 1u])
        ++s;
    const float left = knots[s], width = knots[s + 1u] - left, from = point - left;
    float u = width > 0.0f ? from / width : 0.0f;
    if (!at->line) {
        u = u < 1.0f ? u : 1.0f;
        u = u > 0.0f ? u : 0.0f;
    }
    const float position = u * last;
    float sample = floorf(position);
    sample = sample < last - 1.0f ? sample : last - 1.0f;
    sample = sample > 0.0f ? sample : 0.0f;
    const int chord = at->line && !inside[i];
    segment[i] = (uint32_t)i * at->segments + s;
    row[i] = segment[i] * at->samples + (chord ? 0u : (uint32_t)sample);
    w[i] = chord ? u : position - sample;
}

static inline void lk_locate_one(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w,
                                 uint8_t *inside, size_t i) {
    const float *knots = at->knots + i * (at->segments + 1u);
    const float shifted = x[i] - knots[0], end = (float)(at->segments - 1u);
    float guess = shifted * at->inverse[i];
    guess = guess < end ? guess : end;
    guess = guess > 0.0f ? guess : 0.0f;
    lk_locate_from(at, x, row, segment, w, inside, i, (uint32_t)guess);
}

static inline int lk_code_one(float value, float inverse, float half, uint32_t levels, uint32_t zero, uint8_t *code) {
    const float scaled = value * inverse, v = scaled + half;
    const int coded = v >= 0.0f && v < (float)levels;
    *code = (uint8_t)(coded ? (uint32_t)v : zero);
    return !coded;
}

#endif
