// SPDX-License-Identifier: GPL-2.0-only
/*
 * HBM allocator: a buddy allocator whose free memory is always zero.
 */

#include <linux/bitmap.h>
#include <linux/log2.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include "zhenwu/zw_pte.h"
#include "zhenwu_copy.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_hbm.h"
#include "zhenwu_purge.h"
#include "zhenwu_reset.h"

/*
 * The firmware does nothing else while it scrubs: a message may not keep it for long, so that the
 * heartbeat goes on and queues are served in between.
 */
#define ZHENWU_SCRUB_CHUNK	(256ull << 20)

/* Device resets a message is sent again after. A device that needs more of them is of no use. */
#define ZHENWU_SCRUB_RETRIES	3

static struct zw_msg_scrub zhenwu_hbm_scrub_message(u64 addr, u64 size)
{
	return (struct zw_msg_scrub) {
		.addr_lo = cpu_to_le32(ZW_LO32(addr)),
		.addr_hi = cpu_to_le32(ZW_HI32(addr)),
		.size_lo = cpu_to_le32(ZW_LO32(size)),
		.size_hi = cpu_to_le32(ZW_HI32(size)),
	};
}

static int zhenwu_hbm_scrub_range(struct zhenwu_device *zdev, u64 addr, u64 size)
{
	unsigned int retries = 0;

	while (size) {
		u64 n = min(size, ZHENWU_SCRUB_CHUNK);
		struct zw_msg_scrub msg = zhenwu_hbm_scrub_message(addr, n);
		u32 gen = READ_ONCE(zdev->reset.gen);
		int ret;

		ret = zhenwu_ipc_request(zdev, ZW_MSG_SCRUB_HBM, &msg, sizeof(msg), NULL, 0);
		if (ret == -EIO && retries++ < ZHENWU_SCRUB_RETRIES) {
			/* The firmware is restarted: then the same again. */
			zhenwu_reset_wait(zdev, gen);
			continue;
		}
		if (ret)
			return ret;
		retries = 0;
		addr += n;
		size -= n;
	}
	return 0;
}

static void zhenwu_hbm_scrub_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(work, struct zhenwu_device, hbm.scrub);
	struct zhenwu_hbm *hbm = &zdev->hbm;

	for (;;) {
		struct gpu_buddy_block *block;
		u64 addr, size;
		int ret;

		mutex_lock(&hbm->lock);
		block = list_first_entry_or_null(&hbm->dirty, struct gpu_buddy_block, link);
		if (block)
			list_del(&block->link);
		mutex_unlock(&hbm->lock);
		if (!block)
			return;

		addr = gpu_buddy_block_offset(block);
		size = gpu_buddy_block_size(&hbm->mm, block);
		ret = zhenwu_pm_get(zdev);
		if (!ret) {
			ret = zhenwu_hbm_scrub_range(zdev, addr, size);
			zhenwu_pm_put(zdev);
		}
		if (ret && ret != -ENODEV)
			drm_err(&zdev->drm, "HBM 0x%llx+0x%llx is lost, it cannot be scrubbed: %d\n",
				addr, size, ret);

		/*
		 * A block that could not be scrubbed stays allocated, nobody may get it. After
		 * -ENODEV nobody can allocate any more, and the next probe scrubs everything.
		 */
		mutex_lock(&hbm->lock);
		hbm->dirty_bytes -= size;
		if (!ret || ret == -ENODEV)
			gpu_buddy_free_block(&hbm->mm, block);
		else
			list_add(&block->link, &hbm->reserved);
		zhenwu_hbm_settle_bad(hbm);
		hbm->scrubbed++;
		mutex_unlock(&hbm->lock);
		wake_up_all(&hbm->wait);
	}
}

/*
 * Keeps back what page tables need: buffers of one client, of which those that the CPU can reach
 * lie in the same small part of HBM, cannot make the maps and unmaps of another fail.
 */
static int zhenwu_hbm_init_tables(struct zhenwu_device *zdev)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	u64 bytes;

	/*
	 * Enough to map twice as much as there is HBM in pages of 4 KiB, but no more than a part of
	 * the aperture.
	 */
	bytes = max_t(u64, zdev->info.hbm_size / (ZW_PT_ENTRIES / 2), SZ_256K);
	bytes = rounddown_pow_of_two(min(bytes, zdev->info.aperture_size / 8));
	hbm->tables.base = bytes;
	hbm->tables.count = bytes / ZW_PAGE_SIZE;
	hbm->tables.map = bitmap_zalloc(hbm->tables.count, GFP_KERNEL);
	if (!hbm->tables.map)
		return -ENOMEM;
	return gpu_buddy_alloc_blocks(&hbm->mm, bytes, 2 * bytes, bytes, ZW_PAGE_SIZE,
				      &hbm->reserved, GPU_BUDDY_RANGE_ALLOCATION);
}

static void zhenwu_hbm_release(struct drm_device *drm, void *arg)
{
	struct zhenwu_hbm *hbm = arg;

	/* Every buffer is gone. What they left on the list needs no scrubbing any more. */
	gpu_buddy_free_list(&hbm->mm, &hbm->dirty, 0);
	gpu_buddy_free_list(&hbm->mm, &hbm->reserved, 0);
	gpu_buddy_fini(&hbm->mm);
	bitmap_free(hbm->tables.map);
	mutex_destroy(&hbm->lock);
}

/**
 * zhenwu_hbm_init() - set up the allocator
 * @zdev: device; its sizes are known
 *
 * The allocator lives as long as the DRM device, because buffers of open files outlive a removed
 * device. zhenwu_hbm_stop() undoes the part that talks to the device.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_hbm_init(struct zhenwu_device *zdev)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	int ret;

	mutex_init(&hbm->lock);
	INIT_LIST_HEAD(&hbm->dirty);
	INIT_LIST_HEAD(&hbm->reserved);
	INIT_WORK(&hbm->scrub, zhenwu_hbm_scrub_work);
	init_waitqueue_head(&hbm->wait);

	ret = gpu_buddy_init(&hbm->mm, zdev->info.hbm_size, ZW_PAGE_SIZE);
	if (ret)
		return ret;
	ret = drmm_add_action_or_reset(&zdev->drm, zhenwu_hbm_release, hbm);
	if (ret)
		return ret;

	/*
	 * The driver's own. And a zero in a message or a table is then never an address somebody
	 * owns.
	 */
	ret = gpu_buddy_alloc_blocks(&hbm->mm, 0, ZHENWU_COPY_HBM_BYTES, ZHENWU_COPY_HBM_BYTES,
				     ZHENWU_COPY_HBM_BYTES, &hbm->reserved,
				     GPU_BUDDY_RANGE_ALLOCATION);
	if (!ret)
		ret = zhenwu_hbm_init_tables(zdev);
	if (ret)
		return ret;

	/* Not while the system goes to sleep: what waits then waits until it wakes up. */
	hbm->wq = alloc_workqueue("zhenwu-scrub", WQ_UNBOUND | WQ_FREEZABLE, 0);
	return hbm->wq ? 0 : -ENOMEM;
}

/**
 * zhenwu_hbm_stop() - stop the scrubber for good
 * @zdev: device that is gone or was never used
 */
void zhenwu_hbm_stop(struct zhenwu_device *zdev)
{
	struct workqueue_struct *wq = zdev->hbm.wq;

	if (!wq)
		return;
	mutex_lock(&zdev->hbm.lock);
	zdev->hbm.wq = NULL;
	mutex_unlock(&zdev->hbm.lock);
	wake_up_all(&zdev->hbm.wait);
	destroy_workqueue(wq);
}

/**
 * zhenwu_hbm_scrub_all() - make all of HBM zero, whoever used it before
 * @zdev: device whose firmware runs; nothing was allocated yet
 *
 * Return: 0 or a negative error.
 */
int zhenwu_hbm_scrub_all(struct zhenwu_device *zdev)
{
	return zhenwu_hbm_scrub_range(zdev, 0, zdev->info.hbm_size);
}

/**
 * zhenwu_hbm_scrub_boot() - the same for who boots the firmware
 * @zdev: device; the caller is who resets it
 *
 * Return: 0 or a negative error.
 */
int zhenwu_hbm_scrub_boot(struct zhenwu_device *zdev)
{
	u64 addr, n;
	int ret = 0;

	for (addr = 0; !ret && addr < zdev->info.hbm_size; addr += n) {
		struct zw_msg_scrub msg;

		n = min(zdev->info.hbm_size - addr, ZHENWU_SCRUB_CHUNK);
		msg = zhenwu_hbm_scrub_message(addr, n);
		ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_SCRUB_HBM, &msg, sizeof(msg), NULL, 0);
	}
	return ret;
}

static int zhenwu_hbm_try_alloc(struct zhenwu_device *zdev, u64 size, enum zhenwu_hbm_place place,
				struct list_head *blocks)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	unsigned int nofs;
	int ret;

	lockdep_assert_held(&hbm->lock);

	/* Others hold a lock that our shrinker takes while they wait for this one. */
	nofs = memalloc_nofs_save();
	if (place == ZHENWU_HBM_VISIBLE && zdev->info.aperture_size < zdev->info.hbm_size)
		ret = gpu_buddy_alloc_blocks(&hbm->mm, 0, zdev->info.aperture_size, size,
					     ZW_PAGE_SIZE, blocks, GPU_BUDDY_RANGE_ALLOCATION);
	else
		/* From the top, so that the aperture is left to those who need it. */
		ret = gpu_buddy_alloc_blocks(&hbm->mm, 0, hbm->mm.size, size, ZW_PAGE_SIZE, blocks,
					     place == ZHENWU_HBM_ANY ?
						     GPU_BUDDY_TOPDOWN_ALLOCATION : 0);
	memalloc_nofs_restore(nofs);
	return ret;
}

/**
 * zhenwu_hbm_alloc() - allocate zeroed HBM
 * @zdev: device
 * @size: bytes, multiple of 4 KiB
 * @place: where
 * @blocks: list the blocks are added to, in the order of the buffer
 *
 * The largest blocks come first and each is aligned to its size: that makes large pages possible.
 * May wait for freed memory to be scrubbed, until the caller is killed. What there is not is taken
 * from buffers that can be purged.
 *
 * Return: 0, -ENOSPC or another negative error.
 */
int zhenwu_hbm_alloc(struct zhenwu_device *zdev, u64 size, enum zhenwu_hbm_place place,
		     struct list_head *blocks)
{
	const struct zhenwu_hbm_need need = { .place = place };
	struct zhenwu_hbm *hbm = &zdev->hbm;
	int ret;

	if (size > hbm->mm.size)
		return -ENOSPC;

	for (;;) {
		unsigned int scrubbed;
		bool wait;

		mutex_lock(&hbm->lock);
		ret = zhenwu_hbm_try_alloc(zdev, size, place, blocks);
		wait = ret == -ENOSPC && hbm->dirty_bytes && hbm->wq;
		scrubbed = hbm->scrubbed;
		mutex_unlock(&hbm->lock);
		if (!wait && ret == -ENOSPC && zhenwu_purge_for(zdev, &need))
			continue;
		if (!wait)
			return ret;
		if (!zhenwu_device_alive(zdev))
			return -ENODEV;
		/* Every block takes a bounded time, also when the device has to be reset for it. */
		ret = wait_event_killable(hbm->wait, READ_ONCE(hbm->scrubbed) != scrubbed ||
					  !READ_ONCE(hbm->wq));
		if (ret)
			return -EINTR;
	}
}

/**
 * zhenwu_hbm_free() - free HBM with whatever is in it
 * @zdev: device
 * @blocks: blocks; the list is empty afterwards
 *
 * The memory can be had again when it was scrubbed. The device must no longer reach it through any
 * page table.
 */
void zhenwu_hbm_free(struct zhenwu_device *zdev, struct list_head *blocks)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	struct gpu_buddy_block *block;

	mutex_lock(&hbm->lock);
	list_for_each_entry(block, blocks, link)
		hbm->dirty_bytes += gpu_buddy_block_size(&hbm->mm, block);
	list_splice_tail_init(blocks, &hbm->dirty);
	if (hbm->wq)
		queue_work(hbm->wq, &hbm->scrub);
	mutex_unlock(&hbm->lock);
}

/**
 * zhenwu_hbm_free_clean() - free HBM that the caller zeroed
 * @zdev: device
 * @blocks: blocks; the list is empty afterwards
 */
void zhenwu_hbm_free_clean(struct zhenwu_device *zdev, struct list_head *blocks)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;

	mutex_lock(&hbm->lock);
	gpu_buddy_free_list(&hbm->mm, blocks, 0);
	zhenwu_hbm_settle_bad(hbm);
	mutex_unlock(&hbm->lock);
}

/**
 * zhenwu_hbm_alloc_table() - take a zeroed page for a page table from what is kept for them
 * @zdev: device
 * @addr: where to put its HBM address
 *
 * Return: 0 or -ENOSPC.
 */
int zhenwu_hbm_alloc_table(struct zhenwu_device *zdev, u64 *addr)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	unsigned int i;

	mutex_lock(&hbm->lock);
	i = find_first_zero_bit(hbm->tables.map, hbm->tables.count);
	if (i < hbm->tables.count)
		__set_bit(i, hbm->tables.map);
	mutex_unlock(&hbm->lock);
	if (i == hbm->tables.count)
		return -ENOSPC;
	*addr = hbm->tables.base + (u64)i * ZW_PAGE_SIZE;
	return 0;
}

/**
 * zhenwu_hbm_free_table() - give back the page of a page table
 * @zdev: device
 * @addr: its HBM address; the caller zeroed it
 */
void zhenwu_hbm_free_table(struct zhenwu_device *zdev, u64 addr)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;

	mutex_lock(&hbm->lock);
	if (!zhenwu_hbm_keep_bad_table(hbm, addr))
		__clear_bit((addr - hbm->tables.base) / ZW_PAGE_SIZE, hbm->tables.map);
	mutex_unlock(&hbm->lock);
}

/**
 * zhenwu_hbm_is_in() - does somebody's memory lie where an allocation may
 * @zdev: device
 * @blocks: the memory
 * @place: where
 *
 * Return: true when any of it does.
 */
bool zhenwu_hbm_is_in(struct zhenwu_device *zdev, const struct list_head *blocks,
		      enum zhenwu_hbm_place place)
{
	struct gpu_buddy_block *block;

	list_for_each_entry(block, blocks, link)
		if (place == ZHENWU_HBM_ANY ||
		    gpu_buddy_block_offset(block) < zdev->info.aperture_size)
			return true;
	return false;
}

/**
 * zhenwu_hbm_free_bytes() - how much is not allocated
 * @zdev: device
 *
 * Return: bytes, those that wait to be scrubbed included.
 */
u64 zhenwu_hbm_free_bytes(struct zhenwu_device *zdev)
{
	struct zhenwu_hbm *hbm = &zdev->hbm;
	u64 bytes;

	mutex_lock(&hbm->lock);
	bytes = hbm->mm.avail + hbm->dirty_bytes;
	mutex_unlock(&hbm->lock);
	return bytes;
}

#ifdef ZHENWU_KUNIT
#include "tests/zhenwu_hbm_test.c"
#endif
