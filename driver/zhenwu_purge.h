/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_PURGE_H__
#define __ZHENWU_PURGE_H__

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>

struct drm_device;
struct drm_file;
struct shrinker;
struct zhenwu_bo;
struct zhenwu_device;
struct zhenwu_hbm_need;

/**
 * struct zhenwu_purge - buffers whose contents user space can do without
 */
struct zhenwu_purge {
	/**
	 * @lock: Protects the lists. Whoever holds it allocates nothing and only tries
	 * reservations; reclaim only tries it.
	 */
	struct mutex lock;

	/** @hbm: Those in HBM, the longest unused first. */
	struct list_head hbm;

	/** @system: Those in system memory. */
	struct list_head system;

	/** @system_pages: Pages of @system. */
	unsigned long system_pages;

	/** @bytes: What was purged since the driver was bound. */
	atomic64_t bytes;

	/** @shrinker: Has @system purged when the system is short of memory. */
	struct shrinker *shrinker;
};

int zhenwu_purge_init(struct zhenwu_device *zdev);
void zhenwu_purge_forget(struct zhenwu_device *zdev, struct zhenwu_bo *bo);
bool zhenwu_purge_for(struct zhenwu_device *zdev, const struct zhenwu_hbm_need *need);

int zhenwu_ioctl_bo_madvise(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_PURGE_H__ */
