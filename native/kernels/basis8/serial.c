/* The reference of the family: plain C, one multiplication at a time. */
#include "basis8.h"

void lk_basis8_serial(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                      size_t groups, size_t n, int32_t *acc) {
    for (size_t r = 0; r < rows; ++r) {
        for (size_t u = 0; u < units; ++u) {
            const int8_t *block = packed + (size_t)off[r * units + u] * 64;
            for (size_t g = 0; g < groups; ++g) {
                const uint32_t word = w[(r * units + u) * groups + g];
                const int32_t w0 = (int32_t)(word & 255u), w1 = (int32_t)((word >> 8) & 255u);
                const int32_t w2 = (int32_t)((word >> 16) & 255u), w3 = (int32_t)(word >> 24);
                const int8_t *q = block + g * n * 4;
                for (size_t o = 0; o < n; ++o)
                    acc[r * n + o] += w0 * q[4 * o] + w1 * q[4 * o + 1] + w2 * q[4 * o + 2] + w3 * q[4 * o + 3];
            }
        }
    }
}

void lk_finish8_serial(const int32_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; ++o) {
        const float value = (float)acc[o] * scale[o];
        sums[o] = sums[o] + value;
    }
}
