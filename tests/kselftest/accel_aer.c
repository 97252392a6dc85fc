// SPDX-License-Identifier: MIT
/*
 * Errors that PCI Express reports (AER). The test VM's host injects them into the device, which
 * reports them to its root port as hardware does; elsewhere these tests are skipped.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "zw_faults.h"

FIXTURE(aer)
{
	struct zw_client c, other;
	char pci[300];
};

/* Root ports whose errors are the kernel's to handle, not the firmware's. */
static unsigned int ports(void)
{
	DIR *d = opendir("/sys/bus/pci_express/drivers/aer");
	unsigned int n = 0;

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
		n += !!strchr(e->d_name, ':');
	if (d)
		closedir(d);
	return n;
}

FIXTURE_SETUP(aer)
{
	char path[400], text[1024];

	const char *why = zw_faults_open(_metadata, &self->c, &self->other, self->pci);

	if (why)
		SKIP(return, "%s", why);
	snprintf(path, sizeof(path), "%s/aer_dev_fatal", self->pci);
	if (zw_read_file(path, text, sizeof(text)))
		SKIP(return, "a kernel without CONFIG_PCIEAER");
	if (!ports())
		SKIP(return, "the firmware keeps errors of PCI Express (needs CONFIG_PCIEASPM)");
}

FIXTURE_TEARDOWN(aer)
{
	zw_faults_close(&self->c, &self->other);
}

static int inject(const char *error)
{
	char qmp[256];

	snprintf(qmp, sizeof(qmp),
		 "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":"
		 "\"pcie_aer_inject_error %s\"}}",
		 error);
	return zw_host(qmp);
}

/* Errors of a kind ("aer_dev_nonfatal" ...) that the kernel has seen so far. */
static unsigned long seen(const char *pci, const char *kind)
{
	char path[400], line[128];
	unsigned long total = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", pci, kind);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "TOTAL_", 6) && strchr(line, ' '))
			total = strtoul(strchr(line, ' '), NULL, 10);
	if (f)
		fclose(f);
	return total;
}

static bool seen_one_more(const char *pci, const char *kind, unsigned long before)
{
	for (int i = 0; i < 300 && seen(pci, kind) == before; i++)
		usleep(100000);
	return seen(pci, kind) == before + 1;
}

/* The device goes on: jobs that run are not touched. */
TEST_F_TIMEOUT(aer, not_fatal, 240)
{
	unsigned long before = seen(self->pci, "aer_dev_nonfatal");
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_queue_get_state st = {0};
	uint32_t count = zw_reset_count(c);

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, inject("zw0 COMP_ABORT"));
	ASSERT_TRUE(seen_one_more(self->pci, "aer_dev_nonfatal", before));
	EXPECT_TRUE(zw_client_works(c));
	EXPECT_EQ(count, zw_reset_count(c));
	EXPECT_EQ(0, zw_fence_status(o->fd, o->timeline, o->point));
	ASSERT_EQ(0, zw_queue_state(o->fd, o->queue, &st));
	EXPECT_EQ(0, st.state);
	/* What it waits for comes, and it gets on. */
	*(volatile uint64_t *)((char *)o->cmd.ptr + 61440) = 1;
	EXPECT_EQ(1, zw_fence_status_wait(o->fd, o->timeline, o->point, LONG_WAIT_NS));
}

TEST_F_TIMEOUT(aer, corrected, 240)
{
	unsigned long before = seen(self->pci, "aer_dev_correctable");
	uint32_t count = zw_reset_count(&self->c);

	ASSERT_EQ(0, inject("zw0 BAD_TLP"));
	ASSERT_TRUE(seen_one_more(self->pci, "aer_dev_correctable", before));
	EXPECT_TRUE(zw_client_works(&self->c));
	EXPECT_EQ(count, zw_reset_count(&self->c));
}

/* The bus is reset: jobs end, HBM is lost, and the device works again; also the next time. */
TEST_F_TIMEOUT(aer, fatal, 600)
{
	struct zw_client *c = &self->c;

	for (int i = 0; i < 3; i++) {
		struct drm_zhenwu_dev_resets was = zw_resets(c->fd), is;
		struct drm_zhenwu_vm_get_state vm;
		struct zw_client load;

		ASSERT_TRUE(zw_client_open(&load));
		ASSERT_EQ(0, zw_client_submit_stuck(&load));
		ASSERT_EQ(0, inject("zw0 DLP"));
		EXPECT_EQ(-ECANCELED,
			  zw_fence_status_wait(load.fd, load.timeline, load.point, LONG_WAIT_NS));
		EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES)) TH_LOG("round %d", i);
		vm = (struct drm_zhenwu_vm_get_state){.vm_id = load.vm};
		ASSERT_EQ(0, zw_ioctl(load.fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &vm));
		EXPECT_EQ(DRM_ZHENWU_VM_STATE_UNUSABLE, vm.state);
		is = zw_resets(c->fd);
		EXPECT_EQ(was.reasons[DRM_ZHENWU_RESET_PCI_ERROR] + 1,
			  is.reasons[DRM_ZHENWU_RESET_PCI_ERROR]);
		EXPECT_EQ(was.rungs[DRM_ZHENWU_RESET_FLR] + 1, is.rungs[DRM_ZHENWU_RESET_FLR]);
		EXPECT_EQ(was.rungs[DRM_ZHENWU_RESET_LOST], is.rungs[DRM_ZHENWU_RESET_LOST]);
		EXPECT_EQ(DRM_ZHENWU_RESET_PCI_ERROR, is.last_reason);
		zw_client_close(&load);
	}
}

/* With all its interrupts where they were before. */
TEST_F_TIMEOUT(aer, interrupts_after_a_fatal_one, 240)
{
	struct zw_client fresh;
	unsigned long before;

	ASSERT_EQ(0, inject("zw0 MALF_TLP"));
	ASSERT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	/* The recovery may only be about to begin. */
	for (int i = 0; i < 300; i++) {
		if (zw_resets(self->c.fd).last_reason == DRM_ZHENWU_RESET_PCI_ERROR)
			break;
		usleep(100000);
	}
	ASSERT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	ASSERT_TRUE(zw_client_open(&fresh));
	before = zw_interrupts();
	EXPECT_TRUE(zw_client_works(&fresh));
	EXPECT_LT(before, zw_interrupts());
	zw_client_close(&fresh);
}

TEST_HARNESS_MAIN
