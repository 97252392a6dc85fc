/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: counters. What a single job cost stands in its struct zw_job_result (zw_queue.h).
 */
#ifndef ZHENWU_PERF_H
#define ZHENWU_PERF_H

#include "base.h"
#include "device.h"
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

/** "tensor", "vector", ... of an enum zw_engine; "reserved" for others. Thread safe. */
ZW_API const char *zw_engine_name(uint32_t engine);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_PERF_H */
