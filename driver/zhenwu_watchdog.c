// SPDX-License-Identifier: GPL-2.0-only
/*
 * Progress check: finds lost interrupts and queues that hang.
 *
 * A job may take as long as it likes while it gets on. The firmware is asked what it did for each
 * queue; a queue is ended when it runs and nothing moves, or when it waits longer than
 * job_timeout_ms for something that does not come. A firmware that does not answer gets the device
 * reset, by the mailbox code.
 *
 * What is in the ring of a user-mode queue the kernel does not know: such a queue is asked for as
 * long as there is one. It may wait for ever, but not run without getting on.
 */

#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/moduleparam.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_userq.h"
#include "zhenwu_watchdog.h"

/* Checks in a row without progress before a running queue counts as hung. */
#define ZHENWU_WATCHDOG_STALLS 3

static unsigned int job_timeout_ms = 30000;
module_param(job_timeout_ms, uint, 0644);
MODULE_PARM_DESC(job_timeout_ms,
		 "Longest time a job may wait for a semaphore, or a queue be without any progress, in ms (default 30000)");

/**
 * zhenwu_watchdog_job_timeout_ms() - longest wait of a job for a semaphore
 *
 * Return: milliseconds.
 */
u32 zhenwu_watchdog_job_timeout_ms(void)
{
	return READ_ONCE(job_timeout_ms);
}

/**
 * zhenwu_watchdog_start_locked() - the time of a queue that had nothing in its ring starts now
 * @queue: queue; its lock is held
 */
void zhenwu_watchdog_start_locked(struct zhenwu_queue *queue)
{
	lockdep_assert_held(&queue->lock);

	queue->watchdog.since = jiffies;
	queue->watchdog.stalls = 0;
}

/* Compares with the last check. All that is compared belongs to this queue alone. */
static bool zhenwu_watchdog_moved(struct zhenwu_queue *queue, const struct zw_msg_queue_info *info)
{
	const struct zw_msg_queue_info *last = &queue->watchdog.info;
	unsigned long flags;
	bool moved;

	spin_lock_irqsave(&queue->lock, flags);
	moved = queue->watchdog.completed != queue->completed ||
		last->completed != info->completed || last->fetched != info->fetched ||
		last->packets_retired != info->packets_retired || last->progress != info->progress;
	queue->watchdog.info = *info;
	queue->watchdog.completed = queue->completed;
	if (moved)
		zhenwu_watchdog_start_locked(queue);
	else
		queue->watchdog.stalls++;
	/* Of what goes through its ring the kernel sees no more than this. */
	if (queue->user && !queue->dead)
		zhenwu_usage_set(queue, moved);
	spin_unlock_irqrestore(&queue->lock, flags);
	return moved;
}

/* Decides on a queue that did not move. */
static bool zhenwu_watchdog_hung(struct zhenwu_queue *queue)
{
	struct zhenwu_device *zdev = queue->zdev;
	u32 state = le32_to_cpu(queue->watchdog.info.state);
	unsigned long timeout = msecs_to_jiffies(READ_ONCE(job_timeout_ms));
	unsigned int stalls;
	bool late;

	spin_lock_irq(&queue->lock);
	late = time_after(jiffies, queue->watchdog.since + timeout);
	stalls = queue->watchdog.stalls;
	spin_unlock_irq(&queue->lock);

	if (queue->user)
		return zhenwu_userq_hung(queue, state, stalls >= ZHENWU_WATCHDOG_STALLS);

	switch (state) {
	case ZW_QUEUE_READY:
		/* Waits for its turn, which comes as long as those before it get on. */
		return late && time_after(jiffies, zdev->last_move + timeout);
	case ZW_QUEUE_IDLE:
		/* The doorbell was lost, or the completion is still on its way. */
		zhenwu_write32(zdev, ZW_REG_DOORBELL(queue->hw_id), 1);
		fallthrough;
	case ZW_QUEUE_RUNNING:
	case ZW_QUEUE_DRAINING:
		return stalls >= ZHENWU_WATCHDOG_STALLS;
	case ZW_QUEUE_BLOCKED:
	case ZW_QUEUE_SUSPENDED:
	case ZW_QUEUE_ERROR:
		return late;
	default:
		drm_err(&zdev->drm, "firmware says queue %u is in state %u\n", queue->hw_id, state);
		return true;
	}
}

/*
 * Asks for a queue. Return: 0 when it is as it should be, 1 when it did not move, or a negative
 * error when the firmware cannot be asked.
 */
static int zhenwu_watchdog_ask(struct zhenwu_queue *queue)
{
	struct zw_msg_queue msg = { .queue = cpu_to_le32(queue->hw_id) };
	struct zhenwu_device *zdev = queue->zdev;
	struct zw_msg_queue_info info;
	int ret;

	/* The interrupt may have been lost. */
	zhenwu_queue_poll(queue);
	if (!zhenwu_queue_busy(queue))
		return 0;

	ret = zhenwu_ipc_request_in(zdev, queue->session, ZHENWU_IPC_NOWAIT, ZW_MSG_QUERY_QUEUE,
				    &msg, sizeof(msg), &info, sizeof(info));
	if (ret == -EIO || ret == -ENODEV)
		return ret;
	if (ret) {
		if (zhenwu_queue_gone(queue))
			return 0;
		drm_err(&zdev->drm, "firmware knows nothing of queue %u: %d\n", queue->hw_id, ret);
		return zhenwu_queue_kill(queue);
	}
	if (queue->user)
		zhenwu_userq_note(queue, &info);
	if (!zhenwu_watchdog_moved(queue, &info))
		return 1;
	zdev->last_move = jiffies;
	return 0;
}

/* Return: are there jobs to look after. */
static bool zhenwu_watchdog_check_all(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;
	bool busy = false;
	int cursor = -1, ret = 0;

	/* First everybody is asked: whether one waits in vain depends on whether others move. */
	while (ret >= 0 && (queue = zhenwu_queue_next(zdev, &cursor))) {
		ret = zhenwu_watchdog_ask(queue);
		queue->watchdog.stuck = ret > 0;
		zhenwu_queue_put(queue);
	}
	for (cursor = -1; ret >= 0 && (queue = zhenwu_queue_next(zdev, &cursor));) {
		if (queue->watchdog.stuck && zhenwu_watchdog_hung(queue))
			ret = zhenwu_queue_kill(queue);
		busy |= zhenwu_queue_busy(queue);
		zhenwu_queue_put(queue);
	}
	return busy || ret < 0;
}

/**
 * zhenwu_watchdog_kick() - look after jobs in a progress period
 * @zdev: device
 *
 * Any context, inside of drm_dev_enter(): the work must not be started when the device is gone. A
 * timer that runs already is left alone.
 */
void zhenwu_watchdog_kick(struct zhenwu_device *zdev)
{
	queue_delayed_work(zdev->reset.wq, &zdev->watchdog,
			   msecs_to_jiffies(zdev->info.progress_ms));
}

/**
 * zhenwu_watchdog_work() - check all queues that have jobs
 * @work: watchdog of the device; on the workqueue of resets, so that it never meets one
 */
void zhenwu_watchdog_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(to_delayed_work(work), struct zhenwu_device,
						  watchdog);
	bool busy, cookie;
	int idx;

	if (!drm_dev_enter(&zdev->drm, &idx))
		return;
	cookie = dma_fence_begin_signalling();
	if (zhenwu_device_state(zdev) == ZHENWU_STATE_LIVE && !zhenwu_fw_running(zdev))
		zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_FW_STOPPED);
	busy = zhenwu_watchdog_check_all(zdev);
	dma_fence_end_signalling(cookie);

	if (busy && zhenwu_device_alive(zdev))
		zhenwu_watchdog_kick(zdev);
	drm_dev_exit(idx);
}
