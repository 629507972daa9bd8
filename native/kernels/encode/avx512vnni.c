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

int lk_codes_avx512vnni(const float *values, float inverse, float half, uint32_t levels, uint32_t zero, uint8_t *code,
                        size_t n) {
    const __m512 by = _mm512_set1_ps(inverse), plus = _mm512_set1_ps(half), top = _mm512_set1_ps((float)levels);
    const __m512i none = _mm512_set1_epi32((int)zero);
    __mmask16 beyond = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(values + i), by), plus);
        const __mmask16 coded = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GE_OQ) &
                                _mm512_cmp_ps_mask(v, top, _CMP_LT_OQ);
        const __m512i p = _mm512_mask_cvttps_epi32(none, coded, v);
        _mm_storeu_si128((__m128i *)(code + i), _mm512_cvtepi32_epi8(p));
        beyond |= (__mmask16)~coded;
    }
    int rest = 0;
    for (; i < n; ++i) rest |= lk_code_one(values[i], inverse, half, levels, zero, code + i);
    return beyond != 0 || rest;
}

int lk_outside_avx512vnni(const float *x, const float *low, const float *high, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        if (_mm512_cmp_ps_mask(v, _mm512_loadu_ps(low + i), _CMP_LT_OQ) |
            _mm512_cmp_ps_mask(v, _mm512_loadu_ps(high + i), _CMP_GT_OQ))
            return 1;
    }
    for (; i < n; ++i)
        if (x[i] < low[i] || x[i] > high[i]) return 1;
    return 0;
}

#endif
