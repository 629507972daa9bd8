/* AVX-512: 16 positions at a time, their weights by gathers from a table that lies in the L1 cache. */
#include "encode.h"

#if defined(__AVX512VNNI__) && defined(__AVX512DQ__)
#include <immintrin.h>

void lk_encode_avx512vnni(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    const __m512 last = _mm512_set1_ps((float)(at->count - 1u)), zero = _mm512_setzero_ps();
    const __m512i mask = _mm512_set1_epi32((int)((1u << at->bits) - 1u)), block = _mm512_set1_epi32((int)at->block);
    const __m128i bits = _mm_cvtsi32_si128((int)at->bits);
    size_t i = 0;
    if (at->words <= 2) {
        for (; i + 16 <= n; i += 16) {
            const __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(at->low + i));
            const __m512 v = _mm512_mul_ps(shifted, _mm512_loadu_ps(at->inverse + i));
            const __m512i p = _mm512_cvttps_epi32(_mm512_max_ps(_mm512_min_ps(v, last), zero));
            const __m512i row = _mm512_and_si512(p, mask);
            const __m512i jump = _mm512_mullo_epi32(_mm512_srl_epi32(p, bits), block);
            _mm512_storeu_si512(off + i, _mm512_add_epi32(_mm512_loadu_si512(at->base + i), jump));
            if (at->words == 1) {
                _mm512_storeu_si512(w + i, _mm512_i32gather_epi32(row, (const void *)at->weights, 4));
            } else {
                const __m256i low = _mm512_castsi512_si256(row), high = _mm512_extracti64x4_epi64(row, 1);
                _mm512_storeu_si512(w + 2 * i, _mm512_i32gather_epi64(low, (const void *)at->weights, 8));
                _mm512_storeu_si512(w + 2 * i + 16, _mm512_i32gather_epi64(high, (const void *)at->weights, 8));
            }
        }
    }
    for (; i < n; ++i) lk_encode_one(at, x, off, w, i);
}

#endif
