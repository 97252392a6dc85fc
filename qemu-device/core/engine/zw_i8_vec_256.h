/* SPDX-License-Identifier: MIT */
/* Vectors of 256 bits for zw_i8_vec.h, for bytes without sign. The includer defines I8_FN, I8_DPBUSD(s, a, w). */
#include <immintrin.h>

#define I8_STEP     32
#define I8_COLS     2
#define I8_UNSIGNED 1

typedef __m256i i8_vec;

#define i8_zero()       _mm256_setzero_si256()
#define i8_ones()       _mm256_set1_epi8(1)
#define i8_load_a(p)    _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define i8_load_w(p)    _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define i8_mac(s, a, w) I8_DPBUSD(s, a, w)
#define i8_fold(s)      _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1))
