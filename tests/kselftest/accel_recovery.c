// SPDX-License-Identifier: MIT
/*
 * The ladder of recovery, rung by rung: what is counted, what survives, and what user space is told.
 * Faults are injected by the test VM's host (Documentation/device/faults.md); elsewhere these tests
 * are skipped. Each leaves the driver bound and working.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "zw_faults.h"

#define DRIVER "/sys/bus/pci/drivers/zhenwu/"

FIXTURE(recovery)
{
	struct zw_client c, other;
	char pci[300];
	const char *bdf;
};

FIXTURE_SETUP(recovery)
{
	const char *why = zw_faults_open(_metadata, &self->c, &self->other, self->pci);

	if (why)
		SKIP(return, "%s", why);
	self->bdf = strrchr(self->pci, '/') + 1;
}

FIXTURE_TEARDOWN(recovery)
{
	zw_faults_close(&self->c, &self->other);
}

/* Which reasons and rungs differ by how much, and nothing else does. */
static void one_more(struct __test_metadata *_metadata, struct zw_client *c,
		     const struct drm_zhenwu_dev_resets *before, unsigned int reason,
		     unsigned int rung)
{
	struct drm_zhenwu_dev_resets after;
	uint64_t sum = 0;

	/* A rung is counted when the reset is over, which is after its jobs are. */
	for (int i = 0; i < 600; i++) {
		after = zw_resets(c->fd);
		if (after.rungs[rung] != before->rungs[rung])
			break;
		usleep(100000);
	}
	for (unsigned int i = 0; i < 16; i++) {
		EXPECT_EQ(before->reasons[i] + (i == reason), after.reasons[i])
		TH_LOG("reason %u", i);
		sum += after.reasons[i];
	}
	for (unsigned int i = 0; i < 8; i++) {
		EXPECT_EQ(before->rungs[i] + (i == rung), after.rungs[i]) TH_LOG("rung %u", i);
	}
	EXPECT_EQ(reason, after.last_reason);
	EXPECT_LT(before->last_ns, after.last_ns);
	EXPECT_EQ(0, after.pad);
	EXPECT_EQ(sum, zw_reset_count(c));
}

static bool vm_usable(struct zw_client *c)
{
	struct drm_zhenwu_vm_get_state st = {.vm_id = c->vm};

	return !zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &st) &&
	       st.state == DRM_ZHENWU_VM_STATE_USABLE;
}

/* HBM with something in it, to see whether that survives. */
#define MARK 0x5eedu
static volatile uint32_t *marked(struct zw_client *c)
{
	struct zw_buf hbm;

	if (!zw_buf(c->fd, c->vm, MIB, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE, 64 * MIB,
		    &hbm))
		return NULL;
	*(volatile uint32_t *)hbm.ptr = MARK;
	return hbm.ptr;
}

/* Has the device reset: the firmware is silent, and somebody asks it. */
static uint32_t silence(struct zw_client *c, const char *and)
{
	if (zw_inject("fw-silence") || (and&&zw_inject(and)))
		return 0;
	return zw_queue(c->fd, c->vm);
}

TEST_F_TIMEOUT(recovery, reasons, 600)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_dev_resets before = zw_resets(c->fd);
	char path[400], text[64], name[32];

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, zw_inject("fw-trap"));
	EXPECT_EQ(-ECANCELED, zw_client_outcome(o));
	one_more(_metadata, c, &before, DRM_ZHENWU_RESET_FW_STOPPED, DRM_ZHENWU_RESET_WARM);

	before = zw_resets(c->fd);
	EXPECT_NE(0, silence(c, NULL));
	one_more(_metadata, c, &before, DRM_ZHENWU_RESET_FW_SILENT, DRM_ZHENWU_RESET_WARM);

	before = zw_resets(c->fd);
	snprintf(path, sizeof(path), "%s/reset", self->pci);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	one_more(_metadata, c, &before, DRM_ZHENWU_RESET_FUNCTION, DRM_ZHENWU_RESET_FLR);

	/* sysfs says the same. */
	before = zw_resets(c->fd);
	snprintf(path, sizeof(path), "%s/resets/function", self->pci);
	ASSERT_EQ(0, zw_read_file(path, text, sizeof(text)));
	EXPECT_EQ(before.reasons[DRM_ZHENWU_RESET_FUNCTION], strtoull(text, NULL, 10));
	snprintf(path, sizeof(path), "%s/resets/warm", self->pci);
	ASSERT_EQ(0, zw_read_file(path, text, sizeof(text)));
	EXPECT_EQ(before.rungs[DRM_ZHENWU_RESET_WARM], strtoull(text, NULL, 10));
	snprintf(path, sizeof(path), "%s/resets/last_reason", self->pci);
	ASSERT_EQ(0, zw_read_file(path, text, sizeof(text)));
	ASSERT_EQ(1, sscanf(text, "%31s", name));
	EXPECT_STREQ("function", name);
}

/* The firmware does not start with the image there is: it is read anew. HBM is as it was. */
TEST_F_TIMEOUT(recovery, cold, 600)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_dev_resets before = zw_resets(c->fd);
	volatile uint32_t *hbm = marked(c);

	ASSERT_NE(NULL, hbm);
	ASSERT_NE(0, silence(c, "dma-fault=1"));
	one_more(_metadata, c, &before, DRM_ZHENWU_RESET_FW_SILENT, DRM_ZHENWU_RESET_COLD);
	EXPECT_EQ(MARK, *hbm);
	EXPECT_TRUE(vm_usable(c));
	EXPECT_TRUE(zw_client_goes_on(c));
	EXPECT_TRUE(zw_client_goes_on(o));
}

/* Not even then: the function is reset, and HBM is lost. */
TEST_F_TIMEOUT(recovery, function_level, 600)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_dev_resets before = zw_resets(c->fd);
	struct drm_zhenwu_queue_get_state st = {0};

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, zw_inject("fw-silence"));
	ASSERT_EQ(0, zw_inject("dma-fault=2"));
	EXPECT_EQ(-ECANCELED, zw_client_outcome(o));
	one_more(_metadata, c, &before, DRM_ZHENWU_RESET_FW_SILENT, DRM_ZHENWU_RESET_FLR);
	EXPECT_FALSE(vm_usable(c));
	/* The reset lost it, nobody did wrong. */
	ASSERT_EQ(0, zw_queue_state(o->fd, o->queue, &st));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_INNOCENT, st.state);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* Listens to what the kernel says about devices. */
static int uevents(void)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	int size = 1 << 20;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    bind(fd, (void *)&addr, sizeof(addr)))
		return -1;
	return fd;
}

/* How many events so far said that an accel node is lost, and the last of them. */
static int wedged_events(int fd, char *last, size_t len)
{
	char buf[8192];
	int count = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT)) > 0) {
		buf[n] = '\0';
		if (!strstr(buf, "/accel/accel"))
			continue;
		for (char *p = buf; p < buf + n; p += strlen(p) + 1) {
			if (strncmp(p, "WEDGED=", 7))
				continue;
			snprintf(last, len, "%.100s", p);
			count++;
		}
	}
	return count;
}

static const unsigned long all_ioctls[] = {
	DRM_IOCTL_ZHENWU_DEV_QUERY,
	DRM_IOCTL_ZHENWU_VM_CREATE,
	DRM_IOCTL_ZHENWU_VM_DESTROY,
	DRM_IOCTL_ZHENWU_VM_BIND,
	DRM_IOCTL_ZHENWU_VM_GET_STATE,
	DRM_IOCTL_ZHENWU_BO_CREATE,
	DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET,
	DRM_IOCTL_ZHENWU_BO_WAIT,
	DRM_IOCTL_ZHENWU_BO_SET_LABEL,
	DRM_IOCTL_ZHENWU_BO_QUERY_INFO,
	DRM_IOCTL_ZHENWU_QUEUE_CREATE,
	DRM_IOCTL_ZHENWU_QUEUE_DESTROY,
	DRM_IOCTL_ZHENWU_QUEUE_GET_STATE,
	DRM_IOCTL_ZHENWU_SUBMIT,
	DRM_IOCTL_ZHENWU_QUEUE_WAIT,
	DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR,
	DRM_IOCTL_ZHENWU_TELEMETRY_SET,
	DRM_IOCTL_ZHENWU_TELEMETRY_READ,
	DRM_IOCTL_GEM_CLOSE,
	DRM_IOCTL_SYNCOBJ_CREATE,
	DRM_IOCTL_VERSION,
};

/* The end of the ladder: said once, and every file that is open says so. */
TEST_F_TIMEOUT(recovery, lost, 900)
{
	struct zw_client *c = &self->c, *o = &self->other;
	char last[128] = "", path[400], text[64] = "";
	struct drm_zhenwu_dev_info info;
	int events = uevents(), count = 0;

	ASSERT_LE(0, events);
	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, zw_inject("fw-silence"));
	ASSERT_EQ(0, zw_inject("dma-fault=all"));
	EXPECT_EQ(-ECANCELED, zw_client_outcome(o));
	for (int i = 0; i < 1200 && zw_info(c->fd, &info) != -ENODEV; i++)
		usleep(100000);
	for (unsigned int i = 0; i < sizeof(all_ioctls) / sizeof(all_ioctls[0]); i++) {
		uint64_t arg[64] = {0};

		EXPECT_EQ(-ENODEV, zw_ioctl(c->fd, all_ioctls[i], arg)) TH_LOG("ioctl %u", i);
		EXPECT_EQ(-ENODEV, zw_ioctl(o->fd, all_ioctls[i], arg)) TH_LOG("ioctl %u", i);
	}
	snprintf(path, sizeof(path), "%s/resets/lost", self->pci);
	EXPECT_EQ(0, zw_read_file(path, text, sizeof(text)));
	EXPECT_EQ(1, strtoull(text, NULL, 10));
	for (int i = 0; i < PATIENT_TRIES && !count; i++) {
		usleep(100000);
		count += wedged_events(events, last, sizeof(last));
	}
	/* A reset that is asked for changes nothing any more, and is not said again. */
	snprintf(path, sizeof(path), "%s/reset", self->pci);
	zw_write_file(path, "1");
	sleep(1);
	count += wedged_events(events, last, sizeof(last));
	EXPECT_EQ(1, count);
	EXPECT_STREQ("WEDGED=rebind,bus-reset", last);
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));

	/* What the event says is done helps. */
	ASSERT_EQ(0, zw_inject("clear"));
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	ASSERT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
	close(events);
}

TEST_HARNESS_MAIN
