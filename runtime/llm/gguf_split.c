// SPDX-License-Identifier: MIT
/*
 * Models in several GGUF files, NAME-00001-of-00003.gguf and so on: the first one has the metadata, each says
 * which of how many it is (split.no from 0, split.count).
 */
#include "gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX  999
#define SUFFIX_LEN 20 /* "-00001-of-00003.gguf" */

static void make_suffix(char suffix[48], uint64_t no, uint64_t count)
{
	snprintf(suffix, 48, "-%05u-of-%05u.gguf", (unsigned int)(no + 1), (unsigned int)count);
}

/* Which of how many files g is; it is one of one when it does not say. */
static int get_split(const struct zw_gguf *g, uint64_t *no, uint64_t *count, struct zw_error *err)
{
	int ret;

	*no = 0;
	*count = 1;
	ret = gguf_get_uint(g, "split.no", 0, FILES_MAX, no, err);
	/* 0: some writers say so of a single file. */
	if (!ret)
		ret = gguf_get_uint(g, "split.count", 0, FILES_MAX, count, err);
	if (!*count)
		*count = 1;
	if (!ret && *no >= *count)
		ret = llm_fail(err, -EBADMSG, "%s: split.no is %llu, split.count is %llu", g->path,
			       (unsigned long long)*no, (unsigned long long)*count);
	return ret;
}

/* Takes the tensors of h, which is file `no`, and its descriptor over. */
static int take(struct zw_gguf *g, struct zw_gguf *h, uint32_t no, struct zw_error *err)
{
	size_t n = g->num_tensors + h->num_tensors;
	struct gguf_tensor *tensors = realloc(g->tensors, (n ? n : 1) * sizeof(*tensors));

	if (!tensors)
		return llm_fail(err, -ENOMEM, "%s: out of memory", h->path);
	g->tensors = tensors;
	for (size_t i = 0; i < h->num_tensors; i++) {
		h->tensors[i].file = no;
		tensors[g->num_tensors++] = h->tensors[i];
	}
	h->num_tensors = 0;
	g->files[no] = h->files[0];
	g->num_files = no + 1;
	h->num_files = 0;
	return 0;
}

static int open_next(struct zw_gguf *g, const char *path, uint64_t no, uint64_t count,
		     struct zw_error *err)
{
	uint64_t is_no, is_count;
	struct zw_gguf *h;
	int ret = gguf_open_one(path, &h, err);

	if (ret)
		return ret;
	ret = get_split(h, &is_no, &is_count, err);
	if (!ret && (is_no != no || is_count != count))
		ret = llm_fail(
			err, -EBADMSG,
			"%s: says that it is file %llu of %llu, and is named as %llu of %llu", path,
			(unsigned long long)is_no + 1, (unsigned long long)is_count,
			(unsigned long long)no + 1, (unsigned long long)count);
	if (!ret)
		ret = take(g, h, (uint32_t)no, err);
	zw_gguf_close(h);
	return ret;
}

/* What the first file says of all; UINT64_MAX: nothing. */
static int check_total(const struct zw_gguf *g, uint64_t tensors, uint64_t files,
		       struct zw_error *err)
{
	if (tensors == UINT64_MAX || tensors == g->num_tensors)
		return 0;
	return llm_fail(err, -EBADMSG, "%s: split.tensors.count is %llu, the %llu files have %zu",
			g->path, (unsigned long long)tensors, (unsigned long long)files,
			g->num_tensors);
}

int gguf_open_rest(struct zw_gguf *g, struct zw_error *err)
{
	uint64_t no, count, tensors = UINT64_MAX;
	char suffix[48], *path;
	struct gguf_file *files;
	size_t len = strlen(g->path);
	int ret = get_split(g, &no, &count, err);

	if (!ret)
		ret = gguf_get_uint(g, "split.tensors.count", 0, UINT32_MAX, &tensors, err);
	if (ret)
		return ret;
	if (count == 1)
		return check_total(g, tensors, count, err);
	if (no)
		return llm_fail(err, -EINVAL, "%s: file %llu of %llu: the first one is needed",
				g->path, (unsigned long long)no + 1, (unsigned long long)count);
	make_suffix(suffix, 0, count);
	if (len < SUFFIX_LEN || strcmp(g->path + len - SUFFIX_LEN, suffix))
		return llm_fail(err, -EBADMSG,
				"%s: the first of %llu files, but its name does not end in %s",
				g->path, (unsigned long long)count, suffix);
	files = realloc(g->files, count * sizeof(*files));
	path = strdup(g->path);
	if (files)
		g->files = files;
	if (!files || !path)
		ret = llm_fail(err, -ENOMEM, "%s: out of memory", g->path);
	for (no = 1; no < count && !ret; no++) {
		make_suffix(suffix, no, count);
		memcpy(path + len - SUFFIX_LEN, suffix, SUFFIX_LEN);
		ret = open_next(g, path, no, count, err);
	}
	free(path);
	return ret ? ret : check_total(g, tensors, count, err);
}
