/* SPDX-License-Identifier: MIT */
/*
 * Sixteen lanes as a pair of AVX2 registers, with the functions of zw_vec_avx512.h: so the
 * primitives' sixteen-lane form runs, tails and all, where there is no AVX-512.
 */
#ifndef ZW_VEC_PAIR_H
#define ZW_VEC_PAIR_H

#include "zw_vec_avx2.h"

#define VEC_LANES 16

typedef struct {
	v8 lo, hi;
} vec;

/* Lanes of a tail in each half. */
#define LO(n) ((n) < 8 ? (n) : 8)
#define HI(n) ((n) < 8 ? 0 : (n)-8)

VEC_INLINE vec vec_pair(v8 lo, v8 hi)
{
	return (vec){lo, hi};
}

VEC_INLINE vec vec_zero(void)
{
	return vec_pair(_mm256_setzero_ps(), _mm256_setzero_ps());
}

VEC_INLINE vec vec_set1(float x)
{
	return vec_pair(_mm256_set1_ps(x), _mm256_set1_ps(x));
}

VEC_INLINE vec vec_load(const float *p)
{
	return vec_pair(v8_load(p), v8_load(p + 8));
}

VEC_INLINE vec vec_load_n(const float *p, size_t n)
{
	return vec_pair(v8_load_n(p, LO(n)), v8_load_n(p + 8, HI(n)));
}

VEC_INLINE vec vec_load_bf16(const uint16_t *p)
{
	return vec_pair(v8_load_bf16(p), v8_load_bf16(p + 8));
}

VEC_INLINE vec vec_load_bf16_n(const uint16_t *p, size_t n)
{
	return vec_pair(v8_load_bf16_n(p, LO(n)), v8_load_bf16_n(p + 8, HI(n)));
}

VEC_INLINE vec vec_load_f16(const uint16_t *p)
{
	return vec_pair(v8_load_f16(p), v8_load_f16(p + 8));
}

VEC_INLINE vec vec_load_f16_n(const uint16_t *p, size_t n)
{
	return vec_pair(v8_load_f16_n(p, LO(n)), v8_load_f16_n(p + 8, HI(n)));
}

VEC_INLINE void vec_store(float *p, vec v)
{
	v8_store(p, v.lo);
	v8_store(p + 8, v.hi);
}

VEC_INLINE void vec_store_n(float *p, vec v, size_t n)
{
	v8_store_n(p, v.lo, LO(n));
	v8_store_n(p + 8, v.hi, HI(n));
}

VEC_INLINE void vec_store_bf16(uint16_t *p, vec v)
{
	v8_store_bf16(p, v.lo);
	v8_store_bf16(p + 8, v.hi);
}

VEC_INLINE void vec_store_bf16_n(uint16_t *p, vec v, size_t n)
{
	v8_store_bf16_n(p, v.lo, LO(n));
	v8_store_bf16_n(p + 8, v.hi, HI(n));
}

VEC_INLINE void vec_store_f16(uint16_t *p, vec v)
{
	v8_store_f16(p, v.lo);
	v8_store_f16(p + 8, v.hi);
}

VEC_INLINE void vec_store_f16_n(uint16_t *p, vec v, size_t n)
{
	v8_store_f16_n(p, v.lo, LO(n));
	v8_store_f16_n(p + 8, v.hi, HI(n));
}

#define PAIR2(name, op)                                                                            \
	VEC_INLINE vec name(vec a, vec b)                                                          \
	{                                                                                          \
		return vec_pair(op(a.lo, b.lo), op(a.hi, b.hi));                                   \
	}
PAIR2(vec_add, _mm256_add_ps)
PAIR2(vec_sub, _mm256_sub_ps)
PAIR2(vec_mul, _mm256_mul_ps)
PAIR2(vec_div, _mm256_div_ps)
PAIR2(vec_min, _mm256_min_ps)
PAIR2(vec_max, _mm256_max_ps)

#define PAIR3(name, op)                                                                            \
	VEC_INLINE vec name(vec a, vec b, vec c)                                                   \
	{                                                                                          \
		return vec_pair(op(a.lo, b.lo, c.lo), op(a.hi, b.hi, c.hi));                       \
	}
PAIR3(vec_fma, _mm256_fmadd_ps)
PAIR3(vec_fms, _mm256_fmsub_ps)
PAIR3(vec_times_exp2, v8_times_exp2)

VEC_INLINE vec vec_neg(vec a)
{
	v8 sign = _mm256_set1_ps(-0.0f);

	return vec_pair(_mm256_xor_ps(a.lo, sign), _mm256_xor_ps(a.hi, sign));
}

VEC_INLINE vec vec_canon(vec a)
{
	return vec_pair(v8_canon(a.lo), v8_canon(a.hi));
}

VEC_INLINE vec vec_first_n(vec v, vec fill, size_t n)
{
	return vec_pair(v8_first_n(v.lo, fill.lo, LO(n)), v8_first_n(v.hi, fill.hi, HI(n)));
}

VEC_INLINE vec vec_repeat_v8(v8 v)
{
	return vec_pair(v, v);
}

VEC_INLINE v8 vec_group(vec v, unsigned int group)
{
	return group ? v.hi : v.lo;
}

typedef struct {
	__m256i lo, hi;
} veci;

VEC_INLINE veci vec_bytes(const uint8_t *p)
{
	return (veci){_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)),
		      _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))};
}

VEC_INLINE veci vec_high_nibbles(veci b)
{
	return (veci){_mm256_srli_epi32(b.lo, 4), _mm256_srli_epi32(b.hi, 4)};
}

VEC_INLINE veci vec_nibbles(const uint8_t *p)
{
	const __m256i shift = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
	int32_t four[2];

	memcpy(four, p, sizeof(four));
	return (veci){_mm256_srlv_epi32(_mm256_set1_epi32(four[0]), shift),
		      _mm256_srlv_epi32(_mm256_set1_epi32(four[1]), shift)};
}

VEC_INLINE v8 lookup_half(vec table, __m256i i)
{
	return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lo, i),
				_mm256_permutevar8x32_ps(table.hi, i),
				_mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}

VEC_INLINE vec vec_lookup(vec table, veci i)
{
	return vec_pair(lookup_half(table, i.lo), lookup_half(table, i.hi));
}

VEC_INLINE v8 half_i8(const uint8_t *p)
{
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

VEC_INLINE vec vec_load_i8(const uint8_t *p)
{
	return vec_pair(half_i8(p), half_i8(p + 8));
}

VEC_INLINE vec vec_halves(__m256i h)
{
	return vec_pair(_mm256_cvtph_ps(_mm256_castsi256_si128(h)),
			_mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)));
}

VEC_INLINE void vec_scatter(float *first, float *second, vec v)
{
	v8_store(first, v.lo);
	v8_store(second, v.hi);
}

#define vec_repeat(p)      vec_repeat_v8(v8_load(p))
#define vec_repeat_bf16(p) vec_repeat_v8(v8_load_bf16(p))
#define vec_join(p, i)                                                                             \
	vec_pair(v8_load((const float *)(p)[0] + (i)), v8_load((const float *)(p)[1] + (i)))
#define vec_join_bf16(p, i)                                                                        \
	vec_pair(v8_load_bf16((const uint16_t *)(p)[0] + (i)),                                     \
		 v8_load_bf16((const uint16_t *)(p)[1] + (i)))
#define vec_repeat_f16(p) vec_repeat_v8(v8_load_f16(p))
#define vec_join_f16(p, i)                                                                         \
	vec_pair(v8_load_f16((const uint16_t *)(p)[0] + (i)),                                      \
		 v8_load_f16((const uint16_t *)(p)[1] + (i)))
#define vec_join_v8(v)           vec_pair((v)[0], (v)[1])
#define vec_keep(v)              ((void)(v))
#define vec_fma_tight(a, b, c)   ((c) = vec_fma(a, b, c))
/* Registers enough. */
#define vec_load_bf16_tight(p)   vec_load_bf16(p)
#define vec_repeat_bf16_tight(p) vec_repeat_bf16(p)

#endif
