/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: queues, jobs and their errors.
 */
#ifndef ZHENWU_QUEUE_H
#define ZHENWU_QUEUE_H

#include "base.h"
#include "fence.h"
#include "vm.h"
#include "zhenwu/zw_fw.h"    /* enum zw_queue_priority */
#include "zhenwu/zw_pte.h"   /* enum zw_fault, enum zw_access */
#include "zhenwu/zw_queue.h" /* struct zw_job_result, enum zw_job_status, enum zw_reason */

#ifdef __cplusplus
extern "C" {
#endif

/** A queue: jobs run in order, one after the other; different queues are independent. */
struct zw_queue;

/** What kind of queue. */
enum zw_queue_create_flags {
	/**
	 * A user-mode queue, on an address space with ZW_VM_LONG_RUNNING, where it may be left out:
	 * every queue there is one. zw_queue_submit() writes to memory and rings a doorbell, waiting
	 * looks at memory for 0.2 ms before it sleeps: neither costs a system call then. What is
	 * different:
	 *  - zw_queue_submit() waits for room in the ring. A job that waits for a semaphore of the
	 *    thread that submits can keep it waiting for ever.
	 *  - A job can only wait (ZW_SYNC_WAIT) for what is reached already, or what an earlier job of
	 *    this queue raises: -EOPNOTSUPP. Between queues there are semaphore packets.
	 *  - A fence that such jobs raise is theirs and the host's: it must be new or have been theirs
	 *    before (-EINVAL), and jobs of other queues can neither raise it (-EINVAL) nor wait for it
	 *    (-EOPNOTSUPP). It has no eventfd, no descriptor and no sync file (-EOPNOTSUPP).
	 *  - zw_bo_wait() does not know of the jobs.
	 *  - No job is ended for waiting in a semaphore packet.
	 */
	ZW_QUEUE_USER = 1 << 0,
	/**
	 * Counts what it does, for zw_queue_get_perf(): -EOPNOTSUPP on a driver before 2.7 or with
	 * firmware that does not count. On drm the device does not sleep by itself any more once the
	 * zw_dev has had such a queue. With ZW_DEV_TRACE every queue is one.
	 */
	ZW_QUEUE_PERF = 1 << 1,
};

/** How to make a queue. */
struct zw_queue_options {
	uint32_t size;       /**< sizeof(struct zw_queue_options) */
	uint32_t priority;   /**< enum zw_queue_priority */
	uint32_t ring_slots; /**< jobs in flight: power of two, 8..1024; 0: 64 */
	uint32_t flags;      /**< enum zw_queue_create_flags */
};

/**
 * Makes a queue on an address space.
 * @param opt  NULL: normal priority, 64 slots
 * @return 0; -EINVAL, also for a user-mode queue on an address space that is not long-running; -EACCES for a priority this
 *         process may not use; -ENOSPC when the device has no queue left; -EOPNOTSUPP as the flags say; -ENOMEM; -ENODEV
 * Thread safe.
 */
ZW_API int zw_queue_create(struct zw_vm *vm, const struct zw_queue_options *opt,
			   struct zw_queue **out);

/** Destroys; unfinished jobs are cancelled and their fences signalled. Not thread safe for the same
 * queue. */
ZW_API void zw_queue_destroy(struct zw_queue *queue);

/** Most syncs of one job. */
#define ZW_JOB_MAX_SYNCS   64
/** Most jobs of one zw_queue_submit(), if the ring has that many slots. */
#define ZW_SUBMIT_MAX_JOBS 64

/** A job. */
struct zw_job {
	uint32_t size;      /**< sizeof(struct zw_job), also the stride of arrays */
	uint32_t flags;     /**< must be 0 */
	uint64_t cmd_va;    /**< command buffer in the queue's VM, 16-byte aligned; 0: empty job */
	uint32_t cmd_bytes; /**< its length, multiple of 16, at most 16 MiB */
	uint32_t num_syncs; /**< at most ZW_JOB_MAX_SYNCS */
	uint64_t result_va; /**< where the device writes struct zw_job_result, 64-byte aligned; 0:
			       nowhere */
	const struct zw_sync *syncs; /**< read during the call only */
};

/**
 * Submits jobs. All or nothing: on failure none was submitted and no fence changed.
 *
 * The device reads the command buffers after this returned: leave them alone until the jobs are
 * done. Does not wait for room in the ring: further jobs are held back in order (by the kernel on
 * drm).
 *
 * @param count  1 to the smaller of ZW_SUBMIT_MAX_JOBS and the slots of the ring
 * @return 0; -EINVAL for malformed jobs, a wait on a point that nothing submitted will reach, or a
 *         signal of a point not above all earlier ones, or of another device's fence; -EOPNOTSUPP
 *         for a wait on another device's fence that this one cannot do; -ECANCELED when an earlier job of the queue
 *         failed; -ENOMEM; -ENODEV
 * Thread safe; the jobs of one call stay together.
 */
ZW_API int zw_queue_submit(struct zw_queue *queue, const struct zw_job *jobs, uint32_t count);

/**
 * Submits one job and waits for it: the synchronous way for tools and tests.
 * @return 0 when the job was done and all is well; -ETIME when the deadline passed (the job may
 * still be running); what zw_queue_status() says when it failed; else as zw_queue_submit() Thread
 * safe.
 */
ZW_API int zw_queue_run(struct zw_queue *queue, uint64_t cmd_va, uint32_t cmd_bytes,
			uint64_t result_va, int64_t deadline_ns);

/** Waits until every job submitted so far is done. Returns as zw_queue_run(). Thread safe. */
ZW_API int zw_queue_drain(struct zw_queue *queue, int64_t deadline_ns);

/** State of a queue. */
enum zw_queue_flags {
	ZW_QUEUE_FAILED = 1 << 0,   /**< a job failed; the error fields are valid */
	ZW_QUEUE_TIMEDOUT = 1 << 1, /**< it made no progress and was reset */
	ZW_QUEUE_INNOCENT = 1 << 2, /**< stopped by a device reset that another queue caused */
	ZW_QUEUE_FLR = 1 << 3,     /**< stopped by a function level reset; its VM lost its memory */
	ZW_QUEUE_REMOVED = 1 << 4, /**< stopped because the device was removed */
};

/** State of a queue and its first error. */
struct zw_queue_error {
	uint32_t size;         /**< in: sizeof; out: bytes filled */
	uint32_t state;        /**< enum zw_queue_flags; 0: all well */
	uint32_t status;       /**< enum zw_job_status of the first failed job */
	uint32_t reason;       /**< enum zw_reason or enum zw_fault, by status */
	uint32_t packet_index; /**< 0-based */
	uint32_t fault_access; /**< enum zw_access */
	uint64_t fault_va;     /**< address of a fault */
	uint64_t failed_job;   /**< its number; jobs of a queue count from 1 */
	uint64_t submitted;    /**< jobs submitted */
	uint64_t completed;    /**< jobs that the device completed, well or not */
};

/** Reads the state. 0 or -ENODEV. Thread safe. */
ZW_API int zw_queue_get_error(struct zw_queue *queue, struct zw_queue_error *info);

/**
 * 0 when no job failed; -EIO refused, faulted or bad data; -ENOMEM; -ETIME hung; -ECANCELED;
 * -ENODEV. A failed queue stays failed: destroy it and make a new one. Thread safe.
 */
ZW_API int zw_queue_status(struct zw_queue *queue);

/** One line about an error: "job 3, packet 7: refused: shapes do not agree". Cuts; always
 * NUL-terminated. Thread safe. */
ZW_API void zw_queue_error_text(const struct zw_queue_error *info, char *buf, size_t len);

/** "ok", "refused", "fault", ...; never NULL, "unknown" for values not in the enum. Thread safe. */
ZW_API const char *zw_job_status_name(uint32_t status);
/** Text of an enum zw_reason. Thread safe. */
ZW_API const char *zw_reason_name(uint32_t reason);
/** Text of an enum zw_fault. Thread safe. */
ZW_API const char *zw_fault_name(uint32_t fault);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_QUEUE_H */
