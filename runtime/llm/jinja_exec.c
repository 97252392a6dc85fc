// SPDX-License-Identifier: MIT
/* Statements: what a template does. */
#include "jinja.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct jscope *push(struct jctx *c, struct jscope *parent)
{
	struct jscope *s = jarena_alloc(&c->arena, sizeof(*s));

	if (!s)
		jfail(c, -EFBIG, "rendering takes more memory than is allowed");
	else
		s->parent = parent;
	return s;
}

static int assign_name(struct jctx *c, const struct jstr *name, struct jval v)
{
	return jdict_set(c, &c->scope->vars, (struct jval){J_STRING, {.s = name}}, v);
}

static int assign_ns(struct jctx *c, const struct jnode *n, struct jval v)
{
	const struct jnode name = {.kind = N_NAME, .pos = n->pos, .str = n->str};
	struct jval ns;
	int ret = jinja_eval(c, &name, &ns);

	if (ret)
		return ret;
	if (ns.t != J_NAMESPACE)
		return jfail(c, -EINVAL, "%.60s is a %s, not a namespace", n->str->p,
			     jtype_name(&ns));
	return jdict_set(c, ns.u.d, (struct jval){J_STRING, {.s = n->str2}}, v);
}

static int assign(struct jctx *c, const struct jnode *target, struct jval v)
{
	struct jlist *l;
	size_t i = 0;
	int ret;

	if (target->kind == N_NAME)
		return assign_name(c, target->str, v);
	if (target->kind == N_NSREF)
		return assign_ns(c, target, v);
	c->pos = target->pos;
	ret = jiterate(c, &v, &l);
	for (const struct jnode *t = target->list; t && !ret; t = t->next, i++) {
		if (i == l->n)
			return jfail(c, -EINVAL, "not enough values for the names (%zu)", l->n);
		ret = assign(c, t, l->v[i]);
	}
	if (!ret && i != l->n)
		return jfail(c, -EINVAL, "more values (%zu) than names", l->n);
	return ret;
}

int jinja_capture(struct jctx *c, const struct jnode *body, struct jscope *scope, struct jval *out)
{
	struct jscope *outer = c->scope;
	struct jbuf b = {0}, *text = c->out;
	int ret;

	c->scope = scope;
	c->out = &b;
	ret = jinja_exec(c, body);
	c->out = text;
	c->scope = outer;
	if (!ret)
		ret = jstr_new(c, b.p, b.len, out);
	free(b.p);
	return ret;
}

/* The filters of a block, innermost first, on its text. */
static int apply_filters(struct jctx *c, const struct jnode *f, struct jval *v)
{
	struct jnode text = {.kind = N_CONST, .pos = f->pos, .val = *v}, copy;

	/* The chain is a tree whose innermost input is missing: one filter at a time. */
	if (f->a) {
		int ret = apply_filters(c, f->a, v);

		if (ret)
			return ret;
		text.val = *v;
	}
	copy = *f;
	copy.a = &text;
	return jinja_eval(c, &copy, v);
}

static int exec_set(struct jctx *c, const struct jnode *n)
{
	struct jscope *inner;
	struct jval v;
	int ret;

	if (n->b) {
		ret = jinja_eval(c, n->b, &v);
	} else {
		inner = push(c, c->scope);
		ret = inner ? jinja_capture(c, n->body, inner, &v) : -EFBIG;
		if (c->flow)
			return ret;
		if (!ret && n->c)
			ret = apply_filters(c, n->c, &v);
	}
	c->pos = n->pos;
	return ret ? ret : assign(c, n->a, v);
}

static int exec_filter(struct jctx *c, const struct jnode *n)
{
	struct jscope *inner = push(c, c->scope);
	struct jval v;
	int ret = inner ? jinja_capture(c, n->body, inner, &v) : -EFBIG;

	if (!ret && !c->flow)
		ret = apply_filters(c, n->c, &v);
	if (!ret)
		ret = jto_str(c, &v, &v);
	return ret || c->flow ? ret : jbuf_put(c, c->out, v.u.s->p, v.u.s->len);
}

static int exec_if(struct jctx *c, const struct jnode *n)
{
	struct jval v;
	bool b;
	int ret;

	for (;;) {
		ret = jinja_eval(c, n->a, &v);
		if (!ret)
			ret = jtruth(c, &v, &b);
		if (ret)
			return ret;
		if (b)
			return jinja_exec(c, n->body);
		n = n->els;
		if (!n || n->kind != N_IF || n->op != JIF_ELIF)
			return jinja_exec(c, n);
	}
}

/* The elements that the condition of the loop lets through. */
static int filter_items(struct jctx *c, const struct jnode *n, struct jlist **items)
{
	struct jscope *outer = c->scope;
	struct jval out, v;
	bool b;
	int ret = jlist_new(c, J_LIST, 0, &out);

	for (size_t i = 0; i < (*items)->n && !ret; i++) {
		c->scope = push(c, outer);
		ret = c->scope ? assign(c, n->a, (*items)->v[i]) : -EFBIG;
		if (!ret)
			ret = jinja_eval(c, n->c, &v);
		if (!ret)
			ret = jtruth(c, &v, &b);
		if (!ret && b)
			ret = jlist_add(c, out.u.l, (*items)->v[i]);
	}
	c->scope = outer;
	*items = out.u.l;
	return ret;
}

static int run_loop(struct jctx *c, const struct jnode *n, struct jloop *loop, struct jscope *outer)
{
	static const struct jstr name = {.len = 4, .num = 4, .p = (char *)"loop"};
	int ret = 0;

	for (loop->index = 0; loop->index < loop->items->n && !ret; loop->index++) {
		c->scope = push(c, outer);
		if (!c->scope)
			return -EFBIG;
		ret = assign(c, n->a, loop->items->v[loop->index]);
		if (!ret)
			ret = assign_name(c, &name, (struct jval){J_LOOP, {.loop = loop}});
		if (!ret)
			ret = jinja_exec(c, n->body);
		if (c->flow == N_BREAK) {
			c->flow = 0;
			break;
		}
		c->flow = 0;
	}
	return ret;
}

static int exec_for(struct jctx *c, const struct jnode *n)
{
	struct jscope *outer = c->scope;
	struct jlist *items;
	struct jloop *loop;
	struct jval v;
	int ret = jinja_eval(c, n->b, &v);

	c->pos = n->pos;
	if (!ret)
		ret = jiterate(c, &v, &items);
	if (!ret && n->c)
		ret = filter_items(c, n, &items);
	if (ret)
		return ret;
	if (!items->n) {
		c->scope = push(c, outer);
		ret = c->scope ? jinja_exec(c, n->els) : -EFBIG;
		c->scope = outer;
		return ret;
	}
	loop = jarena_alloc(&c->arena, sizeof(*loop));
	if (!loop)
		return jfail(c, -EFBIG, "rendering takes more memory than is allowed");
	loop->items = items;
	loop->changed = jundef(NULL);
	ret = run_loop(c, n, loop, outer);
	c->scope = outer;
	return ret;
}

static int exec_macro(struct jctx *c, const struct jnode *n)
{
	struct jmacro *m = jarena_alloc(&c->arena, sizeof(*m));

	if (!m)
		return jfail(c, -EFBIG, "rendering takes more memory than is allowed");
	m->node = n;
	m->scope = c->scope;
	return assign_name(c, n->str, (struct jval){J_MACRO, {.macro = m}});
}

/* The values of {% with %} are computed before any of its names is there. */
static int exec_with(struct jctx *c, const struct jnode *n)
{
	struct jscope *outer = c->scope, *inner = push(c, outer);
	struct jval v;
	int ret = inner ? 0 : -EFBIG;

	for (const struct jnode *k = n->list; k && !ret; k = k->next) {
		ret = jinja_eval(c, k->a, &v);
		if (!ret)
			ret = jdict_set(c, &inner->vars, (struct jval){J_STRING, {.s = k->str}}, v);
	}
	c->scope = inner;
	if (!ret)
		ret = jinja_exec(c, n->body);
	c->scope = outer;
	return ret;
}

static int output(struct jctx *c, const struct jnode *n)
{
	struct jval v;
	int ret = jinja_eval(c, n->a, &v);

	c->pos = n->pos;
	if (!ret)
		ret = jto_str(c, &v, &v);
	return ret ? ret : jbuf_put(c, c->out, v.u.s->p, v.u.s->len);
}

static int exec_one(struct jctx *c, const struct jnode *n)
{
	switch (n->kind) {
	case N_DATA:
		return jbuf_put(c, c->out, n->str->p, n->str->len);
	case N_OUTPUT:
		return output(c, n);
	case N_IF:
		return exec_if(c, n);
	case N_FOR:
		return exec_for(c, n);
	case N_SET:
		return exec_set(c, n);
	case N_MACRO:
		return exec_macro(c, n);
	case N_FILTER_BLOCK:
		return exec_filter(c, n);
	case N_WITH:
	case N_SCOPE:
		return exec_with(c, n);
	case N_BREAK:
	case N_CONTINUE:
		c->flow = n->kind;
		return 0;
	default:
		return jfail(c, -EINVAL, "not a statement");
	}
}

int jinja_exec(struct jctx *c, const struct jnode *n)
{
	int ret = 0;

	for (; n && !ret && !c->flow; n = n->next) {
		c->pos = n->pos;
		ret = jsteps(c, 1);
		if (!ret)
			ret = exec_one(c, n);
	}
	return ret;
}

int jinja_render(const struct jinja *t, struct jctx *c, struct jbuf *out)
{
	int ret;

	c->out = out;
	c->pos = (struct jpos){0};
	c->scope = push(c, NULL);
	ret = c->scope ? jinja_exec(c, t->body) : -EFBIG;
	/* An empty text is one, too. */
	return ret ? ret : jbuf_put(c, out, "", 0);
}
