// SPDX-License-Identifier: MIT
/*
 * Buffer objects over memory of the process: what the device sees and may do, what is refused, how
 * much may be pinned, and when it is let go.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define DRIVER   "/sys/bus/pci/drivers/zhenwu/"
#define VA       (1024 * MIB) /* where the memory under test is */
#define OTHER_VA (2048 * MIB) /* and the buffer it is copied to */
#define PAGE     4096ul

FIXTURE(userptr)
{
	struct zw_client c;
	struct zw_buf other; /* 4 MiB of system memory */
};

FIXTURE_SETUP(userptr)
{
	if (!zw_client_open(&self->c)) {
		if (self->c.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, 4 * MIB, DRM_ZHENWU_BO_SYSTEM, OTHER_VA,
			   &self->other));
}

FIXTURE_TEARDOWN(userptr)
{
	zw_client_close(&self->c);
}

static int create(int fd, const void *ptr, uint64_t size, uint32_t flags, uint32_t *bo)
{
	struct drm_zhenwu_bo_create_userptr u = {
		.addr = (uintptr_t)ptr, .size = size, .flags = flags};
	int ret = zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, &u);

	*bo = u.handle;
	return ret;
}

static void *anon(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A file in memory whose 32-bit words count up from `first`. */
static int counting_file(uint64_t size, uint32_t first)
{
	int fd = memfd_create("userptr", MFD_CLOEXEC);

	for (uint64_t at = 0; fd >= 0 && at < size; at += PAGE) {
		uint32_t words[PAGE / 4];

		for (size_t i = 0; i < PAGE / 4; i++)
			words[i] = first++;
		if (pwrite(fd, words, PAGE, (off_t)at) != (ssize_t)PAGE) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

static bool counts(const void *ptr, uint64_t size, uint32_t first)
{
	const uint32_t *w = ptr;

	for (uint64_t i = 0; i < size / 4; i++)
		if (w[i] != first + (uint32_t)i)
			return false;
	return true;
}

/* Jobs that copy between the memory under test and the other buffer. */
static int copy_out(struct zw_client *c, uint64_t size)
{
	c->pos = 0;
	zw_put_copy(c->cmd.ptr, &c->pos, OTHER_VA, VA, size);
	return zw_client_run(c, 0);
}

static int fill(struct zw_client *c, uint64_t size, uint32_t pattern)
{
	c->pos = 0;
	zw_put_fill(c->cmd.ptr, &c->pos, VA, size, pattern);
	return zw_client_run(c, 0);
}

/* Pages this process has pinned. */
static long pinned(void)
{
	char line[256];
	long kib = -1;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmPin: %ld kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib < 0 ? -1 : kib * 1024 / (long)PAGE;
}

/* Pages anybody has pinned: acquired and not released. */
static long pinned_in_system(void)
{
	long acquired = 0, released = 0, n;
	char name[64];
	FILE *f;

	/* Reading it adds up what the CPUs have counted for themselves. */
	zw_read_file("/proc/sys/vm/stat_refresh", name, sizeof(name));
	f = fopen("/proc/vmstat", "re");

	while (f && fscanf(f, "%63s %ld", name, &n) == 2) {
		if (!strcmp(name, "nr_foll_pin_acquired"))
			acquired = n;
		if (!strcmp(name, "nr_foll_pin_released"))
			released = n;
	}
	if (f)
		fclose(f);
	return acquired - released;
}

/* Others who pin let go of it soon. */
static bool pinned_in_system_becomes(long pages)
{
	int64_t end = zw_deadline(LONG_WAIT_NS / 4);

	while (pinned_in_system() != pages && zw_deadline(0) < end)
		usleep(100000);
	return pinned_in_system() == pages;
}

TEST_F(userptr, both_ways)
{
	struct zw_client *c = &self->c;
	const uint64_t size = 4 * MIB;
	/* Not where large pages are, so that all there are of either are crossed. */
	char *all = anon(2 * size), *p = all + 3 * PAGE;
	struct drm_zhenwu_bo_query_info q = {0};
	uint32_t *w = (uint32_t *)p;

	ASSERT_NE(NULL, all);
	madvise(all, 2 * size, MADV_HUGEPAGE);
	for (uint64_t i = 0; i < size / 4; i++)
		w[i] = (uint32_t)i + 7;
	ASSERT_EQ(0, create(c->fd, p, size, 0, &q.handle));
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q));
	EXPECT_EQ(size, q.size);
	EXPECT_EQ(DRM_ZHENWU_BO_USERPTR | DRM_ZHENWU_BO_SYSTEM, q.flags);
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, q.placement);
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, q.handle, 0, VA, size, 0));
	ASSERT_EQ(0, copy_out(c, size));
	EXPECT_TRUE(counts(self->other.ptr, size, 7));
	/* What the host writes later is seen, and what the device writes. */
	w[5] = 99;
	ASSERT_EQ(0, copy_out(c, PAGE));
	EXPECT_EQ(99, ((uint32_t *)self->other.ptr)[5]);
	ASSERT_EQ(0, fill(c, size, 0x12345678));
	for (uint64_t i = 0; i < size / 4; i++) {
		ASSERT_EQ(0x12345678, w[i]);
	}
	EXPECT_EQ(0, *(uint32_t *)all);
	EXPECT_EQ(0, *(uint32_t *)(p + size));
	/* A part of it, elsewhere. */
	w[2 * PAGE / 4] = 5;
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, q.handle, 2 * PAGE, VA, PAGE, 0));
	ASSERT_EQ(0, copy_out(c, PAGE));
	EXPECT_EQ(5, *(uint32_t *)self->other.ptr);
}

/* Buffers may share pages, in part and as often as one likes; each keeps them on its own. */
TEST_F(userptr, pages_of_several_buffers)
{
	struct zw_client *c = &self->c;
	uint32_t bo[10], *p = anon(2 * MIB);

	ASSERT_NE(NULL, p);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, create(c->fd, (char *)p + i * 4 * PAGE, MIB, 0, &bo[i]));
	}
	EXPECT_EQ(10 * MIB / PAGE, pinned());
	/* Written through the one, read through the other, which begins four pages further on. */
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo[0], 0, VA, MIB, 0));
	ASSERT_EQ(0, fill(c, MIB, 0x600df00d));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo[1], 0, VA, MIB, 0));
	p[MIB / 4] = 8;
	ASSERT_EQ(0, copy_out(c, MIB));
	EXPECT_EQ(0x600df00d, ((uint32_t *)self->other.ptr)[0]);
	EXPECT_EQ(8, ((uint32_t *)self->other.ptr)[(MIB - 4 * PAGE) / 4]);
	ASSERT_EQ(0, zw_bo_close(c->fd, bo[0]));
	p[4 * PAGE / 4] = 9;
	ASSERT_EQ(0, copy_out(c, MIB));
	EXPECT_EQ(9, ((uint32_t *)self->other.ptr)[0]);
	for (int i = 1; i < 10; i++) {
		ASSERT_EQ(0, zw_bo_close(c->fd, bo[i]));
	}
}

TEST_F(userptr, exclusive_to_a_vm)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_bo_create_userptr u = {
		.addr = (uintptr_t)anon(MIB), .size = MIB, .exclusive_vm_id = c->vm};
	uint32_t other = zw_vm(c->fd);

	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, &u));
	EXPECT_EQ(-EINVAL, zw_bind(c->fd, other, u.handle, 0, VA, MIB, 0));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, u.handle, 0, VA, MIB, 0));
	EXPECT_EQ(0, zw_bo_close(c->fd, u.handle));
	EXPECT_EQ(0, fill(c, MIB, 3));
	EXPECT_EQ(3, *(uint32_t *)(uintptr_t)u.addr);
	u.handle = 0;
	u.exclusive_vm_id = 0x7fff;
	EXPECT_EQ(-ENOENT, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, &u));
}

/* The pages of a file themselves, of a shared mapping; a private one is the process's own. */
TEST_F(userptr, files)
{
	struct zw_client *c = &self->c;
	int fd = counting_file(MIB, 100);
	uint32_t shared, private, word = 1;
	char *s, *p;

	ASSERT_LE(0, fd);
	s = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
	p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, s);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, create(c->fd, s, MIB, DRM_ZHENWU_BO_READONLY, &shared));
	ASSERT_EQ(0, create(c->fd, p, MIB, DRM_ZHENWU_BO_READONLY, &private));
	ASSERT_EQ(4, pwrite(fd, &word, 4, 0));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, shared, 0, VA, MIB, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	ASSERT_EQ(0, copy_out(c, MIB));
	EXPECT_EQ(1, *(uint32_t *)self->other.ptr);
	EXPECT_TRUE(counts((char *)self->other.ptr + 4, MIB - 4, 101));
	ASSERT_EQ(0,
		  zw_bind(c->fd, c->vm, private, 0, VA, MIB, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	ASSERT_EQ(0, copy_out(c, MIB));
	EXPECT_TRUE(counts(self->other.ptr, MIB, 100));
	/* What the process writes to it, the device sees: it is the same page still. */
	*(uint32_t *)p = 77;
	ASSERT_EQ(0, copy_out(c, PAGE));
	EXPECT_EQ(77, *(uint32_t *)self->other.ptr);
	/* The file's end may come closer: the pages stay with who pinned them. */
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, shared, 0, VA, MIB, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, copy_out(c, MIB));
	EXPECT_TRUE(counts((char *)self->other.ptr + 4, MIB - 4, 101));
	/* Behind its end there is nothing. */
	EXPECT_EQ(-EFAULT, create(c->fd, s, MIB, DRM_ZHENWU_BO_READONLY, &shared));
}

/* A file on a disk, or what the test runs from: its pages, but not to write to. */
TEST_F(userptr, files_of_other_file_systems)
{
	struct zw_client *c = &self->c;
	int fd = open("/proc/self/exe", O_RDONLY);
	void *p = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	void *q = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	uint32_t bo;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_NE(MAP_FAILED, q);
	EXPECT_EQ(-EFAULT, create(c->fd, p, 4 * PAGE, 0, &bo));
	ASSERT_EQ(0, create(c->fd, p, 4 * PAGE, DRM_ZHENWU_BO_READONLY, &bo));
	ASSERT_EQ(0,
		  zw_bind(c->fd, c->vm, bo, 0, VA, 4 * PAGE, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	ASSERT_EQ(0, copy_out(c, 4 * PAGE));
	EXPECT_EQ(0, memcmp(p, self->other.ptr, 4 * PAGE));
	/* Written to in a private mapping, it is a copy. */
	ASSERT_EQ(0, create(c->fd, q, 4 * PAGE, 0, &bo));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, 4 * PAGE, 0));
	ASSERT_EQ(0, fill(c, PAGE, 9));
	EXPECT_EQ(9, *(uint32_t *)q);
	EXPECT_NE(9, *(uint32_t *)p);
	EXPECT_EQ(0, memcmp((char *)p + PAGE, (char *)q + PAGE, 3 * PAGE));
}

TEST_F(userptr, readonly_is_enforced)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_queue_get_state st;
	uint32_t *p = anon(MIB), bo;

	p[0] = 1;
	ASSERT_EQ(0, mprotect(p, MIB, PROT_READ));
	EXPECT_EQ(-EFAULT, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, create(c->fd, p, MIB, DRM_ZHENWU_BO_READONLY, &bo));
	EXPECT_EQ(-EACCES, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	/* Also in what remains of a mapping that is cut. */
	ASSERT_EQ(0, zw_unbind(c->fd, c->vm, VA + 16 * PAGE, PAGE));
	ASSERT_EQ(0, copy_out(c, 4));
	EXPECT_EQ(1, *(uint32_t *)self->other.ptr);
	fill(c, 4, 2);
	EXPECT_EQ(-EIO, zw_fence_status_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(ZW_FAULT_PERMISSION, st.reason);
	EXPECT_EQ(1, p[0]);
}

TEST_F(userptr, bad_arguments)
{
	struct zw_client *c = &self->c;
	const uint64_t p = (uintptr_t)anon(MIB);
	const struct {
		struct drm_zhenwu_bo_create_userptr u;
		int ret;
	} bad[] = {
		{{.addr = p, .size = 0}, -EINVAL},
		{{.addr = p + 1, .size = PAGE}, -EINVAL},
		{{.addr = p, .size = PAGE + 8}, -EINVAL},
		{{.addr = p, .size = PAGE, .flags = DRM_ZHENWU_BO_USERPTR}, -EINVAL},
		{{.addr = p, .size = PAGE, .flags = DRM_ZHENWU_BO_SYSTEM}, -EINVAL},
		{{.addr = p, .size = PAGE, .flags = 1u << 31}, -EINVAL},
		{{.addr = p, .size = PAGE, .handle = 1}, -EINVAL},
		{{.addr = p, .size = PAGE, .pad = 1}, -EINVAL},
		{{.addr = -PAGE, .size = PAGE}, -EINVAL},      /* its end is 0 */
		{{.addr = p, .size = -PAGE}, -EINVAL},         /* goes round */
		{{.addr = -2 * PAGE, .size = PAGE}, -EFAULT},  /* the kernel's */
		{{.addr = 1ull << 63, .size = PAGE}, -EFAULT}, /* nobody's */
		{{.addr = 0, .size = PAGE}, -EFAULT},
		{{.addr = p, .size = 1ull << 62}, -EFAULT},
		{{.addr = PAGE, .size = 1ull << 46}, -ENOMEM}, /* more than there is */
	};
	struct drm_zhenwu_bo_create b = {.size = PAGE};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct drm_zhenwu_bo_create_userptr u = bad[i].u;

		EXPECT_EQ(bad[i].ret, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, &u))
		TH_LOG("case %zu", i);
	}
	b.flags = DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_USERPTR;
	EXPECT_EQ(-EINVAL, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b));
	b.flags = DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_READONLY;
	EXPECT_EQ(-EINVAL, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b));
	EXPECT_EQ(0, pinned());
}

/* What is not memory of the process, in front of, in the middle of or behind what is. */
TEST_F(userptr, bad_ranges)
{
	struct zw_client *c = &self->c;
	char *p = anon(3 * MIB), *s;
	struct zw_buf hbm;
	long before;
	uint32_t bo;
	int fd;

	ASSERT_NE(NULL, p);
	memset(p, 1, 3 * MIB);
	before = pinned_in_system();
	ASSERT_TRUE(
		zw_buf(c->fd, c->vm, MIB, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE, VA, &hbm));
	for (int readonly = 0; readonly < 2; readonly++) {
		uint32_t flags = readonly ? DRM_ZHENWU_BO_READONLY : 0;
		char *hole;

		for (hole = p; hole < p + 3 * MIB; hole += 3 * MIB - PAGE - (hole == p ? MIB : 0)) {
			ASSERT_EQ(0, mprotect(hole, PAGE, PROT_NONE));
			EXPECT_EQ(-EFAULT, create(c->fd, p, 3 * MIB, flags, &bo));
			ASSERT_EQ(0, munmap(hole, PAGE));
			EXPECT_EQ(-EFAULT, create(c->fd, p, 3 * MIB, flags, &bo));
			ASSERT_EQ(hole, mmap(hole, PAGE, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		}
		/* Buffers of the device are no memory of the process. */
		EXPECT_EQ(-EFAULT, create(c->fd, self->other.ptr, MIB, flags, &bo));
		EXPECT_EQ(-EFAULT, create(c->fd, hbm.ptr, MIB, flags, &bo));
		fd = syscall(SYS_memfd_secret, 0);
		if (fd >= 0 && !ftruncate(fd, MIB)) {
			s = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			if (s != MAP_FAILED) {
				s[0] = 1;
				EXPECT_EQ(-EFAULT, create(c->fd, s, MIB, flags, &bo));
				munmap(s, MIB);
			}
		}
		if (fd >= 0)
			close(fd);
	}
	EXPECT_EQ(0, pinned());
	EXPECT_TRUE(pinned_in_system_becomes(before));
	/* And the rest is none the worse. */
	EXPECT_EQ(0, create(c->fd, p, 3 * MIB, 0, &bo));
}

TEST_F(userptr, cannot_be_mapped_or_shared)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_bo_mmap_offset o = {0};
	int fd = -1;

	ASSERT_EQ(0, create(c->fd, anon(MIB), MIB, 0, &o.handle));
	EXPECT_EQ(-EACCES, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o));
	EXPECT_NE(0, drmPrimeHandleToFD(c->fd, o.handle, DRM_CLOEXEC, &fd));
}

/* What the process does to its addresses does not matter to the device. */
TEST_F(userptr, munmap_under_the_device)
{
	struct zw_client *c = &self->c;
	uint32_t *p = anon(MIB), bo;

	p[0] = 1;
	p[PAGE / 4] = 2;
	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	ASSERT_EQ(0, munmap(p, MIB));
	ASSERT_EQ(p, mmap(p, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			  -1, 0));
	p[0] = 3;
	/* Others get pages now. */
	memset(anon(8 * MIB), 0x55, 8 * MIB);
	ASSERT_EQ(0, copy_out(c, MIB));
	EXPECT_EQ(1, ((uint32_t *)self->other.ptr)[0]);
	EXPECT_EQ(2, ((uint32_t *)self->other.ptr)[PAGE / 4]);
	EXPECT_EQ(0, fill(c, MIB, 4));
	EXPECT_EQ(3, p[0]);
}

TEST_F(userptr, discarded_under_the_device)
{
	struct zw_client *c = &self->c;
	uint32_t *p = anon(MIB), bo;

	p[0] = 1;
	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	ASSERT_EQ(0, madvise(p, MIB, MADV_DONTNEED));
	EXPECT_EQ(0, p[0]);
	ASSERT_EQ(0, copy_out(c, PAGE));
	EXPECT_EQ(1, *(uint32_t *)self->other.ptr);
}

/* The page stays with the parent, whoever writes to it first. */
TEST_F(userptr, fork)
{
	struct zw_client *c = &self->c;
	uint32_t *p = anon(MIB), bo, mine;
	int status = 1;
	pid_t pid;

	p[0] = 1;
	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	pid = fork();
	if (!pid) {
		/* The child has a copy; what it pins counts as its own. */
		int bad = p[0] != 1 || pinned() != 0;

		p[0] = 2;
		bad |= create(c->fd, p, MIB, 0, &mine) || pinned() != MIB / PAGE;
		_exit(bad || zw_bo_close(c->fd, mine) || pinned() != 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, p[0]);
	p[0] = 3;
	ASSERT_EQ(0, copy_out(c, PAGE));
	EXPECT_EQ(3, *(uint32_t *)self->other.ptr);
	ASSERT_EQ(0, fill(c, PAGE, 4));
	EXPECT_EQ(4, p[0]);
}

/* Pinned until the handle is closed and nothing maps it: by parts, by other VMs, by their ends. */
TEST_F(userptr, lifetime)
{
	struct zw_client *c = &self->c;
	const long pages = MIB / PAGE;
	uint32_t *p = anon(MIB), bo, vm = zw_vm(c->fd);
	long before = pinned_in_system();

	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	EXPECT_EQ(pages, pinned());
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	ASSERT_EQ(0, zw_bind(c->fd, vm, bo, 0, VA, MIB, 0));
	ASSERT_EQ(0, zw_bo_close(c->fd, bo));
	EXPECT_EQ(pages, pinned());
	ASSERT_EQ(0, fill(c, MIB, 1));
	EXPECT_EQ(1, p[MIB / 4 - 1]);
	ASSERT_EQ(0, zw_unbind(c->fd, c->vm, VA, MIB / 2));
	ASSERT_EQ(0, zw_unbind(c->fd, c->vm, VA + MIB / 2, MIB / 2));
	EXPECT_EQ(pages, pinned());
	ASSERT_EQ(0, zw_vm_destroy(c->fd, vm));
	EXPECT_EQ(0, pinned());
	EXPECT_TRUE(pinned_in_system_becomes(before));
	/* The same memory twice counts twice. */
	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, create(c->fd, p, MIB, DRM_ZHENWU_BO_READONLY, &bo));
	EXPECT_EQ(2 * pages, pinned());
	/* With the file it all goes, of which mappings are the last users. */
	munmap(self->other.ptr, self->other.size);
	zw_client_close(c);
	EXPECT_EQ(0, pinned());
	EXPECT_TRUE(pinned_in_system_becomes(before));
}

/* A job that is on its way to memory that is taken away from it faults, and writes nothing. */
TEST_F(userptr, taken_from_a_running_job)
{
	struct zw_client *c = &self->c;
	volatile uint64_t *sem = (void *)((char *)c->cmd.ptr + 61440);
	uint32_t *p = anon(MIB), bo;

	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	ASSERT_EQ(0, zw_bo_close(c->fd, bo));
	c->pos = 0;
	zw_put_fill(c->cmd.ptr, &c->pos, VA, 64, 1);
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + 61440, 1);
	zw_put_fill(c->cmd.ptr, &c->pos, VA, MIB, 2);
	ASSERT_EQ(0, zw_client_submit(c, 0, 0));
	for (int i = 0; i < 6000 && *(volatile uint32_t *)p != 1; i++)
		usleep(10000);
	ASSERT_EQ(1, p[0]);
	EXPECT_EQ(MIB / PAGE, pinned());
	ASSERT_EQ(0, zw_unbind(c->fd, c->vm, VA, MIB));
	EXPECT_EQ(0, pinned());
	*sem = 1;
	EXPECT_EQ(-EIO, zw_fence_status_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS));
	for (uint64_t i = 16; i < MIB / 4; i++) {
		ASSERT_EQ(0, p[i]);
	}
}

TEST_F(userptr, limit)
{
	struct zw_client *c = &self->c;
	struct rlimit limit = {.rlim_cur = 16 * PAGE, .rlim_max = 16 * PAGE};
	char *p = anon(MIB);
	uint32_t bo[2], more;

	if (geteuid() != 0)
		SKIP(return, "needs root");
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	/* The administrator is not bound by it. */
	ASSERT_EQ(0, create(c->fd, p, 17 * PAGE, 0, &more));
	ASSERT_EQ(0, zw_bo_close(c->fd, more));
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-ENOMEM, create(c->fd, p, 17 * PAGE, 0, &more));
	EXPECT_EQ(-ENOMEM, create(c->fd, p, 17 * PAGE, DRM_ZHENWU_BO_READONLY, &more));
	ASSERT_EQ(0, create(c->fd, p, 16 * PAGE, 0, &more));
	EXPECT_EQ(-ENOMEM, create(c->fd, p, PAGE, 0, &bo[0]));
	ASSERT_EQ(0, zw_bo_close(c->fd, more));
	ASSERT_EQ(0, create(c->fd, p, 8 * PAGE, 0, &bo[0]));
	ASSERT_EQ(0, create(c->fd, p + MIB / 2, 8 * PAGE, 0, &bo[1]));
	EXPECT_EQ(-ENOMEM, create(c->fd, p, PAGE, 0, &more));
	/* What fails later takes nothing. */
	ASSERT_EQ(0, zw_bo_close(c->fd, bo[0]));
	for (int i = 0; i < 32; i++)
		EXPECT_EQ(-EFAULT, create(c->fd, NULL, 8 * PAGE, 0, &more));
	EXPECT_EQ(8, pinned());
	EXPECT_EQ(0, create(c->fd, p, 8 * PAGE, 0, &bo[0]));
}

/* Killed with a job in flight that uses its memory: all of it comes back. */
TEST_F_TIMEOUT(userptr, process_death, 180)
{
	long before = pinned_in_system();
	int status, ready[2];
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		struct zw_client c;
		uint32_t bo;
		void *p = anon(8 * MIB);

		if (!zw_client_open(&c) || create(c.fd, p, 8 * MIB, 0, &bo) ||
		    zw_bind(c.fd, c.vm, bo, 0, VA, 8 * MIB, 0))
			_exit(1);
		zw_put_fill(c.cmd.ptr, &c.pos, VA, 8 * MIB, 1);
		zw_put_sem(c.cmd.ptr, &c.pos, ZW_OP_SEM_WAIT, c.cmd.va + 61440, 1);
		zw_put_fill(c.cmd.ptr, &c.pos, VA, 8 * MIB, 1);
		if (zw_client_submit(&c, 0, 0) || write(ready[1], &byte, 1) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(pinned_in_system_becomes(before));
	EXPECT_TRUE(zw_client_works(&self->c));
}

/* -- memory that does not come ---------------------------------------------------------------- */

struct slow {
	int uffd, fd, ret;
	uint32_t bo;
	void *page;
	struct uffdio_range range;
};

/* A page that is there when it is given. */
static bool slow_page(struct slow *s, int fd)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	*s = (struct slow){.fd = fd, .page = anon(PAGE)};
	s->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	reg.range = s->range = (struct uffdio_range){(uintptr_t)s->page, PAGE};
	return s->uffd >= 0 && !ioctl(s->uffd, UFFDIO_API, &api) &&
	       !ioctl(s->uffd, UFFDIO_REGISTER, &reg);
}

static int slow_page_give(struct slow *s)
{
	struct uffdio_zeropage zero = {.range = s->range};

	return ioctl(s->uffd, UFFDIO_ZEROPAGE, &zero);
}

static void *slow_create(void *arg)
{
	struct slow *s = arg;

	s->ret = create(s->fd, s->page, PAGE, 0, &s->bo);
	return NULL;
}

TEST_F_TIMEOUT(userptr, killed_while_it_waits, 120)
{
	struct slow s;
	int status = 0;
	pid_t pid;

	if (!slow_page(&s, self->c.fd))
		SKIP(return, "no userfaultfd");
	close(s.uffd);
	pid = fork();
	if (!pid) {
		if (!slow_page(&s, self->c.fd))
			_exit(1);
		slow_create(&s);
		_exit(2);
	}
	usleep(500000);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(zw_client_works(&self->c));
}

static void *unbind_driver(void *bdf)
{
	return (void *)(intptr_t)zw_write_file(DRIVER "unbind", bdf);
}

/* The device goes, with memory of the process mapped, more being pinned, and a job on it. */
TEST_F_TIMEOUT(userptr, device_goes, 300)
{
	struct zw_client *c = &self->c;
	long before = pinned_in_system();
	pthread_t creator, unbinder;
	char pci[300], *bdf;
	struct timespec until;
	uint32_t *p = anon(MIB), bo;
	struct slow s;
	void *ret;

	if (geteuid() != 0 || !slow_page(&s, c->fd))
		SKIP(return, "needs root and userfaultfd");
	ASSERT_EQ(0, zw_pci_path(pci, sizeof(pci)));
	bdf = strrchr(pci, '/') + 1;
	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	c->pos = 0;
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + 61440, 1);
	zw_put_fill(c->cmd.ptr, &c->pos, VA, MIB, 2);
	ASSERT_EQ(0, zw_client_submit(c, 0, 0));
	ASSERT_EQ(0, pthread_create(&creator, NULL, slow_create, &s));
	usleep(500000);
	ASSERT_EQ(0, pthread_create(&unbinder, NULL, unbind_driver, bdf));
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 40;
	EXPECT_EQ(0, pthread_timedjoin_np(unbinder, &ret, &until));
	EXPECT_EQ(0, slow_page_give(&s));
	ASSERT_EQ(0, pthread_join(creator, &ret));
	EXPECT_EQ(-ENODEV, s.ret);
	EXPECT_EQ(-ENODEV, create(c->fd, p, MIB, 0, &s.bo));
	EXPECT_EQ(0, p[0]);
	EXPECT_EQ(MIB / PAGE, pinned());
	for (int i = 0; i < PATIENT_TRIES && zw_write_file(DRIVER "bind", bdf); i++)
		usleep(100000);
	munmap(self->other.ptr, self->other.size);
	zw_client_close(c);
	EXPECT_EQ(0, pinned());
	EXPECT_TRUE(pinned_in_system_becomes(before));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* A function level reset takes the VM, not the memory. */
TEST_F_TIMEOUT(userptr, function_level_reset, 180)
{
	struct zw_client *c = &self->c;
	uint32_t *p = anon(MIB), bo, vm;
	char pci[300], path[320];

	if (geteuid() != 0 || zw_pci_path(pci, sizeof(pci)))
		SKIP(return, "needs root");
	ASSERT_EQ(0, create(c->fd, p, MIB, 0, &bo));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, bo, 0, VA, MIB, 0));
	snprintf(path, sizeof(path), "%s/reset", pci);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	p[0] = 1;
	EXPECT_EQ(MIB / PAGE, pinned());
	vm = zw_vm(c->fd);
	ASSERT_NE(0, vm);
	EXPECT_EQ(0, zw_bind(c->fd, vm, bo, 0, VA, MIB, 0));
	EXPECT_EQ(0, zw_bo_close(c->fd, bo));
	EXPECT_EQ(0, zw_vm_destroy(c->fd, c->vm));
	EXPECT_EQ(0, zw_queue_destroy(c->fd, c->queue));
	EXPECT_EQ(MIB / PAGE, pinned());
	EXPECT_EQ(0, zw_vm_destroy(c->fd, vm));
	EXPECT_EQ(0, pinned());
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_HARNESS_MAIN
