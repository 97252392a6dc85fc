/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_BIND_QUEUE_H__
#define __ZHENWU_BIND_QUEUE_H__

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

struct dma_fence;
struct zhenwu_bind;
struct zhenwu_vm;

/**
 * struct zhenwu_bind_queue - binds of a VM that were asked for and are not over
 */
struct zhenwu_bind_queue {
	/** @lock: Protects the lists and @num. */
	spinlock_t lock;

	/** @waiting: Asynchronous binds that are to be done, in order. */
	struct list_head waiting;

	/** @done: Those that are done and have not given back what they took out. */
	struct list_head done;

	/**
	 * @num: Binds, synchronous ones included, that are under way: from when their buffer must
	 * not move any more to when they have given back everything. Grows under the reservation of
	 * the VM.
	 */
	unsigned int num;

	/** @idle: Woken when @num becomes 0. */
	wait_queue_head_t idle;

	/** @run: Does those whose turn it is; what fences wait for. */
	struct work_struct run;

	/** @release: Gives back what those took out; takes reservations. */
	struct work_struct release;

	/** @fence_ctx: Context of their fences. */
	u64 fence_ctx;

	/** @seqno: Number of the last fence that was made; under the lock of the VM. */
	u64 seqno;

	/** @stopped: The VM has no users any more: those that wait are cancelled. */
	bool stopped;
};

void zhenwu_bind_queue_init(struct zhenwu_bind_queue *queue);
void zhenwu_bind_queue_stop(struct zhenwu_vm *vm);
void zhenwu_bind_queue_enter(struct zhenwu_vm *vm);
void zhenwu_bind_queue_leave(struct zhenwu_vm *vm);
int zhenwu_bind_queue_wait_idle(struct zhenwu_vm *vm);
bool zhenwu_bind_queue_busy(struct zhenwu_vm *vm);
struct dma_fence *zhenwu_bind_queue_create_fence(struct zhenwu_vm *vm);
void zhenwu_bind_queue_push(struct zhenwu_bind *bind);

#endif /* __ZHENWU_BIND_QUEUE_H__ */
