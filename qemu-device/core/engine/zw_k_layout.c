// SPDX-License-Identifier: MIT
#include "zw_k_layout.h"

#include <errno.h>
#include <string.h>

#include "zw_k_check.h"

/* Rows and columns of a block that is transposed at a time: both sides of it stay in the first-level cache. */
#define TILE       64u
/* Bytes of a task of a copy or fill. */
#define TASK_BYTES (256u << 10)

/* -- transposition ------------------------------------------------------------------------------------ */

struct transpose_job {
	struct zw_k_view src, dst;
	uint32_t rows, cols;
};

/* A stripe of TILE rows of dst. */
static int transpose_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct transpose_job *job = arg;
	uint32_t c0 = (uint32_t)task * TILE, c1 = job->cols - c0 < TILE ? job->cols : c0 + TILE;

	for (uint32_t r0 = 0; r0 < job->rows; r0 += TILE) {
		uint32_t r1 = job->rows - r0 < TILE ? job->rows : r0 + TILE;

		for (uint32_t c = c0; c < c1; c++) {
			const char *src =
				job->src.ptr + r0 * job->src.ld + c * (uint64_t)job->src.size;
			char *dst = job->dst.ptr + c * job->dst.ld + r0 * (uint64_t)job->dst.size;

			if (job->src.size == 2) {
				for (uint32_t r = r0; r < r1; r++, src += job->src.ld, dst += 2)
					memcpy(dst, src, 2);
			} else {
				for (uint32_t r = r0; r < r1; r++, src += job->src.ld, dst += 4)
					memcpy(dst, src, 4);
			}
		}
	}
	return 0;
}

int zw_k_transpose(const struct zw_k_transpose_args *args, struct zw_pool *pool)
{
	struct transpose_job job = {.rows = args->rows, .cols = args->cols};
	int err = zw_k_view_in(&job.src, &args->src, args->rows, 1, args->cols);

	if (!err)
		err = zw_k_view_out(&job.dst, &args->dst, args->cols, 1, args->rows);
	if (!err && args->src.dtype != args->dst.dtype)
		err = -EOPNOTSUPP;
	if (!err)
		err = zw_k_view_conflict(&job.dst, &job.src, false);
	if (err || !args->rows || !args->cols)
		return err;
	return zw_pool_run(pool, transpose_task, &job, (args->cols + TILE - 1) / TILE);
}

/* -- rows of bytes ------------------------------------------------------------------------------------ */

struct rows_job {
	char *dst;
	const char *src; /* NULL: fill */
	uint64_t bytes, dst_stride, src_stride;
	uint32_t rows;
	uint32_t pattern;
	/* A task is either several rows, or one of several pieces of a row. */
	uint64_t rows_a_task, tasks_a_row;
};

static void fill(char *dst, uint64_t n, uint32_t pattern)
{
	for (uint64_t i = 0; i < n; i += sizeof(pattern))
		memcpy(dst + i, &pattern, sizeof(pattern));
}

static int rows_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct rows_job *job = arg;
	uint64_t r = task / job->tasks_a_row * job->rows_a_task, end = r + job->rows_a_task;
	uint64_t off = task % job->tasks_a_row * TASK_BYTES, n = job->bytes - off;

	if (job->tasks_a_row > 1 && n > TASK_BYTES)
		n = TASK_BYTES;
	if (end > job->rows)
		end = job->rows;
	for (; r < end; r++) {
		char *dst = job->dst + r * job->dst_stride + off;

		if (job->src)
			memcpy(dst, job->src + r * job->src_stride + off, n);
		else
			fill(dst, n, job->pattern);
	}
	return 0;
}

static int rows_run(struct rows_job *job, struct zw_pool *pool)
{
	uint64_t tasks;

	job->rows_a_task = job->bytes < TASK_BYTES ? TASK_BYTES / job->bytes : 1;
	job->tasks_a_row = (job->bytes - 1) / TASK_BYTES + 1;
	tasks = (job->rows + job->rows_a_task - 1) / job->rows_a_task * job->tasks_a_row;
	return zw_pool_run(pool, rows_task, job, tasks);
}

/* The bytes from the first to the last of the rows. */
static int rows_view(struct zw_k_view *v, const void *ptr, uint64_t bytes, uint64_t stride,
		     uint32_t rows)
{
	uint64_t extent;

	if (rows > 1 && stride < bytes)
		return -EINVAL;
	if (__builtin_mul_overflow(rows - 1ull, rows > 1 ? stride : 0, &extent) ||
	    __builtin_add_overflow(extent, bytes, &extent))
		return -EINVAL;
	return zw_k_view_array(v, ptr, extent, 1);
}

int zw_k_copy_rows(const struct zw_k_copy_rows_args *args, struct zw_pool *pool)
{
	struct rows_job job = {
		.dst = args->dst,
		.src = args->src,
		.bytes = args->bytes,
		.dst_stride = args->dst_stride,
		.src_stride = args->src_stride,
		.rows = args->rows,
	};
	struct zw_k_view dst, src;
	int err;

	if (!args->rows || !args->bytes)
		return 0;
	err = rows_view(&dst, args->dst, args->bytes, args->dst_stride, args->rows);
	if (!err)
		err = rows_view(&src, args->src, args->bytes, args->src_stride, args->rows);
	if (!err)
		err = zw_k_view_conflict(&dst, &src, false);
	return err ? err : rows_run(&job, pool);
}

int zw_k_fill_rows(const struct zw_k_fill_rows_args *args, struct zw_pool *pool)
{
	struct rows_job job = {
		.dst = args->dst,
		.bytes = args->bytes,
		.dst_stride = args->dst_stride,
		.rows = args->rows,
		.pattern = args->pattern,
	};
	struct zw_k_view dst;
	int err;

	if (!args->rows || !args->bytes)
		return 0;
	if (args->bytes % sizeof(args->pattern))
		return -EINVAL;
	err = rows_view(&dst, args->dst, args->bytes, args->dst_stride, args->rows);
	return err ? err : rows_run(&job, pool);
}
