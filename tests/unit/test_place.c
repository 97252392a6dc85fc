// SPDX-License-Identifier: MIT
/* Tensors that the device copies from the host's page cache, beside the same that are read. */
#include "dev_test.h"
#include "llm_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llm_mem_source.h"
#include "util.h"

#define ROWS   64
#define COLS   2048 /* BF16: 256 KiB a tensor */
#define BYTES  (2ull * ROWS * COLS)
#define COUNT  8
#define BEGIN  1000 /* of the first tensor in the file */
#define STRIDE (BYTES + 24)
#define SIZE   (BEGIN + COUNT * STRIDE)

static struct zw_dev *dev;
static struct zw_vm *vm;
static char *dir;

/* COUNT tensors in a file. */
struct file_source {
	struct mem_source mem;
	char path[4096];
	int fd;     /* of the file that is read */
	int map_fd; /* that is mapped */
	int reads;
	struct llm_plan plan;
	struct zw_tensor dst[COUNT];
	struct zw_buffer buf;
	struct zw_copier *c;
};

static struct file_source *file_of(const struct llm_source *s)
{
	return (struct file_source *)(uintptr_t)s;
}

static int file_read(const struct llm_source *s, size_t i, uint64_t off, void *dst, uint64_t len,
		     struct zw_error *err)
{
	struct file_source *f = file_of(s);

	f->reads++;
	return llm_file_pread(f->fd, f->path, dst, len, BEGIN + i * STRIDE + off, err);
}

static bool file_file(const struct llm_source *s, size_t i, uint64_t off, uint64_t len,
		      struct llm_source_file *file)
{
	struct file_source *f = file_of(s);

	assert_true(off + len <= BYTES);
	*file = (struct llm_source_file){f->map_fd, f->path, BEGIN + i * STRIDE + off};
	return true;
}

static const struct llm_source_ops file_ops = {
	.count = mem_count, .get = mem_get, .find = mem_find, .read = file_read, .file = file_file};

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* With `written` its pages are in the cache; without, it is one hole and none is. */
static struct file_source *create(bool written, bool backwards)
{
	struct file_source *f = calloc(1, sizeof(*f));
	uint8_t *data = malloc(SIZE);

	f->mem.base.ops = &file_ops;
	f->mem.broken = -1;
	snprintf(f->path, sizeof(f->path), "%s/weights", dir);
	f->fd = f->map_fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(f->fd >= 0);
	for (uint64_t i = 0; i < SIZE; i++)
		data[i] = byte_at(i);
	if (written)
		assert_int_equal(pwrite(f->fd, data, SIZE, 0), SIZE);
	else
		assert_int_equal(ftruncate(f->fd, SIZE), 0);
	free(data);
	/* No reading ahead: what one read brings in must not be what the next finds. */
	assert_int_equal(posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM), 0);
	f->plan.src = &f->mem.base;
	for (size_t i = 0; i < COUNT; i++)
		f->mem.t[f->mem.n++] =
			(struct mem_tensor){"t", ZW_DTYPE_BF16, 2, {ROWS, COLS}, NULL};
	for (size_t i = 0; i < COUNT; i++) {
		struct llm_take take = {.tensor = backwards ? COUNT - 1 - i : i};

		assert_int_equal(llm_plan_add(&f->plan, &f->dst[take.tensor], 0, &take, 1, NULL),
				 0);
	}
	assert_int_equal(zw_buffer_create(vm, f->plan.bytes, ZW_BO_HBM, &f->buf), 0);
	llm_plan_place(&f->plan, f->buf.va);
	assert_int_equal(zw_copier_create(vm, NULL, &f->c), 0);
	return f;
}

static void destroy(struct file_source *f)
{
	zw_copier_destroy(f->c);
	zw_buffer_destroy(&f->buf);
	llm_plan_fini(&f->plan);
	close(f->fd);
	if (f->map_fd != f->fd)
		close(f->map_fd);
	unlink(f->path);
	free(f);
}

/* Loads and compares; what it took on the device. */
static uint64_t load(struct file_source *f, bool zero)
{
	uint8_t *got = malloc(BYTES);
	struct zw_error err = {""};
	uint64_t ps;

	if (llm_plan_run(&f->plan, dev, vm, f->c, f->buf.va, NULL, NULL, &err))
		fail_msg("%s", err.msg);
	ps = zw_copier_sim_ps(f->c);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(zw_copier_read(f->c, got, f->dst[i].va, BYTES, NULL), 0);
		assert_int_equal(zw_copier_flush(f->c, ZW_FOREVER), 0);
		for (uint64_t k = 0; k < BYTES; k++)
			if (got[k] != (zero ? 0 : byte_at(BEGIN + i * STRIDE + k)))
				fail_msg("tensor %zu, byte %llu", i, (unsigned long long)k);
	}
	free(got);
	return ps;
}

/* Forwards one window will do; backwards each tensor needs its own, and the first ones are closed. */
static void test_cached(void **state)
{
	uint64_t ps[3];

	for (int backwards = 0; backwards < 2; backwards++) {
		struct file_source *f = create(true, backwards);

		ps[backwards] = load(f, false);
		assert_int_equal(f->reads, 0);
		destroy(f);
	}
	assert_int_equal(ps[0], ps[1]);
}

/* A file that is not in the cache is read, in the same simulated time. */
static void test_not_cached(void **state)
{
	struct file_source *f = create(false, false);
	uint64_t ps = load(f, true);

	assert_int_equal(f->reads, COUNT);
	destroy(f);
	f = create(true, false);
	assert_int_equal(load(f, false), ps);
	destroy(f);
}

/* What cannot be mapped is read, and not asked for again. */
static void test_refused(void **state)
{
	struct file_source *f = create(true, false);

	f->map_fd = open(f->path, O_WRONLY | O_CLOEXEC);
	assert_true(f->map_fd >= 0);
	load(f, false);
	assert_int_equal(f->reads, COUNT);
	destroy(f);
}

static int cut(void *opaque, uint64_t done, uint64_t total)
{
	struct file_source *f = opaque;

	/* Behind the tensors that were copied: they are whole, the file is not. */
	if (done == 2 * BYTES)
		assert_int_equal(ftruncate(f->fd, BEGIN + 5 * STRIDE), 0);
	return 0;
}

static int cancel(void *opaque, uint64_t done, uint64_t total)
{
	return done == 2 * BYTES;
}

static void test_ends(void **state)
{
	struct file_source *f = create(true, false);
	struct zw_error err = {""};

	assert_int_equal(llm_plan_run(&f->plan, dev, vm, f->c, f->buf.va, cut, f, &err), -EIO);
	expect_words("cut", &err, "weights: file became shorter while it was read");
	assert_int_equal(f->reads, 0);
	destroy(f);
	f = create(true, false);
	assert_int_equal(llm_plan_run(&f->plan, dev, vm, f->c, f->buf.va, cancel, f, &err),
			 -ECANCELED);
	destroy(f);
}

static int open_device(void **state)
{
	dir = scratch_new();
	dev = open_dev(NULL);
	return zw_vm_create(dev, &vm);
}

/* No window is left: a device with buffers cannot be closed. */
static int close_device(void **state)
{
	assert_int_equal(zw_vm_destroy(vm), 0);
	assert_int_equal(zw_dev_close(dev), 0);
	scratch_free(dir);
	return 0;
}

/* With a device each: what is left of one fails its own test. */
#define T(name) cmocka_unit_test_setup_teardown(name, open_device, close_device)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cached),
		T(test_not_cached),
		T(test_refused),
		T(test_ends),
	};

	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
