// SPDX-License-Identifier: MIT
/* One clock for the device: contention, by hand; order of events; what is settled when. Packets are given, not run. */
#include <string.h>

#include "replay_rig.h"

/* Microseconds of a packet on an engine: fixed, compute, ports. */
#define ON(e, f, ...)                                                                              \
	{                                                                                          \
		.engine = ZW_ENGINE_##e, .work = {.fixed_ps = (f)*US, __VA_ARGS__ }                \
	}
#define COMPUTE(n)   .compute_ps = (n)*US
#define LEAD(n)      .lead_ps = (n)*US
#define HBM(n)       .port_ps[ZW_PORT_HBM] = (n)*US
#define SYS_READ(n)  .port_ps[ZW_PORT_SYS_READ] = (n)*US
#define SYS_WRITE(n) .port_ps[ZW_PORT_SYS_WRITE] = (n)*US

static int setup(void **state)
{
	*state = rig_new();
	return 0;
}

static int teardown(void **state)
{
	rig_free(*state);
	return 0;
}

/* -- two queues at one server ------------------------------------------------------------------------------ */

static void engine(void **state)
{
	struct rig *g = *state;

	rig_open(g, 2);
	RIG_JOB(g, 0, ON(TENSOR, 1, COMPUTE(9)), ON(VECTOR, 2));
	RIG_JOB(g, 1, ON(TENSOR, 1, COMPUTE(4)), ON(VECTOR, 1));
	rig_close(g, 2);
	/* tensor 0-10 and 10-15, vector 10-12 and 15-16 */
	assert_int_equal(rig_ended(g, 0, 0), 12 * US);
	assert_int_equal(rig_ended(g, 1, 0), 16 * US);
	assert_int_equal(g->pmu.settled_busy_ps[ZW_ENGINE_TENSOR], 15 * US);
	assert_int_equal(g->pmu.settled_busy_ps[ZW_ENGINE_VECTOR], 3 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_ENGINE], 10 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_HBM] + g->pmu.wait_ps[ZW_WAIT_PCIE] +
				 g->pmu.wait_ps[ZW_WAIT_TOKENS] + g->pmu.wait_ps[ZW_WAIT_SEMAPHORE],
			 0);
	assert_int_equal(g->pmu.settled_packets, 4);
	assert_int_equal(g->pmu.settled_jobs, 2);
}

/* Memory comes to whom asks first, not to the packet that began first. */
static void hbm(void **state)
{
	struct rig *g = *state;

	rig_open(g, 2);
	RIG_JOB(g, 0, ON(TENSOR, 1, HBM(10)), ON(DMA, 1));
	RIG_JOB(g, 1, ON(VECTOR, 2, LEAD(2), HBM(3)), ON(VECTOR, 2, LEAD(2), HBM(3)));
	rig_close(g, 2);
	/* queue 1 at 0-3; queue 0 asks at 1, has it 3-13; queue 1 asks again at 3 (since then), has it 13-16 */
	assert_int_equal(rig_ended(g, 0, 0), 14 * US);
	assert_int_equal(rig_ended(g, 1, 0), 16 * US);
	assert_int_equal(g->pmu.port_busy_ps[ZW_PORT_HBM], 16 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_HBM], 12 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_ENGINE], 0);
	/* who waits for memory keeps its engine */
	assert_int_equal(g->pmu.settled_busy_ps[ZW_ENGINE_TENSOR], 13 * US);
	assert_int_equal(g->pmu.settled_busy_ps[ZW_ENGINE_VECTOR], 16 * US);
}

static void pcie(void **state)
{
	struct rig *g = *state;

	rig_open(g, 2);
	/* the directions are two ports */
	RIG_JOB(g, 0, ON(DMA, 1, SYS_READ(10)), ON(DMA, 1, SYS_READ(10)));
	RIG_JOB(g, 1, ON(VECTOR, 1, SYS_WRITE(10)), ON(VECTOR, 1, SYS_READ(5)));
	rig_close(g, 2);
	/* read: queue 0 1-11; both ask at 12, queue 0 is the lower: 12-22; queue 1 22-27 */
	assert_int_equal(rig_ended(g, 0, 0), 22 * US);
	assert_int_equal(rig_ended(g, 1, 0), 27 * US);
	assert_int_equal(g->pmu.port_busy_ps[ZW_PORT_SYS_READ], 25 * US);
	assert_int_equal(g->pmu.port_busy_ps[ZW_PORT_SYS_WRITE], 10 * US);
	assert_int_equal(g->pmu.port_busy_ps[ZW_PORT_HBM], 0);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_PCIE], 10 * US);
}

/* Jobs begin, and control packets run, one at a time. */
static void command_processor(void **state)
{
	struct rig *g = *state;
	struct step nop = ON(CP, 1);

	rig_open(g, 3);
	for (unsigned int q = 0; q < 3; q++) {
		rig_begin(g, q, 5 * US);
		rig_packet(g, q, &nop);
		rig_end(g, q);
	}
	rig_close(g, 3);
	/* begin: 0-5, 5-10, 10-15: each has waited since 0, the NOP of queue 0 since 5; 15-16, then 16-17, 17-18 */
	assert_int_equal(g->done[1][0].release_ps, 0);
	assert_int_equal(g->done[1][0].start_ps, 5 * US);
	assert_int_equal(g->done[2][0].start_ps, 10 * US);
	assert_int_equal(rig_ended(g, 0, 0), 16 * US);
	assert_int_equal(rig_ended(g, 1, 0), 17 * US);
	assert_int_equal(rig_ended(g, 2, 0), 18 * US);
	assert_int_equal(g->pmu.settled_busy_ps[ZW_ENGINE_CP], 18 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_ENGINE], (5 + 10 + 10 + 6 + 2) * US);
}

/* Of the same priority: who has waited longest. */
static void turns(void **state)
{
	struct rig *g = *state;

	rig_open(g, 2);
	RIG_JOB(g, 0, ON(TENSOR, 10), ON(TENSOR, 10), ON(TENSOR, 10));
	RIG_JOB(g, 1, ON(TENSOR, 10), ON(TENSOR, 10), ON(TENSOR, 10));
	rig_close(g, 2);
	assert_int_equal(rig_ended(g, 0, 0), 50 * US);
	assert_int_equal(rig_ended(g, 1, 0), 60 * US);
}

/* The higher priority goes first; what has begun goes on. */
static void priority(void **state)
{
	struct rig *g = *state;
	struct step p = ON(TENSOR, 10);

	zw_cp_replay_open(&g->r, 0, ZW_PRIO_LOW, 0);
	zw_cp_replay_open(&g->r, 1, ZW_PRIO_HIGH, 0);
	RIG_JOB(g, 0, ON(TENSOR, 10), ON(TENSOR, 10), ON(TENSOR, 10));
	RIG_JOB(g, 1, ON(DMA, 5), ON(TENSOR, 10), ON(TENSOR, 10));
	rig_begin(g, 1, 0);
	rig_packet(g, 1, &p);
	rig_end(g, 1);
	rig_close(g, 2);
	/* low 0-10; high 10-20, 20-30, and its next job at once, 30-40; low 40-50, 50-60 */
	assert_int_equal(rig_ended(g, 1, 0), 30 * US);
	assert_int_equal(rig_ended(g, 1, 1), 40 * US);
	assert_int_equal(rig_ended(g, 0, 0), 60 * US);
	/* memory, too: both ask at 61 */
	zw_cp_replay_open(&g->r, 2, ZW_PRIO_LOW, 0);
	zw_cp_replay_open(&g->r, 3, ZW_PRIO_REALTIME, 0);
	RIG_JOB(g, 2, ON(TENSOR, 1, HBM(10)));
	RIG_JOB(g, 3, ON(VECTOR, 1, HBM(10)));
	rig_close(g, 4);
	assert_int_equal(rig_ended(g, 3, 0), 71 * US);
	assert_int_equal(rig_ended(g, 2, 0), 81 * US);
}

/* A wait ends when its signal does in the time of the device, later than in that of its queue. */
static void semaphore(void **state)
{
	struct rig *g = *state;
	const struct step
		signal = {.engine = ZW_ENGINE_CP, .work.fixed_ps = 1 * US, .sem = 1, .signal = 5},
		wait = {.engine = ZW_ENGINE_CP, .work.fixed_ps = 1 * US, .sem = 1, .wait = 3};

	rig_open(g, 3);
	RIG_JOB(g, 2, ON(TENSOR, 7));
	RIG_JOB(g, 0, ON(DMA, 1), ON(TENSOR, 10), signal);
	RIG_JOB(g, 1, ON(VECTOR, 2), wait, ON(VECTOR, 3));
	/* a wait for what is settled long since */
	RIG_JOB(g, 2, ON(DMA, 30), wait);
	rig_close(g, 3);
	/* tensor 0-7, 7-17; signal 17-18; wait 18-19 */
	assert_int_equal(rig_ended(g, 0, 0), 18 * US);
	assert_int_equal(rig_ended(g, 1, 0), 22 * US);
	assert_int_equal(rig_ended(g, 2, 1), 38 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_SEMAPHORE], 16 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_ENGINE], 6 * US);
}

/* Waits for tokens count as such; what overlaps in a queue overlaps here. */
static void tokens(void **state)
{
	struct rig *g = *state;
	struct step gemm = ON(TENSOR, 1, COMPUTE(79)), add = ON(VECTOR, 1, COMPUTE(48)),
		    fill = ON(DMA, 1);

	gemm.hdr.flags = add.hdr.flags = fill.hdr.flags = ZW_PKT_F_DEPS;
	gemm.hdr.signal = 3;
	fill.hdr.wait = 1 << 2;
	rig_open(g, 1);
	RIG_JOB(g, 0, gemm, add, fill, ON(VECTOR, 1));
	rig_close(g, 1);
	/* fill waits for GEMM, 0-80, and is 80-81; the last for all: 81-82 */
	assert_int_equal(rig_ended(g, 0, 0), 82 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_TOKENS], (80 + 81) * US);
}

/* What begins at a moment may ask for memory at that moment, however it came to begin. */
static void same_time(void **state)
{
	struct rig *g = *state;
	const struct step signal = {.engine = ZW_ENGINE_CP, .sem = 1, .signal = 1},
			  wait = {.engine = ZW_ENGINE_CP, .sem = 1, .wait = 1};

	zw_cp_replay_open(&g->r, 0, ZW_PRIO_NORMAL, 0);
	zw_cp_replay_open(&g->r, 1, ZW_PRIO_LOW, 0);
	zw_cp_replay_open(&g->r, 2, ZW_PRIO_REALTIME, 0);
	RIG_JOB(g, 0, ON(TENSOR, 0, HBM(10)));
	RIG_JOB(g, 1, signal);
	RIG_JOB(g, 2, wait, ON(VECTOR, 0, HBM(10)));
	rig_close(g, 3);
	assert_int_equal(rig_ended(g, 2, 0), 10 * US);
	assert_int_equal(rig_ended(g, 0, 0), 20 * US);
}

/* The packets of a queue are handed out in the order of the buffer, to engines that may have been free before. */
static void in_order(void **state)
{
	struct rig *g = *state;
	struct step p[3] = {ON(ATTN, 10), ON(VECTOR, 1), ON(DMA, 5)};

	p[0].hdr.flags = p[1].hdr.flags = p[2].hdr.flags = ZW_PKT_F_DEPS;
	p[0].hdr.signal = 1;
	p[1].hdr.wait = 1 << 0;
	for (unsigned int contended = 0; contended < 2; contended++) {
		zw_cp_replay_reset(&g->r);
		memset(g->n_done, 0, sizeof(g->n_done));
		memset(g->jobs, 0, sizeof(g->jobs));
		zw_cp_replay_open(&g->r, 0, ZW_PRIO_LOW, 0);
		zw_cp_replay_open(&g->r, 1, ZW_PRIO_HIGH, 0);
		rig_job(g, 0, p, 3);
		if (contended)
			RIG_JOB(g, 1, ON(TENSOR, 10), ON(DMA, 3));
		rig_close(g, 2);
		/* DMA at 0-5; or handed out at 10, after a packet of a higher priority that came then: 13-18 */
		assert_int_equal(rig_ended(g, 0, 0), contended ? 18 * US : 11 * US);
	}
}

/*
 * Adding a job can make another one end sooner, as on a card: here it keeps one that is in the way from being there in
 * time.
 */
static void anomaly(void **state)
{
	struct rig *g = *state;

	for (unsigned int more = 0; more < 2; more++) {
		zw_cp_replay_reset(&g->r);
		memset(g->n_done, 0, sizeof(g->n_done));
		memset(g->jobs, 0, sizeof(g->jobs));
		rig_open(g, 3);
		if (more)
			RIG_JOB(g, 0, ON(DMA, 2));
		RIG_JOB(g, 1, ON(DMA, 1), ON(TENSOR, 10));
		RIG_JOB(g, 2, ON(VECTOR, 2), ON(TENSOR, 2));
		rig_close(g, 3);
		assert_int_equal(rig_ended(g, 2, 0), more ? 4 * US : 13 * US);
		assert_int_equal(rig_ended(g, 1, 0), more ? 14 * US : 11 * US);
	}
}

/* -- what is settled when ---------------------------------------------------------------------------------- */

static void idle_queue(void **state)
{
	struct rig *g = *state;

	rig_open(g, 2);
	RIG_JOB(g, 1, ON(TENSOR, 10), ON(TENSOR, 10));
	/* queue 0 may still begin something at 0, and would come first */
	assert_int_equal(g->pmu.settled_packets, 0);
	assert_int_equal(g->n_done[1], 0);
	RIG_JOB(g, 0, ON(DMA, 15));
	/* at 15 it may begin something again */
	assert_int_equal(g->pmu.settled_ps, 10 * US);
	assert_int_equal(g->n_done[0], 1);
	assert_int_equal(rig_ended(g, 1, 0), 20 * US);
	RIG_JOB(g, 1, ON(TENSOR, 10));
	assert_int_equal(g->n_done[1], 1);
	/* it was there all the time: first, as it has waited since 15 */
	RIG_JOB(g, 0, ON(TENSOR, 1));
	rig_close(g, 2);
	assert_int_equal(rig_ended(g, 0, 1), 21 * US);
	assert_int_equal(rig_ended(g, 1, 1), 31 * US);
}

/* Queues without a job need not be waited for; one that has begun a job is. */
static void left_idle(void **state)
{
	struct rig *g = *state;
	struct step nop = ON(CP, 1);

	rig_open(g, 3);
	/* nobody waits for anybody: nobody is left behind */
	zw_cp_replay_leave_idle(&g->r);
	assert_int_equal(g->r.n_list, 3);
	RIG_JOB(g, 1, nop, nop);
	assert_int_equal(g->pmu.settled_packets, 0);
	zw_cp_replay_leave_idle(&g->r);
	assert_int_equal(g->pmu.settled_jobs, 1);
	assert_int_equal(g->pmu.settled_packets, 2);
	/* what it does later begins no earlier than what was settled, the second packet's begin */
	RIG_JOB(g, 0, nop);
	zw_cp_replay_leave_idle(&g->r);
	assert_int_equal(g->pmu.settled_jobs, 2);
	assert_int_equal(g->done[0][0].release_ps, 1 * US);
	assert_int_equal(g->done[0][0].start_ps, 2 * US);
	assert_int_equal(rig_ended(g, 0, 0), 3 * US);
	rig_begin(g, 2, 0);
	RIG_JOB(g, 1, nop, nop, nop);
	zw_cp_replay_leave_idle(&g->r);
	assert_int_equal(g->pmu.settled_jobs, 2);
	rig_packet(g, 2, &nop);
	rig_end(g, 2);
	rig_close(g, 3);
	assert_int_equal(g->pmu.settled_jobs, 4);
}

/* A queue with nothing to do holds up the others for ZW_CP_LOG_ENTRIES; then it comes when it comes. */
static void bounded(void **state)
{
	struct rig *g = *state;
	struct step nop = ON(CP, 1);
	uint64_t settled;

	rig_open(g, 2);
	rig_begin(g, 1, 0);
	for (unsigned int i = 0; i < ZW_CP_LOG_ENTRIES - 1; i++)
		rig_packet(g, 1, &nop);
	assert_int_equal(g->pmu.settled_packets, 0);
	assert_int_equal(g->r.used, ZW_CP_LOG_ENTRIES);
	rig_packet(g, 1, &nop);
	assert_int_equal(g->pmu.settled_packets, ZW_CP_LOG_ENTRIES);
	for (unsigned int i = 0; i < 3 * ZW_CP_LOG_ENTRIES; i++)
		rig_packet(g, 1, &nop);
	assert_int_equal(g->r.cap, ZW_CP_LOG_ENTRIES);
	assert_int_equal(g->r.used, 0);
	settled = g->pmu.settled_ps;
	assert_int_equal(settled, (4 * ZW_CP_LOG_ENTRIES - 1) * US);
	/* whoever is left behind is not looked at, and not forgotten */
	assert_int_equal(g->r.n_list, 1);
	rig_migrate(g);
	assert_int_equal(g->r.n_list, 1);
	/* the first packet of its next job begins no earlier; from then on it is waited for again */
	rig_begin(g, 0, 0);
	/* its job has begun when queue 1 was through with its NOP */
	assert_int_equal(g->pmu.settled_ps, settled + 1 * US);
	for (int i = 0; i < 3; i++)
		rig_packet(g, 1, &nop);
	assert_int_equal(g->pmu.settled_packets, 4 * ZW_CP_LOG_ENTRIES);
	nop.engine = ZW_ENGINE_DMA;
	rig_packet(g, 0, &nop);
	assert_int_equal(g->pmu.settled_packets, 4 * ZW_CP_LOG_ENTRIES + 2);
	rig_end(g, 0);
	rig_end(g, 1);
	rig_close(g, 2);
	assert_int_equal(g->done[0][0].release_ps, settled);
	assert_int_equal(g->done[0][0].start_ps, settled + 1 * US);
	assert_int_equal(rig_ended(g, 0, 0), settled + 2 * US);
	assert_int_equal(rig_ended(g, 1, 0), (4 * ZW_CP_LOG_ENTRIES + 3) * US);
}

/* One that waits for a semaphore adds nothing before somebody signals. */
static void blocked(void **state)
{
	struct rig *g = *state;
	const struct step
		signal = {.engine = ZW_ENGINE_CP, .work.fixed_ps = 1 * US, .sem = 1, .signal = 1},
		wait = {.engine = ZW_ENGINE_CP, .work.fixed_ps = 1 * US, .sem = 1, .wait = 1};
	struct step gemm = ON(TENSOR, 10);

	rig_open(g, 2);
	rig_begin(g, 0, 0);
	rig_begin(g, 1, 0);
	for (int i = 0; i < 10; i++)
		rig_packet(g, 1, &gemm);
	assert_int_equal(g->pmu.settled_packets, 0);
	zw_cp_replay_blocked(&g->r, 0);
	assert_int_equal(g->pmu.settled_packets, 10);
	rig_packet(g, 1, &signal);
	rig_packet(g, 1, &gemm);
	/* now it may go on, after what is settled */
	assert_int_equal(g->pmu.settled_packets, 10);
	rig_packet(g, 0, &wait);
	rig_end(g, 0);
	rig_end(g, 1);
	rig_close(g, 2);
	assert_int_equal(rig_ended(g, 1, 0), 111 * US);
	assert_int_equal(rig_ended(g, 0, 0), 102 * US);
	assert_int_equal(g->pmu.wait_ps[ZW_WAIT_SEMAPHORE], 101 * US);
	/* a semaphore that no queue signalled, after all: later than what is settled */
	rig_open(g, 2);
	rig_begin(g, 0, 0);
	rig_begin(g, 1, 0);
	for (int i = 0; i < 10; i++)
		rig_packet(g, 1, &gemm);
	zw_cp_replay_blocked(&g->r, 0);
	/* the last GEMM began at 111 + 90 */
	rig_packet(g, 0, &(struct step)ON(DMA, 1));
	rig_end(g, 0);
	rig_close(g, 1);
	assert_int_equal(rig_ended(g, 0, 1), 202 * US);
}

/* A queue begins when the jobs that had ended when it was made have ended here. */
static void new_queue(void **state)
{
	struct rig *g = *state;

	rig_open(g, 2);
	RIG_JOB(g, 1, ON(TENSOR, 10));
	RIG_JOB(g, 1, ON(TENSOR, 10));
	zw_cp_replay_open(&g->r, 2, ZW_PRIO_NORMAL, 0);
	RIG_JOB(g, 1, ON(TENSOR, 100));
	RIG_JOB(g, 2, ON(DMA, 10));
	RIG_JOB(g, 0, ON(TENSOR, 15));
	rig_close(g, 3);
	/* queue 0: 0-15; queue 1: 15-25, 25-35, 35-135 */
	assert_int_equal(rig_ended(g, 1, 1), 35 * US);
	assert_int_equal(g->done[2][0].release_ps, 35 * US);
	assert_int_equal(rig_ended(g, 2, 0), 45 * US);
	assert_int_equal(rig_ended(g, 1, 2), 135 * US);
	/* made again: its old self is over */
	zw_cp_replay_open(&g->r, 2, ZW_PRIO_NORMAL, 0);
	RIG_JOB(g, 2, ON(DMA, 10));
	assert_int_equal(g->done[2][1].release_ps, 135 * US);
	rig_close(g, 3);
	/* nobody said that there is such a queue */
	RIG_JOB(g, 3, ON(DMA, 10));
	assert_int_equal(g->done[3][0].release_ps, 145 * US);
	rig_close(g, 4);
	assert_int_equal(g->r.n_list, 0);
	assert_int_equal(g->r.used, 0);
	/* a reset of the device empties it */
	RIG_JOB(g, 3, ON(DMA, 10));
	zw_cp_replay_reset(&g->r);
	assert_int_equal(g->r.n_list, 0);
	RIG_JOB(g, 4, ON(DMA, 10));
	assert_int_equal(g->done[4][0].release_ps, 0);
}

/* The end of time: saturates, never wraps. */
static void end_of_time(void **state)
{
	struct rig *g = *state;
	struct step p = ON(TENSOR, 1, HBM(1));

	p.work.compute_ps = UINT64_MAX - 2;
	p.work.port_ps[ZW_PORT_SYS_READ] = UINT64_MAX;
	rig_open(g, 2);
	RIG_JOB(g, 0, p, p);
	RIG_JOB(g, 1, p);
	rig_close(g, 2);
	assert_true(rig_ended(g, 0, 0) == UINT64_MAX && rig_ended(g, 1, 0) == UINT64_MAX);
	assert_true(g->pmu.port_busy_ps[ZW_PORT_SYS_READ] <= UINT64_MAX);
}

/* -- any order ---------------------------------------------------------------------------------------------- */

#define MAX_STEPS 40u

/* What a queue does: jobs of steps. Semaphore q is signalled by queue q, with ascending values. */
struct script {
	unsigned int jobs, steps[MAX_JOBS];
	struct step step[MAX_JOBS][MAX_STEPS];
};

static uint64_t pick(uint64_t *rng, uint64_t n)
{
	return test_rand(rng) % n;
}

static struct step random_step(uint64_t *rng)
{
	struct step s = {.engine = (unsigned int)(1 + pick(rng, 5))};

	s.work.fixed_ps = pick(rng, 4) * 100;
	if (pick(rng, 2))
		s.work.lead_ps = s.work.fixed_ps;
	s.work.compute_ps = pick(rng, 3) ? pick(rng, 1000) : 0;
	for (unsigned int p = 0; p < ZW_PORTS; p++)
		s.work.port_ps[p] = pick(rng, 2) ? pick(rng, 1000) : 0;
	if (pick(rng, 3)) {
		s.hdr.flags = ZW_PKT_F_DEPS;
		s.hdr.wait = pick(rng, 2) ? (uint16_t)(test_rand(rng) & test_rand(rng)) : 0;
	}
	s.hdr.signal = (uint8_t)pick(rng, ZW_PKT_TOKENS + 1);
	return s;
}

/* A wait of queue q is for what a queue below it signals, or for what was signalled before: nothing waits for itself. */
static void make_scripts(struct script *scripts, unsigned int n, uint64_t *rng)
{
	uint64_t signalled[MAX_QUEUES] = {0};

	for (unsigned int q = 0; q < n; q++) {
		struct script *s = &scripts[q];

		s->jobs = (unsigned int)(1 + pick(rng, 6));
		for (unsigned int j = 0; j < s->jobs; j++) {
			s->steps[j] = (unsigned int)pick(rng, MAX_STEPS);
			for (unsigned int i = 0; i < s->steps[j]; i++) {
				struct step *t = &s->step[j][i];
				uint64_t other = pick(rng, q + 1);

				*t = random_step(rng);
				if (pick(rng, 6))
					continue;
				*t = (struct step){.engine = ZW_ENGINE_CP, .work.fixed_ps = 100};
				if (pick(rng, 2) && signalled[other]) {
					t->sem = other;
					t->wait = 1 + pick(rng, signalled[other]);
				} else if (signalled[q] < ZW_CP_SEM_VALUES) {
					t->sem = q;
					t->signal = ++signalled[q];
				}
			}
		}
	}
}

struct at {
	unsigned int job, step;
	bool in_job, over;
};

/* One step of a queue, as the host happens to come to it. */
static void go_on(struct rig *g, unsigned int q, const struct script *s, struct at *at,
		  uint64_t *values)
{
	const struct step *t;

	if (!at->in_job) {
		if (at->job == s->jobs) {
			zw_cp_replay_close(&g->r, q);
			at->over = true;
			return;
		}
		rig_begin(g, q, 500);
		at->in_job = true;
		at->step = 0;
		return;
	}
	if (at->step == s->steps[at->job]) {
		rig_end(g, q);
		at->in_job = false;
		at->job++;
		return;
	}
	t = &s->step[at->job][at->step];
	if (t->wait > values[t->sem] && t->wait) {
		zw_cp_replay_blocked(&g->r, q);
		return;
	}
	rig_packet(g, q, t);
	if (t->signal)
		values[t->sem] = t->signal;
	at->step++;
}

enum how {
	PLAIN,
	MIGRATE, /* saved and loaded on the way, often */
	AT_ONCE, /* one more queue lets nothing be settled before all is known */
};

/* Runs them in an order that `rng` makes. */
static struct rig *run_scripts(const struct script *scripts, unsigned int n, uint64_t *rng,
			       enum how how)
{
	uint64_t values[MAX_QUEUES] = {0};
	struct at at[MAX_QUEUES] = {{0}};
	struct rig *g = rig_new();
	unsigned int left = n;

	if (how == AT_ONCE)
		zw_cp_replay_open(&g->r, n, ZW_PRIO_REALTIME, 0);
	for (unsigned int q = 0; q < n; q++)
		zw_cp_replay_open(&g->r, q, q % ZW_PRIO_REALTIME, 0);
	while (left) {
		unsigned int q = (unsigned int)pick(rng, n);
		/* now and then one runs for long */
		uint64_t steps = pick(rng, 4) ? 1 : pick(rng, 200);

		for (uint64_t i = 0; i < steps && !at[q].over; i++) {
			go_on(g, q, &scripts[q], &at[q], values);
			left -= at[q].over;
		}
		if (how == MIGRATE && !pick(rng, 20))
			rig_migrate(g);
	}
	if (how == AT_ONCE) {
		assert_int_equal(g->pmu.settled_packets, 0);
		zw_cp_replay_close(&g->r, n);
	}
	assert_int_equal(g->r.used, 0);
	assert_int_equal(g->r.held, 0);
	return g;
}

static void any_order(void **state)
{
	struct script *scripts = calloc(MAX_QUEUES, sizeof(*scripts));
	uint64_t rng = 3;

	(void)state;
	assert_non_null(scripts);
	for (unsigned int round = 0; round < 60; round++) {
		unsigned int n = 1 + round % (MAX_QUEUES - 1);
		struct rig *first;

		make_scripts(scripts, n, &rng);
		first = run_scripts(scripts, n, &rng, AT_ONCE);
		for (unsigned int again = 0; again < 12; again++) {
			struct rig *g = run_scripts(scripts, n, &rng, again < 6 ? PLAIN : MIGRATE);

			assert_memory_equal(g->n_done, first->n_done, sizeof(g->n_done));
			assert_memory_equal(g->done, first->done, sizeof(g->done));
			assert_memory_equal(&g->pmu, &first->pmu, sizeof(g->pmu));
			rig_free(g);
		}
		rig_free(first);
	}
	free(scripts);
}

/* -- one queue ---------------------------------------------------------------------------------------------- */

/* Alone, a queue has the device's time for its own, to the picosecond, whatever overlaps in it. */
static void alone(void **state)
{
	uint64_t rng = 5;

	(void)state;
	for (unsigned int round = 0; round < 200; round++) {
		uint64_t busy[ZW_ENGINE_COUNT] = {0}, port[ZW_PORTS] = {0}, ps;
		struct {
			uint64_t start, end;
		} job[8];
		struct rig *g = rig_new();
		struct zw_cp_clock clk;

		zw_cp_clock_init(&clk, 0);
		/* every second time there is another queue, which does nothing */
		rig_open(g, 1 + round % 2);
		if (round % 2) {
			rig_begin(g, 1, 0);
			zw_cp_replay_blocked(&g->r, 1);
		}
		for (unsigned int j = 0; j < 8; j++) {
			uint64_t start = clk.now;

			zw_cp_clock_begin(&clk, 500);
			rig_begin(g, 0, 500);
			busy[ZW_ENGINE_CP] += 500;
			for (unsigned int i = 0; i < 30; i++) {
				struct step s = random_step(&rng);

				zw_cp_clock_place(&clk, s.engine, &s.hdr, &s.work, 0, &ps);
				rig_packet(g, 0, &s);
				busy[s.engine] += ps;
				for (unsigned int p = 0; p < ZW_PORTS; p++)
					port[p] += s.work.port_ps[p];
			}
			rig_end(g, 0);
			job[j].start = start;
			job[j].end = clk.now;
			assert_int_equal(g->n_done[0], j + 1);
		}
		rig_close(g, 2);
		for (unsigned int j = 0; j < 8; j++) {
			assert_int_equal(g->done[0][j].release_ps, job[j].start);
			assert_int_equal(g->done[0][j].start_ps, job[j].start);
			assert_int_equal(g->done[0][j].end_ps, job[j].end);
		}
		for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
			assert_int_equal(g->pmu.settled_busy_ps[e], busy[e]);
		for (unsigned int p = 0; p < ZW_PORTS; p++)
			assert_int_equal(g->pmu.port_busy_ps[p], port[p]);
		assert_int_equal(g->pmu.settled_packets, 8 * 30);
		rig_free(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(engine, setup, teardown),
		cmocka_unit_test_setup_teardown(hbm, setup, teardown),
		cmocka_unit_test_setup_teardown(pcie, setup, teardown),
		cmocka_unit_test_setup_teardown(command_processor, setup, teardown),
		cmocka_unit_test_setup_teardown(turns, setup, teardown),
		cmocka_unit_test_setup_teardown(priority, setup, teardown),
		cmocka_unit_test_setup_teardown(semaphore, setup, teardown),
		cmocka_unit_test_setup_teardown(tokens, setup, teardown),
		cmocka_unit_test_setup_teardown(same_time, setup, teardown),
		cmocka_unit_test_setup_teardown(in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(anomaly, setup, teardown),
		cmocka_unit_test_setup_teardown(idle_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(left_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(blocked, setup, teardown),
		cmocka_unit_test_setup_teardown(new_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(end_of_time, setup, teardown),
		cmocka_unit_test(any_order),
		cmocka_unit_test(alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
