// SPDX-License-Identifier: MIT
/* Products of I8 with AVX2: of 16 bits, which are added in pairs. */
#if defined(__x86_64__)
#include <immintrin.h>

#define I8_NAME     zw_i8_avx2
#define I8_TEXT     "avx2"
#define I8_FN       __attribute__((target("avx2")))
#define I8_STEP     16
#define I8_COLS     2
#define I8_UNSIGNED 0

typedef __m256i i8_vec;

#define i8_zero()       _mm256_setzero_si256()
#define i8_load_a(p)    _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define i8_load_w(p)    _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define i8_mac(s, a, w) _mm256_add_epi32(s, _mm256_madd_epi16(a, w))
#define i8_fold(s)      _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1))
#include "zw_i8_vec.h"
#endif
