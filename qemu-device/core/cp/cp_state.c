// SPDX-License-Identifier: MIT
/* What the command processor remembers, in and out of a stream. */
#include <stdlib.h>
#include <string.h>

#include "../zw_state.h"
#include "zw_cp_int.h"

ZW_STATE_SIZE(sizeof(struct zw_cp_clock), 232);
ZW_STATE_SIZE(sizeof(struct zw_cp_resident), 528);
ZW_STATE_SIZE(sizeof(struct zw_cp_kv_part), 1104);
ZW_STATE_SIZE(sizeof(struct zw_cp_queue) - 16, 2112); /* what is known of packets: a cache */
ZW_STATE_SIZE(sizeof(struct zw_cp_sem), 256);
/* Not in the stream: `buffers_loaded`, for tests, `kept` and `products`, caches, and `hold`, which is the device's. */
ZW_STATE_SIZE(sizeof(struct zw_cp) - sizeof(struct zw_cp_config) - sizeof(struct zw_cp_exec) -
		      sizeof(struct zw_cp_sems) - sizeof(struct zw_cp_replay) -
		      sizeof(struct zw_cp_kept) - sizeof(struct zw_cp_products) -
		      sizeof(pthread_mutex_t),
	      32);

static void clock_state(struct zw_cp_clock *clk, struct zw_state *st)
{
	zw_state_u64(st, &clk->now);
	zw_state_u64(st, &clk->base);
	for (unsigned int i = 0; i < ZW_PKT_TOKENS; i++)
		zw_state_u64(st, &clk->token[i]);
	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		zw_state_u64(st, &clk->engine_free[i]);
	zw_state_u64(st, &clk->hbm_free);
	zw_state_u64(st, &clk->sys_read_free);
	zw_state_u64(st, &clk->sys_write_free);
}

static void load_buffer(struct zw_cp *cp, struct zw_cp_queue *q, struct zw_state *st)
{
	struct zw_cp_buffer *buf = &q->buffer;
	struct zw_cp_form form;
	uint32_t off = 0;

	if (!zw_state_check(st, buf->size % 16 == 0 && buf->size <= ZW_CMD_MAX_BYTES,
			    "a command buffer has an impossible size") ||
	    !buf->size)
		return;
	buf->bytes = aligned_alloc(16, buf->size);
	if (!zw_state_check(st, buf->bytes != NULL, "no memory for a command buffer"))
		return;
	zw_state_bytes(st, buf->bytes, buf->size);
	if (st->err)
		return;
	/* Packets run without another look at their form. */
	zw_cp_validate(buf->bytes, buf->size, cp->cfg.profile, &form);
	if (!zw_state_check(st, form.reason == ZW_REASON_NONE,
			    "a command buffer is not well-formed"))
		return;
	while (off < q->next_offset && off < buf->size)
		off += ((const struct zw_pkt *)(buf->bytes + off))->size;
	zw_state_check(st, off == q->next_offset, "a job stands in the middle of a packet");
}

static void buffer_state(struct zw_cp *cp, struct zw_cp_queue *q, struct zw_state *st)
{
	uint32_t vm = q->buffer.vm;

	zw_state_u64(st, &q->buffer.va);
	zw_state_u32(st, &q->buffer.size);
	zw_state_u32(st, &vm);
	zw_state_u32(st, &q->next_offset);
	if (st->loading) {
		q->buffer.vm = vm;
		load_buffer(cp, q, st);
		if (st->err)
			zw_cp_buffer_drop(&q->buffer);
	} else if (q->buffer.size) {
		zw_state_bytes(st, q->buffer.bytes, q->buffer.size);
	}
}

static void resident_state(struct zw_cp_resident *r, struct zw_state *st)
{
	uint64_t bytes = 0;

	zw_state_u32(st, &r->n);
	if (!zw_state_check(st, r->n <= ZW_CP_RESIDENT, "too many operands on the chip")) {
		r->n = 0;
		return;
	}
	for (unsigned int i = 0; i < r->n; i++) {
		zw_state_u64(st, &r->range[i].va);
		zw_state_u64(st, &r->range[i].end);
		if (!zw_state_check(st, r->range[i].end > r->range[i].va,
				    "an operand on the chip ends before it begins")) {
			r->n = 0;
			return;
		}
		bytes += r->range[i].end - r->range[i].va;
	}
	r->bytes = bytes;
}

static void kv_state(struct zw_cp_kv_part *kv, struct zw_state *st)
{
	uint64_t bytes = 0;

	zw_state_u64(st, &kv->since_ps);
	zw_state_u64(st, &kv->hbm_ps);
	zw_state_u64(st, &kv->job_ps);
	zw_state_u64(st, &kv->job_hbm_ps);
	zw_state_bool(st, &kv->decoded);
	zw_state_u64(st, &kv->next_va);
	zw_state_u64(st, &kv->next_bytes);
	zw_state_u64(st, &kv->used);
	zw_state_u32(st, &kv->n);
	if (!zw_state_check(st, kv->n <= ZW_CP_KV_PINNED, "too many KV blocks on the chip")) {
		kv->n = 0;
		return;
	}
	for (unsigned int i = 0; i < kv->n; i++) {
		zw_state_u64(st, &kv->pinned[i].va);
		zw_state_u64(st, &kv->pinned[i].bytes);
		bytes = zw_cp_add_sat(bytes, kv->pinned[i].bytes);
	}
	kv->bytes = bytes;
}

static void queue_state(struct zw_cp *cp, struct zw_cp_queue *q, struct zw_state *st)
{
	clock_state(&q->clk, st);
	kv_state(&q->kv, st);
	zw_state_bool(st, &q->active);
	if (!q->active)
		return;
	zw_state_u64(st, &q->seqno);
	zw_state_u64(st, &q->start_ps);
	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		zw_state_u64(st, &q->busy_ps[i]);
	zw_state_u64(st, &q->bytes.hbm_read);
	zw_state_u64(st, &q->bytes.hbm_written);
	zw_state_u64(st, &q->bytes.sys_read);
	zw_state_u64(st, &q->bytes.sys_written);
	zw_state_u64(st, &q->bytes.sram_read);
	zw_state_u64(st, &q->bytes.sram_written);
	zw_state_u64(st, &q->packets);
	zw_state_u64(st, &q->energy_pj);
	resident_state(&q->resident, st);
	buffer_state(cp, q, st);
}

static void sem_state(struct zw_cp_sem *s, struct zw_state *st)
{
	uint32_t target = s->place.target;

	zw_state_u64(st, &s->age);
	if (!s->age)
		return;
	zw_state_u64(st, &s->place.addr);
	zw_state_u32(st, &target);
	zw_state_u32(st, &s->n);
	s->place.target = target;
	if (!zw_state_check(st, s->n >= 1 && s->n <= ZW_CP_SEM_VALUES,
			    "a semaphore has an impossible number of values")) {
		memset(s, 0, sizeof(*s));
		return;
	}
	for (unsigned int i = 0; i < s->n; i++) {
		zw_state_u64(st, &s->value[i]);
		zw_state_u64(st, &s->ps[i]);
		zw_state_u64(st, &s->settled[i]);
		s->entry[i] = st->loading ? ZW_CP_NO_ENTRY : s->entry[i];
	}
}

static bool held_matches(const struct zw_cp *cp, const struct zw_soc_job *job)
{
	const struct zw_cp_queue *q = job->queue < cp->num_queues ? &cp->queue[job->queue] : NULL;

	return q && job->vm < ZW_MAX_VMS && q->active && q->seqno == job->seqno &&
	       zw_cp_buffer_is_of(&q->buffer, job);
}

void zw_cp_state(struct zw_cp *cp, struct zw_state *st, const struct zw_soc_job *job)
{
	bool preempt = atomic_load(&cp->preempt), cancel = atomic_load(&cp->cancel);

	zw_state_atomic64(st, &cp->latest_end);
	for (unsigned int i = 0; i < cp->num_queues && !st->err; i++)
		queue_state(cp, &cp->queue[i], st);
	zw_state_u64(st, &cp->sems.signals);
	for (unsigned int i = 0; i < ZW_CP_SEMS && !st->err; i++)
		sem_state(&cp->sems.sem[i], st);
	if (!st->err)
		zw_cp_replay_state(&cp->replay, st);
	zw_state_bool(st, &cp->held);
	zw_state_bool(st, &cp->progress);
	zw_state_bool(st, &preempt);
	zw_state_bool(st, &cancel);
	if (!st->loading || !zw_state_check(st, !cp->held || held_matches(cp, job),
					    "the job that runs is not the one its queue has"))
		return;
	if (preempt)
		zw_cp_preempt(cp);
	if (cancel)
		zw_cp_cancel(cp);
}
