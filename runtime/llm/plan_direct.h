/* SPDX-License-Identifier: MIT */
/* Tensors from the disk past the page cache, into memory that the device copies from. */
#ifndef LLM_PLAN_DIRECT_H
#define LLM_PLAN_DIRECT_H

#include "plan_run.h"

/*
 * Asks for bytes [f->off, f->off + len) of a file, those of a tensor of the source, at device address
 * va. At most LLM_PIECE_BYTES. 0: they will be there when llm_direct_finish() and then a flush of the
 * copier say so. 1: the file system or the device refused, r->ways.refused says why, and nothing was
 * asked for. An error, of this piece or of one before. Where the refusal comes only with the read the
 * bytes come from the page cache, in the same place.
 */
int llm_direct_copy(struct llm_plan_run *r, const struct llm_source_file *f, size_t tensor,
		    uint64_t va, uint64_t len, struct zw_error *err);
/* Whether asking for more takes as long as the reads do; the ring has filled for the first time. */
bool llm_direct_is_full(const struct llm_plan_run *r);
/* Gives all that was asked for to the copier. */
int llm_direct_finish(struct llm_plan_run *r, struct zw_error *err);
/* Ends the threads and frees the ring; the copier has nothing to do by now. */
void llm_direct_end(struct llm_plan_run *r);

#endif
