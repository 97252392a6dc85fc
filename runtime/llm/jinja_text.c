// SPDX-License-Identifier: MIT
/* Python's str, on UTF-8: positions are counted in characters. */
#include "jinja.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer.h"

/* str.isspace() */
bool jspace(int32_t cp)
{
	return is_space(cp) || (cp >= 0x1c && cp <= 0x1f);
}

size_t jstr_at(const struct jstr *s, size_t i)
{
	size_t at = 0;

	if (s->num == s->len)
		return i < s->len ? i : s->len;
	while (i && at < s->len) {
		at++;
		while (at < s->len && (s->p[at] & 0xc0) == 0x80)
			at++;
		i--;
	}
	return at;
}

static int32_t char_at(const struct jstr *s, size_t at, size_t *len)
{
	const unsigned char *p = (const unsigned char *)s->p + at,
			    *end = (const unsigned char *)s->p + s->len;

	*len = utf8_len(p, end);
	return utf8_at(p, end);
}

static size_t before(const struct jstr *s, size_t at)
{
	do
		at--;
	while (at && (s->p[at] & 0xc0) == 0x80);
	return at;
}

/* Is the character one to be stripped? */
static bool in_set(const struct jstr *s, size_t at, const struct jstr *chars)
{
	size_t n;
	int32_t cp = char_at(s, at, &n);
	struct jstr one = {.len = (uint32_t)n, .num = 1, .p = s->p + at};

	return chars ? jstr_find(chars, &one, 0, false) >= 0 : jspace(cp);
}

int jstr_strip(struct jctx *c, const struct jstr *s, const struct jstr *chars, bool left,
	       bool right, struct jval *v)
{
	size_t from = 0, to = s->len, n;

	while (left && from < to && in_set(s, from, chars)) {
		char_at(s, from, &n);
		from += n;
	}
	while (right && to > from && in_set(s, before(s, to), chars))
		to = before(s, to);
	return jstr_new(c, s->p + from, to - from, v);
}

/* Characters whose upper case is more than one: what Unicode's SpecialCasing.txt says without condition. */
static const struct {
	uint32_t cp;
	uint16_t to[3];
} longer_upper[] = {
	{0xdf, {0x53, 0x53}},
	{0x149, {0x2bc, 0x4e}},
	{0x1f0, {0x4a, 0x30c}},
	{0x390, {0x399, 0x308, 0x301}},
	{0x3b0, {0x3a5, 0x308, 0x301}},
	{0x587, {0x535, 0x552}},
	{0x1e96, {0x48, 0x331}},
	{0x1e97, {0x54, 0x308}},
	{0x1e98, {0x57, 0x30a}},
	{0x1e99, {0x59, 0x30a}},
	{0x1e9a, {0x41, 0x2be}},
	{0x1f50, {0x3a5, 0x313}},
	{0x1f52, {0x3a5, 0x313, 0x300}},
	{0x1f54, {0x3a5, 0x313, 0x301}},
	{0x1f56, {0x3a5, 0x313, 0x342}},
	{0x1f80, {0x1f08, 0x399}},
	{0x1f81, {0x1f09, 0x399}},
	{0x1f82, {0x1f0a, 0x399}},
	{0x1f83, {0x1f0b, 0x399}},
	{0x1f84, {0x1f0c, 0x399}},
	{0x1f85, {0x1f0d, 0x399}},
	{0x1f86, {0x1f0e, 0x399}},
	{0x1f87, {0x1f0f, 0x399}},
	{0x1f88, {0x1f08, 0x399}},
	{0x1f89, {0x1f09, 0x399}},
	{0x1f8a, {0x1f0a, 0x399}},
	{0x1f8b, {0x1f0b, 0x399}},
	{0x1f8c, {0x1f0c, 0x399}},
	{0x1f8d, {0x1f0d, 0x399}},
	{0x1f8e, {0x1f0e, 0x399}},
	{0x1f8f, {0x1f0f, 0x399}},
	{0x1f90, {0x1f28, 0x399}},
	{0x1f91, {0x1f29, 0x399}},
	{0x1f92, {0x1f2a, 0x399}},
	{0x1f93, {0x1f2b, 0x399}},
	{0x1f94, {0x1f2c, 0x399}},
	{0x1f95, {0x1f2d, 0x399}},
	{0x1f96, {0x1f2e, 0x399}},
	{0x1f97, {0x1f2f, 0x399}},
	{0x1f98, {0x1f28, 0x399}},
	{0x1f99, {0x1f29, 0x399}},
	{0x1f9a, {0x1f2a, 0x399}},
	{0x1f9b, {0x1f2b, 0x399}},
	{0x1f9c, {0x1f2c, 0x399}},
	{0x1f9d, {0x1f2d, 0x399}},
	{0x1f9e, {0x1f2e, 0x399}},
	{0x1f9f, {0x1f2f, 0x399}},
	{0x1fa0, {0x1f68, 0x399}},
	{0x1fa1, {0x1f69, 0x399}},
	{0x1fa2, {0x1f6a, 0x399}},
	{0x1fa3, {0x1f6b, 0x399}},
	{0x1fa4, {0x1f6c, 0x399}},
	{0x1fa5, {0x1f6d, 0x399}},
	{0x1fa6, {0x1f6e, 0x399}},
	{0x1fa7, {0x1f6f, 0x399}},
	{0x1fa8, {0x1f68, 0x399}},
	{0x1fa9, {0x1f69, 0x399}},
	{0x1faa, {0x1f6a, 0x399}},
	{0x1fab, {0x1f6b, 0x399}},
	{0x1fac, {0x1f6c, 0x399}},
	{0x1fad, {0x1f6d, 0x399}},
	{0x1fae, {0x1f6e, 0x399}},
	{0x1faf, {0x1f6f, 0x399}},
	{0x1fb2, {0x1fba, 0x399}},
	{0x1fb3, {0x391, 0x399}},
	{0x1fb4, {0x386, 0x399}},
	{0x1fb6, {0x391, 0x342}},
	{0x1fb7, {0x391, 0x342, 0x399}},
	{0x1fbc, {0x391, 0x399}},
	{0x1fc2, {0x1fca, 0x399}},
	{0x1fc3, {0x397, 0x399}},
	{0x1fc4, {0x389, 0x399}},
	{0x1fc6, {0x397, 0x342}},
	{0x1fc7, {0x397, 0x342, 0x399}},
	{0x1fcc, {0x397, 0x399}},
	{0x1fd2, {0x399, 0x308, 0x300}},
	{0x1fd3, {0x399, 0x308, 0x301}},
	{0x1fd6, {0x399, 0x342}},
	{0x1fd7, {0x399, 0x308, 0x342}},
	{0x1fe2, {0x3a5, 0x308, 0x300}},
	{0x1fe3, {0x3a5, 0x308, 0x301}},
	{0x1fe4, {0x3a1, 0x313}},
	{0x1fe6, {0x3a5, 0x342}},
	{0x1fe7, {0x3a5, 0x308, 0x342}},
	{0x1ff2, {0x1ffa, 0x399}},
	{0x1ff3, {0x3a9, 0x399}},
	{0x1ff4, {0x38f, 0x399}},
	{0x1ff6, {0x3a9, 0x342}},
	{0x1ff7, {0x3a9, 0x342, 0x399}},
	{0x1ffc, {0x3a9, 0x399}},
	{0xfb00, {0x46, 0x46}},
	{0xfb01, {0x46, 0x49}},
	{0xfb02, {0x46, 0x4c}},
	{0xfb03, {0x46, 0x46, 0x49}},
	{0xfb04, {0x46, 0x46, 0x4c}},
	{0xfb05, {0x53, 0x54}},
	{0xfb06, {0x53, 0x54}},
	{0xfb13, {0x544, 0x546}},
	{0xfb14, {0x544, 0x535}},
	{0xfb15, {0x544, 0x53b}},
	{0xfb16, {0x54e, 0x546}},
	{0xfb17, {0x544, 0x53d}},
};

static int put_cp(struct jctx *c, struct jbuf *b, int32_t cp)
{
	utf8proc_uint8_t buf[4];

	return jbuf_put(c, b, (const char *)buf, (size_t)utf8proc_encode_char(cp, buf));
}

static int put_upper(struct jctx *c, struct jbuf *b, int32_t cp)
{
	int ret = 0;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(longer_upper); i++) {
		if (longer_upper[i].cp != (uint32_t)cp)
			continue;
		for (int k = 0; k < 3 && longer_upper[i].to[k] && !ret; k++)
			ret = put_cp(c, b, longer_upper[i].to[k]);
		return ret;
	}
	return put_cp(c, b, utf8proc_toupper(cp));
}

static int put_lower(struct jctx *c, struct jbuf *b, int32_t cp)
{
	/* Final or not depends on the letters around it. */
	if (cp == 0x3a3)
		return jfail(c, -EOPNOTSUPP, "lower case of U+03A3 is not supported");
	if (cp == 0x130)
		return jbuf_put(c, b, "i\xcc\x87", 3);
	return put_cp(c, b, utf8proc_tolower(cp));
}

/* 'u': upper case, 'l': lower, 'c': the first character upper and the rest lower. */
static int change_case(struct jctx *c, const struct jstr *s, char how, struct jval *v)
{
	struct jbuf b = {0};
	int ret = jsteps(c, s->len);

	for (size_t at = 0, n; at < s->len && !ret; at += n) {
		int32_t cp = char_at(s, at, &n);

		if (how == 'c' && !at) {
			if (cp >= 0x80)
				ret = jfail(c, -EOPNOTSUPP, "title case of U+%04X is not supported",
					    (unsigned int)cp);
			else
				ret = put_upper(c, &b, cp);
		} else {
			ret = how == 'u' ? put_upper(c, &b, cp) : put_lower(c, &b, cp);
		}
	}
	if (!ret)
		ret = jstr_new(c, b.p, b.len, v);
	free(b.p);
	return ret;
}

int jstr_upper(struct jctx *c, const struct jstr *s, struct jval *v)
{
	return change_case(c, s, 'u', v);
}

int jstr_lower(struct jctx *c, const struct jstr *s, struct jval *v)
{
	return change_case(c, s, 'l', v);
}

int jstr_capitalize(struct jctx *c, const struct jstr *s, struct jval *v)
{
	return change_case(c, s, 'c', v);
}

int64_t jstr_find(const struct jstr *s, const struct jstr *sub, size_t from, bool last)
{
	const char *p;

	if (sub->len > s->len || from > s->len - sub->len)
		return -1;
	if (!last) {
		p = memmem(s->p + from, s->len - from, sub->p, sub->len);
		return p ? p - s->p : -1;
	}
	for (size_t at = s->len - sub->len + 1; at-- > from;) {
		if (!memcmp(s->p + at, sub->p, sub->len))
			return (int64_t)at;
	}
	return -1;
}

/* An empty text is found in front of every character and at the end. */
static int replace_empty(struct jctx *c, const struct jstr *s, const struct jstr *to, int64_t count,
			 struct jbuf *b)
{
	int ret = 0;

	for (size_t at = 0, n; !ret; at += n) {
		if (count) {
			ret = jbuf_put(c, b, to->p, to->len);
			count -= count > 0;
		}
		if (at == s->len)
			break;
		char_at(s, at, &n);
		if (!ret)
			ret = jbuf_put(c, b, s->p + at, n);
	}
	return ret;
}

int jstr_replace(struct jctx *c, const struct jstr *s, const struct jstr *old,
		 const struct jstr *to, int64_t count, struct jval *v)
{
	struct jbuf b = {0};
	size_t from = 0;
	int ret = jsteps(c, s->len / 8);

	if (!ret && !old->len) {
		ret = replace_empty(c, s, to, count, &b);
		from = s->len;
	}
	while (!ret && count) {
		int64_t at = jstr_find(s, old, from, false);

		if (at < 0 || !old->len)
			break;
		ret = jsteps(c, 1);
		if (!ret)
			ret = jbuf_put(c, &b, s->p + from, (size_t)at - from);
		if (!ret)
			ret = jbuf_put(c, &b, to->p, to->len);
		from = (size_t)at + old->len;
		count -= count > 0;
	}
	if (!ret)
		ret = jbuf_put(c, &b, s->p + from, s->len - from);
	if (!ret)
		ret = jstr_new(c, b.p, b.len, v);
	free(b.p);
	return ret;
}

static int add_piece(struct jctx *c, struct jlist *l, const char *p, size_t n)
{
	struct jval v;
	int ret = jstr_new(c, p, n, &v);

	return ret ? ret : jlist_add(c, l, v);
}

static void turn(struct jlist *l)
{
	for (size_t i = 0; i < l->n / 2; i++) {
		struct jval v = l->v[i];

		l->v[i] = l->v[l->n - 1 - i];
		l->v[l->n - 1 - i] = v;
	}
}

/* At runs of white space; none at the ends. */
static int split_space(struct jctx *c, const struct jstr *s, int64_t max, struct jlist *l)
{
	size_t at = 0, n, from;
	int ret = 0;

	for (; !ret; max -= max > 0) {
		while (at < s->len && jspace(char_at(s, at, &n)))
			at += n;
		if (at == s->len)
			break;
		for (from = at; at < s->len && (!max || !jspace(char_at(s, at, &n)));)
			at += max ? n : s->len - at;
		/* The rest, when no more is to be split, keeps the white space inside and behind. */
		ret = add_piece(c, l, s->p + from, at - from);
	}
	return ret;
}

static int rsplit_space(struct jctx *c, const struct jstr *s, int64_t max, struct jlist *l)
{
	size_t at = s->len, to, n;
	int ret = 0;

	for (; !ret; max -= max > 0) {
		while (at && jspace(char_at(s, before(s, at), &n)))
			at = before(s, at);
		if (!at)
			break;
		for (to = at; at && (!max || !jspace(char_at(s, before(s, at), &n)));)
			at = max ? before(s, at) : 0;
		ret = add_piece(c, l, s->p + at, to - at);
	}
	turn(l);
	return ret;
}

static int split_at(struct jctx *c, const struct jstr *s, const struct jstr *sep, int64_t max,
		    struct jlist *l)
{
	size_t from = 0;
	int64_t at;
	int ret = 0;

	for (; !ret && max && (at = jstr_find(s, sep, from, false)) >= 0; max -= max > 0) {
		ret = add_piece(c, l, s->p + from, (size_t)at - from);
		from = (size_t)at + sep->len;
	}
	return ret ? ret : add_piece(c, l, s->p + from, s->len - from);
}

static int rsplit_at(struct jctx *c, const struct jstr *s, const struct jstr *sep, int64_t max,
		     struct jlist *l)
{
	struct jstr rest = *s;
	int64_t at;
	int ret = 0;

	for (; !ret && max && (at = jstr_find(&rest, sep, 0, true)) >= 0; max -= max > 0) {
		ret = jsteps(c, (rest.len - (size_t)at) / 8);
		if (!ret)
			ret = add_piece(c, l, s->p + at + sep->len,
					rest.len - (size_t)at - sep->len);
		rest.len = (uint32_t)at;
	}
	if (!ret)
		ret = add_piece(c, l, s->p, rest.len);
	turn(l);
	return ret;
}

int jstr_split(struct jctx *c, const struct jstr *s, const struct jstr *sep, int64_t max,
	       bool right, struct jval *v)
{
	int ret = jsteps(c, s->len / 8);

	if (!ret && sep && !sep->len)
		ret = jfail(c, -EINVAL, "split() with an empty separator");
	if (!ret)
		ret = jlist_new(c, J_LIST, 0, v);
	if (ret)
		return ret;
	if (sep)
		return right ? rsplit_at(c, s, sep, max, v->u.l) : split_at(c, s, sep, max, v->u.l);
	return right ? rsplit_space(c, s, max, v->u.l) : split_space(c, s, max, v->u.l);
}

static bool line_end(int32_t cp)
{
	return (cp >= 0x0a && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 ||
	       cp == 0x2028 || cp == 0x2029;
}

int jstr_splitlines(struct jctx *c, const struct jstr *s, bool keep, struct jval *v)
{
	size_t from = 0, at = 0, n;
	int ret = jlist_new(c, J_LIST, 0, v);

	while (!ret && at < s->len) {
		int32_t cp = char_at(s, at, &n);
		size_t end = at;

		at += n;
		if (!line_end(cp))
			continue;
		if (cp == '\r' && at < s->len && s->p[at] == '\n')
			at++;
		ret = add_piece(c, v->u.l, s->p + from, (keep ? at : end) - from);
		from = at;
	}
	if (!ret && from < s->len)
		ret = add_piece(c, v->u.l, s->p + from, s->len - from);
	return ret ? ret : jsteps(c, s->len / 8);
}

int jstr_reverse(struct jctx *c, const struct jstr *s, struct jval *v)
{
	struct jstr *r = jstr_room(c, s->len);
	size_t to = s->len;

	if (!r)
		return -EFBIG;
	for (size_t at = 0, n; at < s->len; at += n) {
		char_at(s, at, &n);
		to -= n;
		memcpy(r->p + to, s->p + at, n);
	}
	r->num = s->num;
	*v = (struct jval){J_STRING, {.s = r}};
	return jsteps(c, s->len);
}

/* ---- slices ---- */

/* Python's slice.indices(): the first index, and how many. */
static void indices(int64_t n, const int64_t *start, const int64_t *stop, int64_t step,
		    int64_t *first, int64_t *count)
{
	int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n, a, b;

	a = !start       ? (step < 0 ? high : low)
	    : *start < 0 ? (*start < -n ? low : *start + n)
			 : *start;
	b = !stop ? (step < 0 ? low : high) : *stop < 0 ? (*stop < -n ? low : *stop + n) : *stop;
	a = a < low ? low : a > high ? high : a;
	b = b < low ? low : b > high ? high : b;
	*first = a;
	if (step > 0)
		*count = b > a ? (b - a - 1) / step + 1 : 0;
	else
		*count = a > b ? (a - b - 1) / -step + 1 : 0;
}

static int slice_index(struct jctx *c, const struct jval *v, int64_t *i, const int64_t **p)
{
	*p = NULL;
	if (v->t == J_NONE)
		return 0;
	if (!jas_int(v, i))
		return jfail(c, -EINVAL, "a slice needs integers, not %s", jtype_name(v));
	*p = i;
	return 0;
}

static int slice_str(struct jctx *c, const struct jstr *s, int64_t first, int64_t count,
		     int64_t step, struct jval *out)
{
	struct jbuf b = {0};
	int ret = 0;

	if (step == 1 || count <= 1) {
		size_t from = jstr_at(s, (size_t)first),
		       to = count > 0 ? jstr_at(s, (size_t)(first + count)) : from;

		return jstr_new(c, s->p + from, to - from, out);
	}
	/* All at once when it is ASCII or turned round, else character by character. */
	if (step == -1 && count == s->num)
		return jstr_reverse(c, s, out);
	for (int64_t i = 0, at = first; i < count && !ret; i++, at += step) {
		size_t from = jstr_at(s, (size_t)at), n;

		char_at(s, from, &n);
		ret = jsteps(c, s->num == s->len ? 1 : from);
		if (!ret)
			ret = jbuf_put(c, &b, s->p + from, n);
	}
	if (!ret)
		ret = jstr_new(c, b.p, b.len, out);
	free(b.p);
	return ret;
}

int jslice(struct jctx *c, const struct jval *v, const struct jval *start, const struct jval *stop,
	   const struct jval *step, struct jval *out)
{
	int64_t i[3], first, count, by;
	const int64_t *p[3];
	int ret;

	if (v->t == J_UNDEFINED)
		return jfail(c, -EINVAL, "'%.80s' is undefined", v->u.s ? v->u.s->p : "value");
	if (v->t != J_STRING && v->t != J_LIST && v->t != J_TUPLE)
		return jfail(c, -EINVAL, "a %s cannot be sliced", jtype_name(v));
	ret = slice_index(c, start, &i[0], &p[0]);
	if (!ret)
		ret = slice_index(c, stop, &i[1], &p[1]);
	if (!ret)
		ret = slice_index(c, step, &i[2], &p[2]);
	if (ret)
		return ret;
	by = p[2] ? *p[2] : 1;
	if (!by)
		return jfail(c, -EINVAL, "a slice with a step of 0");
	if (by < -INT64_MAX)
		by = -INT64_MAX;
	indices(jlength(v), p[0], p[1], by, &first, &count);
	if (v->t == J_STRING)
		return slice_str(c, v->u.s, first, count, by, out);
	ret = jlist_new(c, v->t, (size_t)count, out);
	for (int64_t k = 0; k < count && !ret; k++)
		ret = jlist_add(c, out->u.l, v->u.l->v[first + k * by]);
	return ret;
}
