/* The reference of the family: plain C, one output at a time, every float operation rounded by itself. */
#include "segment.h"

static float code(const void *codes, size_t o, int is_unsigned) {
    return is_unsigned ? (float)((const uint8_t *)codes)[o] : (float)((const int8_t *)codes)[o];
}

static void add(const lk_hits *hits, size_t at, float value, int is_unsigned, float *sum) {
    value = hits->scale[at] * value;
    if (is_unsigned) value = hits->offset[at] + value;
    *sum = *sum + value;
}

void lk_segment_serial(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n) {
    for (size_t h = 0; h < n_hits; ++h) {
        const size_t left = lk_left(hits, h) * n, right = lk_right(hits, h) * n, segment = (size_t)hits->segment[h] * n;
        for (size_t o = 0; o < n; ++o) {
            const float q0 = code(hits->q, left + o, is_unsigned), q1 = code(hits->q, right + o, is_unsigned);
            add(hits, segment + o, q0 + hits->w[h] * (q1 - q0), is_unsigned, sums + o);
        }
    }
}

void lk_segment_nearest_serial(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n) {
    for (size_t h = 0; h < n_hits; ++h) {
        const size_t nearest = (hits->w[h] < 0.5f ? lk_left(hits, h) : lk_right(hits, h)) * n;
        const size_t segment = (size_t)hits->segment[h] * n;
        for (size_t o = 0; o < n; ++o)
            add(hits, segment + o, code(hits->q, nearest + o, is_unsigned), is_unsigned, sums + o);
    }
}
