// SPDX-License-Identifier: GPL-2.0-only
/*
 * VM_BIND: from the arguments of user space to binds, which are done at once or put in the queue.
 */

#include <linux/dma-resv.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_bind.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_sync.h"
#include "zhenwu_trace.h"
#include "zhenwu_vm.h"

#define ZHENWU_BIND_MAX_OPS	4096
/* Of all operations of a call: each wait is compared with each signal, with locks held. */
#define ZHENWU_BIND_MAX_SYNCS	16384
#define ZHENWU_BIND_OP_MIN_SIZE	offsetofend(struct drm_zhenwu_vm_bind_op, syncs)

/**
 * struct zhenwu_bind_call - a call of VM_BIND under way
 */
struct zhenwu_bind_call {
	/** @vm: VM, of which the caller is a user. */
	struct zhenwu_vm *vm;

	/** @file: Client. */
	struct drm_file *file;

	/** @ops: What is to be done. */
	const struct drm_zhenwu_vm_bind_op *ops;

	/** @count: Number of operations. */
	u32 count;

	/** @done: How many of them are done, or in the queue. */
	u32 done;

	/* What follows is of asynchronous calls only. */

	/** @syncs: Copies of the sync operations of each. */
	struct drm_zhenwu_sync_op **syncs;

	/** @binds: The operations, prepared; NULL once they are in the queue. */
	struct zhenwu_bind **binds;

	/** @fences: Their fences, with references. */
	struct dma_fence **fences;

	/** @num_binds: Number of both. */
	u32 num_binds;

	/** @sync: What they wait for and signal, by operation. */
	struct zhenwu_syncs sync;
};

/* -- at once ---------------------------------------------------------------------------------- */

static int zhenwu_bind_call_one(struct zhenwu_bind_call *call,
				const struct drm_zhenwu_vm_bind_op *op, bool interruptible)
{
	struct zhenwu_bind *bind;
	int ret;

	if (op->syncs.count || op->syncs.array || op->syncs.stride ||
	    (op->flags & (u32)DRM_ZHENWU_VM_BIND_OP_TYPE_MASK) ==
		    DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY)
		return -EINVAL;
	bind = zhenwu_bind_create(call->vm, call->file, op, interruptible, true);
	if (IS_ERR(bind))
		return PTR_ERR(bind);
	ret = zhenwu_bind_run(bind);
	zhenwu_bind_destroy(bind);
	return ret;
}

/*
 * Only the first operation can be interrupted by a signal: user space then repeats the call as it
 * is, and nothing may be done twice or left out. Whoever is being killed does not repeat it.
 */
static int zhenwu_bind_call_sync(struct zhenwu_bind_call *call)
{
	struct zhenwu_vm *vm = call->vm;
	int ret;

	ret = mutex_lock_interruptible(&vm->lock);
	if (ret)
		return ret;
	/* In their turn: after those that are in the queue. */
	ret = zhenwu_bind_queue_wait_idle(vm);
	while (!ret && call->done < call->count) {
		const struct drm_zhenwu_vm_bind_op *op = &call->ops[call->done];

		ret = fatal_signal_pending(current) ?
			      -EINTR : zhenwu_bind_call_one(call, op, !call->done);
		trace_zhenwu_bind(vm, op, ret);
		if (!ret)
			call->done++;
		cond_resched();
	}
	mutex_unlock(&vm->lock);
	return ret;
}

/* -- later ------------------------------------------------------------------------------------ */

/*
 * Everything that comes from user space, before any lock is taken: its memory may take its time, as
 * long as whoever serves its page faults likes.
 */
static int zhenwu_bind_call_copy(struct zhenwu_bind_call *call)
{
	u32 i, left = ZHENWU_BIND_MAX_SYNCS;

	call->syncs = kvcalloc(call->count, sizeof(*call->syncs), GFP_KERNEL_ACCOUNT);
	call->binds = kvcalloc(call->count, sizeof(*call->binds), GFP_KERNEL_ACCOUNT);
	call->fences = kvcalloc(call->count, sizeof(*call->fences), GFP_KERNEL_ACCOUNT);
	if (!call->syncs || !call->binds || !call->fences)
		return -ENOMEM;
	for (i = 0; i < call->count; i++) {
		const struct drm_zhenwu_obj_array *syncs = &call->ops[i].syncs;
		struct drm_zhenwu_sync_op *ops;

		if (syncs->count > left)
			return -EINVAL;
		left -= syncs->count;
		ops = zhenwu_syncs_copy(syncs);
		if (IS_ERR(ops))
			return PTR_ERR(ops);
		call->syncs[i] = ops;
	}
	return 0;
}

static int zhenwu_bind_call_prepare(struct zhenwu_bind_call *call)
{
	struct zhenwu_vm *vm = call->vm;
	bool alone = !zhenwu_bind_queue_busy(vm);
	int ret = 0;
	u32 i;

	for (i = 0; !ret && i < call->count; i++) {
		const struct drm_zhenwu_vm_bind_op *op = &call->ops[i];
		struct zhenwu_bind *bind;

		/* Thousands of operations get ready also where signals keep coming. */
		if (fatal_signal_pending(current))
			return -EINTR;
		bind = zhenwu_bind_create(vm, call->file, op, !i, alone && !i);
		if (IS_ERR(bind))
			return PTR_ERR(bind);
		call->binds[i] = bind;
		call->num_binds++;
		bind->fence = zhenwu_bind_queue_create_fence(vm);
		if (!bind->fence)
			return -ENOMEM;
		call->fences[i] = dma_fence_get(bind->fence);
		ret = zhenwu_syncs_add(&call->sync, i, call->syncs[i], op->syncs.count,
				       &bind->gate);
		cond_resched();
	}
	return ret;
}

/* Nothing fails here: fences become public. */
static void zhenwu_bind_call_push(struct zhenwu_bind_call *call)
{
	bool cookie = dma_fence_begin_signalling();
	u32 i;

	for (i = 0; i < call->count; i++) {
		struct zhenwu_bind *bind = call->binds[i];

		call->binds[i] = NULL;
		zhenwu_bind_queue_push(bind);
	}
	dma_fence_end_signalling(cookie);
	call->done = call->count;
}

/* All or nothing. */
static int zhenwu_bind_call_async(struct zhenwu_bind_call *call)
{
	struct dma_resv *resv = drm_gpuvm_resv(&call->vm->base);
	struct zhenwu_vm *vm = call->vm;
	int ret;

	ret = mutex_lock_interruptible(&vm->lock);
	if (ret)
		return ret;
	ret = zhenwu_bind_call_prepare(call);
	if (ret)
		goto out;
	dma_resv_lock(resv, NULL);
	ret = dma_resv_reserve_fences(resv, 1);
	if (!ret) {
		/* They signal in order: the last one stands for all. */
		dma_resv_add_fence(resv, call->fences[call->count - 1], DMA_RESV_USAGE_BOOKKEEP);
		zhenwu_bind_call_push(call);
	}
	dma_resv_unlock(resv);
	if (!ret)
		zhenwu_syncs_signal(&call->sync, call->fences);
out:
	mutex_unlock(&vm->lock);
	return ret;
}

static void zhenwu_bind_call_free(struct zhenwu_bind_call *call)
{
	u32 i;

	for (i = 0; i < call->num_binds; i++) {
		if (call->binds[i])
			zhenwu_bind_destroy(call->binds[i]);
		dma_fence_put(call->fences[i]);
	}
	for (i = 0; call->syncs && i < call->count; i++)
		kvfree(call->syncs[i]);
	zhenwu_syncs_fini(&call->sync);
	kvfree(call->fences);
	kvfree(call->binds);
	kvfree(call->syncs);
}

/**
 * zhenwu_ioctl_vm_bind() - DRM_IOCTL_ZHENWU_VM_BIND
 * @drm: device
 * @data: &struct drm_zhenwu_vm_bind
 * @file: file
 *
 * Return: 0 or a negative error, with the number of operations that were done, or are in the queue,
 * in num_done.
 */
int zhenwu_ioctl_vm_bind(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_vm_bind *args = data;
	struct zhenwu_bind_call call = {
		.file = file,
		.count = args->ops.count,
		.sync.file = file,
	};
	bool async = args->flags & DRM_ZHENWU_VM_BIND_ASYNC;
	struct drm_zhenwu_vm_bind_op *ops;
	int ret = 0, idx;

	if (args->flags & ~DRM_ZHENWU_VM_BIND_ASYNC || args->num_done || args->pad ||
	    !args->ops.count)
		return -EINVAL;

	/* Memory of user space may be slow to come: not while a removal of the device waits. */
	ops = zhenwu_copy_array(&args->ops, ZHENWU_BIND_OP_MIN_SIZE, sizeof(*ops),
				ZHENWU_BIND_MAX_OPS);
	if (IS_ERR(ops))
		return PTR_ERR(ops);
	call.ops = ops;
	call.vm = zhenwu_vm_lookup(file->driver_priv, args->vm_id);
	if (!call.vm) {
		ret = -ENOENT;
		goto out_ops;
	}
	if (async)
		ret = zhenwu_bind_call_copy(&call);
	if (ret)
		goto out_call;

	if (drm_dev_enter(drm, &idx)) {
		ret = async ? zhenwu_bind_call_async(&call) : zhenwu_bind_call_sync(&call);
		drm_dev_exit(idx);
	} else {
		ret = -ENODEV;
	}
	args->num_done = call.done;
out_call:
	/* What was prepared in vain counts as under way until it is gone: before the VM is. */
	zhenwu_bind_call_free(&call);
	zhenwu_vm_put(call.vm);
out_ops:
	kvfree(ops);
	return ret;
}
