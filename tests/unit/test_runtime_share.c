// SPDX-License-Identifier: MIT
/*
 * What crosses devices and leaves the library: waits for several fences, eventfds, fences of another
 * device, memory behind descriptors. On the sim transport; $ZW_FIRMWARE names the image.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "sim.h"

#define LIMIT zw_deadline_ms(120000)

struct card {
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_queue *queue;
	struct zw_buffer mem;
};

struct fixture {
	struct card a, b;
};

static void card_open(struct card *c)
{
	const struct zw_dev_options opt = {
		.size = sizeof(opt), .hbm_bytes = 32u << 20, .workers = ZW_DEV_WORKERS_NONE};

	assert_int_equal(zw_dev_open("sim", &opt, &c->dev, NULL), 0);
	assert_int_equal(zw_vm_create(c->dev, &c->vm), 0);
	assert_int_equal(zw_queue_create(c->vm, NULL, &c->queue), 0);
	assert_int_equal(zw_buffer_create(c->vm, 65536, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &c->mem), 0);
}

static void card_close(struct card *c)
{
	zw_queue_destroy(c->queue);
	zw_buffer_destroy(&c->mem);
	assert_int_equal(zw_vm_destroy(c->vm), 0);
	assert_int_equal(zw_dev_close(c->dev), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	card_open(&f->a);
	card_open(&f->b);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	card_close(&f->a);
	card_close(&f->b);
	free(f);
	return 0;
}

static struct zw_fence *fence_of(struct card *c)
{
	struct zw_fence *f;

	assert_int_equal(zw_fence_create(c->dev, &f), 0);
	return f;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Raises a fence after a moment. */
struct later {
	struct zw_fence *fence;
	uint64_t point;
	_Atomic bool done;
	pthread_t thread;
};

static void *later_main(void *opaque)
{
	struct later *l = opaque;

	usleep(20000);
	l->done = true;
	zw_fence_signal(l->fence, l->point);
	return NULL;
}

static void later(struct later *l, struct zw_fence *fence, uint64_t point)
{
	*l = (struct later){.fence = fence, .point = point};
	assert_int_equal(pthread_create(&l->thread, NULL, later_main, l), 0);
}

/* -- several points ---------------------------------------------------------------------------- */

static void waits(struct card *x, struct card *y)
{
	struct zw_fence *f = fence_of(x), *g = fence_of(y);
	struct zw_fence_point p[3] = {{f, 5}, {g, 2}, {f, 6}};
	uint32_t first = 77;
	struct later l;

	assert_int_equal(zw_fence_wait_many(p, 3, 0, 0, NULL), -ETIME);
	assert_int_equal(zw_fence_wait_many(p, 3, ZW_FENCE_WAIT_ANY, 0, &first), -ETIME);
	assert_int_equal(zw_fence_wait_many(p, 3, ZW_FENCE_WAIT_ANY, zw_deadline_ms(30), &first),
			 -ETIME);
	assert_int_equal(first, 77);
	later(&l, g, 2);
	assert_int_equal(zw_fence_wait_many(p, 3, ZW_FENCE_WAIT_ANY, LIMIT, &first), 0);
	assert_true(l.done);
	assert_int_equal(first, 1);
	pthread_join(l.thread, NULL);
	assert_int_equal(zw_fence_wait_many(p, 3, 0, zw_deadline_ms(30), NULL), -ETIME);
	assert_int_equal(zw_fence_signal(f, 5), 0);
	assert_int_equal(zw_fence_wait_many(p, 3, ZW_FENCE_WAIT_ANY, 0, &first), 0);
	assert_int_equal(first, 0);
	assert_int_equal(zw_fence_wait_many(p, 2, 0, 0, NULL), 0);
	assert_int_equal(zw_fence_wait_many(p, 3, 0, 0, NULL), -ETIME);
	later(&l, f, 6);
	assert_int_equal(zw_fence_wait_many(p, 3, 0, ZW_FOREVER, NULL), 0);
	assert_true(l.done);
	pthread_join(l.thread, NULL);
	zw_fence_destroy(f);
	zw_fence_destroy(g);
}

static void test_wait_many(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *fence = fence_of(&f->a);
	struct zw_fence_point none[2] = {{fence, 0}};

	waits(&f->a, &f->a);
	waits(&f->a, &f->b);
	assert_int_equal(zw_fence_wait_many(NULL, 1, 0, 0, NULL), -EINVAL);
	assert_int_equal(zw_fence_wait_many(none, 0, 0, 0, NULL), -EINVAL);
	assert_int_equal(zw_fence_wait_many(none, 1, 2, 0, NULL), -EINVAL);
	assert_int_equal(zw_fence_wait_many(none, 2, 0, 0, NULL), -EINVAL);
	assert_int_equal(zw_fence_wait_many(none, ZW_FENCE_WAIT_MAX + 1, 0, 0, NULL), -EINVAL);
	assert_int_equal(zw_fence_wait_many(none, 1, 0, 0, NULL), 0); /* point 0 is reached */
	zw_fence_destroy(fence);
}

/* -- eventfds ---------------------------------------------------------------------------------- */

static void test_eventfd(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *fence = fence_of(&f->a);
	int fd = eventfd(0, EFD_NONBLOCK), other = open("/dev/null", O_RDWR), copy;
	uint64_t n;

	assert_int_equal(zw_fence_eventfd(fence, 1, -1), -EBADF);
	assert_int_equal(zw_fence_eventfd(fence, 1, other), -EINVAL);
	close(other);
	assert_int_equal(zw_fence_eventfd(fence, 2, fd), 0);
	assert_int_equal(zw_fence_eventfd(fence, 3, fd), 0);
	assert_int_equal(zw_fence_signal(fence, 1), 0);
	assert_false(readable(fd));
	assert_int_equal(zw_fence_signal(fence, 2), 0);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1); /* one of the two */
	assert_int_equal(zw_fence_eventfd(fence, 1, fd), 0);
	assert_true(readable(fd)); /* reached already */
	/* The library keeps what it needs: ours may be closed, the fence be gone. */
	copy = dup(fd);
	assert_int_equal(read(copy, &n, sizeof(n)), sizeof(n));
	close(fd);
	assert_int_equal(zw_fence_signal(fence, 9), 0);
	assert_true(readable(copy));
	assert_int_equal(zw_fence_eventfd(fence, 10, copy), 0);
	zw_fence_destroy(fence); /* nobody will raise it; closing the device lets go of it */
	close(copy);
}

/* A lost device leaves nobody in poll(). */
static void test_eventfd_of_a_lost_device(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *fence = fence_of(&f->a);
	struct pollfd p = {.fd = eventfd(0, EFD_NONBLOCK), .events = POLLIN};

	assert_int_equal(zw_fence_eventfd(fence, 1, p.fd), 0);
	zw_sim_lose(sim_of(f->a.dev), "the test says so");
	assert_int_equal(poll(&p, 1, 0), 1);
	close(p.fd);
	zw_fence_destroy(fence);
}

/* -- fences of another device -------------------------------------------------------------------- */

static void test_foreign_wait(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *theirs = fence_of(&f->a), *own = fence_of(&f->b);
	struct zw_sync syncs[2] = {{.fence = theirs, .point = 1},
				   {.fence = own, .point = 1, .flags = ZW_SYNC_SIGNAL}};
	struct zw_job wait = {.size = sizeof(wait), .num_syncs = 2, .syncs = syncs};
	struct zw_sync raise = {.fence = theirs, .point = 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job = {.size = sizeof(job), .num_syncs = 1, .syncs = &raise};
	struct zw_cmd c;

	/* Nothing raises it yet; and nobody raises the fence of another. */
	assert_int_equal(zw_queue_submit(f->b.queue, &wait, 1), -EINVAL);
	assert_int_equal(zw_queue_submit(f->b.queue, &job, 1), -EINVAL);

	/* a: a job that hangs on a semaphore and raises the fence; b waits for that fence. */
	zw_cmd_init_fixed(&c, f->a.mem.ptr, 4096);
	zw_cmd_sem_wait(&c, f->a.mem.va + 8192, 1, 0);
	job.cmd_va = f->a.mem.va;
	job.cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_submit(f->a.queue, &job, 1), 0);
	assert_int_equal(zw_queue_submit(f->b.queue, &wait, 1), 0);
	zw_fence_destroy(theirs); /* submitted jobs are not disturbed */
	assert_int_equal(zw_fence_wait(own, 1, zw_deadline_ms(50)), -ETIME);
	__atomic_store_n((uint64_t *)f->a.mem.ptr + 1024, 1, __ATOMIC_RELEASE);
	assert_int_equal(zw_fence_wait(own, 1, LIMIT), 0);
	assert_int_equal(zw_queue_drain(f->b.queue, LIMIT), 0);
	zw_fence_destroy(own);
}

/* Many at once, and ends with waits that nobody will ever fulfil. */
static void test_foreign_many(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *theirs = fence_of(&f->a);
	struct zw_sync syncs[ZW_JOB_MAX_SYNCS];
	struct zw_job jobs[2] = {{.size = sizeof(jobs[0])}, {.size = sizeof(jobs[0])}};
	struct zw_sync raise = {.fence = theirs, .flags = ZW_SYNC_SIGNAL};
	struct zw_job hang = {.size = sizeof(hang), .num_syncs = 1, .syncs = &raise};
	struct zw_cmd c;

	for (uint64_t i = 0; i < ZW_JOB_MAX_SYNCS; i++) {
		assert_int_equal(zw_fence_signal(theirs, i + 1), 0);
		syncs[i] = (struct zw_sync){.fence = theirs, .point = i + 1};
	}
	for (int i = 0; i < 2; i++) {
		jobs[i].syncs = syncs;
		jobs[i].num_syncs = ZW_JOB_MAX_SYNCS;
	}
	for (int i = 0; i < 10; i++)
		assert_int_equal(zw_queue_submit(f->b.queue, jobs, 2), 0);
	assert_int_equal(zw_queue_drain(f->b.queue, LIMIT), 0);

	zw_cmd_init_fixed(&c, f->a.mem.ptr, 4096);
	zw_cmd_sem_wait(&c, f->a.mem.va + 8192, 1, 0);
	hang.cmd_va = f->a.mem.va;
	hang.cmd_bytes = (uint32_t)c.used;
	raise.point = syncs[0].point = ZW_JOB_MAX_SYNCS + 1;
	assert_int_equal(zw_queue_submit(f->a.queue, &hang, 1), 0);
	assert_int_equal(zw_queue_submit(f->b.queue, jobs, 1), 0);
	zw_fence_destroy(theirs);
	/* teardown: b first ends with the wait outstanding, a ends with the event outstanding */
}

static void test_not_on_sim(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *fence = fence_of(&f->a), *in;
	int fd;

	assert_int_equal(zw_fence_export(fence, &fd), -EOPNOTSUPP);
	assert_int_equal(fd, -1);
	assert_int_equal(zw_fence_import(f->a.dev, 0, &in), -EOPNOTSUPP);
	assert_int_equal(zw_fence_export_sync_file(fence, 1, &fd), -EOPNOTSUPP);
	assert_int_equal(zw_fence_import_sync_file(fence, 1, 0), -EOPNOTSUPP);
	zw_fence_destroy(fence);
}

/* -- memory -------------------------------------------------------------------------------------- */

static void test_shared_memory(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *bo, *theirs;
	uint64_t va = 0x100000;
	struct zw_cmd c;
	void *ptr, *back;
	int fd;

	assert_int_equal(zw_bo_create(f->a.dev, 8192, ZW_BO_SYSTEM, &bo), 0);
	assert_int_equal(zw_bo_map(bo, &ptr), 0);
	strcpy(ptr, "from a");
	assert_int_equal(zw_bo_export(bo, &fd), 0);
	assert_int_equal(zw_bo_import(f->b.dev, fd, &theirs), 0);
	close(fd);
	assert_int_equal(zw_bo_size(theirs), 8192);
	assert_int_equal(zw_bo_flags(theirs), ZW_BO_SYSTEM);
	/* The owner goes first: the memory is the importer's too. */
	zw_bo_destroy(bo);
	assert_int_equal(zw_bo_map(theirs, &back), 0);
	assert_string_equal(back, "from a");
	assert_int_equal(zw_vm_map(f->b.vm, theirs, 0, va, 8192, 0), 0);
	zw_cmd_init_fixed(&c, f->b.mem.ptr, 4096);
	zw_cmd_copy(&c, va + 4096, va, 4096, 0);
	assert_int_equal(zw_queue_run(f->b.queue, f->b.mem.va, (uint32_t)c.used, 0, LIMIT), 0);
	assert_string_equal((char *)back + 4096, "from a");
	assert_int_equal(zw_vm_unmap(f->b.vm, va, 8192), 0);
	zw_bo_destroy(theirs);
}

static void test_bad_memory(void **state)
{
	struct fixture *f = *state;
	int mem = memfd_create("t", MFD_ALLOW_SEALING), pipes[2], null = open("/dev/null", O_RDWR);
	int file = open("/tmp", O_TMPFILE | O_RDWR, 0600), fd;
	struct zw_bo *bo;

	assert_int_equal(zw_bo_import(f->a.dev, -1, &bo), -EINVAL);
	assert_int_equal(zw_bo_import(f->a.dev, null, &bo), -EINVAL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(zw_bo_import(f->a.dev, pipes[0], &bo), -EINVAL);
	assert_int_equal(ftruncate(mem, 8192), 0);
	assert_int_equal(zw_bo_import(f->a.dev, mem, &bo), -EACCES); /* not sealed */
	assert_int_equal(fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(zw_bo_import(f->a.dev, mem, &bo), 0);
	zw_bo_destroy(bo);
	assert_int_equal(fcntl(mem, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(zw_bo_import(f->a.dev, mem, &bo), -EACCES);
	close(mem);
	mem = memfd_create("t", MFD_ALLOW_SEALING);
	assert_int_equal(fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(zw_bo_import(f->a.dev, mem, &bo), -EINVAL); /* empty */
	assert_int_equal(ftruncate(mem, 4097), 0);
	assert_int_equal(zw_bo_import(f->a.dev, mem, &bo), -EINVAL); /* no whole pages */
	assert_null(bo);
	if (file >= 0) {
		assert_int_equal(ftruncate(file, 8192), 0);
		assert_true(zw_bo_import(f->a.dev, file, &bo) < 0); /* may shrink at any time */
		close(file);
	}
	assert_int_equal(zw_bo_export(f->a.mem.bo, &fd), -EOPNOTSUPP); /* HBM */
	close(mem);
	close(null);
	close(pipes[0]);
	close(pipes[1]);
}

/* A descriptor cannot be made smaller by whoever it was given to. */
static void test_exports_are_sealed(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *bo;
	int fd;

	assert_int_equal(zw_bo_create(f->a.dev, 8192, ZW_BO_SYSTEM, &bo), 0);
	assert_int_equal(zw_bo_export(bo, &fd), 0);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
	zw_bo_destroy(bo);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_wait_many),     T(test_eventfd),      T(test_eventfd_of_a_lost_device),
		T(test_foreign_wait),  T(test_foreign_many), T(test_not_on_sim),
		T(test_shared_memory), T(test_bad_memory),   T(test_exports_are_sealed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
