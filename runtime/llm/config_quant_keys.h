/* SPDX-License-Identifier: MIT */
/* Inside of reading quantization_config: its keys, and errors that say where they stand. */
#ifndef ZW_LLM_CONFIG_QUANT_KEYS_H
#define ZW_LLM_CONFIG_QUANT_KEYS_H

#include <cjson/cJSON.h>

#include "config_quant.h"

/* Where in the file: "quantization_config.config_groups.group_0.weights", say. */
struct llm_quant_place {
	const char *path, *name;
	const cJSON *obj;
};

/* -EOPNOTSUPP for a value, by name. */
int llm_quant_refuse(const struct llm_quant_place *at, const char *key, const cJSON *value,
		     struct zw_error *err);
/* -EBADMSG for a value that is not `what`. */
int llm_quant_wrong(const struct llm_quant_place *at, const char *key, const char *what,
		    struct zw_error *err);
int llm_quant_get(const struct llm_quant_place *at, const char *key, const cJSON **v,
		  struct zw_error *err);
/* A string that has to be the one given, in any case of letters; absent is fine unless needed. */
int llm_quant_must_be(const struct llm_quant_place *at, const char *key, const char *text,
		      bool needed, struct zw_error *err);
/* A boolean that has to be false where it is there. */
int llm_quant_must_not(const struct llm_quant_place *at, const char *key, struct zw_error *err);
/* An object or list that has to be empty where it is there. */
int llm_quant_must_be_empty(const struct llm_quant_place *at, const char *key,
			    struct zw_error *err);
/* A list of strings where it is there. */
int llm_quant_strings(const struct llm_quant_place *at, const char *key, struct zw_error *err);
/* The number under one of two keys, the second of which older tools wrote; v stays without both. */
int llm_quant_number(const struct llm_quant_place *at, const char *key, const char *old,
		     int64_t min, uint32_t max, int64_t *v, struct zw_error *err);
/* group_size: -1 is a whole row, which is 0 here. */
int llm_quant_group_size(const struct llm_quant_place *at, const char *old, uint32_t *group,
			 struct zw_error *err);
/* A list of two sizes; *there false: none. */
int llm_quant_block_size(const struct llm_quant_place *at, const char *key, uint32_t block[2],
			 bool *there, struct zw_error *err);

/*
 * Adds a scheme, unless it is there. Two that store matrices alike and differ in activations cannot be told
 * apart by tensors and are refused.
 */
int llm_quant_add(struct llm_quant_config *q, const struct llm_quant_scheme *s,
		  const struct llm_quant_place *at, struct zw_error *err);

/* config_quant_groups.c: methods whose configuration is a list of schemes. */
int llm_quant_parse_compressed(const struct llm_quant_place *at, struct llm_quant_config *q,
			       struct zw_error *err);
int llm_quant_parse_modelopt(const struct llm_quant_place *at, struct llm_quant_config *q,
			     struct zw_error *err);

#endif
