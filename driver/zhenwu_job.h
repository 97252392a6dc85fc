/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_JOB_H__
#define __ZHENWU_JOB_H__

#include "zhenwu_compat.h"
#include "zhenwu_gate.h"

struct drm_file;
struct zhenwu_queue;

/**
 * struct zhenwu_job_entry - one job as user space knows it: one entry of the ring
 */
struct zhenwu_job_entry {
	/** @cmd_va: Command buffer. */
	u64 cmd_va;

	/** @result_va: Where the device writes its result record. */
	u64 result_va;

	/** @cmd_bytes: Bytes of the command buffer. */
	u32 cmd_bytes;
};

/**
 * struct zhenwu_job - a run of jobs of one submission
 *
 * Only the first waits for anything and only the last signals something: so they are one to the
 * scheduler, with one fence, one doorbell and one interrupt. It may be a single one.
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

	/**
	 * @seqno: Number of @done, 0 before it is initialised; that of the last entry in the ring
	 * if @in_ring.
	 */
	u64 seqno;

	/** @in_ring: The device got it. */
	bool in_ring;

	/** @error: What the entries that ended come to: 0 or a negative error. */
	int error;

	/** @ended: How many entries the device has completed. */
	u32 ended;

	/** @num_entries: How many there are. */
	u32 num_entries;

	/** @entries: The jobs. */
	struct zhenwu_job_entry entries[] __counted_by(num_entries);
};

/**
 * zhenwu_job_current() - the entry that is next to end
 * @job: job that was run
 *
 * Return: its number in the ring.
 */
static inline u64 zhenwu_job_current(const struct zhenwu_job *job)
{
	return job->seqno - job->num_entries + job->ended + 1;
}

static inline struct zhenwu_job *to_zhenwu_job(struct drm_sched_job *base)
{
	return container_of(base, struct zhenwu_job, base);
}

extern const struct drm_sched_backend_ops zhenwu_sched_ops;

struct zhenwu_job *zhenwu_job_create(struct zhenwu_queue *queue, struct drm_file *file,
				     u32 num_entries);
void zhenwu_job_destroy(struct zhenwu_job *job);
void zhenwu_job_push(struct zhenwu_job *job);
void zhenwu_job_end_locked(struct zhenwu_job *job, int error);

#endif /* __ZHENWU_JOB_H__ */
