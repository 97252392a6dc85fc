// SPDX-License-Identifier: MIT
/* The index of a checkpoint in several files: {"weight_map": {tensor: file}}. */
#include "safetensors.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 4096

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

int st_list_shards(struct zw_safetensors *st, const char *path, const cJSON *map,
		   struct zw_error *err)
{
	const char **names;
	const cJSON *it;
	size_t n = 0, uniq = 0;
	int ret = 0;

	n = (size_t)cJSON_GetArraySize(map);
	names = calloc(n ? n : 1, sizeof(*names));
	if (!names)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	n = 0;
	cJSON_ArrayForEach(it, map)
	{
		if (!cJSON_IsString(it) || !shard_name_ok(it->valuestring)) {
			ret = llm_fail(
				err, -EBADMSG,
				"%s: tensor %s: \"%s\" is not the name of a safetensors file", path,
				it->string, cJSON_IsString(it) ? it->valuestring : "(no string)");
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
		ret = llm_fail(err, -EBADMSG, "%s: weight_map names %zu files", path, uniq);
		goto out;
	}
	st->shards = calloc(uniq, sizeof(*st->shards));
	if (!st->shards) {
		ret = llm_fail(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	for (size_t i = 0; i < uniq; i++) {
		st->shards[i].fd = -1;
		st->shards[i].name = strdup(names[i]);
		st->num_shards++;
		if (!st->shards[i].name) {
			ret = llm_fail(err, -ENOMEM, "%s: out of memory", path);
			goto out;
		}
	}
out:
	free(names);
	return ret;
}

int st_check_index(const struct zw_safetensors *st, const char *path, const cJSON *map,
		   struct zw_error *err)
{
	uint8_t *seen = calloc(st->num_tensors ? st->num_tensors : 1, 1);
	const cJSON *it;
	int ret = 0;

	if (!seen)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	cJSON_ArrayForEach(it, map)
	{
		long i = zw_safetensors_find(st, it->string);

		if (i < 0 || strcmp(st->shards[st->tensors[i].shard].name, it->valuestring)) {
			ret = llm_fail(err, -EBADMSG, "%s: tensor %s is not in %s", path,
				       it->string, it->valuestring);
			goto out;
		}
		if (seen[i]++) {
			ret = llm_fail(err, -EBADMSG, "%s: tensor %s appears twice", path,
				       it->string);
			goto out;
		}
	}
	for (size_t i = 0; i < st->num_tensors; i++) {
		if (!seen[i]) {
			ret = llm_fail(err, -EBADMSG, "%s: tensor %s is not in the index",
				       st->shards[st->tensors[i].shard].path, st->tensors[i].name);
			break;
		}
	}
out:
	free(seen);
	return ret;
}
