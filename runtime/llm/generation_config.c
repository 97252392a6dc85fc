// SPDX-License-Identifier: MIT
/* generation_config.json to sampling parameters. */
#include <zhenwu/llm_generation_config.h>

#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_value.h"
#include "gguf_config.h"
#include "token_list.h"

/* More tokens than any context has. */
#define LENGTH_MAX (1u << 30)

struct zw_generation_config {
	struct zw_sampling_params sampling;  /* the lists are owned */
	uint32_t max_new_tokens, max_length; /* 0: not said */
	char **stop_strings;
	size_t num_stop_strings;
};

/* What transformers would do and this does not; in the order of its documentation. */
static const struct llm_config_neutral not_supported[] = {
	{"max_time", LLM_NEUTRAL_ABSENT, 0},
	{"num_beams", LLM_NEUTRAL_NUMBER, 1},
	{"num_beam_groups", LLM_NEUTRAL_NUMBER, 1},
	{"penalty_alpha", LLM_NEUTRAL_NUMBER, 0},
	{"dola_layers", LLM_NEUTRAL_ABSENT, 0},
	{"top_h", LLM_NEUTRAL_ABSENT, 0},
	{"typical_p", LLM_NEUTRAL_NUMBER, 1},
	{"epsilon_cutoff", LLM_NEUTRAL_NUMBER, 0},
	{"eta_cutoff", LLM_NEUTRAL_NUMBER, 0},
	{"diversity_penalty", LLM_NEUTRAL_NUMBER, 0},
	{"encoder_repetition_penalty", LLM_NEUTRAL_NUMBER, 1},
	{"encoder_no_repeat_ngram_size", LLM_NEUTRAL_NUMBER, 0},
	{"force_words_ids", LLM_NEUTRAL_EMPTY, 0},
	{"constraints", LLM_NEUTRAL_EMPTY, 0},
	{"forced_bos_token_id", LLM_NEUTRAL_ABSENT, 0},
	{"forced_eos_token_id", LLM_NEUTRAL_ABSENT, 0},
	{"forced_decoder_ids", LLM_NEUTRAL_EMPTY, 0},
	{"remove_invalid_values", LLM_NEUTRAL_FALSE, 0},
	{"exponential_decay_length_penalty", LLM_NEUTRAL_ABSENT, 0},
	{"token_healing", LLM_NEUTRAL_FALSE, 0},
	{"guidance_scale", LLM_NEUTRAL_NUMBER, 1},
	{"watermarking_config", LLM_NEUTRAL_ABSENT, 0},
	{"num_return_sequences", LLM_NEUTRAL_NUMBER, 1},
	{"custom_generate", LLM_NEUTRAL_ABSENT, 0},
	{"generation_kwargs", LLM_NEUTRAL_EMPTY, 0},
};

static int parse_numbers(const char *path, const cJSON *json, struct zw_sampling_params *sp,
			 struct zw_error *err)
{
	double temperature = 0;
	uint32_t sample = 0;
	const struct {
		const char *key;
		double min, max, def;
		float *v;
		double *d;
	} numbers[] = {
		{"temperature", 0, 100, 1, NULL, &temperature},
		{"top_p", 0, 1, 1, &sp->top_p, NULL},
		{"min_p", 0, 1, 0, &sp->min_p, NULL},
		{"repetition_penalty", 1e-3, 1000, 1, &sp->repetition_penalty, NULL},
	};
	const struct {
		const char *key;
		uint32_t def;
		uint32_t *v;
	} integers[] = {
		{"top_k", 50, &sp->top_k}, /* transformers' default, not "off" */
		{"no_repeat_ngram_size", 0, &sp->no_repeat_ngram},
		{"min_length", 0, &sp->min_length},
		{"min_new_tokens", 0, &sp->min_new_tokens},
	};
	int ret = llm_config_bool(path, json, "do_sample", false, &sample, err);

	for (size_t i = 0; i < ZW_ARRAY_SIZE(numbers) && !ret; i++) {
		double v = 0;

		ret = llm_config_double(path, json, numbers[i].key, numbers[i].min, numbers[i].max,
					numbers[i].def, &v, err);
		if (numbers[i].v)
			*numbers[i].v = (float)v;
		else
			*numbers[i].d = v;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(integers) && !ret; i++)
		ret = llm_config_uint(path, json, integers[i].key, 0, LENGTH_MAX, integers[i].def,
				      integers[i].v, err);
	sp->temperature = sample ? (float)temperature : 0;
	return ret;
}

/* The ids of a JSON list, in memory of their own; false when it is not one of token ids. */
static bool parse_ids(const cJSON *list, struct zw_token_list *out)
{
	uint32_t *ids = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*ids));
	const cJSON *it;

	out->ids = ids;
	if (!ids || !cJSON_IsArray(list))
		return false;
	cJSON_ArrayForEach(it, list)
	{
		uint64_t v;

		if (!llm_json_uint(it, 0, UINT32_MAX, &v))
			return false;
		ids[out->n++] = (uint32_t)v;
	}
	return out->n;
}

static int parse_bad_words(const char *path, const cJSON *json, struct zw_sampling_params *sp,
			   struct zw_error *err)
{
	struct zw_token_list *words;
	const cJSON *list, *word;
	int ret = llm_json_member(path, json, "bad_words_ids", &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return llm_fail(err, -EBADMSG, "%s: bad_words_ids is not a list", path);
	words = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*words));
	if (!words)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	sp->bad_words = words;
	cJSON_ArrayForEach(word, list)
	{
		if (!parse_ids(word, &words[sp->num_bad_words++]))
			return llm_fail(err, -EBADMSG,
					"%s: bad_words_ids[%u] is not a list of token ids", path,
					sp->num_bad_words - 1);
	}
	return 0;
}

/* [[[ids], bias], ...] */
static int parse_bias(const char *path, const cJSON *json, struct zw_sampling_params *sp,
		      struct zw_error *err)
{
	struct zw_logit_bias *bias;
	const cJSON *list, *it;
	int ret = llm_json_member(path, json, "sequence_bias", &list, err);

	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list) && !(cJSON_IsObject(list) && !list->child))
		return llm_fail(err, -EBADMSG, "%s: sequence_bias is not a list", path);
	bias = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*bias));
	if (!bias)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	sp->bias = bias;
	cJSON_ArrayForEach(it, list)
	{
		const cJSON *number = cJSON_GetArraySize(it) == 2 ? it->child->next : NULL;
		struct zw_logit_bias *b = &bias[sp->num_bias++];

		if (!cJSON_IsArray(it) || !cJSON_IsNumber(number) ||
		    !parse_ids(it->child, &b->ids) || !(number->valuedouble < FLT_MAX))
			return llm_fail(err, -EBADMSG,
					"%s: sequence_bias[%llu] is not [[token ids], number]",
					path, (unsigned long long)sp->num_bias - 1);
		b->bias = (float)number->valuedouble;
	}
	return 0;
}

static int parse_stop_strings(const char *path, const cJSON *json, struct zw_generation_config *gc,
			      struct zw_error *err)
{
	const cJSON *value, *it;
	int ret = llm_json_member(path, json, "stop_strings", &value, err);

	if (ret || !value)
		return ret;
	if (!cJSON_IsArray(value) && !cJSON_IsString(value))
		return llm_fail(err, -EBADMSG, "%s: stop_strings is not a list of texts", path);
	gc->stop_strings = calloc((size_t)cJSON_GetArraySize(value) + 1, sizeof(char *));
	if (!gc->stop_strings)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	for (it = cJSON_IsArray(value) ? value->child : value; it;
	     it = it == value ? NULL : it->next) {
		if (!cJSON_IsString(it) || !it->valuestring[0])
			return llm_fail(err, -EBADMSG, "%s: stop_strings is not a list of texts",
					path);
		gc->stop_strings[gc->num_stop_strings] = strdup(it->valuestring);
		if (!gc->stop_strings[gc->num_stop_strings++])
			return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	return 0;
}

/* The keys of a generation_config.json, or the same ones in a config.json. */
static int parse(const char *path, const cJSON *json, struct zw_generation_config *gc,
		 struct zw_error *err)
{
	struct zw_sampling_params *sp = &gc->sampling;
	int ret;

	ret = llm_config_require_neutral(path, json, not_supported, ZW_ARRAY_SIZE(not_supported),
					 err);
	if (!ret)
		ret = parse_numbers(path, json, sp, err);
	if (!ret)
		ret = llm_config_ids(path, json, "suppress_tokens", &sp->suppress, err);
	if (!ret)
		ret = llm_config_ids(path, json, "begin_suppress_tokens", &sp->begin_suppress, err);
	if (!ret)
		ret = parse_bad_words(path, json, sp, err);
	if (!ret)
		ret = parse_bias(path, json, sp, err);
	if (!ret)
		ret = parse_stop_strings(path, json, gc, err);
	return ret;
}

static int parse_lengths(const char *path, const cJSON *json, struct zw_generation_config *gc,
			 struct zw_error *err)
{
	int ret = llm_config_uint(path, json, "max_new_tokens", 1, LENGTH_MAX, 0,
				  &gc->max_new_tokens, err);

	if (!ret)
		ret = llm_config_uint(path, json, "max_length", 1, LENGTH_MAX, 0, &gc->max_length,
				      err);
	return ret;
}

static int load(const char *model, const char *file, struct zw_generation_config *gc,
		struct zw_error *err)
{
	bool own_file = !access(file, F_OK), has_model = !access(model, F_OK);
	cJSON *json = NULL, *gen = NULL;
	int ret = 0;

	if (has_model)
		ret = llm_json_load(model, CONFIG_MAX, &json, err);
	if (!ret && own_file)
		ret = llm_json_load(file, CONFIG_MAX, &gen, err);
	if (!ret && gen && !cJSON_IsObject(gen))
		ret = llm_fail(err, -EBADMSG, "%s: not a JSON object", file);
	if (!ret)
		ret = llm_config_ids(model, json, "eos_token_id", &gc->sampling.stop, err);
	if (!ret)
		ret = llm_config_ids(file, gen, "eos_token_id", &gc->sampling.stop, err);
	if (!ret)
		ret = own_file ? parse(file, gen, gc, err) : parse(model, json, gc, err);
	/* Old files carry max_length 20, the default of then, in config.json. */
	if (!ret && own_file)
		ret = parse_lengths(file, gen, gc, err);
	cJSON_Delete(json);
	cJSON_Delete(gen);
	return ret;
}

static int load_gguf(const char *path, struct zw_generation_config *gc, struct zw_error *err)
{
	struct zw_gguf *g;
	cJSON *json = NULL;
	int ret = zw_gguf_open(path, &g, err);

	if (ret)
		return ret;
	ret = gguf_generation_json(g, &json, err);
	if (!ret)
		ret = llm_config_ids(path, json, "eos_token_id", &gc->sampling.stop, err);
	if (!ret)
		ret = parse(path, json, gc, err);
	cJSON_Delete(json);
	zw_gguf_close(g);
	return ret;
}

int zw_generation_config_open(const char *dir, struct zw_generation_config **out,
			      struct zw_error *err)
{
	struct zw_generation_config *gc;
	char *model, *file;
	int ret;

	if (!dir || !out)
		return llm_fail(err, -EINVAL, "zw_generation_config_open: NULL argument");
	gc = calloc(1, sizeof(*gc));
	model = llm_path_join(dir, "config.json");
	file = llm_path_join(dir, "generation_config.json");
	if (!gc || !model || !file)
		ret = llm_fail(err, -ENOMEM, "%s: out of memory", dir);
	else
		ret = llm_is_file(dir) ? load_gguf(dir, gc, err) : load(model, file, gc, err);
	free(model);
	free(file);
	if (ret) {
		zw_generation_config_close(gc);
		return ret;
	}
	gc->sampling.size = sizeof(gc->sampling);
	*out = gc;
	return 0;
}

void zw_generation_config_close(struct zw_generation_config *gc)
{
	struct zw_sampling_params *sp;

	if (!gc)
		return;
	sp = &gc->sampling;
	for (uint32_t i = 0; i < sp->num_bad_words; i++)
		free((uint32_t *)sp->bad_words[i].ids);
	free((struct zw_token_list *)sp->bad_words);
	for (uint64_t i = 0; i < sp->num_bias; i++)
		free((uint32_t *)sp->bias[i].ids.ids);
	free((struct zw_logit_bias *)sp->bias);
	token_list_free(&sp->stop);
	token_list_free(&sp->suppress);
	token_list_free(&sp->begin_suppress);
	for (size_t i = 0; i < gc->num_stop_strings; i++)
		free(gc->stop_strings[i]);
	free(gc->stop_strings);
	free(gc);
}

int zw_generation_config_get_sampling(const struct zw_generation_config *gc,
				      struct zw_sampling_params *sp)
{
	return sized_out(sp, SIZED_V0(struct zw_sampling_params, seed), &gc->sampling,
			 sizeof(gc->sampling));
}

uint64_t zw_generation_config_max_tokens(const struct zw_generation_config *gc, size_t n)
{
	if (gc->max_new_tokens)
		return gc->max_new_tokens;
	if (gc->max_length)
		return gc->max_length > n ? gc->max_length - n : 0;
	return UINT64_MAX;
}

const char *const *zw_generation_config_stop_strings(const struct zw_generation_config *gc,
						     size_t *n)
{
	*n = gc->num_stop_strings;
	return (const char *const *)gc->stop_strings;
}
