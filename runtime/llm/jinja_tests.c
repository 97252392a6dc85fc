// SPDX-License-Identifier: MIT
/* Tests: value is name(arguments). */
#include "jinja.h"

#include <errno.h>
#include <string.h>

typedef int test_fn(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is);

static int t_defined(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t != J_UNDEFINED;
	return 0;
}

static int t_undefined(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_UNDEFINED;
	return 0;
}

static int t_none(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_NONE;
	return 0;
}

static int t_boolean(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_BOOL;
	return 0;
}

static int t_true(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_BOOL && v->u.b;
	return 0;
}

static int t_false(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_BOOL && !v->u.b;
	return 0;
}

static int t_integer(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_INT || v->t == J_BIGINT;
	return 0;
}

static int t_float(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_FLOAT;
	return 0;
}

static int t_number(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_INT || v->t == J_BIGINT || v->t == J_FLOAT || v->t == J_BOOL;
	return 0;
}

static int t_string(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_STRING;
	return 0;
}

static int t_mapping(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_DICT;
	return 0;
}

/* len() and [] in Python's eyes; an undefined value has both. */
static int t_sequence(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_STRING || v->t == J_LIST || v->t == J_TUPLE || v->t == J_DICT ||
	      v->t == J_UNDEFINED;
	return 0;
}

static int t_iterable(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	t_sequence(c, v, arg, is);
	*is |= v->t == J_ITER || v->t == J_LOOP;
	return 0;
}

static int t_callable(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	*is = v->t == J_FUNCTION || v->t == J_MACRO || v->t == J_METHOD || v->t == J_LOOP ||
	      v->t == J_UNDEFINED;
	return 0;
}

static int remainder_of(struct jctx *c, const struct jval *v, const struct jval *by, int64_t *r)
{
	struct jval out;
	int ret = jinja_binary(c, T_MOD, v, by, &out);

	*r = ret ? 0 : out.u.i;
	return ret;
}

static int t_odd(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	struct jval two = jint(2);
	int64_t r;
	int ret = remainder_of(c, v, &two, &r);

	*is = r == 1;
	return ret;
}

static int t_even(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	struct jval two = jint(2);
	int64_t r;
	int ret = remainder_of(c, v, &two, &r);

	*is = r == 0;
	return ret;
}

static int t_divisibleby(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	int64_t r;
	int ret = remainder_of(c, v, arg, &r);

	*is = r == 0;
	return ret;
}

/* Letters of one case only; ASCII's, what else there is depends on Unicode's tables. */
static int one_case(struct jctx *c, const struct jval *v, bool upper, bool *is)
{
	struct jval s;
	int ret = jto_str(c, v, &s);
	bool any = false, other = false;

	for (uint32_t i = 0; !ret && i < s.u.s->len; i++) {
		char ch = s.u.s->p[i];

		if (ch & 0x80)
			return jfail(c, -EOPNOTSUPP,
				     "the case of what is not ASCII is not supported");
		any |= upper ? ch >= 'A' && ch <= 'Z' : ch >= 'a' && ch <= 'z';
		other |= upper ? ch >= 'a' && ch <= 'z' : ch >= 'A' && ch <= 'Z';
	}
	*is = any && !other;
	return ret;
}

static int t_lower(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	return one_case(c, v, false, is);
}

static int t_upper(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	return one_case(c, v, true, is);
}

static int t_in(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	return jcontains(c, arg, v, is);
}

static int t_eq(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	return jequal(c, v, arg, is);
}

static int t_ne(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	int ret = jequal(c, v, arg, is);

	*is = !*is;
	return ret;
}

static int t_gt(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	int r = 0, ret = jcompare(c, v, arg, ">", &r);

	*is = r > 0;
	return ret;
}

static int t_ge(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	int r = 0, ret = jcompare(c, v, arg, ">=", &r);

	*is = r >= 0;
	return ret;
}

static int t_lt(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	int r = 0, ret = jcompare(c, v, arg, "<", &r);

	*is = r < 0;
	return ret;
}

static int t_le(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	int r = 0, ret = jcompare(c, v, arg, "<=", &r);

	*is = r <= 0;
	return ret;
}

/* Only where Python is sure of it: None, True and False are the same object everywhere. */
static int t_sameas(struct jctx *c, const struct jval *v, const struct jval *arg, bool *is)
{
	bool known = v->t == J_NONE || v->t == J_BOOL, other = arg->t == J_NONE || arg->t == J_BOOL;

	if (!known && !other)
		return jfail(c, -EOPNOTSUPP,
			     "sameas of anything but none, true and false is not supported");
	*is = v->t == arg->t && (v->t == J_NONE || v->u.b == arg->u.b);
	return 0;
}

static const struct {
	const char *name;
	test_fn *apply; /* NULL: Jinja has it, this does not */
	unsigned int args;
} tests[] = {
	{"defined", t_defined},
	{"undefined", t_undefined},
	{"none", t_none},
	{"boolean", t_boolean},
	{"true", t_true},
	{"false", t_false},
	{"integer", t_integer},
	{"float", t_float},
	{"number", t_number},
	{"string", t_string},
	{"mapping", t_mapping},
	{"sequence", t_sequence},
	{"iterable", t_iterable},
	{"callable", t_callable},
	{"odd", t_odd},
	{"even", t_even},
	{"divisibleby", t_divisibleby, 1},
	{"lower", t_lower},
	{"upper", t_upper},
	{"in", t_in, 1},
	{"eq", t_eq, 1},
	{"==", t_eq, 1},
	{"equalto", t_eq, 1},
	{"ne", t_ne, 1},
	{"!=", t_ne, 1},
	{"gt", t_gt, 1},
	{">", t_gt, 1},
	{"greaterthan", t_gt, 1},
	{"ge", t_ge, 1},
	{">=", t_ge, 1},
	{"lt", t_lt, 1},
	{"<", t_lt, 1},
	{"lessthan", t_lt, 1},
	{"le", t_le, 1},
	{"<=", t_le, 1},
	{"sameas", t_sameas, 1},
	{"escaped"},
	{"filter"},
	{"test"},
};

int jinja_test_find(const struct jstr *name, bool *known)
{
	*known = false;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(tests); i++) {
		if (strlen(tests[i].name) != name->len || memcmp(tests[i].name, name->p, name->len))
			continue;
		*known = true;
		return tests[i].apply ? (int)i : -1;
	}
	return -1;
}

int jinja_test_apply(struct jctx *c, int test, const struct jval *v, const struct jargs *a,
		     bool *is)
{
	if (a->num_kw || a->num != tests[test].args)
		return jfail(c, -EINVAL, "the test %s takes %u arguments", tests[test].name,
			     tests[test].args);
	return tests[test].apply(c, v, &a->pos[0], is);
}
