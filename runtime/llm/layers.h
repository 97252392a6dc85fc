/* SPDX-License-Identifier: MIT */
/* Layer builders that families share. Errors stick to the command builder. */
#ifndef LLM_LAYERS_H
#define LLM_LAYERS_H

#include <zhenwu/llm_tag.h>

#include "family.h"

/* c = a . W^T (+ bias) (+ residual), these two optional: GEMM with the matrix of a linear layer. */
void llm_build_linear(const struct llm_build *b, const struct zw_tensor *a,
		      const struct llm_linear *l, const struct zw_tensor *c,
		      const struct zw_tensor *bias, const struct zw_tensor *residual);
/* GEMM_EXPERTS with matrices [experts, N, K]; flags: ZW_EXPERTS_F_*. weights, residual optional. */
void llm_build_linear_experts(const struct llm_build *b, const struct zw_tensor *a,
			      const struct llm_linear *l, const struct zw_tensor *ids,
			      const struct zw_tensor *c, const struct zw_tensor *weights,
			      const struct zw_tensor *residual, uint32_t flags);
/* Columns [first, first + heads * d) of a [M, N] tensor as [M, heads, d]; no data moves. */
struct zw_tensor llm_heads(const struct zw_tensor *t, uint32_t first, uint32_t heads, uint32_t d);

/* The cache of one KV layer; scales absent where it is not quantised. */
struct llm_kv_cache {
	struct zw_tensor k, v, k_scale, v_scale;
};
struct llm_kv_cache llm_kv_cache_of(const struct llm_build *b, uint32_t kv);
/* Stores k and v [M, kv_heads, kv_dim] at the rows' positions. */
void llm_build_kv_write(const struct llm_build *b, const struct llm_kv_cache *c,
			const struct zw_tensor *k, const struct zw_tensor *v);

/*
 * h += attention(norm1(h)) with optional biases, per-head QK norm and output gate. kv: which of the KV
 * layers. Scratch: x [M, H]; qkv [M, (heads + 2 kv heads) d], with a gate heads * d more.
 */
void llm_build_attention(const struct llm_build *b, const struct llm_layer_weights *w, uint32_t kv,
			 const struct zw_tensor *x, const struct zw_tensor *qkv);
/* h += down(silu(gate(x)) * up(x)), x = norm2(h). Scratch: x [M, H]; gate_up [M, 2 I or more]. */
void llm_build_swiglu(const struct llm_build *b, const struct llm_layer_weights *w,
		      const struct zw_tensor *x, const struct zw_tensor *gate_up);

/*
 * h += the weighted sum of a token's experts of x = norm2(h), each down(silu(gate(x)) * up(x)), and of
 * the shared one, where there is one. Scratch for the experts K of a token, of size Im: x [M, H]; logits
 * [M, E] F32, with a shared expert one column more; weights [M, K] F32; ids [M, K] I32; gate_up
 * [M, 2 K Im]; act [M, K Im]. For the shared one, of size Is: shared_gate_up [M, 2 Is or more]; shared_y
 * [M, H] F32.
 */
struct llm_experts_scratch {
	struct zw_tensor x, logits, weights, ids, gate_up, act;
	struct zw_tensor shared_gate_up, shared_y;
};
void llm_build_experts(const struct llm_build *b, const struct llm_layer_weights *w,
		       const struct llm_experts_scratch *s);

/*
 * h += Gated DeltaNet of norm1(h). l: which of the recurrent layers. Scratch: x [M, H]; qkvz [M, channels +
 * values]; ba [M, 2 value heads] F32.
 */
void llm_build_delta(const struct llm_build *b, const struct llm_layer_weights *w, uint32_t l,
		     const struct zw_tensor *x, const struct zw_tensor *qkvz,
		     const struct zw_tensor *ba);
/* Bytes of state of one recurrent layer. */
uint64_t llm_delta_bytes(const struct llm_model_config *c);

/* The packets to come belong there. */
static inline void llm_tag(const struct llm_build *b, enum zw_llm_part part, int layer)
{
	zw_cmd_tag(b->cmd, zw_llm_tag(part, layer < 0 ? layer : layer + (int)b->first_layer));
}

/* h: embedded ids, or what the layers before a part left. */
void llm_build_input(const struct llm_build *b);
/* h to [M, H] F32 at to_va, for the layers behind a part. */
void llm_build_hand_over(const struct llm_build *b, uint64_t to_va);

/* x [M, H] and qkv of llm_build_attention() as scratch 0 and 1, and all layers' KV cache. */
void llm_attention_needs(const struct llm_model_config *c, struct llm_needs *n);
/* needs and build of a family whose layers are all attention and SwiGLU. */
void llm_dense_needs(const struct llm_model_config *c, struct llm_needs *n);
void llm_dense_build(const struct llm_build *b);
/* The same of a family whose layers are recurrent or attention, with experts, a SwiGLU, or both kinds. */
void llm_hybrid_needs(const struct llm_model_config *c, struct llm_needs *n);
void llm_hybrid_build(const struct llm_build *b);
void llm_hybrid_mtp(const struct llm_build *b, const struct zw_tensor *hidden);

#endif
