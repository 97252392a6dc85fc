/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_HWMON_H__
#define __ZHENWU_HWMON_H__

#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "zhenwu_telemetry.h"

struct device;
struct zhenwu_device;

/**
 * struct zhenwu_hwmon - sensors of a device
 */
struct zhenwu_hwmon {
	/** @dev: The hwmon device, or NULL. */
	struct device *dev;

	/** @lock: Protects all below but the work. */
	struct mutex lock;

	/** @wish: The samples it wants, while somebody reads. */
	struct zhenwu_telemetry_wish wish;

	/** @values: What is shown. */
	struct zhenwu_telemetry_values values;

	/** @idle: Ends @wish when nobody has read for a while. */
	struct delayed_work idle;
};

void zhenwu_hwmon_init(struct zhenwu_device *zdev);
void zhenwu_hwmon_fini(struct zhenwu_device *zdev);
void zhenwu_hwmon_sleep(struct zhenwu_device *zdev);

#endif /* __ZHENWU_HWMON_H__ */
