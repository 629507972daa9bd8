/* Fake quantization of matrices, forward and backward; the contract stands in lutkan/kernels.h. Arrays are read and
 * written up to rows * n and no further; n may be any size. */
#ifndef LUTKAN_TRAINING_H
#define LUTKAN_TRAINING_H

#include "lutkan/kernels.h"

#define LK_DECLARE_TRAINING(isa)                                                                                      \
    void lk_steps_##isa(const lk_steps *at, const float *w, size_t rows, size_t n, float *y);                         \
    void lk_steps_back_##isa(const lk_steps *at, const float *w, const float *grad, size_t rows, size_t n,            \
                             float factor, float *passed, float *felt);                                               \
    void lk_bent_##isa(const lk_bent *at, const float *w, size_t rows, size_t n, float *y);                           \
    void lk_bent_back_##isa(const lk_bent *at, const float *w, const float *grad, size_t rows, size_t n,              \
                            float *passed);                                                                           \
    void lk_levels_##isa(const lk_levels *at, const float *x, size_t rows, size_t n, float *y, int32_t *codes);       \
    void lk_levels_back_##isa(const lk_levels *at, const float *x, const float *grad, size_t rows, size_t n,          \
                              float *passed, float *clipped, float *felt);                                            \
    void lk_stairs_back_##isa(const lk_levels *at, const lk_stairs *stairs, const float *x, const float *grad,        \
                              size_t rows, size_t n, float *passed, float *clipped, float *felt, float *soft)

LK_DECLARE_TRAINING(serial);
LK_DECLARE_TRAINING(avx2);
LK_DECLARE_TRAINING(avx512vnni);
LK_DECLARE_TRAINING(neon);

static inline float lk_step_of(float raw) {
    const float size = raw < 0.0f ? -raw : raw;
    return size < LK_LEAST_STEP ? LK_LEAST_STEP : size;
}

static inline float lk_sign_of(float raw) { return raw > 0.0f ? 1.0f : raw < 0.0f ? -1.0f : 0.0f; }

/* Where the sums of rows go: to places of their own, or added up. */
typedef struct lk_row_sums {
    float *to;
    size_t stride;
    double total;
} lk_row_sums;

static inline void lk_add_row(lk_row_sums *sums, size_t r, float value, float factor) {
    if (sums->stride != 0) {
        sums->to[r] = value * factor;
    } else {
        sums->total += (double)value;
        sums->to[0] = (float)(sums->total * (double)factor);
    }
}

/* One for all instruction sets: what they wait for is memory. */
void lk_look_up_serial(const float *table, const int32_t *codes, size_t count, size_t width, float *y);
void lk_look_up_back_serial(const float *table, const int32_t *codes, const float *grad, size_t count, size_t width,
                            float *y);

#endif
