// SPDX-License-Identifier: MIT
/* Failing and hanging jobs, and that nobody else notices. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define TIMEOUT_PARAM "/sys/module/zhenwu/parameters/job_timeout_ms"

FIXTURE(fault)
{
	struct zw_client c, other;
	struct zw_buf data; /* 64 KiB of the first client at 64 MiB */
};

FIXTURE_SETUP(fault)
{
	if (!zw_client_open(&self->c)) {
		if (self->c.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_TRUE(zw_client_open(&self->other));
	ASSERT_TRUE(
		zw_buf(self->c.fd, self->c.vm, 65536, DRM_ZHENWU_BO_SYSTEM, 64 * MIB, &self->data));
}

FIXTURE_TEARDOWN(fault)
{
	zw_client_close(&self->other);
	zw_client_close(&self->c);
}

/* Runs the job written so far; it must fail. Returns the queue's state. */
static struct drm_zhenwu_queue_get_state fails(struct __test_metadata *_metadata,
					       struct zw_client *c, int want_err)
{
	struct drm_zhenwu_queue_get_state st = {0};

	ASSERT_EQ(0, zw_client_run(c, 0));
	EXPECT_EQ(want_err, zw_fence_status(c->fd, c->timeline, c->point));
	EXPECT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_TRUE(st.state & DRM_ZHENWU_QUEUE_STATE_FAILED);
	return st;
}

TEST_F(fault, unmapped_address)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;

	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 1);
	zw_put_fill(c->cmd.ptr, &c->pos, 0x123456789000, 4, 1);
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 4, 4, 1);
	st = fails(_metadata, c, -EIO);
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(ZW_FAULT_UNMAPPED, st.reason);
	EXPECT_EQ(1, st.packet_index);
	EXPECT_EQ(0x123456789000, st.fault_va);
	EXPECT_EQ(ZW_ACCESS_WRITE, st.fault_access);
	EXPECT_EQ(1, st.failed_seqno);
	/* packets before it took effect, those behind it did not */
	EXPECT_EQ(1, ((uint32_t *)self->data.ptr)[0]);
	EXPECT_EQ(0, ((uint32_t *)self->data.ptr)[1]);
	/* the queue is closed, its neighbours are not */
	EXPECT_EQ(-ECANCELED, zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0));
	EXPECT_TRUE(zw_client_works(&self->other));
	EXPECT_EQ(0, zw_queue_destroy(c->fd, c->queue));
	c->queue = zw_queue(c->fd, c->vm);
	ASSERT_NE(0, c->queue);
	c->pos = 0;
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 4, 4, 2);
	ASSERT_EQ(0, zw_client_run(c, 0));
	EXPECT_EQ(2, ((uint32_t *)self->data.ptr)[1]);
}

TEST_F(fault, range_that_ends_unmapped_writes_nothing)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;

	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 61440, 8192, 1);
	st = fails(_metadata, c, -EIO);
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(self->data.va + 65536, st.fault_va);
	EXPECT_EQ(0, ((uint32_t *)self->data.ptr)[61440 / 4]);
}

TEST_F(fault, write_to_read_only)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;

	ASSERT_EQ(0, zw_bind(c->fd, c->vm, self->data.bo, 0, 128 * MIB, 4096,
			     DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	zw_put_copy(c->cmd.ptr, &c->pos, self->data.va + 4096, 128 * MIB, 64);
	zw_put_fill(c->cmd.ptr, &c->pos, 128 * MIB, 4, 1);
	st = fails(_metadata, c, -EIO);
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(ZW_FAULT_PERMISSION, st.reason);
	EXPECT_EQ(1, st.packet_index);
}

TEST_F(fault, unmap_takes_effect)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;
	uint32_t from;

	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 1);
	ASSERT_EQ(0, zw_client_run(c, 0));
	ASSERT_EQ(0, zw_unbind(c->fd, c->vm, self->data.va, 65536));
	from = c->pos;
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 2);
	ASSERT_EQ(0, zw_client_run(c, from));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(1, *(uint32_t *)self->data.ptr);
}

TEST_F(fault, unknown_opcode)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;

	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 1);
	zw_put_raw(c->cmd.ptr, &c->pos, 0x7777, 16);
	st = fails(_metadata, c, -EIO);
	EXPECT_EQ(ZW_JOB_INVALID, st.status);
	EXPECT_EQ(ZW_REASON_OPCODE, st.reason);
	EXPECT_EQ(1, st.packet_index);
	/* the form of all packets is checked before the first one runs */
	EXPECT_EQ(0, *(uint32_t *)self->data.ptr);
	EXPECT_TRUE(zw_client_works(&self->other));
}

TEST_F(fault, garbage_commands)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;

	memset(c->cmd.ptr, 0xff, 4096);
	c->pos = 4096;
	st = fails(_metadata, c, -EIO);
	EXPECT_EQ(ZW_JOB_INVALID, st.status);
	EXPECT_TRUE(zw_client_works(&self->other));
}

TEST_F(fault, commands_not_mapped)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;

	ASSERT_EQ(0, zw_submit(c->fd, c->queue, 0x700000000000, 64, 0, c->timeline, 1));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, 1, LONG_WAIT_NS));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(ZW_ACCESS_READ, st.fault_access);
}

TEST_F(fault, jobs_behind_are_cancelled)
{
	struct zw_client *c = &self->c;
	uint64_t *sem = (uint64_t *)((char *)self->data.ptr + 4096);
	uint32_t bad;

	/* The semaphore holds the first job back until all are in the ring. */
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	zw_put_fill(c->cmd.ptr, &c->pos, 0, 4, 1);
	bad = c->pos;
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 1);
	ASSERT_EQ(0, zw_submit(c->fd, c->queue, c->cmd.va, bad, 0, c->timeline, 1));
	ASSERT_EQ(0, zw_submit(c->fd, c->queue, c->cmd.va + bad, c->pos - bad, 0, c->timeline, 2));
	ASSERT_EQ(0, zw_submit(c->fd, c->queue, c->cmd.va + bad, c->pos - bad, 0, c->timeline, 3));
	__atomic_store_n(sem, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, 3, LONG_WAIT_NS));
	EXPECT_EQ(-EIO, zw_fence_status(c->fd, c->timeline, 1));
	EXPECT_EQ(-ECANCELED, zw_fence_status(c->fd, c->timeline, 2));
	EXPECT_EQ(-ECANCELED, zw_fence_status(c->fd, c->timeline, 3));
	EXPECT_EQ(0, *(uint32_t *)self->data.ptr);
}

TEST_F(fault, vms_do_not_share_addresses)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_queue_get_state st;

	/* The other VM has nothing where this one has its data. */
	*(uint32_t *)self->data.ptr = 0x5ec7e7;
	zw_put_copy(o->cmd.ptr, &o->pos, o->cmd.va + 32768, self->data.va, 4);
	st = fails(_metadata, o, -EIO);
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(0, *(uint32_t *)((char *)o->cmd.ptr + 32768));
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 4, 4, 1);
	EXPECT_EQ(0, zw_client_run(c, 0));
}

static uint32_t last_hang_ms;

static bool short_timeout(void)
{
	char old[32];

	if (zw_read_file(TIMEOUT_PARAM, old, sizeof(old)))
		return false;
	last_hang_ms = strtoul(old, NULL, 0);
	return !zw_write_file(TIMEOUT_PARAM, "2000");
}

static void restore_timeout(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%u", last_hang_ms);
	zw_write_file(TIMEOUT_PARAM, text);
}

/* Lines of the driver in the kernel log. */
static unsigned int log_lines(void)
{
	FILE *f = popen("dmesg", "r");
	unsigned int n = 0;
	char line[1024];

	while (f && fgets(line, sizeof(line), f))
		n += !!strstr(line, "zhenwu");
	if (f)
		pclose(f);
	return n;
}

TEST_F_TIMEOUT(fault, hang_is_recovered, 180)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;
	unsigned int lines;

	if (!short_timeout())
		SKIP(return, "cannot write " TIMEOUT_PARAM);
	lines = log_lines();
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	EXPECT_EQ(0, zw_client_submit(c, 0, 0));
	/* Meanwhile the other client works, again and again. */
	for (int i = 0; i < 20; i++)
		EXPECT_TRUE(zw_client_works(&self->other));
	EXPECT_EQ(0, zw_wait(c->fd, c->timeline, 1, 2 * LONG_WAIT_NS));
	restore_timeout();
	EXPECT_EQ(-ETIME, zw_fence_status(c->fd, c->timeline, 1));
	/* Anybody can do that: the kernel log is not for it. */
	EXPECT_EQ(lines, log_lines());
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_TRUE(st.state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT);
	EXPECT_EQ(-ECANCELED, zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0));
	EXPECT_TRUE(zw_client_works(&self->other));
	/* the same file can go on with a new queue */
	ASSERT_EQ(0, zw_queue_destroy(c->fd, c->queue));
	c->queue = zw_queue(c->fd, c->vm);
	ASSERT_NE(0, c->queue);
	c->pos = 0;
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 4);
	EXPECT_EQ(0, zw_client_run(c, 0));
	EXPECT_EQ(4, *(uint32_t *)self->data.ptr);
}

/* Of three jobs that nobody waits for in between the second hangs: it is named, the last told. */
TEST_F_TIMEOUT(fault, hang_inside_an_array, 180)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_job jobs[3] = {0};
	struct drm_zhenwu_sync_op sync = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
	struct drm_zhenwu_submit s = {.queue_id = c->queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(3, jobs)};
	struct drm_zhenwu_queue_get_state st;

	if (!short_timeout())
		SKIP(return, "cannot write " TIMEOUT_PARAM);
	EXPECT_EQ(0, drmSyncobjCreate(c->fd, 0, &sync.handle));
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	jobs[1].cmd_va = c->cmd.va;
	jobs[1].cmd_bytes = c->pos;
	jobs[2].syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &sync);
	EXPECT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	EXPECT_EQ(0,
		  drmSyncobjWait(c->fd, &sync.handle, 1, zw_deadline(2 * LONG_WAIT_NS), 0, NULL));
	restore_timeout();
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_TRUE(st.state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT);
	EXPECT_EQ(2, st.failed_seqno);
	EXPECT_TRUE(zw_client_works(&self->other));
}

/*
 * A neighbour that keeps the device busy is no progress of a queue that waits in vain, however much
 * the device reads again each time it looks at the semaphore.
 */
static void hang_beside_neighbour(struct __test_metadata *_metadata, struct zw_client *c,
				  struct zw_client *o, uint64_t cmd_bytes, uint64_t sem)
{
	int64_t end = zw_deadline(90 * 1000000000ll);
	struct zw_buf cmd;
	uint32_t pos = 0;

	ASSERT_TRUE(zw_buf(c->fd, c->vm, cmd_bytes, DRM_ZHENWU_BO_SYSTEM, 1024 * MIB, &cmd));
	zw_put_sem(cmd.ptr, &pos, ZW_OP_SEM_WAIT, sem, 1);
	while (pos + sizeof(struct zw_pkt) <= cmd_bytes)
		zw_put_raw(cmd.ptr, &pos, ZW_OP_NOP, sizeof(struct zw_pkt));
	zw_put_raw(o->cmd.ptr, &o->pos, ZW_OP_NOP, sizeof(struct zw_pkt));
	if (!short_timeout())
		SKIP(return, "cannot write " TIMEOUT_PARAM);
	zw_keep_fences = false;
	ASSERT_EQ(0, zw_submit(c->fd, c->queue, cmd.va, pos, 0, c->timeline, 1));
	while (zw_wait(c->fd, c->timeline, 1, 0) && zw_deadline(0) < end) {
		/* With a packet, so that the device's counters move. */
		ASSERT_EQ(0, zw_client_submit(o, 0, 0));
		ASSERT_EQ(0, zw_wait(o->fd, o->timeline, o->point, LONG_WAIT_NS));
	}
	restore_timeout();
	zw_keep_fences = true;
	EXPECT_EQ(0, zw_wait(c->fd, c->timeline, 1, 0));
}

TEST_F_TIMEOUT(fault, hang_with_a_busy_neighbour, 180)
{
	struct drm_zhenwu_queue_get_state st;
	struct zw_client *c = &self->c;

	hang_beside_neighbour(_metadata, c, &self->other, 16 * MIB, self->data.va + 4096);
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_TRUE(st.state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT);
	ASSERT_EQ(0, zw_queue_state(self->other.fd, self->other.queue, &st));
	EXPECT_EQ(0, st.state);
	EXPECT_TRUE(zw_client_works(&self->other));
}

/*
 * A queue of low priority gets no turn while another has jobs. It waits, which is not to hang,
 * however long the device was idle before and whoever made the first queue.
 */
TEST_F_TIMEOUT(fault, starved_queue_is_not_hung, 240)
{
	struct drm_zhenwu_queue_create low = {.vm_id = self->other.vm,
					      .priority = DRM_ZHENWU_QUEUE_PRIORITY_LOW};
	struct zw_client *o = &self->other, busy;
	struct drm_zhenwu_queue_get_state st;
	struct zw_buf hbm;
	int64_t end;

	if (!short_timeout())
		SKIP(return, "cannot write " TIMEOUT_PARAM);
	ASSERT_EQ(0, zw_ioctl(o->fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &low));
	/* Its queue is behind the other in every list. */
	ASSERT_TRUE(zw_client_open(&busy));
	ASSERT_TRUE(zw_buf(busy.fd, busy.vm, 64 * MIB, DRM_ZHENWU_BO_HBM, 256 * MIB, &hbm));
	zw_keep_fences = false;
	/* Long jobs: the ring does not run empty while this test waits for a CPU. */
	for (int i = 0; i < 64; i++)
		zw_put_fill(busy.cmd.ptr, &busy.pos, hbm.va, hbm.size, i);
	zw_put_fill(o->cmd.ptr, &o->pos, o->cmd.va + 32768, 4, 0x600d);
	for (int i = 0; i < 16; i++) {
		ASSERT_EQ(0, zw_client_submit(&busy, 0, 0));
	}
	ASSERT_EQ(0, zw_submit(o->fd, low.queue_id, o->cmd.va, o->pos, 0, o->timeline, 1));
	/* Two periods and more. */
	for (end = zw_deadline(16 * 1000000000ll); zw_deadline(0) < end;) {
		ASSERT_EQ(0, zw_client_submit(&busy, 0, 0));
		ASSERT_EQ(0, zw_wait(busy.fd, busy.timeline, busy.point - 8, LONG_WAIT_NS));
	}
	/* Starved indeed. */
	EXPECT_EQ(-ETIME, zw_wait(o->fd, o->timeline, 1, 0));
	restore_timeout();
	EXPECT_EQ(0, zw_wait(busy.fd, busy.timeline, busy.point, LONG_WAIT_NS));
	EXPECT_EQ(0, zw_wait(o->fd, o->timeline, 1, LONG_WAIT_NS));
	EXPECT_EQ(0x600d, *(volatile uint32_t *)((char *)o->cmd.ptr + 32768));
	ASSERT_EQ(0, zw_queue_state(o->fd, low.queue_id, &st));
	EXPECT_EQ(0, st.state);
	zw_client_close(&busy);
}

static struct zw_tensor matrix(uint64_t va, uint32_t rows, uint32_t cols)
{
	return (struct zw_tensor){
		.va = va,
		.dtype = ZW_DTYPE_F32,
		.ndim = 2,
		.dim = {rows, cols},
		.stride = {cols},
	};
}

/* Behind one packet that takes longer than a progress period. */
TEST_F_TIMEOUT(fault, waiting_behind_a_long_packet_is_not_hanging, 300)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_queue_get_state st;
	const uint32_t k = 4096, m = 4096;
	uint32_t n = 8192;
	bool long_enough = false;
	struct zw_buf a, w, out;

	if (!short_timeout())
		SKIP(return, "cannot write " TIMEOUT_PARAM);
	/* The queue that waits is the first in every list. */
	ASSERT_TRUE(zw_buf(o->fd, o->vm, 4ull * m * k, DRM_ZHENWU_BO_HBM, 1ull << 32, &a));
	ASSERT_TRUE(zw_buf(o->fd, o->vm, 512 * MIB, DRM_ZHENWU_BO_HBM, 2ull << 32, &w));
	ASSERT_TRUE(zw_buf(o->fd, o->vm, 512 * MIB, DRM_ZHENWU_BO_HBM, 3ull << 32, &out));
	zw_put_fill(c->cmd.ptr, &c->pos, c->cmd.va + 32768, 4, 0x600d);
	for (; !long_enough && n <= 32768; n *= 2) {
		struct zw_pkt_gemm *g = o->cmd.ptr;
		int64_t start;

		o->pos = 0;
		zw_put_raw(o->cmd.ptr, &o->pos, ZW_OP_GEMM, sizeof(*g));
		g->a = matrix(a.va, m, k);
		g->w = matrix(w.va, n, k);
		g->c = matrix(out.va, m, n);
		start = zw_deadline(0);
		ASSERT_EQ(0, zw_client_submit(o, 0, 0));
		ASSERT_EQ(0, zw_client_run(c, 0));
		EXPECT_EQ(1, zw_fence_status(c->fd, c->timeline, c->point));
		ASSERT_EQ(0, zw_wait(o->fd, o->timeline, o->point, 2 * LONG_WAIT_NS));
		ASSERT_EQ(1, zw_fence_status(o->fd, o->timeline, o->point));
		/* The default period is 5 s. */
		long_enough = zw_deadline(0) - start > 7 * 1000000000ll;
	}
	restore_timeout();
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(0, st.state);
	if (!long_enough)
		SKIP(return, "the device is too fast for this test");
}

TEST_F_TIMEOUT(fault, killed_client, 180)
{
	struct drm_zhenwu_dev_info before, after;

	ASSERT_EQ(0, zw_info(self->other.fd, &before));
	for (int round = 0; round < 8; round++) {
		int ready[2];
		char ch;
		pid_t pid;

		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct zw_client c;
			struct zw_buf hbm;

			if (!zw_client_open(&c) ||
			    !zw_buf(c.fd, c.vm, 16 * MIB, DRM_ZHENWU_BO_HBM, 256 * MIB, &hbm))
				_exit(1);
			for (int i = 0; i < 16; i++)
				zw_put_fill(c.cmd.ptr, &c.pos, hbm.va, hbm.size, i);
			if (round & 1)
				zw_put_sem(c.cmd.ptr, &c.pos, ZW_OP_SEM_WAIT, c.cmd.va + 32768, 1);
			for (int i = 0; i < 8; i++)
				zw_client_submit(&c, 0, 0);
			if (write(ready[1], "x", 1) != 1)
				_exit(1);
			pause();
			_exit(0);
		}
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &ch, 1));
		close(ready[0]);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
		EXPECT_TRUE(zw_client_works(&self->other));
	}
	/* All that the dead held comes back. */
	for (int i = 0; i < 900; i++) {
		ASSERT_EQ(0, zw_info(self->other.fd, &after));
		if (after.hbm_free >= before.hbm_free)
			break;
		usleep(100000);
	}
	EXPECT_LE(before.hbm_free, after.hbm_free);
}

TEST_F(fault, freed_hbm_shows_nothing_to_the_next)
{
	struct zw_client *c = &self->c, *o = &self->other;
	const uint32_t visible = DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE;
	struct zw_buf secret;

	/* Of the same kind as what the next client asks for, so that it gets the same memory. */
	ASSERT_TRUE(zw_buf(c->fd, c->vm, 32 * MIB, visible, 512 * MIB, &secret));
	zw_put_fill(c->cmd.ptr, &c->pos, secret.va, secret.size, 0x5ec7e75e);
	ASSERT_EQ(0, zw_client_run(c, 0));
	ASSERT_EQ(0, munmap(secret.ptr, secret.size));
	ASSERT_EQ(0, zw_unbind(c->fd, c->vm, secret.va, secret.size));
	ASSERT_EQ(0, zw_bo_close(c->fd, secret.bo));
	for (int i = 0; i < 16; i++) {
		uint32_t bo = zw_bo(o->fd, 8 * MIB, visible);
		uint32_t *m = zw_map(o->fd, bo, 8 * MIB);

		ASSERT_NE(NULL, m);
		for (size_t w = 0; w < 8 * MIB / 4; w += 1024) {
			ASSERT_EQ(0, m[w]);
		}
	}
}

TEST_HARNESS_MAIN
