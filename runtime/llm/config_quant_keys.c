// SPDX-License-Identifier: MIT
/* Keys of quantization_config. */
#include "config_quant_keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config_value.h"

#define BLOCK_MAX (1u << 20)

int llm_quant_refuse(const struct llm_quant_place *at, const char *key, const cJSON *value,
		     struct zw_error *err)
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

int llm_quant_wrong(const struct llm_quant_place *at, const char *key, const char *what,
		    struct zw_error *err)
{
	return llm_fail(err, -EBADMSG, "%s: %s.%s is not %s", at->path, at->name, key, what);
}

int llm_quant_get(const struct llm_quant_place *at, const char *key, const cJSON **v,
		  struct zw_error *err)
{
	return llm_json_member(at->path, at->obj, key, v, err);
}

int llm_quant_must_be(const struct llm_quant_place *at, const char *key, const char *text,
		      bool needed, struct zw_error *err)
{
	const cJSON *v;
	int ret = llm_quant_get(at, key, &v, err);

	if (ret || (!v && !needed))
		return ret;
	if (!cJSON_IsString(v) || strcasecmp(v->valuestring, text))
		return llm_quant_refuse(at, key, v, err);
	return 0;
}

int llm_quant_must_not(const struct llm_quant_place *at, const char *key, struct zw_error *err)
{
	const cJSON *v;
	int ret = llm_quant_get(at, key, &v, err);

	if (!ret && v && !cJSON_IsFalse(v))
		return llm_quant_refuse(at, key, v, err);
	return ret;
}

int llm_quant_must_be_empty(const struct llm_quant_place *at, const char *key, struct zw_error *err)
{
	const cJSON *v;
	int ret = llm_quant_get(at, key, &v, err);

	if (!ret && v && v->child)
		return llm_quant_refuse(at, key, v, err);
	return ret;
}

int llm_quant_strings(const struct llm_quant_place *at, const char *key, struct zw_error *err)
{
	const cJSON *list, *it;
	int ret = llm_quant_get(at, key, &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return llm_quant_wrong(at, key, "a list of strings", err);
	cJSON_ArrayForEach(it, list)
	{
		if (!cJSON_IsString(it))
			return llm_quant_wrong(at, key, "a list of strings", err);
	}
	return 0;
}

int llm_quant_number(const struct llm_quant_place *at, const char *key, const char *old,
		     int64_t min, uint32_t max, int64_t *v, struct zw_error *err)
{
	const cJSON *it;
	int ret = llm_quant_get(at, key, &it, err);

	if (!ret && !it && old) {
		key = old;
		ret = llm_quant_get(at, key, &it, err);
	}
	if (ret || !it)
		return ret;
	if (!cJSON_IsNumber(it) || it->valuedouble < (double)min || it->valuedouble > max ||
	    it->valuedouble != (double)(int64_t)it->valuedouble)
		return llm_quant_refuse(at, key, it, err);
	*v = (int64_t)it->valuedouble;
	return 0;
}

int llm_quant_group_size(const struct llm_quant_place *at, const char *old, uint32_t *group,
			 struct zw_error *err)
{
	int64_t v = 0;
	int ret = llm_quant_number(at, "group_size", old, -1, BLOCK_MAX, &v, err);

	if (ret)
		return ret;
	if (!v)
		return llm_fail(err, -EBADMSG, "%s: %s.group_size is missing or 0", at->path,
				at->name);
	*group = v < 0 ? 0 : (uint32_t)v;
	return 0;
}

int llm_quant_block_size(const struct llm_quant_place *at, const char *key, uint32_t block[2],
			 bool *there, struct zw_error *err)
{
	const cJSON *list, *it;
	uint64_t v;
	int n = 0, ret = llm_quant_get(at, key, &list, err);

	*there = !ret && list;
	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 2)
		return llm_quant_wrong(at, key, "a list of two sizes", err);
	cJSON_ArrayForEach(it, list)
	{
		if (!llm_json_uint(it, 1, BLOCK_MAX, &v))
			return llm_quant_wrong(at, key, "a list of two sizes", err);
		block[n++] = (uint32_t)v;
	}
	return 0;
}

int llm_quant_add(struct llm_quant_config *q, const struct llm_quant_scheme *s,
		  const struct llm_quant_place *at, struct zw_error *err)
{
	struct llm_quant_scheme weights = *s;

	for (uint32_t i = 0; i < q->num; i++) {
		if (!memcmp(&q->scheme[i], s, sizeof(*s)))
			return 0;
		weights.act = q->scheme[i].act;
		weights.act_block = q->scheme[i].act_block;
		if (!memcmp(&q->scheme[i], &weights, sizeof(weights)))
			return llm_fail(
				err, -EOPNOTSUPP,
				"%s: %s: weights as elsewhere, activations not: is not supported",
				at->path, at->name);
	}
	if (q->num == LLM_QUANT_SCHEMES)
		return llm_fail(err, -EOPNOTSUPP, "%s: %s: more than %d ways to store matrices",
				at->path, at->name, LLM_QUANT_SCHEMES);
	q->scheme[q->num++] = *s;
	return 0;
}
