// SPDX-License-Identifier: MIT
/*
 * Random calls with small random arguments from several threads on shared files, some of them killed
 * in the middle. Any error is fine; a hang, a splat in the kernel log, lost memory or a device
 * that does not work afterwards is not. ZW_STRESS_SECONDS makes it longer.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define THREADS   3
#define PROCESSES 3

struct worker {
	int fd;
	unsigned int seed;
	uint32_t syncobj;
	volatile bool *stop;
};

static uint64_t random_va(unsigned int *s)
{
	return (rand_r(s) % 64) * 65536ull + 2 * MIB;
}

static void random_submit(struct worker *w, uint32_t queue)
{
	unsigned int *s = &w->seed;
	struct drm_zhenwu_sync_op ops[2] = {
		{.handle = w->syncobj, .flags = DRM_ZHENWU_SYNC_OP_SIGNAL},
		{.handle = w->syncobj},
	};
	struct drm_zhenwu_job job = {.syncs = DRM_ZHENWU_OBJ_ARRAY(1 + rand_r(s) % 2, ops)};
	struct drm_zhenwu_submit submit = {.queue_id = queue,
					   .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};

	if (rand_r(s) % 3 == 0) {
		job.cmd_va = random_va(s);
		job.cmd_bytes = 64;
	}
	zw_ioctl(w->fd, DRM_IOCTL_ZHENWU_SUBMIT, &submit);
}

static void random_bo(struct worker *w, uint32_t vm)
{
	unsigned int *s = &w->seed;
	struct drm_zhenwu_bo_create c = {
		.size = 4096ull << rand_r(s) % 12,
		.flags = 1 + rand_r(s) % 3, /* HBM, system or both */
		.exclusive_vm_id = rand_r(s) % 2 ? vm : 0,
	};

	zw_ioctl(w->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c);
}

static void random_call(struct worker *w)
{
	unsigned int *s = &w->seed;
	uint32_t queue = 1 + rand_r(s) % 4, bo = 1 + rand_r(s) % 8, vm = 1 + rand_r(s) % 3;
	struct drm_zhenwu_bo_wait wait = {.handle = bo, .timeout_ns = zw_deadline(1000000)};
	struct drm_zhenwu_queue_get_state st;
	void *m;

	switch (rand_r(s) % 16) {
	case 0:
		zw_vm(w->fd);
		break;
	case 1:
		if (rand_r(s) % 4 == 0)
			zw_vm_destroy(w->fd, vm);
		break;
	case 2:
		random_bo(w, vm);
		break;
	case 3:
		if (rand_r(s) % 2)
			zw_bo_close(w->fd, bo);
		break;
	case 4:
	case 5:
	case 6:
		zw_bind(w->fd, vm, bo, 0, random_va(s), 4096ull << rand_r(s) % 10, 0);
		break;
	case 7:
		zw_unbind(w->fd, vm, random_va(s), 4096ull << rand_r(s) % 12);
		break;
	case 8:
		zw_queue(w->fd, vm);
		break;
	case 9:
		if (rand_r(s) % 4 == 0)
			zw_queue_destroy(w->fd, queue);
		break;
	case 10:
	case 11:
	case 12:
		random_submit(w, queue);
		break;
	case 13:
		zw_ioctl(w->fd, DRM_IOCTL_ZHENWU_BO_WAIT, &wait);
		break;
	case 14:
		if (!zw_queue_state(w->fd, queue, &st) && st.state && rand_r(s) % 2)
			zw_queue_destroy(w->fd, queue);
		break;
	default:
		m = zw_map(w->fd, bo, 4096);
		if (m) {
			*(volatile int *)m = 1;
			munmap(m, 4096);
		}
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	while (!*w->stop)
		random_call(w);
	return NULL;
}

/* A process of three threads that share a file. */
static void process_main(unsigned int seed, unsigned int seconds, bool killed)
{
	struct worker w[THREADS];
	pthread_t thread[THREADS];
	volatile bool stop = false;
	int fd = zw_open();
	uint32_t syncobj;

	if (fd < 0 || drmSyncobjCreate(fd, 0, &syncobj))
		_exit(1);
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){fd, seed * 77 + i, syncobj, &stop};
		if (pthread_create(&thread[i], NULL, worker_main, &w[i]))
			_exit(1);
	}
	sleep(seconds);
	if (killed)
		raise(SIGKILL);
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	_exit(0);
}

FIXTURE(stress)
{
	int fd;
};

FIXTURE_SETUP(stress)
{
	self->fd = zw_open();
	if (self->fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
}

FIXTURE_TEARDOWN(stress)
{
	close(self->fd);
}

TEST_F_TIMEOUT(stress, random_calls_from_many_threads, 600)
{
	const char *env = getenv("ZW_STRESS_SECONDS");
	unsigned int seconds = env ? strtoul(env, NULL, 0) : 4;
	struct drm_zhenwu_dev_info before;
	struct zw_client c;
	pid_t pid[PROCESSES];
	uint32_t bo;

	ASSERT_EQ(0, zw_info(self->fd, &before));
	for (int p = 0; p < PROCESSES; p++) {
		pid[p] = fork();
		ASSERT_LE(0, pid[p]);
		if (!pid[p])
			process_main(p + 1, seconds, p == 1);
	}
	for (int p = 0; p < PROCESSES; p++) {
		int status;

		ASSERT_EQ(pid[p], waitpid(pid[p], &status, 0));
		if (p == 1) {
			EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		} else {
			EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
		}
	}

	ASSERT_TRUE(zw_client_open(&c));
	zw_put_fill(c.cmd.ptr, &c.pos, c.cmd.va + 32768, 4, 0x57e55);
	EXPECT_EQ(0, zw_client_run(&c, 0));
	EXPECT_EQ(0x57e55, *(uint32_t *)((char *)c.cmd.ptr + 32768));
	zw_client_close(&c);

	/* All HBM comes back, and scrubbed: what is not cannot be had, only counted. */
	bo = zw_bo_patiently(self->fd, before.hbm_free, DRM_ZHENWU_BO_HBM);
	EXPECT_NE(0, bo);
	EXPECT_EQ(0, zw_bo_close(self->fd, bo));
}

TEST_HARNESS_MAIN
