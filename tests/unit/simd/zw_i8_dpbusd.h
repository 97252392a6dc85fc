/* SPDX-License-Identifier: MIT */
/* The instruction of VNNI written out, for the tests on a CPU without. */
#ifndef ZW_I8_DPBUSD_H
#define ZW_I8_DPBUSD_H

#include <immintrin.h>

/* s + the sums of four products each of unsigned u and signed w, exact. */
__attribute__((target("avx2"), always_inline)) static inline __m256i dpbusd(__m256i s, __m256i u,
									    __m256i w)
{
	__m256i sum[2];

	for (int half = 0; half < 2; half++) {
		__m128i uh = half ? _mm256_extracti128_si256(u, 1) : _mm256_castsi256_si128(u);
		__m128i wh = half ? _mm256_extracti128_si256(w, 1) : _mm256_castsi256_si128(w);

		sum[half] = _mm256_madd_epi16(_mm256_cvtepu8_epi16(uh), _mm256_cvtepi8_epi16(wh));
	}
	/* Pairs of pairs, in order. */
	return _mm256_add_epi32(s,
				_mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[0], sum[1]), 0xd8));
}

#endif
