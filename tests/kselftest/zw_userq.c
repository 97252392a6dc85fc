// SPDX-License-Identifier: MIT
#include "zw_userq.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint32_t zw_vm_lr(int fd)
{
	struct drm_zhenwu_vm_create c = {.flags = DRM_ZHENWU_VM_CREATE_LR};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_VM_CREATE, &c) ? 0 : c.id;
}

struct drm_zhenwu_queue_create zw_userq_args(uint32_t vm, uint32_t slots)
{
	return (struct drm_zhenwu_queue_create){
		.vm_id = vm,
		.priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL,
		.ring_slots = slots,
		.ring_va = UQ_VA + UQ_RING,
		.ctrl_va = UQ_VA + UQ_CTRL,
		.completions_va = UQ_VA + UQ_DONE,
	};
}

static bool make_queue(struct zw_userq *u)
{
	struct drm_zhenwu_queue_create c = zw_userq_args(u->vm, u->slots);
	void *p;

	memset(u->mem.ptr, 0, UQ_DATA);
	u->seq = 0;
	if (zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c))
		return false;
	u->queue = c.queue_id;
	u->offset = c.doorbell_offset;
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, (off_t)u->offset);
	if (p == MAP_FAILED)
		return false;
	u->bell = p;
	return true;
}

bool zw_userq_open(struct zw_userq *u, uint32_t slots)
{
	*u = (struct zw_userq){.fd = zw_open(), .slots = slots ? slots : 64};
	if (u->fd < 0)
		return false;
	u->vm = zw_vm_lr(u->fd);
	if (!u->vm || !zw_buf(u->fd, u->vm, UQ_BYTES, DRM_ZHENWU_BO_SYSTEM, UQ_VA, &u->mem))
		return false;
	u->ring = (void *)((char *)u->mem.ptr + UQ_RING);
	u->done = (void *)((char *)u->mem.ptr + UQ_DONE);
	u->ctrl = (void *)((char *)u->mem.ptr + UQ_CTRL);
	return make_queue(u);
}

bool zw_userq_again(struct zw_userq *u)
{
	if (u->bell)
		munmap((void *)u->bell, 4096);
	u->bell = NULL;
	return make_queue(u);
}

void zw_userq_close(struct zw_userq *u)
{
	if (u->bell)
		munmap((void *)u->bell, 4096);
	if (u->mem.ptr)
		munmap(u->mem.ptr, u->mem.size);
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
}

void zw_userq_put(struct zw_userq *u, uint64_t cmd_va, uint32_t cmd_bytes, uint64_t result_va,
		  uint32_t flags)
{
	uint64_t seq = ++u->seq;

	u->ring[seq & (u->slots - 1)] = (struct zw_ring_entry){
		.seqno = seq,
		.cmd_va = cmd_va,
		.cmd_bytes = cmd_bytes,
		.flags = flags,
		.result_va = result_va,
		.cookie = seq,
	};
}

void zw_userq_ring(struct zw_userq *u)
{
	__atomic_store_n(&u->ctrl->tail, (uint32_t)u->seq, __ATOMIC_RELEASE);
	*u->bell = 1;
}

bool zw_userq_poll(const struct zw_userq *u, uint64_t seq)
{
	int64_t end = zw_deadline(LONG_WAIT_NS);

	while (zw_userq_slot(u, seq) < seq) {
		if (zw_deadline(0) > end)
			return false;
	}
	return true;
}

int zw_userq_wait(const struct zw_userq *u, uint64_t seq, int64_t timeout_ns)
{
	struct drm_zhenwu_queue_wait w = {
		.queue_id = u->queue,
		.addr = (uintptr_t)&u->done[seq & (u->slots - 1)].seqno,
		.value = seq,
		.timeout_ns = timeout_ns ? zw_deadline(timeout_ns) : 0,
	};

	return zw_ioctl(u->fd, DRM_IOCTL_ZHENWU_QUEUE_WAIT, &w);
}

void zw_userq_wake(struct zw_userq *u, uint64_t seq)
{
	__atomic_store_n(&u->ctrl->wake, (uint32_t)seq, __ATOMIC_RELEASE);
	*u->bell = 1;
}

bool zw_userq_works(struct zw_userq *u)
{
	uint32_t pos = 0, want = (uint32_t)u->seq + 0x1000;

	zw_put_fill(zw_userq_at(u, 0), &pos, zw_userq_va(u, 4096), 4, want);
	zw_userq_put(u, zw_userq_va(u, 0), pos, 0, 0);
	zw_userq_ring(u);
	return zw_userq_poll(u, u->seq) && u->done[u->seq & (u->slots - 1)].status == ZW_JOB_OK &&
	       *(volatile uint32_t *)zw_userq_at(u, 4096) == want;
}
