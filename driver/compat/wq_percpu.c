// SPDX-License-Identifier: GPL-2.0-only
/* A workqueue bound to CPUs says so. */
#include <linux/workqueue.h>

unsigned int zw_probe(void);
unsigned int zw_probe(void)
{
	return WQ_PERCPU;
}
