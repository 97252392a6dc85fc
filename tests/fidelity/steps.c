// SPDX-License-Identifier: MIT
/* Whole steps of dense models: one job, the packets that the runtime makes of a layer, one after the other. */
#include <stdio.h>
#include <string.h>

#include "qwen3_shapes.h"
#include "rows.h"

#define I32 ZW_DTYPE_I32

struct shape {
	const char *name;
	uint32_t layers, hidden, heads, kv_heads, d, inner, vocabulary;
	bool qk_norm;
	uint32_t cards; /* of which the sizes are one's share */
};

#define WITH_QK_NORM(...) {__VA_ARGS__, true, 1},

static const struct shape shapes[] = {
	QWEN3_SHAPES(WITH_QK_NORM)
	/* no norms of q and k */
	{"llama-7b", 32, 4096, 32, 32, 128, 11008, 32000, false, 1},
	{"llama-13b", 40, 5120, 40, 40, 128, 13824, 32000, false, 1},
	{"llama-70b/4", 80, 8192, 16, 2, 128, 7168, 8000, false, 4},
	{"internlm-20b/2", 60, 5120, 20, 20, 128, 6912, 51584, false, 2},
};

struct step {
	struct machine *m;
	struct shape shape;
	uint32_t rows;
	unsigned int dtype;
	struct cache cache;
	struct zw_tensor pos, seq, cos, sin; /* of each row */
	struct zw_tensor x, norm, qkv, q, y, gate_up, glu;
};

static void rmsnorm(struct step *s, const struct zw_tensor *x, const struct zw_tensor *y,
		    uint32_t n)
{
	struct zw_pkt_rmsnorm p = {
		.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm), .x = *x, .y = *y, .eps_f32 = 0x358637bd};

	p.w = machine_tensor(s->m, s->dtype, n, 0, 0, 0);
	EMIT(s->m, p);
}

static void gemm(struct step *s, const struct zw_tensor *a, const struct zw_tensor *c,
		 const struct zw_tensor *residual)
{
	struct zw_pkt_gemm p = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm), .a = *a, .c = *c};

	p.w = machine_tensor(s->m, s->dtype, c->dim[1], a->dim[1], 0, 0);
	if (residual)
		p.residual = *residual;
	EMIT(s->m, p);
}

static void rope(struct step *s, const struct zw_tensor *x)
{
	struct zw_pkt_rope p = {.hdr = HDR(ZW_OP_ROPE, zw_pkt_rope),
				.x = *x,
				.y = *x,
				.pos = s->pos,
				.cos = s->cos,
				.sin = s->sin};

	EMIT(s->m, p);
}

static void attention(struct step *s, const struct zw_tensor *q, const struct zw_tensor *k,
		      const struct zw_tensor *v)
{
	struct zw_pkt_kv_write w = {.hdr = HDR(ZW_OP_KV_WRITE, zw_pkt_kv_write),
				    .k = *k,
				    .v = *v,
				    .pos = s->pos,
				    .seq = s->seq,
				    .block_table = s->cache.table,
				    .k_cache = s->cache.k,
				    .v_cache = s->cache.v};
	struct zw_pkt_attention p = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
				     .q = *q,
				     .pos = s->pos,
				     .seq = s->seq,
				     .block_table = s->cache.table,
				     .k_cache = s->cache.k,
				     .v_cache = s->cache.v,
				     .scale_f32 = 0x3db504f3};

	EMIT(s->m, w);
	p.y = machine_heads(&s->y, 0, s->shape.heads, s->shape.d);
	EMIT(s->m, p);
}

static void layer(struct step *s)
{
	const struct shape *h = &s->shape;
	struct zw_tensor q = machine_heads(&s->qkv, 0, h->heads, h->d);
	struct zw_tensor k = machine_heads(&s->qkv, h->heads * h->d, h->kv_heads, h->d);
	struct zw_tensor v =
		machine_heads(&s->qkv, (h->heads + h->kv_heads) * h->d, h->kv_heads, h->d);
	struct zw_pkt_swiglu glu = {.hdr = HDR(ZW_OP_SWIGLU, zw_pkt_swiglu), .y = s->glu};

	rmsnorm(s, &s->x, &s->norm, h->hidden);
	gemm(s, &s->norm, &s->qkv, NULL);
	if (h->qk_norm) {
		rmsnorm(s, &q, &q, h->d);
		rmsnorm(s, &k, &k, h->d);
	}
	rope(s, &q);
	rope(s, &k);
	attention(s, &q, &k, &v);
	gemm(s, &s->y, &s->x, &s->x);
	rmsnorm(s, &s->x, &s->norm, h->hidden);
	gemm(s, &s->norm, &s->gate_up, NULL);
	glu.gate = machine_columns(&s->gate_up, 0, h->inner);
	glu.up = machine_columns(&s->gate_up, h->inner, h->inner);
	EMIT(s->m, glu);
	gemm(s, &s->glu, &s->x, &s->x);
}

/* Of the last row of each sequence: the token. */
static void head(struct step *s, uint32_t rows)
{
	struct zw_pkt_argmax p = {.hdr = HDR(ZW_OP_ARGMAX, zw_pkt_argmax)};
	struct zw_tensor x = s->x, norm = s->norm;

	x.dim[0] = norm.dim[0] = rows;
	rmsnorm(s, &x, &norm, s->shape.hidden);
	p.x = machine_tensor(s->m, s->dtype, rows, s->shape.vocabulary, 0, 0);
	gemm(s, &norm, &p.x, NULL);
	p.ids = machine_tensor(s->m, I32, rows, 0, 0, 0);
	EMIT(s->m, p);
}

static int shape_of(const struct row *r, struct shape *shape)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (row_is(r, "name", shapes[i].name)) {
			*shape = shapes[i];
			shape->layers = (uint32_t)row_number(r, "layers", shape->layers);
			return 0;
		}
	fprintf(stderr, "fidelity: no model of that name: %s\n", r->text);
	return -1;
}

int emit_step(struct machine *m, const struct row *r, const struct step_of *of, struct sums *sums)
{
	bool prefill = of->prefill;
	uint32_t seqs = (uint32_t)row_number(r, "b", 1), tokens = of->tokens;
	struct step s = {.m = m, .rows = prefill ? seqs * tokens : seqs};
	struct shape *h = &s.shape;
	int32_t v;

	s.dtype = row_has(r, "dtype") ? row_dtype(r, "dtype") : ZW_DTYPE_BF16;
	if (shape_of(r, h) || !s.dtype)
		return -1;
	if (s.dtype != ZW_DTYPE_BF16 && s.dtype != ZW_DTYPE_F16) {
		fprintf(stderr, "fidelity: a step of another type than bf16 and f16: %s\n",
			r->text);
		return -1;
	}
	s.pos = machine_tensor(m, I32, s.rows, 0, 0, 0);
	s.seq = machine_tensor(m, I32, s.rows, 0, 0, 0);
	for (uint32_t i = 0; i < s.rows; i++) {
		v = (int32_t)(prefill ? i % tokens : tokens - 1);
		machine_put(m, s.pos.va + 4ull * i, &v, 4);
		v = (int32_t)(prefill ? i / tokens : i);
		machine_put(m, s.seq.va + 4ull * i, &v, 4);
	}
	s.cos = machine_tensor(m, ZW_DTYPE_F32, tokens, h->d / 2, 0, 0);
	s.sin = machine_tensor(m, ZW_DTYPE_F32, tokens, h->d / 2, 0, 0);
	s.x = machine_tensor(m, s.dtype, s.rows, h->hidden, 0, 0);
	s.norm = machine_tensor(m, s.dtype, s.rows, h->hidden, 0, 0);
	s.qkv = machine_tensor(m, s.dtype, s.rows, (h->heads + 2 * h->kv_heads) * h->d, 0, 0);
	s.y = machine_tensor(m, s.dtype, s.rows, h->heads * h->d, 0, 0);
	s.gate_up = machine_tensor(m, s.dtype, s.rows, 2 * h->inner, 0, 0);
	s.glu = machine_tensor(m, s.dtype, s.rows, h->inner, 0, 0);
	for (uint32_t i = 0; i < h->layers; i++) {
		s.cache = make_cache(m, s.dtype, seqs, tokens, h->kv_heads, h->d);
		layer(&s);
	}
	head(&s, seqs);
	*sums = (struct sums){.cards = h->cards};
	if (h->cards > 1) {
		/* behind the products of attention's output and of the inner size */
		sums->count = 2 * h->layers;
		sums->bytes = (uint64_t)s.rows * h->hidden * zw_dtype_block_bytes(s.dtype);
	}
	return 0;
}
