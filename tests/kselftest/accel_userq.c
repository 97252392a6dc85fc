// SPDX-License-Identifier: MIT
/*
 * User-mode queues: rings and doorbell in the process, no system call for a job. What they do, how one
 * waits, and that whoever has one reaches nothing else.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_userq.h"

#define TIMEOUT_PARAM "/sys/module/zhenwu/parameters/job_timeout_ms"
#define S             1000000000ll

FIXTURE(userq)
{
	struct zw_userq u;
	struct zw_client other; /* an ordinary client: nobody is to disturb it */
	char pci[300];
};

FIXTURE_SETUP(userq)
{
	if (!zw_client_open(&self->other)) {
		if (self->other.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_TRUE(zw_userq_open(&self->u, 8)) TH_LOG("cannot make a user-mode queue");
	ASSERT_EQ(0, zw_pci_path(self->pci, sizeof(self->pci)));
	if (zw_has_host())
		ASSERT_EQ(0, zw_inject("clear"));
}

FIXTURE_TEARDOWN(userq)
{
	if (zw_has_host())
		zw_inject("clear");
	zw_userq_close(&self->u);
	zw_client_close(&self->other);
}

static struct drm_zhenwu_queue_get_state state(const struct zw_userq *u)
{
	struct drm_zhenwu_queue_get_state st;

	if (zw_queue_state(u->fd, u->queue, &st))
		st.state = 0xdead;
	return st;
}

/* A job that waits for a word of the data. */
static void put_stuck(struct zw_userq *u)
{
	uint32_t pos = 8192;

	zw_put_sem(zw_userq_at(u, 0), &pos, ZW_OP_SEM_WAIT, zw_userq_va(u, 4096 + 64), 1);
	zw_userq_put(u, zw_userq_va(u, 8192), pos - 8192, 0, 0);
	zw_userq_ring(u);
}

static void release_stuck(struct zw_userq *u)
{
	__atomic_store_n((uint64_t *)zw_userq_at(u, 4096 + 64), 1, __ATOMIC_RELEASE);
}

/* Round and round the ring, full each time. */
TEST_F(userq, jobs_without_system_calls)
{
	struct zw_userq *u = &self->u;
	uint32_t *words = zw_userq_at(u, 4096), pos = 0;
	const struct zw_job_result *r = zw_userq_at(u, 65536);
	struct drm_zhenwu_queue_get_state st;
	unsigned long irqs;

	ASSERT_TRUE(zw_userq_works(u));
	irqs = zw_interrupts();
	for (uint32_t i = 0; i < 50; i++) {
		pos = 0;
		for (uint32_t j = 0; j < 8; j++) {
			uint32_t from = pos;

			/* Each counts on the one before it. */
			zw_put_copy(zw_userq_at(u, 0), &pos, zw_userq_va(u, 4096 + 4 * j + 4),
				    zw_userq_va(u, 4096 + 4 * j), 4);
			zw_userq_put(u, zw_userq_va(u, from), pos - from,
				     zw_userq_va(u, 65536 + 256 * j), 0);
		}
		words[0] = 0xc0de0000 + i;
		words[8] = 0;
		zw_userq_ring(u);
		ASSERT_TRUE(zw_userq_poll(u, u->seq)) TH_LOG("round %u", i);
		ASSERT_EQ(0xc0de0000 + i, ((volatile uint32_t *)words)[8]);
		for (uint32_t j = 0; j < 8; j++) {
			ASSERT_EQ(ZW_JOB_OK, u->done[j].status);
			ASSERT_EQ(u->done[j].seqno, u->done[j].cookie);
			ASSERT_EQ(8 * i + 2 + j, r[j].seqno);
		}
	}
	/* Nobody asked for any; a progress check may have come by. */
	EXPECT_GT(irqs + 40, zw_interrupts());
	st = state(u);
	EXPECT_EQ(0, st.state);
	EXPECT_EQ(401, st.completed);
	EXPECT_EQ(401, st.submitted);
}

static void *release_later(void *arg)
{
	usleep(300000);
	release_stuck(arg);
	return NULL;
}

TEST_F(userq, waiting)
{
	struct zw_userq *u = &self->u;
	unsigned long irqs;
	pthread_t t;

	put_stuck(u);
	EXPECT_EQ(-ETIME, zw_userq_wait(u, 1, 0));
	EXPECT_EQ(-ETIME, zw_userq_wait(u, 1, S / 4));
	irqs = zw_interrupts();
	zw_userq_wake(u, 1);
	ASSERT_EQ(0, pthread_create(&t, NULL, release_later, u));
	EXPECT_EQ(0, zw_userq_wait(u, 1, LONG_WAIT_NS));
	EXPECT_LT(irqs, zw_interrupts());
	pthread_join(t, NULL);
	EXPECT_EQ(1, zw_userq_slot(u, 1));
	EXPECT_EQ(0, zw_userq_wait(u, 1, 0));
	/* asked for when it is over: at once */
	irqs = zw_interrupts();
	zw_userq_put(u, 0, 0, 0, 0);
	zw_userq_ring(u);
	ASSERT_TRUE(zw_userq_poll(u, 2));
	zw_userq_wake(u, 2);
	for (int64_t end = zw_deadline(LONG_WAIT_NS); zw_interrupts() == irqs;) {
		ASSERT_GT(end, zw_deadline(0));
	}
	/* asked for with the job */
	irqs = zw_interrupts();
	zw_userq_put(u, 0, 0, 0, ZW_RING_F_IRQ);
	zw_userq_ring(u);
	EXPECT_EQ(0, zw_userq_wait(u, 3, LONG_WAIT_NS));
	for (int64_t end = zw_deadline(LONG_WAIT_NS); zw_interrupts() == irqs;) {
		ASSERT_GT(end, zw_deadline(0));
	}
}

/* It is the interrupt that ends a wait, not the look that is taken now and then. */
TEST_F(userq, interrupt_ends_a_sleep)
{
	struct zw_userq *u = &self->u;
	int64_t best = LONG_WAIT_NS;

	for (int i = 0; i < 5; i++) {
		int64_t start;
		pthread_t t;

		memset(zw_userq_at(u, 4096 + 64), 0, 8);
		put_stuck(u);
		zw_userq_wake(u, u->seq);
		ASSERT_EQ(0, pthread_create(&t, NULL, release_later, u));
		start = zw_deadline(0);
		ASSERT_EQ(0, zw_userq_wait(u, u->seq, LONG_WAIT_NS));
		if (zw_deadline(0) - start < best)
			best = zw_deadline(0) - start;
		pthread_join(t, NULL);
	}
	TH_LOG("best of 5: %lld us", (long long)best / 1000);
	EXPECT_GT(S, best);
}

/* An interrupt that does not come costs time, and nothing else. */
TEST_F_TIMEOUT(userq, lost_interrupt, 120)
{
	struct zw_userq *u = &self->u;
	pthread_t t;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	put_stuck(u);
	zw_userq_wake(u, 1);
	ASSERT_EQ(0, zw_inject("lost-irq=all"));
	ASSERT_EQ(0, pthread_create(&t, NULL, release_later, u));
	EXPECT_EQ(0, zw_userq_wait(u, 1, LONG_WAIT_NS));
	pthread_join(t, NULL);
	ASSERT_EQ(0, zw_inject("clear"));
	EXPECT_TRUE(zw_userq_works(u));
}

TEST_F(userq, wrong_waits)
{
	struct zw_userq *u = &self->u;
	struct drm_zhenwu_queue_wait w = {
		.queue_id = u->queue,
		.addr = (uintptr_t)&u->done[1].seqno,
	};
	struct zw_client *o = &self->other;

	EXPECT_EQ(0, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	w.value = 1;
	EXPECT_EQ(-ETIME, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	w.flags = 1;
	EXPECT_EQ(-EINVAL, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	w.flags = 0;
	w.timeout_ns = -1;
	EXPECT_EQ(-EINVAL, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	w.timeout_ns = 0;
	w.addr += 4;
	EXPECT_EQ(-EINVAL, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	w.addr = 8;
	EXPECT_EQ(-EFAULT, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	w.addr = 0xffff800000000000;
	EXPECT_EQ(-EFAULT, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	w.addr = (uintptr_t)&u->done[1].seqno;
	w.queue_id = u->queue + 1000;
	EXPECT_EQ(-ENOENT, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
	/* one that has fences */
	w.queue_id = o->queue;
	EXPECT_EQ(-EINVAL, zw_ioctl(o->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w));
}

TEST_F(userq, wrong_queues)
{
	struct zw_userq *u = &self->u;
	const struct drm_zhenwu_queue_create good = zw_userq_args(u->vm, 64);
	struct zw_client *o = &self->other;
	struct drm_zhenwu_queue_create c;

#define REFUSED(error, change)                                                                     \
	do {                                                                                       \
		c = good;                                                                          \
		change;                                                                            \
		EXPECT_EQ(error, zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c));              \
	} while (0)
	/* a ring of the kernel on this VM, or half of a user's */
	REFUSED(-EINVAL, c.ring_va = c.ctrl_va = c.completions_va = 0);
	REFUSED(-EINVAL, c.ring_va = 0);
	REFUSED(-EINVAL, c.ctrl_va = 0);
	REFUSED(-EINVAL, c.completions_va = 0);
	REFUSED(-EINVAL, c.ring_va += 32);
	REFUSED(-EINVAL, c.ctrl_va += 8);
	REFUSED(-EINVAL, c.completions_va += 1);
	REFUSED(-EINVAL, c.ring_va = (1ull << 48) - (4ull << 30));
	REFUSED(-EINVAL, c.completions_va = (1ull << 48) - (4ull << 30) - 4032);
	REFUSED(-EINVAL, c.ctrl_va = ~63ull);
	REFUSED(-EINVAL, c.ring_va = 4096);
	REFUSED(-EINVAL, c.flags = 1);
	REFUSED(-EINVAL, c.doorbell_offset = DRM_ZHENWU_MMAP_RESERVED);
	REFUSED(-EINVAL, c.ring_slots = 12);
	REFUSED(-ENOENT, c.vm_id += 1000);
	/* nothing is mapped there */
	REFUSED(-EFAULT, c.ctrl_va = 1024 * MIB);
#undef REFUSED
	/* a user's ring on an ordinary VM */
	c = good;
	c.vm_id = o->vm;
	EXPECT_EQ(-EINVAL, zw_ioctl(o->fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c));
	EXPECT_EQ(-EINVAL, zw_submit(u->fd, u->queue, 0, 0, 0, 0, 0));
	EXPECT_TRUE(zw_userq_works(u));
	EXPECT_TRUE(zw_client_works(o));
}

static int map_errno(int fd, uint64_t offset, size_t size, int prot, int flags)
{
	void *p = mmap(NULL, size, prot, flags, fd, (off_t)offset);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, size);
	return 0;
}

TEST_F(userq, wrong_doorbells)
{
	const int rw = PROT_READ | PROT_WRITE;
	struct zw_userq *u = &self->u;
	struct zw_client *o = &self->other;
	int fd2 = zw_open();

	EXPECT_EQ(0, map_errno(u->fd, u->offset, 4096, rw, MAP_SHARED));
	EXPECT_EQ(EINVAL, map_errno(u->fd, u->offset, 8192, rw, MAP_SHARED));
	EXPECT_EQ(EINVAL, map_errno(u->fd, u->offset, 4096, rw, MAP_PRIVATE));
	EXPECT_EQ(EINVAL, map_errno(u->fd, u->offset, 4096, rw | PROT_EXEC, MAP_SHARED));
	/* another's, nobody's, one of the kernel's queues */
	EXPECT_EQ(EINVAL, map_errno(fd2, u->offset, 4096, rw, MAP_SHARED));
	EXPECT_EQ(EINVAL, map_errno(o->fd, u->offset, 4096, rw, MAP_SHARED));
	for (uint64_t i = 0; i < 4096; i++) {
		uint64_t at = DRM_ZHENWU_MMAP_RESERVED + i * 4096;

		EXPECT_EQ(EINVAL, map_errno(o->fd, at, 4096, rw, MAP_SHARED));
		if (at != u->offset)
			EXPECT_EQ(EINVAL, map_errno(u->fd, at, 4096, rw, MAP_SHARED));
	}
	close(fd2);
}

/* A child has to ask for itself. */
TEST_F(userq, doorbell_is_not_inherited)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*self->u.bell = 1;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	EXPECT_TRUE(zw_userq_works(&self->u));
}

TEST_F(userq, failure)
{
	struct zw_userq *u = &self->u;
	struct drm_zhenwu_queue_get_state st;
	uint32_t pos = 0;

	zw_put_fill(zw_userq_at(u, 0), &pos, 0x123456789000, 4, 1);
	zw_userq_put(u, 0, 0, 0, 0);
	zw_userq_put(u, zw_userq_va(u, 0), pos, 0, 0);
	zw_userq_put(u, 0, 0, 0, 0);
	zw_userq_ring(u);
	ASSERT_TRUE(zw_userq_poll(u, 3));
	EXPECT_EQ(ZW_JOB_OK, u->done[1].status);
	EXPECT_EQ(ZW_JOB_FAULT, u->done[2].status);
	EXPECT_EQ(ZW_JOB_CANCELED, u->done[3].status);
	st = state(u);
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_FAILED, st.state);
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(ZW_FAULT_UNMAPPED, st.reason);
	EXPECT_EQ(ZW_ACCESS_WRITE, st.fault_access);
	EXPECT_EQ(0x123456789000, st.fault_va);
	EXPECT_EQ(2, st.failed_seqno);
	EXPECT_EQ(3, st.completed);
	/* What is put behind it never ends, and whoever waits for it is told. */
	zw_userq_put(u, 0, 0, 0, 0);
	zw_userq_ring(u);
	EXPECT_EQ(-ECANCELED, zw_userq_wait(u, 4, LONG_WAIT_NS));
	EXPECT_EQ(0, zw_userq_wait(u, 3, 0));
	EXPECT_TRUE(zw_client_works(&self->other));
	ASSERT_EQ(0, zw_queue_destroy(u->fd, u->queue));
	ASSERT_TRUE(zw_userq_again(u));
	EXPECT_TRUE(zw_userq_works(u));
}

/* The same for who sleeps already: the progress check finds it out. */
TEST_F_TIMEOUT(userq, failure_nobody_asked_for, 120)
{
	struct zw_userq *u = &self->u;

	/* A tail that makes no sense, with no job to blame it on. */
	__atomic_store_n(&u->ctrl->tail, 1000, __ATOMIC_RELEASE);
	*u->bell = 1;
	EXPECT_EQ(-ECANCELED, zw_userq_wait(u, 1, LONG_WAIT_NS));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_FAILED, state(u).state);
	EXPECT_EQ(0, state(u).failed_seqno);
	EXPECT_TRUE(zw_client_works(&self->other));
}

static bool set_timeout(const char *text)
{
	return !zw_write_file(TIMEOUT_PARAM, text);
}

/* No wall clock ends a job here. Others are not kept waiting by it, nor taken for it. */
TEST_F_TIMEOUT(userq, waits_for_ever, 180)
{
	struct zw_userq *u = &self->u;
	char old[32];

	if (zw_read_file(TIMEOUT_PARAM, old, sizeof(old)) || !set_timeout("1000"))
		SKIP(return, "cannot write " TIMEOUT_PARAM);
	put_stuck(u);
	for (int64_t end = zw_deadline(12 * S); zw_deadline(0) < end; usleep(20000)) {
		self->other.pos = 0;
		ASSERT_TRUE(zw_client_works(&self->other));
	}
	EXPECT_EQ(0, state(u).state);
	release_stuck(u);
	EXPECT_EQ(0, zw_userq_wait(u, 1, LONG_WAIT_NS));
	EXPECT_TRUE(zw_userq_works(u));
	set_timeout(old);
}

/* A packet that does not end is another matter: the engines are everybody's. */
TEST_F_TIMEOUT(userq, engine_hangs, 240)
{
	struct zw_client *o = &self->other;
	struct zw_userq *u = &self->u;
	struct drm_zhenwu_queue_get_state st;
	uint32_t pos = 0;
	int ret;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_EQ(0, zw_inject("hang"));
	zw_put_fill(zw_userq_at(u, 0), &pos, zw_userq_va(u, 4096), 4, 1);
	zw_userq_put(u, zw_userq_va(u, 0), pos, 0, 0);
	zw_userq_ring(u);
	usleep(100000);
	/* Stands behind it. */
	zw_put_fill(o->cmd.ptr, &o->pos, o->cmd.va + 32768, 4, 0x600d);
	ASSERT_EQ(0, zw_client_submit(o, 0, 0));
	/* The firmware completes the job as it ends the queue: who sleeps may see that first. */
	ret = zw_userq_wait(u, 1, 2 * LONG_WAIT_NS);
	EXPECT_TRUE(ret == -ECANCELED || (!ret && u->done[1].status == ZW_JOB_CANCELED))
	{
		TH_LOG("wait %d, status %u", ret, u->done[1].status);
	}
	st = state(u);
	EXPECT_TRUE(st.state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT);
	EXPECT_EQ(1, st.failed_seqno);
	EXPECT_EQ(0, zw_wait(o->fd, o->timeline, o->point, LONG_WAIT_NS));
	EXPECT_EQ(1, zw_fence_status(o->fd, o->timeline, o->point));
	ASSERT_EQ(0, zw_queue_destroy(u->fd, u->queue));
	ASSERT_TRUE(zw_userq_again(u));
	EXPECT_TRUE(zw_userq_works(u));
}

/* The rings' memory goes away under the queue. */
TEST_F_TIMEOUT(userq, rings_unmapped, 120)
{
	struct zw_userq *u = &self->u;

	zw_userq_put(u, 0, 0, 0, 0);
	ASSERT_EQ(0, zw_unbind(u->fd, u->vm, UQ_VA, UQ_BYTES));
	zw_userq_ring(u);
	EXPECT_EQ(-ECANCELED, zw_userq_wait(u, 1, LONG_WAIT_NS));
	EXPECT_TRUE(zw_client_works(&self->other));
	EXPECT_EQ(0, zw_queue_destroy(u->fd, u->queue));
	/* and the VM under both */
	ASSERT_EQ(0, zw_bind(u->fd, u->vm, u->mem.bo, 0, UQ_VA, UQ_BYTES, 0));
	ASSERT_TRUE(zw_userq_again(u));
	ASSERT_EQ(0, zw_vm_destroy(u->fd, u->vm));
	EXPECT_TRUE(zw_userq_works(u));
}

/*
 * Its number is given to the next queue, here of another file; its doorbell is not: it can be written
 * to, and nobody hears it.
 */
TEST_F(userq, doorbell_ends_with_its_queue)
{
	struct zw_userq *u = &self->u, next;

	put_stuck(u);
	ASSERT_EQ(0, zw_queue_destroy(u->fd, u->queue));
	*u->bell = 1;
	ASSERT_TRUE(zw_userq_open(&next, 8));
	ASSERT_EQ(u->offset, next.offset);
	zw_userq_put(&next, 0, 0, 0, 0);
	__atomic_store_n(&next.ctrl->tail, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 64; i++)
		*u->bell = (uint32_t)i;
	/* An answer of the firmware comes behind the doorbells before it. */
	EXPECT_EQ(0, state(&next).completed);
	EXPECT_EQ(0, zw_userq_slot(&next, 1));
	zw_userq_ring(&next);
	EXPECT_TRUE(zw_userq_poll(&next, 1));
	/* What was written is not shown to the other. */
	for (int i = 1; i < 1024; i++)
		u->bell[i] = 0x5ec7e7;
	EXPECT_EQ(0x5ec7e7, u->bell[1]);
	ASSERT_EQ(0, zw_queue_destroy(next.fd, next.queue));
	*next.bell = 0;
	for (int i = 0; i < 1024; i++) {
		ASSERT_EQ(0, next.bell[i]);
	}
	zw_userq_close(&next);
}

static uint32_t dice(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Everything that a process has of its queue gets random contents, again and again. */
static void scribble(uint32_t seed, int rounds)
{
	struct zw_userq u;

	if (!zw_userq_open(&u, 64))
		_exit(2);
	for (int r = 0; r < rounds; r++) {
		uint32_t *ring = (void *)u.ring, *done = (void *)u.done, *ctrl = (void *)u.ctrl;

		for (int i = 0; i < 200; i++) {
			uint32_t what = dice(&seed) % 6;

			if (what == 0)
				ring[dice(&seed) % (64 * 16)] = dice(&seed) * 0x101;
			else if (what == 1)
				done[dice(&seed) % (64 * 16)] = dice(&seed);
			else if (what == 2)
				ctrl[dice(&seed) % 16] = dice(&seed) % 128;
			else if (what == 3)
				u.bell[dice(&seed) % 1024] = dice(&seed);
			else if (what == 4 && u.seq < 1000000)
				zw_userq_put(&u,
					     dice(&seed) % 3 ? UQ_VA + dice(&seed) % UQ_BYTES : 0,
					     dice(&seed) % 4096, dice(&seed) % 2 ? UQ_VA : 0,
					     dice(&seed) % 2);
			else
				zw_userq_ring(&u);
		}
		if (zw_queue_destroy(u.fd, u.queue) || !zw_userq_again(&u))
			_exit(3);
	}
	zw_userq_close(&u);
	_exit(0);
}

/* Others' results are the same bits as ever, and nobody's queue stops but its own. */
TEST_F_TIMEOUT(userq, scribbling_neighbours, 300)
{
	struct zw_client *o = &self->other;
	struct zw_userq *u = &self->u;
	const uint32_t *out = (void *)((char *)o->cmd.ptr + 32768);
	uint32_t *mine = zw_userq_at(u, 65536), pos = 0, resets = zw_reset_count(o);
	struct drm_zhenwu_queue_get_state st;
	pid_t pid[2];
	int status, left = 2, rounds = 0;

	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i])
			scribble(4711u + (uint32_t)i, 40);
	}
	zw_keep_fences = false;
	while (left) {
		uint32_t want = 0x1000u + (uint32_t)rounds++, from = 0;

		pos = 0;
		zw_put_fill(zw_userq_at(u, 0), &pos, zw_userq_va(u, 65536), 4096, want);
		zw_put_copy(zw_userq_at(u, 0), &pos, zw_userq_va(u, 65536 + 4096),
			    zw_userq_va(u, 65536), 4096);
		zw_userq_put(u, zw_userq_va(u, 0), pos, 0, 0);
		zw_userq_ring(u);
		o->pos = 0;
		zw_put_fill(o->cmd.ptr, &o->pos, o->cmd.va + 32768, 4096, want);
		ASSERT_EQ(0, zw_client_run(o, from));
		ASSERT_TRUE(zw_userq_poll(u, u->seq));
		ASSERT_EQ(ZW_JOB_OK, u->done[u->seq % 8].status);
		for (int i = 0; i < 1024; i++) {
			ASSERT_EQ(want, out[i]);
			ASSERT_EQ(want, ((volatile uint32_t *)mine)[1024 + i]);
		}
		for (int i = 0; i < 2; i++) {
			if (pid[i] && waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status))
				TH_LOG("scribbler: status 0x%x", status);
				pid[i] = 0;
				left--;
			}
		}
	}
	zw_keep_fences = true;
	EXPECT_LT(3, rounds);
	ASSERT_EQ(0, zw_queue_state(o->fd, o->queue, &st));
	EXPECT_EQ(0, st.state);
	EXPECT_EQ(0, state(u).state);
	/* Nothing of it needed the device reset. */
	EXPECT_EQ(resets, zw_reset_count(o));
}

/* A process dies with jobs in its ring, or sleeps in a wait when it does. */
TEST_F_TIMEOUT(userq, killed, 240)
{
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();
		int status;

		ASSERT_LE(0, pid);
		if (!pid) {
			struct zw_userq u;

			if (!zw_userq_open(&u, 8))
				_exit(1);
			put_stuck(&u);
			zw_userq_put(&u, 0, 0, 0, 0);
			zw_userq_ring(&u);
			if (i % 2)
				zw_userq_wait(&u, 1, LONG_WAIT_NS);
			for (;;)
				*u.bell = 1;
		}
		usleep(50000 + 20000 * (useconds_t)i);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("status 0x%x", status);
		EXPECT_TRUE(zw_client_works(&self->other));
		EXPECT_TRUE(zw_userq_works(&self->u));
	}
}

static void *sleeper(void *arg)
{
	return (void *)(intptr_t)zw_userq_wait(arg, 1, 2 * LONG_WAIT_NS);
}

/* Ends the device by `what`; who sleeps is told so, and the doorbell is harmless. */
static void lose(struct __test_metadata *_metadata, struct zw_userq *u, int (*what)(const char *),
		 const char *arg, int want)
{
	pthread_t t;
	void *ret;

	put_stuck(u);
	zw_userq_wake(u, 1);
	ASSERT_EQ(0, pthread_create(&t, NULL, sleeper, u));
	usleep(200000);
	ASSERT_EQ(0, what(arg));
	for (int i = 0; i < 1000; i++)
		*u->bell = 1;
	ASSERT_EQ(0, pthread_join(t, &ret));
	EXPECT_EQ(want, (intptr_t)ret);
	*u->bell = 1;
}

static int inject(const char *fault)
{
	return zw_inject(fault);
}

TEST_F_TIMEOUT(userq, device_reset, 240)
{
	struct zw_userq *u = &self->u;
	uint32_t count = zw_reset_count(&self->other);

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	lose(_metadata, u, inject, "fw-trap", -ECANCELED);
	EXPECT_LT(count, zw_reset_count(&self->other));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_INNOCENT, state(u).state);
	/* Memory and VM are there: a new queue goes on. */
	ASSERT_EQ(0, zw_queue_destroy(u->fd, u->queue));
	*u->bell = 1;
	ASSERT_TRUE(zw_userq_again(u));
	EXPECT_TRUE(zw_userq_works(u));
}

static int write_one(const char *path)
{
	return zw_write_file(path, "1");
}

TEST_F_TIMEOUT(userq, function_level_reset, 240)
{
	struct zw_userq *u = &self->u;
	char path[320];

	snprintf(path, sizeof(path), "%s/reset", self->pci);
	if (access(path, W_OK))
		SKIP(return, "cannot write %s", path);
	lose(_metadata, u, write_one, path, -ECANCELED);
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_FLR, state(u).state);
	ASSERT_EQ(0, zw_queue_destroy(u->fd, u->queue));
	EXPECT_FALSE(zw_userq_again(u));
	zw_userq_close(u);
	ASSERT_TRUE(zw_userq_open(u, 8));
	EXPECT_TRUE(zw_userq_works(u));
}

TEST_F_TIMEOUT(userq, removal, 300)
{
	struct zw_userq *u = &self->u;
	struct drm_zhenwu_dev_info info;
	char path[320];
	int i, fd = -1;

	snprintf(path, sizeof(path), "%s/remove", self->pci);
	if (access(path, W_OK))
		SKIP(return, "cannot write %s", path);
	/* Whether the sleeper sees its queue stop or the device go first is a race. */
	put_stuck(u);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	for (i = 0; i < 1000; i++)
		*u->bell = 1;
	EXPECT_EQ(-ENODEV, zw_userq_wait(u, 1, LONG_WAIT_NS));
	EXPECT_EQ(-ENODEV, zw_info(u->fd, &info));
	ASSERT_EQ(0, zw_write_file("/sys/bus/pci/rescan", "1"));
	for (i = 0; i < 600 && (fd = zw_open()) < 0; i++)
		usleep(100000);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	*u->bell = 1;
	zw_userq_close(u);
	ASSERT_TRUE(zw_userq_open(u, 8));
	EXPECT_TRUE(zw_userq_works(u));
}

/* Removal while somebody sleeps: it does not wait for him. */
TEST_F_TIMEOUT(userq, removal_with_a_sleeper, 300)
{
	struct zw_userq *u = &self->u;
	char path[320];
	pthread_t t;
	void *ret;
	int i, fd = -1;

	snprintf(path, sizeof(path), "%s/remove", self->pci);
	if (access(path, W_OK))
		SKIP(return, "cannot write %s", path);
	put_stuck(u);
	ASSERT_EQ(0, pthread_create(&t, NULL, sleeper, u));
	usleep(200000);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	ASSERT_EQ(0, pthread_join(t, &ret));
	EXPECT_EQ(-ENODEV, (intptr_t)ret);
	ASSERT_EQ(0, zw_write_file("/sys/bus/pci/rescan", "1"));
	for (i = 0; i < 600 && (fd = zw_open()) < 0; i++)
		usleep(100000);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_HARNESS_MAIN
