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
	uint32_t count;
};

struct part {
	const struct attn_job *job;
	const struct attn_task *task;
	const struct zw_k_kv_seq *seq;
	uint32_t rows;          /* of one head */
	uint32_t last;          /* greatest position of a row */
	uint32_t end;           /* greatest position of the task */
	struct rows here, next; /* this block, and the one after it */
	struct sums now, total;
	float *q;       /* packed */
	float *k;       /* wide: a block of packed keys */
	float *v;       /* wide: of widened values, in panels of weigh_cols columns */
	float *s;       /* [head, row][SCORES]: scores, then weights */
	float *m;       /* [head, row]: maximum after the block */
	uint32_t *pos;  /* of each row */
	uint32_t *seen; /* keys of the current block that a row sees */
};

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint64_t token_of(const struct part *p, uint32_t r)
{
	return p->seq->q_first + (p->task->r0 + r) / p->job->group;
}

static uint32_t head_of(const struct part *p, uint32_t h, uint32_t r)
{
	return (p->task->head + h) * p->job->group + (uint32_t)((p->task->r0 + r) % p->job->group);
}

/* Row of head h of the task, from that of its first head. */
static const char *of_head(const struct part *p, const char *row, uint32_t h)
{
	return row + (size_t)h * p->job->kv.d * p->job->kv.size;
}

/* Finds the rows of up to count keys from first on; count 0: there are none. */
static void find_rows(const struct part *p, struct rows *rows, uint32_t first, uint32_t count)
{
	const struct zw_kv *kv = &p->job->kv;
	size_t step = (size_t)kv->n_kv * kv->d * kv->size;

	rows->count = count;
	for (uint32_t j = 0; j < count;) {
		uint32_t slot = (first + j) % kv->block_size;
		uint32_t n = min_u32(count - j, kv->block_size - slot);
		const char *key = zw_kv_at(kv, p->seq->k_pages, first + j, p->task->head);
		const char *value = zw_kv_at(kv, p->seq->v_pages, first + j, p->task->head);

		for (uint32_t i = 0; i < n; i++, j++) {
			rows->key[j] = key + i * step;
			rows->value[j] = value + i * step;
		}
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

/* How many of the count keys from first on every row sees, and the most that any does. */
static uint32_t look(struct part *p, uint32_t first, uint32_t count)
{
	uint32_t most = 0;

	for (uint32_t r = 0; r < p->rows; r++) {
		uint32_t past = p->pos[r] < first ? 0 : p->pos[r] - first + 1;

		p->seen[r] = min_u32(past, count);
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

	for (uint32_t i = 0; i < n; i++)
		p->m[i] = prim->scale_max(p->s + i * SCORES, p->job->args->scale, p->now.m[i],
					  p->seen[i % p->rows]);
	for (uint32_t i = 0; i < n; i++) {
		float lanes[ZW_LANES] = {0}, alpha, was = p->now.m[i], m = p->m[i];

		if (!p->seen[i % p->rows])
			continue;
		prim->expsum(lanes, p->s + i * SCORES, m, p->seen[i % p->rows]);
		/* exp(0) is exactly 1, and the maximum of most blocks is an earlier one's. */
		alpha = m == was && isfinite(m) ? 1.0f : zw_expf(was - m);
		p->now.m[i] = m;
		p->now.l[i] = fmaf(p->now.l[i], alpha, zw_lanes_total(lanes));
		if (alpha != 1.0f)
			prim->scale(p->now.acc + i * p->job->pd, alpha, p->job->pd);
	}
}

/* Rows from r on that see as many keys, at most `most`. */
static uint32_t alike(const struct part *p, uint32_t r, uint32_t most)
{
	uint32_t n = 1;

	while (n < most && r + n < p->rows && p->seen[r + n] == p->seen[r])
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

/* Values of key j of the block, into panels: so a panel stays in the first-level cache. */
static void wide_value(struct part *p, uint32_t j, const char *row)
{
	const struct attn_job *job = p->job;

	for (size_t c = 0; c < job->pd; c += job->prim->weigh_cols) {
		size_t width = panel_width(job, c), left = job->kv.d - c;

		job->prim->widen[job->kv.st](p->v + c * KEY_BLOCK + j * width,
					     row + c * job->kv.size, left < width ? left : width);
	}
}

/* Packs the block's keys, widens its values, and asks for those of the next block. */
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
			wide_value(p, j + i, p->here.value[j + i]);
			if (j + i < p->next.count) {
				ask_for(p, p->next.key[j + i]);
				ask_for(p, p->next.value[j + i]);
			}
		}
		prim->pack[st](p->k + j * job->pd, prim->tile_cols, rows, n, job->kv.d);
	}
}

static int wide_scores(struct part *p, uint32_t count)
{
	const struct attn_job *job = p->job;
	const struct zw_prim *prim = job->prim;
	const uint32_t step = prim->tile_rows, cols = prim->tile_cols;
	uint32_t hot = HOT_KEYS / (uint32_t)(cols * job->pd * sizeof(float)) * cols;

	if (!hot)
		hot = cols;
	for (uint32_t j0 = 0; j0 < count; j0 += hot) {
		for (uint32_t r = 0; r < p->rows; r += step) {
			uint32_t n = min_u32(step, p->rows - r), end = 0;

			if (zw_pool_cancelled(job->pool))
				return -ECANCELED;
			for (uint32_t i = 0; i < n; i++)
				end = p->seen[r + i] > end ? p->seen[r + i] : end;
			end = min_u32(end, j0 + hot);
			if (end > j0)
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
			n = alike(p, r, prim->weigh_rows[ZW_ST_F32]);
			if (p->seen[r])
				prim->weigh[ZW_ST_F32](
					n, p->now.acc + r * pd + c, pd, p->s + r * SCORES, SCORES,
					p->v + c * KEY_BLOCK, width, p->seen[r], width);
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
	const char *v = of_head(p, p->here.value[j], h);
	size_t ldv = (size_t)job->kv.n_kv * job->kv.d;

	for (uint32_t r = 0, rows; r < p->rows; r += rows) {
		uint32_t i = h * p->rows + r;

		rows = alike(p, r, prim->weigh_rows[job->kv.st]);
		if (p->seen[r] > j)
			prim->weigh[job->kv.st](rows, p->now.acc + i * job->pd, job->pd,
						p->s + i * SCORES + j, SCORES, v, ldv,
						min_u32(n, p->seen[r] - j), job->args->d);
	}
}

static int few_block(struct part *p, uint32_t first, uint32_t count)
{
	const struct attn_job *job = p->job;
	uint32_t page = job->args->block_size, n_groups = few_groups(p);
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
		n = min_u32(min_u32(WEIGH_KEYS, count - j), page - (first + j) % page);
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

static int run_segment(struct part *p, uint32_t seg, bool few)
{
	uint32_t first = seg * SEGMENT, end = first + SEGMENT - 1;

	end = min_u32(end, p->last);
	sums_reset(p, &p->now);
	for (; first <= end; first += KEY_BLOCK) {
		uint32_t count = min_u32(KEY_BLOCK, end - first + 1);
		int err;

		if (zw_pool_cancelled(p->job->pool))
			return -ECANCELED;
		if (p->next.count)
			p->here = p->next;
		else
			find_rows(p, &p->here, first, count);
		find_rows(p, &p->next, first + KEY_BLOCK,
			  p->end - first < KEY_BLOCK
				  ? 0
				  : min_u32(KEY_BLOCK, p->end - first - KEY_BLOCK + 1));
		count = look(p, first, count);
		err = few ? few_block(p, first, count) : wide_block(p, count);
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

/* Takes p->now, the sums of segment seg, into p->total. */
static void merge_rows(struct part *p, uint32_t seg)
{
	struct sums *t = &p->total, *s = &p->now;

	if (!seg) {
		struct sums first = *s;

		*s = *t;
		*t = first;
		return;
	}
	for (uint32_t h = 0; h < p->task->heads; h++)
		for (uint32_t r = 0; r < p->rows; r++) {
			uint32_t i = h * p->rows + r;
			size_t at = i * p->job->pd;

			if (p->pos[r] >= seg * SEGMENT)
				merge(p->job, &t->m[i], &t->l[i], t->acc + at, s->m[i], s->l[i],
				      s->acc + at);
		}
}

static void store_row(const struct part *p, uint32_t h, uint32_t r, float m, float l, float *acc)
{
	const struct attn_job *job = p->job;
	const struct zw_k_attn_args *args = job->args;
	uint64_t token = token_of(p, r);
	uint32_t head = head_of(p, h, r);

	job->prim->div(acc, l, args->d);
	job->prim->narrow[job->out.st](zw_k_view_at(&job->out, token, head), acc, args->d);
	if (args->lse)
		args->lse[token * args->lse_ld + head] = zw_f32_canon(m + zw_logf(l));
}

/* Leaves the sums of a segment for whoever finishes the last one of the unit: if that is this task,
 * takes all of them together, in order. */
static int hand_in(struct part *p, uint32_t seg)
{
	const struct attn_job *job = p->job;
	struct attn_unit *unit = p->task->unit;
	size_t n = (size_t)p->task->heads * p->rows, size = attn_sums(job);
	float *mine = unit->sums + seg * n * size;

	for (size_t i = 0; i < n; i++) {
		mine[i * size] = p->now.m[i];
		mine[i * size + 1] = p->now.l[i];
		memcpy(mine + i * size + 2, p->now.acc + i * job->pd, job->pd * sizeof(float));
	}
	if (atomic_fetch_add_explicit(&unit->done, 1, memory_order_acq_rel) + 1 != unit->n_segs)
		return 0;
	for (uint32_t h = 0; h < p->task->heads; h++)
		for (uint32_t r = 0; r < p->rows; r++) {
			float *t = unit->sums + (h * p->rows + r) * size;

			for (uint32_t s = 1; s < unit->n_segs && p->pos[r] >= s * SEGMENT; s++) {
				const float *next = t + s * n * size;

				if (zw_pool_cancelled(job->pool))
					return -ECANCELED;
				merge(job, &t[0], &t[1], t + 2, next[0], next[1], next + 2);
			}
			store_row(p, h, r, t[0], t[1], t + 2);
		}
	return 0;
}

static int run_part(struct part *p, bool few)
{
	const struct attn_task *task = p->task;
	int err = 0;

	p->end = min_u32(p->last, (task->seg + task->n_segs) * SEGMENT - 1);
	(few ? few_pack_q : wide_pack_q)(p);
	for (uint32_t seg = task->seg; seg < task->seg + task->n_segs && !err; seg++) {
		err = run_segment(p, seg, few);
		if (!err && !task->unit)
			merge_rows(p, seg);
	}
	if (err)
		return err;
	if (task->unit)
		return hand_in(p, task->seg);
	for (uint32_t h = 0; h < task->heads; h++)
		for (uint32_t r = 0; r < p->rows; r++) {
			uint32_t i = h * p->rows + r;

			store_row(p, h, r, p->total.m[i], p->total.l[i],
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
	p->k = carve(mem, &at, few ? 0 : (KEY_BLOCK + ZW_TILE_MAX_COLS) * job->pd);
	p->v = carve(mem, &at, few ? 0 : KEY_BLOCK * job->pd);
	p->m = carve(mem, &at, n);
	p->now.m = carve(mem, &at, n);
	p->now.l = carve(mem, &at, n);
	p->total.m = carve(mem, &at, n);
	p->total.l = carve(mem, &at, n);
	p->pos = (uint32_t *)(void *)carve(mem, &at, p->rows);
	p->seen = (uint32_t *)(void *)carve(mem, &at, p->rows);
	return at;
}

int zw_attn_task(void *arg, uint64_t index, unsigned int slot)
{
	const struct attn_job *job = arg;
	const struct attn_task *task = &job->tasks[index];
	struct part p = {
		.job = job,
		.task = task,
		.seq = &job->kv.seqs[task->seq],
		.rows = task->rows,
	};
	bool few = task->rows <= FEW_ROWS;
	float *mem;

	mem = zw_pool_scratch(job->pool, slot, lay_out(&p, NULL, few) * sizeof(float));
	if (!mem)
		return -ENOMEM;
	lay_out(&p, mem, few);
	for (uint32_t r = 0; r < p.rows; r++) {
		p.pos[r] = (uint32_t)job->kv.pos[token_of(&p, r)];
		p.last = p.pos[r] > p.last ? p.pos[r] : p.last;
	}
	return run_part(&p, few);
}
