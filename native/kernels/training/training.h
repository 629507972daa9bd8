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
    void lk_interval_##isa(const lk_interval *at, const float *w, size_t rows, size_t n, float *y);                   \
    void lk_interval_back_##isa(const lk_interval *at, const float *w, const float *grad, size_t rows, size_t n,      \
                                float *passed, float *centre, float *width, float *gamma);                            \
    void lk_levels_##isa(const lk_levels *at, const float *x, size_t rows, size_t n, float *y, int32_t *codes);       \
    void lk_levels_back_##isa(const lk_levels *at, const float *x, const float *grad, size_t rows, size_t n,          \
                              float *passed, float *clipped, float *felt);                                            \
    void lk_stairs_back_##isa(const lk_levels *at, const lk_stairs *stairs, const float *x, const float *grad,        \
                              size_t rows, size_t n, float *passed, float *clipped, float *felt, float *soft)

LK_DECLARE_TRAINING(serial);
LK_DECLARE_TRAINING(avx2);
LK_DECLARE_TRAINING(avx512vnni);
LK_DECLARE_TRAINING(neon);

/* Ascending: log2(1 + f) / f for f from sqrt(1/2) - 1 to sqrt(2) - 1, and (2^r - 1) / r for r from -1/2 to 1/2, to 7e-7 and
 * 3e-7. */
#define LOG2_TERMS {0x1.71548cp+0f, -0x1.71571cp-1f, 0x1.ec2f2cp-2f, -0x1.6fce24p-2f, 0x1.2e2ea2p-2f, -0x1.157b1cp-2f, 0x1.68ca44p-3f}
#define EXP2_TERMS {0x1.62e430p-1f, 0x1.ebfa4ap-3f, 0x1.c6aeecp-5f, 0x1.3cbf6ap-7f, 0x1.5f48cep-10f}
#define SQUARE_ROOT_2 0x1.6a09e6p+0f
#define LOG_2 0x1.62e430p-1f

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
