// SPDX-License-Identifier: MIT
/* quantization_config of config.json: one function per quant_method. */
#include "config_quant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config_value.h"
#include "zhenwu/zw_types.h"

#define BLOCK_MAX (1u << 20)

/* Where in the file: "quantization_config.config_groups.group_0.weights", say. */
struct place {
	const char *path, *name;
	const cJSON *obj;
};

static int refuse(const struct place *at, const char *key, const cJSON *value, struct zw_error *err)
{
	char text[48] = "?";

	if (cJSON_IsString(value))
		snprintf(text, sizeof(text), "\"%.40s\"", value->valuestring);
	else if (cJSON_IsNumber(value))
		snprintf(text, sizeof(text), "%g", value->valuedouble);
	else if (cJSON_IsBool(value))
		snprintf(text, sizeof(text), "%s", cJSON_IsTrue(value) ? "true" : "false");
	else if (!value || cJSON_IsNull(value))
		snprintf(text, sizeof(text), "null");
	return llm_fail(err, -EOPNOTSUPP, "%s: %s.%s %s is not supported", at->path, at->name, key,
			text);
}

static int wrong(const struct place *at, const char *key, const char *what, struct zw_error *err)
{
	return llm_fail(err, -EBADMSG, "%s: %s.%s is not %s", at->path, at->name, key, what);
}

static int get(const struct place *at, const char *key, const cJSON **v, struct zw_error *err)
{
	return llm_json_member(at->path, at->obj, key, v, err);
}

/* A string that has to be the one given, in any case of letters; absent is fine unless needed. */
static int must_be(const struct place *at, const char *key, const char *text, bool needed,
		   struct zw_error *err)
{
	const cJSON *v;
	int ret = get(at, key, &v, err);

	if (ret || (!v && !needed))
		return ret;
	if (!cJSON_IsString(v) || strcasecmp(v->valuestring, text))
		return refuse(at, key, v, err);
	return 0;
}

/* A boolean that has to be false where it is there. */
static int must_not(const struct place *at, const char *key, struct zw_error *err)
{
	const cJSON *v;
	int ret = get(at, key, &v, err);

	if (!ret && v && !cJSON_IsFalse(v))
		return refuse(at, key, v, err);
	return ret;
}

/* An object or list that has to be empty where it is there. */
static int must_be_empty(const struct place *at, const char *key, struct zw_error *err)
{
	const cJSON *v;
	int ret = get(at, key, &v, err);

	if (!ret && v && v->child)
		return refuse(at, key, v, err);
	return ret;
}

static int strings(const struct place *at, const char *key, struct zw_error *err)
{
	const cJSON *list, *it;
	int ret = get(at, key, &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return wrong(at, key, "a list of strings", err);
	cJSON_ArrayForEach(it, list)
	{
		if (!cJSON_IsString(it))
			return wrong(at, key, "a list of strings", err);
	}
	return 0;
}

/* The number under one of two keys, the second of which older tools wrote; v stays without both. */
static int number(const struct place *at, const char *key, const char *old, int64_t min,
		  uint32_t max, int64_t *v, struct zw_error *err)
{
	const cJSON *it;
	int ret = get(at, key, &it, err);

	if (!ret && !it && old) {
		key = old;
		ret = get(at, key, &it, err);
	}
	if (ret || !it)
		return ret;
	if (!cJSON_IsNumber(it) || it->valuedouble < (double)min || it->valuedouble > max ||
	    it->valuedouble != (double)(int64_t)it->valuedouble)
		return refuse(at, key, it, err);
	*v = (int64_t)it->valuedouble;
	return 0;
}

/* group_size: -1 is a whole row. */
static int group_size(const struct place *at, const char *old, uint32_t *group,
		      struct zw_error *err)
{
	int64_t v = 0;
	int ret = number(at, "group_size", old, -1, BLOCK_MAX, &v, err);

	if (ret)
		return ret;
	if (!v)
		return llm_fail(err, -EBADMSG, "%s: %s.group_size is missing or 0", at->path,
				at->name);
	*group = v < 0 ? 0 : (uint32_t)v;
	return 0;
}

/* A list of two sizes. */
static int block_size(const struct place *at, const char *key, uint32_t block[2],
		      struct zw_error *err)
{
	const cJSON *list, *it;
	uint64_t v;
	int n = 0, ret = get(at, key, &list, err);

	if (ret)
		return ret;
	if (!list)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: %s without %s (one scale for a tensor) is not supported",
				at->path, at->name, key);
	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 2)
		return wrong(at, key, "a list of two sizes", err);
	cJSON_ArrayForEach(it, list)
	{
		if (!llm_json_uint(it, 1, BLOCK_MAX, &v))
			return wrong(at, key, "a list of two sizes", err);
		block[n++] = (uint32_t)v;
	}
	return 0;
}

/* ---- methods ---- */

static int parse_fp8(const struct place *at, struct llm_quant_config *q, struct zw_error *err)
{
	int ret = must_be(at, "fmt", "e4m3", false, err);

	if (!ret)
		ret = must_be(at, "activation_scheme", "dynamic", false, err);
	if (!ret)
		ret = must_be(at, "scale_fmt", "float", false, err);
	if (!ret)
		ret = strings(at, "modules_to_not_convert", err);
	if (!ret)
		ret = block_size(at, "weight_block_size", q->block, err);
	*q = (struct llm_quant_config){
		.format = LLM_QUANT_FP8,
		.bits = 8,
		.block = {q->block[0], q->block[1]},
		.act = ZW_DTYPE_F8E4M3,
		.act_block = q->block[1],
	};
	return ret;
}

static int parse_gptq(const struct place *at, struct llm_quant_config *q, struct zw_error *err)
{
	const cJSON *v;
	int64_t bits = 0;
	int ret = number(at, "bits", NULL, 2, 8, &bits, err);

	q->format = LLM_QUANT_GPTQ;
	q->zero_add = 1;
	if (!ret && bits != 4 && bits != 8) {
		ret = get(at, "bits", &v, err);
		return ret ? ret : refuse(at, "bits", v, err);
	}
	q->bits = (uint32_t)bits;
	if (!ret)
		ret = group_size(at, NULL, &q->block[1], err);
	q->block[0] = 1;
	/* v1 stores zero points less one; v2 stores them. */
	if (!ret)
		ret = get(at, "checkpoint_format", &v, err);
	if (!ret && v) {
		if (cJSON_IsString(v) && !strcmp(v->valuestring, "gptq_v2"))
			q->zero_add = 0;
		else if (!cJSON_IsString(v) || strcmp(v->valuestring, "gptq"))
			ret = refuse(at, "checkpoint_format", v, err);
	}
	if (!ret)
		ret = must_be(at, "pack_dtype", "int32", false, err);
	if (!ret)
		ret = must_not(at, "is_marlin_format", err);
	/* Other bits or groups for some modules. */
	if (!ret)
		ret = must_be_empty(at, "dynamic", err);
	return ret;
}

static int parse_awq(const struct place *at, struct llm_quant_config *q, struct zw_error *err)
{
	int64_t bits = 4;
	int ret = number(at, "bits", "w_bit", 4, 4, &bits, err);

	q->format = LLM_QUANT_AWQ;
	q->bits = 4;
	q->block[0] = 1;
	if (!ret)
		ret = group_size(at, "q_group_size", &q->block[1], err);
	if (!ret)
		ret = must_be(at, "version", "gemm", false, err);
	if (!ret)
		ret = strings(at, "modules_to_not_convert", err);
	return ret;
}

/* The kind of a number in compressed-tensors: 'i' or 'f', and bits. */
static int scheme_type(const struct place *at, char *type, int64_t *bits, struct zw_error *err)
{
	const cJSON *v;
	int ret = get(at, "type", &v, err);

	if (ret)
		return ret;
	*type = v && cJSON_IsString(v) ? v->valuestring[0] : 'i';
	if (v && (!cJSON_IsString(v) ||
		  (strcmp(v->valuestring, "int") && strcmp(v->valuestring, "float"))))
		return refuse(at, "type", v, err);
	*bits = 8;
	return number(at, "num_bits", NULL, 4, 8, bits, err);
}

static int is_strategy(const struct place *at, const char *name, bool *yes, struct zw_error *err)
{
	const cJSON *v;
	int ret = get(at, "strategy", &v, err);

	*yes = !ret && cJSON_IsString(v) && !strcmp(v->valuestring, name);
	return ret;
}

static int parse_activations(const struct place *at, struct llm_quant_config *q,
			     struct zw_error *err)
{
	bool token, group, dynamic;
	int64_t bits;
	char type;
	const cJSON *v;
	int ret = scheme_type(at, &type, &bits, err);

	if (!ret)
		ret = get(at, "dynamic", &v, err);
	if (ret)
		return ret;
	/* FP4 products are computed with activations as they are, which loses nothing. */
	if (type == 'f' && bits == 4)
		return 0;
	dynamic = cJSON_IsTrue(v);
	if (!dynamic)
		return refuse(at, "dynamic", v, err);
	ret = get(at, "symmetric", &v, err);
	if (!ret && v && !cJSON_IsTrue(v))
		return refuse(at, "symmetric", v, err);
	if (!ret)
		ret = is_strategy(at, "token", &token, err);
	if (!ret)
		ret = is_strategy(at, "group", &group, err);
	if (!ret)
		ret = get(at, "strategy", &v, err);
	if (ret)
		return ret;
	if (!token && !group)
		return refuse(at, "strategy", v, err);
	if (group)
		ret = group_size(at, NULL, &q->act_block, err);
	if (!ret && bits != 8) {
		ret = get(at, "num_bits", &v, err);
		return ret ? ret : refuse(at, "num_bits", v, err);
	}
	q->act = type == 'f' ? ZW_DTYPE_F8E4M3 : ZW_DTYPE_I8;
	return ret;
}

static int parse_weights(const struct place *at, struct llm_quant_config *q, struct zw_error *err)
{
	bool symmetric = true;
	int64_t bits;
	char type;
	const cJSON *v;
	int ret = scheme_type(at, &type, &bits, err);

	if (!ret)
		ret = must_not(at, "dynamic", err);
	if (!ret)
		ret = get(at, "symmetric", &v, err);
	if (!ret && v)
		symmetric = cJSON_IsTrue(v);
	if (!ret && !symmetric)
		ret = refuse(at, "symmetric", v, err);
	/* "static" and "weight" only say how the weights were found; "group" moves columns. */
	if (!ret)
		ret = get(at, "actorder", &v, err);
	if (!ret && v &&
	    (!cJSON_IsString(v) ||
	     (strcmp(v->valuestring, "static") && strcmp(v->valuestring, "weight"))))
		ret = refuse(at, "actorder", v, err);
	if (!ret)
		ret = get(at, "strategy", &v, err);
	if (ret)
		return ret;
	q->bits = (uint32_t)bits;
	q->block[0] = 1;
	if (!cJSON_IsString(v))
		return refuse(at, "strategy", v, err);
	if (!strcmp(v->valuestring, "tensor"))
		q->block[0] = 0;
	else if (!strcmp(v->valuestring, "block"))
		return block_size(at, "block_structure", q->block, err);
	else if (!strcmp(v->valuestring, "group") || !strcmp(v->valuestring, "tensor_group"))
		return group_size(at, NULL, &q->block[1], err);
	else if (strcmp(v->valuestring, "channel"))
		return refuse(at, "strategy", v, err);
	return 0;
}

/* What a format's weights have to be. */
static const struct {
	const char *name;
	uint32_t format;
	char type;
	uint32_t bits, group; /* 0: any */
} formats[] = {
	{"int-quantized", LLM_QUANT_INTS, 'i', 8, 0},
	{"float-quantized", LLM_QUANT_FLOATS, 'f', 8, 0},
	{"pack-quantized", LLM_QUANT_PACKED, 'i', 0, 0},
	{"nvfp4-pack-quantized", LLM_QUANT_NVFP4, 'f', 4, 16},
	{"mxfp4-pack-quantized", LLM_QUANT_MXFP4, 'f', 4, 32},
};

static int parse_scheme(const struct place *group, const cJSON *format, struct llm_quant_config *q,
			struct zw_error *err)
{
	char weights_name[160], act_name[160];
	struct place weights = {group->path, weights_name, NULL};
	struct place act = {group->path, act_name, NULL};
	const cJSON *own = NULL;
	int64_t bits;
	size_t i;
	char type;
	int ret = get(group, "format", &own, err);

	snprintf(weights_name, sizeof(weights_name), "%s.weights", group->name);
	snprintf(act_name, sizeof(act_name), "%s.input_activations", group->name);
	format = own ? own : format;
	if (!ret)
		ret = get(group, "weights", &weights.obj, err);
	if (!ret)
		ret = get(group, "input_activations", &act.obj, err);
	if (!ret)
		ret = must_be_empty(group, "output_activations", err);
	if (ret)
		return ret;
	for (i = 0; i < ZW_ARRAY_SIZE(formats); i++) {
		if (cJSON_IsString(format) && !strcmp(format->valuestring, formats[i].name))
			break;
	}
	if (i == ZW_ARRAY_SIZE(formats))
		return refuse(group, "format", format, err);
	if (!cJSON_IsObject(weights.obj))
		return wrong(group, "weights", "an object", err);
	q->format = formats[i].format;
	ret = scheme_type(&weights, &type, &bits, err);
	if (!ret)
		ret = parse_weights(&weights, q, err);
	if (!ret &&
	    (type != formats[i].type || (formats[i].bits && bits != formats[i].bits) ||
	     (bits != 4 && bits != 8) || (formats[i].group && q->block[1] != formats[i].group)))
		ret = llm_fail(err, -EOPNOTSUPP, "%s: %s: %lld-bit %s do not go with format %s",
			       group->path, weights_name, (long long)bits,
			       type == 'f' ? "floats" : "integers", formats[i].name);
	if (!ret && act.obj)
		ret = parse_activations(&act, q, err);
	if (!ret && q->act && q->act_block != q->block[1])
		ret = llm_fail(
			err, -EOPNOTSUPP,
			"%s: %s: other groups of activations than of weights are not supported",
			group->path, group->name);
	return ret;
}

static int parse_compressed(const struct place *at, struct llm_quant_config *q,
			    struct zw_error *err)
{
	struct place group = {at->path, NULL, NULL};
	const cJSON *groups, *format, *v;
	char name[120];
	int ret = get(at, "config_groups", &groups, err);

	if (!ret)
		ret = get(at, "format", &format, err);
	if (!ret)
		ret = strings(at, "ignore", err);
	if (!ret)
		ret = must_be_empty(at, "kv_cache_scheme", err);
	if (!ret)
		ret = must_be(at, "quantization_status", "compressed", false, err);
	if (!ret)
		ret = get(at, "sparsity_config", &v, err);
	if (!ret && v) {
		struct place sparsity = {at->path, "quantization_config.sparsity_config", v};

		ret = v->child ? must_be(&sparsity, "format", "dense", true, err) : 0;
	}
	/* They would turn the weights on their way in. */
	if (!ret)
		ret = must_be_empty(at, "transform_config", err);
	if (ret)
		return ret;
	if (!cJSON_IsObject(groups) || !groups->child)
		return wrong(at, "config_groups", "an object with a group", err);
	if (groups->child->next)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: %s.config_groups: more than one group is not supported",
				at->path, at->name);
	snprintf(name, sizeof(name), "%s.config_groups.%.40s", at->name, groups->child->string);
	group.name = name;
	group.obj = groups->child;
	if (!cJSON_IsObject(group.obj))
		return wrong(at, "config_groups", "an object of objects", err);
	return parse_scheme(&group, format, q, err);
}

static int parse_modelopt(const struct place *at, struct llm_quant_config *q, struct zw_error *err)
{
	int64_t group = 16;
	int ret = must_be(at, "quant_algo", "NVFP4", true, err);

	if (!ret)
		ret = number(at, "group_size", NULL, 16, 16, &group, err);
	if (!ret)
		ret = must_be_empty(at, "kv_cache_scheme", err);
	if (!ret)
		ret = strings(at, "ignore", err);
	*q = (struct llm_quant_config){
		.format = LLM_QUANT_MODELOPT_NVFP4,
		.bits = 4,
		.block = {1, 16},
	};
	return ret;
}

int llm_config_quant(const char *path, const cJSON *json, struct llm_quant_config *q,
		     struct zw_error *err)
{
	static const struct {
		const char *name;
		int (*parse)(const struct place *at, struct llm_quant_config *q,
			     struct zw_error *err);
	} methods[] = {
		{"fp8", parse_fp8},           {"gptq", parse_gptq},
		{"awq", parse_awq},           {"compressed-tensors", parse_compressed},
		{"modelopt", parse_modelopt},
	};
	struct place at = {path, "quantization_config", NULL};
	const cJSON *method;
	int ret = llm_json_member(path, json, at.name, &at.obj, err);

	*q = (struct llm_quant_config){0};
	if (ret || !at.obj)
		return ret;
	if (!cJSON_IsObject(at.obj))
		return llm_fail(err, -EBADMSG, "%s: quantization_config is not an object", path);
	ret = get(&at, "quant_method", &method, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(methods); i++) {
		if (cJSON_IsString(method) && !strcmp(method->valuestring, methods[i].name))
			return methods[i].parse(&at, q, err);
	}
	return refuse(&at, "quant_method", method, err);
}
