// SPDX-License-Identifier: MIT
/*
 * What IGT's core_getversion, core_debugfs and core_sysfs do: ask any accel node who it is, read every
 * file that there is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define DRIVER     "/sys/bus/pci/drivers/zhenwu/"
#define MOST_BYTES (16u << 20)

FIXTURE(core)
{
	struct zw_client c; /* so that there is something to be read about */
	char pci[300];
};

FIXTURE_SETUP(core)
{
	if (!zw_client_open(&self->c)) {
		if (self->c.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_EQ(0, zw_pci_path(self->pci, sizeof(self->pci)));
}

FIXTURE_TEARDOWN(core)
{
	zw_client_close(&self->c);
}

/* core_getversion */

static bool names_itself(int fd)
{
	drmVersionPtr v = drmGetVersion(fd);
	bool ok = v && v->name && *v->name && v->desc && *v->desc && v->version_major >= 0;

	drmFreeVersion(v);
	return ok;
}

TEST_F(core, getversion_basic)
{
	EXPECT_TRUE(names_itself(self->c.fd));
}

TEST_F(core, getversion_all_cards)
{
	unsigned int nodes = 0;

	for (int i = 0; i < 64; i++) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/accel/accel%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		nodes++;
		EXPECT_TRUE(names_itself(fd)) TH_LOG("%s", path);
		close(fd);
	}
	EXPECT_LT(0, nodes);
}

/* core_debugfs, core_sysfs */

struct tally {
	unsigned int files, refused;
};

/*
 * Reads a file to its end, in pieces of no particular size. A file may say that it has nothing to
 * say, but not hang, and not be endless. 0 or -errno.
 */
static int read_whole(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), ret = -EFBIG;
	char buf[777];

	if (fd < 0)
		return -errno;
	for (size_t total = 0; total < MOST_BYTES;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n > 0) {
			total += (size_t)n;
			continue;
		}
		ret = n ? -errno : 0;
		break;
	}
	close(fd);
	return ret;
}

static void read_tree(struct __test_metadata *_metadata, const char *dir, struct tally *t)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[600];
		struct stat st;
		int ret;

		/* Memory of the device itself is not its driver's business. */
		if (e->d_name[0] == '.' || !strncmp(e->d_name, "resource", 8) ||
		    !strcmp(e->d_name, "rom"))
			continue;
		snprintf(path, sizeof(path), "%.400s/%.180s", dir, e->d_name);
		/* Links lead out of here. */
		if (lstat(path, &st) || S_ISLNK(st.st_mode))
			continue;
		if (S_ISDIR(st.st_mode)) {
			read_tree(_metadata, path, t);
			continue;
		}
		if (!S_ISREG(st.st_mode) || !(st.st_mode & 0444))
			continue;
		t->files++;
		ret = read_whole(path);
		if (!ret)
			continue;
		t->refused++;
		/* No sample yet, no permission, nothing there, not now: no other reasons. */
		EXPECT_TRUE(ret == -ENODATA || ret == -EACCES || ret == -EPERM || ret == -EAGAIN ||
			    ret == -EIO || ret == -EOPNOTSUPP)
		TH_LOG("%s: %d", path, ret);
	}
	if (d)
		closedir(d);
}

TEST_F_TIMEOUT(core, debugfs_read_all_entries, 240)
{
	struct tally t = {0};
	char path[400];

	snprintf(path, sizeof(path), "/sys/kernel/debug/accel/%s", strrchr(self->pci, '/') + 1);
	if (access(path, R_OK))
		SKIP(return, "no debugfs");
	read_tree(_metadata, path, &t);
	EXPECT_LE(8, t.files);
	/* The driver's own have always something to say. */
	EXPECT_EQ(0, t.refused);
	EXPECT_TRUE(zw_client_works(&self->c));
}

TEST_F_TIMEOUT(core, sysfs_read_all_entries, 240)
{
	struct tally t = {0};

	read_tree(_metadata, self->pci, &t);
	EXPECT_LE(30, t.files);
	EXPECT_GE(t.files / 4, t.refused);
	EXPECT_TRUE(zw_client_works(&self->c));
}

/* device_reset: the function is reset while no driver has it. The other subtests of it are elsewhere. */
TEST_F_TIMEOUT(core, device_reset_unbind_reset_rebind, 240)
{
	const char *bdf = strrchr(self->pci, '/') + 1;
	char path[400];

	if (geteuid() != 0)
		SKIP(return, "needs root");
	zw_client_close(&self->c);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", bdf));
	snprintf(path, sizeof(path), "%s/reset", self->pci);
	EXPECT_EQ(0, zw_write_file(path, "1"));
	ASSERT_EQ(0, zw_write_file(DRIVER "bind", bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_HARNESS_MAIN
