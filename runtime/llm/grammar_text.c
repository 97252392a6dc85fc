// SPDX-License-Identifier: MIT
/* Text that goes on until one of some tags stands in it. */
#include "grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TAG_MAX 16 /* bytes */

struct tags {
	const struct gr_tag *tag;
	size_t n;
	uint32_t at[GR_TAGS_MAX]
		   [TAG_MAX]; /* behind so many bytes of each; shared where they are the same */
};

/* The tag before this one that begins with the same k bytes, or itself. */
static size_t alike(const struct tags *t, size_t tag, size_t k)
{
	for (size_t i = 0; i < tag; i++) {
		if (!strncmp(t->tag[i].text, t->tag[tag].text, k))
			return i;
	}
	return tag;
}

/* Bytes lo..hi lead on to text: all of them, or the characters that begin with them. */
static void others(struct gr_builder *b, uint32_t from, int lo, int hi, bool utf8, uint32_t text)
{
	static const int runs[][2] = {{'\t', '\n'}, {'\r', '\r'}, {' ', '~'}};

	if (lo > hi)
		return;
	if (!utf8) {
		gr_bytes(b, from, (uint8_t)lo, (uint8_t)hi, text);
		return;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(runs); i++) {
		int first = lo > runs[i][0] ? lo : runs[i][0];
		int last = hi < runs[i][1] ? hi : runs[i][1];

		if (first <= last)
			gr_bytes(b, from, (uint8_t)first, (uint8_t)last, text);
	}
	if (hi == 0xff)
		gr_utf8(b, from, 0x80, 0x10ffff, text);
}

static int by_byte(const void *a, const void *b)
{
	return *(const uint8_t *)a - *(const uint8_t *)b;
}

/* From where k bytes of a tag were read; what goes on in no tag may be the beginning of another one. */
static void leave(struct gr_builder *b, const struct tags *t, size_t tag, size_t k, uint32_t from,
		  uint32_t text, uint32_t again, bool utf8)
{
	uint8_t next[GR_TAGS_MAX + 1] = {'<'};
	size_t n = 1;
	int lo = 0;

	for (size_t i = 0; i < t->n; i++) {
		const char *p = t->tag[i].text;
		uint32_t to;

		if (strncmp(p, t->tag[tag].text, k) || alike(t, i, k + 1) != i)
			continue;
		to = p[k + 1] ? t->at[i][k] : t->tag[i].to;
		if (to != GR_NEVER)
			gr_bytes(b, from, (uint8_t)p[k], (uint8_t)p[k], to);
		if (k)
			next[n++] = (uint8_t)p[k];
	}
	if (k)
		gr_bytes(b, from, '<', '<', again);
	qsort(next, n, 1, by_byte);
	for (size_t i = 0; i < n; i++) {
		others(b, from, lo, next[i] - 1, utf8, text);
		lo = next[i] + 1;
	}
	others(b, from, lo, 0xff, utf8, text);
}

uint32_t gr_text_to_tags(struct gr_builder *b, uint32_t from, const struct gr_text *text,
			 const struct gr_tag *tags, size_t n)
{
	struct tags t = {.tag = tags, .n = n};
	uint32_t again;

	for (size_t i = 0; i < n && !b->ret; i++) {
		for (size_t k = 1; tags[i].text[k]; k++) {
			size_t same = alike(&t, i, k);

			t.at[i][k - 1] = same < i ? t.at[same][k - 1] : gr_state(b);
			if (text->open && !b->ret)
				b->g->states[t.at[i][k - 1]].final = true;
		}
	}
	if (b->ret)
		return 0;
	b->g->states[from].final |= text->open;
	again = text->again == GR_NEVER ? t.at[0][0] : text->again;
	leave(b, &t, 0, 0, from, text->text, again, text->utf8);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 1; tags[i].text[k]; k++) {
			if (alike(&t, i, k) == i)
				leave(b, &t, i, k, t.at[i][k - 1], text->text, again, text->utf8);
		}
	}
	return t.at[0][0];
}
