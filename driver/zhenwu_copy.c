// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies between HBM and pages of system memory, made by the device.
 *
 * Most of HBM is out of the CPU's reach. So there is an address space of the driver's own, in which
 * all of HBM lies at its own addresses and some pages of system memory in a window behind it, and a
 * queue on it. While nobody else uses the device, both have the first number there is: that is for
 * a firmware that was just booted and knows no others, and nothing is allocated between begin and
 * end. Beside others they have numbers of their own. There is one at a time: the tables have one
 * place.
 */

#include <linux/bits.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/freezer.h>
#include <linux/idr.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu_copy.h"
#include "zhenwu_device.h"
#include "zhenwu_ipc.h"
#include "zhenwu_reset.h"

#define ZHENWU_COPY_LOG2_SLOTS	ZW_RING_MIN_LOG2
#define ZHENWU_COPY_SLOTS	BIT(ZHENWU_COPY_LOG2_SLOTS)
#define ZHENWU_COPY_PACKETS	512u

/* No more than a job of ZHENWU_COPY_PAGES takes on a slow machine. */
#define ZHENWU_COPY_TIMEOUT_MS	60000

/* Progress checks in a row without progress, before one beside others counts as hung. */
#define ZHENWU_COPY_STALLS	3

/* Where the window begins: HBM ends far before. Behind it is struct zhenwu_copy_mem. */
#define ZHENWU_COPY_VA		BIT_ULL(47)
#define ZHENWU_COPY_MEM_VA	(ZHENWU_COPY_VA + (u64)ZHENWU_COPY_PAGES * ZW_PAGE_SIZE)

/* Tables, by page of HBM. Page 0 is no address. */
enum {
	ZHENWU_COPY_ROOT = 1,
	/* Tables of level 2, of pages of 1 GiB: the largest HBM has eight times 512 of them. */
	ZHENWU_COPY_HBM,
	ZHENWU_COPY_HBM_LAST = ZHENWU_COPY_HBM + 7,
	/* Level 1: what is left of HBM. */
	ZHENWU_COPY_HBM_REST,
	ZHENWU_COPY_WINDOW2,
	ZHENWU_COPY_WINDOW1,
	ZHENWU_COPY_WINDOW0,
	ZHENWU_COPY_MEM0 = ZHENWU_COPY_WINDOW0 + ZHENWU_COPY_PAGES / ZW_PT_ENTRIES,
	ZHENWU_COPY_TABLES_END,
};

static_assert(ZHENWU_COPY_TABLES_END * ZW_PAGE_SIZE <= ZHENWU_COPY_HBM_BYTES);
static_assert((ZW_PTE_ADDR_MASK + ZW_PAGE_SIZE) >> ZW_PT_SHIFT(3) >= 8);

/**
 * struct zhenwu_copy_mem - what the device reads and writes besides the pages
 */
struct zhenwu_copy_mem {
	/** @ring: Ring. */
	struct zw_ring_entry ring[ZHENWU_COPY_SLOTS];

	/** @compl: Completions. */
	struct zw_completion compl[ZHENWU_COPY_SLOTS];

	/** @ctrl: Control block. */
	struct zw_ring_ctrl ctrl;

	/** @desc: Descriptor of the queue. */
	struct zw_queue_desc desc __aligned(64);

	/** @cmd: Command buffer. */
	struct zw_pkt_copy cmd[ZHENWU_COPY_PACKETS] __aligned(64);
};

static_assert(sizeof(struct zhenwu_copy_mem) <= ZW_PT_ENTRIES * ZW_PAGE_SIZE);

/**
 * struct zhenwu_copy_watch - whether a job beside others gets on
 */
struct zhenwu_copy_watch {
	/** @next: When to ask next, in jiffies. */
	unsigned long next;

	/** @stalls: How often in a row it did not. */
	unsigned int stalls;
};

/**
 * zhenwu_copy_init() - allocate what copies need
 * @copy: copies
 * @zdev: device
 *
 * Return: 0 or a negative error.
 */
int zhenwu_copy_init(struct zhenwu_copy *copy, struct zhenwu_device *zdev)
{
	*copy = (struct zhenwu_copy) { .zdev = zdev };
	/* One page there is one page here. */
	if (PAGE_SIZE != ZW_PAGE_SIZE)
		return -EOPNOTSUPP;
	if (zdev->info.hbm_size > 8ull << ZW_PT_SHIFT(3))
		return -EOPNOTSUPP;
	copy->pages = kvcalloc(ZHENWU_COPY_PAGES, sizeof(*copy->pages), GFP_KERNEL);
	copy->mem = dma_alloc_coherent(zdev->drm.dev, sizeof(*copy->mem), &copy->dma, GFP_KERNEL);
	if (copy->pages && copy->mem)
		return 0;
	zhenwu_copy_fini(copy);
	return -ENOMEM;
}

/**
 * zhenwu_copy_fini() - free it
 * @copy: copies; not between begin and end
 */
void zhenwu_copy_fini(struct zhenwu_copy *copy)
{
	if (copy->mem)
		dma_free_coherent(copy->zdev->drm.dev, sizeof(*copy->mem), copy->mem, copy->dma);
	copy->mem = NULL;
	kvfree(copy->pages);
	copy->pages = NULL;
}

static enum dma_data_direction zhenwu_copy_direction(const struct zhenwu_copy *copy)
{
	return copy->to_hbm ? DMA_TO_DEVICE : DMA_FROM_DEVICE;
}

static void zhenwu_copy_pte(struct zhenwu_copy *copy, unsigned int table, unsigned int i, u64 pte)
{
	writeq(pte, copy->zdev->aperture + (u64)table * ZW_PAGE_SIZE + 8 * i);
}

static void zhenwu_copy_link(struct zhenwu_copy *copy, unsigned int table, unsigned int i,
			     unsigned int child)
{
	zhenwu_copy_pte(copy, table, i, (u64)child * ZW_PAGE_SIZE | ZW_PTE_VALID);
}

static void zhenwu_copy_make_tables(struct zhenwu_copy *copy)
{
	const u64 system = ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE |
			   ZW_PTE_TARGET(ZW_TARGET_SYSTEM);
	const u64 hbm = ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE;
	u64 size = copy->zdev->info.hbm_size, at;
	unsigned int i;

	memset_io(copy->zdev->aperture + ZW_PAGE_SIZE, 0,
		  (ZHENWU_COPY_TABLES_END - 1) * ZW_PAGE_SIZE);
	for (i = 0; (u64)i << ZW_PT_SHIFT(3) < size; i++)
		zhenwu_copy_link(copy, ZHENWU_COPY_ROOT, i, ZHENWU_COPY_HBM + i);
	for (i = 0; (u64)(i + 1) << ZW_PT_SHIFT(2) <= size; i++)
		zhenwu_copy_pte(copy, ZHENWU_COPY_HBM + i / ZW_PT_ENTRIES, i % ZW_PT_ENTRIES,
				(u64)i << ZW_PT_SHIFT(2) | hbm);
	at = (u64)i << ZW_PT_SHIFT(2);
	/* HBM is a multiple of 2 MiB; no page reaches beyond it. */
	if (at < size)
		zhenwu_copy_link(copy, ZHENWU_COPY_HBM + i / ZW_PT_ENTRIES, i % ZW_PT_ENTRIES,
				 ZHENWU_COPY_HBM_REST);
	for (i = 0; at < size; i++, at += 1ull << ZW_PT_SHIFT(1))
		zhenwu_copy_pte(copy, ZHENWU_COPY_HBM_REST, i, at | hbm);

	zhenwu_copy_link(copy, ZHENWU_COPY_ROOT, ZHENWU_COPY_VA >> ZW_PT_SHIFT(3),
			 ZHENWU_COPY_WINDOW2);
	zhenwu_copy_link(copy, ZHENWU_COPY_WINDOW2, 0, ZHENWU_COPY_WINDOW1);
	for (i = 0; i <= ZHENWU_COPY_MEM0 - ZHENWU_COPY_WINDOW0; i++)
		zhenwu_copy_link(copy, ZHENWU_COPY_WINDOW1, i, ZHENWU_COPY_WINDOW0 + i);
	for (i = 0; i * ZW_PAGE_SIZE < sizeof(*copy->mem); i++)
		zhenwu_copy_pte(copy, ZHENWU_COPY_MEM0, i,
				(copy->dma + i * ZW_PAGE_SIZE) | system);
	wmb(); /* tables are in HBM before the firmware hears of them */
}

static int zhenwu_copy_request(struct zhenwu_copy *copy, enum zw_msg_type type,
			       const void *payload, size_t len)
{
	if (!copy->live)
		return zhenwu_ipc_request_boot(copy->zdev, type, payload, len, NULL, 0);
	return zhenwu_ipc_request_in(copy->zdev, copy->session, 0, type, payload, len, NULL, 0);
}

static int zhenwu_copy_make_queue(struct zhenwu_copy *copy)
{
	u64 desc = copy->dma + offsetof(struct zhenwu_copy_mem, desc);
	struct zw_msg_create_queue msg = {
		.queue = cpu_to_le32(copy->queue),
		.desc_bytes = cpu_to_le32(sizeof(copy->mem->desc)),
		.desc_lo = cpu_to_le32(ZW_LO32(desc)),
		.desc_hi = cpu_to_le32(ZW_HI32(desc)),
	};

	memset(copy->mem, 0, offsetof(struct zhenwu_copy_mem, cmd));
	copy->mem->desc = (struct zw_queue_desc) {
		.size = cpu_to_le32(sizeof(copy->mem->desc)),
		.vm = cpu_to_le32(copy->vm),
		.priority = cpu_to_le32(ZW_PRIO_NORMAL),
		.log2_slots = cpu_to_le32(ZHENWU_COPY_LOG2_SLOTS),
		.vector = cpu_to_le32(ZW_VECTOR_MBOX + 1),
		.ring = cpu_to_le64(copy->dma + offsetof(struct zhenwu_copy_mem, ring)),
		.completions = cpu_to_le64(copy->dma + offsetof(struct zhenwu_copy_mem, compl)),
		.ctrl = cpu_to_le64(copy->dma + offsetof(struct zhenwu_copy_mem, ctrl)),
	};
	return zhenwu_copy_request(copy, ZW_MSG_CREATE_QUEUE, &msg, sizeof(msg));
}

static int zhenwu_copy_make(struct zhenwu_copy *copy, bool to_hbm)
{
	struct zw_msg_set_vm msg = {
		.vm = cpu_to_le32(copy->vm),
		.root_lo = cpu_to_le32(ZHENWU_COPY_ROOT * ZW_PAGE_SIZE),
	};
	int ret;

	copy->to_hbm = to_hbm;
	copy->seqno = 0;
	copy->num_pages = 0;
	copy->num_packets = 0;
	zhenwu_copy_make_tables(copy);
	ret = zhenwu_copy_request(copy, ZW_MSG_SET_VM, &msg, sizeof(msg));
	if (ret)
		return ret;
	copy->has_vm = true;
	ret = zhenwu_copy_make_queue(copy);
	copy->has_queue = !ret;
	return ret;
}

/**
 * zhenwu_copy_begin() - make address space and queue
 * @copy: copies
 * @to_hbm: into HBM; else out of it
 *
 * The firmware was booted and was told of no VM or queue. When anything fails the device has to be
 * reset, then zhenwu_copy_drop() called.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_copy_begin(struct zhenwu_copy *copy, bool to_hbm)
{
	copy->live = false;
	copy->vm = 0;
	copy->queue = 0;
	return zhenwu_copy_make(copy, to_hbm);
}

/*
 * Asks whether a job that is not over gets on: nobody else looks after this queue. Return: 0, 1
 * when it does not, or a negative error.
 */
static int zhenwu_copy_check(struct zhenwu_copy *copy)
{
	struct zw_msg_queue msg = { .queue = cpu_to_le32(copy->queue) };
	struct zw_msg_queue_info info;
	bool stands;
	int ret;

	ret = zhenwu_ipc_request_in(copy->zdev, copy->session, 0, ZW_MSG_QUERY_QUEUE, &msg,
				    sizeof(msg), &info, sizeof(info));
	if (ret)
		return ret;
	/* It may wait for its turn, but not have it and do nothing. */
	stands = le32_to_cpu(info.state) == ZW_QUEUE_RUNNING &&
		 info.packets_retired == copy->info.packets_retired &&
		 info.progress == copy->info.progress && info.state == copy->info.state;
	copy->info = info;
	return stands;
}

/* Return: 0 while a job beside others is waited for, or why not any longer. */
static int zhenwu_copy_go_on(struct zhenwu_copy *copy, struct zhenwu_copy_watch *watch)
{
	struct zhenwu_device *zdev = copy->zdev;
	int ret;

	if (zhenwu_ipc_session_over(zdev, copy->session))
		return zhenwu_device_alive(zdev) ? -EIO : -ENODEV;
	/* The copy is made again when the call is. */
	if (fatal_signal_pending(current) || freezing(current))
		return -ERESTARTSYS;
	if (time_before(jiffies, watch->next))
		return 0;
	watch->next = jiffies + msecs_to_jiffies(zdev->info.progress_ms);
	ret = zhenwu_copy_check(copy);
	if (ret < 0)
		return ret;
	watch->stalls = ret ? watch->stalls + 1 : 0;
	if (watch->stalls < ZHENWU_COPY_STALLS)
		return 0;
	drm_err(&zdev->drm, "a copy between HBM and system memory hangs\n");
	return -EIO;
}

static int zhenwu_copy_wait(struct zhenwu_copy *copy)
{
	const struct zw_completion *slot = &copy->mem->compl[copy->seqno % ZHENWU_COPY_SLOTS];
	struct zhenwu_device *zdev = copy->zdev;
	unsigned int progress_ms = zdev->info.progress_ms;
	unsigned long end = jiffies + msecs_to_jiffies(ZHENWU_COPY_TIMEOUT_MS + 10 * progress_ms);
	struct zhenwu_copy_watch watch = { .next = jiffies + msecs_to_jiffies(progress_ms) };
	unsigned int n;

	for (n = 0; le64_to_cpu(READ_ONCE(slot->seqno)) != copy->seqno; n++) {
		int ret = copy->live ? zhenwu_copy_go_on(copy, &watch) : 0;

		if (ret)
			return ret;
		if (!copy->live && n % 1024 == 1023 && !zhenwu_fw_running(zdev))
			return -EIO;
		/* Others, of higher priority, have the engines all the time. */
		if (time_after(jiffies, end))
			return copy->live ? -EBUSY : -ETIMEDOUT;
		usleep_range(100, 500);
	}
	/* The firmware writes seqno last: the rest is read after it. */
	dma_rmb();
	return le32_to_cpu(READ_ONCE(slot->status)) == ZW_JOB_OK ? 0 : -EIO;
}

/* Has the device do what was added. */
static int zhenwu_copy_flush(struct zhenwu_copy *copy)
{
	struct zw_msg_tlb tlb = { .vm = cpu_to_le32(copy->vm) };
	struct zhenwu_copy_mem *mem = copy->mem;
	struct zw_ring_entry *entry;
	int ret;

	if (!copy->num_pages)
		return 0;
	wmb(); /* entries of the window are in HBM */
	ret = zhenwu_copy_request(copy, ZW_MSG_TLB_INVALIDATE, &tlb, sizeof(tlb));
	if (ret)
		return ret;
	copy->seqno++;
	entry = &mem->ring[copy->seqno % ZHENWU_COPY_SLOTS];
	*entry = (struct zw_ring_entry) {
		.seqno = cpu_to_le64(copy->seqno),
		.cmd_va = cpu_to_le64(ZHENWU_COPY_MEM_VA + offsetof(struct zhenwu_copy_mem, cmd)),
		.cmd_bytes = cpu_to_le32(copy->num_packets * sizeof(mem->cmd[0])),
	};
	/* The device reads the entry when it sees the tail. */
	dma_wmb();
	WRITE_ONCE(mem->ctrl.tail, cpu_to_le32(copy->seqno));
	/* writel() orders the doorbell after the tail. */
	zhenwu_write32(copy->zdev, ZW_REG_DOORBELL(copy->queue), 1);
	ret = zhenwu_copy_wait(copy);
	if (!ret)
		zhenwu_copy_drop(copy);
	return ret;
}

/**
 * zhenwu_copy_page() - add a page
 * @copy: copies that were begun
 * @addr: HBM address
 * @page: page of system memory
 *
 * It is copied now or later, at zhenwu_copy_end() at the latest.
 *
 * Return: 0; -EIO when the device failed, or was reset; -ENODEV when it is gone; -ERESTARTSYS for a
 * fatal signal, and when the system goes to sleep; -EBUSY when others keep the engines; or another
 * negative error.
 */
int zhenwu_copy_page(struct zhenwu_copy *copy, u64 addr, struct page *page)
{
	u64 prot = ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_TARGET(ZW_TARGET_SYSTEM), va;
	bool joins = copy->num_packets && copy->next == addr;
	struct zw_pkt_copy *pkt;
	dma_addr_t dma;
	u32 n;
	int ret;

	if (copy->num_pages == ZHENWU_COPY_PAGES ||
	    (!joins && copy->num_packets == ZHENWU_COPY_PACKETS)) {
		ret = zhenwu_copy_flush(copy);
		if (ret)
			return ret;
		joins = false;
	}
	dma = dma_map_page(copy->zdev->drm.dev, page, 0, PAGE_SIZE, zhenwu_copy_direction(copy));
	if (dma_mapping_error(copy->zdev->drm.dev, dma))
		return -ENOMEM;
	n = copy->num_pages++;
	copy->pages[n] = dma;
	prot |= copy->to_hbm ? ZW_PTE_READ : ZW_PTE_WRITE;
	zhenwu_copy_pte(copy, ZHENWU_COPY_WINDOW0 + n / ZW_PT_ENTRIES, n % ZW_PT_ENTRIES,
			dma | prot);

	if (!joins) {
		va = ZHENWU_COPY_VA + (u64)n * ZW_PAGE_SIZE;
		copy->mem->cmd[copy->num_packets++] = (struct zw_pkt_copy) {
			.hdr.opcode = cpu_to_le16(ZW_OP_COPY),
			.hdr.size = cpu_to_le16(sizeof(*pkt)),
			.dst = cpu_to_le64(copy->to_hbm ? addr : va),
			.src = cpu_to_le64(copy->to_hbm ? va : addr),
			.rows = cpu_to_le32(1),
		};
	}
	pkt = &copy->mem->cmd[copy->num_packets - 1];
	le64_add_cpu(&pkt->bytes, PAGE_SIZE);
	copy->next = addr + PAGE_SIZE;
	return 0;
}

/* Has the firmware forget queue and VM, as far as it was told of them. */
static int zhenwu_copy_forget(struct zhenwu_copy *copy)
{
	struct zw_msg_queue queue = { .queue = cpu_to_le32(copy->queue) };
	struct zw_msg_set_vm vm = { .vm = cpu_to_le32(copy->vm) };
	int ret = 0;

	if (copy->has_queue)
		ret = zhenwu_copy_request(copy, ZW_MSG_DESTROY_QUEUE, &queue, sizeof(queue));
	if (!ret && copy->has_vm)
		ret = zhenwu_copy_request(copy, ZW_MSG_CLEAR_VM, &vm, sizeof(vm));
	return ret;
}

/**
 * zhenwu_copy_end() - copy what is left, and have the firmware forget VM and queue
 * @copy: copies that were begun
 *
 * Return: 0 or a negative error.
 */
int zhenwu_copy_end(struct zhenwu_copy *copy)
{
	int ret;

	ret = zhenwu_copy_flush(copy);
	return ret ?: zhenwu_copy_forget(copy);
}

/**
 * zhenwu_copy_drop() - give back the pages that were added
 * @copy: copies; they were made, or the device was reset
 */
void zhenwu_copy_drop(struct zhenwu_copy *copy)
{
	u32 i;

	for (i = 0; i < copy->num_pages; i++)
		dma_unmap_page(copy->zdev->drm.dev, copy->pages[i], PAGE_SIZE,
			       zhenwu_copy_direction(copy));
	copy->num_pages = 0;
	copy->num_packets = 0;
}

/**
 * zhenwu_copy_begin_live() - the same as zhenwu_copy_begin() beside others
 * @copy: copies
 * @to_hbm: into HBM; else out of it
 *
 * The device is awake, and nobody else copies. zhenwu_copy_end_live() is to be called also when
 * this fails.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_copy_begin_live(struct zhenwu_copy *copy, bool to_hbm)
{
	struct zhenwu_device *zdev = copy->zdev;
	int ret;

	copy->live = true;
	copy->info = (struct zw_msg_queue_info) {};
	copy->queue = -1;
	copy->has_vm = false;
	copy->has_queue = false;
	copy->vm = ida_alloc_max(&zdev->vm_ids, zdev->info.num_vms - 1, GFP_KERNEL);
	if (copy->vm < 0)
		return copy->vm;
	copy->queue = ida_alloc_max(&zdev->queue_ids, zdev->info.num_queues - 1, GFP_KERNEL);
	if (copy->queue < 0)
		return copy->queue;
	ret = zhenwu_ipc_session(zdev, &copy->session, ZHENWU_IPC_KILLABLE);
	return ret ?: zhenwu_copy_make(copy, to_hbm);
}

/**
 * zhenwu_copy_end_live() - the end of copies beside others
 * @copy: copies
 * @flush: make those that are left
 *
 * On return the device reaches neither the pages nor what is in @copy.
 *
 * Return: 0, or a negative error when not everything was copied.
 */
int zhenwu_copy_end_live(struct zhenwu_copy *copy, bool flush)
{
	struct zhenwu_device *zdev = copy->zdev;
	int ret, err;

	ret = flush ? zhenwu_copy_flush(copy) : 0;
	err = zhenwu_copy_forget(copy);
	/* In either case the device was stopped. */
	if (err && err != -EIO && err != -ENODEV) {
		drm_err(&zdev->drm, "firmware refuses to end a copy: %d\n", err);
		zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_FW_REFUSED);
		wait_event(zdev->reset.wait, zhenwu_ipc_session_over(zdev, copy->session));
	}
	zhenwu_copy_drop(copy);
	if (copy->queue >= 0)
		ida_free(&zdev->queue_ids, copy->queue);
	if (copy->vm >= 0)
		ida_free(&zdev->vm_ids, copy->vm);
	return ret;
}
