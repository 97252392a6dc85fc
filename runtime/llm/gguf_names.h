/* SPDX-License-Identifier: MIT */
/* Names of tensors in GGUF files and in Hugging Face's, which families use. */
#ifndef LLM_GGUF_NAMES_H
#define LLM_GGUF_NAMES_H

#include "gguf.h"

/* One tensor, and what it is on the other side. */
struct gguf_name {
	const char *gguf; /* of a layer: behind "blk.N." */
	const char *hf;   /* of a layer: behind "model.layers.N."; with %u: one for each expert */
	bool layer;
};

struct gguf_arch {
	const char *name; /* general.architecture */
	const char *model_type;
	bool has_experts;
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
void gguf_spell(const struct gguf_arch *arch, const char *hf, char *out, size_t size);

#endif
