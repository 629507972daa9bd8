/* A packed network and the one call that runs it.
 *
 * The arrays belong to the caller and are read only; the layouts are made by lutkan.runtimes.packing. Widths of outputs
 * are padded to LK_PAD in tables (`pad`), not in rows of features. */
#ifndef LUTKAN_NETWORK_H
#define LUTKAN_NETWORK_H

#include "lutkan/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum lk_op_kind { LK_SELECT = 0, LK_AFFINE, LK_LAYER_NORM, LK_ACTIVATION, LK_PRELU, LK_LINEAR, LK_PRODUCT, LK_KAN, LK_QUANTIZE };
enum lk_table_kind { LK_TABLE_SEGMENT = 0, LK_TABLE_BASE, LK_TABLE_BASIS, LK_TABLE_KNOTS, LK_TABLE_RADIAL, LK_TABLE_CODES, LK_TABLE_SPLINE,
                     LK_TABLE_CODE_ROWS, LK_TABLE_CODE_PAIRS };
enum lk_outside { LK_CLIP = 0, LK_ZERO, LK_BASE, LK_LINE };

typedef struct lk_table {
    int32_t kind;
    uint32_t inputs, pad;     /* inputs; outputs padded */
    const float *scale;       /* [pad]; segment: [inputs][segments][pad] */

    /* segment and base */
    lk_segments at_segments;
    int32_t nearest, outside, is_unsigned;
    int32_t uniform;          /* knots are even enough for the kernel that guesses */
    const void *q;            /* codes [inputs][segments * samples][pad]; spline: float rows [inputs][segments + degree][pad] */
    const float *offset;      /* or NULL */
    int32_t function;         /* base function, -1 for none */
    const float *base_weight; /* [inputs][pad] */
    const float *base_scale;  /* [pad]: float terms beyond a basis table are (base_weight * gap) * base_scale */

    /* integer tables */
    int32_t wide;             /* int16 kernels */
    uint32_t units, groups, flush;
    uint32_t block;           /* size of a segment's block in 64-byte units */
    const void *packed;
    lk_positions at;          /* basis and radial; knots: base and block */

    /* the same coefficients for dense8, or NULL: worth it where a batch has rows enough */
    const int8_t *dense;      /* [pad / 16][dense_tiles][16][16][4] */
    uint32_t dense_tiles;     /* tiles of 64 along the inputs' rows */
    uint32_t dense_stride;    /* bytes of a dense row, at least 64 dense_tiles */
    const uint64_t *bytes;    /* [positions]: the eight bytes of an input, where depth is 8; or NULL */
    uint32_t depth, shift;    /* bytes an input takes in a dense row (code pairs: and in a word); rows before the first */
    lk_positions dense_at;    /* positions that give the segment alone; codes: that give all bytes of an input */

    uint32_t segments, degree; /* knots */
    const float *knots;       /* knots: [inputs][segments + 1 + 2 degree] */
    int32_t linear;           /* the border's slope goes on */
    float factor;
    const float *ends;        /* [2][inputs][pad] */
    uint32_t fit_rows;
    const float *fit;         /* [inputs][fit_rows] */
    const float *fold_low, *fold_high; /* [inputs]: no float terms between these; NULL where there are none at all */

    /* codes of a base branch */
    float step_inverse, half;
    int32_t zero, levels;
    const int64_t *start;     /* [pad]: where the sums start */
} lk_table;

typedef struct lk_op lk_op;

typedef struct lk_branch {
    const lk_op *pre;
    uint32_t n_pre;
    lk_table table;
} lk_branch;

struct lk_op {
    int32_t kind;
    uint32_t n_in, n_out;
    const float *a, *b;       /* affine: scale, bias; layer norm: weight, bias; prelu: slope; linear: weight, bias; kan: bias;
                                 quantize: low, inverse, last code, step, value of code 0 */
    const int32_t *indices;   /* select, product; kan: live inputs or NULL */
    const int32_t *offsets;   /* product; kan: live outputs or NULL */
    float eps;
    int32_t function;
    uint32_t live_in, live_out;
    const lk_branch *branches;
    uint32_t n_branches;
    /* kan that answers with codes; a then holds those of outputs without sums */
    const int32_t *multipliers; /* [branches][pad], or NULL */
    const int64_t *totals;      /* [pad]: where the totals start */
    uint32_t code_shift, top_code;
};

typedef struct lk_network {
    uint32_t n_in, n_out;
    const lk_op *ops;
    uint32_t n_ops;
} lk_network;

/* Rows that one pass works on, and the bytes of working memory above which it takes fewer; a row may take more. */
#define LK_ROWS 64
#define LK_MEMORY ((size_t)16 << 20)
/* Rows from which on dense8 is used. */
#define LK_DENSE_ROWS 12

/* Bytes of working memory that lk_run needs, 64-byte aligned. */
size_t lk_workspace_size(const lk_network *network);

/* Run rows: x [rows][n_in] -> y [rows][n_out]; rows with NaN in or NaN arisen are NaN throughout.
 *
 * Returns the number of the first row of x that holds NaN, or -1; the rows are computed in either case. */
int64_t lk_run(const lk_network *network, const lk_kernels *kernels, const float *x, size_t rows, float *y,
               void *workspace);

#ifdef __cplusplus
}
#endif

#endif
