// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device coredumps: the text that is made of a snapshot. Documentation/coredump.md has the format.
 *
 * What the device wrote is printed as it is, or bounded before it is used: a dump is made of a
 * device that failed.
 */

#include <linux/log2.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>

#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_snapshot.h"

#define ZHENWU_COREDUMP_VERSION	1

static const char *const zhenwu_coredump_causes[] = {
	[ZHENWU_COREDUMP_HANG] = "hang",
	[ZHENWU_COREDUMP_JOB] = "job",
	[ZHENWU_COREDUMP_RESET] = "reset",
	[ZHENWU_COREDUMP_PCI] = "pci-error",
};

static const char *const zhenwu_coredump_states[ZHENWU_STATE_COUNT] = {
	[ZHENWU_STATE_BOOTING] = "booting",   [ZHENWU_STATE_LIVE] = "live",
	[ZHENWU_STATE_RESETTING] = "resetting", [ZHENWU_STATE_FLR] = "flr",
	[ZHENWU_STATE_SUSPENDED] = "suspended", [ZHENWU_STATE_WEDGED] = "wedged",
	[ZHENWU_STATE_STOPPING] = "stopping", [ZHENWU_STATE_STOPPED] = "stopped",
};

/* Lines of four words, the last filled up with zeroes. */
static void zhenwu_print_words(struct drm_printer *p, const void *data, u32 bytes)
{
	u32 at;

	for (at = 0; at < bytes; at += 16) {
		__le32 w[4] = {};

		memcpy(w, data + at, min(bytes - at, 16u));
		drm_printf(p, " %06x %08x %08x %08x %08x\n", at, le32_to_cpu(w[0]),
			   le32_to_cpu(w[1]), le32_to_cpu(w[2]), le32_to_cpu(w[3]));
	}
}

static void zhenwu_print_device(struct drm_printer *p, const struct zhenwu_snapshot *snap)
{
	struct zhenwu_device *zdev = snap->zdev;
	unsigned int i;

	drm_printf(p, "zhenwu-coredump %u\n", ZHENWU_COREDUMP_VERSION);
	drm_printf(p, "time_ns: %llu\n", snap->real_ns);
	drm_printf(p, "boottime_ns: %llu\n", snap->boot_ns);
	drm_printf(p, "kernel: %s\n", init_utsname()->release);
	drm_printf(p, "driver: %u.%u\n", ZHENWU_DRIVER_MAJOR, ZHENWU_DRIVER_MINOR);
	drm_printf(p, "pci: %s\n", pci_name(zdev->pdev));
	drm_printf(p, "cause: %s\n", zhenwu_coredump_causes[snap->cause]);
	drm_printf(p, "reset_reason: %s\n", zhenwu_reset_reason_name(snap->reset_reason));

	drm_puts(p, "[device]\n");
	drm_printf(p, "profile: %s\n", zdev->info.profile_name);
	drm_printf(p, "abi: %u.%u\n", ZW_ABI_VERSION_MAJOR(zdev->info.abi_version),
		   ZW_ABI_VERSION_MINOR(zdev->info.abi_version));
	drm_printf(p, "firmware: %u.%u.%u\n", ZW_FW_VERSION_MAJOR(zdev->fw.version),
		   ZW_FW_VERSION_MINOR(zdev->fw.version), ZW_FW_VERSION_PATCH(zdev->fw.version));
	drm_printf(p, "hbm_size: %llu\n", zdev->info.hbm_size);
	drm_printf(p, "progress_ms: %u\n", zdev->info.progress_ms);
	drm_printf(p, "state: %s\n", zhenwu_coredump_states[snap->state]);
	drm_printf(p, "resets: %u\n", snap->reset_count);
	drm_printf(p, "pci_command: 0x%04x\n", snap->pci_command);

	drm_puts(p, "[registers]\n");
	for (i = 0; i < ZHENWU_SNAP_REGS; i++)
		drm_printf(p, "%s: 0x%llx\n", zhenwu_snap_regs[i].name, snap->regs[i]);
}

static void zhenwu_print_queues(struct drm_printer *p, const struct zhenwu_snapshot *snap)
{
	u32 i;

	drm_puts(p, "[queues]\n");
	drm_printf(p, "total: %u\n", snap->num_queues);
	for (i = 0; i < min(snap->num_queues, ZHENWU_SNAP_QUEUES); i++) {
		const struct zhenwu_snap_queue *q = &snap->queues[i];

		drm_printf(p,
			   "queue: %u vm %u priority %u ring %llu completed %llu state 0x%x fw_state %u%s\n",
			   q->hw_id, q->vm, q->priority, q->seqno, q->completed, q->state,
			   q->fw_state, q->user ? " user" : "");
	}
}

static void zhenwu_print_failed(struct drm_printer *p, const struct zhenwu_snapshot *snap)
{
	u32 i;

	drm_puts(p, "[failed]\n");
	drm_printf(p, "suspect: %u\n", snap->suspect);
	drm_printf(p, "queue: %u\n", snap->hw_id);
	drm_printf(p, "vm: %u\n", snap->vm_id);
	drm_printf(p, "job: %llu\n", snap->seqno);
	drm_printf(p, "status: %u\n", snap->error.status);
	drm_printf(p, "reason: %u\n", snap->error.reason);
	drm_printf(p, "packet_index: %u\n", snap->error.packet_index);
	drm_printf(p, "fault_va: 0x%llx\n", snap->error.fault_va);
	drm_printf(p, "fw_state: %u\n", le32_to_cpu(snap->info.state));
	drm_printf(p, "fw_completed: %u\n", le32_to_cpu(snap->info.completed));
	drm_printf(p, "fw_fetched: %u\n", le32_to_cpu(snap->info.fetched));
	drm_printf(p, "fw_packets: %u\n", le32_to_cpu(snap->info.packets_retired));
	drm_printf(p, "fw_progress: %u\n", le32_to_cpu(snap->info.progress));
	drm_printf(p, "slots: %u\n", snap->slots);
	if (snap->num_slots)
		drm_printf(p, "tail: %u\n", snap->tail);

	drm_puts(p, "[ring]\n");
	for (i = 0; i < snap->num_slots; i++) {
		drm_printf(p, "entry: %llu\n", snap->first + i);
		zhenwu_print_words(p, &snap->ring[i], sizeof(snap->ring[i]));
	}
	drm_puts(p, "[completions]\n");
	for (i = 0; i < snap->num_slots; i++) {
		drm_printf(p, "entry: %llu\n", snap->first + i);
		zhenwu_print_words(p, &snap->compl[i], sizeof(snap->compl[i]));
	}

	drm_puts(p, "[commands]\n");
	drm_printf(p, "va: 0x%llx\n", snap->cmd_va);
	drm_printf(p, "bytes: %u\n", snap->cmd_bytes);
	drm_printf(p, "taken: %u\n", snap->cmd_taken);
	zhenwu_print_words(p, snap->cmd, snap->cmd_taken);

	drm_puts(p, "[maps]\n");
	drm_printf(p, "total: %u\n", snap->num_maps);
	for (i = 0; i < min(snap->num_maps, ZHENWU_SNAP_MAPS); i++) {
		const struct zhenwu_snap_map *map = &snap->maps[i];

		drm_printf(p, "map: 0x%llx 0x%llx %s %s offset 0x%llx of 0x%llx\n", map->va,
			   map->range, map->readonly ? "r-" : "rw",
			   map->placement == DRM_ZHENWU_BO_HBM ? "hbm" : "system", map->offset,
			   map->size);
	}
}

static void zhenwu_print_mailbox(struct drm_printer *p, const struct zhenwu_snapshot *snap)
{
	static const char *const names[] = { "requests", "replies" };
	unsigned int ring, i;

	for (ring = 0; ring < 2; ring++) {
		drm_printf(p, "[%s]\n", names[ring]);
		drm_printf(p, "seq: %u\n", snap->mbox_seq[ring]);
		if (!ring)
			drm_printf(p, "outstanding: %u\n", snap->outstanding);
		for (i = 0; i < ZW_MBOX_SLOTS; i++) {
			/* Oldest first. */
			u32 slot = (snap->mbox_seq[ring] + 1 + i) % ZW_MBOX_SLOTS;
			const struct zw_msg *msg = &snap->mbox[ring][slot];

			if (!msg->seq)
				continue;
			drm_printf(p, "slot: %u\n", slot);
			zhenwu_print_words(p, msg, sizeof(*msg));
		}
	}
}

/* Everything in the window was written by the firmware and is bounded before use. */
static void zhenwu_print_log(struct drm_printer *p, const struct zhenwu_snapshot *snap)
{
	const struct zw_fw_shared *sh = (const void *)snap->shared;
	const u8 *win = (const void *)snap->shared;
	u32 off = le32_to_cpu(sh->log_offset), size = le32_to_cpu(sh->log_size);
	u32 head = le32_to_cpu(sh->log_head), i;
	char line[100];
	u32 len = 0;

	drm_puts(p, "[log]\n");
	if (le32_to_cpu(sh->magic) != ZW_FW_SHARED_MAGIC || !is_power_of_2(size) ||
	    off > ZW_FW_SHARED_SIZE || size > ZW_FW_SHARED_SIZE - off) {
		drm_puts(p, "valid: 0\n");
		return;
	}
	drm_puts(p, "valid: 1\n");
	drm_printf(p, "jobs_done: %u\n", le32_to_cpu(sh->jobs_done));
	drm_printf(p, "jobs_failed: %u\n", le32_to_cpu(sh->jobs_failed));
	drm_printf(p, "messages: %u\n", le32_to_cpu(sh->messages));
	drm_printf(p, "loops: %u\n", le32_to_cpu(sh->loops));
	for (i = head < size ? 0 : head - size; i != head; i++) {
		char c = win[off + (i & (size - 1))];

		if (c != '\n')
			line[len++] = c >= ' ' && c < 0x7f ? c : '.';
		if (c == '\n' || len == sizeof(line) - 1 || i + 1 == head) {
			line[len] = '\0';
			drm_printf(p, "|%s\n", line);
			len = 0;
		}
	}
}

/* Longest text of a snapshot. */
static size_t zhenwu_coredump_room(const struct zhenwu_snapshot *snap)
{
	const size_t word_line = 48, line = 128;

	return 100 * line + min(snap->num_queues, ZHENWU_SNAP_QUEUES) * line +
	       snap->num_slots * 2 * (line + 4 * word_line) +
	       (snap->cmd_taken / 16 + 1) * word_line +
	       min(snap->num_maps, ZHENWU_SNAP_MAPS) * line +
	       2 * ZW_MBOX_SLOTS * (line + 4 * word_line) + 3 * ZW_FW_SHARED_SIZE;
}

/**
 * zhenwu_coredump_cause_name() - cause as a dump has it
 * @cause: what happened
 *
 * Return: static text.
 */
const char *zhenwu_coredump_cause_name(enum zhenwu_coredump_cause cause)
{
	return zhenwu_coredump_causes[cause];
}

/**
 * zhenwu_coredump_print() - make text of a snapshot
 * @snap: snapshot, taken
 * @len: set to the bytes of the text
 *
 * Return: the text, to be freed with vfree(), or NULL when there is no memory.
 */
void *zhenwu_coredump_print(const struct zhenwu_snapshot *snap, size_t *len)
{
	struct drm_print_iterator it = {};
	struct drm_printer p;
	size_t room = zhenwu_coredump_room(snap);
	void *text = vzalloc(room);

	if (!text)
		return NULL;
	it.data = text;
	it.remain = room;
	p = drm_coredump_printer(&it);
	zhenwu_print_device(&p, snap);
	zhenwu_print_queues(&p, snap);
	if (snap->queue)
		zhenwu_print_failed(&p, snap);
	zhenwu_print_mailbox(&p, snap);
	zhenwu_print_log(&p, snap);
	drm_puts(&p, "[end]\n");
	if (WARN_ON_ONCE(it.remain <= 0)) {
		vfree(text);
		return NULL;
	}
	*len = room - it.remain;
	return text;
}
