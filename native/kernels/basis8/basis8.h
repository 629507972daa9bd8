/* int8 coefficients times uint8 weights, four taps at a time; the contract stands in lutkan/kernels.h. */
#ifndef LUTKAN_BASIS8_H
#define LUTKAN_BASIS8_H

#include "lutkan/kernels.h"

/* Units (inputs) whose tables are visited for all rows before going on, so that their slices stay in the L1 cache. */
#define LK_UNIT_BLOCK 16

#define LK_DECLARE_BASIS8(isa)                                                                                       \
    void lk_basis8_##isa(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,    \
                         size_t groups, size_t n, int32_t *acc);                                                     \
    void lk_finish8_##isa(const int32_t *acc, const float *scale, float *sums, size_t n)

LK_DECLARE_BASIS8(serial);
LK_DECLARE_BASIS8(avx2);
LK_DECLARE_BASIS8(avx512vnni);
LK_DECLARE_BASIS8(neon);
LK_DECLARE_BASIS8(neondot);

#endif
