// SPDX-License-Identifier: MIT
#include "chat_call.h"

#include <errno.h>
#include <string.h>

#include "tokenizer.h"

static int dump_arguments(struct jctx *c, const struct jval *v, struct chat_call *call)
{
	static const struct jstr comma = {.len = 2, .p = ", "}, colon = {.len = 2, .p = ": "};
	const struct jjson_style style = {.item = &comma, .key = &colon};

	return jjson_dump(c, v, &style, &call->arguments);
}

/* ---- {"name": ..., "arguments": {...}} ---- */

int chat_call_json(struct jctx *c, const char *text, size_t len, struct chat_call *call)
{
	struct jval v, empty, *name, *args;
	int ret = jjson_parse(c, "call", text, len, &v);

	if (ret)
		return ret;
	if (v.t != J_DICT)
		return jfail(c, -EBADMSG, "call: not an object");
	name = jdict_find(v.u.d, "name", 4);
	if (!name || name->t != J_STRING || !name->u.s->len ||
	    memchr(name->u.s->p, 0, name->u.s->len))
		return jfail(c, -EBADMSG, "call: no name");
	args = jdict_find(v.u.d, "arguments", 9);
	if (args && args->t == J_STRING) {
		/* An object in a string, as OpenAI's interface has it. */
		ret = jjson_parse(c, "arguments", args->u.s->p, args->u.s->len, args);
		if (ret)
			return ret;
	}
	if (!args || args->t == J_NONE) {
		ret = jdict_new(c, J_DICT, &empty);
		args = &empty;
	}
	if (!ret && args->t != J_DICT)
		ret = jfail(c, -EBADMSG, "call: arguments is not an object");
	call->name = name->u.s;
	return ret ? ret : dump_arguments(c, args, call);
}

/* ---- <function=NAME> <parameter=P> ... ---- */

struct text {
	const char *p, *end;
};

static void space(struct text *t)
{
	while (t->p < t->end && strchr(" \t\r\n", *t->p) && *t->p)
		t->p++;
}

static bool starts(const struct text *t, const char *word)
{
	size_t n = strlen(word);

	return (size_t)(t->end - t->p) >= n && !memcmp(t->p, word, n);
}

static bool take(struct text *t, const char *word)
{
	if (!starts(t, word))
		return false;
	t->p += strlen(word);
	return true;
}

/* NAME> behind an equals sign. */
static int take_name(struct jctx *c, struct text *t, const char *what, struct jval *name)
{
	const char *close = memchr(t->p, '>', (size_t)(t->end - t->p)), *end = close;
	int ret;

	if (!close || memchr(t->p, '\n', (size_t)(close - t->p)) ||
	    memchr(t->p, 0, (size_t)(close - t->p)))
		return jfail(c, -EBADMSG, "call: %s= without a name and >", what);
	while (t->p < end && *t->p == ' ')
		t->p++;
	while (end > t->p && end[-1] == ' ')
		end--;
	if (t->p == end)
		return jfail(c, -EBADMSG, "call: %s= without a name", what);
	ret = jstr_new(c, t->p, (size_t)(end - t->p), name);
	t->p = close + 1;
	return ret;
}

/* The value ends at the closing tag that a parameter or the end of the function follows. */
static int take_value(struct jctx *c, struct text *t, const char **from, size_t *len)
{
	static const char close[] = "</parameter>";
	const char *end = t->p;
	struct text after;

	*from = t->p;
	for (;;) {
		end = memmem(end, (size_t)(t->end - end), close, sizeof(close) - 1);
		if (!end)
			return jfail(c, -EBADMSG, "call: a parameter that is never closed");
		after = (struct text){end + sizeof(close) - 1, t->end};
		space(&after);
		if (after.p == after.end || starts(&after, "<parameter=") ||
		    starts(&after, "</function>"))
			break;
		end++;
	}
	t->p = after.p;
	if (*from < end && **from == '\n')
		(*from)++;
	if (end > *from && end[-1] == '\n')
		end--;
	*len = (size_t)(end - *from);
	return 0;
}

static const struct jval *keyword(const struct jval *schema, const char *key)
{
	return jdict_find(schema->u.d, key, strlen(key));
}

/* Without a type: values that are listed, or schemas elsewhere. */
static bool is_json_untyped(const struct jval *schema)
{
	static const char *const elsewhere[] = {"anyOf", "oneOf", "allOf", "$ref"};
	const struct jval *list = keyword(schema, "enum"), *only = keyword(schema, "const");

	for (size_t i = 0; i < ZW_ARRAY_SIZE(elsewhere); i++) {
		if (keyword(schema, elsewhere[i]))
			return true;
	}
	if (!list || list->t != J_LIST)
		return only && only->t != J_STRING;
	for (size_t i = 0; i < list->u.l->n; i++) {
		if (list->u.l->v[i].t == J_STRING)
			return false;
	}
	return true;
}

/* What the schema of a parameter says of its type: a JSON value, or a text? See also grammar_calls.c. */
static bool is_json(const struct jval *schema)
{
	const struct jval *type;

	if (!schema || schema->t != J_DICT)
		return false;
	type = keyword(schema, "type");
	if (!type)
		return is_json_untyped(schema);
	if (type->t == J_STRING)
		return !jis(type, "string");
	for (size_t i = 0; type->t == J_LIST && i < type->u.l->n; i++) {
		if (jis(&type->u.l->v[i], "string"))
			return false;
	}
	return type->t == J_LIST;
}

static const struct jval *member(const struct jval *v, const char *key)
{
	return v && v->t == J_DICT ? jdict_find(v->u.d, key, strlen(key)) : NULL;
}

/* properties of the parameters of the function of that name */
static const struct jval *properties(const struct jval *tools, const struct jstr *name)
{
	for (size_t i = 0; tools->t == J_LIST && i < tools->u.l->n; i++) {
		const struct jval *f = member(&tools->u.l->v[i], "function"), *n;

		if (!f)
			f = &tools->u.l->v[i];
		n = member(f, "name");
		if (n && jis(n, name->p))
			return member(member(f, "parameters"), "properties");
	}
	return NULL;
}

/* Python's words stand for JSON's where a template prints values as Python does. */
static bool python_word(const char *p, size_t n, struct jval *v)
{
	if (n == 4 && !memcmp(p, "True", 4))
		*v = jbool(true);
	else if (n == 5 && !memcmp(p, "False", 5))
		*v = jbool(false);
	else if (n == 4 && !memcmp(p, "None", 4))
		*v = jnone();
	else
		return false;
	return true;
}

static int parameter(struct jctx *c, struct text *t, const struct jval *props, struct jdict *args)
{
	struct zw_error *err = c->err, why;
	const struct jval *schema = NULL;
	struct jval name, v;
	const char *from = NULL;
	size_t len = 0;
	int ret = take_name(c, t, "parameter", &name);

	if (!ret)
		ret = take_value(c, t, &from, &len);
	if (ret)
		return ret;
	if (props && props->t == J_DICT)
		schema = jdict_find(props->u.d, name.u.s->p, name.u.s->len);
	if (is_json(schema)) {
		/* What is no JSON goes on as a text: the tool will say what it makes of it. */
		c->err = &why;
		ret = python_word(from, len, &v) ? 0 : jjson_parse(c, "value", from, len, &v);
		c->err = err;
	}
	if (!is_json(schema) || ret == -EBADMSG)
		ret = jstr_new(c, from, len, &v);
	return ret ? ret : jdict_set(c, args, name, v);
}

/* Values count in characters: what is none does not come that far. (JSON's reader looks itself.) */
static int check_utf8(struct jctx *c, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text, *end = p + len;

	for (size_t n; p < end; p += n) {
		n = utf8_len(p, end);
		if (!n)
			return jfail(c, -EBADMSG, "call: not UTF-8");
	}
	return 0;
}

int chat_call_xml(struct jctx *c, const char *text, size_t len, const struct jval *tools,
		  struct chat_call *call)
{
	struct text t = {text, text + len};
	const struct jval *props;
	struct jval name, args;
	int ret = check_utf8(c, text, len);

	if (!ret)
		ret = jdict_new(c, J_DICT, &args);
	space(&t);
	if (!ret && !take(&t, "<function="))
		ret = jfail(c, -EBADMSG, "call: neither an object nor <function=");
	if (!ret)
		ret = take_name(c, &t, "function", &name);
	if (ret)
		return ret;
	props = properties(tools, name.u.s);
	for (space(&t); !ret && take(&t, "<parameter="); space(&t))
		ret = parameter(c, &t, props, args.u.d);
	if (!ret && !take(&t, "</function>"))
		ret = jfail(c, -EBADMSG, "call: neither <parameter= nor </function>");
	space(&t);
	if (!ret && t.p != t.end)
		ret = jfail(c, -EBADMSG, "call: something behind </function>");
	call->name = name.u.s;
	return ret ? ret : dump_arguments(c, &args, call);
}
