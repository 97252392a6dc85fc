// SPDX-License-Identifier: MIT
/*
 * Products with the matrices of experts. The pairs of a row and an expert are sorted by expert; each
 * expert that was hit is then one matrix product, whose rows of A are gathered and whose rows of C are
 * scattered by the list of its pairs. The tasks of all of them are run together.
 *
 * Every output is the dot product of the specification, so who shares an expert with whom makes no
 * difference. The weighted sum over the experts of a row comes after the products, from memory, in the
 * order in which the row names them. For that the columns are taken in passes that bound this memory;
 * every row of W is read in one of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zhenwu/zw_types.h"
#include "zw_k_gemm.h"

/* Floats of the products of a pass that wait for their sum. At least eight columns of the most pairs. */
#define SUM_FLOATS (8u << 20)
/* Columns of a row that are summed at a time. */
#define SUM_COLS   256u
/* Elements of products in a task of sums: some ten microseconds of work. */
#define SUM_TASK   16384u

struct experts_job {
	const struct zw_k_experts_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	bool scatter;
	struct zw_k_view a, c, residual, weights;
	uint32_t n_pairs;
	uint32_t *pairs; /* by expert, then in their own order */
	uint32_t *start; /* [experts + 1]: where those of an expert begin */

	/* a pass: columns [first, first + cols) */
	uint32_t first, cols;
	float *sums;               /* scatter: products [pairs, cols] */
	const float *ones;         /* weights of a row that has none */
	struct gemm_job *products; /* one for each part that has pairs and columns of the pass */
	uint64_t n_products;
	uint64_t packed[ZW_POOL_MAX_WORKERS];
	uint32_t rows_task; /* rows in a task of sums */
};

/* --- pairs by expert --- */

static int sort_pairs(struct experts_job *job)
{
	const struct zw_k_experts_args *p = job->args;
	int32_t *ids;
	uint32_t at = 0;
	int err = zw_index_copy(&ids, p->ids, job->n_pairs, 0, p->experts, p->fault);

	if (err)
		return err;
	job->pairs = malloc(job->n_pairs * sizeof(*job->pairs));
	job->start = calloc(p->experts + 1ull, sizeof(*job->start));
	if (!job->pairs || !job->start) {
		free(ids);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < job->n_pairs; i++)
		job->start[ids[i]]++;
	for (uint32_t e = 0; e <= p->experts; e++) {
		uint32_t n = job->start[e];

		job->start[e] = at;
		at += n;
	}
	for (uint32_t i = 0; i < job->n_pairs; i++)
		job->pairs[job->start[ids[i]]++] = i;
	/* Each start has become the next one's. */
	memmove(job->start + 1, job->start, p->experts * sizeof(*job->start));
	job->start[0] = 0;
	free(ids);
	return 0;
}

static uint32_t pairs_of(const struct experts_job *job, uint32_t expert)
{
	return job->start[expert + 1] - job->start[expert];
}

/* --- arguments --- */

/* Rows [from, to) of the expert's matrix, all of them in the part, as W of a product. */
static int part_view(const struct experts_job *job, const struct zw_k_expert_part *part,
		     uint32_t from, uint32_t to, struct gemm_job *g)
{
	struct zw_k_in in = {.ptr = part->ptr, .dtype = job->args->w_dtype, .ld = job->args->w_ld};
	struct zw_k_quant quant = job->args->quant;
	int err;

	quant.scale.ptr = part->scale;
	quant.zero.ptr = part->zero;
	quant.scale2 = quant.scale2 ? quant.scale2 + part->expert : NULL;
	quant.row0 = from;
	g->n = part->count;
	g->k = job->args->k;
	err = zw_gemm_w_view(g, &in, &quant);
	if (!err)
		err = zw_gemm_a_view(g, &job->args->a, &job->args->a_scale, job->args->rows,
				     job->scatter ? job->args->per_row : 1);
	g->n = to - from;
	g->w.ptr += g->w.ptr ? (from - part->first) * g->w.ld : 0;
	return err;
}

/* Whether the parts are in order and those of every expert that was hit are whole. */
static int check_parts(const struct experts_job *job)
{
	const struct zw_k_experts_args *p = job->args;
	uint64_t i = 0;

	for (uint32_t e = 0; e < p->experts; e++) {
		uint64_t next = 0;
		bool hit = pairs_of(job, e);

		for (; i < p->n_parts && p->parts[i].expert == e; i++) {
			const struct zw_k_expert_part *part = &p->parts[i];
			struct gemm_job g = {.m = 0};
			int err;

			if (!hit)
				continue;
			if (part->first != next)
				return -EINVAL;
			next += part->count;
			err = part_view(job, part, part->first, part->first + part->count, &g);
			if (!err)
				err = zw_k_view_conflict(&job->c, &g.w, false);
			if (err)
				return err;
		}
		if (hit && next != p->n)
			return -EINVAL;
	}
	return i == p->n_parts ? 0 : -EINVAL;
}

static int check(struct experts_job *job)
{
	const struct zw_k_experts_args *p = job->args;
	uint32_t heads_a = job->scatter ? p->per_row : 1, heads_c = job->scatter ? 1 : p->per_row;
	struct zw_k_in weights = {.ptr = p->weights, .dtype = ZW_DTYPE_F32, .ld = p->weights_ld};
	enum zw_store st;
	int err;

	if (p->flags & ~ZW_K_EXPERTS_SCATTER ||
	    (zw_store_of(p->w_dtype, &st) && !zw_dtype_block_elements(p->w_dtype)))
		return -EOPNOTSUPP;
	if (!p->per_row || p->per_row > ZW_K_EXPERTS_MAX_PER_ROW ||
	    (uint64_t)p->rows * p->per_row > ZW_K_EXPERTS_MAX_PAIRS || (p->rows && !p->ids) ||
	    (!job->scatter && (p->weights || p->residual.ptr)))
		return -EINVAL;
	err = zw_store_of(p->a.dtype, &st)
		      ? zw_k_view_bytes_in(&job->a, &p->a, p->rows, heads_a, p->k)
		      : zw_k_view_in(&job->a, &p->a, p->rows, heads_a, p->k);
	if (!err)
		err = zw_k_view_out(&job->c, &p->c, p->rows, heads_c, p->n);
	if (!err && p->residual.ptr)
		err = zw_k_view_in(&job->residual, &p->residual, p->rows, 1, p->n);
	if (!err && p->weights)
		err = zw_k_view_in(&job->weights, &weights, p->rows, 1, p->per_row);
	if (!err)
		err = zw_k_view_conflict(&job->c, &job->a, false);
	if (!err)
		err = zw_k_view_conflict(&job->c, &job->residual, true);
	if (!err)
		err = zw_k_view_conflict(&job->c, &job->weights, false);
	return err;
}

/* --- a pass --- */

/* The products of a pass, planned; the number of their tasks. */
static uint64_t plan_products(struct experts_job *job, bool small)
{
	const struct zw_k_experts_args *p = job->args;
	uint64_t tasks = 0;

	job->n_products = 0;
	memset(job->packed, 0, sizeof(job->packed));
	for (uint64_t i = 0; i < p->n_parts; i++) {
		const struct zw_k_expert_part *part = &p->parts[i];
		uint32_t end = part->first + part->count, from = job->first, to = from + job->cols;
		struct gemm_job *g = &job->products[job->n_products];

		from = from > part->first ? from : part->first;
		to = to < end ? to : end;
		if (!pairs_of(job, part->expert) || from >= to)
			continue;
		*g = (struct gemm_job){
			.prim = job->prim,
			.pool = job->pool,
			.m = pairs_of(job, part->expert),
			.pairs = job->pairs + job->start[part->expert],
			.per_row = p->per_row,
			.packed = job->packed,
			.first_task = tasks,
		};
		part_view(job, part, from, to, g);
		if (job->scatter) {
			g->c.st = ZW_ST_F32;
			g->c.size = sizeof(float);
			g->c.hs = job->cols * sizeof(float);
			g->c.ld = p->per_row * g->c.hs;
			g->c.ptr = (char *)(job->sums + (from - job->first));
		} else {
			g->c = job->c;
			g->c.ptr += (uint64_t)from * g->c.size;
		}
		tasks += zw_gemm_plan(g, small);
		job->n_products++;
	}
	return tasks;
}

static int product_task(void *arg, uint64_t task, unsigned int slot)
{
	struct experts_job *job = arg;
	uint64_t lo = 0, hi = job->n_products;

	/* The last one that begins at or before the task. */
	while (hi - lo > 1) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (job->products[mid].first_task <= task)
			lo = mid;
		else
			hi = mid;
	}
	return zw_gemm_task(&job->products[lo], task - job->products[lo].first_task, slot);
}

/* The weighted sum of a row's products. */
static void sum_row(const struct experts_job *job, uint32_t row)
{
	uint32_t per_row = job->args->per_row;
	const float *from = job->sums + (uint64_t)row * per_row * job->cols;
	const float *weights = job->ones;
	float acc[SUM_COLS];

	if (job->args->weights)
		weights = (const float *)(const void *)zw_k_view_at(&job->weights, row, 0);
	for (uint32_t c = 0; c < job->cols; c += SUM_COLS) {
		uint32_t n = job->cols - c < SUM_COLS ? job->cols - c : SUM_COLS;
		uint64_t col = job->first + c;
		struct zw_row residual = {.ptr = NULL, .st = job->residual.st};

		if (job->residual.ptr)
			residual.ptr =
				zw_k_view_at(&job->residual, row, 0) + col * job->residual.size;
		memset(acc, 0, n * sizeof(*acc));
		job->prim->weigh[ZW_ST_F32](1, acc, SUM_COLS, weights, per_row, from + c, job->cols,
					    per_row, n);
		job->prim->epilogue(zw_k_view_at(&job->c, row, 0) + col * job->c.size, job->c.st,
				    acc, (struct zw_row){.ptr = NULL}, residual, n);
	}
}

static int sum_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct experts_job *job = arg;
	uint64_t row = task * job->rows_task, end = row + job->rows_task;

	for (; row < end && row < job->args->rows; row++) {
		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		sum_row(job, (uint32_t)row);
	}
	return 0;
}

static int run_pass(struct experts_job *job, bool small)
{
	uint64_t tasks = plan_products(job, small), work = (uint64_t)job->args->per_row * job->cols;
	int (*run)(struct zw_pool *, zw_pool_fn, void *, uint64_t) =
		small ? zw_pool_run_alone : zw_pool_run;
	int err = run(job->pool, product_task, job, tasks);

	if (err || !job->scatter)
		return err;
	job->rows_task = work < SUM_TASK ? (uint32_t)(SUM_TASK / work) : 1;
	return run(job->pool, sum_task, job,
		   ((uint64_t)job->args->rows + job->rows_task - 1) / job->rows_task);
}

static int run_passes(struct experts_job *job)
{
	const struct zw_k_experts_args *p = job->args;
	bool small = zw_gemm_is_small(job->n_pairs, p->n, p->k);
	uint32_t cols = p->n;
	float *ones = NULL;
	int err = 0;

	if (job->scatter) {
		if (SUM_FLOATS / job->n_pairs < cols)
			cols = SUM_FLOATS / job->n_pairs / ZW_LANES * ZW_LANES;
		job->sums = malloc((uint64_t)job->n_pairs * cols * sizeof(float));
		ones = malloc(p->per_row * sizeof(float));
		if (!job->sums || !ones)
			err = -ENOMEM;
		for (uint32_t j = 0; j < p->per_row && ones; j++)
			ones[j] = 1.0f;
		job->ones = ones;
	}
	job->products = malloc(p->n_parts * sizeof(*job->products));
	if (!job->products)
		err = -ENOMEM;
	for (; job->first < p->n && !err; job->first += job->cols) {
		job->cols = p->n - job->first < cols ? p->n - job->first : cols;
		err = run_pass(job, small);
	}
	free(job->products);
	free(job->sums);
	free(ones);
	return err;
}

int zw_k_experts(const struct zw_k_experts_args *args, struct zw_pool *pool)
{
	struct experts_job job = {
		.args = args,
		.prim = zw_prim_get(),
		.pool = pool,
		.scatter = args->flags & ZW_K_EXPERTS_SCATTER,
		.n_pairs = args->rows * args->per_row,
	};
	int err = check(&job);

	if (err || !job.n_pairs)
		return err;
	err = sort_pairs(&job);
	if (!err)
		err = check_parts(&job);
	if (!err && args->n)
		err = run_passes(&job);
	free(job.pairs);
	free(job.start);
	return err;
}
