// SPDX-License-Identifier: MIT
/*
 * Buffers as dma-bufs: out to the CPU, to other files and to who imports them, in from udmabuf and from a heap. The lists
 * are those of IGT's prime tests, as far as there is something that this driver does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define PAGES   5u
#define SIZE    (PAGES * 4096u)
#define AT      (32 * MIB)
#define PATTERN 0x600d600du

FIXTURE(prime)
{
	struct zw_client c;
};

FIXTURE_SETUP(prime)
{
	if (!zw_client_open(&self->c))
		SKIP(return, KSFT_SKIP_NO_DEVICE);
}

FIXTURE_TEARDOWN(prime)
{
	zw_client_close(&self->c);
}

/* The device fills the buffer through a mapping of its own. 0 or -errno. */
static int fill(struct zw_client *c, uint32_t bo, uint32_t pattern)
{
	uint32_t from = c->pos;
	int ret = zw_bind(c->fd, c->vm, bo, 0, AT, SIZE, 0);

	if (ret)
		return ret;
	zw_put_fill(c->cmd.ptr, &c->pos, AT, SIZE, pattern);
	ret = zw_client_run(c, from);
	if (!ret && zw_fence_status(c->fd, c->timeline, c->point) != 1)
		ret = -EIO;
	return ret ? ret : zw_unbind(c->fd, c->vm, AT, SIZE);
}

static bool is_all(const volatile uint32_t *p, uint32_t v)
{
	for (unsigned int i = 0; i < SIZE / 4; i++)
		if (p[i] != v)
			return false;
	return true;
}

static int sync_cpu(int buf, uint64_t flags)
{
	struct dma_buf_sync s = {.flags = flags};

	return ioctl(buf, DMA_BUF_IOCTL_SYNC, &s);
}

static int export_bo(int fd, uint32_t bo)
{
	int buf = -1;

	return drmPrimeHandleToFD(fd, bo, DRM_CLOEXEC | DRM_RDWR, &buf) ? -errno : buf;
}

/* Sealed memory of PAGES pages, and a dma-buf of it; -1: there is no udmabuf. */
static int udmabuf(void **mem)
{
	struct udmabuf_create u = {.flags = UDMABUF_FLAGS_CLOEXEC, .size = SIZE};
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), buf;

	if (dev < 0)
		return -1;
	u.memfd = memfd_create("prime", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	if (ftruncate(u.memfd, SIZE) || fcntl(u.memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		return -1;
	*mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, u.memfd, 0);
	buf = ioctl(dev, UDMABUF_CREATE, &u);
	close(u.memfd);
	close(dev);
	return buf;
}

static int from_heap(void)
{
	struct dma_heap_allocation_data a = {.len = SIZE, .fd_flags = O_RDWR | O_CLOEXEC};
	int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	int ret = heap < 0 ? -1 : ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &a);

	close(heap);
	return ret ? -1 : (int)a.fd;
}

TEST_F(prime, export_to_the_cpu)
{
	struct zw_client *c = &self->c;
	uint32_t bo = zw_bo(c->fd, SIZE, DRM_ZHENWU_BO_SYSTEM);
	int buf = export_bo(c->fd, bo);
	void *p;

	ASSERT_GE(buf, 0);
	EXPECT_EQ(lseek(buf, 0, SEEK_END), SIZE);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(fill(c, bo, PATTERN), 0);
	EXPECT_EQ(sync_cpu(buf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ), 0);
	EXPECT_TRUE(is_all(p, PATTERN));
	EXPECT_EQ(sync_cpu(buf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ), 0);
	/* A part of it, behind the beginning; and not more than there is. */
	EXPECT_NE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, buf, SIZE - 4096), MAP_FAILED);
	EXPECT_EQ(mmap(NULL, 8192, PROT_READ, MAP_SHARED, buf, SIZE - 4096), MAP_FAILED);
	/* The memory outlives handle and file. */
	ASSERT_EQ(zw_bo_close(c->fd, bo), 0);
	close(buf);
	EXPECT_TRUE(is_all(p, PATTERN));
	munmap(p, SIZE);
}

TEST_F(prime, import_of_own)
{
	struct zw_client *c = &self->c, other;
	uint32_t bo = zw_bo(c->fd, SIZE, DRM_ZHENWU_BO_SYSTEM), same = 0, theirs = 0;
	struct drm_zhenwu_bo_query_info info = {0};
	int buf = export_bo(c->fd, bo);
	void *p = zw_map(c->fd, bo, SIZE);

	ASSERT_GE(buf, 0);
	ASSERT_NE(p, NULL);
	/* One file has one handle for it; another file a handle of its own for the same buffer. */
	ASSERT_EQ(drmPrimeFDToHandle(c->fd, buf, &same), 0);
	EXPECT_EQ(same, bo);
	ASSERT_TRUE(zw_client_open(&other));
	ASSERT_EQ(drmPrimeFDToHandle(other.fd, buf, &theirs), 0);
	close(buf);
	info.handle = theirs;
	ASSERT_EQ(zw_ioctl(other.fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &info), 0);
	EXPECT_EQ(info.flags, DRM_ZHENWU_BO_SYSTEM);
	EXPECT_EQ(info.size, SIZE);
	ASSERT_EQ(zw_bo_close(c->fd, bo), 0);
	ASSERT_EQ(fill(&other, theirs, PATTERN), 0);
	EXPECT_TRUE(is_all(p, PATTERN));
	zw_client_close(&other);
	EXPECT_TRUE(is_all(p, PATTERN));
	munmap(p, SIZE);
}

TEST_F(prime, import_of_udmabuf)
{
	struct drm_zhenwu_bo_mmap_offset m = {0};
	struct drm_zhenwu_bo_query_info info = {0};
	struct zw_client *c = &self->c;
	uint32_t bo = 0, again = 0, from;
	void *mem = NULL;
	int buf = udmabuf(&mem), out;

	if (buf < 0)
		SKIP(return, "no udmabuf to import");
	ASSERT_EQ(drmPrimeFDToHandle(c->fd, buf, &bo), 0);
	info.handle = m.handle = bo;
	ASSERT_EQ(zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &info), 0);
	EXPECT_EQ(info.flags, DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_IMPORTED);
	EXPECT_EQ(info.placement, DRM_ZHENWU_BO_SYSTEM);
	EXPECT_EQ(info.size, SIZE);
	EXPECT_EQ(zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &m), -EACCES);
	/* The same again is the same, and what comes in goes out as what it was. */
	ASSERT_EQ(drmPrimeFDToHandle(c->fd, buf, &again), 0);
	EXPECT_EQ(again, bo);
	out = export_bo(c->fd, bo);
	ASSERT_GE(out, 0);
	EXPECT_EQ(lseek(out, 0, SEEK_END), SIZE);
	close(out);
	close(buf);
	ASSERT_EQ(fill(c, bo, PATTERN), 0);
	EXPECT_TRUE(is_all(mem, PATTERN));
	/* The other way: a copy of what the CPU wrote. */
	((uint32_t *)mem)[SIZE / 4 - 1] = 0x1234;
	ASSERT_EQ(zw_bind(c->fd, c->vm, bo, 0, AT, SIZE, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY), 0);
	from = c->pos;
	zw_put_copy(c->cmd.ptr, &c->pos, c->cmd.va + 32768, AT + SIZE - 4, 4);
	ASSERT_EQ(zw_client_run(c, from), 0);
	EXPECT_EQ(*(uint32_t *)((char *)c->cmd.ptr + 32768), 0x1234);
	/* What is mapped in a VM stays, whoever lets go. */
	ASSERT_EQ(zw_bo_close(c->fd, bo), 0);
	EXPECT_TRUE(zw_client_works(c));
	munmap(mem, SIZE);
}

TEST_F(prime, import_of_a_heap)
{
	struct zw_client *c = &self->c;
	int buf = from_heap();
	uint32_t bo = 0;
	void *p;

	if (buf < 0)
		SKIP(return, "no /dev/dma_heap/system");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(drmPrimeFDToHandle(c->fd, buf, &bo), 0);
	ASSERT_EQ(fill(c, bo, PATTERN), 0);
	EXPECT_TRUE(is_all(p, PATTERN));
	munmap(p, SIZE);
	close(buf);
}

/* HBM that another process gets: the same buffer, and the CPU's view of it. */
TEST_F(prime, export_of_hbm)
{
	struct zw_client *c = &self->c, other;
	uint32_t bo = zw_bo(c->fd, SIZE, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE), its = 0;
	int buf = export_bo(c->fd, bo);
	void *p;

	ASSERT_GE(buf, 0);
	ASSERT_TRUE(zw_client_open(&other));
	ASSERT_EQ(drmPrimeFDToHandle(other.fd, buf, &its), 0);
	ASSERT_EQ(fill(c, bo, PATTERN), 0);
	ASSERT_EQ(zw_bo_close(c->fd, bo), 0);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(is_all(p, PATTERN));
	EXPECT_EQ(mmap(NULL, 8192, PROT_READ, MAP_SHARED, buf, SIZE - 4096), MAP_FAILED);
	ASSERT_EQ(fill(&other, its, ~PATTERN), 0);
	EXPECT_TRUE(is_all(p, ~PATTERN));
	munmap(p, SIZE);
	close(buf);
	zw_client_close(&other);
	/* Where the CPU does not reach it neither does who has the dma-buf. */
	buf = export_bo(c->fd, zw_bo(c->fd, SIZE, DRM_ZHENWU_BO_HBM));
	ASSERT_GE(buf, 0);
	EXPECT_EQ(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, buf, 0), MAP_FAILED);
	EXPECT_EQ(errno, EACCES);
	EXPECT_EQ(drmPrimeFDToHandle(c->fd, buf, &its), 0);
	close(buf);
}

TEST_F(prime, refused)
{
	struct drm_zhenwu_bo_create vm_only = {
		.size = SIZE, .flags = DRM_ZHENWU_BO_SYSTEM, .exclusive_vm_id = self->c.vm};
	int fd = self->c.fd, mem;
	uint32_t handle = 0;

	ASSERT_EQ(zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_CREATE, &vm_only), 0);
	EXPECT_EQ(export_bo(fd, vm_only.handle), -EINVAL);
	EXPECT_EQ(export_bo(fd, 9999), -ENOENT);
	/* A file that is no dma-buf, and none. */
	mem = memfd_create("prime", MFD_CLOEXEC);
	ASSERT_GE(mem, 0);
	EXPECT_NE(drmPrimeFDToHandle(fd, mem, &handle), 0);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_NE(drmPrimeFDToHandle(fd, -1, &handle), 0);
	EXPECT_EQ(errno, EBADF);
	close(mem);
}

TEST_F(prime, bounds_of_an_import)
{
	int fd = self->c.fd, buf;
	uint32_t handle = 0;
	void *p = NULL;

	buf = udmabuf(&p);
	if (buf < 0)
		SKIP(return, "no udmabuf to import");
	ASSERT_EQ(drmPrimeFDToHandle(fd, buf, &handle), 0);
	EXPECT_EQ(zw_bind(fd, self->c.vm, handle, 0, AT, SIZE + 4096, 0), -EINVAL);
	EXPECT_EQ(zw_bind(fd, self->c.vm, handle, SIZE, AT, 4096, 0), -EINVAL);
	EXPECT_EQ(zw_bind(fd, self->c.vm, handle, 4096, AT, SIZE - 4096, 0), 0);
	close(buf);
}

/* A fence of a job on the dma-buf, as who synchronises implicitly waits for it. */
TEST_F(prime, fences)
{
	struct dma_buf_import_sync_file in = {.flags = DMA_BUF_SYNC_WRITE};
	struct dma_buf_export_sync_file out = {.flags = DMA_BUF_SYNC_READ, .fd = -1};
	struct zw_client *c = &self->c;
	uint32_t bo = zw_bo(c->fd, SIZE, DRM_ZHENWU_BO_SYSTEM), binary = 0;
	int buf = export_bo(c->fd, bo);

	ASSERT_GE(buf, 0);
	ASSERT_EQ(fill(c, bo, PATTERN), 0);
	ASSERT_EQ(drmSyncobjCreate(c->fd, 0, &binary), 0);
	ASSERT_EQ(drmSyncobjTransfer(c->fd, binary, 0, c->timeline, c->point, 0), 0);
	ASSERT_EQ(drmSyncobjExportSyncFile(c->fd, binary, &in.fd), 0);
	EXPECT_EQ(ioctl(buf, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &in), 0);
	EXPECT_EQ(ioctl(buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &out), 0);
	EXPECT_GE(out.fd, 0);
	ASSERT_EQ(drmSyncobjImportSyncFile(c->fd, binary, out.fd), 0);
	EXPECT_EQ(drmSyncobjWait(c->fd, &binary, 1, zw_deadline(LONG_WAIT_NS), 0, NULL), 0);
	close(in.fd);
	close(out.fd);
	close(buf);
}

/* The device goes away under what was exported and what was imported, in use by VMs. */
TEST_F_TIMEOUT(prime, unbind, 300)
{
	char path[256], driver[320], bind[] = "/sys/bus/pci/drivers/zhenwu/bind";
	struct drm_zhenwu_bo_query_info info = {0};
	struct zw_client *c = &self->c, now;
	uint32_t own = zw_bo(c->fd, SIZE, DRM_ZHENWU_BO_SYSTEM), bo[2] = {0};
	int out = export_bo(c->fd, own), in;
	void *mem = NULL, *p;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_GE(out, 0);
	in = udmabuf(&mem);
	if (in < 0)
		SKIP(return, "no udmabuf to import");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(fill(c, own, PATTERN), 0);
	ASSERT_EQ(drmPrimeFDToHandle(c->fd, in, &bo[0]), 0);
	ASSERT_EQ(zw_bind(c->fd, c->vm, bo[0], 0, AT, SIZE, 0), 0);
	ASSERT_EQ(zw_pci_path(path, sizeof(path)), 0);
	snprintf(driver, sizeof(driver), "%s/driver/unbind", path);
	ASSERT_EQ(zw_write_file(driver, strrchr(path, '/') + 1), 0);
	/* Memory is nobody's to take away; the device can do nothing any more. */
	EXPECT_TRUE(is_all(p, PATTERN));
	EXPECT_LT(drmPrimeFDToHandle(c->fd, in, &bo[1]), 0);
	EXPECT_EQ(errno, ENODEV);
	ASSERT_EQ(zw_write_file(bind, strrchr(path, '/') + 1), 0);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	/* To the new device what the old one exported is a stranger's. */
	ASSERT_TRUE(zw_client_open(&now));
	ASSERT_EQ(drmPrimeFDToHandle(now.fd, out, &info.handle), 0);
	ASSERT_EQ(zw_ioctl(now.fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &info), 0);
	EXPECT_EQ(info.flags, DRM_ZHENWU_BO_SYSTEM | DRM_ZHENWU_BO_IMPORTED);
	ASSERT_EQ(fill(&now, info.handle, ~PATTERN), 0);
	EXPECT_TRUE(is_all(p, ~PATTERN));
	zw_client_close(&now);
	munmap(p, SIZE);
	munmap(mem, SIZE);
	close(in);
	close(out);
}

TEST_HARNESS_MAIN
