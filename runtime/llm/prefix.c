// SPDX-License-Identifier: MIT
#include "prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

int llm_prefix_init(struct llm_prefix *p, uint32_t blocks)
{
	uint64_t size = 16;

	while (size < blocks)
		size *= 2;
	memset(p, 0, sizeof(*p));
	p->entry = calloc(blocks, sizeof(*p->entry));
	p->table = malloc(size * sizeof(*p->table));
	if (!p->entry || !p->table) {
		llm_prefix_fini(p);
		return -ENOMEM;
	}
	p->mask = (uint32_t)(size - 1);
	for (uint64_t i = 0; i < size; i++)
		p->table[i] = LLM_NO_BLOCK;
	p->oldest = p->newest = LLM_NO_BLOCK;
	return 0;
}

void llm_prefix_fini(struct llm_prefix *p)
{
	free(p->entry);
	free(p->table);
	memset(p, 0, sizeof(*p));
}

static uint32_t *chain(const struct llm_prefix *p, uint64_t parent, const uint32_t *ids)
{
	/* Serial numbers are nobody's choice, and equal hashes cost time only. */
	const uint64_t key[2] = {parent, (uintptr_t)p->table};
	uint64_t hash = siphash(key, ids, LLM_BLOCK_TOKENS * sizeof(*ids));

	return &p->table[hash & p->mask];
}

uint32_t llm_prefix_find(const struct llm_prefix *p, uint64_t parent, const uint32_t *ids)
{
	uint32_t block = *chain(p, parent, ids);

	while (block != LLM_NO_BLOCK) {
		const struct llm_prefix_entry *e = &p->entry[block];

		if (e->parent == parent && !memcmp(e->ids, ids, sizeof(e->ids)))
			break;
		block = e->next;
	}
	return block;
}

void llm_prefix_add(struct llm_prefix *p, uint32_t block, uint64_t parent, const uint32_t *ids)
{
	struct llm_prefix_entry *e = &p->entry[block];
	uint32_t *head = chain(p, parent, ids);

	e->serial = ++p->last_serial;
	e->parent = parent;
	e->idle = false;
	memcpy(e->ids, ids, sizeof(e->ids));
	e->next = *head;
	*head = block;
	p->num++;
}

void llm_prefix_drop(struct llm_prefix *p, uint32_t block)
{
	struct llm_prefix_entry *e = &p->entry[block];
	uint32_t *at = chain(p, e->parent, e->ids);

	if (e->idle)
		llm_prefix_wake(p, block);
	while (*at != block)
		at = &p->entry[*at].next;
	*at = e->next;
	e->serial = 0;
	p->num--;
}

void llm_prefix_idle(struct llm_prefix *p, uint32_t block)
{
	struct llm_prefix_entry *e = &p->entry[block];

	e->idle = true;
	e->older = p->newest;
	e->newer = LLM_NO_BLOCK;
	if (p->newest == LLM_NO_BLOCK)
		p->oldest = block;
	else
		p->entry[p->newest].newer = block;
	p->newest = block;
	p->num_idle++;
}

void llm_prefix_wake(struct llm_prefix *p, uint32_t block)
{
	struct llm_prefix_entry *e = &p->entry[block];

	e->idle = false;
	if (e->older == LLM_NO_BLOCK)
		p->oldest = e->newer;
	else
		p->entry[e->older].newer = e->newer;
	if (e->newer == LLM_NO_BLOCK)
		p->newest = e->older;
	else
		p->entry[e->newer].older = e->older;
	p->num_idle--;
}

uint32_t llm_prefix_evict(struct llm_prefix *p)
{
	uint32_t block = p->oldest;

	llm_prefix_drop(p, block);
	return block;
}
