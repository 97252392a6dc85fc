// SPDX-License-Identifier: MIT
/* Records and sums of what a device did, on sim or on $ZW_TEST_DEVICE. $ZW_FIRMWARE names the image. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "zhenwu/zhenwu.h"

#define LIMIT   zw_deadline_ms(120000)
#define PACKETS 5u
#define JOBS    300u
#define MAX     (JOBS * (PACKETS + 4) + 16)

struct fixture {
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_queue *queue;
	struct zw_buffer mem, cmd;
	struct zw_cmd c;
};

static void begin(struct fixture *f, uint32_t flags)
{
	const struct zw_dev_options opt = {.size = sizeof(opt),
					   .hbm_bytes = 64u << 20,
					   .workers = ZW_DEV_WORKERS_NONE,
					   .flags = flags};
	const char *device = getenv("ZW_TEST_DEVICE");
	struct zw_error err = {""};

	if (zw_dev_open(device ? device : "sim", &opt, &f->dev, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_vm_create(f->dev, &f->vm), 0);
	assert_int_equal(zw_queue_create(f->vm, NULL, &f->queue), 0);
	assert_int_equal(zw_buffer_create(f->vm, 1u << 20, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &f->mem),
			 0);
	assert_int_equal(zw_buffer_create(f->vm, 65536, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &f->cmd), 0);
	zw_cmd_init_fixed(&f->c, f->cmd.ptr, 65536);
	for (uint32_t i = 0; i < PACKETS; i++) {
		zw_cmd_tag(&f->c, 0x100 + i);
		zw_cmd_fill(&f->c, f->mem.va, 4096 * (i + 1), i, 0);
	}
	assert_int_equal(zw_cmd_finish(&f->c), 0);
}

static void run(struct fixture *f)
{
	/* the job result: behind what is filled */
	assert_int_equal(zw_queue_run(f->queue, f->cmd.va, (uint32_t)f->c.used,
				      f->mem.va + (512u << 10), LIMIT),
			 0);
}

static void drop_queue(struct fixture *f)
{
	zw_queue_destroy(f->queue);
	f->queue = NULL;
}

static void end(struct fixture *f)
{
	if (f->queue)
		drop_queue(f);
	zw_cmd_fini(&f->c);
	zw_buffer_destroy(&f->mem);
	zw_buffer_destroy(&f->cmd);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	assert_int_equal(zw_dev_close(f->dev), 0);
}

/* All there are, a few at a time. */
static size_t read_all(struct fixture *f, struct zw_trace_record *r, size_t max, size_t at_once)
{
	uint64_t lost = 1;
	size_t n = 0;
	int got;

	do {
		got = zw_dev_read_trace(f->dev, r + n, at_once < max - n ? at_once : max - n,
					sizeof(*r), &lost);
		assert_true(got >= 0 && (size_t)got <= at_once);
		n += (size_t)got;
	} while (got);
	assert_int_equal(lost, 0);
	return n;
}

/* Every job: submitted, begun, its packets by number, ended, seen; and the sums are the job result's. */
static void test_jobs(void **state)
{
	struct zw_trace_record *r = calloc(MAX, sizeof(*r));
	struct zw_job_result res;
	uint64_t jobs = 0, packets = 0, submits = 0, dones = 0, busy = 0, begun = 0;
	uint64_t energy = 0;
	struct fixture f = {0};
	size_t n;

	(void)state;
	begin(&f, ZW_DEV_TRACE);
	for (uint32_t i = 0; i < JOBS; i++)
		run(&f);
	memcpy(&res, (char *)f.mem.ptr + (512u << 10), sizeof(res));
	drop_queue(&f);
	n = read_all(&f, r, MAX, 7);
	for (size_t i = 0; i < n; i++) {
		switch (r[i].kind) {
		case ZW_TRACE_SUBMIT:
			submits++;
			assert_int_equal(r[i].job, submits);
			assert_true(r[i].host_ns);
			break;
		case ZW_TRACE_DONE:
			dones++;
			assert_int_equal(r[i].job, dones);
			assert_true(dones <= submits);
			break;
		case ZW_TRACE_BEGIN:
			begun++;
			assert_int_equal(r[i].job, begun);
			assert_int_equal(r[i].engine, ZW_ENGINE_CP);
			break;
		case ZW_TRACE_PACKET:
			assert_int_equal(r[i].job, jobs + 1);
			assert_int_equal(r[i].index, packets % PACKETS);
			assert_int_equal(r[i].tag, 0x100 + r[i].index);
			assert_int_equal(r[i].opcode, ZW_OP_FILL);
			assert_int_equal(r[i].engine, ZW_ENGINE_DMA);
			assert_true(r[i].port[ZW_TRACE_PORT_HBM].end_ps <= r[i].end_ps);
			assert_true(r[i].port[ZW_TRACE_PORT_HBM].start_ps > 0);
			assert_int_equal(r[i].port[ZW_TRACE_PORT_SYS_READ].end_ps, 0);
			packets++;
			energy += r[i].energy_pj;
			if (jobs + 1 == JOBS)
				busy += r[i].end_ps - r[i].start_ps;
			break;
		case ZW_TRACE_JOB:
			jobs++;
			assert_int_equal(r[i].job, jobs);
			assert_int_equal(packets, jobs * PACKETS);
			/* Of a device that others used before, a result's time is not final. */
			if (jobs == JOBS && !getenv("ZW_TEST_DEVICE")) {
				assert_int_equal(r[i].start_ps, res.start_ps);
				assert_int_equal(r[i].end_ps, res.end_ps);
			}
			break;
		default:
			fail_msg("record of kind %u", r[i].kind);
		}
	}
	assert_int_equal(jobs, JOBS);
	assert_int_equal(begun, JOBS);
	assert_int_equal(submits, JOBS);
	assert_int_equal(dones, JOBS);
	assert_int_equal(busy, res.busy_ps[ZW_ENGINE_DMA]);
	assert_true(energy);
	assert_int_equal(energy, JOBS * res.energy_pj);
	end(&f);
	free(r);
}

/* A caller of another version, and one that takes nothing. */
static void test_sizes(void **state)
{
	struct wide {
		struct zw_trace_record r;
		uint64_t tail;
	} wide[2];
	const size_t first_size = offsetof(struct zw_trace_record, energy_pj);
	struct zw_trace_record r;
	struct fixture f = {0};

	(void)state;
	begin(&f, ZW_DEV_TRACE);
	run(&f);
	assert_int_equal(zw_dev_read_trace(f.dev, NULL, 0, sizeof(r), NULL), 0);
	assert_int_equal(zw_dev_read_trace(f.dev, NULL, 1, sizeof(r), NULL), -EINVAL);
	/* what records had at first is the least */
	assert_int_equal(zw_dev_read_trace(f.dev, &r, 1, first_size - 8, NULL), -EINVAL);
	memset(&r, 0xff, sizeof(r));
	assert_int_equal(zw_dev_read_trace(f.dev, &r, 1, first_size, NULL), 1);
	assert_int_equal(r.kind, ZW_TRACE_SUBMIT);
	assert_true(r.host_ns && r.host_ns != UINT64_MAX);
	assert_int_equal(r.energy_pj, UINT64_MAX);
	assert_int_equal(zw_dev_read_trace(f.dev, &r, 1, 8192, NULL), -E2BIG);
	memset(wide, 0xff, sizeof(wide));
	assert_int_equal(zw_dev_read_trace(f.dev, &wide[0].r, 2, sizeof(wide[0]), NULL), 2);
	assert_in_range(wide[0].r.kind, ZW_TRACE_BEGIN, ZW_TRACE_DONE);
	assert_int_equal(wide[0].tail, 0);
	assert_int_equal(wide[1].tail, 0);
	/* records that nobody took go with the device */
	end(&f);
}

/* Nobody asked for records. */
static void test_refused(void **state)
{
	struct zw_trace_record r;
	struct fixture f = {0};

	(void)state;
	begin(&f, 0);
	run(&f);
	assert_int_equal(zw_dev_read_trace(f.dev, &r, 1, sizeof(r), NULL), -EOPNOTSUPP);
	end(&f);
}

/* -- sums ------------------------------------------------------------------------------------- */

static struct zw_queue *counting_queue(struct fixture *f, uint32_t flags)
{
	const struct zw_queue_options opt = {
		.size = sizeof(opt), .priority = ZW_PRIO_NORMAL, .flags = flags};
	struct zw_queue *q;

	assert_int_equal(zw_queue_create(f->vm, &opt, &q), 0);
	return q;
}

/* The sums, when all of so many jobs are in them. */
static struct zw_queue_perf sums_of(struct zw_queue *q, uint64_t jobs)
{
	struct zw_queue_perf p = {.size = sizeof(p)};

	for (int i = 0; i < 6000; i++) {
		assert_int_equal(zw_queue_get_perf(q, &p), 0);
		assert_int_equal(p.size, sizeof(p));
		assert_true(p.job <= jobs);
		if (p.job == jobs)
			break;
		usleep(10000);
	}
	assert_int_equal(p.job, jobs);
	return p;
}

/* What the results of the jobs say, added up. No records are read, and more come than a small stream holds. */
static void test_sums(void **state)
{
	struct zw_job_result res;
	struct zw_queue_perf p;
	struct fixture f = {0};

	(void)state;
	begin(&f, 0);
	p = (struct zw_queue_perf){.size = sizeof(p)};
	assert_int_equal(zw_queue_get_perf(f.queue, &p), -EINVAL);
	drop_queue(&f);
	f.queue = counting_queue(&f, ZW_QUEUE_PERF);
	p = sums_of(f.queue, 0);
	assert_int_equal(p.packets, 0);
	assert_int_equal(p.end_ps, 0);
	for (uint32_t i = 0; i < JOBS; i++)
		run(&f);
	memcpy(&res, (char *)f.mem.ptr + (512u << 10), sizeof(res));
	p = sums_of(f.queue, JOBS);
	assert_int_equal(p.packets, JOBS * PACKETS);
	assert_int_equal(p.busy_ps[ZW_ENGINE_DMA], JOBS * res.busy_ps[ZW_ENGINE_DMA]);
	assert_int_equal(p.busy_ps[ZW_ENGINE_TENSOR], 0);
	assert_int_equal(p.energy_pj, JOBS * res.energy_pj);
	assert_int_equal(p.hbm_bytes, JOBS * res.hbm_written);
	assert_int_equal(p.sys_bytes, 0);
	assert_true(p.port_busy_ps[ZW_TRACE_PORT_HBM] > 0);
	assert_int_equal(p.port_busy_ps[ZW_TRACE_PORT_SYS_READ], 0);
	assert_true(p.end_ps >= p.busy_ps[ZW_ENGINE_DMA]);
	/* One that takes the number of a queue that is gone begins at nothing. */
	drop_queue(&f);
	f.queue = counting_queue(&f, ZW_QUEUE_PERF);
	assert_int_equal(sums_of(f.queue, 0).packets, 0);
	run(&f);
	assert_int_equal(sums_of(f.queue, 1).packets, PACKETS);
	p.size = 8;
	assert_int_equal(zw_queue_get_perf(f.queue, &p), -EINVAL);
	end(&f);
}

/* Beside a trace, whose records they do not take, and on a user-mode queue. */
static void test_sums_of_others(void **state)
{
	const struct zw_vm_options lr = {.size = sizeof(lr), .flags = ZW_VM_LONG_RUNNING};
	struct zw_trace_record r[64];
	struct fixture f = {0};
	struct zw_vm *vm;
	size_t n;

	(void)state;
	begin(&f, ZW_DEV_TRACE);
	run(&f);
	assert_int_equal(sums_of(f.queue, 1).packets, PACKETS);
	drop_queue(&f);
	n = read_all(&f, r, 64, 64);
	assert_int_equal(n, PACKETS + 4);
	assert_int_equal(zw_vm_create_with(f.dev, &lr, &vm), 0);
	assert_int_equal(zw_queue_create(vm, NULL, &f.queue), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(zw_queue_run(f.queue, 0, 0, 0, LIMIT), 0);
	assert_int_equal(sums_of(f.queue, 3).packets, 0);
	drop_queue(&f);
	assert_int_equal(zw_vm_destroy(vm), 0);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jobs),           cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_refused),        cmocka_unit_test(test_sums),
		cmocka_unit_test(test_sums_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
