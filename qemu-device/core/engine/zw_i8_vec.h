/* SPDX-License-Identifier: MIT */
/*
 * Products of I8 over 256-bit vectors, included once per instruction set. The includer defines
 *	I8_NAME		name of the table
 *	I8_TEXT		its name as text
 *	I8_TARGET	attributes of functions
 *	I8_DPBUSD(s,u,w)	s + sums of four products of unsigned u and signed w; not defined: AVX2,
 *			which widens to 16 bits, whose products it adds in pairs
 */
#include <immintrin.h>
#include <string.h>

#include "zw_k_i8.h"
#include "zw_k_prim.h"

#define I8_STEP 32 /* elements taken at a time */

#define I8_FN     __attribute__((target(I8_TARGET)))
#define I8_INLINE I8_FN __attribute__((always_inline)) static inline

#ifdef I8_DPBUSD
/* A is kept plus 128, without sign; 128 times the sum of w is taken off in the end. */
#define I8_SIZE 1

I8_FN static void i8_pack(void *dst, const int8_t *src, size_t n)
{
	uint8_t *d = dst;

	for (size_t i = 0; i < n; i++)
		d[i] = (uint8_t)(src[i] + 128);
	/* w is zero there */
	memset(d + n, 0, (0 - n) % ZW_I8_STEP);
}
#else
#define I8_SIZE 2

I8_FN static void i8_pack(void *dst, const int8_t *src, size_t n)
{
	int16_t *d = dst;

	for (size_t i = 0; i < n; i++)
		d[i] = src[i];
	memset(d + n, 0, (0 - n) % ZW_I8_STEP * sizeof(*d));
}
#endif

/* 32 elements of each column against the rows at a. */
I8_INLINE void i8_step(const unsigned int rows, const unsigned int cols, __m256i s[][4],
		       __m256i *sum_w, const char *a, size_t lda, const int8_t *const *w)
{
#pragma GCC unroll 4
	for (unsigned int j = 0; j < cols; j++) {
#ifdef I8_DPBUSD
		__m256i y = _mm256_loadu_si256((const __m256i *)w[j]);

		sum_w[j] = I8_DPBUSD(sum_w[j], _mm256_set1_epi8(1), y);
#pragma GCC unroll 4
		for (unsigned int i = 0; i < rows; i++)
			s[i][j] = I8_DPBUSD(s[i][j],
					    _mm256_loadu_si256((const __m256i *)(a + i * lda)), y);
#else
#pragma GCC unroll 2
		for (unsigned int half = 0; half < 2; half++) {
			__m256i y = _mm256_cvtepi8_epi16(
				_mm_loadu_si128((const __m128i *)(w[j] + 16 * half)));

#pragma GCC unroll 4
			for (unsigned int i = 0; i < rows; i++) {
				__m256i x = _mm256_loadu_si256(
					(const __m256i *)(a + i * lda + 32 * half));

				s[i][j] = _mm256_add_epi32(s[i][j], _mm256_madd_epi16(x, y));
			}
		}
#endif
	}
}

I8_INLINE int32_t i8_total(__m256i v)
{
	__m128i h = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
}

I8_INLINE void i8_dot(const unsigned int rows, const unsigned int cols, const char *a, size_t lda,
		      const int8_t *const *w, size_t n, int32_t *out)
{
	ZW_UNSET __m256i s[ZW_I8_MAX_ROWS][4];
	ZW_UNSET __m256i sum_w[4];
	size_t k = 0;

#pragma GCC unroll 4
	for (unsigned int j = 0; j < cols; j++) {
		sum_w[j] = _mm256_setzero_si256();
#pragma GCC unroll 4
		for (unsigned int i = 0; i < rows; i++)
			s[i][j] = _mm256_setzero_si256();
	}
	for (; k + I8_STEP <= n; k += I8_STEP) {
		ZW_UNSET const int8_t *at[4];

#pragma GCC unroll 4
		for (unsigned int j = 0; j < cols; j++)
			at[j] = w[j] + k;
		i8_step(rows, cols, s, sum_w, a + k * I8_SIZE, lda, at);
	}
	if (k < n) {
		ZW_UNSET int8_t rest[4][I8_STEP];
		ZW_UNSET const int8_t *at[4];

		for (unsigned int j = 0; j < cols; j++) {
			memset(rest[j], 0, sizeof(rest[j]));
			memcpy(rest[j], w[j] + k, n - k);
			at[j] = rest[j];
		}
		i8_step(rows, cols, s, sum_w, a + k * I8_SIZE, lda, at);
	}
#pragma GCC unroll 4
	for (unsigned int j = 0; j < cols; j++) {
#ifdef I8_DPBUSD
		/* Modulo 2^32; what comes out is in range. */
		uint32_t off = 128u * (uint32_t)i8_total(sum_w[j]);
#else
		uint32_t off = 0;
#endif

#pragma GCC unroll 4
		for (unsigned int i = 0; i < rows; i++)
			out[i * cols + j] = (int32_t)((uint32_t)i8_total(s[i][j]) - off);
	}
}

#define I8_DOT(rows, cols)                                                                         \
	I8_FN static void i8_dot_##rows(const char *a, size_t lda, const int8_t *const *w,         \
					size_t n, int32_t *out)                                    \
	{                                                                                          \
		i8_dot(rows, cols, a, lda, w, n, out);                                             \
	}
I8_DOT(1, 4)
I8_DOT(2, 4)
I8_DOT(4, 2)

const struct zw_i8 I8_NAME = {
	.name = I8_TEXT,
	.size = I8_SIZE,
	.pack = i8_pack,
	.dot = {{i8_dot_1, 1, 4}, {i8_dot_2, 2, 4}, {i8_dot_4, 4, 2}},
};
