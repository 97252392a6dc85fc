/* SPDX-License-Identifier: MIT */
/*
 * A load plan: where in one buffer of device memory the tensors of a source go, and what becomes of
 * them on the way. Formats, tensor parallelism and packed checkpoints are plans, not code.
 */
#ifndef LLM_PLAN_H
#define LLM_PLAN_H

#include <zhenwu/zhenwu.h>

#include "source.h"

/* Sub-allocations of a buffer start here; a multiple of every alignment the packets ask for. */
#define LLM_ALIGN 256

static inline uint64_t llm_align(uint64_t v, uint64_t a)
{
	return (v + a - 1) / a * a;
}

/*
 * What is taken from a tensor, seen as a matrix [rows, cols] (leading dimensions folded into the
 * rows, a vector being one column), in this order of rows: `count` times `run` rows, the first of
 * each `step` apart, from row `first` on. So a slice is one run; every second head is a run of a
 * head and a step of two; several parts that take from one tensor split it; several parts of one
 * destination concatenate. run 0: all rows; cols 0: all columns.
 */
struct llm_take {
	size_t tensor; /* of the source */
	uint64_t first, run, step, count;
	uint64_t col, cols;
	float add; /* to each element: 1 turns a zero-centred norm weight into a plain one */
};

struct llm_plan_part {
	struct llm_take take; /* nothing 0 that has a default */
	uint32_t from, to;    /* enum zw_dtype */
	uint64_t src_cols;    /* of the source's rows */
	uint64_t off;         /* of the destination, dense, in the buffer */
};

struct llm_plan {
	const struct llm_source *src;
	struct llm_plan_part *parts;
	struct zw_tensor **dst;
	size_t num_parts, cap_parts, num_dst, cap_dst;
	uint64_t bytes;      /* of the buffer */
	uint64_t read_bytes; /* of the source */
	uint64_t parameters; /* elements of all destinations */
};

/*
 * Adds a destination: the n parts below each other, dense, [rows, cols] (or [rows] when the sources
 * are vectors). *dst gets an offset for an address, which llm_plan_place() makes one. dst must stay
 * where it is until then.
 *
 * @param dtype  enum zw_dtype of the destination; NONE: that of the parts when it is one that the
 *               device computes with, F32 when they differ. Conversions between F32, F16 and BF16
 *               are done (round to nearest even); others, quantising among them, are -EOPNOTSUPP.
 */
int llm_plan_add(struct llm_plan *p, struct zw_tensor *dst, uint32_t dtype,
		 const struct llm_take *parts, size_t n, struct zw_error *err);
/* Puts the buffer's address under every destination. */
void llm_plan_place(struct llm_plan *p, uint64_t va);
void llm_plan_fini(struct llm_plan *p);

/*
 * Carries the plan out: reads, converts, and copies to the buffer at va. Whole tensors that are not
 * converted are read straight into the copier's staging memory. progress() as in struct zw_model_options.
 */
int llm_plan_run(const struct llm_plan *p, struct zw_copier *c, uint64_t va,
		 int (*progress)(void *opaque, uint64_t done, uint64_t total), void *opaque,
		 struct zw_error *err);

#endif
