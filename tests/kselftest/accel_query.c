// SPDX-License-Identifier: MIT
/* DEV_QUERY, driver version, and the rules that hold for every ioctl. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"
#include "zhenwu/zw_fw.h"

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
	EXPECT_EQ(2, v->version_major);
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
	EXPECT_LT(0, info.job_timeout_ms);
	EXPECT_LT(0, info.va_start);
	EXPECT_LT(info.va_start, info.va_end);
	EXPECT_GT(1ull << 48, info.va_end);
}

/* The same card, whoever asks. */
TEST_F(query, uuid)
{
	struct drm_zhenwu_dev_info a, b;
	int fd = zw_open();

	ASSERT_EQ(0, zw_info(self->fd, &a));
	ASSERT_EQ(0, zw_info(fd, &b));
	EXPECT_EQ(0, memcmp(a.uuid, b.uuid, 16));
	EXPECT_EQ(8, a.uuid[6] >> 4);
	EXPECT_EQ(2, a.uuid[8] >> 6);
	close(fd);
}

/* What unprivileged users are told: not what others do, and what they may ask for. */
TEST_F(query, unprivileged)
{
	pid_t pid;
	int status;

	if (getuid())
		SKIP(return, "needs root, to give it up");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct drm_zhenwu_dev_counters cnt;
		struct drm_zhenwu_dev_query q = {
			.type = DRM_ZHENWU_DEV_QUERY_COUNTERS,
			.size = sizeof(cnt),
			.pointer = (uintptr_t)&cnt,
		};
		struct drm_zhenwu_dev_info info;

		if (setuid(1000) || zw_info(self->fd, &info))
			_exit(1);
		if (info.max_priority != DRM_ZHENWU_QUEUE_PRIORITY_NORMAL)
			_exit(2);
		if (zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q) != -EACCES)
			_exit(3);
		q.size = 0;
		q.pointer = 0;
		_exit(zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q) ? 4 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

TEST_F(query, links)
{
	struct drm_zhenwu_dev_link link;
	struct drm_zhenwu_dev_query q = {.type = DRM_ZHENWU_DEV_QUERY_LINKS};

	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	EXPECT_EQ(0, q.size);
	q.size = sizeof(link);
	q.pointer = (uintptr_t)&link;
	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	EXPECT_EQ(0, q.size);
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
	q.pointer = 0;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	q.pointer = (uintptr_t)&info;
	q.object_id = 1;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	q.object_id = 0;
	q.pad = 1;
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
	q.pad = 0;
	EXPECT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
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

/* Named in the interface, not done yet: told apart from mistakes. */
TEST_F(query, reserved)
{
	const uint32_t ops[] = {
		DRM_ZHENWU_VM_BIND_OP_TYPE_MAP_USERPTR,
		DRM_ZHENWU_VM_BIND_OP_MAP_SPARSE,
		DRM_ZHENWU_VM_BIND_OP_MAP_DUMPABLE,
		DRM_ZHENWU_VM_BIND_OP_MAP_DUMPABLE | DRM_ZHENWU_VM_BIND_OP_MAP_READONLY,
	};
	const uint64_t offsets[] = {DRM_ZHENWU_MMAP_RESERVED, DRM_ZHENWU_MMAP_RESERVED_END - 4096};
	struct zw_client c;
	struct drm_zhenwu_queue_create queue = {.priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL};

	ASSERT_TRUE(zw_client_open(&c));
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		EXPECT_EQ(-EOPNOTSUPP, zw_bind(c.fd, c.vm, c.cmd.bo, 0, 64 * MIB, 4096, ops[i]))
		TH_LOG("flags 0x%x", ops[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, c.fd, offsets[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(MAP_FAILED,
		  mmap(NULL, 4096, PROT_READ, MAP_SHARED, c.fd, DRM_ZHENWU_MMAP_RESERVED_END));
	EXPECT_EQ(EINVAL, errno);

	queue.vm_id = c.vm;
	/* The rings of an ordinary VM's queues are the kernel's. */
	queue.ring_va = 64 * MIB;
	EXPECT_EQ(-EINVAL, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &queue));
	queue.ring_va = 0;
	queue.ctrl_va = 64 * MIB;
	EXPECT_EQ(-EINVAL, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &queue));
	queue.ctrl_va = 0;
	queue.doorbell_offset = DRM_ZHENWU_MMAP_RESERVED;
	EXPECT_EQ(-EINVAL, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &queue));
	queue.doorbell_offset = 0;
	EXPECT_EQ(0, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &queue));
	EXPECT_EQ(0, queue.doorbell_offset);
	zw_client_close(&c);
}

/* What is only returned must be zero before, so that it can become an argument. */
TEST_F(query, outputs_start_as_zero)
{
	struct zw_client c;

	ASSERT_TRUE(zw_client_open(&c));
	for (int i = 0; i <= 1; i++) {
		const int want = i ? -EINVAL : 0;
		struct drm_zhenwu_vm_get_state vm = {.vm_id = c.vm, .state = i};
		struct drm_zhenwu_bo_query_info size = {.handle = c.cmd.bo, .size = i};
		struct drm_zhenwu_bo_query_info place = {.handle = c.cmd.bo, .placement = i};
		struct drm_zhenwu_bo_mmap_offset off = {.handle = c.cmd.bo, .offset = i};
		struct drm_zhenwu_queue_get_state first = {.queue_id = c.queue, .state = i};
		struct drm_zhenwu_queue_get_state last = {.queue_id = c.queue, .completed = i};
		struct drm_zhenwu_job job = {0};
		struct drm_zhenwu_submit s = {.queue_id = c.queue,
					      .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job),
					      .first_seqno = i};

		EXPECT_EQ(want, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &vm));
		EXPECT_EQ(want, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &size));
		EXPECT_EQ(want, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &place));
		EXPECT_EQ(want, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &off));
		EXPECT_EQ(want, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_QUEUE_GET_STATE, &first));
		EXPECT_EQ(want, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_QUEUE_GET_STATE, &last));
		EXPECT_EQ(want, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_SUBMIT, &s));
		/* The refused one took no number. */
		EXPECT_EQ(1, s.first_seqno);
	}
	zw_client_close(&c);
}

/* Sizes and pointers of arrays. */
TEST_F(query, arrays)
{
	struct drm_zhenwu_vm_bind_op op = {.va = 64 * MIB, .size = 4096};
	struct drm_zhenwu_job job = {0};
	struct zw_client c;
	const struct {
		uint32_t stride, count;
		bool pointer;
	} bad[] = {
		{0, 0, true},              /* empty, but a pointer */
		{sizeof(op), 0, false},    /* empty, but a stride */
		{sizeof(op) - 8, 1, true}, /* a part is missing */
		{sizeof(op) + 4, 1, true}, /* not in steps of 8 */
		{4096 + 8, 1, true},       /* absurd */
		{0, 1, true},
	};

	ASSERT_TRUE(zw_client_open(&c));
	op.bo_handle = c.cmd.bo;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct drm_zhenwu_vm_bind b = {
			.vm_id = c.vm,
			.ops = {bad[i].stride, bad[i].count, bad[i].pointer ? (uintptr_t)&op : 0},
		};
		struct drm_zhenwu_submit s = {.queue_id = c.queue,
					      .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};

		EXPECT_EQ(-EINVAL, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_VM_BIND, &b))
		TH_LOG("case %zu", i);
		EXPECT_EQ(0, b.num_done);
		/* Of a sync operation only the first two cases are wrong by chance, too. */
		job.syncs.stride = bad[i].count ? 8 : bad[i].stride;
		job.syncs.count = bad[i].count;
		job.syncs.array = bad[i].pointer ? (uintptr_t)&op : 0;
		EXPECT_EQ(-EINVAL, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_SUBMIT, &s))
		TH_LOG("syncs case %zu", i);
	}
	zw_client_close(&c);
}

#if defined(__x86_64__)
/* The system call as a program of 32 bits makes it: the driver sees a compat ioctl. */
static int ioctl32(int fd, unsigned long request, void *arg)
{
	int ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(54), "b"(fd), "c"((uint32_t)request), "d"((uint32_t)(uintptr_t)arg)
			 : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

TEST_F(query, compat_32bit)
{
	/* Arguments have addresses of 32 bits. */
	struct {
		struct drm_zhenwu_dev_query query;
		struct drm_zhenwu_dev_info info;
		struct drm_zhenwu_vm_create vm;
		struct drm_zhenwu_bo_create bo;
		struct drm_zhenwu_vm_bind bind;
		struct drm_zhenwu_vm_bind_op op;
		struct drm_zhenwu_queue_create queue;
		struct drm_zhenwu_submit submit;
		struct drm_zhenwu_job job;
		struct drm_zhenwu_queue_get_state state;
	} *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1,
		    0);
	struct drm_zhenwu_dev_info info;

	ASSERT_NE(MAP_FAILED, (void *)m);
	m->query.type = DRM_ZHENWU_DEV_QUERY_INFO;
	m->query.size = sizeof(m->info);
	m->query.pointer = (uintptr_t)&m->info;
	if (ioctl32(self->fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &m->query) == -ENOSYS)
		SKIP(return, "the kernel runs no programs of 32 bits");
	ASSERT_EQ(0, zw_info(self->fd, &info));
	EXPECT_EQ(sizeof(info), m->query.size);
	m->info.hbm_free = info.hbm_free;
	EXPECT_EQ(0, memcmp(&info, &m->info, sizeof(info)));

	ASSERT_EQ(0, ioctl32(self->fd, DRM_IOCTL_ZHENWU_VM_CREATE, &m->vm));
	m->bo.size = MIB;
	m->bo.flags = DRM_ZHENWU_BO_SYSTEM;
	m->bo.exclusive_vm_id = m->vm.id;
	ASSERT_EQ(0, ioctl32(self->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &m->bo));
	m->op.bo_handle = m->bo.handle;
	m->op.va = (1ull << 40) + MIB;
	m->op.size = MIB;
	m->bind.vm_id = m->vm.id;
	m->bind.ops = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &m->op);
	ASSERT_EQ(0, ioctl32(self->fd, DRM_IOCTL_ZHENWU_VM_BIND, &m->bind));
	EXPECT_EQ(1, m->bind.num_done);
	m->queue.vm_id = m->vm.id;
	m->queue.priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL;
	ASSERT_EQ(0, ioctl32(self->fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &m->queue));
	m->submit.queue_id = m->queue.queue_id;
	m->submit.jobs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &m->job);
	ASSERT_EQ(0, ioctl32(self->fd, DRM_IOCTL_ZHENWU_SUBMIT, &m->submit));
	EXPECT_EQ(1, m->submit.first_seqno);
	m->state.queue_id = m->queue.queue_id;
	ASSERT_EQ(0, ioctl32(self->fd, DRM_IOCTL_ZHENWU_QUEUE_GET_STATE, &m->state));
	EXPECT_EQ(1, m->state.submitted);
	munmap(m, 4096);
}
#endif

/* -- what can be looked at -------------------------------------------------------------------- */

/* Reads a file of debugfs whole; its length or -errno. */
static int read_debugfs(const char *name, char *buf, size_t len)
{
	char pci[256], path[512];
	FILE *f;
	size_t n;

	if (zw_pci_path(pci, sizeof(pci)))
		return -ENODEV;
	snprintf(path, sizeof(path), "/sys/kernel/debug/accel/%s/%s", strrchr(pci, '/') + 1, name);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	n = fread(buf, 1, len - 1, f);
	buf[n] = 0;
	fclose(f);
	return (int)n;
}

TEST_F(query, debugfs)
{
	struct drm_zhenwu_dev_info info;
	unsigned long long size, visible, avail, dirty;
	struct drm_zhenwu_bo_set_label label = {.label = (uintptr_t) "a\tlabel"};
	static char text[1 << 20];
	char want[160];
	struct zw_client c;

	if (getuid() || access("/sys/kernel/debug/accel", R_OK))
		SKIP(return, "no debugfs");
	ASSERT_TRUE(zw_client_open(&c));
	ASSERT_EQ(0, zw_info(self->fd, &info));
	label.handle = c.cmd.bo;
	ASSERT_EQ(0, zw_ioctl(c.fd, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &label));
	ASSERT_EQ(0, zw_bind(c.fd, c.vm, c.cmd.bo, 4096, 64 * MIB, 3 * 4096,
			     DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	/* A mapping keeps its permission when it is split. */
	ASSERT_EQ(0, zw_unbind(c.fd, c.vm, 64 * MIB + 4096, 4096));

	EXPECT_LT(0, read_debugfs("fw_log", text, sizeof(text)));
	ASSERT_LT(0, read_debugfs("vms", text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "vm "));
	EXPECT_NE(NULL, strstr(text, "  0x1000000-0x1010000 rw offset 0x0 of 65536 bytes\n"));
	EXPECT_NE(NULL, strstr(text, "  0x4000000-0x4001000 r- offset 0x1000 of 65536 bytes\n"));
	EXPECT_NE(NULL, strstr(text, "  0x4002000-0x4003000 r- offset 0x3000 of 65536 bytes\n"));
	ASSERT_LT(0, read_debugfs("bos", text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "65536 system"));
	EXPECT_NE(NULL, strstr(text, " a\\011label\n"));
	ASSERT_LT(0, read_debugfs("queues", text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "slots 64"));
	ASSERT_LT(0, read_debugfs("hbm", text, sizeof(text)));
	ASSERT_EQ(4, sscanf(text, "size %llu visible %llu free %llu to be scrubbed %llu", &size,
			    &visible, &avail, &dirty));
	EXPECT_EQ(info.hbm_size, size);
	EXPECT_EQ(info.hbm_visible, visible);
	EXPECT_EQ(info.hbm_free, avail + dirty);
	ASSERT_LT(0, read_debugfs("clients", text, sizeof(text)));
	snprintf(want, sizeof(want), "process %d vms 1/%u queues 1/%u hbm 0/", getpid(),
		 info.max_vms, info.max_queues);
	EXPECT_NE(NULL, strstr(text, want)) TH_LOG("%s in:\n%s", want, text);
	snprintf(want, sizeof(want), "user %d vms ", getuid());
	EXPECT_NE(NULL, strstr(text, want));
	zw_client_close(&c);

	/* What was closed is not shown any more. */
	ASSERT_LE(0, read_debugfs("bos", text, sizeof(text)));
	EXPECT_EQ(NULL, strstr(text, "a\\011label"));
}

TEST_F(query, sysfs)
{
	char pci[256], path[512], text[64], want[64];
	struct drm_zhenwu_dev_info info;

	ASSERT_EQ(0, zw_info(self->fd, &info));
	ASSERT_EQ(0, zw_pci_path(pci, sizeof(pci)));
	snprintf(path, sizeof(path), "%s/profile", pci);
	ASSERT_EQ(0, zw_read_file(path, text, sizeof(text)));
	EXPECT_STREQ(info.profile_name, text);
	snprintf(path, sizeof(path), "%s/reset_count", pci);
	ASSERT_EQ(0, zw_read_file(path, text, sizeof(text)));
	snprintf(want, sizeof(want), "%u", info.reset_count);
	EXPECT_STREQ(want, text);
	snprintf(path, sizeof(path), "%s/fw_version", pci);
	ASSERT_EQ(0, zw_read_file(path, text, sizeof(text)));
	snprintf(want, sizeof(want), "%u.%u.%u", ZW_FW_VERSION_MAJOR(info.fw_version),
		 ZW_FW_VERSION_MINOR(info.fw_version), ZW_FW_VERSION_PATCH(info.fw_version));
	EXPECT_STREQ(want, text);
}

TEST_HARNESS_MAIN
