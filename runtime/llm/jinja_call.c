// SPDX-License-Identifier: MIT
/* Calls: arguments, the global functions, macros, loop.cycle() and loop.changed(). */
#include "jinja.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* ---- arguments ---- */

static bool is_name(const char *word, size_t n, const struct jstr *key)
{
	return key->len == n && !memcmp(key->p, word, n);
}

int jargs_take(struct jctx *c, const char *fn, const struct jargs *a, const char *names,
	       size_t need, struct jval *v)
{
	const char *word = names;
	size_t used = 0, i;

	for (i = 0; *word; i++) {
		size_t n = strcspn(word, " ");
		bool have = i < a->num;

		if (have)
			v[i] = a->pos[i];
		for (size_t k = 0; k < a->num_kw; k++) {
			if (!is_name(word, n, a->key[k]))
				continue;
			if (have)
				return jfail(c, -EINVAL, "%s(): %.*s is given twice", fn, (int)n,
					     word);
			v[i] = a->kw[k];
			have = true;
			used++;
		}
		if (!have && i < need)
			return jfail(c, -EINVAL, "%s(): %.*s is missing", fn, (int)n, word);
		word += n + (word[n] == ' ');
	}
	if (a->num > i)
		return jfail(c, -EINVAL, "%s() takes at most %zu arguments, not %zu", fn, i,
			     a->num);
	if (used != a->num_kw)
		return jfail(c, -EINVAL, "%s(): unknown argument (%s)", fn,
			     *names ? names : "it takes none");
	return 0;
}

/* ---- global functions ---- */

struct jfunction {
	const char *name;
	int (*call)(struct jctx *c, const struct jargs *a,
		    struct jval *out); /* NULL: not supported */
};

static int fn_namespace(struct jctx *c, const struct jargs *a, struct jval *out)
{
	int ret = jdict_new(c, J_NAMESPACE, out);

	if (a->num > 1 || (a->num && a->pos[0].t != J_DICT))
		return jfail(c, -EOPNOTSUPP,
			     "namespace() of anything but one dict and names is not supported");
	for (size_t i = 0; !ret && a->num && i < a->pos[0].u.d->n; i++)
		ret = jdict_set(c, out->u.d, a->pos[0].u.d->p[i].k, a->pos[0].u.d->p[i].v);
	for (size_t i = 0; !ret && i < a->num_kw; i++)
		ret = jdict_set(c, out->u.d, (struct jval){J_STRING, {.s = a->key[i]}}, a->kw[i]);
	return ret;
}

static int fn_dict(struct jctx *c, const struct jargs *a, struct jval *out)
{
	int ret = fn_namespace(c, a, out);

	out->t = J_DICT;
	return ret;
}

static int fn_range(struct jctx *c, const struct jargs *a, struct jval *out)
{
	int64_t i[3] = {0, 0, 1}, n;
	int ret;

	if (!a->num || a->num > 3 || a->num_kw)
		return jfail(c, -EINVAL, "range() takes one to three arguments");
	for (size_t k = 0; k < a->num; k++) {
		if (!jas_int(&a->pos[k], &i[a->num == 1 ? 1 : k]))
			return jfail(c, -EINVAL, "range() needs integers, not %s",
				     jtype_name(&a->pos[k]));
	}
	if (!i[2])
		return jfail(c, -EINVAL, "range() with a step of 0");
	for (int k = 0; k < 3; k++) {
		if (i[k] > (1ll << 60) || i[k] < -(1ll << 60))
			return jfail(c, -EOPNOTSUPP, "range() beyond 2**60 is not supported");
	}
	n = i[2] > 0 ? (i[1] - i[0] + i[2] - 1) / i[2] : (i[0] - i[1] - i[2] - 1) / -i[2];
	if ((i[2] > 0) != (i[1] > i[0]) || i[0] == i[1])
		n = 0;
	if (n > JINJA_RANGE_MAX)
		return jfail(c, -EFBIG, "range() of more than %d elements", JINJA_RANGE_MAX);
	ret = jlist_new(c, J_LIST, (size_t)n, out);
	for (int64_t k = 0; k < n && !ret; k++)
		ret = jlist_add(c, out->u.l, jint(i[0] + k * i[2]));
	return ret;
}

static int fn_raise(struct jctx *c, const struct jargs *a, struct jval *out)
{
	struct jval v;
	int ret = jargs_take(c, "raise_exception", a, "message", 1, &v);

	if (!ret)
		ret = jto_str(c, &v, &v);
	return ret ? ret : jfail(c, -EINVAL, "the template says: %.160s", v.u.s->p);
}

static int fn_strftime(struct jctx *c, const struct jargs *a, struct jval *out)
{
	struct jval v;
	time_t now = (time_t)c->now;
	struct tm tm;
	char buf[512];
	size_t n;
	int ret = jargs_take(c, "strftime_now", a, "format", 1, &v);

	if (ret)
		return ret;
	if (v.t != J_STRING || memchr(v.u.s->p, 0, v.u.s->len))
		return jfail(c, -EINVAL, "strftime_now() needs a text");
	if (!c->now)
		time(&now);
	if (!localtime_r(&now, &tm))
		return jfail(c, -EINVAL, "strftime_now(): the time has no date");
	n = strftime(buf, sizeof(buf), v.u.s->p, &tm);
	if (!n && v.u.s->len)
		return jfail(c, -EFBIG, "strftime_now(): nothing, or too much");
	return jstr_new(c, buf, n, out);
}

static const struct jfunction functions[] = {
	{"namespace", fn_namespace},
	{"dict", fn_dict},
	{"range", fn_range},
	{"raise_exception", fn_raise},
	{"strftime_now", fn_strftime},
	{"cycler", NULL},
	{"joiner", NULL},
	{"lipsum", NULL},
};

int jinja_global(const struct jstr *name, struct jval *v)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(functions); i++) {
		if (strlen(functions[i].name) != name->len ||
		    memcmp(functions[i].name, name->p, name->len))
			continue;
		*v = (struct jval){J_FUNCTION, {.fn = &functions[i]}};
		return functions[i].call ? 0 : -EOPNOTSUPP;
	}
	return -ENOENT;
}

int jinja_call_function(struct jctx *c, const struct jfunction *fn, const struct jargs *a,
			struct jval *out)
{
	return fn->call(c, a, out);
}

/* ---- loop ---- */

int jinja_call_loop(struct jctx *c, struct jloop *l, const struct jstr *name, const struct jargs *a,
		    struct jval *out)
{
	struct jval now;
	bool eq;
	int ret;

	if (a->num_kw)
		return jfail(c, -EINVAL, "loop.%s() takes no names", name->p);
	if (!strcmp(name->p, "cycle")) {
		if (!a->num)
			return jfail(c, -EINVAL, "loop.cycle() without arguments");
		*out = a->pos[l->index % a->num];
		return 0;
	}
	ret = jlist_new(c, J_TUPLE, a->num, &now);
	for (size_t i = 0; i < a->num && !ret; i++)
		ret = jlist_add(c, now.u.l, a->pos[i]);
	if (!ret)
		ret = jequal(c, &now, &l->changed, &eq);
	if (ret)
		return ret;
	l->changed = now;
	*out = jbool(!eq);
	return 0;
}

/* ---- macros ---- */

static int bind(struct jctx *c, const struct jmacro *m, const struct jargs *a)
{
	const char *name = m->node->str->p;
	size_t i = 0, used = 0;
	int ret = 0;

	for (const struct jnode *p = m->node->list; p && !ret; p = p->next, i++) {
		struct jval v = jundef(p->str);
		bool have = i < a->num;

		if (have)
			v = a->pos[i];
		for (size_t k = 0; k < a->num_kw; k++) {
			if (!is_name(p->str->p, p->str->len, a->key[k]))
				continue;
			if (have)
				return jfail(c, -EINVAL, "%.60s(): %.60s is given twice", name,
					     p->str->p);
			v = a->kw[k];
			have = true;
			used++;
		}
		if (!have && p->a)
			ret = jinja_eval(c, p->a, &v);
		if (!ret)
			ret = jdict_set(c, &c->scope->vars, (struct jval){J_STRING, {.s = p->str}},
					v);
	}
	if (!ret && a->num > i)
		return jfail(c, -EINVAL, "%.60s() takes at most %zu arguments, not %zu", name, i,
			     a->num);
	if (!ret && used != a->num_kw)
		return jfail(c, -EINVAL, "%.60s(): an argument of an unknown name", name);
	return ret;
}

int jinja_call_macro(struct jctx *c, const struct jmacro *m, const struct jargs *a,
		     struct jval *out)
{
	struct jscope *outer = c->scope, *inner = jarena_alloc(&c->arena, sizeof(*inner));
	struct jpos pos = c->pos;
	int ret;

	if (!inner)
		return jfail(c, -EFBIG, "rendering takes more memory than is allowed");
	if (c->calls >= JINJA_CALLS_MAX)
		return jfail(c, -EFBIG, "macros call macros too deeply");
	c->calls++;
	inner->parent = m->scope;
	c->scope = inner;
	ret = bind(c, m, a);
	c->scope = outer;
	if (!ret)
		ret = jinja_capture(c, m->node->body, inner, out);
	c->calls--;
	if (!ret)
		c->pos = pos;
	return ret;
}

int jinja_call(struct jctx *c, const struct jval *f, const struct jargs *a, struct jval *out)
{
	switch (f->t) {
	case J_FUNCTION:
		return jinja_call_function(c, f->u.fn, a, out);
	case J_MACRO:
		return jinja_call_macro(c, f->u.macro, a, out);
	case J_METHOD:
		return jinja_call_method(c, f->u.m, a, out);
	case J_UNDEFINED:
		return jfail(c, -EINVAL, "'%.80s' is undefined", f->u.s ? f->u.s->p : "value");
	case J_LOOP:
		return jfail(c, -EOPNOTSUPP, "recursive loops are not supported");
	default:
		return jfail(c, -EINVAL, "a %s cannot be called", jtype_name(f));
	}
}
