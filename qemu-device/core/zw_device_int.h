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
 *
 * Nobody but zw_device_free() and zw_device_reset() waits for another thread: a thread that has
 * nothing to do in the current state (enum zw_run) sleeps until it changes. Neither of the two may
 * be called from a core thread.
 */
#ifndef ZW_DEVICE_INT_H
#define ZW_DEVICE_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_regs.h"
#include "zhenwu/zw_soc.h"
#include "rv/zw_rv.h"
#include "zw_core.h"
#include "zw_cp.h"
#include "zw_ecc.h"
#include "zw_hbm.h"
#include "zw_inject.h"
#include "zw_mmu.h"
#include "zw_perf.h"
#include "zw_profile.h"

struct zw_pool;

/*
 * What the device is doing; Documentation/device/boot.md has the diagram. Changed under the lock,
 * by zw_dev_enter_locked() alone.
 */
enum zw_run {
	ZW_RUN_IDLE,     /* no firmware; a job that an earlier one left is being stopped */
	ZW_RUN_BOOT,     /* BOOT_CTRL was accepted: the boot ROM's turn, once the CP is at rest */
	ZW_RUN_FIRMWARE, /* the hart executes and jobs run */
	ZW_RUN_STOP,     /* a reset was asked for: the threads come to rest */
	ZW_RUN_CLEAN,    /* both are: the control-core thread puts everything back */
	ZW_RUN_STUCK,    /* an injected fault: everything is back, and the reset does not end */
	ZW_RUN_HELD,     /* everything is back; the host has not let go yet */
	ZW_RUN_QUIT,     /* the threads end */
};

struct zw_device {
	struct zw_host_ops ops;
	void *opaque;
	struct zw_profile profile;
	uint64_t aperture_size;
	uint32_t progress_ms;
	uint32_t caps;
	uint32_t num_queues, num_vms;
	uint8_t uuid[16];
	_Atomic uint64_t epoch_us; /* host clock at mtime 0 */

	struct zw_hbm hbm;
	struct zw_inject_state inject;
	struct zw_pmu pmu;
	struct zw_perf perf;
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
	enum zw_run run;
	bool cp_busy;         /* the CP thread has a job, or is about to take it */
	bool scrub;           /* what the reset under way includes: HBM is zeroed, */
	bool hold;            /* and it ends only with zw_device_reset_end() */
	unsigned int threads; /* that have not ended */
	bool core_busy;       /* the core thread is in a step of its own, */
	bool cp_running;      /* the CP thread in a job */
	unsigned int pauses;  /* calls of zw_device_pause() that were not undone */
	bool frozen;          /* nobody but zw_save.c changes anything, not even a reset */
	bool clock_stopped;   /* since ... */
	uint64_t stopped_at_us;
	bool core_sleeping;
	bool mei; /* level of the external interrupt line */
	uint32_t irq_pending, irq_enable;
	uint64_t db_summary;               /* bit b: db_pending[b] is not zero */
	uint64_t db_pending[ZW_SOC_BANKS]; /* bit i of bank b: queue 64 * b + i rang */
	struct zw_ecc_log ecc[2]; /* enum zw_ecc_kind; zw_dev_ecc_locked() after a change */
	/* upper half that goes with the lower half read last */
	uint32_t pmu_latch_off, pmu_latch_val;

	/* -- written under lock, read anywhere -- */
	_Atomic bool attention; /* the state changed: the core thread is to look at it */
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
		uint32_t dma_len, dma_status, dma_function, dma_vm;
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
/* The interrupt line of errors of HBM follows their logs. Lock held. */
void zw_dev_ecc_locked(struct zw_device *dev);
/* An error of HBM was found in the page of addr, which is inside. Takes the lock. */
void zw_dev_ecc(struct zw_device *dev, enum zw_ecc_kind kind, uint64_t addr);
/* The one way from state to state: stops and wakes whom it concerns. Lock held. */
void zw_dev_enter_locked(struct zw_device *dev, enum zw_run run);
/* Interrupts the host. No lock held. */
void zw_dev_raise(struct zw_device *dev, unsigned int function, unsigned int vector);
/* A reset is under way: registers belong to it. Lock held. */
static inline bool zw_dev_resetting_locked(const struct zw_device *dev)
{
	return dev->run >= ZW_RUN_STOP;
}
/* Reset asked for by the driver. Takes the lock. */
void zw_dev_self_reset(struct zw_device *dev);
/* True when a long operation of firmware or boot ROM should give up. */
bool zw_dev_stopping(void *dev);

/* Host's monotonic clock. */
uint64_t zw_dev_clock_ns(void);
/* ZW_RUN_CLEAN on the control-core thread: registers, SRAM, MMU and CP as after power-on, HBM zeroed
 * if that was asked for. Takes the lock. */
void zw_dev_clean(struct zw_device *dev);
/* The part of it that is neither HBM nor the state of the run. Both threads are at rest. */
void zw_dev_reset_state(struct zw_device *dev);

/* -- zw_threads.c -- */

/* Bodies of the threads; argument: the device. */
void *zw_dev_core_main(void *dev);
void *zw_dev_cp_main(void *dev);
/* Job hand-over, control-core thread. Runs dev->job: itself if it has no packets, else on the CP
 * thread. */
void zw_dev_cp_start(struct zw_device *dev);

/* -- zw_regs.c -- */

/* All counters, in the order of their registers; those of the settled time belong together. */
void zw_dev_pmu_snapshot(struct zw_device *dev, uint64_t counter[ZW_PMU_COUNT]);
/* As ZW_REG_TEMPERATURE_MC and ZW_REG_CAP_MW read. */
uint32_t zw_dev_temperature_mc(struct zw_device *dev);
uint32_t zw_dev_cap_mw(const struct zw_device *dev);

/* -- zw_soc.c -- */

int zw_soc_load(void *dev, uint64_t addr, unsigned int size, uint64_t *val);
int zw_soc_store(void *dev, uint64_t addr, unsigned int size, uint64_t val);

#endif /* ZW_DEVICE_INT_H */
