// SPDX-License-Identifier: MIT
/* Expressions, by recursive descent, with Jinja's precedences. NULL is a failure that was told. */
#include "jinja_parse.h"

#include <errno.h>
#include <string.h>

static struct jnode *or_expr(struct jparser *p);
static struct jnode *unary(struct jparser *p, bool filters);

/* Recursion has a limit of its own: brackets nest without making a tree. */
static bool enter(struct jparser *p)
{
	if (++p->depth <= JINJA_DEPTH_MAX)
		return true;
	jparse_fail(p, &p->t->pos, -EFBIG, "nested too deeply");
	return false;
}

static struct jnode *leave(struct jparser *p, struct jnode *n)
{
	p->depth--;
	return n;
}

static struct jnode *one(struct jparser *p, enum jnode_kind kind, const struct jpos *pos,
			 struct jnode *a)
{
	struct jnode *n = a ? jparse_node(p, kind, pos) : NULL;

	if (!n)
		return NULL;
	n->a = a;
	return jparse_above(p, n, a) ? n : NULL;
}

static struct jnode *two(struct jparser *p, enum jnode_kind kind, int op, const struct jpos *pos,
			 struct jnode *a, struct jnode *b)
{
	struct jnode *n = b ? one(p, kind, pos, a) : NULL;

	if (!n)
		return NULL;
	n->op = op;
	n->b = b;
	return jparse_above(p, n, b) ? n : NULL;
}

/* Appends to a list; *tail is where the next one goes. */
static bool append(struct jparser *p, struct jnode *list, struct jnode ***tail, struct jnode *item)
{
	if (!item || !jparse_above(p, list, item))
		return false;
	**tail = item;
	*tail = &item->next;
	return true;
}

/* ---- literals ---- */

static struct jnode *constant(struct jparser *p, struct jval v)
{
	struct jnode *n = jparse_node(p, N_CONST, &p->t->pos);

	if (n)
		n->val = v;
	return n;
}

/* Strings side by side are one. */
static struct jnode *strings(struct jparser *p)
{
	struct jnode *n = constant(p, (struct jval){J_STRING, {.s = p->t->s}});

	for (p->t++; n && p->t->t == T_STRING; p->t++) {
		const struct jstr *a = n->val.u.s, *b = p->t->s;
		struct jstr *s = jarena_alloc(p->arena, sizeof(*s) + a->len + b->len + 1);

		if (!s) {
			jparse_fail(p, &n->pos, -ENOMEM, "out of memory");
			return NULL;
		}
		s->p = (char *)(s + 1);
		memcpy(s->p, a->p, a->len);
		memcpy(s->p + a->len, b->p, b->len);
		s->len = a->len + b->len;
		s->num = a->num + b->num;
		n->val.u.s = s;
	}
	return n;
}

static struct jnode *list_literal(struct jparser *p)
{
	struct jnode *n = jparse_node(p, N_LIST, &p->t->pos), **tail;

	if (!n)
		return NULL;
	tail = &n->list;
	for (p->t++; p->t->t != T_RBRACKET;) {
		if (n->list && jparse_expect(p, T_COMMA, "a comma or ]"))
			return NULL;
		if (p->t->t == T_RBRACKET)
			break;
		if (!append(p, n, &tail, jparse_expression(p)))
			return NULL;
	}
	p->t++;
	return n;
}

static struct jnode *dict_literal(struct jparser *p)
{
	struct jnode *n = jparse_node(p, N_DICT, &p->t->pos), **tail;

	if (!n)
		return NULL;
	tail = &n->list;
	for (p->t++; p->t->t != T_RBRACE;) {
		if (n->list && jparse_expect(p, T_COMMA, "a comma or }"))
			return NULL;
		if (p->t->t == T_RBRACE)
			break;
		if (!append(p, n, &tail, jparse_expression(p)) ||
		    jparse_expect(p, T_COLON, "a colon") ||
		    !append(p, n, &tail, jparse_expression(p)))
			return NULL;
	}
	p->t++;
	return n;
}

static struct jnode *name(struct jparser *p)
{
	static const char *const reserved[] = {"and", "or", "not",  "in",
					       "is",  "if", "else", "elif"};
	static const char *const hidden[] = {"varargs", "kwargs", "caller"};
	const struct jtoken *t = p->t;
	struct jnode *n;

	if (jparse_word(p, "true") || jparse_word(p, "True"))
		n = constant(p, jbool(true));
	else if (jparse_word(p, "false") || jparse_word(p, "False"))
		n = constant(p, jbool(false));
	else if (jparse_word(p, "none") || jparse_word(p, "None"))
		n = constant(p, jnone());
	else
		n = jparse_node(p, N_NAME, &t->pos);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(reserved); i++) {
		if (jparse_word(p, reserved[i])) {
			jparse_unexpected(p, "an expression");
			return NULL;
		}
	}
	for (size_t i = 0; p->in_macro && i < ZW_ARRAY_SIZE(hidden); i++) {
		if (jparse_word(p, hidden[i])) {
			jparse_fail(p, &t->pos, -EOPNOTSUPP, "%s in a macro is not supported",
				    hidden[i]);
			return NULL;
		}
	}
	if (n)
		n->str = t->s;
	p->t++;
	return n;
}

static struct jnode *primary(struct jparser *p)
{
	struct jnode *n = NULL;

	if (!enter(p))
		return NULL;
	switch (p->t->t) {
	case T_NAME:
		n = name(p);
		break;
	case T_STRING:
		n = strings(p);
		break;
	case T_INT:
		n = constant(p, jint(p->t->i));
		p->t++;
		break;
	case T_FLOAT:
		n = constant(p, jfloat(p->t->f));
		p->t++;
		break;
	case T_LPAREN:
		p->t++;
		n = jparse_tuple(p, true, true, NULL);
		if (n && jparse_expect(p, T_RPAREN, "a closing parenthesis"))
			n = NULL;
		break;
	case T_LBRACKET:
		n = list_literal(p);
		break;
	case T_LBRACE:
		n = dict_literal(p);
		break;
	default:
		jparse_unexpected(p, "an expression");
	}
	return leave(p, n);
}

/* ---- what follows an expression ---- */

/* (a, b, key=c); fills n->list. */
static bool arguments(struct jparser *p, struct jnode *n)
{
	struct jnode **tail = &n->list;
	size_t count = 0;
	bool keys = false;

	for (p->t++; p->t->t != T_RPAREN; count++) {
		struct jnode *arg;

		if (count && jparse_expect(p, T_COMMA, "a comma or )"))
			return false;
		if (p->t->t == T_RPAREN)
			break;
		if (p->t->t == T_MUL || p->t->t == T_POW) {
			jparse_fail(p, &p->t->pos, -EOPNOTSUPP,
				    "* and ** in arguments are not supported");
			return false;
		}
		if (count == JARGS_MAX) {
			jparse_fail(p, &p->t->pos, -EOPNOTSUPP,
				    "more than %d arguments are not supported", JARGS_MAX);
			return false;
		}
		if (p->t->t == T_NAME && p->t[1].t == T_ASSIGN) {
			const struct jtoken *key = p->t;

			p->t += 2;
			arg = one(p, N_KEYWORD, &key->pos, jparse_expression(p));
			if (arg)
				arg->str = key->s;
			keys = true;
		} else if (keys) {
			jparse_unexpected(p, "name=value behind one");
			return false;
		} else {
			arg = jparse_expression(p);
		}
		if (!append(p, n, &tail, arg))
			return false;
	}
	p->t++;
	return true;
}

static struct jnode *call(struct jparser *p, struct jnode *fn)
{
	struct jnode *n = one(p, N_CALL, &p->t->pos, fn);

	return n && arguments(p, n) ? n : NULL;
}

/* Nothing between two colons, or an expression. */
static bool slice_part(struct jparser *p, struct jnode *n, struct jnode **part)
{
	if (p->t->t == T_COLON || p->t->t == T_RBRACKET)
		return true;
	*part = jparse_expression(p);
	return *part && jparse_above(p, n, *part);
}

static struct jnode *subscript(struct jparser *p, struct jnode *base)
{
	const struct jpos *pos = &p->t->pos;
	struct jnode *n, *first = NULL;

	p->t++;
	if (p->t->t != T_COLON) {
		first = jparse_expression(p);
		if (!first)
			return NULL;
	}
	if (p->t->t == T_COMMA) {
		jparse_fail(p, &p->t->pos, -EOPNOTSUPP, "more than one index is not supported");
		return NULL;
	}
	if (p->t->t != T_COLON) {
		n = two(p, N_ITEM, 0, pos, base, first);
		return n && !jparse_expect(p, T_RBRACKET, "a closing bracket") ? n : NULL;
	}
	n = one(p, N_SLICE, pos, base);
	if (!n || (first && !jparse_above(p, n, first)))
		return NULL;
	n->b = first;
	p->t++;
	if (!slice_part(p, n, &n->c))
		return NULL;
	if (jparse_take(p, T_COLON) && !slice_part(p, n, &n->d))
		return NULL;
	return jparse_expect(p, T_RBRACKET, "a closing bracket") ? NULL : n;
}

static struct jnode *dot(struct jparser *p, struct jnode *base)
{
	const struct jpos *pos = &p->t->pos;
	struct jnode *n;

	p->t++;
	if (p->t->t == T_INT) {
		n = two(p, N_ITEM, 0, pos, base, constant(p, jint(p->t->i)));
	} else if (p->t->t == T_NAME) {
		n = one(p, N_ATTR, pos, base);
		if (n)
			n->str = p->t->s;
	} else {
		jparse_unexpected(p, "a name behind the dot");
		return NULL;
	}
	p->t++;
	return n;
}

static struct jnode *postfix(struct jparser *p, struct jnode *n)
{
	while (n) {
		if (p->t->t == T_DOT)
			n = dot(p, n);
		else if (p->t->t == T_LBRACKET)
			n = subscript(p, n);
		else if (p->t->t == T_LPAREN)
			n = call(p, n);
		else
			break;
	}
	return n;
}

struct jnode *jparse_filters(struct jparser *p, struct jnode *in, bool first)
{
	struct jnode *n = in;
	bool known;

	while (first || p->t->t == T_PIPE) {
		struct jnode *f;

		if (!first)
			p->t++;
		first = false;
		if (p->t->t != T_NAME) {
			jparse_unexpected(p, "the name of a filter");
			return NULL;
		}
		f = jparse_node(p, N_FILTER, &p->t->pos);
		if (!f)
			return NULL;
		f->str = p->t->s;
		f->op = jinja_filter_find(p->t->s, &known);
		if (f->op < 0) {
			jparse_fail(p, &p->t->pos, known ? -EOPNOTSUPP : -EINVAL,
				    known ? "the filter %.60s is not supported"
					  : "there is no filter %.60s",
				    p->t->s->p);
			return NULL;
		}
		f->a = n;
		if (n && !jparse_above(p, f, n))
			return NULL;
		p->t++;
		if (p->t->t == T_LPAREN && !arguments(p, f))
			return NULL;
		n = f;
	}
	return n;
}

/* x is NAME, x is not NAME, x is NAME(args), x is NAME arg */
static struct jnode *test(struct jparser *p, struct jnode *x)
{
	const struct jpos *pos = &p->t->pos;
	struct jnode *n, *arg;
	bool negated, known;

	p->t++;
	negated = jparse_take_word(p, "not");
	if (p->t->t != T_NAME) {
		jparse_unexpected(p, "the name of a test");
		return NULL;
	}
	n = one(p, N_TEST, pos, x);
	if (!n)
		return NULL;
	n->str = p->t->s;
	n->op = jinja_test_find(p->t->s, &known);
	if (n->op < 0) {
		jparse_fail(p, &p->t->pos, known ? -EOPNOTSUPP : -EINVAL,
			    known ? "the test %.60s is not supported" : "there is no test %.60s",
			    p->t->s->p);
		return NULL;
	}
	p->t++;
	if (p->t->t == T_LPAREN) {
		if (!arguments(p, n))
			return NULL;
	} else if ((p->t->t == T_NAME && !jparse_word(p, "else") && !jparse_word(p, "or") &&
		    !jparse_word(p, "and")) ||
		   p->t->t == T_STRING || p->t->t == T_INT || p->t->t == T_FLOAT ||
		   p->t->t == T_LBRACKET || p->t->t == T_LBRACE) {
		arg = postfix(p, primary(p));
		if (!arg || !jparse_above(p, n, arg))
			return NULL;
		n->list = arg;
	}
	return negated ? one(p, N_NOT, pos, n) : n;
}

static struct jnode *filters_and_tests(struct jparser *p, struct jnode *n)
{
	while (n) {
		if (p->t->t == T_PIPE)
			n = jparse_filters(p, n, false);
		else if (jparse_word(p, "is"))
			n = test(p, n);
		else if (p->t->t == T_LPAREN)
			n = call(p, n);
		else
			break;
	}
	return n;
}

/* ---- operators ---- */

static struct jnode *unary(struct jparser *p, bool filters)
{
	const struct jtoken *t = p->t;
	struct jnode *n;

	if (!enter(p))
		return NULL;
	if (t->t == T_SUB || t->t == T_ADD) {
		p->t++;
		n = one(p, t->t == T_SUB ? N_NEG : N_POS, &t->pos, unary(p, false));
	} else {
		n = primary(p);
	}
	n = postfix(p, n);
	return leave(p, filters ? filters_and_tests(p, n) : n);
}

/* The binary operators of one precedence, all of which group to the left. */
static struct jnode *binary(struct jparser *p, const enum jtok *ops,
			    struct jnode *(*next)(struct jparser *))
{
	struct jnode *n = next(p);

	while (n) {
		const struct jtoken *t = p->t;
		const enum jtok *op = ops;

		while (*op && *op != t->t)
			op++;
		if (!*op)
			break;
		p->t++;
		n = two(p, N_BINARY, t->t, &t->pos, n, next(p));
	}
	return n;
}

static struct jnode *unary_filtered(struct jparser *p)
{
	return unary(p, true);
}

static struct jnode *power(struct jparser *p)
{
	static const enum jtok ops[] = {T_POW, 0};

	return binary(p, ops, unary_filtered);
}

static struct jnode *product(struct jparser *p)
{
	static const enum jtok ops[] = {T_MUL, T_DIV, T_FLOORDIV, T_MOD, 0};

	return binary(p, ops, power);
}

static struct jnode *concat(struct jparser *p)
{
	struct jnode *n = product(p), *list, **tail;

	if (!n || p->t->t != T_TILDE)
		return n;
	list = jparse_node(p, N_CONCAT, &p->t->pos);
	if (!list)
		return NULL;
	tail = &list->list;
	if (!append(p, list, &tail, n))
		return NULL;
	while (jparse_take(p, T_TILDE)) {
		if (!append(p, list, &tail, product(p)))
			return NULL;
	}
	return list;
}

static struct jnode *sum(struct jparser *p)
{
	static const enum jtok ops[] = {T_ADD, T_SUB, 0};

	return binary(p, ops, concat);
}

static int compare_op(struct jparser *p)
{
	int op = p->t->t;

	if (op >= T_EQ && op <= T_LE) {
		p->t++;
		return op;
	}
	if (jparse_take_word(p, "in"))
		return T_IN;
	if (jparse_word(p, "not") && p->t[1].t == T_NAME && !strcmp(p->t[1].s->p, "in")) {
		p->t += 2;
		return T_NOT_IN;
	}
	return 0;
}

static struct jnode *compare(struct jparser *p)
{
	const struct jpos *pos = &p->t->pos;
	struct jnode *n = sum(p), *list = NULL, **tail = NULL;
	int op;

	while (n && (pos = &p->t->pos, op = compare_op(p))) {
		struct jnode *right;

		if (!list) {
			list = one(p, N_COMPARE, pos, n);
			if (!list)
				return NULL;
			tail = &list->list;
		}
		right = one(p, N_OPERAND, pos, sum(p));
		if (!append(p, list, &tail, right))
			return NULL;
		right->op = op;
	}
	return list ? list : n;
}

static struct jnode *not_expr(struct jparser *p)
{
	const struct jpos *pos = &p->t->pos;

	if (!jparse_word(p, "not"))
		return compare(p);
	if (!enter(p))
		return NULL;
	p->t++;
	return leave(p, one(p, N_NOT, pos, not_expr(p)));
}

static struct jnode *and_expr(struct jparser *p)
{
	struct jnode *n = not_expr(p);
	const struct jpos *pos;

	while (n && (pos = &p->t->pos, jparse_take_word(p, "and")))
		n = two(p, N_AND, 0, pos, n, not_expr(p));
	return n;
}

static struct jnode *or_expr(struct jparser *p)
{
	struct jnode *n = and_expr(p);
	const struct jpos *pos;

	while (n && (pos = &p->t->pos, jparse_take_word(p, "or")))
		n = two(p, N_OR, 0, pos, n, and_expr(p));
	return n;
}

static struct jnode *conditional(struct jparser *p)
{
	struct jnode *n = or_expr(p);
	const struct jpos *pos;

	while (n && (pos = &p->t->pos, jparse_take_word(p, "if"))) {
		struct jnode *cond = two(p, N_COND, 0, pos, or_expr(p), n);

		if (!cond)
			return NULL;
		if (jparse_take_word(p, "else")) {
			cond->c = jparse_expression(p);
			if (!cond->c || !jparse_above(p, cond, cond->c))
				return NULL;
		}
		n = cond;
	}
	return n;
}

struct jnode *jparse_expression(struct jparser *p)
{
	return enter(p) ? leave(p, conditional(p)) : NULL;
}

static bool tuple_ends(const struct jparser *p, const char *stop)
{
	return p->t->t == T_VAR_END || p->t->t == T_BLOCK_END || p->t->t == T_RPAREN ||
	       (stop && jparse_word(p, stop));
}

struct jnode *jparse_tuple(struct jparser *p, bool cond, bool parenthesised, const char *stop)
{
	struct jnode *n = NULL, *tuple = NULL, **tail = NULL;

	if (tuple_ends(p, stop)) {
		if (parenthesised)
			return jparse_node(p, N_TUPLE, &p->t->pos);
		jparse_unexpected(p, "an expression");
		return NULL;
	}
	for (;;) {
		n = cond ? jparse_expression(p) : or_expr(p);
		if (!n)
			return NULL;
		if (!tuple && p->t->t != T_COMMA)
			return n;
		if (!tuple) {
			tuple = jparse_node(p, N_TUPLE, &n->pos);
			if (!tuple)
				return NULL;
			tail = &tuple->list;
		}
		if (!append(p, tuple, &tail, n))
			return NULL;
		if (!jparse_take(p, T_COMMA) || tuple_ends(p, stop))
			return tuple;
	}
}

/* ---- targets ---- */

static struct jnode *target_name(struct jparser *p)
{
	struct jnode *n;

	if (p->t->t != T_NAME) {
		jparse_unexpected(p, "a name to assign to");
		return NULL;
	}
	n = name(p);
	if (n && n->kind != N_NAME) {
		jparse_fail(p, &n->pos, -EINVAL, "%.60s cannot be assigned to", n->str->p);
		return NULL;
	}
	return n;
}

struct jnode *jparse_target(struct jparser *p, bool with_ns)
{
	struct jnode *n, *tuple, **tail;
	bool parenthesised;

	if (with_ns && p->t->t == T_NAME && p->t[1].t == T_DOT) {
		n = jparse_node(p, N_NSREF, &p->t->pos);
		if (!n)
			return NULL;
		n->str = p->t->s;
		p->t += 2;
		if (p->t->t != T_NAME) {
			jparse_unexpected(p, "a name behind the dot");
			return NULL;
		}
		n->str2 = p->t->s;
		p->t++;
		return n;
	}
	parenthesised = jparse_take(p, T_LPAREN);
	n = target_name(p);
	if (n && p->t->t == T_COMMA) {
		tuple = jparse_node(p, N_TUPLE, &n->pos);
		if (!tuple)
			return NULL;
		tail = &tuple->list;
		append(p, tuple, &tail, n);
		while (jparse_take(p, T_COMMA) && p->t->t == T_NAME && !jparse_word(p, "in")) {
			if (!append(p, tuple, &tail, target_name(p)))
				return NULL;
		}
		n = tuple;
	}
	if (n && parenthesised && jparse_expect(p, T_RPAREN, "a closing parenthesis"))
		return NULL;
	return n;
}
