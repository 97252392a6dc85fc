/* SPDX-License-Identifier: MIT */
/*
 * Primitives: the only code of the kernels that exists once per SIMD level. Everything above them
 * (blocking, paging, work split) is shared, so a new level is one new table.
 *
 * All work on F32 rows in scratch memory. A "padded" row has room for ZW_PAD(n) elements, those
 * from n on being +0, and is 32-byte aligned. Each primitive's result is specified to the bit in
 * Documentation/device/numerics.md; zw_prim_scalar.c reads like that specification.
 */
#ifndef ZW_K_PRIM_H
#define ZW_K_PRIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Partial sums of every reduction; part of the numerics, not of any SIMD width. */
#define ZW_LANES  8
#define ZW_PAD(n) (((n) + (ZW_LANES - 1)) & ~(size_t)(ZW_LANES - 1))

/* Register tile of the matrix product: outputs kept in flight at a time. */
#define ZW_MR 3
#define ZW_NR 4

/* Storage formats the kernels know, as table index. */
enum zw_store {
	ZW_ST_F32,
	ZW_ST_BF16,
	ZW_ST_COUNT,
};

/* A row of some storage format; ptr NULL: absent. */
struct zw_row {
	const void *ptr;
	enum zw_store st;
};

struct zw_prim {
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
	 * Lane sums of an mr x ZW_NR tile over steps * 8 elements of packed rows (a: groups of mr,
	 * w: groups of ZW_NR), mr = 1..ZW_MR (index mr - 1). lanes [mr][ZW_NR][8]: started from if
	 * @resume, else from +0. If out is NULL they are left in lanes; else out[i * ldo + j] =
	 * their total.
	 */
	void (*tile[ZW_MR])(const float *a, const float *w, size_t steps, float *lanes, bool resume,
			    float *out, size_t ldo);
	/*
	 * out[i * ldo + j] = dot(packed row i of a, row j of w), mr x ZW_NR, w read where it lies:
	 * row j starts ldw elements after row j - 1, k elements each.
	 */
	void (*direct[ZW_ST_COUNT][ZW_MR])(const float *a, const void *w, size_t ldw, size_t k,
					   float *out, size_t ldo);

	/* out = round(v + bias + residual), absent ones left out; v is overwritten. */
	void (*epilogue)(void *out, enum zw_store st, float *v, struct zw_row bias,
			 struct zw_row residual, size_t n);

	/* x padded: 8-lane sum of squares. */
	float (*sumsq)(const float *x, size_t n);
	/* y = g * (x * r), g = w, or w + 1 if w1. */
	void (*norm)(float *y, const float *x, const float *w, float r, bool w1, size_t n);
	/* Half-split rotation in place; n = rot / 2. */
	void (*rope)(float *x1, float *x2, const float *cos_row, const float *sin_row, size_t n);
	/* g = silu(g) * u */
	void (*swiglu)(float *g, const float *u, size_t n);
	/* a = a + b */
	void (*add)(float *a, const float *b, size_t n);
	/* x = x * s */
	void (*scale)(float *x, float s, size_t n);
	/* Greatest element that is no NaN; -inf if there is none. */
	float (*max)(const float *x, size_t n);
	/* x = exp(x - m) for n elements; returns their 8-lane sum (lane l starts at +0). */
	float (*expsum)(float *x, float m, size_t n);
	/* x = x / s */
	void (*div)(float *x, float s, size_t n);

	/*
	 * acc[r * lda + c] = fma(p[r * ldp + j], v[j * ldv + c], acc[r * lda + c]) for j =
	 * 0..keys-1 in order, r < mr (index mr - 1), c < n with n a multiple of 8.
	 */
	void (*weigh[ZW_MR])(float *acc, size_t lda, const float *p, size_t ldp, const float *v,
			     size_t ldv, size_t keys, size_t n);
};

extern const struct zw_prim zw_prim_scalar;
#if defined(__x86_64__)
extern const struct zw_prim zw_prim_avx2;
#endif

/* The table of the level in use. */
const struct zw_prim *zw_prim_get(void);

#endif
