/* SPDX-License-Identifier: MIT */
/*
 * Scheduler: one command processor, many queues. The highest priority that has a ready queue runs;
 * queues of one priority take turns, one time slice each. Preemption is at packet boundaries. A job
 * that waits for a semaphore gives the command processor back and is tried again after other jobs
 * and every FW_BLOCKED_POLL_US.
 */
#include "log.h"
#include "queue.h"
#include "sched.h"

/* Most jobs that begin and end before others than the command processor are looked after. */
#define SCHED_JOBS 8

static struct zw_soc_job job __attribute__((aligned(64)));
static struct queue *running; /* queue_on_cp is the same, for those who only look */
static bool stopping;         /* preempt or cancel already asked for */
static uint64_t slice_end;
static uint32_t last_turn[ZW_PRIO_COUNT]; /* queue that ran last, per priority */

static void set_running(struct queue *q)
{
	running = q;
	queue_on_cp = q;
}

void sched_stop_running(bool cancel)
{
	if (!running)
		return;
	wr32(ZW_SOC_CP_CTRL, cancel ? ZW_SOC_CP_CANCEL : ZW_SOC_CP_PREEMPT);
	stopping = true;
}

/* After a job ended, semaphores may have been signalled: try those who wait. */
static void wake_blocked(uint64_t now)
{
	uint32_t id;

	ids_for_each(id, &queues_live)
	{
		if (queues[id].state == ZW_QUEUE_BLOCKED)
			queues[id].poll_at = now;
	}
}

void sched_cp_done(void)
{
	struct queue *q = running;
	uint64_t now = now_us();

	if (!q || rd32(ZW_SOC_CP_STATUS) != ZW_SOC_CP_DONE)
		return;
	/* The device wrote the record behind the compiler's back. */
	__asm__ volatile("fence" ::: "memory");
	wr32(ZW_SOC_CP_CTRL, ZW_SOC_CP_ACK);
	set_running(NULL);
	stopping = false;

	switch (job.end) {
	case ZW_SOC_END_PREEMPTED:
		fw_shared->preemptions++;
		q->resume_offset = job.next_offset;
		if (q->state == ZW_QUEUE_RUNNING)
			q->state = ZW_QUEUE_READY;
		break;
	case ZW_SOC_END_BLOCKED:
		q->resume_offset = job.next_offset;
		if (q->state == ZW_QUEUE_RUNNING)
			q->state = ZW_QUEUE_BLOCKED;
		q->poll_at = now + FW_BLOCKED_POLL_US;
		break;
	default:
		queue_complete(q, &job);
		wake_blocked(now);
		break;
	}
	/* Its ring went bad while the job ran. */
	if (q->state == ZW_QUEUE_ERROR)
		queue_cancel_all(q);
	if (q->dying || q->suspended)
		queue_settle(q);
}

/* From when on a queue may have the command processor, as far as that depends on itself. */
static uint64_t ready_at(const struct queue *q)
{
	if (q->suspended || q->dying)
		return UINT64_MAX;
	if (q->state == ZW_QUEUE_READY)
		return 0;
	return q->state == ZW_QUEUE_BLOCKED ? q->poll_at : UINT64_MAX;
}

/* Next queue of this priority after the one that ran last. */
static struct queue *pick(uint32_t prio, uint64_t now)
{
	const struct ids *all = &queues_of_priority[prio];
	uint32_t first = last_turn[prio] + 1, id;

	for (id = ids_next(all, first); id != IDS_NONE; id = ids_next(all, id + 1))
		if (ready_at(&queues[id]) <= now)
			return &queues[id];
	/* ... and round: from the start up to and including the one that ran last. */
	for (id = ids_next(all, 0); id < first; id = ids_next(all, id + 1))
		if (ready_at(&queues[id]) <= now)
			return &queues[id];
	return NULL;
}

static struct queue *pick_best(uint64_t now)
{
	for (uint32_t p = ZW_PRIO_COUNT; p-- > 0;) {
		struct queue *q = pick(p, now);

		if (q)
			return q;
	}
	return NULL;
}

static void start(struct queue *q, uint64_t now)
{
	last_turn[q->priority] = q - queues;
	job = (struct zw_soc_job){
		.queue = q - queues,
		.vm = q->vm,
		.function = q->space.function,
		.seqno = q->entry.seqno,
		.cmd_va = q->entry.cmd_va,
		.cmd_bytes = q->entry.cmd_bytes,
		.resume_offset = q->resume_offset,
		.result_va = q->entry.result_va,
		.flags = q->continues ? ZW_SOC_JOB_CONTINUE : 0,
	};
	q->state = ZW_QUEUE_RUNNING;
	set_running(q);
	slice_end = now + q->slice_us;
	wr64(ZW_SOC_CP_JOB, (uintptr_t)&job);
	__asm__ volatile("fence" ::: "memory");
	wr32(ZW_SOC_CP_CTRL, ZW_SOC_CP_START);
}

/*
 * Time at which somebody takes the command processor: from the running queue, those of a higher
 * priority at once, those of its own when its slice is over. One that waits for a semaphore comes
 * to ask again: the running job may be what signals it.
 */
static uint64_t next_turn(void)
{
	uint64_t wake = UINT64_MAX;

	uint32_t id;

	ids_for_each(id, &queues_live)
	{
		const struct queue *q = &queues[id];
		uint64_t at = ready_at(q);

		if (running && q->priority < running->priority)
			continue;
		if (running && q->priority == running->priority && at < slice_end)
			at = slice_end;
		if (at < wake)
			wake = at;
	}
	return wake;
}

uint64_t sched_run(void)
{
	uint32_t left = SCHED_JOBS;

	for (;;) {
		uint64_t now = now_us();
		struct queue *q;

		if (running) {
			uint64_t wake = stopping ? UINT64_MAX : next_turn();

			if (wake > now)
				return wake;
			sched_stop_running(false);
			return UINT64_MAX;
		}
		q = pick_best(now);
		if (!q)
			return next_turn();
		/* A malformed ring stops the queue; look for another. */
		if (!queue_fetch(q))
			continue;
		start(q, now);
		/* A job without packets is over already: no need to go all the way round for it. */
		if (!q->entry.cmd_bytes && left) {
			left--;
			sched_cp_done();
		}
	}
}
