/* NEON: products of 32 bits two at a time. */
#include "requantize.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

void lk_requantize8_neon(const int32_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; o += 2) /* n is a multiple of LK_PAD */
        vst1q_s64(total + o, vmlal_s32(vld1q_s64(total + o), vld1_s32(acc + o), vld1_s32(multiplier + o)));
}

void lk_requantize16_neon(const int64_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; ++o) total[o] += acc[o] * multiplier[o];
}

void lk_give_codes_neon(const int64_t *total, uint32_t shift, uint32_t top, float *y, size_t n) {
    for (size_t o = 0; o < n; ++o) y[o] = lk_give_code_one(total[o], shift, top);
}

#endif
