/* SPDX-License-Identifier: MIT */
/* quantization_config: how the matrices of linear layers are stored. */
#ifndef ZW_LLM_CONFIG_QUANT_H
#define ZW_LLM_CONFIG_QUANT_H

#include "util.h"

/* Which tensors stand for a matrix, and how they are packed: quant.c. */
enum llm_quant_format {
	LLM_QUANT_NONE,
	LLM_QUANT_FP8,            /* "fp8": FP8 with a scale for each block, or for all */
	LLM_QUANT_GPTQ,           /* "gptq": integers packed along the columns */
	LLM_QUANT_AWQ,            /* "awq": integers packed along the rows */
	LLM_QUANT_INTS,           /* "compressed-tensors", int-quantized: INT8 as it is */
	LLM_QUANT_FLOATS,         /* the same, float-quantized: FP8; also "modelopt" */
	LLM_QUANT_PACKED,         /* the same, pack-quantized: integers with an offset, packed */
	LLM_QUANT_NVFP4,          /* the same, nvfp4-pack-quantized */
	LLM_QUANT_MXFP4,          /* the same, mxfp4-pack-quantized */
	LLM_QUANT_MXFP8,          /* the same, mxfp8-quantized; also "modelopt" */
	LLM_QUANT_MODELOPT_NVFP4, /* "modelopt": NVFP4 */
};

/* One way in which matrices are stored. */
struct llm_quant_scheme {
	uint32_t format;   /* enum llm_quant_format */
	uint32_t bits;     /* of an element, 4 or 8 */
	uint32_t block[2]; /* rows, columns that share a scale; 0: all */
	uint32_t zero_add; /* GPTQ: what a stored zero point lacks */
	uint32_t asym;     /* integers of compressed-tensors: they have zero points */
	/* Activations are quantised on their way into a product: enum zw_dtype, or NONE; one scale for each
	 * so many columns, 0: all of a row. */
	uint32_t act, act_block;
};

#define LLM_QUANT_SCHEMES 8

/* Those that occur; which one a matrix is of, if any, its tensors say. */
struct llm_quant_config {
	uint32_t num;
	struct llm_quant_scheme scheme[LLM_QUANT_SCHEMES];
};

/*
 * Reads quantization_config of config.json, absent or not. Methods, formats and options that are not
 * implemented are refused by name. Lists of modules that are quantised in one way, in another or not only
 * have to be well formed: tools match them in different ways, and the tensors of a matrix say what it is.
 */
int llm_config_quant(const char *path, const cJSON *json, struct llm_quant_config *q,
		     struct zw_error *err);
/* The same of the files that ModelOpt and older tools of GPTQ put beside a config.json that says nothing. */
int llm_config_quant_files(const char *dir, struct llm_quant_config *q, struct zw_error *err);

#endif
