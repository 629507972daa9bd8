/* What more than one family needs, for any vector width: an instruction set defines its vectors (avx2.h, avx512vnni.h,
 * neon.h), then includes the code of a family, which includes this.
 *
 * types       vec (WIDTH floats), words (the same as uint32), mask
 * ISA(name)   name of an exported function
 * moves       vset(a), vload(p), vstore(p, v); with count < WIDTH elements, others 0: vload_part(p, count),
 *             vstore_part(p, v, count), vkeep(v, count)
 * arithmetic  vadd, vsub, vmul, vdiv, vsqrt, each rounded by itself; vmax(a, b) and vmin(a, b) are NaN where b
 *             is; a is never NaN here, and zeros of either sign never meet
 * selection   vlt(a, b), vle(a, b), vnan(a) -> mask; vselect(mask, a, b); many(mask): nonzero if any is set;
 *             mnone, mor(m, m)
 * bits        vbits(v), vfrom(words), wset(u), wand, wor, wadd, wshift(w, constant), wright(w, constant)
 *
 * Every step is one of docs/spec/float32.md. A step is left out only where it cannot change a result. */
#ifndef LUTKAN_VECTORS_FUNCTIONS_H
#define LUTKAN_VECTORS_FUNCTIONS_H

#include "vectors/constants.h"

#define INLINE static inline __attribute__((always_inline))

INLINE vec step(vec h, vec x, float coefficient) { return vadd(vmul(h, x), vset(coefficient)); }

/* Steps 3 to 8 of exp: EXP_LOW <= t <= EXP_HIGH. */
INLINE vec exp_within(vec t) {
    const vec m = vadd(vmul(t, vset(LOG2E)), vset(ROUNDER));
    const vec k = vsub(m, vset(ROUNDER));
    vec r = vsub(t, vmul(k, vset(LN2_HIGH)));
    r = vsub(r, vmul(k, vset(LN2_LOW)));
    vec h = vset(EXP_4);
    h = step(h, r, EXP_3);
    h = step(h, r, EXP_2);
    h = step(h, r, EXP_1);
    h = step(h, r, EXP_0);
    const vec p = vadd(vset(1.0f), vadd(r, vmul(vmul(r, r), h)));
    return vfrom(wadd(vbits(p), wshift(vbits(m), 23)));
}

/* exp of x <= 0. NaN gives 0; callers bring it back. */
INLINE vec exp_negative(vec x) {
    return vselect(vle(vset(EXP_LOW), x), exp_within(vmax(vset(EXP_LOW), x)), vset(0.0f));
}

INLINE vec magnitude(vec x) { return vfrom(wand(vbits(x), wset(~SIGN_BIT))); }

INLINE vec minus_magnitude(vec x) { return vfrom(wor(vbits(x), wset(SIGN_BIT))); }

/* tanh of a magnitude below TANH_SPLIT, with the sign of x. */
INLINE vec tangent_near(vec x) {
    const vec a = magnitude(x), z = vmul(a, a);
    vec h = vset(TANH_4);
    h = step(h, z, TANH_3);
    h = step(h, z, TANH_2);
    h = step(h, z, TANH_1);
    h = step(h, z, TANH_0);
    return vfrom(wor(vbits(vadd(a, vmul(vmul(a, z), h))), wand(vbits(x), wset(SIGN_BIT))));
}

INLINE vec tangent(vec x) {
    const vec a = magnitude(x);
    /* From 19 on, 2 / (exp + 1) is less than half a last place of 1. */
    const vec e = exp_within(vmin(vset(32.0f), vadd(a, a)));
    const vec far = vsub(vset(1.0f), vdiv(vset(2.0f), vadd(e, vset(1.0f))));
    const vec signed_far = vfrom(wor(vbits(far), wand(vbits(x), wset(SIGN_BIT))));
    return vselect(vle(vset(TANH_SPLIT), a), signed_far, tangent_near(x)); /* NaN takes near, which is NaN */
}

/* The sixteen lanes of a sum: vectors of them side by side. */
#define PARTS (LANES / WIDTH)

/* The last steps of `lanesum` in the specification. */
INLINE float tree(const vec sum[PARTS]) {
    float lane[LANES];
    for (int part = 0; part < PARTS; ++part) vstore(lane + WIDTH * part, sum[part]);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; ++l) lane[l] = lane[l] + lane[l + width];
    return lane[0];
}

#endif
