/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_RAS_H__
#define __ZHENWU_RAS_H__

#include <linux/ratelimit.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "zhenwu/zw_fw.h"

struct attribute_group;
struct zhenwu_device;

/* Events that may be on their way; at most ZW_MBOX_EVENTS. */
#define ZHENWU_RAS_EVENTS 16

/**
 * struct zhenwu_ras - errors of the device's memory
 *
 * The firmware posts no more events than it was allowed to, and is allowed more as they are dealt
 * with, a few at a time: one that does not keep to it has its events dropped, one that has much to
 * say has to sum it up.
 */
struct zhenwu_ras {
	/** @lock: Protects all below but @work and @limit; innermost. */
	spinlock_t lock;

	/** @events: Events that @work has not dealt with. */
	struct zw_msg_event_ecc events[ZHENWU_RAS_EVENTS];

	/** @num: Number of them. */
	unsigned int num;

	/** @read: Events that came since the firmware was booted. */
	u32 read;

	/** @allowed: Of those, the number of the last that may come. */
	u32 allowed;

	/** @refilled: Jiffies when more were allowed last. */
	unsigned long refilled;

	/** @corrected: Errors that were corrected. */
	u64 corrected;

	/** @uncorrectable: Errors that were not. */
	u64 uncorrectable;

	/** @dropped: Events that made no sense or should not have come. */
	u64 dropped;

	/** @limit: How often the kernel log is told; of corrected errors, and of others. */
	struct ratelimit_state limit[2];

	/** @work: Deals with @events. */
	struct delayed_work work;
};

void zhenwu_ras_init(struct zhenwu_device *zdev);
void zhenwu_ras_fini(struct zhenwu_device *zdev);
int zhenwu_ras_start(struct zhenwu_device *zdev);
void zhenwu_ras_event(struct zhenwu_device *zdev, const struct zw_msg *msg);

extern const struct attribute_group zhenwu_ras_group;

#endif /* __ZHENWU_RAS_H__ */
