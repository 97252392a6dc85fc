/* SPDX-License-Identifier: MIT */
/* Inside of snapshots. */
#ifndef LLM_SNAPSHOT_H
#define LLM_SNAPSHOT_H

#include "ctx.h"

/*
 * A sequence as it was. Its blocks are shared with others in the pool and its slab lies in HBM, or, when
 * it is out, both lie in system memory: the blocks one behind the other, then the slab. Of the last
 * block what no token has written is zero there: it may be another text's.
 */
struct zw_snapshot {
	struct zw_ctx *ctx;
	uint32_t *ids; /* [length] */
	uint32_t length;
	bool out;
	struct llm_blocks blocks; /* not out */
	uint32_t known;           /* of them, as of struct llm_seq */
	struct zw_buffer slab;    /* not out; or empty */
	struct zw_buffer system;  /* out; or empty */
	char *note;               /* the caller's, or NULL */
	uint32_t note_bytes;
};

/* Where the slab lies in system memory, and how much there is. */
static inline uint64_t llm_snapshot_slab_off(const struct zw_ctx *c, uint32_t length)
{
	return llm_blocks_for(length) * llm_block_bytes(c);
}

static inline uint64_t llm_snapshot_bytes(const struct zw_ctx *c, uint32_t length)
{
	return llm_snapshot_slab_off(c, length) + c->needs.slab_bytes;
}

/* An empty one with room for ids, or NULL. */
struct zw_snapshot *llm_snapshot_new(struct zw_ctx *c, uint32_t length);
/* Copies what it holds in the pool to system memory of that many bytes. */
int llm_snapshot_read(const struct zw_snapshot *snap, const struct zw_buffer *to);

#endif
