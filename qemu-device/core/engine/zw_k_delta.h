/* SPDX-License-Identifier: MIT */
/*
 * Inside of the gated delta rule.
 *
 *	zw_k_delta.c        arguments, tasks, states, row by row
 *	zw_k_delta_chunk.c  many rows at once
 */
#ifndef ZW_K_DELTA_H
#define ZW_K_DELTA_H

#include "zhenwu/zw_cmd.h"
#include "zw_k_check.h"

struct zw_delta_job {
	const struct zw_k_delta_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view q, k, v, a, b, a_log, dt_bias, y;
	uint32_t group; /* value heads of a task, all of one key head */
};

/* Value heads that share what is made of their keys at most: each has its state in scratch. */
#define ZW_DELTA_GROUP 4u

/* One value head of one run, and what it has in scratch. */
struct zw_delta_part {
	const struct zw_delta_job *job;
	uint32_t head, d, e;
	size_t pad;  /* floats from one key to the next */
	float decay; /* -exp(a_log) */
	float dt_bias;
	float *k, *q; /* of the rows that are loaded, [rows, pad] each, one behind the other */
	float alpha[ZW_DELTA_CHUNK], beta[ZW_DELTA_CHUNK];
	/*
	 * The state [d, e] in blocks of `width` columns, each [d, width] and dense: rows of a whole state are
	 * a power of two apart and would fight for a few sets of the first-level cache.
	 */
	uint32_t width;
	float *s;
};

/* Columns first.., a multiple of the width, of the state. */
static inline float *zw_delta_block(const struct zw_delta_part *p, uint32_t first)
{
	return p->s + (size_t)first * p->d;
}

static inline uint32_t zw_delta_cols(const struct zw_delta_part *p, uint32_t first)
{
	return p->e - first < p->width ? p->e - first : p->width;
}

/* Of n rows, row `row` on: keys and queries; decays and gates. */
void zw_delta_load_keys(struct zw_delta_part *p, uint64_t row, uint32_t n);
void zw_delta_load_gates(struct zw_delta_part *p, uint64_t row, uint32_t n);
/* Columns first.. of values of a row into v; of results out of it. */
void zw_delta_get_v(const struct zw_delta_part *p, uint64_t row, uint32_t first, float *v);
void zw_delta_put_y(const struct zw_delta_part *p, uint64_t row, uint32_t first, const float *v);
/* The state behind a row, if it goes anywhere; s: a block of it. */
void zw_delta_keep(const struct zw_delta_part *p, uint64_t row, uint32_t first, const float *s);

/*
 * Rows row.., n of them, at most ZW_DELTA_CHUNK, in the chunked form, for the heads of a group; k is the same
 * memory in all of them. 0 or -ECANCELED.
 */
int zw_delta_chunk(struct zw_delta_part *p, uint32_t group, float *scratch, uint64_t row,
		   uint32_t n);
size_t zw_delta_chunk_floats(uint32_t d, uint32_t e, uint32_t width);

#endif
