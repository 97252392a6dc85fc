// SPDX-License-Identifier: MIT
/*
 * Safetensors: u64 header length, JSON header {name: {dtype, shape, data_offsets}}, data.
 * A checkpoint is one such file or several named by an index. Everything a file claims is checked
 * when it is opened; data is read with pread() straight into its destination.
 */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER_MAX  100000000ull /* limit of the format's own library */
#define INDEX_MAX   (64ull << 20)
#define SHARDS_MAX  4096
#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"
/* cJSON numbers are doubles: integers above 2^53 are not exact. No real file comes close. */
#define OFFSET_MAX  (1ull << 53)

struct tensor {
	char *name;
	uint64_t begin, end; /* in the data section */
	uint64_t shape[ZW_ST_MAX_DIMS];
	uint32_t ndim;
	uint32_t shard;
	const struct dtype_desc *dtype;
};

struct shard {
	char *name; /* inside the directory */
	char *path;
	uint64_t size;
	uint64_t data; /* file offset of the data section */
	int fd;
};

struct zw_safetensors {
	struct shard *shards;
	struct tensor *tensors; /* sorted by name after open */
	size_t num_shards, num_tensors, cap_tensors;
	uint64_t bytes;
};

static const struct dtype_desc {
	const char *name;
	uint8_t bits;
	uint8_t id;
} dtypes[] = {
	{"BF16", 16, ZW_ST_BF16},    {"F16", 16, ZW_ST_F16},      {"F32", 32, ZW_ST_F32},
	{"F64", 64, ZW_ST_OTHER},    {"BOOL", 8, ZW_ST_OTHER},    {"U8", 8, ZW_ST_OTHER},
	{"I8", 8, ZW_ST_OTHER},      {"U16", 16, ZW_ST_OTHER},    {"I16", 16, ZW_ST_OTHER},
	{"U32", 32, ZW_ST_OTHER},    {"I32", 32, ZW_ST_OTHER},    {"U64", 64, ZW_ST_OTHER},
	{"I64", 64, ZW_ST_OTHER},    {"C64", 64, ZW_ST_OTHER},    {"F8_E4M3", 8, ZW_ST_OTHER},
	{"F8_E5M2", 8, ZW_ST_OTHER}, {"F8_E8M0", 8, ZW_ST_OTHER}, {"F6_E2M3", 6, ZW_ST_OTHER},
	{"F6_E3M2", 6, ZW_ST_OTHER}, {"F4", 4, ZW_ST_OTHER},
};

static const struct dtype_desc *dtype_find(const char *name)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(dtypes); i++) {
		if (!strcmp(dtypes[i].name, name))
			return &dtypes[i];
	}
	return NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	if (x->end != y->end)
		return x->end < y->end ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int parse_shape(const struct shard *sh, const cJSON *entry, struct tensor *t,
		       uint64_t *nbytes, struct zw_error *err)
{
	const cJSON *shape = NULL, *dim;
	uint64_t bits = t->dtype->bits;
	bool empty = false;
	int ret;

	ret = zw_json_member(sh->path, entry, "shape", &shape, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(shape))
		return zw_fail(err, -EBADMSG, "%s: tensor %s: shape is not a list", sh->path,
			       t->name);
	cJSON_ArrayForEach(dim, shape)
	{
		uint64_t v;

		if (t->ndim == ZW_ST_MAX_DIMS)
			return zw_fail(err, -EOPNOTSUPP, "%s: tensor %s: more than %d dimensions",
				       sh->path, t->name, ZW_ST_MAX_DIMS);
		if (!zw_json_uint(dim, 0, OFFSET_MAX, &v))
			return zw_fail(err, -EBADMSG, "%s: tensor %s: dimension %u is not a size",
				       sh->path, t->name, t->ndim);
		t->shape[t->ndim++] = v;
		if (!v)
			empty = true;
	}
	/* A zero anywhere makes the product zero whatever the others are. */
	for (uint32_t i = 0; i < t->ndim && !empty; i++) {
		if (__builtin_mul_overflow(bits, t->shape[i], &bits))
			return zw_fail(err, -EBADMSG, "%s: tensor %s: size overflows", sh->path,
				       t->name);
	}
	if (empty)
		bits = 0;
	if (bits % 8)
		return zw_fail(err, -EBADMSG, "%s: tensor %s: not a whole number of bytes",
			       sh->path, t->name);
	*nbytes = bits / 8;
	return 0;
}

static int parse_tensor(const struct shard *sh, uint64_t data_len, const cJSON *entry,
			struct tensor *t, struct zw_error *err)
{
	const cJSON *dtype = NULL, *offs = NULL, *it;
	uint64_t nbytes = 0, v[2];
	int ret, n = 0;

	if (!cJSON_IsObject(entry))
		return zw_fail(err, -EBADMSG, "%s: tensor %s: entry is not an object", sh->path,
			       t->name);
	cJSON_ArrayForEach(it, entry)
	{
		if (strcmp(it->string, "dtype") && strcmp(it->string, "shape") &&
		    strcmp(it->string, "data_offsets"))
			return zw_fail(err, -EBADMSG, "%s: tensor %s: unknown key \"%s\"", sh->path,
				       t->name, it->string);
	}
	ret = zw_json_member(sh->path, entry, "dtype", &dtype, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(dtype))
		return zw_fail(err, -EBADMSG, "%s: tensor %s: no dtype", sh->path, t->name);
	t->dtype = dtype_find(dtype->valuestring);
	if (!t->dtype)
		return zw_fail(err, -EBADMSG, "%s: tensor %s: unknown dtype \"%s\"", sh->path,
			       t->name, dtype->valuestring);
	ret = parse_shape(sh, entry, t, &nbytes, err);
	if (ret)
		return ret;
	ret = zw_json_member(sh->path, entry, "data_offsets", &offs, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(offs) || cJSON_GetArraySize(offs) != 2)
		return zw_fail(err, -EBADMSG, "%s: tensor %s: data_offsets is not a pair", sh->path,
			       t->name);
	cJSON_ArrayForEach(it, offs)
	{
		if (!zw_json_uint(it, 0, OFFSET_MAX, &v[n++]))
			return zw_fail(err, -EBADMSG, "%s: tensor %s: data_offsets are not offsets",
				       sh->path, t->name);
	}
	if (v[0] > v[1])
		return zw_fail(err, -EBADMSG, "%s: tensor %s: data_offsets run backwards", sh->path,
			       t->name);
	if (v[1] > data_len)
		return zw_fail(err, -EBADMSG,
			       "%s: tensor %s: ends at byte %llu of %llu: file is truncated",
			       sh->path, t->name, (unsigned long long)v[1],
			       (unsigned long long)data_len);
	if (v[1] - v[0] != nbytes)
		return zw_fail(err, -EBADMSG,
			       "%s: tensor %s: shape needs %llu bytes, data_offsets give %llu",
			       sh->path, t->name, (unsigned long long)nbytes,
			       (unsigned long long)(v[1] - v[0]));
	t->begin = v[0];
	t->end = v[1];
	return 0;
}

/* Ranges of one file (tensors from `first` on) must tile its data section; sorts them by offset. */
static int check_ranges(struct zw_safetensors *st, size_t first, const struct shard *sh,
			uint64_t data_len, struct zw_error *err)
{
	size_t n = st->num_tensors - first;
	struct tensor *t = n ? st->tensors + first : NULL;
	uint64_t at = 0;

	if (n)
		qsort(t, n, sizeof(*t), by_offset);
	for (size_t i = 0; i < n; i++) {
		if (t[i].begin < at)
			return zw_fail(err, -EBADMSG, "%s: tensor %s overlaps tensor %s", sh->path,
				       t[i].name, t[i - 1].name);
		if (t[i].begin > at)
			return zw_fail(err, -EBADMSG,
				       "%s: tensor %s: hole of %llu bytes in front of it", sh->path,
				       t[i].name, (unsigned long long)(t[i].begin - at));
		at = t[i].end;
	}
	if (at != data_len)
		return zw_fail(err, -EBADMSG, "%s: %llu bytes behind the last tensor", sh->path,
			       (unsigned long long)(data_len - at));
	return 0;
}

static int parse_header(struct zw_safetensors *st, uint32_t shard, const cJSON *root,
			struct zw_error *err)
{
	struct shard *sh = &st->shards[shard];
	uint64_t data_len = sh->size - sh->data;
	size_t first = st->num_tensors;
	const cJSON *it;

	if (!cJSON_IsObject(root))
		return zw_fail(err, -EBADMSG, "%s: header is not an object", sh->path);
	cJSON_ArrayForEach(it, root)
	{
		struct tensor *t;
		int ret;

		if (!strcmp(it->string, "__metadata__"))
			continue;
		if (st->num_tensors == st->cap_tensors) {
			size_t cap = st->cap_tensors ? st->cap_tensors * 2 : 256;

			t = realloc(st->tensors, cap * sizeof(*t));
			if (!t)
				return zw_fail(err, -ENOMEM, "%s: out of memory", sh->path);
			st->tensors = t;
			st->cap_tensors = cap;
		}
		t = &st->tensors[st->num_tensors];
		memset(t, 0, sizeof(*t));
		t->shard = shard;
		t->name = strdup(it->string);
		if (!t->name)
			return zw_fail(err, -ENOMEM, "%s: out of memory", sh->path);
		st->num_tensors++;
		ret = parse_tensor(sh, data_len, it, t, err);
		if (ret)
			return ret;
		st->bytes += t->end - t->begin;
	}
	return check_ranges(st, first, sh, data_len, err);
}

static int open_shard(struct zw_safetensors *st, uint32_t shard, const char *dir,
		      struct zw_error *err)
{
	struct shard *sh = &st->shards[shard];
	uint8_t raw[8];
	uint64_t len = 0;
	cJSON *root = NULL;
	char *text;
	int ret;

	sh->path = zw_path_join(dir, sh->name);
	if (!sh->path)
		return zw_fail(err, -ENOMEM, "%s: out of memory", sh->name);
	ret = zw_file_open(sh->path, &sh->size, err);
	if (ret < 0)
		return ret;
	sh->fd = ret;
	if (sh->size < 8)
		return zw_fail(err, -EBADMSG, "%s: %llu bytes: file is truncated", sh->path,
			       (unsigned long long)sh->size);
	ret = zw_file_pread(sh->fd, sh->path, raw, 8, 0, err);
	if (ret)
		return ret;
	for (int i = 7; i >= 0; i--)
		len = len << 8 | raw[i];
	if (len > HEADER_MAX)
		return zw_fail(err, -EBADMSG,
			       "%s: header length %llu above the limit of %llu: not safetensors?",
			       sh->path, (unsigned long long)len, HEADER_MAX);
	if (len < 2 || len > sh->size - 8)
		return zw_fail(err, -EBADMSG,
			       "%s: header of %llu bytes in a file of %llu: file is truncated",
			       sh->path, (unsigned long long)len, (unsigned long long)sh->size);
	sh->data = 8 + len;
	text = malloc(len + 1);
	if (!text)
		return zw_fail(err, -ENOMEM, "%s: out of memory", sh->path);
	ret = zw_file_pread(sh->fd, sh->path, text, len, 8, err);
	text[len] = '\0';
	if (!ret && text[0] != '{')
		ret = zw_fail(err, -EBADMSG, "%s: header does not start with '{'", sh->path);
	if (!ret)
		ret = zw_json_parse(sh->path, text, len, &root, err);
	free(text);
	if (!ret)
		ret = parse_header(st, shard, root, err);
	cJSON_Delete(root);
	return ret;
}

/* Index entries become paths: only plain names of safetensors files are taken. */
static bool shard_name_ok(const char *name)
{
	size_t len = strlen(name);

	return len > 12 && len < NAME_MAX && name[0] != '.' && !strchr(name, '/') &&
	       !strcmp(name + len - 12, ".safetensors");
}

static int cmp_str(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Collects the distinct file names of the index, in order of name. */
static int list_shards(struct zw_safetensors *st, const char *path, const cJSON *map,
		       struct zw_error *err)
{
	const char **names;
	const cJSON *it;
	size_t n = 0, uniq = 0;
	int ret = 0;

	n = (size_t)cJSON_GetArraySize(map);
	names = calloc(n ? n : 1, sizeof(*names));
	if (!names)
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	n = 0;
	cJSON_ArrayForEach(it, map)
	{
		if (!cJSON_IsString(it) || !shard_name_ok(it->valuestring)) {
			ret = zw_fail(err, -EBADMSG,
				      "%s: tensor %s: \"%s\" is not the name of a safetensors file",
				      path, it->string,
				      cJSON_IsString(it) ? it->valuestring : "(no string)");
			goto out;
		}
		names[n++] = it->valuestring;
	}
	qsort(names, n, sizeof(*names), cmp_str);
	for (size_t i = 0; i < n; i++) {
		if (!i || strcmp(names[i], names[uniq - 1]))
			names[uniq++] = names[i];
	}
	if (!uniq || uniq > SHARDS_MAX) {
		ret = zw_fail(err, -EBADMSG, "%s: weight_map names %zu files", path, uniq);
		goto out;
	}
	st->shards = calloc(uniq, sizeof(*st->shards));
	if (!st->shards) {
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	for (size_t i = 0; i < uniq; i++) {
		st->shards[i].fd = -1;
		st->shards[i].name = strdup(names[i]);
		st->num_shards++;
		if (!st->shards[i].name) {
			ret = zw_fail(err, -ENOMEM, "%s: out of memory", path);
			goto out;
		}
	}
out:
	free(names);
	return ret;
}

/* Tensors are sorted by name: duplicates are neighbours. */
static int check_duplicates(const struct zw_safetensors *st, struct zw_error *err)
{
	for (size_t i = 1; i < st->num_tensors; i++) {
		const struct tensor *a = &st->tensors[i - 1], *b = &st->tensors[i];

		if (!strcmp(a->name, b->name))
			return zw_fail(err, -EBADMSG, "%s: tensor %s appears twice (also in %s)",
				       st->shards[b->shard].path, b->name,
				       st->shards[a->shard].name);
	}
	return 0;
}

static int check_index(const struct zw_safetensors *st, const char *path, const cJSON *map,
		       struct zw_error *err)
{
	uint8_t *seen = calloc(st->num_tensors ? st->num_tensors : 1, 1);
	const cJSON *it;
	int ret = 0;

	if (!seen)
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	cJSON_ArrayForEach(it, map)
	{
		long i = zw_safetensors_find(st, it->string);

		if (i < 0 || strcmp(st->shards[st->tensors[i].shard].name, it->valuestring)) {
			ret = zw_fail(err, -EBADMSG, "%s: tensor %s is not in %s", path, it->string,
				      it->valuestring);
			goto out;
		}
		if (seen[i]++) {
			ret = zw_fail(err, -EBADMSG, "%s: tensor %s appears twice", path,
				      it->string);
			goto out;
		}
	}
	for (size_t i = 0; i < st->num_tensors; i++) {
		if (!seen[i]) {
			ret = zw_fail(err, -EBADMSG, "%s: tensor %s is not in the index",
				      st->shards[st->tensors[i].shard].path, st->tensors[i].name);
			break;
		}
	}
out:
	free(seen);
	return ret;
}

static int open_all(struct zw_safetensors *st, const char *dir, const char *index,
		    struct zw_error *err)
{
	const cJSON *map = NULL;
	cJSON *root = NULL;
	int ret = 0;

	if (access(index, F_OK) == 0) {
		ret = zw_json_load(index, INDEX_MAX, &root, err);
		if (!ret)
			ret = zw_json_member(index, root, "weight_map", &map, err);
		if (!ret && !cJSON_IsObject(map))
			ret = zw_fail(err, -EBADMSG, "%s: no weight_map", index);
		if (!ret)
			ret = list_shards(st, index, map, err);
	} else {
		st->shards = calloc(1, sizeof(*st->shards));
		if (!st->shards)
			return zw_fail(err, -ENOMEM, "%s: out of memory", dir);
		st->num_shards = 1;
		st->shards[0].fd = -1;
		st->shards[0].name = strdup(SINGLE_NAME);
		if (!st->shards[0].name)
			ret = zw_fail(err, -ENOMEM, "%s: out of memory", dir);
	}
	for (size_t i = 0; i < st->num_shards && !ret; i++)
		ret = open_shard(st, (uint32_t)i, dir, err);
	if (!ret) {
		if (st->num_tensors)
			qsort(st->tensors, st->num_tensors, sizeof(*st->tensors), by_name);
		ret = check_duplicates(st, err);
	}
	if (!ret && map)
		ret = check_index(st, index, map, err);
	cJSON_Delete(root);
	return ret;
}

int zw_safetensors_open(const char *dir, struct zw_safetensors **out, struct zw_error *err)
{
	struct zw_safetensors *st;
	char *index;
	int ret;

	if (!dir || !out)
		return zw_fail(err, -EINVAL, "zw_safetensors_open: NULL argument");
	st = calloc(1, sizeof(*st));
	index = zw_path_join(dir, INDEX_NAME);
	if (!st || !index)
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", dir);
	else
		ret = open_all(st, dir, index, err);
	free(index);
	if (ret) {
		zw_safetensors_close(st);
		return ret;
	}
	*out = st;
	return 0;
}

void zw_safetensors_close(struct zw_safetensors *st)
{
	if (!st)
		return;
	for (size_t i = 0; i < st->num_tensors; i++)
		free(st->tensors[i].name);
	for (size_t i = 0; i < st->num_shards; i++) {
		if (st->shards[i].fd >= 0)
			close(st->shards[i].fd);
		free(st->shards[i].path);
		free(st->shards[i].name);
	}
	free(st->tensors);
	free(st->shards);
	free(st);
}

size_t zw_safetensors_count(const struct zw_safetensors *st)
{
	return st->num_tensors;
}

uint64_t zw_safetensors_bytes(const struct zw_safetensors *st)
{
	return st->bytes;
}

int zw_safetensors_get(const struct zw_safetensors *st, size_t i, struct zw_st_info *info)
{
	struct zw_st_info full = {.size = info->size};
	const struct tensor *t;

	if (info->size < offsetof(struct zw_st_info, name))
		return -EINVAL;
	if (i >= st->num_tensors)
		return -ERANGE;
	t = &st->tensors[i];
	full.dtype = t->dtype->id;
	full.name = t->name;
	full.file = st->shards[t->shard].name;
	full.dtype_name = t->dtype->name;
	full.ndim = t->ndim;
	memcpy(full.shape, t->shape, sizeof(full.shape));
	full.nbytes = t->end - t->begin;
	zw_copy_sized(info, info->size, &full, sizeof(full));
	return 0;
}

long zw_safetensors_find(const struct zw_safetensors *st, const char *name)
{
	struct tensor key = {.name = (char *)name};
	const struct tensor *t;

	if (!st->num_tensors)
		return -ENOENT;
	t = bsearch(&key, st->tensors, st->num_tensors, sizeof(key), by_name);
	return t ? (long)(t - st->tensors) : -ENOENT;
}

int zw_safetensors_read(const struct zw_safetensors *st, size_t i, uint64_t off, void *dst,
			uint64_t len, struct zw_error *err)
{
	const struct tensor *t;
	const struct shard *sh;
	uint64_t nbytes;

	if (i >= st->num_tensors)
		return zw_fail(err, -ERANGE, "no tensor %zu", i);
	t = &st->tensors[i];
	sh = &st->shards[t->shard];
	nbytes = t->end - t->begin;
	if (off > nbytes || len > nbytes - off)
		return zw_fail(err, -ERANGE, "%s: tensor %s: read outside of it", sh->path,
			       t->name);
	return zw_file_pread(sh->fd, sh->path, dst, len, sh->data + t->begin + off, err);
}

static void format_shape(char *buf, size_t size, const uint64_t *shape, uint32_t ndim)
{
	size_t at = 0;

	buf[0] = '\0';
	for (uint32_t i = 0; i < ndim && at < size; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%llu", i ? "," : "",
				       (unsigned long long)shape[i]);
}

static int match_one(const struct zw_safetensors *st, const struct zw_st_want *want, long i,
		     struct zw_error *err)
{
	const struct tensor *t = &st->tensors[i];
	const char *path = st->shards[t->shard].path;
	char is[80], should[80];

	if (t->ndim != want->ndim || memcmp(t->shape, want->shape, t->ndim * sizeof(t->shape[0]))) {
		format_shape(is, sizeof(is), t->shape, t->ndim);
		format_shape(should, sizeof(should), want->shape, want->ndim);
		return zw_fail(err, -EBADMSG, "%s: tensor %s: shape [%s], config.json needs [%s]",
			       path, t->name, is, should);
	}
	if (t->dtype->id == ZW_ST_OTHER)
		return zw_fail(err, -EOPNOTSUPP, "%s: tensor %s: dtype %s is not supported yet",
			       path, t->name, t->dtype->name);
	return 0;
}

int zw_safetensors_match(const struct zw_safetensors *st, const struct zw_st_want *want, size_t n,
			 struct zw_error *err)
{
	uint8_t *seen = calloc(st->num_tensors ? st->num_tensors : 1, 1);
	int ret = 0;

	if (!seen)
		return zw_fail(err, -ENOMEM, "out of memory");
	for (size_t w = 0; w < n && !ret; w++) {
		long i;

		if (want[w].ndim > ZW_ST_MAX_DIMS) {
			ret = zw_fail(err, -EINVAL, "tensor %s: too many dimensions wanted",
				      want[w].name);
			break;
		}
		i = zw_safetensors_find(st, want[w].name);
		if (i >= 0) {
			seen[i] = 1;
			ret = match_one(st, &want[w], i, err);
		} else if (!want[w].optional) {
			ret = zw_fail(err, -EBADMSG, "%s: tensor %s is missing", st->shards[0].path,
				      want[w].name);
		}
	}
	for (size_t i = 0; i < st->num_tensors && !ret; i++) {
		if (!seen[i])
			ret = zw_fail(err, -EBADMSG, "%s: tensor %s does not belong to this model",
				      st->shards[st->tensors[i].shard].path, st->tensors[i].name);
	}
	free(seen);
	return ret;
}
