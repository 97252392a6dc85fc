/* SPDX-License-Identifier: MIT */
/* The parser's two halves: statements (jinja_parse.c) and expressions (jinja_expr.c). */
#ifndef ZW_LLM_JINJA_PARSE_H
#define ZW_LLM_JINJA_PARSE_H

#include "jinja.h"

struct jparser {
	struct jarena *arena;
	struct zw_error *err;
	const struct jtoken *t; /* current token; the last one is T_EOF */
	unsigned int depth;     /* of the recursion */
	unsigned int loops;     /* for loops around, within a macro */
	bool in_macro;
	int code; /* of the failure */
};

int jparse_fail(struct jparser *p, const struct jpos *pos, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* "unexpected X" at the current token, and what was wanted. */
int jparse_unexpected(struct jparser *p, const char *wanted);
struct jnode *jparse_node(struct jparser *p, enum jnode_kind kind, const struct jpos *pos);
/* Notes that n has a child; false when the tree is too deep, told. */
bool jparse_above(struct jparser *p, struct jnode *n, const struct jnode *child);

bool jparse_word(const struct jparser *p, const char *word); /* is the current token this name? */
bool jparse_take_word(struct jparser *p, const char *word);
bool jparse_take(struct jparser *p, enum jtok t);
int jparse_expect(struct jparser *p, enum jtok t, const char *wanted);

struct jnode *jparse_expression(struct jparser *p);
/* Expressions with commas between them are a tuple. `cond`: with x if y else z; `stop`: a word that
 * ends it, or NULL. */
struct jnode *jparse_tuple(struct jparser *p, bool cond, bool parenthesised, const char *stop);
/* A name, or names with commas; with_ns: or name.name. */
struct jnode *jparse_target(struct jparser *p, bool with_ns);
/* |filter|filter...; NULL input: the text of a block. At least one when `first` (without a |). */
struct jnode *jparse_filters(struct jparser *p, struct jnode *in, bool first);

#endif
