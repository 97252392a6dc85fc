// SPDX-License-Identifier: MIT
/* Tensors that the device copies from the host's page cache, or that O_DIRECT reads, beside the same that are read. */
#include "dev_test.h"
#include "llm_fixture.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "llm_mem_source.h"
#include "util.h"

#define ROWS  64
#define COLS  2048 /* BF16: 256 KiB a tensor */
#define LARGE 64   /* times as many rows: 16 MiB a tensor, four pieces */
#define COUNT 8
#define BEGIN 1000 /* of the first tensor in the file */
#define BLOCK 4096u

static struct zw_dev *dev;
static struct zw_vm *vm;
static char *dir;

/* COUNT tensors in a file. */
struct file_source {
	struct mem_source mem;
	char path[4096], names[COUNT][8];
	uint64_t bytes, stride, size; /* of a tensor, from one to the next, of the file */
	int fd;                       /* of the file that is read */
	int map_fd;                   /* that is mapped, and read directly */
	int reads;
	struct llm_plan plan;
	struct llm_plan_ways ways;
	struct zw_tensor dst[COUNT];
	struct zw_buffer buf;
	struct zw_copier *c;
};

/* ---- what the kernel may do ---- */

enum disturb { SMOOTH, SILENT, LARGE_BLOCKS, SHORT, BROKEN, REFUSED, SLOW_DISK, SLOW_MAPPING };

static enum disturb disturb;
static uint64_t broken_at;
static atomic_int direct_reads;

static ssize_t real_pread(int fd, void *buf, size_t len, off_t off)
{
	return syscall(SYS_pread64, fd, buf, len, off);
}

/* In the place of libc's. With O_DIRECT what `disturb` says happens; all else is as ever. */
ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	int n;

	if (!(fcntl(fd, F_GETFL) & O_DIRECT))
		return real_pread(fd, buf, len, off);
	n = atomic_fetch_add(&direct_reads, 1);
	/* What the kernel may refuse, whatever this file system does. */
	if ((uintptr_t)buf % BLOCK || len % BLOCK || (uint64_t)off % BLOCK) {
		errno = EINVAL;
		return -1;
	}
	switch (disturb) {
	case SHORT:
		if (n % 3 == 0) {
			errno = EINTR;
			return -1;
		}
		/* Not whole blocks: what is left must be asked for from a block on nevertheless. */
		return real_pread(fd, buf, len > 5 * BLOCK ? 5 * BLOCK : len, off) -
		       (len > 5 * BLOCK && n % 3 == 1 ? 100 : 0);
	case BROKEN:
		if ((uint64_t)off <= broken_at && (uint64_t)off + len > broken_at) {
			errno = EIO;
			return -1;
		}
		break;
	case REFUSED:
		errno = EINVAL;
		return -1;
	case SLOW_DISK:
		usleep(100000);
		break;
	default:
		break;
	}
	return real_pread(fd, buf, len, off);
}

/* In the place of libc's, too. A file system that does not say. */
int statx(int fd, const char *path, int flags, unsigned int mask, struct statx *sx)
{
	int ret = (int)syscall(SYS_statx, fd, path, flags, mask, sx);

	if (!ret && disturb == SILENT)
		sx->stx_mask &= ~STATX_DIOALIGN;
	if (!ret && disturb == LARGE_BLOCKS)
		sx->stx_dio_offset_align = 16384;
	return ret;
}

int mincore(void *addr, size_t len, unsigned char *vec)
{
	if (disturb == SLOW_MAPPING)
		usleep(100000);
	return (int)syscall(SYS_mincore, addr, len, vec);
}

/* ---- a source ---- */

static struct file_source *file_of(const struct llm_source *s)
{
	return (struct file_source *)(uintptr_t)s;
}

static uint64_t begin_of(const struct file_source *f, size_t i)
{
	return BEGIN + i * f->stride;
}

static int file_read(const struct llm_source *s, size_t i, uint64_t off, void *dst, uint64_t len,
		     struct zw_error *err)
{
	struct file_source *f = file_of(s);

	f->reads++;
	return llm_file_pread(f->fd, f->path, dst, len, begin_of(f, i) + off, err);
}

static bool file_file(const struct llm_source *s, size_t i, uint64_t off, uint64_t len,
		      struct llm_source_file *file)
{
	struct file_source *f = file_of(s);

	assert_true(off + len <= f->bytes);
	*file = (struct llm_source_file){f->map_fd, f->path, begin_of(f, i) + off};
	return true;
}

static const struct llm_source_ops file_ops = {
	.count = mem_count, .get = mem_get, .find = mem_find, .read = file_read, .file = file_file};

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

enum where { IN_CACHE, ON_DISK };

static struct file_source *create_of(enum where where, bool backwards, uint64_t rows)
{
	struct file_source *f = calloc(1, sizeof(*f));
	uint8_t *data;

	disturb = SMOOTH;
	atomic_store(&direct_reads, 0);
	f->mem.base.ops = &file_ops;
	f->mem.broken = -1;
	f->bytes = 2 * rows * COLS;
	f->stride = f->bytes + 24;
	f->size = BEGIN + COUNT * f->stride;
	snprintf(f->path, sizeof(f->path), "%s/weights", dir);
	f->fd = f->map_fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(f->fd >= 0);
	data = malloc(f->size);
	for (uint64_t i = 0; i < f->size; i++)
		data[i] = byte_at(i);
	assert_int_equal(pwrite(f->fd, data, f->size, 0), f->size);
	free(data);
	if (where == ON_DISK) {
		assert_int_equal(fsync(f->fd), 0);
		assert_int_equal(posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	}
	/* No reading ahead: what one read brings in must not be what the next finds. */
	assert_int_equal(posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM), 0);
	f->plan.src = &f->mem.base;
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(f->names[i], sizeof(f->names[i]), "t%zu", i);
		f->mem.t[f->mem.n++] =
			(struct mem_tensor){f->names[i], ZW_DTYPE_BF16, 2, {rows, COLS}, NULL};
	}
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

static struct file_source *create(enum where where)
{
	return create_of(where, false, ROWS);
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

/* File systems in memory have no such reads. */
static void need_direct(void)
{
	struct statx sx;

	if (statx(AT_FDCWD, dir, 0, STATX_BASIC_STATS, &sx) || !sx.stx_dev_major)
		skip();
}

static int lowest_free_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static int run_with(struct file_source *f, struct zw_dev *with,
		    int (*progress)(void *opaque, uint64_t done, uint64_t total),
		    struct zw_error *err)
{
	int fd = lowest_free_fd();
	int ret = llm_plan_run(&f->plan, with, vm, f->c, f->buf.va, progress, f, &f->ways, err);

	assert_int_equal(lowest_free_fd(), fd);
	return ret;
}

static int run(struct file_source *f, int (*progress)(void *opaque, uint64_t done, uint64_t total),
	       struct zw_error *err)
{
	return run_with(f, dev, progress, err);
}

/* Loads and compares; what it took on the device. */
static uint64_t load_with(struct file_source *f, struct zw_dev *with)
{
	uint8_t *got = malloc(f->bytes);
	struct zw_error err = {""};
	uint64_t ps;

	if (run_with(f, with, NULL, &err))
		fail_msg("%s", err.msg);
	ps = zw_copier_sim_ps(f->c);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(zw_copier_read(f->c, got, f->dst[i].va, f->bytes, NULL), 0);
		assert_int_equal(zw_copier_flush(f->c, ZW_FOREVER), 0);
		for (uint64_t k = 0; k < f->bytes; k++)
			if (got[k] != byte_at(begin_of(f, i) + k))
				fail_msg("tensor %zu, byte %llu", i, (unsigned long long)k);
	}
	free(got);
	return ps;
}

static uint64_t load(struct file_source *f)
{
	return load_with(f, dev);
}

/* Forwards one window will do; backwards each tensor needs its own, and the first ones are closed. */
static void test_cached(void **state)
{
	uint64_t ps[3];

	for (int backwards = 0; backwards < 2; backwards++) {
		struct file_source *f = create_of(IN_CACHE, backwards, ROWS);

		ps[backwards] = load(f);
		assert_int_equal(f->reads, 0);
		assert_int_equal(f->ways.mapped, COUNT * f->bytes);
		assert_int_equal(f->ways.direct, 0);
		destroy(f);
	}
	assert_int_equal(ps[0], ps[1]);
}

/* A file that is not in the cache is read past it, in the same simulated time, and is not there after. */
static void test_not_cached(void **state)
{
	struct file_source *f;
	uint64_t ps;

	need_direct();
	f = create(ON_DISK);
	ps = load(f);
	assert_int_equal(f->reads, 0);
	assert_int_equal(f->ways.direct, COUNT * f->bytes);
	assert_int_equal(f->ways.mapped, 0);
	assert_int_equal(f->ways.refused, 0);
	destroy(f);
	f = create(IN_CACHE);
	assert_int_equal(load(f), ps);
	destroy(f);
	f = create(IN_CACHE);
	assert_int_equal(load_with(f, NULL), ps);
	assert_int_equal(f->reads, COUNT);
	assert_int_equal(f->ways.mapped + f->ways.direct, 0);
	destroy(f);
}

/* Reads that are interrupted and shorter than asked for, of more pieces than the ring has. */
static void test_short(void **state)
{
	struct file_source *f;

	need_direct();
	f = create_of(ON_DISK, true, ROWS * LARGE);
	disturb = SHORT;
	load(f);
	assert_int_equal(f->ways.direct, COUNT * f->bytes);
	assert_true(atomic_load(&direct_reads) > 1000);
	destroy(f);
}

/* What cannot be mapped is read directly, and not asked for again. */
static void test_refused(void **state)
{
	struct file_source *f;

	need_direct();
	f = create(IN_CACHE);
	assert_int_equal(fsync(f->fd), 0);
	f->map_fd = open(f->path, O_WRONLY | O_CLOEXEC);
	assert_true(f->map_fd >= 0);
	load(f);
	assert_int_equal(f->ways.direct, COUNT * f->bytes);
	destroy(f);
}

/* By the read: those pieces come from the cache, the next ones are not asked for in that way. */
static void test_direct_refused(void **state)
{
	struct file_source *f;

	need_direct();
	f = create_of(ON_DISK, false, ROWS * LARGE);
	disturb = REFUSED;
	load(f);
	assert_int_equal(f->ways.direct, 0);
	assert_int_equal(f->ways.refused, EINVAL);
	assert_in_range(atomic_load(&direct_reads), 1, 6); /* as many as the ring has */
	assert_true(f->reads + f->ways.mapped > 0);
	destroy(f);
}

/* By open(), as another file has the name by now; what cannot be mapped either is read. */
static void test_renamed(void **state)
{
	for (int mapped = 0; mapped < 2; mapped++) {
		struct file_source *f;
		char other[4200];
		int fd;

		need_direct();
		f = create(mapped ? ON_DISK : IN_CACHE);
		if (!mapped)
			f->map_fd = open(f->path, O_WRONLY | O_CLOEXEC);
		assert_true(f->map_fd >= 0);
		snprintf(other, sizeof(other), "%s.other", f->path);
		fd = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(rename(other, f->path), 0);
		load(f);
		assert_int_equal(f->ways.direct, 0);
		assert_int_equal(f->ways.refused, ESTALE);
		assert_int_equal(f->reads, COUNT);
		destroy(f);
	}
}

/* Before it is opened: 9p says nothing of alignment, and some disks want more of it. */
static void test_not_asked(void **state)
{
	for (enum disturb how = SILENT; how <= LARGE_BLOCKS; how++) {
		struct file_source *f = create(ON_DISK);

		disturb = how;
		load(f);
		assert_int_equal(f->ways.direct, 0);
		assert_int_equal(f->ways.refused, EOPNOTSUPP);
		assert_int_equal(f->reads, COUNT);
		assert_int_equal(atomic_load(&direct_reads), 0);
		destroy(f);
	}
}

/* What is in the cache comes by the way that takes less time. */
static void test_chooser(void **state)
{
	struct file_source *f;
	uint64_t ps;

	need_direct();
	f = create_of(IN_CACHE, false, ROWS * LARGE);
	disturb = SLOW_MAPPING;
	assert_int_equal(fsync(f->fd), 0);
	ps = load(f);
	assert_int_equal(f->ways.mapped, 32 << 20); /* to try it */
	assert_int_equal(f->ways.direct, (COUNT * 16 - 32) << 20);
	destroy(f);
	f = create_of(IN_CACHE, false, ROWS * LARGE);
	assert_int_equal(fsync(f->fd), 0);
	disturb = SLOW_DISK;
	assert_int_equal(load(f), ps);
	/* The ring is full with six, after which it is tried. */
	assert_in_range(f->ways.direct, 1, 15 * (4 << 20));
	assert_int_equal(f->ways.direct + f->ways.mapped, COUNT * f->bytes);
	destroy(f);
}

static int cut(void *opaque, uint64_t done, uint64_t total)
{
	struct file_source *f = opaque;

	/* Behind the tensors that were asked for: they are whole, the file is not. */
	if (done == 2 * f->bytes)
		assert_int_equal(ftruncate(f->fd, (off_t)begin_of(f, 5)), 0);
	return 0;
}

static int cancel(void *opaque, uint64_t done, uint64_t total)
{
	struct file_source *f = opaque;

	return done == 2 * f->bytes;
}

static void test_ends(void **state)
{
	for (enum where w = IN_CACHE; w <= ON_DISK; w++) {
		struct file_source *f;
		struct zw_error err = {""};

		if (w == ON_DISK)
			need_direct();
		f = create(w);
		assert_int_equal(run(f, cut, &err), -EIO);
		/* A read says which one; of a window the latest that was asked for when it is closed. */
		expect_words("cut", &err,
			     w == ON_DISK ? "weights: tensor t5: file became"
					  : "weights: tensor t");
		expect_words("cut", &err, ": file became shorter while it was read");
		assert_in_range(strstr(err.msg, "tensor t")[8], '5', '7');
		assert_int_equal(f->reads, 0);
		destroy(f);
		f = create(w);
		assert_int_equal(run(f, cancel, &err), -ECANCELED);
		destroy(f);
	}
}

/* The disk fails: once with nothing behind it in the ring, once with all of it. */
static void test_broken(void **state)
{
	static const struct {
		size_t tensor;
		const char *words;
	} cases[] = {{0, "weights: tensor t0: read: Input/output error"},
		     {6, "weights: tensor t6: read: Input/output error"},
		     {7, "weights: tensor t7: read: Input/output error"}};

	need_direct();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct file_source *f = create(ON_DISK);
		struct zw_error err = {""};

		disturb = BROKEN;
		broken_at = begin_of(f, cases[i].tensor) + f->bytes / 2;
		assert_int_equal(run(f, NULL, &err), -EIO);
		expect_words("broken", &err, cases[i].words);
		destroy(f);
	}
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
		T(test_cached),         T(test_not_cached), T(test_short),     T(test_refused),
		T(test_direct_refused), T(test_renamed),    T(test_not_asked), T(test_chooser),
		T(test_ends),           T(test_broken),
	};

	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
