/* SPDX-License-Identifier: MIT */
/* The two threads of a device: what they run, how they park, how they come to rest for a reset. */
#include <string.h>
#include <time.h>
#include "zw_boot.h"
#include "zw_device_int.h"

/* Interrupts and stop requests end a slice early: its length only bounds the time between two looks
 * at the rest. */
#define RV_SLICE 10000000
/*
 * How long a thread looks for work before it sleeps. A job passes between three threads; waking a
 * sleeping one costs several microseconds each time, which a burst of short jobs need not pay. It
 * is short as all the spinning threads and the guest share the host's cores.
 */
#define SPIN_NS  20000

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool spin_until(struct zw_device *dev, bool (*ready)(struct zw_device *))
{
	uint64_t end = zw_dev_clock_ns() + SPIN_NS;

	do {
		for (int i = 0; i < 16; i++) {
			if (ready(dev))
				return true;
			cpu_relax();
		}
	} while (zw_dev_clock_ns() < end);
	return false;
}

/* -- command processor -- */

/* Runs dev->job on the calling thread, which is the only one that has it. */
static void cp_run(struct zw_device *dev)
{
	zw_mmu_run_begin(dev->mmu, dev->job.vm, dev->job.function);
	zw_cp_run(dev->cp, &dev->job);
	zw_mmu_run_end(dev->mmu);
}

/* The firmware that started the job gets its result. If it has ended meanwhile nobody does: its
 * memory belongs to whatever comes next. */
static void cp_done_locked(struct zw_device *dev)
{
	const size_t half = offsetof(struct zw_soc_job, end), size = sizeof(dev->job) - half;

	if (dev->run != ZW_RUN_FIRMWARE) {
		atomic_store(&dev->cp_status, ZW_SOC_CP_IDLE);
		return;
	}
	memcpy(dev->sram + dev->job_sram + half, (uint8_t *)&dev->job + half, size);
	zw_rv_invalidate(dev->rv, ZW_SOC_SRAM_BASE + dev->job_sram + half, size);
	atomic_store(&dev->cp_status, ZW_SOC_CP_DONE);
	zw_dev_irq_locked(dev, ZW_SOC_IRQ_CP, 0);
}

void zw_dev_cp_start(struct zw_device *dev)
{
	bool run, empty = dev->job.cmd_bytes == 0;

	pthread_mutex_lock(&dev->lock);
	run = dev->run == ZW_RUN_FIRMWARE;
	if (run) {
		/* From here on a stop request means this job, even before its thread has come to
		 * it. */
		zw_cp_arm(dev->cp);
		atomic_store(&dev->cp_status, ZW_SOC_CP_RUNNING);
		if (!empty) {
			dev->cp_busy = true;
			atomic_store(&dev->cp_start, true);
			pthread_cond_signal(&dev->cp_cond);
		}
	}
	pthread_mutex_unlock(&dev->lock);
	if (!run || !empty)
		return;
	/* No packets: two changes of thread would take longer than the job. */
	cp_run(dev);
	pthread_mutex_lock(&dev->lock);
	cp_done_locked(dev);
	pthread_mutex_unlock(&dev->lock);
}

static bool cp_ready(struct zw_device *dev)
{
	return atomic_load_explicit(&dev->cp_start, memory_order_relaxed);
}

/* Lock held; dropped on return. */
static void end_of_thread(struct zw_device *dev)
{
	bool last = --dev->threads == 0;

	pthread_mutex_unlock(&dev->lock);
	if (last && dev->ops.stopped)
		dev->ops.stopped(dev->opaque);
}

void *zw_dev_cp_main(void *opaque)
{
	struct zw_device *dev = opaque;

	pthread_mutex_lock(&dev->lock);
	while (dev->run != ZW_RUN_QUIT) {
		/* A paused device drops jobs, but runs none. */
		if (!dev->cp_busy || dev->frozen || (dev->pauses && dev->run == ZW_RUN_FIRMWARE)) {
			pthread_cond_wait(&dev->cp_cond, &dev->lock);
			continue;
		}
		atomic_store(&dev->cp_start, false);
		/* Else its firmware ended before we came to it. */
		if (dev->run == ZW_RUN_FIRMWARE) {
			dev->cp_running = true;
			pthread_mutex_unlock(&dev->lock);
			cp_run(dev);
			pthread_mutex_lock(&dev->lock);
			dev->cp_running = false;
			if (zw_cp_held(dev->cp)) {
				/* It is still there, and goes on after the pause. */
				pthread_cond_broadcast(&dev->rest_cond);
				continue;
			}
		} else {
			zw_cp_forget_held(dev->cp);
		}
		cp_done_locked(dev);
		dev->cp_busy = false;
		if (dev->pauses)
			pthread_cond_broadcast(&dev->rest_cond);
		if (dev->run != ZW_RUN_FIRMWARE) {
			/* The core may wait for this. */
			pthread_cond_signal(&dev->core_cond);
			continue;
		}
		pthread_mutex_unlock(&dev->lock);
		spin_until(dev, cp_ready);
		pthread_mutex_lock(&dev->lock);
	}
	end_of_thread(dev);
	return NULL;
}

/* -- control core -- */

/* The hart gave up. The host is shown the trap that started it, not the one that ended it. */
static void core_halted(struct zw_device *dev)
{
	struct zw_rv_halt halt = {0};
	uint64_t cause, pc;

	zw_rv_halt_info(dev->rv, &halt);
	cause = halt.cause;
	pc = halt.epc;
	if (halt.double_trap) {
		zw_rv_csr_read(dev->rv, ZW_RV_CSR_MCAUSE, &cause);
		zw_rv_csr_read(dev->rv, ZW_RV_CSR_MEPC, &pc);
	}
	pthread_mutex_lock(&dev->lock);
	if (dev->run == ZW_RUN_FIRMWARE) {
		zw_dev_enter_locked(dev, ZW_RUN_IDLE);
		atomic_store(&dev->fw_trap_cause, (uint32_t)(cause & 0x7fffffff) | ZW_FW_TRAPPED);
		atomic_store(&dev->fw_trap_pc, pc);
		atomic_store(&dev->boot_status, ZW_BOOT_HALTED);
	}
	pthread_mutex_unlock(&dev->lock);
	zw_dev_log(dev, ZW_LOG_ERROR, "control core: halted, cause 0x%llx at 0x%llx",
		   (unsigned long long)cause, (unsigned long long)pc);
	/* The host waits for replies that will not come: let it look. */
	zw_dev_raise(dev, 0, ZW_VECTOR_MBOX);
}

static bool core_ready(struct zw_device *dev)
{
	return atomic_load_explicit(&dev->attention, memory_order_relaxed) ||
	       zw_rv_wake_pending(dev->rv);
}

static void core_park(struct zw_device *dev)
{
	uint64_t deadline;
	struct timespec ts;

	if (spin_until(dev, core_ready))
		return;
	deadline = zw_rv_timer_deadline(dev->rv);
	if (deadline != UINT64_MAX) {
		uint64_t epoch = atomic_load(&dev->epoch_us);
		uint64_t us = deadline > UINT64_MAX / 2 - epoch ? UINT64_MAX / 2 : deadline + epoch;

		ts.tv_sec = (time_t)(us / 1000000);
		ts.tv_nsec = (long)(us % 1000000) * 1000;
	}
	pthread_mutex_lock(&dev->lock);
	if (!core_ready(dev)) {
		dev->core_sleeping = true;
		if (deadline == UINT64_MAX)
			pthread_cond_wait(&dev->core_cond, &dev->lock);
		else
			pthread_cond_timedwait(&dev->core_cond, &dev->lock, &ts);
		dev->core_sleeping = false;
	}
	pthread_mutex_unlock(&dev->lock);
}

/* An injected silence: until it is cleared, or the state changes. */
static void core_silent(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	if (!atomic_load(&dev->attention) && zw_inject_armed(&dev->inject, ZW_INJECT_FW_SILENCE))
		pthread_cond_wait(&dev->core_cond, &dev->lock);
	pthread_mutex_unlock(&dev->lock);
}

static void core_execute(struct zw_device *dev)
{
	if (zw_inject_armed(&dev->inject, ZW_INJECT_FW_SILENCE)) {
		core_silent(dev);
		return;
	}
	if (zw_inject_take(&dev->inject, ZW_INJECT_FW_TRAP))
		zw_rv_raise(dev->rv, ZW_RV_CAUSE_ILLEGAL, 0);
	switch (zw_rv_run(dev->rv, RV_SLICE)) {
	case ZW_RV_STOP_WFI:
		core_park(dev);
		break;
	case ZW_RV_STOP_HALT:
		core_halted(dev);
		break;
	case ZW_RV_STOP_BUDGET:
	case ZW_RV_STOP_EXTERNAL:
		break;
	}
}

/* True when there was something to do in this state. Lock held, dropped while doing it. */
static bool core_step_locked(struct zw_device *dev)
{
	void (*step)(struct zw_device *);

	if (dev->frozen || (dev->pauses && !zw_dev_resetting_locked(dev)))
		return false;
	switch (dev->run) {
	case ZW_RUN_BOOT:
		step = zw_boot_run;
		break;
	case ZW_RUN_FIRMWARE:
		step = core_execute;
		break;
	case ZW_RUN_STOP:
		step = zw_dev_clean;
		break;
	default:
		return false;
	}
	/* Boot and reset need a CP that is done with what the firmware before left it. */
	if (dev->run != ZW_RUN_FIRMWARE && dev->cp_busy)
		return false;
	if (dev->run == ZW_RUN_STOP)
		zw_dev_enter_locked(dev, ZW_RUN_CLEAN);
	dev->core_busy = true;
	pthread_mutex_unlock(&dev->lock);
	step(dev);
	pthread_mutex_lock(&dev->lock);
	dev->core_busy = false;
	if (dev->pauses)
		pthread_cond_broadcast(&dev->rest_cond);
	return true;
}

void *zw_dev_core_main(void *opaque)
{
	struct zw_device *dev = opaque;

	pthread_mutex_lock(&dev->lock);
	while (dev->run != ZW_RUN_QUIT) {
		atomic_store(&dev->attention, false);
		if (!core_step_locked(dev))
			pthread_cond_wait(&dev->core_cond, &dev->lock);
	}
	end_of_thread(dev);
	return NULL;
}
