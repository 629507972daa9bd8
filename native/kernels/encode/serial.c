/* The reference of the family. */
#include "encode.h"

void lk_encode_serial(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    for (size_t i = 0; i < n; ++i) lk_encode_one(at, x, off, w, i);
}
