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
	uint32_t id;		 /* enum zw_profile_id */
	uint64_t hbm_bytes;
	uint64_t hbm_bw;	 /* bytes/s */
	uint64_t pcie_bw;	 /* bytes/s, one direction */
	uint32_t links;
	uint64_t link_bw;	 /* bytes/s of one link */
	uint64_t tensor_bf16_flops; /* dense peak, FLOP/s */
	uint64_t vector_flops;	 /* FP32 FLOP/s of the vector engine */
	uint64_t sram_bytes;	 /* on-chip buffer */
	uint32_t tile_m, tile_n, tile_k; /* tensor engine quantisation */
	uint32_t tdp_watts;
	uint64_t packet_ps;	 /* fixed cost of a packet */
	uint64_t job_ps;	 /* fixed cost of a job: fetch, decode, completion */
	uint32_t hbm_efficiency_permille; /* achievable share of hbm_bw */
	uint32_t tensor_efficiency_permille;
	uint64_t dtypes;	 /* bit (1 << enum zw_dtype) of what the engines accept */
};

/* "810e", "m890", "c12"; NULL when unknown. Static data. */
const struct zw_profile *zw_profile_find(const char *name);
/* i-th built-in profile, NULL behind the last. */
const struct zw_profile *zw_profile_at(size_t i);
/* Where a figure comes from: "published: ..." or "assumed: ..."; NULL for an unknown field. */
const char *zw_profile_source(const struct zw_profile *p, const char *field);

#endif /* ZW_PROFILE_H */
