// SPDX-License-Identifier: MIT
#include "read_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_all(FILE *f, char **text, size_t *len)
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
	} while (got);
	if (ferror(f)) {
		free(buf);
		return errno ? -errno : -EIO;
	}
	buf[n] = '\0';
	*text = buf;
	*len = n;
	return 0;
}

int read_text(const char *path, char **text, size_t *len)
{
	FILE *f;
	int ret;

	if (!strcmp(path, "-"))
		return read_all(stdin, text, len);
	f = fopen(path, "rb");
	if (!f)
		return -errno;
	ret = read_all(f, text, len);
	fclose(f);
	return ret;
}
