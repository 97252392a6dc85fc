// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers of this device as dma-bufs.
 *
 * A device that imports one gets HBM itself where it can reach it: through the aperture, below a
 * common bridge. Another one gets pages of system memory, into which the buffer is moved if it may
 * be there. In either case it stays where it is as long as somebody is attached, and when the card
 * goes those who reach its HBM are told: the addresses are somebody else's then.
 *
 * Fences of jobs are on the VM, not on the buffer: who shares a buffer with a device that
 * synchronises implicitly carries fences over as sync files.
 */

#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_prime.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_compat.h"
#include "zhenwu_device.h"
#include "zhenwu_evict.h"
#include "zhenwu_gem.h"
#include "zhenwu_pm.h"
#include "zhenwu_prime.h"

/* A segment has 32 bits of length. */
#define ZHENWU_PRIME_SEGMENT	SZ_1G

static struct zhenwu_bo *zhenwu_prime_bo(const struct dma_buf *buf)
{
	return to_zhenwu_bo(buf->priv);
}

/* Buffers that were made in system memory have a file of pages, and never move. */
static bool zhenwu_prime_moves(const struct zhenwu_bo *bo)
{
	return !bo->shmem.base.filp;
}

/* -- who is attached -------------------------------------------------------------------------- */

/* Can an importer reach the memory of a buffer where it is, in HBM? */
static bool zhenwu_prime_in_reach(struct zhenwu_bo *bo, struct dma_buf_attachment *attach)
{
	struct zhenwu_device *zdev = to_zhenwu_device(bo->shmem.base.dev);

	return attach->peer2peer && bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE &&
	       pci_p2pdma_distance(zdev->pdev, attach->dev, false) >= 0;
}

static void zhenwu_prime_leave(struct zhenwu_bo *bo, struct dma_buf_attachment *attach)
{
	dma_resv_lock(bo->shmem.base.resv, NULL);
	if (attach->peer2peer && !--bo->peers)
		bo->peers_buf = NULL;
	else if (!attach->peer2peer)
		bo->outside--;
	dma_resv_unlock(bo->shmem.base.resv);
}

/* From here on it does not move any more, or not back to HBM. */
static int zhenwu_prime_enter(struct zhenwu_bo *bo, struct dma_buf_attachment *attach)
{
	struct zhenwu_device *zdev = to_zhenwu_device(bo->shmem.base.dev);
	int ret;

	ret = dma_resv_lock_interruptible(bo->shmem.base.resv, NULL);
	if (ret)
		return ret;
	if (!attach->peer2peer) {
		bo->outside++;
	} else if (zhenwu_device_alive(zdev)) {
		bo->peers++;
		bo->peers_buf = attach->dmabuf;
	} else {
		ret = -ENODEV;
	}
	dma_resv_unlock(bo->shmem.base.resv);
	return ret;
}

static int zhenwu_prime_attach(struct dma_buf *buf, struct dma_buf_attachment *attach)
{
	struct zhenwu_bo *bo = zhenwu_prime_bo(buf);
	struct zhenwu_device *zdev = to_zhenwu_device(bo->shmem.base.dev);
	int ret;

	if (!zhenwu_prime_moves(bo)) {
		attach->peer2peer = false;
		return 0;
	}
	attach->peer2peer = zhenwu_prime_in_reach(bo, attach);
	if (!attach->peer2peer && !(bo->flags & DRM_ZHENWU_BO_SYSTEM))
		return -EOPNOTSUPP;
	if (!attach->peer2peer && bo->flags & DRM_ZHENWU_BO_NO_EVICT)
		return -EOPNOTSUPP;
	/* A card that sleeps has no aperture. */
	if (attach->peer2peer) {
		ret = zhenwu_pm_get(zdev);
		if (ret)
			return ret;
	}
	ret = zhenwu_prime_enter(bo, attach);
	if (!ret && !attach->peer2peer) {
		ret = zhenwu_evict_bo(bo);
		if (ret)
			zhenwu_prime_leave(bo, attach);
	}
	if (ret && attach->peer2peer)
		zhenwu_pm_put(zdev);
	return ret;
}

static void zhenwu_prime_detach(struct dma_buf *buf, struct dma_buf_attachment *attach)
{
	struct zhenwu_bo *bo = zhenwu_prime_bo(buf);

	if (!zhenwu_prime_moves(bo))
		return;
	zhenwu_prime_leave(bo, attach);
	if (attach->peer2peer)
		zhenwu_pm_put(to_zhenwu_device(bo->shmem.base.dev));
}

/* -- addresses -------------------------------------------------------------------------------- */

static void zhenwu_prime_free_peer(struct device *dev, struct sg_table *sgt,
				   enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	for_each_sgtable_dma_sg(sgt, sg, i) {
		if (sg_dma_len(sg))
			dma_unmap_resource(dev, sg_dma_address(sg), sg_dma_len(sg), dir, 0);
	}
	sg_free_table(sgt);
	kfree(sgt);
}

static unsigned int zhenwu_prime_segments(struct zhenwu_bo *bo)
{
	struct zhenwu_bo_cursor cur;
	unsigned int n = 0;

	zhenwu_bo_cursor_start(&cur, bo, 0);
	for (; cur.len; n++)
		zhenwu_bo_cursor_advance(&cur, min_t(u64, cur.len, ZHENWU_PRIME_SEGMENT));
	return n;
}

/* HBM, as addresses in the aperture. There are no pages behind them. */
static struct sg_table *zhenwu_prime_map_peer(struct zhenwu_bo *bo, struct device *dev,
					      enum dma_data_direction dir)
{
	struct zhenwu_device *zdev = to_zhenwu_device(bo->shmem.base.dev);
	struct zhenwu_bo_cursor cur;
	struct scatterlist *sg;
	struct sg_table *sgt;
	int i, ret;

	sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);
	if (!sgt)
		return ERR_PTR(-ENOMEM);
	ret = sg_alloc_table(sgt, zhenwu_prime_segments(bo), GFP_KERNEL);
	if (ret) {
		kfree(sgt);
		return ERR_PTR(ret);
	}
	zhenwu_bo_cursor_start(&cur, bo, 0);
	for_each_sgtable_sg(sgt, sg, i) {
		unsigned int len = min_t(u64, cur.len, ZHENWU_PRIME_SEGMENT);
		dma_addr_t addr;

		sg_set_page(sg, NULL, len, 0);
		addr = dma_map_resource(dev, zdev->aperture_phys + cur.addr, len, dir, 0);
		if (dma_mapping_error(dev, addr)) {
			sg_dma_len(sg) = 0;
			zhenwu_prime_free_peer(dev, sgt, dir);
			return ERR_PTR(-EIO);
		}
		sg_dma_address(sg) = addr;
		sg_dma_len(sg) = len;
		zhenwu_bo_cursor_advance(&cur, len);
	}
	return sgt;
}

static struct sg_table *zhenwu_prime_map_pages(struct zhenwu_bo *bo, struct device *dev,
					       enum dma_data_direction dir)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct page **pages = bo->pages ?: bo->shmem.pages;
	struct sg_table *sgt;
	int ret;

	sgt = drm_prime_pages_to_sg(obj->dev, pages, obj->size >> PAGE_SHIFT);
	if (IS_ERR(sgt))
		return sgt;
	ret = dma_map_sgtable(dev, sgt, dir, 0);
	if (ret) {
		sg_free_table(sgt);
		kfree(sgt);
		return ERR_PTR(ret);
	}
	return sgt;
}

/* The core holds the reservation. */
static struct sg_table *zhenwu_prime_map(struct dma_buf_attachment *attach,
					 enum dma_data_direction dir)
{
	struct zhenwu_bo *bo = zhenwu_prime_bo(attach->dmabuf);
	struct zhenwu_device *zdev = to_zhenwu_device(bo->shmem.base.dev);

	dma_resv_assert_held(bo->shmem.base.resv);

	if (bo->placement != DRM_ZHENWU_BO_HBM)
		return zhenwu_prime_map_pages(bo, attach->dev, dir);
	if (!zhenwu_device_alive(zdev))
		return ERR_PTR(-ENODEV);
	return zhenwu_prime_map_peer(bo, attach->dev, dir);
}

static void zhenwu_prime_unmap(struct dma_buf_attachment *attach, struct sg_table *sgt,
			       enum dma_data_direction dir)
{
	if (!sg_page(sgt->sgl)) {
		zhenwu_prime_free_peer(attach->dev, sgt, dir);
		return;
	}
	dma_unmap_sgtable(attach->dev, sgt, dir, 0);
	sg_free_table(sgt);
	kfree(sgt);
}

static const struct dma_buf_ops zhenwu_prime_buf_ops = {
	.attach = zhenwu_prime_attach,
	.detach = zhenwu_prime_detach,
	.map_dma_buf = zhenwu_prime_map,
	.unmap_dma_buf = zhenwu_prime_unmap,
	.release = drm_gem_dmabuf_release,
	.mmap = drm_gem_dmabuf_mmap,
	.vmap = drm_gem_dmabuf_vmap,
	.vunmap = drm_gem_dmabuf_vunmap,
};

/* -- life ------------------------------------------------------------------------------------- */

/**
 * zhenwu_prime_own() - is a dma-buf one of this device's buffers
 * @drm: device
 * @buf: dma-buf
 *
 * Return: the buffer, which @buf keeps; or NULL.
 */
struct drm_gem_object *zhenwu_prime_own(const struct drm_device *drm, const struct dma_buf *buf)
{
	struct drm_gem_object *obj;

	if (buf->ops != &zhenwu_prime_buf_ops)
		return NULL;
	obj = buf->priv;
	return obj->dev == drm ? obj : NULL;
}

/**
 * zhenwu_prime_export() - make a dma-buf of a buffer
 * @obj: buffer; from now on it cannot become purgeable
 * @flags: of the descriptor
 *
 * Return: the dma-buf; -EINVAL for a buffer that belongs to one VM, whose reservation it has,
 * or is purgeable; -EOPNOTSUPP for memory of a process.
 */
struct dma_buf *zhenwu_prime_export(struct drm_gem_object *obj, int flags)
{
	struct zhenwu_bo *bo = to_zhenwu_bo(obj);
	struct dma_buf *buf;
	int ret;

	if (bo->vm_resv)
		return ERR_PTR(-EINVAL);
	if (bo->flags & DRM_ZHENWU_BO_USERPTR)
		return ERR_PTR(-EOPNOTSUPP);
	/* Mappings of the dma-buf are found by it when the buffer moves. */
	ret = drm_gem_create_mmap_offset(obj);
	if (ret)
		return ERR_PTR(ret);
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		return ERR_PTR(ret);
	if (bo->shmem.madv != ZHENWU_MADV_NEEDED)
		ret = -EINVAL;
	else
		bo->exported = true;
	dma_resv_unlock(obj->resv);
	if (ret)
		return ERR_PTR(ret);
	buf = drm_gem_prime_export(obj, flags);
	/* Nobody else knows it yet. */
	if (!IS_ERR(buf))
		buf->ops = &zhenwu_prime_buf_ops;
	return buf;
}

/**
 * zhenwu_prime_has_peers() - do other devices reach HBM
 * @zdev: device
 *
 * Return: true when they do, or will in a moment.
 */
bool zhenwu_prime_has_peers(struct zhenwu_device *zdev)
{
	struct zhenwu_bo *bo;
	bool any = false;

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node)
		any |= READ_ONCE(bo->peers);
	mutex_unlock(&zdev->bos.lock);
	return any;
}

/* A buffer whose HBM others reach and have not been told of, with a reference; or NULL. */
static struct zhenwu_bo *zhenwu_prime_next_peer(struct zhenwu_device *zdev, u64 round)
{
	struct zhenwu_bo *bo, *found = NULL;

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node) {
		if (bo->evict_tried >= round || !READ_ONCE(bo->peers) ||
		    !kref_get_unless_zero(&bo->shmem.base.refcount))
			continue;
		bo->evict_tried = round;
		found = bo;
		break;
	}
	mutex_unlock(&zdev->bos.lock);
	return found;
}

/**
 * zhenwu_prime_revoke() - no other device reaches HBM any more when this returns
 * @zdev: device that was unplugged: nobody attaches any more
 */
void zhenwu_prime_revoke(struct zhenwu_device *zdev)
{
	u64 round = atomic64_inc_return(&zdev->evict.rounds);
	struct zhenwu_bo *bo;

	while ((bo = zhenwu_prime_next_peer(zdev, round))) {
		dma_resv_lock(bo->shmem.base.resv, NULL);
		/* Who is attached keeps the dma-buf. */
		if (bo->peers_buf)
			dma_buf_invalidate_mappings(bo->peers_buf);
		dma_resv_unlock(bo->shmem.base.resv);
		drm_gem_object_put(&bo->shmem.base);
	}
}
