// SPDX-License-Identifier: MIT
/* Quantised weights to memory, and quantised activations, with AVX2, FMA and F16C; the AVX-512 level uses them too. */
#if defined(__x86_64__)
#include "zw_quant_vec.h"

/* --- rows to memory --- */

VEC_INLINE void store_step(float *dst, size_t step, const v8 w[4], size_t n)
{
	for (size_t i = 0; i < 4 && 8 * i < n; i++)
		v8_store(dst + i * step, w[i]);
}

VEC_INLINE void dequant(const enum zw_q_format f, float *dst, size_t step,
			const struct zw_q_row *row, size_t phase, size_t group, size_t n)
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
				store_step(dst + (c / 8 + 4 * u) * step, step, w, 32);
			}
		}
	} else if (f >= ZW_Q_FIRST_RECORD) {
		for (size_t c = 0; c < n; c += ZW_Q_STEP) {
			record32(w, f, row->ptr + c / ZW_Q_STEP * block_bytes(f));
			store_step(dst + c / 8 * step, step, w, ZW_Q_STEP);
		}
	} else {
		for (size_t c = 0; c < n; c += ZW_Q_STEP, groups_next(&at)) {
			size_t left = n - c < ZW_Q_STEP ? n - c : ZW_Q_STEP;

			scaled_step(w, f, row, c, left, &at);
			store_step(dst + c / 8 * step, step, w, left);
		}
	}
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

#define FORMAT(name)                                                                               \
	VEC_FN static void dequant_##name(float *dst, size_t step, const struct zw_q_row *row,     \
					  size_t phase, size_t group, size_t n)                    \
	{                                                                                          \
		if (ZW_Q_##name >= ZW_Q_FIRST_RECORD || zw_q_direct_group(group, phase + n))       \
			dequant(ZW_Q_##name, dst, step, row, phase, group, n);                     \
		else                                                                               \
			zw_q_scalar.dequant[ZW_Q_##name](dst, step, row, phase, group, n);         \
	}
ZW_Q_FORMATS(FORMAT)

#define DEQUANT(name) [ZW_Q_##name] = dequant_##name,
#define MOST(name)    [ZW_Q_##name] = ZW_Q_DIRECT_MOST(ZW_Q_##name),

static const struct zw_q_direct *const directs[] = {&zw_q_direct_avx2[0], &zw_q_direct_avx2[1]};

const struct zw_q_prim zw_q_avx2 = {
	.absmax = absmax,
	.narrow = {narrow_i8, narrow_e4m3, narrow_e5m2},
	.dequant = {ZW_Q_FORMATS(DEQUANT)},
	.prepare = zw_q_prepare_avx2,
	.arrange = zw_q_arrange_avx2,
	.direct = directs,
	.directs = 2,
	.direct_most = {ZW_Q_FORMATS(MOST)},
};
#endif
