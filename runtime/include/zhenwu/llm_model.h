/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: models, checkpoints whose weights are in device memory.
 * Conventions are those of <zhenwu/llm.h>.
 *
 * Arithmetic: weights as stored; residual stream F32; everything between two GEMMs BF16, where
 * experts are chosen or layers are recurrent F32; the KV cache as the context asks for;
 * accumulation F32; logits F32. The same tokens give the same bits however
 * they are cut into batches, whatever other sequences are in them, on every transport, host and
 * number of engine threads.
 */
#ifndef ZHENWU_LLM_MODEL_H
#define ZHENWU_LLM_MODEL_H

#include "base.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A checkpoint in device memory. Immutable; any number of contexts use its weights. */
struct zw_model;

/** Load the model's MTP head, too: see `draft` of struct zw_ctx_options. -ENOENT when it has none. */
#define ZW_MODEL_MTP         (1u << 0)
/**
 * Load and run on user-mode queues (ZW_QUEUE_USER of <zhenwu/queue.h>): no system call for a step.
 * -EOPNOTSUPP on a device or driver without them.
 */
#define ZW_MODEL_USER_QUEUES (1u << 1)

struct zw_model_options {
	uint32_t size;  /**< sizeof(struct zw_model_options) */
	uint32_t flags; /**< ZW_MODEL_* */
	/** Called while weights are loaded, from the calling thread, at least at 0 and at the end.
	 *  May be NULL. Non-zero cancels: zw_model_open() returns -ECANCELED. */
	int (*progress)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);
	void *opaque;
	/* The rest is for devices with ZW_DEV_TIMING_ONLY, -EINVAL on others. */
	/** Not NULL: a published size, see zw_shape_name(), and path is NULL; -ENOENT for other names. */
	const char *shape;
	/** Not NULL: how matrices are stored, see zw_shape_weights(); the checkpoint's weights, if there are
	 *  any, are not looked at. NULL: as they say or else the configuration, without both BF16. */
	const char *weights;
	/** Not 0: as many positions at least, whatever the model was made for: what a step takes is no
	 *  matter of that. At most 2^26. */
	uint32_t positions;
	/** 2 and more: one card's share of a model that so many have, cut between heads, columns of
	 *  feed-forwards and words of the vocabulary; what goes over links is not in it. Not where weights
	 *  are looked at. */
	uint32_t cards;
	/* On every device: */
	/** num_layers not 0: these layers and no others, see zw_model_part(), not with `cards` or
	 *  ZW_MODEL_MTP. The embedding goes with the first layer, final norm and head with the last one,
	 *  the embedding too where it is the head. Of a checkpoint all is checked and this is loaded.
	 *  What contexts of a part take and give: `hidden` of struct zw_batch, zw_ctx_hidden(). */
	uint32_t first_layer, num_layers;
};

/**
 * The layers of card `card` of `cards` that take consecutive ones, none without: as many on each, and of what is left
 * over one more on each of the last cards but the very last, which has the head.
 * @return 0; -EINVAL: card is none of the cards, or there are more of these than layers
 * Thread safety: pure.
 */
ZW_API int zw_model_part(uint32_t layers, uint32_t cards, uint32_t card, uint32_t *first,
			 uint32_t *num);

/**
 * Loads a Hugging Face directory (config.json, safetensors) or a GGUF file into the device's HBM.
 *
 * Configuration and checkpoint are checked completely before memory is allocated: every tensor
 * there, none left over, shapes as configured, types the device computes with, and the whole not
 * larger than the HBM that is free (-ENOSPC). For a drm device files are read with O_DIRECT into 26 MiB
 * of memory that it copies from; what the kernel has of them in its page cache is copied from there, up
 * to 96 MiB pinned at a time, when that takes less time. Where RLIMIT_MEMLOCK, the driver or the file
 * system refuse both, and for other devices, they are streamed through a few staging buffers, reading
 * and DMA overlapping. No copy stays in host memory.
 *
 * On a device with ZW_DEV_TIMING_ONLY weights are planned and allocated and not written; path may then
 * also be a config.json, or a folder that has one and no weights.
 *
 * @param opt  NULL for the defaults
 * Thread safety: reentrant. The device must outlive the model.
 */
ZW_API int zw_model_open(struct zw_dev *dev, const char *path, const struct zw_model_options *opt,
			 struct zw_model **out, struct zw_error *err);

/** Frees the device memory. -EBUSY while contexts exist, then nothing happened; NULL is allowed. */
ZW_API int zw_model_close(struct zw_model *model);

/** What a model is and what loading it took. */
struct zw_model_info {
	uint32_t size;         /**< in: sizeof; out: bytes filled */
	uint32_t tensors;      /**< tensors of the checkpoint that were loaded */
	char model_type[32];   /**< as config.json names it, "qwen3" */
	uint32_t vocab_size;   /**< V, logits of a token; may exceed the tokenizer's tokens */
	uint32_t max_context;  /**< longest sequence the model was made for, in tokens */
	uint32_t num_layers;   /**< loaded: of a part its own */
	uint32_t num_stop;     /**< see zw_model_stop_tokens() */
	uint64_t parameters;   /**< elements of all tensors loaded */
	uint64_t weight_bytes; /**< HBM they take, with padding */
	uint64_t load_ns;      /**< wall time of reading and copying */
	uint64_t load_sim_ps;  /**< simulated time of the copies */
	uint64_t kv_bytes_per_token;
	uint64_t state_bytes; /**< recurrent state of one sequence */
	uint32_t num_experts; /**< of a layer; 0: none */
	uint32_t experts_per_token;
	/** Parameters that a token goes through, embedding and head not counted. */
	uint64_t active_parameters;
	uint32_t num_heads, head_dim, kv_layers; /**< of attention; layers with a KV cache */
	uint32_t own_context; /**< max_context without `positions` of struct zw_model_options */
	/** Bytes that came past the page cache (O_DIRECT), and that the device took from it. */
	uint64_t load_direct_bytes, load_mapped_bytes;
	int32_t load_direct_refused; /**< errno of the first refusal of O_DIRECT, or 0 */
	uint32_t hidden_size;        /**< columns of the residual stream */
	uint32_t first_layer;        /**< of a part, else 0 */
	uint32_t all_layers;         /**< of the model, whatever of it is loaded */
};

/** Thread safety: immutable. */
ZW_API int zw_model_get_info(const struct zw_model *model, struct zw_model_info *info);

/**
 * The tokens that end a text: the union of eos_token_id of config.json and generation_config.json.
 * @param ids  receives an array in ascending order that belongs to the model
 * @return     how many
 * Thread safety: immutable.
 */
ZW_API size_t zw_model_stop_tokens(const struct zw_model *model, const uint32_t **ids);
/** True when id is one of them. Thread safety: immutable. */
ZW_API bool zw_model_is_stop(const struct zw_model *model, uint32_t id);

/**
 * Calls note() with a line for each key of PATH/config.json and PATH/generation_config.json that is
 * neither read nor known to be without effect: no error, since tools write keys of their own, but not
 * silent. Of a GGUF file, whose unknown keys are refused, with one for matrices that cannot stay in records in
 * device memory. No model is needed. Thread safety: reentrant.
 */
ZW_API int zw_model_config_notes(const char *path, void (*note)(void *opaque, const char *line),
				 void *opaque, struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_MODEL_H */
