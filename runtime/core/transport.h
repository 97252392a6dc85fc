/* SPDX-License-Identifier: MIT */
/*
 * The seam between the API and the way a device is reached.
 *
 * The files above it (dev.c, bo.c, vm.c, queue.c) check arguments, hand out addresses and fence
 * points, and do not know what is below. A transport (drm.c, sim_*.c) carries operations out and
 * trusts their form. Both report the same errors for the same mistakes; the tests run over either.
 */
#ifndef ZW_RT_TRANSPORT_H
#define ZW_RT_TRANSPORT_H

#include <pthread.h>
#include <stdatomic.h>

#include "../common/sized.h"
#include "zhenwu/zhenwu.h"

/* Addresses of the rings of a user-mode queue in its VM. */
struct userq_rings {
	uint64_t ring_va, ctrl_va, completions_va;
};

struct transport_ops {
	const char *name;
	/* all fields of *a are zero; spec, transport and name are filled in above */
	int (*get_attrs)(struct zw_dev *dev, struct zw_dev_attrs *a);
	int (*get_counters)(struct zw_dev *dev, struct zw_dev_counters *c);
	/* Records of record_size bytes. -EOPNOTSUPP: opened without ZW_DEV_TRACE. */
	int (*read_trace)(struct zw_dev *dev, void *records, size_t max, size_t record_size,
			  uint64_t *lost);
	int (*set_telemetry)(struct zw_dev *dev, uint32_t interval_us); /* in range or 0 */
	/* 1 to ZW_RT_MAX_SAMPLES records, sample_size bytes apart. Writes *seq and *lost on success. */
	int (*read_telemetry)(struct zw_dev *dev, void *samples, uint32_t max, size_t sample_size,
			      uint64_t *seq, uint64_t *lost, int64_t deadline_ns);
	void (*close)(struct zw_dev *dev); /* no child exists; frees priv */

	int (*bo_create)(struct zw_bo *bo);   /* size, flags, vm set */
	int (*bo_from_ptr)(struct zw_bo *bo); /* size, flags, user set */
	void (*bo_destroy)(struct zw_bo *bo);
	int (*bo_map)(struct zw_bo *bo, void **ptr); /* called once */
	void (*bo_unmap)(struct zw_bo *bo, void *ptr);
	int (*bo_wait)(struct zw_bo *bo, int64_t deadline_ns);
	int (*bo_set_label)(struct zw_bo *bo, const char *label);
	int (*bo_export)(struct zw_bo *bo, int *fd);
	int (*bo_import)(struct zw_bo *bo, int fd); /* fills in size and flags */

	int (*vm_create)(struct zw_vm *vm);   /* flags set */
	void (*vm_destroy)(struct zw_vm *vm); /* no queue uses it */
	int (*vm_map)(struct zw_vm *vm, struct zw_bo *bo, uint64_t offset, uint64_t va,
		      uint64_t bytes, uint32_t flags);
	int (*vm_unmap)(struct zw_vm *vm, uint64_t va, uint64_t bytes);
	/*
	 * ops are checked and of this library's size. No vm_map or vm_unmap of the VM is under way.
	 * Called under dev->submit_lock: waits for no job.
	 */
	int (*vm_bind)(struct zw_vm *vm, const struct zw_bind *ops, uint32_t count);
	int (*vm_status)(struct zw_vm *vm);

	int (*fence_create)(struct zw_fence *fence);
	void (*fence_destroy)(struct zw_fence *fence);
	/* all fences are of this device; *first set for ANY */
	int (*fence_wait)(struct zw_dev *dev, const struct zw_fence_point *points, uint32_t count,
			  bool any, int64_t deadline_ns, uint32_t *first);
	int (*fence_query)(struct zw_fence *fence, uint64_t *value);
	int (*fence_signal)(struct zw_fence *fence, uint64_t point);
	int (*fence_eventfd)(struct zw_fence *fence, uint64_t point, int fd);
	/* these four may be NULL: -EOPNOTSUPP */
	int (*fence_export)(struct zw_fence *fence, int *fd);
	int (*fence_import)(struct zw_fence *fence, int fd);
	int (*fence_export_sync_file)(struct zw_fence *fence, uint64_t point, int *fd);
	int (*fence_import_sync_file)(struct zw_fence *fence, uint64_t point, int fd);
	/*
	 * Makes `own`, a fence of this device, and a point of it that is reached when a point of
	 * another device's fence is. The caller destroys it after the submit. -EOPNOTSUPP
	 */
	int (*fence_foreign)(struct zw_dev *dev, const struct zw_fence_point *theirs,
			     struct zw_fence_point *own);

	int (*queue_create)(struct zw_queue *queue, const struct zw_queue_options *opt);
	void (*queue_destroy)(struct zw_queue *queue);
	/*
	 * jobs are checked and of this library's size. tail is signalled with the last job, besides
	 * the job's own syncs. Called under dev->submit_lock.
	 */
	int (*queue_submit)(struct zw_queue *queue, const struct zw_job *jobs, uint32_t count,
			    const struct zw_sync *tail);
	int (*queue_get_error)(struct zw_queue *queue, struct zw_queue_error *info);
	int (*queue_get_perf)(struct zw_queue *queue, struct zw_queue_perf *perf); /* it counts */
	/*
	 * User-mode queues (userq.c); NULL: -EOPNOTSUPP. queue_destroy and queue_get_error serve them,
	 * too. ring: the doorbell. wait: until a word that the device writes is at least `value`; 0,
	 * -ETIME, -ECANCELED when the queue was stopped before, -ENODEV.
	 */
	int (*userq_create)(struct zw_queue *queue, const struct zw_queue_options *opt,
			    const struct userq_rings *rings);
	void (*userq_ring)(struct zw_queue *queue);
	int (*userq_wait)(struct zw_queue *queue, const uint64_t *word, uint64_t value,
			  int64_t deadline_ns);
	/** Optional: lets go who is in userq_wait() (-ECANCELED), and who comes later. With it, none is when
	 *  the queue is destroyed; without, destroying does that. */
	void (*userq_stop)(struct zw_queue *queue);
};

struct zw_dev {
	const struct transport_ops *ops;
	void *priv;
	void (*log)(void *opaque, enum zw_dev_log_level level, const char *msg);
	void *log_opaque;
	enum zw_dev_log_level log_level; /* lines above it are dropped */
	_Atomic unsigned int children;
	uint64_t va_start, va_end; /* what can be mapped */
	char spec[16];
	bool trace;         /* ZW_DEV_TRACE */
	uint64_t dtypes;    /* ZW_DT() set of what it computes with */
	uint32_t transport; /* enum zw_transport_id */
	/* Fence points of a device are handed out under this lock, in the order of submission. */
	pthread_mutex_t submit_lock;
	pthread_cond_t submitted; /* to a user-mode queue; CLOCK_MONOTONIC */
	_Atomic unsigned int user_queues;
};

struct zw_bo {
	struct zw_dev *dev;
	struct zw_vm *vm; /* the only one it may be mapped in; NULL: any */
	uint64_t size;
	uint32_t flags;
	void *user; /* ZW_BO_USERPTR: where it is */
	uint32_t id;
	void *priv;
	pthread_mutex_t lock; /* of ptr */
	void *ptr;
};

struct va_hole {
	uint64_t start, end;
	struct va_hole *next;
};

struct va_block {
	uint64_t start, bytes;
	struct va_block *next;
};

struct zw_vm {
	struct zw_dev *dev;
	uint32_t id;
	uint32_t flags; /* enum zw_vm_flags */
	void *priv;
	_Atomic unsigned int users; /* queues, and buffers of zw_buffer_create() */
	/* Held by every call that maps or unmaps. Outside of dev->submit_lock. */
	pthread_mutex_t bind_lock;
	pthread_mutex_t lock;    /* of the address allocator */
	struct va_hole *holes;   /* sorted, coalesced */
	struct va_block *blocks; /* what zw_vm_map_auto() handed out */
};

struct zw_fence {
	struct zw_dev *dev;
	uint32_t id;
	void *priv;
	uint64_t last; /* highest point given out; dev->submit_lock */
	bool imported; /* others give out points, too */
	struct user_points
		*user; /* points of user-mode queues; dev->submit_lock; NULL: none ever */
};

struct zw_queue {
	struct zw_dev *dev;
	struct zw_vm *vm;
	uint32_t id;
	uint32_t slots;
	bool perf; /* counts what it does */
	void *priv;
	struct zw_fence *done; /* its own timeline: one point per submit */
	struct userq *user;    /* NULL: the ring is the transport's */
};

/*
 * Fills in dev->ops and dev->priv. sysfs, devfs: as for zw_rt_drm_list(). index: N of "drm:N", or -1 for the first that opens; then -ENXIO
 * says that there is none at all.
 */
int zw_rt_drm_open(struct zw_dev *dev, const char *sysfs, const char *devfs, int index,
		   const struct zw_dev_options *opt, struct zw_error *err);
int zw_rt_sim_open(struct zw_dev *dev, const struct zw_dev_options *opt, struct zw_error *err);

#define ZW_RT_MAX_SAMPLES 1024u

/* Most accelerator nodes the kernel makes: minors of accel are 0..255. */
#define ZW_RT_MAX_NODES 256

/* zw_bo_create() of a buffer that only vm maps; NULL: any. */
int zw_rt_bo_create(struct zw_dev *dev, struct zw_vm *vm, uint64_t size, uint32_t flags,
		    struct zw_bo **out);

/* Device nodes below a sysfs root ("/sys") and a device root ("/dev"); `visible` as in
 * ZW_VISIBLE_DEVICES, NULL: all. */
int zw_rt_drm_list(const char *sysfs, const char *devfs, const char *visible,
		   struct zw_dev_entry *entries, size_t max);

/* One line to the device's log. */
__attribute__((format(printf, 3, 4))) void
zw_rt_log(struct zw_dev *dev, enum zw_dev_log_level level, const char *fmt, ...);
/* One line into err, which may be NULL; returns code. */
__attribute__((format(printf, 3, 4))) int zw_rt_error(struct zw_error *err, int code,
						      const char *fmt, ...);

#endif
