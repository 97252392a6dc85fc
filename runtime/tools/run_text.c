// SPDX-License-Identifier: MIT
#include "run_text.h"

#include <stdlib.h>
#include <string.h>

size_t run_text_char(const char *text, size_t left)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned int cp, least;
	size_t n;

	if (!left)
		return 0;
	if (p[0] < 0x80)
		return p[0] != 0;
	n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc0 || p[0] > 0xf4 || n > left)
		return 0;
	cp = p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	least = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
	return cp < least || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff) ? 0 : n;
}

char *run_text_clean(const char *text, size_t len)
{
	char *clean = malloc(len * 3 + 1), *q = clean;

	if (!clean)
		return NULL;
	for (size_t at = 0, n; at < len; at += n ? n : 1) {
		n = run_text_char(text + at, len - at);
		memcpy(q, n ? text + at : "\xef\xbf\xbd", n ? n : 3);
		q += n ? n : 3;
	}
	*q = '\0';
	return clean;
}
