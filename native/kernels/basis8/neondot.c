/* NEON with udot: coefficients are made unsigned by flipping their sign bit, which adds 128; the surplus,
 * 128 times the sum of all weights of a row, is taken off at the end. */
#include "basis8.h"

#if defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)
#include <arm_neon.h>

void lk_basis8_neondot(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                       size_t groups, size_t n, int32_t *acc) {
    const uint8x16_t flip = vdupq_n_u8(128);
    for (size_t r = 0; r < rows; ++r) {
        uint32_t total = 0;
        for (size_t k = 0; k < units * groups; ++k) {
            const uint32_t word = w[r * units * groups + k];
            total += (word & 255u) + ((word >> 8) & 255u) + ((word >> 16) & 255u) + (word >> 24);
        }
        const uint32x4_t surplus = vdupq_n_u32(total * 128u);
        for (size_t o = 0; o < n; o += 16) {
            uint32x4_t sum[4];
            for (int v = 0; v < 4; ++v)
                sum[v] = vsubq_u32(vreinterpretq_u32_s32(vld1q_s32(acc + r * n + o + 4 * (size_t)v)), surplus);
            for (size_t u = 0; u < units; ++u) {
                const int8_t *block = packed + (size_t)off[r * units + u] * 64 + o * 4;
                for (size_t g = 0; g < groups; ++g) {
                    const uint8x16_t weight = vreinterpretq_u8_u32(vdupq_n_u32(w[(r * units + u) * groups + g]));
                    const uint8_t *q = (const uint8_t *)block + g * n * 4;
                    for (int v = 0; v < 4; ++v)
                        sum[v] = vdotq_u32(sum[v], veorq_u8(vld1q_u8(q + 16 * v), flip), weight);
                }
            }
            for (int v = 0; v < 4; ++v)
                vst1q_s32(acc + r * n + o + 4 * (size_t)v, vreinterpretq_s32_u32(sum[v]));
        }
    }
}

void lk_finish8_neondot(const int32_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; o += 4) {
        const float32x4_t value = vmulq_f32(vcvtq_f32_s32(vld1q_s32(acc + o)), vld1q_f32(scale + o));
        vst1q_f32(sums + o, vaddq_f32(vld1q_f32(sums + o), value));
    }
}

#endif
