// SPDX-License-Identifier: MIT
#include "zw_kst.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/sync_file.h>

int zw_ioctl(int fd, unsigned long request, void *arg)
{
	return drmIoctl(fd, request, arg) ? -errno : 0;
}

static bool is_zhenwu(int fd)
{
	drmVersionPtr v = drmGetVersion(fd);
	bool ok = v && !strcmp(v->name, "zhenwu");

	drmFreeVersion(v);
	return ok;
}

static int open_number(unsigned int n, char *path, size_t len)
{
	for (int i = 0; i < 64; i++) {
		char node[32];
		int fd;

		snprintf(node, sizeof(node), "/dev/accel/accel%d", i);
		fd = open(node, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (is_zhenwu(fd) && !n--) {
			if (path)
				snprintf(path, len, "%s", node);
			return fd;
		}
		close(fd);
	}
	return -1;
}

int zw_open_path(char *path, size_t len)
{
	return open_number(0, path, len);
}

int zw_open(void)
{
	return open_number(0, NULL, 0);
}

int zw_open_number(unsigned int n)
{
	return open_number(n, NULL, 0);
}

int zw_pci_path(char *path, size_t len)
{
	const char *base = "/sys/bus/pci/devices";
	DIR *d = opendir(base);
	struct dirent *e;
	int found = -1;

	while (d && found && (e = readdir(d))) {
		char file[512], vendor[16], device[16];

		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s/vendor", base, e->d_name);
		if (zw_read_file(file, vendor, sizeof(vendor)))
			continue;
		snprintf(file, sizeof(file), "%s/%s/device", base, e->d_name);
		if (zw_read_file(file, device, sizeof(device)))
			continue;
		if (strtoul(vendor, NULL, 16) == 0x1234 && strtoul(device, NULL, 16) == 0x5a57) {
			snprintf(path, len, "%s/%s", base, e->d_name);
			found = 0;
		}
	}
	if (d)
		closedir(d);
	return found;
}

int zw_info(int fd, struct drm_zhenwu_dev_info *info)
{
	struct drm_zhenwu_dev_query q = {
		.type = DRM_ZHENWU_DEV_QUERY_INFO,
		.size = sizeof(*info),
		.pointer = (uintptr_t)info,
	};

	memset(info, 0, sizeof(*info));
	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q);
}

uint32_t zw_vm(int fd)
{
	struct drm_zhenwu_vm_create c = {0};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_VM_CREATE, &c) ? 0 : c.id;
}

int zw_vm_destroy(int fd, uint32_t vm)
{
	struct drm_zhenwu_vm_destroy d = {.id = vm};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_VM_DESTROY, &d);
}

uint32_t zw_bo(int fd, uint64_t size, uint32_t flags)
{
	struct drm_zhenwu_bo_create c = {.size = size, .flags = flags};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_CREATE, &c) ? 0 : c.handle;
}

uint32_t zw_bo_patiently(int fd, uint64_t size, uint32_t flags)
{
	int64_t end = zw_deadline(LONG_WAIT_NS);
	uint32_t bo;

	while (!(bo = zw_bo(fd, size, flags)) && zw_deadline(0) < end)
		usleep(10000);
	return bo;
}

int zw_bo_close(int fd, uint32_t bo)
{
	struct drm_gem_close c = {.handle = bo};

	return zw_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &c);
}

void *zw_map(int fd, uint32_t bo, uint64_t size)
{
	struct drm_zhenwu_bo_mmap_offset o = {.handle = bo};
	void *p;
	int ret = zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &o);

	if (ret) {
		errno = -ret;
		return NULL;
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, o.offset);
	return p == MAP_FAILED ? NULL : p;
}

static int bind_op(int fd, uint32_t vm, struct drm_zhenwu_vm_bind_op *op)
{
	struct drm_zhenwu_vm_bind b = {.vm_id = vm, .ops = DRM_ZHENWU_OBJ_ARRAY(1, op)};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_VM_BIND, &b);
}

int zw_bind(int fd, uint32_t vm, uint32_t bo, uint64_t bo_off, uint64_t va, uint64_t size,
	    uint32_t flags)
{
	struct drm_zhenwu_vm_bind_op op = {
		.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_MAP | flags,
		.bo_handle = bo,
		.bo_offset = bo_off,
		.va = va,
		.size = size,
	};

	return bind_op(fd, vm, &op);
}

int zw_unbind(int fd, uint32_t vm, uint64_t va, uint64_t size)
{
	struct drm_zhenwu_vm_bind_op op = {
		.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP,
		.va = va,
		.size = size,
	};

	return bind_op(fd, vm, &op);
}

uint32_t zw_queue(int fd, uint32_t vm)
{
	struct drm_zhenwu_queue_create c = {
		.vm_id = vm,
		.priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL,
	};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c) ? 0 : c.queue_id;
}

int zw_queue_destroy(int fd, uint32_t queue)
{
	struct drm_zhenwu_queue_destroy d = {.queue_id = queue};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_QUEUE_DESTROY, &d);
}

int zw_queue_state(int fd, uint32_t queue, struct drm_zhenwu_queue_get_state *st)
{
	memset(st, 0, sizeof(*st));
	st->queue_id = queue;
	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_QUEUE_GET_STATE, st);
}

bool zw_buf(int fd, uint32_t vm, uint64_t size, uint32_t flags, uint64_t va, struct zw_buf *b)
{
	*b = (struct zw_buf){.size = size, .va = va};
	b->bo = zw_bo(fd, size, flags);
	if (!b->bo)
		return false;
	if (flags != DRM_ZHENWU_BO_HBM) {
		b->ptr = zw_map(fd, b->bo, size);
		if (!b->ptr)
			return false;
	}
	return !zw_bind(fd, vm, b->bo, 0, va, size, 0);
}

/*
 * Fences of the last submissions, as sync files. A timeline forgets: once a point is signalled and
 * another came behind it, asking for it gives a stub fence that ended well, whatever the real one
 * did. And every DRM ioctl of an unplugged device fails, while sync files live on. So each point is
 * exported at once, while it is the newest.
 */
#define KEPT 256
bool zw_keep_fences = true;
static struct kept {
	int fd, sync_file;
	uint32_t timeline;
	uint64_t point;
} kept[KEPT];
static unsigned int next_kept;

static void keep_fence(int fd, uint32_t timeline, uint64_t point)
{
	struct kept *k;
	uint32_t binary;
	int sf = -1;

	if (drmSyncobjCreate(fd, 0, &binary))
		return;
	if (!drmSyncobjTransfer(fd, binary, 0, timeline, point, 0) &&
	    !drmSyncobjExportSyncFile(fd, binary, &sf)) {
		k = &kept[next_kept++ % KEPT];
		if (k->point)
			close(k->sync_file);
		*k = (struct kept){.fd = fd, .sync_file = sf, .timeline = timeline, .point = point};
	}
	drmSyncobjDestroy(fd, binary);
}

int zw_submit(int fd, uint32_t queue, uint64_t cmd_va, uint32_t cmd_bytes, uint64_t result_va,
	      uint32_t timeline, uint64_t out)
{
	struct drm_zhenwu_sync_op sync = {
		.flags =
			DRM_ZHENWU_SYNC_OP_SIGNAL | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		.handle = timeline,
		.timeline_value = out,
	};
	struct drm_zhenwu_job job = {
		.cmd_va = cmd_va,
		.cmd_bytes = cmd_bytes,
		.result_va = result_va,
	};
	struct drm_zhenwu_submit s = {.queue_id = queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};
	int ret;

	if (timeline)
		job.syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &sync);
	ret = zw_ioctl(fd, DRM_IOCTL_ZHENWU_SUBMIT, &s);
	if (!ret && timeline && zw_keep_fences)
		keep_fence(fd, timeline, out);
	return ret;
}

int zw_submit_syncs(int fd, uint32_t queue, uint64_t cmd_va, uint32_t cmd_bytes,
		    struct drm_zhenwu_sync_op *syncs, uint32_t n)
{
	struct drm_zhenwu_job job = {
		.cmd_va = cmd_va,
		.cmd_bytes = cmd_bytes,
	};
	struct drm_zhenwu_submit s = {.queue_id = queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};

	if (n)
		job.syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(n, syncs);
	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_SUBMIT, &s);
}

int64_t zw_deadline(int64_t from_now_ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec + from_now_ns;
}

int zw_wait(int fd, uint32_t timeline, uint64_t point, int64_t timeout_ns)
{
	return drmSyncobjTimelineWait(fd, &timeline, &point, 1, zw_deadline(timeout_ns),
				      DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, NULL);
}

int zw_fence_status_wait(int fd, uint32_t timeline, uint64_t point, int64_t timeout_ns)
{
	/* More than one: the points before it that are still running. */
	struct sync_fence_info fences[64] = {0};
	struct sync_file_info info = {
		.num_fences = 64,
		.sync_fence_info = (uintptr_t)fences,
	};
	struct pollfd p = {.events = POLLIN};
	unsigned int i;

	/* The newest first: file descriptors and handles are used again. */
	for (i = next_kept; i && i + KEPT > next_kept; i--) {
		const struct kept *k = &kept[(i - 1) % KEPT];

		if (k->fd != fd || k->timeline != timeline || k->point != point)
			continue;
		p.fd = k->sync_file;
		if (timeout_ns && poll(&p, 1, (int)(timeout_ns / 1000000)) != 1)
			return 0;
		/* Asked for the fences inside: the chain around them carries no error. */
		if (ioctl(k->sync_file, SYNC_IOC_FILE_INFO, &info))
			return -errno;
		return fences[0].status;
	}
	return -ENOENT;
}

int zw_fence_status(int fd, uint32_t timeline, uint64_t point)
{
	return zw_fence_status_wait(fd, timeline, point, 0);
}

void zw_put_raw(void *cmd, uint32_t *pos, uint16_t op, uint16_t size)
{
	struct zw_pkt *p = (void *)((char *)cmd + *pos);

	memset(p, 0, size);
	p->opcode = op;
	p->size = size;
	*pos += size;
}

void zw_put_fill(void *cmd, uint32_t *pos, uint64_t dst, uint64_t bytes, uint32_t pattern)
{
	struct zw_pkt_fill *p = (void *)((char *)cmd + *pos);

	zw_put_raw(cmd, pos, ZW_OP_FILL, sizeof(*p));
	p->dst = dst;
	p->bytes = bytes;
	p->rows = 1;
	p->pattern = pattern;
}

void zw_put_copy(void *cmd, uint32_t *pos, uint64_t dst, uint64_t src, uint64_t bytes)
{
	struct zw_pkt_copy *p = (void *)((char *)cmd + *pos);

	zw_put_raw(cmd, pos, ZW_OP_COPY, sizeof(*p));
	p->dst = dst;
	p->src = src;
	p->bytes = bytes;
	p->rows = 1;
}

void zw_put_sem(void *cmd, uint32_t *pos, uint16_t op, uint64_t va, uint64_t value)
{
	struct zw_pkt_sem *p = (void *)((char *)cmd + *pos);

	zw_put_raw(cmd, pos, op, sizeof(*p));
	p->va = va;
	p->value = value;
}

bool zw_client_open(struct zw_client *c)
{
	return zw_client_open_fd(c, zw_open());
}

bool zw_client_open_fd(struct zw_client *c, int fd)
{
	*c = (struct zw_client){.fd = fd};
	if (c->fd < 0)
		return false;
	c->vm = zw_vm(c->fd);
	c->queue = c->vm ? zw_queue(c->fd, c->vm) : 0;
	return c->queue && !drmSyncobjCreate(c->fd, 0, &c->timeline) &&
	       zw_buf(c->fd, c->vm, 65536, DRM_ZHENWU_BO_SYSTEM, 16 * MIB, &c->cmd);
}

void zw_client_close(struct zw_client *c)
{
	if (c->cmd.ptr)
		munmap(c->cmd.ptr, c->cmd.size);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

int zw_client_submit(struct zw_client *c, uint32_t from, uint64_t result_va)
{
	return zw_submit(c->fd, c->queue, c->cmd.va + from, c->pos - from, result_va, c->timeline,
			 ++c->point);
}

int zw_client_run(struct zw_client *c, uint32_t from)
{
	int ret = zw_client_submit(c, from, 0);

	return ret ? ret : zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS);
}

int zw_client_outcome(struct zw_client *c)
{
	return zw_fence_status_wait(c->fd, c->timeline, c->point, 3 * LONG_WAIT_NS);
}

bool zw_client_works(struct zw_client *c)
{
	uint32_t from = c->pos;

	zw_put_fill(c->cmd.ptr, &c->pos, c->cmd.va + 32768, 4, from + 1);
	return !zw_client_run(c, from) &&
	       (!zw_keep_fences || zw_fence_status(c->fd, c->timeline, c->point) == 1) &&
	       *(volatile uint32_t *)((char *)c->cmd.ptr + 32768) == from + 1;
}

bool zw_client_goes_on(struct zw_client *c)
{
	zw_queue_destroy(c->fd, c->queue);
	c->queue = zw_queue(c->fd, c->vm);
	return c->queue && zw_client_works(c);
}

bool zw_fresh_client_works(unsigned int tries)
{
	for (unsigned int i = 0; i < tries; i++) {
		struct zw_client c;
		bool ok;

		if (i)
			usleep(100000);
		ok = zw_client_open(&c) && zw_client_works(&c);
		zw_client_close(&c);
		if (ok)
			return true;
	}
	return false;
}

int zw_client_submit_stuck(struct zw_client *c)
{
	uint32_t from = c->pos;

	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + 61440, 1);
	return zw_client_submit(c, from, 0);
}

uint32_t zw_reset_count(struct zw_client *c)
{
	struct drm_zhenwu_dev_info info;

	return zw_info(c->fd, &info) ? 0 : info.reset_count;
}

struct drm_zhenwu_dev_resets zw_resets(int fd)
{
	struct drm_zhenwu_dev_resets r = {.pad = 1};
	struct drm_zhenwu_dev_query q = {
		.type = DRM_ZHENWU_DEV_QUERY_RESETS,
		.size = sizeof(r),
		.pointer = (uintptr_t)&r,
	};

	if (zw_ioctl(fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q) || q.size != sizeof(r))
		memset(&r, 0xee, sizeof(r));
	return r;
}

uint64_t zw_bo_address(uint64_t size)
{
	char pci[300], path[400], line[512];
	uint64_t addr = 0;
	FILE *f;

	if (zw_pci_path(pci, sizeof(pci)))
		return 0;
	snprintf(path, sizeof(path), "/sys/kernel/debug/accel/%s/bos", strrchr(pci, '/') + 1);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, " at 0x");

		if (at && strtoull(line, NULL, 10) == size)
			addr = strtoull(at + 4, NULL, 16);
	}
	if (f)
		fclose(f);
	return addr;
}

int zw_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int zw_read_file(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return -errno;
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return 0;
}

uint64_t zw_number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

#define HOST_PORT "/dev/virtio-ports/zw.host"

bool zw_has_host(void)
{
	return !access(HOST_PORT, R_OK | W_OK);
}

/* One command to QMP; its answer, cut off where there is no room. 0 or -errno. */
static int ask_host(const char *qmp, char *answer, size_t len)
{
	ssize_t n = 0, r;
	int fd, ret = -EIO;

	fd = open(HOST_PORT, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%s\n", qmp) > 0) {
		while (n < (ssize_t)len - 1) {
			r = read(fd, answer + n, len - 1 - (size_t)n);
			if (r <= 0)
				break;
			n += r;
			if (memchr(answer, '\n', (size_t)n))
				break;
		}
		answer[n] = '\0';
		if (!strncmp(answer, "{\"return\"", 9))
			ret = 0;
	}
	close(fd);
	return ret;
}

int zw_host(const char *qmp)
{
	char answer[512];

	return ask_host(qmp, answer, sizeof(answer));
}

uint64_t zw_counter(const char *name)
{
	char qmp[256], answer[512];
	uint64_t value;

	snprintf(qmp, sizeof(qmp),
		 "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/zw0\","
		 "\"property\":\"%s\"}}",
		 name);
	if (ask_host(qmp, answer, sizeof(answer)) ||
	    sscanf(answer, "{\"return\": %" SCNu64, &value) != 1)
		return UINT64_MAX;
	return value;
}

int zw_inject(const char *fault)
{
	char qmp[256];

	snprintf(qmp, sizeof(qmp),
		 "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/zw0\","
		 "\"property\":\"inject\",\"value\":\"%s\"}}",
		 fault);
	return zw_host(qmp);
}

unsigned long zw_interrupts(void)
{
	unsigned long sum = 0, n;
	FILE *f = fopen("/proc/interrupts", "r");
	char line[1024], *p, *end;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "zhenwu"))
			continue;
		for (p = strchr(line, ':') + 1; n = strtoul(p, &end, 10), end != p; p = end)
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

bool zw_quiet(unsigned int ms)
{
	for (int64_t end = zw_deadline(LONG_WAIT_NS); zw_deadline(0) < end;) {
		unsigned long before = zw_interrupts();

		usleep(ms * 1000);
		if (zw_interrupts() == before)
			return true;
	}
	return false;
}
