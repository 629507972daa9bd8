/* AVX-512: sixteen floats, masked tails. What the macros are stands in functions.h. */
#ifndef LUTKAN_VECTORS_AVX512VNNI_H
#define LUTKAN_VECTORS_AVX512VNNI_H

#include <immintrin.h>

#define ISA(name) lk_##name##_avx512vnni
#define WIDTH 16
typedef __m512 vec;
typedef __m512i words;
typedef __mmask16 mask;

#define first(count) ((__mmask16)((1u << (count)) - 1u))
#define vset(a) _mm512_set1_ps(a)
#define vload(p) _mm512_loadu_ps(p)
#define vstore(p, v) _mm512_storeu_ps(p, v)
#define vload_part(p, count) _mm512_maskz_loadu_ps(first(count), p)
#define vstore_part(p, v, count) _mm512_mask_storeu_ps(p, first(count), v)
#define vkeep(v, count) _mm512_maskz_mov_ps(first(count), v)

#define vadd(a, b) _mm512_add_ps(a, b)
#define vsub(a, b) _mm512_sub_ps(a, b)
#define vmul(a, b) _mm512_mul_ps(a, b)
#define vdiv(a, b) _mm512_div_ps(a, b)
#define vsqrt(a) _mm512_sqrt_ps(a)
#define vmax(a, b) _mm512_max_ps(a, b)
#define vmin(a, b) _mm512_min_ps(a, b)

#define vlt(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define vle(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ)
#define vnan(a) _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q)
#define vselect(m, a, b) _mm512_mask_blend_ps(m, b, a)
#define mnone ((mask)0)
#define mor(a, b) ((mask)((a) | (b)))
#define many(m) ((m) != 0)

#define vbits(v) _mm512_castps_si512(v)
#define vfrom(w) _mm512_castsi512_ps(w)
#define wset(u) _mm512_set1_epi32((int)(u))
#define wand(a, b) _mm512_and_si512(a, b)
#define wor(a, b) _mm512_or_si512(a, b)
#define wadd(a, b) _mm512_add_epi32(a, b)
#define wshift(w, by) _mm512_slli_epi32(w, by)
#define wright(w, by) _mm512_srli_epi32(w, by)

#endif
