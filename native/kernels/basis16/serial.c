/* The reference of the family: plain C, one multiplication at a time. */
#include "basis16.h"

void lk_basis16_serial(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                       size_t groups, size_t n, size_t flush, int64_t *acc) {
    (void)flush; /* sums are 64 bits wide from the start */
    for (size_t r = 0; r < rows; ++r) {
        for (size_t u = 0; u < units; ++u) {
            const int16_t *block = packed + (size_t)off[r * units + u] * 32;
            for (size_t g = 0; g < 2 * groups; ++g) {
                const uint32_t word = w[(r * units + u) * 2 * groups + g];
                const int32_t w0 = (int16_t)(word & 65535u), w1 = (int16_t)(word >> 16);
                const int16_t *q = block + g * n * 2;
                for (size_t o = 0; o < n; ++o)
                    acc[r * n + o] += (int64_t)(w0 * q[2 * o]) + (int64_t)(w1 * q[2 * o + 1]);
            }
        }
    }
}

void lk_finish16_serial(const int64_t *acc, const float *scale, float *sums, size_t n) {
    for (size_t o = 0; o < n; ++o) {
        const float value = (float)acc[o] * scale[o];
        sums[o] = sums[o] + value;
    }
}
