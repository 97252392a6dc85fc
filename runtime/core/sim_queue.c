// SPDX-License-Identifier: MIT
/*
 * Queues of the sim transport.
 *
 * A submitted job first stands in the queue's waiting list, until its fences have been reached and
 * the ring has room, then in the ring, until its completion is seen. Everything here happens under
 * sim->lock but the mailbox calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* Vectors 1..31 are shared out among the queues. */
static unsigned int vector_of(const struct sim_queue *q)
{
	return 1 + q->id % (ZW_NUM_VECTORS - 1);
}

/* -- jobs ------------------------------------------------------------------------------------ */

static void job_finish(struct sim_queue *q, struct sim_job *job)
{
	q->completed = job->number;
	zw_sim_syncs_end(job->syncs, job->num_syncs);
	free(job);
}

/* Takes completed jobs off the ring. True if there was one. */
static bool reap(struct sim_queue *q)
{
	bool any = false;

	while (q->ring_head) {
		struct sim_job *job = q->ring_head;
		struct zw_completion *slot = &q->compl [job->number & (q->slots - 1)], c;

		if (__atomic_load_n(&slot->seqno, __ATOMIC_ACQUIRE) != job->number)
			break;
		c = *slot;
		if (c.status != ZW_JOB_OK && !q->failed && !q->dying) {
			char text[160];

			q->failed = true;
			q->error.state = ZW_QUEUE_FAILED;
			q->error.status = c.status;
			q->error.reason = c.reason;
			q->error.packet_index = c.packet_index;
			q->error.fault_access = c.fault_access;
			q->error.fault_va = c.fault_va;
			q->error.failed_job = job->number;
			zw_queue_error_text(&q->error, text, sizeof(text));
			zw_sim_log(q->sim, ZW_DEV_LOG_WARN, "queue %u: %s", q->id, text);
		}
		q->ring_head = job->next;
		if (!q->ring_head)
			q->ring_tail = NULL;
		zw_sim_trace_host(q->sim, ZW_TRACE_DONE, q->id, job->number);
		job_finish(q, job);
		any = true;
	}
	return any;
}

/* Moves jobs from the waiting list to the ring. A stopped queue's go to their end instead. True if
 * a fence may have moved. */
static bool push(struct sim_queue *q)
{
	bool rang = false, any = false;

	while (q->wait_head) {
		struct sim_job *job = q->wait_head;

		if (q->failed || q->dying) {
			if (q->ring_head)
				break; /* jobs complete in order */
			q->wait_head = job->next;
			q->pushed = job->number;
			job_finish(q, job);
			any = true;
			continue;
		}
		if (q->pushed - q->completed >= q->slots ||
		    !zw_sim_syncs_ready(job->syncs, job->num_syncs))
			break;
		q->ring[job->number & (q->slots - 1)] = (struct zw_ring_entry){
			.seqno = job->number,
			.cmd_va = job->cmd_va,
			.cmd_bytes = job->cmd_bytes,
			.flags = ZW_RING_F_IRQ,
			.result_va = job->result_va,
		};
		q->wait_head = job->next;
		q->pushed = job->number;
		job->next = NULL;
		if (q->ring_tail)
			q->ring_tail->next = job;
		else
			q->ring_head = job;
		q->ring_tail = job;
		zw_sim_trace_host(q->sim, ZW_TRACE_SUBMIT, q->id, job->number);
		rang = true;
	}
	if (!q->wait_head)
		q->wait_tail = NULL;
	if (rang) {
		__atomic_store_n(&q->ctrl->tail, (uint32_t)q->pushed, __ATOMIC_RELEASE);
		zw_sim_write32(q->sim, ZW_REG_DOORBELL(q->id), 1);
	}
	return any;
}

/* Fences moved: jobs of any queue may be ready now, and cancelled ones move further fences. */
void zw_sim_push_all(struct sim *sim)
{
	bool again;

	do {
		again = false;
		for (struct sim_queue *q = sim->queues; q; q = q->next)
			again |= push(q);
	} while (again);
	zw_sim_events_fire(sim);
	pthread_cond_broadcast(&sim->changed);
	pthread_cond_signal(&sim->bind_cond);
}

void zw_sim_queue_interrupt(struct sim *sim, uint32_t vectors)
{
	bool any = false;

	pthread_mutex_lock(&sim->lock);
	for (struct sim_queue *q = sim->queues; q; q = q->next) {
		if (!(vectors >> vector_of(q) & 1))
			continue;
		if (q->user)
			pthread_cond_broadcast(&sim->changed);
		else
			any |= reap(q);
	}
	if (any)
		zw_sim_push_all(sim);
	pthread_mutex_unlock(&sim->lock);
}

static struct sim_job *job_new(const struct zw_job *job, const struct zw_sync *tail)
{
	uint32_t n = job->num_syncs + (tail ? 1 : 0);
	struct sim_job *j = calloc(1, sizeof(*j) + n * sizeof(j->syncs[0]));

	if (!j)
		return NULL;
	j->cmd_va = job->cmd_va;
	j->cmd_bytes = job->cmd_bytes;
	j->result_va = job->result_va;
	j->num_syncs = n;
	zw_sim_syncs_set(j->syncs, job->syncs, job->num_syncs);
	if (tail)
		zw_sim_syncs_set(&j->syncs[n - 1], tail, 1);
	return j;
}

int zw_sim_queue_submit(struct zw_queue *queue, const struct zw_job *jobs, uint32_t count,
			const struct zw_sync *tail)
{
	struct sim *sim = sim_of(queue->dev);
	struct sim_queue *q = queue->priv;
	struct sim_job *list = NULL, **end = &list, *last = NULL;
	int ret = 0;

	for (uint32_t i = 0; i < count; i++) {
		last = job_new(&jobs[i], i == count - 1 ? tail : NULL);
		if (!last) {
			ret = -ENOMEM;
			break;
		}
		*end = last;
		end = &last->next;
	}
	pthread_mutex_lock(&sim->lock);
	if (!ret && atomic_load(&sim->lost))
		ret = -ENODEV;
	if (!ret && q->failed)
		ret = -ECANCELED;
	/* room for every point first, so that nothing can fail once the first one was added */
	for (struct sim_job *j = list; j && !ret; j = j->next)
		ret = zw_sim_syncs_reserve(j->syncs, j->num_syncs, count * (ZW_JOB_MAX_SYNCS + 1));
	if (ret) {
		pthread_mutex_unlock(&sim->lock);
		for (struct sim_job *j = list, *next; j; j = next) {
			next = j->next;
			free(j);
		}
		return ret;
	}
	for (struct sim_job *j = list; j; j = j->next) {
		j->number = ++q->submitted;
		zw_sim_syncs_begin(j->syncs, j->num_syncs);
	}
	if (q->wait_tail)
		q->wait_tail->next = list;
	else
		q->wait_head = list;
	q->wait_tail = last;
	push(q);
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

/* -- queues ---------------------------------------------------------------------------------- */

static int take_id(struct sim *sim, unsigned int *id)
{
	pthread_mutex_lock(&sim->lock);
	*id = zw_sim_id_take(sim->queue_ids, sim->num_queues);
	pthread_mutex_unlock(&sim->lock);
	return *id < sim->num_queues ? 0 : -ENOSPC;
}

static void give_id(struct sim *sim, unsigned int id)
{
	pthread_mutex_lock(&sim->lock);
	zw_sim_id_give(sim->queue_ids, id);
	pthread_mutex_unlock(&sim->lock);
}

static int log2_of(uint32_t v)
{
	return 31 - __builtin_clz(v);
}

/* rings: of a user-mode queue; NULL: they are made here. */
static int queue_create(struct zw_queue *queue, const struct zw_queue_options *opt,
			const struct userq_rings *rings)
{
	struct sim *sim = sim_of(queue->dev);
	struct sim_queue *q = calloc(1, sizeof(*q));
	struct zw_msg_create_queue m = {0};
	struct zw_queue_desc *desc;
	uint64_t ring, at;
	int ret;

	if (!q)
		return -ENOMEM;
	q->sim = sim;
	q->vm = queue->vm->priv;
	q->slots = opt->ring_slots;
	ret = take_id(sim, &q->id);
	if (ret)
		goto free_queue;
	q->user = rings;
	ring = rings ? 0 : q->slots * sizeof(*q->ring);
	ret = zw_sim_region_new(sim, 2 * ring + sizeof(*q->ctrl) + sizeof(*desc), &q->rings);
	if (ret)
		goto free_id;
	q->ring = (struct zw_ring_entry *)(void *)q->rings.ptr;
	q->compl = (struct zw_completion *)(void *)(q->rings.ptr + ring);
	q->ctrl = (struct zw_ring_ctrl *)(void *)(q->rings.ptr + 2 * ring);
	/* The firmware reads the descriptor once, behind the rest. */
	at = 2 * ring + sizeof(*q->ctrl);
	desc = (struct zw_queue_desc *)(void *)(q->rings.ptr + at);
	*desc = (struct zw_queue_desc){
		.size = sizeof(*desc),
		.vm = q->vm->id,
		.priority = opt->priority,
		.log2_slots = (uint32_t)log2_of(q->slots),
		.vector = vector_of(q),
		.ring = q->rings.dma,
		.completions = q->rings.dma + ring,
		.ctrl = q->rings.dma + 2 * ring,
	};
	if (rings) {
		desc->flags = ZW_QUEUE_F_USER;
		desc->ring = rings->ring_va;
		desc->completions = rings->completions_va;
		desc->ctrl = rings->ctrl_va;
	}
	if (queue->perf)
		desc->owner = zw_sim_perf_begin(sim, q->id);
	m.queue = q->id;
	m.desc_bytes = sizeof(*desc);
	m.desc_lo = ZW_LO32(q->rings.dma + at);
	m.desc_hi = ZW_HI32(q->rings.dma + at);
	ret = zw_sim_mbox_call(sim, ZW_MSG_CREATE_QUEUE, &m, sizeof(m), NULL, 0);
	if (ret)
		goto free_rings;
	pthread_mutex_lock(&sim->lock);
	q->serial = ++sim->last_serial;
	q->next = sim->queues;
	sim->queues = q;
	pthread_mutex_unlock(&sim->lock);
	queue->id = q->id;
	queue->priv = q;
	return 0;

free_rings:
	zw_sim_region_free(sim, &q->rings);
free_id:
	give_id(sim, q->id);
free_queue:
	free(q);
	return ret;
}

int zw_sim_queue_create(struct zw_queue *queue, const struct zw_queue_options *opt)
{
	return queue_create(queue, opt, NULL);
}

int zw_sim_userq_create(struct zw_queue *queue, const struct zw_queue_options *opt,
			const struct userq_rings *rings)
{
	return queue_create(queue, opt, rings);
}

void zw_sim_userq_ring(struct zw_queue *queue)
{
	const struct sim_queue *q = queue->priv;

	zw_sim_write32(q->sim, ZW_REG_DOORBELL(q->id), 1);
}

int zw_sim_userq_wait(struct zw_queue *queue, const uint64_t *word, uint64_t value,
		      int64_t deadline_ns)
{
	struct sim *sim = sim_of(queue->dev);
	struct sim_queue *q = queue->priv;
	bool in_time = true, done;

	pthread_mutex_lock(&sim->lock);
	while (!(done = __atomic_load_n(word, __ATOMIC_ACQUIRE) >= value) && in_time &&
	       !atomic_load(&sim->lost) && !q->dying && !q->failed)
		in_time = zw_sim_cond_wait(&sim->changed, &sim->lock, deadline_ns);
	pthread_mutex_unlock(&sim->lock);
	if (done)
		return 0;
	if (atomic_load(&sim->lost))
		return -ENODEV;
	return in_time ? -ECANCELED : -ETIME;
}

void zw_sim_userq_stop(struct zw_queue *queue)
{
	struct sim *sim = sim_of(queue->dev);
	struct sim_queue *q = queue->priv;

	pthread_mutex_lock(&sim->lock);
	q->dying = true;
	pthread_cond_broadcast(&sim->changed);
	pthread_mutex_unlock(&sim->lock);
}

/* What stopped a user-mode queue the firmware knows. */
static int userq_ask(struct sim *sim, struct sim_queue *q)
{
	struct zw_msg_queue m = {.queue = q->id};
	struct zw_msg_queue_info info;
	int ret = zw_sim_mbox_call(sim, ZW_MSG_QUERY_QUEUE, &m, sizeof(m), &info, sizeof(info));

	if (ret)
		return ret;
	pthread_mutex_lock(&sim->lock);
	q->completed += info.completed - (uint32_t)q->completed;
	if (info.state == ZW_QUEUE_ERROR && !q->failed) {
		q->failed = true;
		q->error.state = ZW_QUEUE_FAILED;
		q->error.status = info.last_status;
		q->error.reason = info.last_reason & 0xffff;
		q->error.packet_index = info.packet_index;
		q->error.fault_access = info.last_reason >> 16;
		q->error.fault_va = (uint64_t)info.fault_hi << 32 | info.fault_lo;
		if (info.failed)
			q->error.failed_job = q->completed - ((uint32_t)q->completed - info.failed);
		pthread_cond_broadcast(&sim->changed);
	}
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

void zw_sim_queue_destroy(struct zw_queue *queue)
{
	struct sim *sim = sim_of(queue->dev);
	struct sim_queue *q = queue->priv, **link;
	struct zw_msg_queue m = {.queue = q->id};
	struct sim_job *job;
	int ret;

	pthread_mutex_lock(&sim->lock);
	q->dying = true;
	pthread_mutex_unlock(&sim->lock);
	ret = zw_sim_mbox_call(sim, ZW_MSG_DESTROY_QUEUE, &m, sizeof(m), NULL, 0);
	pthread_mutex_lock(&sim->lock);
	if (!q->user)
		reap(q);
	/* whatever is left had no completion; nobody is to wait for it */
	while ((job = q->ring_head)) {
		q->ring_head = job->next;
		job_finish(q, job);
	}
	push(q);
	for (link = &sim->queues; *link != q; link = &(*link)->next)
		;
	*link = q->next;
	zw_sim_push_all(sim);
	pthread_mutex_unlock(&sim->lock);
	zw_sim_region_free(sim, &q->rings);
	if (!ret)
		give_id(sim, q->id);
	free(q);
}

int zw_sim_queue_get_error(struct zw_queue *queue, struct zw_queue_error *info)
{
	struct sim *sim = sim_of(queue->dev);
	struct sim_queue *q = queue->priv;

	int ret;

	if (atomic_load(&sim->lost))
		return -ENODEV;
	if (q->user) {
		ret = userq_ask(sim, q);
		if (ret)
			return ret;
	}
	pthread_mutex_lock(&sim->lock);
	*info = q->error;
	info->submitted = q->submitted;
	info->completed = q->completed;
	pthread_mutex_unlock(&sim->lock);
	return 0;
}
