/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: fences, the timelines that order jobs, devices and the host.
 */
#ifndef ZHENWU_FENCE_H
#define ZHENWU_FENCE_H

#include "base.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A timeline: a 64-bit value that only grows. Jobs and the host raise it, jobs and the host wait
 * for it. On drm it is a timeline syncobj.
 */
struct zw_fence;

/** Makes a timeline with value 0. Thread safe. */
ZW_API int zw_fence_create(struct zw_dev *dev, struct zw_fence **out);

/** Destroys. Submitted jobs that name it are not disturbed. Not thread safe for the same fence. */
ZW_API void zw_fence_destroy(struct zw_fence *fence);

/**
 * Waits until the timeline has reached `point`, also when nothing was submitted yet that raises it.
 *
 * A failed job raises its points like a good one, so that nobody waits forever: ask
 * zw_queue_status() before using results.
 *
 * @return 0; -ETIME when the deadline passed; -ENODEV when the device is lost
 * Thread safe.
 */
ZW_API int zw_fence_wait(struct zw_fence *fence, uint64_t point, int64_t deadline_ns);

/** Reads the value reached so far. Thread safe. */
ZW_API int zw_fence_query(struct zw_fence *fence, uint64_t *value);

/** Raises the timeline from the host. -EINVAL unless point is above every point given out so far.
 * Thread safe. */
ZW_API int zw_fence_signal(struct zw_fence *fence, uint64_t point);

/** A point of a timeline. */
struct zw_fence_point {
	struct zw_fence *fence;
	uint64_t point;
};

/** What a job or a bind does with a fence. */
enum zw_sync_flags {
	ZW_SYNC_WAIT = 0,        /**< start after the fence reached the point */
	ZW_SYNC_SIGNAL = 1 << 0, /**< raise the fence to the point at the end */
};

/**
 * One synchronisation of a job (struct zw_job) or a bind (struct zw_bind). A fence of another device
 * may be waited for, not signalled: on drm, one of another drm device; on sim, any.
 */
struct zw_sync {
	struct zw_fence *fence;
	/** Wait: something that raises the fence this far must have been submitted already. Signal:
	 * must be above every point given out so far. */
	uint64_t point;
	uint32_t flags; /**< enum zw_sync_flags */
	uint32_t reserved;
};

/** How to wait for several points. */
enum zw_fence_wait_flags {
	ZW_FENCE_WAIT_ALL = 0,      /**< until every one is reached */
	ZW_FENCE_WAIT_ANY = 1 << 0, /**< until one is reached */
};

/** Most points of one zw_fence_wait_many(). */
#define ZW_FENCE_WAIT_MAX 256

/**
 * Waits for several points, of fences of any devices.
 *
 * @param count  1..ZW_FENCE_WAIT_MAX
 * @param flags  enum zw_fence_wait_flags
 * @param first  may be NULL; with ANY: receives the lowest index that is reached
 * @return as zw_fence_wait(); -EINVAL; -EMFILE
 * Thread safe.
 */
ZW_API int zw_fence_wait_many(const struct zw_fence_point *points, uint32_t count, uint32_t flags,
			      int64_t deadline_ns, uint32_t *first);

/**
 * Adds 1 to an eventfd once the timeline has reached `point`, at once if it has; also when the
 * device is lost, so that nobody polls for ever. This is how fences join an event loop.
 *
 * @param fd  an eventfd(2) of the caller's, which may be closed afterwards
 * @return 0; -EBADF, -EINVAL not an eventfd; -ENOMEM; -EOPNOTSUPP before Linux 6.6
 * Thread safe.
 */
ZW_API int zw_fence_eventfd(struct zw_fence *fence, uint64_t point, int fd);

/**
 * A file descriptor that stands for the timeline, to be given to zw_fence_import(), also by another
 * process. The caller closes it.
 * @return 0; -EOPNOTSUPP on sim, whose timelines live in this process; -EMFILE; -ENODEV
 * Thread safe.
 */
ZW_API int zw_fence_export(struct zw_fence *fence, int *fd);

/**
 * The timeline behind a descriptor of zw_fence_export(), which stays the caller's. Points that
 * others gave out are not known here: a job may wait for any point of it.
 * @return 0; -EINVAL not a timeline; -EOPNOTSUPP on sim; -ENOMEM
 * Thread safe.
 */
ZW_API int zw_fence_import(struct zw_dev *dev, int fd, struct zw_fence **out);

/**
 * One point as a sync file (linux/sync_file.h), for APIs of other drivers. The point has to be
 * submitted. The caller closes it.
 * @return 0; -EINVAL nothing submitted raises the timeline that far; -EOPNOTSUPP on sim; -EMFILE
 * Thread safe.
 */
ZW_API int zw_fence_export_sync_file(struct zw_fence *fence, uint64_t point, int *fd);

/**
 * Makes `point` of the timeline one that is reached when a sync file of any driver is. The point has
 * to be above every point given out so far. The descriptor stays the caller's.
 * @return 0; -EINVAL; -EOPNOTSUPP on sim
 * Thread safe.
 */
ZW_API int zw_fence_import_sync_file(struct zw_fence *fence, uint64_t point, int fd);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_FENCE_H */
