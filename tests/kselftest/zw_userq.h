/* SPDX-License-Identifier: MIT */
/* A user-mode queue by the ioctls and the rings themselves, for kselftests and benchmarks. */
#ifndef ZW_USERQ_H
#define ZW_USERQ_H

#include "zw_kst.h"

/* Places in its memory: rings of up to 1024 slots, results, commands and data of the test's own. */
#define UQ_RING  0u
#define UQ_DONE  65536u
#define UQ_CTRL  131072u
#define UQ_DATA  (UQ_CTRL + 4096u)
#define UQ_BYTES (512u << 10)
#define UQ_VA    (32 * MIB)

struct zw_userq {
	int fd;
	uint32_t vm, queue, slots;
	struct zw_buf mem; /* UQ_BYTES of system memory at UQ_VA */
	struct zw_ring_entry *ring;
	struct zw_completion *done;
	struct zw_ring_ctrl *ctrl;
	volatile uint32_t *bell;
	uint64_t offset; /* of the doorbell */
	uint64_t seq;    /* of the last job put into the ring */
};

uint32_t zw_vm_lr(int fd); /* 0 on failure */
/* What QUEUE_CREATE gets for a queue of these slots on a VM with the memory mapped at UQ_VA. */
struct drm_zhenwu_queue_create zw_userq_args(uint32_t vm, uint32_t slots);
/* File, long-running VM, memory, queue, doorbell. slots 0: 64. */
bool zw_userq_open(struct zw_userq *u, uint32_t slots);
/* A queue on the VM and the memory of one whose queue is gone. Its doorbell is unmapped first. */
bool zw_userq_again(struct zw_userq *u);
void zw_userq_close(struct zw_userq *u);

/* Puts a job into the ring; nothing is rung. */
void zw_userq_put(struct zw_userq *u, uint64_t cmd_va, uint32_t cmd_bytes, uint64_t result_va,
		  uint32_t flags);
/* Publishes what was put and rings. */
void zw_userq_ring(struct zw_userq *u);
/* Number of the last job that is seen to have ended in this slot. */
static inline uint64_t zw_userq_slot(const struct zw_userq *u, uint64_t seq)
{
	return __atomic_load_n(&u->done[seq & (u->slots - 1)].seqno, __ATOMIC_ACQUIRE);
}
/* Looks until a job has ended; false after a minute. */
bool zw_userq_poll(const struct zw_userq *u, uint64_t seq);
/* One QUEUE_WAIT for the end of a job. 0 or -errno. */
int zw_userq_wait(const struct zw_userq *u, uint64_t seq, int64_t timeout_ns);
/* Asks for an interrupt at the end of a job. */
void zw_userq_wake(struct zw_userq *u, uint64_t seq);
/* A fill runs well and did what it was to do. */
bool zw_userq_works(struct zw_userq *u);
/* Address and pointer of a byte of UQ_DATA. */
static inline uint64_t zw_userq_va(const struct zw_userq *u, uint32_t at)
{
	return u->mem.va + UQ_DATA + at;
}
static inline void *zw_userq_at(const struct zw_userq *u, uint32_t at)
{
	return (char *)u->mem.ptr + UQ_DATA + at;
}

#endif /* ZW_USERQ_H */
