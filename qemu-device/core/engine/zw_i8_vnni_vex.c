// SPDX-License-Identifier: MIT
/* Products of I8 with AVX-VNNI. */
#if defined(__x86_64__)
#include <immintrin.h>

#define I8_NAME zw_i8_vnni_vex
#define I8_TEXT "avxvnni"
#define I8_FN   __attribute__((target("avx2,avxvnni")))

/* As asm, as in zw_i8_vnni_evex.c. */
I8_FN __attribute__((always_inline)) static inline __m256i dpbusd(__m256i s, __m256i a, __m256i w)
{
	__asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(s) : "x"(a), "x"(w));
	return s;
}

#define I8_DPBUSD(s, a, w) dpbusd(s, a, w)
#include "zw_i8_vec_256.h"

#include "zw_i8_vec.h"
#endif
