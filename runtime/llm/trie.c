// SPDX-License-Identifier: MIT
#include "trie.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t child_of(const struct trie *t, uint32_t node, uint8_t byte)
{
	uint32_t c = t->nodes[node].child;

	while (c && t->nodes[c].byte != byte)
		c = t->nodes[c].sibling;
	return c;
}

/* Index of a new node, or -ENOMEM. */
static int64_t new_node(struct trie *t, uint8_t byte, uint32_t sibling)
{
	if (t->len == t->cap) {
		uint32_t cap = t->cap ? t->cap * 2 : 256;
		struct trie_node *nodes = realloc(t->nodes, cap * sizeof(*nodes));

		if (!nodes)
			return -ENOMEM;
		t->nodes = nodes;
		t->cap = cap;
	}
	t->nodes[t->len] = (struct trie_node){0, sibling, TRIE_NONE, byte};
	return t->len++;
}

int trie_set(struct trie *t, const char *bytes, size_t len, uint32_t value)
{
	uint32_t node = 0;

	if (!t->len && new_node(t, 0, 0) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		uint32_t next = child_of(t, node, (uint8_t)bytes[i]);

		if (!next) {
			int64_t made = new_node(t, (uint8_t)bytes[i], t->nodes[node].child);

			if (made < 0)
				return -ENOMEM;
			next = (uint32_t)made;
			t->nodes[node].child = next;
		}
		node = next;
	}
	t->nodes[node].value = value;
	t->first[(uint8_t)bytes[0]] = true;
	return 0;
}

uint32_t trie_get(const struct trie *t, const char *bytes, size_t len)
{
	uint32_t node = 0;

	if (!t->len || !len)
		return TRIE_NONE;
	for (size_t i = 0; i < len; i++) {
		node = child_of(t, node, (uint8_t)bytes[i]);
		if (!node)
			return TRIE_NONE;
	}
	return t->nodes[node].value;
}

uint32_t trie_longest(const struct trie *t, const char *p, const char *end, size_t *len)
{
	uint32_t node = 0, value = TRIE_NONE;

	if (!t->first[(uint8_t)*p])
		return TRIE_NONE;
	for (const char *q = p; q < end; q++) {
		node = child_of(t, node, (uint8_t)*q);
		if (!node)
			break;
		if (t->nodes[node].value != TRIE_NONE) {
			value = t->nodes[node].value;
			*len = (size_t)(q + 1 - p);
		}
	}
	return value;
}

void trie_free(struct trie *t)
{
	free(t->nodes);
	*t = (struct trie){0};
}
