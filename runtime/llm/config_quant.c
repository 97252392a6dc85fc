// SPDX-License-Identifier: MIT
/* quantization_config of config.json: one function per quant_method. */
#include "config_quant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "config_quant_keys.h"
#include "config_value.h"
#include "zhenwu/zw_types.h"

static int parse_fp8(const struct llm_quant_place *at, struct llm_quant_config *q,
		     struct zw_error *err)
{
	struct llm_quant_scheme s = {.format = LLM_QUANT_FP8, .bits = 8, .act = ZW_DTYPE_F8E4M3};
	const cJSON *v;
	bool blocks;
	int ret = llm_quant_must_be(at, "fmt", "e4m3", false, err);

	/* Scales of activations that were measured are not used: each row has its own. */
	if (!ret)
		ret = llm_quant_get(at, "activation_scheme", &v, err);
	if (!ret && v &&
	    (!cJSON_IsString(v) ||
	     (strcasecmp(v->valuestring, "dynamic") && strcasecmp(v->valuestring, "static"))))
		ret = llm_quant_refuse(at, "activation_scheme", v, err);
	/* ue8m0: powers of two, whatever they are stored in. */
	if (!ret)
		ret = llm_quant_get(at, "scale_fmt", &v, err);
	if (!ret && v && (!cJSON_IsString(v) || strcasecmp(v->valuestring, "ue8m0")))
		ret = llm_quant_must_be(at, "scale_fmt", "float", true, err);
	if (!ret)
		ret = llm_quant_strings(at, "modules_to_not_convert", err);
	if (!ret)
		ret = llm_quant_strings(at, "ignored_layers", err);
	if (!ret)
		ret = llm_quant_block_size(at, "weight_block_size", s.block, &blocks, err);
	s.act_block = s.block[1];
	return ret ? ret : llm_quant_add(q, &s, at, err);
}

/* ---- integers ---- */

/* Bits and group of a module, where `at` says them; `s` has what it has else. */
static int parse_sizes(const struct llm_quant_place *at, struct llm_quant_scheme *s,
		       struct zw_error *err)
{
	const cJSON *v;
	int64_t bits = s->bits;
	int ret = llm_quant_number(at, "bits", NULL, 2, 8, &bits, err);

	if (!ret && bits != 4 && bits != 8) {
		ret = llm_quant_get(at, "bits", &v, err);
		return ret ? ret : llm_quant_refuse(at, "bits", v, err);
	}
	s->bits = (uint32_t)bits;
	if (!ret)
		ret = llm_quant_get(at, "group_size", &v, err);
	if (!ret && (v || !s->block[0]))
		ret = llm_quant_group_size(at, NULL, &s->block[1], err);
	s->block[0] = 1;
	return ret;
}

/* v1 stores zero points less one; v2 stores them. */
static int parse_checkpoint_format(const struct llm_quant_place *at, const char *key,
				   struct llm_quant_scheme *s, struct zw_error *err)
{
	const cJSON *v;
	int ret = llm_quant_get(at, key, &v, err);

	if (ret || !v)
		return ret;
	if (cJSON_IsString(v) && !strcmp(v->valuestring, "gptq_v2"))
		s->zero_add = 0;
	else if (!cJSON_IsString(v) || strcmp(v->valuestring, "gptq"))
		return llm_quant_refuse(at, key, v, err);
	return 0;
}

/*
 * Modules that are stored in another way: "+:pattern" (or just that) with sizes of their own, "-:pattern"
 * for those that are not quantised.
 */
static int parse_dynamic(const struct llm_quant_place *at, const struct llm_quant_scheme *base,
			 struct llm_quant_config *q, struct zw_error *err)
{
	const cJSON *all, *it;
	int ret = llm_quant_get(at, "dynamic", &all, err);

	if (ret || !all || cJSON_IsFalse(all))
		return ret;
	if (!cJSON_IsObject(all))
		return llm_quant_wrong(at, "dynamic", "an object", err);
	cJSON_ArrayForEach(it, all)
	{
		struct llm_quant_scheme s = *base;
		char name[160];
		struct llm_quant_place own = {at->path, name, it};

		if (!strncmp(it->string, "-:", 2))
			continue;
		snprintf(name, sizeof(name), "%s.dynamic.%.100s", at->name, it->string);
		if (!cJSON_IsObject(it))
			return llm_quant_wrong(at, "dynamic", "an object of objects", err);
		ret = parse_sizes(&own, &s, err);
		if (!ret)
			ret = llm_quant_must_be(&own, "pack_dtype", "int32", false, err);
		if (!ret)
			ret = llm_quant_add(q, &s, at, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int parse_gptq(const struct llm_quant_place *at, struct llm_quant_config *q,
		      struct zw_error *err)
{
	struct llm_quant_scheme s = {.format = LLM_QUANT_GPTQ, .zero_add = 1};
	int ret = parse_sizes(at, &s, err);

	if (!ret)
		ret = parse_checkpoint_format(at, "checkpoint_format", &s, err);
	/* Newer tools write both. */
	if (!ret)
		ret = parse_checkpoint_format(at, "format", &s, err);
	if (!ret)
		ret = llm_quant_must_be(at, "pack_dtype", "int32", false, err);
	if (!ret)
		ret = llm_quant_must_not(at, "is_marlin_format", err);
	if (!ret)
		ret = llm_quant_add(q, &s, at, err);
	return ret ? ret : parse_dynamic(at, &s, q, err);
}

static int parse_awq(const struct llm_quant_place *at, struct llm_quant_config *q,
		     struct zw_error *err)
{
	struct llm_quant_scheme s = {.format = LLM_QUANT_AWQ, .bits = 4, .block = {1, 0}};
	int64_t bits = 4;
	int ret = llm_quant_number(at, "bits", "w_bit", 4, 4, &bits, err);

	if (!ret)
		ret = llm_quant_group_size(at, "q_group_size", &s.block[1], err);
	if (!ret)
		ret = llm_quant_must_be(at, "version", "gemm", false, err);
	if (!ret)
		ret = llm_quant_strings(at, "modules_to_not_convert", err);
	return ret ? ret : llm_quant_add(q, &s, at, err);
}

/* AutoRound: tensors of GPTQ or AWQ, and a list of modules that differ. */
static int parse_auto_round(const struct llm_quant_place *at, struct llm_quant_config *q,
			    struct zw_error *err)
{
	struct llm_quant_scheme s = {.format = LLM_QUANT_GPTQ, .zero_add = 1};
	const cJSON *v, *it;
	int ret = llm_quant_get(at, "packing_format", &v, err);

	if (ret)
		return ret;
	if (cJSON_IsString(v) && !strcmp(v->valuestring, "auto_round:auto_awq"))
		s = (struct llm_quant_scheme){.format = LLM_QUANT_AWQ};
	else if (!cJSON_IsString(v) || strcmp(v->valuestring, "auto_round:auto_gptq"))
		return llm_quant_refuse(at, "packing_format", v, err);
	ret = llm_quant_must_be(at, "data_type", "int", false, err);
	if (!ret)
		ret = parse_sizes(at, &s, err);
	if (!ret)
		ret = llm_quant_add(q, &s, at, err);
	if (!ret)
		ret = llm_quant_get(at, "extra_config", &v, err);
	if (ret || !v)
		return ret;
	if (!cJSON_IsObject(v))
		return llm_quant_wrong(at, "extra_config", "an object", err);
	cJSON_ArrayForEach(it, v)
	{
		const cJSON *bits = cJSON_GetObjectItemCaseSensitive(it, "bits");
		struct llm_quant_scheme own = s;
		char name[160];
		struct llm_quant_place place = {at->path, name, it};

		snprintf(name, sizeof(name), "%s.extra_config.%.100s", at->name, it->string);
		if (!cJSON_IsObject(it))
			return llm_quant_wrong(at, "extra_config", "an object of objects", err);
		/* Left as it was. */
		if (cJSON_IsNumber(bits) && bits->valuedouble >= 16)
			continue;
		ret = parse_sizes(&place, &own, err);
		if (!ret)
			ret = llm_quant_add(q, &own, at, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int parse_object(const struct llm_quant_place *at, struct llm_quant_config *q,
			struct zw_error *err)
{
	static const struct {
		const char *name;
		int (*parse)(const struct llm_quant_place *at, struct llm_quant_config *q,
			     struct zw_error *err);
	} methods[] = {
		{"fp8", parse_fp8},
		{"gptq", parse_gptq},
		{"awq", parse_awq},
		{"auto-round", parse_auto_round},
		{"compressed-tensors", llm_quant_parse_compressed},
		{"modelopt", llm_quant_parse_modelopt},
	};
	const cJSON *method;
	int ret;

	if (!cJSON_IsObject(at->obj))
		return llm_fail(err, -EBADMSG, "%s: %s is not an object", at->path, at->name);
	ret = llm_quant_get(at, "quant_method", &method, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(methods); i++) {
		if (cJSON_IsString(method) && !strcmp(method->valuestring, methods[i].name))
			return methods[i].parse(at, q, err);
	}
	return llm_quant_refuse(at, "quant_method", method, err);
}

int llm_config_quant(const char *path, const cJSON *json, struct llm_quant_config *q,
		     struct zw_error *err)
{
	struct llm_quant_place at = {path, "quantization_config", NULL};
	int ret = llm_json_member(path, json, at.name, &at.obj, err);

	memset(q, 0, sizeof(*q));
	return ret || !at.obj ? ret : parse_object(&at, q, err);
}

/* hf_quant_config.json: an object in an object; quantize_config.json: GPTQ's keys, at the top. */
static int parse_file(const char *path, bool modelopt, struct llm_quant_config *q,
		      struct zw_error *err)
{
	struct llm_quant_place at = {path, modelopt ? "quantization" : "quantize_config", NULL};
	cJSON *json;
	int ret = llm_json_load(path, CONFIG_MAX, &json, err);

	if (ret)
		return ret;
	at.obj = json;
	if (!cJSON_IsObject(json))
		ret = llm_fail(err, -EBADMSG, "%s: not a JSON object", path);
	else if (modelopt)
		ret = llm_json_member(path, json, at.name, &at.obj, err);
	if (!ret && !cJSON_IsObject(at.obj))
		ret = llm_fail(err, -EBADMSG, "%s: %s is not an object", path, at.name);
	if (!ret)
		ret = modelopt ? llm_quant_parse_modelopt(&at, q, err) : parse_gptq(&at, q, err);
	cJSON_Delete(json);
	return ret;
}

int llm_config_quant_files(const char *dir, struct llm_quant_config *q, struct zw_error *err)
{
	static const char *const names[] = {"hf_quant_config.json", "quantize_config.json"};
	int ret = 0;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(names) && !ret && !q->num; i++) {
		char *path = llm_path_join(dir, names[i]);

		if (!path)
			return llm_fail(err, -ENOMEM, "%s: out of memory", dir);
		if (!access(path, F_OK))
			ret = parse_file(path, i == 0, q, err);
		free(path);
	}
	return ret;
}
