// SPDX-License-Identifier: MIT
/* User-mode queues: see userq.h. The rings' format is that of uapi/zhenwu/zw_queue.h. */
#include "userq.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "zhenwu/zw_queue.h"

/* How long one looks before one sleeps: some round trips of an empty job. */
#define SPIN_NS  200000
/* Longest sleep between two looks whether the queue is still there. */
#define SLEEP_NS 1000000000
/* Looks between two at the clock. */
#define LOOKS    64

/* Somebody who sleeps until a job ended. */
struct sleeper {
	struct sleeper *next;
	uint64_t seq;
};

struct userq {
	_Atomic unsigned int refs;   /* the queue, and points of fences */
	_Atomic bool over;           /* no job of it is going to do anything any more */
	_Atomic unsigned int inside; /* threads that look at the memory */
	struct zw_queue *queue;
	struct zw_buffer mem;
	struct zw_ring_entry *ring;
	struct zw_completion *done;
	struct zw_ring_ctrl *ctrl;
	uint32_t slots;

	pthread_mutex_t submit_lock; /* held while waiting for room, so that jobs stay in order */
	pthread_mutex_t lock;        /* of all below */
	uint64_t seq;                /* of the last job put into the ring */
	uint64_t reaped;             /* all up to this one were seen to have ended */
	bool failed;                 /* one of them not well */
	_Atomic bool closing;        /* queue and doorbell are about to go; written under lock */
	struct sleeper *sleepers;
	uint64_t wake; /* what the control block asks for */
};

/* -- memory ----------------------------------------------------------------------------------- */

static void put(struct userq *uq)
{
	if (atomic_fetch_sub(&uq->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&uq->submit_lock);
	pthread_mutex_destroy(&uq->lock);
	free(uq);
}

/* False: there is no memory to look at any more, everything is over. */
static bool enter(struct userq *uq)
{
	atomic_fetch_add(&uq->inside, 1);
	if (!atomic_load(&uq->over))
		return true;
	atomic_fetch_sub(&uq->inside, 1);
	return false;
}

static void leave(struct userq *uq)
{
	atomic_fetch_sub(&uq->inside, 1);
}

static struct zw_completion *slot_of(const struct userq *uq, uint64_t seq)
{
	return &uq->done[seq & (uq->slots - 1)];
}

/* A slot's number only grows: later jobs take the place of earlier ones. Inside. */
static bool ended(const struct userq *uq, uint64_t seq)
{
	return __atomic_load_n(&slot_of(uq, seq)->seqno, __ATOMIC_ACQUIRE) >= seq;
}

static bool job_over(struct userq *uq, uint64_t seq)
{
	bool yes;

	if (!enter(uq))
		return true;
	yes = ended(uq, seq);
	leave(uq);
	return yes;
}

/* Looks at what ended since the last time. Inside, lock held. */
static void reap_locked(struct userq *uq)
{
	while (uq->reaped < uq->seq && ended(uq, uq->reaped + 1)) {
		/* Still its own: who needs the slot for another job comes by here before. */
		if (slot_of(uq, ++uq->reaped)->status != ZW_JOB_OK)
			uq->failed = true;
	}
}

/* -- waiting ---------------------------------------------------------------------------------- */

/* Has the next interrupt come at the end of the first job that somebody sleeps for. lock held. */
static void arm_locked(struct userq *uq)
{
	uint64_t first = UINT64_MAX;

	for (const struct sleeper *s = uq->sleepers; s; s = s->next)
		if (s->seq < first)
			first = s->seq;
	if (first == UINT64_MAX || first == uq->wake || uq->closing)
		return;
	uq->wake = first;
	__atomic_store_n(&uq->ctrl->wake, (uint32_t)first, __ATOMIC_RELEASE);
	uq->queue->dev->ops->userq_ring(uq->queue);
}

/*
 * In the transport, until the job has ended or the queue is closed. Not for long at a time: between a
 * look at `closing` and the transport the queue can go, and its number belong to another.
 */
static int sleep_in_transport(struct userq *uq, uint64_t seq, int64_t deadline_ns)
{
	struct zw_queue *q = uq->queue;
	int64_t until;
	int ret;

	do {
		until = zw_deadline(SLEEP_NS);
		if (until > deadline_ns)
			until = deadline_ns;
		ret = q->dev->ops->userq_wait(q, &slot_of(uq, seq)->seqno, seq, until);
	} while (ret == -ETIME && until < deadline_ns && !atomic_load(&uq->closing));
	return ret && atomic_load(&uq->closing) ? -ECANCELED : ret;
}

static int sleep_until(struct userq *uq, uint64_t seq, int64_t deadline_ns)
{
	struct sleeper self = {.seq = seq}, **link;
	struct zw_queue *q = uq->queue;
	struct zw_queue_error e = {.size = sizeof(e)};
	bool failed;
	int ret;

	pthread_mutex_lock(&uq->lock);
	if (uq->closing) {
		pthread_mutex_unlock(&uq->lock);
		return -ECANCELED;
	}
	self.next = uq->sleepers;
	uq->sleepers = &self;
	arm_locked(uq);
	reap_locked(uq);
	failed = uq->failed;
	pthread_mutex_unlock(&uq->lock);

	/* A job that was put behind the failed one never ends. To be asked makes the other side see it. */
	if (failed)
		q->dev->ops->queue_get_error(q, &e);
	ret = sleep_in_transport(uq, seq, deadline_ns);

	pthread_mutex_lock(&uq->lock);
	for (link = &uq->sleepers; *link != &self; link = &(*link)->next)
		;
	*link = self.next;
	arm_locked(uq);
	pthread_mutex_unlock(&uq->lock);
	return ret;
}

/* Looks some times in a row: in a virtual machine the clock may cost more than a look. */
static bool seen(const struct userq *uq, uint64_t seq)
{
	for (unsigned int i = 0; i < LOOKS; i++) {
		if (ended(uq, seq))
			return true;
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	}
	return false;
}

/* 0 when the job ended, however; -ETIME, -ENODEV. */
static int wait_job(struct userq *uq, uint64_t seq, int64_t deadline_ns)
{
	int64_t now, end = zw_deadline(SPIN_NS);
	int ret = 0;

	if (!enter(uq))
		return 0;
	while (!seen(uq, seq) && !atomic_load(&uq->over)) {
		now = zw_deadline(0);
		if (now >= deadline_ns) {
			ret = -ETIME;
			break;
		}
		if (now >= end) {
			ret = sleep_until(uq, seq, deadline_ns);
			break;
		}
	}
	if (ret == -ECANCELED) {
		/* The queue was stopped, and the device does nothing for it any more: once it is destroyed, if it is. */
		while (atomic_load(&uq->closing) && !atomic_load(&uq->over))
			sched_yield();
		atomic_store(&uq->over, true);
		ret = 0;
	}
	leave(uq);
	return ret;
}

/* -- points of fences ------------------------------------------------------------------------- */

struct user_point {
	uint64_t point;
	struct userq *uq; /* NULL: reached */
	uint64_t seq;
};

struct user_points {
	uint64_t value; /* reached, with all before it */
	struct user_point *list;
	size_t first, count, capacity;
};

bool zw_rt_user_fence(const struct zw_fence *fence)
{
	return __atomic_load_n(&fence->user, __ATOMIC_ACQUIRE);
}

/* Room for so many points more. dev->submit_lock held. */
static int reserve_points(struct zw_fence *f, size_t more)
{
	struct user_points *p = f->user;
	struct user_point *list;
	size_t want;

	if (!p) {
		/* The transport has given out points that it alone knows of. */
		if (f->last || f->imported)
			return -EINVAL;
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		__atomic_store_n(&f->user, p, __ATOMIC_RELEASE);
	}
	if (p->first) {
		memmove(p->list, p->list + p->first, p->count * sizeof(*p->list));
		p->first = 0;
	}
	want = p->capacity ? p->capacity : 16;
	while (want < p->count + more)
		want *= 2;
	if (want == p->capacity)
		return 0;
	list = realloc(p->list, want * sizeof(*list));
	if (!list)
		return -ENOMEM;
	p->list = list;
	p->capacity = want;
	return 0;
}

static void add_point(struct zw_fence *f, uint64_t point, struct userq *uq, uint64_t seq)
{
	struct user_points *p = f->user;

	if (uq)
		atomic_fetch_add(&uq->refs, 1);
	p->list[p->first + p->count++] = (struct user_point){point, uq, seq};
}

/* Moves the value as far as it goes. dev->submit_lock held. */
static void advance(struct user_points *p)
{
	while (p->count) {
		struct user_point *at = &p->list[p->first];

		if (at->uq && !job_over(at->uq, at->seq))
			return;
		if (at->uq)
			put(at->uq);
		p->value = at->point;
		p->first++;
		p->count--;
	}
}

uint64_t zw_rt_user_fence_value(struct zw_fence *fence)
{
	uint64_t value;

	pthread_mutex_lock(&fence->dev->submit_lock);
	advance(fence->user);
	value = fence->user->value;
	pthread_mutex_unlock(&fence->dev->submit_lock);
	return value;
}

int zw_rt_user_fence_signal(struct zw_fence *fence, uint64_t point)
{
	int ret = reserve_points(fence, 1);

	if (!ret) {
		add_point(fence, point, NULL, 0);
		pthread_cond_broadcast(&fence->dev->submitted);
	}
	return ret;
}

void zw_rt_user_fence_free(struct zw_fence *fence)
{
	struct user_points *p = fence->user;

	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++)
		if (p->list[p->first + i].uq)
			put(p->list[p->first + i].uq);
	free(p->list);
	free(p);
}

/*
 * The last of the first points that one queue raises, up to the wanted one: jobs of a queue end in
 * order, so a wait for it is one for all of them. dev->submit_lock held.
 */
static struct user_point next_step(const struct user_points *p, uint64_t point)
{
	const struct user_point *at = &p->list[p->first], *end = at + p->count;
	struct user_point step = *at;

	while (step.point < point && ++at < end && at->uq == step.uq)
		step = *at;
	return step;
}

static bool wait_submit(struct zw_dev *dev, int64_t deadline_ns)
{
	struct timespec ts = {.tv_sec = deadline_ns / 1000000000,
			      .tv_nsec = deadline_ns % 1000000000};

	if (deadline_ns <= zw_deadline(0))
		return false;
	if (deadline_ns == ZW_FOREVER)
		return !pthread_cond_wait(&dev->submitted, &dev->submit_lock);
	return pthread_cond_timedwait(&dev->submitted, &dev->submit_lock, &ts) != ETIMEDOUT;
}

int zw_rt_user_fence_wait(struct zw_fence *fence, uint64_t point, int64_t deadline_ns)
{
	struct user_points *p = fence->user;
	struct zw_dev *dev = fence->dev;
	int ret = 0;

	pthread_mutex_lock(&dev->submit_lock);
	for (advance(p); !ret && p->value < point; advance(p)) {
		struct user_point step;

		if (!p->count) {
			/* nothing submitted raises it so far */
			if (!wait_submit(dev, deadline_ns))
				ret = -ETIME;
			continue;
		}
		step = next_step(p, point);
		if (!step.uq)
			continue;
		atomic_fetch_add(&step.uq->refs, 1);
		pthread_mutex_unlock(&dev->submit_lock);
		ret = wait_job(step.uq, step.seq, deadline_ns);
		put(step.uq);
		pthread_mutex_lock(&dev->submit_lock);
	}
	pthread_mutex_unlock(&dev->submit_lock);
	return ret;
}

/* -- submission ------------------------------------------------------------------------------- */

/* A job can only be made to wait for what needs no waiting. dev->submit_lock held. */
static int check_wait(struct userq *uq, const struct zw_sync *s)
{
	struct zw_fence *f = s->fence;
	uint64_t value;
	int ret;

	/* Fences of two devices are looked at under two locks, which have no order. */
	if (f->dev != uq->queue->dev)
		return -EOPNOTSUPP;
	if (zw_rt_user_fence(f)) {
		struct user_points *p = f->user;

		if (s->point > f->last)
			return -EINVAL;
		advance(p);
		/* What this queue raises is reached before the job is looked at. */
		for (size_t i = 0; i < p->count && p->list[p->first + i].point <= s->point; i++)
			if (p->list[p->first + i].uq != uq)
				return -EOPNOTSUPP;
		return 0;
	}
	ret = f->dev->ops->fence_query(f, &value);
	if (ret)
		return ret;
	return value >= s->point ? 0 : -EOPNOTSUPP;
}

/* All waits, and room for all points. dev->submit_lock held. */
static int check_syncs(struct userq *uq, const struct zw_job *jobs, uint32_t count)
{
	int ret = reserve_points(uq->queue->done, 1);
	uint32_t total = 0;

	for (uint32_t i = 0; i < count; i++)
		total += jobs[i].num_syncs;
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t j = 0; j < jobs[i].num_syncs && !ret; j++) {
			const struct zw_sync *s = &jobs[i].syncs[j];

			if (s->flags & ZW_SYNC_SIGNAL)
				ret = reserve_points(s->fence, total);
			else
				ret = check_wait(uq, s);
		}
	}
	return ret;
}

/* Puts the jobs into the ring, where there is room. dev->submit_lock held. */
static void push(struct userq *uq, const struct zw_job *jobs, uint32_t count)
{
	struct zw_dev *dev = uq->queue->dev;

	pthread_mutex_lock(&uq->lock);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t seq = ++uq->seq;

		uq->ring[seq & (uq->slots - 1)] = (struct zw_ring_entry){
			.seqno = seq,
			.cmd_va = jobs[i].cmd_va,
			.cmd_bytes = jobs[i].cmd_bytes,
			.result_va = jobs[i].result_va,
			.cookie = seq,
		};
		for (uint32_t j = 0; j < jobs[i].num_syncs; j++)
			if (jobs[i].syncs[j].flags & ZW_SYNC_SIGNAL)
				add_point(jobs[i].syncs[j].fence, jobs[i].syncs[j].point, uq, seq);
	}
	add_point(uq->queue->done, ++uq->queue->done->last, uq, uq->seq);
	/* The device reads the entries when it sees the tail. */
	__atomic_store_n(&uq->ctrl->tail, (uint32_t)uq->seq, __ATOMIC_RELEASE);
	dev->ops->userq_ring(uq->queue);
	pthread_mutex_unlock(&uq->lock);
	pthread_cond_broadcast(&dev->submitted);
}

static int wait_room(struct userq *uq, uint32_t count)
{
	uint64_t last;
	bool failed;
	int ret = 0;

	/* Nobody else puts jobs in: submit_lock is held. */
	last = uq->seq + count;
	if (last > uq->slots)
		ret = wait_job(uq, last - uq->slots, ZW_FOREVER);
	pthread_mutex_lock(&uq->lock);
	reap_locked(uq);
	failed = uq->failed;
	pthread_mutex_unlock(&uq->lock);
	if (!ret && (failed || atomic_load(&uq->over)))
		ret = -ECANCELED;
	return ret;
}

int zw_rt_userq_submit(struct zw_queue *queue, const struct zw_job *jobs,
		       const struct sync_list *lists, uint32_t count, uint64_t *point)
{
	struct userq *uq = queue->user;
	struct zw_dev *dev = queue->dev;
	struct points points = {0};
	int ret;

	pthread_mutex_lock(&uq->submit_lock);
	ret = wait_room(uq, count);
	if (!ret) {
		pthread_mutex_lock(&dev->submit_lock);
		ret = check_syncs(uq, jobs, count);
		if (!ret)
			ret = zw_rt_points_take(&points, lists, count, false);
		if (!ret) {
			push(uq, jobs, count);
			*point = queue->done->last;
		}
		pthread_mutex_unlock(&dev->submit_lock);
		zw_rt_points_done(&points);
	}
	pthread_mutex_unlock(&uq->submit_lock);
	return ret;
}

/* -- life ------------------------------------------------------------------------------------- */

int zw_rt_userq_create(struct zw_queue *queue, const struct zw_queue_options *opt)
{
	const struct transport_ops *ops = queue->dev->ops;
	uint64_t ring = opt->ring_slots * sizeof(struct zw_ring_entry);
	uint64_t done = opt->ring_slots * sizeof(struct zw_completion);
	struct userq *uq;
	struct userq_rings r;
	int ret;

	if (!ops->userq_create)
		return -EOPNOTSUPP;
	uq = calloc(1, sizeof(*uq));
	if (!uq)
		return -ENOMEM;
	ret = zw_buffer_create(queue->vm, ring + done + sizeof(*uq->ctrl), ZW_BO_SYSTEM, &uq->mem);
	if (ret) {
		free(uq);
		return ret;
	}
	atomic_init(&uq->refs, 1);
	pthread_mutex_init(&uq->submit_lock, NULL);
	pthread_mutex_init(&uq->lock, NULL);
	uq->queue = queue;
	uq->slots = opt->ring_slots;
	uq->ring = uq->mem.ptr;
	uq->done = (void *)((char *)uq->mem.ptr + ring);
	uq->ctrl = (void *)((char *)uq->mem.ptr + ring + done);
	r.ring_va = uq->mem.va;
	r.completions_va = uq->mem.va + ring;
	r.ctrl_va = uq->mem.va + ring + done;
	ret = ops->userq_create(queue, opt, &r);
	if (ret) {
		zw_buffer_destroy(&uq->mem);
		put(uq);
		return ret;
	}
	queue->user = uq;
	return 0;
}

static bool sleeping(struct userq *uq)
{
	bool yes;

	pthread_mutex_lock(&uq->lock);
	yes = uq->sleepers;
	pthread_mutex_unlock(&uq->lock);
	return yes;
}

void zw_rt_userq_destroy(struct zw_queue *queue)
{
	struct userq *uq = queue->user;

	pthread_mutex_lock(&uq->lock);
	uq->closing = true;
	pthread_mutex_unlock(&uq->lock);
	/* Who sleeps in the transport is let go by it, here or below; nobody else goes there. */
	if (queue->dev->ops->userq_stop) {
		queue->dev->ops->userq_stop(queue);
		while (sleeping(uq))
			sched_yield();
	}
	queue->dev->ops->queue_destroy(queue);
	atomic_store(&uq->over, true);
	while (atomic_load(&uq->inside))
		sched_yield();
	zw_buffer_destroy(&uq->mem);
	/* Points of fences may still name it: as one that is over. */
	uq->queue = NULL;
	put(uq);
}

int zw_rt_userq_get_error(struct zw_queue *queue, struct zw_queue_error *info)
{
	struct userq *uq = queue->user;
	uint64_t submitted;
	bool well;
	int ret;

	pthread_mutex_lock(&uq->lock);
	reap_locked(uq);
	submitted = uq->seq;
	well = uq->reaped == uq->seq && !uq->failed && !atomic_load(&uq->over);
	info->submitted = submitted;
	info->completed = uq->reaped;
	pthread_mutex_unlock(&uq->lock);
	/* Nobody but the device has had anything to do with it. */
	if (well)
		return 0;
	ret = queue->dev->ops->queue_get_error(queue, info);
	info->submitted = submitted;
	return ret;
}
