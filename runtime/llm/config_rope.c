// SPDX-License-Identifier: MIT
/* RoPE in config.json: at top level (older files), in rope_parameters (newer ones), or both and equal. */
#include "config_value.h"

#include <errno.h>
#include <string.h>

struct rope {
	double theta; /* 0: not said */
	double partial;
};

static int check_type(const char *path, const cJSON *obj, const char *holder, struct zw_error *err)
{
	static const char *const keys[] = {"rope_type", "type"};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(keys); i++) {
		const cJSON *type;
		int ret = llm_json_member(path, obj, keys[i], &type, err);

		if (ret)
			return ret;
		if (type && !cJSON_IsString(type))
			return llm_fail(err, -EBADMSG, "%s: %s.%s is not a string", path, holder,
					keys[i]);
		if (type && strcmp(type->valuestring, "default"))
			return llm_fail(err, -EOPNOTSUPP, "%s: %s.%s \"%s\" is not supported yet",
					path, holder, keys[i], type->valuestring);
	}
	return 0;
}

static int parse_numbers(const char *path, const cJSON *obj, struct rope *r, struct zw_error *err)
{
	int ret = llm_config_double(path, obj, "rope_theta", 1.0, 1e12, 0, &r->theta, err);

	if (!ret)
		ret = llm_config_double(path, obj, "partial_rotary_factor", 0, 1, 1, &r->partial,
					err);
	return ret;
}

/* rope_scaling or rope_parameters; what it says goes into *r. */
static int parse_holder(const char *path, const cJSON *json, const char *holder, struct rope *r,
			struct zw_error *err)
{
	const cJSON *obj, *it;
	struct rope in;
	int ret = llm_json_member(path, json, holder, &obj, err);

	if (ret || !obj)
		return ret;
	if (!cJSON_IsObject(obj))
		return llm_fail(err, -EBADMSG, "%s: %s is not an object", path, holder);
	cJSON_ArrayForEach(it, obj)
	{
		/* One set of parameters for each type of layer. */
		if (cJSON_IsObject(it))
			return llm_fail(err, -EOPNOTSUPP, "%s: %s.%s is not supported yet", path,
					holder, it->string);
	}
	ret = check_type(path, obj, holder, err);
	if (!ret)
		ret = llm_config_require_absent(path, obj, "mrope_section", err);
	if (!ret)
		ret = parse_numbers(path, obj, &in, err);
	if (ret)
		return ret;
	if (in.theta && r->theta && in.theta != r->theta)
		return llm_fail(err, -EBADMSG, "%s: rope_theta is %g, %s.rope_theta is %g", path,
				r->theta, holder, in.theta);
	if (in.theta)
		r->theta = in.theta;
	if (in.partial != 1)
		r->partial = in.partial;
	return 0;
}

int llm_config_rope(const char *path, const cJSON *json, double *theta, struct zw_error *err)
{
	struct rope r;
	int ret = parse_numbers(path, json, &r, err);

	if (!ret)
		ret = parse_holder(path, json, "rope_scaling", &r, err);
	if (!ret)
		ret = parse_holder(path, json, "rope_parameters", &r, err);
	if (ret)
		return ret;
	if (r.partial != 1)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: partial_rotary_factor %g is not supported yet", path,
				r.partial);
	*theta = r.theta ? r.theta : 10000.0; /* the class default */
	return 0;
}
