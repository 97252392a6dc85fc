/* SPDX-License-Identifier: MIT */
/* Inside of GGUF files as sources. */
#ifndef LLM_SOURCE_GGUF_H
#define LLM_SOURCE_GGUF_H

#include "gguf.h"
#include "gguf_names.h"
#include "source.h"

/* A tensor, or a part of one, under a name of Hugging Face's; without one it belongs to no model. */
struct gguf_view {
	char *hf;
	size_t tensor;
	uint64_t off, bytes; /* of the tensor */
	uint32_t skip;       /* leading dimensions that it is one element of */
	uint32_t flags;      /* enum gguf_name_flags */
	bool wide;           /* records that are read as F32 */
};

struct gguf_source {
	struct llm_source base;
	struct zw_gguf *g;
	const struct gguf_arch *arch;
	/* Of the configuration. */
	uint32_t num_layers, num_experts, key_heads, value_heads, key_dim, value_dim;
	struct gguf_view *views; /* in order of hf after open */
	size_t num_views, cap_views;
};

static inline const struct gguf_source *gguf_of(const struct llm_source *s)
{
	return (const struct gguf_source *)s;
}

/*
 * Whether parts of a tensor have to change places that are not whole records: then it is read as numbers.
 */
bool gguf_is_wide(const struct gguf_source *gs, const struct gguf_view *v);
/* read() of struct llm_source_ops: values and order as others have them. */
int gguf_source_read(const struct llm_source *s, size_t i, uint64_t off, void *dst, uint64_t len,
		     struct zw_error *err);
/* file() of struct llm_source_ops: of what is not changed. */
bool gguf_source_file(const struct llm_source *s, size_t i, uint64_t off, uint64_t len,
		      struct llm_source_file *file);

#endif
