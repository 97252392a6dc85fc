// SPDX-License-Identifier: MIT
/*
 * Fault injection: each operation is repeated with its first, second, third ... allocation or copy
 * from user space failing, until none is left to fail. It must then either succeed or say why not,
 * and leave nothing behind (kmemleak looks at the end of the run). Needs a kernel with
 * CONFIG_FAULT_INJECTION, see scripts/debug-kernel.config.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/dma-heap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define FAIL_NTH   "/proc/thread-self/fail-nth"
#define FAULTS     "/sys/kernel/debug/"
#define DRIVER     "/sys/bus/pci/drivers/zhenwu/"
#define SLABS      "/sys/kernel/slab/"
#define MOST       2000
/* Of a probe, for which there are far more. */
#define MOST_PROBE 50000

/* Where a function of the kernel is: from its address to that of the next one. */
static bool find_function(const char *name, unsigned long *start, unsigned long *end)
{
	unsigned long addr;
	char symbol[256];
	FILE *f;

	*start = 0;
	*end = ULONG_MAX;
	f = fopen("/proc/kallsyms", "re");
	if (!f)
		return false;
	while (fscanf(f, "%lx %*c %255s%*[^\n]", &addr, symbol) == 2) {
		if (!strcmp(symbol, name))
			*start = addr;
	}
	rewind(f);
	while (*start && fscanf(f, "%lx %*c %255s%*[^\n]", &addr, symbol) == 2) {
		if (addr > *start && addr < *end)
			*end = addr;
	}
	fclose(f);
	return *start;
}

/*
 * The buddy allocator of the kernel does not survive that it gets no memory for a half of a block
 * it splits: the blocks it then joins again stay in its lists of free blocks, and the next
 * allocation is a BUG. Nor does DRM's core survive that it gets none for the device of a minor: it
 * drops a reference to the error pointer (drm_minor_alloc_release() of 6.12). Neither is what is
 * tested here. There is one range of functions that can be spared: with @minors it reaches from one
 * of the two to the other.
 */
static bool spare(bool minors)
{
	static const char *const faults[] = {FAULTS "failslab/", FAULTS "fail_page_alloc/"};
	unsigned long start, end, other_start, other_end;

	if (!find_function("gpu_buddy_alloc_blocks", &start, &end) &&
	    !find_function("drm_buddy_alloc_blocks", &start, &end))
		return false;
	if (minors) {
		if (!find_function("drm_sysfs_minor_alloc", &other_start, &other_end))
			return false;
		start = start < other_start ? start : other_start;
		end = end > other_end ? end : other_end;
	}
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		char path[256], text[32];

		snprintf(path, sizeof(path), "%sreject-start", faults[i]);
		snprintf(text, sizeof(text), "0x%lx", start);
		if (zw_write_file(path, text))
			return false;
		snprintf(path, sizeof(path), "%sreject-end", faults[i]);
		snprintf(text, sizeof(text), "0x%lx", end);
		if (zw_write_file(path, text))
			return false;
	}
	return true;
}

/* Objects of all caches fail but those of one. */
static bool spare_cache(const char *name)
{
	DIR *d = opendir(SLABS);
	struct dirent *e;
	bool ok = d;

	while (ok && (e = readdir(d))) {
		char path[512];

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), SLABS "%s/failslab", e->d_name);
		ok = !zw_write_file(path, strcmp(e->d_name, name) ? "1" : "0");
	}
	if (d)
		closedir(d);
	return ok && !zw_write_file(FAULTS "failslab/cache-filter", "Y");
}

/* All three kinds of faults, also where the kernel may sleep, and without a stack for each. */
static bool faults_on(void)
{
	static const char *const set[][2] = {
		{FAULTS "failslab/ignore-gfp-wait", "N"},
		{FAULTS "failslab/verbose", "0"},
		{FAULTS "fail_page_alloc/ignore-gfp-wait", "N"},
		{FAULTS "fail_page_alloc/ignore-gfp-highmem", "N"},
		{FAULTS "fail_page_alloc/min-order", "0"},
		{FAULTS "fail_page_alloc/verbose", "0"},
		{FAULTS "fail_usercopy/verbose", "0"},
	};

	if (access(FAIL_NTH, W_OK))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
		if (zw_write_file(set[i][0], set[i][1]))
			return false;
	}
	return spare(false);
}

/* Runs op with its n-th chance to fail taken; *hit tells whether there was one. */
static int with_fault(int n, int (*op)(void *), void *arg, bool *hit)
{
	char text[16] = "";
	int fd = open(FAIL_NTH, O_RDWR), ret;

	*hit = false;
	if (fd < 0 || dprintf(fd, "%d", n) < 0)
		return -EBADF;
	ret = op(arg);
	if (pread(fd, text, sizeof(text) - 1, 0) > 0)
		*hit = atoi(text) == 0;
	/* One that op left over is taken by the copying in these two calls: then again. */
	if (pwrite(fd, "0", 1, 0) < 0 && pwrite(fd, "0", 1, 0) < 0)
		ret = -EBADF;
	close(fd);
	return ret;
}

FIXTURE(failnth)
{
	struct zw_client c;
};

FIXTURE_SETUP(failnth)
{
	int fd = zw_open();

	if (fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	close(fd);
	if (!faults_on())
		SKIP(return, "this kernel has no fault injection");
	ASSERT_TRUE(zw_client_open(&self->c));
}

FIXTURE_TEARDOWN(failnth)
{
	zw_client_close(&self->c);
	EXPECT_TRUE(zw_fresh_client_works(1));
}

/* The operation with every fault there is; `step` thins them out where one try takes long. */
#define EVERY_FAULT(op, arg, step, errors)                                                         \
	do {                                                                                       \
		bool hit_ = true;                                                                  \
		int tries_ = 0;                                                                    \
                                                                                                   \
		for (int n_ = 1; hit_ && n_ < MOST; n_ += (step), tries_++) {                      \
			int ret_ = with_fault(n_, op, arg, &hit_);                                 \
                                                                                                   \
			ASSERT_TRUE(ret_ == 0 || (errors))                                         \
			{                                                                          \
				TH_LOG("fault %d: %s", n_, strerror(-ret_));                       \
			}                                                                          \
			ASSERT_TRUE(ret_ == 0 || hit_)                                             \
			{                                                                          \
				TH_LOG("without a fault: %s", strerror(-ret_));                    \
			}                                                                          \
		}                                                                                  \
		ASSERT_FALSE(hit_);                                                                \
		ASSERT_LT(1, tries_);                                                              \
		TH_LOG("%d tries", tries_);                                                        \
	} while (0)

#define NO_MEMORY (ret_ == -ENOMEM || ret_ == -EFAULT)

static int errno_of(bool good)
{
	return good ? 0 : -(errno ? errno : EIO);
}

static int open_client(void *arg)
{
	struct zw_client c;
	int ret;

	errno = 0;
	ret = errno_of(zw_client_open(&c));
	/* Also what there is of one that failed: the next try has the same limits. */
	zw_client_close(&c);
	return ret;
}

TEST_F_TIMEOUT(failnth, client, 300)
{
	EVERY_FAULT(open_client, NULL, 1, ret_ < 0);
}

static int buffer(struct zw_client *c, uint64_t size, uint32_t flags)
{
	struct zw_buf b;
	int ret;

	errno = 0;
	ret = errno_of(zw_buf(c->fd, c->vm, size, flags, 1024 * MIB, &b));
	/* Whatever of it came to be; what did not is an error of no interest. */
	zw_unbind(c->fd, c->vm, b.va, b.size);
	if (b.ptr)
		munmap(b.ptr, b.size);
	if (b.bo)
		zw_bo_close(c->fd, b.bo);
	return ret;
}

static int hbm_buffer(void *arg)
{
	return buffer(arg, 3 * MIB, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE);
}

static int system_buffer(void *arg)
{
	return buffer(arg, MIB, DRM_ZHENWU_BO_SYSTEM);
}

TEST_F_TIMEOUT(failnth, hbm_buffer, 300)
{
	EVERY_FAULT(hbm_buffer, &self->c, 1, ret_ < 0);
}

/* Its 256 pages are as many allocations, and each of them some more where memory is scattered. */
TEST_F_TIMEOUT(failnth, system_buffer, 300)
{
	EVERY_FAULT(system_buffer, &self->c, 7, ret_ < 0);
}

/* Few pages, so that all that comes behind their allocation is reached soon. */
#define IDLE 65536ull

struct eviction {
	struct zw_client *c;
	uint32_t bo; /* what was made, 0: nothing */
};

static int take_hbm(void *arg)
{
	struct eviction *e = arg;

	errno = 0;
	e->bo = zw_bo(e->c->fd, IDLE, DRM_ZHENWU_BO_HBM);
	return errno_of(e->bo);
}

static int run_from(struct zw_client *c, uint32_t from)
{
	int ret = zw_client_run(c, from) ?: zw_client_outcome(c) == 1 ? 0 : -EIO;

	c->pos = from;
	return ret;
}

/* There is no room but that of an idle buffer. Where it cannot be moved it stays, with its contents. */
TEST_F_TIMEOUT(failnth, eviction, 900)
{
	struct eviction e = {.c = &self->c};
	struct drm_zhenwu_dev_info info;
	struct zw_client *c = &self->c;
	struct zw_buf out;
	bool hit = true;
	int tries = 0, stayed = 0;

	/*
	 * The driver sleeps until a copy is done, again and again, and DEBUG_OBJECTS has an object for the timer of each
	 * sleep: on a slow machine there would be no end of them.
	 */
	ASSERT_TRUE(spare_cache("debug_objects_cache"));
	ASSERT_TRUE(zw_buf(c->fd, c->vm, 4096, DRM_ZHENWU_BO_SYSTEM, 512 * MIB, &out));
	ASSERT_EQ(0, zw_info(c->fd, &info));
	ASSERT_NE(0, zw_bo(c->fd, (info.hbm_free - IDLE - IDLE / 2) & ~4095ull, DRM_ZHENWU_BO_HBM));
	for (int n = 1; hit && n < MOST; n++, tries++) {
		uint32_t idle = zw_bo(c->fd, IDLE, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM);
		struct drm_zhenwu_bo_query_info q = {.handle = idle};
		uint32_t from = c->pos;
		int ret;

		ASSERT_EQ(0, zw_bind(c->fd, c->vm, idle, 0, 1024 * MIB, IDLE, 0));
		zw_put_fill(c->cmd.ptr, &c->pos, 1024 * MIB, IDLE, 100 + n);
		ASSERT_EQ(0, run_from(c, from));
		ret = with_fault(n, take_hbm, &e, &hit);
		ASSERT_TRUE(ret == 0 || hit);
		ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q));
		ASSERT_TRUE(ret || q.placement == DRM_ZHENWU_BO_SYSTEM);
		stayed += q.placement == DRM_ZHENWU_BO_HBM;
		zw_put_copy(c->cmd.ptr, &c->pos, out.va, 1024 * MIB + IDLE / 2, 4096);
		ASSERT_EQ(0, run_from(c, from));
		ASSERT_EQ(100 + n, *(uint32_t *)out.ptr);
		ASSERT_EQ(0, zw_unbind(c->fd, c->vm, 1024 * MIB, IDLE));
		ASSERT_EQ(0, zw_bo_close(c->fd, idle));
		if (e.bo)
			ASSERT_EQ(0, zw_bo_close(c->fd, e.bo));
	}
	ASSERT_FALSE(hit);
	ASSERT_LT(1, stayed);
	TH_LOG("%d tries, stayed %d times", tries, stayed);
}

struct own_memory {
	struct zw_client *c;
	void *ptr; /* 1 MiB */
};

static int own_memory(void *arg)
{
	struct own_memory *own = arg;
	struct drm_zhenwu_bo_create_userptr u = {.addr = (uintptr_t)own->ptr, .size = MIB};
	struct zw_client *c = own->c;
	int ret = zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, &u);

	if (!ret) {
		ret = zw_bind(c->fd, c->vm, u.handle, 0, 1024 * MIB, MIB, 0);
		zw_unbind(c->fd, c->vm, 1024 * MIB, MIB);
		zw_bo_close(c->fd, u.handle);
	}
	return ret;
}

/* Memory that is there: what fails is pinning it, not getting it. */
TEST_F_TIMEOUT(failnth, own_memory, 300)
{
	struct own_memory own = {.c = &self->c};

	own.ptr = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, own.ptr);
	EVERY_FAULT(own_memory, &own, 1, ret_ < 0);
}

/* A map and an unmap in one call, with a syncobj to signal; waits for it. */
static int later(void *arg)
{
	struct zw_client *c = arg;
	struct drm_zhenwu_sync_op sync = {
		.flags =
			DRM_ZHENWU_SYNC_OP_SIGNAL | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		.handle = c->timeline,
		.timeline_value = c->point + 1,
	};
	struct drm_zhenwu_vm_bind_op ops[2] = {
		{.bo_handle = c->cmd.bo, .va = 1024 * MIB, .size = 65536},
		{.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP,
		 .va = 1024 * MIB,
		 .size = 65536,
		 .syncs = DRM_ZHENWU_OBJ_ARRAY(1, &sync)},
	};
	struct drm_zhenwu_vm_bind b = {
		.vm_id = c->vm,
		.flags = DRM_ZHENWU_VM_BIND_ASYNC,
		.ops = DRM_ZHENWU_OBJ_ARRAY(2, ops),
	};
	int ret = zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_VM_BIND, &b);

	if (ret)
		return ret;
	c->point++;
	return zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS);
}

TEST_F_TIMEOUT(failnth, asynchronous_bind, 300)
{
	EVERY_FAULT(later, &self->c, 1, ret_ < 0);
}

struct dma_bufs {
	struct zw_client *c, *other; /* other: of a second device; the same: there is none */
	int in;
};

/* A buffer in HBM goes out and in to another device, or the same; one of somebody else comes in. */
static int dma_bufs(void *arg)
{
	struct dma_bufs *d = arg;
	uint32_t bo, its = 0, in = 0;
	int buf = -1, ret;

	errno = 0;
	bo = zw_bo(d->c->fd, 65536,
		   DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_CPU_VISIBLE);
	ret = errno_of(bo && !drmPrimeHandleToFD(d->c->fd, bo, DRM_CLOEXEC | DRM_RDWR, &buf) &&
		       !drmPrimeFDToHandle(d->other->fd, buf, &its) &&
		       !drmPrimeFDToHandle(d->c->fd, d->in, &in));
	if (in)
		zw_bo_close(d->c->fd, in);
	if (its && (its != bo || d->other != d->c))
		zw_bo_close(d->other->fd, its);
	if (buf >= 0)
		close(buf);
	if (bo)
		zw_bo_close(d->c->fd, bo);
	return ret;
}

TEST_F_TIMEOUT(failnth, dma_bufs, 300)
{
	struct dma_heap_allocation_data a = {.len = 65536, .fd_flags = O_RDWR | O_CLOEXEC};
	struct dma_bufs d = {.c = &self->c, .other = &self->c};
	int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC), fd = zw_open_number(1);
	struct zw_client other;

	if (heap < 0 || ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &a))
		SKIP(return, "no /dev/dma_heap/system");
	close(heap);
	d.in = (int)a.fd;
	if (fd >= 0) {
		ASSERT_TRUE(zw_client_open_fd(&other, fd));
		d.other = &other;
	}
	EVERY_FAULT(dma_bufs, &d, 1, ret_ < 0);
	if (fd >= 0)
		zw_client_close(&other);
	close(d.in);
}

static int queue(void *arg)
{
	struct zw_client *c = arg;
	uint32_t q;

	errno = 0;
	q = zw_queue(c->fd, c->vm);
	return q ? zw_queue_destroy(c->fd, q) : errno_of(false);
}

TEST_F_TIMEOUT(failnth, queue, 300)
{
	EVERY_FAULT(queue, &self->c, 1, ret_ < 0);
}

static int job(void *arg)
{
	return zw_client_run(arg, 0);
}

TEST_F_TIMEOUT(failnth, job, 300)
{
	zw_put_fill(self->c.cmd.ptr, &self->c.pos, self->c.cmd.va + 32768, 64, 7);
	EVERY_FAULT(job, &self->c, 1, NO_MEMORY);
	EXPECT_EQ(0, zw_client_run(&self->c, 0));
}

static int bind_driver(void *name)
{
	return zw_write_file(DRIVER "bind", name);
}

/* The driver does not come up, and comes up the next time. */
TEST_F_TIMEOUT(failnth, probe, 600)
{
	char path[256], *name;
	bool hit = true;
	int tries = 0;

	ASSERT_TRUE(spare(true));
	/*
	 * The kernel does not notice that it gets no memory for a file in /proc/irq, and warns when it removes the
	 * file that is not there (register_irq_proc()).
	 */
	ASSERT_TRUE(spare_cache("proc_dir_entry"));
	ASSERT_EQ(0, zw_pci_path(path, sizeof(path)));
	name = strrchr(path, '/') + 1;
	for (int n = 1; hit && n < MOST_PROBE; n += 1 + n / 4, tries++) {
		int ret;

		ASSERT_EQ(0, zw_write_file(DRIVER "unbind", name));
		ret = with_fault(n, bind_driver, name, &hit);
		ASSERT_TRUE(ret == 0 || hit)
		{
			TH_LOG("probe fails without a fault: %s", strerror(-ret));
		}
		if (ret)
			ASSERT_EQ(0, zw_write_file(DRIVER "bind", name));
	}
	EXPECT_LT(1, tries);
	/* The last one had all that it asked for. */
	EXPECT_FALSE(hit);
	TH_LOG("%d probes", tries);
}

TEST_HARNESS_MAIN
