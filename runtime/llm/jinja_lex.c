// SPDX-License-Identifier: MIT
/* Template text to tokens, with Jinja's rules for white space around tags. */
#include "jinja.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

struct lexer {
	struct jarena *arena;
	struct zw_error *err;
	const char *start, *p, *end;
	struct jtoken *tok;
	size_t n, cap;
	char closers[JINJA_DEPTH_MAX]; /* brackets that are open */
	size_t open;
	bool line_starting; /* p is behind a newline that a tag took */
};

static struct jpos pos_at(const struct lexer *x, const char *p)
{
	struct jpos pos = {1, 1};

	for (const char *q = x->start; q < p; q++) {
		if (*q == '\n') {
			pos.line++;
			pos.col = 0;
		}
		pos.col += (*q & 0xc0) != 0x80;
	}
	return pos;
}

static int fail_at(struct lexer *x, const char *p, int code, const char *what)
{
	struct jpos pos = pos_at(x, p);

	return llm_fail(x->err, code, "chat template, line %u, column %u: %s", pos.line, pos.col,
			what);
}

static int no_memory(struct lexer *x)
{
	return llm_fail(x->err, -ENOMEM, "chat template: out of memory");
}

static const struct jstr *new_str(struct lexer *x, const char *p, size_t n)
{
	struct jstr *s = jarena_alloc(x->arena, sizeof(*s) + n + 1);

	if (!s)
		return NULL;
	s->p = (char *)(s + 1);
	memcpy(s->p, p, n);
	s->len = (uint32_t)n;
	jstr_count(s);
	return s;
}

/* Lines and columns are filled in at the end, in one pass; until then the byte stands in line. */
static struct jtoken *add(struct lexer *x, enum jtok t, const char *at)
{
	struct jtoken *tok;

	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 256;

		tok = jarena_alloc(x->arena, cap * sizeof(*tok));
		if (!tok)
			return NULL;
		if (x->n)
			memcpy(tok, x->tok, x->n * sizeof(*tok));
		x->tok = tok;
		x->cap = cap;
	}
	tok = &x->tok[x->n++];
	*tok = (struct jtoken){.t = t, .pos.line = (uint32_t)(at - x->start)};
	return tok;
}

static void set_positions(struct lexer *x)
{
	struct jpos pos = {1, 1};
	const char *q = x->start;

	for (size_t i = 0; i < x->n; i++) {
		const char *at = x->start + x->tok[i].pos.line;

		for (; q < at; q++) {
			if (*q == '\n') {
				pos.line++;
				pos.col = 0;
			}
			pos.col += (*q & 0xc0) != 0x80;
		}
		x->tok[i].pos = pos;
	}
}

/* ---- white space ---- */

static size_t space_at(const char *p, const char *end)
{
	const unsigned char *u = (const unsigned char *)p;

	return p < end && jspace(utf8_at(u, (const unsigned char *)end))
		       ? utf8_len(u, (const unsigned char *)end)
		       : 0;
}

static const char *skip_space(const char *p, const char *end)
{
	for (size_t n; (n = space_at(p, end));)
		p += n;
	return p;
}

static const char *rstrip(const char *start, const char *p)
{
	while (p > start) {
		const char *q = p - 1;

		while (q > start && (*q & 0xc0) == 0x80)
			q--;
		if (space_at(q, p) != (size_t)(p - q))
			break;
		p = q;
	}
	return p;
}

/* ---- inside tags ---- */

static bool digit(char ch, int base)
{
	if (base == 16)
		return (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'f');
	return ch >= '0' && ch < '0' + base;
}

/* Digits with single underscores between them; the end. */
static const char *digits(const char *p, const char *end, int base)
{
	while (p < end && (digit(*p, base) || (*p == '_' && p + 1 < end && digit(p[1], base))))
		p++;
	return p;
}

static bool starts_digit(const char *p, const char *end)
{
	return p < end && digit(*p, 10);
}

/* Numbers without their underscores. */
static bool plain(const char *p, const char *end, char buf[64])
{
	size_t n = 0;

	for (; p < end; p++) {
		if (n == 63)
			return false;
		if (*p != '_')
			buf[n++] = *p;
	}
	buf[n] = '\0';
	return true;
}

static int lex_number(struct lexer *x)
{
	const char *at = x->p, *p = digits(at, x->end, 10), *q = p;
	struct jtoken *tok;
	bool is_float = false;
	char buf[64];
	int base = 10;

	if (q + 1 < x->end && *q == '.' && digit(q[1], 10)) {
		q = digits(q + 1, x->end, 10);
		is_float = true;
	}
	if (q < x->end && (*q | 32) == 'e') {
		const char *e = q + 1;

		if (e < x->end && (*e == '+' || *e == '-'))
			e++;
		if (starts_digit(e, x->end)) {
			q = digits(e, x->end, 10);
			is_float = true;
		}
	}
	/* a.0.1 has no number 0.1 in it */
	if (at > x->start && at[-1] == '.') {
		is_float = false;
		q = p;
	}
	if (!is_float && *at == '0' && at + 2 < x->end) {
		char kind = at[1] | 32;

		base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
		if (base != 10 && (digit(at[2], base) || at[2] == '_'))
			q = digits(at + 2, x->end, base);
		else
			base = 10;
	}
	if (!is_float && base == 10 && *at == '0' && strspn(at, "0_") < (size_t)(q - at))
		return fail_at(x, at, -EINVAL, "a number with a zero in front");
	if (!plain(at, q, buf))
		return fail_at(x, at, -EOPNOTSUPP, "a number this long is not supported");
	tok = add(x, is_float ? T_FLOAT : T_INT, at);
	if (!tok)
		return no_memory(x);
	errno = 0;
	if (is_float)
		tok->f = strtod(buf, NULL);
	else
		tok->i = strtoll(base == 10 || base == 16 ? buf : buf + 2, NULL, base);
	if (errno == ERANGE && (!is_float || isinf(tok->f)))
		return fail_at(x, at, -EOPNOTSUPP,
			       "a number of more than 64 bits is not supported");
	x->p = q;
	return 0;
}

static size_t put_utf8(char *q, uint32_t cp)
{
	if (cp < 0x80) {
		q[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		q[0] = (char)(0xc0 | cp >> 6);
		q[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		q[0] = (char)(0xe0 | cp >> 12);
		q[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		q[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	q[0] = (char)(0xf0 | cp >> 18);
	q[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	q[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	q[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

static bool read_digits(const char **p, const char *end, int base, size_t least, size_t most,
			uint32_t *v)
{
	size_t n = 0;

	*v = 0;
	for (; n < most && *p < end && digit(**p, base); n++, (*p)++) {
		char ch = **p;
		uint32_t d = (uint32_t)(ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10);

		*v = *v * (uint32_t)base + d;
	}
	return n >= least;
}

/* What follows a backslash, as Python's unicode_escape codec reads it. */
static int unescape(struct lexer *x, const char **p, const char *end, char **q)
{
	static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
	const char *at = *p - 1, *known;
	char ch = *(*p)++;
	uint32_t cp;
	size_t most;

	if (ch == '\n')
		return 0;
	known = strchr(from, ch);
	if (ch && known) {
		*(*q)++ = to[known - from];
		return 0;
	}
	if (ch >= '0' && ch <= '7') {
		(*p)--;
		read_digits(p, end, 8, 1, 3, &cp);
		*q += put_utf8(*q, cp);
		return 0;
	}
	if (ch == 'N')
		return fail_at(x, at, -EOPNOTSUPP, "\\N{...} in a string is not supported");
	most = ch == 'x' ? 2 : ch == 'u' ? 4 : ch == 'U' ? 8 : 0;
	if (!most) { /* an unknown one stays as it is */
		*(*q)++ = '\\';
		*(*q)++ = ch;
		return 0;
	}
	if (!read_digits(p, end, 16, most, most, &cp) || cp > 0x10ffff)
		return fail_at(x, at, -EINVAL, "a truncated or too large escape in a string");
	if (cp >= 0xd800 && cp < 0xe000)
		return fail_at(x, at, -EOPNOTSUPP, "half a surrogate pair in a string");
	*q += put_utf8(*q, cp);
	return 0;
}

static int lex_string(struct lexer *x)
{
	const char *at = x->p, *p = at + 1, *close = p;
	struct jtoken *tok;
	struct jstr *s;
	char *q;
	int ret;

	while (close < x->end && *close != *at)
		close += *close == '\\' ? 2 : 1;
	if (close >= x->end)
		return fail_at(x, at, -EINVAL, "a string without an end");
	s = jarena_alloc(x->arena, sizeof(*s) + (size_t)(close - p) + 1);
	tok = s ? add(x, T_STRING, at) : NULL;
	if (!tok)
		return no_memory(x);
	q = s->p = (char *)(s + 1);
	while (p < close) {
		if (*p != '\\') {
			*q++ = *p++;
			continue;
		}
		p++;
		ret = unescape(x, &p, close, &q);
		if (ret)
			return ret;
	}
	s->len = (uint32_t)(q - s->p);
	jstr_count(s);
	tok->s = s;
	x->p = close + 1;
	return 0;
}

static const struct {
	char text[3];
	enum jtok t;
} operators[] = {
	{"//", T_FLOORDIV}, {"**", T_POW},   {"==", T_EQ},      {"!=", T_NE},      {">=", T_GE},
	{"<=", T_LE},       {"+", T_ADD},    {"-", T_SUB},      {"/", T_DIV},      {"*", T_MUL},
	{"%", T_MOD},       {"~", T_TILDE},  {"[", T_LBRACKET}, {"]", T_RBRACKET}, {"(", T_LPAREN},
	{")", T_RPAREN},    {"{", T_LBRACE}, {"}", T_RBRACE},   {">", T_GT},       {"<", T_LT},
	{"=", T_ASSIGN},    {".", T_DOT},    {":", T_COLON},    {"|", T_PIPE},     {",", T_COMMA},
	{";", T_SEMICOLON},
};

/* Brackets must pair up, and while one is open the end of a tag is not looked for. */
static int balance(struct lexer *x, enum jtok t)
{
	char close = t == T_LBRACKET ? ']' : t == T_LPAREN ? ')' : t == T_LBRACE ? '}' : 0;

	if (close) {
		if (x->open == sizeof(x->closers))
			return fail_at(x, x->p, -EFBIG, "brackets are nested too deeply");
		x->closers[x->open++] = close;
	} else if (t == T_RBRACKET || t == T_RPAREN || t == T_RBRACE) {
		if (!x->open || x->closers[--x->open] != *x->p)
			return fail_at(x, x->p, -EINVAL,
				       "a closing bracket without its opening one");
	}
	return 0;
}

static int lex_operator(struct lexer *x)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(operators); i++) {
		size_t n = strlen(operators[i].text);
		int ret;

		if ((size_t)(x->end - x->p) < n || memcmp(x->p, operators[i].text, n))
			continue;
		ret = balance(x, operators[i].t);
		if (ret)
			return ret;
		if (!add(x, operators[i].t, x->p))
			return no_memory(x);
		x->p += n;
		return 0;
	}
	return fail_at(x, x->p, -EINVAL, "an unexpected character");
}

static bool name_start(const char *p)
{
	return (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_';
}

static int lex_name(struct lexer *x)
{
	const char *at = x->p;
	struct jtoken *tok;

	while (x->p < x->end && (name_start(x->p) || digit(*x->p, 10)))
		x->p++;
	tok = add(x, T_NAME, at);
	if (tok)
		tok->s = new_str(x, at, (size_t)(x->p - at));
	return tok && tok->s ? 0 : no_memory(x);
}

/* "-%}" takes the white space behind it, "%}" a newline, "+%}" nothing; "}}" never a newline. */
static bool take_end(struct lexer *x, const char *close, bool variable)
{
	const char *p = x->p;
	char sign = p < x->end && (*p == '-' || (*p == '+' && !variable)) ? *p : 0;

	if (sign)
		p++;
	if (x->end - p < 2 || memcmp(p, close, 2))
		return false;
	p += 2;
	if (sign == '-')
		p = skip_space(p, x->end);
	else if (!sign && !variable && p < x->end && *p == '\n')
		p++;
	x->line_starting = p[-1] == '\n';
	x->p = p;
	return true;
}

static int lex_tag(struct lexer *x, bool variable)
{
	const char *close = variable ? "}}" : "%}", *at = x->p - 2;
	int ret = 0;

	x->open = 0;
	while (!ret) {
		const char *p = x->p = skip_space(x->p, x->end);

		if (p == x->end)
			return fail_at(x, at, -EINVAL, "a tag without an end");
		if (!x->open && take_end(x, close, variable))
			return add(x, variable ? T_VAR_END : T_BLOCK_END, p) ? 0 : no_memory(x);
		if (digit(*p, 10))
			ret = lex_number(x);
		else if (name_start(p))
			ret = lex_name(x);
		else if (*p == '\'' || *p == '"')
			ret = lex_string(x);
		else if (*p & 0x80)
			ret = fail_at(x, p, -EOPNOTSUPP,
				      "a name with letters that are not ASCII is not supported");
		else
			ret = lex_operator(x);
	}
	return ret;
}

/* ---- between tags ---- */

static int add_data(struct lexer *x, const char *p, const char *end)
{
	struct jtoken *tok;

	if (p == end)
		return 0;
	tok = add(x, T_DATA, p);
	if (tok)
		tok->s = new_str(x, p, (size_t)(end - p));
	return tok && tok->s ? 0 : no_memory(x);
}

/* Where text that ends in front of a tag is cut: "{%-" takes all white space, "{%" that of its line. */
static const char *data_end(const struct lexer *x, const char *from, const char *tag, bool variable)
{
	const char *line = tag;

	if (tag + 2 < x->end && tag[2] == '-')
		return rstrip(from, tag);
	if (variable || (tag + 2 < x->end && tag[2] == '+'))
		return tag;
	while (line > from && line[-1] != '\n')
		line--;
	if (line == from && !x->line_starting)
		return tag;
	return skip_space(line, tag) == tag ? line : tag;
}

static int skip_comment(struct lexer *x, const char *tag)
{
	const char *body = tag + 2;

	if (body < x->end && (*body == '-' || *body == '+'))
		body++;
	for (x->p = body; x->p + 1 < x->end; x->p++) {
		if (x->p[0] != '#' || x->p[1] != '}')
			continue;
		if (x->p > body && (x->p[-1] == '-' || x->p[-1] == '+'))
			x->p--;
		take_end(x, "#}", false);
		return 0;
	}
	return fail_at(x, tag, -EINVAL, "a comment without an end");
}

/* "{% WORD" at p, with any white space; the byte behind the word, or NULL. */
static const char *word_tag(const struct lexer *x, const char *p, const char *word)
{
	size_t n = strlen(word);

	if (x->end - p < 2 || memcmp(p, "{%", 2))
		return NULL;
	p += 2;
	if (p < x->end && (*p == '-' || *p == '+'))
		p++;
	p = skip_space(p, x->end);
	return (size_t)(x->end - p) > n && !memcmp(p, word, n) ? skip_space(p + n, x->end) : NULL;
}

/* {% raw %}: 1 when there was one and it is done. */
static int lex_raw(struct lexer *x, const char *tag)
{
	const char *p = word_tag(x, tag, "raw"), *body, *q, *behind;
	int ret;

	if (!p)
		return 0;
	if (x->end - p >= 2 && !memcmp(p, "%}", 2))
		body = p + 2;
	else if (x->end - p >= 3 && !memcmp(p, "-%}", 3))
		body = skip_space(p + 3, x->end);
	else
		return 0;
	x->line_starting = body[-1] == '\n';
	for (q = body; q < x->end; q++) {
		behind = word_tag(x, q, "endraw");
		if (!behind)
			continue;
		x->p = behind;
		ret = add_data(x, body, data_end(x, body, q, false));
		if (ret)
			return ret;
		if (take_end(x, "%}", false))
			return 1;
	}
	return fail_at(x, tag, -EINVAL, "{% raw %} without {% endraw %}");
}

static int lex_all(struct lexer *x)
{
	x->line_starting = true;
	while (x->p < x->end) {
		const char *from = x->p, *tag = from;
		bool variable;
		int ret;

		while (tag < x->end &&
		       !(tag + 1 < x->end && tag[0] == '{' && strchr("{%#", tag[1]) && tag[1]))
			tag++;
		if (tag == x->end)
			return add_data(x, from, tag);
		variable = tag[1] == '{';
		ret = add_data(x, from, data_end(x, from, tag, variable));
		if (!ret && tag[1] == '%')
			ret = lex_raw(x, tag);
		if (ret < 0)
			return ret;
		if (ret)
			continue;
		x->p = tag + 2;
		if (tag[1] == '#') {
			ret = skip_comment(x, tag);
		} else {
			/* Only one sign, and it is none of an expression. */
			if (x->p < x->end && (*x->p == '-' || *x->p == '+'))
				x->p++;
			if (!add(x, variable ? T_VAR_BEGIN : T_BLOCK_BEGIN, tag))
				return no_memory(x);
			ret = lex_tag(x, variable);
		}
		if (ret)
			return ret;
	}
	return 0;
}

/* Newlines of every kind become one, and the last one of the text goes. */
static int normalize(struct lexer *x, const char *text, size_t len)
{
	char *q = jarena_alloc(x->arena, len + 1), *p = q;

	if (!q)
		return no_memory(x);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\r') {
			*p++ = '\n';
			i += i + 1 < len && text[i + 1] == '\n';
		} else {
			*p++ = text[i];
		}
	}
	if (p > q && p[-1] == '\n')
		p--;
	x->start = x->p = q;
	x->end = p;
	*p = '\0';
	return 0;
}

int jinja_lex(struct jarena *a, const char *text, size_t len, struct jtoken **toks, size_t *n,
	      struct zw_error *err)
{
	struct lexer x = {.arena = a, .err = err};
	const unsigned char *u = (const unsigned char *)text, *end = u + len;
	int ret;

	if (len > JINJA_SOURCE_MAX)
		return llm_fail(err, -EFBIG, "chat template: longer than %u bytes",
				JINJA_SOURCE_MAX);
	while (u < end) {
		size_t step = utf8_len(u, end);

		if (!step)
			return llm_fail(err, -EBADMSG, "chat template: byte %zu is not UTF-8",
					(size_t)(u - (const unsigned char *)text));
		u += step;
	}
	ret = normalize(&x, text, len);
	if (!ret)
		ret = lex_all(&x);
	if (!ret && !add(&x, T_EOF, x.end))
		ret = no_memory(&x);
	if (ret)
		return ret;
	set_positions(&x);
	*toks = x.tok;
	*n = x.n;
	return 0;
}

const char *jinja_token_name(const struct jtoken *t, char buf[64])
{
	switch (t->t) {
	case T_EOF:
		return "end of the template";
	case T_DATA:
		return "text";
	case T_VAR_BEGIN:
		return "{{";
	case T_VAR_END:
		return "}}";
	case T_BLOCK_BEGIN:
		return "{%";
	case T_BLOCK_END:
		return "%}";
	case T_NAME:
		snprintf(buf, 64, "%.60s", t->s->p);
		return buf;
	case T_STRING:
		return "a string";
	case T_INT:
	case T_FLOAT:
		return "a number";
	default:
		for (size_t i = 0; i < ZW_ARRAY_SIZE(operators); i++) {
			if (operators[i].t == t->t)
				return operators[i].text;
		}
		return "?";
	}
}
