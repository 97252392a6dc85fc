/* SPDX-License-Identifier: MIT */
/*
 * Chip profiles: every number of the simulated chip in one table, with its source.
 */
#ifndef ZW_PROFILE_H
#define ZW_PROFILE_H

#include <stddef.h>
#include <stdint.h>
#include "zhenwu/zw_types.h"

struct zw_profile {
	char name[16];
	uint32_t id; /* enum zw_profile_id */
	uint64_t hbm_bytes;
	uint64_t hbm_bw;  /* bytes/s */
	uint64_t pcie_bw; /* bytes/s, one direction */
	uint32_t links;
	uint64_t link_bw;                /* bytes/s of one link */
	uint64_t tensor_bf16_flops;      /* dense peak, FLOP/s, of BF16 and F16 */
	uint64_t vector_flops;           /* FP32 FLOP/s of the vector engine */
	uint64_t sram_bytes;             /* on-chip buffer */
	uint32_t tile_m, tile_n, tile_k; /* tensor engine quantisation */
	uint32_t tdp_watts;
	uint64_t packet_ps;               /* fixed cost of a packet */
	uint64_t job_ps;                  /* fixed cost of a job: fetch, decode, completion */
	uint32_t hbm_efficiency_permille; /* achievable share of hbm_bw */
	uint32_t tensor_efficiency_permille;
	uint64_t dtypes; /* ZW_DT() of what the engines accept, as far as they compute with it */
	uint64_t tensor_f32_flops; /* tensor engine with an F32 operand, FLOP/s */
	uint64_t tensor_i8_ops;    /* both operands I8; 0: not among the types */
	uint64_t tensor_f8_flops;  /* both operands F8E4M3 or F8E5M2; 0: not among the types */
};

/* "810e", "m890", "c12"; NULL when unknown. Static data. */
const struct zw_profile *zw_profile_find(const char *name);
/* i-th built-in profile, NULL behind the last. */
const struct zw_profile *zw_profile_at(size_t i);
/* Where a figure comes from: "published: ..." or "assumed: ..."; NULL for an unknown field. */
const char *zw_profile_source(const struct zw_profile *p, const char *field);
/*
 * Name of the i-th figure of a profile, as zw_profile_source() and profile files know it; NULL
 * behind the last.
 */
const char *zw_profile_field(size_t i);

/*
 * Reads a profile from text: lines of `key = value`, # starts a comment. `base = NAME` (first,
 * optional) starts from a built-in profile, else every figure has to be given; keys are the members
 * above. Values are unsigned integers with an optional suffix k, M, G, T (powers of 1000) or Ki,
 * Mi, Gi, Ti; dtypes is a list such as "f32, bf16, i32". id becomes ZW_PROFILE_CUSTOM. 0 or -EINVAL
 * with one line (line number and cause) in err; p is then undefined.
 */
int zw_profile_parse(const char *text, size_t len, struct zw_profile *p, char *err, size_t err_len);
/* The same from a file. Also -errno of reading it. */
int zw_profile_load(const char *path, struct zw_profile *p, char *err, size_t err_len);

#endif /* ZW_PROFILE_H */
