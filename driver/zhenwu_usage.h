/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_USAGE_H__
#define __ZHENWU_USAGE_H__

#include <linux/spinlock.h>
#include <linux/types.h>

struct zhenwu_client;
struct zhenwu_device;
struct zhenwu_queue;

/**
 * struct zhenwu_usage - how long a device was busy
 */
struct zhenwu_usage {
	/** @lock: Protects all below, and what clients and queues have of it; innermost. */
	spinlock_t lock;

	/** @active: Queues with work on the device now. */
	unsigned int active;

	/** @last_ns: When the times below were up to date; CLOCK_MONOTONIC. */
	u64 last_ns;

	/** @busy_ns: How long there was any. */
	u64 busy_ns;

	/** @share_ns: What a queue that was always active has got of it. */
	u64 share_ns;
};

/**
 * struct zhenwu_client_usage - what a client has of it
 */
struct zhenwu_client_usage {
	/** @ended_ns: Time of queues while they were active, which ended. */
	u64 ended_ns;

	/** @since_ns: Sum of share_ns when those that are active became so. */
	u64 since_ns;

	/** @active: Number of those. */
	unsigned int active;

	/** @device_ps: The device's own time in its jobs. */
	u64 device_ps;

	/** @jobs: Jobs that the device completed. */
	u64 jobs;
};

/**
 * struct zhenwu_queue_usage - what is known of a queue
 */
struct zhenwu_queue_usage {
	/** @active: It has work on the device. */
	bool active;

	/** @since_ns: share_ns when that began. */
	u64 since_ns;
};

void zhenwu_usage_init(struct zhenwu_device *zdev);
void zhenwu_usage_set(struct zhenwu_queue *queue, bool active);
void zhenwu_usage_job(struct zhenwu_queue *queue, u64 start_ps, u64 end_ps);
u64 zhenwu_usage_busy_ns(struct zhenwu_device *zdev);
void zhenwu_usage_client(struct zhenwu_client *client, u64 *busy_ns, u64 *device_ns, u64 *jobs);

#endif /* __ZHENWU_USAGE_H__ */
