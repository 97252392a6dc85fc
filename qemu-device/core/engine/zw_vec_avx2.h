/* SPDX-License-Identifier: MIT */
/*
 * One eight-lane register (AVX2, FMA and F16C), and what the primitives need of it. v8_* is always eight
 * lanes wide; vec_* is as wide as the level: zw_vec_avx512.h and the tests' pair of these registers
 * have the same functions at sixteen.
 *
 * _n variants touch only the first n lanes' memory; lanes from n on are +0 when loaded.
 */
#ifndef ZW_VEC_AVX2_H
#define ZW_VEC_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "zw_f16.h"
#include "zw_k_math.h"
#include "zw_k_prim.h"

#ifndef VEC_TARGET
#define VEC_TARGET "avx2,fma,f16c"
#endif
#define VEC_FN     __attribute__((target(VEC_TARGET)))
#define VEC_INLINE VEC_FN __attribute__((always_inline)) static inline

typedef __m256 v8;

VEC_INLINE v8 v8_load(const float *p)
{
	return _mm256_loadu_ps(p);
}

VEC_INLINE void v8_store(float *p, v8 v)
{
	_mm256_storeu_ps(p, v);
}

/* All ones in the first n of eight lanes, n <= 8. */
VEC_INLINE __m256i v8_mask(size_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n),
				  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VEC_INLINE v8 v8_load_n(const float *p, size_t n)
{
	return _mm256_maskload_ps(p, v8_mask(n));
}

VEC_INLINE void v8_store_n(float *p, v8 v, size_t n)
{
	_mm256_maskstore_ps(p, v8_mask(n), v);
}

/* Byte positions that make four BF16 of each half the upper halves of four F32. */
#define V8_WIDEN_LO -1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7
#define V8_WIDEN_HI -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15

/* One operation besides the load: conversions and zero extension take two. */
VEC_INLINE v8 v8_load_bf16(const uint16_t *p)
{
	__m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));

	return _mm256_castsi256_ps(
		_mm256_shuffle_epi8(twice, _mm256_setr_epi8(V8_WIDEN_LO, V8_WIDEN_HI)));
}

/*
 * The same where all registers are taken: reads the byte positions from memory each time. Left to
 * itself the compiler puts them into a register and a sum out of one.
 */
VEC_INLINE v8 v8_load_bf16_tight(const uint16_t *p)
{
	static const int8_t place[32] __attribute__((aligned(32))) = {V8_WIDEN_LO, V8_WIDEN_HI};
	__m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));

	__asm__("vpshufb %1, %0, %0" : "+x"(v) : "m"(place));
	return _mm256_castsi256_ps(v);
}

VEC_INLINE v8 v8_load_bf16_n(const uint16_t *p, size_t n)
{
	uint16_t buf[ZW_LANES] = {0};

	memcpy(buf, p, n * sizeof(*p));
	return v8_load_bf16(buf);
}

VEC_INLINE v8 v8_load_f16(const uint16_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

VEC_INLINE v8 v8_load_f16_n(const uint16_t *p, size_t n)
{
	uint16_t buf[ZW_LANES] = {0};

	memcpy(buf, p, n * sizeof(*p));
	return v8_load_f16(buf);
}

/* Eight BF16 of the values, rounded to nearest even, NaN made canonical. */
VEC_INLINE __m128i v8_narrow(v8 v)
{
	__m256i u = _mm256_castps_si256(v);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
	__m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
	__m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));

	r = _mm256_blendv_epi8(_mm256_srli_epi32(r, 16), _mm256_set1_epi32(ZW_BF16_NAN), nan);
	return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

VEC_INLINE void v8_store_bf16(uint16_t *p, v8 v)
{
	_mm_storeu_si128((__m128i *)p, v8_narrow(v));
}

VEC_INLINE void v8_store_bf16_n(uint16_t *p, v8 v, size_t n)
{
	uint16_t buf[ZW_LANES];

	v8_store_bf16(buf, v);
	memcpy(p, buf, n * sizeof(*p));
}

VEC_INLINE void v8_store_f16(uint16_t *p, v8 v)
{
	__m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
	__m128i nans =
		_mm_packs_epi32(_mm256_castsi256_si128(nan), _mm256_extracti128_si256(nan, 1));
	__m128i h = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);

	_mm_storeu_si128((__m128i *)p, _mm_blendv_epi8(h, _mm_set1_epi16(ZW_F16_NAN), nans));
}

VEC_INLINE void v8_store_f16_n(uint16_t *p, v8 v, size_t n)
{
	uint16_t buf[ZW_LANES];

	v8_store_f16(buf, v);
	memcpy(p, buf, n * sizeof(*p));
}

/* n lanes from v, the others from fill. */
VEC_INLINE v8 v8_first_n(v8 v, v8 fill, size_t n)
{
	return _mm256_blendv_ps(fill, v, _mm256_castsi256_ps(v8_mask(n)));
}

VEC_INLINE v8 v8_canon(v8 v)
{
	v8 nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);

	return _mm256_blendv_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(ZW_F32_NAN)), nan);
}

/* p * 2^floor(n / 2) * 2^(n - floor(n / 2)), n the difference of the bits of t and magic. */
VEC_INLINE v8 v8_times_exp2(v8 p, v8 t, v8 magic)
{
	const __m256i bias = _mm256_set1_epi32(127);
	__m256i i = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(magic));
	__m256i lo = _mm256_srai_epi32(i, 1), hi = _mm256_sub_epi32(i, lo);

	lo = _mm256_slli_epi32(_mm256_add_epi32(lo, bias), 23);
	hi = _mm256_slli_epi32(_mm256_add_epi32(hi, bias), 23);
	p = _mm256_mul_ps(p, _mm256_castsi256_ps(lo));
	return _mm256_mul_ps(p, _mm256_castsi256_ps(hi));
}

/*
 * Half sums t_0..t_3 of two lane vectors, side by side. A permutation and a blend, of which there can be
 * more at a time than of permutations: the other operands of the same sums, a.hi b.lo and a.lo b.hi.
 */
VEC_INLINE v8 v8_halves(v8 a, v8 b)
{
	return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x21), _mm256_blend_ps(a, b, 0xf0));
}

/* u_0, u_1 of four: of a, c in the lower half, of b, d in the upper. */
VEC_INLINE v8 v8_quarters(v8 a, v8 b, v8 c, v8 d)
{
	__m256d x = _mm256_castps_pd(v8_halves(a, b)), y = _mm256_castps_pd(v8_halves(c, d));

	return _mm256_add_ps(_mm256_castpd_ps(_mm256_shuffle_pd(x, y, 0x5)),
			     _mm256_castpd_ps(_mm256_blend_pd(x, y, 0xa)));
}

/* Totals of eight lane vectors, in the order in which zw_lanes_total() adds. */
VEC_INLINE v8 v8_totals(const v8 s[8])
{
	v8 x = v8_quarters(s[0], s[1], s[2], s[3]), y = v8_quarters(s[4], s[5], s[6], s[7]);
	v8 r = _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x88), _mm256_shuffle_ps(x, y, 0xdd));

	/* 0 2 4 6 | 1 3 5 7 */
	return _mm256_permutevar8x32_ps(r, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Totals of four. */
VEC_INLINE __m128 v8_totals4(v8 a, v8 b, v8 c, v8 d)
{
	v8 x = v8_quarters(a, b, c, d);
	__m128 lo = _mm256_castps256_ps128(x), hi = _mm256_extractf128_ps(x, 1);
	__m128 ac = _mm_add_ps(_mm_shuffle_ps(lo, hi, 0x88), _mm_shuffle_ps(lo, hi, 0xdd));

	return _mm_shuffle_ps(ac, ac, 0xd8); /* a c b d -> a b c d */
}

#endif
