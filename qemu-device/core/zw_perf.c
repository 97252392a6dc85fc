/* SPDX-License-Identifier: MIT */
/* Records of packets and jobs, from what was settled to the ring of the host. */
#include <stdlib.h>
#include <string.h>
#include "zw_inject.h"
#include "zw_perf.h"
#include "zw_state.h"

_Static_assert(ZW_PERF_PORTS == (int)ZW_PORTS && ZW_PERF_WAITS == (int)ZW_WAITS,
	       "records have the core's ports and waits");

/* The firmware is not woken for each packet of a job: its end, or so many, are soon enough. */
#define WAKE_AT 256

bool zw_perf_init(struct zw_perf *p, struct zw_inject_state *inject)
{
	p->inject = inject;
	pthread_mutex_init(&p->lock, NULL);
	/* The host has memory for those only that were ever held. */
	p->held = malloc(ZW_SOC_PERF_HELD_MAX * sizeof(*p->held));
	return p->held;
}

void zw_perf_fini(struct zw_perf *p)
{
	free(p->held);
	pthread_mutex_destroy(&p->lock);
}

void zw_perf_reset(struct zw_perf *p)
{
	p->ring = p->taken_ring = 0;
	p->status = 0;
	p->slots = 0;
	p->written = p->dropped = 0;
	p->first = p->count = 0;
}

static bool good_slots(uint32_t slots)
{
	return slots >= ZW_PERF_MIN_SLOTS && slots <= ZW_PERF_MAX_SLOTS && !(slots & (slots - 1));
}

static bool good_ring(uint64_t ring, uint32_t slots)
{
	return ring && ring % 64 == 0 &&
	       ring <= UINT64_MAX - (uint64_t)slots * sizeof(struct zw_perf_record);
}

bool zw_perf_set(struct zw_perf *p, uint32_t slots)
{
	if (slots && (!good_slots(slots) || !good_ring(p->ring, slots)))
		return false;
	pthread_mutex_lock(&p->lock);
	p->slots = slots;
	p->dropped = 0;
	p->first = p->count = 0;
	pthread_mutex_unlock(&p->lock);
	p->taken_ring = p->ring;
	p->written = 0;
	return true;
}

uint32_t zw_perf_slots(struct zw_perf *p)
{
	uint32_t slots;

	pthread_mutex_lock(&p->lock);
	slots = p->slots;
	pthread_mutex_unlock(&p->lock);
	return slots;
}

uint32_t zw_perf_held(struct zw_perf *p)
{
	uint32_t count;

	pthread_mutex_lock(&p->lock);
	count = p->count;
	pthread_mutex_unlock(&p->lock);
	return count;
}

/* Takes the oldest. False: there is none. */
static bool take(struct zw_perf *p, struct zw_perf_record *r)
{
	bool any;

	pthread_mutex_lock(&p->lock);
	any = p->count;
	if (any) {
		*r = p->held[p->first];
		p->first = (p->first + 1) % ZW_SOC_PERF_HELD_MAX;
		p->count--;
	}
	pthread_mutex_unlock(&p->lock);
	return any;
}

void zw_perf_write(struct zw_perf *p, uint32_t n,
		   int (*write)(void *opaque, uint64_t addr, const void *buf, size_t len),
		   void *opaque)
{
	const size_t body = offsetof(struct zw_perf_record, dropped);
	uint32_t slots = zw_perf_slots(p);
	struct zw_perf_record r;

	p->status = 0;
	while (n-- && take(p, &r)) {
		uint64_t at = p->taken_ring + (++p->written & (slots - 1)) * sizeof(r);

		r.seq = p->written;
		if (zw_inject_armed(p->inject, ZW_INJECT_LIE_OWNER))
			r.owner = zw_inject_lie(p->inject, ZW_INJECT_LIE_OWNER, r.owner);
		if (zw_inject_armed(p->inject, ZW_INJECT_LIE_RECORD))
			r.seq += zw_inject_lie(p->inject, ZW_INJECT_LIE_RECORD, 0);
		/* Who sees the number finds the rest. */
		if (write(opaque, at + body, &r.dropped, sizeof(r) - body) ||
		    write(opaque, at, &r.seq, sizeof(r.seq))) {
			p->status = 1;
			return;
		}
	}
}

/* Keeps the record, if anything is recorded and there is room. */
static bool keep(struct zw_perf *p, struct zw_perf_record *r, bool wake)
{
	uint32_t room = ZW_SOC_PERF_HELD_MAX;
	bool tell = false;

	/* With the last one of a queue comes what was dropped. */
	if (r->kind != ZW_PERF_END)
		room -= ZW_SOC_PERF_HELD_ENDS;
	pthread_mutex_lock(&p->lock);
	if (p->slots) {
		r->dropped = p->dropped;
		if (p->count < room)
			p->held[(p->first + p->count++) % ZW_SOC_PERF_HELD_MAX] = *r;
		else
			p->dropped++;
		tell = wake || p->count >= WAKE_AT;
	}
	pthread_mutex_unlock(&p->lock);
	return tell;
}

bool zw_perf_packet(struct zw_perf *p, const struct zw_settled_packet *packet)
{
	struct zw_perf_record r = {
		.kind = ZW_PERF_PACKET,
		.owner = packet->owner,
		.queue = packet->queue,
		.engine = packet->engine,
		.job = packet->seqno,
		.index = packet->index,
		.opcode = packet->opcode,
		.tag = packet->tag,
		.rows = packet->rows,
		.start_ps = packet->start_ps,
		.end_ps = packet->end_ps,
		.u.packet =
			{
				.fixed_ps = packet->fixed_ps,
				.compute_ps = packet->compute_ps,
				.energy_pj = packet->energy_pj,
				.ops = packet->ops,
				.hbm_bytes = packet->hbm_bytes,
				.sys_bytes = packet->sys_bytes,
				.wait = packet->wait,
				.signal = packet->signal,
				.ordered = packet->ordered,
			},
	};

	if (packet->opcode == ZW_SETTLED_BEGIN) {
		r.kind = ZW_PERF_BEGIN;
		r.opcode = 0;
	}
	for (unsigned int i = 0; i < ZW_PORTS; i++) {
		r.u.packet.port[i].request_ps = packet->port[i].request_ps;
		r.u.packet.port[i].start_ps = packet->port[i].start_ps;
		r.u.packet.port[i].end_ps = packet->port[i].end_ps;
	}
	for (unsigned int i = 0; i < ZW_WAITS; i++)
		r.u.packet.wait_ps[i] = packet->wait_ps[i];
	return keep(p, &r, false);
}

bool zw_perf_job(struct zw_perf *p, const struct zw_settled_job *job)
{
	const struct zw_settled_sums *s = job->sums;
	struct zw_perf_record r = {
		.kind = ZW_PERF_JOB,
		.owner = job->owner,
		.queue = job->queue,
		.job = job->seqno,
		.start_ps = job->start_ps,
		.end_ps = job->end_ps,
		.u.done =
			{
				.release_ps = job->release_ps,
				.packets = s->packets,
				.energy_pj = s->energy_pj,
				.ops = s->ops,
				.hbm_bytes = s->hbm_bytes,
				.sys_bytes = s->sys_bytes,
			},
	};

	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		r.u.done.busy_ps[i] = s->engine_busy_ps[i];
	for (unsigned int i = 0; i < ZW_PORTS; i++)
		r.u.done.port_busy_ps[i] = s->port_busy_ps[i];
	for (unsigned int i = 0; i < ZW_WAITS; i++)
		r.u.done.wait_ps[i] = s->wait_ps[i];
	return keep(p, &r, true);
}

bool zw_perf_end(struct zw_perf *p, unsigned int queue, uint32_t owner)
{
	struct zw_perf_record r = {.kind = ZW_PERF_END, .owner = owner, .queue = queue};

	return keep(p, &r, true);
}

/* -- saved state -- */

ZW_STATE_SIZE(sizeof(struct zw_perf) - sizeof(pthread_mutex_t), 72);

void zw_perf_state(struct zw_perf *p, struct zw_state *st)
{
	zw_state_u64(st, &p->ring);
	zw_state_u64(st, &p->taken_ring);
	zw_state_u32(st, &p->status);
	zw_state_u32(st, &p->slots);
	zw_state_u64(st, &p->written);
	zw_state_u64(st, &p->dropped);
	zw_state_u32(st, &p->count);
	if (!zw_state_check(
		    st, !p->slots || (good_slots(p->slots) && good_ring(p->taken_ring, p->slots)),
		    "the ring of records is impossible") ||
	    !zw_state_check(st, p->count <= (p->slots ? ZW_SOC_PERF_HELD_MAX : 0u),
			    "there are more records than are held"))
		return;
	/* Nothing of a record means anything to the device. */
	for (uint32_t i = 0; i < p->count && !st->err; i++)
		zw_state_bytes(st, &p->held[(p->first + i) % ZW_SOC_PERF_HELD_MAX],
			       sizeof(*p->held));
}
