/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_GATE_H__
#define __ZHENWU_GATE_H__

#include <linux/atomic.h>
#include <linux/list.h>

struct dma_fence;

/**
 * struct zhenwu_gate - what a job waits for before it runs
 *
 * The scheduler would wait for each fence by itself, but it cannot be told to stop: it ends a job
 * of a queue that is gone only when all fences the job waits for have signalled, which may be
 * never. So it is given one fence, @open, which signals when all have or when the queue ends.
 */
struct zhenwu_gate {
	/** @open: Fence for the scheduler; NULL when there is nothing to wait for. */
	struct dma_fence *open;

	/** @waits: Fences that are waited for, list of &struct zhenwu_gate_wait. */
	struct list_head waits;

	/** @closed: Fences that have not signalled, plus one until the gate is armed. */
	atomic_t closed;
};

void zhenwu_gate_init(struct zhenwu_gate *gate);
void zhenwu_gate_fini(struct zhenwu_gate *gate);
int zhenwu_gate_add(struct zhenwu_gate *gate, struct dma_fence *fence);
void zhenwu_gate_arm(struct zhenwu_gate *gate);
void zhenwu_gate_force(struct zhenwu_gate *gate);

#endif /* __ZHENWU_GATE_H__ */
