// SPDX-License-Identifier: MIT
/*
 * Attention of some query rows over some segments of keys.
 *
 * Many rows of one KV head (a prompt): each block of keys and values is widened once and meets all
 * of them in register tiles. Few rows (decoding): each key and value is used so little that it is
 * read where it lies, for several heads together, so that whole tokens stream from memory.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "zw_k_attn.h"
#include "zw_k_math.h"

/* Keys whose values are weighed at a time, for one head after the other. */
#define WEIGH_KEYS 16u
/* Bytes of packed keys that stay in the first-level cache while all query rows pass by. */
#define HOT_KEYS   (16u << 10)
/* Scores of a row: direct products write beyond the last key of a block. */
#define SCORES     (KEY_BLOCK + ZW_DIRECT_MAX_COLS)

/* A query head's running softmax. */
struct sums {
	float *m, *l, *acc; /* [head, row], [head, row], [head, row][pd] */
};

/* Where the keys and values of a block lie, of the task's first head. */
struct rows {
	const char *key[KEY_BLOCK], *value[KEY_BLOCK];
	const float *k_scale[KEY_BLOCK], *v_scale[KEY_BLOCK]; /* of a quantised cache */
	uint32_t first, count;                                /* places; count 0: none */
};

/* Places that rows see of the positions or listed blocks, or of the listed columns. */
struct keys {
	uint32_t *lo, *hi;  /* of each row */
	uint32_t from, end; /* of all of them */
};

struct part {
	const struct attn_job *job;
	const struct attn_task *task;
	const struct attn_rows *set;
	uint32_t rows; /* of one head */
	struct keys keys[2];
	unsigned int at;        /* which of them the segment is of */
	struct rows here, next; /* this block, and the one after it */
	struct sums now, total;
	bool *begun; /* rows of which total has sums */
	float *q;    /* packed */
	float *wide; /* of a quantised cache: keys of a block, then its values, [key][head][pd] */
	float *k;    /* wide: a block of packed keys */
	float *v;    /* wide: of widened values */
	float *s;    /* [head, row][SCORES]: scores, then weights */
	float *m;    /* [head, row]: maximum after the block */
	/* A row sees the keys of the current block from seen_from on, below seen; none: both are 0. */
	uint32_t *seen_from, *seen;
};

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint64_t token_of(const struct part *p, uint32_t r)
{
	return p->set->q_first + (p->task->r0 + r) / p->set->group;
}

static uint32_t head_of(const struct part *p, uint32_t h, uint32_t r)
{
	if (p->set->list)
		return p->set->list->head;
	return (p->task->head + h) * p->job->group + (uint32_t)((p->task->r0 + r) % p->job->group);
}

/* Row of head h of the task, from that of its first head. */
static const char *of_head(const struct part *p, const char *row, uint32_t h)
{
	return row + h * (p->job->kv.quantised ? p->job->pd * sizeof(float)
					       : (size_t)p->job->kv.d * p->job->kv.size);
}

/* The position of the key at a place, and how many places behind it go on with the positions. */
static uint32_t position_of(const struct part *p, uint32_t place, uint32_t *n)
{
	const struct zw_k_attn_list *list = p->set->list;
	uint32_t slot = place % p->job->kv.block_size;

	*n = p->at ? 1 : p->job->kv.block_size - slot;
	if (!list)
		return place;
	if (p->at)
		return (uint32_t)list->columns[place];
	return (uint32_t)list->blocks[place / p->job->kv.block_size] * p->job->kv.block_size + slot;
}

static void find_scales(const struct part *p, struct rows *rows, uint32_t j, uint32_t pos)
{
	const struct zw_k_kv_seq *seq = p->set->seq;

	rows->k_scale[j] = zw_kv_scale_at(&p->job->kv, seq, seq->k_scales, pos, p->task->head);
	rows->v_scale[j] = zw_kv_scale_at(&p->job->kv, seq, seq->v_scales, pos, p->task->head);
}

/*
 * Finds the rows of the block of keys that begins at place first. Keys before the first one that
 * some row sees may not be there: that one stands in for them.
 */
static void find_rows(const struct part *p, struct rows *rows, uint32_t first)
{
	const struct zw_kv *kv = &p->job->kv;
	const struct keys *keys = &p->keys[p->at];
	size_t step = (size_t)kv->n_kv * kv->d * kv->size;
	uint32_t skip = keys->from > first ? keys->from - first : 0;

	rows->first = first;
	rows->count = keys->end > first ? min_u32(KEY_BLOCK, keys->end - first) : 0;
	if (skip >= rows->count)
		rows->count = 0;
	for (uint32_t j = skip, n; j < rows->count;) {
		uint32_t pos = position_of(p, first + j, &n);
		const char *key =
			zw_kv_at(kv, p->set->seq, p->set->seq->k_pages, pos, p->task->head);
		const char *value =
			zw_kv_at(kv, p->set->seq, p->set->seq->v_pages, pos, p->task->head);

		n = min_u32(n, rows->count - j);
		for (uint32_t i = 0; i < n; i++, j++) {
			rows->key[j] = key + i * step;
			rows->value[j] = value + i * step;
			if (kv->quantised)
				find_scales(p, rows, j, pos + i);
		}
	}
	for (uint32_t j = 0; j < skip && rows->count; j++) {
		rows->key[j] = rows->key[skip];
		rows->value[j] = rows->value[skip];
		if (kv->quantised) {
			rows->k_scale[j] = rows->k_scale[skip];
			rows->v_scale[j] = rows->v_scale[skip];
		}
	}
}

/* The current block of a quantised cache in F32, in place of what is in memory. */
static void dequantise(struct part *p, uint32_t count)
{
	const struct zw_kv *kv = &p->job->kv;
	uint32_t heads = p->task->heads;
	float *values = p->wide + KEY_BLOCK * heads * p->job->pd;

	for (uint32_t j = 0; j < count; j++) {
		size_t at = (size_t)j * heads * p->job->pd;

		for (uint32_t h = 0; h < heads; h++) {
			size_t to = at + h * p->job->pd, from = (size_t)h * kv->d;
			struct zw_q_row k = {.ptr = (const uint8_t *)p->here.key[j] + from,
					     .scale = p->here.k_scale[j] + h};
			struct zw_q_row v = {.ptr = (const uint8_t *)p->here.value[j] + from,
					     .scale = p->here.v_scale[j] + h};

			p->job->prim->quant->dequant[kv->format](p->wide + to, ZW_LANES, &k, 0,
								 kv->d, kv->d);
			p->job->prim->quant->dequant[kv->format](values + to, ZW_LANES, &v, 0,
								 kv->d, kv->d);
		}
		p->here.key[j] = (const char *)(p->wide + at);
		p->here.value[j] = (const char *)(values + at);
	}
}

/*
 * Asks for a row of the cache: rows of one head lie a token apart, too far for the hardware's
 * prefetchers.
 */
static void ask_for(const struct part *p, const char *row)
{
	for (uint32_t b = 0; b < p->job->kv.d * p->job->kv.size; b += 64)
		__builtin_prefetch(row + b);
}

/* Rows of A in group g of n_groups: as equal as can be. */
static uint32_t group_rows(uint32_t rows, uint32_t n_groups, uint32_t g)
{
	return rows / n_groups + (g < rows % n_groups);
}

/* Query rows [r, r + n) of head h, packed in a group. */
static void pack_q(const struct part *p, float *dst, uint32_t h, uint32_t r, uint32_t n,
		   uint32_t group)
{
	const struct attn_job *job = p->job;
	const void *rows[ZW_TILE_MAX_ROWS];

	for (uint32_t i = 0; i < n; i++)
		rows[i] = zw_k_view_at(&job->q, token_of(p, r + i), head_of(p, h, r + i));
	job->prim->pack[job->q.st](dst, group, rows, n, job->args->d);
}

/* Which of the count keys from first on every row sees; returns the end of the last one's. */
static uint32_t look(struct part *p, uint32_t first, uint32_t count)
{
	const struct keys *keys = &p->keys[p->at];
	uint32_t most = 0;

	for (uint32_t r = 0; r < p->rows; r++) {
		uint32_t from = keys->lo[r] > first ? keys->lo[r] - first : 0;
		uint32_t end = keys->hi[r] > first ? min_u32(keys->hi[r] - first, count) : 0;

		p->seen_from[r] = from < end ? from : 0;
		p->seen[r] = from < end ? end : 0;
		most = p->seen[r] > most ? p->seen[r] : most;
	}
	return most;
}

/*
 * Scores become weights; running maximum, sum and output of each query head follow. Two passes, so
 * that the processor works on several rows at a time.
 */
static void softmax_rows(struct part *p)
{
	const struct zw_prim *prim = p->job->prim;
	uint32_t n = p->task->heads * p->rows;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t from = p->seen_from[i % p->rows], at = from - from % ZW_LANES;
		float *s = p->s + i * SCORES;

		/* A key before those that are seen has weight +0, in the lane of its place. */
		for (uint32_t j = at; j < from; j++)
			s[j] = -INFINITY;
		p->m[i] = prim->scale_max(s + at, p->job->args->scale, p->now.m[i],
					  p->seen[i % p->rows] - at);
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t from = p->seen_from[i % p->rows], at = from - from % ZW_LANES;
		float lanes[ZW_LANES] = {0}, alpha, was = p->now.m[i], m = p->m[i];

		if (!p->seen[i % p->rows])
			continue;
		prim->expsum(lanes, p->s + i * SCORES + at, m, p->seen[i % p->rows] - at);
		/* exp(0) is exactly 1, and the maximum of most blocks is an earlier one's. */
		alpha = m == was && isfinite(m) ? 1.0f : zw_expf(was - m);
		p->now.m[i] = m;
		p->now.l[i] = fmaf(p->now.l[i], alpha, zw_lanes_total(lanes));
		if (alpha != 1.0f)
			prim->scale(p->now.acc + i * p->job->pd, alpha, p->job->pd);
	}
}

/* Rows from r on that see the same keys, at most `most`. */
static uint32_t alike(const struct part *p, uint32_t r, uint32_t most)
{
	uint32_t n = 1;

	while (n < most && r + n < p->rows && p->seen[r + n] == p->seen[r] &&
	       p->seen_from[r + n] == p->seen_from[r])
		n++;
	return n;
}

/* --- many rows of one head --- */

static void wide_pack_q(struct part *p)
{
	const struct zw_prim *prim = p->job->prim;

	for (uint32_t r = 0; r < p->rows; r += prim->tile_rows) {
		uint32_t n = min_u32(prim->tile_rows, p->rows - r);

		pack_q(p, p->q + r * p->job->pd, 0, r, n, zw_tile_group(prim, n));
	}
}

static size_t panel_width(const struct attn_job *job, size_t c)
{
	size_t cols = job->prim->weigh_cols;

	return job->pd - c < cols ? job->pd - c : cols;
}

/* Floats from widened value to value: rows of a power of two would share few sets of the first cache. */
static size_t value_ld(const struct attn_job *job)
{
	return job->pd + 16;
}

/* Packs the block's keys and widens its values. */
static void wide_load(struct part *p, uint32_t count)
{
	const struct attn_job *job = p->job;
	const struct zw_prim *prim = job->prim;
	enum zw_store st = job->kv.st;

	for (uint32_t j = 0; j < count; j += prim->tile_cols) {
		uint32_t n = min_u32(prim->tile_cols, count - j);
		const void *rows[ZW_TILE_MAX_COLS];

		for (uint32_t i = 0; i < n; i++) {
			rows[i] = p->here.key[j + i];
			prim->widen[st](p->v + (j + i) * value_ld(job), p->here.value[j + i],
					job->kv.d);
		}
		prim->pack[st](p->k + j * job->pd, prim->tile_cols, rows, n, job->kv.d);
	}
}

/* Asks for keys and values [from, end) of the next block, counted together. */
static void ask_next(const struct part *p, uint32_t from, uint32_t end)
{
	for (uint32_t i = from; i < end; i++)
		ask_for(p, i % 2 ? p->next.value[i / 2] : p->next.key[i / 2]);
}

static int wide_scores(struct part *p, uint32_t count)
{
	const struct attn_job *job = p->job;
	const struct zw_prim *prim = job->prim;
	const uint32_t step = prim->tile_rows, cols = prim->tile_cols;
	uint32_t hot = HOT_KEYS / (uint32_t)(cols * job->pd * sizeof(float)) * cols;
	uint32_t steps, asked = 0, left = 2 * p->next.count;

	if (!hot)
		hot = cols;
	/* A little each time: asking for a block at once takes as long as reading it. */
	steps = (count + hot - 1) / hot * ((p->rows + step - 1) / step);
	for (uint32_t j0 = 0; j0 < count; j0 += hot) {
		for (uint32_t r = 0; r < p->rows; r += step) {
			uint32_t n = min_u32(step, p->rows - r), from = UINT32_MAX, end = 0;

			uint32_t some = (left - asked + steps - 1) / steps;

			if (zw_pool_cancelled(job->pool))
				return -ECANCELED;
			ask_next(p, asked, asked + some);
			asked += some;
			steps--;
			for (uint32_t i = 0; i < n; i++) {
				end = p->seen[r + i] > end ? p->seen[r + i] : end;
				if (p->seen[r + i])
					from = min_u32(from, p->seen_from[r + i]);
			}
			end = min_u32(end, j0 + hot);
			if (end > j0 && end > from)
				prim->tiles(n, p->q + r * job->pd, p->k + j0 * job->pd,
					    job->pd / ZW_LANES, (end - j0 + cols - 1) / cols,
					    p->s + r * SCORES + j0, SCORES);
		}
	}
	return 0;
}

static int wide_weigh(struct part *p)
{
	const struct attn_job *job = p->job;
	const struct zw_prim *prim = job->prim;
	size_t pd = job->pd;

	for (size_t c = 0; c < pd; c += prim->weigh_cols) {
		size_t width = panel_width(job, c);

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (uint32_t r = 0, n; r < p->rows; r += n) {
			uint32_t from = p->seen_from[r];

			n = alike(p, r, prim->weigh_rows[ZW_ST_F32]);
			if (p->seen[r])
				prim->weigh[ZW_ST_F32](n, p->now.acc + r * pd + c, pd,
						       p->s + r * SCORES + from, SCORES,
						       p->v + from * value_ld(job) + c,
						       value_ld(job), p->seen[r] - from, width);
		}
	}
	return 0;
}

static int wide_block(struct part *p, uint32_t count)
{
	int err;

	wide_load(p, count);
	err = wide_scores(p, count);
	if (err)
		return err;
	softmax_rows(p);
	return wide_weigh(p);
}

/* --- few rows of several heads --- */

static uint32_t few_groups(const struct part *p)
{
	return (p->rows + p->job->prim->direct_rows - 1) / p->job->prim->direct_rows;
}

/* Floats of the packed query rows of one head. */
static size_t few_q_size(const struct part *p)
{
	uint32_t n_groups = few_groups(p), rows = 0;

	for (uint32_t g = 0; g < n_groups; g++)
		rows += p->job->prim->direct[group_rows(p->rows, n_groups, g) - 1].group;
	return rows * p->job->pd;
}

static void few_pack_q(struct part *p)
{
	uint32_t n_groups = few_groups(p);
	float *q = p->q;

	for (uint32_t h = 0; h < p->task->heads; h++) {
		for (uint32_t g = 0, r = 0; g < n_groups; r += group_rows(p->rows, n_groups, g++)) {
			uint32_t n = group_rows(p->rows, n_groups, g);
			uint32_t group = p->job->prim->direct[n - 1].group;

			pack_q(p, q, h, r, n, group);
			q += group * p->job->pd;
		}
	}
}

/*
 * Scores of rows [r, r + rows) of every head against the block, asking for its values. The keys taken
 * at a time lie apart: with all heads of one key before the next key, each of these streams runs
 * through memory, which prefetchers follow.
 */
static int few_scores(struct part *p, const float *q, size_t q_size, uint32_t r, uint32_t rows,
		      uint32_t count)
{
	const struct attn_job *job = p->job;
	const struct zw_direct *direct = &job->prim->direct[rows - 1];
	uint32_t cols = direct->cols, apart = (count + cols - 1) / cols;

	for (uint32_t i = 0; i < apart; i++) {
		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (uint32_t h = 0; h < p->task->heads; h++) {
			float *s = p->s + (h * p->rows + r) * SCORES + i;
			ZW_UNSET float z[ZW_DIRECT_OUT];
			ZW_UNSET const void *keys[ZW_DIRECT_MAX_COLS];

			/* Beyond the last key it stands in for those that are not there. */
			for (uint32_t c = 0; c < cols; c++) {
				uint32_t j = min_u32(c * apart + i, count - 1);

				keys[c] = of_head(p, p->here.key[j], h);
				if (!r)
					ask_for(p, of_head(p, p->here.value[j], h));
			}
			direct->fn[job->kv.st](q + h * q_size, keys, job->args->d, z,
					       (struct zw_ahead){0});
			for (uint32_t l = 0; l < rows; l++)
				for (uint32_t c = 0; c < cols && c * apart + i < count; c++)
					s[l * SCORES + c * apart] = z[l * cols + c];
		}
	}
	return 0;
}

/* Values of keys [j, j + n) of the block, which lie in one page. */
static void few_weigh(struct part *p, uint32_t h, uint32_t j, uint32_t n)
{
	const struct attn_job *job = p->job;
	const struct zw_prim *prim = job->prim;
	size_t ldv =
		job->kv.quantised ? p->task->heads * job->pd : (size_t)job->kv.n_kv * job->kv.d;

	for (uint32_t r = 0, rows; r < p->rows; r += rows) {
		uint32_t i = h * p->rows + r, end = min_u32(p->seen[r], j + n);
		uint32_t from = p->seen_from[r] > j ? p->seen_from[r] : j;

		rows = alike(p, r, prim->weigh_rows[job->kv.st]);
		if (end > from)
			prim->weigh[job->kv.st](rows, p->now.acc + i * job->pd, job->pd,
						p->s + i * SCORES + from, SCORES,
						of_head(p, p->here.value[from], h), ldv, end - from,
						job->args->d);
	}
}

static int few_block(struct part *p, uint32_t count)
{
	const struct attn_job *job = p->job;
	/* Columns lie anywhere. */
	uint32_t page = p->at ? 1 : job->args->block_size, n_groups = few_groups(p);
	size_t q_size = few_q_size(p);
	const float *q = p->q;

	for (uint32_t g = 0, r = 0; g < n_groups; r += group_rows(p->rows, n_groups, g++)) {
		uint32_t rows = group_rows(p->rows, n_groups, g);
		int err = few_scores(p, q, q_size, r, rows, count);

		if (err)
			return err;
		q += job->prim->direct[rows - 1].group * job->pd;
	}
	softmax_rows(p);
	for (uint32_t j = 0, n; j < count; j += n) {
		n = min_u32(min_u32(WEIGH_KEYS, count - j), page - (p->here.first + j) % page);
		for (uint32_t h = 0; h < p->task->heads; h++) {
			if (zw_pool_cancelled(job->pool))
				return -ECANCELED;
			few_weigh(p, h, j, n);
		}
	}
	return 0;
}

/* --- segments --- */

static void sums_reset(const struct part *p, struct sums *s)
{
	size_t n = (size_t)p->task->heads * p->rows;

	for (size_t i = 0; i < n; i++) {
		s->m[i] = -INFINITY;
		s->l[i] = 0.0f;
	}
	memset(s->acc, 0, n * p->job->pd * sizeof(float));
}

/* Makes seg the current segment; returns its first place. */
static uint32_t enter_segment(struct part *p, uint32_t seg)
{
	unsigned int at = p->set->list && seg >= p->set->column_seg;

	if (at != p->at)
		p->next.count = 0;
	p->at = at;
	return (at ? seg - p->set->column_seg : seg) * SEGMENT;
}

/* Whether a row sees a key of the current segment, which begins at place first. */
static bool sees(const struct part *p, uint32_t r, uint32_t first)
{
	const struct keys *keys = &p->keys[p->at];

	return keys->lo[r] < keys->hi[r] && keys->hi[r] > first &&
	       keys->lo[r] / SEGMENT * SEGMENT <= first;
}

static int run_segment(struct part *p, uint32_t first, bool few)
{
	const struct keys *keys = &p->keys[p->at];
	uint32_t end = min_u32(first + SEGMENT, keys->end);

	if (keys->from > first)
		first = keys->from - keys->from % KEY_BLOCK;
	sums_reset(p, &p->now);
	for (; first < end; first += KEY_BLOCK) {
		uint32_t count = min_u32(KEY_BLOCK, end - first);
		int err;

		if (zw_pool_cancelled(p->job->pool))
			return -ECANCELED;
		if (p->next.count && p->next.first == first)
			p->here = p->next;
		else
			find_rows(p, &p->here, first);
		find_rows(p, &p->next, first + KEY_BLOCK);
		count = look(p, first, count);
		if (!count)
			continue;
		if (p->job->kv.quantised)
			dequantise(p, count);
		err = few ? few_block(p, count) : wide_block(p, count);
		if (err)
			return err;
	}
	return 0;
}

/* Takes the sums of a later segment into those of all earlier ones. */
static void merge(const struct attn_job *job, float *m, float *l, float *acc, float m2, float l2,
		  const float *acc2)
{
	float most = m2 > *m ? m2 : *m;
	float a = zw_expf(*m - most), b = zw_expf(m2 - most);

	*m = most;
	*l = fmaf(*l, a, l2 * b);
	job->prim->blend(acc, a, acc2, b, job->pd);
}

/* Takes p->now, the sums of the current segment, which begins at place first, into p->total. */
static void merge_rows(struct part *p, uint32_t first, bool swap)
{
	struct sums *t = &p->total, *s = &p->now;

	if (swap) {
		struct sums sums = *s;

		*s = *t;
		*t = sums;
	}
	for (uint32_t r = 0; r < p->rows; r++) {
		bool begun = p->begun[r];

		if (!sees(p, r, first))
			continue;
		p->begun[r] = true;
		for (uint32_t h = 0; h < p->task->heads && !swap; h++) {
			uint32_t i = h * p->rows + r;
			size_t at = i * p->job->pd;

			if (begun) {
				merge(p->job, &t->m[i], &t->l[i], t->acc + at, s->m[i], s->l[i],
				      s->acc + at);
				continue;
			}
			t->m[i] = s->m[i];
			t->l[i] = s->l[i];
			memcpy(t->acc + at, s->acc + at, p->job->pd * sizeof(float));
		}
	}
}

/* Takes in the sink, a score without a value. */
static void add_sink(const struct part *p, uint32_t head, float *m, float *l, float *acc)
{
	const float *sinks = p->job->args->sinks;
	float most, a, b;

	if (!sinks || sinks[head] == -INFINITY)
		return;
	most = sinks[head] > *m ? sinks[head] : *m;
	a = zw_expf(*m - most);
	b = zw_expf(sinks[head] - most);
	*m = most;
	*l = fmaf(*l, a, b);
	p->job->prim->scale(acc, a, p->job->pd);
}

/* A row that sees no key has m = -inf and acc = +0. */
static void store_row(const struct part *p, uint32_t h, uint32_t r, float m, float l, float *acc)
{
	const struct attn_job *job = p->job;
	const struct zw_k_attn_args *args = job->args;
	uint64_t token = token_of(p, r);
	uint32_t head = head_of(p, h, r);

	add_sink(p, head, &m, &l, acc);
	job->prim->div(acc, l, args->d);
	job->prim->narrow[job->out.st](zw_k_view_at(&job->out, token, head), acc, args->d);
	if (args->lse)
		args->lse[token * args->lse_ld + head] = zw_f32_canon(m + zw_logf(l));
}

/* Takes together the sums that all segments of the unit left of a row, and stores it. */
static int finish_row(struct part *p, uint32_t h, uint32_t r)
{
	const struct attn_job *job = p->job;
	const struct attn_unit *unit = p->task->unit;
	size_t n = (size_t)p->task->heads * p->rows, size = attn_sums(job);
	float *t = NULL;

	for (uint32_t s = 0; s < unit->n_segs; s++) {
		float *next = unit->sums + (s * n + h * p->rows + r) * size;

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		if (!sees(p, r, enter_segment(p, unit->first_seg + s)))
			continue;
		if (t)
			merge(job, &t[0], &t[1], t + 2, next[0], next[1], next + 2);
		else
			t = next;
	}
	if (!t) {
		t = unit->sums + (h * p->rows + r) * size;
		t[0] = -INFINITY;
		t[1] = 1.0f;
		memset(t + 2, 0, job->pd * sizeof(float));
	}
	store_row(p, h, r, t[0], t[1], t + 2);
	return 0;
}

/* Leaves the sums of a segment for whoever finishes the last one of the unit: if that is this task,
 * takes all of them together, in order. */
static int hand_in(struct part *p)
{
	const struct attn_job *job = p->job;
	struct attn_unit *unit = p->task->unit;
	size_t n = (size_t)p->task->heads * p->rows, size = attn_sums(job);
	float *mine = unit->sums + (p->task->seg - unit->first_seg) * n * size;
	int err = 0;

	for (size_t i = 0; i < n; i++) {
		mine[i * size] = p->now.m[i];
		mine[i * size + 1] = p->now.l[i];
		memcpy(mine + i * size + 2, p->now.acc + i * job->pd, job->pd * sizeof(float));
	}
	if (atomic_fetch_add_explicit(&unit->done, 1, memory_order_acq_rel) + 1 != unit->n_segs)
		return 0;
	for (uint32_t h = 0; h < p->task->heads && !err; h++)
		for (uint32_t r = 0; r < p->rows && !err; r++)
			err = finish_row(p, h, r);
	return err;
}

static int run_part(struct part *p, bool few)
{
	const struct attn_task *task = p->task;
	bool any = false;
	int err = 0;

	(few ? few_pack_q : wide_pack_q)(p);
	for (uint32_t i = 0; i < task->n_segs && !err; i++) {
		uint32_t first = enter_segment(p, task->seg + i);

		if (p->keys[p->at].end <= first || p->keys[p->at].from >= first + SEGMENT)
			continue;
		err = run_segment(p, first, few);
		if (!err && !task->unit)
			merge_rows(p, first, !any);
		any = true;
	}
	if (err)
		return err;
	if (task->unit)
		return hand_in(p);
	if (!any)
		sums_reset(p, &p->total);
	for (uint32_t h = 0; h < task->heads; h++)
		for (uint32_t r = 0; r < p->rows; r++) {
			uint32_t i = h * p->rows + r;

			store_row(p, h, r, p->total.m[i], p->begun[r] ? p->total.l[i] : 1.0f,
				  p->total.acc + i * p->job->pd);
		}
	return 0;
}

/* Takes n floats of the scratch, as whole cache lines; with mem NULL only counts. */
static float *carve(float *mem, size_t *at, size_t n)
{
	float *p = mem ? mem + *at : NULL;

	*at += (n + 15) & ~(size_t)15;
	return p;
}

static size_t lay_out(struct part *p, float *mem, bool few)
{
	const struct attn_job *job = p->job;
	size_t n = (size_t)p->task->heads * p->rows, at = 0;
	size_t q = few ? p->task->heads * few_q_size(p) : (p->rows + ZW_TILE_MAX_ROWS) * job->pd;

	p->q = carve(mem, &at, q);
	p->now.acc = carve(mem, &at, n * job->pd);
	p->total.acc = carve(mem, &at, n * job->pd);
	p->s = carve(mem, &at, (n + ZW_TILE_MAX_ROWS) * SCORES);
	p->wide = carve(mem, &at, job->kv.quantised ? 2 * KEY_BLOCK * p->task->heads * job->pd : 0);
	p->k = carve(mem, &at, few ? 0 : (KEY_BLOCK + ZW_TILE_MAX_COLS) * job->pd);
	p->v = carve(mem, &at, few ? 0 : KEY_BLOCK * value_ld(job));
	p->m = carve(mem, &at, n);
	p->now.m = carve(mem, &at, n);
	p->now.l = carve(mem, &at, n);
	p->total.m = carve(mem, &at, n);
	p->total.l = carve(mem, &at, n);
	for (int i = 0; i < 2; i++) {
		p->keys[i].lo = (uint32_t *)(void *)carve(mem, &at, p->rows);
		p->keys[i].hi = (uint32_t *)(void *)carve(mem, &at, p->rows);
	}
	p->seen_from = (uint32_t *)(void *)carve(mem, &at, p->rows);
	p->seen = (uint32_t *)(void *)carve(mem, &at, p->rows);
	p->begun = (bool *)(void *)carve(mem, &at, p->rows);
	return at;
}

/* What the rows see, and that nothing of it is done. */
static void start_rows(struct part *p)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct keys *k = &p->keys[i];

		k->from = UINT32_MAX;
		k->end = 0;
		for (uint32_t r = 0; r < p->rows; r++) {
			zw_attn_range(p->job, p->set, token_of(p, r), i, &k->lo[r], &k->hi[r]);
			if (k->lo[r] == k->hi[r])
				continue;
			k->from = min_u32(k->from, k->lo[r]);
			k->end = k->hi[r] > k->end ? k->hi[r] : k->end;
		}
	}
	memset(p->begun, 0, p->rows * sizeof(*p->begun));
}

int zw_attn_task(void *arg, uint64_t index, unsigned int slot)
{
	const struct attn_job *job = arg;
	const struct attn_task *task = &job->tasks[index];
	struct part p = {
		.job = job,
		.task = task,
		.set = &job->sets[task->of],
		.rows = task->rows,
	};
	bool few = task->rows <= FEW_ROWS;
	float *mem;

	mem = zw_pool_scratch(job->pool, slot, lay_out(&p, NULL, few) * sizeof(float));
	if (!mem)
		return -ENOMEM;
	lay_out(&p, mem, few);
	start_rows(&p);
	return run_part(&p, few);
}
