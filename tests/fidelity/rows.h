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
/* A whole step of a model: all layers, the head and the choice of a token. */
int emit_step(struct machine *m, const struct row *r);

/* A KV cache with `seqs` sequences of `tokens` tokens, and the tables that lead to it. */
struct cache {
	struct zw_tensor k, v, table;
};

struct cache make_cache(struct machine *m, unsigned int dtype, uint32_t seqs, uint32_t tokens,
			uint32_t heads, uint32_t d);

#endif
