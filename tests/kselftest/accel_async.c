// SPDX-License-Identifier: MIT
/*
 * Asynchronous binds: their order among each other, with synchronous ones and with jobs, what is refused, and how those
 * end that are still waiting when the VM, the file or the device goes away.
 *
 * What binds wait for here is a job that waits for a semaphore in memory, which the test writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/sync_file.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define PAGE 4096ull
#define VA   (64ull << 30)

/* What the first word of the buffers says. */
#define TAG_A 0xa0a0a0a0u
#define TAG_B 0xb0b0b0b0u

#define SHORT_NS 200000000ll

/* Words of the client's command buffer. */
#define SEM_AT 61440u
#define OUT_AT 32768u

FIXTURE(async)
{
	struct zw_client c; /* its queue is the one that is held */
	struct zw_buf a, b;
	uint32_t work;    /* a queue for jobs that run */
	uint32_t held;    /* syncobj of the job that waits */
	uint32_t done[4]; /* syncobjs for binds to signal */
	uint32_t num_held;
};

FIXTURE_SETUP(async)
{
	const uint32_t visible = DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE;

	if (!zw_client_open(&self->c)) {
		if (self->c.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, 4 * MIB, visible, 1ull << 32, &self->a));
	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, 4 * MIB, DRM_ZHENWU_BO_SYSTEM, 2ull << 32,
			   &self->b));
	*(uint32_t *)self->a.ptr = TAG_A;
	*(uint32_t *)self->b.ptr = TAG_B;
	__sync_synchronize();
	self->work = zw_queue(self->c.fd, self->c.vm);
	ASSERT_NE(0, self->work);
	ASSERT_EQ(0, drmSyncobjCreate(self->c.fd, 0, &self->held));
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, drmSyncobjCreate(self->c.fd, 0, &self->done[i]));
}

FIXTURE_TEARDOWN(async)
{
	zw_client_close(&self->c);
}

/* self->held gets a fence that stays until release(). 0 or -errno. */
static int hold(FIXTURE_DATA(async) * self)
{
	struct drm_zhenwu_sync_op sync = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL, .handle = self->held};
	struct zw_client *c = &self->c;
	uint32_t from = c->pos;

	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + SEM_AT, ++self->num_held);
	return zw_submit_syncs(c->fd, c->queue, c->cmd.va + from, c->pos - from, &sync, 1);
}

static void release(FIXTURE_DATA(async) * self)
{
	*(volatile uint64_t *)((char *)self->c.cmd.ptr + SEM_AT) = self->num_held;
	__sync_synchronize();
}

static struct drm_zhenwu_sync_op waits(uint32_t handle)
{
	return (struct drm_zhenwu_sync_op){.handle = handle};
}

static struct drm_zhenwu_sync_op signals(uint32_t handle)
{
	return (struct drm_zhenwu_sync_op){.flags = DRM_ZHENWU_SYNC_OP_SIGNAL, .handle = handle};
}

/* An operation with sync operations: OP(MAP(a, VA), signals(x)). */
#define SYNCS(...)                                                                                 \
	DRM_ZHENWU_OBJ_ARRAY(sizeof((struct drm_zhenwu_sync_op[]){__VA_ARGS__}) /                  \
				     sizeof(struct drm_zhenwu_sync_op),                            \
			     ((struct drm_zhenwu_sync_op[]){__VA_ARGS__}))
#define MAP(buf, at) .bo_handle = (buf).bo, .va = (at), .size = (buf).size
#define UNMAP(at, n) .flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP, .va = (at), .size = (n)
#define SYNC_ONLY    .flags = DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY

static int bind_ops(int fd, uint32_t vm, struct drm_zhenwu_vm_bind_op *ops, uint32_t n,
		    uint32_t *num_done)
{
	struct drm_zhenwu_vm_bind b = {
		.vm_id = vm,
		.flags = DRM_ZHENWU_VM_BIND_ASYNC,
		.ops = DRM_ZHENWU_OBJ_ARRAY(n, ops),
	};
	int ret = zw_ioctl(fd, DRM_IOCTL_ZHENWU_VM_BIND, &b);

	if (num_done)
		*num_done = b.num_done;
	return ret;
}

#define BIND(...)                                                                                  \
	bind_ops(self->c.fd, self->c.vm, &(struct drm_zhenwu_vm_bind_op){__VA_ARGS__}, 1, NULL)

/* 0, -ETIME, or -errno. */
static int wait_for(FIXTURE_DATA(async) * self, uint32_t syncobj, int64_t ns)
{
	return drmSyncobjWait(self->c.fd, &syncobj, 1, zw_deadline(ns), 0, NULL);
}

/* How the fence of a sync file ended: 1 well, -errno its error; 0 when the time ran out. */
static int ended(int sync_file, int ms)
{
	struct sync_fence_info fence = {0};
	struct sync_file_info info = {.num_fences = 1, .sync_fence_info = (uintptr_t)&fence};
	struct pollfd p = {.fd = sync_file, .events = POLLIN};

	if (poll(&p, 1, ms) != 1)
		return 0;
	return ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) ? -errno : fence.status;
}

/* The same of a syncobj. */
static int status_of(int fd, uint32_t syncobj)
{
	int sf, ret;

	if (drmSyncobjExportSyncFile(fd, syncobj, &sf))
		return -errno;
	ret = ended(sf, 60000);
	close(sf);
	return ret;
}

/* The word the device reads at an address; 0 when that faults; the rest are failures of the test. */
static uint32_t peek(FIXTURE_DATA(async) * self, uint64_t va)
{
	volatile uint32_t *out = (void *)((char *)self->c.cmd.ptr + OUT_AT);
	struct drm_zhenwu_queue_get_state st = {0};
	struct zw_client *c = &self->c;
	uint32_t queue = zw_queue(c->fd, c->vm), from = c->pos;

	*out = 0xdead;
	zw_put_copy(c->cmd.ptr, &c->pos, c->cmd.va + OUT_AT, va, 4);
	if (!queue ||
	    zw_submit(c->fd, queue, c->cmd.va + from, c->pos - from, 0, c->timeline, ++c->point) ||
	    zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS) ||
	    zw_queue_state(c->fd, queue, &st) || zw_queue_destroy(c->fd, queue))
		return 1;
	if (st.state)
		return st.status == ZW_JOB_FAULT && st.fault_va == va ? 0 : 2;
	return *out;
}

/* Operations of a call, calls, and a map that waits for nothing behind one that does. */
TEST_F_TIMEOUT(async, order, 120)
{
	struct drm_zhenwu_vm_bind_op ops[] = {
		{MAP(self->a, VA), .syncs = SYNCS(waits(self->held))},
		{UNMAP(VA, 4 * MIB)},
		{MAP(self->b, VA), .syncs = SYNCS(signals(self->done[0]))},
	};
	uint32_t num_done;

	ASSERT_EQ(0, hold(self));
	ASSERT_EQ(0, bind_ops(self->c.fd, self->c.vm, ops, 3, &num_done));
	EXPECT_EQ(3, num_done);
	ASSERT_EQ(0, BIND(MAP(self->a, 2 * VA), .syncs = SYNCS(signals(self->done[1]))));
	ASSERT_EQ(0, BIND(SYNC_ONLY, .syncs = SYNCS(signals(self->done[2]))));
	EXPECT_EQ(-ETIME, wait_for(self, self->done[1], SHORT_NS));
	EXPECT_EQ(-ETIME, wait_for(self, self->done[2], 0));
	EXPECT_EQ(-ETIME, wait_for(self, self->done[0], 0));
	EXPECT_EQ(0, peek(self, VA));
	EXPECT_EQ(0, peek(self, 2 * VA));

	release(self);
	ASSERT_EQ(0, wait_for(self, self->done[2], LONG_WAIT_NS));
	EXPECT_EQ(0, wait_for(self, self->done[1], 0));
	EXPECT_EQ(0, wait_for(self, self->done[0], 0));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(1, status_of(self->c.fd, self->done[i]));
	EXPECT_EQ(TAG_B, peek(self, VA));
	EXPECT_EQ(TAG_A, peek(self, 2 * VA));
}

struct sync_bind {
	FIXTURE_DATA(async) * self;
	_Atomic bool over;
	int ret;
};

static void *bind_at_once(void *arg)
{
	struct sync_bind *s = arg;

	s->ret = zw_bind(s->self->c.fd, s->self->c.vm, s->self->b.bo, 0, VA, 4 * MIB, 0);
	s->over = true;
	return NULL;
}

TEST_F_TIMEOUT(async, synchronous_binds_wait_their_turn, 120)
{
	struct sync_bind s = {.self = self};
	pthread_t thread;

	ASSERT_EQ(0, hold(self));
	ASSERT_EQ(0, BIND(MAP(self->a, VA), .syncs = SYNCS(waits(self->held))));
	ASSERT_EQ(0, pthread_create(&thread, NULL, bind_at_once, &s));
	usleep(SHORT_NS / 1000);
	EXPECT_FALSE(s.over);
	release(self);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, s.ret);
	EXPECT_EQ(TAG_B, peek(self, VA));
}

/* Map, use, unmap: handed over at once, and nobody waits in between. */
TEST_F_TIMEOUT(async, between_jobs, 120)
{
	volatile uint32_t *out = (void *)((char *)self->c.cmd.ptr + OUT_AT);
	struct zw_client *c = &self->c;
	uint32_t from;

	*out = 0;
	ASSERT_EQ(0, hold(self));
	ASSERT_EQ(0, BIND(MAP(self->a, VA),
			  .syncs = SYNCS(waits(self->held), signals(self->done[0]))));
	from = c->pos;
	zw_put_copy(c->cmd.ptr, &c->pos, c->cmd.va + OUT_AT, VA, 4);
	ASSERT_EQ(0, zw_submit_syncs(c->fd, self->work, c->cmd.va + from, c->pos - from,
				     (struct drm_zhenwu_sync_op[]){waits(self->done[0]),
								   signals(self->done[1])},
				     2));
	ASSERT_EQ(0, BIND(UNMAP(VA, 4 * MIB),
			  .syncs = SYNCS(waits(self->done[1]), signals(self->done[2]))));
	EXPECT_EQ(-ETIME, wait_for(self, self->done[2], SHORT_NS));
	release(self);
	EXPECT_EQ(1, status_of(c->fd, self->done[2]));
	EXPECT_EQ(1, status_of(c->fd, self->done[1]));
	EXPECT_EQ(TAG_A, *out);
	EXPECT_EQ(0, peek(self, VA));
}

TEST_F_TIMEOUT(async, timelines, 120)
{
	const uint32_t type = DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ;
	struct drm_zhenwu_sync_op first = {type | DRM_ZHENWU_SYNC_OP_SIGNAL, self->done[0], 5};
	struct drm_zhenwu_sync_op second[2] = {
		{type, self->done[0], 3}, {type | DRM_ZHENWU_SYNC_OP_SIGNAL, self->done[0], 7}};
	struct drm_zhenwu_vm_bind_op ops[2] = {
		{MAP(self->a, VA), .syncs = DRM_ZHENWU_OBJ_ARRAY(1, &first)},
		/* The point before it has a fence: that of the first operation. */
		{MAP(self->b, VA), .syncs = DRM_ZHENWU_OBJ_ARRAY(2, second)},
	};
	uint64_t point = 0;

	ASSERT_EQ(0, bind_ops(self->c.fd, self->c.vm, ops, 2, NULL));
	ASSERT_EQ(0, zw_wait(self->c.fd, self->done[0], 7, LONG_WAIT_NS));
	ASSERT_EQ(0, drmSyncobjQuery(self->c.fd, &self->done[0], &point, 1));
	EXPECT_EQ(7, point);
	EXPECT_EQ(TAG_B, peek(self, VA));
	/* Beyond what there is. */
	second[0].timeline_value = 8;
	second[1].timeline_value = 9;
	EXPECT_EQ(-EINVAL, bind_ops(self->c.fd, self->c.vm, &ops[1], 1, NULL));
}

/* Refused as a whole: what is right in the call comes to nothing, too. */
TEST_F_TIMEOUT(async, all_or_nothing, 120)
{
	static struct drm_zhenwu_sync_op many[65];
	struct drm_zhenwu_sync_op odd = {.flags = 1u << 8, .handle = self->done[1]};
	const struct {
		int error;
		struct drm_zhenwu_vm_bind_op op;
	} bad[] = {
		{-ENOENT, {.bo_handle = 9999, .va = VA, .size = PAGE}},
		{-EINVAL, {.bo_handle = self->a.bo, .va = VA, .size = 0}},
		{-EINVAL, {.bo_handle = self->a.bo, .va = VA, .size = 5 * MIB}},
		{-EINVAL, {.bo_handle = self->a.bo, .va = 0, .size = PAGE}},
		{-EINVAL, {.bo_handle = self->a.bo, .va = VA + 1, .size = PAGE}},
		{-EINVAL, {.flags = 9u << 28, .va = VA, .size = PAGE}},
		{-EINVAL, {.flags = 1u << 9, .bo_handle = self->a.bo, .va = VA, .size = PAGE}},
		{-EINVAL, {UNMAP(VA, PAGE), .bo_handle = self->a.bo}},
		{-EINVAL, {SYNC_ONLY, .va = VA}},
		{-EINVAL, {SYNC_ONLY, .size = PAGE}},
		{-EINVAL, {SYNC_ONLY, .bo_handle = self->a.bo}},
		{-EOPNOTSUPP, {.flags = DRM_ZHENWU_VM_BIND_OP_MAP_SPARSE, .va = VA, .size = PAGE}},
		{-EOPNOTSUPP,
		 {.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_MAP_USERPTR, .va = VA, .size = PAGE}},
		{-ENOENT, {UNMAP(VA, PAGE), .syncs = SYNCS(signals(9999))}},
		{-ENOENT, {UNMAP(VA, PAGE), .syncs = SYNCS(waits(9999))}},
		{-EINVAL, {UNMAP(VA, PAGE), .syncs = SYNCS(waits(self->done[1]))}},
		{-EINVAL, {UNMAP(VA, PAGE), .syncs = SYNCS(odd)}},
		{-EINVAL, {UNMAP(VA, PAGE), .syncs = DRM_ZHENWU_OBJ_ARRAY(65, many)}},
		{-EINVAL, {UNMAP(VA, PAGE), .syncs = {.count = 1, .stride = 4}}},
		{-EFAULT, {UNMAP(VA, PAGE), .syncs = {.count = 1, .stride = 16, .array = 16}}},
	};
	struct drm_zhenwu_vm_bind_op ops[3];
	struct drm_zhenwu_vm_bind b = {.vm_id = self->c.vm, .ops = DRM_ZHENWU_OBJ_ARRAY(1, ops)};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint32_t num_done = 77;

		ops[0] = (struct drm_zhenwu_vm_bind_op){MAP(self->a, 2 * VA),
							.syncs = SYNCS(signals(self->done[0]))};
		ops[1] = bad[i].op;
		ops[2] = ops[0];
		EXPECT_EQ(bad[i].error,
			  bind_ops(self->c.fd, self->c.vm, ops, i % 2 ? 2 : 3, &num_done))
		TH_LOG("case %zu", i);
		EXPECT_EQ(0, num_done) TH_LOG("case %zu", i);
	}
	/* Nothing was given to the syncobj, and nothing mapped. */
	EXPECT_EQ(-EINVAL, wait_for(self, self->done[0], 0));
	EXPECT_EQ(0, peek(self, 2 * VA));

	/* What only asynchronous calls have. */
	ops[0] = (struct drm_zhenwu_vm_bind_op){SYNC_ONLY};
	EXPECT_EQ(-EINVAL, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	ops[0] = (struct drm_zhenwu_vm_bind_op){UNMAP(VA, PAGE),
						.syncs = SYNCS(signals(self->done[0]))};
	EXPECT_EQ(-EINVAL, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	b.flags = DRM_ZHENWU_VM_BIND_ASYNC << 1;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	EXPECT_EQ(0, BIND(UNMAP(VA, PAGE)));
}

/* All operations of a call together have a bound, too. */
TEST_F_TIMEOUT(async, most_syncs, 120)
{
	static struct drm_zhenwu_vm_bind_op ops[257];
	static struct drm_zhenwu_sync_op syncs[64];

	for (int i = 0; i < 64; i++)
		syncs[i] = signals(self->done[0]);
	for (int i = 0; i < 257; i++)
		ops[i] = (struct drm_zhenwu_vm_bind_op){SYNC_ONLY,
							.syncs = DRM_ZHENWU_OBJ_ARRAY(64, syncs)};
	EXPECT_EQ(-EINVAL, bind_ops(self->c.fd, self->c.vm, ops, 257, NULL));
	EXPECT_EQ(-EINVAL, wait_for(self, self->done[0], 0));
	EXPECT_EQ(0, bind_ops(self->c.fd, self->c.vm, ops, 256, NULL));
	EXPECT_EQ(0, wait_for(self, self->done[0], LONG_WAIT_NS));
}

/* Holes, several mappings, both ends inside of one: all at once, and what is around it stays. */
TEST_F_TIMEOUT(async, sparse_unmap, 120)
{
	struct drm_zhenwu_vm_bind_op ops[] = {
		{.bo_handle = self->a.bo, .va = VA, .size = 2 * MIB},
		{.bo_handle = self->b.bo, .va = VA + 4 * MIB, .size = 4 * PAGE},
		{.bo_handle = self->b.bo, .va = VA + 6 * MIB, .size = 4 * MIB},
		/* The first page of the first and all behind the first page of the last stay. */
		{UNMAP(VA + PAGE, 6 * MIB)},
		{UNMAP(VA + 16 * MIB, 64 * MIB), .syncs = SYNCS(signals(self->done[0]))},
	};

	for (uint32_t p = 0; p < 1024; p++) {
		((uint32_t *)self->a.ptr)[p * 1024] = TAG_A + p;
		((uint32_t *)self->b.ptr)[p * 1024] = TAG_B + p;
	}
	__sync_synchronize();
	ASSERT_EQ(0, bind_ops(self->c.fd, self->c.vm, ops, 5, NULL));
	ASSERT_EQ(1, status_of(self->c.fd, self->done[0]));
	EXPECT_EQ(TAG_A, peek(self, VA));
	EXPECT_EQ(0, peek(self, VA + PAGE));
	EXPECT_EQ(0, peek(self, VA + 2 * MIB - PAGE));
	EXPECT_EQ(0, peek(self, VA + 4 * MIB));
	EXPECT_EQ(0, peek(self, VA + 6 * MIB));
	EXPECT_EQ(TAG_B + 1, peek(self, VA + 6 * MIB + PAGE));
	EXPECT_EQ(TAG_B + 1023, peek(self, VA + 10 * MIB - PAGE));
}

/* The handle is closed while the map waits. */
TEST_F_TIMEOUT(async, buffer_is_kept, 120)
{
	struct drm_zhenwu_dev_info before, after;
	struct drm_zhenwu_vm_bind_op op = {
		.va = VA,
		.size = 4 * MIB,
		.syncs = SYNCS(waits(self->held), signals(self->done[0]))};
	uint32_t bo;

	ASSERT_EQ(0, zw_info(self->c.fd, &before));
	bo = op.bo_handle = zw_bo(self->c.fd, 4 * MIB, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, bo);
	ASSERT_EQ(0, zw_bind(self->c.fd, self->c.vm, bo, 0, 2 * VA, 4 * MIB, 0));
	zw_put_fill(self->c.cmd.ptr, &self->c.pos, 2 * VA, 4, 0x1234);
	ASSERT_EQ(0, zw_client_run(&self->c, 0));
	ASSERT_EQ(0, zw_unbind(self->c.fd, self->c.vm, 2 * VA, 4 * MIB));
	ASSERT_EQ(0, hold(self));
	ASSERT_EQ(0, bind_ops(self->c.fd, self->c.vm, &op, 1, NULL));
	ASSERT_EQ(0, zw_bo_close(self->c.fd, bo));
	release(self);
	ASSERT_EQ(1, status_of(self->c.fd, self->done[0]));
	EXPECT_EQ(0x1234, peek(self, VA));
	/* And is gone with its last mapping, a little later. */
	ASSERT_EQ(0, BIND(UNMAP(VA, 4 * MIB), .syncs = SYNCS(signals(self->done[1]))));
	ASSERT_EQ(1, status_of(self->c.fd, self->done[1]));
	for (int i = 0; i < 600; i++) {
		ASSERT_EQ(0, zw_info(self->c.fd, &after));
		if (after.hbm_free >= before.hbm_free)
			break;
		usleep(100000);
	}
	EXPECT_EQ(before.hbm_free, after.hbm_free);
}

/* A file whose VM has a bind that waits for self->held. Return: the sync file of the bind, or -1. */
static int other_file(FIXTURE_DATA(async) * self, int *fd, uint32_t *vm)
{
	struct drm_zhenwu_vm_bind_op op = {.va = VA, .size = PAGE};
	struct drm_zhenwu_sync_op syncs[2] = {{0}, {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL}};
	int share, out = -1;

	op.syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(2, syncs);
	*fd = zw_open();
	*vm = zw_vm(*fd);
	op.bo_handle = zw_bo(*fd, PAGE, DRM_ZHENWU_BO_HBM);
	if (drmSyncobjHandleToFD(self->c.fd, self->held, &share))
		return -1;
	if (!drmSyncobjFDToHandle(*fd, share, &syncs[0].handle) &&
	    !drmSyncobjCreate(*fd, 0, &syncs[1].handle) && !bind_ops(*fd, *vm, &op, 1, NULL))
		drmSyncobjExportSyncFile(*fd, syncs[1].handle, &out);
	close(share);
	return out;
}

/* Nobody can use what it would do: it does not wait any longer, for whatever it is. */
TEST_F_TIMEOUT(async, ends_with_the_file, 120)
{
	uint32_t vm;
	int fd, sf;

	ASSERT_EQ(0, hold(self));
	sf = other_file(self, &fd, &vm);
	ASSERT_GE(sf, 0);
	EXPECT_EQ(0, ended(sf, 100));
	close(fd);
	EXPECT_EQ(-ECANCELED, ended(sf, 20000));
	EXPECT_EQ(-ETIME, wait_for(self, self->held, 0));
	close(sf);
	release(self);
	EXPECT_EQ(0, wait_for(self, self->held, LONG_WAIT_NS));
}

TEST_F_TIMEOUT(async, ends_with_the_vm, 120)
{
	uint32_t vm;
	int fd, sf;

	ASSERT_EQ(0, hold(self));
	sf = other_file(self, &fd, &vm);
	ASSERT_GE(sf, 0);
	EXPECT_EQ(0, zw_vm_destroy(fd, vm));
	EXPECT_EQ(-ECANCELED, ended(sf, 20000));
	close(sf);
	close(fd);

	/* A queue keeps the address space, and jobs may wait for its binds. */
	sf = other_file(self, &fd, &vm);
	ASSERT_GE(sf, 0);
	ASSERT_NE(0, zw_queue(fd, vm));
	EXPECT_EQ(0, zw_vm_destroy(fd, vm));
	EXPECT_EQ(0, ended(sf, 200));
	release(self);
	EXPECT_EQ(1, ended(sf, 60000));
	close(sf);
	close(fd);
}

/* The memory of the VM is lost: told by the bind as by every other call. */
TEST_F_TIMEOUT(async, function_level_reset, 180)
{
	struct drm_zhenwu_vm_get_state vm = {.vm_id = self->c.vm};
	char path[320];

	ASSERT_EQ(0, zw_pci_path(path, 300));
	strcat(path, "/reset");
	if (geteuid() || access(path, W_OK))
		SKIP(return, "the device cannot be reset");
	ASSERT_EQ(0, hold(self));
	ASSERT_EQ(0, BIND(MAP(self->a, VA),
			  .syncs = SYNCS(waits(self->held), signals(self->done[0]))));
	ASSERT_EQ(0, BIND(SYNC_ONLY, .syncs = SYNCS(signals(self->done[1]))));
	ASSERT_EQ(0, zw_write_file(path, "1"));
	/* What it waited for ended with an error, which does not matter. */
	EXPECT_EQ(-ECANCELED, status_of(self->c.fd, self->done[0]));
	EXPECT_EQ(-ECANCELED, status_of(self->c.fd, self->done[1]));
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &vm));
	EXPECT_EQ(DRM_ZHENWU_VM_STATE_UNUSABLE, vm.state);
	EXPECT_EQ(-ECANCELED, BIND(MAP(self->a, VA)));
}

/* A reset of the device alone: HBM survives, so those that wait are done, and so is the one it meets. */
TEST_F_TIMEOUT(async, device_reset, 400)
{
	uint32_t count = zw_reset_count(&self->c);

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_EQ(0, zw_bind(self->c.fd, self->c.vm, self->b.bo, 0, 2 * VA, 4 * MIB, 0));
	ASSERT_EQ(0, hold(self));
	ASSERT_EQ(0, BIND(MAP(self->a, VA),
			  .syncs = SYNCS(waits(self->held), signals(self->done[0]))));
	ASSERT_EQ(0, zw_inject("fw-silence"));
	release(self);
	/* Nobody asks the firmware but this, and what it waited for is lost in the reset. */
	ASSERT_EQ(0, BIND(UNMAP(2 * VA, 4 * MIB), .syncs = SYNCS(signals(self->done[1]))));
	EXPECT_EQ(1, status_of(self->c.fd, self->done[0]));
	EXPECT_EQ(1, status_of(self->c.fd, self->done[1]));
	EXPECT_TRUE(zw_client_goes_on(&self->c));
	EXPECT_EQ(count + 1, zw_reset_count(&self->c));
	EXPECT_EQ(TAG_A, peek(self, VA));
	EXPECT_EQ(0, peek(self, 2 * VA));
	/* The tables that were taken out in the reset are somebody else's by now. */
	ASSERT_EQ(0, BIND(MAP(self->b, 2 * VA), .syncs = SYNCS(signals(self->done[2]))));
	EXPECT_EQ(1, status_of(self->c.fd, self->done[2]));
	EXPECT_EQ(TAG_B, peek(self, 2 * VA));
}

static uint64_t hbm_free(int fd)
{
	struct drm_zhenwu_dev_info info;

	return zw_info(fd, &info) ? 0 : info.hbm_free;
}

/*
 * The fence of an unmap that meets a reset ends with the jobs. The memory is given back only when the
 * reset is over: until then the device may not have let go of it.
 */
TEST_F_TIMEOUT(async, memory_is_kept_in_a_reset, 400)
{
	uint64_t before;
	uint32_t bo;
	int sf;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	bo = zw_bo(self->c.fd, 4 * MIB, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, bo);
	ASSERT_EQ(0, zw_bind(self->c.fd, self->c.vm, bo, 0, 2 * VA, 4 * MIB, 0));
	/* The mapping keeps it. */
	ASSERT_EQ(0, zw_bo_close(self->c.fd, bo));
	before = hbm_free(self->c.fd);
	ASSERT_EQ(0, zw_inject("fw-silence"));
	ASSERT_EQ(0, zw_inject("stuck-reset"));
	ASSERT_EQ(0, BIND(UNMAP(2 * VA, 4 * MIB), .syncs = SYNCS(signals(self->done[0]))));
	ASSERT_EQ(0, drmSyncobjExportSyncFile(self->c.fd, self->done[0], &sf));
	/* The device does not get quiet; it has its time for that. */
	EXPECT_EQ(1, ended(sf, 180000));
	close(sf);
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(before, hbm_free(self->c.fd));
		usleep(100000);
	}
	ASSERT_EQ(0, zw_inject("clear"));
	for (int i = 0; i < 600 && hbm_free(self->c.fd) < before + 4 * MIB; i++)
		usleep(100000);
	EXPECT_LE(before + 4 * MIB, hbm_free(self->c.fd));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* The device is taken away and comes back. */
TEST_F_TIMEOUT(async, unbind, 180)
{
	char path[320], *name;
	struct zw_client fresh;
	int sf[2];

	ASSERT_EQ(0, zw_pci_path(path, 300));
	name = strrchr(path, '/') + 1;
	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, hold(self));
	ASSERT_EQ(0, BIND(MAP(self->a, VA),
			  .syncs = SYNCS(waits(self->held), signals(self->done[0]))));
	ASSERT_EQ(0, BIND(SYNC_ONLY, .syncs = SYNCS(signals(self->done[1]))));
	/* Syncobjs are gone with the device. */
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, drmSyncobjExportSyncFile(self->c.fd, self->done[i], &sf[i]));
	ASSERT_EQ(0, zw_write_file("/sys/bus/pci/drivers/zhenwu/unbind", name));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(-ENODEV, ended(sf[i], 60000));
		close(sf[i]);
	}
	EXPECT_EQ(-ENODEV, BIND(MAP(self->a, VA)));
	ASSERT_EQ(0, zw_write_file("/sys/bus/pci/drivers/zhenwu/bind", name));
	ASSERT_TRUE(zw_client_open(&fresh));
	EXPECT_TRUE(zw_client_works(&fresh));
	zw_client_close(&fresh);
}

/* A file that has `count` binds in each of four calls, all behind one that waits. Return: as other_file(). */
static int many_binds(FIXTURE_DATA(async) * self, int *fd, int count)
{
	static struct drm_zhenwu_vm_bind_op ops[512];
	int sf, ret = 0;
	uint32_t vm;

	sf = other_file(self, fd, &vm);
	for (int i = 0; i < count; i++)
		ops[i] = (struct drm_zhenwu_vm_bind_op){UNMAP(VA + i * 3 * MIB, 2 * MIB + PAGE)};
	for (int i = 0; i < 4; i++)
		ret |= bind_ops(*fd, vm, ops, count, NULL);
	return ret ? -1 : sf;
}

/* Killed with binds that wait, and with more than one call of them: nothing is left. */
TEST_F_TIMEOUT(async, many_wait, 240)
{
	struct drm_zhenwu_dev_info before, after;
	int fd, sf, count;

	ASSERT_EQ(0, zw_info(self->c.fd, &before));
	/* No job waits longer than job_timeout_ms: where all is slow there are fewer. */
	for (count = 512;; count /= 4) {
		ASSERT_LT(1, count);
		ASSERT_EQ(0, hold(self));
		sf = many_binds(self, &fd, count);
		ASSERT_GE(sf, 0);
		if (wait_for(self, self->held, 0) == -ETIME)
			break;
		close(fd);
		close(sf);
		ASSERT_EQ(0, zw_queue_destroy(self->c.fd, self->c.queue));
		self->c.queue = zw_queue(self->c.fd, self->c.vm);
		ASSERT_NE(0, self->c.queue);
	}
	close(fd);
	EXPECT_EQ(-ECANCELED, ended(sf, 60000));
	close(sf);
	release(self);
	for (int i = 0; i < 600; i++) {
		ASSERT_EQ(0, zw_info(self->c.fd, &after));
		if (after.hbm_free >= before.hbm_free)
			break;
		usleep(100000);
	}
	EXPECT_EQ(before.hbm_free, after.hbm_free);
}

TEST_HARNESS_MAIN
