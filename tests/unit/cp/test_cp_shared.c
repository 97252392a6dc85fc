// SPDX-License-Identifier: MIT
/*
 * Queues that share the device, with real packets: their settled times are the same for any workers, host order,
 * preemption and mode; and sums of results, counters and settled jobs agree.
 */
#include "cp/zw_cp_int.h"
#include "cp_packets.h"

#define QUEUES  4u
#define JOBS    3u
#define PACKETS 8u

#define PACKETS_MAX (PACKETS + 3) /* of a job, with its semaphores and its begin */

/* A job's packets, in memory of its own. */
struct shared_job {
	uint64_t cmd_va, result_va;
	uint32_t bytes, next_offset;
};

struct shared {
	struct cp_env *e;
	struct shared_job job[QUEUES][JOBS];
	struct zw_settled_job settled[QUEUES][JOBS];
	unsigned int n_settled[QUEUES];
	/* with [PACKETS_MAX - 1] of each job its begin */
	struct zw_settled_packet packet[QUEUES][JOBS][PACKETS_MAX];
	uint64_t engine_end[ZW_ENGINE_COUNT];
};

static void settled(void *opaque, const struct zw_settled_job *job)
{
	struct shared *s = opaque;
	struct zw_settled_job *to = &s->settled[job->queue][s->n_settled[job->queue]++];

	assert_true(s->n_settled[job->queue] <= JOBS);
	assert_int_equal(job->seqno, s->n_settled[job->queue]);
	memset(to, 0, sizeof(*to));
	to->queue = job->queue;
	to->seqno = job->seqno;
	to->release_ps = job->release_ps;
	to->start_ps = job->start_ps;
	to->end_ps = job->end_ps;
}

/* Each packet once, none before the one before it on its engine has ended. */
static void packet_settled(void *opaque, const struct zw_settled_packet *p)
{
	struct shared *s = opaque;
	uint32_t at = p->opcode == ZW_SETTLED_BEGIN ? PACKETS_MAX - 1 : p->index;
	struct zw_settled_packet *to;

	assert_true(p->queue < QUEUES && p->seqno - 1 < JOBS && at < PACKETS_MAX);
	assert_int_equal(s->n_settled[p->queue], p->seqno - 1);
	to = &s->packet[p->queue][p->seqno - 1][at];
	assert_int_equal(to->opcode, 0);
	assert_true(s->engine_end[p->engine] <= p->start_ps);
	s->engine_end[p->engine] = p->end_ps;
	/* nothing between the fields: they are compared as memory */
	to->queue = p->queue;
	to->seqno = p->seqno;
	to->index = p->index;
	to->opcode = p->opcode + 1;
	to->tag = p->tag;
	to->rows = p->rows;
	to->engine = p->engine;
	to->start_ps = p->start_ps;
	to->end_ps = p->end_ps;
	to->fixed_ps = p->fixed_ps;
	to->compute_ps = p->compute_ps;
	for (int i = 0; i < ZW_PORTS; i++)
		to->port[i] = p->port[i];
	for (int i = 0; i < ZW_WAITS; i++)
		to->wait_ps[i] = p->wait_ps[i];
	to->energy_pj = p->energy_pj;
	to->ops = p->ops;
	to->hbm_bytes = p->hbm_bytes;
	to->sys_bytes = p->sys_bytes;
	to->wait = p->wait;
	to->signal = p->signal;
	to->ordered = p->ordered;
}

static void emit_random(struct cp_env *e)
{
	for (unsigned int i = 0; i < PACKETS; i++) {
		union any_packet pk;
		uint32_t op = all_opcodes[test_rand(&e->rng) % N_OPCODES];

		make_packet(e, op, (enum place)(test_rand(&e->rng) % 3), &pk);
		if (pk.hdr.opcode >= ZW_OP_GEMM && test_rand(&e->rng) % 2) {
			pk.hdr.flags = ZW_PKT_F_DEPS;
			pk.hdr.wait = (uint16_t)test_rand(&e->rng);
		}
		pk.hdr.signal = (uint8_t)(test_rand(&e->rng) % (ZW_PKT_TOKENS + 1));
		pk.hdr.tag = 0x1000 + i;
		emit(e, &pk, pk.hdr.size);
	}
}

/*
 * The same work every time. Job 1 of each queue but the first begins with a wait for a semaphore that the queue below
 * signals at the end of its job 0.
 */
static struct shared *shared_new(unsigned int workers, bool timing_only)
{
	struct shared *s = calloc(1, sizeof(*s));
	struct cp_env *e = env_new("810e", workers);
	struct zw_cp_config cc = {.profile = &e->profile,
				  .mmu = e->mmu,
				  .pool = e->pool,
				  .pmu = &e->pmu,
				  .boundary = env_boundary,
				  .boundary_opaque = e,
				  .log = env_log,
				  .log_opaque = e,
				  .num_queues = QUEUES + 1,
				  .timing_only = timing_only,
				  .settled = settled,
				  .packet_settled = packet_settled,
				  .settled_opaque = s};
	uint64_t sems = env_alloc(e, IN_HBM, 8 * QUEUES), zero = 0;

	assert_non_null(s);
	s->e = e;
	zw_cp_free(e->cp);
	e->cp = zw_cp_new(&cc);
	assert_non_null(e->cp);
	e->rng = 11;
	/* operands are small: with this memory they are what takes the time */
	e->profile.hbm_bw /= 10000;
	e->profile.pcie_bw /= 1000;
	for (unsigned int q = 0; q < QUEUES; q++) {
		env_put(e, sems + 8ull * q, &zero, 8);
		zw_cp_queue_reset(e->cp, q);
		zw_cp_queue_open(e->cp, q, q % 2, 0);
		for (unsigned int j = 0; j < JOBS; j++) {
			struct shared_job *job = &s->job[q][j];
			struct zw_pkt_sem sem = {.hdr = HDR(ZW_OP_SEM_WAIT, zw_pkt_sem),
						 .value = 1};

			e->cmd_bytes = 0;
			sem.va = sems + 8ull * (q - 1);
			if (q && j == 1)
				EMIT(e, sem);
			emit_random(e);
			sem.va = sems + 8ull * q;
			sem.hdr.opcode = ZW_OP_SEM_SIGNAL;
			if (j == 0)
				EMIT(e, sem);
			job->bytes = e->cmd_bytes;
			job->cmd_va = env_alloc(e, IN_HBM, job->bytes);
			job->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
			env_put(e, job->cmd_va, e->cmd, job->bytes);
		}
	}
	return s;
}

static void shared_free(struct shared *s)
{
	env_free(s->e);
	free(s);
}

/* Runs the job's next packets. True: it is over. */
static bool run_one(struct shared *s, unsigned int q, unsigned int j)
{
	struct cp_env *e = s->e;
	struct shared_job *job = &s->job[q][j];

	e->cmd_va = job->cmd_va;
	e->cmd_bytes = job->bytes;
	e->result_va = job->result_va;
	e->job.queue = q;
	e->job.seqno = j + 1;
	env_run_from(e, job->next_offset);
	if (e->job.end != ZW_SOC_END_COMPLETE) {
		job->next_offset = e->job.next_offset;
		return false;
	}
	if (e->job.status)
		print_message("queue %u job %u: %s\n", q, j, e->log);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	return true;
}

static void preempt(struct cp_env *e)
{
	zw_cp_preempt(e->cp);
}

/* All jobs, in an order that `order` makes. */
static void run_all(struct shared *s, uint64_t order, bool preempted)
{
	unsigned int at[QUEUES] = {0}, left = QUEUES * JOBS;

	s->e->at_boundary = preempted ? preempt : NULL;
	while (left) {
		unsigned int q = (unsigned int)(test_rand(&order) % QUEUES);

		if (at[q] == JOBS || !run_one(s, q, at[q]))
			continue;
		at[q]++;
		left--;
	}
	s->e->at_boundary = NULL;
	for (unsigned int q = 0; q < QUEUES; q++)
		zw_cp_queue_reset(s->e->cp, q);
}

/* The counters that are settled, as one piece of memory. */
struct sums {
	uint64_t settled_ps, jobs, packets;
	uint64_t busy[ZW_ENGINE_COUNT], port[ZW_PORTS], wait[ZW_WAITS];
};

static struct sums sums_of(const struct zw_pmu *p)
{
	struct sums s = {.settled_ps = p->settled_ps,
			 .jobs = p->settled_jobs,
			 .packets = p->settled_packets};

	for (int i = 0; i < ZW_ENGINE_COUNT; i++)
		s.busy[i] = p->settled_busy_ps[i];
	for (int i = 0; i < ZW_PORTS; i++)
		s.port[i] = p->port_busy_ps[i];
	for (int i = 0; i < ZW_WAITS; i++)
		s.wait[i] = p->wait_ps[i];
	return s;
}

/* All packets were told, and what was told of them adds up to the counters. */
static void packets_agree(const struct shared *s)
{
	struct sums want = sums_of(&s->e->pmu);
	struct sums got = {.settled_ps = want.settled_ps};
	uint64_t energy_pj = 0;

	for (unsigned int q = 0; q < QUEUES; q++) {
		for (unsigned int j = 0; j < s->n_settled[q]; j++) {
			const struct zw_settled_packet *p = s->packet[q][j];
			struct zw_job_result res;
			uint64_t energy = 0, hbm = 0, sys = 0;

			env_get(s->e, s->job[q][j].result_va, &res, sizeof(res));
			assert_int_equal(p[PACKETS_MAX - 1].start_ps, s->settled[q][j].start_ps);
			assert_int_equal(p[PACKETS_MAX - 1].opcode, ZW_SETTLED_BEGIN + 1);
			for (unsigned int i = 0; i < PACKETS_MAX; i++) {
				uint64_t end = p[i].start_ps + p[i].fixed_ps + p[i].compute_ps;

				assert_int_equal(!p[i].opcode,
						 i >= res.packets && i != PACKETS_MAX - 1);
				if (!p[i].opcode)
					continue;
				got.packets += i != PACKETS_MAX - 1;
				got.busy[p[i].engine] += p[i].end_ps - p[i].start_ps;
				for (int w = 0; w < ZW_WAITS; w++)
					got.wait[w] += p[i].wait_ps[w];
				for (int n = 0; n < ZW_PORTS; n++) {
					assert_true(p[i].port[n].request_ps <=
						    p[i].port[n].start_ps);
					got.port[n] += p[i].port[n].end_ps - p[i].port[n].start_ps;
					if (p[i].port[n].end_ps > end)
						end = p[i].port[n].end_ps;
				}
				assert_int_equal(p[i].end_ps, end);
				energy += p[i].energy_pj;
				hbm += p[i].hbm_bytes;
				sys += p[i].sys_bytes;
			}
			assert_int_equal(energy, res.energy_pj);
			assert_int_equal(hbm, res.hbm_read + res.hbm_written);
			assert_int_equal(sys, res.sys_read + res.sys_written);
			energy_pj += energy;
			got.jobs++;
		}
	}
	assert_memory_equal(&got, &want, sizeof(got));
	assert_true(energy_pj);
	assert_int_equal(s->e->pmu.energy_pj, energy_pj);
	assert_int_equal(s->e->pmu.settled_energy_uj, energy_pj / 1000000);
}

static void independent_of_the_host(void **state)
{
	static const struct {
		unsigned int workers;
		bool preempt, timing_only;
	} cases[] = {{0, false, false}, {1, false, false}, {2, true, false}, {4, false, false},
		     {0, true, false},  {0, false, true},  {0, true, true},  {0, false, false}};
	struct shared *want = shared_new(0, false);
	struct sums want_sums, sums;
	bool contended = false;

	(void)state;
	run_all(want, 1, false);
	want_sums = sums_of(&want->e->pmu);
	assert_int_equal(want_sums.jobs, QUEUES * JOBS);
	assert_int_equal(want_sums.packets, want->e->pmu.packets);
	assert_true(want_sums.wait[ZW_WAIT_ENGINE] && want_sums.wait[ZW_WAIT_HBM] &&
		    want_sums.wait[ZW_WAIT_PCIE] && want_sums.wait[ZW_WAIT_SEMAPHORE]);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct shared *s = shared_new(cases[i].workers, cases[i].timing_only);

		run_all(s, 2 + i, cases[i].preempt);
		sums = sums_of(&s->e->pmu);
		assert_memory_equal(s->n_settled, want->n_settled, sizeof(s->n_settled));
		assert_memory_equal(s->settled, want->settled, sizeof(s->settled));
		assert_memory_equal(&sums, &want_sums, sizeof(sums));
		assert_memory_equal(s->packet, want->packet, sizeof(s->packet));
		shared_free(s);
	}
	packets_agree(want);
	/* they have their names */
	assert_int_equal(want->packet[0][0][3].tag, 0x1003);
	assert_int_equal(want->packet[0][0][PACKETS].opcode, ZW_OP_SEM_SIGNAL + 1);
	assert_int_equal(want->packet[1][1][0].opcode, ZW_OP_SEM_WAIT + 1);
	/* and it was no queue's own time */
	for (unsigned int q = 0; q < QUEUES; q++) {
		struct zw_job_result res;

		env_get(want->e, want->job[q][JOBS - 1].result_va, &res, sizeof(res));
		assert_true(want->settled[q][JOBS - 1].end_ps >= res.end_ps);
		contended |= want->settled[q][JOBS - 1].end_ps > res.end_ps;
	}
	assert_true(contended);
	shared_free(want);
}

/* The queue by itself: results, counters and the settled sums say the same. */
static void sums_agree(void **state)
{
	struct shared *s = shared_new(0, false);
	struct cp_env *e = s->e;
	uint64_t busy[ZW_ENGINE_COUNT] = {0}, hbm = 0, sys_read = 0, sys_written = 0;

	(void)state;
	for (unsigned int q = 1; q < QUEUES; q++)
		zw_cp_queue_reset(e->cp, q);
	for (unsigned int j = 0; j < JOBS; j++) {
		assert_true(run_one(s, 0, j));
		assert_int_equal(s->n_settled[0], j + 1);
		assert_int_equal(s->settled[0][j].release_ps, e->result.start_ps);
		assert_int_equal(s->settled[0][j].start_ps, e->result.start_ps);
		assert_int_equal(s->settled[0][j].end_ps, e->result.end_ps);
		for (int i = 0; i < ZW_ENGINE_COUNT; i++) {
			busy[i] += e->result.busy_ps[i];
			assert_int_equal(e->pmu.settled_busy_ps[i], busy[i]);
			assert_int_equal(e->pmu.busy_ps[i], busy[i]);
		}
		hbm += e->result.hbm_read + e->result.hbm_written;
		sys_read += e->result.sys_read;
		sys_written += e->result.sys_written;
		/* rounded up for each packet; of HBM packets have different shares, none more than all of it */
		assert_in_range(e->pmu.port_busy_ps[ZW_PORT_SYS_READ],
				zw_cp_rate_ps(sys_read, e->profile.pcie_bw, 1000),
				zw_cp_rate_ps(sys_read, e->profile.pcie_bw, 1000) + e->pmu.packets);
		assert_in_range(e->pmu.port_busy_ps[ZW_PORT_SYS_WRITE],
				zw_cp_rate_ps(sys_written, e->profile.pcie_bw, 1000),
				zw_cp_rate_ps(sys_written, e->profile.pcie_bw, 1000) +
					e->pmu.packets);
		assert_in_range(e->pmu.port_busy_ps[ZW_PORT_HBM],
				zw_cp_rate_ps(hbm, e->profile.hbm_bw, 1000),
				zw_cp_rate_ps(hbm, e->profile.hbm_bw, 800) + e->pmu.packets);
	}
	assert_int_equal(e->pmu.settled_packets, e->pmu.packets);
	assert_int_equal(e->pmu.settled_jobs, e->pmu.jobs);
	shared_free(s);
}

/* By hand: 63,015 bytes over PCIe in either direction take 1 us, at 1.5 bytes/ps of HBM 42,010 ps. */
static void ports(void **state)
{
	struct cp_env *e = *state;
	union any_packet in, out;

	make_packet(e, ZW_OP_COPY, IN_HBM, &in);
	in.copy.bytes = 63015;
	in.copy.rows = 1;
	out = in;
	in.copy.src = env_alloc(e, IN_SYSTEM, 63015);
	in.copy.dst = env_alloc(e, IN_HBM, 63015);
	out.copy.src = env_alloc(e, IN_HBM, 63015);
	out.copy.dst = env_alloc(e, IN_SYSTEM, 63015);
	emit(e, &in, in.hdr.size);
	env_run_ok(e);
	assert_int_equal(e->pmu.port_busy_ps[ZW_PORT_HBM], 42010);
	assert_int_equal(e->pmu.port_busy_ps[ZW_PORT_SYS_READ], 1000000);
	assert_int_equal(e->pmu.port_busy_ps[ZW_PORT_SYS_WRITE], 0);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_DMA], 2000000);
	emit(e, &out, out.hdr.size);
	env_run_ok(e);
	assert_int_equal(e->pmu.port_busy_ps[ZW_PORT_HBM], 2 * 42010);
	assert_int_equal(e->pmu.port_busy_ps[ZW_PORT_SYS_READ], 1000000);
	assert_int_equal(e->pmu.port_busy_ps[ZW_PORT_SYS_WRITE], 1000000);
	assert_int_equal(e->pmu.settled_busy_ps[ZW_ENGINE_DMA], 4000000);
}

/* Failed, cancelled and given up jobs end, too, and hold up nobody. */
static void other_ends(void **state)
{
	struct shared *s = shared_new(0, false);
	struct cp_env *e = s->e;
	struct zw_pkt bad = {.opcode = 0x7fff, .size = sizeof(struct zw_pkt)};

	(void)state;
	for (unsigned int q = 2; q < QUEUES; q++)
		zw_cp_queue_reset(e->cp, q);
	/* a buffer that is refused costs the command processor its time */
	e->cmd_va = e->result_va = 0;
	e->cmd_bytes = 0;
	e->job.queue = 1;
	e->job.seqno = 0;
	EMIT(e, bad);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_INVALID);
	/* interrupted, and given up */
	e->at_boundary = preempt;
	e->cmd_bytes = 0;
	assert_false(run_one(s, 0, 0));
	assert_int_equal(e->job.end, ZW_SOC_END_PREEMPTED);
	e->at_boundary = NULL;
	zw_cp_report(e->cp, &e->job);
	/* never ran: no job of the clock */
	e->job.seqno++;
	zw_cp_report(e->cp, &e->job);
	zw_cp_queue_reset(e->cp, 0);
	zw_cp_queue_reset(e->cp, 1);
	assert_int_equal(e->pmu.jobs, 3);
	assert_int_equal(e->pmu.settled_jobs, 2);
	assert_int_equal(e->pmu.settled_packets, e->pmu.packets);
	assert_int_equal(s->settled[1][0].end_ps - s->settled[1][0].start_ps, e->profile.job_ps);
	shared_free(s);
}

/* A job that waits for a semaphore holds up nobody. */
static void waiting(void **state)
{
	struct shared *s = shared_new(0, false);
	struct cp_env *e = s->e;
	struct zw_pkt_sem wait = {.hdr = HDR(ZW_OP_SEM_WAIT, zw_pkt_sem), .value = 1};
	const uint64_t zero = 0;
	uint64_t at;

	(void)state;
	for (unsigned int q = 2; q < QUEUES; q++)
		zw_cp_queue_reset(e->cp, q);
	wait.va = env_alloc(e, IN_HBM, 8);
	env_put(e, wait.va, &zero, 8);
	e->cmd_va = e->result_va = 0;
	e->cmd_bytes = 0;
	e->job.queue = 0;
	e->job.seqno = 0;
	EMIT(e, wait);
	env_run(e);
	assert_int_equal(e->job.end, ZW_SOC_END_BLOCKED);
	at = e->cmd_va;
	assert_true(run_one(s, 1, 0));
	/* somebody signalled: it is given another try */
	e->cmd_va = at;
	e->cmd_bytes = sizeof(wait);
	e->result_va = 0;
	e->job.queue = 0;
	e->job.seqno = 1;
	env_run_from(e, 0);
	assert_int_equal(e->job.end, ZW_SOC_END_BLOCKED);
	assert_int_equal(e->pmu.settled_packets, e->pmu.packets);
	assert_int_equal(s->n_settled[1], 1);
	shared_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(independent_of_the_host),
		cmocka_unit_test(sums_agree),
		cmocka_unit_test_setup_teardown(ports, env_setup_plain, env_teardown),
		cmocka_unit_test(other_ends),
		cmocka_unit_test(waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
