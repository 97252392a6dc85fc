/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: address translation.
 *
 * Every address in a command buffer is a 48-bit virtual address of the submitting VM. A VM has a
 * tree of 4 KiB tables of 512 entries in HBM; the root covers the whole space:
 *
 *	level 3: VA[47:39]	level 2: VA[38:30]	level 1: VA[29:21]	level 0: VA[20:12]
 *
 * An entry with ZW_PTE_LEAF maps a page: 1 GiB at level 2, 2 MiB at level 1, 4 KiB at level 0
 * (where LEAF must be set). An entry without it points to the next table (HBM, no permission bits).
 * The address of a leaf is aligned to its page size. Tables are written by the driver through the
 * aperture; invalid entries are never cached, so only changing or removing a valid entry needs
 * ZW_MSG_TLB_INVALIDATE.
 */
#ifndef ZW_PTE_H
#define ZW_PTE_H

#include "zw_types.h"

#define ZW_VA_BITS         48
#define ZW_PAGE_SHIFT      12
#define ZW_PAGE_SIZE       4096u
#define ZW_PT_LEVELS       4
#define ZW_PT_ENTRIES      512
#define ZW_PT_SHIFT(level) (ZW_PAGE_SHIFT + 9 * (level))

/*
 * A leaf names its target in three bits. Which targets a VM uses is the driver's choice; the device
 * checks that a leaf lies inside of what it names:
 *
 *	HBM	address in the card's own HBM
 *	SYSTEM	PCI DMA address, of the function the queue belongs to
 *	SRAM	address in the on-chip buffer, whose size is ZW_REG_SRAM_SIZE
 *	PEER	address in the HBM of the card that bits 52..61 name by its number in the fabric
 *
 * A device without links (ZW_CAP_LINKS) answers a PEER leaf with ZW_FAULT_LINK.
 */
#define ZW_PTE_VALID        (1ull << 0)
#define ZW_PTE_READ         (1ull << 1)
#define ZW_PTE_WRITE        (1ull << 2)
#define ZW_PTE_LEAF         (1ull << 3)
#define ZW_PTE_TARGET_SHIFT 4
#define ZW_PTE_TARGET_MASK  (7ull << ZW_PTE_TARGET_SHIFT)
#define ZW_PTE_TARGET(t)    ((unsigned long long)(t) << ZW_PTE_TARGET_SHIFT)
#define ZW_PTE_ADDR_MASK    0x000ffffffffff000ull
#define ZW_PTE_CARD_SHIFT   52
#define ZW_PTE_CARD_MASK    (0x3ffull << ZW_PTE_CARD_SHIFT) /* zero unless PEER */
/* Must be zero, else a fault. */
#define ZW_PTE_RESERVED     (~(ZW_PTE_ADDR_MASK | ZW_PTE_CARD_MASK | ZW_PTE_TARGET_MASK | 0xfull))

enum zw_target {
	ZW_TARGET_HBM = 0,
	ZW_TARGET_SYSTEM = 1,
	ZW_TARGET_SRAM = 2,
	ZW_TARGET_PEER = 3,
	/* 4..7 are reserved: ZW_FAULT_TABLE */
	ZW_TARGET_COUNT = 4,
};

enum zw_access {
	ZW_ACCESS_READ = 1,
	ZW_ACCESS_WRITE = 2,
};

/* Why a translation failed; reported in zw_completion.reason with status ZW_JOB_FAULT. */
enum zw_fault {
	ZW_FAULT_NONE = 0,
	ZW_FAULT_UNMAPPED = 1,   /* entry not valid */
	ZW_FAULT_PERMISSION = 2, /* mapped without the needed permission */
	ZW_FAULT_RANGE = 3,      /* address beyond 48 bits, or the range wraps */
	ZW_FAULT_TABLE =
		4, /* malformed entry: reserved bits, misaligned leaf, table outside of HBM */
	ZW_FAULT_TARGET = 5, /* leaf outside of the memory it names */
	ZW_FAULT_DMA = 6,    /* PCI DMA to system memory failed */
	ZW_FAULT_NO_VM = 7,  /* the queue's VM has no page table */
	ZW_FAULT_LINK = 8,   /* no link leads to the card the leaf names */
	ZW_FAULT_ECC = 9,    /* uncorrectable error in HBM or SRAM; the VA is that of the page */
};

#endif /* ZW_PTE_H */
