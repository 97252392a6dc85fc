// SPDX-License-Identifier: MIT
/* Values of templates: memory, making them, truth, equality, order. */
#include "jinja.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

/* ---- memory ---- */

struct jarena_block {
	struct jarena_block *next;
	size_t used, size;
	_Alignas(16) char data[];
};

#define ARENA_BLOCK 65536

void *jarena_alloc(struct jarena *a, size_t n)
{
	struct jarena_block *b = a->blocks;
	void *p;

	if (n > SIZE_MAX / 2)
		return NULL;
	n = (n + 15) & ~(size_t)15;
	if (a->max && (n > a->max || a->used > a->max - n))
		return NULL;
	if (!b || b->size - b->used < n) {
		size_t size = n > ARENA_BLOCK ? n : ARENA_BLOCK;

		b = calloc(1, sizeof(*b) + size);
		if (!b)
			return NULL;
		b->size = size;
		/* What a large one leaves of the block in use is not given up for it. */
		if (a->blocks && n > ARENA_BLOCK / 2) {
			b->next = a->blocks->next;
			a->blocks->next = b;
		} else {
			b->next = a->blocks;
			a->blocks = b;
		}
	}
	p = b->data + b->used;
	b->used += n;
	a->used += n;
	return p;
}

void jarena_free(struct jarena *a)
{
	while (a->blocks) {
		struct jarena_block *b = a->blocks;

		a->blocks = b->next;
		free(b);
	}
	a->used = 0;
}

static void *alloc(struct jctx *c, size_t n)
{
	void *p = jarena_alloc(&c->arena, n);

	if (!p)
		jfail(c, -EFBIG, "rendering takes more memory than is allowed (%u MiB) or there is",
		      JINJA_MEMORY_MAX >> 20);
	return p;
}

/* ---- errors and limits ---- */

int jfail(struct jctx *c, int code, const char *fmt, ...)
{
	char msg[sizeof(c->err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (!c->pos.line)
		return llm_fail(c->err, code, "%s", msg);
	return llm_fail(c->err, code, "chat template, line %u, column %u: %s", c->pos.line,
			c->pos.col, msg);
}

int jsteps(struct jctx *c, uint64_t n)
{
	c->steps += n;
	if (c->steps <= JINJA_STEPS_MAX)
		return 0;
	return jfail(c, -EFBIG, "rendering takes more work than is allowed");
}

int jbuf_put(struct jctx *c, struct jbuf *b, const char *p, size_t n)
{
	int ret;

	if (n > JINJA_OUTPUT_MAX || b->len + n > JINJA_OUTPUT_MAX)
		return jfail(c, -EFBIG, "the text is longer than is allowed (%u MiB)",
			     JINJA_OUTPUT_MAX >> 20);
	ret = jsteps(c, n / 8);
	if (!ret)
		ret = llm_grow(&b->p, &b->cap, b->len + n + 1, 1)
			      ? jfail(c, -ENOMEM, "out of memory")
			      : 0;
	if (ret)
		return ret;
	if (n)
		memcpy(b->p + b->len, p, n);
	b->len += n;
	b->p[b->len] = '\0';
	return 0;
}

/* ---- making values ---- */

void jstr_count(struct jstr *s)
{
	s->num = 0;
	for (uint32_t i = 0; i < s->len; i++)
		s->num += (s->p[i] & 0xc0) != 0x80;
}

struct jstr *jstr_room(struct jctx *c, size_t n)
{
	struct jstr *s;

	if (n > JINJA_OUTPUT_MAX) {
		jfail(c, -EFBIG, "a text is longer than is allowed (%u MiB)",
		      JINJA_OUTPUT_MAX >> 20);
		return NULL;
	}
	if (jsteps(c, n / 8))
		return NULL;
	s = alloc(c, sizeof(*s) + n + 1);
	if (s) {
		s->p = (char *)(s + 1);
		s->len = (uint32_t)n;
	}
	return s;
}

int jstr_new(struct jctx *c, const char *p, size_t n, struct jval *v)
{
	struct jstr *s = jstr_room(c, n);

	if (!s)
		return -EFBIG;
	if (n)
		memcpy(s->p, p, n);
	jstr_count(s);
	*v = (struct jval){J_STRING, {.s = s}};
	return 0;
}

int jstr_fmt(struct jctx *c, struct jval *v, const char *fmt, ...)
{
	char buf[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	return jstr_new(c, buf, strlen(buf), v);
}

static int grow_list(struct jctx *c, struct jlist *l, size_t cap)
{
	struct jval *v;

	if (cap <= l->cap)
		return 0;
	if (cap > JINJA_MEMORY_MAX / sizeof(*v))
		return jfail(c, -EFBIG, "a list is longer than is allowed");
	v = alloc(c, cap * sizeof(*v));
	if (!v)
		return -EFBIG;
	if (l->n)
		memcpy(v, l->v, l->n * sizeof(*v));
	l->v = v;
	l->cap = cap;
	return 0;
}

int jlist_new(struct jctx *c, enum jtype t, size_t cap, struct jval *v)
{
	struct jlist *l = alloc(c, sizeof(*l));
	int ret;

	if (!l)
		return -EFBIG;
	ret = grow_list(c, l, cap);
	*v = (struct jval){t, {.l = l}};
	return ret;
}

int jlist_add(struct jctx *c, struct jlist *l, struct jval v)
{
	int ret = jsteps(c, 1);

	if (!ret && l->n == l->cap)
		ret = grow_list(c, l, l->cap ? l->cap * 2 : 8);
	if (!ret)
		l->v[l->n++] = v;
	return ret;
}

int jdict_new(struct jctx *c, enum jtype t, struct jval *v)
{
	struct jdict *d = alloc(c, sizeof(*d));

	*v = (struct jval){t, {.d = d}};
	return d ? 0 : -EFBIG;
}

/* ---- dictionaries ---- */

/* FNV-1a; what it takes to make it slow is bounded by the steps. */
static uint64_t hash(const struct jval *k)
{
	uint64_t h = 14695981039346656037ull;
	double f;

	if (k->t == J_STRING) {
		for (uint32_t i = 0; i < k->u.s->len; i++)
			h = (h ^ (unsigned char)k->u.s->p[i]) * 1099511628211ull;
	} else if (jas_number(k, &f)) {
		/* 1, 1.0 and True are the same key. */
		memcpy(&h, &f, sizeof(h));
		h = f == 0 ? 0 : h * 1099511628211ull;
	}
	return h ^ h >> 29;
}

static bool same_key(const struct jval *a, const struct jval *b)
{
	double x, y;

	if (a->t == J_STRING || b->t == J_STRING)
		return a->t == b->t && a->u.s->len == b->u.s->len &&
		       !memcmp(a->u.s->p, b->u.s->p, a->u.s->len);
	if (a->t == J_INT && b->t == J_INT)
		return a->u.i == b->u.i;
	if (jas_number(a, &x) && jas_number(b, &y))
		return x == y;
	return a->t == J_NONE && b->t == J_NONE;
}

static void index_put(struct jdict *d, size_t at)
{
	size_t i = hash(&d->p[at].k) & (d->slots - 1);

	while (d->index[i])
		i = (i + 1) & (d->slots - 1);
	d->index[i] = (uint32_t)at + 1;
}

static struct jpair *find(const struct jdict *d, const struct jval *k, uint64_t *work)
{
	*work = 1;
	if (!d->index) {
		for (size_t i = 0; i < d->n; i++) {
			if (same_key(&d->p[i].k, k))
				return &d->p[i];
		}
		return NULL;
	}
	for (size_t i = hash(k) & (d->slots - 1); d->index[i];
	     i = (i + 1) & (d->slots - 1), ++*work) {
		struct jpair *p = &d->p[d->index[i] - 1];

		if (same_key(&p->k, k))
			return p;
	}
	return NULL;
}

static int check_key(struct jctx *c, const struct jval *k)
{
	switch (k->t) {
	case J_NONE:
	case J_BOOL:
	case J_INT:
	case J_FLOAT:
	case J_STRING:
		return 0;
	case J_LIST:
	case J_DICT:
		return jfail(c, -EINVAL, "a %s cannot be a key", jtype_name(k));
	default:
		return jfail(c, -EOPNOTSUPP, "a %s as a key is not supported", jtype_name(k));
	}
}

static int grow_dict(struct jctx *c, struct jdict *d)
{
	size_t cap = d->cap ? d->cap * 2 : 8;
	struct jpair *p = alloc(c, cap * sizeof(*p));

	if (!p)
		return -EFBIG;
	if (d->n)
		memcpy(p, d->p, d->n * sizeof(*p));
	d->p = p;
	d->cap = cap;
	if (cap < 32)
		return 0;
	d->slots = cap * 2;
	d->index = alloc(c, d->slots * sizeof(*d->index));
	if (!d->index)
		return -EFBIG;
	for (size_t i = 0; i < d->n; i++)
		index_put(d, i);
	return 0;
}

int jdict_set(struct jctx *c, struct jdict *d, struct jval k, struct jval v)
{
	struct jpair *p;
	uint64_t work;
	int ret = check_key(c, &k);

	if (ret)
		return ret;
	p = find(d, &k, &work);
	ret = jsteps(c, work);
	if (ret)
		return ret;
	if (p) {
		p->v = v;
		return 0;
	}
	if (d->n == d->cap) {
		ret = grow_dict(c, d);
		if (ret)
			return ret;
	}
	d->p[d->n++] = (struct jpair){k, v};
	if (d->index)
		index_put(d, d->n - 1);
	return 0;
}

int jdict_set_str(struct jctx *c, struct jdict *d, const char *k, struct jval v)
{
	struct jval key;
	int ret = jstr_new(c, k, strlen(k), &key);

	return ret ? ret : jdict_set(c, d, key, v);
}

int jdict_get(struct jctx *c, const struct jdict *d, struct jval k, struct jval **found)
{
	struct jpair *p;
	uint64_t work;
	int ret = check_key(c, &k);

	*found = NULL;
	if (ret)
		return ret;
	p = find(d, &k, &work);
	if (p)
		*found = &p->v;
	return jsteps(c, work);
}

struct jval *jdict_find(const struct jdict *d, const char *p, size_t n)
{
	const struct jstr s = {.len = (uint32_t)n, .p = (char *)p};
	const struct jval k = {J_STRING, {.s = &s}};
	uint64_t work;
	struct jpair *pair = find(d, &k, &work);

	return pair ? &pair->v : NULL;
}

/* ---- what values are ---- */

const char *jtype_name(const struct jval *v)
{
	static const char *const names[] = {
		[J_UNDEFINED] = "undefined value",
		[J_NONE] = "None",
		[J_BOOL] = "bool",
		[J_INT] = "int",
		[J_BIGINT] = "int of more than 64 bits",
		[J_FLOAT] = "float",
		[J_STRING] = "str",
		[J_LIST] = "list",
		[J_TUPLE] = "tuple",
		[J_ITER] = "iterator",
		[J_DICT] = "dict",
		[J_NAMESPACE] = "namespace",
		[J_LOOP] = "loop",
		[J_MACRO] = "macro",
		[J_FUNCTION] = "function",
		[J_METHOD] = "method",
	};

	return names[v->t];
}

bool jis(const struct jval *v, const char *text)
{
	return v->t == J_STRING && v->u.s->len == strlen(text) &&
	       !memcmp(v->u.s->p, text, v->u.s->len);
}

bool jas_int(const struct jval *v, int64_t *i)
{
	if (v->t != J_INT && v->t != J_BOOL)
		return false;
	*i = v->t == J_INT ? v->u.i : v->u.b;
	return true;
}

bool jas_number(const struct jval *v, double *f)
{
	int64_t i;

	if (v->t == J_FLOAT) {
		*f = v->u.f;
		return true;
	}
	if (!jas_int(v, &i))
		return false;
	*f = (double)i;
	return true;
}

int64_t jlength(const struct jval *v)
{
	switch (v->t) {
	case J_UNDEFINED:
		return 0;
	case J_STRING:
		return v->u.s->num;
	case J_LIST:
	case J_TUPLE:
		return (int64_t)v->u.l->n;
	case J_ITER:
		return v->u.l->view ? (int64_t)v->u.l->n : -1;
	case J_DICT:
		return (int64_t)v->u.d->n;
	case J_LOOP:
		return (int64_t)v->u.loop->items->n;
	default:
		return -1;
	}
}

int jtruth(struct jctx *c, const struct jval *v, bool *b)
{
	switch (v->t) {
	case J_UNDEFINED:
	case J_NONE:
		*b = false;
		break;
	case J_BOOL:
		*b = v->u.b;
		break;
	case J_INT:
		*b = v->u.i != 0;
		break;
	case J_FLOAT:
		*b = v->u.f != 0;
		break;
	default:
		*b = jlength(v) != 0; /* -1: no container, true */
	}
	return 0;
}

/* ---- equality and order ---- */

static int list_equal(struct jctx *c, const struct jlist *a, const struct jlist *b, bool *eq)
{
	int ret = 0;

	*eq = a->n == b->n;
	for (size_t i = 0; *eq && i < a->n && !ret; i++)
		ret = jequal(c, &a->v[i], &b->v[i], eq);
	return ret;
}

static int dict_equal(struct jctx *c, const struct jdict *a, const struct jdict *b, bool *eq)
{
	int ret = 0;

	*eq = a->n == b->n;
	for (size_t i = 0; *eq && i < a->n && !ret; i++) {
		struct jval *v;

		ret = jdict_get(c, b, a->p[i].k, &v);
		*eq = v != NULL;
		if (!ret && v)
			ret = jequal(c, &a->p[i].v, v, eq);
	}
	return ret;
}

/* An int and a float compare by value, without rounding the int. */
static int int_float(int64_t i, double f, bool *unordered)
{
	double whole;

	*unordered = isnan(f);
	if (f >= 9223372036854775808.0)
		return -1;
	if (f < -9223372036854775808.0)
		return 1;
	whole = trunc(f);
	if (i != (int64_t)whole)
		return i < (int64_t)whole ? -1 : 1;
	return f > whole ? -1 : f < whole;
}

/* False when the two are no numbers. */
static bool number_order(const struct jval *a, const struct jval *b, int *r, bool *unordered)
{
	int64_t i, j;
	bool ai = jas_int(a, &i), bi = jas_int(b, &j);

	*unordered = false;
	if (ai && bi)
		*r = i < j ? -1 : i > j;
	else if (ai && b->t == J_FLOAT)
		*r = int_float(i, b->u.f, unordered);
	else if (bi && a->t == J_FLOAT)
		*r = -int_float(j, a->u.f, unordered);
	else if (a->t == J_FLOAT && b->t == J_FLOAT)
		*r = (*unordered = isnan(a->u.f) || isnan(b->u.f)) ? 0
		     : a->u.f < b->u.f                             ? -1
								   : a->u.f > b->u.f;
	else
		return false;
	return true;
}

int jequal(struct jctx *c, const struct jval *a, const struct jval *b, bool *eq)
{
	bool unordered;
	int r, ret = jsteps(c, 1);

	if (ret)
		return ret;
	if (number_order(a, b, &r, &unordered)) {
		*eq = !r && !unordered;
		return 0;
	}
	*eq = false;
	if (a->t != b->t)
		return 0;
	switch (a->t) {
	case J_UNDEFINED:
	case J_NONE:
		*eq = true;
		return 0;
	case J_STRING:
	case J_BIGINT:
		*eq = a->u.s->len == b->u.s->len && !memcmp(a->u.s->p, b->u.s->p, a->u.s->len);
		return jsteps(c, *eq ? a->u.s->len / 64 : 0);
	case J_LIST:
	case J_TUPLE:
		if (++c->calls > JINJA_JSON_DEPTH + JINJA_CALLS_MAX)
			return jfail(c, -EFBIG, "lists are nested too deeply");
		ret = list_equal(c, a->u.l, b->u.l, eq);
		c->calls--;
		return ret;
	case J_DICT:
		if (++c->calls > JINJA_JSON_DEPTH + JINJA_CALLS_MAX)
			return jfail(c, -EFBIG, "dicts are nested too deeply");
		ret = dict_equal(c, a->u.d, b->u.d, eq);
		c->calls--;
		return ret;
	case J_METHOD:
	case J_ITER:
		return jfail(c, -EOPNOTSUPP, "comparing a %s is not supported", jtype_name(a));
	default:
		*eq = a->u.d == b->u.d; /* objects are equal to themselves */
		return 0;
	}
}

int jcompare(struct jctx *c, const struct jval *a, const struct jval *b, const char *op, int *r)
{
	bool unordered;
	int ret = jsteps(c, 1);

	if (ret)
		return ret;
	if (number_order(a, b, r, &unordered)) {
		if (unordered)
			return jfail(c, -EOPNOTSUPP, "ordering NaN is not supported");
		return 0;
	}
	if (a->t == J_STRING && b->t == J_STRING) {
		/* UTF-8 sorts as code points do. */
		uint32_t n = a->u.s->len < b->u.s->len ? a->u.s->len : b->u.s->len;

		*r = n ? memcmp(a->u.s->p, b->u.s->p, n) : 0;
		if (!*r)
			*r = a->u.s->len < b->u.s->len ? -1 : a->u.s->len > b->u.s->len;
		return 0;
	}
	if (a->t == J_UNDEFINED || b->t == J_UNDEFINED) {
		const struct jstr *name = a->t == J_UNDEFINED ? a->u.s : b->u.s;

		return jfail(c, -EINVAL, "'%.80s' is undefined", name ? name->p : "value");
	}
	if (a->t == b->t && (a->t == J_LIST || a->t == J_TUPLE || a->t == J_BIGINT))
		return jfail(c, -EOPNOTSUPP, "'%s' of two of type %s is not supported", op,
			     jtype_name(a));
	return jfail(c, -EINVAL, "'%s' between %s and %s", op, jtype_name(a), jtype_name(b));
}

int jcontains(struct jctx *c, const struct jval *seq, const struct jval *v, bool *in)
{
	struct jval s = *seq;
	struct jlist *l;
	struct jval *found;
	int ret;

	*in = false;
	if (seq->t == J_STRING) {
		if (v->t == J_UNDEFINED)
			return jfail(c, -EINVAL, "'%.80s' is undefined",
				     v->u.s ? v->u.s->p : "value");
		if (v->t != J_STRING)
			return jfail(c, -EINVAL, "'in' a str needs a str on its left, not %s",
				     jtype_name(v));
		*in = jstr_find(seq->u.s, v->u.s, 0, false) >= 0;
		return jsteps(c, seq->u.s->len / 16);
	}
	if (seq->t == J_DICT) {
		ret = jdict_get(c, seq->u.d, *v, &found);
		*in = found != NULL;
		return ret;
	}
	ret = jiterate(c, &s, &l);
	for (size_t i = 0; !ret && !*in && i < l->n; i++)
		ret = jequal(c, &l->v[i], v, in);
	return ret;
}

int jiterate(struct jctx *c, struct jval *v, struct jlist **l)
{
	struct jval list;
	int ret;

	switch (v->t) {
	case J_LIST:
	case J_TUPLE:
		*l = v->u.l;
		return 0;
	case J_ITER:
		if (v->u.l->view) {
			*l = v->u.l;
			return 0;
		}
		ret = jlist_new(c, J_LIST, v->u.l->n - v->u.l->pos, &list);
		for (; !ret && v->u.l->pos < v->u.l->n; v->u.l->pos++)
			ret = jlist_add(c, list.u.l, v->u.l->v[v->u.l->pos]);
		break;
	case J_UNDEFINED:
		ret = jlist_new(c, J_LIST, 0, &list);
		break;
	case J_DICT:
		ret = jlist_new(c, J_LIST, v->u.d->n, &list);
		for (size_t i = 0; !ret && i < v->u.d->n; i++)
			ret = jlist_add(c, list.u.l, v->u.d->p[i].k);
		break;
	case J_STRING:
		ret = jlist_new(c, J_LIST, v->u.s->num, &list);
		for (uint32_t at = 0; !ret && at < v->u.s->len;) {
			const unsigned char *p = (const unsigned char *)v->u.s->p + at;
			size_t n = utf8_len(p, p + v->u.s->len - at);
			struct jval ch;

			ret = jstr_new(c, (const char *)p, n, &ch);
			if (!ret)
				ret = jlist_add(c, list.u.l, ch);
			at += (uint32_t)n;
		}
		break;
	case J_LOOP:
		return jfail(c, -EOPNOTSUPP, "iterating over loop is not supported");
	default:
		return jfail(c, -EINVAL, "a %s cannot be iterated over", jtype_name(v));
	}
	*l = ret ? NULL : list.u.l;
	return ret;
}
