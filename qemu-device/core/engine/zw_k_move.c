// SPDX-License-Identifier: MIT
/* Kernels that move data: gather, cache write, convert, copy, fill. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zw_k_check.h"
#include "zw_k_kv.h"
#include "zw_k_prim.h"
#include "zw_k_quant.h"
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
	struct zw_q_matrix q; /* what src is, if it is of records */
	const int32_t *ids;   /* source row of each row, or NULL: the same */
	uint64_t per_task;
	uint32_t rows;
};

/* A row of records, a piece at a time. */
static int record_row(const struct rows_job *job, char *to, const char *from, float *scratch)
{
	for (uint32_t c = 0; c < job->dst.n; c += CHUNK) {
		uint32_t n = job->dst.n - c < CHUNK ? job->dst.n - c : CHUNK;
		struct zw_q_row row = {.ptr = (const uint8_t *)from + zw_q_bytes(&job->q, c)};

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		job->prim->quant->dequant[job->q.format](scratch, ZW_LANES, &row, 0,
							 job->q.scale.group, n);
		job->prim->narrow[job->dst.st](to + (uint64_t)c * job->dst.size, scratch, n);
	}
	return 0;
}

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
		char *dst = zw_k_view_at(&job->dst, r, 0), *src = zw_k_view_at(&job->src, from, 0);
		int err = job->q.used ? record_row(job, dst, src, scratch)
				      : move_row(job->prim, job->pool, dst, job->dst.st, src,
						 job->src.st, job->dst.n, scratch);

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

/* The view of what is read; types that need scales have none here. */
static int src_view(struct rows_job *job, const struct zw_k_in *src, uint32_t rows, uint32_t n)
{
	const struct zw_k_quant none = {.row0 = 0};
	int err = zw_q_matrix(&job->q, src->dtype, &none, n);

	if (err == -EINVAL && !(n % (job->q.block ? job->q.block : 1)))
		err = -EOPNOTSUPP;
	if (err)
		return err;
	return job->q.used ? zw_k_view_blocks(&job->src, src, rows, n)
			   : zw_k_view_in(&job->src, src, rows, 1, n);
}

int zw_k_gather(const struct zw_k_gather_args *args, struct zw_pool *pool)
{
	struct rows_job job = {0};
	int32_t *ids;
	int err = src_view(&job, &args->table, args->vocab, args->n);

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
	int err = src_view(&job, &args->src, args->rows, args->n);

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

/* A head of a row to its place; scales: of a quantised cache. */
static int kv_row(const struct kv_job *job, const struct zw_k_kv_seq *seq, void *const *pages,
		  void *const *scales, uint32_t pos, uint32_t head, const struct zw_k_view *src,
		  uint32_t row, float *scratch)
{
	const struct zw_kv *kv = &job->kv;
	char *to = zw_kv_at(kv, seq, pages, pos, head);
	const char *from = zw_k_view_at(src, row, head);
	float s;

	if (!kv->quantised)
		return move_row(job->prim, job->pool, to, kv->st, from, src->st, kv->d, scratch);
	job->prim->widen[src->st](scratch, from, kv->d);
	s = zw_q_quantise(job->prim, kv->target, to, scratch, kv->d);
	job->prim->narrow[ZW_ST_F32](zw_kv_scale_at(kv, seq, scales, pos, head), &s, 1);
	return 0;
}

/* One head of one sequence, its rows in order: the later of two rows for one position wins. */
static int kv_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct kv_job *job = arg;
	const struct zw_kv *kv = &job->kv;
	const struct zw_k_kv_seq *seq = &kv->seqs[task / kv->n_kv];
	uint32_t head = (uint32_t)(task % kv->n_kv);
	size_t floats = kv->quantised && kv->d > CHUNK ? ZW_PAD((size_t)kv->d) : CHUNK;
	float *scratch = zw_pool_scratch(job->pool, slot, floats * sizeof(float));

	if (!scratch)
		return -ENOMEM;
	for (uint32_t i = 0; i < seq->q_count; i++) {
		uint32_t row = seq->q_first + i, pos = (uint32_t)kv->pos[row];
		int err = kv_row(job, seq, seq->k_pages, seq->k_scales, pos, head, &job->k, row,
				 scratch);

		if (!err)
			err = kv_row(job, seq, seq->v_pages, seq->v_scales, pos, head, &job->v, row,
				     scratch);
		if (err)
			return err;
		if (kv->quantised && zw_pool_cancelled(job->pool))
			return -ECANCELED;
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
