// SPDX-License-Identifier: MIT
/* Buffer objects and address spaces. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define VISIBLE (DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE)

FIXTURE(mem)
{
	int fd;
	uint32_t vm;
};

FIXTURE_SETUP(mem)
{
	self->fd = zw_open();
	if (self->fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	self->vm = zw_vm(self->fd);
	ASSERT_NE(0, self->vm);
}

FIXTURE_TEARDOWN(mem)
{
	close(self->fd);
}

TEST_F(mem, create_rounds_to_pages)
{
	struct drm_zhenwu_bo_create c = {.size = 1, .flags = DRM_ZHENWU_BO_SYSTEM};
	struct drm_zhenwu_bo_query_info q = {0};

	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c));
	EXPECT_EQ(4096, c.size);
	q.handle = c.handle;
	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q));
	EXPECT_EQ(4096, q.size);
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, q.flags);
}

TEST_F(mem, create_bad)
{
	const struct drm_zhenwu_bo_create bad[] = {
		{.size = 0, .flags = DRM_ZHENWU_BO_SYSTEM},
		{.size = 4096, .flags = 0},
		{.size = 4096, .flags = DRM_ZHENWU_BO_NO_EVICT},
		{.size = 4096, .flags = DRM_ZHENWU_BO_CPU_VISIBLE},
		{.size = 4096, .flags = DRM_ZHENWU_BO_SYSTEM, .pad = 1},
		{.size = 4096, .flags = DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_CPU_VISIBLE},
		{.size = 4096, .flags = DRM_ZHENWU_BO_HBM | 1u << 31},
		{.size = 4096, .flags = DRM_ZHENWU_BO_HBM, .handle = 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct drm_zhenwu_bo_create c = bad[i];

		EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c))
		TH_LOG("case %zu", i);
	}
}

TEST_F(mem, create_too_large)
{
	struct drm_zhenwu_bo_create c = {.size = UINT64_MAX, .flags = DRM_ZHENWU_BO_HBM};

	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c));
	c = (struct drm_zhenwu_bo_create){.size = 1ull << 46, .flags = DRM_ZHENWU_BO_HBM};
	EXPECT_EQ(-ENOSPC, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c));
	c.flags = DRM_ZHENWU_BO_SYSTEM;
	EXPECT_EQ(-ENOMEM, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c));
	/* neither here nor there */
	c.flags = DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM;
	EXPECT_EQ(-ENOMEM, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c));
}

/* Where a buffer is that may be in two places: in HBM, as long as there is some. */
TEST_F(mem, placements)
{
	const uint32_t both = DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM;
	const struct {
		uint32_t flags, placement;
		bool mappable;
	} cases[] = {
		{DRM_ZHENWU_BO_SYSTEM, DRM_ZHENWU_BO_SYSTEM, true},
		{DRM_ZHENWU_BO_HBM, DRM_ZHENWU_BO_HBM, false},
		{VISIBLE, DRM_ZHENWU_BO_HBM, true},
		{VISIBLE | DRM_ZHENWU_BO_NO_EVICT, DRM_ZHENWU_BO_HBM, true},
		{both, DRM_ZHENWU_BO_HBM, false},
		{both | DRM_ZHENWU_BO_CPU_VISIBLE, DRM_ZHENWU_BO_HBM, true},
		/* behind the one that takes the rest of what is visible */
		{both | DRM_ZHENWU_BO_CPU_VISIBLE, DRM_ZHENWU_BO_SYSTEM, true},
	};
	struct drm_zhenwu_dev_info info;
	uint32_t last = ARRAY_SIZE(cases) - 1;

	ASSERT_EQ(0, zw_info(self->fd, &info));
	for (uint32_t i = 0; i <= last; i++) {
		struct drm_zhenwu_bo_query_info q = {0};

		if (i == last)
			for (uint64_t size = info.hbm_visible; size >= 4096; size /= 2)
				while (zw_bo(self->fd, size, VISIBLE))
					;
		q.handle = zw_bo(self->fd, 8192, cases[i].flags);
		ASSERT_NE(0, q.handle);
		ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q));
		EXPECT_EQ(cases[i].flags, q.flags) TH_LOG("case %u", i);
		EXPECT_EQ(cases[i].placement, q.placement) TH_LOG("case %u", i);
		EXPECT_EQ(cases[i].mappable, !!zw_map(self->fd, q.handle, 8192))
		TH_LOG("case %u", i);
	}
}

TEST_F(mem, exclusive_buffers)
{
	uint32_t other = zw_vm(self->fd);
	const uint32_t placements[] = {DRM_ZHENWU_BO_SYSTEM, VISIBLE};

	ASSERT_NE(0, other);
	for (int i = 0; i < 2; i++) {
		struct drm_zhenwu_bo_create c = {
			.size = MIB, .flags = placements[i], .exclusive_vm_id = self->vm};
		uint32_t *m;

		ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c));
		EXPECT_EQ(-EINVAL, zw_bind(self->fd, other, c.handle, 0, MIB, MIB, 0));
		EXPECT_EQ(0, zw_bind(self->fd, self->vm, c.handle, 0, (i + 1) * 4 * MIB, MIB, 0));
		/* Replaced by itself, split, and partly unmapped: one reservation, many times. */
		EXPECT_EQ(0, zw_bind(self->fd, self->vm, c.handle, 0, (i + 1) * 4 * MIB + 4096,
				     MIB / 2, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
		EXPECT_EQ(0, zw_unbind(self->fd, self->vm, (i + 1) * 4 * MIB + 8192, 4096));
		m = zw_map(self->fd, c.handle, MIB);
		ASSERT_NE(NULL, m);
		m[0] = 1;
		/* The mapping of the process outlives handle, maps and VM. */
		ASSERT_EQ(0, zw_bo_close(self->fd, c.handle));
	}
	EXPECT_EQ(0, zw_vm_destroy(self->fd, self->vm));
	struct drm_zhenwu_bo_create c = {
		.size = MIB, .flags = VISIBLE, .exclusive_vm_id = self->vm};
	EXPECT_EQ(-ENOENT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c));
}

/* What one file has is nothing to another, not even of the same process. */
TEST_F(mem, foreign_buffers)
{
	const uint32_t placements[] = {DRM_ZHENWU_BO_SYSTEM, VISIBLE};
	int other = zw_open();

	ASSERT_LE(0, other);
	for (int i = 0; i < 2; i++) {
		struct drm_zhenwu_bo_mmap_offset o = {0};

		o.handle = zw_bo(self->fd, 4096, placements[i]);
		EXPECT_EQ(-ENOENT, zw_ioctl(other, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o));
		ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o));
		EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, o.offset));
		EXPECT_EQ(EACCES, errno);
		/* beyond its end, and behind what was closed */
		EXPECT_EQ(MAP_FAILED, mmap(NULL, 8192, PROT_READ, MAP_SHARED, self->fd, o.offset));
		EXPECT_EQ(EINVAL, errno);
		ASSERT_EQ(0, zw_bo_close(self->fd, o.handle));
		EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd, o.offset));
		EXPECT_EQ(EINVAL, errno);
	}
	close(other);
}

/* A copy of device memory, or of what the device writes, would be neither. */
TEST_F(mem, private_mappings_are_refused)
{
	const uint32_t placements[] = {DRM_ZHENWU_BO_SYSTEM, VISIBLE};

	for (int i = 0; i < 2; i++) {
		struct drm_zhenwu_bo_mmap_offset o = {0};

		o.handle = zw_bo(self->fd, 4096, placements[i]);
		ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o));
		EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE,
					   self->fd, o.offset));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, self->fd, o.offset));
		EXPECT_EQ(EINVAL, errno);
	}
}

TEST_F(mem, new_memory_is_zero)
{
	const uint32_t placements[] = {DRM_ZHENWU_BO_SYSTEM, VISIBLE};

	for (int p = 0; p < 2; p++) {
		/* Twice: the second buffer may get the first one's memory back. */
		for (int round = 0; round < 4; round++) {
			uint32_t bo = zw_bo(self->fd, MIB, placements[p]);
			uint64_t *m;

			ASSERT_NE(0, bo);
			m = zw_map(self->fd, bo, MIB);
			ASSERT_NE(NULL, m);
			for (size_t i = 0; i < MIB / 8; i++) {
				ASSERT_EQ(0, m[i])
				TH_LOG("placement %d round %d word %zu", p, round, i);
			}
			memset(m, 0xa5, MIB);
			munmap(m, MIB);
			ASSERT_EQ(0, zw_bo_close(self->fd, bo));
		}
	}
}

TEST_F(mem, invisible_hbm_is_not_mappable)
{
	struct drm_zhenwu_bo_mmap_offset o = {0};

	o.handle = zw_bo(self->fd, 4096, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, o.handle);
	EXPECT_EQ(-EACCES, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o));
}

TEST_F(mem, mapping_outlives_handle)
{
	uint32_t bo = zw_bo(self->fd, 8192, VISIBLE);
	volatile uint32_t *m = zw_map(self->fd, bo, 8192);

	ASSERT_NE(NULL, m);
	ASSERT_EQ(0, zw_bo_close(self->fd, bo));
	m[0] = 7;
	EXPECT_EQ(7, m[0]);
}

/* Buffers whose pages carry their number, and a fresh mapping nothing was touched through. */
static void *fresh_mapping(int fd, uint32_t bo, uint32_t pages)
{
	uint32_t *m = zw_map(fd, bo, pages * 4096);

	if (!m)
		return NULL;
	for (uint32_t p = 0; p < pages; p++)
		m[p * 1024] = 0x100 + p;
	munmap(m, pages * 4096);
	return zw_map(fd, bo, pages * 4096);
}

static uint32_t page_tag(const void *m, uint32_t page)
{
	return ((const volatile uint32_t *)m)[page * 1024];
}

/* What is left of a mapping shows the pages it showed before, whichever part of it was taken. */
TEST_F(mem, parts_of_mappings)
{
	const uint32_t placements[] = {DRM_ZHENWU_BO_SYSTEM, VISIBLE};

	for (int i = 0; i < 2; i++) {
		uint32_t bo = zw_bo(self->fd, 8 * 4096, placements[i]);
		char *m = fresh_mapping(self->fd, bo, 8), *moved;

		ASSERT_NE(NULL, m);
		ASSERT_EQ(0, munmap(m, 3 * 4096));
		for (uint32_t p = 3; p < 8; p++)
			EXPECT_EQ(0x100 + p, page_tag(m, p)) TH_LOG("placement %d munmap", i);
		munmap(m + 3 * 4096, 5 * 4096);

		m = fresh_mapping(self->fd, bo, 8);
		ASSERT_EQ(0, mprotect(m + 2 * 4096, 2 * 4096, PROT_READ));
		for (uint32_t p = 0; p < 8; p++)
			EXPECT_EQ(0x100 + p, page_tag(m, p)) TH_LOG("placement %d mprotect", i);
		munmap(m, 8 * 4096);

		m = fresh_mapping(self->fd, bo, 8);
		moved = mremap(m + 5 * 4096, 2 * 4096, 2 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED,
			       mmap(NULL, 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		ASSERT_NE(MAP_FAILED, (void *)moved);
		EXPECT_EQ(0x105, page_tag(moved, 0)) TH_LOG("placement %d mremap", i);
		EXPECT_EQ(0x106, page_tag(moved, 1)) TH_LOG("placement %d mremap", i);
		EXPECT_EQ(0x104, page_tag(m, 4)) TH_LOG("placement %d mremap", i);
		EXPECT_EQ(0x107, page_tag(m, 7)) TH_LOG("placement %d mremap", i);
		munmap(m, 5 * 4096);
		munmap(m + 7 * 4096, 4096);
		munmap(moved, 2 * 4096);
		ASSERT_EQ(0, zw_bo_close(self->fd, bo));
	}
}

TEST_F(mem, bo_calls_with_bad_handle)
{
	struct drm_zhenwu_bo_mmap_offset o = {.handle = 0x7fff};
	struct drm_zhenwu_bo_wait w = {.handle = 0x7fff};
	struct drm_zhenwu_bo_query_info q = {.handle = 0x7fff};
	struct drm_zhenwu_bo_set_label l = {.handle = 0x7fff};

	EXPECT_EQ(-ENOENT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o));
	EXPECT_EQ(-ENOENT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	EXPECT_EQ(-ENOENT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q));
	EXPECT_EQ(-ENOENT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &l));
}

TEST_F(mem, pads_must_be_zero)
{
	uint32_t bo = zw_bo(self->fd, 4096, DRM_ZHENWU_BO_SYSTEM);
	struct drm_zhenwu_bo_mmap_offset o = {.handle = bo, .pad = 1};
	struct drm_zhenwu_bo_wait w = {.handle = bo, .pad = 1};
	struct drm_zhenwu_bo_set_label l = {.handle = bo, .pad = 1};
	struct drm_zhenwu_vm_create c = {.flags = 2};
	struct drm_zhenwu_vm_destroy d = {.id = self->vm, .pad = 1};

	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o));
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &l));
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_CREATE, &c));
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_DESTROY, &d));
}

TEST_F(mem, labels)
{
	struct drm_zhenwu_bo_set_label l = {0};
	char *text = malloc(DRM_ZHENWU_BO_LABEL_MAX + 1);

	l.handle = zw_bo(self->fd, 4096, DRM_ZHENWU_BO_SYSTEM);
	l.label = (uintptr_t) "weights";
	EXPECT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &l));
	l.label = 0;
	EXPECT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &l));
	memset(text, 'x', DRM_ZHENWU_BO_LABEL_MAX);
	text[DRM_ZHENWU_BO_LABEL_MAX] = 0;
	l.label = (uintptr_t)text;
	EXPECT_EQ(-E2BIG, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &l));
	l.label = 8;
	EXPECT_EQ(-EFAULT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &l));
	free(text);
}

static void nothing(int sig)
{
}

struct waiter {
	int fd, ret;
	uint32_t bo;
	int64_t deadline;
	volatile bool over;
};

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;
	struct drm_zhenwu_bo_wait wait = {.handle = w->bo, .timeout_ns = w->deadline};

	w->ret = zw_ioctl(w->fd, DRM_IOCTL_ZHENWU_BO_WAIT, &wait);
	w->over = true;
	return NULL;
}

/* Waits in a thread of its own that gets a signal every millisecond. */
static int wait_under_signals(struct waiter *w)
{
	struct sigaction sa = {.sa_handler = nothing};
	pthread_t thread;

	w->over = false;
	if (sigaction(SIGUSR1, &sa, NULL) || pthread_create(&thread, NULL, waiter_main, w))
		return -errno;
	while (!w->over) {
		pthread_kill(thread, SIGUSR1);
		usleep(1000);
	}
	pthread_join(thread, NULL);
	return w->ret;
}

/* A buffer is idle when nothing that was submitted can reach it. */
TEST_F(mem, bo_wait)
{
	struct zw_client c;
	struct drm_zhenwu_bo_wait w = {0};
	struct waiter waiter;
	uint32_t from;
	int64_t t;

	ASSERT_TRUE(zw_client_open(&c));
	w.handle = c.cmd.bo;
	EXPECT_EQ(0, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	w.timeout_ns = -1;
	EXPECT_EQ(-EINVAL, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));

	zw_put_sem(c.cmd.ptr, &c.pos, ZW_OP_SEM_WAIT, c.cmd.va + 32768, 1);
	ASSERT_EQ(0, zw_client_submit(&c, 0, 0));
	w.timeout_ns = 0;
	EXPECT_EQ(-ETIMEDOUT, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	/* One the job cannot reach: never mapped, then no longer. */
	w.handle = zw_bo(c.fd, 4096, DRM_ZHENWU_BO_SYSTEM);
	EXPECT_EQ(0, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	ASSERT_EQ(0, zw_bind(c.fd, c.vm, w.handle, 0, 64 * MIB, 4096, 0));
	EXPECT_EQ(-ETIMEDOUT, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	ASSERT_EQ(0, zw_unbind(c.fd, c.vm, 64 * MIB, 4096));
	EXPECT_EQ(0, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));

	/* Signals make a wait neither shorter nor longer. */
	waiter = (struct waiter){.fd = c.fd, .bo = c.cmd.bo};
	t = zw_deadline(0);
	waiter.deadline = t + 300000000;
	EXPECT_EQ(-ETIMEDOUT, wait_under_signals(&waiter));
	t = zw_deadline(0) - t;
	EXPECT_LE(295000000, t); /* both clocks tick */
	EXPECT_GE(LONG_WAIT_NS / 4, t);

	from = c.pos;
	*(volatile uint64_t *)((char *)c.cmd.ptr + 32768) = 1;
	__sync_synchronize();
	waiter.deadline = zw_deadline(LONG_WAIT_NS);
	EXPECT_EQ(0, wait_under_signals(&waiter));
	w.handle = c.cmd.bo;
	EXPECT_EQ(0, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_WAIT, &w));
	EXPECT_EQ(0, zw_wait(c.fd, c.timeline, c.point, 0));
	c.pos = from;
	zw_client_close(&c);
}

TEST_F(mem, vm_ids)
{
	struct drm_zhenwu_vm_get_state s = {.vm_id = self->vm};

	EXPECT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &s));
	EXPECT_EQ(DRM_ZHENWU_VM_STATE_USABLE, s.state);
	EXPECT_EQ(0, zw_vm_destroy(self->fd, self->vm));
	EXPECT_EQ(-ENOENT, zw_vm_destroy(self->fd, self->vm));
	EXPECT_EQ(-ENOENT, zw_vm_destroy(self->fd, 0));
	EXPECT_EQ(-ENOENT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &s));
}

TEST_F(mem, bind_good)
{
	uint32_t bo = zw_bo(self->fd, 8 * MIB, DRM_ZHENWU_BO_HBM);
	struct drm_zhenwu_dev_info info;

	ASSERT_EQ(0, zw_info(self->fd, &info));
	ASSERT_NE(0, bo);
	EXPECT_EQ(0, zw_bind(self->fd, self->vm, bo, 0, 64 * MIB, 8 * MIB, 0));
	/* over an existing mapping, shifted, read-only, then holes */
	EXPECT_EQ(0, zw_bind(self->fd, self->vm, bo, 4096, 65 * MIB, MIB, 0));
	EXPECT_EQ(0, zw_bind(self->fd, self->vm, bo, 0, 68 * MIB, MIB,
			     DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	EXPECT_EQ(0, zw_unbind(self->fd, self->vm, 64 * MIB + 4096, 4096));
	EXPECT_EQ(0, zw_unbind(self->fd, self->vm, MIB, 256 * MIB));
	/* unmapping what is not there is fine, and so is the top of the address space */
	EXPECT_EQ(0, zw_unbind(self->fd, self->vm, MIB, 256 * MIB));
	EXPECT_EQ(0, zw_bind(self->fd, self->vm, bo, 0, info.va_end - 4096, 4096, 0));
	EXPECT_EQ(0, zw_bind(self->fd, self->vm, bo, 0, info.va_start, 4096, 0));
	EXPECT_EQ(0, zw_unbind(self->fd, self->vm, info.va_start, info.va_end - info.va_start));
}

TEST_F(mem, bind_bad)
{
	uint32_t bo = zw_bo(self->fd, MIB, DRM_ZHENWU_BO_SYSTEM);
	const uint32_t ro = DRM_ZHENWU_VM_BIND_OP_MAP_READONLY;
	struct drm_zhenwu_dev_info info;

	ASSERT_EQ(0, zw_info(self->fd, &info));
	const struct {
		uint64_t off, va, size;
		uint32_t flags;
	} bad[] = {
		{0, 0x100001, 4096, 0},
		{0, 0x100000, 4097, 0},
		{1, 0x100000, 4096, 0},
		{0, 0x100000, 0, 0},
		{0, 0x100000, 2 * MIB, 0},
		{MIB, 0x100000, 4096, 0},
		{UINT64_MAX - 4095, 0x100000, 8192, 0},
		{0, 1ull << 48, 4096, 0},
		{0, (1ull << 48) - 4096, 4096, 0},
		{0, info.va_end, 4096, 0},
		{0, info.va_end - 4096, 8192, 0},
		{0, info.va_start - 4096, 4096, 0},
		{0, 0, 4096, 0},
		{0, UINT64_MAX - 4095, 4096, 0},
		{0, 0x100000, 4096, 1u << 27},
		{0, 0x100000, 4096, 7u << 28},
		{0, 0x100000, 4096, DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP | ro},
		{0, 0x100000, 4096, DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP /* with a handle */},
	};

	ASSERT_NE(0, bo);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, zw_bind(self->fd, self->vm, bo, bad[i].off, bad[i].va,
					   bad[i].size, bad[i].flags))
		TH_LOG("case %zu", i);
	}
	EXPECT_EQ(-EINVAL, zw_unbind(self->fd, self->vm, info.va_start - 4096, 8192));
	EXPECT_EQ(-EINVAL, zw_unbind(self->fd, self->vm, info.va_end - 4096, 8192));
	EXPECT_EQ(-ENOENT, zw_bind(self->fd, self->vm, 0x7fff, 0, MIB, 4096, 0));
	EXPECT_EQ(-ENOENT, zw_bind(self->fd, 0x7fff, bo, 0, MIB, 4096, 0));
}

/* Lets the device copy a word within a page: 0, or the address it faults at, or all ones. */
static uint64_t page_fault_of(FIXTURE_DATA(mem) * self, uint64_t va, uint64_t scratch)
{
	struct drm_zhenwu_queue_get_state st = {0};
	struct zw_buf cmd;
	uint32_t queue = zw_queue(self->fd, self->vm), timeline, pos = 0;
	uint64_t ret = UINT64_MAX;

	if (!queue || drmSyncobjCreate(self->fd, 0, &timeline) ||
	    !zw_buf(self->fd, self->vm, 4096, DRM_ZHENWU_BO_SYSTEM, 1ull << 40, &cmd))
		return ret;
	zw_put_copy(cmd.ptr, &pos, scratch + 64, va, 4);
	if (!zw_submit(self->fd, queue, cmd.va, pos, 0, timeline, 1) &&
	    !zw_wait(self->fd, timeline, 1, LONG_WAIT_NS) &&
	    !zw_queue_state(self->fd, queue, &st)) {
		if (!st.state)
			ret = 0;
		else if (st.status == ZW_JOB_FAULT)
			ret = st.fault_va;
	}
	munmap(cmd.ptr, cmd.size);
	zw_unbind(self->fd, self->vm, cmd.va, cmd.size);
	zw_bo_close(self->fd, cmd.bo);
	zw_queue_destroy(self->fd, queue);
	drmSyncobjDestroy(self->fd, timeline);
	return ret;
}

TEST_F(mem, bind_array)
{
	uint32_t bo = zw_bo(self->fd, MIB, DRM_ZHENWU_BO_SYSTEM);
	struct drm_zhenwu_vm_bind_op ops[3] = {
		{.bo_handle = bo, .va = 0x10000, .size = 4096},
		{.bo_handle = bo, .va = 0x20001, .size = 4096},
		{.bo_handle = bo, .va = 0x30000, .size = 4096},
	};
	struct drm_zhenwu_vm_bind b = {.vm_id = self->vm, .ops = DRM_ZHENWU_OBJ_ARRAY(3, ops)};

	/* The operation that fails is named, the ones before it stay. */
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	EXPECT_EQ(1, b.num_done);
	EXPECT_EQ(3, b.ops.count);
	EXPECT_EQ(0, page_fault_of(self, 0x10000, ops[0].va));
	EXPECT_EQ(0x30000, page_fault_of(self, 0x30000, ops[0].va));
	/* What a call returned is not taken for its arguments. */
	ops[1].va = 0x20000;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	b.num_done = 0;
	EXPECT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	EXPECT_EQ(3, b.num_done);
	EXPECT_EQ(3, b.ops.count);
	EXPECT_EQ(0, page_fault_of(self, 0x30000, ops[0].va));
	/* larger elements of a newer user space: fine while the tail is zero */
	struct {
		struct drm_zhenwu_vm_bind_op op;
		uint64_t more;
	} big = {.op = {.bo_handle = bo, .va = 0x40000, .size = 4096}};
	b = (struct drm_zhenwu_vm_bind){
		.vm_id = self->vm,
		.ops = {.stride = sizeof(big), .count = 1, .array = (uintptr_t)&big},
	};
	EXPECT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	big.more = 1;
	b.num_done = 0;
	EXPECT_EQ(-E2BIG, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	/* a stride that cannot hold the fields that matter, and absurd counts */
	b.ops = (struct drm_zhenwu_obj_array){.stride = 4, .count = 1, .array = (uintptr_t)&big};
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	b.ops = (struct drm_zhenwu_obj_array){
		.stride = sizeof(big.op), .count = UINT32_MAX, .array = (uintptr_t)&big};
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
	b = (struct drm_zhenwu_vm_bind){.vm_id = self->vm};
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b));
}

TEST_F(mem, hbm_is_given_back)
{
	struct drm_zhenwu_dev_info before, held;
	uint32_t bo;

	ASSERT_EQ(0, zw_info(self->fd, &before));
	bo = zw_bo(self->fd, 64 * MIB, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, bo);
	ASSERT_EQ(0, zw_info(self->fd, &held));
	EXPECT_EQ(held.hbm_free + 64 * MIB, before.hbm_free);
	ASSERT_EQ(0, zw_bo_close(self->fd, bo));
	/* Counted is not had: all of it in one buffer, which waits for what is scrubbed. */
	bo = zw_bo(self->fd, before.hbm_free, DRM_ZHENWU_BO_HBM);
	EXPECT_NE(0, bo);
	ASSERT_EQ(0, zw_bo_close(self->fd, bo));
}

#define PIECE  (64ull << 10)
#define PIECES 512u

/* Runs a job of one packet that fills, or copies when there is a source. */
static int fill_or_copy(struct zw_client *c, uint64_t dst, uint64_t src, uint64_t size,
			uint32_t pattern)
{
	c->pos = 0;
	if (src)
		zw_put_copy(c->cmd.ptr, &c->pos, dst, src, size);
	else
		zw_put_fill(c->cmd.ptr, &c->pos, dst, size, pattern);
	return zw_client_run(c, 0);
}

static bool all_are(const uint32_t *p, uint64_t size, uint32_t value)
{
	for (uint64_t i = 0; i < size / 4; i++)
		if (p[i] != value)
			return false;
	return true;
}

/* What debugfs says of free HBM by size of block, once nothing waits to be scrubbed. */
static bool free_blocks(char *text, size_t len)
{
	char pci[256], path[320];

	if (zw_pci_path(pci, sizeof(pci)))
		return false;
	snprintf(path, sizeof(path), "/sys/kernel/debug/accel%s/hbm", strrchr(pci, '/'));
	for (int i = 0; i < PATIENT_TRIES; i++) {
		FILE *f = fopen(path, "re");

		if (!f)
			return false;
		text[fread(text, 1, len - 1, f)] = '\0';
		fclose(f);
		if (strstr(text, "to be scrubbed 0"))
			return true;
		usleep(100000);
	}
	return false;
}

/*
 * HBM that is free in small pieces only makes a buffer like any other, zeroed, and those around it
 * do not notice. When all is given back the blocks are as large as they were.
 */
TEST_F(mem, fragmented)
{
	const uint64_t va = 1024 * MIB, holes_va = 2048 * MIB, out_va = 3072 * MIB;
	uint64_t holes = PIECES / 2 * PIECE;
	static char before[16384], after[16384];
	uint32_t piece[PIECES], rest, bo;
	struct drm_zhenwu_dev_info info;
	struct zw_client c;
	struct zw_buf out;

	if (getuid() || access("/sys/kernel/debug/accel", R_OK))
		SKIP(return, "no debugfs");
	ASSERT_TRUE(zw_client_open(&c));
	ASSERT_TRUE(free_blocks(before, sizeof(before)));
	ASSERT_TRUE(zw_buf(c.fd, c.vm, holes, DRM_ZHENWU_BO_SYSTEM, out_va, &out));
	for (unsigned int i = 0; i < PIECES; i++) {
		piece[i] = zw_bo(c.fd, PIECE, DRM_ZHENWU_BO_HBM);
		ASSERT_NE(0, piece[i]);
		ASSERT_EQ(0, zw_bind(c.fd, c.vm, piece[i], 0, va + i * PIECE, PIECE, 0));
	}
	ASSERT_EQ(0, fill_or_copy(&c, va, 0, PIECES * PIECE, 0x5a5a5a5a));
	/* All that is not in small pieces goes to somebody else. */
	ASSERT_EQ(0, zw_info(c.fd, &info));
	rest = zw_bo(c.fd, info.hbm_free, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, rest);
	for (unsigned int i = 0; i < PIECES; i += 2) {
		ASSERT_EQ(0, zw_unbind(c.fd, c.vm, va + i * PIECE, PIECE));
		ASSERT_EQ(0, zw_bo_close(c.fd, piece[i]));
	}

	bo = zw_bo(c.fd, holes, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, bo);
	EXPECT_EQ(0, zw_bo(c.fd, PIECE, DRM_ZHENWU_BO_HBM));
	ASSERT_EQ(0, zw_bind(c.fd, c.vm, bo, 0, holes_va, holes, 0));
	memset(out.ptr, 0xff, holes);
	ASSERT_EQ(0, fill_or_copy(&c, out_va, holes_va, holes, 0));
	EXPECT_TRUE(all_are(out.ptr, holes, 0));
	ASSERT_EQ(0, fill_or_copy(&c, holes_va, 0, holes, 0xa5a5a5a5));
	ASSERT_EQ(0, fill_or_copy(&c, out_va, holes_va, holes, 0));
	EXPECT_TRUE(all_are(out.ptr, holes, 0xa5a5a5a5));
	for (unsigned int i = 1; i < PIECES; i += 2) {
		ASSERT_EQ(0, fill_or_copy(&c, out_va, va + i * PIECE, PIECE, 0));
		ASSERT_TRUE(all_are(out.ptr, PIECE, 0x5a5a5a5a)) TH_LOG("piece %u", i);
	}

	for (unsigned int i = 1; i < PIECES; i += 2) {
		ASSERT_EQ(0, zw_unbind(c.fd, c.vm, va + i * PIECE, PIECE));
		ASSERT_EQ(0, zw_bo_close(c.fd, piece[i]));
	}
	ASSERT_EQ(0, zw_unbind(c.fd, c.vm, holes_va, holes));
	ASSERT_EQ(0, zw_bo_close(c.fd, bo));
	ASSERT_EQ(0, zw_bo_close(c.fd, rest));
	ASSERT_TRUE(free_blocks(after, sizeof(after)));
	EXPECT_STREQ(before, after);
	zw_client_close(&c);
}

TEST_HARNESS_MAIN
