/* What more than one family needs, one element at a time: docs/spec/float32.md line by line. functions.h is the same for
 * vectors. */
#ifndef LUTKAN_VECTORS_SERIAL_H
#define LUTKAN_VECTORS_SERIAL_H

#include "vectors/constants.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t bits(float x) {
    uint32_t pattern;
    memcpy(&pattern, &x, sizeof pattern);
    return pattern;
}

static inline float from_bits(uint32_t pattern) {
    float x;
    memcpy(&x, &pattern, sizeof x);
    return x;
}

static inline float exponential(float x) {
    float t = x >= EXP_LOW ? x : EXP_LOW;
    t = t <= EXP_HIGH ? t : EXP_HIGH;
    const float m = t * LOG2E + ROUNDER;
    const float k = m - ROUNDER;
    float r = t - k * LN2_HIGH;
    r = r - k * LN2_LOW;
    float h = EXP_4;
    h = h * r + EXP_3;
    h = h * r + EXP_2;
    h = h * r + EXP_1;
    h = h * r + EXP_0;
    const float p = 1.0f + (r + (r * r) * h);
    float y = from_bits(bits(p) + (bits(m) << 23));
    y = x < EXP_LOW ? 0.0f : y;
    y = x > EXP_HIGH ? INFINITY : y;
    return x != x ? x : y;
}

static inline float tangent(float x) {
    const float a = fabsf(x);
    const float z = a * a;
    float h = TANH_4;
    h = h * z + TANH_3;
    h = h * z + TANH_2;
    h = h * z + TANH_1;
    h = h * z + TANH_0;
    const float near = a + (a * z) * h;
    const float far = 1.0f - 2.0f / (exponential(a + a) + 1.0f);
    const float y = a < TANH_SPLIT ? near : far;
    return from_bits(bits(y) | (bits(x) & SIGN_BIT));
}

/* The last steps of `lanesum`: halves are added until one is left. */
static inline float tree(float lane[LANES]) {
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; ++l) lane[l] = lane[l] + lane[l + width];
    return lane[0];
}

#endif
