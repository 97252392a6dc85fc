/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_COPY_H__
#define __ZHENWU_COPY_H__

#include <linux/sizes.h>
#include <linux/types.h>

#include "zhenwu/zw_fw.h"

struct page;
struct zhenwu_copy_mem;
struct zhenwu_device;

/* Start of HBM that is the driver's own: page 0, which is no address, and the tables used here. */
#define ZHENWU_COPY_HBM_BYTES	SZ_128K

/* Pages of system memory that one job reaches. */
#define ZHENWU_COPY_PAGES	8192u

/**
 * struct zhenwu_copy - copies between HBM and pages of system memory
 */
struct zhenwu_copy {
	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @mem: Ring and commands. */
	struct zhenwu_copy_mem *mem;

	/** @dma: Its DMA address. */
	dma_addr_t dma;

	/** @pages: DMA addresses of the pages of the job that is being made. */
	dma_addr_t *pages;

	/** @num_pages: How many are mapped. */
	u32 num_pages;

	/** @num_packets: Packets of the job. */
	u32 num_packets;

	/** @next: HBM address behind the last packet. */
	u64 next;

	/** @seqno: Number of the last job. */
	u32 seqno;

	/** @to_hbm: Which way. */
	bool to_hbm;

	/** @live: Others use the device; the numbers below are not theirs. Else they are 0. */
	bool live;

	/** @vm: Number of the address space, or -1. */
	int vm;

	/** @queue: Number of the queue, or -1. */
	int queue;

	/** @session: Boot of the firmware that knows them. */
	u32 session;

	/** @info: What the firmware last said of the queue. */
	struct zw_msg_queue_info info;

	/** @has_vm: The firmware was told of the address space. */
	bool has_vm;

	/** @has_queue: The same of the queue. */
	bool has_queue;
};

int zhenwu_copy_init(struct zhenwu_copy *copy, struct zhenwu_device *zdev);
void zhenwu_copy_fini(struct zhenwu_copy *copy);
int zhenwu_copy_begin(struct zhenwu_copy *copy, bool to_hbm);
int zhenwu_copy_page(struct zhenwu_copy *copy, u64 addr, struct page *page);
int zhenwu_copy_end(struct zhenwu_copy *copy);
void zhenwu_copy_drop(struct zhenwu_copy *copy);
int zhenwu_copy_begin_live(struct zhenwu_copy *copy, bool to_hbm);
int zhenwu_copy_end_live(struct zhenwu_copy *copy, bool flush);

#endif /* __ZHENWU_COPY_H__ */
