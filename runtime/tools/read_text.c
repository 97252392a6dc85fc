// SPDX-License-Identifier: MIT
#include "read_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_all(FILE *f, size_t max, char **text, size_t *len)
{
	size_t cap = 0, n = 0, got;
	char *buf = NULL;

	do {
		if (cap - n < 65536) {
			char *p = realloc(buf, cap = cap * 2 + 65536);

			if (!p) {
				free(buf);
				return -ENOMEM;
			}
			buf = p;
		}
		errno = 0;
		got = fread(buf + n, 1, cap - n, f);
		n += got;
	} while (got && n <= max);
	if (ferror(f) || n > max) {
		int ret = n > max ? -EFBIG : errno ? -errno : -EIO;

		free(buf);
		return ret;
	}
	buf[n] = '\0';
	*text = buf;
	*len = n;
	return 0;
}

int read_text(const char *path, size_t max, char **text, size_t *len)
{
	FILE *f;
	int ret;

	if (!strcmp(path, "-"))
		return read_all(stdin, max, text, len);
	f = fopen(path, "rb");
	if (!f)
		return -errno;
	ret = read_all(f, max, text, len);
	fclose(f);
	return ret;
}
