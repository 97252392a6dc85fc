// SPDX-License-Identifier: MIT
/*
 * What happens to a buffer that is just being moved out of HBM, when the copy hangs, and the device is
 * reset, lost or taken away in the middle: its contents are right, or its owner is told that they are
 * gone; who wanted the room is told what happened; nothing leaks or hangs. Faults are injected by the
 * test VM's host; elsewhere these tests are skipped. Each leaves the driver bound and working.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "zw_evict.h"
#include "zw_faults.h"

#define DRIVER "/sys/bus/pci/drivers/zhenwu/"

FIXTURE(lost)
{
	struct zw_client c, other;
	char pci[300];
	const char *bdf;
	uint64_t free; /* of HBM, before anything was taken */
	uint32_t rest, bo[2];
};

FIXTURE_SETUP(lost)
{
	const char *why = zw_faults_open(_metadata, &self->c, &self->other, self->pci);

	if (why)
		SKIP(return, "%s", why);
	self->bdf = strrchr(self->pci, '/') + 1;
	self->free = hbm_free(self->c.fd);
	self->rest = take_rest(self->c.fd);
	ASSERT_NE(0, self->rest);
	for (uint32_t i = 0; i < 2; i++) {
		self->bo[i] = make(&self->c, BOTH, VA + i * SIZE, 1000 * (i + 1));
		ASSERT_NE(0, self->bo[i]);
	}
}

FIXTURE_TEARDOWN(lost)
{
	zw_faults_close(&self->c, &self->other);
}

/* Both buffers are what they were, wherever they are. */
static void both_are_well(struct __test_metadata *_metadata, FIXTURE_DATA(lost) * self)
{
	for (uint32_t i = 0; i < 2; i++) {
		EXPECT_TRUE(holds(&self->c, VA + i * SIZE, 1000 * (i + 1))) TH_LOG("buffer %u", i);
	}
}

/* All that the files had is free again, once they are closed. */
static void all_is_free(struct __test_metadata *_metadata, FIXTURE_DATA(lost) * self)
{
	int fd;

	zw_client_close(&self->other);
	zw_client_close(&self->c);
	fd = zw_open();
	ASSERT_LE(0, fd);
	for (int i = 0; i < 600 && hbm_free(fd) < self->free; i++)
		usleep(100000);
	/* The clients' own tables are free, too. */
	EXPECT_LE(self->free, hbm_free(fd));
	close(fd);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* Somebody wants room for one buffer, and the copy that makes it stands still. */
static void begin(struct __test_metadata *_metadata, FIXTURE_DATA(lost) * self, struct maker *m)
{
	ASSERT_EQ(0, zw_inject("hang=1"));
	ASSERT_TRUE(maker_begin(m, self->other.fd, 2 * SIZE));
	/* Longer than a copy takes, and not as long as it takes to be given up. */
	usleep(1000000);
	EXPECT_FALSE(m->over);
}

/* It is given up, and another buffer moved. When none can be, that is said. */
TEST_F_TIMEOUT(lost, copy_hangs, 400)
{
	uint32_t count = zw_reset_count(&self->c);
	struct maker m;

	begin(_metadata, self, &m);
	EXPECT_EQ(0, maker_end(&m));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM,
		  placement(self->c.fd, self->bo[0]) | placement(self->c.fd, self->bo[1]));
	EXPECT_EQ(0, zw_bo_close(self->other.fd, m.bo));
	both_are_well(_metadata, self);

	ASSERT_EQ(0, zw_inject("hang=all"));
	ASSERT_TRUE(maker_begin(&m, self->other.fd, 3 * SIZE));
	EXPECT_EQ(-EIO, maker_end(&m));
	ASSERT_EQ(0, zw_inject("clear"));
	both_are_well(_metadata, self);
	/* Its queue was the driver's own, and is gone; no client's suffered. */
	EXPECT_EQ(count, zw_reset_count(&self->c));
	EXPECT_TRUE(zw_client_works(&self->other));
	all_is_free(_metadata, self);
}

/* The device is reset, and the call goes on behind that. */
TEST_F_TIMEOUT(lost, device_reset, 400)
{
	static const char *const faults[] = {"fw-trap", "fw-silence"};
	struct maker m;

	for (int i = 0; i < 2; i++) {
		uint32_t count = zw_reset_count(&self->c);

		begin(_metadata, self, &m);
		ASSERT_EQ(0, zw_inject(faults[i]));
		EXPECT_EQ(0, maker_end(&m)) TH_LOG("%s", faults[i]);
		EXPECT_EQ(count + 1, zw_reset_count(&self->c));
		EXPECT_TRUE(zw_client_goes_on(&self->c));
		both_are_well(_metadata, self);
		EXPECT_EQ(0, zw_bo_close(self->other.fd, m.bo));
		both_are_well(_metadata, self);
	}
	all_is_free(_metadata, self);
}

/* HBM is lost, and what was being copied from there: the VM says so. */
TEST_F_TIMEOUT(lost, function_level_reset, 400)
{
	struct drm_zhenwu_vm_get_state vm = {.vm_id = self->c.vm};
	struct maker m;
	char path[320];

	snprintf(path, sizeof(path), "%s/reset", self->pci);
	begin(_metadata, self, &m);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	/* Of a VM that is lost nothing is moved. */
	EXPECT_EQ(-EIO, maker_end(&m));
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &vm));
	EXPECT_EQ(DRM_ZHENWU_VM_STATE_UNUSABLE, vm.state);
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, self->bo[0]));
	all_is_free(_metadata, self);
}

/* Removal does not wait for the copy to be given up, and the call says why it came to nothing. */
static void removed(struct __test_metadata *_metadata, FIXTURE_DATA(lost) * self, const char *how,
		    const char *what, const char *back, const char *again)
{
	struct drm_zhenwu_dev_info info;
	struct maker m;
	int i, fd = -1;

	begin(_metadata, self, &m);
	ASSERT_EQ(0, zw_write_file(how, what));
	EXPECT_EQ(-ENODEV, maker_end(&m));
	EXPECT_EQ(-ENODEV, zw_info(self->c.fd, &info));
	ASSERT_EQ(0, zw_write_file(back, again));
	for (i = 0; i < 600 && (fd = zw_open()) < 0; i++)
		usleep(100000);
	ASSERT_LE(0, fd);
	close(fd);
	all_is_free(_metadata, self);
}

TEST_F_TIMEOUT(lost, unbound, 400)
{
	removed(_metadata, self, DRIVER "unbind", self->bdf, DRIVER "bind", self->bdf);
}

TEST_F_TIMEOUT(lost, unplugged, 400)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/remove", self->pci);
	removed(_metadata, self, path, "1", "/sys/bus/pci/rescan", "1");
}

/* Who is killed in the middle is gone before the copy would be given up. */
TEST_F_TIMEOUT(lost, killed, 400)
{
	int64_t start;
	pid_t pid;

	ASSERT_EQ(0, zw_inject("hang=1"));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		zw_bo(self->other.fd, 2 * SIZE, STAYS);
		_exit(0);
	}
	usleep(1000000);
	start = zw_deadline(0);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_GT(2000000000ll, zw_deadline(0) - start);
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, self->bo[0]));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, self->bo[1]));
	both_are_well(_metadata, self);
	all_is_free(_metadata, self);
}

/* The system does not wait for the copy to go to sleep; the call goes on afterwards. */
TEST_F_TIMEOUT(lost, system_sleep, 400)
{
	uint32_t count = zw_reset_count(&self->c);
	struct drm_zhenwu_dev_info info;
	struct sysinfo si;
	struct maker m;
	int ret;

	ASSERT_EQ(0, sysinfo(&si));
	ASSERT_EQ(0, zw_info(self->c.fd, &info));
	if (zw_on_9p())
		SKIP(return, "9p does not survive system sleep: run a copy from elsewhere");
	if (info.hbm_size > (uint64_t)si.totalram * si.mem_unit / 2)
		SKIP(return, "more HBM than can be saved");
	if (zw_write_file("/sys/power/pm_test", "devices"))
		SKIP(return, "no pm_test");
	begin(_metadata, self, &m);
	ret = zw_write_file("/sys/power/state", "mem");
	EXPECT_EQ(0, zw_write_file("/sys/power/pm_test", "none"));
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, maker_end(&m));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM,
		  placement(self->c.fd, self->bo[0]) | placement(self->c.fd, self->bo[1]));
	both_are_well(_metadata, self);
	EXPECT_EQ(count, zw_reset_count(&self->c));
	all_is_free(_metadata, self);
}

TEST_HARNESS_MAIN
