/* SPDX-License-Identifier: MIT */
/* What the fixtures of tests begin and end with that have the device fail, or go away. */
#ifndef ZW_FAULTS_H
#define ZW_FAULTS_H

#include <limits.h>
#include <mntent.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

/*
 * Whether this program comes from a 9p share. statfs() does not tell: the share answers with what the
 * host has below it.
 */
static bool zw_on_9p(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	char exe[PATH_MAX] = "";
	size_t longest = 0;
	struct mntent *m;
	bool found = false;

	if (!mounts || readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return false;
	while ((m = getmntent(mounts))) {
		size_t len = strlen(m->mnt_dir);

		if (len >= longest && !strncmp(exe, m->mnt_dir, len)) {
			longest = len;
			found = !strcmp(m->mnt_type, "9p");
		}
	}
	endmntent(mounts);
	return found;
}

/*
 * Opens a client of a device, and finds its folder in sysfs. NULL, or why the test, which writes to it, is
 * to be skipped.
 */
static const char *zw_root_open(struct __test_metadata *_metadata, struct zw_client *c,
				char pci[300])
{
	if (!zw_client_open(c)) {
		if (c->fd < 0)
			return KSFT_SKIP_NO_DEVICE;
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	if (geteuid() != 0)
		return "needs root";
	ASSERT_EQ(0, zw_pci_path(pci, 300));
	return NULL;
}

/* The same with two clients, of a device without a fault. */
static const char *zw_faults_open(struct __test_metadata *_metadata, struct zw_client *c,
				  struct zw_client *other, char pci[300])
{
	const char *why = zw_root_open(_metadata, c, pci);

	if (why)
		return why;
	if (!zw_has_host())
		return "not in the test VM";
	ASSERT_TRUE(zw_client_open(other));
	ASSERT_EQ(0, zw_inject("clear"));
	return NULL;
}

static void zw_faults_close(struct zw_client *c, struct zw_client *other)
{
	if (zw_has_host())
		zw_inject("clear");
	zw_client_close(other);
	zw_client_close(c);
}

#endif /* ZW_FAULTS_H */
