/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_JOB_H__
#define __ZHENWU_JOB_H__

#include "zhenwu_compat.h"
#include "zhenwu_gate.h"

struct drm_file;
struct zhenwu_queue;

/**
 * struct zhenwu_job - one job
 */
struct zhenwu_job {
	/** @base: Scheduler job. */
	struct drm_sched_job base;

	/** @queue: Queue, with a reference. */
	struct zhenwu_queue *queue;

	/** @done: Fence of the ring, allocated with the job so that running it needs no memory. */
	struct dma_fence *done;

	/** @gate: What it waits for before it runs. */
	struct zhenwu_gate gate;

	/**
	 * @node: Entry in the queue's list of jobs that wait to be run, then in that of jobs that
	 * were run and have not ended.
	 */
	struct list_head node;

	/** @seqno: Number of @done, 0 before it is initialised; that in the ring if @in_ring. */
	u64 seqno;

	/** @in_ring: The device got it. */
	bool in_ring;

	/** @cmd_va: Command buffer. */
	u64 cmd_va;

	/** @result_va: Where the device writes its result record. */
	u64 result_va;

	/** @cmd_bytes: Bytes of the command buffer. */
	u32 cmd_bytes;
};

static inline struct zhenwu_job *to_zhenwu_job(struct drm_sched_job *base)
{
	return container_of(base, struct zhenwu_job, base);
}

extern const struct drm_sched_backend_ops zhenwu_sched_ops;

struct zhenwu_job *zhenwu_job_create(struct zhenwu_queue *queue, struct drm_file *file);
void zhenwu_job_destroy(struct zhenwu_job *job);
void zhenwu_job_push(struct zhenwu_job *job);
void zhenwu_job_end_locked(struct zhenwu_job *job, int error);

#endif /* __ZHENWU_JOB_H__ */
