// SPDX-License-Identifier: MIT
/* Queues, submission, fences. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/sync_file.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

FIXTURE(submit)
{
	struct zw_client c;
	struct zw_buf data; /* 1 MiB of system memory at 64 MiB */
};

FIXTURE_SETUP(submit)
{
	if (!zw_client_open(&self->c)) {
		if (self->c.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_TRUE(
		zw_buf(self->c.fd, self->c.vm, MIB, DRM_ZHENWU_BO_SYSTEM, 64 * MIB, &self->data));
}

FIXTURE_TEARDOWN(submit)
{
	zw_client_close(&self->c);
}

/* The first jobs of a client, the last of which signals point 1. */
static int submit_array(struct zw_client *c, struct drm_zhenwu_job *jobs, uint32_t n)
{
	struct drm_zhenwu_sync_op sync = {
		.flags =
			DRM_ZHENWU_SYNC_OP_SIGNAL | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		.handle = c->timeline,
		.timeline_value = 1,
	};
	struct drm_zhenwu_submit s = {.queue_id = c->queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(n, jobs)};
	int ret;

	jobs[n - 1].syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &sync);
	ret = zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s);
	return ret ? ret : s.first_seqno == 1 ? 0 : -ERANGE;
}

/* The fence that is in a binary syncobj now, as a sync file; -1 on failure. */
static int sync_file_of(int fd, uint32_t syncobj)
{
	int sf = -1;

	return drmSyncobjExportSyncFile(fd, syncobj, &sf) ? -1 : sf;
}

/* Status of the only fence of a sync file: 1, 0, -errno of the job; and its name. */
static int sync_file_status(int sf, struct sync_fence_info *fence)
{
	struct sync_file_info info = {
		.num_fences = 1,
		.sync_fence_info = (uintptr_t)fence,
	};

	memset(fence, 0, sizeof(*fence));
	return ioctl(sf, SYNC_IOC_FILE_INFO, &info) ? -ENXIO : fence->status;
}

static void set_sem(const struct zw_buf *b, uint32_t offset, uint64_t value)
{
	__atomic_store_n((uint64_t *)((char *)b->ptr + offset), value, __ATOMIC_RELEASE);
}

static uint32_t queue_of_slots(int fd, uint32_t vm, uint32_t slots)
{
	struct drm_zhenwu_queue_create c = {
		.vm_id = vm,
		.priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL,
		.ring_slots = slots,
	};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c) ? 0 : c.queue_id;
}

TEST_F(submit, empty_job)
{
	struct drm_zhenwu_queue_get_state st;

	ASSERT_EQ(0, zw_submit(self->c.fd, self->c.queue, 0, 0, 0, self->c.timeline, 1));
	ASSERT_EQ(0, zw_wait(self->c.fd, self->c.timeline, 1, LONG_WAIT_NS));
	EXPECT_EQ(1, zw_fence_status(self->c.fd, self->c.timeline, 1));
	ASSERT_EQ(0, zw_queue_state(self->c.fd, self->c.queue, &st));
	EXPECT_EQ(0, st.state);
	EXPECT_EQ(1, st.submitted);
}

TEST_F(submit, fill_and_copy)
{
	struct zw_client *c = &self->c;
	const uint32_t *p = self->data.ptr;
	struct zw_buf hbm;

	ASSERT_TRUE(zw_buf(c->fd, c->vm, 4 * MIB, DRM_ZHENWU_BO_HBM, 128 * MIB, &hbm));
	zw_put_fill(c->cmd.ptr, &c->pos, hbm.va + 4, 65536, 0x12345678);
	zw_put_copy(c->cmd.ptr, &c->pos, self->data.va + 8, hbm.va + 4, 65536);
	ASSERT_EQ(0, zw_client_run(c, 0));
	EXPECT_EQ(0, p[1]);
	for (int i = 2; i < 2 + 16384; i++) {
		ASSERT_EQ(0x12345678, p[i]);
	}
	EXPECT_EQ(0, p[2 + 16384]);
}

TEST_F(submit, result_record)
{
	struct zw_client *c = &self->c;
	const struct zw_job_result *r = self->data.ptr;

	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 4096, 4096, 9);
	ASSERT_EQ(0, zw_client_submit(c, 0, self->data.va));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS));
	EXPECT_EQ(1, r->seqno);
	EXPECT_EQ(ZW_JOB_OK, r->status);
	EXPECT_EQ(1, r->packets);
	EXPECT_LT(r->start_ps, r->end_ps);
	EXPECT_EQ(4096, r->sys_written);
	EXPECT_LT(0, r->busy_ps[ZW_ENGINE_DMA]);
}

TEST_F(submit, jobs_run_in_order)
{
	struct zw_client *c = &self->c;
	const uint32_t *p = self->data.ptr;

	/* Each job overwrites what the one before wrote, and copies it aside. */
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t from = c->pos;

		zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 64, i);
		zw_put_copy(c->cmd.ptr, &c->pos, self->data.va + 4096 + 4 * i, self->data.va, 4);
		ASSERT_EQ(0, zw_client_submit(c, from, 0));
	}
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS));
	for (uint32_t i = 0; i < 200; i++) {
		ASSERT_EQ(i, p[1024 + i]);
	}
}

TEST_F(submit, array_of_jobs)
{
	struct zw_client *c = &self->c;
	const uint32_t *p = self->data.ptr;
	struct drm_zhenwu_job jobs[16] = {0};

	for (uint32_t i = 0; i < 16; i++) {
		jobs[i].cmd_va = c->cmd.va + c->pos;
		jobs[i].cmd_bytes = sizeof(struct zw_pkt_fill);
		zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 4 * i, 4, i + 1);
	}
	ASSERT_EQ(0, submit_array(c, jobs, 16));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, 1, LONG_WAIT_NS));
	for (uint32_t i = 0; i < 16; i++)
		EXPECT_EQ(i + 1, p[i]);
}

/* Jobs that nobody waits for in between cost one interrupt, not one each. */
TEST_F(submit, interrupt_of_an_array)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_job jobs[16] = {0};
	struct drm_zhenwu_queue_get_state st;
	unsigned long before = zw_interrupts();

	/* Long enough to be told apart. */
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, MIB, 1);
	for (uint32_t i = 0; i < 16; i++) {
		jobs[i].cmd_va = c->cmd.va;
		jobs[i].cmd_bytes = c->pos;
	}
	ASSERT_EQ(0, submit_array(c, jobs, 16));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, 1, LONG_WAIT_NS));
	/* A progress check may ask the firmware meanwhile. */
	EXPECT_GT(before + 6, zw_interrupts());
	EXPECT_LT(before, zw_interrupts());
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(16, st.submitted);
	EXPECT_EQ(16, st.completed);
}

/* The third of eight fails: it is named, those before it ran, those behind it did not. */
TEST_F(submit, failure_inside_an_array)
{
	enum { JOBS = 8, BAD = 2, RESULTS = 65536 };
	struct zw_client *c = &self->c;
	const uint32_t *p = self->data.ptr;
	struct drm_zhenwu_job jobs[JOBS] = {0};
	struct drm_zhenwu_sync_op sync = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
	struct drm_zhenwu_submit s = {.queue_id = c->queue,
				      .jobs = DRM_ZHENWU_OBJ_ARRAY(JOBS, jobs)};
	struct drm_zhenwu_queue_get_state st;
	struct sync_fence_info fence;
	int sf;

	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &sync.handle));
	for (uint32_t i = 0; i < JOBS; i++) {
		uint32_t from = c->pos;

		if (i == BAD)
			zw_put_raw(c->cmd.ptr, &c->pos, 0xfff0, 64);
		else
			zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 4 * i, 4, i + 1);
		jobs[i].cmd_va = c->cmd.va + from;
		jobs[i].cmd_bytes = c->pos - from;
		jobs[i].result_va = self->data.va + RESULTS + i * 4096;
	}
	jobs[JOBS - 1].syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &sync);
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	ASSERT_EQ(0, drmSyncobjWait(c->fd, &sync.handle, 1, zw_deadline(LONG_WAIT_NS), 0, NULL));
	sf = sync_file_of(c->fd, sync.handle);
	ASSERT_LE(0, sf);
	EXPECT_EQ(-ECANCELED, sync_file_status(sf, &fence));
	close(sf);

	for (uint32_t i = 0; i < JOBS; i++) {
		const struct zw_job_result *r =
			(const void *)((const char *)self->data.ptr + RESULTS + i * 4096);

		EXPECT_EQ(i + 1, r->seqno);
		EXPECT_EQ(i < BAD    ? ZW_JOB_OK
			  : i == BAD ? ZW_JOB_INVALID
				     : ZW_JOB_CANCELED,
			  r->status);
		EXPECT_EQ(i < BAD ? i + 1 : 0, p[i]);
	}
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_FAILED, st.state);
	EXPECT_EQ(ZW_JOB_INVALID, st.status);
	EXPECT_EQ(BAD + 1, st.failed_seqno);
	EXPECT_EQ(JOBS, st.submitted);
}

TEST_F(submit, wait_for_syncobj_of_other_queue)
{
	struct zw_client *c = &self->c;
	uint32_t q2 = zw_queue(c->fd, c->vm), from;
	const uint32_t *p = self->data.ptr;
	struct drm_zhenwu_sync_op syncs[2] = {
		{.flags = DRM_ZHENWU_SYNC_OP_WAIT | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		 .handle = c->timeline,
		 .timeline_value = 1},
		{.flags = DRM_ZHENWU_SYNC_OP_SIGNAL},
	};
	struct drm_zhenwu_job job = {.syncs = DRM_ZHENWU_OBJ_ARRAY(2, syncs)};
	struct drm_zhenwu_submit s = {.queue_id = q2, .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};

	ASSERT_NE(0, q2);
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &syncs[1].handle));
	/* Held back: a consumer that does not wait for it runs first. */
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 262144, 1);
	for (int i = 0; i < 8; i++)
		zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 65536, 0x55);
	ASSERT_EQ(0, zw_client_submit(c, 0, 0));
	from = c->pos;
	zw_put_copy(c->cmd.ptr, &c->pos, self->data.va + 131072, self->data.va + 65532, 4);
	job.cmd_va = c->cmd.va + from;
	job.cmd_bytes = c->pos - from;
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	EXPECT_EQ(-ETIME,
		  drmSyncobjWait(c->fd, &syncs[1].handle, 1, zw_deadline(500000000), 0, NULL));
	set_sem(&self->data, 262144, 1);
	ASSERT_EQ(0, drmSyncobjWait(c->fd, &syncs[1].handle, 1, zw_deadline(LONG_WAIT_NS),
				    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, NULL));
	EXPECT_EQ(0x55, p[131072 / 4]);
}

TEST_F(submit, semaphore_between_queues)
{
	struct zw_client *c = &self->c;
	uint32_t q2 = zw_queue(c->fd, c->vm), from, tl2;
	const uint32_t *p = self->data.ptr;

	ASSERT_NE(0, q2);
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &tl2));
	/* The waiter goes first, so it has to give way to the signaller. */
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 5);
	zw_put_copy(c->cmd.ptr, &c->pos, self->data.va + 4, self->data.va, 4);
	ASSERT_EQ(0, zw_client_submit(c, 0, 0));
	EXPECT_EQ(-ETIME, zw_wait(c->fd, c->timeline, c->point, 50000000));
	from = c->pos;
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 77);
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_SIGNAL, self->data.va + 4096, 5);
	ASSERT_EQ(0, zw_submit(c->fd, q2, c->cmd.va + from, c->pos - from, 0, tl2, 1));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS));
	EXPECT_EQ(77, p[1]);
}

TEST_F(submit, bo_wait_sees_the_job)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_bo_wait w = {.handle = self->data.bo};
	uint64_t *sem = (uint64_t *)((char *)self->data.ptr + 4096);

	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	ASSERT_EQ(0, zw_client_submit(c, 0, 0));
	EXPECT_EQ(-ETIMEDOUT, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	__atomic_store_n(sem, 1, __ATOMIC_RELEASE);
	w.timeout_ns = zw_deadline(LONG_WAIT_NS);
	EXPECT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
}

TEST_F(submit, queue_create_bad)
{
	const uint32_t vm = self->c.vm;
	const struct drm_zhenwu_queue_create bad[] = {
		{.vm_id = vm, .priority = 99},
		{.vm_id = vm, .priority = 1, .ring_slots = 7},
		{.vm_id = vm, .priority = 1, .ring_slots = 65},
		{.vm_id = vm, .priority = 1, .ring_slots = 2048},
		{.vm_id = vm, .priority = 1, .ring_slots = 1u << 31},
		{.vm_id = vm, .priority = 1, .flags = 1},
		{.vm_id = vm, .priority = 1, .pad = 1},
	};
	struct drm_zhenwu_queue_create c;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		c = bad[i];
		EXPECT_EQ(-EINVAL, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c))
		TH_LOG("case %zu", i);
	}
	c = (struct drm_zhenwu_queue_create){.vm_id = 0x7fff, .priority = 1};
	EXPECT_EQ(-ENOENT, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c));
	EXPECT_EQ(-ENOENT, zw_queue_destroy(self->c.fd, 0x7fff));
	EXPECT_EQ(-ENOENT, zw_queue_destroy(self->c.fd, 0));
}

TEST_F(submit, high_priority_needs_capability)
{
	struct drm_zhenwu_queue_create c = {.vm_id = self->c.vm,
					    .priority = DRM_ZHENWU_QUEUE_PRIORITY_HIGH};

	if (geteuid() != 0)
		SKIP(return, "needs root to drop it");
	EXPECT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c));
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	c.queue_id = 0;
	EXPECT_EQ(-EACCES, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c));
	c.priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL;
	EXPECT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c));
}

TEST_F(submit, bad_jobs_change_nothing)
{
	struct zw_client *c = &self->c;
	const struct {
		uint64_t va, result;
		uint32_t bytes, flags;
	} bad[] = {
		{c->cmd.va + 8, 0, 16, 0}, {c->cmd.va, 0, 17, 0},
		{c->cmd.va, 0, 0, 0},      {0, 0, 0, 1},
		{1ull << 48, 0, 16, 0},    {c->cmd.va, 0, (16u << 20) + 16, 0},
		{c->cmd.va, 32, 16, 0},    {c->cmd.va, 1ull << 48, 16, 0},
	};
	struct drm_zhenwu_sync_op sync = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
	struct drm_zhenwu_queue_get_state st;

	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &sync.handle));
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 0xbad);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct drm_zhenwu_job jobs[2] = {
			{.cmd_va = c->cmd.va,
			 .cmd_bytes = c->pos,
			 .syncs = DRM_ZHENWU_OBJ_ARRAY(1, &sync)},
			{.cmd_va = bad[i].va,
			 .cmd_bytes = bad[i].bytes,
			 .flags = bad[i].flags,
			 .result_va = bad[i].result},
		};
		struct drm_zhenwu_submit s = {.queue_id = c->queue,
					      .jobs = DRM_ZHENWU_OBJ_ARRAY(2, jobs)};

		EXPECT_EQ(-EINVAL, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s))
		TH_LOG("case %zu", i);
	}
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(0, st.submitted);
	/* Nor did the good job of each run, or leave a fence. A job that does comes behind it. */
	EXPECT_EQ(-1, sync_file_of(c->fd, sync.handle));
	ASSERT_EQ(0, zw_submit_syncs(c->fd, c->queue, 0, 0, &sync, 1));
	ASSERT_EQ(0, drmSyncobjWait(c->fd, &sync.handle, 1, zw_deadline(LONG_WAIT_NS), 0, NULL));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(1, st.submitted);
	EXPECT_EQ(1, st.completed);
	EXPECT_EQ(0, *(volatile uint32_t *)self->data.ptr);
}

TEST_F(submit, bad_syncs)
{
	struct zw_client *c = &self->c;
	const uint32_t tl = DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ;
	const struct {
		struct drm_zhenwu_sync_op op;
		int err;
	} bad[] = {
		{{.handle = 0x7fff, .flags = DRM_ZHENWU_SYNC_OP_SIGNAL}, -ENOENT},
		{{.handle = 0x7fff}, -ENOENT},
		{{.handle = c->timeline, .flags = 2}, -EINVAL},
		{{.handle = c->timeline, .flags = 1u << 20}, -EINVAL},
		{{.handle = c->timeline, .timeline_value = 3}, -EINVAL},
		/* waiting for a point nobody submitted */
		{{.handle = c->timeline, .flags = tl, .timeline_value = 3}, -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct drm_zhenwu_sync_op op = bad[i].op;
		struct drm_zhenwu_job job = {.syncs = DRM_ZHENWU_OBJ_ARRAY(1, &op)};
		struct drm_zhenwu_submit s = {.queue_id = c->queue,
					      .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};
		int ret = zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s);

		EXPECT_EQ(bad[i].err, ret) TH_LOG("case %zu", i);
	}
}

TEST_F(submit, bad_submit)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_job job = {0};
	struct drm_zhenwu_submit s = {.queue_id = c->queue};

	EXPECT_EQ(-EINVAL, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s)); /* no job */
	s.jobs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(100000, &job);
	EXPECT_EQ(-EINVAL, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	s.jobs = (struct drm_zhenwu_obj_array){.stride = sizeof(job), .count = 1, .array = 8};
	EXPECT_EQ(-EFAULT, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	s.jobs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &job);
	s.pad = 1;
	EXPECT_EQ(-EINVAL, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	s.pad = 0;
	s.queue_id = 0x7fff;
	EXPECT_EQ(-ENOENT, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
}

TEST_F(submit, destroy_with_jobs_in_flight)
{
	struct zw_client *c = &self->c;
	uint32_t q = zw_queue(c->fd, c->vm);

	ASSERT_NE(0, q);
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, zw_submit(c->fd, q, c->cmd.va, c->pos, 0, c->timeline, i + 1));
	}
	ASSERT_EQ(0, zw_queue_destroy(c->fd, q));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, 4, LONG_WAIT_NS));
	for (int i = 1; i <= 4; i++)
		EXPECT_GT(0, zw_fence_status(c->fd, c->timeline, i));
	/* the other queue of the VM goes on */
	c->point = 4;
	zw_put_raw(c->cmd.ptr, &c->pos, ZW_OP_NOP, sizeof(struct zw_pkt));
	EXPECT_EQ(0, zw_client_run(c, c->pos - 16));
}

/*
 * Fences of jobs the device never got live on in sync files when queue and scheduler are gone. Run
 * with poisoned slabs: what is read of a fence must not be read from freed memory.
 */
TEST_F_TIMEOUT(submit, fences_of_jobs_never_run_outlive_the_queue, 120)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_sync_op sig = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
	uint32_t q = queue_of_slots(c->fd, c->vm, 8), from;
	struct sync_fence_info fence;
	int sf[2];

	ASSERT_NE(0, q);
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &sig.handle));
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	ASSERT_EQ(0, zw_submit_syncs(c->fd, q, c->cmd.va, c->pos, NULL, 0));
	from = c->pos;
	zw_put_fill(c->cmd.ptr, &c->pos, 0x123456789000, 4, 1);
	ASSERT_EQ(0, zw_submit_syncs(c->fd, q, c->cmd.va + from, c->pos - from, NULL, 0));
	/* More than the ring holds: the scheduler keeps the last ones. */
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, zw_submit_syncs(c->fd, q, 0, 0, &sig, 1));
	}
	sf[0] = sync_file_of(c->fd, sig.handle);
	ASSERT_LE(0, sf[0]);
	EXPECT_EQ(0, sync_file_status(sf[0], &fence));
	EXPECT_STREQ("zhenwu", fence.obj_name);
	set_sem(&self->data, 4096, 1);
	EXPECT_EQ(0, drmSyncobjWait(c->fd, &sig.handle, 1, zw_deadline(LONG_WAIT_NS), 0, NULL));
	EXPECT_EQ(-ECANCELED, sync_file_status(sf[0], &fence));
	ASSERT_EQ(0, zw_queue_destroy(c->fd, q));

	/* The same for jobs that wait for others when their queue goes. */
	q = queue_of_slots(c->fd, c->vm, 8);
	ASSERT_NE(0, q);
	from = c->pos;
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 8192, 1);
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, zw_submit_syncs(c->fd, q, c->cmd.va + from, c->pos - from, &sig, 1));
	}
	sf[1] = sync_file_of(c->fd, sig.handle);
	ASSERT_LE(0, sf[1]);
	ASSERT_EQ(0, zw_queue_destroy(c->fd, q));
	drmSyncobjDestroy(c->fd, sig.handle);
	zw_client_close(c);
	/* Grace periods pass; nobody else makes a queue where this one was. */
	sleep(5);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(-ECANCELED, sync_file_status(sf[i], &fence));
		/* Newer kernels say of a fence that ended only that it did. */
		EXPECT_TRUE(!strcmp("zhenwu", fence.obj_name) || strstr(fence.obj_name, "signal"))
		TH_LOG("'%s'", fence.obj_name);
		close(sf[i]);
	}
}

/* What a job waits for may never come. Its queue can be destroyed all the same, at once. */
TEST_F_TIMEOUT(submit, destroy_with_unsignalled_dependencies, 120)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_sync_op held = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
	struct drm_zhenwu_sync_op syncs[2] = {
		{.flags = DRM_ZHENWU_SYNC_OP_WAIT},
		{.flags = DRM_ZHENWU_SYNC_OP_SIGNAL},
	};
	uint32_t q = zw_queue(c->fd, c->vm);
	struct sync_fence_info fence;
	int sf, sf_held;

	ASSERT_NE(0, q);
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &held.handle));
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &syncs[1].handle));
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	ASSERT_EQ(0, zw_submit_syncs(c->fd, c->queue, c->cmd.va, c->pos, &held, 1));
	sf_held = sync_file_of(c->fd, held.handle);
	ASSERT_LE(0, sf_held);
	syncs[0].handle = held.handle;
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, zw_submit_syncs(c->fd, q, 0, 0, syncs, 2));
	}
	sf = sync_file_of(c->fd, syncs[1].handle);
	ASSERT_LE(0, sf);
	ASSERT_EQ(0, zw_queue_destroy(c->fd, q));
	/* Over when the call returns, and what they waited for is not. */
	EXPECT_EQ(-ECANCELED, sync_file_status(sf, &fence));
	EXPECT_EQ(0, sync_file_status(sf_held, &fence));
	set_sem(&self->data, 4096, 1);
	EXPECT_EQ(0, drmSyncobjWait(c->fd, &held.handle, 1, zw_deadline(LONG_WAIT_NS), 0, NULL));
	EXPECT_EQ(1, sync_file_status(sf_held, &fence));
	close(sf);
	close(sf_held);
}

/* The same when a job before it failed: nothing stays behind a queue that is closed. */
TEST_F_TIMEOUT(submit, failed_queue_cancels_jobs_that_wait, 120)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_sync_op held = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
	struct drm_zhenwu_sync_op syncs[2] = {
		{.flags = DRM_ZHENWU_SYNC_OP_WAIT},
		{.flags = DRM_ZHENWU_SYNC_OP_SIGNAL},
	};
	uint32_t q = zw_queue(c->fd, c->vm), from;
	struct sync_fence_info fence;
	int sf;

	ASSERT_NE(0, q);
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &held.handle));
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &syncs[1].handle));
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	ASSERT_EQ(0, zw_submit_syncs(c->fd, c->queue, c->cmd.va, c->pos, &held, 1));
	/* A bad job that starts when told to, and one behind it that waits for the first queue. */
	from = c->pos;
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 8192, 1);
	zw_put_fill(c->cmd.ptr, &c->pos, 0x123456789000, 4, 1);
	ASSERT_EQ(0, zw_submit_syncs(c->fd, q, c->cmd.va + from, c->pos - from, NULL, 0));
	syncs[0].handle = held.handle;
	ASSERT_EQ(0, zw_submit_syncs(c->fd, q, 0, 0, syncs, 2));
	sf = sync_file_of(c->fd, syncs[1].handle);
	ASSERT_LE(0, sf);
	EXPECT_EQ(0, sync_file_status(sf, &fence));
	set_sem(&self->data, 8192, 1);
	EXPECT_EQ(0,
		  drmSyncobjWait(c->fd, &syncs[1].handle, 1, zw_deadline(LONG_WAIT_NS), 0, NULL));
	EXPECT_EQ(-ECANCELED, sync_file_status(sf, &fence));
	EXPECT_EQ(0, sync_file_status(sync_file_of(c->fd, held.handle), &fence));
	set_sem(&self->data, 4096, 1);
	close(sf);
}

/* A job may wait for what an earlier job of the same call signals, and only for an earlier one. */
TEST_F(submit, wait_for_job_of_the_same_submission)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_sync_op syncs[2] = {
		{.flags = DRM_ZHENWU_SYNC_OP_SIGNAL},
		{.flags = DRM_ZHENWU_SYNC_OP_WAIT},
	};
	struct drm_zhenwu_job jobs[2] = {
		{.syncs = DRM_ZHENWU_OBJ_ARRAY(1, &syncs[1])},
		{.syncs = DRM_ZHENWU_OBJ_ARRAY(1, &syncs[0])},
	};
	struct drm_zhenwu_submit s = {.queue_id = c->queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(2, jobs)};
	struct drm_zhenwu_queue_get_state st;

	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &syncs[0].handle));
	syncs[1].handle = syncs[0].handle;
	/* The waiter comes first: the syncobj is empty, and nothing of the call happens. */
	EXPECT_EQ(-EINVAL, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(0, st.submitted);
	EXPECT_NE(0, drmSyncobjWait(c->fd, &syncs[0].handle, 1, zw_deadline(1000000), 0, NULL));

	jobs[0].syncs.array = (uintptr_t)&syncs[0];
	jobs[1].syncs.array = (uintptr_t)&syncs[1];
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, self->data.va + 4096, 1);
	jobs[0].cmd_va = c->cmd.va;
	jobs[0].cmd_bytes = c->pos;
	jobs[1].cmd_va = c->cmd.va + c->pos;
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 5);
	jobs[1].cmd_bytes = c->pos - jobs[0].cmd_bytes;
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	ASSERT_EQ(0, zw_submit_syncs(c->fd, c->queue, 0, 0, syncs, 1));
	EXPECT_EQ(0, *(volatile uint32_t *)self->data.ptr);
	set_sem(&self->data, 4096, 1);
	ASSERT_EQ(0,
		  drmSyncobjWait(c->fd, &syncs[0].handle, 1, zw_deadline(LONG_WAIT_NS), 0, NULL));
	EXPECT_EQ(5, *(volatile uint32_t *)self->data.ptr);
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(3, st.submitted);
}

static volatile unsigned int ticks;

static void tick(int sig)
{
	ticks++;
}

/* Signals that interrupt every wait change nothing: each call is repeated and counts once. */
TEST_F_TIMEOUT(submit, signals_in_waits, 120)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_bo_wait w = {.handle = self->data.bo};
	const struct itimerval on = {{0, 700}, {0, 700}}, off = {0};
	struct sigaction sa = {.sa_handler = tick};
	struct drm_zhenwu_queue_get_state st;
	volatile uint32_t *p = self->data.ptr;
	int64_t end = zw_deadline(5 * 1000000000ll);
	uint32_t n = 0;

	zw_keep_fences = false;
	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &on, NULL));
	for (; n < 300 && zw_deadline(0) < end; n++) {
		uint32_t q;

		c->pos = 0;
		zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 65536, n + 1);
		ASSERT_EQ(0, zw_client_submit(c, 0, 0));
		w.timeout_ns = zw_deadline(LONG_WAIT_NS);
		ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
		ASSERT_EQ(n + 1, p[0]);
		q = zw_queue(c->fd, c->vm);
		ASSERT_NE(0, q);
		ASSERT_EQ(0, zw_queue_destroy(c->fd, q));
	}
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &off, NULL));
	EXPECT_LT(10, ticks);
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(n, st.submitted);
	EXPECT_EQ(0, st.state);
}

TEST_F(submit, limit_of_syncs)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;
	struct drm_zhenwu_sync_op syncs[65];

	for (int i = 0; i < 65; i++) {
		syncs[i] = (struct drm_zhenwu_sync_op){.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
		ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &syncs[i].handle));
	}
	EXPECT_EQ(-EINVAL, zw_submit_syncs(c->fd, c->queue, 0, 0, syncs, 65));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(0, st.submitted);
	ASSERT_EQ(0, zw_submit_syncs(c->fd, c->queue, 0, 0, syncs, 64));
	for (int i = 0; i < 64; i++)
		EXPECT_EQ(0, drmSyncobjWait(c->fd, &syncs[i].handle, 1, zw_deadline(LONG_WAIT_NS),
					    0, NULL));
	/* and as many to wait for */
	for (int i = 0; i < 64; i++)
		syncs[i].flags = DRM_ZHENWU_SYNC_OP_WAIT;
	EXPECT_EQ(0, zw_submit_syncs(c->fd, c->queue, 0, 0, syncs, 64));
}

TEST_F(submit, queue_outlives_vm_id)
{
	struct zw_client *c = &self->c;

	ASSERT_EQ(0, zw_vm_destroy(c->fd, c->vm));
	zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 4, 3);
	EXPECT_EQ(0, zw_client_run(c, 0));
	EXPECT_EQ(3, *(uint32_t *)self->data.ptr);
}

TEST_HARNESS_MAIN
