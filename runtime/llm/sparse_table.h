/* SPDX-License-Identifier: MIT */
/* How many keys the heads of a checkpoint want of vertical-slash attention. */
#ifndef LLM_SPARSE_TABLE_H
#define LLM_SPARSE_TABLE_H

#include "config.h"

/* What a checkpoint says of vertical-slash attention. */
struct llm_sparse_table {
	uint32_t *
		sizes; /* [layers][heads][2]: columns, distances; NULL: there is none that can be used */
	uint32_t from;   /* texts up to so many tokens see every key */
	uint32_t sample; /* last rows whose weights choose */
	int code;        /* without sizes: why */
	struct zw_error why;
};

/*
 * Of a folder: from config.json (dual_chunk_attention_config.sparse_attention_config) or, where that has
 * none, sparse_attention_config.json. A file that is wrong is no error before somebody asks for it.
 */
void llm_sparse_table_load(const char *dir, const struct llm_model_config *cfg,
			   struct llm_sparse_table *t);
void llm_sparse_table_free(struct llm_sparse_table *t);

#endif
