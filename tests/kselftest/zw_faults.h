/* SPDX-License-Identifier: MIT */
/* What the fixtures of tests begin and end with whose faults the test VM's host injects. */
#ifndef ZW_FAULTS_H
#define ZW_FAULTS_H

#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

/*
 * Opens two clients of a device without a fault, and finds its folder in sysfs. NULL, or why the
 * test is to be skipped.
 */
static const char *zw_faults_open(struct __test_metadata *_metadata, struct zw_client *c,
				  struct zw_client *other, char pci[300])
{
	if (!zw_client_open(c)) {
		if (c->fd < 0)
			return KSFT_SKIP_NO_DEVICE;
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	if (geteuid() != 0)
		return "needs root";
	if (!zw_has_host())
		return "not in the test VM";
	ASSERT_TRUE(zw_client_open(other));
	ASSERT_EQ(0, zw_pci_path(pci, 300));
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
