/* AVX-512: eight 64-bit numbers at a time; n is a multiple of LK_PAD. */
#include "requantize.h"

#if defined(__AVX512VNNI__) && defined(__AVX512DQ__)
#include <immintrin.h>

void lk_requantize8_avx512vnni(const int32_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; o += 8) {
        const __m512i a = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(acc + o)));
        const __m512i m = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(multiplier + o)));
        _mm512_storeu_si512(total + o, _mm512_add_epi64(_mm512_loadu_si512(total + o), _mm512_mul_epi32(a, m)));
    }
}

void lk_requantize16_avx512vnni(const int64_t *acc, const int32_t *multiplier, int64_t *total, size_t n) {
    for (size_t o = 0; o < n; o += 8) {
        const __m512i m = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(multiplier + o)));
        const __m512i product = _mm512_mullo_epi64(_mm512_loadu_si512(acc + o), m);
        _mm512_storeu_si512(total + o, _mm512_add_epi64(_mm512_loadu_si512(total + o), product));
    }
}

void lk_give_codes_avx512vnni(const int64_t *total, uint32_t shift, uint32_t top, float *y, size_t n) {
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    const __m512i most = _mm512_set1_epi64((long long)top), zero = _mm512_setzero_si512();
    for (size_t o = 0; o < n; o += 8) {
        const __m512i from = _mm512_max_epi64(_mm512_loadu_si512(total + o), zero);
        const __m512i code = _mm512_min_epi64(_mm512_srl_epi64(from, by), most);
        _mm256_storeu_ps(y + o, _mm512_cvtepi64_ps(code));
    }
}

#endif
