// SPDX-License-Identifier: MIT
#include "small_files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#define NPY_MAX (16ull << 30)
#define IDS_MAX (16ull << 20)

static const char npy_magic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

static int failed(struct zw_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int failed(struct zw_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (err)
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return code;
}

static int no_memory(struct zw_error *err, const char *path)
{
	return failed(err, -ENOMEM, "%s: out of memory", path);
}

/* A whole regular file, NUL-terminated. */
static int read_file(const char *path, uint64_t max, char **data, size_t *len, struct zw_error *err)
{
	FILE *f = fopen(path, "rb");
	struct stat sb;
	char *buf;
	int ret;

	if (!f || fstat(fileno(f), &sb)) {
		ret = failed(err, -errno, "%s: %s", path, strerror(errno));
		if (f)
			fclose(f);
		return ret;
	}
	if (!S_ISREG(sb.st_mode) || (uint64_t)sb.st_size > max) {
		fclose(f);
		return failed(err, S_ISREG(sb.st_mode) ? -EFBIG : -EINVAL, "%s: %s", path,
			      S_ISREG(sb.st_mode) ? "too large" : "not a regular file");
	}
	buf = malloc((size_t)sb.st_size + 1);
	if (!buf) {
		fclose(f);
		return no_memory(err, path);
	}
	*len = fread(buf, 1, (size_t)sb.st_size, f);
	fclose(f);
	if (*len != (size_t)sb.st_size) {
		free(buf);
		return failed(err, -EIO, "%s: cannot be read", path);
	}
	buf[*len] = '\0';
	*data = buf;
	return 0;
}

static int write_file(const char *path, const void *head, size_t head_len, const void *data,
		      size_t len, struct zw_error *err)
{
	FILE *f = fopen(path, "wb");
	bool bad;

	if (!f)
		return failed(err, -errno, "%s: %s", path, strerror(errno));
	errno = 0;
	bad = fwrite(head, 1, head_len, f) != head_len || fwrite(data, 1, len, f) != len;
	bad |= fclose(f) != 0;
	if (bad) {
		int code = errno ? errno : EIO;

		return failed(err, -code, "%s: write: %s", path, strerror(code));
	}
	return 0;
}

int npy_write_f32(const char *path, const float *data, uint64_t rows, uint64_t cols,
		  struct zw_error *err)
{
	char head[192];
	uint64_t n;
	int len, total;

	if (__builtin_mul_overflow(rows, cols, &n) || n > SIZE_MAX / sizeof(float))
		return failed(err, -EFBIG, "%s: array too large", path);
	memcpy(head, npy_magic, 6);
	head[6] = 1;
	head[7] = 0;
	len = snprintf(head + 10, sizeof(head) - 10,
		       "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %llu), }",
		       (unsigned long long)rows, (unsigned long long)cols);
	/* Padded with spaces and a newline so that the data starts at a multiple of 64. */
	total = (10 + len + 1 + 63) / 64 * 64;
	memset(head + 10 + len, ' ', (size_t)(total - 10 - len));
	head[total - 1] = '\n';
	head[8] = (char)((total - 10) & 0xff);
	head[9] = (char)((total - 10) >> 8);
	return write_file(path, head, (size_t)total, data, (size_t)n * sizeof(float), err);
}

/* The header is a Python literal with three fixed keys; numpy writes them sorted. */
static int npy_parse_header(const char *path, const char *h, uint64_t *rows, uint64_t *cols,
			    struct zw_error *err)
{
	unsigned long long r, c;
	const char *shape;
	int end = 0;

	if (!strstr(h, "'descr': '<f4'"))
		return failed(err, -EOPNOTSUPP, "%s: not little-endian float32", path);
	if (!strstr(h, "'fortran_order': False"))
		return failed(err, -EOPNOTSUPP, "%s: not in C order", path);
	shape = strstr(h, "'shape': (");
	if (!shape || sscanf(shape, "'shape': (%llu, %llu)%n", &r, &c, &end) != 2 || !end)
		return failed(err, -EOPNOTSUPP, "%s: not two-dimensional", path);
	*rows = r;
	*cols = c;
	return 0;
}

int npy_read_f32(const char *path, float **data, uint64_t *rows, uint64_t *cols,
		 struct zw_error *err)
{
	uint64_t r = 0, c = 0, bytes;
	size_t len, hlen, start;
	float *out;
	char *buf, *head;
	int ret;

	ret = read_file(path, NPY_MAX, &buf, &len, err);
	if (ret)
		return ret;
	if (len < 12 || memcmp(buf, npy_magic, 6) || (buf[6] != 1 && buf[6] != 2)) {
		ret = failed(err, -EBADMSG, "%s: not a .npy file of format 1.0 or 2.0", path);
		goto out;
	}
	hlen = (size_t)(uint8_t)buf[8] | (size_t)(uint8_t)buf[9] << 8;
	start = 10;
	if (buf[6] == 2) {
		hlen |= (size_t)(uint8_t)buf[10] << 16 | (size_t)(uint8_t)buf[11] << 24;
		start = 12;
	}
	if (hlen > len - start) {
		ret = failed(err, -EBADMSG, "%s: file is truncated", path);
		goto out;
	}
	head = strndup(buf + start, hlen);
	if (!head) {
		ret = no_memory(err, path);
		goto out;
	}
	ret = npy_parse_header(path, head, &r, &c, err);
	free(head);
	if (ret)
		goto out;
	if (__builtin_mul_overflow(r, c, &bytes) || __builtin_mul_overflow(bytes, 4, &bytes) ||
	    bytes != len - start - hlen) {
		ret = failed(err, -EBADMSG, "%s: shape (%llu, %llu) does not fit %zu bytes", path,
			     (unsigned long long)r, (unsigned long long)c, len - start - hlen);
		goto out;
	}
	out = malloc(bytes ? bytes : 1);
	if (!out) {
		ret = no_memory(err, path);
		goto out;
	}
	memcpy(out, buf + start + hlen, bytes);
	*data = out;
	*rows = r;
	*cols = c;
out:
	free(buf);
	return ret;
}

static int take_ids(const char *path, const cJSON *json, uint32_t **ids, size_t *n,
		    struct zw_error *err)
{
	size_t count, i = 0;
	const cJSON *it;
	uint32_t *out;

	if (!cJSON_IsArray(json))
		return failed(err, -EBADMSG, "%s: not a list of token ids", path);
	count = (size_t)cJSON_GetArraySize(json);
	out = count ? malloc(count * sizeof(*out)) : NULL;
	if (count && !out)
		return no_memory(err, path);
	cJSON_ArrayForEach(it, json)
	{
		double d = cJSON_IsNumber(it) ? it->valuedouble : -1;

		if (!(d >= 0 && d <= UINT32_MAX) || d != (double)(uint32_t)d) {
			free(out);
			return failed(err, -EBADMSG, "%s: entry %zu is not a token id", path, i);
		}
		out[i++] = (uint32_t)d;
	}
	*ids = out;
	*n = i;
	return 0;
}

int ids_read_json(const char *path, uint32_t **ids, size_t *n, struct zw_error *err)
{
	cJSON *json = NULL;
	char *text;
	size_t len;
	int ret;

	ret = read_file(path, IDS_MAX, &text, &len, err);
	if (ret)
		return ret;
	/* A NUL would end the text early for cJSON and hide what follows. */
	if (!memchr(text, '\0', len))
		json = cJSON_ParseWithLengthOpts(text, len + 1, NULL, 1);
	free(text);
	if (!json)
		return failed(err, -EBADMSG, "%s: not JSON", path);
	ret = take_ids(path, json, ids, n, err);
	cJSON_Delete(json);
	return ret;
}

int ids_write_json(const char *path, const uint32_t *ids, size_t n, struct zw_error *err)
{
	size_t size = 0, i;
	char *text = NULL;
	FILE *f = open_memstream(&text, &size);
	int ret;

	if (!f)
		return no_memory(err, path);
	fputc('[', f);
	for (i = 0; i < n; i++)
		fprintf(f, "%s%u", i ? ", " : "", ids[i]);
	fputs("]\n", f);
	if (fclose(f))
		ret = no_memory(err, path);
	else
		ret = write_file(path, "", 0, text, size, err);
	free(text);
	return ret;
}
