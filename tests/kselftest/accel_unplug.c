// SPDX-License-Identifier: MIT
/*
 * The device goes away as a whole: taken out of its slot by the hypervisor, or removed and found
 * again through sysfs. The test VM's host takes and gives the device through a virtio port (see
 * Documentation/testing.md); elsewhere those tests are skipped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "zw_faults.h"

#define POLL_US 50000
/* Emulation on a busy host: a limit only ends what would never end. */
#define POLLS   2400

static int unplug(void)
{
	return zw_host("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"zw0\"}}");
}

/* The slot is free only some time after the guest has let go of the device. */
static int plug(void)
{
	int i, ret = -EIO;

	for (i = 0; ret == -EIO && i < POLLS; i++) {
		if (i)
			usleep(POLL_US);
		ret = zw_host("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"zhenwu\","
			      "\"bus\":\"zwport\",\"id\":\"zw0\"}}");
	}
	return ret;
}

static bool wait_for_device(bool there)
{
	int fd, i;

	for (i = 0; i < POLLS; i++) {
		fd = zw_open();
		if (fd >= 0)
			close(fd);
		if ((fd >= 0) == there)
			return true;
		usleep(POLL_US);
	}
	return false;
}

FIXTURE(unplug)
{
	struct zw_client c;
	char pci[300];
};

FIXTURE_SETUP(unplug)
{
	const char *why = zw_root_open(_metadata, &self->c, self->pci);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(unplug)
{
	zw_client_close(&self->c);
}

/* Jobs that wait for what never comes: only the removal ends them. */
static void load_up(struct zw_client *c)
{
	int i;

	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + 61440, 1);
	for (i = 0; i < 8; i++)
		zw_client_submit(c, 0, 0);
}

TEST_F_TIMEOUT(unplug, by_host_with_jobs_in_flight, 300)
{
	struct drm_zhenwu_dev_info info;
	struct zw_client *c = &self->c;
	uint64_t i;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	load_up(c);
	ASSERT_EQ(0, unplug());
	ASSERT_TRUE(wait_for_device(false));
	/* Every job is over, with an error, and the open file says what happened. */
	for (i = 1; i <= c->point; i++)
		EXPECT_GT(0, zw_fence_status_wait(c->fd, c->timeline, i, LONG_WAIT_NS));
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
	EXPECT_EQ(-ENODEV, zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0));
	ASSERT_EQ(0, plug());
	EXPECT_TRUE(wait_for_device(true) && zw_fresh_client_works(1));
	/* The old file stays dead beside the new device. */
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
}

TEST_F_TIMEOUT(unplug, by_host_again_and_again, 600)
{
	int i;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	zw_client_close(&self->c);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, unplug());
		ASSERT_TRUE(wait_for_device(false)) TH_LOG("round %d", i);
		ASSERT_EQ(0, plug());
		ASSERT_TRUE(wait_for_device(true) && zw_fresh_client_works(1))
		TH_LOG("round %d", i);
	}
}

TEST_F_TIMEOUT(unplug, remove_and_rescan, 300)
{
	struct drm_zhenwu_dev_info info;
	struct zw_client *c = &self->c;
	char path[320];

	load_up(c);
	snprintf(path, sizeof(path), "%s/remove", self->pci);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	EXPECT_GT(0, zw_fence_status_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS));
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
	ASSERT_EQ(0, zw_write_file("/sys/bus/pci/rescan", "1"));
	EXPECT_TRUE(wait_for_device(true) && zw_fresh_client_works(1));
}

TEST_HARNESS_MAIN
