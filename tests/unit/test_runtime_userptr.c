// SPDX-License-Identifier: MIT
/*
 * Buffers over memory of the program: zw_bo_from_ptr(). $ZW_TEST_DEVICE is the device, sim unless it is
 * set; there $ZW_FIRMWARE names the image.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <zhenwu/zhenwu.h>

#define BASE  0x40000000ull /* where the memory is mapped */
#define BYTES (1u << 20)
#define PAGE  4096u
#define LIMIT zw_deadline_ms(60000)

struct fixture {
	bool sim;
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_queue *queue;
	struct zw_buffer cmd, data; /* data: BYTES of system memory */
};

static int setup(void **state)
{
	const struct zw_dev_options sim = {
		.size = sizeof(sim), .profile = "810e", .hbm_bytes = 64u << 20, .workers = 1};
	const char *spec = getenv("ZW_TEST_DEVICE");
	struct fixture *f = calloc(1, sizeof(*f));

	f->sim = !spec || !*spec || !strcmp(spec, "sim");
	assert_int_equal(zw_dev_open(f->sim ? "sim" : spec, f->sim ? &sim : NULL, &f->dev, NULL),
			 0);
	assert_int_equal(zw_vm_create(f->dev, &f->vm), 0);
	assert_int_equal(zw_queue_create(f->vm, NULL, &f->queue), 0);
	assert_int_equal(zw_buffer_create(f->vm, PAGE, ZW_BO_SYSTEM, &f->cmd), 0);
	assert_int_equal(zw_buffer_create(f->vm, BYTES, ZW_BO_SYSTEM, &f->data), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	zw_queue_destroy(f->queue);
	zw_buffer_destroy(&f->cmd);
	zw_buffer_destroy(&f->data);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	assert_int_equal(zw_dev_close(f->dev), 0);
	free(f);
	return 0;
}

static void *map(int prot, int flags, int fd)
{
	void *p = mmap(NULL, BYTES, prot, flags, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void *anonymous(void)
{
	return map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/*
 * The pages go, the addresses stay taken: a worker of the device or a sanitizer would map something of its
 * own where there is a hole.
 */
static void take_away(void *p, size_t bytes)
{
	assert_ptr_equal(mmap(p, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 p);
}

static int copy(struct fixture *f, uint64_t dst, uint64_t src, uint64_t bytes)
{
	struct zw_cmd c;

	zw_cmd_init_fixed(&c, f->cmd.ptr, f->cmd.bytes);
	zw_cmd_copy(&c, dst, src, bytes, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	return zw_queue_run(f->queue, f->cmd.va, (uint32_t)c.used, 0, LIMIT);
}

static uint32_t reason(struct fixture *f)
{
	struct zw_queue_error e = {.size = sizeof(e)};

	assert_int_equal(zw_queue_get_error(f->queue, &e), 0);
	return e.reason;
}

static void test_both_ways(void **state)
{
	struct fixture *f = *state;
	uint32_t *p = anonymous(), *data = f->data.ptr;
	struct zw_bo *bo;
	void *ptr;
	int fd;

	for (uint32_t i = 0; i < BYTES / 4; i++)
		p[i] = i * 3;
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES, 0, &bo), 0);
	assert_int_equal(zw_bo_size(bo), BYTES);
	assert_int_equal(zw_bo_flags(bo), ZW_BO_SYSTEM | ZW_BO_USERPTR);
	assert_int_equal(zw_bo_map(bo, &ptr), 0);
	assert_ptr_equal(ptr, p);
	assert_int_equal(zw_bo_export(bo, &fd), -EOPNOTSUPP);
	assert_int_equal(zw_bo_set_label(bo, "mine"), 0);
	assert_int_equal(zw_vm_map(f->vm, bo, 0, BASE, BYTES, 0), 0);
	/* The mapping keeps it. */
	zw_bo_destroy(bo);
	assert_int_equal(copy(f, f->data.va, BASE, BYTES), 0);
	for (uint32_t i = 0; i < BYTES / 4; i++)
		assert_int_equal(data[i], i * 3);
	memset(data, 0x5a, BYTES);
	assert_int_equal(copy(f, BASE + 5, f->data.va, BYTES - 9), 0);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[2], 0x5a5a5a5a);
	assert_int_equal(p[BYTES / 4 - 1], (BYTES / 4 - 1) * 3);
	p[100] = 7;
	assert_int_equal(copy(f, f->data.va, BASE + 400, 4), 0);
	assert_int_equal(data[0], 7);
	assert_int_equal(zw_vm_unmap(f->vm, BASE, BYTES), 0);
	/* The program has it still. */
	assert_int_equal(p[100], 7);
	munmap(p, BYTES);
}

static void test_readonly(void **state)
{
	struct fixture *f = *state;
	uint32_t *p = anonymous(), *data = f->data.ptr;
	struct zw_bo *bo;
	uint64_t va;

	p[0] = 5;
	assert_int_equal(mprotect(p, BYTES, PROT_READ), 0);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES, 0, &bo), -EFAULT);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES, ZW_BO_READONLY, &bo), 0);
	assert_int_equal(zw_vm_map(f->vm, bo, 0, BASE, BYTES, 0), -EACCES);
	assert_int_equal(zw_vm_map_auto(f->vm, bo, 0, &va), -EACCES);
	assert_int_equal(zw_vm_map_auto(f->vm, bo, ZW_VM_MAP_READONLY, &va), 0);
	assert_int_equal(copy(f, f->data.va, va, BYTES), 0);
	assert_int_equal(data[0], 5);
	data[0] = 6;
	assert_int_equal(copy(f, va, f->data.va, 4), -EIO);
	assert_int_equal(reason(f), ZW_FAULT_PERMISSION);
	assert_int_equal(p[0], 5);
	assert_int_equal(zw_vm_unmap_auto(f->vm, va), 0);
	zw_bo_destroy(bo);
	munmap(p, BYTES);
}

/* The pages of a file that is mapped, not copies. */
static void test_file(void **state)
{
	struct fixture *f = *state;
	int fd = memfd_create("test", MFD_CLOEXEC);
	const uint32_t word = 9, *data = f->data.ptr;
	struct zw_bo *bo;
	uint64_t va;
	void *p;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	p = map(PROT_READ, MAP_SHARED, fd);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES, ZW_BO_READONLY, &bo), 0);
	assert_int_equal(zw_vm_map_auto(f->vm, bo, ZW_VM_MAP_READONLY, &va), 0);
	assert_int_equal(pwrite(fd, &word, 4, PAGE), 4);
	assert_int_equal(copy(f, f->data.va, va, BYTES), 0);
	assert_int_equal(data[PAGE / 4], 9);
	assert_int_equal(zw_vm_unmap_auto(f->vm, va), 0);
	zw_bo_destroy(bo);
	close(fd);
	munmap(p, BYTES);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	char *p = anonymous();
	struct zw_buffer hbm;
	struct zw_bo *bo = (void *)p;

	assert_int_equal(zw_bo_from_ptr(f->dev, p + 8, PAGE, 0, &bo), -EINVAL);
	assert_null(bo);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, 0, 0, &bo), -EINVAL);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, 100, 0, &bo), -EINVAL);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, PAGE, ZW_BO_SYSTEM, &bo), -EINVAL);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, UINT64_MAX - PAGE + 1, 0, &bo), -EINVAL);
	assert_int_equal(zw_bo_create(f->dev, PAGE, ZW_BO_SYSTEM | ZW_BO_USERPTR, &bo), -EINVAL);
	assert_int_equal(zw_bo_create(f->dev, PAGE, ZW_BO_SYSTEM | ZW_BO_READONLY, &bo), -EINVAL);
	assert_int_equal(zw_bo_from_ptr(f->dev, NULL, PAGE, 0, &bo), -EFAULT);
	take_away(p + BYTES / 2, PAGE);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES, 0, &bo), -EFAULT);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES, ZW_BO_READONLY, &bo), -EFAULT);
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES / 2, 0, &bo), 0);
	zw_bo_destroy(bo);
	/* Memory of buffers is not the program's. */
	assert_int_equal(zw_buffer_create(f->vm, BYTES, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &hbm), 0);
	assert_int_equal(zw_bo_from_ptr(f->dev, hbm.ptr, BYTES, 0, &bo), -EFAULT);
	assert_int_equal(zw_bo_from_ptr(f->dev, f->data.ptr, BYTES, 0, &bo), -EFAULT);
	assert_int_equal(zw_bo_from_ptr(f->dev, f->data.ptr, BYTES, ZW_BO_READONLY, &bo), -EFAULT);
	zw_buffer_destroy(&hbm);
	munmap(p, BYTES);
}

/* Taken away under the device: it has the pages still where they are pinned, and a bus error elsewhere. */
static void test_unmapped(void **state)
{
	struct fixture *f = *state;
	uint32_t *p = anonymous();
	struct zw_bo *bo;

	p[0] = 5;
	assert_int_equal(zw_bo_from_ptr(f->dev, p, BYTES, 0, &bo), 0);
	assert_int_equal(zw_vm_map(f->vm, bo, 0, BASE, BYTES, 0), 0);
	take_away(p, BYTES);
	if (f->sim) {
		assert_int_equal(copy(f, f->data.va, BASE, BYTES), -EIO);
		assert_int_equal(reason(f), ZW_FAULT_DMA);
	} else {
		assert_int_equal(copy(f, f->data.va, BASE, BYTES), 0);
		assert_int_equal(*(uint32_t *)f->data.ptr, 5);
	}
	assert_int_equal(zw_vm_unmap(f->vm, BASE, BYTES), 0);
	zw_bo_destroy(bo);
	munmap(p, BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readonly, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unmapped, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
