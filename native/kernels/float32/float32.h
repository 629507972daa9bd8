/* Activations, LayerNorm and float sums of a row; the contract stands in lutkan/kernels.h, the operations and their
 * order in docs/spec/float32.md. Arrays are read and written up to n and no further; n may be any size. */
#ifndef LUTKAN_FLOAT32_H
#define LUTKAN_FLOAT32_H

#include "lutkan/kernels.h"

#define LK_DECLARE_FLOAT32(isa)                                                                                      \
    void lk_activate_##isa(int kind, const float *x, float *y, size_t n);                                            \
    void lk_prelu_##isa(const float *x, const float *slope, float *y, size_t n);                                     \
    void lk_affine_##isa(const float *x, const float *scale, const float *bias, float *y, size_t n);                 \
    void lk_layer_norm_##isa(const float *x, const float *weight, const float *bias, float eps, float *y, size_t n); \
    void lk_add_products_##isa(const float *a, size_t count, const float *w, size_t stride, float *sums, size_t n);  \
    void lk_add_scaled_##isa(float a, const float *q, const float *scale, float *sums, size_t n);                    \
    void lk_add_bias_##isa(const float *sums, const float *bias, float *y, size_t n);                                \
    int lk_has_nan_##isa(const float *x, size_t n)

LK_DECLARE_FLOAT32(serial);
LK_DECLARE_FLOAT32(avx2);
LK_DECLARE_FLOAT32(avx512vnni);
LK_DECLARE_FLOAT32(neon);

#endif
