// SPDX-License-Identifier: MIT
/* compressed-tensors and ModelOpt: files whose modules may be stored in several ways. */
#include "config_quant_keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "zhenwu/zw_types.h"

/* ---- compressed-tensors ---- */

/* The kind of a number: 'i' or 'f', and bits. */
static int scheme_type(const struct llm_quant_place *at, char *type, int64_t *bits,
		       struct zw_error *err)
{
	const cJSON *v;
	int ret = llm_quant_get(at, "type", &v, err);

	if (ret)
		return ret;
	*type = v && cJSON_IsString(v) ? v->valuestring[0] : 'i';
	if (v && (!cJSON_IsString(v) ||
		  (strcmp(v->valuestring, "int") && strcmp(v->valuestring, "float"))))
		return llm_quant_refuse(at, "type", v, err);
	*bits = 8;
	return llm_quant_number(at, "num_bits", NULL, 4, 8, bits, err);
}

/* Which numbers share a scale, named or left to the size of groups. */
static int strategy_of(const struct llm_quant_place *at, const char **strategy,
		       struct zw_error *err)
{
	static const char *const names[] = {"tensor", "channel",      "group",
					    "block",  "tensor_group", "token"};
	const cJSON *v, *size;
	int ret = llm_quant_get(at, "strategy", &v, err);

	if (!ret)
		ret = llm_quant_get(at, "group_size", &size, err);
	if (ret)
		return ret;
	if (!v) {
		*strategy = !size                                           ? "tensor"
			    : cJSON_IsNumber(size) && size->valuedouble < 0 ? "channel"
									    : "group";
		return 0;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(names); i++) {
		if (cJSON_IsString(v) && !strcmp(v->valuestring, names[i])) {
			*strategy = names[i];
			return 0;
		}
	}
	return llm_quant_refuse(at, "strategy", v, err);
}

/*
 * Activations that the device has a product for are quantised as the file says, but always with a scale
 * that is found for each row, or for each block of it that weights have scales for: where the file has
 * one that was measured, that is as good or better. All others stay as they are, which loses less.
 */
static int parse_activations(const struct llm_quant_place *at, char weights,
			     struct llm_quant_scheme *s, struct zw_error *err)
{
	uint32_t block[2] = {0, 0};
	const char *strategy;
	int64_t bits;
	char type;
	bool there;
	const cJSON *v;
	int ret = scheme_type(at, &type, &bits, err);

	if (!ret)
		ret = llm_quant_get(at, "symmetric", &v, err);
	if (!ret)
		ret = strategy_of(at, &strategy, err);
	if (ret)
		return ret;
	if (!strcmp(strategy, "group") || !strcmp(strategy, "tensor_group"))
		ret = llm_quant_group_size(at, NULL, &block[1], err);
	else if (!strcmp(strategy, "block"))
		ret = llm_quant_block_size(at, "block_structure", block, &there, err);
	else if (!strcmp(strategy, "channel"))
		return llm_fail(err, -EOPNOTSUPP, "%s: %s.strategy \"channel\" is not supported",
				at->path, at->name);
	if (ret || bits != 8 || s->bits != 8 || type != weights || s->asym || cJSON_IsFalse(v))
		return ret;
	/* Blocks of activations are those of the weights: fewer columns are fine, more are not. */
	if (block[1] && (!s->block[1] || s->block[1] > block[1]))
		return 0;
	s->act = type == 'f' ? ZW_DTYPE_F8E4M3 : ZW_DTYPE_I8;
	s->act_block = s->block[1];
	return 0;
}

static int parse_weights(const struct llm_quant_place *at, struct llm_quant_scheme *s,
			 struct zw_error *err)
{
	static const char *const orders[] = {"static", "weight", "group", "dynamic"};
	const char *strategy;
	const cJSON *v;
	size_t i = 0;
	bool there;
	int ret = llm_quant_must_not(at, "dynamic", err);

	if (!ret)
		ret = llm_quant_get(at, "symmetric", &v, err);
	if (!ret)
		s->asym = cJSON_IsFalse(v);
	/* Where columns are of other groups than of those of their place a tensor says so. */
	if (!ret)
		ret = llm_quant_get(at, "actorder", &v, err);
	while (!ret && v && !cJSON_IsFalse(v) && i < ZW_ARRAY_SIZE(orders) &&
	       (!cJSON_IsString(v) || strcmp(v->valuestring, orders[i])))
		i++;
	if (i == ZW_ARRAY_SIZE(orders))
		ret = llm_quant_refuse(at, "actorder", v, err);
	if (!ret)
		ret = strategy_of(at, &strategy, err);
	if (ret)
		return ret;
	s->block[0] = 1;
	if (!strcmp(strategy, "tensor"))
		s->block[0] = 0;
	else if (!strcmp(strategy, "block"))
		ret = llm_quant_block_size(at, "block_structure", s->block, &there, err);
	else if (!strcmp(strategy, "group") || !strcmp(strategy, "tensor_group"))
		ret = llm_quant_group_size(at, NULL, &s->block[1], err);
	else if (strcmp(strategy, "channel"))
		return llm_fail(err, -EOPNOTSUPP, "%s: %s.strategy \"%s\" is not supported",
				at->path, at->name, strategy);
	if (!ret && !strcmp(strategy, "block") && !there)
		ret = llm_quant_wrong(at, "block_structure", "a list of two sizes", err);
	return ret;
}

/* What a format's weights have to be. */
static const struct {
	const char *name;
	uint32_t format;
	char type;
	uint32_t bits, group; /* 0: any */
} formats[] = {
	{"int-quantized", LLM_QUANT_INTS, 'i', 0, 0},
	{"float-quantized", LLM_QUANT_FLOATS, 'f', 8, 0},
	{"naive-quantized", LLM_QUANT_INTS, 'i', 0, 0},
	{"naive-quantized", LLM_QUANT_FLOATS, 'f', 8, 0},
	{"pack-quantized", LLM_QUANT_PACKED, 'i', 0, 0},
	{"nvfp4-pack-quantized", LLM_QUANT_NVFP4, 'f', 4, 16},
	{"mxfp4-pack-quantized", LLM_QUANT_MXFP4, 'f', 4, 32},
	{"mxfp8-quantized", LLM_QUANT_MXFP8, 'f', 8, 32},
};

static int parse_group(const struct llm_quant_place *group, const cJSON *format,
		       struct llm_quant_config *q, struct zw_error *err)
{
	char weights_name[160], act_name[160];
	struct llm_quant_place weights = {group->path, weights_name, NULL};
	struct llm_quant_place act = {group->path, act_name, NULL};
	struct llm_quant_scheme s = {0};
	const cJSON *own = NULL;
	bool known = false;
	size_t i = 0;
	int64_t bits = 0;
	char type = 0;
	int ret = llm_quant_get(group, "format", &own, err);

	snprintf(weights_name, sizeof(weights_name), "%s.weights", group->name);
	snprintf(act_name, sizeof(act_name), "%s.input_activations", group->name);
	format = own ? own : format;
	if (!ret)
		ret = llm_quant_get(group, "weights", &weights.obj, err);
	if (!ret)
		ret = llm_quant_get(group, "input_activations", &act.obj, err);
	if (!ret)
		ret = llm_quant_must_be_empty(group, "output_activations", err);
	/* A group of attentions, say, whose queries were to be quantised. */
	if (ret || (!weights.obj && act.obj))
		return ret;
	for (size_t f = 0; f < ZW_ARRAY_SIZE(formats); f++)
		known |= cJSON_IsString(format) && !strcmp(format->valuestring, formats[f].name);
	if (!known)
		return llm_quant_refuse(group, "format", format, err);
	if (!cJSON_IsObject(weights.obj))
		return llm_quant_wrong(group, "weights", "an object", err);
	ret = scheme_type(&weights, &type, &bits, err);
	if (!ret)
		ret = parse_weights(&weights, &s, err);
	if (ret)
		return ret;
	while (i < ZW_ARRAY_SIZE(formats) &&
	       (strcmp(format->valuestring, formats[i].name) || formats[i].type != type))
		i++;
	if (i == ZW_ARRAY_SIZE(formats) || (formats[i].bits && bits != formats[i].bits) ||
	    (bits != 4 && bits != 8) || (formats[i].group && s.block[1] != formats[i].group))
		return llm_fail(err, -EOPNOTSUPP, "%s: %s: %lld-bit %s do not go with format %s",
				group->path, weights_name, (long long)bits,
				type == 'f' ? "floats" : "integers", format->valuestring);
	s.format = formats[i].format;
	/* Integers that are not packed are a byte each, however small. */
	s.bits = s.format == LLM_QUANT_INTS ? 8 : (uint32_t)bits;
	if (act.obj)
		ret = parse_activations(&act, type, &s, err);
	return ret ? ret : llm_quant_add(q, &s, group, err);
}

int llm_quant_parse_compressed(const struct llm_quant_place *at, struct llm_quant_config *q,
			       struct zw_error *err)
{
	const cJSON *groups, *format, *v, *it;
	int ret = llm_quant_get(at, "config_groups", &groups, err);

	if (!ret)
		ret = llm_quant_get(at, "format", &format, err);
	if (!ret)
		ret = llm_quant_strings(at, "ignore", err);
	/* Early tools left the word for a model that is being quantised in what they saved. */
	if (!ret)
		ret = llm_quant_get(at, "quantization_status", &v, err);
	if (!ret && (!cJSON_IsString(v) || strcmp(v->valuestring, "frozen")))
		ret = llm_quant_must_be(at, "quantization_status", "compressed", false, err);
	if (!ret)
		ret = llm_quant_get(at, "sparsity_config", &v, err);
	if (!ret && v) {
		struct llm_quant_place sparsity = {at->path, "quantization_config.sparsity_config",
						   v};

		ret = v->child ? llm_quant_must_be(&sparsity, "format", "dense", true, err) : 0;
	}
	/* They would turn the weights on their way in. */
	if (!ret)
		ret = llm_quant_must_be_empty(at, "transform_config", err);
	if (ret)
		return ret;
	if (!cJSON_IsObject(groups) || !groups->child)
		return llm_quant_wrong(at, "config_groups", "an object with a group", err);
	cJSON_ArrayForEach(it, groups)
	{
		char name[120];
		struct llm_quant_place group = {at->path, name, it};

		snprintf(name, sizeof(name), "%s.config_groups.%.40s", at->name, it->string);
		if (!cJSON_IsObject(it))
			return llm_quant_wrong(at, "config_groups", "an object of objects", err);
		ret = parse_group(&group, format, q, err);
		if (ret)
			return ret;
	}
	return 0;
}

/* ---- ModelOpt ---- */

static int add_algorithm(const struct llm_quant_place *at, struct llm_quant_config *q,
			 struct zw_error *err)
{
	static const struct {
		const char *name;
		struct llm_quant_scheme s;
	} algorithms[] = {
		{"FP8", {.format = LLM_QUANT_FLOATS, .bits = 8, .act = ZW_DTYPE_F8E4M3}},
		{"FP8_PER_CHANNEL_PER_TOKEN",
		 {.format = LLM_QUANT_FLOATS, .bits = 8, .block = {1, 0}, .act = ZW_DTYPE_F8E4M3}},
		{"FP8_PB_WO", {.format = LLM_QUANT_FLOATS, .bits = 8, .block = {128, 128}}},
		{"NVFP4", {.format = LLM_QUANT_MODELOPT_NVFP4, .bits = 4, .block = {1, 16}}},
		{"W4A16_NVFP4", {.format = LLM_QUANT_MODELOPT_NVFP4, .bits = 4, .block = {1, 16}}},
		{"MXFP8",
		 {.format = LLM_QUANT_MXFP8,
		  .bits = 8,
		  .block = {1, 32},
		  .act = ZW_DTYPE_F8E4M3,
		  .act_block = 32}},
	};
	const cJSON *v;
	int64_t group;
	int ret = llm_quant_get(at, "quant_algo", &v, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(algorithms); i++) {
		const struct llm_quant_scheme *s = &algorithms[i].s;

		if (!cJSON_IsString(v) || strcmp(v->valuestring, algorithms[i].name))
			continue;
		/* Other algorithms have a size there that means nothing, or none. */
		if (s->block[0] == 1 && s->block[1])
			ret = llm_quant_number(at, "group_size", NULL, s->block[1], s->block[1],
					       &group, err);
		return ret ? ret : llm_quant_add(q, s, at, err);
	}
	return llm_quant_refuse(at, "quant_algo", v, err);
}

int llm_quant_parse_modelopt(const struct llm_quant_place *at, struct llm_quant_config *q,
			     struct zw_error *err)
{
	const cJSON *v, *it;
	int ret = llm_quant_strings(at, "ignore", err);

	if (!ret)
		ret = llm_quant_strings(at, "exclude_modules", err);
	if (!ret)
		ret = llm_quant_get(at, "quant_algo", &v, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(v) || strcmp(v->valuestring, "MIXED_PRECISION"))
		return add_algorithm(at, q, err);
	ret = llm_quant_get(at, "quantized_layers", &v, err);
	if (ret)
		return ret;
	if (!cJSON_IsObject(v) || !v->child)
		return llm_quant_wrong(at, "quantized_layers", "an object with a module", err);
	cJSON_ArrayForEach(it, v)
	{
		char name[200];
		struct llm_quant_place module = {at->path, name, it};

		snprintf(name, sizeof(name), "%s.quantized_layers.%.120s", at->name, it->string);
		if (!cJSON_IsObject(it))
			return llm_quant_wrong(at, "quantized_layers", "an object of objects", err);
		ret = add_algorithm(&module, q, err);
		if (ret)
			return ret;
	}
	return 0;
}
