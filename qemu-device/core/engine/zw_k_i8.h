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
	 * out[i * cols + j] = sum over k < n of a[i][k] * w[j][k]; the rows of a are packed, lda bytes
	 * apart.
	 */
	struct zw_i8_dot {
		void (*fn)(const char *a, size_t lda, const int8_t *const *w, size_t n,
			   int32_t *out);
		unsigned int rows, cols;
	} dot[3]; /* by rows, ascending */
};

extern const struct zw_i8 zw_i8_scalar;
#if defined(__x86_64__)
extern const struct zw_i8 zw_i8_avx2, zw_i8_vnni_vex, zw_i8_vnni_evex;
#endif

/* The table for the level in use and this CPU. */
const struct zw_i8 *zw_i8_get(void);
/* For tests: used instead from now on; NULL ends it. */
void zw_i8_override(const struct zw_i8 *table);

#endif
