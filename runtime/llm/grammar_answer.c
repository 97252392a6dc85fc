// SPDX-License-Identifier: MIT
/*
 * Answers: text that is free up to the tag of a call, or a document, with a thinking block in front of
 * it. The same places that the parser of answers finds, see chat_parser.c.
 */
#include "grammar.h"

#include <errno.h>
#include <string.h>

static const char think[] = "<think>", think_end[] = "</think>";

struct answer {
	struct gr_builder b;
	cJSON *tools, *schema; /* NULL: none */
};

/* A tag; one that is a token of its own has the mark of those in front. */
static uint32_t tag(struct gr_builder *b, uint32_t from, const char *text)
{
	uint32_t marked = gr_state(b);

	gr_bytes(b, from, GR_ADDED, GR_ADDED, marked);
	gr_empty(b, from, marked);
	return gr_text(b, marked, text, strlen(text));
}

/* Behind <tool_call>, up to </tool_call> and with it. */
static void call(struct answer *a, uint32_t from, uint32_t to)
{
	struct gr_builder *b = &a->b;
	uint32_t end = gr_state(b), xml = gr_state(b);

	if (b->flags & ZW_GRAMMAR_CALLS_JSON)
		gr_json_calls(b, a->tools, from, end);
	if (b->flags & ZW_GRAMMAR_CALLS_XML) {
		gr_xml_calls(b, a->tools, gr_text(b, gr_newline(b, from), "<function=", 10), xml);
		gr_empty(b, gr_newline(b, xml), end);
	}
	gr_empty(b, tag(b, end, "</tool_call>"), to);
}

/* What is thought, from `from` on, up to a state. */
static void reasoning(struct gr_builder *b, uint32_t from, uint32_t to)
{
	const struct gr_tag end = {think_end, to};

	gr_text_to_tags(b, from, &(struct gr_text){.text = from, .again = GR_NEVER, .open = true},
			&end, 1);
}

/* Text with calls in it, and a thinking block at the beginning. */
static void free_answer(struct answer *a, uint32_t start)
{
	struct gr_builder *b = &a->b;
	uint32_t text = gr_state(b), inside = gr_state(b), function = gr_state(b),
		 thought = gr_state(b);
	struct gr_text t = {.text = text, .again = GR_NEVER, .open = true};
	const struct gr_tag tags[] = {
		{"<tool_call>", inside},
		{"<function=", b->flags & ZW_GRAMMAR_CALLS_XML ? function : GR_NEVER},
		{think, thought},
	};

	call(a, inside, text);
	if (b->flags & ZW_GRAMMAR_CALLS_XML)
		gr_xml_calls(b, a->tools, function, text);
	t.again = gr_text_to_tags(b, text, &t, tags, 2);
	reasoning(b, thought, text);
	/* White space in front of the block is text as well, which changes nothing: thoughts are free. */
	gr_text_to_tags(b, start, &t, tags, 3);
	for (const char *p = " \t\r\n"; *p; p++)
		gr_bytes(b, start, (uint8_t)*p, (uint8_t)*p, start);
	gr_bytes(b, start, GR_ADDED, GR_ADDED, start);
}

/* A document, or calls, behind a thinking block or none. */
static void document(struct answer *a, uint32_t start)
{
	struct gr_builder *b = &a->b;
	uint32_t thought, begin = gr_state(b), inside = gr_state(b), behind = gr_state(b), more;

	if (b->flags & ZW_GRAMMAR_THINKING) {
		thought = gr_state(b);
		gr_empty(b, tag(b, start, think), thought);
		reasoning(b, thought, begin);
	}
	gr_empty(b, start, begin);
	begin = gr_newline(b, gr_newline(b, begin));
	b->root = a->schema;
	gr_call(b, begin, gr_rule_of(b, a->schema), behind);
	if (!b->ret)
		b->g->states[behind].final = true;
	if (!a->tools)
		return;
	more = gr_state(b);
	gr_empty(b, tag(b, begin, "<tool_call>"), inside);
	if (b->flags & ZW_GRAMMAR_CALLS_XML)
		gr_xml_calls(b, a->tools, gr_text(b, begin, "<function=", 10), more);
	call(a, inside, more);
	gr_empty(b, more, behind);
	begin = gr_newline(b, more);
	gr_empty(b, tag(b, begin, "<tool_call>"), inside);
}

#define CALLS (ZW_GRAMMAR_CALLS_JSON | ZW_GRAMMAR_CALLS_XML)

static int build(struct answer *a, uint32_t flags, struct zw_grammar **out, struct zw_error *err)
{
	int ret = gr_begin(&a->b, flags, err);
	uint32_t start;

	if (ret)
		return ret;
	a->b.g->root = gr_rule(&a->b);
	start = a->b.ret ? 0 : a->b.g->rules[a->b.g->root].start;
	if (a->schema)
		document(a, start);
	else
		free_answer(a, start);
	return gr_end(&a->b, out);
}

int zw_grammar_open_answer(const char *tools, const char *schema, uint32_t flags,
			   struct zw_grammar **out, struct zw_error *err)
{
	struct answer a = {0};
	int ret = 0;

	if ((!tools && !schema) || !out ||
	    flags & ~(ZW_GRAMMAR_COMPACT | ZW_GRAMMAR_THINKING | CALLS) ||
	    (flags & CALLS && !tools) || (flags & ZW_GRAMMAR_THINKING && !schema))
		return llm_fail(err, -EINVAL, "zw_grammar_open_answer: bad argument");
	if (tools && !(flags & CALLS))
		flags |= CALLS;
	if (tools)
		a.tools = gr_parse("tools", tools, strlen(tools), err, &ret);
	if (!ret && schema)
		a.schema = gr_parse("JSON schema", schema, strlen(schema), err, &ret);
	if (!ret)
		ret = build(&a, flags, out, err);
	cJSON_Delete(a.tools);
	cJSON_Delete(a.schema);
	return ret;
}
