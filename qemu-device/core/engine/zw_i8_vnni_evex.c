// SPDX-License-Identifier: MIT
/* Products of I8 with AVX-512 VNNI. */
#if defined(__x86_64__)
#include <immintrin.h>

#define I8_NAME zw_i8_vnni_evex
#define I8_TEXT "avx512vnni"
#define I8_FN   __attribute__((target("avx2,avx512f,avx512vl,avx512vnni")))

typedef __m512i i8_vec;

/* As asm: around the intrinsic GCC 12 copies each sum to another register and back. */
I8_FN __attribute__((always_inline)) static inline __m512i i8_mac(__m512i s, __m512i a, __m512i w)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(a), "v"(w));
	return s;
}

#define i8_zero()    _mm512_setzero_si512()
#define i8_ones()    _mm512_set1_epi8(1)
#define i8_load_a(p) _mm512_loadu_si512(p)
#define i8_load_w(p) _mm512_loadu_si512(p)

I8_FN __attribute__((always_inline)) static inline __m128i i8_fold(__m512i s)
{
	__m256i h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

#define I8_STEP     64
#define I8_COLS     4
#define I8_UNSIGNED 1
#include "zw_i8_vec.h"
#endif
