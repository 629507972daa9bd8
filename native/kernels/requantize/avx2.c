/* AVX2: four 64-bit numbers at a time; n is a multiple of LK_PAD. */
#include "requantize.h"

#if defined(__AVX2__)
#include <immintrin.h>

void lk_requantize8_avx2(const int32_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; o += 4) {
        const __m256i a = _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(acc + o)));
        const __m256i m = _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(multiplier + o)));
        const __m256i before = _mm256_loadu_si256((const __m256i *)(total + o));
        _mm256_storeu_si256((__m256i *)(total + o), _mm256_add_epi64(before, _mm256_mul_epi32(a, m)));
    }
}

void lk_requantize16_avx2(const int64_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; ++o) total[o] += acc[o] * multiplier[o];
}

void lk_give_codes_avx2(const int64_t *total, uint32_t shift, uint32_t top, float *y, size_t n) {
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    const __m256i most = _mm256_set1_epi64x((long long)top), zero = _mm256_setzero_si256();
    const __m256i low = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    for (size_t o = 0; o < n; o += 4) {
        const __m256i from = _mm256_loadu_si256((const __m256i *)(total + o));
        __m256i code = _mm256_andnot_si256(_mm256_cmpgt_epi64(zero, from), _mm256_srl_epi64(from, by));
        code = _mm256_blendv_epi8(code, most, _mm256_cmpgt_epi64(code, most));
        const __m128i narrow = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(code, low));
        _mm_storeu_ps(y + o, _mm_cvtepi32_ps(narrow));
    }
}

#endif
