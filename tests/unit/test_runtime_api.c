// SPDX-License-Identifier: MIT
/*
 * Promises of the runtime's API that take a device, the sim transport: sizes, order of destruction,
 * log callbacks, waits. $ZW_FIRMWARE names the image.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "sim.h"

#define LIMIT zw_deadline_ms(120000) /* a sanitizer build on a busy machine is slow */

struct fixture {
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_buffer cmd, data;
	/* of the log callback */
	pthread_mutex_t lock;
	struct zw_fence *fence; /* lock */
	_Atomic int lines, calls_ok;
};

/* Calls back into the library, as a user interface that shows the state would. */
static void log_line(void *opaque, enum zw_dev_log_level level, const char *msg)
{
	struct fixture *f = opaque;
	struct zw_dev_attrs a = {.size = sizeof(a)};
	struct zw_bo *bo;
	uint64_t value;

	(void)level;
	(void)msg;
	f->lines++;
	pthread_mutex_lock(&f->lock);
	if (f->fence && !zw_dev_get_attrs(f->dev, &a) && !zw_fence_query(f->fence, &value) &&
	    /* Freeing HBM asks the firmware to scrub it: a round trip through the mailbox. */
	    !zw_bo_create(f->dev, 4096, ZW_BO_HBM, &bo)) {
		zw_bo_destroy(bo);
		f->calls_ok++;
	}
	pthread_mutex_unlock(&f->lock);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct zw_dev_options opt = {
		.size = sizeof(opt),
		.hbm_bytes = 64u << 20,
		.workers = 1,
		.log = log_line,
		.log_opaque = f,
	};

	pthread_mutex_init(&f->lock, NULL);
	assert_int_equal(zw_dev_open("sim", &opt, &f->dev, NULL), 0);
	assert_int_equal(zw_vm_create(f->dev, &f->vm), 0);
	assert_int_equal(zw_buffer_create(f->vm, 65536, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &f->cmd), 0);
	assert_int_equal(zw_buffer_create(f->vm, 65536, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &f->data),
			 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	zw_buffer_destroy(&f->cmd);
	zw_buffer_destroy(&f->data);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	assert_int_equal(zw_dev_close(f->dev), 0);
	free(f);
	return 0;
}

/* A job that waits until somebody stores 1 into the first word of data. */
static struct zw_job blocked_job(struct fixture *f)
{
	struct zw_cmd c;

	zw_cmd_init_fixed(&c, f->cmd.ptr, f->cmd.bytes);
	zw_cmd_sem_wait(&c, f->data.va, 1, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	return (struct zw_job){
		.size = sizeof(struct zw_job),
		.cmd_va = f->cmd.va,
		.cmd_bytes = (uint32_t)c.used,
	};
}

static void test_sizes(void **state)
{
	struct fixture *f = *state;
	struct {
		struct zw_dev_attrs a;
		uint64_t newer;
	} a = {.a.size = sizeof(a), .newer = 5};
	struct zw_dev_counters c = {.size = 0};
	struct zw_queue_error e = {.size = 7};
	struct zw_queue_options opt = {.size = 4};
	struct zw_queue *q;

	assert_int_equal(zw_dev_get_attrs(f->dev, &a.a), 0);
	assert_int_equal(a.a.size, sizeof(a.a));
	assert_int_equal(a.newer, 0);
	/* A size that was forgotten is an error, not an empty success. */
	a.a.size = 0;
	assert_int_equal(zw_dev_get_attrs(f->dev, &a.a), -EINVAL);
	assert_int_equal(zw_dev_get_counters(f->dev, &c), -EINVAL);
	c.size = SIZED_MAX + 1;
	assert_int_equal(zw_dev_get_counters(f->dev, &c), -E2BIG);
	assert_int_equal(zw_queue_create(f->vm, &opt, &q), -EINVAL);
	assert_int_equal(zw_queue_create(f->vm, NULL, &q), 0);
	assert_int_equal(zw_queue_get_error(q, &e), -EINVAL);
	zw_queue_destroy(q);
}

static void test_vm_outlives_its_buffers(void **state)
{
	struct fixture *f = *state;
	struct zw_buffer b;
	struct zw_vm *vm;

	assert_int_equal(zw_vm_create(f->dev, &vm), 0);
	assert_int_equal(zw_buffer_create(vm, 4096, ZW_BO_SYSTEM, &b), 0);
	assert_int_equal(zw_vm_destroy(vm), -EBUSY);
	zw_buffer_destroy(&b);
	zw_buffer_destroy(&b); /* an empty one: nothing */
	/* One that could not be made holds nothing. */
	assert_int_equal(zw_buffer_create(vm, 0, ZW_BO_SYSTEM, &b), -EINVAL);
	assert_int_equal(zw_buffer_create(vm, 1ull << 40, ZW_BO_HBM, &b), -ENOMEM);
	assert_int_equal(zw_vm_destroy(vm), 0);
}

static void test_log_may_call(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *fence;
	struct zw_queue *q;

	assert_int_equal(zw_fence_create(f->dev, &fence), 0);
	pthread_mutex_lock(&f->lock);
	f->fence = fence;
	pthread_mutex_unlock(&f->lock);
	/* Failed jobs are logged while the sim holds its locks, refused messages likewise. */
	assert_int_equal(zw_queue_create(f->vm, NULL, &q), 0);
	memset(f->cmd.ptr, 0xff, 64);
	assert_int_equal(zw_queue_run(q, f->cmd.va, 64, 0, LIMIT), -EIO);
	zw_queue_destroy(q);
	while (!f->calls_ok) /* hangs where a lock is held */
		usleep(1000);
	assert_true(f->lines > 0);
	pthread_mutex_lock(&f->lock);
	f->fence = NULL;
	pthread_mutex_unlock(&f->lock);
	zw_fence_destroy(fence);
}

/* -- waiting for a buffer ---------------------------------------------------------------------- */

struct waiter {
	struct zw_bo *bo;
	_Atomic long tid;
	_Atomic int ret;
};

static void *wait_main(void *opaque)
{
	struct waiter *w = opaque;

	w->tid = syscall(SYS_gettid);
	w->ret = zw_bo_wait(w->bo, LIMIT);
	return NULL;
}

static char thread_state(long tid)
{
	char path[64], line[512], *p;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
	file = fopen(path, "r");
	if (!file)
		return 'X';
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	p = strrchr(line, ')');
	return p && p[1] ? p[2] : '?';
}

/* A queue that gets the number of one that is gone is not what the wait was about. */
static void test_wait_and_queue_numbers(void **state)
{
	struct fixture *f = *state;
	struct waiter w = {.bo = f->data.bo, .ret = 1};
	struct zw_job job = blocked_job(f);
	struct zw_queue *q, *again;
	pthread_t t;
	unsigned int id;

	assert_int_equal(zw_queue_create(f->vm, NULL, &q), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(zw_queue_submit(q, &job, 1), 0);
	assert_int_equal(pthread_create(&t, NULL, wait_main, &w), 0);
	for (int asleep = 0; asleep < 20;) {
		asleep = w.tid && thread_state(w.tid) == 'S' ? asleep + 1 : 0;
		usleep(5000);
	}
	id = q->id;
	zw_queue_destroy(q);
	assert_int_equal(zw_queue_create(f->vm, NULL, &again), 0);
	assert_int_equal(again->id, id);
	assert_int_equal(zw_queue_submit(again, &job, 1), 0);
	pthread_join(t, NULL);
	assert_int_equal(w.ret, 0);
	__atomic_store_n((uint64_t *)f->data.ptr, 1, __ATOMIC_RELEASE);
	assert_int_equal(zw_queue_drain(again, LIMIT), 0);
	zw_queue_destroy(again);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_sizes),
		T(test_vm_outlives_its_buffers),
		T(test_log_may_call),
		T(test_wait_and_queue_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
