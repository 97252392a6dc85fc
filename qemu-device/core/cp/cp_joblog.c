// SPDX-License-Identifier: MIT
/* What retired, kept until the replay is through with it (cp_replay.c): a list of entries for each queue. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zw_cp_int.h"
#include "zw_cp_replay.h"

#define NONE ZW_CP_NO_ENTRY

/* -- entries ---------------------------------------------------------------------------------------------- */

/* Twice as many entries, up to all there may be. */
static bool grow(struct zw_cp_replay *r)
{
	uint32_t cap = r->cap ? 2 * r->cap : 256;
	struct zw_cp_log_entry *pool;

	if (cap > ZW_CP_LOG_ENTRIES)
		return false;
	pool = realloc(r->pool, cap * sizeof(*pool));
	if (!pool)
		return false;
	for (uint32_t i = r->cap; i < cap; i++)
		pool[i].next = i + 1 < cap ? i + 1 : r->free_head;
	r->free_head = r->cap;
	r->pool = pool;
	r->cap = cap;
	return true;
}

static void list_queue(struct zw_cp_replay *r, uint32_t queue)
{
	if (r->line[queue].listed)
		return;
	r->line[queue].listed = true;
	r->list[r->n_list++] = queue;
}

/* A queue that has nothing to settle, and is not waited for, costs nothing. */
static void unlist_queue(struct zw_cp_replay *r, uint32_t queue)
{
	struct zw_cp_line *l = &r->line[queue];

	if (!l->listed || l->head != NONE || l->n_held || (!l->behind && (l->made || l->open)))
		return;
	l->listed = false;
	for (uint32_t i = 0; i < r->n_list; i++)
		if (r->list[i] == queue)
			r->list[i] = r->list[--r->n_list];
}

/*
 * There is always room for one more. A queue that holds the others up is left behind when there is no room for what they
 * add.
 */
static void leave_behind(struct zw_cp_replay *r, uint32_t queue)
{
	r->line[queue].behind = true;
	unlist_queue(r, queue);
}

static void make_room(struct zw_cp_replay *r)
{
	while (r->free_head == NONE && !grow(r)) {
		zw_cp_replay_settle(r);
		if (r->free_head != NONE)
			break;
		leave_behind(r, r->stalled_by);
	}
}

/* The queue goes on after the others were settled without it. True: so it was. */
static bool catch_up(struct zw_cp_replay *r, struct zw_cp_line *l)
{
	if (!l->behind && !l->blocked)
		return false;
	if (l->blocked)
		r->n_blocked--;
	l->behind = l->blocked = false;
	/* Nobody is ahead of what it has added already. */
	if (l->head == NONE && l->floor < r->horizon)
		l->floor = r->horizon;
	return true;
}

/* An empty entry of the queue, not yet in its list. */
static struct zw_cp_log_entry *new_entry(struct zw_cp_replay *r, uint32_t queue,
					 enum zw_cp_log_kind kind)
{
	struct zw_cp_log_entry *e;

	if (r->free_head == NONE)
		make_room(r);
	e = &r->pool[r->free_head];
	r->free_head = e->next;
	r->used++;
	*e = (struct zw_cp_log_entry){
		.seq = ++r->seq, .queue = queue, .kind = kind, .next = NONE, .link = NONE};
	return e;
}

/* Puts it behind those of its queue. */
static void chain(struct zw_cp_replay *r, struct zw_cp_log_entry *e)
{
	uint32_t at = (uint32_t)(e - r->pool);
	struct zw_cp_line *l = &r->line[e->queue];

	if (l->head == NONE)
		l->head = at;
	else
		r->pool[l->tail].next = at;
	l->tail = at;
	if (e->kind == ZW_CP_LOG_END) {
		if (l->end_head == NONE)
			l->end_head = at;
		else
			r->pool[l->end_tail].link = at;
		l->end_tail = at;
	} else if (e->kind == ZW_CP_LOG_OPEN) {
		e->link = r->unborn_head;
		r->unborn_head = at;
	}
}

static void append(struct zw_cp_replay *r, struct zw_cp_log_entry *e)
{
	uint32_t queue = e->queue;
	bool first = r->line[queue].head == NONE;
	bool late = catch_up(r, &r->line[queue]);

	list_queue(r, queue);
	chain(r, e);
	late |= e->kind == ZW_CP_LOG_OPEN;
	if (first)
		late |= zw_cp_replay_advance(r, queue);
	/* What another queue adds is later than what everybody waits for, unless nobody waited for that. */
	if (late || r->stalled_by == ZW_CP_NO_QUEUE || r->stalled_by == queue)
		zw_cp_replay_settle(r);
}

bool zw_cp_log_load(struct zw_cp_replay *r, const struct zw_cp_log_entry *saved)
{
	struct zw_cp_log_entry *e;
	uint32_t at;

	if (r->free_head == NONE && !grow(r))
		return false;
	at = r->free_head;
	e = &r->pool[at];
	r->free_head = e->next;
	r->used++;
	*e = *saved;
	e->next = e->link = NONE;
	chain(r, e);
	return true;
}

uint32_t zw_cp_log_take(struct zw_cp_replay *r, uint32_t queue)
{
	struct zw_cp_line *l = &r->line[queue];
	uint32_t at = l->head;
	struct zw_cp_log_entry *e = &r->pool[at];

	l->head = e->next;
	if (e->kind == ZW_CP_LOG_END)
		l->end_head = e->link;
	return at;
}

void zw_cp_log_free(struct zw_cp_replay *r, uint32_t i)
{
	uint32_t queue = r->pool[i].queue;

	r->pool[i].next = r->free_head;
	r->free_head = i;
	r->used--;
	unlist_queue(r, queue);
}

void zw_cp_log_born(struct zw_cp_replay *r, uint32_t i)
{
	uint32_t *p = &r->unborn_head;

	while (*p != i)
		p = &r->pool[*p].link;
	*p = r->pool[i].link;
}

void zw_cp_log_signalled(struct zw_cp_replay *r, uint32_t i, uint32_t sem, uint32_t first,
			 uint64_t ps)
{
	struct zw_cp_sem *s = &r->sems->sem[sem];

	for (uint32_t w = first; w != NONE; w = r->pool[w].link) {
		r->pool[w].not_before = ps;
		r->pool[w].signal_seq = 0;
	}
	for (unsigned int v = 0; v < s->n; v++) {
		if (s->entry[v] != i)
			continue;
		s->settled[v] = ps;
		s->entry[v] = NONE;
	}
}

/* -- what the command processor adds ---------------------------------------------------------------------- */

static void open_queue(struct zw_cp_replay *r, uint32_t queue, unsigned int priority,
		       uint32_t owner)
{
	struct zw_cp_log_entry *e = new_entry(r, queue, ZW_CP_LOG_OPEN);

	e->priority = (uint8_t)priority;
	e->owner = owner;
	e->not_before = r->latest > r->horizon ? r->latest : r->horizon;
	r->line[queue].made = true;
	append(r, e);
}

static void close_queue(struct zw_cp_replay *r, uint32_t queue)
{
	if (!r->line[queue].made)
		return;
	r->line[queue].made = r->line[queue].began = false;
	append(r, new_entry(r, queue, ZW_CP_LOG_CLOSE));
}

void zw_cp_replay_open(struct zw_cp_replay *r, unsigned int queue, unsigned int priority,
		       uint32_t owner)
{
	pthread_mutex_lock(&r->lock);
	close_queue(r, queue);
	open_queue(r, queue, priority, owner);
	pthread_mutex_unlock(&r->lock);
}

void zw_cp_replay_close(struct zw_cp_replay *r, unsigned int queue)
{
	pthread_mutex_lock(&r->lock);
	close_queue(r, queue);
	pthread_mutex_unlock(&r->lock);
}

void zw_cp_replay_begin(struct zw_cp_replay *r, unsigned int queue, uint64_t job, uint64_t ps)
{
	struct zw_cp_log_entry *e;

	pthread_mutex_lock(&r->lock);
	/* Nobody said that there is such a queue: firmware of ABI 2.3. */
	if (!r->line[queue].made)
		open_queue(r, queue, ZW_PRIO_NORMAL, 0);
	r->line[queue].began = true;
	e = new_entry(r, queue, ZW_CP_LOG_BEGIN);
	e->job = job;
	e->engine = ZW_ENGINE_CP;
	e->work.fixed_ps = ps;
	append(r, e);
	pthread_mutex_unlock(&r->lock);
}

void zw_cp_replay_end(struct zw_cp_replay *r, unsigned int queue, uint64_t job)
{
	struct zw_cp_log_entry *e;

	pthread_mutex_lock(&r->lock);
	/* Not of a job that never began. */
	if (r->line[queue].began) {
		r->line[queue].began = false;
		e = new_entry(r, queue, ZW_CP_LOG_END);
		e->job = job;
		append(r, e);
	}
	pthread_mutex_unlock(&r->lock);
}

void zw_cp_replay_blocked(struct zw_cp_replay *r, unsigned int queue)
{
	struct zw_cp_line *l = &r->line[queue];

	pthread_mutex_lock(&r->lock);
	if (!l->blocked && l->began) {
		l->blocked = true;
		r->n_blocked++;
		if (r->stalled_by == queue)
			zw_cp_replay_settle(r);
	}
	pthread_mutex_unlock(&r->lock);
}

void zw_cp_replay_leave_idle(struct zw_cp_replay *r)
{
	pthread_mutex_lock(&r->lock);
	zw_cp_replay_settle(r);
	/* One after the other, while somebody waits for them. */
	while ((r->used || r->held) && r->stalled_by != ZW_CP_NO_QUEUE &&
	       !r->line[r->stalled_by].began && r->line[r->stalled_by].head == NONE &&
	       !r->line[r->stalled_by].behind) {
		leave_behind(r, r->stalled_by);
		zw_cp_replay_settle(r);
	}
	pthread_mutex_unlock(&r->lock);
}

/* Somebody may go on now, who knows at what time. */
static void wake_blocked(struct zw_cp_replay *r)
{
	for (uint32_t i = 0; r->n_blocked && i < r->n_list; i++)
		if (r->line[r->list[i]].blocked)
			catch_up(r, &r->line[r->list[i]]);
}

static void wait_for_signal(struct zw_cp_replay *r, struct zw_cp_log_entry *e,
			    const struct zw_cp_sem_use *sem)
{
	uint32_t signal = sem->waited->entry[sem->value];

	e->kind = ZW_CP_LOG_WAIT;
	e->not_before = sem->waited->settled[sem->value];
	if (signal == NONE)
		return;
	e->signal_seq = r->pool[signal].seq;
	e->link = r->pool[signal].link;
	r->pool[signal].link = (uint32_t)(e - r->pool);
}

static void signal_value(struct zw_cp_replay *r, struct zw_cp_log_entry *e,
			 const struct zw_cp_sem_use *sem)
{
	e->kind = ZW_CP_LOG_SIGNAL;
	e->sem = (uint32_t)(sem->signalled - r->sems->sem);
	sem->signalled->entry[sem->signalled->n - 1] = (uint32_t)(e - r->pool);
}

static void fill_packet(struct zw_cp_log_entry *e, const struct zw_cp_retired *packet)
{
	const struct zw_pkt *hdr = packet->hdr;

	e->job = packet->job;
	e->work = *packet->work;
	e->engine = (uint8_t)packet->engine;
	e->name = (struct zw_cp_name){packet->index, hdr->opcode, hdr->tag, packet->rows};
	e->wait = hdr->wait;
	e->signal = hdr->signal;
	e->deps = hdr->flags & ZW_PKT_F_DEPS ? 1 : 0;
}

/* Most packets of most devices: nobody else is there, and it need not be kept. */
static bool settle_at_once(struct zw_cp_replay *r, unsigned int queue,
			   const struct zw_cp_retired *packet)
{
	struct zw_cp_log_entry e;

	if (packet->sem.waited || packet->sem.signalled)
		return false;
	e.seq = r->seq + 1;
	e.queue = queue;
	e.kind = ZW_CP_LOG_PACKET;
	e.not_before = e.signal_seq = 0;
	fill_packet(&e, packet);
	if (!zw_cp_replay_at_once(r, &e))
		return false;
	r->seq++;
	return true;
}

void zw_cp_replay_packet(struct zw_cp_replay *r, unsigned int queue,
			 const struct zw_cp_retired *packet)
{
	const struct zw_cp_sem_use *sem = &packet->sem;
	struct zw_cp_log_entry *e;

	pthread_mutex_lock(&r->lock);
	if (settle_at_once(r, queue, packet))
		goto out;
	e = new_entry(r, queue, ZW_CP_LOG_PACKET);
	fill_packet(e, packet);
	if (sem->waited)
		wait_for_signal(r, e, sem);
	if (sem->signalled) {
		signal_value(r, e, sem);
		wake_blocked(r);
	}
	append(r, e);
out:
	pthread_mutex_unlock(&r->lock);
}

/* -- life ------------------------------------------------------------------------------------------------- */

static void forget(struct zw_cp_replay *r)
{
	for (unsigned int i = 0; i < r->num_queues; i++)
		r->line[i] = (struct zw_cp_line){
			.head = NONE, .tail = NONE, .end_head = NONE, .end_tail = NONE};
	for (uint32_t i = 0; i < r->cap; i++)
		r->pool[i].next = i + 1 < r->cap ? i + 1 : NONE;
	r->free_head = r->cap ? 0 : NONE;
	r->used = 0;
	r->seq = r->latest = r->horizon = 0;
	r->stalled_by = ZW_CP_NO_QUEUE;
	r->unborn_head = NONE;
	r->n_blocked = r->n_list = r->held = 0;
	memset(r->engine, 0, sizeof(r->engine));
	memset(r->port_free, 0, sizeof(r->port_free));
	zw_cp_thermal_init(&r->thermal, r->thermal.profile);
	zw_cp_replay_show_temperature(r);
}

int zw_cp_replay_init(struct zw_cp_replay *r, const struct zw_cp_config *cfg,
		      unsigned int num_queues, struct zw_cp_sems *sems)
{
	*r = (struct zw_cp_replay){.pmu = cfg->pmu,
				   .sems = sems,
				   .settled = cfg->settled,
				   .packet_settled = cfg->packet_settled,
				   .queue_settled = cfg->queue_settled,
				   .settled_opaque = cfg->settled_opaque,
				   .settled_owned = cfg->settled_owned,
				   .thermal = {.profile = cfg->profile},
				   .free_head = NONE,
				   .num_queues = num_queues};
	pthread_mutex_init(&r->lock, NULL);
	r->line = calloc(num_queues, sizeof(*r->line));
	r->list = calloc(num_queues, sizeof(*r->list));
	if (!r->line || !r->list || !grow(r))
		return -ENOMEM;
	forget(r);
	return 0;
}

void zw_cp_replay_fini(struct zw_cp_replay *r)
{
	free(r->line);
	free(r->list);
	free(r->pool);
	pthread_mutex_destroy(&r->lock);
}

void zw_cp_replay_reset(struct zw_cp_replay *r)
{
	forget(r);
}
