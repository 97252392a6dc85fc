// SPDX-License-Identifier: MIT
/* Queues, submission, fences. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

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
	for (int i = 2; i < 2 + 16384; i++)
		ASSERT_EQ(0x12345678, p[i]);
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
	for (uint32_t i = 0; i < 200; i++)
		ASSERT_EQ(i, p[1024 + i]);
}

TEST_F(submit, array_of_jobs)
{
	struct zw_client *c = &self->c;
	const uint32_t *p = self->data.ptr;
	struct drm_zhenwu_job jobs[16] = {0};
	struct drm_zhenwu_sync_op sync = {
		.flags =
			DRM_ZHENWU_SYNC_OP_SIGNAL | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		.handle = c->timeline,
		.timeline_value = 1,
	};
	struct drm_zhenwu_submit s = {.queue_id = c->queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(16, jobs)};

	for (uint32_t i = 0; i < 16; i++) {
		jobs[i].cmd_va = c->cmd.va + c->pos;
		jobs[i].cmd_bytes = sizeof(struct zw_pkt_fill);
		zw_put_fill(c->cmd.ptr, &c->pos, self->data.va + 4 * i, 4, i + 1);
	}
	jobs[15].syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &sync);
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, 1, LONG_WAIT_NS));
	for (uint32_t i = 0; i < 16; i++)
		EXPECT_EQ(i + 1, p[i]);
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
	for (int i = 0; i < 8; i++)
		zw_put_fill(c->cmd.ptr, &c->pos, self->data.va, 65536, 0x55);
	ASSERT_EQ(0, zw_client_submit(c, 0, 0));
	from = c->pos;
	zw_put_copy(c->cmd.ptr, &c->pos, self->data.va + 131072, self->data.va + 65532, 4);
	job.cmd_va = c->cmd.va + from;
	job.cmd_bytes = c->pos - from;
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
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

TEST_F(submit, queue_limit_is_an_error)
{
	struct drm_zhenwu_dev_info info;
	uint32_t n = 1;

	ASSERT_EQ(0, zw_info(self->c.fd, &info));
	while (n <= info.max_queues && zw_queue(self->c.fd, self->c.vm))
		n++;
	EXPECT_LE(n, info.max_queues);
	EXPECT_LT(4, n);
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
	struct drm_zhenwu_queue_get_state st;

	zw_put_raw(c->cmd.ptr, &c->pos, ZW_OP_NOP, 16);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct drm_zhenwu_job jobs[2] = {
			{.cmd_va = c->cmd.va, .cmd_bytes = 16},
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
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, zw_submit(c->fd, q, c->cmd.va, c->pos, 0, c->timeline, i + 1));
	ASSERT_EQ(0, zw_queue_destroy(c->fd, q));
	ASSERT_EQ(0, zw_wait(c->fd, c->timeline, 4, LONG_WAIT_NS));
	for (int i = 1; i <= 4; i++)
		EXPECT_GT(0, zw_fence_status(c->fd, c->timeline, i));
	/* the other queue of the VM goes on */
	c->point = 4;
	zw_put_raw(c->cmd.ptr, &c->pos, ZW_OP_NOP, 16);
	EXPECT_EQ(0, zw_client_run(c, c->pos - 16));
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
