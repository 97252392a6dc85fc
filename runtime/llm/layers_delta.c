// SPDX-License-Identifier: MIT
/* Gated DeltaNet: projections, short convolution, gated delta rule, gated norm. */
#include "layers.h"

#include <math.h>

#define L2_NORM_EPS 1e-6f /* of no key of any configuration */
#define CONV_STATE  ZW_DTYPE_F32

static uint64_t conv_bytes(const struct llm_model_config *c)
{
	return llm_align((c->conv_kernel - 1ull) * llm_conv_channels(c) *
				 (zw_dtype_bits(CONV_STATE) / 8),
			 LLM_ALIGN);
}

uint64_t llm_delta_bytes(const struct llm_model_config *c)
{
	return conv_bytes(c) +
	       llm_align((uint64_t)c->value_heads * c->key_dim * c->value_dim * 4, LLM_ALIGN);
}

void llm_build_delta(const struct llm_build *b, const struct llm_layer_weights *w, uint32_t l,
		     const struct zw_tensor *x, const struct zw_tensor *qkvz,
		     const struct zw_tensor *ba)
{
	const struct llm_model_config *c = b->cfg;
	uint32_t nk = c->key_heads, nv = c->value_heads, dk = c->key_dim, dv = c->value_dim;
	uint32_t channels = llm_conv_channels(c);
	uint64_t va = b->slab_va + l * llm_delta_bytes(c), r = b->rows_va;
	struct zw_tensor conv = zw_tensor_slice(*qkvz, 1, 0, channels);
	struct zw_tensor q = llm_heads(qkvz, 0, nk, dk);
	struct zw_tensor k = llm_heads(qkvz, nk * dk, nk, dk);
	struct zw_tensor v = llm_heads(qkvz, 2 * nk * dk, nv, dv);
	struct zw_tensor z = llm_heads(qkvz, channels, nv, dv);
	struct zw_tensor v_flat = zw_tensor_slice(*qkvz, 1, 2 * nk * dk, nv * dv);
	struct zw_tensor b_gate = zw_tensor_slice(*ba, 1, 0, nv);
	struct zw_tensor a_gate = zw_tensor_slice(*ba, 1, nv, nv);
	struct zw_tensor inputs =
		zw_tensor_3d(CONV_STATE, va, b->slabs, c->conv_kernel - 1, channels);
	struct zw_tensor state =
		zw_tensor_4d(ZW_DTYPE_F32, va + conv_bytes(c), b->slabs, nv, dk, dv);
	struct zw_cmd_delta_args args = {
		.q = &q,
		.k = &k,
		.v = &v,
		.a = &a_gate,
		.b = &b_gate,
		.a_log = &w->a_log,
		.dt_bias = &w->dt_bias,
		.y = &v, /* in place */
		.state = &state,
		.pos = &b->pos,
		.seq = &b->state_from,
		.dst = &b->state_to,
		.eps = L2_NORM_EPS,
		.scale = 1.0f / sqrtf((float)dk),
	};

	inputs.stride[0] = b->slab_stride / (zw_dtype_bits(CONV_STATE) / 8);
	state.stride[0] = b->slab_stride / 4;
	zw_cmd_rmsnorm(b->cmd, &b->h, &w->norm1, x, c->rms_norm_eps, r, 0);
	llm_build_linear(b, x, &w->delta_qkvz, qkvz, NULL, NULL);
	llm_build_linear(b, x, &w->delta_ba, ba, NULL, NULL);
	zw_cmd_conv(b->cmd, &conv, &w->conv, &conv, &inputs, &b->pos, &b->state_from, &b->state_to,
		    r, 0);
	zw_cmd_delta(b->cmd, &args, r, b->delta_flags);
	zw_cmd_gated_norm(b->cmd, &v, &w->delta_norm, &z, &v, c->rms_norm_eps, r, 0);
	llm_build_linear(b, &v_flat, &w->o, &b->h, NULL, &b->h);
}
