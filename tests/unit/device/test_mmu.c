/* SPDX-License-Identifier: MIT */
/* Device MMU and HBM: translation, faults, TLB, views, against a plain model. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "mmu_env.h"

static void expect_place(struct env *e, unsigned int vm, uint64_t va, uint64_t len, uint64_t off)
{
	struct zw_mem_fault f;
	struct zw_view v;

	assert_int_equal(zw_mem_map(e->mmu, vm, va, len, ACC_RW, &v, &f), 0);
	assert_false(v.bounced);
	assert_ptr_equal(v.ptr, e->hbm.base + off);
	assert_int_equal(v.addr, off);
	assert_int_equal(v.bytes[ZW_TARGET_HBM], len);
	assert_int_equal(v.bytes[ZW_TARGET_SYSTEM], 0);
	assert_int_equal(zw_mem_unmap(e->mmu, vm, &v, true, &f), 0);
}

static void page_sizes(void **state)
{
	struct env *e = *state;
	const uint64_t top = UINT64_C(0xffffffe00000); /* last 2 MiB of the space */

	map(e, 1, 0, 0, 0x5000, RW);
	map(e, 1, 2 * MIB, 1, 6 * MIB, RW);
	map(e, 1, 5 * GIB, 2, 1 * GIB, RW);
	map(e, 1, top, 1, 8 * MIB, RW);
	expect_place(e, 1, 0, 4096, 0x5000);
	expect_place(e, 1, 4095, 1, 0x5fff);
	expect_place(e, 1, 2 * MIB + 77, 2 * MIB - 77, 6 * MIB + 77);
	expect_place(e, 1, 5 * GIB + 123456, 1 * GIB - 123456, 1 * GIB + 123456);
	expect_place(e, 1, top + 2 * MIB - 1, 1, 10 * MIB - 1);
	expect_fault(e, 1, 4096, 1, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, 4096);
	expect_fault(e, 1, 4000, 97, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, 4096);
	expect_fault(e, 1, 5 * GIB - 1, 2, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, 5 * GIB - 1);
	expect_fault(e, 1, 6 * GIB - 1, 2, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, 6 * GIB);
}

static void merging(void **state)
{
	struct env *e = *state;

	/* 4 KiB + 4 KiB + 2 MiB + 1 GiB, contiguous in HBM across page sizes. */
	map(e, 1, 1 * GIB - 2 * MIB - 8192, 0, 2 * GIB - 2 * MIB - 8192, RW);
	map(e, 1, 1 * GIB - 2 * MIB - 4096, 0, 2 * GIB - 2 * MIB - 4096, RW);
	map(e, 1, 1 * GIB - 2 * MIB, 1, 2 * GIB - 2 * MIB, RW);
	map(e, 1, 1 * GIB, 2, 2 * GIB, RW);
	expect_place(e, 1, 1 * GIB - 2 * MIB - 8192, 1 * GIB + 2 * MIB + 8192,
		     2 * GIB - 2 * MIB - 8192);
}

static void ranges(void **state)
{
	struct env *e = *state;
	const uint64_t limit = UINT64_C(1) << 48;
	struct zw_mem_fault f;
	struct zw_view v;

	map(e, 1, limit - 4096, 0, 0, RW);
	expect_place(e, 1, limit - 4096, 4096, 0);
	expect_fault(e, 1, limit - 4096, 4097, ZW_ACCESS_READ, ZW_FAULT_RANGE, limit);
	expect_fault(e, 1, limit, 1, ZW_ACCESS_READ, ZW_FAULT_RANGE, limit);
	expect_fault(e, 1, UINT64_MAX, 1, ZW_ACCESS_READ, ZW_FAULT_RANGE, UINT64_MAX);
	expect_fault(e, 1, limit - 4096, UINT64_MAX, ZW_ACCESS_READ, ZW_FAULT_RANGE, limit);
	expect_fault(e, 1, UINT64_MAX - 4095, 8192, ZW_ACCESS_READ, ZW_FAULT_RANGE,
		     UINT64_MAX - 4095);
	assert_int_equal(zw_mem_map(e->mmu, 1, limit - 4096, 0, ZW_ACCESS_READ, &v, &f), -EINVAL);
	assert_int_equal(zw_mem_map(e->mmu, 1, limit - 4096, 1, 0, &v, &f), -EINVAL);
	assert_int_equal(zw_mem_map(e->mmu, 1, limit - 4096, 1, 4, &v, &f), -EINVAL);
}

static void permissions(void **state)
{
	struct env *e = *state;

	map(e, 1, 0, 0, 0, ZW_PTE_READ);
	map(e, 1, 4096, 0, 4096, ZW_PTE_WRITE);
	map(e, 1, 8192, 0, 8192, 0);
	expect_fault(e, 1, 0, 1, ZW_ACCESS_WRITE, ZW_FAULT_PERMISSION, 0);
	expect_fault(e, 1, 0, 1, ACC_RW, ZW_FAULT_PERMISSION, 0);
	expect_fault(e, 1, 100, 4000, ZW_ACCESS_READ, ZW_FAULT_PERMISSION, 4096);
	expect_fault(e, 1, 8192, 1, ZW_ACCESS_READ, ZW_FAULT_PERMISSION, 8192);
	expect_fault(e, 1, 8192, 1, ZW_ACCESS_WRITE, ZW_FAULT_PERMISSION, 8192);
	struct zw_mem_fault f;
	char c = 1;

	assert_int_equal(zw_mem_read(e->mmu, 1, 0, &c, 1, &f), 0);
	assert_int_equal(zw_mem_write(e->mmu, 1, 4096, &c, 1, &f), 0);
	/* Nothing of a write that faults half way is done. */
	memset(e->hbm.base + 4096, 0x11, 8192);
	char two[2] = {0x22, 0x22};
	assert_int_equal(zw_mem_write(e->mmu, 1, 8191, two, 2, &f), -EFAULT);
	assert_int_equal(e->hbm.base[8191], 0x11);
}

static void malformed(void **state)
{
	struct env *e = *state;
	uint64_t va = 3 * GIB;

	/* no VM */
	expect_fault(e, 2, va, 1, ZW_ACCESS_READ, ZW_FAULT_NO_VM, va);
	expect_fault(e, ZW_MAX_VMS, va, 1, ZW_ACCESS_READ, ZW_FAULT_NO_VM, va);
	expect_fault(e, UINT32_MAX, va, 1, ZW_ACCESS_READ, ZW_FAULT_NO_VM, va);
	/* reserved bits, in leaf and table; bits 4 and 5 alone name a target (test_mem.c) */
	for (unsigned int bit = 6; bit < 64; bit++) {
		if ((ZW_PTE_ADDR_MASK >> bit) & 1)
			continue;
		*entry(e, 1, va, 0) = (UINT64_C(1) << bit) | RW | ZW_PTE_VALID | ZW_PTE_LEAF;
		expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, va);
	}
	*entry(e, 1, va, 0) = 0;
	for (int level = 1; level < ZW_PT_LEVELS; level++) {
		uint64_t *p = entry(e, 1, va, level), good = *p;
		const uint64_t bad[] = {ZW_PTE_READ, ZW_PTE_WRITE, ZW_PTE_TARGET(ZW_TARGET_SYSTEM),
					1ull << 5,   1ull << 11,   1ull << 52,
					1ull << 63};

		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			*p = good | bad[i];
			expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, va);
		}
		*p = HBM_SIZE | ZW_PTE_VALID;
		expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, va);
		*p = ZW_PTE_ADDR_MASK | ZW_PTE_VALID;
		expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, va);
		*p = good & ~ZW_PTE_VALID;
		expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, va);
		*p = good;
	}
	/* level 0 must be a leaf, level 3 must not */
	*entry(e, 1, va, 0) = 4096 | ZW_PTE_VALID;
	expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, va);
	map(e, 1, 5 * TIB, 3, 0, RW);
	expect_fault(e, 1, 5 * TIB, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, 5 * TIB);
	/* misaligned leaves */
	map(e, 1, 10 * GIB, 2, 512 * MIB, RW);
	expect_fault(e, 1, 10 * GIB, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, 10 * GIB);
	map(e, 1, 11 * GIB, 1, 4096, RW);
	expect_fault(e, 1, 11 * GIB, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, 11 * GIB);
	/* leaves outside of HBM */
	map(e, 1, 12 * GIB, 0, HBM_SIZE, RW);
	expect_fault(e, 1, 12 * GIB, 1, ZW_ACCESS_READ, ZW_FAULT_TARGET, 12 * GIB);
	map(e, 1, 13 * GIB, 2, HBM_SIZE, RW);
	expect_fault(e, 1, 13 * GIB, 1, ZW_ACCESS_READ, ZW_FAULT_TARGET, 13 * GIB);
	map(e, 1, 14 * GIB, 0, ZW_PTE_ADDR_MASK, RW);
	expect_fault(e, 1, 14 * GIB, 1, ZW_ACCESS_READ, ZW_FAULT_TARGET, 14 * GIB);
	/* the last page of HBM is fine */
	map(e, 1, 15 * GIB, 0, HBM_SIZE - 4096, RW);
	expect_place(e, 1, 15 * GIB, 4096, HBM_SIZE - 4096);
	/* roots */
	assert_int_equal(zw_mmu_set_root(e->mmu, 3, 4095, true), -EFAULT);
	assert_int_equal(zw_mmu_set_root(e->mmu, 3, HBM_SIZE, true), -EFAULT);
	assert_int_equal(zw_mmu_set_root(e->mmu, 3, ~UINT64_C(4095), true), -EFAULT);
	assert_int_equal(zw_mmu_set_root(e->mmu, ZW_MAX_VMS, 0, true), -EINVAL);
	expect_fault(e, 3, 0, 1, ZW_ACCESS_READ, ZW_FAULT_NO_VM, 0);
	assert_int_equal(zw_mmu_set_root(e->mmu, 1, 0, false), 0);
	expect_fault(e, 1, 15 * GIB, 1, ZW_ACCESS_READ, ZW_FAULT_NO_VM, 15 * GIB);
}

static void tlb(void **state)
{
	struct env *e = *state;
	uint64_t misses;

	map(e, 1, 0, 0, 0x1000, RW);
	expect_place(e, 1, 0, 16, 0x1000);
	/* They are counted at the next boundary. */
	zw_mmu_boundary(e->mmu);
	misses = e->pmu.tlb_misses;
	assert_true(misses > 0);
	expect_place(e, 1, 16, 16, 0x1010);
	zw_mmu_boundary(e->mmu);
	assert_int_equal(e->pmu.tlb_misses, misses);
	assert_true(e->pmu.tlb_hits > 0);
	/* The old translation may be used until it is invalidated, the new one must be after. */
	map(e, 1, 0, 0, 0x2000, ZW_PTE_READ | ZW_PTE_WRITE);
	expect_place(e, 1, 0, 16, 0x1000);
	assert_int_equal(zw_mmu_invalidate(e->mmu, 2), 0); /* another VM's does nothing here */
	expect_place(e, 1, 0, 16, 0x1000);
	assert_int_equal(zw_mmu_invalidate(e->mmu, 1), 0);
	expect_place(e, 1, 0, 16, 0x2000);
	assert_int_equal(zw_mmu_invalidate(e->mmu, ZW_MAX_VMS), -EINVAL);
	/* Invalid entries are not cached. */
	expect_fault(e, 1, 4096, 1, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, 4096);
	map(e, 1, 4096, 0, 0x7000, RW);
	expect_place(e, 1, 4096, 16, 0x7000);
	/* A new root drops what the old one meant. */
	uint64_t old = e->root[1];

	e->root[1] = 0;
	map(e, 1, 0, 0, 0x9000, RW);
	assert_true(e->root[1] != old);
	expect_place(e, 1, 0, 16, 0x9000);
}

/* Pages of 2 MiB that continue each other are found by one miss, with no page more than those. */
static void neighbours(void **state)
{
	struct env *e = *state;
	const uint64_t va = 4 * GIB + 100 * 2 * MIB, to = 2 * GIB + 2 * MIB;
	struct zw_mem_fault f;
	struct zw_view v;
	uint64_t misses;

	for (unsigned int i = 0; i < 8; i++)
		map(e, 1, va + i * 2 * MIB, 1, to + i * 2 * MIB, RW);
	expect_place(e, 1, va + 5 * 2 * MIB, 16, to + 5 * 2 * MIB);
	zw_mmu_boundary(e->mmu);
	misses = e->pmu.tlb_misses;
	expect_place(e, 1, va, 8 * 2 * MIB, to);
	expect_place(e, 1, va + 3, 9 * MIB, to + 3);
	zw_mmu_boundary(e->mmu);
	assert_int_equal(e->pmu.tlb_misses, misses);
	/* What is mapped beside them later needs no invalidation, whether it continues them or not. */
	expect_fault(e, 1, va, 8 * 2 * MIB + 1, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED,
		     va + 8 * 2 * MIB);
	expect_fault(e, 1, va - 1, 2, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, va - 1);
	map(e, 1, va - 2 * MIB, 1, to - 2 * MIB, ZW_PTE_READ);
	map(e, 1, va + 8 * 2 * MIB, 1, to + 8 * 2 * MIB, RW);
	expect_place(e, 1, va, 9 * 2 * MIB, to);
	expect_fault(e, 1, va - 1, 2, ZW_ACCESS_WRITE, ZW_FAULT_PERMISSION, va - 1);
	/* Nor does anything of the time before a reset count, although generations begin anew. */
	zw_mmu_reset(e->mmu);
	expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_NO_VM, va);
	map(e, 1, va, 1, to + 64 * MIB, RW);
	assert_int_equal(zw_mmu_set_root(e->mmu, 1, e->root[1], true), 0);
	expect_place(e, 1, va, 2 * MIB, to + 64 * MIB);
	map(e, 1, va, 1, to, RW);
	assert_int_equal(zw_mmu_invalidate(e->mmu, 1), 0);
	/* A page that changes is another one as soon as that is said. */
	map(e, 1, va + 3 * 2 * MIB, 1, to, RW);
	assert_int_equal(zw_mmu_invalidate(e->mmu, 1), 0);
	expect_place(e, 1, va, 3 * 2 * MIB, to);
	expect_place(e, 1, va + 3 * 2 * MIB, 2 * MIB, to);
	expect_place(e, 1, va + 4 * 2 * MIB, 5 * 2 * MIB, to + 4 * 2 * MIB);
	/* One that lies outside is the fault of whoever goes there, also where it continues others. */
	for (unsigned int i = 0; i < 3; i++)
		map(e, 1, 6 * GIB + i * 2 * MIB, 1, HBM_SIZE + (i - UINT64_C(2)) * 2 * MIB, RW);
	expect_place(e, 1, 6 * GIB, 4 * MIB, HBM_SIZE - 4 * MIB);
	expect_fault(e, 1, 6 * GIB, 4 * MIB + 1, ZW_ACCESS_READ, ZW_FAULT_TARGET,
		     6 * GIB + 4 * MIB);
	/* A bad page is found in the middle of good ones. */
	assert_int_equal(zw_hbm_poison(&e->hbm, to + 4 * 2 * MIB + 8192), 0);
	expect_place(e, 1, va + 2 * 2 * MIB, 2 * MIB, to + 2 * 2 * MIB);
	assert_int_equal(zw_mem_map(e->mmu, 1, va + 4 * 2 * MIB, 2 * MIB, ZW_ACCESS_READ, &v, &f),
			 -EFAULT);
	assert_int_equal(f.fault, ZW_FAULT_ECC);
	assert_int_equal(f.va, va + 4 * 2 * MIB + 8192);
}

static void invalidate_while_running(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v;
	unsigned int idles;

	map(e, 1, 0, 0, 0x1000, RW);
	map(e, 2, 0, 0, 0x3000, RW);
	zw_mmu_run_begin(e->mmu, 1, 0);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 16, ACC_RW, &v, &f), 0);
	idles = e->idles;
	map(e, 1, 0, 0, 0x2000, RW);
	assert_int_equal(zw_mmu_invalidate(e->mmu, 1), 0);
	assert_int_equal(zw_mmu_busy(e->mmu, 0), 1u << 1);
	assert_int_equal(e->idles, idles);
	/* A VM that does not run is done at once. */
	assert_int_equal(zw_mmu_invalidate(e->mmu, 2), 0);
	assert_int_equal(zw_mmu_busy(e->mmu, 0), 1u << 1);
	assert_int_equal(e->idles, idles + 1);
	zw_mem_unmap(e->mmu, 1, &v, true, &f);
	/* New views of the running job see the new mapping even before the boundary. */
	expect_place(e, 1, 0, 16, 0x2000);
	zw_mmu_boundary(e->mmu);
	assert_int_equal(zw_mmu_busy(e->mmu, 0), 0);
	assert_int_equal(e->idles, idles + 2);
	zw_mmu_boundary(e->mmu);
	assert_int_equal(e->idles, idles + 2);
	/* The end of the run is a boundary as well. */
	zw_mmu_invalidate(e->mmu, 1);
	assert_int_equal(zw_mmu_busy(e->mmu, 0), 1u << 1);
	zw_mmu_run_end(e->mmu);
	assert_int_equal(zw_mmu_busy(e->mmu, 0), 0);
	assert_int_equal(e->idles, idles + 3);
}

/*
 * One thread changes a mapping over and over as a driver would, the other translates as the command
 * processor does. Whenever an invalidation is over, every later view shows the new page.
 */
struct race {
	struct env *e;
	_Atomic uint64_t now; /* address mapped; odd while it changes */
	_Atomic bool stop;
	_Atomic unsigned int checked, wrong;
};

static void *translate(void *arg)
{
	struct race *r = arg;
	struct zw_mem_fault f;
	struct zw_view v;

	zw_mmu_run_begin(r->e->mmu, 1, 0);
	while (!r->stop) {
		uint64_t before = r->now, off;

		if (zw_mem_map(r->e->mmu, 1, 0, 64, ZW_ACCESS_READ, &v, &f)) {
			r->wrong++;
			break;
		}
		off = v.addr;
		if (!(before & 1) && before == r->now) {
			r->checked++;
			r->wrong += off != before;
		}
		zw_mem_unmap(r->e->mmu, 1, &v, true, &f);
		zw_mmu_boundary(r->e->mmu);
	}
	zw_mmu_run_end(r->e->mmu);
	return NULL;
}

static void invalidate_race(void **state)
{
	struct env *e = *state;
	struct race r = {.e = e, .now = 0x10000};
	uint64_t *pte;
	pthread_t t;

	map(e, 1, 0, 0, 0x10000, RW);
	pte = entry(e, 1, 0, 0);
	assert_int_equal(pthread_create(&t, NULL, translate, &r), 0);
	for (unsigned int i = 0; i < 2000; i++) {
		uint64_t addr = 0x10000 + (i % 7) * 0x1000;

		r.now |= 1;
		__atomic_store_n(pte, addr | RW | ZW_PTE_VALID | ZW_PTE_LEAF, __ATOMIC_RELEASE);
		zw_mmu_invalidate(e->mmu, 1);
		for (time_t end = time(NULL) + 20; zw_mmu_busy(e->mmu, 0); sched_yield())
			assert_true(time(NULL) <= end);
		r.now = addr;
		/* However busy the host, the other thread gets to see some of the mappings at rest. */
		if (i % 16 == 0) {
			unsigned int seen = r.checked;

			while (r.checked == seen && !r.wrong)
				sched_yield();
		}
	}
	r.stop = true;
	pthread_join(t, NULL);
	assert_int_equal(r.wrong, 0);
	assert_true(r.checked >= 2000 / 16);
	assert_int_equal(zw_mmu_busy(e->mmu, 0), 0);
}

static void isolation(void **state)
{
	struct env *e = *state;
	uint64_t va = 0x40000000;

	map(e, 1, va, 0, 0x10000, RW);
	map(e, 2, va, 0, 0x20000, RW);
	map(e, 2, va + 4096, 0, 0x21000, RW);
	for (int i = 0; i < 3; i++) {
		expect_place(e, 1, va, 4096, 0x10000);
		expect_place(e, 2, va, 4096, 0x20000);
		expect_place(e, 2, va + 4096, 4096, 0x21000);
		expect_fault(e, 1, va + 4096, 1, ZW_ACCESS_READ, ZW_FAULT_UNMAPPED, va + 4096);
		expect_fault(e, 0, va, 1, ZW_ACCESS_READ, ZW_FAULT_NO_VM, va);
	}
}

/* HBM page, system page, two HBM pages in the wrong order. */
static void bounce(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v, w;
	uint8_t *p;

	map(e, 1, 0x0000, 0, 0x10000, RW);
	map(e, 1, 0x1000, 0, SYS_BASE + 0x5000, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	map(e, 1, 0x2000, 0, 0x30000, RW);
	map(e, 1, 0x3000, 0, 0x2f000, RW);
	memset(e->hbm.base + 0x10000, 1, 4096);
	memset(e->sys + 0x5000, 2, 4096);
	memset(e->hbm.base + 0x30000, 3, 4096);
	memset(e->hbm.base + 0x2f000, 4, 4096);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x800, 0x3000, ACC_RW, &v, &f), 0);
	assert_true(v.bounced);
	assert_int_equal(v.bytes[ZW_TARGET_SYSTEM], 0x1000);
	assert_int_equal(v.bytes[ZW_TARGET_HBM], 0x2000);
	assert_int_equal((uintptr_t)v.ptr % 64, 0x800 % 64);
	p = v.ptr;
	for (int i = 0; i < 0x3000; i++)
		assert_int_equal(p[i], (i + 0x800) / 0x1000 + 1);
	/* Equal numbers, different memories: these two pages do not touch. */
	struct zw_view x;

	map(e, 1, 0x8000, 0, SYS_BASE - 4096, RW);
	map(e, 1, 0x9000, 0, SYS_BASE, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	map(e, 1, 0xa000, 0, SYS_BASE + 4096, RW);
	memset(e->sys, 9, 4096);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x8000, 0x3000, ZW_ACCESS_READ, &x, &f), 0);
	assert_true(x.bounced);
	assert_int_equal(x.bytes[ZW_TARGET_SYSTEM], 4096);
	assert_int_equal(((uint8_t *)x.ptr)[0xfff], 0);
	assert_int_equal(((uint8_t *)x.ptr)[0x1000], 9);
	assert_int_equal(((uint8_t *)x.ptr)[0x2000], 0);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &x, true, &f), 0);
	/* A second view at the same time, ended first. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x1ff0, 0x20, ZW_ACCESS_READ, &w, &f), 0);
	assert_int_equal((uintptr_t)w.ptr % 64, 0x1ff0 % 64);
	assert_int_equal(((uint8_t *)w.ptr)[0xf], 2);
	assert_int_equal(((uint8_t *)w.ptr)[0x10], 3);
	memset(p, 0x77, 0x3000);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &w, true, &f), 0);
	/* Remapped meanwhile: the view still goes where it was taken from. */
	map(e, 1, 0x1000, 0, SYS_BASE + 0x9000, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	zw_mmu_invalidate(e->mmu, 1);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_null(v.ptr);
	assert_int_equal(e->hbm.base[0x107ff], 1);
	assert_int_equal(e->hbm.base[0x10800], 0x77);
	assert_int_equal(e->sys[0x5000], 0x77);
	assert_int_equal(e->sys[0x5fff], 0x77);
	assert_int_equal(e->sys[0x9000], 0);
	assert_int_equal(e->hbm.base[0x30fff], 0x77);
	assert_int_equal(e->hbm.base[0x2f7ff], 0x77);
	assert_int_equal(e->hbm.base[0x2f800], 4);
	/* Without commit nothing is written; READ views write nothing back. */
	map(e, 1, 0x1000, 0, SYS_BASE + 0x5000, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	zw_mmu_invalidate(e->mmu, 1);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 0x4000, ZW_ACCESS_WRITE, &v, &f), 0);
	p = v.ptr;
	for (int i = 0; i < 0x4000; i++)
		assert_int_equal(p[i], 0); /* host memory must not shine through */
	memset(p, 0x99, 0x4000);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, false, &f), 0);
	assert_int_equal(e->sys[0x5000], 0x77);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 0x4000, ZW_ACCESS_READ, &v, &f), 0);
	memset(v.ptr, 0x99, 0x4000);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(e->sys[0x5000], 0x77);
	assert_int_equal(e->hbm.base[0x10000], 1);
}

static void dma_errors(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v;
	uint8_t buf[64];

	map(e, 1, 0x1000, 0, 0x10000, RW);
	map(e, 1, 0x2000, 0, SYS_BASE, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	map(e, 1, 0x3000, 0, SYS_BASE + SYS_SIZE, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	expect_fault(e, 1, 0x2ff0, 0x20, ZW_ACCESS_READ, ZW_FAULT_DMA, 0x3000);
	expect_fault(e, 1, 0x3000, 1, ZW_ACCESS_READ, ZW_FAULT_DMA, 0x3000);
	assert_int_equal(zw_mem_write(e->mmu, 1, 0x3000, buf, 8, &f), -EFAULT);
	assert_int_equal(f.fault, ZW_FAULT_DMA);
	assert_int_equal(f.access, ZW_ACCESS_WRITE);
	/* Bus master goes away between map and unmap. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x1ff0, 0x20, ACC_RW, &v, &f), 0);
	e->bus_master_off = true;
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), -EFAULT);
	assert_int_equal(f.fault, ZW_FAULT_DMA);
	assert_int_equal(f.va, 0x2000);
	assert_null(v.ptr);
	assert_int_equal(zw_mem_read(e->mmu, 1, 0x2000, buf, 8, &f), -EFAULT);
	e->bus_master_off = false;
	assert_int_equal(zw_mem_read(e->mmu, 1, 0x2000, buf, 8, &f), 0);
}

/* Tables that share subtrees make the whole space valid with four pages: no endless walk, no
 * endless buffer. */
static void hostile_sharing(void **state)
{
	struct env *e = *state;
	uint64_t l3 = new_table(e), l2 = new_table(e), l1 = new_table(e), l0 = new_table(e);
	struct zw_mem_fault f;
	struct zw_view v, w;

	for (unsigned int i = 0; i < ZW_PT_ENTRIES; i++) {
		((uint64_t *)(e->hbm.base + l3))[i] = l2 | ZW_PTE_VALID;
		((uint64_t *)(e->hbm.base + l2))[i] = l1 | ZW_PTE_VALID;
		((uint64_t *)(e->hbm.base + l1))[i] = l0 | ZW_PTE_VALID;
		((uint64_t *)(e->hbm.base + l0))[i] = RW | ZW_PTE_VALID | ZW_PTE_LEAF;
	}
	assert_int_equal(zw_mmu_set_root(e->mmu, 1, l3, true), 0);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, UINT64_C(1) << 48, ZW_ACCESS_READ, &v, &f),
			 -ENOMEM);
	assert_null(v.ptr);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, ZW_MEM_BOUNCE_MAX + 1, ZW_ACCESS_READ, &v, &f),
			 -ENOMEM);
	/* The limit is for all views together. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 64 * MIB, ZW_ACCESS_WRITE, &v, &f), 0);
	assert_int_equal(
		zw_mem_map(e->mmu, 1, 0, ZW_MEM_BOUNCE_MAX - 64 * MIB + 1, ZW_ACCESS_WRITE, &w, &f),
		-ENOMEM);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, false, &f), 0);
	/* ... and what ended does not count. */
	for (int i = 0; i < 40; i++) {
		assert_int_equal(zw_mem_map(e->mmu, 1, 0, 64 * MIB, ZW_ACCESS_WRITE, &v, &f), 0);
		assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, false, &f), 0);
	}
	/* A table that points to itself is a leaf problem at level 0, not a loop. */
	for (unsigned int i = 0; i < ZW_PT_ENTRIES; i++)
		((uint64_t *)(e->hbm.base + l3))[i] = l3 | ZW_PTE_VALID;
	zw_mmu_invalidate(e->mmu, 1);
	expect_fault(e, 1, 0, 4096, ZW_ACCESS_READ, ZW_FAULT_TABLE, 0);
}

/* -- random mappings against a flat list of pages -- */

#define MODEL_PAGES 4096                /* 16 MiB of VA */
#define MODEL_BASE  (7 * GIB - 8 * MIB) /* crosses a GiB: several tables on all levels */

struct model_page {
	uint64_t addr, flags; /* flags 0: unmapped */
};

static uint8_t *model_byte(struct env *e, const struct model_page *p, uint64_t off)
{
	return p->flags & ZW_PTE_TARGET(ZW_TARGET_SYSTEM) ? e->sys + (p->addr - SYS_BASE) + off
							  : e->hbm.base + p->addr + off;
}

static void random_mappings(void **state)
{
	struct env *e = *state;
	static struct model_page model[2][MODEL_PAGES];
	static uint8_t buf[96 * 1024];
	unsigned int faults = 0, good = 0;
	uint64_t seed = 42;

	memset(model, 0, sizeof(model));
	for (uint64_t i = 0; i < 32 * MIB; i += 8)
		*(uint64_t *)(e->hbm.base + i) = test_rand(&seed);
	for (uint64_t i = 0; i < SYS_SIZE; i += 8)
		*(uint64_t *)(e->sys + i) = test_rand(&seed);

	for (unsigned int round = 0; round < 6000; round++) {
		unsigned int m = test_rand(&seed) % 2, vm = 1 + m;

		if (round % 4 == 0 || round < 400) {
			unsigned int first = test_rand(&seed) % MODEL_PAGES;
			unsigned int n = 1 + test_rand(&seed) % 24;
			uint64_t flags = test_rand(&seed) % 8 == 0 ? ZW_PTE_READ : RW;
			bool sys = test_rand(&seed) % 3 == 0, drop = test_rand(&seed) % 8 == 0;
			bool big = test_rand(&seed) % 16 == 0;
			uint64_t addr;

			if (big) {
				first &= ~511u;
				n = 512;
			}
			if (first + n > MODEL_PAGES)
				n = MODEL_PAGES - first;
			addr = sys ? SYS_BASE + test_rand(&seed) % (SYS_SIZE / 4096 - 512) * 4096
				   : test_rand(&seed) % (30 * MIB / 4096) * 4096;
			if (big)
				addr &= ~(2 * MIB - 1);
			for (unsigned int i = 0; i < n; i++) {
				uint64_t va = MODEL_BASE + (uint64_t)(first + i) * 4096;
				uint64_t *l1 = entry(e, vm, va, 1);

				/* Split a 2 MiB page that is partly replaced. */
				if (!big && (*l1 & ZW_PTE_LEAF)) {
					uint64_t old = *l1;

					*l1 = 0;
					for (unsigned int k = 0; k < 512; k++)
						*entry(e, vm, (va & ~(2 * MIB - 1)) + k * 4096, 0) =
							old + k * 4096;
				}
				if (!big)
					*entry(e, vm, va, 0) =
						drop ? 0
						     : (addr + i * 4096) | flags | ZW_PTE_VALID |
								ZW_PTE_LEAF |
								(sys ? ZW_PTE_TARGET(
									       ZW_TARGET_SYSTEM)
								     : 0);
				model[m][first + i] = (struct model_page){
					addr + i * 4096,
					drop ? 0
					     : flags | (sys ? ZW_PTE_TARGET(ZW_TARGET_SYSTEM) : 0)};
			}
			if (big)
				*entry(e, vm, MODEL_BASE + (uint64_t)first * 4096, 1) =
					drop ? 0
					     : addr | flags | ZW_PTE_VALID | ZW_PTE_LEAF |
							(sys ? ZW_PTE_TARGET(ZW_TARGET_SYSTEM) : 0);
			zw_mmu_invalidate(e->mmu, vm);
			continue;
		}

		uint64_t off = test_rand(&seed) % (MODEL_PAGES * 4096ull - sizeof(buf));
		uint64_t len = 1 + test_rand(&seed) % (test_rand(&seed) % 4 ? 5000 : sizeof(buf));
		bool write = test_rand(&seed) % 2;
		uint64_t need = write ? ZW_PTE_WRITE : ZW_PTE_READ, bad = len;
		struct zw_mem_fault f = {0};
		bool unmapped = false;
		int ret;

		for (uint64_t i = 0; i < len; i += i ? 4096 : 4096 - (off & 4095)) {
			const struct model_page *p = &model[m][(off + i) / 4096];

			if (!(p->flags & need)) {
				bad = i;
				unmapped = !p->flags;
				break;
			}
		}
		if (write) {
			for (uint64_t i = 0; i < len; i++)
				buf[i] = (uint8_t)test_rand(&seed);
			ret = zw_mem_write(e->mmu, vm, MODEL_BASE + off, buf, len, &f);
		} else {
			ret = zw_mem_read(e->mmu, vm, MODEL_BASE + off, buf, len, &f);
		}
		if (bad < len) {
			faults++;
			assert_int_equal(ret, -EFAULT);
			assert_int_equal(f.va, MODEL_BASE + off + bad);
			assert_int_equal(f.fault,
					 unmapped ? ZW_FAULT_UNMAPPED : ZW_FAULT_PERMISSION);
			continue;
		}
		good++;
		assert_int_equal(ret, 0);
		/* The last of several virtual pages on one physical page wins a write: compare from
		 * the end. */
		static uint8_t seen[2][32 * MIB / 4096 + 1];
		memset(seen, 0, sizeof(seen));
		for (uint64_t end = len; end > 0;) {
			uint64_t start = (off + end - 1) / 4096 * 4096;
			const struct model_page *p = &model[m][start / 4096];
			bool sys = p->flags & ZW_PTE_TARGET(ZW_TARGET_SYSTEM);
			uint64_t frame = (sys ? p->addr - SYS_BASE : p->addr) / 4096;
			uint64_t lo = start > off ? start : off;

			if (!write || !seen[sys][frame])
				assert_memory_equal(model_byte(e, p, lo & 4095), buf + (lo - off),
						    off + end - lo);
			seen[sys][frame] = 1;
			end = lo - off;
		}
	}
	assert_true(good > 500);
	assert_true(faults > 500);
}

/* -- HBM -- */

static void sparse(void **state)
{
	struct zw_hbm h;
	const uint64_t size = 96 * GIB, at[] = {0, 48 * GIB, 96 * GIB - 4096};

	assert_int_equal(zw_hbm_init(&h, NULL, size, 0, NULL, NULL), 0);
	for (int i = 0; i < 3; i++)
		memset(h.base + at[i], 0x5a, 4096);
	for (int i = 0; i < 3; i++)
		assert_int_equal(h.base[at[i] + 4095], 0x5a);
	assert_true(zw_hbm_resident(&h) <= 3 * ZW_HBM_CHUNK);
	assert_int_equal(zw_hbm_scrub(&h, 0, size, NULL, NULL), 0);
	assert_int_equal(zw_hbm_resident(&h), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(h.base[at[i]], 0);
	zw_hbm_fini(&h);
	assert_int_equal(zw_hbm_init(&h, NULL, 0, 0, NULL, NULL), -EINVAL);
	assert_int_equal(zw_hbm_init(&h, NULL, 1 * MIB, 0, NULL, NULL), -EINVAL);
}

static bool always(void *arg)
{
	return true;
}

static void scrub_edges(void **state)
{
	struct zw_hbm h;
	void *mem = aligned_alloc(4096, 4 * MIB);

	/* Memory of the host without a way to drop pages: zeroed, and only what was named. */
	memset(mem, 0xee, 4 * MIB);
	memset((uint8_t *)mem + MIB, 0, 4095); /* a page that looks like zero from its start */
	assert_int_equal(zw_hbm_init(&h, mem, 4 * MIB, 0, NULL, NULL), 0);
	assert_int_equal(zw_hbm_scrub(&h, 4096, 2 * MIB, NULL, NULL), 0);
	assert_int_equal(h.base[4095], 0xee);
	assert_int_equal(h.base[2 * MIB + 4096], 0xee);
	for (uint64_t i = 4096; i < 2 * MIB + 4096; i++)
		assert_int_equal(h.base[i], 0);
	assert_int_equal(zw_hbm_scrub(&h, 0, 4 * MIB, always, NULL), -ECANCELED);
	zw_hbm_fini(&h);
	free(mem);

	assert_int_equal(zw_hbm_init(&h, NULL, 4 * MIB, 0, NULL, NULL), 0);
	memset(h.base, 0xee, 4 * MIB);
	assert_int_equal(zw_hbm_scrub(&h, 4096, 2 * MIB, NULL, NULL), 0);
	assert_int_equal(h.base[4095], 0xee);
	assert_int_equal(h.base[4096], 0);
	assert_int_equal(h.base[2 * MIB + 4095], 0);
	assert_int_equal(h.base[2 * MIB + 4096], 0xee);
	zw_hbm_fini(&h);
}

static void backing_limit(void **state)
{
	struct env *e = env_new(128 * MIB);
	struct zw_mem_fault f;
	struct zw_view v;

	for (unsigned int i = 0; i < 128; i++)
		map(e, 1, i * 2 * MIB, 1, i * 2 * MIB, RW);
	/* Reading costs nothing. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 200 * MIB, ZW_ACCESS_READ, &v, &f), 0);
	zw_mem_unmap(e->mmu, 1, &v, true, &f);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 100 * MIB, ZW_ACCESS_WRITE, &v, &f), 0);
	memset(v.ptr, 1, v.len);
	zw_mem_unmap(e->mmu, 1, &v, true, &f);
	assert_int_equal(zw_mem_map(e->mmu, 1, 100 * MIB, 100 * MIB, ZW_ACCESS_WRITE, &v, &f),
			 -ENOMEM);
	assert_null(v.ptr);
	assert_int_equal(zw_mem_write(e->mmu, 1, 200 * MIB, &f, 1, &f), 0);
	/* What the guest writes through the aperture is seen. */
	memset(e->hbm.base + 204 * MIB, 1, 24 * MIB);
	assert_int_equal(zw_mem_map(e->mmu, 1, 228 * MIB, 24 * MIB, ZW_ACCESS_WRITE, &v, &f),
			 -ENOMEM);
	/* Memory that is backed already can be written for ever. */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(zw_mem_map(e->mmu, 1, 0, 100 * MIB, ZW_ACCESS_WRITE, &v, &f), 0);
		zw_mem_unmap(e->mmu, 1, &v, true, &f);
	}
	/* Scrubbing gives it back. */
	uint64_t counted = e->hbm.counted;

	assert_int_equal(zw_hbm_scrub(&e->hbm, 0, 100 * MIB, NULL, NULL), 0);
	assert_int_equal(e->hbm.counted, counted - 100 * MIB);
	assert_int_equal(zw_mem_map(e->mmu, 1, 100 * MIB, 60 * MIB, ZW_ACCESS_WRITE, &v, &f), 0);
	zw_mem_unmap(e->mmu, 1, &v, true, &f);
	void *s = e;
	teardown(&s);
}

/* Bounce buffers are memory of the host too: a job cannot get past the limit with them. */
static void bounces_count(void **state)
{
	struct env *e = env_new(70 * MIB);
	struct zw_mem_fault f;
	struct zw_view v[3];

	/* system memory (HBM that was only read may count as backed), then HBM */
	for (unsigned int i = 0; i < 32; i++)
		map(e, 1, i * 2 * MIB, 1, i < 16 ? SYS_BASE : i * 2 * MIB,
		    RW | (i < 16 ? ZW_PTE_TARGET(ZW_TARGET_SYSTEM) : 0));
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 30 * MIB, ZW_ACCESS_READ, &v[0], &f), 0);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 30 * MIB, ZW_ACCESS_READ, &v[1], &f), 0);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 30 * MIB, ZW_ACCESS_READ, &v[2], &f), -ENOMEM);
	/* nor the other way round */
	assert_int_equal(zw_mem_map(e->mmu, 1, 40 * MIB, 6 * MIB, ZW_ACCESS_WRITE, &v[2], &f), 0);
	memset(v[2].ptr, 1, v[2].len);
	zw_mem_unmap(e->mmu, 1, &v[2], true, &f);
	assert_int_equal(zw_mem_map(e->mmu, 1, 48 * MIB, 6 * MIB, ZW_ACCESS_WRITE, &v[2], &f),
			 -ENOMEM);
	zw_mem_unmap(e->mmu, 1, &v[0], false, &f);
	zw_mem_unmap(e->mmu, 1, &v[1], false, &f);
	assert_int_equal(e->hbm.borrowed, 0);
	assert_int_equal(zw_mem_map(e->mmu, 1, 48 * MIB, 6 * MIB, ZW_ACCESS_WRITE, &v[2], &f), 0);
	zw_mem_unmap(e->mmu, 1, &v[2], true, &f);
	void *s = e;
	teardown(&s);
}

/* A long copy goes in pieces and can be given up between them, to and from either memory. */
static void long_copies(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v;

	map(e, 1, 0, 1, SYS_BASE, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	map(e, 1, 2 * MIB, 1, SYS_BASE + 2 * MIB, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	map(e, 1, 4 * MIB, 1, 64 * MIB, RW);
	map(e, 1, 6 * MIB, 1, 32 * MIB, RW);
	memset(e->sys, 0x31, SYS_SIZE);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0, 4 * MIB, ACC_RW, &v, &f), 0);
	assert_int_equal(((uint8_t *)v.ptr)[4 * MIB - 1], 0x31);
	memset(v.ptr, 0x32, v.len);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	for (uint64_t i = 0; i < SYS_SIZE; i += 4095)
		assert_int_equal(e->sys[i], 0x32);
	assert_in_range(e->longest, 4096, MIB);
	for (unsigned int hbm = 0; hbm < 2; hbm++) {
		uint64_t va = hbm * 4 * MIB;

		e->copies_left = 1;
		assert_int_equal(zw_mem_map(e->mmu, 1, va, 4 * MIB, ZW_ACCESS_READ, &v, &f),
				 -ECANCELED);
		assert_null(v.ptr);
		assert_int_equal(zw_mem_map(e->mmu, 1, va, 4 * MIB, ACC_RW, &v, &f), 0);
		memset(v.ptr, 0x33, v.len);
		e->copies_left = 1;
		assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), -ECANCELED);
	}
	assert_int_equal(e->sys[SYS_SIZE - 1], 0x32);
	assert_int_equal(e->hbm.base[32 * MIB], 0);
	/* what is short is never given up */
	e->copies_left = 1;
	assert_int_equal(zw_mem_write(e->mmu, 1, 0x1000, &f, sizeof(f), &f), 0);
	assert_int_equal(e->copies_left, 1);
}

/* Looks at units one by one; what the first that fails says, or 0. */
static int look_one_by_one(struct env *e, const struct zw_mem_units *u, struct zw_view *v,
			   struct zw_mem_fault *f)
{
	for (uint32_t i = 0; i < u->n; i++) {
		int ret = zw_mem_look(e->mmu, 1, u->va + u->unit[i] * u->stride, u->len,
				      ZW_ACCESS_READ, &v[i], f);

		if (ret)
			return ret;
	}
	return 0;
}

/* The same as many at a time as there are in one piece. *views: how many it were. */
static int look_together(struct env *e, const struct zw_mem_units *u, struct zw_view *v,
			 uint32_t *views, struct zw_mem_fault *f)
{
	*views = 0;
	for (uint32_t i = 0, taken; i < u->n; i += taken, (*views)++) {
		struct zw_mem_units left = *u;
		struct zw_view all;
		int ret;

		left.unit += i;
		left.n -= i;
		ret = zw_mem_look_units(e->mmu, 1, &left, ZW_ACCESS_READ, &all, &taken, f);
		if (ret)
			return ret;
		assert_in_range(taken, 1, left.n);
		assert_true(!all.units == (taken == 1));
		if (taken == 1) {
			v[i] = all;
			continue;
		}
		assert_ptr_equal(all.units, &left);
		assert_int_equal(all.va, u->va + u->unit[i] * u->stride);
		assert_int_equal(all.va + all.len,
				 u->va + u->unit[i + taken - 1] * u->stride + u->len);
		assert_int_equal(all.bytes[ZW_TARGET_HBM], all.len);
		assert_false(all.bounced);
		for (uint32_t j = 0; j < taken; j++) {
			v[i + j] = all;
			v[i + j].units = NULL;
			v[i + j].va = u->va + u->unit[i + j] * u->stride;
			v[i + j].addr += v[i + j].va - all.va;
			v[i + j].len = v[i + j].bytes[ZW_TARGET_HBM] = u->len;
		}
	}
	return 0;
}

/* Units looked at together are what they are by themselves, and cost the cache's counters the same. */
static void units(void **state)
{
	enum { N = 400 };
	static const uint64_t starts[] = {0x1800, 2 * MIB - 0x800};
	struct env *one = *state, *all = env_new(0);
	struct env *envs[] = {one, all};
	uint64_t unit[N], rng = 5;
	struct zw_view a[N], b[N];
	struct zw_mem_fault f, g;
	uint32_t views;

	for (unsigned int i = 0; i < 2; i++) {
		struct env *e = envs[i];

		/* a piece of five pages, one by itself, one of system memory, small pages, one of 1 GiB */
		for (unsigned int p = 0; p < 5; p++)
			map(e, 1, p * 2 * MIB, 1, (16 + 2 * p) * MIB, RW);
		map(e, 1, 10 * MIB, 1, 100 * MIB, RW);
		map(e, 1, 12 * MIB, 1, SYS_BASE, RW | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
		for (unsigned int p = 0; p < 512; p++)
			map(e, 1, 14 * MIB + p * 4 * KIB, 0, 200 * MIB + (p ^ 1) * 4 * KIB, RW);
		map(e, 1, 16 * MIB, 1, 120 * MIB, RW);
		map(e, 1, GIB, 2, 2 * GIB, RW);
	}
	for (unsigned int c = 0; c < 24; c++) {
		uint64_t most = c % 3 == 2 ? 500 : 50, at = 0;
		struct zw_mem_units u = {.va = c % 4 == 3 ? GIB + 0x123 : starts[c % 2],
					 .stride = 2048 + c * 16,
					 .len = 3 + c * 64,
					 .unit = unit,
					 .n = N};
		uint64_t hits, misses, bad;

		for (uint32_t i = 0; i < N; i++)
			unit[i] = at += 1 + test_rand(&rng) % (c % 3 ? 24 : 1);
		if (c == 20) /* the second half of them lies nowhere */
			unit[N - 1] = most * MIB;
		/* one that is bad, and a page between two of them that is */
		bad = u.va + unit[100] * u.stride - (c == 14 ? 2 * ZW_PAGE_SIZE : 0);
		for (unsigned int i = 0; i < 2 && (c == 13 || c == 14); i++) {
			assert_in_range(bad, 0, 10 * MIB - 1);
			assert_int_equal(zw_hbm_poison(&envs[i]->hbm, 16 * MIB + bad), 0);
		}
		memset(a, 0, sizeof(a));
		memset(b, 0, sizeof(b));
		memset(&f, 0, sizeof(f));
		memset(&g, 0, sizeof(g));
		assert_int_equal(look_one_by_one(one, &u, a, &f),
				 look_together(all, &u, b, &views, &g));
		assert_int_equal(f.va, g.va);
		assert_int_equal(f.fault, g.fault);
		if (!f.fault)
			assert_memory_equal(a, b, sizeof(a));
		assert_true(views < N || f.fault);
		assert_true(!f.fault == (c != 13 && c != 20));
		for (unsigned int i = 0; i < 2; i++)
			zw_hbm_heal(&envs[i]->hbm, 0, 64 * MIB);
		zw_mmu_boundary(one->mmu);
		zw_mmu_boundary(all->mmu);
		hits = one->pmu.tlb_hits;
		misses = one->pmu.tlb_misses;
		assert_int_equal(all->pmu.tlb_hits, hits);
		assert_int_equal(all->pmu.tlb_misses, misses);
		assert_true(hits && misses);
	}
	/* Rights, and what was forgotten. */
	for (unsigned int i = 0; i < 2; i++) {
		struct zw_mem_units u = {.stride = 4096, .len = 64, .unit = unit, .n = 4};
		uint32_t taken;

		for (uint32_t j = 0; j < 4; j++)
			unit[j] = j;
		*entry(all, 1, 0, 1) &= ~ZW_PTE_WRITE;
		zw_mmu_invalidate(all->mmu, 1);
		assert_int_equal(zw_mem_look_units(all->mmu, 1, &u, ZW_ACCESS_WRITE, a, &taken, &f),
				 -EFAULT);
		assert_int_equal(f.fault, ZW_FAULT_PERMISSION);
		assert_int_equal(zw_mmu_set_root(all->mmu, 1, 0, false), 0);
		assert_int_equal(zw_mem_look_units(all->mmu, 1, &u, ZW_ACCESS_READ, a, &taken, &f),
				 -EFAULT);
		assert_int_equal(f.fault, ZW_FAULT_NO_VM);
		assert_int_equal(zw_mmu_set_root(all->mmu, 1, all->root[1], true), 0);
	}
	void *s = all;
	teardown(&s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(page_sizes),
		T(merging),
		T(ranges),
		T(permissions),
		T(malformed),
		T(units),
		T(tlb),
		T(neighbours),
		T(invalidate_while_running),
		T(invalidate_race),
		T(isolation),
		T(bounce),
		T(dma_errors),
		T(hostile_sharing),
		T(random_mappings),
		cmocka_unit_test(sparse),
		cmocka_unit_test(scrub_edges),
		cmocka_unit_test(backing_limit),
		cmocka_unit_test(bounces_count),
		T(long_copies),
	};

	return cmocka_run_group_tests_name("mmu", tests, NULL, NULL);
}
