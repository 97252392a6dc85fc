// SPDX-License-Identifier: MIT
/* The two small file formats around the models: numpy arrays of float32 and JSON lists of ids. */
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NPY_MAX (16ull << 30)
#define IDS_MAX (64ull << 20)

static const char npy_magic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

int zw_npy_write_f32(const char *path, const float *data, uint64_t rows, uint64_t cols,
		     struct zw_error *err)
{
	char head[192];
	uint64_t n;
	int len, total;

	if (__builtin_mul_overflow(rows, cols, &n) || n > SIZE_MAX / sizeof(float))
		return zw_fail(err, -EFBIG, "%s: array too large", path);
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
	return zw_file_write(path, head, (size_t)total, data, (size_t)n * sizeof(float), err);
}

/* The header is a Python literal with three fixed keys; numpy writes them sorted. */
static int npy_parse_header(const char *path, const char *h, uint64_t *rows, uint64_t *cols,
			    struct zw_error *err)
{
	unsigned long long r, c;
	const char *shape;
	char close;

	if (!strstr(h, "'descr': '<f4'"))
		return zw_fail(err, -EOPNOTSUPP, "%s: not little-endian float32", path);
	if (!strstr(h, "'fortran_order': False"))
		return zw_fail(err, -EOPNOTSUPP, "%s: not in C order", path);
	shape = strstr(h, "'shape': (");
	/* The closing bracket too: (r, c, 1) is not two-dimensional. */
	if (!shape || sscanf(shape, "'shape': (%llu, %llu%c", &r, &c, &close) != 3 || close != ')')
		return zw_fail(err, -EOPNOTSUPP, "%s: not two-dimensional", path);
	*rows = r;
	*cols = c;
	return 0;
}

int zw_npy_read_f32(const char *path, float **data, uint64_t *rows, uint64_t *cols,
		    struct zw_error *err)
{
	uint64_t r = 0, c = 0, bytes;
	size_t len, hlen, start;
	float *out;
	char *buf, *head;
	int ret;

	ret = zw_file_read(path, NPY_MAX, &buf, &len, err);
	if (ret)
		return ret;
	if (len < 12 || memcmp(buf, npy_magic, 6) || (buf[6] != 1 && buf[6] != 2)) {
		ret = zw_fail(err, -EBADMSG, "%s: not a .npy file of format 1.0 or 2.0", path);
		goto out;
	}
	hlen = (size_t)(uint8_t)buf[8] | (size_t)(uint8_t)buf[9] << 8;
	start = 10;
	if (buf[6] == 2) {
		hlen |= (size_t)(uint8_t)buf[10] << 16 | (size_t)(uint8_t)buf[11] << 24;
		start = 12;
	}
	if (hlen > len - start) {
		ret = zw_fail(err, -EBADMSG, "%s: file is truncated", path);
		goto out;
	}
	head = strndup(buf + start, hlen);
	if (!head) {
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	ret = npy_parse_header(path, head, &r, &c, err);
	free(head);
	if (ret)
		goto out;
	if (__builtin_mul_overflow(r, c, &bytes) || __builtin_mul_overflow(bytes, 4, &bytes) ||
	    bytes != len - start - hlen) {
		ret = zw_fail(err, -EBADMSG, "%s: shape (%llu, %llu) does not fit %zu bytes", path,
			      (unsigned long long)r, (unsigned long long)c, len - start - hlen);
		goto out;
	}
	out = malloc(bytes ? bytes : 1);
	if (!out) {
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", path);
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

int zw_ids_read_json(const char *path, uint32_t **ids, size_t *n, struct zw_error *err)
{
	uint32_t *out = NULL;
	const cJSON *it;
	cJSON *json;
	size_t count, i = 0;
	int ret;

	ret = zw_json_load(path, IDS_MAX, &json, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(json)) {
		ret = zw_fail(err, -EBADMSG, "%s: not a list of token ids", path);
		goto out;
	}
	count = (size_t)cJSON_GetArraySize(json);
	out = count ? malloc(count * sizeof(*out)) : NULL;
	if (count && !out) {
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	cJSON_ArrayForEach(it, json)
	{
		uint64_t v;

		if (!zw_json_uint(it, 0, UINT32_MAX, &v)) {
			ret = zw_fail(err, -EBADMSG, "%s: entry %zu is not a token id", path, i);
			goto out;
		}
		out[i++] = (uint32_t)v;
	}
	*ids = out;
	*n = i;
	out = NULL;
out:
	free(out);
	cJSON_Delete(json);
	return ret;
}

int zw_ids_write_json(const char *path, const uint32_t *ids, size_t n, struct zw_error *err)
{
	size_t size = 0, i;
	char *text = NULL;
	FILE *f;
	int ret;

	f = open_memstream(&text, &size);
	if (!f)
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	fputc('[', f);
	for (i = 0; i < n; i++)
		fprintf(f, "%s%u", i ? ", " : "", ids[i]);
	fputs("]\n", f);
	if (fclose(f))
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", path);
	else
		ret = zw_file_write(path, NULL, 0, text, size, err);
	free(text);
	return ret;
}
