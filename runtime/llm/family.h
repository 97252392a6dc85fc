/* SPDX-License-Identifier: MIT */
/*
 * A model family: what one "model_type" means. One file per family (family_<name>.c) turns the
 * configuration into a list of tensors, needs of memory and, on a device, layers.
 */
#ifndef LLM_FAMILY_H
#define LLM_FAMILY_H

#include "model.h"

/* ---- tensors of a checkpoint ---- */

/* Sizes that shapes are made of; the family says what they are. */
enum llm_dim {
	LLM_DIM_NONE,
	LLM_DIM_HIDDEN, /* residual stream */
	LLM_DIM_VOCAB,
	LLM_DIM_INTER, /* width of the feed-forward layer */
	LLM_DIM_Q,     /* query heads * head dimension */
	LLM_DIM_KV,    /* key/value heads * head dimension */
	LLM_DIM_HEAD,
	LLM_DIM_EXPERTS,
	LLM_DIM_EXPERT, /* width of an expert's feed-forward */
	LLM_DIM_2_EXPERT,
	LLM_DIM_SHARED, /* of the one that all tokens go through */
	LLM_DIM_ONE,
	LLM_DIM_2_HIDDEN,
	LLM_DIM_2_Q,         /* queries and their gates */
	LLM_DIM_VALUE_HEADS, /* of recurrent layers, as are the next */
	LLM_DIM_2_VALUE_HEADS,
	LLM_DIM_VALUE,  /* dimension of a value head */
	LLM_DIM_VALUES, /* of all of them */
	LLM_DIM_CONV,   /* channels of the convolution: queries, keys and values */
	LLM_DIM_QKVZ,   /* these and the gates of the values */
	LLM_DIM_KERNEL, /* tokens that the convolution sees */
};

enum llm_tensor_flags {
	LLM_T_LAYER = 1 << 0, /* once per layer: slot is of struct llm_layer_weights */
	/* The head of a model that may be tied to the embedding. With tie_word_embeddings it may be
	 * absent; a copy of the embedding is not loaded, one that differs is. */
	LLM_T_HEAD = 1 << 1,
	/* Of layers: only in those whose feed-forward has experts, or only in the others. */
	LLM_T_SPARSE = 1 << 2,
	LLM_T_DENSE = 1 << 3,
	/* Of layers: once per expert, whose number takes the place of %u in the name. The rows of a
	 * slot are stacked expert by expert: [experts, rows, columns]. */
	LLM_T_EXPERT = 1 << 4,
	/* The matrix of a linear layer: slot is of a struct llm_linear. */
	LLM_T_LINEAR = 1 << 5,
	/* Of layers: only in those that are recurrent, or only in the others. */
	LLM_T_RECURRENT = 1 << 6,
	LLM_T_ATTENTION = 1 << 7,
	/* Of the model's MTP head; its layer has the rows of a layer with attention. */
	LLM_T_MTP = 1 << 8,
	/* Of layers: all experts in one tensor, [experts, rows, columns]; the last row of a slot, which counts
	 * when the file has its tensor, and the others of the slot when not. */
	LLM_T_FUSED = 1 << 9,
};

/*
 * One tensor, or a part of one. Rows with the same slot follow each other and are stacked in that order. A
 * tensor for which when() says no must not be in the checkpoint.
 */
struct llm_tensor_row {
	const char *name; /* behind the family's layer prefix for LLM_T_LAYER */
	uint16_t slot; /* offset of a struct zw_tensor, or with LLM_T_LINEAR a struct llm_linear */
	uint16_t flags;
	uint8_t dim[3];                                   /* enum llm_dim */
	bool (*when)(const struct llm_model_config *cfg); /* NULL: always */
	float add; /* as in struct llm_take; with it the slot is F32, so that nothing is rounded */
	/* NULL: all of it. Else says which rows. */
	void (*part)(const struct llm_model_config *cfg, struct llm_take *t);
};

/* ---- memory that layers need ---- */

#define LLM_MAX_SCRATCH 16

/* Memory of a context, as the family asks for it. */
struct llm_needs {
	/* Activations beside the residual stream: `rows` of a step times cols. */
	struct {
		uint32_t dtype, cols;
	} scratch[LLM_MAX_SCRATCH];
	uint32_t num_scratch;
	/* KV cache: so many layers of K and V [heads, dim]. */
	uint32_t kv_layers, kv_heads, kv_dim;
	/*
	 * State of a fixed size per sequence beside the cache: recurrent layers. Packets take it as zero
	 * at position 0; it is copied for a fork and a snapshot, and can be rewound only to where a
	 * state was kept.
	 */
	uint64_t slab_bytes;
	/* Set by the caller: an MTP head is to be built, whose KV layer is the last. */
	bool mtp;
	/* With experts: the scratch [rows, layers * experts of a token] I32 of those chosen in a step. */
	uint32_t experts_scratch;
};

/* ---- building layers ---- */

/* Ranges of keys of Dual Chunk Attention: own chunk, the one before, all before that. */
#define LLM_RANGES 3

/* Operands of Dual Chunk Attention; rope[0].dtype NONE: no sequence has more than one chunk. */
struct llm_chunk_tensors {
	struct zw_tensor rope[LLM_RANGES], start[LLM_RANGES], last[LLM_RANGES]; /* [M] I32 */
	struct zw_tensor
		q[LLM_RANGES - 1]; /* [M, heads, d], rotated for the ranges behind the first */
	struct zw_tensor y, lse;   /* [ranges, M, heads, d], [ranges, M, heads] F32 */
};

/* Operands of sparse attention, see sparse.h; kind 0: there is none. */
struct llm_sparse_tensors {
	uint32_t kind, most; /* most: rows that may be sparse */
	uint64_t rows_va;    /* how many are, from the first on */
	uint64_t dense_va;   /* not 0: others are not */
	uint32_t sample;
	/* [M] I32: what start is to rows that see all keys, for those that do not behind every position. */
	struct zw_tensor start[LLM_RANGES];
	struct zw_tensor far_end;        /* with Dual Chunk Attention, [M] I32: of the last range */
	struct zw_tensor y;              /* without, [M, heads, d] BF16 */
	struct zw_tensor blocks, counts; /* [groups, heads, room], [groups, heads] I32 */
	struct zw_tensor columns, column_counts;
	struct zw_tensor vertical, slash; /* [KV layers, heads] I32 */
};

/* Operands of one step; all but the tables, pools and block_table have `batch` rows. */
struct llm_build {
	const struct llm_model_config *cfg;
	const struct llm_weights *w;
	struct zw_cmd *cmd;
	uint64_t rows_va;
	struct zw_tensor ids, pos, seq; /* [M] I32 */
	struct zw_tensor h;             /* residual stream [M, H] F32 */
	struct zw_tensor scratch[LLM_MAX_SCRATCH];
	struct zw_tensor cos_table, sin_table;
	struct zw_tensor block_table;      /* [sequences, blocks of one] I32 */
	struct zw_tensor k_cache, v_cache; /* of KV layer 0, [blocks, tokens, kv_heads, kv_dim] */
	uint64_t kv_layer_stride;          /* bytes from one KV layer to the next */
	/* States: the first, bytes to the next one, how many; for each row the one it goes on from and
	 * the one it leaves behind, or -1. */
	uint64_t slab_va, slab_stride;
	uint32_t slabs;
	struct zw_tensor state_from, state_to; /* [M] I32 */
	struct llm_chunk_tensors chunks;
	float score_factor; /* of llm_score_factor() */
	struct llm_sparse_tensors sparse;
	/* Of a quantised cache: [blocks, tokens, kv_heads] of KV layer 0; else absent. */
	struct zw_tensor k_scale, v_scale;
	uint64_t kv_scale_stride;
	uint32_t delta_flags; /* ZW_DELTA_F_* */
	/* Room for activations that are quantised on their way into a product, and their scales. */
	uint64_t act_va, act_scale_va;
	uint64_t order_va; /* and for those that are brought into another order */
	/* Of a part of a model: number of its first layer, and where rows [M, H] F32 come from in place of ids. */
	uint32_t first_layer;
	uint64_t hidden_va;
};

struct llm_family {
	const char *model_type;   /* config.json */
	const char *architecture; /* the class in "architectures" that this is the mathematics of */
	/* Reads and checks the family's own keys; the common ones are in cfg already. */
	int (*parse)(const char *path, const cJSON *json, struct llm_model_config *cfg,
		     struct zw_error *err);
	uint32_t abi_minor; /* the device has to have at least that one */
	bool dual_chunk;    /* dual_chunk_attention_config is computed: by llm_build_attention() */
	const char *layer_prefix; /* one %u: the layer */
	/* Not NULL: the decoder's keys are in text_config, whose model_type is that. */
	const char *text_type;
	bool all_experts;           /* every layer has them: intermediate_size may be absent */
	const char *ignored_prefix; /* of tensors that other towers have, or NULL */
	const char *mtp_prefix;     /* of everything in an MTP head, or NULL: the family has none */
	const struct llm_tensor_row *tensors;
	size_t num_tensors;
	void (*needs)(const struct llm_model_config *cfg, struct llm_needs *n);
	/* Emits embedding and layers for one step; errors stick to b->cmd. */
	void (*build)(const struct llm_build *b);
	/*
	 * The MTP head, without the norm and head that are the model's: ids are the tokens behind those
	 * whose normed hidden states [M, H] F32 are given; hidden becomes the head's own.
	 */
	void (*build_mtp)(const struct llm_build *b, const struct zw_tensor *hidden);
};

extern const struct llm_family llm_family_qwen2, llm_family_qwen3, llm_family_qwen3_moe,
	llm_family_qwen3_next, llm_family_qwen3_5, llm_family_qwen3_5_text, llm_family_qwen3_5_moe,
	llm_family_qwen3_5_moe_text;

/* The family of a model_type, or NULL. */
const struct llm_family *llm_family_find(const char *model_type);

/*
 * Calls tensor() for each tensor that a checkpoint of the configuration has, of an MTP head if mtp and the family has one; one that
 * several rows are parts of, once for each. fused: experts are in one tensor where the family has that form.
 */
void llm_family_each(const struct llm_family *f, const struct llm_model_config *cfg, bool mtp,
		     bool fused,
		     void (*tensor)(void *opaque, const char *name,
				    const struct llm_tensor_row *row, const uint64_t *dim,
				    uint32_t ndim),
		     void *opaque);

/*
 * Plans what the n takes of a slot are, in the order of rows, with LLM_T_EXPERT expert by expert. Without takes
 * it stays what it is.
 */
int llm_plan_slot(struct llm_plan *p, const struct llm_tensor_row *row, uint32_t experts,
		  struct zw_tensor *dst, const struct llm_take *takes, size_t n,
		  struct zw_error *err);
/* The same for rows of a linear layer that has *parts already: as many more as types need. */
int llm_plan_linear(struct llm_plan *p, const struct llm_tensor_row *row, uint32_t experts,
		    struct llm_linear *l, uint32_t *parts, const struct llm_take *takes, size_t n,
		    struct zw_error *err);
/* The next part of a linear layer, or NULL when there is no more room: -EOPNOTSUPP. */
struct llm_matrix *llm_linear_next(struct llm_linear *l, uint32_t *parts, struct zw_error *err);

/*
 * Finds every tensor of the family's table in the plan's source, stacked as the table says, and plans those of the part, those
 * of an MTP head if mtp; w->layers, which begin with the part's first, is allocated. Missing, surplus and misshapen ones are errors
 * by name, whether they are of the part or not.
 */
int llm_family_plan(const struct llm_family *f, const struct llm_model_config *cfg,
		    const struct llm_part *part, bool mtp, struct llm_plan *p,
		    struct llm_weights *w, struct zw_error *err);

#endif
