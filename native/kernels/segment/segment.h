/* Look-ups of segment tables, one hit an input; the contract stands in lutkan/kernels.h. */
#ifndef LUTKAN_SEGMENT_H
#define LUTKAN_SEGMENT_H

#include "lutkan/kernels.h"

#define LK_DECLARE_SEGMENT(isa)                                                                                      \
    void lk_segment_##isa(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n);                \
    void lk_segment_nearest_##isa(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n)

LK_DECLARE_SEGMENT(serial);
LK_DECLARE_SEGMENT(avx2);
LK_DECLARE_SEGMENT(avx512vnni);
LK_DECLARE_SEGMENT(neon);

static inline size_t lk_left(const lk_hits *hits, size_t h) { return hits->left[h]; }

static inline size_t lk_right(const lk_hits *hits, size_t h) {
    return hits->right == NULL ? (size_t)hits->left[h] + 1u : hits->right[h];
}

#endif
