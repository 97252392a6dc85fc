/* SPDX-License-Identifier: MIT */
/* Names of tensors in GGUF files and in Hugging Face's, which families use. */
#ifndef LLM_GGUF_NAMES_H
#define LLM_GGUF_NAMES_H

#include "gguf.h"

enum gguf_name_flags {
	GGUF_N_LAYER = 1 << 0,
	/* Values that converters change: w + 1 of a norm, -exp(A) of a decay. */
	GGUF_N_PLUS_ONE = 1 << 1,
	GGUF_N_MINUS_EXP = 1 << 2,
	/* Dimensions of 1 that they leave out: [1, H] is a vector, [C, 1, K] a matrix. */
	GGUF_N_ROW = 1 << 3,
	GGUF_N_MIDDLE = 1 << 4,
	/* Orders of value heads that they change (source_gguf_read.c): of rows, of rows behind those of queries
	 * and keys, of single rows or values, of columns. */
	GGUF_N_TILED = 1 << 5,
	GGUF_N_TILED_VALUES = 1 << 6,
	GGUF_N_TILED_ONE = 1 << 7,
	GGUF_N_TILED_COLUMNS = 1 << 8,
	GGUF_N_TILED_ANY = 15 << 5,
	/* Of an MTP head, whose layer is behind the last one. */
	GGUF_N_MTP = 1 << 9,
};

/* One tensor, and what it is on the other side. */
struct gguf_name {
	const char *gguf; /* of a layer: behind "blk.N." */
	const char *hf;   /* of a layer: behind "model.layers.N."; with %u: one for each expert */
	uint32_t flags;
};

struct gguf_arch {
	const char *name; /* general.architecture */
	const char *model_type;
	bool has_experts;
	bool hybrid;        /* has recurrent layers */
	bool mtp;           /* files may have an MTP head */
	bool biases_of_qkv; /* always; others have them when the file does */
	const struct gguf_name *names;
	size_t num_names;
};

/* The architecture, or NULL. */
const struct gguf_arch *gguf_arch_find(struct gguf_str name);
/* The name that a tensor has here, and its layer; NULL for one that the architecture does not have. */
const struct gguf_name *gguf_name_of(const struct gguf_arch *arch, const char *gguf,
				     uint32_t *layer);
/* What the file calls a tensor that is here called hf, to out; hf itself when it has no name. */
void gguf_spell(const struct gguf_arch *arch, uint32_t num_layers, const char *hf, char *out,
		size_t size);

#endif
