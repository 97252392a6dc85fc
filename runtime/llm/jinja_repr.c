// SPDX-License-Identifier: MIT
/* str() and repr() of Python, for what templates print. */
#include "jinja.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer.h"

/* The shortest text that reads back as the same number, in Python's form. */
void jfloat_repr(double f, char buf[40])
{
	char digits[40], *e, *q = buf;
	int exp, n = 1;

	if (isnan(f) || isinf(f)) {
		strcpy(buf, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
		return;
	}
	for (n = 0; n < 17; n++) {
		snprintf(digits, sizeof(digits), "%.*e", n, f);
		if (strtod(digits, NULL) == f)
			break;
	}
	e = strchr(digits, 'e');
	exp = atoi(e + 1);
	if (exp >= -4 && exp < 16) {
		int places = n > exp ? n - exp : 0;

		snprintf(buf, 40, "%.*f", places ? places : 1, f);
		return;
	}
	/* 1e+16, 1.5e-07: the exponent has at least two digits, as in C. */
	*e = '\0';
	q += sprintf(q, "%s", digits);
	sprintf(q, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
}

static int put(struct jctx *c, struct jbuf *b, const char *text)
{
	return jbuf_put(c, b, text, strlen(text));
}

static bool printable(int32_t cp)
{
	switch (utf8proc_category(cp)) {
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CS:
	case UTF8PROC_CATEGORY_CO:
	case UTF8PROC_CATEGORY_CN:
	case UTF8PROC_CATEGORY_ZL:
	case UTF8PROC_CATEGORY_ZP:
		return false;
	case UTF8PROC_CATEGORY_ZS:
		return cp == ' ';
	default:
		return true;
	}
}

static int repr_str(struct jctx *c, const struct jstr *s, struct jbuf *b)
{
	const unsigned char *p = (const unsigned char *)s->p, *end = p + s->len;
	bool apostrophe = memchr(p, '\'', s->len) && !memchr(p, '"', s->len);
	char quote[2] = {apostrophe ? '"' : '\'', 0}, buf[16];
	int ret = put(c, b, quote);

	for (size_t n; p < end && !ret; p += n) {
		int32_t cp = utf8_at(p, end);

		n = utf8_len(p, end);
		if (cp == quote[0] || cp == '\\')
			snprintf(buf, sizeof(buf), "\\%c", cp);
		else if (cp == '\n' || cp == '\r' || cp == '\t')
			snprintf(buf, sizeof(buf), "\\%c",
				 cp == '\n'   ? 'n'
				 : cp == '\r' ? 'r'
					      : 't');
		else if (printable(cp))
			snprintf(buf, sizeof(buf), "%.*s", (int)n, p);
		else
			snprintf(buf, sizeof(buf),
				 cp < 0x100     ? "\\x%02x"
				 : cp < 0x10000 ? "\\u%04x"
						: "\\U%08x",
				 (unsigned int)cp);
		ret = put(c, b, buf);
	}
	return ret ? ret : put(c, b, quote);
}

static int repr_list(struct jctx *c, const struct jval *v, struct jbuf *b)
{
	const struct jlist *l = v->u.l;
	bool tuple = v->t == J_TUPLE;
	int ret = put(c, b, tuple ? "(" : "[");

	for (size_t i = 0; i < l->n && !ret; i++) {
		if (i)
			ret = put(c, b, ", ");
		if (!ret)
			ret = jrepr(c, &l->v[i], b);
	}
	if (!ret && tuple && l->n == 1)
		ret = put(c, b, ",");
	return ret ? ret : put(c, b, tuple ? ")" : "]");
}

static int repr_dict(struct jctx *c, const struct jdict *d, struct jbuf *b)
{
	int ret = put(c, b, "{");

	for (size_t i = 0; i < d->n && !ret; i++) {
		if (i)
			ret = put(c, b, ", ");
		if (!ret)
			ret = jrepr(c, &d->p[i].k, b);
		if (!ret)
			ret = put(c, b, ": ");
		if (!ret)
			ret = jrepr(c, &d->p[i].v, b);
	}
	return ret ? ret : put(c, b, "}");
}

int jrepr(struct jctx *c, const struct jval *v, struct jbuf *b)
{
	char num[40];
	int ret = jsteps(c, 1);

	if (ret)
		return ret;
	switch (v->t) {
	case J_NONE:
		return put(c, b, "None");
	case J_BOOL:
		return put(c, b, v->u.b ? "True" : "False");
	case J_INT:
		snprintf(num, sizeof(num), "%lld", (long long)v->u.i);
		return put(c, b, num);
	case J_FLOAT:
		jfloat_repr(v->u.f, num);
		return put(c, b, num);
	case J_BIGINT:
		return jbuf_put(c, b, v->u.s->p, v->u.s->len);
	case J_UNDEFINED:
		return put(c, b, "Undefined");
	case J_STRING:
		if (v->u.s->safe)
			return jfail(c, -EOPNOTSUPP,
				     "the form of a text marked safe is not supported");
		return repr_str(c, v->u.s, b);
	case J_LIST:
	case J_TUPLE:
	case J_DICT:
		if (++c->calls > JINJA_JSON_DEPTH + JINJA_CALLS_MAX)
			return jfail(c, -EFBIG, "a value is nested too deeply to print");
		ret = v->t == J_DICT ? repr_dict(c, v->u.d, b) : repr_list(c, v, b);
		c->calls--;
		return ret;
	default:
		return jfail(c, -EOPNOTSUPP, "printing a %s is not supported", jtype_name(v));
	}
}

int jto_str(struct jctx *c, const struct jval *v, struct jval *s)
{
	struct jbuf b = {0};
	int ret = 0;

	if (v->t == J_STRING) {
		*s = *v;
		return 0;
	}
	if (v->t != J_UNDEFINED)
		ret = jrepr(c, v, &b);
	if (!ret)
		ret = jstr_new(c, b.p, b.len, s);
	free(b.p);
	return ret;
}
