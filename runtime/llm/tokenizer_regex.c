// SPDX-License-Identifier: MIT
/*
 * The expression of a tokenizer.json is Oniguruma's (Ruby syntax, Unicode), the engine here is PCRE2.
 * What both read alike passes, some things are spelled out, everything else is refused: \h is a
 * hexadecimal digit in the one and a space in the other, ^ is the start of a line in the one and of
 * the text in the other, {2}+ is greedy here and possessive there.
 */
#include "tokenizer.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PCRE2's own \s has U+180E, Oniguruma's has not. */
static const char spaces[] = "\\p{Z}\\t\\n\\x0B\\f\\r\\x85";

struct translation {
	const char *p; /* what is read next */
	FILE *out;
};

/* General categories are the same everywhere; names of scripts are not. */
static bool category_ok(const char *name, size_t len)
{
	static const char *const names[] = {
		"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
		"Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
		"Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn",
	};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(names); i++) {
		if (strlen(names[i]) == len && !memcmp(names[i], name, len))
			return true;
	}
	return false;
}

/* \p{..} or \P{..} at p (behind the backslash): its length, 0 when it is not one that passes. */
static size_t property(const char *p)
{
	const char *close = p[1] == '{' ? strchr(p, '}') : NULL;

	if (!close || !category_ok(p + 2, (size_t)(close - p - 2)))
		return 0;
	return (size_t)(close + 1 - p);
}

static bool all_hex(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!isxdigit((unsigned char)p[i]))
			return false;
	}
	return true;
}

/* An escape; *set says that it stands for more than one character. */
static bool escape(struct translation *t, bool in_class, bool *set)
{
	const char *p = t->p + 1;
	size_t n;

	*set = false;
	switch (*p) {
	case 's':
		fprintf(t->out, in_class ? "%s" : "[%s]", spaces);
		*set = true;
		break;
	case 'S':
		if (in_class)
			return false; /* the complement cannot be spelled out there */
		fprintf(t->out, "[^%s]", spaces);
		break;
	case 'p':
	case 'P':
		n = property(p);
		if (!n)
			return false;
		fprintf(t->out, "\\%.*s", (int)n, p);
		*set = true;
		t->p += n + 1;
		return true;
	case 'd':
		fputs("\\p{Nd}", t->out);
		*set = true;
		break;
	case 'v': /* PCRE2: any vertical space */
		fputs("\\x0B", t->out);
		break;
	case 'x':
		if (!all_hex(p + 1, 2) || p[1] > '7')
			return false; /* a byte of a character there, a character here */
		fprintf(t->out, "\\%.3s", p);
		t->p += 4;
		return true;
	case 'u':
		if (!all_hex(p + 1, 4))
			return false;
		fprintf(t->out, "\\x{%.4s}", p + 1);
		t->p += 6;
		return true;
	default:
		if (!*p || (unsigned char)*p >= 0x80 ||
		    (isalnum((unsigned char)*p) && !strchr("rntf", *p)))
			return false;
		fprintf(t->out, "\\%c", *p);
	}
	t->p += 2;
	return true;
}

static bool char_class(struct translation *t)
{
	bool set = false, range = false;

	fputc(*t->p++, t->out);
	if (*t->p == '^')
		fputc(*t->p++, t->out);
	if (*t->p == ']')
		return false; /* a literal one for PCRE2 */
	while (*t->p && *t->p != ']') {
		bool before = set;

		/* Nested classes, POSIX classes and intersections. */
		if (*t->p == '[' || (t->p[0] == '&' && t->p[1] == '&'))
			return false;
		if (*t->p == '-') {
			/* At either end it is itself; behind a set the two disagree. */
			range = t->p[1] != ']' && t->p[-1] != '[' &&
				!(t->p[-1] == '^' && t->p[-2] == '[');
			if (range && before)
				return false;
			set = false;
			fputc(*t->p++, t->out);
			continue;
		}
		if (*t->p == '\\') {
			if (!escape(t, true, &set) || (set && range))
				return false;
		} else {
			set = false;
			fputc(*t->p++, t->out);
		}
		range = false;
	}
	if (!*t->p)
		return true; /* PCRE2 says what is wrong */
	fputc(*t->p++, t->out);
	return true;
}

/* "(" and what follows it up to the first character of the group. */
static bool group(struct translation *t)
{
	static const char *const kinds[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};

	if (t->p[1] != '?' && t->p[1] != '*') {
		fputc(*t->p++, t->out);
		return true;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i]);

		if (!strncmp(t->p, kinds[i], n)) {
			fputs(kinds[i], t->out);
			t->p += n;
			return true;
		}
	}
	return false;
}

/* {n}, {n,} or {n,m}; what may follow it differs, so nothing may. */
static bool interval(struct translation *t)
{
	size_t n = 1 + strspn(t->p + 1, "0123456789");

	if (n == 1)
		return false;
	if (t->p[n] == ',')
		n += 1 + strspn(t->p + n + 1, "0123456789");
	if (t->p[n] != '}' || strchr("?+*{", t->p[n + 1] ? t->p[n + 1] : 'x'))
		return false;
	fprintf(t->out, "%.*s", (int)n + 1, t->p);
	t->p += n + 1;
	return true;
}

static bool translate(struct translation *t)
{
	bool set;

	switch (*t->p) {
	case '\\':
		return escape(t, false, &set);
	case '[':
		return char_class(t);
	case '(':
		return group(t);
	case '{':
		return interval(t);
	case '^':
	case '$':
		return false; /* of a line; of the text */
	default:
		fputc(*t->p++, t->out);
		return true;
	}
}

int tok_translate_regex(const char *re, char **out, const char **at)
{
	struct translation t = {.p = re};
	char *text = NULL;
	size_t size;
	int ret = 0;

	t.out = open_memstream(&text, &size);
	if (!t.out)
		return -ENOMEM;
	while (*t.p && !ret) {
		*at = t.p;
		if (!translate(&t))
			ret = -EOPNOTSUPP;
	}
	if (ret)
		*at = t.p;
	if (fclose(t.out) && !ret)
		ret = -ENOMEM;
	if (ret) {
		free(text);
		return ret;
	}
	*out = text;
	return 0;
}
