// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers of others, which come in as dma-bufs.
 *
 * They are pinned, so that their addresses hold as long as the buffer lives, which every mapping in
 * a VM keeps. It may be memory of another card: when that goes, its exporter says so, and all
 * mappings are taken away.
 */

#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_gem.h>
#include <drm/drm_gpuvm.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_compat.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_pm.h"
#include "zhenwu_prime.h"
#include "zhenwu_pt.h"
#include "zhenwu_reset.h"
#include "zhenwu_vm.h"

ZHENWU_IMPORT_NS_DMA_BUF;

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
	dma_resv_lock(obj->resv, NULL);
	dma_buf_unmap_attachment(attach, sgt, DMA_BIDIRECTIONAL);
	dma_buf_unpin(attach);
	dma_resv_unlock(obj->resv);
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
	return sum == size;
}

/* Takes the mappings of a buffer in a VM away. Under the lock of the tree none come or go. */
static void zhenwu_prime_zap(struct zhenwu_vm *vm, struct zhenwu_bo *bo)
{
	bool flush = false;
	struct drm_gpuva *va;
	u32 gen;

	mutex_lock(&vm->tree_lock);
	/* One that is there needs our reservation to go, and keeps the tables. */
	drm_gpuvm_for_each_va(va, &vm->base)
		if (va->gem.obj == &bo->shmem.base)
			flush |= zhenwu_pt_unmap(vm->zdev, vm->root, va->va.addr, va->va.range);
	mutex_unlock(&vm->tree_lock);
	if (flush && !zhenwu_vm_flush_tlb(vm, &gen))
		zhenwu_reset_wait(vm->zdev, gen);
}

/* The exporter takes the memory back, with the reservation: jobs that use it fault from now on. */
static void zhenwu_prime_invalidate(struct dma_buf_attachment *attach)
{
	struct zhenwu_bo *bo = attach->importer_priv;
	struct drm_gem_object *obj = &bo->shmem.base;
	struct zhenwu_device *zdev = to_zhenwu_device(obj->dev);
	struct drm_gpuvm_bo *vm_bo;
	int idx;

	dma_resv_assert_held(attach->dmabuf->resv);

	/* Binds that come later see it, and those that do not are in the tree. */
	WRITE_ONCE(bo->lost, true);
	if (zhenwu_pm_get(zdev))
		return;
	if (drm_dev_enter(&zdev->drm, &idx)) {
		drm_gem_for_each_gpuvm_bo(vm_bo, obj)
			zhenwu_prime_zap(to_zhenwu_vm(vm_bo->vm), bo);
		drm_dev_exit(idx);
	}
	zhenwu_pm_put(zdev);
}

static const struct dma_buf_attach_ops zhenwu_prime_attach_ops = {
	.allow_peer2peer = true,
	.invalidate_mappings = zhenwu_prime_invalidate,
};

/* Gets its memory. */
static int zhenwu_prime_pin(struct zhenwu_bo *bo, struct dma_buf_attachment *attach)
{
	struct dma_buf *buf = attach->dmabuf;
	struct sg_table *sgt;
	int ret;

	ret = dma_resv_lock_interruptible(buf->resv, NULL);
	if (ret)
		return ret;
	ret = dma_buf_pin(attach);
	if (ret)
		goto out;
	sgt = dma_buf_map_attachment(attach, DMA_BIDIRECTIONAL);
	ret = PTR_ERR_OR_ZERO(sgt);
	if (ret)
		goto err_unpin;
	if (!zhenwu_prime_fits(sgt, buf->size)) {
		ret = -EINVAL;
		goto err_unmap;
	}
	bo->shmem.sgt = sgt;
	goto out;

err_unmap:
	dma_buf_unmap_attachment(attach, sgt, DMA_BIDIRECTIONAL);
err_unpin:
	dma_buf_unpin(attach);
out:
	dma_resv_unlock(buf->resv);
	return ret;
}

static struct drm_gem_object *zhenwu_prime_make(struct drm_device *drm, struct dma_buf *buf)
{
	struct dma_buf_attachment *attach;
	struct zhenwu_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&bo->blocks);
	INIT_LIST_HEAD(&bo->node);
	INIT_LIST_HEAD(&bo->purge_node);
	INIT_LIST_HEAD(&bo->evict_node);
	bo->flags = DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_IMPORTED;
	bo->placement = DRM_ZHENWU_BO_SYSTEM;
	bo->shmem.base.funcs = &zhenwu_prime_funcs;
	drm_gem_private_object_init(drm, &bo->shmem.base, buf->size);
	bo->shmem.base.resv = buf->resv;

	/* The exporter may call back from here on. */
	attach = dma_buf_dynamic_attach(buf, drm->dev, &zhenwu_prime_attach_ops, bo);
	if (IS_ERR(attach)) {
		ret = PTR_ERR(attach);
		goto err_free;
	}
	ret = zhenwu_prime_pin(bo, attach);
	if (ret)
		goto err_detach;
	get_dma_buf(buf);
	bo->imported = buf;
	bo->shmem.base.import_attach = attach;
	zhenwu_bo_track(to_zhenwu_device(drm), bo);
	return &bo->shmem.base;

err_detach:
	dma_buf_detach(buf, attach);
err_free:
	drm_gem_object_release(&bo->shmem.base);
	kfree(bo);
	return ERR_PTR(ret);
}

/**
 * zhenwu_prime_import() - make a buffer of a dma-buf
 * @drm: device
 * @buf: dma-buf; one of this device's own buffers becomes that buffer again
 *
 * Return: the GEM object, or an error pointer: -EINVAL when it does not consist of whole pages, or
 * what its exporter says.
 */
struct drm_gem_object *zhenwu_prime_import(struct drm_device *drm, struct dma_buf *buf)
{
	struct drm_gem_object *obj = zhenwu_prime_own(drm, buf);
	int idx;

	if (obj) {
		drm_gem_object_get(obj);
		return obj;
	}
	if (!buf->size || !PAGE_ALIGNED(buf->size))
		return ERR_PTR(-EINVAL);
	/* A removal of the device finds it whole, or not at all. */
	if (!drm_dev_enter(drm, &idx))
		return ERR_PTR(-ENODEV);
	obj = zhenwu_prime_make(drm, buf);
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
