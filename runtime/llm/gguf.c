// SPDX-License-Identifier: MIT
/* A GGUF file: opening it, its tensors. Data is read with pread() straight into its destination. */
#include "gguf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct gguf_tensor *)a)->name, ((const struct gguf_tensor *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
	const struct gguf_tensor *x = a, *y = b;

	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* No two tensors of a file may share bytes. */
static int check_places(struct zw_gguf *g, struct zw_error *err)
{
	const struct gguf_tensor *t = g->tensors;

	if (g->num_tensors)
		qsort(g->tensors, g->num_tensors, sizeof(*g->tensors), by_offset);
	for (size_t i = 1; i < g->num_tensors; i++) {
		if (t[i].off < t[i - 1].off + t[i - 1].nbytes)
			return llm_fail(err, -EBADMSG, "%s: tensor %s overlaps tensor %s", g->path,
					t[i].name, t[i - 1].name);
	}
	return 0;
}

/* No two tensors may have one name. They are left in order of name. */
static int check_names(struct zw_gguf *g, struct zw_error *err)
{
	const struct gguf_tensor *t = g->tensors;

	if (g->num_tensors)
		qsort(g->tensors, g->num_tensors, sizeof(*g->tensors), by_name);
	for (size_t i = 0; i < g->num_tensors; i++) {
		if (i && !strcmp(t[i].name, t[i - 1].name))
			return llm_fail(err, -EBADMSG, "%s: tensor %s appears twice",
					g->files[t[i].file].path, t[i].name);
		g->bytes += t[i].nbytes;
	}
	return 0;
}

bool gguf_is_one(const char *path)
{
	char magic[4] = "";
	uint64_t size;
	int fd = llm_file_open(path, &size, NULL);

	if (fd < 0)
		return false;
	if (size >= sizeof(magic))
		llm_file_pread(fd, path, magic, sizeof(magic), 0, NULL);
	close(fd);
	return !memcmp(magic, "GGUF", sizeof(magic));
}

static int open_file(struct gguf_file *f, const char *path, struct zw_error *err)
{
	const char *slash = strrchr(path, '/');

	f->fd = -1;
	f->path = strdup(path);
	f->name = strdup(slash ? slash + 1 : path);
	if (!f->path || !f->name)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	f->fd = llm_file_open(path, &f->size, err);
	return f->fd < 0 ? f->fd : 0;
}

int gguf_open_one(const char *path, struct zw_gguf **out, struct zw_error *err)
{
	struct zw_gguf *g = calloc(1, sizeof(*g));
	int ret;

	if (g)
		g->files = calloc(1, sizeof(*g->files));
	if (!g || !g->files) {
		free(g);
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	g->num_files = 1;
	ret = open_file(&g->files[0], path, err);
	g->path = g->files[0].path;
	if (!ret)
		ret = gguf_read_header(g, err);
	if (!ret)
		ret = gguf_sort_values(g, err);
	if (!ret)
		ret = check_places(g, err);
	if (ret) {
		zw_gguf_close(g);
		return ret;
	}
	*out = g;
	return 0;
}

int zw_gguf_open(const char *path, struct zw_gguf **out, struct zw_error *err)
{
	struct zw_gguf *g;
	int ret;

	if (!path || !out)
		return llm_fail(err, -EINVAL, "zw_gguf_open: NULL argument");
	ret = gguf_open_one(path, &g, err);
	if (ret)
		return ret;
	ret = gguf_open_rest(g, err);
	if (!ret)
		ret = check_names(g, err);
	if (ret) {
		zw_gguf_close(g);
		return ret;
	}
	*out = g;
	return 0;
}

void zw_gguf_close(struct zw_gguf *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->num_values; i++)
		free(g->values[i].key);
	for (size_t i = 0; i < g->num_tensors; i++)
		free(g->tensors[i].name);
	for (uint32_t i = 0; i < g->num_files; i++) {
		if (g->files[i].fd >= 0)
			close(g->files[i].fd);
		free(g->files[i].path);
		free(g->files[i].name);
	}
	free(g->values);
	free(g->tensors);
	free(g->header);
	free(g->files);
	free(g);
}

size_t zw_gguf_count(const struct zw_gguf *g)
{
	return g->num_tensors;
}

uint64_t zw_gguf_bytes(const struct zw_gguf *g)
{
	return g->bytes;
}

int zw_gguf_get(const struct zw_gguf *g, size_t i, struct zw_gguf_info *info)
{
	const struct gguf_tensor *t;
	struct zw_gguf_info full = {0};

	if (i >= g->num_tensors)
		return -ERANGE;
	t = &g->tensors[i];
	full.name = t->name;
	full.dtype = t->dtype->dtype;
	full.dtype_name = t->dtype->name;
	full.ndim = t->ndim;
	full.nbytes = t->nbytes;
	full.file = g->files[t->file].name;
	memcpy(full.shape, t->shape, sizeof(full.shape));
	return sized_out(info, SIZED_V0(struct zw_gguf_info, nbytes), &full, sizeof(full));
}

long zw_gguf_find(const struct zw_gguf *g, const char *name)
{
	size_t lo = 0, hi = g->num_tensors;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, g->tensors[mid].name);

		if (!c)
			return (long)mid;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return -ENOENT;
}

int zw_gguf_read(const struct zw_gguf *g, size_t i, uint64_t off, void *dst, uint64_t len,
		 struct zw_error *err)
{
	const struct gguf_tensor *t;
	const struct gguf_file *f;

	if (i >= g->num_tensors)
		return llm_fail(err, -ERANGE, "%s: no tensor %zu", g->path, i);
	t = &g->tensors[i];
	f = &g->files[t->file];
	if (off > t->nbytes || len > t->nbytes - off)
		return llm_fail(err, -ERANGE, "%s: tensor %s: read behind its end", f->path,
				t->name);
	return llm_file_pread(f->fd, f->path, dst, len, f->data + t->off + off, err);
}
