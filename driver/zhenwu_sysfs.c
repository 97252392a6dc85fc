// SPDX-License-Identifier: GPL-2.0-only
/*
 * sysfs attributes of the PCI function.
 */

#include <linux/device.h>
#include <linux/math64.h>
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

static ssize_t abi_version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);
	u32 v = zdev->info.abi_version;

	return sysfs_emit(buf, "%u.%u\n", ZW_ABI_VERSION_MAJOR(v), ZW_ABI_VERSION_MINOR(v));
}
static DEVICE_ATTR_RO(abi_version);

static ssize_t driver_version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u.%u\n", ZHENWU_DRIVER_MAJOR, ZHENWU_DRIVER_MINOR);
}
static DEVICE_ATTR_RO(driver_version);

static ssize_t uuid_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%pUb\n", zdev->info.uuid);
}
static DEVICE_ATTR_RO(uuid);

static ssize_t num_links_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", zdev->info.num_links);
}
static DEVICE_ATTR_RO(num_links);

static ssize_t hbm_total_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n", zdev->info.hbm_size);
}
static DEVICE_ATTR_RO(hbm_total);

static ssize_t hbm_used_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n", zdev->info.hbm_size - zhenwu_hbm_free_bytes(zdev));
}
static DEVICE_ATTR_RO(hbm_used);

static ssize_t busy_time_us_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n", div_u64(zhenwu_usage_busy_ns(zdev), NSEC_PER_USEC));
}
static DEVICE_ATTR_RO(busy_time_us);

static ssize_t health_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);

	switch (zhenwu_device_state(zdev)) {
	case ZHENWU_STATE_BOOTING:
		return sysfs_emit(buf, "booting\n");
	case ZHENWU_STATE_LIVE:
		/* Pages of HBM that could not be taken out of use yet, or not at all. */
		if (READ_ONCE(zdev->hbm.bad.count) != READ_ONCE(zdev->hbm.bad.retired))
			return sysfs_emit(buf, "degraded\n");
		return sysfs_emit(buf, "ok\n");
	case ZHENWU_STATE_RESETTING:
	case ZHENWU_STATE_FLR:
		return sysfs_emit(buf, "resetting\n");
	case ZHENWU_STATE_SUSPENDED:
		return sysfs_emit(buf, "suspended\n");
	case ZHENWU_STATE_WEDGED:
		return sysfs_emit(buf, "lost\n");
	default:
		return sysfs_emit(buf, "removed\n");
	}
}
static DEVICE_ATTR_RO(health);

static struct attribute *zhenwu_sysfs_attrs[] = {
	&dev_attr_abi_version.attr,
	&dev_attr_busy_time_us.attr,
	&dev_attr_driver_version.attr,
	&dev_attr_fw_version.attr,
	&dev_attr_hbm_total.attr,
	&dev_attr_hbm_used.attr,
	&dev_attr_health.attr,
	&dev_attr_num_links.attr,
	&dev_attr_profile.attr,
	&dev_attr_reset_count.attr,
	&dev_attr_uuid.attr,
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
