/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_COREDUMP_H__
#define __ZHENWU_COREDUMP_H__

#include <linux/types.h>

struct zhenwu_device;
struct zhenwu_queue;
struct zhenwu_snapshot;

/**
 * enum zhenwu_coredump_cause - what a dump is made of
 */
enum zhenwu_coredump_cause {
	/** @ZHENWU_COREDUMP_HANG: A queue did not get on. */
	ZHENWU_COREDUMP_HANG,
	/** @ZHENWU_COREDUMP_JOB: A job ended by a failure of the device, not by its own fault. */
	ZHENWU_COREDUMP_JOB,
	/** @ZHENWU_COREDUMP_RESET: The device has to be reset. */
	ZHENWU_COREDUMP_RESET,
	/** @ZHENWU_COREDUMP_PCI: PCI Express reported an error. */
	ZHENWU_COREDUMP_PCI,
};

#ifdef CONFIG_DEV_COREDUMP
int zhenwu_coredump_init(struct zhenwu_device *zdev);
void zhenwu_coredump_fini(struct zhenwu_device *zdev);
void zhenwu_coredump_take(struct zhenwu_device *zdev, enum zhenwu_coredump_cause cause,
			  struct zhenwu_queue *queue);
void zhenwu_coredump_job_locked(struct zhenwu_queue *queue);
#else
static inline int zhenwu_coredump_init(struct zhenwu_device *zdev)
{
	return 0;
}

static inline void zhenwu_coredump_fini(struct zhenwu_device *zdev)
{
}

static inline void zhenwu_coredump_take(struct zhenwu_device *zdev,
					enum zhenwu_coredump_cause cause,
					struct zhenwu_queue *queue)
{
}

static inline void zhenwu_coredump_job_locked(struct zhenwu_queue *queue)
{
}
#endif

#endif /* __ZHENWU_COREDUMP_H__ */
