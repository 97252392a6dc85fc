// SPDX-License-Identifier: GPL-2.0-only
/*
 * HBM without power: what is in use of it, buffers and page tables, is kept in system memory.
 *
 * Memory is taken in two steps. While everything still runs there is most to be had, and it may be
 * swapped for: that is when what buffers take is reserved. What was made until tasks were frozen is
 * added then. When there is not enough the system does not go to sleep, and nothing is lost.
 */

#include <linux/gfp.h>
#include <linux/mm.h>

#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_hbm.h"
#include "zhenwu_hbm_save.h"
#include "zhenwu_pt.h"
#include "zhenwu_vm.h"

/* What is left to the system, at least: it has to go to sleep, and to wake up. */
#define ZHENWU_SAVE_SPARE_PAGES	(SZ_64M >> PAGE_SHIFT)

/* Called with each piece of HBM in use. Return: 0, or an error that ends the walk. */
typedef int (*zhenwu_save_fn)(struct zhenwu_device *zdev, u64 addr, u64 size);

static int zhenwu_save_walk_bos(struct zhenwu_device *zdev, zhenwu_save_fn fn)
{
	struct zhenwu_bo *bo;
	int ret = 0;

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node) {
		struct gpu_buddy_block *block;

		if (bo->placement != DRM_ZHENWU_BO_HBM)
			continue;
		list_for_each_entry(block, &bo->blocks, link) {
			ret = fn(zdev, gpu_buddy_block_offset(block),
				 gpu_buddy_block_size(&zdev->hbm.mm, block));
			if (ret)
				goto out;
		}
	}
out:
	mutex_unlock(&zdev->bos.lock);
	return ret;
}

/* Tasks are frozen: trees and lists are what they are. */
static int zhenwu_save_walk(struct zhenwu_device *zdev, zhenwu_save_fn fn)
{
	struct zhenwu_vm *vm;
	int ret;

	ret = zhenwu_save_walk_bos(zdev, fn);
	if (ret)
		return ret;
	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(vm, &zdev->vms, node) {
		ret = zhenwu_pt_walk(zdev, vm->root, fn);
		if (ret)
			break;
	}
	mutex_unlock(&zdev->hw_lock);
	return ret;
}

static int zhenwu_save_count(struct zhenwu_device *zdev, u64 addr, u64 size)
{
	zdev->save.used += size >> PAGE_SHIFT;
	return 0;
}

static int zhenwu_save_alloc(struct zhenwu_device *zdev, u64 num_pages)
{
	struct zhenwu_hbm_save *save = &zdev->save;
	u64 missing = num_pages > save->num_pages ? num_pages - save->num_pages : 0;

	/* Not by taking the last that others have: who needs it goes on. */
	if (missing && missing + ZHENWU_SAVE_SPARE_PAGES > si_mem_available())
		goto err;
	for (; save->num_pages < num_pages; save->num_pages++) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);

		if (!page)
			goto err;
		list_add_tail(&page->lru, &save->pages);
		cond_resched();
	}
	return 0;

err:
	drm_err(&zdev->drm, "no system sleep: HBM holds %llu MiB, for which there is no memory\n",
		num_pages >> (20 - PAGE_SHIFT));
	return -ENOMEM;
}

/**
 * zhenwu_hbm_save_init() - nothing is kept
 * @zdev: device
 */
void zhenwu_hbm_save_init(struct zhenwu_device *zdev)
{
	INIT_LIST_HEAD(&zdev->save.pages);
}

/**
 * zhenwu_hbm_save_reserve() - take memory for what buffers hold now
 * @zdev: device
 *
 * Return: 0 or a negative error, explained in the kernel log.
 */
int zhenwu_hbm_save_reserve(struct zhenwu_device *zdev)
{
	zdev->save.used = 0;
	zhenwu_save_walk_bos(zdev, zhenwu_save_count);
	return zhenwu_save_alloc(zdev, zdev->save.used);
}

/**
 * zhenwu_hbm_save_plan() - take memory for all of HBM that is in use
 * @zdev: device; tasks are frozen
 *
 * Return: 0 or a negative error, explained in the kernel log.
 */
int zhenwu_hbm_save_plan(struct zhenwu_device *zdev)
{
	struct zhenwu_hbm_save *save = &zdev->save;
	int ret;

	save->used = 0;
	zhenwu_save_walk(zdev, zhenwu_save_count);
	if (!save->used)
		return 0;
	ret = zhenwu_save_alloc(zdev, save->used);
	if (ret || save->copy.mem)
		return ret;
	ret = zhenwu_copy_init(&save->copy, zdev);
	if (ret)
		drm_err(&zdev->drm, "no system sleep: HBM cannot be copied: %d\n", ret);
	return ret;
}

/* Pages are used in turn: behind the walk the list is what it was. */
static int zhenwu_save_copy(struct zhenwu_device *zdev, u64 addr, u64 size)
{
	struct zhenwu_hbm_save *save = &zdev->save;
	u64 at;
	int ret;

	for (at = addr; at < addr + size; at += PAGE_SIZE) {
		struct page *page = list_first_entry(&save->pages, struct page, lru);

		list_move_tail(&page->lru, &save->pages);
		/* What was in there is lost already, and its owner was told. */
		if (zhenwu_hbm_page_bad(zdev, at))
			continue;
		ret = zhenwu_copy_page(&save->copy, at, page);
		if (ret)
			return ret;
	}
	return 0;
}

static int zhenwu_save_move(struct zhenwu_device *zdev, bool to_hbm)
{
	struct zhenwu_hbm_save *save = &zdev->save;
	u64 i;
	int ret;

	if (!save->used)
		return 0;
	ret = zhenwu_copy_begin(&save->copy, to_hbm);
	if (!ret)
		ret = zhenwu_save_walk(zdev, zhenwu_save_copy);
	if (!ret)
		ret = zhenwu_copy_end(&save->copy);
	if (ret)
		return ret;
	/* Those that were not needed are first now. */
	for (i = save->used; i < save->num_pages; i++)
		list_move_tail(save->pages.next, &save->pages);
	return 0;
}

/**
 * zhenwu_hbm_save_store() - copy what is in use of HBM to system memory
 * @zdev: device; its firmware was just booted, zhenwu_hbm_save_plan() was called
 *
 * When it fails the device has to be reset before zhenwu_hbm_save_release().
 *
 * Return: 0 or a negative error.
 */
int zhenwu_hbm_save_store(struct zhenwu_device *zdev)
{
	return zhenwu_save_move(zdev, false);
}

/**
 * zhenwu_hbm_save_load() - the other way
 * @zdev: device; its firmware was just booted, all of HBM is zero
 *
 * When it fails the device has to be reset before zhenwu_hbm_save_release().
 *
 * Return: 0 or a negative error.
 */
int zhenwu_hbm_save_load(struct zhenwu_device *zdev)
{
	return zhenwu_save_move(zdev, true);
}

/**
 * zhenwu_hbm_save_release() - give the memory back
 * @zdev: device
 */
void zhenwu_hbm_save_release(struct zhenwu_device *zdev)
{
	struct zhenwu_hbm_save *save = &zdev->save;
	struct page *page, *next;

	if (save->copy.mem) {
		zhenwu_copy_drop(&save->copy);
		zhenwu_copy_fini(&save->copy);
	}
	list_for_each_entry_safe(page, next, &save->pages, lru) {
		list_del(&page->lru);
		__free_page(page);
		cond_resched();
	}
	save->num_pages = 0;
	save->used = 0;
}
