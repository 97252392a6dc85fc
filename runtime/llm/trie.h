/* SPDX-License-Identifier: MIT */
/* A set of byte strings with a number each, found by prefix. */
#ifndef ZW_LLM_TRIE_H
#define ZW_LLM_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRIE_NONE UINT32_MAX

/* First child / next sibling; node 0 is the root. */
struct trie_node {
	uint32_t child, sibling;
	uint32_t value; /* TRIE_NONE: no string ends here */
	uint8_t byte;
};

struct trie {
	struct trie_node *nodes;
	uint32_t len, cap;
	bool first[256]; /* bytes that a string starts with */
};

/* Sets the value of a string of at least one byte; 0 or -ENOMEM. */
int trie_set(struct trie *t, const char *bytes, size_t len, uint32_t value);
/* The value of a string, or TRIE_NONE. */
uint32_t trie_get(const struct trie *t, const char *bytes, size_t len);
/* The longest string at p; *len receives its length. TRIE_NONE when there is none. */
uint32_t trie_longest(const struct trie *t, const char *p, const char *end, size_t *len);
void trie_free(struct trie *t);

#endif
