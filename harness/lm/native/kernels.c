/* Attention over prompts and what continues them, and GELU, on a processor: see the Python modules beside this file.

   Compiled once for each type of numbers, for the machine that it runs on. Every sum is made in one order, which neither
   the number of threads nor what else is in a batch changes. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- numbers, and vectors of them */

/* Vector registers: how wide, how many may hold sums, and how many of them lie side by side in a tile of a product. */
#if defined(__AVX512F__)
#define BYTES 64
#define REGISTERS 24
#define ACROSS 3
#elif defined(__AVX__)
#define BYTES 32
#define REGISTERS 12
#define ACROSS 2
#elif defined(__aarch64__)
#define BYTES 16
#define REGISTERS 24
#define ACROSS 3
#else
#define BYTES 16
#define REGISTERS 12
#define ACROSS 2
#endif

#ifdef DOUBLE
typedef double real;
typedef int64_t integer;
#define TERMS 14
#define LN2_HIGH 0.693147180369123816490
#define LN2_LOW 1.90821492927058770002e-10
#define SHIFT 6755399441055744.0 /* 1.5 x 2^52: what is added to it is rounded to a whole number */
#define MANTISSA 52
#define BIAS 1023
#define LEAST -708.0
#define MOST 709.0
#else
typedef float real;
typedef int32_t integer;
#define TERMS 8
#define LN2_HIGH 0.693359375
#define LN2_LOW -2.12194440e-4
#define SHIFT 12582912.0
#define MANTISSA 23
#define BIAS 127
#define LEAST -87.0
#define MOST 88.0
#endif

/* at any address of a number, and of the same memory as numbers */
typedef real vec __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
typedef integer bits __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
#define LANES ((int)(BYTES / sizeof(real)))
#define INLINE static inline __attribute__((always_inline))

INLINE vec all(real x) { return x - (vec){0}; }
INLINE vec either(bits which, vec one, vec other) { return (vec)(((bits)one & which) | ((bits)other & ~which)); }
INLINE vec load(const real *x) { return *(const vec *)x; }
INLINE void store(real *x, vec y) { *(vec *)x = y; }

/* by halves: one number after the other would wait for each sum */
INLINE real sum_of(vec x) {
    real y[LANES];
    store(y, x);
#pragma GCC unroll 8
    for (int half = LANES / 2; half; half /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < half; i++) y[i] += y[i + half];
    return y[0];
}

INLINE real most_of(vec x) {
    real y[LANES];
    store(y, x);
#pragma GCC unroll 8
    for (int half = LANES / 2; half; half /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < half; i++) y[i] = y[i] > y[i + half] ? y[i] : y[i + half];
    return y[0];
}

INLINE real dot(const real *x, const real *y, int n) {
    vec sums = all(0);
    real rest = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES) sums += load(x + i) * load(y + i);
    for (; i < n; i++) rest += x[i] * y[i];
    return sum_of(sums) + rest;
}

/* e^x: 2^n times the series of what is left, which is below ln(2) / 2; 0 below LEAST, e^MOST above MOST. */
INLINE vec exponential(vec x) {
    static const double factors[] = {
        1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
        1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800,
    };
    bits tiny = x < all(LEAST);
    x = either(x > all(MOST), all(MOST), x);
    x = either(tiny, all(LEAST), x);
    vec shifted = x * (real)1.4426950408889634 + (real)SHIFT;
    bits n = (bits)shifted - (bits)all(SHIFT);
    vec whole = shifted - (real)SHIFT;
    vec rest = x - whole * (real)LN2_HIGH - whole * (real)LN2_LOW;
    vec series = all(factors[TERMS - 1]);
#pragma GCC unroll 16
    for (int i = TERMS - 2; i >= 0; i--) series = series * rest + (real)factors[i];
    vec power = (vec)((n + BIAS) << MANTISSA);
    return either(tiny, all(0), series * power);
}

/* ---------------------------------------------------------------- products */

#define BLOCK 24 /* queries at a time: whole tiles of either product */
#define STEP 16  /* what numbers of keys are rounded up to: whole vectors, and rows by the four */
/* TILE, keys that are kept together for queries to come, is whole tiles of a product: see library.py */
#define WIDTH(size) up(size, 64 / sizeof(real)) /* what numbers of a head are rounded up to: whole vectors of any width */

static long up(long n, long step) { return (n + step - 1) / step * step; }

/* out[i][j] = sum over k of a[i][k] b[k][j], for `down` rows and `across` vectors of columns */
INLINE void product_tile(int down, int across, int depth, const real *restrict a, long lda, const real *restrict b,
                         long ldb, real *restrict out, long ldo) {
    vec sums[REGISTERS];
#pragma GCC unroll 24
    for (int i = 0; i < down * across; i++) sums[i] = all(0);
    for (int k = 0; k < depth; k++) {
        vec x[ACROSS];
#pragma GCC unroll 4
        for (int c = 0; c < across; c++) x[c] = load(b + k * ldb + c * LANES);
#pragma GCC unroll 24
        for (int r = 0; r < down; r++) {
            real y = a[r * lda + k];
#pragma GCC unroll 4
            for (int c = 0; c < across; c++) sums[r * across + c] += x[c] * y;
        }
    }
#pragma GCC unroll 24
    for (int r = 0; r < down; r++)
#pragma GCC unroll 4
        for (int c = 0; c < across; c++) store(out + r * ldo + c * LANES, sums[r * across + c]);
}

/* The same for BLOCK rows and `width` columns, a multiple of STEP. */
static void product(int width, int depth, const real *a, long lda, const real *b, long ldb, real *out, long ldo) {
    int j = 0;
    for (; j + ACROSS * LANES <= width; j += ACROSS * LANES)
        for (int i = 0; i < BLOCK; i += REGISTERS / ACROSS)
            product_tile(REGISTERS / ACROSS, ACROSS, depth, a + i * lda, lda, b + j, ldb, out + i * ldo + j, ldo);
    for (; j < width; j += LANES)
        for (int i = 0; i < BLOCK; i += 12)
            product_tile(12, 1, depth, a + i * lda, lda, b + j, ldb, out + i * ldo + j, ldo);
}

/* y[i] += sum over k of a[i * row + k * column] x[k], for `down` rows and `across` vectors of columns */
INLINE void addition_tile(int down, int across, long depth, const real *restrict a, long row, long column,
                          const real *restrict x, real *restrict y, long ld) {
    vec sums[REGISTERS];
#pragma GCC unroll 24
    for (int r = 0; r < down; r++)
#pragma GCC unroll 4
        for (int c = 0; c < across; c++) sums[r * across + c] = load(y + r * ld + c * LANES);
    for (long k = 0; k < depth; k++) {
        vec b[2];
#pragma GCC unroll 4
        for (int c = 0; c < across; c++) b[c] = load(x + k * ld + c * LANES);
#pragma GCC unroll 24
        for (int r = 0; r < down; r++) {
            real f = a[r * row + k * column];
#pragma GCC unroll 4
            for (int c = 0; c < across; c++) sums[r * across + c] += b[c] * f;
        }
    }
#pragma GCC unroll 24
    for (int r = 0; r < down; r++)
#pragma GCC unroll 4
        for (int c = 0; c < across; c++) store(y + r * ld + c * LANES, sums[r * across + c]);
}

/* The same for `rows` rows, a multiple of four, of `size` numbers, a multiple of LANES. */
static void add_product(long rows, long depth, const real *a, long row, long column, const real *x, real *y, int size) {
    int c = 0;
    for (; c + 2 * LANES <= size; c += 2 * LANES) {
        long i = 0;
        for (; i + REGISTERS / 2 <= rows; i += REGISTERS / 2)
            addition_tile(REGISTERS / 2, 2, depth, a + i * row, row, column, x + c, y + i * size + c, size);
        for (; i + 4 <= rows; i += 4)
            addition_tile(4, 2, depth, a + i * row, row, column, x + c, y + i * size + c, size);
        if (i < rows) /* six rows at a time may leave two */
            addition_tile(2, 2, depth, a + i * row, row, column, x + c, y + i * size + c, size);
    }
    for (; c < size; c += LANES)
        for (long i = 0; i < rows; i += 4)
            addition_tile(4, 1, depth, a + i * row, row, column, x + c, y + i * size + c, size);
}

/* ---------------------------------------------------------------- memory */

/* A thread's own, which grows and is kept: to get and give back a megabyte in each call costs as much as the call. */
static _Thread_local real *scratch;
static _Thread_local size_t room;

static real *reserve(size_t numbers) {
    if (numbers > room) {
        free(scratch);
        room = up(numbers, 4096);
        scratch = aligned_alloc(64, room * sizeof(real));
        if (!scratch) abort();
    }
    return scratch;
}

/* Queries, keys or values: number d of head h of token i is at[i * row + h * head + d]. */
typedef struct {
    real *at;
    int64_t row, head;
} states;

INLINE real *place(states x, long token, long head) { return x.at + token * x.row + head * x.head; }

/* n tokens of a head, times a factor, into rows of `padded` numbers, and zeros up to `rows` of them */
static void gather(states from, long token, long head, long n, int size, real factor, real *to, int padded, long rows) {
    for (long i = 0; i < n; i++) {
        const real *x = place(from, token + i, head);
        for (int d = 0; d < size; d++) to[i * padded + d] = x[d] * factor;
        for (int d = size; d < padded; d++) to[i * padded + d] = 0;
    }
    memset(to + n * padded, 0, (rows - n) * padded * sizeof(real));
}

static void scatter(const real *from, int padded, long n, int size, real factor, states to, long token, long head) {
    for (long i = 0; i < n; i++) {
        real *x = place(to, token + i, head);
        for (int d = 0; d < size; d++) x[d] = from[i * padded + d] * factor;
    }
}

/* n tokens of a head, a column each, and zeros up to `width` of them */
static void gather_across(states from, long token, long head, long n, int size, real *to, long width) {
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        const real *x = place(from, token + i, head);
        for (int d = 0; d < size; d++)
#pragma GCC unroll 16
            for (int j = 0; j < LANES; j++) to[d * width + i + j] = x[j * from.row + d];
    }
    for (; i < n; i++) {
        const real *x = place(from, token + i, head);
        for (int d = 0; d < size; d++) to[d * width + i] = x[d];
    }
    for (int d = 0; d < size; d++) memset(to + d * width + n, 0, (width - n) * sizeof(real));
}

/* ---------------------------------------------------------------- attention inside trees */

/* Tokens `first` on; what queries ask is in the pieces `begin` to `end`. */
typedef struct {
    int64_t first, tokens, begin, end;
} tree;

/* Query `row + i` is token `token + i` of its tree; it sees the first `prefix` tokens, and those from `start` to itself. */
typedef struct {
    int64_t row, token, count, prefix, start;
} piece;

/* Up to BLOCK queries of a piece, and the keys that they see: `left` columns of the prefix, then those up to `wide`. */
typedef struct {
    int64_t row;
    int queries;
    long prefix, left, start, own, wide;
} block;

static block cut(piece p, long from) {
    block b;
    b.row = p.row + from;
    b.queries = p.count - from < BLOCK ? p.count - from : BLOCK;
    b.prefix = p.prefix, b.left = up(p.prefix, STEP);
    b.start = p.start, b.own = p.token + from + b.queries - p.start; /* keys that the last query sees */
    b.wide = b.left + up(b.own, STEP);
    return b;
}

/* Scores of a block's queries, or what is pulled at weights, out of the columns of keys, or values. */
static void ask(block b, int size, const real *queries, int padded, const real *columns, long length, real *out) {
    if (b.left) product(b.left, size, queries, padded, columns, length, out, b.wide);
    product(b.wide - b.left, size, queries, padded, columns + b.start, length, out + b.left, b.wide);
}

/* What a query does not see. */
static void hide(block b, int query, real *scores) {
    for (long j = b.prefix; j < b.left; j++) scores[j] = -INFINITY;
    for (long j = b.left + b.own - b.queries + query + 1; j < b.wide; j++) scores[j] = -INFINITY;
}

/* sums[i] += weights[i] times rows, for the queries of a block */
static void gain(block b, const real *weights, const real *rows, real *sums, int padded) {
    if (b.left) add_product(BLOCK, b.prefix, weights, b.wide, 1, rows, sums, padded);
    add_product(BLOCK, b.own, weights + b.left, b.wide, 1, rows + b.start * padded, sums, padded);
}

/* sums[j] += weights[.][j] times queries, for the keys of a block */
static void give(block b, const real *weights, const real *queries, real *sums, int padded) {
    if (b.left) add_product(b.left, b.queries, weights, 1, b.wide, queries, sums, padded);
    add_product(b.wide - b.left, b.queries, weights + b.left, 1, b.wide, queries, sums + b.start * padded, padded);
}

/* Exponentials of scores less their most, in place; their sum, and the most. */
INLINE real soften(real *scores, long wide, real *most) {
    vec top = load(scores), sums = all(0);
    for (long j = LANES; j < wide; j += LANES) {
        vec x = load(scores + j);
        top = either(x > top, x, top);
    }
    *most = most_of(top);
    for (long j = 0; j < wide; j += LANES) {
        vec x = exponential(load(scores + j) - *most);
        store(scores + j, x);
        sums += x;
    }
    return sum_of(sums);
}

/* out (rows, heads x size), and the logarithms (heads, rows) of the sums of exponentials, for the way back */
void attend(int threads, int heads, int groups, int size, real scale, int count, const tree *trees, const piece *pieces,
            const states *q, const states *k, const states *v, real *out, real *logarithms, long rows) {
    int padded = WIDTH(size), share = heads / groups;
    states found = {out, (int64_t)heads * size, size};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int task = 0; task < count * groups; task++) {
        tree t = trees[task / groups];
        int g = task % groups;
        long length = up(t.tokens + STEP, STEP);
        real *keys = reserve(length * (size + padded) + BLOCK * (length + 2 * STEP + 2 * padded));
        real *values = keys + length * size, *queries = values + length * padded;
        real *sums = queries + BLOCK * padded, *scores = sums + BLOCK * padded;
        gather_across(*k, t.first, g, t.tokens, size, keys, length);
        gather(*v, t.first, g, t.tokens, size, 1, values, padded, t.tokens);
        for (int h = g * share; h < (g + 1) * share; h++)
            for (long p = t.begin; p < t.end; p++)
                for (long from = 0; from < pieces[p].count; from += BLOCK) {
                    block b = cut(pieces[p], from);
                    real totals[BLOCK];
                    gather(*q, b.row, h, b.queries, size, scale, queries, padded, BLOCK);
                    ask(b, size, queries, padded, keys, length, scores);
                    for (int r = 0; r < b.queries; r++) {
                        real most;
                        hide(b, r, scores + r * b.wide);
                        totals[r] = soften(scores + r * b.wide, b.wide, &most);
                        logarithms[h * rows + b.row + r] = most + log(totals[r]);
                    }
                    memset(sums, 0, BLOCK * padded * sizeof(real));
                    gain(b, scores, values, sums, padded);
                    for (int r = 0; r < b.queries; r++)
                        scatter(sums + r * padded, padded, 1, size, 1 / totals[r], found, b.row + r, h);
                }
    }
}

/* The way back: what is pulled at `out` pulls at queries, keys and values. */
void attend_back(int threads, int heads, int groups, int size, real scale, int count, const tree *trees,
                 const piece *pieces, const states *q, const states *k, const states *v, real *out,
                 const real *logarithms, long rows, real *pull, const states *dq, const states *dk, const states *dv) {
    int padded = WIDTH(size), share = heads / groups;
    states found = {out, (int64_t)heads * size, size}, pulled = {pull, (int64_t)heads * size, size};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int task = 0; task < count * groups; task++) {
        tree t = trees[task / groups];
        int g = task % groups;
        long length = up(t.tokens + STEP, STEP);
        real *keys = reserve(length * (2 * size + 3 * padded) + BLOCK * (2 * (length + 2 * STEP) + 3 * padded));
        real *values = keys + length * size, *rows_of_keys = values + length * size;
        real *into_keys = rows_of_keys + length * padded, *into_values = into_keys + length * padded;
        real *queries = into_values + length * padded, *pulls = queries + BLOCK * padded;
        real *sums = pulls + BLOCK * padded, *weights = sums + BLOCK * padded;
        real *flow = weights + BLOCK * (length + 2 * STEP);
        gather_across(*k, t.first, g, t.tokens, size, keys, length);
        gather_across(*v, t.first, g, t.tokens, size, values, length);
        gather(*k, t.first, g, t.tokens, size, 1, rows_of_keys, padded, t.tokens);
        memset(into_keys, 0, 2 * length * padded * sizeof(real));
        for (int h = g * share; h < (g + 1) * share; h++)
            for (long p = t.begin; p < t.end; p++)
                for (long from = 0; from < pieces[p].count; from += BLOCK) {
                    block b = cut(pieces[p], from);
                    gather(*q, b.row, h, b.queries, size, scale, queries, padded, BLOCK);
                    gather(pulled, b.row, h, b.queries, size, 1, pulls, padded, BLOCK);
                    ask(b, size, queries, padded, keys, length, weights);
                    ask(b, size, pulls, padded, values, length, flow);
                    for (int r = 0; r < b.queries; r++) {
                        real *x = weights + r * b.wide, *y = flow + r * b.wide;
                        real mean = dot(pulls + r * padded, place(found, b.row + r, h), size);
                        hide(b, r, x);
                        for (long j = 0; j < b.wide; j += LANES) {
                            vec weight = exponential(load(x + j) - logarithms[h * rows + b.row + r]);
                            store(x + j, weight);
                            store(y + j, weight * (load(y + j) - mean));
                        }
                    }
                    memset(sums, 0, BLOCK * padded * sizeof(real));
                    give(b, weights, pulls, into_values, padded);
                    give(b, flow, queries, into_keys, padded);
                    gain(b, flow, rows_of_keys, sums, padded);
                    scatter(sums, padded, b.queries, size, scale, *dq, b.row, h);
                }
        scatter(into_keys, padded, t.tokens, size, 1, *dk, t.first, g);
        scatter(into_values, padded, t.tokens, size, 1, *dv, t.first, g);
    }
}

/* ---------------------------------------------------------------- attention of rows that continue prompts */

/* Keys are kept in tiles, (groups, tiles, size, TILE), and values in rows, (groups, tokens, padded): as they are read. */

/* A prompt of `tokens` tokens, kept from `tile` and `token` on; rows `first` on continue it. */
typedef struct {
    int64_t tile, token, tokens, first, rows;
} prompt;

#define FEW 4 /* queries at a time */

static void keep(states k, states v, long token, int g, long at, int size, int padded, real *keys, real *values) {
    const real *x = place(k, token, g), *y = place(v, token, g);
    real *key = keys + at / TILE * size * TILE + at % TILE, *value = values + at * padded;
    for (int d = 0; d < size; d++) key[d * TILE] = x[d], value[d] = y[d];
    for (int d = size; d < padded; d++) value[d] = 0;
}

/* Keep the keys and values of prompts, which lie one behind the other. */
void keep_prompts(int threads, int groups, int size, int count, const prompt *prompts, const states *k, const states *v,
                  real *keys, real *values) {
    int padded = WIDTH(size);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int task = 0; task < count * groups; task++) {
        prompt p = prompts[task / groups];
        int g = task % groups;
        real *mine = keys + (p.tile * groups + g * (up(p.tokens, TILE) / TILE)) * size * TILE;
        real *yours = values + (p.token * groups + g * p.tokens) * padded;
        for (long i = 0; i < p.tokens; i++) keep(*k, *v, p.token + i, g, i, size, padded, mine, yours);
    }
}

/* Scores of up to FEW queries for the keys of `tiles` tiles */
static void ask_tiles(int few, long tiles, int size, const real *queries, int padded, const real *keys, real *out,
                      long wide) {
    for (long t = 0; t < tiles; t++)
        for (int c = 0; c < TILE; c += ACROSS * LANES) {
            const real *tile = keys + t * size * TILE + c;
            if (few == 1)
                product_tile(1, ACROSS, size, queries, padded, tile, TILE, out + t * TILE + c, wide);
            else
                product_tile(FEW, ACROSS, size, queries, padded, tile, TILE, out + t * TILE + c, wide);
        }
}

static void gain_rows(int few, long tokens, const real *weights, long wide, const real *values, real *sums, int padded) {
    int c = 0;
    for (; c + 2 * LANES <= padded; c += 2 * LANES)
        if (few == 1)
            addition_tile(1, 2, tokens, weights, wide, 1, values + c, sums + c, padded);
        else
            addition_tile(FEW, 2, tokens, weights, wide, 1, values + c, sums + c, padded);
    for (; c < padded; c += LANES) addition_tile(few == 1 ? 1 : FEW, 1, tokens, weights, wide, 1, values + c, sums + c, padded);
}

/* Keep the key and value of position `written` of each row; return what the queries find there, before, and in prompts.

   What a row has written is kept at slots[row]: keys (slots, groups, tiles, size, TILE), values (slots, groups, most,
   padded). */
void attend_on(int threads, int heads, int groups, int size, real scale, int count, const prompt *prompts,
               const real *prompt_keys, const real *prompt_values, const int64_t *slots, long written, long most,
               real *own_keys, real *own_values, const states *q, const states *k, const states *v, real *out) {
    int padded = WIDTH(size), share = heads / groups;
    long tiles = up(most, TILE) / TILE, used = written / TILE + 1;
    states found = {out, (int64_t)heads * size, size};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int task = 0; task < count * groups; task++) {
        prompt p = prompts[task / groups];
        int g = task % groups;
        long before = up(p.tokens, TILE), wide = before + used * TILE, asked = p.rows * share;
        const real *theirs = prompt_keys + (p.tile * groups + g * (up(p.tokens, TILE) / TILE)) * size * TILE;
        const real *values = prompt_values + (p.token * groups + g * p.tokens) * padded;
        real *queries = reserve(FEW * (2 * padded + wide)), *sums = queries + FEW * padded, *scores = sums + FEW * padded;
        for (long r = 0; r < p.rows; r++) {
            long slot = slots[p.first + r] * groups + g;
            keep(*k, *v, p.first + r, g, written, size, padded, own_keys + slot * tiles * size * TILE,
                 own_values + slot * most * padded);
        }
        for (long from = 0; from < asked; from += FEW) {
            int few = asked - from < FEW ? asked - from : FEW;
            real totals[FEW];
            for (int i = 0; i < FEW; i++) {
                long which = from + (i < few ? i : 0); /* some query again, where there is none */
                gather(*q, p.first + which / share, g * share + which % share, 1, size, scale, queries + i * padded,
                       padded, 1);
            }
            ask_tiles(few, before / TILE, size, queries, padded, theirs, scores, wide);
            for (int i = 0; i < few; i++) {
                long slot = slots[p.first + (from + i) / share] * groups + g;
                real most_here, *x = scores + i * wide;
                ask_tiles(1, used, size, queries + i * padded, padded, own_keys + slot * tiles * size * TILE, x + before,
                          wide);
                for (long j = p.tokens; j < before; j++) x[j] = -INFINITY;
                for (long j = before + written + 1; j < wide; j++) x[j] = -INFINITY;
                totals[i] = soften(x, wide, &most_here);
            }
            for (int i = few; i < FEW; i++) memset(scores + i * wide, 0, wide * sizeof(real));
            memset(sums, 0, FEW * padded * sizeof(real));
            gain_rows(few, p.tokens, scores, wide, values, sums, padded);
            for (int i = 0; i < few; i++) {
                long which = from + i, slot = slots[p.first + which / share] * groups + g;
                gain_rows(1, written + 1, scores + i * wide + before, wide, own_values + slot * most * padded,
                          sums + i * padded, padded);
                scatter(sums + i * padded, padded, 1, size, 1 / totals[i], found, p.first + which / share,
                        g * share + which % share);
            }
        }
    }
}

/* ---------------------------------------------------------------- exponentials of logits */

/* In place, of each row (rows, n), less its most; the sums, and the most. */
void soften_rows(int threads, long rows, long n, real *x, real *mosts, real *sums) {
    long whole = n / LANES * LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long i = 0; i < rows; i++) {
        real *y = x + i * n, most = y[0], sum = 0;
        if (whole) {
            vec top = load(y);
            for (long j = LANES; j < whole; j += LANES) top = either(load(y + j) > top, load(y + j), top);
            most = most_of(top);
        }
        for (long j = whole; j < n; j++) most = y[j] > most ? y[j] : most;
        vec total = all(0);
        for (long j = 0; j < whole; j += LANES) {
            vec e = exponential(load(y + j) - most);
            store(y + j, e);
            total += e;
        }
        for (long j = whole; j < n; j++) sum += y[j] = exponential(all(y[j] - most))[0];
        mosts[i] = most, sums[i] = sum_of(total) + sum;
    }
}

/* ---------------------------------------------------------------- GELU */

/* x (1 + tanh(u)) / 2 = x / (1 + e^(-2u)), with u = sqrt(2 / pi) (x + 0.044715 x^3) */
#define SLOPE ((real)1.5957691216057308) /* 2 sqrt(2 / pi) */
#define CUBIC ((real)0.044715)

#define ENDS ((real)30)                  /* beyond which the gate is open or shut, and a cube may be too large */

INLINE vec inside(vec x) { return either(x > all(ENDS), all(ENDS), either(x < all(-ENDS), all(-ENDS), x)); }

INLINE vec gate(vec x) { return 1 / (1 + exponential(-SLOPE * x * (1 + CUBIC * x * x))); }

INLINE vec bent(vec x) { return x * gate(inside(x)); }

INLINE vec bent_back(vec x, vec pull) {
    x = inside(x);
    vec open = gate(x);
    return pull * open * (1 + x * (1 - open) * SLOPE * (1 + 3 * CUBIC * x * x));
}

void gelu(int threads, long n, const real *x, real *y) {
    long whole = n / LANES * LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long i = 0; i < whole; i += LANES) store(y + i, bent(load(x + i)));
    for (long i = whole; i < n; i++) y[i] = bent(all(x[i]))[0];
}

void gelu_back(int threads, long n, const real *x, const real *pull, real *y) {
    long whole = n / LANES * LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long i = 0; i < whole; i += LANES) store(y + i, bent_back(load(x + i), load(pull + i)));
    for (long i = whole; i < n; i++) y[i] = bent_back(all(x[i]), all(pull[i]))[0];
}
