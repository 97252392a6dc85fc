// SPDX-License-Identifier: MIT
/*
 * Products with quantised weights in registers, with AVX2, FMA and F16C; the AVX-512 level uses them too. W is
 * read from memory in its packed form and written nowhere.
 *
 * A row or eight rows of memory are read faster than they are unpacked, so that each operation counts: bytes become
 * numbers by a look-up or a shift that leaves them with a factor or an offset, which scales and zero points of a
 * task take up once (prepare()). Every W has the bits of the specification all the same.
 */
#if defined(__x86_64__)
#include <math.h>

#include "zw_quant_vec.h"

/* How far ahead of the loads W is asked for, in bytes of each row. */
#define AHEAD    512
#define MAX_SUMS 8

/*
 * Vectors of types of half a byte are made of the low nibbles of four bytes, then the high ones: elements 0 2 4 6 1 3
 * 5 7. So are those of A that they meet, and the sums are put in order at the end.
 */
VEC_INLINE v8 to_even_odd(v8 v)
{
	return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
}

VEC_INLINE v8 from_even_odd(v8 v)
{
	return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

VEC_FN void zw_q_arrange_avx2(enum zw_q_format f, float *a, size_t n)
{
	if (!is_half_byte(f))
		return;
	for (size_t i = 0; i < n; i += ZW_LANES)
		v8_store(a + i, to_even_odd(v8_load(a + i)));
}

/*
 * s += x * w, x read from memory: all registers are taken, and the compiler would rather have x in one than the sums,
 * whose way through memory is longer than everything else.
 */
VEC_INLINE v8 fma_tight(const float *x, v8 w, v8 s)
{
	typedef float unaligned __attribute__((vector_size(32), aligned(4), may_alias));

	__asm__("vfmadd231ps %2, %1, %0" : "+x"(s) : "x"(w), "m"(*(const unaligned *)x));
	return s;
}

/* One step of a column: x is packed in groups of `rows` rows. */
VEC_INLINE void step_fma(const unsigned int rows, v8 *s, const size_t stride, const float *x,
			 const v8 w[4])
{
#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++)
#pragma GCC unroll 4
		for (unsigned int r = 0; r < rows; r++)
			s[r * stride] = fma_tight(x + (i * rows + r) * 8, w[i], s[r * stride]);
}

/* --- numbers as they come out of their bytes --- */

/* The same sixteen bytes in both halves. */
VEC_INLINE __m256i twice(const uint8_t *p)
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}

VEC_INLINE v8 halves_of(float low, float high)
{
	return _mm256_setr_ps(low, low, low, low, high, high, high, high);
}

/* What raw numbers of I4 and U4 have too much, in lanes of low nibbles and of high ones. */
VEC_INLINE v8 offset_of(const enum zw_q_format f)
{
	switch (f) {
	case ZW_Q_U4:
	case ZW_Q_U4Z:
		return halves_of(0x1p7f, 0x1p11f);
	case ZW_Q_I4:
	case ZW_Q_I4Z:
		return halves_of(0x1p7f + 8.0f, 0x1p11f + 8.0f);
	default:
		return _mm256_setzero_ps();
	}
}

/* What raw numbers have to be multiplied with. */
VEC_INLINE float factor_of(const enum zw_q_format f)
{
	switch (f) {
	case ZW_Q_I8:
	case ZW_Q_I8Z:
		return 0x1p-24f;
	case ZW_Q_F8E4M3:
		return 0x1p120f;
	case ZW_Q_F8E5M2:
		return 0x1p112f;
	default:
		return 1.0f;
	}
}

VEC_INLINE bool is_f8(const enum zw_q_format f)
{
	return f == ZW_Q_F8E4M3 || f == ZW_Q_F8E5M2;
}

/* Whether there is something to subtract from raw numbers. */
VEC_INLINE bool is_shifted(const enum zw_q_format f)
{
	return has_zero(f) || f == ZW_Q_I4 || f == ZW_Q_U4;
}

/* Thirty-two elements on the way to raw numbers. */
VEC_INLINE void raw_begin(__m256i b[2], const enum zw_q_format f, const uint8_t *p)
{
	if (f == ZW_Q_F4E2M1) {
		const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi8(
			0, 0, -128, -64, 0, 64, -128, -64, 0, 0, -128, -64, 0, 64, -128, -64));
		const __m256i high = _mm256_broadcastsi128_si256(_mm_setr_epi8(
			0, 63, 63, 63, 64, 64, 64, 64, -128, -65, -65, -65, -64, -64, -64, -64));
		__m256i n = _mm256_srlv_epi32(twice(p), _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));

		n = _mm256_and_si256(n, _mm256_set1_epi8(15));
		b[0] = _mm256_unpacklo_epi8(_mm256_shuffle_epi8(low, n),
					    _mm256_shuffle_epi8(high, n));
		b[1] = _mm256_unpackhi_epi8(_mm256_shuffle_epi8(low, n),
					    _mm256_shuffle_epi8(high, n));
		return;
	}
	b[0] = twice(p);
	if (is_half_byte(f))
		b[0] = _mm256_and_si256(b[0], _mm256_setr_epi32(0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,
								0x0f0f0f0f, (int)0xf0f0f0f0,
								(int)0xf0f0f0f0, (int)0xf0f0f0f0,
								(int)0xf0f0f0f0));
	else
		b[1] = twice(p + 16);
}

/* Bytes of a 128-bit half to the upper bytes of lanes. */
#define UPPER(b) -1, -1, -1, (b), -1, -1, -1, (b) + 1, -1, -1, -1, (b) + 2, -1, -1, -1, (b) + 3
/* The same bytes to where nibbles are the upper bits of the fraction of 2^7, and of 2^11. */
#define LOW(b)   -1, -1, (b), -1, -1, -1, (b) + 1, -1, -1, -1, (b) + 2, -1, -1, -1, (b) + 3, -1
#define HIGH(b)  -1, (b), -1, -1, -1, (b) + 1, -1, -1, -1, (b) + 2, -1, -1, -1, (b) + 3, -1, -1

/*
 * Eight of them: raw numbers, (w + offset) / factor of the type. I4 and U4: fractions. F4E2M1: BF16 from tables. I8:
 * integers with 24 zeros below. F8: the bits in their places in F32, whose exponents are far lower, subnormal numbers too;
 * but for infinities and NaN.
 */
VEC_INLINE v8 raw(const enum zw_q_format f, const __m256i b[2], const unsigned int i)
{
	__m256i n;

	if (f == ZW_Q_F4E2M1) {
		const __m256i zero = _mm256_setzero_si256();

		return _mm256_castsi256_ps(i % 2 ? _mm256_unpackhi_epi16(zero, b[i / 2])
						 : _mm256_unpacklo_epi16(zero, b[i / 2]));
	}
	if (is_half_byte(f)) {
		const int flip = f == ZW_Q_I4 || f == ZW_Q_I4Z ? 8 : 0;
		const int low = 0x43000000 | flip << 16, high = 0x45000000 | flip << 12;

		n = _mm256_shuffle_epi8(b[0], i == 0   ? _mm256_setr_epi8(LOW(0), HIGH(0))
					      : i == 1 ? _mm256_setr_epi8(LOW(4), HIGH(4))
					      : i == 2 ? _mm256_setr_epi8(LOW(8), HIGH(8))
						       : _mm256_setr_epi8(LOW(12), HIGH(12)));
		/* The sign of I4 turned over, as one with the exponent. */
		return _mm256_castsi256_ps(_mm256_xor_si256(
			n, _mm256_setr_epi32(low, low, low, low, high, high, high, high)));
	}
	n = _mm256_shuffle_epi8(b[i / 2], i % 2 ? _mm256_setr_epi8(UPPER(8), UPPER(12))
						: _mm256_setr_epi8(UPPER(0), UPPER(4)));
	if (f == ZW_Q_F8E4M3)
		return _mm256_castsi256_ps(_mm256_and_si256(_mm256_srai_epi32(n, 4),
							    _mm256_set1_epi32((int)0x87f00000)));
	if (f == ZW_Q_F8E5M2)
		return _mm256_castsi256_ps(_mm256_and_si256(_mm256_srai_epi32(n, 3),
							    _mm256_set1_epi32((int)0x8fe00000)));
	return _mm256_cvtepi32_ps(n);
}

/* The same of F8, infinities and NaN included. */
VEC_INLINE v8 raw_careful(const enum zw_q_format f, const uint8_t *p, const unsigned int i)
{
	ZW_UNSET v8 w[4];

	numbers(w, f, p);
	return _mm256_mul_ps(w[i], _mm256_set1_ps(0x1p-112f));
}

/* --- scales --- */

/*
 * Whether (r - z) * s is fma(r, s, -(z * s)) for the raw numbers r of a type, zero and all: z, their offset in it, is
 * whole and z * s exact.
 */
VEC_INLINE v8 folds(v8 s, v8 z)
{
	v8 p = _mm256_mul_ps(z, s), off = _mm256_fmsub_ps(z, s, p);

	return _mm256_and_ps(_mm256_cmp_ps(off, _mm256_setzero_ps(), _CMP_EQ_OQ),
			     _mm256_cmp_ps(s, _mm256_set1_ps(0x1p-100f), _CMP_GE_OQ));
}

VEC_INLINE v8 is_whole(v8 z)
{
	v8 near = _mm256_round_ps(z, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	v8 abs = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), z);

	return _mm256_and_ps(_mm256_cmp_ps(near, z, _CMP_EQ_OQ),
			     _mm256_cmp_ps(abs, _mm256_set1_ps(4096.0f), _CMP_LE_OQ));
}

/* Whether the products of a scale with raw numbers are those with numbers, if it has their factor. */
VEC_INLINE v8 scale_fits(const enum zw_q_format f, v8 s)
{
	v8 abs = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), s);

	/* A NaN may stay one; 0 stays 0. */
	if (is_f8(f))
		return _mm256_cmp_ps(abs, _mm256_set1_ps(64.0f), _CMP_NGT_UQ);
	return _mm256_or_ps(_mm256_cmp_ps(abs, _mm256_set1_ps(0x1p-100f), _CMP_NLT_UQ),
			    _mm256_cmp_ps(abs, _mm256_setzero_ps(), _CMP_EQ_OQ));
}

VEC_INLINE enum zw_q_way prepare(const enum zw_q_format f, float *scale, float *zero, size_t n)
{
	const v8 low = _mm256_permute2f128_ps(offset_of(f), offset_of(f), 0x00);
	const v8 high = _mm256_permute2f128_ps(offset_of(f), offset_of(f), 0x11);
	const v8 factor = _mm256_set1_ps(factor_of(f)), minus = _mm256_set1_ps(-0.0f);
	v8 whole, fold, fits;

	whole = fold = fits = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
	for (size_t i = 0; i < n; i += ZW_LANES) {
		size_t left = n - i < ZW_LANES ? n - i : ZW_LANES;
		v8 s = v8_first_n(v8_load(scale + i), _mm256_set1_ps(1.0f), left);
		v8 z = has_zero(f) ? v8_first_n(v8_load(zero + i), _mm256_setzero_ps(), left)
				   : _mm256_setzero_ps();

		if (has_zero(f))
			whole = _mm256_and_ps(whole, is_whole(z));
		if (is_shifted(f))
			fold = _mm256_and_ps(fold, _mm256_and_ps(folds(s, _mm256_add_ps(z, low)),
								 folds(s, _mm256_add_ps(z, high))));
		if (factor_of(f) != 1.0f)
			fits = _mm256_and_ps(fits, scale_fits(f, s));
	}
	if (_mm256_movemask_ps(whole) != 255 || _mm256_movemask_ps(fits) != 255)
		return ZW_Q_PLAIN;
	if (_mm256_movemask_ps(fold) != 255) {
		if (f == ZW_Q_I8Z)
			return ZW_Q_PLAIN;
		if (!has_zero(f))
			for (size_t i = 0; i < n; i += ZW_LANES)
				v8_store(zero + i, _mm256_setzero_ps());
		return ZW_Q_OFFSET;
	}
	for (size_t i = 0; i < n; i += ZW_LANES) {
		v8 s = v8_load(scale + i),
		   z = has_zero(f) ? v8_load(zero + i) : _mm256_setzero_ps();

		if (is_shifted(f))
			v8_store(zero + i,
				 _mm256_xor_ps(_mm256_mul_ps(_mm256_add_ps(z, low), s), minus));
		if (factor_of(f) != 1.0f)
			v8_store(scale + i, _mm256_mul_ps(s, factor));
	}
	return ZW_Q_FOLDED;
}

VEC_FN enum zw_q_way zw_q_prepare_avx2(enum zw_q_format f, float *scale, float *zero, size_t n)
{
	switch (f) {
#define PREPARE(name)                                                                              \
	case ZW_Q_##name:                                                                          \
		return prepare(ZW_Q_##name, scale, zero, n);
		PREPARE(I8)
		PREPARE(I8Z)
		PREPARE(I4)
		PREPARE(I4Z)
		PREPARE(U4)
		PREPARE(U4Z)
		PREPARE(F8E4M3)
		PREPARE(F8E5M2)
	case ZW_Q_F4E2M1:
		return ZW_Q_FOLDED;
	default:
		return ZW_Q_PLAIN;
	}
}

/* --- products --- */

/* Scale and what is subtracted or added, of the groups of vectors 0, 1 and 2, 3. */
struct ready {
	v8 s[2], z[2];
};

VEC_INLINE void ready_load(struct ready *to, const enum zw_q_format f, const enum zw_q_way way,
			   const struct zw_q_row *row, size_t g, const bool two)
{
#pragma GCC unroll 2
	for (unsigned int i = 0; i < 2; i++) {
		size_t at = g + i;

		if (i && !two) {
			to->s[1] = to->s[0];
			to->z[1] = to->z[0];
			return;
		}
		to->s[i] = _mm256_broadcast_ss(row->scale + at);
		to->z[i] = _mm256_setzero_ps();
		if (is_shifted(f) && way == ZW_Q_OFFSET)
			to->z[i] = _mm256_add_ps(_mm256_broadcast_ss(row->zero + at), offset_of(f));
		else if (f == ZW_Q_I8Z)
			to->z[i] = _mm256_broadcast_ss(row->zero + at);
		else if (is_shifted(f))
			to->z[i] = _mm256_fnmadd_ps(to->s[i], halves_of(0.0f, 0x1p11f - 0x1p7f),
						    _mm256_broadcast_ss(row->zero + at));
	}
}

/* A raw number of vector i becomes what it stands for. */
VEC_INLINE v8 ready_value(v8 r, const enum zw_q_format f, const enum zw_q_way way,
			  const struct ready *by, const unsigned int i)
{
	if (!is_shifted(f))
		return _mm256_mul_ps(r, by->s[i / 2]);
	if (way == ZW_Q_FOLDED)
		return _mm256_fmadd_ps(r, by->s[i / 2], by->z[i / 2]);
	return _mm256_mul_ps(_mm256_sub_ps(r, by->z[i / 2]), by->s[i / 2]);
}

/*
 * Steps of a number that is known, from element c on, in group g or, if each has two, those from g on. Two columns at a
 * time: the sum of one has some time until it is needed again.
 */
VEC_INLINE void ready_steps(const enum zw_q_format f, const enum zw_q_way way, const bool careful,
			    const unsigned int steps, const unsigned int rows,
			    const unsigned int cols, v8 *s, const float *x,
			    const struct zw_q_row *row, size_t c, size_t g, const bool two,
			    __m256i *most)
{
#pragma GCC unroll 4
	for (unsigned int j = 0; j < cols; j += 2) {
		ZW_UNSET const uint8_t *p[2];
		ZW_UNSET struct ready by[2];

#pragma GCC unroll 2
		for (unsigned int l = 0; l < 2; l++) {
			p[l] = row[j + l].ptr + (is_half_byte(f) ? c / 2 : c);
			/* Of every line, or half of one. */
			_mm_prefetch((const char *)p[l] + AHEAD, _MM_HINT_T0);
			ready_load(&by[l], f, way, &row[j + l], g, two);
		}
#pragma GCC unroll 2
		for (unsigned int h = 0; h < steps; h++) {
			const size_t at = h * block_bytes(f);
			ZW_UNSET __m256i b[2][2];

#pragma GCC unroll 2
			for (unsigned int l = 0; l < 2; l++) {
				raw_begin(b[l], f, p[l] + at);
				if (is_f8(f) && !careful)
					*most = f8_most(*most, p[l] + at);
			}
#pragma GCC unroll 4
			for (unsigned int i = 0; i < 4; i++) {
				const float *y = x + (h * 4 + i) * rows * 8;
				ZW_UNSET v8 w[2];

#pragma GCC unroll 2
				for (unsigned int l = 0; l < 2; l++)
					w[l] = ready_value(careful ? raw_careful(f, p[l] + at, i)
								   : raw(f, b[l], i),
							   f, way, &by[l], i);
#pragma GCC unroll 4
				for (unsigned int r = 0; r < rows; r++)
#pragma GCC unroll 2
					for (unsigned int l = 0; l < 2; l++)
						s[r * cols + j + l] =
							rows == 1
								? fma_tight(y, w[l], s[j + l])
								: _mm256_fmadd_ps(
									  v8_load(y + r * 8), w[l],
									  s[r * cols + j + l]);
			}
		}
	}
}

/* The last n < 32 elements, as many vectors as there are: a sum takes in no more zeros than its last vector has. */
VEC_INLINE void ready_tail(const enum zw_q_format f, const enum zw_q_way way, const bool careful,
			   const unsigned int rows, const unsigned int cols, v8 *s, const float *x,
			   const struct zw_q_row *row, size_t c, size_t n, size_t g, const bool two,
			   __m256i *most)
{
	for (unsigned int j = 0; j < cols; j++) {
		ZW_UNSET __m256i b[2];
		ZW_UNSET struct ready by;
		uint8_t some[ZW_Q_STEP] = {0};

		memcpy(some, row[j].ptr + (is_half_byte(f) ? c / 2 : c),
		       is_half_byte(f) ? n / 2 : n);
		ready_load(&by, f, way, &row[j], g, two);
		raw_begin(b, f, some);
		if (is_f8(f) && !careful)
			*most = f8_most(*most, some);
#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++) {
			size_t left = n > 8 * i ? n - 8 * i : 0;
			v8 in = _mm256_castsi256_ps(v8_mask(left < 8 ? left : 8));
			v8 w = ready_value(careful ? raw_careful(f, some, i) : raw(f, b, i), f, way,
					   &by, i);

			if (!left)
				break;
			if (is_half_byte(f))
				in = to_even_odd(in);
			w = _mm256_and_ps(w, in);
			for (unsigned int r = 0; r < rows; r++)
				s[r * cols + j] = _mm256_fmadd_ps(v8_load(x + (i * rows + r) * 8),
								  w, s[r * cols + j]);
		}
	}
}

/* Products with prepared scales; whether they are right, which with numbers that are none they are only with care. */
VEC_INLINE bool direct_ready(v8 *out, const enum zw_q_format f, const enum zw_q_way way,
			     const bool careful, const unsigned int rows, const unsigned int cols,
			     const float *a, const struct zw_q_row *row, size_t k, size_t group)
{
	__m256i most = _mm256_setzero_si256();
	ZW_UNSET v8 s[MAX_SUMS];
	size_t c = 0, g = 0;

#pragma GCC unroll 8
	for (unsigned int i = 0; i < MAX_SUMS; i++)
		s[i] = _mm256_setzero_ps();
	if (group == ZW_Q_STEP / 2) {
		for (; c + ZW_Q_STEP <= k; c += ZW_Q_STEP, g += 2, a += ZW_Q_STEP * rows)
			ready_steps(f, way, careful, 1, rows, cols, s, a, row, c, g, true, &most);
	} else {
		for (size_t end; c + ZW_Q_STEP <= k; g++) {
			end = c + (group < k - c ? group : k - c) / ZW_Q_STEP * ZW_Q_STEP;
			for (; c + 2 * ZW_Q_STEP <= end;
			     c += 2 * ZW_Q_STEP, a += 2 * ZW_Q_STEP * rows)
				ready_steps(f, way, careful, 2, rows, cols, s, a, row, c, g, false,
					    &most);
			if (c < end) {
				ready_steps(f, way, careful, 1, rows, cols, s, a, row, c, g, false,
					    &most);
				c += ZW_Q_STEP;
				a += ZW_Q_STEP * rows;
			}
		}
		/* The last step, if it ends early, belongs to the last group. */
		g = c / group;
	}
#pragma GCC unroll 8
	for (unsigned int i = 0; i < MAX_SUMS; i++)
		out[i] = s[i];
	if (c < k)
		ready_tail(f, way, careful, rows, cols, out, a, row, c, k - c, g,
			   group == ZW_Q_STEP / 2 && k - c > ZW_Q_STEP / 2, &most);
	return !is_f8(f) || careful || !f8_special(f, most);
}

VEC_INLINE void direct_plain(v8 *s, const enum zw_q_format f, const unsigned int rows,
			     const unsigned int cols, const float *a, const struct zw_q_row *row,
			     size_t k, size_t group)
{
	struct group_at at = groups_begin(group, 0);
	ZW_UNSET v8 w[4];

	for (size_t c = 0; c < k; c += ZW_Q_STEP, a += ZW_Q_STEP * rows, groups_next(&at)) {
		size_t n = k - c < ZW_Q_STEP ? k - c : ZW_Q_STEP;

		for (unsigned int j = 0; j < cols; j++) {
			scaled_step(w, f, &row[j], c, n, &at);
			for (unsigned int i = 0; i < (n + 7) / 8; i++)
				for (unsigned int r = 0; r < rows; r++)
					s[r * cols + j] = _mm256_fmadd_ps(
						v8_load(a + (i * rows + r) * 8),
						is_half_byte(f) ? to_even_odd(w[i]) : w[i],
						s[r * cols + j]);
		}
	}
}

VEC_INLINE void direct_records(v8 *s, const enum zw_q_format f, const unsigned int rows,
			       const unsigned int cols, const float *a, const struct zw_q_row *row,
			       size_t k)
{
	ZW_UNSET v8 w[4];

	if (f >= ZW_Q_FIRST_OF_256) {
		for (size_t c = 0; c < k; c += 256) {
			ZW_UNSET struct scales sc[MAX_SUMS];

			for (unsigned int j = 0; j < cols; j++)
				scales256(&sc[j], f, row[j].ptr + c / 256 * block_bytes(f));
			for (unsigned int u = 0; u < 8; u++, a += ZW_Q_STEP * rows)
#pragma GCC unroll 8
				for (unsigned int j = 0; j < cols; j++) {
					record256(w, f, row[j].ptr + c / 256 * block_bytes(f), u,
						  &sc[j]);
					step_fma(rows, s + j, cols, a, w);
				}
		}
		return;
	}
	for (size_t c = 0; c < k; c += ZW_Q_STEP, a += ZW_Q_STEP * rows)
#pragma GCC unroll 8
		for (unsigned int j = 0; j < cols; j++) {
			record32(w, f, row[j].ptr + c / ZW_Q_STEP * block_bytes(f));
			step_fma(rows, s + j, cols, a, w);
		}
}

/* @way is one that prepare() gives for the format. */
VEC_INLINE void direct(const enum zw_q_format f, const enum zw_q_way way, const unsigned int rows,
		       const unsigned int cols, const float *a, const struct zw_q_row *row,
		       size_t k, size_t group, float *out)
{
	ZW_UNSET v8 s[MAX_SUMS];

	if (f < ZW_Q_FIRST_RECORD && way != ZW_Q_PLAIN) {
		if (!direct_ready(s, f, way, false, rows, cols, a, row, k, group))
			direct_ready(s, f, way, true, rows, cols, a, row, k, group);
	} else {
#pragma GCC unroll 8
		for (unsigned int i = 0; i < MAX_SUMS; i++)
			s[i] = _mm256_setzero_ps();
		if (f >= ZW_Q_FIRST_RECORD)
			direct_records(s, f, rows, cols, a, row, k);
		else
			direct_plain(s, f, rows, cols, a, row, k, group);
	}
	if (is_half_byte(f))
#pragma GCC unroll 8
		for (unsigned int i = 0; i < MAX_SUMS; i++)
			s[i] = from_even_odd(s[i]);
	v8_store(out, v8_totals(s));
}

#define MANY_ROWS 4
#define ONE_COLS  4
#define MANY_COLS 2

#define FORMAT(name)                                                                               \
	VEC_FN static void one_##name(const float *a, const struct zw_q_row *w, size_t k,          \
				      size_t group, float *out)                                    \
	{                                                                                          \
		direct(ZW_Q_##name, ZW_Q_PLAIN, 1, ONE_COLS, a, w, k, group, out);                 \
	}                                                                                          \
	VEC_FN static void many_##name(const float *a, const struct zw_q_row *w, size_t k,         \
				       size_t group, float *out)                                   \
	{                                                                                          \
		direct(ZW_Q_##name, ZW_Q_PLAIN, MANY_ROWS, MANY_COLS, a, w, k, group, out);        \
	}
ZW_Q_FORMATS(FORMAT)

#define READY(name, way)                                                                           \
	VEC_FN static void one_##way##_##name(const float *a, const struct zw_q_row *w, size_t k,  \
					      size_t group, float *out)                            \
	{                                                                                          \
		direct(ZW_Q_##name, ZW_Q_##way, 1, ONE_COLS, a, w, k, group, out);                 \
	}                                                                                          \
	VEC_FN static void many_##way##_##name(const float *a, const struct zw_q_row *w, size_t k, \
					       size_t group, float *out)                           \
	{                                                                                          \
		direct(ZW_Q_##name, ZW_Q_##way, MANY_ROWS, MANY_COLS, a, w, k, group, out);        \
	}
#define FOLDED_FORMATS(X)                                                                          \
	X(I8, FOLDED)                                                                              \
	X(I8Z, FOLDED)                                                                             \
	X(I4, FOLDED)                                                                              \
	X(I4Z, FOLDED)                                                                             \
	X(U4, FOLDED)                                                                              \
	X(U4Z, FOLDED)                                                                             \
	X(F8E4M3, FOLDED)                                                                          \
	X(F8E5M2, FOLDED)                                                                          \
	X(F4E2M1, FOLDED)
#define OFFSET_FORMATS(X)                                                                          \
	X(I4, OFFSET)                                                                              \
	X(I4Z, OFFSET)                                                                             \
	X(U4, OFFSET)                                                                              \
	X(U4Z, OFFSET)
FOLDED_FORMATS(READY)
OFFSET_FORMATS(READY)

#define ONE(name)             [ZW_Q_##name] = one_##name,
#define MANY(name)            [ZW_Q_##name] = many_##name,
#define ONE_READY(name, way)  [ZW_Q_##name] = one_##way##_##name,
#define MANY_READY(name, way) [ZW_Q_##name] = many_##way##_##name,

const struct zw_q_direct zw_q_direct_avx2[2] = {
	{
		.fn = {[ZW_Q_PLAIN] = {ZW_Q_FORMATS(ONE)},
		       [ZW_Q_FOLDED] = {FOLDED_FORMATS(ONE_READY)},
		       [ZW_Q_OFFSET] = {OFFSET_FORMATS(ONE_READY)}},
		.rows = 1,
		.cols = ONE_COLS,
	},
	{
		.fn = {[ZW_Q_PLAIN] = {ZW_Q_FORMATS(MANY)},
		       [ZW_Q_FOLDED] = {FOLDED_FORMATS(MANY_READY)},
		       [ZW_Q_OFFSET] = {OFFSET_FORMATS(MANY_READY)}},
		.rows = MANY_ROWS,
		.cols = MANY_COLS,
	},
};
#endif
