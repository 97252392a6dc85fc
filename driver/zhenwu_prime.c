// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers as dma-bufs.
 *
 * What is exported lies in system memory and stays there: importers get its pages. What is imported
 * is attached without the right to move, so that its addresses hold as long as the buffer lives,
 * which every mapping in a VM keeps. Fences of jobs are on the VM, not on the buffer: who shares a
 * buffer with a device that synchronises implicitly carries fences over as sync files.
 */

#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_prime.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_compat.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_prime.h"

ZHENWU_IMPORT_NS_DMA_BUF;

/* -- export ----------------------------------------------------------------------------------- */

/**
 * zhenwu_prime_export() - make a dma-buf of a buffer
 * @obj: buffer; from now on it cannot become purgeable
 * @flags: of the descriptor
 *
 * Return: the dma-buf; -EINVAL for a buffer that belongs to one VM, whose reservation it has,
 * or is purgeable;
 * -EOPNOTSUPP for HBM, which other devices cannot reach yet, and for memory of a process.
 */
struct dma_buf *zhenwu_prime_export(struct drm_gem_object *obj, int flags)
{
	struct zhenwu_bo *bo = to_zhenwu_bo(obj);
	int ret;

	if (bo->vm_resv)
		return ERR_PTR(-EINVAL);
	/* Wherever it is now: what can be done with a buffer does not change when it moves. */
	if (bo->flags & (DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_USERPTR))
		return ERR_PTR(-EOPNOTSUPP);
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		return ERR_PTR(ret);
	if (bo->shmem.madv != ZHENWU_MADV_NEEDED)
		ret = -EINVAL;
	else
		bo->exported = true;
	dma_resv_unlock(obj->resv);
	return ret ? ERR_PTR(ret) : drm_gem_prime_export(obj, flags);
}

/* -- import ----------------------------------------------------------------------------------- */

/*
 * Ends the attachment, which belongs to the binding of the driver: an exporter may keep what it
 * mapped until then. The end of the buffer and the removal of the device may meet; who takes the
 * addresses away does it.
 */
static void zhenwu_prime_detach(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;

	mutex_lock(&zdev->bos.lock);
	sgt = bo->shmem.sgt;
	bo->shmem.sgt = NULL;
	mutex_unlock(&zdev->bos.lock);
	if (!sgt)
		return;

	/* The core looks at it under this lock. */
	mutex_lock(&zdev->drm.object_name_lock);
	attach = obj->import_attach;
	obj->import_attach = NULL;
	mutex_unlock(&zdev->drm.object_name_lock);
	dma_buf_unmap_attachment_unlocked(attach, sgt, DMA_BIDIRECTIONAL);
	dma_buf_detach(bo->imported, attach);
}

static void zhenwu_prime_free(struct drm_gem_object *obj)
{
	struct zhenwu_device *zdev = to_zhenwu_device(obj->dev);
	struct zhenwu_bo *bo = to_zhenwu_bo(obj);

	zhenwu_prime_detach(zdev, bo);
	zhenwu_bo_untrack(zdev, bo);
	drm_gem_object_release(obj);
	/* Its reservation was the buffer's until now. */
	dma_buf_put(bo->imported);
	kfree(bo);
}

/* No mmap: its memory is mapped by the dma-buf. No export: the core gives out what came in. */
static const struct drm_gem_object_funcs zhenwu_prime_funcs = {
	.free = zhenwu_prime_free,
};

/* The MMU has pages: an exporter may have pieces of any size. */
static bool zhenwu_prime_fits(struct sg_table *sgt, size_t size)
{
	struct scatterlist *sg;
	u64 sum = 0;
	int i;

	for_each_sgtable_dma_sg(sgt, sg, i) {
		if (!PAGE_ALIGNED(sg_dma_address(sg) | sg_dma_len(sg)))
			return false;
		sum += sg_dma_len(sg);
	}
	return size && PAGE_ALIGNED(size) && sum == size;
}

/**
 * zhenwu_prime_import_sg_table() - make a buffer of an attached dma-buf
 * @drm: device
 * @attach: attachment, the caller's when this fails
 * @sgt: its memory, mapped for this device; the same
 *
 * Return: the GEM object, or -EINVAL, -ENOMEM.
 */
struct drm_gem_object *zhenwu_prime_import_sg_table(struct drm_device *drm,
						    struct dma_buf_attachment *attach,
						    struct sg_table *sgt)
{
	size_t size = attach->dmabuf->size;
	struct zhenwu_bo *bo;

	if (!zhenwu_prime_fits(sgt, size))
		return ERR_PTR(-EINVAL);
	bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&bo->blocks);
	INIT_LIST_HEAD(&bo->node);
	INIT_LIST_HEAD(&bo->purge_node);
	INIT_LIST_HEAD(&bo->evict_node);
	bo->flags = DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_IMPORTED;
	bo->placement = DRM_ZHENWU_BO_SYSTEM;
	bo->shmem.sgt = sgt;
	bo->shmem.base.funcs = &zhenwu_prime_funcs;
	/* Of the reference that the core took for the attachment. */
	bo->imported = attach->dmabuf;
	drm_gem_private_object_init(drm, &bo->shmem.base, size);
	zhenwu_bo_track(to_zhenwu_device(drm), bo);
	return &bo->shmem.base;
}

/**
 * zhenwu_prime_import() - make a buffer of a dma-buf
 * @drm: device
 * @buf: dma-buf; one of this device's own buffers becomes that buffer again
 *
 * Return: the GEM object, or an error pointer.
 */
struct drm_gem_object *zhenwu_prime_import(struct drm_device *drm, struct dma_buf *buf)
{
	struct drm_gem_object *obj;
	int idx;

	/* A removal of the device finds it whole, or not at all. */
	if (!drm_dev_enter(drm, &idx))
		return ERR_PTR(-ENODEV);
	obj = drm_gem_prime_import(drm, buf);
	drm_dev_exit(idx);
	return obj;
}

/* An imported buffer that is mapped for the device, with a reference; or NULL. */
static struct zhenwu_bo *zhenwu_prime_next(struct zhenwu_device *zdev, bool *dying)
{
	struct zhenwu_bo *bo, *found = NULL;

	*dying = false;
	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node) {
		if (!(bo->flags & DRM_ZHENWU_BO_IMPORTED) || !bo->shmem.sgt)
			continue;
		if (kref_get_unless_zero(&bo->shmem.base.refcount)) {
			found = bo;
			break;
		}
		*dying = true;
	}
	mutex_unlock(&zdev->bos.lock);
	return found;
}

/**
 * zhenwu_prime_unmap_dma() - take all imported memory away from the device
 * @zdev: device that was unplugged: nobody imports or binds any more
 *
 * Not under the lock of the list, as its exporter has locks of its own.
 */
void zhenwu_prime_unmap_dma(struct zhenwu_device *zdev)
{
	struct zhenwu_bo *bo;
	bool dying;

	for (;;) {
		bo = zhenwu_prime_next(zdev, &dying);
		if (bo) {
			zhenwu_prime_detach(zdev, bo);
			drm_gem_object_put(&bo->shmem.base);
		} else if (dying) {
			/* Its last user is about to take it off the list. */
			usleep_range(100, 1000);
		} else {
			break;
		}
	}
}
