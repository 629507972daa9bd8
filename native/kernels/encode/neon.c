/* NEON: 4 positions at a time. */
#include "encode.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

void lk_encode_neon(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    const float32x4_t last = vdupq_n_f32((float)(at->count - 1u)), zero = vdupq_n_f32(0.0f);
    const uint32x4_t mask = vdupq_n_u32((1u << at->bits) - 1u), block = vdupq_n_u32(at->block);
    const int32x4_t shift = vdupq_n_s32(-(int32_t)at->bits);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t row[4];
        const float32x4_t v =
            vmulq_f32(vsubq_f32(vld1q_f32(x + i), vld1q_f32(at->low + i)), vld1q_f32(at->inverse + i));
        const uint32x4_t p = vcvtq_u32_f32(vmaxq_f32(vminq_f32(v, last), zero));
        vst1q_u32(off + i, vaddq_u32(vld1q_u32(at->base + i), vmulq_u32(vshlq_u32(p, shift), block)));
        vst1q_u32(row, vandq_u32(p, mask));
        for (size_t k = 0; k < 4; ++k)
            for (size_t m = 0; m < at->words; ++m)
                w[(i + k) * at->words + m] = at->weights[(size_t)row[k] * at->words + m];
    }
    for (; i < n; ++i) lk_encode_one(at, x, off, w, i);
}

void lk_encode_codes_neon(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    for (size_t i = 0; i < n; ++i) lk_encode_code_one(at, x, off, w, i);
}

int lk_codes_neon(const float *values, float inverse, float half, uint32_t levels, uint32_t zero, uint8_t *code,
                  size_t n) {
    int beyond = 0;
    for (size_t i = 0; i < n; ++i) beyond |= lk_code_one(values[i], inverse, half, levels, zero, code + i);
    return beyond;
}

int lk_outside_neon(const float *x, const float *low, const float *high, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t v = vld1q_f32(x + i);
        const uint32x4_t out = vorrq_u32(vcltq_f32(v, vld1q_f32(low + i)), vcgtq_f32(v, vld1q_f32(high + i)));
        if (vmaxvq_u32(out)) return 1;
    }
    for (; i < n; ++i)
        if (x[i] < low[i] || x[i] > high[i]) return 1;
    return 0;
}

void lk_locate_neon(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w, uint8_t *inside,
                     size_t n) {
    for (size_t i = 0; i < n; ++i) lk_locate_one(at, x, row, segment, w, inside, i);
}

#endif
