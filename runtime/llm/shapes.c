// SPDX-License-Identifier: MIT
/*
 * The sizes of the published models, as data. Of a base file each; "-1m" is the variant whose file has Dual Chunk
 * Attention. What the totals of parameters are made of is checked against these figures by tests/unit/test_shapes.c.
 */
#include "shapes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define V2  151936
#define V2L 152064
#define V35 248320

/* clang-format off */
static const struct llm_shape shapes[] = {
	/* name, type, H, layers, heads, KV heads, d, I, V, tied, theta, positions, parameters */
	{"qwen2.5-0.5b", "qwen2", 896, 24, 14, 2, 64, 4864, V2, true, 1e6, 32768, 494032768},
	{"qwen2.5-1.5b", "qwen2", 1536, 28, 12, 2, 128, 8960, V2, true, 1e6, 131072, 1543714304},
	{"qwen2.5-3b", "qwen2", 2048, 36, 16, 2, 128, 11008, V2, true, 1e6, 32768, 3085938688},
	{"qwen2.5-7b", "qwen2", 3584, 28, 28, 4, 128, 18944, V2L, false, 1e6, 131072, 7615616512},
	{"qwen2.5-14b", "qwen2", 5120, 48, 40, 8, 128, 13824, V2L, false, 1e6, 131072, 14770033664},
	{"qwen2.5-32b", "qwen2", 5120, 64, 40, 8, 128, 27648, V2L, false, 1e6, 131072, 32763876352},
	{"qwen2.5-72b", "qwen2", 8192, 80, 64, 8, 128, 29568, V2L, false, 1e6, 131072, 72706203648},
	{"qwen2.5-7b-1m", "qwen2", 3584, 28, 28, 4, 128, 18944, V2L, false, 1e7, 1010000, 7615616512, .chunks = true},
	{"qwen2.5-14b-1m", "qwen2", 5120, 48, 40, 8, 128, 13824, V2L, false, 1e7, 1010000, 14770033664, .chunks = true},
	{"qwen3-0.6b", "qwen3", 1024, 28, 16, 8, 128, 3072, V2, true, 1e6, 40960, 596049920},
	{"qwen3-1.7b", "qwen3", 2048, 28, 16, 8, 128, 6144, V2, true, 1e6, 40960, 1720574976},
	{"qwen3-4b", "qwen3", 2560, 36, 32, 8, 128, 9728, V2, true, 1e6, 40960, 4022468096},
	{"qwen3-4b-2507", "qwen3", 2560, 36, 32, 8, 128, 9728, V2, true, 5e6, 262144, 4022468096},
	{"qwen3-8b", "qwen3", 4096, 36, 32, 8, 128, 12288, V2, false, 1e6, 40960, 8190735360},
	{"qwen3-14b", "qwen3", 5120, 40, 40, 8, 128, 17408, V2, false, 1e6, 40960, 14768307200},
	{"qwen3-32b", "qwen3", 5120, 64, 64, 8, 128, 25600, V2, false, 1e6, 40960, 32762123264},
	{"qwen3-30b-a3b", "qwen3_moe", 2048, 48, 32, 4, 128, 6144, V2, false, 1e6, 40960, 30532122624,
	 .experts = 128, .per_token = 8, .expert = 768},
	{"qwen3-30b-a3b-2507", "qwen3_moe", 2048, 48, 32, 4, 128, 6144, V2, false, 1e7, 262144, 30532122624,
	 .experts = 128, .per_token = 8, .expert = 768},
	{"qwen3-235b-a22b", "qwen3_moe", 4096, 94, 64, 4, 128, 12288, V2, false, 1e6, 40960, 235093634560,
	 .experts = 128, .per_token = 8, .expert = 1536},
	{"qwen3-235b-a22b-2507", "qwen3_moe", 4096, 94, 64, 4, 128, 12288, V2, false, 5e6, 262144, 235093634560,
	 .experts = 128, .per_token = 8, .expert = 1536},
	{"qwen3-next-80b-a3b", "qwen3_next", 2048, 48, 16, 2, 256, 5120, V2, false, 1e7, 262144, 79674391296,
	 .experts = 512, .per_token = 10, .expert = 512, .shared = 512, .key_heads = 16, .value_heads = 32},
	{"qwen3.5-0.8b", "qwen3_5_text", 1024, 24, 8, 2, 256, 3584, V35, true, 1e7, 262144, 752393024,
	 .key_heads = 16, .value_heads = 16},
	{"qwen3.5-4b", "qwen3_5_text", 2560, 32, 16, 4, 256, 9216, V35, true, 1e7, 262144, 4205751296,
	 .key_heads = 16, .value_heads = 32},
	{"qwen3.5-9b", "qwen3_5_text", 4096, 32, 16, 4, 256, 12288, V35, false, 1e7, 262144, 8953803264,
	 .key_heads = 16, .value_heads = 32},
	{"qwen3.5-27b", "qwen3_5_text", 5120, 64, 24, 4, 256, 17408, V35, false, 1e7, 262144, 26895998464,
	 .key_heads = 16, .value_heads = 48},
	{"qwen3.5-35b-a3b", "qwen3_5_moe_text", 2048, 40, 16, 2, 256, 0, V35, false, 1e7, 262144, 34660610688,
	 .experts = 256, .per_token = 8, .expert = 512, .shared = 512, .key_heads = 16, .value_heads = 32},
	{"qwen3.5-122b-a10b", "qwen3_5_moe_text", 3072, 48, 32, 2, 256, 0, V35, false, 1e7, 262144, 122111526912,
	 .experts = 256, .per_token = 8, .expert = 1024, .shared = 1024, .key_heads = 16, .value_heads = 64},
	{"qwen3.5-397b-a17b", "qwen3_5_moe_text", 4096, 60, 32, 2, 256, 0, V35, false, 1e7, 262144, 396346350336,
	 .experts = 512, .per_token = 10, .expert = 1024, .shared = 1024, .key_heads = 16, .value_heads = 64},
};

/* Of these no size is public. What stands in is stated wherever the name is taken. */
static const struct {
	const char *name, *stand_in, *note;
} stand_ins[] = {
	{"qwen3.7-max", "qwen3.5-397b-a17b",
	 "Qwen3.7-Max: no size of it is public; qwen3.5-397b-a17b, the largest public model of its line, stands in"},
};
/* clang-format on */

const struct llm_shape *llm_shape_find(const char *name)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(stand_ins); i++) {
		if (!strcasecmp(stand_ins[i].name, name))
			name = stand_ins[i].stand_in;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(shapes); i++) {
		if (!strcasecmp(shapes[i].name, name))
			return &shapes[i];
	}
	return NULL;
}

const struct llm_shape *llm_shape_at(size_t i)
{
	return i < ZW_ARRAY_SIZE(shapes) ? &shapes[i] : NULL;
}

const char *zw_shape_name(size_t i)
{
	if (i < ZW_ARRAY_SIZE(shapes))
		return shapes[i].name;
	i -= ZW_ARRAY_SIZE(shapes);
	return i < ZW_ARRAY_SIZE(stand_ins) ? stand_ins[i].name : NULL;
}

const char *zw_shape_note(const char *name)
{
	for (size_t i = 0; name && i < ZW_ARRAY_SIZE(stand_ins); i++) {
		if (!strcasecmp(stand_ins[i].name, name))
			return stand_ins[i].note;
	}
	return NULL;
}

static void add_number(cJSON *o, const char *key, double v)
{
	if (v)
		cJSON_AddNumberToObject(o, key, v);
}

cJSON *llm_shape_json(const struct llm_shape *s)
{
	cJSON *o = cJSON_CreateObject(), *dca;

	cJSON_AddStringToObject(o, "model_type", s->type);
	add_number(o, "hidden_size", s->hidden);
	add_number(o, "num_hidden_layers", s->layers);
	add_number(o, "num_attention_heads", s->heads);
	add_number(o, "num_key_value_heads", s->kv_heads);
	add_number(o, "head_dim", s->head_dim);
	add_number(o, "intermediate_size", s->inter);
	add_number(o, "vocab_size", s->vocab);
	add_number(o, "rope_theta", s->theta);
	add_number(o, "max_position_embeddings", s->positions);
	cJSON_AddBoolToObject(o, "tie_word_embeddings", s->tied);
	add_number(o, "num_experts", s->experts);
	add_number(o, "num_experts_per_tok", s->per_token);
	add_number(o, "moe_intermediate_size", s->expert);
	add_number(o, "shared_expert_intermediate_size", s->shared);
	if (s->experts)
		cJSON_AddBoolToObject(o, "norm_topk_prob", true);
	if (s->key_heads) {
		add_number(o, "full_attention_interval", 4);
		add_number(o, "linear_num_key_heads", s->key_heads);
		add_number(o, "linear_num_value_heads", s->value_heads);
		add_number(o, "linear_key_head_dim", 128);
		add_number(o, "linear_value_head_dim", 128);
		add_number(o, "linear_conv_kernel_dim", 4);
	}
	if (s->chunks) {
		dca = cJSON_AddObjectToObject(o, "dual_chunk_attention_config");
		add_number(dca, "chunk_size", 262144);
		add_number(dca, "local_size", 8192);
		add_number(dca, "original_max_position_embeddings", 262144);
	}
	return o;
}
