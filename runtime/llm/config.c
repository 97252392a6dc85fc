// SPDX-License-Identifier: MIT
/* config.json, and the stop tokens of generation_config.json, to struct zw_model_config. */
#include "family.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Generous against published models, small enough that products of two stay far below 2^63. */
#define DIM_MAX    (1u << 20)
#define LAYERS_MAX 1024
#define HEADS_MAX  4096
#define VOCAB_MAX  (1u << 22)
#define POS_MAX    (1u << 26)

static const struct zw_family *const families[] = {
	&zw_family_qwen3,
};

const struct zw_family *zw_family_find(const char *model_type)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(families); i++) {
		if (!strcmp(families[i]->model_type, model_type))
			return families[i];
	}
	return NULL;
}

int zw_want_add(struct zw_want_list *l, bool optional, uint32_t ndim, uint64_t d0, uint64_t d1,
		const char *fmt, ...)
{
	struct zw_st_want *w;
	va_list ap;
	char *name;
	int n;

	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;

		w = realloc(l->want, cap * sizeof(*w));
		if (!w)
			return -ENOMEM;
		l->want = w;
		l->cap = cap;
	}
	va_start(ap, fmt);
	n = vasprintf(&name, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	w = &l->want[l->n++];
	*w = (struct zw_st_want){.name = name, .ndim = ndim, .optional = optional};
	w->shape[0] = d0;
	w->shape[1] = d1;
	return 0;
}

void zw_want_free(struct zw_want_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free((char *)l->want[i].name);
	free(l->want);
	*l = (struct zw_want_list){0};
}

int zw_config_layer_types(const char *path, const cJSON *json, const struct zw_model_config *cfg,
			  const char *type, struct zw_error *err)
{
	const cJSON *list, *it;
	uint32_t n = 0;
	int ret = zw_json_member(path, json, "layer_types", &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return zw_fail(err, -EBADMSG, "%s: layer_types is not a list", path);
	cJSON_ArrayForEach(it, list)
	{
		if (!cJSON_IsString(it))
			return zw_fail(err, -EBADMSG, "%s: layer_types[%u] is not a string", path,
				       n);
		if (strcmp(it->valuestring, type))
			return zw_fail(err, -EOPNOTSUPP,
				       "%s: layer_types \"%s\" is not supported yet", path,
				       it->valuestring);
		n++;
	}
	if (n != cfg->num_layers)
		return zw_fail(err, -EBADMSG,
			       "%s: layer_types has %u entries, num_hidden_layers is %u", path, n,
			       cfg->num_layers);
	return 0;
}

/* rope_theta at top level (older files), in rope_parameters (newer ones), or both and equal. */
static int parse_rope(const char *path, const cJSON *json, struct zw_model_config *cfg,
		      struct zw_error *err)
{
	static const char *const holders[] = {"rope_scaling", "rope_parameters"};
	double top, theta, partial;
	int ret;

	ret = zw_config_double(path, json, "rope_theta", 1.0, 1e12, 0, &top, err);
	if (!ret)
		ret = zw_config_double(path, json, "partial_rotary_factor", 0, 1, 1, &partial, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(holders); i++) {
		const char *const type_keys[] = {"rope_type", "type"};
		const cJSON *obj, *type;
		double in, part;

		ret = zw_json_member(path, json, holders[i], &obj, err);
		if (ret)
			return ret;
		if (!obj)
			continue;
		if (!cJSON_IsObject(obj))
			return zw_fail(err, -EBADMSG, "%s: %s is not an object", path, holders[i]);
		for (size_t k = 0; k < ZW_ARRAY_SIZE(type_keys); k++) {
			ret = zw_json_member(path, obj, type_keys[k], &type, err);
			if (ret)
				return ret;
			if (type && !cJSON_IsString(type))
				return zw_fail(err, -EBADMSG, "%s: %s.%s is not a string", path,
					       holders[i], type_keys[k]);
			if (type && strcmp(type->valuestring, "default"))
				return zw_fail(err, -EOPNOTSUPP,
					       "%s: %s.%s \"%s\" is not supported yet", path,
					       holders[i], type_keys[k], type->valuestring);
		}
		ret = zw_config_require_absent(path, obj, "mrope_section", err);
		if (!ret)
			ret = zw_config_double(path, obj, "rope_theta", 1.0, 1e12, 0, &in, err);
		if (!ret)
			ret = zw_config_double(path, obj, "partial_rotary_factor", 0, 1, 1, &part,
					       err);
		if (ret)
			return ret;
		if (in && top && in != top)
			return zw_fail(err, -EBADMSG, "%s: rope_theta is %g, %s.rope_theta is %g",
				       path, top, holders[i], in);
		if (in)
			top = in;
		if (part != 1)
			partial = part;
	}
	if (partial != 1)
		return zw_fail(err, -EOPNOTSUPP,
			       "%s: partial_rotary_factor %g is not supported yet", path, partial);
	theta = top ? top : 10000.0; /* the class default */
	cfg->rope_theta = theta;
	return 0;
}

/* Ids that the model has no logit for can never be chosen; published files have such. */
static int add_stop(const char *path, uint32_t id, struct zw_model_config *cfg,
		    struct zw_error *err)
{
	uint32_t at;

	if (id >= cfg->vocab_size || zw_model_config_is_stop(cfg, id))
		return 0;
	if (cfg->num_stop == ZW_LLM_MAX_STOP)
		return zw_fail(err, -EOPNOTSUPP, "%s: eos_token_id: more than %d tokens", path,
			       ZW_LLM_MAX_STOP);
	for (at = cfg->num_stop++; at && cfg->stop[at - 1] > id; at--)
		cfg->stop[at] = cfg->stop[at - 1];
	cfg->stop[at] = id;
	return 0;
}

static int parse_eos(const char *path, const cJSON *json, struct zw_model_config *cfg,
		     struct zw_error *err)
{
	struct zw_token_list list = {0};
	int ret = llm_config_ids(path, json, "eos_token_id", &list, err);

	for (size_t i = 0; i < list.n && !ret; i++)
		ret = add_stop(path, list.ids[i], cfg, err);
	free((uint32_t *)list.ids);
	return ret;
}

/* The architecture says which head sits on the layers: a classifier must not pass for a LM. */
static int check_architecture(const char *path, const cJSON *json, const struct zw_family *family,
			      struct zw_error *err)
{
	const cJSON *list, *it;
	int ret = zw_json_member(path, json, "architectures", &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return zw_fail(err, -EBADMSG, "%s: architectures is not a list", path);
	cJSON_ArrayForEach(it, list)
	{
		if (!cJSON_IsString(it) || strcmp(it->valuestring, family->architecture))
			return zw_fail(err, -EOPNOTSUPP,
				       "%s: architectures: \"%s\" is not supported yet", path,
				       cJSON_IsString(it) ? it->valuestring : "?");
	}
	return 0;
}

static int parse_config(const char *path, const cJSON *json, struct zw_model_config *cfg,
			struct zw_error *err)
{
	/* Keys that change the mathematics or the tensors of any family of this kind. */
	static const char *const refused[] = {"quantization_config", "text_config",
					      "vision_config"};
	const struct zw_family *family;
	const cJSON *it;
	double eps;
	int ret;

	if (!cJSON_IsObject(json))
		return zw_fail(err, -EBADMSG, "%s: not a JSON object", path);
	ret = zw_json_member(path, json, "model_type", &it, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(it))
		return zw_fail(err, -EBADMSG, "%s: model_type is missing", path);
	family = zw_family_find(it->valuestring);
	if (!family)
		return zw_fail(err, -EOPNOTSUPP, "%s: model_type \"%s\" is not supported yet", path,
			       it->valuestring);
	snprintf(cfg->model_type, sizeof(cfg->model_type), "%s", family->model_type);
	ret = check_architecture(path, json, family, err);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(refused) && !ret; i++)
		ret = zw_config_require_absent(path, json, refused[i], err);
	if (ret)
		return ret;

	const struct {
		const char *key;
		uint32_t *v;
		uint32_t max;
	} dims[] = {
		{"hidden_size", &cfg->hidden_size, DIM_MAX},
		{"intermediate_size", &cfg->intermediate_size, DIM_MAX},
		{"num_hidden_layers", &cfg->num_layers, LAYERS_MAX},
		{"num_attention_heads", &cfg->num_heads, HEADS_MAX},
		{"num_key_value_heads", &cfg->num_kv_heads, HEADS_MAX},
		{"vocab_size", &cfg->vocab_size, VOCAB_MAX},
		{"max_position_embeddings", &cfg->max_position, POS_MAX},
	};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(dims) && !ret; i++)
		ret = zw_config_uint(path, json, dims[i].key, 1, dims[i].max, -1, dims[i].v, err);
	if (!ret)
		ret = zw_config_double(path, json, "rms_norm_eps", 1e-12, 1e-1, 1e-6, &eps, err);
	if (!ret)
		ret = zw_config_bool(path, json, "tie_word_embeddings", false,
				     &cfg->tie_word_embeddings, err);
	if (!ret)
		ret = zw_json_member(path, json, "hidden_act", &it, err);
	if (ret)
		return ret;
	cfg->rms_norm_eps = (float)eps;
	if (it && (!cJSON_IsString(it) || strcmp(it->valuestring, "silu")))
		return zw_fail(err, -EOPNOTSUPP, "%s: hidden_act \"%s\" is not supported yet", path,
			       cJSON_IsString(it) ? it->valuestring : "?");
	ret = parse_rope(path, json, cfg, err);
	if (!ret)
		ret = family->parse(path, json, cfg, err);
	if (ret)
		return ret;
	if (cfg->num_heads % cfg->num_kv_heads)
		return zw_fail(
			err, -EBADMSG,
			"%s: num_attention_heads %u is no multiple of num_key_value_heads %u", path,
			cfg->num_heads, cfg->num_kv_heads);
	if (cfg->head_dim % 2)
		return zw_fail(err, -EBADMSG, "%s: head_dim %u is odd", path, cfg->head_dim);
	return parse_eos(path, json, cfg, err);
}

int zw_model_config_load(const char *dir, struct zw_model_config *cfg, struct zw_error *err)
{
	struct zw_model_config full = {0};
	char *path, *gen;
	cJSON *json = NULL;
	int ret;

	if (!dir || !cfg || cfg->size < offsetof(struct zw_model_config, hidden_size))
		return zw_fail(err, -EINVAL, "zw_model_config_load: bad argument");
	path = zw_path_join(dir, "config.json");
	gen = zw_path_join(dir, "generation_config.json");
	if (!path || !gen) {
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", dir);
		goto out;
	}
	ret = zw_json_load(path, CONFIG_MAX, &json, err);
	if (!ret)
		ret = parse_config(path, json, &full, err);
	if (!ret && access(gen, F_OK) == 0) {
		cJSON_Delete(json);
		json = NULL;
		ret = zw_json_load(gen, CONFIG_MAX, &json, err);
		if (!ret && !cJSON_IsObject(json))
			ret = zw_fail(err, -EBADMSG, "%s: not a JSON object", gen);
		if (!ret)
			ret = parse_eos(gen, json, &full, err);
	}
	if (!ret) {
		full.size = cfg->size;
		zw_copy_sized(cfg, cfg->size, &full, sizeof(full));
	}
out:
	cJSON_Delete(json);
	free(path);
	free(gen);
	return ret;
}

bool zw_model_config_is_stop(const struct zw_model_config *cfg, uint32_t id)
{
	for (uint32_t i = 0; i < cfg->num_stop; i++) {
		if (cfg->stop[i] == id)
			return true;
	}
	return false;
}
