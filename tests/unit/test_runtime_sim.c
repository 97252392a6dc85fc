// SPDX-License-Identifier: MIT
/*
 * The runtime on the sim transport, end to end: builder, page tables, rings, firmware, command
 * processor, engines, completions, fences, errors. $ZW_FIRMWARE names the image.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "rt_packets.h"
#include "sim.h"

#define MEM   (8u << 20)
#define LIMIT zw_deadline_ms(60000) /* a sanitizer build on a busy machine is slow */

/* A device, a VM, and one mapped buffer at a fixed address to play in. */
struct fixture {
	bool sim;
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_bo *bo;
	uint8_t *mem;
	struct zw_queue *queue;
};

#define BASE 0x10000000ull

static const char *device(void)
{
	const char *d = getenv("ZW_TEST_DEVICE");

	return d && *d ? d : "sim";
}

static int setup(void **state)
{
	const struct zw_dev_options opt = {
		.size = sizeof(opt),
		.profile = "810e",
		.hbm_bytes = 64u << 20,
		.workers = 2,
	};
	struct fixture *f = calloc(1, sizeof(*f));
	struct zw_error err = {""};
	void *ptr;

	f->sim = !strcmp(device(), "sim");
	if (zw_dev_open(device(), f->sim ? &opt : NULL, &f->dev, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return -1;
	}
	assert_int_equal(zw_vm_create(f->dev, &f->vm), 0);
	assert_int_equal(zw_bo_create(f->dev, MEM, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &f->bo), 0);
	assert_int_equal(zw_bo_map(f->bo, &ptr), 0);
	assert_int_equal(zw_vm_map(f->vm, f->bo, 0, BASE, MEM, 0), 0);
	assert_int_equal(zw_queue_create(f->vm, NULL, &f->queue), 0);
	f->mem = ptr;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	zw_queue_destroy(f->queue);
	zw_bo_destroy(f->bo);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	assert_int_equal(zw_dev_close(f->dev), 0);
	free(f);
	return 0;
}

/* Offsets in the playground. */
#define CMD    0x700000u
#define RESULT 0x7f0000u

static void *at(struct fixture *f, uint64_t off)
{
	return f->mem + off;
}

static void begin(struct fixture *f, struct zw_cmd *c)
{
	zw_cmd_init_fixed(c, at(f, CMD), RESULT - CMD);
}

static int run(struct fixture *f, struct zw_cmd *c)
{
	assert_int_equal(zw_cmd_finish(c), 0);
	return zw_queue_run(f->queue, BASE + CMD, (uint32_t)c->used, BASE + RESULT, LIMIT);
}

static struct zw_queue_error error_of(struct zw_queue *q)
{
	struct zw_queue_error e = {.size = sizeof(e)};

	assert_int_equal(zw_queue_get_error(q, &e), 0);
	return e;
}

/* Errors that a test provokes need not be on the screen. */
static void quiet(struct fixture *f)
{
	f->dev->log = NULL;
}

/* -- what works ------------------------------------------------------------------------------- */

static void test_attributes(void **state)
{
	struct fixture *f = *state;
	struct zw_dev_attrs a = {.size = sizeof(a)};

	assert_int_equal(zw_dev_get_attrs(f->dev, &a), 0);
	assert_int_equal(a.transport, f->sim ? ZW_TRANSPORT_SIM : ZW_TRANSPORT_DRM);
	assert_string_equal(a.transport_name, f->sim ? "sim" : "drm");
	if (f->sim) {
		assert_string_equal(a.profile_name, "810e");
		assert_int_equal(a.hbm_size, 64u << 20);
		assert_int_equal(a.workers, 2);
	}
	/* drm: page tables have memory of their own */
	assert_in_range(a.hbm_free, a.hbm_size - MEM - (8u << 20) - a.hbm_size / 256,
			a.hbm_size - MEM);
	assert_int_not_equal(a.fw_version, 0);
	assert_int_equal(ZW_ABI_VERSION_MAJOR(a.abi_version), ZW_ABI_MAJOR);
}

static void test_add(void **state)
{
	struct fixture *f = *state;
	struct zw_job_result *r = at(f, RESULT);
	struct zw_dev_counters before = {.size = sizeof(before)}, after = before;
	struct zw_tensor a = zw_tensor_2d(ZW_DTYPE_F32, BASE, 4, 5);
	struct zw_tensor b = zw_tensor_2d(ZW_DTYPE_F32, BASE + 0x1000, 4, 5);
	struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, BASE + 0x2000, 4, 5);
	float *fa = at(f, 0), *fb = at(f, 0x1000), *fy = at(f, 0x2000);
	struct zw_cmd c;

	for (int i = 0; i < 20; i++) {
		fa[i] = (float)i;
		fb[i] = 100.5f * (float)i;
	}
	assert_int_equal(zw_dev_get_counters(f->dev, &before), 0);
	begin(f, &c);
	zw_cmd_add(&c, &a, &b, &y, 0, 0);
	zw_cmd_timestamp(&c, BASE + 0x3000, 0);
	assert_int_equal(run(f, &c), 0);
	for (int i = 0; i < 20; i++)
		assert_true(fy[i] == 101.5f * (float)i);
	assert_int_equal(r->status, ZW_JOB_OK);
	assert_int_equal(r->seqno, 1);
	assert_int_equal(r->packets, 2);
	assert_true(r->end_ps > r->start_ps);
	assert_in_range(*(uint64_t *)at(f, 0x3000), r->start_ps, r->end_ps);
	assert_int_equal(zw_dev_get_counters(f->dev, &after), 0);
	assert_int_equal(after.packets - before.packets, 2);
	assert_int_equal(after.jobs - before.jobs, 1);
	assert_true(after.busy_ps[ZW_ENGINE_VECTOR] > before.busy_ps[ZW_ENGINE_VECTOR]);
	assert_int_equal(error_of(f->queue).completed, 1);
}

static uint16_t bf16(float v)
{
	uint32_t u;

	memcpy(&u, &v, 4);
	return (uint16_t)(u >> 16); /* the values used are exact */
}

static void test_gemm(void **state)
{
	enum { M = 7, N = 33, K = 65 };
	struct fixture *f = *state;
	struct zw_tensor a = zw_tensor_2d(ZW_DTYPE_BF16, BASE, M, K);
	struct zw_tensor w = zw_tensor_2d(ZW_DTYPE_BF16, BASE + 0x10000, N, K);
	struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, BASE + 0x20000, M, N);
	uint16_t *fa = at(f, 0), *fw = at(f, 0x10000);
	float *fy = at(f, 0x20000);
	struct zw_cmd c;

	for (int i = 0; i < M * K; i++)
		fa[i] = bf16((float)(i * 7 % 13 - 6));
	for (int i = 0; i < N * K; i++)
		fw[i] = bf16((float)(i * 5 % 11 - 5));
	begin(f, &c);
	zw_cmd_gemm(&c, &a, &w, &y, NULL, NULL, 0, 0);
	assert_int_equal(run(f, &c), 0);
	for (int m = 0; m < M; m++) {
		for (int n = 0; n < N; n++) {
			int sum = 0; /* small integers: exact in any order */

			for (int k = 0; k < K; k++)
				sum += ((m * K + k) * 7 % 13 - 6) * ((n * K + k) * 5 % 11 - 5);
			assert_true(fy[m * N + n] == (float)sum);
		}
	}
}

/* Positions that follow each other, for the packet that asks for a run of a sequence. */
static void put_positions(struct fixture *f, const struct zw_cmd *c)
{
	const struct zw_pkt_select_slash *p = (const void *)c->base;

	if (p->hdr.opcode != ZW_OP_SELECT_SLASH)
		return;
	for (uint32_t i = 0; i < p->pos.dim[0]; i++)
		((int32_t *)at(f, p->pos.va - BASE))[i] = (int32_t)i;
}

/* Every kind of packet runs to its end on memory that is zero but for those. */
static void test_every_packet(void **state)
{
	struct fixture *f = *state;
	struct zw_cmd c;

	for (unsigned int i = 0; i < RT_PACKETS; i++) {
		memset(f->mem, 0, CMD);
		begin(f, &c);
		assert_int_equal(rt_packet(&c, i, BASE), 0);
		put_positions(f, &c);
		if (run(f, &c)) {
			struct zw_queue_error e = error_of(f->queue);
			char text[160];

			zw_queue_error_text(&e, text, sizeof(text));
			fail_msg("%s: %s",
				 zw_opcode_name(((struct zw_pkt *)(void *)c.base)->opcode), text);
		}
	}
}

static void test_row_count(void **state)
{
	struct fixture *f = *state;
	struct zw_tensor x = zw_tensor_2d(ZW_DTYPE_F32, BASE, 8, 4);
	struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, BASE + 0x1000, 8, 4);
	float *fx = at(f, 0), *fy = at(f, 0x1000);
	struct zw_cmd c;

	for (int i = 0; i < 32; i++)
		fx[i] = 1;
	begin(f, &c);
	zw_cmd_add(&c, &x, &x, &y, BASE + 0x2000, 0);
	for (uint32_t rows = 0; rows <= 8; rows += 4) {
		memset(fy, 0, 128);
		*(uint32_t *)at(f, 0x2000) = rows;
		assert_int_equal(run(f, &c), 0);
		for (uint32_t i = 0; i < 32; i++)
			assert_true(fy[i] == (i < rows * 4 ? 2.0f : 0.0f));
	}
	*(uint32_t *)at(f, 0x2000) = 9;
	assert_int_equal(run(f, &c), -EIO);
	assert_int_equal(error_of(f->queue).status, ZW_JOB_DATA);
	assert_int_equal(error_of(f->queue).reason, ZW_REASON_ROWS);
}

static void test_system_memory(void **state)
{
	struct fixture *f = *state;
	struct zw_buffer sys, hidden;
	uint8_t *p;
	struct zw_cmd c;

	assert_int_equal(zw_buffer_create(f->vm, 3 << 20, ZW_BO_SYSTEM, &sys), 0);
	assert_int_equal(zw_buffer_create(f->vm, 3 << 20, ZW_BO_HBM, &hidden), 0);
	assert_null(hidden.ptr);
	assert_int_equal(zw_bo_map(hidden.bo, (void **)&p), -EACCES);
	p = sys.ptr;
	for (unsigned int i = 0; i < 1u << 20; i++)
		p[i] = (uint8_t)(i * 31 >> 3);
	begin(f, &c);
	zw_cmd_copy(&c, hidden.va + 12345, sys.va, 1 << 20, 0);
	zw_cmd_copy(&c, sys.va + (2 << 20), hidden.va + 12345, 1 << 20, 0);
	assert_int_equal(run(f, &c), 0);
	assert_memory_equal(p, p + (2 << 20), 1 << 20);
	assert_int_not_equal(((struct zw_job_result *)at(f, RESULT))->sys_read, 0);
	zw_buffer_destroy(&sys);
	zw_buffer_destroy(&hidden);
	assert_null(sys.bo);
}

/* Two queues hand a value to and fro; each waits for the other before it goes on. */
static void test_semaphores(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *other;
	struct zw_tensor x = zw_tensor_2d(ZW_DTYPE_F32, BASE, 1, 1);
	struct zw_tensor one = zw_tensor_2d(ZW_DTYPE_F32, BASE + 64, 1, 1);
	float *fx = at(f, 0);
	struct zw_job job = {.size = sizeof(job)};
	struct zw_cmd c, d;

	*(float *)at(f, 64) = 1;
	assert_int_equal(zw_queue_create(f->vm, NULL, &other), 0);
	begin(f, &c);
	zw_cmd_init_fixed(&d, at(f, 0x600000), 0x10000);
	for (uint64_t i = 1; i <= 10; i++) {
		zw_cmd_sem_wait(&c, BASE + 128, 2 * i, 0);
		zw_cmd_add(&c, &x, &one, &x, 0, 0);
		zw_cmd_sem_signal(&c, BASE + 128, 2 * i + 1, 0);
		zw_cmd_sem_wait(&d, BASE + 128, 2 * i - 1, 0);
		zw_cmd_add(&d, &x, &x, &x, 0, 0);
		zw_cmd_sem_signal(&d, BASE + 128, 2 * i, 0);
	}
	assert_int_equal(c.error | d.error, 0);
	job.cmd_va = BASE + CMD;
	job.cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	job.cmd_va = BASE + 0x600000;
	job.cmd_bytes = (uint32_t)d.used;
	assert_int_equal(zw_queue_submit(other, &job, 1), 0);
	/* both wait; the host sets it going */
	assert_int_equal(zw_queue_drain(other, zw_deadline_ms(30)), -ETIME);
	__atomic_store_n((uint64_t *)at(f, 128), 1, __ATOMIC_RELEASE);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), 0);
	assert_int_equal(zw_queue_drain(other, LIMIT), 0);
	assert_true(*fx == 1023.0f); /* x -> 2x + 1, ten times from 0 */
	zw_queue_destroy(other);
}

/* -- fences ----------------------------------------------------------------------------------- */

static void test_fences(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *other;
	struct zw_fence *gate, *line;
	struct zw_sync syncs[2] = {{0}};
	struct zw_job job = {.size = sizeof(job), .syncs = syncs, .num_syncs = 2};
	struct zw_cmd c;
	uint32_t first;
	uint64_t value;

	assert_int_equal(zw_queue_create(f->vm, NULL, &other), 0);
	assert_int_equal(zw_fence_create(f->dev, &gate), 0);
	assert_int_equal(zw_fence_create(f->dev, &line), 0);

	/* nobody has promised gate 5 yet, so a job may not wait for it; a host may */
	syncs[0] = (struct zw_sync){.fence = gate, .point = 5};
	syncs[1] = (struct zw_sync){.fence = line, .point = 10, .flags = ZW_SYNC_SIGNAL};
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL);
	assert_int_equal(zw_fence_wait(gate, 5, zw_deadline_ms(10)), -ETIME);
	assert_int_equal(zw_fence_wait(gate, 5, 0), -ETIME);

	/* other promises gate 5, but is itself held up by a semaphore-less gate: line 3 from the
	 * host comes first */
	assert_int_equal(zw_fence_signal(line, 3), 0);
	assert_int_equal(zw_fence_query(line, &value), 0);
	assert_int_equal(value, 3);
	assert_int_equal(zw_fence_signal(line, 3), -EINVAL);
	syncs[0] = (struct zw_sync){.fence = line, .point = 3};
	syncs[1] = (struct zw_sync){.fence = gate, .point = 5, .flags = ZW_SYNC_SIGNAL};
	assert_int_equal(zw_queue_submit(other, &job, 1), 0);
	syncs[0] = (struct zw_sync){.fence = gate, .point = 4};
	syncs[1] = (struct zw_sync){.fence = line, .point = 10, .flags = ZW_SYNC_SIGNAL};
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	assert_int_equal(zw_fence_wait(line, 10, LIMIT), 0);
	assert_int_equal(zw_fence_wait(line, 7, 0), 0);
	assert_int_equal(zw_fence_query(line, &value), 0);
	assert_int_equal(value, 10);

	/* the wait is kept: nothing runs before what it waits for */
	begin(f, &c);
	zw_cmd_sem_wait(&c, BASE, 1, 0);
	first = (uint32_t)c.used;
	zw_cmd_fill(&c, BASE + 64, 4, 7, 0);
	syncs[0] = (struct zw_sync){.fence = gate, .point = 6, .flags = ZW_SYNC_SIGNAL};
	job.num_syncs = 1;
	job.cmd_va = BASE + CMD;
	job.cmd_bytes = first;
	assert_int_equal(zw_queue_submit(other, &job, 1), 0);
	syncs[0].flags = ZW_SYNC_WAIT;
	job.cmd_va = BASE + CMD + first;
	job.cmd_bytes = (uint32_t)c.used - first;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	assert_int_equal(zw_queue_drain(f->queue, zw_deadline_ms(30)), -ETIME);
	assert_int_equal(__atomic_load_n((uint32_t *)at(f, 64), __ATOMIC_ACQUIRE), 0);
	__atomic_store_n((uint64_t *)at(f, 0), 1, __ATOMIC_RELEASE);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), 0);
	assert_int_equal(__atomic_load_n((uint32_t *)at(f, 64), __ATOMIC_ACQUIRE), 7);
	syncs[0] = (struct zw_sync){.fence = gate, .point = 4};
	job = (struct zw_job){.size = sizeof(job), .syncs = syncs, .num_syncs = 2};

	/* a point may not be given out twice, nor go back; a refused submit leaves no trace */
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL);
	syncs[1].point = 9;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL);
	syncs[0] = (struct zw_sync){.fence = line, .point = 11, .flags = ZW_SYNC_SIGNAL};
	syncs[1] = (struct zw_sync){.fence = line, .point = 11, .flags = ZW_SYNC_SIGNAL};
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL);
	assert_int_equal(zw_fence_signal(line, 11), 0);
	assert_int_equal(error_of(f->queue).submitted, 2);
	zw_queue_destroy(other);
	zw_fence_destroy(gate);
	zw_fence_destroy(line);
}

/* A later point does not count before an earlier one, whichever queue is faster. */
static void test_timeline_order(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *other;
	struct zw_fence *line;
	struct zw_sync sync = {.point = 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job = {.size = sizeof(job), .syncs = &sync, .num_syncs = 1};
	struct zw_cmd c;
	uint64_t value;

	assert_int_equal(zw_queue_create(f->vm, NULL, &other), 0);
	assert_int_equal(zw_fence_create(f->dev, &line), 0);
	sync.fence = line;
	begin(f, &c);
	zw_cmd_sem_wait(&c, BASE, 1, 0);
	job.cmd_va = BASE + CMD;
	job.cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	sync.point = 2;
	job.cmd_va = 0;
	job.cmd_bytes = 0;
	assert_int_equal(zw_queue_submit(other, &job, 1), 0);
	assert_int_equal(zw_queue_drain(other, LIMIT), 0);
	assert_int_equal(zw_fence_query(line, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(zw_fence_wait(line, 2, zw_deadline_ms(10)), -ETIME);
	__atomic_store_n((uint64_t *)at(f, 0), 1, __ATOMIC_RELEASE);
	assert_int_equal(zw_fence_wait(line, 2, LIMIT), 0);
	zw_queue_destroy(other);
	zw_fence_destroy(line);
}

static void test_many_jobs(void **state)
{
	enum { JOBS = 64, ROUNDS = 10 };
	struct fixture *f = *state;
	struct zw_tensor x = zw_tensor_2d(ZW_DTYPE_F32, BASE, 1, 1);
	struct zw_tensor one = zw_tensor_2d(ZW_DTYPE_F32, BASE + 64, 1, 1);
	struct zw_job jobs[JOBS] = {{0}};
	struct zw_queue_options opt = {.size = sizeof(opt), .ring_slots = 8, .priority = 1};
	struct zw_queue *narrow;
	struct zw_cmd c;

	*(float *)at(f, 64) = 1;
	begin(f, &c);
	zw_cmd_add(&c, &x, &one, &x, 0, 0);
	for (int i = 0; i < JOBS; i++) {
		jobs[i].size = sizeof(jobs[i]);
		jobs[i].cmd_va = BASE + CMD;
		jobs[i].cmd_bytes = (uint32_t)c.used;
		jobs[i].result_va = BASE + 0x1000 + 256 * (uint64_t)i;
	}
	for (int r = 0; r < ROUNDS; r++)
		assert_int_equal(zw_queue_submit(f->queue, jobs, JOBS), 0);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), 0);
	assert_true(*(float *)at(f, 0) == JOBS * ROUNDS);
	for (uint64_t i = 0; i < JOBS; i++)
		assert_int_equal(((struct zw_job_result *)at(f, 0x1000 + 256 * i))->seqno,
				 JOBS * (ROUNDS - 1) + i + 1);
	/* more jobs than the ring has slots are held back, not refused */
	assert_int_equal(zw_queue_create(f->vm, &opt, &narrow), 0);
	assert_int_equal(zw_queue_submit(narrow, jobs, 9), -EINVAL);
	for (int i = 0; i < JOBS; i += 8)
		assert_int_equal(zw_queue_submit(narrow, jobs + i, 8), 0);
	assert_int_equal(zw_queue_drain(narrow, LIMIT), 0);
	assert_true(*(float *)at(f, 0) == JOBS * (ROUNDS + 1));
	assert_int_equal(zw_queue_submit(narrow, jobs, 0), -EINVAL);
	assert_int_equal(zw_queue_submit(narrow, jobs, JOBS + 1), -EINVAL);
	zw_queue_destroy(narrow);
}

/* -- what goes wrong -------------------------------------------------------------------------- */

static void test_bad_packet(void **state)
{
	struct fixture *f = *state;
	struct zw_job job = {.size = sizeof(job)};
	struct zw_job_result *r = at(f, RESULT);
	struct zw_queue_error e;
	struct zw_pkt_fill *bad;
	char text[128];
	struct zw_cmd c;

	begin(f, &c);
	zw_cmd_fill(&c, BASE, 64, 0x11111111, 0);
	zw_cmd_tag(&c, 0xbadf111);
	bad = zw_cmd_emit_raw(&c, ZW_OP_FILL, sizeof(*bad), 0, 0);
	bad->dst = BASE + 2;
	bad->bytes = 64;
	bad->rows = 1;
	assert_int_equal(run(f, &c), -EIO);
	e = error_of(f->queue);
	assert_int_equal(e.state, ZW_QUEUE_FAILED);
	assert_int_equal(e.status, ZW_JOB_INVALID);
	assert_int_equal(e.reason, ZW_REASON_ALIGN);
	assert_int_equal(e.packet_index, 1);
	assert_int_equal(e.failed_job, 1);
	assert_int_equal(r->status, ZW_JOB_INVALID);
	assert_int_equal(r->packet_index, 1);
	assert_int_equal(r->tag, 0xbadf111);
	if (f->sim)
		assert_int_equal(sim_of(f->dev)->queues->compl [1].tag, 0xbadf111);
	/* the form of all packets is checked before the first one runs */
	assert_int_equal(*(uint32_t *)at(f, 0), 0);
	zw_queue_error_text(&e, text, sizeof(text));
	assert_string_equal(text, "job 1, packet 1: refused: address not aligned");
	/* the queue stays stopped */
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -ECANCELED);
	assert_int_equal(zw_queue_status(f->queue), -EIO);
}

static void test_fault_and_survivor(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *other;
	struct zw_queue_error e;
	struct zw_job jobs[3] = {{0}};
	char text[128];
	struct zw_cmd c;

	assert_int_equal(zw_queue_create(f->vm, NULL, &other), 0);
	begin(f, &c);
	zw_cmd_nop(&c, 0);
	zw_cmd_fill(&c, 0x7777000, 64, 1, 0);
	for (int i = 0; i < 3; i++)
		jobs[i].size = sizeof(jobs[i]);
	jobs[1].cmd_va = BASE + CMD;
	jobs[1].cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_submit(f->queue, jobs, 3), 0);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), -EIO);
	e = error_of(f->queue);
	assert_int_equal(e.status, ZW_JOB_FAULT);
	assert_int_equal(e.reason, ZW_FAULT_UNMAPPED);
	assert_int_equal(e.fault_va, 0x7777000);
	assert_int_equal(e.fault_access, ZW_ACCESS_WRITE);
	assert_int_equal(e.failed_job, 2);
	assert_int_equal(e.packet_index, 1);
	assert_in_range(e.completed, 2, 3); /* the third may not have reached the device */
	zw_queue_error_text(&e, text, sizeof(text));
	assert_string_equal(text, "job 2, packet 1: fault: write at 0x000007777000: not mapped");
	/* a queue of the same VM does not notice */
	zw_cmd_reset(&c);
	zw_cmd_fill(&c, BASE, 64, 0x2222, 0);
	assert_int_equal(zw_queue_run(other, BASE + CMD, (uint32_t)c.used, 0, LIMIT), 0);
	assert_int_equal(*(uint32_t *)at(f, 60), 0x2222);
	zw_queue_destroy(other);
}

static void test_unmap(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *q;
	struct zw_cmd c;

	begin(f, &c);
	zw_cmd_fill(&c, BASE + 0x300000, 0x3000, 7, 0);
	assert_int_equal(run(f, &c), 0);
	/* a hole in the middle of a 2 MiB page: the page is split, its neighbours stay */
	assert_int_equal(zw_vm_unmap(f->vm, BASE + 0x301000, 0x1000), 0);
	zw_cmd_reset(&c);
	zw_cmd_fill(&c, BASE + 0x300000, 0x1000, 8, 0);
	zw_cmd_fill(&c, BASE + 0x302000, 0x1000, 8, 0);
	assert_int_equal(run(f, &c), 0);
	zw_cmd_reset(&c);
	zw_cmd_fill(&c, BASE + 0x300000, 0x3000, 9, 0);
	assert_int_equal(run(f, &c), -EIO);
	assert_int_equal(error_of(f->queue).fault_va, BASE + 0x301000);
	assert_int_equal(*(uint32_t *)at(f, 0x300000), 8); /* a packet that faults writes nothing */
	/* mapped again, elsewhere in the buffer and read-only */
	assert_int_equal(
		zw_vm_map(f->vm, f->bo, 0x500000, BASE + 0x301000, 0x1000, ZW_VM_MAP_READONLY), 0);
	*(uint32_t *)at(f, 0x500000) = 0xabcd;
	zw_cmd_reset(&c);
	zw_cmd_copy(&c, BASE, BASE + 0x301000, 4, 0);
	assert_int_equal(zw_queue_create(f->vm, NULL, &q), 0);
	assert_int_equal(zw_queue_run(q, BASE + CMD, (uint32_t)c.used, 0, LIMIT), 0);
	assert_int_equal(*(uint32_t *)at(f, 0), 0xabcd);
	zw_cmd_reset(&c);
	zw_cmd_fill(&c, BASE + 0x301000, 4, 9, 0);
	assert_int_equal(zw_queue_run(q, BASE + CMD, (uint32_t)c.used, 0, LIMIT), -EIO);
	assert_int_equal(error_of(q).reason, ZW_FAULT_PERMISSION);
	zw_queue_destroy(q);
	/* bad arguments */
	assert_int_equal(zw_vm_unmap(f->vm, BASE + 1, 0x1000), -EINVAL);
	assert_int_equal(zw_vm_unmap(f->vm, BASE, 0), -EINVAL);
	assert_int_equal(zw_vm_map(f->vm, f->bo, MEM, BASE, 0x1000, 0), -EINVAL);
	assert_int_equal(zw_vm_map(f->vm, f->bo, 0, ZW_VM_AUTO_START, 0x1000, 0), -EINVAL);
	assert_int_equal(zw_vm_map(f->vm, f->bo, 0, BASE, 0x1000, 8), -EINVAL);
}

/* Memory is zero for whoever gets it, and one VM cannot reach another's. */
static void test_isolation(void **state)
{
	struct fixture *f = *state;
	struct zw_buffer a, b;
	struct zw_vm *vm2;
	struct zw_queue *q2;
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	uint64_t va, before;

	assert_int_equal(zw_dev_get_attrs(f->dev, &attrs), 0);
	before = attrs.hbm_free;
	assert_int_equal(zw_buffer_create(f->vm, 4 << 20, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &a), 0);
	memset(a.ptr, 0xee, 4 << 20);
	va = a.va;
	zw_buffer_destroy(&a);
	assert_int_equal(zw_vm_create(f->dev, &vm2), 0);
	assert_int_equal(zw_buffer_create(vm2, 4 << 20, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &b), 0);
	for (unsigned int i = 0; i < 4u << 20; i++)
		if (((uint8_t *)b.ptr)[i])
			fail_msg("byte %u of a new buffer is not zero", i);
	assert_int_equal(b.va, va);
	assert_int_equal(zw_queue_create(vm2, NULL, &q2), 0);
	/* BASE + CMD is mapped in the first VM only */
	assert_int_equal(zw_queue_run(q2, BASE + CMD, 16, 0, LIMIT), -EIO);
	assert_int_equal(error_of(q2).fault_va, BASE + CMD);
	assert_int_equal(zw_vm_destroy(vm2), -EBUSY);
	assert_int_equal(zw_dev_close(f->dev), -EBUSY);
	zw_queue_destroy(q2);
	zw_buffer_destroy(&b);
	assert_int_equal(zw_vm_destroy(vm2), 0);
	/* nothing leaked but page tables of the first VM's upper half */
	assert_int_equal(zw_dev_get_attrs(f->dev, &attrs), 0);
	assert_in_range(attrs.hbm_free, before - 4 * 4096, before);
	assert_int_equal(zw_bo_create(f->dev, attrs.hbm_size + 4096, ZW_BO_HBM, &b.bo), -ENOMEM);
	assert_int_equal(zw_bo_create(f->dev, 0, ZW_BO_HBM, &b.bo), -EINVAL);
	if (f->sim) {
		/* what HBM has no room for is in the system, if it may be */
		assert_int_equal(zw_bo_create(f->dev, attrs.hbm_size + 4096,
					      ZW_BO_HBM | ZW_BO_SYSTEM, &b.bo),
				 0);
		zw_bo_destroy(b.bo);
	}
}

/* Addresses come back, whatever the order. */
static void test_addresses(void **state)
{
	struct fixture *f = *state;
	struct zw_buffer b[4];
	uint64_t va[4];

	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 4; i++) {
			assert_int_equal(zw_buffer_create(f->vm, i == 3 ? 2 << 20 : 5000,
							  ZW_BO_SYSTEM, &b[i]),
					 0);
			assert_int_equal(b[i].va % (i == 3 ? 2 << 20 : 4096), 0);
			assert_true(b[i].va >= ZW_VM_AUTO_START);
			/* an unmapped page behind each */
			for (int j = 0; j < i; j++)
				assert_true(b[i].va >= b[j].va + b[j].bytes + 4096 ||
					    b[j].va >= b[i].va + b[i].bytes + 4096);
			if (round)
				assert_int_equal(b[i].va, va[i]);
			va[i] = b[i].va;
		}
		assert_int_equal(zw_vm_unmap_auto(f->vm, va[0] + 4096), -ENOENT);
		for (int i = 0; i < 4; i++)
			zw_buffer_destroy(&b[(i * 3 + round) % 4]);
	}
}

/* A handle that is gone does not take the memory away from a VM that maps it. */
static void test_buffer_outlives_handle(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *bo;
	struct zw_cmd c;
	void *ptr, *again;

	assert_int_equal(zw_bo_create(f->dev, 1, ZW_BO_SYSTEM, &bo), 0);
	assert_int_equal(zw_bo_size(bo), 4096);
	assert_int_equal(zw_bo_flags(bo), ZW_BO_SYSTEM);
	assert_int_equal(zw_bo_set_label(bo, "kept by a mapping"), 0);
	assert_int_equal(zw_bo_set_label(bo, NULL), 0);
	assert_int_equal(zw_bo_map(bo, &ptr), 0);
	assert_int_equal(zw_bo_map(bo, &again), 0);
	assert_ptr_equal(ptr, again);
	*(uint32_t *)ptr = 0x5a5a;
	assert_int_equal(zw_vm_map(f->vm, bo, 0, 0x11000, 4096, 0), 0);
	zw_bo_destroy(bo);
	begin(f, &c);
	zw_cmd_copy(&c, BASE, 0x11000, 4, 0);
	assert_int_equal(run(f, &c), 0);
	assert_int_equal(*(uint32_t *)at(f, 0), 0x5a5a);
	assert_int_equal(zw_vm_unmap(f->vm, 0x10000, 0x10000), 0);
	assert_int_equal(run(f, &c), -EIO);
}

/* Buffers of zw_buffer_create() belong to their VM; what may be in two places is in one of them. */
static void test_placements(void **state)
{
	struct fixture *f = *state;
	struct zw_dev_attrs a = {.size = sizeof(a)};
	struct zw_buffer buf;
	struct zw_vm *other;
	struct zw_bo *bo;
	void *ptr;

	assert_int_equal(zw_buffer_create(f->vm, 4096, ZW_BO_SYSTEM | ZW_BO_NO_EVICT, &buf), 0);
	assert_int_equal(zw_vm_create(f->dev, &other), 0);
	assert_int_equal(zw_vm_map(other, buf.bo, 0, BASE, 4096, 0), -EINVAL);
	assert_int_equal(zw_vm_map(f->vm, buf.bo, 0, 2 * BASE, 4096, 0), 0);
	zw_buffer_destroy(&buf);
	assert_int_equal(zw_vm_destroy(other), 0);

	assert_int_equal(zw_bo_create(f->dev, 4096, 0, &bo), -EINVAL);
	assert_int_equal(zw_bo_create(f->dev, 4096, ZW_BO_SYSTEM | ZW_BO_CPU_VISIBLE, &bo),
			 -EINVAL);
	assert_int_equal(zw_bo_create(f->dev, 4096, ZW_BO_HBM | ZW_BO_SYSTEM, &bo), 0);
	assert_int_equal(zw_bo_map(bo, &ptr), -EACCES);
	zw_bo_destroy(bo);
	assert_int_equal(zw_dev_get_attrs(f->dev, &a), 0);
	assert_int_equal(
		zw_bo_create(f->dev, 4096, ZW_BO_HBM | ZW_BO_SYSTEM | ZW_BO_CPU_VISIBLE, &bo), 0);
	assert_int_equal(zw_bo_map(bo, &ptr), 0);
	zw_bo_destroy(bo);
	assert_int_equal(zw_vm_map(f->vm, f->bo, 0, a.va_start, 4096, 0), 0);
	assert_int_equal(zw_vm_map(f->vm, f->bo, 0, a.va_start - 4096, 4096, 0), -EINVAL);
	assert_int_equal(zw_vm_unmap(f->vm, a.va_start - 4096, 8192), -EINVAL);
	assert_int_equal(zw_vm_unmap(f->vm, a.va_start, 4096), 0);
}

static void test_destroy_in_flight(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *fence;
	struct zw_sync sync = {.flags = ZW_SYNC_SIGNAL};
	struct zw_job job = {.size = sizeof(job), .syncs = &sync, .num_syncs = 1};
	struct zw_queue *q;
	struct zw_cmd c;

	assert_int_equal(zw_fence_create(f->dev, &fence), 0);
	sync.fence = fence;
	begin(f, &c);
	zw_cmd_sem_wait(&c, BASE, 1, 0); /* never comes */
	job.cmd_va = BASE + CMD;
	job.cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_create(f->vm, NULL, &q), 0);
	for (uint64_t i = 1; i <= 100; i++) {
		sync.point = i;
		assert_int_equal(zw_queue_submit(q, &job, 1), 0);
	}
	assert_int_equal(zw_fence_wait(fence, 1, zw_deadline_ms(20)), -ETIME);
	assert_int_equal(zw_bo_wait(f->bo, zw_deadline_ms(10)), -ETIME);
	assert_int_equal(zw_queue_status(q), 0); /* waiting is no error */
	zw_queue_destroy(q);
	assert_int_equal(zw_fence_wait(fence, 100, LIMIT), 0);
	assert_int_equal(zw_fence_wait(fence, 100, 0), 0);
	assert_int_equal(zw_bo_wait(f->bo, LIMIT), 0);
	assert_int_equal(zw_bo_wait(f->bo, ZW_FOREVER), 0);
	assert_int_equal(zw_bo_wait(f->bo, 0), 0);
	assert_int_equal(zw_fence_wait(fence, 100, ZW_FOREVER), 0);
	zw_fence_destroy(fence);
	/* and the device goes on */
	assert_int_equal(zw_queue_run(f->queue, 0, 0, 0, LIMIT), 0);
}

static void test_bad_jobs(void **state)
{
	struct fixture *f = *state;
	const struct zw_job good = {.size = sizeof(good)};
	struct zw_queue_options opt = {.size = sizeof(opt)};
	struct zw_queue *q;
	struct zw_job j;

#define REFUSED(field, value)                                                                      \
	do {                                                                                       \
		j = good;                                                                          \
		j.field = value;                                                                   \
		assert_int_equal(zw_queue_submit(f->queue, &j, 1), -EINVAL);                       \
	} while (0)
	REFUSED(size, 0);
	REFUSED(flags, 1);
	REFUSED(cmd_va, 16);    /* without a length */
	REFUSED(cmd_bytes, 16); /* without an address */
	REFUSED(result_va, 32);
	REFUSED(num_syncs, 1);
	REFUSED(num_syncs, ZW_JOB_MAX_SYNCS + 1);
#undef REFUSED
	opt.ring_slots = 12;
	assert_int_equal(zw_queue_create(f->vm, &opt, &q), -EINVAL);
	opt.ring_slots = 2048;
	assert_int_equal(zw_queue_create(f->vm, &opt, &q), -EINVAL);
	opt.ring_slots = 0;
	opt.priority = 4;
	assert_int_equal(zw_queue_create(f->vm, &opt, &q), -EINVAL);
	assert_int_equal(zw_queue_run(f->queue, 0, 0, 0, LIMIT), 0);
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	static struct zw_queue *queues[4100];
	static struct zw_vm *vms[4100];
	int n = 0, m = 0, ret;

	while (!(ret = zw_queue_create(f->vm, NULL, &queues[n])))
		assert_in_range(++n, 1, 4096);
	assert_int_equal(ret, -ENOSPC);
	/* the device's queues but the fixture's; on drm a client has a share of them */
	if (f->sim)
		assert_int_equal(n, 255);
	else
		assert_in_range(n, 7, 4095);
	for (int i = 0; i < n; i++)
		assert_int_equal(zw_queue_run(queues[i], 0, 0, 0, LIMIT), 0);
	while (n)
		zw_queue_destroy(queues[--n]);
	while (!(ret = zw_vm_create(f->dev, &vms[m])))
		assert_in_range(++m, 1, 4096);
	assert_int_equal(ret, -ENOSPC);
	while (m)
		assert_int_equal(zw_vm_destroy(vms[--m]), 0);
}

/* -- builder and device agree ----------------------------------------------------------------- */

/* What the engines compute with; nothing tells it at run time yet. */
#define COMPUTED                                                                                   \
	(ZW_DT_FLOAT | ZW_DT_BLOCKED | ZW_DT(I32) | ZW_DT(I8) | ZW_DT(U8) | ZW_DT(I4) | ZW_DT(U4))

/*
 * What the checker says about a broken packet, the device says, too: same packet, same reason. They
 * are two implementations of one specification.
 */
static void test_checker_against_device(void **state)
{
	struct fixture *f = *state;
	unsigned int refused = 0, ran = 0;
	uint64_t seed = 3;

	for (unsigned int round = 0; round < 3000; round++) {
		struct zw_queue_error e;
		struct zw_error what = {""};
		uint32_t packet = 0;
		struct zw_cmd c;
		int reason, ret;

		begin(f, &c);
		zw_cmd_nop(&c, 0);
		rt_packet(&c, round % RT_PACKETS, BASE);
		assert_int_equal(zw_cmd_finish(&c), 0);
		rt_mutate(c.base + sizeof(struct zw_pkt), c.used - sizeof(struct zw_pkt), &seed);
		reason = zw_cmd_check(c.base, c.used, &packet, &what);
		if (!reason) {
			packet = 1;
			reason = zw_cmd_check_supported(c.base + sizeof(struct zw_pkt),
							c.used - sizeof(struct zw_pkt), COMPUTED,
							&what);
		}
		if (((struct zw_pkt *)(void *)(c.base + sizeof(struct zw_pkt)))->opcode ==
			    ZW_OP_SEM_WAIT &&
		    !reason)
			continue; /* may wait for good */
		ret = zw_queue_run(f->queue, BASE + CMD, (uint32_t)c.used, 0, LIMIT);
		e = error_of(f->queue);
		if (reason) {
			if (ret != -EIO || e.status != ZW_JOB_INVALID ||
			    e.reason != (uint32_t)reason || e.packet_index != packet) {
				zw_cmd_dump(stderr, c.base, c.used);
				fail_msg("round %u: checker says %d (%s), device %u: %s", round,
					 reason, what.msg, e.reason, zw_reason_name(e.reason));
			}
			refused++;
		} else {
			if (ret && e.status == ZW_JOB_INVALID) {
				zw_cmd_dump(stderr, c.base, c.used);
				fail_msg(
					"round %u: the checker accepts what the device refuses: %s",
					round, zw_reason_name(e.reason));
			}
			ran++;
		}
		if (ret) {
			zw_queue_destroy(f->queue);
			assert_int_equal(zw_queue_create(f->vm, NULL, &f->queue), 0);
		}
	}
	assert_in_range(refused, 600, 3000);
	assert_in_range(ran, 200, 3000);
}

/* -- several threads -------------------------------------------------------------------------- */

struct worker {
	struct fixture *f;
	unsigned int number;
	int failures;
};

static void *work(void *opaque)
{
	struct worker *w = opaque;

	for (unsigned int i = 0; i < 25; i++) {
		struct zw_buffer b;
		struct zw_queue *q;
		uint32_t want = w->number * 1000 + i;
		struct zw_cmd c;

		w->failures += !!zw_buffer_create(
			w->f->vm, 1 << 16, i % 2 ? ZW_BO_SYSTEM : ZW_BO_HBM | ZW_BO_CPU_VISIBLE,
			&b);
		w->failures += !!zw_queue_create(w->f->vm, NULL, &q);
		if (w->failures)
			return NULL;
		zw_cmd_init_fixed(&c, b.ptr, 4096);
		zw_cmd_fill(&c, b.va + 4096, 4096, want, 0);
		w->failures += !!zw_queue_run(q, b.va, (uint32_t)c.used, 0, LIMIT);
		for (unsigned int k = 1024; k < 2048; k++)
			w->failures += ((uint32_t *)b.ptr)[k] != want;
		zw_queue_destroy(q);
		zw_buffer_destroy(&b);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[4];
	struct worker w[4];

	for (unsigned int i = 0; i < 4; i++) {
		w[i] = (struct worker){.f = f, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
	}
	for (unsigned int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(w[i].failures, 0);
	}
}

/* -- a device that breaks, sim only ------------------------------------------------------------ */

static void test_firmware_says_no(void **state)
{
	struct fixture *f = *state;
	struct zw_msg_queue m = {.queue = 63};

	if (!f->sim)
		skip();
	quiet(f);
	assert_int_equal(
		zw_sim_mbox_call(sim_of(f->dev), ZW_MSG_RESUME_QUEUE, &m, sizeof(m), NULL, 0),
		-EIO);
	/* the mailbox goes on */
	assert_int_equal(
		zw_sim_mbox_call(sim_of(f->dev), ZW_MSG_PING, &m, sizeof(m), &m, sizeof(m)), 0);
	assert_int_equal(m.queue, 63);
}

/* Somebody resets the device behind the driver's back while a job waits: everything ends, nothing
 * hangs. */
static void test_device_lost(void **state)
{
	struct fixture *f = *state;
	struct zw_dev_attrs a = {.size = sizeof(a)};
	struct zw_queue_error e = {.size = sizeof(e)};
	struct zw_job job = {.size = sizeof(job)};
	struct zw_fence *fence;
	struct zw_bo *bo;
	struct zw_vm *vm;
	struct zw_cmd c;

	if (!f->sim)
		skip();
	quiet(f);
	assert_int_equal(zw_fence_create(f->dev, &fence), 0);
	begin(f, &c);
	zw_cmd_sem_wait(&c, BASE, 1, 0);
	job.cmd_va = BASE + CMD;
	job.cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	zw_sim_write32(sim_of(f->dev), ZW_REG_RESET, ZW_RESET_KEY);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), -ENODEV);
	assert_int_equal(zw_fence_wait(fence, 1, LIMIT), -ENODEV);
	assert_int_equal(zw_bo_wait(f->bo, LIMIT), -ENODEV);
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -ENODEV);
	assert_int_equal(zw_queue_get_error(f->queue, &e), -ENODEV);
	assert_int_equal(zw_dev_get_attrs(f->dev, &a), -ENODEV);
	assert_int_equal(zw_bo_create(f->dev, 4096, ZW_BO_HBM, &bo), -ENODEV);
	assert_int_equal(zw_vm_create(f->dev, &vm), -ENODEV);
	assert_int_equal(zw_vm_unmap(f->vm, BASE, 0x1000), -ENODEV);
	zw_fence_destroy(fence);
	/* and the teardown has to come to an end */
}

/* -- opening ---------------------------------------------------------------------------------- */

static void open_fails(const char *spec, struct zw_dev_options *opt, int code, const char *text)
{
	struct zw_error err = {""};
	struct zw_dev *dev;

	assert_int_equal(zw_dev_open(spec, opt, &dev, &err), code);
	assert_null(dev);
	if (!strstr(err.msg, text))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

/* A profile file in place of a name. */
static void test_profile_file(struct zw_dev_options *opt)
{
	char name[] = "/tmp/zw-test-XXXXXX";
	struct zw_dev_attrs a = {.size = sizeof(a)};
	FILE *file = fdopen(mkstemp(name), "w");
	struct zw_error err = {0};
	struct zw_dev *dev;

	assert_non_null(file);
	fputs("base = 810e\nname = mine\n", file);
	fflush(file);
	opt->profile = name;
	assert_int_equal(zw_dev_open("sim", opt, &dev, &err), 0);
	assert_int_equal(zw_dev_get_attrs(dev, &a), 0);
	assert_string_equal(a.profile_name, "mine");
	assert_int_equal(a.profile, 0);
	zw_dev_close(dev);
	fputs("speed = 11\n", file);
	fclose(file);
	open_fails("sim", opt, -EINVAL, "line 3");
	unlink(name);
	open_fails("sim", opt, -ENOENT, name);
}

static void test_open_errors(void **state)
{
	struct zw_dev_options opt = {.size = sizeof(opt), .hbm_bytes = 16u << 20};
	char name[] = "/tmp/zw-test-XXXXXX";
	uint8_t image[1 << 16];
	size_t bytes;
	FILE *file;

	if (strcmp(device(), "sim"))
		skip();
	open_fails("simulator", &opt, -EINVAL, "not auto, drm, drm:N or sim");
	open_fails("drm:x", &opt, -EINVAL, "no number");
	opt.profile = "h100";
	open_fails("sim", &opt, -EINVAL, "no chip profile \"h100\"");
	test_profile_file(&opt);
	opt.profile = "c12";
	opt.hbm_bytes = 12345;
	open_fails("sim", &opt, -EINVAL, "2 MiB");
	opt.hbm_bytes = 16u << 20;
	opt.workers = 1000;
	open_fails("sim", &opt, -EINVAL, "workers");
	opt.workers = ZW_DEV_WORKERS_NONE;
	opt.flags = ZW_DEV_TIMING_ONLY;
	open_fails("drm", &opt, -EOPNOTSUPP, "mode of the simulator");
	opt.profile_lines = "hbm_bw = x2\nspeed = 3";
	open_fails("sim", &opt, -EINVAL, "line 2: unknown key 'speed'");
	opt.profile_lines = NULL;
	opt.flags = 1u << 31;
	open_fails("sim", &opt, -EINVAL, "flags");
	opt.flags = 0;
	opt.firmware = "/nonexistent/fw.bin";
	open_fails("sim", &opt, -ENOENT, "/nonexistent/fw.bin");

	/* one bit of the image is wrong */
	assert_non_null(getenv("ZW_FIRMWARE"));
	file = fopen(getenv("ZW_FIRMWARE"), "rb");
	assert_non_null(file);
	bytes = fread(image, 1, sizeof(image), file);
	assert_true(bytes > 1000);
	fclose(file);
	image[bytes / 2] ^= 4;
	close(mkstemp(name));
	opt.firmware = name;
	file = fopen(name, "wb");
	assert_int_equal(fwrite(image, 1, bytes, file), bytes);
	fclose(file);
	open_fails("sim", &opt, -EPROTO, "corrupt");
	file = fopen(name, "wb");
	assert_int_equal(fwrite("hello, this is no firmware image", 1, 32, file), 32);
	fclose(file);
	open_fails("sim", &opt, -EPROTO, "firmware refused");
	assert_int_equal(truncate(name, 0), 0);
	open_fails("sim", &opt, -EINVAL, "1 byte to 1 MiB");
	unlink(name);
}

/* Without engine threads, and with another profile, results are the same. */
static void test_other_shapes_of_device(void **state)
{
	static const char *const profiles[] = {"810e", "m890", "c12"};
	static const int32_t workers[] = {ZW_DEV_WORKERS_NONE, 1, 4};

	if (strcmp(device(), "sim"))
		skip();
	for (int i = 0; i < 3; i++) {
		struct zw_dev_options opt = {
			.size = sizeof(opt),
			.profile = profiles[i],
			.workers = workers[i],
		};
		struct zw_dev_attrs a = {.size = sizeof(a)};
		struct zw_buffer b;
		struct zw_queue *q;
		struct zw_vm *vm;
		struct zw_dev *dev;
		struct zw_cmd c;

		assert_int_equal(zw_dev_open("sim", &opt, &dev, NULL), 0);
		assert_int_equal(zw_dev_get_attrs(dev, &a), 0);
		assert_string_equal(a.profile_name, profiles[i]);
		assert_true(a.hbm_size > 1ull << 33); /* the chip's own, sparsely */
		assert_int_equal(zw_vm_create(dev, &vm), 0);
		assert_int_equal(zw_buffer_create(vm, 8192, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &b), 0);
		assert_int_equal(zw_queue_create(vm, NULL, &q), 0);
		zw_cmd_init_fixed(&c, b.ptr, 4096);
		zw_cmd_fill(&c, b.va + 4096, 4096, 0x77, 0);
		assert_int_equal(zw_queue_run(q, b.va, (uint32_t)c.used, 0, LIMIT), 0);
		assert_int_equal(((uint32_t *)b.ptr)[2047], 0x77);
		zw_queue_destroy(q);
		zw_buffer_destroy(&b);
		assert_int_equal(zw_vm_destroy(vm), 0);
		assert_int_equal(zw_dev_close(dev), 0);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_attributes),
		T(test_add),
		T(test_gemm),
		T(test_every_packet),
		T(test_row_count),
		T(test_system_memory),
		T(test_semaphores),
		T(test_fences),
		T(test_timeline_order),
		T(test_many_jobs),
		T(test_bad_packet),
		T(test_fault_and_survivor),
		T(test_unmap),
		T(test_isolation),
		T(test_addresses),
		T(test_buffer_outlives_handle),
		T(test_placements),
		T(test_destroy_in_flight),
		T(test_bad_jobs),
		T(test_limits),
		T(test_checker_against_device),
		T(test_threads),
		T(test_firmware_says_no),
		T(test_device_lost),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_other_shapes_of_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
