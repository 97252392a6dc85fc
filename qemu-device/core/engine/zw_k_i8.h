/* SPDX-License-Identifier: MIT */
/*
 * Sums of products of I8, exact in 32 bits: the same number in whatever order, so levels differ in speed only.
 */
#ifndef ZW_K_I8_H
#define ZW_K_I8_H

#include <stddef.h>
#include <stdint.h>

/* Elements of a sum: 2^14 times as much is below 2^31. */
#define ZW_I8_MAX_K    (1u << 16)
/* Packed rows are continued to a multiple, as far as one step of any table goes. */
#define ZW_I8_STEP     64u
#define ZW_I8_MAX_ROWS 4
#define ZW_I8_MAX_COLS 4

struct zw_i8 {
	const char *name;
	unsigned int size; /* bytes of an element of a packed row */
	/* A row of n elements for products, padded. */
	void (*pack)(void *dst, const int8_t *src, size_t n);
	/*
	 * out[i * cols + j] = sum over k < n of a[i][k] * w[j][k], rounded once; the rows of a are packed, lda
	 * bytes apart.
	 */
	struct zw_i8_dot {
		void (*fn)(const char *a, size_t lda, const int8_t *const *w, size_t n, float *out);
		unsigned int rows, cols;
	} dot[3]; /* by rows, ascending */
	/*
	 * For many rows: columns are packed, and each of their lanes is a sum of one. NULL, and 0 columns: not in this
	 * table.
	 *
	 * pack_cols: ZW_I8_TILE_COLS columns of n elements to dst, 64-byte aligned, of zw_i8_tile_bytes(n).
	 * tile: out[i * ldo + j] = sum over k < n of a[i][k] * w[j][k], rounded once, for all of these columns; the rows of
	 * a are packed as above.
	 */
	void (*pack_cols)(void *dst, const int8_t *const *w, size_t n);
	void (*tile)(size_t rows, const char *a, size_t lda, const void *cols, size_t n, float *out,
		     size_t ldo);
};

#define ZW_I8_TILE_COLS 32u

static inline size_t zw_i8_tile_bytes(size_t n)
{
	return ZW_I8_TILE_COLS * ((n + ZW_I8_STEP - 1) / ZW_I8_STEP * ZW_I8_STEP + sizeof(int32_t));
}

extern const struct zw_i8 zw_i8_scalar;
#if defined(__x86_64__)
extern const struct zw_i8 zw_i8_avx2, zw_i8_vnni_vex, zw_i8_vnni_evex;
#endif

/* The table for the level in use and this CPU. */
const struct zw_i8 *zw_i8_get(void);
/* For tests: used instead from now on; NULL ends it. */
void zw_i8_override(const struct zw_i8 *table);

#endif
