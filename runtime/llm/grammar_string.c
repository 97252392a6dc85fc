// SPDX-License-Identifier: MIT
/* Strings of JSON: any, of some length, taken by an automaton over code points, no one of a set. */
#include "grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- any character ---- */

static void hex(struct gr_builder *b, uint32_t from, char lo, char hi, uint32_t to)
{
	if (lo <= '9')
		gr_bytes(b, from, (uint8_t)lo, hi < '9' ? (uint8_t)hi : '9', to);
	if (hi >= 'A') {
		uint8_t first = lo >= 'A' ? (uint8_t)lo : 'A';

		gr_bytes(b, from, first, (uint8_t)hi, to);
		gr_bytes(b, from, first | 0x20, (uint8_t)(hi | 0x20), to);
	}
}

/* n hexadecimal digits; the state behind them. */
static uint32_t hexes(struct gr_builder *b, uint32_t from, unsigned int n)
{
	while (n--) {
		uint32_t to = gr_state(b);

		hex(b, from, '0', 'F', to);
		from = to;
	}
	return from;
}

/* One character as it may stand in a string: itself, or escaped in any way; surrogates in pairs. */
static uint32_t character(struct gr_builder *b)
{
	static const char simple[] = "\"\\/bfnrt";
	uint32_t rule, from, end, slash, u, at;

	if (b->character)
		return b->character - 1;
	rule = gr_rule(b);
	end = gr_state(b);
	if (b->ret)
		return 0;
	b->character = rule + 1;
	b->g->states[end].final = true;
	from = b->g->rules[rule].start;
	gr_bytes(b, from, 0x20, '"' - 1, end);
	gr_bytes(b, from, '"' + 1, '\\' - 1, end);
	gr_bytes(b, from, '\\' + 1, 0x7f, end);
	gr_utf8(b, from, 0x80, 0x10ffff, end);
	slash = gr_byte(b, from, '\\');
	for (const char *p = simple; *p; p++)
		gr_bytes(b, slash, (uint8_t)*p, (uint8_t)*p, end);
	u = gr_byte(b, slash, 'u');
	/* 0..C, E, F: no surrogate; D0..D7: none either. */
	at = gr_state(b);
	hex(b, u, '0', 'C', at);
	hex(b, u, 'E', 'F', at);
	gr_empty(b, hexes(b, at, 3), end);
	at = gr_state(b);
	hex(b, u, 'D', 'D', at);
	slash = gr_state(b);
	hex(b, at, '0', '7', slash);
	gr_empty(b, hexes(b, slash, 2), end);
	/* D8..DB of the first, DC..DF of the second. */
	slash = gr_state(b);
	hex(b, at, '8', 'B', slash);
	at = gr_text(b, hexes(b, slash, 2), "\\u", 2);
	u = gr_state(b);
	hex(b, at, 'D', 'D', u);
	at = gr_state(b);
	hex(b, u, 'C', 'F', at);
	gr_empty(b, hexes(b, at, 2), end);
	return rule;
}

void gr_string(struct gr_builder *b, uint64_t min, uint64_t max, uint32_t from, uint32_t to)
{
	uint32_t c = character(b), at = gr_byte(b, from, '"'), last;

	for (uint64_t i = 0; i < min && !b->ret; i++) {
		uint32_t next = gr_state(b);

		gr_call(b, at, c, next);
		at = next;
	}
	if (max == UINT64_MAX)
		gr_call(b, at, c, at);
	last = at;
	for (uint64_t i = min; max != UINT64_MAX && i < max && !b->ret; i++) {
		uint32_t next = gr_state(b);

		gr_bytes(b, at, '"', '"', to);
		gr_call(b, at, c, next);
		last = at = next;
	}
	gr_bytes(b, last, '"', '"', to);
}

/* ---- automata over code points ---- */

uint32_t gr_cp_state(struct gr_builder *b, struct gr_cps *c)
{
	if (b->ret)
		return 0;
	if (c->num == GR_CPS_MAX)
		gr_fail(b, -EFBIG, "the pattern at #%.100s is too large", b->place);
	else if (llm_grow(&c->edges, &c->cap, c->num + 1, sizeof(*c->edges)) ||
		 llm_grow(&c->final, &c->cap_final, c->num + 1, sizeof(*c->final)))
		gr_fail(b, -ENOMEM, "out of memory");
	if (b->ret)
		return 0;
	c->edges[c->num] = 0;
	c->final[c->num] = false;
	return (uint32_t)c->num++;
}

void gr_cp_edge(struct gr_builder *b, struct gr_cps *c, uint32_t from, uint32_t lo, uint32_t hi,
		uint32_t to)
{
	if (b->ret)
		return;
	if (llm_grow(&c->edge, &c->cap_edges, c->num_edges + 1, sizeof(*c->edge))) {
		gr_fail(b, -ENOMEM, "out of memory");
		return;
	}
	c->edge[c->num_edges++] = (struct gr_cp_edge){lo, hi, to, c->edges[from]};
	c->edges[from] = (uint32_t)c->num_edges;
}

void gr_cp_free(struct gr_cps *c)
{
	free(c->edges);
	free(c->final);
	free(c->edge);
}

/* A control character, quote or backslash, escaped in the one way that is written. */
static void escaped(struct gr_builder *b, uint32_t from, uint32_t cp, uint32_t to)
{
	static const char hexdigit[] = "0123456789abcdef";
	static const char names[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
					{'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
	char text[6] = {'\\', 'u', '0', '0', hexdigit[cp >> 4 & 15], hexdigit[cp & 15]};
	size_t n = 6;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(names); i++) {
		if ((uint32_t)names[i][0] == cp) {
			text[1] = names[i][1];
			n = 2;
		}
	}
	gr_empty(b, gr_text(b, from, text, n), to);
}

/* As they are; what begins a tag and control characters that no text has are left out. */
static void plain(struct gr_builder *b, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
	static const uint32_t runs[][2] = {
		{'\t', '\n'}, {' ', '<' - 1}, {'<' + 1, '~'}, {0x80, 0x10ffff}};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(runs); i++) {
		uint32_t first = lo > runs[i][0] ? lo : runs[i][0];
		uint32_t last = hi < runs[i][1] ? hi : runs[i][1];

		if (first <= last)
			gr_utf8(b, from, first, last, to);
	}
}

static void code_points(struct gr_builder *b, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
	while (lo <= hi && !b->ret) {
		uint32_t end = lo;

		if (lo < 0x20 || lo == '"' || lo == '\\') {
			escaped(b, from, lo, to);
		} else {
			end = lo < '"' ? '"' - 1 : lo < '\\' ? '\\' - 1 : 0x10ffff;
			end = end < hi ? end : hi;
			gr_utf8(b, from, lo, end, to);
		}
		lo = end + 1;
	}
}

static void quote(struct gr_builder *b, const struct gr_cps *c, uint32_t from, uint32_t to)
{
	if (c->plain)
		gr_empty(b, from, to);
	else
		gr_bytes(b, from, '"', '"', to);
}

/*
 * One copy of the automaton for each number of code points that counts: up to max, or, without one,
 * up to min, where the last copy goes on in itself.
 */
void gr_cp_string(struct gr_builder *b, const struct gr_cps *c, uint64_t min, uint64_t max,
		  uint32_t from, uint32_t to)
{
	bool endless = max == UINT64_MAX;
	uint64_t layers = (endless ? min : max) + 1;
	uint32_t base;

	if (b->ret)
		return;
	if (layers > GR_STATES_MAX / c->num) {
		gr_fail(b, -EFBIG, "too large at #%.100s: a pattern with such lengths", b->place);
		return;
	}
	base = (uint32_t)b->g->num_states;
	for (uint64_t i = 0; i < layers * c->num && !b->ret; i++)
		gr_state(b);
	for (uint64_t n = 0; n < layers && !b->ret; n++) {
		uint64_t next = n + 1 < layers ? n + 1 : n;

		for (uint32_t s = 0; s < c->num && !b->ret; s++) {
			uint32_t at = base + (uint32_t)(n * c->num) + s;

			for (uint32_t k = c->edges[s]; k; k = c->edge[k - 1].next) {
				const struct gr_cp_edge *e = &c->edge[k - 1];

				if (e->lo > e->hi)
					gr_empty(b, at, base + (uint32_t)(n * c->num) + e->to);
				else if (endless || n + 1 < layers)
					(c->plain ? plain : code_points)(
						b, at, e->lo, e->hi,
						base + (uint32_t)(next * c->num) + e->to);
			}
			if (c->final[s] && n >= min)
				quote(b, c, at, to);
		}
	}
	quote(b, c, from, base);
}

/* ---- no one of a set ---- */

/* The code point at *p, which moves behind it; the text is valid UTF-8. */
static uint32_t next_cp(const char **p)
{
	const uint8_t *s = (const uint8_t *)*p;
	unsigned int n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t cp = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	for (unsigned int i = 1; i < n; i++)
		cp = cp << 6 | (s[i] & 63);
	*p += n;
	return cp;
}

static uint32_t child(const struct gr_cps *c, uint32_t state, uint32_t cp)
{
	for (uint32_t k = c->edges[state]; k; k = c->edge[k - 1].next) {
		if (c->edge[k - 1].lo == cp)
			return c->edge[k - 1].to;
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* From each node of the tree of names, what is none of its children leaves it for good. */
static void leave_tree(struct gr_builder *b, struct gr_cps *c, uint32_t nodes, uint32_t out)
{
	for (uint32_t s = 0; s < nodes && !b->ret; s++) {
		uint32_t *cps = NULL, from = 0;
		size_t n = 0, cap = 0;

		for (uint32_t k = c->edges[s]; k; k = c->edge[k - 1].next) {
			if (llm_grow(&cps, &cap, n + 1, sizeof(*cps))) {
				gr_fail(b, -ENOMEM, "out of memory");
				break;
			}
			cps[n++] = c->edge[k - 1].lo;
		}
		if (n)
			qsort(cps, n, sizeof(*cps), by_value);
		for (size_t i = 0; i < n && !b->ret; i++) {
			if (cps[i] > from)
				gr_cp_edge(b, c, s, from, cps[i] - 1, out);
			from = cps[i] + 1;
		}
		gr_cp_edge(b, c, s, from, 0x10ffff, out);
		free(cps);
	}
}

void gr_other_key(struct gr_builder *b, const char *const *names, size_t n, uint32_t from,
		  uint32_t to)
{
	struct gr_cps c = {0};
	uint32_t nodes, out;

	gr_cp_state(b, &c);
	for (size_t i = 0; i < n && !b->ret; i++) {
		uint32_t at = 0;

		for (const char *p = names[i]; *p && !b->ret;) {
			uint32_t cp = next_cp(&p), to_node = child(&c, at, cp);

			if (!to_node) {
				to_node = gr_cp_state(b, &c);
				if (!b->ret)
					c.final[to_node] = true;
				gr_cp_edge(b, &c, at, cp, cp, to_node);
			}
			at = to_node;
		}
	}
	if (!b->ret)
		c.final[0] = true;
	nodes = (uint32_t)c.num;
	/* The names themselves. */
	for (size_t i = 0; i < n && !b->ret; i++) {
		uint32_t at = 0;

		for (const char *p = names[i]; *p;)
			at = child(&c, at, next_cp(&p));
		c.final[at] = false;
	}
	out = gr_cp_state(b, &c);
	if (!b->ret)
		c.final[out] = true;
	leave_tree(b, &c, nodes, out);
	gr_cp_edge(b, &c, out, 0, 0x10ffff, out);
	gr_cp_string(b, &c, 0, UINT64_MAX, from, to);
	gr_cp_free(&c);
}
