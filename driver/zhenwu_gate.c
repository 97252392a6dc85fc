// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gates: what a job waits for before it runs, in a form that can be given up.
 */

#include <linux/dma-fence.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "zhenwu_gate.h"

/**
 * struct zhenwu_gate_fence - fence of a gate, seen by the scheduler only
 */
struct zhenwu_gate_fence {
	/** @base: Fence. No release callback: its memory is all there is. */
	struct dma_fence base;

	/** @lock: Its lock, taken inside the locks of the fences that are waited for. */
	spinlock_t lock;
};

/**
 * struct zhenwu_gate_wait - one fence that is waited for
 */
struct zhenwu_gate_wait {
	/** @cb: Callback on @fence. */
	struct dma_fence_cb cb;

	/** @fence: Fence, with a reference. */
	struct dma_fence *fence;

	/** @gate: Gate. */
	struct zhenwu_gate *gate;

	/** @node: Entry in the gate's list. */
	struct list_head node;
};

static const char *zhenwu_gate_driver_name(struct dma_fence *fence)
{
	return "zhenwu";
}

static const char *zhenwu_gate_timeline_name(struct dma_fence *fence)
{
	return "zhenwu-gate";
}

static const struct dma_fence_ops zhenwu_gate_ops = {
	.get_driver_name = zhenwu_gate_driver_name,
	.get_timeline_name = zhenwu_gate_timeline_name,
};

static struct dma_fence *zhenwu_gate_fence_create(void)
{
	struct zhenwu_gate_fence *f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);

	if (!f)
		return NULL;
	spin_lock_init(&f->lock);
	dma_fence_init(&f->base, &zhenwu_gate_ops, &f->lock, dma_fence_context_alloc(1), 1);
	return &f->base;
}

static void zhenwu_gate_dec(struct zhenwu_gate *gate)
{
	if (atomic_dec_and_test(&gate->closed))
		dma_fence_signal(gate->open);
}

static void zhenwu_gate_signalled(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	zhenwu_gate_dec(container_of(cb, struct zhenwu_gate_wait, cb)->gate);
}

/**
 * zhenwu_gate_init() - make a gate with nothing to wait for
 * @gate: gate
 */
void zhenwu_gate_init(struct zhenwu_gate *gate)
{
	gate->open = NULL;
	INIT_LIST_HEAD(&gate->waits);
	atomic_set(&gate->closed, 1);
}

/**
 * zhenwu_gate_fini() - stop waiting
 * @gate: gate nobody uses any more
 *
 * Process context. On return no callback runs or will run.
 */
void zhenwu_gate_fini(struct zhenwu_gate *gate)
{
	struct zhenwu_gate_wait *wait, *next;

	list_for_each_entry_safe(wait, next, &gate->waits, node) {
		/* Takes the fence's lock, under which callbacks run: this waits for ours. */
		dma_fence_remove_callback(wait->fence, &wait->cb);
		dma_fence_put(wait->fence);
		kfree(wait);
	}
	INIT_LIST_HEAD(&gate->waits);
	dma_fence_put(gate->open);
	gate->open = NULL;
}

/**
 * zhenwu_gate_add() - wait for one more fence
 * @gate: gate that is not armed
 * @fence: fence; the reference is taken over, also on failure
 *
 * Return: 0 or -ENOMEM.
 */
int zhenwu_gate_add(struct zhenwu_gate *gate, struct dma_fence *fence)
{
	struct zhenwu_gate_wait *wait;

	if (dma_fence_is_signaled(fence)) {
		dma_fence_put(fence);
		return 0;
	}
	if (!gate->open)
		gate->open = zhenwu_gate_fence_create();
	wait = gate->open ? kzalloc(sizeof(*wait), GFP_KERNEL_ACCOUNT) : NULL;
	if (!wait) {
		dma_fence_put(fence);
		return -ENOMEM;
	}
	wait->fence = fence;
	wait->gate = gate;
	list_add_tail(&wait->node, &gate->waits);
	atomic_inc(&gate->closed);
	/* Signalled meanwhile; the callback is then ready to be removed all the same. */
	if (dma_fence_add_callback(fence, &wait->cb, zhenwu_gate_signalled))
		zhenwu_gate_dec(gate);
	return 0;
}

/**
 * zhenwu_gate_arm() - all fences were added: open when they have signalled
 * @gate: gate
 */
void zhenwu_gate_arm(struct zhenwu_gate *gate)
{
	if (gate->open)
		zhenwu_gate_dec(gate);
}

/**
 * zhenwu_gate_force() - open now, whatever has signalled
 * @gate: armed gate
 *
 * Any context.
 */
void zhenwu_gate_force(struct zhenwu_gate *gate)
{
	if (gate->open)
		dma_fence_signal(gate->open);
}
