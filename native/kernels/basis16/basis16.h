/* int16 coefficients times int16 weights, two taps at a time; the contract stands in lutkan/kernels.h. */
#ifndef LUTKAN_BASIS16_H
#define LUTKAN_BASIS16_H

#include "lutkan/kernels.h"

#define LK_DECLARE_BASIS16(isa)                                                                                      \
    void lk_basis16_##isa(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,  \
                          size_t groups, size_t n, size_t flush, int64_t *acc);                                      \
    void lk_finish16_##isa(const int64_t *acc, const float *scale, float *sums, size_t n)

LK_DECLARE_BASIS16(serial);
LK_DECLARE_BASIS16(avx2);
LK_DECLARE_BASIS16(avx512vnni);
LK_DECLARE_BASIS16(neon);

#endif
