/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_KUNIT_H__
#define __ZHENWU_KUNIT_H__

/*
 * KUnit tests of what needs no device. Each is included by the file it tests, whose static
 * functions it calls, when the module is built with ZHENWU_KUNIT=y.
 */

#include <linux/kconfig.h>

#if IS_ENABLED(CONFIG_KUNIT)
#include <kunit/test.h>
#else
#include "kunit_lite.h"
#endif

struct zhenwu_client;
struct zhenwu_device;

/* Of the device there is: */
#define ZHENWU_KUNIT_HBM	(256ull << 20)
#define ZHENWU_KUNIT_APERTURE	(8ull << 20)
#define ZHENWU_KUNIT_REGS	0x10000

/**
 * struct zhenwu_kunit - a device without hardware: memory where registers and aperture would be
 */
struct zhenwu_kunit {
	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @client: A client of it. */
	struct zhenwu_client *client;

	/** @parent: Its parent. */
	struct device *parent;

	/** @aperture: The first ZHENWU_KUNIT_APERTURE bytes of its HBM. */
	void *aperture;

	/** @regs: Its registers. */
	void *regs;
};

int zhenwu_kunit_init(struct kunit *test);
void zhenwu_kunit_exit(struct kunit *test);

#endif /* __ZHENWU_KUNIT_H__ */
