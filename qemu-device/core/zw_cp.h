/* SPDX-License-Identifier: MIT */
/*
 * Command processor: runs one job's command buffer. Called by the device's command-processor
 * thread.
 */
#ifndef ZW_CP_H
#define ZW_CP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "zhenwu/zw_queue.h"
#include "zhenwu/zw_soc.h"
#include "zw_core.h"
#include "zw_mem.h"

struct zw_profile;
struct zw_pool; /* engine worker threads, engine/zw_pool.h */
struct zw_cp;
struct zw_inject_state;

/* Counters the device shows in its PMU registers; the CP adds to them with relaxed atomics. */
struct zw_pmu {
	_Atomic uint64_t busy_ps[ZW_ENGINE_COUNT];
	_Atomic uint64_t hbm_read, hbm_written, sys_read, sys_written;
	_Atomic uint64_t sram_read, sram_written, link_read, link_written;
	_Atomic uint64_t energy_pj, ecc_corrected;
	_Atomic uint64_t packets, jobs, faults;
	_Atomic uint64_t tlb_hits, tlb_misses;
	/* in the time of the whole device: of what is settled */
	_Atomic uint64_t settled_ps; /* nothing that begins before this is still to come */
	_Atomic uint64_t settled_busy_ps[ZW_ENGINE_COUNT];
	_Atomic uint64_t port_busy_ps[ZW_PORTS];
	_Atomic uint64_t wait_ps[ZW_WAITS];
	_Atomic uint64_t settled_packets, settled_jobs;
	_Atomic uint64_t settled_energy_uj, settled_capped_ps;
	_Atomic int32_t temperature_mc; /* no sum: zw_cp_reset() sets it */
	_Atomic uint32_t progress; /* ZW_SOC_CP_PROGRESS: tiles done, moves inside long packets */
};

/* Initialiser of an array of pointers: every counter of 64 bits but busy_ps and settled_busy_ps. */
#define ZW_PMU_COUNTERS(pmu)                                                                       \
	{                                                                                          \
		&(pmu)->hbm_read, &(pmu)->hbm_written, &(pmu)->sys_read, &(pmu)->sys_written,      \
			&(pmu)->sram_read, &(pmu)->sram_written, &(pmu)->link_read,                \
			&(pmu)->link_written, &(pmu)->energy_pj, &(pmu)->ecc_corrected,            \
			&(pmu)->packets, &(pmu)->jobs, &(pmu)->faults, &(pmu)->tlb_hits,           \
			&(pmu)->tlb_misses, &(pmu)->settled_ps, &(pmu)->settled_packets,           \
			&(pmu)->settled_jobs, &(pmu)->port_busy_ps[0], &(pmu)->port_busy_ps[1],    \
			&(pmu)->port_busy_ps[2], &(pmu)->wait_ps[0], &(pmu)->wait_ps[1],           \
			&(pmu)->wait_ps[2], &(pmu)->wait_ps[3], &(pmu)->wait_ps[4],                \
			&(pmu)->settled_energy_uj, &(pmu)->settled_capped_ps                       \
	}

struct zw_cp_config {
	const struct zw_profile *profile; /* outlives the CP */
	unsigned int num_queues;          /* 0: as many as the ABI has room for */
	struct zw_mmu *mmu;
	struct zw_pool *pool;
	struct zw_pmu *pmu;
	struct zw_inject_state *inject; /* packets that are to hang; may be NULL */
	/* one line for the device log about a failed packet; may be NULL */
	void (*log)(void *opaque, const char *msg);
	void *log_opaque;
	/*
	 * called with no view mapped, between packets: invalidations that wait for a packet
	 * boundary are acknowledged here
	 */
	void (*boundary)(void *opaque);
	void *boundary_opaque;
	/* a job was settled; with a lock held: it must not call the CP. May be NULL */
	void (*settled)(void *opaque, const struct zw_settled_job *job);
	/* the same for a packet */
	void (*packet_settled)(void *opaque, const struct zw_settled_packet *packet);
	/* the same: a queue with an owner is gone, and everything of it was told */
	void (*queue_settled)(void *opaque, unsigned int queue, uint32_t owner);
	void *settled_opaque; /* of the three */
	bool settled_owned;   /* they are told of queues with an owner only */
	/*
	 * Packets are prepared and take their simulated time, but compute nothing: what the engines
	 * would write keeps its contents. Index data and row counts still come from memory.
	 */
	bool timing_only;
	/* With timing_only writes the ids that a ROUTE would; else is told them; see zw_device_config. May be NULL. */
	void (*route)(void *opaque, uint32_t rows, uint32_t experts, uint32_t k, int32_t *ids);
	void (*routed)(void *opaque, uint32_t rows, uint32_t k, const int32_t *ids, uint64_t ld);
	void *route_opaque;
};

struct zw_cp *zw_cp_new(const struct zw_cp_config *cfg);
void zw_cp_free(struct zw_cp *cp);

/*
 * Runs a job from job->resume_offset until it completes, fails, blocks or is told to stop, and
 * fills the device half of *job. Synchronous; one caller at a time. Also writes struct
 * zw_job_result when the job completes or fails.
 *
 * The command buffer is copied and checked when a job starts; the copy serves until the job is over
 * (or its queue is reset, or another job starts on it). A resume has to be of the job that was
 * interrupted, with the next_offset that the run before it gave, else the status is INTERNAL; with ZW_SOC_JOB_CONTINUE one
 * that is not known is begun behind the packets in front of there.
 */
void zw_cp_run(struct zw_cp *cp, struct zw_soc_job *job);
/*
 * From any thread: ask the running zw_cp_run to stop (next packet boundary / as soon as possible).
 * Sticky until the run ends. Asked for while nothing runs it meets the next run, unless zw_cp_arm()
 * drops it: a device arms when it accepts a start, so that neither a request between the start and
 * its thread is lost nor one that came too late hits the next job.
 */
void zw_cp_preempt(struct zw_cp *cp);
void zw_cp_cancel(struct zw_cp *cp);
/* Any thread: the running job was told to stop as soon as possible. */
bool zw_cp_cancelled(const struct zw_cp *cp);
/*
 * Any thread, for the device to be stopped as a whole: while set, zw_cp_run() returns at the next
 * packet boundary with the job neither over nor preempted, and held is true. The next run goes on
 * with it, given the record as it was, and with the requests that were made. Not for jobs that end
 * before a boundary.
 */
void zw_cp_hold(struct zw_cp *cp, bool hold);
bool zw_cp_held(const struct zw_cp *cp);
/* The held job will not go on. Not while zw_cp_run() runs. */
void zw_cp_forget_held(struct zw_cp *cp);
struct zw_state;
/*
 * Saves or loads everything but what the configuration gives (zw_state.h). Not while zw_cp_run()
 * runs; loading: after a reset. job: the record of a held job.
 */
void zw_cp_state(struct zw_cp *cp, struct zw_state *st, const struct zw_soc_job *job);
/* Drops requests made so far. Not while zw_cp_run() runs. */
void zw_cp_arm(struct zw_cp *cp);
/*
 * Writes the job result of a job that ends without running (any further): queue, vm, seqno, status,
 * reason and result_va of *job count; fills start_ps and end_ps. Any one thread, also while another
 * runs a job of another queue.
 */
void zw_cp_report(struct zw_cp *cp, struct zw_soc_job *job);
/*
 * A new queue: forget saved accounting and command buffer, and start its simulated clock at the
 * latest end of any job so far. Not while it runs.
 */
void zw_cp_queue_reset(struct zw_cp *cp, unsigned int queue);
/*
 * After the reset of a queue that was made: it may run jobs, with this priority, until its next reset. The settled time of
 * others waits for what it may still run. A queue that runs a job without it opens by itself, as a queue of normal
 * priority. owner: zw_queue_desc.owner; 0: none.
 */
void zw_cp_queue_open(struct zw_cp *cp, unsigned int queue, unsigned int priority, uint32_t owner);
/*
 * Queues that have no job begun are not waited for: what the others have done is settled, and what such a queue adds later
 * begins no earlier. Any thread.
 */
void zw_cp_settle(struct zw_cp *cp);
/*
 * While held, nothing is settled: the counters of the settled time belong together. For a few instructions; any thread.
 */
void zw_cp_settled_lock(struct zw_cp *cp);
void zw_cp_settled_unlock(struct zw_cp *cp);
/* Forget all queues and semaphores, and begin simulated time anew (device reset). */
void zw_cp_reset(struct zw_cp *cp);

#endif /* ZW_CP_H */
