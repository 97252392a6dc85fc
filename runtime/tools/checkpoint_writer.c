// SPDX-License-Identifier: MIT
#include "checkpoint_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#define PIECE (1u << 20)

struct tensor {
	char *name;
	const char *dtype;
	uint32_t ndim, file;
	uint64_t dim[WRITER_MAX_DIMS], bytes, off; /* in the file's data */
};

struct file {
	char *name;
	int fd;
	uint64_t data; /* where it begins */
};

struct checkpoint_writer {
	char *dir;
	struct tensor *tensors;
	size_t num_tensors, cap_tensors;
	struct file *files; /* of tensors first; fd -1: closed */
	size_t num_files, cap_files;
	bool finished;
};

static int fail(struct zw_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return code;
}

static int grow(void *array, size_t *cap, size_t need, size_t size)
{
	void **p = array, *q;
	size_t n = *cap ? *cap : 64;

	if (need <= *cap)
		return 0;
	while (n < need)
		n *= 2;
	q = realloc(*p, n * size);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = n;
	return 0;
}

int writer_open(const char *dir, struct checkpoint_writer **out, struct zw_error *err)
{
	struct checkpoint_writer *w = calloc(1, sizeof(*w));

	if (w)
		w->dir = strdup(dir);
	if (!w || !w->dir) {
		free(w);
		return fail(err, -ENOMEM, "out of memory");
	}
	if (mkdir(dir, 0777)) {
		int ret = -errno;

		free(w->dir);
		free(w);
		return fail(err, ret, "%s: %s", dir, strerror(-ret));
	}
	*out = w;
	return 0;
}

/* Opens a new file of the folder; its index, or -errno. */
static long add_file(struct checkpoint_writer *w, const char *name, struct zw_error *err)
{
	struct file *f;
	char *path;

	if (grow(&w->files, &w->cap_files, w->num_files + 1, sizeof(*f)))
		return fail(err, -ENOMEM, "out of memory");
	f = &w->files[w->num_files];
	*f = (struct file){.name = strdup(name), .fd = -1};
	if (!f->name || asprintf(&path, "%s/%s", w->dir, name) < 0) {
		free(f->name);
		return fail(err, -ENOMEM, "out of memory");
	}
	f->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (f->fd < 0) {
		int ret = -errno;

		fail(err, ret, "%s: %s", path, strerror(-ret));
		free(f->name);
		free(path);
		return ret;
	}
	free(path);
	return (long)w->num_files++;
}

static int write_at(const struct checkpoint_writer *w, const struct file *f, uint64_t at,
		    const void *data, uint64_t bytes, struct zw_error *err)
{
	const char *p = data;

	while (bytes) {
		ssize_t n = pwrite(f->fd, p, bytes, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int ret = n < 0 ? -errno : -EIO;

			return fail(err, ret, "%s/%s: %s", w->dir, f->name, strerror(-ret));
		}
		p += n;
		at += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

/* The end of a file, where some file systems only say that there was no room. */
static int end_file(const struct checkpoint_writer *w, struct file *f, struct zw_error *err)
{
	int bad = fsync(f->fd) && errno != EINVAL ? -errno : 0;

	if (close(f->fd) && !bad)
		bad = -errno;
	f->fd = -1;
	return bad ? fail(err, bad, "%s/%s: %s", w->dir, f->name, strerror(-bad)) : 0;
}

/* ---- tensors ---- */

long writer_add(struct checkpoint_writer *w, const char *name, const char *dtype, uint32_t ndim,
		const uint64_t *dim, uint64_t bytes, struct zw_error *err)
{
	struct tensor *t;

	if (grow(&w->tensors, &w->cap_tensors, w->num_tensors + 1, sizeof(*t)))
		return fail(err, -ENOMEM, "out of memory");
	t = &w->tensors[w->num_tensors];
	*t = (struct tensor){.name = strdup(name), .dtype = dtype, .ndim = ndim, .bytes = bytes};
	if (!t->name)
		return fail(err, -ENOMEM, "out of memory");
	memcpy(t->dim, dim, ndim * sizeof(*dim));
	return (long)w->num_tensors++;
}

static uint32_t share_out(struct checkpoint_writer *w, uint64_t max_bytes)
{
	uint64_t used = 0;
	uint32_t file = 0;

	for (size_t i = 0; i < w->num_tensors; i++) {
		struct tensor *t = &w->tensors[i];

		if (used && (used >= max_bytes || t->bytes > max_bytes - used)) {
			file++;
			used = 0;
		}
		t->file = file;
		t->off = used;
		used += t->bytes;
	}
	return file + 1;
}

static cJSON *header_entry(const struct tensor *t)
{
	cJSON *e = cJSON_CreateObject(), *shape = cJSON_AddArrayToObject(e, "shape");
	cJSON *range = cJSON_AddArrayToObject(e, "data_offsets");

	cJSON_AddStringToObject(e, "dtype", t->dtype);
	for (uint32_t i = 0; i < t->ndim; i++)
		cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->dim[i]));
	cJSON_AddItemToArray(range, cJSON_CreateNumber((double)t->off));
	cJSON_AddItemToArray(range, cJSON_CreateNumber((double)(t->off + t->bytes)));
	return e;
}

static int write_header(struct checkpoint_writer *w, uint32_t file, struct zw_error *err)
{
	cJSON *root = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(root, "__metadata__");
	uint64_t data = 0, len;
	struct file *f = &w->files[file];
	char *text;
	int ret = 0;

	cJSON_AddStringToObject(meta, "format", "pt");
	for (size_t i = 0; i < w->num_tensors; i++) {
		const struct tensor *t = &w->tensors[i];

		if (t->file != file)
			continue;
		if (!cJSON_AddItemToObject(root, t->name, header_entry(t)))
			ret = -ENOMEM;
		data = t->off + t->bytes;
	}
	text = ret ? NULL : cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	if (!text)
		return fail(err, -ENOMEM, "out of memory");
	len = strlen(text);
	f->data = 8 + (len + 7) / 8 * 8;
	len = f->data - 8;
	ret = write_at(w, f, 0, &len, 8, err);
	if (!ret)
		ret = write_at(w, f, 8, text, strlen(text), err);
	if (!ret && len > strlen(text))
		ret = write_at(w, f, 8 + strlen(text), "       ", len - strlen(text), err);
	free(text);
	if (!ret && ftruncate(f->fd, (off_t)(f->data + data))) {
		ret = -errno;
		fail(err, ret, "%s/%s: %s", w->dir, f->name, strerror(-ret));
	}
	return ret;
}

static int write_index(struct checkpoint_writer *w, struct zw_error *err)
{
	cJSON *root = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(root, "metadata");
	cJSON *map = cJSON_AddObjectToObject(root, "weight_map");
	uint64_t total = 0;
	char *text;
	int ret;

	for (size_t i = 0; i < w->num_tensors; i++) {
		total += w->tensors[i].bytes;
		cJSON_AddStringToObject(map, w->tensors[i].name, w->files[w->tensors[i].file].name);
	}
	cJSON_AddNumberToObject(meta, "total_size", (double)total);
	text = cJSON_Print(root);
	cJSON_Delete(root);
	if (!text)
		return fail(err, -ENOMEM, "out of memory");
	ret = writer_file(w, "model.safetensors.index.json", text, strlen(text), err);
	free(text);
	return ret;
}

int writer_begin(struct checkpoint_writer *w, uint64_t max_bytes, struct zw_error *err)
{
	uint32_t files = share_out(w, max_bytes);
	char name[64] = "model.safetensors";
	int ret = 0;

	for (uint32_t i = 0; i < files && !ret; i++) {
		long file;

		if (files > 1)
			snprintf(name, sizeof(name), "model-%05u-of-%05u.safetensors", i + 1,
				 files);
		file = add_file(w, name, err);
		ret = file < 0 ? (int)file : write_header(w, i, err);
	}
	if (!ret && files > 1)
		ret = write_index(w, err);
	return ret;
}

int writer_put(struct checkpoint_writer *w, size_t tensor, uint64_t off, const void *data,
	       uint64_t bytes, struct zw_error *err)
{
	const struct tensor *t = &w->tensors[tensor];
	const struct file *f = &w->files[t->file];

	return write_at(w, f, f->data + t->off + off, data, bytes, err);
}

/* ---- other files ---- */

int writer_file(struct checkpoint_writer *w, const char *name, const char *text, size_t len,
		struct zw_error *err)
{
	long i = add_file(w, name, err);
	int ret = i < 0 ? (int)i : write_at(w, &w->files[i], 0, text, len, err);

	return ret ? ret : end_file(w, &w->files[i], err);
}

int writer_copy(struct checkpoint_writer *w, const char *name, const char *from,
		struct zw_error *err)
{
	char *buf = malloc(PIECE);
	uint64_t at = 0;
	ssize_t n = 1;
	int in, ret = 0;
	long i;

	if (!buf)
		return fail(err, -ENOMEM, "out of memory");
	in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0) {
		ret = -errno;
		free(buf);
		return fail(err, ret, "%s: %s", from, strerror(-ret));
	}
	i = add_file(w, name, err);
	if (i < 0)
		ret = (int)i;
	while (!ret && n) {
		n = read(in, buf, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ret = -errno;
			fail(err, ret, "%s: %s", from, strerror(-ret));
		} else if (n) {
			ret = write_at(w, &w->files[i], at, buf, (uint64_t)n, err);
			at += (uint64_t)n;
		}
	}
	close(in);
	free(buf);
	return ret ? ret : end_file(w, &w->files[i], err);
}

/* ---- the end ---- */

int writer_finish(struct checkpoint_writer *w, struct zw_error *err)
{
	for (size_t i = 0; i < w->num_files; i++) {
		int ret = w->files[i].fd < 0 ? 0 : end_file(w, &w->files[i], err);

		if (ret)
			return ret;
	}
	w->finished = true;
	return 0;
}

void writer_close(struct checkpoint_writer *w)
{
	char *path;

	if (!w)
		return;
	for (size_t i = 0; i < w->num_files; i++) {
		if (w->files[i].fd >= 0)
			close(w->files[i].fd);
		if (!w->finished && asprintf(&path, "%s/%s", w->dir, w->files[i].name) >= 0) {
			unlink(path);
			free(path);
		}
		free(w->files[i].name);
	}
	if (!w->finished)
		rmdir(w->dir);
	for (size_t i = 0; i < w->num_tensors; i++)
		free(w->tensors[i].name);
	free(w->tensors);
	free(w->files);
	free(w->dir);
	free(w);
}
