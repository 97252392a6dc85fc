// SPDX-License-Identifier: MIT
/* Rules over bytes: making them, and taking out what leads nowhere. */
#include "grammar.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gr_fail(struct gr_builder *b, int code, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (b->ret)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	b->ret = llm_fail(b->err, code, "JSON schema: %s", text);
}

void gr_refuse(struct gr_builder *b, const char *key)
{
	gr_fail(b, -EOPNOTSUPP, "\"%.60s\" at #%.100s is not supported", key, b->place);
}

uint32_t gr_state(struct gr_builder *b)
{
	struct zw_grammar *g = b->g;

	if (b->ret)
		return 0;
	if (g->num_states == GR_STATES_MAX)
		gr_fail(b, -EFBIG, "too large at #%.100s: more than %u states", b->place,
			GR_STATES_MAX);
	else if (llm_grow(&g->states, &g->cap_states, g->num_states + 1, sizeof(*g->states)))
		gr_fail(b, -ENOMEM, "out of memory");
	if (b->ret)
		return 0;
	g->states[g->num_states] = (struct gr_state){0};
	return (uint32_t)g->num_states++;
}

uint32_t gr_rule(struct gr_builder *b)
{
	struct zw_grammar *g = b->g;
	uint32_t start = gr_state(b);

	if (b->ret)
		return 0;
	if (g->num_rules == GR_RULES_MAX)
		gr_fail(b, -EFBIG, "too large at #%.100s: more than %u rules", b->place,
			GR_RULES_MAX);
	else if (llm_grow(&g->rules, &g->cap_rules, g->num_rules + 1, sizeof(*g->rules)))
		gr_fail(b, -ENOMEM, "out of memory");
	if (b->ret)
		return 0;
	g->rules[g->num_rules] = (struct gr_rule){start, 0, strdup(b->place)};
	if (!g->rules[g->num_rules].place)
		gr_fail(b, -ENOMEM, "out of memory");
	g->states[start].starts = (uint32_t)++g->num_rules;
	return (uint32_t)g->num_rules - 1;
}

static void add_edge(struct gr_builder *b, uint32_t from, struct gr_edge e)
{
	struct zw_grammar *g = b->g;

	if (b->ret)
		return;
	if (llm_grow(&g->edges, &g->cap_edges, g->num_edges + 1, sizeof(*g->edges))) {
		gr_fail(b, -ENOMEM, "out of memory");
		return;
	}
	e.next = g->states[from].edges;
	g->edges[g->num_edges++] = e;
	g->states[from].edges = (uint32_t)g->num_edges;
}

void gr_bytes(struct gr_builder *b, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to)
{
	add_edge(b, from, (struct gr_edge){.kind = GR_BYTES, .lo = lo, .hi = hi, .to = to});
}

void gr_empty(struct gr_builder *b, uint32_t from, uint32_t to)
{
	add_edge(b, from, (struct gr_edge){.kind = GR_EMPTY, .to = to});
}

void gr_call(struct gr_builder *b, uint32_t from, uint32_t rule, uint32_t to)
{
	add_edge(b, from, (struct gr_edge){.kind = GR_CALL, .to = to, .rule = rule});
}

uint32_t gr_text(struct gr_builder *b, uint32_t from, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint32_t to = gr_state(b);

		gr_bytes(b, from, (uint8_t)bytes[i], (uint8_t)bytes[i], to);
		from = to;
	}
	return from;
}

uint32_t gr_byte(struct gr_builder *b, uint32_t from, char c)
{
	return gr_text(b, from, &c, 1);
}

/* Continuation bytes: `n` of them, between those of lo and those of hi. */
static void tail(struct gr_builder *b, uint32_t from, const uint8_t *lo, const uint8_t *hi,
		 unsigned int n, uint32_t to)
{
	for (unsigned int i = 0; i < n; i++) {
		uint32_t next = i + 1 < n ? gr_state(b) : to;

		gr_bytes(b, from, lo[i], hi[i], next);
		from = next;
	}
}

static unsigned int encode(uint32_t cp, uint8_t out[4])
{
	if (cp < 0x80) {
		out[0] = (uint8_t)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (uint8_t)(0xc0 | cp >> 6);
		out[1] = (uint8_t)(0x80 | (cp & 63));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (uint8_t)(0xe0 | cp >> 12);
		out[1] = (uint8_t)(0x80 | (cp >> 6 & 63));
		out[2] = (uint8_t)(0x80 | (cp & 63));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | cp >> 18);
	out[1] = (uint8_t)(0x80 | (cp >> 12 & 63));
	out[2] = (uint8_t)(0x80 | (cp >> 6 & 63));
	out[3] = (uint8_t)(0x80 | (cp & 63));
	return 4;
}

void gr_utf8(struct gr_builder *b, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
	static const uint32_t ends[] = {0x7f, 0x7ff, 0xd7ff, 0xffff, 0x10ffff};

	if (lo <= 0xdfff && hi >= 0xd800) {
		if (lo < 0xd800)
			gr_utf8(b, from, lo, 0xd7ff, to);
		lo = 0xe000;
	}
	while (lo <= hi && !b->ret) {
		uint8_t l[4], h[4];
		uint32_t end = hi;
		unsigned int n;

		/* The longest run from lo whose bytes are independent ranges. */
		for (unsigned int i = 0; i < ZW_ARRAY_SIZE(ends); i++) {
			if (lo <= ends[i] && end > ends[i])
				end = ends[i];
		}
		for (unsigned int bits = 6; bits <= 18; bits += 6) {
			uint32_t m = (1u << bits) - 1;

			if ((lo & ~m) == (end & ~m) || lo < 0x80)
				continue;
			if (lo & m)
				end = lo | m;
			else if ((end & m) != m)
				end = (end & ~m) - 1;
		}
		n = encode(lo, l);
		encode(end, h);
		tail(b, from, l, h, n, to);
		lo = end + 1;
	}
}

uint32_t gr_space(struct gr_builder *b, uint32_t from)
{
	uint32_t to;

	if (b->flags & ZW_GRAMMAR_COMPACT)
		return from;
	if (!b->space) {
		uint32_t rule = gr_rule(b), end = gr_state(b), at = gr_state(b);

		b->space = rule + 1;
		if (b->ret)
			return 0;
		b->g->states[end].final = true;
		gr_bytes(b, b->g->rules[rule].start, ' ', ' ', end);
		gr_bytes(b, b->g->rules[rule].start, '\n', '\n', at);
		for (int i = 0; i < 24; i++) {
			gr_empty(b, at, end);
			at = gr_byte(b, at, ' ');
		}
		gr_empty(b, at, end);
	}
	to = gr_state(b);
	gr_empty(b, from, to);
	gr_call(b, from, b->space - 1, to);
	return to;
}

/* ---- what leads nowhere ---- */

static uint32_t add(uint32_t a, uint32_t b)
{
	return a >= GR_NEVER - 1 - b || b >= GR_NEVER - 1 ? GR_NEVER : a + b;
}

/* Bytes from the state by this edge to the end of the rule, as far as it is known. */
static uint32_t by_edge(const struct zw_grammar *g, const struct gr_edge *e)
{
	uint32_t left = g->states[e->to].left;

	if (left == GR_NEVER)
		return GR_NEVER;
	if (e->kind == GR_EMPTY)
		return left;
	return add(left, e->kind == GR_BYTES ? 1 : g->rules[e->rule].least);
}

/*
 * Every state's shortest way, by going over all of them until nothing changes. Ways are taken only when
 * they are shorter, so that following them never goes round.
 */
static void measure(struct zw_grammar *g)
{
	bool changed = true;

	for (size_t i = 0; i < g->num_states; i++)
		g->states[i].left = g->states[i].final ? 0 : GR_NEVER;
	for (size_t i = 0; i < g->num_rules; i++)
		g->rules[i].least = GR_NEVER;
	while (changed) {
		changed = false;
		/* Backwards: what is called or stands behind was mostly built later. */
		for (size_t i = g->num_states; i-- > 0;) {
			struct gr_state *s = &g->states[i];
			uint32_t had = s->left;

			for (uint32_t k = s->edges; k; k = g->edges[k - 1].next) {
				uint32_t left = by_edge(g, &g->edges[k - 1]);

				if (left < s->left) {
					s->left = left;
					s->via = k;
				}
			}
			if (s->starts && s->left < g->rules[s->starts - 1].least) {
				g->rules[s->starts - 1].least = s->left;
				changed = true;
			}
			changed |= s->left < had;
		}
	}
}

static void prune(struct zw_grammar *g)
{
	for (size_t i = 0; i < g->num_states; i++) {
		uint32_t *link = &g->states[i].edges;

		while (*link) {
			struct gr_edge *e = &g->edges[*link - 1];

			if (by_edge(g, e) == GR_NEVER)
				*link = e->next;
			else
				link = &e->next;
		}
	}
}

/* Rules that are called before anything was read, depth first: one that is open already is a circle. */
struct circle {
	struct zw_grammar *g;
	uint8_t *rule;  /* 0 new, 1 open, 2 done */
	uint8_t *state; /* seen */
	uint32_t *todo; /* states of all open rules */
	size_t num_todo;
	uint32_t found; /* rule + 1 */
	unsigned int depth;
};

#define CIRCLE_DEPTH 2000

static void visit(struct circle *c, uint32_t rule);

/* What can be reached without reading; each state belongs to one rule and is seen once. */
static void visit_state(struct circle *c, uint32_t state)
{
	const struct zw_grammar *g = c->g;

	for (uint32_t k = g->states[state].edges; k && !c->found; k = g->edges[k - 1].next) {
		const struct gr_edge *e = &g->edges[k - 1];

		if (e->kind == GR_EMPTY && !c->state[e->to]) {
			c->state[e->to] = 1;
			c->todo[c->num_todo++] = e->to;
		} else if (e->kind == GR_CALL) {
			visit(c, e->rule);
		}
	}
}

static void visit(struct circle *c, uint32_t rule)
{
	uint32_t start = c->g->rules[rule].start;
	size_t base = c->num_todo;

	if (c->rule[rule] == 1 || c->depth == CIRCLE_DEPTH)
		c->found = rule + 1;
	if (c->rule[rule] || c->found)
		return;
	c->rule[rule] = 1;
	c->depth++;
	c->state[start] = 1;
	c->todo[c->num_todo++] = start;
	while (c->num_todo > base && !c->found)
		visit_state(c, c->todo[--c->num_todo]);
	c->depth--;
	c->rule[rule] = 2;
}

static void check_circles(struct gr_builder *b)
{
	struct zw_grammar *g = b->g;
	struct circle c = {.g = g};

	c.rule = calloc(g->num_rules, 1);
	c.state = calloc(g->num_states, 1);
	c.todo = calloc(g->num_states, sizeof(*c.todo));
	if (!c.rule || !c.state || !c.todo)
		gr_fail(b, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < g->num_rules && !b->ret && !c.found; i++)
		visit(&c, i);
	if (c.found)
		gr_fail(b, -EOPNOTSUPP, "the schema at #%.120s refers to itself",
			g->rules[c.found - 1].place);
	free(c.rule);
	free(c.state);
	free(c.todo);
}

void gr_finish(struct gr_builder *b)
{
	if (b->ret)
		return;
	measure(b->g);
	if (b->g->rules[b->g->root].least == GR_NEVER)
		gr_fail(b, -EBADMSG, "no finite document satisfies it");
	prune(b->g);
	check_circles(b);
}
