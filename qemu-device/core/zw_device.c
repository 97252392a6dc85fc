/* SPDX-License-Identifier: MIT */
/* Life of a device: its parts, interrupt lines, reset. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "zw_boot.h"
#include "zw_device_int.h"
#include "engine/zw_pool.h"

/*
 * A packet moves the progress counter by tiles of well under a millisecond of work; what is to be
 * waited for is an engine thread that an overcommitted host does not let run.
 */
#define DEFAULT_PROGRESS_MS 5000
#define SRAM_ALIGN          4096

uint64_t zw_dev_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t mtime(void *opaque)
{
	struct zw_device *dev = opaque;

	return zw_dev_clock_ns() / 1000 - atomic_load(&dev->epoch_us);
}

void zw_dev_log(struct zw_device *dev, enum zw_log_level level, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	if (!dev->ops.log)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	dev->ops.log(dev->opaque, level, line);
}

/* -- interrupts, attention -- */

void zw_dev_irq_locked(struct zw_device *dev, uint32_t set, uint32_t clear)
{
	bool level;

	dev->irq_pending = (dev->irq_pending & ~clear) | set;
	level = dev->irq_pending & dev->irq_enable;
	if (level != dev->mei) {
		dev->mei = level;
		zw_rv_set_irq(dev->rv, ZW_RV_IRQ_MEI, level);
	}
	if (level && dev->core_sleeping)
		pthread_cond_signal(&dev->core_cond);
}

void zw_dev_irq(struct zw_device *dev, uint32_t set, uint32_t clear)
{
	pthread_mutex_lock(&dev->lock);
	zw_dev_irq_locked(dev, set, clear);
	pthread_mutex_unlock(&dev->lock);
}

void zw_dev_ecc_locked(struct zw_device *dev)
{
	bool any = dev->ecc[ZW_ECC_CORRECTED].num || dev->ecc[ZW_ECC_UNCORRECTABLE].num;

	zw_dev_irq_locked(dev, any ? ZW_SOC_IRQ_ECC : 0, any ? 0 : ZW_SOC_IRQ_ECC);
}

void zw_dev_ecc(struct zw_device *dev, enum zw_ecc_kind kind, uint64_t addr)
{
	pthread_mutex_lock(&dev->lock);
	zw_ecc_add(&dev->ecc[kind], addr & ~(uint64_t)(ZW_PAGE_SIZE - 1));
	zw_dev_ecc_locked(dev);
	pthread_mutex_unlock(&dev->lock);
}

void zw_dev_raise(struct zw_device *dev, unsigned int function, unsigned int vector)
{
	if (dev->ops.msix_raise && !zw_inject_take(&dev->inject, ZW_INJECT_LOST_IRQ))
		dev->ops.msix_raise(dev->opaque, function, vector);
}

void zw_dev_enter_locked(struct zw_device *dev, enum zw_run run)
{
	dev->run = run;
	/* Leaving FIRMWARE takes the job with it. With the lock held: it cannot be the next one. */
	if (run != ZW_RUN_FIRMWARE)
		zw_cp_cancel(dev->cp);
	atomic_store(&dev->attention, true);
	zw_rv_request_stop(dev->rv);
	pthread_cond_signal(&dev->core_cond);
	pthread_cond_signal(&dev->cp_cond);
	pthread_cond_broadcast(&dev->rest_cond);
}

bool zw_dev_stopping(void *opaque)
{
	struct zw_device *dev = opaque;
	bool stop;

	pthread_mutex_lock(&dev->lock);
	stop = zw_dev_resetting_locked(dev);
	pthread_mutex_unlock(&dev->lock);
	return stop;
}

static void tlb_idle(void *opaque)
{
	zw_dev_irq(opaque, ZW_SOC_IRQ_TLB, 0);
}

/* -- callbacks of the parts -- */

/* Between two packets. */
static void cp_boundary(void *opaque)
{
	struct zw_device *dev = opaque;

	zw_mmu_boundary(dev->mmu);
}

/* A copy of the running job's is to be given up. */
static bool cp_stopping(void *opaque)
{
	struct zw_device *dev = opaque;

	return zw_cp_cancelled(dev->cp);
}

static void cp_log(void *opaque, const char *msg)
{
	zw_dev_log(opaque, ZW_LOG_GUEST_ERROR, "%s", msg);
}

static void cp_settled(void *opaque, const struct zw_settled_job *job)
{
	struct zw_device *dev = opaque;

	if (dev->ops.job_settled)
		dev->ops.job_settled(dev->opaque, job);
	if (job->owner && zw_perf_job(&dev->perf, job))
		zw_dev_irq(dev, ZW_SOC_IRQ_PERF, 0);
}

static void cp_packet_settled(void *opaque, const struct zw_settled_packet *packet)
{
	struct zw_device *dev = opaque;

	if (dev->ops.packet_settled)
		dev->ops.packet_settled(dev->opaque, packet);
	if (packet->owner && zw_perf_packet(&dev->perf, packet))
		zw_dev_irq(dev, ZW_SOC_IRQ_PERF, 0);
}

static void cp_queue_settled(void *opaque, unsigned int queue, uint32_t owner)
{
	struct zw_device *dev = opaque;

	if (zw_perf_end(&dev->perf, queue, owner))
		zw_dev_irq(dev, ZW_SOC_IRQ_PERF, 0);
}

static void rv_trap(void *opaque, uint64_t cause, uint64_t epc, uint64_t tval)
{
	/* Interrupts are the firmware's daily life. */
	if (!(cause & ZW_RV_CAUSE_INTERRUPT))
		zw_dev_log(opaque, ZW_LOG_INFO,
			   "control core: exception %llu at 0x%llx, tval 0x%llx",
			   (unsigned long long)cause, (unsigned long long)epc,
			   (unsigned long long)tval);
}

/* -- reset -- */

static void reset_counters(struct zw_pmu *pmu)
{
	_Atomic uint64_t *const all[] = ZW_PMU_COUNTERS(pmu);

	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		atomic_store(&pmu->busy_ps[i], 0);
	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		atomic_store(&pmu->settled_busy_ps[i], 0);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		atomic_store(all[i], 0);
	atomic_store(&pmu->progress, 0);
}

/* All registers as after power-on. Both threads are at rest. */
void zw_dev_reset_state(struct zw_device *dev)
{
	memset(dev->sram, 0, ZW_SOC_SRAM_SIZE);
	zw_mmu_reset(dev->mmu);
	zw_cp_reset(dev->cp);
	zw_pool_resume(dev->pool);
	reset_counters(&dev->pmu);
	memset(&dev->soc, 0, sizeof(dev->soc));
	memset(&dev->job, 0, sizeof(dev->job));
	zw_rv_reset(dev->rv, ZW_SOC_SRAM_BASE);
	zw_rv_invalidate(dev->rv, ZW_SOC_SRAM_BASE, ZW_SOC_SRAM_SIZE);
	zw_inject_reset(&dev->inject);
	zw_perf_reset(&dev->perf);

	pthread_mutex_lock(&dev->lock);
	dev->irq_pending = 0;
	dev->irq_enable = 0;
	dev->db_summary = 0;
	memset(dev->db_pending, 0, sizeof(dev->db_pending));
	dev->pmu_latch_off = 0;
	/* Counters begin anew. What is lost of HBM's contents stays lost. */
	dev->ecc[ZW_ECC_CORRECTED].num = 0;
	zw_dev_ecc_locked(dev);
	atomic_store(&dev->cp_start, false);
	atomic_store(&dev->cp_status, ZW_SOC_CP_IDLE);
	atomic_store(&dev->boot_status, ZW_BOOT_IDLE);
	atomic_store(&dev->boot_error, ZW_BOOT_ERR_NONE);
	atomic_store(&dev->boot_detail, 0);
	atomic_store(&dev->fw_trap_cause, 0);
	atomic_store(&dev->fw_trap_pc, 0);
	atomic_store(&dev->fw_version, 0);
	atomic_store(&dev->fw_heartbeat, 0);
	atomic_store(&dev->fw_addr, 0);
	atomic_store(&dev->fw_size, 0);
	atomic_store(&dev->mbox_h2f, 0);
	atomic_store(&dev->mbox_f2h, 0);
	pthread_mutex_unlock(&dev->lock);
}

/* A newer reset, or the end, has come. */
static bool not_clean(void *opaque)
{
	struct zw_device *dev = opaque;
	bool stop;

	pthread_mutex_lock(&dev->lock);
	stop = dev->run != ZW_RUN_CLEAN;
	pthread_mutex_unlock(&dev->lock);
	return stop;
}

void zw_dev_clean(struct zw_device *dev)
{
	bool scrub, hold;

	pthread_mutex_lock(&dev->lock);
	scrub = dev->scrub;
	pthread_mutex_unlock(&dev->lock);
	if (scrub && zw_hbm_scrub(&dev->hbm, 0, dev->hbm.size, not_clean, dev))
		return; /* what came meanwhile starts over */
	zw_dev_reset_state(dev);
	pthread_mutex_lock(&dev->lock);
	if (scrub) {
		dev->ecc[ZW_ECC_UNCORRECTABLE].num = 0;
		zw_dev_ecc_locked(dev);
	}
	hold = dev->hold;
	if (dev->run == ZW_RUN_CLEAN && zw_inject_armed(&dev->inject, ZW_INJECT_STUCK_RESET)) {
		zw_dev_enter_locked(dev, ZW_RUN_STUCK);
		hold = false;
	} else if (dev->run == ZW_RUN_CLEAN) {
		dev->scrub = false;
		dev->hold = false;
		zw_dev_enter_locked(dev, hold ? ZW_RUN_HELD : ZW_RUN_IDLE);
	} else {
		hold = false;
	}
	pthread_mutex_unlock(&dev->lock);
	if (hold)
		dev->ops.reset_done(dev->opaque);
}

void zw_dev_self_reset(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	if (!zw_dev_resetting_locked(dev))
		zw_dev_enter_locked(dev, ZW_RUN_STOP);
	pthread_mutex_unlock(&dev->lock);
}

void zw_device_reset_begin(struct zw_device *dev, bool scrub_hbm)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->run != ZW_RUN_QUIT) {
		dev->scrub |= scrub_hbm;
		dev->hold |= dev->ops.reset_done != NULL;
		zw_dev_enter_locked(dev, ZW_RUN_STOP);
	}
	pthread_mutex_unlock(&dev->lock);
}

bool zw_device_reset_end(struct zw_device *dev)
{
	bool held;

	pthread_mutex_lock(&dev->lock);
	held = dev->run == ZW_RUN_HELD;
	if (held)
		zw_dev_enter_locked(dev, ZW_RUN_IDLE);
	pthread_mutex_unlock(&dev->lock);
	return held;
}

void zw_device_reset(struct zw_device *dev, bool scrub_hbm)
{
	zw_device_reset_begin(dev, scrub_hbm);
	pthread_mutex_lock(&dev->lock);
	while (zw_dev_resetting_locked(dev))
		pthread_cond_wait(&dev->rest_cond, &dev->lock);
	pthread_mutex_unlock(&dev->lock);
}

void zw_device_stop(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	zw_dev_enter_locked(dev, ZW_RUN_QUIT);
	pthread_mutex_unlock(&dev->lock);
}

/* -- make and free -- */

void zw_device_time(struct zw_device *dev, struct zw_device_time *out)
{
	const struct zw_pmu *p = &dev->pmu;

	out->settled_ps = p->settled_ps;
	out->jobs = p->settled_jobs;
	out->packets = p->settled_packets;
	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		out->engine_busy_ps[i] = p->settled_busy_ps[i];
	for (unsigned int i = 0; i < ZW_PORTS; i++)
		out->port_busy_ps[i] = p->port_busy_ps[i];
	for (unsigned int i = 0; i < ZW_WAITS; i++)
		out->wait_ps[i] = p->wait_ps[i];
}

uint64_t zw_device_hbm_size(const struct zw_device *dev)
{
	return dev->hbm.size;
}

void *zw_device_hbm(struct zw_device *dev)
{
	return dev->hbm.base;
}

uint64_t zw_device_backing_left(struct zw_device *dev)
{
	return zw_hbm_left(&dev->hbm);
}

static int refuse(char *err, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int refuse(char *err, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, len, fmt, ap);
	va_end(ap);
	return -1;
}

static int check_config(const struct zw_device_config *cfg, const struct zw_host_ops *ops,
			uint64_t hbm_size, char *err, size_t len)
{
	if (!ops->dma_read || !ops->dma_write)
		return refuse(err, len, "host operations lack dma_read or dma_write");
	if (!hbm_size || hbm_size % ZW_HBM_CHUNK || hbm_size > ZW_PTE_ADDR_MASK)
		return refuse(err, len, "HBM size %llu is not a positive multiple of 2 MiB",
			      (unsigned long long)hbm_size);
	if (cfg->aperture_size > hbm_size)
		return refuse(err, len, "aperture of %llu bytes is larger than HBM (%llu bytes)",
			      (unsigned long long)cfg->aperture_size, (unsigned long long)hbm_size);
	if (cfg->num_queues > ZW_MAX_QUEUES || cfg->num_vms > ZW_MAX_VMS)
		return refuse(err, len, "%u queues and %u VMs: at most %u and %u", cfg->num_queues,
			      cfg->num_vms, ZW_MAX_QUEUES, ZW_MAX_VMS);
	if (cfg->workers < 0 || cfg->workers > ZW_POOL_MAX_WORKERS)
		return refuse(err, len, "workers must be 0..%d, not %d", ZW_POOL_MAX_WORKERS,
			      cfg->workers);
	return 0;
}

static int make_parts(struct zw_device *dev, const struct zw_device_config *cfg, uint64_t hbm_size,
		      char *err, size_t len)
{
	struct zw_mmu_config mmu = {.hbm = &dev->hbm,
				    .sram_bytes =
					    dev->profile.sram_bytes & ~(uint64_t)(ZW_PAGE_SIZE - 1),
				    .ops = &dev->ops,
				    .opaque = dev->opaque,
				    .pmu = &dev->pmu,
				    .inject = &dev->inject,
				    .idle = tlb_idle,
				    .idle_opaque = dev,
				    .stopping = cp_stopping,
				    .stopping_opaque = dev};
	struct zw_rv_config rv = {.bus = {.load = zw_soc_load, .store = zw_soc_store},
				  .opaque = dev,
				  .ram_base = ZW_SOC_SRAM_BASE,
				  .ram_size = ZW_SOC_SRAM_SIZE,
				  .clint = true,
				  .clint_base = ZW_SOC_MTIMECMP - ZW_RV_CLINT_MTIMECMP,
				  .mtime = mtime,
				  .trap = rv_trap};
	struct zw_cp_config cp = {.profile = &dev->profile,
				  .num_queues = dev->num_queues,
				  .pmu = &dev->pmu,
				  .inject = &dev->inject,
				  .log = cp_log,
				  .log_opaque = dev,
				  .boundary = cp_boundary,
				  .boundary_opaque = dev,
				  .settled = cp_settled,
				  .packet_settled = cp_packet_settled,
				  .queue_settled = cp_queue_settled,
				  .settled_opaque = dev,
				  .settled_owned = cfg->settled_owned || (!dev->ops.job_settled &&
									  !dev->ops.packet_settled),
				  .timing_only = cfg->timing_only,
				  .route = cfg->route,
				  .routed = cfg->routed,
				  .route_opaque = cfg->route_opaque};
	int ret;

	_Static_assert(ZW_SOC_MTIME - ZW_SOC_MTIMECMP == ZW_RV_CLINT_MTIME - ZW_RV_CLINT_MTIMECMP,
		       "the timer registers are a CLINT's");
	ret = zw_hbm_init(&dev->hbm, cfg->hbm, hbm_size, cfg->hbm_backing_limit, &dev->ops,
			  dev->opaque);
	if (ret)
		return refuse(err, len, "cannot map %llu bytes of HBM: %s",
			      (unsigned long long)hbm_size, strerror(-ret));
	dev->sram = aligned_alloc(SRAM_ALIGN, ZW_SOC_SRAM_SIZE);
	if (!dev->sram)
		return refuse(err, len, "no memory for the control core's SRAM");
	memset(dev->sram, 0, ZW_SOC_SRAM_SIZE);
	rv.ram = dev->sram;
	ret = zw_rv_new(&rv, &dev->rv);
	if (ret)
		return refuse(err, len, "cannot make the control core: %s", strerror(-ret));
	dev->mmu = zw_mmu_new(&mmu);
	dev->pool = zw_pool_new((unsigned int)cfg->workers);
	if (!dev->mmu || !dev->pool)
		return refuse(err, len, "cannot make the engines with %d workers: %s", cfg->workers,
			      strerror(errno));
	cp.mmu = dev->mmu;
	cp.pool = dev->pool;
	dev->cp = zw_cp_new(&cp);
	if (!dev->cp)
		return refuse(err, len, "no memory for the command processor");
	return 0;
}

static int start_threads(struct zw_device *dev, char *err, size_t len)
{
	int ret;

	dev->threads = 2;
	ret = pthread_create(&dev->core_thread, NULL, zw_dev_core_main, dev);
	dev->core_started = ret == 0;
	if (!ret) {
		ret = pthread_create(&dev->cp_thread, NULL, zw_dev_cp_main, dev);
		dev->cp_started = ret == 0;
	}
	if (ret)
		return refuse(err, len, "cannot start the device's threads: %s", strerror(ret));
	pthread_setname_np(dev->core_thread, "zw-core");
	pthread_setname_np(dev->cp_thread, "zw-cp");
	return 0;
}

struct zw_device *zw_device_new(const struct zw_device_config *cfg, const struct zw_host_ops *ops,
				void *opaque, char *err, size_t err_len)
{
	uint64_t hbm_size = cfg->hbm_size ? cfg->hbm_size : cfg->profile->hbm_bytes;
	pthread_condattr_t attr;
	struct zw_device *dev;

	if (check_config(cfg, ops, hbm_size, err, err_len))
		return NULL;
	dev = calloc(1, sizeof(*dev));
	if (!dev) {
		refuse(err, err_len, "no memory for a device");
		return NULL;
	}
	dev->ops = *ops;
	dev->opaque = opaque;
	dev->profile = *cfg->profile;
	dev->aperture_size = cfg->aperture_size ? cfg->aperture_size : hbm_size;
	dev->progress_ms = cfg->progress_ms ? cfg->progress_ms : DEFAULT_PROGRESS_MS;
	dev->caps = ZW_CAP_USER_QUEUES | (cfg->workers ? 0 : ZW_CAP_WORKERS_SYNC);
	dev->num_queues = cfg->num_queues ? cfg->num_queues : ZW_DEFAULT_QUEUES;
	dev->num_vms = cfg->num_vms ? cfg->num_vms : ZW_DEFAULT_VMS;
	memcpy(dev->uuid, cfg->uuid, sizeof(dev->uuid));
	dev->epoch_us = zw_dev_clock_ns() / 1000;
	zw_inject_init(&dev->inject);
	pthread_mutex_init(&dev->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->core_cond, &attr);
	pthread_cond_init(&dev->cp_cond, &attr);
	pthread_cond_init(&dev->rest_cond, &attr);
	pthread_condattr_destroy(&attr);
	if (!zw_perf_init(&dev->perf, &dev->inject)) {
		refuse(err, err_len, "no memory for records");
		zw_device_free(dev);
		return NULL;
	}
	if (make_parts(dev, cfg, hbm_size, err, err_len) || start_threads(dev, err, err_len)) {
		zw_device_free(dev);
		return NULL;
	}
	return dev;
}

void zw_device_free(struct zw_device *dev)
{
	if (!dev)
		return;
	if (dev->core_started) {
		zw_device_stop(dev);
		pthread_join(dev->core_thread, NULL);
		if (dev->cp_started)
			pthread_join(dev->cp_thread, NULL);
	}
	if (dev->cp)
		zw_cp_free(dev->cp);
	zw_mmu_free(dev->mmu);
	zw_pool_free(dev->pool);
	zw_rv_free(dev->rv);
	free(dev->sram);
	zw_hbm_fini(&dev->hbm);
	pthread_cond_destroy(&dev->core_cond);
	pthread_cond_destroy(&dev->cp_cond);
	pthread_cond_destroy(&dev->rest_cond);
	pthread_mutex_destroy(&dev->lock);
	zw_perf_fini(&dev->perf);
	zw_inject_fini(&dev->inject);
	free(dev);
}
