/* SPDX-License-Identifier: MIT */
/*
 * Private to zw_mmu.c (translation) and zw_mem.c (views and copies).
 */
#ifndef ZW_MMU_INT_H
#define ZW_MMU_INT_H

#include <stdatomic.h>
#include <pthread.h>
#include "zw_inject.h"
#include "zw_mmu.h"
#include "zhenwu/zw_regs.h"

#define ZW_MMU_NO_VM UINT32_MAX

#define ZW_TLB_SIZES 3 /* 4 KiB, 2 MiB, 1 GiB */
#define ZW_TLB_SETS  128
#define ZW_TLB_WAYS  4
#define ZW_TLB_HINTS 16
#define ZW_TLB_SPANS 512 /* sets; a span is within the 1 GiB of one table of 2 MiB pages */

/* Pages that follow each other in both address spaces and have the same rights: one, or more of 2 MiB. */
struct zw_span {
	uint64_t va, len;
	uint64_t pte;       /* of the first */
	unsigned int shift; /* log2 of the page size */
};

struct zw_tlb_entry {
	uint64_t gen;  /* valid while equal to the VM's generation */
	uint64_t page; /* va >> shift */
	uint64_t pte;
	unsigned int vm;
};

struct zw_tlb_span {
	uint64_t gen; /* as above */
	struct zw_span span;
	unsigned int vm;
};

struct zw_segment {
	uint64_t va;
	uint64_t addr; /* in what target names */
	uint64_t len;
	unsigned int target; /* enum zw_target, without PEER */
};

#define ZW_SEGLIST_FEW 8
struct zw_seglist {
	struct zw_segment *seg;
	size_t n, cap;
	unsigned int function; /* whose addresses system memory has */
	bool uncached;         /* leave the translation cache alone: not its owner's walk */
	uint64_t max;          /* -ENOMEM for longer ranges that cannot be used in place */
	struct zw_segment few[ZW_SEGLIST_FEW];
};

/* A bounce buffer of a view that is mapped now. */
struct zw_bounce {
	struct zw_bounce *next;
	uint8_t *ptr; /* what the view shows, inside the allocation that follows this struct */
	uint64_t len;
	uint64_t size; /* of the allocation */
	struct zw_seglist list;
};

struct zw_mmu {
	struct zw_mmu_config cfg;
	uint8_t *sram; /* the on-chip buffer: cfg.sram_bytes, used sparsely */
	struct {
		_Atomic uint64_t root; /* | ZW_PTE_VALID; 0: none */
		_Atomic uint64_t gen;
	} vm[ZW_MAX_VMS];
	unsigned int function; /* whose addresses system memory has: the running job's */

	pthread_mutex_t lock; /* run_vm, and busy against it */
	unsigned int run_vm;
	_Atomic uint64_t busy; /* an invalidation of run_vm is under way */

	/* Translating thread only. */
	unsigned int tlb_victim;
	uint64_t hits, misses; /* of the cache, that are not in the counters yet */
	uint64_t bounce_bytes;
	struct zw_bounce *bounces;
	/* By the last bits of a page's number, where one was found last: it is looked at there first. */
	struct {
		const struct zw_tlb_entry *entry; /* NULL: none */
		unsigned int shift;
	} hint[ZW_TLB_HINTS];
	struct zw_tlb_entry tlb[ZW_TLB_SIZES][ZW_TLB_SETS][ZW_TLB_WAYS];
	struct zw_tlb_span spans[ZW_TLB_SPANS][ZW_TLB_WAYS];
};

/* Where the device keeps the bytes of a piece; NULL for system memory. */
static inline uint8_t *zw_mmu_host(const struct zw_mmu *mmu, unsigned int target, uint64_t addr)
{
	switch (target) {
	case ZW_TARGET_HBM:
		return mmu->cfg.hbm->base + addr;
	case ZW_TARGET_SRAM:
		return mmu->sram + addr;
	default:
		return NULL;
	}
}

void zw_seglist_init(struct zw_seglist *list);
void zw_seglist_fini(struct zw_seglist *list);

/*
 * Translates [va, va + len) and checks every page of it. The list (initialised, max set) receives
 * the pieces in order. 0, -EFAULT (fault filled), -ENOMEM or -EINVAL; the list may hold pieces in
 * all cases.
 */
int zw_mmu_resolve(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
		   struct zw_seglist *list, struct zw_mem_fault *fault);

/*
 * How many of the units, from the first on, the translation cache has in one piece of HBM, with these rights and no page
 * bad; *addr: where the first of them is. What is more than one is counted as found there, one by one. 0 or 1: they have
 * to be translated.
 */
uint32_t zw_mmu_known_units(struct zw_mmu *mmu, unsigned int vm, const struct zw_mem_units *units,
			    uint32_t access, uint64_t *addr);

/* Counts and fills a fault; returns -EFAULT. */
int zw_mmu_fault(struct zw_mmu *mmu, struct zw_mem_fault *fault, uint64_t va, uint32_t access,
		 enum zw_fault why);

#endif /* ZW_MMU_INT_H */
