// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts: one vector for the mailbox, telemetry and records, the others shared by the queues.
 *
 * Completions are read from memory and fences signalled right in the handler: a wake-up of a thread
 * in between would dominate the round trip of a short job. The work is bounded by the jobs that
 * were submitted, whatever a device writes, because each job completes once. No register is read.
 */

#include <linux/cpu.h>
#include <linux/interrupt.h>
#include <linux/pci.h>

#include <drm/drm_print.h>

#include "zhenwu_device.h"
#include "zhenwu_irq.h"
#include "zhenwu_queue.h"
#include "zhenwu_trace.h"

static irqreturn_t zhenwu_irq_mbox(int irq, void *data)
{
	struct zhenwu_vector *vec = data;

	trace_zhenwu_irq(vec->zdev, ZW_VECTOR_MBOX);
	zhenwu_ipc_poll(vec->zdev);
	zhenwu_telemetry_poll(vec->zdev);
	zhenwu_perf_interrupt(vec->zdev);
	return IRQ_HANDLED;
}

static irqreturn_t zhenwu_irq_queue(int irq, void *data)
{
	struct zhenwu_vector *vec = data;
	struct zhenwu_queue *queue;
	unsigned long flags;

	trace_zhenwu_irq(vec->zdev, vec - vec->zdev->irq.vectors);
	spin_lock_irqsave(&vec->lock, flags);
	list_for_each_entry(queue, &vec->queues, vector_node)
		zhenwu_queue_poll(queue);
	spin_unlock_irqrestore(&vec->lock, flags);
	return IRQ_HANDLED;
}

/* Vectors of queues are dealt out to the CPUs in turn; see zhenwu_irq_choose(). */
static void zhenwu_irq_spread(struct zhenwu_device *zdev)
{
	unsigned int i, cpu;

	/* No CPU goes away between being chosen and getting its vector. */
	cpus_read_lock();
	cpu = cpumask_first(cpu_online_mask);
	for (i = ZW_VECTOR_MBOX + 1; i < zdev->irq.count; i++) {
		struct zhenwu_vector *vec = &zdev->irq.vectors[i];

		vec->cpu = cpu;
		irq_set_affinity_and_hint(vec->irq, cpumask_of(cpu));
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
	}
	cpus_read_unlock();
}

/**
 * zhenwu_irq_choose() - choose the vector of a new queue
 * @zdev: device
 *
 * Who makes a queue usually submits to it and waits for it, on the same CPU: an interrupt there
 * wakes no other CPU on its way. The vector of this CPU with the fewest queues is taken.
 *
 * Return: number of the vector.
 */
u32 zhenwu_irq_choose(struct zhenwu_device *zdev)
{
	unsigned int cpu = raw_smp_processor_id();
	u32 i, best = 0, best_cost = U32_MAX;

	for (i = ZW_VECTOR_MBOX + 1; i < zdev->irq.count; i++) {
		struct zhenwu_vector *vec = &zdev->irq.vectors[i];
		unsigned long flags;
		u32 cost;

		spin_lock_irqsave(&vec->lock, flags);
		cost = list_count_nodes(&vec->queues);
		spin_unlock_irqrestore(&vec->lock, flags);
		if (vec->cpu != cpu)
			cost += ZW_MAX_QUEUES;
		if (cost < best_cost) {
			best_cost = cost;
			best = i;
		}
	}
	return best;
}

/**
 * zhenwu_irq_init() - allocate and request the vectors
 * @zdev: device; its mailbox is initialised
 *
 * Return: 0 or a negative error.
 */
int zhenwu_irq_init(struct zhenwu_device *zdev)
{
	struct pci_dev *pdev = zdev->pdev;
	int i, n, ret;

	n = min_t(u32, zhenwu_read32(zdev, ZW_REG_NUM_VECTORS), ZW_NUM_VECTORS);
	n = pci_alloc_irq_vectors(pdev, 2, max(n, 2), PCI_IRQ_MSIX);
	if (n < 0) {
		drm_err(&zdev->drm, "cannot get two MSI-X vectors: %d\n", n);
		return n;
	}

	for (i = 0; i < n; i++) {
		struct zhenwu_vector *vec = &zdev->irq.vectors[i];

		vec->zdev = zdev;
		spin_lock_init(&vec->lock);
		INIT_LIST_HEAD(&vec->queues);
		vec->irq = pci_irq_vector(pdev, i);
		ret = request_irq(vec->irq,
				  i == ZW_VECTOR_MBOX ? zhenwu_irq_mbox : zhenwu_irq_queue, 0,
				  ZHENWU_DRIVER_NAME, vec);
		if (ret) {
			drm_err(&zdev->drm, "cannot request vector %d: %d\n", i, ret);
			goto err_free;
		}
		zdev->irq.count = i + 1;
	}
	zhenwu_irq_spread(zdev);
	return 0;

err_free:
	zhenwu_irq_fini(zdev);
	return ret;
}

/**
 * zhenwu_irq_fini() - free the vectors
 * @zdev: device
 */
void zhenwu_irq_fini(struct zhenwu_device *zdev)
{
	unsigned int i;

	for (i = 0; i < zdev->irq.count; i++) {
		irq_update_affinity_hint(zdev->irq.vectors[i].irq, NULL);
		free_irq(zdev->irq.vectors[i].irq, &zdev->irq.vectors[i]);
	}
	zdev->irq.count = 0;
	pci_free_irq_vectors(zdev->pdev);
}

/**
 * zhenwu_irq_sync() - wait for handlers that run
 * @zdev: device
 */
void zhenwu_irq_sync(struct zhenwu_device *zdev)
{
	unsigned int i;

	for (i = 0; i < zdev->irq.count; i++)
		synchronize_irq(zdev->irq.vectors[i].irq);
}

/**
 * zhenwu_irq_disable() - no handler runs, and nothing touches the MSI-X table, until enabled again
 * @zdev: device
 */
void zhenwu_irq_disable(struct zhenwu_device *zdev)
{
	unsigned int i;

	for (i = 0; i < zdev->irq.count; i++)
		disable_irq(zdev->irq.vectors[i].irq);
}

/**
 * zhenwu_irq_enable() - undo zhenwu_irq_disable()
 * @zdev: device
 */
void zhenwu_irq_enable(struct zhenwu_device *zdev)
{
	unsigned int i;

	for (i = 0; i < zdev->irq.count; i++)
		enable_irq(zdev->irq.vectors[i].irq);
}

/**
 * zhenwu_irq_add_queue() - let a queue's vector complete its jobs
 * @zdev: device
 * @queue: queue; its vector is set
 */
void zhenwu_irq_add_queue(struct zhenwu_device *zdev, struct zhenwu_queue *queue)
{
	struct zhenwu_vector *vec = &zdev->irq.vectors[queue->vector];
	unsigned long flags;

	spin_lock_irqsave(&vec->lock, flags);
	list_add_tail(&queue->vector_node, &vec->queues);
	spin_unlock_irqrestore(&vec->lock, flags);
}

/**
 * zhenwu_irq_remove_queue() - no handler looks at the queue when this returns
 * @zdev: device
 * @queue: queue that was added
 */
void zhenwu_irq_remove_queue(struct zhenwu_device *zdev, struct zhenwu_queue *queue)
{
	struct zhenwu_vector *vec = &zdev->irq.vectors[queue->vector];
	unsigned long flags;

	spin_lock_irqsave(&vec->lock, flags);
	list_del_init(&queue->vector_node);
	spin_unlock_irqrestore(&vec->lock, flags);
}
