// SPDX-License-Identifier: MIT
/* Columns of rows in another order. */
#include <errno.h>
#include <string.h>

#include "zw_k_check.h"

/* Elements gathered at a time. */
#define CHUNK         4096u
/* Elements of a task at least. */
#define TASK_ELEMENTS (32u << 10)

struct reorder_job {
	const struct zw_k_reorder_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view x, y;
	uint64_t rows_task;
};

static void gather(void *dst, const char *src, uint32_t size, const int32_t *order, uint32_t n)
{
	if (size == 2) {
		for (uint32_t i = 0; i < n; i++)
			((uint16_t *)dst)[i] = ((const uint16_t *)(const void *)src)[order[i]];
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		((uint32_t *)dst)[i] = ((const uint32_t *)(const void *)src)[order[i]];
}

static int reorder_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct reorder_job *job = arg;
	const struct zw_k_reorder_args *p = job->args;
	uint64_t row = task * job->rows_task, end = row + job->rows_task;
	/* As they are stored, and in F32. */
	float *scratch = zw_pool_scratch(job->pool, slot, 2 * CHUNK * sizeof(float));

	if (!scratch)
		return -ENOMEM;
	for (; row < end && row < p->rows; row++) {
		const char *from = zw_k_view_at(&job->x, row, 0);
		const int32_t *order = p->order;
		char *to = zw_k_view_at(&job->y, row, 0);

		if (p->which)
			order += (uint64_t)(uint32_t)p->which[row] * p->k;
		for (uint32_t c = 0, n; c < p->k; c += n) {
			n = p->k - c < CHUNK ? p->k - c : CHUNK;
			if (zw_pool_cancelled(job->pool))
				return -ECANCELED;
			if (job->x.st == job->y.st) {
				gather(to + (uint64_t)c * job->y.size, from, job->x.size, order + c,
				       n);
				continue;
			}
			gather(scratch, from, job->x.size, order + c, n);
			job->prim->widen[job->x.st](scratch + CHUNK, scratch, n);
			job->prim->narrow[job->y.st](to + (uint64_t)c * job->y.size,
						     scratch + CHUNK, n);
		}
	}
	return 0;
}

int zw_k_reorder(const struct zw_k_reorder_args *args, struct zw_pool *pool)
{
	struct reorder_job job = {.args = args, .prim = zw_prim_get(), .pool = pool};
	int err = zw_k_view_in(&job.x, &args->x, args->rows, 1, args->n);

	if (!err)
		err = zw_k_view_out(&job.y, &args->y, args->rows, 1, args->k);
	if (!err)
		err = zw_k_view_conflict(&job.y, &job.x, false);
	if (!err && args->rows && args->k && !args->order)
		err = -EINVAL;
	if (err || !args->rows || !args->k)
		return err;
	job.rows_task = args->k < TASK_ELEMENTS ? TASK_ELEMENTS / args->k : 1;
	return zw_pool_run(pool, reorder_task, &job, (args->rows - 1) / job.rows_task + 1);
}
