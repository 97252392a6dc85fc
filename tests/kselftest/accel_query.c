// SPDX-License-Identifier: MIT
/* DEV_QUERY, driver version, and the rules that hold for every ioctl. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

FIXTURE(query)
{
	int fd;
};

FIXTURE_SETUP(query)
{
	self->fd = zw_open();
	if (self->fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
}

FIXTURE_TEARDOWN(query)
{
	close(self->fd);
}

TEST_F(query, version)
{
	drmVersionPtr v = drmGetVersion(self->fd);

	ASSERT_NE(NULL, v);
	EXPECT_STREQ("zhenwu", v->name);
	EXPECT_EQ(0, v->version_major);
	EXPECT_LE(1, v->version_minor);
	drmFreeVersion(v);
}

TEST_F(query, info)
{
	struct drm_zhenwu_dev_info info;

	ASSERT_EQ(0, zw_info(self->fd, &info));
	EXPECT_EQ(ZW_ABI_MAJOR, ZW_ABI_VERSION_MAJOR(info.abi_version));
	EXPECT_NE(0, info.fw_version);
	EXPECT_NE(0, info.profile_name[0]);
	EXPECT_NE(0, info.hbm_size);
	EXPECT_LE(info.hbm_visible, info.hbm_size);
	EXPECT_LE(info.hbm_free, info.hbm_size);
	EXPECT_EQ(48, info.va_bits);
	EXPECT_EQ(4096, info.page_size);
	EXPECT_LT(0, info.max_queues);
	EXPECT_LT(0, info.max_vms);
	EXPECT_EQ(0, info.pad);
}

TEST_F(query, size_only)
{
	struct drm_zhenwu_dev_query q = {.type = DRM_ZHENWU_DEV_QUERY_INFO};

	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	EXPECT_LE(sizeof(struct drm_zhenwu_dev_info), q.size);
}

TEST_F(query, short_buffer_is_not_overrun)
{
	struct {
		uint32_t abi;
		uint32_t guard;
	} buf = {.guard = 0xdeadbeef};
	struct drm_zhenwu_dev_query q = {
		.type = DRM_ZHENWU_DEV_QUERY_INFO,
		.size = 4,
		.pointer = (uintptr_t)&buf,
	};

	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	EXPECT_EQ(4, q.size);
	EXPECT_EQ(ZW_ABI_MAJOR, ZW_ABI_VERSION_MAJOR(buf.abi));
	EXPECT_EQ(0xdeadbeef, buf.guard);
}

TEST_F(query, counters_move)
{
	struct drm_zhenwu_dev_counters a = {0}, b = {0};
	struct drm_zhenwu_dev_query q = {
		.type = DRM_ZHENWU_DEV_QUERY_COUNTERS,
		.size = sizeof(a),
		.pointer = (uintptr_t)&a,
	};
	struct zw_client c;

	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	ASSERT_TRUE(zw_client_open(&c));
	zw_put_fill(c.cmd.ptr, &c.pos, c.cmd.va + 4096, 4096, 1);
	ASSERT_EQ(0, zw_client_run(&c, 0));
	q.size = sizeof(b);
	q.pointer = (uintptr_t)&b;
	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	EXPECT_LT(a.jobs, b.jobs);
	EXPECT_LT(a.packets, b.packets);
	EXPECT_LT(a.busy_ps[ZW_ENGINE_DMA], b.busy_ps[ZW_ENGINE_DMA]);
	EXPECT_LE(a.sys_written + 4096, b.sys_written);
	zw_client_close(&c);
}

TEST_F(query, bad_arguments)
{
	struct drm_zhenwu_dev_info info;
	struct drm_zhenwu_dev_query q = {
		.type = 0xffff, .size = sizeof(info), .pointer = (uintptr_t)&info};

	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	q.type = DRM_ZHENWU_DEV_QUERY_INFO;
	q.pointer = 8;
	EXPECT_EQ(-EFAULT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
}

TEST_F(query, unknown_ioctl)
{
	struct drm_zhenwu_vm_create c = {0};

	EXPECT_EQ(-1, ioctl(self->fd,
			    DRM_IOWR(DRM_COMMAND_BASE + 0x5f, struct drm_zhenwu_vm_create), &c));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(query, bad_pointer)
{
	EXPECT_EQ(-EFAULT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_VM_CREATE, (void *)16));
}

TEST_HARNESS_MAIN
