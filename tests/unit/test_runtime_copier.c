// SPDX-License-Identifier: MIT
/* Copiers on the sim transport: order, sizes, delivery, failure. $ZW_FIRMWARE names the image. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "zhenwu/zhenwu.h"

#define LIMIT zw_deadline_ms(120000)
#define BYTES (1u << 20)

struct fixture {
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_buffer hbm; /* the host cannot map it */
	struct zw_buffer cmd;
};

static int setup(void **state)
{
	const struct zw_dev_options opt = {
		.size = sizeof(opt), .hbm_bytes = 64u << 20, .workers = ZW_DEV_WORKERS_NONE};
	struct fixture *f = calloc(1, sizeof(*f));
	const char *env = getenv("ZW_TEST_DEVICE");
	bool sim = !env || !*env || !strcmp(env, "sim");

	assert_int_equal(zw_dev_open(sim ? "sim" : env, sim ? &opt : NULL, &f->dev, NULL), 0);
	assert_int_equal(zw_vm_create(f->dev, &f->vm), 0);
	assert_int_equal(zw_buffer_create(f->vm, BYTES, ZW_BO_HBM, &f->hbm), 0);
	assert_null(f->hbm.ptr);
	assert_int_equal(zw_buffer_create(f->vm, 65536, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &f->cmd), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	zw_buffer_destroy(&f->hbm);
	zw_buffer_destroy(&f->cmd);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	assert_int_equal(zw_dev_close(f->dev), 0);
	free(f);
	return 0;
}

static struct zw_copier *make(struct fixture *f, uint32_t slots, uint64_t slot_bytes)
{
	const struct zw_copier_options opt = {
		.size = sizeof(opt),
		.slots = slots,
		.slot_bytes = slot_bytes,
		.deadline_ns = 120000000000,
	};
	struct zw_copier *c;

	assert_int_equal(zw_copier_create(f->vm, &opt, &c), 0);
	return c;
}

static uint32_t random32(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 8;
}

static void fill(uint8_t *p, size_t n, uint32_t *seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)random32(seed);
}

/* Random pieces, written and read in the order of the calls, against a plain array. */
static void test_order(void **state)
{
	static const uint64_t shapes[][2] = {{2, 4096}, {4, 65536}, {3, 1u << 20}};
	static uint8_t model[BYTES], piece[BYTES], got[8][BYTES / 8];
	struct fixture *f = *state;
	uint32_t seed = 1;

	for (int s = 0; s < 3; s++) {
		struct zw_copier *c = make(f, (uint32_t)shapes[s][0], shapes[s][1]);
		uint8_t want[8][64];

		fill(model, BYTES, &seed);
		assert_int_equal(zw_copier_write(c, f->hbm.va, model, BYTES, NULL), 0);
		for (int round = 0; round < 60; round++) {
			uint32_t n = 1 + random32(&seed) % (round % 8 ? 5000 : BYTES / 2);
			uint32_t at = random32(&seed) % (BYTES - n);
			uint64_t point = 0;

			fill(piece, n, &seed);
			assert_int_equal(zw_copier_write(c, f->hbm.va + at, piece, n, &point), 0);
			assert_true(point);
			memcpy(model + at, piece, n);
			memset(piece, 0xee, n); /* ours again as soon as the call returned */
			/* A read sees what was written before it and nothing written after. */
			n = 64;
			at = random32(&seed) % (BYTES - n);
			assert_int_equal(
				zw_copier_read(c, got[round % 8], f->hbm.va + at, n, &point), 0);
			memcpy(want[round % 8], model + at, n);
			if (round % 8 == 7) {
				assert_int_equal(zw_copier_flush(c, LIMIT), 0);
				for (int k = 0; k < 8; k++)
					assert_memory_equal(got[k], want[k], 64);
			}
		}
		memset(piece, 0, BYTES);
		assert_int_equal(zw_copier_read(c, piece, f->hbm.va, BYTES, NULL), 0);
		assert_int_equal(zw_copier_flush(c, LIMIT), 0);
		assert_memory_equal(piece, model, BYTES);
		/* Every byte went over PCIe once in each direction, at no more than the profile's rate. */
		assert_true(zw_copier_sim_ps(c) > 2 * BYTES * 8);
		zw_copier_destroy(c);
	}
}

static void test_delivery(void **state)
{
	struct fixture *f = *state;
	struct zw_copier *c = make(f, 4, 4096);
	uint32_t a = 0x11111111, b = 0x22222222, x = 0, y = 0;
	uint64_t first, second;

	assert_int_equal(zw_copier_write(c, f->hbm.va, &a, 4, NULL), 0);
	assert_int_equal(zw_copier_read(c, &x, f->hbm.va, 4, &first), 0);
	assert_int_equal(zw_copier_write(c, f->hbm.va, &b, 4, NULL), 0);
	assert_int_equal(zw_copier_read(c, &y, f->hbm.va, 4, &second), 0);
	assert_true(second > first);
	assert_int_equal(zw_fence_wait(zw_copier_fence(c), second, LIMIT), 0);
	/* Done by the device, delivered by whoever waits for it. */
	assert_int_equal(x, 0);
	assert_int_equal(zw_copier_wait(c, first, LIMIT), 0);
	assert_int_equal(x, a);
	assert_int_equal(y, 0);
	assert_int_equal(zw_copier_wait(c, second, LIMIT), 0);
	assert_int_equal(y, b);
	/* Nothing to do is done. */
	assert_int_equal(zw_copier_write(c, 0, NULL, 0, NULL), 0);
	assert_int_equal(zw_copier_read(c, NULL, 0, 0, NULL), 0);
	assert_int_equal(zw_copier_wait(c, 0, 0), 0);
	assert_int_equal(zw_copier_write(c, f->hbm.va, NULL, 1, NULL), -EINVAL);
	zw_copier_destroy(c);
}

static void test_lend(void **state)
{
	struct fixture *f = *state;
	struct zw_copier *c = make(f, 2, 4096);
	uint8_t buf[4096], seen[4096];
	uint64_t bytes;
	void *lent, *other;

	assert_int_equal(zw_copier_send(c, f->hbm.va, 1, NULL), -EINVAL);
	assert_int_equal(zw_copier_lend(c, &lent, &bytes), 0);
	assert_int_equal(bytes, 4096);
	assert_int_equal(zw_copier_lend(c, &other, &bytes), -EBUSY);
	assert_int_equal(zw_copier_send(c, f->hbm.va, 4097, NULL), -EINVAL);
	memset(lent, 0x5a, 4096);
	/* Others go on, all round the ring, and leave the lent buffer alone. */
	for (int i = 0; i < 5; i++) {
		memset(buf, i, sizeof(buf));
		assert_int_equal(zw_copier_write(c, f->hbm.va + 8192, buf, sizeof(buf), NULL), 0);
	}
	assert_int_equal(((uint8_t *)lent)[4095], 0x5a);
	assert_int_equal(zw_copier_send(c, f->hbm.va + 3, 100, NULL), 0);
	assert_int_equal(zw_copier_read(c, seen, f->hbm.va, 4096, NULL), 0);
	assert_int_equal(zw_copier_flush(c, LIMIT), 0);
	assert_int_equal(seen[2], 0);
	assert_int_equal(seen[3], 0x5a);
	assert_int_equal(seen[102], 0x5a);
	assert_int_equal(seen[103], 0);
	assert_int_equal(zw_copier_read(c, seen, f->hbm.va + 8192, 4096, NULL), 0);
	assert_int_equal(zw_copier_flush(c, LIMIT), 0);
	assert_int_equal(seen[4095], 4);
	/* Given back unused, and lent again. */
	assert_int_equal(zw_copier_lend(c, &lent, &bytes), 0);
	assert_int_equal(zw_copier_send(c, 0, 0, NULL), 0);
	assert_int_equal(zw_copier_lend(c, &lent, &bytes), 0);
	zw_copier_destroy(c);
}

/* From memory of the program, in order with what is staged, in more pieces than there are slots. */
static void test_copy(void **state)
{
	struct fixture *f = *state;
	struct zw_copier *c = make(f, 2, 4096);
	uint8_t *src = aligned_alloc(4096, 65536), *got = malloc(65536), mark[16];
	uint64_t va, point = 0;
	struct zw_bo *bo;
	uint32_t seed = 3;

	fill(src, 65536, &seed);
	memset(mark, 0x5c, sizeof(mark));
	assert_int_equal(zw_bo_from_ptr(f->dev, src, 65536, ZW_BO_READONLY, &bo), 0);
	assert_int_equal(zw_vm_map_auto(f->vm, bo, ZW_VM_MAP_READONLY, &va), 0);
	assert_int_equal(zw_copier_write(c, f->hbm.va + 100, mark, sizeof(mark), NULL), 0);
	assert_int_equal(zw_copier_copy(c, f->hbm.va + 3, va + 1, 60001, &point), 0);
	assert_true(point);
	assert_int_equal(zw_copier_write(c, f->hbm.va + 30000, mark, sizeof(mark), NULL), 0);
	assert_int_equal(zw_copier_read(c, got, f->hbm.va + 3, 60001, NULL), 0);
	assert_int_equal(zw_copier_flush(c, LIMIT), 0);
	memcpy(src + 1 + 30000 - 3, mark, sizeof(mark));
	assert_memory_equal(got, src + 1, 60001);
	/* Nothing is done; and the source is not there. */
	assert_int_equal(zw_copier_copy(c, 0, 0, 0, NULL), 0);
	assert_int_equal(zw_vm_unmap_auto(f->vm, va), 0);
	zw_bo_destroy(bo);
	assert_int_equal(zw_copier_copy(c, f->hbm.va, va, 16, NULL), 0);
	assert_int_equal(zw_copier_flush(c, LIMIT), -EIO);
	zw_copier_destroy(c);
	free(src);
	free(got);
}

/* A job of another queue that waits for a write by the copier's fence. */
static void test_fence(void **state)
{
	struct fixture *f = *state;
	struct zw_copier *c = make(f, 2, 4096);
	struct zw_sync sync = {.fence = zw_copier_fence(c)};
	struct zw_job job = {.size = sizeof(job), .num_syncs = 1, .syncs = &sync};
	struct zw_queue *q;
	struct zw_cmd cmd;
	uint8_t buf[4096];

	assert_int_equal(zw_queue_create(f->vm, NULL, &q), 0);
	memset(buf, 0x77, sizeof(buf));
	assert_int_equal(zw_copier_write(c, f->hbm.va, buf, sizeof(buf), &sync.point), 0);
	zw_cmd_init_fixed(&cmd, f->cmd.ptr, 4096);
	zw_cmd_copy(&cmd, f->cmd.va + 8192, f->hbm.va, 4096, 0);
	job.cmd_va = f->cmd.va;
	job.cmd_bytes = (uint32_t)cmd.used;
	assert_int_equal(zw_queue_submit(q, &job, 1), 0);
	assert_int_equal(zw_queue_drain(q, LIMIT), 0);
	assert_memory_equal((uint8_t *)f->cmd.ptr + 8192, buf, 4096);
	zw_queue_destroy(q);
	zw_copier_destroy(c);
}

static void test_failure(void **state)
{
	struct fixture *f = *state;
	struct zw_copier *c = make(f, 2, 4096);
	uint8_t *dst = malloc(5 * 4096);
	uint32_t word = 5;

	/* An address that nothing is mapped at. */
	assert_int_equal(zw_copier_write(c, 0x1000, &word, 4, NULL), 0);
	assert_int_equal(zw_copier_flush(c, LIMIT), -EIO);
	assert_int_equal(zw_copier_write(c, f->hbm.va, &word, 4, NULL), -EIO);
	assert_int_equal(zw_copier_flush(c, LIMIT), -EIO);
	zw_copier_destroy(c);
	/* A read that runs off the end: the caller's memory is the caller's again. */
	c = make(f, 2, 4096);
	memset(dst, 0x33, 5 * 4096);
	assert_int_equal(zw_copier_read(c, dst, f->hbm.va + BYTES - 4096, 5 * 4096, NULL), -EIO);
	memset(dst, 0x44, 5 * 4096);
	assert_int_equal(zw_copier_flush(c, LIMIT), -EIO);
	assert_int_equal(dst[0], 0x44);
	free(dst);
	zw_copier_destroy(c);
}

static void test_options(void **state)
{
	struct fixture *f = *state;
	struct zw_copier_options opt = {.size = sizeof(opt), .slots = 1};
	struct zw_copier *c;

	assert_int_equal(zw_copier_create(f->vm, &opt, &c), -EINVAL);
	opt.slots = 65;
	assert_int_equal(zw_copier_create(f->vm, &opt, &c), -EINVAL);
	opt.slots = 0;
	opt.slot_bytes = (1ull << 30) + 1;
	assert_int_equal(zw_copier_create(f->vm, &opt, &c), -EINVAL);
	opt.slot_bytes = 1;
	opt.flags = 1;
	assert_int_equal(zw_copier_create(f->vm, &opt, &c), -EINVAL);
	opt.flags = 0;
	opt.priority = 4;
	assert_int_equal(zw_copier_create(f->vm, &opt, &c), -EINVAL);
	assert_null(c);
	opt.priority = 0;
	assert_int_equal(zw_copier_create(f->vm, &opt, &c), 0);
	zw_copier_destroy(c);
	zw_copier_destroy(NULL);
}

/* Several threads, each with its own part of the memory. */
struct worker {
	struct zw_copier *c;
	uint64_t va;
	int bad;
};

static void *work(void *opaque)
{
	struct worker *w = opaque;
	uint32_t seed = (uint32_t)w->va;

	for (int i = 0; i < 40 && !w->bad; i++) {
		uint8_t out[5000], in[5000] = {0};
		uint64_t point;

		fill(out, sizeof(out), &seed);
		w->bad = zw_copier_write(w->c, w->va, out, sizeof(out), NULL) ||
			 zw_copier_read(w->c, in, w->va, sizeof(in), &point) ||
			 zw_copier_wait(w->c, point, LIMIT) || memcmp(in, out, sizeof(in));
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	struct zw_copier *c = make(f, 4, 4096);
	struct worker w[4];
	pthread_t t[4];

	for (int i = 0; i < 4; i++) {
		w[i] = (struct worker){.c = c, .va = f->hbm.va + (uint64_t)i * 65536};
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_false(w[i].bad);
	}
	zw_copier_destroy(c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_order),   T(test_delivery), T(test_lend),    T(test_fence),
		T(test_failure), T(test_copy),     T(test_options), T(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
