// SPDX-License-Identifier: GPL-2.0-only
/*
 * sysfs attributes of the PCI function.
 */

#include <linux/math64.h>

#include "zhenwu/zw_fw.h"
#include "zhenwu_device.h"
#include "zhenwu_sysfs.h"

static const char *zhenwu_health(struct zhenwu_device *zdev)
{
	switch (zhenwu_device_state(zdev)) {
	case ZHENWU_STATE_BOOTING:
		return "booting";
	case ZHENWU_STATE_LIVE:
		/* Pages of HBM that could not be taken out of use yet, or not at all. */
		if (READ_ONCE(zdev->hbm.bad.count) != READ_ONCE(zdev->hbm.bad.retired))
			return "degraded";
		return "ok";
	case ZHENWU_STATE_RESETTING:
	case ZHENWU_STATE_FLR:
		return "resetting";
	case ZHENWU_STATE_SUSPENDED:
		return "suspended";
	case ZHENWU_STATE_WEDGED:
		return "lost";
	default:
		return "removed";
	}
}

/* Read once: a reset may boot another one meanwhile. */
static ssize_t fw_version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);
	u32 v = READ_ONCE(zdev->fw.version);

	return sysfs_emit(buf, "%u.%u.%u\n", ZW_FW_VERSION_MAJOR(v), ZW_FW_VERSION_MINOR(v),
			  ZW_FW_VERSION_PATCH(v));
}
static DEVICE_ATTR_RO(fw_version);

ZHENWU_ATTR_RO(abi_version, "%u.%u", ZW_ABI_VERSION_MAJOR(zdev->info.abi_version),
	       ZW_ABI_VERSION_MINOR(zdev->info.abi_version));
ZHENWU_ATTR_RO(busy_time_us, "%llu", div_u64(zhenwu_usage_busy_ns(zdev), NSEC_PER_USEC));
ZHENWU_ATTR_RO(driver_version, "%u.%u", ZHENWU_DRIVER_MAJOR, ZHENWU_DRIVER_MINOR);
ZHENWU_ATTR_RO(evicted_bytes, "%llu", (u64)atomic64_read(&zdev->evict.bytes_out));
ZHENWU_ATTR_RO(hbm_total, "%llu", zdev->info.hbm_size);
ZHENWU_ATTR_RO(hbm_used, "%llu", zdev->info.hbm_size - zhenwu_hbm_free_bytes(zdev));
ZHENWU_ATTR_RO(health, "%s", zhenwu_health(zdev));
ZHENWU_ATTR_RO(num_links, "%u", zdev->info.num_links);
ZHENWU_ATTR_RO(profile, "%s", zdev->info.profile_name);
ZHENWU_ATTR_RO(purged_bytes, "%llu", (u64)atomic64_read(&zdev->purge.bytes));
ZHENWU_ATTR_RO(reset_count, "%u", READ_ONCE(zdev->reset.count));
ZHENWU_ATTR_RO(restored_bytes, "%llu", (u64)atomic64_read(&zdev->evict.bytes_in));
ZHENWU_ATTR_RO(uuid, "%pUb", zdev->info.uuid);

static struct attribute *zhenwu_sysfs_attrs[] = {
	&dev_attr_abi_version.attr,
	&dev_attr_busy_time_us.attr,
	&dev_attr_driver_version.attr,
	&dev_attr_evicted_bytes.attr,
	&dev_attr_fw_version.attr,
	&dev_attr_hbm_total.attr,
	&dev_attr_hbm_used.attr,
	&dev_attr_health.attr,
	&dev_attr_num_links.attr,
	&dev_attr_profile.attr,
	&dev_attr_purged_bytes.attr,
	&dev_attr_reset_count.attr,
	&dev_attr_restored_bytes.attr,
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
