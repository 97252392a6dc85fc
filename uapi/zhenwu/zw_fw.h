/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: firmware image, mailbox, shared window with log ring.
 */
#ifndef ZW_FW_H
#define ZW_FW_H

#include "zw_types.h"

/* -- image ------------------------------------------------------------------------------------- */

#define ZW_FW_MAGIC                  0x5746575au /* "ZWFW" */
#define ZW_FW_HEADER_VERSION         2
#define ZW_FW_MAX_SEGMENTS           4
#define ZW_FW_MAX_SIZE               (1u << 20) /* whole image */
#define ZW_FW_VERSION(maj, min, pat) (((maj) << 24) | ((min) << 16) | (pat))
#define ZW_FW_VERSION_MAJOR(v)       ((v) >> 24)
#define ZW_FW_VERSION_MINOR(v)       (((v) >> 16) & 0xff)
#define ZW_FW_VERSION_PATCH(v)       ((v)&0xffff)

struct zw_fw_segment {
	zw_le32 offset;    /* in the image, 16-byte aligned, at or after the header */
	zw_le32 file_size; /* bytes copied */
	zw_le32 mem_size;  /* bytes occupied, the rest is zeroed; >= file_size */
	zw_le32 reserved;
	zw_le64 load_addr; /* control-core address, inside SRAM and outside of the shared window */
	zw_le64 reserved2;
};
ZW_ASSERT_SIZE(struct zw_fw_segment, 32);

/*
 * The image starts with this header. sha256 is over the whole image with the sha256 field itself
 * taken as zero, so the header is covered too.
 */
struct zw_fw_header {
	zw_le32 magic;
	zw_le32 header_version;
	zw_le32 header_size;  /* sizeof(struct zw_fw_header) */
	zw_le32 image_size;   /* whole image; equals the length handed over */
	zw_le32 abi_version;  /* ZW_ABI_VERSION it was built for */
	zw_le32 fw_version;   /* ZW_FW_VERSION() */
	zw_le32 num_segments; /* 1..ZW_FW_MAX_SEGMENTS */
	zw_le32 min_minor;    /* least ABI minor of a device it runs on */
	zw_le64 entry;        /* inside a segment's file part, 2-byte aligned */
	zw_le32 caps;         /* ZW_CAP_* that it needs of the device */
	zw_le32 reserved;
	char build[32]; /* text for logs, NUL padded */
	zw_u8 sha256[32];
	struct zw_fw_segment segment[ZW_FW_MAX_SEGMENTS];
};
ZW_ASSERT_OFFSET(struct zw_fw_header, sha256, 80);
ZW_ASSERT_SIZE(struct zw_fw_header, 240);

/* -- mailbox ----------------------------------------------------------------------------------- */

/*
 * Two rings of ZW_MBOX_SLOTS messages of 64 bytes in system memory. Message number n (1, 2, 3, ...)
 * is in slot n mod ZW_MBOX_SLOTS; the writer stores the seq field last. Host to firmware: place a
 * message, barrier, ring ZW_REG_MBOX_DOORBELL. The firmware answers every request exactly once, in
 * any order, in the other ring; a reply carries the request's seq in reply_to and its own running
 * number in seq, and raises ZW_VECTOR_MBOX. The host keeps at most ZW_MBOX_SLOTS / 2 requests
 * outstanding. Messages from ZW_MSG_EVENT_BASE on are unsolicited: events, of which the firmware posts no more than the
 * host allowed (struct zw_msg_events). Replies that are not read take at most half of the ring, events the other half:
 * nothing is ever overwritten that was not read.
 */
#define ZW_MBOX_SLOTS  64
#define ZW_MBOX_EVENTS (ZW_MBOX_SLOTS / 2) /* most events that are not read */

enum zw_msg_type {
	ZW_MSG_PING = 0x01,           /* reply: struct zw_msg_ping */
	ZW_MSG_QUERY_FW = 0x02,       /* reply: struct zw_msg_fw_info */
	ZW_MSG_SET_VM = 0x03,         /* struct zw_msg_set_vm */
	ZW_MSG_CLEAR_VM = 0x04,       /* struct zw_msg_set_vm; -EBUSY while queues use it */
	ZW_MSG_TLB_INVALIDATE = 0x05, /* struct zw_msg_tlb; reply when no engine uses old entries */
	ZW_MSG_CREATE_QUEUE = 0x10,   /* struct zw_msg_create_queue */
	ZW_MSG_DESTROY_QUEUE = 0x11,  /* struct zw_msg_queue; cancels jobs, reply when drained */
	/* struct zw_msg_queue; reply, when it no longer runs: struct zw_msg_queue_stop (ABI 2.7) */
	ZW_MSG_SUSPEND_QUEUE = 0x12,
	ZW_MSG_RESUME_QUEUE = 0x13, /* struct zw_msg_queue */
	ZW_MSG_QUERY_QUEUE = 0x14,  /* struct zw_msg_queue; reply: struct zw_msg_queue_info */
	ZW_MSG_SCRUB_HBM = 0x20,    /* struct zw_msg_scrub: zero a physical HBM range */
	ZW_MSG_TELEMETRY = 0x30,    /* struct zw_msg_telemetry: sample counters (ABI 2.5) */
	ZW_MSG_EVENTS = 0x31,       /* struct zw_msg_events: allow events (ABI 2.6) */
	ZW_MSG_PERF = 0x32,         /* struct zw_msg_perf: record single packets (ABI 2.7) */
	ZW_MSG_SETTLE = 0x33, /* no payload: queues without a job are not waited for (ABI 2.7) */
	ZW_MSG_EVENT_BASE = 0x8000,
	ZW_MSG_EVENT_ECC = 0x8001,      /* struct zw_msg_event_ecc (ABI 2.6) */
	ZW_MSG_EVENT_LINK = 0x8002,     /* reserved: a port went up or down */
	ZW_MSG_EVENT_THROTTLE = 0x8003, /* reserved: power or temperature */
};

enum zw_msg_status {
	ZW_MSG_OK = 0,
	ZW_MSG_ERR_TYPE = 1,        /* unknown message */
	ZW_MSG_ERR_ARG = 2,         /* argument out of range or reserved field not zero */
	ZW_MSG_ERR_EXIST = 3,       /* queue or VM id already in use */
	ZW_MSG_ERR_NOENT = 4,       /* queue or VM id not in use */
	ZW_MSG_ERR_BUSY = 5,        /* VM still used by a queue */
	ZW_MSG_ERR_STATE = 6,       /* queue is not in a state that allows it */
	ZW_MSG_ERR_DMA = 7,         /* a named address is not reachable */
	ZW_MSG_ERR_UNSUPPORTED = 8, /* known to the ABI, not to this firmware or device */
};

#define ZW_MSG_PAYLOAD 44

struct zw_msg {
	zw_le32 type;     /* enum zw_msg_type */
	zw_le32 status;   /* requests: 0; replies: enum zw_msg_status */
	zw_le32 reply_to; /* replies: seq of the request; else 0 */
	zw_le32 function; /* PCI function that asks: 0, the physical one */
	zw_u8 payload[ZW_MSG_PAYLOAD];
	zw_le32 seq; /* written last */
};
ZW_ASSERT_SIZE(struct zw_msg, 64);
ZW_ASSERT_OFFSET(struct zw_msg, payload, 16);
ZW_ASSERT_OFFSET(struct zw_msg, seq, 60);

/*
 * Payloads hold only 32-bit fields, so that their 4-byte aligned place in the message fits them
 * all.
 */
#define ZW_LO32(x) ((x)&0xffffffffu)
#define ZW_HI32(x) (((x) >> 32) & 0xffffffffu)

struct zw_msg_ping {
	zw_le32 cookie; /* echoed */
};

struct zw_msg_fw_info {
	zw_le32 fw_version;
	zw_le32 abi_version;
	zw_le32 num_queues;
	zw_le32 num_vms;
	zw_le32 time_slice_us; /* of equal-priority round robin */
	zw_le32 shared_size;
};

struct zw_msg_set_vm {
	zw_le32 vm;
	zw_le32 root_lo; /* HBM address of the root table, 4 KiB aligned */
	zw_le32 root_hi;
};

struct zw_msg_tlb {
	zw_le32 vm;
	zw_le32 reserved;
};

struct zw_msg_create_queue {
	zw_le32 queue;
	zw_le32 desc_bytes;       /* equals zw_queue_desc.size */
	zw_le32 desc_lo, desc_hi; /* DMA address of struct zw_queue_desc, 64-byte aligned */
};

struct zw_msg_queue {
	zw_le32 queue;
};

/* Where a suspended queue stands: what zw_queue_desc takes to go on there after a reset. */
struct zw_msg_queue_stop {
	zw_le32 completed_lo, completed_hi; /* number of the last completed job */
	zw_le32 resume_offset; /* of the packet with which the next job goes on; 0: it did not begin */
};

enum zw_queue_state {
	ZW_QUEUE_FREE = 0,
	ZW_QUEUE_IDLE = 1,
	ZW_QUEUE_READY = 2, /* has jobs, waits for its turn */
	ZW_QUEUE_RUNNING = 3,
	ZW_QUEUE_BLOCKED = 4, /* its job waits for a semaphore */
	ZW_QUEUE_SUSPENDED = 5,
	ZW_QUEUE_ERROR = 6,    /* stopped by a failed job */
	ZW_QUEUE_DRAINING = 7, /* being destroyed */
};

struct zw_msg_queue_info {
	zw_le32 state;     /* enum zw_queue_state */
	zw_le32 completed; /* low 32 bits of the last completed job number */
	zw_le32 fetched;   /* low 32 bits of the last fetched job number */
	/*
	 * Running counts of what the device did for this queue, whether it runs now or not: packets
	 * retired, and engine tiles, which move within one long packet. Looking again and again at a
	 * semaphore moves neither, and the state stays ZW_QUEUE_BLOCKED meanwhile.
	 */
	zw_le32 packets_retired;
	zw_le32 progress;
	zw_le32 last_status; /* enum zw_job_status of the last failed job */
	/*
	 * The job that stopped the queue, in ZW_QUEUE_ERROR (ABI 2.3, 0 before). No job did when
	 * `failed` is 0: then the ring makes no sense.
	 */
	zw_le32 failed;      /* low 32 bits of its number */
	zw_le32 last_reason; /* enum zw_reason or enum zw_fault; << 16: enum zw_access */
	zw_le32 packet_index;
	zw_le32 fault_lo, fault_hi; /* address of a fault */
};
ZW_ASSERT_SIZE(struct zw_msg_queue_info, ZW_MSG_PAYLOAD);

struct zw_msg_scrub {
	zw_le32 addr_lo, addr_hi; /* HBM address and length, 4 KiB aligned */
	zw_le32 size_lo, size_hi;
};

/*
 * Samples every interval_us, into a ring of `slots` records of struct zw_telemetry: number n (1, 2, 3, ...) is in slot n
 * mod slots. Nobody takes them away: one that is not read in time is overwritten by the one that is `slots` later. Each
 * raises ZW_VECTOR_MBOX. What was asked for before is replaced, and numbers begin anew; the first sample comes one
 * interval after the answer. All zero stops: after the answer the ring is not written any more. It also stops, for good,
 * when the ring cannot be written.
 */
struct zw_msg_telemetry {
	zw_le32 ring_lo, ring_hi; /* DMA address, 64-byte aligned, not 0 */
	zw_le32 slots;            /* power of two, 2..ZW_TELEMETRY_MAX_SLOTS */
	zw_le32 interval_us; /* ZW_TELEMETRY_MIN_US..ZW_TELEMETRY_MAX_US, of the host's clock */
};

#define ZW_TELEMETRY_MAX_SLOTS 1024
#define ZW_TELEMETRY_MIN_US    1000u
#define ZW_TELEMETRY_MAX_US    60000000u
#define ZW_TELEMETRY_COUNTERS  56 /* that a record has room for */

/* The power limit made products take longer since the sample before. */
#define ZW_THROTTLE_POWER (1u << 0)

/* A sample. Counters are of one moment of the settled time, counter[ZW_PMU_SETTLED_PS's]. */
struct zw_telemetry {
	zw_le64 seq;          /* written last, whole */
	zw_le32 size;         /* bytes of the record that mean anything, from its start */
	zw_le32 num_counters; /* of them */
	zw_le64 host_us;      /* when it was taken: the control core's clock */
	zw_le32 power_mw; /* mean over the simulated time since the sample before; idle power if none passed */
	zw_le32 temperature_mc; /* two's complement */
	zw_le32 cap_mw;         /* 0: no limit */
	zw_le32 throttle;       /* ZW_THROTTLE_* */
	zw_le32 reserved[6];
	zw_le64 counter
		[ZW_TELEMETRY_COUNTERS]; /* in the order of the registers from ZW_REG_PMU on */
};
ZW_ASSERT_OFFSET(struct zw_telemetry, counter, 64);
ZW_ASSERT_SIZE(struct zw_telemetry, 512);

/*
 * Records of what queues with an owner do (zw_queue_desc.owner), into a ring of `slots` records of struct zw_perf_record:
 * number n (1, 2, 3, ... without gaps) is in slot n mod slots. They come when their times are final
 * (Documentation/device/time.md, "One device"), those of a job at the latest with that of its end. The driver says in a
 * control block which it has read; none is overwritten before. The device waits for nobody: what it has no room for is
 * dropped, and counted in the records behind. ZW_VECTOR_MBOX is raised when some were written. Who makes room in a ring that
 * was full rings ZW_REG_MBOX_DOORBELL.
 *
 * What was asked for before is replaced, and numbers begin anew; `taken` has to be 0. All zero stops: after the answer the
 * ring is not written any more. It also stops, for good, when ring or control block cannot be reached, or `taken` makes no
 * sense.
 *
 * ZW_MSG_SETTLE: what queues without a job add later begins no earlier than what the others have done by now, so that this
 * becomes final. When it is answered, what is final is in the ring, as far as there is room.
 */
struct zw_msg_perf {
	zw_le32 ring_lo, ring_hi; /* DMA address, 64-byte aligned, not 0 */
	zw_le32 slots;            /* power of two, ZW_PERF_MIN_SLOTS..ZW_PERF_MAX_SLOTS */
	zw_le32 ctrl_lo, ctrl_hi; /* DMA address of struct zw_perf_ctrl, 64-byte aligned, not 0 */
};

struct zw_perf_ctrl {
	zw_le64 taken; /* number of the last record that was read; the driver's */
	zw_le64 reserved[7];
};
ZW_ASSERT_SIZE(struct zw_perf_ctrl, 64);

#define ZW_PERF_MIN_SLOTS 16u
#define ZW_PERF_MAX_SLOTS 65536u
#define ZW_PERF_PORTS     3 /* HBM; system memory to the device; the other way */
#define ZW_PERF_WAITS     5 /* for the engine, HBM, PCIe, tokens, a semaphore */

enum zw_perf_kind {
	ZW_PERF_BEGIN =
		1, /* the command processor began a job: fields as of a packet, without a name */
	ZW_PERF_PACKET = 2, /* a packet ran */
	ZW_PERF_JOB = 3,    /* a job ended; all its packets were told before */
	ZW_PERF_END = 4,    /* the queue is gone: the last record of this owner. No fields */
};

/* Of a packet: struct zw_settled_packet of the device model says what is what. Picoseconds of the device's clock. */
struct zw_perf_packet {
	zw_le64 fixed_ps;
	zw_le64 compute_ps;
	struct {
		zw_le64 request_ps, start_ps, end_ps; /* all 0: it did not use the port */
	} port[ZW_PERF_PORTS];
	zw_le64 wait_ps[ZW_PERF_WAITS];
	zw_le64 energy_pj;
	zw_le64 ops;
	zw_le64 hbm_bytes;
	zw_le64 sys_bytes;
	zw_le16 wait; /* as in struct zw_pkt */
	zw_u8 signal;
	zw_u8 ordered;
	zw_le32 reserved0;
	zw_le64 reserved[2];
};

/* Of a job. The sums are over all that its queue has done so far, this job included. */
struct zw_perf_job {
	zw_le64 release_ps; /* the job before it had ended */
	zw_le64 packets;
	zw_le64 busy_ps[ZW_ENGINE_COUNT];
	zw_le64 port_busy_ps[ZW_PERF_PORTS];
	zw_le64 wait_ps[ZW_PERF_WAITS];
	zw_le64 energy_pj;
	zw_le64 ops;
	zw_le64 hbm_bytes;
	zw_le64 sys_bytes;
	zw_le64 reserved;
};

struct zw_perf_record {
	zw_le64 seq;     /* written last, whole */
	zw_le64 dropped; /* records that there was no room for, before this one, of any owner */
	zw_le32 kind;    /* enum zw_perf_kind */
	zw_le32 owner;   /* zw_queue_desc.owner */
	zw_le32 queue;   /* its number */
	zw_le32 engine;  /* enum zw_engine; of BEGIN and PACKET, as the next four */
	zw_le64 job;     /* number in its queue */
	zw_le32 index;   /* of the packet in its job, from 0 */
	zw_le32 opcode;
	zw_le32 tag;
	zw_le32 rows;
	zw_le64 start_ps; /* its engine took it; of a job: the command processor did */
	zw_le64 end_ps;
	union {
		struct zw_perf_packet packet; /* BEGIN, PACKET */
		struct zw_perf_job done;      /* JOB */
	} u;
};
ZW_ASSERT_OFFSET(struct zw_perf_record, u, 72);
ZW_ASSERT_SIZE(struct zw_perf_packet, 184);
ZW_ASSERT_SIZE(struct zw_perf_job, 184);
ZW_ASSERT_SIZE(struct zw_perf_record, 256);

/*
 * Events. None is posted before the first of these messages. `allowed` is the number of the last event since the boot,
 * the first being 1, that may be posted; modulo 2^32. The host sets it to at most ZW_MBOX_EVENTS more than it has read,
 * and never to less than before. What happens meanwhile is kept and summed up in the device, so that an event later
 * stands for all of it. ZW_MSG_ERR_ARG: more than ZW_MBOX_EVENTS ahead of what was posted.
 */
struct zw_msg_events {
	zw_le32 allowed;
};

enum zw_ecc_kind {
	ZW_ECC_CORRECTED = 0,
	ZW_ECC_UNCORRECTABLE = 1, /* what was in the page is lost */
};

#define ZW_ECC_NO_ADDR 0xffffffffffffffffull /* in pages that there was no room to tell */

/* Errors of HBM in one page, since the last event about it. */
struct zw_msg_event_ecc {
	zw_le32 addr_lo, addr_hi; /* HBM address of the page of 4 KiB, or ZW_ECC_NO_ADDR */
	zw_le32 uncorrectable;    /* enum zw_ecc_kind */
	zw_le32 count;            /* how many; 0xffffffff: that many or more */
};

/* -- shared window (read-only for the host at ZW_REG_FW_SHARED) -------------------------------- */

#define ZW_FW_SHARED_MAGIC 0x4853575au /* "ZWSH" */

/*
 * First bytes of the window. Everything in it was written by the firmware: a reader bounds every
 * offset and index by ZW_FW_SHARED_SIZE.
 */
struct zw_fw_shared {
	zw_le32 magic;
	zw_le32 size;       /* sizeof(struct zw_fw_shared) */
	zw_le32 log_offset; /* of the log ring, from the start of the window */
	zw_le32 log_size;   /* bytes, power of two */
	zw_le32 log_head; /* running count of bytes ever written; the last log_size of them are there */
	zw_le32 jobs_done;
	zw_le32 jobs_failed;
	zw_le32 preemptions;
	zw_le32 messages;
	zw_le32 loops; /* turns of the main loop */
	zw_le32 reserved[6];
};
ZW_ASSERT_SIZE(struct zw_fw_shared, 64);

#endif /* ZW_FW_H */
