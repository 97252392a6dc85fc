/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_SYSFS_H__
#define __ZHENWU_SYSFS_H__

#include <linux/device.h>
#include <linux/sysfs.h>

/*
 * ZHENWU_ATTR_RO() - an attribute of the PCI function that is one line of text
 *
 * Takes the name of the file and what goes to sysfs_emit(), without the end of line; "zdev" in it
 * is the device. Everybody may read it, also during a reset and a removal.
 */
#define ZHENWU_ATTR_RO(name, fmt, ...) \
static ssize_t name##_show(struct device *dev, struct device_attribute *attr, char *buf) \
{ \
	struct zhenwu_device *zdev __maybe_unused = dev_get_drvdata(dev); \
\
	return sysfs_emit(buf, fmt "\n", __VA_ARGS__); \
} \
static DEVICE_ATTR_RO(name)

extern const struct attribute_group *zhenwu_sysfs_groups[];

#endif /* __ZHENWU_SYSFS_H__ */
