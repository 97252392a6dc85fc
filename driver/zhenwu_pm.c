// SPDX-License-Identifier: GPL-2.0-only
/*
 * Power management: system sleep.
 *
 * Without power the device forgets everything: registers, firmware, queues, HBM. Before, queues are
 * stopped at the next packet boundary, jobs that were not given to the device yet stay where they
 * are, and HBM goes to system memory (zhenwu_hbm_save.c). Afterwards HBM comes back, and queues go
 * on where they stood. Clients notice nothing. It is done for every kind of sleep alike: in some the
 * card may keep its power, but nobody promises that.
 *
 * Tasks are frozen meanwhile, and so are the workqueues of those who let go of things.
 */

#include <linux/notifier.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/suspend.h>

#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_fw.h"
#include "zhenwu_hbm_save.h"
#include "zhenwu_ipc.h"
#include "zhenwu_pm.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_trace.h"
#include "zhenwu_watchdog.h"

/* -- queues ----------------------------------------------------------------------------------- */

/* Nothing is given to the device any more. */
static void zhenwu_pm_hold_jobs(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;

	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(queue, &zdev->queues, node)
		if (!queue->user)
			drm_sched_wqueue_stop(&queue->sched);
	mutex_unlock(&zdev->hw_lock);
	cancel_delayed_work_sync(&zdev->watchdog);
}

/* Queues that the device knows look for what came meanwhile, schedulers give it more. */
static void zhenwu_pm_release_jobs(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;

	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(queue, &zdev->queues, node) {
		if (queue->on_hw)
			zhenwu_write32(zdev, ZW_REG_DOORBELL(queue->hw_id), 1);
		if (!queue->user)
			drm_sched_wqueue_start(&queue->sched);
	}
	mutex_unlock(&zdev->hw_lock);
	zhenwu_watchdog_kick(zdev);
}

static void zhenwu_pm_stop_queues(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;
	bool answers = true;

	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(queue, &zdev->queues, node)
		answers = zhenwu_queue_suspend_locked(queue, answers);
	mutex_unlock(&zdev->hw_lock);
}

/* Those of which it is not known where they stand. The device was reset. */
static void zhenwu_pm_lose_queues(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;

	mutex_lock(&zdev->hw_lock);
	zhenwu_irq_sync(zdev);
	list_for_each_entry(queue, &zdev->queues, node)
		if (!queue->place.known)
			zhenwu_queue_lose_locked(queue, DRM_ZHENWU_QUEUE_STATE_INNOCENT,
						 -ECANCELED);
	mutex_unlock(&zdev->hw_lock);
}

/* -- the device ------------------------------------------------------------------------------- */

static int zhenwu_pm_reset(struct zhenwu_device *zdev)
{
	int ret;

	zhenwu_ipc_down(zdev);
	mutex_lock(&zdev->hw_lock);
	ret = zhenwu_fw_reset_device(zdev);
	mutex_unlock(&zdev->hw_lock);
	if (ret)
		drm_err(&zdev->drm, "the device does not get quiet: %d\n", ret);
	return ret;
}

/* A firmware that knows nothing yet. @clean: all of HBM is zero afterwards. */
static int zhenwu_pm_boot(struct zhenwu_device *zdev, bool clean)
{
	int ret;

	mutex_lock(&zdev->hw_lock);
	pci_set_master(zdev->pdev);
	ret = zhenwu_fw_boot(zdev);
	if (!ret && clean)
		ret = zhenwu_hbm_scrub_boot(zdev);
	mutex_unlock(&zdev->hw_lock);
	return ret;
}

/* Stops the device and keeps what it would forget. */
static int zhenwu_pm_store(struct zhenwu_device *zdev)
{
	int ret;

	zhenwu_pm_stop_queues(zdev);
	ret = zhenwu_pm_reset(zdev);
	if (ret)
		return ret;
	zhenwu_pm_lose_queues(zdev);
	if (zdev->save.used) {
		ret = zhenwu_pm_boot(zdev, false);
		if (!ret)
			ret = zhenwu_hbm_save_store(zdev);
		if (zhenwu_pm_reset(zdev))
			ret = ret ?: -EIO;
		if (ret) {
			drm_err(&zdev->drm, "no system sleep: HBM cannot be copied: %d\n", ret);
			return ret;
		}
	}
	pci_clear_master(zdev->pdev);
	return 0;
}

/*
 * Firmware and HBM as they were. @asleep: the device may have been without power.
 *
 * Return: 0, also when HBM is lost and its owners were told, or a negative error.
 */
static int zhenwu_pm_load(struct zhenwu_device *zdev, bool asleep)
{
	int ret;

	ret = zhenwu_pm_reset(zdev);
	if (!ret)
		ret = zhenwu_pm_boot(zdev, asleep);
	if (ret || !asleep)
		return ret;
	ret = zhenwu_hbm_save_load(zdev);
	if (!ret)
		return 0;

	drm_err(&zdev->drm, "HBM does not come back, its contents are lost: %d\n", ret);
	ret = zhenwu_pm_reset(zdev);
	mutex_lock(&zdev->hw_lock);
	zhenwu_reset_lose_vms(zdev);
	zhenwu_reset_lose_queues(zdev, DRM_ZHENWU_QUEUE_STATE_FLR, -ECANCELED);
	mutex_unlock(&zdev->hw_lock);
	return ret ?: zhenwu_pm_boot(zdev, true);
}

static int zhenwu_pm_wake(struct zhenwu_device *zdev, bool asleep)
{
	int ret;

	ret = zhenwu_pm_load(zdev, asleep);
	mutex_lock(&zdev->hw_lock);
	if (!ret)
		ret = zhenwu_reset_announce_all(zdev);
	zhenwu_reset_wake(zdev, ret);
	mutex_unlock(&zdev->hw_lock);
	zhenwu_pm_release_jobs(zdev);
	return ret;
}

/* -- system sleep ----------------------------------------------------------------------------- */

/* Tasks are frozen, all devices still work. */
static int zhenwu_pm_sleep_prepare(struct device *dev)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return zhenwu_device_alive(zdev) ? zhenwu_hbm_save_plan(zdev) : 0;
}

static int zhenwu_pm_sleep_suspend(struct device *dev)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);
	int ret = 0;

	zhenwu_pm_hold_jobs(zdev);
	flush_work(&zdev->reset.work);
	if (zhenwu_reset_sleep(zdev)) {
		ret = zhenwu_pm_store(zdev);
		if (ret)
			zhenwu_pm_wake(zdev, false);
	} else {
		/* One that is lost sleeps as well as any. */
		zhenwu_pm_release_jobs(zdev);
	}
	trace_zhenwu_pm(zdev, false, ret);
	return ret;
}

static int zhenwu_pm_sleep_resume(struct device *dev)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);
	int ret = 0;

	if (zhenwu_device_state(zdev) == ZHENWU_STATE_SUSPENDED)
		ret = zhenwu_pm_wake(zdev, true);
	trace_zhenwu_pm(zdev, true, ret);
	zhenwu_reset_tell(zdev);
	return ret;
}

const struct dev_pm_ops zhenwu_pm_ops = {
	.prepare = pm_sleep_ptr(zhenwu_pm_sleep_prepare),
	SYSTEM_SLEEP_PM_OPS(zhenwu_pm_sleep_suspend, zhenwu_pm_sleep_resume)
};

/* Nothing is frozen yet, or any more. */
static int zhenwu_pm_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	struct zhenwu_device *zdev = container_of(nb, struct zhenwu_device, pm.sleep);
	int ret;

	switch (action) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
		ret = zhenwu_device_alive(zdev) ? zhenwu_hbm_save_reserve(zdev) : 0;
		/* Who is not asked further is not told of the end. */
		if (ret)
			zhenwu_hbm_save_release(zdev);
		return notifier_from_errno(ret);
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
		zhenwu_hbm_save_release(zdev);
		break;
	}
	return NOTIFY_DONE;
}

/**
 * zhenwu_pm_init() - be told of system sleep
 * @zdev: device
 *
 * Return: 0 or a negative error.
 */
int zhenwu_pm_init(struct zhenwu_device *zdev)
{
	zhenwu_hbm_save_init(zdev);
	zdev->pm.sleep.notifier_call = zhenwu_pm_notify;
	return register_pm_notifier(&zdev->pm.sleep);
}

/**
 * zhenwu_pm_fini() - not any more
 * @zdev: device, in reset
 */
void zhenwu_pm_fini(struct zhenwu_device *zdev)
{
	unregister_pm_notifier(&zdev->pm.sleep);
	zhenwu_hbm_save_release(zdev);
}
