// SPDX-License-Identifier: GPL-2.0-only
/*
 * Room in HBM: buffers that may be in both memories leave it when others need it.
 *
 * They are moved when a buffer is made that can only be in HBM and there is none for it, the
 * longest unused first, and those that jobs use only when there is no other. They stay mapped: the
 * device reaches them through PCI. When a job is submitted to a VM whose buffers were moved and
 * there is room again, they come back; nobody else's are moved for that, so two who need more than
 * there is do not push each other out at every job.
 */

#include <linux/dma-resv.h>
#include <linux/jiffies.h>
#include <linux/mm.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_evict.h"
#include "zhenwu_gem.h"
#include "zhenwu_move.h"
#include "zhenwu_pm.h"
#include "zhenwu_trace.h"
#include "zhenwu_vm.h"

/* Both placements, and may be moved among them. */
#define ZHENWU_EVICT_FLAGS	(DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM)
#define ZHENWU_EVICT_MASK	(ZHENWU_EVICT_FLAGS | DRM_ZHENWU_BO_NO_EVICT)

static void zhenwu_evict_release(struct drm_device *drm, void *arg)
{
	struct zhenwu_evict *evict = arg;

	mutex_destroy(&evict->lock);
}

/**
 * zhenwu_evict_init() - no buffer was moved
 * @zdev: device
 *
 * Return: 0 or a negative error.
 */
int zhenwu_evict_init(struct zhenwu_device *zdev)
{
	mutex_init(&zdev->evict.lock);
	INIT_LIST_HEAD(&zdev->evict.list);
	return drmm_add_action_or_reset(&zdev->drm, zhenwu_evict_release, &zdev->evict);
}

/* May a buffer be moved? Only tries its reservation: who has it is using the buffer. */
static bool zhenwu_evict_may(struct zhenwu_bo *bo, bool idle, unsigned long *used)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	bool may;

	/* Of a buffer that is being freed the memory comes anyway. */
	if (!kref_read(&obj->refcount) || !dma_resv_trylock(obj->resv))
		return false;
	may = zhenwu_move_possible(bo, idle, used);
	dma_resv_unlock(obj->resv);
	return may;
}

/* Return: the longest unused buffer of those not tried in this round, with a reference; or NULL. */
static struct zhenwu_bo *zhenwu_evict_pick(struct zhenwu_device *zdev,
					   const struct zhenwu_hbm_need *need, bool idle)
{
	struct zhenwu_bo *bo, *best = NULL;
	unsigned long best_used = 0, used;

	lockdep_assert_held(&zdev->evict.lock);

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node) {
		if ((bo->flags & ZHENWU_EVICT_MASK) != ZHENWU_EVICT_FLAGS ||
		    bo->placement != DRM_ZHENWU_BO_HBM || bo->evict_round == zdev->evict.round ||
		    list_empty(&bo->blocks))
			continue;
		if (!zhenwu_bo_helps(bo, need) || !zhenwu_evict_may(bo, idle, &used))
			continue;
		if (best && !time_before(used, best_used))
			continue;
		best = bo;
		best_used = used;
	}
	/* Under this lock it is not freed. */
	if (best && !kref_get_unless_zero(&best->shmem.base.refcount))
		best = NULL;
	if (best)
		best->evict_round = zdev->evict.round;
	mutex_unlock(&zdev->bos.lock);
	return best;
}

/* Return: 1 when a buffer was moved, 0 when none can be, or an error that ends the search. */
static int zhenwu_evict_one(struct zhenwu_device *zdev, const struct zhenwu_hbm_need *need,
			    bool idle)
{
	struct zhenwu_bo *bo;

	zdev->evict.round++;
	while ((bo = zhenwu_evict_pick(zdev, need, idle))) {
		u64 size = bo->shmem.base.size;
		int ret = zhenwu_move(bo, !idle);

		trace_zhenwu_move(zdev, bo, ret);
		if (!ret) {
			zhenwu_bo_uncharge(bo->client, size,
					   bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE);
			atomic64_add(size, &zdev->evict.bytes_out);
		}
		drm_gem_object_put(&bo->shmem.base);
		if (!ret)
			return 1;
		/* A smaller one may still fit into system memory. */
		if (ret != -EBUSY && ret != -ENOMEM && ret != -ENOSPC)
			return ret;
	}
	return 0;
}

/**
 * zhenwu_evict_for() - move a buffer away whose HBM is needed
 * @zdev: device, which the caller has entered; no lock is held
 * @need: what is missing
 *
 * Return: 1 when there is more now, perhaps after it was scrubbed; 0 when there is nothing to be
 * had; or a negative error.
 */
int zhenwu_evict_for(struct zhenwu_device *zdev, const struct zhenwu_hbm_need *need)
{
	struct zhenwu_evict *evict = &zdev->evict;
	int ret;

	ret = zhenwu_pm_get(zdev);
	if (ret)
		return ret;
	ret = mutex_lock_interruptible(&evict->lock);
	if (!ret) {
		ret = zhenwu_evict_one(zdev, need, true) ?: zhenwu_evict_one(zdev, need, false);
		mutex_unlock(&evict->lock);
	}
	zhenwu_pm_put(zdev);
	return ret;
}

/* -- back ------------------------------------------------------------------------------------- */

static bool zhenwu_evict_is_in(struct zhenwu_bo *bo, struct zhenwu_vm *vm)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct drm_gpuvm_bo *vm_bo;
	bool found = false;

	if (!dma_resv_trylock(obj->resv))
		return false;
	drm_gem_for_each_gpuvm_bo(vm_bo, obj)
		found |= vm_bo->vm == &vm->base;
	dma_resv_unlock(obj->resv);
	return found;
}

/* Return: a buffer of a VM that was moved away and fits, with a reference; or NULL. */
static struct zhenwu_bo *zhenwu_evict_pick_back(struct zhenwu_vm *vm)
{
	struct zhenwu_device *zdev = vm->zdev;
	u64 room = zhenwu_hbm_free_bytes(zdev);
	struct zhenwu_bo *bo, *found = NULL;

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->evict.list, evict_node) {
		if (bo->evict_round == zdev->evict.round || bo->shmem.base.size > room ||
		    !zhenwu_evict_is_in(bo, vm) ||
		    !kref_get_unless_zero(&bo->shmem.base.refcount))
			continue;
		bo->evict_round = zdev->evict.round;
		found = bo;
		break;
	}
	mutex_unlock(&zdev->bos.lock);
	return found;
}

static void zhenwu_evict_bring_back(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	bool visible = bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE;
	u64 size = bo->shmem.base.size;
	int ret;

	ret = zhenwu_bo_charge(bo->client, size, visible);
	if (ret)
		return;
	ret = zhenwu_move(bo, false);
	trace_zhenwu_move(zdev, bo, ret);
	if (ret)
		zhenwu_bo_uncharge(bo->client, size, visible);
	else
		atomic64_add(size, &zdev->evict.bytes_in);
}

/**
 * zhenwu_evict_restore() - bring back what a VM has outside of HBM, if there is room
 * @vm: VM that is about to be used; no reservation is held
 *
 * What is in use, or cannot be moved for whatever reason, stays: jobs work with it where it is.
 */
void zhenwu_evict_restore(struct zhenwu_vm *vm)
{
	struct zhenwu_device *zdev = vm->zdev;
	struct zhenwu_bo *bo;
	int idx;

	if (!READ_ONCE(zdev->evict.pages) || vm->lr)
		return;
	if (!drm_dev_enter(&zdev->drm, &idx))
		return;
	if (zhenwu_pm_get(zdev))
		goto out_dev;
	if (!mutex_trylock(&zdev->evict.lock))
		goto out_pm;
	zdev->evict.round++;
	while (!signal_pending(current) && (bo = zhenwu_evict_pick_back(vm))) {
		zhenwu_evict_bring_back(zdev, bo);
		drm_gem_object_put(&bo->shmem.base);
	}
	mutex_unlock(&zdev->evict.lock);
out_pm:
	zhenwu_pm_put(zdev);
out_dev:
	drm_dev_exit(idx);
}

/**
 * zhenwu_evict_drop_pages() - free the memory of a buffer that was moved away
 * @zdev: device
 * @bo: buffer, of which the device reaches nothing any more; with its reservation, or without users
 */
void zhenwu_evict_drop_pages(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	u64 count = bo->shmem.base.size >> PAGE_SHIFT;
	struct page **pages;

	mutex_lock(&zdev->bos.lock);
	pages = bo->pages;
	bo->pages = NULL;
	list_del_init(&bo->evict_node);
	zdev->evict.pages -= count;
	mutex_unlock(&zdev->bos.lock);
	zhenwu_move_free_pages(pages, count);
}
