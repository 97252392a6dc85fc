/* SPDX-License-Identifier: MIT */
/*
 * Primitives: the only code of the kernels that exists once per SIMD level. Everything above them
 * (blocking, paging, work split) is shared, so a new level is one new table.
 *
 * All work on F32 rows in scratch memory. A "padded" row has room for ZW_PAD(n) elements, those
 * from n on being +0, and is 32-byte aligned. Each primitive's result is specified to the bit in
 * Documentation/device/numerics.md; zw_prim_scalar.c reads like that specification. How many rows
 * a primitive takes at a time is the level's own choice, and never shows in a result.
 */
#ifndef ZW_K_PRIM_H
#define ZW_K_PRIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Partial sums of every reduction; part of the numerics, not of any SIMD width. */
#define ZW_LANES  8
#define ZW_PAD(n) (((n) + (ZW_LANES - 1)) & ~(size_t)(ZW_LANES - 1))

/* Bounds of what a level may choose, for arrays of the kernels. */
#define ZW_TILE_MAX_ROWS   16 /* rows of A in a tile */
#define ZW_TILE_MAX_COLS   8  /* rows of W in a tile */
#define ZW_DIRECT_MAX_ROWS 16 /* rows of A in a direct product */
#define ZW_DIRECT_MAX_COLS 8
#define ZW_DIRECT_OUT      (ZW_DIRECT_MAX_ROWS * ZW_DIRECT_MAX_COLS)
#define ZW_WEIGH_MAX_ROWS  4

/* Storage formats the kernels know, as table index. */
enum zw_store {
	ZW_ST_F32,
	ZW_ST_BF16,
	ZW_ST_F16,
	ZW_ST_COUNT,
};

/* A row of some storage format; ptr NULL: absent. */
struct zw_row {
	const void *ptr;
	enum zw_store st;
};

/*
 * A local array that is not to be cleared first where the compiler is told to clear every variable, as
 * it is for QEMU: in the innermost loops that costs more than the products.
 */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define ZW_UNSET __attribute__((uninitialized))
#endif
#endif
#ifndef ZW_UNSET
#define ZW_UNSET
#endif

/*
 * What a direct product asks the caches for while it reads its rows: the bytes @ahead of them, of
 * every @step-th 64-byte line from line @first on. step 0: nothing.
 */
struct zw_ahead {
	size_t bytes;
	unsigned int first, step;
};

/*
 * Memory that a direct product asks the second-level cache for while it reads other memory, in ascending
 * order: @bytes from @at on, and of each @ld bytes behind it; some lines for every @step-th line of its
 * own rows. step 0: nothing.
 */
struct zw_ask {
	const char *at, *end; /* end: of the current row */
	size_t bytes, ld;
	unsigned int step, wait;
};

/* Neighbouring rows of W, for packed rows of A. */
struct zw_direct_rows {
	const char *w;
	size_t ld;       /* bytes from row to row */
	size_t count, k; /* rows, and elements of each */
	/*
	 * out[i * ldo + j] = dot(row i of A, row j of W); behind the last one, each row of out has room for
	 * ZW_DIRECT_MAX_COLS more.
	 */
	float *out;
	size_t ldo;
	struct zw_ask ask; /* goes on from call to call */
};

/* Direct product of a fixed number of rows of A. */
struct zw_direct {
	/*
	 * out[i * cols + j] = dot(packed row i of a, the k elements at w[j]), for j < cols. a is
	 * packed in one group of @group rows. out has room for ZW_DIRECT_OUT elements.
	 */
	void (*fn[ZW_ST_COUNT])(const float *a, const void *const *w, size_t k, float *out,
				struct zw_ahead ahead);
	/*
	 * The same of as many rows of W as there are. NULL for one row of A where direct_rows > 2: of more rows
	 * none is ever left alone.
	 */
	void (*block[ZW_ST_COUNT])(const float *a, struct zw_direct_rows *rows);
	unsigned int cols;  /* rows of W at a time, <= ZW_DIRECT_MAX_COLS */
	unsigned int group; /* rows of A as packed: the rows or more */
};

struct zw_q_prim;

struct zw_prim {
	const struct zw_q_prim *quant; /* zw_k_quant.h */
	/* dst padded <- n elements of src, exact. */
	void (*widen[ZW_ST_COUNT])(float *dst, const void *src, size_t n);
	/* n elements, rounded to nearest even, NaN made canonical. dst may be src (F32). */
	void (*narrow[ZW_ST_COUNT])(void *dst, const float *src, size_t n);

	/*
	 * Interleaves rows for the product: dst[(k / 8) * group * 8 + r * 8 + k % 8] = rows[r][k],
	 * n elements of each of n_rows <= group rows; the rest +0.
	 */
	void (*pack[ZW_ST_COUNT])(float *dst, unsigned int group, const void *const *rows,
				  unsigned int n_rows, size_t n);

	/*
	 * Register tile of the product: up to tile_rows rows of A, a multiple of tile_unit, and
	 * tile_cols rows of W; block_k elements of K at a time keep a strip of W in the first
	 * cache.
	 */
	unsigned int tile_rows, tile_unit, tile_cols;
	unsigned int block_k; /* a multiple of ZW_LANES */
	/*
	 * Lane sums of rows x tile_cols outputs over steps * 8 elements of packed rows; a is packed
	 * in groups of tile_rows rows, the last of zw_tile_group(what is left), w in one of
	 * tile_cols. lanes [zw_tile_lanes() for each group]: started from if @resume, else from +0.
	 * If out is NULL they are left in lanes; else out[i * ldo + j] = their total, i < rows.
	 */
	void (*tile)(size_t rows, const float *a, const float *w, size_t steps, float *lanes,
		     bool resume, float *out, size_t ldo);
	/* Totals of one group of rows and many strips of W, packed one after the other. */
	void (*tiles)(unsigned int rows, const float *a, const float *w, size_t steps,
		      size_t strips, float *out, size_t ldo);

	/* Products that read W where it lies, by rows of A (index rows - 1). */
	unsigned int direct_rows; /* <= ZW_DIRECT_MAX_ROWS */
	struct zw_direct direct[ZW_DIRECT_MAX_ROWS];

	/* out = round(v + bias + residual), absent ones left out; v is overwritten. */
	void (*epilogue)(void *out, enum zw_store st, float *v, struct zw_row bias,
			 struct zw_row residual, size_t n);

	/* x padded: adds n squares to the eight lane sums, element 0 to lane 0. */
	void (*sumsq)(float lanes[ZW_LANES], const float *x, size_t n);
	/* y = g * (x * r), g = w, or w + 1 if w1. */
	void (*norm)(float *y, const float *x, const float *w, float r, bool w1, size_t n);
	/* Half-split rotation in place; n = rot / 2. */
	void (*rope)(float *x1, float *x2, const float *cos_row, const float *sin_row, size_t n);
	/* g = silu(g) * u */
	void (*swiglu)(float *g, const float *u, size_t n);
	/* x = x * sigmoid(g) */
	void (*mul_sigmoid)(float *x, const float *g, size_t n);
	/* y[c] = silu(s), s = +0, then s = fma(w[i * ldw + c], in[i][c], s) for i < taps in order. */
	void (*conv)(float *y, const float *const *in, const float *w, size_t ldw,
		     unsigned int taps, size_t n);
	/*
	 * A row of the delta rule on n columns of the state s, of d rows lds apart:
	 *	t = alpha * s[i][c]             i < d
	 *	m = +0, m = fma(k[i], t, m)     in this order
	 *	x = beta * (v[c] - m)
	 *	s[i][c] = fma(k[i], x, t)
	 *	v[c] = o, o = +0, o = fma(q[i], s[i][c], o)
	 */
	void (*delta)(float *s, size_t lds, const float *q, const float *k, size_t d, float alpha,
		      float beta, float *v, size_t n);
	/* v = fma(p, s * w, v) */
	void (*add_scaled)(float *v, const float *p, float s, const float *w, size_t n);
	/* a = a + b */
	void (*add)(float *a, const float *b, size_t n);
	/* x = x * s */
	void (*scale)(float *x, float s, size_t n);
	/* a = fma(a, s, b * t) */
	void (*blend)(float *a, float s, const float *b, float t, size_t n);
	/* Greatest element that is no NaN; -inf if there is none. */
	float (*max)(const float *x, size_t n);
	/* x = x * s; the greatest of m and these, NaNs left out. */
	float (*scale_max)(float *x, float s, float m, size_t n);
	/* x = exp(x - m) for n elements, added to the eight lane sums, element 0 to lane 0. */
	void (*expsum)(float lanes[ZW_LANES], float *x, float m, size_t n);
	/* x = x / s */
	void (*div)(float *x, float s, size_t n);
	/*
	 * acc[r * lda + c] = fma(p[r * ldp + j], v[j][c], acc[r * lda + c]) for j = 0..keys-1 in
	 * order, c < n, r < rows, at most weigh_rows of the format. The n elements of key j start ldv elements after those of key
	 * j - 1.
	 */
	unsigned int weigh_rows[ZW_ST_COUNT]; /* at a time, <= ZW_WEIGH_MAX_ROWS */
	unsigned int weigh_cols;              /* columns that are best taken at a time */
	void (*weigh[ZW_ST_COUNT])(unsigned int rows, float *acc, size_t lda, const float *p,
				   size_t ldp, const void *v, size_t ldv, size_t keys, size_t n);
};

extern const struct zw_prim zw_prim_scalar;
#if defined(__x86_64__)
extern const struct zw_prim zw_prim_avx2;
extern const struct zw_prim zw_prim_avx512;
#endif

/* The table of the level in use. */
const struct zw_prim *zw_prim_get(void);

/* For tests of tables that are no level: used instead of the level's from now on; NULL ends it. */
void zw_prim_override(const struct zw_prim *prim);

/* Rows of A as they are packed for a tile of @rows of them. */
static inline unsigned int zw_tile_group(const struct zw_prim *prim, unsigned int rows)
{
	return (rows + prim->tile_unit - 1) / prim->tile_unit * prim->tile_unit;
}

/* Floats of the lane sums of one tile. */
static inline size_t zw_tile_lanes(const struct zw_prim *prim)
{
	return (size_t)prim->tile_rows * prim->tile_cols * ZW_LANES;
}

/* The total of eight lanes: the one order in which they are added anywhere. */
static inline float zw_lanes_total(const float s[ZW_LANES])
{
	float t0 = s[0] + s[4], t1 = s[1] + s[5], t2 = s[2] + s[6], t3 = s[3] + s[7];
	float u0 = t0 + t2, u1 = t1 + t3;

	return u0 + u1;
}

#endif
