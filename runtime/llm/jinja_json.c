// SPDX-License-Identifier: MIT
/*
 * JSON as Python's json module reads and writes it: integers stay integers, keys keep their order,
 * the last of equal keys counts.
 */
#include "jinja.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

struct reader {
	struct jctx *c;
	const char *what, *start, *p, *end;
	unsigned int depth;
};

static int bad(struct reader *r, const char *why)
{
	return jfail(r->c, -EBADMSG, "%s: byte %zu: %s", r->what, (size_t)(r->p - r->start), why);
}

static void space(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool take(struct reader *r, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n))
		return false;
	r->p += n;
	return true;
}

static bool hex4(struct reader *r, uint32_t *v)
{
	*v = 0;
	if (r->end - r->p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		char ch = *r->p++, low = ch | 32;

		if (ch >= '0' && ch <= '9')
			*v = *v << 4 | (uint32_t)(ch - '0');
		else if (low >= 'a' && low <= 'f')
			*v = *v << 4 | (uint32_t)(low - 'a' + 10);
		else
			return false;
	}
	return true;
}

static int put_cp(struct reader *r, struct jbuf *b, uint32_t cp)
{
	char buf[4];
	size_t n = 1;

	if (cp < 0x80) {
		buf[0] = (char)cp;
	} else if (cp < 0x800) {
		buf[0] = (char)(0xc0 | cp >> 6);
		n = 2;
	} else if (cp < 0x10000) {
		buf[0] = (char)(0xe0 | cp >> 12);
		n = 3;
	} else {
		buf[0] = (char)(0xf0 | cp >> 18);
		n = 4;
	}
	for (size_t i = 1; i < n; i++)
		buf[i] = (char)(0x80 | (cp >> (6 * (n - 1 - i)) & 0x3f));
	return jbuf_put(r->c, b, buf, n);
}

static int escape(struct reader *r, struct jbuf *b)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *known;
	uint32_t cp, low;

	if (++r->p >= r->end)
		return bad(r, "a string without an end");
	if (*r->p != 'u') {
		known = *r->p ? strchr(from, *r->p) : NULL;
		if (!known)
			return bad(r, "an unknown escape");
		r->p++;
		return jbuf_put(r->c, b, &to[known - from], 1);
	}
	r->p++;
	if (!hex4(r, &cp))
		return bad(r, "\\u without four hexadecimal digits");
	if (cp >= 0xd800 && cp < 0xdc00) {
		if (!take(r, "\\u") || !hex4(r, &low) || low < 0xdc00 || low > 0xdfff)
			return bad(r, "half a surrogate pair");
		cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
	} else if (cp >= 0xdc00 && cp < 0xe000) {
		return bad(r, "half a surrogate pair");
	}
	return put_cp(r, b, cp);
}

static int string_body(struct reader *r, struct jbuf *b)
{
	int ret = 0;

	for (r->p++; !ret;) {
		const char *from = r->p;

		while (r->p < r->end && *r->p != '"' && *r->p != '\\') {
			size_t n = utf8_len((const unsigned char *)r->p,
					    (const unsigned char *)r->end);

			if (!n)
				return bad(r, "not UTF-8");
			if ((unsigned char)*r->p < 0x20)
				return bad(r, "a control character in a string");
			r->p += n;
		}
		ret = jbuf_put(r->c, b, from, (size_t)(r->p - from));
		if (ret)
			return ret;
		if (r->p == r->end)
			return bad(r, "a string without an end");
		if (*r->p == '"') {
			r->p++;
			return 0;
		}
		ret = escape(r, b);
	}
	return ret;
}

static int string(struct reader *r, struct jval *v)
{
	struct jbuf b = {0};
	int ret = string_body(r, &b);

	if (!ret)
		ret = jstr_new(r->c, b.p, b.len, v);
	free(b.p);
	return ret;
}

static void digits(struct reader *r)
{
	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
}

static int number(struct reader *r, struct jval *v)
{
	const char *from = r->p, *mark;
	bool real = false;
	char buf[64], *big = buf;

	r->p += *r->p == '-';
	mark = r->p;
	digits(r);
	if (r->p == mark || (*mark == '0' && r->p - mark > 1))
		return bad(r, "not a number");
	if (r->p < r->end && *r->p == '.') {
		real = true;
		mark = ++r->p;
		digits(r);
		if (r->p == mark)
			return bad(r, "not a number");
	}
	if (r->p < r->end && (*r->p | 32) == 'e') {
		real = true;
		r->p++;
		if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		mark = r->p;
		digits(r);
		if (r->p == mark)
			return bad(r, "not a number");
	}
	if ((size_t)(r->p - from) >= sizeof(buf) && real)
		big = jarena_alloc(&r->c->arena, (size_t)(r->p - from) + 1);
	if (!big)
		return jfail(r->c, -ENOMEM, "out of memory");
	errno = 0;
	if (real) {
		memcpy(big, from, (size_t)(r->p - from));
		big[r->p - from] = '\0';
		*v = jfloat(strtod(big, NULL));
		return isinf(v->u.f) ? bad(r, "a number too large") : 0;
	}
	if (r->p - from < 21) {
		memcpy(buf, from, (size_t)(r->p - from));
		buf[r->p - from] = '\0';
		*v = jint(strtoll(buf, NULL, 10));
		if (!errno)
			return 0;
	}
	if (jstr_new(r->c, from, (size_t)(r->p - from), v))
		return -EFBIG;
	v->t = J_BIGINT;
	return 0;
}

static int value(struct reader *r, struct jval *v);

static int list(struct reader *r, struct jval *v)
{
	int ret = jlist_new(r->c, J_LIST, 0, v);
	struct jval item;

	r->p++;
	space(r);
	if (!ret && take(r, "]"))
		return 0;
	while (!ret) {
		ret = value(r, &item);
		if (!ret)
			ret = jlist_add(r->c, v->u.l, item);
		space(r);
		if (ret || take(r, "]"))
			return ret;
		if (!take(r, ","))
			return bad(r, "neither , nor ] behind an element");
	}
	return ret;
}

static int object(struct reader *r, struct jval *v)
{
	int ret = jdict_new(r->c, J_DICT, v);
	struct jval key, item;

	r->p++;
	space(r);
	if (!ret && take(r, "}"))
		return 0;
	while (!ret) {
		space(r);
		if (r->p == r->end || *r->p != '"')
			return bad(r, "no key");
		ret = string(r, &key);
		space(r);
		if (!ret && !take(r, ":"))
			return bad(r, "no : behind a key");
		if (!ret)
			ret = value(r, &item);
		if (!ret)
			ret = jdict_set(r->c, v->u.d, key, item);
		space(r);
		if (ret || take(r, "}"))
			return ret;
		if (!take(r, ","))
			return bad(r, "neither , nor } behind a value");
	}
	return ret;
}

static int value(struct reader *r, struct jval *v)
{
	int ret;

	space(r);
	if (r->p == r->end)
		return bad(r, "it ends too early");
	if (*r->p == '{' || *r->p == '[') {
		if (++r->depth > JINJA_JSON_DEPTH)
			return jfail(r->c, -EFBIG, "%s: nested too deeply", r->what);
		ret = *r->p == '{' ? object(r, v) : list(r, v);
		r->depth--;
		return ret;
	}
	if (*r->p == '"')
		return string(r, v);
	if (take(r, "true"))
		*v = jbool(true);
	else if (take(r, "false"))
		*v = jbool(false);
	else if (take(r, "null"))
		*v = jnone();
	else
		return number(r, v);
	return 0;
}

int jjson_parse(struct jctx *c, const char *what, const char *text, size_t len, struct jval *v)
{
	struct reader r = {c, what, text, text, text + len, 0};
	int ret = value(&r, v);

	space(&r);
	if (!ret && r.p != r.end)
		ret = bad(&r, "something behind the value");
	return ret;
}

/* ---- writing ---- */

static int put(struct jctx *c, struct jbuf *b, const char *text)
{
	return jbuf_put(c, b, text, strlen(text));
}

static int dump_escaped(struct jctx *c, uint32_t cp, struct jbuf *b)
{
	static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
	const char *p = cp && cp < 0x80 ? strchr(plain, (int)cp) : NULL;
	char buf[16];

	if (p)
		snprintf(buf, sizeof(buf), "\\%c", letter[p - plain]);
	else if (cp < 0x10000)
		snprintf(buf, sizeof(buf), "\\u%04x", cp);
	else
		snprintf(buf, sizeof(buf), "\\u%04x\\u%04x", 0xd7c0 + (cp >> 10),
			 0xdc00 + (cp & 0x3ff));
	return put(c, b, buf);
}

static int dump_str(struct jctx *c, const struct jstr *s, bool ascii, struct jbuf *b)
{
	const unsigned char *p = (const unsigned char *)s->p, *end = p + s->len, *from = p;
	int ret = put(c, b, "\"");

	while (p < end && !ret) {
		size_t n = utf8_len(p, end);
		bool esc = *p < 0x20 || *p == '"' || *p == '\\' || (ascii && *p >= 0x7f);

		if (esc) {
			ret = jbuf_put(c, b, (const char *)from, (size_t)(p - from));
			if (!ret)
				ret = dump_escaped(c, (uint32_t)utf8_at(p, end), b);
			from = p + n;
		}
		p += n;
	}
	if (!ret)
		ret = jbuf_put(c, b, (const char *)from, (size_t)(p - from));
	return ret ? ret : put(c, b, "\"");
}

static int newline(struct jctx *c, const struct jjson_style *s, unsigned int depth, struct jbuf *b)
{
	int ret = put(c, b, "\n");

	for (unsigned int i = 0; i < depth && !ret; i++)
		ret = jbuf_put(c, b, s->indent.p, s->indent.len);
	return ret;
}

static int dump(struct jctx *c, const struct jval *v, const struct jjson_style *s,
		unsigned int depth, struct jbuf *b);

static int between(struct jctx *c, const struct jjson_style *s, unsigned int depth, bool first,
		   struct jbuf *b)
{
	int ret = first ? 0 : jbuf_put(c, b, s->item->p, s->item->len);

	return ret || !s->indented ? ret : newline(c, s, depth, b);
}

static int dump_list(struct jctx *c, const struct jlist *l, const struct jjson_style *s,
		     unsigned int depth, struct jbuf *b)
{
	int ret = put(c, b, "[");

	for (size_t i = 0; i < l->n && !ret; i++) {
		ret = between(c, s, depth + 1, !i, b);
		if (!ret)
			ret = dump(c, &l->v[i], s, depth + 1, b);
	}
	if (!ret && l->n && s->indented)
		ret = newline(c, s, depth, b);
	return ret ? ret : put(c, b, "]");
}

static int dump_key(struct jctx *c, const struct jval *k, const struct jjson_style *s,
		    struct jbuf *b)
{
	struct jbuf text = {0};
	struct jval key = *k;
	int ret = 0;

	if (k->t != J_STRING) {
		ret = dump(c, k, s, 0, &text);
		if (!ret)
			ret = jstr_new(c, text.p, text.len, &key);
		free(text.p);
	}
	return ret ? ret : dump_str(c, key.u.s, s->ascii, b);
}

static int by_key(const void *a, const void *b)
{
	const struct jstr *x = (*(struct jpair *const *)a)->k.u.s,
			  *y = (*(struct jpair *const *)b)->k.u.s;
	uint32_t n = x->len < y->len ? x->len : y->len;
	int r = n ? memcmp(x->p, y->p, n) : 0;

	return r ? r : x->len < y->len ? -1 : x->len > y->len;
}

/* The pairs in the order they are written in; in the arena. */
static struct jpair **order(struct jctx *c, const struct jdict *d, bool sort)
{
	struct jpair **p = jarena_alloc(&c->arena, (d->n + 1) * sizeof(*p));

	for (size_t i = 0; p && i < d->n; i++) {
		p[i] = &d->p[i];
		if (sort && d->p[i].k.t != J_STRING) {
			jfail(c, -EOPNOTSUPP,
			      "tojson: sorting keys that are no strings is not supported");
			return NULL;
		}
	}
	if (p && sort)
		qsort(p, d->n, sizeof(*p), by_key);
	if (!p)
		jfail(c, -EFBIG, "rendering takes more memory than is allowed");
	return p;
}

static int dump_dict(struct jctx *c, const struct jdict *d, const struct jjson_style *s,
		     unsigned int depth, struct jbuf *b)
{
	struct jpair **p = order(c, d, s->sort);
	int ret = p ? put(c, b, "{") : -EFBIG;

	for (size_t i = 0; i < d->n && !ret; i++) {
		ret = between(c, s, depth + 1, !i, b);
		if (!ret)
			ret = dump_key(c, &p[i]->k, s, b);
		if (!ret)
			ret = jbuf_put(c, b, s->key->p, s->key->len);
		if (!ret)
			ret = dump(c, &p[i]->v, s, depth + 1, b);
	}
	if (!ret && d->n && s->indented)
		ret = newline(c, s, depth, b);
	return ret ? ret : put(c, b, "}");
}

static int dump(struct jctx *c, const struct jval *v, const struct jjson_style *s,
		unsigned int depth, struct jbuf *b)
{
	char num[40];
	int ret = jsteps(c, 1);

	if (ret)
		return ret;
	if (depth > JINJA_JSON_DEPTH)
		return jfail(c, -EFBIG, "tojson: nested too deeply");
	switch (v->t) {
	case J_NONE:
		return put(c, b, "null");
	case J_BOOL:
		return put(c, b, v->u.b ? "true" : "false");
	case J_INT:
		snprintf(num, sizeof(num), "%lld", (long long)v->u.i);
		return put(c, b, num);
	case J_FLOAT:
		if (isnan(v->u.f) || isinf(v->u.f))
			return put(c, b,
				   isnan(v->u.f) ? "NaN"
				   : v->u.f > 0  ? "Infinity"
						 : "-Infinity");
		jfloat_repr(v->u.f, num);
		return put(c, b, num);
	case J_BIGINT:
		return jbuf_put(c, b, v->u.s->p, v->u.s->len);
	case J_STRING:
		return dump_str(c, v->u.s, s->ascii, b);
	case J_LIST:
	case J_TUPLE:
		return dump_list(c, v->u.l, s, depth, b);
	case J_DICT:
		return dump_dict(c, v->u.d, s, depth, b);
	case J_UNDEFINED:
		return jfail(c, -EINVAL, "tojson: '%.80s' is undefined",
			     v->u.s ? v->u.s->p : "value");
	default:
		return jfail(c, -EINVAL, "tojson: a %s is no JSON", jtype_name(v));
	}
}

int jjson_dump(struct jctx *c, const struct jval *v, const struct jjson_style *s, struct jbuf *b)
{
	return dump(c, v, s, 0, b);
}
