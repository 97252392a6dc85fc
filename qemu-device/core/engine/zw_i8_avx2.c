// SPDX-License-Identifier: MIT
/* Products of I8 with AVX2. */
#if defined(__x86_64__)
#define I8_NAME   zw_i8_avx2
#define I8_TEXT   "avx2"
#define I8_TARGET "avx2"
#include "zw_i8_vec.h"
#endif
