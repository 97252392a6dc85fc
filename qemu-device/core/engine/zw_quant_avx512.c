// SPDX-License-Identifier: MIT
/* Quantised weights to memory with AVX-512 (F, BW, VL), and what the level consists of. */
#if defined(__x86_64__)
#include "zw_vec_avx512.h"

#define QUANT_NAME   zw_q_avx512
#define QUANT_DIRECT zw_q_direct_avx512
#include "zw_quant_wide.h"
#endif
