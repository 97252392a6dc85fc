// SPDX-License-Identifier: MIT
#include "sparse.h"

#include <math.h>

#include "layers.h"

static uint32_t bits_of(float f)
{
	union {
		float f;
		uint32_t u;
	} v = {.f = f};

	return v.u;
}

/* The first n rows, of what is there. */
static struct zw_tensor front(const struct zw_tensor *t, uint32_t n)
{
	struct zw_tensor v = *t;

	if (v.dtype)
		v.dim[0] = n;
	return v;
}

static float scale_of(const struct llm_build *b)
{
	return b->score_factor * (1.0f / sqrtf((float)b->cfg->head_dim));
}

static struct zw_pkt_attention attention(const struct llm_build *b, const struct llm_attend *a,
					 const struct llm_kv_cache *cache)
{
	return (struct zw_pkt_attention){
		.hdr = {.opcode = ZW_OP_ATTENTION, .size = sizeof(struct zw_pkt_attention)},
		.q = a->q,
		.y = a->y,
		.pos = a->pos,
		.seq = b->seq,
		.block_table = b->block_table,
		.k_cache = cache->k,
		.v_cache = cache->v,
		.lse = a->lse,
		.k_scale = cache->k_scale,
		.v_scale = cache->v_scale,
		.start = a->start,
		.scale_f32 = bits_of(scale_of(b)),
	};
}

/* Rows that see all keys; what the others get here the packets behind it write over. */
static void build_dense(const struct llm_build *b, const struct llm_attend *a,
			const struct zw_tensor *start, const struct llm_kv_cache *cache)
{
	struct zw_pkt_attention pkt = attention(b, a, cache);

	pkt.hdr.rows_va = b->rows_va;
	pkt.hdr.predicate_va = b->sparse.dense_va;
	pkt.start = *start;
	zw_cmd_packet(b->cmd, &pkt);
}

/* The numbers of a KV layer's heads. */
static struct zw_tensor sizes_of(const struct zw_tensor *t, uint32_t kv)
{
	struct zw_tensor v = zw_tensor_1d(ZW_DTYPE_I32, t->va, t->dim[1]);

	v.va += 4ull * kv * t->dim[1];
	return v;
}

/* One choice for all ranges: each row meets the keys of a range with the query of that range. */
static void build_choice(const struct llm_build *b, uint32_t kv, const struct llm_attend *range,
			 unsigned int num, const struct llm_kv_cache *cache)
{
	const struct llm_sparse_tensors *s = &b->sparse;
	struct zw_tensor vertical = sizes_of(&s->vertical, kv), slash = sizes_of(&s->slash, kv);
	struct zw_tensor pos = front(&b->pos, s->most), seq = front(&b->seq, s->most);
	struct zw_tensor mid_end, far_end = front(&s->far_end, s->most), q[LLM_RANGES];
	struct zw_cmd_select_args args = {
		.q = &q[0],
		.pos = &pos,
		.seq = &seq,
		.block_table = &b->block_table,
		.k_cache = &cache->k,
		.k_scale = cache->k_scale.dtype ? &cache->k_scale : NULL,
		.blocks = &s->blocks,
		.counts = &s->counts,
		.vertical = &vertical,
		.slash = &slash,
		.columns = &s->columns,
		.column_counts = &s->column_counts,
		.scale = scale_of(b),
		.sample = s->sample,
		.first = LLM_SPARSE_FIRST,
		.nearest = LLM_SPARSE_NEAREST,
	};

	for (unsigned int i = 0; i < num; i++)
		q[i] = front(&range[i].q, s->most);
	if (num == LLM_RANGES) {
		mid_end = front(&range[0].start, s->most);
		args.q_mid = &q[1];
		args.mid_end = &mid_end;
		args.q_far = &q[2];
		args.far_end = &far_end;
	}
	if (s->kind == ZW_SPARSE_SLASH)
		zw_cmd_select_slash(b->cmd, &args, s->rows_va, 0);
	else
		zw_cmd_select_blocks(b->cmd, &args, s->rows_va, 0);
}

static void build_listed(const struct llm_build *b, const struct llm_attend *a,
			 const struct llm_kv_cache *cache)
{
	const struct llm_sparse_tensors *s = &b->sparse;
	const struct llm_attend some = {
		.q = front(&a->q, s->most),
		.y = front(&a->y, s->most),
		.lse = front(&a->lse, s->most),
		.start = front(&a->start, s->most),
		.pos = front(&a->pos, s->most),
	};
	struct zw_pkt_attention pkt = attention(b, &some, cache);

	pkt.hdr.rows_va = s->rows_va;
	pkt.seq = front(&b->seq, s->most);
	pkt.sparse_blocks = s->blocks;
	pkt.sparse_counts = s->counts;
	if (s->kind == ZW_SPARSE_SLASH) {
		pkt.sparse_columns = s->columns;
		pkt.sparse_column_counts = s->column_counts;
	}
	zw_cmd_packet(b->cmd, &pkt);
}

void llm_build_sparse(const struct llm_build *b, uint32_t kv, const struct llm_attend *range,
		      unsigned int num, const struct llm_kv_cache *cache)
{
	for (unsigned int i = 0; i < num; i++)
		build_dense(b, &range[i], &b->sparse.start[i], cache);
	build_choice(b, kv, range, num, cache);
	for (unsigned int i = 0; i < num; i++)
		build_listed(b, &range[i], cache);
}
