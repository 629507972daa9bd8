/* NEON: four outputs a vector. */
#include "segment.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

#define ISA(name) lk_##name##_neon
#define WIDTH 4
#define TILE 8
typedef float32x4_t vec;

static inline __attribute__((always_inline)) uint8x8_t four(const void *p) {
    uint32_t codes;
    memcpy(&codes, p, sizeof codes);
    return vcreate_u8(codes);
}

#define vset(a) vdupq_n_f32(a)
#define vload(p) vld1q_f32(p)
#define vstore(p, v) vst1q_f32(p, v)
#define vadd(a, b) vaddq_f32(a, b)
#define vsub(a, b) vsubq_f32(a, b)
#define vmul(a, b) vmulq_f32(a, b)
#define vint8(p) vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four(p))))))
#define vuint8(p) vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four(p)))))

#include "vector.h"

#endif
