/* SPDX-License-Identifier: MIT */
/* A pool of numbered blocks with reference counts: pages of a KV cache, shared by sequences. */
#ifndef LLM_KV_H
#define LLM_KV_H

#include "prefix.h"
#include "util.h"

static inline uint32_t llm_blocks_for(uint32_t tokens)
{
	return tokens / LLM_BLOCK_TOKENS + !!(tokens % LLM_BLOCK_TOKENS);
}

struct llm_kv {
	uint32_t num, num_free;
	uint32_t *free; /* free[0 .. num_free) */
	uint32_t *refs; /* by block; 0: free, or idle in the prefix cache */
	bool cached;
	struct llm_prefix prefix; /* if so */
};

/* cached: with a prefix cache, which has places for so many states. 0 or -ENOMEM. */
int llm_kv_init(struct llm_kv *kv, uint32_t num, bool cached, uint32_t states);
void llm_kv_fini(struct llm_kv *kv);

/* Blocks that can be taken: free ones, and those of the prefix cache that nobody has. */
static inline uint32_t llm_kv_available(const struct llm_kv *kv)
{
	return kv->num_free + (kv->cached ? kv->prefix.num_idle : 0);
}

/* An available block with one reference; there must be one. */
uint32_t llm_kv_take(struct llm_kv *kv);
void llm_kv_get(struct llm_kv *kv, uint32_t block);
void llm_kv_put(struct llm_kv *kv, uint32_t block);

/* The blocks of a sequence, in order. */
struct llm_blocks {
	uint32_t *id;
	size_t cap;
	uint32_t used;
};

/* Makes dst share the first n blocks of src; dst is empty. 0 or -ENOMEM, then it still is. */
int llm_blocks_share(struct llm_kv *kv, struct llm_blocks *dst, const struct llm_blocks *src,
		     uint32_t n);
/* Gives all behind the first n back. */
void llm_blocks_cut(struct llm_kv *kv, struct llm_blocks *b, uint32_t n);
/* Gives all back and frees the list. */
void llm_blocks_fini(struct llm_kv *kv, struct llm_blocks *b);

#endif
