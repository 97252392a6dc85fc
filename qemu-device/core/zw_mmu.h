/* SPDX-License-Identifier: MIT */
/*
 * Device MMU: what the device itself (registers, command-processor thread) does with it. The
 * engines' side, views and copies, is zw_mem.h.
 *
 * Threads. One thread at a time translates: the command-processor thread, between
 * zw_mmu_run_begin() and zw_mmu_run_end(). Roots and invalidations may come from any thread at any
 * time. The translation cache belongs to the translating thread; an invalidation raises the VM's
 * generation, which makes every older entry of it miss. Page table entries are read from HBM as
 * single 64-bit loads, as the guest may write them at any moment.
 */
#ifndef ZW_MMU_INTERNAL_H
#define ZW_MMU_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include "zhenwu/zw_pte.h"
#include "zw_core.h"
#include "zw_cp.h"
#include "zw_hbm.h"
#include "zw_mem.h"

struct zw_inject_state;

/* Most bytes of bounce buffers at a time: what a hostile page table can make the host allocate. They
 * count towards the backing limit of HBM as well. */
#define ZW_MEM_BOUNCE_MAX (UINT64_C(2) << 30)

struct zw_mmu_config {
	struct zw_hbm *hbm;
	uint64_t sram_bytes;           /* of the on-chip buffer; 0: there is none */
	const struct zw_host_ops *ops; /* dma_*; NULL: every system page faults */
	void *opaque;
	struct zw_inject_state *inject; /* DMA that is to fail; may be NULL */
	struct zw_pmu *pmu;             /* the MMU counts tlb_hits, tlb_misses and faults in it */
	/* an invalidation finished (any thread, no lock held); may be NULL */
	void (*idle)(void *opaque);
	void *idle_opaque;
	/* translating thread: a copy under way should be given up; may be NULL */
	bool (*stopping)(void *opaque);
	void *stopping_opaque;
};

struct zw_mmu *zw_mmu_new(const struct zw_mmu_config *cfg);
/* All views ended. NULL is fine. */
void zw_mmu_free(struct zw_mmu *mmu);
/* Device reset: no roots, no cached entries, nothing pending. Nothing runs. */
void zw_mmu_reset(struct zw_mmu *mmu);

/*
 * Any thread. root: HBM address of the root table; valid false clears the VM and ignores root.
 * Drops what was cached, as zw_mmu_invalidate() does. 0, -EINVAL (vm) or -EFAULT (root not 4 KiB
 * aligned or not inside HBM).
 */
int zw_mmu_set_root(struct zw_mmu *mmu, unsigned int vm, uint64_t root, bool valid);

/*
 * Any thread. Finished at once (idle is called before it returns) unless the VM is being run: then
 * when the views that exist now are gone, seen at the next boundary. -EINVAL for a bad vm.
 */
int zw_mmu_invalidate(struct zw_mmu *mmu, unsigned int vm);
/* Any thread: bit i: VM 64 * bank + i has an unfinished invalidation. */
uint64_t zw_mmu_busy(struct zw_mmu *mmu, unsigned int bank);

/*
 * Translating thread: a run on this VM, with the bus addresses of this function, begins, is between
 * two packets with no view mapped, is over.
 */
void zw_mmu_run_begin(struct zw_mmu *mmu, unsigned int vm, unsigned int function);
void zw_mmu_boundary(struct zw_mmu *mmu);
void zw_mmu_run_end(struct zw_mmu *mmu);

/*
 * What was translated keeps its translation, and pages that were good are good, as long as this is the same; not beyond a
 * reset. Take it before translating. Any thread.
 */
struct zw_mmu_epoch {
	uint64_t tables, bad_pages; /* tables is never 0 */
};
struct zw_mmu_epoch zw_mmu_epoch(const struct zw_mmu *mmu, unsigned int vm);

/* Translating thread: translations since the last boundary; and that `n` were not asked for because they are known. */
uint64_t zw_mmu_lookups(const struct zw_mmu *mmu);
void zw_mmu_looked_up(struct zw_mmu *mmu, uint64_t n);

#endif /* ZW_MMU_INTERNAL_H */
