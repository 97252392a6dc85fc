// SPDX-License-Identifier: MIT
/* A configuration as a source: tensors as the family's table has them, with shapes and no contents. */
#include "shapes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zhenwu/llm_shape.h>
#include <zhenwu/zhenwu.h>

#include "config_value.h"
#include "family.h"

/* How matrices are stored: a type that stands in their own tensor, or a scheme with tensors of its own. */
struct format {
	const char *name;
	uint32_t dtype;        /* not NONE: of all matrices and the embedding */
	uint32_t narrow;       /* that, where a row is no multiple of the type's block */
	const char *weight;    /* with a scheme: the tensor in the place of "weight" ... */
	uint32_t weight_dtype; /* ... its type ... */
	uint32_t per;          /* ... of so many elements in one */
	const char *scale;
	uint32_t scale_dtype;
	struct llm_quant_scheme scheme;
};

static const struct format formats[] = {
	{.name = "bf16", .dtype = ZW_DTYPE_BF16, .narrow = ZW_DTYPE_BF16},
	{.name = "fp8",
	 .weight = "weight",
	 .weight_dtype = ZW_DTYPE_F8E4M3,
	 .per = 1,
	 .scale = "weight_scale_inv",
	 .scale_dtype = ZW_DTYPE_BF16,
	 .scheme = {.format = LLM_QUANT_FP8,
		    .bits = 8,
		    .block = {128, 128},
		    .act = ZW_DTYPE_F8E4M3,
		    .act_block = 128}},
	{.name = "int8",
	 .weight = "weight",
	 .weight_dtype = ZW_DTYPE_I8,
	 .per = 1,
	 .scale = "weight_scale",
	 .scale_dtype = ZW_DTYPE_BF16,
	 .scheme = {.format = LLM_QUANT_INTS, .bits = 8, .block = {1, 0}, .act = ZW_DTYPE_I8}},
	{.name = "int4",
	 .weight = "weight_packed",
	 .weight_dtype = ZW_DTYPE_I32,
	 .per = 8,
	 .scale = "weight_scale",
	 .scale_dtype = ZW_DTYPE_BF16,
	 .scheme = {.format = LLM_QUANT_PACKED, .bits = 4, .block = {1, 128}}},
	{.name = "q8_0", .dtype = ZW_DTYPE_Q8_0, .narrow = ZW_DTYPE_BF16},
	{.name = "q6_k", .dtype = ZW_DTYPE_Q6_K, .narrow = ZW_DTYPE_Q8_0},
	{.name = "q4_k", .dtype = ZW_DTYPE_Q4_K, .narrow = ZW_DTYPE_Q8_0},
};

struct tensor {
	char *name;
	uint32_t dtype, ndim;
	uint64_t dim[3];
};

struct shape_source {
	struct llm_source base;
	const struct llm_shape *shape; /* NULL: base.path is a file, or its folder */
	const char *weights;
	uint32_t cards;
	bool mtp;
	const struct format *format;
	const struct llm_family *family;
	struct llm_model_config cfg;
	struct tensor *tensors; /* sorted by name once open */
	size_t num, cap;
	bool no_memory;
};

static struct shape_source *shape_of(const struct llm_source *s)
{
	return (struct shape_source *)s;
}

/* ---- configuration ---- */

static const struct format *format_named(const char *name)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(formats); i++) {
		if (!strcmp(formats[i].name, name))
			return &formats[i];
	}
	return NULL;
}

/* What the configuration says of its own, as one of ours. */
static const struct format *format_of(const struct llm_quant_config *q)
{
	if (!q->num)
		return &formats[0];
	for (size_t i = 0; q->num == 1 && i < ZW_ARRAY_SIZE(formats); i++) {
		const struct llm_quant_scheme *s = &formats[i].scheme;

		if (s->format && s->format == q->scheme[0].format && s->bits == q->scheme[0].bits)
			return &formats[i];
	}
	return NULL;
}

static int choose_format(struct shape_source *s, struct llm_model_config *cfg, struct zw_error *err)
{
	char names[80] = "";
	size_t at = 0;

	s->format = s->weights ? format_named(s->weights) : format_of(&cfg->quant);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(formats); i++)
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s", i ? ", " : "",
				       formats[i].name);
	if (!s->format && s->weights)
		return llm_fail(err, -EINVAL, "weights \"%.40s\": not %s", s->weights, names);
	if (!s->format)
		return llm_fail(
			err, -EOPNOTSUPP,
			"%s: tensors of this quantization_config cannot be made up: name the "
			"folder with the weights, or one of %s",
			s->base.path, names);
	/* The configuration's own blocks, where it has some. */
	if (!s->weights && cfg->quant.num)
		return 0;
	memset(&cfg->quant, 0, sizeof(cfg->quant));
	if (s->format->weight) {
		cfg->quant.num = 1;
		cfg->quant.scheme[0] = s->format->scheme;
	}
	return 0;
}

/*
 * One card's share of a model that is cut between heads, columns of feed-forwards and words. Heads of keys and values
 * that are fewer than the cards are on several of them.
 */
static int share(const char *path, struct llm_model_config *c, uint32_t cards, struct zw_error *err)
{
	const struct {
		const char *key;
		uint32_t *v;
	} cut[] = {
		{"num_attention_heads", &c->num_heads},
		{"intermediate_size", &c->intermediate_size},
		{"moe_intermediate_size", &c->expert_size},
		{"shared_expert_intermediate_size", &c->shared_expert_size},
		{"linear_num_key_heads", &c->key_heads},
		{"linear_num_value_heads", &c->value_heads},
		{"vocab_size", &c->vocab_size},
	};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(cut); i++) {
		if (*cut[i].v % cards)
			return llm_fail(
				err, -EINVAL,
				"%s: %s %u cannot be cut between %u cards: take a number of "
				"cards that divides it",
				path, cut[i].key, *cut[i].v, cards);
		*cut[i].v /= cards;
	}
	if (c->num_kv_heads % cards && cards % c->num_kv_heads)
		return llm_fail(err, -EINVAL,
				"%s: num_key_value_heads %u and %u cards do not go "
				"into each other",
				path, c->num_kv_heads, cards);
	c->num_kv_heads = c->num_kv_heads > cards ? c->num_kv_heads / cards : 1;
	return 0;
}

static int load_config(struct shape_source *s, struct llm_model_config *cfg, struct zw_error *err)
{
	cJSON *json = NULL;
	int ret;

	if (!s->shape && !llm_is_file(s->base.path))
		return llm_model_config_load(s->base.path, cfg, err);
	if (s->shape) {
		json = llm_shape_json(s->shape);
		ret = json ? 0 : llm_fail(err, -ENOMEM, "out of memory");
	} else {
		ret = llm_json_load(s->base.path, CONFIG_MAX, &json, err);
	}
	if (!ret)
		ret = llm_model_config_parse(s->base.path, json, cfg, err);
	cJSON_Delete(json);
	return ret;
}

static int shape_config(struct llm_source *src, struct llm_model_config *out, struct zw_error *err)
{
	struct shape_source *s = shape_of(src);
	struct llm_model_config cfg = {0};
	int ret = load_config(s, &cfg, err);

	if (!ret)
		ret = choose_format(s, &cfg, err);
	if (!ret && s->cards > 1)
		ret = share(src->path, &cfg, s->cards, err);
	if (ret)
		return ret;
	s->family = llm_family_find(cfg.model_type);
	s->cfg = *out = cfg;
	return 0;
}

/* ---- tensors ---- */

static void add(struct shape_source *s, const char *name, uint32_t dtype, const uint64_t *dim,
		uint32_t ndim)
{
	struct tensor *t;

	if (s->no_memory || llm_grow(&s->tensors, &s->cap, s->num + 1, sizeof(*s->tensors))) {
		s->no_memory = true;
		return;
	}
	t = &s->tensors[s->num];
	*t = (struct tensor){.name = strdup(name), .dtype = dtype, .ndim = ndim};
	memcpy(t->dim, dim, ndim * sizeof(*dim));
	s->no_memory = !t->name;
	s->num += !!t->name;
}

/* Kept as they are by those who quantise: the router, small projections, and what makes logits. */
static bool stays(const struct llm_tensor_row *row)
{
	static const char *const kept[] = {"lm_head.weight",
					   "mlp.gate.weight",
					   "mlp.shared_expert_gate.weight",
					   "linear_attn.in_proj_ba.weight",
					   "linear_attn.in_proj_b.weight",
					   "linear_attn.in_proj_a.weight"};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(kept); i++) {
		if (!strcmp(row->name, kept[i]))
			return true;
	}
	return false;
}

/* "X.weight" is what its scheme has in its place. */
static void add_quantised(struct shape_source *s, const char *name, const uint64_t *dim)
{
	const struct format *f = s->format;
	const struct llm_quant_scheme *q = &s->cfg.quant.scheme[0];
	size_t stem = strlen(name) - strlen("weight");
	uint64_t w[2] = {dim[0], (dim[1] + f->per - 1) / f->per};
	uint64_t scale[2] = {q->block[0] ? (dim[0] + q->block[0] - 1) / q->block[0] : 1,
			     q->block[1] ? (dim[1] + q->block[1] - 1) / q->block[1] : 1};
	char other[256];

	snprintf(other, sizeof(other), "%.*s%s", (int)stem, name, f->weight);
	add(s, other, f->weight_dtype, w, 2);
	snprintf(other, sizeof(other), "%.*s%s", (int)stem, name, f->scale);
	add(s, other, f->scale_dtype, scale, 2);
}

static void on_tensor(void *opaque, const char *name, const struct llm_tensor_row *row,
		      const uint64_t *dim, uint32_t ndim)
{
	struct shape_source *s = opaque;
	const struct format *f = s->format;
	bool matrix = row->flags & LLM_T_LINEAR;
	uint32_t dtype = ZW_DTYPE_BF16;

	/* Several rows may be parts of one tensor. */
	if (s->num && !strcmp(s->tensors[s->num - 1].name, name))
		return;
	if (f->weight && matrix && !stays(row)) {
		add_quantised(s, name, dim);
		return;
	}
	if (!f->weight && (matrix || ndim == 2))
		dtype = dim[ndim - 1] % zw_dtype_block_elements(f->dtype) ? f->narrow : f->dtype;
	if (dim[ndim - 1] % zw_dtype_block_elements(dtype))
		dtype = ZW_DTYPE_BF16;
	add(s, name, dtype, dim, ndim);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int shape_open(struct llm_source *src, struct zw_error *err)
{
	struct shape_source *s = shape_of(src);
	size_t n = 0;

	llm_family_each(s->family, &s->cfg, s->mtp, !s->format->weight, on_tensor, s);
	if (s->no_memory)
		return llm_fail(err, -ENOMEM, "out of memory");
	qsort(s->tensors, s->num, sizeof(*s->tensors), by_name);
	for (size_t i = 0; i < s->num; i++) {
		if (n && !strcmp(s->tensors[n - 1].name, s->tensors[i].name))
			free(s->tensors[i].name);
		else
			s->tensors[n++] = s->tensors[i];
	}
	s->num = n;
	return 0;
}

static size_t shape_count(const struct llm_source *src)
{
	return shape_of(src)->num;
}

static void shape_get(const struct llm_source *src, size_t i, struct llm_source_tensor *t)
{
	const struct tensor *from = &shape_of(src)->tensors[i];
	uint64_t n = 1;

	*t = (struct llm_source_tensor){
		.name = from->name,
		.file = src->path,
		.dtype_name = zw_dtype_name(from->dtype),
		.dtype = from->dtype,
		.ndim = from->ndim,
	};
	for (uint32_t d = 0; d < from->ndim; d++)
		n *= t->dim[d] = from->dim[d];
	t->bytes = llm_dtype_bytes(from->dtype, n);
}

static long shape_find(const struct llm_source *src, const char *name)
{
	const struct shape_source *s = shape_of(src);
	struct tensor key = {.name = (char *)name};
	const struct tensor *t =
		s->num ? bsearch(&key, s->tensors, s->num, sizeof(key), by_name) : NULL;

	return t ? (long)(t - s->tensors) : -ENOENT;
}

static int shape_read(const struct llm_source *src, size_t i, uint64_t off, void *dst, uint64_t len,
		      struct zw_error *err)
{
	(void)src;
	(void)i;
	(void)off;
	(void)err;
	memset(dst, 0, len);
	return 0;
}

static void shape_close(struct llm_source *src)
{
	struct shape_source *s = shape_of(src);

	for (size_t i = 0; i < s->num; i++)
		free(s->tensors[i].name);
	free(s->tensors);
	free(s->base.path);
	free(s);
}

static const struct llm_source_ops shape_ops = {
	.config = shape_config,
	.open = shape_open,
	.count = shape_count,
	.get = shape_get,
	.find = shape_find,
	.read = shape_read,
	.close = shape_close,
};

/* ---- public ---- */

int llm_source_new_shape(const struct llm_shape_ask *ask, struct llm_source **out,
			 struct zw_error *err)
{
	const struct llm_shape *shape = ask->shape ? llm_shape_find(ask->shape) : NULL;
	struct shape_source *s;

	if (ask->shape && !shape)
		return llm_fail(err, -ENOENT, "no size \"%.60s\" is known", ask->shape);
	s = calloc(1, sizeof(*s));
	if (!s)
		return llm_fail(err, -ENOMEM, "out of memory");
	s->base.ops = &shape_ops;
	s->shape = shape;
	s->weights = ask->weights;
	s->cards = ask->cards;
	s->mtp = ask->mtp;
	s->base.path = strdup(shape ? shape->name : ask->path);
	if (!s->base.path) {
		free(s);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	*out = &s->base;
	return 0;
}

static bool has_file(const char *dir, const char *name)
{
	char *path = llm_path_join(dir, name);
	bool there = path && !access(path, F_OK);

	free(path);
	return there;
}

bool llm_is_shape(const char *path)
{
	size_t n = strlen(path);

	if (llm_is_file(path))
		return n > 5 && !strcmp(path + n - 5, ".json");
	return has_file(path, "config.json") && !has_file(path, "model.safetensors") &&
	       !has_file(path, "model.safetensors.index.json");
}

const char *llm_shape_format(size_t i)
{
	return i < ZW_ARRAY_SIZE(formats) ? formats[i].name : NULL;
}

const char *zw_shape_weights(size_t i)
{
	return llm_shape_format(i);
}
