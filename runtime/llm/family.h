/* SPDX-License-Identifier: MIT */
/*
 * A model family: what one config.json "model_type" means. One file per family (family_<name>.c)
 * turns the configuration into the list of tensors and, on a device, into layers.
 */
#ifndef ZW_LLM_FAMILY_H
#define ZW_LLM_FAMILY_H

#include "config_value.h"
#include "model.h"

/* Tensors a model needs, growing; names are owned. */
struct zw_want_list {
	struct zw_st_want *want;
	size_t n, cap;
};

/* Adds a tensor of ndim dimensions d0[, d1]; name is printf-formatted. */
int zw_want_add(struct zw_want_list *l, bool optional, uint32_t ndim, uint64_t d0, uint64_t d1,
		const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void zw_want_free(struct zw_want_list *l);

struct zw_family {
	const char *model_type;   /* config.json */
	const char *architecture; /* the class in "architectures" that this is the mathematics of */
	/* Reads and checks the family's own keys; the common ones are in cfg already. */
	int (*parse)(const char *path, const cJSON *json, struct zw_model_config *cfg,
		     struct zw_error *err);
	/* Lists every tensor of a checkpoint of this configuration. */
	int (*tensors)(const struct zw_model_config *cfg, struct zw_want_list *list);
	/* Says which tensors go to the device, in what groups; w->layers is allocated. */
	int (*plan)(const struct zw_model_config *cfg, struct zw_plan *plan, struct zw_weights *w,
		    struct zw_error *err);
	/* Emits embedding and layers for one step; errors stick to b->cmd. */
	void (*build)(const struct zw_build *b);
};

extern const struct zw_family zw_family_qwen3;

/* The family of a model_type, or NULL. */
const struct zw_family *zw_family_find(const char *model_type);

/* Every entry of layer_types (when there) must be `type` and there must be num_layers of them. */
int zw_config_layer_types(const char *path, const cJSON *json, const struct zw_model_config *cfg,
			  const char *type, struct zw_error *err);

#endif
