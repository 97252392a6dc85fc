/* SPDX-License-Identifier: MIT */
/*
 * Quantised weights to memory over vectors of sixteen lanes; included once per table after the header that defines
 * `vec`. What has no way of its own here, and activations, are left to AVX2.
 *
 * Types of half a byte have sixteen numbers, as many as a vector has lanes: what they stand for with the scale of a
 * group is computed once, and each element looked up. So zero points and minimums cost nothing.
 *
 * The includer defines QUANT_NAME, the name of the table, and QUANT_DIRECT if it has direct products of its own; those
 * of other formats are AVX2's.
 */
#include "zw_quant_vec.h"

/* Both halves of a vector, as neighbours of a row. */
VEC_INLINE void wide_store(float *dst, size_t step, vec v)
{
	vec_scatter(dst, dst + step, v);
}

/* --- types with scales beside them --- */

/* The numbers of a type of half a byte, in the order of their codes. */
VEC_INLINE vec codes_of(const enum zw_q_format f)
{
	static const float u4[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	static const float i4[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
	static const float f4[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
				     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

	switch (f) {
	case ZW_Q_I4:
	case ZW_Q_I4Z:
		return vec_load(i4);
	case ZW_Q_F4E2M1:
	case ZW_Q_MXFP4:
		return vec_load(f4);
	default:
		return vec_load(u4);
	}
}

/* What elements of a group become. */
struct wide_group {
	vec scale, zero;
	vec table; /* half a byte: of each code */
};

VEC_INLINE struct wide_group group_begin(const enum zw_q_format f, const struct zw_q_row *row,
					 size_t g)
{
	struct wide_group by;

	/* F8E4M3 as F16 are less by that. */
	by.scale = vec_set1(f == ZW_Q_F8E4M3 ? row->scale[g] * left_out(f) : row->scale[g]);
	by.zero = has_zero(f) ? vec_set1(row->zero[g]) : vec_zero();
	by.table = vec_zero();
	if (is_half_byte(f)) {
		by.table = codes_of(f);
		if (has_zero(f))
			by.table = vec_sub(by.table, by.zero);
		by.table = vec_mul(by.table, by.scale);
	}
	return by;
}

/* Sixteen elements. */
VEC_INLINE vec wide_value(const enum zw_q_format f, const uint8_t *p, const struct wide_group *by)
{
	vec v;

	if (is_half_byte(f))
		return vec_lookup(by->table, vec_nibbles(p));
	v = f == ZW_Q_F8E4M3   ? vec_halves(e4m3_numbers(p))
	    : f == ZW_Q_F8E5M2 ? vec_halves(e5m2_halves(p))
			       : vec_load_i8(p);
	if (has_zero(f))
		v = vec_sub(v, by->zero);
	return vec_mul(v, by->scale);
}

/* Whether n F8E4M3 are all numbers. */
VEC_INLINE bool all_numbers(const uint8_t *p, size_t n)
{
	__m256i most = _mm256_setzero_si256();
	size_t i;

	for (i = 0; i + 32 <= n; i += 32)
		most = f8_most(most, p + i);
	for (; i < n; i++)
		if ((p[i] & 0x7f) == ZW_F8E4M3_NAN)
			return false;
	return !f8_special(ZW_Q_F8E4M3, most);
}

/* Whether so many scales can take up what F8E4M3 as F16 leave out. */
static bool scales_have_room(const float *scale, size_t groups)
{
	for (size_t g = 0; g < groups; g++)
		if (!(scale[g] <= 0x1p100f && scale[g] >= -0x1p100f))
			return false;
	return true;
}

/* The last n < VEC_LANES elements of a row; as many vectors of eight as there are. */
VEC_INLINE void wide_tail(const enum zw_q_format f, float *dst, size_t step, const uint8_t *p,
			  size_t n, const struct wide_group *by)
{
	uint8_t some[VEC_LANES] = {0};
	vec v;

	memcpy(some, p, is_half_byte(f) ? n / 2 : n);
	v = vec_first_n(wide_value(f, some, by), vec_zero(), n);
	v8_store(dst, vec_group(v, 0));
	if (n > ZW_LANES)
		v8_store(dst + step, vec_group(v, 1));
}

VEC_INLINE void wide_scaled(const enum zw_q_format f, float *dst, size_t step,
			    const struct zw_q_row *row, size_t phase, size_t group, size_t n)
{
	const size_t bytes = is_half_byte(f) ? VEC_LANES / 2 : VEC_LANES;
	const uint8_t *p = row->ptr;
	size_t c = 0, g = 0;

	if (!n)
		return;
	if (!zw_q_direct_group(group, phase + n) ||
	    (f == ZW_Q_F8E4M3 && !(all_numbers(row->ptr, n) &&
				   scales_have_room(row->scale, (phase + n - 1) / group + 1)))) {
		zw_q_avx2.dequant[f](dst, step, row, phase, group, n);
		return;
	}
	/* MXFP4's groups, of two vectors: nothing is decided in this loop. */
	for (; group == ZW_Q_STEP && !phase && c + ZW_Q_STEP <= n; g++, c += ZW_Q_STEP) {
		const struct wide_group by = group_begin(f, row, g);

		wide_store(dst, step, wide_value(f, p, &by));
		wide_store(dst + 2 * step, step, wide_value(f, p + bytes, &by));
		p += 2 * bytes;
		dst += 4 * step;
	}
	for (; c < n; g++, phase = 0) {
		size_t end = group - phase < n - c ? c + group - phase : n;
		const struct wide_group by = group_begin(f, row, g);

#pragma GCC unroll 4
		for (; c + VEC_LANES <= end; c += VEC_LANES, p += bytes, dst += 2 * step)
			wide_store(dst, step, wide_value(f, p, &by));
		if (c < end) { /* of the row, then */
			wide_tail(f, dst, step, p, end - c, &by);
			c = end;
		}
	}
}

/* --- records --- */

/* 32 elements: the low nibbles of sixteen bytes, then the high ones. */
VEC_INLINE void wide_halves(float *dst, size_t step, vec table, const uint8_t *q)
{
	veci b = vec_bytes(q);

	wide_store(dst, step, vec_lookup(table, b));
	wide_store(dst + 2 * step, step, vec_lookup(table, vec_high_nibbles(b)));
}

VEC_INLINE void wide_record32(const enum zw_q_format f, float *dst, size_t step, const uint8_t *p)
{
	const vec d = vec_set1(f == ZW_Q_MXFP4 ? zw_e8m0_to_f32(p[0]) : f16_at(p));

	switch (f) {
	case ZW_Q_Q8_0:
		wide_store(dst, step, vec_mul(d, vec_load_i8(p + 2)));
		wide_store(dst + 2 * step, step, vec_mul(d, vec_load_i8(p + 18)));
		break;
	case ZW_Q_MXFP4:
		wide_halves(dst, step, vec_mul(d, codes_of(f)), p + 1);
		break;
	case ZW_Q_Q4_0:
		wide_halves(dst, step, vec_mul(d, vec_sub(codes_of(f), vec_set1(8.0f))), p + 2);
		break;
	default: /* Q4_1 */
		wide_halves(dst, step, vec_fma(codes_of(f), d, vec_set1(f16_at(p + 2))), p + 4);
		break;
	}
}

/* Q4_K */
VEC_INLINE void wide_record256(float *dst, size_t step, const uint8_t *p)
{
	ZW_UNSET struct scales s;

	scales256(&s, ZW_Q_Q4_K, p);
	for (unsigned int g = 0; g < 8; g += 2)
#pragma GCC unroll 2
		for (unsigned int i = 0; i < 2; i++) {
			vec n = codes_of(ZW_Q_Q4_K);
			vec low = vec_fma(n, vec_set1(s.d[g]), vec_set1(s.m[g]));
			vec high = vec_fma(n, vec_set1(s.d[g + 1]), vec_set1(s.m[g + 1]));
			veci b = vec_bytes(p + 16 + 16 * g + 16 * i);
			float *to = dst + (4 * g + 2 * i) * step;

			wide_store(to, step, vec_lookup(low, b));
			wide_store(to + 4 * step, step, vec_lookup(high, vec_high_nibbles(b)));
		}
}

VEC_INLINE void wide_dequant(const enum zw_q_format f, float *dst, size_t step,
			     const struct zw_q_row *row, size_t phase, size_t group, size_t n)
{
	const uint8_t *p = row->ptr;

	if (f < ZW_Q_FIRST_RECORD)
		wide_scaled(f, dst, step, row, phase, group, n);
	else if (f == ZW_Q_Q4_K)
		for (size_t c = 0; c < n; c += 256, dst += 32 * step, p += block_bytes(f))
			wide_record256(dst, step, p);
	else
		for (size_t c = 0; c < n; c += 32, dst += 4 * step, p += block_bytes(f))
			wide_record32(f, dst, step, p);
}

#define WIDE_FORMATS(X)                                                                            \
	X(I8)                                                                                      \
	X(I8Z)                                                                                     \
	X(I4)                                                                                      \
	X(I4Z)                                                                                     \
	X(U4)                                                                                      \
	X(U4Z)                                                                                     \
	X(F8E4M3)                                                                                  \
	X(F8E5M2)                                                                                  \
	X(F4E2M1)                                                                                  \
	X(Q4_0)                                                                                    \
	X(Q4_1)                                                                                    \
	X(Q8_0)                                                                                    \
	X(MXFP4)                                                                                   \
	X(Q4_K)
#define OTHER_FORMATS(X)                                                                           \
	X(Q5_0)                                                                                    \
	X(Q5_1)                                                                                    \
	X(Q2_K)                                                                                    \
	X(Q3_K)                                                                                    \
	X(Q5_K)                                                                                    \
	X(Q6_K)

#define WIDE(name)                                                                                 \
	VEC_FN static void dequant_##name(float *dst, size_t step, const struct zw_q_row *row,     \
					  size_t phase, size_t group, size_t n)                    \
	{                                                                                          \
		wide_dequant(ZW_Q_##name, dst, step, row, phase, group, n);                        \
	}
#define OTHER(name)                                                                                \
	static void dequant_##name(float *dst, size_t step, const struct zw_q_row *row,            \
				   size_t phase, size_t group, size_t n)                           \
	{                                                                                          \
		zw_q_avx2.dequant[ZW_Q_##name](dst, step, row, phase, group, n);                   \
	}
WIDE_FORMATS(WIDE)
OTHER_FORMATS(OTHER)

static float wide_absmax(const float *x, size_t n)
{
	return zw_q_avx2.absmax(x, n);
}

#define NARROW(name, to)                                                                           \
	static void narrow_##name##_avx2(void *dst, const float *src, size_t n)                    \
	{                                                                                          \
		zw_q_avx2.narrow[to](dst, src, n);                                                 \
	}
NARROW(i8, ZW_Q_TO_I8)
NARROW(e4m3, ZW_Q_TO_F8E4M3)
NARROW(e5m2, ZW_Q_TO_F8E5M2)

#define DEQUANT(name) [ZW_Q_##name] = dequant_##name,
#ifdef QUANT_DIRECT
#define WIDE_MOST(name) [ZW_Q_##name] = 8,
#else
/* F8 takes the most operations here. */
#define WIDE_MOST(name)                                                                            \
	[ZW_Q_##name] = ZW_Q_##name == ZW_Q_F8E4M3 || ZW_Q_##name == ZW_Q_F8E5M2 ? 4 : 1,
#endif
#define OTHER_MOST(name) [ZW_Q_##name] = ZW_Q_DIRECT_MOST(ZW_Q_##name),

static const struct zw_q_direct *const wide_directs[] = {
#ifdef QUANT_DIRECT
	&QUANT_DIRECT[0],     &QUANT_DIRECT[1],     &QUANT_DIRECT[2], &QUANT_DIRECT[3],
#endif
	&zw_q_direct_avx2[0], &zw_q_direct_avx2[1],
};

const struct zw_q_prim QUANT_NAME = {
	.absmax = wide_absmax,
	.narrow = {narrow_i8_avx2, narrow_e4m3_avx2, narrow_e5m2_avx2},
	.dequant = {ZW_Q_FORMATS(DEQUANT)},
	.direct = wide_directs,
	.directs = sizeof(wide_directs) / sizeof(wide_directs[0]),
#ifdef QUANT_DIRECT
	.prepare = zw_q_prepare_avx512,
#else
	.prepare = zw_q_prepare_avx2,
	.arrange = zw_q_arrange_avx2,
#endif
	.direct_most = {WIDE_FORMATS(WIDE_MOST) OTHER_FORMATS(OTHER_MOST)},
};
