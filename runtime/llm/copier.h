/* SPDX-License-Identifier: MIT */
/* Host memory to device memory: staging slots that are filled while others are copied by DMA. */
#ifndef LLM_COPIER_H
#define LLM_COPIER_H

#include <zhenwu/zhenwu.h>

#include "util.h"

struct llm_copier;

int llm_copier_open(struct zw_dev *dev, struct zw_vm *vm, struct llm_copier **out,
		    struct zw_error *err);
/* Cancels what was not waited for; NULL is allowed. */
void llm_copier_close(struct llm_copier *c);
/*
 * Room for up to *bytes bytes that will be copied to dst; *bytes is shortened, to a multiple of 64,
 * when there is less. The caller fills it before the next call.
 */
int llm_copier_reserve(struct llm_copier *c, uint64_t dst, uint64_t *bytes, void **ptr,
		       struct zw_error *err);
/* Copies `bytes` bytes from src to dst. */
int llm_copier_write(struct llm_copier *c, uint64_t dst, const void *src, uint64_t bytes,
		     struct zw_error *err);
/* Submits what is left and waits for all of it. */
int llm_copier_finish(struct llm_copier *c, struct zw_error *err);
/* Simulated time of the copies that were waited for. */
uint64_t llm_copier_sim_ps(const struct llm_copier *c);

/* "what: reason of the first failed job of the queue"; returns code. */
int llm_fail_queue(struct zw_error *err, struct zw_queue *queue, int code, const char *what);

#endif
