/* SPDX-License-Identifier: MIT */
/*
 * Inside of the device, shared by zw_device.c (life cycle), zw_threads.c, zw_regs.c (BAR0), zw_soc.c
 * (bus of the control core) and zw_boot.c (boot ROM).
 *
 * Threads and locks. The control-core thread runs firmware, boot ROM and every peripheral access;
 * the command-processor (CP) thread runs jobs; host threads come in through BAR0 accesses and reset
 * calls. `lock` covers what they decide together: interrupt lines, who sleeps, CP hand-over, boot
 * and reset state. It is held for a few instructions, never across a callback into the host, DMA,
 * firmware or an engine: that keeps BAR0 accesses O(1). Values that are only shown are atomics.
 */
#ifndef ZW_DEVICE_INT_H
#define ZW_DEVICE_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "zhenwu/zw_regs.h"
#include "zhenwu/zw_soc.h"
#include "rv/zw_rv.h"
#include "zw_core.h"
#include "zw_cp.h"
#include "zw_hbm.h"
#include "zw_mmu.h"
#include "zw_profile.h"

struct zw_pool;

struct zw_device {
	struct zw_host_ops ops;
	void *opaque;
	struct zw_profile profile;
	uint64_t aperture_size;
	uint32_t progress_ms;
	uint32_t caps;
	uint64_t epoch_us; /* host clock at mtime 0 */

	struct zw_hbm hbm;
	struct zw_pmu pmu;
	struct zw_mmu *mmu;
	struct zw_pool *pool;
	struct zw_cp *cp;
	struct zw_rv *rv;
	uint8_t *sram;

	pthread_t core_thread, cp_thread;
	bool core_started, cp_started;
	pthread_mutex_t lock;
	pthread_cond_t core_cond, cp_cond, rest_cond;

	/* -- under lock -- */
	bool quit;
	bool resetting;  /* threads are to come to rest and stay there */
	bool reset_host; /* zw_device_reset_begin() was called: the host finishes */
	bool reset_busy; /* the control-core thread is finishing a reset of its own */
	/* the thread has nothing in hand, and takes nothing up during a reset */
	bool core_at_rest, cp_at_rest;
	bool boot_requested;
	bool fw_running; /* the control core has something to execute */
	bool core_sleeping;
	bool mei; /* level of the external interrupt line */
	uint32_t irq_pending, irq_enable;
	uint64_t db_pending;
	/* upper half that goes with the lower half read last */
	uint32_t pmu_latch_off, pmu_latch_val;
	void (*rest_cb)(void *opaque);
	void *rest_opaque;

	/* -- written under lock, read anywhere -- */
	_Atomic bool attention; /* quit, reset, boot: something else to do for the core thread */
	_Atomic bool cp_start;
	_Atomic uint32_t cp_status;
	_Atomic uint32_t boot_status, boot_error, boot_detail;
	_Atomic uint32_t fw_trap_cause;
	_Atomic uint64_t fw_trap_pc;
	_Atomic uint64_t fw_addr, mbox_h2f, mbox_f2h;
	_Atomic uint32_t fw_size;

	/* -- written by the control-core thread only -- */
	_Atomic uint32_t fw_version, fw_heartbeat;

	/* Peripheral registers: control-core thread only (and reset, at rest). */
	struct {
		uint64_t dma_sys, dma_sram;
		uint32_t dma_len, dma_status;
		uint32_t mmu_vm, mmu_status;
		uint64_t cp_job;
		uint64_t scrub_addr, scrub_size;
		uint32_t scrub_status;
	} soc;

	struct zw_soc_job job; /* the CP's own copy; owned by whoever runs it */
	uint32_t job_sram;     /* where in SRAM the result goes */
};

/* -- zw_device.c -- */

__attribute__((format(printf, 3, 4))) void
zw_dev_log(struct zw_device *dev, enum zw_log_level level, const char *fmt, ...);
/* Sets or clears bits of the interrupt summary; wakes the control core. Takes the lock. */
void zw_dev_irq(struct zw_device *dev, uint32_t set, uint32_t clear);
/* The same with the lock held. */
void zw_dev_irq_locked(struct zw_device *dev, uint32_t set, uint32_t clear);
/* Makes the control-core thread look at quit, resetting and boot_requested. Lock held. */
void zw_dev_attention_locked(struct zw_device *dev);
/* Reset asked for by the driver: begins, and the control-core thread finishes. Takes the lock. */
void zw_dev_self_reset(struct zw_device *dev);
/* True when a long operation on the control-core thread should give up. */
bool zw_dev_stopping(void *dev);

/* Host's monotonic clock. */
uint64_t zw_dev_clock_ns(void);
/* Power-on state of all registers, SRAM, MMU, CP. Both threads are at rest; takes the lock. */
void zw_dev_reset_state(struct zw_device *dev);
/* Ends a reset: the threads go on. Lock held. */
void zw_dev_release_locked(struct zw_device *dev);

/* -- zw_threads.c -- */

/* Bodies of the threads; argument: the device. */
void *zw_dev_core_main(void *dev);
void *zw_dev_cp_main(void *dev);
/* Job hand-over, control-core thread. Runs dev->job: itself if it has no packets, else on the CP
 * thread. */
void zw_dev_cp_start(struct zw_device *dev);

/* -- zw_soc.c -- */

int zw_soc_load(void *dev, uint64_t addr, unsigned int size, uint64_t *val);
int zw_soc_store(void *dev, uint64_t addr, unsigned int size, uint64_t val);

#endif /* ZW_DEVICE_INT_H */
