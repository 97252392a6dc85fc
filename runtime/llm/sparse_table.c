// SPDX-License-Identifier: MIT
/* How many columns and distances the heads of a checkpoint want, as MInference's search found them. */
#include "sparse_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_value.h"

/* A file of 80 layers of 64 heads has half a megabyte. */
#define TABLE_MAX    (16u << 20)
#define DEFAULT_FROM 32768
#define DEFAULT_LAST 64
#define LAST_MAX     128 /* rows that SELECT_SLASH looks at */
#define SIZE_MOST    (1u << 26)

/* ["vertical_and_slash", columns, distances, score] */
static int parse_head(const char *what, const cJSON *layer, uint32_t l, uint32_t h,
		      uint32_t sizes[2], struct zw_error *err)
{
	const cJSON *it, *kind;
	char key[16];
	int ret;

	snprintf(key, sizeof(key), "%u", h);
	ret = llm_json_member(what, layer, key, &it, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(it) || cJSON_GetArraySize(it) < 3)
		return llm_fail(err, -EBADMSG, "%s: layer %u has no list for head %u", what, l, h);
	kind = cJSON_GetArrayItem(it, 0);
	if (!cJSON_IsString(kind) || strcmp(kind->valuestring, "vertical_and_slash"))
		return llm_fail(err, -EOPNOTSUPP,
				"%s: layer %u, head %u: \"%.40s\" is not vertical_and_slash", what,
				l, h, cJSON_IsString(kind) ? kind->valuestring : "?");
	for (int i = 0; i < 2; i++) {
		uint64_t v;

		if (!llm_json_uint(cJSON_GetArrayItem(it, 1 + i), 0, SIZE_MOST, &v))
			return llm_fail(err, -EBADMSG, "%s: layer %u, head %u: a bad number", what,
					l, h);
		sizes[i] = (uint32_t)v;
	}
	/* As it is served: heads at the least of the search get some more. */
	if (sizes[0] == 30)
		sizes[0] = 130;
	return 0;
}

static int parse_layers(const char *what, const cJSON *list, const struct llm_model_config *cfg,
			struct llm_sparse_table *t, struct zw_error *err)
{
	int ret = 0;

	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != (int)cfg->num_layers)
		return llm_fail(err, -EBADMSG, "%s: not a list of %u layers", what,
				cfg->num_layers);
	t->sizes = calloc((size_t)cfg->num_layers * cfg->num_heads, 2 * sizeof(*t->sizes));
	if (!t->sizes)
		return llm_fail(err, -ENOMEM, "out of memory");
	for (uint32_t l = 0; l < cfg->num_layers && !ret; l++) {
		const cJSON *layer = cJSON_GetArrayItem(list, (int)l);

		for (uint32_t h = 0; h < cfg->num_heads && !ret; h++)
			ret = parse_head(what, layer, l, h,
					 t->sizes + 2 * ((size_t)l * cfg->num_heads + h), err);
	}
	return ret;
}

/* What config.json says; *list: its table, or NULL. */
static int parse_config(const char *path, const cJSON *json, struct llm_sparse_table *t,
			const cJSON **list, struct zw_error *err)
{
	char where[sizeof(err->msg)];
	const cJSON *obj;
	uint32_t enabled = 1;
	int ret = llm_json_member(path, json, "dual_chunk_attention_config", &obj, err);

	t->from = DEFAULT_FROM;
	t->sample = DEFAULT_LAST;
	*list = NULL;
	if (ret || !obj)
		return ret;
	snprintf(where, sizeof(where), "%.200s: dual_chunk_attention_config", path);
	ret = llm_json_member(where, obj, "sparse_attention_config", list, err);
	if (!ret)
		ret = llm_config_bool(where, obj, "sparse_attention_enabled", true, &enabled, err);
	if (!ret)
		ret = llm_config_uint(where, obj, "sparse_attention_threshold", 0, LLM_POSITION_MAX,
				      DEFAULT_FROM, &t->from, err);
	if (!ret)
		ret = llm_config_uint(where, obj, "sparse_attention_last_q", 1, LAST_MAX,
				      DEFAULT_LAST, &t->sample, err);
	if (!ret && !enabled)
		ret = llm_fail(err, -EOPNOTSUPP, "%s: sparse_attention_enabled is false", where);
	return ret;
}

static int load(const char *dir, const struct llm_model_config *cfg, struct llm_sparse_table *t,
		struct zw_error *err)
{
	char *config = llm_path_join(dir, "config.json");
	char *side = llm_path_join(dir, "sparse_attention_config.json");
	cJSON *json = NULL, *table = NULL;
	const cJSON *list = NULL;
	int ret = config && side ? 0 : llm_fail(err, -ENOMEM, "out of memory");

	if (!ret)
		ret = llm_json_load(config, CONFIG_MAX, &json, err);
	if (!ret)
		ret = parse_config(config, json, t, &list, err);
	if (!ret && list) {
		ret = parse_layers(config, list, cfg, t, err);
	} else if (!ret && !access(side, F_OK)) {
		ret = llm_json_load(side, TABLE_MAX, &table, err);
		if (!ret)
			ret = parse_layers(side, table, cfg, t, err);
	} else if (!ret) {
		ret = llm_fail(err, -EOPNOTSUPP,
			       "%s: no sparse_attention_config, and there is no %s", config, side);
	}
	cJSON_Delete(json);
	cJSON_Delete(table);
	free(config);
	free(side);
	return ret;
}

void llm_sparse_table_load(const char *dir, const struct llm_model_config *cfg,
			   struct llm_sparse_table *t)
{
	*t = (struct llm_sparse_table){0};
	if (llm_is_file(dir))
		t->code = llm_fail(&t->why, -EOPNOTSUPP, "%s: a GGUF file has no sparse attention",
				   dir);
	else
		t->code = load(dir, cfg, t, &t->why);
	if (t->code)
		llm_sparse_table_free(t);
}

void llm_sparse_table_free(struct llm_sparse_table *t)
{
	free(t->sizes);
	t->sizes = NULL;
}
