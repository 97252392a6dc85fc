// SPDX-License-Identifier: MIT
/* The source of quantised weights with AVX-512 over pairs of AVX2 registers, likewise. */
#if defined(__x86_64__)
#include "zw_vec_pair.h"

#include "zw_k_quant.h"

extern const struct zw_q_prim zw_q_pair;
#define QUANT_NAME zw_q_pair
#include "zw_quant_wide.h"
#endif
