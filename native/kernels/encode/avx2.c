/* AVX2: 8 positions at a time; weights are fetched one by one, which gathers are no faster at here. */
#include "encode.h"

#if defined(__AVX2__)
#include <immintrin.h>
#include <string.h>

void lk_encode_avx2(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    const __m256 last = _mm256_set1_ps((float)(at->count - 1u)), zero = _mm256_setzero_ps();
    const __m256i mask = _mm256_set1_epi32((int)((1u << at->bits) - 1u)), block = _mm256_set1_epi32((int)at->block);
    const __m128i bits = _mm_cvtsi32_si128((int)at->bits);
    size_t i = 0;
    if (at->words <= 2) {
        for (; i + 8 <= n; i += 8) {
            uint32_t row[8];
            const __m256 shifted = _mm256_sub_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(at->low + i));
            const __m256 v = _mm256_mul_ps(shifted, _mm256_loadu_ps(at->inverse + i));
            const __m256i p = _mm256_cvttps_epi32(_mm256_max_ps(_mm256_min_ps(v, last), zero));
            const __m256i jump = _mm256_mullo_epi32(_mm256_srl_epi32(p, bits), block);
            const __m256i base = _mm256_loadu_si256((const __m256i *)(at->base + i));
            _mm256_storeu_si256((__m256i *)(off + i), _mm256_add_epi32(base, jump));
            _mm256_storeu_si256((__m256i *)row, _mm256_and_si256(p, mask));
            if (at->words == 1)
                for (size_t k = 0; k < 8; ++k) w[i + k] = at->weights[row[k]];
            else
                for (size_t k = 0; k < 8; ++k) {
                    w[2 * (i + k)] = at->weights[2 * (size_t)row[k]];
                    w[2 * (i + k) + 1] = at->weights[2 * (size_t)row[k] + 1];
                }
        }
    }
    for (; i < n; ++i) lk_encode_one(at, x, off, w, i);
}

void lk_encode_codes_avx2(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n) {
    const __m256 last = _mm256_set1_ps((float)(at->count - 1u)), zero = _mm256_setzero_ps();
    const __m256i block = _mm256_set1_epi32((int)at->block), stride = _mm256_set1_epi32((int)at->stride);
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const size_t words = at->words;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint32_t row[8], first[8];
        const __m256 shifted = _mm256_sub_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(at->low + i));
        const __m256 v = _mm256_mul_ps(shifted, _mm256_loadu_ps(at->inverse + i));
        const __m256i p = _mm256_cvttps_epi32(_mm256_max_ps(_mm256_min_ps(v, last), zero));
        const __m256i input = _mm256_add_epi32(_mm256_set1_epi32((int)i), lanes);
        _mm256_storeu_si256((__m256i *)row, _mm256_add_epi32(p, _mm256_mullo_epi32(input, stride)));
        __m256i start = _mm256_loadu_si256((const __m256i *)(at->base + i));
        if (at->first != NULL) {
            for (size_t k = 0; k < 8; ++k) first[k] = at->first[row[k]];
            const __m256i skipped = _mm256_loadu_si256((const __m256i *)first);
            start = _mm256_add_epi32(start, _mm256_mullo_epi32(skipped, block));
        }
        _mm256_storeu_si256((__m256i *)(off + i), start);
        if (words == 1)
            for (size_t k = 0; k < 8; ++k) w[i + k] = at->weights[row[k]];
        else
            for (size_t k = 0; k < 8; ++k) memcpy(w + (i + k) * words, at->weights + row[k] * words, words * sizeof *w);
    }
    for (; i < n; ++i) lk_encode_code_one(at, x, off, w, i);
}

int lk_codes_avx2(const float *values, float inverse, float half, uint32_t levels, uint32_t zero, uint8_t *code,
                  size_t n) {
    const __m256 by = _mm256_set1_ps(inverse), plus = _mm256_set1_ps(half), top = _mm256_set1_ps((float)levels);
    int beyond = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        int32_t p[8];
        const __m256 v = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(values + i), by), plus);
        const __m256 coded =
            _mm256_and_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GE_OQ), _mm256_cmp_ps(v, top, _CMP_LT_OQ));
        const __m256i chosen = _mm256_blendv_epi8(_mm256_set1_epi32((int)zero), _mm256_cvttps_epi32(v),
                                                  _mm256_castps_si256(coded));
        _mm256_storeu_si256((__m256i *)p, chosen);
        for (size_t k = 0; k < 8; ++k) code[i + k] = (uint8_t)p[k];
        beyond |= _mm256_movemask_ps(coded) != 255;
    }
    for (; i < n; ++i) beyond |= lk_code_one(values[i], inverse, half, levels, zero, code + i);
    return beyond;
}

int lk_outside_avx2(const float *x, const float *low, const float *high, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        const __m256 out = _mm256_or_ps(_mm256_cmp_ps(v, _mm256_loadu_ps(low + i), _CMP_LT_OQ),
                                        _mm256_cmp_ps(v, _mm256_loadu_ps(high + i), _CMP_GT_OQ));
        if (_mm256_movemask_ps(out)) return 1;
    }
    for (; i < n; ++i)
        if (x[i] < low[i] || x[i] > high[i]) return 1;
    return 0;
}

#define vpick(otherwise, mask, value) _mm256_blendv_ps(otherwise, value, mask)

/* Eight inputs from `i` on; the steps of lk_locate_one. */
static inline void locate8(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w,
                           uint8_t *inside, size_t i) {
    const float *knots = at->knots + i * (at->segments + 1u);
    const __m256 zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1.0f);
    const __m256 end = _mm256_set1_ps((float)(at->segments - 1u)), last = _mm256_set1_ps((float)(at->samples - 1u));
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), single = _mm256_set1_epi32(1);
    const __m256i count = _mm256_set1_epi32((int)at->segments), top_segment = _mm256_set1_epi32((int)at->segments - 1);
    const __m256i first = _mm256_mullo_epi32(lanes, _mm256_set1_epi32((int)at->segments + 1));
#define knot(s) _mm256_i32gather_ps(knots, _mm256_add_epi32(first, s), 4)
    const __m256 low = knot(_mm256_setzero_si256()), high = knot(count);
    __m256 point = _mm256_loadu_ps(x + i);
    const __m256 below = at->closed ? _mm256_cmp_ps(point, high, _CMP_LE_OQ) : _mm256_cmp_ps(point, high, _CMP_LT_OQ);
    const __m256 in = _mm256_and_ps(_mm256_cmp_ps(point, low, _CMP_GE_OQ), below);
    if (!at->line) {
        __m256 top = high;
        if (!at->closed) { /* the float before: one step of the bits towards minus infinity */
            const __m256i bits = _mm256_castps_si256(high);
            const __m256 down = _mm256_castsi256_ps(_mm256_sub_epi32(bits, single));
            top = vpick(_mm256_castsi256_ps(_mm256_add_epi32(bits, single)), _mm256_cmp_ps(high, zero, _CMP_GT_OQ), down);
            top = vpick(top, _mm256_cmp_ps(high, zero, _CMP_EQ_OQ),
                        _mm256_castsi256_ps(_mm256_set1_epi32((int)UINT32_C(0x80000001))));
        }
        point = _mm256_max_ps(_mm256_min_ps(point, top), low);
    }
    const __m256 guess = _mm256_mul_ps(_mm256_sub_ps(point, low), _mm256_loadu_ps(at->inverse + i));
    __m256i s = _mm256_cvttps_epi32(_mm256_max_ps(_mm256_min_ps(guess, end), zero));
    const __m256i down = _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(point, knot(s), _CMP_LT_OQ)),
                                          _mm256_cmpgt_epi32(s, _mm256_setzero_si256()));
    const __m256 next = knot(_mm256_add_epi32(s, single));
    const __m256i up = _mm256_andnot_si256(down, _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(point, next, _CMP_GE_OQ)),
                                                                  _mm256_cmpgt_epi32(top_segment, s)));
    s = _mm256_sub_epi32(_mm256_add_epi32(s, down), up); /* masks are -1 */
    const __m256 left = knot(s), right = knot(_mm256_add_epi32(s, single)), width = _mm256_sub_ps(right, left);
#undef knot
    __m256 u = _mm256_and_ps(_mm256_div_ps(_mm256_sub_ps(point, left), width), _mm256_cmp_ps(width, zero, _CMP_GT_OQ));
    if (!at->line) u = _mm256_max_ps(_mm256_min_ps(u, one), zero);
    const __m256 position = _mm256_mul_ps(u, last);
    const __m256 sample = _mm256_max_ps(_mm256_min_ps(_mm256_floor_ps(position), _mm256_sub_ps(last, one)), zero);
    __m256 weight = _mm256_sub_ps(position, sample);
    __m256i at_sample = _mm256_cvttps_epi32(sample);
    if (at->line) {
        weight = vpick(u, in, weight);
        at_sample = _mm256_and_si256(at_sample, _mm256_castps_si256(in));
    }
    s = _mm256_add_epi32(s, _mm256_mullo_epi32(_mm256_add_epi32(_mm256_set1_epi32((int)i), lanes), count));
    const __m256i rows = _mm256_add_epi32(_mm256_mullo_epi32(s, _mm256_set1_epi32((int)at->samples)), at_sample);
    _mm256_storeu_si256((__m256i *)(segment + i), s);
    _mm256_storeu_si256((__m256i *)(row + i), rows);
    _mm256_storeu_ps(w + i, weight);
    const int mask = _mm256_movemask_ps(in);
    for (size_t k = 0; k < 8; ++k) inside[i + k] = (uint8_t)(mask >> k & 1);
}

void lk_locate_avx2(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w, uint8_t *inside,
                    size_t n) {
    if (n < 8) {
        for (size_t i = 0; i < n; ++i) lk_locate_one(at, x, row, segment, w, inside, i);
        return;
    }
    /* The last eight overlap those before, which are found once more. */
    for (size_t i = 0;; i = i + 16 <= n ? i + 8 : n - 8) {
        locate8(at, x, row, segment, w, inside, i);
        if (i + 8 == n) break;
    }
}

#endif
