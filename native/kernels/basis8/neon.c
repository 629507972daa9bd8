/* NEON without dot products: four outputs' taps side by side, widened to 16 bits. */
#include "basis8.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

void lk_basis8_neon(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                    size_t groups, size_t n, int32_t *acc) {
    for (size_t r = 0; r < rows; ++r) {
        for (size_t o = 0; o < n; o += 8) {
            int32x4_t low = vld1q_s32(acc + r * n + o), high = vld1q_s32(acc + r * n + o + 4);
            for (size_t u = 0; u < units; ++u) {
                const int8_t *block = packed + (size_t)off[r * units + u] * 64 + o * 4;
                for (size_t g = 0; g < groups; ++g) {
                    const uint32_t word = w[(r * units + u) * groups + g];
                    const int8x8x4_t q = vld4_s8(block + g * n * 4);
                    for (int t = 0; t < 4; ++t) {
                        const int16_t weight = (int16_t)((word >> (8 * t)) & 255u);
                        const int16x8_t wide = vmovl_s8(q.val[t]);
                        low = vmlal_n_s16(low, vget_low_s16(wide), weight);
                        high = vmlal_n_s16(high, vget_high_s16(wide), weight);
                    }
                }
            }
            vst1q_s32(acc + r * n + o, low);
            vst1q_s32(acc + r * n + o + 4, high);
        }
    }
}

void lk_finish8_neon(const int32_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; o += 4) {
        const float32x4_t value = vmulq_f32(vcvtq_f32_s32(vld1q_s32(acc + o)), vld1q_f32(scale + o));
        vst1q_f32(sums + o, vaddq_f32(vld1q_f32(sums + o), value));
    }
}

#endif
