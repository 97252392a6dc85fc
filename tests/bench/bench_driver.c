// SPDX-License-Identifier: MIT
/*
 * What the driver's calls cost besides a round trip, and how it shares the device out.
 *
 *	bench_driver [--seconds S]
 *
 * Rates of one client: binding and unbinding, at once and asynchronously, making and closing buffers, page
 * faults of a mapping, imports of another client's buffer. What is evicted from HBM per second for a buffer that needs the room,
 * until that is there, scrubbed. Then 2, 8 and 32 clients of equal priority that always have work
 * waiting, each for itself in a process: the jobs of the one that got least over those of the one that
 * got most. Then the round trips of a queue of high priority, alone and beside a client that
 * saturates the device, and the time from a reset of the PCI function to a job of a new client that has
 * ended. Prints one JSON object. Needs root, for the priority and the reset; S is the time of each
 * figure, three times that for those of several clients.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest/zw_kst.h"
#include "bench_samples.h"

#define MOST_CLIENTS 32
/* A client's jobs: fills of so much HBM, so many of them waiting. */
#define WORK_VA      (UINT64_C(64) << 20)
#define FAIR_BYTES   (4u << 20)   /* so much that the device is what they wait for */
#define BESIDE_BYTES (256u << 10) /* between packets the device looks at other queues */
#define IN_FLIGHT    8
/* Where its last job writes, in the buffer of its commands. */
#define PROOF_AT     32768
#define SMALL        (64u << 10)
#define MAPPED       (16u << 20)
#define EVICTED      (64u << 20)
#define HIGH_SAMPLES 100000

static void fail(const char *what, int err)
{
	fprintf(stderr, "bench_driver: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static void open_client(struct zw_client *c)
{
	if (!zw_client_open(c))
		fail(c->fd < 0 ? KSFT_SKIP_NO_DEVICE : "cannot make a client", errno);
}

/* --- rates of one client --- */

typedef void step_fn(struct zw_client *c, uint32_t bo);

static void step_bind(struct zw_client *c, uint32_t bo)
{
	int ret = zw_bind(c->fd, c->vm, bo, 0, WORK_VA, SMALL, 0);

	if (!ret)
		ret = zw_unbind(c->fd, c->vm, WORK_VA, SMALL);
	if (ret)
		fail("VM_BIND", ret);
}

/* The same without waiting, in one call; but for those far behind, so that they do not pile up. */
static void step_bind_async(struct zw_client *c, uint32_t bo)
{
	struct drm_zhenwu_sync_op done = {
		.flags =
			DRM_ZHENWU_SYNC_OP_SIGNAL | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		.handle = c->timeline,
		.timeline_value = ++c->point,
	};
	struct drm_zhenwu_vm_bind_op ops[2] = {
		{.bo_handle = bo, .va = WORK_VA, .size = SMALL},
		{.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP,
		 .va = WORK_VA,
		 .size = SMALL,
		 .syncs = DRM_ZHENWU_OBJ_ARRAY(1, &done)},
	};
	struct drm_zhenwu_vm_bind b = {
		.vm_id = c->vm,
		.flags = DRM_ZHENWU_VM_BIND_ASYNC,
		.ops = DRM_ZHENWU_OBJ_ARRAY(2, ops),
	};
	int ret = zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b);

	if (!ret && c->point > IN_FLIGHT)
		ret = zw_wait(c->fd, c->timeline, c->point - IN_FLIGHT, LONG_WAIT_NS);
	if (ret)
		fail("asynchronous VM_BIND", ret);
}

static void step_bo(struct zw_client *c, uint32_t bo)
{
	bo = zw_bo(c->fd, SMALL, DRM_ZHENWU_BO_HBM);
	if (!bo)
		fail("BO_CREATE", errno);
	zw_bo_close(c->fd, bo);
}

static void step_faults(struct zw_client *c, uint32_t bo)
{
	volatile char *p = zw_map(c->fd, bo, MAPPED);

	if (!p)
		fail("mmap", errno);
	for (uint32_t i = 0; i < MAPPED; i += 4096)
		p[i] = 1;
	munmap((void *)p, MAPPED);
}

static int dmabuf = -1;

static void step_import(struct zw_client *c, uint32_t bo)
{
	if (drmPrimeFDToHandle(c->fd, dmabuf, &bo))
		fail("PRIME_FD_TO_HANDLE", errno);
	zw_bo_close(c->fd, bo);
}

/* Steps per second. */
static double rate(step_fn *step, struct zw_client *c, uint32_t bo, double seconds)
{
	uint64_t start, end, n = 0;

	step(c, bo); /* code of the path is translated by the emulator once */
	start = now_ns();
	end = start + (uint64_t)(seconds * 1e9);
	do {
		step(c, bo);
		n++;
	} while (now_ns() < end);
	return (double)n * 1e9 / (double)(now_ns() - start);
}

static uint64_t evict_once(struct zw_client *c)
{
	uint32_t more, idle = zw_bo(c->fd, EVICTED, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM);
	struct drm_zhenwu_bo_query_info q = {.handle = idle};
	uint64_t start;

	if (!idle || zw_bind(c->fd, c->vm, idle, 0, WORK_VA, EVICTED, 0))
		fail("cannot make what is evicted", errno);
	start = now_ns();
	more = zw_bo(c->fd, EVICTED, DRM_ZHENWU_BO_HBM);
	start = now_ns() - start;
	if (!more)
		fail("cannot make a buffer by eviction", errno);
	if (zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q) ||
	    q.placement != DRM_ZHENWU_BO_SYSTEM)
		fail("nothing was evicted", EINVAL);
	zw_unbind(c->fd, c->vm, WORK_VA, EVICTED);
	zw_bo_close(c->fd, idle);
	zw_bo_close(c->fd, more);
	return start;
}

/* GB/s of buffers that are made in place of others. */
static double eviction(double seconds)
{
	struct drm_zhenwu_dev_info info;
	uint64_t ns = 0, n = 0;
	struct zw_client c;

	open_client(&c);
	if (zw_info(c.fd, &info) ||
	    !zw_bo(c.fd, (info.hbm_free - EVICTED - EVICTED / 2) & ~((2ull << 20) - 1),
		   DRM_ZHENWU_BO_HBM))
		fail("cannot fill HBM", errno);
	for (; !n || (double)ns < seconds * 1e9; n++)
		ns += evict_once(&c);
	zw_client_close(&c);
	return (double)n * EVICTED / (double)ns;
}

static void rates(double seconds)
{
	struct zw_client c, other;
	uint32_t bo, large;

	open_client(&c);
	open_client(&other);
	bo = zw_bo(c.fd, SMALL, DRM_ZHENWU_BO_HBM);
	large = zw_bo(c.fd, MAPPED, DRM_ZHENWU_BO_SYSTEM);
	if (!bo || !large || drmPrimeHandleToFD(c.fd, large, DRM_CLOEXEC, &dmabuf))
		fail("cannot make the buffers", errno);
	printf("{\"bind_per_s\": %.0f, ", 2 * rate(step_bind, &c, bo, seconds));
	printf("\"async_bind_per_s\": %.0f, ", 2 * rate(step_bind_async, &c, bo, seconds));
	printf("\"bo_per_s\": %.0f, ", rate(step_bo, &c, 0, seconds));
	printf("\"fault_per_s\": %.0f, ", rate(step_faults, &c, large, seconds) * (MAPPED / 4096));
	printf("\"import_per_s\": %.0f, ", rate(step_import, &other, 0, seconds));
	close(dmabuf);
	zw_client_close(&other);
	zw_client_close(&c);
	printf("\"evict_gb_per_s\": %.3f, ", eviction(seconds));
}

/* --- several clients --- */

/* What the processes share. */
struct shared {
	atomic_uint ready;
	atomic_bool go, stop;
	atomic_ulong done[MOST_CLIENTS];
};

/* A process that keeps the device busy until it is told to stop, or its parent is gone. */
static void work(struct shared *s, unsigned int me, uint32_t bytes)
{
	pid_t parent = getppid();
	struct zw_client c;
	struct zw_buf mem;
	uint32_t from;
	int ret = 0;

	open_client(&c);
	if (!zw_buf(c.fd, c.vm, bytes, DRM_ZHENWU_BO_HBM, WORK_VA, &mem))
		fail("cannot make a buffer", errno);
	from = c.pos;
	zw_put_fill(c.cmd.ptr, &c.pos, WORK_VA, bytes, me);
	atomic_fetch_add(&s->ready, 1);
	while (!atomic_load(&s->go) && getppid() == parent)
		usleep(1000);
	while (!ret && !atomic_load(&s->stop) && getppid() == parent) {
		ret = zw_client_submit(&c, from, 0);
		if (!ret && c.point > IN_FLIGHT) {
			ret = zw_wait(c.fd, c.timeline, c.point - IN_FLIGHT, LONG_WAIT_NS);
			if (!ret)
				atomic_fetch_add(&s->done[me], 1);
		}
	}
	if (ret)
		fail("a client's job", ret);
	/* A queue of which a job failed runs no other. */
	from = c.pos;
	zw_put_fill(c.cmd.ptr, &c.pos, c.cmd.va + PROOF_AT, sizeof(uint32_t), me + 1);
	ret = zw_client_run(&c, from);
	if (ret || *(volatile uint32_t *)((char *)c.cmd.ptr + PROOF_AT) != me + 1)
		fail("a client's last job", ret ? ret : EIO);
	zw_client_close(&c);
	_exit(0);
}

/* One that should not have, or not so. */
static void client_ended(int status)
{
	fprintf(stderr, "bench_driver: a client ended with %s %d\n",
		WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	exit(1);
}

static struct shared *start_clients(pid_t *pids, unsigned int n, uint32_t bytes)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		fail("mmap", errno);
	fflush(stdout);
	for (unsigned int i = 0; i < n; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			fail("fork", errno);
		if (!pids[i])
			work(s, i, bytes);
	}
	while (atomic_load(&s->ready) < n) {
		int status;

		if (waitpid(-1, &status, WNOHANG) > 0)
			client_ended(status);
		usleep(1000);
	}
	atomic_store(&s->go, true);
	return s;
}

static void stop_clients(struct shared *s, const pid_t *pids, unsigned int n)
{
	atomic_store(&s->stop, true);
	for (unsigned int i = 0; i < n; i++) {
		int status;

		if (waitpid(pids[i], &status, 0) < 0)
			fail("waitpid", errno);
		if (status)
			client_ended(status);
	}
	munmap(s, sizeof(*s));
}

/* Jobs of the client that got least over those of the one that got most. */
static double fairness(unsigned int n, double seconds)
{
	pid_t pids[MOST_CLIENTS];
	struct shared *s = start_clients(pids, n, FAIR_BYTES);
	unsigned long first[MOST_CLIENTS], least = -1ul, most = 0;

	/* Not counted: until all of them are at work. */
	usleep((useconds_t)(seconds * 0.3e6));
	for (unsigned int i = 0; i < n; i++)
		first[i] = atomic_load(&s->done[i]);
	usleep((useconds_t)(seconds * 3e6));
	for (unsigned int i = 0; i < n; i++) {
		unsigned long got = atomic_load(&s->done[i]) - first[i];

		least = got < least ? got : least;
		most = got > most ? got : most;
	}
	stop_clients(s, pids, n);
	return most ? (double)least / (double)most : 0;
}

/* p50 and p99 of the round trips of a queue of high priority, in microseconds. */
static void high_priority(double seconds, double *p50, double *p99)
{
	uint64_t *samples = malloc(sizeof(*samples) * HIGH_SAMPLES), end, t0;
	struct drm_zhenwu_queue_create create = {.priority = DRM_ZHENWU_QUEUE_PRIORITY_HIGH};
	struct zw_client c;
	size_t n = 0;
	int ret;

	if (!samples)
		fail("malloc", ENOMEM);
	open_client(&c);
	create.vm_id = c.vm;
	ret = zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &create);
	if (ret)
		fail("a queue of high priority", ret);
	c.queue = create.queue_id;
	end = now_ns() + (uint64_t)(seconds * 3e9);
	do {
		t0 = now_ns();
		ret = zw_submit(c.fd, c.queue, 0, 0, 0, c.timeline, ++c.point);
		if (!ret)
			ret = zw_wait(c.fd, c.timeline, c.point, LONG_WAIT_NS);
		if (ret)
			fail("a job of high priority", ret);
		samples[n++] = now_ns() - t0;
	} while (now_ns() < end && n < HIGH_SAMPLES);
	zw_client_close(&c);
	qsort(samples, n, sizeof(*samples), by_value);
	*p50 = (double)samples[n / 2] / 1e3;
	*p99 = (double)samples[n * 99 / 100] / 1e3;
	free(samples);
}

/* Milliseconds from a reset of the function until a job of a new client has ended. */
static double reset_ms(void)
{
	char path[512];
	struct zw_client c;
	uint64_t t0;
	int ret;

	if (zw_pci_path(path, sizeof(path) - sizeof("/reset")))
		fail("no folder in sysfs", ENOENT);
	strcat(path, "/reset");
	t0 = now_ns();
	ret = zw_write_file(path, "1");
	if (ret)
		fail(path, ret);
	open_client(&c);
	if (!zw_client_works(&c))
		fail("a job behind the reset", EIO);
	t0 = now_ns() - t0;
	zw_client_close(&c);
	return (double)t0 / 1e6;
}

int main(int argc, char **argv)
{
	double seconds = 1, idle50, idle99, busy50, busy99;
	struct shared *s;
	pid_t neighbour;

	if (argc == 3 && !strcmp(argv[1], "--seconds"))
		seconds = atof(argv[2]);
	else if (argc != 1)
		seconds = 0;
	if (!(seconds > 0)) {
		fprintf(stderr, "usage: bench_driver [--seconds S]\n");
		return 2;
	}
	zw_keep_fences = false;
	rates(seconds);
	for (unsigned int n = 2; n <= MOST_CLIENTS; n *= 4)
		printf("\"fair_%u\": %.3f, ", n, fairness(n, seconds));
	high_priority(seconds, &idle50, &idle99);
	s = start_clients(&neighbour, 1, BESIDE_BYTES);
	high_priority(seconds, &busy50, &busy99);
	stop_clients(s, &neighbour, 1);
	printf("\"high_idle_p50_us\": %.1f, \"high_idle_p99_us\": %.1f, \"high_busy_p50_us\": "
	       "%.1f, "
	       "\"high_busy_p99_us\": %.1f, ",
	       idle50, idle99, busy50, busy99);
	printf("\"reset_ms\": %.1f}\n", reset_ms());
	return 0;
}
