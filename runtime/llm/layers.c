// SPDX-License-Identifier: MIT
/*
 * Layer builders that families share. Errors stick to the command builder: the session checks once
 * at the end.
 */
#include "model.h"

#include <math.h>

static const struct zw_tensor *opt(const struct zw_tensor *t)
{
	return t->dtype == ZW_DTYPE_NONE ? NULL : t;
}

/* Columns [first, first + heads * d) of a [M, N] tensor as [M, heads, d]; no data moves. */
static struct zw_tensor heads_of(const struct zw_tensor *t, uint32_t first, uint32_t heads,
				 uint32_t d)
{
	struct zw_tensor v = zw_tensor_3d(t->dtype, t->va, t->dim[0], heads, d);

	v.va += (uint64_t)first * (zw_dtype_bits(t->dtype) / 8);
	v.stride[0] = t->stride[0];
	return v;
}

void zw_build_attention(const struct zw_build *b, const struct zw_layer_weights *w, uint32_t layer)
{
	const struct zw_model_config *c = b->cfg;
	uint32_t nq = c->num_heads, nkv = c->num_kv_heads, d = c->head_dim;
	struct zw_tensor q = heads_of(&b->qkv, 0, nq, d);
	struct zw_tensor k = heads_of(&b->qkv, nq * d, nkv, d);
	struct zw_tensor v = heads_of(&b->qkv, (nq + nkv) * d, nkv, d);
	struct zw_tensor q_flat = zw_tensor_slice(b->qkv, 1, 0, nq * d);
	struct zw_tensor k_cache = b->k_cache, v_cache = b->v_cache;
	uint64_t r = b->rows_va;
	struct zw_cmd_attention_args args = {
		.q = &q,
		.y = &q, /* in place: each head's output takes the place of its query */
		.pos = &b->pos,
		.block_table = &b->block_table,
		.k_cache = &k_cache,
		.v_cache = &v_cache,
		.scale = 1.0f / sqrtf((float)d),
	};

	k_cache.va += layer * b->kv_layer_stride;
	v_cache.va += layer * b->kv_layer_stride;
	zw_cmd_rmsnorm(b->cmd, &b->h, &w->norm1, &b->x, c->rms_norm_eps, r, 0);
	zw_cmd_gemm(b->cmd, &b->x, &w->qkv, &b->qkv, opt(&w->qkv_bias), NULL, r, 0);
	if (opt(&w->q_norm))
		zw_cmd_rmsnorm(b->cmd, &q, &w->q_norm, &q, c->rms_norm_eps, r, 0);
	if (opt(&w->k_norm))
		zw_cmd_rmsnorm(b->cmd, &k, &w->k_norm, &k, c->rms_norm_eps, r, 0);
	zw_cmd_rope(b->cmd, &q, &q, &b->pos, &b->cos_table, &b->sin_table, r, 0);
	zw_cmd_rope(b->cmd, &k, &k, &b->pos, &b->cos_table, &b->sin_table, r, 0);
	zw_cmd_kv_write(b->cmd, &k, &v, &b->pos, NULL, &b->block_table, &k_cache, &v_cache, r, 0);
	zw_cmd_attention(b->cmd, &args, r, 0);
	zw_cmd_gemm(b->cmd, &q_flat, &w->o, &b->h, opt(&w->o_bias), &b->h, r, 0);
}

void zw_build_swiglu(const struct zw_build *b, const struct zw_layer_weights *w)
{
	const struct zw_model_config *c = b->cfg;
	struct zw_tensor gate = zw_tensor_slice(b->gate_up, 1, 0, c->intermediate_size);
	struct zw_tensor up =
		zw_tensor_slice(b->gate_up, 1, c->intermediate_size, c->intermediate_size);

	zw_cmd_rmsnorm(b->cmd, &b->h, &w->norm2, &b->x, c->rms_norm_eps, b->rows_va, 0);
	zw_cmd_gemm(b->cmd, &b->x, &w->gate_up, &b->gate_up, NULL, NULL, b->rows_va, 0);
	zw_cmd_swiglu(b->cmd, &gate, &up, &gate, b->rows_va, 0);
	zw_cmd_gemm(b->cmd, &gate, &w->down, &b->h, NULL, &b->h, b->rows_va, 0);
}

void zw_rope_tables(float *cos_out, float *sin_out, uint32_t first, uint32_t n, uint32_t dim,
		    double theta)
{
	uint32_t half = dim / 2;

	for (uint32_t j = 0; j < half; j++) {
		/* The reference forms the exponent, the power, its reciprocal and the angle in binary32. */
		float power =
			(float)pow((double)(float)theta, (double)((float)(2 * j) / (float)dim));
		float inv = 1.0f / power;

		for (uint32_t i = 0; i < n; i++) {
			float angle = (float)(first + i) * inv;

			/* In double: full range reduction also for large angles. */
			cos_out[(uint64_t)i * half + j] = (float)cos((double)angle);
			sin_out[(uint64_t)i * half + j] = (float)sin((double)angle);
		}
	}
}
