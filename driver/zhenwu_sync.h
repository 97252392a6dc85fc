/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_SYNC_H__
#define __ZHENWU_SYNC_H__

#include <linux/types.h>

struct dma_fence;
struct drm_file;
struct drm_gpu_scheduler;
struct drm_syncobj;
struct drm_zhenwu_obj_array;
struct drm_zhenwu_sync_op;
struct zhenwu_gate;
struct zhenwu_sync_signal;

/**
 * struct zhenwu_syncs - what a call waits for and signals
 *
 * A call makes steps, one after another, each with its own gate and its own fence: runs of jobs of
 * a submission, operations of a bind.
 */
struct zhenwu_syncs {
	/** @file: Client. */
	struct drm_file *file;

	/**
	 * @sched: Scheduler that carries out the steps in order: its own fences are not waited for.
	 * NULL: there is none.
	 */
	const struct drm_gpu_scheduler *sched;

	/** @signals: What to signal. */
	struct zhenwu_sync_signal *signals;

	/** @num_signals: Number of them. */
	u32 num_signals;

	/** @max_signals: Room for them. */
	u32 max_signals;
};

struct drm_zhenwu_sync_op *zhenwu_syncs_copy(const struct drm_zhenwu_obj_array *array);
int zhenwu_syncs_add(struct zhenwu_syncs *syncs, u32 step, const struct drm_zhenwu_sync_op *ops,
		     u32 count, struct zhenwu_gate *gate);
void zhenwu_syncs_signal(struct zhenwu_syncs *syncs, struct dma_fence **fences);
void zhenwu_syncs_fini(struct zhenwu_syncs *syncs);

#endif /* __ZHENWU_SYNC_H__ */
