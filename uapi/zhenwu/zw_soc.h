/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: the control core's own address map. Contract between firmware and device core;
 * the host never sees it.
 *
 * The core is RV64IMAC, machine mode only. Peripheral registers are accessed with naturally aligned
 * loads and stores of their own width (32 or 64 bits); anything else raises an access fault. All
 * peripheral operations are synchronous unless said otherwise.
 */
#ifndef ZW_SOC_H
#define ZW_SOC_H

#include "zw_types.h"

/* -- SRAM -------------------------------------------------------------------------------------- */
#define ZW_SOC_SRAM_BASE   0x80000000u
#define ZW_SOC_SRAM_SIZE   0x00400000u /* 4 MiB */
/* The last 64 KiB are the window the host reads at ZW_REG_FW_SHARED. */
#define ZW_SOC_SHARED_BASE (ZW_SOC_SRAM_BASE + ZW_SOC_SRAM_SIZE - 0x10000u)

/* -- timer (CLINT-like). mtime counts host-clock microseconds: it paces time slices and heartbeat,
 *    and never enters simulated time. */
#define ZW_SOC_MTIMECMP 0x02004000u /* 64, RW: MTIP is set while mtime >= mtimecmp */
#define ZW_SOC_MTIME    0x0200bff8u /* 64, R */

/* -- interrupt summary: MEIP is the OR of (pending & enable) ----------------------------------- */
#define ZW_SOC_IRQ_PENDING  0x10000000u /* 32, R: ZW_SOC_IRQ_* */
#define ZW_SOC_IRQ_ENABLE   0x10000004u /* 32, RW */
#define ZW_SOC_IRQ_MBOX     (1u << 0)   /* mailbox doorbell; cleared by writing it to PENDING */
#define ZW_SOC_IRQ_DOORBELL (1u << 1)   /* a bit in DB_PENDING is set; cleared by claiming them */
#define ZW_SOC_IRQ_CP       (1u << 2)   /* CP_STATUS is DONE; cleared by CP_ACK */
#define ZW_SOC_IRQ_TLB      (1u << 3)   /* a TLB invalidation finished; W1C in PENDING */
#define ZW_SOC_IRQ_ECC                                                                             \
	(1u << 4) /* an ECC_COUNT is not 0; cleared by taking the records (ABI 2.6) */
#define ZW_SOC_IRQ_PERF                                                                            \
	(1u << 5) /* records are to be written; cleared when PERF_HELD is 0 (ABI 2.7) */

/* -- mirror of host registers ------------------------------------------------------------------ */
#define ZW_SOC_MBOX_H2F    0x10000010u /* 64, R */
#define ZW_SOC_MBOX_F2H    0x10000018u /* 64, R */
#define ZW_SOC_FW_STATUS   0x10000020u /* 32, W: ZW_SOC_FW_READY, or an error code | ZW_SOC_FW_FAIL */
#define ZW_SOC_FW_READY    1u
#define ZW_SOC_FW_FAIL     0x80000000u
#define ZW_SOC_FW_VERSION  0x10000024u /* 32, W */
#define ZW_SOC_HEARTBEAT   0x10000028u /* 32, W */
#define ZW_SOC_NUM_QUEUES  0x1000002cu /* 32, R */
#define ZW_SOC_NUM_VMS     0x10000030u /* 32, R */
#define ZW_SOC_ABI_VERSION 0x10000034u /* 32, R */
#define ZW_SOC_HBM_SIZE    0x10000038u /* 64, R */

#define ZW_SOC_CAPS 0x10000040u /* 32, R: ZW_CAP_* */

/* Queues and VMs come in banks of 64: bit i of bank b is number 64 * b + i. */
#define ZW_SOC_BANK_SIZE 64
#define ZW_SOC_BANKS     64

/* -- doorbells --------------------------------------------------------------------------------- */
#define ZW_SOC_DB_SUMMARY     0x10001000u /* 64, R: bit b: a queue of bank b rang */
/* 64, R: bit i: queue 64 * bank + i rang; reading clears what it returns. */
#define ZW_SOC_DB_CLAIM(bank) (0x10001200u + 8 * (bank))

/*
 * -- DMA port: moves bytes between SRAM and system memory, or memory of a VM. Words of 4 and 8 bytes
 *    that are naturally aligned are moved whole.
 */
#define ZW_SOC_DMA_SYS      0x10000100u /* 64, RW: PCI DMA address, or virtual address of the VM */
#define ZW_SOC_DMA_SRAM     0x10000108u /* 64, RW: SRAM address */
#define ZW_SOC_DMA_LEN      0x10000110u /* 32, RW: 1..4096 bytes */
#define ZW_SOC_DMA_CTRL     0x10000114u /* 32, W: ZW_SOC_DMA_*; the store returns when it is done */
#define ZW_SOC_DMA_TO_SRAM  1u
#define ZW_SOC_DMA_TO_SYS   2u
#define ZW_SOC_DMA_VM_F     4u          /* or-ed: DMA_SYS is an address of the VM in DMA_VM */
#define ZW_SOC_DMA_STATUS   0x10000118u /* 32, R: 0 done, 1 bus error or MMU fault, 2 bad argument */
#define ZW_SOC_DMA_FUNCTION 0x1000011cu /* 32, RW: PCI function whose bus addresses they are */
#define ZW_SOC_DMA_VM       0x10000120u /* 32, RW */

/* -- interrupt to the host --------------------------------------------------------------------- */
#define ZW_SOC_MSIX_RAISE 0x10000200u /* 32, W: function << 16 | vector */

/* -- MMU --------------------------------------------------------------------------------------- */
#define ZW_SOC_MMU_VM         0x10000300u /* 32, RW: VM the next two act on */
#define ZW_SOC_MMU_ROOT       0x10000308u /* 64, W: root table | ZW_SOC_MMU_ROOT_VALID; 0 clears the VM */
#define ZW_SOC_MMU_ROOT_VALID 1u
/*
 * 32, W: any value: drop the VM's TLB entries. Asynchronous with respect to a packet that runs on
 * this VM now; MMU_BUSY tells when none is left that could use an old entry. Clearing a root
 * behaves the same.
 */
#define ZW_SOC_MMU_INVALIDATE 0x10000310u
/* 64, R: bit i: VM 64 * bank + i still has an invalidation under way. */
#define ZW_SOC_MMU_BUSY(bank) (0x10001400u + 8 * (bank))
#define ZW_SOC_MMU_STATUS                                                                          \
	0x10000320u /* 32, R: of the last ROOT write: 0 ok, 1 bad VM, 2 bad address */

/* -- command processor ------------------------------------------------------------------------- */
#define ZW_SOC_CP_JOB     0x10000400u /* 64, RW: SRAM address of struct zw_soc_job, 64-byte aligned */
#define ZW_SOC_CP_CTRL    0x10000408u /* 32, W: ZW_SOC_CP_START ... _REPORT */
#define ZW_SOC_CP_START   1u          /* in IDLE: read the job record and run it, asynchronously */
#define ZW_SOC_CP_PREEMPT 2u          /* stop at the next packet boundary */
#define ZW_SOC_CP_CANCEL                                                                           \
	3u /* stop as soon as the engines can; outputs of the packet are undefined */
#define ZW_SOC_CP_ACK               4u /* in DONE: back to IDLE */
/*
 * In any state, for a job that is not the one that runs and is not going to run (any further): the
 * device writes its job result, with the record's status and reason, and fills start_ps and end_ps
 * of the record. Done when the store returns.
 */
#define ZW_SOC_CP_REPORT            5u
#define ZW_SOC_CP_STATUS            0x1000040cu /* 32, R: enum zw_soc_cp_status */
#define ZW_SOC_CP_PROGRESS          0x10000410u /* 32, R: running count of tiles done by the engines */
#define ZW_SOC_CP_PACKETS           0x10000414u /* 32, R: running count of packets retired */
/* 32, W: queue id: forget its simulated clock and saved job state (CREATE_QUEUE, DESTROY_QUEUE). */
#define ZW_SOC_CP_QUEUE_RESET       0x10000418u
/*
 * 32, W: queue id | ZW_SOC_CP_QUEUE_PRIORITY(enum zw_queue_priority), after the reset of a queue that is
 * made: it may run jobs until it is reset again. What others do is not settled before what it may still
 * run (ABI 2.4).
 */
#define ZW_SOC_CP_QUEUE_OPEN        0x1000041cu
#define ZW_SOC_CP_QUEUE_PRIORITY(p) ((p) << 16)

/*
 * 64, W: the same, | owner << 32: what the queue does is recorded, and the records carry this number; not 0
 * (ABI 2.7).
 */
#define ZW_SOC_CP_QUEUE_OPEN_OWNED 0x10000420u
/*
 * 32, W: any value: what queues that have no job begun add later begins no earlier than what the others
 * have done, which is settled as far as it can be without them. Done when the store returns (ABI 2.7).
 */
#define ZW_SOC_CP_SETTLE           0x10000428u

enum zw_soc_cp_status {
	ZW_SOC_CP_IDLE = 0,
	ZW_SOC_CP_RUNNING = 1,
	ZW_SOC_CP_DONE = 2, /* result record is in SRAM */
};

/* How a run of the command processor ended. */
enum zw_soc_cp_end {
	ZW_SOC_END_COMPLETE = 0,  /* job over, well or not: see status */
	ZW_SOC_END_PREEMPTED = 1, /* resume with resume_offset */
	ZW_SOC_END_BLOCKED = 2, /* a semaphore is not there yet: resume with resume_offset, later */
};

/*
 * Job record in SRAM. The firmware fills the first half and starts; the device fills the second
 * half before it raises ZW_SOC_IRQ_CP.
 */
/*
 * The job was interrupted at resume_offset before a reset of the device, which has forgotten it: its buffer is read
 * anew, and what is in front of there is not run. Of one that is not forgotten it means nothing (ABI 2.7).
 */
#define ZW_SOC_JOB_CONTINUE (1u << 0)

struct zw_soc_job {
	zw_le32 queue;
	zw_le32 vm;
	zw_le64 seqno;
	zw_le64 cmd_va;
	zw_le32 cmd_bytes;
	zw_le32 resume_offset; /* 0 for a fresh job */
	zw_le64 result_va;
	zw_le32 function;
	zw_le32 flags; /* ZW_SOC_JOB_* */
	zw_le64 reserved[2];
	/* written by the device */
	zw_le32 end;    /* enum zw_soc_cp_end */
	zw_le32 status; /* enum zw_job_status, when complete */
	zw_le32 reason;
	zw_le32 packet_index;
	zw_le64 fault_va;
	zw_le32 fault_access;
	zw_le32 next_offset; /* resume_offset of the next run */
	zw_le64 start_ps;
	zw_le64 end_ps;
	zw_le32 tag; /* of the packet that failed */
	zw_le32 reserved2;
	zw_le64 reserved3;
};
ZW_ASSERT_SIZE(struct zw_soc_job, 128);
ZW_ASSERT_OFFSET(struct zw_soc_job, end, 64);

/* -- HBM scrubber: zeroes a range; the store to CTRL returns when it is done ------------------- */
#define ZW_SOC_SCRUB_ADDR   0x10000500u /* 64, RW */
#define ZW_SOC_SCRUB_SIZE   0x10000508u /* 64, RW */
#define ZW_SOC_SCRUB_CTRL   0x10000510u /* 32, W: 1 starts */
#define ZW_SOC_SCRUB_STATUS 0x10000514u /* 32, R: 0 done, 2 bad range */

/* -- telemetry (ABI 2.5) ----------------------------------------------------------------------- */
/*
 * 64, W: SRAM address, 8-byte aligned: the device stores the ZW_PMU_COUNT counters there, in the order of their
 * registers. Those of the settled time are of one moment of it. Done when the store returns.
 */
#define ZW_SOC_PMU_SNAPSHOT   0x10000600u
#define ZW_SOC_TEMPERATURE_MC 0x10000608u /* 32, R; these as the host's */
#define ZW_SOC_IDLE_MW        0x1000060cu /* 32, R */
#define ZW_SOC_CAP_MW         0x10000610u /* 32, R */

/* -- errors of HBM (ABI 2.6) ------------------------------------------------------------------- */
/*
 * A log for each enum zw_ecc_kind (zw_fw.h): records of a page of 4 KiB and how many errors were found in it, oldest
 * first. An error in a page that has a record already is counted there. There are ZW_SOC_ECC_PAGES records of pages;
 * errors in further pages are counted in one last record, whose address is ZW_ECC_NO_ADDR. Records stay until they are
 * taken. ZW_REG_RESET forgets corrected errors, as it does counters, and keeps uncorrectable ones, as it keeps HBM; a
 * reset that zeroes HBM forgets both.
 */
#define ZW_SOC_ECC_PAGES 16
#define ZW_SOC_ECC_ADDR(kind)                                                                      \
	(0x10000700u + 16 * (kind)) /* 64, R: of the oldest record; 0 without one */
/*
 * 32, RW: errors of the oldest record, 0xffffffff: that many or more; 0: there is none. To take it what was read is written
 * back: that is subtracted, so what was counted in between is not lost, and when nothing is left the record goes. More
 * than there are: access fault.
 */
#define ZW_SOC_ECC_COUNT(kind) (0x10000708u + 16 * (kind))

/* -- records of single packets (ABI 2.7) ------------------------------------------------------- */
/*
 * The device holds up to ZW_SOC_PERF_HELD_MAX records (struct zw_perf_record) that were not written yet; those that come
 * when there is no room for more are dropped and counted. The last ZW_SOC_PERF_HELD_ENDS are for ends of queues.
 */
#define ZW_SOC_PERF_HELD_MAX  32768
#define ZW_SOC_PERF_HELD_ENDS 4096
#define ZW_SOC_PERF_RING                                                                           \
	0x10000800u /* 64, RW: DMA address, 64-byte aligned; takes effect by SLOTS */
/*
 * 32, RW: power of two, ZW_PERF_MIN_SLOTS..ZW_PERF_MAX_SLOTS: records are made from now on, from number 1
 * on; 0: none. What was held is dropped. Another number, or a ring that is not aligned or goes beyond 64 bits:
 * access fault.
 */
#define ZW_SOC_PERF_SLOTS   0x10000808u
#define ZW_SOC_PERF_HELD    0x1000080cu /* 32, R: records that are held */
/*
 * 32, W: writes so many of the records that are held, or all there are, into the ring, the oldest first. Done
 * when the store returns.
 */
#define ZW_SOC_PERF_WRITE   0x10000810u
#define ZW_SOC_PERF_STATUS  0x10000814u /* 32, R: of the last write: 0 done, 1 bus error */
#define ZW_SOC_PERF_WRITTEN 0x10000818u /* 64, R: number of the last record that was written */

#endif /* ZW_SOC_H */
