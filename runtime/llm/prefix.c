// SPDX-License-Identifier: MIT
#include "prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

int llm_prefix_init(struct llm_prefix *p, uint32_t blocks, uint32_t states)
{
	uint64_t size = 16;

	while (size < blocks)
		size *= 2;
	memset(p, 0, sizeof(*p));
	p->entry = calloc(blocks, sizeof(*p->entry));
	p->table = malloc(size * sizeof(*p->table));
	p->state = calloc(states + 1, sizeof(*p->state));
	if (!p->entry || !p->table || !p->state) {
		llm_prefix_fini(p);
		return -ENOMEM;
	}
	p->mask = (uint32_t)(size - 1);
	for (uint64_t i = 0; i < size; i++)
		p->table[i] = LLM_NO_BLOCK;
	p->oldest = p->newest = LLM_NO_BLOCK;
	p->num_states = states;
	for (uint32_t i = 0; i < states; i++)
		p->state[i].block = LLM_NO_BLOCK;
	return 0;
}

void llm_prefix_fini(struct llm_prefix *p)
{
	free(p->entry);
	free(p->table);
	free(p->state);
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
	e->state = LLM_NO_STATE;
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
	if (e->state != LLM_NO_STATE)
		p->state[e->state].block = LLM_NO_BLOCK;
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

uint32_t llm_prefix_state_take(struct llm_prefix *p)
{
	uint32_t found = LLM_NO_STATE;

	for (uint32_t i = 0; i < p->num_states; i++) {
		const struct llm_prefix_state *s = &p->state[i];

		if (s->taken)
			continue;
		if (s->block == LLM_NO_BLOCK) {
			found = i;
			break;
		}
		if (found == LLM_NO_STATE || s->used < p->state[found].used)
			found = i;
	}
	if (found == LLM_NO_STATE)
		return found;
	if (p->state[found].block != LLM_NO_BLOCK)
		p->entry[p->state[found].block].state = LLM_NO_STATE;
	p->state[found] = (struct llm_prefix_state){.block = LLM_NO_BLOCK, .taken = true};
	return found;
}

void llm_prefix_state_use(struct llm_prefix *p, uint32_t state)
{
	p->state[state].used = ++p->last_use;
}

void llm_prefix_state_keep(struct llm_prefix *p, uint32_t state, uint32_t block)
{
	struct llm_prefix_entry *e = &p->entry[block];

	if (e->state != LLM_NO_STATE) {
		/* The same state. */
		llm_prefix_state_put(p, state);
		llm_prefix_state_use(p, e->state);
		return;
	}
	e->state = state;
	p->state[state] = (struct llm_prefix_state){.block = block};
	llm_prefix_state_use(p, state);
}

void llm_prefix_state_put(struct llm_prefix *p, uint32_t state)
{
	p->state[state] = (struct llm_prefix_state){.block = LLM_NO_BLOCK};
}

uint32_t llm_prefix_evict(struct llm_prefix *p)
{
	uint32_t block = p->oldest;

	llm_prefix_drop(p, block);
	return block;
}
