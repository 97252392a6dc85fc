/* SPDX-License-Identifier: MIT */
/*
 * Injected faults, inside: what the parts of the device ask before they do what may be made to
 * fail. zw_core.h has what a host can inject, Documentation/device/faults.md what comes of it.
 *
 * Everything here may be called from any thread. Without a fault armed each question costs one
 * relaxed load. A part whose state pointer is NULL (unit tests of that part alone) has no faults.
 */
#ifndef ZW_INJECT_H
#define ZW_INJECT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "zw_core.h"

struct zw_inject_state {
	_Atomic uint32_t armed;        /* bit k: count[k] is not zero */
	_Atomic unsigned int releases; /* of hanging packets, by a clear */
	pthread_mutex_t lock;
	/* -- under lock -- */
	uint64_t count[ZW_INJECT_COUNT]; /* how often it is still to happen; UINT64_MAX: always */
	uint64_t value[ZW_INJECT_COUNT]; /* of lies */
	uint64_t dma_addr, dma_len;      /* what DMA faults are limited to; len 0: nothing */
};

void zw_inject_init(struct zw_inject_state *inj);
void zw_inject_fini(struct zw_inject_state *inj);
/* A reset of the device: forgets what is a state of the control core or of an engine. */
void zw_inject_reset(struct zw_inject_state *inj);

/* Is this armed; nothing is used up. */
bool zw_inject_armed(const struct zw_inject_state *inj, enum zw_inject kind);
/* It happens now: one less to come. False: it does not. */
bool zw_inject_take(struct zw_inject_state *inj, enum zw_inject kind);

/* The value of a lie that is told now; `truth` when there is none. */
uint64_t zw_inject_lie(struct zw_inject_state *inj, enum zw_inject kind, uint64_t truth);
/* What was taken did not come to pass; releases: as they were when it was taken. */
void zw_inject_return(struct zw_inject_state *inj, enum zw_inject kind, unsigned int releases);
/* Nothing is to fail any more. What stands still goes on. */
void zw_inject_forget(struct zw_inject_state *inj);

struct zw_state;
/* Saves or loads what is still to happen (zw_state.h). */
void zw_inject_stream(struct zw_inject_state *inj, struct zw_state *st);

/* A transfer to or from [addr, addr + len) of system memory fails. */
bool zw_inject_dma(struct zw_inject_state *inj, uint64_t addr, uint64_t len);
/* One that is made now would; nothing is used up. */
bool zw_inject_dma_armed(struct zw_inject_state *inj, uint64_t addr, uint64_t len);

/*
 * A write of the control core. What of it is to go out: p, or, when it is part of a completion that
 * is to lie, an altered copy in buf.
 */
const uint8_t *zw_inject_write(struct zw_inject_state *inj, uint64_t addr, const uint8_t *p,
			       size_t len, uint8_t buf[64]);

/* A message that the control core read: makes of it what the firmware is to see. */
void zw_inject_read(struct zw_inject_state *inj, uint8_t *p, size_t len);

#endif /* ZW_INJECT_H */
