// SPDX-License-Identifier: MIT
/* Samples of a device, on sim or on $ZW_TEST_DEVICE. $ZW_FIRMWARE names the image. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "zhenwu/zhenwu.h"

#define LIMIT zw_deadline_ms(60000) /* a sanitizer build on a busy machine is slow */
#define MEM   8192u                 /* a command buffer, and a page to fill */

struct fixture {
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_buffer mem;
	struct zw_queue *queue;
};

static int setup(void **state)
{
	const struct zw_dev_options opt = {
		.size = sizeof(opt), .profile = "810e", .hbm_bytes = 64u << 20, .workers = 2};
	const char *device = getenv("ZW_TEST_DEVICE");
	struct fixture *f = calloc(1, sizeof(*f));
	struct zw_error err = {""};
	bool sim = !device || !*device || !strcmp(device, "sim");

	if (zw_dev_open(sim ? "sim" : device, sim ? &opt : NULL, &f->dev, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return -1;
	}
	assert_int_equal(zw_vm_create(f->dev, &f->vm), 0);
	assert_int_equal(zw_buffer_create(f->vm, MEM, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &f->mem), 0);
	assert_int_equal(zw_queue_create(f->vm, NULL, &f->queue), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	zw_queue_destroy(f->queue);
	zw_buffer_destroy(&f->mem);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	assert_int_equal(zw_dev_close(f->dev), 0);
	free(f);
	return 0;
}

/* Samples of the device: what a job did is in them, each reader has its position, and a slow one learns what it lost. */
static void test_telemetry(void **state)
{
	enum { MAX = 300 };
	struct fixture *f = *state;
	struct {
		struct zw_dev_sample s;
		uint64_t newer;
	} *wide = calloc(MAX, sizeof(*wide));
	struct zw_dev_sample *s = calloc(MAX, sizeof(*s)), first;
	const size_t size = sizeof(*s);
	uint64_t seq = 0, slow = 0, late, lost = 7;
	struct zw_cmd c;
	int n;

	assert_int_equal(zw_dev_set_telemetry(f->dev, 999), -EINVAL);
	assert_int_equal(zw_dev_set_telemetry(f->dev, 60000001), -EINVAL);
	assert_int_equal(zw_dev_set_telemetry(f->dev, 0), 0);
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, MAX, size, &seq, &lost, LIMIT), -ENODATA);
	assert_int_equal(lost, 7);
	assert_int_equal(zw_dev_set_telemetry(f->dev, 5000), 0);
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, 0, size, &seq, NULL, 0), -EINVAL);
	assert_int_equal(zw_dev_read_telemetry(f->dev, NULL, 1, size, &seq, NULL, 0), -EINVAL);
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, 1, size - 8, &seq, NULL, 0), -EINVAL);
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, 1, size + 4, &seq, NULL, 0), -EINVAL);
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, 1, 4104, &seq, NULL, 0), -E2BIG);
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, 1, size, &seq, NULL, -1), -EINVAL);
	late = UINT64_MAX;
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, 1, size, &late, NULL, 0), -EINVAL);

	n = zw_dev_read_telemetry(f->dev, s, MAX, size, &seq, &lost, LIMIT);
	assert_in_range(n, 1, MAX);
	first = s[0];
	/* On a busy machine some may be missing. */
	assert_true(first.seq >= 1);
	assert_in_range(seq, first.seq + (uint64_t)n, first.seq + (uint64_t)n + lost);
	assert_true(first.power_mw > 0);
	assert_in_range(first.temperature_mc, 1, 150000);
	assert_true(first.num_counters >= ZW_PMU_COUNT);
	assert_true((uint64_t)zw_deadline(0) >= first.time_ns);
	assert_int_equal(zw_dev_sample_counter(&first, ZW_REG_PMU - 8), 0);
	assert_int_equal(zw_dev_sample_counter(&first, ZW_REG_PMU + 8 * ZW_TELEMETRY_COUNTERS), 0);
	slow = seq;

	zw_cmd_init_fixed(&c, f->mem.ptr, 4096);
	zw_cmd_fill(&c, f->mem.va + 4096, 4096, 1, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	assert_int_equal(zw_queue_run(f->queue, f->mem.va, (uint32_t)c.used, 0, LIMIT), 0);
	seq = 0;
	for (int got = 0; got < 2; got += n) {
		n = zw_dev_read_telemetry(f->dev, s, 2, size, &seq, &lost, LIMIT);
		assert_in_range(n, 1, 2);
	}
	assert_int_equal(zw_dev_sample_counter(&s[n - 1], ZW_PMU_JOBS),
			 zw_dev_sample_counter(&first, ZW_PMU_JOBS) + 1);
	assert_int_equal(zw_dev_sample_counter(&s[n - 1], ZW_PMU_HBM_WRITTEN),
			 zw_dev_sample_counter(&first, ZW_PMU_HBM_WRITTEN) + 4096);
	assert_true(zw_dev_sample_counter(&s[n - 1], ZW_PMU_BUSY_PS(ZW_ENGINE_DMA)) >
		    zw_dev_sample_counter(&first, ZW_PMU_BUSY_PS(ZW_ENGINE_DMA)));
	assert_true(s[n - 1].device_us > first.device_us);

	/* A newer program's longer record; the position of the one that did not read meanwhile. */
	memset(wide, 0xff, MAX * sizeof(*wide));
	late = slow;
	n = zw_dev_read_telemetry(f->dev, &wide[0].s, 2, sizeof(*wide), &late, &lost, 0);
	assert_int_equal(n, 2);
	assert_int_equal(wide[1].s.seq, late - 1);
	assert_int_equal(wide[1].newer, 0);
	assert_int_equal(wide[2].newer, UINT64_MAX);

	/* With another interval the numbers go on. It takes some time until 256 are overwritten. */
	assert_int_equal(zw_dev_set_telemetry(f->dev, 1000), 0);
	while (seq < slow + 600) {
		n = zw_dev_read_telemetry(f->dev, s, MAX, size, &seq, &lost, LIMIT);
		assert_in_range(n, 1, MAX);
		assert_int_equal(seq, s[n - 1].seq + 1);
	}
	late = slow;
	n = zw_dev_read_telemetry(f->dev, s, MAX, size, &slow, &lost, 0);
	/* Those that were kept, and more that came while they were read. */
	assert_in_range(n, 1, 256 + (slow - seq));
	assert_true(lost >= 600 - 256 && slow - late >= (uint64_t)n + lost && slow >= seq);
	assert_true(s[n - 1].seq < slow);

	/* In time none comes; nobody wants any. */
	assert_int_equal(zw_dev_set_telemetry(f->dev, 60000000), 0);
	do {
		n = zw_dev_read_telemetry(f->dev, s, MAX, size, &seq, &lost, 0);
		assert_true(n >= 0);
	} while (n);
	assert_int_equal(
		zw_dev_read_telemetry(f->dev, s, MAX, size, &seq, &lost, zw_deadline_ms(50)), 0);
	assert_int_equal(zw_dev_set_telemetry(f->dev, 0), 0);
	assert_int_equal(zw_dev_read_telemetry(f->dev, s, MAX, size, &seq, &lost, LIMIT), -ENODATA);
	free(s);
	free(wide);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_telemetry, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
