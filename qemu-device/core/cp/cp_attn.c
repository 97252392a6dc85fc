// SPDX-License-Identifier: MIT
/* Attention engine: attention against the paged KV cache. Only blocks that a row sees are mapped. */
#include <errno.h>
#include <string.h>

#include "cp_kv.h"

enum {
	ATT_Q,
	ATT_Y,
	ATT_POS,
	ATT_SEQ,
	ATT_TABLE,
	ATT_KC,
	ATT_VC,
	ATT_LSE,
	ATT_KS,
	ATT_VS,
	ATT_SINKS,
	ATT_BLOCKS,
	ATT_COUNTS,
	ATT_COLUMNS,
	ATT_COLUMN_COUNTS,
	ATT_START,
};

static uint32_t attention_validate(const void *pkt)
{
	const struct zw_pkt_attention *p = pkt;

	if (!p->sparse_blocks.dtype != !p->sparse_counts.dtype ||
	    !p->sparse_columns.dtype != !p->sparse_column_counts.dtype)
		return ZW_REASON_OPERAND;
	if (p->q.dim[1] % p->k_cache.dim[2])
		return ZW_REASON_SHAPE;
	return zw_cp_pools_validate(&p->k_cache, &p->v_cache, &p->k_scale, &p->v_scale);
}

/* Runs of rows of one sequence each, with the pages they see, and the lists of keys. */
struct attention_plan {
	struct zw_k_kv_seq *run;
	uint32_t runs;
	int32_t *from; /* of each row: the lowest position that it sees */
	struct kv_seqs seqs;
	struct kv_lists lists; /* n_items 0: all positions */
	bool **used;           /* with lists: entries of each sequence that are read */
	struct zw_cp_attn_work work;
	bool skips;             /* with lists: what they leave out costs nothing */
	const uint64_t *blocks; /* that are read, ascending */
	uint32_t n_blocks;
};

/* Where window and start let each row begin; behind its position: it sees nothing. */
static int row_starts(struct zw_cp_exec *x, struct attention_plan *plan)
{
	const struct zw_pkt_attention *p = x->pkt;
	const int32_t *pos = x->index[ATT_POS], *start = x->index[ATT_START];
	int err;

	plan->from = zw_cp_alloc(x, x->rows, sizeof(*plan->from));
	if (!plan->from)
		return -EIO;
	err = start ? zw_cp_check_index(x, start, x->rows, 1ull << 31) : 0;
	/* zw_cp_load_seqs() checks positions; one that is wrong must do no harm here. */
	for (uint32_t r = 0; r < x->rows && !err; r++) {
		int64_t from = start ? start[r] : 0;

		if (p->window && (int64_t)pos[r] + 1 - p->window > from)
			from = (int64_t)pos[r] + 1 - p->window;
		plan->from[r] = (int32_t)(from > INT32_MAX - 1 ? INT32_MAX - 1 : from);
	}
	return err;
}

static int make_runs(struct zw_cp_exec *x, struct attention_plan *plan)
{
	const struct kv_seqs *seqs = &plan->seqs;

	plan->run = zw_cp_alloc(x, x->rows, sizeof(*plan->run));
	if (!plan->run)
		return -EIO;
	for (uint32_t r = 0; r < x->rows; r++) {
		const struct kv_seq *q = &seqs->seq[seqs->of_row[r]];

		if (!r || seqs->of_row[r] != seqs->of_row[r - 1])
			plan->run[plan->runs++] = (struct zw_k_kv_seq){
				.n_pages = kv_seq_entries(q),
				.page_first = q->first,
				.q_first = r,
				.kv_len = q->max_pos + 1,
			};
		plan->run[plan->runs - 1].q_count++;
	}
	return 0;
}

/* -- what it costs ---------------------------------------------------------------------------------------- */

/*
 * Keys, and as many values, that some query rows read. What fits into half of the SRAM is read once; else once for
 * each half SRAM of query rows.
 */
static uint64_t kv_bytes(const struct zw_cp_exec *x, uint64_t bytes, uint64_t query_heads)
{
	const struct zw_pkt_attention *p = x->pkt;
	uint64_t half = x->profile->sram_bytes / 2 ? x->profile->sram_bytes / 2 : 1, q;

	if (zw_cp_mul_sat(bytes, 2) <= half)
		return bytes;
	q = query_heads * p->q.dim[2] * zw_cp_dtype_size(p->q.dtype);
	return zw_cp_mul_sat(bytes, q / half + !!(q % half));
}

/* Rows of a run that see keys, as tiles: all heads of a group in one if they fit, else each head by itself. */
static void count_tiles(const struct zw_cp_exec *x, struct attention_plan *plan,
			const struct zw_k_kv_seq *run)
{
	const struct zw_pkt_attention *p = x->pkt;
	const int32_t *pos = x->index[ATT_POS];
	uint32_t heads = p->q.dim[1], kv_heads = p->k_cache.dim[2], group = heads / kv_heads;
	bool packed = (uint64_t)run->q_count * group <= x->profile->attn_tile;
	uint32_t step = packed ? run->q_count : x->profile->attn_tile;

	for (uint32_t r = 0; r < run->q_count; r += step) {
		uint32_t n = run->q_count - r < step ? run->q_count - r : step;
		int64_t from = INT64_MAX, end = 0;

		for (uint32_t i = run->q_first + r; i < run->q_first + r + n; i++) {
			from = plan->from[i] < from ? plan->from[i] : from;
			end = pos[i] + 1ll > end ? pos[i] + 1ll : end;
		}
		if (end <= from)
			continue;
		zw_cp_attn_rows(x->profile, &plan->work, packed ? (uint64_t)n * group : n,
				(uint64_t)(end - from), packed ? kv_heads : heads);
	}
	plan->work.packed &= packed;
}

/* Without lists: rows that follow each other in one sequence share what they read. */
static uint64_t count_runs(struct zw_cp_exec *x, struct attention_plan *plan, uint64_t token_bytes)
{
	const struct zw_pkt_attention *p = x->pkt;
	const int32_t *pos = x->index[ATT_POS];
	uint64_t bytes = 0, pairs = 0;

	for (uint32_t r = 0; r < x->rows; r++)
		if (plan->from[r] <= pos[r])
			pairs += (uint64_t)(pos[r] - plan->from[r]) + 1;
	x->scores = zw_cp_mul_sat(pairs, p->q.dim[1]);
	for (uint32_t i = 0; i < plan->runs; i++) {
		const struct kv_seq *q = &plan->seqs.seq[plan->seqs.of_row[plan->run[i].q_first]];
		uint64_t keys = q->pos_end > q->pos_first ? q->pos_end - q->pos_first : 0;

		count_tiles(x, plan, &plan->run[i]);
		bytes = zw_cp_add_sat(bytes,
				      kv_bytes(x, keys * token_bytes,
					       (uint64_t)plan->run[i].q_count * p->q.dim[1]));
	}
	return bytes;
}

static uint64_t list_pairs(const struct zw_cp_exec *x, const struct attention_plan *plan,
			   const struct zw_k_attn_list *l, uint32_t t)
{
	const int32_t *pos = x->index[ATT_POS];
	uint64_t pairs = 0;

	for (uint32_t r = l->q_first; r < l->q_first + l->q_count; r++) {
		uint32_t from = (uint32_t)plan->from[r], end = (uint32_t)pos[r] + 1;

		if (from >= end)
			continue;
		pairs += zw_k_list_blocks_below(l, t, end) + zw_k_list_columns_below(l, end);
		if (from)
			pairs -= zw_k_list_blocks_below(l, t, from) +
				 zw_k_list_columns_below(l, from);
	}
	return pairs;
}

/* How many positions of [block, block + t) lie in [from, end). */
static uint32_t overlap(uint64_t block, uint32_t t, uint32_t from, uint32_t end)
{
	uint64_t lo = block > from ? block : from, hi = block + t < end ? block + t : end;

	return hi > lo ? (uint32_t)(hi - lo) : 0;
}

/* What the heads of one KV head read together, each key once. */
struct key_union {
	uint32_t *stamp; /* of the entries of a sequence: who counted it last */
	uint32_t now;
	uint32_t *column, *spare; /* ascending, each once; as much memory */
	uint64_t n_columns, cap_columns;
};

/* Columns first..end - 1 of a list, which ascend, among those that there are. */
static int union_merge(struct zw_cp_exec *x, struct key_union *u, const int32_t *list,
		       uint32_t first, uint32_t end)
{
	uint64_t i = 0, n = 0, cap = u->n_columns + (end - first);
	uint32_t *more;

	if (cap > u->cap_columns) {
		cap += u->cap_columns;
		more = zw_cp_alloc(x, cap, sizeof(*more));
		u->spare = zw_cp_alloc(x, cap, sizeof(*u->spare));
		if (!more || !u->spare)
			return -EIO;
		if (u->n_columns)
			memcpy(more, u->column, u->n_columns * sizeof(*more));
		u->column = more;
		u->cap_columns = cap;
	}
	for (uint32_t c = first; c < end; c++) {
		uint32_t v = (uint32_t)list[c];

		while (i < u->n_columns && u->column[i] < v)
			u->spare[n++] = u->column[i++];
		i += i < u->n_columns && u->column[i] == v;
		u->spare[n++] = v;
	}
	while (i < u->n_columns)
		u->spare[n++] = u->column[i++];
	more = u->column;
	u->column = u->spare;
	u->spare = more;
	u->n_columns = n;
	return 0;
}

static int union_add(struct zw_cp_exec *x, const struct attention_plan *plan,
		     const struct kv_item *item, const struct zw_k_attn_list *l, uint32_t t,
		     struct key_union *u, uint64_t *keys)
{
	uint32_t s = plan->seqs.of_row[item->first];
	const struct kv_seq *q = &plan->seqs.seq[s];
	uint32_t c = zw_k_list_columns_below(l, item->from);
	uint32_t c_end = zw_k_list_columns_below(l, item->end);

	for (uint32_t i = 0; i < l->n_blocks; i++) {
		uint32_t b = (uint32_t)l->blocks[i];
		uint32_t n = overlap((uint64_t)b * t, t, item->from, item->end);

		if (!n)
			continue;
		plan->used[s][b - q->first] = true;
		*keys += u->stamp[b - q->first] == u->now ? 0 : n;
		u->stamp[b - q->first] = u->now;
	}
	for (uint32_t k = c; k < c_end; k++)
		plan->used[s][(uint32_t)l->columns[k] / t - q->first] = true;
	return union_merge(x, u, l->columns, c, c_end);
}

/* Columns that lie in no counted block, each once. */
static uint64_t union_columns(const struct kv_seq *q, uint32_t t, const struct key_union *u)
{
	uint64_t keys = 0;

	for (uint64_t i = 0; i < u->n_columns; i++)
		keys += u->stamp[u->column[i] / t - q->first] != u->now;
	return keys;
}

/* With lists: the heads of a KV head share what they read, for the rows of one group of one sequence. */
static int count_lists(struct zw_cp_exec *x, struct attention_plan *plan, uint64_t head_bytes,
		       uint64_t *bytes)
{
	const struct zw_pkt_attention *p = x->pkt;
	uint32_t heads = p->q.dim[1], group = heads / p->k_cache.dim[2], t = p->k_cache.dim[1];
	struct key_union u = {.now = 0};
	uint32_t most = 0;

	plan->used = zw_cp_alloc(x, plan->seqs.n, sizeof(*plan->used));
	if (!plan->used)
		return -EIO;
	for (uint32_t s = 0; s < plan->seqs.n; s++) {
		uint32_t n = kv_seq_entries(&plan->seqs.seq[s]);

		plan->used[s] = zw_cp_alloc(x, n, sizeof(**plan->used));
		if (!plan->used[s])
			return -EIO;
		most = n > most ? n : most;
	}
	u.stamp = zw_cp_alloc(x, most, sizeof(*u.stamp));
	if (!u.stamp)
		return -EIO;
	for (uint32_t i = 0; i < plan->lists.n_items; i++) {
		const struct kv_item *item = &plan->lists.item[i];
		const struct kv_seq *q = &plan->seqs.seq[plan->seqs.of_row[item->first]];

		for (uint32_t h = 0; h < heads && item->end; h += group) {
			const struct zw_k_attn_list *l = &plan->lists.list[(uint64_t)i * heads + h];
			uint64_t keys = 0;

			if (x->cfg->pool && zw_pool_cancelled(x->cfg->pool))
				return zw_cp_fail(x, ZW_JOB_CANCELED, ZW_REASON_NONE);
			u.now++;
			u.n_columns = 0;
			for (uint32_t j = 0; j < group; j++) {
				x->scores = zw_cp_add_sat(x->scores, list_pairs(x, plan, &l[j], t));
				if (union_add(x, plan, item, &l[j], t, &u, &keys))
					return -EIO;
			}
			keys += union_columns(q, t, &u);
			*bytes = zw_cp_add_sat(*bytes, kv_bytes(x, keys * head_bytes,
								(uint64_t)item->count * group));
		}
	}
	return 0;
}

/*
 * What the part of the on-chip memory for KV blocks has is not read of HBM now. Decodes only: a prompt writes what it
 * reads, and what lists will name nobody knows before. A packet that fails behind this ends its job and its queue.
 */
static uint64_t kv_cache_ps(struct zw_cp_exec *x, const struct attention_plan *plan)
{
	static const unsigned int opds[] = {ATT_KC, ATT_VC, ATT_KS, ATT_VS};
	const struct zw_pkt_attention *p = x->pkt;
	uint64_t free_ps = x->clk->engine_free[x->op->engine], here;
	struct zw_cp_kv_read r = {
		.pool_va = p->k_cache.va,
		.block_bytes = zw_cp_bytes(p->k_cache.dtype, p->k_cache.stride[0]),
		.block = plan->blocks,
		.n = plan->n_blocks,
		.ready_ps = zw_cp_clock_ready(x->clk, &p->hdr),
	};

	if (free_ps > r.ready_ps)
		r.ready_ps = free_ps;
	for (unsigned int i = 0; i < sizeof(opds) / sizeof(opds[0]); i++)
		r.bytes = zw_cp_add_sat(r.bytes, x->traffic[opds[i]].hbm_read);
	here = zw_cp_kv_hits(x->kv, x->profile, &r, &x->cost.hbm_early);
	x->kv_read = true;
	x->cost.hbm_read -= here;
	x->cost.sram_read = zw_cp_add_sat(x->cost.sram_read, here);
	return zw_cp_rate_ps(here, x->profile->kv_sram_bw, 1000);
}

static uint64_t attention_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_attention *p = x->pkt;
	const struct attention_plan *plan = x->plan;
	struct zw_cp_tensor_unit unit = zw_cp_unit(x, p->q.dtype, p->k_cache.dtype);
	/* the softmax runs beside the products */
	uint64_t softmax = zw_cp_vector_ps(x->profile, x->scores, 5), mma, power;

	/* scores and weighted values: 2 d each */
	x->cost.ops = zw_cp_mul_sat(x->scores, 4ull * p->q.dim[2]);
	x->cost.ops_fj = (uint32_t)((uint64_t)unit.fj * x->profile->attn_energy_permille / 1000);
	x->cost.hbm_permille = x->profile->attn_hbm_permille;
	x->cost.fixed_ps = zw_cp_attn_fixed_ps(x->profile, &plan->work);
	mma = plan->skips || unit.vector
		      ? zw_cp_rate_ps(x->cost.ops, unit.rate, x->profile->attn_permille)
		      : zw_cp_attn_ps(x->profile, &plan->work, p->q.dim[2], unit.rate);
	power = zw_cp_power_ps(x->profile, x->cost.ops, x->cost.ops_fj);
	mma = power > mma ? power : mma;
	/* one engine for both has nothing beside it */
	if (!zw_cp_feature(x, ZW_PKT_F_NO_TENSOR))
		mma = zw_cp_add_sat(mma, softmax);
	mma = mma > softmax ? mma : softmax;
	if (plan->work.packed && !plan->lists.n_items && zw_cp_feature(x, ZW_PKT_F_NO_KV_CACHE)) {
		uint64_t on_chip = kv_cache_ps(x, plan);

		mma = on_chip > mma ? on_chip : mma;
	}
	return mma;
}

/* -- what it reads ---------------------------------------------------------------------------------------- */

static bool is_used(const struct attention_plan *plan, uint32_t s, uint32_t entry)
{
	return !plan->used || plan->used[s][entry];
}

/* Appends the blocks of sequence s that are read. */
static int take_blocks(struct zw_cp_exec *x, const struct attention_plan *plan, uint32_t s,
		       uint64_t *blocks, uint32_t *n)
{
	const struct zw_pkt_attention *p = x->pkt;
	const struct kv_seq *q = &plan->seqs.seq[s];
	uint32_t entries = kv_seq_entries(q);
	/* What is not read may be anything. */
	int err = plan->used ? 0 : zw_cp_check_index(x, q->blocks, entries, p->k_cache.dim[0]);

	for (uint32_t i = 0; i < entries && !err; i++) {
		if (!is_used(plan, s, i))
			continue;
		if (plan->used)
			err = zw_cp_check_index(x, &q->blocks[i], 1, p->k_cache.dim[0]);
		blocks[(*n)++] = (uint64_t)q->blocks[i];
	}
	return err;
}

/* Maps the blocks that are read and gives each run its pages. */
static int map_blocks(struct zw_cp_exec *x, struct attention_plan *plan, uint64_t bytes)
{
	const struct zw_pkt_attention *p = x->pkt;
	unsigned int esize = zw_cp_dtype_size(p->k_cache.dtype);
	struct kv_seqs *seqs = &plan->seqs;
	struct kv_units m = {
		.per_block = 1,
		.unit_bytes =
			(uint64_t)p->k_cache.dim[1] * p->k_cache.dim[2] * p->k_cache.dim[3] * esize,
		.access = ZW_ACCESS_READ,
		.count_bytes = bytes,
	};
	uint64_t *blocks = zw_cp_alloc(x, seqs->refs, sizeof(*blocks));
	/* What there is of each block: keys, values, and of a quantised cache the scales of both. */
	static const unsigned int opds[] = {ATT_KC, ATT_VC, ATT_KS, ATT_VS};
	const struct zw_tensor *pools[] = {&p->k_cache, &p->v_cache, &p->k_scale, &p->v_scale};
	unsigned int n_pools = p->k_scale.dtype ? 4 : 2;
	uint64_t head_bytes = (uint64_t)p->k_cache.dim[3] * esize;
	bool look = zw_cp_timing_only(x); /* nobody follows pointers */
	void **ptr[4];
	uint32_t n = 0;
	int err = 0;

	if (!blocks)
		return -EIO;
	for (unsigned int i = 0; i < n_pools; i++) {
		ptr[i] = look ? NULL : zw_cp_alloc(x, seqs->refs, sizeof(**ptr));
		if (!ptr[i] && !look)
			return -EIO;
	}
	for (uint32_t s = 0; s < seqs->n; s++) {
		err = take_blocks(x, plan, s, blocks, &n);
		if (err)
			return err;
	}
	m.unit = blocks;
	m.n = zw_cp_sort_unique(blocks, n);
	plan->blocks = blocks;
	plan->n_blocks = m.n;
	for (unsigned int i = 0; i < n_pools; i++) {
		m.block_bytes = zw_cp_bytes(pools[i]->dtype, pools[i]->stride[0]);
		if (i == 2) { /* one for each head of a key */
			m.unit_bytes =
				(uint64_t)p->k_cache.dim[1] * p->k_cache.dim[2] * sizeof(float);
			m.count_bytes = bytes / head_bytes * sizeof(float);
		}
		err = zw_cp_map_units(x, opds[i], &m, ptr[i]);
		if (err)
			return err;
	}
	if (look)
		return 0;
	for (uint32_t s = 0; s < seqs->n; s++) {
		struct kv_seq *q = &seqs->seq[s];
		uint32_t entries = kv_seq_entries(q);

		void ***pages[] = {&q->k_pages, &q->v_pages, &q->k_scales, &q->v_scales};

		for (unsigned int j = 0; j < n_pools; j++) {
			*pages[j] = zw_cp_alloc(x, entries, sizeof(**pages[j]));
			if (!*pages[j])
				return -EIO;
		}
		for (uint32_t i = 0; i < entries; i++) {
			uint32_t at;

			if (!is_used(plan, s, i))
				continue;
			at = zw_cp_find(blocks, m.n, (uint64_t)q->blocks[i]);
			for (unsigned int j = 0; j < n_pools; j++)
				(*pages[j])[i] = ptr[j][at];
		}
	}
	for (uint32_t i = 0; i < plan->runs; i++) {
		const struct kv_seq *q = &seqs->seq[seqs->of_row[plan->run[i].q_first]];

		plan->run[i].k_pages = q->k_pages;
		plan->run[i].v_pages = q->v_pages;
		plan->run[i].k_scales = q->k_scales;
		plan->run[i].v_scales = q->v_scales;
	}
	return 0;
}

static int attention_prepare(struct zw_cp_exec *x)
{
	static const struct kv_list_opds lists = {ATT_BLOCKS, ATT_COUNTS, ATT_COLUMNS,
						  ATT_COLUMN_COUNTS};
	const struct zw_pkt_attention *p = x->pkt;
	const int32_t *pos = x->index[ATT_POS];
	uint32_t t = p->k_cache.dim[1];
	uint64_t head_bytes = (uint64_t)p->k_cache.dim[3] * zw_cp_dtype_size(p->k_cache.dtype);
	struct attention_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint64_t bytes = 0;
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	plan->work.packed = true;
	err = row_starts(x, plan);
	if (!err)
		err = zw_cp_load_seqs(x, pos, plan->from, x->index[ATT_SEQ], ATT_TABLE, t,
				      &plan->seqs);
	if (!err)
		err = make_runs(x, plan);
	if (err)
		return err;
	if (p->sparse_blocks.dtype || p->sparse_columns.dtype) {
		err = zw_cp_load_lists(x, &lists, p->q.dim[0], pos, plan->from, plan->seqs.of_row,
				       p->block_table.dim[1], t, &plan->lists);
		if (!err)
			err = count_lists(x, plan, head_bytes, &bytes);
		plan->skips = plan->lists.n_items && zw_cp_feature(x, ZW_PKT_F_NO_SPARSE);
	}
	if (!err && !plan->skips)
		bytes = count_runs(x, plan, head_bytes * p->k_cache.dim[2]);
	return err ? err : map_blocks(x, plan, bytes);
}

static int attention_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_attention *p = x->pkt;
	const struct attention_plan *plan = x->plan;
	struct zw_k_attn_args args = {
		.rows = x->rows,
		.n_q = p->q.dim[1],
		.n_kv = p->k_cache.dim[2],
		.d = p->q.dim[2],
		.block_size = p->k_cache.dim[1],
		.kv_dtype = p->k_cache.dtype,
		.n_seqs = plan->runs,
		.seqs = plan->run,
		.positions = x->index[ATT_POS],
		.start = p->window || p->start.dtype ? plan->from : NULL,
		.sinks = p->sinks.dtype ? x->view[ATT_SINKS].ptr : NULL,
		.lists = plan->lists.list,
		.n_lists = (uint64_t)plan->lists.n_items * p->q.dim[1],
		.q = zw_cp_in(x, ATT_Q),
		.out = zw_cp_out(x, ATT_Y),
		.lse = p->lse.dtype ? x->view[ATT_LSE].ptr : NULL,
		.lse_ld = p->lse.stride[0],
	};

	memcpy(&args.scale, &p->scale_f32, sizeof(args.scale));
	return zw_cp_kernel_status(x, zw_k_attn(&args, x->cfg->pool));
}

const struct zw_cp_impl zw_cp_attention = {
	.validate = attention_validate,
	.prepare = attention_prepare,
	.run = attention_run,
	.compute = attention_compute,
};
