// SPDX-License-Identifier: MIT
/* An answer, taken apart while it comes. */
#include <zhenwu/llm_chat.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chat_call.h"

#define CALL_MAX (16u << 20) /* bytes of a call */

static const char think[] = "<think>", think_end[] = "</think>";
static const char call_begin[] = "<tool_call>", call_end[] = "</tool_call>";
static const char function[] = "<function=", function_end[] = "</function>";

enum state {
	BEGIN, /* nothing but white space so far: a thinking block may come */
	TEXT,
	REASONING,
	CALL,     /* held from <tool_call> on */
	FUNCTION, /* held from <function= on */
};

struct zw_chat_parser {
	struct zw_chat_parser_options o;
	struct jctx tools_ctx; /* what holds the tools */
	struct jval tools;
	enum state state;
	bool skip_newlines; /* those behind a block */
	char *held;         /* what may become something else */
	size_t len, cap;
	/* In a call: what was looked at, and whether that ends in a string. */
	size_t scanned;
	bool in_string, escaped;
	int stop; /* what the callback returned */
};

static bool is_blank(char ch)
{
	return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';
}

/* ---- telling ---- */

static int tell(struct zw_chat_parser *p, const struct zw_chat_event *e)
{
	p->stop = p->o.event(p->o.opaque, e);
	return p->stop ? -ECANCELED : 0;
}

static void drop(struct zw_chat_parser *p, size_t n)
{
	p->len -= n;
	memmove(p->held, p->held + n, p->len + 1);
}

/* The first n bytes held are text or reasoning, of which the next `skip` are not. */
static int give(struct zw_chat_parser *p, size_t n, size_t skip)
{
	struct zw_chat_event e = {.size = sizeof(e)};
	char save = p->held[n];
	int ret = 0;

	if (n) {
		p->held[n] = '\0'; /* for the callback's eyes */
		e.type = p->state == REASONING ? ZW_CHAT_REASONING : ZW_CHAT_TEXT;
		e.text = p->held;
		e.len = n;
		ret = tell(p, &e);
		p->held[n] = save;
	}
	drop(p, n + skip);
	return ret;
}

static int give_call(struct zw_chat_parser *p, const char *body, size_t body_len, bool json,
		     size_t n)
{
	struct zw_chat_event e = {.size = sizeof(e), .type = ZW_CHAT_CALL, .len = n};
	struct zw_error why = {""};
	struct jctx c = {.arena.max = JINJA_MEMORY_MAX, .err = &why};
	struct chat_call call = {0};
	char *text = malloc(n + 1);
	int ret = text ? 0 : -ENOMEM;

	/* All of it, with the NULs that a model may write. */
	if (!ret)
		memcpy(text, p->held, n);
	if (!ret)
		text[n] = '\0';
	if (!ret)
		ret = json ? chat_call_json(&c, body, body_len, &call)
			   : chat_call_xml(&c, body, body_len, &p->tools, &call);
	if (ret == -ENOMEM)
		goto out;
	if (ret) {
		e.type = ZW_CHAT_BAD_CALL;
		e.error = why.msg;
	} else {
		e.name = call.name->p;
		e.arguments = call.arguments.p;
	}
	e.text = text;
	drop(p, n);
	p->state = TEXT;
	p->skip_newlines = true;
	ret = tell(p, &e);
out:
	free(text);
	free(call.arguments.p);
	jarena_free(&c.arena);
	return ret;
}

/* ---- finding ---- */

/* Where a tag stands, whole or (at the end of what is held) only begun; p->len when nowhere. */
static size_t find(const struct zw_chat_parser *p, const char *tag, bool *whole)
{
	size_t n = strlen(tag);
	const char *at = p->held, *end = p->held + p->len;

	for (; (at = memchr(at, '<', (size_t)(end - at))); at++) {
		size_t left = (size_t)(end - at);

		*whole = left >= n;
		if (!memcmp(at, tag, *whole ? n : left))
			return (size_t)(at - p->held);
	}
	*whole = false;
	return p->len;
}

/* The newlines in front of a place. */
static size_t newlines_before(const struct zw_chat_parser *p, size_t at)
{
	size_t n = 0;

	while (n < at && p->held[at - 1 - n] == '\n')
		n++;
	return n;
}

static void skip(struct zw_chat_parser *p)
{
	size_t n = 0;

	while (p->skip_newlines && n < p->len && (p->held[n] == '\n' || p->held[n] == '\r'))
		n++;
	if (n)
		drop(p, n);
	if (p->len)
		p->skip_newlines = false;
}

static void begin_call(struct zw_chat_parser *p, enum state state)
{
	p->state = state;
	p->scanned = state == CALL ? sizeof(call_begin) - 1 : 0;
	p->in_string = p->escaped = false;
}

/* ---- states: 1 to go on, 0 when more text is needed, or an error ---- */

static int in_begin(struct zw_chat_parser *p)
{
	size_t n = 0, left;

	while (n < p->len && is_blank(p->held[n]))
		n++;
	left = p->len - n;
	if (left < sizeof(think) - 1 && !memcmp(p->held + n, think, left))
		return 0;
	if (left >= sizeof(think) - 1 && !memcmp(p->held + n, think, sizeof(think) - 1)) {
		drop(p, n + sizeof(think) - 1);
		p->state = REASONING;
		p->skip_newlines = true;
		return 1;
	}
	p->state = TEXT;
	return 1;
}

static int in_reasoning(struct zw_chat_parser *p)
{
	bool whole;
	size_t at, nl;
	int ret;

	skip(p);
	at = find(p, think_end, &whole);
	nl = newlines_before(p, at);
	ret = give(p, at - nl, whole ? nl + sizeof(think_end) - 1 : 0);
	if (whole) {
		p->state = TEXT;
		p->skip_newlines = true;
	}
	return ret ? ret : whole;
}

static int in_text(struct zw_chat_parser *p)
{
	bool whole = false, whole_f = false;
	size_t at, at_f, nl;
	int ret;

	skip(p);
	if (!(p->o.flags & ZW_CHAT_PARSE_CALLS))
		return give(p, p->len, 0);
	at = find(p, call_begin, &whole);
	at_f = find(p, function, &whole_f);
	if (at_f < at) {
		at = at_f;
		whole = whole_f;
	} else {
		whole_f = false;
	}
	nl = newlines_before(p, at);
	ret = give(p, at - nl, whole ? nl : 0);
	if (whole)
		begin_call(p, whole_f ? FUNCTION : CALL);
	return ret ? ret : whole;
}

/* The first place behind `scanned` where a tag stands whole; looked at up to there. */
static bool scan_tag(struct zw_chat_parser *p, const char *tag, size_t *at)
{
	size_t n = strlen(tag);
	const char *hit = memmem(p->held + p->scanned, p->len - p->scanned, tag, n);

	*at = hit ? (size_t)(hit - p->held) : p->len;
	if (!hit && p->len - p->scanned >= n)
		p->scanned = p->len - n + 1;
	return hit;
}

/* The closing tag of a JSON body is one only outside of strings. */
static bool scan_json(struct zw_chat_parser *p, size_t *at)
{
	size_t n = sizeof(call_end) - 1;

	for (; p->scanned < p->len; p->scanned++) {
		char ch = p->held[p->scanned];

		if (p->in_string) {
			if (p->escaped)
				p->escaped = false;
			else if (ch == '\\')
				p->escaped = true;
			else if (ch == '"')
				p->in_string = false;
			continue;
		}
		p->in_string = ch == '"';
		if (ch != '<')
			continue;
		if (p->len - p->scanned < n)
			return false;
		if (memcmp(p->held + p->scanned, call_end, n))
			continue;
		*at = p->scanned;
		return true;
	}
	return false;
}

/* The closing tag of an XML body stands behind that of the function. */
static bool scan_xml(struct zw_chat_parser *p, size_t *at)
{
	for (; scan_tag(p, call_end, at); p->scanned = *at + 1) {
		size_t n = *at;

		while (n && is_blank(p->held[n - 1]))
			n--;
		if (n >= sizeof(function_end) - 1 &&
		    !memcmp(p->held + n - (sizeof(function_end) - 1), function_end,
			    sizeof(function_end) - 1))
			return true;
	}
	return false;
}

static int in_call(struct zw_chat_parser *p)
{
	size_t from = sizeof(call_begin) - 1, body = from, at;
	bool found;

	while (body < p->len && is_blank(p->held[body]))
		body++;
	if (body == p->len)
		return 0;
	if (p->held[body] == '{')
		found = scan_json(p, &at);
	else if (p->held[body] == '<' && (p->len - body < sizeof(function) - 1 ||
					  !memcmp(p->held + body, function, sizeof(function) - 1)))
		found = scan_xml(p, &at);
	else
		found = scan_tag(p, call_end, &at);
	if (found)
		return give_call(p, p->held + from, at - from, p->held[body] != '<',
				 at + sizeof(call_end) - 1)
			       ?: 1;
	return p->len > CALL_MAX ? -EFBIG : 0;
}

/* Without <tool_call> the function's own tag is the end; a </tool_call> behind it belongs to it. */
static int in_function(struct zw_chat_parser *p)
{
	size_t at, end;

	if (!scan_tag(p, function_end, &at))
		return p->len > CALL_MAX ? -EFBIG : 0;
	end = at + sizeof(function_end) - 1;
	return give_call(p, p->held, end, false, end) ?: 1;
}

static int step(struct zw_chat_parser *p)
{
	switch (p->state) {
	case BEGIN:
		return in_begin(p);
	case REASONING:
		return in_reasoning(p);
	case CALL:
		return in_call(p);
	case FUNCTION:
		return in_function(p);
	default:
		return in_text(p);
	}
}

static int run(struct zw_chat_parser *p)
{
	int ret = 1;

	while (ret == 1 && p->len)
		ret = step(p);
	return ret == 1 ? 0 : p->stop ? p->stop : ret;
}

/* ---- the rest ---- */

static void begin(struct zw_chat_parser *p, uint32_t flags)
{
	p->o.flags = flags;
	p->state = flags & ZW_CHAT_PARSE_REASONING ? REASONING : BEGIN;
	p->skip_newlines = flags & ZW_CHAT_PARSE_REASONING;
	p->len = 0;
	if (p->held)
		p->held[0] = '\0';
}

int zw_chat_parser_push(struct zw_chat_parser *p, const char *text, size_t len)
{
	if (!p || (!text && len))
		return -EINVAL;
	if (llm_grow(&p->held, &p->cap, p->len + len + 1, 1))
		return -ENOMEM;
	if (len)
		memcpy(p->held + p->len, text, len);
	p->len += len;
	p->held[p->len] = '\0';
	p->stop = 0;
	return run(p);
}

/* A call that does not end: complete but for its tag, or bad up to the first closing tag or the end. */
static int finish_call(struct zw_chat_parser *p)
{
	size_t from = p->state == CALL ? sizeof(call_begin) - 1 : 0, body = from;
	const char *end = memmem(p->held + from, p->len - from, call_end, sizeof(call_end) - 1);
	size_t at = end ? (size_t)(end - p->held) : p->len;

	while (body < at && is_blank(p->held[body]))
		body++;
	return give_call(p, p->held + from, at - from, body == at || p->held[body] != '<',
			 end ? at + sizeof(call_end) - 1 : at);
}

int zw_chat_parser_finish(struct zw_chat_parser *p, uint32_t flags)
{
	int ret;

	if (!p || flags & ~(ZW_CHAT_PARSE_REASONING | ZW_CHAT_PARSE_CALLS))
		return -EINVAL;
	ret = zw_chat_parser_push(p, "", 0);
	while (!ret && (p->state == CALL || p->state == FUNCTION)) {
		ret = finish_call(p);
		if (!ret)
			ret = run(p);
	}
	if (!ret) {
		skip(p);
		ret = give(p, p->len, 0);
	}
	begin(p, flags);
	return p->stop ? p->stop : ret;
}

#define OPTIONS_FIRST SIZED_V0(struct zw_chat_parser_options, opaque)

int zw_chat_parser_open(const struct zw_chat_parser_options *opt, struct zw_chat_parser **out,
			struct zw_error *err)
{
	struct zw_chat_parser *p;
	struct zw_error local;
	int ret;

	if (!opt || !out)
		return llm_fail(err, -EINVAL, "zw_chat_parser_open: bad argument");
	p = calloc(1, sizeof(*p));
	if (!p)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = sized_in(&p->o, sizeof(p->o), OPTIONS_FIRST, opt);
	if (ret || !p->o.event || p->o.flags & ~(ZW_CHAT_PARSE_REASONING | ZW_CHAT_PARSE_CALLS))
		ret = llm_fail(err, ret ? ret : -EINVAL, "zw_chat_parser_open: bad argument");
	p->tools_ctx = (struct jctx){.arena.max = JINJA_MEMORY_MAX, .err = err ? err : &local};
	p->tools = jnone();
	if (!ret && p->o.tools)
		ret = jjson_parse(&p->tools_ctx, "tools", p->o.tools, strlen(p->o.tools),
				  &p->tools);
	p->o.tools = NULL;
	if (ret) {
		zw_chat_parser_close(p);
		return ret;
	}
	begin(p, p->o.flags);
	*out = p;
	return 0;
}

void zw_chat_parser_close(struct zw_chat_parser *p)
{
	if (!p)
		return;
	jarena_free(&p->tools_ctx.arena);
	free(p->held);
	free(p);
}

bool zw_chat_opens_reasoning(const char *text, size_t len)
{
	while (len && is_blank(text[len - 1]))
		len--;
	return len >= sizeof(think) - 1 &&
	       !memcmp(text + len - (sizeof(think) - 1), think, sizeof(think) - 1);
}
