/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: counters and samples of a device, counters of a queue. What a single job cost stands in its struct
 * zw_job_result (zw_queue.h).
 */
#ifndef ZHENWU_PERF_H
#define ZHENWU_PERF_H

#include "base.h"
#include "device.h"
#include "queue.h"
#include "trace.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_regs.h"
#include "zhenwu/zw_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Counters of the whole device since its last reset, all clients together. */
struct zw_dev_counters {
	uint32_t size; /**< in: sizeof; out: bytes filled */
	uint32_t reserved;
	uint64_t
		busy_ps[ZW_ENGINE_COUNT]; /**< simulated busy time by enum zw_engine, picoseconds */
	uint64_t hbm_read;                /**< bytes read from HBM */
	uint64_t hbm_written;
	uint64_t sys_read; /**< bytes read from system memory */
	uint64_t sys_written;
	uint64_t packets; /**< packets retired */
	uint64_t jobs;    /**< jobs completed, failed ones included */
	uint64_t faults;  /**< MMU faults */
	uint64_t tlb_hits;
	uint64_t tlb_misses;
	uint64_t fw_heartbeat; /**< counts up while the firmware lives */
};

/** Reads the counters; they are read one by one, not as a snapshot. -EACCES without
 * CAP_PERFMON, on drm: they cover all users. -ENODEV. Thread safe. */
ZW_API int zw_dev_get_counters(struct zw_dev *dev, struct zw_dev_counters *counters);

/**
 * What a queue has done, in the time of the whole device, in which queues contend (Documentation/device/time.md, "One
 * device"): sums of what zw_dev_read_trace() tells of single packets.
 */
struct zw_queue_perf {
	uint32_t size; /**< in: sizeof; out: bytes filled */
	uint32_t reserved;
	uint64_t job;    /**< number of the last job in it, all before included; 0: none yet */
	uint64_t end_ps; /**< when that ended, picoseconds as all below */
	uint64_t packets;
	uint64_t busy_ps[ZW_ENGINE_COUNT];     /**< by enum zw_engine */
	uint64_t port_busy_ps[ZW_TRACE_PORTS]; /**< by enum zw_trace_port_id */
	uint64_t wait_ps[ZW_TRACE_WAITS];      /**< by enum zw_trace_wait */
	uint64_t energy_pj; /**< of its packets; what the chip takes by itself is not in it */
	uint64_t ops;       /**< operations of products */
	uint64_t hbm_bytes; /**< read and written */
	uint64_t sys_bytes; /**< of system memory, likewise */
};

/**
 * Reads what a queue of ZW_QUEUE_PERF has done, up to the last job whose times are final. They are when no other queue can
 * add anything that runs earlier, which may be later than the job's fence: an idle queue, on drm also of another program,
 * holds up the others for some thousand packets. A reset of the device ends queues and what was not final with them.
 *
 * @return 0; -EINVAL a size, or a queue that does not count; -ENODEV
 * Thread safe.
 */
ZW_API int zw_queue_get_perf(struct zw_queue *queue, struct zw_queue_perf *perf);

/**
 * What a device was doing: a sample of its telemetry. Counters are those of one moment of the settled time
 * (Documentation/device/time.md), since the last reset, all clients together.
 */
struct zw_dev_sample {
	uint64_t seq;           /**< number, from 1 on; goes on after a reset */
	uint64_t time_ns;       /**< CLOCK_MONOTONIC, when the host took it in */
	uint64_t device_us;     /**< the device's clock when it was taken; 0 at its reset */
	uint32_t power_mw;      /**< mean over the simulated time since the sample before; idle
				    power if none passed */
	int32_t temperature_mc; /**< thousandths of a degree Celsius */
	uint32_t cap_mw;        /**< power limit; 0: none */
	uint32_t throttle;      /**< ZW_THROTTLE_* (zw_fw.h), since the sample before */
	uint32_t reset_count;   /**< resets so far: counters begin anew when it changes */
	uint32_t num_counters;  /**< that the device has; the rest are 0 */
	uint64_t counter[ZW_TELEMETRY_COUNTERS]; /**< see zw_dev_sample_counter() */
};

/** A counter of a sample by its register, ZW_PMU_* of zw_regs.h; 0 for one that the device has not. Thread safe. */
static inline uint64_t zw_dev_sample_counter(const struct zw_dev_sample *sample, uint32_t reg)
{
	uint32_t i = (reg - ZW_REG_PMU) / 8;

	return reg >= ZW_REG_PMU && i < sample->num_counters && i < ZW_TELEMETRY_COUNTERS
		       ? sample->counter[i]
		       : 0;
}

/**
 * Wants samples of the device, at most interval_us apart: ZW_TELEMETRY_MIN_US to ZW_TELEMETRY_MAX_US of the host's clock,
 * or 0 for none any more, which is how a device is opened. On drm others may want some, too: they come at the shortest of
 * the intervals. Thread safe.
 *
 * -EINVAL for another interval; -EACCES without CAP_PERFMON, on drm: they tell what others do; -EOPNOTSUPP when driver,
 * device or firmware are too old; -ENODEV.
 */
ZW_API int zw_dev_set_telemetry(struct zw_dev *dev, uint32_t interval_us);

/**
 * Reads samples, oldest first; waits for the first. The last 256 are kept for all readers, whose position is their own.
 * Thread safe; readers with a position each do not disturb each other.
 *
 * @param samples      room for max of them, sample_size bytes apart: sizeof(struct zw_dev_sample) as the caller knows it
 * @param seq          in: number of the first sample that is wanted, 0 for the next one that is taken; out: of the next
 *                     one to read
 * @param lost         out, may be NULL: how many samples in between are missing, because they were read too late or the
 *                     device did not get them across
 * @param deadline_ns  absolute, see zw_deadline(); 0 polls
 * @return how many were read, 0 when none came in time. -EINVAL for no samples, a bad size, or a position that cannot be
 *         the next one yet; -ENODATA when nothing is there and nobody wants samples; -EACCES, -EOPNOTSUPP, -ENODEV as
 *         above. Position and lost are unchanged on failure.
 */
ZW_API int zw_dev_read_telemetry(struct zw_dev *dev, struct zw_dev_sample *samples, size_t max,
				 size_t sample_size, uint64_t *seq, uint64_t *lost,
				 int64_t deadline_ns);

/** "tensor", "vector", ... of an enum zw_engine; "reserved" for others. Thread safe. */
ZW_API const char *zw_engine_name(uint32_t engine);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_PERF_H */
