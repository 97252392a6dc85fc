/* SPDX-License-Identifier: MIT */
/*
 * Sparse attention: a prompt looks at keys that the device chooses, decoding at all of them.
 *
 * Rows of a step that are prompt, in whole groups whose first position is a multiple of the group, come
 * first in it and attend to lists of blocks and columns that SELECT_SLASH or SELECT_BLOCKS made; all
 * other rows see every key. So a step has two ATTENTION packets, and the rows of the one see nothing
 * in the other. With Dual Chunk Attention each of them is three, one for each range of keys (chunks.h), and
 * one choice among all keys serves the three: a packet looks at those of a list that are in its range.
 *
 *	sparse.c        the packets of a layer
 *	sparse_table.c  how many keys the heads of a checkpoint want
 *	ctx_sparse.c    options, memory, rows
 */
#ifndef LLM_SPARSE_H
#define LLM_SPARSE_H

#include "family.h"

/* As Qwen2.5-1M is served: columns and distances that SELECT_SLASH always has among the others. */
#define LLM_SPARSE_FIRST   30
#define LLM_SPARSE_NEAREST 100

struct llm_kv_cache;
struct zw_ctx;
struct llm_slot;
struct llm_tally;

/* Of a context. */
struct llm_sparse {
	uint32_t kind; /* ZW_SPARSE_NONE, _SLASH or _BLOCKS */
	uint32_t group, groups;
	uint32_t from;
	uint32_t blocks, columns; /* room of a list */
	uint32_t sample;
	uint64_t lists_bytes; /* HBM of all lists */
	/* SLASH: [2][KV layers][heads] I32, numbers of columns, then of distances. */
	int32_t *sizes;
	struct zw_buffer buf;
};

/* Checks the options, whose defaults are put in, and sizes what there is to be. */
int llm_sparse_init(struct zw_ctx *c, struct zw_error *err);
/* The buffer of sizes; -ENOMEM and the like. */
int llm_sparse_alloc(struct zw_ctx *c);
void llm_sparse_fini(struct zw_ctx *c);
/* Operands of a step's layers. */
void llm_sparse_operands(const struct zw_ctx *c, const struct llm_slot *s, struct llm_build *b);

/*
 * Gives those sequences of a step their rows that have sparse ones, from row 0 on, and notes how many
 * these are. Returns the rows that are given away.
 */
uint32_t llm_sparse_rows(struct zw_ctx *c, struct llm_slot *slot, const struct llm_tally *n);

/*
 * How many of the next `left` tokens at a position to take in a step that has room for `most`: so that
 * later ones begin where groups do. alone: the step is theirs, so that the last ones need no step of their own.
 */
uint32_t llm_sparse_piece(const struct zw_ctx *c, uint32_t pos, uint64_t left, uint32_t most,
			  bool alone);

/* Whether the first n of the next `left` tokens at a position end within a group that they could fill. */
bool llm_sparse_cuts(const struct zw_ctx *c, uint32_t pos, uint64_t left, uint32_t n);

/* What rows attend to with one rotation of their queries. */
struct llm_attend {
	struct zw_tensor q, y;       /* [M, heads, d]; y may be q where nothing else needs it */
	struct zw_tensor lse;        /* optional */
	struct zw_tensor start, pos; /* first (optional) and last position */
};

/*
 * Attention of a KV layer over 1 or LLM_RANGES ranges, the nearest first, to the y of each; q of the first is
 * still that behind it. kv: which of the KV layers.
 */
void llm_build_sparse(const struct llm_build *b, uint32_t kv, const struct llm_attend *range,
		      unsigned int num, const struct llm_kv_cache *cache);

#endif
