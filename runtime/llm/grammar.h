/* SPDX-License-Identifier: MIT */
/*
 * Inside of grammars: rules over bytes, each an automaton whose edges read a byte of a range, read
 * nothing, or call a rule. What a matcher follows is a set of (state, stack of states to return to).
 */
#ifndef ZW_LLM_GRAMMAR_INTERNAL_H
#define ZW_LLM_GRAMMAR_INTERNAL_H

#include <zhenwu/llm_grammar.h>

#include "util.h"

#define GR_STATES_MAX (1u << 20)
#define GR_RULES_MAX  (1u << 14)
#define GR_NEVER      UINT32_MAX /* no way to the end */
/*
 * An added token reads as this byte, which no UTF-8 has, and then its text. So it can only come where a
 * grammar names the byte, or takes any. In ordinary tokens GR_BAD, no better UTF-8, stands for it.
 */
#define GR_ADDED      0xffu
#define GR_BAD        0xfeu

enum gr_kind {
	GR_BYTES,
	GR_EMPTY,
	GR_CALL,
};

struct gr_edge {
	uint8_t kind, lo, hi;
	uint32_t to;
	uint32_t rule;
	uint32_t next; /* edge of the same state, index + 1 */
};

struct gr_state {
	uint32_t edges;  /* first one, index + 1 */
	bool final;      /* the rule may end here */
	uint32_t starts; /* rule that begins here, + 1 */
	uint32_t left;   /* fewest bytes from here to the end of the rule */
	uint32_t via;    /* edge of that way, + 1; 0: it is the end */
};

struct gr_rule {
	uint32_t start;
	uint32_t least; /* fewest bytes */
	char *place;    /* in the schema, for errors */
};

struct zw_grammar {
	struct gr_state *states;
	size_t num_states, cap_states;
	struct gr_edge *edges;
	size_t num_edges, cap_edges;
	struct gr_rule *rules;
	size_t num_rules, cap_rules;
	uint32_t root; /* rule */
};

/* ---- grammar_build.c ---- */

/*
 * What builds a grammar. After a failure `ret` is set and every call does nothing, so that callers
 * need to look only at the end.
 */
struct gr_builder {
	struct zw_grammar *g;
	struct zw_error *err;
	int ret;
	uint32_t flags;
	char place[512]; /* JSON pointer of what is being compiled */
	/* of grammar_schema.c */
	const cJSON *root;
	cJSON **made; /* schemas put together of others */
	size_t num_made, cap_made, num_values;
	struct gr_known *known; /* schemas that have a rule, open addressing */
	size_t num_known, cap_known;
	unsigned int depth;
	uint32_t any, space, character, number; /* rules, + 1; 0: not there yet */
};

/* Sets the error once; "JSON schema: " goes in front. */
void gr_fail(struct gr_builder *b, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "KEY at PLACE is not supported" */
void gr_refuse(struct gr_builder *b, const char *key);

uint32_t gr_state(struct gr_builder *b);
uint32_t gr_rule(struct gr_builder *b); /* with a start state */
void gr_bytes(struct gr_builder *b, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to);
void gr_empty(struct gr_builder *b, uint32_t from, uint32_t to);
void gr_call(struct gr_builder *b, uint32_t from, uint32_t rule, uint32_t to);
/* A text; the state behind it. */
uint32_t gr_text(struct gr_builder *b, uint32_t from, const char *bytes, size_t len);
uint32_t gr_byte(struct gr_builder *b, uint32_t from, char c);
/* The UTF-8 of any code point of a range, surrogates left out. */
void gr_utf8(struct gr_builder *b, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to);
/* White space as the flags have it; the state behind it. */
uint32_t gr_space(struct gr_builder *b, uint32_t from);

/*
 * Takes out what leads nowhere, so that everything accepted can be completed; fails when the root
 * has no document or a rule calls itself before it reads anything.
 */
void gr_finish(struct gr_builder *b);

/* ---- grammar_string.c: strings of JSON, by automata over code points ---- */

struct gr_cp_edge {
	uint32_t lo, hi; /* lo > hi: reads nothing */
	uint32_t to, next;
};

struct gr_cps {
	uint32_t *edges; /* by state: first edge, index + 1 */
	bool *final;
	size_t num, cap, cap_final;
	struct gr_cp_edge *edge;
	size_t num_edges, cap_edges;
	bool plain; /* no quotes and no escapes: a text between tags, which has no < */
};

#define GR_CPS_MAX 20000

uint32_t gr_cp_state(struct gr_builder *b, struct gr_cps *c);
void gr_cp_edge(struct gr_builder *b, struct gr_cps *c, uint32_t from, uint32_t lo, uint32_t hi,
		uint32_t to);
void gr_cp_free(struct gr_cps *c);

/* A string in quotes that the automaton (from state 0) takes, of min to max code points. */
void gr_cp_string(struct gr_builder *b, const struct gr_cps *c, uint64_t min, uint64_t max,
		  uint32_t from, uint32_t to);
/* A string of min to max code points; max UINT64_MAX: no limit. */
void gr_string(struct gr_builder *b, uint64_t min, uint64_t max, uint32_t from, uint32_t to);
/* A string that is none of n names. */
void gr_other_key(struct gr_builder *b, const char *const *names, size_t n, uint32_t from,
		  uint32_t to);

/* ---- grammar_regex.c ---- */

/* A string that the pattern is found in. */
void gr_pattern(struct gr_builder *b, const char *pattern, uint64_t min, uint64_t max, bool plain,
		uint32_t from, uint32_t to);
/* The pattern of a format, or NULL. */
const char *gr_format(const char *name);

/* ---- grammar_number.c ---- */

struct gr_bounds {
	bool has_min, has_max, open_min, open_max; /* open: the bound itself is out */
	double min, max;
};

void gr_number(struct gr_builder *b, const struct gr_bounds *r, bool integer, uint32_t from,
	       uint32_t to);

/* ---- grammar_schema.c ---- */

/* Parses a text that is to become rules; NULL with *ret and err set. `what` goes in front of errors. */
cJSON *gr_parse(const char *what, const char *text, size_t len, struct zw_error *err, int *ret);
/* 0, or the error: then there is nothing to end. gr_end() sets *out when all has gone well. */
int gr_begin(struct gr_builder *b, uint32_t flags, struct zw_error *err);
int gr_end(struct gr_builder *b, struct zw_grammar **out);
/* The rule of a schema, made when it is new; it may be under way. b->root is what $ref refer to. */
uint32_t gr_rule_of(struct gr_builder *b, const cJSON *schema);
/* Goes to a member or element of the schema; what it returns is for gr_leave(). */
size_t gr_enter(struct gr_builder *b, const char *key, const char *name);
size_t gr_enter_index(struct gr_builder *b, const char *key, size_t i);
void gr_leave(struct gr_builder *b, size_t had);
const cJSON *gr_list_of(struct gr_builder *b, const cJSON *schema, const char *key);
bool gr_is_required(const cJSON *required, const char *name);
/* Fails when anything but a type stands beside enum or const: that would have to be checked. */
void gr_values_alone(struct gr_builder *b, const cJSON *schema);

struct gr_string_keys {
	uint64_t min, max;   /* code points */
	const char *pattern; /* or NULL */
};

/* What is said of strings; false when there are none of the kind. */
bool gr_string_keys(struct gr_builder *b, const cJSON *schema, struct gr_string_keys *k);

/* ---- grammar_calls.c: calls of tools ---- */

/* {"name": ..., "arguments": ...} of any of the tools, a line break or nothing around it. */
void gr_json_calls(struct gr_builder *b, const cJSON *tools, uint32_t from, uint32_t to);
/* Behind "<function=": of any of the tools, up to </function> and with it. */
void gr_xml_calls(struct gr_builder *b, const cJSON *tools, uint32_t from, uint32_t to);
/* From `from` on a line break or nothing. */
uint32_t gr_newline(struct gr_builder *b, uint32_t from);

/* ---- grammar_text.c: text up to tags ---- */

struct gr_tag {
	const char *text; /* begins with <, and has no other one */
	uint32_t to;      /* the state behind it; GR_NEVER: it cannot come */
};

#define GR_TAGS_MAX 4

struct gr_text {
	uint32_t text; /* the state that what is none of the tags leads to */
	uint32_t
		again; /* where a < in the middle of a tag leads to; GR_NEVER: to the state returned */
	bool utf8;     /* characters that a text has, not any bytes */
	bool open;     /* the document may end in it */
};

/* From a state on, which may be that of the text; returns the one behind a <. */
uint32_t gr_text_to_tags(struct gr_builder *b, uint32_t from, const struct gr_text *text,
			 const struct gr_tag *tags, size_t n);

/* ---- grammar_merge.c ---- */

/* The schema that is both, owned by the builder; NULL after a failure. `a` and `c` have no $ref. */
const cJSON *gr_merge(struct gr_builder *b, const cJSON *a, const cJSON *c);
/* Follows $ref that stand alone; one beside keywords becomes allOf. NULL after a failure. */
const cJSON *gr_resolve(struct gr_builder *b, const cJSON *schema);
/* Keeps a schema until the builder is done. NULL when there is none or memory is out. */
cJSON *gr_keep(struct gr_builder *b, cJSON *schema);

/* ---- grammar_keys.c ---- */

enum {
	GR_NULL = 1 << 0,
	GR_BOOLEAN = 1 << 1,
	GR_OBJECT = 1 << 2,
	GR_ARRAY = 1 << 3,
	GR_NUMBER = 1 << 4,
	GR_STRING = 1 << 5,
	GR_INTEGER = 1 << 6,
	GR_ALL = (1 << 6) - 1,
};

enum gr_key_kind {
	GR_KEY_UNKNOWN,
	GR_KEY_NOTE,  /* means nothing */
	GR_KEY_TYPED, /* of values of some types */
	GR_KEY_WHOLE, /* enum, anyOf, $ref and so on */
};

/* What a keyword is; *types receives those that a GR_KEY_TYPED one is about. */
enum gr_key_kind gr_key(const char *name, unsigned int *types);
/* Types of a schema: said, or those that its keywords are about, or all. */
unsigned int gr_types(struct gr_builder *b, const cJSON *schema);
unsigned int gr_type_of_value(const cJSON *v);
/* A member, or NULL; two of them are an error. */
const cJSON *gr_get(struct gr_builder *b, const cJSON *schema, const char *key);
/* True when the schema has a keyword that is neither a note nor the one given (may be NULL). */
bool gr_has_others(const cJSON *schema, const char *but);

#endif
