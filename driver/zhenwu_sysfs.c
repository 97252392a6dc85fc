// SPDX-License-Identifier: GPL-2.0-only
/*
 * sysfs attributes of the PCI function.
 */

#include <linux/device.h>
#include <linux/sysfs.h>

#include "zhenwu/zw_fw.h"
#include "zhenwu_device.h"
#include "zhenwu_sysfs.h"

static ssize_t fw_version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);
	u32 v = READ_ONCE(zdev->fw.version);

	return sysfs_emit(buf, "%u.%u.%u\n", ZW_FW_VERSION_MAJOR(v), ZW_FW_VERSION_MINOR(v),
			  ZW_FW_VERSION_PATCH(v));
}
static DEVICE_ATTR_RO(fw_version);

static ssize_t profile_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%s\n", zdev->info.profile_name);
}
static DEVICE_ATTR_RO(profile);

static ssize_t reset_count_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", READ_ONCE(zdev->reset.count));
}
static DEVICE_ATTR_RO(reset_count);

static struct attribute *zhenwu_sysfs_attrs[] = {
	&dev_attr_fw_version.attr,
	&dev_attr_profile.attr,
	&dev_attr_reset_count.attr,
	NULL
};

static const struct attribute_group zhenwu_sysfs_group = {
	.attrs = zhenwu_sysfs_attrs,
};

/* All attributes of the PCI function; made and removed by the driver core. */
const struct attribute_group *zhenwu_sysfs_groups[] = {
	&zhenwu_sysfs_group,
	&zhenwu_ras_group,
	&zhenwu_resets_group,
	NULL
};
