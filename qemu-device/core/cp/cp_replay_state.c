// SPDX-License-Identifier: MIT
/* The clock of the whole device, in and out of a stream. The sums are counters of the PMU and saved with it. */
#include <stdlib.h>

#include "../zw_state.h"
#include "zw_cp_int.h"
#include "zw_cp_replay.h"

#define NONE ZW_CP_NO_ENTRY

ZW_STATE_SIZE(sizeof(struct zw_cp_log_entry), 168);
ZW_STATE_SIZE(sizeof(struct zw_cp_server), 232);
ZW_STATE_SIZE(sizeof(struct zw_cp_line), 400);
/*
 * Not in the stream: lock, configuration, what follows from the queues (lists, counts, who holds up), which entry of the
 * pool is where.
 */
ZW_STATE_SIZE(sizeof(struct zw_cp_replay) - sizeof(pthread_mutex_t) -
		      sizeof(((struct zw_cp_replay *)0)->engine),
	      216);

static void u8_state(struct zw_state *st, uint8_t *v)
{
	uint32_t w = *v;

	zw_state_u32(st, &w);
	if (zw_state_check(st, w <= UINT8_MAX, "a number of the clock is out of range"))
		*v = (uint8_t)w;
}

static void name_state(struct zw_cp_name *n, struct zw_state *st)
{
	zw_state_u32(st, &n->index);
	zw_state_u32(st, &n->opcode);
	zw_state_u32(st, &n->tag);
	zw_state_u32(st, &n->rows);
}

static void server_state(struct zw_cp_replay *r, unsigned int i, struct zw_state *st)
{
	struct zw_cp_server *s = &r->engine[i];
	uint32_t wait = s->wait;

	zw_state_u64(st, &s->free_ps);
	zw_state_bool(st, &s->held);
	if (!s->held)
		return;
	u8_state(st, &s->pending);
	zw_state_u32(st, &s->queue);
	zw_state_u64(st, &s->seq);
	zw_state_u64(st, &s->start);
	zw_state_u64(st, &s->end);
	for (unsigned int p = 0; p < ZW_PORTS; p++) {
		zw_state_u64(st, &s->port_ps[p]);
		zw_state_u64(st, &s->request_ps[p]);
	}
	u8_state(st, &s->signal);
	u8_state(st, &s->deps);
	zw_state_u64(st, &s->job);
	zw_state_u64(st, &s->fixed_ps);
	zw_state_u64(st, &s->compute_ps);
	zw_state_u64(st, &s->energy_pj);
	zw_state_u64(st, &s->ops);
	zw_state_u64(st, &s->hbm_bytes);
	zw_state_u64(st, &s->sys_bytes);
	zw_state_u32(st, &wait);
	s->wait = (uint16_t)wait;
	for (unsigned int p = 0; p < ZW_PORTS; p++)
		zw_state_u64(st, &s->served_ps[p]);
	for (unsigned int w = 0; w < ZW_WAITS; w++)
		zw_state_u64(st, &s->waited_ps[w]);
	name_state(&s->name, st);
	if (!zw_state_check(st,
			    s->pending && s->pending < 1u << ZW_PORTS && s->queue < r->num_queues &&
				    s->end >= s->start && s->signal <= ZW_PKT_TOKENS &&
				    s->deps <= 1,
			    "an engine has an impossible packet")) {
		s->held = false;
		return;
	}
	if (!st->loading)
		return;
	r->held |= 1u << i;
	r->line[s->queue].n_held++;
}

static void sums_state(struct zw_cp_line *l, struct zw_state *st)
{
	struct zw_settled_sums *s = &l->sums;

	zw_state_u32(st, &l->owner);
	if (!l->owner)
		return;
	zw_state_u64(st, &s->packets);
	for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
		zw_state_u64(st, &s->engine_busy_ps[e]);
	for (unsigned int p = 0; p < ZW_PORTS; p++)
		zw_state_u64(st, &s->port_busy_ps[p]);
	for (unsigned int w = 0; w < ZW_WAITS; w++)
		zw_state_u64(st, &s->wait_ps[w]);
	zw_state_u64(st, &s->energy_pj);
	zw_state_u64(st, &s->ops);
	zw_state_u64(st, &s->hbm_bytes);
	zw_state_u64(st, &s->sys_bytes);
}

static void line_fields(struct zw_cp_line *l, struct zw_state *st)
{
	zw_state_bool(st, &l->made);
	zw_state_bool(st, &l->began);
	zw_state_bool(st, &l->open);
	zw_state_bool(st, &l->in_job);
	zw_state_bool(st, &l->blocked);
	zw_state_bool(st, &l->behind);
	zw_state_bool(st, &l->base_held);
	u8_state(st, &l->priority);
	sums_state(l, st);
	for (unsigned int t = 0; t < ZW_PKT_TOKENS; t++) {
		zw_state_u64(st, &l->token[t]);
		u8_state(st, &l->token_held[t]);
	}
	zw_state_u64(st, &l->now);
	zw_state_u64(st, &l->base);
	zw_state_u64(st, &l->last_event);
	zw_state_u64(st, &l->floor);
	zw_state_u64(st, &l->release);
	zw_state_u64(st, &l->start);
}

/* Which value of its semaphore waits for the entry. */
static uint8_t value_of(const struct zw_cp_replay *r, uint32_t at)
{
	const struct zw_cp_sem *s = &r->sems->sem[r->pool[at].sem];

	for (uint8_t v = 0; s->age && v < s->n; v++)
		if (s->entry[v] == at)
			return v;
	return ZW_CP_SEM_VALUES;
}

static bool entry_possible(const struct zw_cp_replay *r, const struct zw_cp_log_entry *e,
			   uint64_t before)
{
	bool ports = e->work.port_ps[0] || e->work.port_ps[1] || e->work.port_ps[2];

	return e->seq > before && e->seq <= r->seq && e->kind < ZW_CP_LOG_KINDS &&
	       e->engine < ZW_ENGINE_COUNT && e->signal <= ZW_PKT_TOKENS && e->deps <= 1 &&
	       e->priority < ZW_PRIO_COUNT && e->work.lead_ps <= e->work.fixed_ps &&
	       e->signal_seq < e->seq && (!e->signal_seq || e->kind == ZW_CP_LOG_WAIT) &&
	       (e->kind != ZW_CP_LOG_SIGNAL || (!ports && e->sem < ZW_CP_SEMS));
}

static void entry_fields(struct zw_cp_log_entry *e, struct zw_state *st)
{
	uint32_t wait = e->wait;

	u8_state(st, &e->kind);
	zw_state_u64(st, &e->seq);
	zw_state_u64(st, &e->job);
	zw_state_u64(st, &e->not_before);
	zw_state_u64(st, &e->signal_seq);
	zw_state_u64(st, &e->work.fixed_ps);
	zw_state_u64(st, &e->work.lead_ps);
	zw_state_u64(st, &e->work.compute_ps);
	for (unsigned int p = 0; p < ZW_PORTS; p++)
		zw_state_u64(st, &e->work.port_ps[p]);
	zw_state_u64(st, &e->work.energy_pj);
	zw_state_u64(st, &e->work.capped_ps);
	zw_state_u64(st, &e->work.ops);
	zw_state_u64(st, &e->work.hbm_bytes);
	zw_state_u64(st, &e->work.sys_bytes);
	zw_state_u32(st, &e->sem);
	zw_state_u32(st, &wait);
	e->wait = (uint16_t)wait;
	u8_state(st, &e->signal);
	u8_state(st, &e->deps);
	u8_state(st, &e->engine);
	u8_state(st, &e->priority);
	zw_state_u32(st, &e->owner);
	u8_state(st, &e->value);
	name_state(&e->name, st);
}

static void save_entries(struct zw_cp_replay *r, uint32_t queue, struct zw_state *st)
{
	uint32_t n = 0, i;

	for (i = r->line[queue].head; i != NONE; i = r->pool[i].next)
		n++;
	zw_state_u32(st, &n);
	for (i = r->line[queue].head; i != NONE; i = r->pool[i].next) {
		if (r->pool[i].kind == ZW_CP_LOG_SIGNAL)
			r->pool[i].value = value_of(r, i);
		entry_fields(&r->pool[i], st);
	}
}

/* Queues run jobs between OPEN and CLOSE; anything else would never be settled. */
static bool in_place(const struct zw_cp_log_entry *e, bool *open)
{
	bool was = *open;

	if (e->kind == ZW_CP_LOG_OPEN)
		*open = true;
	else if (e->kind == ZW_CP_LOG_CLOSE)
		*open = false;
	return was != (e->kind == ZW_CP_LOG_OPEN);
}

static void load_entries(struct zw_cp_replay *r, uint32_t queue, struct zw_state *st)
{
	struct zw_cp_log_entry e = {.queue = queue};
	bool open = r->line[queue].open;
	uint32_t n = 0;

	zw_state_u32(st, &n);
	if (!zw_state_check(st, n <= ZW_CP_LOG_ENTRIES - r->used, "the log is too long"))
		return;
	for (uint32_t i = 0; i < n && !st->err; i++) {
		uint64_t before = e.seq;

		entry_fields(&e, st);
		if (!zw_state_check(st, entry_possible(r, &e, before) && in_place(&e, &open),
				    "an entry of the log is impossible") ||
		    !zw_state_check(st, zw_cp_log_load(r, &e), "no memory for the log"))
			return;
	}
	zw_state_check(st, open == r->line[queue].made, "a queue of the clock is half made");
}

struct signal {
	uint64_t seq;
	uint32_t at;
};

static int by_seq(const void *a, const void *b)
{
	const struct signal *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void tie_wait(struct zw_cp_replay *r, uint32_t wait, const struct signal *signals, size_t n,
		     struct zw_state *st)
{
	struct signal key = {.seq = r->pool[wait].signal_seq};
	const struct signal *s = n ? bsearch(&key, signals, n, sizeof(key), by_seq) : NULL;

	if (!zw_state_check(st, s != NULL, "a packet waits for a signal that is not there"))
		return;
	r->pool[wait].link = r->pool[s->at].link;
	r->pool[s->at].link = wait;
}

/* Waits find their signals, semaphores theirs. */
static void tie_signals(struct zw_cp_replay *r, struct zw_state *st)
{
	struct signal *signals = calloc(r->used ? r->used : 1, sizeof(*signals));
	size_t n = 0;

	if (!zw_state_check(st, signals != NULL, "no memory for the log"))
		return;
	for (uint32_t i = 0; i < r->used; i++) {
		const struct zw_cp_log_entry *e = &r->pool[i];
		struct zw_cp_sem *s;

		if (e->kind != ZW_CP_LOG_SIGNAL)
			continue;
		s = &r->sems->sem[e->sem];
		signals[n++] = (struct signal){.seq = e->seq, .at = i};
		if (e->value < ZW_CP_SEM_VALUES && s->age && e->value < s->n)
			s->entry[e->value] = i;
	}
	qsort(signals, n, sizeof(*signals), by_seq);
	for (uint32_t i = 0; i < r->used && !st->err; i++)
		if (r->pool[i].signal_seq)
			tie_wait(r, i, signals, n, st);
	free(signals);
}

/* What queues and engines say of each other; the replay relies on it. */
static bool base_is_held(const struct zw_cp_replay *r, unsigned int queue)
{
	for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
		if (r->engine[e].held && r->engine[e].queue == queue && !r->engine[e].deps)
			return true;
	return false;
}

static bool consistent(const struct zw_cp_replay *r)
{
	for (unsigned int q = 0; q < r->num_queues; q++) {
		const struct zw_cp_line *l = &r->line[q];

		if (l->priority >= ZW_PRIO_COUNT || l->base_held != base_is_held(r, q) ||
		    (!l->listed &&
		     (l->head != NONE || l->n_held || (!l->behind && (l->made || l->open)))) ||
		    (l->n_held && !l->open))
			return false;
		for (unsigned int t = 0; t < ZW_PKT_TOKENS; t++) {
			unsigned int e = l->token_held[t];

			if (e > ZW_ENGINE_COUNT ||
			    (e && (!r->engine[e - 1].held || r->engine[e - 1].queue != q ||
				   r->engine[e - 1].signal != t + 1)))
				return false;
		}
	}
	return true;
}

static void lines_state(struct zw_cp_replay *r, struct zw_state *st)
{
	for (unsigned int q = 0; q < r->num_queues && !st->err; q++) {
		struct zw_cp_line *l = &r->line[q];
		bool listed = l->listed, used = listed || l->made || l->open;

		zw_state_bool(st, &used);
		if (!used)
			continue;
		zw_state_bool(st, &listed);
		line_fields(l, st);
		if (!st->loading) {
			save_entries(r, q, st);
			continue;
		}
		l->listed = listed;
		if (listed)
			r->list[r->n_list++] = q;
		r->n_blocked += l->blocked;
		load_entries(r, q, st);
	}
}

static void thermal_state(struct zw_cp_replay *r, struct zw_state *st)
{
	struct zw_cp_thermal *t = &r->thermal;

	zw_state_u64(st, &t->next_ps);
	zw_state_u64(st, &t->step_pj);
	zw_state_u64(st, &t->excess_nk);
	zw_state_u64(st, &t->rest_pj);
	zw_state_check(st, zw_cp_thermal_possible(t, r->horizon), "the temperature is impossible");
	zw_cp_replay_show_temperature(r);
}

void zw_cp_replay_state(struct zw_cp_replay *r, struct zw_state *st)
{
	zw_state_u64(st, &r->seq);
	zw_state_u64(st, &r->latest);
	zw_state_u64(st, &r->horizon);
	for (unsigned int p = 0; p < ZW_PORTS; p++)
		zw_state_u64(st, &r->port_free[p]);
	thermal_state(r, st);
	lines_state(r, st);
	for (unsigned int i = 0; i < ZW_ENGINE_COUNT && !st->err; i++)
		server_state(r, i, st);
	if (!st->loading)
		return;
	if (!st->err)
		tie_signals(r, st);
	if (!st->err)
		zw_state_check(st, consistent(r), "the clock's queues and engines do not agree");
	if (st->err)
		zw_cp_replay_reset(r);
}
