/* SPDX-License-Identifier: MIT */
/*
 * Dual Chunk Attention (arXiv 2402.17463): rotary positions stay below chunk_size however long a sequence
 * gets. Positions are cut into chunks of `length`, and a key is rotated by its place in its chunk. A query
 * looks at three ranges of keys, rotated as far as each range is away: its own chunk, by its place;
 * the chunk before, by its place and a chunk; all before that, by one distance for all. The three
 * attentions are merged. Sparse attention (sparse.h) takes the place of each of them.
 */
#ifndef LLM_CHUNKS_H
#define LLM_CHUNKS_H

#include "family.h"

struct llm_kv_cache;

/* What the file says, or cfg->chunks.size 0: there is none. `allowed`: the family computes it. */
int llm_config_chunks(const char *path, const cJSON *json, struct llm_model_config *cfg,
		      bool allowed, struct zw_error *err);

/* Positions of a chunk. */
static inline uint32_t llm_chunk_length(const struct llm_chunk_config *c)
{
	return c->size - c->local;
}

/* Whether sequences of so many positions have more than one chunk: without that it is plain attention. */
static inline bool llm_has_chunks(const struct llm_model_config *cfg, uint32_t positions)
{
	return cfg->chunks.size && positions > llm_chunk_length(&cfg->chunks);
}

/* Rows of the RoPE tables for sequences of so many positions. */
uint32_t llm_rope_positions(const struct llm_model_config *cfg, uint32_t positions);

/* On the scores of attention, in sequences of so many positions. */
float llm_score_factor(const struct llm_model_config *cfg, uint32_t positions);

/* Where a row looks in its n-th range: [start, last], none if start is behind last; and its rotation. */
struct llm_range {
	uint32_t start, last, rope;
};
void llm_chunk_ranges(const struct llm_chunk_config *c, uint32_t pos,
		      struct llm_range out[LLM_RANGES]);

/*
 * q, k and v [M, heads, d] of the step, not rotated yet, to attention, in place of q; k and v go to
 * the cache. kv: which of the KV layers.
 */
void llm_build_chunks(const struct llm_build *b, uint32_t kv, const struct zw_tensor *q,
		      const struct zw_tensor *k, const struct zw_tensor *v,
		      const struct llm_kv_cache *cache);

#endif
