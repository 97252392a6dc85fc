/* SPDX-License-Identifier: MIT */
/* Inside of the tokenizer: what loading builds and encoding and decoding use. */
#ifndef ZW_LLM_TOKENIZER_H
#define ZW_LLM_TOKENIZER_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "util.h"

#define ZW_NO_ID UINT32_MAX

struct zw_token {
	uint32_t off; /* of its bytes in the arena */
	uint32_t len;
	uint32_t flags; /* ZW_TOKEN_*, and the two below */
};

#define ZW_TOKEN_USED   (1u << 30) /* the id exists */
#define ZW_TOKEN_LOOKUP (1u << 31) /* found by its bytes: vocabulary entry made of byte symbols */

/* Merge table entry: the pair (left, right) becomes `id`; a lower rank goes first. */
struct zw_merge {
	uint32_t left, right;
	uint32_t rank, id;
};

/* Trie over the bytes of added tokens, first child / next sibling; node 0 is the root. */
struct zw_trie_node {
	uint32_t child, sibling;
	uint32_t id; /* ZW_NO_ID: no token ends here */
	uint8_t byte;
};

struct zw_tokenizer {
	struct zw_token *tokens; /* by id */
	uint32_t num_tokens;
	char *arena;
	size_t arena_len, arena_cap;

	uint32_t *by_bytes; /* open addressing, id + 1; 0 = free */
	uint32_t by_bytes_mask;

	struct zw_merge *merges; /* open addressing, left == ZW_NO_ID = free */
	uint32_t merges_mask;

	uint32_t byte_id[256]; /* token of each single byte */

	struct zw_trie_node *trie;
	uint32_t trie_len, trie_cap;
	bool added_first[256]; /* bytes that an added token starts with */

	bool nfc;
	pcre2_code *re;
};

/* Id of the token with these bytes among vocabulary entries, or ZW_NO_ID. */
uint32_t zw_tok_lookup(const struct zw_tokenizer *t, const char *bytes, size_t len);
/* The merge of a pair, or NULL. */
const struct zw_merge *zw_tok_merge(const struct zw_tokenizer *t, uint32_t left, uint32_t right);

/*
 * Rewrites \s and \S of a regular expression to what Oniguruma means by them. The result is
 * malloc()ed; -EOPNOTSUPP when \S stands inside a class, where it cannot be spelled out.
 */
int zw_tok_spell_out_space(const char *re, char **out);

/* Length of the UTF-8 character at p (1 to 4), or 0 when the bytes up to end are not one. */
size_t zw_utf8_len(const unsigned char *p, const unsigned char *end);

#endif
