/* NEON: vmlal of 16-bit pairs, de-interleaved on load; int32 partial sums go into int64 every `flush` units. */
#include "basis16.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

void lk_basis16_neon(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                     size_t groups, size_t n, size_t flush, int64_t *acc) {
    for (size_t r = 0; r < rows; ++r) {
        for (size_t o = 0; o < n; o += 8) {
            for (size_t first = 0; first < units; first += flush) {
                const size_t last = first + flush < units ? first + flush : units;
                int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(0);
                for (size_t u = first; u < last; ++u) {
                    const int16_t *block = packed + (size_t)off[r * units + u] * 32 + o * 2;
                    for (size_t g = 0; g < 2 * groups; ++g) {
                        const uint32_t word = w[(r * units + u) * 2 * groups + g];
                        const int16x8x2_t q = vld2q_s16(block + g * n * 2);
                        for (int t = 0; t < 2; ++t) {
                            const int16_t weight = (int16_t)((word >> (16 * t)) & 65535u);
                            low = vmlal_n_s16(low, vget_low_s16(q.val[t]), weight);
                            high = vmlal_n_s16(high, vget_high_s16(q.val[t]), weight);
                        }
                    }
                }
                int64_t *at = acc + r * n + o;
                vst1q_s64(at, vaddw_s32(vld1q_s64(at), vget_low_s32(low)));
                vst1q_s64(at + 2, vaddw_s32(vld1q_s64(at + 2), vget_high_s32(low)));
                vst1q_s64(at + 4, vaddw_s32(vld1q_s64(at + 4), vget_low_s32(high)));
                vst1q_s64(at + 6, vaddw_s32(vld1q_s64(at + 6), vget_high_s32(high)));
            }
        }
    }
}

void lk_finish16_neon(const int64_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; ++o) {
        const float value = (float)acc[o] * scale[o];
        sums[o] = sums[o] + value;
    }
}

#endif
