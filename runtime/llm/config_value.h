/* SPDX-License-Identifier: MIT */
/*
 * Typed values of the JSON files around a model. Null counts as absent everywhere, a key that is
 * there twice is an error, and errors name the file and the key.
 */
#ifndef ZW_LLM_CONFIG_VALUE_H
#define ZW_LLM_CONFIG_VALUE_H

#include <zhenwu/llm_sampler.h>

#include "util.h"

/* Largest config.json or generation_config.json. */
#define CONFIG_MAX (1u << 20)

/*
 * A value must be absent or as given, otherwise the key is refused by name with -EOPNOTSUPP.
 */
int llm_config_require_false(const char *path, const cJSON *json, const char *key,
			     struct zw_error *err);
int llm_config_require_absent(const char *path, const cJSON *json, const char *key,
			      struct zw_error *err);
/* Booleans with a default; -EBADMSG when it is something else. */
int llm_config_bool(const char *path, const cJSON *json, const char *key, bool def, uint32_t *v,
		    struct zw_error *err);
/* Integers in [min, max]; required unless def is given (>= 0). */
int llm_config_uint(const char *path, const cJSON *json, const char *key, uint64_t min,
		    uint64_t max, int64_t def, uint32_t *v, struct zw_error *err);
/* Numbers in [min, max] with a default. */
int llm_config_double(const char *path, const cJSON *json, const char *key, double min, double max,
		      double def, double *v, struct zw_error *err);

/*
 * A list of integers, or one integer, appended to a malloc()ed list; -EBADMSG when it is something
 * else. Numbers that are no 32-bit id (-1 and the like) can never match one and are left out.
 */
int llm_config_ids(const char *path, const cJSON *json, const char *key, struct zw_token_list *list,
		   struct zw_error *err);

/* A key that is not implemented, and the value of it that has no effect. */
struct llm_config_neutral {
	const char *key;
	enum {
		LLM_NEUTRAL_ABSENT, /* none, it must be absent */
		LLM_NEUTRAL_EMPTY,  /* an empty list or object */
		LLM_NEUTRAL_FALSE,
		LLM_NEUTRAL_NUMBER,
	} kind;
	double number;
};

/* Refuses the first of the n keys whose value has an effect. */
int llm_config_require_neutral(const char *path, const cJSON *json,
			       const struct llm_config_neutral *keys, size_t n,
			       struct zw_error *err);

#endif
