/* Kernels of the native runtime: one table of functions an instruction set.
 *
 * Rules: no allocation, no I/O, no threads, no globals; inputs and outputs do not overlap unless said otherwise; every
 * function gives the same bits on every instruction set. Float operations are those of docs/spec/float32.md and
 * docs/spec/semantics.md, one rounding an operation: build with -std=c11 -ffp-contract=off and without fast-math.
 * Arrays of outputs are padded to LK_PAD entries, so that vector code needs no tails; padding holds zeros.
 */
#ifndef LUTKAN_KERNELS_H
#define LUTKAN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Outputs are padded to a multiple of this many, the widest vector in floats. */
#define LK_PAD 16

/* Ids of the activations, in the order of lutkan.artifact.checks.ACTIVATIONS. */
enum lk_activation { LK_IDENTITY = 0, LK_SILU, LK_GELU, LK_RELU, LK_TANH, LK_SIGMOID };

/* Look-ups of a segment table, one an input: where its samples lie, for all outputs. */
typedef struct lk_hits {
    const void *q;           /* int8 or uint8 [samples of all inputs][n] */
    const float *scale;      /* [segments of all inputs][n] */
    const float *offset;     /* as scale, or NULL for int8 codes */
    const uint32_t *left;    /* [hits]: row of q */
    const uint32_t *right;   /* [hits], or NULL for the row after the left one */
    const uint32_t *segment; /* [hits]: row of scale and offset */
    const float *w;          /* [hits]: weight of the right sample */
} lk_hits;

/* How the inputs of a table become positions. */
typedef struct lk_positions {
    const float *low, *inverse; /* [n] */
    const uint32_t *base;       /* [n]: where the blocks of an input start, in 64-byte units */
    uint32_t count;             /* positions, at most 2^24 */
    uint32_t bits;              /* positions a segment: 2^bits */
    uint32_t block;             /* size of a segment's block in 64-byte units */
    uint32_t words;             /* words a weight row */
    const uint32_t *weights;    /* [2^bits][words] */
    /* for encode_codes alone */
    const uint32_t *first;      /* [count], of each input where stride is not 0: blocks to skip at a position; or NULL */
    uint32_t stride;            /* positions an input has to itself; 0: inputs share weights and first */
} lk_positions;

/* Segments of a table whose knots are nearly even: a guess from the width is off by one segment at most. */
typedef struct lk_segments {
    const float *knots;   /* [n][segments + 1] */
    const float *inverse; /* [n]: 1 / mean width, 0 where all knots coincide */
    uint32_t segments, samples;
    int closed;           /* the last knot belongs to the domain */
    int line;             /* inputs are not clipped: the end segments go on */
    int shared;           /* all inputs have the same knots */
} lk_segments;

/* No step is smaller: a step is the magnitude of its `raw` number, at least this. */
#define LK_LEAST_STEP 1e-12f

/* Weights in steps, a step a row: y = step * clip(round(w * (1 / step)), low, high). */
typedef struct lk_steps {
    const float *raw;        /* [rows] */
    const float *low, *high; /* [rows], or one for all: the lowest and the highest code, within +-2^16 */
    size_t stride;           /* 1, or 0 where one serves all rows */
} lk_steps;

/* Weights bent by tanh: y = largest * (2 / levels * floor(spread * tanh(w) + (levels + 1) / 2) - 1), clipped. */
typedef struct lk_bent {
    const float *spread;  /* [rows]: levels / (2 tanh(largest)) */
    const float *largest; /* [rows] */
    const float *slope;   /* [rows]: largest / tanh(largest) */
    float levels;         /* at most 2^16 */
} lk_bent;

/* Magnitudes within an interval, bent and put on levels: y = sign(w) * round(levels * t^gamma) / levels * (centre + width),
 * t = clip((|w| - centre) / (2 width) + 1/2, 0, 1); widths are magnitudes, and at least LK_LEAST_STEP, as
 * their sums with centres are. The power is t * 2^((gamma - 1) * log2 max(t, LK_LEAST_STEP)), to 1e-6. */
typedef struct lk_interval {
    const float *centre, *width, *gamma; /* [rows] */
    float levels;                        /* at most 2^16 */
} lk_interval;

/* Even levels over a range: y = low + step * code, code = clip(floor((x - low) * (1 / step) + 1/2), 0, top). */
typedef struct lk_levels {
    const float *low, *raw; /* [rows], or one for all */
    size_t stride;          /* 1, or 0 where one serves all rows; then sums of rows are added up, in double */
    float top;              /* at most 2^16 */
    int rounding;           /* whether the step feels rounding errors, or what is clipped alone */
} lk_levels;

/* A staircase of tanh in place of rounding, backward: of a softness alpha. */
typedef struct lk_stairs {
    float steep;  /* k = ln(2 / alpha - 1) */
    float slope;  /* k / (2 (1 - alpha)) */
    float soften; /* 1 / (2 (1 - alpha)^2) */
    float place;  /* 1 / ((1 - alpha) alpha (2 - alpha)) */
} lk_stairs;

typedef struct lk_kernels {
    const char *name;

    /* --- float32 family; n is any size, arrays need no padding ------------------------------------------------- */

    /* y = f(x), f one of lk_activation; y may be x. */
    void (*activate)(int kind, const float *x, float *y, size_t n);
    /* y = x < 0 ? slope * x : x; y may be x. */
    void (*prelu)(const float *x, const float *slope, float *y, size_t n);
    /* y = scale * x + bias; y may be x. */
    void (*affine)(const float *x, const float *scale, const float *bias, float *y, size_t n);
    /* Normalise one row; weight and bias may be NULL; y may be x. */
    void (*layer_norm)(const float *x, const float *weight, const float *bias, float eps, float *y, size_t n);
    /* sums += w[i * stride ..] * a[i], i = 0, 1, .. count - 1 in this order; sums may not overlap a. */
    void (*add_products)(const float *a, size_t count, const float *w, size_t stride, float *sums, size_t n);
    /* sums += (q * a) * scale, q float. */
    void (*add_scaled)(float a, const float *q, const float *scale, float *sums, size_t n);
    /* y = sums + bias; y may be sums. */
    void (*add_bias)(const float *sums, const float *bias, float *y, size_t n);
    /* Nonzero if any of x is NaN. */
    int (*has_nan)(const float *x, size_t n);
    /* --- segment family; n padded to LK_PAD ----------------------------------------------------------------------- */

    /* sums += offset + scale * (q0 + w * (q1 - q0)), hit after hit. is_unsigned: codes are uint8 and offset is given. */
    void (*segment)(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n);
    /* sums += offset + scale * (w < 0.5 ? q0 : q1), hit after hit. */
    void (*segment_nearest)(const lk_hits *hits, size_t n_hits, int is_unsigned, float *sums, size_t n);

    /* --- integer family; n padded to LK_PAD ------------------------------------------------------------------------ */

    /* p = (int) max(min((x - low) * inverse, count - 1), 0); off = base + (p >> bits) * block;
     * w = weights[p mod 2^bits]. x [n] holds no NaN; n is any size. */
    void (*encode)(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n);
    /* The same where every position has its own weights: p likewise; at = i * stride + p; off = base + first[at] * block,
     * or base alone; w = weights[at]. */
    void (*encode_codes)(const lk_positions *at, const float *x, uint32_t *off, uint32_t *w, size_t n);
    /* code = (int) v, v = value * inverse + half, where 0 <= v < levels <= 256, else zero; nonzero if any v was not.
     * A multiplication, an addition, each rounded; n is any size, values hold no NaN. */
    int (*codes)(const float *values, float inverse, float half, uint32_t levels, uint32_t zero, uint8_t *code,
                 size_t n);
    /* Segment s, left sample r and weight of every input by comparison with the knots (docs/spec/semantics.md section 4):
     * segment = i * segments + s, row = segment * samples + r (below 2^32); inside: 1 in the domain; beyond it in a
     * `line`, r is 0 and w the position in the segment. x holds no NaN. */
    void (*locate)(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w, uint8_t *inside,
                   size_t n);
    /* Nonzero if any x < low or x > high. */
    int (*outside)(const float *x, const float *low, const float *high, size_t n);

    /* acc[r][o] += sum over units u and groups g of dot4(w[r][u][g], packed[off[r][u]][g][o]).
     *
     * packed: int8, blocks of `groups * n * 4` bytes; off counts 64-byte units; w: 4 uint8 weights, lowest tap first.
     * Bounds: the products of a pair (taps 0,1 and taps 2,3) sum to at most 2^15 - 1 in size, so that saturating 16-bit
     * sums hold them: weights that sum to 258 with coefficients within +-127 (258 * 127 = 32766), more with narrower
     * ones; all products of a row stay below 2^31. Coefficients are never -128. */
    void (*basis8)(const int8_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                   size_t groups, size_t n, int32_t *acc);
    /* Optional, NULL without matrix hardware: the same sums as one dense product of uint8 rows and int8 tiles.
     * spread8 writes the weights of a row to their places: an input takes `depth` bytes (a multiple of 4) of `to`, its
     * weights start at segment `s[i]` - shift; what falls outside of an input's bytes is dropped. */
    void (*spread8)(const uint32_t *s, const uint32_t *w, size_t inputs, size_t groups, uint32_t shift, uint32_t depth,
                    uint8_t *to);
    /* The same from positions alone, for inputs of eight bytes: to[8 i ..] = bytes[p]. */
    void (*encode_dense)(const lk_positions *at, const uint64_t *bytes, const float *x, uint8_t *to, size_t n);
    /* The same for inputs of one or two bytes: the low `width` bytes of weights[i * stride + p]. */
    void (*encode_bytes)(const lk_positions *at, const float *x, size_t width, uint8_t *to, size_t n);
    /* acc[r][o] += sum_k rows_[r * stride + k] * tiles[o / 16][k / 64][k % 64 / 4][o % 16][k % 4], k < 64 n_tiles;
     * rows up to the next multiple of 16 are read and their sums written, so buffers hold that many. */
    void (*dense8)(const uint8_t *rows_, size_t stride, const int8_t *tiles, size_t rows, size_t n_tiles, size_t n,
                   int32_t *acc);
    /* The same with int16: blocks of `groups * 2 * n * 2` int16, [g][pair][o][2]; w: two pairs of int16 a group.
     *
     * int32 partial sums are added into int64 every `flush` units: |w . q| over that many units stays below 2^31. */
    void (*basis16)(const int16_t *packed, const uint32_t *off, const uint32_t *w, size_t rows, size_t units,
                    size_t groups, size_t n, size_t flush, int64_t *acc);
    /* sums += (float) acc * scale, the conversion rounding to nearest even. */
    void (*finish8)(const int32_t *acc, const float *scale, float *sums, size_t n);
    void (*finish16)(const int64_t *acc, const float *scale, float *sums, size_t n);
    /* total += acc * multiplier; the caller sees to it that 64 bits hold it. */
    void (*requantize8)(const int32_t *acc, const int32_t *multiplier, int64_t *total, size_t n);
    void (*requantize16)(const int64_t *acc, const int32_t *multiplier, int64_t *total, size_t n);
    /* y = (float) max(min(total >> shift, top), 0), rounding down; shift <= 62, top <= 255. */
    void (*give_codes)(const int64_t *total, uint32_t shift, uint32_t top, float *y, size_t n);

    /* --- training family: matrices [rows][n] of any size; sums of a row are `lanesum`s ------------------------------ */

    void (*steps)(const lk_steps *at, const float *w, size_t rows, size_t n, float *y);
    /* z = w * (1 / step); passed = low < z < high ? grad : 0;
     * felt[r] = (sum of grad * code - passed * z) * (sign of raw * factor), or NULL. */
    void (*steps_back)(const lk_steps *at, const float *w, const float *grad, size_t rows, size_t n, float factor,
                       float *passed, float *felt);
    void (*bent)(const lk_bent *at, const float *w, size_t rows, size_t n, float *y);
    /* passed = (1 - tanh(w)^2) * grad * slope. */
    void (*bent_back)(const lk_bent *at, const float *w, const float *grad, size_t rows, size_t n, float *passed);
    void (*interval)(const lk_interval *at, const float *w, size_t rows, size_t n, float *y);
    /* Gradients along the power, as if nothing was rounded: passed to w, those of centres, widths and gammas [rows]. */
    void (*interval_back)(const lk_interval *at, const float *w, const float *grad, size_t rows, size_t n, float *passed,
                          float *centre, float *width, float *gamma);
    /* codes may be NULL; that of NaN is top + 1. */
    void (*levels)(const lk_levels *at, const float *x, size_t rows, size_t n, float *y, int32_t *codes);
    /* z = (x - low) * (1 / step); passed = 0 < z < top ? grad : 0; clipped[r] = sum of grad - passed;
     * felt[r] = sum of grad * code - passed * z with `rounding`, else of (grad - passed) * code, times the sign of
     * raw. */
    void (*levels_back)(const lk_levels *at, const float *x, const float *grad, size_t rows, size_t n, float *passed,
                        float *clipped, float *felt);
    /* The same, with rounding, for passed = slope * (1 - tanh^2) * grad, tanh (to 4e-7) at steep * (z - middle of its cell); and
     * soft[r] = sum of (soften * tanh - place * (z - middle) * (1 - tanh^2)) * grad inside of the range,
     * times the step. */
    void (*stairs_back)(const lk_levels *at, const lk_stairs *stairs, const float *x, const float *grad, size_t rows,
                        size_t n, float *passed, float *clipped, float *felt, float *soft);
    /* y[i] = table[codes[i]], rows of `width`; codes are rows of the table. */
    void (*look_up)(const float *table, const int32_t *codes, size_t count, size_t width, float *y);
    /* y[i] = table[codes[i]] . grad[i], place c in lane c mod 8, then halves added. */
    void (*look_up_back)(const float *table, const int32_t *codes, const float *grad, size_t count, size_t width,
                         float *y);
} lk_kernels;

/* Kernels of an instruction set ("serial", "avx2", "avx512vnni", "amx", "neon", "neondot"), or of the best one here when
 * name is NULL; NULL if the processor or the build lacks it. */
const lk_kernels *lk_find_kernels(const char *name);

/* Write the names of the instruction sets that run here, best first, at most `capacity`; return how many there are. */
size_t lk_available_kernels(const char **names, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
