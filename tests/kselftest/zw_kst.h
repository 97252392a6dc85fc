/* SPDX-License-Identifier: MIT */
/*
 * Helpers of the zhenwu kselftests. They speak the ioctls of uapi/drm/zhenwu_accel.h directly,
 * without libzhenwu: it is the kernel that is under test.
 */
#ifndef ZW_KST_H
#define ZW_KST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <drm.h>
#include <xf86drm.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu/zw_queue.h"

#define KSFT_SKIP_NO_DEVICE "no zhenwu accel device"
#define MIB                 (1ull << 20)
/* Waits are bounded, but say nothing about speed: an emulated machine may be slow. */
#define LONG_WAIT_NS        (60ll * 1000000000ll)

/* First accel node whose driver is zhenwu, opened; -1 when there is none. path may be NULL. */
int zw_open_path(char *path, size_t len);
int zw_open(void);
/* The device with that number, from 0 on, in the order of their nodes; -1 when there are not so many. */
int zw_open_number(unsigned int n);
/* The sysfs folder of its PCI device, e.g. /sys/bus/pci/devices/0000:01:00.0; -1 when there is
 * none. */
int zw_pci_path(char *path, size_t len);

/* One ioctl; 0 or -errno. */
int zw_ioctl(int fd, unsigned long request, void *arg);

int zw_info(int fd, struct drm_zhenwu_dev_info *info);
uint32_t zw_vm(int fd); /* 0 on failure */
int zw_vm_destroy(int fd, uint32_t vm);
uint32_t zw_bo(int fd, uint64_t size, uint32_t flags); /* 0 on failure */
/* The same once others, who are just being killed, have let go; waits for at most a minute. */
uint32_t zw_bo_patiently(int fd, uint64_t size, uint32_t flags);
int zw_bo_close(int fd, uint32_t bo);
void *zw_map(int fd, uint32_t bo, uint64_t size); /* NULL on failure */
int zw_bind(int fd, uint32_t vm, uint32_t bo, uint64_t bo_off, uint64_t va, uint64_t size,
	    uint32_t flags);
int zw_unbind(int fd, uint32_t vm, uint64_t va, uint64_t size);
uint32_t zw_queue(int fd, uint32_t vm); /* 0 on failure */
int zw_queue_destroy(int fd, uint32_t queue);
int zw_queue_state(int fd, uint32_t queue, struct drm_zhenwu_queue_get_state *st);

/* A buffer with its mapping and address, made in one go. Fails by returning false, errno set. */
struct zw_buf {
	uint32_t bo;
	uint64_t size, va;
	void *ptr;
};
bool zw_buf(int fd, uint32_t vm, uint64_t size, uint32_t flags, uint64_t va, struct zw_buf *b);

/* Submits one job that signals point `out` of timeline syncobj `timeline` (0: none). 0 or -errno.
 */
int zw_submit(int fd, uint32_t queue, uint64_t cmd_va, uint32_t cmd_bytes, uint64_t result_va,
	      uint32_t timeline, uint64_t out);
/* Submits one job with these sync operations. 0 or -errno. */
int zw_submit_syncs(int fd, uint32_t queue, uint64_t cmd_va, uint32_t cmd_bytes,
		    struct drm_zhenwu_sync_op *syncs, uint32_t n);
/* Waits for a point. 0, -ETIME, or -errno; says nothing about how the job ended. */
int zw_wait(int fd, uint32_t timeline, uint64_t point, int64_t timeout_ns);
int64_t zw_deadline(int64_t from_now_ns);
/* Interrupts of the device so far, of all its vectors. */
unsigned long zw_interrupts(void);
/* Waits until none has come for so long; false when they do not end. */
bool zw_quiet(unsigned int ms);
/*
 * How the fence of a point submitted by zw_submit ended: 1 well, 0 not yet, -errno its error. Works
 * for the last 256 submissions, whatever came behind them, and after the device is gone.
 */
int zw_fence_status(int fd, uint32_t timeline, uint64_t point);
/* The same after waiting for it on its sync file; 0 when the time ran out. */
int zw_fence_status_wait(int fd, uint32_t timeline, uint64_t point, int64_t timeout_ns);
/* Cleared where zw_submit is measured: keeping the fences takes ioctls of its own. */
extern bool zw_keep_fences;

/* Packets, appended at *pos of a command buffer. */
void zw_put_fill(void *cmd, uint32_t *pos, uint64_t dst, uint64_t bytes, uint32_t pattern);
void zw_put_copy(void *cmd, uint32_t *pos, uint64_t dst, uint64_t src, uint64_t bytes);
void zw_put_sem(void *cmd, uint32_t *pos, uint16_t op, uint64_t va, uint64_t value);
void zw_put_raw(void *cmd, uint32_t *pos, uint16_t op, uint16_t size);

/* A whole client: file, VM, queue, a command buffer and a timeline. */
struct zw_client {
	int fd;
	uint32_t vm, queue, timeline;
	uint64_t point;    /* of the last submission */
	struct zw_buf cmd; /* 64 KiB of system memory at 16 MiB */
	uint32_t pos;      /* write position in it */
};
bool zw_client_open(struct zw_client *c);
/* The same of an open device, which it closes. */
bool zw_client_open_fd(struct zw_client *c, int fd);
void zw_client_close(struct zw_client *c);
/* Submits what was written since `from` and waits. 0 or -errno of submit or wait. */
int zw_client_run(struct zw_client *c, uint32_t from);
int zw_client_submit(struct zw_client *c, uint32_t from, uint64_t result_va);
/* How the last job of a client ended, as zw_fence_status(); 0: it did not, in a long time. */
int zw_client_outcome(struct zw_client *c);
/* A fill of a client's runs well, and did what it was to do. */
bool zw_client_works(struct zw_client *c);
/* The same with a new queue on its VM, in place of one that failed. */
bool zw_client_goes_on(struct zw_client *c);
/* A new client can be made, and works, at the latest at that try; they are 100 ms apart. */
bool zw_fresh_client_works(unsigned int tries);
#define PATIENT_TRIES 300
/* A job that waits for a semaphore nobody signals. */
int zw_client_submit_stuck(struct zw_client *c);
/* How often the device was reset; 0 when it does not say. */
uint32_t zw_reset_count(struct zw_client *c);
/* Why, and what helped; nonsense when it does not say. */
struct drm_zhenwu_dev_resets zw_resets(int fd);

/*
 * HBM or DMA address of the start of a buffer of this size, which no other has; 0 when debugfs does
 * not say. DMA addresses are whatever the device uses, with an IOMMU or without.
 */
uint64_t zw_bo_address(uint64_t size);

/* Small file access for sysfs. 0 or -errno. */
int zw_write_file(const char *path, const char *text);
int zw_read_file(const char *path, char *buf, size_t len);
/* What an environment variable says: how often something is done. */
uint64_t zw_number_of(const char *name, uint64_t otherwise);

/*
 * The test VM's host (Documentation/testing.md). zw_host: one QMP command, one line each way; 0 or
 * -errno. zw_inject: arms a fault of the device (Documentation/device/faults.md), the same.
 * zw_counter: one of the device's counters, UINT64_MAX on failure.
 */
bool zw_has_host(void);
int zw_host(const char *qmp);
uint64_t zw_counter(const char *name);
int zw_inject(const char *fault);

#endif /* ZW_KST_H */
