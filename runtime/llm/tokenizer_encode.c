// SPDX-License-Identifier: MIT
/* Text to ids: added tokens, NFC, added tokens again, regular expression, merges, template. */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A step of encoding: what is left of the text after it goes to the next one. */
typedef int step_fn(struct tok_encoder *e, const char *p, size_t len);

static int split_words(struct tok_encoder *e, const char *p, size_t len)
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
			return llm_fail(e->err, -EFBIG,
					"text too hard for the tokenizer's expression (PCRE2 %d)",
					n);
		ov = pcre2_get_ovector_pointer(e->md);
		/* \K or an empty match would stall or go back; no tokenizer's expression does it.
		 */
		if (ov[1] <= ov[0] || ov[0] < pos)
			return llm_fail(e->err, -EBADMSG,
					"the tokenizer's expression matches nothing");
		/* "Isolated": what lies between matches is a word too. */
		if (ov[0] > at) {
			ret = tok_encode_word(e, p + at, ov[0] - at);
			if (ret)
				return ret;
		}
		ret = tok_encode_word(e, p + ov[0], ov[1] - ov[0]);
		if (ret)
			return ret;
		at = pos = ov[1];
	}
	return at < len ? tok_encode_word(e, p + at, len - at) : 0;
}

/* Where the white space that ends at p begins; not before `least`. */
static const char *space_before(const char *least, const char *p)
{
	while (p > least) {
		int32_t cp = utf8_before((const unsigned char *)least, (const unsigned char *)p);

		if (cp < 0 || !is_space(cp))
			break;
		p -= cp < 0x80 ? 1 : cp < 0x800 ? 2 : 3;
	}
	return p;
}

static const char *space_after(const char *p, const char *end)
{
	while (p < end) {
		int32_t cp = utf8_at((const unsigned char *)p, (const unsigned char *)end);

		if (cp < 0 || !is_space(cp))
			break;
		p += cp < 0x80 ? 1 : cp < 0x800 ? 2 : 3;
	}
	return p;
}

static bool inside_word(const char *text, const char *p, const char *q, const char *end)
{
	return is_word(utf8_before((const unsigned char *)text, (const unsigned char *)p)) ||
	       is_word(utf8_at((const unsigned char *)q, (const unsigned char *)end));
}

/* Cuts the added tokens of a trie out of the text (leftmost, longest), as tokenizers does. */
static int split_added(struct tok_encoder *e, const struct trie *trie, const char *text, size_t len,
		       step_fn *rest)
{
	const char *end = text + len, *done = text, *p = text;
	bool off = !trie->len || (e->flags & ZW_ENCODE_NO_ADDED);
	int ret;

	while (!off && p < end) {
		size_t n = 0;
		uint32_t id = trie_longest(trie, p, end, &n), flags;
		const char *from = p, *to;

		if (id == TRIE_NONE) {
			p++;
			continue;
		}
		p = to = from + n; /* what is passed over is not looked at again */
		flags = e->t->tokens[id].flags;
		if ((flags & ZW_TOKEN_SPECIAL) && e->t->split_special)
			continue;
		if ((flags & TOK_SINGLE_WORD) && inside_word(text, from, to, end))
			continue;
		if (flags & TOK_LSTRIP)
			from = space_before(done < from ? done : from, from);
		if (flags & TOK_RSTRIP)
			to = space_after(to, end);
		ret = from > done ? rest(e, done, (size_t)(from - done)) : 0;
		if (!ret)
			ret = tok_emit(e, id);
		if (ret)
			return ret;
		done = to;
	}
	return done < end ? rest(e, done, (size_t)(end - done)) : 0;
}

/* Valid UTF-8 without the added tokens that are looked for in the raw text. */
static int encode_valid(struct tok_encoder *e, const char *p, size_t len)
{
	char *norm = NULL;
	int ret = 0;

	if (e->t->nfc) {
		ret = text_nfc(p, len, &norm, &len, e->err);
		p = norm;
	}
	if (!ret)
		ret = split_added(e, &e->t->norm, p, len, split_words);
	free(norm);
	return ret;
}

/* Valid runs, and runs of bytes that are not UTF-8. */
static int encode_bytes(struct tok_encoder *e, const char *p, size_t len)
{
	const unsigned char *s = (const unsigned char *)p, *end = s + len;

	while (s < end) {
		const unsigned char *from = s;
		size_t n;
		int ret;

		while (s < end && (n = utf8_len(s, end)))
			s += n;
		ret = s > from ? encode_valid(e, (const char *)from, (size_t)(s - from)) : 0;
		if (ret)
			return ret;
		from = s;
		while (s < end && !utf8_len(s, end))
			s++;
		if (s > from) {
			ret = tok_encode_word(e, (const char *)from, (size_t)(s - from));
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int emit_list(struct tok_encoder *e, const struct zw_token_list *list)
{
	int ret = 0;

	for (size_t i = 0; i < list->n && !ret && !(e->flags & ZW_ENCODE_NO_TEMPLATE); i++)
		ret = tok_emit(e, list->ids[i]);
	return ret;
}

int zw_tokenizer_encode(const struct zw_tokenizer *t, const char *text, size_t len, uint32_t flags,
			uint32_t **ids, size_t *n, struct zw_error *err)
{
	struct tok_encoder e = {.t = t, .flags = flags, .err = err};
	int ret;

	if (!t || (!text && len) || !ids || !n ||
	    (flags & ~(ZW_ENCODE_NO_ADDED | ZW_ENCODE_NO_TEMPLATE)))
		return llm_fail(err, -EINVAL, "zw_tokenizer_encode: bad argument");
	/* NFC may make text three times as long; positions in a word are int32_t. */
	if (len > INT32_MAX / 4)
		return llm_fail(err, -EFBIG, "text of %zu bytes is too long", len);
	e.md = pcre2_match_data_create_from_pattern(t->re, NULL);
	if (!e.md)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = emit_list(&e, &t->prefix);
	if (!ret && len)
		ret = split_added(&e, &t->raw, text, len, encode_bytes);
	if (!ret)
		ret = emit_list(&e, &t->suffix);
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
