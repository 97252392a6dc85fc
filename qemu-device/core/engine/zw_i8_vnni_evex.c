// SPDX-License-Identifier: MIT
/* Products of I8 with AVX-512 VNNI. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "zw_k_i8.h"
#include "zw_k_prim.h"

#define I8_FN     __attribute__((target("avx2,avx512f,avx512vl,avx512vnni")))
#define I8_INLINE I8_FN __attribute__((always_inline)) static inline

/* A is kept plus 128, without sign; 128 times the sum of w is taken off in the end. */
I8_FN static void i8_pack(void *dst, const int8_t *src, size_t n)
{
	uint8_t *d = dst;

	for (size_t i = 0; i < n; i++)
		d[i] = (uint8_t)(src[i] + 128);
	/* w is zero there */
	memset(d + n, 0, (0 - n) % ZW_I8_STEP);
}

/* As asm: around the intrinsic GCC 12 copies each sum to another register and back. */
I8_INLINE __m512i i8_dpbusd(__m512i s, __m512i u, __m512i w)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(u), "v"(w));
	return s;
}

/* 64 elements of each column against the rows at a. */
I8_INLINE void i8_step(const unsigned int rows, __m512i s[][4], __m512i *sum_w, const char *a,
		       size_t lda, const int8_t *const *w)
{
	ZW_UNSET __m512i y[4];

#pragma GCC unroll 4
	for (unsigned int j = 0; j < 4; j++) {
		y[j] = _mm512_loadu_si512(w[j]);
		sum_w[j] = i8_dpbusd(sum_w[j], _mm512_set1_epi8(1), y[j]);
	}
#pragma GCC unroll 4
	for (unsigned int i = 0; i < rows; i++) {
		__m512i x = _mm512_loadu_si512(a + i * lda);

#pragma GCC unroll 4
		for (unsigned int j = 0; j < 4; j++)
			s[i][j] = i8_dpbusd(s[i][j], x, y[j]);
	}
}

/* The totals of four. */
I8_INLINE __m128i i8_totals(const __m512i *v)
{
	ZW_UNSET __m128i t[4];

#pragma GCC unroll 4
	for (unsigned int j = 0; j < 4; j++) {
		__m256i h = _mm256_add_epi32(_mm512_castsi512_si256(v[j]),
					     _mm512_extracti64x4_epi64(v[j], 1));

		t[j] = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
	}
	return _mm_hadd_epi32(_mm_hadd_epi32(t[0], t[1]), _mm_hadd_epi32(t[2], t[3]));
}

I8_INLINE void i8_dot(const unsigned int rows, const char *a, size_t lda, const int8_t *const *w,
		      size_t n, int32_t *out)
{
	ZW_UNSET __m512i s[ZW_I8_MAX_ROWS][4];
	ZW_UNSET __m512i sum_w[4];
	__m128i off;
	size_t k = 0;

#pragma GCC unroll 4
	for (unsigned int j = 0; j < 4; j++) {
		sum_w[j] = _mm512_setzero_si512();
#pragma GCC unroll 4
		for (unsigned int i = 0; i < rows; i++)
			s[i][j] = _mm512_setzero_si512();
	}
	for (; k + ZW_I8_STEP <= n; k += ZW_I8_STEP) {
		const int8_t *const at[4] = {w[0] + k, w[1] + k, w[2] + k, w[3] + k};

		i8_step(rows, s, sum_w, a + k, lda, at);
	}
	if (k < n) {
		ZW_UNSET int8_t rest[4][ZW_I8_STEP];
		const int8_t *const at[4] = {rest[0], rest[1], rest[2], rest[3]};

		for (unsigned int j = 0; j < 4; j++) {
			memset(rest[j], 0, sizeof(rest[j]));
			memcpy(rest[j], w[j] + k, n - k);
		}
		i8_step(rows, s, sum_w, a + k, lda, at);
	}
	/* Modulo 2^32; what comes out is in range. */
	off = _mm_slli_epi32(i8_totals(sum_w), 7);
#pragma GCC unroll 4
	for (unsigned int i = 0; i < rows; i++)
		_mm_storeu_si128((__m128i *)(void *)(out + i * 4),
				 _mm_sub_epi32(i8_totals(s[i]), off));
}

#define I8_DOT(rows)                                                                               \
	I8_FN static void i8_dot_##rows(const char *a, size_t lda, const int8_t *const *w,         \
					size_t n, int32_t *out)                                    \
	{                                                                                          \
		i8_dot(rows, a, lda, w, n, out);                                                   \
	}
I8_DOT(1)
I8_DOT(2)
I8_DOT(4)

const struct zw_i8 zw_i8_vnni_evex = {
	.name = "avx512vnni",
	.size = 1,
	.pack = i8_pack,
	.dot = {{i8_dot_1, 1, 4}, {i8_dot_2, 2, 4}, {i8_dot_4, 4, 4}},
};
#endif
