/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: what the device did when. Documentation/tracing.md tells how tools show it.
 */
#ifndef ZHENWU_TRACE_H
#define ZHENWU_TRACE_H

#include "base.h"
#include "device.h"
#include "zhenwu/zw_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Memory ports of a device, in the order of struct zw_trace_record.port. */
enum zw_trace_port_id {
	ZW_TRACE_PORT_HBM,
	ZW_TRACE_PORT_SYS_READ,  /**< PCIe, system memory to the device */
	ZW_TRACE_PORT_SYS_WRITE, /**< PCIe, the other way */
	ZW_TRACE_PORTS
};

/** What a packet waits for, in the order of struct zw_trace_record.wait_ps. */
enum zw_trace_wait {
	ZW_TRACE_WAIT_ENGINE,
	ZW_TRACE_WAIT_HBM,
	ZW_TRACE_WAIT_PCIE,      /**< both directions added up */
	ZW_TRACE_WAIT_TOKENS,    /**< of other packets in its job */
	ZW_TRACE_WAIT_SEMAPHORE, /**< of other queues */
	ZW_TRACE_WAITS
};

/** What a record tells of. */
enum zw_trace_kind {
	ZW_TRACE_BEGIN =
		1, /**< the command processor began a job; fields as of a packet, without a name */
	ZW_TRACE_PACKET = 2, /**< a packet ran */
	ZW_TRACE_JOB = 3,    /**< a job ended: all its packets were told before */
	ZW_TRACE_SUBMIT = 4, /**< the library, or the driver, rang the doorbell for a job */
	ZW_TRACE_DONE = 5,   /**< it saw that a job is over */
};

/** How a packet used a memory port, picoseconds of the device's clock. All 0: it did not. */
struct zw_trace_port {
	uint64_t request_ps; /**< asked for it */
	uint64_t start_ps;   /**< was served from then */
	uint64_t end_ps;     /**< until then */
};

/**
 * One record. Times in picoseconds are of the device's clock, in which its queues contend
 * (Documentation/device/time.md, "One device"), and final; those of the host of CLOCK_MONOTONIC, on drm taken in the kernel. Fields that a kind does
 * not name are 0.
 */
struct zw_trace_record {
	uint32_t kind; /**< enum zw_trace_kind */
	uint32_t
		queue; /**< number of the queue, on sim from 0, on drm from 1; used again after the queue's end */
	uint64_t job;    /**< number of the job in its queue, from 1 */
	uint32_t index;  /**< PACKET: number in its job, from 0 */
	uint32_t opcode; /**< PACKET: enum zw_opcode */
	uint32_t tag;    /**< PACKET: zw_cmd_tag(); libzhenwu-llm's are zw_llm_tag() */
	uint32_t rows;   /**< PACKET: rows worked on; 0: none, or it has no rows */
	uint32_t engine; /**< PACKET, BEGIN: enum zw_engine */
	uint32_t reserved;
	uint64_t release_ps; /**< JOB: the job before it in its queue had ended */
	uint64_t start_ps; /**< PACKET, BEGIN: its engine took it; JOB: the command processor did */
	uint64_t end_ps;   /**< all of it had ended */
	uint64_t fixed_ps; /**< PACKET, BEGIN: fixed cost */
	uint64_t compute_ps;                       /**< PACKET: arithmetic, beside memory */
	struct zw_trace_port port[ZW_TRACE_PORTS]; /**< PACKET */
	uint64_t
		wait_ps[ZW_TRACE_WAITS]; /**< PACKET, BEGIN: waited for what, one after the other */
	uint64_t host_ns;                /**< SUBMIT, DONE */
	/* since records were first there; a smaller record_size leaves them out */
	uint64_t energy_pj; /**< PACKET: that it took; what the chip takes by itself is not in it */
	uint64_t ops;       /**< PACKET: operations of products that it did */
	uint64_t hbm_bytes; /**< PACKET: read and written */
	uint64_t sys_bytes; /**< PACKET: of system memory, likewise */
	uint16_t
		wait; /**< PACKET: bit t: of packets of its job, the last before it that signalled t + 1 */
	uint8_t signal; /**< PACKET: which token it signals, from 1; 0: none */
	uint8_t ordered; /**< PACKET: 1: waits for all before it, and all behind it for it; BEGIN: 1 */
	uint32_t reserved2;
};

/**
 * Takes records of a device that was opened with ZW_DEV_TRACE. Those of an engine come in the order in which it ran them;
 * others when their times are final, which may be later than the job's fence: when no queue can add anything that runs
 * earlier: on drm queues of other programs hold them up, too. When all queues of the program are destroyed, everything is
 * there. User-mode queues have no SUBMIT and DONE. Of records that nobody took at most 2^20 are kept (about 256 MiB), on drm
 * 2^16; those that come then are lost, and counted.
 *
 * @param records      the caller's, max of them; filled in
 * @param record_size  sizeof(struct zw_trace_record) (rules as for `size`, see base.h)
 * @param lost         may be NULL: records lost since the device was opened
 * @return number of records taken, 0: there are none now; -EOPNOTSUPP without ZW_DEV_TRACE; -EINVAL, -E2BIG for
 *         record_size; on drm -ENODEV when the device is lost. Thread safe: each record goes to one caller.
 */
ZW_API int zw_dev_read_trace(struct zw_dev *dev, struct zw_trace_record *records, size_t max,
			     size_t record_size, uint64_t *lost);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_TRACE_H */
