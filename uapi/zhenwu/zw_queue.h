/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: queues. Descriptor, ring entry, completion, job result.
 *
 * A queue is three pieces of memory, named in a descriptor (struct zw_queue_desc):
 *   - the ring: 2^n entries of 64 bytes, written by the driver;
 *   - its control block, in which the driver publishes the tail;
 *   - the completion ring: 2^n entries of 64 bytes, written by the firmware.
 *
 * They are system memory of the driver's (DMA addresses), or, with ZW_QUEUE_F_USER, memory of the
 * queue's own VM (virtual addresses there): then user space writes ring and tail and rings the
 * doorbell itself. The firmware treats both alike: it trusts neither.
 *
 * Job number s (1, 2, 3, ... without gaps) lives in slot s mod 2^n of both rings. To submit, the
 * driver fills the entry, issues a write barrier, stores the new tail (the highest job number, 32
 * bits of it) and rings the doorbell, which carries no payload. Jobs of a queue complete in order.
 * Job s is complete when completion[s mod 2^n].seqno == s; the firmware writes that field last. A
 * driver never has more than 2^n jobs in flight, so nothing needs a head index, and a device that
 * lies in a completion can only lie about its own jobs.
 *
 * The first job that fails stops its queue: the jobs behind it complete with ZW_JOB_CANCELED until
 * the queue is destroyed. Other queues run on. Of a queue with ZW_QUEUE_F_USER only those complete
 * that were in the ring when it stopped; its doorbell does nothing any more. A completion of such a
 * queue that cannot be written stops it, too.
 *
 * Who polls needs no interrupt. To sleep until job n is complete without having asked for an
 * interrupt when it was submitted, store n in `wake` of the control block, ring the doorbell and look
 * at the completion once more: the vector is raised when job n completes, or at once when it has.
 * Storing another number takes the place of the first.
 */
#ifndef ZW_QUEUE_H
#define ZW_QUEUE_H

#include "zw_types.h"

#define ZW_RING_MIN_LOG2 3
#define ZW_RING_MAX_LOG2 10
#define ZW_CMD_MAX_BYTES (16u << 20) /* one command buffer */

/*
 * What CREATE_QUEUE names. The firmware copies it once; the memory is the driver's again when the
 * message is answered. size: what the driver knows of the structure, at least
 * ZW_QUEUE_DESC_MIN; bytes beyond what the firmware knows have to be zero.
 */
struct zw_queue_desc {
	zw_le32 size;
	zw_le32 flags;    /* ZW_QUEUE_F_* */
	zw_le32 function; /* PCI function whose memory and interrupts it uses: 0, the physical one */
	zw_le32 vm;
	zw_le32 priority;   /* enum zw_queue_priority */
	zw_le32 log2_slots; /* ZW_RING_MIN_LOG2..ZW_RING_MAX_LOG2 */
	zw_le32 vector;     /* MSI-X vector of completions, 1..: 0 is the firmware's own */
	zw_le32 slice_us;   /* time slice among queues of its priority; 0: the firmware's default */
	zw_le64 ring;       /* the three are 64-byte aligned */
	zw_le64 ctrl;
	zw_le64 completions;
	/*
	 * What the driver knows it by in records of what it did (struct zw_perf_record, ABI 2.7); 0: there are
	 * to be none.
	 */
	zw_le32 owner;
	zw_le32 reserved;
	/*
	 * ABI 2.7: where a queue goes on that was suspended before a reset, both as ZW_MSG_SUSPEND_QUEUE answered; 0 for
	 * a new one. The job after `completed` begins at that packet of its command buffer, which is read anew. Its
	 * result counts from there.
	 */
	zw_le64 completed;
	zw_le32 resume_offset;
	zw_le32 reserved2;
};
ZW_ASSERT_SIZE(struct zw_queue_desc, 80);

#define ZW_QUEUE_DESC_MIN 64
#define ZW_QUEUE_DESC_MAX 256
#define ZW_QUEUE_F_USER   (1u << 0) /* ring, ctrl and completions are addresses of the VM */
#define ZW_QUEUE_F_KNOWN  ZW_QUEUE_F_USER

enum zw_queue_priority {
	ZW_PRIO_LOW = 0,
	ZW_PRIO_NORMAL = 1,
	ZW_PRIO_HIGH = 2,
	ZW_PRIO_REALTIME = 3,
	ZW_PRIO_COUNT = 4,
};

struct zw_ring_entry {
	zw_le64 seqno; /* job number; an entry whose seqno is not the expected one stops the queue */
	zw_le64 cmd_va;    /* command buffer in the queue's VM, 16-byte aligned */
	zw_le32 cmd_bytes; /* its length, multiple of 16; 0 is an empty job */
	zw_le32 flags;     /* ZW_RING_F_* */
	zw_le64 result_va; /* where the device writes struct zw_job_result, 64-byte aligned; 0: nowhere */
	zw_le64 cookie; /* copied to the completion, never interpreted */
	zw_le32 vector; /* MSI-X vector of this completion; 0: the queue's; ZW_QUEUE_F_USER: 0 */
	zw_le32 reserved0;
	zw_le64 reserved[2];
};
ZW_ASSERT_SIZE(struct zw_ring_entry, 64);

#define ZW_RING_F_IRQ   (1u << 0) /* raise the queue's vector when this job completes */
#define ZW_RING_F_KNOWN ZW_RING_F_IRQ

struct zw_ring_ctrl {
	zw_le32 tail; /* low 32 bits of the highest job number in the ring */
	zw_le32 wake; /* low 32 bits of the job at whose end to interrupt (ABI 2.3) */
	zw_le32 reserved[14];
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
	ZW_JOB_ECC = 7,       /* uncorrectable memory error: fault_va as for ZW_JOB_FAULT */
	ZW_JOB_LINK = 8,      /* a link went down under the job */
	ZW_JOB_TIMEOUT = 9,   /* the firmware gave up an engine that made no progress */
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
 * Record the device writes to zw_ring_entry.result_va of every job that ends, however it ends
 * (cancelled ones that never ran included), before its completion. It is how user space learns the
 * simulated cost of a job without a system call, and its end: who cleared seqno before it submitted
 * and reads the job's number there finds the other fields, and everything that the job wrote.
 */
struct zw_job_result {
	zw_le64 seqno; /* written last */
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
	zw_le64 sram_read;
	zw_le64 sram_written;
	zw_le64 link_read;    /* bytes that came in from other cards ... */
	zw_le64 link_written; /* ... and that went out */
	zw_le64 energy_pj;    /* of operations and bytes, what the chip takes when idle apart */
	zw_le64 busy_ps[ZW_ENGINE_COUNT];
	zw_le32 tag;   /* of the packet that failed, or of the last one */
	zw_le32 flags; /* 0 */
	zw_le64 reserved[7];
};
ZW_ASSERT_SIZE(struct zw_job_result, 256);

#endif /* ZW_QUEUE_H */
