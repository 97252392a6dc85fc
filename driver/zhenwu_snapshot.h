/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_SNAPSHOT_H__
#define __ZHENWU_SNAPSHOT_H__

/*
 * What a coredump is made of. Only zhenwu_coredump.c, which takes it, and zhenwu_coredump_print.c,
 * which makes text of it, look inside.
 */

#include <linux/atomic.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu_coredump.h"
#include "zhenwu_reset.h"

struct zhenwu_device;
struct zhenwu_queue;
struct zhenwu_vm;

/* What there is room for; the dump says how much there was. */
#define ZHENWU_SNAP_QUEUES	256
#define ZHENWU_SNAP_SLOTS	64
#define ZHENWU_SNAP_MAPS	1024
#define ZHENWU_SNAP_CMD_BYTES	(256u << 10)
#define ZHENWU_SNAP_REGS	19

/**
 * struct zhenwu_snap_reg - a register in a dump
 */
struct zhenwu_snap_reg {
	/** @name: Its name there. */
	const char *name;
	/** @reg: Where it is. */
	u32 reg;
	/** @wide: It has 64 bits. */
	bool wide;
};

/**
 * struct zhenwu_snap_queue - a queue, whoever it belongs to
 */
struct zhenwu_snap_queue {
	/** @hw_id: Number of the device for it. */
	u32 hw_id;
	/** @vm: Number of its VM. */
	u32 vm;
	/** @priority: &enum drm_zhenwu_queue_priority. */
	u32 priority;
	/** @state: &enum drm_zhenwu_queue_state_flags. */
	u32 state;
	/** @fw_state: &enum zw_queue_state when the firmware was last asked. */
	u32 fw_state;
	/** @seqno: Last job put into the ring. */
	u64 seqno;
	/** @completed: Last job that ended. */
	u64 completed;
	/** @user: Is a user-mode queue. */
	bool user;
};

/**
 * struct zhenwu_snap_map - a mapping of the VM
 */
struct zhenwu_snap_map {
	/** @va: Address. */
	u64 va;
	/** @range: Bytes. */
	u64 range;
	/** @offset: Where in the buffer it starts. */
	u64 offset;
	/** @size: Bytes of the buffer. */
	u64 size;
	/** @placement: DRM_ZHENWU_BO_HBM or DRM_ZHENWU_BO_SYSTEM. */
	u32 placement;
	/** @readonly: The device may not write. */
	bool readonly;
};

/**
 * struct zhenwu_snapshot - a failure, as it was found
 */
struct zhenwu_snapshot {
	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @busy: Somebody fills it, or @work has not come to its end. */
	atomic_t busy;

	/** @work: Makes text of it. */
	struct work_struct work;

	/** @cause: What happened. */
	enum zhenwu_coredump_cause cause;

	/** @queue: The queue it happened to, with a reference; or NULL. */
	struct zhenwu_queue *queue;

	/** @vm: Its VM, of which this is a user, while the mappings are still to be copied. */
	struct zhenwu_vm *vm;

	/** @taken: The device's state was copied. */
	bool taken;

	/** @mapped: So were the mappings and the command buffer. */
	bool mapped;

	/** @real_ns: When, CLOCK_REALTIME. */
	u64 real_ns;

	/** @boot_ns: When, CLOCK_BOOTTIME. */
	u64 boot_ns;

	/** @state: State of the device. */
	enum zhenwu_state state;

	/** @reset_reason: &enum drm_zhenwu_reset_reason when a reset is why. */
	u32 reset_reason;

	/** @reset_count: Resets before. */
	u32 reset_count;

	/** @pci_command: PCI command register. */
	u16 pci_command;

	/** @regs: Values of zhenwu_snap_regs. */
	u64 regs[ZHENWU_SNAP_REGS];

	/** @shared: The firmware's shared window. */
	__le32 shared[ZW_FW_SHARED_SIZE / 4];

	/** @mbox: Mailbox rings: requests, replies. */
	struct zw_msg mbox[2][ZW_MBOX_SLOTS];

	/** @mbox_seq: Number of the last message of each. */
	u32 mbox_seq[2];

	/** @outstanding: Requests without a reply. */
	u32 outstanding;

	/** @queues: Queues of the device. */
	struct zhenwu_snap_queue queues[ZHENWU_SNAP_QUEUES];

	/** @num_queues: How many there are, which may be more. */
	u32 num_queues;

	/** @suspect: It is only one that had jobs when the device failed. */
	bool suspect;

	/** @hw_id: The queue that failed. */
	u32 hw_id;

	/** @vm_id: Its VM. */
	u32 vm_id;

	/** @seqno: Job that it failed in. */
	u64 seqno;

	/** @error: What is known of the failure. */
	struct {
		/** @error.status: &enum zw_job_status. */
		u32 status;
		/** @error.reason: &enum zw_reason or &enum zw_fault. */
		u32 reason;
		/** @error.packet_index: Packet. */
		u32 packet_index;
		/** @error.fault_va: Address of a fault. */
		u64 fault_va;
	} error;

	/** @info: What the firmware last said of it. */
	struct zw_msg_queue_info info;

	/** @slots: Slots of its ring. */
	u32 slots;

	/** @tail: Control block: tail. */
	u32 tail;

	/** @first: Number of the first job in @ring. */
	u64 first;

	/** @num_slots: Jobs in @ring. */
	u32 num_slots;

	/** @ring: Ring entries from @first on. */
	struct zw_ring_entry ring[ZHENWU_SNAP_SLOTS];

	/** @compl: Completions of the same jobs. */
	struct zw_completion compl[ZHENWU_SNAP_SLOTS];

	/** @cmd_va: Command buffer of the job. */
	u64 cmd_va;

	/** @cmd_bytes: Its bytes. */
	u32 cmd_bytes;

	/** @cmd_taken: How many of them are in @cmd. */
	u32 cmd_taken;

	/** @cmd: Command buffer. */
	u8 cmd[ZHENWU_SNAP_CMD_BYTES];

	/** @maps: Mappings of the VM. */
	struct zhenwu_snap_map maps[ZHENWU_SNAP_MAPS];

	/** @num_maps: How many there are, which may be more. */
	u32 num_maps;
};

/* Registers in a dump, in its order. */
extern const struct zhenwu_snap_reg zhenwu_snap_regs[ZHENWU_SNAP_REGS];

const char *zhenwu_coredump_cause_name(enum zhenwu_coredump_cause cause);
void *zhenwu_coredump_print(const struct zhenwu_snapshot *snap, size_t *len);

#endif /* __ZHENWU_SNAPSHOT_H__ */
