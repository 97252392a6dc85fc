// SPDX-License-Identifier: MIT
/*
 * A checkpoint is one safetensors file or several named by an index. Everything a file claims is
 * checked when it is opened; data is read with pread() straight into its destination.
 */
#include "safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX_MAX   (64ull << 20)
#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

int st_sort(struct zw_safetensors *st, struct zw_error *err)
{
	if (st->num_tensors)
		qsort(st->tensors, st->num_tensors, sizeof(*st->tensors), by_name);
	for (size_t i = 1; i < st->num_tensors; i++) {
		const struct st_tensor *a = &st->tensors[i - 1], *b = &st->tensors[i];

		if (!strcmp(a->name, b->name))
			return llm_fail(err, -EBADMSG, "%s: tensor %s appears twice (also in %s)",
					st->shards[b->shard].path, b->name,
					st->shards[a->shard].name);
	}
	return 0;
}

static bool has_prefix(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

int st_add_prefix(struct zw_safetensors *st, const char *prefix, struct zw_error *err)
{
	for (size_t i = 0; i < st->num_tensors; i++) {
		if (has_prefix(st->tensors[i].name, prefix))
			return 0;
	}
	for (size_t i = 0; i < st->num_tensors; i++) {
		char *name;

		if (has_prefix(st->tensors[i].name, "lm_head.") ||
		    has_prefix(st->tensors[i].name, "mtp."))
			continue;
		if (asprintf(&name, "%s%s", prefix, st->tensors[i].name) < 0)
			return llm_fail(err, -ENOMEM, "out of memory");
		free(st->tensors[i].name);
		st->tensors[i].name = name;
	}
	return st_sort(st, err);
}

static int one_shard(struct zw_safetensors *st, const char *dir, struct zw_error *err)
{
	st->shards = calloc(1, sizeof(*st->shards));
	if (!st->shards)
		return llm_fail(err, -ENOMEM, "%s: out of memory", dir);
	st->num_shards = 1;
	st->shards[0].fd = -1;
	st->shards[0].name = strdup(SINGLE_NAME);
	return st->shards[0].name ? 0 : llm_fail(err, -ENOMEM, "%s: out of memory", dir);
}

static int load_index(struct zw_safetensors *st, const char *index, cJSON **root, const cJSON **map,
		      struct zw_error *err)
{
	int ret = llm_json_load(index, INDEX_MAX, root, err);

	if (!ret)
		ret = llm_json_member(index, *root, "weight_map", map, err);
	if (!ret && !cJSON_IsObject(*map))
		ret = llm_fail(err, -EBADMSG, "%s: no weight_map", index);
	if (!ret)
		ret = st_list_shards(st, index, *map, err);
	return ret;
}

/*
 * An index beside a single file is what is left of another save: one of the two is old, and which
 * one cannot be told. An index that names the single file itself is fine.
 */
static int check_leftover(const struct zw_safetensors *st, const char *single, const char *index,
			  struct zw_error *err)
{
	if (access(single, F_OK))
		return 0;
	for (size_t i = 0; i < st->num_shards; i++) {
		if (!strcmp(st->shards[i].name, SINGLE_NAME))
			return 0;
	}
	return llm_fail(err, -EBADMSG,
			"%s: names other files, but " SINGLE_NAME
			" is there too: one of the two is a leftover, remove it",
			index);
}

/* A shard that is gone is the index's fault: the name comes from there. */
static int check_shards_exist(const struct zw_safetensors *st, const char *dir, const char *index,
			      struct zw_error *err)
{
	for (size_t i = 0; i < st->num_shards; i++) {
		char *path = llm_path_join(dir, st->shards[i].name);
		int gone;

		if (!path)
			return llm_fail(err, -ENOMEM, "%s: out of memory", dir);
		gone = access(path, F_OK) ? errno : 0;
		free(path);
		if (gone)
			return llm_fail(err, -gone, "%s: names %s: %s", index, st->shards[i].name,
					strerror(gone));
	}
	return 0;
}

static int open_all(struct zw_safetensors *st, const char *dir, const char *single,
		    const char *index, struct zw_error *err)
{
	const cJSON *map = NULL;
	cJSON *root = NULL;
	int ret;

	if (access(index, F_OK) == 0) {
		ret = load_index(st, index, &root, &map, err);
		if (!ret)
			ret = check_leftover(st, single, index, err);
		if (!ret)
			ret = check_shards_exist(st, dir, index, err);
	} else {
		ret = one_shard(st, dir, err);
	}
	for (size_t i = 0; i < st->num_shards && !ret; i++)
		ret = st_open_shard(st, (uint32_t)i, dir, err);
	if (!ret)
		ret = st_sort(st, err);
	if (!ret && map)
		ret = st_check_index(st, index, map, err);
	cJSON_Delete(root);
	return ret;
}

int zw_safetensors_open(const char *dir, struct zw_safetensors **out, struct zw_error *err)
{
	struct zw_safetensors *st;
	char *single, *index;
	int ret;

	if (!dir || !out)
		return llm_fail(err, -EINVAL, "zw_safetensors_open: NULL argument");
	st = calloc(1, sizeof(*st));
	single = llm_path_join(dir, SINGLE_NAME);
	index = llm_path_join(dir, INDEX_NAME);
	if (!st || !single || !index)
		ret = llm_fail(err, -ENOMEM, "%s: out of memory", dir);
	else
		ret = open_all(st, dir, single, index, err);
	free(single);
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

int zw_safetensors_get(const struct zw_safetensors *st, size_t i, struct zw_safetensors_info *info)
{
	struct zw_safetensors_info full = {0};
	const struct st_tensor *t;

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
	return sized_out(info, SIZED_V0(struct zw_safetensors_info, dtype_name), &full,
			 sizeof(full));
}

long zw_safetensors_find(const struct zw_safetensors *st, const char *name)
{
	struct st_tensor key = {.name = (char *)name};
	const struct st_tensor *t;

	if (!st->num_tensors)
		return -ENOENT;
	t = bsearch(&key, st->tensors, st->num_tensors, sizeof(key), by_name);
	return t ? (long)(t - st->tensors) : -ENOENT;
}

int zw_safetensors_read(const struct zw_safetensors *st, size_t i, uint64_t off, void *dst,
			uint64_t len, struct zw_error *err)
{
	const struct st_tensor *t;
	const struct st_shard *sh;
	uint64_t nbytes;

	if (i >= st->num_tensors)
		return llm_fail(err, -ERANGE, "no tensor %zu", i);
	t = &st->tensors[i];
	sh = &st->shards[t->shard];
	nbytes = t->end - t->begin;
	if (off > nbytes || len > nbytes - off)
		return llm_fail(err, -ERANGE, "%s: tensor %s: read outside of it", sh->path,
				t->name);
	return llm_file_pread(sh->fd, sh->path, dst, len, sh->data + t->begin + off, err);
}
