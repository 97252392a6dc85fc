/* SPDX-License-Identifier: MIT */
/* Models by the names of their sizes: a configuration and nothing else. */
#ifndef LLM_SHAPES_H
#define LLM_SHAPES_H

#include "source.h"

struct llm_shape {
	const char *name, *type; /* type: model_type */
	uint32_t hidden, layers, heads, kv_heads, head_dim, inter, vocab;
	bool tied;
	double theta;
	uint32_t positions;
	uint64_t parameters; /* in all, of the text's layers; as its report or file says */
	uint32_t experts, per_token, expert, shared;
	uint32_t key_heads, value_heads; /* of recurrent layers, three of four */
	bool chunks;                     /* Dual Chunk Attention */
};

/* In any case; names that only have a stand-in give that. NULL: unknown. */
const struct llm_shape *llm_shape_find(const char *name);
/* The i-th, NULL behind the last. */
const struct llm_shape *llm_shape_at(size_t i);
/* What its config.json would say; NULL when memory is out. The caller's. */
cJSON *llm_shape_json(const struct llm_shape *s);

/* What is asked of a source that has a configuration and no tensors. */
struct llm_shape_ask {
	const char *shape; /* a name, or NULL: path */
	const char *path;  /* config.json, or the folder it is in */
	/* Format of the matrices (llm_shape_format()), or NULL: as quantization_config says, else BF16. */
	const char *weights;
	uint32_t cards; /* one card's share of so many; 0: all of it */
	bool mtp;       /* with an MTP head, where the family has one */
};

/* Tensors with names, types and shapes, of the family's table; reading them gives zeroes. */
int llm_source_new_shape(const struct llm_shape_ask *ask, struct llm_source **out,
			 struct zw_error *err);
/* Whether path is a config.json, or a folder that has one and no weights. */
bool llm_is_shape(const char *path);
/* Names of the i-th format, NULL behind the last. */
const char *llm_shape_format(size_t i);

#endif
