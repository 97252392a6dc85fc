// SPDX-License-Identifier: MIT
/* Statements: a template is a list of them, with text and {{ }} between. */
#include "jinja_parse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shared with expressions ---- */

int jparse_fail(struct jparser *p, const struct jpos *pos, int code, const char *fmt, ...)
{
	char msg[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	p->code = code;
	return llm_fail(p->err, code, "chat template, line %u, column %u: %s", pos->line, pos->col,
			msg);
}

int jparse_unexpected(struct jparser *p, const char *wanted)
{
	char buf[64];

	return jparse_fail(p, &p->t->pos, -EINVAL, "unexpected %s, not %s",
			   jinja_token_name(p->t, buf), wanted);
}

struct jnode *jparse_node(struct jparser *p, enum jnode_kind kind, const struct jpos *pos)
{
	struct jnode *n = jarena_alloc(p->arena, sizeof(*n));

	if (!n) {
		jparse_fail(p, pos, -ENOMEM, "out of memory");
		return NULL;
	}
	n->kind = kind;
	n->pos = *pos;
	return n;
}

bool jparse_above(struct jparser *p, struct jnode *n, const struct jnode *child)
{
	if (child->depth >= JINJA_DEPTH_MAX) {
		jparse_fail(p, &child->pos, -EFBIG, "nested too deeply");
		return false;
	}
	if (n->depth <= child->depth)
		n->depth = child->depth + 1;
	return true;
}

bool jparse_word(const struct jparser *p, const char *word)
{
	return p->t->t == T_NAME && !strcmp(p->t->s->p, word);
}

bool jparse_take_word(struct jparser *p, const char *word)
{
	bool is = jparse_word(p, word);

	p->t += is;
	return is;
}

bool jparse_take(struct jparser *p, enum jtok t)
{
	bool is = p->t->t == t;

	p->t += is;
	return is;
}

int jparse_expect(struct jparser *p, enum jtok t, const char *wanted)
{
	return jparse_take(p, t) ? 0 : jparse_unexpected(p, wanted);
}

/* ---- statements ---- */

static int parse_list(struct jparser *p, struct jnode *above, struct jnode **list,
		      const char *ends);

/* A body up to one of the words in `ends`, which becomes the current token. */
static int parse_body(struct jparser *p, struct jnode *n, struct jnode **body, const char *ends)
{
	int ret;

	jparse_take(p, T_COLON);
	ret = jparse_expect(p, T_BLOCK_END, "the end of the tag");
	if (ret)
		return ret;
	if (++p->depth > JINJA_DEPTH_MAX)
		return jparse_fail(p, &n->pos, -EFBIG, "nested too deeply");
	ret = parse_list(p, n, body, ends);
	p->depth--;
	return ret;
}

/* As above, up to one word, which is taken. */
static int parse_block(struct jparser *p, struct jnode *n, struct jnode **body, const char *end)
{
	int ret = parse_body(p, n, body, end);

	if (!ret)
		p->t++;
	return ret;
}

static int child(struct jparser *p, struct jnode *n, struct jnode **at, struct jnode *c)
{
	if (!c || !jparse_above(p, n, c))
		return p->code;
	*at = c;
	return 0;
}

/* if, elif...: each elif is an if in the else of the one before, but at the same depth. */
static int parse_if(struct jparser *p, struct jnode *n)
{
	struct jnode *at = n;
	int ret;

	for (;;) {
		ret = child(p, n, &at->a, jparse_tuple(p, false, false, NULL));
		if (!ret)
			ret = parse_body(p, n, &at->body, "elif else endif");
		if (ret)
			return ret;
		if (!jparse_word(p, "elif"))
			break;
		at->els = jparse_node(p, N_IF, &p->t->pos);
		if (!at->els)
			return -ENOMEM;
		at = at->els;
		at->op = JIF_ELIF;
		p->t++;
	}
	if (jparse_take_word(p, "else"))
		return parse_block(p, n, &at->els, "endif");
	p->t++;
	return 0;
}

static int parse_for(struct jparser *p, struct jnode *n)
{
	int ret = child(p, n, &n->a, jparse_target(p, false));

	if (!ret && !jparse_take_word(p, "in"))
		return jparse_unexpected(p, "in");
	if (!ret)
		ret = child(p, n, &n->b, jparse_tuple(p, false, false, "recursive"));
	if (!ret && jparse_take_word(p, "if"))
		ret = child(p, n, &n->c, jparse_expression(p));
	if (!ret && jparse_word(p, "recursive"))
		return jparse_fail(p, &p->t->pos, -EOPNOTSUPP, "recursive loops are not supported");
	p->loops++;
	if (!ret)
		ret = parse_body(p, n, &n->body, "endfor else");
	p->loops--;
	if (ret)
		return ret;
	if (jparse_take_word(p, "else"))
		return parse_block(p, n, &n->els, "endfor");
	p->t++;
	return 0;
}

static int parse_set(struct jparser *p, struct jnode *n)
{
	int ret = child(p, n, &n->a, jparse_target(p, true));

	if (ret)
		return ret;
	if (jparse_take(p, T_ASSIGN))
		return child(p, n, &n->b, jparse_tuple(p, true, false, NULL));
	if (p->t->t == T_PIPE)
		ret = child(p, n, &n->c, jparse_filters(p, NULL, false));
	return ret ? ret : parse_block(p, n, &n->body, "endset");
}

static int parse_parameters(struct jparser *p, struct jnode *n)
{
	struct jnode **tail = &n->list;
	bool defaults = false;
	size_t num = 0;
	int ret = jparse_expect(p, T_LPAREN, "(");

	while (!ret && p->t->t != T_RPAREN) {
		struct jnode *arg;

		if (num && (ret = jparse_expect(p, T_COMMA, "a comma or )")))
			break;
		if (p->t->t != T_NAME)
			return jparse_unexpected(p, "the name of a parameter");
		if (++num > JARGS_MAX)
			return jparse_fail(p, &p->t->pos, -EOPNOTSUPP,
					   "more than %d parameters are not supported", JARGS_MAX);
		arg = jparse_node(p, N_KEYWORD, &p->t->pos);
		if (!arg)
			return -ENOMEM;
		arg->str = p->t->s;
		p->t++;
		if (jparse_take(p, T_ASSIGN)) {
			ret = child(p, arg, &arg->a, jparse_expression(p));
			defaults = true;
		} else if (defaults) {
			return jparse_fail(p, &arg->pos, -EINVAL,
					   "a parameter without a default behind one that has one");
		}
		if (!ret && !jparse_above(p, n, arg))
			return p->code;
		*tail = arg;
		tail = &arg->next;
	}
	p->t++;
	return ret;
}

static int parse_macro(struct jparser *p, struct jnode *n)
{
	bool in_macro = p->in_macro;
	unsigned int loops = p->loops;
	int ret;

	if (p->t->t != T_NAME)
		return jparse_unexpected(p, "the name of a macro");
	n->str = p->t->s;
	p->t++;
	p->in_macro = true;
	p->loops = 0; /* a macro cannot break out of the loop around it */
	ret = parse_parameters(p, n);
	if (!ret)
		ret = parse_block(p, n, &n->body, "endmacro");
	p->in_macro = in_macro;
	p->loops = loops;
	return ret;
}

static int parse_with(struct jparser *p, struct jnode *n)
{
	struct jnode **tail = &n->list;

	while (p->t->t != T_BLOCK_END) {
		struct jnode *v;
		int ret = n->list ? jparse_expect(p, T_COMMA, "a comma") : 0;

		if (ret)
			return ret;
		if (p->t->t != T_NAME || p->t[1].t != T_ASSIGN)
			return jparse_unexpected(p, "name = value");
		v = jparse_node(p, N_KEYWORD, &p->t->pos);
		if (!v)
			return -ENOMEM;
		v->str = p->t->s;
		p->t += 2;
		ret = child(p, v, &v->a, jparse_expression(p));
		if (ret || !jparse_above(p, n, v))
			return p->code;
		*tail = v;
		tail = &v->next;
	}
	return parse_block(p, n, &n->body, "endwith");
}

static int parse_filter(struct jparser *p, struct jnode *n)
{
	int ret = child(p, n, &n->c, jparse_filters(p, NULL, true));

	return ret ? ret : parse_block(p, n, &n->body, "endfilter");
}

/* transformers marks what the model writes with it; it changes nothing of the text. */
static int parse_generation(struct jparser *p, struct jnode *n)
{
	return parse_block(p, n, &n->body, "endgeneration");
}

static int parse_jump(struct jparser *p, struct jnode *n)
{
	if (p->loops)
		return 0;
	return jparse_fail(p, &n->pos, -EINVAL, "%s outside of a loop",
			   n->kind == N_BREAK ? "break" : "continue");
}

static const struct {
	const char *word;
	enum jnode_kind kind;
	int (*parse)(struct jparser *p, struct jnode *n);
} statements[] = {
	{"if", N_IF, parse_if},
	{"for", N_FOR, parse_for},
	{"set", N_SET, parse_set},
	{"macro", N_MACRO, parse_macro},
	{"with", N_WITH, parse_with},
	{"filter", N_FILTER_BLOCK, parse_filter},
	{"generation", N_SCOPE, parse_generation},
	{"break", N_BREAK, parse_jump},
	{"continue", N_CONTINUE, parse_jump},
};

/* Tags that Jinja has and this does not. */
static const char *const refused[] = {"autoescape", "block",  "call",    "do",    "extends",
				      "from",       "import", "include", "print", "trans"};

static struct jnode *parse_statement(struct jparser *p)
{
	const struct jtoken *t = p->t;

	if (t->t != T_NAME) {
		jparse_unexpected(p, "the name of a tag");
		return NULL;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(statements); i++) {
		struct jnode *n;

		if (!jparse_word(p, statements[i].word))
			continue;
		n = jparse_node(p, statements[i].kind, &t->pos);
		p->t++;
		if (!n || statements[i].parse(p, n))
			return NULL;
		return jparse_expect(p, T_BLOCK_END, "the end of the tag") ? NULL : n;
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(refused); i++) {
		if (jparse_word(p, refused[i])) {
			jparse_fail(p, &t->pos, -EOPNOTSUPP, "the tag %s is not supported",
				    refused[i]);
			return NULL;
		}
	}
	jparse_fail(p, &t->pos, -EINVAL, "unexpected tag %.60s", t->s->p);
	return NULL;
}

/* Is the current token one of the words in a list with spaces between? */
static bool one_of(const struct jparser *p, const char *words)
{
	const char *at = words;
	size_t n;

	if (!words || p->t->t != T_NAME)
		return false;
	n = p->t->s->len;
	while ((at = strstr(at, p->t->s->p))) {
		if ((at == words || at[-1] == ' ') && (!at[n] || at[n] == ' '))
			return true;
		at++;
	}
	return false;
}

static struct jnode *parse_output(struct jparser *p)
{
	struct jnode *n = jparse_node(p, N_OUTPUT, &p->t->pos);

	p->t++;
	if (!n || child(p, n, &n->a, jparse_tuple(p, true, false, NULL)))
		return NULL;
	return jparse_expect(p, T_VAR_END, "the end of the tag") ? NULL : n;
}

static struct jnode *parse_data(struct jparser *p)
{
	struct jnode *n = jparse_node(p, N_DATA, &p->t->pos);

	if (n)
		n->str = p->t->s;
	p->t++;
	return n;
}

static int parse_list(struct jparser *p, struct jnode *above, struct jnode **list, const char *ends)
{
	while (p->t->t != T_EOF) {
		struct jnode *n;

		if (p->t->t == T_DATA) {
			n = parse_data(p);
		} else if (p->t->t == T_VAR_BEGIN) {
			n = parse_output(p);
		} else {
			p->t++;
			if (one_of(p, ends))
				return 0;
			n = parse_statement(p);
		}
		if (!n || (above && !jparse_above(p, above, n)))
			return p->code;
		*list = n;
		list = &n->next;
	}
	if (!ends)
		return 0;
	return jparse_fail(p, &above->pos, -EINVAL, "a tag that is never closed (%s)", ends);
}

int jinja_parse(const char *text, size_t len, struct jinja *t, struct zw_error *err)
{
	struct jparser p = {.arena = &t->arena, .err = err};
	struct jtoken *toks;
	size_t n;
	int ret;

	*t = (struct jinja){.arena.max = JINJA_MEMORY_MAX};
	ret = jinja_lex(&t->arena, text, len, &toks, &n, err);
	p.t = toks;
	if (!ret)
		ret = parse_list(&p, NULL, &t->body, NULL);
	if (ret)
		jinja_free(t);
	return ret;
}

void jinja_free(struct jinja *t)
{
	jarena_free(&t->arena);
	t->body = NULL;
}
