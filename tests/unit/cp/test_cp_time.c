// SPDX-License-Identifier: MIT
/* Simulated time and the life of a job: golden values, identities, determinism, semaphores, preemption, cancel. */
#include <pthread.h>

#include "cp/zw_cp_int.h"
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
 * Computed by hand (env_plain(), Documentation/device/time.md): job 5 us, packet 1 us, HBM 2.0 TB/s x 0.75 = 1.5
 * bytes/ps, PCIe 63.015 GB/s, tensor 300 TFLOPS x 0.85, vector 20 TFLOPS. What the mechanisms cost by themselves is in
 * test_cp_cost.c.
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
	 * GEMM: (8192 + 524288 + 2048) bytes / 1.5 = 356352 ps; 4 * 256 * 1024 * 2 FLOP / 255e12 = 8225 ps.
	 * RMSNORM: 2048 bytes to the host / 63.015e9 = 32501 ps; its input is still on the chip; 1024 / 1.5 = 683 ps;
	 * 4 * 1024 / 20e12 = 205 ps.
	 */
	assert_int_equal(e->result.start_ps, 0);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR], 1000000 + 356352);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_VECTOR], 1000000 + 32501);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_CP], 5000000 + 1000000);
	assert_int_equal(e->result.end_ps, 8388853);
	env_get(e, ts.va, &stamp, 8);
	assert_int_equal(stamp, 8388853);
	assert_int_equal(e->result.hbm_read, 8192 + 524288 + 1024);
	assert_int_equal(e->result.sram_read, 2048);
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
	/* 2097152 FLOP / 0.85e9 = 2.467237648 ms; tiles of 4 x 32, each rounded up: 8 times 308404706 ps */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR], 1000000 + UINT64_C(2467237648));
}

/* Gated norm: 12 operations an element; sigmoid: 8. By the profile: 20 TFLOPS, here with a fast memory. */
static void gates(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_gated_norm g = {.hdr = HDR(ZW_OP_GATED_NORM, zw_pkt_gated_norm)};
	struct zw_pkt_mul_sigmoid s = {.hdr = HDR(ZW_OP_MUL_SIGMOID, zw_pkt_mul_sigmoid)};

	e->profile.hbm_bw *= 1000;
	g.x = random_tensor(e, IN_HBM, F32, 10, 4, 50, 0);
	g.w = random_tensor(e, IN_HBM, F32, 50, 0, 0, 0);
	g.gate = random_tensor(e, IN_HBM, BF16, 10, 4, 50, 0);
	g.y = tensor(e, IN_HBM, BF16, 10, 4, 50, 0);
	EMIT(e, g);
	env_run_ok(e);
	/* 2000 * 12 / 20e12 */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_VECTOR], 1000000 + 1200);
	s.hdr.flags = ZW_SIGMOID_F_ROW_GATE;
	s.x = g.y;
	s.gate = random_tensor(e, IN_HBM, BF16, 10, 1, 0, 0);
	s.y = g.y;
	s.residual = g.x;
	EMIT(e, s);
	env_run_ok(e);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_VECTOR], 1000000 + 800);
	assert_int_equal(e->result.hbm_read, 2000 * 6 + 20);
	assert_int_equal(e->result.hbm_written, 4000);
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
	e->profile.attn_permille = 1000;
	emit(e, &pk, pk.hdr.size);
	env_run_ok(e);
	/*
	 * In tiles of 4 keys, of rows a quarter of 4. Sequence 0: 3 rows of each of 4 heads, 23 keys: 4 x 3 x 6. Sequence 1:
	 * the 2 heads of each of 2 KV heads as one tile, 10 keys: 2 x 2 x 3. Each 4 x 8 FLOP times 4, at 1 FLOP/ns.
	 */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_ATTN], 1000000 + (72 + 12) * 4 * 32 * 1000);
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

/* A random stream of packets: of all kinds or of one, operands in one place or (N_PLACES) anywhere. */
#define ALL_KINDS UINT32_MAX

static void stream(struct cp_env *e, unsigned int n, bool deps, enum place where, uint32_t opcode)
{
	for (unsigned int i = 0; i < n; i++) {
		union any_packet pk;
		uint32_t op = all_opcodes[test_rand(&e->rng) % N_OPCODES];
		enum place p = (enum place)(test_rand(&e->rng) % 3);

		make_packet(e, opcode == ALL_KINDS ? op : opcode, where == N_PLACES ? p : where,
			    &pk);
		if (deps && pk.hdr.opcode >= ZW_OP_GEMM && test_rand(&e->rng) % 4) {
			pk.hdr.flags = ZW_PKT_F_DEPS;
			if (test_rand(&e->rng) % 2)
				pk.hdr.wait = (uint16_t)test_rand(&e->rng);
		}
		if (deps)
			pk.hdr.signal = (uint8_t)(test_rand(&e->rng) % (ZW_PKT_TOKENS + 1));
		emit(e, &pk, pk.hdr.size);
	}
}

static void random_stream(struct cp_env *e, unsigned int n, bool deps)
{
	stream(e, n, deps, N_PLACES, ALL_KINDS);
}

/*
 * Without a fixed cost a packet lasts as long as its port or its arithmetic needs, so that these sums are tight: with it,
 * packets of a few hundred bytes would last a microsecond each, whatever the ports did.
 */
static void identities(void **state)
{
	struct cp_env *e = *state;
	uint64_t busy[ZW_ENGINE_COUNT] = {0}, hbm_read = 0, hbm_written = 0, sys_read = 0,
		 sys_written = 0;
	uint64_t packets = 0, end = 0, energy = 0;

	e->profile.packet_ps = 0;
	e->profile.hbm_byte_fj = 3000;
	for (unsigned int j = 0; j < 32; j++) {
		bool deps = j % 2;
		uint64_t wall, hbm_ps, read_ps, write_ps;

		/* what only reads or only writes, and only here or there, is bound by one port alone */
		static const struct {
			enum place p;
			uint32_t opcode;
		} kinds[] = {{N_PLACES, ALL_KINDS},     {IN_HBM, ALL_KINDS},
			     {IN_SYSTEM, ALL_KINDS},    {IN_HBM, ZW_OP_FILL},
			     {IN_SYSTEM, ZW_OP_FILL},   {IN_HBM, ZW_OP_ARGMAX},
			     {IN_SYSTEM, ZW_OP_ARGMAX}, {IN_PAGES, ZW_OP_COPY}};

		env_clear(e);
		stream(e, 20, deps, kinds[j / 2 % 8].p, kinds[j / 2 % 8].opcode);
		env_run_ok(e);
		wall = e->result.end_ps - e->result.start_ps;
		assert_true(e->result.start_ps == end);
		end = e->result.end_ps;
		if (!deps)
			assert_int_equal(sum_busy(&e->result), wall);
		for (int i = 0; i < ZW_ENGINE_COUNT; i++) {
			assert_true(e->result.busy_ps[i] <= wall);
			busy[i] += e->result.busy_ps[i];
		}
		wall -= e->profile.job_ps;
		/* the ports cannot have carried more than the time allows */
		hbm_ps = (e->result.hbm_read + e->result.hbm_written) * 2 / 3;
		read_ps = e->result.sys_read * 1000000 / 63015;
		write_ps = e->result.sys_written * 1000000 / 63015;
		assert_true(hbm_ps <= wall);
		assert_true(read_ps <= wall);
		assert_true(write_ps <= wall);
		/* ... and the time is no longer than ports and arithmetic, one after the other, make it */
		assert_true(wall <= hbm_ps + read_ps + write_ps + 20 * 4 +
					    e->result.busy_ps[ZW_ENGINE_TENSOR] +
					    e->result.busy_ps[ZW_ENGINE_ATTN] +
					    e->result.busy_ps[ZW_ENGINE_VECTOR]);
		hbm_read += e->result.hbm_read;
		hbm_written += e->result.hbm_written;
		sys_read += e->result.sys_read;
		sys_written += e->result.sys_written;
		packets += e->result.packets;
		energy += e->result.energy_pj;
		assert_int_equal(energy, 3 * (hbm_read + hbm_written));
		/* the counters are the sum of the results */
		for (int i = 0; i < ZW_ENGINE_COUNT; i++)
			assert_int_equal(e->pmu.busy_ps[i], busy[i]);
		assert_int_equal(e->pmu.hbm_read, hbm_read);
		assert_int_equal(e->pmu.hbm_written, hbm_written);
		assert_int_equal(e->pmu.sys_read, sys_read);
		assert_int_equal(e->pmu.sys_written, sys_written);
		assert_int_equal(e->pmu.packets, packets);
		assert_int_equal(e->pmu.energy_pj, energy);
		assert_int_equal(e->pmu.jobs, j + 1);
	}
	assert_int_equal(e->pmu.faults, 0);
}

/* The progress counter moves inside a long packet too: by more than its end. */
static void progress(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);

	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->pmu.progress, 1);
	g.a = random_tensor(e, IN_HBM, BF16, 256, 64, 0, 0);
	g.w = random_tensor(e, IN_HBM, BF16, 512, 64, 0, 0);
	g.c = tensor(e, IN_HBM, BF16, 256, 512, 0, 0);
	EMIT(e, g);
	env_run_ok(e);
	assert_true(e->pmu.progress > 1 + 2);
}

/* Independent packets overlap, in simulated time only; the two sides of a barrier do not. */
static void independent(void **state)
{
	struct cp_env *e = *state;
	union any_packet g, n;
	struct zw_pkt barrier = HDR(ZW_OP_BARRIER, zw_pkt);
	uint64_t serial, overlapped, split;

	make_packet(e, ZW_OP_GEMM, IN_HBM, &g);
	make_packet(e, ZW_OP_RMSNORM, IN_HBM, &n);
	emit(e, &g, g.hdr.size);
	emit(e, &n, n.hdr.size);
	env_run_ok(e);
	serial = e->result.end_ps - e->result.start_ps;
	g.hdr.flags = n.hdr.flags = ZW_PKT_F_DEPS;
	emit(e, &g, g.hdr.size);
	emit(e, &n, n.hdr.size);
	env_run_ok(e);
	overlapped = e->result.end_ps - e->result.start_ps;
	emit(e, &g, g.hdr.size);
	EMIT(e, barrier);
	emit(e, &n, n.hdr.size);
	env_run_ok(e);
	split = e->result.end_ps - e->result.start_ps;
	assert_in_range(overlapped, serial / 2, serial - e->profile.packet_ps * 9 / 10);
	assert_int_equal(split, serial + e->profile.packet_ps);
	/* one engine is one engine, whatever the packets wait for */
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
	copy.copy.src = env_alloc(e, IN_HBM, 200000);
	copy.copy.dst = env_alloc(e, IN_HBM, 200000);
	copy.copy.bytes = 200000;
	fill_random(e, &amax.argmax.x);
	amax.hdr.flags = copy.hdr.flags = ZW_PKT_F_DEPS;
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

/* Runs the commands emitted so far on another queue, and comes back to the job that waits. */
static void meanwhile(struct cp_env *e, unsigned int queue)
{
	struct zw_soc_job saved = e->job;
	uint64_t cmd = e->cmd_va;

	e->cmd_va = env_alloc(e, IN_HBM, 16 * KIB);
	e->job.queue = queue;
	env_run_ok(e);
	e->job = saved;
	e->cmd_va = cmd;
}

static void put64(struct cp_env *e, uint64_t va, uint64_t v)
{
	env_put(e, va, &v, 8);
}

static void semaphores(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_sem wait = {.hdr = HDR(ZW_OP_SEM_WAIT, zw_pkt_sem), .value = 5};
	struct zw_pkt_sem signal = {.hdr = HDR(ZW_OP_SEM_SIGNAL, zw_pkt_sem), .value = 9};
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);
	uint64_t start, value;
	uint32_t bytes;

	wait.va = signal.va = env_alloc(e, IN_SYSTEM, 8);
	put64(e, wait.va, 4);
	EMIT(e, nop);
	EMIT(e, wait);
	EMIT(e, nop);
	env_run(e);
	for (int i = 0; i < 3; i++) { /* stays blocked, and time stands still */
		assert_int_equal(e->job.end, ZW_SOC_END_BLOCKED);
		assert_int_equal(e->job.next_offset, sizeof(nop));
		assert_int_equal(e->job.end_ps, 6000000);
		env_run_from(e, sizeof(nop));
	}
	/* another queue runs meanwhile and signals: 5 us, 10 packets */
	bytes = e->cmd_bytes;
	e->cmd_bytes = 0;
	for (int i = 0; i < 9; i++)
		EMIT(e, nop);
	EMIT(e, signal);
	meanwhile(e, 1);
	assert_int_equal(e->result.end_ps, 15000000);
	env_get(e, signal.va, &value, 8);
	assert_int_equal(value, 9);
	/* 9 >= 5: continues at the later of both clocks */
	e->cmd_bytes = bytes;
	env_run_from(e, sizeof(nop));
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->job.start_ps, 0);
	assert_int_equal(e->job.end_ps, 15000000 + 2000000);
	assert_int_equal(e->result.packets, 3);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_CP], 8000000); /* waiting is not work */
	/* a signal that is long past does not turn a clock back */
	start = e->job.end_ps;
	e->cmd_bytes = 0;
	EMIT(e, wait);
	env_run_ok(e);
	assert_int_equal(e->result.end_ps, start + 6000000);
}

/* The end of time: saturates, never wraps. */
static void end_of_time(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_sem wait = {.hdr = HDR(ZW_OP_SEM_WAIT, zw_pkt_sem), .value = 5};
	struct zw_pkt_sem signal = {.hdr = HDR(ZW_OP_SEM_SIGNAL, zw_pkt_sem), .value = 5};
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);

	wait.va = signal.va = env_alloc(e, IN_SYSTEM, 8);
	e->profile.packet_ps = UINT64_MAX - 7000000;
	EMIT(e, signal);
	env_run_ok(e);
	assert_true(e->result.end_ps == UINT64_MAX - 2000000);
	e->profile.packet_ps = 1000000;
	e->job.queue = 1;
	EMIT(e, wait);
	EMIT(e, nop);
	EMIT(e, nop);
	env_run_ok(e);
	assert_true(e->result.start_ps == 0 && e->result.end_ps == UINT64_MAX);
	EMIT(e, nop);
	env_run_ok(e);
	assert_true(e->result.start_ps == UINT64_MAX && e->result.end_ps == UINT64_MAX);
	e->job.queue = 2;
	zw_cp_queue_reset(e->cp, 2);
	env_run_ok(e);
	assert_true(e->result.start_ps == UINT64_MAX && e->result.end_ps == UINT64_MAX);
}

/* Runs a SIGNAL or WAIT on a queue of its own that starts at 0, packet_ps 1 us; returns when it ended. */
static uint64_t sem_job(struct cp_env *e, unsigned int queue, unsigned int nops, uint16_t op,
			uint64_t va, uint64_t value)
{
	struct zw_pkt_sem sem = {.hdr = HDR(op, zw_pkt_sem), .va = va, .value = value};
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);

	for (unsigned int i = 0; i < nops; i++)
		EMIT(e, nop);
	EMIT(e, sem);
	e->job.queue = queue;
	env_run_ok(e);
	return e->result.end_ps;
}

/*
 * The time of a semaphore is the device's: whatever a guest writes beside or into it moves no clock but in the ways that
 * a SIGNAL could.
 */
static void semaphore_times(void **state)
{
	struct cp_env *e = *state;
	uint64_t va = env_alloc(e, IN_HBM, 16), other = env_alloc(e, IN_SYSTEM, 8);
	const uint64_t alias = NOWHERE + (UINT64_C(4) << 30), first = AREA_VA(IN_HBM);

	put64(e, va, 100);            /* written by the guest: at no time */
	put64(e, va + 8, UINT64_MAX); /* where a time was once */
	assert_int_equal(sem_job(e, 1, 0, ZW_OP_SEM_WAIT, va, 50), 6000000);
	/* signalled at 26 us, 36 us, 46 us as 3, 5, 9 */
	assert_int_equal(sem_job(e, 2, 20, ZW_OP_SEM_SIGNAL, va, 3), 26000000);
	assert_int_equal(sem_job(e, 2, 4, ZW_OP_SEM_SIGNAL, va, 5), 36000000);
	assert_int_equal(sem_job(e, 2, 4, ZW_OP_SEM_SIGNAL, va, 9), 46000000);
	/* the signal that made it so, however late the waiter looks */
	assert_int_equal(sem_job(e, 3, 0, ZW_OP_SEM_WAIT, va, 2), 27000000);
	assert_int_equal(sem_job(e, 4, 0, ZW_OP_SEM_WAIT, va, 4), 37000000);
	assert_int_equal(sem_job(e, 5, 0, ZW_OP_SEM_WAIT, va, 9), 47000000);
	/* by another address of the same memory */
	env_map_page(e, alias, (va - first) & ~UINT64_C(4095), ZW_PTE_READ | ZW_PTE_WRITE);
	assert_int_equal(sem_job(e, 6, 0, ZW_OP_SEM_WAIT, alias + va % 4096, 4), 37000000);
	/* the same value elsewhere says nothing */
	put64(e, other, 9);
	assert_int_equal(sem_job(e, 7, 0, ZW_OP_SEM_WAIT, other, 9), 6000000);
	/* the guest writes: what was signalled no longer says when */
	put64(e, va, 10);
	assert_int_equal(sem_job(e, 8, 0, ZW_OP_SEM_WAIT, va, 4), 6000000);
	/* starting anew at a lower value forgets the higher ones */
	assert_int_equal(sem_job(e, 2, 4, ZW_OP_SEM_SIGNAL, va, 4), 56000000);
	assert_int_equal(sem_job(e, 9, 0, ZW_OP_SEM_WAIT, va, 4), 57000000);
	/* the oldest value of many goes first: 4 (at 56 us) is not known any more, 5 (at 62) is */
	for (uint64_t i = 0; i < ZW_CP_SEM_VALUES; i++)
		sem_job(e, 2, 0, ZW_OP_SEM_SIGNAL, va, 5 + i);
	assert_int_equal(sem_job(e, 10, 0, ZW_OP_SEM_WAIT, va, 4), 63000000);
	/* a reset of the device forgets them all */
	zw_cp_reset(e->cp);
	assert_int_equal(sem_job(e, 11, 0, ZW_OP_SEM_WAIT, va, 4), 6000000);
}

/* The same address is another place in HBM and in system memory. */
static void semaphore_places(void **state)
{
	struct zw_cp_sems *sems = calloc(1, sizeof(*sems));
	const struct zw_mem_place hbm = {.addr = 4096, .target = 0},
				  sys = {.addr = 4096, .target = 1};

	(void)state;
	assert_non_null(sems);
	zw_cp_sem_signalled(sems, &hbm, 5, 100);
	assert_int_equal(zw_cp_sem_reached(sems, &hbm, 5, 5), 100);
	assert_int_equal(zw_cp_sem_reached(sems, &sys, 5, 5), 0);
	zw_cp_sem_signalled(sems, &sys, 7, 200);
	assert_int_equal(zw_cp_sem_reached(sems, &sys, 7, 5), 200);
	assert_int_equal(zw_cp_sem_reached(sems, &hbm, 5, 5), 100);
	/* the same value again was there already */
	zw_cp_sem_signalled(sems, &hbm, 5, 300);
	assert_int_equal(zw_cp_sem_reached(sems, &hbm, 5, 5), 100);
	free(sems);
}

/* More semaphores than the device keeps: the one signalled longest ago is forgotten, the others are not. */
static void many_semaphores(void **state)
{
	struct cp_env *e = *state;
	const unsigned int n = ZW_CP_SEMS + 1;
	uint64_t va = env_alloc(e, IN_HBM, n * 8ull);

	for (unsigned int i = 0; i < n; i++) {
		struct zw_pkt_sem s = {
			.hdr = HDR(ZW_OP_SEM_SIGNAL, zw_pkt_sem), .va = va + i * 8ull, .value = 1};

		EMIT(e, s);
	}
	env_run_ok(e);
	assert_int_equal(sem_job(e, 1, 0, ZW_OP_SEM_WAIT, va, 1), 6000000);
	assert_int_equal(sem_job(e, 2, 0, ZW_OP_SEM_WAIT, va + 8, 1),
			 5000000 + 2 * 1000000 + 1000000);
	assert_int_equal(sem_job(e, 3, 0, ZW_OP_SEM_WAIT, va + (n - 1) * 8ull, 1),
			 5000000 + n * UINT64_C(1000000) + 1000000);
}

/* One epoch: a queue that is made later starts later. */
static void epoch(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);
	uint64_t given_up;

	EMIT(e, nop);
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->result.end_ps, 7000000);
	e->job.queue = 1; /* there from the beginning */
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->result.start_ps, 0);
	assert_int_equal(e->result.end_ps, 6000000);
	/* the latest end, not the last one; a job that fails ends too */
	e->job.queue = 0;
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->result.end_ps, 13000000);
	nop.opcode = 0x7fff;
	EMIT(e, nop);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_INVALID);
	assert_int_equal(e->job.end_ps, 18000000);
	e->cmd_bytes = 0;
	nop.opcode = ZW_OP_NOP;
	e->job.queue = 1;
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->result.end_ps, 12000000);
	EMIT(e, nop);
	zw_cp_queue_reset(e->cp, 2);
	e->job.queue = 2;
	env_run_ok(e);
	assert_int_equal(e->result.start_ps, 18000000);
	assert_int_equal(e->result.end_ps, 24000000);
	/* so does one that was interrupted and then given up */
	e->cmd_bytes = 0;
	for (int i = 0; i < 3; i++)
		EMIT(e, nop);
	e->at_boundary = always_preempt;
	env_run(e);
	e->at_boundary = NULL;
	assert_int_equal(e->job.end, ZW_SOC_END_PREEMPTED);
	zw_cp_report(e->cp, &e->job);
	given_up = e->job.end_ps;
	assert_true(given_up > 24000000);
	zw_cp_queue_reset(e->cp, 3);
	e->cmd_bytes = 0;
	EMIT(e, nop);
	e->job.queue = 3;
	env_run_ok(e);
	assert_int_equal(e->result.start_ps, given_up);
	assert_int_equal(e->result.end_ps, given_up + 6000000);
	/* packets of a queue that starts later are no further apart than others, with tokens and without */
	e->cmd_bytes = 0;
	nop.flags = ZW_PKT_F_DEPS;
	nop.wait = 0xffff;
	EMIT(e, nop);
	zw_cp_queue_reset(e->cp, 4);
	e->job.queue = 4;
	env_run_ok(e);
	assert_int_equal(e->result.start_ps, given_up + 6000000);
	assert_int_equal(e->result.end_ps, given_up + 12000000);
	zw_cp_reset(e->cp);
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->result.start_ps, 0);
}

/* The fields of a packet that tell what it waits for. */
static struct zw_pkt *wait_for(union any_packet *pk, uint32_t flags, uint16_t wait, uint8_t signal)
{
	pk->hdr.flags = flags;
	pk->hdr.wait = wait;
	pk->hdr.signal = signal;
	return &pk->hdr;
}

/*
 * Tokens, by hand. Arithmetic is made to dominate: ADD of 48 elements at 1 FLOP/us takes 1 + 48 us (v), GEMM of 4 x 10 x 24
 * as one tile of 4 x 16 x 64 at 12,500 tiles/s 1 + 80 us (t), FILL of 252 bytes 1 us and the picosecond that it takes on the
 * chip (d).
 */
static void tokens(void **state)
{
	struct cp_env *e = *state;
	const uint64_t us = 1000000, v = 49 * us, d = 1 * us + 1, t = 81 * us;
	const uint32_t deps = ZW_PKT_F_DEPS;
	union any_packet add, gemm, fill;
	struct zw_pkt_timestamp ts = {.hdr = HDR(ZW_OP_TIMESTAMP, zw_pkt_timestamp)};
	struct zw_pkt barrier = HDR(ZW_OP_BARRIER, zw_pkt);
	uint64_t stamp;

	make_packet(e, ZW_OP_ADD, IN_HBM, &add);
	make_packet(e, ZW_OP_GEMM, IN_HBM, &gemm);
	make_packet(e, ZW_OP_FILL, IN_HBM, &fill);
	ts.va = env_alloc(e, IN_HBM, 8);
	e->profile.vector_flops = us;
	e->profile.tensor_bf16_flops = 2ull * 4 * 16 * 64 * 12500;
	e->profile.tensor_efficiency_permille = 1000;
	e->profile.job_ps = 0;
#define RUN_FOR(ps)                                                                                \
	do {                                                                                       \
		env_run_ok(e);                                                                     \
		assert_int_equal(e->result.end_ps - e->result.start_ps, ps);                       \
	} while (0)
#define PUT(p, ...) (wait_for(&(p), __VA_ARGS__), emit(e, &(p), (p).hdr.size))
	/* each alone, one after the other */
	PUT(add, 0, 0, 0);
	RUN_FOR(v);
	PUT(gemm, 0, 0, 0);
	RUN_FOR(t);
	PUT(fill, 0, 0, 0);
	RUN_FOR(d);
	PUT(add, 0, 0, 0);
	PUT(gemm, 0, 0, 0);
	PUT(fill, 0, 0, 0);
	RUN_FOR(v + t + d);
	/* beside each other */
	PUT(add, deps, 0, 0);
	PUT(gemm, deps, 0, 0);
	PUT(fill, deps, 0, 0);
	RUN_FOR(t);
	/* FILL waits for ADD (token 3), not for GEMM */
	PUT(gemm, deps, 0, 1);
	PUT(add, deps, 0, 4);
	PUT(fill, deps, 1 << 3, 5);
	PUT(add, deps, 1 << 4, 0);
	RUN_FOR(v + d + v);
	/* ... for both */
	PUT(gemm, deps, 0, 1);
	PUT(add, deps, 0, 4);
	PUT(fill, deps, 1 << 3 | 1 << 0, 0);
	RUN_FOR(t + d);
	/* the last one that signalled counts: FILL, which ended before GEMM */
	PUT(gemm, deps, 0, 16);
	PUT(fill, deps, 0, 16);
	PUT(add, deps, 1 << 15, 0);
	RUN_FOR(t);
	PUT(fill, deps, 0, 16);
	PUT(gemm, deps, 0, 16);
	PUT(add, deps, 1 << 15, 0);
	RUN_FOR(t + v);
	/* a token nobody signalled holds nobody up; tokens of the job before are gone */
	PUT(gemm, deps, 0, 2);
	PUT(add, deps, 0xfffd, 0);
	RUN_FOR(t);
	PUT(gemm, deps, 0, 0);
	PUT(add, deps, 1 << 1, 0);
	RUN_FOR(t);
	/* the latest packet without the flag holds everybody behind it up, and waits for all before it */
	PUT(gemm, deps, 0, 0);
	PUT(fill, 0, 0, 0);
	PUT(add, deps, 0, 0);
	RUN_FOR(t + d + v);
	/* so does a barrier; one without the flag may signal, too */
	PUT(gemm, deps, 0, 0);
	barrier.signal = 7;
	EMIT(e, barrier);
	PUT(add, deps, 1 << 6, 0);
	RUN_FOR(t + 1 * us + v);
	/* one engine does one packet at a time, in the order of the buffer */
	PUT(gemm, deps, 0, 1);
	PUT(add, deps, 1 << 0, 0);
	PUT(add, deps, 0, 0);
	RUN_FOR(t + v + v);
	/* a skipped packet takes its fixed time, and signals */
	struct zw_tensor zero = tensor(e, IN_HBM, I32, 1, 0, 0, 0);
	put_i(e, &zero, 0, 0, 0);
	gemm.hdr.predicate_va = zero.va;
	PUT(gemm, deps, 0, 9);
	PUT(add, deps, 1 << 8, 0);
	RUN_FOR(1 * us + v);
	/* a time stamp, without the flag, is later than all */
	gemm.hdr.predicate_va = 0;
	PUT(gemm, deps, 0, 0);
	PUT(add, deps, 0, 0);
	EMIT(e, ts);
	RUN_FOR(t + 1 * us);
	env_get(e, ts.va, &stamp, 8);
	assert_int_equal(stamp, e->result.end_ps);
#undef RUN_FOR
#undef PUT
}

/* What a guest does to its buffer after the start does not matter, however often the job is interrupted. */
static void rewrite_buffer(struct cp_env *e)
{
	uint8_t junk[256];

	memset(junk, 0xff, sizeof(junk));
	if (e->boundaries == 2)
		env_put(e, e->cmd_va, junk, e->cmd_bytes);
}

static void rewrite_and_preempt(struct cp_env *e)
{
	uint8_t junk[256];

	memset(junk, (int)test_rand(&e->rng), sizeof(junk));
	if (e->boundaries > 1)
		env_put(e, e->cmd_va, junk, e->cmd_bytes);
	zw_cp_preempt(e->cp);
}

static void buffer_changes(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);
	struct zw_pkt_sem wait = {.hdr = HDR(ZW_OP_SEM_WAIT, zw_pkt_sem), .value = 1};
	uint64_t loaded;

	for (int i = 0; i < 4; i++)
		EMIT(e, nop);
	e->at_boundary = rewrite_buffer;
	env_run_ok(e);
	assert_int_equal(e->result.packets, 4);
	/* preempted at every packet, and rewritten each time */
	loaded = zw_cp_buffers_loaded(e->cp);
	for (int i = 0; i < 4; i++)
		EMIT(e, nop);
	e->boundaries = 0;
	e->at_boundary = rewrite_and_preempt;
	env_run(e);
	for (uint32_t i = 1; i < 4; i++) {
		assert_int_equal(e->job.end, ZW_SOC_END_PREEMPTED);
		assert_int_equal(e->job.next_offset, i * sizeof(nop));
		env_run_from(e, e->job.next_offset);
	}
	e->at_boundary = NULL;
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->result.packets, 4);
	/* copied and checked once */
	assert_int_equal(zw_cp_buffers_loaded(e->cp), loaded + 1);
	/* waiting for a semaphore reads the semaphore, not the buffer, which need not be there any more */
	e->cmd_bytes = 0;
	wait.va = env_alloc(e, IN_HBM, 8);
	put64(e, wait.va, 0);
	EMIT(e, wait);
	EMIT(e, nop);
	env_run(e);
	uint8_t junk[256] = {0xee};
	env_put(e, e->cmd_va, junk, sizeof(junk));
	for (int i = 0; i < 100; i++) {
		assert_int_equal(e->job.end, ZW_SOC_END_BLOCKED);
		env_run_from(e, 0);
	}
	put64(e, wait.va, 1);
	env_run_from(e, 0);
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->result.packets, 2);
	assert_int_equal(zw_cp_buffers_loaded(e->cp), loaded + 2);
}

/* A resume of another job, at another place or of another buffer is a disagreement with the firmware. */
static void wrong_resume(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);
	struct zw_soc_job job;

	for (int j = 0; j < 4; j++)
		EMIT(e, nop);
	e->at_boundary = always_preempt;
	env_run(e);
	assert_int_equal(e->job.end, ZW_SOC_END_PREEMPTED);
	e->at_boundary = NULL;
	job = e->job;
#define WRONG(change, offset)                                                                      \
	do {                                                                                       \
		e->job = job;                                                                      \
		change;                                                                            \
		env_run_from(e, offset);                                                           \
		assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);                                 \
		assert_int_equal(e->job.status, ZW_JOB_INTERNAL);                                  \
	} while (0)
	WRONG(, 2 * sizeof(nop));
	WRONG(, 4 * sizeof(nop));
	WRONG(, 16);
	WRONG(e->job.seqno++, sizeof(nop));
	WRONG(e->job.queue++, sizeof(nop));
	WRONG(e->cmd_va += 16, sizeof(nop));
	e->cmd_va -= 16;
	WRONG(e->cmd_bytes += 16, sizeof(nop));
	e->cmd_bytes -= 16;
#undef WRONG
	/* none of that has harmed it */
	e->job = job;
	env_run_from(e, sizeof(nop));
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->result.packets, 4);
	/* a queue that is reset has forgotten it */
	e->job.seqno++;
	e->at_boundary = always_preempt;
	env_run_from(e, 0);
	assert_int_equal(e->job.end, ZW_SOC_END_PREEMPTED);
	e->at_boundary = NULL;
	zw_cp_queue_reset(e->cp, 0);
	env_run_from(e, sizeof(nop));
	assert_int_equal(e->job.status, ZW_JOB_INTERNAL);
}

/* A job that is over cannot be resumed, and its number starts it afresh. */
static void no_second_life(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(struct zw_pkt)};

	EMIT(e, nop);
	EMIT(e, nop);
	env_run(e);
	assert_int_equal(e->job.end_ps, 7000000);
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->job.start_ps, 7000000);
	assert_int_equal(e->job.end_ps, 14000000);
	assert_int_equal(e->result.packets, 2);
	env_run_from(e, sizeof(nop));
	assert_int_equal(e->job.status, ZW_JOB_INTERNAL);
}

/* Only prepared: the same times and counts, and nothing written but what orders jobs. */
static void timing_only(void **state)
{
	struct cp_env *a, *b;
	struct snapshot *s;

	(void)state;
	a = env_new("810e", 0);
	random_stream(a, 60, true);
	env_run_ok(a);
	b = env_new("810e", 0);
	struct zw_cp_config cc = {.profile = &b->profile,
				  .mmu = b->mmu,
				  .pool = b->pool,
				  .pmu = &b->pmu,
				  .timing_only = true};
	zw_cp_free(b->cp);
	b->cp = zw_cp_new(&cc);
	random_stream(b, 60, true);
	env_run_ok(b);
	assert_memory_equal(&a->result, &b->result, sizeof(a->result));
	/* and no engine has written: only engines in this one */
	env_clear(b);
	for (unsigned int o = 0; o < N_OPCODES; o++) {
		union any_packet pk;

		/* lists are made up: test_cp_keys.c */
		if (all_opcodes[o] < ZW_OP_GEMM || all_opcodes[o] == ZW_OP_SELECT_BLOCKS ||
		    all_opcodes[o] == ZW_OP_SELECT_SLASH)
			continue;
		make_packet(b, all_opcodes[o], (enum place)(o % 3), &pk);
		emit(b, &pk, pk.hdr.size);
	}
	b->cmd_va = env_alloc(b, IN_PAGES, CMD_MAX);
	b->result_va = env_alloc(b, IN_HBM, sizeof(b->result));
	env_put(b, b->cmd_va, b->cmd, b->cmd_bytes);
	s = snapshot_take(b);
	env_run_ok(b);
	assert_int_equal(b->result.packets, N_OPCODES - 7);
	assert_true(snapshot_same(b, s));
	env_free(a);
	env_free(b);
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
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(struct zw_pkt)};
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
		cmocka_unit_test_setup_teardown(golden, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(gates, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(attention_cost, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(attention_sram, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(sram, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(identities, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(progress, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(independent, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(tokens, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(shared_port, env_setup_plain, env_teardown),
		cmocka_unit_test(determinism),
		cmocka_unit_test_setup_teardown(semaphores, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(end_of_time, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(semaphore_times, env_setup_plain, env_teardown),
		cmocka_unit_test(semaphore_places),
		cmocka_unit_test_setup_teardown(many_semaphores, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(epoch, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(buffer_changes, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(wrong_resume, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(no_second_life, env_setup_plain, env_teardown),
		cmocka_unit_test(timing_only),
		cmocka_unit_test(cancel),
		cmocka_unit_test_setup_teardown(cancel_inside, env_setup_plain, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
