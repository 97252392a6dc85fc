/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_EVICT_H__
#define __ZHENWU_EVICT_H__

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>

struct zhenwu_bo;
struct zhenwu_device;
struct zhenwu_hbm_need;
struct zhenwu_vm;

/**
 * struct zhenwu_evict - buffers that were moved out of HBM because others needed the room
 */
struct zhenwu_evict {
	/**
	 * @lock: One buffer is moved at a time: held by zhenwu_move.c, inside of reservations,
	 * from the allocation of its new memory until it has it. Jobs are not waited for under it.
	 */
	struct mutex lock;

	/** @list: Buffers that are in system memory now; under the lock of all buffers. */
	struct list_head list;

	/** @pages: Pages they take; the same. */
	u64 pages;

	/** @rounds: Rounds of searches, of which each tries each buffer once. */
	atomic64_t rounds;

	/** @bytes_out: What was moved out of HBM since the driver was bound. */
	atomic64_t bytes_out;

	/** @bytes_in: What was moved back. */
	atomic64_t bytes_in;
};

int zhenwu_evict_init(struct zhenwu_device *zdev);
int zhenwu_evict_bo(struct zhenwu_bo *bo);
int zhenwu_evict_for(struct zhenwu_device *zdev, const struct zhenwu_hbm_need *need);
void zhenwu_evict_restore(struct zhenwu_vm *vm);
void zhenwu_evict_drop_pages(struct zhenwu_device *zdev, struct zhenwu_bo *bo);

#endif /* __ZHENWU_EVICT_H__ */
