/* The reference of the family: docs/spec/float32.md line by line, one element at a time. */
#include "float32.h"
#include "vectors/serial.h"

static float sigmoid(float x) {
    const float e = exponential(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

static float silu(float x) {
    const float e = exponential(-fabsf(x));
    const float z = x < SILU_FLOOR ? SILU_FLOOR : x;
    return (z * (x < 0.0f ? e : 1.0f)) / (1.0f + e);
}

static float gelu(float x) {
    float a = fabsf(x);
    a = a < GELU_CUT ? a : GELU_FAR;
    const float q = a * a;
    const float upper = from_bits(bits(a) & UPPER_HALF);
    const float lost = (upper * upper - q) + (a - upper) * (a + upper);
    float e = exponential(-0.5f * q);
    e = e - e * (0.5f * lost);
    float n = GELU_NUMERATOR_4;
    n = n * a + GELU_NUMERATOR_3;
    n = n * a + GELU_NUMERATOR_2;
    n = n * a + GELU_NUMERATOR_1;
    n = n * a + GELU_NUMERATOR_0;
    float d = GELU_DENOMINATOR_5;
    d = d * a + GELU_DENOMINATOR_4;
    d = d * a + GELU_DENOMINATOR_3;
    d = d * a + GELU_DENOMINATOR_2;
    d = d * a + GELU_DENOMINATOR_1;
    d = d * a + GELU_DENOMINATOR_0;
    const float tail = (e * n) / d;
    const float share = x < 0.0f ? tail : 1.0f - tail;
    const float z = x < -GELU_FAR ? -GELU_FAR : x;
    return z * share;
}

static float relu(float x) { return x <= 0.0f ? 0.0f : x; }

static float identity(float x) { return x; }

void lk_activate_serial(int kind, const float *x, float *y, size_t n) {
    static float (*const functions[])(float) = {
        [LK_IDENTITY] = identity, [LK_SILU] = silu,    [LK_GELU] = gelu,
        [LK_RELU] = relu,         [LK_TANH] = tangent, [LK_SIGMOID] = sigmoid,
    };
    for (size_t i = 0; i < n; ++i) y[i] = functions[kind](x[i]);
}

void lk_prelu_serial(const float *x, const float *slope, float *y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? slope[i] * x[i] : x[i];
}

void lk_affine_serial(const float *x, const float *scale, const float *bias, float *y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = scale[i] * x[i] + bias[i];
}

void lk_layer_norm_serial(const float *x, const float *weight, const float *bias, float eps, float *y, size_t n) {
    const float count = (float)n;
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; ++i) lane[i % LANES] = lane[i % LANES] + x[i];
    const float mean = tree(lane) / count;
    float square[LANES] = {0};
    for (size_t i = 0; i < n; ++i) {
        const float d = x[i] - mean;
        square[i % LANES] = square[i % LANES] + d * d;
    }
    const float variance = tree(square) / count;
    const float inverse = 1.0f / sqrtf(variance + eps);
    for (size_t i = 0; i < n; ++i) {
        float value = (x[i] - mean) * inverse;
        if (weight != NULL) value = value * weight[i];
        if (bias != NULL) value = value + bias[i];
        y[i] = value;
    }
}

void lk_add_products_serial(const float *a, size_t count, const float *w, size_t stride, float *sums, size_t n) {
    for (size_t i = 0; i < count; ++i)
        for (size_t o = 0; o < n; ++o) sums[o] = sums[o] + w[i * stride + o] * a[i];
}

void lk_add_scaled_serial(float a, const float *q, const float *scale, float *sums, size_t n) {
    for (size_t i = 0; i < n; ++i) sums[i] = sums[i] + (q[i] * a) * scale[i];
}

void lk_add_bias_serial(const float *sums, const float *bias, float *y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = sums[i] + bias[i];
}

int lk_has_nan_serial(const float *x, size_t n) {
    int found = 0;
    for (size_t i = 0; i < n; ++i) found |= x[i] != x[i];
    return found;
}
