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

/* The first n rows. */
static struct zw_tensor front(const struct zw_tensor *t, uint32_t n)
{
	struct zw_tensor v = *t;

	v.dim[0] = n;
	return v;
}

static struct zw_pkt_attention attention(const struct llm_build *b, const struct zw_tensor *q,
					 const struct llm_kv_cache *cache)
{
	return (struct zw_pkt_attention){
		.hdr = {.opcode = ZW_OP_ATTENTION, .size = sizeof(struct zw_pkt_attention)},
		.q = *q,
		.y = b->sparse.y,
		.pos = b->pos,
		.seq = b->seq,
		.block_table = b->block_table,
		.k_cache = cache->k,
		.v_cache = cache->v,
		.k_scale = cache->k_scale,
		.v_scale = cache->v_scale,
		.scale_f32 = bits_of(1.0f / sqrtf((float)b->cfg->head_dim)),
	};
}

/* Rows that see all keys; what the others get here the packet behind it writes over. */
static void build_dense(const struct llm_build *b, const struct zw_tensor *q,
			const struct llm_kv_cache *cache)
{
	struct zw_pkt_attention pkt = attention(b, q, cache);

	pkt.hdr.rows_va = b->rows_va;
	pkt.hdr.predicate_va = b->sparse.dense_va;
	pkt.start = b->sparse.start;
	zw_cmd_packet(b->cmd, &pkt);
}

/* The numbers of a KV layer's heads. */
static struct zw_tensor sizes_of(const struct zw_tensor *t, uint32_t kv)
{
	struct zw_tensor v = zw_tensor_1d(ZW_DTYPE_I32, t->va, t->dim[1]);

	v.va += 4ull * kv * t->dim[1];
	return v;
}

static void build_choice(const struct llm_build *b, uint32_t kv, const struct zw_tensor *q,
			 const struct llm_kv_cache *cache)
{
	const struct llm_sparse_tensors *s = &b->sparse;
	struct zw_tensor vertical = sizes_of(&s->vertical, kv), slash = sizes_of(&s->slash, kv);
	struct zw_tensor pos = front(&b->pos, q->dim[0]), seq = front(&b->seq, q->dim[0]);
	struct zw_cmd_select_args args = {
		.q = q,
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
		.scale = 1.0f / sqrtf((float)b->cfg->head_dim),
		.sample = s->sample,
		.first = LLM_SPARSE_FIRST,
		.nearest = LLM_SPARSE_NEAREST,
	};

	if (s->kind == ZW_SPARSE_SLASH)
		zw_cmd_select_slash(b->cmd, &args, s->rows_va, 0);
	else
		zw_cmd_select_blocks(b->cmd, &args, s->rows_va, 0);
}

void llm_build_sparse(const struct llm_build *b, uint32_t kv, const struct zw_tensor *q,
		      const struct llm_kv_cache *cache)
{
	const struct llm_sparse_tensors *s = &b->sparse;
	struct zw_tensor some = front(q, s->most);
	struct zw_pkt_attention pkt;

	build_dense(b, q, cache);
	build_choice(b, kv, &some, cache);
	pkt = attention(b, &some, cache);
	pkt.hdr.rows_va = s->rows_va;
	pkt.y = front(&s->y, s->most);
	pkt.pos = front(&b->pos, s->most);
	pkt.seq = front(&b->seq, s->most);
	pkt.sparse_blocks = s->blocks;
	pkt.sparse_counts = s->counts;
	if (s->kind == ZW_SPARSE_SLASH) {
		pkt.sparse_columns = s->columns;
		pkt.sparse_column_counts = s->column_counts;
	}
	zw_cmd_packet(b->cmd, &pkt);
}
