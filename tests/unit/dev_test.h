/* SPDX-License-Identifier: MIT */
/* Shared by tests with a device: the model of it in the process, or another one. */
#ifndef DEV_TEST_H
#define DEV_TEST_H

#include "llm_test.h"

#include <zhenwu/zhenwu.h>

/* spec NULL: in the process, with little HBM, as valgrind does not map the 96 GiB of the profile. */
static inline struct zw_dev *open_dev(const char *spec)
{
	struct zw_dev_options opt = {.size = sizeof(opt), .hbm_bytes = spec ? 0 : 256 << 20};
	struct zw_error err = {""};
	struct zw_dev *dev;
	int ret = zw_dev_open(spec ? spec : "sim", &opt, &dev, &err);

	if (ret == -ENOENT) {
		print_message("%s\n", err.msg);
		exit(77); /* no firmware built: skipped */
	}
	if (ret)
		fail_msg("%s", err.msg);
	return dev;
}

#endif
