// SPDX-License-Identifier: MIT
#include "json_text.h"

#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 character at p, 0 when there is none; overlong forms are none. */
static size_t utf8_len(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned int cp, least;
	size_t n;

	if (p[0] < 0x80)
		return p[0] != 0;
	n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc0 || p[0] > 0xf4)
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

void json_add_text(cJSON *o, const char *key, const char *text)
{
	char *clean = malloc(strlen(text) * 3 + 1), *q = clean;

	if (!clean)
		return;
	while (*text) {
		size_t n = utf8_len(text);

		if (n)
			memcpy(q, text, n);
		else
			memcpy(q, "\xef\xbf\xbd", 3);
		q += n ? n : 3;
		text += n ? n : 1;
	}
	*q = '\0';
	cJSON_AddStringToObject(o, key, clean);
	free(clean);
}
