// SPDX-License-Identifier: GPL-2.0-only
/*
 * Progress check: finds lost interrupts and queues that hang.
 *
 * How long a job may take is nobody's business, whether it gets on is. The firmware is asked; a
 * queue is ended when an engine works for it and nothing moves, or when it waits longer than
 * job_timeout_ms for something that does not come. A firmware that does not answer gets the device
 * reset, by the mailbox code.
 */

#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/moduleparam.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "zhenwu_device.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_watchdog.h"

/* Checks in a row without progress before a running queue counts as hung. */
#define ZHENWU_WATCHDOG_STALLS 3

static unsigned int job_timeout_ms = 30000;
module_param(job_timeout_ms, uint, 0644);
MODULE_PARM_DESC(job_timeout_ms,
		 "Longest time a job may wait for a semaphore, or a queue be without any progress, in ms (default 30000)");

static bool zhenwu_watchdog_moved(struct zhenwu_queue *queue, const struct zw_msg_queue_info *info)
{
	const struct zw_msg_queue_info *last = &queue->watchdog.info;

	return queue->watchdog.completed != queue->completed ||
	       last->completed != info->completed || last->fetched != info->fetched ||
	       last->packets_retired != info->packets_retired || last->progress != info->progress;
}

static bool zhenwu_watchdog_hung(struct zhenwu_queue *queue, const struct zw_msg_queue_info *info)
{
	struct zhenwu_device *zdev = queue->zdev;
	u32 state = le32_to_cpu(info->state);
	unsigned long timeout = msecs_to_jiffies(READ_ONCE(job_timeout_ms));
	unsigned long limit = queue->watchdog.since + timeout;

	switch (state) {
	case ZW_QUEUE_READY:
		/* Waits for its turn, which comes as long as those before it get on. */
		queue->watchdog.stalls = 0;
		return time_after(jiffies, limit) && time_after(jiffies, zdev->last_move + timeout);
	case ZW_QUEUE_RUNNING:
		return ++queue->watchdog.stalls >= ZHENWU_WATCHDOG_STALLS;
	case ZW_QUEUE_IDLE:
		/* The doorbell was lost, or the completion is still on its way. */
		zhenwu_write32(zdev, ZW_REG_DOORBELL(queue->hw_id), 1);
		return ++queue->watchdog.stalls >= ZHENWU_WATCHDOG_STALLS;
	case ZW_QUEUE_BLOCKED:
	case ZW_QUEUE_SUSPENDED:
	case ZW_QUEUE_ERROR:
	case ZW_QUEUE_DRAINING:
		return time_after(jiffies, limit);
	default:
		drm_err(&zdev->drm, "firmware says queue %u is in state %u\n", queue->hw_id, state);
		return true;
	}
}

/* Return: 0, or a negative error when the firmware cannot be asked. */
static int zhenwu_watchdog_check(struct zhenwu_queue *queue)
{
	struct zw_msg_queue msg = { .queue = cpu_to_le32(queue->hw_id) };
	struct zhenwu_device *zdev = queue->zdev;
	struct zw_msg_queue_info info;
	int ret;

	if (!zhenwu_queue_busy(queue)) {
		queue->watchdog.completed = queue->completed;
		queue->watchdog.since = jiffies;
		queue->watchdog.stalls = 0;
		return 0;
	}
	if (zhenwu_queue_poll(queue) && !zhenwu_queue_busy(queue))
		return 0;

	ret = zhenwu_ipc_request(zdev, ZW_MSG_QUERY_QUEUE, &msg, sizeof(msg), &info, sizeof(info));
	if (ret == -EIO || ret == -ENODEV)
		return ret;
	if (ret) {
		drm_err(&zdev->drm, "firmware knows nothing of queue %u: %d\n", queue->hw_id, ret);
		return zhenwu_queue_kill_locked(queue);
	}

	if (zhenwu_watchdog_moved(queue, &info)) {
		queue->watchdog.info = info;
		queue->watchdog.completed = queue->completed;
		queue->watchdog.since = jiffies;
		zdev->last_move = jiffies;
		queue->watchdog.stalls = 0;
		return 0;
	}
	if (!zhenwu_watchdog_hung(queue, &info))
		return 0;
	return zhenwu_queue_kill_locked(queue);
}

/**
 * zhenwu_watchdog_work() - check all queues that have jobs
 * @work: watchdog of the device; on the workqueue of resets, so that it never meets one
 */
void zhenwu_watchdog_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(to_delayed_work(work), struct zhenwu_device,
						  watchdog);
	struct zhenwu_queue *queue;
	bool busy = false, cookie;
	int idx;

	if (!drm_dev_enter(&zdev->drm, &idx))
		return;
	cookie = dma_fence_begin_signalling();
	mutex_lock(&zdev->hw_lock);
	if (READ_ONCE(zdev->ipc.up) && !zhenwu_fw_running(zdev)) {
		zhenwu_ipc_down(zdev);
		zhenwu_reset_schedule(zdev);
	}
	list_for_each_entry(queue, &zdev->queues, node) {
		if (!queue->on_hw)
			continue;
		if (zhenwu_watchdog_check(queue))
			break;
		busy |= zhenwu_queue_busy(queue);
	}
	mutex_unlock(&zdev->hw_lock);
	dma_fence_end_signalling(cookie);

	if (busy && zhenwu_device_alive(zdev))
		queue_delayed_work(zdev->reset.wq, &zdev->watchdog,
				   msecs_to_jiffies(zdev->info.progress_ms));
	drm_dev_exit(idx);
}
