/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_DEVICE_H__
#define __ZHENWU_DEVICE_H__

#include <linux/completion.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <drm/drm_device.h>

#include "zhenwu/zw_regs.h"
#include "zhenwu_client.h"
#include "zhenwu_compat.h"
#include "zhenwu_evict.h"
#include "zhenwu_fw.h"
#include "zhenwu_hbm.h"
#include "zhenwu_hbm_save.h"
#include "zhenwu_hwmon.h"
#include "zhenwu_ipc.h"
#include "zhenwu_irq.h"
#include "zhenwu_pm.h"
#include "zhenwu_purge.h"
#include "zhenwu_ras.h"
#include "zhenwu_perf.h"
#include "zhenwu_reset.h"
#include "zhenwu_telemetry.h"
#include "zhenwu_usage.h"

#define ZHENWU_DRIVER_NAME	"zhenwu"
#define ZHENWU_DRIVER_DESC	"Zhenwu LLM accelerator"
#define ZHENWU_DRIVER_MAJOR	2
#define ZHENWU_DRIVER_MINOR	11

struct dmem_cgroup_region;
struct zhenwu_snapshot;

/**
 * struct zhenwu_device - one accelerator
 *
 * Lock order, outermost first: @submit_lock of a queue, @vm.lock of a VM, dma_resv, @hw_lock,
 * vector lock, @lock of a queue, fence lock. @hw_lock is taken by the work that makes fences signal
 * after a hang, so nothing may allocate memory, take a dma_resv or wait for a fence while holding
 * it.
 */
struct zhenwu_device {
	/** @drm: DRM device, with one accel node. */
	struct drm_device drm;

	/** @pdev: PCI function. */
	struct pci_dev *pdev;

	/** @regs: BAR0: registers and doorbells. */
	void __iomem *regs;

	/** @regs_phys: CPU physical address of BAR0, for doorbells in user space. */
	resource_size_t regs_phys;

	/** @aperture: BAR2: start of HBM, write combining. */
	void __iomem *aperture;

	/** @aperture_phys: CPU physical address of BAR2, for mappings of user space. */
	resource_size_t aperture_phys;

	/** @info: What the device says about itself, read and checked once. */
	struct {
		/** @info.hbm_size: Bytes of HBM. */
		u64 hbm_size;
		/** @info.aperture_size: Bytes of HBM behind @aperture. */
		u64 aperture_size;
		/** @info.abi_version: ZW_ABI_VERSION of the device. */
		u32 abi_version;
		/** @info.profile: &enum zw_profile_id. */
		u32 profile;
		/** @info.caps: ZW_CAP_* bits. */
		u32 caps;
		/** @info.dtypes: Data types the engines compute with, ZW_DT() bits. */
		u64 dtypes;
		/** @info.sram_size: Bytes of the on-chip buffer. */
		u64 sram_size;
		/** @info.num_links: Ports to other cards. */
		u32 num_links;
		/** @info.uuid: Names the card. */
		u8 uuid[16];
		/** @info.num_queues: Queues. */
		u32 num_queues;
		/** @info.num_vms: Address spaces. */
		u32 num_vms;
		/** @info.cap_mw: Power that it takes at most; 0: no limit. */
		u32 cap_mw;
		/** @info.progress_ms: Pause between two progress checks. */
		u32 progress_ms;
		/** @info.profile_name: Name of the profile, NUL-terminated. */
		char profile_name[17];
	} info;

	/** @fw: Firmware image and what runs. */
	struct zhenwu_fw fw;

	/** @ipc: Mailbox. */
	struct zhenwu_ipc ipc;

	/** @hbm: HBM allocator. */
	struct zhenwu_hbm hbm;

	/** @save: HBM while there is no power. */
	struct zhenwu_hbm_save save;

	/** @dmem: What cgroups know HBM by, or NULL. */
	struct dmem_cgroup_region *dmem;

	/** @purge: Buffers whose contents can be done without. */
	struct zhenwu_purge purge;

	/** @evict: Buffers that were moved out of HBM. */
	struct zhenwu_evict evict;

	/** @pm: Power management. */
	struct zhenwu_pm pm;

	/** @ras: Errors of HBM. */
	struct zhenwu_ras ras;

	/** @clients: Who holds what. */
	struct zhenwu_clients clients;

	/** @irq: Interrupt vectors. */
	struct zhenwu_irq irq;

	/** @sched_wq: Workqueue all queues submit from. */
	struct workqueue_struct *sched_wq;

	/** @bind_wq: Workqueue asynchronous binds are done on. */
	struct workqueue_struct *bind_wq;

	/**
	 * @hw_lock: Protects @queues, @vms and what the firmware knows of queues and VMs. A device
	 * reset holds it from beginning to end; nobody else holds it while the firmware is asked.
	 */
	struct mutex hw_lock;

	/** @queues: Queues that were announced to the firmware and not closed. */
	struct list_head queues;

	/** @vms: VMs that were announced to the firmware. */
	struct list_head vms;

	/** @queue_ids: Device-wide queue numbers in use. */
	struct ida queue_ids;

	/** @vm_ids: Device-wide VM numbers in use. */
	struct ida vm_ids;

	/** @bos: All buffer objects, for debugfs. */
	struct {
		/** @bos.lock: Protects @bos.list and the labels of the objects in it. */
		struct mutex lock;
		/** @bos.list: List of &struct zhenwu_bo. */
		struct list_head list;
	} bos;

	/** @snapshot: State of a failure, for a coredump; NULL when the kernel has none. */
	struct zhenwu_snapshot *snapshot;

	/** @reset: State of the device, and how it changes. */
	struct zhenwu_reset reset;

	/** @telemetry: Samples of the device. */
	struct zhenwu_telemetry telemetry;

	/** @perf: Records of single packets. */
	struct zhenwu_perf perf;

	/** @hwmon: Sensors. */
	struct zhenwu_hwmon hwmon;

	/** @usage: How long it was busy. */
	struct zhenwu_usage usage;

	/** @watchdog: Progress check, on @reset.wq. */
	struct delayed_work watchdog;

	/** @last_move: Jiffies when it last saw any queue get on; used by it alone. */
	unsigned long last_move;
};

/**
 * struct zhenwu_file - an open file
 */
struct zhenwu_file {
	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @client: Who opened it. */
	struct zhenwu_client *client;

	/** @telemetry: The samples it wants. */
	struct zhenwu_telemetry_wish telemetry;

	/** @perf: Its stream of records; NULL before it has one, and never again after. */
	struct zhenwu_perf_stream *perf;

	/** @refs: The open file, and its release. */
	struct kref refs;

	/** @release: Lets go of what the device knows. */
	struct work_struct release;

	/** @released: @release is over. */
	struct completion released;

	/** @vms: VMs by id. */
	struct xarray vms;

	/** @queues: Queues by id. */
	struct xarray queues;
};

static inline struct zhenwu_device *to_zhenwu_device(struct drm_device *drm)
{
	return container_of(drm, struct zhenwu_device, drm);
}

static inline u32 zhenwu_read32(struct zhenwu_device *zdev, u32 reg)
{
	return readl(zdev->regs + reg);
}

static inline u64 zhenwu_read64(struct zhenwu_device *zdev, u32 reg)
{
	return readq(zdev->regs + reg);
}

static inline void zhenwu_write32(struct zhenwu_device *zdev, u32 reg, u32 val)
{
	writel(val, zdev->regs + reg);
}

static inline void zhenwu_write64(struct zhenwu_device *zdev, u32 reg, u64 val)
{
	writeq(val, zdev->regs + reg);
}

/**
 * zhenwu_device_state() - state of a device, which may change at any time
 * @zdev: device
 *
 * Return: &enum zhenwu_state.
 */
static inline enum zhenwu_state zhenwu_device_state(struct zhenwu_device *zdev)
{
	return READ_ONCE(zdev->reset.state);
}

/**
 * zhenwu_device_alive() - does the device still work for its users
 * @zdev: device
 *
 * Return: false when it was lost or is being removed.
 */
static inline bool zhenwu_device_alive(struct zhenwu_device *zdev)
{
	return zhenwu_device_state(zdev) < ZHENWU_STATE_WEDGED;
}

int zhenwu_device_init(struct zhenwu_device *zdev);
void zhenwu_device_fini(struct zhenwu_device *zdev);

#endif /* __ZHENWU_DEVICE_H__ */
