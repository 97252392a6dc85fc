// SPDX-License-Identifier: MIT
/* Command processor: the life of a job. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zw_cp_int.h"

/* What a queue keeps between runs. */
struct zw_cp_queue {
	struct zw_cp_clock clk;
	/* the job under way, when it was preempted or blocked */
	bool active;
	uint64_t seqno;
	uint64_t start_ps;
	uint64_t busy_ps[ZW_ENGINE_COUNT];
	struct zw_cp_cost bytes; /* compute_ps unused */
	uint64_t packets;
};

struct zw_cp {
	struct zw_cp_config cfg;
	pthread_mutex_t lock; /* cancel and the pool's flag change together */
	atomic_bool preempt;
	atomic_bool cancel;
	struct zw_cp_exec x; /* kept for its arrays */
	struct zw_cp_queue queue[ZW_MAX_QUEUES];
};

struct zw_cp *zw_cp_new(const struct zw_cp_config *cfg)
{
	struct zw_cp *cp = calloc(1, sizeof(*cp));

	if (!cp)
		return NULL;
	cp->cfg = *cfg;
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
	free(cp->x.late);
	free(cp->x.mem);
	pthread_mutex_destroy(&cp->lock);
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

void zw_cp_arm(struct zw_cp *cp)
{
	pthread_mutex_lock(&cp->lock);
	atomic_store(&cp->preempt, false);
	atomic_store(&cp->cancel, false);
	zw_pool_resume(cp->cfg.pool);
	pthread_mutex_unlock(&cp->lock);
}

void zw_cp_queue_reset(struct zw_cp *cp, unsigned int queue)
{
	if (queue < ZW_MAX_QUEUES)
		memset(&cp->queue[queue], 0, sizeof(cp->queue[queue]));
}

void zw_cp_reset(struct zw_cp *cp)
{
	for (unsigned int i = 0; i < ZW_MAX_QUEUES; i++)
		zw_cp_queue_reset(cp, i);
	zw_cp_arm(cp);
}

/* -- log ------------------------------------------------------------------------------------------------ */

static const char *status_name(uint32_t status)
{
	static const char *const names[] = {
		[ZW_JOB_OK] = "ok",
		[ZW_JOB_INVALID] = "invalid packet",
		[ZW_JOB_FAULT] = "MMU fault",
		[ZW_JOB_CANCELED] = "canceled",
		[ZW_JOB_DATA] = "bad data",
		[ZW_JOB_NO_MEMORY] = "host out of memory",
		[ZW_JOB_INTERNAL] = "internal error",
	};

	return status < sizeof(names) / sizeof(names[0]) ? names[status] : "?";
}

static const char *reason_name(uint32_t reason)
{
	static const char *const names[] = {
		"",           "command size", "packet size",
		"opcode",     "flags",        "reserved field not zero",
		"dtype",      "unsupported",  "ndim",
		"shape",      "limit",        "stride",
		"align",      "overlap",      "value",
		"row count",  "operand",      "index",
		"ring entry",
	};

	return reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "?";
}

static void log_failure(struct zw_cp *cp, const struct zw_soc_job *job, const char *op)
{
	char msg[256], where[80] = "";

	if (!cp->cfg.log)
		return;
	if (job->status == ZW_JOB_FAULT)
		snprintf(where, sizeof(where), ", fault %u at 0x%" PRIx64 " (%s), vm %u",
			 job->reason, job->fault_va,
			 job->fault_access == ZW_ACCESS_WRITE ? "write" : "read", job->vm);
	else if (job->reason)
		snprintf(where, sizeof(where), ": %s", reason_name(job->reason));
	snprintf(msg, sizeof(msg), "queue %u job %" PRIu64 " packet %u %s: %s%s", job->queue,
		 job->seqno, job->packet_index, op, status_name(job->status), where);
	cp->cfg.log(cp->cfg.log_opaque, msg);
}

/* -- accounting ------------------------------------------------------------------------------------------- */

static void pmu_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
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
	const struct zw_pkt *hdr = x->pkt;
	struct zw_cp_cost cost = {0};
	uint64_t busy;

	if (x->rows && x->op->compute)
		cost.compute_ps = x->op->compute(x);
	zw_cp_traffic_sum(x, &cost);
	zw_cp_clock_retire(&q->clk, x->profile, x->op->engine, hdr->flags & ZW_PKT_F_ASYNC, &cost,
			   &busy);
	account_busy(cp, q, x->op->engine, busy);
	q->bytes.hbm_read = zw_cp_add_sat(q->bytes.hbm_read, cost.hbm_read);
	q->bytes.hbm_written = zw_cp_add_sat(q->bytes.hbm_written, cost.hbm_written);
	q->bytes.sys_read = zw_cp_add_sat(q->bytes.sys_read, cost.sys_read);
	q->bytes.sys_written = zw_cp_add_sat(q->bytes.sys_written, cost.sys_written);
	q->packets++;
	if (cp->cfg.pmu) {
		struct zw_pmu *pmu = cp->cfg.pmu;

		pmu_add(&pmu->hbm_read, cost.hbm_read);
		pmu_add(&pmu->hbm_written, cost.hbm_written);
		pmu_add(&pmu->sys_read, cost.sys_read);
		pmu_add(&pmu->sys_written, cost.sys_written);
		pmu_add(&pmu->packets, 1);
		atomic_fetch_add_explicit(&pmu->progress, 1, memory_order_relaxed);
	}
}

/* -- running -------------------------------------------------------------------------------------------- */

static void set_failed(struct zw_soc_job *job, uint32_t status, uint32_t reason, uint32_t packet)
{
	job->end = ZW_SOC_END_COMPLETE;
	job->status = status;
	job->reason = reason;
	job->packet_index = packet;
}

static void set_fault(struct zw_soc_job *job, const struct zw_mem_fault *fault, uint32_t packet)
{
	set_failed(job, ZW_JOB_FAULT, fault->fault, packet);
	job->fault_va = fault->va;
	job->fault_access = fault->access;
}

static void set_mem_error(struct zw_soc_job *job, int err, const struct zw_mem_fault *fault,
			  uint32_t packet)
{
	if (err == -EFAULT)
		set_fault(job, fault, packet);
	else if (err == -ECANCELED)
		set_failed(job, ZW_JOB_CANCELED, ZW_REASON_NONE, packet);
	else
		set_failed(job, err == -ENOMEM ? ZW_JOB_NO_MEMORY : ZW_JOB_INTERNAL, ZW_REASON_NONE,
			   packet);
}

/* 0, ZW_CP_BLOCKED, or an error that is in x. */
static int run_packet(struct zw_cp *cp, struct zw_cp_queue *q, struct zw_cp_exec *x)
{
	int err, end;

	err = zw_cp_operands_begin(x);
	if (!err && x->rows)
		err = x->op->exec(x);
	end = zw_cp_operands_end(x, err == 0);
	if (!err)
		err = end;
	if (!err)
		retire(cp, q, x);
	return err;
}

static void boundary(struct zw_cp *cp)
{
	if (cp->cfg.boundary)
		cp->cfg.boundary(cp->cfg.boundary_opaque);
}

/* Runs packets of the checked copy from offset on; fills how the run ended. */
static void run_packets(struct zw_cp *cp, struct zw_soc_job *job, const char *buf, uint32_t off,
			uint32_t index)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];
	struct zw_cp_exec *x = &cp->x;
	bool progress = false;

	for (; off < job->cmd_bytes; index++) {
		const struct zw_pkt *hdr = (const struct zw_pkt *)(buf + off);
		struct zw_view *late = x->late;
		void **mem = x->mem;
		size_t cap_late = x->cap_late, cap_mem = x->cap_mem;
		int err;

		boundary(cp);
		if (atomic_load(&cp->cancel)) {
			set_failed(job, ZW_JOB_CANCELED, ZW_REASON_NONE, index);
			return;
		}
		/* At least one packet a run, or a short time slice could starve a long buffer. */
		if (progress && atomic_load(&cp->preempt)) {
			job->end = ZW_SOC_END_PREEMPTED;
			job->next_offset = off;
			return;
		}
		*x = (struct zw_cp_exec){
			.cfg = &cp->cfg,
			.profile = cp->cfg.profile,
			.clk = &q->clk,
			.vm = job->vm,
			.op = zw_cp_op_find(hdr->opcode),
			.pkt = hdr,
			.late = late,
			.cap_late = cap_late,
			.mem = mem,
			.cap_mem = cap_mem,
		};
		err = run_packet(cp, q, x);
		if (err == ZW_CP_BLOCKED) {
			job->end = ZW_SOC_END_BLOCKED;
			job->next_offset = off;
			return;
		}
		if (err) {
			if (x->status == ZW_JOB_FAULT)
				set_fault(job, &x->fault, index);
			else
				set_failed(job, x->status, x->reason, index);
			if (x->status != ZW_JOB_CANCELED)
				log_failure(cp, job, x->op->name);
			return;
		}
		progress = true;
		off += hdr->size;
	}
}

static void run_buffer(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_mem_fault fault = {0};
	struct zw_cp_form form;
	char *buf;
	int err;

	if (job->cmd_bytes % 16 || job->cmd_bytes > ZW_CMD_MAX_BYTES || job->cmd_va % 16) {
		set_failed(job, ZW_JOB_INVALID, ZW_REASON_CMD_SIZE, 0);
		log_failure(cp, job, "(buffer)");
		return;
	}
	if (!job->cmd_bytes)
		return;
	/* Once, before anything is looked at: the guest may rewrite its buffer at any moment. */
	buf = aligned_alloc(16, job->cmd_bytes);
	if (!buf) {
		set_failed(job, ZW_JOB_NO_MEMORY, ZW_REASON_NONE, 0);
		return;
	}
	boundary(cp);
	err = zw_mem_read(cp->cfg.mmu, job->vm, job->cmd_va, buf, job->cmd_bytes, &fault);
	if (err) {
		set_mem_error(job, err, &fault, 0);
		log_failure(cp, job, "(buffer)");
		goto out;
	}
	zw_cp_validate(buf, job->cmd_bytes, job->resume_offset, cp->cfg.profile, &form);
	if (!form.reason && !form.resume_found) {
		/* Not the buffer that was preempted. */
		form.reason = ZW_REASON_PACKET_SIZE;
		form.packet = 0;
	}
	if (form.reason) {
		const struct zw_cp_op *op = NULL;

		set_failed(job, ZW_JOB_INVALID, form.reason, form.packet);
		if (form.bad_offset < job->cmd_bytes)
			op = zw_cp_op_find(
				((const struct zw_pkt *)(buf + form.bad_offset))->opcode);
		log_failure(cp, job, op ? op->name : "(unknown)");
		goto out;
	}
	run_packets(cp, job, buf, job->resume_offset, form.resume_packet);
out:
	free(buf);
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
	};

	memcpy(res.busy_ps, q->busy_ps, sizeof(res.busy_ps));
	return res;
}

static void write_result(struct zw_cp *cp, struct zw_soc_job *job, const struct zw_cp_queue *q)
{
	struct zw_job_result res = make_result(job, q);
	struct zw_mem_fault fault = {0};
	int err;

	if (job->result_va % 64) {
		if (job->status == ZW_JOB_OK) {
			set_failed(job, ZW_JOB_INVALID, ZW_REASON_RING, (uint32_t)q->packets);
			log_failure(cp, job, "(result)");
		}
		return;
	}
	err = zw_mem_write(cp->cfg.mmu, job->vm, job->result_va, &res, sizeof(res), &fault);
	/* A job that failed before keeps its own reason. */
	if (err && job->status == ZW_JOB_OK) {
		set_mem_error(job, err, &fault, (uint32_t)q->packets);
		log_failure(cp, job, "(result)");
	}
}

/* Accounting of a job starts. */
static void open_job(struct zw_cp_queue *q, uint64_t seqno)
{
	q->active = true;
	q->seqno = seqno;
	q->packets = 0;
	memset(q->busy_ps, 0, sizeof(q->busy_ps));
	memset(&q->bytes, 0, sizeof(q->bytes));
	q->start_ps = q->clk.now;
}

/* Returns false when there is nothing to run. */
static bool begin_job(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];

	if (q->active && q->seqno == job->seqno)
		return true;
	if (job->resume_offset) {
		/* Nothing was interrupted here: firmware and command processor disagree. */
		set_failed(job, ZW_JOB_INTERNAL, ZW_REASON_NONE, 0);
		log_failure(cp, job, "(resume of an unknown job)");
		return false;
	}
	open_job(q, job->seqno);
	zw_cp_clock_wait(&q->clk, zw_cp_add_sat(q->clk.now, cp->cfg.profile->job_ps));
	account_busy(cp, q, ZW_ENGINE_CP, q->clk.now - q->start_ps);
	return true;
}

void zw_cp_run(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q;

	job->end = ZW_SOC_END_COMPLETE;
	job->status = ZW_JOB_OK;
	job->reason = ZW_REASON_NONE;
	job->packet_index = 0;
	job->fault_va = 0;
	job->fault_access = 0;
	job->next_offset = 0;
	job->start_ps = 0;
	job->end_ps = 0;
	memset(job->reserved2, 0, sizeof(job->reserved2));
	if (job->queue >= ZW_MAX_QUEUES || job->vm >= ZW_MAX_VMS) {
		set_failed(job, ZW_JOB_INTERNAL, ZW_REASON_NONE, 0);
		goto out;
	}
	q = &cp->queue[job->queue];
	if (!begin_job(cp, job))
		goto out;
	run_buffer(cp, job);
	job->start_ps = q->start_ps;
	job->end_ps = q->clk.now;
	if (job->end == ZW_SOC_END_COMPLETE) {
		if (job->status == ZW_JOB_OK)
			job->packet_index = (uint32_t)q->packets;
		if (job->result_va)
			write_result(cp, job, q);
		q->active = false;
		if (cp->cfg.pmu)
			pmu_add(&cp->cfg.pmu->jobs, 1);
	}
	boundary(cp);
out:
	zw_cp_arm(cp);
}

void zw_cp_report(struct zw_cp *cp, struct zw_soc_job *job)
{
	struct zw_cp_queue *q = &cp->queue[job->queue];
	struct zw_mem_fault fault;
	struct zw_job_result res;

	if (!q->active || q->seqno != job->seqno)
		open_job(q, job->seqno);
	job->start_ps = q->start_ps;
	job->end_ps = q->clk.now;
	res = make_result(job, q);
	/* It failed already: a result that cannot be written changes nothing. */
	if (job->result_va && job->result_va % 64 == 0)
		zw_mem_write_aside(cp->cfg.mmu, job->vm, job->result_va, &res, sizeof(res), &fault);
	q->active = false;
	if (cp->cfg.pmu)
		pmu_add(&cp->cfg.pmu->jobs, 1);
}
