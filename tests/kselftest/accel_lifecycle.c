// SPDX-License-Identifier: MIT
/*
 * Unbind, unload, function-level reset and refused firmware. Needs root and writes to sysfs; each
 * test leaves the driver bound and working. ZW_REBINDS and ZW_FLRS: how many (10 and 5).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/sync_file.h>
#include <linux/userfaultfd.h>

#include "zw_faults.h"

#define DRIVER  "/sys/bus/pci/drivers/zhenwu/"
#define FW_PATH "/sys/module/firmware_class/parameters/path"
#define FW_NAME "zhenwu/zhenwu_fw.bin"

FIXTURE(life)
{
	struct zw_client c;
	char pci[300];
	const char *bdf;
};

FIXTURE_SETUP(life)
{
	const char *why = zw_root_open(_metadata, &self->c, self->pci);

	if (why)
		SKIP(return, "%s", why);
	self->bdf = strrchr(self->pci, '/') + 1;
}

FIXTURE_TEARDOWN(life)
{
	zw_client_close(&self->c);
}

/* How the only fence of a sync file ended. */
static int sync_file_error(int sf)
{
	struct sync_fence_info fence = {0};
	struct sync_file_info info = {.num_fences = 1, .sync_fence_info = (uintptr_t)&fence};

	return ioctl(sf, SYNC_IOC_FILE_INFO, &info) ? -errno : fence.status;
}

static void load_up(struct zw_client *c)
{
	/* A semaphore that never comes, and jobs behind it. */
	zw_put_fill(c->cmd.ptr, &c->pos, c->cmd.va + 32768, 4096, 1);
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + 61440, 1);
	for (int i = 0; i < 8; i++)
		zw_client_submit(c, 0, 0);
}

TEST_F_TIMEOUT(life, unbind_with_open_file_and_jobs, 180)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_dev_info info;

	load_up(c);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	/* The old file answers, with -ENODEV, and its jobs are over. */
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
	EXPECT_EQ(0, zw_vm(c->fd));
	EXPECT_EQ(-ENODEV, zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0));
	EXPECT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
}

TEST_F_TIMEOUT(life, mapped_hbm_after_unbind, 180)
{
	struct zw_client *c = &self->c;
	struct zw_buf hbm;
	int status;
	pid_t pid;

	ASSERT_TRUE(zw_buf(c->fd, c->vm, MIB, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE,
			   64 * MIB, &hbm));
	*(volatile uint32_t *)hbm.ptr = 1;
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	/* A child touches it: there is nothing any more. */
	pid = fork();
	if (!pid) {
		*(volatile uint32_t *)hbm.ptr = 2;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
	TH_LOG("status 0x%x", status);
	EXPECT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_F_TIMEOUT(life, unload_with_open_file, 180)
{
	/* The open file pins the module. */
	EXPECT_EQ(-1, syscall(SYS_delete_module, "zhenwu", O_NONBLOCK));
	EXPECT_TRUE(errno == EWOULDBLOCK || errno == EBUSY);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	EXPECT_EQ(-1, syscall(SYS_delete_module, "zhenwu", O_NONBLOCK));
	EXPECT_TRUE(errno == EWOULDBLOCK || errno == EBUSY);
	EXPECT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* A sync file pins the module, whether its job ran, was cancelled or waited for another. */
TEST_F_TIMEOUT(life, unload_with_sync_file, 180)
{
	struct zw_client *c = &self->c;
	struct drm_zhenwu_sync_op syncs[2] = {
		{.flags = DRM_ZHENWU_SYNC_OP_WAIT | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		 .handle = c->timeline},
		{.flags = DRM_ZHENWU_SYNC_OP_SIGNAL},
	};
	struct drm_zhenwu_job job = {.syncs = DRM_ZHENWU_OBJ_ARRAY(2, syncs)};
	struct drm_zhenwu_submit s = {.queue_id = zw_queue(c->fd, c->vm),
				      .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};
	int sf = -1;

	zw_keep_fences = false;
	load_up(c);
	syncs[0].timeline_value = c->point;
	ASSERT_EQ(0, drmSyncobjCreate(c->fd, 0, &syncs[1].handle));
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
	ASSERT_EQ(0, drmSyncobjExportSyncFile(c->fd, syncs[1].handle, &sf));
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	zw_client_close(c);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "zhenwu", O_NONBLOCK));
	EXPECT_TRUE(errno == EWOULDBLOCK || errno == EBUSY);
	EXPECT_EQ(-ENODEV, sync_file_error(sf));
	close(sf);
	EXPECT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

static struct drm_zhenwu_submit slow_submit;

static void *submit_thread(void *arg)
{
	struct zw_client *c = arg;

	return (void *)(intptr_t)ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &slow_submit);
}

static void *unbind_thread(void *arg)
{
	return (void *)(intptr_t)zw_write_file(DRIVER "unbind", arg);
}

/* Memory that user space takes its time to provide does not keep the device from going. */
TEST_F_TIMEOUT(life, unbind_while_a_submit_waits_for_user_memory, 180)
{
	struct zw_client *c = &self->c;
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_zeropage zero;
	struct timespec until;
	pthread_t submitter, unbinder;
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	void *page, *ret;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		SKIP(return, "no userfaultfd");
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	reg.range.start = (uintptr_t)page;
	reg.range.len = 4096;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	slow_submit = (struct drm_zhenwu_submit){
		.queue_id = c->queue,
		.jobs = {.stride = sizeof(struct drm_zhenwu_job),
			 .count = 1,
			 .array = (uintptr_t)page},
	};
	ASSERT_EQ(0, pthread_create(&submitter, NULL, submit_thread, c));
	usleep(500000);
	ASSERT_EQ(0, pthread_create(&unbinder, NULL, unbind_thread, (void *)self->bdf));
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 40;
	EXPECT_EQ(0, pthread_timedjoin_np(unbinder, &ret, &until));
	/* Give it its memory. */
	zero = (struct uffdio_zeropage){.range = reg.range};
	EXPECT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	ASSERT_EQ(0, pthread_join(submitter, &ret));
	EXPECT_NE(0, (intptr_t)ret);
	close(uffd);
	/* Also when the unbinding was late. */
	for (int i = 0; i < PATIENT_TRIES && zw_write_file(DRIVER "bind", self->bdf); i++)
		usleep(100000);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

#define TRACING "/sys/kernel/tracing/"

/* Hits of the kprobe below, or -1. */
static long probe_hits(void)
{
	FILE *f = fopen(TRACING "kprobe_profile", "r");
	long hits = -1, n, missed;
	char name[64];

	while (f && fscanf(f, "%63s %ld %ld", name, &n, &missed) == 3)
		if (!strcmp(name, "zw_dma_free"))
			hits = n;
	if (f)
		fclose(f);
	return hits;
}

/*
 * What the device could reach is unmapped when the driver lets go of it, not when a file is closed
 * that was open then: the mapping may belong to somebody else by that time.
 */
TEST_F_TIMEOUT(life, dma_memory_ends_with_the_binding, 180)
{
	struct zw_client *c = &self->c;
	long before, bound, after;

	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	if (zw_write_file(TRACING "kprobe_events", "p:zw_dma_free dma_free_attrs"))
		SKIP(return, "no kprobes");
	ASSERT_EQ(0, zw_write_file(TRACING "events/kprobes/zw_dma_free/enable", "1"));
	load_up(c);
	for (int i = 0; i < 4; i++) {
		ASSERT_NE(0, zw_queue(c->fd, c->vm));
	}
	before = probe_hits();
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	bound = probe_hits();
	zw_client_close(c);
	after = probe_hits();
	EXPECT_EQ(0, zw_write_file(TRACING "events/kprobes/zw_dma_free/enable", "0"));
	EXPECT_EQ(0, zw_write_file(TRACING "kprobe_events", ""));
	ASSERT_LE(0, before);
	/* The rings of five queues at least. */
	EXPECT_LE(before + 5, bound);
	EXPECT_EQ(bound, after);
	EXPECT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_F_TIMEOUT(life, rebind_many_times, 300)
{
	int n = zw_number_of("ZW_REBINDS", 10);

	zw_client_close(&self->c);
	for (int i = 0; i < n; i++) {
		ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf)) TH_LOG("round %d", i);
		ASSERT_EQ(0, zw_write_file(DRIVER "bind", self->bdf)) TH_LOG("round %d", i);
	}
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

static void *reset_thread(void *arg)
{
	return (void *)(intptr_t)zw_write_file(arg, "1");
}

TEST_F_TIMEOUT(life, flr_under_load, 300)
{
	struct zw_client *c = &self->c;
	int n = zw_number_of("ZW_FLRS", 5);
	char path[320];

	snprintf(path, sizeof(path), "%s/reset", self->pci);
	for (int i = 0; i < n; i++) {
		struct zw_client load;
		pthread_t t;
		void *ret;

		ASSERT_TRUE(zw_client_open(&load));
		load_up(&load);
		ASSERT_EQ(0, pthread_create(&t, NULL, reset_thread, path));
		/* Jobs keep coming while the function is reset under them; any outcome but a hang
		 * is fine. */
		for (int j = 0; j < 50; j++)
			zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0);
		ASSERT_EQ(0, pthread_join(t, &ret));
		EXPECT_EQ(0, (intptr_t)ret);
		EXPECT_EQ(0, zw_wait(load.fd, load.timeline, load.point, LONG_WAIT_NS));
		EXPECT_GT(0, zw_fence_status(load.fd, load.timeline, load.point));
		zw_client_close(&load);
		EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES)) TH_LOG("round %d", i);
	}
}

/* Is there a line with this text in the kernel log after the mark? */
static bool log_has(const char *mark, const char *text)
{
	FILE *f = popen("dmesg", "r");
	char line[1024];
	bool after = false, found = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, mark))
			after = true;
		else if (after && strstr(line, "zhenwu") && strstr(line, text))
			found = true;
	}
	if (f)
		pclose(f);
	return found;
}

/* Binds with a changed copy of the firmware, which must be refused with `text` in the log. */
static void refuse(struct __test_metadata *_metadata, const char *bdf, long offset, uint8_t xor,
		   long truncate_to, const char *text)
{
	static int n;
	char old_path[256], dir[64], file[320], mark[64];
	char kmsg[80];
	uint8_t *img;
	long size;
	FILE *f;

	ASSERT_EQ(0, zw_read_file(FW_PATH, old_path, sizeof(old_path)));
	snprintf(file, sizeof(file), "%s/%s", old_path[0] ? old_path : "/lib/firmware", FW_NAME);
	f = fopen(file, "rb");
	ASSERT_NE(NULL, f) TH_LOG("%s", file);
	img = malloc(1 << 20);
	size = fread(img, 1, 1 << 20, f);
	fclose(f);
	ASSERT_LT(240, size);
	if (offset >= 0)
		img[offset] ^= xor;
	if (truncate_to >= 0)
		size = truncate_to;

	snprintf(dir, sizeof(dir), "/tmp/zwfw.%d.%d", getpid(), n++);
	mkdir(dir, 0755);
	snprintf(file, sizeof(file), "%s/zhenwu", dir);
	mkdir(file, 0755);
	snprintf(file, sizeof(file), "%s/%s", dir, FW_NAME);
	f = fopen(file, "wb");
	ASSERT_NE(NULL, f);
	ASSERT_EQ(size, (long)fwrite(img, 1, size, f));
	fclose(f);
	free(img);

	snprintf(mark, sizeof(mark), "kselftest-mark-%d-%d", getpid(), n);
	snprintf(kmsg, sizeof(kmsg), "%s\n", mark);
	ASSERT_EQ(0, zw_write_file("/dev/kmsg", kmsg));
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", bdf));
	ASSERT_EQ(0, zw_write_file(FW_PATH, dir));
	EXPECT_NE(0, zw_write_file(DRIVER "bind", bdf));
	EXPECT_TRUE(log_has(mark, text)) TH_LOG("no '%s' in the kernel log", text);
	zw_write_file(FW_PATH, old_path[0] ? old_path : "\n");
	EXPECT_EQ(0, zw_write_file(DRIVER "bind", bdf));
	unlink(file);
}

TEST_F_TIMEOUT(life, corrupt_firmware_is_refused, 180)
{
	zw_client_close(&self->c);
	refuse(_metadata, self->bdf, 400, 0xff, -1, "SHA-256");
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_F_TIMEOUT(life, foreign_firmware_is_refused, 180)
{
	zw_client_close(&self->c);
	refuse(_metadata, self->bdf, 0, 0xff, -1, "magic");
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_F_TIMEOUT(life, firmware_of_other_abi_is_refused, 180)
{
	zw_client_close(&self->c);
	refuse(_metadata, self->bdf, 18, 0x40, -1, "ABI");
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_F_TIMEOUT(life, truncated_firmware_is_refused, 180)
{
	zw_client_close(&self->c);
	refuse(_metadata, self->bdf, -1, 0, 100, "size");
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_HARNESS_MAIN
