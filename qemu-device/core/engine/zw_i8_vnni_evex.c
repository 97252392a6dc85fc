// SPDX-License-Identifier: MIT
/* Products of I8 with AVX-512 VNNI. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "zw_k_i8.h"
#include "zw_k_prim.h"

#define I8_NAME zw_i8_vnni_evex
#define I8_TEXT "avx512vnni"
#define I8_FN   __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))

typedef __m512i i8_vec;

/* As asm: around the intrinsic GCC 12 copies each sum to another register and back. */
I8_FN __attribute__((always_inline)) static inline __m512i i8_mac(__m512i s, __m512i a, __m512i w)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(a), "v"(w));
	return s;
}

#define i8_zero()    _mm512_setzero_si512()
#define i8_ones()    _mm512_set1_epi8(1)
#define i8_load_a(p) _mm512_loadu_si512(p)
#define i8_load_w(p) _mm512_loadu_si512(p)

#define I8_FOLD4 1

/* Neighbours first, of all four at once. */
I8_FN __attribute__((always_inline)) static inline __m128i i8_fold4(__m512i a, __m512i b, __m512i c,
								    __m512i d)
{
	__m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
	__m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
	__m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
	__m256i h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

/* --- tiles --- */

#define TILE_ROWS 12
/* Vectors of columns, each of four elements of sixteen of them. */
#define TILE_VECS (ZW_I8_TILE_COLS / 16)

/* v[i] <- lane i of all sixteen. */
I8_FN __attribute__((always_inline)) static inline void transpose(__m512i v[16])
{
	ZW_UNSET __m512i t[16];

#pragma GCC unroll 8
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += 4) {
		v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	/* Quarter q of v[4 c + i]: lane 4 q + i of rows 4 c .. 4 c + 3. */
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		__m512i a = _mm512_shuffle_i64x2(v[i], v[4 + i], 0x88);
		__m512i b = _mm512_shuffle_i64x2(v[i], v[4 + i], 0xdd);
		__m512i c = _mm512_shuffle_i64x2(v[8 + i], v[12 + i], 0x88);
		__m512i d = _mm512_shuffle_i64x2(v[8 + i], v[12 + i], 0xdd);

		t[i] = _mm512_shuffle_i64x2(a, c, 0x88);
		t[8 + i] = _mm512_shuffle_i64x2(a, c, 0xdd);
		t[4 + i] = _mm512_shuffle_i64x2(b, d, 0x88);
		t[12 + i] = _mm512_shuffle_i64x2(b, d, 0xdd);
	}
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++)
		v[i] = t[i];
}

/*
 * First what sums begin with, -128 times the column, which rows are too great by; then four elements of all columns after
 * the other. Modulo 2^32; what comes out is in range.
 */
I8_FN static void i8_pack_cols(void *dst, const int8_t *const *w, size_t n)
{
	const __m512i ones = _mm512_set1_epi8(1), none = _mm512_setzero_si512();
	__m512i *to = dst;

	for (unsigned int c = 0; c < TILE_VECS; c++) {
		__m512i sum = none;

		for (size_t k = 0; k < n; k += 64) {
			const __mmask64 there =
				n - k < 64 ? (UINT64_C(1) << (n - k)) - 1 : ~UINT64_C(0);
			ZW_UNSET __m512i v[16];

#pragma GCC unroll 16
			for (int i = 0; i < 16; i++)
				v[i] = _mm512_maskz_loadu_epi8(there, w[16 * c + i] + k);
			transpose(v);
#pragma GCC unroll 16
			for (int i = 0; i < 16; i++) {
				sum = i8_mac(sum, ones, v[i]);
				_mm512_store_si512(to + (1 + k / 4 + i) * TILE_VECS + c, v[i]);
			}
		}
		_mm512_store_si512(to + c, _mm512_sub_epi32(none, _mm512_slli_epi32(sum, 7)));
	}
}

I8_FN __attribute__((always_inline)) static inline void tile_rows(const unsigned int rows,
								  const char *a, size_t lda,
								  const __m512i *w, size_t n,
								  float *out, size_t ldo)
{
	ZW_UNSET __m512i s[TILE_ROWS][TILE_VECS];
	const char *p[(TILE_ROWS + 3) / 4];

#pragma GCC unroll 12
	for (unsigned int i = 0; i < rows; i++)
#pragma GCC unroll 2
		for (unsigned int c = 0; c < TILE_VECS; c++)
			s[i][c] = w[c];
#pragma GCC unroll 3
	for (unsigned int i = 0; i < (rows + 3) / 4; i++)
		p[i] = a + 4 * i * lda;
	for (size_t k = 0; k < n; k += 4) {
		w += TILE_VECS;
#pragma GCC unroll 12
		for (unsigned int i = 0; i < rows; i++) {
			__m512i y;
			int four;

			memcpy(&four, p[i / 4] + i % 4 * lda + k, sizeof(four));
			y = _mm512_set1_epi32(four);
#pragma GCC unroll 2
			for (unsigned int c = 0; c < TILE_VECS; c++)
				s[i][c] = i8_mac(s[i][c], y, w[c]);
		}
	}
#pragma GCC unroll 12
	for (unsigned int i = 0; i < rows; i++)
#pragma GCC unroll 2
		for (unsigned int c = 0; c < TILE_VECS; c++)
			_mm512_storeu_ps(out + i * ldo + 16 * c, _mm512_cvtepi32_ps(s[i][c]));
}

I8_FN static void i8_tile(size_t rows, const char *a, size_t lda, const void *cols, size_t n,
			  float *out, size_t ldo)
{
	while (rows) {
		size_t some = rows >= TILE_ROWS ? TILE_ROWS
			      : rows >= 8       ? 8
			      : rows >= 4       ? 4
			      : rows >= 2       ? 2
						: 1;

		switch (some) {
#define TILE(r)                                                                                    \
	case r:                                                                                    \
		tile_rows(r, a, lda, cols, n, out, ldo);                                           \
		break;
			TILE(TILE_ROWS)
			TILE(8)
			TILE(4)
			TILE(2)
			TILE(1)
#undef TILE
		}
		rows -= some;
		a += some * lda;
		out += some * ldo;
	}
}

#define I8_TILE     1
#define I8_STEP     64
#define I8_COLS     4
#define I8_UNSIGNED 1
#include "zw_i8_vec.h"
#endif
