// SPDX-License-Identifier: MIT
/*
 * What the features of a chip gain: the same packets with and without each of them, on a clock without arithmetic.
 *
 *	zw-claims PROFILE [MODEL...]
 *
 * Prints a line a measurement, `claim case free side` and figures in the order of print(). `free` names what costs nothing
 * in it, on both sides: what of a gain is lost then is what that resource made of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cp/zw_cp_int.h"
#include "model.h"

static const char *const frees[] = {"none", "hbm", "compute", "launches", "sram"};
#define N_FREES (sizeof(frees) / sizeof(frees[0]))

static uint64_t faster(uint64_t rate, uint64_t most)
{
	return rate > most / 1000 ? most : rate * 1000;
}

/* The profile with one resource that costs (nearly) nothing. */
static struct zw_profile without_cost(const struct zw_profile *from, size_t which)
{
	struct zw_profile p = *from;

	switch (which) {
	case 1:
		p.hbm_bw = faster(p.hbm_bw, 1ull << 60);
		p.unit_bw = faster(p.unit_bw, 1ull << 60);
		p.unit_i8_bw = faster(p.unit_i8_bw, 1ull << 60);
		break;
	case 2:
		p.tensor_bf16_flops = faster(p.tensor_bf16_flops, 1ull << 62);
		p.tensor_f32_flops = faster(p.tensor_f32_flops, 1ull << 62);
		p.tensor_i8_ops = faster(p.tensor_i8_ops, 1ull << 62);
		p.tensor_f8_flops = faster(p.tensor_f8_flops, 1ull << 62);
		p.vector_flops = faster(p.vector_flops, 1ull << 62);
		p.bf16_flop_fj = p.f32_flop_fj = p.i8_op_fj = p.f8_flop_fj = 0;
		break;
	case 3:
		p.packet_ps = p.job_ps = p.gemm_ps = p.gemm_split_ps = p.experts_ps = p.expert_ps =
			p.attn_ps = p.attn_split_ps = p.attn_prefill_ps = p.reduce_ps = p.topk_ps =
				0;
		break;
	case 4:
		p.sram_bw = faster(p.sram_bw, 1ull << 62);
		p.kv_sram_bw = faster(p.kv_sram_bw, 1ull << 62);
		break;
	default:
		break;
	}
	return p;
}

struct figures {
	uint64_t ps, attn_ps, vector_ps, launch_ps, pj;
	struct step_count count;
};

static void print(const char *claim, const char *name, size_t which, const char *side,
		  const struct figures *f)
{
	printf("%s %s %s %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %u\n",
	       claim, name, frees[which], side, f->ps, f->attn_ps, f->vector_ps, f->launch_ps,
	       f->pj, f->count.packets, f->count.primitives);
}

static struct figures run(struct machine *m)
{
	struct machine_time t;
	struct figures f;

	if (machine_run(m, &t))
		exit(1);
	f = (struct figures){.ps = t.packet_ps,
			     .attn_ps = t.result.busy_ps[ZW_ENGINE_ATTN],
			     .vector_ps = t.result.busy_ps[ZW_ENGINE_VECTOR],
			     .pj = t.energy_pj};
	return f;
}

static struct machine *start(const struct zw_profile *p)
{
	struct machine *m = machine_new(p);

	if (!m)
		exit(2);
	return m;
}

/* -- KV blocks on the chip ------------------------------------------------------------------------------ */

/* The second of two steps, so that it finds what steps find. */
static struct figures decode(struct machine *m, const struct model *model, uint32_t context)
{
	struct step_options o = {.rows = 1, .context = context};
	const struct zw_profile *p = machine_profile(m);
	struct figures f;

	for (unsigned int i = 0; i < 2; i++) {
		struct step_count n;

		machine_clear(m);
		n = model_step(m, model, &o);
		f = run(m);
		f.count = n;
	}
	/* of the attention engine: KV_WRITE, and ATTENTION with a second pass where units share an item */
	f.launch_ps = model_attention_layers(model) *
		      (p->packet_ps + p->attn_ps +
		       (p->units / model->kv_heads > 1 ? p->attn_split_ps : 0));
	return f;
}

static void kv_case(const char *claim, const struct zw_profile *base, const struct model *model,
		    uint32_t context)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/%u", model->name, context);
	for (size_t which = 0; which < N_FREES; which++) {
		struct zw_profile p = without_cost(base, which);
		struct machine *m = start(&p);

		for (unsigned int on = 0; on < 2; on++) {
			struct figures f;

			machine_without(m, on ? 0 : ZW_PKT_F_NO_KV_CACHE);
			f = decode(m, model, context);
			print(claim, name, which, on ? "on" : "off", &f);
		}
		machine_free(m);
	}
}

static void kv(const struct zw_profile *base, const struct model *model)
{
	static const uint32_t contexts[] = {4096, 32768, 262144};
	struct zw_profile p = *base, more;

	/* a half of what operands have, if the profile has no size of its own */
	if (!p.kv_sram_bytes)
		p.kv_sram_bytes = p.sram_bytes / 4;
	/* what it would take: all that a step can fetch, from memory in the units */
	more = p;
	more.sram_bytes = more.sram_bytes * 8;
	more.kv_sram_bytes = base->sram_bytes * 7 / 2;
	more.kv_sram_bw = faster(p.kv_sram_bw, 1ull << 62) / 100;
	for (size_t i = 0; i < sizeof(contexts) / sizeof(contexts[0]); i++) {
		kv_case("kv", &p, model, contexts[i]);
		kv_case("kv-more", &more, model, contexts[i]);
	}
}

/* -- tensor engine -------------------------------------------------------------------------------------- */

static void on_and_off(const char *claim, const char *name, const struct zw_profile *base,
		       uint32_t flag, void (*emit)(struct machine *m, struct step_count *n))
{
	for (size_t which = 0; which < N_FREES; which++) {
		struct zw_profile p = without_cost(base, which);
		struct machine *m = start(&p);

		for (unsigned int on = 0; on < 2; on++) {
			struct step_count n = {0};
			struct figures f;

			machine_clear(m);
			machine_without(m, on ? 0 : flag);
			emit(m, &n);
			f = run(m);
			f.count = n;
			print(claim, name, which, on ? "on" : "off", &f);
		}
		machine_free(m);
	}
}

/* gate and up of a layer of 8B */
static void product(struct machine *m, uint32_t rows, unsigned int dtype)
{
	struct zw_pkt_gemm p = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};

	p.a = machine_tensor(m, dtype, rows, 4096, 0, 0);
	p.w = machine_tensor(m, dtype, 24576, 4096, 0, 0);
	p.c = machine_tensor(m, ZW_DTYPE_BF16, rows, 24576, 0, 0);
	if (dtype == ZW_DTYPE_I8) {
		p.a_scale = machine_tensor(m, ZW_DTYPE_F32, rows, 1, 0, 0);
		p.w_scale = machine_tensor(m, ZW_DTYPE_F32, 24576, 1, 0, 0);
		p.a_scale.block[0] = p.w_scale.block[0] = 1;
		p.a_scale.block[1] = p.w_scale.block[1] = 4096;
	}
	machine_emit(m, &p, sizeof(p));
}

static void bf16_1(struct machine *m, struct step_count *n)
{
	product(m, 1, ZW_DTYPE_BF16);
}

static void bf16_64(struct machine *m, struct step_count *n)
{
	product(m, 64, ZW_DTYPE_BF16);
}

static void bf16_2048(struct machine *m, struct step_count *n)
{
	product(m, 2048, ZW_DTYPE_BF16);
}

static void int8_2048(struct machine *m, struct step_count *n)
{
	product(m, 2048, ZW_DTYPE_I8);
}

static void prefill(struct machine *m, struct step_count *n)
{
	const struct step_options o = {.rows = 2048, .context = 2048};

	*n = model_step(m, model_find("8b"), &o);
}

static void prefill_int8(struct machine *m, struct step_count *n)
{
	const struct step_options o = {.rows = 2048, .context = 2048, .int8 = true};

	*n = model_step(m, model_find("8b"), &o);
}

static void tensor(const struct zw_profile *p)
{
	on_and_off("tensor", "gemm-bf16/1", p, ZW_PKT_F_NO_TENSOR, bf16_1);
	on_and_off("tensor", "gemm-bf16/64", p, ZW_PKT_F_NO_TENSOR, bf16_64);
	on_and_off("tensor", "gemm-bf16/2048", p, ZW_PKT_F_NO_TENSOR, bf16_2048);
	on_and_off("tensor", "gemm-int8/2048", p, ZW_PKT_F_NO_TENSOR, int8_2048);
	on_and_off("tensor", "prefill-8b-bf16/2048", p, ZW_PKT_F_NO_TENSOR, prefill);
	on_and_off("tensor", "prefill-8b-int8/2048", p, ZW_PKT_F_NO_TENSOR, prefill_int8);
}

/* -- packets of several primitives ---------------------------------------------------------------------- */

static void layer(struct machine *m, struct step_count *n, const char *name, uint32_t rows)
{
	const struct model *model = model_find(name);
	const struct step_options o = {.rows = rows,
				       .context = rows > 1 ? rows : 4096,
				       .layers = model->hybrid ? 4 : 1,
				       .no_head = true};

	*n = model_step(m, model, &o);
}

static void small_decode(struct machine *m, struct step_count *n)
{
	layer(m, n, "0.6b", 1);
}

static void decode_8b(struct machine *m, struct step_count *n)
{
	layer(m, n, "8b", 1);
}

static void prefill_8b(struct machine *m, struct step_count *n)
{
	layer(m, n, "8b", 2048);
}

static void next_decode(struct machine *m, struct step_count *n)
{
	layer(m, n, "next-80b-a3b", 1);
}

static void fused(const struct zw_profile *p)
{
	on_and_off("fused", "layer-0.6b-decode", p, ZW_PKT_F_NO_FUSED, small_decode);
	on_and_off("fused", "layer-8b-decode", p, ZW_PKT_F_NO_FUSED, decode_8b);
	on_and_off("fused", "4-layers-next-decode", p, ZW_PKT_F_NO_FUSED, next_decode);
	on_and_off("fused", "layer-8b-prefill/2048", p, ZW_PKT_F_NO_FUSED, prefill_8b);
}

/* -- block-sparse attention ----------------------------------------------------------------------------- */

/*
 * A prompt in chunks of 2,048 tokens. MInference's vertical-slash form: 1,000 columns, 6,096 distances, where the device has
 * them without computing (half of the distances the nearest, half in bands of 64). Chunks in between are as long as those that
 * are run, one in so many.
 */
#define CHUNK    2048u
#define GROUP    64u
#define COLUMNS  1000u
#define SLASH    6096u
#define SAMPLES  8u
#define SPARSE_N (CHUNK / GROUP)

/* Attention of one layer of 8B for a chunk that ends at `context`; off: keys that lists leave out cost what others do. */
static struct figures attention(struct machine *m, uint32_t context, bool select)
{
	const struct model *h = model_find("8b");
	struct model_cache c;
	struct zw_pkt_attention a = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
				     .scale_f32 = 0x3db504f3};
	struct zw_pkt_select_slash s = {.hdr = HDR(ZW_OP_SELECT_SLASH, zw_pkt_select_slash),
					.scale_f32 = 0x3db504f3,
					.sample = 64,
					.first = 30,
					.nearest = 100};

	machine_clear(m);
	c = model_cache(m, context, h->kv_heads, h->d);
	a.q = machine_tensor(m, ZW_DTYPE_BF16, CHUNK, h->heads, h->d, 0);
	a.y = machine_tensor(m, ZW_DTYPE_BF16, CHUNK, h->heads, h->d, 0);
	a.pos = machine_numbers(m, CHUNK, (int32_t)(context - CHUNK), 1);
	a.block_table = c.table;
	a.k_cache = c.k;
	a.v_cache = c.v;
	s.q = a.q;
	s.pos = a.pos;
	s.block_table = c.table;
	s.k_cache = c.k;
	s.vertical = machine_numbers(m, h->heads, COLUMNS, 0);
	s.slash = machine_numbers(m, h->heads, SLASH, 0);
	a.sparse_blocks = s.blocks =
		machine_tensor(m, ZW_DTYPE_I32, SPARSE_N, h->heads, context / MODEL_BLOCK, 0);
	a.sparse_counts = s.counts = machine_tensor(m, ZW_DTYPE_I32, SPARSE_N, h->heads, 0, 0);
	a.sparse_columns = s.columns =
		machine_tensor(m, ZW_DTYPE_I32, SPARSE_N, h->heads, COLUMNS, 0);
	a.sparse_column_counts = s.column_counts =
		machine_tensor(m, ZW_DTYPE_I32, SPARSE_N, h->heads, 0, 0);
	machine_emit(m, &s, sizeof(s));
	/* its lists are there, and nobody asks what they cost */
	if (!select) {
		run(m);
		machine_clear_packets(m);
	}
	machine_emit(m, &a, sizeof(a));
	return run(m);
}

static void sparse_case(const struct zw_profile *base, uint32_t tokens, size_t which)
{
	const struct model *h = model_find("8b");
	struct zw_profile p = without_cost(base, which);
	const struct step_options o = {
		.rows = CHUNK, .context = CHUNK, .layers = 1, .no_head = true};
	struct machine *m = start(&p);
	uint64_t chunks = tokens / CHUNK, rest;
	struct figures layer_figures;
	char name[32];

	/* what a chunk takes besides its attention, which does not depend on where it is */
	model_step(m, h, &o);
	layer_figures = run(m);
	rest = layer_figures.ps - layer_figures.attn_ps;
	snprintf(name, sizeof(name), "prefill-8b/%uk", tokens / 1024);
	for (unsigned int on = 0; on < 2; on++) {
		struct figures sum = {0};

		machine_without(m, on ? 0 : ZW_PKT_F_NO_SPARSE);
		for (uint32_t i = 0; i < SAMPLES; i++) {
			/* in the middle of its part of the prompt */
			uint32_t chunk = (uint32_t)(chunks * (2 * i + 1) / (2 * SAMPLES));
			struct figures f = attention(m, (chunk + 1) * CHUNK, on);

			sum.attn_ps += f.ps * chunks / SAMPLES * h->layers;
			sum.pj += f.pj * chunks / SAMPLES * h->layers;
		}
		sum.ps = sum.attn_ps + rest * chunks * h->layers;
		print("sparse", name, which, on ? "on" : "off", &sum);
	}
	machine_free(m);
}

static void sparse(const struct zw_profile *p)
{
	static const uint32_t lengths[] = {32768, 131072, 1048576};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (size_t which = 0; which < N_FREES; which++)
			sparse_case(p, lengths[i], which);
}

static int load(const char *name, struct zw_profile *p)
{
	const struct zw_profile *known = zw_profile_find(name);
	char err[300];

	if (strchr(name, '/')) {
		if (!zw_profile_load(name, p, err, sizeof(err)))
			return 0;
		fprintf(stderr, "claims: %s\n", err);
		return -1;
	}
	if (!known) {
		fprintf(stderr, "claims: no profile '%s'; a name with a slash is a file\n", name);
		return -1;
	}
	*p = *known;
	return 0;
}

int main(int argc, char **argv)
{
	struct zw_profile p;

	if (argc < 2) {
		fprintf(stderr, "usage: zw-claims PROFILE [MODEL...]\n");
		return 2;
	}
	if (load(argv[1], &p))
		return 2;
	if (!p.tensor_engine || !p.fused_packets || !p.block_sparse) {
		fprintf(stderr,
			"claims: profile %s goes without a feature that is to be compared\n",
			p.name);
		return 2;
	}
	for (int i = 2; i < argc; i++)
		if (!model_find(argv[i])) {
			fprintf(stderr, "claims: no model '%s'\n", argv[i]);
			return 2;
		}
	printf("profile %s %" PRIu32 " %" PRIu32 "\n", p.name, p.tdp_watts, p.idle_watts);
	for (size_t i = 0; argc == 2 && model_at(i); i++)
		kv(&p, model_at(i));
	for (int i = 2; i < argc; i++)
		kv(&p, model_find(argv[i]));
	tensor(&p);
	fused(&p);
	sparse(&p);
	return 0;
}
