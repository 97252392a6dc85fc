/* SPDX-License-Identifier: MIT */
/* Inside of models: weights in device memory, and what a family needs to build its layers. */
#ifndef ZW_LLM_MODEL_H
#define ZW_LLM_MODEL_H

#include <stdatomic.h>

#include <zhenwu/llm_model.h>
#include <zhenwu/zhenwu.h>

#include "util.h"

/* Sub-allocations of a buffer start here; a multiple of every alignment the packets ask for. */
#define ZW_LLM_ALIGN 256

static inline uint64_t zw_align(uint64_t v, uint64_t a)
{
	return (v + a - 1) / a * a;
}

/* ---- weights ---- */

/* One layer; absent ones are zw_tensor_none(). Matrices that read the same input are one matrix. */
struct zw_layer_weights {
	struct zw_tensor norm1, norm2;
	struct zw_tensor qkv, qkv_bias; /* rows: q, then k, then v */
	struct zw_tensor q_norm, k_norm;
	struct zw_tensor o, o_bias;
	struct zw_tensor gate_up; /* rows: gate, then up */
	struct zw_tensor down;
};

struct zw_weights {
	struct zw_tensor embed, norm, head;
	struct zw_layer_weights *layers;
};

/*
 * A plan says where in one buffer each tensor of a checkpoint goes. zw_plan_add() stacks the named
 * tensors (equal but for the first dimension) and fills in *dst, whose va is an offset until
 * zw_plan_load() has put the buffer's address under it.
 */
struct zw_plan_copy {
	size_t tensor; /* of the checkpoint */
	uint64_t off, bytes;
};

struct zw_plan {
	const struct zw_safetensors *st;
	struct zw_plan_copy *copies;
	struct zw_tensor **dst;
	size_t num_copies, cap_copies, num_dst, cap_dst;
	uint64_t bytes, parameters;
};

int zw_plan_add(struct zw_plan *p, struct zw_tensor *dst, const char *const *names, size_t n,
		struct zw_error *err);
void zw_plan_fini(struct zw_plan *p);

/* ---- uploads: host memory to device memory through DMA ---- */

struct zw_upload {
	struct zw_vm *vm;
	struct zw_queue *queue;
	struct zw_fence *fence;
	struct zw_buffer stage; /* system memory: two slots, each data then command buffer */
	struct zw_cmd cmd;      /* of the slot being filled */
	unsigned int slot;
	uint64_t fill;          /* bytes of data in it */
	uint64_t point;         /* last one submitted */
	uint64_t slot_point[2]; /* when a slot is free again */
	uint64_t sim_ps;
};

int zw_upload_open(struct zw_upload *u, struct zw_dev *dev, struct zw_vm *vm, struct zw_error *err);
void zw_upload_close(struct zw_upload *u);
/*
 * Room for up to *bytes bytes (shortened when there is less) that will be copied to dst; the caller
 * fills it before the next call.
 */
int zw_upload_reserve(struct zw_upload *u, uint64_t dst, uint64_t *bytes, void **ptr,
		      struct zw_error *err);
/* Submits what is left and waits for all of it. */
int zw_upload_finish(struct zw_upload *u, struct zw_error *err);

/* "what: reason of the first failed job of the queue" and the matching -errno. */
int zw_fail_queue(struct zw_error *err, struct zw_queue *queue, int code, const char *what);

/* ---- model ---- */

struct zw_family;

struct zw_model {
	struct zw_dev *dev;
	const struct zw_family *family;
	struct zw_model_config cfg;
	struct zw_model_info info;
	struct zw_vm *vm;
	struct zw_buffer buf;
	struct zw_weights w;
	atomic_uint sessions;
};

/* -ENOSPC with a clear line when the device has less than `bytes` of HBM free. */
int zw_check_hbm(struct zw_dev *dev, uint64_t bytes, const char *what, struct zw_error *err);

/* Most tokens of one submission of the session. */
uint32_t zw_session_chunk(const struct zw_session *s);

/* Configuration of the session's model. */
int zw_session_get_config(const struct zw_session *s, struct zw_model_config *cfg);

/* ---- building layers ---- */

/* Operands of one step; all but pos and block_table have the chunk's rows as first dimension. */
struct zw_build {
	const struct zw_model_config *cfg;
	const struct zw_weights *w;
	struct zw_cmd *cmd;
	uint64_t rows_va;
	struct zw_tensor ids, pos;
	struct zw_tensor h;                    /* residual stream [M, H] F32 */
	struct zw_tensor x;                    /* normalised [M, H] */
	struct zw_tensor qkv;                  /* [M, (nq + 2 nkv) d] */
	struct zw_tensor gate_up;              /* [M, 2 I] */
	struct zw_tensor cos_table, sin_table; /* [context, d / 2] F32 */
	struct zw_tensor block_table;          /* [1, blocks] */
	struct zw_tensor k_cache, v_cache;     /* of layer 0, [B, T, nkv, d] */
	uint64_t kv_layer_stride;              /* bytes from one layer's cache to the next one's */
};

/* h += attention(norm1(h)) with optional biases and per-head QK norm. */
void zw_build_attention(const struct zw_build *b, const struct zw_layer_weights *w, uint32_t layer);
/* h += down(silu(gate(x)) * up(x)), x = norm2(h). */
void zw_build_swiglu(const struct zw_build *b, const struct zw_layer_weights *w);

/* Position tables, F32 [n, dim / 2] each: angle = pos * (1 / theta^(2j/dim)), every step in binary32. */
void zw_rope_tables(float *cos_out, float *sin_out, uint32_t first, uint32_t n, uint32_t dim,
		    double theta);

#endif
