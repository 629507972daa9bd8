/* AMX: one tdpbusd multiplies 16 rows by 64 bytes with 64 bytes by 16 outputs. */
#include "dense8.h"

#if (defined(__AMX_INT8__) || defined(__AMXINT8__)) && defined(__AVX512F__) /* gcc, clang before 16 */
#include <immintrin.h>

void lk_spread8_amx(const uint32_t *s, const uint32_t *w, size_t inputs, size_t groups, uint32_t shift, uint32_t depth,
                    uint8_t *to) {
    if (groups != 1 || depth != 8) {
        lk_spread_any(s, w, inputs, groups, shift, depth, to);
        return;
    }
    /* Eight inputs of eight bytes: shifts by whole bytes put the four weights in their places and drop the others. */
    const __m512i first = _mm512_set1_epi64((long long)shift), zero = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 8 <= inputs; i += 8) {
        const __m512i word = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(w + i)));
        const __m512i at = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(s + i)));
        const __m512i up = _mm512_slli_epi64(_mm512_sub_epi64(at, first), 3);
        const __m512i placed = _mm512_or_si512(_mm512_sllv_epi64(word, up),
                                               _mm512_srlv_epi64(word, _mm512_sub_epi64(zero, up)));
        _mm512_storeu_si512(to + 8 * i, placed);
    }
    lk_spread_any(s + i, w + i, inputs - i, 1, shift, depth, to + 8 * i);
}

/* Positions of sixteen inputs. */
static inline __attribute__((always_inline)) __m512i positions(const lk_positions *at, const float *x, size_t i) {
    const __m512 last = _mm512_set1_ps((float)(at->count - 1u));
    const __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(at->low + i));
    const __m512 v = _mm512_mul_ps(shifted, _mm512_loadu_ps(at->inverse + i));
    return _mm512_cvttps_epi32(_mm512_max_ps(_mm512_min_ps(v, last), _mm512_setzero_ps()));
}

void lk_encode_dense_amx(const lk_positions *at, const uint64_t *bytes, const float *x, uint8_t *to, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512i p = positions(at, x, i);
        const __m256i low = _mm512_castsi512_si256(p), high = _mm512_extracti64x4_epi64(p, 1);
        _mm512_storeu_si512(to + 8 * i, _mm512_i32gather_epi64(low, (const void *)bytes, 8));
        _mm512_storeu_si512(to + 8 * i + 64, _mm512_i32gather_epi64(high, (const void *)bytes, 8));
    }
    for (; i < n; ++i) memcpy(to + 8 * i, bytes + lk_position_one(at, x, i), 8);
}

void lk_encode_bytes_amx(const lk_positions *at, const float *x, size_t width, uint8_t *to, size_t n) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i stride = _mm512_set1_epi32((int)at->stride), first = _mm512_mullo_epi32(lanes, stride);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const uint32_t *weights = at->weights + i * at->stride;
        const __m512i w = _mm512_i32gather_epi32(_mm512_add_epi32(positions(at, x, i), first), (const void *)weights, 4);
        if (width == 1)
            _mm_storeu_si128((__m128i *)(void *)(to + i), _mm512_cvtepi32_epi8(w));
        else
            _mm256_storeu_si256((__m256i *)(void *)(to + 2 * i), _mm512_cvtepi32_epi16(w));
    }
    for (; i < n; ++i) lk_encode_bytes_one(at, x, width, to, i);
}

typedef struct tile_config {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config;

/* Tiles 0 to 3: sums of 2 x 2 blocks; 4 and 5: rows; 6 and 7: coefficients. `two_rows`, `two_columns`: blocks in use. */
static inline __attribute__((always_inline)) void block(const uint8_t *rows_, size_t stride, const int8_t *tiles,
                                                        size_t n_tiles, size_t n, int32_t *acc, const int two_rows,
                                                        const int two_columns) {
    const long long step = (long long)(n * sizeof(int32_t)), row_step = (long long)stride;
    _tile_loadd(0, acc, step);
    if (two_columns) _tile_loadd(1, acc + 16, step);
    if (two_rows) _tile_loadd(2, acc + 16 * n, step);
    if (two_rows && two_columns) _tile_loadd(3, acc + 16 * n + 16, step);
    for (size_t k = 0; k < n_tiles; ++k) {
        _tile_loadd(4, rows_ + 64 * k, row_step);
        _tile_loadd(6, tiles + 1024 * k, 64);
        _tile_dpbusd(0, 4, 6);
        if (two_columns) {
            _tile_loadd(7, tiles + 1024 * (n_tiles + k), 64);
            _tile_dpbusd(1, 4, 7);
        }
        if (two_rows) {
            _tile_loadd(5, rows_ + 16 * stride + 64 * k, row_step);
            _tile_dpbusd(2, 5, 6);
            if (two_columns) _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_stored(0, acc, step);
    if (two_columns) _tile_stored(1, acc + 16, step);
    if (two_rows) _tile_stored(2, acc + 16 * n, step);
    if (two_rows && two_columns) _tile_stored(3, acc + 16 * n + 16, step);
}

void lk_dense8_amx(const uint8_t *rows_, size_t stride, const int8_t *tiles, size_t rows, size_t n_tiles, size_t n,
                   int32_t *acc) {
    tile_config config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int t = 0; t < 8; ++t) {
        config.bytes[t] = 64;
        config.rows[t] = 16;
    }
    _tile_loadconfig(&config);
    for (size_t o = 0; o < n; o += 32) {
        const int8_t *from = tiles + (o / 16) * n_tiles * 1024;
        const int two_columns = o + 32 <= n;
        for (size_t r = 0; r < rows; r += 32) {
            const uint8_t *row = rows_ + r * stride;
            int32_t *to = acc + r * n + o;
            const int two_rows = r + 16 < rows;
            if (two_rows && two_columns)
                block(row, stride, from, n_tiles, n, to, 1, 1);
            else if (two_rows)
                block(row, stride, from, n_tiles, n, to, 1, 0);
            else if (two_columns)
                block(row, stride, from, n_tiles, n, to, 0, 1);
            else
                block(row, stride, from, n_tiles, n, to, 0, 0);
        }
    }
    _tile_release();
}

#endif
