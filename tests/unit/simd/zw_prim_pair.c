// SPDX-License-Identifier: MIT
/*
 * The source of the AVX-512 primitives, compiled over pairs of AVX2 registers: what the tests run in
 * its place on a CPU without AVX-512.
 */
#if defined(__x86_64__)
#include "zw_vec_pair.h"

#include "zw_prim_wide.h"

extern const struct zw_prim zw_prim_pair;
extern const struct zw_q_prim zw_q_pair;
#define PRIM_NAME  zw_prim_pair
#define PRIM_QUANT zw_q_pair
#include "zw_prim_vec.h"
#endif
