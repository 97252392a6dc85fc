/* SPDX-License-Identifier: MIT */
/* Bus of the control core: the peripherals of zw_soc.h. Runs on the control-core thread. */
#include <errno.h>
#include <string.h>
#include "zw_device_int.h"

/* What the hart gets for an access that no peripheral takes: an access fault. */
#define BUS_ERROR 1

static bool in_sram(uint64_t addr, uint64_t len)
{
	return addr >= ZW_SOC_SRAM_BASE && addr - ZW_SOC_SRAM_BASE <= ZW_SOC_SRAM_SIZE &&
	       len <= ZW_SOC_SRAM_SIZE - (addr - ZW_SOC_SRAM_BASE);
}

/* -- load -- */

static uint64_t doorbell_summary(struct zw_device *dev)
{
	uint64_t bits;

	pthread_mutex_lock(&dev->lock);
	bits = dev->db_summary;
	pthread_mutex_unlock(&dev->lock);
	return bits;
}

static uint64_t claim_doorbells(struct zw_device *dev, unsigned int bank)
{
	uint64_t bits;

	pthread_mutex_lock(&dev->lock);
	bits = dev->db_pending[bank];
	dev->db_pending[bank] = 0;
	dev->db_summary &= ~(UINT64_C(1) << bank);
	if (!dev->db_summary)
		zw_dev_irq_locked(dev, 0, ZW_SOC_IRQ_DOORBELL);
	pthread_mutex_unlock(&dev->lock);
	return bits;
}

/* Which of the 64 registers from `first` on addr is; -1: none of them. */
static int bank_of(uint64_t addr, uint64_t first)
{
	if (addr < first || addr >= first + 8 * ZW_SOC_BANKS || addr % 8)
		return -1;
	return (int)((addr - first) / 8);
}

static uint32_t irq_register(struct zw_device *dev, const uint32_t *reg)
{
	uint32_t val;

	pthread_mutex_lock(&dev->lock);
	val = *reg;
	pthread_mutex_unlock(&dev->lock);
	return val;
}

/* The log whose register this is; NULL: it is none. */
static struct zw_ecc_log *ecc_log(struct zw_device *dev, uint64_t addr, uint64_t first)
{
	uint64_t kind = (addr - first) / (ZW_SOC_ECC_ADDR(1) - ZW_SOC_ECC_ADDR(0));

	if (addr < first || kind > ZW_ECC_UNCORRECTABLE || addr != first + 16 * kind)
		return NULL;
	return &dev->ecc[kind];
}

static uint32_t ecc_count(struct zw_device *dev, const struct zw_ecc_log *log)
{
	uint32_t count;

	pthread_mutex_lock(&dev->lock);
	count = zw_ecc_count(log);
	pthread_mutex_unlock(&dev->lock);
	return count;
}

static uint64_t ecc_addr(struct zw_device *dev, const struct zw_ecc_log *log)
{
	uint64_t addr;

	pthread_mutex_lock(&dev->lock);
	addr = zw_ecc_addr(log);
	pthread_mutex_unlock(&dev->lock);
	return addr;
}

static int load32(struct zw_device *dev, uint64_t addr, uint64_t *val)
{
	const struct zw_ecc_log *log = ecc_log(dev, addr, ZW_SOC_ECC_COUNT(0));

	if (log) {
		*val = ecc_count(dev, log);
		return 0;
	}
	switch (addr) {
	case ZW_SOC_IRQ_PENDING:
		*val = irq_register(dev, &dev->irq_pending);
		return 0;
	case ZW_SOC_IRQ_ENABLE:
		*val = irq_register(dev, &dev->irq_enable);
		return 0;
	case ZW_SOC_NUM_QUEUES:
		*val = dev->num_queues;
		return 0;
	case ZW_SOC_NUM_VMS:
		*val = dev->num_vms;
		return 0;
	case ZW_SOC_ABI_VERSION:
		*val = ZW_ABI_VERSION;
		return 0;
	case ZW_SOC_CAPS:
		*val = dev->caps;
		return 0;
	case ZW_SOC_DMA_LEN:
		*val = dev->soc.dma_len;
		return 0;
	case ZW_SOC_DMA_FUNCTION:
		*val = dev->soc.dma_function;
		return 0;
	case ZW_SOC_DMA_VM:
		*val = dev->soc.dma_vm;
		return 0;
	case ZW_SOC_DMA_STATUS:
		*val = dev->soc.dma_status;
		return 0;
	case ZW_SOC_MMU_VM:
		*val = dev->soc.mmu_vm;
		return 0;
	case ZW_SOC_MMU_STATUS:
		*val = dev->soc.mmu_status;
		return 0;
	case ZW_SOC_CP_STATUS:
		*val = atomic_load(&dev->cp_status);
		return 0;
	case ZW_SOC_CP_PROGRESS:
		*val = atomic_load_explicit(&dev->pmu.progress, memory_order_relaxed);
		return 0;
	case ZW_SOC_CP_PACKETS:
		*val = (uint32_t)atomic_load_explicit(&dev->pmu.packets, memory_order_relaxed);
		return 0;
	case ZW_SOC_TEMPERATURE_MC:
		*val = zw_dev_temperature_mc(dev);
		return 0;
	case ZW_SOC_IDLE_MW:
		*val = dev->profile.idle_watts * 1000;
		return 0;
	case ZW_SOC_CAP_MW:
		*val = zw_dev_cap_mw(dev);
		return 0;
	case ZW_SOC_SCRUB_STATUS:
		*val = dev->soc.scrub_status;
		return 0;
	case ZW_SOC_PERF_SLOTS:
		*val = zw_perf_slots(&dev->perf);
		return 0;
	case ZW_SOC_PERF_HELD:
		*val = zw_perf_held(&dev->perf);
		return 0;
	case ZW_SOC_PERF_STATUS:
		*val = dev->perf.status;
		return 0;
	default:
		return BUS_ERROR;
	}
}

static int load64(struct zw_device *dev, uint64_t addr, uint64_t *val)
{
	int bank = bank_of(addr, ZW_SOC_DB_CLAIM(0));
	const struct zw_ecc_log *log;

	if (bank >= 0) {
		*val = claim_doorbells(dev, (unsigned int)bank);
		return 0;
	}
	bank = bank_of(addr, ZW_SOC_MMU_BUSY(0));
	if (bank >= 0) {
		*val = zw_mmu_busy(dev->mmu, (unsigned int)bank);
		return 0;
	}
	log = ecc_log(dev, addr, ZW_SOC_ECC_ADDR(0));
	if (log) {
		*val = ecc_addr(dev, log);
		return 0;
	}
	switch (addr) {
	case ZW_SOC_MBOX_H2F:
		*val = atomic_load(&dev->mbox_h2f);
		return 0;
	case ZW_SOC_MBOX_F2H:
		*val = atomic_load(&dev->mbox_f2h);
		return 0;
	case ZW_SOC_HBM_SIZE:
		*val = dev->hbm.size;
		return 0;
	case ZW_SOC_DB_SUMMARY:
		*val = doorbell_summary(dev);
		return 0;
	case ZW_SOC_DMA_SYS:
		*val = dev->soc.dma_sys;
		return 0;
	case ZW_SOC_DMA_SRAM:
		*val = dev->soc.dma_sram;
		return 0;
	case ZW_SOC_CP_JOB:
		*val = dev->soc.cp_job;
		return 0;
	case ZW_SOC_SCRUB_ADDR:
		*val = dev->soc.scrub_addr;
		return 0;
	case ZW_SOC_SCRUB_SIZE:
		*val = dev->soc.scrub_size;
		return 0;
	case ZW_SOC_PERF_RING:
		*val = dev->perf.ring;
		return 0;
	case ZW_SOC_PERF_WRITTEN:
		*val = dev->perf.written;
		return 0;
	default:
		return BUS_ERROR;
	}
}

int zw_soc_load(void *opaque, uint64_t addr, unsigned int size, uint64_t *val)
{
	if (size == 4)
		return load32(opaque, addr, val);
	if (size == 8)
		return load64(opaque, addr, val);
	return BUS_ERROR;
}

/* -- store -- */

static void fw_status(struct zw_device *dev, uint32_t val)
{
	bool known = val == ZW_SOC_FW_READY || (val & ZW_SOC_FW_FAIL);

	if (!known) {
		zw_dev_log(dev, ZW_LOG_ERROR, "firmware: unknown status 0x%x", val);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (dev->run != ZW_RUN_FIRMWARE) {
		/* The registers belong to the reset. */
	} else if (val & ZW_SOC_FW_FAIL) {
		atomic_store(&dev->boot_error, ZW_BOOT_ERR_FIRMWARE);
		atomic_store(&dev->boot_detail, val & ~ZW_SOC_FW_FAIL);
		atomic_store(&dev->boot_status, ZW_BOOT_FAILED);
		zw_dev_enter_locked(dev, ZW_RUN_IDLE);
	} else {
		atomic_store(&dev->boot_status, ZW_BOOT_READY);
	}
	pthread_mutex_unlock(&dev->lock);
	if (val & ZW_SOC_FW_FAIL)
		zw_dev_log(dev, ZW_LOG_ERROR, "firmware: refused to start, code 0x%x",
			   val & ~ZW_SOC_FW_FAIL);
}

/* Is this in the ring of requests. */
static bool in_h2f(struct zw_device *dev, uint64_t addr)
{
	return addr - atomic_load(&dev->mbox_h2f) < ZW_MBOX_SLOTS * sizeof(struct zw_msg);
}

/* One transfer of the DMA port, over the bus or through the MMU. 0, or an error. */
static int dma_move(struct zw_device *dev, bool to_sram, bool vm, uint8_t *p)
{
	uint64_t addr = dev->soc.dma_sys;
	uint32_t function = dev->soc.dma_function, len = dev->soc.dma_len;
	struct zw_mem_fault fault;
	uint8_t altered[64];
	const uint8_t *out;
	int ret;

	if (vm && to_sram)
		return zw_mem_read_aside(dev->mmu, dev->soc.dma_vm, function, addr, p, len, &fault);
	if (!vm && zw_inject_dma(&dev->inject, addr, len))
		return -EIO;
	if (to_sram) {
		ret = dev->ops.dma_read(dev->opaque, function, addr, p, len);
		if (!ret && in_h2f(dev, addr))
			zw_inject_read(&dev->inject, p, len);
		return ret;
	}
	out = zw_inject_write(&dev->inject, addr, p, len, altered);
	if (vm)
		return zw_mem_write_aside(dev->mmu, dev->soc.dma_vm, function, addr, out, len,
					  &fault);
	return dev->ops.dma_write(dev->opaque, function, addr, out, len);
}

static void dma(struct zw_device *dev, uint32_t ctrl)
{
	uint64_t addr = dev->soc.dma_sram;
	uint32_t len = dev->soc.dma_len, way = ctrl & ~ZW_SOC_DMA_VM_F;
	int ret;

	dev->soc.dma_status = 2;
	if (!len || len > 4096 || dev->soc.dma_sys > UINT64_MAX - len || !in_sram(addr, len) ||
	    (way != ZW_SOC_DMA_TO_SRAM && way != ZW_SOC_DMA_TO_SYS))
		return;
	ret = dma_move(dev, way == ZW_SOC_DMA_TO_SRAM, ctrl & ZW_SOC_DMA_VM_F,
		       dev->sram + (addr - ZW_SOC_SRAM_BASE));
	if (way == ZW_SOC_DMA_TO_SRAM)
		zw_rv_invalidate(dev->rv, addr, len);
	dev->soc.dma_status = ret ? 1 : 0;
}

static void mmu_root(struct zw_device *dev, uint64_t val)
{
	bool valid = val & ZW_SOC_MMU_ROOT_VALID;
	int ret = -EFAULT;

	if (valid || !val)
		ret = zw_mmu_set_root(dev->mmu, dev->soc.mmu_vm,
				      val & ~(uint64_t)ZW_SOC_MMU_ROOT_VALID, valid);
	dev->soc.mmu_status = ret == -EINVAL ? 1 : ret ? 2 : 0;
}

static int cp_start(struct zw_device *dev)
{
	uint64_t addr = dev->soc.cp_job;

	if (addr % 64 || !in_sram(addr, sizeof(dev->job)))
		return BUS_ERROR;
	if (atomic_load(&dev->cp_status) != ZW_SOC_CP_IDLE) {
		zw_dev_log(dev, ZW_LOG_ERROR, "firmware: CP started while it is not idle");
		return BUS_ERROR;
	}
	dev->job_sram = addr - ZW_SOC_SRAM_BASE;
	memcpy(&dev->job, dev->sram + dev->job_sram, sizeof(dev->job));
	if (dev->job.queue >= dev->num_queues) {
		zw_dev_log(dev, ZW_LOG_ERROR, "firmware: job for queue %u", dev->job.queue);
		return BUS_ERROR;
	}
	zw_dev_cp_start(dev);
	return 0;
}

static int cp_report(struct zw_device *dev)
{
	const size_t half = offsetof(struct zw_soc_job, end);
	uint64_t addr = dev->soc.cp_job;
	struct zw_soc_job job;
	uint8_t *record;

	if (addr % 64 || !in_sram(addr, sizeof(job)))
		return BUS_ERROR;
	record = dev->sram + (addr - ZW_SOC_SRAM_BASE);
	memcpy(&job, record, sizeof(job));
	if (job.queue >= dev->num_queues ||
	    (atomic_load(&dev->cp_status) == ZW_SOC_CP_RUNNING && dev->job.queue == job.queue)) {
		zw_dev_log(dev, ZW_LOG_ERROR, "firmware: report on a job of queue %u, which runs",
			   job.queue);
		return BUS_ERROR;
	}
	zw_cp_report(dev->cp, &job);
	memcpy(record + half, (uint8_t *)&job + half, sizeof(job) - half);
	zw_rv_invalidate(dev->rv, addr + half, sizeof(job) - half);
	return 0;
}

static int cp_ctrl(struct zw_device *dev, uint32_t val)
{
	switch (val) {
	case ZW_SOC_CP_START:
		return cp_start(dev);
	case ZW_SOC_CP_PREEMPT:
		/* One that comes too late is dropped by the next start. */
		if (atomic_load(&dev->cp_status) == ZW_SOC_CP_RUNNING)
			zw_cp_preempt(dev->cp);
		return 0;
	case ZW_SOC_CP_CANCEL:
		if (atomic_load(&dev->cp_status) == ZW_SOC_CP_RUNNING)
			zw_cp_cancel(dev->cp);
		return 0;
	case ZW_SOC_CP_REPORT:
		return cp_report(dev);
	case ZW_SOC_CP_ACK:
		pthread_mutex_lock(&dev->lock);
		if (atomic_load(&dev->cp_status) == ZW_SOC_CP_DONE) {
			atomic_store(&dev->cp_status, ZW_SOC_CP_IDLE);
			zw_dev_irq_locked(dev, 0, ZW_SOC_IRQ_CP);
		}
		pthread_mutex_unlock(&dev->lock);
		return 0;
	default:
		return BUS_ERROR;
	}
}

static int queue_reset(struct zw_device *dev, uint32_t queue)
{
	if (queue >= dev->num_queues ||
	    (atomic_load(&dev->cp_status) == ZW_SOC_CP_RUNNING && dev->job.queue == queue)) {
		zw_dev_log(dev, ZW_LOG_ERROR,
			   "firmware: reset of queue %u, which does not exist or runs", queue);
		return BUS_ERROR;
	}
	zw_cp_queue_reset(dev->cp, queue);
	return 0;
}

static int queue_open(struct zw_device *dev, uint32_t val, uint32_t owner)
{
	uint32_t queue = val & 0xffff, priority = val >> 16;

	if (queue >= dev->num_queues || priority >= ZW_PRIO_COUNT) {
		zw_dev_log(dev, ZW_LOG_ERROR, "firmware: opens queue %u with priority %u", queue,
			   priority);
		return BUS_ERROR;
	}
	zw_cp_queue_open(dev->cp, queue, priority, owner);
	return 0;
}

static void scrub(struct zw_device *dev)
{
	uint64_t addr = dev->soc.scrub_addr, size = dev->soc.scrub_size;

	dev->soc.scrub_status = 2;
	if ((addr | size) % ZW_PAGE_SIZE || !zw_hbm_contains(&dev->hbm, addr, size))
		return;
	/* Given up only for a reset, after which nobody reads the status. */
	if (!zw_hbm_scrub(&dev->hbm, addr, size, zw_dev_stopping, dev))
		dev->soc.scrub_status = 0;
}

static int pmu_snapshot(struct zw_device *dev, uint64_t addr)
{
	uint64_t counter[ZW_PMU_COUNT];

	if (addr % 8 || !in_sram(addr, sizeof(counter)))
		return BUS_ERROR;
	zw_dev_pmu_snapshot(dev, counter);
	memcpy(dev->sram + (addr - ZW_SOC_SRAM_BASE), counter, sizeof(counter));
	zw_rv_invalidate(dev->rv, addr, sizeof(counter));
	return 0;
}

static int perf_slots(struct zw_device *dev, uint32_t slots)
{
	bool ok = zw_perf_set(&dev->perf, slots);

	zw_dev_irq(dev, 0, ZW_SOC_IRQ_PERF);
	return ok ? 0 : BUS_ERROR;
}

static int perf_dma(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	struct zw_device *dev = opaque;

	if (zw_inject_dma(&dev->inject, addr, len))
		return -EIO;
	return dev->ops.dma_write(dev->opaque, 0, addr, buf, len);
}

static void perf_write(struct zw_device *dev, uint32_t n)
{
	zw_perf_write(&dev->perf, n, perf_dma, dev);
	/* What comes from here on raises it again. */
	zw_dev_irq(dev, 0, ZW_SOC_IRQ_PERF);
	if (zw_perf_held(&dev->perf))
		zw_dev_irq(dev, ZW_SOC_IRQ_PERF, 0);
}

static int ecc_take(struct zw_device *dev, struct zw_ecc_log *log, uint32_t count)
{
	bool taken;

	pthread_mutex_lock(&dev->lock);
	taken = zw_ecc_take(log, count);
	zw_dev_ecc_locked(dev);
	pthread_mutex_unlock(&dev->lock);
	return taken ? 0 : BUS_ERROR;
}

static int store32(struct zw_device *dev, uint64_t addr, uint32_t val)
{
	struct zw_ecc_log *log = ecc_log(dev, addr, ZW_SOC_ECC_COUNT(0));

	if (log)
		return ecc_take(dev, log, val);
	switch (addr) {
	case ZW_SOC_IRQ_PENDING:
		/* The others follow from a state that has a register of its own. */
		zw_dev_irq(dev, 0, val & (ZW_SOC_IRQ_MBOX | ZW_SOC_IRQ_TLB));
		return 0;
	case ZW_SOC_IRQ_ENABLE:
		pthread_mutex_lock(&dev->lock);
		dev->irq_enable = val;
		zw_dev_irq_locked(dev, 0, 0);
		pthread_mutex_unlock(&dev->lock);
		return 0;
	case ZW_SOC_FW_STATUS:
		fw_status(dev, val);
		return 0;
	case ZW_SOC_FW_VERSION:
		atomic_store(&dev->fw_version, val);
		return 0;
	case ZW_SOC_HEARTBEAT:
		atomic_store_explicit(&dev->fw_heartbeat, val, memory_order_relaxed);
		return 0;
	case ZW_SOC_DMA_LEN:
		dev->soc.dma_len = val;
		return 0;
	case ZW_SOC_DMA_FUNCTION:
		dev->soc.dma_function = val;
		return 0;
	case ZW_SOC_DMA_VM:
		dev->soc.dma_vm = val;
		return 0;
	case ZW_SOC_DMA_CTRL:
		dma(dev, val);
		return 0;
	case ZW_SOC_MSIX_RAISE:
		if ((val & 0xffff) >= ZW_NUM_VECTORS)
			return BUS_ERROR;
		zw_dev_raise(dev, val >> 16, val & 0xffff);
		return 0;
	case ZW_SOC_MMU_VM:
		dev->soc.mmu_vm = val;
		return 0;
	case ZW_SOC_MMU_INVALIDATE:
		return zw_mmu_invalidate(dev->mmu, dev->soc.mmu_vm) ? BUS_ERROR : 0;
	case ZW_SOC_CP_CTRL:
		return cp_ctrl(dev, val);
	case ZW_SOC_CP_QUEUE_RESET:
		return queue_reset(dev, val);
	case ZW_SOC_CP_QUEUE_OPEN:
		return queue_open(dev, val, 0);
	case ZW_SOC_CP_SETTLE:
		zw_cp_settle(dev->cp);
		return 0;
	case ZW_SOC_PERF_SLOTS:
		return perf_slots(dev, val);
	case ZW_SOC_PERF_WRITE:
		perf_write(dev, val);
		return 0;
	case ZW_SOC_SCRUB_CTRL:
		if (val != 1)
			return BUS_ERROR;
		scrub(dev);
		return 0;
	default:
		return BUS_ERROR;
	}
}

static int store64(struct zw_device *dev, uint64_t addr, uint64_t val)
{
	switch (addr) {
	case ZW_SOC_DMA_SYS:
		dev->soc.dma_sys = val;
		return 0;
	case ZW_SOC_DMA_SRAM:
		dev->soc.dma_sram = val;
		return 0;
	case ZW_SOC_MMU_ROOT:
		mmu_root(dev, val);
		return 0;
	case ZW_SOC_CP_JOB:
		dev->soc.cp_job = val;
		return 0;
	case ZW_SOC_PMU_SNAPSHOT:
		return pmu_snapshot(dev, val);
	case ZW_SOC_CP_QUEUE_OPEN_OWNED:
		return val >> 32 ? queue_open(dev, (uint32_t)val, (uint32_t)(val >> 32))
				 : BUS_ERROR;
	case ZW_SOC_PERF_RING:
		dev->perf.ring = val;
		return 0;
	case ZW_SOC_SCRUB_ADDR:
		dev->soc.scrub_addr = val;
		return 0;
	case ZW_SOC_SCRUB_SIZE:
		dev->soc.scrub_size = val;
		return 0;
	default:
		return BUS_ERROR;
	}
}

int zw_soc_store(void *opaque, uint64_t addr, unsigned int size, uint64_t val)
{
	if (size == 4)
		return store32(opaque, addr, (uint32_t)val);
	if (size == 8)
		return store64(opaque, addr, val);
	return BUS_ERROR;
}
