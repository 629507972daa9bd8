/* Calls kernels for tests/native.py: requests on stdin, results on stdout. Usage: native_driver ISA ("" for the best one)
 *
 * Request: the kernel's name in 32 bytes, uint32 number of arguments, then an argument: uint32 kind, uint64 size, and
 * the bytes. Result: int64 (what the function returned, else 0), then all arrays in their order.
 * Every array ends where a page without access begins, so that a read or write past its end is a fault; with SANITIZED
 * it is a block of its own, which AddressSanitizer watches. One byte on stdout says that the kernels are there; exit
 * status 3 that this processor or build lacks them. */
#include "dense8/dense8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum kind { INTEGER, FLOAT, ARRAY, NOTHING, SAME };

typedef struct argument {
    uint32_t kind;
    uint64_t size;
    int64_t integer;
    float number;
    unsigned char *pages, *array;
    size_t mapped;
} argument;

enum { MOST = 16, FILL = 0xa5 };

static void fail(const char *what) {
    fprintf(stderr, "native_driver: %s\n", what);
    exit(2);
}

static int get(void *to, size_t size) { return fread(to, 1, size, stdin) == size; }

static void need(void *to, size_t size) {
    if (!get(to, size)) fail("a request that ends early");
}

static void put(const void *from, size_t size) {
    if (fwrite(from, 1, size, stdout) != size) fail("cannot write the result");
}

#ifdef SANITIZED

static void new_array(argument *a) {
    a->array = malloc(a->size + !a->size);
    if (a->array == NULL) fail("no memory");
}

static void free_array(const argument *a) { free(a->array); }

#else

static void new_array(argument *a) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    a->mapped = (a->size + page - 1) / page * page + 2 * page;
    a->pages = mmap(NULL, a->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->pages == MAP_FAILED) fail("no memory");
    a->array = a->pages + a->mapped - page - a->size;
    memset(a->pages, FILL, (size_t)(a->array - a->pages));
    if (mprotect(a->pages, page, PROT_READ) || mprotect(a->pages + a->mapped - page, page, PROT_NONE))
        fail("cannot protect pages");
}

static void free_array(const argument *a) {
    for (const unsigned char *byte = a->pages; byte < a->array; ++byte)
        if (*byte != FILL) fail("a write before the beginning of an array");
    munmap(a->pages, a->mapped);
}

#endif

static void read_argument(argument *all, argument *a) {
    need(&a->kind, sizeof a->kind);
    need(&a->size, sizeof a->size);
    switch (a->kind) {
    case INTEGER: need(&a->integer, sizeof a->integer); break;
    case FLOAT: need(&a->number, sizeof a->number); break;
    case ARRAY:
        new_array(a);
        need(a->array, a->size);
        break;
    case NOTHING: break;
    case SAME: a->array = all[a->size].array; break;
    default: fail("an argument of unknown kind");
    }
}

static void write_arrays(const argument *a, size_t count) {
    for (size_t k = 0; k < count; ++k) {
        if (a[k].kind != ARRAY) continue;
        put(a[k].array, a[k].size);
        free_array(&a[k]);
    }
}

#define F(k) ((float *)(void *)a[k].array)
#define N(k) ((size_t)a[k].integer)

/* q0, q1, scale, offset (nothing for int8), w, hits, is_unsigned, sums, n: rows of hits as matrices. */
static void call_segment(void (*kernel)(const lk_hits *, size_t, int, float *, size_t), const argument *a) {
    const size_t count = N(5), n = N(8), bytes = count * n;
    char *q = calloc(2 * bytes + 1, 1);
    uint32_t *left = calloc(2 * count + 1, sizeof *left), *right = left + count;
    if (q == NULL || left == NULL) fail("no memory");
    if (bytes != 0) {
        memcpy(q, a[0].array, bytes);
        memcpy(q + bytes, a[1].array, bytes);
    }
    for (size_t h = 0; h < count; ++h) {
        left[h] = (uint32_t)h;
        right[h] = (uint32_t)(count + h);
    }
    const lk_hits hits = {q, F(2), a[3].array == NULL ? NULL : F(3), left, right, left, F(4)};
    kernel(&hits, count, (int)a[6].integer, F(7), n);
    free(left);
    free(q);
}

#define U32(k) ((uint32_t *)(void *)a[k].array)
#define I8(k) ((int8_t *)(void *)a[k].array)
#define I16(k) ((int16_t *)(void *)a[k].array)
#define I32(k) ((int32_t *)(void *)a[k].array)
#define I64(k) ((int64_t *)(void *)a[k].array)

/* The first eight arguments: low, inverse, base, count, bits, block, words, weights; for codes also first, stride. */
static lk_positions positions(const argument *a, int codes) {
    const lk_positions at = {F(0),           F(1),           U32(2), (uint32_t)a[3].integer, (uint32_t)a[4].integer,
                             (uint32_t)a[5].integer, (uint32_t)a[6].integer, U32(7), codes ? U32(8) : NULL,
                             codes ? (uint32_t)a[9].integer : 0};
    return at;
}

/* knots, inverse, segments, samples, closed, line, shared; x, row, segment, w, inside, n. */
static void call_locate(const lk_kernels *k, const argument *a) {
    const lk_segments at = {F(0), F(1), (uint32_t)a[2].integer, (uint32_t)a[3].integer, (int)a[4].integer,
                            (int)a[5].integer, (int)a[6].integer};
    k->locate(&at, F(7), U32(8), U32(9), F(10), a[11].array, N(12));
}

/* raw, low, high, stride; then the rest. */
static lk_steps steps_of(const argument *a) { return (lk_steps){F(0), F(1), F(2), N(3)}; }

/* low, raw, stride, top, rounding; then the rest. */
static lk_levels levels_of(const argument *a) {
    return (lk_levels){F(0), F(1), N(2), a[3].number, (int)a[4].integer};
}

static int64_t call(const lk_kernels *k, const char *name, const argument *a) {
#define IS(member) (strcmp(name, #member) == 0)
    const lk_positions at = IS(encode) || IS(encode_dense) || IS(encode_codes) || IS(encode_bytes)
                                ? positions(a, IS(encode_codes) || IS(encode_bytes))
                                : (lk_positions){0};
    if (IS(activate)) k->activate((int)a[0].integer, F(1), F(2), N(3));
    else if (IS(prelu)) k->prelu(F(0), F(1), F(2), N(3));
    else if (IS(affine)) k->affine(F(0), F(1), F(2), F(3), N(4));
    else if (IS(layer_norm)) k->layer_norm(F(0), F(1), F(2), a[3].number, F(4), N(5));
    else if (IS(add_products)) k->add_products(F(0), N(1), F(2), N(3), F(4), N(5));
    else if (IS(add_scaled)) k->add_scaled(a[0].number, F(1), F(2), F(3), N(4));
    else if (IS(add_bias)) k->add_bias(F(0), F(1), F(2), N(3));
    else if (IS(has_nan)) return k->has_nan(F(0), N(1)) != 0;
    else if (IS(segment)) call_segment(k->segment, a);
    else if (IS(segment_nearest)) call_segment(k->segment_nearest, a);
    else if (IS(encode)) k->encode(&at, F(8), U32(9), U32(10), N(11));
    else if (IS(encode_codes)) k->encode_codes(&at, F(10), U32(11), U32(12), N(13));
    else if (IS(requantize8)) k->requantize8(I32(0), I32(1), I64(2), N(3));
    else if (IS(requantize16)) k->requantize16(I64(0), I32(1), I64(2), N(3));
    else if (IS(give_codes)) k->give_codes(I64(0), (uint32_t)N(1), (uint32_t)N(2), F(3), N(4));
    else if (IS(codes))
        return k->codes(F(0), a[1].number, a[2].number, (uint32_t)N(3), (uint32_t)N(4), a[5].array, N(6)) != 0;
    else if (IS(locate)) call_locate(k, a);
    else if (IS(outside)) return k->outside(F(0), F(1), F(2), N(3)) != 0;
    else if (IS(basis8)) k->basis8(I8(0), U32(1), U32(2), N(3), N(4), N(5), N(6), I32(7));
    else if (IS(basis16)) k->basis16(I16(0), U32(1), U32(2), N(3), N(4), N(5), N(6), N(7), I64(8));
    else if (IS(finish8)) k->finish8(I32(0), F(1), F(2), N(3));
    else if (IS(finish16)) k->finish16(I64(0), F(1), F(2), N(3));
    else if (IS(steps)) {
        const lk_steps at = steps_of(a);
        k->steps(&at, F(4), N(5), N(6), F(7));
    } else if (IS(steps_back)) {
        const lk_steps at = steps_of(a);
        k->steps_back(&at, F(4), F(5), N(6), N(7), a[8].number, F(9), F(10));
    } else if (IS(bent)) {
        const lk_bent at = {F(0), F(1), NULL, a[2].number};
        k->bent(&at, F(3), N(4), N(5), F(6));
    } else if (IS(bent_back)) {
        const lk_bent at = {NULL, NULL, F(0), 0.0f};
        k->bent_back(&at, F(1), F(2), N(3), N(4), F(5));
    } else if (IS(interval)) {
        const lk_interval at = {F(0), F(1), F(2), a[3].number};
        k->interval(&at, F(4), N(5), N(6), F(7));
    } else if (IS(interval_back)) {
        const lk_interval at = {F(0), F(1), F(2), a[3].number};
        k->interval_back(&at, F(4), F(5), N(6), N(7), F(8), F(9), F(10), F(11));
    } else if (IS(levels)) {
        const lk_levels at = levels_of(a);
        k->levels(&at, F(5), N(6), N(7), F(8), I32(9));
    } else if (IS(levels_back)) {
        const lk_levels at = levels_of(a);
        k->levels_back(&at, F(5), F(6), N(7), N(8), F(9), F(10), F(11));
    } else if (IS(stairs_back)) {
        const lk_levels at = levels_of(a);
        const lk_stairs stairs = {F(5)[0], F(5)[1], F(5)[2], F(5)[3]};
        k->stairs_back(&at, &stairs, F(6), F(7), N(8), N(9), F(10), F(11), F(12), F(13));
    } else if (IS(look_up)) k->look_up(F(0), I32(1), N(2), N(3), F(4));
    else if (IS(look_up_back)) k->look_up_back(F(0), I32(1), F(2), N(3), N(4), F(5));
    /* The optional kernels: without them in the table, their reference. */
    else if (IS(spread8))
        (k->spread8 != NULL ? k->spread8 : lk_spread8_serial)(U32(0), U32(1), N(2), N(3), (uint32_t)N(4),
                                                              (uint32_t)N(5), a[6].array);
    else if (IS(encode_dense))
        (k->encode_dense != NULL ? k->encode_dense : lk_encode_dense_serial)(&at, (const uint64_t *)(void *)a[8].array,
                                                                             F(9), a[10].array, N(11));
    else if (IS(encode_bytes))
        (k->encode_bytes != NULL ? k->encode_bytes : lk_encode_bytes_serial)(&at, F(10), N(11), a[12].array, N(13));
    else if (IS(dense8))
        (k->dense8 != NULL ? k->dense8 : lk_dense8_serial)(a[0].array, N(1), I8(2), N(3), N(4), N(5), I32(6));
    else if (IS(name)) snprintf((char *)a[0].array, a[0].size, "%s", k->name);
    else fail("an unknown kernel");
    return 0;
}

int main(int count, char **words) {
    if (count != 2) fail("usage: native_driver ISA");
    const lk_kernels *kernels = lk_find_kernels(words[1][0] == 0 ? NULL : words[1]);
    if (kernels == NULL) return 3;
    put("", 1);
    fflush(stdout);
    char name[32];
    uint32_t n_arguments;
    while (get(name, sizeof name)) {
        argument a[MOST];
        memset(a, 0, sizeof a);
        need(&n_arguments, sizeof n_arguments);
        if (n_arguments > MOST) fail("too many arguments");
        for (uint32_t k = 0; k < n_arguments; ++k) read_argument(a, &a[k]);
        const int64_t returned = call(kernels, name, a);
        put(&returned, sizeof returned);
        write_arrays(a, n_arguments);
        fflush(stdout);
    }
    return 0;
}
