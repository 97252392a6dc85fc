// SPDX-License-Identifier: MIT
/* A checkpoint against the tensors that a model needs. */
#include "safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	const struct st_tensor *t = &st->tensors[i];
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
