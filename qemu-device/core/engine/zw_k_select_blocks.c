// SPDX-License-Identifier: MIT
/*
 * Which blocks of keys each group of queries attends to: those whose mean key is most like the mean
 * query. Two passes over the pool: means of the keys of each block, then scores and choice of each
 * group and head.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "zw_bf16.h"
#include "zw_k_check.h"
#include "zw_k_kv.h"
#include "zw_k_prim.h"
#include "zw_k_select_keys.h"
#include "zw_kernels.h"

/* Numbers looked at, or rows added up, between two looks for a cancel. */
#define AT_A_TIME 65536u
#define ROWS      16u

/* Ascending order of the numbers, as unsigned: NaN, -inf, ..., -0 = +0, ..., +inf. */
static uint32_t order(float v)
{
	uint32_t u = v == 0.0f ? 0 : zw_f32_bits(v);

	if (v != v)
		return 0;
	return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* The greatest b for which at least k of the counted are in b or above; *above: how many are above it. */
static uint32_t boundary(const uint32_t *hist, uint32_t k, uint32_t *above)
{
	uint32_t b = ZW_SELECT_SCRATCH - 1, n = 0;

	for (; b > 0 && n + hist[b] < k; b--)
		n += hist[b];
	*above = n;
	return b;
}

int zw_select_best(const struct zw_pool *pool, const float *v, uint32_t n, uint32_t k,
		   uint8_t *mark, uint32_t *hist)
{
	uint32_t high = 0, low = 0, least = 0, above = 0, more = 0;

	/* Three passes: high halves, low halves of those at the border, and the choice. */
	for (int pass = 0; pass < 3 && k; pass++) {
		if (pass < 2)
			memset(hist, 0, ZW_SELECT_SCRATCH * sizeof(*hist));
		for (uint32_t i = 0; i < n; i++) {
			uint32_t u = order(v[i]);

			if (i % AT_A_TIME == 0 && zw_pool_cancelled(pool))
				return -ECANCELED;
			if (pass == 0)
				hist[u >> 16]++;
			else if (pass == 1 && u >> 16 == high)
				hist[u & 0xffff]++;
			else if (pass == 2 && (u > least || (u == least && more && more--)))
				mark[i] = 1;
		}
		if (pass == 0) {
			high = boundary(hist, k, &above);
		} else if (pass == 1) {
			low = boundary(hist, k - above, &more);
			least = high << 16 | low;
			more = k - above - more; /* of those that are equal to the least */
		}
	}
	return 0;
}

int zw_select_queries(struct zw_select_queries *s, const struct zw_k_in *q,
		      const struct zw_k_further *mid, const struct zw_k_further *far, uint32_t rows,
		      uint32_t heads, uint32_t d)
{
	const struct zw_k_further *more[ZW_SELECT_QUERIES] = {NULL, mid, far};
	int err = zw_k_view_in(&s->q[0], q, rows, heads, d);

	s->end[0] = NULL;
	for (unsigned int i = 1; i < ZW_SELECT_QUERIES && !err; i++) {
		s->end[i] = more[i]->end;
		if (!s->end[i])
			continue;
		err = zw_k_view_in(&s->q[i], &more[i]->q, rows, heads, d);
		for (uint32_t r = 0; r < rows && !err; r++)
			if (s->end[i][r] < 0)
				err = -EINVAL;
	}
	return err;
}

/* A group of rows, all of one sequence. */
struct group {
	uint32_t first, count; /* rows */
	uint32_t seq;
	uint32_t pos_first, pos_last; /* lowest and highest position */
};

struct blocks_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	const struct zw_k_select_blocks_args *args;
	struct zw_kv kv;
	struct zw_select_queries q;
	size_t pd;
	struct group *groups;
	uint32_t n_groups; /* with rows */
	uint64_t *first; /* of each sequence: its first block among the means; n_seqs + 1 of them */
	float *means;    /* [block][n_kv][pd] */
	uint32_t max_blocks; /* of a group */
};

/* --- means of keys --- */

static uint32_t seq_of_block(const struct blocks_job *job, uint64_t block)
{
	uint32_t lo = 0, hi = job->kv.n_seqs;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (job->first[mid] <= block)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static int means_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct blocks_job *job = arg;
	const struct zw_kv *kv = &job->kv;
	uint32_t s = seq_of_block(job, task), t = kv->block_size;
	uint32_t first = (uint32_t)(task - job->first[s]) * t;
	float *sum = job->means + task * kv->n_kv * job->pd;
	float *row = zw_pool_scratch(job->pool, slot, job->pd * sizeof(float));

	if (!row)
		return -ENOMEM;
	memset(sum, 0, kv->n_kv * job->pd * sizeof(*sum));
	for (uint32_t h = 0; h < kv->n_kv; h++, sum += job->pd) {
		for (uint32_t i = 0; i < t; i++) {
			if (i % ROWS == 0 && zw_pool_cancelled(job->pool))
				return -ECANCELED;
			zw_kv_widen_key(kv, job->prim, &kv->seqs[s], first + i, h, row);
			job->prim->add(sum, row, kv->d);
		}
		job->prim->div(sum, (float)t, kv->d);
	}
	return 0;
}

/* --- choice --- */

struct choice_scratch {
	float *q, *sum, *row, *scores;
	uint32_t *hist;
	uint8_t *mark;
	size_t bytes;
};

static struct choice_scratch carve(const struct blocks_job *job, char *mem)
{
	size_t pd = job->pd * sizeof(float), nb = job->max_blocks;
	struct choice_scratch s = {.q = (float *)(void *)mem};

	/* q is packed as the direct product wants it: padded to the rows of its group */
	s.bytes = pd * job->prim->direct[0].group;
	s.sum = (float *)(void *)(mem + s.bytes);
	s.bytes += pd;
	s.row = (float *)(void *)(mem + s.bytes);
	s.bytes += pd;
	s.scores = (float *)(void *)(mem + s.bytes);
	s.bytes += (nb + 16) * sizeof(float);
	s.hist = (uint32_t *)(void *)(mem + s.bytes);
	s.bytes += ZW_SELECT_SCRATCH * sizeof(uint32_t);
	s.mark = (uint8_t *)mem + s.bytes;
	s.bytes += nb + 1;
	return s;
}

/* The mean of what the group's rows compare with keys of a position. */
static int mean_query(const struct blocks_job *job, const struct group *g, uint32_t head,
		      uint32_t pos, const struct choice_scratch *s)
{
	const uint32_t d = job->kv.d;
	const void *rows[1] = {s->sum};

	memset(s->sum, 0, job->pd * sizeof(*s->sum));
	for (uint32_t r = g->first; r < g->first + g->count; r++) {
		const struct zw_k_view *q = &job->q.q[zw_select_which(&job->q, r, pos)];

		if ((r - g->first) % ROWS == 0 && zw_pool_cancelled(job->pool))
			return -ECANCELED;
		job->prim->widen[q->st](s->row, zw_k_view_at(q, r, head), d);
		job->prim->add(s->sum, s->row, d);
	}
	job->prim->div(s->sum, (float)g->count, d);
	job->prim->pack[ZW_ST_F32](s->q, job->prim->direct[0].group, rows, 1, d);
	return 0;
}

/* The first block behind b that a row of the group compares with another query, or end. */
static uint32_t alike_until(const struct blocks_job *job, const struct group *g, uint32_t b,
			    uint32_t end)
{
	uint32_t t = job->kv.block_size;

	for (unsigned int i = 1; i < ZW_SELECT_QUERIES; i++)
		for (uint32_t r = g->first; r < g->first + g->count && job->q.end[i]; r++) {
			uint32_t e = (uint32_t)job->q.end[i][r], next = e / t + !!(e % t);

			if (next > b && next < end)
				end = next;
		}
	return end;
}

/* scores[b - 1] of blocks first..n, which one query is compared with. */
static int score_blocks(const struct blocks_job *job, const struct group *g, uint32_t kv_head,
			uint32_t first, uint32_t n, const struct choice_scratch *s)
{
	const struct zw_direct *direct = &job->prim->direct[0];
	const float *means = job->means + (job->first[g->seq] * job->kv.n_kv + kv_head) * job->pd;

	for (uint32_t b = first; b <= n; b += direct->cols) {
		float z[ZW_DIRECT_OUT];
		const void *w[ZW_DIRECT_MAX_COLS];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		/* beyond the last one it stands in */
		for (uint32_t i = 0; i < direct->cols; i++)
			w[i] = means + (uint64_t)(b + i < n ? b + i : n) * job->kv.n_kv * job->pd;
		direct->fn[ZW_ST_F32](s->q, w, job->kv.d, z, (struct zw_ahead){0});
		for (uint32_t i = 0; i < direct->cols && b + i <= n; i++)
			s->scores[b + i - 1] = z[i];
	}
	return 0;
}

/* scores[b - 1] of blocks 1..n */
static int score_all(const struct blocks_job *job, const struct group *g, uint32_t head, uint32_t n,
		     const struct choice_scratch *s)
{
	uint32_t kv_head = head / (job->args->n_q / job->args->n_kv);
	int err = 0;

	for (uint32_t b = 1, end; b <= n && !err; b = end) {
		end = alike_until(job, g, b, n + 1);
		err = mean_query(job, g, head, b * job->kv.block_size, s);
		if (!err)
			err = score_blocks(job, g, kv_head, b, end - 1, s);
	}
	return err;
}

static int choice_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct blocks_job *job = arg;
	const struct zw_k_select_blocks_args *a = job->args;
	const struct group *g = &job->groups[task / a->n_q];
	uint32_t head = (uint32_t)(task % a->n_q), t = job->kv.block_size, k = a->most, n = 0;
	uint32_t diagonal = g->pos_first / t, last = g->pos_last / t;
	int32_t *out = a->blocks + task / a->n_q * a->blocks_gs + head * a->blocks_hs;
	struct choice_scratch s = carve(job, NULL);
	char *mem = zw_pool_scratch(job->pool, slot, s.bytes);
	int err;

	if (!mem)
		return -ENOMEM;
	s = carve(job, mem);
	memset(s.mark, 0, last + 1);
	for (uint32_t b = last + 1; b-- > diagonal && k; k--)
		s.mark[b] = 1;
	if (k && diagonal) {
		uint32_t others = diagonal - 1;

		s.mark[0] = 1;
		k--;
		if (others > k) {
			err = score_all(job, g, head, others, &s);
			if (!err)
				err = zw_select_best(job->pool, s.scores, others, k, s.mark + 1,
						     s.hist);
			if (err)
				return err;
		} else {
			memset(s.mark + 1, 1, others);
		}
	}
	for (uint32_t b = 0; b <= last; b++)
		if (s.mark[b])
			out[n++] = (int32_t)b;
	a->counts[task / a->n_q * a->counts_gs + head] = (int32_t)n;
	for (; n < a->most; n++)
		out[n] = 0;
	return 0;
}

/* --- plan --- */

/* Sequence of a row; the rows of a sequence are a range. */
static int find_groups(struct blocks_job *job)
{
	const struct zw_k_select_blocks_args *a = job->args;
	uint32_t s = 0;

	for (uint32_t r = 0; r < a->rows; r++) {
		struct group *g = &job->groups[r / a->group];
		uint32_t pos = (uint32_t)job->kv.pos[r];

		while (s < a->n_seqs &&
		       (r < a->seqs[s].q_first || r - a->seqs[s].q_first >= a->seqs[s].q_count))
			s++;
		if (s == a->n_seqs || (g->count && g->seq != s))
			return -EINVAL;
		if (!g->count)
			*g = (struct group){r, 0, s, pos, pos};
		g->count++;
		g->pos_first = pos < g->pos_first ? pos : g->pos_first;
		g->pos_last = pos > g->pos_last ? pos : g->pos_last;
	}
	job->n_groups = (a->rows - 1) / a->group + 1;
	return 0;
}

static int make_plan(struct blocks_job *job)
{
	const struct zw_k_select_blocks_args *a = job->args;
	uint64_t n = 0;

	job->groups = calloc((uint64_t)(a->rows - 1) / a->group + 1, sizeof(*job->groups));
	job->first = calloc((uint64_t)a->n_seqs + 1, sizeof(*job->first));
	if (!job->groups || !job->first)
		return -ENOMEM;
	if (find_groups(job))
		return -EINVAL;
	/* first[s + 1]: blocks of s, then where those after it start */
	for (uint32_t g = 0; g < job->n_groups; g++) {
		const struct group *gr = &job->groups[g];
		uint32_t last = gr->pos_last / a->block_size + 1;
		uint64_t scored = gr->pos_first / a->block_size;

		if (job->first[gr->seq + 1] < scored)
			job->first[gr->seq + 1] = scored;
		job->max_blocks = last > job->max_blocks ? last : job->max_blocks;
	}
	for (uint32_t s = 0; s < a->n_seqs; s++) {
		for (uint64_t b = 0; b < job->first[s + 1]; b++)
			if (a->seqs[s].page_first || !a->seqs[s].k_pages[b] ||
			    (job->kv.quantised && !a->seqs[s].k_scales[b]))
				return -EINVAL;
		n += job->first[s + 1];
		job->first[s + 1] = n;
	}
	if (n && (uint64_t)a->n_kv * job->pd > ZW_K_SELECT_MAX_MEANS / n)
		return -ENOMEM;
	job->means = malloc((n * a->n_kv * job->pd + 1) * sizeof(*job->means));
	return job->means ? 0 : -ENOMEM;
}

int zw_k_select_blocks(const struct zw_k_select_blocks_args *args, struct zw_pool *pool)
{
	struct blocks_job job = {.prim = zw_prim_get(), .pool = pool, .args = args};
	int err;

	if (!args->n_kv || !args->n_q || !args->d || args->n_q % args->n_kv || !args->group ||
	    !args->most || !args->blocks || !args->counts)
		return -EINVAL;
	job.pd = ZW_PAD((size_t)args->d);
	err = zw_select_queries(&job.q, &args->q, &args->mid, &args->far, args->rows, args->n_q,
				args->d);
	if (err || !args->rows)
		return err;
	/* v_pages are those of the keys: values are not looked at */
	err = zw_kv_init(&job.kv, args->seqs, args->n_seqs, args->rows, args->n_kv, args->d,
			 args->block_size, args->kv_dtype, args->positions, true, NULL);
	if (err)
		return err;
	err = make_plan(&job);
	if (!err)
		err = zw_pool_run(pool, means_task, &job, job.first[args->n_seqs]);
	if (!err)
		err = zw_pool_run(pool, choice_task, &job, (uint64_t)job.n_groups * args->n_q);
	free(job.means);
	free(job.first);
	free(job.groups);
	zw_kv_fini(&job.kv);
	return err;
}
