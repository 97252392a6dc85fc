// SPDX-License-Identifier: MIT
/*
 * Attributes that Python's types have. Those that are not implemented are known, too: x.name with such
 * a name is refused rather than undefined. What changes a list or a dict is refused as in Jinja's
 * immutable sandbox.
 */
#include "jinja.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer.h"

typedef int method_fn(struct jctx *c, const struct jval *self, const struct jargs *a,
		      struct jval *out);

/* ---- arguments ---- */

static int need_str(struct jctx *c, const char *fn, const struct jval *v)
{
	if (v->t == J_STRING)
		return 0;
	if (v->t == J_UNDEFINED)
		return jfail(c, -EINVAL, "%s(): '%.80s' is undefined", fn,
			     v->u.s ? v->u.s->p : "value");
	return jfail(c, -EINVAL, "%s() needs a str, not %s", fn, jtype_name(v));
}

/* No names: Python's str takes positions only, nearly everywhere. */
static int take(struct jctx *c, const char *fn, const struct jargs *a, size_t least, size_t most)
{
	if (a->num_kw)
		return jfail(c, -EINVAL, "%s() takes no names", fn);
	if (a->num < least || a->num > most)
		return jfail(c, -EINVAL, "%s() with %zu arguments", fn, a->num);
	return 0;
}

/* ---- str ---- */

static int affix(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
		 bool end, struct jval *out)
{
	struct jval one[1] = {a->pos[0]}, *v = one;
	const struct jstr *s = self->u.s;
	size_t n = 1;
	int ret = take(c, fn, a, 1, 1);

	if (ret)
		return ret;
	if (a->pos[0].t == J_TUPLE) {
		v = a->pos[0].u.l->v;
		n = a->pos[0].u.l->n;
	}
	*out = jbool(false);
	for (size_t i = 0; i < n; i++) {
		ret = need_str(c, fn, &v[i]);
		if (ret)
			return ret;
		if (v[i].u.s->len <= s->len &&
		    !memcmp(s->p + (end ? s->len - v[i].u.s->len : 0), v[i].u.s->p, v[i].u.s->len))
			out->u.b = true;
	}
	return 0;
}

static int str_startswith(struct jctx *c, const struct jval *self, const struct jargs *a,
			  struct jval *out)
{
	return affix(c, "startswith", self, a, false, out);
}

static int str_endswith(struct jctx *c, const struct jval *self, const struct jargs *a,
			struct jval *out)
{
	return affix(c, "endswith", self, a, true, out);
}

static int strip(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
		 bool left, bool right, struct jval *out)
{
	const struct jstr *chars = NULL;
	int ret = take(c, fn, a, 0, 1);

	if (!ret && a->num && a->pos[0].t != J_NONE) {
		ret = need_str(c, fn, &a->pos[0]);
		chars = a->pos[0].u.s;
	}
	return ret ? ret : jstr_strip(c, self->u.s, chars, left, right, out);
}

static int str_strip(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	return strip(c, "strip", self, a, true, true, out);
}

static int str_lstrip(struct jctx *c, const struct jval *self, const struct jargs *a,
		      struct jval *out)
{
	return strip(c, "lstrip", self, a, true, false, out);
}

static int str_rstrip(struct jctx *c, const struct jval *self, const struct jargs *a,
		      struct jval *out)
{
	return strip(c, "rstrip", self, a, false, true, out);
}

static int split(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
		 bool right, struct jval *out)
{
	struct jval v[2] = {jnone(), jint(-1)};
	int64_t max;
	int ret = jargs_take(c, fn, a, "sep maxsplit", 0, v);

	if (!ret && v[0].t != J_NONE)
		ret = need_str(c, fn, &v[0]);
	if (!ret && !jas_int(&v[1], &max))
		ret = jfail(c, -EINVAL, "%s() needs an integer, not %s", fn, jtype_name(&v[1]));
	return ret ? ret
		   : jstr_split(c, self->u.s, v[0].t == J_NONE ? NULL : v[0].u.s, max, right, out);
}

static int str_split(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	return split(c, "split", self, a, false, out);
}

static int str_rsplit(struct jctx *c, const struct jval *self, const struct jargs *a,
		      struct jval *out)
{
	return split(c, "rsplit", self, a, true, out);
}

static int str_splitlines(struct jctx *c, const struct jval *self, const struct jargs *a,
			  struct jval *out)
{
	struct jval keep = jbool(false);
	bool b;
	int ret = jargs_take(c, "splitlines", a, "keepends", 0, &keep);

	if (!ret)
		ret = jtruth(c, &keep, &b);
	return ret ? ret : jstr_splitlines(c, self->u.s, b, out);
}

static int change(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
		  int (*how)(struct jctx *c, const struct jstr *s, struct jval *v),
		  struct jval *out)
{
	int ret = take(c, fn, a, 0, 0);

	return ret ? ret : how(c, self->u.s, out);
}

static int str_upper(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	return change(c, "upper", self, a, jstr_upper, out);
}

static int str_lower(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	return change(c, "lower", self, a, jstr_lower, out);
}

static int str_capitalize(struct jctx *c, const struct jval *self, const struct jargs *a,
			  struct jval *out)
{
	return change(c, "capitalize", self, a, jstr_capitalize, out);
}

static int str_replace(struct jctx *c, const struct jval *self, const struct jargs *a,
		       struct jval *out)
{
	int64_t count = -1;
	int ret = take(c, "replace", a, 2, 3);

	for (int i = 0; i < 2 && !ret; i++)
		ret = need_str(c, "replace", &a->pos[i]);
	if (!ret && a->num == 3 && !jas_int(&a->pos[2], &count))
		ret = jfail(c, -EINVAL, "replace() needs an integer, not %s",
			    jtype_name(&a->pos[2]));
	return ret ? ret
		   : jstr_replace(c, self->u.s, a->pos[0].u.s, a->pos[1].u.s,
				  count < 0 ? -1 : count, out);
}

/* A place in characters. */
static int find(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
		bool last, struct jval *out)
{
	const struct jstr *s = self->u.s;
	int64_t at;
	int ret = take(c, fn, a, 1, 1);

	if (!ret)
		ret = need_str(c, fn, &a->pos[0]);
	if (!ret)
		ret = jsteps(c, s->len / 8);
	if (ret)
		return ret;
	at = jstr_find(s, a->pos[0].u.s, 0, last);
	if (at > 0) {
		struct jstr head = {.len = (uint32_t)at, .p = s->p};

		jstr_count(&head);
		at = head.num;
	}
	*out = jint(at);
	return 0;
}

static int str_find(struct jctx *c, const struct jval *self, const struct jargs *a,
		    struct jval *out)
{
	return find(c, "find", self, a, false, out);
}

static int str_rfind(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	return find(c, "rfind", self, a, true, out);
}

static int str_index(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	int ret = find(c, "index", self, a, false, out);

	return ret || out->u.i >= 0 ? ret : jfail(c, -EINVAL, "index(): the text is not there");
}

static int str_count(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	size_t from = 0;
	int64_t n = 0, at;
	int ret = take(c, "count", a, 1, 1);

	if (!ret)
		ret = need_str(c, "count", &a->pos[0]);
	if (!ret)
		ret = jsteps(c, self->u.s->len / 4);
	if (ret)
		return ret;
	if (!a->pos[0].u.s->len)
		n = self->u.s->num + 1;
	for (; a->pos[0].u.s->len && (at = jstr_find(self->u.s, a->pos[0].u.s, from, false)) >= 0;
	     n++)
		from = (size_t)at + a->pos[0].u.s->len;
	*out = jint(n);
	return 0;
}

static int str_join(struct jctx *c, const struct jval *self, const struct jargs *a,
		    struct jval *out)
{
	struct jbuf b = {0};
	struct jval v = a->pos[0];
	struct jlist *l;
	int ret = take(c, "join", a, 1, 1);

	if (!ret)
		ret = jiterate(c, &v, &l);
	for (size_t i = 0; !ret && i < l->n; i++) {
		ret = need_str(c, "join", &l->v[i]);
		if (!ret && i)
			ret = jbuf_put(c, &b, self->u.s->p, self->u.s->len);
		if (!ret)
			ret = jbuf_put(c, &b, l->v[i].u.s->p, l->v[i].u.s->len);
	}
	if (!ret)
		ret = jstr_new(c, b.p, b.len, out);
	free(b.p);
	return ret;
}

static int cut(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
	       bool end, struct jval *out)
{
	struct jval is;
	int ret = affix(c, fn, self, a, end, &is);
	size_t n;

	if (!ret)
		ret = need_str(c, fn, &a->pos[0]);
	if (ret)
		return ret;
	n = is.u.b ? a->pos[0].u.s->len : 0;
	return jstr_new(c, self->u.s->p + (end ? 0 : n), self->u.s->len - n, out);
}

static int str_removeprefix(struct jctx *c, const struct jval *self, const struct jargs *a,
			    struct jval *out)
{
	return cut(c, "removeprefix", self, a, false, out);
}

static int str_removesuffix(struct jctx *c, const struct jval *self, const struct jargs *a,
			    struct jval *out)
{
	return cut(c, "removesuffix", self, a, true, out);
}

/* Is every character of one kind? ASCII only; what else there is depends on Unicode's tables. */
static int all_of(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
		  bool (*is)(int32_t cp), bool ascii, struct jval *out)
{
	const unsigned char *p = (const unsigned char *)self->u.s->p, *end = p + self->u.s->len;
	int ret = take(c, fn, a, 0, 0);

	if (!ret)
		ret = jsteps(c, self->u.s->len / 4);
	*out = jbool(p < end);
	for (; p < end && !ret; p += utf8_len(p, end)) {
		int32_t cp = utf8_at(p, end);

		if (ascii && cp >= 0x80)
			return jfail(c, -EOPNOTSUPP, "%s() of what is not ASCII is not supported",
				     fn);
		out->u.b &= is(cp);
	}
	return ret;
}

static bool is_ascii_digit(int32_t cp)
{
	return cp >= '0' && cp <= '9';
}

static bool is_ascii_alpha(int32_t cp)
{
	return (cp | 32) >= 'a' && (cp | 32) <= 'z';
}

static int str_isdigit(struct jctx *c, const struct jval *self, const struct jargs *a,
		       struct jval *out)
{
	return all_of(c, "isdigit", self, a, is_ascii_digit, true, out);
}

static int str_isalpha(struct jctx *c, const struct jval *self, const struct jargs *a,
		       struct jval *out)
{
	return all_of(c, "isalpha", self, a, is_ascii_alpha, true, out);
}

static int str_isspace(struct jctx *c, const struct jval *self, const struct jargs *a,
		       struct jval *out)
{
	return all_of(c, "isspace", self, a, jspace, false, out);
}

/* ---- dict, list ---- */

static int dict_get(struct jctx *c, const struct jval *self, const struct jargs *a,
		    struct jval *out)
{
	struct jval *found;
	int ret = take(c, "get", a, 1, 2);

	if (!ret && a->pos[0].t == J_UNDEFINED)
		found = NULL;
	else if (!ret)
		ret = jdict_get(c, self->u.d, a->pos[0], &found);
	if (ret)
		return ret;
	*out = found ? *found : a->num == 2 ? a->pos[1] : jnone();
	return 0;
}

/* 'k': keys, 'v': values, 'i': pairs */
static int view(struct jctx *c, const char *fn, const struct jval *self, const struct jargs *a,
		char what, struct jval *out)
{
	const struct jdict *d = self->u.d;
	int ret = take(c, fn, a, 0, 0);

	if (!ret)
		ret = jlist_new(c, J_ITER, d->n, out);
	if (ret)
		return ret;
	out->u.l->view = true;
	for (size_t i = 0; i < d->n && !ret; i++) {
		struct jval v = what == 'k' ? d->p[i].k : d->p[i].v;

		if (what == 'i') {
			ret = jlist_new(c, J_TUPLE, 2, &v);
			if (!ret)
				ret = jlist_add(c, v.u.l, d->p[i].k);
			if (!ret)
				ret = jlist_add(c, v.u.l, d->p[i].v);
		}
		if (!ret)
			ret = jlist_add(c, out->u.l, v);
	}
	return ret;
}

static int dict_keys(struct jctx *c, const struct jval *self, const struct jargs *a,
		     struct jval *out)
{
	return view(c, "keys", self, a, 'k', out);
}

static int dict_values(struct jctx *c, const struct jval *self, const struct jargs *a,
		       struct jval *out)
{
	return view(c, "values", self, a, 'v', out);
}

static int dict_items(struct jctx *c, const struct jval *self, const struct jargs *a,
		      struct jval *out)
{
	return view(c, "items", self, a, 'i', out);
}

static int list_index(struct jctx *c, const struct jval *self, const struct jargs *a,
		      struct jval *out)
{
	bool eq = false;
	int ret = take(c, "index", a, 1, 1);

	for (size_t i = 0; !ret && i < self->u.l->n; i++) {
		ret = jequal(c, &self->u.l->v[i], &a->pos[0], &eq);
		*out = jint((int64_t)i);
		if (eq)
			return ret;
	}
	return ret ? ret : jfail(c, -EINVAL, "index(): the value is not in the list");
}

static int list_count(struct jctx *c, const struct jval *self, const struct jargs *a,
		      struct jval *out)
{
	int64_t n = 0;
	bool eq;
	int ret = take(c, "count", a, 1, 1);

	for (size_t i = 0; !ret && i < self->u.l->n; i++) {
		ret = jequal(c, &self->u.l->v[i], &a->pos[0], &eq);
		n += !ret && eq;
	}
	*out = jint(n);
	return ret;
}

/* ---- tables ---- */

static const struct method {
	enum jtype type;
	const char *name;
	method_fn *call;
} methods[] = {
	{J_STRING, "startswith", str_startswith},
	{J_STRING, "endswith", str_endswith},
	{J_STRING, "strip", str_strip},
	{J_STRING, "lstrip", str_lstrip},
	{J_STRING, "rstrip", str_rstrip},
	{J_STRING, "split", str_split},
	{J_STRING, "rsplit", str_rsplit},
	{J_STRING, "splitlines", str_splitlines},
	{J_STRING, "upper", str_upper},
	{J_STRING, "lower", str_lower},
	{J_STRING, "capitalize", str_capitalize},
	{J_STRING, "replace", str_replace},
	{J_STRING, "find", str_find},
	{J_STRING, "rfind", str_rfind},
	{J_STRING, "index", str_index},
	{J_STRING, "count", str_count},
	{J_STRING, "join", str_join},
	{J_STRING, "removeprefix", str_removeprefix},
	{J_STRING, "removesuffix", str_removesuffix},
	{J_STRING, "isdigit", str_isdigit},
	{J_STRING, "isalpha", str_isalpha},
	{J_STRING, "isspace", str_isspace},
	{J_DICT, "get", dict_get},
	{J_DICT, "keys", dict_keys},
	{J_DICT, "values", dict_values},
	{J_DICT, "items", dict_items},
	{J_LIST, "index", list_index},
	{J_LIST, "count", list_count},
	{J_TUPLE, "index", list_index},
	{J_TUPLE, "count", list_count},
};

/* What Python's types have besides. */
static const struct {
	enum jtype type;
	const char *names;
} others[] = {
	{J_STRING,
	 " casefold center encode expandtabs format format_map isalnum isascii isdecimal "
	 "isidentifier islower isnumeric isprintable istitle isupper ljust maketrans partition "
	 "rindex rjust rpartition swapcase title translate zfill "},
	{J_DICT, " clear copy fromkeys pop popitem setdefault update "},
	{J_LIST, " append clear copy extend insert pop remove reverse sort "},
	{J_INT,
	 " as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag numerator "
	 "real to_bytes "},
	{J_BOOL,
	 " as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag numerator "
	 "real to_bytes "},
	{J_BIGINT,
	 " as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag numerator "
	 "real to_bytes "},
	{J_FLOAT, " as_integer_ratio conjugate fromhex hex imag is_integer real "},
	{J_MACRO, " arguments caller catch_kwargs catch_varargs explicit_caller name "},
};

static bool in_list(const char *names, const struct jstr *name)
{
	const char *at = names;

	while (name->len && (at = strstr(at, name->p))) {
		if (at[-1] == ' ' && at[name->len] == ' ')
			return true;
		at++;
	}
	return false;
}

static bool loop_attribute(const struct jloop *l, const struct jstr *name, struct jval *out)
{
	const char *n = name->p;
	size_t last = l->items->n - 1;

	if (!strcmp(n, "index"))
		*out = jint((int64_t)l->index + 1);
	else if (!strcmp(n, "index0"))
		*out = jint((int64_t)l->index);
	else if (!strcmp(n, "revindex"))
		*out = jint((int64_t)(last - l->index) + 1);
	else if (!strcmp(n, "revindex0"))
		*out = jint((int64_t)(last - l->index));
	else if (!strcmp(n, "first"))
		*out = jbool(!l->index);
	else if (!strcmp(n, "last"))
		*out = jbool(l->index == last);
	else if (!strcmp(n, "length"))
		*out = jint((int64_t)last + 1);
	else if (!strcmp(n, "depth"))
		*out = jint(1); /* of recursion, which there is none of */
	else if (!strcmp(n, "depth0"))
		*out = jint(0);
	else if (!strcmp(n, "previtem"))
		*out = l->index ? l->items->v[l->index - 1] : jundef(name);
	else if (!strcmp(n, "nextitem"))
		*out = l->index < last ? l->items->v[l->index + 1] : jundef(name);
	else
		return false;
	return true;
}

static int bound(struct jctx *c, const struct jval *self, int method, const struct jstr *name,
		 struct jval *out)
{
	struct jbound *m = jarena_alloc(&c->arena, sizeof(*m));

	if (!m)
		return jfail(c, -EFBIG, "rendering takes more memory than is allowed");
	*m = (struct jbound){*self, method, name};
	*out = (struct jval){J_METHOD, {.m = m}};
	return 0;
}

int jinja_attribute(struct jctx *c, const struct jval *v, const struct jstr *name, struct jval *out,
		    bool *found)
{
	struct jval *is;

	*found = true;
	if (name->len >= 2 && !memcmp(name->p, "__", 2))
		return jfail(c, -EOPNOTSUPP, "the attribute %.60s is not allowed", name->p);
	if (v->t == J_NAMESPACE) {
		is = jdict_find(v->u.d, name->p, name->len);
		*found = is != NULL;
		if (is)
			*out = *is;
		return 0;
	}
	if (v->t == J_LOOP && (!strcmp(name->p, "cycle") || !strcmp(name->p, "changed")))
		return bound(c, v, -1, name, out);
	if (v->t == J_LOOP) {
		*found = loop_attribute(v->u.loop, name, out);
		return 0;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(methods); i++) {
		if (methods[i].type == v->t && strlen(methods[i].name) == name->len &&
		    !memcmp(methods[i].name, name->p, name->len))
			return bound(c, v, (int)i, name, out);
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(others); i++) {
		if (others[i].type == v->t && in_list(others[i].names, name))
			return jfail(c, -EOPNOTSUPP, "%s.%.60s is not supported", jtype_name(v),
				     name->p);
	}
	*found = false;
	return 0;
}

int jinja_call_method(struct jctx *c, const struct jbound *m, const struct jargs *a,
		      struct jval *out)
{
	if (m->self.t == J_LOOP)
		return jinja_call_loop(c, m->self.u.loop, m->name, a, out);
	if (m->self.t == J_STRING && m->self.u.s->safe)
		return jfail(c, -EOPNOTSUPP, "%s() of a text marked safe is not supported",
			     m->name->p);
	return methods[m->method].call(c, &m->self, a, out);
}
