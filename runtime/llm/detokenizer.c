// SPDX-License-Identifier: MIT
/* Ids to text, piece by piece: what is printed is always whole characters. */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct zw_detokenizer {
	const struct zw_tokenizer *t;
	uint32_t flags;
	unsigned char pend[4]; /* start of a character that is not complete */
	size_t npend;
	char *buf;
	size_t len, cap;
};

int zw_detokenizer_open(const struct zw_tokenizer *tok, uint32_t flags, struct zw_detokenizer **out)
{
	struct zw_detokenizer *d;

	if (!tok || !out || (flags & ~ZW_DECODE_SKIP_SPECIAL))
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->t = tok;
	d->flags = flags;
	*out = d;
	return 0;
}

void zw_detokenizer_close(struct zw_detokenizer *d)
{
	if (!d)
		return;
	free(d->buf);
	free(d);
}

/* Room for n bytes more and the NUL. */
static int reserve(struct zw_detokenizer *d, size_t n)
{
	size_t cap = d->cap ? d->cap : 64;
	char *buf;

	if (d->cap - d->len > n)
		return 0;
	while (cap - d->len <= n)
		cap *= 2;
	buf = realloc(d->buf, cap);
	if (!buf)
		return -ENOMEM;
	d->buf = buf;
	d->cap = cap;
	return 0;
}

static void put(struct zw_detokenizer *d, const void *p, size_t n)
{
	memcpy(d->buf + d->len, p, n);
	d->len += n;
}

/*
 * Could p[0..n) (n >= 1) be the start of a character? Table 3-7 of the Unicode standard: only the
 * second byte's range depends on the first.
 */
static bool is_prefix(const unsigned char *p, size_t n)
{
	unsigned char lo = 0x80, hi = 0xbf;
	size_t need;

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		need = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		need = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		need = 4;
	else
		return false;
	if (p[0] == 0xe0)
		lo = 0xa0;
	else if (p[0] == 0xed)
		hi = 0x9f;
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	if (n >= need || (n >= 2 && (p[1] < lo || p[1] > hi)))
		return false;
	for (size_t i = 2; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return false;
	}
	return true;
}

static const char replacement[] = "\xef\xbf\xbd";

/* One byte in; room for 2 * 3 + 4 bytes out is there. */
static void push_byte(struct zw_detokenizer *d, unsigned char b)
{
	d->pend[d->npend++] = b;
	if (utf8_len(d->pend, d->pend + d->npend) == d->npend) {
		put(d, d->pend, d->npend);
		d->npend = 0;
		return;
	}
	if (is_prefix(d->pend, d->npend))
		return;
	/* Ill-formed: what was pending before b was a maximal subpart; b starts anew. */
	put(d, replacement, 3);
	if (d->npend == 1) {
		d->npend = 0;
		return;
	}
	d->npend = 0;
	push_byte(d, b);
}

static int finish(struct zw_detokenizer *d, const char **text, size_t *len)
{
	d->buf[d->len] = '\0';
	*text = d->buf;
	*len = d->len;
	return 0;
}

int zw_detokenizer_push(struct zw_detokenizer *d, uint32_t id, const char **text, size_t *len)
{
	const char *bytes;
	uint32_t flags;
	size_t n;
	int ret;

	d->len = 0;
	*text = "";
	*len = 0;
	ret = zw_tokenizer_token(d->t, id, &bytes, &n, &flags);
	if (ret)
		return ret;
	if ((flags & ZW_TOKEN_SPECIAL) && (d->flags & ZW_DECODE_SKIP_SPECIAL))
		return 0;
	if (reserve(d, n * 6 + 16))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		push_byte(d, (unsigned char)bytes[i]);
	return finish(d, text, len);
}

int zw_detokenizer_flush(struct zw_detokenizer *d, const char **text, size_t *len)
{
	d->len = 0;
	if (reserve(d, 4)) {
		*text = "";
		*len = 0;
		return -ENOMEM;
	}
	if (d->npend)
		put(d, replacement, 3);
	d->npend = 0;
	return finish(d, text, len);
}
