// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sync operations of user space: syncobjs that SUBMIT and VM_BIND wait for and signal.
 */

#include <linux/dma-fence-chain.h>
#include <linux/slab.h>

#include <drm/drm_file.h>
#include <drm/drm_syncobj.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_compat.h"
#include "zhenwu_drv.h"
#include "zhenwu_gate.h"
#include "zhenwu_sync.h"

/* Of one step. Callers bound the number of all: each wait is compared with each earlier signal. */
#define ZHENWU_SYNC_MAX		64

#define ZHENWU_SYNC_MIN_SIZE	offsetofend(struct drm_zhenwu_sync_op, timeline_value)

#define ZHENWU_SYNC_FLAGS ((u32)(DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_MASK | DRM_ZHENWU_SYNC_OP_SIGNAL))

/**
 * struct zhenwu_sync_signal - a syncobj to be signalled
 */
struct zhenwu_sync_signal {
	/** @syncobj: Syncobj, with a reference. */
	struct drm_syncobj *syncobj;

	/** @chain: Link for a timeline point; NULL for a binary one. */
	struct dma_fence_chain *chain;

	/** @handle: Its handle. */
	u32 handle;

	/** @step: Index of the step that signals it. */
	u32 step;

	/** @point: Timeline point, 0 for a binary one. */
	u64 point;
};

/**
 * zhenwu_syncs_copy() - copy the sync operations of a step from user space
 * @array: where they are
 *
 * Return: as zhenwu_copy_array().
 */
struct drm_zhenwu_sync_op *zhenwu_syncs_copy(const struct drm_zhenwu_obj_array *array)
{
	return zhenwu_copy_array(array, ZHENWU_SYNC_MIN_SIZE, sizeof(struct drm_zhenwu_sync_op),
				 ZHENWU_SYNC_MAX);
}

/* Does an earlier step of the same call signal it? Then the order is all the waiting there is. */
static bool zhenwu_syncs_signals_earlier(struct zhenwu_syncs *syncs, u32 step,
					 const struct drm_zhenwu_sync_op *op)
{
	u32 i;

	for (i = 0; i < syncs->num_signals; i++) {
		const struct zhenwu_sync_signal *sig = &syncs->signals[i];

		if (sig->step < step && sig->handle == op->handle &&
		    !!sig->point == !!op->timeline_value && sig->point >= op->timeline_value)
			return true;
	}
	return false;
}

static int zhenwu_syncs_add_wait(struct zhenwu_syncs *syncs, u32 step,
				 const struct drm_zhenwu_sync_op *op, struct zhenwu_gate *gate)
{
	struct drm_sched_fence *own;
	struct dma_fence *fence;
	int ret;

	if (zhenwu_syncs_signals_earlier(syncs, step, op))
		return 0;
	ret = drm_syncobj_find_fence(syncs->file, op->handle, op->timeline_value, 0, &fence);
	if (ret)
		return ret;
	/* Jobs of a queue run in the order they are submitted in: that is waiting enough. */
	own = to_drm_sched_fence(fence);
	if (own && own->sched == syncs->sched) {
		dma_fence_put(fence);
		return 0;
	}
	/* Takes the reference, also when it fails. */
	return zhenwu_gate_add(gate, fence);
}

static int zhenwu_syncs_add_signal(struct zhenwu_syncs *syncs, u32 step,
				   const struct drm_zhenwu_sync_op *op)
{
	struct zhenwu_sync_signal *sig = &syncs->signals[syncs->num_signals];

	if (WARN_ON(syncs->num_signals >= syncs->max_signals))
		return -EINVAL;
	sig->syncobj = drm_syncobj_find(syncs->file, op->handle);
	if (!sig->syncobj)
		return -ENOENT;
	if (op->timeline_value) {
		sig->chain = dma_fence_chain_alloc();
		if (!sig->chain) {
			drm_syncobj_put(sig->syncobj);
			return -ENOMEM;
		}
	}
	sig->handle = op->handle;
	sig->point = op->timeline_value;
	sig->step = step;
	syncs->num_signals++;
	return 0;
}

static int zhenwu_syncs_grow(struct zhenwu_syncs *syncs, u32 count)
{
	struct zhenwu_sync_signal *signals;
	u32 max = syncs->num_signals + count;

	if (max <= syncs->max_signals)
		return 0;
	/* Thousands of steps may come, each with a few. */
	max = max(max, 2 * syncs->max_signals);
	signals = kvmalloc_array(max, sizeof(*signals), GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!signals)
		return -ENOMEM;
	if (syncs->num_signals)
		memcpy(signals, syncs->signals, syncs->num_signals * sizeof(*signals));
	kvfree(syncs->signals);
	syncs->signals = signals;
	syncs->max_signals = max;
	return 0;
}

/**
 * zhenwu_syncs_add() - take in the sync operations of a step
 * @syncs: syncs of the call
 * @step: number of the step, not lower than that of any before
 * @ops: the operations
 * @count: how many
 * @gate: gate of the step, to which is added what it waits for
 *
 * Return: 0 or a negative error; what was added stays.
 */
int zhenwu_syncs_add(struct zhenwu_syncs *syncs, u32 step, const struct drm_zhenwu_sync_op *ops,
		     u32 count, struct zhenwu_gate *gate)
{
	u32 i;
	int ret;

	ret = zhenwu_syncs_grow(syncs, count);
	if (ret)
		return ret;
	for (i = 0; i < count; i++) {
		const struct drm_zhenwu_sync_op *op = &ops[i];

		if (op->flags & ~ZHENWU_SYNC_FLAGS)
			return -EINVAL;
		switch (op->flags & DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_MASK) {
		case DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_SYNCOBJ:
			if (op->timeline_value)
				return -EINVAL;
			break;
		case DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ:
			/* Point 0 is what the syncobj code takes for a binary one. */
			if (!op->timeline_value)
				return -EINVAL;
			break;
		default:
			return -EINVAL;
		}

		if (op->flags & (u32)DRM_ZHENWU_SYNC_OP_SIGNAL)
			ret = zhenwu_syncs_add_signal(syncs, step, op);
		else
			ret = zhenwu_syncs_add_wait(syncs, step, op, gate);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * zhenwu_syncs_signal() - give syncobjs the fences that will signal them
 * @syncs: syncs of the call
 * @fences: fences, by step; references stay the caller's
 *
 * Nothing fails here.
 */
void zhenwu_syncs_signal(struct zhenwu_syncs *syncs, struct dma_fence **fences)
{
	u32 i;

	for (i = 0; i < syncs->num_signals; i++) {
		struct zhenwu_sync_signal *sig = &syncs->signals[i];
		struct dma_fence *fence = fences[sig->step];

		if (sig->chain) {
			drm_syncobj_add_point(sig->syncobj, sig->chain, fence, sig->point);
			/* The timeline owns the link now. */
			sig->chain = NULL;
		} else {
			drm_syncobj_replace_fence(sig->syncobj, fence);
		}
	}
}

/**
 * zhenwu_syncs_fini() - free what is left
 * @syncs: syncs of a call that is over
 */
void zhenwu_syncs_fini(struct zhenwu_syncs *syncs)
{
	u32 i;

	for (i = 0; i < syncs->num_signals; i++) {
		dma_fence_chain_free(syncs->signals[i].chain);
		drm_syncobj_put(syncs->signals[i].syncobj);
	}
	kvfree(syncs->signals);
}
