// SPDX-License-Identifier: GPL-2.0-only
/*
 * One bind operation: mappings of a VM, kept by drm_gpuvm, and their page tables.
 *
 * It has three parts. The first does all that can fail: it checks what was asked for and allocates
 * all that the change may take, whatever other binds do before its turn comes. The second makes the
 * change and one TLB invalidation; a fence may wait for it, so it allocates nothing and takes no
 * reservation. The third has the locks of buffers, puts mappings on their lists and gives back
 * memory.
 *
 * Between the second and the third the VM has mappings that the list of their buffer lacks, and the
 * other way round. Who walks such a list holds the reservation of the VM and asks whether there are
 * binds under way.
 */

#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_exec.h>
#include <drm/drm_file.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu_bind.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_pt.h"
#include "zhenwu_vm.h"

/* Flags of a map, reserved ones included. */
#define ZHENWU_BIND_MAP_FLAGS	(DRM_ZHENWU_VM_BIND_OP_MAP_READONLY | \
				 DRM_ZHENWU_VM_BIND_OP_MAP_SPARSE | \
				 DRM_ZHENWU_VM_BIND_OP_MAP_DUMPABLE)

/* -- the change ------------------------------------------------------------------------------- */

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

static void zhenwu_bind_add_link(struct zhenwu_bind *bind, struct drm_gpuva *va,
				 struct drm_gpuva *from)
{
	/* There are as many as there were spares. */
	bind->links[bind->num_links++] = (struct zhenwu_bind_link) { .va = va, .from = from };
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
	zhenwu_bind_add_link(bind, va, NULL);
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
		zhenwu_bind_add_link(bind, prev, old);
	}
	if (next) {
		next->flags |= old->flags & ZHENWU_VA_READONLY;
		zhenwu_bind_add_link(bind, next, old);
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

static int zhenwu_bind_change(struct zhenwu_bind *bind)
{
	u64 va = bind->args.va, size = bind->size;
	struct zhenwu_vm *vm = bind->vm;
	struct zhenwu_device *zdev = vm->zdev;
	int ret;

	lockdep_assert_held(&vm->tree_lock);

	if (bind->bo) {
		const struct drm_gpuvm_map_req req = {
			.map.va.addr = va,
			.map.va.range = size,
			.map.gem.obj = &bind->bo->shmem.base,
			.map.gem.offset = bind->args.bo_offset,
		};

		ret = zhenwu_pt_prepare_map(zdev, vm->root, va, size, bind->bo,
					    bind->args.bo_offset, &bind->stock, &bind->flush);
		if (!ret)
			ret = drm_gpuvm_sm_map(&vm->base, bind, &req);
	} else {
		ret = zhenwu_pt_prepare_unmap(zdev, vm->root, va, size, &bind->stock, &bind->flush);
		if (!ret)
			ret = drm_gpuvm_sm_unmap(&vm->base, bind, va, size);
	}
	zhenwu_pt_trim(zdev, vm->root, va, size, &bind->old_pts);
	return ret;
}

/**
 * zhenwu_bind_run() - do it
 * @bind: bind whose turn it is: nobody else changes the VM
 *
 * A fence may wait for it.
 *
 * Return: 0; -ECANCELED when the VM is unusable, -ENODEV when the device is gone, or the one that
 * had the memory: nothing was changed then. There is nothing else that goes wrong.
 */
int zhenwu_bind_run(struct zhenwu_bind *bind)
{
	struct zhenwu_vm *vm = bind->vm;
	int ret, idx;

	if (!zhenwu_device_alive(vm->zdev) || !drm_dev_enter(&vm->zdev->drm, &idx))
		return -ENODEV;
	if (READ_ONCE(vm->unusable)) {
		ret = -ECANCELED;
	} else if (bind->size) {
		mutex_lock(&vm->tree_lock);
		/* Its exporter took the memory back, and has taken mappings away or waits to. */
		if (bind->bo && READ_ONCE(bind->bo->lost))
			ret = -ENODEV;
		else
			ret = zhenwu_bind_change(bind);
		mutex_unlock(&vm->tree_lock);
		if (bind->flush || !list_empty(&bind->old_pts))
			bind->flushed = zhenwu_vm_flush_tlb(vm, &bind->gen);
		else
			wmb(); /* new entries are in HBM before a job that uses them is submitted */
	} else {
		ret = 0;
	}
	drm_dev_exit(idx);
	return ret;
}

/* -- before and after ------------------------------------------------------------------------- */

/*
 * Locks the reservations of a VM and of a buffer. Cannot fail: the only error of drm_exec that is
 * left is a page of memory, which is waited for.
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
		/* Of a VM without users only who takes imported memory away looks at mappings. */
		mutex_lock(&vm->tree_lock);
		drm_gpuva_remove(va);
		mutex_unlock(&vm->tree_lock);
		drm_gpuva_unlink(va);
		drm_exec_fini(&exec);
		drm_gem_object_put(obj);
		kfree(va);
		cond_resched();
	}
	mutex_unlock(&vm->lock);
}

/* Of a map that was done, or came to nothing. */
static void zhenwu_bind_release_new(struct zhenwu_bind *bind)
{
	struct drm_exec exec;
	unsigned int i;

	zhenwu_vm_lock_bo(bind->vm, &bind->bo->shmem.base, &exec);
	for (i = 0; i < bind->num_links; i++)
		if (!bind->links[i].from)
			drm_gpuva_link(bind->links[i].va, bind->vm_bo);
	drm_gpuvm_bo_put(bind->vm_bo);
	drm_exec_fini(&exec);
}

/* A mapping that was taken out, of which pieces may have stayed. */
static void zhenwu_bind_release_old(struct zhenwu_bind *bind, struct drm_gpuva *old)
{
	struct drm_gem_object *obj = old->gem.obj;
	struct drm_exec exec;
	unsigned int i;

	/* Freeing a buffer takes its reservation: not while it is locked. */
	drm_gem_object_get(obj);
	zhenwu_vm_lock_bo(bind->vm, obj, &exec);
	for (i = 0; i < bind->num_links; i++)
		if (bind->links[i].from == old)
			drm_gpuva_link(bind->links[i].va, old->vm_bo);
	drm_gpuva_unlink(old);
	drm_exec_fini(&exec);
	drm_gem_object_put(obj);
	kfree(old);
}

/**
 * zhenwu_bind_destroy() - give back everything
 * @bind: bind that was done, or never will be
 *
 * In the order in which binds of a VM were done.
 */
void zhenwu_bind_destroy(struct zhenwu_bind *bind)
{
	struct zhenwu_vm *vm = bind->vm;
	struct drm_gpuva *va, *next;
	unsigned int i;

	/* Memory is given back only when the device cannot reach it. */
	if (!bind->flushed)
		zhenwu_reset_wait(vm->zdev, bind->gen);
	if (bind->vm_bo)
		zhenwu_bind_release_new(bind);
	list_for_each_entry_safe(va, next, &bind->old_vas, rb.entry)
		zhenwu_bind_release_old(bind, va);
	zhenwu_pt_free_zombies(vm->zdev, &bind->old_pts);
	zhenwu_pt_stock_fini(vm->zdev, &bind->stock);
	for (i = 0; i < ZHENWU_BIND_MAX_VAS; i++)
		kfree(bind->spare[i]);
	if (bind->bo)
		drm_gem_object_put(&bind->bo->shmem.base);
	zhenwu_gate_fini(&bind->gate);
	dma_fence_put(bind->fence);
	if (bind->entered)
		zhenwu_bind_queue_leave(vm);
	kfree(bind);
}

static int zhenwu_bind_check_map(struct zhenwu_bind *bind, struct drm_file *file, u32 flags)
{
	const struct drm_zhenwu_vm_bind_op *op = &bind->args;
	struct drm_gem_object *obj;
	u64 end;

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
	bind->bo = to_zhenwu_bo(obj);
	bind->readonly = flags & DRM_ZHENWU_VM_BIND_OP_MAP_READONLY;
	if (end > obj->size || !zhenwu_bo_may_be_in(bind->bo, &bind->vm->base))
		return -EINVAL;
	if (bind->bo->flags & DRM_ZHENWU_BO_READONLY && !bind->readonly)
		return -EACCES;
	return 0;
}

static int zhenwu_bind_check(struct zhenwu_bind *bind, struct drm_file *file)
{
	const struct drm_zhenwu_vm_bind_op *op = &bind->args;
	u32 type = op->flags & (u32)DRM_ZHENWU_VM_BIND_OP_TYPE_MASK;
	u32 flags = op->flags & ~(u32)DRM_ZHENWU_VM_BIND_OP_TYPE_MASK;
	u64 end;

	switch (type) {
	case DRM_ZHENWU_VM_BIND_OP_TYPE_MAP:
	case DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP:
		break;
	case DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY:
		return flags || op->bo_handle || op->bo_offset || op->va || op->size ? -EINVAL : 0;
	case DRM_ZHENWU_VM_BIND_OP_TYPE_MAP_USERPTR:
		return -EOPNOTSUPP;
	default:
		return -EINVAL;
	}

	if (!op->size || !IS_ALIGNED(op->size | op->va, ZW_PAGE_SIZE) ||
	    check_add_overflow(op->va, op->size, &end) || op->va < ZHENWU_VA_START ||
	    end > ZHENWU_VA_END)
		return -EINVAL;
	bind->size = op->size;
	if (type == DRM_ZHENWU_VM_BIND_OP_TYPE_MAP)
		return zhenwu_bind_check_map(bind, file, flags);
	return flags || op->bo_handle || op->bo_offset ? -EINVAL : 0;
}

static int zhenwu_bind_lock(struct zhenwu_bind *bind, struct drm_exec *exec)
{
	struct drm_gpuvm *gpuvm = &bind->vm->base;
	int ret = 0;

	drm_exec_until_all_locked(exec) {
		ret = drm_exec_lock_obj(exec, drm_gpuvm_resv_obj(gpuvm));
		drm_exec_retry_on_contention(exec);
		if (!ret && bind->bo)
			ret = drm_exec_lock_obj(exec, &bind->bo->shmem.base);
		drm_exec_retry_on_contention(exec);
		if (ret)
			break;
	}
	return ret;
}

/* From here on buffers stay where they are. */
static int zhenwu_bind_enter(struct zhenwu_bind *bind, bool interruptible)
{
	u32 flags = DRM_EXEC_IGNORE_DUPLICATES;
	struct zhenwu_vm *vm = bind->vm;
	struct drm_exec exec;
	int ret;

	if (interruptible)
		flags |= DRM_EXEC_INTERRUPTIBLE_WAIT;
	drm_exec_init(&exec, flags, 2);
	ret = zhenwu_bind_lock(bind, &exec);
	/* From here on the mapping keeps its memory. */
	if (!ret && bind->bo && bind->bo->shmem.madv == ZHENWU_MADV_PURGED)
		ret = -ENODATA;
	if (!ret && bind->bo) {
		struct drm_gpuvm_bo *vm_bo;

		vm_bo = drm_gpuvm_bo_obtain_locked(&vm->base, &bind->bo->shmem.base);
		if (IS_ERR(vm_bo))
			ret = PTR_ERR(vm_bo);
		else
			bind->vm_bo = vm_bo;
	}
	if (!ret) {
		zhenwu_bind_queue_enter(vm);
		bind->entered = true;
	}
	drm_exec_fini(&exec);
	return ret;
}

/* Allocates what the change may take. @alone: no other bind comes before it. */
static int zhenwu_bind_stock(struct zhenwu_bind *bind, bool alone)
{
	struct zhenwu_vm *vm = bind->vm;
	const struct zhenwu_pt *root = alone ? vm->root : NULL;
	unsigned int i;

	for (i = 0; i < ZHENWU_BIND_MAX_VAS; i++) {
		bind->spare[i] = kzalloc(sizeof(*bind->spare[i]), GFP_KERNEL_ACCOUNT);
		if (!bind->spare[i])
			return -ENOMEM;
	}
	if (bind->bo)
		return zhenwu_pt_stock_map(vm->zdev, &bind->stock, vm->client, root, bind->args.va,
					   bind->size, bind->bo, bind->args.bo_offset);
	return zhenwu_pt_stock_unmap(vm->zdev, &bind->stock, vm->client, root, bind->args.va,
				     bind->size);
}

/**
 * zhenwu_bind_create() - check an operation and allocate all it takes
 * @vm: VM, whose lock is held
 * @file: client
 * @op: what is to be done, without its syncs
 * @interruptible: a signal may interrupt it
 * @alone: no other bind is under way
 *
 * Return: the bind, to be done and destroyed, or an error pointer.
 */
struct zhenwu_bind *zhenwu_bind_create(struct zhenwu_vm *vm, struct drm_file *file,
				       const struct drm_zhenwu_vm_bind_op *op, bool interruptible,
				       bool alone)
{
	struct zhenwu_bind *bind;
	int ret;

	lockdep_assert_held(&vm->lock);

	bind = kzalloc(sizeof(*bind), GFP_KERNEL_ACCOUNT);
	if (!bind)
		return ERR_PTR(-ENOMEM);
	bind->vm = vm;
	bind->args = *op;
	bind->flushed = true;
	INIT_LIST_HEAD(&bind->old_vas);
	INIT_LIST_HEAD(&bind->old_pts);
	INIT_LIST_HEAD(&bind->node);
	zhenwu_pt_stock_init(&bind->stock);
	zhenwu_gate_init(&bind->gate);

	ret = zhenwu_bind_check(bind, file);
	if (!ret)
		ret = zhenwu_bind_enter(bind, interruptible);
	if (!ret && READ_ONCE(vm->unusable))
		ret = -ECANCELED;
	if (!ret && bind->size)
		ret = zhenwu_bind_stock(bind, alone);
	if (ret) {
		zhenwu_bind_destroy(bind);
		return ERR_PTR(ret);
	}
	return bind;
}
