// SPDX-License-Identifier: MIT
/* Text to ids: added tokens, NFC, regular expression, merges. */
#include "tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Canonical ordering moves marks one step at a time: a run of n may cost n * n steps. */
#define MARKS_MAX 4096

/* Symbols of the word being merged: a doubly linked list in an array. */
struct symbol {
	uint32_t id;
	int32_t prev, next; /* -1: none */
};

/* A possible merge at `pos`; stale once the symbols there have changed. */
struct cand {
	uint32_t rank;
	uint32_t pos;
	uint32_t left, right, id;
};

struct encoder {
	const struct zw_tokenizer *t;
	uint32_t *ids;
	size_t n, cap;
	struct symbol *sym;
	size_t sym_cap;
	struct cand *heap;
	size_t heap_n, heap_cap;
	pcre2_match_data *md;
	struct zw_error *err;
};

static int grow(void **p, size_t *cap, size_t need, size_t elem)
{
	size_t want = *cap ? *cap : 64;
	void *q;

	if (need <= *cap)
		return 0;
	while (want < need)
		want *= 2;
	q = realloc(*p, want * elem);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

static int emit(struct encoder *e, uint32_t id)
{
	if (grow((void **)&e->ids, &e->cap, e->n + 1, sizeof(*e->ids)))
		return zw_fail(e->err, -ENOMEM, "out of memory");
	e->ids[e->n++] = id;
	return 0;
}

/* Lowest rank first; among equal ones the leftmost, as all occurrences go left to right. */
static bool cand_before(const struct cand *a, const struct cand *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

static int heap_push(struct encoder *e, struct cand c)
{
	size_t i;

	if (grow((void **)&e->heap, &e->heap_cap, e->heap_n + 1, sizeof(*e->heap)))
		return zw_fail(e->err, -ENOMEM, "out of memory");
	for (i = e->heap_n++; i; i = (i - 1) / 2) {
		struct cand *up = &e->heap[(i - 1) / 2];

		if (!cand_before(&c, up))
			break;
		e->heap[i] = *up;
	}
	e->heap[i] = c;
	return 0;
}

static struct cand heap_pop(struct encoder *e)
{
	struct cand top = e->heap[0], last = e->heap[--e->heap_n];
	size_t i = 0;

	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= e->heap_n)
			break;
		if (c + 1 < e->heap_n && cand_before(&e->heap[c + 1], &e->heap[c]))
			c++;
		if (!cand_before(&e->heap[c], &last))
			break;
		e->heap[i] = e->heap[c];
		i = c;
	}
	e->heap[i] = last;
	return top;
}

static int push_pair(struct encoder *e, int32_t left)
{
	const struct symbol *l, *r;
	const struct zw_merge *m;

	if (left < 0 || e->sym[left].next < 0)
		return 0;
	l = &e->sym[left];
	r = &e->sym[l->next];
	m = zw_tok_merge(e->t, l->id, r->id);
	if (!m)
		return 0;
	return heap_push(e, (struct cand){m->rank, (uint32_t)left, l->id, r->id, m->id});
}

/* One word: O(n log n) whatever the text is, since each merge adds at most two candidates. */
static int encode_word(struct encoder *e, const char *p, size_t len)
{
	int ret;

	if (len == 1)
		return emit(e, e->t->byte_id[(uint8_t)*p]);
	/* Positions are int32_t; text is refused above that in zw_tokenizer_encode(). */
	if (grow((void **)&e->sym, &e->sym_cap, len, sizeof(*e->sym)))
		return zw_fail(e->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < len; i++)
		e->sym[i] = (struct symbol){e->t->byte_id[(uint8_t)p[i]], (int32_t)i - 1,
					    i + 1 < len ? (int32_t)i + 1 : -1};
	e->heap_n = 0;
	for (size_t i = 0; i + 1 < len; i++) {
		ret = push_pair(e, (int32_t)i);
		if (ret)
			return ret;
	}
	while (e->heap_n) {
		struct cand c = heap_pop(e);
		struct symbol *s = &e->sym[c.pos];
		int32_t gone = s->next;

		if (s->id != c.left || gone < 0 || e->sym[gone].id != c.right)
			continue;
		s->id = c.id;
		s->next = e->sym[gone].next;
		if (s->next >= 0)
			e->sym[s->next].prev = (int32_t)c.pos;
		e->sym[gone].id = ZW_NO_ID; /* makes its candidates stale */
		ret = push_pair(e, s->prev);
		if (!ret)
			ret = push_pair(e, (int32_t)c.pos);
		if (ret)
			return ret;
	}
	for (int32_t i = 0; i >= 0; i = e->sym[i].next) {
		ret = emit(e, e->sym[i].id);
		if (ret)
			return ret;
	}
	return 0;
}

static int split_words(struct encoder *e, const char *p, size_t len)
{
	size_t at = 0, pos = 0;
	int ret;

	while (pos < len) {
		PCRE2_SIZE *ov;
		int n;

		n = pcre2_match(e->t->re, (PCRE2_SPTR)p, len, pos, PCRE2_NO_UTF_CHECK, e->md, NULL);
		if (n == PCRE2_ERROR_JIT_STACKLIMIT)
			n = pcre2_match(e->t->re, (PCRE2_SPTR)p, len, pos,
					PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, e->md, NULL);
		if (n == PCRE2_ERROR_NOMATCH)
			break;
		if (n < 0)
			return zw_fail(e->err, -EFBIG,
				       "text too hard for the tokenizer's expression (PCRE2 %d)",
				       n);
		ov = pcre2_get_ovector_pointer(e->md);
		/* \K or an empty match would stall or go back; no tokenizer's expression does it.
		 */
		if (ov[1] <= ov[0] || ov[0] < pos)
			return zw_fail(e->err, -EBADMSG,
				       "the tokenizer's expression matches nothing");
		/* "Isolated": what lies between matches is a word too. */
		if (ov[0] > at) {
			ret = encode_word(e, p + at, ov[0] - at);
			if (ret)
				return ret;
		}
		ret = encode_word(e, p + ov[0], ov[1] - ov[0]);
		if (ret)
			return ret;
		at = pos = ov[1];
	}
	return at < len ? encode_word(e, p + at, len - at) : 0;
}

/* Checks the run of marks; also says whether the text is ASCII, which NFC leaves alone. */
static int scan(struct encoder *e, const char *p, size_t len, bool *ascii)
{
	size_t marks = 0;

	*ascii = true;
	for (size_t i = 0; i < len;) {
		utf8proc_int32_t cp;

		if ((uint8_t)p[i] < 0x80) {
			marks = 0;
			i++;
			continue;
		}
		*ascii = false;
		i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)p + i,
					      (utf8proc_ssize_t)(len - i), &cp);
		if (!utf8proc_get_property(cp)->combining_class)
			marks = 0;
		else if (++marks > MARKS_MAX)
			return zw_fail(e->err, -EFBIG, "more than %d combining characters in a row",
				       MARKS_MAX);
	}
	return 0;
}

/* Text without added tokens, valid UTF-8. */
static int encode_valid(struct encoder *e, const char *p, size_t len)
{
	utf8proc_uint8_t *norm = NULL;
	utf8proc_ssize_t n;
	bool ascii;
	int ret;

	if (!len)
		return 0;
	if (!e->t->nfc)
		return split_words(e, p, len);
	ret = scan(e, p, len, &ascii);
	if (ret || ascii)
		return ret ? ret : split_words(e, p, len);
	n = utf8proc_map((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)len, &norm,
			 UTF8PROC_STABLE | UTF8PROC_COMPOSE);
	if (n < 0)
		return zw_fail(e->err, n == UTF8PROC_ERROR_NOMEM ? -ENOMEM : -EINVAL,
			       "normalising the text: %s", utf8proc_errmsg(n));
	ret = split_words(e, (const char *)norm, (size_t)n);
	free(norm);
	return ret;
}

size_t zw_utf8_len(const unsigned char *p, const unsigned char *end)
{
	size_t left = (size_t)(end - p);

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
	if ((p[0] & 0xf0) == 0xe0) {
		if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
			return 0;
		/* Overlong forms and surrogates. */
		return (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ? 0 : 3;
	}
	if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		if (left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 ||
		    (p[3] & 0xc0) != 0x80)
			return 0;
		/* Overlong forms and code points above U+10FFFF. */
		return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : 4;
	}
	return 0;
}

/* Text without added tokens: valid runs and runs of bytes that are not UTF-8. */
static int encode_plain(struct encoder *e, const char *p, size_t len)
{
	const unsigned char *s = (const unsigned char *)p, *end = s + len;

	while (s < end) {
		const unsigned char *from = s;
		size_t n;
		int ret;

		while (s < end && (n = zw_utf8_len(s, end)))
			s += n;
		ret = encode_valid(e, (const char *)from, (size_t)(s - from));
		if (ret)
			return ret;
		from = s;
		while (s < end && !zw_utf8_len(s, end))
			s++;
		if (s > from) {
			ret = encode_word(e, (const char *)from, (size_t)(s - from));
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* Longest added token at p, or ZW_NO_ID. */
static uint32_t added_at(const struct zw_tokenizer *t, const char *p, const char *end, size_t *len)
{
	uint32_t node = 0, id = ZW_NO_ID;

	for (const char *q = p; q < end; q++) {
		node = t->trie[node].child;
		while (node && t->trie[node].byte != (uint8_t)*q)
			node = t->trie[node].sibling;
		if (!node)
			break;
		if (t->trie[node].id != ZW_NO_ID) {
			id = t->trie[node].id;
			*len = (size_t)(q + 1 - p);
		}
	}
	return id;
}

static int encode_all(struct encoder *e, const char *text, size_t len, uint32_t flags)
{
	const char *from = text, *p = text, *end = text + len;
	int ret;

	while (!(flags & ZW_ENCODE_NO_ADDED) && p < end) {
		size_t n = 0;
		uint32_t id;

		if (!e->t->added_first[(uint8_t)*p]) {
			p++;
			continue;
		}
		id = added_at(e->t, p, end, &n);
		if (id == ZW_NO_ID) {
			p++;
			continue;
		}
		ret = encode_plain(e, from, (size_t)(p - from));
		if (!ret)
			ret = emit(e, id);
		if (ret)
			return ret;
		p += n;
		from = p;
	}
	return encode_plain(e, from, (size_t)(end - from));
}

int zw_tokenizer_encode(const struct zw_tokenizer *t, const char *text, size_t len, uint32_t flags,
			uint32_t **ids, size_t *n, struct zw_error *err)
{
	struct encoder e = {.t = t, .err = err};
	int ret;

	if (!t || (!text && len) || !ids || !n || (flags & ~ZW_ENCODE_NO_ADDED))
		return zw_fail(err, -EINVAL, "zw_tokenizer_encode: bad argument");
	/* NFC may make text three times as long; positions in a word are int32_t. */
	if (len > INT32_MAX / 4)
		return zw_fail(err, -EFBIG, "text of %zu bytes is too long", len);
	e.md = pcre2_match_data_create_from_pattern(t->re, NULL);
	if (!e.md)
		return zw_fail(err, -ENOMEM, "out of memory");
	ret = encode_all(&e, text, len, flags);
	pcre2_match_data_free(e.md);
	free(e.sym);
	free(e.heap);
	if (ret) {
		free(e.ids);
		return ret;
	}
	*ids = e.ids;
	*n = e.n;
	return 0;
}

int zw_tok_spell_out_space(const char *re, char **out)
{
	static const char set[] = "\\p{Z}\\t\\n\\x0B\\f\\r\\x85";
	char *text = NULL;
	size_t size;
	bool in_class = false;
	FILE *f = open_memstream(&text, &size);
	int ret = 0;

	if (!f)
		return -ENOMEM;
	for (const char *p = re; *p && !ret; p++) {
		if (*p == '\\' && p[1]) {
			p++;
			if (*p == 's')
				fprintf(f, in_class ? "%s" : "[%s]", set);
			else if (*p == 'S' && !in_class)
				fprintf(f, "[^%s]", set);
			else if (*p == 'S')
				ret = -EOPNOTSUPP;
			else
				fprintf(f, "\\%c", *p);
			continue;
		}
		if (*p == '[' && in_class)
			ret = -EOPNOTSUPP; /* nested class (Oniguruma) or [:posix:] */
		else if (*p == '[')
			in_class = true;
		else if (*p == ']')
			in_class = false;
		fputc(*p, f);
	}
	if (fclose(f) && !ret)
		ret = -ENOMEM;
	if (ret) {
		free(text);
		return ret;
	}
	*out = text;
	return 0;
}
