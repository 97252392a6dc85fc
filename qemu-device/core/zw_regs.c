/* SPDX-License-Identifier: MIT */
/* BAR0: the registers of zw_regs.h as host threads see them. Every handler is O(1). */
#include <string.h>
#include "zw_device_int.h"

static void refuse(struct zw_device *dev, const char *what, uint64_t off, unsigned int size)
{
	zw_dev_log(dev, ZW_LOG_GUEST_ERROR, "BAR0: %s of %u bytes at 0x%llx", what, size,
		   (unsigned long long)off);
}

/* -- read -- */

static bool read32(struct zw_device *dev, uint64_t off, uint32_t *val)
{
	uint32_t word;

	switch (off) {
	case ZW_REG_MAGIC:
		*val = ZW_MAGIC;
		return true;
	case ZW_REG_ABI_VERSION:
		*val = ZW_ABI_VERSION;
		return true;
	case ZW_REG_PROFILE:
		*val = dev->profile.id;
		return true;
	case ZW_REG_CAPS:
		*val = dev->caps;
		return true;
	case ZW_REG_NUM_QUEUES:
		*val = dev->num_queues;
		return true;
	case ZW_REG_NUM_VMS:
		*val = dev->num_vms;
		return true;
	case ZW_REG_NUM_VECTORS:
		*val = ZW_NUM_VECTORS;
		return true;
	case ZW_REG_NUM_LINKS:
		*val = dev->profile.links;
		return true;
	case ZW_REG_CARD:
		*val = 0;
		return true;
	case ZW_REG_UUID:
	case ZW_REG_UUID + 4:
	case ZW_REG_UUID + 8:
	case ZW_REG_UUID + 12:
		memcpy(&word, dev->uuid + (off - ZW_REG_UUID), 4);
		*val = word;
		return true;
	case ZW_REG_DOORBELL_BASE:
		*val = ZW_DOORBELL_BASE;
		return true;
	case ZW_REG_DOORBELL_SHIFT:
		*val = ZW_DOORBELL_SHIFT;
		return true;
	case ZW_REG_PROGRESS_MS:
		*val = dev->progress_ms;
		return true;
	case ZW_REG_PROFILE_NAME:
	case ZW_REG_PROFILE_NAME + 4:
	case ZW_REG_PROFILE_NAME + 8:
	case ZW_REG_PROFILE_NAME + 12:
		memcpy(&word, dev->profile.name + (off - ZW_REG_PROFILE_NAME), 4);
		*val = word;
		return true;
	case ZW_REG_RESET_STATUS:
		pthread_mutex_lock(&dev->lock);
		*val = zw_dev_resetting_locked(dev);
		pthread_mutex_unlock(&dev->lock);
		return true;
	case ZW_REG_BOOT_STATUS:
		*val = atomic_load(&dev->boot_status);
		return true;
	case ZW_REG_BOOT_ERROR:
		*val = atomic_load(&dev->boot_error);
		return true;
	case ZW_REG_BOOT_DETAIL:
		*val = atomic_load(&dev->boot_detail);
		return true;
	case ZW_REG_FW_SIZE:
		*val = atomic_load(&dev->fw_size);
		return true;
	case ZW_REG_FW_VERSION:
		*val = atomic_load(&dev->fw_version);
		return true;
	case ZW_REG_FW_HEARTBEAT:
		*val = atomic_load(&dev->fw_heartbeat);
		return true;
	case ZW_REG_TEMPERATURE_MC:
		*val = zw_dev_temperature_mc(dev);
		return true;
	case ZW_REG_IDLE_MW:
		*val = dev->profile.idle_watts * 1000;
		return true;
	case ZW_REG_CAP_MW:
		*val = zw_dev_cap_mw(dev);
		return true;
	case ZW_REG_FW_TRAP_CAUSE:
		*val = atomic_load(&dev->fw_trap_cause);
		return true;
	default:
		return false;
	}
}

/* off is the register's own offset, a multiple of 8. */
static bool read64(struct zw_device *dev, uint64_t off, uint64_t *val)
{
	switch (off) {
	case ZW_REG_HBM_SIZE:
		*val = dev->hbm.size;
		return true;
	case ZW_REG_APERTURE_SIZE:
		*val = dev->aperture_size;
		return true;
	case ZW_REG_SRAM_SIZE:
		*val = dev->profile.sram_bytes & ~(uint64_t)(ZW_PAGE_SIZE - 1);
		return true;
	case ZW_REG_DTYPES:
		*val = dev->profile.dtypes;
		return true;
	case ZW_REG_FW_ADDR:
		*val = atomic_load(&dev->fw_addr);
		return true;
	case ZW_REG_FW_TRAP_PC:
		*val = atomic_load(&dev->fw_trap_pc);
		return true;
	case ZW_REG_MBOX_H2F:
		*val = atomic_load(&dev->mbox_h2f);
		return true;
	case ZW_REG_MBOX_F2H:
		*val = atomic_load(&dev->mbox_f2h);
		return true;
	default:
		return false;
	}
}

static uint64_t pmu_sum(struct zw_device *dev, unsigned int index)
{
	struct zw_pmu *p = &dev->pmu;
	_Atomic uint64_t *const rest[] = {
		&p->hbm_read,
		&p->hbm_written,
		&p->sys_read,
		&p->sys_written,
		&p->packets,
		&p->jobs,
		&p->faults,
		&p->tlb_hits,
		&p->tlb_misses,
		&p->sram_read,
		&p->sram_written,
		&p->link_read,
		&p->link_written,
		&p->energy_pj,
		&p->ecc_corrected,
		/* ABI 2.4 */
		&p->settled_ps,
		&p->settled_jobs,
		&p->settled_packets,
		&p->port_busy_ps[ZW_PORT_HBM],
		&p->port_busy_ps[ZW_PORT_SYS_READ],
		&p->port_busy_ps[ZW_PORT_SYS_WRITE],
		&p->wait_ps[ZW_WAIT_ENGINE],
		&p->wait_ps[ZW_WAIT_HBM],
		&p->wait_ps[ZW_WAIT_PCIE],
		&p->wait_ps[ZW_WAIT_TOKENS],
		&p->wait_ps[ZW_WAIT_SEMAPHORE],
		&p->settled_busy_ps[0],
		&p->settled_busy_ps[1],
		&p->settled_busy_ps[2],
		&p->settled_busy_ps[3],
		&p->settled_busy_ps[4],
		&p->settled_busy_ps[5],
		&p->settled_busy_ps[6],
		&p->settled_busy_ps[7],
		/* ABI 2.5 */
		&p->settled_energy_uj,
		&p->settled_capped_ps,
	};

	_Static_assert(ZW_ENGINE_COUNT == 8, "one line for each engine above");
	_Static_assert(sizeof(rest) / sizeof(rest[0]) == ZW_PMU_COUNT - ZW_ENGINE_COUNT,
		       "one line for each counter above");
	return atomic_load_explicit(index < ZW_ENGINE_COUNT ? &p->busy_ps[index]
							    : rest[index - ZW_ENGINE_COUNT],
				    memory_order_relaxed);
}

/* What the chip takes by itself: 1 W is 1 pJ each ps. */
static uint64_t idle_uj(struct zw_device *dev)
{
	unsigned __int128 pj = atomic_load_explicit(&dev->pmu.settled_ps, memory_order_relaxed);

	return (uint64_t)(pj * dev->profile.idle_watts / 1000000u);
}

static uint64_t pmu_counter(struct zw_device *dev, unsigned int index)
{
	uint64_t n = pmu_sum(dev, index);

	return index == (ZW_PMU_CHIP_ENERGY_UJ - ZW_REG_PMU) / 8 ? n + idle_uj(dev) : n;
}

void zw_dev_pmu_snapshot(struct zw_device *dev, uint64_t counter[ZW_PMU_COUNT])
{
	zw_cp_settled_lock(dev->cp);
	for (unsigned int i = 0; i < ZW_PMU_COUNT; i++)
		counter[i] = pmu_counter(dev, i);
	zw_cp_settled_unlock(dev->cp);
}

uint32_t zw_dev_temperature_mc(struct zw_device *dev)
{
	return (uint32_t)atomic_load_explicit(&dev->pmu.temperature_mc, memory_order_relaxed);
}

uint32_t zw_dev_cap_mw(const struct zw_device *dev)
{
	const struct zw_profile *p = &dev->profile;

	return p->tdp_watts > p->idle_watts ? p->tdp_watts * 1000 : 0;
}

/* Two 32-bit reads, low half first, give one moment's value: the low one keeps the other half. */
static uint64_t read_pmu(struct zw_device *dev, uint64_t off, unsigned int size)
{
	uint64_t val = pmu_counter(dev, (off - ZW_REG_PMU) / 8);

	if (size == 8)
		return val;
	pthread_mutex_lock(&dev->lock);
	if (off % 8 == 0) {
		dev->pmu_latch_off = off + 4;
		dev->pmu_latch_val = val >> 32;
		val = (uint32_t)val;
	} else if (dev->pmu_latch_off == off) {
		val = dev->pmu_latch_val;
		dev->pmu_latch_off = 0;
	} else {
		val >>= 32;
	}
	pthread_mutex_unlock(&dev->lock);
	return val;
}

/* The firmware may be writing the same words: they are whole, their order is the firmware's
 * business. */
static uint64_t read_shared(struct zw_device *dev, uint64_t off, unsigned int size)
{
	const uint8_t *p =
		dev->sram + (ZW_SOC_SHARED_BASE - ZW_SOC_SRAM_BASE) + (off - ZW_REG_FW_SHARED);

	if (size == 8)
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
	return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
}

uint64_t zw_device_mmio_read(struct zw_device *dev, uint64_t off, unsigned int size)
{
	uint64_t val64;
	uint32_t val32;

	if ((size != 4 && size != 8) || off % size || off >= ZW_BAR0_SIZE)
		goto bad;
	if (off >= ZW_REG_FW_SHARED && off < ZW_REG_FW_SHARED + ZW_FW_SHARED_SIZE)
		return read_shared(dev, off, size);
	if (off >= ZW_REG_PMU && off < ZW_REG_PMU + 8 * ZW_PMU_COUNT)
		return read_pmu(dev, off, size);
	if (read64(dev, off & ~UINT64_C(7), &val64)) {
		if (size == 8)
			return val64;
		return off % 8 ? val64 >> 32 : (uint32_t)val64;
	}
	if (size == 4 && read32(dev, off, &val32))
		return val32;
bad:
	refuse(dev, "read", off, size);
	return 0;
}

/* -- write -- */

static void write_boot_ctrl(struct zw_device *dev, uint32_t val)
{
	uint32_t status;
	bool ok;

	pthread_mutex_lock(&dev->lock);
	status = atomic_load(&dev->boot_status);
	ok = val == ZW_BOOT_START && dev->run == ZW_RUN_IDLE &&
	     (status == ZW_BOOT_IDLE || status == ZW_BOOT_FAILED);
	if (ok) {
		atomic_store(&dev->boot_status, ZW_BOOT_LOADING);
		atomic_store(&dev->boot_error, ZW_BOOT_ERR_NONE);
		atomic_store(&dev->boot_detail, 0);
		zw_dev_enter_locked(dev, ZW_RUN_BOOT);
	}
	pthread_mutex_unlock(&dev->lock);
	if (!ok)
		zw_dev_log(dev, ZW_LOG_GUEST_ERROR,
			   "BAR0: BOOT_CTRL 0x%x ignored in boot status %u", val, status);
}

static void write_doorbell(struct zw_device *dev, unsigned int queue)
{
	pthread_mutex_lock(&dev->lock);
	dev->db_pending[queue / ZW_SOC_BANK_SIZE] |= UINT64_C(1) << queue % ZW_SOC_BANK_SIZE;
	dev->db_summary |= UINT64_C(1) << queue / ZW_SOC_BANK_SIZE;
	zw_dev_irq_locked(dev, ZW_SOC_IRQ_DOORBELL, 0);
	pthread_mutex_unlock(&dev->lock);
}

static bool write32(struct zw_device *dev, uint64_t off, uint32_t val)
{
	switch (off) {
	case ZW_REG_RESET:
		if (val == ZW_RESET_KEY)
			zw_dev_self_reset(dev);
		else
			zw_dev_log(dev, ZW_LOG_GUEST_ERROR, "BAR0: wrong reset key 0x%x", val);
		return true;
	case ZW_REG_BOOT_CTRL:
		write_boot_ctrl(dev, val);
		return true;
	case ZW_REG_FW_SIZE:
		atomic_store(&dev->fw_size, val);
		return true;
	case ZW_REG_MBOX_DOORBELL:
		zw_dev_irq(dev, ZW_SOC_IRQ_MBOX, 0);
		return true;
	default:
		return false;
	}
}

static bool write64(struct zw_device *dev, uint64_t off, uint64_t val, unsigned int size)
{
	_Atomic uint64_t *reg;
	uint64_t old;

	switch (off & ~UINT64_C(7)) {
	case ZW_REG_FW_ADDR:
		reg = &dev->fw_addr;
		break;
	case ZW_REG_MBOX_H2F:
		reg = &dev->mbox_h2f;
		break;
	case ZW_REG_MBOX_F2H:
		reg = &dev->mbox_f2h;
		break;
	default:
		return false;
	}
	/* The lock makes two 32-bit writes of different threads not lose a half. */
	pthread_mutex_lock(&dev->lock);
	old = atomic_load(reg);
	if (size == 4)
		val = off % 8 ? (uint32_t)old | (val << 32)
			      : (old & ~UINT64_C(0xffffffff)) | (uint32_t)val;
	atomic_store(reg, val);
	pthread_mutex_unlock(&dev->lock);
	return true;
}

void zw_device_mmio_write(struct zw_device *dev, uint64_t off, uint64_t val, unsigned int size)
{
	const uint64_t db = ZW_DOORBELL_BASE;

	if ((size != 4 && size != 8) || off % size || off >= ZW_BAR0_SIZE)
		goto bad;
	if (size == 4 && off >= db && off % (1u << ZW_DOORBELL_SHIFT) == 0 &&
	    (off - db) >> ZW_DOORBELL_SHIFT < dev->num_queues) {
		write_doorbell(dev, (unsigned int)((off - db) >> ZW_DOORBELL_SHIFT));
		return;
	}
	if (write64(dev, off, val, size))
		return;
	if (size == 4 && write32(dev, off, val))
		return;
bad:
	refuse(dev, "write", off, size);
}
