// SPDX-License-Identifier: MIT
/* Command processor: the life of a job. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "zw_cp_int.h"
#include "../zw_inject.h"

struct zw_cp *zw_cp_new(const struct zw_cp_config *cfg)
{
	unsigned int n = cfg->num_queues ? cfg->num_queues : ZW_MAX_QUEUES;
	struct zw_cp *cp = calloc(1, sizeof(*cp) + n * sizeof(cp->queue[0]));

	if (!cp)
		return NULL;
	cp->cfg = *cfg;
	cp->num_queues = n;
	if (zw_cp_replay_init(&cp->replay, cfg, n, &cp->sems)) {
		zw_cp_replay_fini(&cp->replay);
		free(cp);
		return NULL;
	}
	pthread_mutex_init(&cp->lock, NULL);
	if (cfg->pmu)
		zw_pool_set_progress(cfg->pool, &cfg->pmu->progress);
	return cp;
}

void zw_cp_free(struct zw_cp *cp)
{
	if (!cp)
		return;
	zw_pool_set_progress(cp->cfg.pool, NULL);
	for (unsigned int i = 0; i < cp->num_queues; i++)
		zw_cp_buffer_drop(&cp->queue[i].buffer);
	zw_cp_kept_drop(&cp->kept);
	free(cp->x.late);
	free(cp->x.mem);
	free(cp->x.small);
	pthread_mutex_destroy(&cp->lock);
	zw_cp_replay_fini(&cp->replay);
	free(cp);
}

void zw_cp_preempt(struct zw_cp *cp)
{
	atomic_store(&cp->preempt, true);
}

void zw_cp_cancel(struct zw_cp *cp)
{
	pthread_mutex_lock(&cp->lock);
	atomic_store(&cp->cancel, true);
	zw_pool_cancel(cp->cfg.pool);
	pthread_mutex_unlock(&cp->lock);
}

bool zw_cp_cancelled(const struct zw_cp *cp)
{
	return atomic_load_explicit(&cp->cancel, memory_order_relaxed);
}

void zw_cp_hold(struct zw_cp *cp, bool hold)
{
	atomic_store(&cp->hold, hold);
}

bool zw_cp_held(const struct zw_cp *cp)
{
	return cp->held;
}

void zw_cp_forget_held(struct zw_cp *cp)
{
	cp->held = false;
}

void zw_cp_arm(struct zw_cp *cp)
{
	pthread_mutex_lock(&cp->lock);
	atomic_store(&cp->preempt, false);
	atomic_store(&cp->cancel, false);
	zw_pool_resume(cp->cfg.pool);
	pthread_mutex_unlock(&cp->lock);
}

static void forget_queue(struct zw_cp *cp, unsigned int queue)
{
	struct zw_cp_queue *q = &cp->queue[queue];

	zw_cp_buffer_drop(&q->buffer);
	memset(q, 0, sizeof(*q));
	zw_cp_clock_init(&q->clk, cp->latest_end);
}

void zw_cp_queue_reset(struct zw_cp *cp, unsigned int queue)
{
	if (queue >= cp->num_queues)
		return;
	forget_queue(cp, queue);
	zw_cp_replay_close(&cp->replay, queue);
}

void zw_cp_queue_open(struct zw_cp *cp, unsigned int queue, unsigned int priority, uint32_t owner)
{
	if (queue < cp->num_queues)
		zw_cp_replay_open(&cp->replay, queue, priority, owner);
}

void zw_cp_settle(struct zw_cp *cp)
{
	zw_cp_replay_leave_idle(&cp->replay);
}

void zw_cp_reset(struct zw_cp *cp)
{
	cp->latest_end = 0;
	cp->held = false;
	memset(&cp->sems, 0, sizeof(cp->sems));
	for (unsigned int i = 0; i < cp->num_queues; i++)
		forget_queue(cp, i);
	/* What is known of packets does not outlive the translations. */
	zw_cp_kept_drop(&cp->kept);
	zw_cp_replay_reset(&cp->replay);
	zw_cp_arm(cp);
}

void zw_cp_settled_lock(struct zw_cp *cp)
{
	pthread_mutex_lock(&cp->replay.lock);
}

void zw_cp_settled_unlock(struct zw_cp *cp)
{
	pthread_mutex_unlock(&cp->replay.lock);
}

uint64_t zw_cp_buffers_loaded(const struct zw_cp *cp)
{
	return cp->buffers_loaded;
}

/* -- accounting ------------------------------------------------------------------------------------------- */

/* Only this thread writes these counters while it is not at rest; anybody may read them. */
static void pmu_add(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t was = atomic_load_explicit(counter, memory_order_relaxed);

	if (n)
		atomic_store_explicit(counter, was + n, memory_order_relaxed);
}

static void account_busy(struct zw_cp *cp, struct zw_cp_queue *q, unsigned int engine, uint64_t ps)
{
	q->busy_ps[engine] = zw_cp_add_sat(q->busy_ps[engine], ps);
	if (cp->cfg.pmu)
		pmu_add(&cp->cfg.pmu->busy_ps[engine], ps);
}

/* The one place where a packet enters clock, job result and counters. */
static void retire(struct zw_cp *cp, struct zw_cp_queue *q, struct zw_cp_exec *x)
{
	const struct zw_cp_cost *cost = &x->cost;
	const struct zw_cp_work *work = &x->work;
	uint64_t busy, end;
	uint64_t hbm_read = zw_cp_add_sat(cost->hbm_read, cost->hbm_early);

	end = zw_cp_clock_place(&q->clk, x->op->engine, x->pkt, work, cost->not_before, &busy);
	zw_cp_replay_packet(&cp->replay, (unsigned int)(q - cp->queue),
			    &(struct zw_cp_retired){.job = q->seqno,
						    .index = (uint32_t)q->packets,
						    .rows = x->skipped ? 0 : x->rows,
						    .engine = x->op->engine,
						    .hdr = x->pkt,
						    .work = work,
						    .sem = x->sem});
	zw_cp_resident_operands(x);
	if (x->profile->kv_sram_bytes)
		zw_cp_kv_retired(&q->kv, x->kv_read, end > q->clk.hbm_free ? end : q->clk.hbm_free,
				 work->port_ps[ZW_PORT_HBM]);
	account_busy(cp, q, x->op->engine, busy);
	q->bytes.hbm_read = zw_cp_add_sat(q->bytes.hbm_read, hbm_read);
	q->bytes.hbm_written = zw_cp_add_sat(q->bytes.hbm_written, cost->hbm_written);
	q->bytes.sys_read = zw_cp_add_sat(q->bytes.sys_read, cost->sys_read);
	q->bytes.sys_written = zw_cp_add_sat(q->bytes.sys_written, cost->sys_written);
	q->bytes.sram_read = zw_cp_add_sat(q->bytes.sram_read, cost->sram_read);
	q->bytes.sram_written = zw_cp_add_sat(q->bytes.sram_written, cost->sram_written);
	q->energy_pj = zw_cp_add_sat(q->energy_pj, work->energy_pj);
	q->packets++;
	if (cp->cfg.pmu) {
		struct zw_pmu *pmu = cp->cfg.pmu;

		pmu_add(&pmu->hbm_read, hbm_read);
		pmu_add(&pmu->hbm_written, cost->hbm_written);
		pmu_add(&pmu->sys_read, cost->sys_read);
		pmu_add(&pmu->sys_written, cost->sys_written);
		pmu_add(&pmu->sram_read, cost->sram_read);
		pmu_add(&pmu->sram_written, cost->sram_written);
		pmu_add(&pmu->energy_pj, work->energy_pj);
		pmu_add(&pmu->packets, 1);
		atomic_fetch_add_explicit(&pmu->progress, 1, memory_order_relaxed);
	}
}

/* -- running -------------------------------------------------------------------------------------------- */

void zw_cp_set_failed(struct zw_soc_job *job, uint32_t status, uint32_t reason, uint32_t packet,
		      uint32_t tag)
{
	job->end = ZW_SOC_END_COMPLETE;
	job->status = status;
	job->reason = reason;
	job->packet_index = packet;
	job->tag = tag;
}

void zw_cp_set_fault(struct zw_soc_job *job, const struct zw_mem_fault *fault, uint32_t packet,
		     uint32_t tag)
{
	zw_cp_set_failed(job, fault->fault == ZW_FAULT_ECC ? ZW_JOB_ECC : ZW_JOB_FAULT,
			 fault->fault, packet, tag);
	job->fault_va = fault->va;
	job->fault_access = fault->access;
}

void zw_cp_set_mem_error(struct zw_soc_job *job, int err, const struct zw_mem_fault *fault,
			 uint32_t packet)
{
	if (err == -EFAULT)
		zw_cp_set_fault(job, fault, packet, 0);
	else if (err == -ECANCELED)
		zw_cp_set_failed(job, ZW_JOB_CANCELED, ZW_REASON_NONE, packet, 0);
	else
		zw_cp_set_failed(job, err == -ENOMEM ? ZW_JOB_NO_MEMORY : ZW_JOB_INTERNAL,
				 ZW_REASON_NONE, packet, 0);
}

static int look_at_operands(struct zw_cp_exec *x)
{
	int err = zw_cp_operands_map(x);

	if (!err && x->op->impl->prepare)
		err = x->op->impl->prepare(x);
	if (!err)
		err = zw_cp_operands_clash(x);
	if (err)
		return err;
	if (x->op->impl->traffic)
		x->op->impl->traffic(x);
	zw_cp_known_note_operands(x);
	return 0;
}

/*
 * Everything of a packet but its arithmetic. After it x->cost is all that the packet costs, and nothing is written.
 */
static int prepare_packet(struct zw_cp_exec *x)
{
	int err;

	zw_cp_cost_begin(x->profile, x->op->engine, &x->cost);
	err = zw_cp_operands_begin(x);
	if (err || x->skipped || !x->rows) {
		zw_cp_work_of(x->profile, &x->cost, &x->work);
		return err;
	}
	err = zw_cp_known_operands(x) ? 0 : look_at_operands(x);
	if (err)
		return err;
	zw_cp_resident_hits(x);
	if (zw_cp_known_cost(x))
		return 0;
	zw_cp_traffic_sum(x, &x->cost);
	if (x->op->impl->compute)
		x->cost.compute_ps = x->op->impl->compute(x);
	if (!zw_cp_feature(x, ZW_PKT_F_NO_FUSED))
		zw_cp_unfuse(x);
	if (x->cost.lead_ps)
		zw_cp_cost_on_chip(x->profile, &x->cost);
	zw_cp_work_of(x->profile, &x->cost, &x->work);
	zw_cp_known_note_cost(x);
	return 0;
}

/* 0, ZW_CP_BLOCKED, or an error that is in x. */
static int run_packet(struct zw_cp *cp, struct zw_cp_queue *q, struct zw_cp_exec *x)
{
	bool run;
	int err, end;

	err = prepare_packet(x);
	run = !err && !x->skipped && x->rows;
	if (run && zw_cp_timing_only(x)) {
		err = x->op->impl->stand_in ? x->op->impl->stand_in(x) : 0;
		run = false;
	}
	if (run)
		err = x->op->impl->run(x);
	end = zw_cp_operands_end(x, run && !err);
	if (!err)
		err = end;
	if (!err)
		retire(cp, q, x);
	return err;
}

/*
 * An injected hang: the packet is begun and does not end, until it is cancelled or the fault cleared.
 * True: the device is to stand still; the packet hangs again when the job goes on.
 */
static bool hang(struct zw_cp *cp)
{
	const struct timespec nap = {.tv_nsec = 1000000};
	struct zw_inject_state *inj = cp->cfg.inject;
	unsigned int releases;

	if (!zw_inject_armed(inj, ZW_INJECT_HANG))
		return false;
	releases = atomic_load(&inj->releases);
	if (!zw_inject_take(inj, ZW_INJECT_HANG))
		return false;
	while (atomic_load(&inj->releases) == releases && !atomic_load(&cp->cancel)) {
		if (atomic_load(&cp->hold)) {
			zw_inject_return(inj, ZW_INJECT_HANG, releases);
			return true;
		}
		nanosleep(&nap, NULL);
	}
	return false;
}

static void boundary(struct zw_cp *cp)
{
	if (cp->cfg.boundary)
		cp->cfg.boundary(cp->cfg.boundary_opaque);
}

/*
 * What nothing runs of: all that is not set in any case. Of the arrays by operand only those of the packet before have
 * anything in them: what is counted, here; views and indexes are zw_cp_operands_end()'s. Large memsets of a size that
 * compilers know become string instructions, which take longer to start than all of this.
 */
static void clear_exec(struct zw_cp_exec *x)
{
	for (unsigned int i = 0; i < x->n_counted; i++) {
		x->traffic[i] = (struct zw_cp_traffic){0};
		x->extent[i] = (struct zw_cp_extent){0};
	}
	x->n_counted = 0;
	x->kv_read = x->skipped = false;
	x->sem = (struct zw_cp_sem_use){0};
	x->rows = 0;
	x->plan = NULL;
	x->scores = x->elements = 0;
	x->cost = (struct zw_cp_cost){0};
	x->status = x->reason = 0;
	x->fault = (struct zw_mem_fault){0};
}

/* Everything but the arrays that grow is of the packet before. */
static void begin_packet(struct zw_cp *cp, struct zw_cp_queue *q, const struct zw_soc_job *job,
			 const struct zw_pkt *hdr)
{
	const struct zw_cp_op *op = zw_cp_op_find(hdr->opcode);
	bool runs = !cp->cfg.timing_only || op->engine == ZW_ENGINE_CP;
	struct zw_cp_exec *x = &cp->x;
	struct zw_view *late = x->late;
	void **mem = x->mem;
	char *small = x->small;
	size_t cap_late = x->cap_late, cap_mem = x->cap_mem;

	if (runs)
		memset(x, 0, sizeof(*x));
	else
		clear_exec(x);
	x->cfg = &cp->cfg;
	x->profile = cp->cfg.profile;
	x->clk = &q->clk;
	x->resident = &q->resident;
	x->kv = &q->kv;
	x->sems = &cp->sems;
	x->replay = &cp->replay;
	x->products = &cp->products;
	x->vm = job->vm;
	x->known = zw_cp_known_packet(&q->buffer, q->packets, op);
	x->op = op;
	x->late = late;
	x->cap_late = cap_late;
	x->mem = mem;
	x->small = small;
	x->cap_mem = cap_mem;
}

/* Runs packets of the queue's buffer from where it stands on; fills how the run ended. */
static void run_packets(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];
	struct zw_cp_exec *x = &cp->x;

	while (q->next_offset < q->buffer.size) {
		const struct zw_pkt *hdr =
			(const struct zw_pkt *)(q->buffer.bytes + q->next_offset);
		uint32_t index = (uint32_t)q->packets;
		int err;

		if (hang(cp)) {
			cp->held = true;
			return;
		}
		boundary(cp);
		if (atomic_load(&cp->cancel)) {
			zw_cp_set_failed(job, ZW_JOB_CANCELED, ZW_REASON_NONE, index, hdr->tag);
			return;
		}
		if (atomic_load(&cp->hold)) {
			cp->held = true;
			return;
		}
		/* At least one packet a run, or a short time slice could starve a long buffer. */
		if (cp->progress && atomic_load(&cp->preempt)) {
			job->end = ZW_SOC_END_PREEMPTED;
			return;
		}
		begin_packet(cp, q, job, hdr);
		x->pkt = zw_cp_packet_whole(x->op, hdr, &x->copy);
		err = run_packet(cp, q, x);
		if (err == ZW_CP_BLOCKED) {
			job->end = ZW_SOC_END_BLOCKED;
			return;
		}
		if (err) {
			if (x->status == ZW_JOB_FAULT)
				zw_cp_set_fault(job, &x->fault, index, hdr->tag);
			else
				zw_cp_set_failed(job, x->status, x->reason, index, hdr->tag);
			if (x->status != ZW_JOB_CANCELED)
				zw_cp_log_failure(&cp->cfg, job, x->op->name);
			return;
		}
		cp->progress = true;
		q->next_offset += hdr->size;
	}
}

static struct zw_job_result make_result(const struct zw_soc_job *job, const struct zw_cp_queue *q)
{
	struct zw_job_result res = {
		.seqno = job->seqno,
		.status = job->status,
		.reason = job->reason,
		.packet_index = job->packet_index,
		.fault_access = job->fault_access,
		.fault_va = job->fault_va,
		.start_ps = job->start_ps,
		.end_ps = job->end_ps,
		.hbm_read = q->bytes.hbm_read,
		.hbm_written = q->bytes.hbm_written,
		.sys_read = q->bytes.sys_read,
		.sys_written = q->bytes.sys_written,
		.packets = q->packets,
		.energy_pj = q->energy_pj,
		.sram_read = q->bytes.sram_read,
		.sram_written = q->bytes.sram_written,
		.tag = zw_cp_job_tag(job),
	};

	memcpy(res.busy_ps, q->busy_ps, sizeof(res.busy_ps));
	return res;
}

/* The number goes last: who waits for it by reading finds the rest there. */
#define RESULT_REST sizeof(((struct zw_job_result *)NULL)->seqno)

static void write_result(struct zw_cp *cp, struct zw_soc_job *job, const struct zw_cp_queue *q)
{
	struct zw_job_result res = make_result(job, q);
	struct zw_mem_fault fault = {0};
	struct zw_mmu *mmu = cp->cfg.mmu;
	int err;

	if (job->result_va % 64) {
		if (job->status == ZW_JOB_OK) {
			zw_cp_set_failed(job, ZW_JOB_INVALID, ZW_REASON_RING, (uint32_t)q->packets,
					 0);
			zw_cp_log_failure(&cp->cfg, job, "(result)");
		}
		return;
	}
	err = zw_mem_write(mmu, job->vm, job->result_va + RESULT_REST, (char *)&res + RESULT_REST,
			   sizeof(res) - RESULT_REST, &fault);
	if (!err) {
		atomic_thread_fence(memory_order_release);
		err = zw_mem_write(mmu, job->vm, job->result_va, &res, RESULT_REST, &fault);
	}
	/* A job that failed before keeps its own reason. */
	if (err && job->status == ZW_JOB_OK) {
		zw_cp_set_mem_error(job, err, &fault, (uint32_t)q->packets);
		zw_cp_log_failure(&cp->cfg, job, "(result)");
	}
}

/* Accounting of a job starts. */
static void open_job(struct zw_cp_queue *q, uint64_t seqno)
{
	zw_cp_buffer_drop(&q->buffer);
	q->active = true;
	q->seqno = seqno;
	q->packets = 0;
	q->energy_pj = 0;
	q->next_offset = 0;
	zw_cp_resident_clear(&q->resident);
	memset(q->busy_ps, 0, sizeof(q->busy_ps));
	memset(&q->bytes, 0, sizeof(q->bytes));
	q->start_ps = q->clk.now;
}

/* A job begins: its fixed cost, and its buffer. Returns false when it is over already. */
static bool start_job(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];
	const char *where;

	open_job(q, job->seqno);
	zw_cp_clock_begin(&q->clk, cp->cfg.profile->job_ps);
	account_busy(cp, q, ZW_ENGINE_CP, q->clk.now - q->start_ps);
	zw_cp_replay_begin(&cp->replay, job->queue, job->seqno, cp->cfg.profile->job_ps);
	zw_cp_kv_job(&q->kv, q->clk.now);
	boundary(cp);
	if (cp->cfg.timing_only && zw_cp_buffer_again(&cp->cfg, &cp->kept, job, &q->buffer)) {
		zw_cp_known_begin(&q->buffer);
		return true;
	}
	cp->buffers_loaded++;
	if (zw_cp_buffer_load(&cp->cfg, job, &q->buffer, &where)) {
		zw_cp_log_failure(&cp->cfg, job, where);
		return false;
	}
	return true;
}

/* Begins a job that was interrupted before the device was reset, behind what it had done. */
static bool continue_job(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];

	if (!start_job(cp, job))
		return false;
	/* The buffer was checked: packets have sizes that lead to its end. */
	while (q->next_offset < job->resume_offset && q->next_offset < q->buffer.size) {
		q->next_offset += ((const struct zw_pkt *)(q->buffer.bytes + q->next_offset))->size;
		q->packets++;
	}
	if (q->next_offset == job->resume_offset)
		return true;
	zw_cp_set_failed(job, ZW_JOB_INVALID, ZW_REASON_CMD_SIZE, (uint32_t)q->packets, 0);
	zw_cp_log_failure(&cp->cfg, job, "(no packet where it was interrupted)");
	return false;
}

/* The job that this queue was interrupted in, at the place where it was. */
static bool resumes(const struct zw_cp_queue *q, const struct zw_soc_job *job)
{
	return q->active && q->seqno == job->seqno && q->next_offset == job->resume_offset &&
	       zw_cp_buffer_is_of(&q->buffer, job);
}

/* Reports come from the thread of the control core, while another job runs. */
static void note_end(struct zw_cp *cp, uint64_t end)
{
	uint64_t latest = atomic_load(&cp->latest_end);

	while (end > latest && !atomic_compare_exchange_weak(&cp->latest_end, &latest, end))
		;
}

static void job_over(struct zw_cp *cp, const struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];

	q->active = false;
	if (cp->cfg.timing_only && job->status == ZW_JOB_OK && q->buffer.bytes)
		zw_cp_buffer_keep(&cp->kept, &q->buffer);
	zw_cp_buffer_drop(&q->buffer);
	note_end(cp, job->end_ps);
	zw_cp_replay_end(&cp->replay, job->queue, job->seqno);
	if (cp->cfg.pmu)
		atomic_fetch_add_explicit(&cp->cfg.pmu->jobs, 1, memory_order_relaxed);
}

static void end_job(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];

	if (job->status == ZW_JOB_OK)
		job->packet_index = (uint32_t)q->packets;
	if (job->result_va)
		write_result(cp, job, q);
	job_over(cp, job);
}

/* As many jobs can be interrupted as there are queues: they keep what they need, not what makes them faster. */
static void interrupt_job(struct zw_cp_queue *q, struct zw_soc_job *job)
{
	job->next_offset = q->next_offset;
	zw_cp_known_drop(&q->buffer);
}

void zw_cp_run(struct zw_cp *cp, struct zw_soc_job *job)
{
	bool goes_on = cp->held;
	struct zw_cp_queue *q;

	cp->held = false;
	cp->products.run++;
	if (!goes_on)
		cp->progress = false;
	job->end = ZW_SOC_END_COMPLETE;
	job->status = ZW_JOB_OK;
	job->reason = ZW_REASON_NONE;
	job->packet_index = 0;
	job->fault_va = 0;
	job->fault_access = 0;
	job->next_offset = 0;
	job->start_ps = 0;
	job->end_ps = 0;
	job->tag = 0;
	job->reserved2 = 0;
	job->reserved3 = 0;
	if (job->queue >= cp->num_queues || job->vm >= ZW_MAX_VMS) {
		zw_cp_set_failed(job, ZW_JOB_INTERNAL, ZW_REASON_NONE, 0, 0);
		goto out;
	}
	q = &cp->queue[job->queue];
	if (goes_on || resumes(q, job)) {
		run_packets(cp, job);
	} else if (job->flags & ZW_SOC_JOB_CONTINUE) {
		if (continue_job(cp, job))
			run_packets(cp, job);
	} else if (job->resume_offset) {
		/* Nothing was interrupted there: firmware and command processor disagree. */
		zw_cp_set_failed(job, ZW_JOB_INTERNAL, ZW_REASON_NONE, 0, 0);
		zw_cp_log_failure(&cp->cfg, job, "(resume of an unknown job)");
		goto out;
	} else if (start_job(cp, job)) {
		run_packets(cp, job);
	}
	if (cp->held)
		return; /* requests that were made meet the rest of the run */
	job->start_ps = q->start_ps;
	job->end_ps = q->clk.now;
	if (job->end == ZW_SOC_END_COMPLETE)
		end_job(cp, job);
	else
		interrupt_job(q, job);
	if (job->end == ZW_SOC_END_BLOCKED)
		zw_cp_replay_blocked(&cp->replay, job->queue);
	boundary(cp);
out:
	zw_cp_arm(cp);
}

void zw_cp_report(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];
	struct zw_mmu *mmu = cp->cfg.mmu;
	struct zw_mem_fault fault;
	struct zw_job_result res;

	if (!q->active || q->seqno != job->seqno)
		open_job(q, job->seqno);
	job->start_ps = q->start_ps;
	job->end_ps = q->clk.now;
	res = make_result(job, q);
	/* It failed already: a result that cannot be written changes nothing. */
	if (job->result_va && job->result_va % 64 == 0 &&
	    !zw_mem_write_aside(mmu, job->vm, job->function, job->result_va + RESULT_REST,
				(char *)&res + RESULT_REST, sizeof(res) - RESULT_REST, &fault)) {
		atomic_thread_fence(memory_order_release);
		zw_mem_write_aside(mmu, job->vm, job->function, job->result_va, &res, RESULT_REST,
				   &fault);
	}
	job_over(cp, job);
}
