// SPDX-License-Identifier: MIT
/* Activations to I8 and F8, each block of a row with a scale of its own. */
#include <errno.h>

#include "zhenwu/zw_types.h"
#include "zw_k_check.h"
#include "zw_k_quant.h"

/* Elements of a task at least. */
#define TASK_ELEMENTS (32u << 10)
/* Elements in F32 at a time. */
#define CHUNK         4096u

int zw_q_target_of(uint32_t dtype, enum zw_q_target *to)
{
	switch (dtype) {
	case ZW_DTYPE_I8:
		*to = ZW_Q_TO_I8;
		return 0;
	case ZW_DTYPE_F8E4M3:
		*to = ZW_Q_TO_F8E4M3;
		return 0;
	case ZW_DTYPE_F8E5M2:
		*to = ZW_Q_TO_F8E5M2;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* The scale that makes the greatest magnitude the largest number of the type. */
static float scale_for(enum zw_q_target to, float most)
{
	static const float largest[] = {
		[ZW_Q_TO_I8] = 127.0f, [ZW_Q_TO_F8E4M3] = 448.0f, [ZW_Q_TO_F8E5M2] = 57344.0f};
	float s = most / largest[to];

	return s == 0.0f ? 1.0f : s;
}

float zw_q_quantise(const struct zw_prim *prim, enum zw_q_target to, void *dst, float *x, size_t n)
{
	float s = scale_for(to, prim->quant->absmax(x, n));

	prim->div(x, s, n);
	prim->quant->narrow[to](dst, x, n);
	return s;
}

struct quantize_job {
	const struct zw_k_quantize_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view x, y, scale;
	enum zw_q_target to;
	uint64_t rows_task;
};

/* The scale of a block of n elements of x, a chunk at a time. */
static int block_scale(const struct quantize_job *job, const char *x, uint32_t n, float *scratch,
		       float *scale)
{
	float most = 0.0f;

	for (uint32_t c = 0, count; c < n; c += count) {
		float chunk;

		count = n - c < CHUNK ? n - c : CHUNK;
		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		job->prim->widen[job->x.st](scratch, x + (uint64_t)c * job->x.size, count);
		chunk = job->prim->quant->absmax(scratch, count);
		/* A NaN wins, and stays. */
		most = chunk > most || chunk != chunk ? chunk : most;
	}
	*scale = scale_for(job->to, most);
	return 0;
}

/* One row: of a head, if rows have heads. */
static int quantize_row(const struct quantize_job *job, uint64_t row, float *scratch)
{
	const struct zw_k_quantize_args *p = job->args;
	const char *x = zw_k_view_at(&job->x, row / p->heads, row % p->heads);
	char *y = zw_k_view_at(&job->y, row / p->heads, row % p->heads);
	float *scale = (float *)(void *)zw_k_view_at(&job->scale, row / p->heads, row % p->heads);

	for (uint32_t b = 0, n; b < p->n; b += n, scale++) {
		float s;
		int err;

		n = p->n - b < p->block ? p->n - b : p->block;
		err = block_scale(job, x + (uint64_t)b * job->x.size, n, scratch, &s);
		if (err)
			return err;
		for (uint32_t c = 0, count; c < n; c += count) {
			count = n - c < CHUNK ? n - c : CHUNK;
			if (zw_pool_cancelled(job->pool))
				return -ECANCELED;
			job->prim->widen[job->x.st](scratch, x + ((uint64_t)b + c) * job->x.size,
						    count);
			job->prim->div(scratch, s, count);
			job->prim->quant->narrow[job->to](y + b + c, scratch, count);
		}
		job->prim->narrow[ZW_ST_F32](scale, &s, 1);
	}
	return 0;
}

static int quantize_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct quantize_job *job = arg;
	const struct zw_k_quantize_args *p = job->args;
	uint64_t row = task * job->rows_task, end = row + job->rows_task;
	uint64_t rows = (uint64_t)p->rows * p->heads;
	float *scratch = zw_pool_scratch(job->pool, slot, CHUNK * sizeof(float));

	if (!scratch)
		return -ENOMEM;
	for (; row < end && row < rows; row++) {
		int err = quantize_row(job, row, scratch);

		if (err)
			return err;
	}
	return 0;
}

int zw_k_quantize(const struct zw_k_quantize_args *args, struct zw_pool *pool)
{
	struct quantize_job job = {.args = args, .prim = zw_prim_get(), .pool = pool};
	uint64_t rows = (uint64_t)args->rows * args->heads;
	int err = zw_q_target_of(args->y.dtype, &job.to);

	if (!err && args->scale.dtype != ZW_DTYPE_F32)
		err = -EOPNOTSUPP;
	if (!err && !args->block)
		err = -EINVAL;
	if (!err)
		err = zw_k_view_in(&job.x, &args->x, args->rows, args->heads, args->n);
	if (!err)
		err = zw_k_view_bytes_out(&job.y, &args->y, args->rows, args->heads, args->n);
	if (!err)
		err = zw_k_view_out(&job.scale, &args->scale, args->rows, args->heads,
				    args->n ? (args->n - 1) / args->block + 1 : 0);
	if (!err)
		err = zw_k_view_conflict(&job.y, &job.x, false);
	if (!err)
		err = zw_k_view_conflict(&job.scale, &job.x, false);
	if (!err)
		err = zw_k_view_conflict(&job.scale, &job.y, false);
	if (err || !rows || !args->n)
		return err;
	job.rows_task = args->n < TASK_ELEMENTS ? TASK_ELEMENTS / args->n : 1;
	return zw_pool_run(pool, quantize_task, &job, (rows - 1) / job.rows_task + 1);
}
