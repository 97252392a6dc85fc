// SPDX-License-Identifier: MIT
/*
 * The primitives with AVX2, FMA and F16C: one ymm register is the eight lanes of a sum. Only reached
 * after zw_simd_best() has asked the CPU, so the rest of the library stays baseline x86-64.
 */
#if defined(__x86_64__)
#include "zw_vec_8.h"

/*
 * Sixteen registers: twelve sums, and the smaller side of a step with one of the other. In a direct
 * product with few rows of A widening W costs as much as the products, which does not matter: the
 * memory is slower. With four rows it hides behind them.
 */
#define PRIM_NAME    zw_prim_avx2
#define PRIM_QUANT   zw_q_avx2
#define PRIM_BLOCK_K 1024
#define TILE_UNITS   3
#define DIRECT_ROWS  4
#define DIRECT_TABLE(X)                                                                            \
	X(2, 4)                                                                                    \
	X(3, 3)                                                                                    \
	X(4, 3)
#define WEIGH_ROWS    3
#define WEIGH_VECS(r) ((r) == 1 ? 8 : (r) == 4 ? 2 : 4)

#include "zw_prim_vec.h"
#endif
