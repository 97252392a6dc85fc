// SPDX-License-Identifier: MIT
/*
 * Built-in profiles. Every figure has a source: "published" names who published it, "assumed" says why this value was
 * taken. Documentation/device/time.md shows the same table.
 */
#include <string.h>

#include "../zw_profile.h"
#include "zhenwu/zw_regs.h"
#include "zw_profile_int.h"

#define GIB (1ull << 30)
#define MIB (1ull << 20)

/* What is only stored in a type (weights, zero points) is widened on its way in. */
#define FLOATS  (ZW_DT_FLOAT | ZW_DT(I32))
#define INTS    (ZW_DT(I8) | ZW_DT(U8))
#define NIBBLES (ZW_DT(I4) | ZW_DT(U4))
#define SMALL   (ZW_DT(F8E4M3) | ZW_DT(F8E5M2) | ZW_DT(E8M0) | ZW_DT(F4E2M1))

static const struct zw_profile profiles[] = {
	{
		.name = "810e",
		.id = ZW_PROFILE_810E,
		.hbm_bytes = 96 * GIB,
		.hbm_bw = 2000000000000,
		.pcie_bw = 63015000000,
		.links = 7,
		.link_bw = 100000000000,
		.tensor_bf16_flops = 300000000000000,
		.tensor_f32_flops = 75000000000000,
		.tensor_i8_ops = 600000000000000,
		.tensor_f8_flops = 0,
		.vector_flops = 20000000000000,
		.sram_bytes = 40 * MIB,
		.tile_m = 64,
		.tile_n = 128,
		.tile_k = 64,
		.tdp_watts = 400,
		.packet_ps = 1000000,
		.job_ps = 5000000,
		.hbm_efficiency_permille = 750,
		.tensor_efficiency_permille = 850,
		.dtypes = FLOATS | INTS | NIBBLES | ZW_DT_BLOCKED,
	},
	{
		.name = "m890",
		.id = ZW_PROFILE_M890,
		.hbm_bytes = 144 * GIB,
		.hbm_bw = 4800000000000,
		.pcie_bw = 63015000000,
		.links = 8,
		.link_bw = 100000000000,
		.tensor_bf16_flops = 900000000000000,
		.tensor_f32_flops = 225000000000000,
		.tensor_i8_ops = 1800000000000000,
		.tensor_f8_flops = 1800000000000000,
		.vector_flops = 60000000000000,
		.sram_bytes = 80 * MIB,
		.tile_m = 64,
		.tile_n = 128,
		.tile_k = 64,
		.tdp_watts = 700,
		.packet_ps = 1000000,
		.job_ps = 5000000,
		.hbm_efficiency_permille = 750,
		.tensor_efficiency_permille = 850,
		.dtypes = FLOATS | INTS | NIBBLES | ZW_DT_BLOCKED | SMALL,
	},
	{
		.name = "c12",
		.id = ZW_PROFILE_C12,
		.hbm_bytes = 32 * GIB,
		.hbm_bw = 512000000000,
		.pcie_bw = 15754000000,
		.links = 0,
		.link_bw = 0,
		.tensor_bf16_flops = 3000000000000,
		.tensor_f32_flops = 750000000000,
		.tensor_i8_ops = 12000000000000,
		.tensor_f8_flops = 0,
		.vector_flops = 400000000000,
		.sram_bytes = 8 * MIB,
		.tile_m = 16,
		.tile_n = 32,
		.tile_k = 32,
		.tdp_watts = 75,
		.packet_ps = 2000000,
		.job_ps = 10000000,
		.hbm_efficiency_permille = 750,
		.tensor_efficiency_permille = 850,
		.dtypes = ZW_DT(F32) | ZW_DT(BF16) | ZW_DT(I32) | INTS,
	},
};

#define N_PROFILES (sizeof(profiles) / sizeof(profiles[0]))

/* By field, then in the order of profiles[]. */
static const struct {
	const char *field;
	const char *source[N_PROFILES];
} sources[] = {
	{"hbm_bytes",
	 {"published: 96 GB of HBM2e (taken as GiB)", "published: 144 GB (taken as GiB)",
	  "assumed: room for the models of an edge inference card"}},
	{"hbm_bw",
	 {"assumed: as the A800 that press tables put beside it (HBM2e, 2.0 TB/s)",
	  "assumed: HBM3 for 144 GB, six stacks at 0.8 TB/s", "published: 512 GB/s"}},
	{"pcie_bw",
	 {"published: PCIe 5.0 x16 (32 GT/s, 128b/130b)", "assumed: as 810e",
	  "assumed: PCIe 4.0 x8 (16 GT/s, 128b/130b)"}},
	{"links",
	 {"published: 7 links", "assumed: 8, so that the published total has 100 GB/s links",
	  "assumed: none"}},
	{"link_bw",
	 {"published: 700 GB/s over 7 links",
	  "published: 800 GB/s in total, over the links assumed", "assumed: none"}},
	{"tensor_bf16_flops",
	 {"assumed: the class of an A800 (312 TFLOPS)",
	  "assumed: 3 x 810e, as the press compares the chips",
	  "assumed: a quarter of the published 12 TOPS INT8"}},
	{"tensor_f32_flops",
	 {"assumed: a quarter of BF16", "assumed: a quarter of BF16",
	  "assumed: a quarter of BF16"}},
	{"tensor_i8_ops",
	 {"assumed: twice BF16, as an A800 (624 TOPS)", "assumed: twice BF16",
	  "published: 12 TOPS INT8"}},
	{"tensor_f8_flops",
	 {"assumed: none, no FP8 is published of it", "assumed: twice BF16",
	  "assumed: none, an INT8 chip"}},
	{"vector_flops",
	 {"assumed: the class of an A800 (19.5 TFLOPS)", "assumed: 3 x 810e",
	  "assumed: 1/30 of the published INT8 rate"}},
	{"sram_bytes",
	 {"assumed: the L2 cache of an A800", "assumed: 2 x 810e",
	  "assumed: small inference chip"}},
	{"tile_m",
	 {"assumed: systolic array of 64 rows", "assumed: as 810e", "assumed: array of 16 rows"}},
	{"tile_n",
	 {"assumed: systolic array of 128 columns", "assumed: as 810e",
	  "assumed: array of 32 columns"}},
	{"tile_k",
	 {"assumed: depth of an input buffer", "assumed: as 810e", "assumed: input buffer"}},
	{"tdp_watts",
	 {"published: 400 W (television report)", "assumed", "assumed: card without power plug"}},
	{"packet_ps",
	 {"assumed: 1 us, hardware command processor (GPU graph launches take 2-5 us)",
	  "assumed: as 810e", "assumed: slower control core"}},
	{"job_ps",
	 {"assumed: 5 us for fetch, decode and completion", "assumed: as 810e",
	  "assumed: slower control core"}},
	{"hbm_efficiency_permille",
	 {"assumed: middle of what decode reaches on GPUs (0.57-0.84)", "assumed: as 810e",
	  "assumed: as 810e"}},
	{"tensor_efficiency_permille",
	 {"assumed: low end of large GEMMs on GPUs (0.84-0.94)", "assumed: as 810e",
	  "assumed: as 810e"}},
	{"dtypes",
	 {"assumed: floats of 16 bits, INT8; INT4 and GGUF records as what weights are stored in",
	  "published: FP8 and FP4 beside them; the rest assumed as 810e",
	  "published: INT8; F32 and BF16 assumed, at a low rate"}},
};

const struct zw_profile *zw_profile_at(size_t i)
{
	return i < N_PROFILES ? &profiles[i] : NULL;
}

const struct zw_profile *zw_profile_find(const char *name)
{
	for (size_t i = 0; name && i < N_PROFILES; i++)
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	return NULL;
}

const char *zw_profile_source(const struct zw_profile *p, const char *field)
{
	for (size_t i = 0; field && i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (strcmp(sources[i].field, field))
			continue;
		if (p->id == ZW_PROFILE_CUSTOM)
			return "user: profile file";
		for (size_t j = 0; j < N_PROFILES; j++)
			if (profiles[j].id == p->id)
				return sources[i].source[j];
	}
	return NULL;
}

/* -- the figures as data, for files ------------------------------------------------------------------------ */

#define U64(f, lo, hi)                                                                             \
	{                                                                                          \
#f, offsetof(struct zw_profile, f), true, lo, hi                                   \
	}
#define U32(f, lo, hi)                                                                             \
	{                                                                                          \
#f, offsetof(struct zw_profile, f), false, lo, hi                                  \
	}

/*
 * The bounds keep the arithmetic of the cost model in its range (rates and efficiencies are divisors) and HBM within
 * what a page table entry can address.
 */
static const struct zw_profile_key keys[] = {
	U64(hbm_bytes, 2 * MIB, 1ull << 47),
	U64(hbm_bw, 1000000, 1ull << 60),
	U64(pcie_bw, 1000000, 1ull << 60),
	U32(links, 0, 64),
	U64(link_bw, 0, 1ull << 60),
	U64(tensor_bf16_flops, 1000000, 1ull << 62),
	U64(tensor_f32_flops, 1000000, 1ull << 62),
	U64(tensor_i8_ops, 0, 1ull << 62),
	U64(tensor_f8_flops, 0, 1ull << 62),
	U64(vector_flops, 1000000, 1ull << 62),
	U64(sram_bytes, 4096, 1ull << 40),
	U32(tile_m, 1, 4096),
	U32(tile_n, 1, 4096),
	U32(tile_k, 1, 4096),
	U32(tdp_watts, 0, 100000),
	U64(packet_ps, 0, 1000000000000),
	U64(job_ps, 0, 1000000000000),
	U32(hbm_efficiency_permille, 1, 1000),
	U32(tensor_efficiency_permille, 1, 1000),
};

const struct zw_profile_key *zw_profile_key_at(size_t i)
{
	return i < sizeof(keys) / sizeof(keys[0]) ? &keys[i] : NULL;
}

const char *zw_profile_field(size_t i)
{
	return i < sizeof(sources) / sizeof(sources[0]) ? sources[i].field : NULL;
}
