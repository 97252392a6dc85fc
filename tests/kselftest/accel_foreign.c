// SPDX-License-Identifier: MIT
/*
 * A client can reach only its own VMs, queues, buffers and syncobjs: every ioctl that takes an id, in every place where
 * it takes one, with every id that another file has. Beside its own ones, which it has too, so that nothing else is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define N 4 /* of each kind; the other has one */

struct objects {
	int fd;
	uint32_t vm[N], bo[N], queue[N], syncobj[N];
};

static bool make(struct objects *o, unsigned int n)
{
	o->fd = zw_open();
	for (unsigned int i = 0; i < n; i++) {
		o->vm[i] = zw_vm(o->fd);
		o->bo[i] = zw_bo(o->fd, 65536, DRM_ZHENWU_BO_SYSTEM);
		o->queue[i] = o->vm[i] ? zw_queue(o->fd, o->vm[i]) : 0;
		if (!o->vm[i] || !o->bo[i] || !o->queue[i] ||
		    drmSyncobjCreate(o->fd, 0, &o->syncobj[i]))
			return false;
	}
	return true;
}

FIXTURE(foreign)
{
	struct objects theirs, own;
};

FIXTURE_SETUP(foreign)
{
	self->theirs.fd = self->own.fd = -1;
	if (!make(&self->theirs, N) && self->theirs.fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	ASSERT_NE(self->theirs.syncobj[N - 1], 0);
	ASSERT_TRUE(make(&self->own, 1));
	/* Ids are counted from 1 in every file: the first of both are equal, the others are foreign. */
	ASSERT_EQ(self->own.vm[0], self->theirs.vm[0]);
	ASSERT_EQ(self->own.bo[0], self->theirs.bo[0]);
	ASSERT_EQ(self->own.queue[0], self->theirs.queue[0]);
	ASSERT_EQ(self->own.syncobj[0], self->theirs.syncobj[0]);
}

FIXTURE_TEARDOWN(foreign)
{
	close(self->theirs.fd);
	close(self->own.fd);
}

#define REFUSED(type, request, err, ...)                                                           \
	do {                                                                                       \
		struct type arg = {__VA_ARGS__};                                                   \
		EXPECT_EQ(zw_ioctl(own->fd, request, &arg), -(err));                               \
	} while (0)

TEST_F(foreign, ids)
{
	const struct objects *own = &self->own, *theirs = &self->theirs;
	const char label[] = "mine";

	for (unsigned int i = 1; i < N; i++) {
		struct drm_zhenwu_vm_bind_op map = {
			.bo_handle = own->bo[0], .va = 2 * MIB, .size = 4096};
		struct drm_zhenwu_vm_bind_op foreign_bo = {
			.bo_handle = theirs->bo[i], .va = 2 * MIB, .size = 4096};
		struct drm_zhenwu_sync_op sync = {.handle = theirs->syncobj[i],
						  .flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
		struct drm_zhenwu_sync_op sync_wait = {.handle = theirs->syncobj[i]};
		struct drm_zhenwu_vm_bind_op signal = {.bo_handle = own->bo[0],
						       .va = 2 * MIB,
						       .size = 4096,
						       .syncs = DRM_ZHENWU_OBJ_ARRAY(1, &sync)};
		struct drm_zhenwu_vm_bind_op wait = {.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY,
						     .syncs = DRM_ZHENWU_OBJ_ARRAY(1, &sync_wait)};
		struct drm_zhenwu_job job = {0};
		struct drm_zhenwu_job foreign_sync = {.syncs = DRM_ZHENWU_OBJ_ARRAY(1, &sync)};
		struct drm_zhenwu_queue_perf perf;
		uint64_t word = 0;

		REFUSED(drm_zhenwu_vm_destroy, DRM_IOCTL_ZHENWU_VM_DESTROY, ENOENT,
			.id = theirs->vm[i]);
		REFUSED(drm_zhenwu_vm_get_state, DRM_IOCTL_ZHENWU_VM_GET_STATE, ENOENT,
			.vm_id = theirs->vm[i]);
		REFUSED(drm_zhenwu_vm_bind, DRM_IOCTL_ZHENWU_VM_BIND, ENOENT,
			.vm_id = theirs->vm[i], .ops = DRM_ZHENWU_OBJ_ARRAY(1, &map));
		REFUSED(drm_zhenwu_vm_bind, DRM_IOCTL_ZHENWU_VM_BIND, ENOENT, .vm_id = own->vm[0],
			.ops = DRM_ZHENWU_OBJ_ARRAY(1, &foreign_bo));
		REFUSED(drm_zhenwu_vm_bind, DRM_IOCTL_ZHENWU_VM_BIND, ENOENT,
			.vm_id = theirs->vm[i], .flags = DRM_ZHENWU_VM_BIND_ASYNC,
			.ops = DRM_ZHENWU_OBJ_ARRAY(1, &map));
		REFUSED(drm_zhenwu_vm_bind, DRM_IOCTL_ZHENWU_VM_BIND, ENOENT, .vm_id = own->vm[0],
			.flags = DRM_ZHENWU_VM_BIND_ASYNC,
			.ops = DRM_ZHENWU_OBJ_ARRAY(1, &foreign_bo));
		REFUSED(drm_zhenwu_vm_bind, DRM_IOCTL_ZHENWU_VM_BIND, ENOENT, .vm_id = own->vm[0],
			.flags = DRM_ZHENWU_VM_BIND_ASYNC, .ops = DRM_ZHENWU_OBJ_ARRAY(1, &signal));
		REFUSED(drm_zhenwu_vm_bind, DRM_IOCTL_ZHENWU_VM_BIND, ENOENT, .vm_id = own->vm[0],
			.flags = DRM_ZHENWU_VM_BIND_ASYNC, .ops = DRM_ZHENWU_OBJ_ARRAY(1, &wait));
		REFUSED(drm_zhenwu_bo_create, DRM_IOCTL_ZHENWU_BO_CREATE, ENOENT, .size = 4096,
			.flags = DRM_ZHENWU_BO_SYSTEM, .exclusive_vm_id = theirs->vm[i]);
		REFUSED(drm_zhenwu_bo_create_userptr, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, ENOENT,
			.addr = (uintptr_t)&word & ~4095ull, .size = 4096,
			.exclusive_vm_id = theirs->vm[i]);
		REFUSED(drm_zhenwu_bo_mmap_offset, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, ENOENT,
			.handle = theirs->bo[i]);
		REFUSED(drm_zhenwu_bo_wait, DRM_IOCTL_ZHENWU_BO_WAIT, ENOENT,
			.handle = theirs->bo[i]);
		REFUSED(drm_zhenwu_bo_set_label, DRM_IOCTL_ZHENWU_BO_SET_LABEL, ENOENT,
			.handle = theirs->bo[i], .label = (uintptr_t)label);
		REFUSED(drm_zhenwu_bo_madvise, DRM_IOCTL_ZHENWU_BO_MADVISE, ENOENT,
			.handle = theirs->bo[i], .madv = DRM_ZHENWU_MADV_DONTNEED);
		REFUSED(drm_zhenwu_bo_query_info, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, ENOENT,
			.handle = theirs->bo[i]);
		REFUSED(drm_zhenwu_queue_create, DRM_IOCTL_ZHENWU_QUEUE_CREATE, ENOENT,
			.vm_id = theirs->vm[i], .priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL);
		REFUSED(drm_zhenwu_queue_destroy, DRM_IOCTL_ZHENWU_QUEUE_DESTROY, ENOENT,
			.queue_id = theirs->queue[i]);
		REFUSED(drm_zhenwu_queue_get_state, DRM_IOCTL_ZHENWU_QUEUE_GET_STATE, ENOENT,
			.queue_id = theirs->queue[i]);
		REFUSED(drm_zhenwu_dev_query, DRM_IOCTL_ZHENWU_DEV_QUERY, ENOENT,
			.type = DRM_ZHENWU_DEV_QUERY_PERF, .size = sizeof(perf),
			.pointer = (uintptr_t)&perf, .object_id = theirs->queue[i]);
		REFUSED(drm_zhenwu_submit, DRM_IOCTL_ZHENWU_SUBMIT, ENOENT,
			.queue_id = theirs->queue[i], .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job));
		REFUSED(drm_zhenwu_submit, DRM_IOCTL_ZHENWU_SUBMIT, ENOENT,
			.queue_id = own->queue[0], .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &foreign_sync));
		REFUSED(drm_zhenwu_queue_wait, DRM_IOCTL_ZHENWU_QUEUE_WAIT, ENOENT,
			.queue_id = theirs->queue[i], .addr = (uintptr_t)&word);
		REFUSED(drm_gem_close, DRM_IOCTL_GEM_CLOSE, EINVAL, .handle = theirs->bo[i]);
		REFUSED(drm_prime_handle, DRM_IOCTL_PRIME_HANDLE_TO_FD, ENOENT,
			.handle = theirs->bo[i], .flags = DRM_CLOEXEC);
		REFUSED(drm_syncobj_destroy, DRM_IOCTL_SYNCOBJ_DESTROY, EINVAL,
			.handle = theirs->syncobj[i]);
		REFUSED(drm_syncobj_handle, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, EINVAL,
			.handle = theirs->syncobj[i]);
	}
	/* None of it has changed anything of theirs. */
	for (unsigned int i = 0; i < N; i++) {
		struct drm_zhenwu_vm_get_state vm = {.vm_id = theirs->vm[i]};
		struct drm_zhenwu_bo_query_info bo = {.handle = theirs->bo[i]};
		uint32_t first = 0;

		EXPECT_EQ(zw_ioctl(theirs->fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &vm), 0);
		EXPECT_EQ(zw_ioctl(theirs->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &bo), 0);
		EXPECT_EQ(zw_submit(theirs->fd, theirs->queue[i], 0, 0, 0, theirs->syncobj[i], 1),
			  0);
		EXPECT_EQ(drmSyncobjTimelineWait(theirs->fd, (uint32_t *)&theirs->syncobj[i],
						 &(uint64_t){1}, 1, zw_deadline(LONG_WAIT_NS), 0,
						 &first),
			  0);
	}
}

/* What mmap() is given are offsets, which all files share: it is the buffer's file that counts. */
TEST_F(foreign, mappings)
{
	for (unsigned int i = 0; i < N; i++) {
		struct drm_zhenwu_bo_mmap_offset m = {.handle = self->theirs.bo[i]};
		void *p;

		ASSERT_EQ(zw_ioctl(self->theirs.fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &m), 0);
		p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->own.fd, (off_t)m.offset);
		EXPECT_EQ(p, MAP_FAILED);
		EXPECT_EQ(errno, EACCES);
	}
}

/* A command buffer names addresses of its VM: what another one has there is not it. */
TEST_F(foreign, memory)
{
	struct drm_zhenwu_queue_get_state st = {0};
	uint64_t *theirs, *own;
	struct zw_client a, b;
	uint32_t from, bo;

	ASSERT_TRUE(zw_client_open(&a));
	ASSERT_TRUE(zw_client_open(&b));
	/* Both have their commands at one address; b fills it, and only its own is filled. */
	theirs = (uint64_t *)((char *)a.cmd.ptr + 32768);
	own = (uint64_t *)((char *)b.cmd.ptr + 32768);
	*theirs = 0x1111;
	*own = 0x2222;
	from = b.pos;
	zw_put_fill(b.cmd.ptr, &b.pos, b.cmd.va + 32768, 8, 0x5a5a5a5a);
	ASSERT_EQ(a.cmd.va, b.cmd.va);
	ASSERT_EQ(zw_client_run(&b, from), 0);
	EXPECT_EQ(*own, 0x5a5a5a5a5a5a5a5aull);
	EXPECT_EQ(*theirs, 0x1111);
	/* What only a has is nowhere for b. */
	bo = zw_bo(a.fd, 65536, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(bo, 0);
	ASSERT_EQ(zw_bind(a.fd, a.vm, bo, 0, 64 * MIB, 65536, 0), 0);
	from = b.pos;
	zw_put_fill(b.cmd.ptr, &b.pos, 64 * MIB, 8, 1);
	EXPECT_EQ(zw_client_run(&b, from), 0);
	ASSERT_EQ(zw_queue_state(b.fd, b.queue, &st), 0);
	EXPECT_EQ(st.status, ZW_JOB_FAULT);
	EXPECT_EQ(st.fault_va, 64 * MIB);
	EXPECT_TRUE(zw_client_works(&a));
	zw_client_close(&b);
	zw_client_close(&a);
}

TEST_HARNESS_MAIN
