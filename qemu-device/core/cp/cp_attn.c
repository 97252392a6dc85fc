// SPDX-License-Identifier: MIT
/*
 * Attention engine: writing and reading the paged KV cache. Only what the positions of a packet touch is mapped:
 * slots of single tokens to write, blocks to read. A cache may be far larger than what one step uses, and its blocks
 * need not be neighbours in memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zw_cp_int.h"

#define BIT(i) (1u << (i))

/* -- what both packets share ---------------------------------------------------------------------------- */

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorts and drops duplicates; returns how many are left. */
static uint32_t sort_unique(uint64_t *v, uint32_t n)
{
	uint32_t out = 0;
	bool sorted = true;

	for (uint32_t i = 1; i < n && sorted; i++)
		sorted = v[i - 1] < v[i];
	if (sorted)
		return n;
	qsort(v, n, sizeof(*v), cmp_u64);
	for (uint32_t i = 0; i < n; i++)
		if (!out || v[out - 1] != v[i])
			v[out++] = v[i];
	return out;
}

/* Index of a key that is in the sorted array. */
static uint32_t find(const uint64_t *v, uint32_t n, uint64_t key)
{
	uint32_t lo = 0, hi = n;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (v[mid] <= key)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Pools whose blocks are dense inside, of one type, with a legal block size. */
static uint32_t pools_validate(const struct zw_tensor *k, const struct zw_tensor *v,
			       const struct zw_tensor *k_scale, const struct zw_tensor *v_scale)
{
	uint32_t t = k->dim[1];

	if (t < 8 || t > 1024 || (t & (t - 1)))
		return ZW_REASON_VALUE;
	if (k->dim[3] > ZW_CP_MAX_HEAD)
		return ZW_REASON_LIMIT;
	if (k->dtype != v->dtype)
		return ZW_REASON_DTYPE;
	for (int i = 0; i < 2; i++) {
		const struct zw_tensor *c = i ? v : k;

		if (c->stride[2] != c->dim[3] || c->stride[1] != (uint64_t)c->dim[2] * c->dim[3])
			return ZW_REASON_STRIDE;
	}
	/* Both pools are of one type: both have scales, or none. */
	if (ZW_DT_SCALED >> k->dtype & 1 ? !k_scale->dtype || !v_scale->dtype
					 : k_scale->dtype || v_scale->dtype)
		return ZW_REASON_OPERAND;
	return ZW_REASON_NONE;
}

/* The part of the block table that a packet needs of one sequence. */
struct kv_seq {
	uint32_t seq;
	uint32_t first, last; /* entries */
	uint32_t max_pos;
	int32_t *blocks; /* entry first is blocks[0]; not range-checked */
	void **k_pages, **v_pages;
};

struct kv_seqs {
	struct kv_seq *seq;
	uint32_t n;
	uint32_t *of_row; /* row -> index in seq */
	uint32_t refs;    /* entries of all of them */
};

/*
 * Groups the rows by sequence and reads the block table where they need it: from the entry of the lowest position
 * (from_start: from entry 0) to that of the highest. pos and seq are checked here. seq may be NULL: all are 0.
 */
static int load_seqs(struct zw_cp_exec *x, const int32_t *pos, const int32_t *seq,
		     unsigned int table_opd, uint32_t t, bool from_start, struct kv_seqs *out)
{
	const struct zw_tensor *table = zw_cp_tensor_at(x->op, x->pkt, table_opd);
	uint32_t rows = x->rows;
	uint64_t *keys, refs = 0, run_refs = 0;
	int err;

	err = zw_cp_check_index(x, pos, rows, (uint64_t)table->dim[1] * t);
	if (!err && seq)
		err = zw_cp_check_index(x, seq, rows, table->dim[0]);
	if (err)
		return err;

	keys = zw_cp_alloc(x, rows, sizeof(*keys));
	out->of_row = zw_cp_alloc(x, rows, sizeof(*out->of_row));
	if (!keys || !out->of_row)
		return -EIO;
	for (uint32_t i = 0; i < rows; i++)
		keys[i] = seq ? (uint64_t)seq[i] : 0;
	out->n = sort_unique(keys, rows);
	out->seq = zw_cp_alloc(x, out->n, sizeof(*out->seq));
	if (!out->seq)
		return -EIO;
	for (uint32_t i = 0; i < out->n; i++) {
		out->seq[i].seq = (uint32_t)keys[i];
		out->seq[i].first = from_start ? 0 : UINT32_MAX;
	}
	for (uint32_t i = 0; i < rows; i++) {
		uint32_t s = find(keys, out->n, seq ? (uint64_t)seq[i] : 0),
			 entry = (uint32_t)pos[i] / t;
		struct kv_seq *q = &out->seq[s];

		out->of_row[i] = s;
		q->max_pos = (uint32_t)pos[i] > q->max_pos ? (uint32_t)pos[i] : q->max_pos;
		q->first = entry < q->first ? entry : q->first;
		q->last = entry > q->last ? entry : q->last;
	}
	for (uint32_t i = 0; i < out->n; i++)
		refs += (uint64_t)out->seq[i].last - out->seq[i].first + 1;
	/* The kernel looks at the pages of a sequence once for every run of its rows. */
	for (uint32_t i = 0; from_start && i < rows; i++)
		if (!i || out->of_row[i] != out->of_row[i - 1])
			run_refs += (uint64_t)out->seq[out->of_row[i]].last + 1;
	if (refs > ZW_CP_MAX_PAGE_REFS || run_refs > ZW_CP_MAX_PAGE_REFS)
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
	out->refs = (uint32_t)refs;
	for (uint32_t i = 0; i < out->n; i++) {
		struct kv_seq *q = &out->seq[i];
		uint32_t n = q->last - q->first + 1;

		q->blocks = zw_cp_alloc(x, n, sizeof(*q->blocks));
		if (!q->blocks)
			return -EIO;
		err = zw_cp_read_index(x, table_opd,
				       table->va + (q->seq * table->stride[0] + q->first) * 4, n,
				       q->blocks);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Maps units (a block, or a token's slot of a block) of a pool and leaves a host pointer for each. unit[] is sorted and
 * unique; neighbours that follow each other in memory share a view.
 */
struct unit_map {
	const uint64_t *unit;
	uint32_t n;
	uint32_t per_block; /* units in a block */
	uint64_t unit_bytes;
	uint64_t block_bytes; /* from one block to the next */
	uint32_t access;
	uint64_t count_bytes; /* traffic of the operand */
};

static int map_units(struct zw_cp_exec *x, unsigned int opd, const struct unit_map *m, void **ptr)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, opd);
	bool dense = m->block_bytes == m->per_block * m->unit_bytes;
	uint64_t counted = 0;
	size_t *slot = zw_cp_alloc(x, m->n, sizeof(*slot));
	uint32_t *at = zw_cp_alloc(x, m->n, sizeof(*at));

	if (!slot || !at)
		return -EIO;
	for (uint32_t i = 0, j; i < m->n; i = j) {
		uint64_t u = m->unit[i], bytes;
		int err;

		for (j = i + 1; j < m->n && m->unit[j] == m->unit[j - 1] + 1; j++)
			if (!dense && m->unit[j] % m->per_block == 0)
				break;
		/* Each view its share; the division's remainder goes to the last. */
		bytes = j == m->n ? m->count_bytes - counted : m->count_bytes / m->n * (j - i);
		counted += bytes;
		err = zw_cp_map_late(x, opd,
				     t->va + u / m->per_block * m->block_bytes +
					     u % m->per_block * m->unit_bytes,
				     (j - i) * m->unit_bytes, m->access, bytes, &slot[i]);
		if (err)
			return err;
		for (uint32_t k = i; k < j; k++) {
			slot[k] = slot[i];
			at[k] = k - i;
		}
	}
	for (uint32_t i = 0; i < m->n; i++)
		ptr[i] = (char *)x->late[slot[i]].ptr + at[i] * m->unit_bytes;
	return 0;
}

/* -- KV_WRITE ------------------------------------------------------------------------------------------- */

enum { KVW_K, KVW_V, KVW_POS, KVW_SEQ, KVW_TABLE, KVW_KC, KVW_VC, KVW_KS, KVW_VS };

static uint32_t kv_write_validate(const void *pkt)
{
	const struct zw_pkt_kv_write *p = pkt;

	return pools_validate(&p->k_cache, &p->v_cache, &p->k_scale, &p->v_scale);
}

/* The slots that rows go to, as pages of one token. */
struct kv_write_plan {
	struct zw_k_kv_seq all;
	const int32_t *target;
};

static int kv_write_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_kv_write *p = x->pkt;
	const int32_t *pos = x->index[KVW_POS];
	uint32_t t = p->k_cache.dim[1], rows = x->rows;
	unsigned int esize = zw_cp_dtype_size(p->k_cache.dtype);
	struct kv_seqs seqs = {0};
	struct unit_map m = {
		.per_block = t,
		.unit_bytes = (uint64_t)p->k_cache.dim[2] * p->k_cache.dim[3] * esize,
		.access = ZW_ACCESS_WRITE,
	};
	struct kv_write_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint64_t *slot, *unique;
	int32_t *target;
	void **k_ptr, **v_ptr;
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	err = load_seqs(x, pos, x->index[KVW_SEQ], KVW_TABLE, t, false, &seqs);
	if (err)
		return err;
	slot = zw_cp_alloc(x, rows, sizeof(*slot));
	unique = zw_cp_alloc(x, rows, sizeof(*unique));
	target = zw_cp_alloc(x, rows, sizeof(*target));
	k_ptr = zw_cp_alloc(x, rows, sizeof(*k_ptr));
	v_ptr = zw_cp_alloc(x, rows, sizeof(*v_ptr));
	if (!slot || !unique || !target || !k_ptr || !v_ptr)
		return -EIO;
	for (uint32_t i = 0; i < rows; i++) {
		const struct kv_seq *q = &seqs.seq[seqs.of_row[i]];
		int32_t block = q->blocks[(uint32_t)pos[i] / t - q->first];

		err = zw_cp_check_index(x, &block, 1, p->k_cache.dim[0]);
		if (err)
			return err;
		slot[i] = (uint64_t)block * t + (uint32_t)pos[i] % t;
	}
	/*
	 * To the kernel it is one sequence of one-token pages: sequences may share blocks, and of two rows for one slot
	 * the later has to win whichever sequence they name.
	 */
	memcpy(unique, slot, rows * sizeof(*slot));
	m.unit = unique;
	m.n = sort_unique(unique, rows);
	for (uint32_t i = 0; i < rows; i++)
		target[i] = (int32_t)find(unique, m.n, slot[i]);
	m.count_bytes = zw_cp_mul_sat(m.unit_bytes, rows);
	m.block_bytes = p->k_cache.stride[0] * esize;
	err = map_units(x, KVW_KC, &m, k_ptr);
	m.block_bytes = p->v_cache.stride[0] * esize;
	if (!err)
		err = map_units(x, KVW_VC, &m, v_ptr);
	if (err)
		return err;
	plan->all = (struct zw_k_kv_seq){
		.k_pages = k_ptr,
		.v_pages = v_ptr,
		.n_pages = m.n,
		.q_count = rows,
		.kv_len = m.n,
	};
	plan->target = target;
	return 0;
}

static int kv_write_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_kv_write *p = x->pkt;
	const struct kv_write_plan *plan = x->plan;
	struct zw_k_kv_write_args args = {
		.rows = x->rows,
		.n_kv = p->k.dim[1],
		.d = p->k.dim[2],
		.block_size = 1,
		.kv_dtype = p->k_cache.dtype,
		.n_seqs = 1,
		.seqs = &plan->all,
		.positions = plan->target,
		.k = zw_cp_in(x, KVW_K),
		.v = zw_cp_in(x, KVW_V),
	};

	return zw_cp_kernel_status(x, zw_k_kv_write(&args, x->cfg->pool));
}

const struct zw_cp_impl zw_cp_kv_write = {
	.no_operand = BIT(KVW_KS) | BIT(KVW_VS),
	.validate = kv_write_validate,
	.prepare = kv_write_prepare,
	.run = kv_write_run,
};

/* -- ATTENTION ------------------------------------------------------------------------------------------ */

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
};
enum { ATT_SCALE, ATT_WINDOW };

static uint32_t attention_validate(const void *pkt)
{
	const struct zw_pkt_attention *p = pkt;

	if (!p->sparse_blocks.dtype != !p->sparse_counts.dtype)
		return ZW_REASON_OPERAND;
	if (p->q.dim[1] % p->k_cache.dim[2])
		return ZW_REASON_SHAPE;
	return pools_validate(&p->k_cache, &p->v_cache, &p->k_scale, &p->v_scale);
}

/*
 * Cost accounting: rows that follow each other in one sequence share what they read. Keys and values that fit into
 * half of the SRAM are read once; else once for each half SRAM of query rows.
 */
static uint64_t kv_bytes(struct zw_cp_exec *x, const struct zw_tensor *q, uint64_t token_bytes,
			 uint32_t run, uint32_t len)
{
	uint64_t half = x->profile->sram_bytes / 2 ? x->profile->sram_bytes / 2 : 1;
	uint64_t bytes = zw_cp_mul_sat(token_bytes, len), qbytes;

	if (zw_cp_mul_sat(bytes, 2) <= half)
		return bytes;
	qbytes = (uint64_t)run * q->dim[1] * q->dim[2] * zw_cp_dtype_size(q->dtype);
	return zw_cp_mul_sat(bytes, qbytes / half + !!(qbytes % half));
}

/* Runs of rows of one sequence each, with the pages they see. */
struct attention_plan {
	const struct zw_k_kv_seq *run;
	uint32_t runs;
};

static int attention_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_attention *p = x->pkt;
	const int32_t *pos = x->index[ATT_POS];
	uint32_t t = p->k_cache.dim[1], rows = x->rows, n_blocks = 0, runs = 0;
	unsigned int esize = zw_cp_dtype_size(p->k_cache.dtype);
	uint64_t token_bytes = (uint64_t)p->k_cache.dim[2] * p->k_cache.dim[3] * esize,
		 read_bytes = 0;
	struct kv_seqs seqs = {0};
	struct unit_map m = {
		.per_block = 1,
		.unit_bytes = token_bytes * t,
		.access = ZW_ACCESS_READ,
	};
	struct zw_k_kv_seq *run;
	struct attention_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint64_t *blocks;
	void **k_ptr, **v_ptr;
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	err = load_seqs(x, pos, x->index[ATT_SEQ], ATT_TABLE, t, true, &seqs);
	if (err)
		return err;
	blocks = zw_cp_alloc(x, seqs.refs, sizeof(*blocks));
	k_ptr = zw_cp_alloc(x, seqs.refs, sizeof(*k_ptr));
	v_ptr = zw_cp_alloc(x, seqs.refs, sizeof(*v_ptr));
	run = zw_cp_alloc(x, rows, sizeof(*run));
	if (!blocks || !k_ptr || !v_ptr || !run)
		return -EIO;
	for (uint32_t s = 0; s < seqs.n; s++) {
		const struct kv_seq *q = &seqs.seq[s];

		err = zw_cp_check_index(x, q->blocks, q->last + 1, p->k_cache.dim[0]);
		if (err)
			return err;
		for (uint32_t i = 0; i <= q->last; i++)
			blocks[n_blocks++] = (uint64_t)q->blocks[i];
	}
	m.unit = blocks;
	m.n = sort_unique(blocks, n_blocks);

	/* Runs of rows of one sequence; runs of the same sequence share its page array. */
	for (uint32_t r = 0; r < rows; r++) {
		struct kv_seq *q = &seqs.seq[seqs.of_row[r]];

		x->scores = zw_cp_add_sat(x->scores, (uint64_t)pos[r] + 1);
		if (!r || seqs.of_row[r] != seqs.of_row[r - 1])
			run[runs++] = (struct zw_k_kv_seq){
				.n_pages = q->last + 1,
				.q_first = r,
				.kv_len = q->max_pos + 1,
			};
		run[runs - 1].q_count++;
	}
	for (uint32_t i = 0; i < runs; i++)
		read_bytes = zw_cp_add_sat(
			read_bytes, kv_bytes(x, &p->q, token_bytes, run[i].q_count, run[i].kv_len));
	m.count_bytes = read_bytes;
	m.block_bytes = p->k_cache.stride[0] * esize;
	err = map_units(x, ATT_KC, &m, k_ptr);
	m.block_bytes = p->v_cache.stride[0] * esize;
	if (!err)
		err = map_units(x, ATT_VC, &m, v_ptr);
	if (err)
		return err;
	for (uint32_t s = 0; s < seqs.n; s++) {
		struct kv_seq *q = &seqs.seq[s];

		q->k_pages = zw_cp_alloc(x, q->last + 1ull, sizeof(*q->k_pages));
		q->v_pages = zw_cp_alloc(x, q->last + 1ull, sizeof(*q->v_pages));
		if (!q->k_pages || !q->v_pages)
			return -EIO;
		for (uint32_t i = 0; i <= q->last; i++) {
			uint32_t at = find(blocks, m.n, (uint64_t)q->blocks[i]);

			q->k_pages[i] = k_ptr[at];
			q->v_pages[i] = v_ptr[at];
		}
	}
	for (uint32_t i = 0; i < runs; i++) {
		run[i].k_pages = seqs.seq[seqs.of_row[run[i].q_first]].k_pages;
		run[i].v_pages = seqs.seq[seqs.of_row[run[i].q_first]].v_pages;
	}
	plan->run = run;
	plan->runs = runs;
	return 0;
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
		.q = zw_cp_in(x, ATT_Q),
		.out = zw_cp_out(x, ATT_Y),
		.lse = p->lse.dtype ? x->view[ATT_LSE].ptr : NULL,
		.lse_ld = p->lse.stride[0],
	};

	memcpy(&args.scale, &p->scale_f32, sizeof(args.scale));
	return zw_cp_kernel_status(x, zw_k_attn(&args, x->cfg->pool));
}

static uint64_t attention_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_attention *p = x->pkt;
	uint64_t pairs = zw_cp_mul_sat(x->scores, p->q.dim[1]);
	bool f32 = p->q.dtype == ZW_DTYPE_F32 || p->k_cache.dtype == ZW_DTYPE_F32;
	/* scores and weighted values: 2 d each */
	uint64_t mma =
		zw_cp_rate_ps(zw_cp_mul_sat(pairs, 4ull * p->q.dim[2]),
			      f32 ? x->profile->tensor_f32_flops : x->profile->tensor_bf16_flops,
			      x->profile->tensor_efficiency_permille);
	/* the softmax runs beside them */
	uint64_t softmax = zw_cp_vector_ps(x->profile, pairs, 5);

	return mma > softmax ? mma : softmax;
}

const struct zw_cp_impl zw_cp_attention = {
	.no_operand =
		BIT(ATT_KS) | BIT(ATT_VS) | BIT(ATT_SINKS) | BIT(ATT_BLOCKS) | BIT(ATT_COUNTS),
	.no_scalar = BIT(ATT_WINDOW),
	.validate = attention_validate,
	.prepare = attention_prepare,
	.run = attention_run,
	.compute = attention_compute,
};
