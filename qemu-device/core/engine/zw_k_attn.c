// SPDX-License-Identifier: MIT
/*
 * Causal grouped-query attention over a paged cache, with a running softmax: checks, and the cut
 * into tasks.
 *
 * Keys are taken in blocks and segments counted from position 0 of the sequence (or along a list of
 * keys), whatever the page size, the number of queries at a time or their grouping into tasks: so a
 * query has the same bits in any chunking of the prompt. Segments have sums of their own, so that
 * many workers can share one long sequence.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* --- what rows see --- */

/* How many of the ascending numbers are below x. */
static uint32_t count_below(const int32_t *v, uint32_t n, uint32_t x)
{
	uint32_t lo = 0, hi = n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if ((uint32_t)v[mid] < x)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint32_t zw_k_list_blocks_below(const struct zw_k_attn_list *list, uint32_t block_size, uint32_t x)
{
	uint32_t b = x / block_size, i = count_below(list->blocks, list->n_blocks, b);
	bool in = i < list->n_blocks && (uint32_t)list->blocks[i] == b;

	return i * block_size + (in ? x % block_size : 0);
}

uint32_t zw_k_list_columns_below(const struct zw_k_attn_list *list, uint32_t x)
{
	return count_below(list->columns, list->n_columns, x);
}

void zw_attn_range(const struct attn_job *job, const struct attn_rows *set, uint64_t token,
		   unsigned int part, uint32_t *lo, uint32_t *hi)
{
	const struct zw_k_attn_list *list = set->list;
	uint32_t from = job->start ? (uint32_t)job->start[token] : 0;
	uint32_t end = (uint32_t)job->kv.pos[token] + 1;

	*lo = *hi = 0;
	if (from >= end || (part && !list))
		return;
	if (!list) {
		*lo = from;
		*hi = end;
	} else if (!part) {
		*lo = zw_k_list_blocks_below(list, job->kv.block_size, from);
		*hi = zw_k_list_blocks_below(list, job->kv.block_size, end);
	} else {
		*lo = zw_k_list_columns_below(list, from);
		*hi = zw_k_list_columns_below(list, end);
	}
	if (*lo >= *hi)
		*lo = *hi = 0;
}

/* Segments from the first to behind the last that one of the tokens sees a key of; none: n 0. */
struct span {
	uint32_t first, n;
};

static struct span segments(const struct attn_job *job, const struct attn_rows *set, uint64_t first,
			    uint64_t count)
{
	uint32_t from = UINT32_MAX, end = 0;

	for (uint64_t i = 0; i < count; i++)
		for (unsigned int part = 0; part < (set->list ? 2 : 1); part++) {
			uint32_t base = part ? set->column_seg : 0, lo, hi;

			zw_attn_range(job, set, set->q_first + first + i, part, &lo, &hi);
			if (lo == hi)
				continue;
			lo = base + lo / SEGMENT;
			hi = base + (hi - 1) / SEGMENT + 1;
			from = lo < from ? lo : from;
			end = hi > end ? hi : end;
		}
	return end ? (struct span){from, end - from} : (struct span){0, 0};
}

/* --- the cut --- */

static bool is_few(const struct attn_rows *set)
{
	return (uint64_t)set->q_count * set->group <= FEW_ROWS;
}

/* How the rows are cut. */
struct plan {
	uint32_t rows;  /* of a task with many */
	uint32_t heads; /* of a task with few */
	bool split;     /* a task with few rows has one segment */
	uint64_t tasks, units, sums;
};

/* Cuts the tasks; with job->tasks NULL only counts them. */
static void cut(struct attn_job *job, struct plan *plan)
{
	struct attn_task *task = job->tasks;

	plan->tasks = plan->units = plan->sums = 0;
	for (uint64_t s = 0; s < job->n_sets; s++) {
		const struct attn_rows *set = &job->sets[s];
		uint64_t rows = (uint64_t)set->q_count * set->group;
		/* The longest first: they come last in the prompt. */
		uint64_t tiles = is_few(set) ? 0 : div_up(rows, plan->rows);

		for (uint64_t t = tiles; t-- > 0;) {
			uint64_t r0 = t * plan->rows;
			uint32_t n = (uint32_t)(rows - r0 < plan->rows ? rows - r0 : plan->rows);

			plan->tasks += set->n_heads;
			for (uint32_t h = 0; job->tasks && h < set->n_heads; h++)
				*task++ = (struct attn_task){.r0 = r0,
							     .of = (uint32_t)s,
							     .head = set->head + h,
							     .heads = 1,
							     .rows = n};
		}
	}
	for (uint64_t s = 0; s < job->n_sets; s++) {
		const struct attn_rows *set = &job->sets[s];
		uint32_t rows = set->q_count * set->group;
		struct span segs;

		if (!is_few(set) || !rows)
			continue;
		segs = segments(job, set, 0, set->q_count);
		for (uint32_t h = 0; h < set->n_heads; h += plan->heads) {
			struct attn_task t = {
				.of = (uint32_t)s,
				.head = set->head + h,
				.heads = set->n_heads - h < plan->heads ? set->n_heads - h
									: plan->heads,
				.rows = rows,
			};
			uint32_t n = plan->split && segs.n > 1 ? segs.n : 1;

			plan->tasks += n;
			if (job->tasks && n > 1) {
				t.unit = &job->units[plan->units];
				t.unit->sums = job->sums + plan->sums;
				t.unit->first_seg = segs.first;
				t.unit->n_segs = n;
				atomic_init(&t.unit->done, 0);
			}
			if (n > 1) {
				plan->units++;
				plan->sums += attn_sums(job) * n * t.heads * rows;
			}
			for (uint32_t i = 0; job->tasks && i < n; i++) {
				t.seg = segs.first + i;
				*task++ = t;
			}
		}
	}
	if (!job->tasks)
		return;
	for (uint64_t i = 0; i < plan->tasks; i++) {
		struct attn_task *t = &job->tasks[i];
		const struct attn_rows *set = &job->sets[t->of];
		uint64_t first = t->r0 / set->group, end = div_up(t->r0 + t->rows, set->group);
		struct span segs;

		t->n_segs = 1;
		if (t->unit)
			continue;
		segs = segments(job, set, first, end - first);
		t->seg = segs.first;
		t->n_segs = segs.n;
	}
}

/* The cut: every worker gets several tasks where there is enough to do. */
static int make_plan(struct attn_job *job)
{
	unsigned int workers = zw_pool_workers(job->pool);
	uint64_t wanted = workers > 1 ? (uint64_t)workers * TASKS_EACH : 1, few = 0, segs = 0;
	struct plan plan = {.rows = WIDE_ROWS};

	plan.heads = job->kv.n_kv < MOST_HEADS ? job->kv.n_kv : MOST_HEADS;
	for (uint64_t s = 0; s < job->n_sets; s++) {
		const struct attn_rows *set = &job->sets[s];

		if (!is_few(set) || !set->q_count)
			continue;
		few++;
		segs += segments(job, set, 0, set->q_count).n;
	}
	/*
	 * Few rows: whole sequences if there are many, else their segments. Heads apart only where
	 * workers would be idle: all heads together read whole tokens, which lie together, and that
	 * is worth more than a better balance.
	 */
	if (few && few < wanted) {
		plan.split = workers > 1;
		if (segs && segs < workers) {
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

/* --- checks --- */

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

static int copy_starts(struct attn_job *job)
{
	const struct zw_k_attn_args *args = job->args;

	int err = 0;

	if (args->start)
		err = zw_index_copy(&job->start, args->start, args->rows, 0, INT32_MAX, NULL);
	return err == -ERANGE ? -EINVAL : err;
}

/* Ascending, without repeats, none below 0. */
static bool ascends(const int32_t *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (v[i] < 0 || (i && v[i] <= v[i - 1]))
			return false;
	return true;
}

/* Whether the sequence has the page of a position. */
static bool has_page(const struct attn_job *job, const struct zw_k_kv_seq *seq, uint32_t pos)
{
	uint32_t page = pos / job->kv.block_size;

	return page >= seq->page_first && page - seq->page_first < seq->n_pages &&
	       seq->k_pages[page - seq->page_first] && seq->v_pages[page - seq->page_first];
}

/* What the list names and some row sees is there. */
static int check_list_pages(const struct attn_job *job, const struct attn_rows *set)
{
	const struct zw_k_attn_list *list = set->list;
	uint32_t from[2] = {UINT32_MAX, UINT32_MAX}, end[2] = {0, 0};

	for (uint32_t i = 0; i < set->q_count; i++)
		for (unsigned int part = 0; part < 2; part++) {
			uint32_t lo, hi;

			zw_attn_range(job, set, (uint64_t)set->q_first + i, part, &lo, &hi);
			if (lo == hi)
				continue;
			from[part] = lo < from[part] ? lo : from[part];
			end[part] = hi > end[part] ? hi : end[part];
		}
	for (uint32_t i = from[0] / job->kv.block_size; i * job->kv.block_size < end[0]; i++)
		if (!has_page(job, set->seq, (uint32_t)list->blocks[i] * job->kv.block_size))
			return -EINVAL;
	for (uint32_t i = from[1]; i < end[1]; i++)
		if (!has_page(job, set->seq, (uint32_t)list->columns[i]))
			return -EINVAL;
	return 0;
}

static int add_list(struct attn_job *job, uint64_t i, uint8_t *taken)
{
	const struct zw_k_attn_args *args = job->args;
	const struct zw_k_attn_list *list = &args->lists[i];
	const uint32_t bs = args->block_size;
	struct attn_rows *set = &job->sets[i];
	uint32_t s = 0;

	while (s < args->n_seqs && (list->q_first < args->seqs[s].q_first ||
				    list->q_first - args->seqs[s].q_first >= args->seqs[s].q_count))
		s++;
	if (s == args->n_seqs || list->head >= args->n_q || !list->q_count ||
	    list->q_count > args->seqs[s].q_count - (list->q_first - args->seqs[s].q_first))
		return -EINVAL;
	if ((list->n_blocks && !list->blocks) || (list->n_columns && !list->columns) ||
	    !ascends(list->blocks, list->n_blocks) || !ascends(list->columns, list->n_columns))
		return -EINVAL;
	if (list->n_blocks && ((uint64_t)list->blocks[list->n_blocks - 1] + 1) * bs > 1ull << 31)
		return -EINVAL;
	for (uint32_t c = 0, b = 0; c < list->n_columns; c++) {
		uint32_t block = (uint32_t)list->columns[c] / bs;

		while (b < list->n_blocks && (uint32_t)list->blocks[b] < block)
			b++;
		if (b < list->n_blocks && (uint32_t)list->blocks[b] == block)
			return -EINVAL;
	}
	for (uint32_t r = 0; r < list->q_count; r++) {
		uint8_t *t = &taken[((uint64_t)list->q_first + r) * args->n_q + list->head];

		if (*t)
			return -EINVAL;
		*t = 1;
	}
	*set = (struct attn_rows){
		.seq = &args->seqs[s],
		.list = list,
		.q_first = list->q_first,
		.q_count = list->q_count,
		.group = 1,
		.head = list->head / job->group,
		.n_heads = 1,
		.column_seg = (uint32_t)div_up((uint64_t)list->n_blocks * bs, SEGMENT),
	};
	return check_list_pages(job, set);
}

static int add_lists(struct attn_job *job)
{
	const struct zw_k_attn_args *args = job->args;
	uint64_t pairs = 0;
	uint8_t *taken = calloc((uint64_t)args->rows * args->n_q, 1);
	int err = taken ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < args->n_lists && !err; i++) {
		err = add_list(job, i, taken);
		pairs += args->lists[i].q_count;
	}
	free(taken);
	if (!err && pairs != (uint64_t)args->rows * args->n_q)
		err = -EINVAL;
	return err;
}

static int add_seqs(struct attn_job *job)
{
	const struct zw_k_attn_args *args = job->args;

	for (uint32_t i = 0; i < args->n_seqs; i++) {
		const struct zw_k_kv_seq *seq = &args->seqs[i];
		struct attn_rows *set = &job->sets[i];

		*set = (struct attn_rows){
			.seq = seq,
			.q_first = seq->q_first,
			.q_count = seq->q_count,
			.group = job->group,
			.n_heads = args->n_kv,
		};
		for (uint32_t r = 0; r < seq->q_count && seq->page_first; r++) {
			uint32_t lo, hi;

			zw_attn_range(job, set, (uint64_t)seq->q_first + r, 0, &lo, &hi);
			if (lo != hi && lo / args->block_size < seq->page_first)
				return -EINVAL;
		}
	}
	return 0;
}

/* Whether there is too little to do to be worth waking another thread. */
static bool is_small(const struct attn_job *job)
{
	uint64_t work = 0;

	for (uint64_t i = 0; i < job->n_sets && work < 20000; i++) {
		const struct attn_rows *set = &job->sets[i];
		uint64_t keys = set->seq->kv_len;

		if (set->list)
			keys = (uint64_t)set->list->n_blocks * job->kv.block_size +
			       set->list->n_columns;
		work += (uint64_t)set->q_count * set->group * set->n_heads * keys * job->kv.d;
	}
	return work < 20000;
}

int zw_k_attn(const struct zw_k_attn_args *args, struct zw_pool *pool)
{
	struct attn_job job = {.prim = zw_prim_get(), .pool = pool, .args = args};
	int err;

	if (args->flags)
		return -EOPNOTSUPP;
	if (!args->n_kv || !args->n_q || !args->d || args->n_q % args->n_kv ||
	    !isfinite(args->scale))
		return -EINVAL;
	if ((uintptr_t)args->sinks % sizeof(float) || (args->n_lists && !args->lists) ||
	    args->n_lists > UINT32_MAX)
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
			 args->block_size, args->kv_dtype, args->positions, args->lists,
			 args->fault);
	if (err)
		return err;
	job.n_sets = args->lists ? args->n_lists : args->n_seqs;
	job.sets = calloc(job.n_sets + 1, sizeof(*job.sets));
	err = job.sets ? copy_starts(&job) : -ENOMEM;
	if (!err && zw_kv_overlap(&job.kv, &job.out))
		err = -EINVAL;
	if (!err)
		err = (args->lists ? add_lists : add_seqs)(&job);
	if (!err)
		err = make_plan(&job);
	if (!err)
		err = (is_small(&job) ? zw_pool_run_alone : zw_pool_run)(pool, zw_attn_task, &job,
									 job.n_tasks);
	free(job.sums);
	free(job.units);
	free(job.tasks);
	free(job.start);
	free(job.sets);
	zw_kv_fini(&job.kv);
	return err;
}
