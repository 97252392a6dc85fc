// SPDX-License-Identifier: MIT
/* Filters: value | name(arguments). */
#include "jinja.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef int filter_fn(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out);

static int str_arg(struct jctx *c, const char *fn, const struct jval *v)
{
	return v->t == J_STRING
		       ? 0
		       : jfail(c, -EINVAL, "%s: a str is needed, not %s", fn, jtype_name(v));
}

static int int_arg(struct jctx *c, const char *fn, const struct jval *v, int64_t *i)
{
	return jas_int(v, i) ? 0
			     : jfail(c, -EINVAL, "%s: an int is needed, not %s", fn, jtype_name(v));
}

static int bool_arg(struct jctx *c, const struct jval *v, bool *b)
{
	return jtruth(c, v, b);
}

/* ---- text ---- */

/* A filter that gives a text back keeps the mark of one that is safe. */
static int keep_safe(const struct jval *v, int ret, struct jval *out)
{
	if (!ret && v->t == J_STRING && v->u.s->safe)
		((struct jstr *)out->u.s)->safe = true;
	return ret;
}

static int f_safe(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	int ret = jargs_take(c, "safe", a, "", 0, NULL);

	if (!ret)
		ret = jto_str(c, v, out);
	if (!ret)
		ret = jstr_new(c, out->u.s->p, out->u.s->len, out);
	if (!ret)
		((struct jstr *)out->u.s)->safe = true;
	return ret;
}

static int f_string(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	int ret = jargs_take(c, "string", a, "", 0, NULL);

	return ret ? ret : jto_str(c, v, out);
}

static int change(struct jctx *c, const char *fn, struct jval *v, const struct jargs *a,
		  int (*how)(struct jctx *c, const struct jstr *s, struct jval *out),
		  struct jval *out)
{
	struct jval s;
	int ret = jargs_take(c, fn, a, "", 0, NULL);

	if (!ret)
		ret = jto_str(c, v, &s);
	return ret ? ret : keep_safe(v, how(c, s.u.s, out), out);
}

static int f_upper(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return change(c, "upper", v, a, jstr_upper, out);
}

static int f_lower(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return change(c, "lower", v, a, jstr_lower, out);
}

static int f_capitalize(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return change(c, "capitalize", v, a, jstr_capitalize, out);
}

static int f_trim(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval chars = jnone(), s;
	int ret = jargs_take(c, "trim", a, "chars", 0, &chars);

	if (!ret)
		ret = jto_str(c, v, &s);
	if (!ret && chars.t != J_NONE)
		ret = str_arg(c, "trim", &chars);
	if (ret)
		return ret;
	ret = jstr_strip(c, s.u.s, chars.t == J_NONE ? NULL : chars.u.s, true, true, out);
	return keep_safe(v, ret, out);
}

static int f_replace(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[3] = {jnone(), jnone(), jnone()}, s;
	int64_t count = -1;
	int ret = jargs_take(c, "replace", a, "old new count", 2, arg);

	if (!ret)
		ret = jto_str(c, v, &s);
	for (int i = 0; i < 2 && !ret; i++)
		ret = jto_str(c, &arg[i], &arg[i]);
	if (!ret && arg[2].t != J_NONE)
		ret = int_arg(c, "replace", &arg[2], &count);
	return ret ? ret
		   : jstr_replace(c, s.u.s, arg[0].u.s, arg[1].u.s, count < 0 ? -1 : count, out);
}

/* Lines behind the first get the indention in front, but for empty ones. */
static int indent_lines(struct jctx *c, const struct jlist *l, const struct jstr *with, bool first,
			bool blank, struct jbuf *b)
{
	int ret = first ? jbuf_put(c, b, with->p, with->len) : 0;

	for (size_t i = 0; i < l->n && !ret; i++) {
		const struct jstr *s = l->v[i].u.s;

		if (i)
			ret = jbuf_put(c, b, "\n", 1);
		if (!ret && i && (s->len || blank))
			ret = jbuf_put(c, b, with->p, with->len);
		if (!ret)
			ret = jbuf_put(c, b, s->p, s->len);
	}
	return ret;
}

static int f_indent(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[3] = {jint(4), jbool(false), jbool(false)}, s, lines;
	struct jbuf b = {0};
	int64_t width;
	bool first, blank;
	int ret = jargs_take(c, "indent", a, "width first blank", 0, arg);

	if (!ret && arg[0].t != J_STRING) {
		ret = int_arg(c, "indent", &arg[0], &width);
		if (!ret && (width < 0 || width > 1000))
			ret = jfail(c, -EOPNOTSUPP, "indent: a width of %lld is not supported",
				    (long long)width);
		if (!ret)
			ret = jstr_fmt(c, &arg[0], "%*s", (int)(width > 120 ? 120 : width), "");
		if (!ret && width > 120)
			ret = jfail(c, -EOPNOTSUPP, "indent: a width of %lld is not supported",
				    (long long)width);
	}
	if (!ret)
		ret = bool_arg(c, &arg[1], &first);
	if (!ret)
		ret = bool_arg(c, &arg[2], &blank);
	if (!ret)
		ret = v->t == J_STRING ? 0 : str_arg(c, "indent", v);
	/* A newline is put behind the text first, so that one at its end is seen. */
	if (!ret)
		ret = jbuf_put(c, &b, v->u.s->p, v->u.s->len);
	if (!ret)
		ret = jbuf_put(c, &b, "\n", 1);
	if (!ret)
		ret = jstr_new(c, b.p, b.len, &s);
	if (!ret)
		ret = jstr_splitlines(c, s.u.s, false, &lines);
	b.len = 0;
	if (!ret)
		ret = indent_lines(c, lines.u.l, arg[0].u.s, first, blank, &b);
	if (!ret)
		ret = jstr_new(c, b.p, b.len, out);
	free(b.p);
	return keep_safe(v, ret, out);
}

/* ---- JSON ---- */

static int json_indent(struct jctx *c, const struct jval *v, struct jjson_style *s)
{
	int64_t n;

	if (v->t == J_NONE)
		return 0;
	s->indented = true;
	if (v->t == J_STRING) {
		s->indent = *v->u.s;
		return 0;
	}
	if (!jas_int(v, &n) || n > 64)
		return jfail(c, -EOPNOTSUPP, "tojson: this indent is not supported");
	n = n < 0 ? 0 : n;
	s->indent.p = "                                                                " + 64 - n;
	s->indent.len = (uint32_t)n;
	return 0;
}

static int json_separators(struct jctx *c, const struct jval *v, struct jjson_style *s)
{
	static const struct jstr comma = {.len = 1, .p = ","}, comma_space = {.len = 2, .p = ", "},
				 colon = {.len = 2, .p = ": "};

	s->item = s->indented ? &comma : &comma_space;
	s->key = &colon;
	if (v->t == J_NONE)
		return 0;
	if ((v->t != J_LIST && v->t != J_TUPLE) || v->u.l->n != 2 || v->u.l->v[0].t != J_STRING ||
	    v->u.l->v[1].t != J_STRING)
		return jfail(c, -EINVAL, "tojson: separators are two texts");
	s->item = v->u.l->v[0].u.s;
	s->key = v->u.l->v[1].u.s;
	return 0;
}

static int f_tojson(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[4] = {jbool(false), jnone(), jnone(), jbool(false)};
	struct jjson_style s = {0};
	struct jbuf b = {0};
	int ret = jargs_take(c, "tojson", a, "ensure_ascii indent separators sort_keys", 0, arg);

	if (!ret)
		ret = bool_arg(c, &arg[0], &s.ascii);
	if (!ret)
		ret = json_indent(c, &arg[1], &s);
	if (!ret)
		ret = json_separators(c, &arg[2], &s);
	if (!ret)
		ret = bool_arg(c, &arg[3], &s.sort);
	if (!ret)
		ret = jjson_dump(c, v, &s, &b);
	if (!ret)
		ret = jstr_new(c, b.p, b.len, out);
	free(b.p);
	return ret;
}

/* ---- numbers ---- */

static int f_abs(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	int64_t i;
	int ret = jargs_take(c, "abs", a, "", 0, NULL);

	if (ret)
		return ret;
	if (v->t == J_FLOAT)
		*out = jfloat(fabs(v->u.f));
	else if (jas_int(v, &i) && i != INT64_MIN)
		*out = jint(i < 0 ? -i : i);
	else
		return jfail(c, -EINVAL, "abs of a %s", jtype_name(v));
	return 0;
}

/* A text to a number as int() and float() read it, but for underscores and other digits than 0 to 9. */
static bool parse_number(const struct jstr *s, bool whole, int64_t *i, double *f)
{
	const char *p = s->p, *end = p + s->len;
	char *stop;

	while (p < end && jspace((unsigned char)*p))
		p++;
	while (end > p && jspace((unsigned char)end[-1]))
		end--;
	if (p == end || strspn(p, "+-0123456789.eE") < (size_t)(end - p))
		return false;
	errno = 0;
	if (whole)
		*i = strtoll(p, &stop, 10);
	else
		*f = strtod(p, &stop);
	return stop == end && !(whole && errno);
}

static int f_int(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[2] = {jint(0), jint(10)};
	int64_t i, base;
	double f;
	int ret = jargs_take(c, "int", a, "default base", 0, arg);

	if (!ret && (!jas_int(&arg[1], &base) || base != 10))
		ret = jfail(c, -EOPNOTSUPP, "int: another base than 10 is not supported");
	if (ret)
		return ret;
	*out = arg[0];
	if (jas_int(v, &i) || (v->t == J_STRING && parse_number(v->u.s, true, &i, &f))) {
		*out = jint(i);
	} else if (v->t == J_BIGINT) {
		*out = *v;
	} else if (v->t == J_FLOAT || (v->t == J_STRING && parse_number(v->u.s, false, &i, &f))) {
		f = v->t == J_FLOAT ? v->u.f : f;
		if (fabs(f) >= 9223372036854775808.0)
			return jfail(c, -EOPNOTSUPP,
				     "int: a result of more than 64 bits is not supported");
		*out = isnan(f) ? arg[0] : jint((int64_t)f);
	}
	return 0;
}

static int f_float(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval def = jfloat(0);
	int64_t i;
	double f;
	int ret = jargs_take(c, "float", a, "default", 0, &def);

	if (ret)
		return ret;
	*out = def;
	if (jas_number(v, &f) || (v->t == J_STRING && parse_number(v->u.s, false, &i, &f)))
		*out = jfloat(f);
	else if (v->t == J_BIGINT)
		return jfail(c, -EOPNOTSUPP, "float of more than 64 bits is not supported");
	return 0;
}

/* ---- sequences ---- */

static int f_length(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	int ret = jargs_take(c, "length", a, "", 0, NULL);

	if (ret)
		return ret;
	*out = jint(jlength(v));
	return out->u.i >= 0 ? 0 : jfail(c, -EINVAL, "a %s has no length", jtype_name(v));
}

static int f_list(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jlist *l;
	int ret = jargs_take(c, "list", a, "", 0, NULL);

	if (!ret)
		ret = jiterate(c, v, &l);
	*out = (struct jval){J_LIST, {.l = l}};
	return ret;
}

static int f_first(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jlist *l;
	int ret = jargs_take(c, "first", a, "", 0, NULL);

	if (!ret && v->t == J_ITER && !v->u.l->view) {
		*out = v->u.l->pos < v->u.l->n ? v->u.l->v[v->u.l->pos++] : jundef(NULL);
		return 0;
	}
	if (!ret)
		ret = jiterate(c, v, &l);
	if (!ret)
		*out = l->n ? l->v[0] : jundef(NULL);
	return ret;
}

static int f_last(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jlist *l;
	int ret = jargs_take(c, "last", a, "", 0, NULL);

	if (!ret && v->t == J_ITER && !v->u.l->view)
		ret = jfail(c, -EINVAL, "last of an iterator");
	if (!ret)
		ret = jiterate(c, v, &l);
	if (!ret)
		*out = l->n ? l->v[l->n - 1] : jundef(NULL);
	return ret;
}

static int f_reverse(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jlist *l;
	int ret = jargs_take(c, "reverse", a, "", 0, NULL);

	if (!ret && v->t == J_STRING)
		return keep_safe(v, jstr_reverse(c, v->u.s, out), out);
	if (!ret)
		ret = jiterate(c, v, &l);
	if (!ret)
		ret = jlist_new(c, J_ITER, l->n, out);
	for (size_t i = ret ? 0 : l->n; i-- > 0 && !ret;)
		ret = jlist_add(c, out->u.l, l->v[i]);
	return ret;
}

static int f_items(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	static const struct jstr name = {.len = 5, .num = 5, .p = "items"};
	static const struct jargs none;
	struct jval method;
	bool found;
	int ret = jargs_take(c, "items", a, "", 0, NULL);

	if (!ret && v->t == J_UNDEFINED)
		return jlist_new(c, J_ITER, 0, out);
	if (!ret && v->t != J_DICT)
		ret = jfail(c, -EINVAL, "items of a %s", jtype_name(v));
	if (!ret)
		ret = jinja_attribute(c, v, &name, &method, &found);
	if (!ret)
		ret = jinja_call_method(c, method.u.m, &none, out);
	if (!ret)
		out->u.l->view = false;
	return ret;
}

static int f_default(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[2] = {{0}, jbool(false)};
	bool also_false, is;
	int ret = jstr_new(c, "", 0, &arg[0]);

	if (!ret)
		ret = jargs_take(c, "default", a, "default_value boolean", 0, arg);
	if (!ret)
		ret = bool_arg(c, &arg[1], &also_false);
	if (!ret)
		ret = jtruth(c, v, &is);
	*out = v->t == J_UNDEFINED || (!ret && also_false && !is) ? arg[0] : *v;
	return ret;
}

/* ---- attributes of elements ---- */

/* v.a.b.0; `def` (or NULL) takes the place of what is undefined, at every step. */
static int attribute(struct jctx *c, struct jval v, const struct jval *path, const struct jval *def,
		     struct jval *out)
{
	const char *p, *end;
	int64_t i;
	int ret = 0;

	if (path->t != J_STRING) {
		if (!jas_int(path, &i))
			return jfail(c, -EINVAL, "an attribute's name is a str, not %s",
				     jtype_name(path));
		ret = jinja_getitem(c, &v, path, out);
		if (!ret && def && out->t == J_UNDEFINED)
			*out = *def;
		return ret;
	}
	p = path->u.s->p;
	end = p + path->u.s->len;
	*out = v;
	for (;;) {
		size_t n = strcspn(p, ".");
		struct jval key;

		if (n && strspn(p, "0123456789") >= n && n < 10)
			key = jint(atoi(p));
		else
			ret = jstr_new(c, p, n, &key);
		if (!ret)
			ret = jinja_getitem(c, &v, &key, out);
		if (!ret && def && out->t == J_UNDEFINED)
			*out = *def;
		if (ret || p + n >= end)
			return ret;
		v = *out;
		p += n + 1;
	}
}

static int f_join(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[2] = {{0}, jnone()}, s;
	struct jbuf b = {0};
	struct jlist *l;
	int ret = jstr_new(c, "", 0, &arg[0]);

	if (!ret)
		ret = jargs_take(c, "join", a, "d attribute", 0, arg);
	if (!ret)
		ret = jto_str(c, &arg[0], &arg[0]);
	if (!ret)
		ret = jiterate(c, v, &l);
	for (size_t i = 0; !ret && i < l->n; i++) {
		s = l->v[i];
		if (arg[1].t != J_NONE)
			ret = attribute(c, s, &arg[1], NULL, &s);
		if (!ret)
			ret = jto_str(c, &s, &s);
		if (!ret && i)
			ret = jbuf_put(c, &b, arg[0].u.s->p, arg[0].u.s->len);
		if (!ret)
			ret = jbuf_put(c, &b, s.u.s->p, s.u.s->len);
	}
	if (!ret)
		ret = jstr_new(c, b.p, b.len, out);
	free(b.p);
	return ret;
}

/* The arguments behind the first n. */
static struct jargs *rest(struct jctx *c, const struct jargs *a, size_t n)
{
	struct jargs *r = jarena_alloc(&c->arena, sizeof(*r));

	if (!r) {
		jfail(c, -EFBIG, "rendering takes more memory than is allowed");
		return NULL;
	}
	*r = *a;
	r->num = a->num > n ? a->num - n : 0;
	if (r->num)
		memmove(r->pos, a->pos + n, r->num * sizeof(r->pos[0]));
	return r;
}

/* map('name', ...) and map(attribute='a', default=...) */
static int f_map(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[2] = {jnone(), jnone()};
	struct jargs *more = rest(c, a, 1);
	struct jlist *l;
	bool known;
	int filter = -1, ret = more ? 0 : -EFBIG;

	if (!ret && !a->num)
		ret = jargs_take(c, "map", a, "attribute default", 1, arg);
	else if (!ret)
		ret = str_arg(c, "map", &a->pos[0]);
	if (!ret && a->num) {
		filter = jinja_filter_find(a->pos[0].u.s, &known);
		if (filter < 0)
			ret = jfail(c, known ? -EOPNOTSUPP : -EINVAL,
				    "map: the filter %.60s is not supported", a->pos[0].u.s->p);
	}
	if (!ret)
		ret = jiterate(c, v, &l);
	if (!ret)
		ret = jlist_new(c, J_ITER, l->n, out);
	for (size_t i = 0; !ret && i < l->n; i++) {
		struct jval item = l->v[i], r;

		ret = filter >= 0 ? jinja_filter_apply(c, filter, &item, more, &r)
				  : attribute(c, item, &arg[0], arg[1].t == J_NONE ? NULL : &arg[1],
					      &r);
		if (!ret)
			ret = jlist_add(c, out->u.l, r);
	}
	return ret;
}

/* select, reject (attr false) and selectattr, rejectattr: with a test's name, or by truth. */
static int pick(struct jctx *c, const char *fn, struct jval *v, const struct jargs *a, bool attr,
		bool keep, struct jval *out)
{
	size_t at = attr ? 1 : 0;
	struct jargs *more = rest(c, a, at + 1);
	struct jlist *l;
	bool known;
	int test = -1, ret = more ? 0 : -EFBIG;

	if (!ret && attr && !a->num)
		ret = jfail(c, -EINVAL, "%s needs the name of an attribute", fn);
	if (!ret && a->num > at) {
		ret = str_arg(c, fn, &a->pos[at]);
		if (!ret)
			test = jinja_test_find(a->pos[at].u.s, &known);
		if (!ret && test < 0)
			ret = jfail(c, known ? -EOPNOTSUPP : -EINVAL,
				    "%s: the test %.60s is not supported", fn, a->pos[at].u.s->p);
	} else if (!ret && a->num_kw) {
		ret = jfail(c, -EINVAL, "%s: names without a test", fn);
	}
	if (!ret)
		ret = jiterate(c, v, &l);
	if (!ret)
		ret = jlist_new(c, J_ITER, 0, out);
	for (size_t i = 0; !ret && i < l->n; i++) {
		struct jval item = l->v[i];
		bool is;

		if (attr)
			ret = attribute(c, item, &a->pos[0], NULL, &item);
		if (!ret)
			ret = test >= 0 ? jinja_test_apply(c, test, &item, more, &is)
					: jtruth(c, &item, &is);
		if (!ret && is == keep)
			ret = jlist_add(c, out->u.l, l->v[i]);
	}
	return ret;
}

static int f_select(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return pick(c, "select", v, a, false, true, out);
}

static int f_reject(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return pick(c, "reject", v, a, false, false, out);
}

static int f_selectattr(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return pick(c, "selectattr", v, a, true, true, out);
}

static int f_rejectattr(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return pick(c, "rejectattr", v, a, true, false, out);
}

/* ---- order ---- */

/* What a value is sorted by: texts without their case unless it counts. */
static int sort_key(struct jctx *c, struct jval v, const struct jval *attr, bool cased,
		    struct jval *key)
{
	int ret = 0;

	*key = v;
	if (attr && attr->t == J_STRING && strchr(attr->u.s->p, ','))
		return jfail(c, -EOPNOTSUPP, "sorting by more than one attribute is not supported");
	if (attr && attr->t != J_NONE)
		ret = attribute(c, v, attr, NULL, key);
	if (!ret && !cased && key->t == J_STRING)
		ret = jstr_lower(c, key->u.s, key);
	return ret;
}

/* A stable merge of src[from, to) into order by keys. */
static int merge_sort(struct jctx *c, struct jpair *p, struct jpair *tmp, size_t n, bool reverse)
{
	size_t half = n / 2, i = 0, k = half, to = 0;
	int r, ret;

	if (n < 2)
		return 0;
	ret = merge_sort(c, p, tmp, half, reverse);
	if (!ret)
		ret = merge_sort(c, p + half, tmp, n - half, reverse);
	while (!ret && i < half && k < n) {
		ret = jcompare(c, &p[i].k, &p[k].k, "<", &r);
		tmp[to++] = (reverse ? r >= 0 : r <= 0) ? p[i++] : p[k++];
	}
	while (i < half)
		tmp[to++] = p[i++];
	while (k < n)
		tmp[to++] = p[k++];
	memcpy(p, tmp, n * sizeof(*p));
	return ret;
}

static int sort_list(struct jctx *c, const struct jlist *l, const struct jval *attr, bool cased,
		     bool reverse, struct jval *out)
{
	struct jpair *p = jarena_alloc(&c->arena, (2 * l->n + 1) * sizeof(*p));
	int ret = p ? jlist_new(c, J_LIST, l->n, out)
		    : jfail(c, -EFBIG, "rendering takes more memory than is allowed");

	for (size_t i = 0; i < l->n && !ret; i++) {
		p[i].v = l->v[i];
		ret = sort_key(c, l->v[i], attr, cased, &p[i].k);
	}
	if (!ret)
		ret = merge_sort(c, p, p + l->n, l->n, reverse);
	for (size_t i = 0; i < l->n && !ret; i++)
		ret = jlist_add(c, out->u.l, p[i].v);
	return ret;
}

static int f_sort(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[3] = {jbool(false), jbool(false), jnone()};
	struct jlist *l;
	bool reverse, cased;
	int ret = jargs_take(c, "sort", a, "reverse case_sensitive attribute", 0, arg);

	if (!ret)
		ret = bool_arg(c, &arg[0], &reverse);
	if (!ret)
		ret = bool_arg(c, &arg[1], &cased);
	if (!ret)
		ret = jiterate(c, v, &l);
	return ret ? ret : sort_list(c, l, &arg[2], cased, reverse, out);
}

static int f_dictsort(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[3] = {jbool(false), {0}, jbool(false)}, items, at = jint(0);
	static const struct jargs none;
	bool reverse, cased;
	int ret = jstr_new(c, "key", 3, &arg[1]);

	if (!ret)
		ret = jargs_take(c, "dictsort", a, "case_sensitive by reverse", 0, arg);
	if (!ret)
		ret = bool_arg(c, &arg[0], &cased);
	if (!ret)
		ret = bool_arg(c, &arg[2], &reverse);
	if (!ret && !jis(&arg[1], "key") && !jis(&arg[1], "value"))
		ret = jfail(c, -EINVAL, "dictsort: by is key or value");
	if (!ret && v->t != J_DICT)
		ret = jfail(c, -EINVAL, "dictsort of a %s", jtype_name(v));
	if (!ret)
		ret = f_items(c, v, &none, &items);
	if (ret)
		return ret;
	if (jis(&arg[1], "value"))
		at = jint(1);
	return sort_list(c, items.u.l, &at, cased, reverse, out);
}

static int extreme(struct jctx *c, const char *fn, struct jval *v, const struct jargs *a, bool most,
		   struct jval *out)
{
	struct jval arg[2] = {jbool(false), jnone()}, best, key;
	struct jlist *l;
	bool cased;
	int r, ret = jargs_take(c, fn, a, "case_sensitive attribute", 0, arg);

	if (!ret)
		ret = bool_arg(c, &arg[0], &cased);
	if (!ret)
		ret = jiterate(c, v, &l);
	*out = jundef(NULL);
	for (size_t i = 0; !ret && i < l->n; i++) {
		ret = sort_key(c, l->v[i], &arg[1], cased, &key);
		if (!ret && i)
			ret = jcompare(c, &key, &best, most ? ">" : "<", &r);
		if (ret || (i && (most ? r <= 0 : r >= 0)))
			continue;
		best = key;
		*out = l->v[i];
	}
	return ret;
}

static int f_max(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return extreme(c, "max", v, a, true, out);
}

static int f_min(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	return extreme(c, "min", v, a, false, out);
}

static int f_sum(struct jctx *c, struct jval *v, const struct jargs *a, struct jval *out)
{
	struct jval arg[2] = {jnone(), jint(0)}, item;
	struct jlist *l;
	int ret = jargs_take(c, "sum", a, "attribute start", 0, arg);

	if (!ret)
		ret = jiterate(c, v, &l);
	*out = arg[1];
	for (size_t i = 0; !ret && i < l->n; i++) {
		item = l->v[i];
		if (arg[0].t != J_NONE)
			ret = attribute(c, item, &arg[0], NULL, &item);
		if (!ret)
			ret = jinja_binary(c, T_ADD, out, &item, out);
	}
	return ret;
}

/* ---- table ---- */

static const struct {
	const char *name;
	filter_fn *apply; /* NULL: Jinja has it, this does not */
} filters[] = {
	{"abs", f_abs},
	{"capitalize", f_capitalize},
	{"count", f_length},
	{"d", f_default},
	{"default", f_default},
	{"dictsort", f_dictsort},
	{"first", f_first},
	{"float", f_float},
	{"indent", f_indent},
	{"int", f_int},
	{"items", f_items},
	{"join", f_join},
	{"last", f_last},
	{"length", f_length},
	{"list", f_list},
	{"lower", f_lower},
	{"map", f_map},
	{"max", f_max},
	{"min", f_min},
	{"reject", f_reject},
	{"rejectattr", f_rejectattr},
	{"replace", f_replace},
	{"reverse", f_reverse},
	{"safe", f_safe},
	{"select", f_select},
	{"selectattr", f_selectattr},
	{"sort", f_sort},
	{"string", f_string},
	{"sum", f_sum},
	{"tojson", f_tojson},
	{"trim", f_trim},
	{"upper", f_upper},
	{"attr"},
	{"batch"},
	{"center"},
	{"e"},
	{"escape"},
	{"filesizeformat"},
	{"forceescape"},
	{"format"},
	{"groupby"},
	{"pprint"},
	{"random"},
	{"round"},
	{"slice"},
	{"striptags"},
	{"title"},
	{"truncate"},
	{"unique"},
	{"urlencode"},
	{"urlize"},
	{"wordcount"},
	{"wordwrap"},
	{"xmlattr"},
};

int jinja_filter_find(const struct jstr *name, bool *known)
{
	*known = false;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(filters); i++) {
		if (strlen(filters[i].name) != name->len ||
		    memcmp(filters[i].name, name->p, name->len))
			continue;
		*known = true;
		return filters[i].apply ? (int)i : -1;
	}
	return -1;
}

int jinja_filter_apply(struct jctx *c, int filter, struct jval *v, const struct jargs *a,
		       struct jval *out)
{
	return filters[filter].apply(c, v, a, out);
}
