// SPDX-License-Identifier: MIT
/*
 * Memory that comes and goes as a file descriptor: zw_bo_export(), zw_bo_import(), on sim or on $ZW_TEST_DEVICE.
 * $ZW_FIRMWARE names the image.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <zhenwu/zhenwu.h>

#define BYTES 8192u
#define BASE  0x40000000ull
#define LIMIT zw_deadline_ms(60000)

struct card {
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_queue *queue;
	struct zw_buffer cmd;
};

struct fixture {
	bool sim;
	struct card a, b; /* on drm one device, opened twice */
};

static void card_open(struct fixture *f, struct card *c)
{
	const struct zw_dev_options sim = {
		.size = sizeof(sim), .profile = "810e", .hbm_bytes = 64u << 20, .workers = 1};
	const char *spec = getenv("ZW_TEST_DEVICE");

	f->sim = !spec || !*spec || !strcmp(spec, "sim");
	assert_int_equal(zw_dev_open(f->sim ? "sim" : spec, f->sim ? &sim : NULL, &c->dev, NULL),
			 0);
	assert_int_equal(zw_vm_create(c->dev, &c->vm), 0);
	assert_int_equal(zw_queue_create(c->vm, NULL, &c->queue), 0);
	assert_int_equal(zw_buffer_create(c->vm, 4096, ZW_BO_SYSTEM, &c->cmd), 0);
}

static void card_close(struct card *c)
{
	zw_queue_destroy(c->queue);
	zw_buffer_destroy(&c->cmd);
	assert_int_equal(zw_vm_destroy(c->vm), 0);
	assert_int_equal(zw_dev_close(c->dev), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	card_open(f, &f->a);
	card_open(f, &f->b);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	card_close(&f->a);
	card_close(&f->b);
	free(f);
	return 0;
}

/* The device fills all of the buffer, which has to be what the CPU then sees at `where`. */
static void fill(struct card *c, struct zw_bo *bo, uint32_t pattern, const volatile uint32_t *where)
{
	struct zw_cmd cmd;

	assert_int_equal(zw_vm_map(c->vm, bo, 0, BASE, BYTES, 0), 0);
	zw_cmd_init_fixed(&cmd, c->cmd.ptr, c->cmd.bytes);
	zw_cmd_fill(&cmd, BASE, BYTES, pattern, 0);
	assert_int_equal(zw_cmd_finish(&cmd), 0);
	assert_int_equal(zw_queue_run(c->queue, c->cmd.va, (uint32_t)cmd.used, 0, LIMIT), 0);
	assert_int_equal(zw_vm_unmap(c->vm, BASE, BYTES), 0);
	for (unsigned int i = 0; i < BYTES / 4; i++)
		assert_int_equal(where[i], pattern);
}

static void *ptr_of(struct zw_bo *bo)
{
	void *p;

	assert_int_equal(zw_bo_map(bo, &p), 0);
	return p;
}

/* What a device exported comes back to it: a buffer of its own, that ends by itself. */
static void test_same_device(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *bo, *again[3];
	int fd;

	assert_int_equal(zw_bo_create(f->a.dev, BYTES, ZW_BO_SYSTEM, &bo), 0);
	assert_int_equal(zw_bo_export(bo, &fd), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(zw_bo_import(f->a.dev, fd, &again[i]), 0);
		assert_int_equal(zw_bo_size(again[i]), BYTES);
		assert_int_equal(zw_bo_flags(again[i]), ZW_BO_SYSTEM);
	}
	zw_bo_destroy(again[1]);
	fill(&f->a, bo, 1, ptr_of(again[0]));
	fill(&f->a, again[2], 2, ptr_of(bo));
	zw_bo_destroy(bo);
	fill(&f->a, again[0], 3, ptr_of(again[2]));
	zw_bo_destroy(again[0]);
	close(fd);
	fill(&f->a, again[2], 4, ptr_of(again[2]));
	zw_bo_destroy(again[2]);
	/* All of them gone, the memory is a new one's. */
	assert_int_equal(zw_bo_create(f->a.dev, BYTES, ZW_BO_SYSTEM, &bo), 0);
	assert_int_equal(*(uint32_t *)ptr_of(bo), 0);
	zw_bo_destroy(bo);
}

static void test_other_device(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *ours, *theirs;
	int fd;

	assert_int_equal(zw_bo_create(f->a.dev, BYTES, ZW_BO_SYSTEM, &ours), 0);
	assert_int_equal(zw_bo_export(ours, &fd), 0);
	assert_int_equal(zw_bo_import(f->b.dev, fd, &theirs), 0);
	close(fd);
	fill(&f->b, theirs, 5, ptr_of(ours));
	fill(&f->a, ours, 6, ptr_of(theirs));
	zw_bo_destroy(ours);
	fill(&f->b, theirs, 7, ptr_of(theirs));
	zw_bo_destroy(theirs);
}

/* Memory that no device of ours made: sealed, and on drm a dma-buf of that. -1: not to be had. */
static int foreign(bool sim, void **p)
{
	struct udmabuf_create u = {.flags = UDMABUF_FLAGS_CLOEXEC, .size = BYTES};
	int mem = memfd_create("foreign", MFD_ALLOW_SEALING | MFD_CLOEXEC), dev, buf;

	assert_true(mem >= 0);
	assert_int_equal(ftruncate(mem, BYTES), 0);
	assert_int_equal(fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	*p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	assert_ptr_not_equal(*p, MAP_FAILED);
	if (sim)
		return mem;
	dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	u.memfd = (uint32_t)mem;
	buf = dev < 0 ? -1 : ioctl(dev, UDMABUF_CREATE, &u);
	close(dev);
	close(mem);
	return buf;
}

static void test_foreign(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *bo, *again;
	void *mem;
	int fd = foreign(f->sim, &mem);

	if (fd < 0)
		skip();
	assert_int_equal(zw_bo_import(f->a.dev, fd, &bo), 0);
	assert_int_equal(zw_bo_import(f->a.dev, fd, &again), 0);
	assert_int_equal(zw_bo_size(bo), BYTES);
	assert_int_equal(zw_bo_flags(bo), ZW_BO_SYSTEM);
	close(fd);
	fill(&f->a, bo, 8, mem);
	fill(&f->a, again, 9, ptr_of(bo));
	zw_bo_destroy(bo);
	/* The CPU's side of the library is the same memory, whoever else has let go. */
	*(uint32_t *)ptr_of(again) = 0x1234;
	assert_int_equal(*(uint32_t *)mem, 0x1234);
	assert_int_equal(munmap(mem, BYTES), 0);
	fill(&f->a, again, 10, ptr_of(again));
	zw_bo_destroy(again);
}

/* The kernel shares HBM with whoever opens the device; sim has one process, and HBM in no file. */
static void test_hbm(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *ours, *theirs;
	int fd, ret;

	assert_int_equal(zw_bo_create(f->a.dev, BYTES, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &ours), 0);
	ret = zw_bo_export(ours, &fd);
	assert_int_equal(ret, f->sim ? -EOPNOTSUPP : 0);
	if (!ret) {
		assert_int_equal(zw_bo_import(f->b.dev, fd, &theirs), 0);
		assert_int_equal(zw_bo_flags(theirs), ZW_BO_HBM | ZW_BO_CPU_VISIBLE);
		close(fd);
		fill(&f->b, theirs, 11, ptr_of(ours));
		fill(&f->a, ours, 12, ptr_of(theirs));
		zw_bo_destroy(theirs);
	}
	zw_bo_destroy(ours);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *bo;
	int fd;

	assert_int_equal(zw_bo_export(f->a.cmd.bo, &fd), -EOPNOTSUPP); /* belongs to its VM */
	assert_int_equal(zw_bo_import(f->a.dev, -1, &bo), -EINVAL);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(zw_bo_import(f->a.dev, fd, &bo), -EINVAL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_same_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hbm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
