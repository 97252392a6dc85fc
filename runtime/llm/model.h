/* SPDX-License-Identifier: MIT */
/* Inside of models: weights in device memory and the tables that contexts share. */
#ifndef LLM_MODEL_H
#define LLM_MODEL_H

#include <pthread.h>
#include <stdatomic.h>

#include <zhenwu/llm_model.h>
#include <zhenwu/zhenwu.h>

#include "config.h"
#include "plan.h"
#include "sparse_table.h"

/*
 * A matrix, [N,K] or [experts, N, K], as llm_build_linear() takes it: (w - zero) * scale * scale2, where the
 * last three are zw_tensor_none() for what a checkpoint does not quantise.
 */
struct llm_matrix {
	struct zw_tensor w, scale, zero, scale2;
	/* The other operand is quantised on its way in: enum zw_dtype, or NONE; a scale for so many
	 * columns, 0: for a row. */
	uint32_t act, act_block;
	/*
	 * Columns are stored in another order than those of the other operand, which is brought into it first:
	 * column k goes with its column order[e, k]. I32 [experts or 1, K]; none: in the same order.
	 */
	struct zw_tensor order;
};

/*
 * The matrix of a linear layer. Of matrices that are stacked below each other some may be stored in a way that
 * does not go with others: each such run of rows is a part, and a product of its own. The first part whose w is
 * zw_tensor_none() ends them.
 */
#define LLM_LINEAR_PARTS 4
struct llm_linear {
	struct llm_matrix part[LLM_LINEAR_PARTS];
};

/* One layer; absent ones are zw_tensor_none(). Matrices that read the same input are one matrix. */
struct llm_layer_weights {
	struct zw_tensor norm1, norm2;
	struct llm_linear qkv; /* rows: q, then k, then v, then the gates of q if there are any */
	struct zw_tensor qkv_bias;
	struct zw_tensor q_norm, k_norm;
	struct llm_linear o;
	struct zw_tensor o_bias;
	struct llm_linear gate_up; /* rows: gate, then up */
	struct llm_linear down;
	struct llm_linear router; /* [experts, H]; with a shared expert one row more, its gate */
	struct llm_linear experts_gate_up,
		experts_down; /* [experts, rows, columns], as the two above */
	struct llm_linear shared_gate_up, shared_down;
	/* Recurrent layers. Rows: queries, keys, values, gates of values; b, then a of DELTA. */
	struct llm_linear delta_qkvz, delta_ba;
	struct zw_tensor conv; /* [channels, tokens it sees] */
	struct zw_tensor a_log, dt_bias, delta_norm;
};

/* A layer that predicts the token after the next, from the hidden state and the next token. */
struct llm_mtp_weights {
	struct llm_linear fc; /* columns: of the token's embedding, then of the hidden state */
	struct zw_tensor norm_embed, norm_hidden, norm;
};

struct llm_weights {
	struct zw_tensor embed, norm;
	struct llm_linear head;
	struct llm_layer_weights *layers; /* one more than there are: that of an MTP head */
	struct llm_mtp_weights mtp;
	/* Of one row: the most bytes of activations that are quantised at a time, and their scales. */
	uint64_t act_cols, act_scales;
	uint64_t
		order_cols; /* the most columns, of all experts of a token, that are brought into another order */
};

/* Position tables cos and sin, F32 [positions, dim / 2]. */
struct llm_rope {
	struct zw_buffer buf;
	struct zw_tensor cos_table, sin_table;
	uint32_t positions;
	unsigned int refs;
};

struct llm_family;

/* Layers of a model that are loaded: [first, first + num) of `all`. */
struct llm_part {
	uint32_t first, num, all;
};

static inline bool llm_part_whole(const struct llm_part *p)
{
	return p->num == p->all;
}

/* With the layer that ids go into, with the one that the head is behind. */
static inline bool llm_part_begins(const struct llm_part *p)
{
	return !p->first;
}

static inline bool llm_part_ends(const struct llm_part *p)
{
	return p->first + p->num == p->all;
}

struct zw_model {
	bool mtp;         /* its MTP head is loaded */
	bool timing_only; /* the device computes nothing: nobody has written the weights */
	bool user_queues; /* queues on its address space are user-mode queues */
	struct zw_dev *dev;
	const struct llm_family *family;
	struct llm_model_config cfg; /* of a part: of its own layers */
	struct llm_part part;
	struct zw_model_info info;
	uint64_t digest[2];
	struct llm_sparse_table sparse;
	struct zw_vm *vm;
	struct zw_buffer buf;
	struct llm_weights w;
	atomic_uint contexts;
	pthread_mutex_t lock;  /* of rope and its count */
	struct llm_rope *rope; /* the longest one in use, or NULL */
};

/* -ENOSPC with a clear line when the device has less than `bytes` of HBM free. */
int llm_check_hbm(struct zw_dev *dev, uint64_t bytes, const char *what, struct zw_error *err);

/* -EOPNOTSUPP when the device's ABI lacks what the family's packets need. */
int llm_check_device(struct zw_dev *dev, const struct llm_family *family, struct zw_error *err);

/* Frequency j of dim / 2, in radians per position, with YaRN. */
float llm_rope_frequency(const struct llm_rope_config *r, uint32_t dim, uint32_t j);
/* Position tables, F32 [n, dim / 2] each: of angle pos * frequency, every step in binary32. */
void llm_rope_tables(float *cos_out, float *sin_out, uint32_t first, uint32_t n, uint32_t dim,
		     const struct llm_rope_config *r);
/* Bytes of tables for so many positions. */
uint64_t llm_rope_bytes(const struct llm_model_config *cfg, uint32_t positions);
/*
 * Tables for at least so many positions. Contexts share them; a context that needs more than there
 * is gets new ones, which later contexts share. Thread safe.
 */
int llm_rope_get(struct zw_model *m, uint32_t positions, struct llm_rope **out,
		 struct zw_error *err);
void llm_rope_put(struct zw_model *m, struct llm_rope *rope);

#endif
