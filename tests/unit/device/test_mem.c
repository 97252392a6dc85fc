/* SPDX-License-Identifier: MIT */
/* Where leaves may point, views in place, and copies between all kinds of memory. */
#include "mmu_env.h"

#define SYSTEM ZW_PTE_TARGET(ZW_TARGET_SYSTEM)
#define SRAM   ZW_PTE_TARGET(ZW_TARGET_SRAM)
#define PEER   ZW_PTE_TARGET(ZW_TARGET_PEER)

/* -- targets -- */

static void sram(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v;
	uint8_t buf[16];

	map(e, 1, 0x1000, 0, 0, RW | SRAM);
	map(e, 1, 0x2000, 0, SRAM_SIZE - 4096, RW | SRAM);
	map(e, 1, 0x3000, 0, SRAM_SIZE, RW | SRAM);
	map(e, 1, 2 * MIB, 1, SRAM_SIZE - 2 * MIB, RW | SRAM);
	map(e, 1, 4 * MIB, 1, SRAM_SIZE, RW | SRAM);
	map(e, 1, 1 * GIB, 2, 0, RW | SRAM);
	/* In place, and one memory whatever the page size it is mapped with. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x2000, 4096, ACC_RW, &v, &f), 0);
	assert_false(v.bounced);
	assert_int_equal(v.target, ZW_TARGET_SRAM);
	assert_int_equal(v.addr, SRAM_SIZE - 4096);
	assert_int_equal(v.bytes[ZW_TARGET_SRAM], 4096);
	assert_int_equal(v.bytes[ZW_TARGET_HBM], 0);
	memset(v.ptr, 0x5a, 4096);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(zw_mem_read(e->mmu, 1, 4 * MIB - 16, buf, 16, &f), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(buf[i], 0x5a);
	/* It is not HBM. */
	assert_int_equal(e->hbm.base[SRAM_SIZE - 1], 0);
	expect_fault(e, 1, 0x3000, 1, ZW_ACCESS_READ, ZW_FAULT_TARGET, 0x3000);
	expect_fault(e, 1, 4 * MIB, 1, ZW_ACCESS_READ, ZW_FAULT_TARGET, 4 * MIB);
	expect_fault(e, 1, 1 * GIB, 1, ZW_ACCESS_READ, ZW_FAULT_TARGET, 1 * GIB);
	/* A reset empties it. */
	zw_mmu_reset(e->mmu);
	e->root[1] = 0;
	map(e, 1, 0x2000, 0, SRAM_SIZE - 4096, RW | SRAM);
	assert_int_equal(zw_mem_read(e->mmu, 1, 0x2000, buf, 16, &f), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(buf[i], 0);
}

static void no_sram(void **state)
{
	struct env *e = *state;
	struct zw_mmu_config cfg = {.hbm = &e->hbm, .ops = &e->ops, .opaque = e, .pmu = &e->pmu};

	zw_mmu_free(e->mmu);
	e->mmu = zw_mmu_new(&cfg);
	assert_non_null(e->mmu);
	map(e, 1, 0x1000, 0, 0, RW | SRAM);
	expect_fault(e, 1, 0x1000, 1, ZW_ACCESS_READ, ZW_FAULT_TARGET, 0x1000);
}

static void peers_and_reserved_targets(void **state)
{
	struct env *e = *state;
	const uint64_t card = 5ull << ZW_PTE_CARD_SHIFT;

	map(e, 1, 0x1000, 0, 0x10000, RW | PEER);
	map(e, 1, 0x2000, 0, 0x10000, RW | PEER | ZW_PTE_CARD_MASK);
	expect_fault(e, 1, 0x1000, 1, ZW_ACCESS_READ, ZW_FAULT_LINK, 0x1000);
	expect_fault(e, 1, 0x2000, 1, ZW_ACCESS_WRITE, ZW_FAULT_LINK, 0x2000);
	/* A card number is part of no other target. */
	map(e, 1, 0x3000, 0, 0x10000, RW | card);
	map(e, 1, 0x4000, 0, SYS_BASE, RW | SYSTEM | card);
	map(e, 1, 0x5000, 0, 0x1000, RW | SRAM | card);
	for (uint64_t va = 0x3000; va < 0x6000; va += 0x1000)
		expect_fault(e, 1, va, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, va);
	for (unsigned int t = ZW_TARGET_COUNT; t < 8; t++) {
		map(e, 1, 0x6000, 0, 0x1000, RW | ZW_PTE_TARGET(t));
		expect_fault(e, 1, 0x6000, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, 0x6000);
	}
	/* Nor of a table entry. */
	*entry(e, 1, 0x200000, 1) = e->next_table | ZW_PTE_VALID | card;
	expect_fault(e, 1, 0x200000, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, 0x200000);
	*entry(e, 1, 0x200000, 1) = e->next_table | ZW_PTE_VALID | SYSTEM;
	expect_fault(e, 1, 0x200000, 1, ZW_ACCESS_READ, ZW_FAULT_TABLE, 0x200000);
}

/* -- system memory in place -- */

static void offer_maps(struct env *e, size_t max)
{
	e->ops.dma_map = dma_map;
	e->ops.dma_unmap = dma_unmap;
	e->map_max = max;
}

static void system_in_place(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v;

	offer_maps(e, SIZE_MAX);
	for (unsigned int i = 0; i < 4; i++)
		map(e, 1, 0x1000 * (1 + i), 0, SYS_BASE + 0x5000 + 0x1000 * i, RW | SYSTEM);
	map(e, 1, 0x5000, 0, SYS_BASE, RW | SYSTEM);
	map(e, 1, 0x6000, 0, 0x10000, RW);
	/* Four pages that follow each other are one piece. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x1800, 0x3000, ACC_RW, &v, &f), 0);
	assert_false(v.bounced);
	assert_ptr_equal(v.ptr, e->sys + 0x5800);
	assert_int_equal(v.bytes[ZW_TARGET_SYSTEM], 0x3000);
	assert_int_equal(e->maps, 1);
	memset(v.ptr, 0x33, 0x3000);
	assert_int_equal(e->dma_reads, 0);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(e->unmaps, 1);
	assert_int_equal(e->dirtied, 0x3000);
	assert_int_equal(e->sys[0x57ff], 0);
	assert_int_equal(e->sys[0x5800], 0x33);
	/* Also what a failed packet wrote has to be seen by whoever tracks dirty pages. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x1000, 0x1000, ACC_RW, &v, &f), 0);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, false, &f), 0);
	assert_int_equal(e->dirtied, 0x4000);
	/* Read only: nothing is dirty. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x1000, 0x1000, ZW_ACCESS_READ, &v, &f), 0);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(e->dirtied, 0x4000);
	/* Pieces, of any kind, still go through a buffer. */
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x4000, 0x2000, ZW_ACCESS_READ, &v, &f), 0);
	assert_true(v.bounced);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x5000, 0x2000, ZW_ACCESS_READ, &v, &f), 0);
	assert_true(v.bounced);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(e->maps, e->unmaps);
}

static void host_maps_less(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v;

	offer_maps(e, 0x1800);
	map(e, 1, 0x1000, 0, SYS_BASE, RW | SYSTEM);
	map(e, 1, 0x2000, 0, SYS_BASE + 0x1000, RW | SYSTEM);
	map(e, 1, 0x3000, 0, SYS_BASE + SYS_SIZE, RW | SYSTEM);
	memset(e->sys, 7, 0x2000);
	assert_int_equal(zw_mem_map(e->mmu, 1, 0x1000, 0x2000, ACC_RW, &v, &f), 0);
	assert_true(v.bounced);
	assert_int_equal(((uint8_t *)v.ptr)[0x1fff], 7);
	assert_int_equal(e->maps, 1);
	assert_int_equal(e->unmaps, 1); /* the short one is given back at once */
	assert_int_equal(e->dirtied, 0);
	memset(v.ptr, 8, 0x2000);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(e->sys[0x1fff], 8);
	/* What cannot be mapped is asked for by DMA, and that says what is wrong. */
	expect_fault(e, 1, 0x3000, 1, ZW_ACCESS_READ, ZW_FAULT_DMA, 0x3000);
	assert_int_equal(e->maps, e->unmaps);
}

/* Pieces of system memory, moved from and to where they are; of anything else, a view like others. */
static void apart(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;
	struct zw_view v;
	uint8_t buf[0x2000];

	map(e, 1, 0x1000, 0, SYS_BASE + 0x5000, RW | SYSTEM);
	map(e, 1, 0x2000, 0, SYS_BASE + 0x1000, RW | SYSTEM);
	map(e, 1, 0x3000, 0, 0x10000, RW);
	memset(e->sys + 0x5800, 1, 0x800);
	memset(e->sys + 0x1000, 2, 0x1000);
	assert_int_equal(zw_mem_map_apart(e->mmu, 1, 0x1800, 0x1800, ZW_ACCESS_READ, &v, &f), 0);
	assert_non_null(v.apart);
	assert_true(v.bounced);
	assert_null(v.ptr);
	assert_int_equal(v.bytes[ZW_TARGET_SYSTEM], 0x1800);
	assert_int_equal(e->dma_reads, 0);
	assert_int_equal(zw_mem_fetch(e->mmu, &v, buf, &f), 0);
	assert_int_equal(e->dma_reads, 2);
	assert_int_equal(buf[0x7ff], 1);
	assert_int_equal(buf[0x800], 2);
	assert_int_equal(buf[0x17ff], 2);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	/* Ending one writes nothing, whatever it was for. */
	assert_int_equal(zw_mem_map_apart(e->mmu, 1, 0x1801, 0x1000, ZW_ACCESS_WRITE, &v, &f), 0);
	memset(buf, 3, sizeof(buf));
	assert_int_equal(zw_mem_store(e->mmu, &v, buf, &f), 0);
	memset(e->sys + 0x5900, 4, 1);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	assert_int_equal(e->sys[0x5800], 1);
	assert_int_equal(e->sys[0x5801], 3);
	assert_int_equal(e->sys[0x5900], 4);
	assert_int_equal(e->sys[0x1800], 3);
	assert_int_equal(e->sys[0x1801], 2);
	/* Not with HBM among them. */
	assert_int_equal(zw_mem_map_apart(e->mmu, 1, 0x2000, 0x2000, ZW_ACCESS_READ, &v, &f), 0);
	assert_null(v.apart);
	assert_int_equal(((uint8_t *)v.ptr)[0], 3);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, true, &f), 0);
	/* The bus says what is wrong when it is used, behind what was well. */
	map(e, 1, 0x6000, 0, SYS_BASE + 0x1000, RW | SYSTEM);
	map(e, 1, 0x7000, 0, SYS_BASE + SYS_SIZE, RW | SYSTEM);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(zw_mem_map_apart(e->mmu, 1, 0x6000, 0x2000, ZW_ACCESS_READ, &v, &f), 0);
	assert_int_equal(zw_mem_fetch(e->mmu, &v, buf, &f), -EFAULT);
	assert_int_equal(f.va, 0x7000);
	assert_int_equal(f.fault, ZW_FAULT_DMA);
	assert_int_equal(buf[0xfff], 2);
	assert_int_equal(zw_mem_unmap(e->mmu, 1, &v, false, &f), 0);
	/* And what is missing, before. */
	assert_int_equal(zw_mem_map_apart(e->mmu, 1, 0x7000, 0x2000, ZW_ACCESS_READ, &v, &f),
			 -EFAULT);
	assert_int_equal(f.va, 0x8000);
	assert_int_equal(f.fault, ZW_FAULT_UNMAPPED);
}

/* -- copies -- */

#define COPY_BASE  (16 * MIB)
#define COPY_PAGES 2048

/* Pages in disorder, in three kinds of memory, each frame once. */
static void scatter_pages(struct env *e, uint64_t *seed)
{
	static uint32_t order[COPY_PAGES];

	for (uint32_t i = 0; i < COPY_PAGES; i++)
		order[i] = i;
	for (uint32_t i = COPY_PAGES - 1; i; i--) {
		/* in runs: neighbours often stay together */
		uint32_t j = test_rand(seed) % 3 ? i : test_rand(seed) % (i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (uint32_t i = 0; i < COPY_PAGES; i++) {
		uint64_t at = order[i] / 3 * 4096ull;
		uint64_t where[3] = {at, (SYS_BASE + at) | SYSTEM, at | SRAM};

		map(e, 1, COPY_BASE + i * 4096ull, 0, where[order[i] % 3], RW);
	}
}

static void copies_match_a_model(void **state)
{
	static uint8_t model[COPY_PAGES * 4096], seen[COPY_PAGES * 4096];
	struct env *e = *state;
	struct zw_mem_fault f;
	uint64_t seed = 7;

	scatter_pages(e, &seed);
	for (size_t i = 0; i < sizeof(model); i++)
		model[i] = (uint8_t)test_rand(&seed);
	assert_int_equal(zw_mem_write(e->mmu, 1, COPY_BASE, model, sizeof(model), &f), 0);
	for (unsigned int round = 0; round < 200; round++) {
		uint64_t max = test_rand(&seed) % 2 ? sizeof(model) / 2 : 10000;
		uint64_t len = 1 + test_rand(&seed) % max;
		uint64_t a = test_rand(&seed) % (sizeof(model) - 2 * len + 1);
		uint64_t b = a + len + test_rand(&seed) % (sizeof(model) - 2 * len - a + 1);
		bool up = test_rand(&seed) % 2;
		uint64_t src = up ? a : b, dst = up ? b : a;

		assert_int_equal(zw_mem_copy(e->mmu, 1, COPY_BASE + dst, COPY_BASE + src, len, &f),
				 0);
		memcpy(model + dst, model + src, len);
	}
	assert_int_equal(zw_mem_read(e->mmu, 1, COPY_BASE, seen, sizeof(seen), &f), 0);
	assert_memory_equal(seen, model, sizeof(seen));
}

static void refused_copies_write_nothing(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;

	/* 40 MiB: more than one window. The very last page is missing. */
	for (unsigned int i = 0; i < 20; i++) {
		map(e, 1, (64 + 2 * i) * MIB, 1, (128 + 2 * i) * MIB, RW);
		if (i < 19)
			map(e, 1, (256 + 2 * i) * MIB, 1, (512 + 2 * i) * MIB, RW);
	}
	for (unsigned int i = 0; i < 511; i++)
		map(e, 1, 294 * MIB + i * 4096, 0, 600 * MIB + i * 4096, RW);
	memset(e->hbm.base + 128 * MIB, 0x11, 40 * MIB);
	assert_int_equal(zw_mem_copy(e->mmu, 1, 256 * MIB, 64 * MIB, 40 * MIB, &f), -EFAULT);
	assert_int_equal(f.va, 296 * MIB - 4096);
	assert_int_equal(f.access, ZW_ACCESS_WRITE);
	assert_int_equal(f.fault, ZW_FAULT_UNMAPPED);
	assert_int_equal(e->hbm.base[512 * MIB], 0);
	assert_int_equal(zw_mem_copy(e->mmu, 1, 64 * MIB, 256 * MIB, 40 * MIB, &f), -EFAULT);
	assert_int_equal(f.access, ZW_ACCESS_READ);
	assert_int_equal(e->hbm.base[128 * MIB], 0x11);
	/* One page less, and it works. */
	assert_int_equal(zw_mem_copy(e->mmu, 1, 256 * MIB, 64 * MIB, 40 * MIB - 4096, &f), 0);
	assert_int_equal(e->hbm.base[512 * MIB], 0x11);
	assert_int_equal(e->hbm.base[600 * MIB + 511 * 4096 - 1], 0x11);
	/* Beyond the address space, and nothing at all. */
	assert_int_equal(zw_mem_copy(e->mmu, 1, (1ull << 48) - 4096, 64 * MIB, 8192, &f), -EFAULT);
	assert_int_equal(zw_mem_copy(e->mmu, 1, UINT64_MAX, 64 * MIB, 1, &f), -EFAULT);
	assert_int_equal(f.fault, ZW_FAULT_RANGE);
	assert_int_equal(zw_mem_copy(e->mmu, 1, UINT64_MAX, UINT64_MAX, 0, &f), 0);
}

static void copies_can_be_stopped(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;

	for (unsigned int i = 0; i < 4; i++) {
		map(e, 1, (64 + 2 * i) * MIB, 1, (128 + 2 * i) * MIB, RW);
		map(e, 1, (256 + 2 * i) * MIB, 1, (512 + 2 * i) * MIB, RW);
	}
	memset(e->hbm.base + 128 * MIB, 0x11, 8 * MIB);
	e->copies_left = 6;
	assert_int_equal(zw_mem_copy(e->mmu, 1, 256 * MIB, 64 * MIB, 8 * MIB, &f), -ECANCELED);
	assert_int_equal(e->stop_calls, 6);
	/* One call before the window, one before each step. */
	assert_int_equal(e->hbm.base[516 * MIB - 1], 0x11);
	assert_int_equal(e->hbm.base[516 * MIB], 0);
	e->copies_left = 100;
	e->stop_calls = 0;
	assert_int_equal(zw_mem_copy(e->mmu, 1, 256 * MIB, 64 * MIB, 8 * MIB, &f), 0);
	assert_int_equal(e->stop_calls, 9);
	assert_int_equal(e->hbm.base[520 * MIB - 1], 0x11);
}

static void bus_errors_in_copies(void **state)
{
	struct env *e = *state;
	struct zw_mem_fault f;

	map(e, 1, 0x1000, 0, 0x10000, RW);
	map(e, 1, 0x2000, 0, 0x11000, RW);
	map(e, 1, 0x5000, 0, SYS_BASE + SYS_SIZE - 4096, RW | SYSTEM);
	map(e, 1, 0x6000, 0, SYS_BASE + SYS_SIZE, RW | SYSTEM);
	assert_int_equal(zw_mem_copy(e->mmu, 1, 0x1000, 0x5800, 0x1000, &f), -EFAULT);
	assert_int_equal(f.fault, ZW_FAULT_DMA);
	assert_int_equal(f.access, ZW_ACCESS_READ);
	assert_int_equal(zw_mem_copy(e->mmu, 1, 0x5800, 0x1000, 0x1000, &f), -EFAULT);
	assert_int_equal(f.fault, ZW_FAULT_DMA);
	assert_int_equal(f.access, ZW_ACCESS_WRITE);
	e->bus_master_off = true;
	assert_int_equal(zw_mem_copy(e->mmu, 1, 0x5000, 0x5800, 0x800, &f), -EFAULT);
	assert_int_equal(f.va, 0x5800);
	assert_int_equal(f.access, ZW_ACCESS_READ);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sram, setup, teardown),
		cmocka_unit_test_setup_teardown(no_sram, setup, teardown),
		cmocka_unit_test_setup_teardown(peers_and_reserved_targets, setup, teardown),
		cmocka_unit_test_setup_teardown(system_in_place, setup, teardown),
		cmocka_unit_test_setup_teardown(host_maps_less, setup, teardown),
		cmocka_unit_test_setup_teardown(apart, setup, teardown),
		cmocka_unit_test_setup_teardown(copies_match_a_model, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_copies_write_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(copies_can_be_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(bus_errors_in_copies, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
