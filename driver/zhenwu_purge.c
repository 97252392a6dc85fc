// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers whose contents user space can do without: BO_MADVISE.
 *
 * One that no VM maps is out of the device's reach, so its memory can be taken without asking the
 * device anything. That is what reclaim can do: the firmware may be silent, and the reset that
 * follows may itself need memory. One that is mapped is in use and stays.
 *
 * Not drm_gem_lru: it scans for pages, and here some buffers help whoever looks for HBM and others
 * do not. Reclaim may run under any reservation, and dropping the last reference to a buffer takes
 * one. So none is taken: whoever frees a buffer takes it off its list first, and waits for the
 * lock.
 */

#include <linux/dma-resv.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_managed.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_purge.h"
#include "zhenwu_trace.h"

/* Return: true when the buffer had memory to give and has none any more. */
static bool zhenwu_purge_bo(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	struct drm_gem_object *obj = &bo->shmem.base;

	lockdep_assert_held(&zdev->purge.lock);

	/* Of a buffer that is being freed the memory comes anyway. */
	if (!kref_read(&obj->refcount) || !dma_resv_trylock(obj->resv))
		return false;
	if (!list_empty(&obj->gpuva.list)) {
		dma_resv_unlock(obj->resv);
		return false;
	}
	WRITE_ONCE(bo->shmem.madv, ZHENWU_MADV_PURGED);
	list_del_init(&bo->purge_node);
	if (bo->placement == DRM_ZHENWU_BO_SYSTEM)
		zdev->purge.system_pages -= obj->size >> PAGE_SHIFT;
	zhenwu_bo_drop_memory(bo);
	dma_resv_unlock(obj->resv);

	atomic64_add(obj->size, &zdev->purge.bytes);
	trace_zhenwu_purge(zdev, bo);
	return true;
}

/* -- reclaim of system memory ----------------------------------------------------------------- */

static unsigned long zhenwu_shrinker_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct zhenwu_device *zdev = shrinker->private_data;

	return READ_ONCE(zdev->purge.system_pages) ?: SHRINK_EMPTY;
}

static unsigned long zhenwu_shrinker_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct zhenwu_device *zdev = shrinker->private_data;
	struct zhenwu_purge *purge = &zdev->purge;
	struct zhenwu_bo *bo, *next;
	unsigned long freed = 0;

	/* Locks below may be held by who allocates: see zhenwu_hbm_try_alloc(). */
	if (!(sc->gfp_mask & __GFP_FS))
		return SHRINK_STOP;

	/* Who has it looks for HBM, and may wait for who waits for this. */
	if (!mutex_trylock(&purge->lock))
		return SHRINK_STOP;
	list_for_each_entry_safe(bo, next, &purge->system, purge_node) {
		if (freed >= sc->nr_to_scan)
			break;
		if (zhenwu_purge_bo(zdev, bo))
			freed += bo->shmem.base.size >> PAGE_SHIFT;
	}
	mutex_unlock(&purge->lock);
	return freed ?: SHRINK_STOP;
}

static void zhenwu_purge_release(struct drm_device *drm, void *arg)
{
	struct zhenwu_purge *purge = arg;

	shrinker_free(purge->shrinker);
	mutex_destroy(&purge->lock);
}

/**
 * zhenwu_purge_init() - be ready to give memory back
 * @zdev: device
 *
 * Lives as long as the DRM device: buffers of open files outlive a removed device.
 *
 * Return: 0 or -ENOMEM.
 */
int zhenwu_purge_init(struct zhenwu_device *zdev)
{
	struct zhenwu_purge *purge = &zdev->purge;

	mutex_init(&purge->lock);
	INIT_LIST_HEAD(&purge->hbm);
	INIT_LIST_HEAD(&purge->system);
	/* Lockdep need not wait for a system that is short of memory. */
	fs_reclaim_acquire(GFP_KERNEL);
	might_lock(&zdev->bos.lock);
	fs_reclaim_release(GFP_KERNEL);

	purge->shrinker = shrinker_alloc(0, "drm-zhenwu:%s", dev_name(zdev->drm.dev));
	if (!purge->shrinker) {
		mutex_destroy(&purge->lock);
		return -ENOMEM;
	}
	purge->shrinker->count_objects = zhenwu_shrinker_count;
	purge->shrinker->scan_objects = zhenwu_shrinker_scan;
	purge->shrinker->private_data = zdev;
	shrinker_register(purge->shrinker);
	return drmm_add_action_or_reset(&zdev->drm, zhenwu_purge_release, purge);
}

/**
 * zhenwu_purge_forget() - a buffer keeps its contents, or is about to be freed
 * @zdev: device
 * @bo: buffer, whose reservation is held or which has no users
 */
void zhenwu_purge_forget(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	struct zhenwu_purge *purge = &zdev->purge;

	mutex_lock(&purge->lock);
	if (!list_empty(&bo->purge_node) && bo->placement == DRM_ZHENWU_BO_SYSTEM)
		purge->system_pages -= bo->shmem.base.size >> PAGE_SHIFT;
	list_del_init(&bo->purge_node);
	mutex_unlock(&purge->lock);
}

/* -- HBM -------------------------------------------------------------------------------------- */

/**
 * zhenwu_purge_for() - take back a buffer whose HBM is needed
 * @zdev: device
 * @need: what is missing
 *
 * Return: true when there is more now, perhaps after it was scrubbed.
 */
bool zhenwu_purge_for(struct zhenwu_device *zdev, const struct zhenwu_hbm_need *need)
{
	struct zhenwu_purge *purge = &zdev->purge;
	struct zhenwu_bo *bo, *next;
	bool found = false;

	mutex_lock(&purge->lock);
	list_for_each_entry_safe(bo, next, &purge->hbm, purge_node) {
		found = zhenwu_bo_helps(bo, need) && zhenwu_purge_bo(zdev, bo);
		if (found)
			break;
	}
	mutex_unlock(&purge->lock);
	return found;
}

/* -- ioctl ------------------------------------------------------------------------------------ */

static int zhenwu_madvise(struct zhenwu_device *zdev, struct zhenwu_bo *bo, bool needed)
{
	struct zhenwu_purge *purge = &zdev->purge;

	dma_resv_assert_held(bo->shmem.base.resv);

	if (bo->shmem.madv == ZHENWU_MADV_PURGED)
		return 0;
	if (!needed && bo->exported)
		return -EOPNOTSUPP;
	zhenwu_purge_forget(zdev, bo);
	WRITE_ONCE(bo->shmem.madv, needed ? ZHENWU_MADV_NEEDED : ZHENWU_MADV_PURGEABLE);
	if (needed)
		return 0;
	mutex_lock(&purge->lock);
	if (bo->placement == DRM_ZHENWU_BO_SYSTEM) {
		list_add_tail(&bo->purge_node, &purge->system);
		purge->system_pages += bo->shmem.base.size >> PAGE_SHIFT;
	} else {
		list_add_tail(&bo->purge_node, &purge->hbm);
	}
	mutex_unlock(&purge->lock);
	return 0;
}

/**
 * zhenwu_ioctl_bo_madvise() - DRM_IOCTL_ZHENWU_BO_MADVISE
 * @drm: device
 * @data: &struct drm_zhenwu_bo_madvise
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_bo_madvise(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_bo_madvise *args = data;
	struct drm_gem_object *obj;
	struct zhenwu_bo *bo;
	int ret;

	if (args->madv > DRM_ZHENWU_MADV_DONTNEED || args->retained || args->pad)
		return -EINVAL;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	bo = to_zhenwu_bo(obj);
	if (bo->flags & (DRM_ZHENWU_BO_USERPTR | DRM_ZHENWU_BO_IMPORTED)) {
		ret = -EOPNOTSUPP;
		goto out;
	}
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		goto out;
	ret = zhenwu_madvise(to_zhenwu_device(drm), bo, args->madv == DRM_ZHENWU_MADV_WILLNEED);
	args->retained = bo->shmem.madv != ZHENWU_MADV_PURGED;
	dma_resv_unlock(obj->resv);
	/* A call that fails returns nothing. */
	if (ret)
		args->retained = 0;
out:
	drm_gem_object_put(obj);
	return ret;
}
