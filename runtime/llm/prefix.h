/* SPDX-License-Identifier: MIT */
/*
 * What full blocks of a KV cache hold, so that another sequence with the same beginning can take them.
 *
 * A block is known by its tokens and by the block in front of it, whose serial number is never used
 * again: two blocks with equal keys hold the same bits, whatever the hash says. Blocks that no
 * sequence has are idle; the one that has been so for longest is given up first. Sequences give their
 * last blocks back first, so a block goes before the one in front of it.
 *
 * Recurrent state lies in places beside the blocks, fewer than these; a block may have one, with the state
 * behind its last token. When there is no free place, the one whose state was used longest ago is.
 */
#ifndef LLM_PREFIX_H
#define LLM_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#define LLM_BLOCK_TOKENS 32
#define LLM_NO_BLOCK     UINT32_MAX
#define LLM_NO_STATE     UINT32_MAX

/* In place of the serial number of what is in front of a first block. */
#define LLM_PREFIX_ROOT 0

struct llm_prefix_entry {
	uint64_t serial; /* 0: the block is not known */
	uint64_t parent; /* serial number of the block in front of it */
	uint32_t next;   /* in its chain of the table */
	uint32_t older, newer;
	bool idle;      /* in the list of those */
	uint32_t state; /* or LLM_NO_STATE */
	uint32_t ids[LLM_BLOCK_TOKENS];
};

struct llm_prefix_state {
	uint32_t block; /* whose it is, or LLM_NO_BLOCK */
	bool taken;     /* somebody fills it */
	uint64_t used;  /* greater: later */
};

struct llm_prefix {
	struct llm_prefix_entry *entry; /* by block */
	uint32_t *table;                /* first blocks of chains */
	uint32_t mask;                  /* entries of it, less one */
	uint64_t last_serial;
	uint32_t num, num_idle;  /* blocks known; of these idle ones */
	uint32_t oldest, newest; /* idle ones, or LLM_NO_BLOCK */
	struct llm_prefix_state *state;
	uint32_t num_states;
	uint64_t last_use; /* of a state */
};

/* 0 or -ENOMEM, then there is nothing to release. */
int llm_prefix_init(struct llm_prefix *p, uint32_t blocks, uint32_t states);
void llm_prefix_fini(struct llm_prefix *p);

/* The block with these LLM_BLOCK_TOKENS ids behind `parent`, or LLM_NO_BLOCK. */
uint32_t llm_prefix_find(const struct llm_prefix *p, uint64_t parent, const uint32_t *ids);
/* Makes known what a block holds; it is not known yet, nor is another one with that key. */
void llm_prefix_add(struct llm_prefix *p, uint32_t block, uint64_t parent, const uint32_t *ids);
/* It is not known any more. */
void llm_prefix_drop(struct llm_prefix *p, uint32_t block);

static inline bool llm_prefix_knows(const struct llm_prefix *p, uint32_t block)
{
	return p->entry[block].serial;
}

/* The last sequence gives a known block back; a sequence takes an idle one. */
void llm_prefix_idle(struct llm_prefix *p, uint32_t block);
void llm_prefix_wake(struct llm_prefix *p, uint32_t block);
/*
 * A place for a state, to be filled, or LLM_NO_STATE when all are being filled. Then it is given to a
 * known block, or given back.
 */
uint32_t llm_prefix_state_take(struct llm_prefix *p);
void llm_prefix_state_keep(struct llm_prefix *p, uint32_t state, uint32_t block);
void llm_prefix_state_put(struct llm_prefix *p, uint32_t state);
/* It is used now. */
void llm_prefix_state_use(struct llm_prefix *p, uint32_t state);

/* Gives the block up that has been idle for longest; there must be one. */
uint32_t llm_prefix_evict(struct llm_prefix *p);

#endif
