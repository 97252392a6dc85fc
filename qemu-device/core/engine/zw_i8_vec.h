/* SPDX-License-Identifier: MIT */
/*
 * Products of I8 over vectors, included once per instruction set. The includer defines
 *	I8_NAME		name of the table
 *	I8_TEXT		its name as text
 *	I8_FN		attributes of functions
 *	I8_STEP		elements of a vector
 *	I8_COLS		columns taken with four rows
 *	I8_UNSIGNED	1: packed rows are bytes, plus 128, without sign; 0: 16 bits with sign
 * and
 *	i8_vec		a vector of sums of 32 bits
 *	i8_zero()	no sums
 *	i8_ones()	a packed row of ones (I8_UNSIGNED)
 *	i8_load_a(p)	I8_STEP elements of a packed row
 *	i8_load_w(p)	I8_STEP of a column
 *	i8_mac(s, a, w)	s + sums of products of neighbours
 *	i8_fold(s)	four sums, whose sum is that of all
 * and, with I8_TILE defined, the functions i8_pack_cols() and i8_tile() of the table
 * or, with I8_FOLD4 defined, in place of the last one
 *	i8_fold4(a, b, c, d)	for each of four vectors the sum of all its sums
 */
#include <immintrin.h>
#include <string.h>

#include "zw_k_i8.h"
#include "zw_k_prim.h"

/* How far ahead of the loads W is asked for, in bytes of each column. */
#define I8_AHEAD 512

#define I8_INLINE I8_FN __attribute__((always_inline)) static inline

_Static_assert(ZW_I8_STEP % I8_STEP == 0, "packed rows are continued to whole vectors");

#if I8_UNSIGNED
I8_FN static void i8_pack(void *dst, const int8_t *src, size_t n)
{
	uint8_t *d = dst;

	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		uint64_t v;

		memcpy(&v, src + i, sizeof(v));
		v ^= UINT64_C(0x8080808080808080);
		memcpy(d + i, &v, sizeof(v));
	}
	for (; i < n; i++)
		d[i] = (uint8_t)(src[i] + 128);
	/* w is zero there */
	memset(d + n, 0, (0 - n) % ZW_I8_STEP);
}
#else
I8_FN static void i8_pack(void *dst, const int8_t *src, size_t n)
{
	int16_t *d = dst;

	for (size_t i = 0; i < n; i++)
		d[i] = src[i];
	memset(d + n, 0, (0 - n) % ZW_I8_STEP * sizeof(*d));
}
#endif
#define I8_SIZE (I8_UNSIGNED ? 1u : 2u)

/* I8_STEP elements of each column against the rows at a; sum_w: the columns themselves (I8_UNSIGNED). */
I8_INLINE void i8_step(const unsigned int rows, const unsigned int cols, i8_vec s[][ZW_I8_MAX_COLS],
		       i8_vec *sum_w, const char *a, size_t lda, const int8_t *const *w)
{
#pragma GCC unroll 4
	for (unsigned int j = 0; j < cols; j++) {
		i8_vec y = i8_load_w(w[j]);

#if I8_UNSIGNED
		sum_w[j] = i8_mac(sum_w[j], i8_ones(), y);
#endif
#pragma GCC unroll 4
		for (unsigned int i = 0; i < rows; i++)
			s[i][j] = i8_mac(s[i][j], i8_load_a(a + i * lda), y);
	}
}

#ifndef I8_FOLD4
I8_INLINE __m128i i8_fold4(i8_vec a, i8_vec b, i8_vec c, i8_vec d)
{
	return _mm_hadd_epi32(_mm_hadd_epi32(i8_fold(a), i8_fold(b)),
			      _mm_hadd_epi32(i8_fold(c), i8_fold(d)));
}
#endif

/* The totals of @cols sums; those behind them mean nothing. */
I8_INLINE __m128i i8_totals(const unsigned int cols, const i8_vec *v)
{
	return i8_fold4(v[0], v[1], v[cols > 2 ? 2 : 0], v[cols > 3 ? 3 : 0]);
}

I8_INLINE void i8_dot(const unsigned int rows, const unsigned int cols, const char *a, size_t lda,
		      const int8_t *const *w, size_t n, float *out)
{
	ZW_UNSET i8_vec s[ZW_I8_MAX_ROWS][ZW_I8_MAX_COLS];
	ZW_UNSET i8_vec sum_w[ZW_I8_MAX_COLS];
	ZW_UNSET const int8_t *at[ZW_I8_MAX_COLS];
	__m128i off = _mm_setzero_si128();
	size_t k = 0;

#pragma GCC unroll 4
	for (unsigned int j = 0; j < cols; j++) {
		sum_w[j] = i8_zero();
#pragma GCC unroll 4
		for (unsigned int i = 0; i < rows; i++)
			s[i][j] = i8_zero();
	}
	for (; k + I8_STEP <= n; k += I8_STEP) {
#pragma GCC unroll 4
		for (unsigned int j = 0; j < cols; j++) {
			at[j] = w[j] + k;
			if (k % 64 == 0)
				_mm_prefetch((const char *)at[j] + I8_AHEAD, _MM_HINT_T0);
		}
		i8_step(rows, cols, s, sum_w, a + k * I8_SIZE, lda, at);
	}
	if (k < n) {
		ZW_UNSET int8_t rest[ZW_I8_MAX_COLS][I8_STEP];

		for (unsigned int j = 0; j < cols; j++) {
			memset(rest[j], 0, sizeof(rest[j]));
			memcpy(rest[j], w[j] + k, n - k);
			at[j] = rest[j];
		}
		i8_step(rows, cols, s, sum_w, a + k * I8_SIZE, lda, at);
	}
	/* 128 times the column, which each row was too great by. Modulo 2^32; what comes out is in range. */
	if (I8_UNSIGNED)
		off = _mm_slli_epi32(i8_totals(cols, sum_w), 7);
#pragma GCC unroll 4
	for (unsigned int i = 0; i < rows; i++) {
		__m128 sum = _mm_cvtepi32_ps(_mm_sub_epi32(i8_totals(cols, s[i]), off));

		if (cols == 4)
			_mm_storeu_ps(out + i * 4, sum);
		else
			_mm_storel_pi((__m64 *)(void *)(out + i * 2), sum);
	}
}
_Static_assert(I8_COLS == 2 || I8_COLS == 4, "what is stored of a row");

#define I8_DOT(rows, cols)                                                                         \
	I8_FN static void i8_dot_##rows(const char *a, size_t lda, const int8_t *const *w,         \
					size_t n, float *out)                                      \
	{                                                                                          \
		i8_dot(rows, cols, a, lda, w, n, out);                                             \
	}
I8_DOT(1, 4)
I8_DOT(2, 4)
I8_DOT(4, I8_COLS)

const struct zw_i8 I8_NAME = {
	.name = I8_TEXT,
	.size = I8_SIZE,
	.pack = i8_pack,
	.dot = {{i8_dot_1, 1, 4}, {i8_dot_2, 2, 4}, {i8_dot_4, 4, I8_COLS}},
#ifdef I8_TILE
	.pack_cols = i8_pack_cols,
	.tile = i8_tile,
#endif
};
