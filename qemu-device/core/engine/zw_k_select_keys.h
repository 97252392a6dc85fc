/* SPDX-License-Identifier: MIT */
/* What the kernels that choose keys for attention share. */
#ifndef ZW_K_SELECT_KEYS_H
#define ZW_K_SELECT_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "zw_k_check.h"
#include "zw_kernels.h"
#include "zw_pool.h"

/* Queries of rows: for the nearest keys, for those further away, and for the furthest. */
#define ZW_SELECT_QUERIES 3u
struct zw_select_queries {
	struct zw_k_view q[ZW_SELECT_QUERIES];
	const int32_t *end[ZW_SELECT_QUERIES]; /* of each row: NULL: there are none; [0]: NULL */
};

/* 0, -EINVAL or -EOPNOTSUPP. */
int zw_select_queries(struct zw_select_queries *s, const struct zw_k_in *q,
		      const struct zw_k_further *mid, const struct zw_k_further *far, uint32_t rows,
		      uint32_t heads, uint32_t d);

/* Which of them a row compares with the key of a position. */
static inline unsigned int zw_select_which(const struct zw_select_queries *s, uint32_t row,
					   uint32_t pos)
{
	unsigned int i = ZW_SELECT_QUERIES - 1;

	while (i && !(s->end[i] && pos < (uint32_t)s->end[i][row]))
		i--;
	return i;
}

/* Words of scratch of zw_select_best(). */
#define ZW_SELECT_SCRATCH (1u << 16)

/*
 * Sets mark[i] for the k best of n numbers: greater ones first, equal ones by ascending index, NaNs
 * last. k <= n. hist: ZW_SELECT_SCRATCH words. 0, or -ECANCELED.
 */
int zw_select_best(const struct zw_pool *pool, const float *v, uint32_t n, uint32_t k,
		   uint8_t *mark, uint32_t *hist);

#endif
