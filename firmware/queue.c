/* SPDX-License-Identifier: MIT */
/* Queues: ring entries in, completions out. */
#include "dma.h"
#include "log.h"
#include "queue.h"
#include "reply.h"
#include "vm.h"

struct queue queues[ZW_MAX_QUEUES];
struct ids queues_live;
struct ids queues_of_priority[ZW_PRIO_COUNT];
const struct queue *queue_on_cp;

/*
 * The counters of the command processor are those of all queues. They move only while it runs a
 * job, one at a time: what they moved by belongs to the queue that was started last.
 */
static struct queue *metered;
static uint32_t meter_packets, meter_progress;

/*
 * Entries of the queue that was read last: a transfer costs more than what it moves. They were
 * published by the tail that was read before them, so they are as good as if read one by one.
 */
#define AHEAD 8
static struct {
	const struct queue *q;
	uint64_t first;
	uint32_t count;
	struct zw_ring_entry entry[AHEAD];
} ahead;

static void meter_read(void)
{
	uint32_t packets = rd32(ZW_SOC_CP_PACKETS), progress = rd32(ZW_SOC_CP_PROGRESS);

	if (metered) {
		metered->packets += packets - meter_packets;
		metered->progress += progress - meter_progress;
	}
	meter_packets = packets;
	meter_progress = progress;
}

/* Before every start of a queue. */
static void meter_start(struct queue *q)
{
	meter_read();
	metered = q;
	q->retried = q->state == ZW_QUEUE_BLOCKED;
	q->retry_packets = q->packets;
}

static uint32_t queue_id(const struct queue *q)
{
	return q - queues;
}

struct queue *queue_get(uint32_t id)
{
	if (id >= ZW_MAX_QUEUES || id >= rd32(ZW_SOC_NUM_QUEUES) ||
	    queues[id].state == ZW_QUEUE_FREE)
		return NULL;
	return &queues[id];
}

/* 0, or why the descriptor is refused. */
static uint32_t check_desc(const struct zw_queue_desc *d)
{
	uint32_t caps = rd32(ZW_SOC_CAPS);

	if (d->flags & ~ZW_QUEUE_F_KNOWN || d->reserved || d->reserved2 || d->resume_offset & 15 ||
	    d->resume_offset >= ZW_CMD_MAX_BYTES || d->priority >= ZW_PRIO_COUNT ||
	    d->log2_slots < ZW_RING_MIN_LOG2 || d->log2_slots > ZW_RING_MAX_LOG2 ||
	    d->vector == ZW_VECTOR_MBOX || d->vector >= ZW_NUM_VECTORS ||
	    (d->ring | d->ctrl | d->completions) & 63)
		return ZW_MSG_ERR_ARG;
	if (d->function && !(caps & ZW_CAP_FUNCTIONS))
		return ZW_MSG_ERR_UNSUPPORTED;
	if ((d->flags & ZW_QUEUE_F_USER) && !(caps & ZW_CAP_USER_QUEUES))
		return ZW_MSG_ERR_UNSUPPORTED;
	if (!vm_exists(d->vm))
		return ZW_MSG_ERR_NOENT;
	return ZW_MSG_OK;
}

uint32_t queue_create(uint32_t id, const struct zw_queue_desc *d)
{
	uint32_t err = check_desc(d);
	struct zw_ring_ctrl probe;
	struct dma_space space;
	struct queue *q;

	if (id >= ZW_MAX_QUEUES || id >= rd32(ZW_SOC_NUM_QUEUES))
		return ZW_MSG_ERR_ARG;
	if (err)
		return err;
	q = &queues[id];
	if (q->state != ZW_QUEUE_FREE)
		return ZW_MSG_ERR_EXIST;
	meter_read();
	if (metered == q)
		metered = NULL;
	if (ahead.q == q)
		ahead.q = NULL;
	space = (struct dma_space){d->function, d->flags & ZW_QUEUE_F_USER, d->vm};
	if (dma_read(&space, &probe, d->ctrl, sizeof(probe)))
		return ZW_MSG_ERR_DMA;
	*q = (struct queue){
		.state = ZW_QUEUE_IDLE,
		.priority = d->priority,
		.vector = d->vector,
		.log2_slots = d->log2_slots,
		.vm = d->vm,
		.slice_us = d->slice_us ? d->slice_us : FW_TIME_SLICE_US,
		.space = space,
		.ring = d->ring,
		.ctrl = d->ctrl,
		.compl_ring = d->completions,
		.tail = d->completed,
		.completed = d->completed,
		.fetched = d->completed,
		.continue_at = d->resume_offset,
	};
	vm_get(q->vm);
	ids_add(&queues_live, id);
	ids_add(&queues_of_priority[q->priority], id);
	wr32(ZW_SOC_CP_QUEUE_RESET, id);
	if (d->owner)
		wr64(ZW_SOC_CP_QUEUE_OPEN_OWNED,
		     id | ZW_SOC_CP_QUEUE_PRIORITY(q->priority) | (uint64_t)d->owner << 32);
	else
		wr32(ZW_SOC_CP_QUEUE_OPEN, id | ZW_SOC_CP_QUEUE_PRIORITY(q->priority));
	fw_log("queue %u: created, vm %u, priority %u, %u slots", id, q->vm, q->priority,
	       queue_slots(q));
	return ZW_MSG_OK;
}

static void interrupt(const struct queue *q, uint32_t vector)
{
	wr32(ZW_SOC_MSIX_RAISE, q->space.function << 16 | (vector ? vector : q->vector));
}

/*
 * The driver cannot be told that a job ended. One that keeps its rings in memory of its own hears of it
 * by the next interrupt, or never; a process took them away, and its queue ends here: else it would
 * keep us busy for nothing.
 */
static void completion_lost(struct queue *q, uint64_t seqno)
{
	if (!q->space.user || q->state != ZW_QUEUE_ERROR)
		fw_log("queue %u: completion %lu lost, bus error", queue_id(q),
		       (unsigned long)seqno);
	if (q->space.user) {
		q->state = ZW_QUEUE_ERROR;
		if (!q->last_status)
			q->last_status = ZW_JOB_FAULT;
	}
}

static void note_failure(struct queue *q, const struct zw_completion *c)
{
	if (q->failed.seqno || c->status == ZW_JOB_CANCELED)
		return;
	q->failed.seqno = c->seqno;
	q->failed.reason = c->reason;
	q->failed.access = c->fault_access;
	q->failed.packet_index = c->packet_index;
	q->failed.va = c->fault_va;
}

/* Writes the completion of the job after the last completed one. */
static void write_completion(struct queue *q, const struct zw_completion *c, bool irq,
			     uint32_t vector)
{
	uint64_t slot = q->compl_ring + (c->seqno & (queue_slots(q) - 1)) * sizeof(*c);

	/* The driver takes the record once seqno matches, so seqno goes out last. */
	if (dma_write(&q->space, slot, c, offsetof(struct zw_completion, seqno)) ||
	    dma_write(&q->space, slot + offsetof(struct zw_completion, seqno), &c->seqno,
		      sizeof(c->seqno)))
		completion_lost(q, c->seqno);
	q->completed = c->seqno;
	fw_shared->jobs_done++;
	if (c->status != ZW_JOB_OK) {
		fw_shared->jobs_failed++;
		note_failure(q, c);
	}
	if (irq || (uint32_t)c->seqno == q->wake)
		interrupt(q, vector);
}

void queue_stop_on_error(struct queue *q, uint32_t status)
{
	q->last_status = status;
	q->state = ZW_QUEUE_ERROR;
	queue_cancel_all(q);
}

static bool read_ahead(const struct queue *q, uint64_t seq)
{
	uint32_t slot = seq & (queue_slots(q) - 1), n = queue_slots(q) - slot;

	if (ahead.q == q && seq - ahead.first < ahead.count)
		return true;
	if (n > AHEAD)
		n = AHEAD;
	if (n > q->tail - seq + 1)
		n = q->tail - seq + 1;
	ahead.q = NULL;
	if (dma_read(&q->space, ahead.entry, q->ring + slot * sizeof(ahead.entry[0]),
		     n * sizeof(ahead.entry[0])))
		return false;
	ahead.q = q;
	ahead.first = seq;
	ahead.count = n;
	return true;
}

/* Reads the ring entry of the next job. False: not readable or malformed. */
static bool read_entry(struct queue *q, uint64_t seq)
{
	struct zw_ring_entry *e = &q->entry;

	*e = (struct zw_ring_entry){0};
	if (!read_ahead(q, seq))
		return false;
	*e = ahead.entry[seq - ahead.first];
	/* A process interrupts nobody but those who look after its queue. */
	if (q->space.user && e->vector)
		return false;
	return e->seqno == seq && !(e->flags & ~ZW_RING_F_KNOWN) && e->vector < ZW_NUM_VECTORS &&
	       !e->reserved0 && !e->reserved[0] && !e->reserved[1];
}

void queue_fail_next(struct queue *q, uint32_t status, uint32_t reason)
{
	static struct zw_soc_job job __attribute__((aligned(64)));
	uint64_t seq = q->completed + 1;
	/* Nothing is known about a job whose entry makes no sense. */
	bool known = q->have_job || read_entry(q, seq);
	struct zw_completion c;

	job = (struct zw_soc_job){
		.queue = queue_id(q),
		.vm = q->vm,
		.function = q->space.function,
		.seqno = seq,
		.result_va = known ? q->entry.result_va : 0,
		.status = status,
		.reason = reason,
	};
	wr64(ZW_SOC_CP_JOB, (uintptr_t)&job);
	__asm__ volatile("fence" ::: "memory");
	wr32(ZW_SOC_CP_CTRL, ZW_SOC_CP_REPORT);
	__asm__ volatile("fence" ::: "memory");
	c = (struct zw_completion){
		.seqno = seq,
		.cookie = known ? q->entry.cookie : 0,
		.start_ps = job.start_ps,
		.end_ps = job.end_ps,
		.status = status,
		.reason = reason,
	};
	q->have_job = false;
	write_completion(q, &c, true, known ? q->entry.vector : 0);
}

/* Completes everything up to the tail as cancelled. */
void queue_cancel_all(struct queue *q)
{
	while (q->completed < q->tail)
		queue_fail_next(q, ZW_JOB_CANCELED, 0);
	q->fetched = q->completed;
}

/* The driver's 32-bit tail, widened. False: the queue cannot go on. */
bool queue_read_tail(struct queue *q)
{
	struct {
		uint32_t tail, wake;
	} ctrl __attribute__((aligned(8)));
	uint32_t ahead;

	_Static_assert(offsetof(struct zw_ring_ctrl, wake) == 4, "both in one word of 64 bits");
	/* just the word: a longer transfer need not see the driver's stores to it whole */
	if (dma_read(&q->space, &ctrl, q->ctrl, sizeof(ctrl))) {
		fw_log("queue %u: bus error reading its tail", queue_id(q));
		return false;
	}
	ahead = ctrl.tail - (uint32_t)q->completed;
	/* More jobs than slots, or a tail that went backwards. */
	if (ahead > queue_slots(q) || q->completed + ahead < q->tail) {
		fw_log("queue %u: tail %x does not fit, completed %x", queue_id(q), ctrl.tail,
		       (uint32_t)q->completed);
		return false;
	}
	q->tail = q->completed + ahead;
	if (ctrl.wake != q->wake) {
		q->wake = ctrl.wake;
		if ((int32_t)((uint32_t)q->completed - q->wake) >= 0)
			interrupt(q, 0);
	}
	return true;
}

bool queue_fetch(struct queue *q)
{
	uint64_t seq = q->completed + 1;

	meter_start(q);
	if (q->have_job)
		return true;
	if (seq > q->tail) {
		q->state = ZW_QUEUE_IDLE;
		return false;
	}
	q->fetched = seq;
	q->resume_offset = q->continue_at;
	q->continues = q->continue_at;
	q->continue_at = 0;
	q->have_job = read_entry(q, seq);
	if (q->have_job)
		return true;
	fw_log("queue %u: malformed ring entry %lu (seqno %lu, flags %x)", queue_id(q),
	       (unsigned long)seq, (unsigned long)q->entry.seqno, q->entry.flags);
	queue_fail_next(q, ZW_JOB_INVALID, ZW_REASON_RING);
	queue_stop_on_error(q, ZW_JOB_INVALID);
	return false;
}

void queue_complete(struct queue *q, const struct zw_soc_job *job)
{
	struct zw_completion c = {
		.seqno = q->completed + 1,
		.cookie = q->entry.cookie,
		.start_ps = job->start_ps,
		.end_ps = job->end_ps,
		.status = job->status,
		.reason = job->reason,
		.packet_index = job->packet_index,
		.fault_access = job->fault_access,
		.fault_va = job->fault_va,
		.tag = job->tag,
	};

	q->have_job = false;
	write_completion(q, &c, job->status != ZW_JOB_OK || q->entry.flags & ZW_RING_F_IRQ,
			 q->entry.vector);
	if (job->status == ZW_JOB_OK) {
		if (q->state == ZW_QUEUE_RUNNING)
			q->state = q->completed < q->tail ? ZW_QUEUE_READY : ZW_QUEUE_IDLE;
		return;
	}
	fw_log("queue %u: job %lu failed, status %u, reason %u, packet %u tag %x, va %lx",
	       queue_id(q), (unsigned long)c.seqno, c.status, c.reason, c.packet_index, c.tag,
	       (unsigned long)c.fault_va);
	queue_stop_on_error(q, job->status);
}

void queue_settle(struct queue *q)
{
	uint32_t reply_to = q->reply_to, type = q->reply_type;
	struct zw_msg_queue_stop stop = {
		.completed_lo = ZW_LO32(q->completed),
		.completed_hi = ZW_HI32(q->completed),
		/* One that was to go on and did not begin still is. */
		.resume_offset = q->have_job ? q->resume_offset : q->continue_at,
	};

	q->reply_to = 0;
	if (q->dying) {
		queue_cancel_all(q);
		wr32(ZW_SOC_CP_QUEUE_RESET, queue_id(q));
		fw_log("queue %u: destroyed after %lu jobs", queue_id(q),
		       (unsigned long)q->completed);
		vm_put(q->vm);
		ids_remove(&queues_live, queue_id(q));
		ids_remove(&queues_of_priority[q->priority], queue_id(q));
		*q = (struct queue){.state = ZW_QUEUE_FREE};
	} else if (q->suspended && q->state != ZW_QUEUE_ERROR) {
		q->state = ZW_QUEUE_SUSPENDED;
	}
	if (!reply_to)
		return;
	if (type == ZW_MSG_SUSPEND_QUEUE && q->state == ZW_QUEUE_ERROR)
		mbox_reply(type, reply_to, ZW_MSG_ERR_STATE, NULL, 0);
	else if (type == ZW_MSG_SUSPEND_QUEUE)
		mbox_reply(type, reply_to, ZW_MSG_OK, &stop, sizeof(stop));
	else
		mbox_reply(type, reply_to, ZW_MSG_OK, NULL, 0);
}

uint32_t queue_info(uint32_t id, struct zw_msg_queue_info *info)
{
	struct queue *q = queue_get(id);

	if (!q)
		return ZW_MSG_ERR_NOENT;
	meter_read();
	*info = (struct zw_msg_queue_info){
		.state = q->state,
		.completed = q->completed,
		.fetched = q->fetched,
		.packets_retired = q->packets,
		.progress = q->progress,
		.last_status = q->last_status,
		.failed = q->failed.seqno,
		.last_reason = (q->failed.reason & 0xffff) | q->failed.access << 16,
		.packet_index = q->failed.packet_index,
		.fault_lo = ZW_LO32(q->failed.va),
		.fault_hi = ZW_HI32(q->failed.va),
	};
	/* To look at a semaphore again is not to run: it waits until a packet has retired. */
	if (q->state == ZW_QUEUE_RUNNING && q->retried && q->packets == q->retry_packets)
		info->state = ZW_QUEUE_BLOCKED;
	return ZW_MSG_OK;
}
