/* SPDX-License-Identifier: MIT */
/* What a GGUF file's metadata says of a model, in the words of config.json. */
#ifndef LLM_GGUF_CONFIG_H
#define LLM_GGUF_CONFIG_H

#include "config.h"
#include "gguf.h"
#include "gguf_names.h"

/* tokenizer.ggml.token_type */
enum gguf_token_type {
	GGUF_TOKEN_NORMAL = 1,
	GGUF_TOKEN_UNKNOWN = 2,
	GGUF_TOKEN_CONTROL = 3,
	GGUF_TOKEN_USER = 4,
	GGUF_TOKEN_UNUSED = 5,
	GGUF_TOKEN_BYTE = 6,
};

/*
 * The metadata as config.json (with eos_token_id of both files) for llm_model_config_parse(); what only
 * tensors say (rows of the embedding, a head of its own, biases, layers without experts) is taken from
 * them. *out is cJSON_Delete()d by the caller.
 */
int gguf_config_json(const struct zw_gguf *g, const struct gguf_arch **arch, cJSON **out,
		     struct zw_error *err);
/* general.sampling.* and the tokens that end a text as generation_config.json. */
int gguf_generation_json(const struct zw_gguf *g, cJSON **out, struct zw_error *err);

#endif
