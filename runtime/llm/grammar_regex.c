// SPDX-License-Identifier: MIT
/* The "pattern" of a string: a part of ECMA-262's expressions, as an automaton over code points. */
#include "grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CP_MAX  0x10ffffu
#define ENDLESS UINT32_MAX
#define NESTED  100 /* groups in groups */

struct re {
	struct gr_builder *b;
	struct gr_cps c;
	const char *p;
	unsigned int depth;
};

struct set {
	struct cp_range {
		uint32_t lo, hi;
	} r[256];
	size_t n;
};

static void refuse(struct re *re)
{
	gr_fail(re->b, -EOPNOTSUPP, "the pattern at #%.80s is not supported at \"%.20s\"",
		re->b->place, re->p);
}

static void empty(struct re *re, uint32_t from, uint32_t to)
{
	gr_cp_edge(re->b, &re->c, from, 1, 0, to);
}

static void put(struct re *re, struct set *s, uint32_t lo, uint32_t hi)
{
	if (s->n == ZW_ARRAY_SIZE(s->r))
		refuse(re);
	else
		s->r[s->n++] = (struct cp_range){lo, hi};
}

static int by_lo(const void *a, const void *b)
{
	const struct cp_range *x = a, *y = b;

	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* What is not in it, up to `last`. */
static void complement(struct re *re, struct set *s, uint32_t last)
{
	struct set out = {.n = 0};
	uint32_t from = 0;

	qsort(s->r, s->n, sizeof(s->r[0]), by_lo);
	for (size_t i = 0; i < s->n; i++) {
		if (s->r[i].lo > from)
			put(re, &out, from, s->r[i].lo - 1);
		if (s->r[i].hi + 1 > from)
			from = s->r[i].hi + 1;
	}
	if (from <= last)
		put(re, &out, from, last);
	*s = out;
}

/* \d \w \s and, in ASCII, their complements; false for another letter. */
static bool letter_class(struct re *re, char c, struct set *out)
{
	struct set s = {.n = 0};

	switch (c | 0x20) {
	case 'd':
		put(re, &s, '0', '9');
		break;
	case 'w':
		put(re, &s, '0', '9');
		put(re, &s, 'A', 'Z');
		put(re, &s, '_', '_');
		put(re, &s, 'a', 'z');
		break;
	case 's':
		put(re, &s, '\t', '\r');
		put(re, &s, ' ', ' ');
		break;
	default:
		return false;
	}
	if (!(c & 0x20))
		complement(re, &s, 0x7f);
	for (size_t i = 0; i < s.n; i++)
		put(re, out, s.r[i].lo, s.r[i].hi);
	return true;
}

static uint32_t hex_digits(struct re *re, unsigned int n)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < n; i++, re->p++) {
		char c = *re->p;
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;

		if (d < 0) {
			refuse(re);
			return 0;
		}
		v = v * 16 + (uint32_t)d;
	}
	return v;
}

/* An escape that is one character, behind the backslash. */
static uint32_t escaped(struct re *re)
{
	char c = *re->p++;
	uint32_t cp;

	switch (c) {
	case 't':
		return '\t';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 'f':
		return '\f';
	case 'v':
		return '\v';
	case 'x':
		return hex_digits(re, 2);
	case 'u':
		cp = hex_digits(re, 4);
		if (cp < 0xd800 || cp > 0xdfff)
			return cp;
		break;
	default:
		if (c && strchr("^$\\.*+?()[]{}|/-\"'#&,:;<=>@`~!% ", c))
			return (uint8_t)c;
	}
	re->p--;
	refuse(re);
	return 0;
}

static uint32_t next_cp(struct re *re)
{
	const uint8_t *s = (const uint8_t *)re->p;
	unsigned int n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t cp = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	for (unsigned int i = 1; i < n; i++)
		cp = cp << 6 | (s[i] & 63);
	re->p += n;
	return cp;
}

static void class(struct re *re, struct set *s)
{
	bool not = re->p[1] == '^';

	re->p += not ? 2 : 1;
	while (*re->p != ']' && !re->b->ret) {
		uint32_t lo, hi;

		if (!*re->p) {
			refuse(re);
			return;
		}
		if (*re->p == '\\') {
			if (letter_class(re, re->p[1], s)) {
				re->p += 2;
				/* "\d-x" is a range to some and not to others. */
				if (*re->p == '-' && re->p[1] != ']')
					refuse(re);
				continue;
			}
			re->p++;
			lo = escaped(re);
		} else {
			lo = next_cp(re);
		}
		hi = lo;
		if (*re->p == '-' && re->p[1] != ']' && re->p[1]) {
			re->p++;
			if (*re->p == '\\') {
				re->p++;
				hi = escaped(re);
			} else {
				hi = next_cp(re);
			}
			if (hi < lo)
				refuse(re);
		}
		put(re, s, lo, hi);
	}
	if (re->b->ret)
		return;
	re->p++;
	if (not )
		complement(re, s, CP_MAX);
}

static uint32_t alternatives(struct re *re, uint32_t from, bool top);

/* One atom; the state behind it. */
static uint32_t atom(struct re *re, uint32_t from)
{
	struct set s = {.n = 0};
	uint32_t to;

	if (*re->p == '(') {
		re->p++;
		if (*re->p == '?') {
			if (re->p[1] != ':')
				refuse(re);
			else
				re->p += 2;
		}
		if (++re->depth > NESTED)
			refuse(re);
		to = alternatives(re, from, false);
		re->depth--;
		if (*re->p != ')')
			refuse(re);
		else
			re->p++;
		return to;
	}
	if (*re->p == '[') {
		class(re, &s);
	} else if (*re->p == '.') {
		re->p++;
		put(re, &s, '\n', '\n');
		put(re, &s, '\r', '\r');
		put(re, &s, 0x2028, 0x2029);
		complement(re, &s, CP_MAX);
	} else if (*re->p == '\\') {
		if (letter_class(re, re->p[1], &s)) {
			re->p += 2;
		} else {
			uint32_t cp;

			re->p++;
			cp = escaped(re);
			put(re, &s, cp, cp);
		}
	} else if (!*re->p || strchr("*+?{}]^$)|", *re->p)) {
		refuse(re);
	} else {
		uint32_t cp = next_cp(re);

		put(re, &s, cp, cp);
	}
	to = gr_cp_state(re->b, &re->c);
	for (size_t i = 0; i < s.n; i++)
		gr_cp_edge(re->b, &re->c, from, s.r[i].lo, s.r[i].hi, to);
	return to;
}

static bool number(struct re *re, uint32_t *v)
{
	const char *start = re->p;

	for (*v = 0; *re->p >= '0' && *re->p <= '9'; re->p++) {
		*v = *v * 10 + (uint32_t)(*re->p - '0');
		if (*v > 10000)
			return false;
	}
	return re->p > start;
}

/* What follows an atom; a question mark behind it (lazy) changes nothing. */
static void quantifier(struct re *re, uint32_t *min, uint32_t *max)
{
	*min = *max = 1;
	switch (*re->p) {
	case '*':
		*min = 0;
		*max = ENDLESS;
		break;
	case '+':
		*max = ENDLESS;
		break;
	case '?':
		*min = 0;
		break;
	case '{':
		re->p++;
		if (!number(re, min)) {
			refuse(re);
			return;
		}
		*max = *min;
		if (*re->p == ',') {
			re->p++;
			*max = ENDLESS;
			if (*re->p != '}' && !number(re, max))
				refuse(re);
		}
		if (*re->p != '}' || *max < *min) {
			refuse(re);
			return;
		}
		break;
	default:
		return;
	}
	re->p++;
	if (*re->p == '?')
		re->p++;
}

/* The atom once more, read from `start`. */
static uint32_t again(struct re *re, const char *start, uint32_t from)
{
	const char *p = re->p;
	uint32_t to;

	re->p = start;
	to = atom(re, from);
	re->p = p;
	return to;
}

static uint32_t repeated(struct re *re, uint32_t from)
{
	uint32_t a = gr_cp_state(re->b, &re->c), end, at, min, max;
	const char *start = re->p;

	empty(re, from, a);
	at = atom(re, a);
	quantifier(re, &min, &max);
	if (re->b->ret || (min == 1 && max == 1))
		return at;
	end = gr_cp_state(re->b, &re->c);
	if (!min)
		empty(re, a, end);
	if (!max)
		return end;
	for (uint32_t i = 1; i < min && !re->b->ret; i++)
		at = again(re, start, at);
	empty(re, at, end);
	if (max == ENDLESS) {
		uint32_t loop = gr_cp_state(re->b, &re->c);

		empty(re, at, loop);
		at = again(re, start, loop);
		empty(re, at, loop);
		empty(re, at, end);
		return end;
	}
	for (uint32_t i = min ? min : 1; i < max && !re->b->ret; i++) {
		at = again(re, start, at);
		empty(re, at, end);
	}
	return end;
}

/* Anything, as often as it likes. */
static uint32_t anything(struct re *re, uint32_t from)
{
	uint32_t to = gr_cp_state(re->b, &re->c);

	empty(re, from, to);
	gr_cp_edge(re->b, &re->c, to, 0, CP_MAX, to);
	return to;
}

/* At the top the alternatives may be tied to the ends; elsewhere nothing is. */
static uint32_t alternatives(struct re *re, uint32_t from, bool top)
{
	uint32_t end = gr_cp_state(re->b, &re->c);

	for (;;) {
		uint32_t at = gr_cp_state(re->b, &re->c);

		empty(re, from, at);
		if (top) {
			if (*re->p == '^')
				re->p++;
			else
				at = anything(re, at);
		}
		while (*re->p && *re->p != '|' && *re->p != ')' && !re->b->ret) {
			if (top && *re->p == '$' && (!re->p[1] || re->p[1] == '|'))
				break;
			at = repeated(re, at);
		}
		if (top) {
			if (*re->p == '$')
				re->p++;
			else
				at = anything(re, at);
		}
		empty(re, at, end);
		if (*re->p != '|' || re->b->ret)
			return end;
		re->p++;
	}
}

void gr_pattern(struct gr_builder *b, const char *pattern, uint64_t min, uint64_t max, bool plain,
		uint32_t from, uint32_t to)
{
	struct re re = {.b = b, .p = pattern, .c.plain = plain};
	uint32_t start = gr_cp_state(b, &re.c), end = alternatives(&re, start, true);

	if (!b->ret && *re.p)
		refuse(&re);
	if (!b->ret) {
		re.c.final[end] = true;
		gr_cp_string(b, &re.c, min, max, from, to);
	}
	gr_cp_free(&re.c);
}

#define DATE                                                                                       \
	"[1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|"  \
	"30)|"                                                                                     \
	"02-(0[1-9]|1[0-9]|2[0-8]))"
#define TIME                                                                                       \
	"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][" \
	"0-9])"
#define OCTET "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

const char *gr_format(const char *name)
{
	static const char *const formats[][2] = {
		{"date", "^" DATE "$"},
		{"time", "^" TIME "$"},
		{"date-time", "^" DATE "T" TIME "$"},
		{"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
		{"ipv4", "^(" OCTET "\\.){3}" OCTET "$"},
	};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(formats); i++) {
		if (!strcmp(name, formats[i][0]))
			return formats[i][1];
	}
	return NULL;
}
