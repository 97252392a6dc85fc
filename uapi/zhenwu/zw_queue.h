/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: queues. Ring entry, completion, job result.
 *
 * A queue is three pieces of system memory that the driver allocates and names in CREATE_QUEUE:
 *   - the ring: 2^n entries of 64 bytes, written by the driver;
 *   - its control block, in which the driver publishes the tail;
 *   - the completion ring: 2^n entries of 64 bytes, written by the firmware.
 *
 * Job number s (1, 2, 3, ... without gaps) lives in slot s mod 2^n of both rings. To submit, the
 * driver fills the entry, issues a write barrier, stores the new tail (the highest job number, 32
 * bits of it) and rings the doorbell, which carries no payload. Jobs of a queue complete in order.
 * Job s is complete when completion[s mod 2^n].seqno == s; the firmware writes that field last. A
 * driver never has more than 2^n jobs in flight, so nothing needs a head index, and a device that
 * lies in a completion can only lie about its own jobs.
 *
 * The first job that fails stops its queue: the jobs behind it complete with ZW_JOB_CANCELED until
 * the queue is destroyed. Other queues run on.
 */
#ifndef ZW_QUEUE_H
#define ZW_QUEUE_H

#include "zw_types.h"

#define ZW_RING_MIN_LOG2 3
#define ZW_RING_MAX_LOG2 10
#define ZW_CMD_MAX_BYTES (16u << 20) /* one command buffer */

struct zw_ring_entry {
	zw_le64 seqno; /* job number; an entry whose seqno is not the expected one stops the queue */
	zw_le64 cmd_va;    /* command buffer in the queue's VM, 16-byte aligned */
	zw_le32 cmd_bytes; /* its length, multiple of 16; 0 is an empty job */
	zw_le32 flags;     /* ZW_RING_F_* */
	zw_le64 result_va; /* where the device writes struct zw_job_result, 64-byte aligned; 0: nowhere */
	zw_le64 cookie; /* copied to the completion, never interpreted */
	zw_le64 reserved[3];
};
ZW_ASSERT_SIZE(struct zw_ring_entry, 64);

#define ZW_RING_F_IRQ   (1u << 0) /* raise the queue's vector when this job completes */
#define ZW_RING_F_KNOWN ZW_RING_F_IRQ

struct zw_ring_ctrl {
	zw_le32 tail; /* low 32 bits of the highest job number in the ring */
	zw_le32 reserved[15];
};
ZW_ASSERT_SIZE(struct zw_ring_ctrl, 64);

enum zw_job_status {
	ZW_JOB_OK = 0,
	ZW_JOB_INVALID = 1, /* packet refused: packet_index and enum zw_reason tell which and why */
	ZW_JOB_FAULT = 2,   /* MMU fault: fault_va, fault_access, reason = enum zw_fault */
	ZW_JOB_CANCELED = 3,  /* queue was reset, destroyed or had failed before */
	ZW_JOB_DATA = 4,      /* data out of range, e.g. a token id beyond the embedding table */
	ZW_JOB_NO_MEMORY = 5, /* the host that emulates the device ran out of memory for HBM */
	ZW_JOB_INTERNAL = 6,  /* an engine failed; firmware log says more */
};

/* Why a packet was refused (status ZW_JOB_INVALID) or its data was (ZW_JOB_DATA). */
enum zw_reason {
	ZW_REASON_NONE = 0,
	ZW_REASON_CMD_SIZE = 1,    /* command buffer length or alignment */
	ZW_REASON_PACKET_SIZE = 2, /* size field wrong for the opcode or beyond the buffer */
	ZW_REASON_OPCODE = 3,      /* unknown opcode */
	ZW_REASON_FLAGS = 4,       /* unknown flag */
	ZW_REASON_RESERVED = 5,    /* reserved field not zero */
	ZW_REASON_DTYPE = 6,       /* data type not accepted here */
	ZW_REASON_UNSUPPORTED = 7, /* well-formed, but beyond what this device computes */
	ZW_REASON_NDIM = 8,        /* wrong number of dimensions */
	ZW_REASON_SHAPE = 9,       /* dimensions of the operands do not agree, or one is zero */
	ZW_REASON_LIMIT = 10,      /* a dimension or size over the architectural limit */
	ZW_REASON_STRIDE = 11,     /* stride smaller than the row, or overflow */
	ZW_REASON_ALIGN = 12,      /* address not aligned to the element or record */
	ZW_REASON_OVERLAP = 13,    /* output overlaps an operand it may not overlap */
	ZW_REASON_VALUE =
		14, /* scalar out of range (eps, scale, k, token, block size) or not finite */
	ZW_REASON_ROWS = 15,    /* indirect row count over dim[0] */
	ZW_REASON_OPERAND = 16, /* a needed operand is absent or a surplus one present */
	ZW_REASON_INDEX = 17,   /* token id, position, sequence or block number out of range */
	ZW_REASON_RING = 18,    /* malformed ring entry */
};

struct zw_completion {
	zw_le64 cookie;
	zw_le64 start_ps;     /* simulated time of the device at which the job started ... */
	zw_le64 end_ps;       /* ... and ended, picoseconds since its reset */
	zw_le32 status;       /* enum zw_job_status */
	zw_le32 reason;       /* enum zw_reason or enum zw_fault, by status */
	zw_le32 packet_index; /* packet that failed (0-based), or packets retired when OK */
	zw_le32 fault_access; /* enum zw_access */
	zw_le64 fault_va;
	zw_le32 tag; /* of the packet that failed (struct zw_pkt); 0 when OK or no packet's fault */
	zw_le32 reserved;
	zw_le64 seqno; /* written last */
};
ZW_ASSERT_SIZE(struct zw_completion, 64);
ZW_ASSERT_OFFSET(struct zw_completion, seqno, 56);

/*
 * Record the device writes to zw_ring_entry.result_va when the job ends, well or badly, run or
 * not, before its completion. It is how user space learns the simulated cost of a job without a system call.
 */
struct zw_job_result {
	zw_le64 seqno;
	zw_le32 status;
	zw_le32 reason;
	zw_le32 packet_index;
	zw_le32 fault_access;
	zw_le64 fault_va;
	zw_le64 start_ps;
	zw_le64 end_ps;
	zw_le64 hbm_read; /* bytes, by the cost model's accounting */
	zw_le64 hbm_written;
	zw_le64 sys_read;
	zw_le64 sys_written;
	zw_le64 packets;
	zw_le32 tag; /* as in the completion */
	zw_le32 reserved0;
	zw_le64 reserved[4];
	zw_le64 busy_ps[ZW_ENGINE_COUNT];
};
ZW_ASSERT_SIZE(struct zw_job_result, 192);

#endif /* ZW_QUEUE_H */
