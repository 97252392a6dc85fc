// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sensors: temperature, power and energy, out of samples (zhenwu_telemetry.c). No register is read,
 * so nothing happens to who reads during a reset or a removal.
 *
 * Samples are taken while somebody reads, and for a while after that: a monitor that looks every
 * few seconds finds them there. A value is at most two seconds old; when none comes, as in a reset,
 * there is none: -ENODATA. Only a card that sleeps is not woken up: it shows the last one there
 * was. And a value changes at most once per second, however often the device is sampled for others:
 * everybody may read sensors, what exactly others do is for CAP_PERFMON.
 */

#include <linux/err.h>
#include <linux/hwmon.h>
#include <linux/jiffies.h>
#include <linux/timekeeping.h>

#include <drm/drm_print.h>

#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_hwmon.h"

/* Interval of the samples that are wanted here. */
#define ZHENWU_HWMON_INTERVAL_US	(500 * USEC_PER_MSEC)

/* How long values stay the same, and how old they may be. */
#define ZHENWU_HWMON_KEEP_NS		NSEC_PER_SEC
#define ZHENWU_HWMON_OLD_NS		(2 * NSEC_PER_SEC)

/* How long the first reader waits for a sample. */
#define ZHENWU_HWMON_WAIT_MS		3000

/* How long samples are taken after somebody read. */
#define ZHENWU_HWMON_IDLE_MS		10000

/* The device is awake. */
static int zhenwu_hwmon_sample_locked(struct zhenwu_device *zdev, u64 now)
{
	struct zhenwu_hwmon *hwmon = &zdev->hwmon;
	struct zhenwu_telemetry_values values;
	int ret;

	lockdep_assert_held(&hwmon->lock);

	ret = zhenwu_telemetry_want(zdev, &hwmon->wish, ZHENWU_HWMON_INTERVAL_US);
	if (ret)
		return ret;
	mod_delayed_work(zhenwu_release_wq, &hwmon->idle, msecs_to_jiffies(ZHENWU_HWMON_IDLE_MS));
	ret = zhenwu_telemetry_newest(zdev, now - ZHENWU_HWMON_OLD_NS,
				      msecs_to_jiffies(ZHENWU_HWMON_WAIT_MS), &values);
	if (!ret)
		hwmon->values = values;
	return ret;
}

/* Gets new values when those that there are were shown long enough. */
static int zhenwu_hwmon_update_locked(struct zhenwu_device *zdev)
{
	struct zhenwu_hwmon *hwmon = &zdev->hwmon;
	u64 now = ktime_get_ns();
	int ret;

	lockdep_assert_held(&hwmon->lock);

	if (!zhenwu_device_alive(zdev))
		return -ENODEV;
	if (hwmon->values.time_ns && now - hwmon->values.time_ns < ZHENWU_HWMON_KEEP_NS)
		return 0;
	/* A card that sleeps is not woken up to be looked at: what it said last. */
	if (!zhenwu_pm_peek(zdev))
		return hwmon->values.time_ns ? 0 : -ENODATA;
	ret = zhenwu_hwmon_sample_locked(zdev, now);
	zhenwu_pm_unpeek(zdev);
	return ret;
}

/**
 * zhenwu_hwmon_sleep() - the device goes to sleep: want no more samples
 * @zdev: device that is still awake
 */
void zhenwu_hwmon_sleep(struct zhenwu_device *zdev)
{
	mutex_lock(&zdev->hwmon.lock);
	zhenwu_telemetry_want(zdev, &zdev->hwmon.wish, 0);
	mutex_unlock(&zdev->hwmon.lock);
}

static void zhenwu_hwmon_idle_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(to_delayed_work(work), struct zhenwu_device,
						  hwmon.idle);

	mutex_lock(&zdev->hwmon.lock);
	zhenwu_telemetry_want(zdev, &zdev->hwmon.wish, 0);
	mutex_unlock(&zdev->hwmon.lock);
}

static umode_t zhenwu_hwmon_is_visible(const void *data, enum hwmon_sensor_types type, u32 attr,
				       int channel)
{
	const struct zhenwu_device *zdev = data;

	return type == hwmon_power && attr == hwmon_power_cap && !zdev->info.cap_mw ? 0 : 0444;
}

static int zhenwu_hwmon_read(struct device *dev, enum hwmon_sensor_types type, u32 attr,
			     int channel, long *val)
{
	struct zhenwu_device *zdev = dev_get_drvdata(dev);
	struct zhenwu_hwmon *hwmon = &zdev->hwmon;
	int ret;

	if (type == hwmon_power && attr == hwmon_power_cap) {
		/* hwmon has microwatts. */
		*val = (long)min_t(u64, zdev->info.cap_mw * 1000ull, LONG_MAX);
		return 0;
	}
	ret = mutex_lock_interruptible(&hwmon->lock);
	if (ret)
		return ret;
	ret = zhenwu_hwmon_update_locked(zdev);
	if (ret)
		goto out;
	switch (type) {
	case hwmon_temp:
		*val = hwmon->values.temperature_mc;
		break;
	case hwmon_power:
		*val = (long)min_t(u64, hwmon->values.power_mw * 1000ull, LONG_MAX);
		break;
	case hwmon_energy:
		*val = (long)min_t(u64, hwmon->values.energy_uj, LONG_MAX);
		break;
	default:
		ret = -EOPNOTSUPP;
	}
out:
	mutex_unlock(&hwmon->lock);
	return ret;
}

static int zhenwu_hwmon_read_string(struct device *dev, enum hwmon_sensor_types type, u32 attr,
				    int channel, const char **str)
{
	*str = type == hwmon_temp ? "chip" : "card";
	return 0;
}

static const struct hwmon_ops zhenwu_hwmon_ops = {
	.is_visible = zhenwu_hwmon_is_visible,
	.read = zhenwu_hwmon_read,
	.read_string = zhenwu_hwmon_read_string,
};

/* The device has sensors of neither voltages nor clocks. */
static const struct hwmon_channel_info * const zhenwu_hwmon_channels[] = {
	HWMON_CHANNEL_INFO(temp, HWMON_T_INPUT | HWMON_T_LABEL),
	HWMON_CHANNEL_INFO(power, HWMON_P_AVERAGE | HWMON_P_CAP | HWMON_P_LABEL),
	HWMON_CHANNEL_INFO(energy, HWMON_E_INPUT | HWMON_E_LABEL),
	NULL
};

static const struct hwmon_chip_info zhenwu_hwmon_chip = {
	.ops = &zhenwu_hwmon_ops,
	.info = zhenwu_hwmon_channels,
};

/**
 * zhenwu_hwmon_init() - show the sensors, if there are any
 * @zdev: device that works
 *
 * The device is of use without: a failure is only said.
 */
void zhenwu_hwmon_init(struct zhenwu_device *zdev)
{
	struct zhenwu_hwmon *hwmon = &zdev->hwmon;
	struct device *dev;

	mutex_init(&hwmon->lock);
	INIT_DELAYED_WORK(&hwmon->idle, zhenwu_hwmon_idle_work);
	if (!IS_REACHABLE(CONFIG_HWMON) ||
	    ZW_ABI_VERSION_MINOR(zdev->info.abi_version) < ZHENWU_TELEMETRY_ABI_MINOR)
		return;
	dev = hwmon_device_register_with_info(&zdev->pdev->dev, ZHENWU_DRIVER_NAME, zdev,
					      &zhenwu_hwmon_chip, NULL);
	if (IS_ERR(dev))
		drm_warn(&zdev->drm, "no sensors: %ld\n", PTR_ERR(dev));
	else
		hwmon->dev = dev;
}

/**
 * zhenwu_hwmon_fini() - take the sensors away
 * @zdev: device that was stopped, which has woken up who waits for a sample
 */
void zhenwu_hwmon_fini(struct zhenwu_device *zdev)
{
	struct zhenwu_hwmon *hwmon = &zdev->hwmon;

	/* Waits for readers. */
	if (hwmon->dev)
		hwmon_device_unregister(hwmon->dev);
	hwmon->dev = NULL;
	cancel_delayed_work_sync(&hwmon->idle);
	mutex_lock(&hwmon->lock);
	zhenwu_telemetry_want(zdev, &hwmon->wish, 0);
	mutex_unlock(&hwmon->lock);
	mutex_destroy(&hwmon->lock);
}
