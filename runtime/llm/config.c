// SPDX-License-Identifier: MIT
/* config.json, and the stop tokens of generation_config.json, to struct llm_model_config. */
#include "chunks.h"
#include "config.h"
#include "config_rope.h"
#include "config_value.h"
#include "family.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "token_list.h"

/* Generous against published models, small enough that products of two stay far below 2^63. */
#define DIM_MAX   (1u << 20)
#define HEADS_MAX 4096
#define VOCAB_MAX (1u << 22)

int llm_config_layer_types(const char *path, const cJSON *json, const struct llm_model_config *cfg,
			   const char *type, struct zw_error *err)
{
	const cJSON *list, *it;
	uint32_t n = 0;
	int ret = llm_json_member(path, json, "layer_types", &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return llm_fail(err, -EBADMSG, "%s: layer_types is not a list", path);
	cJSON_ArrayForEach(it, list)
	{
		if (!cJSON_IsString(it))
			return llm_fail(err, -EBADMSG, "%s: layer_types[%u] is not a string", path,
					n);
		if (strcmp(it->valuestring, type))
			return llm_fail(err, -EOPNOTSUPP,
					"%s: layer_types \"%s\" is not supported yet", path,
					it->valuestring);
		n++;
	}
	if (n != cfg->num_layers)
		return llm_fail(err, -EBADMSG,
				"%s: layer_types has %u entries, num_hidden_layers is %u", path, n,
				cfg->num_layers);
	return 0;
}

/* Ids that the model has no logit for can never be chosen; published files have such. */
static int add_stop(const char *path, uint32_t id, struct llm_model_config *cfg,
		    struct zw_error *err)
{
	uint32_t at;

	if (id >= cfg->vocab_size || llm_model_config_is_stop(cfg, id))
		return 0;
	if (cfg->num_stop == ZW_LLM_MAX_STOP)
		return llm_fail(err, -EOPNOTSUPP, "%s: eos_token_id: more than %d tokens", path,
				ZW_LLM_MAX_STOP);
	for (at = cfg->num_stop++; at && cfg->stop[at - 1] > id; at--)
		cfg->stop[at] = cfg->stop[at - 1];
	cfg->stop[at] = id;
	return 0;
}

static int parse_eos(const char *path, const cJSON *json, struct llm_model_config *cfg,
		     struct zw_error *err)
{
	struct zw_token_list list = {0};
	int ret = llm_config_ids(path, json, "eos_token_id", &list, err);

	for (size_t i = 0; i < list.n && !ret; i++)
		ret = add_stop(path, list.ids[i], cfg, err);
	token_list_free(&list);
	return ret;
}

/* The architecture says which head sits on the layers: a classifier must not pass for a LM. */
static int check_architecture(const char *path, const cJSON *json, const struct llm_family *family,
			      struct zw_error *err)
{
	const cJSON *list, *it;
	int ret = llm_json_member(path, json, "architectures", &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return llm_fail(err, -EBADMSG, "%s: architectures is not a list", path);
	cJSON_ArrayForEach(it, list)
	{
		if (!cJSON_IsString(it) || strcmp(it->valuestring, family->architecture))
			return llm_fail(err, -EOPNOTSUPP,
					"%s: architectures: \"%s\" is not supported yet", path,
					cJSON_IsString(it) ? it->valuestring : "?");
	}
	return 0;
}

/* Keys that change the mathematics or the tensors of any family. */
static const struct llm_config_neutral not_supported[] = {
	{"compression_config", LLM_NEUTRAL_ABSENT, 0},
	{"audio_config", LLM_NEUTRAL_ABSENT, 0},
	{"pruned_heads", LLM_NEUTRAL_EMPTY, 0},
	{"is_encoder_decoder", LLM_NEUTRAL_FALSE, 0},
	{"add_cross_attention", LLM_NEUTRAL_FALSE, 0},
	{"tie_encoder_decoder", LLM_NEUTRAL_FALSE, 0},
};

/* Of models of several towers, the text's among them; families that are such read the latter. */
static const struct llm_config_neutral towers[] = {
	{"text_config", LLM_NEUTRAL_ABSENT, 0},
	{"vision_config", LLM_NEUTRAL_ABSENT, 0},
};

static int check_not_supported(const char *path, const cJSON *json, bool with_towers,
			       struct zw_error *err)
{
	int ret = llm_config_require_neutral(path, json, not_supported,
					     ZW_ARRAY_SIZE(not_supported), err);

	if (!ret && !with_towers)
		ret = llm_config_require_neutral(path, json, towers, ZW_ARRAY_SIZE(towers), err);
	return ret;
}

/* The configuration of the decoder: the file, or its text_config. */
static int find_text(const char *path, const cJSON *json, const struct llm_family *family,
		     const cJSON **text, struct zw_error *err)
{
	const cJSON *type;
	int ret;

	*text = json;
	if (!family->text_type)
		return 0;
	ret = llm_json_member(path, json, "text_config", text, err);
	if (ret)
		return ret;
	if (!cJSON_IsObject(*text))
		return llm_fail(err, -EBADMSG, "%s: text_config is %s", path,
				*text ? "not an object" : "missing");
	ret = llm_json_member(path, *text, "model_type", &type, err);
	if (ret)
		return ret;
	if (type && (!cJSON_IsString(type) || strcmp(type->valuestring, family->text_type)))
		return llm_fail(err, -EOPNOTSUPP,
				"%s: text_config.model_type \"%s\" is not supported, %s has \"%s\"",
				path, cJSON_IsString(type) ? type->valuestring : "?",
				family->model_type, family->text_type);
	return check_not_supported(path, *text, false, err);
}

/* At top level or in text_config, or the same in both. */
static int parse_tied(const char *path, const cJSON *json, const cJSON *text,
		      struct llm_model_config *cfg, struct zw_error *err)
{
	const char *const key = "tie_word_embeddings";
	const cJSON *outer, *inner;
	int ret = llm_json_member(path, json, key, &outer, err);

	if (!ret)
		ret = llm_json_member(path, text, key, &inner, err);
	if (!ret)
		ret = llm_config_bool(path, outer ? json : text, key, false,
				      &cfg->tie_word_embeddings, err);
	if (!ret && outer && inner && cJSON_IsTrue(outer) != cJSON_IsTrue(inner))
		ret = llm_fail(err, -EBADMSG, "%s: %s and text_config.%s differ", path, key, key);
	return ret;
}

static int parse_family(const char *path, const cJSON *json, struct llm_model_config *cfg,
			const struct llm_family **family, struct zw_error *err)
{
	const cJSON *type;
	int ret;

	if (!cJSON_IsObject(json))
		return llm_fail(err, -EBADMSG, "%s: not a JSON object", path);
	ret = llm_json_member(path, json, "model_type", &type, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(type))
		return llm_fail(err, -EBADMSG, "%s: model_type is missing", path);
	*family = llm_family_find(type->valuestring);
	if (!*family)
		return llm_fail(err, -EOPNOTSUPP, "%s: model_type \"%s\" is not supported yet",
				path, type->valuestring);
	snprintf(cfg->model_type, sizeof(cfg->model_type), "%s", (*family)->model_type);
	return check_architecture(path, json, *family, err);
}

/* all_experts: the width of a SwiGLU means nothing. */
static int parse_dims(const char *path, const cJSON *json, bool all_experts,
		      struct llm_model_config *cfg, struct zw_error *err)
{
	const struct {
		const char *key;
		uint32_t *v;
		uint32_t max;
		int64_t def;
	} dims[] = {
		{"hidden_size", &cfg->hidden_size, DIM_MAX, -1},
		{"intermediate_size", &cfg->intermediate_size, DIM_MAX, all_experts ? 0 : -1},
		{"num_hidden_layers", &cfg->num_layers, LLM_LAYERS_MAX, -1},
		{"num_attention_heads", &cfg->num_heads, HEADS_MAX, -1},
		{"num_key_value_heads", &cfg->num_kv_heads, HEADS_MAX, -1},
		{"vocab_size", &cfg->vocab_size, VOCAB_MAX, -1},
		{"max_position_embeddings", &cfg->max_position, LLM_POSITION_MAX, -1},
	};
	int ret = 0;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(dims) && !ret; i++)
		ret = llm_config_uint(path, json, dims[i].key, 1, dims[i].max, dims[i].def,
				      dims[i].v, err);
	return ret;
}

static int parse_activation(const char *path, const cJSON *json, struct zw_error *err)
{
	const cJSON *it;
	int ret = llm_json_member(path, json, "hidden_act", &it, err);

	if (!ret && it && (!cJSON_IsString(it) || strcmp(it->valuestring, "silu")))
		return llm_fail(err, -EOPNOTSUPP, "%s: hidden_act \"%s\" is not supported yet",
				path, cJSON_IsString(it) ? it->valuestring : "?");
	return ret;
}

static int check_heads(const char *path, const struct llm_model_config *cfg, struct zw_error *err)
{
	if (cfg->num_heads % cfg->num_kv_heads)
		return llm_fail(
			err, -EBADMSG,
			"%s: num_attention_heads %u is no multiple of num_key_value_heads %u", path,
			cfg->num_heads, cfg->num_kv_heads);
	if (cfg->head_dim % 2)
		return llm_fail(err, -EBADMSG, "%s: head_dim %u is odd", path, cfg->head_dim);
	return 0;
}

int llm_model_config_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
			   struct zw_error *err)
{
	const struct llm_family *family = NULL;
	const cJSON *text;
	double eps = 0;
	int ret;

	ret = parse_family(path, json, cfg, &family, err);
	if (!ret)
		ret = check_not_supported(path, json, family->text_type, err);
	if (!ret)
		ret = find_text(path, json, family, &text, err);
	if (!ret)
		ret = parse_dims(path, text, family->all_experts, cfg, err);
	if (!ret)
		ret = llm_config_double(path, text, "rms_norm_eps", 1e-12, 1e-1, 1e-6, &eps, err);
	if (!ret)
		ret = parse_tied(path, json, text, cfg, err);
	if (!ret)
		ret = parse_activation(path, text, err);
	if (!ret)
		ret = family->parse(path, text, cfg, err);
	if (!ret)
		ret = check_heads(path, cfg, err);
	if (!ret)
		ret = llm_config_rope(path, text, cfg, err);
	if (!ret)
		ret = llm_config_chunks(path, text, cfg, family->dual_chunk, err);
	if (!ret)
		ret = llm_config_quant(path, json, &cfg->quant, err);
	if (!ret && text != json && !cfg->quant.num)
		ret = llm_config_quant(path, text, &cfg->quant, err);
	if (!ret)
		ret = parse_eos(path, text, cfg, err);
	/* Some name one token here and another one there. */
	if (!ret && text != json)
		ret = parse_eos(path, json, cfg, err);
	cfg->rms_norm_eps = (float)eps;
	return ret;
}

/* transformers would load the adapter's base model and put the adapter on it. */
static int check_adapter(const char *dir, struct zw_error *err)
{
	char *path = llm_path_join(dir, "adapter_config.json");
	int ret = 0;

	if (!path)
		return llm_fail(err, -ENOMEM, "%s: out of memory", dir);
	if (!access(path, F_OK))
		ret = llm_fail(err, -EOPNOTSUPP, "%s: adapters are not supported: merge it first",
			       path);
	free(path);
	return ret;
}

int llm_model_config_load(const char *dir, struct llm_model_config *cfg, struct zw_error *err)
{
	struct llm_model_config full = {0};
	char *path, *gen;
	cJSON *json = NULL;
	int ret;

	path = llm_path_join(dir, "config.json");
	gen = llm_path_join(dir, "generation_config.json");
	if (!path || !gen) {
		ret = llm_fail(err, -ENOMEM, "%s: out of memory", dir);
		goto out;
	}
	ret = check_adapter(dir, err);
	if (!ret)
		ret = llm_json_load(path, CONFIG_MAX, &json, err);
	if (!ret)
		ret = llm_model_config_parse(path, json, &full, err);
	if (!ret && !full.quant.num)
		ret = llm_config_quant_files(dir, &full.quant, err);
	if (!ret && access(gen, F_OK) == 0) {
		cJSON_Delete(json);
		json = NULL;
		ret = llm_json_load(gen, CONFIG_MAX, &json, err);
		if (!ret && !cJSON_IsObject(json))
			ret = llm_fail(err, -EBADMSG, "%s: not a JSON object", gen);
		if (!ret)
			ret = parse_eos(gen, json, &full, err);
	}
	if (!ret)
		*cfg = full;
out:
	cJSON_Delete(json);
	free(path);
	free(gen);
	return ret;
}

bool llm_model_config_is_stop(const struct llm_model_config *cfg, uint32_t id)
{
	for (uint32_t i = 0; i < cfg->num_stop; i++) {
		if (cfg->stop[i] == id)
			return true;
	}
	return false;
}

/* Bits [first, first + num) become the first ones, and those behind them 0. */
static void cut_bits(uint8_t *bits, uint32_t first, uint32_t num)
{
	for (uint32_t n = 0; n < LLM_LAYERS_MAX; n++) {
		bool set = n < num && bits[(first + n) / 8] >> (first + n) % 8 & 1;

		bits[n / 8] = (uint8_t)((bits[n / 8] & ~(1 << n % 8)) | set << n % 8);
	}
}

void llm_config_cut(struct llm_model_config *cfg, uint32_t first, uint32_t num)
{
	cut_bits(cfg->dense_layers, first, num);
	cut_bits(cfg->linear_layers, first, num);
	cfg->num_layers = num;
}
