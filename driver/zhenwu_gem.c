// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffer objects.
 *
 * System memory comes from the shmem helper; its pages are pinned for the life of the buffer, and
 * DMA mapped as long as the driver is bound. HBM comes from zhenwu_hbm.c and is mapped into user
 * space through the aperture; it may be exchanged for system memory: zhenwu_evict.c. Both may be
 * taken before: zhenwu_purge.c.
 */

#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_utils.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_dmem.h"
#include "zhenwu_evict.h"
#include "zhenwu_gem.h"
#include "zhenwu_prime.h"
#include "zhenwu_purge.h"
#include "zhenwu_reset.h"
#include "zhenwu_vm.h"

#define ZHENWU_BO_PLACEMENTS	(DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM)
#define ZHENWU_BO_FLAGS		(ZHENWU_BO_PLACEMENTS | DRM_ZHENWU_BO_CPU_VISIBLE | \
				 DRM_ZHENWU_BO_NO_EVICT)

/* Pages mapped by one fault: a fault costs more than the entries. */
#define ZHENWU_FAULT_AROUND_PAGES 512

/**
 * zhenwu_bo_track() - put a buffer on the device's list
 * @zdev: device
 * @bo: buffer
 */
void zhenwu_bo_track(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	mutex_lock(&zdev->bos.lock);
	list_add_tail(&bo->node, &zdev->bos.list);
	mutex_unlock(&zdev->bos.lock);
}

/* Under the lock of the list: removal of the device and the end of a buffer may meet. */
static void zhenwu_bo_unmap_dma(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	struct sg_table *sgt = bo->shmem.sgt;

	lockdep_assert_held(&zdev->bos.lock);

	if (IS_ERR_OR_NULL(sgt))
		return;
	bo->shmem.sgt = NULL;
	dma_unmap_sgtable(zdev->drm.dev, sgt, zhenwu_bo_dma_direction(bo),
			  zhenwu_bo_dma_attrs(bo));
	sg_free_table(sgt);
	kfree(sgt);
}

/**
 * zhenwu_bo_untrack() - take a buffer off the device's list, and away from the device
 * @zdev: device
 * @bo: buffer without users, whose memory is freed next
 */
void zhenwu_bo_untrack(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	zhenwu_purge_forget(zdev, bo);
	mutex_lock(&zdev->bos.lock);
	list_del_init(&bo->node);
	zhenwu_bo_unmap_dma(zdev, bo);
	mutex_unlock(&zdev->bos.lock);
	kfree(bo->label);
}

/**
 * zhenwu_bo_set_vm() - let a buffer share the reservation of the only VM it may be mapped in
 * @bo: buffer that nothing else knows yet
 * @vm: VM or NULL
 */
void zhenwu_bo_set_vm(struct zhenwu_bo *bo, struct zhenwu_vm *vm)
{
	if (!vm)
		return;
	bo->vm_resv = drm_gpuvm_resv_obj(&vm->base);
	drm_gem_object_get(bo->vm_resv);
	bo->shmem.base.resv = bo->vm_resv->resv;
}

/* -- faults ----------------------------------------------------------------------------------- */

/**
 * struct zhenwu_fault_range - pages a fault fills in
 */
struct zhenwu_fault_range {
	/** @first: First page of the buffer. */
	u64 first;

	/** @end: Page behind the last one. */
	u64 end;
};

/* First page of a buffer that a mapping shows: a mapping may be what is left of a larger one. */
static u64 zhenwu_fault_start(struct vm_area_struct *vma)
{
	const struct drm_gem_object *obj = vma->vm_private_data;

	return vma->vm_pgoff - drm_vma_node_start(&obj->vma_node);
}

static unsigned long zhenwu_fault_address(struct vm_area_struct *vma, u64 page)
{
	return vma->vm_start + ((page - zhenwu_fault_start(vma)) << PAGE_SHIFT);
}

/* Return: false when the buffer has no such page. */
static bool zhenwu_fault_range(const struct vm_fault *vmf, struct zhenwu_fault_range *range)
{
	struct vm_area_struct *vma = vmf->vma;
	struct drm_gem_object *obj = vma->vm_private_data;
	u64 start = zhenwu_fault_start(vma);
	u64 page = start + ((vmf->address - vma->vm_start) >> PAGE_SHIFT);
	u64 around = round_down(page, ZHENWU_FAULT_AROUND_PAGES);

	range->first = max(around, start);
	range->end = min3(around + ZHENWU_FAULT_AROUND_PAGES, start + vma_pages(vma),
			  (u64)obj->size >> PAGE_SHIFT);
	return page < range->end;
}

/* -- system memory ---------------------------------------------------------------------------- */

static void zhenwu_system_free(struct drm_gem_object *obj)
{
	struct zhenwu_bo *bo = to_zhenwu_bo(obj);
	struct drm_gem_object *vm_resv = bo->vm_resv;

	zhenwu_bo_untrack(to_zhenwu_device(obj->dev), bo);
	drm_gem_shmem_free(&bo->shmem);
	if (vm_resv)
		drm_gem_object_put(vm_resv);
}

/**
 * zhenwu_gem_unmap_dma() - take all system memory away from the device
 * @zdev: device that was unplugged: nobody binds any more
 *
 * Buffers and mappings of user space live on in files that are still open; DMA mappings may not,
 * they belong to the binding of the driver.
 */
void zhenwu_gem_unmap_dma(struct zhenwu_device *zdev)
{
	struct zhenwu_bo *bo;

	zhenwu_prime_revoke(zdev);
	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node)
		if (!(bo->flags & DRM_ZHENWU_BO_IMPORTED))
			zhenwu_bo_unmap_dma(zdev, bo);
	mutex_unlock(&zdev->bos.lock);
	zhenwu_prime_unmap_dma(zdev);
}

static int zhenwu_system_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = vm_get_page_prot(vma->vm_flags);
	return 0;
}

/* The pages are there as long as the buffer is, which the mapping keeps, unless they are purged. */
static vm_fault_t zhenwu_system_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct drm_gem_object *obj = vma->vm_private_data;
	struct drm_gem_shmem_object *shmem = to_drm_gem_shmem_obj(obj);
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct zhenwu_fault_range range;
	u64 page;

	if (!zhenwu_fault_range(vmf, &range))
		return VM_FAULT_SIGBUS;
	/* Whoever is interrupted comes back. */
	if (dma_resv_lock_interruptible(obj->resv, NULL))
		return VM_FAULT_NOPAGE;
	if (shmem->madv == ZHENWU_MADV_PURGED)
		goto out;
	for (page = range.first; page < range.end; page++) {
		ret = vmf_insert_pfn(vma, zhenwu_fault_address(vma, page),
				     page_to_pfn(shmem->pages[page]));
		if (ret != VM_FAULT_NOPAGE)
			break;
	}
out:
	dma_resv_unlock(obj->resv);
	return ret;
}

/* Not the helper's: its fault handler takes a part of a mapping for the whole. */
static const struct vm_operations_struct zhenwu_system_vm_ops = {
	.open = drm_gem_vm_open,
	.close = drm_gem_vm_close,
	.fault = zhenwu_system_fault,
};

static const struct drm_gem_object_funcs zhenwu_system_funcs = {
	.free = zhenwu_system_free,
	.print_info = drm_gem_shmem_object_print_info,
	.mmap = zhenwu_system_mmap,
	.export = zhenwu_prime_export,
	.get_sg_table = drm_gem_shmem_object_get_sg_table,
	.vmap = drm_gem_shmem_object_vmap,
	.vunmap = drm_gem_shmem_object_vunmap,
	.vm_ops = &zhenwu_system_vm_ops,
};

/**
 * zhenwu_gem_create_object() - allocate the structure of a buffer for the shmem helper
 * @drm: device
 * @size: bytes
 *
 * Return: the GEM object or an error pointer.
 */
struct drm_gem_object *zhenwu_gem_create_object(struct drm_device *drm, size_t size)
{
	struct zhenwu_bo *bo = kzalloc(sizeof(*bo), GFP_KERNEL);

	if (!bo)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&bo->blocks);
	INIT_LIST_HEAD(&bo->node);
	INIT_LIST_HEAD(&bo->purge_node);
	INIT_LIST_HEAD(&bo->evict_node);
	bo->placement = DRM_ZHENWU_BO_SYSTEM;
	bo->shmem.base.funcs = &zhenwu_system_funcs;
	return &bo->shmem.base;
}

static struct zhenwu_bo *zhenwu_bo_create_system(struct zhenwu_device *zdev, u64 size, u32 flags,
						 struct zhenwu_vm *vm)
{
	struct drm_gem_shmem_object *shmem;
	struct sg_table *sgt;
	struct zhenwu_bo *bo;

	if (size >> PAGE_SHIFT > totalram_pages())
		return ERR_PTR(-ENOMEM);
	shmem = drm_gem_shmem_create(&zdev->drm, size);
	if (IS_ERR(shmem))
		return ERR_CAST(shmem);
	bo = to_zhenwu_bo(&shmem->base);
	bo->flags = flags;
	zhenwu_bo_set_vm(bo, vm);
	zhenwu_bo_track(zdev, bo);

	sgt = drm_gem_shmem_get_pages_sgt(shmem);
	if (IS_ERR(sgt)) {
		drm_gem_object_put(&shmem->base);
		return ERR_CAST(sgt);
	}
	return bo;
}

/* -- HBM -------------------------------------------------------------------------------------- */

/**
 * zhenwu_bo_helps() - would it help somebody if a buffer had no HBM
 * @bo: buffer in HBM
 * @need: what he needs
 *
 * Return: true when it would.
 */
bool zhenwu_bo_helps(struct zhenwu_bo *bo, const struct zhenwu_hbm_need *need)
{
	bool protected;

	if (need->limit)
		return zhenwu_dmem_gives(bo, need, true, &protected);
	if (!need->client)
		return zhenwu_hbm_is_in(to_zhenwu_device(bo->shmem.base.dev), &bo->blocks,
					need->place);
	if (need->res == ZHENWU_VISIBLE && !(bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE))
		return false;
	return zhenwu_client_gains(need->client, bo->client, need->res, need->n);
}

static int zhenwu_bo_charge_one(struct zhenwu_client *client, enum zhenwu_resource res, u64 bytes)
{
	const struct zhenwu_hbm_need need = { .client = client, .res = res, .n = bytes };
	int ret;

	do {
		ret = zhenwu_client_charge(client, res, bytes);
	} while (ret == -ENOSPC && zhenwu_purge_for(client->zdev, &need));
	return ret;
}

/**
 * zhenwu_bo_charge() - take HBM from what a client may have
 * @client: client
 * @bytes: how much
 * @visible: where the CPU reaches it
 *
 * What is not there is taken from buffers that can be purged.
 *
 * Return: 0 or -ENOSPC.
 */
int zhenwu_bo_charge(struct zhenwu_client *client, u64 bytes, bool visible)
{
	int ret;

	ret = zhenwu_bo_charge_one(client, ZHENWU_HBM, bytes);
	if (ret || !visible)
		return ret;
	ret = zhenwu_bo_charge_one(client, ZHENWU_VISIBLE, bytes);
	if (ret)
		zhenwu_client_uncharge(client, ZHENWU_HBM, bytes);
	return ret;
}

/**
 * zhenwu_bo_uncharge() - give back what zhenwu_bo_charge() took
 * @client: client
 * @bytes: how much
 * @visible: where the CPU reaches it
 */
void zhenwu_bo_uncharge(struct zhenwu_client *client, u64 bytes, bool visible)
{
	zhenwu_client_uncharge(client, ZHENWU_HBM, bytes);
	if (visible)
		zhenwu_client_uncharge(client, ZHENWU_VISIBLE, bytes);
}

static void zhenwu_hbm_bo_drop(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	struct dmem_cgroup_pool_state *dmem;
	LIST_HEAD(blocks);

	/* Who walks over buffers looks at both. */
	mutex_lock(&zdev->bos.lock);
	list_splice_init(&bo->blocks, &blocks);
	dmem = bo->dmem;
	bo->dmem = NULL;
	mutex_unlock(&zdev->bos.lock);
	zhenwu_hbm_free(zdev, &blocks);
	zhenwu_dmem_uncharge(dmem, bo->shmem.base.size);
	zhenwu_bo_uncharge(bo->client, bo->shmem.base.size, bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE);
}

static void zhenwu_hbm_bo_free(struct drm_gem_object *obj)
{
	struct zhenwu_device *zdev = to_zhenwu_device(obj->dev);
	struct zhenwu_bo *bo = to_zhenwu_bo(obj);
	struct drm_gem_object *vm_resv = bo->vm_resv;

	zhenwu_bo_untrack(zdev, bo);
	if (bo->pages)
		zhenwu_evict_drop_pages(zdev, bo);
	else if (bo->shmem.madv != ZHENWU_MADV_PURGED)
		zhenwu_hbm_bo_drop(zdev, bo);
	zhenwu_client_put(bo->client);
	mem_cgroup_put(bo->memcg);
	drm_gem_object_release(obj);
	kfree(bo);
	if (vm_resv)
		drm_gem_object_put(vm_resv);
}

static int zhenwu_hbm_bo_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	if (!(to_zhenwu_bo(obj)->flags & DRM_ZHENWU_BO_CPU_VISIBLE))
		return -EACCES;
	/* A private copy of a page of device memory cannot be made. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = pgprot_writecombine(vm_get_page_prot(vma->vm_flags));
	vma->vm_page_prot = pgprot_decrypted(vma->vm_page_prot);
	return 0;
}

/* Of a buffer that was moved away. */
static vm_fault_t zhenwu_moved_bo_fault(struct vm_area_struct *vma, struct zhenwu_bo *bo,
					const struct zhenwu_fault_range *range)
{
	/* Unlike HBM it is cached. */
	pgprot_t prot = vm_get_page_prot(vma->vm_flags);
	vm_fault_t ret = VM_FAULT_SIGBUS;
	u64 page;

	for (page = range->first; page < range->end; page++) {
		ret = vmf_insert_pfn_prot(vma, zhenwu_fault_address(vma, page),
					  page_to_pfn(bo->pages[page]), prot);
		if (ret != VM_FAULT_NOPAGE)
			break;
	}
	return ret;
}

static vm_fault_t zhenwu_hbm_bo_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct drm_gem_object *obj = vma->vm_private_data;
	struct zhenwu_device *zdev = to_zhenwu_device(obj->dev);
	struct zhenwu_bo *bo = to_zhenwu_bo(obj);
	struct zhenwu_fault_range range;
	struct zhenwu_bo_cursor cur;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	u64 page;
	int idx;

	if (zhenwu_pm_get(zdev))
		return VM_FAULT_SIGBUS;
	if (!drm_dev_enter(&zdev->drm, &idx))
		goto out_pm;
	/* Whoever is interrupted comes back. */
	if (dma_resv_lock_interruptible(obj->resv, NULL)) {
		ret = VM_FAULT_NOPAGE;
		goto out_dev;
	}
	if (bo->shmem.madv == ZHENWU_MADV_PURGED || !zhenwu_fault_range(vmf, &range))
		goto out;
	if (bo->pages) {
		ret = zhenwu_moved_bo_fault(vma, bo, &range);
		goto out;
	}
	/* A function level reset takes the aperture away, and the contents with it. */
	if (!zhenwu_aperture_enter(zdev))
		goto out;

	zhenwu_bo_cursor_start(&cur, bo, range.first << PAGE_SHIFT);
	for (page = range.first; page < range.end; page++) {
		ret = vmf_insert_pfn(vma, zhenwu_fault_address(vma, page),
				     (zdev->aperture_phys + cur.addr) >> PAGE_SHIFT);
		if (ret != VM_FAULT_NOPAGE)
			break;
		zhenwu_bo_cursor_advance(&cur, PAGE_SIZE);
	}
	zhenwu_aperture_exit(zdev);
out:
	dma_resv_unlock(obj->resv);
out_dev:
	drm_dev_exit(idx);
out_pm:
	zhenwu_pm_put(zdev);
	return ret;
}

static const struct vm_operations_struct zhenwu_hbm_vm_ops = {
	.open = drm_gem_vm_open,
	.close = drm_gem_vm_close,
	.fault = zhenwu_hbm_bo_fault,
};

static const struct drm_gem_object_funcs zhenwu_hbm_funcs = {
	.free = zhenwu_hbm_bo_free,
	.mmap = zhenwu_hbm_bo_mmap,
	.export = zhenwu_prime_export,
	.vm_ops = &zhenwu_hbm_vm_ops,
};

/*
 * As zhenwu_bo_charge(). A buffer that can only be in HBM gets room at the expense of those that
 * can be elsewhere.
 */
static int zhenwu_bo_charge_new(struct zhenwu_client *client, u64 bytes, u32 flags,
				struct dmem_cgroup_pool_state *own)
{
	struct zhenwu_hbm_need need = { .client = client, .n = bytes, .own = own };
	bool visible = flags & DRM_ZHENWU_BO_CPU_VISIBLE;
	int ret, moved;

	do {
		ret = zhenwu_bo_charge(client, bytes, visible);
		if (ret != -ENOSPC || flags & DRM_ZHENWU_BO_SYSTEM)
			return ret;
		need.res = ZHENWU_HBM;
		moved = zhenwu_evict_for(client->zdev, &need);
		need.res = ZHENWU_VISIBLE;
		if (!moved && visible)
			moved = zhenwu_evict_for(client->zdev, &need);
	} while (moved > 0);
	return moved ?: ret;
}

/* The same of zhenwu_hbm_alloc(). */
static int zhenwu_bo_alloc_new(struct zhenwu_device *zdev, u64 bytes, u32 flags,
			       struct dmem_cgroup_pool_state *own, struct list_head *blocks)
{
	enum zhenwu_hbm_place place = flags & DRM_ZHENWU_BO_CPU_VISIBLE ? ZHENWU_HBM_VISIBLE :
									  ZHENWU_HBM_ANY;
	const struct zhenwu_hbm_need need = { .place = place, .own = own };
	int ret, moved;

	do {
		ret = zhenwu_hbm_alloc(zdev, bytes, place, blocks);
		if (ret != -ENOSPC || flags & DRM_ZHENWU_BO_SYSTEM)
			return ret;
		moved = zhenwu_evict_for(zdev, &need);
	} while (moved > 0);
	return moved ?: ret;
}

static struct zhenwu_bo *zhenwu_bo_create_hbm(struct zhenwu_client *client, u64 size, u32 flags,
					      struct zhenwu_vm *vm)
{
	bool visible = flags & DRM_ZHENWU_BO_CPU_VISIBLE;
	struct zhenwu_device *zdev = client->zdev;
	struct zhenwu_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&bo->blocks);
	INIT_LIST_HEAD(&bo->node);
	INIT_LIST_HEAD(&bo->purge_node);
	INIT_LIST_HEAD(&bo->evict_node);
	bo->flags = flags;
	bo->placement = DRM_ZHENWU_BO_HBM;
	bo->shmem.base.funcs = &zhenwu_hbm_funcs;

	ret = zhenwu_dmem_charge(zdev, size, !(flags & DRM_ZHENWU_BO_SYSTEM), &bo->dmem);
	if (ret)
		goto err_free;
	ret = zhenwu_bo_charge_new(client, size, flags, bo->dmem);
	if (ret)
		goto err_dmem;
	ret = zhenwu_bo_alloc_new(zdev, size, flags, bo->dmem, &bo->blocks);
	if (ret)
		goto err_uncharge;
	bo->client = zhenwu_client_get(client);
	bo->memcg = get_mem_cgroup_from_mm(current->mm);
	bo->made = jiffies;

	drm_gem_private_object_init(&zdev->drm, &bo->shmem.base, size);
	zhenwu_bo_set_vm(bo, vm);
	zhenwu_bo_track(zdev, bo);
	return bo;

err_uncharge:
	zhenwu_bo_uncharge(client, size, visible);
err_dmem:
	zhenwu_dmem_uncharge(bo->dmem, size);
err_free:
	kfree(bo);
	return ERR_PTR(ret);
}

/**
 * zhenwu_bo_drop_memory() - take the memory of a buffer away for good
 * @bo: buffer that no VM maps and nobody has as a dma-buf; its reservation is held
 *
 * The caller has set its state: a fault that comes from here on finds nothing. Allocates nothing.
 */
void zhenwu_bo_drop_memory(struct zhenwu_bo *bo)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct zhenwu_device *zdev = to_zhenwu_device(obj->dev);

	dma_resv_assert_held(obj->resv);

	drm_vma_node_unmap(&obj->vma_node, obj->dev->anon_inode->i_mapping);
	if (bo->placement == DRM_ZHENWU_BO_HBM) {
		zhenwu_hbm_bo_drop(zdev, bo);
		return;
	}
	mutex_lock(&zdev->bos.lock);
	zhenwu_bo_unmap_dma(zdev, bo);
	mutex_unlock(&zdev->bos.lock);
	if (bo->pages) {
		zhenwu_evict_drop_pages(zdev, bo);
		return;
	}
	drm_gem_shmem_put_pages_locked(&bo->shmem);
	shmem_truncate_range(file_inode(obj->filp), 0, (loff_t)-1);
}

/* -- walking over the memory ------------------------------------------------------------------ */

static void zhenwu_bo_cursor_load(struct zhenwu_bo_cursor *cur)
{
	struct zhenwu_device *zdev = to_zhenwu_device(cur->bo->shmem.base.dev);

	if (cur->block) {
		cur->addr = gpu_buddy_block_offset(cur->block);
		cur->len = gpu_buddy_block_size(&zdev->hbm.mm, cur->block);
	} else if (cur->sg) {
		cur->addr = sg_dma_address(cur->sg);
		cur->len = sg_dma_len(cur->sg);
	} else {
		cur->addr = 0;
		cur->len = 0;
	}
}

/**
 * zhenwu_bo_cursor_start() - put a cursor on a byte of a buffer
 * @cur: cursor
 * @bo: buffer; the caller keeps a reference
 * @offset: byte, page aligned and inside the buffer
 */
void zhenwu_bo_cursor_start(struct zhenwu_bo_cursor *cur, struct zhenwu_bo *bo, u64 offset)
{
	*cur = (struct zhenwu_bo_cursor) { .bo = bo };
	if (bo->placement == DRM_ZHENWU_BO_HBM)
		cur->block = list_first_entry_or_null(&bo->blocks, struct gpu_buddy_block, link);
	else
		cur->sg = bo->shmem.sgt->sgl;
	zhenwu_bo_cursor_load(cur);
	zhenwu_bo_cursor_advance(cur, offset);
}

/**
 * zhenwu_bo_cursor_advance() - move a cursor
 * @cur: cursor
 * @bytes: how far; @cur->len is 0 afterwards when that is the end of the buffer
 */
void zhenwu_bo_cursor_advance(struct zhenwu_bo_cursor *cur, u64 bytes)
{
	while (cur->len && bytes >= cur->len) {
		bytes -= cur->len;
		if (cur->block)
			cur->block = list_is_last(&cur->block->link, &cur->bo->blocks) ?
					     NULL : list_next_entry(cur->block, link);
		else
			cur->sg = sg_next(cur->sg);
		/* A DMA mapping may have fewer segments than the table. */
		if (cur->sg && !sg_dma_len(cur->sg))
			cur->sg = NULL;
		zhenwu_bo_cursor_load(cur);
	}
	if (cur->len) {
		cur->addr += bytes;
		cur->len -= bytes;
	}
}

/* -- ioctls ----------------------------------------------------------------------------------- */

/* HBM first, when it may be in both. */
static struct zhenwu_bo *zhenwu_bo_create(struct zhenwu_client *client, u64 size, u32 flags,
					  struct zhenwu_vm *vm)
{
	struct zhenwu_bo *bo = ERR_PTR(-ENOSPC);

	if (flags & DRM_ZHENWU_BO_HBM)
		bo = zhenwu_bo_create_hbm(client, size, flags, vm);
	if (bo == ERR_PTR(-ENOSPC) && flags & DRM_ZHENWU_BO_SYSTEM)
		bo = zhenwu_bo_create_system(client->zdev, size, flags, vm);
	return bo;
}

/**
 * zhenwu_ioctl_bo_create() - DRM_IOCTL_ZHENWU_BO_CREATE
 * @drm: device
 * @data: &struct drm_zhenwu_bo_create
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_bo_create(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_file *zfile = file->driver_priv;
	struct drm_zhenwu_bo_create *args = data;
	struct zhenwu_vm *vm = NULL;
	struct zhenwu_bo *bo;
	u64 size;
	int ret, idx;

	if (args->flags & ~ZHENWU_BO_FLAGS || !(args->flags & ZHENWU_BO_PLACEMENTS) ||
	    args->handle || args->pad)
		return -EINVAL;
	if (args->flags & DRM_ZHENWU_BO_CPU_VISIBLE && !(args->flags & DRM_ZHENWU_BO_HBM))
		return -EINVAL;
	size = PAGE_ALIGN(args->size);
	if (!args->size || size < args->size || size > S64_MAX)
		return -EINVAL;

	if (args->exclusive_vm_id) {
		vm = zhenwu_vm_lookup(zfile, args->exclusive_vm_id);
		if (!vm)
			return -ENOENT;
	}
	if (drm_dev_enter(drm, &idx)) {
		bo = zhenwu_bo_create(zfile->client, size, args->flags, vm);
		drm_dev_exit(idx);
	} else {
		bo = ERR_PTR(-ENODEV);
	}
	zhenwu_vm_put(vm);
	if (IS_ERR(bo))
		return PTR_ERR(bo);

	ret = drm_gem_handle_create(file, &bo->shmem.base, &args->handle);
	args->size = size;
	/* The handle keeps the buffer. */
	drm_gem_object_put(&bo->shmem.base);
	return ret;
}

/**
 * zhenwu_ioctl_bo_mmap_offset() - DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET
 * @drm: device
 * @data: &struct drm_zhenwu_bo_mmap_offset
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_bo_mmap_offset(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_bo_mmap_offset *args = data;
	struct drm_gem_object *obj;
	struct zhenwu_bo *bo;
	int ret;

	if (args->pad || args->offset)
		return -EINVAL;

	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	bo = to_zhenwu_bo(obj);
	/* Wherever it is now: what can be done with a buffer does not change when it moves. */
	if ((bo->flags & DRM_ZHENWU_BO_HBM && !(bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE)) ||
	    bo->flags & (DRM_ZHENWU_BO_USERPTR | DRM_ZHENWU_BO_IMPORTED)) {
		ret = -EACCES;
		goto out;
	}
	ret = drm_gem_create_mmap_offset(obj);
	if (!ret)
		args->offset = drm_vma_node_offset_addr(&obj->vma_node);
out:
	drm_gem_object_put(obj);
	return ret;
}

/**
 * zhenwu_ioctl_bo_wait() - DRM_IOCTL_ZHENWU_BO_WAIT
 * @drm: device
 * @data: &struct drm_zhenwu_bo_wait
 * @file: file
 *
 * Jobs put their fences on the VM, not on each of its buffers: a submission then costs the same
 * however much is mapped. A buffer is idle when the VMs that map it are; where it is no longer
 * mapped no job reaches it.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_bo_wait(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_bo_wait *args = data;
	unsigned int n = 0, max = 0, i;
	struct drm_gpuvm_bo *vm_bo;
	struct drm_gpuvm **vms = NULL;
	struct drm_gem_object *obj;
	long left;
	int ret;

	if (args->pad || args->timeout_ns < 0)
		return -EINVAL;
	left = drm_timeout_abs_to_jiffies(args->timeout_ns);

	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;

retry:
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		goto out;
	n = 0;
	drm_gem_for_each_gpuvm_bo(vm_bo, obj)
		n++;
	if (n > max) {
		/* Memory is not allocated under the lock that decides how much is needed. */
		dma_resv_unlock(obj->resv);
		kfree(vms);
		max = n + 4;
		vms = kcalloc(max, sizeof(*vms), GFP_KERNEL);
		if (!vms) {
			ret = -ENOMEM;
			goto out;
		}
		goto retry;
	}
	n = 0;
	drm_gem_for_each_gpuvm_bo(vm_bo, obj)
		vms[n++] = drm_gpuvm_get(vm_bo->vm);
	dma_resv_unlock(obj->resv);

	for (i = 0; i < n; i++) {
		if (ret >= 0) {
			long r = dma_resv_wait_timeout(drm_gpuvm_resv(vms[i]),
						       DMA_RESV_USAGE_BOOKKEEP, true, left);

			/* 0 jiffies left with everything signalled is reported as 1. */
			if (r <= 0)
				ret = r ? r : -ETIMEDOUT;
			else if (left)
				left = r;
		}
		drm_gpuvm_put(vms[i]);
	}
out:
	kfree(vms);
	drm_gem_object_put(obj);
	return ret;
}

/**
 * zhenwu_ioctl_bo_set_label() - DRM_IOCTL_ZHENWU_BO_SET_LABEL
 * @drm: device
 * @data: &struct drm_zhenwu_bo_set_label
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_bo_set_label(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_device *zdev = to_zhenwu_device(drm);
	struct drm_zhenwu_bo_set_label *args = data;
	struct drm_gem_object *obj;
	char *label = NULL;

	if (args->pad)
		return -EINVAL;

	if (args->label) {
		label = strndup_user(u64_to_user_ptr(args->label), DRM_ZHENWU_BO_LABEL_MAX);
		if (IS_ERR(label))
			/* strndup_user() says -EINVAL when the end is not found. */
			return PTR_ERR(label) == -EINVAL ? -E2BIG : PTR_ERR(label);
	}
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj) {
		kfree(label);
		return -ENOENT;
	}

	mutex_lock(&zdev->bos.lock);
	swap(to_zhenwu_bo(obj)->label, label);
	mutex_unlock(&zdev->bos.lock);
	kfree(label);
	drm_gem_object_put(obj);
	return 0;
}

/**
 * zhenwu_ioctl_bo_query_info() - DRM_IOCTL_ZHENWU_BO_QUERY_INFO
 * @drm: device
 * @data: &struct drm_zhenwu_bo_query_info
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_bo_query_info(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_bo_query_info *args = data;
	struct drm_gem_object *obj;
	struct zhenwu_bo *bo;
	int ret;

	if (args->flags || args->size || args->placement || args->pad)
		return -EINVAL;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	bo = to_zhenwu_bo(obj);
	/* Its memory may be purged. */
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		goto out;
	args->flags = bo->flags;
	if (zhenwu_hbm_has_bad(to_zhenwu_device(drm), &bo->blocks))
		args->flags |= DRM_ZHENWU_BO_FAILED;
	args->size = obj->size;
	args->placement = bo->placement;
	dma_resv_unlock(obj->resv);
out:
	drm_gem_object_put(obj);
	return ret;
}

/* HBM or DMA address of the first byte. The buffer is on the list, whose lock is held. */
static u64 zhenwu_bo_first_addr(struct zhenwu_device *zdev, struct zhenwu_bo *bo)
{
	struct sg_table *sgt = READ_ONCE(bo->shmem.sgt);

	lockdep_assert_held(&zdev->bos.lock);

	if (bo->placement == DRM_ZHENWU_BO_HBM)
		return list_empty(&bo->blocks) ? 0 :
		       gpu_buddy_block_offset(list_first_entry(&bo->blocks,
							       struct gpu_buddy_block, link));
	/* Just being made, purged, or the device is gone. */
	return IS_ERR_OR_NULL(sgt) ? 0 : sg_dma_address(sgt->sgl);
}

/**
 * zhenwu_gem_show() - list all buffers
 * @zdev: device
 * @m: where to print
 */
void zhenwu_gem_show(struct zhenwu_device *zdev, struct seq_file *m)
{
	struct zhenwu_bo *bo;

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node) {
		const char *place = "hbm";

		if (bo->flags & DRM_ZHENWU_BO_USERPTR)
			place = "userptr";
		else if (bo->flags & DRM_ZHENWU_BO_IMPORTED)
			place = "imported";
		else if (bo->pages)
			place = "moved";
		else if (bo->placement == DRM_ZHENWU_BO_SYSTEM)
			place = "system";
		else if (bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE)
			place = "hbm-visible";
		seq_printf(m, "%12zu %-11s refs %u at 0x%llx", bo->shmem.base.size, place,
			   kref_read(&bo->shmem.base.refcount), zhenwu_bo_first_addr(zdev, bo));
		if (READ_ONCE(bo->shmem.madv))
			seq_puts(m, READ_ONCE(bo->shmem.madv) > 0 ? " purgeable" : " purged");
		if (bo->label) {
			seq_puts(m, " ");
			seq_escape(m, bo->label, "\n\t\\");
		}
		seq_putc(m, '\n');
	}
	mutex_unlock(&zdev->bos.lock);
}
