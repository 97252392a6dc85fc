/* SPDX-License-Identifier: MIT */
/* Attention, between its plan (zw_k_attn.c) and the work on one part of it (zw_k_attn_part.c). */
#ifndef ZW_K_ATTN_H
#define ZW_K_ATTN_H

#include <stdatomic.h>

#include "zw_k_check.h"
#include "zw_k_kv.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"

/*
 * Part of the numerics: a segment of so many positions has a softmax of its own, whose running
 * maximum moves on after each block of keys.
 */
#define KEY_BLOCK 64u
#define SEGMENT   512u

/*
 * Query rows (tokens x heads of a group) of one KV head: many in a tile of widened keys, or so few
 * that keys and values are better read where they lie.
 */
#define WIDE_ROWS 144u
#define FEW_ROWS  8u

/*
 * Rows that are attended together, and their keys. Keys have places, in which segments and blocks are
 * counted: without a list the place of a key is its position. With a list the keys of its blocks
 * have the places from 0 on, in order, and its columns those from the next segment on.
 */
struct attn_rows {
	const struct zw_k_kv_seq *seq;
	const struct zw_k_attn_list *list; /* NULL: all positions */
	uint32_t q_first, q_count;
	uint32_t group;         /* query heads of a KV head whose rows are taken together */
	uint32_t head, n_heads; /* KV heads */
	uint32_t column_seg;    /* first segment of the columns */
};

/* Sums of one head group of one sequence whose segments are computed by different tasks. */
struct attn_unit {
	float *sums; /* [segment][head, row]: m, l, acc */
	uint32_t first_seg, n_segs;
	atomic_uint done; /* segments */
};

struct attn_task {
	struct attn_unit *unit;         /* NULL: the task has all segments */
	uint64_t r0;                    /* row r is query r / group, head r % group of the group */
	uint32_t of, head, heads, rows; /* of: the struct attn_rows */
	uint32_t seg, n_segs;
};

struct attn_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	const struct zw_k_attn_args *args;
	struct zw_kv kv;
	struct zw_k_view q, out;
	uint32_t group; /* query heads per KV head */
	size_t pd;      /* padded d */
	struct attn_rows *sets;
	uint64_t n_sets;
	int32_t *start; /* checked, of every row; NULL: all 0 */
	struct attn_task *tasks;
	uint64_t n_tasks;
	struct attn_unit *units;
	float *sums;
};

/* Floats of the sums of one query head: m, l, acc. */
static inline size_t attn_sums(const struct attn_job *job)
{
	return job->pd + 2;
}

/*
 * The places [lo, hi) that a row (token) sees: part 0 of the positions or listed blocks, part 1 of the
 * listed columns. Empty: lo = hi = 0.
 */
void zw_attn_range(const struct attn_job *job, const struct attn_rows *set, uint64_t token,
		   unsigned int part, uint32_t *lo, uint32_t *hi);

/* One task of the pool. */
int zw_attn_task(void *arg, uint64_t task, unsigned int slot);

#endif
