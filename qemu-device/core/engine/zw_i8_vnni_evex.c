// SPDX-License-Identifier: MIT
/* Products of I8 with AVX-512 VNNI, on vectors of 256 bits. */
#if defined(__x86_64__)
#define I8_NAME            zw_i8_vnni_evex
#define I8_TEXT            "avx512vnni"
#define I8_TARGET          "avx2,avx512f,avx512vl,avx512vnni"
#define I8_DPBUSD(s, u, w) _mm256_dpbusd_epi32(s, u, w)
#include "zw_i8_vec.h"
#endif
