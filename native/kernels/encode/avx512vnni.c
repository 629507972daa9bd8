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

void lk_encode_codes_avx512vnni(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    const __m512 last = _mm512_set1_ps((float)(at->count - 1u)), zero = _mm512_setzero_ps();
    const __m512i block = _mm512_set1_epi32((int)at->block), stride = _mm512_set1_epi32((int)at->stride);
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t i = 0;
    if (at->words <= 2) {
        for (; i + 16 <= n; i += 16) {
            const __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(at->low + i));
            const __m512 v = _mm512_mul_ps(shifted, _mm512_loadu_ps(at->inverse + i));
            const __m512i p = _mm512_cvttps_epi32(_mm512_max_ps(_mm512_min_ps(v, last), zero));
            const __m512i input = _mm512_add_epi32(_mm512_set1_epi32((int)i), lanes);
            const __m512i row = _mm512_add_epi32(p, _mm512_mullo_epi32(input, stride));
            __m512i start = _mm512_loadu_si512(at->base + i);
            if (at->first != NULL)
                start = _mm512_add_epi32(
                    start, _mm512_mullo_epi32(_mm512_i32gather_epi32(row, (const void *)at->first, 4), block));
            _mm512_storeu_si512(off + i, start);
            if (at->words == 1) {
                _mm512_storeu_si512(w + i, _mm512_i32gather_epi32(row, (const void *)at->weights, 4));
            } else {
                const __m256i low = _mm512_castsi512_si256(row), high = _mm512_extracti64x4_epi64(row, 1);
                _mm512_storeu_si512(w + 2 * i, _mm512_i32gather_epi64(low, (const void *)at->weights, 8));
                _mm512_storeu_si512(w + 2 * i + 16, _mm512_i32gather_epi64(high, (const void *)at->weights, 8));
            }
        }
    }
    for (; i < n; ++i) lk_encode_code_one(at, x, off, w, i);
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

/* One knot of every input: by a permutation where all inputs share at most 32 knots, by a gather elsewhere. */
typedef struct knots16 {
    const float *from;
    __m512i first; /* of each input */
    __m512 low, high;
} knots16;

static inline __attribute__((always_inline)) __m512 knot(const knots16 *of, __m512i at, const int shared) {
    return shared ? _mm512_permutex2var_ps(of->low, at, of->high)
                  : _mm512_i32gather_ps(_mm512_add_epi32(of->first, at), of->from, 4);
}

static inline __attribute__((always_inline)) void locate16(const lk_segments *at, const float *x, uint32_t *row,
                                                           uint32_t *segment, float *w, uint8_t *inside, size_t i,
                                                           const int shared) {
    const __m512 zero = _mm512_setzero_ps(), one = _mm512_set1_ps(1.0f), end = _mm512_set1_ps((float)(at->segments - 1u));
    const __m512 last = _mm512_set1_ps((float)(at->samples - 1u)), most = _mm512_sub_ps(last, one);
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i single = _mm512_set1_epi32(1), count = _mm512_set1_epi32((int)at->segments);
    const __m512i top_segment = _mm512_set1_epi32((int)at->segments - 1);
    knots16 of;
    of.from = at->knots + (shared ? 0 : i * (at->segments + 1u));
    if (shared) {
        const uint32_t knots = at->segments + 1u, tail = knots > 16 ? knots - 16 : 0;
        of.first = _mm512_setzero_si512();
        of.low = _mm512_maskz_loadu_ps((__mmask16)(knots >= 16 ? 0xffffu : (1u << knots) - 1u), of.from);
        of.high = _mm512_maskz_loadu_ps((__mmask16)(tail >= 16 ? 0xffffu : (1u << tail) - 1u), of.from + 16);
    } else {
        of.first = _mm512_mullo_epi32(lanes, _mm512_set1_epi32((int)at->segments + 1));
        of.low = of.high = zero;
    }
    const __m512 low = knot(&of, _mm512_setzero_si512(), shared), high = knot(&of, count, shared);
    __m512 point = _mm512_loadu_ps(x + i);
    const __mmask16 in = _mm512_cmp_ps_mask(point, low, _CMP_GE_OQ) &
                         (at->closed ? _mm512_cmp_ps_mask(point, high, _CMP_LE_OQ)
                                     : _mm512_cmp_ps_mask(point, high, _CMP_LT_OQ));
    if (!at->line) {
        __m512 top = high;
        if (!at->closed) { /* the float before: one step of the bits towards minus infinity */
            const __m512i bits = _mm512_castps_si512(high), ones = _mm512_set1_epi32(-1);
            const __mmask16 positive = _mm512_cmp_ps_mask(high, zero, _CMP_GT_OQ);
            __m512i before = _mm512_mask_add_epi32(_mm512_add_epi32(bits, single), positive, bits, ones);
            before = _mm512_mask_mov_epi32(before, _mm512_cmp_ps_mask(high, zero, _CMP_EQ_OQ),
                                           _mm512_set1_epi32((int)UINT32_C(0x80000001)));
            top = _mm512_castsi512_ps(before);
        }
        point = _mm512_max_ps(_mm512_min_ps(point, top), low);
    }
    const __m512 guess = _mm512_mul_ps(_mm512_sub_ps(point, low), _mm512_loadu_ps(at->inverse + i));
    __m512i s = _mm512_cvttps_epi32(_mm512_max_ps(_mm512_min_ps(guess, end), zero));
    const __m512 here = knot(&of, s, shared), next = knot(&of, _mm512_add_epi32(s, single), shared);
    const __mmask16 down = _mm512_cmp_ps_mask(point, here, _CMP_LT_OQ) & _mm512_cmpgt_epi32_mask(s, _mm512_setzero_si512());
    const __mmask16 up = (__mmask16)(_mm512_cmp_ps_mask(point, next, _CMP_GE_OQ) &
                                     _mm512_cmplt_epi32_mask(s, top_segment) & (__mmask16)~down);
    s = _mm512_mask_sub_epi32(s, down, s, single);
    s = _mm512_mask_add_epi32(s, up, s, single);
    const __m512 left = knot(&of, s, shared), right = knot(&of, _mm512_add_epi32(s, single), shared);
    const __m512 width = _mm512_sub_ps(right, left);
    const __mmask16 wide = _mm512_cmp_ps_mask(width, zero, _CMP_GT_OQ);
    __m512 u = _mm512_maskz_div_ps(wide, _mm512_sub_ps(point, left), width);
    if (!at->line) u = _mm512_max_ps(_mm512_min_ps(u, one), zero);
    const __m512 position = _mm512_mul_ps(u, last);
    __m512 sample = _mm512_roundscale_ps(position, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    sample = _mm512_max_ps(_mm512_min_ps(sample, most), zero);
    __m512 weight = _mm512_sub_ps(position, sample);
    __m512i at_sample = _mm512_cvttps_epi32(sample);
    if (at->line) {
        weight = _mm512_mask_mov_ps(u, in, weight);
        at_sample = _mm512_maskz_mov_epi32(in, at_sample);
    }
    const __m512i before = _mm512_mullo_epi32(_mm512_add_epi32(_mm512_set1_epi32((int)i), lanes), count);
    s = _mm512_add_epi32(s, before);
    _mm512_storeu_si512(segment + i, s);
    _mm512_storeu_si512(row + i, _mm512_add_epi32(_mm512_mullo_epi32(s, _mm512_set1_epi32((int)at->samples)), at_sample));
    _mm512_storeu_ps(w + i, weight);
    _mm_storeu_si128((__m128i *)(inside + i), _mm_maskz_set1_epi8(in, 1));
}

void lk_locate_avx512vnni(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w,
                          uint8_t *inside, size_t n) {
    if (n < 16) {
        for (size_t i = 0; i < n; ++i) lk_locate_one(at, x, row, segment, w, inside, i);
        return;
    }
    /* The last sixteen overlap those before, which are found once more. */
    if (at->shared && at->segments < 32u) {
        for (size_t i = 0; i + 16 <= n; i += 16) locate16(at, x, row, segment, w, inside, i, 1);
        if (n % 16 != 0) locate16(at, x, row, segment, w, inside, n - 16, 1);
    } else {
        for (size_t i = 0; i + 16 <= n; i += 16) locate16(at, x, row, segment, w, inside, i, 0);
        if (n % 16 != 0) locate16(at, x, row, segment, w, inside, n - 16, 0);
    }
}

#endif
