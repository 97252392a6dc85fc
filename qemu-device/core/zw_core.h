/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device core: what its host (QEMU glue, sim transport, unit tests, fuzzers) sees.
 *
 * The core is a plain C11 library without globals. A host gives it a way to reach system memory and
 * to raise interrupts, forwards BAR0 accesses, and maps the HBM bytes where BAR2 is. Everything
 * slow runs on the core's own threads: one control-core thread, one command-processor thread,
 * `workers` engine threads.
 */
#ifndef ZW_CORE_H
#define ZW_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "zhenwu/zw_types.h"

struct zw_device;
struct zw_profile;

/* What the ports of memory are called in the settled time. */
enum zw_port { ZW_PORT_HBM, ZW_PORT_SYS_READ, ZW_PORT_SYS_WRITE, ZW_PORTS };

/* What a packet waits for; a job that begins waits for its engine, the command processor. */
enum zw_wait {
	ZW_WAIT_ENGINE,
	ZW_WAIT_HBM,
	ZW_WAIT_PCIE,
	ZW_WAIT_TOKENS,
	ZW_WAIT_SEMAPHORE,
	ZW_WAITS
};

/* What a queue with an owner has done so far. */
struct zw_settled_sums {
	uint64_t packets;
	uint64_t engine_busy_ps[ZW_ENGINE_COUNT];
	uint64_t port_busy_ps[ZW_PORTS];
	uint64_t wait_ps[ZW_WAITS];
	uint64_t energy_pj, ops, hbm_bytes, sys_bytes; /* as of a packet */
};

/* When a job ran, in the time of the whole device; picoseconds since its reset. */
struct zw_settled_job {
	unsigned int queue;
	uint32_t owner; /* zw_queue_desc.owner of the queue */
	const struct zw_settled_sums
		*sums; /* of the queue, this job included; NULL without an owner */
	uint64_t seqno;
	uint64_t release_ps; /* the job before it had ended */
	uint64_t start_ps;   /* the command processor began it */
	uint64_t end_ps;
};

/* What a settled packet was when it is none: the command processor began the job. */
#define ZW_SETTLED_BEGIN 0x10000u

/* A packet in the time of the whole device, or the begin of a job; picoseconds since its reset. */
struct zw_settled_packet {
	unsigned int queue;
	uint32_t owner;              /* zw_queue_desc.owner of the queue */
	uint64_t seqno;              /* of its job */
	uint32_t index;              /* of the packet in its job, from 0 */
	uint32_t opcode;             /* enum zw_opcode or ZW_SETTLED_BEGIN */
	uint32_t tag;                /* struct zw_pkt.tag */
	uint32_t rows;               /* that it worked on; 0: none, or it has no rows */
	unsigned int engine;         /* enum zw_engine */
	uint64_t start_ps;           /* its engine took it */
	uint64_t end_ps;             /* everything of it had ended */
	uint64_t fixed_ps;           /* of that before it computes; all of a begin */
	uint64_t compute_ps;         /* of that it computed, beside memory */
	struct {                     /* each memory port; all 0: it did not use that */
		uint64_t request_ps; /* asked for */
		uint64_t start_ps;   /* served from then */
		uint64_t end_ps;     /* ... until then */
	} port[ZW_PORTS];
	uint64_t wait_ps[ZW_WAITS]; /* that it waited for what; PCIe: both directions added up */
	uint64_t energy_pj;         /* that it took; what the chip takes by itself is not in it */
	uint64_t ops;               /* operations of products that it did */
	uint64_t hbm_bytes;         /* read and written */
	uint64_t sys_bytes;         /* of system memory, likewise */
	/* as in struct zw_pkt: what it waited for in its job, and what others may wait for */
	uint16_t wait;
	uint8_t signal;
	bool ordered; /* without ZW_PKT_F_DEPS: waits for all before it, and all behind it for it */
};

enum zw_log_level { ZW_LOG_ERROR, ZW_LOG_GUEST_ERROR, ZW_LOG_INFO, ZW_LOG_TRACE };

/*
 * Callbacks into the host. All may be called from any core thread, never while a zw_device_mmio_*
 * call of the same device holds the caller's locks; none may block on a core thread (no drain, no
 * free, no reset from inside). `function` is the PCI function on whose behalf the device acts; 0 is
 * the physical one, and a host without others may refuse the rest. dma_* return 0 or -EIO; they
 * carry any length. dma_map is optional: a pointer to `*len` (may be shortened) contiguous bytes or NULL; each success is paired with
 * dma_unmap(access_len = bytes really accessed).
 */
struct zw_host_ops {
	int (*dma_read)(void *opaque, unsigned int function, uint64_t addr, void *buf, size_t len);
	int (*dma_write)(void *opaque, unsigned int function, uint64_t addr, const void *buf,
			 size_t len);
	void *(*dma_map)(void *opaque, unsigned int function, uint64_t addr, size_t *len,
			 bool write);
	void (*dma_unmap)(void *opaque, unsigned int function, void *ptr, size_t len, bool write,
			  size_t access_len);
	void (*msix_raise)(void *opaque, unsigned int function, unsigned int vector);
	/*
	 * HBM of another card of the fabric, by its number; reserved for links, never called yet: a
	 * device answers a mapping of a peer with ZW_FAULT_LINK. 0 or -EIO.
	 */
	int (*peer_read)(void *opaque, unsigned int card, uint64_t addr, void *buf, size_t len);
	int (*peer_write)(void *opaque, unsigned int card, uint64_t addr, const void *buf,
			  size_t len);
	void (*log)(void *opaque, enum zw_log_level level, const char *msg);
	/*
	 * The device has written [off, off+len) of HBM through host pointers (dirty logging). After
	 * the write and never before: a log that begins in between would miss it. Optional.
	 */
	void (*hbm_dirty)(void *opaque, uint64_t off, uint64_t len);
	/*
	 * Drop host pages of HBM given in zw_device_config.hbm, so that they read as zero; 0, or
	 * -errno when that is not possible (the core then writes zeroes). Page aligned. Optional;
	 * unused when the core maps HBM itself.
	 */
	int (*hbm_discard)(void *opaque, uint64_t off, uint64_t len);
	/*
	 * When a job ran is settled (Documentation/device/time.md, "One device"), in the order in which jobs end. Must not
	 * call the core. Optional; see zw_device_config.settled_owned.
	 */
	void (*job_settled)(void *opaque, const struct zw_settled_job *job);
	/*
	 * What a packet took is settled: each packet once, and once the begin of its job, all before job_settled of their job.
	 * Those of an engine come in the order in which they ran; otherwise in the order in which their end became known.
	 * Must not call the core. Optional.
	 */
	void (*packet_settled)(void *opaque, const struct zw_settled_packet *packet);
	/* See zw_device_reset_begin() and zw_device_stop(); optional. */
	void (*reset_done)(void *opaque);
	void (*stopped)(void *opaque);
};

#define ZW_DEFAULT_QUEUES 256
#define ZW_DEFAULT_VMS    256

struct zw_device_config {
	const struct zw_profile *profile; /* from zw_profile_find() or a parsed file; copied */
	uint64_t hbm_size;                /* bytes, multiple of 2 MiB; 0: the profile's */
	uint64_t aperture_size; /* bytes shown in APERTURE_SIZE; <= hbm_size; 0: hbm_size */
	void *hbm; /* host memory of hbm_size bytes, owned by the host; NULL: the core maps it sparsely */
	int workers; /* engine threads; 0: engines run on the command-processor thread */
	unsigned int progress_ms;   /* value of ZW_REG_PROGRESS_MS; 0: default */
	uint64_t hbm_backing_limit; /* most bytes of host memory HBM may occupy; 0: no limit */
	unsigned int num_queues;    /* 1..ZW_MAX_QUEUES; 0: ZW_DEFAULT_QUEUES */
	unsigned int num_vms;       /* 1..ZW_MAX_VMS; 0: ZW_DEFAULT_VMS */
	uint8_t uuid[16];           /* shown in ZW_REG_UUID */
	/*
	 * Packets take their simulated time and compute nothing: memory keeps its contents but for what
	 * orders jobs, so a host takes no memory for what nobody writes. See zw_cp_config.
	 */
	bool timing_only;
	/*
	 * zw_host_ops.job_settled and packet_settled are told of queues with an owner only (zw_queue_desc.owner); the sums of
	 * such a queue come with its jobs.
	 */
	bool settled_owned;
	/*
	 * With timing_only, in the place of a router: the experts of each row, [rows, k], below
	 * `experts` and those of a row distinct. On the command-processor thread, in the order of the
	 * packets. NULL: the ids that are in memory count.
	 */
	void (*route)(void *opaque, uint32_t rows, uint32_t experts, uint32_t k, int32_t *ids);
	/* Without timing_only: what a router chose, row r at ids + r * ld. May be NULL. */
	void (*routed)(void *opaque, uint32_t rows, uint32_t k, const int32_t *ids, uint64_t ld);
	void *route_opaque; /* of both */
};

/*
 * Makes a device in reset state, its threads started and parked. On failure NULL and a line in err.
 * Not thread safe against free.
 */
struct zw_device *zw_device_new(const struct zw_device_config *cfg, const struct zw_host_ops *ops,
				void *opaque, char *err, size_t err_len);
/* Stops all work, joins all threads, frees. No other call may be running. Not from a callback. */
void zw_device_free(struct zw_device *dev);

/*
 * BAR0 access, size 4 or 8 (others: logged, zero). O(1), thread safe, never blocks on engines, DMA
 * or firmware.
 */
uint64_t zw_device_mmio_read(struct zw_device *dev, uint64_t off, unsigned int size);
void zw_device_mmio_write(struct zw_device *dev, uint64_t off, uint64_t val, unsigned int size);

/*
 * Reset, as FLR and bus reset ask for it: from any thread, at any time, again while one is under way.
 * begin returns at once; jobs and firmware are stopped, then the control-core thread puts registers
 * back and, with scrub_hbm, zeroes HBM. When all that is done host ops' reset_done is called, and
 * the device stays in reset until zw_device_reset_end(); without the callback it ends by itself.
 * end returns false when there is nothing to end: another reset began meanwhile, and there will be
 * another reset_done. From begin to end ZW_REG_RESET_STATUS reads 1 and nothing starts; from
 * reset_done on no memory of the host is in use.  Bus master off is the same as dma_* returning
 * -EIO.
 */
void zw_device_reset_begin(struct zw_device *dev, bool scrub_hbm);
bool zw_device_reset_end(struct zw_device *dev);
/* Begins and waits until the device is out of reset. Not from a callback. */
void zw_device_reset(struct zw_device *dev, bool scrub_hbm);

/*
 * Stands still: returns when the control core is between two instructions and the command processor
 * between two packets, or done. Neither firmware nor guest can tell: the firmware's clock stands too,
 * a job goes on where it was. A reset is still carried out. Registers are served. Nests. May wait
 * for a packet, a scrub, and callbacks into the host: not from a callback, and not with a lock held
 * that callbacks take.
 */
void zw_device_pause(struct zw_device *dev);
void zw_device_continue(struct zw_device *dev);
/*
 * The whole state but HBM, also in the middle of a job; pauses while it is taken, so a caller that
 * wants it to fit to HBM and system memory pauses before. *buf: for free(). What is not in it: the
 * translation cache (so TLB counters go on differently), what the host has configured, and a reset
 * that the host has not ended. 0; or -errno and a line in err: -EBUSY while an injected fault keeps a
 * reset from ending.
 *
 * load takes it into a device of the same profile, sizes and UUID, whose HBM has or will get its
 * contents before the device goes on; pause around both. Everything is checked: -EINVAL (damaged,
 * of another version or configuration, impossible; a line in err) leaves the device as after a reset
 * without scrub, and without injected faults. -EBUSY: a reset of the host's has not ended. Neither is
 * to be called from a callback.
 */
int zw_device_save(struct zw_device *dev, void **buf, size_t *len, char *err, size_t err_len);
int zw_device_load(struct zw_device *dev, const void *buf, size_t len, char *err, size_t err_len);
/* No state of this device is longer. */
uint64_t zw_device_state_max(const struct zw_device *dev);

/*
 * For good: everything is stopped, all threads end, host ops' stopped is called once, by the last of
 * them. Returns at once; only zw_device_free() may follow, and after `stopped` that does not wait.
 */
void zw_device_stop(struct zw_device *dev);

/*
 * Faults on demand, for tests of whoever drives the device; Documentation/device/faults.md says for
 * each what happens, what a driver sees and how it ends.
 */
enum zw_inject {
	ZW_INJECT_CLEAR,         /* nothing is to fail any more, and what stands still goes on */
	ZW_INJECT_HANG,          /* the next `arg` packets do not end until they are cancelled */
	ZW_INJECT_FW_TRAP,       /* the firmware's next instruction is an illegal one */
	ZW_INJECT_FW_SILENCE,    /* the control core fetches no more instructions */
	ZW_INJECT_LOST_IRQ,      /* the next `arg` interrupts are not raised */
	ZW_INJECT_DMA_FAULT,     /* the next `arg` transfers that touch [addr, addr + len) of system
				    * memory fail; len 0: that touch any */
	ZW_INJECT_ECC_CORRECTED, /* an error at HBM address `arg` was corrected */
	ZW_INJECT_ECC_UNCORRECTED, /* the page of HBM address `arg` cannot be read until scrubbed */
	ZW_INJECT_LIE_STATUS,      /* the next completion has status `arg` */
	ZW_INJECT_LIE_SEQNO,       /* the next completion's number is `arg` too large */
	ZW_INJECT_LINK_DOWN,       /* -EOPNOTSUPP: there are no links */
	ZW_INJECT_STUCK_RESET,     /* a reset does not end: ZW_REG_RESET_STATUS stays 1 */
	ZW_INJECT_LIE_SAMPLE,      /* the next telemetry sample's number is `arg` too large */
	ZW_INJECT_LIE_EVENT, /* the next event says that HBM address `arg` has an uncorrectable error */
	ZW_INJECT_LIE_ALLOWED, /* the next ZW_MSG_EVENTS reads as if it allowed `arg` more events */
	ZW_INJECT_LIE_RECORD, /* the next record of a packet or job has a number that is `arg` too large */
	ZW_INJECT_LIE_OWNER, /* the next record of a packet or job has the owner `arg` */
	ZW_INJECT_COUNT
};

/*
 * Any thread; returns at once. A kind armed again replaces what was left of it. `arg` UINT64_MAX where it is a number
 * of times: until cleared. addr and len are 0 for all but DMA_FAULT. 0, -EINVAL (out of range, or
 * no such kind), -ENOSPC (more than 16 bad pages) or -EOPNOTSUPP.
 */
int zw_device_inject(struct zw_device *dev, enum zw_inject kind, uint64_t arg, uint64_t addr,
		     uint64_t len);
/*
 * The same from text: FAULT[=NUMBER[,ADDRESS,BYTES]], e.g. "hang", "lost-irq=all",
 * "dma-fault=1,0x1000,4096"; without NUMBER it is 1. On failure a line in err.
 */
int zw_device_inject_text(struct zw_device *dev, const char *text, char *err, size_t err_len);

/* The time of the whole device as far as it is settled: sums over all packets that have begun by settled_ps. */
struct zw_device_time {
	uint64_t settled_ps; /* nothing that begins before this is still to come */
	uint64_t jobs, packets;
	uint64_t engine_busy_ps[ZW_ENGINE_COUNT];
	uint64_t port_busy_ps[ZW_PORTS];
	uint64_t wait_ps[ZW_WAITS];
};

/* Any thread; each figure is one moment's. */
void zw_device_time(struct zw_device *dev, struct zw_device_time *out);

uint64_t zw_device_hbm_size(const struct zw_device *dev);
void *zw_device_hbm(struct zw_device *dev);
/* Bytes of host memory that hbm_backing_limit leaves, UINT64_MAX without one. Thread safe. */
uint64_t zw_device_backing_left(struct zw_device *dev);

#endif /* ZW_CORE_H */
