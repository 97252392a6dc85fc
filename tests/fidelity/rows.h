/* SPDX-License-Identifier: MIT */
/* Rows of measurements as packets. */
#ifndef ZW_FIDELITY_ROWS_H
#define ZW_FIDELITY_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

/* A row as the driver script gives it: words of the form key=value. */
struct row {
	const char *text;
};

/* The value of a key as a number, or `other` if the row has no such key. */
uint64_t row_number(const struct row *r, const char *key, uint64_t other);
bool row_is(const struct row *r, const char *key, const char *value);
bool row_has(const struct row *r, const char *key);
/* A dtype of the device; 0, and a line on stderr, if it has none of that name. */
unsigned int row_dtype(const struct row *r, const char *key);

#define EMIT(m, pkt) machine_emit((m), &(pkt), sizeof(pkt))
#define HDR(op, type)                                                                              \
	{                                                                                          \
		.opcode = (op), .size = sizeof(struct type)                                        \
	}

/*
 * Emit what the row measured. 1: the device has no packet for it; -1: the row is wrong, and stderr says how.
 */
int emit_operation(struct machine *m, const struct row *r);
/* A step of `seqs` sequences with `tokens` each: of all of them (a prefill), or of the last of each. */
struct step_of {
	bool prefill;
	uint32_t tokens;
};

/* What one card of several sends over its links in a step, each as long as the other ones. */
struct sums {
	uint32_t cards, count;
	uint64_t bytes; /* of one */
};

/* A whole step of the row's model, BF16 or F16: all layers, the head and the choice of a token. */
int emit_step(struct machine *m, const struct row *r, const struct step_of *of, struct sums *sums);

/* A sum over cards. -1, and a line on stderr: the chip has no links. */
int row_sum_ps(const struct zw_profile *p, const struct row *r, uint32_t cards, uint64_t bytes,
	       uint64_t *ps);
/* What the host takes for an operation by itself, and for each step. */
uint64_t row_launch_ps(const struct row *r);
uint64_t row_step_ps(const struct row *r);

/* A KV cache with `seqs` sequences of `tokens` tokens, and the tables that lead to it. */
struct cache {
	struct zw_tensor k, v, table;
};

struct cache make_cache(struct machine *m, unsigned int dtype, uint32_t seqs, uint32_t tokens,
			uint32_t heads, uint32_t d);

#endif
