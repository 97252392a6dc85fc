/* SPDX-License-Identifier: MIT */
/*
 * Quantised weights as vectors of AVX2, FMA and F16C; the AVX-512 level uses them too. Every format is one
 * function that makes 32 elements of a row four vectors.
 */
#ifndef ZW_QUANT_VEC_H
#define ZW_QUANT_VEC_H

#include "zw_vec_avx2.h"

#include "zw_k_quant.h"
#include "zw_small_float.h"

/* The scales and minimums of a record of 256, by group; what a step of 32 elements has of a scaled type. */
struct scales {
	float d[16], m[16];
};

VEC_INLINE __m256i splat32(const uint8_t *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return _mm256_set1_epi32(v);
}

VEC_INLINE float f16_at(const uint8_t *p)
{
	uint16_t h;

	memcpy(&h, p, sizeof(h));
	return _cvtsh_ss(h);
}

/* Eight bytes as numbers. */
VEC_INLINE __m256i bytes8(const uint8_t *p)
{
	return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

VEC_INLINE v8 signed8(const uint8_t *p)
{
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

/* Eight nibbles of four bytes, from bit 0 up. */
VEC_INLINE __m256i nibbles_low(__m256i v)
{
	return _mm256_srlv_epi32(v, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
}

/* ... from bit 28 up. */
VEC_INLINE __m256i nibbles_high(__m256i v)
{
	return _mm256_sllv_epi32(v, _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0));
}

/*
 * Magnitudes of F4E2M1 times a scale. A product's sign is that of both its operands, so that the number's may as
 * well come last.
 */
VEC_INLINE v8 f4_table(float scale)
{
	return _mm256_mul_ps(_mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f),
			     _mm256_set1_ps(scale));
}

/* F4E2M1 from bits 0 to 2 of an index and, in bit 31 of another, its sign. */
VEC_INLINE v8 f4_value(v8 table, __m256i index, __m256i sign)
{
	v8 v = _mm256_permutevar8x32_ps(table, index);

	return _mm256_xor_ps(v, _mm256_and_ps(_mm256_castsi256_ps(sign), _mm256_set1_ps(-0.0f)));
}

/* Eight of them from four bytes. */
VEC_INLINE v8 f4_at(v8 table, const uint8_t *p)
{
	return f4_value(table, nibbles_low(splat32(p)), nibbles_high(splat32(p)));
}

/* Sixteen F8E4M3, none of them a NaN, as F16 that are 2^-8 of them. */
VEC_INLINE __m256i e4m3_numbers(const uint8_t *p)
{
	__m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));

	return _mm256_and_si256(_mm256_slli_epi16(w, 7), _mm256_set1_epi16((short)0xbf80));
}

/* The same where there may be NaN. */
VEC_INLINE __m256i e4m3_halves(const uint8_t *p)
{
	const __m256i most = _mm256_set1_epi16(0x3f80);
	__m256i w = e4m3_numbers(p);

	return _mm256_or_si256(w, _mm256_cmpeq_epi16(_mm256_and_si256(w, most), most));
}

VEC_INLINE __m256i e5m2_halves(const uint8_t *p)
{
	return _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)), 8);
}

/* The greatest magnitude of F8 so far, twice its bits; whether it is no finite number. */
VEC_INLINE __m256i f8_most(__m256i most, const uint8_t *p)
{
	__m256i v = _mm256_loadu_si256((const __m256i *)p);

	return _mm256_max_epu8(most, _mm256_add_epi8(v, v));
}

VEC_INLINE bool f8_special(const enum zw_q_format f, __m256i most)
{
	const __m256i first = _mm256_set1_epi8((char)(f == ZW_Q_F8E4M3 ? 0xfe : 0xf8));

	return _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(most, first), most)) != 0;
}

/* What numbers() leaves out of those of a type; its product with a scale is exact below 2^119. */
VEC_INLINE float left_out(const enum zw_q_format f)
{
	return f == ZW_Q_F8E4M3 ? 256.0f : 1.0f;
}

/* 32 numbers of a type whose scales are beside it, but for what is left out; F4E2M1 has a table instead. */
VEC_INLINE void numbers(v8 w[4], const enum zw_q_format f, const uint8_t *p)
{
	if (f == ZW_Q_F8E4M3 || f == ZW_Q_F8E5M2) {
#pragma GCC unroll 2
		for (unsigned int i = 0; i < 2; i++) {
			__m256i h = f == ZW_Q_F8E4M3 ? e4m3_halves(p + 16 * i)
						     : e5m2_halves(p + 16 * i);

			w[2 * i] = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
			w[2 * i + 1] = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
		}
		return;
	}
#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++) {
		switch (f) {
		case ZW_Q_I8:
		case ZW_Q_I8Z:
			w[i] = signed8(p + 8 * i);
			break;
		case ZW_Q_I4:
		case ZW_Q_I4Z:
			w[i] = _mm256_cvtepi32_ps(
				_mm256_srai_epi32(nibbles_high(splat32(p + 4 * i)), 28));
			break;
		default: /* U4 */
			w[i] = _mm256_cvtepi32_ps(_mm256_and_si256(nibbles_low(splat32(p + 4 * i)),
								   _mm256_set1_epi32(15)));
			break;
		}
	}
}

VEC_INLINE bool has_zero(const enum zw_q_format f)
{
	return f == ZW_Q_I8Z || f == ZW_Q_I4Z || f == ZW_Q_U4Z;
}

VEC_INLINE bool is_half_byte(const enum zw_q_format f)
{
	return f == ZW_Q_I4 || f == ZW_Q_I4Z || f == ZW_Q_U4 || f == ZW_Q_U4Z || f == ZW_Q_F4E2M1;
}

/* 32 elements; s: scale and zero point of the first sixteen and of the others. */
VEC_INLINE void scaled32(v8 w[4], const enum zw_q_format f, const uint8_t *p,
			 const struct scales *s)
{
	if (f == ZW_Q_F4E2M1) {
		v8 table[2] = {f4_table(s->d[0]), f4_table(s->d[1])};

#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++)
			w[i] = f4_at(table[i / 2], p + 4 * i);
		return;
	}
	numbers(w, f, p);
#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++) {
		if (f == ZW_Q_F8E4M3)
			w[i] = _mm256_mul_ps(w[i], _mm256_set1_ps(left_out(f)));
		if (has_zero(f))
			w[i] = _mm256_sub_ps(w[i], _mm256_set1_ps(s->m[i / 2]));
		w[i] = _mm256_mul_ps(w[i], _mm256_set1_ps(s->d[i / 2]));
	}
}

/* Elements whose four low bits are the low nibbles of sixteen bytes, then the high ones. */
VEC_INLINE void halves(__m256i n[4], const uint8_t *q)
{
#pragma GCC unroll 2
	for (unsigned int i = 0; i < 2; i++) {
		__m256i b = bytes8(q + 8 * i);

		n[i] = _mm256_and_si256(b, _mm256_set1_epi32(15));
		n[i + 2] = _mm256_srli_epi32(b, 4);
	}
}

/* Bit 4 of number l is bit 8 i + l of h. */
VEC_INLINE __m256i fifth_bits(__m256i h, unsigned int i)
{
	const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	__m256i at = _mm256_add_epi32(lanes, _mm256_set1_epi32((int)(8 * i)));

	return _mm256_slli_epi32(_mm256_and_si256(_mm256_srlv_epi32(h, at), _mm256_set1_epi32(1)),
				 4);
}

/* A record of 32 elements. */
VEC_INLINE void record32(v8 w[4], const enum zw_q_format f, const uint8_t *p)
{
	ZW_UNSET __m256i n[4];
	v8 d, m = _mm256_setzero_ps();
	__m256i h;

	switch (f) {
	case ZW_Q_Q8_0:
		d = _mm256_set1_ps(f16_at(p));
#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++)
			w[i] = _mm256_mul_ps(d, signed8(p + 2 + 8 * i));
		return;
	case ZW_Q_MXFP4:
		d = f4_table(zw_e8m0_to_f32(p[0]));
#pragma GCC unroll 2
		for (unsigned int i = 0; i < 2; i++) {
			__m256i b = bytes8(p + 1 + 8 * i), up = _mm256_srli_epi32(b, 4);

			w[i] = f4_value(d, b, _mm256_slli_epi32(b, 28));
			w[i + 2] = f4_value(d, up, _mm256_slli_epi32(b, 24));
		}
		return;
	case ZW_Q_Q4_0:
		halves(n, p + 2);
#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++)
			n[i] = _mm256_sub_epi32(n[i], _mm256_set1_epi32(8));
		break;
	case ZW_Q_Q4_1:
		halves(n, p + 4);
		m = _mm256_set1_ps(f16_at(p + 2));
		break;
	case ZW_Q_Q5_0:
		halves(n, p + 6);
		h = splat32(p + 2);
#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++)
			n[i] = _mm256_sub_epi32(_mm256_or_si256(n[i], fifth_bits(h, i)),
						_mm256_set1_epi32(16));
		break;
	default: /* Q5_1 */
		halves(n, p + 8);
		h = splat32(p + 4);
#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++)
			n[i] = _mm256_or_si256(n[i], fifth_bits(h, i));
		m = _mm256_set1_ps(f16_at(p + 2));
		break;
	}
	d = _mm256_set1_ps(f16_at(p));
#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++) {
		v8 x = _mm256_cvtepi32_ps(n[i]);

		w[i] = f == ZW_Q_Q4_1 || f == ZW_Q_Q5_1 ? _mm256_fmadd_ps(x, d, m)
							: _mm256_mul_ps(d, x);
	}
}

/* Eight numbers of a byte each, times d. */
VEC_INLINE v8 times(uint64_t bytes, float d)
{
	__m256i n = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));

	return _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(n));
}

VEC_INLINE uint64_t bytes64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

VEC_INLINE uint32_t bytes32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

#define LOW4 UINT64_C(0x0f0f0f0f0f0f0f0f)

/* Scales of a record of 256; minimums are negated. */
VEC_INLINE void scales256(struct scales *s, const enum zw_q_format f, const uint8_t *p)
{
	const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x03030303;
	uint32_t a, b, c;
	float d, m;

	switch (f) {
	case ZW_Q_Q2_K:
		d = f16_at(p + 80);
		m = -f16_at(p + 82);
		for (unsigned int g = 0; g < 16; g += 8) {
			v8_store(s->d + g, times(bytes64(p + g) & LOW4, d));
			v8_store(s->m + g, times(bytes64(p + g) >> 4 & LOW4, m));
		}
		break;
	case ZW_Q_Q3_K:
		d = f16_at(p + 108);
		c = bytes32(p + 104);
		for (unsigned int g = 0; g < 16; g += 8) {
			uint64_t low = bytes64(p + 96) >> (g / 2) & LOW4;
			uint64_t high = (uint64_t)(c >> (g / 2) & two) |
					(uint64_t)(c >> (g / 2 + 2) & two) << 32;
			__m256i n = _mm256_cvtepu8_epi32(
				_mm_cvtsi64_si128((long long)(low | high << 4)));

			n = _mm256_sub_epi32(n, _mm256_set1_epi32(32));
			v8_store(s->d + g, _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(n)));
		}
		break;
	case ZW_Q_Q6_K:
		d = f16_at(p + 208);
		for (unsigned int g = 0; g < 16; g += 8)
			v8_store(s->d + g, _mm256_mul_ps(_mm256_set1_ps(d), signed8(p + 192 + g)));
		break;
	default: /* Q4_K, Q5_K */
		a = bytes32(p + 4);
		b = bytes32(p + 8);
		c = bytes32(p + 12);
		v8_store(s->d, times((a & six) | (uint64_t)((c & four) | (a >> 6 & two) << 4) << 32,
				     f16_at(p)));
		v8_store(s->m,
			 times((b & six) | (uint64_t)((c >> 4 & four) | (b >> 6 & two) << 4) << 32,
			       -f16_at(p + 2)));
		break;
	}
}

VEC_INLINE __m256i shift_bytes(__m256i v, unsigned int by, uint8_t mask)
{
	return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128((int)by)),
				_mm256_set1_epi8((char)mask));
}

/*
 * The same of Q5_K and Q6_K, whose bits are in two places: they are put together as bytes. From memory these are
 * widened without shuffles.
 */
VEC_INLINE void record256_bytes(v8 w[4], const enum zw_q_format f, const uint8_t *p, unsigned int u,
				const struct scales *s)
{
	const __m256i *low, *high;
	ZW_UNSET uint8_t n[32];
	__m256i v;

	if (f == ZW_Q_Q6_K) {
		low = (const __m256i *)(p + 64 * (u / 4) + 32 * (u % 2));
		high = (const __m256i *)(p + 128 + 32 * (u / 4));
		v = _mm256_slli_epi16(shift_bytes(_mm256_loadu_si256(high), 2 * (u % 4), 3), 4);
		v = _mm256_or_si256(v, shift_bytes(_mm256_loadu_si256(low), u % 4 / 2 * 4, 15));
		v = _mm256_sub_epi8(v, _mm256_set1_epi8(32));
	} else {
		low = (const __m256i *)(p + 48 + u / 2 * 32);
		high = (const __m256i *)(p + 16);
		v = _mm256_slli_epi16(shift_bytes(_mm256_loadu_si256(high), u, 1), 4);
		v = _mm256_or_si256(v, shift_bytes(_mm256_loadu_si256(low), u % 2 * 4, 15));
	}
	_mm256_storeu_si256((__m256i *)n, v);
#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++) {
		v8 x = signed8(n + 8 * i);

		if (f == ZW_Q_Q6_K)
			w[i] = _mm256_mul_ps(_mm256_set1_ps(s->d[2 * u + i / 2]), x);
		else
			w[i] = _mm256_fmadd_ps(x, _mm256_set1_ps(s->d[u]), _mm256_set1_ps(s->m[u]));
	}
}

/* Elements 32 u .. 32 u + 31 of a record of 256. */
VEC_INLINE void record256(v8 w[4], const enum zw_q_format f, const uint8_t *p, unsigned int u,
			  const struct scales *s)
{
	const __m256i three = _mm256_set1_epi32(3), fifteen = _mm256_set1_epi32(15),
		      one = _mm256_set1_epi32(1);
	const unsigned int a = u / 4, b = u % 4;

	if (f == ZW_Q_Q5_K || f == ZW_Q_Q6_K) {
		record256_bytes(w, f, p, u, s);
		return;
	}
#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int g = 2 * u + i / 2, at = 8 * i;
		__m256i n, t;

		switch (f) {
		case ZW_Q_Q2_K:
			n = _mm256_srlv_epi32(bytes8(p + 16 + 32 * a + at),
					      _mm256_set1_epi32((int)(2 * b)));
			n = _mm256_and_si256(n, three);
			break;
		case ZW_Q_Q3_K:
			n = _mm256_srlv_epi32(bytes8(p + 32 + 32 * a + at),
					      _mm256_set1_epi32((int)(2 * b)));
			t = _mm256_srlv_epi32(bytes8(p + at), _mm256_set1_epi32((int)u));
			t = _mm256_slli_epi32(_mm256_and_si256(t, one), 2);
			n = _mm256_or_si256(_mm256_and_si256(n, three), t);
			n = _mm256_sub_epi32(n, _mm256_set1_epi32(4));
			break;
		default:
			n = bytes8(p + 16 + u / 2 * 32 + at);
			n = _mm256_srlv_epi32(n, _mm256_set1_epi32((int)(u % 2 * 4)));
			n = _mm256_and_si256(n, fifteen);
			g = u;
			break;
		}
		if (f == ZW_Q_Q3_K)
			w[i] = _mm256_mul_ps(_mm256_set1_ps(s->d[g]), _mm256_cvtepi32_ps(n));
		else
			w[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(n), _mm256_set1_ps(s->d[g]),
					       _mm256_set1_ps(s->m[g]));
	}
}

/* --- a row that goes on step by step --- */

/* Where the scales of a step of 32 are: groups g and h of its halves. */
struct group_at {
	size_t g, h, left, group;
};

/* Group a multiple of the step, half of it, or so long that there is one. */
VEC_INLINE struct group_at groups_begin(size_t group, size_t phase)
{
	if (group == ZW_Q_STEP / 2)
		return (struct group_at){.g = 0, .h = 1, .left = 0, .group = group};
	return (struct group_at){.left = group - phase, .group = group};
}

VEC_INLINE void groups_next(struct group_at *at)
{
	if (at->group == ZW_Q_STEP / 2) {
		at->g += 2;
		at->h += 2;
		return;
	}
	at->left -= at->left < ZW_Q_STEP ? at->left : ZW_Q_STEP;
	if (!at->left) {
		at->g++;
		at->left = at->group;
	}
	at->h = at->g;
}

VEC_INLINE size_t block_bytes(const enum zw_q_format f)
{
	switch (f) {
	case ZW_Q_Q4_0:
		return 18;
	case ZW_Q_Q4_1:
		return 20;
	case ZW_Q_Q5_0:
		return 22;
	case ZW_Q_Q5_1:
		return 24;
	case ZW_Q_Q8_0:
		return 34;
	case ZW_Q_MXFP4:
		return 17;
	case ZW_Q_Q2_K:
		return 84;
	case ZW_Q_Q3_K:
		return 110;
	case ZW_Q_Q4_K:
		return 144;
	case ZW_Q_Q5_K:
		return 176;
	case ZW_Q_Q6_K:
		return 210;
	default:
		return is_half_byte(f) ? 16 : 32;
	}
}

/* The step of a scaled type that begins at element c, of which n are there; +0 stands for the others. */
VEC_INLINE void scaled_step(v8 w[4], const enum zw_q_format f, const struct zw_q_row *row, size_t c,
			    size_t n, const struct group_at *at)
{
	const uint8_t *p = row->ptr + c / ZW_Q_STEP * block_bytes(f);
	ZW_UNSET uint8_t some[ZW_Q_STEP];
	ZW_UNSET struct scales s;

	s.d[0] = row->scale[at->g];
	/* In a step that ends early the second half may have no scale of its own. */
	s.d[1] = n > ZW_Q_STEP / 2 ? row->scale[at->h] : s.d[0];
	if (has_zero(f)) {
		s.m[0] = row->zero[at->g];
		s.m[1] = n > ZW_Q_STEP / 2 ? row->zero[at->h] : s.m[0];
	}
	if (n < ZW_Q_STEP) {
		memset(some, 0, sizeof(some));
		memcpy(some, p, is_half_byte(f) ? n / 2 : n);
		p = some;
	}
	scaled32(w, f, p, &s);
	if (n < ZW_Q_STEP)
		for (size_t i = 0; i < 4; i++)
			w[i] = v8_first_n(w[i], _mm256_setzero_ps(),
					  n <= 8 * i      ? 0
					  : n - 8 * i < 8 ? n - 8 * i
							  : 8);
}

#endif
