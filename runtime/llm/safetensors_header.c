// SPDX-License-Identifier: MIT
/* One safetensors file: u64 header length, JSON header {name: {dtype, shape, data_offsets}}, data. */
#include "safetensors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 100000000ull /* limit of the format's own library */

static const struct st_dtype dtypes[] = {
	{"BF16", 16, ZW_SAFETENSORS_BF16},    {"F16", 16, ZW_SAFETENSORS_F16},
	{"F32", 32, ZW_SAFETENSORS_F32},      {"F64", 64, ZW_SAFETENSORS_OTHER},
	{"BOOL", 8, ZW_SAFETENSORS_OTHER},    {"U8", 8, ZW_SAFETENSORS_OTHER},
	{"I8", 8, ZW_SAFETENSORS_OTHER},      {"U16", 16, ZW_SAFETENSORS_OTHER},
	{"I16", 16, ZW_SAFETENSORS_OTHER},    {"U32", 32, ZW_SAFETENSORS_OTHER},
	{"I32", 32, ZW_SAFETENSORS_OTHER},    {"U64", 64, ZW_SAFETENSORS_OTHER},
	{"I64", 64, ZW_SAFETENSORS_OTHER},    {"C64", 64, ZW_SAFETENSORS_OTHER},
	{"F8_E4M3", 8, ZW_SAFETENSORS_OTHER}, {"F8_E5M2", 8, ZW_SAFETENSORS_OTHER},
	{"F8_E8M0", 8, ZW_SAFETENSORS_OTHER}, {"F6_E2M3", 6, ZW_SAFETENSORS_OTHER},
	{"F6_E3M2", 6, ZW_SAFETENSORS_OTHER}, {"F4", 4, ZW_SAFETENSORS_OTHER},
};

static const struct st_dtype *dtype_find(const char *name)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(dtypes); i++) {
		if (!strcmp(dtypes[i].name, name))
			return &dtypes[i];
	}
	return NULL;
}

static int by_offset(const void *a, const void *b)
{
	const struct st_tensor *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	if (x->end != y->end)
		return x->end < y->end ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int parse_shape(const struct st_shard *sh, const cJSON *entry, struct st_tensor *t,
		       uint64_t *nbytes, struct zw_error *err)
{
	const cJSON *shape = NULL, *dim;
	uint64_t bits = t->dtype->bits;
	bool empty = false;
	int ret;

	ret = llm_json_member(sh->path, entry, "shape", &shape, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(shape))
		return llm_fail(err, -EBADMSG, "%s: tensor %s: shape is not a list", sh->path,
				t->name);
	cJSON_ArrayForEach(dim, shape)
	{
		uint64_t v;

		if (t->ndim == ZW_SAFETENSORS_MAX_DIMS)
			return llm_fail(err, -EOPNOTSUPP, "%s: tensor %s: more than %d dimensions",
					sh->path, t->name, ZW_SAFETENSORS_MAX_DIMS);
		if (!llm_json_uint(dim, 0, ST_OFFSET_MAX, &v))
			return llm_fail(err, -EBADMSG, "%s: tensor %s: dimension %u is not a size",
					sh->path, t->name, t->ndim);
		t->shape[t->ndim++] = v;
		if (!v)
			empty = true;
	}
	/* A zero anywhere makes the product zero whatever the others are. */
	for (uint32_t i = 0; i < t->ndim && !empty; i++) {
		if (__builtin_mul_overflow(bits, t->shape[i], &bits))
			return llm_fail(err, -EBADMSG, "%s: tensor %s: size overflows", sh->path,
					t->name);
	}
	if (empty)
		bits = 0;
	if (bits % 8)
		return llm_fail(err, -EBADMSG, "%s: tensor %s: not a whole number of bytes",
				sh->path, t->name);
	*nbytes = bits / 8;
	return 0;
}

static int parse_tensor(const struct st_shard *sh, uint64_t data_len, const cJSON *entry,
			struct st_tensor *t, struct zw_error *err)
{
	const cJSON *dtype = NULL, *offs = NULL, *it;
	uint64_t nbytes = 0, v[2];
	int ret, n = 0;

	if (!cJSON_IsObject(entry))
		return llm_fail(err, -EBADMSG, "%s: tensor %s: entry is not an object", sh->path,
				t->name);
	cJSON_ArrayForEach(it, entry)
	{
		if (strcmp(it->string, "dtype") && strcmp(it->string, "shape") &&
		    strcmp(it->string, "data_offsets"))
			return llm_fail(err, -EBADMSG, "%s: tensor %s: unknown key \"%s\"",
					sh->path, t->name, it->string);
	}
	ret = llm_json_member(sh->path, entry, "dtype", &dtype, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(dtype))
		return llm_fail(err, -EBADMSG, "%s: tensor %s: no dtype", sh->path, t->name);
	t->dtype = dtype_find(dtype->valuestring);
	if (!t->dtype)
		return llm_fail(err, -EBADMSG, "%s: tensor %s: unknown dtype \"%s\"", sh->path,
				t->name, dtype->valuestring);
	ret = parse_shape(sh, entry, t, &nbytes, err);
	if (ret)
		return ret;
	ret = llm_json_member(sh->path, entry, "data_offsets", &offs, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(offs) || cJSON_GetArraySize(offs) != 2)
		return llm_fail(err, -EBADMSG, "%s: tensor %s: data_offsets is not a pair",
				sh->path, t->name);
	cJSON_ArrayForEach(it, offs)
	{
		if (!llm_json_uint(it, 0, ST_OFFSET_MAX, &v[n++]))
			return llm_fail(err, -EBADMSG,
					"%s: tensor %s: data_offsets are not offsets", sh->path,
					t->name);
	}
	if (v[0] > v[1])
		return llm_fail(err, -EBADMSG, "%s: tensor %s: data_offsets run backwards",
				sh->path, t->name);
	if (v[1] > data_len)
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: ends at byte %llu of %llu: file is truncated",
				sh->path, t->name, (unsigned long long)v[1],
				(unsigned long long)data_len);
	if (v[1] - v[0] != nbytes)
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: shape needs %llu bytes, data_offsets give %llu",
				sh->path, t->name, (unsigned long long)nbytes,
				(unsigned long long)(v[1] - v[0]));
	t->begin = v[0];
	t->end = v[1];
	return 0;
}

/* Ranges of one file (tensors from `first` on) must tile its data section; sorts them by offset. */
static int check_ranges(struct zw_safetensors *st, size_t first, const struct st_shard *sh,
			uint64_t data_len, struct zw_error *err)
{
	size_t n = st->num_tensors - first;
	struct st_tensor *t = n ? st->tensors + first : NULL;
	uint64_t at = 0;

	if (n)
		qsort(t, n, sizeof(*t), by_offset);
	for (size_t i = 0; i < n; i++) {
		if (t[i].begin < at)
			return llm_fail(err, -EBADMSG, "%s: tensor %s overlaps tensor %s", sh->path,
					t[i].name, t[i - 1].name);
		if (t[i].begin > at)
			return llm_fail(err, -EBADMSG,
					"%s: tensor %s: hole of %llu bytes in front of it",
					sh->path, t[i].name, (unsigned long long)(t[i].begin - at));
		at = t[i].end;
	}
	if (at != data_len)
		return llm_fail(err, -EBADMSG, "%s: %llu bytes behind the last tensor", sh->path,
				(unsigned long long)(data_len - at));
	return 0;
}

static int parse_header(struct zw_safetensors *st, uint32_t shard, const cJSON *root,
			struct zw_error *err)
{
	struct st_shard *sh = &st->shards[shard];
	uint64_t data_len = sh->size - sh->data;
	size_t first = st->num_tensors;
	const cJSON *it;

	if (!cJSON_IsObject(root))
		return llm_fail(err, -EBADMSG, "%s: header is not an object", sh->path);
	cJSON_ArrayForEach(it, root)
	{
		struct st_tensor *t;
		int ret;

		if (!strcmp(it->string, "__metadata__"))
			continue;
		if (st->num_tensors == st->cap_tensors) {
			size_t cap = st->cap_tensors ? st->cap_tensors * 2 : 256;

			t = realloc(st->tensors, cap * sizeof(*t));
			if (!t)
				return llm_fail(err, -ENOMEM, "%s: out of memory", sh->path);
			st->tensors = t;
			st->cap_tensors = cap;
		}
		t = &st->tensors[st->num_tensors];
		memset(t, 0, sizeof(*t));
		t->shard = shard;
		t->name = strdup(it->string);
		if (!t->name)
			return llm_fail(err, -ENOMEM, "%s: out of memory", sh->path);
		st->num_tensors++;
		ret = parse_tensor(sh, data_len, it, t, err);
		if (ret)
			return ret;
		st->bytes += t->end - t->begin;
	}
	return check_ranges(st, first, sh, data_len, err);
}

int st_open_shard(struct zw_safetensors *st, uint32_t shard, const char *dir, struct zw_error *err)
{
	struct st_shard *sh = &st->shards[shard];
	uint8_t raw[8];
	uint64_t len = 0;
	cJSON *root = NULL;
	char *text;
	int ret;

	sh->path = llm_path_join(dir, sh->name);
	if (!sh->path)
		return llm_fail(err, -ENOMEM, "%s: out of memory", sh->name);
	ret = llm_file_open(sh->path, &sh->size, err);
	if (ret < 0)
		return ret;
	sh->fd = ret;
	if (sh->size < 8)
		return llm_fail(err, -EBADMSG, "%s: %llu bytes: file is truncated", sh->path,
				(unsigned long long)sh->size);
	ret = llm_file_pread(sh->fd, sh->path, raw, 8, 0, err);
	if (ret)
		return ret;
	for (int i = 7; i >= 0; i--)
		len = len << 8 | raw[i];
	if (len > HEADER_MAX)
		return llm_fail(err, -EBADMSG,
				"%s: header length %llu above the limit of %llu: not safetensors?",
				sh->path, (unsigned long long)len, HEADER_MAX);
	if (len < 2 || len > sh->size - 8)
		return llm_fail(err, -EBADMSG,
				"%s: header of %llu bytes in a file of %llu: file is truncated",
				sh->path, (unsigned long long)len, (unsigned long long)sh->size);
	sh->data = 8 + len;
	text = malloc(len + 1);
	if (!text)
		return llm_fail(err, -ENOMEM, "%s: out of memory", sh->path);
	ret = llm_file_pread(sh->fd, sh->path, text, len, 8, err);
	text[len] = '\0';
	if (!ret && text[0] != '{')
		ret = llm_fail(err, -EBADMSG, "%s: header does not start with '{'", sh->path);
	if (!ret)
		ret = llm_json_parse(sh->path, text, len, &root, err);
	free(text);
	if (!ret)
		ret = parse_header(st, shard, root, err);
	cJSON_Delete(root);
	return ret;
}
