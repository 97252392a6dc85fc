// SPDX-License-Identifier: MIT
/*
 * Kernels that choose: argmax, top-k, and the routing to experts. Ties go to the lower index, NaNs come
 * after every number.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "zhenwu/zw_types.h"
#include "zw_bf16.h"
#include "zw_k_check.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"

/* Elements widened at a time. */
#define CHUNK 4096u

struct select_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view x;
	uint32_t n, k;
	int32_t *index;
	float *value;
};

/* Widens columns col.. of a row; returns how many. */
static size_t load_chunk(const struct select_job *job, uint64_t row, uint64_t col, float *dst)
{
	size_t n = job->n - col < CHUNK ? job->n - col : CHUNK;

	job->prim->widen[job->x.st](dst, zw_k_view_at(&job->x, row, 0) + col * job->x.size, n);
	return n;
}

static int argmax_task(void *arg, uint64_t row, unsigned int slot)
{
	const struct select_job *job = arg;
	float *x = zw_pool_scratch(job->pool, slot, CHUNK * sizeof(float));
	float best = NAN; /* no number seen yet */
	uint32_t at = 0;

	if (!x)
		return -ENOMEM;
	for (uint64_t col = 0; col < job->n; col += CHUNK) {
		size_t n = load_chunk(job, row, col, x);
		float m = job->prim->max(x, n);

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		if (m <= best)
			continue;
		/* -inf may also mean that the chunk is all NaN: then nothing is equal to it. */
		for (size_t i = 0; i < n; i++) {
			if (x[i] == m) {
				at = (uint32_t)(col + i);
				best = x[i];
				break;
			}
		}
	}
	job->index[row] = (int32_t)at;
	if (job->value)
		job->value[row] = zw_f32_canon(best);
	return 0;
}

/* Greater key = better: value first (NaN below -inf, -0 as +0), then the lower index. */
static uint64_t key_of(float v, uint32_t index)
{
	uint32_t u = v == 0.0f ? 0 : zw_f32_bits(v);

	u = u & 0x80000000u ? ~u : u | 0x80000000u;
	if (v != v)
		u = 0;
	return (uint64_t)u << 32 | (0xffffffffu - index);
}

/* Restores the heap (least key on top) below node i. */
static void sift_down(uint64_t *heap, uint32_t count, uint32_t i)
{
	uint64_t key = heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= count)
			break;
		if (child + 1 < count && heap[child + 1] < heap[child])
			child++;
		if (key <= heap[child])
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = key;
}

static int greater_first(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x < y) - (x > y);
}

/* The k best keys so far. */
struct best {
	uint32_t k, count;
	uint64_t heap[ZW_K_TOPK_MAX];
};

static void best_take(struct best *b, uint64_t key)
{
	if (b->count < b->k) {
		b->heap[b->count++] = key;
		if (b->count == b->k)
			for (uint32_t j = b->count / 2; j-- > 0;)
				sift_down(b->heap, b->count, j);
	} else if (key > b->heap[0]) {
		b->heap[0] = key;
		sift_down(b->heap, b->count, 0);
	}
}

static void best_sort(struct best *b)
{
	qsort(b->heap, b->count, sizeof(*b->heap), greater_first);
}

static uint32_t best_index(const struct best *b, uint32_t i)
{
	return 0xffffffffu - (uint32_t)b->heap[i];
}

static int topk_task(void *arg, uint64_t row, unsigned int slot)
{
	const struct select_job *job = arg;
	float *x = zw_pool_scratch(job->pool, slot, CHUNK * sizeof(float));
	struct best best;

	best.k = job->k;
	best.count = 0;

	if (!x)
		return -ENOMEM;
	for (uint64_t col = 0; col < job->n; col += CHUNK) {
		size_t n = load_chunk(job, row, col, x);

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (size_t i = 0; i < n; i++)
			best_take(&best, key_of(x[i], (uint32_t)(col + i)));
	}
	best_sort(&best);
	for (uint32_t i = 0; i < best.count; i++) {
		uint32_t col = best_index(&best, i);
		float v;

		/* The element itself: the key does not tell -0 from +0. */
		job->prim->widen[job->x.st](
			x, zw_k_view_at(&job->x, row, 0) + (uint64_t)col * job->x.size, 1);
		v = x[0];
		job->index[row * job->k + i] = (int32_t)col;
		job->value[row * job->k + i] = zw_f32_canon(v);
	}
	return 0;
}

static int select_check(struct select_job *job, const struct zw_k_in *x, uint32_t rows,
			bool value_needed)
{
	struct zw_k_view index, value;
	int err = zw_k_view_in(&job->x, x, rows, 1, job->n);

	if (!err)
		err = zw_k_view_array(&index, job->index, (uint64_t)rows * job->k, sizeof(int32_t));
	if (!err && (job->value || value_needed)) {
		err = zw_k_view_array(&value, job->value, (uint64_t)rows * job->k, sizeof(float));
		if (!err)
			err = zw_k_view_conflict(&value, &job->x, false);
		if (!err)
			err = zw_k_view_conflict(&value, &index, false);
	}
	return err ? err : zw_k_view_conflict(&index, &job->x, false);
}

int zw_k_argmax(const struct zw_k_argmax_args *args, struct zw_pool *pool)
{
	struct select_job job = {
		.prim = zw_prim_get(),
		.pool = pool,
		.n = args->n,
		.k = 1,
		.index = args->index,
		.value = args->value,
	};
	int err = select_check(&job, &args->x, args->rows, false);

	if (!err && (!args->n || args->n > INT32_MAX))
		err = -EINVAL;
	return err ? err : zw_pool_run(pool, argmax_task, &job, args->rows);
}

int zw_k_topk(const struct zw_k_topk_args *args, struct zw_pool *pool)
{
	struct select_job job = {
		.prim = zw_prim_get(),
		.pool = pool,
		.n = args->n,
		.k = args->k,
		.index = args->index,
		.value = args->value,
	};
	int err = select_check(&job, &args->x, args->rows, true);

	if (!err &&
	    (!args->k || args->k > args->n || args->k > ZW_K_TOPK_MAX || args->n > INT32_MAX))
		err = -EINVAL;
	return err ? err : zw_pool_run(pool, topk_task, &job, args->rows);
}

/* --- routing --- */

struct route_job {
	const struct zw_k_route_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view x;
};

/* p = softmax of a row of logits. */
static void route_softmax(const struct route_job *job, uint64_t row, float *p)
{
	const struct zw_prim *prim = job->prim;
	uint32_t n = job->args->n;
	float lanes[ZW_LANES] = {0};

	prim->widen[job->x.st](p, zw_k_view_at(&job->x, row, 0), n);
	prim->expsum(lanes, p, prim->max(p, n), n);
	prim->div(p, zw_lanes_total(lanes), n);
}

static void route_renorm(float *weight, uint32_t k)
{
	float lanes[ZW_LANES] = {0}, sum;

	for (uint32_t i = 0; i < k; i++)
		lanes[i % ZW_LANES] = lanes[i % ZW_LANES] + weight[i];
	sum = zw_lanes_total(lanes);
	for (uint32_t i = 0; i < k; i++)
		weight[i] = zw_f32_canon(weight[i] / sum);
}

static int route_task(void *arg, uint64_t row, unsigned int slot)
{
	const struct route_job *job = arg;
	const struct zw_k_route_args *args = job->args;
	float *p = zw_pool_scratch(job->pool, slot, ZW_PAD((size_t)args->n) * sizeof(float));
	float *weight = args->weight + row * args->weight_ld;
	int32_t *index = args->index + row * args->index_ld;
	struct best best;

	if (!p)
		return -ENOMEM;
	route_softmax(job, row, p);
	best.k = args->k;
	best.count = 0;
	for (uint32_t i = 0; i < args->n; i++)
		best_take(&best, key_of(p[i], i));
	best_sort(&best);
	for (uint32_t i = 0; i < args->k; i++) {
		index[i] = (int32_t)best_index(&best, i);
		weight[i] = zw_f32_canon(p[index[i]]);
	}
	if (args->flags & ZW_K_ROUTE_RENORM)
		route_renorm(weight, args->k);
	return 0;
}

static int route_check(struct route_job *job)
{
	const struct zw_k_route_args *args = job->args;
	/* Indexes have the size of F32. */
	struct zw_k_out index = {.ptr = args->index, .dtype = ZW_DTYPE_F32, .ld = args->index_ld};
	struct zw_k_out weight = {
		.ptr = args->weight, .dtype = ZW_DTYPE_F32, .ld = args->weight_ld};
	struct zw_k_view i, w;
	int err;

	if (args->flags & ~ZW_K_ROUTE_RENORM)
		return -EOPNOTSUPP;
	if (!args->k || args->k > args->n || args->k > ZW_K_TOPK_MAX || args->n > ZW_K_ROUTE_MAX)
		return -EINVAL;
	err = zw_k_view_in(&job->x, &args->x, args->rows, 1, args->n);
	if (!err)
		err = zw_k_view_out(&i, &index, args->rows, 1, args->k);
	if (!err)
		err = zw_k_view_out(&w, &weight, args->rows, 1, args->k);
	if (!err)
		err = zw_k_view_conflict(&w, &job->x, false);
	if (!err)
		err = zw_k_view_conflict(&i, &job->x, false);
	return err ? err : zw_k_view_conflict(&i, &w, false);
}

int zw_k_route(const struct zw_k_route_args *args, struct zw_pool *pool)
{
	struct route_job job = {.args = args, .prim = zw_prim_get(), .pool = pool};
	int err = route_check(&job);

	return err ? err : zw_pool_run(pool, route_task, &job, args->rows);
}
