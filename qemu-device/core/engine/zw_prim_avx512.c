// SPDX-License-Identifier: MIT
/*
 * The primitives with AVX-512 (F, BW, VL): one zmm register is the eight lanes of two sums. Only
 * reached after zw_simd_best() has asked the CPU.
 */
#if defined(__x86_64__)
#include "zw_vec_avx512.h"

#include "zw_prim_wide.h"

#define PRIM_NAME  zw_prim_avx512
#define PRIM_QUANT zw_q_avx512
#include "zw_prim_vec.h"
#endif
