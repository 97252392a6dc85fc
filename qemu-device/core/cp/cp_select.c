// SPDX-License-Identifier: MIT
/* Attention engine: the packets that choose which keys queries attend to. They read keys, not values. */
#include <errno.h>
#include <string.h>

#include "cp_kv.h"

struct select_plan {
	struct kv_seqs seqs;
	int32_t *from; /* of each row: 0 */
	struct zw_k_kv_seq *run;
	uint32_t runs;
	int32_t *vertical, *slash; /* SELECT_SLASH */
};

/* Pool and heads: enum zw_reason. */
static uint32_t keys_validate(const struct zw_tensor *q, const struct zw_tensor *k_cache,
			      const struct zw_tensor *k_scale)
{
	if (q->dim[1] % k_cache->dim[2])
		return ZW_REASON_SHAPE;
	return zw_cp_pools_validate(k_cache, k_cache, k_scale, k_scale);
}

/* Each of the queries for keys further away goes with its ends: enum zw_reason. */
static uint32_t further_validate(const struct zw_tensor *q_mid, const struct zw_tensor *mid_end,
				 const struct zw_tensor *q_far, const struct zw_tensor *far_end)
{
	if (!q_mid->dtype != !mid_end->dtype || !q_far->dtype != !far_end->dtype)
		return ZW_REASON_OPERAND;
	return 0;
}

/* Operands q_opd and the one behind it. */
static int load_further(struct zw_cp_exec *x, unsigned int q_opd)
{
	if (!x->index[q_opd + 1])
		return 0;
	return zw_cp_check_index(x, x->index[q_opd + 1], x->rows, 1ull << 31);
}

static struct zw_k_further further(const struct zw_cp_exec *x, unsigned int q_opd)
{
	return (struct zw_k_further){.q = zw_cp_in(x, q_opd), .end = x->index[q_opd + 1]};
}

/* Rows of a group: the packet's, whatever the row count in memory. */
static uint32_t group_rows(const struct zw_tensor *q, const struct zw_tensor *counts)
{
	return q->dim[0] / counts->dim[0] + !!(q->dim[0] % counts->dim[0]);
}

/* Lists of groups without rows are empty, too. */
static void clear_lists(const struct zw_tensor *lists, int32_t *list,
			const struct zw_tensor *counts, int32_t *count)
{
	for (uint32_t g = 0; g < counts->dim[0]; g++) {
		for (uint32_t h = 0; h < counts->dim[1]; h++)
			memset(list + g * lists->stride[0] + h * lists->stride[1], 0,
			       lists->dim[2] * sizeof(*list));
		memset(count + g * counts->stride[0], 0, counts->dim[1] * sizeof(*count));
	}
}

static int load_runs(struct zw_cp_exec *x, struct select_plan *plan, unsigned int pos_opd,
		     unsigned int seq_opd, unsigned int table_opd, uint32_t t)
{
	int err;

	plan->from = zw_cp_alloc(x, x->rows, sizeof(*plan->from));
	plan->run = zw_cp_alloc(x, x->rows, sizeof(*plan->run));
	if (!plan->from || !plan->run)
		return -EIO;
	err = zw_cp_load_seqs(x, x->index[pos_opd], plan->from, x->index[seq_opd], table_opd, t,
			      &plan->seqs);
	if (err)
		return err;
	for (uint32_t r = 0; r < x->rows; r++) {
		const struct kv_seq *q = &plan->seqs.seq[plan->seqs.of_row[r]];

		if (!r || plan->seqs.of_row[r] != plan->seqs.of_row[r - 1])
			plan->run[plan->runs++] = (struct zw_k_kv_seq){
				.n_pages = kv_seq_entries(q),
				.q_first = r,
				.kv_len = q->max_pos + 1,
			};
		plan->run[plan->runs - 1].q_count++;
	}
	return 0;
}

/* Maps the first used[s] blocks of one pool of each sequence, and leaves a pointer for each; unit: of a block. */
static int map_pool(struct zw_cp_exec *x, const struct select_plan *plan, unsigned int opd,
		    const uint32_t *used, const struct kv_units *m, bool scales)
{
	const struct kv_seqs *seqs = &plan->seqs;
	void **ptr = zw_cp_alloc(x, seqs->refs, sizeof(*ptr));
	int err;

	if (!ptr)
		return -EIO;
	err = zw_cp_map_units(x, opd, m, ptr);
	if (err)
		return err;
	for (uint32_t s = 0; s < seqs->n; s++) {
		struct kv_seq *q = &seqs->seq[s];
		void ***pages = scales ? &q->k_scales : &q->k_pages;

		*pages = zw_cp_alloc(x, kv_seq_entries(q), sizeof(**pages));
		if (!*pages)
			return -EIO;
		for (uint32_t i = 0; i < used[s]; i++)
			(*pages)[i] = ptr[zw_cp_find(m->unit, m->n, (uint64_t)q->blocks[i])];
	}
	return 0;
}

/* Of a quantised pool the scales too; they count for as many keys as `bytes` are. */
static int map_keys(struct zw_cp_exec *x, struct select_plan *plan, unsigned int cache_opd,
		    unsigned int scale_opd, const uint32_t *used, uint64_t bytes)
{
	const struct zw_tensor *k = zw_cp_tensor_at(x->op, x->pkt, cache_opd);
	const struct zw_tensor *k_scale = zw_cp_tensor_at(x->op, x->pkt, scale_opd);
	unsigned int esize = zw_cp_dtype_size(k->dtype);
	struct kv_seqs *seqs = &plan->seqs;
	struct kv_units m = {
		.per_block = 1,
		.unit_bytes = (uint64_t)k->dim[1] * k->dim[2] * k->dim[3] * esize,
		.block_bytes = k->stride[0] * esize,
		.access = ZW_ACCESS_READ,
		.count_bytes = bytes,
	};
	uint64_t *blocks = zw_cp_alloc(x, seqs->refs, sizeof(*blocks));
	uint32_t n = 0;
	int err;

	if (!blocks)
		return -EIO;
	for (uint32_t s = 0; s < seqs->n; s++) {
		err = zw_cp_check_index(x, seqs->seq[s].blocks, used[s], k->dim[0]);
		if (err)
			return err;
		for (uint32_t i = 0; i < used[s]; i++)
			blocks[n++] = (uint64_t)seqs->seq[s].blocks[i];
	}
	m.unit = blocks;
	m.n = zw_cp_sort_unique(blocks, n);
	err = map_pool(x, plan, cache_opd, used, &m, false);
	if (!err && k_scale->dtype) { /* one for each head of a key */
		m.unit_bytes = (uint64_t)k->dim[1] * k->dim[2] * sizeof(float);
		m.block_bytes = k_scale->stride[0] * sizeof(float);
		m.count_bytes = bytes / ((uint64_t)k->dim[3] * esize) * sizeof(float);
		err = map_pool(x, plan, scale_opd, used, &m, true);
	}
	if (err)
		return err;
	/* Values are not looked at: the keys stand in for them. */
	for (uint32_t i = 0; i < plan->runs; i++) {
		const struct kv_seq *q = &seqs->seq[seqs->of_row[plan->run[i].q_first]];

		plan->run[i].k_pages = plan->run[i].v_pages = q->k_pages;
		plan->run[i].k_scales = plan->run[i].v_scales = q->k_scales;
	}
	return 0;
}

/* -- SELECT_BLOCKS ---------------------------------------------------------------------------------------- */

enum {
	SB_Q,
	SB_POS,
	SB_SEQ,
	SB_TABLE,
	SB_KC,
	SB_KS,
	SB_BLOCKS,
	SB_COUNTS,
	SB_MID, /* with its ends behind it */
	SB_FAR = SB_MID + 2,
};

static uint32_t select_blocks_validate(const void *pkt)
{
	const struct zw_pkt_select_blocks *p = pkt;
	uint32_t reason = further_validate(&p->q_mid, &p->mid_end, &p->q_far, &p->far_end);

	return reason ? reason : keys_validate(&p->q, &p->k_cache, &p->k_scale);
}

/* Blocks of a sequence that some group of it gives a score: those before its diagonal. */
static int count_scored(struct zw_cp_exec *x, const struct select_plan *plan, uint32_t *scored,
			uint64_t *pairs)
{
	const struct zw_pkt_select_blocks *p = x->pkt;
	uint32_t group = group_rows(&p->q, &p->counts), t = p->k_cache.dim[1];
	const int32_t *pos = x->index[SB_POS];

	for (uint32_t r = 0; r < x->rows; r += group) {
		uint32_t end = r + group < x->rows ? r + group : x->rows, first = UINT32_MAX;
		uint32_t s = plan->seqs.of_row[r];

		for (uint32_t i = r; i < end; i++) {
			if (plan->seqs.of_row[i] != s)
				return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
			first = (uint32_t)pos[i] < first ? (uint32_t)pos[i] : first;
		}
		scored[s] = first / t > scored[s] ? first / t : scored[s];
		*pairs += first / t;
	}
	return 0;
}

static int select_blocks_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_blocks *p = x->pkt;
	uint64_t block_elements =
		(uint64_t)p->k_cache.dim[1] * p->k_cache.dim[2] * p->k_cache.dim[3];
	struct select_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint64_t keys = 0;
	uint32_t *scored;
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	err = load_runs(x, plan, SB_POS, SB_SEQ, SB_TABLE, p->k_cache.dim[1]);
	if (!err)
		err = load_further(x, SB_MID);
	if (!err)
		err = load_further(x, SB_FAR);
	if (err)
		return err;
	scored = zw_cp_alloc(x, plan->seqs.n, sizeof(*scored));
	if (!scored)
		return -EIO;
	err = count_scored(x, plan, scored, &x->scores);
	if (err)
		return err;
	for (uint32_t i = 0; i < plan->runs; i++)
		keys = zw_cp_add_sat(keys, scored[plan->seqs.of_row[plan->run[i].q_first]]);
	/* the means are kept in memory of the device's own */
	if (zw_cp_mul_sat(keys, (uint64_t)p->k_cache.dim[2] * (p->k_cache.dim[3] + 8ull)) >
	    ZW_K_SELECT_MAX_MEANS)
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
	x->elements = zw_cp_mul_sat(keys, block_elements);
	return map_keys(x, plan, SB_KC, SB_KS, scored,
			zw_cp_mul_sat(x->elements, zw_cp_dtype_size(p->k_cache.dtype)));
}

static int select_blocks_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_blocks *p = x->pkt;
	const struct select_plan *plan = x->plan;
	struct zw_k_select_blocks_args args = {
		.rows = x->rows,
		.n_q = p->q.dim[1],
		.n_kv = p->k_cache.dim[2],
		.d = p->q.dim[2],
		.block_size = p->k_cache.dim[1],
		.kv_dtype = p->k_cache.dtype,
		.group = group_rows(&p->q, &p->counts),
		.most = p->blocks.dim[2],
		.n_seqs = plan->runs,
		.seqs = plan->run,
		.positions = x->index[SB_POS],
		.q = zw_cp_in(x, SB_Q),
		.mid = further(x, SB_MID),
		.far = further(x, SB_FAR),
		.blocks = x->view[SB_BLOCKS].ptr,
		.blocks_gs = p->blocks.stride[0],
		.blocks_hs = p->blocks.stride[1],
		.counts = x->view[SB_COUNTS].ptr,
		.counts_gs = p->counts.stride[0],
	};

	clear_lists(&p->blocks, args.blocks, &p->counts, args.counts);
	return zw_cp_kernel_status(x, zw_k_select_blocks(&args, x->cfg->pool));
}

static uint64_t select_blocks_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_blocks *p = x->pkt;
	struct zw_cp_tensor_unit unit = zw_cp_unit(x, ZW_DTYPE_F32, ZW_DTYPE_F32);
	uint64_t scores = zw_cp_mul_sat(x->scores, p->q.dim[1]);
	uint64_t queries = 1ull + !!p->q_mid.dtype + !!p->q_far.dtype;
	/* means of keys and queries, and the choice */
	uint64_t vector = zw_cp_add_sat(
		zw_cp_vector_ps(
			x->profile,
			zw_cp_add_sat(x->elements,
				      zw_cp_mul_sat(queries,
						    (uint64_t)x->rows * p->q.dim[1] * p->q.dim[2])),
			1),
		zw_cp_vector_ps(x->profile, scores, 4));

	return zw_cp_add_sat(vector, zw_cp_rate_ps(zw_cp_mul_sat(scores, 2ull * p->q.dim[2]),
						   unit.rate, unit.permille));
}

/* A list of a group and head: counts[g][h], and the numbers that count. */
static int write_list(struct zw_cp_exec *x, const struct zw_tensor *lists,
		      const struct zw_tensor *counts, uint32_t group, uint32_t head,
		      const int32_t *list, uint32_t n)
{
	int32_t count = (int32_t)n;
	int err = zw_mem_write(x->cfg->mmu, x->vm,
			       counts->va + (group * counts->stride[0] + head) * sizeof(count),
			       &count, sizeof(count), &x->fault);

	if (!err && n)
		err = zw_mem_write(x->cfg->mmu, x->vm,
				   lists->va +
					   (group * lists->stride[0] + head * lists->stride[1]) *
						   sizeof(*list),
				   list, n * sizeof(*list), &x->fault);
	return zw_cp_mem_status(x, err);
}

/* Lowest and highest position of a group; false: it has no rows. */
static bool group_span(const struct zw_cp_exec *x, const int32_t *pos, uint32_t rows,
		       uint32_t group, uint32_t *first, uint32_t *last)
{
	*first = UINT32_MAX;
	*last = 0;
	for (uint64_t r = (uint64_t)group * rows; r < (group + 1ull) * rows && r < x->rows; r++) {
		*first = (uint32_t)pos[r] < *first ? (uint32_t)pos[r] : *first;
		*last = (uint32_t)pos[r] > *last ? (uint32_t)pos[r] : *last;
	}
	return (uint64_t)group * rows < x->rows;
}

/* What later packets take depends on the lists: there are such ones, of keys that nobody compared. */
static int select_blocks_stand_in(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_blocks *p = x->pkt;
	uint32_t rows = group_rows(&p->q, &p->counts), t = p->k_cache.dim[1], first, last;
	int32_t *list = zw_cp_alloc(x, p->blocks.dim[2], sizeof(*list));
	int err = list ? 0 : -EIO;

	for (uint32_t g = 0; g < p->counts.dim[0] && !err; g++) {
		bool any = group_span(x, x->index[SB_POS], rows, g, &first, &last);

		for (uint32_t h = 0; h < p->q.dim[1] && !err; h++) {
			const struct kv_made_up m = {h, p->q.dim[1]};

			err = write_list(x, &p->blocks, &p->counts, g, h, list,
					 any ? zw_cp_made_up_blocks(&m, first / t, last / t,
								    p->blocks.dim[2], list)
					     : 0);
		}
	}
	return err;
}

const struct zw_cp_impl zw_cp_select_blocks = {
	.validate = select_blocks_validate,
	.prepare = select_blocks_prepare,
	.run = select_blocks_run,
	.stand_in = select_blocks_stand_in,
	.compute = select_blocks_compute,
};

/* -- SELECT_SLASH ----------------------------------------------------------------------------------------- */

enum {
	SS_Q,
	SS_POS,
	SS_SEQ,
	SS_TABLE,
	SS_KC,
	SS_KS,
	SS_VERTICAL,
	SS_SLASH,
	SS_BLOCKS,
	SS_COUNTS,
	SS_COLUMNS,
	SS_COLUMN_COUNTS,
	SS_MID, /* with its ends behind it */
	SS_FAR = SS_MID + 2,
};

static uint32_t select_slash_validate(const void *pkt)
{
	const struct zw_pkt_select_slash *p = pkt;
	uint32_t reason = further_validate(&p->q_mid, &p->mid_end, &p->q_far, &p->far_end);

	if (reason)
		return reason;
	if (!p->sample || p->sample > ZW_K_SLASH_MAX_SAMPLE || !p->nearest)
		return ZW_REASON_VALUE;
	return keys_validate(&p->q, &p->k_cache, &p->k_scale);
}

/* Dense numbers of operand i, which is mapped, as they are in memory: a view may have no contents. */
static int read_sizes(struct zw_cp_exec *x, unsigned int i, int32_t *out, uint32_t n)
{
	if (x->view[i].ptr) {
		memcpy(out, x->view[i].ptr, n * sizeof(*out));
		return 0;
	}
	return zw_cp_mem_status(x, zw_mem_read(x->cfg->mmu, x->vm, x->view[i].va, out,
					       n * sizeof(*out), &x->fault));
}

/* The numbers of columns and distances of each head, and that the lists which they make have room. */
static int load_sizes(struct zw_cp_exec *x, struct select_plan *plan)
{
	const struct zw_pkt_select_slash *p = x->pkt;
	uint32_t heads = p->q.dim[1], len = (uint32_t)x->index[SS_POS][x->rows - 1] + 1;
	uint32_t rows = group_rows(&p->q, &p->counts);
	int err;

	plan->vertical = zw_cp_alloc(x, heads, sizeof(*plan->vertical));
	plan->slash = zw_cp_alloc(x, heads, sizeof(*plan->slash));
	if (!plan->vertical || !plan->slash)
		return -EIO;
	err = read_sizes(x, SS_VERTICAL, plan->vertical, heads);
	if (!err)
		err = read_sizes(x, SS_SLASH, plan->slash, heads);
	if (!err)
		err = zw_cp_check_index(x, plan->vertical, heads, 1ull << 31);
	if (!err)
		err = zw_cp_check_index(x, plan->slash, heads, 1ull << 31);
	for (uint32_t h = 0; h < heads && !err; h++) {
		uint64_t blocks, columns;

		zw_k_slash_bounds(rows < x->rows ? rows : x->rows, len, p->k_cache.dim[1],
				  zw_k_slash_wanted((uint32_t)plan->vertical[h], p->first, len),
				  zw_k_slash_wanted((uint32_t)plan->slash[h], p->nearest, len),
				  &blocks, &columns);
		if (blocks > p->blocks.dim[2] || columns > p->columns.dim[2])
			err = zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
	}
	return err;
}

static int select_slash_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_slash *p = x->pkt;
	const int32_t *pos = x->index[SS_POS];
	struct select_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint64_t bytes;
	uint32_t len, sample = p->sample < x->rows ? p->sample : x->rows;
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	err = load_runs(x, plan, SS_POS, SS_SEQ, SS_TABLE, p->k_cache.dim[1]);
	if (!err)
		err = load_further(x, SS_MID);
	if (!err)
		err = load_further(x, SS_FAR);
	if (err)
		return err;
	/* a part of one prompt */
	for (uint32_t r = 1; r < x->rows; r++)
		if (plan->runs > 1 || pos[r] != pos[r - 1] + 1)
			return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
	len = (uint32_t)pos[x->rows - 1] + 1;
	/* the sums are kept in memory of the device's own */
	if (len > ZW_K_SLASH_MAX_KEYS)
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
	err = load_sizes(x, plan);
	if (err)
		return err;
	/* keys of each sampled row; the keys once for each pass unless they stay in the SRAM */
	for (uint32_t i = 0; i < sample; i++)
		x->scores += (uint64_t)pos[x->rows - 1 - i] + 1;
	x->elements = len;
	bytes = (uint64_t)len * p->k_cache.dim[2] * p->k_cache.dim[3] *
		zw_cp_dtype_size(p->k_cache.dtype);
	if (bytes > x->profile->sram_bytes / 2)
		bytes *= 2;
	return map_keys(x, plan, SS_KC, SS_KS, &(uint32_t){kv_seq_entries(&plan->seqs.seq[0])},
			bytes);
}

static int select_slash_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_slash *p = x->pkt;
	const struct select_plan *plan = x->plan;
	struct zw_k_select_slash_args args = {
		.rows = x->rows,
		.n_q = p->q.dim[1],
		.n_kv = p->k_cache.dim[2],
		.d = p->q.dim[2],
		.block_size = p->k_cache.dim[1],
		.kv_dtype = p->k_cache.dtype,
		.group = group_rows(&p->q, &p->counts),
		.sample = p->sample,
		.first = p->first,
		.nearest = p->nearest,
		.seq = plan->run,
		.positions = x->index[SS_POS],
		.q = zw_cp_in(x, SS_Q),
		.mid = further(x, SS_MID),
		.far = further(x, SS_FAR),
		.vertical = plan->vertical,
		.slash = plan->slash,
		.most_blocks = p->blocks.dim[2],
		.most_columns = p->columns.dim[2],
		.blocks = x->view[SS_BLOCKS].ptr,
		.blocks_gs = p->blocks.stride[0],
		.blocks_hs = p->blocks.stride[1],
		.counts = x->view[SS_COUNTS].ptr,
		.counts_gs = p->counts.stride[0],
		.columns = x->view[SS_COLUMNS].ptr,
		.columns_gs = p->columns.stride[0],
		.columns_hs = p->columns.stride[1],
		.column_counts = x->view[SS_COLUMN_COUNTS].ptr,
		.column_counts_gs = p->column_counts.stride[0],
	};

	memcpy(&args.scale, &p->scale_f32, sizeof(args.scale));
	clear_lists(&p->blocks, args.blocks, &p->counts, args.counts);
	clear_lists(&p->columns, args.columns, &p->column_counts, args.column_counts);
	return zw_cp_kernel_status(x, zw_k_select_slash(&args, x->cfg->pool));
}

static uint64_t select_slash_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_slash *p = x->pkt;
	struct zw_cp_tensor_unit unit = zw_cp_unit(x, p->q.dtype, p->k_cache.dtype);
	uint64_t pairs = zw_cp_mul_sat(x->scores, p->q.dim[1]);
	/* scores twice; softmax, and the sums along columns and diagonals, beside them; then the choice */
	uint64_t mma =
		zw_cp_rate_ps(zw_cp_mul_sat(pairs, 4ull * p->q.dim[2]), unit.rate, unit.permille);
	uint64_t softmax = zw_cp_vector_ps(x->profile, pairs, 10);
	uint64_t longer = mma > softmax ? mma : softmax;

	/* one engine for both has nothing beside it */
	return zw_cp_add_sat(
		zw_cp_feature(x, ZW_PKT_F_NO_TENSOR) ? longer : zw_cp_add_sat(mma, softmax),
		zw_cp_vector_ps(x->profile, zw_cp_mul_sat(x->elements, p->q.dim[1]), 8));
}

/* Memory of the lists of one head. */
struct head_lists {
	int32_t *all, *columns, *blocks;
};

static int made_up_head(struct zw_cp_exec *x, uint32_t h, const struct head_lists *l)
{
	const struct zw_pkt_select_slash *p = x->pkt;
	const struct select_plan *plan = x->plan;
	const struct kv_made_up m = {h, p->q.dim[1]};
	uint32_t rows = group_rows(&p->q, &p->counts), t = p->k_cache.dim[1];
	uint32_t len = (uint32_t)x->index[SS_POS][x->rows - 1] + 1;
	uint32_t columns = zw_k_slash_wanted((uint32_t)plan->vertical[h], p->first, len);
	uint32_t distances = zw_k_slash_wanted((uint32_t)plan->slash[h], p->nearest, len);
	int err = 0;

	zw_cp_made_up_columns(&m, columns, p->first, len, l->all);
	for (uint32_t g = 0; g < p->counts.dim[0] && !err; g++) {
		uint32_t first, last, n = 0, c = 0;

		if (group_span(x, x->index[SS_POS], rows, g, &first, &last)) {
			n = zw_cp_made_up_reach(&m, first, last, t, distances, p->nearest, len,
						l->blocks);
			c = zw_cp_columns_apart(l->all, columns, last, t, l->blocks, n, l->columns);
		}
		err = write_list(x, &p->blocks, &p->counts, g, h, l->blocks, n);
		if (!err)
			err = write_list(x, &p->columns, &p->column_counts, g, h, l->columns, c);
	}
	return err;
}

static int select_slash_stand_in(struct zw_cp_exec *x)
{
	const struct zw_pkt_select_slash *p = x->pkt;
	const struct head_lists l = {
		.all = zw_cp_alloc(x, p->columns.dim[2], sizeof(int32_t)),
		.columns = zw_cp_alloc(x, p->columns.dim[2], sizeof(int32_t)),
		.blocks = zw_cp_alloc(x, p->blocks.dim[2], sizeof(int32_t)),
	};
	int err = l.all && l.columns && l.blocks ? 0 : -EIO;

	for (uint32_t h = 0; h < p->q.dim[1] && !err; h++)
		err = made_up_head(x, h, &l);
	return err;
}

const struct zw_cp_impl zw_cp_select_slash = {
	.validate = select_slash_validate,
	.prepare = select_slash_prepare,
	.run = select_slash_run,
	.stand_in = select_slash_stand_in,
	.compute = select_slash_compute,
};
