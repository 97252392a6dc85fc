// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device reset, function level reset, removal and loss.
 *
 * A device reset stops all queues but leaves HBM alone: clients make new queues on their VMs and go
 * on. A function level reset loses HBM, and with it the VMs. When the device does not come back it
 * is wedged: nothing works any more, and nothing hangs.
 *
 * A device reset is a ladder: with the firmware image there is; with the image read anew; a
 * function level reset; the end. Jobs are over after the first rung. Until then fences are to be
 * signalled, so nothing allocates memory or waits for a fence; nobody's fence depends on the rungs
 * after it.
 *
 * The state is changed only here, and only along the arrows of zhenwu_state_next[].
 */

#include <linux/dma-fence.h>
#include <linux/firmware.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/pci.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_coredump.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_trace.h"
#include "zhenwu_userq.h"
#include "zhenwu_vm.h"

/* The PCI core waits up to 60 s for a device to come back from a reset of its bus. */
#define ZHENWU_BUS_TIMEOUT_MS	90000

/* Where one gets from a state. */
static const u8 zhenwu_state_next[ZHENWU_STATE_COUNT] = {
	[ZHENWU_STATE_BOOTING] = BIT(ZHENWU_STATE_LIVE) | BIT(ZHENWU_STATE_RESETTING) |
				 BIT(ZHENWU_STATE_STOPPING),
	[ZHENWU_STATE_LIVE] = BIT(ZHENWU_STATE_RESETTING) | BIT(ZHENWU_STATE_FLR) |
			      BIT(ZHENWU_STATE_SUSPENDED) | BIT(ZHENWU_STATE_STOPPING),
	[ZHENWU_STATE_RESETTING] = BIT(ZHENWU_STATE_LIVE) | BIT(ZHENWU_STATE_WEDGED) |
				   BIT(ZHENWU_STATE_FLR) | BIT(ZHENWU_STATE_STOPPING),
	[ZHENWU_STATE_FLR] = BIT(ZHENWU_STATE_LIVE) | BIT(ZHENWU_STATE_WEDGED) |
			     BIT(ZHENWU_STATE_STOPPING),
	[ZHENWU_STATE_SUSPENDED] = BIT(ZHENWU_STATE_LIVE) | BIT(ZHENWU_STATE_WEDGED) |
				   BIT(ZHENWU_STATE_STOPPING),
	[ZHENWU_STATE_WEDGED] = BIT(ZHENWU_STATE_STOPPING),
	[ZHENWU_STATE_STOPPING] = BIT(ZHENWU_STATE_STOPPED),
};

/* Return: false, and nothing changed, when there is no way from here to there. */
static bool zhenwu_state_set(struct zhenwu_device *zdev, enum zhenwu_state to)
{
	enum zhenwu_state from;
	unsigned long flags;
	bool ok;

	spin_lock_irqsave(&zdev->reset.lock, flags);
	from = zdev->reset.state;
	ok = zhenwu_state_next[zdev->reset.state] & BIT(to);
	if (ok) {
		if (to == ZHENWU_STATE_LIVE)
			WRITE_ONCE(zdev->reset.jobs_over, false);
		WRITE_ONCE(zdev->reset.state, to);
	}
	spin_unlock_irqrestore(&zdev->reset.lock, flags);
	if (ok) {
		trace_zhenwu_state(zdev, from, to);
		wake_up_all(&zdev->reset.wait);
		wake_up_all(&zdev->telemetry.wait);
	}
	return ok;
}

/**
 * zhenwu_aperture_enter() - about to give pages of the aperture to user space
 * @zdev: device
 *
 * Return: true when they are there; until zhenwu_aperture_exit() whoever takes them away waits, and
 * takes what was given. False when they must not be touched.
 */
bool zhenwu_aperture_enter(struct zhenwu_device *zdev)
{
	down_read(&zdev->reset.aperture);
	switch (zhenwu_device_state(zdev)) {
	case ZHENWU_STATE_LIVE:
	case ZHENWU_STATE_RESETTING:
		return true;
	default:
		up_read(&zdev->reset.aperture);
		return false;
	}
}

/**
 * zhenwu_aperture_exit() - undo a zhenwu_aperture_enter() that returned true
 * @zdev: device
 */
void zhenwu_aperture_exit(struct zhenwu_device *zdev)
{
	up_read(&zdev->reset.aperture);
}

/* Takes back what user space has of the aperture. The state refuses new faults by now. */
static void zhenwu_aperture_revoke(struct zhenwu_device *zdev)
{
	/* Those that saw the state before have inserted their pages when this is got. */
	down_write(&zdev->reset.aperture);
	up_write(&zdev->reset.aperture);
	unmap_mapping_range(zdev->drm.anon_inode->i_mapping, 0, 0, 1);
}

static void zhenwu_reset_announce(struct zhenwu_device *zdev)
{
	lockdep_assert_held(&zdev->hw_lock);

	WRITE_ONCE(zdev->reset.gen, zdev->reset.gen + 1);
	wake_up_all(&zdev->reset.wait);
}

/**
 * zhenwu_reset_lose_queues() - the device was reset: end all queues
 * @zdev: device; hw_lock is held
 * @reason: &enum drm_zhenwu_queue_state_flags that those get that had not failed before
 * @error: what their jobs get
 */
void zhenwu_reset_lose_queues(struct zhenwu_device *zdev, u32 reason, int error)
{
	struct zhenwu_queue *queue;

	lockdep_assert_held(&zdev->hw_lock);

	/* What was completed before the device stopped was completed. */
	zhenwu_irq_sync(zdev);
	list_for_each_entry(queue, &zdev->queues, node)
		zhenwu_queue_lose_locked(queue, reason, error);
	WRITE_ONCE(zdev->reset.jobs_over, true);
	wake_up_all(&zdev->reset.wait);
}

/* Return: 0 or a negative error, of a firmware that does not answer. */
static int zhenwu_reset_announce_queue(struct zhenwu_queue *queue)
{
	int ret;

	if (!queue->on_hw)
		return 0;
	ret = zhenwu_queue_resume_locked(queue);
	switch (ret) {
	case 0:
	case -EIO:
	case -ETIMEDOUT:
	case -EHOSTDOWN:
		return ret;
	}
	/* Its own fault, as of a user-mode queue whose rings are not mapped any more. */
	drm_dbg(&queue->zdev->drm, "queue %u cannot be restored: %d\n", queue->hw_id, ret);
	zhenwu_queue_lose_locked(queue, DRM_ZHENWU_QUEUE_STATE_INNOCENT, -ECANCELED);
	return 0;
}

/**
 * zhenwu_reset_announce_all() - tell a firmware that was just booted what there is
 * @zdev: device; hw_lock is held, the caller is who resets it
 *
 * VMs, records, queues that went to sleep, and samples; a reset ends the queues.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_reset_announce_all(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;
	struct zhenwu_vm *vm;
	int ret = 0;

	lockdep_assert_held(&zdev->hw_lock);

	list_for_each_entry(vm, &zdev->vms, node) {
		vm->on_hw = false;
		if (READ_ONCE(vm->unusable))
			continue;
		ret = zhenwu_vm_register_locked(vm);
		if (ret) {
			drm_err(&zdev->drm, "VM %u cannot be restored: %d\n", vm->hw_id, ret);
			goto out;
		}
	}
	/* Before the first of them goes on. */
	ret = zhenwu_perf_restart(zdev);
	if (ret)
		goto out;
	list_for_each_entry(queue, &zdev->queues, node) {
		ret = zhenwu_reset_announce_queue(queue);
		if (ret)
			goto out;
	}
	ret = zhenwu_telemetry_restart(zdev);
out:
	if (ret)
		zhenwu_ipc_down(zdev);
	else
		/* For a reset of the bus, which takes it away without warning. */
		pci_save_state(zdev->pdev);
	return ret;
}

/* Boots the firmware again. Return: 0 or a negative error. */
static int zhenwu_reset_restart(struct zhenwu_device *zdev)
{
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	/* Somebody may have switched it off, which is then why there is a reset. */
	pci_set_master(zdev->pdev);
	ret = zhenwu_fw_boot(zdev);
	return ret ?: zhenwu_reset_announce_all(zdev);
}

/* The end of a reset. @ret says how it went, @rung what was tried last. */
static void zhenwu_reset_end(struct zhenwu_device *zdev, int ret, enum drm_zhenwu_reset_rung rung)
{
	lockdep_assert_held(&zdev->hw_lock);

	if (!ret) {
		zhenwu_reset_note_rung(zdev, rung);
		/* False when the device is being removed meanwhile. */
		if (zhenwu_state_set(zdev, ZHENWU_STATE_LIVE))
			drm_info(&zdev->drm, "the device works again\n");
	} else {
		/* It may still run: it must not reach memory that is given back from now on. */
		pci_clear_master(zdev->pdev);
		zhenwu_ipc_down(zdev);
		zhenwu_reset_note_rung(zdev, DRM_ZHENWU_RESET_LOST);
		if (zhenwu_state_set(zdev, ZHENWU_STATE_WEDGED))
			drm_err(&zdev->drm, "the device is lost; unbind it or reboot\n");
	}
	zhenwu_reset_announce(zdev);
}

/**
 * zhenwu_reset_tell() - tell user space that the device is lost, if it is, once
 * @zdev: device
 *
 * drm_dev_wedged_event() would do it, but it sends on the primary node, which an accel device has
 * not.
 */
void zhenwu_reset_tell(struct zhenwu_device *zdev)
{
	char wedged[] = "WEDGED=rebind,bus-reset", *env[2] = { wedged };
	int idx;

	if (zhenwu_device_state(zdev) != ZHENWU_STATE_WEDGED ||
	    atomic_xchg(&zdev->reset.told, 1))
		return;
	zhenwu_aperture_revoke(zdev);
	if (!drm_dev_enter(&zdev->drm, &idx))
		return;
	kobject_uevent_env(&zdev->drm.accel->kdev->kobj, KOBJ_CHANGE, env);
	drm_dev_exit(idx);
}

/*
 * First rung: with the image the driver has. Whatever comes of it, jobs are over afterwards and the
 * device does no DMA for them.
 *
 * Return: 0 when the reset is over or somebody else's; -ETIMEDOUT or -ENODEV when the device does
 * not reset, -EIO when its firmware does not start.
 */
static int zhenwu_reset_warm(struct zhenwu_device *zdev)
{
	bool cookie;
	int ret = 0;

	cookie = dma_fence_begin_signalling();
	zhenwu_coredump_take(zdev, ZHENWU_COREDUMP_RESET, NULL);
	mutex_lock(&zdev->hw_lock);
	/* A function level reset may have done it meanwhile, or the device is being removed. */
	if (zhenwu_device_state(zdev) != ZHENWU_STATE_RESETTING)
		goto out;
	drm_warn(&zdev->drm, "resetting the device: %s\n",
		 zhenwu_reset_reason_name(zdev->reset.reason));
	ret = zhenwu_fw_reset_device(zdev);
	if (ret) {
		drm_err(&zdev->drm, "the device does not reset: %d\n", ret);
		/* Before jobs end: what they used is given back then. */
		pci_clear_master(zdev->pdev);
	}
	zhenwu_reset_note_reason(zdev);
	zhenwu_reset_lose_queues(zdev, DRM_ZHENWU_QUEUE_STATE_INNOCENT, -ECANCELED);
	if (ret)
		goto out;
	if (zhenwu_reset_restart(zdev)) {
		pci_clear_master(zdev->pdev);
		ret = -EIO;
		goto out;
	}
	zhenwu_reset_end(zdev, 0, DRM_ZHENWU_RESET_WARM);
out:
	mutex_unlock(&zdev->hw_lock);
	dma_fence_end_signalling(cookie);
	return ret;
}

/*
 * Second rung: with the image read anew. The device could write to the first copy.
 *
 * Return: as above.
 */
static int zhenwu_reset_cold(struct zhenwu_device *zdev)
{
	const struct firmware *fw = zhenwu_fw_fetch(zdev);
	int ret = 0;

	mutex_lock(&zdev->hw_lock);
	if (zhenwu_device_state(zdev) != ZHENWU_STATE_RESETTING)
		goto out;
	drm_warn(&zdev->drm, "resetting the device once more, with %s firmware image\n",
		 fw ? "a fresh" : "the same");
	ret = zhenwu_fw_reset_device(zdev);
	if (!ret) {
		zhenwu_fw_replace(zdev, fw);
		ret = zhenwu_reset_restart(zdev) ? -EIO : 0;
	}
	if (ret)
		pci_clear_master(zdev->pdev);
	else
		zhenwu_reset_end(zdev, 0, DRM_ZHENWU_RESET_COLD);
out:
	mutex_unlock(&zdev->hw_lock);
	release_firmware(fw);
	return ret;
}

/*
 * Third rung, and the end of the ladder. The PCI core calls zhenwu_reset_flr_prepare() and _done(),
 * which say how it went. It is not waited for the lock of the PCI function: who has it may be
 * removing the device, which waits for this work, or recovering the bus, which does the same.
 */
static void zhenwu_reset_function(struct zhenwu_device *zdev)
{
	int ret = -ENODEV;

	if (pci_device_is_present(zdev->pdev))
		ret = pci_try_reset_function(zdev->pdev);
	if (!ret)
		return;

	mutex_lock(&zdev->hw_lock);
	if (zhenwu_device_state(zdev) == ZHENWU_STATE_RESETTING) {
		drm_err(&zdev->drm, "the function cannot be reset: %d\n", ret);
		zhenwu_reset_end(zdev, ret, DRM_ZHENWU_RESET_LOST);
	}
	mutex_unlock(&zdev->hw_lock);
}

static void zhenwu_reset_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(work, struct zhenwu_device, reset.work);
	int ret;

	ret = zhenwu_reset_warm(zdev);
	/* One that does not even get quiet needs something stronger. */
	if (ret == -EIO)
		ret = zhenwu_reset_cold(zdev);
	if (ret)
		zhenwu_reset_function(zdev);

	zhenwu_reset_tell(zdev);
	if (zhenwu_device_state(zdev) != ZHENWU_STATE_WEDGED)
		queue_work(zhenwu_release_wq, &zdev->reset.revoke);
}

static void zhenwu_reset_revoke_work(struct work_struct *work)
{
	zhenwu_userq_revoke_all(container_of(work, struct zhenwu_device, reset.revoke));
}

static void zhenwu_reset_rescue_work(struct work_struct *work);

/**
 * zhenwu_reset_init() - first state
 * @zdev: device
 */
void zhenwu_reset_init(struct zhenwu_device *zdev)
{
	spin_lock_init(&zdev->reset.lock);
	init_waitqueue_head(&zdev->reset.wait);
	init_rwsem(&zdev->reset.aperture);
	INIT_WORK(&zdev->reset.work, zhenwu_reset_work);
	INIT_WORK(&zdev->reset.revoke, zhenwu_reset_revoke_work);
	INIT_DELAYED_WORK(&zdev->reset.rescue, zhenwu_reset_rescue_work);
	zdev->reset.state = ZHENWU_STATE_BOOTING;
	zhenwu_reset_stats_init(zdev);
}

/**
 * zhenwu_reset_live() - probe is done with the device
 * @zdev: device
 */
void zhenwu_reset_live(struct zhenwu_device *zdev)
{
	zhenwu_state_set(zdev, ZHENWU_STATE_LIVE);
}

/**
 * zhenwu_reset_schedule() - ask for a device reset
 * @zdev: device
 * @reason: why
 *
 * Any context; several requests are one reset, for the reason of the first. Ends
 * all requests to the firmware: who made them waits for the reset.
 */
void zhenwu_reset_schedule(struct zhenwu_device *zdev, enum drm_zhenwu_reset_reason reason)
{
	if (!zhenwu_state_set(zdev, ZHENWU_STATE_RESETTING))
		return;
	WRITE_ONCE(zdev->reset.reason, reason);
	zhenwu_ipc_down(zdev);
	queue_work(zdev->reset.wq, &zdev->reset.work);
}

/**
 * zhenwu_reset_wait() - wait until a reset is over
 * @zdev: device
 * @gen: reset.gen read before the request that failed
 *
 * Must not be called with hw_lock held. On return the device does no DMA for anybody who was there
 * before.
 */
void zhenwu_reset_wait(struct zhenwu_device *zdev, u32 gen)
{
	wait_event(zdev->reset.wait, READ_ONCE(zdev->reset.gen) != gen ||
		   zhenwu_device_state(zdev) == ZHENWU_STATE_WEDGED ||
		   zhenwu_device_state(zdev) == ZHENWU_STATE_STOPPED);
}

/**
 * zhenwu_reset_wait_jobs() - wait until a reset has ended the jobs of before
 * @zdev: device
 * @gen: as for zhenwu_reset_wait()
 *
 * For who signals fences: that much of a reset allocates no memory and waits for no fence. What the
 * device may still reach is not to be given back before zhenwu_reset_wait().
 */
void zhenwu_reset_wait_jobs(struct zhenwu_device *zdev, u32 gen)
{
	wait_event(zdev->reset.wait, READ_ONCE(zdev->reset.jobs_over) ||
		   READ_ONCE(zdev->reset.gen) != gen ||
		   zhenwu_device_state(zdev) == ZHENWU_STATE_WEDGED ||
		   zhenwu_device_state(zdev) == ZHENWU_STATE_STOPPED);
}

/**
 * zhenwu_reset_stop() - stop the device for good
 * @zdev: device that is being removed
 *
 * On return no DMA is under way and all jobs that ran have ended with -ENODEV. More than one call
 * does no harm.
 */
void zhenwu_reset_stop(struct zhenwu_device *zdev)
{
	/* One that was given up had its time. */
	bool given_up = zhenwu_device_state(zdev) == ZHENWU_STATE_WEDGED;
	bool cookie;
	int ret;

	if (!zhenwu_state_set(zdev, ZHENWU_STATE_STOPPING))
		return;
	zhenwu_ipc_down(zdev);
	cookie = dma_fence_begin_signalling();
	mutex_lock(&zdev->hw_lock);
	ret = given_up ? zhenwu_fw_quiet_device(zdev) : zhenwu_fw_reset_device(zdev);
	if (ret && ret != -ENODEV)
		drm_err(&zdev->drm, "the device does not get quiet: %d\n", ret);
	pci_clear_master(zdev->pdev);
	zhenwu_reset_lose_queues(zdev, DRM_ZHENWU_QUEUE_STATE_REMOVED, -ENODEV);
	zhenwu_state_set(zdev, ZHENWU_STATE_STOPPED);
	zhenwu_reset_announce(zdev);
	mutex_unlock(&zdev->hw_lock);
	dma_fence_end_signalling(cookie);
}

/**
 * zhenwu_reset_sleep() - the device is about to go to sleep
 * @zdev: device
 *
 * On return nobody reaches HBM or doorbells, and nobody but the caller may ask the firmware.
 *
 * Return: false, and nothing changed, when the device does not work.
 */
bool zhenwu_reset_sleep(struct zhenwu_device *zdev)
{
	if (!zhenwu_state_set(zdev, ZHENWU_STATE_SUSPENDED))
		return false;
	zhenwu_aperture_revoke(zdev);
	return true;
}

/**
 * zhenwu_reset_wake() - it has woken up
 * @zdev: device; hw_lock is held
 * @ret: 0, or why it is lost
 */
void zhenwu_reset_wake(struct zhenwu_device *zdev, int ret)
{
	lockdep_assert_held(&zdev->hw_lock);

	if (!ret) {
		zhenwu_state_set(zdev, ZHENWU_STATE_LIVE);
		return;
	}
	/* Before jobs end: what they used is given back then. */
	pci_clear_master(zdev->pdev);
	zhenwu_reset_lose_queues(zdev, DRM_ZHENWU_QUEUE_STATE_INNOCENT, -ECANCELED);
	zhenwu_reset_end(zdev, ret, DRM_ZHENWU_RESET_LOST);
}

/**
 * zhenwu_reset_lose_vms() - HBM is lost, and page tables with it
 * @zdev: device; hw_lock is held
 */
void zhenwu_reset_lose_vms(struct zhenwu_device *zdev)
{
	struct zhenwu_vm *vm;

	lockdep_assert_held(&zdev->hw_lock);

	list_for_each_entry(vm, &zdev->vms, node)
		zhenwu_vm_lose_locked(vm);
}

/* -- resets from outside: function level, bus ------------------------------------------------- */

/*
 * Something else is about to reset the device. From here to zhenwu_reset_outside_end() it is the
 * state that keeps everybody off. hw_lock is not held: jobs end under it, and the PCI core
 * allocates memory under locks it takes in between.
 */
static void zhenwu_reset_outside_begin(struct zhenwu_device *zdev,
				       enum drm_zhenwu_reset_reason reason)
{
	bool cookie;

	cookie = dma_fence_begin_signalling();
	/* A device reset that runs ends first: its end would be taken for the end of this one. */
	mutex_lock(&zdev->hw_lock);
	/* One that is a rung of a device reset has the reason of that. */
	if (zhenwu_device_state(zdev) != ZHENWU_STATE_RESETTING)
		zdev->reset.reason = reason;
	/* Fails when the device is lost, which it stays, or was never used. */
	zhenwu_state_set(zdev, ZHENWU_STATE_FLR);
	zhenwu_ipc_down(zdev);
	zhenwu_reset_lose_vms(zdev);
	if (zhenwu_device_alive(zdev) && zhenwu_fw_quiet_device(zdev))
		drm_err(&zdev->drm, "the device does not get quiet\n");
	/* The MSI-X table is about to move away and come back. */
	zhenwu_irq_disable(zdev);
	mutex_unlock(&zdev->hw_lock);
	dma_fence_end_signalling(cookie);

	zhenwu_aperture_revoke(zdev);
}

/* It is over. @ret: 0, or why the device is not to be started again. */
static void zhenwu_reset_outside_end(struct zhenwu_device *zdev, int ret)
{
	bool cookie;

	cookie = dma_fence_begin_signalling();
	mutex_lock(&zdev->hw_lock);
	zhenwu_irq_enable(zdev);
	/* Also those whose announcement was answered just before and noted just now. */
	zhenwu_reset_lose_vms(zdev);
	if (zhenwu_device_state(zdev) == ZHENWU_STATE_FLR) {
		if (ret)
			/* Before jobs end: what they used is given back then. */
			pci_clear_master(zdev->pdev);
		zhenwu_reset_note_reason(zdev);
	}
	zhenwu_reset_lose_queues(zdev, DRM_ZHENWU_QUEUE_STATE_FLR, -ECANCELED);
	if (zhenwu_device_state(zdev) == ZHENWU_STATE_FLR) {
		if (!ret)
			ret = zhenwu_fw_wait_reset(zdev);
		if (!ret)
			ret = zhenwu_reset_restart(zdev);
		zhenwu_reset_end(zdev, ret, DRM_ZHENWU_RESET_FLR);
	} else {
		zhenwu_reset_announce(zdev);
	}
	mutex_unlock(&zdev->hw_lock);
	dma_fence_end_signalling(cookie);
	zhenwu_reset_tell(zdev);
}

/**
 * zhenwu_reset_flr_prepare() - a function level reset is about to happen
 * @pdev: PCI function
 */
void zhenwu_reset_flr_prepare(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);

	drm_warn(&zdev->drm, "function level reset, HBM contents are lost\n");
	zhenwu_reset_outside_begin(zdev, DRM_ZHENWU_RESET_FUNCTION);
}

/**
 * zhenwu_reset_flr_done() - a function level reset is over
 * @pdev: PCI function
 */
void zhenwu_reset_flr_done(struct pci_dev *pdev)
{
	zhenwu_reset_outside_end(pci_get_drvdata(pdev), 0);
}

/* The bus is to be reset, or somebody finds out in time that it was not. */
static void zhenwu_reset_bus_begin(struct zhenwu_device *zdev)
{
	zhenwu_reset_outside_begin(zdev, DRM_ZHENWU_RESET_PCI_ERROR);
	atomic_set(&zdev->reset.bus, 1);
	queue_delayed_work(zdev->reset.wq, &zdev->reset.rescue,
			   msecs_to_jiffies(ZHENWU_BUS_TIMEOUT_MS));
}

static void zhenwu_reset_rescue_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(to_delayed_work(work), struct zhenwu_device,
						  reset.rescue);

	if (!atomic_xchg(&zdev->reset.bus, 0))
		return;
	drm_err(&zdev->drm, "the bus was not reset\n");
	zhenwu_reset_outside_end(zdev, -EIO);
}

/**
 * zhenwu_reset_pci_error() - PCI Express reported an error that was not corrected
 * @pdev: PCI function
 * @channel: whether the device can still be reached
 *
 * Of an error that is not fatal one transfer is lost, at most. The device says by itself which job
 * that was, and goes on.
 *
 * Return: what to do next.
 */
pci_ers_result_t zhenwu_reset_pci_error(struct pci_dev *pdev, pci_channel_state_t channel)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);

	zhenwu_coredump_take(zdev, ZHENWU_COREDUMP_PCI, NULL);
	switch (channel) {
	case pci_channel_io_normal:
		drm_warn(&zdev->drm, "PCI Express error that is not fatal\n");
		return PCI_ERS_RESULT_CAN_RECOVER;
	case pci_channel_io_frozen:
		drm_err(&zdev->drm, "fatal PCI Express error, HBM contents are lost\n");
		zhenwu_reset_bus_begin(zdev);
		return PCI_ERS_RESULT_NEED_RESET;
	default:
		drm_err(&zdev->drm, "PCI Express error that is not recovered from\n");
		zhenwu_reset_outside_begin(zdev, DRM_ZHENWU_RESET_PCI_ERROR);
		zhenwu_reset_outside_end(zdev, -EIO);
		return PCI_ERS_RESULT_DISCONNECT;
	}
}

/**
 * zhenwu_reset_pci_mmio() - the device can be reached again after an error
 * @pdev: PCI function
 *
 * Return: whether that is enough.
 */
pci_ers_result_t zhenwu_reset_pci_mmio(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);
	bool well;

	/* Not in the middle of a device reset. */
	mutex_lock(&zdev->hw_lock);
	well = zhenwu_read32(zdev, ZW_REG_MAGIC) == ZW_MAGIC && zhenwu_fw_running(zdev);
	mutex_unlock(&zdev->hw_lock);
	if (well)
		return PCI_ERS_RESULT_RECOVERED;
	zhenwu_reset_bus_begin(zdev);
	return PCI_ERS_RESULT_NEED_RESET;
}

/**
 * zhenwu_reset_pci_slot() - the bus was reset after an error
 * @pdev: PCI function
 *
 * Return: whether the device came back.
 */
pci_ers_result_t zhenwu_reset_pci_slot(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);

	if (!atomic_xchg(&zdev->reset.bus, 0))
		return PCI_ERS_RESULT_DISCONNECT;
	cancel_delayed_work(&zdev->reset.rescue);
	/* BARs and MSI-X; as zhenwu_reset_restart() left them. */
	pci_restore_state(pdev);
	zhenwu_reset_outside_end(zdev, 0);
	return zhenwu_device_alive(zdev) ? PCI_ERS_RESULT_RECOVERED : PCI_ERS_RESULT_DISCONNECT;
}

/**
 * zhenwu_reset_pci_resume() - recovery from an error is over
 * @pdev: PCI function
 */
void zhenwu_reset_pci_resume(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);

	drm_info(&zdev->drm, "PCI Express error recovered from\n");
}
