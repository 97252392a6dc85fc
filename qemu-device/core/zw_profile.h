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
	uint32_t tile_m, tile_n, tile_k; /* largest tile of a product on one unit */
	uint32_t tdp_watts;
	uint64_t packet_ps;               /* fixed cost of a packet that no figure below is for */
	uint64_t job_ps;                  /* fixed cost of a job: fetch, decode, completion */
	uint32_t hbm_efficiency_permille; /* achievable share of hbm_bw */
	uint32_t tensor_efficiency_permille;
	uint64_t dtypes; /* ZW_DT() of what the engines accept, as far as they compute with it */
	uint64_t tensor_f32_flops; /* tensor engine with an F32 operand, FLOP/s */
	uint64_t tensor_i8_ops;    /* both operands I8; 0: not among the types */
	uint64_t tensor_f8_flops;  /* both operands F8E4M3 or F8E5M2; 0: not among the types */
	uint64_t sram_bw;          /* bytes/s on the chip */
	uint32_t units;            /* that products and attention are spread over */
	uint64_t unit_bw;          /* bytes/s of HBM that one of them draws */
	uint64_t unit_i8_bw;       /* ... of operands of I8 */
	uint32_t gemm_hbm_permille, attn_hbm_permille; /* as hbm_efficiency_permille, of these */
	/* As tensor_efficiency_permille (BF16), of the other rates. */
	uint32_t tensor_f16_permille, tensor_f32_permille, tensor_i8_permille, tensor_f8_permille;
	uint32_t gemm_edge_permille;    /* overhead of a tile of tile_m rows, each way */
	uint32_t gemm_overlap_permille; /* share of the shorter of work and memory that shows */
	uint64_t gemm_ps;               /* fixed cost of GEMM */
	uint64_t gemm_split_ps;         /* ... of adding up the parts of a K that is split */
	uint64_t experts_ps, expert_ps; /* ... of GEMM_EXPERTS, and for each expert hit */
	uint32_t experts_permille;      /* of the rate of GEMM */
	uint64_t attn_ps;               /* fixed cost of ATTENTION, a decode */
	uint64_t attn_split_ps;         /* ... of bringing split keys together */
	uint64_t attn_prefill_ps;       /* ... of one with more query rows */
	uint32_t attn_tile;             /* query rows and keys of a tile */
	uint32_t attn_permille;         /* of the rate of the tensor engine */
	uint32_t attn_tail_permille;    /* of its longest item, behind all that is spread evenly */
	uint64_t reduce_ps;             /* of a row, for each doubling above 1024 elements */
	uint64_t topk_ps;               /* of a row, for each 1024 elements */
	/* Power and energy. */
	uint32_t idle_watts;
	uint32_t bf16_flop_fj, f32_flop_fj, i8_op_fj, f8_flop_fj; /* femtojoules */
	uint32_t attn_energy_permille; /* of that of a product's operations */
	uint32_t hbm_byte_fj;
	/* Temperature and leakage: of the first order. */
	uint32_t ambient_c;        /* degrees Celsius of the air that comes in */
	uint32_t thermal_mk_per_w; /* millikelvin above it for each watt, in the end */
	uint32_t thermal_ms;       /* time constant of the heat sink, of simulated time */
	uint32_t leak_mw_per_k;    /* more leakage for each kelvin above a chip at rest */
	/* Features, which packets may do without: ZW_PKT_F_NO_*. */
	uint64_t kv_sram_bytes; /* of the half of sram_bytes for operands: KV blocks; 0: none */
	uint64_t kv_sram_bw;    /* bytes/s of it */
	uint32_t kv_pinned_permille; /* of it for blocks that stay from job to job */
	uint32_t tensor_engine;      /* 0: products run on the vector units */
	uint32_t fused_packets;      /* 0: a packet costs what one for each primitive would */
	uint32_t block_sparse;       /* 0: keys that lists leave out cost what others do */
};

/* "810e", "m890", "c12", "a100-80g", "h100-sxm"; NULL when unknown. Static data. */
const struct zw_profile *zw_profile_find(const char *name);
/* i-th built-in profile, NULL behind the last. */
const struct zw_profile *zw_profile_at(size_t i);
/*
 * Where a figure comes from: "published: ...", "measured: ..." (on the card), "fitted: ..." (to rows of
 * tests/fidelity) or "assumed: ..."; NULL for an unknown field.
 */
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
/*
 * Changes figures of *p by such lines, but for base and name; "x2" and "/2" are multiples and parts of the figure as it
 * is. On failure *p is untouched.
 */
int zw_profile_change(const char *text, size_t len, struct zw_profile *p, char *err,
		      size_t err_len);
/* A whole profile from a file. Also -errno of reading it. */
int zw_profile_load(const char *path, struct zw_profile *p, char *err, size_t err_len);

#endif /* ZW_PROFILE_H */
