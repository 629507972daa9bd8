/* Integer sums to the codes of the next layer; the contract stands in lutkan/kernels.h. */
#ifndef LUTKAN_REQUANTIZE_H
#define LUTKAN_REQUANTIZE_H

#include "lutkan/kernels.h"

#define LK_DECLARE_REQUANTIZE(isa)                                                                                   \
    void lk_requantize8_##isa(const int32_t *acc, const int32_t *multiplier, int64_t *total, size_t n);              \
    void lk_requantize16_##isa(const int64_t *acc, const int32_t *multiplier, int64_t *total, size_t n);             \
    void lk_give_codes_##isa(const int64_t *total, uint32_t shift, uint32_t top, float *y, size_t n)

LK_DECLARE_REQUANTIZE(serial);
LK_DECLARE_REQUANTIZE(avx2);
LK_DECLARE_REQUANTIZE(avx512vnni);
LK_DECLARE_REQUANTIZE(neon);

/* Below 0 the code is 0, so that only numbers from 0 on are shifted. */
static inline float lk_give_code_one(int64_t total, uint32_t shift, uint32_t top) {
    const uint64_t code = total < 0 ? 0 : (uint64_t)total >> shift;
    return (float)(uint32_t)(code < top ? code : top);
}

#endif
