/* SPDX-License-Identifier: MIT */
/* Standing still between two packets, and the state of the device in and out of a stream. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "zw_device_int.h"
#include "zw_mmu_int.h"
#include "zw_state.h"
#include "cp/zw_profile_int.h"

/* -- pause -- */

/* Nothing moves, and nothing will while the pause lasts unless a reset begins. */
static bool at_rest_locked(const struct zw_device *dev)
{
	if (dev->core_busy || dev->cp_running)
		return false;
	/* A reset goes on, and a job whose firmware has ended is dropped. */
	if (dev->run == ZW_RUN_STOP || dev->run == ZW_RUN_CLEAN)
		return false;
	return dev->run == ZW_RUN_FIRMWARE || !dev->cp_busy;
}

static void wake_locked(struct zw_device *dev)
{
	atomic_store(&dev->attention, true);
	zw_rv_request_stop(dev->rv);
	pthread_cond_signal(&dev->core_cond);
	pthread_cond_signal(&dev->cp_cond);
}

static void pause_locked(struct zw_device *dev)
{
	if (!dev->pauses++) {
		zw_cp_hold(dev->cp, true);
		wake_locked(dev);
	}
	while (!at_rest_locked(dev) && dev->run != ZW_RUN_QUIT)
		pthread_cond_wait(&dev->rest_cond, &dev->lock);
	if (!dev->clock_stopped) {
		dev->clock_stopped = true;
		dev->stopped_at_us = zw_dev_clock_ns() / 1000;
	}
}

static void continue_locked(struct zw_device *dev)
{
	if (--dev->pauses)
		return;
	/* The firmware's clock stood still with it: its timeouts are about work. */
	if (dev->clock_stopped)
		atomic_fetch_add(&dev->epoch_us, zw_dev_clock_ns() / 1000 - dev->stopped_at_us);
	dev->clock_stopped = false;
	zw_cp_hold(dev->cp, false);
	wake_locked(dev);
}

void zw_device_pause(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	pause_locked(dev);
	pthread_mutex_unlock(&dev->lock);
}

void zw_device_continue(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->pauses)
		continue_locked(dev);
	pthread_mutex_unlock(&dev->lock);
}

/* Pauses, and keeps even a reset waiting until thaw(). */
static void freeze(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	pause_locked(dev);
	while (dev->frozen || !at_rest_locked(dev))
		pthread_cond_wait(&dev->rest_cond, &dev->lock);
	dev->frozen = true;
	pthread_mutex_unlock(&dev->lock);
}

static void thaw(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->frozen = false;
	continue_locked(dev);
	wake_locked(dev);
	pthread_cond_broadcast(&dev->rest_cond);
	pthread_mutex_unlock(&dev->lock);
}

/* -- sections -- */

/*
 * What is not in the stream: what the configuration gives (it is compared), threads and locks, who
 * sleeps and who is busy (nobody is), the level `mei` and `db_summary` (they follow from others), what
 * a reset includes (none is under way), and `pauses` and what goes with it.
 */
ZW_STATE_SIZE(sizeof(struct zw_device) - sizeof(struct zw_host_ops) - sizeof(struct zw_profile) -
		      sizeof(struct zw_hbm) - sizeof(struct zw_inject_state) -
		      sizeof(struct zw_pmu) - sizeof(struct zw_perf) - sizeof(pthread_mutex_t) -
		      3 * sizeof(pthread_cond_t),
	      976 + 2 * sizeof(struct zw_ecc_log));
ZW_STATE_SIZE(sizeof(struct zw_pmu), 360);
ZW_STATE_SIZE(sizeof(struct zw_soc_job), 128);
/*
 * Of the MMU: roots and the on-chip buffer. Its cache starts empty, with its counts since
 * the last boundary, its run is over in a pause.
 */
ZW_STATE_SIZE(sizeof(((struct zw_mmu *)0)->vm[0]), 16);
ZW_STATE_SIZE(sizeof(struct zw_mmu) - sizeof(struct zw_mmu_config) -
		      sizeof(((struct zw_mmu *)0)->vm) - sizeof(((struct zw_mmu *)0)->tlb) -
		      sizeof(((struct zw_mmu *)0)->spans) - sizeof(((struct zw_mmu *)0)->hint) -
		      sizeof(pthread_mutex_t),
	      72);

/* What the two devices have to have in common: all that a guest can see. */
static void config_state(struct zw_device *dev, struct zw_state *st)
{
	const struct zw_profile_key *key;
	char name[sizeof(dev->profile.name)];
	uint8_t uuid[sizeof(dev->uuid)];

	memcpy(name, dev->profile.name, sizeof(name));
	zw_state_bytes(st, name, sizeof(name));
	name[sizeof(name) - 1] = 0;
	if (!st->err && strcmp(name, dev->profile.name))
		zw_state_bad(st, "the profile is '%s' in the saved state and '%s' here", name,
			     dev->profile.name);
	zw_state_same(st, ZW_ABI_VERSION, "the ABI version");
	zw_state_same(st, dev->profile.id, "the profile's number");
	for (size_t i = 0; (key = zw_profile_key_at(i)); i++) {
		const uint8_t *p = (const uint8_t *)&dev->profile + key->offset;
		uint32_t narrow;
		uint64_t v;

		memcpy(&narrow, p, sizeof(narrow));
		v = narrow;
		if (key->wide)
			memcpy(&v, p, sizeof(v));
		zw_state_same(st, v, key->name);
	}
	zw_state_same(st, dev->hbm.size, "the size of HBM");
	zw_state_same(st, dev->aperture_size, "the size of the aperture");
	zw_state_same(st, dev->num_queues, "the number of queues");
	zw_state_same(st, dev->num_vms, "the number of VMs");
	zw_state_same(st, dev->caps, "the set of capabilities");
	zw_state_same(st, dev->progress_ms, "the progress time");
	memcpy(uuid, dev->uuid, sizeof(uuid));
	zw_state_bytes(st, uuid, sizeof(uuid));
	zw_state_check(st, !memcmp(uuid, dev->uuid, sizeof(uuid)), "the UUID is another one");
}

static void pmu_state(struct zw_pmu *pmu, struct zw_state *st)
{
	_Atomic uint64_t *const all[] = ZW_PMU_COUNTERS(pmu);

	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		zw_state_atomic64(st, &pmu->busy_ps[i]);
	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		zw_state_atomic64(st, &pmu->settled_busy_ps[i]);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		zw_state_atomic64(st, all[i]);
	zw_state_atomic32(st, &pmu->progress);
}

static void regs_state(struct zw_device *dev, struct zw_state *st)
{
	zw_state_atomic32(st, &dev->boot_status);
	zw_state_atomic32(st, &dev->boot_error);
	zw_state_atomic32(st, &dev->boot_detail);
	zw_state_atomic32(st, &dev->fw_trap_cause);
	zw_state_atomic64(st, &dev->fw_trap_pc);
	zw_state_atomic64(st, &dev->fw_addr);
	zw_state_atomic32(st, &dev->fw_size);
	zw_state_atomic64(st, &dev->mbox_h2f);
	zw_state_atomic64(st, &dev->mbox_f2h);
	zw_state_atomic32(st, &dev->fw_version);
	zw_state_atomic32(st, &dev->fw_heartbeat);
	zw_state_check(st, atomic_load(&dev->boot_status) <= ZW_BOOT_HALTED, "unknown boot status");
}

static void soc_state(struct zw_device *dev, struct zw_state *st)
{
	zw_state_u64(st, &dev->soc.dma_sys);
	zw_state_u64(st, &dev->soc.dma_sram);
	zw_state_u32(st, &dev->soc.dma_len);
	zw_state_u32(st, &dev->soc.dma_status);
	zw_state_u32(st, &dev->soc.dma_function);
	zw_state_u32(st, &dev->soc.dma_vm);
	zw_state_u32(st, &dev->soc.mmu_vm);
	zw_state_u32(st, &dev->soc.mmu_status);
	zw_state_u64(st, &dev->soc.cp_job);
	zw_state_u64(st, &dev->soc.scrub_addr);
	zw_state_u64(st, &dev->soc.scrub_size);
	zw_state_u32(st, &dev->soc.scrub_status);
}

/* Bits of a bank's queues that the device has. */
static uint64_t bank_mask(const struct zw_device *dev, unsigned int bank)
{
	unsigned int first = bank * ZW_SOC_BANK_SIZE;

	if (first >= dev->num_queues)
		return 0;
	return dev->num_queues - first >= 64 ? UINT64_MAX
					     : (UINT64_C(1) << (dev->num_queues - first)) - 1;
}

/* The lock is held: the host may ring while we look. */
static void irq_state(struct zw_device *dev, struct zw_state *st)
{
	zw_state_u32(st, &dev->pmu_latch_off);
	zw_state_u32(st, &dev->pmu_latch_val);
	zw_state_u32(st, &dev->irq_pending);
	zw_state_u32(st, &dev->irq_enable);
	dev->db_summary = 0;
	for (unsigned int b = 0; b < ZW_SOC_BANKS; b++) {
		zw_state_u64(st, &dev->db_pending[b]);
		if (!zw_state_check(st, !(dev->db_pending[b] & ~bank_mask(dev, b)),
				    "a queue that does not exist rang"))
			return;
		if (dev->db_pending[b])
			dev->db_summary |= UINT64_C(1) << b;
	}
	for (unsigned int k = 0; k < 2; k++)
		zw_ecc_state(&dev->ecc[k], st, dev->hbm.size);
	if (st->loading && !st->err)
		zw_dev_ecc_locked(dev);
}

static void hart_state(struct zw_device *dev, struct zw_state *st)
{
	uint64_t words[ZW_RV_STATE_WORDS], mtime = dev->stopped_at_us - atomic_load(&dev->epoch_us);
	struct zw_rv_state hart;

	_Static_assert(sizeof(words) == sizeof(hart), "the hart's state is an array of words");
	zw_rv_get_state(dev->rv, &hart);
	memcpy(words, &hart, sizeof(words));
	for (size_t i = 0; i < ZW_RV_STATE_WORDS; i++)
		zw_state_u64(st, &words[i]);
	zw_state_u64(st, &mtime);
	if (!st->loading || st->err)
		return;
	memcpy(&hart, words, sizeof(hart));
	if (zw_state_check(st, mtime < UINT64_MAX / 4, "the clock is out of range"))
		atomic_store(&dev->epoch_us, dev->stopped_at_us - mtime);
	/* The memory was filled before. */
	if (zw_rv_set_state(dev->rv, &hart))
		zw_state_bad(st, "no state of a hart");
}

static void mmu_state(struct zw_device *dev, struct zw_state *st)
{
	for (unsigned int vm = 0; vm < ZW_MAX_VMS && !st->err; vm++) {
		uint64_t root = atomic_load(&dev->mmu->vm[vm].root);

		zw_state_u64(st, &root);
		if (st->loading && (root & ZW_PTE_VALID))
			zw_state_check(st,
				       !zw_mmu_set_root(dev->mmu, vm, root & ~ZW_PTE_VALID, true),
				       "a VM's root is outside of HBM");
	}
}

static void job_record(struct zw_soc_job *j, struct zw_state *st)
{
	zw_state_u32(st, &j->queue);
	zw_state_u32(st, &j->vm);
	zw_state_u64(st, &j->seqno);
	zw_state_u64(st, &j->cmd_va);
	zw_state_u32(st, &j->cmd_bytes);
	zw_state_u32(st, &j->resume_offset);
	zw_state_u64(st, &j->result_va);
	zw_state_u32(st, &j->function);
	zw_state_u32(st, &j->flags);
	/* The other half is what the end of the run will write. */
}

/* The CP thread may look at it at any time, whatever woke it. */
static void set_busy(struct zw_device *dev, bool busy)
{
	pthread_mutex_lock(&dev->lock);
	dev->cp_busy = busy;
	pthread_mutex_unlock(&dev->lock);
}

/* The job that the CP has, or is about to take. */
static void job_state(struct zw_device *dev, struct zw_state *st)
{
	uint32_t status = atomic_load(&dev->cp_status);
	bool busy = dev->cp_busy;

	zw_state_bool(st, &busy);
	if (st->loading)
		set_busy(dev, busy);
	zw_state_u32(st, &status);
	zw_state_u32(st, &dev->job_sram);
	job_record(&dev->job, st);
	if (!st->loading)
		return;
	if (!zw_state_check(st, status <= ZW_SOC_CP_DONE, "unknown status of the CP") ||
	    !zw_state_check(st, dev->cp_busy == (status == ZW_SOC_CP_RUNNING),
			    "the CP's status is not that of its job") ||
	    !zw_state_check(st,
			    dev->job_sram % 64 == 0 &&
				    dev->job_sram <= ZW_SOC_SRAM_SIZE - sizeof(dev->job),
			    "the job record is outside of SRAM") ||
	    !zw_state_check(st, !dev->cp_busy || dev->job.queue < dev->num_queues,
			    "the job's queue does not exist"))
		return;
	atomic_store(&dev->cp_status, status);
}

static uint32_t run_state(struct zw_device *dev, struct zw_state *st)
{
	/* What a finished reset waits for is the host's business, not the device's. */
	uint32_t run;

	pthread_mutex_lock(&dev->lock);
	run = zw_dev_resetting_locked(dev) ? ZW_RUN_IDLE : dev->run;
	pthread_mutex_unlock(&dev->lock);
	zw_state_u32(st, &run);
	zw_state_check(st, run <= ZW_RUN_FIRMWARE, "unknown state of the device");
	return run;
}

/* All of it; returns the state to enter. Frozen; a device that loads is in reset state. */
static uint32_t device_state(struct zw_device *dev, struct zw_state *st)
{
	uint32_t run;

	zw_state_section(st, "CONF");
	config_state(dev, st);
	zw_state_section_end(st);
	if (st->err)
		return ZW_RUN_IDLE;
	zw_state_section(st, "REGS");
	run = run_state(dev, st);
	regs_state(dev, st);
	pmu_state(&dev->pmu, st);
	zw_state_section_end(st);
	zw_state_section(st, "SRAM");
	zw_state_pages(st, dev->sram, ZW_SOC_SRAM_SIZE);
	zw_state_section_end(st);
	zw_state_section(st, "HART");
	hart_state(dev, st);
	zw_state_section_end(st);
	zw_state_section(st, "SOC ");
	soc_state(dev, st);
	zw_state_section_end(st);
	zw_state_section(st, "MMU ");
	mmu_state(dev, st);
	zw_state_section_end(st);
	zw_state_section(st, "BUF ");
	zw_state_pages(st, dev->mmu->sram, dev->mmu->cfg.sram_bytes);
	zw_state_section_end(st);
	zw_state_section(st, "JOB ");
	job_state(dev, st);
	zw_cp_state(dev->cp, st, &dev->job);
	zw_state_check(st, !zw_cp_held(dev->cp) || dev->cp_busy, "a job is held that nobody runs");
	zw_state_check(st, !dev->cp_busy || run == ZW_RUN_FIRMWARE, "a job runs without firmware");
	zw_state_section_end(st);
	zw_state_section(st, "PERF");
	zw_perf_state(&dev->perf, st);
	zw_state_section_end(st);
	/* Last: the parts before raise lines of their own while they load. */
	pthread_mutex_lock(&dev->lock);
	zw_state_section(st, "IRQ ");
	irq_state(dev, st);
	zw_state_section_end(st);
	pthread_mutex_unlock(&dev->lock);
	zw_state_section(st, "FLTS");
	zw_hbm_state(&dev->hbm, st);
	zw_inject_stream(&dev->inject, st);
	zw_state_section_end(st);
	return run;
}

/* -- save and load -- */

uint64_t zw_device_state_max(const struct zw_device *dev)
{
	uint64_t pages = ZW_SOC_SRAM_SIZE + dev->mmu->cfg.sram_bytes;

	/* Pages with their numbers, command buffers, and some room for all that has a small size. */
	return pages + pages / ZW_PAGE_SIZE * 8 +
	       (uint64_t)dev->num_queues * (ZW_CMD_MAX_BYTES + 4096) +
	       ZW_SOC_PERF_HELD_MAX * sizeof(struct zw_perf_record) + (4u << 20);
}

int zw_device_save(struct zw_device *dev, void **buf, size_t *len, char *err, size_t err_len)
{
	struct zw_state st;
	bool stuck;

	zw_state_save_begin(&st, err, err_len);
	freeze(dev);
	pthread_mutex_lock(&dev->lock);
	stuck = dev->run == ZW_RUN_STUCK;
	pthread_mutex_unlock(&dev->lock);
	if (stuck)
		zw_state_fail(&st, -EBUSY, "an injected fault keeps a reset from ending");
	else
		device_state(dev, &st);
	thaw(dev);
	return zw_state_save_end(&st, buf, len);
}

/* Reset, but for HBM, and frozen. -EBUSY: the host has a reset under way that it has not ended. */
static int freeze_in_reset(struct zw_device *dev)
{
	int ret;

	freeze(dev);
	pthread_mutex_lock(&dev->lock);
	/* A reset of the host's that came meanwhile is not ours to undo. */
	ret = zw_dev_resetting_locked(dev) ? -EBUSY : 0;
	if (!ret) {
		zw_dev_enter_locked(dev, ZW_RUN_IDLE);
		dev->cp_busy = false;
		atomic_store(&dev->cp_start, false);
	}
	pthread_mutex_unlock(&dev->lock);
	if (!ret)
		zw_dev_reset_state(dev);
	return ret;
}

static void forget_ecc(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	for (unsigned int k = 0; k < 2; k++)
		dev->ecc[k].num = 0;
	zw_dev_ecc_locked(dev);
	pthread_mutex_unlock(&dev->lock);
}

int zw_device_load(struct zw_device *dev, const void *buf, size_t len, char *err, size_t err_len)
{
	struct zw_state st;
	uint32_t run;
	int ret = freeze_in_reset(dev);

	if (ret) {
		if (err_len)
			snprintf(err, err_len, "a reset is under way");
		thaw(dev);
		return ret;
	}
	zw_state_load_begin(&st, buf, len, err, err_len);
	run = device_state(dev, &st);
	ret = zw_state_load_end(&st);
	if (ret) {
		set_busy(dev, false);
		zw_dev_reset_state(dev);
		forget_ecc(dev);
		zw_inject_forget(&dev->inject);
		zw_hbm_heal(&dev->hbm, 0, dev->hbm.size);
	}
	pthread_mutex_lock(&dev->lock);
	/* A reset that began while we loaded has the last word. */
	if (!ret && dev->run == ZW_RUN_IDLE && run != ZW_RUN_IDLE) {
		dev->run = (enum zw_run)run;
		atomic_store(&dev->cp_start, dev->cp_busy);
	}
	pthread_mutex_unlock(&dev->lock);
	thaw(dev);
	return ret;
}
