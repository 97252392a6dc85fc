/* SPDX-License-Identifier: MIT */
/* Inside of carrying plans out. */
#ifndef LLM_PLAN_RUN_H
#define LLM_PLAN_RUN_H

#include "plan.h"

struct llm_plan_run {
	const struct llm_plan *p;
	struct zw_copier *c;
	uint64_t va, done;
	int (*progress)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
	char *raw, *dense; /* what was read, what is copied */
	size_t raw_bytes, dense_bytes;
};

/* Room in raw and dense. */
int llm_plan_room(struct llm_plan_run *r, uint64_t raw, uint64_t dense, struct zw_error *err);
/* Copies `bytes` of dense to a place in the buffer. */
int llm_plan_write(struct llm_plan_run *r, uint64_t off, uint64_t bytes, struct zw_error *err);
/* So many bytes more were read; the last ones are reported when they have arrived. */
int llm_plan_count(struct llm_plan_run *r, uint64_t bytes, struct zw_error *err);
/* n numbers of part->from to part->to, times and plus what the part says. */
void llm_plan_convert(char *dst, const char *src, const struct llm_plan_part *part, uint64_t n);

/* plan_unpack.c: parts whose take has an unpack of these kinds. */
int llm_unpack_bits(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err);
int llm_unpack_repeat(struct llm_plan_run *r, const struct llm_plan_part *part,
		      struct zw_error *err);
int llm_unpack_stack(struct llm_plan_run *r, const struct llm_plan_part *part,
		     struct zw_error *err);
int llm_unpack_turn(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err);

#endif
