// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queue of asynchronous binds of a VM.
 *
 * A bind waits at its gate until its turn has come, is done by a work, and signals its fence. What
 * others wait for ends there: nothing on that way allocates memory, takes a reservation or waits
 * for more of a reset than the end of jobs. What the bind took out of the VM is given back by a
 * second work, which may do all that.
 */

#include <linux/dma-fence.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "zhenwu_bind.h"
#include "zhenwu_bind_queue.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_trace.h"
#include "zhenwu_vm.h"

/**
 * struct zhenwu_bind_fence - end of a bind
 */
struct zhenwu_bind_fence {
	/** @base: Fence. */
	struct dma_fence base;

	/** @lock: Its lock: a fence outlives the VM. */
	spinlock_t lock;
};

static const char *zhenwu_bind_fence_driver_name(struct dma_fence *fence)
{
	return ZHENWU_DRIVER_NAME;
}

static const char *zhenwu_bind_fence_timeline_name(struct dma_fence *fence)
{
	return "zhenwu-bind";
}

static void zhenwu_bind_fence_release(struct dma_fence *base)
{
	dma_fence_free(base);
	/* See zhenwu_module_exit() for how the caller gets out of the module. */
	module_put(THIS_MODULE);
}

static const struct dma_fence_ops zhenwu_bind_fence_ops = {
	.get_driver_name = zhenwu_bind_fence_driver_name,
	.get_timeline_name = zhenwu_bind_fence_timeline_name,
	.release = zhenwu_bind_fence_release,
};

/**
 * zhenwu_bind_queue_create_fence() - make the fence of the next bind
 * @vm: VM, whose lock is held
 *
 * Return: the fence, or NULL without memory.
 */
struct dma_fence *zhenwu_bind_queue_create_fence(struct zhenwu_vm *vm)
{
	struct zhenwu_bind_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL_ACCOUNT);

	lockdep_assert_held(&vm->lock);

	if (!fence)
		return NULL;
	spin_lock_init(&fence->lock);
	__module_get(THIS_MODULE);
	/* A number whose bind comes to nothing is left out. */
	dma_fence_init(&fence->base, &zhenwu_bind_fence_ops, &fence->lock, vm->binds.fence_ctx,
		       ++vm->binds.seqno);
	return &fence->base;
}

static void zhenwu_bind_gate_opened(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct zhenwu_vm *vm = container_of(cb, struct zhenwu_bind, opened)->vm;

	queue_work(vm->zdev->bind_wq, &vm->binds.run);
}

/* Return: the bind whose turn it is, or NULL. It stays where it is: only one is done at a time. */
static struct zhenwu_bind *zhenwu_bind_queue_next(struct zhenwu_bind_queue *queue)
{
	struct zhenwu_bind *bind;

	spin_lock_irq(&queue->lock);
	bind = list_first_entry_or_null(&queue->waiting, struct zhenwu_bind, node);
	if (bind && bind->gate.open && !dma_fence_is_signaled(bind->gate.open))
		bind = NULL;
	spin_unlock_irq(&queue->lock);
	return bind;
}

static void zhenwu_bind_queue_run(struct work_struct *work)
{
	struct zhenwu_bind_queue *queue = container_of(work, struct zhenwu_bind_queue, run);
	struct zhenwu_vm *vm = container_of(queue, struct zhenwu_vm, binds);
	struct zhenwu_bind *bind;
	bool cookie;

	cookie = dma_fence_begin_signalling();
	while ((bind = zhenwu_bind_queue_next(queue))) {
		struct dma_fence *fence = dma_fence_get(bind->fence);
		int ret = READ_ONCE(queue->stopped) ? -ECANCELED : zhenwu_bind_run(bind);

		trace_zhenwu_bind(vm, &bind->args, ret);
		/* From here on it may be gone at any time. */
		spin_lock_irq(&queue->lock);
		list_move_tail(&bind->node, &queue->done);
		spin_unlock_irq(&queue->lock);
		queue_work(zhenwu_release_wq, &queue->release);

		if (ret)
			dma_fence_set_error(fence, ret);
		dma_fence_signal(fence);
		dma_fence_put(fence);
		cond_resched();
	}
	dma_fence_end_signalling(cookie);
}

static void zhenwu_bind_queue_release(struct work_struct *work)
{
	struct zhenwu_bind_queue *queue = container_of(work, struct zhenwu_bind_queue, release);
	struct zhenwu_vm *vm = container_of(queue, struct zhenwu_vm, binds);

	for (;;) {
		struct zhenwu_bind *bind;

		spin_lock_irq(&queue->lock);
		bind = list_first_entry_or_null(&queue->done, struct zhenwu_bind, node);
		if (bind)
			list_del_init(&bind->node);
		spin_unlock_irq(&queue->lock);
		if (!bind)
			return;
		/* Who opened its gate may be just about to return. */
		if (bind->gate.open)
			dma_fence_remove_callback(bind->gate.open, &bind->opened);
		zhenwu_bind_destroy(bind);
		zhenwu_pm_put(vm->zdev);
		cond_resched();
	}
}

/**
 * zhenwu_bind_queue_init() - make an empty queue
 * @queue: queue of a VM that is being made
 */
void zhenwu_bind_queue_init(struct zhenwu_bind_queue *queue)
{
	spin_lock_init(&queue->lock);
	INIT_LIST_HEAD(&queue->waiting);
	INIT_LIST_HEAD(&queue->done);
	init_waitqueue_head(&queue->idle);
	INIT_WORK(&queue->run, zhenwu_bind_queue_run);
	INIT_WORK(&queue->release, zhenwu_bind_queue_release);
	queue->fence_ctx = dma_fence_context_alloc(1);
}

/**
 * zhenwu_bind_queue_enter() - a bind is about to be prepared
 * @vm: VM, whose reservation is held
 *
 * From here on no buffer that is mapped in the VM, or has a &struct drm_gpuvm_bo for it, may be
 * moved: who does that holds the reservation, too, and asks zhenwu_bind_queue_busy().
 */
void zhenwu_bind_queue_enter(struct zhenwu_vm *vm)
{
	dma_resv_assert_held(drm_gpuvm_resv(&vm->base));
	spin_lock_irq(&vm->binds.lock);
	vm->binds.num++;
	spin_unlock_irq(&vm->binds.lock);
}

/**
 * zhenwu_bind_queue_leave() - undo zhenwu_bind_queue_enter()
 * @vm: VM; may be gone when this returns, if nobody else keeps it
 */
void zhenwu_bind_queue_leave(struct zhenwu_vm *vm)
{
	spin_lock_irq(&vm->binds.lock);
	if (!--vm->binds.num)
		wake_up_all(&vm->binds.idle);
	spin_unlock_irq(&vm->binds.lock);
}

/**
 * zhenwu_bind_queue_busy() - are there binds under way
 * @vm: VM
 *
 * Return: true when there are.
 */
bool zhenwu_bind_queue_busy(struct zhenwu_vm *vm)
{
	bool busy;

	spin_lock_irq(&vm->binds.lock);
	busy = vm->binds.num;
	spin_unlock_irq(&vm->binds.lock);
	return busy;
}

/**
 * zhenwu_bind_queue_wait_idle() - wait until all binds are over
 * @vm: VM, whose lock is held, so that none are added
 *
 * Return: 0 or -ERESTARTSYS.
 */
int zhenwu_bind_queue_wait_idle(struct zhenwu_vm *vm)
{
	lockdep_assert_held(&vm->lock);

	return wait_event_interruptible(vm->binds.idle, !zhenwu_bind_queue_busy(vm));
}

/**
 * zhenwu_bind_queue_push() - put a bind in the queue
 * @bind: bind, prepared and with a fence; it may be gone when this returns
 *
 * The lock of the VM is held. Nothing fails or waits here.
 */
void zhenwu_bind_queue_push(struct zhenwu_bind *bind)
{
	struct zhenwu_vm *vm = bind->vm;
	struct zhenwu_bind_queue *queue = &vm->binds;

	lockdep_assert_held(&vm->lock);

	/* VM_BIND keeps the device awake, from here on the bind does. */
	zhenwu_pm_get_awake(vm->zdev);
	zhenwu_gate_arm(&bind->gate);

	spin_lock_irq(&queue->lock);
	list_add_tail(&bind->node, &queue->waiting);
	/* Under the lock: nobody takes it off the list before this is done with it. */
	if (!bind->gate.open ||
	    dma_fence_add_callback(bind->gate.open, &bind->opened, zhenwu_bind_gate_opened))
		queue_work(vm->zdev->bind_wq, &queue->run);
	spin_unlock_irq(&queue->lock);
}

/**
 * zhenwu_bind_queue_stop() - cancel the binds that wait
 * @vm: VM without users
 *
 * On return none is under way. Waits for nothing but those that are just being done.
 */
void zhenwu_bind_queue_stop(struct zhenwu_vm *vm)
{
	struct zhenwu_bind_queue *queue = &vm->binds;
	struct zhenwu_bind *bind;

	spin_lock_irq(&queue->lock);
	WRITE_ONCE(queue->stopped, true);
	list_for_each_entry(bind, &queue->waiting, node)
		zhenwu_gate_force(&bind->gate);
	spin_unlock_irq(&queue->lock);
	wait_event(queue->idle, !zhenwu_bind_queue_busy(vm));
	/* The last bind is gone, but who let it go may still look at the queue. */
	flush_work(&queue->run);
	flush_work(&queue->release);
}
