/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_CLIENT_H__
#define __ZHENWU_CLIENT_H__

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include "zhenwu_usage.h"

struct seq_file;
struct zhenwu_device;
struct zhenwu_share;

/**
 * enum zhenwu_resource - what clients share
 */
enum zhenwu_resource {
	/** @ZHENWU_VMS: VMs. */
	ZHENWU_VMS,
	/** @ZHENWU_QUEUES: Queues. */
	ZHENWU_QUEUES,
	/** @ZHENWU_HBM: Bytes of HBM. */
	ZHENWU_HBM,
	/** @ZHENWU_VISIBLE: Bytes of it for CPU visible buffers. */
	ZHENWU_VISIBLE,
	/** @ZHENWU_TABLES: Page tables in the memory kept for them. */
	ZHENWU_TABLES,
	/** @ZHENWU_NUM_RESOURCES: Number of them. */
	ZHENWU_NUM_RESOURCES,
};

/**
 * enum zhenwu_level - whose share it is
 */
enum zhenwu_level {
	/** @ZHENWU_PROCESS: Of the process that opened the file. */
	ZHENWU_PROCESS,
	/** @ZHENWU_USER: Of its user: processes are easily made. */
	ZHENWU_USER,
	/** @ZHENWU_NUM_LEVELS: Number of them. */
	ZHENWU_NUM_LEVELS,
};

/**
 * struct zhenwu_client - who an open file and all that was made with it belong to
 */
struct zhenwu_client {
	/** @refs: The file, its buffers and VMs. */
	struct kref refs;

	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @shares: Shares it takes from. */
	struct zhenwu_share *shares[ZHENWU_NUM_LEVELS];

	/** @usage: What it has had of the device's time; under the lock of &struct zhenwu_usage. */
	struct zhenwu_client_usage usage;
};

/**
 * struct zhenwu_clients - who holds what of a device
 */
struct zhenwu_clients {
	/** @lock: Protects all below and the contents of shares; innermost. */
	struct mutex lock;

	/** @shares: Shares, by level. */
	struct list_head shares[ZHENWU_NUM_LEVELS];

	/** @holders: Shares that hold anything, by level. */
	unsigned int holders[ZHENWU_NUM_LEVELS];

	/** @total: What there is of each resource. */
	u64 total[ZHENWU_NUM_RESOURCES];

	/** @used: What is held of it. */
	u64 used[ZHENWU_NUM_RESOURCES];
};

int zhenwu_clients_init(struct zhenwu_device *zdev);
void zhenwu_clients_show(struct zhenwu_device *zdev, struct seq_file *m);

struct zhenwu_client *zhenwu_client_create(struct zhenwu_device *zdev);
struct zhenwu_client *zhenwu_client_get(struct zhenwu_client *client);
void zhenwu_client_put(struct zhenwu_client *client);
bool zhenwu_client_has_room(struct zhenwu_client *client, enum zhenwu_resource res, u64 n);
int zhenwu_client_charge(struct zhenwu_client *client, enum zhenwu_resource res, u64 n);
bool zhenwu_client_gains(struct zhenwu_client *client, const struct zhenwu_client *from,
			 enum zhenwu_resource res, u64 n);
void zhenwu_client_uncharge(struct zhenwu_client *client, enum zhenwu_resource res, u64 n);

#endif /* __ZHENWU_CLIENT_H__ */
