// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffer objects over memory of the process.
 *
 * The pages are pinned as long as the buffer lives, which every mapping in a VM keeps: what the
 * process does to its address space meanwhile changes nothing for the device. They count against
 * RLIMIT_MEMLOCK of the process that pinned them.
 */

#include <linux/capability.h>
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/scatterlist.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_prime.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_prime.h"
#include "zhenwu_userptr.h"
#include "zhenwu_vm.h"

/* Pages between two looks at whether others want the CPU, or the caller is being killed. */
#define ZHENWU_PIN_BATCH	2048ul

/**
 * struct zhenwu_pins - pinned pages of a process
 */
struct zhenwu_pins {
	/** @mm: Who is charged. Its pages may be gone, the structure is not. */
	struct mm_struct *mm;

	/** @charged: Pages it is charged for. */
	unsigned long charged;

	/** @num: Pages that are pinned. */
	unsigned long num;

	/** @write: The device may have written to them. */
	bool write;

	/** @pages: The pages, in the order of the buffer. */
	struct page *pages[] __counted_by(charged);
};

/* -- pinning ---------------------------------------------------------------------------------- */

/*
 * pinned_vm and not locked_vm: that one is changed under mmap_lock, and the last reference to a
 * buffer may be dropped by who holds it, in munmap() of the doorbell of a queue.
 */
static int zhenwu_pins_charge(struct mm_struct *mm, unsigned long num)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	u64 pinned = atomic64_add_return(num, &mm->pinned_vm);

	if (pinned <= limit || capable(CAP_IPC_LOCK))
		return 0;
	atomic64_sub(num, &mm->pinned_vm);
	return -ENOMEM;
}

static void zhenwu_pins_release(struct zhenwu_pins *pins)
{
	unsigned long i, n;

	for (i = 0; i < pins->num; i += n) {
		n = min(pins->num - i, ZHENWU_PIN_BATCH);
		unpin_user_pages_dirty_lock(pins->pages + i, n, pins->write);
		cond_resched();
	}
	atomic64_sub(pins->charged, &pins->mm->pinned_vm);
	mmdrop(pins->mm);
	kvfree(pins);
}

/*
 * What cannot be pinned for long is refused by pin_user_pages_fast(): mappings of devices, our own
 * among them (VM_IO, VM_PFNMAP), DAX, secret memory, for writing what is not writable and shared
 * mappings of files whose file system must know of each write.
 */
static int zhenwu_pins_fill(struct zhenwu_pins *pins, unsigned long addr)
{
	unsigned int flags = FOLL_LONGTERM | (pins->write ? FOLL_WRITE : 0);

	while (pins->num < pins->charged) {
		int want = min(pins->charged - pins->num, ZHENWU_PIN_BATCH), got;

		if (fatal_signal_pending(current))
			return -EINTR;
		got = pin_user_pages_fast(addr + (pins->num << PAGE_SHIFT), want, flags,
					  pins->pages + pins->num);
		if (got <= 0)
			return got ? got : -EFAULT;
		pins->num += got;
		cond_resched();
	}
	return 0;
}

static struct zhenwu_pins *zhenwu_pins_create(unsigned long addr, unsigned long num, bool write)
{
	struct mm_struct *mm = current->mm;
	struct zhenwu_pins *pins;
	int ret;

	if (num > totalram_pages())
		return ERR_PTR(-ENOMEM);
	ret = zhenwu_pins_charge(mm, num);
	if (ret)
		return ERR_PTR(ret);
	/* Of the largest machines it may be more than can be had in one piece: no bug. */
	pins = kvzalloc(struct_size(pins, pages, num), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pins) {
		atomic64_sub(num, &mm->pinned_vm);
		return ERR_PTR(-ENOMEM);
	}
	mmgrab(mm);
	pins->mm = mm;
	pins->charged = num;
	pins->write = write;
	ret = zhenwu_pins_fill(pins, addr);
	if (ret) {
		zhenwu_pins_release(pins);
		return ERR_PTR(ret);
	}
	return pins;
}

/* -- buffers ---------------------------------------------------------------------------------- */

static void zhenwu_userptr_free(struct drm_gem_object *obj)
{
	struct zhenwu_bo *bo = to_zhenwu_bo(obj);
	struct drm_gem_object *vm_resv = bo->vm_resv;

	zhenwu_bo_untrack(to_zhenwu_device(obj->dev), bo);
	zhenwu_pins_release(bo->pins);
	drm_gem_object_release(obj);
	kfree(bo);
	if (vm_resv)
		drm_gem_object_put(vm_resv);
}

/* No mmap: who made it has the memory, and nobody else gets it by a handle. */
static const struct drm_gem_object_funcs zhenwu_userptr_funcs = {
	.free = zhenwu_userptr_free,
	.export = zhenwu_prime_export,
};

static int zhenwu_userptr_map_dma(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	struct sg_table *sgt;
	int ret;

	sgt = drm_prime_pages_to_sg(&zdev->drm, bo->pins->pages, bo->pins->num);
	if (IS_ERR(sgt))
		return PTR_ERR(sgt);
	ret = dma_map_sgtable(zdev->drm.dev, sgt, zhenwu_bo_dma_direction(bo),
			      zhenwu_bo_dma_attrs(bo));
	if (ret) {
		sg_free_table(sgt);
		kfree(sgt);
		return ret;
	}
	bo->shmem.sgt = sgt;
	return 0;
}

/* Takes over the pins, also when it fails. */
static struct zhenwu_bo *zhenwu_userptr_create(struct zhenwu_device *zdev,
					       struct zhenwu_pins *pins, u32 flags,
					       struct zhenwu_vm *vm)
{
	struct zhenwu_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);
	if (!bo) {
		zhenwu_pins_release(pins);
		return ERR_PTR(-ENOMEM);
	}
	INIT_LIST_HEAD(&bo->blocks);
	INIT_LIST_HEAD(&bo->node);
	INIT_LIST_HEAD(&bo->purge_node);
	INIT_LIST_HEAD(&bo->evict_node);
	bo->flags = flags | DRM_ZHENWU_BO_USERPTR | DRM_ZHENWU_BO_SYSTEM;
	bo->placement = DRM_ZHENWU_BO_SYSTEM;
	bo->pins = pins;
	bo->shmem.base.funcs = &zhenwu_userptr_funcs;
	drm_gem_private_object_init(&zdev->drm, &bo->shmem.base, (size_t)pins->num << PAGE_SHIFT);
	zhenwu_bo_set_vm(bo, vm);
	zhenwu_bo_track(zdev, bo);

	ret = zhenwu_userptr_map_dma(zdev, bo);
	if (ret) {
		drm_gem_object_put(&bo->shmem.base);
		return ERR_PTR(ret);
	}
	return bo;
}

/**
 * zhenwu_ioctl_bo_create_userptr() - DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR
 * @drm: device
 * @data: &struct drm_zhenwu_bo_create_userptr
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_bo_create_userptr(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_bo_create_userptr *args = data;
	struct zhenwu_vm *vm = NULL;
	struct zhenwu_pins *pins;
	struct zhenwu_bo *bo;
	u64 end;
	int ret, idx;

	if (args->flags & ~DRM_ZHENWU_BO_READONLY || args->handle || args->pad)
		return -EINVAL;
	if (!args->size || !PAGE_ALIGNED(args->addr | args->size) ||
	    check_add_overflow(args->addr, args->size, &end) || args->size > S64_MAX)
		return -EINVAL;
	/* Of 32-bit kernels; the tags that some CPUs allow in pointers are for access_ok(). */
	if (args->addr != (unsigned long)args->addr || args->size != (size_t)args->size ||
	    !access_ok(u64_to_user_ptr(args->addr), args->size))
		return -EFAULT;

	if (args->exclusive_vm_id) {
		vm = zhenwu_vm_lookup(file->driver_priv, args->exclusive_vm_id);
		if (!vm)
			return -ENOENT;
	}
	/* Memory of user space may be slow to come: not while a removal of the device waits. */
	pins = zhenwu_pins_create(args->addr, args->size >> PAGE_SHIFT,
				  !(args->flags & DRM_ZHENWU_BO_READONLY));
	if (IS_ERR(pins)) {
		zhenwu_vm_put(vm);
		return PTR_ERR(pins);
	}
	if (drm_dev_enter(drm, &idx)) {
		bo = zhenwu_userptr_create(to_zhenwu_device(drm), pins, args->flags, vm);
		drm_dev_exit(idx);
	} else {
		zhenwu_pins_release(pins);
		bo = ERR_PTR(-ENODEV);
	}
	zhenwu_vm_put(vm);
	if (IS_ERR(bo))
		return PTR_ERR(bo);

	ret = drm_gem_handle_create(file, &bo->shmem.base, &args->handle);
	/* The handle keeps the buffer. */
	drm_gem_object_put(&bo->shmem.base);
	return ret;
}
