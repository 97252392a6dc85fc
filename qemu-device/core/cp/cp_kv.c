// SPDX-License-Identifier: MIT
/*
 * Attention engine: the paged KV cache, and writing it. Only what the positions of a packet touch is mapped: slots of
 * single tokens to write, blocks to read. A cache may be far larger than what one step uses, and its blocks need not be
 * neighbours in memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cp_kv.h"

/* -- what both packets share ---------------------------------------------------------------------------- */

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint32_t zw_cp_sort_unique(uint64_t *v, uint32_t n)
{
	bool sorted = true, unique = true;
	uint32_t out = 0;

	for (uint32_t i = 1; i < n; i++) {
		sorted &= v[i - 1] <= v[i];
		unique &= v[i - 1] < v[i];
	}
	/* Rows of one text after the other come in order, and so do its blocks. */
	if (unique)
		return n;
	if (!sorted)
		qsort(v, n, sizeof(*v), cmp_u64);
	for (uint32_t i = 0; i < n; i++)
		if (!out || v[out - 1] != v[i])
			v[out++] = v[i];
	return out;
}

uint32_t zw_cp_find(const uint64_t *v, uint32_t n, uint64_t key)
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

uint32_t zw_cp_pools_validate(const struct zw_tensor *k, const struct zw_tensor *v,
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
	if (k_scale->dtype &&
	    (k_scale->stride[1] != k_scale->dim[2] || v_scale->stride[1] != v_scale->dim[2]))
		return ZW_REASON_STRIDE;
	return ZW_REASON_NONE;
}

/* Notes which sequence each row belongs to, and how far it sees. */
static void note_rows(struct zw_cp_exec *x, const int32_t *pos, const int32_t *from,
		      const int32_t *seq, uint32_t t, const uint64_t *keys, struct kv_seqs *out)
{
	for (uint32_t i = 0; i < x->rows; i++) {
		uint32_t s = zw_cp_find(keys, out->n, seq ? (uint64_t)seq[i] : 0);
		uint32_t lo = (uint32_t)(from ? from[i] : pos[i]), hi = (uint32_t)pos[i];
		struct kv_seq *q = &out->seq[s];

		out->of_row[i] = s;
		q->max_pos = hi > q->max_pos ? hi : q->max_pos;
		if (lo > hi)
			continue;
		q->pos_first = lo < q->pos_first ? lo : q->pos_first;
		q->pos_end = hi >= q->pos_end ? hi + 1 : q->pos_end;
	}
	for (uint32_t s = 0; s < out->n; s++) {
		struct kv_seq *q = &out->seq[s];

		if (!q->pos_end)
			continue;
		q->first = q->pos_first / t;
		q->end = (q->pos_end - 1) / t + 1;
	}
}

int zw_cp_load_seqs(struct zw_cp_exec *x, const int32_t *pos, const int32_t *from,
		    const int32_t *seq, unsigned int table_opd, uint32_t t, struct kv_seqs *out)
{
	const struct zw_tensor *table = zw_cp_tensor_at(x->op, x->pkt, table_opd);
	uint32_t rows = x->rows;
	uint64_t *keys, refs = 0, run_refs = 0, limit = (uint64_t)table->dim[1] * t;
	int err;

	/* Positions end before INT32_MAX, so that there is one behind each of them. */
	if (limit > INT32_MAX)
		limit = INT32_MAX;
	err = zw_cp_check_index(x, pos, rows, limit);
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
	out->n = zw_cp_sort_unique(keys, rows);
	out->seq = zw_cp_alloc(x, out->n, sizeof(*out->seq));
	if (!out->seq)
		return -EIO;
	for (uint32_t i = 0; i < out->n; i++) {
		out->seq[i].seq = (uint32_t)keys[i];
		out->seq[i].first = UINT32_MAX;
		out->seq[i].pos_first = UINT32_MAX;
	}
	note_rows(x, pos, from, seq, t, keys, out);
	for (uint32_t i = 0; i < out->n; i++)
		refs += kv_seq_entries(&out->seq[i]);
	/* The kernel looks at the pages of a sequence once for every run of its rows. */
	for (uint32_t i = 0; from && i < rows; i++)
		if (!i || out->of_row[i] != out->of_row[i - 1])
			run_refs += kv_seq_entries(&out->seq[out->of_row[i]]);
	if (refs > ZW_CP_MAX_PAGE_REFS || run_refs > ZW_CP_MAX_PAGE_REFS)
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
	out->refs = (uint32_t)refs;
	for (uint32_t i = 0; i < out->n; i++) {
		struct kv_seq *q = &out->seq[i];
		uint32_t n = kv_seq_entries(q);

		q->blocks = zw_cp_alloc(x, n, sizeof(*q->blocks));
		if (!q->blocks)
			return -EIO;
		if (!n)
			continue;
		err = zw_cp_read_index(x, table_opd,
				       table->va + (q->seq * table->stride[0] + q->first) * 4, n,
				       q->blocks);
		if (err)
			return err;
	}
	return 0;
}

/* Where nobody follows pointers: as many in one view as there are in one piece of memory. */
static int look_at_blocks(struct zw_cp_exec *x, unsigned int opd, const struct kv_units *m)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, opd);
	uint64_t share = m->n ? m->count_bytes / m->n : 0;
	struct zw_mem_units *u = NULL;

	for (uint32_t i = 0, taken; i < m->n; i += taken) {
		uint64_t left = m->count_bytes - share * i;
		int err;

		u = u ? u : zw_cp_alloc(x, 1, sizeof(*u));
		if (!u)
			return -EIO;
		*u = (struct zw_mem_units){.va = t->va,
					   .stride = m->block_bytes,
					   .len = m->unit_bytes,
					   .unit = m->unit + i,
					   .n = m->n - i};
		err = zw_cp_look_late(x, opd, u, m->access, share, left, &taken);
		if (err)
			return err;
		/* A view of one does not need it. */
		u->n = taken;
		u = taken > 1 ? NULL : u;
	}
	return 0;
}

int zw_cp_map_units(struct zw_cp_exec *x, unsigned int opd, const struct kv_units *m, void **ptr)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, opd);
	bool dense = m->block_bytes == m->per_block * m->unit_bytes;
	/* Nobody follows pointers where nothing is computed, and views have none. */
	bool look = zw_cp_timing_only(x);
	uint64_t counted = 0, share = m->n ? m->count_bytes / m->n : 0;

	if (look && m->access == ZW_ACCESS_READ && m->per_block == 1 && !dense)
		return look_at_blocks(x, opd, m);
	for (uint32_t i = 0, j; i < m->n; i = j) {
		uint64_t u = m->unit[i], bytes;
		size_t slot;
		int err;

		for (j = i + 1; j < m->n && m->unit[j] == m->unit[j - 1] + 1; j++)
			if (!dense && !(m->unit[j] & (m->per_block - 1)))
				break;
		/* Each view its share; the division's remainder goes to the last. */
		bytes = j == m->n ? m->count_bytes - counted : share * (j - i);
		counted += bytes;
		err = zw_cp_map_late(x, opd,
				     t->va + u / m->per_block * m->block_bytes +
					     u % m->per_block * m->unit_bytes,
				     (j - i) * m->unit_bytes, m->access, bytes, &slot);
		if (err)
			return err;
		for (uint32_t k = i; k < j && !look; k++)
			ptr[k] = (char *)x->late[slot].ptr + (k - i) * m->unit_bytes;
	}
	return 0;
}

/* -- KV_WRITE ------------------------------------------------------------------------------------------- */

enum { KVW_K, KVW_V, KVW_POS, KVW_SEQ, KVW_TABLE, KVW_KC, KVW_VC, KVW_KS, KVW_VS };

static uint32_t kv_write_validate(const void *pkt)
{
	const struct zw_pkt_kv_write *p = pkt;

	return zw_cp_pools_validate(&p->k_cache, &p->v_cache, &p->k_scale, &p->v_scale);
}

/* The slots that rows go to, as pages of one token. */
struct kv_write_plan {
	struct zw_k_kv_seq all;
	const int32_t *target;
};

/* The slot of the pool of each row. */
static int find_slots(struct zw_cp_exec *x, const int32_t *pos, const struct kv_seqs *seqs,
		      uint64_t *slot)
{
	const struct zw_pkt_kv_write *p = x->pkt;
	uint32_t t = p->k_cache.dim[1], blocks = p->k_cache.dim[0];
	unsigned int shift = (unsigned int)__builtin_ctz(t); /* a power of two */
	bool inside = true;

	for (uint32_t i = 0; i < x->rows; i++) {
		const struct kv_seq *q = &seqs->seq[seqs->of_row[i]];
		int32_t block = q->blocks[((uint32_t)pos[i] >> shift) - q->first];

		inside &= block >= 0 && (uint32_t)block < blocks;
		slot[i] = ((uint64_t)block << shift) + ((uint32_t)pos[i] & (t - 1));
	}
	return inside ? 0 : zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
}

/* The scales of the slots of m. */
static int map_scale_units(struct zw_cp_exec *x, const struct kv_units *slots, uint32_t rows,
			   void ***k_ptr, void ***v_ptr)
{
	const struct zw_pkt_kv_write *p = x->pkt;
	struct kv_units m = *slots;
	int err;

	*k_ptr = zw_cp_alloc(x, m.n, sizeof(**k_ptr));
	*v_ptr = zw_cp_alloc(x, m.n, sizeof(**v_ptr));
	if (!*k_ptr || !*v_ptr)
		return -EIO;
	m.unit_bytes = p->k_scale.dim[2] * sizeof(float);
	m.count_bytes = zw_cp_mul_sat(m.unit_bytes, rows);
	m.block_bytes = p->k_scale.stride[0] * sizeof(float);
	err = zw_cp_map_units(x, KVW_KS, &m, *k_ptr);
	m.block_bytes = p->v_scale.stride[0] * sizeof(float);
	return err ? err : zw_cp_map_units(x, KVW_VS, &m, *v_ptr);
}

static int kv_write_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_kv_write *p = x->pkt;
	const int32_t *pos = x->index[KVW_POS];
	uint32_t t = p->k_cache.dim[1], rows = x->rows;
	unsigned int esize = zw_cp_dtype_size(p->k_cache.dtype);
	struct kv_seqs seqs = {0};
	struct kv_units m = {
		.per_block = t,
		.unit_bytes = (uint64_t)p->k_cache.dim[2] * p->k_cache.dim[3] * esize,
		.access = ZW_ACCESS_WRITE,
	};
	struct kv_write_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint64_t *slot, *unique;
	int32_t *target = NULL;
	bool look = zw_cp_timing_only(x); /* nobody follows pointers */
	void **k_ptr = NULL, **v_ptr = NULL, **ks_ptr = NULL, **vs_ptr = NULL;
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	err = zw_cp_load_seqs(x, pos, NULL, x->index[KVW_SEQ], KVW_TABLE, t, &seqs);
	if (err)
		return err;
	slot = zw_cp_alloc(x, rows, sizeof(*slot));
	unique = zw_cp_alloc(x, rows, sizeof(*unique));
	if (!look) {
		target = zw_cp_alloc(x, rows, sizeof(*target));
		k_ptr = zw_cp_alloc(x, rows, sizeof(*k_ptr));
		v_ptr = zw_cp_alloc(x, rows, sizeof(*v_ptr));
	}
	if (!slot || !unique || (!look && (!target || !k_ptr || !v_ptr)))
		return -EIO;
	err = find_slots(x, pos, &seqs, slot);
	if (err)
		return err;
	/*
	 * To the kernel it is one sequence of one-token pages: sequences may share blocks, and of two rows for one slot
	 * the later has to win whichever sequence they name.
	 */
	memcpy(unique, slot, rows * sizeof(*slot));
	m.unit = unique;
	m.n = zw_cp_sort_unique(unique, rows);
	for (uint32_t i = 0; i < rows && !look; i++)
		target[i] = (int32_t)zw_cp_find(unique, m.n, slot[i]);
	m.count_bytes = zw_cp_mul_sat(m.unit_bytes, rows);
	m.block_bytes = p->k_cache.stride[0] * esize;
	err = zw_cp_map_units(x, KVW_KC, &m, k_ptr);
	m.block_bytes = p->v_cache.stride[0] * esize;
	if (!err)
		err = zw_cp_map_units(x, KVW_VC, &m, v_ptr);
	if (!err && p->k_scale.dtype)
		err = map_scale_units(x, &m, rows, &ks_ptr, &vs_ptr);
	if (err)
		return err;
	plan->all = (struct zw_k_kv_seq){
		.k_pages = k_ptr,
		.v_pages = v_ptr,
		.k_scales = ks_ptr,
		.v_scales = vs_ptr,
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
	.validate = kv_write_validate,
	.prepare = kv_write_prepare,
	.run = kv_write_run,
};
