// SPDX-License-Identifier: MIT
/* Models of recurrent layers and attention in config.json: which layer is what, and of what size. */
#include "config_layers.h"

#include <errno.h>
#include <string.h>

#include "config_value.h"

/* What the packets take: uapi/zhenwu/zw_cmd.h. */
#define STATE_DIM_MAX 1024
#define HEADS_MAX     4096
#define KERNEL_MAX    16

static void set_linear(struct llm_model_config *cfg, uint32_t n)
{
	cfg->linear_layers[n / 8] |= (uint8_t)(1 << n % 8);
}

/* layer_types, of num_hidden_layers entries; interval: what must not be contradicted, or 0. */
static int parse_types(const char *path, const cJSON *list, uint32_t interval,
		       struct llm_model_config *cfg, struct zw_error *err)
{
	const cJSON *it;
	uint32_t n = 0;

	if (!cJSON_IsArray(list))
		return llm_fail(err, -EBADMSG, "%s: layer_types is not a list", path);
	if ((uint32_t)cJSON_GetArraySize(list) != cfg->num_layers)
		return llm_fail(err, -EBADMSG,
				"%s: layer_types has %d entries, num_hidden_layers is %u", path,
				cJSON_GetArraySize(list), cfg->num_layers);
	cJSON_ArrayForEach(it, list)
	{
		bool linear;

		if (!cJSON_IsString(it))
			return llm_fail(err, -EBADMSG, "%s: layer_types[%u] is not a string", path,
					n);
		linear = !strcmp(it->valuestring, "linear_attention");
		if (!linear && strcmp(it->valuestring, "full_attention"))
			return llm_fail(err, -EOPNOTSUPP,
					"%s: layer_types \"%s\" is not supported yet", path,
					it->valuestring);
		if (interval && linear != !!((n + 1) % interval))
			return llm_fail(err, -EBADMSG,
					"%s: layer_types[%u] is \"%s\", which is not what "
					"full_attention_interval %u says",
					path, n, it->valuestring, interval);
		if (linear)
			set_linear(cfg, n);
		n++;
	}
	return 0;
}

static int parse_layers(const char *path, const cJSON *json, struct llm_model_config *cfg,
			struct zw_error *err)
{
	uint32_t interval = 0, full = 0;
	const cJSON *list;
	int ret = llm_json_member(path, json, "layer_types", &list, err);

	if (!ret)
		ret = llm_config_uint(path, json, "full_attention_interval", 1, LLM_LAYERS_MAX,
				      list ? 0 : 4, &interval, err);
	if (!ret && list)
		ret = parse_types(path, list, interval, cfg, err);
	if (ret)
		return ret;
	for (uint32_t n = 0; n < cfg->num_layers; n++) {
		if (!list && (n + 1) % interval)
			set_linear(cfg, n);
		full += !llm_layer_is_linear(cfg, n);
	}
	if (!full)
		return llm_fail(err, -EOPNOTSUPP, "%s: no layer has attention", path);
	return 0;
}

static int parse_linear(const char *path, const cJSON *json, struct llm_model_config *cfg,
			struct zw_error *err)
{
	const struct {
		const char *key;
		uint32_t *v;
		uint32_t min, max;
		int64_t def;
	} keys[] = {
		{"linear_num_key_heads", &cfg->key_heads, 1, HEADS_MAX, -1},
		{"linear_num_value_heads", &cfg->value_heads, 1, HEADS_MAX, -1},
		{"linear_key_head_dim", &cfg->key_dim, 1, STATE_DIM_MAX, -1},
		{"linear_value_head_dim", &cfg->value_dim, 1, STATE_DIM_MAX, -1},
		{"linear_conv_kernel_dim", &cfg->conv_kernel, 2, KERNEL_MAX, 4},
	};
	int ret = 0;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(keys) && !ret; i++)
		ret = llm_config_uint(path, json, keys[i].key, keys[i].min, keys[i].max,
				      keys[i].def, keys[i].v, err);
	if (!ret && cfg->value_heads % cfg->key_heads)
		ret = llm_fail(
			err, -EBADMSG,
			"%s: linear_num_value_heads %u is no multiple of linear_num_key_heads %u",
			path, cfg->value_heads, cfg->key_heads);
	return ret;
}

/* The layer behind the last one, which predicts one token more; its tensors say whether it is there. */
static int parse_mtp(const char *path, const cJSON *json, struct zw_error *err)
{
	static const char *const keys[] = {"mtp_num_hidden_layers", "num_nextn_predict_layers"};
	int ret = llm_config_require_false(path, json, "mtp_use_dedicated_embeddings", err);

	for (size_t i = 0; i < ZW_ARRAY_SIZE(keys) && !ret; i++) {
		uint32_t n = 0;

		ret = llm_config_uint(path, json, keys[i], 0, LLM_LAYERS_MAX, 0, &n, err);
		if (!ret && n > 1)
			ret = llm_fail(err, -EOPNOTSUPP, "%s: %s %u is not supported yet", path,
				       keys[i], n);
	}
	return ret;
}

int llm_config_hybrid(const char *path, const cJSON *json, struct llm_model_config *cfg,
		      struct zw_error *err)
{
	uint32_t bias;
	int ret = llm_config_uint(path, json, "head_dim", 2, LLM_HEAD_DIM_MAX, 256, &cfg->head_dim,
				  err);

	cfg->rope.partial = 0.25;
	cfg->attention_gate = 1;
	if (!ret)
		ret = llm_config_bool(path, json, "attention_bias", false, &bias, err);
	if (!ret && bias)
		ret = llm_fail(err, -EOPNOTSUPP, "%s: attention_bias true is not supported yet",
			       path);
	if (!ret)
		ret = llm_config_require_false(path, json, "use_sliding_window", err);
	if (!ret)
		ret = parse_layers(path, json, cfg, err);
	if (!ret)
		ret = parse_linear(path, json, cfg, err);
	if (!ret)
		ret = parse_mtp(path, json, err);
	return ret;
}
