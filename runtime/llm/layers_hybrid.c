// SPDX-License-Identifier: MIT
/*
 * Decoders of recurrent layers (Gated DeltaNet) and gated attention, each followed by a SwiGLU or by
 * routed experts and one that all tokens go through.
 */
#include "layers.h"

enum {
	X_MIXER,
	QKV,
	QKVZ,
	BA,
	X,
	GATE_UP,   /* of a SwiGLU or of a shared expert */
	MTP_INPUT, /* of an MTP head, as is the next */
	MTP_IDS,
	/* with experts: */
	LOGITS,
	WEIGHTS,
	IDS,
	EXPERTS_GATE_UP,
	EXPERTS_ACT,
	NUM_SCRATCH
};

static void want(struct llm_needs *n, uint32_t i, uint32_t dtype, uint32_t cols)
{
	n->scratch[i].dtype = dtype;
	n->scratch[i].cols = cols;
}

static void experts_needs(const struct llm_model_config *c, struct llm_needs *n)
{
	uint32_t k = c->experts_per_token;

	want(n, LOGITS, ZW_DTYPE_F32, c->num_experts + 1);
	want(n, WEIGHTS, ZW_DTYPE_F32, k);
	/* Of each layer: so that after a step it can be told who was chosen. */
	want(n, IDS, ZW_DTYPE_I32, c->num_layers * k);
	want(n, EXPERTS_GATE_UP, ZW_DTYPE_F32, k * 2 * c->expert_size);
	if (n->mtp)
		want(n, MTP_IDS, ZW_DTYPE_I32, k);
	want(n, EXPERTS_ACT, ZW_DTYPE_F32, k * c->expert_size);
	n->num_scratch = NUM_SCRATCH;
	n->experts_scratch = IDS;
}

void llm_hybrid_needs(const struct llm_model_config *c, struct llm_needs *n)
{
	uint32_t wide = c->shared_expert_size, linear = 0,
		 wide_type = c->num_experts ? ZW_DTYPE_F32 : ZW_DTYPE_BF16;

	llm_attention_needs(c, n);
	for (uint32_t i = 0; i < c->num_layers; i++) {
		linear += llm_layer_is_linear(c, i);
		if (!llm_layer_has_experts(c, i) && wide < c->intermediate_size)
			wide = c->intermediate_size;
	}
	want(n, X_MIXER, ZW_DTYPE_F32, c->hidden_size);
	want(n, QKVZ, ZW_DTYPE_F32, llm_conv_channels(c) + c->value_heads * c->value_dim);
	want(n, BA, ZW_DTYPE_F32, 2 * c->value_heads);
	want(n, X, wide_type, c->hidden_size);
	want(n, GATE_UP, wide_type, 2 * wide);
	if (n->mtp) {
		want(n, MTP_INPUT, ZW_DTYPE_F32, 2 * c->hidden_size);
		n->kv_layers++;
	}
	n->num_scratch = LOGITS;
	n->slab_bytes = linear * llm_delta_bytes(c);
	if (c->num_experts)
		experts_needs(c, n);
}

static struct llm_experts_scratch experts_scratch(const struct llm_build *b)
{
	return (struct llm_experts_scratch){
		.x = b->scratch[X],
		.logits = b->scratch[LOGITS],
		.weights = b->scratch[WEIGHTS],
		.gate_up = b->scratch[EXPERTS_GATE_UP],
		.act = b->scratch[EXPERTS_ACT],
		.shared_gate_up = b->scratch[GATE_UP],
		.shared_y = b->scratch[X_MIXER], /* F32, and not needed any more */
	};
}

static void feed_forward(const struct llm_build *b, const struct llm_layer_weights *w, uint32_t n)
{
	struct llm_experts_scratch s = experts_scratch(b);
	uint32_t k = b->cfg->experts_per_token;

	if (!llm_layer_has_experts(b->cfg, n)) {
		llm_build_swiglu(b, w, &b->scratch[X], &b->scratch[GATE_UP]);
		return;
	}
	s.ids = n < b->cfg->num_layers ? zw_tensor_slice(b->scratch[IDS], 1, n * k, k)
				       : b->scratch[MTP_IDS];
	llm_build_experts(b, w, &s);
}

void llm_hybrid_build(const struct llm_build *b)
{
	uint32_t kv = 0, linear = 0;

	llm_build_input(b);
	for (uint32_t n = 0; n < b->cfg->num_layers; n++) {
		const struct llm_layer_weights *w = &b->w->layers[n];

		llm_tag(b, ZW_LLM_PART_MIXER, (int)n);
		if (llm_layer_is_linear(b->cfg, n))
			llm_build_delta(b, w, linear++, &b->scratch[X_MIXER], &b->scratch[QKVZ],
					&b->scratch[BA]);
		else
			llm_build_attention(b, w, kv++, &b->scratch[X_MIXER], &b->scratch[QKV]);
		llm_tag(b, ZW_LLM_PART_FEED_FORWARD, (int)n);
		feed_forward(b, w, n);
	}
}

void llm_hybrid_mtp(const struct llm_build *b, const struct zw_tensor *hidden)
{
	uint32_t n = b->cfg->num_layers, h = b->cfg->hidden_size;
	struct zw_tensor token = zw_tensor_slice(b->scratch[MTP_INPUT], 1, 0, h);
	struct zw_tensor state = zw_tensor_slice(b->scratch[MTP_INPUT], 1, h, h);
	const struct llm_layer_weights *w = &b->w->layers[n];
	const struct llm_mtp_weights *m = &b->w->mtp;
	float eps = b->cfg->rms_norm_eps;
	uint32_t kv = 0;

	for (uint32_t i = 0; i < n; i++)
		kv += !llm_layer_is_linear(b->cfg, i);
	zw_cmd_embed(b->cmd, &b->ids, &b->w->embed, &b->h, b->rows_va, 0);
	zw_cmd_rmsnorm(b->cmd, &b->h, &m->norm_embed, &token, eps, b->rows_va, 0);
	zw_cmd_rmsnorm(b->cmd, hidden, &m->norm_hidden, &state, eps, b->rows_va, 0);
	llm_build_linear(b, &b->scratch[MTP_INPUT], &m->fc, &b->h, NULL, NULL);
	llm_tag(b, ZW_LLM_PART_MIXER, (int)n);
	llm_build_attention(b, w, kv, &b->scratch[X_MIXER], &b->scratch[QKV]);
	llm_tag(b, ZW_LLM_PART_FEED_FORWARD, (int)n);
	feed_forward(b, w, n);
	llm_tag(b, ZW_LLM_PART_DRAFT, -1);
	zw_cmd_rmsnorm(b->cmd, &b->h, &m->norm, hidden, eps, b->rows_va, 0);
}
