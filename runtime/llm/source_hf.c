// SPDX-License-Identifier: MIT
/* A Hugging Face directory as a source: config.json and safetensors. */
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/zhenwu.h>

#include "safetensors.h"

struct hf {
	struct llm_source base;
	struct zw_safetensors *st;
};

static const struct hf *hf_of(const struct llm_source *s)
{
	return (const struct hf *)s;
}

static int hf_config(struct llm_source *s, struct llm_model_config *cfg, struct zw_error *err)
{
	return llm_model_config_load(s->path, cfg, err);
}

static int hf_open(struct llm_source *s, struct zw_error *err)
{
	struct hf *hf = (struct hf *)s;
	int ret = zw_safetensors_open(s->path, &hf->st, err);

	/* Some files leave the first part of every name out. */
	return ret ? ret : st_add_prefix(hf->st, "model.", err);
}

static size_t hf_count(const struct llm_source *s)
{
	return zw_safetensors_count(hf_of(s)->st);
}

static uint32_t dtype_of(const char *name)
{
	static const struct {
		const char *name;
		uint32_t dtype;
	} types[] = {
		{"BF16", ZW_DTYPE_BF16},      {"F16", ZW_DTYPE_F16},      {"F32", ZW_DTYPE_F32},
		{"F8_E4M3", ZW_DTYPE_F8E4M3}, {"F8_E8M0", ZW_DTYPE_E8M0}, {"I8", ZW_DTYPE_I8},
		{"U8", ZW_DTYPE_U8},          {"I32", ZW_DTYPE_I32},      {"I64", ZW_DTYPE_I64},
	};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(types); i++) {
		if (!strcmp(types[i].name, name))
			return types[i].dtype;
	}
	return ZW_DTYPE_NONE;
}

static void hf_get(const struct llm_source *s, size_t i, struct llm_source_tensor *t)
{
	struct zw_safetensors_info info = {.size = sizeof(info)};

	_Static_assert(ZW_SAFETENSORS_MAX_DIMS <= LLM_SOURCE_MAX_DIMS, "shapes fit");
	zw_safetensors_get(hf_of(s)->st, i, &info);
	*t = (struct llm_source_tensor){
		.name = info.name,
		.file = info.file,
		.dtype_name = info.dtype_name,
		.dtype = dtype_of(info.dtype_name),
		.ndim = info.ndim,
		.bytes = info.nbytes,
	};
	memcpy(t->dim, info.shape, sizeof(info.shape));
}

static long hf_find(const struct llm_source *s, const char *name)
{
	return zw_safetensors_find(hf_of(s)->st, name);
}

static int hf_read(const struct llm_source *s, size_t i, uint64_t off, void *dst, uint64_t len,
		   struct zw_error *err)
{
	return zw_safetensors_read(hf_of(s)->st, i, off, dst, len, err);
}

static bool hf_file(const struct llm_source *s, size_t i, uint64_t off, uint64_t len,
		    struct llm_source_file *file)
{
	const struct zw_safetensors *st = hf_of(s)->st;
	const struct st_tensor *t = &st->tensors[i];
	const struct st_shard *sh = &st->shards[t->shard];

	if (off > t->end - t->begin || len > t->end - t->begin - off)
		return false;
	*file = (struct llm_source_file){sh->fd, sh->path, sh->data + t->begin + off};
	return true;
}

static void hf_close(struct llm_source *s)
{
	struct hf *hf = (struct hf *)s;

	zw_safetensors_close(hf->st);
	free(hf->base.path);
	free(hf);
}

static const struct llm_source_ops hf_ops = {
	.config = hf_config,
	.open = hf_open,
	.count = hf_count,
	.get = hf_get,
	.find = hf_find,
	.read = hf_read,
	.file = hf_file,
	.close = hf_close,
};

int llm_source_new_hf(const char *path, struct llm_source **out, struct zw_error *err)
{
	struct hf *hf = calloc(1, sizeof(*hf));

	if (!hf)
		return llm_fail(err, -ENOMEM, "out of memory");
	hf->base.ops = &hf_ops;
	hf->base.path = strdup(path);
	if (!hf->base.path) {
		free(hf);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	*out = &hf->base;
	return 0;
}
