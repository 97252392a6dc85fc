/* SPDX-License-Identifier: MIT */
/* A checkpoint of plain matrices to one of quantised ones. */
#ifndef ZW_CONVERT_H
#define ZW_CONVERT_H

#include <stdint.h>

#include <zhenwu/base.h>

#include "quantise.h"

struct convert {
	const char *in, *out; /* folders; out is not there yet */
	struct quantise q;
	uint64_t shard_bytes; /* most bytes of tensors in a file */
	/* May be NULL. Called before each tensor of the input; non-zero ends the work: -ECANCELED. */
	int (*progress)(void *opaque, size_t done, size_t total);
	/* A line about what stays as it is although it could have been expected to change. */
	void (*note)(void *opaque, const char *line);
	void *opaque;
};

struct convert_result {
	size_t matrices;              /* that were quantised */
	uint64_t bytes_in, bytes_out; /* of tensors */
};

/*
 * Quantises the projections of attention, feed-forward and experts (tensors whose name ends with
 * "_proj.weight", and in_proj_qkv, in_proj_qkvz and in_proj_z), copies the other tensors and files, and
 * writes config.json with a quantization_config. On failure the folder `out` is not there.
 */
int convert_checkpoint(const struct convert *c, struct convert_result *result,
		       struct zw_error *err);

#endif
