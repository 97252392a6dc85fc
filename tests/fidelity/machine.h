/* SPDX-License-Identifier: MIT */
/*
 * A command processor in timing-only mode on a memory that is large and empty: packets of any shape take their
 * simulated time, and no arithmetic is done.
 */
#ifndef ZW_FIDELITY_MACHINE_H
#define ZW_FIDELITY_MACHINE_H

#include <stdint.h>

#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_queue.h"
#include "zw_profile.h"

struct machine;

/* NULL, and a line on stderr, when it cannot be made. The profile is copied. */
struct machine *machine_new(const struct zw_profile *profile);
/* With as much memory, a multiple of 2 MiB, of which the last 17 MiB are not for operands. */
struct machine *machine_new_sized(const struct zw_profile *profile, uint64_t bytes);
void machine_free(struct machine *m);
const struct zw_profile *machine_profile(const struct machine *m);
/* Another chip on the same memory, which is forgotten. -1, and a line on stderr: out of memory, and there is only machine_free(). */
int machine_set_profile(struct machine *m, const struct zw_profile *profile);

/* Forgets all memory and all packets. */
void machine_clear(struct machine *m);
/* Forgets all packets, and no memory. */
void machine_clear_packets(struct machine *m);
/* Addresses of `bytes` bytes that nothing has touched; where memory is reserved ends the program if there are none. */
uint64_t machine_alloc(struct machine *m, uint64_t bytes);
/* Index operands are read also when only time counts. */
void machine_put(struct machine *m, uint64_t va, const void *data, uint64_t bytes);

/* A dense tensor in new memory; dimensions of 0 end the list. */
struct zw_tensor machine_tensor(struct machine *m, unsigned int dtype, uint32_t d0, uint32_t d1,
				uint32_t d2, uint32_t d3);
/* n numbers: first, first + step, ... */
struct zw_tensor machine_numbers(struct machine *m, uint32_t n, int32_t first, int32_t step);
/* Columns of a two-dimensional tensor as [rows, heads, d]. */
struct zw_tensor machine_heads(const struct zw_tensor *t, uint32_t column, uint32_t heads,
			       uint32_t d);
/* Columns of it as they are. */
struct zw_tensor machine_columns(const struct zw_tensor *t, uint32_t column, uint32_t n);

/* Packets emitted from now on go without these features: ZW_PKT_F_NO_*. */
void machine_without(struct machine *m, uint32_t features);
void machine_emit(struct machine *m, const void *pkt, uint32_t bytes);

struct machine_time {
	uint64_t job_ps;    /* all of the job */
	uint64_t packet_ps; /* without what a job costs by itself */
	uint64_t energy_pj; /* of operations and bytes */
	uint64_t hbm_bytes;
	struct zw_job_result result;
};

/* Runs what was emitted as one job. 0, or a line on stderr. */
int machine_run(struct machine *m, struct machine_time *t);

#endif
