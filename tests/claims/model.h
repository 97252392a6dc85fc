/* SPDX-License-Identifier: MIT */
/* Whole models as packets: what the runtime makes of a layer, on a machine without weights. */
#ifndef ZW_CLAIMS_MODEL_H
#define ZW_CLAIMS_MODEL_H

#include <stdbool.h>

#include "../fidelity/machine.h"

#define HDR(op, type)                                                                              \
	{                                                                                          \
		.opcode = (op), .size = sizeof(struct type)                                        \
	}

/* From the configurations of the published models. */
struct model {
	const char *name;
	uint32_t layers, hidden, heads, kv_heads, d, inner, vocabulary;
	/* Qwen3-Next: three layers of four recurrent, a gate behind attention, experts in place of `inner` */
	bool hybrid;
};

/* NULL: none of that name. */
const struct model *model_find(const char *name);
const struct model *model_at(size_t i);
/* How many layers have attention. */
uint32_t model_attention_layers(const struct model *m);

struct step_options {
	uint32_t rows;    /* tokens of one sequence */
	uint32_t context; /* that it has behind the step: rows of it are new */
	uint32_t layers;  /* 0: all */
	bool int8;        /* weights and activations of dense products */
	bool no_head;
};

/* A BF16 cache of one sequence, in blocks of MODEL_BLOCK tokens, and the table that leads to it. */
#define MODEL_BLOCK 64u

struct model_cache {
	struct zw_tensor k, v, table;
};

struct model_cache model_cache(struct machine *m, uint32_t tokens, uint32_t heads, uint32_t d);

/* What was emitted. */
struct step_count {
	uint32_t packets, primitives; /* primitives: packets if each did one */
};

/* The same addresses for the same model and options: a step and the one behind it share their caches. */
struct step_count model_step(struct machine *m, const struct model *model,
			     const struct step_options *o);

#endif
