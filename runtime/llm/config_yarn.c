// SPDX-License-Identifier: MIT
/* YaRN (arXiv 2309.00071) in config.json, with the keys and defaults of transformers. */
#include "config_rope.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config_value.h"

#define PI         3.14159265358979323846
#define FACTOR_MAX 65536.0

/* A key that is not read here would change something elsewhere. */
static int check_keys(const char *path, const cJSON *obj, const char *holder, struct zw_error *err)
{
	static const char *const keys[] = {
		"attention_factor",
		"beta_fast",
		"beta_slow",
		"factor",
		"mscale",
		"mscale_all_dim",
		"mrope_interleaved", /* read by the caller, as is the next */
		"mrope_section",
		"original_max_position_embeddings",
		"partial_rotary_factor",
		"rope_theta",
		"rope_type",
		"truncate",
		"type",
	};
	const cJSON *it;

	cJSON_ArrayForEach(it, obj)
	{
		size_t i = 0;

		while (i < ZW_ARRAY_SIZE(keys) && strcmp(keys[i], it->string))
			i++;
		if (i == ZW_ARRAY_SIZE(keys) && !cJSON_IsNull(it))
			return llm_fail(err, -EOPNOTSUPP, "%s: %s.%s is not supported yet", path,
					holder, it->string);
	}
	return 0;
}

static double mscale_of(double factor, double mscale)
{
	return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* Of cosines and sines: said, the quotient of two scales, or what the paper suggests. */
static int parse_attention(const char *where, const cJSON *obj, struct llm_yarn *y,
			   struct zw_error *err)
{
	double said, mscale, all_dim, scale = mscale_of(y->factor, 1);
	int ret = llm_config_double(where, obj, "attention_factor", 0.01, 100, 0, &said, err);

	if (!ret)
		ret = llm_config_double(where, obj, "mscale", 0, 100, 0, &mscale, err);
	if (!ret)
		ret = llm_config_double(where, obj, "mscale_all_dim", 0, 100, 0, &all_dim, err);
	if (ret)
		return ret;
	/* transformers reads the pair or, silently, neither. */
	if ((mscale > 0) != (all_dim > 0))
		return llm_fail(err, -EBADMSG, "%s: %s has no effect without %s", where,
				mscale > 0 ? "mscale" : "mscale_all_dim",
				mscale > 0 ? "mscale_all_dim" : "mscale");
	if (mscale > 0)
		scale = mscale_of(y->factor, mscale) / mscale_of(y->factor, all_dim);
	if (mscale > 0 && said > 0 && fabs(said / scale - 1) > 1e-6)
		return llm_fail(err, -EBADMSG,
				"%s: attention_factor is %g, mscale and mscale_all_dim make %g",
				where, said, scale);
	y->attention_factor = said > 0 ? said : scale;
	return 0;
}

static int parse_original(const char *where, const cJSON *obj, const struct llm_model_config *cfg,
			  struct llm_yarn *y, struct zw_error *err)
{
	uint32_t original;
	int ret = llm_config_uint(where, obj, "original_max_position_embeddings", 1,
				  LLM_POSITION_MAX, cfg->max_position, &original, err);

	if (ret)
		return ret;
	if (original > cfg->max_position)
		return llm_fail(err, -EBADMSG,
				"%s: original_max_position_embeddings %u is above "
				"max_position_embeddings %u",
				where, original, cfg->max_position);
	if (original * y->factor > LLM_POSITION_MAX)
		return llm_fail(err, -EBADMSG,
				"%s: original_max_position_embeddings %u times factor %g is above "
				"%u",
				where, original, y->factor, LLM_POSITION_MAX);
	y->original = original;
	return 0;
}

int llm_config_yarn(const char *path, const cJSON *obj, const char *holder,
		    const struct llm_model_config *cfg, struct llm_yarn *y, struct zw_error *err)
{
	char where[sizeof(err->msg)];
	int ret = check_keys(path, obj, holder, err);

	snprintf(where, sizeof(where), "%s: %s", path, holder);
	if (!ret)
		ret = llm_config_double(where, obj, "factor", 1, FACTOR_MAX, 0, &y->factor, err);
	if (!ret && !(y->factor > 0))
		ret = llm_fail(err, -EBADMSG, "%s: factor is missing", where);
	if (!ret)
		ret = parse_original(where, obj, cfg, y, err);
	if (!ret)
		ret = llm_config_double(where, obj, "beta_fast", 1e-3, 1e6, 32, &y->beta_fast, err);
	if (!ret)
		ret = llm_config_double(where, obj, "beta_slow", 1e-3, 1e6, 1, &y->beta_slow, err);
	if (!ret && y->beta_fast < y->beta_slow)
		ret = llm_fail(err, -EBADMSG, "%s: beta_fast %g is below beta_slow %g", where,
			       y->beta_fast, y->beta_slow);
	if (!ret)
		ret = llm_config_bool(where, obj, "truncate", true, &y->truncate, err);
	if (!ret)
		ret = parse_attention(where, obj, y, err);
	return ret;
}

/* The frequency, as a real number, that turns `rotations` times in the original length. */
static double correction(const struct llm_yarn *y, const struct llm_model_config *cfg,
			 double rotations)
{
	return cfg->rope.dim * log(y->original / (rotations * 2 * PI)) / (2 * log(cfg->rope.theta));
}

int llm_config_yarn_apply(const char *path, const struct llm_yarn *y, struct llm_model_config *cfg,
			  struct zw_error *err)
{
	double low, high;

	if (cfg->rope.theta <= 1)
		return llm_fail(err, -EBADMSG, "%s: rope_theta %g: YaRN needs more than 1", path,
				cfg->rope.theta);
	low = correction(y, cfg, y->beta_fast);
	high = correction(y, cfg, y->beta_slow);
	if (y->truncate) {
		low = floor(low);
		high = ceil(high);
	}
	low = fmax(low, 0);
	high = fmin(high, cfg->rope.dim - 1);
	/* Beyond the ends the formula would do the opposite of what YaRN is for. */
	if (low > high)
		return llm_fail(err, -EBADMSG,
				"%s: YaRN: no frequency of a head turns from %g to %g times in "
				"original_max_position_embeddings %.0f",
				path, y->beta_slow, y->beta_fast, y->original);
	if (low == high)
		high += 0.001; /* transformers' width of a step */
	cfg->rope.factor = y->factor;
	cfg->rope.ramp_low = low;
	cfg->rope.ramp_high = high;
	cfg->rope.attention_factor = y->attention_factor;
	cfg->max_position = (uint32_t)(y->original * y->factor);
	return 0;
}
