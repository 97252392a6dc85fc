// SPDX-License-Identifier: MIT
/*
 * Causal grouped-query attention over a paged cache, with a running softmax.
 *
 * Keys are taken in blocks of KEY_BLOCK positions counted from position 0 of the sequence, whatever
 * the page size, the number of queries at a time or their grouping into tasks: so a query has the
 * same bits in any chunking of the prompt. All query rows that share a KV head and a task meet each
 * widened block of K and V.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "zhenwu/zw_types.h"
#include "zw_k_check.h"
#include "zw_k_kv.h"
#include "zw_k_math.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"

/* Part of the numerics: the running maximum moves on after this many keys. */
#define KEY_BLOCK 64
/* Query rows (tokens x heads of one group) in a task. */
#define TASK_ROWS 48

struct attn_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	const struct zw_k_attn_args *args;
	struct zw_kv kv;
	struct zw_k_view q, out;
	uint32_t group; /* query heads per KV head */
	uint32_t task_rows;
	uint64_t *first_task; /* of each sequence; one more at the end */
};

/* One task: rows r0.. of (sequence, KV head); row r is query r / group, head r % group of the
 * group. */
struct attn_tile {
	const struct attn_job *job;
	const struct zw_k_kv_seq *seq;
	uint32_t head; /* of K and V */
	uint64_t r0;
	uint32_t rows;
	size_t pd;  /* padded d */
	float *q;   /* packed in groups of ZW_MR rows */
	float *k;   /* packed in strips of ZW_NR keys */
	float *v;   /* [KEY_BLOCK][pd] */
	float *s;   /* [rows][KEY_BLOCK]: scores, then weights */
	float *acc; /* [rows][pd] */
	float m[TASK_ROWS], l[TASK_ROWS];
	uint32_t seen[TASK_ROWS]; /* keys of the current block that a row sees */
	uint32_t pos[TASK_ROWS];
};

static uint64_t tile_token(const struct attn_tile *t, uint32_t r)
{
	return t->seq->q_first + (t->r0 + r) / t->job->group;
}

static uint32_t tile_head(const struct attn_tile *t, uint32_t r)
{
	return t->head * t->job->group + (uint32_t)((t->r0 + r) % t->job->group);
}

/*
 * Asks for the rows of one key of the next block: rows of one head lie a token apart, too far for
 * the hardware's prefetchers.
 */
static void prefetch_key(const struct attn_tile *t, uint32_t pos)
{
	const struct zw_kv *kv = &t->job->kv;
	const char *k = zw_kv_at(kv, t->seq->k_pages, pos, t->head);
	const char *v = zw_kv_at(kv, t->seq->v_pages, pos, t->head);

	for (uint32_t b = 0; b < kv->d * kv->size; b += 64) {
		__builtin_prefetch(k + b);
		__builtin_prefetch(v + b);
	}
}

/* Widened K and V of keys [first, first + count); @last: the last key that will be wanted. */
static void load_keys(struct attn_tile *t, uint32_t first, uint32_t count, uint32_t last)
{
	const struct attn_job *job = t->job;
	const struct zw_kv *kv = &job->kv;
	const void *rows[ZW_NR];

	for (uint32_t j = 0; j < count; j += ZW_NR) {
		uint32_t g = count - j < ZW_NR ? count - j : ZW_NR;

		for (uint32_t i = 0; i < g; i++) {
			uint32_t pos = first + j + i;

			rows[i] = zw_kv_at(kv, t->seq->k_pages, pos, t->head);
			job->prim->widen[kv->st](t->v + (j + i) * t->pd,
						 zw_kv_at(kv, t->seq->v_pages, pos, t->head),
						 kv->d);
			if (last - pos >= KEY_BLOCK)
				prefetch_key(t, pos + KEY_BLOCK);
		}
		job->prim->pack[kv->st](t->k + j * t->pd, ZW_NR, rows, g, kv->d);
	}
}

/* Scores of all rows against the block. */
static void score_block(struct attn_tile *t, uint32_t count)
{
	const struct zw_prim *prim = t->job->prim;

	for (uint32_t j = 0; j < count; j += ZW_NR) {
		for (uint32_t i = 0; i < t->rows; i += ZW_MR) {
			uint32_t mr = t->rows - i < ZW_MR ? t->rows - i : ZW_MR;

			prim->tile[mr - 1](t->q + i * t->pd, t->k + j * t->pd, t->pd / ZW_LANES,
					   NULL, false, t->s + i * KEY_BLOCK + j, KEY_BLOCK);
		}
	}
}

/* Scores of one row become weights; its running maximum, sum and output follow. */
static void softmax_row(struct attn_tile *t, uint32_t r)
{
	const struct zw_prim *prim = t->job->prim;
	float *s = t->s + r * KEY_BLOCK;
	uint32_t n = t->seen[r];
	float m, alpha, sum;

	prim->scale(s, t->job->args->scale, n);
	m = prim->max(s, n);
	m = m > t->m[r] ? m : t->m[r];
	alpha = zw_expf(t->m[r] - m);
	sum = prim->expsum(s, m, n);
	t->l[r] = fmaf(t->l[r], alpha, sum);
	t->m[r] = m;
	prim->scale(t->acc + r * t->pd, alpha, t->pd);
}

static void weigh_block(struct attn_tile *t)
{
	const struct zw_prim *prim = t->job->prim;

	for (uint32_t i = 0; i < t->rows;) {
		uint32_t n = t->seen[i], mr = 1;

		/* Rows that see the same keys share the loads of V. */
		while (mr < ZW_MR && i + mr < t->rows && t->seen[i + mr] == n)
			mr++;
		if (n)
			prim->weigh[mr - 1](t->acc + i * t->pd, t->pd, t->s + i * KEY_BLOCK,
					    KEY_BLOCK, t->v, t->pd, n, t->pd);
		i += mr;
	}
}

static int run_tile(struct attn_tile *t)
{
	const struct attn_job *job = t->job;
	const struct zw_k_attn_args *args = job->args;
	uint32_t last = 0;

	for (uint32_t r = 0; r < t->rows; r++) {
		t->pos[r] = (uint32_t)job->kv.pos[tile_token(t, r)];
		t->m[r] = -INFINITY;
		t->l[r] = 0.0f;
		if (t->pos[r] > last)
			last = t->pos[r];
	}
	for (uint32_t i = 0; i < t->rows; i += ZW_MR) {
		uint32_t mr = t->rows - i < ZW_MR ? t->rows - i : ZW_MR;
		const void *rows[ZW_MR];

		for (uint32_t j = 0; j < mr; j++)
			rows[j] = zw_k_view_at(&job->q, tile_token(t, i + j), tile_head(t, i + j));
		job->prim->pack[job->q.st](t->q + i * t->pd, mr, rows, mr, args->d);
	}
	for (size_t i = 0; i < t->rows * t->pd; i++)
		t->acc[i] = 0.0f;

	for (uint32_t first = 0; first <= last; first += KEY_BLOCK) {
		uint32_t count = last - first + 1 < KEY_BLOCK ? last - first + 1 : KEY_BLOCK;

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		load_keys(t, first, count, last);
		score_block(t, count);
		for (uint32_t r = 0; r < t->rows; r++) {
			uint32_t past = t->pos[r] < first ? 0 : t->pos[r] - first + 1;

			t->seen[r] = past < count ? past : count;
			if (t->seen[r])
				softmax_row(t, r);
		}
		weigh_block(t);
	}
	for (uint32_t r = 0; r < t->rows; r++) {
		uint64_t token = tile_token(t, r);
		uint32_t head = tile_head(t, r);
		float *acc = t->acc + r * t->pd;

		job->prim->div(acc, t->l[r], args->d);
		job->prim->narrow[job->out.st](zw_k_view_at(&job->out, token, head), acc, args->d);
		if (args->lse)
			args->lse[token * args->lse_ld + head] =
				zw_f32_canon(t->m[r] + zw_logf(t->l[r]));
	}
	return 0;
}

static int attn_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct attn_job *job = arg;
	size_t pd = ZW_PAD((size_t)job->args->d);
	size_t floats = pd * (2 * (size_t)job->task_rows + 2 * KEY_BLOCK) +
			(size_t)job->task_rows * KEY_BLOCK;
	struct attn_tile t = {.job = job, .pd = pd};
	uint32_t lo = 0, hi = job->kv.n_seqs;
	uint64_t in_seq, tiles, rows;

	/* The sequence the task belongs to: first_task[lo] <= task < first_task[lo + 1]. */
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (job->first_task[mid] <= task)
			lo = mid;
		else
			hi = mid;
	}
	t.seq = &job->kv.seqs[lo];
	in_seq = task - job->first_task[lo];
	rows = (uint64_t)t.seq->q_count * job->group;
	tiles = (rows + job->task_rows - 1) / job->task_rows;
	t.head = (uint32_t)(in_seq / tiles);
	t.r0 = in_seq % tiles * job->task_rows;
	t.rows = (uint32_t)(rows - t.r0 < job->task_rows ? rows - t.r0 : job->task_rows);

	t.q = zw_pool_scratch(job->pool, slot, floats * sizeof(float));
	if (!t.q)
		return -ENOMEM;
	t.acc = t.q + pd * job->task_rows;
	t.k = t.acc + pd * job->task_rows;
	t.v = t.k + pd * KEY_BLOCK;
	t.s = t.v + pd * KEY_BLOCK;
	return run_tile(&t);
}

/* Cuts the sequences into tasks of job->task_rows rows; returns how many. */
static uint64_t plan_tasks(struct attn_job *job)
{
	uint64_t tasks = 0;

	for (uint32_t i = 0; i < job->kv.n_seqs; i++) {
		uint64_t rows = (uint64_t)job->kv.seqs[i].q_count * job->group;

		job->first_task[i] = tasks;
		tasks += job->kv.n_kv * ((rows + job->task_rows - 1) / job->task_rows);
	}
	job->first_task[job->kv.n_seqs] = tasks;
	return tasks;
}

static int check_lse(const struct attn_job *job)
{
	const struct zw_k_attn_args *args = job->args;
	struct zw_k_out o = {.ptr = args->lse, .dtype = ZW_DTYPE_F32, .ld = args->lse_ld};
	struct zw_k_view lse;
	int err;

	if (!args->lse)
		return 0;
	err = zw_k_view_out(&lse, &o, args->rows, 1, args->n_q);
	if (!err)
		err = zw_k_view_conflict(&lse, &job->out, false);
	return err ? err : zw_k_view_conflict(&lse, &job->q, false);
}

int zw_k_attn(const struct zw_k_attn_args *args, struct zw_pool *pool)
{
	struct attn_job job = {.prim = zw_prim_get(), .pool = pool, .args = args};
	uint64_t work = 0, tasks;
	int err;

	if (args->flags)
		return -EOPNOTSUPP;
	if (!args->n_kv || !args->n_q || !args->d || args->n_q % args->n_kv ||
	    !isfinite(args->scale))
		return -EINVAL;
	job.group = args->n_q / args->n_kv;
	err = zw_k_view_in(&job.q, &args->q, args->rows, args->n_q, args->d);
	if (!err)
		err = zw_k_view_out(&job.out, &args->out, args->rows, args->n_q, args->d);
	if (!err)
		err = zw_k_view_conflict(&job.out, &job.q, true);
	if (!err)
		err = check_lse(&job);
	if (err || !args->rows)
		return err;
	err = zw_kv_init(&job.kv, args->seqs, args->n_seqs, args->rows, args->n_kv, args->d,
			 args->block_size, args->kv_dtype, args->positions, args->fault);
	if (err)
		return err;
	if (zw_kv_overlap(&job.kv, &job.out)) {
		zw_kv_fini(&job.kv);
		return -EINVAL;
	}
	job.first_task = malloc(((size_t)args->n_seqs + 1) * sizeof(*job.first_task));
	if (!job.first_task) {
		zw_kv_fini(&job.kv);
		return -ENOMEM;
	}
	/* Few tasks: smaller ones, so that every worker gets some, although each then reads K and V
	 * again. */
	job.task_rows = TASK_ROWS;
	while (plan_tasks(&job) < zw_pool_workers(pool) && job.task_rows > ZW_MR)
		job.task_rows /= 2;
	tasks = plan_tasks(&job);
	for (uint32_t i = 0; i < args->n_seqs; i++)
		work += (uint64_t)args->seqs[i].q_count * args->n_q * args->seqs[i].kv_len *
			args->d;
	/* Below this, waking another thread costs more than it gives. */
	err = (work < 20000 ? zw_pool_run_alone : zw_pool_run)(pool, attn_task, &job, tasks);
	free(job.first_task);
	zw_kv_fini(&job.kv);
	return err;
}
