/* The reference of the family: plain C, one output at a time, every float operation rounded by itself. */
#include "segment.h"

static float code(const void *codes, size_t o, int is_unsigned) {
    return is_unsigned ? (float)((const uint8_t *)codes)[o] : (float)((const int8_t *)codes)[o];
}

static void add(const lk_hit *hit, size_t o, float value, int is_unsigned, float *sums) {
    value = hit->scale[o] * value;
    if (is_unsigned) value = hit->offset[o] + value;
    sums[o] = sums[o] + value;
}

void lk_segment_serial(const lk_hit *hits, size_t n_hits, int is_unsigned, float *sums, size_t n) {
    for (size_t h = 0; h < n_hits; ++h) {
        const lk_hit *hit = &hits[h];
        for (size_t o = 0; o < n; ++o) {
            const float q0 = code(hit->q0, o, is_unsigned), q1 = code(hit->q1, o, is_unsigned);
            add(hit, o, q0 + hit->w * (q1 - q0), is_unsigned, sums);
        }
    }
}

void lk_segment_nearest_serial(const lk_hit *hits, size_t n_hits, int is_unsigned, float *sums, size_t n) {
    for (size_t h = 0; h < n_hits; ++h) {
        const lk_hit *hit = &hits[h];
        const void *nearest = hit->w < 0.5f ? hit->q0 : hit->q1;
        for (size_t o = 0; o < n; ++o) add(hit, o, code(nearest, o, is_unsigned), is_unsigned, sums);
    }
}
