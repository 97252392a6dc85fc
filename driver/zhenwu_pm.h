/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_PM_H__
#define __ZHENWU_PM_H__

#include <linux/notifier.h>
#include <linux/pm.h>
#include <linux/types.h>

struct zhenwu_device;

/**
 * struct zhenwu_pm - power management of a device
 */
struct zhenwu_pm {
	/** @sleep: Told before the system goes to sleep, and after. */
	struct notifier_block sleep;
};

int zhenwu_pm_init(struct zhenwu_device *zdev);
void zhenwu_pm_fini(struct zhenwu_device *zdev);
void zhenwu_pm_enable(struct zhenwu_device *zdev);
void zhenwu_pm_disable(struct zhenwu_device *zdev);

int zhenwu_pm_get(struct zhenwu_device *zdev);
void zhenwu_pm_get_awake(struct zhenwu_device *zdev);
bool zhenwu_pm_peek(struct zhenwu_device *zdev);
void zhenwu_pm_unpeek(struct zhenwu_device *zdev);
void zhenwu_pm_put(struct zhenwu_device *zdev);

extern const struct dev_pm_ops zhenwu_pm_ops;

#endif /* __ZHENWU_PM_H__ */
