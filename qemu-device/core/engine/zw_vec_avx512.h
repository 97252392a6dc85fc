/* SPDX-License-Identifier: MIT */
/*
 * The level's vector is one sixteen-lane register (AVX-512 F, BW, VL): zw_vec_8.h's functions, twice
 * as wide. This file is all of the level that a CPU without AVX-512 cannot execute; the primitives
 * over it are also compiled over a pair of eight-lane registers, and tested so.
 */
#ifndef ZW_VEC_AVX512_H
#define ZW_VEC_AVX512_H

#define VEC_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512vl"
#include "zw_vec_avx2.h"

#define VEC_LANES 16

typedef __m512 vec;

VEC_INLINE __mmask16 vec_mask(size_t n)
{
	return (__mmask16)((1u << n) - 1u);
}

VEC_INLINE vec vec_widen(__m256i bf16)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}

VEC_INLINE __m256i vec_narrow(vec v)
{
	__m512i u = _mm512_castps_si512(v);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
	__m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
	__mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);

	r = _mm512_mask_mov_epi32(_mm512_srli_epi32(r, 16), nan, _mm512_set1_epi32(ZW_BF16_NAN));
	return _mm512_cvtepi32_epi16(r);
}

VEC_INLINE vec vec_pair(v8 lo, v8 hi)
{
	return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castps_pd(_mm512_castps256_ps512(lo)),
						   _mm256_castps_pd(hi), 1));
}

VEC_INLINE vec vec_join_bf16(const void *const *p, size_t i)
{
	__m128i lo = _mm_loadu_si128((const __m128i *)((const uint16_t *)p[0] + i));
	__m128i hi = _mm_loadu_si128((const __m128i *)((const uint16_t *)p[1] + i));

	return vec_widen(_mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1));
}

VEC_INLINE vec vec_join_f16(const void *const *p, size_t i)
{
	return vec_pair(v8_load_f16((const uint16_t *)p[0] + i),
			v8_load_f16((const uint16_t *)p[1] + i));
}

VEC_INLINE __m256i vec_narrow_f16(vec v)
{
	__mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);

	return _mm256_mask_mov_epi16(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT), nan,
				     _mm256_set1_epi16(ZW_F16_NAN));
}

VEC_INLINE vec vec_repeat_bf16(const uint16_t *p)
{
	__m512i four = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
	__m256i place = _mm256_setr_epi8(V8_WIDEN_LO, V8_WIDEN_HI);

	return _mm512_castsi512_ps(_mm512_shuffle_epi8(four, _mm512_broadcast_i64x4(place)));
}

/* Integers, one a lane. */
typedef __m512i veci;

/* Sixteen bytes, widened. */
VEC_INLINE veci vec_bytes(const uint8_t *p)
{
	return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

VEC_INLINE veci vec_high_nibbles(veci bytes)
{
	return _mm512_srli_epi32(bytes, 4);
}

/* Of eight bytes the low and the high nibble in turns; of what is above bit 3 nothing is said. */
VEC_INLINE veci vec_nibbles(const uint8_t *p)
{
	const __m512i place = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
	const __m512i shift = _mm512_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4);
	long long eight;

	memcpy(&eight, p, sizeof(eight));
	return _mm512_srlv_epi32(_mm512_shuffle_epi8(_mm512_set1_epi64(eight), place), shift);
}

/* Lane i of the result is lane index[i] mod 16 of the table. */
VEC_INLINE vec vec_lookup(vec table, veci index)
{
	return _mm512_permutexvar_ps(index, table);
}

VEC_INLINE vec vec_load_i8(const uint8_t *p)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* Sixteen F16. */
VEC_INLINE vec vec_halves(__m256i h)
{
	return _mm512_cvtph_ps(h);
}

VEC_INLINE vec vec_times_exp2(vec p, vec t, vec magic)
{
	const __m512i bias = _mm512_set1_epi32(127);
	__m512i i = _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_castps_si512(magic));
	__m512i lo = _mm512_srai_epi32(i, 1), hi = _mm512_sub_epi32(i, lo);

	lo = _mm512_slli_epi32(_mm512_add_epi32(lo, bias), 23);
	hi = _mm512_slli_epi32(_mm512_add_epi32(hi, bias), 23);
	p = _mm512_mul_ps(p, _mm512_castsi512_ps(lo));
	return _mm512_mul_ps(p, _mm512_castsi512_ps(hi));
}

VEC_INLINE v8 vec_group(vec v, unsigned int group)
{
	return group ? _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1))
		     : _mm512_castps512_ps256(v);
}

/* The groups to places of their own. The upper one goes to memory as it is; compilers move it first. */
VEC_INLINE void vec_scatter(float *first, float *second, vec v)
{
	typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));

	v8_store(first, vec_group(v, 0));
	__asm__("vextractf64x4 $1, %1, %0" : "=m"(*(eight *)second) : "v"(v));
}

VEC_INLINE vec vec_canon(vec v)
{
	__mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);

	return _mm512_mask_mov_ps(v, nan, _mm512_castsi512_ps(_mm512_set1_epi32(ZW_F32_NAN)));
}

#define vec_zero()                _mm512_setzero_ps()
#define vec_set1(x)               _mm512_set1_ps(x)
#define vec_load(p)               _mm512_loadu_ps(p)
#define vec_load_n(p, n)          _mm512_maskz_loadu_ps(vec_mask(n), p)
#define vec_load_bf16(p)          vec_widen(_mm256_loadu_si256((const __m256i *)(p)))
#define vec_load_bf16_n(p, n)     vec_widen(_mm256_maskz_loadu_epi16(vec_mask(n), p))
#define vec_load_f16(p)           _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define vec_load_f16_n(p, n)      _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vec_mask(n), p))
#define vec_store(p, v)           _mm512_storeu_ps(p, v)
#define vec_store_n(p, v, n)      _mm512_mask_storeu_ps(p, vec_mask(n), v)
#define vec_store_bf16(p, v)      _mm256_storeu_si256((__m256i *)(p), vec_narrow(v))
#define vec_store_bf16_n(p, v, n) _mm256_mask_storeu_epi16(p, vec_mask(n), vec_narrow(v))
#define vec_store_f16(p, v)       _mm256_storeu_si256((__m256i *)(p), vec_narrow_f16(v))
#define vec_store_f16_n(p, v, n)  _mm256_mask_storeu_epi16(p, vec_mask(n), vec_narrow_f16(v))
#define vec_add(a, b)             _mm512_add_ps(a, b)
#define vec_sub(a, b)             _mm512_sub_ps(a, b)
#define vec_mul(a, b)             _mm512_mul_ps(a, b)
#define vec_div(a, b)             _mm512_div_ps(a, b)
#define vec_fma(a, b, c)          _mm512_fmadd_ps(a, b, c)
#define vec_fms(a, b, c)          _mm512_fmsub_ps(a, b, c)
#define vec_min(a, b)             _mm512_min_ps(a, b)
#define vec_max(a, b)             _mm512_max_ps(a, b)
#define vec_neg(a)                                                                                 \
	_mm512_castsi512_ps(                                                                       \
		_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0x80000000u)))
#define vec_first_n(v, fill, n) _mm512_mask_mov_ps(fill, vec_mask(n), v)
#define vec_repeat(p)           vec_repeat_v8(v8_load(p))
#define vec_repeat_f16(p)       vec_repeat_v8(v8_load_f16(p))
#define vec_repeat_v8(v)        _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(v)))
#define vec_join(p, i)                                                                             \
	vec_pair(v8_load((const float *)(p)[0] + (i)), v8_load((const float *)(p)[1] + (i)))
#define vec_join_v8(v)           vec_pair((v)[0], (v)[1])
#define vec_keep(v)              __asm__("" : "+v"(v))
#define vec_fma_tight(a, b, c)   __asm__("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b))
/* Registers enough. */
#define vec_load_bf16_tight(p)   vec_load_bf16(p)
#define vec_repeat_bf16_tight(p) vec_repeat_bf16(p)

#endif
