// SPDX-License-Identifier: MIT
/* Products of I8 with AVX-VNNI. */
#if defined(__x86_64__)
#define I8_NAME            zw_i8_vnni_vex
#define I8_TEXT            "avxvnni"
#define I8_TARGET          "avx2,avxvnni"
#define I8_DPBUSD(s, u, w) _mm256_dpbusd_avx_epi32(s, u, w)
#include "zw_i8_vec.h"
#endif
