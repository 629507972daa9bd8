/* The reference of the family: one element at a time, every float operation rounded by itself. */
#include "training.h"

#include "vectors/serial.h"

static float between(float low, float x, float high) {
    x = x < low ? low : x;
    return x > high ? high : x; /* NaN stays */
}

static float nearest_even(float x) { return (x + ROUNDER) - ROUNDER; }

static float downwards(float x) {
    const float nearest = nearest_even(x);
    return x < nearest ? nearest - 1.0f : nearest;
}

/* tanh as the sixth of its continued fractions, x / (1 + x^2 / (3 + x^2 / (5 + ...))): within 4e-7 up to 1.84, which is
 * as far as a staircase goes whose alpha is at least 0.05. */
static float staircase(float x) {
    const float z = x * x;
    const float above = (21.0f * z + 1260.0f) * z + 10395.0f;
    const float below = ((z + 210.0f) * z + 4725.0f) * z + 10395.0f;
    return (x * above) / below;
}

void lk_steps_serial(const lk_steps *at, const float *w, size_t rows, size_t n, float *y) {
    for (size_t r = 0; r < rows; ++r) {
        const size_t own = r * at->stride;
        const float step = lk_step_of(at->raw[r]), inverse = 1.0f / step;
        for (size_t i = r * n; i < (r + 1) * n; ++i)
            y[i] = nearest_even(between(at->low[own], w[i] * inverse, at->high[own])) * step;
    }
}

void lk_steps_back_serial(const lk_steps *at, const float *w, const float *grad, size_t rows, size_t n, float factor,
                          float *passed, float *felt) {
    for (size_t r = 0; r < rows; ++r) {
        const size_t own = r * at->stride;
        const float inverse = 1.0f / lk_step_of(at->raw[r]);
        float lane[LANES] = {0};
        for (size_t i = 0; i < n; ++i) {
            const size_t k = r * n + i;
            const float scaled = w[k] * inverse;
            const float code = nearest_even(between(at->low[own], scaled, at->high[own]));
            const float through = at->low[own] < scaled && scaled < at->high[own] ? grad[k] : 0.0f;
            passed[k] = through;
            lane[i % LANES] = lane[i % LANES] + (grad[k] * code - through * scaled);
        }
        if (felt != NULL) felt[r] = tree(lane) * (lk_sign_of(at->raw[r]) * factor);
    }
}

void lk_bent_serial(const lk_bent *at, const float *w, size_t rows, size_t n, float *y) {
    const float middle = 0.5f * at->levels + 0.5f, width = 2.0f / at->levels;
    for (size_t r = 0; r < rows; ++r)
        for (size_t i = r * n; i < (r + 1) * n; ++i) {
            const float level = downwards(between(0.0f, tangent(w[i]) * at->spread[r] + middle, at->levels));
            y[i] = (level * width - 1.0f) * at->largest[r];
        }
}

void lk_bent_back_serial(const lk_bent *at, const float *w, const float *grad, size_t rows, size_t n, float *passed) {
    for (size_t r = 0; r < rows; ++r)
        for (size_t i = r * n; i < (r + 1) * n; ++i) {
            const float bent = tangent(w[i]);
            passed[i] = ((1.0f - bent * bent) * grad[i]) * at->slope[r];
        }
}

/* log2 of x from 1e-12 to 1: x = 2^k m with m near 1. */
static float binary_logarithm(float x) {
    static const float terms[7] = LOG2_TERMS;
    float m = from_bits((bits(x) & 0x007fffffu) | 0x3f800000u);
    float k = from_bits((bits(x) >> 23) | 0x4b000000u) - 8388735.0f; /* 2^23 + 127 */
    const int upper = SQUARE_ROOT_2 < m;
    k = upper ? k + 1.0f : k;
    m = upper ? m * 0.5f : m;
    const float f = m - 1.0f;
    float h = terms[6];
    for (int i = 5; i >= 0; --i) h = h * f + terms[i];
    return k + f * h;
}

/* 2^t for t from -126 to 126. */
static float binary_power(float t) {
    static const float terms[5] = EXP2_TERMS;
    const float m = t + ROUNDER, r = t - (m - ROUNDER);
    float h = terms[4];
    for (int i = 3; i >= 0; --i) h = h * r + terms[i];
    return from_bits(bits(1.0f + r * h) + (bits(m) << 23));
}

/* What a weight is within its interval: see lk_interval. */
typedef struct part {
    float sign, log, power, bent, place;
} part;

static part part_of(float w, float centre, float half, float gamma) {
    part p;
    const float size = fabsf(w);
    p.sign = w > 0.0f ? 1.0f : w < 0.0f ? -1.0f : 0.0f;
    p.place = (size - centre) * half + 0.5f;
    const float share = between(0.0f, p.place, 1.0f);
    p.log = binary_logarithm(share < LK_LEAST_STEP ? LK_LEAST_STEP : share);
    p.power = binary_power(between(-126.0f, (gamma - 1.0f) * p.log, 126.0f));
    p.bent = share * p.power;
    return p;
}

void lk_interval_serial(const lk_interval *at, const float *w, size_t rows, size_t n, float *y) {
    const float inverse = 1.0f / at->levels;
    for (size_t r = 0; r < rows; ++r) {
        const float width = lk_step_of(at->width[r]), half = 0.5f / width, sum = at->centre[r] + width;
        const float reach = sum < LK_LEAST_STEP ? LK_LEAST_STEP : sum;
        for (size_t i = r * n; i < (r + 1) * n; ++i) {
            const part p = part_of(w[i], at->centre[r], half, at->gamma[r]);
            y[i] = p.sign * ((nearest_even(p.bent * at->levels) * inverse) * reach);
        }
    }
}

void lk_interval_back_serial(const lk_interval *at, const float *w, const float *grad, size_t rows, size_t n,
                             float *passed, float *centre, float *width, float *gamma) {
    const float inverse = 1.0f / at->levels;
    for (size_t r = 0; r < rows; ++r) {
        const float size = lk_step_of(at->width[r]), half = 0.5f / size, sum = at->centre[r] + size;
        const float reach = sum < LK_LEAST_STEP ? LK_LEAST_STEP : sum, live = sum < LK_LEAST_STEP ? 0.0f : 1.0f;
        float slopes[LANES] = {0}, reaches[LANES] = {0}, places[LANES] = {0}, bends[LANES] = {0};
        for (size_t i = 0; i < n; ++i) {
            const size_t k = r * n + i, l = i % LANES;
            const part p = part_of(w[k], at->centre[r], half, at->gamma[r]);
            const float given = grad[k] * p.sign, onto = given * reach;
            const float slope = 0.0f < p.place && p.place <= 1.0f ? onto * (at->gamma[r] * p.power) : 0.0f;
            passed[k] = (slope * half) * p.sign;
            slopes[l] = slopes[l] + slope;
            places[l] = places[l] + slope * (p.place - 0.5f);
            reaches[l] = reaches[l] + given * (nearest_even(p.bent * at->levels) * inverse);
            bends[l] = bends[l] + (onto * p.bent) * p.log;
        }
        const float whole = tree(reaches) * live;
        centre[r] = whole - tree(slopes) * half;
        width[r] = (whole - tree(places) / size) * lk_sign_of(at->width[r]);
        gamma[r] = tree(bends) * LOG_2;
    }
}

/* What NaN has for a code: the one after the last. */
static int32_t code_of(float code, float top) { return code != code ? (int32_t)top + 1 : (int32_t)code; }

void lk_levels_serial(const lk_levels *at, const float *x, size_t rows, size_t n, float *y, int32_t *codes) {
    for (size_t r = 0; r < rows; ++r) {
        const size_t own = r * at->stride;
        const float low = at->low[own], step = lk_step_of(at->raw[own]), inverse = 1.0f / step;
        for (size_t i = r * n; i < (r + 1) * n; ++i) {
            const float code = downwards(between(0.0f, (x[i] - low) * inverse + 0.5f, at->top));
            y[i] = code * step + low;
            if (codes != NULL) codes[i] = code_of(code, at->top);
        }
    }
}

void lk_levels_back_serial(const lk_levels *at, const float *x, const float *grad, size_t rows, size_t n, float *passed,
                           float *clipped, float *felt) {
    lk_row_sums cuts = {clipped, at->stride, 0.0}, feelings = {felt, at->stride, 0.0};
    for (size_t r = 0; r < rows; ++r) {
        const size_t own = r * at->stride;
        const float low = at->low[own], inverse = 1.0f / lk_step_of(at->raw[own]);
        float cut[LANES] = {0}, feels[LANES] = {0};
        for (size_t i = 0; i < n; ++i) {
            const size_t k = r * n + i;
            const float scaled = (x[k] - low) * inverse;
            const float code = downwards(between(0.0f, scaled + 0.5f, at->top));
            const float through = 0.0f < scaled && scaled < at->top ? grad[k] : 0.0f;
            const float rest = grad[k] - through;
            passed[k] = through;
            cut[i % LANES] = cut[i % LANES] + rest;
            const float share = at->rounding ? grad[k] * code - through * scaled : rest * code;
            feels[i % LANES] = feels[i % LANES] + share;
        }
        lk_add_row(&cuts, r, tree(cut), 1.0f);
        lk_add_row(&feelings, r, tree(feels), lk_sign_of(at->raw[own]));
    }
}

void lk_stairs_back_serial(const lk_levels *at, const lk_stairs *stairs, const float *x, const float *grad, size_t rows,
                           size_t n, float *passed, float *clipped, float *felt, float *soft) {
    lk_row_sums cuts = {clipped, at->stride, 0.0}, feelings = {felt, at->stride, 0.0}, softs = {soft, at->stride, 0.0};
    for (size_t r = 0; r < rows; ++r) {
        const size_t own = r * at->stride;
        const float low = at->low[own], step = lk_step_of(at->raw[own]), inverse = 1.0f / step;
        float cut[LANES] = {0}, feels[LANES] = {0}, bends[LANES] = {0};
        for (size_t i = 0; i < n; ++i) {
            const size_t k = r * n + i, l = i % LANES;
            const float scaled = (x[k] - low) * inverse;
            const float code = downwards(between(0.0f, scaled + 0.5f, at->top));
            const float in_range = between(0.0f, scaled, at->top), cell = downwards(in_range);
            const float middle = (in_range - (cell < at->top - 1.0f ? cell : at->top - 1.0f)) - 0.5f;
            const float curve = staircase(middle * stairs->steep);
            const float bell = 1.0f - curve * curve;
            const float through = 0.0f < scaled && scaled < at->top ? grad[k] : 0.0f;
            const float slope = (through * bell) * stairs->slope;
            passed[k] = slope;
            cut[l] = cut[l] + (grad[k] - slope);
            feels[l] = feels[l] + (grad[k] * code - slope * scaled);
            bends[l] = bends[l] + (curve * stairs->soften - (middle * bell) * stairs->place) * through;
        }
        lk_add_row(&cuts, r, tree(cut), 1.0f);
        lk_add_row(&feelings, r, tree(feels), lk_sign_of(at->raw[own]));
        lk_add_row(&softs, r, tree(bends), step);
    }
}

/* Eight running sums, place c in lane c mod 8; then halves are added until one is left. */
static inline float dot(const float *a, const float *b, size_t n) {
    float lane[8] = {0};
    for (size_t c = 0; c < n; ++c) lane[c % 8] = lane[c % 8] + a[c] * b[c];
    for (size_t l = 0; l < 4; ++l) lane[l] = lane[l] + lane[l + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

/* The same for eight places, whose lanes are two vectors that every compiler and target here has. */
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

static inline float dot8(const float *a, const float *b) {
    const four zero = {0}, *x = (const four *)(const void *)a, *y = (const four *)(const void *)b;
    const four sum = (zero + x[0] * y[0]) + (zero + x[1] * y[1]);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

static inline void copies(const float *table, const int32_t *codes, size_t count, size_t width, float *y) {
    for (size_t i = 0; i < count; ++i) memcpy(y + width * i, table + width * (size_t)codes[i], width * sizeof *y);
}

static inline void dots(const float *table, const int32_t *codes, const float *grad, size_t count, size_t width,
                        float *y) {
    for (size_t i = 0; i < count; ++i) y[i] = dot(table + width * (size_t)codes[i], grad + width * i, width);
}

/* One function, as a base branch has, and eight, as cubic splines of five intervals have, get loops of known length. */
void lk_look_up_serial(const float *table, const int32_t *codes, size_t count, size_t width, float *y) {
    switch (width) {
    case 1: copies(table, codes, count, 1, y); break;
    case 8: copies(table, codes, count, 8, y); break;
    default: copies(table, codes, count, width, y);
    }
}

void lk_look_up_back_serial(const float *table, const int32_t *codes, const float *grad, size_t count, size_t width,
                            float *y) {
    switch (width) {
    case 1: dots(table, codes, grad, count, 1, y); break;
    case 8:
        for (size_t i = 0; i < count; ++i) y[i] = dot8(table + 8 * (size_t)codes[i], grad + 8 * i);
        break;
    default: dots(table, codes, grad, count, width, y);
    }
}
