/* SPDX-License-Identifier: MIT */
/*
 * Records of single packets and jobs (struct zw_perf_record) on their way to the host's ring: held here from the moment
 * their times are settled until the firmware has them written. Bounded, so that the device waits for nobody.
 *
 * zw_perf_write() and _set() are the control-core thread's; the others are for any thread.
 */
#ifndef ZW_PERF_H
#define ZW_PERF_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_soc.h"
#include "zw_core.h"

struct zw_inject_state;

struct zw_perf {
	struct zw_inject_state *inject;
	/* -- control-core thread -- */
	uint64_t ring;       /* ZW_SOC_PERF_RING as it was written last */
	uint64_t taken_ring; /* and when SLOTS was */
	uint32_t status;
	uint64_t written;     /* number of the last record that was */
	pthread_mutex_t lock; /* of the rest; nothing is called with it held */
	uint32_t slots;       /* 0: nothing is recorded */
	uint64_t dropped;
	uint32_t first, count;
	struct zw_perf_record *held; /* ZW_SOC_PERF_HELD_MAX of them, as a ring */
};

/* False: no memory; zw_perf_fini() all the same. */
bool zw_perf_init(struct zw_perf *p, struct zw_inject_state *inject);
void zw_perf_fini(struct zw_perf *p);
/* Nothing is recorded, no register has a value. No thread uses it. */
void zw_perf_reset(struct zw_perf *p);

/* ZW_SOC_PERF_SLOTS is written. False: it is no number of slots, or the ring is none. */
bool zw_perf_set(struct zw_perf *p, uint32_t slots);
uint32_t zw_perf_slots(struct zw_perf *p);
uint32_t zw_perf_held(struct zw_perf *p);
/* Writes the oldest `n`, or all. `write` as zw_host_ops.dma_write. */
void zw_perf_write(struct zw_perf *p, uint32_t n,
		   int (*write)(void *opaque, uint64_t addr, const void *buf, size_t len),
		   void *opaque);

/* What is settled. True: the firmware is to be told that there is something to write. */
bool zw_perf_packet(struct zw_perf *p, const struct zw_settled_packet *packet);
bool zw_perf_job(struct zw_perf *p, const struct zw_settled_job *job);
bool zw_perf_end(struct zw_perf *p, unsigned int queue, uint32_t owner);

struct zw_state;
/* Saves or loads it (zw_state.h). No thread uses it. */
void zw_perf_state(struct zw_perf *p, struct zw_state *st);

#endif /* ZW_PERF_H */
