/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_PERF_H__
#define __ZHENWU_PERF_H__

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

struct drm_device;
struct drm_file;
struct drm_zhenwu_queue_perf;
struct zhenwu_device;
struct zhenwu_file;
struct zhenwu_perf_queue;
struct zhenwu_perf_stream;
struct zhenwu_queue;
struct zw_perf_ctrl;
struct zw_perf_record;

/* Device ABI minor that has records. */
#define ZHENWU_PERF_ABI_MINOR 7

/**
 * struct zhenwu_perf - records of single packets
 */
struct zhenwu_perf {
	/**
	 * @mutex: Protects @num_streams and who asks the firmware for records; a reset does that
	 * without it, in a session of its own. Outside of all other locks.
	 */
	struct mutex mutex;

	/** @num_streams: Open streams. */
	unsigned int num_streams;

	/** @owners: &struct zhenwu_perf_queue by the number that the device knows. */
	struct xarray owners;

	/** @next_owner: Where the search for a number begins: an old one is not soon another's. */
	u32 next_owner;

	/** @lock: Protects all below. Not taken in interrupts. */
	spinlock_t lock;

	/** @streams: Open streams. */
	struct list_head streams;

	/** @ring: Where the firmware puts records. It may write there anything at any time. */
	struct zw_perf_record *ring;

	/** @ctrl: Behind it: what the firmware is told of what was read. */
	struct zw_perf_ctrl *ctrl;

	/** @dma: DMA address of both. */
	dma_addr_t dma;

	/** @on: The firmware was asked for records. */
	bool on;

	/** @last: Number of the record that was read last. */
	u64 last;

	/** @told: Number of that one when the firmware was last told of room. */
	u64 told;

	/** @dropped: What the device had dropped before that one. */
	u64 dropped;

	/** @work: Reads the ring. */
	struct work_struct work;
};

int zhenwu_perf_init_sw(struct zhenwu_device *zdev);
void zhenwu_perf_fini(struct zhenwu_device *zdev);
void zhenwu_perf_interrupt(struct zhenwu_device *zdev);
int zhenwu_perf_restart(struct zhenwu_device *zdev);
void zhenwu_perf_release(struct zhenwu_file *zfile);

struct zhenwu_perf_queue *zhenwu_perf_queue_add(struct zhenwu_device *zdev,
						struct zhenwu_perf_stream *stream, u32 id);
u32 zhenwu_perf_queue_owner(const struct zhenwu_perf_queue *pq);
void zhenwu_perf_queue_over(struct zhenwu_device *zdev, struct zhenwu_perf_queue *pq);
void zhenwu_perf_queue_put(struct zhenwu_perf_queue *pq);
void zhenwu_perf_submit(struct zhenwu_queue *queue, u64 job);
void zhenwu_perf_done(struct zhenwu_queue *queue, u64 job);
int zhenwu_perf_query(struct zhenwu_queue *queue, struct drm_zhenwu_queue_perf *out);

int zhenwu_ioctl_perf_open(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_perf_read(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_PERF_H__ */
