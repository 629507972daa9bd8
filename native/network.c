/* Run a packed network: encode inputs, call the kernels, add what lies beyond the tables. The meaning of every step is
 * that of lutkan.runtimes.reference; this file holds no arithmetic on outputs of its own. */
#include "lutkan/network.h"

#include "encode/encode.h"

#include <math.h>
#include <string.h>

#define MAX(a, b) ((a) > (b) ? (a) : (b))

static size_t padded(size_t n) { return (n + LK_PAD - 1) / LK_PAD * LK_PAD; }

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Sizes of the working memory: rows of features (three of them), sums, encodings, integer sums. */
typedef struct sizes {
    size_t width, sums, codes, words, acc, dense, totals;
} sizes;

static void grow(sizes *need, const lk_op *ops, size_t n_ops) {
    for (size_t k = 0; k < n_ops; ++k) {
        const lk_op *op = &ops[k];
        need->width = MAX(need->width, MAX((size_t)op->n_in, (size_t)op->n_out));
        if (op->multipliers != NULL) need->totals = MAX(need->totals, (size_t)op->branches[0].table.pad);
        for (size_t b = 0; b < op->n_branches; ++b) {
            const lk_table *table = &op->branches[b].table;
            need->sums = MAX(need->sums, (size_t)table->pad);
            need->codes = MAX(need->codes, MAX((size_t)table->units, (size_t)table->inputs));
            const size_t words = (size_t)table->units * table->groups * (table->wide ? 2 : 1);
            need->words = MAX(need->words, MAX(words, (size_t)table->inputs));
            if (table->kind == LK_TABLE_SEGMENT) need->acc = MAX(need->acc, (size_t)table->inputs * sizeof(float));
            if (table->packed != NULL) need->acc = MAX(need->acc, (size_t)table->pad * (table->wide ? 8 : 4));
            if (table->dense != NULL) need->dense = MAX(need->dense, (size_t)table->dense_stride);
            grow(need, op->branches[b].pre, op->branches[b].n_pre);
        }
    }
}

static sizes sizes_of(const lk_network *network) {
    sizes need = {padded(MAX(network->n_in, network->n_out)), LK_PAD, LK_PAD, LK_PAD, LK_PAD * 8, 0, 0};
    grow(&need, network->ops, network->n_ops);
    need.width = padded(need.width);
    return need;
}

/* Rows a pass: LK_ROWS, and fewer where they would take more than LK_MEMORY; a multiple of 16, which dense8 fills up to,
 * or too few for it. */
static size_t pass_of(const sizes *need) {
    const size_t row = 3 * need->width * sizeof(float) + need->sums * sizeof(float) +
                       (need->codes + need->words) * sizeof(uint32_t) + need->acc + need->dense +
                       need->totals * sizeof(int64_t);
    const size_t fitting = LK_MEMORY / row;
    if (fitting >= LK_ROWS) return LK_ROWS;
    if (fitting >= 16) return fitting / 16 * 16;
    return fitting >= LK_DENSE_ROWS ? LK_DENSE_ROWS - 1 : MAX(fitting, 1);
}

typedef struct workspace {
    size_t pass;    /* rows */
    float *rows[3]; /* [pass][width] */
    float *sums;    /* [pass][sums] */
    float *values;  /* [width]: function values of a row */
    uint8_t *inside; /* [width] */
    uint32_t *off, *words;            /* [pass][units], [pass][words of a row] */
    uint32_t *tail_off, *tail_words; /* of one row */
    void *acc;
    int64_t *totals; /* [pass][totals]: of a layer that answers with codes */
    uint8_t *dense; /* [pass][dense] */
} workspace;

static size_t carve(const lk_network *network, char *base, workspace *out) {
    const sizes need = sizes_of(network);
    const size_t pass = out->pass = pass_of(&need);
    size_t at = 0;
    for (int k = 0; k < 3; ++k) {
        out->rows[k] = (float *)(base + at);
        at += aligned(pass * need.width * sizeof(float));
    }
    out->sums = (float *)(base + at);
    at += aligned(pass * need.sums * sizeof(float));
    out->values = (float *)(base + at);
    at += aligned(need.width * sizeof(float));
    out->inside = (uint8_t *)(base + at);
    at += aligned(need.width);
    out->off = (uint32_t *)(base + at);
    at += aligned(pass * need.codes * sizeof(uint32_t));
    out->words = (uint32_t *)(base + at);
    at += aligned(pass * need.words * sizeof(uint32_t));
    out->tail_off = (uint32_t *)(base + at);
    at += aligned(need.codes * sizeof(uint32_t));
    out->tail_words = (uint32_t *)(base + at);
    at += aligned(need.words * sizeof(uint32_t));
    out->acc = base + at;
    at += aligned(pass * need.acc);
    out->totals = (int64_t *)(base + at);
    at += aligned(pass * need.totals * sizeof(int64_t));
    out->dense = (uint8_t *)(base + at);
    at += aligned(pass * need.dense + 64);
    return at;
}

size_t lk_workspace_size(const lk_network *network) {
    static char nothing[1];
    workspace space;
    return carve(network, nothing, &space);
}

/* ------------------------------------------------------------------------------------------------ glue */

static void glue(const lk_op *op, const lk_kernels *k, const float *x, float *y) {
    switch (op->kind) {
    case LK_SELECT:
        for (size_t j = 0; j < op->n_out; ++j) y[j] = x[op->indices[j]];
        break;
    case LK_AFFINE: k->affine(x, op->a, op->b, y, op->n_in); break;
    case LK_LAYER_NORM: k->layer_norm(x, op->a, op->b, op->eps, y, op->n_in); break;
    case LK_ACTIVATION: k->activate(op->function, x, y, op->n_in); break;
    case LK_QUANTIZE:
        for (size_t j = 0; j < op->n_out; ++j) {
            const float shifted = x[j] - op->a[0], at = shifted * op->a[1];
            float v = at < op->a[2] ? at : op->a[2];
            v = v > 0.0f ? v : 0.0f;
            const float value = op->a[3] * (float)(uint32_t)v;
            y[j] = x[j] != x[j] ? x[j] : value + op->a[4];
        }
        break;
    case LK_PRELU: k->prelu(x, op->a, y, op->n_in); break;
    case LK_LINEAR:
        memset(y, 0, op->n_out * sizeof(float));
        k->add_products(x, op->n_in, op->a, op->n_out, y, op->n_out);
        if (op->b != NULL) k->add_bias(y, op->b, y, op->n_out);
        break;
    default:
        for (size_t j = 0; j < op->n_out; ++j) {
            float value = x[op->indices[op->offsets[j]]];
            for (int32_t m = op->offsets[j] + 1; m < op->offsets[j + 1]; ++m) value = value * x[op->indices[m]];
            y[j] = value;
        }
    }
}

/* ------------------------------------------------------------------------------------------------ segment tables */

/* Locate one input among knots of any spacing, by bisection. */
static void locate_uneven(const lk_segments *at, const float *x, uint32_t *row, uint32_t *segment, float *w,
                          uint8_t *inside, size_t n) {
    for (size_t i = 0; i < n; ++i) {
        const float *knots = at->knots + i * (at->segments + 1u), point = lk_clipped(at, knots, x[i]);
        uint32_t k = 0, above = at->segments;
        while (above - k > 1) {
            const uint32_t middle = k + (above - k) / 2;
            if (point >= knots[middle])
                k = middle;
            else
                above = middle;
        }
        lk_locate_from(at, x, row, segment, w, inside, i, k);
    }
}

/* A row with inputs beyond the table: hits move up to close the gaps. */
static void add_gapped(const lk_table *t, const lk_kernels *k, const float *x, lk_hits hits, uint32_t *left,
                       uint32_t *segment, float *w, workspace *space, float *sums) {
    void (*add)(const lk_hits *, size_t, int, float *, size_t) = t->nearest ? k->segment_nearest : k->segment;
    uint32_t *right = space->tail_off;
    size_t count = 0;
    hits.right = right;
    for (size_t i = 0; i < t->inputs; ++i) {
        size_t apart = 1;
        if (!space->inside[i]) {
            if (t->outside == LK_ZERO) continue;
            if (t->outside == LK_BASE) {
                /* Keep the order of additions: what was found so far goes first. */
                float value;
                add(&hits, count, t->is_unsigned, sums, t->pad);
                count = 0;
                k->activate(t->function, x + i, &value, 1);
                k->add_products(&value, 1, t->base_weight + i * t->pad, 0, sums, t->pad);
                continue;
            }
            /* Beyond a table whose end segment goes on: the chord of that segment. */
            apart = t->at_segments.samples - 1u;
        }
        left[count] = left[i];
        right[count] = left[i] + (uint32_t)apart;
        segment[count] = segment[i];
        w[count++] = w[i];
    }
    add(&hits, count, t->is_unsigned, sums, t->pad);
}

/* Scales of so many bytes stay in the second cache while all rows pass. */
#define LK_SCALES_NEAR (1024u * 1024u)

static void add_segments(const lk_table *t, const lk_kernels *k, const float *x, size_t stride, size_t rows,
                         workspace *space, float *sums) {
    void (*add)(const lk_hits *, size_t, int, float *, size_t) = t->nearest ? k->segment_nearest : k->segment;
    const size_t n = t->inputs, scales = (size_t)t->at_segments.segments * t->pad * (t->is_unsigned ? 8u : 4u);
    uint64_t gapped = 0;
    for (size_t r = 0; r < rows; ++r) {
        uint32_t *left = space->off + r * n, *segment = space->words + r * n;
        float *w = (float *)space->acc + r * n;
        (t->uniform ? k->locate : locate_uneven)(&t->at_segments, x + r * stride, left, segment, w, space->inside, n);
        if (t->outside == LK_CLIP || memchr(space->inside, 0, n) == NULL) continue;
        const lk_hits hits = {t->q, t->scale, t->offset, left, NULL, segment, w};
        add_gapped(t, k, x + r * stride, hits, left, segment, w, space, sums + r * t->pad);
        gapped |= UINT64_C(1) << r;
    }
    /* A few inputs at a time for all rows: every sum still takes its inputs in order. */
    const size_t step = MAX(LK_SCALES_NEAR / scales, (size_t)8);
    for (size_t first = 0; first < n; first += step) {
        const size_t count = n - first < step ? n - first : step;
        for (size_t r = 0; r < rows; ++r) {
            const size_t at = r * n + first;
            const lk_hits hits = {t->q, t->scale, t->offset, space->off + at, NULL, space->words + at,
                                  (const float *)space->acc + at};
            if (!(gapped >> r & 1)) add(&hits, count, t->is_unsigned, sums + r * t->pad, t->pad);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ integer tables */

/* Segments and weights of a row from knots of any spacing; docs/spec/semantics.md section 5. */
static void encode_knots(const lk_table *t, const lk_positions *at, const float *x, uint32_t *off,
                         uint32_t *words) {
    const size_t degree = t->degree, first = degree, last = degree + t->segments;
    const float total = t->wide ? 4096.0f : 255.0f;
    for (size_t i = 0; i < t->inputs; ++i) {
        const float *knots = t->knots + i * (t->segments + 1 + 2 * degree);
        uint32_t weight[4] = {0, 0, 0, 0};
        const float point = x[i];
        size_t k = first;
        if (point >= knots[first] && point < knots[last]) {
            float basis[4] = {1.0f, 0.0f, 0.0f, 0.0f};
            size_t above = last;
            while (above - k > 1) {
                const size_t middle = (k + above) / 2;
                if (point >= knots[middle])
                    k = middle;
                else
                    above = middle;
            }
            for (size_t p = 1; p <= degree; ++p) {
                float saved = 0.0f;
                for (size_t r = 0; r < p; ++r) {
                    const float to_right = knots[k + r + 1] - point, to_left = point - knots[k + r + 1 - p];
                    const float part = basis[r] / (to_right + to_left);
                    const float rising = to_right * part;
                    basis[r] = saved + rising;
                    saved = to_left * part;
                }
                basis[p] = saved;
            }
            float running = 0.0f;
            uint32_t before = 0;
            for (size_t m = 0; m < degree; ++m) {
                running = running + basis[m];
                const float scaled = running * total;
                float rounded = scaled + 0.5f;
                rounded = rounded > 0.0f ? rounded : 0.0f; /* and where knots so close gave a NaN */
                rounded = rounded < total ? rounded : total;
                uint32_t upto = (uint32_t)rounded;
                if (upto < before) upto = before;
                weight[m] = upto - before;
                before = upto;
            }
            weight[degree] = (uint32_t)total - before;
        }
        off[i] = at->base[i] + (uint32_t)(k - first) * at->block;
        if (t->wide) {
            words[2 * i] = weight[0] | weight[1] << 16;
            words[2 * i + 1] = weight[2] | weight[3] << 16;
        } else {
            words[i] = weight[0] | weight[1] << 8 | weight[2] << 16 | weight[3] << 24;
        }
    }
}

/* Codes of a base branch, four inputs a word (two words of int16 pairs); tells whether an input lies beyond them. */
static int encode_codes(const lk_table *t, const lk_kernels *k, const float *x, workspace *space, uint32_t *words) {
    float *values = space->values;
    k->activate(t->function, x, values, t->inputs);
    if (!t->wide) {
        words[t->units - 1] = 0;
        return k->codes(values, t->step_inverse, t->half, (uint32_t)t->levels, (uint32_t)t->zero, (uint8_t *)words,
                        t->inputs);
    }
    int beyond = 0;
    const float levels = (float)t->levels;
    words[2 * t->units - 2] = words[2 * t->units - 1] = 0;
    for (size_t i = 0; i < t->inputs; ++i) {
        const float scaled = values[i] * t->step_inverse, v = scaled + t->half;
        const int coded = v >= 0.0f && v < levels;
        ((uint16_t *)words)[i] = (uint16_t)(coded ? (uint32_t)v : (uint32_t)t->zero);
        beyond |= !coded;
    }
    return beyond;
}

/* One feature an input, two inputs a word: one byte with a zero behind it, or with depth 2 two digits of a byte. */
static void encode_pairs(const lk_table *t, const lk_kernels *k, const float *x, uint32_t *off, uint32_t *words,
                         workspace *space) {
    uint32_t *one = space->tail_words;
    k->encode_codes(&t->dense_at, x, space->tail_off, one, t->inputs);
    const size_t whole = t->inputs / 2;
    for (size_t u = 0; u < whole; ++u) words[u] = one[2 * u] | one[2 * u + 1] << 16;
    if (whole < t->units) words[whole] = one[2 * whole];
    memcpy(off, t->at.base, t->units * sizeof *off);
}

static float weight_of(const lk_table *t, const uint32_t *words, size_t i, size_t tap) {
    if (t->wide) return (float)((words[(i * t->groups) * 2 + tap / 2] >> (16 * (tap % 2))) & 65535u);
    return (float)((words[i * t->groups + tap / 4] >> (8 * (tap % 4))) & 255u);
}

/* Float terms of the inputs of one row that lie beyond a table. */
static void add_tails(const lk_table *t, const lk_kernels *k, const float *x, workspace *space, float *sums) {
    if (t->kind == LK_TABLE_CODES) {
        const float levels = (float)t->levels;
        k->activate(t->function, x, space->values, t->inputs);
        for (size_t i = 0; i < t->inputs; ++i) {
            const float scaled = space->values[i] * t->step_inverse, v = scaled + t->half;
            if (!(v >= 0.0f && v < levels))
                k->add_scaled(space->values[i], t->base_weight + i * t->pad, t->base_scale, sums, t->pad);
        }
        return;
    }
    if (t->linear) {
        const float end = (float)t->at.count;
        for (size_t i = 0; i < t->inputs; ++i) {
            const float shifted = x[i] - t->at.low[i], v = shifted * t->at.inverse[i];
            if (v < 0.0f) {
                k->add_scaled(v * t->factor, t->ends + i * t->pad, t->scale, sums, t->pad);
            } else if (v > end) {
                const float excess = v - end;
                k->add_scaled(excess * t->factor, t->ends + ((size_t)t->inputs + i) * t->pad, t->scale, sums, t->pad);
            }
        }
        return;
    }
    uint32_t *off = space->tail_off, *words = space->tail_words;
    k->encode(&t->at, x, off, words, t->inputs);
    for (size_t i = 0; i < t->inputs; ++i) {
        if (!(x[i] < t->fold_low[i] || x[i] > t->fold_high[i])) continue;
        const float *fit = t->fit + i * t->fit_rows + (off[i] - t->at.base[i]) / t->at.block;
        float total = 0.0f, value;
        for (size_t tap = 0; tap < 4; ++tap) {
            const float part = weight_of(t, words, i, tap) * fit[tap];
            total = total + part;
        }
        k->activate(t->function, x + i, &value, 1);
        k->add_scaled(value - total, t->base_weight + i * t->pad, t->base_scale, sums, t->pad);
    }
}

/* Encode one row for the sparse or the dense product; tells whether it has float terms beyond the table. */
static int encode_row(const lk_table *t, const lk_kernels *k, const float *x, int dense, size_t r, workspace *space) {
    const size_t count = t->groups * (t->wide ? 2u : 1u);
    uint32_t *off = space->off + r * t->units, *words = space->words + r * t->units * count;
    uint8_t *row = space->dense + r * t->dense_stride;
    if (t->kind == LK_TABLE_CODES) {
        const int beyond = encode_codes(t, k, x, space, words);
        if (dense)
            memcpy(row, words, t->units * sizeof *words);
        else
            memcpy(off, t->at.base, t->units * sizeof *off);
        return beyond;
    }
    if (t->kind == LK_TABLE_CODE_PAIRS) {
        if (dense)
            k->encode_bytes(&t->dense_at, x, t->depth, row, t->inputs);
        else
            encode_pairs(t, k, x, off, words, space);
        return 0;
    }
    if (dense && t->kind == LK_TABLE_CODE_ROWS && t->bytes == NULL) { /* an input's row is what its code names */
        k->encode_codes(&t->dense_at, x, space->tail_off, (uint32_t *)row, t->inputs);
        return 0;
    }
    const lk_positions *at = dense ? &t->dense_at : &t->at;
    if (dense && t->bytes != NULL) {
        k->encode_dense(at, t->bytes, x, row, t->inputs);
    } else {
        if (t->kind == LK_TABLE_KNOTS)
            encode_knots(t, at, x, off, words);
        else
            (t->kind == LK_TABLE_CODE_ROWS ? k->encode_codes : k->encode)(at, x, off, words, t->inputs);
        if (dense) k->spread8(off, words, t->units, t->groups, t->shift, t->depth, row);
    }
    return t->fold_low != NULL && k->outside(x, t->fold_low, t->fold_high, t->inputs);
}

/* Add to the float sums, or with multipliers to the totals of a layer that answers with codes. */
static void add_integers(const lk_table *t, const lk_kernels *k, const float *x, size_t stride, size_t rows,
                         workspace *space, const int32_t *multipliers, float *sums) {
    const size_t pad = t->pad;
    const int dense = k->dense8 != NULL && t->dense != NULL && rows >= LK_DENSE_ROWS;
    uint64_t beyond = 0;
    for (size_t r = 0; r < rows; ++r)
        beyond |= (uint64_t)(encode_row(t, k, x + r * stride, dense, r, space) != 0) << r;
    if (t->wide) {
        int64_t *acc = space->acc;
        for (size_t r = 0; r < rows; ++r) {
            if (t->start == NULL)
                memset(acc + r * pad, 0, pad * sizeof(int64_t));
            else
                memcpy(acc + r * pad, t->start, pad * sizeof(int64_t));
        }
        k->basis16(t->packed, space->off, space->words, rows, t->units, t->groups, pad, t->flush, acc);
        for (size_t r = 0; r < rows; ++r) {
            if (multipliers != NULL)
                k->requantize16(acc + r * pad, multipliers, space->totals + r * pad, pad);
            else
                k->finish16(acc + r * pad, t->scale, sums + r * pad, pad);
        }
    } else {
        int32_t *acc = space->acc;
        if (t->start == NULL)
            memset(acc, 0, rows * pad * sizeof(int32_t));
        else
            for (size_t r = 0; r < rows; ++r)
                for (size_t o = 0; o < pad; ++o) acc[r * pad + o] = (int32_t)t->start[o];
        if (dense)
            k->dense8(space->dense, t->dense_stride, t->dense, rows, t->dense_tiles, pad, acc);
        else
            k->basis8(t->packed, space->off, space->words, rows, t->units, t->groups, pad, acc);
        for (size_t r = 0; r < rows; ++r) {
            if (multipliers != NULL)
                k->requantize8(acc + r * pad, multipliers, space->totals + r * pad, pad);
            else
                k->finish8(acc + r * pad, t->scale, sums + r * pad, pad);
        }
    }
    for (size_t r = 0; r < rows && beyond >> r != 0; ++r)
        if (beyond >> r & 1) add_tails(t, k, x + r * stride, space, sums + r * pad);
}

/* ------------------------------------------------------------------------------------------------ float rows */

static void add_splines(const lk_table *t, const lk_kernels *k, const float *x, float *sums) {
    const float *rows = t->q, end = (float)t->segments;
    for (size_t i = 0; i < t->inputs; ++i) {
        const float shifted = x[i] - t->at.low[i];
        float v = shifted * t->at.inverse[i], weight[4] = {1.0f, 0.0f, 0.0f, 0.0f};
        v = v < end ? v : end;
        v = v > 0.0f ? v : 0.0f;
        uint32_t s = (uint32_t)v;
        if (s > t->segments - 1u) s = t->segments - 1u;
        const float u = v - (float)s;
        for (uint32_t p = 1; p <= t->degree; ++p) {
            float carried = 0.0f;
            for (uint32_t r = 0; r < p; ++r) {
                const float above = u + (float)(p - 1u - r), offset = above / (float)p;
                const float before = weight[r], falling = 1.0f - offset, part = falling * before;
                weight[r] = carried + part;
                carried = offset * before;
            }
            weight[p] = carried;
        }
        const float *row = rows + (i * (t->segments + t->degree) + s) * t->pad;
        k->add_products(weight, t->degree + 1u, row, t->pad, sums, t->pad);
    }
    if (!t->linear) return;
    for (size_t i = 0; i < t->inputs; ++i) {
        const float shifted = x[i] - t->at.low[i], v = shifted * t->at.inverse[i], excess = v - end;
        if (v < 0.0f)
            k->add_products(&v, 1, t->ends + i * t->pad, 0, sums, t->pad);
        else if (v > end)
            k->add_products(&excess, 1, t->ends + ((size_t)t->inputs + i) * t->pad, 0, sums, t->pad);
    }
}

/* ------------------------------------------------------------------------------------------------ layers */

/* Rows `stride` floats apart. */
typedef struct rows_in {
    const float *at;
    size_t stride;
    uint64_t nan; /* rows that hold one */
} rows_in;

typedef struct rows_out {
    float *at;
    size_t stride;
} rows_out;

/* `seen` holds what a branch sees, [rows][width]. */
static void run_kan(const lk_op *op, const lk_kernels *k, rows_in x, rows_out y, float *seen, size_t width, size_t rows,
                    workspace *space) {
    const size_t pad = op->branches[0].table.pad;
    uint64_t lost = 0;
    memset(space->sums, 0, rows * pad * sizeof(float));
    for (size_t r = 0; op->multipliers != NULL && r < rows; ++r)
        memcpy(space->totals + r * pad, op->totals, pad * sizeof(int64_t));
    for (size_t b = 0; b < op->n_branches; ++b) {
        const lk_branch *branch = &op->branches[b];
        const lk_table *t = &branch->table;
        const float *from = x.at;
        size_t stride = x.stride;
        uint64_t nan = x.nan;
        if (branch->n_pre != 0 || op->indices != NULL) {
            for (size_t r = 0; r < rows; ++r) {
                float *row = seen + r * width;
                const float *before = x.at + r * x.stride;
                for (size_t p = 0; p < branch->n_pre; ++p) {
                    glue(&branch->pre[p], k, before, row);
                    before = row;
                }
                if (op->indices != NULL)
                    for (size_t j = 0; j < op->live_in; ++j) row[j] = before[op->indices[j]];
            }
            from = seen;
            stride = width;
            nan = 0;
            for (size_t r = 0; r < rows; ++r)
                if (k->has_nan(from + r * width, op->live_in)) nan |= UINT64_C(1) << r;
        }
        if (nan != 0) {
            /* Tables are not asked about NaN: such rows become NaN below. */
            if (from != seen) {
                for (size_t r = 0; r < rows; ++r) memcpy(seen + r * width, from + r * stride, op->n_in * sizeof(float));
                from = seen;
                stride = width;
            }
            for (size_t r = 0; r < rows; ++r)
                if (nan >> r & 1) memset(seen + r * width, 0, op->live_in * sizeof(float));
        }
        if (t->kind == LK_TABLE_SEGMENT) {
            add_segments(t, k, from, stride, rows, space, space->sums);
        } else if (t->kind == LK_TABLE_SPLINE) {
            for (size_t r = 0; r < rows; ++r) add_splines(t, k, from + r * stride, space->sums + r * pad);
        } else if (t->kind == LK_TABLE_BASE) {
            for (size_t r = 0; r < rows; ++r) {
                k->activate(t->function, from + r * stride, space->values, op->live_in);
                k->add_products(space->values, op->live_in, t->base_weight, pad, space->sums + r * pad, pad);
            }
        } else {
            const int32_t *multipliers = op->multipliers == NULL ? NULL : op->multipliers + b * pad;
            add_integers(t, k, from, stride, rows, space, multipliers, space->sums);
        }
        lost |= nan;
        for (size_t r = 0; r < rows; ++r)
            if (nan >> r & 1)
                for (size_t o = 0; o < op->live_out; ++o) space->sums[r * pad + o] = NAN;
    }
    for (size_t r = 0; r < rows; ++r) {
        float *sums = space->sums + r * pad, *out = y.at + r * y.stride;
        if (op->multipliers != NULL) {
            k->give_codes(space->totals + r * pad, op->code_shift, op->top_code, sums, pad);
            if (lost >> r & 1)
                for (size_t o = 0; o < op->live_out; ++o) sums[o] = NAN;
            if (op->offsets == NULL) {
                memcpy(out, sums, op->n_out * sizeof(float));
            } else {
                memcpy(out, op->a, op->n_out * sizeof(float));
                for (size_t o = 0; o < op->live_out; ++o) out[op->offsets[o]] = sums[o];
            }
        } else if (op->offsets != NULL) {
            memcpy(out, op->a, op->n_out * sizeof(float));
            for (size_t o = 0; o < op->live_out; ++o) out[op->offsets[o]] = sums[o] + op->a[op->offsets[o]];
        } else if (op->a != NULL) {
            k->add_bias(sums, op->a, out, op->n_out);
        } else {
            memcpy(out, sums, op->n_out * sizeof(float));
        }
    }
}

int64_t lk_run(const lk_network *network, const lk_kernels *k, const float *x, size_t rows, float *y, void *memory) {
    workspace space;
    int64_t first_nan = -1;
    const size_t width = sizes_of(network).width;
    carve(network, memory, &space);
    for (size_t start = 0; start < rows; start += space.pass) {
        const size_t count = rows - start < space.pass ? rows - start : space.pass;
        rows_in from = {x + start * network->n_in, network->n_in, 0};
        uint64_t bad;
        for (size_t r = 0; r < count; ++r)
            if (k->has_nan(from.at + r * from.stride, network->n_in)) {
                from.nan |= UINT64_C(1) << r;
                if (first_nan < 0) first_nan = (int64_t)(start + r);
            }
        bad = from.nan;
        for (size_t n = 0; n < network->n_ops; ++n) {
            const lk_op *op = &network->ops[n];
            /* The caller's arrays serve the first and the last operation, two buffers in turn those between. */
            rows_out to = {space.rows[n % 2], width};
            if (n + 1 == network->n_ops) to = (rows_out){y + start * network->n_out, network->n_out};
            if (op->kind == LK_KAN)
                run_kan(op, k, from, to, space.rows[2], width, count, &space);
            else
                for (size_t r = 0; r < count; ++r) glue(op, k, from.at + r * from.stride, to.at + r * to.stride);
            from = (rows_in){to.at, to.stride, 0};
            for (size_t r = 0; r < count; ++r)
                if (k->has_nan(from.at + r * from.stride, op->n_out)) from.nan |= UINT64_C(1) << r;
            bad |= from.nan;
        }
        for (size_t r = 0; r < count; ++r)
            if (bad >> r & 1)
                for (size_t o = 0; o < network->n_out; ++o) y[(start + r) * network->n_out + o] = NAN;
    }
    return first_nan;
}
