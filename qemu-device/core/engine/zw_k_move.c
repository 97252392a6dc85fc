// SPDX-License-Identifier: MIT
/* Kernels that move data: gather, cache write, convert, copy, fill. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zw_k_check.h"
#include "zw_k_kv.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"

/* Elements converted at a time: widened into scratch, narrowed out of it. */
#define CHUNK      4096u
/* Bytes of a task; less than one task's worth runs in the caller. */
#define TASK_BYTES (256u << 10)

/*
 * n elements from one format to the other; the same format moves the bits, NaN payloads included. 0
 * or -ECANCELED.
 */
static int move_row(const struct zw_prim *prim, struct zw_pool *pool, void *dst,
		    enum zw_store dst_st, const void *src, enum zw_store src_st, size_t n,
		    float *scratch)
{
	size_t dst_size = zw_store_size(dst_st), src_size = zw_store_size(src_st);
	size_t piece = dst_st == src_st ? TASK_BYTES / dst_size : CHUNK;

	for (size_t c = 0; c < n; c += piece) {
		size_t count = n - c < piece ? n - c : piece;
		const char *from = (const char *)src + c * src_size;
		char *to = (char *)dst + c * dst_size;

		if (zw_pool_cancelled(pool))
			return -ECANCELED;
		if (dst_st == src_st) {
			memcpy(to, from, count * dst_size);
		} else {
			prim->widen[src_st](scratch, from, count);
			prim->narrow[dst_st](to, scratch, count);
		}
	}
	return 0;
}

struct rows_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view src, dst;
	const int32_t *ids; /* source row of each row, or NULL: the same */
	uint64_t per_task;
	uint32_t rows;
};

static int rows_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct rows_job *job = arg;
	uint64_t r = task * job->per_task, end = r + job->per_task;
	float *scratch = zw_pool_scratch(job->pool, slot, CHUNK * sizeof(float));

	if (!scratch)
		return -ENOMEM;
	if (end > job->rows)
		end = job->rows;
	for (; r < end; r++) {
		uint64_t from = job->ids ? (uint32_t)job->ids[r] : r;
		int err = move_row(job->prim, job->pool, zw_k_view_at(&job->dst, r, 0), job->dst.st,
				   zw_k_view_at(&job->src, from, 0), job->src.st, job->dst.n,
				   scratch);

		if (err)
			return err;
	}
	return 0;
}

static int rows_run(struct rows_job *job, struct zw_pool *pool, uint32_t rows)
{
	uint64_t row_bytes = (uint64_t)job->dst.n * job->dst.size;

	job->prim = zw_prim_get();
	job->pool = pool;
	job->rows = rows;
	job->per_task = TASK_BYTES / row_bytes;
	if (!job->per_task)
		job->per_task = 1;
	return zw_pool_run(pool, rows_task, job, (rows + job->per_task - 1) / job->per_task);
}

int zw_k_gather(const struct zw_k_gather_args *args, struct zw_pool *pool)
{
	struct rows_job job = {0};
	int32_t *ids;
	int err = zw_k_view_in(&job.src, &args->table, args->vocab, 1, args->n);

	if (!err)
		err = zw_k_view_out(&job.dst, &args->out, args->rows, 1, args->n);
	if (!err)
		err = zw_k_view_conflict(&job.dst, &job.src, false);
	if (!err && args->rows && !args->ids)
		err = -EINVAL;
	if (err || !args->rows)
		return err;
	err = zw_index_copy(&ids, args->ids, args->rows, 0, args->vocab, args->fault);
	if (err)
		return err;
	job.ids = ids;
	if (args->n)
		err = rows_run(&job, pool, args->rows);
	free(ids);
	return err;
}

int zw_k_convert(const struct zw_k_convert_args *args, struct zw_pool *pool)
{
	struct rows_job job = {0};
	int err = zw_k_view_in(&job.src, &args->src, args->rows, 1, args->n);

	if (!err)
		err = zw_k_view_out(&job.dst, &args->dst, args->rows, 1, args->n);
	if (!err)
		err = zw_k_view_conflict(&job.dst, &job.src, false);
	if (err || !args->rows || !args->n)
		return err;
	return rows_run(&job, pool, args->rows);
}

/* --- KV cache --- */

struct kv_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_kv kv;
	struct zw_k_view k, v;
};

/* One head of one sequence, its rows in order: the later of two rows for one position wins. */
static int kv_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct kv_job *job = arg;
	const struct zw_kv *kv = &job->kv;
	const struct zw_k_kv_seq *seq = &kv->seqs[task / kv->n_kv];
	uint32_t head = (uint32_t)(task % kv->n_kv);
	float *scratch = zw_pool_scratch(job->pool, slot, CHUNK * sizeof(float));

	if (!scratch)
		return -ENOMEM;
	for (uint32_t i = 0; i < seq->q_count; i++) {
		uint32_t row = seq->q_first + i, pos = (uint32_t)kv->pos[row];
		int err = move_row(job->prim, job->pool, zw_kv_at(kv, seq, seq->k_pages, pos, head),
				   kv->st, zw_k_view_at(&job->k, row, head), job->k.st, kv->d,
				   scratch);

		if (!err)
			err = move_row(job->prim, job->pool,
				       zw_kv_at(kv, seq, seq->v_pages, pos, head), kv->st,
				       zw_k_view_at(&job->v, row, head), job->v.st, kv->d, scratch);
		if (err)
			return err;
	}
	return 0;
}

int zw_k_kv_write(const struct zw_k_kv_write_args *args, struct zw_pool *pool)
{
	struct kv_job job = {.prim = zw_prim_get(), .pool = pool};
	uint64_t tasks = (uint64_t)args->n_seqs * args->n_kv;
	int err = zw_k_view_in(&job.k, &args->k, args->rows, args->n_kv, args->d);

	if (!err)
		err = zw_k_view_in(&job.v, &args->v, args->rows, args->n_kv, args->d);
	for (uint32_t i = 0; args->seqs && i < args->n_seqs && !err; i++)
		err = args->seqs[i].page_first ? -EINVAL : 0;
	if (!err)
		err = zw_kv_init(&job.kv, args->seqs, args->n_seqs, args->rows, args->n_kv, args->d,
				 args->block_size, args->kv_dtype, args->positions, false,
				 args->fault);
	if (err)
		return err;
	if (zw_kv_overlap(&job.kv, &job.k) || zw_kv_overlap(&job.kv, &job.v))
		err = -EINVAL;
	if (!err && (uint64_t)args->rows * args->n_kv * args->d * job.kv.size < TASK_BYTES)
		err = zw_pool_run_alone(pool, kv_task, &job, tasks);
	else if (!err)
		err = zw_pool_run(pool, kv_task, &job, tasks);
	zw_kv_fini(&job.kv);
	return err;
}

/* --- bytes --- */

struct bytes_job {
	char *dst;
	const char *src;
	uint64_t bytes;
	uint32_t pattern;
};

static int copy_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct bytes_job *job = arg;
	uint64_t off = task * TASK_BYTES;
	uint64_t n = job->bytes - off < TASK_BYTES ? job->bytes - off : TASK_BYTES;

	memcpy(job->dst + off, job->src + off, n);
	return 0;
}

int zw_k_copy(const struct zw_k_copy_args *args, struct zw_pool *pool)
{
	struct bytes_job job = {.dst = args->dst, .src = args->src, .bytes = args->bytes};
	struct zw_k_view dst, src;
	int err = zw_k_view_array(&dst, args->dst, args->bytes, 1);

	if (!err)
		err = zw_k_view_array(&src, args->src, args->bytes, 1);
	if (!err)
		err = zw_k_view_conflict(&dst, &src, false);
	if (err || !args->bytes)
		return err;
	return zw_pool_run(pool, copy_task, &job, (args->bytes - 1) / TASK_BYTES + 1);
}

static int fill_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct bytes_job *job = arg;
	uint64_t off = task * TASK_BYTES; /* a multiple of the pattern's size */
	uint64_t n = job->bytes - off < TASK_BYTES ? job->bytes - off : TASK_BYTES;
	char *dst = job->dst + off;
	uint32_t pattern[16];

	for (int i = 0; i < 16; i++)
		pattern[i] = job->pattern;
	for (; n >= sizeof(pattern); n -= sizeof(pattern), dst += sizeof(pattern))
		memcpy(dst, pattern, sizeof(pattern));
	memcpy(dst, pattern, n);
	return 0;
}

int zw_k_fill(const struct zw_k_fill_args *args, struct zw_pool *pool)
{
	struct bytes_job job = {.dst = args->dst, .bytes = args->bytes, .pattern = args->pattern};
	struct zw_k_view dst;
	int err = zw_k_view_array(&dst, args->dst, args->bytes, 1);

	if (err || !args->bytes)
		return err;
	return zw_pool_run(pool, fill_task, &job, (args->bytes - 1) / TASK_BYTES + 1);
}
