/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_TELEMETRY_H__
#define __ZHENWU_TELEMETRY_H__

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

struct drm_device;
struct drm_file;
struct drm_zhenwu_telemetry_sample;
struct zhenwu_device;
struct zhenwu_file;
struct zw_telemetry;

/* Device ABI minor that has samples and sensors. */
#define ZHENWU_TELEMETRY_ABI_MINOR 5

/**
 * struct zhenwu_telemetry_values - what sensors show
 */
struct zhenwu_telemetry_values {
	/** @time_ns: When the sample was taken in, CLOCK_MONOTONIC; 0: there was none. */
	u64 time_ns;

	/** @energy_uj: Energy of all samples; goes on after a reset. */
	u64 energy_uj;

	/** @power_mw: Mean power since the sample before. */
	u32 power_mw;

	/** @temperature_mc: Thousandths of a degree Celsius. */
	s32 temperature_mc;
};

/**
 * struct zhenwu_telemetry - samples of a device
 */
struct zhenwu_telemetry {
	/**
	 * @mutex: Protects @wishes and who asks the firmware for samples; a reset does that without
	 * it, in a session of its own. Outside of all other locks.
	 */
	struct mutex mutex;

	/** @wishes: &struct zhenwu_telemetry_wish of those who want samples. */
	struct list_head wishes;

	/** @lock: Protects all below; taken in interrupts. */
	spinlock_t lock;

	/** @ring: Where the firmware puts samples. It may write there anything at any time. */
	struct zw_telemetry *ring;

	/** @dma: DMA address of @ring. */
	dma_addr_t dma;

	/** @history: Samples that were taken in, by number. */
	struct drm_zhenwu_telemetry_sample *history;

	/** @interval_us: What the firmware was asked for last; 0: nothing. */
	u32 interval_us;

	/** @last: Number in @ring of the sample that was taken in last. */
	u64 last;

	/** @last_ns: When, or since when there may have been any. */
	u64 last_ns;

	/** @resets: Resets before what is in @ring. */
	u32 resets;

	/** @seq: Our number of the newest sample, with those that are missing. */
	u64 seq;

	/** @newest: Values of the newest sample that is not missing. */
	struct zhenwu_telemetry_values newest;

	/** @energy: How its energy is counted. */
	struct {
		/** @energy.resets: Resets before the sample that was added last. */
		u32 resets;
		/** @energy.uj: The device's counter in it. */
		u64 uj;
	} energy;

	/** @wait: Readers. */
	wait_queue_head_t wait;
};

/**
 * struct zhenwu_telemetry_wish - what an open file, or the sensors, want
 */
struct zhenwu_telemetry_wish {
	/** @node: In the list of the device, while @interval_us is not 0. */
	struct list_head node;

	/** @interval_us: Longest time between two samples; 0: none are wanted. */
	u32 interval_us;
};

int zhenwu_telemetry_init_sw(struct zhenwu_device *zdev);
int zhenwu_telemetry_init(struct zhenwu_device *zdev);
void zhenwu_telemetry_fini(struct zhenwu_device *zdev);
void zhenwu_telemetry_poll(struct zhenwu_device *zdev);
int zhenwu_telemetry_restart(struct zhenwu_device *zdev);
int zhenwu_telemetry_want(struct zhenwu_device *zdev, struct zhenwu_telemetry_wish *wish,
			  u32 interval_us);
int zhenwu_telemetry_newest(struct zhenwu_device *zdev, u64 not_before_ns, unsigned long timeout,
			    struct zhenwu_telemetry_values *values);
void zhenwu_telemetry_release(struct zhenwu_file *zfile);

int zhenwu_ioctl_telemetry_set(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_telemetry_read(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_TELEMETRY_H__ */
