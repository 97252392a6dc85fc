// SPDX-License-Identifier: MIT
/* BO_MADVISE: what is taken when memory runs short, what never is, and what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define VA      (1024 * MIB)
#define SIZE    (8 * MIB)
#define VISIBLE (DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE)
#define SYSTEM  DRM_ZHENWU_BO_SYSTEM

#define NEED    DRM_ZHENWU_MADV_WILLNEED
#define NO_NEED DRM_ZHENWU_MADV_DONTNEED

FIXTURE(purge)
{
	int fd;
	uint32_t vm;
	struct drm_zhenwu_dev_info info;
	char purged[256]; /* path of the counter */
};

FIXTURE_SETUP(purge)
{
	self->fd = zw_open();
	if (self->fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	self->vm = zw_vm(self->fd);
	ASSERT_NE(0, self->vm);
	ASSERT_EQ(0, zw_info(self->fd, &self->info));
	ASSERT_EQ(0, zw_pci_path(self->purged, sizeof(self->purged) - 16));
	strcat(self->purged, "/purged_bytes");
}

FIXTURE_TEARDOWN(purge)
{
	close(self->fd);
}

/* Return: 1 when the contents are there, 0 when not, or -errno. */
static int madvise_bo(int fd, uint32_t bo, uint32_t madv)
{
	struct drm_zhenwu_bo_madvise m = {.handle = bo, .madv = madv};
	int ret = zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_MADVISE, &m);

	return ret ? ret : (int)m.retained;
}

static uint64_t number(const char *path)
{
	char text[64] = "";

	return zw_read_file(path, text, sizeof(text)) ? UINT64_MAX : strtoull(text, NULL, 10);
}

/* KiB of a key of a file such as fdinfo, 0 when it is 0 bytes; UINT64_MAX when it is not there. */
static uint64_t kib_of(const char *path, const char *key)
{
	char line[256], unit[8] = "";
	uint64_t value = UINT64_MAX;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) || line[strlen(key)] != ':')
			continue;
		if (sscanf(line + strlen(key) + 1, " %lu %7s", &value, unit) == 2 &&
		    !strcmp(unit, "MiB"))
			value *= 1024;
	}
	if (f)
		fclose(f);
	return value;
}

static uint64_t fdinfo_kib(int fd, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return kib_of(path, key);
}

static void fill(uint32_t *p, uint64_t size, uint32_t first)
{
	for (uint64_t i = 0; i < size / 4; i += 256)
		p[i] = first + (uint32_t)i;
}

static bool holds(const uint32_t *p, uint64_t size, uint32_t first)
{
	for (uint64_t i = 0; i < size / 4; i += 256)
		if (p[i] != first + (uint32_t)i)
			return false;
	return true;
}

static sigjmp_buf bus_error;

static void on_bus_error(int sig)
{
	siglongjmp(bus_error, sig);
}

/* Does a load raise SIGBUS. */
static bool is_gone(volatile uint32_t *p)
{
	struct sigaction old, act = {.sa_handler = on_bus_error};
	bool gone = true;

	sigaction(SIGBUS, &act, &old);
	if (!sigsetjmp(bus_error, 1)) {
		(void)*p;
		gone = false;
	}
	sigaction(SIGBUS, &old, NULL);
	return gone;
}

/* Has the kernel take all memory back that it can do without. */
static int shrink(void)
{
	return zw_write_file("/proc/sys/vm/drop_caches", "2");
}

TEST_F(purge, refused)
{
	struct drm_zhenwu_bo_madvise m = {.handle = zw_bo(self->fd, SIZE, SYSTEM)}, bad;
	struct drm_zhenwu_bo_create_userptr u = {.size = SIZE};
	void *own = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd;

	ASSERT_NE(0, m.handle);
	ASSERT_NE(MAP_FAILED, own);
	bad = m;
	bad.madv = 2;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MADVISE, &bad));
	bad = m;
	bad.retained = 1;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MADVISE, &bad));
	bad = m;
	bad.pad = 1;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_MADVISE, &bad));
	EXPECT_EQ(-ENOENT, madvise_bo(self->fd, 0, NO_NEED));

	/* Others may have the pages of these. */
	u.addr = (uintptr_t)own;
	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, &u));
	EXPECT_EQ(-EOPNOTSUPP, madvise_bo(self->fd, u.handle, NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, m.handle, NO_NEED));
	EXPECT_EQ(-1, drmPrimeHandleToFD(self->fd, m.handle, DRM_CLOEXEC, &fd));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, madvise_bo(self->fd, m.handle, NEED));
	ASSERT_EQ(0, drmPrimeHandleToFD(self->fd, m.handle, DRM_CLOEXEC, &fd));
	EXPECT_EQ(-EOPNOTSUPP, madvise_bo(self->fd, m.handle, NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, m.handle, NEED));
	close(fd);
	EXPECT_EQ(-EOPNOTSUPP, madvise_bo(self->fd, m.handle, NO_NEED));
}

/* While there is enough nothing is taken, and it can be asked for any number of times. */
TEST_F(purge, kept)
{
	static const uint32_t flags[] = {SYSTEM, VISIBLE};

	for (size_t i = 0; i < 2; i++) {
		uint32_t bo = zw_bo(self->fd, SIZE, flags[i]), *p = zw_map(self->fd, bo, SIZE);

		ASSERT_NE(NULL, p);
		fill(p, SIZE, 77);
		EXPECT_EQ(1, madvise_bo(self->fd, bo, NEED));
		EXPECT_EQ(1, madvise_bo(self->fd, bo, NO_NEED));
		EXPECT_EQ(1, madvise_bo(self->fd, bo, NO_NEED));
		EXPECT_EQ(1, madvise_bo(self->fd, bo, NEED));
		EXPECT_TRUE(holds(p, SIZE, 77));
	}
}

/* The shrinker takes what is not needed and not mapped, and nothing else. */
TEST_F(purge, system)
{
	enum { UNUSED, NEEDED, MAPPED, AGAIN, N };
	uint64_t before = number(self->purged), shared;
	uint32_t bo[N], *p[N];

	for (int i = 0; i < N; i++) {
		bo[i] = zw_bo(self->fd, SIZE, SYSTEM);
		p[i] = zw_map(self->fd, bo[i], SIZE);
		ASSERT_NE(NULL, p[i]);
		fill(p[i], SIZE, i);
	}
	ASSERT_EQ(0, zw_bind(self->fd, self->vm, bo[MAPPED], 0, VA, SIZE, 0));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[UNUSED], NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[MAPPED], NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[AGAIN], NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[AGAIN], NEED));
	EXPECT_EQ(2 * SIZE / 1024, fdinfo_kib(self->fd, "drm-purgeable-memory"));
	EXPECT_EQ(4 * SIZE / 1024, fdinfo_kib(self->fd, "drm-resident-memory"));
	shared = kib_of("/proc/meminfo", "Shmem");

	ASSERT_EQ(0, shrink());
	EXPECT_EQ(before + SIZE, number(self->purged));
	/* CPUs keep counts of their own: it is not exact. */
	EXPECT_GE(shared - SIZE / 1024 + 1024, kib_of("/proc/meminfo", "Shmem"));
	EXPECT_EQ(1 * SIZE / 1024, fdinfo_kib(self->fd, "drm-purgeable-memory"));
	EXPECT_EQ(3 * SIZE / 1024, fdinfo_kib(self->fd, "drm-resident-memory"));

	EXPECT_EQ(0, madvise_bo(self->fd, bo[UNUSED], NEED));
	EXPECT_EQ(0, madvise_bo(self->fd, bo[UNUSED], NO_NEED));
	EXPECT_TRUE(is_gone(p[UNUSED]));
	EXPECT_EQ(-ENODATA, zw_bind(self->fd, self->vm, bo[UNUSED], 0, VA + SIZE, SIZE, 0));
	for (int i = NEEDED; i < N; i++) {
		EXPECT_EQ(1, madvise_bo(self->fd, bo[i], NEED));
		EXPECT_TRUE(holds(p[i], SIZE, i));
	}
	/* What was mapped goes once it is not. */
	EXPECT_EQ(1, madvise_bo(self->fd, bo[MAPPED], NO_NEED));
	ASSERT_EQ(0, zw_unbind(self->fd, self->vm, VA, SIZE));
	ASSERT_EQ(0, shrink());
	EXPECT_EQ(0, madvise_bo(self->fd, bo[MAPPED], NEED));
	for (int i = 0; i < N; i++)
		EXPECT_EQ(0, zw_bo_close(self->fd, bo[i]));
}

/* When HBM is short, what was marked first goes first, no more than is needed, and shrinkers leave
 * HBM alone. */
TEST_F(purge, hbm)
{
	uint64_t quarter = self->info.hbm_free / 4 & ~(2 * MIB - 1), before = number(self->purged);
	uint32_t bo[4], more, *p;

	for (int i = 0; i < 3; i++) {
		bo[i] = zw_bo(self->fd, quarter, DRM_ZHENWU_BO_HBM);
		ASSERT_NE(0, bo[i]);
	}
	bo[3] = zw_bo(self->fd, SIZE, VISIBLE);
	p = zw_map(self->fd, bo[3], SIZE);
	ASSERT_NE(NULL, p);
	fill(p, SIZE, 5);
	EXPECT_EQ(1, madvise_bo(self->fd, bo[1], NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[0], NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[3], NO_NEED));
	ASSERT_EQ(0, zw_bind(self->fd, self->vm, bo[2], 0, VA, quarter, 0));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[2], NO_NEED));
	ASSERT_EQ(0, shrink());
	EXPECT_EQ(before, number(self->purged));

	more = zw_bo(self->fd, 2 * quarter - 2 * SIZE, DRM_ZHENWU_BO_HBM);
	EXPECT_NE(0, more);
	EXPECT_EQ(before + quarter, number(self->purged));
	EXPECT_EQ(0, madvise_bo(self->fd, bo[1], NEED));
	EXPECT_EQ(-ENODATA, zw_bind(self->fd, self->vm, bo[1], 0, VA + quarter, quarter, 0));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[0], NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[3], NEED));
	EXPECT_TRUE(holds(p, SIZE, 5));

	/* All else is needed or mapped. */
	EXPECT_EQ(0, zw_bo(self->fd, quarter, DRM_ZHENWU_BO_HBM));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(1, madvise_bo(self->fd, bo[3], NO_NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[0], NO_NEED));
	EXPECT_NE(0, zw_bo(self->fd, quarter, DRM_ZHENWU_BO_HBM));
	EXPECT_EQ(0, madvise_bo(self->fd, bo[3], NEED));
	EXPECT_TRUE(is_gone(p));
	EXPECT_EQ(0, madvise_bo(self->fd, bo[0], NEED));
	EXPECT_EQ(1, madvise_bo(self->fd, bo[2], NEED));
}

/* Who is at the limit of his share does not have others' buffers taken, and gains from his own. */
TEST_F(purge, shares)
{
	uint64_t part = self->info.hbm_size / 8 & ~(2 * MIB - 1);
	uint32_t theirs = zw_bo(self->fd, part, DRM_ZHENWU_BO_HBM);
	pid_t child;
	int status;

	ASSERT_NE(0, theirs);
	EXPECT_EQ(1, madvise_bo(self->fd, theirs, NO_NEED));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		int fd = zw_open();
		uint32_t own = zw_bo(fd, 3 * part, DRM_ZHENWU_BO_HBM);

		if (!own)
			_exit(1);
		if (zw_bo(fd, 2 * part, DRM_ZHENWU_BO_HBM) || errno != ENOSPC)
			_exit(2);
		if (madvise_bo(fd, own, NO_NEED) != 1)
			_exit(3);
		if (!zw_bo(fd, 2 * part, DRM_ZHENWU_BO_HBM))
			_exit(4);
		_exit(madvise_bo(fd, own, NEED) ? 5 : 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(1, madvise_bo(self->fd, theirs, NEED));
}

TEST_HARNESS_MAIN
