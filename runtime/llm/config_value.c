// SPDX-License-Identifier: MIT
/* Typed values of the JSON files around a model. */
#include "config_value.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "token_list.h"

int llm_config_bool(const char *path, const cJSON *json, const char *key, bool def, uint32_t *v,
		    struct zw_error *err)
{
	const cJSON *it;
	int ret = llm_json_member(path, json, key, &it, err);

	if (ret)
		return ret;
	if (it && !cJSON_IsBool(it))
		return llm_fail(err, -EBADMSG, "%s: %s is not true or false", path, key);
	*v = it ? cJSON_IsTrue(it) : def;
	return 0;
}

int llm_config_require_false(const char *path, const cJSON *json, const char *key,
			     struct zw_error *err)
{
	uint32_t v = 0;
	int ret = llm_config_bool(path, json, key, false, &v, err);

	if (!ret && v)
		return llm_fail(err, -EOPNOTSUPP, "%s: %s true is not supported yet", path, key);
	return ret;
}

int llm_config_require_absent(const char *path, const cJSON *json, const char *key,
			      struct zw_error *err)
{
	const cJSON *it;
	int ret = llm_json_member(path, json, key, &it, err);

	if (!ret && it)
		return llm_fail(err, -EOPNOTSUPP, "%s: %s is not supported yet", path, key);
	return ret;
}

int llm_config_uint(const char *path, const cJSON *json, const char *key, uint64_t min,
		    uint64_t max, int64_t def, uint32_t *v, struct zw_error *err)
{
	const cJSON *it;
	uint64_t u;
	int ret = llm_json_member(path, json, key, &it, err);

	if (ret)
		return ret;
	if (!it) {
		if (def < 0)
			return llm_fail(err, -EBADMSG, "%s: %s is missing", path, key);
		*v = (uint32_t)def;
		return 0;
	}
	if (!llm_json_uint(it, min, max, &u))
		return llm_fail(err, -EBADMSG, "%s: %s is not an integer from %llu to %llu", path,
				key, (unsigned long long)min, (unsigned long long)max);
	*v = (uint32_t)u;
	return 0;
}

int llm_config_double(const char *path, const cJSON *json, const char *key, double min, double max,
		      double def, double *v, struct zw_error *err)
{
	const cJSON *it;
	int ret = llm_json_member(path, json, key, &it, err);

	if (ret)
		return ret;
	if (it && !(cJSON_IsNumber(it) && it->valuedouble >= min && it->valuedouble <= max))
		return llm_fail(err, -EBADMSG, "%s: %s is not a number from %g to %g", path, key,
				min, max);
	*v = it ? it->valuedouble : def;
	return 0;
}

int llm_config_ids(const char *path, const cJSON *json, const char *key, struct zw_token_list *list,
		   struct zw_error *err)
{
	const cJSON *value, *it;
	int ret = llm_json_member(path, json, key, &value, err);

	if (ret || !value)
		return ret;
	for (it = cJSON_IsArray(value) ? value->child : value; it;
	     it = it == value ? NULL : it->next) {
		uint64_t id;

		/* Ids of no token, -1 among them, are in published files; what is no id is not. */
		if (!cJSON_IsNumber(it) || !(fabs(it->valuedouble) <= 0x1p53) ||
		    it->valuedouble != floor(it->valuedouble))
			return llm_fail(err, -EBADMSG, "%s: %s is not a list of token ids", path,
					key);
		if (llm_json_uint(it, 0, UINT32_MAX, &id) && token_list_append(list, (uint32_t)id))
			return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	return 0;
}

static bool is_neutral(const struct llm_config_neutral *k, const cJSON *v)
{
	switch (k->kind) {
	case LLM_NEUTRAL_FALSE:
		return cJSON_IsFalse(v);
	case LLM_NEUTRAL_NUMBER:
		return cJSON_IsNumber(v) && v->valuedouble == k->number;
	case LLM_NEUTRAL_EMPTY:
		return (cJSON_IsArray(v) || cJSON_IsObject(v)) && !v->child;
	default:
		return false;
	}
}

int llm_config_require_neutral(const char *path, const cJSON *json,
			       const struct llm_config_neutral *keys, size_t n,
			       struct zw_error *err)
{
	for (size_t i = 0; i < n; i++) {
		const cJSON *v;
		int ret = llm_json_member(path, json, keys[i].key, &v, err);

		if (ret)
			return ret;
		if (v && !is_neutral(&keys[i], v))
			return llm_fail(err, -EOPNOTSUPP, "%s: %s is not supported yet", path,
					keys[i].key);
	}
	return 0;
}
