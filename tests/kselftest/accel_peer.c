// SPDX-License-Identifier: MIT
/*
 * Buffers of one device in another one: HBM itself where the kernel knows a way between the two (ZW_P2P=1: it has to),
 * else the pages that the buffer is moved to. tests/vm/peer has a machine with two below a switch.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_evict.h"

#define BYTES   (3 * MIB)
#define AT      (1ull << 30)
#define OWN_AT  (2ull << 30)
#define PATTERN 0x600d600du
#define SEEN    (DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE)

FIXTURE(peer)
{
	struct zw_client c[2];
	bool p2p; /* the kernel knows a way */
};

static int export_bo(int fd, uint32_t bo)
{
	int buf = -1;

	return drmPrimeHandleToFD(fd, bo, DRM_CLOEXEC | DRM_RDWR, &buf) ? -errno : buf;
}

/* 0: the handle, or -errno. */
static int import_buf(int fd, int buf, uint32_t *handle)
{
	return drmPrimeFDToHandle(fd, buf, handle) ? -errno : 0;
}

static bool find_way(const struct zw_client *c)
{
	int buf = export_bo(c[0].fd, zw_bo(c[0].fd, 4096, SEEN));
	uint32_t bo = 0;
	int ret = import_buf(c[1].fd, buf, &bo);

	close(buf);
	if (!ret)
		zw_bo_close(c[1].fd, bo);
	return !ret;
}

FIXTURE_SETUP(peer)
{
	int fd = zw_open_number(1);

	if (fd < 0)
		SKIP(return, "no two devices");
	ASSERT_TRUE(zw_client_open(&self->c[0]));
	ASSERT_TRUE(zw_client_open_fd(&self->c[1], fd));
	self->p2p = find_way(self->c);
	if (zw_number_of("ZW_P2P", 0))
		ASSERT_TRUE(self->p2p);
}

FIXTURE_TEARDOWN(peer)
{
	zw_client_close(&self->c[0]);
	zw_client_close(&self->c[1]);
}

/* A device fills what is at va. */
static int fill(struct zw_client *c, uint64_t va, uint32_t pattern)
{
	c->pos = 0;
	zw_put_fill(c->cmd.ptr, &c->pos, va, BYTES, pattern);
	if (zw_client_run(c, 0))
		return -EINVAL;
	return zw_client_outcome(c) == 1 ? 0 : zw_client_outcome(c);
}

/* What a device reads at va is all that: it copies the whole to memory of its own. */
static bool reads(struct zw_client *c, uint64_t va, uint32_t pattern)
{
	struct zw_buf out;
	bool same = zw_buf(c->fd, c->vm, BYTES, DRM_ZHENWU_BO_SYSTEM, OWN_AT, &out);

	c->pos = 0;
	zw_put_copy(c->cmd.ptr, &c->pos, OWN_AT, va, BYTES);
	same = same && !zw_client_run(c, 0) && zw_client_outcome(c) == 1;
	for (uint32_t i = 0; same && i < BYTES / 4; i++)
		same = ((volatile uint32_t *)out.ptr)[i] == pattern;
	munmap(out.ptr, BYTES);
	zw_unbind(c->fd, c->vm, OWN_AT, BYTES);
	zw_bo_close(c->fd, out.bo);
	return same;
}

/* A buffer of the first device's, mapped in both at AT; its descriptor, or -errno. */
static int share(struct zw_client *c, uint32_t flags, uint32_t bo[2])
{
	int buf, ret;

	bo[0] = zw_bo(c[0].fd, BYTES, flags);
	if (!bo[0] || zw_bind(c[0].fd, c[0].vm, bo[0], 0, AT, BYTES, 0) || fill(&c[0], AT, PATTERN))
		return -ENOMEM;
	buf = export_bo(c[0].fd, bo[0]);
	if (buf < 0)
		return buf;
	ret = import_buf(c[1].fd, buf, &bo[1]);
	if (!ret)
		ret = zw_bind(c[1].fd, c[1].vm, bo[1], 0, AT, BYTES, 0);
	if (ret)
		close(buf);
	return ret ? ret : buf;
}

/* The sysfs folder of a device. */
static void folder(int fd, char *path, size_t len)
{
	char link[64], real[PATH_MAX] = "";
	struct stat st;

	fstat(fd, &st);
	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/device", major(st.st_rdev),
		 minor(st.st_rdev));
	snprintf(path, len, "%s", realpath(link, real) ? real : "");
}

/* Both see what either writes; `first`: where the buffer is to begin with, `then`: when it is shared. */
static bool both_see(struct zw_client *c, uint32_t flags, uint32_t first, uint32_t then)
{
	uint32_t bo[2], probe = zw_bo(c[0].fd, 4096, flags);
	bool good = placement(c[0].fd, probe) == first;
	int buf = share(c, flags, bo);

	if (buf < 0)
		return false;
	good = good && placement(c[0].fd, bo[0]) == then && reads(&c[1], AT, PATTERN) &&
	       !fill(&c[1], AT, ~PATTERN) && reads(&c[0], AT, ~PATTERN);
	close(buf);
	return good;
}

TEST_F(peer, hbm)
{
	if (!self->p2p)
		SKIP(return, "the kernel knows no way from device to device");
	EXPECT_TRUE(both_see(self->c, SEEN, DRM_ZHENWU_BO_HBM, DRM_ZHENWU_BO_HBM));
}

/* Nobody but the CPU's reach says whether another device can have it where it is. */
TEST_F(peer, moved_to_memory)
{
	EXPECT_TRUE(both_see(self->c, BOTH, DRM_ZHENWU_BO_HBM, DRM_ZHENWU_BO_SYSTEM));
	EXPECT_TRUE(both_see(self->c, BOTH | DRM_ZHENWU_BO_CPU_VISIBLE, DRM_ZHENWU_BO_HBM,
			     self->p2p ? DRM_ZHENWU_BO_HBM : DRM_ZHENWU_BO_SYSTEM));
	EXPECT_TRUE(both_see(self->c, DRM_ZHENWU_BO_SYSTEM, DRM_ZHENWU_BO_SYSTEM,
			     DRM_ZHENWU_BO_SYSTEM));
}

/* It goes back when the other one has let go, and not before. */
TEST_F(peer, comes_back)
{
	struct zw_client *c = self->c;
	uint32_t bo[2];
	int buf = share(c, BOTH, bo);

	ASSERT_GE(buf, 0);
	close(buf);
	EXPECT_TRUE(reads(&c[0], AT, PATTERN));
	EXPECT_EQ(placement(c[0].fd, bo[0]), DRM_ZHENWU_BO_SYSTEM);
	ASSERT_EQ(zw_unbind(c[1].fd, c[1].vm, AT, BYTES), 0);
	ASSERT_EQ(zw_bo_close(c[1].fd, bo[1]), 0);
	EXPECT_TRUE(reads(&c[0], AT, PATTERN));
	EXPECT_EQ(placement(c[0].fd, bo[0]), DRM_ZHENWU_BO_HBM);
}

TEST_F(peer, refused)
{
	struct zw_client *c = self->c;
	uint32_t flags[] = {DRM_ZHENWU_BO_HBM, BOTH | DRM_ZHENWU_BO_NO_EVICT}, handle = 0;

	for (unsigned int i = 0; i < 2; i++) {
		uint32_t bo = zw_bo(c[0].fd, BYTES, flags[i]);
		int buf = export_bo(c[0].fd, bo);

		ASSERT_GE(buf, 0);
		EXPECT_EQ(import_buf(c[1].fd, buf, &handle), -EOPNOTSUPP);
		/* Nothing is left of it. */
		EXPECT_EQ(placement(c[0].fd, bo), DRM_ZHENWU_BO_HBM);
		close(buf);
	}
}

/* HBM that another device has is not taken for others. */
TEST_F(peer, stays)
{
	struct zw_client *c = self->c;
	uint32_t bo[2], rest;
	uint64_t free;
	int buf;

	if (!self->p2p)
		SKIP(return, "the kernel knows no way from device to device");
	buf = share(c, BOTH | DRM_ZHENWU_BO_CPU_VISIBLE, bo);
	ASSERT_GE(buf, 0);
	free = hbm_free(c[0].fd) & ~(2 * MIB - 1);
	rest = zw_bo(c[0].fd, free, STAYS);
	ASSERT_NE(rest, 0);
	EXPECT_EQ(zw_bo(c[0].fd, 2 * MIB, STAYS), 0);
	EXPECT_EQ(errno, ENOSPC);
	EXPECT_EQ(placement(c[0].fd, bo[0]), DRM_ZHENWU_BO_HBM);
	EXPECT_TRUE(reads(&c[1], AT, PATTERN));
	close(buf);
	ASSERT_EQ(zw_unbind(c[1].fd, c[1].vm, AT, BYTES), 0);
	ASSERT_EQ(zw_bo_close(c[1].fd, bo[1]), 0);
	EXPECT_NE(zw_bo(c[0].fd, 2 * MIB, STAYS), 0);
	EXPECT_EQ(placement(c[0].fd, bo[0]), DRM_ZHENWU_BO_SYSTEM);
}

/* Each has something of the other's. */
TEST_F(peer, both_ways)
{
	struct zw_client swapped[2], *c = self->c;
	uint32_t one[2], two[2];
	int bufs[2];

	if (!self->p2p)
		SKIP(return, "the kernel knows no way from device to device");
	bufs[0] = share(c, SEEN, one);
	ASSERT_GE(bufs[0], 0);
	ASSERT_EQ(zw_unbind(c[0].fd, c[0].vm, AT, BYTES), 0);
	ASSERT_EQ(zw_unbind(c[1].fd, c[1].vm, AT, BYTES), 0);
	swapped[0] = c[1];
	swapped[1] = c[0];
	bufs[1] = share(swapped, SEEN, two);
	ASSERT_GE(bufs[1], 0);
	EXPECT_TRUE(reads(&swapped[1], AT, PATTERN));
	c[1].point = swapped[0].point;
	c[0].point = swapped[1].point;
	close(bufs[0]);
	close(bufs[1]);
}

/* The card goes that has the memory: jobs that use it fault, others do not notice. */
TEST_F_TIMEOUT(peer, exporter_goes, 300)
{
	char path[PATH_MAX], file[PATH_MAX + 32], *name;
	struct zw_client *c = self->c, other;
	uint32_t bo[2], late = 0;
	int buf;

	if (geteuid())
		SKIP(return, "needs root");
	buf = share(c, self->p2p ? SEEN : BOTH, bo);
	ASSERT_GE(buf, 0);
	ASSERT_TRUE(zw_client_open_fd(&other, zw_open_number(1)));
	ASSERT_TRUE(reads(&c[1], AT, PATTERN));
	folder(c[0].fd, path, sizeof(path));
	name = strrchr(path, '/') + 1;
	snprintf(file, sizeof(file), "%s/driver/unbind", path);
	ASSERT_EQ(zw_write_file(file, name), 0);
	if (self->p2p) {
		EXPECT_NE(fill(&c[1], AT, 1), 0);
		EXPECT_EQ(zw_bind(c[1].fd, c[1].vm, bo[1], 0, OWN_AT, BYTES, 0), -ENODEV);
		EXPECT_NE(import_buf(other.fd, buf, &late), 0);
	} else {
		/* Pages of memory stay. */
		EXPECT_TRUE(reads(&c[1], AT, PATTERN));
	}
	EXPECT_TRUE(zw_client_works(&other));
	EXPECT_TRUE(zw_client_goes_on(&c[1]));
	zw_client_close(&other);
	close(buf);
	EXPECT_EQ(zw_write_file("/sys/bus/pci/drivers/zhenwu/bind", name), 0);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* The other one goes: the card that has the memory has it for itself again. */
TEST_F_TIMEOUT(peer, importer_goes, 300)
{
	char path[PATH_MAX], file[PATH_MAX + 32], *name;
	struct zw_client *c = self->c;
	uint32_t bo[2];
	int buf;

	if (geteuid())
		SKIP(return, "needs root");
	buf = share(c, self->p2p ? SEEN : BOTH, bo);
	ASSERT_GE(buf, 0);
	folder(c[1].fd, path, sizeof(path));
	name = strrchr(path, '/') + 1;
	snprintf(file, sizeof(file), "%s/driver/unbind", path);
	ASSERT_EQ(zw_write_file(file, name), 0);
	EXPECT_TRUE(reads(&c[0], AT, PATTERN));
	EXPECT_EQ(placement(c[0].fd, bo[0]), DRM_ZHENWU_BO_HBM);
	close(buf);
	EXPECT_EQ(zw_write_file("/sys/bus/pci/drivers/zhenwu/bind", name), 0);
}

/* No sleep while a job of another card may come by. */
TEST_F(peer, sleep)
{
	uint32_t bo[2];
	int buf;

	if (!self->p2p)
		SKIP(return, "the kernel knows no way from device to device");
	if (geteuid() || access("/sys/power/pm_test", W_OK))
		SKIP(return, "not root, or no /sys/power/pm_test");
	buf = share(self->c, SEEN, bo);
	ASSERT_GE(buf, 0);
	ASSERT_EQ(zw_write_file("/sys/power/pm_test", "devices"), 0);
	EXPECT_EQ(zw_write_file("/sys/power/state", "freeze"), -EBUSY);
	EXPECT_EQ(zw_write_file("/sys/power/pm_test", "none"), 0);
	close(buf);
	EXPECT_TRUE(reads(&self->c[1], AT, PATTERN));
}

TEST_HARNESS_MAIN
