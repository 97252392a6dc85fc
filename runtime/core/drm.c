// SPDX-License-Identifier: MIT
/* Transport over the kernel driver: one ioctl per operation, ids instead of objects. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#include "drm_handles.h"
#include "drm_node.h"
#include "drm/zhenwu_accel.h"

/* A doorbell's page, of which the first word counts. */
#define DOORBELL_BYTES 4096u

#define DRIVER_MAJOR  2u
#define DRIVER_MINOR  0u
#define DRIVER_NEEDED (DRIVER_MAJOR << 16 | DRIVER_MINOR) /* oldest this file works with */

/* Versions of the driver. */
#define USER_QUEUES_SINCE (2u << 16 | 1u)
#define USERPTR_SINCE     (2u << 16 | 2u)
#define TELEMETRY_SINCE   (2u << 16 | 3u)
#define PERF_SINCE        (2u << 16 | 7u)
#define ASYNC_BIND_SINCE  (2u << 16 | 9u)

struct drm_dev {
	int fd;
	uint32_t version; /* (major << 16) | minor */
	pthread_mutex_t perf_lock;
	bool perf; /* the stream of records is open; perf_lock */
	_Atomic unsigned int queues;
	struct zw_drm_handles handles;
};

static struct drm_dev *drm(const struct zw_dev *dev)
{
	return dev->priv;
}

static int call(const struct zw_dev *dev, unsigned long request, void *arg)
{
	/* drmIoctl() repeats on EINTR and EAGAIN */
	return drmIoctl(drm(dev)->fd, request, arg) ? -errno : 0;
}

static int query_object(const struct zw_dev *dev, uint32_t type, uint32_t id, void *out,
			size_t bytes)
{
	struct drm_zhenwu_dev_query q = {
		.type = type,
		.size = (uint32_t)bytes,
		.pointer = (uintptr_t)out,
		.object_id = id,
	};

	memset(out, 0, bytes);
	return call(dev, DRM_IOCTL_ZHENWU_DEV_QUERY, &q);
}

static int query(const struct zw_dev *dev, uint32_t type, void *out, size_t bytes)
{
	return query_object(dev, type, 0, out, bytes);
}

static int drm_get_attrs(struct zw_dev *dev, struct zw_dev_attrs *a)
{
	struct drm_zhenwu_dev_info i;
	int ret = query(dev, DRM_ZHENWU_DEV_QUERY_INFO, &i, sizeof(i));

	if (ret)
		return ret;
	memcpy(a->profile_name, i.profile_name, sizeof(a->profile_name));
	a->profile_name[sizeof(a->profile_name) - 1] = '\0';
	a->profile = i.profile;
	a->caps = i.caps;
	a->abi_version = i.abi_version;
	a->fw_version = i.fw_version;
	a->hbm_size = i.hbm_size;
	a->hbm_visible = i.hbm_visible;
	a->hbm_free = i.hbm_free;
	a->va_bits = i.va_bits;
	a->page_size = i.page_size;
	a->max_queues = i.max_queues;
	a->max_vms = i.max_vms;
	a->max_ring_slots = i.max_ring_slots;
	a->max_priority = i.max_priority;
	a->reset_count = i.reset_count;
	a->job_timeout_ms = i.job_timeout_ms;
	a->va_start = i.va_start;
	a->va_end = i.va_end;
	memcpy(a->uuid, i.uuid, sizeof(a->uuid));
	a->dtypes = i.dtypes;
	a->sram_size = i.sram_size;
	a->num_links = i.num_links;
	a->driver_version = drm(dev)->version;
	return 0;
}

static int drm_get_counters(struct zw_dev *dev, struct zw_dev_counters *c)
{
	struct drm_zhenwu_dev_counters k;
	int ret = query(dev, DRM_ZHENWU_DEV_QUERY_COUNTERS, &k, sizeof(k));

	if (ret)
		return ret;
	_Static_assert(sizeof(c->busy_ps) == sizeof(k.busy_ps), "one slot per engine");
	memcpy(c->busy_ps, k.busy_ps, sizeof(c->busy_ps));
	c->hbm_read = k.hbm_read;
	c->hbm_written = k.hbm_written;
	c->sys_read = k.sys_read;
	c->sys_written = k.sys_written;
	c->packets = k.packets;
	c->jobs = k.jobs;
	c->faults = k.faults;
	c->tlb_hits = k.tlb_hits;
	c->tlb_misses = k.tlb_misses;
	c->fw_heartbeat = k.fw_heartbeat;
	return 0;
}

#define SAME_AT(field)                                                                             \
	_Static_assert(offsetof(struct zw_dev_sample, field) ==                                    \
			       offsetof(struct drm_zhenwu_telemetry_sample, field),                \
		       "the kernel fills in what the caller gave us")
SAME_AT(device_us);
SAME_AT(temperature_mc);
SAME_AT(throttle);
SAME_AT(num_counters);
SAME_AT(counter);
_Static_assert(sizeof(struct zw_dev_sample) == sizeof(struct drm_zhenwu_telemetry_sample),
	       "the kernel fills in what the caller gave us");

static int drm_set_telemetry(struct zw_dev *dev, uint32_t interval_us)
{
	struct drm_zhenwu_telemetry_set t = {.interval_us = interval_us};

	if (drm(dev)->version < TELEMETRY_SINCE)
		return interval_us ? -EOPNOTSUPP : 0;
	return call(dev, DRM_IOCTL_ZHENWU_TELEMETRY_SET, &t);
}

static int drm_read_telemetry(struct zw_dev *dev, void *samples, uint32_t max, size_t sample_size,
			      uint64_t *seq, uint64_t *lost, int64_t deadline_ns)
{
	struct drm_zhenwu_telemetry_read t = {
		.samples = {(uint32_t)sample_size, max, (uintptr_t)samples},
		.seq = *seq,
		.timeout_ns = deadline_ns,
	};
	int ret;

	if (drm(dev)->version < TELEMETRY_SINCE)
		return -EOPNOTSUPP;
	ret = call(dev, DRM_IOCTL_ZHENWU_TELEMETRY_READ, &t);
	if (ret)
		return ret;
	*seq = t.seq;
	*lost = t.lost;
	return (int)t.count;
}

#define RECORD_AT(field)                                                                           \
	_Static_assert(offsetof(struct zw_trace_record, field) ==                                  \
			       offsetof(struct drm_zhenwu_perf_record, field),                     \
		       "records of the kernel are records of the API")
RECORD_AT(job);
RECORD_AT(engine);
RECORD_AT(release_ps);
RECORD_AT(compute_ps);
RECORD_AT(port);
RECORD_AT(wait_ps);
RECORD_AT(host_ns);
RECORD_AT(sys_bytes);
RECORD_AT(wait);
RECORD_AT(ordered);
_Static_assert(sizeof(struct zw_trace_record) == sizeof(struct drm_zhenwu_perf_record),
	       "records of the kernel are records of the API");
#define SAME_KIND(kind)                                                                            \
	_Static_assert((int)ZW_TRACE_##kind == (int)DRM_ZHENWU_PERF_##kind,                        \
		       "kinds of the kernel are kinds of the API")
SAME_KIND(BEGIN);
SAME_KIND(PACKET);
SAME_KIND(JOB);
SAME_KIND(SUBMIT);
SAME_KIND(DONE);

/* Records of the kernel's size, as many as there are and fit. */
static int read_records(struct zw_dev *dev, struct zw_trace_record *records, uint32_t max,
			uint64_t *lost)
{
	struct drm_zhenwu_perf_read p = {
		.records = {sizeof(*records), max, (uintptr_t)records},
		/* Nobody of this program could still add something: it waits for nobody else, either. */
		.flags = atomic_load(&drm(dev)->queues) ? 0 : DRM_ZHENWU_PERF_READ_SETTLE,
	};
	int ret = call(dev, DRM_IOCTL_ZHENWU_PERF_READ, &p);

	if (ret)
		return ret;
	if (lost)
		*lost = p.lost;
	return (int)p.count;
}

static int drm_read_trace(struct zw_dev *dev, void *records, size_t max, size_t record_size,
			  uint64_t *lost)
{
	struct zw_trace_record own[64];
	size_t n = 0, size = record_size < sizeof(own[0]) ? record_size : sizeof(own[0]);
	int got;

	if (!dev->trace)
		return -EOPNOTSUPP;
	while (n < max) {
		uint32_t want = max - n < 64 ? (uint32_t)(max - n) : 64;

		got = read_records(dev, own, want, lost);
		if (got <= 0)
			return n ? (int)n : got;
		for (int i = 0; i < got; i++) {
			char *to = (char *)records + n++ * record_size;

			memset(to, 0, record_size);
			memcpy(to, &own[i], size);
		}
	}
	return (int)n;
}

/* Queues that are made later can be recorded, for who reads that or only wants the sums. */
static int perf_begin(struct zw_dev *dev)
{
	struct drm_zhenwu_perf_open o = {
		.records = dev->trace ? DRM_ZHENWU_PERF_MAX_RECORDS : DRM_ZHENWU_PERF_MIN_RECORDS,
	};
	struct drm_dev *d = drm(dev);
	int ret = 0;

	if (d->version < PERF_SINCE)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&d->perf_lock);
	if (!d->perf)
		ret = call(dev, DRM_IOCTL_ZHENWU_PERF_OPEN, &o);
	d->perf |= !ret;
	pthread_mutex_unlock(&d->perf_lock);
	return ret;
}

static int trace_begin(struct zw_dev *dev, struct zw_error *err)
{
	uint32_t version = drm(dev)->version;
	int ret = perf_begin(dev);

	if (version < PERF_SINCE)
		return zw_rt_error(err, ret, "%s: no trace: driver version %u.%u, 2.7 needed",
				   dev->spec, version >> 16, version & 0xffff);
	if (ret)
		return zw_rt_error(err, ret, "%s: no trace: %s", dev->spec,
				   ret == -EOPNOTSUPP ? "the device's firmware makes no records"
						      : strerror(-ret));
	return 0;
}

static void drm_close(struct zw_dev *dev)
{
	zw_drm_handles_fini(&drm(dev)->handles);
	pthread_mutex_destroy(&drm(dev)->perf_lock);
	close(drm(dev)->fd);
	free(dev->priv);
}

/* -- buffers --------------------------------------------------------------------------------- */

static int drm_bo_create(struct zw_bo *bo)
{
	struct drm_zhenwu_bo_create c = {.size = bo->size};
	int ret;

	if (bo->flags & ZW_BO_HBM)
		c.flags |= DRM_ZHENWU_BO_HBM;
	if (bo->flags & ZW_BO_SYSTEM)
		c.flags |= DRM_ZHENWU_BO_SYSTEM;
	if (bo->flags & ZW_BO_CPU_VISIBLE)
		c.flags |= DRM_ZHENWU_BO_CPU_VISIBLE;
	if (bo->flags & ZW_BO_NO_EVICT)
		c.flags |= DRM_ZHENWU_BO_NO_EVICT;
	if (bo->vm)
		c.exclusive_vm_id = bo->vm->id;
	ret = call(bo->dev, DRM_IOCTL_ZHENWU_BO_CREATE, &c);
	if (ret)
		/* gpu_buddy and shmem name a full placement differently */
		return ret == -ENOSPC ? -ENOMEM : ret;
	bo->size = c.size;
	bo->id = c.handle;
	return zw_drm_handle_made(&drm(bo->dev)->handles, bo->id);
}

static int drm_bo_from_ptr(struct zw_bo *bo)
{
	struct drm_zhenwu_bo_create_userptr c = {
		.addr = (uintptr_t)bo->user,
		.size = bo->size,
		.flags = bo->flags & ZW_BO_READONLY ? DRM_ZHENWU_BO_READONLY : 0,
	};
	int ret;

	if (drm(bo->dev)->version < USERPTR_SINCE)
		return -EOPNOTSUPP;
	ret = call(bo->dev, DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, &c);
	bo->id = c.handle;
	return ret ? ret : zw_drm_handle_made(&drm(bo->dev)->handles, bo->id);
}

/* Of a buffer that came in as a dma-buf of somebody else. */
struct imported {
	int fd;
};

static void drm_bo_destroy(struct zw_bo *bo)
{
	struct imported *in = bo->priv;

	zw_drm_handle_drop(&drm(bo->dev)->handles, bo->id);
	if (in)
		close(in->fd);
	free(in);
}

static int drm_bo_map(struct zw_bo *bo, void **ptr)
{
	struct drm_zhenwu_bo_mmap_offset m = {.handle = bo->id};
	const struct imported *in = bo->priv;
	int ret = in ? 0 : call(bo->dev, DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, &m);
	void *p;

	if (ret)
		return ret;
	p = mmap(NULL, bo->size, PROT_READ | PROT_WRITE, MAP_SHARED, in ? in->fd : drm(bo->dev)->fd,
		 (off_t)m.offset);
	if (p == MAP_FAILED)
		return -errno;
	*ptr = p;
	return 0;
}

static void drm_bo_unmap(struct zw_bo *bo, void *ptr)
{
	munmap(ptr, bo->size);
}

static int drm_bo_wait(struct zw_bo *bo, int64_t deadline_ns)
{
	struct drm_zhenwu_bo_wait w = {.handle = bo->id, .timeout_ns = deadline_ns};
	int ret = call(bo->dev, DRM_IOCTL_ZHENWU_BO_WAIT, &w);

	return ret == -ETIMEDOUT || ret == -EBUSY ? -ETIME : ret;
}

static int drm_bo_set_label(struct zw_bo *bo, const char *label)
{
	struct drm_zhenwu_bo_set_label l = {.handle = bo->id, .label = (uintptr_t)label};

	return call(bo->dev, DRM_IOCTL_ZHENWU_BO_SET_LABEL, &l);
}

static int drm_bo_export(struct zw_bo *bo, int *fd)
{
	int ret = drmPrimeHandleToFD(drm(bo->dev)->fd, bo->id, DRM_CLOEXEC | DRM_RDWR, fd) ? -errno
											   : 0;

	return ret == -ENOSYS || ret == -ENOTTY ? -EOPNOTSUPP : ret;
}

/* Memory of others is mapped by what it came in as. */
static int keep_dma_buf(struct zw_bo *bo, int fd)
{
	struct imported *in = malloc(sizeof(*in));

	if (!in)
		return -ENOMEM;
	in->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (in->fd < 0) {
		int err = -errno;

		free(in);
		return err;
	}
	bo->priv = in;
	return 0;
}

static int drm_bo_import(struct zw_bo *bo, int fd)
{
	int ret = zw_drm_handle_import(&drm(bo->dev)->handles, fd, &bo->id);
	struct drm_zhenwu_bo_query_info q = {0};

	/* what the core says of a number that is no file */
	if (ret == -EBADF)
		return -EINVAL;
	if (ret)
		return ret == -ENOSYS || ret == -ENOTTY ? -EOPNOTSUPP : ret;
	q.handle = bo->id;
	ret = call(bo->dev, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q);
	if (!ret && q.flags & DRM_ZHENWU_BO_IMPORTED)
		ret = keep_dma_buf(bo, fd);
	if (ret) {
		drm_bo_destroy(bo);
		return ret;
	}
	bo->size = q.size;
	bo->flags = q.flags & DRM_ZHENWU_BO_HBM ? ZW_BO_HBM : ZW_BO_SYSTEM;
	if (q.flags & DRM_ZHENWU_BO_CPU_VISIBLE)
		bo->flags |= ZW_BO_CPU_VISIBLE;
	return 0;
}

/* -- address spaces -------------------------------------------------------------------------- */

static int drm_vm_create(struct zw_vm *vm)
{
	struct drm_zhenwu_vm_create c = {0};
	int ret;

	if (vm->flags & ZW_VM_LONG_RUNNING) {
		if (drm(vm->dev)->version < USER_QUEUES_SINCE)
			return -EOPNOTSUPP;
		c.flags |= DRM_ZHENWU_VM_CREATE_LR;
	}
	ret = call(vm->dev, DRM_IOCTL_ZHENWU_VM_CREATE, &c);

	vm->id = c.id;
	return ret;
}

static void drm_vm_destroy(struct zw_vm *vm)
{
	struct drm_zhenwu_vm_destroy d = {.id = vm->id};

	call(vm->dev, DRM_IOCTL_ZHENWU_VM_DESTROY, &d);
}

static struct drm_zhenwu_sync_op sync_op(const struct zw_sync *s)
{
	struct drm_zhenwu_sync_op op = {
		.flags = DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		.handle = s->fence->id,
		.timeline_value = s->point,
	};

	if (s->flags & ZW_SYNC_SIGNAL)
		op.flags |= (uint32_t)DRM_ZHENWU_SYNC_OP_SIGNAL;
	return op;
}

/* Fills in an array of the kernel's at ops. */
static struct drm_zhenwu_obj_array sync_array(const struct zw_sync *syncs, uint32_t count,
					      struct drm_zhenwu_sync_op *ops)
{
	if (!count)
		return (struct drm_zhenwu_obj_array){0}; /* an empty array is all zero */
	for (uint32_t i = 0; i < count; i++)
		ops[i] = sync_op(&syncs[i]);
	return (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(count, ops);
}

static int bind(struct zw_vm *vm, struct drm_zhenwu_vm_bind_op *ops, uint32_t count, uint32_t flags)
{
	struct drm_zhenwu_vm_bind b = {
		.vm_id = vm->id,
		.flags = flags,
		.ops = DRM_ZHENWU_OBJ_ARRAY(count, ops),
	};
	int ret = call(vm->dev, DRM_IOCTL_ZHENWU_VM_BIND, &b);

	/* no room for page tables */
	return ret == -ENOSPC ? -ENOMEM : ret;
}

static struct drm_zhenwu_vm_bind_op map_op(const struct zw_bo *bo, uint64_t offset, uint64_t va,
					   uint64_t bytes, uint32_t flags)
{
	struct drm_zhenwu_vm_bind_op op = {
		.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_MAP,
		.bo_handle = bo->id,
		.bo_offset = offset,
		.va = va,
		.size = bytes,
	};

	if (flags & ZW_VM_MAP_READONLY)
		op.flags |= DRM_ZHENWU_VM_BIND_OP_MAP_READONLY;
	return op;
}

static struct drm_zhenwu_vm_bind_op unmap_op(uint64_t va, uint64_t bytes)
{
	return (struct drm_zhenwu_vm_bind_op){
		.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP,
		.va = va,
		.size = bytes,
	};
}

static int drm_vm_map(struct zw_vm *vm, struct zw_bo *bo, uint64_t offset, uint64_t va,
		      uint64_t bytes, uint32_t flags)
{
	struct drm_zhenwu_vm_bind_op op = map_op(bo, offset, va, bytes, flags);

	return bind(vm, &op, 1, 0);
}

static int drm_vm_unmap(struct zw_vm *vm, uint64_t va, uint64_t bytes)
{
	struct drm_zhenwu_vm_bind_op op = unmap_op(va, bytes);

	return bind(vm, &op, 1, 0);
}

static struct drm_zhenwu_vm_bind_op bind_op(const struct zw_bind *b)
{
	switch (b->type) {
	case ZW_BIND_MAP:
		return map_op(b->bo, b->bo_offset, b->va, b->bytes, b->flags);
	case ZW_BIND_UNMAP:
		return unmap_op(b->va, b->bytes);
	default:
		return (struct drm_zhenwu_vm_bind_op){.flags =
							      DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY};
	}
}

static int drm_vm_bind(struct zw_vm *vm, const struct zw_bind *binds, uint32_t count)
{
	struct drm_zhenwu_vm_bind_op *ops;
	struct drm_zhenwu_sync_op *syncs;
	size_t total = 0;
	int ret;

	if (drm(vm->dev)->version < ASYNC_BIND_SINCE)
		return -EOPNOTSUPP;
	for (uint32_t i = 0; i < count; i++)
		total += binds[i].num_syncs;
	ops = calloc(1, count * sizeof(*ops) + total * sizeof(*syncs));
	if (!ops)
		return -ENOMEM;
	syncs = (void *)(ops + count);
	for (uint32_t i = 0; i < count; i++) {
		ops[i] = bind_op(&binds[i]);
		ops[i].syncs = sync_array(binds[i].syncs, binds[i].num_syncs, syncs);
		syncs += binds[i].num_syncs;
	}
	ret = bind(vm, ops, count, DRM_ZHENWU_VM_BIND_ASYNC);
	free(ops);
	return ret;
}

static int drm_vm_status(struct zw_vm *vm)
{
	struct drm_zhenwu_vm_get_state s = {.vm_id = vm->id};
	int ret = call(vm->dev, DRM_IOCTL_ZHENWU_VM_GET_STATE, &s);

	if (ret)
		return ret;
	return s.state == DRM_ZHENWU_VM_STATE_USABLE ? 0 : -ECANCELED;
}

/* -- fences ---------------------------------------------------------------------------------- */

static int drm_fence_create(struct zw_fence *fence)
{
	return drmSyncobjCreate(drm(fence->dev)->fd, 0, &fence->id) ? -errno : 0;
}

static void drm_fence_destroy(struct zw_fence *fence)
{
	drmSyncobjDestroy(drm(fence->dev)->fd, fence->id);
}

static int drm_fence_wait(struct zw_dev *dev, const struct zw_fence_point *points, uint32_t count,
			  bool any, int64_t deadline_ns, uint32_t *first)
{
	uint32_t handles[ZW_FENCE_WAIT_MAX], flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
	uint64_t values[ZW_FENCE_WAIT_MAX];
	int ret;

	for (uint32_t i = 0; i < count; i++) {
		handles[i] = points[i].fence->id;
		values[i] = points[i].point;
	}
	if (!any)
		flags |= DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL;
	ret = drmSyncobjTimelineWait(drm(dev)->fd, handles, values, count, deadline_ns, flags,
				     first);
	/* 2.4.114 returns -errno, newer ones may return -1 with errno */
	return ret == -1 ? -errno : ret;
}

static int drm_fence_query(struct zw_fence *fence, uint64_t *value)
{
	int ret = drmSyncobjQuery(drm(fence->dev)->fd, &fence->id, value, 1);

	return ret == -1 ? -errno : ret;
}

static int drm_fence_signal(struct zw_fence *fence, uint64_t point)
{
	int ret = drmSyncobjTimelineSignal(drm(fence->dev)->fd, &fence->id, &point, 1);

	return ret == -1 ? -errno : ret;
}

/* In the kernel since 6.6, in libdrm since 2.4.117. */
#ifndef DRM_IOCTL_SYNCOBJ_EVENTFD
struct drm_syncobj_eventfd {
	__u32 handle;
	__u32 flags;
	__u64 point;
	__s32 fd;
	__u32 pad;
};
#define DRM_IOCTL_SYNCOBJ_EVENTFD DRM_IOWR(0xCF, struct drm_syncobj_eventfd)
#endif

static int drm_fence_eventfd(struct zw_fence *fence, uint64_t point, int fd)
{
	struct drm_syncobj_eventfd e = {.handle = fence->id, .point = point, .fd = fd};
	int ret;

	if (!point) {
		/* the kernel takes 0 for "the latest" */
		uint64_t one = 1;

		return write(fd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
	}
	ret = call(fence->dev, DRM_IOCTL_SYNCOBJ_EVENTFD, &e);
	return ret == -ENOTTY ? -EOPNOTSUPP : ret;
}

static int drm_fence_export(struct zw_fence *fence, int *fd)
{
	return drmSyncobjHandleToFD(drm(fence->dev)->fd, fence->id, fd) ? -errno : 0;
}

static int drm_fence_import(struct zw_fence *fence, int fd)
{
	return drmSyncobjFDToHandle(drm(fence->dev)->fd, fd, &fence->id) ? -errno : 0;
}

/* Sync files are made of binary syncobjs: a point goes through one on its way. */
static int drm_fence_export_sync_file(struct zw_fence *fence, uint64_t point, int *fd)
{
	int drm_fd = drm(fence->dev)->fd, ret;
	uint32_t binary;

	if (drmSyncobjCreate(drm_fd, 0, &binary))
		return -errno;
	ret = drmSyncobjTransfer(drm_fd, binary, 0, fence->id, point, 0) ||
			      drmSyncobjExportSyncFile(drm_fd, binary, fd)
		      ? -errno
		      : 0;
	drmSyncobjDestroy(drm_fd, binary);
	return ret;
}

static int drm_fence_import_sync_file(struct zw_fence *fence, uint64_t point, int fd)
{
	int drm_fd = drm(fence->dev)->fd, ret;
	uint32_t binary;

	if (drmSyncobjCreate(drm_fd, 0, &binary))
		return -errno;
	ret = drmSyncobjImportSyncFile(drm_fd, binary, fd) ||
			      drmSyncobjTransfer(drm_fd, fence->id, point, binary, 0, 0)
		      ? -errno
		      : 0;
	drmSyncobjDestroy(drm_fd, binary);
	return ret;
}

/* The same syncobj under a handle of this device. */
static int drm_fence_foreign(struct zw_dev *dev, const struct zw_fence_point *theirs,
			     struct zw_fence_point *own)
{
	int fd, ret;

	if (theirs->fence->dev->ops != dev->ops)
		return -EOPNOTSUPP;
	ret = drm_fence_export(theirs->fence, &fd);
	if (ret)
		return ret;
	ret = zw_fence_import(dev, fd, &own->fence);
	close(fd);
	own->point = theirs->point;
	return ret;
}

/* -- queues ---------------------------------------------------------------------------------- */

static int queue_create(struct zw_queue *q, struct drm_zhenwu_queue_create *c)
{
	int ret = q->perf ? perf_begin(q->dev) : 0;

	if (ret)
		return ret;
	c->flags = q->perf ? DRM_ZHENWU_QUEUE_PERF : 0;
	ret = call(q->dev, DRM_IOCTL_ZHENWU_QUEUE_CREATE, c);
	if (ret)
		return ret == -EPERM ? -EACCES : ret;
	q->id = c->queue_id;
	atomic_fetch_add(&drm(q->dev)->queues, 1);
	return 0;
}

static int drm_queue_create(struct zw_queue *q, const struct zw_queue_options *opt)
{
	struct drm_zhenwu_queue_create c = {
		.vm_id = q->vm->id,
		.priority = opt->priority,
		.ring_slots = opt->ring_slots,
	};

	return queue_create(q, &c);
}

static void drm_queue_destroy(struct zw_queue *q)
{
	struct drm_zhenwu_queue_destroy d = {.queue_id = q->id};

	call(q->dev, DRM_IOCTL_ZHENWU_QUEUE_DESTROY, &d);
	atomic_fetch_sub(&drm(q->dev)->queues, 1);
	if (q->priv)
		munmap(q->priv, DOORBELL_BYTES);
}

static int drm_userq_create(struct zw_queue *q, const struct zw_queue_options *opt,
			    const struct userq_rings *rings)
{
	struct drm_zhenwu_queue_create c = {
		.vm_id = q->vm->id,
		.priority = opt->priority,
		.ring_slots = opt->ring_slots,
		.ring_va = rings->ring_va,
		.ctrl_va = rings->ctrl_va,
		.completions_va = rings->completions_va,
	};
	int ret = queue_create(q, &c);
	void *bell;

	if (ret)
		return ret;
	bell = mmap(NULL, DOORBELL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, drm(q->dev)->fd,
		    (off_t)c.doorbell_offset);
	if (bell == MAP_FAILED) {
		ret = -errno;
		drm_queue_destroy(q);
		return ret;
	}
	q->priv = bell;
	return 0;
}

/* The device sees the tail when it is rung: stores to memory come before those to registers. */
static void order_before_io(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dsb st" ::: "memory");
#else
	__sync_synchronize();
#endif
}

static void drm_userq_ring(struct zw_queue *q)
{
	order_before_io();
	*(volatile uint32_t *)q->priv = 1;
}

static int drm_userq_wait(struct zw_queue *q, const uint64_t *word, uint64_t value,
			  int64_t deadline_ns)
{
	struct drm_zhenwu_queue_wait w = {
		.queue_id = q->id,
		.addr = (uintptr_t)word,
		.value = value,
		.timeout_ns = deadline_ns < 0 ? 0 : deadline_ns,
	};
	int ret = call(q->dev, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w);

	/* destroyed meanwhile */
	return ret == -ENOENT ? -ECANCELED : ret;
}

static int drm_queue_submit(struct zw_queue *q, const struct zw_job *jobs, uint32_t count,
			    const struct zw_sync *tail)
{
	struct drm_zhenwu_job *kj;
	struct drm_zhenwu_sync_op *ops;
	struct drm_zhenwu_submit s = {.queue_id = q->id};
	uint32_t total = 1;
	int ret;

	for (uint32_t i = 0; i < count; i++)
		total += jobs[i].num_syncs;
	kj = calloc(1, count * sizeof(*kj) + total * sizeof(*ops));
	if (!kj)
		return -ENOMEM;
	ops = (void *)(kj + count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t n = jobs[i].num_syncs;

		kj[i].cmd_va = jobs[i].cmd_va;
		kj[i].cmd_bytes = jobs[i].cmd_bytes;
		kj[i].result_va = jobs[i].result_va;
		kj[i].syncs = sync_array(jobs[i].syncs, n, ops);
		if (i == count - 1) {
			ops[n++] = sync_op(tail);
			kj[i].syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(n, ops);
		}
		ops += n;
	}
	s.jobs.stride = sizeof(*kj);
	s.jobs.count = count;
	s.jobs.array = (uintptr_t)kj;
	ret = call(q->dev, DRM_IOCTL_ZHENWU_SUBMIT, &s);
	free(kj);
	return ret;
}

static int drm_queue_get_error(struct zw_queue *q, struct zw_queue_error *e)
{
	struct drm_zhenwu_queue_get_state s = {.queue_id = q->id};
	int ret = call(q->dev, DRM_IOCTL_ZHENWU_QUEUE_GET_STATE, &s);

	if (ret)
		return ret;
	if (s.state & DRM_ZHENWU_QUEUE_STATE_FAILED)
		e->state |= ZW_QUEUE_FAILED;
	if (s.state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT)
		e->state |= ZW_QUEUE_TIMEDOUT;
	if (s.state & DRM_ZHENWU_QUEUE_STATE_INNOCENT)
		e->state |= ZW_QUEUE_INNOCENT;
	if (s.state & DRM_ZHENWU_QUEUE_STATE_FLR)
		e->state |= ZW_QUEUE_FLR;
	if (s.state & DRM_ZHENWU_QUEUE_STATE_REMOVED)
		e->state |= ZW_QUEUE_REMOVED;
	e->status = s.status;
	e->reason = s.reason;
	e->packet_index = s.packet_index;
	e->fault_access = s.fault_access;
	e->fault_va = s.fault_va;
	e->failed_job = s.failed_seqno;
	e->submitted = s.submitted;
	e->completed = s.completed;
	return 0;
}

static int drm_queue_get_perf(struct zw_queue *q, struct zw_queue_perf *p)
{
	struct drm_zhenwu_queue_perf k;
	int ret = query_object(q->dev, DRM_ZHENWU_DEV_QUERY_PERF, q->id, &k, sizeof(k));

	if (ret)
		return ret;
	_Static_assert(sizeof(p->busy_ps) == sizeof(k.busy_ps) &&
			       sizeof(p->port_busy_ps) == sizeof(k.port_busy_ps) &&
			       sizeof(p->wait_ps) == sizeof(k.wait_ps),
		       "sums of the kernel are sums of the API");
	p->job = k.job;
	p->end_ps = k.end_ps;
	p->packets = k.packets;
	memcpy(p->busy_ps, k.busy_ps, sizeof(p->busy_ps));
	memcpy(p->port_busy_ps, k.port_busy_ps, sizeof(p->port_busy_ps));
	memcpy(p->wait_ps, k.wait_ps, sizeof(p->wait_ps));
	p->energy_pj = k.energy_pj;
	p->ops = k.ops;
	p->hbm_bytes = k.hbm_bytes;
	p->sys_bytes = k.sys_bytes;
	return 0;
}

static const struct transport_ops drm_ops = {
	.name = "drm",
	.get_attrs = drm_get_attrs,
	.get_counters = drm_get_counters,
	.read_trace = drm_read_trace,
	.set_telemetry = drm_set_telemetry,
	.read_telemetry = drm_read_telemetry,
	.close = drm_close,
	.bo_create = drm_bo_create,
	.bo_from_ptr = drm_bo_from_ptr,
	.bo_destroy = drm_bo_destroy,
	.bo_map = drm_bo_map,
	.bo_unmap = drm_bo_unmap,
	.bo_wait = drm_bo_wait,
	.bo_set_label = drm_bo_set_label,
	.bo_export = drm_bo_export,
	.bo_import = drm_bo_import,
	.vm_create = drm_vm_create,
	.vm_destroy = drm_vm_destroy,
	.vm_map = drm_vm_map,
	.vm_unmap = drm_vm_unmap,
	.vm_bind = drm_vm_bind,
	.vm_status = drm_vm_status,
	.fence_create = drm_fence_create,
	.fence_destroy = drm_fence_destroy,
	.fence_wait = drm_fence_wait,
	.fence_query = drm_fence_query,
	.fence_signal = drm_fence_signal,
	.fence_eventfd = drm_fence_eventfd,
	.fence_export = drm_fence_export,
	.fence_import = drm_fence_import,
	.fence_export_sync_file = drm_fence_export_sync_file,
	.fence_import_sync_file = drm_fence_import_sync_file,
	.fence_foreign = drm_fence_foreign,
	.queue_create = drm_queue_create,
	.queue_destroy = drm_queue_destroy,
	.queue_submit = drm_queue_submit,
	.queue_get_error = drm_queue_get_error,
	.queue_get_perf = drm_queue_get_perf,
	.userq_create = drm_userq_create,
	.userq_ring = drm_userq_ring,
	.userq_wait = drm_userq_wait,
};

/* -- opening --------------------------------------------------------------------------------- */

static int open_entry(struct zw_dev *dev, const struct zw_dev_entry *e,
		      const struct zw_dev_options *opt, struct zw_error *err)
{
	struct drm_zhenwu_dev_info info;
	struct drm_dev *d;
	uint32_t major, minor;
	int ret, fd = zw_rt_drm_probe(e->node, &major, &minor);

	if (fd < 0)
		return zw_rt_error(err, fd, "%s: cannot open %s: %s", e->spec, e->node,
				   strerror(-fd));
	if (major != DRIVER_MAJOR || (major << 16 | minor) < DRIVER_NEEDED) {
		close(fd);
		return zw_rt_error(err, -ENODEV,
				   "%s: driver version %u.%u, %u.%u or a later %u.x needed",
				   e->spec, major, minor, DRIVER_MAJOR, DRIVER_MINOR, DRIVER_MAJOR);
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		close(fd);
		return zw_rt_error(err, -ENOMEM, "out of memory");
	}
	d->fd = fd;
	d->version = major << 16 | minor;
	zw_drm_handles_init(&d->handles, fd);
	pthread_mutex_init(&d->perf_lock, NULL);
	dev->priv = d;
	dev->ops = &drm_ops;
	dev->transport = ZW_TRANSPORT_DRM;
	memcpy(dev->spec, e->spec, sizeof(dev->spec));
	ret = query(dev, DRM_ZHENWU_DEV_QUERY_INFO, &info, sizeof(info));
	if (ret) {
		zw_rt_error(err, ret, "%s: device query failed: %s", e->spec, strerror(-ret));
	} else if (ZW_ABI_VERSION_MAJOR(info.abi_version) != ZW_ABI_MAJOR) {
		ret = zw_rt_error(err, -ENODEV, "%s: device ABI %u.%u, %u.x needed", e->spec,
				  ZW_ABI_VERSION_MAJOR(info.abi_version),
				  ZW_ABI_VERSION_MINOR(info.abi_version), ZW_ABI_MAJOR);
	} else if (opt->profile &&
		   strncmp(opt->profile, info.profile_name, sizeof(info.profile_name))) {
		ret = zw_rt_error(err, -ENODEV, "%s: the device is a %.16s, not a %.16s", e->spec,
				  info.profile_name, opt->profile);
	}
	dev->va_start = info.va_start;
	dev->va_end = info.va_end;
	if (!ret && (opt->flags & ZW_DEV_TRACE))
		ret = trace_begin(dev, err);
	if (ret)
		drm_close(dev);
	else
		zw_rt_log(dev, ZW_DEV_LOG_INFO, "%s: %s (%s), driver %u.%u", e->spec, e->node,
			  e->bus, major, minor);
	return ret;
}

int zw_rt_drm_open(struct zw_dev *dev, const char *sysfs, const char *devfs, int index,
		   const struct zw_dev_options *opt, struct zw_error *err)
{
	struct zw_dev_entry list[64];
	size_t max = sizeof(list) / sizeof(list[0]);
	int ret = -ENODEV;
	int count = zw_rt_drm_list(sysfs, devfs, getenv("ZW_VISIBLE_DEVICES"), list, max);

	if (count == -EINVAL)
		return zw_rt_error(err, count,
				   "ZW_VISIBLE_DEVICES is no list of numbers and PCI addresses");
	if (count < 0)
		return zw_rt_error(err, count, "cannot list accelerators: %s", strerror(-count));
	if (count > (int)max)
		count = (int)max;
	if (!count)
		return zw_rt_error(err, index < 0 ? -ENXIO : -ENODEV,
				   "no zhenwu accelerator node (is the driver loaded?)");
	if (index >= count)
		return zw_rt_error(err, -ENODEV, "drm:%d: there are only %d devices", index, count);
	if (index >= 0)
		return open_entry(dev, &list[index], opt, err);
	/* The first that opens; when none does, what was wrong with the last. */
	for (int i = 0; i < count && ret; i++)
		ret = open_entry(dev, &list[i], opt, err);
	return ret == -ENOENT || ret == -ENXIO ? -ENODEV : ret;
}
