/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: moving bytes between host memory and addresses of a VM, in both directions, while
 * other work goes on.
 *
 * A copier has a queue of its own and a ring of staging buffers in system memory. Writes are
 * staged and submitted; reads are submitted and delivered when they are waited for. All transfers
 * of a copier take effect in the order in which they were asked for. They are not ordered against
 * jobs of other queues, except by the copier's fence.
 *
 * Memory that the host can map (system memory, HBM with ZW_BO_CPU_VISIBLE) needs no copier.
 */
#ifndef ZHENWU_COPIER_H
#define ZHENWU_COPIER_H

#include "base.h"
#include "queue.h"
#include "vm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A copier. */
struct zw_copier;

/** How to make a copier. All zero (but size) takes the defaults. */
struct zw_copier_options {
	uint32_t size;       /**< sizeof(struct zw_copier_options) */
	uint32_t priority;   /**< enum zw_queue_priority of its queue; 0 is the lowest */
	uint32_t slots;      /**< staging buffers, 2..64; 0: 4 */
	uint32_t flags;      /**< must be 0 */
	uint64_t slot_bytes; /**< bytes of each, at most 1 GiB, rounded up to pages; 0: 4 MiB */
	int64_t deadline_ns; /**< longest that a call waits for the device, relative; 0: for ever */
};

/**
 * Makes a copier for an address space. It uses one queue of the device.
 * @param opt  NULL for the defaults, at normal priority
 * @return 0; -EINVAL; -ENOSPC when the device has no queue left; -ENOMEM; -ENODEV
 * Thread safe.
 */
ZW_API int zw_copier_create(struct zw_vm *vm, const struct zw_copier_options *opt,
			    struct zw_copier **out);

/**
 * Destroys. What was submitted is waited for; reads that were not waited for are not delivered.
 * Not thread safe for the same copier.
 */
ZW_API void zw_copier_destroy(struct zw_copier *copier);

/**
 * Writes host memory to the VM. When it returns, `src` may be changed; the bytes arrive later, see
 * zw_copier_wait(). Waits only for a free staging buffer.
 *
 * @param dst_va  destination in the VM, any alignment
 * @param bytes   any number, 0 does nothing
 * @param point   may be NULL: receives the point of zw_copier_fence() at which the bytes are there
 * @return 0; -ETIME when no staging buffer came free in time; what zw_queue_status() says when a
 *         transfer failed (the copier is then of no use); -ENODEV
 * Thread safe.
 */
ZW_API int zw_copier_write(struct zw_copier *copier, uint64_t dst_va, const void *src,
			   uint64_t bytes, uint64_t *point);

/**
 * Reads from the VM to host memory. `dst` belongs to the copier until a zw_copier_wait() for
 * *point returned 0, and holds the bytes then. Waits only for a free staging buffer.
 * Arguments and errors as zw_copier_write(). Thread safe.
 */
ZW_API int zw_copier_read(struct zw_copier *copier, void *dst, uint64_t src_va, uint64_t bytes,
			  uint64_t *point);

/**
 * Copies from one address of the VM to another: what is in memory of the program goes without a
 * staging buffer from where zw_bo_from_ptr() has mapped it. The source keeps its bytes and its
 * mapping until a zw_copier_wait() for *point returned 0 or the copier is destroyed. Waits only for
 * a free slot, of which each `slot_bytes` of it take one.
 *
 * @param src_va  source in the VM, any alignment; does not overlap the destination
 * @param point   may be NULL: receives the point of zw_copier_fence() at which the bytes are there
 * @return as zw_copier_write(). Thread safe.
 */
ZW_API int zw_copier_copy(struct zw_copier *copier, uint64_t dst_va, uint64_t src_va,
			  uint64_t bytes, uint64_t *point);

/**
 * Lends a staging buffer to be filled in place, e.g. by read(2), and then sent with
 * zw_copier_send(). Only one may be on loan at a time (-EBUSY).
 * @param bytes  receives its size
 * @return as zw_copier_write(). Thread safe.
 */
ZW_API int zw_copier_lend(struct zw_copier *copier, void **ptr, uint64_t *bytes);

/**
 * Takes the lent staging buffer back and writes its first `bytes` to dst_va; 0 only gives it back.
 * @return as zw_copier_write(); -EINVAL when none is on loan or bytes exceeds its size
 * Thread safe.
 */
ZW_API int zw_copier_send(struct zw_copier *copier, uint64_t dst_va, uint64_t bytes,
			  uint64_t *point);

/**
 * Waits until all transfers up to `point` are done and delivers their reads.
 * @param deadline_ns  absolute, see zw_deadline()
 * @return 0; -ETIME; what zw_queue_status() says when a transfer failed; -ENODEV
 * Thread safe.
 */
ZW_API int zw_copier_wait(struct zw_copier *copier, uint64_t point, int64_t deadline_ns);

/** zw_copier_wait() for everything asked for so far. Thread safe. */
ZW_API int zw_copier_flush(struct zw_copier *copier, int64_t deadline_ns);

/**
 * Simulated time in picoseconds that the transfers took on the device, of those that were waited
 * for: all of them after zw_copier_flush(). Thread safe.
 */
ZW_API uint64_t zw_copier_sim_ps(struct zw_copier *copier);

/**
 * The timeline that writes and reads raise: for jobs that wait for a write, and for zw_fence_wait().
 * Owned by the copier. Thread safe.
 */
ZW_API struct zw_fence *zw_copier_fence(struct zw_copier *copier);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_COPIER_H */
