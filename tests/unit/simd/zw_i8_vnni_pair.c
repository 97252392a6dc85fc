// SPDX-License-Identifier: MIT
/* The source of the products with AVX-512 VNNI over pairs of AVX2 registers, likewise. */
#if defined(__x86_64__)
#include "zw_i8_dpbusd.h"
#include "zw_k_i8.h"

extern const struct zw_i8 zw_i8_vnni_pair;

#define I8_NAME   zw_i8_vnni_pair
#define I8_TEXT   "avx512vnni source over avx2"
#define I8_FN     __attribute__((target("avx2")))
#define I8_INLINE I8_FN __attribute__((always_inline)) static inline

typedef struct {
	__m256i v[2];
} i8_vec;

I8_INLINE i8_vec i8_zero(void)
{
	return (i8_vec){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
}

I8_INLINE i8_vec i8_ones(void)
{
	return (i8_vec){{_mm256_set1_epi8(1), _mm256_set1_epi8(1)}};
}

I8_INLINE i8_vec i8_load(const void *p)
{
	const __m256i *at = p;

	return (i8_vec){{_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)}};
}

I8_INLINE i8_vec i8_mac(i8_vec s, i8_vec a, i8_vec w)
{
	return (i8_vec){{dpbusd(s.v[0], a.v[0], w.v[0]), dpbusd(s.v[1], a.v[1], w.v[1])}};
}

I8_INLINE __m128i i8_fold(i8_vec s)
{
	__m256i h = _mm256_add_epi32(s.v[0], s.v[1]);

	return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}
#undef I8_INLINE

#define i8_load_a(p) i8_load(p)
#define i8_load_w(p) i8_load(p)
#define I8_STEP      64
#define I8_COLS      4
#define I8_UNSIGNED  1
#include "zw_i8_vec.h"
#endif
