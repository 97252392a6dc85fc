// SPDX-License-Identifier: GPL-2.0-only
/*
 * Power management: system sleep, and that of the card alone (runtime PM).
 *
 * Without power the device forgets everything: registers, firmware, queues, HBM. Before, queues are
 * stopped at the next packet boundary, jobs that were not given to the device yet stay where they
 * are, and HBM goes to system memory (zhenwu_hbm_save.c). Afterwards HBM comes back, and queues go
 * on where they stood. Clients notice nothing. It is done for every kind of sleep alike: in some
 * the card may keep its power, but nobody promises that.
 *
 * Tasks are frozen meanwhile, and so are the workqueues of those who let go of things.
 *
 * Alone the card goes to D3hot when nobody uses it, and keeps what it has: the firmware goes on in
 * its loop. What must not happen is that anybody touches its registers or HBM there. Whoever does
 * is between zhenwu_pm_get() and zhenwu_pm_put(): ioctls, jobs from submission to their end, page
 * faults, works. Pages that user space has are taken away before, and the fault wakes the card.
 */

#include <linux/notifier.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/pm_runtime.h>
#include <linux/suspend.h>

#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_fw.h"
#include "zhenwu_hbm_save.h"
#include "zhenwu_hwmon.h"
#include "zhenwu_ipc.h"
#include "zhenwu_pm.h"
#include "zhenwu_prime.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_trace.h"
#include "zhenwu_userq.h"
#include "zhenwu_watchdog.h"

/* How long nobody has to use the card; autosuspend_delay_ms in sysfs. */
#define ZHENWU_AUTOSUSPEND_MS	2000

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

/* What was in HBM is lost; its owners are told. Return: 0 or a negative error. */
static int zhenwu_pm_begin_anew(struct zhenwu_device *zdev)
{
	int ret;

	drm_err(&zdev->drm, "HBM contents are lost\n");
	ret = zhenwu_pm_reset(zdev);
	mutex_lock(&zdev->hw_lock);
	zhenwu_reset_lose_vms(zdev);
	zhenwu_reset_lose_queues(zdev, DRM_ZHENWU_QUEUE_STATE_FLR, -ECANCELED);
	mutex_unlock(&zdev->hw_lock);
	return ret ?: zhenwu_pm_boot(zdev, true);
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

	drm_err(&zdev->drm, "HBM does not come back: %d\n", ret);
	return zhenwu_pm_begin_anew(zdev);
}

/* The firmware is told what there is. @ret: 0, or why it cannot be. */
static int zhenwu_pm_go_on(struct zhenwu_device *zdev, int ret)
{
	mutex_lock(&zdev->hw_lock);
	if (!ret)
		ret = zhenwu_reset_announce_all(zdev);
	zhenwu_reset_wake(zdev, ret);
	mutex_unlock(&zdev->hw_lock);
	zhenwu_pm_release_jobs(zdev);
	return ret;
}

static int zhenwu_pm_wake(struct zhenwu_device *zdev, bool asleep)
{
	return zhenwu_pm_go_on(zdev, zhenwu_pm_load(zdev, asleep));
}

/* -- system sleep ----------------------------------------------------------------------------- */

/* Tasks are frozen, all devices still work. */
static int zhenwu_pm_sleep_prepare(struct device *dev)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	if (!zhenwu_device_alive(zdev))
		return 0;
	/* Jobs of a card that stops later, or goes on before, would find nothing where HBM was. */
	if (zhenwu_prime_has_peers(zdev)) {
		drm_info(&zdev->drm, "no sleep while other devices have this one's HBM as dma-bufs\n");
		return -EBUSY;
	}
	return zhenwu_hbm_save_plan(zdev);
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

/* -- sleep of the card alone ------------------------------------------------------------------ */

/**
 * zhenwu_pm_get() - wake the card, and keep it awake
 * @zdev: device; may be gone
 *
 * May sleep. Undone by zhenwu_pm_put().
 *
 * Return: 0, or -ENODEV: it does not wake up, and nothing is to be undone.
 */
int zhenwu_pm_get(struct zhenwu_device *zdev)
{
	return pm_runtime_resume_and_get(zdev->drm.dev) ? -ENODEV : 0;
}

/**
 * zhenwu_pm_get_awake() - the same for who knows that it is awake
 * @zdev: device that somebody keeps awake
 *
 * Any context.
 */
void zhenwu_pm_get_awake(struct zhenwu_device *zdev)
{
	pm_runtime_get_noresume(zdev->drm.dev);
}

/**
 * zhenwu_pm_put() - that was that
 * @zdev: device
 *
 * Any context.
 */
void zhenwu_pm_put(struct zhenwu_device *zdev)
{
	pm_runtime_mark_last_busy(zdev->drm.dev);
	pm_runtime_put_autosuspend(zdev->drm.dev);
}

/**
 * zhenwu_pm_peek() - keep the card awake if it is
 * @zdev: device
 *
 * For who only looks, which makes it neither wake up nor stay awake.
 *
 * Return: false when it sleeps; else zhenwu_pm_unpeek() is to be called.
 */
bool zhenwu_pm_peek(struct zhenwu_device *zdev)
{
	int ret = pm_runtime_get_if_active(zdev->drm.dev);

	/* Without runtime PM, or not any more. */
	if (ret < 0)
		pm_runtime_get_noresume(zdev->drm.dev);
	return ret;
}

/**
 * zhenwu_pm_unpeek() - undo a zhenwu_pm_peek() that returned true
 * @zdev: device
 */
void zhenwu_pm_unpeek(struct zhenwu_device *zdev)
{
	pm_runtime_put(zdev->drm.dev);
}

/* Return: has a user-mode queue nothing to do. Of the others it is known: jobs keep it awake. */
static bool zhenwu_pm_queue_idle(struct zhenwu_queue *queue)
{
	struct zw_msg_queue msg = { .queue = cpu_to_le32(queue->hw_id) };
	struct zw_msg_queue_info info;

	if (!queue->user || READ_ONCE(queue->dead))
		return true;
	if (zhenwu_ipc_request_boot(queue->zdev, ZW_MSG_QUERY_QUEUE, &msg, sizeof(msg), &info,
				    sizeof(info)))
		return false;
	zhenwu_userq_note(queue, &info);
	return le32_to_cpu(info.state) == ZW_QUEUE_IDLE ||
	       le32_to_cpu(info.state) == ZW_QUEUE_ERROR;
}

static bool zhenwu_pm_idle(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;
	bool idle = true;
	int cursor = -1;

	while (idle && (queue = zhenwu_queue_next(zdev, &cursor))) {
		idle = zhenwu_pm_queue_idle(queue);
		zhenwu_queue_put(queue);
	}
	return idle;
}

static int zhenwu_pm_runtime_suspend(struct device *dev)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);
	int ret = -EBUSY;

	if (!zhenwu_device_alive(zdev))
		return 0;
	/* Look before doorbells are taken away, and once more when nobody can ring. */
	if (!zhenwu_pm_idle(zdev))
		goto out;
	zhenwu_hwmon_sleep(zdev);
	cancel_delayed_work_sync(&zdev->watchdog);
	if (zhenwu_reset_sleep(zdev)) {
		if (zhenwu_pm_idle(zdev)) {
			ret = 0;
		} else {
			mutex_lock(&zdev->hw_lock);
			zhenwu_reset_wake(zdev, 0);
			mutex_unlock(&zdev->hw_lock);
		}
	}
	if (ret)
		zhenwu_watchdog_kick(zdev);
out:
	/* It is tried again after the same time. */
	if (ret)
		pm_runtime_mark_last_busy(dev);
	else
		trace_zhenwu_pm(zdev, false, 0);
	return ret;
}

static int zhenwu_pm_runtime_resume(struct device *dev)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	if (zhenwu_device_state(zdev) != ZHENWU_STATE_SUSPENDED)
		return 0;
	if (zhenwu_read32(zdev, ZW_REG_MAGIC) == ZW_MAGIC && zhenwu_fw_running(zdev)) {
		mutex_lock(&zdev->hw_lock);
		zhenwu_reset_wake(zdev, 0);
		mutex_unlock(&zdev->hw_lock);
		/* It looks after user-mode queues, if there are any. */
		zhenwu_watchdog_kick(zdev);
	} else {
		/* Somebody took its power, or reset it. */
		zhenwu_pm_go_on(zdev, zhenwu_pm_begin_anew(zdev));
		zhenwu_reset_tell(zdev);
	}
	trace_zhenwu_pm(zdev, true, 0);
	return 0;
}

/**
 * zhenwu_pm_enable() - let the card sleep when it is not used, if user space wants that
 * @zdev: device that was probed
 *
 * By default power/control is "on", as the PCI core has it.
 */
void zhenwu_pm_enable(struct zhenwu_device *zdev)
{
	struct device *dev = zdev->drm.dev;

	/* HBM is not saved for this: no power is no sleep. For system sleep it is woken up. */
	pci_d3cold_disable(zdev->pdev);
	dev_pm_set_driver_flags(dev, DPM_FLAG_NO_DIRECT_COMPLETE);
	pm_runtime_set_autosuspend_delay(dev, ZHENWU_AUTOSUSPEND_MS);
	pm_runtime_use_autosuspend(dev);
	pm_runtime_mark_last_busy(dev);
	/* The PCI core's, which drivers without runtime PM keep. */
	pm_runtime_put_noidle(dev);
}

/**
 * zhenwu_pm_disable() - keep it awake
 * @zdev: device that is being removed, and awake
 */
void zhenwu_pm_disable(struct zhenwu_device *zdev)
{
	pm_runtime_get_noresume(zdev->drm.dev);
	pm_runtime_dont_use_autosuspend(zdev->drm.dev);
	pci_d3cold_enable(zdev->pdev);
}

const struct dev_pm_ops zhenwu_pm_ops = {
	.prepare = pm_sleep_ptr(zhenwu_pm_sleep_prepare),
	SYSTEM_SLEEP_PM_OPS(zhenwu_pm_sleep_suspend, zhenwu_pm_sleep_resume)
	RUNTIME_PM_OPS(zhenwu_pm_runtime_suspend, zhenwu_pm_runtime_resume, NULL)
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
