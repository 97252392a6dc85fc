// SPDX-License-Identifier: MIT
/*
 * Causal grouped-query attention over a paged cache, with a running softmax: checks, and the cut
 * into tasks.
 *
 * Keys are taken in blocks and segments counted from position 0 of the sequence, whatever the page
 * size, the number of queries at a time or their grouping into tasks: so a query has the same bits
 * in any chunking of the prompt. Segments have sums of their own, so that many workers can share
 * one long sequence.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "zhenwu/zw_types.h"
#include "zw_k_attn.h"

/* Heads of a task with few rows: it looks out for a cancel once for all of them. */
#define MOST_HEADS 64u
/* Tasks of each worker that make up for their different lengths. */
#define TASKS_EACH 8u

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static bool is_few(const struct attn_job *job, const struct zw_k_kv_seq *seq)
{
	return (uint64_t)seq->q_count * job->group <= FEW_ROWS;
}

/* Segments up to the greatest position among tokens [first, first + count). */
static uint32_t segments(const struct attn_job *job, uint64_t first, uint64_t count)
{
	int32_t last = 0;

	for (uint64_t i = 0; i < count; i++)
		if (job->kv.pos[first + i] > last)
			last = job->kv.pos[first + i];
	return (uint32_t)last / SEGMENT + 1;
}

/* How the sequences are cut. */
struct plan {
	uint32_t rows;  /* of a task with many */
	uint32_t heads; /* of a task with few */
	bool split;     /* a task with few rows has one segment */
	uint64_t tasks, units, sums;
};

/* Cuts the tasks; with job->tasks NULL only counts them. */
static void cut(struct attn_job *job, struct plan *plan)
{
	const struct zw_kv *kv = &job->kv;
	struct attn_task *task = job->tasks;

	plan->tasks = plan->units = plan->sums = 0;
	for (uint32_t s = 0; s < kv->n_seqs; s++) {
		const struct zw_k_kv_seq *seq = &kv->seqs[s];
		uint64_t rows = (uint64_t)seq->q_count * job->group;
		/* The longest first: they come last in the prompt. */
		uint64_t tiles = is_few(job, seq) ? 0 : div_up(rows, plan->rows);

		for (uint64_t t = tiles; t-- > 0;) {
			uint64_t r0 = t * plan->rows;
			uint32_t n = (uint32_t)(rows - r0 < plan->rows ? rows - r0 : plan->rows);

			plan->tasks += kv->n_kv;
			for (uint32_t h = 0; job->tasks && h < kv->n_kv; h++)
				*task++ = (struct attn_task){
					.r0 = r0, .seq = s, .head = h, .heads = 1, .rows = n};
		}
	}
	for (uint32_t s = 0; s < kv->n_seqs; s++) {
		const struct zw_k_kv_seq *seq = &kv->seqs[s];
		uint32_t rows = seq->q_count * job->group, segs;

		if (!is_few(job, seq) || !rows)
			continue;
		segs = segments(job, seq->q_first, seq->q_count);
		for (uint32_t h = 0; h < kv->n_kv; h += plan->heads) {
			struct attn_task t = {
				.seq = s,
				.head = h,
				.heads = kv->n_kv - h < plan->heads ? kv->n_kv - h : plan->heads,
				.rows = rows,
			};
			uint32_t n = plan->split && segs > 1 ? segs : 1;

			plan->tasks += n;
			if (job->tasks && n > 1) {
				t.unit = &job->units[plan->units];
				t.unit->sums = job->sums + plan->sums;
				t.unit->n_segs = n;
				atomic_init(&t.unit->done, 0);
			}
			if (n > 1) {
				plan->units++;
				plan->sums += attn_sums(job) * n * t.heads * rows;
			}
			for (uint32_t i = 0; job->tasks && i < n; i++) {
				t.seg = i;
				*task++ = t;
			}
		}
	}
	if (!job->tasks)
		return;
	for (uint64_t i = 0; i < plan->tasks; i++) {
		struct attn_task *t = &job->tasks[i];
		uint64_t first = t->r0 / job->group, end = div_up(t->r0 + t->rows, job->group);

		t->n_segs =
			t->unit ? 1 : segments(job, kv->seqs[t->seq].q_first + first, end - first);
	}
}

/* The cut: every worker gets several tasks where there is enough to do. */
static int make_plan(struct attn_job *job)
{
	unsigned int workers = zw_pool_workers(job->pool);
	uint64_t wanted = workers > 1 ? (uint64_t)workers * TASKS_EACH : 1, few = 0, segs = 0;
	struct plan plan = {.rows = WIDE_ROWS};

	plan.heads = job->kv.n_kv < MOST_HEADS ? job->kv.n_kv : MOST_HEADS;
	for (uint32_t s = 0; s < job->kv.n_seqs; s++) {
		const struct zw_k_kv_seq *seq = &job->kv.seqs[s];

		if (!is_few(job, seq) || !seq->q_count)
			continue;
		few++;
		segs += segments(job, seq->q_first, seq->q_count);
	}
	/*
	 * Few rows: whole sequences if there are many, else their segments. Heads apart only where
	 * workers would be idle: all heads together read whole tokens, which lie together, and that
	 * is worth more than a better balance.
	 */
	if (few && few < wanted) {
		plan.split = workers > 1;
		if (segs < workers) {
			uint64_t heads = div_up(job->kv.n_kv, div_up(workers, segs));

			plan.heads = heads < plan.heads ? (uint32_t)heads : plan.heads;
		}
	}
	cut(job, &plan);
	/* Many rows: smaller tasks, although each then widens the keys again. */
	while (plan.tasks < workers && plan.rows > 2 * FEW_ROWS) {
		plan.rows /= 2;
		cut(job, &plan);
	}
	job->tasks = calloc(plan.tasks + 1, sizeof(*job->tasks));
	job->units = calloc(plan.units + 1, sizeof(*job->units));
	job->sums = malloc((plan.sums + 1) * sizeof(*job->sums));
	if (!job->tasks || !job->units || !job->sums)
		return -ENOMEM;
	cut(job, &plan);
	job->n_tasks = plan.tasks;
	return 0;
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
	uint64_t work = 0;
	int err;

	if (args->flags)
		return -EOPNOTSUPP;
	if (!args->n_kv || !args->n_q || !args->d || args->n_q % args->n_kv ||
	    !isfinite(args->scale))
		return -EINVAL;
	job.group = args->n_q / args->n_kv;
	job.pd = ZW_PAD((size_t)args->d);
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
	for (uint32_t i = 0; i < args->n_seqs; i++)
		work += (uint64_t)args->seqs[i].q_count * args->n_q * args->seqs[i].kv_len *
			args->d;
	err = make_plan(&job);
	/* Below this, waking another thread costs more than it gives. */
	if (!err)
		err = (work < 20000 ? zw_pool_run_alone : zw_pool_run)(pool, zw_attn_task, &job,
								       job.n_tasks);
	free(job.sums);
	free(job.units);
	free(job.tasks);
	zw_kv_fini(&job.kv);
	return err;
}
