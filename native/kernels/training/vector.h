/* The family for any vector width: an instruction set includes this after vectors/<isa>.h. */
#include "training.h"
#include "vectors/functions.h"

/* Where in a row: `count` elements from k on, which are `whole` vectors or less; elements that lack read as 0. */
typedef struct place {
    size_t k, count;
    int whole;
} place;

INLINE vec get(const float *p, place at) { return at.whole ? vload(p + at.k) : vload_part(p + at.k, at.count); }

INLINE void put(float *p, vec v, place at) {
    if (at.whole)
        vstore(p + at.k, v);
    else
        vstore_part(p + at.k, v, at.count);
}

INLINE void add(vec *sum, vec v, place at) { *sum = vadd(*sum, at.whole ? v : vkeep(v, at.count)); }

/* Go through a row of n, sixteen elements at a time: body(place, part of the lanes). */
#define EVERY(body)                                                                                                  \
    do {                                                                                                             \
        size_t k = 0;                                                                                                \
        for (; k + LANES <= n; k += LANES)                                                                           \
            for (int part = 0; part < PARTS; ++part) body(((place){k + WIDTH * (size_t)part, WIDTH, 1}), part);      \
        for (int part = 0; k < n; ++part, k += WIDTH)                                                                \
            body(((place){k, n - k < WIDTH ? n - k : WIDTH, n - k >= WIDTH}), part);                                 \
    } while (0)

INLINE void clear(vec sum[PARTS]) {
    for (int part = 0; part < PARTS; ++part) sum[part] = vset(0.0f);
}

INLINE vec between(vec low, vec x, vec high) { return vmin(high, vmax(low, x)); }

INLINE vec nearest_even(vec x) { return vsub(vadd(x, vset(ROUNDER)), vset(ROUNDER)); }

INLINE vec downwards(vec x) {
    const vec nearest = nearest_even(x);
    return vselect(vlt(x, nearest), vsub(nearest, vset(1.0f)), nearest);
}

INLINE vec inside(vec low, vec x, vec high, vec value) {
    return vselect(vlt(low, x), vselect(vlt(x, high), value, vset(0.0f)), vset(0.0f));
}

/* See serial.c. */
INLINE vec staircase(vec x) {
    const vec z = vmul(x, x);
    const vec above = step(step(vset(21.0f), z, 1260.0f), z, 10395.0f);
    const vec below = step(step(vadd(z, vset(210.0f)), z, 4725.0f), z, 10395.0f);
    return vdiv(vmul(x, above), below);
}

typedef struct steps {
    vec inverse, step, low, high;
} steps;

INLINE steps steps_of(const lk_steps *at, size_t r) {
    const float step = lk_step_of(at->raw[r]);
    const size_t own = r * at->stride;
    return (steps){vset(1.0f / step), vset(step), vset(at->low[own]), vset(at->high[own])};
}

INLINE void step_at(steps s, const float *w, float *y, place at) {
    put(y, vmul(nearest_even(between(s.low, vmul(get(w, at), s.inverse), s.high)), s.step), at);
}

void ISA(steps)(const lk_steps *at, const float *w, size_t rows, size_t n, float *y) {
    for (size_t r = 0; r < rows; ++r, w += n, y += n) {
        const steps s = steps_of(at, r);
#define STEP(place, part) step_at(s, w, y, place)
        EVERY(STEP);
    }
}

INLINE void step_back_at(steps s, const float *w, const float *grad, float *passed, vec *felt, place at) {
    const vec given = get(grad, at), scaled = vmul(get(w, at), s.inverse);
    const vec code = nearest_even(between(s.low, scaled, s.high)), through = inside(s.low, scaled, s.high, given);
    put(passed, through, at);
    add(felt, vsub(vmul(given, code), vmul(through, scaled)), at);
}

void ISA(steps_back)(const lk_steps *at, const float *w, const float *grad, size_t rows, size_t n, float factor,
                     float *passed, float *felt) {
    for (size_t r = 0; r < rows; ++r, w += n, grad += n, passed += n) {
        const steps s = steps_of(at, r);
        vec sum[PARTS];
        clear(sum);
#define STEP_BACK(place, part) step_back_at(s, w, grad, passed, sum + part, place)
        EVERY(STEP_BACK);
        if (felt != NULL) felt[r] = tree(sum) * (lk_sign_of(at->raw[r]) * factor);
    }
}

/* Weights are small as a rule: then the near half of the function is all of it. */
INLINE vec tangent_of_small(vec x) {
    return many(vle(vset(TANH_SPLIT), magnitude(x))) ? tangent(x) : tangent_near(x);
}

INLINE void bend_at(const lk_bent *b, vec spread, vec largest, const float *w, float *y, place at) {
    const vec top = vset(b->levels), middle = vset(0.5f * b->levels + 0.5f), width = vset(2.0f / b->levels);
    const vec level = downwards(between(vset(0.0f), vadd(vmul(tangent_of_small(get(w, at)), spread), middle), top));
    put(y, vmul(vsub(vmul(level, width), vset(1.0f)), largest), at);
}

void ISA(bent)(const lk_bent *at, const float *w, size_t rows, size_t n, float *y) {
    for (size_t r = 0; r < rows; ++r, w += n, y += n) {
        const vec spread = vset(at->spread[r]), largest = vset(at->largest[r]);
#define BEND(place, part) bend_at(at, spread, largest, w, y, place)
        EVERY(BEND);
    }
}

INLINE void bend_back_at(vec slope, const float *w, const float *grad, float *passed, place at) {
    const vec bent = tangent_of_small(get(w, at));
    put(passed, vmul(vmul(vsub(vset(1.0f), vmul(bent, bent)), get(grad, at)), slope), at);
}

void ISA(bent_back)(const lk_bent *at, const float *w, const float *grad, size_t rows, size_t n, float *passed) {
    for (size_t r = 0; r < rows; ++r, w += n, grad += n, passed += n) {
        const vec slope = vset(at->slope[r]);
#define BEND_BACK(place, part) bend_back_at(slope, w, grad, passed, place)
        EVERY(BEND_BACK);
    }
}

/* See serial.c. */
INLINE vec binary_logarithm(vec x) {
    static const float terms[7] = LOG2_TERMS;
    vec m = vfrom(wor(wand(vbits(x), wset(0x007fffffu)), wset(0x3f800000u)));
    vec k = vsub(vfrom(wor(wright(vbits(x), 23), wset(0x4b000000u))), vset(8388735.0f));
    const mask upper = vlt(vset(SQUARE_ROOT_2), m);
    k = vselect(upper, vadd(k, vset(1.0f)), k);
    m = vselect(upper, vmul(m, vset(0.5f)), m);
    const vec f = vsub(m, vset(1.0f));
    vec h = vset(terms[6]);
#pragma GCC unroll 6
    for (int i = 5; i >= 0; --i) h = step(h, f, terms[i]);
    return vadd(k, vmul(f, h));
}

INLINE vec binary_power(vec t) {
    static const float terms[5] = EXP2_TERMS;
    const vec m = vadd(t, vset(ROUNDER)), r = vsub(t, vsub(m, vset(ROUNDER)));
    vec h = vset(terms[4]);
#pragma GCC unroll 4
    for (int i = 3; i >= 0; --i) h = step(h, r, terms[i]);
    return vfrom(wadd(vbits(vadd(vset(1.0f), vmul(r, h))), wshift(vbits(m), 23)));
}

typedef struct interval {
    vec centre, half, gamma, bend, reach, levels, inverse;
} interval;

typedef struct part {
    vec sign, log, power, bent, place;
} part;

INLINE interval interval_of(const lk_interval *at, size_t r) {
    const float width = lk_step_of(at->width[r]), sum = at->centre[r] + width;
    return (interval){vset(at->centre[r]), vset(0.5f / width), vset(at->gamma[r]), vset(at->gamma[r] - 1.0f),
                      vset(sum < LK_LEAST_STEP ? LK_LEAST_STEP : sum), vset(at->levels), vset(1.0f / at->levels)};
}

INLINE part part_of(interval s, vec w) {
    const vec zero = vset(0.0f), one = vset(1.0f);
    part p;
    p.sign = vselect(vlt(zero, w), one, vselect(vlt(w, zero), vset(-1.0f), zero));
    p.place = vadd(vmul(vsub(magnitude(w), s.centre), s.half), vset(0.5f));
    const vec share = between(zero, p.place, one);
    p.log = binary_logarithm(vmax(vset(LK_LEAST_STEP), share));
    p.power = binary_power(between(vset(-126.0f), vmul(s.bend, p.log), vset(126.0f)));
    p.bent = vmul(share, p.power);
    return p;
}

INLINE vec rounded(interval s, part p) { return vmul(nearest_even(vmul(p.bent, s.levels)), s.inverse); }

INLINE void interval_at(interval s, const float *w, float *y, place at) {
    const part p = part_of(s, get(w, at));
    put(y, vmul(p.sign, vmul(rounded(s, p), s.reach)), at);
}

void ISA(interval)(const lk_interval *at, const float *w, size_t rows, size_t n, float *y) {
    for (size_t r = 0; r < rows; ++r, w += n, y += n) {
        const interval s = interval_of(at, r);
#define INTERVAL(place, part) interval_at(s, w, y, place)
        EVERY(INTERVAL);
    }
}

/* sums: of slopes, of slopes times places, of what the reach feels, of what gamma feels. */
INLINE void interval_back_at(interval s, const float *w, const float *grad, float *passed, vec *slopes, vec *places,
                             vec *reaches, vec *bends, place at) {
    const part p = part_of(s, get(w, at));
    const vec given = vmul(get(grad, at), p.sign), onto = vmul(given, s.reach);
    const vec steep = vmul(onto, vmul(s.gamma, p.power));
    const vec slope = vselect(vlt(vset(0.0f), p.place), vselect(vle(p.place, vset(1.0f)), steep, vset(0.0f)), vset(0.0f));
    put(passed, vmul(vmul(slope, s.half), p.sign), at);
    add(slopes, slope, at);
    add(places, vmul(slope, vsub(p.place, vset(0.5f))), at);
    add(reaches, vmul(given, rounded(s, p)), at);
    add(bends, vmul(vmul(onto, p.bent), p.log), at);
}

void ISA(interval_back)(const lk_interval *at, const float *w, const float *grad, size_t rows, size_t n, float *passed,
                        float *centre, float *width, float *gamma) {
    for (size_t r = 0; r < rows; ++r, w += n, grad += n, passed += n) {
        const interval s = interval_of(at, r);
        const float size = lk_step_of(at->width[r]), live = at->centre[r] + size < LK_LEAST_STEP ? 0.0f : 1.0f;
        vec slopes[PARTS], places[PARTS], reaches[PARTS], bends[PARTS];
        clear(slopes);
        clear(places);
        clear(reaches);
        clear(bends);
#define INTERVAL_BACK(place, part)                                                                                    \
    interval_back_at(s, w, grad, passed, slopes + part, places + part, reaches + part, bends + part, place)
        EVERY(INTERVAL_BACK);
        const float whole = tree(reaches) * live;
        centre[r] = whole - tree(slopes) * (0.5f / size);
        width[r] = (whole - tree(places) / size) * lk_sign_of(at->width[r]);
        gamma[r] = tree(bends) * LOG_2;
    }
}

typedef struct levels {
    vec low, inverse, step, top;
} levels;

INLINE levels levels_of(const lk_levels *at, size_t r) {
    const size_t own = r * at->stride;
    const float step = lk_step_of(at->raw[own]);
    return (levels){vset(at->low[own]), vset(1.0f / step), vset(step), vset(at->top)};
}

INLINE vec scaled_by(levels s, vec x) { return vmul(vsub(x, s.low), s.inverse); }

INLINE vec code_of(levels s, vec scaled) {
    return downwards(between(vset(0.0f), vadd(scaled, vset(0.5f)), s.top));
}

INLINE void level_at(levels s, const float *x, float *y, int32_t *codes, place at) {
    const vec code = code_of(s, scaled_by(s, get(x, at)));
    put(y, vadd(vmul(code, s.step), s.low), at);
    if (codes == NULL) return;
    /* The last bits of 2^23 + code are the code. What NaN has for one is the code after the last. */
    const vec number = vselect(vnan(code), vadd(s.top, vset(1.0f)), code);
    put((float *)(void *)codes, vfrom(wand(vbits(vadd(number, vset(0x1p+23f))), wset(0x7fffffu))), at);
}

void ISA(levels)(const lk_levels *at, const float *x, size_t rows, size_t n, float *y, int32_t *codes) {
    for (size_t r = 0; r < rows; ++r, x += n, y += n) {
        const levels s = levels_of(at, r);
#define LEVEL(place, part) level_at(s, x, y, codes, place)
        EVERY(LEVEL);
        if (codes != NULL) codes += n;
    }
}

INLINE void level_back_at(levels s, int rounding, const float *x, const float *grad, float *passed, vec *clipped,
                          vec *felt, place at) {
    const vec given = get(grad, at), scaled = scaled_by(s, get(x, at)), code = code_of(s, scaled);
    const vec through = inside(vset(0.0f), scaled, s.top, given), rest = vsub(given, through);
    put(passed, through, at);
    add(clipped, rest, at);
    add(felt, rounding ? vsub(vmul(given, code), vmul(through, scaled)) : vmul(rest, code), at);
}

void ISA(levels_back)(const lk_levels *at, const float *x, const float *grad, size_t rows, size_t n, float *passed,
                      float *clipped, float *felt) {
    lk_row_sums cuts = {clipped, at->stride, 0.0}, feelings = {felt, at->stride, 0.0};
    for (size_t r = 0; r < rows; ++r, x += n, grad += n, passed += n) {
        const levels s = levels_of(at, r);
        const int rounding = at->rounding;
        vec cut[PARTS], feels[PARTS];
        clear(cut);
        clear(feels);
#define LEVEL_BACK(place, part) level_back_at(s, rounding, x, grad, passed, cut + part, feels + part, place)
        EVERY(LEVEL_BACK);
        lk_add_row(&cuts, r, tree(cut), 1.0f);
        lk_add_row(&feelings, r, tree(feels), lk_sign_of(at->raw[r * at->stride]));
    }
}

INLINE void stair_back_at(levels s, const lk_stairs *stairs, const float *x, const float *grad, float *passed,
                          vec *clipped, vec *felt, vec *soft, place at) {
    const vec given = get(grad, at), scaled = scaled_by(s, get(x, at)), code = code_of(s, scaled);
    const vec in_range = between(vset(0.0f), scaled, s.top);
    const vec cell = vmin(vsub(s.top, vset(1.0f)), downwards(in_range));
    const vec middle = vsub(vsub(in_range, cell), vset(0.5f));
    const vec curve = staircase(vmul(middle, vset(stairs->steep)));
    const vec bell = vsub(vset(1.0f), vmul(curve, curve));
    const vec through = inside(vset(0.0f), scaled, s.top, given);
    const vec slope = vmul(vmul(through, bell), vset(stairs->slope));
    const vec bends = vsub(vmul(curve, vset(stairs->soften)), vmul(vmul(middle, bell), vset(stairs->place)));
    put(passed, slope, at);
    add(clipped, vsub(given, slope), at);
    add(felt, vsub(vmul(given, code), vmul(slope, scaled)), at);
    add(soft, vmul(bends, through), at);
}

void ISA(stairs_back)(const lk_levels *at, const lk_stairs *stairs, const float *x, const float *grad, size_t rows,
                      size_t n, float *passed, float *clipped, float *felt, float *soft) {
    lk_row_sums cuts = {clipped, at->stride, 0.0}, feelings = {felt, at->stride, 0.0}, softs = {soft, at->stride, 0.0};
    for (size_t r = 0; r < rows; ++r, x += n, grad += n, passed += n) {
        const levels s = levels_of(at, r);
        vec cut[PARTS], feels[PARTS], bends[PARTS];
        clear(cut);
        clear(feels);
        clear(bends);
#define STAIR_BACK(place, part)                                                                                       \
    stair_back_at(s, stairs, x, grad, passed, cut + part, feels + part, bends + part, place)
        EVERY(STAIR_BACK);
        lk_add_row(&cuts, r, tree(cut), 1.0f);
        lk_add_row(&feelings, r, tree(feels), lk_sign_of(at->raw[r * at->stride]));
        lk_add_row(&softs, r, tree(bends), lk_step_of(at->raw[r * at->stride]));
    }
}
