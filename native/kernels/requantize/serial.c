/* The reference of the family. */
#include "requantize.h"

void lk_requantize8_serial(const int32_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; ++o) total[o] += (int64_t)acc[o] * multiplier[o];
}

void lk_requantize16_serial(const int64_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; ++o) total[o] += acc[o] * multiplier[o];
}

void lk_give_codes_serial(const int64_t *total, uint32_t shift, uint32_t top, float *y, size_t n) {
    for (size_t o = 0; o < n; ++o) y[o] = lk_give_code_one(total[o], shift, top);
}
