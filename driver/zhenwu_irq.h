/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_IRQ_H__
#define __ZHENWU_IRQ_H__

#include <linux/list.h>
#include <linux/spinlock.h>

#include "zhenwu/zw_regs.h"

struct zhenwu_device;
struct zhenwu_queue;

/**
 * struct zhenwu_vector - one MSI-X vector
 */
struct zhenwu_vector {
	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @lock: Protects @queues; taken in interrupts. */
	spinlock_t lock;

	/** @queues: Queues that interrupt here. */
	struct list_head queues;

	/** @irq: Linux interrupt number. */
	int irq;

	/** @cpu: CPU it was put on; the administrator may have moved it since. */
	unsigned int cpu;
};

/**
 * struct zhenwu_irq - interrupt vectors of a device
 */
struct zhenwu_irq {
	/** @count: Vectors in use, at least 2. */
	unsigned int count;

	/** @vectors: ZW_VECTOR_MBOX, then those of the queues. */
	struct zhenwu_vector vectors[ZW_NUM_VECTORS];
};

int zhenwu_irq_init(struct zhenwu_device *zdev);
void zhenwu_irq_fini(struct zhenwu_device *zdev);
void zhenwu_irq_sync(struct zhenwu_device *zdev);
void zhenwu_irq_disable(struct zhenwu_device *zdev);
void zhenwu_irq_enable(struct zhenwu_device *zdev);
u32 zhenwu_irq_choose(struct zhenwu_device *zdev);
void zhenwu_irq_add_queue(struct zhenwu_device *zdev, struct zhenwu_queue *queue);
void zhenwu_irq_remove_queue(struct zhenwu_device *zdev, struct zhenwu_queue *queue);

#endif /* __ZHENWU_IRQ_H__ */
