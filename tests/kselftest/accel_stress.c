// SPDX-License-Identifier: MIT
/*
 * Random calls with small random arguments from several threads on shared files, some of them killed
 * in the middle. Any error is fine; a hang, a splat in the kernel log, lost memory or a device
 * that does not work afterwards is not. ZW_STRESS_SECONDS makes it longer; ZW_STRESS_KILLS and
 * ZW_STRESS_SEED: how many clients are killed, and when.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
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
	uint32_t *calls; /* shared with who kills it, or NULL */
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

	while (!*w->stop) {
		random_call(w);
		if (w->calls)
			__atomic_fetch_add(w->calls, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * A process of three threads that share a file, killed by itself or, with 0 seconds, by others, who
 * see how many calls it has made.
 */
static void process_main(unsigned int seed, unsigned int seconds, bool killed, uint32_t *calls)
{
	struct worker w[THREADS];
	pthread_t thread[THREADS];
	volatile bool stop = false;
	int fd = zw_open();
	uint32_t syncobj;

	if (fd < 0 || drmSyncobjCreate(fd, 0, &syncobj))
		_exit(1);
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){fd, seed * 77 + i, syncobj, &stop, calls};
		if (pthread_create(&thread[i], NULL, worker_main, &w[i]))
			_exit(1);
	}
	if (!seconds)
		pause();
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

/* All HBM comes back, and scrubbed: what is not cannot be had, only counted. */
static void expect_all_hbm(struct __test_metadata *_metadata, int fd, uint64_t bytes)
{
	uint32_t bo = zw_bo_patiently(fd, bytes, DRM_ZHENWU_BO_HBM);

	EXPECT_NE(0, bo);
	EXPECT_EQ(0, zw_bo_close(fd, bo));
}

TEST_F_TIMEOUT(stress, random_calls_from_many_threads, 600)
{
	unsigned int seconds = zw_number_of("ZW_STRESS_SECONDS", 4);
	struct drm_zhenwu_dev_info before;
	struct zw_client c;
	pid_t pid[PROCESSES];

	ASSERT_EQ(0, zw_info(self->fd, &before));
	for (int p = 0; p < PROCESSES; p++) {
		pid[p] = fork();
		ASSERT_LE(0, pid[p]);
		if (!pid[p])
			process_main(p + 1, seconds, p == 1, NULL);
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
	expect_all_hbm(_metadata, self->fd, before.hbm_free);
}

/* From before it has opened the device until it is in the midst of things. */
TEST_F_TIMEOUT(stress, killed_at_random_points, 600)
{
	unsigned int seed = zw_number_of("ZW_STRESS_SEED", time(NULL) / 86400);
	unsigned int kills = zw_number_of("ZW_STRESS_KILLS", 20);
	uint32_t *calls =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct drm_zhenwu_dev_info before;
	uint64_t reached = 0;

	ASSERT_NE(MAP_FAILED, calls);
	ksft_print_msg("ZW_STRESS_SEED=%u ZW_STRESS_KILLS=%u\n", seed, kills);
	ASSERT_EQ(0, zw_info(self->fd, &before));
	for (unsigned int i = 0; i < kills; i++) {
		uint32_t enough = rand_r(&seed) % 300;
		int status;
		pid_t pid;

		*calls = 0;
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			process_main(seed + i, 0, false, calls);
		/* By calls, not by time: a slow machine would kill all of them as they start. */
		for (int j = 0; j < 10000 && __atomic_load_n(calls, __ATOMIC_RELAXED) < enough; j++)
			usleep(1000);
		usleep(rand_r(&seed) % 2000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		TH_LOG("client %u: status 0x%x", i, status);
		reached += *calls;
		if (i % 500 == 499)
			ksft_print_msg("%u killed\n", i + 1);
	}
	ksft_print_msg("%llu calls\n", (unsigned long long)reached);
	/* They were in the midst of things. */
	EXPECT_LE(kills, reached);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	expect_all_hbm(_metadata, self->fd, before.hbm_free);
}

TEST_HARNESS_MAIN
