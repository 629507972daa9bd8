/* The family for any vector width: an instruction set includes this after vectors/<isa>.h. */
#include "float32.h"
#include "vectors/functions.h"

INLINE vec sigmoid(vec x) {
    const vec e = exp_negative(minus_magnitude(x));
    const vec y = vdiv(vselect(vlt(x, vset(0.0f)), e, vset(1.0f)), vadd(vset(1.0f), e));
    return vselect(vnan(x), x, y);
}

INLINE vec silu(vec x) {
    const vec e = exp_negative(minus_magnitude(x));
    const vec z = vmax(vset(SILU_FLOOR), x); /* NaN stays */
    const vec u = vselect(vlt(x, vset(0.0f)), e, vset(1.0f));
    return vdiv(vmul(z, u), vadd(vset(1.0f), e));
}

INLINE vec gelu(vec x) {
    vec a = magnitude(x);
    a = vselect(vlt(a, vset(GELU_CUT)), a, vset(GELU_FAR));
    const vec q = vmul(a, a);
    const vec upper = vfrom(wand(vbits(a), wset(UPPER_HALF)));
    const vec lost = vadd(vsub(vmul(upper, upper), q), vmul(vsub(a, upper), vadd(a, upper)));
    vec e = exp_negative(vmul(vset(-0.5f), q));
    e = vsub(e, vmul(e, vmul(vset(0.5f), lost)));
    vec n = vset(GELU_NUMERATOR_4);
    n = step(n, a, GELU_NUMERATOR_3);
    n = step(n, a, GELU_NUMERATOR_2);
    n = step(n, a, GELU_NUMERATOR_1);
    n = step(n, a, GELU_NUMERATOR_0);
    vec d = vset(GELU_DENOMINATOR_5);
    d = step(d, a, GELU_DENOMINATOR_4);
    d = step(d, a, GELU_DENOMINATOR_3);
    d = step(d, a, GELU_DENOMINATOR_2);
    d = step(d, a, GELU_DENOMINATOR_1);
    d = step(d, a, GELU_DENOMINATOR_0);
    const vec tail = vdiv(vmul(e, n), d);
    const vec share = vselect(vlt(x, vset(0.0f)), tail, vsub(vset(1.0f), tail));
    const vec z = vmax(vset(-GELU_FAR), x); /* NaN stays */
    return vmul(z, share);
}

INLINE vec relu(vec x) { return vselect(vle(x, vset(0.0f)), vset(0.0f), x); }

INLINE vec identity(vec x) { return x; }

INLINE void map(vec (*function)(vec), const float *x, float *y, size_t n) {
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) vstore(y + i, function(vload(x + i)));
    if (i < n) vstore_part(y + i, function(vload_part(x + i, n - i)), n - i);
}

void ISA(activate)(int kind, const float *x, float *y, size_t n) {
    switch (kind) {
    case LK_IDENTITY: map(identity, x, y, n); break;
    case LK_SILU: map(silu, x, y, n); break;
    case LK_GELU: map(gelu, x, y, n); break;
    case LK_RELU: map(relu, x, y, n); break;
    case LK_TANH: map(tangent, x, y, n); break;
    case LK_SIGMOID: map(sigmoid, x, y, n); break;
    }
}

/* A loop over whole vectors, then once over the rest. `load(p)` reads at the current place. */
#define EACH_VECTOR(y, expression)                                                                                   \
    do {                                                                                                             \
        size_t i = 0;                                                                                                \
        for (; i + WIDTH <= n; i += WIDTH) vstore((y) + i, expression(WHOLE));                                       \
        if (i < n) vstore_part((y) + i, expression(PART), n - i);                                                    \
    } while (0)
#define WHOLE(p) vload((p) + i)
#define PART(p) vload_part((p) + i, n - i)

INLINE vec prelu(vec x, vec slope) { return vselect(vlt(x, vset(0.0f)), vmul(slope, x), x); }

void ISA(prelu)(const float *x, const float *slope, float *y, size_t n) {
#define PRELU(load) prelu(load(x), load(slope))
    EACH_VECTOR(y, PRELU);
}

void ISA(affine)(const float *x, const float *scale, const float *bias, float *y, size_t n) {
#define AFFINE(load) vadd(vmul(load(scale), load(x)), load(bias))
    EACH_VECTOR(y, AFFINE);
}

/* Outputs o .. o + vectors * WIDTH - 1: their sums stay in registers while all products pass. */
INLINE void products(const float *a, size_t count, const float *w, size_t stride, float *sums, size_t o,
                     const int vectors) {
    vec sum[4];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[v] = vload(sums + o + WIDTH * (size_t)v);
    for (size_t i = 0; i < count; ++i) {
        const vec factor = vset(a[i]);
        const float *row = w + i * stride + o;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[v] = vadd(sum[v], vmul(vload(row + WIDTH * (size_t)v), factor));
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) vstore(sums + o + WIDTH * (size_t)v, sum[v]);
}

void ISA(add_products)(const float *a, size_t count, const float *w, size_t stride, float *sums, size_t n) {
    size_t o = 0;
    for (; o + 4 * WIDTH <= n; o += 4 * WIDTH) products(a, count, w, stride, sums, o, 4);
    for (; o + 2 * WIDTH <= n; o += 2 * WIDTH) products(a, count, w, stride, sums, o, 2);
    for (; o + WIDTH <= n; o += WIDTH) products(a, count, w, stride, sums, o, 1);
    if (o == n) return;
    vec sum = vload_part(sums + o, n - o);
    for (size_t i = 0; i < count; ++i)
        sum = vadd(sum, vmul(vload_part(w + i * stride + o, n - o), vset(a[i])));
    vstore_part(sums + o, sum, n - o);
}

void ISA(add_scaled)(float a, const float *q, const float *scale, float *sums, size_t n) {
    const vec factor = vset(a);
#define ADD_SCALED(load) vadd(load(sums), vmul(vmul(load(q), factor), load(scale)))
    EACH_VECTOR(sums, ADD_SCALED);
}

void ISA(add_bias)(const float *sums, const float *bias, float *y, size_t n) {
#define ADD_BIAS(load) vadd(load(sums), load(bias))
    EACH_VECTOR(y, ADD_BIAS);
}

/* `lanesum` of the specification: of x, or of the squares of x - mean. Elements that lack add +0: no lane changes. */
INLINE float lane_sum(const float *x, size_t n, vec mean, const int squares) {
    vec sum[PARTS];
    for (int part = 0; part < PARTS; ++part) sum[part] = vset(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int part = 0; part < PARTS; ++part) {
            const vec value = vload(x + i + WIDTH * part), d = vsub(value, mean);
            sum[part] = vadd(sum[part], squares ? vmul(d, d) : value);
        }
    for (int part = 0; part < PARTS && i < n; ++part, i += WIDTH) {
        const size_t count = n - i < WIDTH ? n - i : WIDTH;
        const vec value = count < WIDTH ? vload_part(x + i, count) : vload(x + i);
        const vec d = count < WIDTH ? vkeep(vsub(value, mean), count) : vsub(value, mean);
        sum[part] = vadd(sum[part], squares ? vmul(d, d) : value);
    }
    return tree(sum);
}

void ISA(layer_norm)(const float *x, const float *weight, const float *bias, float eps, float *y, size_t n) {
    const float count = (float)n;
    const vec mean = vset(lane_sum(x, n, vset(0.0f), 0) / count);
    const float variance = lane_sum(x, n, mean, 1) / count;
    const vec inverse = vdiv(vset(1.0f), vsqrt(vset(variance + eps)));
#define CENTRED(load) vmul(vsub(load(x), mean), inverse)
#define WEIGHTED(load) vmul(CENTRED(load), load(weight))
#define SHIFTED(load) vadd(CENTRED(load), load(bias))
#define BOTH(load) vadd(WEIGHTED(load), load(bias))
    if (weight != NULL && bias != NULL)
        EACH_VECTOR(y, BOTH);
    else if (weight != NULL)
        EACH_VECTOR(y, WEIGHTED);
    else if (bias != NULL)
        EACH_VECTOR(y, SHIFTED);
    else
        EACH_VECTOR(y, CENTRED);
}

int ISA(has_nan)(const float *x, size_t n) {
    mask found = mnone;
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) found = mor(found, vnan(vload(x + i)));
    if (i < n) found = mor(found, vnan(vload_part(x + i, n - i)));
    return many(found);
}
