// SPDX-License-Identifier: MIT
/*
 * User-mode queues of the runtime, on sim or, with ZW_TEST_DEVICE, on a driver: rings, waits, fences,
 * errors. $ZW_FIRMWARE names the image.
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
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "sim.h"
#include "zhenwu/copier.h"

#define MEM   (1u << 20)
#define LIMIT zw_deadline_ms(60000) /* a sanitizer build on a busy machine is slow */

/* Places in the buffer: commands of job i, a word it fills, a semaphore, results. */
#define CMD(i)  (0x10000u + 256u * (i))
#define WORD(i) (0x1000u + 4u * (i))
#define SEM     0x100u
#define RESULT  0x8000u

struct fixture {
	bool sim;
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_buffer buf;
	struct zw_queue *queue; /* of 8 slots */
};

static struct zw_queue *queue_of(struct fixture *f, uint32_t slots)
{
	const struct zw_queue_options opt = {.size = sizeof(opt),
					     .priority = ZW_PRIO_NORMAL,
					     .ring_slots = slots,
					     .flags = ZW_QUEUE_USER};
	struct zw_queue *q;

	assert_int_equal(zw_queue_create(f->vm, &opt, &q), 0);
	return q;
}

static int setup(void **state)
{
	const struct zw_dev_options opt = {
		.size = sizeof(opt), .profile = "810e", .hbm_bytes = 64u << 20, .workers = 1};
	const struct zw_vm_options lr = {.size = sizeof(lr), .flags = ZW_VM_LONG_RUNNING};
	struct fixture *f = calloc(1, sizeof(*f));
	const char *spec = getenv("ZW_TEST_DEVICE");
	struct zw_error err = {""};

	f->sim = !spec || !*spec || !strcmp(spec, "sim");
	if (zw_dev_open(f->sim ? "sim" : spec, f->sim ? &opt : NULL, &f->dev, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return -1;
	}
	f->dev->log = NULL;
	assert_int_equal(zw_vm_create_with(f->dev, &lr, &f->vm), 0);
	assert_int_equal(zw_buffer_create(f->vm, MEM, ZW_BO_SYSTEM, &f->buf), 0);
	f->queue = queue_of(f, 8);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	zw_queue_destroy(f->queue);
	zw_buffer_destroy(&f->buf);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	assert_int_equal(zw_dev_close(f->dev), 0);
	free(f);
	return 0;
}

static uint32_t word(struct fixture *f, uint32_t i)
{
	return __atomic_load_n((uint32_t *)(void *)((char *)f->buf.ptr + WORD(i)),
			       __ATOMIC_ACQUIRE);
}

/* A job that waits for the semaphore if it is to, then fills word i. */
static struct zw_job fill_job(struct fixture *f, uint32_t i, uint32_t value, bool waits)
{
	struct zw_cmd c;

	zw_cmd_init_fixed(&c, (char *)f->buf.ptr + CMD(i), 256);
	if (waits)
		zw_cmd_sem_wait(&c, f->buf.va + SEM, 1, 0);
	zw_cmd_fill(&c, f->buf.va + WORD(i), 4, value, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	return (struct zw_job){.size = sizeof(struct zw_job),
			       .cmd_va = f->buf.va + CMD(i),
			       .cmd_bytes = (uint32_t)c.used};
}

static void release(struct fixture *f)
{
	__atomic_store_n((uint64_t *)(void *)((char *)f->buf.ptr + SEM), 1, __ATOMIC_RELEASE);
}

static void *release_later(void *arg)
{
	usleep(50000);
	release(arg);
	return NULL;
}

static struct zw_queue_error error_of(struct zw_queue *q)
{
	struct zw_queue_error e = {.size = sizeof(e)};

	assert_int_equal(zw_queue_get_error(q, &e), 0);
	return e;
}

/* -- queues ----------------------------------------------------------------------------------- */

static void test_options(void **state)
{
	struct fixture *f = *state;
	struct zw_queue_options opt = {.size = sizeof(opt), .priority = 1, .flags = ZW_QUEUE_USER};
	struct zw_vm_options vopt = {.size = sizeof(vopt), .flags = 2};
	struct zw_vm *vm;
	struct zw_queue *q;

	assert_int_equal(zw_vm_create_with(f->dev, &vopt, &vm), -EINVAL);
	vopt.size = 4;
	assert_int_equal(zw_vm_create_with(f->dev, &vopt, &vm), -EINVAL);
	assert_int_equal(zw_vm_create(f->dev, &vm), 0);
	assert_int_equal(zw_queue_create(vm, &opt, &q), -EINVAL);
	assert_null(q);
	assert_int_equal(zw_vm_destroy(vm), 0);
	opt.flags |= 4;
	assert_int_equal(zw_queue_create(f->vm, &opt, &q), -EINVAL);
	/* on such an address space there is no other kind */
	assert_int_equal(zw_queue_create(f->vm, NULL, &q), 0);
	assert_non_null(q->user);
	assert_int_equal(zw_queue_run(q, 0, 0, 0, LIMIT), 0);
	zw_queue_destroy(q);
	assert_int_equal(zw_vm_destroy(f->vm), -EBUSY);
}

/* Many times round the ring, one at a time and more than it holds. */
static void test_rounds(void **state)
{
	struct fixture *f = *state;
	const struct zw_job_result *r = (void *)((char *)f->buf.ptr + RESULT);

	for (uint32_t i = 0; i < 100; i++) {
		struct zw_job job = fill_job(f, i % 16, 1000 + i, false);

		assert_int_equal(zw_queue_run(f->queue, job.cmd_va, job.cmd_bytes,
					      f->buf.va + RESULT, LIMIT),
				 0);
		assert_int_equal(word(f, i % 16), 1000 + i);
		assert_int_equal(r->seqno, i + 1);
	}
	for (uint32_t i = 0; i < 100; i++) {
		struct zw_job jobs[8];

		for (uint32_t j = 0; j < 8; j++)
			jobs[j] = fill_job(f, i * 8 + j, i * 8 + j + 1, false);
		assert_int_equal(zw_queue_submit(f->queue, jobs, 8), 0);
	}
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), 0);
	for (uint32_t i = 0; i < 800; i++)
		assert_int_equal(word(f, i), i + 1);
	assert_int_equal(error_of(f->queue).submitted, 900);
	assert_int_equal(error_of(f->queue).completed, 900);
	assert_int_equal(zw_queue_submit(f->queue, NULL, 0), -EINVAL);
}

/* -- waiting ---------------------------------------------------------------------------------- */

static void test_deadlines(void **state)
{
	struct fixture *f = *state;
	struct zw_job job = fill_job(f, 0, 7, true);
	pthread_t t;

	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	assert_int_equal(zw_queue_drain(f->queue, 0), -ETIME);
	assert_int_equal(zw_queue_drain(f->queue, zw_deadline_ms(30)), -ETIME);
	assert_int_equal(pthread_create(&t, NULL, release_later, f), 0);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), 0);
	assert_int_equal(word(f, 0), 7);
	pthread_join(t, NULL);
}

struct waiter {
	struct zw_fence *fence;
	uint64_t point;
	int64_t deadline;
	int ret;
	pthread_t thread;
};

static void *wait_main(void *arg)
{
	struct waiter *w = arg;

	w->ret = zw_fence_wait(w->fence, w->point, w->deadline);
	return NULL;
}

static void wait_start(struct waiter *w, struct zw_fence *fence, uint64_t point)
{
	*w = (struct waiter){.fence = fence, .point = point, .deadline = LIMIT};
	assert_int_equal(pthread_create(&w->thread, NULL, wait_main, w), 0);
}

static int wait_end(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	return w->ret;
}

/* Sleepers for different jobs, the first of whom gives up, and one who was there before all. */
static void test_sleepers(void **state)
{
	struct fixture *f = *state;
	struct waiter w[6];
	struct zw_fence *fence;
	uint64_t value;

	assert_int_equal(zw_fence_create(f->dev, &fence), 0);
	wait_start(&w[5], fence, 5);
	usleep(5000);
	for (uint32_t i = 0; i < 5; i++) {
		struct zw_sync s = {.fence = fence, .point = i + 1, .flags = ZW_SYNC_SIGNAL};
		struct zw_job job = fill_job(f, i, i + 1, i == 0);

		job.syncs = &s;
		job.num_syncs = 1;
		assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	}
	for (uint32_t i = 0; i < 5; i++)
		wait_start(&w[i], fence, 5 - i);
	assert_int_equal(zw_fence_wait(fence, 1, zw_deadline_ms(30)), -ETIME);
	assert_int_equal(zw_fence_query(fence, &value), 0);
	assert_int_equal(value, 0);
	release(f);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(wait_end(&w[i]), 0);
	assert_int_equal(zw_fence_query(fence, &value), 0);
	assert_int_equal(value, 5);
	assert_int_equal(word(f, 4), 5);
	zw_fence_destroy(fence);
}

/*
 * When the first of two is let go, the interrupt is asked for again, for the second. Without it the
 * other side would still look some time later: one of some rounds is sooner.
 */
static void test_sleepers_in_turn(void **state)
{
	struct fixture *f = *state;
	uint64_t *second = (uint64_t *)(void *)((char *)f->buf.ptr + SEM + 64);
	int64_t best = INT64_MAX;

	for (uint64_t round = 0; round < 50 && best >= 50000000; round++) {
		struct zw_job jobs[2] = {fill_job(f, 0, 1, true), fill_job(f, 1, 2, false)};
		struct waiter w[2];
		struct zw_cmd c;
		int64_t start;

		memset((char *)f->buf.ptr + SEM, 0, 128);
		zw_cmd_init_fixed(&c, (char *)f->buf.ptr + CMD(1), 256);
		zw_cmd_sem_wait(&c, f->buf.va + SEM + 64, 1, 0);
		assert_int_equal(zw_cmd_finish(&c), 0);
		jobs[1].cmd_bytes = (uint32_t)c.used;
		for (uint32_t i = 0; i < 2; i++) {
			assert_int_equal(zw_queue_submit(f->queue, &jobs[i], 1), 0);
			wait_start(&w[i], f->queue->done, 2 * round + i + 1);
		}
		usleep(50000); /* both sleep by now, as a rule */
		release(f);
		assert_int_equal(wait_end(&w[0]), 0);
		start = zw_deadline(0);
		__atomic_store_n(second, 1, __ATOMIC_RELEASE);
		assert_int_equal(wait_end(&w[1]), 0);
		if (zw_deadline(0) - start < best)
			best = zw_deadline(0) - start;
	}
	print_message("%u us\n", (unsigned int)(best / 1000));
	assert_true(best < 50000000);
}

/* -- fences ----------------------------------------------------------------------------------- */

/* A timeline of two queues and the host: a point counts when all before it do. */
static void test_timeline(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *other = queue_of(f, 16);
	struct zw_fence *fence, *fresh;
	struct zw_fence_point points[2];
	struct zw_sync s = {.flags = ZW_SYNC_SIGNAL};
	struct zw_job job;
	uint64_t value;
	uint32_t first = 9;

	assert_int_equal(zw_fence_create(f->dev, &fence), 0);
	assert_int_equal(zw_fence_create(f->dev, &fresh), 0);
	s.fence = fence;
	job = fill_job(f, 0, 1, true);
	job.syncs = &s;
	job.num_syncs = 1;
	s.point = 3;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL); /* the point is taken */
	job = fill_job(f, 1, 2, false);
	job.syncs = &s;
	job.num_syncs = 1;
	s.point = 5;
	assert_int_equal(zw_queue_submit(other, &job, 1), 0);
	assert_int_equal(zw_queue_drain(other, LIMIT), 0);
	assert_int_equal(zw_fence_signal(fence, 5), -EINVAL);
	assert_int_equal(zw_fence_signal(fence, 9), 0);
	assert_int_equal(zw_fence_query(fence, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(zw_fence_wait(fence, 5, zw_deadline_ms(20)), -ETIME);
	points[0] = (struct zw_fence_point){fence, 4};
	points[1] = (struct zw_fence_point){other->done, 1};
	assert_int_equal(zw_fence_wait_many(points, 2, 0, zw_deadline_ms(20), NULL), -ETIME);
	assert_int_equal(zw_fence_wait_many(points, 2, ZW_FENCE_WAIT_ANY, LIMIT, &first), 0);
	assert_int_equal(first, 1);
	points[1].fence = fresh;
	assert_int_equal(zw_fence_wait_many(points, 2, ZW_FENCE_WAIT_ANY, zw_deadline_ms(20), NULL),
			 -ETIME);
	release(f);
	assert_int_equal(zw_fence_wait(fence, 9, LIMIT), 0);
	assert_int_equal(zw_fence_wait_many(points, 2, ZW_FENCE_WAIT_ANY, LIMIT, &first), 0);
	assert_int_equal(first, 0);
	assert_int_equal(zw_fence_query(fence, &value), 0);
	assert_int_equal(value, 9);
	/* nothing submitted raises it */
	assert_int_equal(zw_fence_wait(fence, 10, zw_deadline_ms(20)), -ETIME);
	assert_int_equal(zw_fence_wait(fence, 10, 0), -ETIME);
	zw_fence_destroy(fence);
	zw_fence_destroy(fresh);
	zw_queue_destroy(other);
}

static void test_refusals(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *other = queue_of(f, 8), *ordinary;
	struct zw_fence *fence, *theirs;
	struct zw_sync s = {.flags = ZW_SYNC_SIGNAL, .point = 1};
	struct zw_job job;
	struct zw_vm *vm;
	int fd;

	assert_int_equal(zw_fence_create(f->dev, &fence), 0);
	assert_int_equal(zw_fence_create(f->dev, &theirs), 0);
	assert_int_equal(zw_vm_create(f->dev, &vm), 0);
	assert_int_equal(zw_queue_create(vm, NULL, &ordinary), 0);
	s.fence = theirs;
	job = (struct zw_job){.size = sizeof(job), .syncs = &s, .num_syncs = 1};
	assert_int_equal(zw_queue_submit(ordinary, &job, 1), 0);
	/* a job here cannot raise a fence of the transport, or the other way round */
	s.point = 2;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL);
	job = fill_job(f, 0, 1, true);
	job.syncs = &s;
	job.num_syncs = 1;
	s.fence = fence;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	job = (struct zw_job){.size = sizeof(job), .syncs = &s, .num_syncs = 1};
	s.point = 3;
	assert_int_equal(zw_queue_submit(ordinary, &job, 1), -EINVAL);
	s.flags = ZW_SYNC_WAIT;
	s.point = 2;
	assert_int_equal(zw_queue_submit(ordinary, &job, 1), -EOPNOTSUPP);
	/* another's job that has not ended; one's own, which comes first anyway */
	assert_int_equal(zw_queue_submit(other, &job, 1), -EOPNOTSUPP);
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	s.point = 7;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL);
	/* the transport's, when it is over */
	s.fence = theirs;
	s.point = 1;
	assert_int_equal(zw_fence_wait(theirs, 1, LIMIT), 0);
	assert_int_equal(zw_queue_submit(other, &job, 1), 0);
	fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(zw_fence_eventfd(fence, 2, fd), -EOPNOTSUPP);
	close(fd);
	assert_int_equal(zw_fence_export(fence, &fd), -EOPNOTSUPP);
	assert_int_equal(zw_fence_export_sync_file(fence, 2, &fd), -EOPNOTSUPP);
	release(f);
	assert_int_equal(zw_fence_wait(fence, 2, LIMIT), 0);
	s.fence = fence;
	s.point = 2;
	assert_int_equal(zw_queue_submit(other, &job, 1), 0);
	assert_int_equal(zw_queue_drain(other, LIMIT), 0);
	zw_queue_destroy(ordinary);
	assert_int_equal(zw_vm_destroy(vm), 0);
	zw_queue_destroy(other);
	zw_fence_destroy(theirs);
	zw_fence_destroy(fence);
}

/* -- what goes wrong -------------------------------------------------------------------------- */

/* One call gives out a point twice: no point was. */
static void test_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct zw_job jobs[2] = {fill_job(f, 0, 1, false), fill_job(f, 1, 1, false)};
	struct zw_sync sync = {.point = 5, .flags = ZW_SYNC_SIGNAL};

	assert_int_equal(zw_fence_create(f->dev, &sync.fence), 0);
	for (int i = 0; i < 2; i++) {
		jobs[i].syncs = &sync;
		jobs[i].num_syncs = 1;
	}
	assert_int_equal(zw_queue_submit(f->queue, jobs, 2), -EINVAL);
	assert_int_equal(error_of(f->queue).submitted, 0);
	assert_int_equal(zw_fence_signal(sync.fence, 4), 0);
	assert_int_equal(zw_queue_submit(f->queue, jobs, 1), 0);
	assert_int_equal(zw_fence_wait(sync.fence, 5, LIMIT), 0);
	zw_fence_destroy(sync.fence);
}

static void test_failure(void **state)
{
	struct fixture *f = *state;
	struct zw_job jobs[4];
	struct zw_queue_error e;
	struct zw_queue *again;
	struct zw_cmd c;
	char text[160];

	jobs[0] = fill_job(f, 0, 1, true);
	jobs[1] = fill_job(f, 1, 2, false);
	jobs[2] = fill_job(f, 2, 3, false);
	jobs[3] = fill_job(f, 3, 4, false);
	zw_cmd_init_fixed(&c, (char *)f->buf.ptr + CMD(1), 256);
	zw_cmd_fill(&c, 0x123456789000, 4, 1, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	jobs[1].cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_submit(f->queue, jobs, 4), 0);
	release(f);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), -EIO);
	assert_int_equal(word(f, 0), 1);
	assert_int_equal(word(f, 2), 0);
	e = error_of(f->queue);
	assert_int_equal(e.state, ZW_QUEUE_FAILED);
	assert_int_equal(e.status, ZW_JOB_FAULT);
	assert_int_equal(e.reason, ZW_FAULT_UNMAPPED);
	assert_int_equal(e.fault_va, 0x123456789000);
	assert_int_equal(e.fault_access, ZW_ACCESS_WRITE);
	assert_int_equal(e.failed_job, 2);
	assert_int_equal(e.submitted, 4);
	assert_int_equal(e.completed, 4);
	zw_queue_error_text(&e, text, sizeof(text));
	assert_string_equal(text, "job 2, packet 0: fault: write at 0x123456789000: not mapped");
	assert_int_equal(zw_queue_submit(f->queue, jobs, 1), -ECANCELED);
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), -EIO);
	/* others on the same memory */
	again = queue_of(f, 8);
	assert_int_equal(zw_queue_submit(again, &jobs[3], 1), 0);
	assert_int_equal(zw_queue_drain(again, LIMIT), 0);
	assert_int_equal(word(f, 3), 4);
	zw_queue_destroy(again);
}

/* A job that was put in before anybody saw the failure never ends: who waits for it is let go. */
static void test_behind_a_failure(void **state)
{
	struct fixture *f = *state;
	struct zw_job job = fill_job(f, 0, 1, false);
	uint64_t value;

	/* Its tail makes no sense to the device, which stops the queue, and says so to nobody. */
	assert_int_equal(zw_queue_run(f->queue, job.cmd_va, job.cmd_bytes, 0, LIMIT), 0);
	job.cmd_bytes += 4;
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), -EINVAL);
	job.cmd_bytes -= 4;
	memset((char *)f->buf.ptr + CMD(0), 0xff, 64);
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	for (int i = 0; i < 20; i++) {
		int ret = zw_queue_submit(f->queue, &job, 1);

		if (ret == -ECANCELED)
			break;
		assert_int_equal(ret, 0);
	}
	assert_int_equal(zw_queue_drain(f->queue, LIMIT), -EIO);
	assert_int_equal(zw_fence_query(f->queue->done, &value), 0);
	assert_true(value >= 2);
	assert_int_equal(error_of(f->queue).failed_job, 2);
}

/* Its jobs count as done; who waits for them is let go; fences may outlive it. */
static void test_destroy_in_flight(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 10; round++) {
		struct zw_queue *q = queue_of(f, 8);
		struct zw_fence *fence;
		struct zw_sync s = {.point = 1, .flags = ZW_SYNC_SIGNAL};
		struct zw_job job = fill_job(f, 0, 1, true);
		struct waiter w[3];
		uint64_t value;

		assert_int_equal(zw_fence_create(f->dev, &fence), 0);
		s.fence = fence;
		job.syncs = &s;
		job.num_syncs = 1;
		assert_int_equal(zw_queue_submit(q, &job, 1), 0);
		for (int i = 0; i < 3; i++)
			wait_start(&w[i], fence, 1);
		usleep((useconds_t)round * 300);
		zw_queue_destroy(q);
		for (int i = 0; i < 3; i++)
			assert_int_equal(wait_end(&w[i]), 0);
		assert_int_equal(zw_fence_query(fence, &value), 0);
		assert_int_equal(value, 1);
		zw_fence_destroy(fence);
		assert_int_equal(word(f, 0), 0);
	}
	assert_int_equal(zw_queue_run(f->queue, 0, 0, 0, LIMIT), 0);
}

static void test_device_lost(void **state)
{
	struct fixture *f = *state;
	struct zw_job job = fill_job(f, 0, 1, true);
	struct waiter w;

	if (!f->sim)
		skip();
	assert_int_equal(zw_queue_submit(f->queue, &job, 1), 0);
	wait_start(&w, f->queue->done, 1);
	usleep(5000);
	zw_sim_lose(sim_of(f->dev), "a test says so");
	assert_int_equal(wait_end(&w), -ENODEV);
	assert_int_equal(zw_queue_status(f->queue), -ENODEV);
}

/* -- what is built on queues ------------------------------------------------------------------ */

static void test_copier(void **state)
{
	struct fixture *f = *state;
	struct zw_buffer hbm;
	struct zw_copier *c;
	uint8_t *out = calloc(1, 300000), *in = malloc(300000);

	for (size_t i = 0; i < 300000; i++)
		in[i] = (uint8_t)(i * 7 >> 3);
	assert_int_equal(zw_buffer_create(f->vm, 1u << 20, ZW_BO_HBM, &hbm), 0);
	assert_int_equal(zw_copier_create(f->vm, NULL, &c), 0);
	assert_int_equal(zw_copier_write(c, hbm.va + 64, in, 300000, NULL), 0);
	assert_int_equal(zw_copier_read(c, out, hbm.va + 64, 300000, NULL), 0);
	assert_int_equal(zw_copier_flush(c, LIMIT), 0);
	assert_memory_equal(in, out, 300000);
	zw_copier_destroy(c);
	zw_buffer_destroy(&hbm);
	free(in);
	free(out);
}

struct worker {
	struct fixture *f;
	struct zw_queue *queue;
	uint32_t base;
	int failures;
	pthread_t thread;
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	for (uint32_t i = 0; i < 200; i++) {
		struct zw_job job = fill_job(w->f, w->base + i % 8, i + 1, false);

		w->failures += !!zw_queue_submit(w->queue, &job, 1);
		if (i % 8 == 7) {
			w->failures += !!zw_queue_drain(w->queue, LIMIT);
			w->failures += word(w->f, w->base + 7) != i + 1;
		}
	}
	return NULL;
}

/* Two threads of one queue, and one of another. */
static void test_threads(void **state)
{
	struct fixture *f = *state;
	struct zw_queue *other = queue_of(f, 16);
	struct worker w[3] = {{f, f->queue, 0, 0, 0}, {f, f->queue, 8, 0, 0}, {f, other, 16, 0, 0}};

	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].failures, 0);
	}
	assert_int_equal(error_of(f->queue).submitted, 400);
	zw_queue_destroy(other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_options),
		T(test_rounds),
		T(test_deadlines),
		T(test_sleepers),
		T(test_sleepers_in_turn),
		T(test_timeline),
		T(test_refusals),
		T(test_all_or_nothing),
		T(test_failure),
		T(test_behind_a_failure),
		T(test_destroy_in_flight),
		T(test_device_lost),
		T(test_copier),
		T(test_threads),
	};

	return cmocka_run_group_tests_name("runtime_userq", tests, NULL, NULL);
}
