/* Choose the kernels that this processor can run. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "basis16/basis16.h"
#include "basis8/basis8.h"
#include "dense8/dense8.h"
#include "encode/encode.h"
#include "float32/float32.h"
#include "requantize/requantize.h"
#include "segment/segment.h"
#include "training/training.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#define X86 1
#else
#define X86 0
#endif

#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if X86
#include <cpuid.h>
#endif

/* Instruction set `isa`; `narrow` is that of the int8 products, `spread`, `eight`, `few` and `dense` may be NULL. */
#define KERNELS(label, isa, narrow, spread, eight, few, dense)                                                                   \
    {                                                                                                                \
        .name = label, .activate = lk_activate_##isa, .prelu = lk_prelu_##isa, .affine = lk_affine_##isa,            \
        .layer_norm = lk_layer_norm_##isa, .add_products = lk_add_products_##isa, .add_scaled = lk_add_scaled_##isa,   \
        .add_bias = lk_add_bias_##isa, .has_nan = lk_has_nan_##isa, .segment = lk_segment_##isa,                     \
        .segment_nearest = lk_segment_nearest_##isa, .encode = lk_encode_##isa, .basis8 = lk_basis8_##narrow,        \
        .encode_codes = lk_encode_codes_##isa, .requantize8 = lk_requantize8_##isa,                                   \
        .requantize16 = lk_requantize16_##isa, .give_codes = lk_give_codes_##isa,                                     \
        .locate = lk_locate_##isa, .codes = lk_codes_##isa, .outside = lk_outside_##isa, .spread8 = spread, .encode_dense = eight,             \
        .encode_bytes = few,                                                                                         \
        .dense8 = dense, .basis16 = lk_basis16_##isa, .finish8 = lk_finish8_##narrow,             \
        .finish16 = lk_finish16_##isa, .steps = lk_steps_##isa, .steps_back = lk_steps_back_##isa,                   \
        .bent = lk_bent_##isa, .bent_back = lk_bent_back_##isa, .interval = lk_interval_##isa,                       \
        .interval_back = lk_interval_back_##isa, .levels = lk_levels_##isa,                                          \
        .levels_back = lk_levels_back_##isa, .stairs_back = lk_stairs_back_##isa, .look_up = lk_look_up_serial,      \
        .look_up_back = lk_look_up_back_serial                                                                       \
    }

typedef struct choice {
    lk_kernels kernels;
    int (*runs_here)(void);
} choice;

static int always(void) { return 1; }

#if X86

static int has_avx2(void) { return __builtin_cpu_supports("avx2"); }

static int has_avx512vnni(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

#if defined(LUTKAN_AMX) && defined(__linux__)
/* The tiles' state has to be asked for, once a process; kernels before 5.16 and most emulators say no. */
static int has_amx(void) {
    unsigned a, b, c, d;
    const unsigned tiles = 1u << 24 | 1u << 25;
    if (!has_avx512vnni() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tiles) != tiles) return 0;
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
}
#endif

#elif defined(__aarch64__)

static int has_dot(void) {
#if defined(__APPLE__)
    return 1;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & (1ul << 20)) != 0; /* HWCAP_ASIMDDP */
#else
    return 0;
#endif
}

#endif

/* Best first. */
static const choice choices[] = {
#if X86
#if defined(LUTKAN_AMX) && defined(__linux__)
    {KERNELS("amx", avx512vnni, avx512vnni, lk_spread8_amx, lk_encode_dense_amx,
             lk_encode_bytes_amx, lk_dense8_amx), has_amx},
#endif
    {KERNELS("avx512vnni", avx512vnni, avx512vnni, NULL, NULL, NULL, NULL), has_avx512vnni},
    {KERNELS("avx2", avx2, avx2, NULL, NULL, NULL, NULL), has_avx2},
#elif defined(__aarch64__)
    {KERNELS("neondot", neon, neondot, NULL, NULL, NULL, NULL), has_dot},
    {KERNELS("neon", neon, neon, NULL, NULL, NULL, NULL), always},
#endif
    {KERNELS("serial", serial, serial, NULL, NULL, NULL, NULL), always},
};

enum { CHOICES = sizeof choices / sizeof choices[0] };

size_t lk_available_kernels(const char **names, size_t capacity) {
    size_t count = 0;
    for (size_t k = 0; k < CHOICES; ++k) {
        if (!choices[k].runs_here()) continue;
        if (count < capacity) names[count] = choices[k].kernels.name;
        ++count;
    }
    return count;
}

const lk_kernels *lk_find_kernels(const char *name) {
    for (size_t k = 0; k < CHOICES; ++k)
        if ((name == NULL || strcmp(choices[k].kernels.name, name) == 0) && choices[k].runs_here())
            return &choices[k].kernels;
    return NULL;
}
