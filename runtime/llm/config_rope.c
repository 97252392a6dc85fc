// SPDX-License-Identifier: MIT
/* RoPE in config.json: at top level (older files), in rope_parameters (newer ones), or both and equal. */
#include "config_rope.h"

#include <errno.h>
#include <string.h>

#include "config_value.h"

struct rope {
	double theta;       /* 0: not said */
	double partial;     /* 0: not said */
	const char *holder; /* of yarn, or NULL: no holder was there yet */
	uint32_t sections;  /* sum of mrope_section, when there */
	bool has_sections;
	struct llm_yarn yarn;
};

/* Which scaling: *yarn, or none. */
static int parse_type(const char *path, const cJSON *obj, const char *holder, bool *yarn,
		      struct zw_error *err)
{
	static const char *const keys[] = {"rope_type", "type"};
	const char *said = NULL;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(keys); i++) {
		const cJSON *type;
		int ret = llm_json_member(path, obj, keys[i], &type, err);

		if (ret)
			return ret;
		if (!type)
			continue;
		if (!cJSON_IsString(type))
			return llm_fail(err, -EBADMSG, "%s: %s.%s is not a string", path, holder,
					keys[i]);
		if (strcmp(type->valuestring, "default") && strcmp(type->valuestring, "yarn"))
			return llm_fail(err, -EOPNOTSUPP, "%s: %s.%s \"%s\" is not supported yet",
					path, holder, keys[i], type->valuestring);
		if (said && strcmp(said, type->valuestring))
			return llm_fail(err, -EBADMSG,
					"%s: %s.rope_type is \"%s\", %s.type is \"%s\"", path,
					holder, said, holder, type->valuestring);
		said = type->valuestring;
	}
	*yarn = said && !strcmp(said, "yarn");
	return 0;
}

static int parse_numbers(const char *path, const cJSON *obj, struct rope *r, struct zw_error *err)
{
	int ret = llm_config_double(path, obj, "rope_theta", 1.0, 1e12, 0, &r->theta, err);

	if (!ret)
		ret = llm_config_double(path, obj, "partial_rotary_factor", 0x1p-9, 1, 0,
					&r->partial, err);
	return ret;
}

/*
 * M-RoPE: how many frequencies are those of time, height and width. For text these are one position,
 * so it is plain RoPE, however the frequencies are shared out.
 */
static int parse_sections(const char *path, const cJSON *obj, const char *holder,
			  const struct llm_model_config *cfg, struct rope *r, struct zw_error *err)
{
	uint32_t interleaved;
	const cJSON *list, *it;
	uint64_t n;
	int ret;

	if (!cfg->rope.sections)
		return llm_config_require_absent(path, obj, "mrope_section", err);
	ret = llm_config_bool(path, obj, "mrope_interleaved", false, &interleaved, err);
	if (!ret)
		ret = llm_json_member(path, obj, "mrope_section", &list, err);
	if (ret || !list)
		return ret;
	r->sections = 0;
	cJSON_ArrayForEach(it, list)
	{
		if (!llm_json_uint(it, 0, LLM_HEAD_DIM_MAX, &n))
			break;
		r->sections += (uint32_t)n;
	}
	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 3 || it)
		return llm_fail(err, -EBADMSG, "%s: %s.mrope_section is not a list of three sizes",
				path, holder);
	r->has_sections = true;
	return 0;
}

static bool is_same(const struct llm_yarn *a, const struct llm_yarn *b)
{
	return a->factor == b->factor && a->original == b->original &&
	       a->beta_fast == b->beta_fast && a->beta_slow == b->beta_slow &&
	       a->attention_factor == b->attention_factor && a->truncate == b->truncate;
}

/* rope_scaling or rope_parameters; what it says goes into *r. */
static int parse_holder(const char *path, const cJSON *json, const char *holder,
			const struct llm_model_config *cfg, struct rope *r, struct zw_error *err)
{
	const cJSON *obj, *it;
	struct rope in = {0};
	bool yarn = false;
	int ret = llm_json_member(path, json, holder, &obj, err);

	if (ret || !obj)
		return ret;
	if (!cJSON_IsObject(obj))
		return llm_fail(err, -EBADMSG, "%s: %s is not an object", path, holder);
	if (!obj->child)
		return 0;
	cJSON_ArrayForEach(it, obj)
	{
		/* One set of parameters for each type of layer. */
		if (cJSON_IsObject(it))
			return llm_fail(err, -EOPNOTSUPP, "%s: %s.%s is not supported yet", path,
					holder, it->string);
	}
	ret = parse_type(path, obj, holder, &yarn, err);
	if (!ret)
		ret = parse_sections(path, obj, holder, cfg, &in, err);
	if (!ret)
		ret = parse_numbers(path, obj, &in, err);
	if (!ret && yarn)
		ret = llm_config_yarn(path, obj, holder, cfg, &in.yarn, err);
	if (!ret && !yarn && cJSON_GetObjectItemCaseSensitive(obj, "factor"))
		ret = llm_fail(err, -EBADMSG, "%s: %s.factor has no effect without a rope_type",
			       path, holder);
	if (ret)
		return ret;
	/* transformers would take one and forget the other. */
	if (r->holder && !is_same(&in.yarn, &r->yarn))
		return llm_fail(err, -EBADMSG, "%s: %s and %s do not say the same of YaRN", path,
				r->holder, holder);
	r->holder = holder;
	r->yarn = in.yarn;
	if (in.has_sections) {
		r->has_sections = true;
		r->sections = in.sections;
	}
	if (in.theta && r->theta && in.theta != r->theta)
		return llm_fail(err, -EBADMSG, "%s: rope_theta is %g, %s.rope_theta is %g", path,
				r->theta, holder, in.theta);
	if (in.theta)
		r->theta = in.theta;
	if (in.partial && r->partial && in.partial != r->partial)
		return llm_fail(err, -EBADMSG,
				"%s: partial_rotary_factor is %g, %s.partial_rotary_factor is %g",
				path, r->partial, holder, in.partial);
	if (in.partial)
		r->partial = in.partial;
	return 0;
}

/* The part of a head that is turned. */
static int set_dim(const char *path, double partial, struct llm_model_config *cfg,
		   struct zw_error *err)
{
	if (partial && partial != 1 && !cfg->rope.partial)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: partial_rotary_factor %g is not supported yet", path, partial);
	if (!partial)
		partial = cfg->rope.partial ? cfg->rope.partial : 1;
	cfg->rope.partial = partial;
	cfg->rope.dim = (uint32_t)(cfg->head_dim * partial);
	if (cfg->rope.dim < 2 || cfg->rope.dim % 2)
		return llm_fail(
			err, -EBADMSG,
			"%s: partial_rotary_factor %g of head_dim %u: %u dimensions are not "
			"pairs",
			path, partial, cfg->head_dim, cfg->rope.dim);
	return 0;
}

int llm_config_rope(const char *path, const cJSON *json, struct llm_model_config *cfg,
		    struct zw_error *err)
{
	struct rope r = {0};
	int ret = parse_numbers(path, json, &r, err);

	if (!ret)
		ret = parse_holder(path, json, "rope_scaling", cfg, &r, err);
	if (!ret)
		ret = parse_holder(path, json, "rope_parameters", cfg, &r, err);
	if (!ret)
		ret = set_dim(path, r.partial, cfg, err);
	if (!ret && r.has_sections && r.sections != cfg->rope.dim / 2)
		ret = llm_fail(err, -EBADMSG, "%s: mrope_section: %u frequencies, not %u", path,
			       r.sections, cfg->rope.dim / 2);
	if (ret)
		return ret;
	cfg->rope.theta = r.theta ? r.theta : 10000.0; /* the class default */
	cfg->rope.factor = 1;
	cfg->rope.attention_factor = 1;
	if (!r.yarn.factor)
		return 0;
	/* Some classes have it there, and then it goes before the one in the holder. */
	ret = llm_config_require_absent(path, json, "original_max_position_embeddings", err);
	return ret ? ret : llm_config_yarn_apply(path, &r.yarn, cfg, err);
}
