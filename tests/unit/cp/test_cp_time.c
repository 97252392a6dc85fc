// SPDX-License-Identifier: MIT
/* Simulated time and the life of a job: golden values, identities, determinism, semaphores, preemption, cancel. */
#include <pthread.h>

#include "cp_packets.h"
#include "zw_simd.h"

static uint64_t sum_busy(const struct zw_job_result *r)
{
	uint64_t sum = 0;

	for (int i = 0; i < ZW_ENGINE_COUNT; i++)
		sum += r->busy_ps[i];
	return sum;
}

/*
 * Computed by hand from the profile 810e (Documentation/device/time.md): job 5 us, packet 1 us, HBM 2.0 TB/s x 0.75 =
 * 1.5 bytes/ps, PCIe 63.015 GB/s, tensor 300 TFLOPS x 0.85, tiles 64 x 128 x 64, vector 20 TFLOPS.
 */
static void golden(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
	struct zw_pkt_rmsnorm n = {.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm)};
	struct zw_pkt_timestamp ts = {.hdr = HDR(ZW_OP_TIMESTAMP, zw_pkt_timestamp)};
	uint64_t stamp;

	g.a = tensor(e, IN_HBM, BF16, 4, 1024, 0, 0);
	g.w = tensor(e, IN_PAGES, BF16, 256, 1024, 0, 0);
	g.c = tensor(e, IN_HBM, BF16, 4, 256, 0, 0);
	n.x = g.c;
	n.w = tensor(e, IN_HBM, F32, 256, 0, 0, 0);
	n.y = tensor(e, IN_SYSTEM, BF16, 4, 256, 0, 0);
	fill_random(e, &g.a);
	fill_random(e, &g.w);
	fill_random(e, &n.w);
	ts.va = env_alloc(e, IN_SYSTEM, 8);
	EMIT(e, g);
	EMIT(e, n);
	EMIT(e, ts);
	env_run_ok(e);
	/*
	 * GEMM: (8192 + 524288 + 2048) bytes / 1.5 = 356352 ps; 64 * 256 * 1024 * 2 FLOP / 255e12 = 131587 ps.
	 * RMSNORM: 2048 bytes to the host / 63.015e9 = 32501 ps; (2048 + 1024) / 1.5 = 2048 ps; 4 * 1024 / 20e12 = 205 ps.
	 */
	assert_int_equal(e->result.start_ps, 0);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR], 1000000 + 356352);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_VECTOR], 1000000 + 32501);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_CP], 5000000 + 1000000);
	assert_int_equal(e->result.end_ps, 8388853);
	env_get(e, ts.va, &stamp, 8);
	assert_int_equal(stamp, 8388853);
	assert_int_equal(e->result.hbm_read, 8192 + 524288 + 2048 + 1024);
	assert_int_equal(e->result.hbm_written, 2048);
	assert_int_equal(e->result.sys_read, 0);
	assert_int_equal(e->result.sys_written, 2048);
	/* the next job starts where this one ended; without rows a packet costs its fixed part */
	struct zw_tensor rows = tensor(e, IN_SYSTEM, I32, 1, 0, 0, 0);
	put_i(e, &rows, 0, 0, 0);
	g.hdr.rows_va = rows.va;
	EMIT(e, g);
	env_run_ok(e);
	assert_int_equal(e->result.start_ps, 8388853);
	assert_int_equal(e->result.end_ps, 8388853 + 5000000 + 1000000);
	/* compute bound: 8192 rows would be; here the tensor engine is made slow instead */
	e->profile.tensor_bf16_flops = 1000000000;
	g.hdr.rows_va = 0;
	EMIT(e, g);
	env_run_ok(e);
	/* 33554432 FLOP / 0.85e9 = 39.475802353 ms, rounded up */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR], 1000000 + UINT64_C(39475802353));
}

/* Attention: 4 d FLOP and 2 d cache elements for each key seen, rows of a sequence share what they read. */
static void attention_cost(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;
	static const int32_t pos[] = {20, 21, 22, 9}, seq[] = {0, 0, 0, 1};

	make_packet(e, ZW_OP_ATTENTION, IN_HBM, &pk);
	for (uint32_t i = 0; i < 4; i++) {
		put_i(e, &pk.attention.pos, i, 0, pos[i]);
		put_i(e, &pk.attention.seq, i, 0, seq[i]);
	}
	e->profile.tensor_bf16_flops = 1000000000;
	e->profile.tensor_efficiency_permille = 1000;
	emit(e, &pk, pk.hdr.size);
	env_run_ok(e);
	/* (21 + 22 + 23 + 10) pairs x 4 heads x 4 x 8 FLOP at 1 FLOP/ns */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_ATTN], 1000000 + 76 * 4 * 32 * 1000);
	/* q 4 x 4 x 8 x 2; pos, seq 16 each; table 3 + 2 entries; K and V (23 + 10) x 2 x 8 x 2 each */
	assert_int_equal(e->result.hbm_read, 256 + 32 + 20 + 2 * 33 * 32);
	assert_int_equal(e->result.hbm_written, 256 + 64);
}

/* Operands larger than the SRAM are read again, smaller ones are not. */
static void sram(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
	const uint64_t a = 32 * 64 * 2, w = 128 * 64 * 2, c = 32 * 128 * 4;

	g.a = random_tensor(e, IN_HBM, BF16, 32, 64, 0, 0);
	g.w = random_tensor(e, IN_SYSTEM, BF16, 128, 64, 0, 0);
	g.c = random_tensor(e, IN_HBM, F32, 32, 128, 0, 0);
	static const struct {
		uint64_t sram, passes_w;
	} cases[] = {{1 << 20, 1}, {8192, 1}, {8191, 2}, {4096, 2}, {2048, 4}, {2000, 5}};
	for (unsigned int i = 0; i < 6; i++) {
		e->profile.sram_bytes = cases[i].sram;
		EMIT(e, g);
		env_run_ok(e);
		assert_int_equal(e->result.hbm_read, a);
		assert_int_equal(e->result.sys_read, w * cases[i].passes_w);
		assert_int_equal(e->result.hbm_written, c);
	}
}

/* Keys and values that do not fit into half of the SRAM are read once for each half SRAM of queries. */
static void attention_sram(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;
	const uint64_t fixed = 256 + 32 + 3 * 4; /* q, pos and seq, table */
	const uint64_t kv = 23 * 32;             /* of K, and as much of V */
	static const struct {
		uint64_t sram, passes;
	} cases[] = {{4 * 23 * 32, 1}, {4 * 23 * 32 - 2, 1}, {512, 1}, {511, 2}, {256, 2},
		     {100, 6}};

	make_packet(e, ZW_OP_ATTENTION, IN_HBM, &pk);
	for (uint32_t i = 0; i < 4; i++) {
		put_i(e, &pk.attention.pos, i, 0, 19 + (int32_t)i);
		put_i(e, &pk.attention.seq, i, 0, 1);
	}
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		e->profile.sram_bytes = cases[i].sram;
		emit(e, &pk, pk.hdr.size);
		env_run_ok(e);
		assert_int_equal(e->result.hbm_read, fixed + 2 * kv * cases[i].passes);
	}
}

/* A random stream of packets of all kinds. */
static void random_stream(struct cp_env *e, unsigned int n, bool async)
{
	for (unsigned int i = 0; i < n; i++) {
		union any_packet pk;

		make_packet(e, all_opcodes[test_rand(&e->rng) % N_OPCODES],
			    (enum place)(test_rand(&e->rng) % 3), &pk);
		if (async && pk.hdr.opcode >= ZW_OP_GEMM && test_rand(&e->rng) % 4)
			pk.hdr.flags = ZW_PKT_F_ASYNC;
		emit(e, &pk, pk.hdr.size);
	}
}

static void identities(void **state)
{
	struct cp_env *e = *state;
	uint64_t busy[ZW_ENGINE_COUNT] = {0}, hbm_read = 0, hbm_written = 0, sys_read = 0,
		 sys_written = 0;
	uint64_t packets = 0, end = 0;

	for (unsigned int j = 0; j < 20; j++) {
		bool async = j % 2;
		uint64_t wall;

		env_clear(e);
		random_stream(e, 20, async);
		env_run_ok(e);
		wall = e->result.end_ps - e->result.start_ps;
		assert_true(e->result.start_ps == end);
		end = e->result.end_ps;
		if (!async)
			assert_int_equal(sum_busy(&e->result), wall);
		for (int i = 0; i < ZW_ENGINE_COUNT; i++) {
			assert_true(e->result.busy_ps[i] <= wall);
			busy[i] += e->result.busy_ps[i];
		}
		/* the ports cannot have carried more than the time allows */
		assert_true((e->result.hbm_read + e->result.hbm_written) * 2 / 3 <= wall);
		assert_true(e->result.sys_read * 1000000 / 63015 <= wall);
		assert_true(e->result.sys_written * 1000000 / 63015 <= wall);
		hbm_read += e->result.hbm_read;
		hbm_written += e->result.hbm_written;
		sys_read += e->result.sys_read;
		sys_written += e->result.sys_written;
		packets += e->result.packets;
		/* the counters are the sum of the results */
		for (int i = 0; i < ZW_ENGINE_COUNT; i++)
			assert_int_equal(e->pmu.busy_ps[i], busy[i]);
		assert_int_equal(e->pmu.hbm_read, hbm_read);
		assert_int_equal(e->pmu.hbm_written, hbm_written);
		assert_int_equal(e->pmu.sys_read, sys_read);
		assert_int_equal(e->pmu.sys_written, sys_written);
		assert_int_equal(e->pmu.packets, packets);
		assert_int_equal(e->pmu.jobs, j + 1);
		assert_true(e->pmu.progress >= packets);
	}
	assert_int_equal(e->pmu.faults, 0);
}

/* Independent packets overlap, in simulated time only; the two sides of a barrier do not. */
static void async_overlap(void **state)
{
	struct cp_env *e = *state;
	union any_packet g, n;
	struct zw_pkt barrier = {.opcode = ZW_OP_BARRIER, .size = 16};
	uint64_t serial, overlapped, split;

	make_packet(e, ZW_OP_GEMM, IN_HBM, &g);
	make_packet(e, ZW_OP_RMSNORM, IN_HBM, &n);
	emit(e, &g, g.hdr.size);
	emit(e, &n, n.hdr.size);
	env_run_ok(e);
	serial = e->result.end_ps - e->result.start_ps;
	g.hdr.flags = n.hdr.flags = ZW_PKT_F_ASYNC;
	emit(e, &g, g.hdr.size);
	emit(e, &n, n.hdr.size);
	env_run_ok(e);
	overlapped = e->result.end_ps - e->result.start_ps;
	emit(e, &g, g.hdr.size);
	EMIT(e, barrier);
	emit(e, &n, n.hdr.size);
	env_run_ok(e);
	split = e->result.end_ps - e->result.start_ps;
	assert_in_range(overlapped, serial / 2, serial - e->profile.packet_ps);
	assert_int_equal(split, serial + e->profile.packet_ps);
	/* one engine is one engine, ASYNC or not */
	emit(e, &g, g.hdr.size);
	emit(e, &g, g.hdr.size);
	env_run_ok(e);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR],
			 e->result.end_ps - e->result.start_ps - e->profile.job_ps);
}

/* Packets on different engines share the memory port. */
static void shared_port(void **state)
{
	struct cp_env *e = *state;
	union any_packet amax, copy;
	uint64_t bytes = 2 * (1 << 17) + 2 + 4 + 2 * 200000;

	make_packet(e, ZW_OP_ARGMAX, IN_HBM, &amax);
	make_packet(e, ZW_OP_COPY, IN_HBM, &copy);
	amax.argmax.x = tensor(e, IN_HBM, BF16, 1, (1 << 17) + 1, 0, 0);
	amax.argmax.ids.dim[0] = 1;
	copy.copy.src = amax.argmax.x.va;
	copy.copy.dst = env_alloc(e, IN_HBM, 200000);
	copy.copy.bytes = 200000;
	fill_random(e, &amax.argmax.x);
	amax.hdr.flags = copy.hdr.flags = ZW_PKT_F_ASYNC;
	e->profile.packet_ps = 0;
	emit(e, &amax, amax.hdr.size);
	emit(e, &copy, copy.hdr.size);
	env_run_ok(e);
	assert_int_equal(e->result.hbm_read + e->result.hbm_written, bytes);
	assert_in_range(e->result.end_ps - e->result.start_ps - e->profile.job_ps, bytes * 2 / 3,
			bytes * 2 / 3 + 2);
}

/* Preempts whenever it can. */
static void always_preempt(struct cp_env *e)
{
	zw_cp_preempt(e->cp);
}

static void fixed_stream(struct cp_env *e, struct zw_job_result *res, uint8_t *hbm, bool preempt)
{
	unsigned int runs = 0;

	e->rng = 7;
	random_stream(e, 60, true);
	if (preempt)
		e->at_boundary = always_preempt;
	env_run(e);
	while (e->job.end == ZW_SOC_END_PREEMPTED) {
		assert_true(e->job.next_offset > e->job.resume_offset &&
			    e->job.next_offset < e->cmd_bytes);
		env_run_from(e, e->job.next_offset);
		runs++;
	}
	e->at_boundary = NULL;
	assert_int_equal(runs, preempt ? 59 : 0);
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->job.packet_index, 60);
	*res = e->result;
	memcpy(hbm, e->hbm.base, 2 * AREA_BYTES);
	memcpy(hbm + 2 * AREA_BYTES, e->sys, AREA_BYTES);
}

static void determinism(void **state)
{
	static const struct {
		unsigned int workers;
		enum zw_simd simd;
		bool preempt;
	} cases[] = {{0, ZW_SIMD_SCALAR, false},
		     {0, ZW_SIMD_AVX2, false},
		     {2, ZW_SIMD_AVX2, true},
		     {4, ZW_SIMD_SCALAR, false},
		     {4, ZW_SIMD_AVX2, true}};
	uint8_t *want = malloc(3 * AREA_BYTES), *got = malloc(3 * AREA_BYTES);
	struct zw_job_result want_res, res;

	(void)state;
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cp_env *e;

		if (cases[i].simd > zw_simd_best())
			continue;
		zw_simd_set(cases[i].simd);
		e = env_new("810e", cases[i].workers);
		fixed_stream(e, i ? &res : &want_res, i ? got : want, cases[i].preempt);
		if (i) {
			assert_memory_equal(&res, &want_res, sizeof(res));
			assert_memory_equal(got, want, 3 * AREA_BYTES);
		}
		env_free(e);
	}
	zw_simd_set(zw_simd_best());
	free(want);
	free(got);
}

static void semaphores(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_sem wait = {.hdr = HDR(ZW_OP_SEM_WAIT, zw_pkt_sem), .value = 5};
	struct zw_pkt_sem signal = {.hdr = HDR(ZW_OP_SEM_SIGNAL, zw_pkt_sem), .value = 9};
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = 16};
	struct zw_semaphore sem = {.value = 4, .time_ps = UINT64_MAX};
	uint64_t start;

	wait.va = signal.va = env_alloc(e, IN_SYSTEM, 16);
	env_put(e, wait.va, &sem, 16);
	EMIT(e, nop);
	EMIT(e, wait);
	EMIT(e, nop);
	env_run(e);
	for (int i = 0; i < 3; i++) { /* stays blocked, and time stands still */
		assert_int_equal(e->job.end, ZW_SOC_END_BLOCKED);
		assert_int_equal(e->job.next_offset, 16);
		assert_int_equal(e->job.end_ps, 6000000);
		env_run_from(e, 16);
	}
	/* another queue runs meanwhile and signals */
	struct zw_soc_job saved = e->job;
	uint32_t bytes = e->cmd_bytes;
	uint64_t cmd = e->cmd_va;

	e->cmd_va = env_alloc(e, IN_HBM, 16 * KIB);
	e->cmd_bytes = 0;
	e->job.queue = 1;
	for (int i = 0; i < 9; i++)
		EMIT(e, nop);
	EMIT(e, signal);
	env_run_ok(e);
	assert_int_equal(e->result.end_ps, 15000000);
	env_get(e, signal.va, &sem, 16);
	assert_int_equal(sem.value, 9);
	assert_int_equal(sem.time_ps, 15000000);
	/* 9 >= 5: continues at the later of both clocks */
	e->job = saved;
	e->cmd_va = cmd;
	e->cmd_bytes = bytes;
	env_run_from(e, 16);
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->job.start_ps, 0);
	assert_int_equal(e->job.end_ps, 15000000 + 2000000);
	assert_int_equal(e->result.packets, 3);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_CP], 8000000); /* waiting is not work */
	/* a clock that is behind does not turn it back */
	sem.time_ps = 1;
	env_put(e, wait.va, &sem, 16);
	start = e->job.end_ps;
	e->cmd_bytes = 0;
	EMIT(e, wait);
	env_run_ok(e);
	assert_int_equal(e->result.end_ps, start + 6000000);
	/* the end of time: saturates, never wraps */
	sem.time_ps = UINT64_MAX;
	env_put(e, wait.va, &sem, 16);
	EMIT(e, wait);
	EMIT(e, nop);
	env_run_ok(e);
	assert_true(e->result.end_ps == UINT64_MAX);
	EMIT(e, nop);
	env_run_ok(e);
	assert_true(e->result.start_ps == UINT64_MAX && e->result.end_ps == UINT64_MAX);
	zw_cp_queue_reset(e->cp, 0);
	env_run_ok(e);
	assert_int_equal(e->result.start_ps, 0);
}

/* What a guest does to its buffer after the start cannot matter; before a resume it can, and is checked again. */
static void rewrite_buffer(struct cp_env *e)
{
	uint8_t junk[256];

	memset(junk, 0xff, sizeof(junk));
	if (e->boundaries == 2)
		env_put(e, e->cmd_va, junk, e->cmd_bytes);
}

static void buffer_changes(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = 16};
	struct zw_pkt_timestamp ts = {.hdr = HDR(ZW_OP_TIMESTAMP, zw_pkt_timestamp)};

	for (int i = 0; i < 4; i++)
		EMIT(e, nop);
	e->at_boundary = rewrite_buffer;
	env_run_ok(e);
	assert_int_equal(e->result.packets, 4);

	static const uint32_t reason[] = {ZW_REASON_OPCODE, ZW_REASON_PACKET_SIZE};
	for (int i = 0; i < 2; i++) {
		for (int j = 0; j < 4; j++)
			EMIT(e, nop);
		e->at_boundary = always_preempt;
		env_run(e);
		assert_int_equal(e->job.end, ZW_SOC_END_PREEMPTED);
		assert_int_equal(e->job.next_offset, 16);
		e->at_boundary = NULL;
		if (i) { /* well-formed, but 16 is no packet any more */
			ts.va = AREA_VA(IN_HBM) + AREA_BYTES - 8;
			env_put(e, e->cmd_va, &ts, sizeof(ts));
		} else {
			nop.opcode = 0xfff;
			env_put(e, e->cmd_va + 48, &nop, 16);
			nop.opcode = ZW_OP_NOP;
		}
		env_run_from(e, 16);
		assert_int_equal(e->job.status, ZW_JOB_INVALID);
		assert_int_equal(e->job.reason, reason[i]);
		e->cmd_bytes = 0;
	}
	/* an offset beyond the buffer */
	for (int j = 0; j < 4; j++)
		EMIT(e, nop);
	e->at_boundary = always_preempt;
	env_run(e);
	env_run_from(e, 80);
	assert_int_equal(e->job.status, ZW_JOB_INVALID);
	assert_int_equal(e->job.reason, ZW_REASON_PACKET_SIZE);
}

/* A job that is over cannot be resumed, and its number starts it afresh. */
static void no_second_life(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = 16};

	EMIT(e, nop);
	EMIT(e, nop);
	env_run(e);
	assert_int_equal(e->job.end_ps, 7000000);
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->job.start_ps, 7000000);
	assert_int_equal(e->job.end_ps, 14000000);
	assert_int_equal(e->result.packets, 2);
	env_run_from(e, 16);
	assert_int_equal(e->job.status, ZW_JOB_INTERNAL);
}

static void *cancel_soon(void *opaque)
{
	struct cp_env *e = opaque;

	while (atomic_load(&e->pmu.progress) < 200)
		;
	zw_cp_cancel(e->cp);
	return NULL;
}

static void cancel(void **state)
{
	struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
	struct cp_env *e = env_new("810e", 2);
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = 16};
	pthread_t thread;

	(void)state;
	g.a = random_tensor(e, IN_HBM, BF16, 128, 1024, 0, 0);
	g.w = random_tensor(e, IN_PAGES, BF16, 128, 1024, 0, 0);
	g.c = random_tensor(e, IN_HBM, BF16, 128, 128, 0, 0);
	for (int i = 0; i < 500; i++)
		EMIT(e, g);
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, e), 0);
	env_run(e);
	pthread_join(thread, NULL);
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, ZW_JOB_CANCELED);
	assert_int_equal(e->result.status, ZW_JOB_CANCELED);
	assert_in_range(e->result.packets, 1, 499);
	/* over and forgotten */
	e->cmd_bytes = 0;
	EMIT(e, nop);
	env_run_ok(e);
	/* between a start and its thread: not lost */
	zw_cp_cancel(e->cp);
	EMIT(e, nop);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_CANCELED);
	/* too late for its job: dropped by the next start, also in the pool */
	zw_cp_cancel(e->cp);
	zw_cp_preempt(e->cp);
	zw_cp_arm(e->cp);
	e->cmd_bytes = 0;
	EMIT(e, g);
	EMIT(e, g);
	env_run_ok(e);
	env_free(e);
}

/* The cancel comes while a kernel runs: the packet ends without retiring. */
static void cancel_pool(struct cp_env *e)
{
	if (e->boundaries == 3)
		zw_pool_cancel(e->pool);
}

static void cancel_inside(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;

	make_packet(e, ZW_OP_GEMM, IN_HBM, &pk);
	emit(e, &pk, pk.hdr.size);
	emit(e, &pk, pk.hdr.size);
	e->at_boundary = cancel_pool;
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_CANCELED);
	assert_int_equal(e->job.packet_index, 1);
	assert_int_equal(e->result.packets, 1);
	assert_int_equal(e->pmu.packets, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(golden, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(attention_cost, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(attention_sram, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(sram, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(identities, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(async_overlap, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(shared_port, env_setup, env_teardown),
		cmocka_unit_test(determinism),
		cmocka_unit_test_setup_teardown(semaphores, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(buffer_changes, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(no_second_life, env_setup, env_teardown),
		cmocka_unit_test(cancel),
		cmocka_unit_test_setup_teardown(cancel_inside, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
