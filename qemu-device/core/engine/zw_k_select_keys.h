/* SPDX-License-Identifier: MIT */
/* What the kernels that choose keys for attention share. */
#ifndef ZW_K_SELECT_KEYS_H
#define ZW_K_SELECT_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "zw_pool.h"

/* Words of scratch of zw_select_best(). */
#define ZW_SELECT_SCRATCH (1u << 16)

/*
 * Sets mark[i] for the k best of n numbers: greater ones first, equal ones by ascending index, NaNs
 * last. k <= n. hist: ZW_SELECT_SCRATCH words. 0, or -ECANCELED.
 */
int zw_select_best(const struct zw_pool *pool, const float *v, uint32_t n, uint32_t k,
		   uint8_t *mark, uint32_t *hist);

#endif
