// SPDX-License-Identifier: MIT
/*
 * Which keys a prompt attends to, by what its last rows attend to: columns that many of them look at
 * (vertical), and distances at which many of them look back (slash). A task is a query head: two
 * passes over the keys, first for the softmax's maximum and sum, then for its weights, which are
 * added up along columns and diagonals.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "zw_k_check.h"
#include "zw_k_kv.h"
#include "zw_k_math.h"
#include "zw_k_prim.h"
#include "zw_k_select_keys.h"
#include "zw_kernels.h"

/* Keys at a time, part of the numerics. */
#define KEY_BLOCK 64u
#define SCORES    (KEY_BLOCK + 8u)
/* Positions gone through between two looks for a cancel. */
#define AT_A_TIME 65536u

struct slash_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	const struct zw_k_select_slash_args *args;
	struct zw_kv kv;
	struct zw_select_queries q;
	size_t pd;
	uint32_t sample, first_row; /* rows that are looked at: how many, and the first of them */
	uint32_t len;               /* positions 0..len-1 */
	uint32_t blocks;            /* of them */
};

/* One head's memory. */
struct head {
	float *q[ZW_SELECT_QUERIES]; /* packed */
	float *k, *s;                /* packed keys, [row][SCORES] */
	float *some;                 /* scores of a tile of rows with one of several queries */
	float *wide;                 /* of a quantised cache: keys that are packed next */
	float *m, *l;                /* of each row */
	float *column, *offset; /* sums of weights; offset: the one of distance o at len - 1 - o */
	uint32_t *hist;
	uint8_t *mark; /* of columns, then of offsets */
	int32_t *
		reach; /* of blocks: how many distances reach them, or where these numbers change */
	uint32_t *chosen; /* distances, ascending */
	size_t bytes;
};

static void *take(char *mem, size_t *at, size_t bytes)
{
	void *p = mem ? mem + *at : NULL;

	*at += (bytes + 63) & ~(size_t)63;
	return p;
}

static struct head carve(const struct slash_job *job, char *mem)
{
	size_t f = sizeof(float), n = job->sample, len = job->len;
	struct head h = {0};

	for (unsigned int i = 0; i < ZW_SELECT_QUERIES; i++)
		h.q[i] = take(mem, &h.bytes,
			      i && !job->q.end[i] ? 0 : (n + ZW_TILE_MAX_ROWS) * job->pd * f);
	h.k = take(mem, &h.bytes, (KEY_BLOCK + ZW_TILE_MAX_COLS) * job->pd * f);
	h.s = take(mem, &h.bytes, (n + ZW_TILE_MAX_ROWS) * SCORES * f);
	h.some = take(mem, &h.bytes, ZW_TILE_MAX_ROWS * SCORES * f);
	h.wide = take(mem, &h.bytes, job->kv.quantised ? ZW_TILE_MAX_COLS * job->pd * f : 0);
	h.m = take(mem, &h.bytes, n * f);
	h.l = take(mem, &h.bytes, n * f);
	h.column = take(mem, &h.bytes, len * f);
	h.offset = take(mem, &h.bytes, len * f);
	h.hist = take(mem, &h.bytes, ZW_SELECT_SCRATCH * sizeof(uint32_t));
	h.mark = take(mem, &h.bytes, len);
	h.reach = take(mem, &h.bytes, (job->blocks + 1ull) * sizeof(*h.reach));
	h.chosen = take(mem, &h.bytes, len * sizeof(uint32_t));
	return h;
}

/* How many of the keys from first on row r of the sample sees, of those of one block. */
static uint32_t seen(const struct slash_job *job, uint32_t r, uint32_t first)
{
	uint32_t end = (uint32_t)job->kv.pos[job->first_row + r] + 1;

	if (end <= first)
		return 0;
	return end - first < KEY_BLOCK ? end - first : KEY_BLOCK;
}

static void pack_q(const struct slash_job *job, const struct head *h, uint32_t head,
		   unsigned int which)
{
	const struct zw_prim *prim = job->prim;
	const struct zw_k_view *q = &job->q.q[which];

	for (uint32_t r = 0; r < job->sample; r += prim->tile_rows) {
		uint32_t n = job->sample - r < prim->tile_rows ? job->sample - r : prim->tile_rows;
		const void *rows[ZW_TILE_MAX_ROWS];

		for (uint32_t i = 0; i < n; i++)
			rows[i] = zw_k_view_at(q, job->first_row + r + i, head);
		prim->pack[q->st](h->q[which] + r * job->pd, zw_tile_group(prim, n), rows, n,
				  job->kv.d);
	}
}

/* Where in a block of keys from first on the ones begin that row r compares with a query, and where they end. */
struct piece {
	uint32_t from, end;
};

static uint32_t clip(uint64_t pos, uint32_t first, uint32_t count)
{
	return pos <= first ? 0 : pos - first < count ? (uint32_t)(pos - first) : count;
}

static struct piece piece_of(const struct slash_job *job, uint32_t r, unsigned int which,
			     uint32_t first, uint32_t count)
{
	struct piece p = {0, count};

	if (which && !job->q.end[which])
		return (struct piece){0, 0};
	if (which)
		p.end = clip((uint32_t)job->q.end[which][job->first_row + r], first, count);
	for (unsigned int i = which + 1; i < ZW_SELECT_QUERIES; i++) {
		uint32_t end = job->q.end[i] ? clip((uint32_t)job->q.end[i][job->first_row + r],
						    first, count)
					     : 0;

		p.from = end > p.from ? end : p.from;
	}
	return p;
}

/* Scores of n <= tile_rows rows from r on against the packed block of keys. */
static void score_tile(const struct slash_job *job, const struct head *h, uint32_t r, uint32_t n,
		       uint32_t first, uint32_t count)
{
	const struct zw_prim *prim = job->prim;
	const uint32_t cols = prim->tile_cols;

	for (unsigned int which = 0; which < ZW_SELECT_QUERIES; which++) {
		uint32_t any = 0, all = 0;
		float *to;

		for (uint32_t i = 0; i < n; i++) {
			struct piece p = piece_of(job, r + i, which, first, count);

			any += p.from < p.end;
			all += p.from == 0 && p.end == count;
		}
		if (!any)
			continue;
		to = all == n ? h->s + r * SCORES : h->some;
		prim->tiles(n, h->q[which] + r * job->pd, h->k, job->pd / ZW_LANES,
			    (count + cols - 1) / cols, to, SCORES);
		for (uint32_t i = 0; i < n && all < n; i++) {
			struct piece p = piece_of(job, r + i, which, first, count);

			if (p.from < p.end)
				memcpy(h->s + (r + i) * SCORES + p.from, to + i * SCORES + p.from,
				       (p.end - p.from) * sizeof(*to));
		}
	}
}

/* Scores of all sampled rows against the block of keys from first on, times nothing yet. */
static int score(const struct slash_job *job, const struct head *h, uint32_t kv_head,
		 uint32_t first)
{
	const struct zw_prim *prim = job->prim;
	const struct zw_kv *kv = &job->kv;
	const uint32_t cols = prim->tile_cols;
	uint32_t count = job->len - first < KEY_BLOCK ? job->len - first : KEY_BLOCK;

	for (uint32_t j = 0; j < count; j += cols) {
		uint32_t n = count - j < cols ? count - j : cols;
		const void *rows[ZW_TILE_MAX_COLS];

		for (uint32_t i = 0; i < n; i++) {
			rows[i] = zw_kv_at(kv, kv->seqs, kv->seqs->k_pages, first + j + i, kv_head);
			if (!kv->quantised)
				continue;
			rows[i] = h->wide + i * job->pd;
			zw_kv_widen_key(kv, prim, kv->seqs, first + j + i, kv_head,
					h->wide + i * job->pd);
		}
		prim->pack[kv->quantised ? ZW_ST_F32 : kv->st](h->k + j * job->pd, cols, rows, n,
							       kv->d);
	}
	for (uint32_t r = 0; r < job->sample; r += prim->tile_rows) {
		uint32_t n = job->sample - r < prim->tile_rows ? job->sample - r : prim->tile_rows;

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		score_tile(job, h, r, n, first, count);
	}
	return 0;
}

static int softmax_pass(const struct slash_job *job, const struct head *h, uint32_t kv_head)
{
	const struct zw_prim *prim = job->prim;

	for (uint32_t r = 0; r < job->sample; r++) {
		h->m[r] = -INFINITY;
		h->l[r] = 0.0f;
	}
	for (uint32_t first = 0; first < job->len; first += KEY_BLOCK) {
		int err = score(job, h, kv_head, first);

		if (err)
			return err;
		for (uint32_t r = 0; r < job->sample; r++) {
			float lanes[ZW_LANES] = {0}, m, *s = h->s + r * SCORES;
			uint32_t n = seen(job, r, first);

			if (!n)
				continue;
			m = prim->scale_max(s, job->args->scale, h->m[r], n);
			prim->expsum(lanes, s, m, n);
			h->l[r] = fmaf(h->l[r], zw_expf(h->m[r] - m), zw_lanes_total(lanes));
			h->m[r] = m;
		}
	}
	return 0;
}

static int sum_pass(const struct slash_job *job, const struct head *h, uint32_t kv_head)
{
	const struct zw_prim *prim = job->prim;

	memset(h->column, 0, job->len * sizeof(float));
	memset(h->offset, 0, job->len * sizeof(float));
	for (uint32_t first = 0; first < job->len; first += KEY_BLOCK) {
		int err = score(job, h, kv_head, first);

		if (err)
			return err;
		for (uint32_t r = 0; r < job->sample; r++) {
			uint32_t n = seen(job, r, first), behind;
			float lanes[ZW_LANES] = {0}, *s = h->s + r * SCORES;

			if (!n)
				continue;
			behind = job->len - 1 - (uint32_t)job->kv.pos[job->first_row + r];
			prim->scale_max(s, job->args->scale, -INFINITY, n);
			prim->expsum(lanes, s, h->m[r], n);
			prim->div(s, h->l[r], n);
			prim->add(h->column + first, s, n);
			prim->add(h->offset + behind + first, s, n);
		}
	}
	return 0;
}

/* Marks the first `forced` of n numbers and the best of the rest, count in all. */
static int choose(const struct slash_job *job, const float *v, uint32_t count, uint32_t forced,
		  const struct head *h)
{
	uint32_t n = job->len;

	forced = forced < n ? forced : n;
	memset(h->mark, 0, n);
	memset(h->mark, 1, forced);
	return zw_select_best(job->pool, v + forced, n - forced,
			      zw_k_slash_wanted(count, forced, n) - forced, h->mark + forced,
			      h->hist);
}

/* Lists of one group: blocks that its distances reach, and columns outside of them. */
static int list_group(const struct slash_job *job, const struct head *h, uint32_t head,
		      uint32_t group, uint32_t n_chosen)
{
	const struct zw_k_select_slash_args *a = job->args;
	uint32_t t = a->block_size, row = group * a->group;
	uint32_t end = row + a->group < a->rows ? row + a->group : a->rows;
	uint32_t p0 = (uint32_t)job->kv.pos[row], p1 = (uint32_t)job->kv.pos[end - 1];
	int32_t *blocks = a->blocks + group * a->blocks_gs + head * a->blocks_hs;
	int32_t *columns = a->columns + group * a->columns_gs + head * a->columns_hs;
	uint32_t n = 0;

	/* Where reach begins and ends, so that long ranges cost no more than short ones. */
	memset(h->reach, 0, (p1 / t + 2) * sizeof(*h->reach));
	for (uint32_t i = 0; i < n_chosen && h->chosen[i] <= p1; i++) {
		uint32_t o = h->chosen[i], lo = p0 > o ? p0 - o : 0;

		if (i % AT_A_TIME == 0 && zw_pool_cancelled(job->pool))
			return -ECANCELED;
		h->reach[lo / t]++;
		h->reach[(p1 - o) / t + 1]--;
	}
	for (uint32_t b = 0; b <= p1 / t; b++) {
		h->reach[b] += b ? h->reach[b - 1] : 0;
		if (h->reach[b])
			blocks[n++] = (int32_t)b;
	}
	a->counts[group * a->counts_gs + head] = (int32_t)n;
	for (; n < a->most_blocks; n++)
		blocks[n] = 0;
	n = 0;
	for (uint32_t c = 0; c <= p1; c++) {
		if (c % AT_A_TIME == 0 && zw_pool_cancelled(job->pool))
			return -ECANCELED;
		if (h->mark[c] && !h->reach[c / t])
			columns[n++] = (int32_t)c;
	}
	a->column_counts[group * a->column_counts_gs + head] = (int32_t)n;
	for (; n < a->most_columns; n++)
		columns[n] = 0;
	return 0;
}

static int slash_task(void *arg, uint64_t head, unsigned int slot)
{
	const struct slash_job *job = arg;
	const struct zw_k_select_slash_args *a = job->args;
	uint32_t kv_head = (uint32_t)head / (a->n_q / a->n_kv), n = 0;
	struct head h = carve(job, NULL);
	char *mem = zw_pool_scratch(job->pool, slot, h.bytes);
	int err;

	if (!mem)
		return -ENOMEM;
	h = carve(job, mem);
	for (unsigned int i = 0; i < ZW_SELECT_QUERIES; i++)
		if (!i || job->q.end[i])
			pack_q(job, &h, (uint32_t)head, i);
	err = softmax_pass(job, &h, kv_head);
	if (!err)
		err = sum_pass(job, &h, kv_head);
	if (err)
		return err;
	/* Distances from the nearest on: of equal ones that is the better. */
	for (uint32_t i = 0, j = job->len - 1; i < j; i++, j--) {
		float v = h.offset[i];

		h.offset[i] = h.offset[j];
		h.offset[j] = v;
	}
	err = choose(job, h.offset, (uint32_t)a->slash[head], a->nearest, &h);
	if (err)
		return err;
	for (uint32_t o = 0; o < job->len; o++)
		if (h.mark[o])
			h.chosen[n++] = o;
	err = choose(job, h.column, (uint32_t)a->vertical[head], a->first, &h);
	for (uint32_t g = 0; g <= (a->rows - 1) / a->group && !err; g++)
		err = list_group(job, &h, (uint32_t)head, g, n);
	return err;
}

/* Room for the longest lists that there can be. */
static bool has_room(const struct slash_job *job)
{
	const struct zw_k_select_slash_args *a = job->args;

	for (uint32_t h = 0; h < a->n_q; h++) {
		uint64_t blocks, columns;

		zw_k_slash_bounds(a->rows < a->group ? a->rows : a->group, job->len, a->block_size,
				  zw_k_slash_wanted((uint32_t)a->vertical[h], a->first, job->len),
				  zw_k_slash_wanted((uint32_t)a->slash[h], a->nearest, job->len),
				  &blocks, &columns);
		if (a->vertical[h] < 0 || a->slash[h] < 0 || blocks > a->most_blocks ||
		    columns > a->most_columns)
			return false;
	}
	return true;
}

int zw_k_select_slash(const struct zw_k_select_slash_args *args, struct zw_pool *pool)
{
	struct slash_job job = {.prim = zw_prim_get(), .pool = pool, .args = args};
	int err;

	if (!args->n_kv || !args->n_q || !args->d || args->n_q % args->n_kv || !args->group ||
	    !args->sample || args->sample > ZW_K_SLASH_MAX_SAMPLE || !isfinite(args->scale) ||
	    !args->nearest || !args->vertical || !args->slash || !args->seq)
		return -EINVAL;
	job.pd = ZW_PAD((size_t)args->d);
	err = zw_select_queries(&job.q, &args->q, &args->mid, &args->far, args->rows, args->n_q,
				args->d);
	if (err || !args->rows)
		return err;
	err = zw_kv_init(&job.kv, args->seq, 1, args->rows, args->n_kv, args->d, args->block_size,
			 args->kv_dtype, args->positions, false, NULL);
	if (err)
		return err;
	for (uint32_t r = 0; r < args->rows && !err; r++)
		if (job.kv.pos[r] < 0 || (r && job.kv.pos[r] != job.kv.pos[r - 1] + 1))
			err = -EINVAL;
	job.sample = args->rows < args->sample ? args->rows : args->sample;
	job.first_row = args->rows - job.sample;
	job.len = (uint32_t)job.kv.pos[args->rows - 1] + 1;
	job.blocks = (job.len - 1) / args->block_size + 1;
	if (!err && (args->seq->page_first || job.len > ZW_K_SLASH_MAX_KEYS || !has_room(&job)))
		err = -EINVAL;
	if (!err)
		err = zw_pool_run(pool, slash_task, &job, args->n_q);
	zw_kv_fini(&job.kv);
	return err;
}
