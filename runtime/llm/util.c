// SPDX-License-Identifier: MIT
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int llm_fail(struct zw_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	/* Names come from files: keep the promise of one printable line. */
	for (char *p = err->msg; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	return code;
}

uint64_t llm_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

int llm_grow(void *p, size_t *cap, size_t need, size_t elem)
{
	size_t want = *cap ? *cap : 64;
	void **base = p, *q;

	if (need <= *cap)
		return 0;
	while (want < need)
		want *= 2;
	q = realloc(*base, want * elem);
	if (!q)
		return -ENOMEM;
	*base = q;
	*cap = want;
	return 0;
}

char *llm_path_join(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return NULL;
	return path;
}

bool llm_is_file(const char *path)
{
	struct stat sb;

	return !stat(path, &sb) && !S_ISDIR(sb.st_mode);
}

int llm_file_open(const char *path, uint64_t *size, struct zw_error *err)
{
	struct stat sb;
	int fd, code;

	/* O_NONBLOCK: opening a FIFO must not wait for a writer. It has no effect on regular files.
	 */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		code = -errno;
		return llm_fail(err, code, "%s: %s", path, strerror(-code));
	}
	if (fstat(fd, &sb) < 0) {
		code = -errno;
		close(fd);
		return llm_fail(err, code, "%s: %s", path, strerror(-code));
	}
	if (!S_ISREG(sb.st_mode)) {
		close(fd);
		return llm_fail(err, -EINVAL, "%s: not a regular file", path);
	}
	*size = (uint64_t)sb.st_size;
	return fd;
}

/*
 * pread() into memory that may belong to a device. File systems that read straight into the pages
 * of the caller (9p without a cache, for one) cannot do that with such mappings and say EFAULT:
 * then the bytes take a detour. Bytes read or -errno.
 */
static ssize_t pread_any(int fd, void *dst, size_t len, uint64_t off)
{
	static const size_t detour = 256 << 10;
	ssize_t got = pread(fd, dst, len, (off_t)off);
	void *buf;

	if (got >= 0 || errno != EFAULT)
		return got < 0 ? -errno : got;
	buf = malloc(detour);
	if (!buf)
		return -ENOMEM;
	got = pread(fd, buf, len < detour ? len : detour, (off_t)off);
	if (got < 0)
		got = -errno;
	else
		memcpy(dst, buf, (size_t)got);
	free(buf);
	return got;
}

int llm_file_pread(int fd, const char *path, void *dst, uint64_t len, uint64_t off,
		   struct zw_error *err)
{
	char *p = dst;

	while (len) {
		/* Linux caps one read near 2 GiB anyway. */
		size_t want = len > (1u << 30) ? (1u << 30) : (size_t)len;
		ssize_t got = pread_any(fd, p, want, off);

		if (got == -EINTR)
			continue;
		if (got < 0)
			return llm_fail(err, (int)got, "%s: read: %s", path, strerror((int)-got));
		if (got == 0)
			return llm_fail(err, -EIO, "%s: file became shorter while it was read",
					path);
		p += got;
		off += (uint64_t)got;
		len -= (uint64_t)got;
	}
	return 0;
}

int llm_file_read(const char *path, uint64_t max, char **data, size_t *len, struct zw_error *err)
{
	uint64_t size;
	char *buf;
	int fd, ret;

	fd = llm_file_open(path, &size, err);
	if (fd < 0)
		return fd;
	if (size > max) {
		close(fd);
		return llm_fail(err, -EFBIG, "%s: %llu bytes, more than the limit of %llu", path,
				(unsigned long long)size, (unsigned long long)max);
	}
	buf = malloc(size + 1);
	if (!buf) {
		close(fd);
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	ret = llm_file_pread(fd, path, buf, size, 0, err);
	close(fd);
	if (ret) {
		free(buf);
		return ret;
	}
	buf[size] = '\0';
	*data = buf;
	*len = size;
	return 0;
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t put = write(fd, p, len);

		if (put < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += put;
		len -= (size_t)put;
	}
	return 0;
}

int llm_file_write(const char *path, const void *head, size_t head_len, const void *data,
		   size_t len, struct zw_error *err)
{
	int fd, ret;

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0) {
		ret = -errno;
		return llm_fail(err, ret, "%s: %s", path, strerror(-ret));
	}
	ret = write_all(fd, head, head_len);
	if (!ret)
		ret = write_all(fd, data, len);
	if (close(fd) < 0 && !ret)
		ret = -errno;
	if (ret)
		return llm_fail(err, ret, "%s: write: %s", path, strerror(-ret));
	return 0;
}

/*
 * cJSON takes 64 bytes for a value of which the text needs two: a bound on values, not on bytes, is
 * what limits memory. The largest tokenizers have under a million.
 */
#define JSON_VALUES_MAX (4u << 20)

/* Upper bound of the values in a text: what stands in strings does not count. */
static size_t count_values(const char *text, size_t len)
{
	size_t n = 1;

	for (const char *p = text, *end = text + len; p < end; p++) {
		if (*p == '"') {
			while (++p < end && *p != '"')
				p += *p == '\\';
		} else {
			n += *p == ',' || *p == '[' || *p == '{';
		}
	}
	return n;
}

/* Whether a string of the text has a NUL, of which cJSON makes the string's end. */
static bool has_escaped_nul(const char *text, size_t len)
{
	for (const char *p = text, *end = text + len; (p = memchr(p, '\\', (size_t)(end - p)));
	     p += 2) {
		if (end - p >= 6 && !memcmp(p, "\\u0000", 6))
			return true;
		if (end - p < 2)
			break;
	}
	return false;
}

int llm_json_parse(const char *what, const char *text, size_t len, cJSON **out,
		   struct zw_error *err)
{
	const char *end = NULL;
	cJSON *json;

	/* A NUL would end the text early for cJSON and hide what follows. */
	if (memchr(text, '\0', len))
		return llm_fail(err, -EBADMSG, "%s: not JSON: NUL byte", what);
	if (has_escaped_nul(text, len))
		return llm_fail(err, -EBADMSG, "%s: a string holds \\u0000", what);
	if (count_values(text, len) > JSON_VALUES_MAX)
		return llm_fail(err, -EFBIG, "%s: more than %u JSON values", what, JSON_VALUES_MAX);
	json = cJSON_ParseWithLengthOpts(text, len + 1, &end, 1);
	if (!json)
		return llm_fail(err, -EBADMSG, "%s: not JSON: error near byte %zu", what,
				end && end >= text ? (size_t)(end - text) : 0);
	*out = json;
	return 0;
}

int llm_json_load(const char *path, uint64_t max, cJSON **out, struct zw_error *err)
{
	char *text;
	size_t len;
	int ret;

	ret = llm_file_read(path, max, &text, &len, err);
	if (ret)
		return ret;
	ret = llm_json_parse(path, text, len, out, err);
	free(text);
	return ret;
}

bool llm_json_uint(const cJSON *item, uint64_t min, uint64_t max, uint64_t *v)
{
	double d;

	if (!cJSON_IsNumber(item))
		return false;
	d = item->valuedouble;
	/* Written so that NaN fails; 2^53 bounds what a double holds exactly. */
	if (!(d >= (double)min && d <= (double)max && d <= 9007199254740992.0))
		return false;
	if (d != (double)(uint64_t)d)
		return false;
	*v = (uint64_t)d;
	return true;
}

int llm_json_member(const char *what, const cJSON *obj, const char *key, const cJSON **out,
		    struct zw_error *err)
{
	const cJSON *it, *found = NULL;

	for (it = cJSON_IsObject(obj) ? obj->child : NULL; it; it = it->next) {
		if (strcmp(it->string, key))
			continue;
		if (found)
			return llm_fail(err, -EBADMSG, "%s: key \"%s\" appears twice", what, key);
		found = it;
	}
	*out = found && !cJSON_IsNull(found) ? found : NULL;
	return 0;
}
