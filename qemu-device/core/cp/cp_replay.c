// SPDX-License-Identifier: MIT
/*
 * The replay: events of all queues in one order. An event is a job or packet that begins on its engine, or a packet that
 * comes to a memory port. It has a time; of those at one time the ones that begin come first, then those of a higher
 * priority, those that have waited longest, those of the lower queue.
 *
 * A queue that may still add something stands in that order too, with the earliest event that it could add. When it is its
 * turn nothing is settled any more: so what is settled is what it would be had all been known from the beginning.
 */
#include <string.h>

#include "zw_cp_int.h"
#include "zw_cp_replay.h"

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* -- sums: this thread has the lock, and nobody else writes them ------------------------------------------ */

static void sum(struct zw_cp_replay *r, size_t offset, uint64_t n)
{
	_Atomic uint64_t *c;

	if (!r->pmu || !n)
		return;
	c = (_Atomic uint64_t *)((char *)r->pmu + offset);
	atomic_store_explicit(c, zw_cp_add_sat(atomic_load_explicit(c, memory_order_relaxed), n),
			      memory_order_relaxed);
}
#define SUM(r, counter, n) sum((r), offsetof(struct zw_pmu, counter), (n))

static enum zw_wait port_wait(unsigned int port)
{
	return port == ZW_PORT_HBM ? ZW_WAIT_HBM : ZW_WAIT_PCIE;
}

/* When something that could begin at `from` begins, as it waits for `until`. */
static uint64_t wait_until(struct zw_cp_replay *r, enum zw_wait why, uint64_t from, uint64_t until)
{
	if (until <= from)
		return from;
	sum(r, offsetof(struct zw_pmu, wait_ps) + why * sizeof(uint64_t), until - from);
	return until;
}

/* -- order ------------------------------------------------------------------------------------------------ */

enum event_kind { STARTS, PORT };

struct event {
	uint64_t time;
	uint64_t since; /* when it began to wait */
	uint64_t seq;
	uint32_t queue;
	uint8_t kind;
	uint8_t priority;
	uint8_t engine, port; /* PORT */
	bool real;            /* not one that might be added */
};

static bool earlier(const struct event *a, const struct event *b)
{
	if (a->time != b->time)
		return a->time < b->time;
	if (a->kind != b->kind)
		return a->kind < b->kind;
	if (a->priority != b->priority)
		return a->priority > b->priority;
	if (a->since != b->since)
		return a->since < b->since;
	if (a->queue != b->queue)
		return a->queue < b->queue;
	return a->seq < b->seq;
}

/* When everything in its job that the entry depends on has ended. False: that is not known. */
static bool ready(const struct zw_cp_line *l, const struct zw_cp_log_entry *e, uint64_t *ps)
{
	if (e->signal_seq || l->base_held || (!e->deps && l->n_held))
		return false;
	*ps = e->deps ? l->base : l->now;
	for (unsigned int t = 0; e->deps && e->wait >> t; t++) {
		if (!(e->wait >> t & 1))
			continue;
		if (l->token_held[t])
			return false;
		*ps = max64(*ps, l->token[t]);
	}
	return true;
}

/* The queue's next event. False: something else happens before, or nothing comes of it any more. */
static bool next_start(const struct zw_cp_replay *r, uint32_t queue, struct event *ev)
{
	const struct zw_cp_line *l = &r->line[queue];
	uint64_t since = l->in_job ? l->base : l->now, engine_free = 0;

	*ev = (struct event){.queue = queue, .kind = STARTS, .priority = l->priority};
	if (l->head != ZW_CP_NO_ENTRY) {
		const struct zw_cp_log_entry *e = &r->pool[l->head];
		const struct zw_cp_server *engine = &r->engine[e->engine];

		if (!l->open || engine->held || !ready(l, e, &since))
			return false;
		ev->real = true;
		ev->seq = e->seq;
		since = max64(since, e->not_before);
		engine_free = engine->free_ps;
	} else {
		if (!l->open || l->blocked || l->behind || l->base_held)
			return false;
		if (!l->in_job)
			engine_free = r->engine[ZW_ENGINE_CP].free_ps;
	}
	ev->since = max64(since, l->floor);
	ev->time = max64(max64(ev->since, engine_free), l->last_event);
	return true;
}

/* Packets of a queue go through a port in the order of the buffer. */
static bool port_turn(const struct zw_cp_replay *r, const struct zw_cp_server *s, unsigned int port)
{
	for (uint32_t m = r->held; m; m &= m - 1) {
		const struct zw_cp_server *o = &r->engine[__builtin_ctz(m)];

		if (o->queue == s->queue && o->seq < s->seq && o->pending >> port & 1)
			return false;
	}
	return true;
}

static bool next_event(const struct zw_cp_replay *r, struct event *best)
{
	bool found = false;
	struct event ev;

	for (uint32_t m = r->held; m; m &= m - 1) {
		unsigned int e = (unsigned int)__builtin_ctz(m);
		const struct zw_cp_server *s = &r->engine[e];

		for (unsigned int p = 0; p < ZW_PORTS; p++) {
			if (!(s->pending >> p & 1) || !port_turn(r, s, p))
				continue;
			ev = (struct event){.time = s->request_ps[p],
					    .since = s->request_ps[p],
					    .seq = s->seq,
					    .queue = s->queue,
					    .kind = PORT,
					    .priority = r->line[s->queue].priority,
					    .engine = (uint8_t)e,
					    .port = (uint8_t)p,
					    .real = true};
			if (!found || earlier(&ev, best))
				*best = ev;
			found = true;
		}
	}
	for (uint32_t i = 0; i < r->n_list; i++) {
		if (!next_start(r, r->list[i], &ev))
			continue;
		if (!found || earlier(&ev, best))
			*best = ev;
		found = true;
	}
	return found;
}

/* -- what happens ----------------------------------------------------------------------------------------- */

/* Whether somebody wants to know of what a queue does. */
static bool told(const struct zw_cp_replay *r, const struct zw_cp_line *l)
{
	return l->owner || !r->settled_owned;
}

static void add(uint64_t *sum, uint64_t n)
{
	*sum = zw_cp_add_sat(*sum, n);
}

/* To the sums of a queue with an owner. */
static void add_packet(struct zw_cp_line *l, const struct zw_settled_packet *p)
{
	struct zw_settled_sums *s = &l->sums;

	if (!l->owner)
		return;
	if (p->opcode != ZW_SETTLED_BEGIN)
		add(&s->packets, 1);
	add(&s->engine_busy_ps[p->engine], p->end_ps - p->start_ps);
	for (unsigned int i = 0; i < ZW_PORTS; i++)
		add(&s->port_busy_ps[i], p->port[i].end_ps - p->port[i].start_ps);
	for (unsigned int i = 0; i < ZW_WAITS; i++)
		add(&s->wait_ps[i], p->wait_ps[i]);
	add(&s->energy_pj, p->energy_pj);
	add(&s->ops, p->ops);
	add(&s->hbm_bytes, p->hbm_bytes);
	add(&s->sys_bytes, p->sys_bytes);
}

/* Only for who wants to know. */
static void tell_packet(struct zw_cp_replay *r, unsigned int engine)
{
	const struct zw_cp_server *s = &r->engine[engine];
	struct zw_settled_packet p = {.queue = s->queue,
				      .owner = r->line[s->queue].owner,
				      .seqno = s->job,
				      .index = s->name.index,
				      .opcode = s->name.opcode,
				      .tag = s->name.tag,
				      .rows = s->name.rows,
				      .engine = engine,
				      .start_ps = s->start,
				      .end_ps = s->end,
				      .fixed_ps = s->fixed_ps,
				      .compute_ps = s->compute_ps,
				      .energy_pj = s->energy_pj,
				      .ops = s->ops,
				      .hbm_bytes = s->hbm_bytes,
				      .sys_bytes = s->sys_bytes,
				      .wait = s->deps ? s->wait : 0,
				      .signal = s->signal,
				      .ordered = !s->deps};

	memcpy(p.wait_ps, s->waited_ps, sizeof(p.wait_ps));
	for (unsigned int i = 0; i < ZW_PORTS; i++) {
		if (!s->port_ps[i])
			continue;
		p.port[i].request_ps = s->request_ps[i];
		p.port[i].start_ps = s->served_ps[i];
		p.port[i].end_ps = zw_cp_add_sat(s->served_ps[i], s->port_ps[i]);
		p.wait_ps[port_wait(i)] += s->served_ps[i] - s->request_ps[i];
	}
	add_packet(&r->line[s->queue], &p);
	r->packet_settled(r->settled_opaque, &p);
}

/* All of the packet that the engine has is known. */
static void complete(struct zw_cp_replay *r, unsigned int engine)
{
	struct zw_cp_server *s = &r->engine[engine];
	struct zw_cp_line *l = &r->line[s->queue];

	s->held = false;
	r->held &= ~(1u << engine);
	s->free_ps = s->end;
	l->n_held--;
	l->now = max64(l->now, s->end);
	if (!s->deps) {
		l->base = l->now;
		l->base_held = false;
	}
	if (s->signal && l->token_held[s->signal - 1] == engine + 1) {
		l->token_held[s->signal - 1] = 0;
		l->token[s->signal - 1] = s->end;
	}
	sum(r, offsetof(struct zw_pmu, settled_busy_ps) + engine * sizeof(uint64_t),
	    s->end - s->start);
	SUM(r, settled_packets, 1);
	if (r->packet_settled && told(r, l))
		tell_packet(r, engine);
}

static void tell_begin(struct zw_cp_replay *r, struct zw_cp_line *l,
		       const struct zw_cp_log_entry *e)
{
	struct zw_settled_packet p = {.queue = e->queue,
				      .owner = l->owner,
				      .seqno = e->job,
				      .opcode = ZW_SETTLED_BEGIN,
				      .engine = ZW_ENGINE_CP,
				      .start_ps = l->start,
				      .end_ps = l->now,
				      .fixed_ps = l->now - l->start,
				      .ordered = true};

	p.wait_ps[ZW_WAIT_ENGINE] = l->start - l->release;
	add_packet(l, &p);
	r->packet_settled(r->settled_opaque, &p);
}

static void begin_job(struct zw_cp_replay *r, struct zw_cp_line *l, const struct zw_cp_log_entry *e)
{
	struct zw_cp_server *cp = &r->engine[ZW_ENGINE_CP];

	l->release = max64(l->now, l->floor);
	l->start = wait_until(r, ZW_WAIT_ENGINE, l->release, cp->free_ps);
	l->now = l->base = cp->free_ps = zw_cp_add_sat(l->start, e->work.fixed_ps);
	l->in_job = true;
	SUM(r, settled_busy_ps[ZW_ENGINE_CP], l->now - l->start);
	if (r->packet_settled && told(r, l))
		tell_begin(r, l, e);
}

static void begin_packet(struct zw_cp_replay *r, uint32_t queue, const struct zw_cp_log_entry *e)
{
	struct zw_cp_line *l = &r->line[queue];
	struct zw_cp_server *s = &r->engine[e->engine];
	uint64_t at_engine, issued, start, signalled, tokens = 0;

	ready(l, e, &tokens);
	start = wait_until(r, ZW_WAIT_TOKENS, l->base, tokens);
	signalled = wait_until(r, ZW_WAIT_SEMAPHORE, start, e->not_before);
	at_engine = wait_until(r, ZW_WAIT_ENGINE, max64(signalled, l->floor), s->free_ps);
	s->waited_ps[ZW_WAIT_TOKENS] = start - l->base;
	s->waited_ps[ZW_WAIT_SEMAPHORE] = signalled - start;
	s->waited_ps[ZW_WAIT_ENGINE] = at_engine - max64(signalled, l->floor);
	s->job = e->job;
	s->name = e->name;
	s->fixed_ps = e->work.fixed_ps;
	s->compute_ps = e->work.compute_ps;
	s->energy_pj = e->work.energy_pj;
	s->ops = e->work.ops;
	s->hbm_bytes = e->work.hbm_bytes;
	s->sys_bytes = e->work.sys_bytes;
	s->wait = e->wait;
	issued = zw_cp_add_sat(at_engine, e->work.fixed_ps);
	s->held = true;
	r->held |= 1u << e->engine;
	s->pending = 0;
	s->queue = queue;
	s->seq = e->seq;
	s->start = at_engine;
	s->end = zw_cp_add_sat(issued, e->work.compute_ps);
	s->signal = e->signal;
	s->deps = e->deps;
	for (unsigned int p = 0; p < ZW_PORTS; p++) {
		s->port_ps[p] = e->work.port_ps[p];
		s->request_ps[p] = issued;
		if (s->port_ps[p])
			s->pending |= 1u << p;
	}
	s->request_ps[ZW_PORT_HBM] = zw_cp_add_sat(at_engine, e->work.fixed_ps - e->work.lead_ps);
	SUM(r, settled_energy_uj, zw_cp_thermal_heat(&r->thermal, e->work.energy_pj));
	SUM(r, settled_capped_ps, e->work.capped_ps);
	l->n_held++;
	l->base_held = !e->deps;
	if (e->signal)
		l->token_held[e->signal - 1] = e->engine + 1;
	if (!s->pending)
		complete(r, e->engine);
}

static void starts(struct zw_cp_replay *r, const struct event *ev)
{
	struct zw_cp_line *l = &r->line[ev->queue];
	uint32_t at = zw_cp_log_take(r, ev->queue);
	const struct zw_cp_log_entry *e = &r->pool[at];

	l->last_event = ev->time;
	if (e->kind == ZW_CP_LOG_BEGIN)
		begin_job(r, l, e);
	else
		begin_packet(r, ev->queue, e);
	if (e->kind == ZW_CP_LOG_SIGNAL)
		zw_cp_log_signalled(r, at, e->sem, e->link, r->engine[e->engine].end);
	zw_cp_log_free(r, at);
}

static void at_port(struct zw_cp_replay *r, const struct event *ev)
{
	struct zw_cp_server *s = &r->engine[ev->engine];
	uint64_t start = wait_until(r, port_wait(ev->port), ev->time, r->port_free[ev->port]);
	uint64_t end = zw_cp_add_sat(start, s->port_ps[ev->port]);

	r->port_free[ev->port] = end;
	s->served_ps[ev->port] = start;
	sum(r, offsetof(struct zw_pmu, port_busy_ps) + ev->port * sizeof(uint64_t), end - start);
	s->end = max64(s->end, end);
	s->pending &= (uint8_t) ~(1u << ev->port);
	if (!s->pending)
		complete(r, ev->engine);
}

/* -- what takes no time ----------------------------------------------------------------------------------- */

static void end_job(struct zw_cp_replay *r, uint32_t queue, const struct zw_cp_log_entry *e)
{
	struct zw_cp_line *l = &r->line[queue];
	struct zw_settled_job job = {
		.queue = queue,
		.owner = l->owner,
		.sums = l->owner ? &l->sums : NULL,
		.seqno = e->job,
		.release_ps = l->release,
		.start_ps = l->start,
		.end_ps = l->now,
	};

	l->in_job = false;
	l->base = l->now;
	r->latest = max64(r->latest, l->now);
	for (uint32_t i = r->unborn_head; i != ZW_CP_NO_ENTRY; i = r->pool[i].link)
		if (r->pool[i].seq > e->seq)
			r->pool[i].not_before = max64(r->pool[i].not_before, l->now);
	SUM(r, settled_jobs, 1);
	if (r->settled && told(r, l))
		r->settled(r->settled_opaque, &job);
}

static void end_queue(struct zw_cp_replay *r, uint32_t queue)
{
	struct zw_cp_line *l = &r->line[queue];

	l->open = false;
	l->in_job = false;
	if (l->owner && r->queue_settled)
		r->queue_settled(r->settled_opaque, queue, l->owner);
	l->owner = 0;
}

/* Whether all jobs that had ended when the queue was made have ended here. */
static bool may_be_born(const struct zw_cp_replay *r, const struct zw_cp_log_entry *open)
{
	for (uint32_t i = 0; i < r->n_list; i++) {
		uint32_t end = r->line[r->list[i]].end_head;

		if (end != ZW_CP_NO_ENTRY && r->pool[end].seq < open->seq)
			return false;
	}
	return true;
}

static void be_born(struct zw_cp_line *l, const struct zw_cp_log_entry *e)
{
	l->open = true;
	l->in_job = false;
	l->priority = e->priority;
	l->owner = e->owner;
	l->sums = (struct zw_settled_sums){0};
	l->now = l->base = l->last_event = e->not_before;
	l->floor = 0;
	memset(l->token, 0, sizeof(l->token));
}

/* True when one was taken. */
static bool advance_one(struct zw_cp_replay *r, uint32_t queue)
{
	struct zw_cp_line *l = &r->line[queue];
	const struct zw_cp_log_entry *e;
	uint32_t at = l->head;

	if (at == ZW_CP_NO_ENTRY || l->n_held)
		return false;
	e = &r->pool[at];
	switch (e->kind) {
	case ZW_CP_LOG_OPEN:
		if (!may_be_born(r, e))
			return false;
		be_born(l, e);
		zw_cp_log_born(r, at);
		break;
	case ZW_CP_LOG_CLOSE:
		end_queue(r, queue);
		break;
	case ZW_CP_LOG_END:
		end_job(r, queue, e);
		break;
	default:
		return false;
	}
	zw_cp_log_take(r, queue);
	zw_cp_log_free(r, at);
	return true;
}

static bool advance_queue(struct zw_cp_replay *r, uint32_t queue)
{
	bool moved = false;

	while (advance_one(r, queue))
		moved = true;
	return moved;
}

bool zw_cp_replay_advance(struct zw_cp_replay *r, uint32_t queue)
{
	bool moved = advance_queue(r, queue), born = false;

	/* An end may be what others waited for to begin. */
	for (uint32_t i = r->unborn_head; moved && i != ZW_CP_NO_ENTRY;) {
		uint32_t next = r->pool[i].link;

		if (r->line[r->pool[i].queue].head == i)
			born |= advance_queue(r, r->pool[i].queue);
		i = next;
	}
	return born;
}

void zw_cp_replay_show_temperature(struct zw_cp_replay *r)
{
	if (r->pmu)
		atomic_store_explicit(&r->pmu->temperature_mc, zw_cp_thermal_mc(&r->thermal),
				      memory_order_relaxed);
}

static void note_event(struct zw_cp_replay *r, uint64_t time)
{
	if (time <= r->horizon)
		return;
	r->horizon = time;
	if (time >= r->thermal.next_ps) {
		SUM(r, settled_energy_uj, zw_cp_thermal_advance(&r->thermal, time));
		zw_cp_replay_show_temperature(r);
	}
	if (r->pmu)
		atomic_store_explicit(&r->pmu->settled_ps, time, memory_order_relaxed);
}

/* All ports of the packet that has waited for longest. */
static void serve_held(struct zw_cp_replay *r)
{
	struct event ev = {.kind = PORT};

	for (uint32_t m = r->held; m; m &= m - 1) {
		unsigned int e = (unsigned int)__builtin_ctz(m);

		if (!ev.seq || r->engine[e].seq < ev.seq) {
			ev.seq = r->engine[e].seq;
			ev.engine = (uint8_t)e;
		}
	}
	for (unsigned int p = 0; p < ZW_PORTS; p++) {
		const struct zw_cp_server *s = &r->engine[ev.engine];

		if (!(s->pending >> p & 1))
			continue;
		ev.port = (uint8_t)p;
		ev.time = s->request_ps[p];
		note_event(r, ev.time);
		at_port(r, &ev);
	}
}

/*
 * The same for a queue that is the only one there is: what it does in which order comes to the same, and nobody is there
 * whom that could concern.
 */
static void settle_alone(struct zw_cp_replay *r, uint32_t queue)
{
	struct event ev;

	for (;;) {
		while (r->held)
			serve_held(r);
		zw_cp_replay_advance(r, queue);
		if (!r->n_list || !next_start(r, queue, &ev) || !ev.real)
			break;
		note_event(r, ev.time);
		starts(r, &ev);
	}
	r->stalled_by = queue;
}

/* What settle_alone() would do with it had it gone through the log. */
bool zw_cp_replay_at_once(struct zw_cp_replay *r, const struct zw_cp_log_entry *e)
{
	const struct zw_cp_server *engine = &r->engine[e->engine];
	struct zw_cp_line *l = &r->line[e->queue];
	uint64_t time;

	if (r->n_list != 1 || r->list[0] != e->queue || r->held || l->head != ZW_CP_NO_ENTRY ||
	    !l->open || l->behind || l->blocked ||
	    (r->stalled_by != ZW_CP_NO_QUEUE && r->stalled_by != e->queue) || !ready(l, e, &time))
		return false;
	time = max64(max64(time, l->floor), max64(engine->free_ps, l->last_event));
	note_event(r, time);
	l->last_event = time;
	begin_packet(r, e->queue, e);
	while (r->held)
		serve_held(r);
	r->stalled_by = e->queue;
	return true;
}

void zw_cp_replay_settle(struct zw_cp_replay *r)
{
	struct event ev;

	r->stalled_by = ZW_CP_NO_QUEUE;
	if (r->n_list == 1) {
		settle_alone(r, r->list[0]);
		return;
	}
	while (next_event(r, &ev)) {
		if (!ev.real) {
			r->stalled_by = ev.queue;
			break;
		}
		note_event(r, ev.time);
		if (ev.kind == STARTS)
			starts(r, &ev);
		else
			at_port(r, &ev);
		zw_cp_replay_advance(r, ev.queue);
	}
}
