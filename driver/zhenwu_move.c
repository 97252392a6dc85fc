// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves a buffer between HBM and system memory, with all its mappings.
 *
 * The reservations of the buffer and of every VM that maps it are held from beginning to end: no
 * job is submitted, no bind begins and no page is faulted in meanwhile. Jobs that are under way are
 * over before, so nobody uses the memory, and what mappings translate to changes between two jobs.
 *
 * All that can fail comes first: the memory, the copy, the tables. A move that fails leaves the
 * buffer where it was.
 */

#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/jiffies.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_exec.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_copy.h"
#include "zhenwu_device.h"
#include "zhenwu_dmem.h"
#include "zhenwu_gem.h"
#include "zhenwu_move.h"
#include "zhenwu_pt.h"
#include "zhenwu_reset.h"
#include "zhenwu_vm.h"

/* What is left to the system, at least. */
#define ZHENWU_MOVE_SPARE_PAGES	(SZ_64M >> PAGE_SHIFT)

/**
 * struct zhenwu_move_va - a mapping of the buffer
 */
struct zhenwu_move_va {
	/** @node: Entry in the list of its VM. */
	struct list_head node;

	/** @va: Mapping. */
	struct drm_gpuva *va;

	/** @stock: Tables it may take. */
	struct zhenwu_pt_stock stock;
};

/**
 * struct zhenwu_move_vm - a VM that maps the buffer
 */
struct zhenwu_move_vm {
	/** @node: Entry in the list of the move. */
	struct list_head node;

	/** @vm: VM, kept as a user of it: it is not torn down. */
	struct zhenwu_vm *vm;

	/** @vas: Its mappings. */
	struct list_head vas;
};

/**
 * struct zhenwu_move - a move under way
 */
struct zhenwu_move {
	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @bo: Buffer. */
	struct zhenwu_bo *bo;

	/** @exec: Reservations. */
	struct drm_exec exec;

	/** @vms: VMs. */
	struct list_head vms;

	/** @out: Out of HBM. */
	bool out;

	/** @blocks: HBM the buffer does not have: before the exchange the new one, then the old. */
	struct list_head blocks;

	/** @pages: System memory; the same. */
	struct page **pages;

	/** @sgt: @pages, mapped for the device. */
	struct sg_table *sgt;

	/** @dmem: Cgroup that HBM counts against, as @blocks: of the new, then of the old. */
	struct dmem_cgroup_pool_state *dmem;
};

static u64 zhenwu_move_num_pages(const struct zhenwu_move *move)
{
	return move->bo->shmem.base.size >> PAGE_SHIFT;
}

/* May a VM's mappings be changed now? Its reservation is held. */
static bool zhenwu_move_vm_possible(struct zhenwu_vm *vm)
{
	/* Jobs of user-mode queues have no fences: nobody knows when they use what. */
	return !vm->lr && !READ_ONCE(vm->unusable) && !zhenwu_bind_queue_busy(vm);
}

/**
 * zhenwu_move_possible() - may a buffer be moved
 * @bo: buffer, whose reservation is held
 * @used: where to put when a job could last use it, in jiffies
 *
 * Return: true when it may, as far as can be seen without the reservations of VMs.
 */
bool zhenwu_move_possible(struct zhenwu_bo *bo, unsigned long *used)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct drm_gpuvm_bo *vm_bo;

	dma_resv_assert_held(obj->resv);

	if (bo->shmem.madv != ZHENWU_MADV_NEEDED || bo->peers ||
	    zhenwu_hbm_has_bad(to_zhenwu_device(obj->dev), &bo->blocks))
		return false;
	*used = bo->made;
	drm_gem_for_each_gpuvm_bo(vm_bo, obj) {
		struct zhenwu_vm *vm = to_zhenwu_vm(vm_bo->vm);
		unsigned long last = READ_ONCE(vm->last_use);

		if (!zhenwu_move_vm_possible(vm))
			return false;
		if (time_after(last, *used))
			*used = last;
	}
	return true;
}

/* -- reservations and mappings ---------------------------------------------------------------- */

static int zhenwu_move_lock(struct zhenwu_move *move)
{
	struct drm_gem_object *obj = &move->bo->shmem.base;
	struct drm_gpuvm_bo *vm_bo;
	int ret = 0;

	drm_exec_until_all_locked(&move->exec) {
		ret = drm_exec_lock_obj(&move->exec, obj);
		drm_exec_retry_on_contention(&move->exec);
		if (ret)
			break;
		/* The buffer's reservation keeps the list as it is. */
		drm_gem_for_each_gpuvm_bo(vm_bo, obj) {
			ret = drm_exec_lock_obj(&move->exec, drm_gpuvm_resv_obj(vm_bo->vm));
			drm_exec_retry_on_contention(&move->exec);
			if (ret)
				break;
		}
		if (ret)
			break;
	}
	return ret;
}

static int zhenwu_move_add_vas(struct zhenwu_move_vm *entry, struct drm_gpuvm_bo *vm_bo)
{
	struct drm_gpuva *va;

	drm_gpuvm_bo_for_each_va(va, vm_bo) {
		struct zhenwu_move_va *map = kzalloc(sizeof(*map), GFP_KERNEL);

		if (!map)
			return -ENOMEM;
		map->va = va;
		zhenwu_pt_stock_init(&map->stock);
		list_add_tail(&map->node, &entry->vas);
	}
	return 0;
}

/* Finds the mappings, and sees to it that they stay. */
static int zhenwu_move_enter(struct zhenwu_move *move)
{
	struct drm_gem_object *obj = &move->bo->shmem.base;
	struct drm_gpuvm_bo *vm_bo;

	drm_gem_for_each_gpuvm_bo(vm_bo, obj) {
		struct zhenwu_vm *vm = to_zhenwu_vm(vm_bo->vm);
		struct zhenwu_move_vm *entry;
		int ret;

		entry = kzalloc(sizeof(*entry), GFP_KERNEL);
		if (!entry)
			return -ENOMEM;
		INIT_LIST_HEAD(&entry->vas);
		/* One without users is being torn down: the firmware may not know it any more. */
		if (!zhenwu_move_vm_possible(vm) || !kref_get_unless_zero(&vm->users)) {
			kfree(entry);
			return -EBUSY;
		}
		entry->vm = vm;
		list_add_tail(&entry->node, &move->vms);
		ret = zhenwu_move_add_vas(entry, vm_bo);
		if (ret)
			return ret;
	}
	return 0;
}

/* Waits for the jobs that may use the buffer. None are added. */
static int zhenwu_move_wait_idle(struct zhenwu_move *move, unsigned int hold_ms)
{
	long left = msecs_to_jiffies(hold_ms);
	struct zhenwu_move_vm *entry;

	list_for_each_entry(entry, &move->vms, node) {
		long ret = dma_resv_wait_timeout(drm_gpuvm_resv(&entry->vm->base),
						 DMA_RESV_USAGE_BOOKKEEP, true, left);

		if (ret < 0)
			return ret;
		if (!ret)
			return -EBUSY;
		/* Of no time at all there is always some left. */
		left = min(left, ret);
		/* Lost meanwhile, with all there was in it. */
		if (READ_ONCE(entry->vm->unusable))
			return -EBUSY;
	}
	return 0;
}

static int zhenwu_move_stock(struct zhenwu_move *move)
{
	struct zhenwu_move_vm *entry;
	struct zhenwu_move_va *map;

	list_for_each_entry(entry, &move->vms, node) {
		struct zhenwu_vm *vm = entry->vm;

		list_for_each_entry(map, &entry->vas, node) {
			struct drm_gpuva *va = map->va;
			int ret;

			ret = zhenwu_pt_stock_map(move->zdev, &map->stock, vm->client, vm->root,
						  va->va.addr, va->va.range, move->bo,
						  va->gem.offset);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static void zhenwu_move_remap(struct zhenwu_move *move, struct zhenwu_move_vm *entry)
{
	struct zhenwu_device *zdev = move->zdev;
	struct zhenwu_vm *vm = entry->vm;
	struct zhenwu_move_va *map;
	LIST_HEAD(old_pts);
	u32 gen;

	mutex_lock(&vm->tree_lock);
	list_for_each_entry(map, &entry->vas, node) {
		u64 va = map->va->va.addr, size = map->va->va.range;
		bool changed;

		/* There is a stock for it: it does not fail. */
		if (WARN_ON(zhenwu_pt_prepare_map(zdev, vm->root, va, size, move->bo,
						  map->va->gem.offset, &map->stock, &changed)))
			continue;
		zhenwu_pt_unmap(zdev, vm->root, va, size);
		zhenwu_pt_map(zdev, vm->root, va, size, move->bo, map->va->gem.offset,
			      map->va->flags & ZHENWU_VA_READONLY, &old_pts);
		zhenwu_pt_trim(zdev, vm->root, va, size, &old_pts);
	}
	mutex_unlock(&vm->tree_lock);
	if (!zhenwu_vm_flush_tlb(vm, &gen))
		zhenwu_reset_wait(zdev, gen);
	zhenwu_pt_free_zombies(zdev, &old_pts);
}

/* Behind the end of the reservations. */
static void zhenwu_move_leave(struct zhenwu_move *move)
{
	struct zhenwu_move_vm *entry, *next_entry;
	struct zhenwu_move_va *map, *next;

	list_for_each_entry_safe(entry, next_entry, &move->vms, node) {
		list_for_each_entry_safe(map, next, &entry->vas, node) {
			zhenwu_pt_stock_fini(move->zdev, &map->stock);
			kfree(map);
		}
		/* It may be the last user: that takes reservations. */
		zhenwu_vm_put(entry->vm);
		kfree(entry);
	}
}

/* -- memory ----------------------------------------------------------------------------------- */

/**
 * zhenwu_move_free_pages() - free system memory of a buffer that was in HBM
 * @pages: pages, or NULL
 * @count: how many; the first that is NULL ends them, too
 */
void zhenwu_move_free_pages(struct page **pages, u64 count)
{
	u64 i;

	for (i = 0; pages && i < count && pages[i]; i++) {
		__free_page(pages[i]);
		cond_resched();
	}
	kvfree(pages);
}

/*
 * Charged to who made the buffer, as its pages were if it had been made in system memory; not to
 * who makes room, who is just asking. A cgroup that is at its limit is asked to give something
 * back, but nobody in it is killed for that: the buffer stays where it is.
 */
static int zhenwu_move_charge_pages(struct zhenwu_move *move)
{
	u64 count = zhenwu_move_num_pages(move), i;

	move->pages = kvcalloc(count, sizeof(*move->pages), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!move->pages)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		move->pages[i] = alloc_page(GFP_HIGHUSER | __GFP_ACCOUNT | __GFP_RETRY_MAYFAIL |
					    __GFP_NOWARN);
		if (!move->pages[i])
			return -ENOMEM;
		cond_resched();
	}
	return 0;
}

static int zhenwu_move_alloc_pages(struct zhenwu_move *move)
{
	u64 count = zhenwu_move_num_pages(move);
	struct mem_cgroup *old;
	int ret;

	/* Not by taking the last that others have, and never most of it. */
	if (count + ZHENWU_MOVE_SPARE_PAGES > si_mem_available() ||
	    READ_ONCE(move->zdev->evict.pages) + count > totalram_pages() / 2)
		return -ENOMEM;
	old = set_active_memcg(move->bo->memcg);
	ret = zhenwu_move_charge_pages(move);
	set_active_memcg(old);
	return ret;
}

static int zhenwu_move_map_pages(struct zhenwu_move *move)
{
	u64 size = move->bo->shmem.base.size;
	struct sg_table *sgt;
	int ret;

	sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);
	if (!sgt)
		return -ENOMEM;
	ret = sg_alloc_table_from_pages(sgt, move->pages, zhenwu_move_num_pages(move), 0, size,
					GFP_KERNEL);
	if (ret)
		goto err_free;
	ret = dma_map_sgtable(move->zdev->drm.dev, sgt, zhenwu_bo_dma_direction(move->bo),
			      zhenwu_bo_dma_attrs(move->bo));
	if (ret)
		goto err_table;
	move->sgt = sgt;
	return 0;

err_table:
	sg_free_table(sgt);
err_free:
	kfree(sgt);
	return ret;
}

/* Frees what the buffer does not have. */
static void zhenwu_move_free_memory(struct zhenwu_move *move)
{
	if (move->sgt) {
		dma_unmap_sgtable(move->zdev->drm.dev, move->sgt,
				  zhenwu_bo_dma_direction(move->bo),
				  zhenwu_bo_dma_attrs(move->bo));
		sg_free_table(move->sgt);
		kfree(move->sgt);
	}
	zhenwu_move_free_pages(move->pages, zhenwu_move_num_pages(move));
	if (!list_empty(&move->blocks))
		zhenwu_hbm_free(move->zdev, &move->blocks);
	zhenwu_dmem_uncharge(move->dmem, move->bo->shmem.base.size);
}

static int zhenwu_move_copy_pages(struct zhenwu_move *move, struct zhenwu_copy *copy)
{
	struct list_head *blocks = move->out ? &move->bo->blocks : &move->blocks;
	struct page **pages = move->out ? move->pages : move->bo->pages;
	struct gpu_buddy_block *block;
	u64 i = 0;

	list_for_each_entry(block, blocks, link) {
		u64 addr = gpu_buddy_block_offset(block);
		u64 end = addr + gpu_buddy_block_size(&move->zdev->hbm.mm, block);

		for (; addr < end; addr += PAGE_SIZE) {
			int ret = zhenwu_copy_page(copy, addr, pages[i++]);

			if (ret)
				return ret;
			cond_resched();
		}
	}
	return 0;
}

static int zhenwu_move_copy(struct zhenwu_move *move)
{
	struct zhenwu_copy copy;
	int ret, err;

	ret = zhenwu_copy_init(&copy, move->zdev);
	if (ret)
		return ret;
	ret = zhenwu_copy_begin_live(&copy, !move->out);
	if (!ret)
		ret = zhenwu_move_copy_pages(move, &copy);
	err = zhenwu_copy_end_live(&copy, !ret);
	zhenwu_copy_fini(&copy);
	return ret ?: err;
}

/* Exchanges the memory of the buffer for that of the move, or back. */
static void zhenwu_move_exchange(struct zhenwu_move *move)
{
	struct zhenwu_device *zdev = move->zdev;
	struct zhenwu_bo *bo = move->bo;
	LIST_HEAD(blocks);

	/* Who walks over buffers looks at these. */
	mutex_lock(&zdev->bos.lock);
	list_splice_init(&bo->blocks, &blocks);
	list_splice_init(&move->blocks, &bo->blocks);
	list_splice_init(&blocks, &move->blocks);
	swap(bo->pages, move->pages);
	swap(bo->shmem.sgt, move->sgt);
	swap(bo->dmem, move->dmem);
	if (bo->pages) {
		bo->placement = DRM_ZHENWU_BO_SYSTEM;
		list_add_tail(&bo->evict_node, &zdev->evict.list);
		zdev->evict.pages += zhenwu_move_num_pages(move);
	} else {
		bo->placement = DRM_ZHENWU_BO_HBM;
		list_del_init(&bo->evict_node);
		zdev->evict.pages -= zhenwu_move_num_pages(move);
	}
	mutex_unlock(&zdev->bos.lock);
}

/* -- all of it -------------------------------------------------------------------------------- */

/* Gets the other memory, with the contents. Lock of &struct zhenwu_evict is held. */
static int zhenwu_move_memory(struct zhenwu_move *move)
{
	struct drm_gem_object *obj = &move->bo->shmem.base;
	bool visible = move->bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE;
	int ret;

	ret = move->out ? zhenwu_move_alloc_pages(move) :
			  zhenwu_hbm_alloc(move->zdev, obj->size,
					   visible ? ZHENWU_HBM_VISIBLE : ZHENWU_HBM_ANY,
					   &move->blocks);
	if (ret)
		return ret;

	/* The CPU comes back to where the buffer is then: faults wait for the reservation. */
	drm_vma_node_unmap(&obj->vma_node, obj->dev->anon_inode->i_mapping);
	ret = zhenwu_move_copy(move);
	if (!ret && move->out)
		ret = zhenwu_move_map_pages(move);
	if (ret)
		return ret;
	zhenwu_move_exchange(move);
	ret = zhenwu_move_stock(move);
	if (ret)
		zhenwu_move_exchange(move);
	return ret;
}

static int zhenwu_move_locked(struct zhenwu_move *move, unsigned int hold_ms)
{
	struct zhenwu_evict *evict = &move->zdev->evict;
	struct zhenwu_move_vm *entry;
	unsigned long used;
	int ret;

	if (move->bo->placement != (move->out ? DRM_ZHENWU_BO_HBM : DRM_ZHENWU_BO_SYSTEM))
		return -EALREADY;
	if (!zhenwu_move_possible(move->bo, &used) || (!move->out && move->bo->outside))
		return -EBUSY;
	ret = zhenwu_move_enter(move);
	if (!ret)
		ret = zhenwu_move_wait_idle(move, hold_ms);
	if (ret)
		return ret;
	/* With reservations of clients nobody waits for the end of others' copies. */
	if (!mutex_trylock(&evict->lock))
		return -EAGAIN;
	ret = zhenwu_move_memory(move);
	mutex_unlock(&evict->lock);
	if (ret)
		return ret;
	list_for_each_entry(entry, &move->vms, node)
		zhenwu_move_remap(move, entry);
	return 0;
}

static int zhenwu_move(struct zhenwu_bo *bo, bool out, unsigned int hold_ms)
{
	struct zhenwu_move move = {
		.zdev = to_zhenwu_device(bo->shmem.base.dev),
		.bo = bo,
		.out = out,
	};
	int ret;

	INIT_LIST_HEAD(&move.vms);
	INIT_LIST_HEAD(&move.blocks);
	if (!out) {
		ret = zhenwu_dmem_charge(move.zdev, bo->shmem.base.size, false, &move.dmem);
		if (ret)
			return ret;
	}
	drm_exec_init(&move.exec, DRM_EXEC_IGNORE_DUPLICATES | DRM_EXEC_INTERRUPTIBLE_WAIT, 0);
	ret = zhenwu_move_lock(&move);
	if (!ret)
		ret = zhenwu_move_locked(&move, hold_ms);
	/* What is freed here the device does not reach, after a failure as well. */
	zhenwu_move_free_memory(&move);
	drm_exec_fini(&move.exec);
	zhenwu_move_leave(&move);
	return ret;
}

/**
 * zhenwu_move_out() - move a buffer from HBM to system memory
 * @bo: buffer with a reference, that may be in both
 * @hold_ms: how long to wait for the jobs that use it; nothing is submitted to its VMs meanwhile
 *
 * The device is awake and there; no lock is held. The caller sees to who is charged for HBM.
 *
 * Return: 0; -EALREADY when it is not in HBM; -EBUSY when it is in use; -EAGAIN when another one is
 * being moved, which ends with the lock of &struct zhenwu_evict; -EIO when the device failed; or
 * another negative error. Without success it is where it was.
 */
int zhenwu_move_out(struct zhenwu_bo *bo, unsigned int hold_ms)
{
	return zhenwu_move(bo, true, hold_ms);
}

/**
 * zhenwu_move_back() - move a buffer back to HBM
 * @bo: buffer with a reference, that was moved out of it
 *
 * Nobody is waited for.
 *
 * Return: as zhenwu_move_out().
 */
int zhenwu_move_back(struct zhenwu_bo *bo)
{
	return zhenwu_move(bo, false, 0);
}
