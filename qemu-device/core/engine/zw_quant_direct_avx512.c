// SPDX-License-Identifier: MIT
/*
 * Products with quantised weights in registers, with AVX-512 (F, BW, VL).
 *
 * A vector has the eight sums of two rows of W, a pair: of the one in lanes 0 to 7, of the other in lanes 8 to 15.
 * Eight elements of A, in both halves, meet eight of each row. Several pairs at a time, so that sums, each of which
 * waits for itself, do not wait for each other.
 *
 * What counts are operations: a processor does two of these vectors a cycle, and memory delivers some ten weights of
 * half a byte a cycle to each. Bytes become numbers with 24 zeros below, which scales take up once (prepare()); types of
 * half a byte are looked up, the values of both rows of a pair in one table of 32. What has no way of its own here is
 * left to AVX2.
 */
#if defined(__x86_64__)
#include "zw_vec_avx512.h"

#include "zw_quant_vec.h"

/* How far ahead of the loads W is asked for, in bytes of each row. */
#define AHEAD     512
#define MAX_PAIRS 4
#define MAX_SUMS  16 /* of rows and pairs */
/* Lanes of the second row of a pair. */
#define SECOND    0xff00

/* Eight elements of a row of A, for both rows of a pair. */
VEC_INLINE vec both(const float *x)
{
	return vec_repeat(x);
}

/* Lanes of the first n of eight elements of each row; n <= 8. */
VEC_INLINE __mmask16 first_lanes(size_t n)
{
	return (__mmask16)((vec_mask(n) & 0xff) * 0x101u);
}

/* One number for each row of a pair. */
VEC_INLINE vec of_rows(const float *p, const float *q)
{
	return _mm512_mask_broadcastss_ps(_mm512_set1_ps(*p), SECOND, _mm_load_ss(q));
}

/* Sixteen bytes of each row of a pair, those of the first in the quarters that are not @mask's, by lanes. */
VEC_INLINE __m512i bytes_of_rows(const uint8_t *p, const uint8_t *q, const __mmask16 mask)
{
	__m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));

	return _mm512_mask_broadcast_i32x4(v, mask, _mm_loadu_si128((const __m128i *)q));
}

/* Numbers of sixteen bits at p of each row, as F32. */
VEC_INLINE v8 f16_of_rows(const unsigned int rows, const uint8_t *const *p, size_t at)
{
	uint64_t bits[2] = {0};

#pragma GCC unroll 8
	for (unsigned int j = 0; j < rows; j++) {
		uint16_t h;

		memcpy(&h, p[j] + at, sizeof(h));
		bits[j / 4] |= (uint64_t)h << j % 4 * 16;
	}
	return _mm256_cvtph_ps(_mm_set_epi64x((long long)bits[1], (long long)bits[0]));
}

/* s of all rows and pairs takes in eight elements, of which there are n. */
VEC_INLINE void take_in(const unsigned int rows, const unsigned int pairs, vec *s, const float *x,
			const vec *w)
{
#pragma GCC unroll 8
	for (unsigned int r = 0; r < rows; r++) {
		const vec y = both(x + r * ZW_LANES);

#pragma GCC unroll 4
		for (unsigned int p = 0; p < pairs; p++)
			vec_fma_tight(y, w[p], s[r * pairs + p]);
	}
}

VEC_INLINE void put_totals(const unsigned int sums, const vec *s, float *out)
{
	ZW_UNSET v8 part[8];

#pragma GCC unroll 4
	for (unsigned int i = 0; i < sums; i += 4) {
#pragma GCC unroll 4
		for (unsigned int j = 0; j < 4; j++) {
			part[2 * j] = vec_group(s[i + j], 0);
			part[2 * j + 1] = vec_group(s[i + j], 1);
		}
		v8_store(out + 2 * i, v8_totals(part));
	}
}

/* --- bytes --- */

VEC_INLINE bool is_f8(const enum zw_q_format f)
{
	return f == ZW_Q_F8E4M3 || f == ZW_Q_F8E5M2;
}

/* Scales and zero points of pairs. */
struct pair_scales {
	vec scale[MAX_PAIRS], zero[MAX_PAIRS];
};

VEC_INLINE void scales_load(struct pair_scales *to, const enum zw_q_format f,
			    const unsigned int pairs, const struct zw_q_row *row, size_t g)
{
#pragma GCC unroll 4
	for (unsigned int p = 0; p < pairs; p++) {
		to->scale[p] = of_rows(row[2 * p].scale + g, row[2 * p + 1].scale + g);
		to->zero[p] = has_zero(f) ? of_rows(row[2 * p].zero + g, row[2 * p + 1].zero + g)
					  : vec_zero();
	}
}

/* Of the records Q8_0 that begin @at bytes behind p. */
VEC_INLINE void record_scales(struct pair_scales *to, const unsigned int pairs,
			      const uint8_t *const *p, size_t at)
{
	ZW_UNSET float d[ZW_LANES];

	v8_store(d, _mm256_mul_ps(f16_of_rows(2 * pairs, p, at), _mm256_set1_ps(0x1p-24f)));
#pragma GCC unroll 4
	for (unsigned int i = 0; i < pairs; i++) {
		to->scale[i] = of_rows(d + 2 * i, d + 2 * i + 1);
		to->zero[i] = vec_zero();
	}
}

#define UPPER(b)     (int)(0x80u | 0x8000u | 0x800000u | (uint32_t)(b) << 24)
#define UPPERS(b)    UPPER(b), UPPER((b) + 1), UPPER((b) + 2), UPPER((b) + 3)
/* Bytes of a quarter as the upper bytes of words. */
#define WORDS(b)     (int)(0x80u | (uint32_t)(b) << 8 | 0x800000u | (uint32_t)((b) + 1) << 24)
#define ALL_WORDS(b) WORDS(b), WORDS((b) + 2), WORDS((b) + 4), WORDS((b) + 6)

/* Elements 8 i .. 8 i + 7 of sixteen of each row, as integers, with 24 zeros below or as they are. */
VEC_INLINE vec integers(const bool zeros, __m512i v, const unsigned int i)
{
	const __m256i place = i ? _mm256_setr_epi32(UPPERS(8), UPPERS(12))
				: _mm256_setr_epi32(UPPERS(0), UPPERS(4));
	__m512i n = _mm512_shuffle_epi8(v, _mm512_broadcast_i64x4(place));

	if (!zeros)
		n = _mm512_srai_epi32(n, 24);
	return _mm512_cvtepi32_ps(n);
}

/* Sixteen F8 of each row as F16, those of E4M3 2^-8 of them: the first eight of both rows, then the others. */
VEC_INLINE void f8_halves(uint16_t *to, const enum zw_q_format f, const bool careful,
			  const uint8_t *p, const uint8_t *q)
{
	const __m256i low = _mm256_setr_epi32(ALL_WORDS(0), ALL_WORDS(0));
	const __m256i high = _mm256_setr_epi32(ALL_WORDS(8), ALL_WORDS(8));
	const __m512i place = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
	__m512i v = _mm512_shuffle_epi8(bytes_of_rows(p, q, 0xf0f0), place);

	if (f == ZW_Q_F8E4M3) {
		v = _mm512_and_si512(_mm512_srai_epi16(v, 1), _mm512_set1_epi16((short)0xbf80));
		if (careful) {
			const __m512i most = _mm512_set1_epi16(0x3f80);
			__mmask32 nan = _mm512_cmpeq_epi16_mask(_mm512_and_si512(v, most), most);

			v = _mm512_mask_mov_epi16(v, nan, _mm512_set1_epi16(0x7f80));
		}
	}
	_mm512_store_si512((__m512i *)(void *)to, v);
}

/* From memory: of a register the conversion takes two operations. */
VEC_INLINE vec halves_at(const uint16_t *p)
{
	typedef long long half_vec __attribute__((vector_size(32), may_alias));
	vec v;

	__asm__("vcvtph2ps %1, %0" : "=v"(v) : "m"(*(const half_vec *)(const void *)p));
	return v;
}

/* Sixteen elements of each row, @at bytes behind p; where it is not whole, n of them, as many vectors as there are. */
VEC_INLINE void bytes_step(const enum zw_q_format f, const enum zw_q_way way, const bool careful,
			   const unsigned int rows, const unsigned int pairs, vec *s,
			   const float *x, const uint8_t *const *p, size_t at,
			   const struct pair_scales *by, const bool whole, size_t n)
{
	ZW_UNSET uint16_t halves[MAX_PAIRS][32] __attribute__((aligned(64)));
	const bool zeros = way == ZW_Q_FOLDED || f == ZW_Q_Q8_0;
	ZW_UNSET __m512i v[MAX_PAIRS];

#pragma GCC unroll 4
	for (unsigned int i = 0; i < pairs; i++) {
		if (is_f8(f))
			f8_halves(halves[i], f, careful, p[2 * i] + at, p[2 * i + 1] + at);
		else
			v[i] = bytes_of_rows(p[2 * i] + at, p[2 * i + 1] + at, SECOND);
	}
#pragma GCC unroll 2
	for (unsigned int h = 0; h < 2; h++) {
		ZW_UNSET vec w[MAX_PAIRS];

		if (!whole && n <= h * ZW_LANES)
			break;
#pragma GCC unroll 4
		for (unsigned int i = 0; i < pairs; i++) {
			w[i] = is_f8(f) ? halves_at(halves[i] + 16 * h) : integers(zeros, v[i], h);
			if (f == ZW_Q_F8E4M3 && way == ZW_Q_PLAIN)
				w[i] = vec_mul(w[i], vec_set1(left_out(f)));
			if (has_zero(f))
				w[i] = vec_sub(w[i], by->zero[i]);
			w[i] = vec_mul(w[i], by->scale[i]);
			if (!whole && n < (h + 1) * ZW_LANES)
				w[i] = _mm512_maskz_mov_ps(first_lanes(n - h * ZW_LANES), w[i]);
		}
		take_in(rows, pairs, s, x + h * rows * ZW_LANES, w);
	}
}

/* The greatest magnitude so far, twice its bits, with those of 64 F8 of each row, n of them. */
VEC_INLINE __m512i most_of(__m512i most, const unsigned int pairs, const uint8_t *const *p,
			   size_t at, size_t n)
{
	const __mmask64 there = n < 64 ? (UINT64_C(1) << n) - 1 : ~UINT64_C(0);

#pragma GCC unroll 8
	for (unsigned int j = 0; j < 2 * pairs; j++) {
		__m512i v = _mm512_maskz_loadu_epi8(there, p[j] + at);

		most = _mm512_max_epu8(most, _mm512_add_epi8(v, v));
	}
	return most;
}

/* Whether the sums are right, which with numbers that are none they are only with care. */
VEC_INLINE bool direct_bytes(vec *s, const enum zw_q_format f, const enum zw_q_way way,
			     const bool careful, const unsigned int rows, const unsigned int pairs,
			     const float *a, const struct zw_q_row *row, size_t k, size_t group)
{
	const bool looks = f == ZW_Q_F8E4M3 && !careful, record = f == ZW_Q_Q8_0;
	const size_t half = ZW_Q_STEP / 2;
	ZW_UNSET const uint8_t *p[2 * MAX_PAIRS];
	__m512i most = _mm512_setzero_si512();
	ZW_UNSET struct pair_scales by;
	size_t c = 0, g = 0, left = 0, at = 0;

#pragma GCC unroll 8
	for (unsigned int j = 0; j < 2 * pairs; j++)
		p[j] = row[j].ptr;
	for (; c + ZW_Q_STEP <= k; c += ZW_Q_STEP, at += block_bytes(f)) {
		const size_t from = record ? at + 2 : at;

		if (c % 64 == 0) {
			if (looks)
				most = most_of(most, pairs, p, at, k - c);
#pragma GCC unroll 8
			for (unsigned int j = 0; j < 2 * pairs; j++)
				_mm_prefetch((const char *)p[j] + at + AHEAD, _MM_HINT_T0);
		}
		if (record) {
			record_scales(&by, pairs, p, at);
		} else if (!left) {
			scales_load(&by, f, pairs, row, g++);
			left = group;
		}
		bytes_step(f, way, careful, rows, pairs, s, a, p, from, &by, true, half);
		a += half * rows;
		if (!record && group == half)
			scales_load(&by, f, pairs, row, g++);
		bytes_step(f, way, careful, rows, pairs, s, a, p, from + half, &by, true, half);
		a += half * rows;
		left = group == half ? 0 : left - ZW_Q_STEP;
	}
	if (!record && c < k) {
		ZW_UNSET uint8_t some[2 * MAX_PAIRS][ZW_Q_STEP];
		const size_t n = k - c;

		if (looks && c % 64 == 0)
			most = most_of(most, pairs, p, at, n);
		for (unsigned int j = 0; j < 2 * pairs; j++) {
			memset(some[j], 0, sizeof(some[j]));
			memcpy(some[j], p[j] + at, n);
			p[j] = some[j];
		}
		if (!left)
			scales_load(&by, f, pairs, row, g++);
		bytes_step(f, way, careful, rows, pairs, s, a, p, 0, &by, false, n);
		/* In a step that ends early the second half may have no scale of its own. */
		if (n > half && group == half)
			scales_load(&by, f, pairs, row, g);
		if (n > half)
			bytes_step(f, way, careful, rows, pairs, s, a + half * rows, p, half, &by,
				   false, n - half);
	}
	if (!looks)
		return true;
	return !_mm512_cmpge_epu8_mask(most, _mm512_set1_epi8((char)(2 * ZW_F8E4M3_NAN)));
}

/* --- codes of half a byte --- */

/* Vectors of codes, each of 32 elements of a pair, that are made at a time: long before they are used. */
#define BLOCK 8u
#define UNIT  64u

/* The numbers of types, in the order of their codes. */
static const float u4_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const float i4_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
static const float q4_numbers[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
static const float f4_numbers[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
				     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

/* Whether the low nibbles of sixteen bytes are elements of their own, as the records have it. */
VEC_INLINE bool is_halved(const enum zw_q_format f)
{
	return f >= ZW_Q_FIRST_RECORD;
}

/* Where the codes of elements 32 u .. are in a row; of Q4_K those of sixteen bytes, which are two such halves. */
VEC_INLINE size_t codes_at(const enum zw_q_format f, size_t u)
{
	switch (f) {
	case ZW_Q_MXFP4:
		return u * block_bytes(f) + 1;
	case ZW_Q_Q4_0:
		return u * block_bytes(f) + 2;
	case ZW_Q_Q4_1:
		return u * block_bytes(f) + 4;
	case ZW_Q_Q4_K:
		return u / 8 * block_bytes(f) + 16 + u % 8 * 16;
	default:
		return u * block_bytes(f);
	}
}

/*
 * Codes of sixteen bytes of each row of a pair: byte i of lane l is element 8 i + l, in its low nibble. Bit 4 says whose it is.
 * Of what is above them nothing is said.
 */
VEC_INLINE __m512i codes_of_rows(const enum zw_q_format f, __m512i v)
{
	const __m512i bit = _mm512_set1_epi8(16);
	const __m512i second = _mm512_maskz_mov_epi32(SECOND, bit);

	if (is_halved(f)) {
		const __m256i place =
			_mm256_setr_epi32(0x08000800, 0x09010901, 0x0a020a02, 0x0b030b03,
					  0x0c040c04, 0x0d050d05, 0x0e060e06, 0x0f070f07);

		v = _mm512_shuffle_epi8(v, _mm512_broadcast_i64x4(place));
		v = _mm512_srlv_epi16(v, _mm512_set1_epi32(4 << 16));
	} else {
		const __m256i place =
			_mm256_setr_epi32(0x0c080400, 0x0c080400, 0x0d090501, 0x0d090501,
					  0x0e0a0602, 0x0e0a0602, 0x0f0b0703, 0x0f0b0703);

		v = _mm512_shuffle_epi8(v, _mm512_broadcast_i64x4(place));
		v = _mm512_srlv_epi32(v, _mm512_set1_epi64((long long)4 << 32));
	}
	/* (v & ~bit) | second */
	return _mm512_ternarylogic_epi32(v, bit, second, 0xba);
}

/* Units u .. u + n of all pairs. */
VEC_INLINE void codes_make(uint8_t *to, const enum zw_q_format f, const unsigned int pairs,
			   const uint8_t *const *p, size_t u, size_t n)
{
	for (size_t i = 0; i < n; i++, u++) {
		const size_t at = codes_at(f, u);

		if (i % 4 == 0)
#pragma GCC unroll 8
			for (unsigned int j = 0; j < 2 * pairs; j++)
				_mm_prefetch((const char *)p[j] + at + AHEAD, _MM_HINT_T0);
#pragma GCC unroll 4
		for (unsigned int j = 0; j < pairs; j++, to += UNIT) {
			__m512i v = bytes_of_rows(p[2 * j] + at, p[2 * j + 1] + at, SECOND);

			_mm512_store_si512((__m512i *)(void *)to, codes_of_rows(f, v));
		}
	}
}

/* What each code of each row stands for in a group. */
VEC_INLINE void tables_load(vec *t, const enum zw_q_format f, const unsigned int pairs, const vec n,
			    const struct zw_q_row *row, size_t g)
{
#pragma GCC unroll 8
	for (unsigned int j = 0; j < 2 * pairs; j++) {
		t[j] = has_zero(f) ? vec_sub(n, vec_set1(row[j].zero[g])) : n;
		t[j] = vec_mul(t[j], vec_set1(row[j].scale[g]));
	}
}

/* The same of records of 32, of the u-th of each row. */
VEC_INLINE void record_tables(vec *t, const enum zw_q_format f, const unsigned int pairs,
			      const vec n, const uint8_t *const *p, size_t u)
{
	const size_t at = u * block_bytes(f);
	ZW_UNSET float d[ZW_LANES], m[ZW_LANES];

	if (f == ZW_Q_MXFP4) {
#pragma GCC unroll 8
		for (unsigned int j = 0; j < 2 * pairs; j++)
			d[j] = zw_e8m0_to_f32(p[j][at]);
	} else {
		v8_store(d, f16_of_rows(2 * pairs, p, at));
	}
	if (f == ZW_Q_Q4_1)
		v8_store(m, f16_of_rows(2 * pairs, p, at + 2));
#pragma GCC unroll 8
	for (unsigned int j = 0; j < 2 * pairs; j++)
		t[j] = f == ZW_Q_Q4_1 ? vec_fma(n, vec_set1(d[j]), vec_set1(m[j]))
				      : vec_mul(vec_set1(d[j]), n);
}

/* Vectors from .. to of the four of a unit, x those elements of A; where it is not whole, there are n elements. */
VEC_INLINE void codes_step(const unsigned int rows, const unsigned int pairs, vec *s,
			   const float *x, const uint8_t *codes, const vec *t,
			   const unsigned int from, const unsigned int to, const bool whole,
			   size_t n)
{
#pragma GCC unroll 4
	for (unsigned int i = from; i < to; i++) {
		ZW_UNSET vec w[MAX_PAIRS];

		if (!whole && n <= i * ZW_LANES)
			break;
#pragma GCC unroll 4
		for (unsigned int p = 0; p < pairs; p++) {
			/* Loads that are no shifts: these take what multiplies. */
			__m512i index = _mm512_loadu_si512(codes + p * UNIT + i);

			w[p] = _mm512_permutex2var_ps(t[2 * p], index, t[2 * p + 1]);
			if (!whole && n < (i + 1) * ZW_LANES)
				w[p] = _mm512_maskz_mov_ps(first_lanes(n - i * ZW_LANES), w[p]);
		}
		take_in(rows, pairs, s, x + (i - from) * rows * ZW_LANES, w);
	}
}

/* The elements behind the last unit. */
VEC_INLINE void codes_tail(const enum zw_q_format f, const unsigned int rows,
			   const unsigned int pairs, vec *s, const float *x, const vec numbers,
			   const uint8_t *const *p, const struct zw_q_row *row, size_t u, size_t n,
			   size_t group)
{
	ZW_UNSET uint8_t codes[MAX_PAIRS * UNIT + UNIT] __attribute__((aligned(64)));
	const unsigned int half = ZW_Q_STEP / 2;
	ZW_UNSET vec t[2 * MAX_PAIRS];

	for (unsigned int j = 0; j < pairs; j++) {
		uint8_t some[2][ZW_Q_STEP / 2] = {0};

		memcpy(some[0], p[2 * j] + codes_at(f, u), n / 2);
		memcpy(some[1], p[2 * j + 1] + codes_at(f, u), n / 2);
		_mm512_store_si512((__m512i *)(void *)(codes + j * UNIT),
				   codes_of_rows(f, bytes_of_rows(some[0], some[1], SECOND)));
	}
	tables_load(t, f, pairs, numbers, row, u * ZW_Q_STEP / group);
	codes_step(rows, pairs, s, x, codes, t, 0, 2, false, n);
	if (n <= half)
		return;
	if (group == half)
		tables_load(t, f, pairs, numbers, row, 2 * u + 1);
	codes_step(rows, pairs, s, x + half * rows, codes, t, 2, 4, false, n);
}

/* A record Q4_K: two units have the low nibbles of a group and the high ones of the next. */
VEC_INLINE void codes_256(const unsigned int rows, const unsigned int pairs, vec *s, const float *x,
			  const uint8_t *codes, vec *t, const vec n, const uint8_t *const *p,
			  size_t u)
{
	ZW_UNSET struct scales by[2 * MAX_PAIRS];

#pragma GCC unroll 8
	for (unsigned int j = 0; j < 2 * pairs; j++)
		scales256(&by[j], ZW_Q_Q4_K, p[j] + u / 8 * block_bytes(ZW_Q_Q4_K));
	for (unsigned int g = 0; g < 8; g += 2, codes += 2 * pairs * UNIT)
#pragma GCC unroll 2
		for (unsigned int h = 0; h < 2; h++)
#pragma GCC unroll 2
			for (unsigned int i = 0; i < 2; i++, x += 2 * rows * ZW_LANES) {
				if (!i)
#pragma GCC unroll 8
					for (unsigned int j = 0; j < 2 * pairs; j++)
						t[j] = vec_fma(n, vec_set1(by[j].d[g + h]),
							       vec_set1(by[j].m[g + h]));
				codes_step(rows, pairs, s, x, codes + i * pairs * UNIT, t, 2 * h,
					   2 * h + 2, true, ZW_Q_STEP);
			}
}

/* @halves: groups are of half a unit. */
VEC_INLINE void direct_codes(vec *s, const enum zw_q_format f, const bool halves,
			     const unsigned int rows, const unsigned int pairs,
			     const float *numbers, const float *a, const struct zw_q_row *row,
			     size_t k, size_t group)
{
	const size_t block = BLOCK * pairs * UNIT, units = k / ZW_Q_STEP, half = ZW_Q_STEP / 2;
	ZW_UNSET uint8_t codes[2 * BLOCK * MAX_PAIRS * UNIT + UNIT] __attribute__((aligned(64)));
	ZW_UNSET const uint8_t *p[2 * MAX_PAIRS];
	const vec n = vec_load(numbers);
	ZW_UNSET vec t[2 * MAX_PAIRS];
	size_t u = 0, g = 0, left = 0;

#pragma GCC unroll 8
	for (unsigned int j = 0; j < 2 * pairs; j++) {
		p[j] = row[j].ptr;
		t[j] = vec_zero();
	}
	codes_make(codes, f, pairs, p, 0, units < BLOCK ? units : BLOCK);
	while (u < units) {
		const uint8_t *from = codes + u / BLOCK % 2 * block;
		size_t next = u + BLOCK < units ? u + BLOCK : units;

		codes_make(codes + next / BLOCK % 2 * block, f, pairs, p, next,
			   units - next < BLOCK ? units - next : BLOCK);
		if (f >= ZW_Q_FIRST_OF_256) {
			codes_256(rows, pairs, s, a, from, t, n, p, u);
			u += BLOCK;
			a += BLOCK * ZW_Q_STEP * rows;
			continue;
		}
		for (; u < next; u++, from += pairs * UNIT, a += ZW_Q_STEP * rows) {
			if (f >= ZW_Q_FIRST_RECORD) {
				record_tables(t, f, pairs, n, p, u);
			} else if (halves) {
				tables_load(t, f, pairs, n, row, g++);
				codes_step(rows, pairs, s, a, from, t, 0, 2, true, half);
				tables_load(t, f, pairs, n, row, g++);
				codes_step(rows, pairs, s, a + half * rows, from, t, 2, 4, true,
					   half);
				continue;
			} else if (!left) {
				tables_load(t, f, pairs, n, row, g++);
				left = group;
			}
			left -= ZW_Q_STEP;
			codes_step(rows, pairs, s, a, from, t, 0, 4, true, ZW_Q_STEP);
		}
	}
	if (f < ZW_Q_FIRST_RECORD && k % ZW_Q_STEP)
		codes_tail(f, rows, pairs, s, a, n, p, row, units, k % ZW_Q_STEP, group);
}

/* All types of a number of rows, with zero points or without. */
VEC_INLINE void direct_halves(const enum zw_q_format f, const unsigned int rows,
			      const unsigned int pairs, const float *numbers, const float *a,
			      const struct zw_q_row *row, size_t k, size_t group, float *out)
{
	ZW_UNSET vec s[MAX_SUMS];

#pragma GCC unroll 16
	for (unsigned int i = 0; i < rows * pairs; i++)
		s[i] = vec_zero();
	if (f < ZW_Q_FIRST_RECORD && group == ZW_Q_STEP / 2)
		direct_codes(s, f, true, rows, pairs, numbers, a, row, k, group);
	else
		direct_codes(s, f, false, rows, pairs, numbers, a, row, k, group);
	put_totals(rows * pairs, s, out);
}

/* --- all of them --- */

VEC_INLINE void direct_whole(const enum zw_q_format f, const enum zw_q_way way,
			     const unsigned int rows, const unsigned int pairs, const float *a,
			     const struct zw_q_row *row, size_t k, size_t group, float *out)
{
	ZW_UNSET vec s[MAX_SUMS];

#pragma GCC unroll 16
	for (unsigned int i = 0; i < rows * pairs; i++)
		s[i] = vec_zero();
	if (!direct_bytes(s, f, way, false, rows, pairs, a, row, k, group)) {
#pragma GCC unroll 16
		for (unsigned int i = 0; i < rows * pairs; i++)
			s[i] = vec_zero();
		direct_bytes(s, f, way, true, rows, pairs, a, row, k, group);
	}
	put_totals(rows * pairs, s, out);
}

/* Scales and zero points as bytes want them: I8 with 24 zeros below, F8E4M3 as F16. */
VEC_FN enum zw_q_way zw_q_prepare_avx512(enum zw_q_format f, float *scale, float *zero, size_t n)
{
	const vec least = vec_set1(0x1p-100f), most = vec_set1(0x1p100f);
	const bool is_i8 = f == ZW_Q_I8 || f == ZW_Q_I8Z;

	if (!is_i8 && f != ZW_Q_F8E4M3)
		return ZW_Q_PLAIN;
	/* What is no number may stay so, and 0 is one. */
	for (size_t i = 0; i < n; i += VEC_LANES) {
		const __mmask16 there = vec_mask(n - i < VEC_LANES ? n - i : VEC_LANES);
		vec s = _mm512_abs_ps(_mm512_maskz_loadu_ps(there, scale + i));
		__mmask16 bad = _mm512_cmp_ps_mask(s, most, _CMP_GT_OQ);

		if (is_i8)
			bad = _mm512_cmp_ps_mask(s, least, _CMP_LT_OQ) &
			      _mm512_cmp_ps_mask(s, vec_zero(), _CMP_NEQ_OQ);
		if (has_zero(f))
			bad |= _mm512_cmp_ps_mask(
				_mm512_abs_ps(_mm512_maskz_loadu_ps(there, zero + i)), most,
				_CMP_NLE_UQ);
		if (bad)
			return ZW_Q_PLAIN;
	}
	for (size_t i = 0; i < n; i += VEC_LANES) {
		const size_t left = n - i < VEC_LANES ? n - i : VEC_LANES;
		const vec by = vec_set1(is_i8 ? 0x1p-24f : left_out(f));

		vec_store_n(scale + i, vec_mul(vec_load_n(scale + i, left), by), left);
		if (has_zero(f))
			vec_store_n(zero + i,
				    vec_mul(vec_load_n(zero + i, left), vec_set1(0x1p24f)), left);
	}
	return ZW_Q_FOLDED;
}

#define ARGS const float *a, const struct zw_q_row *w, size_t k, size_t group, float *out

/* Bytes, in each way. */
#define WHOLE(name, way, rows, pairs)                                                              \
	VEC_FN static void direct_##way##_##name##_##rows(ARGS)                                    \
	{                                                                                          \
		direct_whole(ZW_Q_##name, ZW_Q_##way, rows, pairs, a, w, k, group, out);           \
	}
/* Half bytes; types that differ in their numbers only share a function, of the first of them. */
#define HALVES(name, rows, pairs)                                                                  \
	VEC_FN __attribute__((noinline)) static void halves_##name##_##rows(const float *numbers,  \
									    ARGS)                  \
	{                                                                                          \
		direct_halves(ZW_Q_##name, rows, pairs, numbers, a, w, k, group, out);             \
	}
#define HALF(name, like, numbers, rows)                                                            \
	static void direct_PLAIN_##name##_##rows(ARGS)                                             \
	{                                                                                          \
		halves_##like##_##rows(numbers, a, w, k, group, out);                              \
	}
#define DIRECTS(rows, pairs)                                                                       \
	WHOLE(I8, PLAIN, rows, pairs)                                                              \
	WHOLE(I8, FOLDED, rows, pairs)                                                             \
	WHOLE(I8Z, PLAIN, rows, pairs)                                                             \
	WHOLE(I8Z, FOLDED, rows, pairs)                                                            \
	WHOLE(F8E4M3, PLAIN, rows, pairs)                                                          \
	WHOLE(F8E4M3, FOLDED, rows, pairs)                                                         \
	WHOLE(F8E5M2, PLAIN, rows, pairs)                                                          \
	WHOLE(Q8_0, PLAIN, rows, pairs)                                                            \
	HALVES(U4, rows, pairs)                                                                    \
	HALVES(U4Z, rows, pairs)                                                                   \
	HALVES(Q4_0, rows, pairs)                                                                  \
	HALVES(Q4_1, rows, pairs)                                                                  \
	HALVES(MXFP4, rows, pairs)                                                                 \
	HALVES(Q4_K, rows, pairs)                                                                  \
	HALF(I4, U4, i4_numbers, rows)                                                             \
	HALF(I4Z, U4Z, i4_numbers, rows)                                                           \
	HALF(U4, U4, u4_numbers, rows)                                                             \
	HALF(U4Z, U4Z, u4_numbers, rows)                                                           \
	HALF(F4E2M1, U4, f4_numbers, rows)                                                         \
	HALF(Q4_0, Q4_0, q4_numbers, rows)                                                         \
	HALF(Q4_1, Q4_1, u4_numbers, rows)                                                         \
	HALF(MXFP4, MXFP4, f4_numbers, rows)                                                       \
	HALF(Q4_K, Q4_K, u4_numbers, rows)

#define PLAIN_FORMATS(X, rows)                                                                     \
	X(I8, PLAIN, rows)                                                                         \
	X(I8Z, PLAIN, rows)                                                                        \
	X(I4, PLAIN, rows)                                                                         \
	X(I4Z, PLAIN, rows)                                                                        \
	X(U4, PLAIN, rows)                                                                         \
	X(U4Z, PLAIN, rows)                                                                        \
	X(F8E4M3, PLAIN, rows)                                                                     \
	X(F8E5M2, PLAIN, rows)                                                                     \
	X(F4E2M1, PLAIN, rows)                                                                     \
	X(Q4_0, PLAIN, rows)                                                                       \
	X(Q4_1, PLAIN, rows)                                                                       \
	X(Q8_0, PLAIN, rows)                                                                       \
	X(MXFP4, PLAIN, rows)                                                                      \
	X(Q4_K, PLAIN, rows)
#define FOLDED_FORMATS(X, rows)                                                                    \
	X(I8, FOLDED, rows)                                                                        \
	X(I8Z, FOLDED, rows)                                                                       \
	X(F8E4M3, FOLDED, rows)
#define NAMED(name, way, rows) [ZW_Q_##name] = direct_##way##_##name##_##rows,
#define TABLE(n_rows, pairs)                                                                       \
	{                                                                                          \
		.fn = {[ZW_Q_PLAIN] = {PLAIN_FORMATS(NAMED, n_rows)},                              \
		       [ZW_Q_FOLDED] = {FOLDED_FORMATS(NAMED, n_rows)}},                           \
		.rows = n_rows, .cols = 2 * (pairs),                                               \
	}

DIRECTS(1, 4)
DIRECTS(2, 4)
DIRECTS(4, 4)
DIRECTS(8, 2)

const struct zw_q_direct zw_q_direct_avx512[4] = {
	TABLE(1, 4),
	TABLE(2, 4),
	TABLE(4, 4),
	TABLE(8, 2),
};
#endif
