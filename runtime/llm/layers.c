// SPDX-License-Identifier: MIT
#include "layers.h"

#include <math.h>

#include "chunks.h"
#include "sparse.h"

static const struct zw_tensor *opt(const struct zw_tensor *t)
{
	return t->dtype == ZW_DTYPE_NONE ? NULL : t;
}

/* ---- linear layers ---- */

/* Part i of a matrix, or NULL behind the last. */
static const struct llm_matrix *part_of(const struct llm_linear *l, uint32_t i)
{
	return i < LLM_LINEAR_PARTS && opt(&l->part[i].w) ? &l->part[i] : NULL;
}

/* n columns from `first` on of the last dimension; t whole when they are all of it. */
static struct zw_tensor columns(const struct zw_tensor *t, uint32_t first, uint32_t n)
{
	return n == t->dim[t->ndim - 1] ? *t : zw_tensor_slice(*t, t->ndim - 1u, first, n);
}

/* What products read: the activations, and where they are quantised their scales. */
struct operand {
	struct zw_tensor a, scale;
};

/* a in the type that the matrix's products take it in. */
static struct operand quantised(const struct llm_build *b, const struct llm_matrix *m,
				const struct zw_tensor *a)
{
	uint32_t cols = a->dim[a->ndim - 1];
	struct operand o = {*a, zw_tensor_none()};

	if (!m->act)
		return o;
	o.a = a->ndim == 3 ? zw_tensor_3d(m->act, b->act_va, a->dim[0], a->dim[1], cols)
			   : zw_tensor_2d(m->act, b->act_va, a->dim[0], cols);
	o.scale = zw_tensor_scales(ZW_DTYPE_F32, b->act_scale_va, o.a, 1,
				   m->act_block ? m->act_block : cols);
	zw_cmd_quantize(b->cmd, a, &o.a, &o.scale, b->rows_va, 0);
	return o;
}

/* a in the order of part i's columns, in its type; `last` is what the part before had of it. */
static struct operand activations(const struct llm_build *b, const struct llm_linear *l, uint32_t i,
				  const struct zw_tensor *a, const struct operand *last)
{
	const struct llm_matrix *m = &l->part[i];
	struct zw_tensor y;

	if (opt(&m->order)) {
		y = zw_tensor_2d(a->dtype, b->order_va, a->dim[0], a->dim[1]);
		zw_cmd_reorder(b->cmd, a, &m->order, NULL, &y, b->rows_va, 0);
		return quantised(b, m, &y);
	}
	if (i && m->act && !opt(&m[-1].order) && m[-1].act == m->act &&
	    m[-1].act_block == m->act_block)
		return *last;
	return quantised(b, m, a);
}

void llm_build_linear(const struct llm_build *b, const struct zw_tensor *a,
		      const struct llm_linear *l, const struct zw_tensor *c,
		      const struct zw_tensor *bias, const struct zw_tensor *residual)
{
	struct operand o = {*a, zw_tensor_none()};
	const struct llm_matrix *m;
	uint32_t n = 0;

	for (uint32_t i = 0; (m = part_of(l, i)); n += m->w.dim[0], i++) {
		struct zw_pkt_gemm pkt = {
			.hdr = {.opcode = ZW_OP_GEMM, .size = sizeof(pkt), .rows_va = b->rows_va},
			.w = m->w,
			.c = columns(c, n, m->w.dim[0]),
			.w_scale = m->scale,
			.w_zero = m->zero,
			.w_scale2 = m->scale2,
		};

		o = activations(b, l, i, a, &o);
		pkt.a = o.a;
		pkt.a_scale = o.scale;
		if (bias)
			pkt.bias = columns(bias, n, m->w.dim[0]);
		if (residual)
			pkt.residual = columns(residual, n, m->w.dim[0]);
		zw_cmd_packet(b->cmd, &pkt);
	}
}

/* Rows [M, K] of an operand, one for each token or those of its expert t. */
static struct zw_tensor rows_of(const struct zw_tensor *a, uint32_t t)
{
	struct zw_tensor r = *a;

	if (a->ndim == 2)
		return r;
	r = zw_tensor_2d(a->dtype, a->va, a->dim[0], a->dim[2]);
	r.va += t * a->stride[1] * (zw_dtype_bits(a->dtype) / 8);
	r.stride[0] = a->stride[0];
	return r;
}

/* Row by row of a in the order of the columns of the token's expert t. */
static void reorder_experts(const struct llm_build *b, const struct llm_matrix *m,
			    const struct zw_tensor *a, const struct zw_tensor *ids, uint32_t t,
			    const struct zw_tensor *y)
{
	struct zw_tensor from = rows_of(a, t), to = rows_of(y, t);
	struct zw_tensor which = zw_tensor_slice(*ids, 1, t, 1);

	zw_cmd_reorder(b->cmd, &from, &m->order, &which, &to, b->rows_va, 0);
}

void llm_build_linear_experts(const struct llm_build *b, const struct zw_tensor *a,
			      const struct llm_linear *l, const struct zw_tensor *ids,
			      const struct zw_tensor *c, const struct zw_tensor *weights,
			      const struct zw_tensor *residual, uint32_t flags)
{
	uint32_t per_row = ids->dim[1], k = a->dim[a->ndim - 1], n = 0;
	struct operand o = {*a, zw_tensor_none()};
	const struct llm_matrix *m;

	for (uint32_t i = 0; (m = part_of(l, i)); n += m->w.dim[1], i++) {
		bool ordered = opt(&m->order), each = ordered && a->ndim == 2;
		struct zw_pkt_gemm_experts pkt = {
			.hdr = {.opcode = ZW_OP_GEMM_EXPERTS,
				.size = sizeof(pkt),
				.flags = flags,
				.rows_va = b->rows_va},
			.w = m->w,
			.ids = *ids,
			.c = columns(c, n, m->w.dim[1]),
			.w_scale = m->scale,
			.w_zero = m->zero,
			.w_scale2 = m->scale2,
		};
		struct zw_tensor y;

		if (weights)
			pkt.weights = *weights;
		if (residual)
			pkt.residual = columns(residual, n, m->w.dim[1]);
		if (!ordered)
			o = activations(b, l, i, a, &o);
		else
			y = each ? zw_tensor_2d(a->dtype, b->order_va, a->dim[0], k)
				 : zw_tensor_3d(a->dtype, b->order_va, a->dim[0], per_row, k);
		/* Rows that are one for all experts become one for each: products of one expert a token. */
		for (uint32_t t = 0; ordered && t < per_row; t++) {
			reorder_experts(b, m, a, ids, t, &y);
			if (!each)
				continue;
			o = quantised(b, m, &y);
			pkt.a = o.a;
			pkt.a_scale = o.scale;
			pkt.ids = zw_tensor_slice(*ids, 1, t, 1);
			pkt.c = zw_tensor_slice(columns(c, n, m->w.dim[1]), 1, t, 1);
			zw_cmd_packet(b->cmd, &pkt);
		}
		if (each)
			continue;
		if (ordered)
			o = quantised(b, m, &y);
		pkt.a = o.a;
		pkt.a_scale = o.scale;
		zw_cmd_packet(b->cmd, &pkt);
	}
}

/* ---- where layers begin and end ---- */

/* Rows of the residual stream, which have the same strides on both sides. */
static void copy_rows(const struct llm_build *b, uint64_t to_va, uint64_t from_va)
{
	uint64_t bytes = 4ull * b->h.dim[1];

	llm_tag(b, ZW_LLM_PART_HAND_OVER, -1);
	zw_cmd_copy_rows(b->cmd, to_va, bytes, from_va, bytes, bytes, b->h.dim[0], b->rows_va, 0);
}

void llm_build_input(const struct llm_build *b)
{
	if (b->hidden_va) {
		copy_rows(b, b->h.va, b->hidden_va);
		return;
	}
	llm_tag(b, ZW_LLM_PART_EMBED, -1);
	zw_cmd_embed(b->cmd, &b->ids, &b->w->embed, &b->h, b->rows_va, 0);
}

void llm_build_hand_over(const struct llm_build *b, uint64_t to_va)
{
	copy_rows(b, to_va, b->h.va);
}

/* ---- layers ---- */

struct zw_tensor llm_heads(const struct zw_tensor *t, uint32_t first, uint32_t heads, uint32_t d)
{
	struct zw_tensor v = zw_tensor_3d(t->dtype, t->va, t->dim[0], heads, d);

	v.va += (uint64_t)first * (zw_dtype_bits(t->dtype) / 8);
	v.stride[0] = t->stride[0];
	return v;
}

struct llm_kv_cache llm_kv_cache_of(const struct llm_build *b, uint32_t kv)
{
	struct llm_kv_cache c = {b->k_cache, b->v_cache, b->k_scale, b->v_scale};

	c.k.va += kv * b->kv_layer_stride;
	c.v.va += kv * b->kv_layer_stride;
	if (opt(&c.k_scale)) {
		c.k_scale.va += kv * b->kv_scale_stride;
		c.v_scale.va += kv * b->kv_scale_stride;
	}
	return c;
}

void llm_build_kv_write(const struct llm_build *b, const struct llm_kv_cache *c,
			const struct zw_tensor *k, const struct zw_tensor *v)
{
	struct zw_pkt_kv_write pkt = {
		.hdr = {.opcode = ZW_OP_KV_WRITE, .size = sizeof(pkt), .rows_va = b->rows_va},
		.k = *k,
		.v = *v,
		.pos = b->pos,
		.seq = b->seq,
		.block_table = b->block_table,
		.k_cache = c->k,
		.v_cache = c->v,
		.k_scale = c->k_scale,
		.v_scale = c->v_scale,
	};

	zw_cmd_packet(b->cmd, &pkt);
}

void llm_build_attention(const struct llm_build *b, const struct llm_layer_weights *w, uint32_t kv,
			 const struct zw_tensor *x, const struct zw_tensor *qkv)
{
	const struct llm_model_config *c = b->cfg;
	uint32_t nq = c->num_heads, nkv = c->num_kv_heads, d = c->head_dim;
	struct zw_tensor q = llm_heads(qkv, 0, nq, d);
	struct zw_tensor k = llm_heads(qkv, nq * d, nkv, d);
	struct zw_tensor v = llm_heads(qkv, (nq + nkv) * d, nkv, d);
	struct zw_tensor out = zw_tensor_slice(*qkv, 1, 0, nq * d);
	struct llm_kv_cache cache = llm_kv_cache_of(b, kv);
	uint64_t r = b->rows_va;
	struct zw_cmd_attention_args args = {
		.q = &q,
		.y = &q, /* in place: each head's output takes the place of its query */
		.pos = &b->pos,
		.seq = &b->seq,
		.block_table = &b->block_table,
		.k_cache = &cache.k,
		.v_cache = &cache.v,
		.k_scale = opt(&cache.k_scale),
		.v_scale = opt(&cache.v_scale),
		.scale = 1.0f / sqrtf((float)d),
	};

	zw_cmd_rmsnorm(b->cmd, &b->h, &w->norm1, x, c->rms_norm_eps, r, 0);
	llm_build_linear(b, x, &w->qkv, qkv, opt(&w->qkv_bias), NULL);
	if (opt(&w->q_norm))
		zw_cmd_rmsnorm(b->cmd, &q, &w->q_norm, &q, c->rms_norm_eps, r, 0);
	if (opt(&w->k_norm))
		zw_cmd_rmsnorm(b->cmd, &k, &w->k_norm, &k, c->rms_norm_eps, r, 0);
	if (b->chunks.rope[0].dtype) {
		llm_build_chunks(b, kv, &q, &k, &v, &cache);
	} else {
		zw_cmd_rope(b->cmd, &q, &q, &b->pos, &b->cos_table, &b->sin_table, r, 0);
		zw_cmd_rope(b->cmd, &k, &k, &b->pos, &b->cos_table, &b->sin_table, r, 0);
		llm_build_kv_write(b, &cache, &k, &v);
		if (b->sparse.kind) {
			const struct llm_attend all = {.q = q, .y = b->sparse.y, .pos = b->pos};

			llm_build_sparse(b, kv, &all, 1, &cache);
			out = zw_tensor_2d(ZW_DTYPE_BF16, b->sparse.y.va, qkv->dim[0], nq * d);
		} else {
			zw_cmd_attention(b->cmd, &args, r, 0);
		}
	}
	if (c->attention_gate) {
		struct zw_tensor gate = zw_tensor_slice(*qkv, 1, (nq + 2 * nkv) * d, nq * d);

		zw_cmd_mul_sigmoid(b->cmd, &out, &gate, NULL, &out, r, 0);
	}
	llm_build_linear(b, &out, &w->o, &b->h, opt(&w->o_bias), &b->h);
}

void llm_build_swiglu(const struct llm_build *b, const struct llm_layer_weights *w,
		      const struct zw_tensor *x, const struct zw_tensor *gate_up)
{
	const struct llm_model_config *c = b->cfg;
	uint32_t size = c->intermediate_size;
	struct zw_tensor gate = zw_tensor_slice(*gate_up, 1, 0, size);
	struct zw_tensor up = zw_tensor_slice(*gate_up, 1, size, size);
	struct zw_tensor both = zw_tensor_slice(*gate_up, 1, 0, 2 * size);

	zw_cmd_rmsnorm(b->cmd, &b->h, &w->norm2, x, c->rms_norm_eps, b->rows_va, 0);
	llm_build_linear(b, x, &w->gate_up, &both, NULL, NULL);
	zw_cmd_swiglu(b->cmd, &gate, &up, &gate, b->rows_va, 0);
	llm_build_linear(b, &gate, &w->down, &b->h, NULL, &b->h);
}

/* h += sigmoid(gate) * SwiGLU(x), the gate being the last of the router's logits. */
static void build_shared(const struct llm_build *b, const struct llm_layer_weights *w,
			 const struct llm_experts_scratch *s)
{
	uint32_t size = b->cfg->shared_expert_size;
	struct zw_tensor gate = zw_tensor_slice(s->shared_gate_up, 1, 0, size);
	struct zw_tensor up = zw_tensor_slice(s->shared_gate_up, 1, size, size);
	struct zw_tensor sigmoid = zw_tensor_slice(s->logits, 1, b->cfg->num_experts, 1);
	struct zw_tensor gate_up = zw_tensor_slice(s->shared_gate_up, 1, 0, 2 * size);

	llm_build_linear(b, &s->x, &w->shared_gate_up, &gate_up, NULL, NULL);
	zw_cmd_swiglu(b->cmd, &gate, &up, &gate, b->rows_va, 0);
	llm_build_linear(b, &gate, &w->shared_down, &s->shared_y, NULL, NULL);
	zw_cmd_mul_sigmoid(b->cmd, &s->shared_y, &sigmoid, &b->h, &b->h, b->rows_va,
			   ZW_SIGMOID_F_ROW_GATE);
}

void llm_build_experts(const struct llm_build *b, const struct llm_layer_weights *w,
		       const struct llm_experts_scratch *s)
{
	const struct llm_model_config *c = b->cfg;
	uint32_t k = c->experts_per_token, size = c->expert_size;
	uint32_t flags = c->norm_topk_prob ? ZW_ROUTE_F_RENORM : 0;
	struct zw_tensor gate_up = llm_heads(&s->gate_up, 0, k, 2 * size);
	struct zw_tensor gate = zw_tensor_slice(gate_up, 2, 0, size);
	struct zw_tensor up = zw_tensor_slice(gate_up, 2, size, size);
	struct zw_tensor act = llm_heads(&s->act, 0, k, size);
	struct zw_tensor scores = zw_tensor_slice(s->logits, 1, 0, c->num_experts);
	uint64_t r = b->rows_va;

	zw_cmd_rmsnorm(b->cmd, &b->h, &w->norm2, &s->x, c->rms_norm_eps, r, 0);
	llm_build_linear(b, &s->x, &w->router, &s->logits, NULL, NULL);
	zw_cmd_route(b->cmd, &scores, &s->weights, &s->ids, r, flags);
	if (c->shared_expert_size)
		build_shared(b, w, s);
	llm_build_linear_experts(b, &s->x, &w->experts_gate_up, &s->ids, &gate_up, NULL, NULL, 0);
	zw_cmd_swiglu(b->cmd, &gate, &up, &act, r, 0);
	llm_build_linear_experts(b, &act, &w->experts_down, &s->ids, &b->h, &s->weights, &b->h,
				 ZW_EXPERTS_F_SCATTER);
}

/* ---- dense decoders ---- */

enum { X, QKV, GATE_UP };

void llm_attention_needs(const struct llm_model_config *c, struct llm_needs *n)
{
	n->scratch[X].dtype = ZW_DTYPE_BF16;
	n->scratch[X].cols = c->hidden_size;
	n->scratch[QKV].dtype = ZW_DTYPE_BF16;
	n->scratch[QKV].cols =
		((1 + c->attention_gate) * c->num_heads + 2 * c->num_kv_heads) * c->head_dim;
	n->num_scratch = 2;
	for (uint32_t i = 0; i < c->num_layers; i++)
		n->kv_layers += !llm_layer_is_linear(c, i);
	n->kv_heads = c->num_kv_heads;
	n->kv_dim = c->head_dim;
}

void llm_dense_needs(const struct llm_model_config *c, struct llm_needs *n)
{
	llm_attention_needs(c, n);
	n->scratch[GATE_UP].dtype = ZW_DTYPE_BF16;
	n->scratch[GATE_UP].cols = 2 * c->intermediate_size;
	n->num_scratch = 3;
}

void llm_dense_build(const struct llm_build *b)
{
	llm_build_input(b);
	for (uint32_t n = 0; n < b->cfg->num_layers; n++) {
		const struct llm_layer_weights *w = &b->w->layers[n];

		llm_tag(b, ZW_LLM_PART_MIXER, (int)n);
		llm_build_attention(b, w, n, &b->scratch[X], &b->scratch[QKV]);
		llm_tag(b, ZW_LLM_PART_FEED_FORWARD, (int)n);
		llm_build_swiglu(b, w, &b->scratch[X], &b->scratch[GATE_UP]);
	}
}
