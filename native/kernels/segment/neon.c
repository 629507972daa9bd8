/* NEON: four outputs a vector. */
#include "segment.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include "vectors/neon.h"

#define TILE 8

static inline __attribute__((always_inline)) uint8x8_t four(const void *p) {
    uint32_t codes;
    memcpy(&codes, p, sizeof codes);
    return vcreate_u8(codes);
}

#define vint8(p) vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four(p))))))
#define vuint8(p) vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four(p)))))

#include "vector.h"

#endif
