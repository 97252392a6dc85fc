// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the jobs of a queue end: completed by the device, failed, hung, or lost in a reset.
 *
 * The completion ring is written by the device and not trusted: a job ends when its own slot
 * carries its own number, and only then. Whatever else is in there is never looked at.
 */

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_coredump.h"
#include "zhenwu_device.h"
#include "zhenwu_ipc.h"
#include "zhenwu_job.h"
#include "zhenwu_perf.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_trace.h"
#include "zhenwu_watchdog.h"

static int zhenwu_status_to_errno(u32 status)
{
	switch (status) {
	case ZW_JOB_OK:
		return 0;
	case ZW_JOB_CANCELED:
		return -ECANCELED;
	case ZW_JOB_NO_MEMORY:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

/**
 * zhenwu_queue_close_ring_locked() - give no more jobs to the device
 * @queue: queue; its lock is held
 * @error: what jobs get that come from now on
 *
 * Jobs that wait for others stop waiting: the scheduler runs them, which ends them.
 */
void zhenwu_queue_close_ring_locked(struct zhenwu_queue *queue, int error)
{
	struct zhenwu_job *job;

	lockdep_assert_held(&queue->lock);

	if (queue->dead)
		return;
	WRITE_ONCE(queue->dead, error);
	list_for_each_entry(job, &queue->waiting, node)
		zhenwu_gate_force(&job->gate);
	if (queue->user) {
		zhenwu_usage_set(queue, false);
		wake_up_all(&queue->userq.wait);
	}
}

/**
 * zhenwu_queue_end_dropped_locked() - end jobs the device did not get, unless it is behind
 * @queue: queue; its lock is held
 */
void zhenwu_queue_end_dropped_locked(struct zhenwu_queue *queue)
{
	struct zhenwu_job *job;

	lockdep_assert_held(&queue->lock);

	while ((job = list_first_entry_or_null(&queue->inflight, struct zhenwu_job, node)) &&
	       !job->in_ring)
		zhenwu_job_end_locked(job, queue->dead);
}

/* Notes the first failure and closes the ring. The lock of the queue is held. */
static void zhenwu_queue_fail_locked(struct zhenwu_queue *queue, const struct zw_completion *c)
{
	lockdep_assert_held(&queue->lock);

	zhenwu_queue_close_ring_locked(queue, -ECANCELED);
	if (queue->error.state)
		return;
	queue->error.state = DRM_ZHENWU_QUEUE_STATE_FAILED;
	queue->error.status = le32_to_cpu(c->status);
	queue->error.reason = le32_to_cpu(c->reason);
	queue->error.packet_index = le32_to_cpu(c->packet_index);
	queue->error.fault_access = le32_to_cpu(c->fault_access);
	queue->error.fault_va = le64_to_cpu(c->fault_va);
	queue->error.seqno = le64_to_cpu(c->seqno);
	trace_zhenwu_fault(queue);
	drm_dbg(&queue->zdev->drm,
		"queue %u job %llu failed: status %u reason %u packet %u va 0x%llx\n",
		queue->hw_id, queue->error.seqno, queue->error.status, queue->error.reason,
		queue->error.packet_index, queue->error.fault_va);

	switch (queue->error.status) {
	case ZW_JOB_INTERNAL:
	case ZW_JOB_ECC:
	case ZW_JOB_LINK:
	case ZW_JOB_TIMEOUT:
		/* Of the others the job is to blame, and whoever likes can have them. */
		zhenwu_coredump_job_locked(queue);
	}
}

static int zhenwu_queue_job_error(struct zhenwu_queue *queue, u64 seqno, int error)
{
	/*
	 * Of a queue that hung, the job it hung in is told so, the ones behind are just cancelled.
	 */
	if (error && queue->error.state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT &&
	    seqno == queue->error.seqno)
		return -ETIME;
	return error;
}

/* Takes the completions of a job in the ring. Return: has it ended. */
static bool zhenwu_queue_poll_job_locked(struct zhenwu_queue *queue, struct zhenwu_job *job)
{
	while (job->ended < job->num_entries) {
		u64 seqno = zhenwu_job_current(job);
		const struct zw_completion *slot = &queue->compl[seqno % queue->slots];
		struct zw_completion c;
		int error;

		if (le64_to_cpu(READ_ONCE(slot->seqno)) != seqno)
			return false;
		/* The firmware writes seqno last: the rest is read after it. */
		dma_rmb();
		memcpy(&c, slot, sizeof(c));
		/* From here on only the copy counts, whatever the device does to the slot. */
		barrier();
		c.seqno = cpu_to_le64(seqno);

		error = zhenwu_status_to_errno(le32_to_cpu(c.status));
		if (error)
			zhenwu_queue_fail_locked(queue, &c);
		else if (job->error)
			error = -ECANCELED;
		job->error = zhenwu_queue_job_error(queue, seqno, error);
		zhenwu_usage_job(queue, le64_to_cpu(c.start_ps), le64_to_cpu(c.end_ps));
		trace_zhenwu_job_done(queue, seqno, &c);
		zhenwu_perf_done(queue, seqno);
		job->ended++;
		queue->completed = seqno;
	}
	zhenwu_job_end_locked(job, job->error);
	return true;
}

/**
 * zhenwu_queue_poll() - end the jobs that the device completed
 * @queue: queue
 *
 * Any context.
 *
 * Return: true when there was one.
 */
bool zhenwu_queue_poll(struct zhenwu_queue *queue)
{
	struct zhenwu_job *job;
	unsigned long flags;
	bool any = false;

	if (queue->user) {
		wake_up_all(&queue->userq.wait);
		return false;
	}

	spin_lock_irqsave(&queue->lock, flags);
	while ((job = list_first_entry_or_null(&queue->inflight, struct zhenwu_job, node)) &&
	       job->in_ring && zhenwu_queue_poll_job_locked(queue, job))
		any = true;
	zhenwu_queue_end_dropped_locked(queue);
	spin_unlock_irqrestore(&queue->lock, flags);
	return any;
}

/**
 * zhenwu_queue_busy() - are there jobs in the ring
 * @queue: queue
 *
 * Return: true when there are, or may be.
 */
bool zhenwu_queue_busy(struct zhenwu_queue *queue)
{
	unsigned long flags;
	bool busy;

	spin_lock_irqsave(&queue->lock, flags);
	busy = queue->user || !list_empty(&queue->inflight);
	spin_unlock_irqrestore(&queue->lock, flags);
	return busy;
}

/**
 * zhenwu_queue_abort() - close the ring and end what is in it
 * @queue: queue that the device no longer works on
 * @error: what its jobs get
 */
void zhenwu_queue_abort(struct zhenwu_queue *queue, int error)
{
	struct zhenwu_job *job, *next;
	unsigned long flags;

	zhenwu_queue_poll(queue);

	spin_lock_irqsave(&queue->lock, flags);
	zhenwu_queue_close_ring_locked(queue, error);
	list_for_each_entry_safe(job, next, &queue->inflight, node)
		zhenwu_job_end_locked(job, zhenwu_queue_job_error(queue, job->seqno, error));
	spin_unlock_irqrestore(&queue->lock, flags);
}

/**
 * zhenwu_queue_lose_locked() - the device has forgotten a queue
 * @queue: queue; hw_lock is held and the device was reset
 * @reason: &enum drm_zhenwu_queue_state_flags it gets, unless it had failed before
 * @error: what its jobs get
 */
void zhenwu_queue_lose_locked(struct zhenwu_queue *queue, u32 reason, int error)
{
	unsigned long flags;

	lockdep_assert_held(&queue->zdev->hw_lock);

	if (!queue->on_hw)
		return;
	queue->on_hw = false;
	zhenwu_queue_poll(queue);
	spin_lock_irqsave(&queue->lock, flags);
	if (!queue->error.state)
		queue->error.state = reason;
	spin_unlock_irqrestore(&queue->lock, flags);
	zhenwu_queue_abort(queue, error);
}

/**
 * zhenwu_queue_destroy_hw() - have the firmware forget a queue
 * @queue: queue; its destroy lock is held
 * @flags: ZHENWU_IPC_NOWAIT, or 0
 *
 * On return the device does not work for it, unless that is an error with ZHENWU_IPC_NOWAIT: then
 * a reset is under way.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_queue_destroy_hw(struct zhenwu_queue *queue, unsigned int flags)
{
	struct zw_msg_queue msg = { .queue = cpu_to_le32(queue->hw_id) };
	struct zhenwu_device *zdev = queue->zdev;
	bool on_hw;
	int ret, idx;

	lockdep_assert_held(&queue->destroy_lock);

	mutex_lock(&zdev->hw_lock);
	on_hw = queue->on_hw;
	mutex_unlock(&zdev->hw_lock);
	if (!on_hw)
		return 0;

	/* It stays on the list meanwhile: the progress check looks after it until it is drained. */
	if (drm_dev_enter(&zdev->drm, &idx)) {
		zhenwu_watchdog_kick(zdev);
		drm_dev_exit(idx);
	}
	ret = zhenwu_ipc_request_in(zdev, queue->session, flags, ZW_MSG_DESTROY_QUEUE, &msg,
				    sizeof(msg), NULL, 0);
	if (ret == -ENOENT && queue->half_made)
		ret = 0;
	if (ret && ret != -EIO && ret != -ENODEV) {
		drm_err(&zdev->drm, "firmware refuses to destroy queue %u: %d\n", queue->hw_id,
			ret);
		zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_FW_REFUSED);
		if (!(flags & ZHENWU_IPC_NOWAIT))
			wait_event(zdev->reset.wait,
				   zhenwu_ipc_session_over(zdev, queue->session));
	}
	if (!ret) {
		mutex_lock(&zdev->hw_lock);
		queue->on_hw = false;
		mutex_unlock(&zdev->hw_lock);
	}
	return ret;
}

/**
 * zhenwu_queue_kill() - end a queue that hangs
 * @queue: queue
 *
 * The job it hangs in gets -ETIME. When the firmware cannot do it, or has tried for too long, a
 * device reset is under way that will.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_queue_kill(struct zhenwu_queue *queue)
{
	struct zhenwu_device *zdev = queue->zdev;
	struct zhenwu_job *job;
	unsigned long flags;
	bool hangs;
	int ret;

	if (!mutex_trylock(&queue->destroy_lock)) {
		/*
		 * It is being destroyed. Only when the firmware said so in this check does it hang
		 * in that: nobody gets the device reset by destroying a queue in time.
		 */
		if (le32_to_cpu(queue->watchdog.info.state) != ZW_QUEUE_DRAINING)
			return 0;
		drm_err(&zdev->drm, "queue %u does not drain\n", queue->hw_id);
		zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_QUEUE_STUCK);
		return -EIO;
	}

	spin_lock_irqsave(&queue->lock, flags);
	zhenwu_queue_close_ring_locked(queue, -ECANCELED);
	job = list_first_entry_or_null(&queue->inflight, struct zhenwu_job, node);
	hangs = job || queue->user;
	if (hangs) {
		u64 seqno = job ? zhenwu_job_current(job) : queue->completed + 1;

		if (!queue->error.state) {
			queue->error.status = ZW_JOB_CANCELED;
			queue->error.seqno = seqno;
		}
		queue->error.state |= DRM_ZHENWU_QUEUE_STATE_FAILED |
				      DRM_ZHENWU_QUEUE_STATE_TIMEDOUT;
		drm_dbg(&zdev->drm, "queue %u hangs in job %llu, it is ended\n", queue->hw_id,
			seqno);
	}
	spin_unlock_irqrestore(&queue->lock, flags);

	/* Anybody can have a queue wait in vain: that is no failure of the device. */
	if (hangs && le32_to_cpu(queue->watchdog.info.state) != ZW_QUEUE_BLOCKED)
		zhenwu_coredump_take(zdev, ZHENWU_COREDUMP_HANG, queue);
	ret = hangs ? zhenwu_queue_destroy_hw(queue, ZHENWU_IPC_NOWAIT) : 0;
	if (!ret && hangs)
		zhenwu_queue_abort(queue, -ECANCELED);
	mutex_unlock(&queue->destroy_lock);
	return ret;
}

#ifdef ZHENWU_KUNIT
#include "tests/zhenwu_queue_test.c"
#endif
