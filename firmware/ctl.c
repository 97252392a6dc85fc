/* SPDX-License-Identifier: MIT */
/* Queues as the driver handles them: doorbells, suspend, resume, destroy. */
#include "ctl.h"
#include "queue.h"
#include "reply.h"
#include "sched.h"

static void doorbell(struct queue *q)
{
	if (q->state == ZW_QUEUE_FREE || q->dying)
		return;
	/* What it has in memory may be on the move, mappings and all: it is looked at afterwards. */
	if (q->suspended && q->state != ZW_QUEUE_ERROR) {
		q->rung = true;
		return;
	}
	/* Cancelling takes time, and a process could ask for it for ever. */
	if (q->state == ZW_QUEUE_ERROR && q->space.user)
		return;
	if (!queue_read_tail(q)) {
		/* There is no job to blame it on unless one is outstanding. */
		if (q->state == ZW_QUEUE_ERROR)
			return;
		if (sched_running(q)) {
			/* sched_cp_done() cancels the rest. */
			q->state = ZW_QUEUE_ERROR;
			q->last_status = ZW_JOB_INVALID;
			sched_stop_running(true);
			return;
		}
		if (q->completed < q->tail)
			queue_fail_next(q, ZW_JOB_INVALID, ZW_REASON_RING);
		queue_stop_on_error(q, ZW_JOB_INVALID);
		return;
	}
	if (q->state == ZW_QUEUE_ERROR) {
		/* What still runs ends first; sched_cp_done() cancels the rest then. */
		if (!sched_running(q))
			queue_cancel_all(q);
	} else if (q->state == ZW_QUEUE_IDLE && q->completed < q->tail) {
		q->state = ZW_QUEUE_READY;
	}
}

void queue_doorbells(void)
{
	for (uint64_t banks = rd64(ZW_SOC_DB_SUMMARY); banks; banks &= banks - 1) {
		uint32_t bank = lowest_bit(banks);

		for (uint64_t m = rd64(ZW_SOC_DB_CLAIM(bank)); m; m &= m - 1)
			doorbell(&queues[bank * ZW_SOC_BANK_SIZE + lowest_bit(m)]);
	}
}

void queue_destroy(uint32_t id, uint32_t reply_to)
{
	struct queue *q = queue_get(id);

	if (!q || q->dying) {
		mbox_reply(ZW_MSG_DESTROY_QUEUE, reply_to, q ? ZW_MSG_ERR_STATE : ZW_MSG_ERR_NOENT,
			   NULL, 0);
		return;
	}
	/* A suspend that still waits is overtaken; it gets its answer too. */
	if (q->reply_to)
		mbox_reply(q->reply_type, q->reply_to, ZW_MSG_ERR_STATE, NULL, 0);
	q->dying = true;
	q->reply_to = reply_to;
	q->reply_type = ZW_MSG_DESTROY_QUEUE;
	if (sched_running(q)) {
		q->state = ZW_QUEUE_DRAINING;
		sched_stop_running(true);
	} else {
		queue_settle(q);
	}
}

void queue_suspend(uint32_t id, uint32_t reply_to)
{
	struct queue *q = queue_get(id);

	/* One that has failed may still be on the command processor: until it is not, it is not quiet. */
	if (!q || q->dying || q->suspended || (q->state == ZW_QUEUE_ERROR && !sched_running(q))) {
		mbox_reply(ZW_MSG_SUSPEND_QUEUE, reply_to, q ? ZW_MSG_ERR_STATE : ZW_MSG_ERR_NOENT,
			   NULL, 0);
		return;
	}
	q->suspended = true;
	q->reply_to = reply_to;
	q->reply_type = ZW_MSG_SUSPEND_QUEUE;
	if (sched_running(q))
		sched_stop_running(false);
	else
		queue_settle(q);
}

void queue_resume(uint32_t id, uint32_t reply_to)
{
	struct queue *q = queue_get(id);

	if (!q || q->state != ZW_QUEUE_SUSPENDED) {
		mbox_reply(ZW_MSG_RESUME_QUEUE, reply_to, q ? ZW_MSG_ERR_STATE : ZW_MSG_ERR_NOENT,
			   NULL, 0);
		return;
	}
	q->suspended = false;
	q->state = q->have_job || q->completed < q->tail ? ZW_QUEUE_READY : ZW_QUEUE_IDLE;
	if (q->rung) {
		q->rung = false;
		doorbell(q);
	}
	mbox_reply(ZW_MSG_RESUME_QUEUE, reply_to, ZW_MSG_OK, NULL, 0);
}
