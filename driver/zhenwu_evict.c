// SPDX-License-Identifier: GPL-2.0-only
/*
 * Room in HBM: buffers that may be in both memories leave it when others need it.
 *
 * They are moved when a buffer is made that can only be in HBM and there is none for it, the
 * longest unused first, and those that jobs use only when there is no other. Who waits for jobs
 * goes round: one client's that do not end keep nobody from another's buffers, and nobody who looks
 * for room from looking. They stay mapped: the device reaches them through PCI. When a job is
 * submitted to a VM whose buffers were moved and there is room again, they come back; nobody else's
 * are moved for that, so two who need more than there is do not push each other out at every job.
 */

#include <linux/atomic.h>
#include <linux/dma-resv.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_dmem.h"
#include "zhenwu_evict.h"
#include "zhenwu_gem.h"
#include "zhenwu_ipc.h"
#include "zhenwu_move.h"
#include "zhenwu_pm.h"
#include "zhenwu_trace.h"
#include "zhenwu_vm.h"

/* Both placements, and may be moved among them. */
#define ZHENWU_EVICT_FLAGS	(DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM)
#define ZHENWU_EVICT_MASK	(ZHENWU_EVICT_FLAGS | DRM_ZHENWU_BO_NO_EVICT)

/* How long somebody who needs HBM waits for jobs of those who have it. */
#define ZHENWU_EVICT_WAIT_MS	60000

/*
 * How long submissions to a VM are held up for that at a time. A job may wait for one that is to be
 * submitted, so it has to be much less than jobs may wait, but also what most jobs take.
 */
#define ZHENWU_EVICT_HOLD_MIN_MS	50u
#define ZHENWU_EVICT_HOLD_MAX_MS	1000u

/* ... and how long not, in between. */
#define ZHENWU_EVICT_PAUSE_MS	100

/* Moves that the device may fail before the search is given up. */
#define ZHENWU_EVICT_FAILURES	3

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

/**
 * struct zhenwu_evict_search - a search for a buffer that can be moved away
 */
struct zhenwu_evict_search {
	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @need: What is missing. */
	const struct zhenwu_hbm_need *need;

	/** @id: Number of the round; later ones have larger numbers. */
	u64 id;

	/** @hold_ms: How long jobs are waited for with submissions held up; 0: not at all. */
	unsigned int hold_ms;

	/** @end: When waiting is over, in jiffies. */
	unsigned long end;

	/** @low: What its cgroup has protected softly is tried, too. */
	bool low;

	/** @protected: There was something like that. */
	bool protected;

	/** @busy: Something is in use now, and may be had later. */
	bool busy;

	/** @wait: Whose jobs are to be over for that, of the longest unused; with a reference. */
	struct drm_gpuvm *wait;

	/** @room: What there was of HBM when it began. */
	u64 room;

	/** @session: Boot of the firmware that moves were last tried with. */
	u32 session;

	/** @failures: How many moves the device failed. */
	unsigned int failures;

	/** @error: How the last of them did, or 0. */
	int error;
};

static bool zhenwu_evict_vm_busy(struct drm_gpuvm *gpuvm)
{
	return !dma_resv_test_signaled(drm_gpuvm_resv(gpuvm), DMA_RESV_USAGE_BOOKKEEP);
}

/*
 * May a buffer be moved in this round? Only tries its reservation, because who has it may be at it
 * for some time.
 */
static bool zhenwu_evict_may(struct zhenwu_evict_search *search, struct zhenwu_bo *bo,
			     unsigned long *used)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct drm_gpuvm_bo *vm_bo;
	bool may;

	/* Of a buffer that is being freed the memory comes anyway. */
	if (!kref_read(&obj->refcount))
		return false;
	if (!dma_resv_trylock(obj->resv)) {
		search->busy = true;
		return false;
	}
	may = zhenwu_move_possible(bo, used);
	if (may) {
		drm_gem_for_each_gpuvm_bo(vm_bo, obj) {
			struct zhenwu_vm *vm = to_zhenwu_vm(vm_bo->vm);

			/* One that was waited for in vain is not waited for once more. */
			if (search->hold_ms ? READ_ONCE(vm->evict_busy) == search->id :
					      zhenwu_evict_vm_busy(vm_bo->vm))
				may = false;
		}
		search->busy |= !may;
	}
	dma_resv_unlock(obj->resv);
	return may;
}

/* Return: the longest unused buffer of those not tried in this round, with a reference; or NULL. */
static struct zhenwu_bo *zhenwu_evict_pick(struct zhenwu_evict_search *search)
{
	struct zhenwu_device *zdev = search->zdev;
	struct zhenwu_bo *bo, *best = NULL;
	unsigned long best_used = 0, used;

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->bos.list, node) {
		if ((bo->flags & ZHENWU_EVICT_MASK) != ZHENWU_EVICT_FLAGS ||
		    bo->placement != DRM_ZHENWU_BO_HBM || bo->evict_tried == search->id ||
		    list_empty(&bo->blocks) || !zhenwu_bo_helps(bo, search->need))
			continue;
		/* A later search is at it: so each round comes to an end. */
		if (bo->evict_tried > search->id) {
			search->busy = true;
			continue;
		}
		if (!zhenwu_dmem_gives(bo, search->need, search->low, &search->protected) ||
		    !zhenwu_evict_may(search, bo, &used))
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
		best->evict_tried = search->id;
	mutex_unlock(&zdev->bos.lock);
	return best;
}

/* Jobs use a buffer. Its VMs are left alone for this round. */
static int zhenwu_evict_note_busy(struct zhenwu_evict_search *search, struct zhenwu_bo *bo)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct drm_gpuvm_bo *vm_bo;
	int ret;

	search->busy = true;
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		return ret;
	drm_gem_for_each_gpuvm_bo(vm_bo, obj) {
		if (!zhenwu_evict_vm_busy(vm_bo->vm))
			continue;
		WRITE_ONCE(to_zhenwu_vm(vm_bo->vm)->evict_busy, search->id);
		if (!search->wait)
			search->wait = drm_gpuvm_get(vm_bo->vm);
	}
	dma_resv_unlock(obj->resv);
	return 0;
}

/*
 * The device failed to move a buffer. It may be the buffer, and another can be moved. It may be a
 * reset, after which this one can. But not for ever.
 */
static int zhenwu_evict_note_failure(struct zhenwu_evict_search *search, int error)
{
	u32 session;
	int ret;

	search->error = error;
	if (++search->failures == ZHENWU_EVICT_FAILURES)
		return error;
	ret = zhenwu_ipc_session(search->zdev, &session, ZHENWU_IPC_KILLABLE);
	if (!ret && session != search->session) {
		search->session = session;
		search->busy = true;
	}
	return ret;
}

/* Moves a buffer out, and counts it. Return: as zhenwu_move_out(), or -ERESTARTSYS. */
static int zhenwu_evict_out(struct zhenwu_bo *bo, unsigned int hold_ms, unsigned long end)
{
	struct zhenwu_device *zdev = to_zhenwu_device(bo->shmem.base.dev);
	u64 size = bo->shmem.base.size;
	int ret;

	do {
		/* One is moved at a time; that is waited for without anybody's reservation. */
		ret = mutex_lock_interruptible(&zdev->evict.lock);
		if (ret)
			return ret;
		mutex_unlock(&zdev->evict.lock);
		ret = zhenwu_move_out(bo, hold_ms);
	} while (ret == -EAGAIN && time_before(jiffies, end));
	trace_zhenwu_move(zdev, bo, ret);
	if (!ret) {
		zhenwu_bo_uncharge(bo->client, size, bo->flags & DRM_ZHENWU_BO_CPU_VISIBLE);
		atomic64_add(size, &zdev->evict.bytes_out);
	}
	return ret;
}

/* Return: 1 when there is more now, 0 when another buffer is to be tried, or a negative error. */
static int zhenwu_evict_one(struct zhenwu_evict_search *search, struct zhenwu_bo *bo)
{
	int ret = zhenwu_evict_out(bo, search->hold_ms, search->end);

	switch (ret) {
	case 0:
		return 1;
	case -EALREADY:
		/* Somebody else did it. */
		return 1;
	case -EAGAIN:
	case -EBUSY:
		return zhenwu_evict_note_busy(search, bo);
	case -ENOMEM:
	case -ENOSPC:
		/* A smaller one may still fit into system memory. */
		return 0;
	case -EIO:
		return zhenwu_evict_note_failure(search, ret);
	default:
		return ret;
	}
}

/* Return: as zhenwu_evict_one(); 0: none can be moved. */
static int zhenwu_evict_round(struct zhenwu_evict_search *search, unsigned int hold_ms)
{
	struct zhenwu_bo *bo;
	int ret = 0;

	search->id = atomic64_inc_return(&search->zdev->evict.rounds);
	search->hold_ms = hold_ms;
	while (!ret && (bo = zhenwu_evict_pick(search))) {
		ret = zhenwu_evict_one(search, bo);
		drm_gem_object_put(&bo->shmem.base);
		if (!ret && hold_ms && time_after(jiffies, search->end))
			break;
	}
	return ret;
}

/* Did others give back what is missing, or some of it? */
static bool zhenwu_evict_gained(const struct zhenwu_evict_search *search)
{
	const struct zhenwu_hbm_need *need = search->need;

	/* Nobody says how much there is below a limit. */
	if (need->limit)
		return false;
	if (!need->client)
		return zhenwu_hbm_free_bytes(search->zdev) > search->room;
	return zhenwu_client_has_room(need->client, need->res, need->n);
}

/* Waits for jobs, with nothing held. Return: 1 when there may be more now, 0 or an error. */
static int zhenwu_evict_pause(struct zhenwu_evict_search *search)
{
	long left = msecs_to_jiffies(ZHENWU_EVICT_PAUSE_MS);

	if (search->wait)
		left = dma_resv_wait_timeout(drm_gpuvm_resv(search->wait), DMA_RESV_USAGE_BOOKKEEP,
					     true, left);
	else
		schedule_timeout_interruptible(left);
	if (signal_pending(current))
		return -ERESTARTSYS;
	if (left < 0)
		return left;
	if (!zhenwu_device_alive(search->zdev))
		return -ENODEV;
	return zhenwu_evict_gained(search);
}

static void zhenwu_evict_begin_rounds(struct zhenwu_evict_search *search)
{
	search->busy = false;
	drm_gpuvm_put(search->wait);
	search->wait = NULL;
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
	struct zhenwu_evict_search search = {
		.zdev = zdev,
		.need = need,
		.room = zhenwu_hbm_free_bytes(zdev),
		.session = READ_ONCE(zdev->ipc.session),
		.end = jiffies + msecs_to_jiffies(ZHENWU_EVICT_WAIT_MS),
	};
	unsigned int hold = ZHENWU_EVICT_HOLD_MIN_MS;
	int ret;

	ret = zhenwu_pm_get(zdev);
	if (ret)
		return ret;
	for (;;) {
		zhenwu_evict_begin_rounds(&search);
		ret = zhenwu_evict_round(&search, 0);
		/* Of what is protected only when nothing else is idle. */
		if (!ret && search.protected && !search.low) {
			search.low = true;
			continue;
		}
		if (!ret && search.busy)
			ret = zhenwu_evict_round(&search, hold);
		if (ret || !search.busy || time_after(jiffies, search.end))
			break;
		ret = zhenwu_evict_pause(&search);
		if (ret)
			break;
		hold = min(2 * hold, ZHENWU_EVICT_HOLD_MAX_MS);
	}
	drm_gpuvm_put(search.wait);
	zhenwu_pm_put(zdev);
	/* That something is wrong with the device is more than that there is no room. */
	return ret ?: search.error;
}

/* Return: 0 to try once more, or a negative error. */
static int zhenwu_evict_try_later(struct zhenwu_bo *bo)
{
	/* Of others nobody knows when they go. */
	if (READ_ONCE(bo->peers))
		return -EBUSY;
	schedule_timeout_interruptible(msecs_to_jiffies(ZHENWU_EVICT_PAUSE_MS));
	return signal_pending(current) ? -ERESTARTSYS : 0;
}

static int zhenwu_evict_until(struct zhenwu_bo *bo, unsigned long end)
{
	unsigned int hold = ZHENWU_EVICT_HOLD_MIN_MS;
	int ret;

	for (;;) {
		ret = zhenwu_evict_out(bo, hold, end);
		if (ret != -EBUSY || time_after(jiffies, end))
			break;
		ret = zhenwu_evict_try_later(bo);
		if (ret)
			break;
		hold = min(2 * hold, ZHENWU_EVICT_HOLD_MAX_MS);
	}
	return ret == -EALREADY ? 0 : ret;
}

/**
 * zhenwu_evict_bo() - move a buffer to system memory for who cannot reach HBM
 * @bo: buffer with a reference, that may be in both and does not come back; no lock is held
 *
 * Return: 0 when it is there; -EBUSY when others reach its HBM or jobs do not end; -ENODEV; or
 * another negative error.
 */
int zhenwu_evict_bo(struct zhenwu_bo *bo)
{
	struct zhenwu_device *zdev = to_zhenwu_device(bo->shmem.base.dev);
	int ret, idx;

	if (READ_ONCE(bo->placement) == DRM_ZHENWU_BO_SYSTEM)
		return 0;
	if (zhenwu_pm_get(zdev))
		return -ENODEV;
	if (drm_dev_enter(&zdev->drm, &idx)) {
		ret = zhenwu_evict_until(bo, jiffies + msecs_to_jiffies(ZHENWU_EVICT_WAIT_MS));
		drm_dev_exit(idx);
	} else {
		ret = -ENODEV;
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
static struct zhenwu_bo *zhenwu_evict_pick_back(struct zhenwu_vm *vm, u64 round)
{
	struct zhenwu_device *zdev = vm->zdev;
	u64 room = zhenwu_hbm_free_bytes(zdev);
	struct zhenwu_bo *bo, *found = NULL;

	mutex_lock(&zdev->bos.lock);
	list_for_each_entry(bo, &zdev->evict.list, evict_node) {
		if (bo->evict_tried >= round || bo->shmem.base.size > room ||
		    READ_ONCE(bo->outside) || !zhenwu_evict_is_in(bo, vm) ||
		    !kref_get_unless_zero(&bo->shmem.base.refcount))
			continue;
		bo->evict_tried = round;
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
	ret = zhenwu_move_back(bo);
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
	u64 round;
	int idx;

	if (!READ_ONCE(zdev->evict.pages) || vm->lr)
		return;
	if (!drm_dev_enter(&zdev->drm, &idx))
		return;
	if (zhenwu_pm_get(zdev))
		goto out_dev;
	round = atomic64_inc_return(&zdev->evict.rounds);
	/* While somebody makes room there is none. */
	while (!signal_pending(current) && !mutex_is_locked(&zdev->evict.lock) &&
	       (bo = zhenwu_evict_pick_back(vm, round))) {
		zhenwu_evict_bring_back(zdev, bo);
		drm_gem_object_put(&bo->shmem.base);
	}
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
