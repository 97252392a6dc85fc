/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_HBM_H__
#define __ZHENWU_HBM_H__

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "zhenwu_compat.h"

struct zhenwu_device;

/**
 * enum zhenwu_hbm_place - where an allocation may lie
 */
enum zhenwu_hbm_place {
	/** @ZHENWU_HBM_ANY: Anywhere, outside of the aperture while there is room. */
	ZHENWU_HBM_ANY,
	/** @ZHENWU_HBM_VISIBLE: Where the CPU reaches it. */
	ZHENWU_HBM_VISIBLE,
};

/* Most pages that are retired; with more a device is of no use. */
#define ZHENWU_HBM_MAX_BAD 256

/**
 * struct zhenwu_bad_page - a page that failed
 */
struct zhenwu_bad_page {
	/** @addr: Its HBM address. */
	u64 addr;

	/** @retired: Nobody has it or will get it; else it is waited for. */
	bool retired;
};

/**
 * struct zhenwu_hbm - HBM allocator
 *
 * Invariant: free memory holds zeroes. The whole of HBM is scrubbed when the driver binds, and
 * freed blocks are scrubbed before the buddy allocator gets them back.
 */
struct zhenwu_hbm {
	/** @lock: Protects all below. */
	struct mutex lock;

	/** @mm: Buddy allocator over HBM addresses. */
	struct gpu_buddy mm;

	/**
	 * @reserved: The first pages, which are zhenwu_copy.c's: zero is never a valid address. And
	 * the page tables' part, what cannot be scrubbed, and retired pages.
	 */
	struct list_head reserved;

	/** @tables: Memory for page tables that no buffer can take. */
	struct {
		/** @tables.base: HBM address of the first. */
		u64 base;
		/** @tables.count: Number of tables. */
		unsigned int count;
		/** @tables.map: Which are in use. */
		unsigned long *map;
	} tables;

	/** @bad: Pages that failed: zhenwu_hbm_bad.c. */
	struct {
		/** @bad.pages: The pages, in the order in which they did. */
		struct zhenwu_bad_page pages[ZHENWU_HBM_MAX_BAD];
		/** @bad.count: Number of them. */
		unsigned int count;
		/** @bad.retired: How many are retired. */
		unsigned int retired;
	} bad;

	/** @dirty: Freed blocks that wait for @scrub. */
	struct list_head dirty;

	/** @dirty_bytes: Bytes in @dirty, and in the hands of @scrub. */
	u64 dirty_bytes;

	/** @scrubbed: Blocks that left @dirty, to see that there was one more. */
	unsigned int scrubbed;

	/** @wait: Woken when @scrubbed or @wq changes. */
	wait_queue_head_t wait;

	/** @wq: Workqueue of @scrub; NULL when it was stopped. */
	struct workqueue_struct *wq;

	/** @scrub: Zeroes freed blocks. */
	struct work_struct scrub;
};

int zhenwu_hbm_init(struct zhenwu_device *zdev);
void zhenwu_hbm_stop(struct zhenwu_device *zdev);
int zhenwu_hbm_scrub_all(struct zhenwu_device *zdev);
int zhenwu_hbm_scrub_boot(struct zhenwu_device *zdev);
int zhenwu_hbm_alloc(struct zhenwu_device *zdev, u64 size, enum zhenwu_hbm_place place,
		     struct list_head *blocks);
void zhenwu_hbm_free(struct zhenwu_device *zdev, struct list_head *blocks);
void zhenwu_hbm_free_clean(struct zhenwu_device *zdev, struct list_head *blocks);
int zhenwu_hbm_alloc_table(struct zhenwu_device *zdev, u64 *addr);
void zhenwu_hbm_free_table(struct zhenwu_device *zdev, u64 addr);
bool zhenwu_hbm_is_in(struct zhenwu_device *zdev, const struct list_head *blocks,
		      enum zhenwu_hbm_place place);
u64 zhenwu_hbm_free_bytes(struct zhenwu_device *zdev);

int zhenwu_hbm_retire(struct zhenwu_device *zdev, u64 page);
void zhenwu_hbm_settle_bad(struct zhenwu_hbm *hbm);
bool zhenwu_hbm_keep_bad_table(struct zhenwu_hbm *hbm, u64 page);
bool zhenwu_hbm_page_bad(struct zhenwu_device *zdev, u64 page);
bool zhenwu_hbm_has_bad(struct zhenwu_device *zdev, struct list_head *blocks);

#endif /* __ZHENWU_HBM_H__ */
