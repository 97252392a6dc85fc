/* SPDX-License-Identifier: MIT */
/* Inside of carrying plans out. */
#ifndef LLM_PLAN_RUN_H
#define LLM_PLAN_RUN_H

#include "plan.h"

#define LLM_PIECE_BYTES (4ull << 20) /* of a tensor that is copied as it is, a job each */

/* plan_place.c: a stretch of a file, mapped, as memory that the device reads; bo NULL: none. */
struct llm_plan_window {
	struct llm_source_file file; /* and where in it the window begins */
	uint64_t bytes;
	void *ptr;
	struct zw_bo *bo;
	uint64_t va;
	uint64_t point; /* of the copier, when its last copy is done */
	uint64_t end;   /* in the file, of what was copied */
	size_t tensor;  /* that reaches it */
};

struct llm_plan_run {
	const struct llm_plan *p;
	struct zw_dev *dev; /* NULL: no windows */
	struct zw_vm *vm;
	struct zw_copier *c;
	uint64_t va, done;
	int (*progress)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
	char *raw, *dense; /* what was read, what is copied */
	size_t raw_bytes, dense_bytes;
	struct llm_plan_window windows[3];
	unsigned int next_window;  /* to open */
	bool no_windows;           /* they were refused */
	struct llm_direct *direct; /* plan_direct.c, once it was asked for something */
	bool no_direct;            /* its ring was refused */
	struct {
		uint64_t ns, bytes; /* of the loading thread's time, and what came */
	} tried[2];                 /* by mapping, by reading directly */
	struct llm_plan_ways ways;
};

/* What is said when the copier says ret. */
int llm_copy_failed(int ret, struct zw_error *err);
/* Room in raw and dense. */
int llm_plan_room(struct llm_plan_run *r, uint64_t raw, uint64_t dense, struct zw_error *err);
/* Copies `bytes` of dense to a place in the buffer. */
int llm_plan_write(struct llm_plan_run *r, uint64_t off, uint64_t bytes, struct zw_error *err);
/* So many bytes more were read; the last ones are reported when they have arrived. */
int llm_plan_count(struct llm_plan_run *r, uint64_t bytes, struct zw_error *err);
/* n numbers of part->from to part->to, times and plus what the part says. */
void llm_plan_convert(char *dst, const char *src, const struct llm_plan_part *part, uint64_t n);

/*
 * plan_place.c: copies bytes [from, from + len) of a part's tensor to `off` of the buffer from where
 * they are. 0, an error, or 1: they have to be read.
 */
int llm_place_copy(struct llm_plan_run *r, const struct llm_plan_part *part, uint64_t from,
		   uint64_t off, uint64_t len, struct zw_error *err);
/* Whether what libzhenwu says means that memory cannot be given to the device, rather than a failure. */
bool llm_place_is_refusal(int ret);
/* Closes the windows and the ring, at the end of a load that says ret. What the load says. */
int llm_place_end(struct llm_plan_run *r, int ret, struct zw_error *err);

/* plan_unpack.c: parts whose take has an unpack of these kinds. */
int llm_unpack_bits(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err);
int llm_unpack_repeat(struct llm_plan_run *r, const struct llm_plan_part *part,
		      struct zw_error *err);
int llm_unpack_stack(struct llm_plan_run *r, const struct llm_plan_part *part,
		     struct zw_error *err);
int llm_unpack_turn(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err);

#endif
