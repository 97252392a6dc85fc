// SPDX-License-Identifier: MIT
/*
 * Quantised weights with AVX2, FMA and F16C; the AVX-512 level uses it too. Every format is one function
 * that makes 32 elements of a row four vectors; direct products take these from registers, so that W is
 * read from memory in its packed form and written nowhere.
 */
#if defined(__x86_64__)
#include <math.h>

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

/* Sixteen F8E4M3 as F16 that are 2^-8 of them, but for NaN. */
VEC_INLINE __m256i e4m3_halves(const uint8_t *p)
{
	const __m256i most = _mm256_set1_epi16(0x3f80);
	__m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));

	w = _mm256_and_si256(_mm256_slli_epi16(w, 7), _mm256_set1_epi16((short)0xbf80));
	return _mm256_or_si256(w, _mm256_cmpeq_epi16(_mm256_and_si256(w, most), most));
}

VEC_INLINE __m256i e5m2_halves(const uint8_t *p)
{
	return _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)), 8);
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

/* --- rows to memory --- */

VEC_INLINE void store_step(float *dst, const v8 w[4], size_t n)
{
	for (size_t i = 0; i < 4 && 8 * i < n; i++)
		v8_store(dst + 8 * i, w[i]);
}

VEC_INLINE void dequant(const enum zw_q_format f, float *dst, const struct zw_q_row *row,
			size_t phase, size_t group, size_t n)
{
	struct group_at at = groups_begin(group, phase);
	ZW_UNSET v8 w[4];
	ZW_UNSET struct scales s;

	if (f >= ZW_Q_FIRST_OF_256) {
		for (size_t c = 0; c < n; c += 256) {
			const uint8_t *p = row->ptr + c / 256 * block_bytes(f);

			scales256(&s, f, p);
			for (unsigned int u = 0; u < 8; u++) {
				record256(w, f, p, u, &s);
				store_step(dst + c + 32 * u, w, 32);
			}
		}
	} else if (f >= ZW_Q_FIRST_RECORD) {
		for (size_t c = 0; c < n; c += ZW_Q_STEP) {
			record32(w, f, row->ptr + c / ZW_Q_STEP * block_bytes(f));
			store_step(dst + c, w, ZW_Q_STEP);
		}
	} else {
		for (size_t c = 0; c < n; c += ZW_Q_STEP, groups_next(&at)) {
			size_t left = n - c < ZW_Q_STEP ? n - c : ZW_Q_STEP;

			scaled_step(w, f, row, c, left, &at);
			store_step(dst + c, w, left);
		}
	}
}

/* --- direct products --- */

/* One step of a column: x is packed in groups of `rows` rows. */
VEC_INLINE void step_fma(const unsigned int rows, v8 *s, const size_t stride, const float *x,
			 const v8 w[4])
{
#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++)
#pragma GCC unroll 4
		for (unsigned int r = 0; r < rows; r++)
			s[r * stride] = _mm256_fmadd_ps(v8_load(x + (i * rows + r) * 8), w[i],
							s[r * stride]);
}

#define MAX_SUMS 8

/*
 * Whether (n - z) * s is fma(n, s, -(z * s)) for whole n, zero and all: z is whole, and z * s exact.
 */
VEC_INLINE bool zero_fuses(float s, float z)
{
	float p = z * s;

	return s >= 0x1p-100f && z >= -4096.0f && z <= 4096.0f && z == (float)(int)z &&
	       __builtin_fmaf(z, s, -p) == 0.0f;
}

/*
 * n elements from p on, all of one group of their rows; fused: zero is minus the product of both, or scale has what
 * numbers() leaves out. Scales of F4E2M1 are tables.
 */
VEC_INLINE void group_fma(const enum zw_q_format f, const bool fused, const unsigned int rows,
			  const unsigned int cols, v8 *s, const float *a, const uint8_t *const p[4],
			  size_t n, const v8 scale[4], const v8 zero[4])
{
	for (size_t i = 0; i < n / ZW_Q_STEP; i++, a += ZW_Q_STEP * rows)
#pragma GCC unroll 4
		for (unsigned int j = 0; j < cols; j++) {
			ZW_UNSET v8 w[4];

			if (f != ZW_Q_F4E2M1)
				numbers(w, f, p[j] + i * block_bytes(f));
#pragma GCC unroll 4
			for (unsigned int q = 0; q < 4; q++) {
				if (f == ZW_Q_F4E2M1) {
					w[q] = f4_at(scale[j], p[j] + i * block_bytes(f) + 4 * q);
					continue;
				}
				if (f == ZW_Q_F8E4M3 && !fused)
					w[q] = _mm256_mul_ps(w[q], _mm256_set1_ps(left_out(f)));
				if (has_zero(f) && fused) {
					w[q] = _mm256_fmadd_ps(w[q], scale[j], zero[j]);
					continue;
				}
				if (has_zero(f))
					w[q] = _mm256_sub_ps(w[q], zero[j]);
				w[q] = _mm256_mul_ps(w[q], scale[j]);
			}
			step_fma(rows, s + j, cols, a, w);
		}
}

/* A step of two groups of F4E2M1. */
VEC_INLINE void f4_step(v8 w[4], const struct zw_q_row *row, size_t c, size_t g)
{
	const uint8_t *p = row->ptr + c / 2;
	v8 table[2] = {f4_table(row->scale[g]), f4_table(row->scale[g + 1])};

#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++)
		w[i] = f4_at(table[i / 2], p + 4 * i);
}

/* n elements from c on, all of group g of their rows. */
VEC_INLINE void direct_group(const enum zw_q_format f, const unsigned int rows,
			     const unsigned int cols, v8 *s, const float *a,
			     const struct zw_q_row *row, size_t c, size_t n, size_t g)
{
	ZW_UNSET v8 scale[4];
	ZW_UNSET v8 zero[4];
	ZW_UNSET const uint8_t *p[4];
	bool fused = has_zero(f) || f == ZW_Q_F8E4M3;

#pragma GCC unroll 4
	for (unsigned int j = 0; j < cols; j++) {
		if (f == ZW_Q_F8E4M3)
			fused &= fabsf(row[j].scale[g]) < 0x1p119f;
		scale[j] = f == ZW_Q_F4E2M1 ? f4_table(row[j].scale[g])
					    : _mm256_set1_ps(row[j].scale[g]);
		p[j] = row[j].ptr + c / ZW_Q_STEP * block_bytes(f);
		if (has_zero(f))
			fused &= zero_fuses(row[j].scale[g], row[j].zero[g]);
	}
	if (has_zero(f))
#pragma GCC unroll 4
		for (unsigned int j = 0; j < cols; j++)
			zero[j] = _mm256_set1_ps(fused ? -(row[j].zero[g] * row[j].scale[g])
						       : row[j].zero[g]);
	if (f == ZW_Q_F8E4M3 && fused)
#pragma GCC unroll 4
		for (unsigned int j = 0; j < cols; j++)
			scale[j] = _mm256_set1_ps(row[j].scale[g] * left_out(f));
	if ((has_zero(f) || f == ZW_Q_F8E4M3) && fused)
		group_fma(f, true, rows, cols, s, a, p, n, scale, zero);
	else
		group_fma(f, false, rows, cols, s, a, p, n, scale, zero);
}

VEC_INLINE void direct(const enum zw_q_format f, const unsigned int rows, const unsigned int cols,
		       const float *a, const struct zw_q_row *row, size_t k, size_t group,
		       float *out)
{
	struct group_at at = groups_begin(group, 0);
	ZW_UNSET v8 s[MAX_SUMS];
	ZW_UNSET v8 w[4];

#pragma GCC unroll 8
	for (unsigned int i = 0; i < MAX_SUMS; i++)
		s[i] = _mm256_setzero_ps();
	if (f >= ZW_Q_FIRST_OF_256) {
		for (size_t c = 0; c < k; c += 256) {
			ZW_UNSET struct scales sc[4];

			for (unsigned int j = 0; j < cols; j++)
				scales256(&sc[j], f, row[j].ptr + c / 256 * block_bytes(f));
			for (unsigned int u = 0; u < 8; u++, a += ZW_Q_STEP * rows)
#pragma GCC unroll 4
				for (unsigned int j = 0; j < cols; j++) {
					record256(w, f, row[j].ptr + c / 256 * block_bytes(f), u,
						  &sc[j]);
					step_fma(rows, s + j, cols, a, w);
				}
		}
	} else if (f >= ZW_Q_FIRST_RECORD) {
		for (size_t c = 0; c < k; c += ZW_Q_STEP, a += ZW_Q_STEP * rows)
#pragma GCC unroll 4
			for (unsigned int j = 0; j < cols; j++) {
				record32(w, f, row[j].ptr + c / ZW_Q_STEP * block_bytes(f));
				step_fma(rows, s + j, cols, a, w);
			}
	} else {
		size_t c = 0;

		if (group == ZW_Q_STEP / 2) {
			for (; c + ZW_Q_STEP <= k; c += ZW_Q_STEP, a += ZW_Q_STEP * rows) {
#pragma GCC unroll 4
				for (unsigned int j = 0; j < cols; j++) {
					if (f == ZW_Q_F4E2M1)
						f4_step(w, &row[j], c, at.g);
					else
						scaled_step(w, f, &row[j], c, ZW_Q_STEP, &at);
					step_fma(rows, s + j, cols, a, w);
				}
				groups_next(&at);
			}
		} else {
			for (; c + ZW_Q_STEP <= k; at.g++) {
				size_t n = (group < k - c ? group : k - c) / ZW_Q_STEP * ZW_Q_STEP;

				direct_group(f, rows, cols, s, a, row, c, n, at.g);
				a += n * rows;
				c += n;
			}
			/* The last step, if it ends early, belongs to the last group. */
			at.g = at.h = c / group;
		}
		for (unsigned int j = 0; c < k && j < cols; j++) {
			size_t n = k - c;

			scaled_step(w, f, &row[j], c, n, &at);
			/* As many vectors as there are: a sum takes in no more zeros than its last step has. */
			for (unsigned int i = 0; i < (n + 7) / 8; i++)
				for (unsigned int r = 0; r < rows; r++)
					s[r * cols + j] =
						_mm256_fmadd_ps(v8_load(a + (i * rows + r) * 8),
								w[i], s[r * cols + j]);
		}
	}
	if (rows * cols <= 4)
		_mm_storeu_ps(out, v8_totals4(s[0], s[1], s[2], s[3]));
	else
		v8_store(out, v8_totals(s));
}

/* --- activations --- */

VEC_FN static float absmax(const float *x, size_t n)
{
	const v8 sign = _mm256_set1_ps(-0.0f);
	v8 most = _mm256_setzero_ps(), nan = _mm256_setzero_ps();
	float lanes[8], max = 0.0f;

	/* Rows are padded by zeros. */
	for (size_t i = 0; i < n; i += 8) {
		v8 v = v8_load(x + i);

		nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
		most = _mm256_max_ps(_mm256_andnot_ps(sign, v), most);
	}
	if (_mm256_movemask_ps(nan))
		return zw_f32_from_bits(ZW_F32_NAN);
	v8_store(lanes, most);
	for (int i = 0; i < 8; i++)
		max = lanes[i] > max ? lanes[i] : max;
	return max;
}

/* The low bytes of eight numbers, of which the first n <= 8 go to memory. */
VEC_INLINE void store_bytes(uint8_t *dst, __m256i v, size_t n)
{
	const __m256i low =
		_mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4,
				 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
	__m256i b = _mm256_shuffle_epi8(v, low);
	__m128i all = _mm_unpacklo_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
	uint64_t bytes = (uint64_t)_mm_cvtsi128_si64(all);

	memcpy(dst, &bytes, n < 8 ? n : 8);
}

VEC_INLINE __m256i to_i8(v8 x)
{
	x = _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q));
	x = _mm256_min_ps(x, _mm256_set1_ps(127.0f));
	x = _mm256_max_ps(x, _mm256_set1_ps(-127.0f));
	return _mm256_cvtps_epi32(x);
}

/* zw_f8e4m3_from_f32() and zw_f8e5m2_from_f32() of every lane. */
VEC_INLINE __m256i to_f8(v8 x, const int drop, const uint32_t first, const uint32_t largest,
			 const float next_to, const int nan)
{
	const __m256i half = _mm256_set1_epi32((1 << (drop - 1)) - 1), one = _mm256_set1_epi32(1);
	const v8 near = _mm256_set1_ps(next_to);
	__m256i u = _mm256_castps_si256(x);
	__m256i abs = _mm256_and_si256(u, _mm256_set1_epi32(0x7fffffff));
	__m256i sign = _mm256_and_si256(_mm256_srli_epi32(u, 24), _mm256_set1_epi32(0x80));
	__m256i most = _mm256_set1_epi32((int)largest);
	__m256i sub, r;

	abs = _mm256_min_epu32(abs, most);
	sub = _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(abs), near));
	sub = _mm256_sub_epi32(sub, _mm256_castps_si256(near));
	r = _mm256_and_si256(_mm256_srli_epi32(abs, drop), one);
	r = _mm256_add_epi32(_mm256_add_epi32(abs, half), r);
	r = _mm256_sub_epi32(r, _mm256_set1_epi32((int)(first - (1u << 23))));
	r = _mm256_srli_epi32(r, drop);
	r = _mm256_blendv_epi8(r, sub, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)first), abs));
	r = _mm256_or_si256(r, sign);
	return _mm256_blendv_epi8(r, _mm256_set1_epi32(nan),
				  _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

VEC_INLINE void narrow(const enum zw_q_target to, void *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		v8 x = n - i < 8 ? v8_load_n(src + i, n - i) : v8_load(src + i);
		__m256i v;

		if (to == ZW_Q_TO_I8)
			v = to_i8(x);
		else if (to == ZW_Q_TO_F8E4M3)
			v = to_f8(x, 20, 0x3c800000u, 0x43e00000u, 0x1p14f, ZW_F8E4M3_NAN);
		else
			v = to_f8(x, 21, 0x38800000u, 0x47600000u, 0x1p7f, ZW_F8E5M2_NAN);
		store_bytes((uint8_t *)dst + i, v, n - i);
	}
}

VEC_FN static void narrow_i8(void *dst, const float *src, size_t n)
{
	narrow(ZW_Q_TO_I8, dst, src, n);
}

VEC_FN static void narrow_e4m3(void *dst, const float *src, size_t n)
{
	narrow(ZW_Q_TO_F8E4M3, dst, src, n);
}

VEC_FN static void narrow_e5m2(void *dst, const float *src, size_t n)
{
	narrow(ZW_Q_TO_F8E5M2, dst, src, n);
}

#define MANY_ROWS 4
#define ONE_COLS  4
#define MANY_COLS 2

#define FORMAT(name)                                                                               \
	VEC_FN static void dequant_##name(float *dst, const struct zw_q_row *row, size_t phase,    \
					  size_t group, size_t n)                                  \
	{                                                                                          \
		if (ZW_Q_##name >= ZW_Q_FIRST_RECORD || zw_q_direct_group(group, phase + n))       \
			dequant(ZW_Q_##name, dst, row, phase, group, n);                           \
		else                                                                               \
			zw_q_scalar.dequant[ZW_Q_##name](dst, row, phase, group, n);               \
	}                                                                                          \
	VEC_FN static void direct_1_##name(const float *a, const struct zw_q_row *w, size_t k,     \
					   size_t group, float *out)                               \
	{                                                                                          \
		direct(ZW_Q_##name, 1, ONE_COLS, a, w, k, group, out);                             \
	}                                                                                          \
	VEC_FN static void direct_many_##name(const float *a, const struct zw_q_row *w, size_t k,  \
					      size_t group, float *out)                            \
	{                                                                                          \
		direct(ZW_Q_##name, MANY_ROWS, MANY_COLS, a, w, k, group, out);                    \
	}
ZW_Q_FORMATS(FORMAT)

#define DEQUANT(name)     [ZW_Q_##name] = dequant_##name,
#define DIRECT_1(name)    [ZW_Q_##name] = direct_1_##name,
#define DIRECT_MANY(name) [ZW_Q_##name] = direct_many_##name,

const struct zw_q_prim zw_q_avx2 = {
	.absmax = absmax,
	.narrow = {narrow_i8, narrow_e4m3, narrow_e5m2},
	.dequant = {ZW_Q_FORMATS(DEQUANT)},
	.direct = {{.fn = {ZW_Q_FORMATS(DIRECT_1)}, .rows = 1, .cols = ONE_COLS},
		   {.fn = {ZW_Q_FORMATS(DIRECT_MANY)}, .rows = MANY_ROWS, .cols = MANY_COLS}},
};
#endif
