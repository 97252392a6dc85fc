// SPDX-License-Identifier: MIT
/*
 * What one client can take from another. A client that takes all it can get, through as many files
 * as it likes, leaves enough for the next one to work; the one that is there already keeps working.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define VISIBLE (DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE)

#define HOGS      2
#define UNTRUSTED 1000 /* a user id that is not root's */

/* What a hog has got. */
struct haul {
	uint32_t vms, queues, tables;
	uint64_t hbm, visible;
	int error; /* it could not even begin */
};

/* A process that takes what it is told to and holds it until its socket is shut down. */
struct hog {
	pid_t pid;
	int sock;
};

struct hog_state {
	int fd[2];
	uint32_t vm[2];
	struct haul haul;
};

static void take_vms(struct hog_state *h)
{
	for (int i = 0; i < 2; i++)
		while (zw_vm(h->fd[i]))
			h->haul.vms++;
}

static void take_queues(struct hog_state *h)
{
	for (int i = 0; i < 2; i++)
		while (zw_queue(h->fd[i], h->vm[i]))
			h->haul.queues++;
}

/* In pieces that get smaller, until not a page is given. */
static uint64_t take_memory(struct hog_state *h, uint32_t flags)
{
	uint64_t sum = 0;

	for (uint64_t size = 1ull << 40; size >= 4096; size /= 2)
		while (zw_bo(h->fd[0], size, flags))
			sum += size;
	return sum;
}

/* One page in the range of each of many tables, until one is not given. */
static void take_tables(struct hog_state *h)
{
	static struct drm_zhenwu_vm_bind_op ops[4096];
	uint32_t bo = zw_bo(h->fd[0], 4096, DRM_ZHENWU_BO_SYSTEM);
	uint64_t va = 4ull << 40;
	int ret;

	do {
		struct drm_zhenwu_vm_bind b = {.vm_id = h->vm[0],
					       .ops = DRM_ZHENWU_OBJ_ARRAY(4096, ops)};

		for (int i = 0; i < 4096; i++, va += 2 * MIB)
			ops[i] = (struct drm_zhenwu_vm_bind_op){
				.bo_handle = bo, .va = va, .size = 4096};
		ret = zw_ioctl(h->fd[0], DRM_IOCTL_ZHENWU_VM_BIND, &b);
		h->haul.tables += b.num_done;
	} while (!ret && h->haul.tables < 1u << 20);
}

static void hog_main(int sock, uid_t uid)
{
	struct hog_state h = {0};
	char what;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (uid && setuid(uid))
		h.haul.error = -errno;
	for (int i = 0; i < 2; i++) {
		h.fd[i] = zw_open();
		h.vm[i] = h.fd[i] < 0 ? 0 : zw_vm(h.fd[i]);
		h.haul.vms += !!h.vm[i];
	}
	if (!h.vm[0])
		h.haul.error = -ENOSPC;
	while (read(sock, &what, 1) == 1) {
		switch (what) {
		case 'v':
			take_vms(&h);
			break;
		case 'q':
			take_queues(&h);
			break;
		case 'm':
			h.haul.visible += take_memory(&h, VISIBLE);
			break;
		case 'h':
			h.haul.hbm += take_memory(&h, DRM_ZHENWU_BO_HBM);
			break;
		case 't':
			take_tables(&h);
			break;
		}
		if (write(sock, &h.haul, sizeof(h.haul)) != sizeof(h.haul))
			break;
	}
	_exit(0);
}

static bool hog_start(struct hog *hog, uid_t uid)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return false;
	hog->pid = fork();
	if (!hog->pid) {
		close(pair[0]);
		hog_main(pair[1], uid);
	}
	close(pair[1]);
	hog->sock = pair[0];
	return hog->pid > 0;
}

static void hog_stop(struct hog *hog)
{
	if (hog->pid <= 0)
		return;
	/* It ends by itself then, and has let go of everything when it is waited for. */
	shutdown(hog->sock, SHUT_RDWR);
	waitpid(hog->pid, NULL, 0);
	close(hog->sock);
	hog->pid = 0;
}

/* Lets a hog take something; all that it has then. */
static struct haul take(struct hog *hog, char what)
{
	struct haul haul = {0};

	if (write(hog->sock, &what, 1) != 1 ||
	    recv(hog->sock, &haul, sizeof(haul), MSG_WAITALL) != sizeof(haul))
		haul.error = -EIO;
	return haul;
}

FIXTURE(limits)
{
	struct drm_zhenwu_dev_info info;
	struct hog hog[HOGS];
	char node[64];
};

FIXTURE_SETUP(limits)
{
	int fd = zw_open_path(self->node, sizeof(self->node));

	if (fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	ASSERT_EQ(0, zw_info(fd, &self->info));
	close(fd);
}

FIXTURE_TEARDOWN(limits)
{
	for (int i = 0; i < HOGS; i++)
		hog_stop(&self->hog[i]);
}

/* Page tables that are a good share of what a device keeps for them. */
static uint32_t many_tables(const struct drm_zhenwu_dev_info *info)
{
	return info->hbm_size < 4ull << 30 ? (uint32_t)(info->hbm_size >> 22) : 1000;
}

/* A job with all it needs: file, VM, queue, memory, maps. */
static int work(void)
{
	struct zw_client c;
	int ret;

	if (!zw_client_open(&c))
		return -1;
	zw_put_fill(c.cmd.ptr, &c.pos, c.cmd.va + 32768, 4, 0x600d);
	ret = zw_client_run(&c, 0);
	if (!ret && *(uint32_t *)((char *)c.cmd.ptr + 32768) != 0x600d)
		ret = -2;
	zw_client_close(&c);
	return ret;
}

/* Whoever comes when somebody has taken all there was to be had. */
TEST_F_TIMEOUT(limits, newcomer, 300)
{
	struct haul h;

	ASSERT_TRUE(hog_start(&self->hog[0], 0));
	h = take(&self->hog[0], 'v');
	ASSERT_EQ(0, h.error);
	/* A share of one who is alone, through two files. */
	EXPECT_EQ(self->info.max_vms * 3 / 4, h.vms);
	EXPECT_EQ(0, work());
	h = take(&self->hog[0], 'q');
	EXPECT_EQ(self->info.max_queues * 3 / 4, h.queues);
	EXPECT_EQ(0, work());
	h = take(&self->hog[0], 'm');
	EXPECT_LE(self->info.hbm_visible * 3 / 4, h.visible);
	EXPECT_EQ(0, work());
	h = take(&self->hog[0], 't');
	EXPECT_LT(many_tables(&self->info), h.tables);
	EXPECT_EQ(0, work());
}

/* Whoever was there before somebody began to take. */
TEST_F_TIMEOUT(limits, old_client, 300)
{
	struct zw_client c;
	struct zw_buf big, more;
	struct haul h;

	ASSERT_TRUE(zw_client_open(&c));
	ASSERT_TRUE(zw_buf(c.fd, c.vm, 64 * MIB, DRM_ZHENWU_BO_HBM, 4ull << 30, &big));
	ASSERT_TRUE(zw_buf(c.fd, c.vm, MIB, DRM_ZHENWU_BO_SYSTEM, 8ull << 30, &more));

	ASSERT_TRUE(hog_start(&self->hog[0], 0));
	h = take(&self->hog[0], 'v');
	ASSERT_EQ(0, h.error);
	EXPECT_EQ(self->info.max_vms / 2, h.vms);
	h = take(&self->hog[0], 'q');
	EXPECT_EQ(self->info.max_queues / 2, h.queues);
	h = take(&self->hog[0], 'm');
	EXPECT_GE(self->info.hbm_visible / 2, h.visible);
	EXPECT_LE(self->info.hbm_visible / 4, h.visible);
	h = take(&self->hog[0], 'h');
	EXPECT_GE(self->info.hbm_size / 2, h.visible + h.hbm);
	EXPECT_LE(self->info.hbm_size * 3 / 8, h.visible + h.hbm);
	h = take(&self->hog[0], 't');
	EXPECT_LT(many_tables(&self->info), h.tables);

	/* Large pages are split, tables added, VMs, queues and memory made. */
	for (uint64_t i = 0; i < 16; i++) {
		ASSERT_EQ(0, zw_unbind(c.fd, c.vm, big.va + i * 4 * MIB + 4096, 4096));
		ASSERT_EQ(0, zw_bind(c.fd, c.vm, more.bo, 0, (i + 16) << 30, MIB, 0));
		ASSERT_NE(0, zw_vm(c.fd));
		ASSERT_NE(0, zw_queue(c.fd, c.vm));
	}
	EXPECT_NE(0, zw_bo(c.fd, self->info.hbm_size / 4, DRM_ZHENWU_BO_HBM));
	/* Where all of HBM can be seen that was a share of the same memory. */
	if (self->info.hbm_visible < self->info.hbm_size)
		EXPECT_NE(0, zw_bo(c.fd, self->info.hbm_visible / 4, VISIBLE));
	zw_put_fill(c.cmd.ptr, &c.pos, big.va, 4, 1);
	EXPECT_EQ(0, zw_client_run(&c, 0));
	zw_client_close(&c);
}

/* Processes of one user share what one user may have. */
TEST_F_TIMEOUT(limits, user, 120)
{
	struct zw_client c;
	uint32_t vms = 0;

	if (getuid())
		SKIP(return, "needs root, to be two users");
	ASSERT_TRUE(zw_client_open(&c));
	ASSERT_EQ(0, chmod(self->node, 0666));
	for (int i = 0; i < HOGS; i++) {
		struct haul h;

		ASSERT_TRUE(hog_start(&self->hog[i], UNTRUSTED));
		h = take(&self->hog[i], 'v');
		vms += h.vms;
	}
	ASSERT_EQ(0, chmod(self->node, 0600));
	EXPECT_EQ(self->info.max_vms / 2, vms);
	for (uint32_t i = 1; i < self->info.max_vms * 3 / 8; i++) {
		ASSERT_NE(0, zw_vm(c.fd)) TH_LOG("VM %u", i);
	}
	zw_client_close(&c);
}

/* A device without any HBM left says so, and is as it was before when it was given back. */
TEST_F_TIMEOUT(limits, hbm_exhausted, 300)
{
	struct drm_zhenwu_bo_create bo = {.size = 4096, .flags = DRM_ZHENWU_BO_HBM};
	struct drm_zhenwu_dev_info info;
	int fd = zw_open();
	uint32_t all;

	ASSERT_LE(0, fd);
	ASSERT_TRUE(hog_start(&self->hog[0], 0));
	EXPECT_LE(self->info.hbm_free / 4096 * 4096, take(&self->hog[0], 'h').hbm);
	EXPECT_EQ(-ENOSPC, zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_CREATE, &bo));
	bo.flags = VISIBLE;
	EXPECT_EQ(-ENOSPC, zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_CREATE, &bo));
	EXPECT_EQ(0, work());
	ASSERT_EQ(0, zw_info(fd, &info));
	EXPECT_EQ(0, info.hbm_free);

	hog_stop(&self->hog[0]);
	/* Not counted, had: what is not scrubbed yet, or never will be, cannot be. */
	all = zw_bo_patiently(fd, self->info.hbm_free, DRM_ZHENWU_BO_HBM);
	EXPECT_NE(0, all);
	EXPECT_EQ(0, zw_bo_close(fd, all));
	close(fd);
}

TEST_HARNESS_MAIN
