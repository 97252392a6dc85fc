// SPDX-License-Identifier: MIT
/*
 * A GGUF file as a source: its tensors under Hugging Face's names, and one by one where the file has all
 * experts of a layer in one.
 */
#include "source_gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/zhenwu.h>

#include "gguf_config.h"

/* Whether any layer has such a tensor. */
static bool find_anywhere(const struct zw_gguf *g, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < g->num_tensors; i++) {
		size_t n = strlen(g->tensors[i].name);

		if (n > len && g->tensors[i].name[n - len - 1] == '.' &&
		    !strcmp(g->tensors[i].name + n - len, name))
			return true;
	}
	return false;
}

static int gguf_config(struct llm_source *s, struct llm_model_config *cfg, struct zw_error *err)
{
	struct gguf_source *gs = (struct gguf_source *)s;
	struct llm_model_config full = {0};
	cJSON *json = NULL;
	int ret = zw_gguf_open(s->path, &gs->g, err);

	if (!ret)
		ret = gguf_config_json(gs->g, &gs->arch, &json, err);
	if (!ret)
		ret = llm_model_config_parse(s->path, json, &full, err);
	cJSON_Delete(json);
	if (ret)
		return ret;
	gs->num_layers = full.num_layers;
	gs->num_experts = full.num_experts;
	gs->key_heads = full.key_heads;
	gs->value_heads = full.value_heads;
	gs->key_dim = full.key_dim;
	gs->value_dim = full.value_dim;
	/* Where the format has one tensor for what is two there. */
	full.split_projections = gs->arch->hybrid && !find_anywhere(gs->g, "ssm_in.weight");
	*cfg = full;
	return 0;
}

static int add_view(struct gguf_source *gs, struct gguf_view v, struct zw_error *err)
{
	if (!v.hf || llm_grow(&gs->views, &gs->cap_views, gs->num_views + 1, sizeof(*gs->views))) {
		free(v.hf);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	gs->views[gs->num_views++] = v;
	return 0;
}

/* hf with its %u replaced by the expert's number, behind the layer's prefix. */
static char *hf_name(const struct gguf_source *gs, const struct gguf_name *n, uint32_t layer,
		     uint32_t expert)
{
	const char *mark = strstr(n->hf, "%u");
	char prefix[40], *out = NULL;
	int ret;

	if (!(n->flags & GGUF_N_LAYER) || n->flags & GGUF_N_MTP)
		return strdup(n->hf);
	if (gs->arch->mtp && layer == gs->num_layers)
		snprintf(prefix, sizeof(prefix), "mtp.layers.0.");
	else
		snprintf(prefix, sizeof(prefix), "model.layers.%u.", layer);
	if (!mark)
		ret = asprintf(&out, "%s%s", prefix, n->hf);
	else
		ret = asprintf(&out, "%s%.*s%u%s", prefix, (int)(mark - n->hf), n->hf, expert,
			       mark + 2);
	return ret < 0 ? NULL : out;
}

static int add_experts(struct gguf_source *gs, size_t tensor, const struct gguf_name *n,
		       uint32_t layer, struct zw_error *err)
{
	const struct gguf_tensor *t = &gs->g->tensors[tensor];
	int ret = 0;

	if (t->ndim != 3 || t->shape[0] != gs->num_experts)
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: %u dimensions, the first of %llu: %s.expert_count "
				"is %u",
				gs->g->path, t->name, t->ndim, (unsigned long long)t->shape[0],
				gs->arch->name, gs->num_experts);
	for (uint32_t e = 0; e < gs->num_experts && !ret; e++) {
		struct gguf_view v = {
			.hf = hf_name(gs, n, layer, e),
			.tensor = tensor,
			.bytes = t->nbytes / gs->num_experts,
			.skip = 1,
		};

		v.off = v.bytes * e;
		ret = add_view(gs, v, err);
	}
	return ret;
}

static int by_hf(const void *a, const void *b)
{
	return strcmp(((const struct gguf_view *)a)->hf, ((const struct gguf_view *)b)->hf);
}

static int gguf_open(struct llm_source *s, struct zw_error *err)
{
	struct gguf_source *gs = (struct gguf_source *)s;
	int ret = 0;

	for (size_t i = 0; i < gs->g->num_tensors && !ret; i++) {
		const struct gguf_tensor *t = &gs->g->tensors[i];
		struct gguf_view v = {.tensor = i, .bytes = t->nbytes};
		uint32_t layer = 0;
		const struct gguf_name *n = gguf_name_of(gs->arch, t->name, &layer);

		if (n && strstr(n->hf, "%u")) {
			ret = add_experts(gs, i, n, layer, err);
			continue;
		}
		/* Under the file's name nobody looks for it, so that it is found to be one too many. */
		v.hf = n ? hf_name(gs, n, layer, 0) : strdup(t->name);
		v.flags = n ? n->flags : 0;
		v.wide = gguf_is_wide(gs, &v);
		ret = add_view(gs, v, err);
	}
	if (!ret && gs->num_views)
		qsort(gs->views, gs->num_views, sizeof(*gs->views), by_hf);
	/* Two names of a tensor may be one here. */
	for (size_t i = 1; i < gs->num_views && !ret; i++) {
		if (!by_hf(&gs->views[i - 1], &gs->views[i]))
			ret = llm_fail(err, -EBADMSG, "%s: tensors %s and %s are the same one",
				       gs->g->path, gs->g->tensors[gs->views[i - 1].tensor].name,
				       gs->g->tensors[gs->views[i].tensor].name);
	}
	return ret;
}

static size_t gguf_count(const struct llm_source *s)
{
	return gguf_of(s)->num_views;
}

static void gguf_get(const struct llm_source *s, size_t i, struct llm_source_tensor *out)
{
	const struct gguf_source *gs = gguf_of(s);
	const struct gguf_view *v = &gs->views[i];
	const struct gguf_tensor *t = &gs->g->tensors[v->tensor];

	_Static_assert(ZW_GGUF_MAX_DIMS <= LLM_SOURCE_MAX_DIMS, "shapes fit");
	*out = (struct llm_source_tensor){
		.name = t->name,
		.file = gs->g->files[t->file].name,
		.dtype_name = t->dtype->name,
		.dtype = t->dtype->dtype,
		.ndim = t->ndim - v->skip,
		.bytes = v->bytes,
	};
	memcpy(out->dim, t->shape + v->skip, out->ndim * sizeof(out->dim[0]));
	/* A vector that is a row, and a matrix whose rows are matrices of one. */
	if ((v->flags & GGUF_N_ROW && t->ndim == 1) || (v->flags & GGUF_N_MIDDLE && t->ndim == 2)) {
		out->dim[out->ndim] = out->dim[out->ndim - 1];
		out->dim[out->ndim++ - 1] = 1;
	}
	out->added = v->flags & GGUF_N_PLUS_ONE ? 1 : 0;
	if (v->wide) {
		out->dtype = ZW_DTYPE_F32;
		out->bytes = sizeof(float);
		for (uint32_t d = 0; d < out->ndim; d++)
			out->bytes *= out->dim[d];
	}
}

static long gguf_find(const struct llm_source *s, const char *name)
{
	const struct gguf_source *gs = gguf_of(s);
	struct gguf_view want = {.hf = (char *)name}, *v;

	v = gs->num_views ? bsearch(&want, gs->views, gs->num_views, sizeof(want), by_hf) : NULL;
	return v ? v - gs->views : -ENOENT;
}

static void gguf_spell_name(const struct llm_source *s, const char *name, char *out, size_t size)
{
	const struct gguf_source *gs = gguf_of(s);

	gguf_spell(gs->arch, gs->num_layers, name, out, size);
}

static void gguf_close(struct llm_source *s)
{
	struct gguf_source *gs = (struct gguf_source *)s;

	for (size_t i = 0; i < gs->num_views; i++)
		free(gs->views[i].hf);
	free(gs->views);
	zw_gguf_close(gs->g);
	free(gs->base.path);
	free(gs);
}

static const struct llm_source_ops gguf_ops = {
	.config = gguf_config,
	.open = gguf_open,
	.count = gguf_count,
	.get = gguf_get,
	.find = gguf_find,
	.read = gguf_source_read,
	.file = gguf_source_file,
	.spell = gguf_spell_name,
	.close = gguf_close,
};

int llm_source_new_gguf(const char *path, struct llm_source **out, struct zw_error *err)
{
	struct gguf_source *gs = calloc(1, sizeof(*gs));

	if (!gs)
		return llm_fail(err, -ENOMEM, "out of memory");
	gs->base.ops = &gguf_ops;
	gs->base.path = strdup(path);
	if (!gs->base.path) {
		free(gs);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	*out = &gs->base;
	return 0;
}

int llm_source_gguf_notes(const char *path, void (*note)(void *opaque, const char *line),
			  void *opaque, struct zw_error *err)
{
	struct llm_model_config cfg = {0};
	struct llm_source *src;
	size_t wide = 0, first = 0;
	int ret = llm_source_new_gguf(path, &src, err);

	if (ret)
		return ret;
	ret = src->ops->config(src, &cfg, err);
	if (!ret)
		ret = src->ops->open(src, err);
	for (size_t i = 0; !ret && i < gguf_of(src)->num_views; i++) {
		if (gguf_of(src)->views[i].wide && !wide++)
			first = i;
	}
	if (wide) {
		struct llm_source_tensor t;
		struct zw_error line;

		src->ops->get(src, first, &t);
		llm_fail(&line, 0,
			 "%s: %zu tensors, %s the first, are F32 in device memory: their columns "
			 "have to change places, and not as whole records of %s",
			 path, wide, t.name, t.dtype_name);
		note(opaque, line.msg);
	}
	llm_source_close(src);
	return ret;
}
