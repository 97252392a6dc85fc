// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of HBM that failed: nobody gets them any more.
 *
 * A page that is free leaves the allocator at once, one that is in use when it comes back to it,
 * before anybody else can get it: both happen under the allocator's lock. Who has it keeps it, and
 * jobs that touch it fail. Pages stay retired as long as the driver is bound; the next one scrubs
 * all of HBM and may have better luck with it.
 *
 * The device says which they are, so their number is bounded and nothing is allocated for them but
 * what splitting a block of the allocator takes.
 */

#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "zhenwu/zw_pte.h"
#include "zhenwu_device.h"
#include "zhenwu_hbm.h"

/* Return: the page has no users and is out of the way of new ones. */
static bool zhenwu_hbm_take_bad(struct zhenwu_hbm *hbm, u64 page)
{
	u64 end = hbm->tables.base + (u64)hbm->tables.count * ZW_PAGE_SIZE;
	unsigned int nofs;
	int ret;

	lockdep_assert_held(&hbm->lock);

	/* Nobody ever gets the first ones. */
	if (page < ZHENWU_COPY_HBM_BYTES)
		return true;
	if (page >= hbm->tables.base && page < end)
		return !__test_and_set_bit((page - hbm->tables.base) / ZW_PAGE_SIZE,
					   hbm->tables.map);
	/* As in zhenwu_hbm_try_alloc(). */
	nofs = memalloc_nofs_save();
	ret = gpu_buddy_alloc_blocks(&hbm->mm, page, page + ZW_PAGE_SIZE, ZW_PAGE_SIZE,
				     ZW_PAGE_SIZE, &hbm->reserved, GPU_BUDDY_RANGE_ALLOCATION);
	memalloc_nofs_restore(nofs);
	return !ret;
}

/**
 * zhenwu_hbm_settle_bad() - take failed pages out of what was just freed
 * @hbm: allocator; its lock has been held since before the free
 */
void zhenwu_hbm_settle_bad(struct zhenwu_hbm *hbm)
{
	unsigned int i;

	lockdep_assert_held(&hbm->lock);

	if (hbm->bad.retired == hbm->bad.count)
		return;
	for (i = 0; i < hbm->bad.count; i++) {
		if (hbm->bad.pages[i].retired || !zhenwu_hbm_take_bad(hbm, hbm->bad.pages[i].addr))
			continue;
		hbm->bad.pages[i].retired = true;
		hbm->bad.retired++;
	}
}

static struct zhenwu_bad_page *zhenwu_hbm_find_bad(struct zhenwu_hbm *hbm, u64 page)
{
	unsigned int i;

	lockdep_assert_held(&hbm->lock);

	for (i = 0; i < hbm->bad.count; i++)
		if (hbm->bad.pages[i].addr == page)
			return &hbm->bad.pages[i];
	return NULL;
}

/**
 * zhenwu_hbm_retire() - a page has failed
 * @zdev: device
 * @page: address of its first byte
 *
 * Return: 0 when nobody will get it any more, -EBUSY when that will be so as soon as who has it
 * gives it back, -ENOSPC when too many have failed, -EINVAL when there is no such page.
 */
int zhenwu_hbm_retire(struct zhenwu_device *zdev, u64 page)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	struct zhenwu_bad_page *bad;
	int ret;

	if (page % ZW_PAGE_SIZE || page >= zdev->info.hbm_size)
		return -EINVAL;

	mutex_lock(&hbm->lock);
	bad = zhenwu_hbm_find_bad(hbm, page);
	if (!bad && hbm->bad.count < ARRAY_SIZE(hbm->bad.pages)) {
		bad = &hbm->bad.pages[hbm->bad.count++];
		bad->addr = page;
		bad->retired = false;
		zhenwu_hbm_settle_bad(hbm);
	}
	if (!bad)
		ret = -ENOSPC;
	else
		ret = bad->retired ? 0 : -EBUSY;
	mutex_unlock(&hbm->lock);
	return ret;
}

/**
 * zhenwu_hbm_keep_bad_table() - a page table is given back: is its page to be kept
 * @hbm: allocator; locked
 * @page: address
 *
 * Return: true when it failed: then it counts as retired from now on.
 */
bool zhenwu_hbm_keep_bad_table(struct zhenwu_hbm *hbm, u64 page)
{
	struct zhenwu_bad_page *bad = zhenwu_hbm_find_bad(hbm, page);

	if (!bad)
		return false;
	bad->retired = true;
	hbm->bad.retired++;
	return true;
}

/**
 * zhenwu_hbm_page_bad() - has a page failed
 * @zdev: device
 * @page: address of its first byte
 *
 * Return: true when what was in it is lost.
 */
bool zhenwu_hbm_page_bad(struct zhenwu_device *zdev, u64 page)
{
	bool bad;

	mutex_lock(&zdev->hbm.lock);
	bad = zhenwu_hbm_find_bad(&zdev->hbm, page);
	mutex_unlock(&zdev->hbm.lock);
	return bad;
}

/**
 * zhenwu_hbm_has_bad() - is there a failed page in somebody's memory
 * @zdev: device
 * @blocks: the memory
 *
 * Return: true when a job that touches all of it would fail.
 */
bool zhenwu_hbm_has_bad(struct zhenwu_device *zdev, struct list_head *blocks)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	struct gpu_buddy_block *block;
	bool found = false;
	unsigned int i;

	mutex_lock(&hbm->lock);
	for (i = 0; !found && i < hbm->bad.count; i++) {
		if (hbm->bad.pages[i].retired)
			continue;
		list_for_each_entry(block, blocks, link) {
			u64 first = gpu_buddy_block_offset(block);

			found |= in_range(hbm->bad.pages[i].addr, first,
					  gpu_buddy_block_size(&hbm->mm, block));
		}
	}
	mutex_unlock(&hbm->lock);
	return found;
}
