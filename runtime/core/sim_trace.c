// SPDX-License-Identifier: MIT
/*
 * What the device and its queues did, kept until the program takes it: a list of chunks. Records come from the device's
 * threads and, of submissions, from whoever submits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"
#include "zw_core.h"

#define CHUNK_RECORDS 512u
#define MAX_RECORDS   (1u << 20)

_Static_assert((int)ZW_TRACE_PORTS == (int)ZW_PORTS && (int)ZW_TRACE_WAITS == (int)ZW_WAITS,
	       "records have the core's ports and waits");

struct sim_trace_chunk {
	struct sim_trace_chunk *next;
	uint32_t first, count; /* records[first .. count) were not taken */
	struct zw_trace_record records[CHUNK_RECORDS];
};

static void add(struct sim *sim, const struct zw_trace_record *record)
{
	struct sim_trace *t = &sim->trace;
	struct sim_trace_chunk *c;

	pthread_mutex_lock(&t->lock);
	c = t->tail;
	if (!c || c->count == CHUNK_RECORDS) {
		c = t->held < MAX_RECORDS ? malloc(sizeof(*c)) : NULL;
		if (c) {
			c->next = NULL;
			c->first = c->count = 0;
			if (t->tail)
				t->tail->next = c;
			else
				t->head = c;
			t->tail = c;
		}
	}
	if (c) {
		c->records[c->count++] = *record;
		t->held++;
	} else {
		t->lost++;
	}
	pthread_mutex_unlock(&t->lock);
}

void zw_sim_trace_packet(void *opaque, const struct zw_settled_packet *p)
{
	struct zw_trace_record r = {
		.kind = ZW_TRACE_PACKET,
		.queue = p->queue,
		.job = p->seqno,
		.index = p->index,
		.opcode = p->opcode,
		.tag = p->tag,
		.rows = p->rows,
		.engine = p->engine,
		.start_ps = p->start_ps,
		.end_ps = p->end_ps,
		.fixed_ps = p->fixed_ps,
		.compute_ps = p->compute_ps,
		.energy_pj = p->energy_pj,
		.ops = p->ops,
		.hbm_bytes = p->hbm_bytes,
		.sys_bytes = p->sys_bytes,
		.wait = p->wait,
		.signal = p->signal,
		.ordered = p->ordered,
	};

	if (p->opcode == ZW_SETTLED_BEGIN) {
		r.kind = ZW_TRACE_BEGIN;
		r.opcode = 0;
	}
	for (unsigned int i = 0; i < ZW_PORTS; i++) {
		r.port[i].request_ps = p->port[i].request_ps;
		r.port[i].start_ps = p->port[i].start_ps;
		r.port[i].end_ps = p->port[i].end_ps;
	}
	for (unsigned int i = 0; i < ZW_WAITS; i++)
		r.wait_ps[i] = p->wait_ps[i];
	add(opaque, &r);
}

void zw_sim_trace_job(void *opaque, const struct zw_settled_job *job)
{
	add(opaque, &(struct zw_trace_record){.kind = ZW_TRACE_JOB,
					      .queue = job->queue,
					      .job = job->seqno,
					      .release_ps = job->release_ps,
					      .start_ps = job->start_ps,
					      .end_ps = job->end_ps});
}

void zw_sim_trace_host(struct sim *sim, enum zw_trace_kind kind, unsigned int queue, uint64_t job)
{
	struct timespec now;

	if (!sim->trace.on)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	add(sim, &(struct zw_trace_record){.kind = kind,
					   .queue = queue,
					   .job = job,
					   .host_ns = (uint64_t)now.tv_sec * 1000000000u +
						      (uint64_t)now.tv_nsec});
}

/* The first chunk, when nothing of it is left. */
static void drop_empty(struct sim_trace *t)
{
	struct sim_trace_chunk *c = t->head;

	if (!c || c->first < c->count)
		return;
	t->head = c->next;
	if (!t->head)
		t->tail = NULL;
	free(c);
}

int zw_sim_read_trace(struct zw_dev *dev, void *records, size_t max, size_t size, uint64_t *lost)
{
	struct sim_trace *t = &sim_of(dev)->trace;
	size_t n = 0;

	if (!t->on)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&t->lock);
	for (; n < max && t->head; n++) {
		const struct zw_trace_record *r = &t->head->records[t->head->first++];
		char *to = (char *)records + n * size;

		memset(to, 0, size);
		memcpy(to, r, size < sizeof(*r) ? size : sizeof(*r));
		t->held--;
		drop_empty(t);
	}
	if (lost)
		*lost = t->lost;
	pthread_mutex_unlock(&t->lock);
	return (int)n;
}

void zw_sim_trace_init(struct sim *sim, bool on)
{
	sim->trace.on = on;
	pthread_mutex_init(&sim->trace.lock, NULL);
}

void zw_sim_trace_fini(struct sim *sim)
{
	for (struct sim_trace_chunk *c = sim->trace.head, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	pthread_mutex_destroy(&sim->trace.lock);
}
