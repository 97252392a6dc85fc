// SPDX-License-Identifier: GPL-2.0-only
/*
 * VM_BIND: mappings of a VM, kept by drm_gpuvm, and their page tables.
 *
 * An operation runs under the lock of the VM and the reservation locks of the VM and of every
 * buffer it touches. First comes all that can fail, then the change itself, then one TLB
 * invalidation, and only then is memory given back.
 */

#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_exec.h>
#include <drm/drm_file.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_gem.h"
#include "zhenwu_pt.h"
#include "zhenwu_trace.h"
#include "zhenwu_vm.h"

#define ZHENWU_BIND_MAX_OPS	4096
#define ZHENWU_BIND_OP_MIN_SIZE	offsetofend(struct drm_zhenwu_vm_bind_op, syncs)
/* Flags of a map, reserved ones included. */
#define ZHENWU_BIND_MAP_FLAGS	(DRM_ZHENWU_VM_BIND_OP_MAP_READONLY | \
				 DRM_ZHENWU_VM_BIND_OP_MAP_SPARSE | \
				 DRM_ZHENWU_VM_BIND_OP_MAP_DUMPABLE)
/* A map of one range splits at most one mapping in two, or trims two. */
#define ZHENWU_BIND_MAX_VAS	3

/**
 * struct zhenwu_bind - an operation under way
 */
struct zhenwu_bind {
	/** @vm: VM. */
	struct zhenwu_vm *vm;

	/** @bo: Buffer to map, NULL for unmap. */
	struct zhenwu_bo *bo;

	/** @vm_bo: Connection of @bo and @vm. */
	struct drm_gpuvm_bo *vm_bo;

	/** @va: First address. */
	u64 va;

	/** @size: Bytes. */
	u64 size;

	/** @offset: First byte in @bo. */
	u64 offset;

	/** @readonly: Map without write permission. */
	bool readonly;

	/** @flush: A valid entry was changed. */
	bool flush;

	/** @spare: Mappings allocated in advance. */
	struct drm_gpuva *spare[ZHENWU_BIND_MAX_VAS];

	/** @old_vas: Mappings taken out of the VM, by their rb.entry. */
	struct list_head old_vas;

	/** @old_pts: Tables taken out of the tree. */
	struct list_head old_pts;
};

static struct drm_gpuva *zhenwu_bind_take_spare(struct zhenwu_bind *bind)
{
	unsigned int i;

	for (i = 0; i < ZHENWU_BIND_MAX_VAS; i++) {
		struct drm_gpuva *va = bind->spare[i];

		if (va) {
			bind->spare[i] = NULL;
			return va;
		}
	}
	/* drm_gpuvm made more pieces than a range can have. */
	WARN_ON(1);
	return NULL;
}

static int zhenwu_bind_step_map(struct drm_gpuva_op *op, void *priv)
{
	struct zhenwu_bind *bind = priv;
	struct zhenwu_vm *vm = bind->vm;
	struct drm_gpuva *va = zhenwu_bind_take_spare(bind);

	if (!va)
		return -ENOMEM;
	zhenwu_pt_map(vm->zdev, vm->root, op->map.va.addr, op->map.va.range, bind->bo,
		      op->map.gem.offset, bind->readonly, &bind->old_pts);
	drm_gpuva_map(&vm->base, va, &op->map);
	if (bind->readonly)
		va->flags |= ZHENWU_VA_READONLY;
	drm_gpuva_link(va, bind->vm_bo);
	return 0;
}

static int zhenwu_bind_step_remap(struct drm_gpuva_op *op, void *priv)
{
	struct zhenwu_bind *bind = priv;
	struct zhenwu_vm *vm = bind->vm;
	struct drm_gpuva *old = op->remap.unmap->va, *prev = NULL, *next = NULL;
	u64 addr, range;

	if (op->remap.prev) {
		prev = zhenwu_bind_take_spare(bind);
		if (!prev)
			return -ENOMEM;
	}
	if (op->remap.next) {
		next = zhenwu_bind_take_spare(bind);
		if (!next) {
			kfree(prev);
			return -ENOMEM;
		}
	}

	/* What remains keeps its entries: a job that uses it does not notice. */
	drm_gpuva_op_remap_to_unmap_range(&op->remap, &addr, &range);
	bind->flush |= zhenwu_pt_unmap(vm->zdev, vm->root, addr, range);
	drm_gpuva_remap(prev, next, &op->remap);
	if (prev) {
		prev->flags |= old->flags & ZHENWU_VA_READONLY;
		drm_gpuva_link(prev, old->vm_bo);
	}
	if (next) {
		next->flags |= old->flags & ZHENWU_VA_READONLY;
		drm_gpuva_link(next, old->vm_bo);
	}
	list_add_tail(&old->rb.entry, &bind->old_vas);
	return 0;
}

static int zhenwu_bind_step_unmap(struct drm_gpuva_op *op, void *priv)
{
	struct zhenwu_bind *bind = priv;
	struct zhenwu_vm *vm = bind->vm;
	struct drm_gpuva *va = op->unmap.va;

	bind->flush |= zhenwu_pt_unmap(vm->zdev, vm->root, va->va.addr, va->va.range);
	drm_gpuva_unmap(&op->unmap);
	list_add_tail(&va->rb.entry, &bind->old_vas);
	return 0;
}

const struct drm_gpuvm_ops zhenwu_gpuvm_ops = {
	.vm_free = zhenwu_vm_free,
	.sm_step_map = zhenwu_bind_step_map,
	.sm_step_remap = zhenwu_bind_step_remap,
	.sm_step_unmap = zhenwu_bind_step_unmap,
};

static void zhenwu_bind_free_spares(struct zhenwu_bind *bind)
{
	unsigned int i;

	for (i = 0; i < ZHENWU_BIND_MAX_VAS; i++)
		kfree(bind->spare[i]);
}

static int zhenwu_bind_alloc_spares(struct zhenwu_bind *bind)
{
	unsigned int i;

	for (i = 0; i < ZHENWU_BIND_MAX_VAS; i++) {
		bind->spare[i] = kzalloc(sizeof(*bind->spare[i]), GFP_KERNEL_ACCOUNT);
		if (!bind->spare[i])
			return -ENOMEM;
	}
	return 0;
}

static int zhenwu_bind_lock(struct zhenwu_bind *bind, struct drm_exec *exec)
{
	struct drm_gpuvm *gpuvm = &bind->vm->base;
	int ret = 0;

	drm_exec_until_all_locked(exec) {
		ret = drm_exec_lock_obj(exec, drm_gpuvm_resv_obj(gpuvm));
		drm_exec_retry_on_contention(exec);
		if (ret)
			break;
		if (bind->bo) {
			ret = drm_exec_lock_obj(exec, &bind->bo->shmem.base);
			drm_exec_retry_on_contention(exec);
			if (ret)
				break;
		}
		ret = drm_gpuvm_prepare_range(gpuvm, exec, bind->va, bind->size, 0);
		drm_exec_retry_on_contention(exec);
		if (ret)
			break;
	}
	return ret;
}

static int zhenwu_bind_change(struct zhenwu_bind *bind)
{
	struct zhenwu_vm *vm = bind->vm;
	struct zhenwu_device *zdev = vm->zdev;
	int ret;

	if (bind->bo) {
		const struct drm_gpuvm_map_req req = {
			.map.va.addr = bind->va,
			.map.va.range = bind->size,
			.map.gem.obj = &bind->bo->shmem.base,
			.map.gem.offset = bind->offset,
		};

		/* From here on the mapping keeps its memory. */
		if (bind->bo->shmem.madv == ZHENWU_MADV_PURGED)
			return -ENODATA;
		bind->vm_bo = drm_gpuvm_bo_obtain_locked(&vm->base, &bind->bo->shmem.base);
		if (IS_ERR(bind->vm_bo)) {
			ret = PTR_ERR(bind->vm_bo);
			bind->vm_bo = NULL;
			return ret;
		}
		ret = zhenwu_pt_prepare_map(zdev, vm->root, bind->va, bind->size, bind->bo,
					    bind->offset, &bind->flush);
		if (!ret)
			ret = drm_gpuvm_sm_map(&vm->base, bind, &req);
	} else {
		ret = zhenwu_pt_prepare_unmap(zdev, vm->root, bind->va, bind->size, &bind->flush);
		if (!ret)
			ret = drm_gpuvm_sm_unmap(&vm->base, bind, bind->va, bind->size);
	}

	/* Also after a failure: tables were added that nothing uses. */
	zhenwu_pt_trim(zdev, vm->root, bind->va, bind->size, &bind->old_pts);
	return ret;
}

/* Ends the use of what the operation took out. The locks are still held. */
static void zhenwu_bind_finish(struct zhenwu_bind *bind)
{
	struct zhenwu_vm *vm = bind->vm;
	struct drm_gpuva *va;

	if (bind->flush || !list_empty(&bind->old_pts))
		zhenwu_vm_flush_tlb(vm);
	else
		wmb(); /* new entries are in HBM before a job that uses them is submitted */

	list_for_each_entry(va, &bind->old_vas, rb.entry) {
		/* Freeing a buffer takes its reservation: not while others are locked. */
		drm_gem_object_get(va->gem.obj);
		drm_gpuva_unlink(va);
	}
	drm_gpuvm_bo_put(bind->vm_bo);
	zhenwu_pt_free_zombies(vm->zdev, &bind->old_pts);
}

/* Gives back what the operation took out. */
static void zhenwu_bind_release(struct zhenwu_bind *bind)
{
	struct drm_gpuva *va, *next;

	list_for_each_entry_safe(va, next, &bind->old_vas, rb.entry) {
		drm_gem_object_put(va->gem.obj);
		kfree(va);
	}
}

static int zhenwu_bind_execute(struct zhenwu_bind *bind, bool interruptible)
{
	u32 flags = DRM_EXEC_IGNORE_DUPLICATES;
	struct zhenwu_vm *vm = bind->vm;
	struct drm_exec exec;
	int ret;

	lockdep_assert_held(&vm->lock);

	INIT_LIST_HEAD(&bind->old_vas);
	INIT_LIST_HEAD(&bind->old_pts);
	ret = zhenwu_bind_alloc_spares(bind);
	if (ret)
		goto out;

	if (interruptible)
		flags |= DRM_EXEC_INTERRUPTIBLE_WAIT;
	drm_exec_init(&exec, flags, 0);
	ret = zhenwu_bind_lock(bind, &exec);
	if (!ret && READ_ONCE(vm->unusable))
		ret = -ECANCELED;
	if (!ret) {
		ret = zhenwu_bind_change(bind);
		zhenwu_bind_finish(bind);
	}
	drm_exec_fini(&exec);
out:
	zhenwu_bind_release(bind);
	zhenwu_bind_free_spares(bind);
	return ret;
}

/*
 * Locks the reservations of a VM nobody uses any more and of a buffer others may use. Cannot fail:
 * the only error of drm_exec that is left is a page of memory, which is waited for.
 */
static void zhenwu_vm_lock_bo(struct zhenwu_vm *vm, struct drm_gem_object *obj,
			      struct drm_exec *exec)
{
	int ret;

	for (;;) {
		drm_exec_init(exec, DRM_EXEC_IGNORE_DUPLICATES, 2);
		drm_exec_until_all_locked(exec) {
			ret = drm_exec_lock_obj(exec, drm_gpuvm_resv_obj(&vm->base));
			drm_exec_retry_on_contention(exec);
			if (!ret)
				ret = drm_exec_lock_obj(exec, obj);
			drm_exec_retry_on_contention(exec);
			if (ret)
				break;
		}
		if (!ret)
			return;
		drm_exec_fini(exec);
		schedule_timeout_uninterruptible(1);
	}
}

/**
 * zhenwu_vm_unmap_all() - give back all buffers of a VM
 * @vm: VM without users; the device cannot reach it
 *
 * Cannot fail: takes the lock of one buffer at a time, and not interruptibly.
 */
void zhenwu_vm_unmap_all(struct zhenwu_vm *vm)
{
	struct drm_gpuva *va, *next;

	mutex_lock(&vm->lock);
	drm_gpuvm_for_each_va_safe(va, next, &vm->base) {
		struct drm_gem_object *obj = va->gem.obj;
		struct drm_exec exec;

		drm_gem_object_get(obj);
		zhenwu_vm_lock_bo(vm, obj, &exec);
		drm_gpuva_remove(va);
		drm_gpuva_unlink(va);
		drm_exec_fini(&exec);
		drm_gem_object_put(obj);
		kfree(va);
		cond_resched();
	}
	mutex_unlock(&vm->lock);
}

static int zhenwu_bind_op(struct zhenwu_vm *vm, struct drm_file *file,
			  const struct drm_zhenwu_vm_bind_op *op, bool interruptible)
{
	u32 type = op->flags & (u32)DRM_ZHENWU_VM_BIND_OP_TYPE_MASK;
	u32 flags = op->flags & ~(u32)DRM_ZHENWU_VM_BIND_OP_TYPE_MASK;
	struct zhenwu_bind bind = { .vm = vm, .va = op->va, .size = op->size };
	struct drm_gem_object *obj = NULL;
	u64 end;
	int ret;

	if (type == DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY ||
	    type == DRM_ZHENWU_VM_BIND_OP_TYPE_MAP_USERPTR)
		return -EOPNOTSUPP;
	if (op->syncs.count || op->syncs.array || op->syncs.stride)
		return -EINVAL;
	if (!op->size || !IS_ALIGNED(op->size | op->va, ZW_PAGE_SIZE) ||
	    check_add_overflow(op->va, op->size, &end) || op->va < ZHENWU_VA_START ||
	    end > ZHENWU_VA_END)
		return -EINVAL;

	switch (type) {
	case DRM_ZHENWU_VM_BIND_OP_TYPE_MAP:
		if (flags & ~ZHENWU_BIND_MAP_FLAGS)
			return -EINVAL;
		if (flags & ~DRM_ZHENWU_VM_BIND_OP_MAP_READONLY)
			return -EOPNOTSUPP;
		if (!IS_ALIGNED(op->bo_offset, ZW_PAGE_SIZE) ||
		    check_add_overflow(op->bo_offset, op->size, &end))
			return -EINVAL;
		obj = drm_gem_object_lookup(file, op->bo_handle);
		if (!obj)
			return -ENOENT;
		if (end > obj->size || !zhenwu_bo_may_be_in(to_zhenwu_bo(obj), &vm->base)) {
			drm_gem_object_put(obj);
			return -EINVAL;
		}
		bind.bo = to_zhenwu_bo(obj);
		bind.offset = op->bo_offset;
		bind.readonly = flags & DRM_ZHENWU_VM_BIND_OP_MAP_READONLY;
		if (bind.bo->flags & DRM_ZHENWU_BO_READONLY && !bind.readonly) {
			drm_gem_object_put(obj);
			return -EACCES;
		}
		break;
	case DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP:
		if (flags || op->bo_handle || op->bo_offset)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}

	ret = zhenwu_bind_execute(&bind, interruptible);
	if (obj)
		drm_gem_object_put(obj);
	return ret;
}

/*
 * Only the first operation can be interrupted by a signal: user space then repeats the call as it
 * is, and nothing may be done twice or left out. Whoever is being killed does not repeat it.
 */
static int zhenwu_bind_ops(struct zhenwu_vm *vm, struct drm_file *file,
			   const struct drm_zhenwu_vm_bind_op *ops, u32 count, u32 *done)
{
	int ret;

	ret = mutex_lock_interruptible(&vm->lock);
	if (ret)
		return ret;
	while (*done < count) {
		ret = fatal_signal_pending(current) ?
			      -EINTR : zhenwu_bind_op(vm, file, &ops[*done], !*done);
		trace_zhenwu_bind(vm, &ops[*done], ret);
		if (ret)
			break;
		++*done;
		cond_resched();
	}
	mutex_unlock(&vm->lock);
	return ret;
}

/**
 * zhenwu_ioctl_vm_bind() - DRM_IOCTL_ZHENWU_VM_BIND
 * @drm: device
 * @data: &struct drm_zhenwu_vm_bind
 * @file: file
 *
 * Return: 0 or a negative error, with the number of operations that were done in num_done.
 */
int zhenwu_ioctl_vm_bind(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_vm_bind *args = data;
	struct drm_zhenwu_vm_bind_op *ops;
	struct zhenwu_vm *vm;
	int ret, idx;

	if (args->flags & ~DRM_ZHENWU_VM_BIND_ASYNC || args->num_done || args->pad ||
	    !args->ops.count)
		return -EINVAL;
	if (args->flags & DRM_ZHENWU_VM_BIND_ASYNC)
		return -EOPNOTSUPP;

	/* Memory of user space may be slow to come: not while a removal of the device waits. */
	ops = zhenwu_copy_array(&args->ops, ZHENWU_BIND_OP_MIN_SIZE, sizeof(*ops),
				ZHENWU_BIND_MAX_OPS);
	if (IS_ERR(ops))
		return PTR_ERR(ops);
	vm = zhenwu_vm_lookup(file->driver_priv, args->vm_id);
	if (!vm) {
		ret = -ENOENT;
		goto out_ops;
	}

	if (drm_dev_enter(drm, &idx)) {
		ret = zhenwu_bind_ops(vm, file, ops, args->ops.count, &args->num_done);
		drm_dev_exit(idx);
	} else {
		ret = -ENODEV;
	}
	zhenwu_vm_put(vm);
out_ops:
	kvfree(ops);
	return ret;
}
