/* SPDX-License-Identifier: MIT */
/* config.json: hyper-parameters, and the stop tokens of both files. */
#ifndef ZW_LLM_CONFIG_H
#define ZW_LLM_CONFIG_H

#include "config_quant.h"

#define ZW_LLM_MAX_STOP  16  /* most stop tokens one model may have */
#define LLM_HEAD_DIM_MAX 512 /* of any family */
#define LLM_LAYERS_MAX   1024
#define LLM_POSITION_MAX (1u << 26)

/*
 * Rotary position embedding over d dimensions: frequency j of d / 2 is theta^(-2j/d). YaRN divides
 * it by factor, wholly from frequency ramp_high on, not at all up to ramp_low.
 */
struct llm_rope_config {
	double theta;
	/* Of a head, the first so many dimensions are turned. The family says which part of a head that
	 * is when the file does not (partial 0: the whole head, and the file may not say another). */
	double partial;
	uint32_t dim;
	/* Set by the family: positions may have three parts, which take turns over the frequencies and are
	 * equal for text. */
	uint32_t sections;
	double factor; /* 1: plain */
	double ramp_low, ramp_high;
	double attention_factor; /* on cosines and sines */
};

/* Dual Chunk Attention, see chunks.h. */
struct llm_chunk_config {
	uint32_t size;     /* 0: none */
	uint32_t local;    /* a chunk has size - local positions */
	uint32_t original; /* sequences longer than that have sharper scores; 0: none has */
};

/* A decoder as config.json describes it. */
struct llm_model_config {
	char model_type[28];        /* "qwen2", "qwen3" */
	uint32_t hidden_size;       /* H, columns of the residual stream */
	uint32_t intermediate_size; /* I, width of the SwiGLU */
	uint32_t num_layers;
	uint32_t num_heads;    /* query heads */
	uint32_t num_kv_heads; /* key/value heads; divides num_heads */
	uint32_t head_dim;     /* d; num_heads * d need not equal hidden_size */
	uint32_t vocab_size;   /* V, rows of the embedding; may exceed the tokenizer's tokens */
	/* Longest sequence the model was made for, in tokens; with YaRN what that makes of it. */
	uint32_t max_position;
	float rms_norm_eps;
	uint32_t tie_word_embeddings; /* 1: the head is the embedding */
	uint32_t attention_bias;      /* 1: q, k, v and o have a bias (qwen3's key; 0 in others) */
	uint32_t num_experts;         /* E; 0: none in any layer */
	uint32_t experts_per_token;   /* K of them for each token */
	uint32_t expert_size;         /* width of an expert's SwiGLU */
	uint32_t norm_topk_prob;      /* 1: the weights of a token's experts add up to 1 */
	uint32_t
		shared_expert_size; /* width of the SwiGLU that every token goes through; 0: none */
	uint32_t attention_gate; /* 1: a sigmoid gate on what attention gives, beside each query */
	/* Gated DeltaNet, in layers of linear_layers: heads of keys and of values, their dimensions, and
	 * tokens that the convolution sees. */
	uint32_t key_heads, value_heads, key_dim, value_dim, conv_kernel;
	/* 1: a checkpoint whose projections to queries, keys, values and gates are two tensors, in the order
	 * of rows that the layers have, where others have one grouped by key head. */
	uint32_t split_projections;
	/* Bit n is layer n's; one more than there are layers, and 0, for the one of an MTP head. */
	uint8_t dense_layers[LLM_LAYERS_MAX / 8 + 1];  /* no experts */
	uint8_t linear_layers[LLM_LAYERS_MAX / 8 + 1]; /* no attention */
	uint32_t num_stop;                             /* entries of stop */
	struct llm_rope_config rope;
	struct llm_quant_config quant;
	struct llm_chunk_config chunks;
	/* Union of eos_token_id of both files below vocab_size (others cannot come), ascending. */
	uint32_t stop[ZW_LLM_MAX_STOP];
};

/*
 * Reads DIR/config.json and, when there, eos_token_id of DIR/generation_config.json (what else that
 * file says is in <zhenwu/llm_generation_config.h>).
 *
 * Every value is range-checked (dimensions small enough that no product of two of them overflows 63
 * bits), keys that change the mathematics but are not implemented are refused by name
 * (-EOPNOTSUPP), contradictions between keys are errors (-EBADMSG). Keys that do not matter for
 * inference are passed over; zw_model_config_notes() tells of those nobody knows. A folder with an
 * adapter_config.json is refused.
 *
 * @param cfg  filled on success, untouched on failure
 * Thread safety: reentrant.
 */
int llm_model_config_load(const char *dir, struct llm_model_config *cfg, struct zw_error *err);
/* The same of a config.json alone, which `path` names in errors; *cfg is zero before. */
int llm_model_config_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
			   struct zw_error *err);

/* True when id is one of the configuration's stop tokens. Thread safety: pure. */
bool llm_model_config_is_stop(const struct llm_model_config *cfg, uint32_t id);

/* Whether the feed-forward of layer n is one of experts. */
static inline bool llm_layer_has_experts(const struct llm_model_config *cfg, uint32_t n)
{
	return cfg->num_experts && !(cfg->dense_layers[n / 8] >> n % 8 & 1);
}

/* Whether layer n is recurrent; else it is attention. */
static inline bool llm_layer_is_linear(const struct llm_model_config *cfg, uint32_t n)
{
	return cfg->linear_layers[n / 8] >> n % 8 & 1;
}

/* Layers [first, first + num) as a model of their own. */
void llm_config_cut(struct llm_model_config *cfg, uint32_t first, uint32_t num);

/* Channels of a recurrent layer's convolution: queries, keys and values. */
static inline uint32_t llm_conv_channels(const struct llm_model_config *cfg)
{
	return 2 * cfg->key_heads * cfg->key_dim + cfg->value_heads * cfg->value_dim;
}

/* Every entry of layer_types (when there) must be `type` and there must be num_layers of them. */
int llm_config_layer_types(const char *path, const cJSON *json, const struct llm_model_config *cfg,
			   const char *type, struct zw_error *err);

#endif
