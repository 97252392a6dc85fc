/* SPDX-License-Identifier: MIT */
/* An MMU over sparse HBM, an on-chip buffer and a piece of system memory, and tables built by hand. */
#ifndef MMU_ENV_H
#define MMU_ENV_H

#include "unit.h"
#include "zw_hbm.h"
#include "zw_mmu.h"
#include "zhenwu/zw_regs.h"

#define HBM_SIZE  (8 * GIB) /* sparse */
#define SYS_BASE  (3 * GIB) /* a PCI DMA address */
#define SYS_SIZE  (4 * MIB)
#define SRAM_SIZE (4 * MIB)
#define TABLES    (HBM_SIZE - 64 * MIB)
#define RW        (ZW_PTE_READ | ZW_PTE_WRITE)
#define ACC_RW    (ZW_ACCESS_READ | ZW_ACCESS_WRITE)

struct env {
	struct zw_host_ops ops;
	struct zw_hbm hbm;
	struct zw_mmu *mmu;
	struct zw_pmu pmu;
	uint8_t *sys;
	bool bus_master_off;
	unsigned int idles;
	unsigned int dma_reads;
	size_t longest;           /* DMA so far */
	unsigned int copies_left; /* before the job is told to stop; 0: never */
	unsigned int stop_calls;
	/* dma_map: most bytes it maps at once (0: it is not offered), and what it was asked for */
	size_t map_max;
	unsigned int maps, unmaps;
	uint64_t dirtied;
	uint64_t next_table;
	uint64_t root[ZW_MAX_VMS];
};

static inline int dma_check(struct env *e, uint64_t addr, size_t len)
{
	if (len > e->longest)
		e->longest = len;
	if (e->bus_master_off || addr < SYS_BASE || len > SYS_SIZE ||
	    addr - SYS_BASE > SYS_SIZE - len)
		return -EIO;
	return 0;
}

static inline int dma_read(void *opaque, unsigned int function, uint64_t addr, void *buf,
			   size_t len)
{
	struct env *e = opaque;

	e->dma_reads++;
	if (dma_check(e, addr, len))
		return -EIO;
	memcpy(buf, e->sys + (addr - SYS_BASE), len);
	return 0;
}

static inline int dma_write(void *opaque, unsigned int function, uint64_t addr, const void *buf,
			    size_t len)
{
	struct env *e = opaque;

	if (dma_check(e, addr, len))
		return -EIO;
	memcpy(e->sys + (addr - SYS_BASE), buf, len);
	return 0;
}

static inline void *dma_map(void *opaque, unsigned int function, uint64_t addr, size_t *len,
			    bool write)
{
	struct env *e = opaque;

	(void)write;
	if (dma_check(e, addr, 1) || !e->map_max)
		return NULL;
	if (*len > e->map_max)
		*len = e->map_max;
	if (*len > SYS_BASE + SYS_SIZE - addr)
		*len = SYS_BASE + SYS_SIZE - addr;
	e->maps++;
	return e->sys + (addr - SYS_BASE);
}

static inline void dma_unmap(void *opaque, unsigned int function, void *ptr, size_t len, bool write,
			     size_t access_len)
{
	struct env *e = opaque;

	(void)ptr;
	(void)len;
	e->unmaps++;
	if (write)
		e->dirtied += access_len;
}

static inline void idle(void *opaque)
{
	((struct env *)opaque)->idles++;
}

static inline bool stopping(void *opaque)
{
	struct env *e = opaque;

	e->stop_calls++;
	return e->copies_left && !--e->copies_left;
}

static inline struct env *env_new(uint64_t limit)
{
	struct env *e = calloc(1, sizeof(*e));

	assert_non_null(e);
	e->sys = calloc(1, SYS_SIZE);
	e->ops.dma_read = dma_read;
	e->ops.dma_write = dma_write;
	assert_int_equal(zw_hbm_init(&e->hbm, NULL, HBM_SIZE, limit, &e->ops, e), 0);
	struct zw_mmu_config cfg = {.hbm = &e->hbm,
				    .sram_bytes = SRAM_SIZE,
				    .ops = &e->ops,
				    .opaque = e,
				    .pmu = &e->pmu,
				    .idle = idle,
				    .idle_opaque = e,
				    .stopping = stopping,
				    .stopping_opaque = e};
	e->mmu = zw_mmu_new(&cfg);
	assert_non_null(e->mmu);
	e->next_table = TABLES;
	return e;
}

static inline int setup(void **state)
{
	*state = env_new(0);
	return 0;
}

static inline int teardown(void **state)
{
	struct env *e = *state;

	zw_mmu_free(e->mmu);
	zw_hbm_fini(&e->hbm);
	free(e->sys);
	free(e);
	return 0;
}

static inline uint64_t *entry_at(struct env *e, uint64_t table, uint64_t va, int level)
{
	return (uint64_t *)(e->hbm.base + table) + (va >> ZW_PT_SHIFT(level)) % ZW_PT_ENTRIES;
}

static inline uint64_t new_table(struct env *e)
{
	uint64_t t = e->next_table;

	e->next_table += ZW_PAGE_SIZE;
	assert_true(e->next_table <= HBM_SIZE);
	return t;
}

/* The entry for va at a level, making the tables above it. */
static inline uint64_t *entry(struct env *e, unsigned int vm, uint64_t va, int level)
{
	uint64_t table;

	if (!e->root[vm]) {
		e->root[vm] = new_table(e);
		assert_int_equal(zw_mmu_set_root(e->mmu, vm, e->root[vm], true), 0);
	}
	table = e->root[vm];
	for (int l = ZW_PT_LEVELS - 1; l > level; l--) {
		uint64_t *p = entry_at(e, table, va, l);

		if (!(*p & ZW_PTE_VALID))
			*p = new_table(e) | ZW_PTE_VALID;
		table = *p & ZW_PTE_ADDR_MASK;
	}
	return entry_at(e, table, va, level);
}

static inline void map(struct env *e, unsigned int vm, uint64_t va, int level, uint64_t addr,
		       uint64_t flags)
{
	*entry(e, vm, va, level) = addr | flags | ZW_PTE_VALID | ZW_PTE_LEAF;
}

static inline void expect_fault(struct env *e, unsigned int vm, uint64_t va, uint64_t len,
				uint32_t access, enum zw_fault fault, uint64_t at)
{
	uint64_t before = e->pmu.faults;
	struct zw_mem_fault f = {0};
	struct zw_view v;

	assert_int_equal(zw_mem_map(e->mmu, vm, va, len, access, &v, &f), -EFAULT);
	assert_int_equal(f.fault, fault);
	assert_int_equal(f.va, at);
	assert_true(f.access & access);
	assert_null(v.ptr);
	assert_int_equal(e->pmu.faults, before + 1);
}

#endif /* MMU_ENV_H */
