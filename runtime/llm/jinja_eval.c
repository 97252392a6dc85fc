// SPDX-License-Identifier: MIT
/* Expressions to values. */
#include "jinja.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int undefined(struct jctx *c, const struct jval *v)
{
	return jfail(c, -EINVAL, "'%.80s' is undefined", v->u.s ? v->u.s->p : "value");
}

/* ---- names, attributes, items ---- */

static int lookup(struct jctx *c, const struct jnode *n, struct jval *out)
{
	const struct jval *v;
	int ret;

	for (const struct jscope *s = c->scope; s; s = s->parent) {
		v = jdict_find(&s->vars, n->str->p, n->str->len);
		if (v) {
			*out = *v;
			return jsteps(c, 1);
		}
	}
	v = jdict_find(c->globals.u.d, n->str->p, n->str->len);
	if (v) {
		*out = *v;
		return 0;
	}
	ret = jinja_global(n->str, out);
	if (ret == -EOPNOTSUPP)
		return jfail(c, ret, "the function %.60s is not supported", n->str->p);
	if (ret)
		*out = jundef(n->str);
	return 0;
}

int jinja_getattr(struct jctx *c, const struct jval *v, const struct jstr *name, struct jval *out)
{
	struct jval key = {J_STRING, {.s = name}}, *found;
	bool is;
	int ret;

	if (v->t == J_UNDEFINED)
		return undefined(c, v);
	ret = jinja_attribute(c, v, name, out, &is);
	if (ret || is)
		return ret;
	*out = jundef(name);
	if (v->t != J_DICT)
		return 0;
	ret = jdict_get(c, v->u.d, key, &found);
	if (found)
		*out = *found;
	return ret;
}

static int index_list(const struct jval *v, int64_t i, struct jval *out)
{
	const struct jlist *l = v->u.l;

	if (i < 0)
		i += (int64_t)l->n;
	if (i >= 0 && i < (int64_t)l->n)
		*out = l->v[i];
	return 0;
}

static int index_str(struct jctx *c, const struct jstr *s, int64_t i, struct jval *out)
{
	size_t at;
	int ret;

	if (i < 0)
		i += s->num;
	if (i < 0 || i >= s->num)
		return 0;
	at = jstr_at(s, (size_t)i);
	ret = s->num == s->len ? 0 : jsteps(c, at / 4);
	return ret ? ret : jstr_new(c, s->p + at, jstr_at(s, (size_t)i + 1) - at, out);
}

/* An item that is not there is undefined; a key that is a string may be an attribute's name. */
int jinja_getitem(struct jctx *c, const struct jval *v, const struct jval *key, struct jval *out)
{
	struct jval *found;
	int64_t i;
	bool is;
	int ret;

	if (v->t == J_UNDEFINED)
		return undefined(c, v);
	*out = jundef(key->t == J_STRING ? key->u.s : NULL);
	if (v->t == J_DICT && (key->t == J_LIST || key->t == J_DICT))
		return 0;
	if (v->t == J_DICT) {
		ret = key->t == J_UNDEFINED ? 0 : jdict_get(c, v->u.d, *key, &found);
		if (ret || key->t == J_UNDEFINED)
			return ret;
		if (found) {
			*out = *found;
			return 0;
		}
	} else if (jas_int(key, &i)) {
		if (v->t == J_LIST || v->t == J_TUPLE)
			return index_list(v, i, out);
		if (v->t == J_STRING)
			return index_str(c, v->u.s, i, out);
		return 0;
	}
	if (key->t != J_STRING)
		return 0;
	ret = jinja_attribute(c, v, key->u.s, out, &is);
	if (!ret && !is)
		*out = jundef(key->u.s);
	return ret;
}

/* ---- arithmetic ---- */

static const char *op_name(int op)
{
	static const char *const names[] = {
		[T_ADD] = "+", [T_SUB] = "-",  [T_MUL] = "*", [T_DIV] = "/", [T_FLOORDIV] = "//",
		[T_MOD] = "%", [T_POW] = "**", [T_EQ] = "==", [T_NE] = "!=", [T_GT] = ">",
		[T_GE] = ">=", [T_LT] = "<",   [T_LE] = "<=",
	};

	return names[op];
}

static int overflow(struct jctx *c, int op)
{
	return jfail(c, -EOPNOTSUPP, "'%s' with a result of more than 64 bits is not supported",
		     op_name(op));
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b && (a < 0) != (b < 0));
}

static int int_power(struct jctx *c, int64_t a, int64_t b, struct jval *out)
{
	int64_t r = 1;

	if (b < 0) {
		if (!a)
			return jfail(c, -EINVAL, "'**': 0 to a negative power");
		*out = jfloat(pow((double)a, (double)b));
		return 0;
	}
	for (; b; b >>= 1) {
		if ((b & 1) && __builtin_mul_overflow(r, a, &r))
			return overflow(c, T_POW);
		if (b > 1 && __builtin_mul_overflow(a, a, &a))
			return overflow(c, T_POW);
	}
	*out = jint(r);
	return 0;
}

static int int_op(struct jctx *c, int op, int64_t a, int64_t b, struct jval *out)
{
	int64_t r = 0;
	bool over = false;

	if (!b && (op == T_DIV || op == T_FLOORDIV || op == T_MOD))
		return jfail(c, -EINVAL, "'%s': division by zero", op_name(op));
	switch (op) {
	case T_ADD:
		over = __builtin_add_overflow(a, b, &r);
		break;
	case T_SUB:
		over = __builtin_sub_overflow(a, b, &r);
		break;
	case T_MUL:
		over = __builtin_mul_overflow(a, b, &r);
		break;
	case T_DIV:
		/* Where both are exact as doubles, one rounding is Python's, too. */
		if (llabs(a) > (1ll << 53) || llabs(b) > (1ll << 53))
			return jfail(c, -EOPNOTSUPP,
				     "'/' of integers above 2**53 is not supported");
		*out = jfloat((double)a / (double)b);
		return 0;
	case T_FLOORDIV:
	case T_MOD:
		if (a == INT64_MIN && b == -1)
			over = op == T_FLOORDIV;
		else
			r = op == T_FLOORDIV ? floor_div(a, b) : a - floor_div(a, b) * b;
		break;
	default:
		return int_power(c, a, b, out);
	}
	if (over)
		return overflow(c, op);
	*out = jint(r);
	return 0;
}

static int float_op(struct jctx *c, int op, double a, double b, struct jval *out)
{
	double r;

	if (b == 0 && (op == T_DIV || op == T_FLOORDIV || op == T_MOD))
		return jfail(c, -EINVAL, "'%s': division by zero", op_name(op));
	switch (op) {
	case T_ADD:
		r = a + b;
		break;
	case T_SUB:
		r = a - b;
		break;
	case T_MUL:
		r = a * b;
		break;
	case T_DIV:
		r = a / b;
		break;
	case T_POW:
		r = pow(a, b);
		if (isnan(r) || isinf(r))
			return jfail(c, -EOPNOTSUPP, "'**' with no finite result is not supported");
		break;
	default:
		return jfail(c, -EOPNOTSUPP, "'%s' of floats is not supported", op_name(op));
	}
	*out = jfloat(r);
	return 0;
}

/* x * n of a string, list or tuple. */
static int repeat(struct jctx *c, const struct jval *v, int64_t n, struct jval *out)
{
	int ret = 0;

	if (n < 0)
		n = 0;
	if (v->t == J_STRING) {
		struct jstr *s;

		if (v->u.s->len && n > (int64_t)(JINJA_OUTPUT_MAX / v->u.s->len))
			return jfail(c, -EFBIG, "'*': the text is longer than is allowed");
		s = jstr_room(c, v->u.s->len * (size_t)(v->u.s->len ? n : 0));
		if (!s)
			return -EFBIG;
		for (uint32_t at = 0; at < s->len; at += v->u.s->len)
			memcpy(s->p + at, v->u.s->p, v->u.s->len);
		jstr_count(s);
		*out = (struct jval){J_STRING, {.s = s}};
		return 0;
	}
	ret = jlist_new(c, v->t, 0, out);
	for (int64_t i = 0; i < n && v->u.l->n && !ret; i++) {
		for (size_t k = 0; k < v->u.l->n && !ret; k++)
			ret = jlist_add(c, out->u.l, v->u.l->v[k]);
	}
	return ret;
}

static int add(struct jctx *c, const struct jval *a, const struct jval *b, struct jval *out)
{
	const struct jval *part[] = {a, b};
	struct jstr *s;
	int ret;

	if (a->t == J_STRING) {
		s = jstr_room(c, (size_t)a->u.s->len + b->u.s->len);
		if (!s)
			return -EFBIG;
		memcpy(s->p, a->u.s->p, a->u.s->len);
		memcpy(s->p + a->u.s->len, b->u.s->p, b->u.s->len);
		s->num = a->u.s->num + b->u.s->num;
		*out = (struct jval){J_STRING, {.s = s}};
		return 0;
	}
	ret = jlist_new(c, a->t, a->u.l->n + b->u.l->n, out);
	for (int i = 0; i < 2; i++) {
		for (size_t k = 0; k < part[i]->u.l->n && !ret; k++)
			ret = jlist_add(c, out->u.l, part[i]->u.l->v[k]);
	}
	return ret;
}

static bool sequence(const struct jval *v)
{
	return v->t == J_STRING || v->t == J_LIST || v->t == J_TUPLE;
}

int jinja_binary(struct jctx *c, int op, const struct jval *a, const struct jval *b,
		 struct jval *out)
{
	int64_t i, j;
	double x, y;
	bool ai = jas_int(a, &i), bi = jas_int(b, &j);

	if (a->t == J_UNDEFINED || b->t == J_UNDEFINED)
		return undefined(c, a->t == J_UNDEFINED ? a : b);
	if (ai && bi)
		return int_op(c, op, i, j, out);
	if (jas_number(a, &x) && jas_number(b, &y))
		return float_op(c, op, x, y, out);
	/* Text marked safe escapes what it meets in Jinja. */
	if ((a->t == J_STRING && a->u.s->safe) || (b->t == J_STRING && b->u.s->safe))
		return jfail(c, -EOPNOTSUPP, "'%s' with a text marked safe is not supported",
			     op_name(op));
	if (op == T_ADD && a->t == b->t && sequence(a))
		return add(c, a, b, out);
	if (op == T_MUL && sequence(a) && bi)
		return repeat(c, a, j, out);
	if (op == T_MUL && sequence(b) && ai)
		return repeat(c, b, i, out);
	if (a->t == J_BIGINT || b->t == J_BIGINT)
		return overflow(c, op);
	if (op == T_MOD && a->t == J_STRING)
		return jfail(c, -EOPNOTSUPP, "formatting with %% is not supported");
	return jfail(c, -EINVAL, "'%s' between %s and %s", op_name(op), jtype_name(a),
		     jtype_name(b));
}

static int negate(struct jctx *c, const struct jnode *n, struct jval *v)
{
	int64_t i;

	if (v->t == J_UNDEFINED)
		return undefined(c, v);
	if (v->t == J_FLOAT) {
		v->u.f = n->kind == N_NEG ? -v->u.f : v->u.f;
		return 0;
	}
	if (!jas_int(v, &i))
		return jfail(c, -EINVAL, "a sign in front of a %s", jtype_name(v));
	if (n->kind == N_NEG && i == INT64_MIN)
		return overflow(c, T_SUB);
	*v = jint(n->kind == N_NEG ? -i : i);
	return 0;
}

/* ---- comparisons ---- */

static int compare_once(struct jctx *c, int op, const struct jval *a, const struct jval *b,
			bool *is)
{
	int r, ret;

	switch (op) {
	case T_EQ:
	case T_NE:
		ret = jequal(c, a, b, is);
		*is ^= op == T_NE;
		return ret;
	case T_IN:
	case T_NOT_IN:
		ret = jcontains(c, b, a, is);
		*is ^= op == T_NOT_IN;
		return ret;
	}
	ret = jcompare(c, a, b, op_name(op), &r);
	*is = op == T_GT ? r > 0 : op == T_GE ? r >= 0 : op == T_LT ? r < 0 : r <= 0;
	return ret;
}

/* a < b < c is a < b and b < c. */
static int compare(struct jctx *c, const struct jnode *n, struct jval *out)
{
	struct jval left, right;
	bool is = true;
	int ret = jinja_eval(c, n->a, &left);

	for (const struct jnode *o = n->list; o && is && !ret; o = o->next) {
		ret = jinja_eval(c, o->a, &right);
		c->pos = o->pos;
		if (!ret)
			ret = compare_once(c, o->op, &left, &right, &is);
		left = right;
	}
	*out = jbool(is);
	return ret;
}

/* ---- the rest ---- */

static int eval_list(struct jctx *c, const struct jnode *n, struct jval *out)
{
	struct jval v;
	int ret = jlist_new(c, n->kind == N_LIST ? J_LIST : J_TUPLE, 0, out);

	for (const struct jnode *i = n->list; i && !ret; i = i->next) {
		ret = jinja_eval(c, i, &v);
		if (!ret)
			ret = jlist_add(c, out->u.l, v);
	}
	return ret;
}

static int eval_dict(struct jctx *c, const struct jnode *n, struct jval *out)
{
	struct jval k, v;
	int ret = jdict_new(c, J_DICT, out);

	for (const struct jnode *i = n->list; i && !ret; i = i->next->next) {
		ret = jinja_eval(c, i, &k);
		if (!ret)
			ret = jinja_eval(c, i->next, &v);
		if (!ret)
			ret = jdict_set(c, out->u.d, k, v);
	}
	return ret;
}

static int concat(struct jctx *c, const struct jnode *n, struct jval *out)
{
	struct jbuf b = {0};
	struct jval v;
	int ret = 0;

	for (const struct jnode *i = n->list; i && !ret; i = i->next) {
		ret = jinja_eval(c, i, &v);
		c->pos = i->pos;
		if (!ret)
			ret = jto_str(c, &v, &v);
		if (!ret)
			ret = jbuf_put(c, &b, v.u.s->p, v.u.s->len);
	}
	if (!ret)
		ret = jstr_new(c, b.p, b.len, out);
	free(b.p);
	return ret;
}

static int slice(struct jctx *c, const struct jnode *n, struct jval *out)
{
	const struct jnode *part[] = {n->b, n->c, n->d};
	struct jval v, i[3];
	int ret = jinja_eval(c, n->a, &v);

	for (int k = 0; k < 3 && !ret; k++) {
		i[k] = jnone();
		if (part[k])
			ret = jinja_eval(c, part[k], &i[k]);
	}
	c->pos = n->pos;
	return ret ? ret : jslice(c, &v, &i[0], &i[1], &i[2], out);
}

static int eval_args(struct jctx *c, const struct jnode *list, struct jargs *a)
{
	int ret = 0;

	a->num = a->num_kw = 0;
	for (; list && !ret; list = list->next) {
		if (list->kind == N_KEYWORD) {
			a->key[a->num_kw] = list->str;
			ret = jinja_eval(c, list->a, &a->kw[a->num_kw++]);
		} else {
			ret = jinja_eval(c, list, &a->pos[a->num++]);
		}
	}
	return ret;
}

/* The arguments of a call take room; they are not on the stack of every expression. */
static __attribute__((noinline)) int eval_call(struct jctx *c, const struct jnode *n,
					       struct jval *out)
{
	struct jval v;
	struct jargs *a = jarena_alloc(&c->arena, sizeof(*a));
	bool is = false;
	int ret = a ? jinja_eval(c, n->a, &v)
		    : jfail(c, -EFBIG, "rendering takes more memory than is allowed");

	if (!ret)
		ret = eval_args(c, n->list, a);
	c->pos = n->pos;
	if (!ret)
		ret = jsteps(c, 1);
	if (ret)
		return ret;
	if (n->kind == N_CALL)
		return jinja_call(c, &v, a, out);
	if (n->kind == N_FILTER)
		return jinja_filter_apply(c, n->op, &v, a, out);
	ret = jinja_test_apply(c, n->op, &v, a, &is);
	*out = jbool(is);
	return ret;
}

static int logic(struct jctx *c, const struct jnode *n, struct jval *out)
{
	bool b;
	int ret = jinja_eval(c, n->a, out);

	if (!ret)
		ret = jtruth(c, out, &b);
	if (ret)
		return ret;
	switch (n->kind) {
	case N_AND:
		return b ? jinja_eval(c, n->b, out) : 0;
	case N_OR:
		return b ? 0 : jinja_eval(c, n->b, out);
	case N_NOT:
		*out = jbool(!b);
		return 0;
	default: /* N_COND */
		if (b)
			return jinja_eval(c, n->b, out);
		*out = jundef(NULL);
		return n->c ? jinja_eval(c, n->c, out) : 0;
	}
}

static int access(struct jctx *c, const struct jnode *n, struct jval *out)
{
	struct jval a, b;
	int ret = jinja_eval(c, n->a, &a);

	if (!ret && n->b)
		ret = jinja_eval(c, n->b, &b);
	c->pos = n->pos;
	if (ret)
		return ret;
	if (n->kind == N_ATTR)
		return jinja_getattr(c, &a, n->str, out);
	if (n->kind == N_ITEM)
		return jinja_getitem(c, &a, &b, out);
	return jinja_binary(c, n->op, &a, &b, out);
}

int jinja_eval(struct jctx *c, const struct jnode *n, struct jval *out)
{
	int ret;

	c->pos = n->pos;
	ret = jsteps(c, 1);
	if (ret)
		return ret;
	switch (n->kind) {
	case N_CONST:
		*out = n->val;
		return 0;
	case N_NAME:
		return lookup(c, n, out);
	case N_LIST:
	case N_TUPLE:
		return eval_list(c, n, out);
	case N_DICT:
		return eval_dict(c, n, out);
	case N_ATTR:
	case N_ITEM:
	case N_BINARY:
		return access(c, n, out);
	case N_SLICE:
		return slice(c, n, out);
	case N_CALL:
	case N_FILTER:
	case N_TEST:
		return eval_call(c, n, out);
	case N_NOT:
	case N_AND:
	case N_OR:
	case N_COND:
		return logic(c, n, out);
	case N_NEG:
	case N_POS:
		ret = jinja_eval(c, n->a, out);
		c->pos = n->pos;
		return ret ? ret : negate(c, n, out);
	case N_CONCAT:
		return concat(c, n, out);
	case N_COMPARE:
		return compare(c, n, out);
	default:
		return jfail(c, -EINVAL, "not an expression");
	}
}
