// SPDX-License-Identifier: MIT
/* Parts of the runtime that need no device: conventions, enumeration, allocators of the sim
 * transport. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "sim.h"

static void test_sized_structs(void **state)
{
	struct known {
		uint32_t size, a, b, c;
	} k = {0}, small = {8, 1, 2, 3};
	struct {
		struct known k;
		uint32_t newer[2];
	} large = {{sizeof(large), 1, 2, 3}, {0, 0}};
	const size_t v0 = SIZED_V0(struct known, a);
	static uint32_t huge[SIZED_MAX / 4 + 1];

	assert_int_equal(v0, 8);
	assert_int_equal(sized_in(&k, sizeof(k), v0, &small), 0);
	assert_int_equal(k.a, 1);
	assert_int_equal(k.b, 0); /* what an older caller does not have is zero */
	assert_int_equal(sized_in(&k, sizeof(k), v0, &large), 0);
	assert_int_equal(k.c, 3);
	large.newer[1] = 1; /* a newer caller wants something this library does not know */
	assert_int_equal(sized_in(&k, sizeof(k), v0, &large), -E2BIG);
	for (small.size = 0; small.size < v0; small.size++)
		assert_int_equal(sized_in(&k, sizeof(k), v0, &small), -EINVAL);
	/* No size is followed wherever it leads. */
	huge[0] = SIZED_MAX;
	assert_int_equal(sized_in(&k, sizeof(k), v0, huge), 0);
	huge[0] = SIZED_MAX + 1;
	assert_int_equal(sized_in(&k, sizeof(k), v0, huge), -E2BIG);
	huge[0] = UINT32_MAX;
	assert_int_equal(sized_in(&k, sizeof(k), v0, huge), -E2BIG);

	k = (struct known){sizeof(k), 7, 8, 9};
	small = (struct known){8, 0, 0, 0};
	assert_int_equal(sized_out(&small, v0, &k, sizeof(k)), 0);
	assert_int_equal(small.size, 8);
	assert_int_equal(small.a, 7);
	assert_int_equal(small.b, 0);
	large.k.size = sizeof(large);
	assert_int_equal(sized_out(&large, v0, &k, sizeof(k)), 0);
	assert_int_equal(large.k.size, sizeof(k));
	assert_int_equal(large.k.c, 9);
	assert_int_equal(large.newer[1], 0); /* not what happened to be there */
	for (uint32_t size = 0; size < v0; size++) {
		small = (struct known){size, 5, 5, 5};
		assert_int_equal(sized_out(&small, v0, &k, sizeof(k)), -EINVAL);
		assert_int_equal(small.a, 5);
	}
	huge[0] = SIZED_MAX + 4;
	assert_int_equal(sized_out(huge, v0, &k, sizeof(k)), -E2BIG);
}

static void test_deadlines(void **state)
{
	int64_t now = zw_deadline(0);

	assert_true(now > 0);
	assert_in_range(zw_deadline_ms(1000) - now, 1000000000, 60000000000);
	assert_int_equal(zw_deadline(INT64_MAX), ZW_FOREVER);
	assert_in_range(zw_deadline(-5), now, now + 60000000000);
}

static void test_error_text(void **state)
{
	struct zw_queue_error e = {.state = ZW_QUEUE_FAILED, .status = 77, .failed_job = 5};
	char text[24];

	zw_queue_error_text(&e, text, sizeof(text));
	assert_string_equal(text, "job 5, packet 0: unknow"); /* cut, and terminated */
	e.state = ZW_QUEUE_INNOCENT;
	zw_queue_error_text(&e, text, 1);
	assert_string_equal(text, "");
	e.state = 0;
	zw_queue_error_text(&e, text, sizeof(text));
	assert_string_equal(text, "no error");
	assert_string_equal(zw_reason_name(0xffff), "unknown");
	assert_string_equal(zw_fault_name(0xffffffff), "unknown");
	assert_string_equal(zw_engine_name(ZW_ENGINE_ATTN), "attention");
	assert_string_equal(zw_engine_name(99), "reserved");
}

/* -- enumeration ------------------------------------------------------------------------------ */

static char root[64];

static void make(const char *fmt, int n, const char *target)
{
	char path[96], cmd[512];

	snprintf(path, sizeof(path), fmt, n);
	snprintf(cmd, sizeof(cmd), "mkdir -p $(dirname %s/%s) && ln -s %s %s/%s", root, path,
		 target, root, path);
	assert_int_equal(system(cmd), 0);
}

/* Three nodes in sysfs, two of them ours by driver name; no device files behind them. */
static int make_tree(void **state)
{
	strcpy(root, "/tmp/zw-test-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	for (int n = 0; n < 11; n += 5) {
		make("dev%d/driver", n, n == 5 ? "../drivers/other" : "../drivers/zhenwu");
		make("class/accel/accel%d/device", n,
		     n == 0   ? "../../../dev0"
		     : n == 5 ? "../../../dev5"
			      : "../../../dev10");
	}
	return 0;
}

static int remove_tree(void **state)
{
	char cmd[96];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	return system(cmd);
}

static void test_enumeration(void **state)
{
	struct zw_dev_entry e[4];

	/* node 5 belongs to another driver; the nodes sort by number, not by name */
	assert_int_equal(zw_rt_drm_list(root, root, NULL, e, 4), 2);
	assert_string_equal(e[0].spec, "drm:0");
	assert_string_equal(e[0].bus, "dev0");
	assert_int_equal(e[0].open_error, -ENOENT);
	assert_string_equal(e[1].spec, "drm:1");
	assert_string_equal(e[1].bus, "dev10");
	assert_non_null(strstr(e[1].node, "/accel/accel10"));
	/* only as many as fit are written, all are counted */
	memset(e, 0x55, sizeof(e));
	assert_int_equal(zw_rt_drm_list(root, root, NULL, e, 1), 2);
	assert_int_equal(e[1].spec[0], 0x55);
	assert_int_equal(zw_rt_drm_list(root, root, NULL, NULL, 0), 2);
	/* visible devices: order, absence, nothing, nonsense */
	assert_int_equal(zw_rt_drm_list(root, root, "1,0", e, 4), 2);
	assert_string_equal(e[0].bus, "dev10");
	assert_string_equal(e[0].spec, "drm:0");
	assert_int_equal(zw_rt_drm_list(root, root, "1,7", e, 4), 1);
	assert_string_equal(e[0].bus, "dev10");
	assert_int_equal(zw_rt_drm_list(root, root, "0000:00:04.0", e, 4), 0);
	assert_int_equal(zw_rt_drm_list(root, root, "", e, 4), 0);
	assert_int_equal(zw_rt_drm_list(root, root, "0,0", e, 4), -EINVAL);
	assert_int_equal(zw_rt_drm_list(root, root, "0,", e, 4), -EINVAL);
	assert_int_equal(zw_rt_drm_list(root, root, ",0", e, 4), -EINVAL);
	assert_int_equal(zw_rt_drm_list(root, root, "x", e, 4), -EINVAL);
	assert_int_equal(zw_rt_drm_list(root, root, "-1", e, 4), -EINVAL);
	/* no accel class at all is no device, not an error */
	assert_int_equal(zw_rt_drm_list("/nonexistent", root, NULL, e, 4), 0);
	assert_int_equal(zw_dev_list(e, 4, sizeof(e[0]) - 1), -EINVAL);
	assert_int_equal(zw_dev_list(e, 4, SIZED_MAX + 1), -E2BIG);
	assert_int_equal(zw_dev_list(NULL, 4, sizeof(e[0])), -EINVAL);
	assert_in_range(zw_dev_list(NULL, 0, sizeof(e[0])), 0, 255);
}

/* Entries of a newer caller lie further apart; what this library does not know of them is zero. */
static void test_list_stride(void **state)
{
	struct {
		struct zw_dev_entry e;
		uint64_t newer;
	} e[3];
	int n;

	memset(e, 0x55, sizeof(e));
	n = zw_dev_list(&e[0].e, 3, sizeof(e[0]));
	assert_true(n >= 0);
	for (int i = 0; i < n && i < 3; i++) {
		char spec[16];

		snprintf(spec, sizeof(spec), "drm:%d", i);
		assert_string_equal(e[i].e.spec, spec);
		assert_int_equal(e[i].newer, 0);
	}
}

/* "auto" goes on to the simulator only when there is nothing: see open_by_spec(). */
static void test_there_but_unusable(void **state)
{
	const struct zw_dev_options opt = {.size = sizeof(opt)};
	struct zw_dev dev = {0};
	struct zw_error err;

	assert_int_equal(zw_rt_drm_open(&dev, "/nonexistent", root, -1, &opt, &err), -ENXIO);
	assert_int_equal(zw_rt_drm_open(&dev, "/nonexistent", root, 0, &opt, &err), -ENODEV);
	/* two nodes by sysfs, no device files: that is something to be told */
	assert_int_equal(zw_rt_drm_open(&dev, root, root, -1, &opt, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "cannot open"));
	assert_int_equal(zw_rt_drm_open(&dev, root, root, 7, &opt, &err), -ENODEV);
}

/* A node that another process swapped for something else is not taken for a device. */
static void test_not_a_device(void **state)
{
	struct zw_dev_entry e[4];
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/accel", root);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/accel/accel0", root);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(zw_rt_drm_list(root, root, NULL, e, 4), 1);
	assert_string_equal(e[0].bus, "dev10");
}

/* -- memory of the sim transport -------------------------------------------------------------- */

#define HBM (1ull << 30)

static struct sim *sim_new(void)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	assert_non_null(sim);
	assert_int_equal(zw_sim_mem_init(sim, HBM), 0);
	return sim;
}

static void test_hbm_allocator(void **state)
{
	enum { N = 300 };
	struct sim *sim = sim_new();
	struct {
		uint64_t addr, bytes;
	} a[N] = {{0}};
	uint64_t seed = 5, used = 0, addr;

	for (unsigned int step = 0; step < 20000; step++) {
		seed = seed * 6364136223846793005ull + 1;
		unsigned int i = (unsigned int)(seed >> 33) % N;

		if (a[i].bytes) {
			zw_sim_hbm_free(sim, a[i].addr, a[i].bytes, false);
			used -= a[i].bytes;
			a[i].bytes = 0;
			continue;
		}
		a[i].bytes = 4096 * (1 + (seed >> 40) % 1024);
		uint64_t align = seed >> 60 & 1 ? 2u << 20 : 4096;

		if (zw_sim_hbm_alloc(sim, a[i].bytes, align, &a[i].addr)) {
			a[i].bytes = 0;
			continue;
		}
		used += a[i].bytes;
		assert_int_equal(a[i].addr % align, 0);
		assert_true(a[i].addr + a[i].bytes <= HBM);
		for (unsigned int j = 0; j < N; j++)
			if (j != i && a[j].bytes && a[i].addr < a[j].addr + a[j].bytes &&
			    a[j].addr < a[i].addr + a[i].bytes)
				fail_msg("step %u: two owners of one byte", step);
		assert_int_equal(sim->hbm.available, HBM - used);
	}
	for (unsigned int i = 0; i < N; i++)
		if (a[i].bytes)
			zw_sim_hbm_free(sim, a[i].addr, a[i].bytes, false);
	/* it all grew together again */
	assert_int_equal(zw_sim_hbm_alloc(sim, HBM, 4096, &addr), 0);
	assert_int_equal(zw_sim_hbm_alloc(sim, 4096, 4096, &addr), -ENOMEM);
	assert_int_equal(sim->hbm.available, 0);
	zw_sim_mem_fini(sim);
	free(sim);
}

static void test_dma_regions(void **state)
{
	struct sim *sim = sim_new();
	struct sim_region r[5];
	uint8_t buf[64] = {1, 2, 3};
	uint64_t stale;

	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(zw_sim_region_new(sim, 5000, &r[i]), 0);
		assert_int_equal(r[i].bytes, 8192);
		assert_true(r[i].dma >> 32); /* does not fit 32 bits */
	}
	assert_int_equal(zw_sim_dma_write(sim, 0, r[2].dma + 100, buf, 3), 0);
	assert_memory_equal(r[2].ptr + 100, buf, 3);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(zw_sim_dma_read(sim, 0, r[2].dma + 99, buf, 5), 0);
	assert_int_equal(buf[1], 1);
	assert_int_equal(buf[3], 3);
	/* the ends, and what is between regions */
	assert_int_equal(zw_sim_dma_read(sim, 0, r[2].dma + 8192 - 64, buf, 64), 0);
	assert_int_equal(zw_sim_dma_read(sim, 0, r[2].dma + 8192 - 63, buf, 64), -EIO);
	assert_int_equal(zw_sim_dma_read(sim, 0, r[2].dma - 1, buf, 1), -EIO);
	assert_int_equal(zw_sim_dma_write(sim, 0, r[4].dma + 8192, buf, 1), -EIO);
	assert_int_equal(zw_sim_dma_read(sim, 0, 0, buf, 1), -EIO);
	assert_int_equal(zw_sim_dma_read(sim, 0, UINT64_MAX, buf, 1), -EIO);
	assert_int_equal(zw_sim_dma_read(sim, 0, r[2].dma, buf, SIZE_MAX), -EIO);
	/* an address that was given back means nothing, also after others came */
	stale = r[1].dma;
	zw_sim_region_free(sim, &r[1]);
	assert_null(r[1].ptr);
	assert_int_equal(zw_sim_region_new(sim, 5000, &r[1]), 0);
	assert_int_equal(zw_sim_dma_read(sim, 0, stale, buf, 1), -EIO);
	assert_int_equal(zw_sim_dma_read(sim, 0, r[0].dma, buf, 64), 0);
	assert_int_equal(zw_sim_dma_read(sim, 0, r[4].dma, buf, 64), 0);
	zw_sim_mem_fini(sim);
	free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sized_structs),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_error_text),
		cmocka_unit_test_setup_teardown(test_enumeration, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(test_there_but_unusable, make_tree, remove_tree),
		cmocka_unit_test(test_list_stride),
		cmocka_unit_test_setup_teardown(test_not_a_device, make_tree, remove_tree),
		cmocka_unit_test(test_hbm_allocator),
		cmocka_unit_test(test_dma_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
