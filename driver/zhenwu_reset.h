/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_RESET_H__
#define __ZHENWU_RESET_H__

#include <linux/atomic.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "drm/zhenwu_accel.h"

struct attribute_group;
struct zhenwu_device;

/**
 * enum zhenwu_state - state of a device
 *
 * Documentation/driver.md has a drawing. Users see it work up to ZHENWU_STATE_WEDGED.
 */
enum zhenwu_state {
	/** @ZHENWU_STATE_BOOTING: Being probed; only probe asks the firmware. */
	ZHENWU_STATE_BOOTING,
	/** @ZHENWU_STATE_LIVE: Works. */
	ZHENWU_STATE_LIVE,
	/** @ZHENWU_STATE_RESETTING: A device reset was asked for or is under way. */
	ZHENWU_STATE_RESETTING,
	/** @ZHENWU_STATE_FLR: A function level reset is under way: nothing is where it was. */
	ZHENWU_STATE_FLR,
	/** @ZHENWU_STATE_SUSPENDED: It sleeps, or the system does. */
	ZHENWU_STATE_SUSPENDED,
	/** @ZHENWU_STATE_WEDGED: A reset failed. It does no DMA and never will. */
	ZHENWU_STATE_WEDGED,
	/** @ZHENWU_STATE_STOPPING: Being removed. */
	ZHENWU_STATE_STOPPING,
	/** @ZHENWU_STATE_STOPPED: It does no DMA and never will. */
	ZHENWU_STATE_STOPPED,
	/** @ZHENWU_STATE_COUNT: Number of states. */
	ZHENWU_STATE_COUNT,
};

/* Reasons and rungs there are. */
#define ZHENWU_RESET_REASONS	(DRM_ZHENWU_RESET_PCI_ERROR + 1)
#define ZHENWU_RESET_RUNGS	(DRM_ZHENWU_RESET_LOST + 1)

/**
 * struct zhenwu_reset_stats - resets since the driver was bound
 */
struct zhenwu_reset_stats {
	/** @reasons: How many by &enum drm_zhenwu_reset_reason. */
	u64 reasons[ZHENWU_RESET_REASONS];

	/** @rungs: How many by &enum drm_zhenwu_reset_rung. */
	u64 rungs[ZHENWU_RESET_RUNGS];

	/** @last_ns: When the last began, CLOCK_BOOTTIME. */
	u64 last_ns;

	/** @last_reason: Its reason, or DRM_ZHENWU_RESET_NEVER. */
	u32 last_reason;
};

/**
 * struct zhenwu_reset - state of a device, and how it changes
 */
struct zhenwu_reset {
	/** @wq: Ordered: resets and progress checks never overlap. */
	struct workqueue_struct *wq;

	/** @work: Resets the device. */
	struct work_struct work;

	/**
	 * @revoke: Takes doorbells away that were given out before a reset. Not part of @work: jobs
	 * wait for that one, and this one may wait for anything.
	 */
	struct work_struct revoke;

	/** @lock: Serialises changes of @state. */
	spinlock_t lock;

	/** @state: &enum zhenwu_state. */
	enum zhenwu_state state;

	/** @wait: Woken when @state or the session of the mailbox changes. */
	wait_queue_head_t wait;

	/** @aperture: Held for reading while pages of the aperture are given to user space. */
	struct rw_semaphore aperture;

	/** @count: Resets, for user space: grows before jobs are told. */
	u32 count;

	/** @reason: &enum drm_zhenwu_reset_reason of the reset that is under way. */
	u32 reason;

	/** @noted: It is in @count and @stats. */
	bool noted;

	/** @stats: Resets in detail; under @lock. */
	struct zhenwu_reset_stats stats;

	/**
	 * @rescue: Gives the device up when a reset of the bus does not come: of one that fails
	 * the PCI core does not tell.
	 */
	struct delayed_work rescue;

	/** @bus: A reset of the bus is waited for; who takes it away ends the wait. */
	atomic_t bus;

	/** @told: User space was told that the device is lost. */
	atomic_t told;

	/** @gen: Resets that are over. */
	u32 gen;

	/** @jobs_over: A reset is under way that has ended the jobs of before. */
	bool jobs_over;
};

void zhenwu_reset_init(struct zhenwu_device *zdev);
void zhenwu_reset_live(struct zhenwu_device *zdev);
void zhenwu_reset_schedule(struct zhenwu_device *zdev, enum drm_zhenwu_reset_reason reason);
void zhenwu_reset_wait(struct zhenwu_device *zdev, u32 gen);
void zhenwu_reset_wait_jobs(struct zhenwu_device *zdev, u32 gen);
void zhenwu_reset_stop(struct zhenwu_device *zdev);
bool zhenwu_reset_sleep(struct zhenwu_device *zdev);
void zhenwu_reset_wake(struct zhenwu_device *zdev, int ret);
int zhenwu_reset_announce_all(struct zhenwu_device *zdev);
void zhenwu_reset_lose_queues(struct zhenwu_device *zdev, u32 reason, int error);
void zhenwu_reset_lose_vms(struct zhenwu_device *zdev);
void zhenwu_reset_tell(struct zhenwu_device *zdev);
void zhenwu_reset_flr_prepare(struct pci_dev *pdev);
void zhenwu_reset_flr_done(struct pci_dev *pdev);
pci_ers_result_t zhenwu_reset_pci_error(struct pci_dev *pdev, pci_channel_state_t channel);
pci_ers_result_t zhenwu_reset_pci_mmio(struct pci_dev *pdev);
pci_ers_result_t zhenwu_reset_pci_slot(struct pci_dev *pdev);
void zhenwu_reset_pci_resume(struct pci_dev *pdev);

void zhenwu_reset_stats_init(struct zhenwu_device *zdev);
void zhenwu_reset_note_reason(struct zhenwu_device *zdev);
void zhenwu_reset_note_rung(struct zhenwu_device *zdev, enum drm_zhenwu_reset_rung rung);
const char *zhenwu_reset_reason_name(u32 reason);
void zhenwu_reset_query(struct zhenwu_device *zdev, struct drm_zhenwu_dev_resets *out);

extern const struct attribute_group zhenwu_resets_group;

bool zhenwu_aperture_enter(struct zhenwu_device *zdev);
void zhenwu_aperture_exit(struct zhenwu_device *zdev);

#endif /* __ZHENWU_RESET_H__ */
