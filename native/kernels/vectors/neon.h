/* NEON: four floats; a tail goes through a full vector on the stack. What the macros are stands in functions.h. */
#ifndef LUTKAN_VECTORS_NEON_H
#define LUTKAN_VECTORS_NEON_H

#include <arm_neon.h>
#include <string.h>

#define ISA(name) lk_##name##_neon
#define WIDTH 4
typedef float32x4_t vec;
typedef uint32x4_t words;
typedef uint32x4_t mask;

static inline __attribute__((always_inline)) vec vload_part(const float *p, size_t count) {
    float part[WIDTH] = {0};
    memcpy(part, p, count * sizeof(float));
    return vld1q_f32(part);
}

static inline __attribute__((always_inline)) void vstore_part(float *p, vec v, size_t count) {
    float part[WIDTH];
    vst1q_f32(part, v);
    memcpy(p, part, count * sizeof(float));
}

static inline __attribute__((always_inline)) vec vkeep(vec v, size_t count) {
    static const uint32_t place[WIDTH] = {0, 1, 2, 3};
    const mask kept = vcltq_u32(vld1q_u32(place), vdupq_n_u32((uint32_t)count));
    return vreinterpretq_f32_u32(vandq_u32(kept, vreinterpretq_u32_f32(v)));
}

#define vset(a) vdupq_n_f32(a)
#define vload(p) vld1q_f32(p)
#define vstore(p, v) vst1q_f32(p, v)

#define vadd(a, b) vaddq_f32(a, b)
#define vsub(a, b) vsubq_f32(a, b)
#define vmul(a, b) vmulq_f32(a, b)
#define vdiv(a, b) vdivq_f32(a, b)
#define vsqrt(a) vsqrtq_f32(a)
#define vmax(a, b) vmaxq_f32(a, b)
#define vmin(a, b) vminq_f32(a, b)

#define vlt(a, b) vcltq_f32(a, b)
#define vle(a, b) vcleq_f32(a, b)
#define vnan(a) vmvnq_u32(vceqq_f32(a, a))
#define vselect(m, a, b) vbslq_f32(m, a, b)
#define mnone vdupq_n_u32(0)
#define mor(a, b) vorrq_u32(a, b)
#define many(m) (vmaxvq_u32(m) != 0)

#define vbits(v) vreinterpretq_u32_f32(v)
#define vfrom(w) vreinterpretq_f32_u32(w)
#define wset(u) vdupq_n_u32(u)
#define wand(a, b) vandq_u32(a, b)
#define wor(a, b) vorrq_u32(a, b)
#define wadd(a, b) vaddq_u32(a, b)
#define wshift(w, by) vshlq_n_u32(w, by)
#define wright(w, by) vshrq_n_u32(w, by)

#endif
