/* SPDX-License-Identifier: MIT */
/*
 * Matrices of numbers to the quantised forms that Hugging Face checkpoints have. Rounding is to the
 * nearest value of the form (ties to even); scales are found from the largest element of a block, nothing
 * is calibrated.
 */
#ifndef ZW_QUANTISE_H
#define ZW_QUANTISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

enum quantise_format {
	QUANTISE_INT8,    /* compressed-tensors, INT8 weights and activations */
	QUANTISE_INT8_WO, /* the same, weights only */
	QUANTISE_FP8,     /* fp8: E4M3 in blocks of 128 x 128, activations quantised */
	QUANTISE_MXFP4,   /* compressed-tensors */
	QUANTISE_NVFP4,   /* compressed-tensors */
	QUANTISE_INT4,    /* compressed-tensors, 4 bits with zero points */
	QUANTISE_GPTQ,    /* 4 bits */
	QUANTISE_AWQ,     /* 4 bits */
	QUANTISE_FORMATS
};

#define QUANTISE_TENSORS 4   /* most that stand for one matrix */
#define QUANTISE_ROWS    128 /* of a matrix at a time */

struct quantise {
	enum quantise_format format;
	uint32_t group; /* columns that share a scale; of 4 bits, the others have their own */
};

/* A tensor that stands for a matrix: "X.<suffix>" in the place of "X.weight". */
struct quantise_tensor {
	const char *suffix, *dtype; /* as safetensors files spell it; NULL: there is none */
	uint32_t ndim;
	uint64_t dim[2], bytes;
};

/* The name of a format on the command line, and back; NULL and QUANTISE_FORMATS when there is none. */
const char *quantise_name(enum quantise_format format);
enum quantise_format quantise_find(const char *name);
/* Whether a --group-size means something. */
bool quantise_has_groups(enum quantise_format format);

/* NULL, or why a matrix [n, k] does not go into the form. */
const char *quantise_refusal(const struct quantise *q, uint64_t n, uint64_t k);
void quantise_tensors(const struct quantise *q, uint64_t n, uint64_t k,
		      struct quantise_tensor out[QUANTISE_TENSORS]);
/*
 * Rows [first, first + count) of a matrix into the tensors' memory, which was zero at first. first is a
 * multiple of QUANTISE_ROWS, count at most that. amax: the largest magnitude of the matrix and of those
 * that are computed together with it (NVFP4 only).
 */
void quantise_rows(const struct quantise *q, uint64_t n, uint64_t k, uint64_t first, uint64_t count,
		   const float *rows, float amax, void *const data[QUANTISE_TENSORS]);
/* quantization_config; skipped: names of modules that stay as they are. NULL when memory is out. */
cJSON *quantise_config(const struct quantise *q, const char *const *skipped, size_t n);

#endif
