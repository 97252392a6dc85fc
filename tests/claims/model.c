// SPDX-License-Identifier: MIT
/* Steps of dense models and of Qwen3-Next: one job, packets one after the other. */
#include <string.h>

#include "../fidelity/qwen3_shapes.h"
#include "cp/zw_cp_int.h"
#include "model.h"

#define BF16 ZW_DTYPE_BF16
#define F32  ZW_DTYPE_F32
#define I8   ZW_DTYPE_I8
#define I32  ZW_DTYPE_I32

#define EPS 0x358637bd /* 1e-6 */

#define DENSE(...) {__VA_ARGS__, false},

static const struct model models[] = {
	QWEN3_SHAPES(DENSE)
	/* every fourth layer has attention */
	{"next-80b-a3b", 48, 2048, 16, 2, 256, 512, 151936, true},
};

/* Of Qwen3-Next. */
#define EXPERTS   512u
#define TOP       10u
#define KEY_HEADS 16u
#define VAL_HEADS 32u
#define STATE_DIM 128u
#define TAPS      4u
#define ROTARY    64u

const struct model *model_at(size_t i)
{
	return i < sizeof(models) / sizeof(models[0]) ? &models[i] : NULL;
}

const struct model *model_find(const char *name)
{
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		if (!strcmp(models[i].name, name))
			return &models[i];
	return NULL;
}

uint32_t model_attention_layers(const struct model *m)
{
	return m->hybrid ? m->layers / 4 : m->layers;
}

struct model_cache model_cache(struct machine *m, uint32_t tokens, uint32_t heads, uint32_t d)
{
	uint32_t blocks = (tokens + MODEL_BLOCK - 1) / MODEL_BLOCK;
	struct model_cache c;

	c.k = machine_tensor(m, BF16, blocks, MODEL_BLOCK, heads, d);
	c.v = machine_tensor(m, BF16, blocks, MODEL_BLOCK, heads, d);
	c.table = machine_numbers(m, blocks, 0, 1);
	c.table.ndim = 2;
	c.table.dim[0] = 1;
	c.table.dim[1] = c.table.stride[0] = blocks;
	return c;
}

struct step {
	struct machine *m;
	const struct model *model;
	const struct step_options *o;
	struct step_count count;
	struct zw_tensor pos, table, cos, sin;
	struct zw_tensor x, norm, a8, a8_scale;
};

static void put(struct step *s, const void *pkt, uint32_t bytes)
{
	machine_emit(s->m, pkt, bytes);
	s->count.packets++;
	s->count.primitives += zw_cp_primitives(pkt);
}
#define PUT(s, pkt) put((s), &(pkt), sizeof(pkt))

static struct zw_tensor rows(struct step *s, unsigned int dtype, uint32_t n)
{
	return machine_tensor(s->m, dtype, s->o->rows, n, 0, 0);
}

static void rmsnorm(struct step *s, const struct zw_tensor *x, const struct zw_tensor *y,
		    uint32_t n)
{
	struct zw_pkt_rmsnorm p = {
		.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm), .x = *x, .y = *y, .eps_f32 = EPS};

	p.w = machine_tensor(s->m, BF16, n, 0, 0, 0);
	PUT(s, p);
}

/* One scale for each row. */
static struct zw_tensor row_scales(struct step *s, const struct zw_tensor *t)
{
	struct zw_tensor c = machine_tensor(s->m, F32, t->dim[0], 1, 0, 0);

	c.block[0] = 1;
	c.block[1] = t->dim[1];
	return c;
}

static void gemm(struct step *s, const struct zw_tensor *a, const struct zw_tensor *c,
		 const struct zw_tensor *residual)
{
	struct zw_pkt_gemm p = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm), .a = *a, .c = *c};
	unsigned int dtype = s->o->int8 ? I8 : BF16;

	p.w = machine_tensor(s->m, dtype, c->dim[1], a->dim[1], 0, 0);
	if (s->o->int8) {
		struct zw_pkt_quantize q = {.hdr = HDR(ZW_OP_QUANTIZE, zw_pkt_quantize), .x = *a};

		q.y = p.a = machine_tensor(s->m, I8, a->dim[0], a->dim[1], 0, 0);
		q.scale = p.a_scale = row_scales(s, &p.a);
		p.w_scale = row_scales(s, &p.w);
		PUT(s, q);
	}
	if (residual)
		p.residual = *residual;
	PUT(s, p);
}

static void rope(struct step *s, const struct zw_tensor *x)
{
	struct zw_pkt_rope p = {.hdr = HDR(ZW_OP_ROPE, zw_pkt_rope),
				.x = *x,
				.y = *x,
				.pos = s->pos,
				.cos = s->cos,
				.sin = s->sin};

	PUT(s, p);
}

static struct zw_tensor attend(struct step *s, const struct zw_tensor *q, const struct zw_tensor *k,
			       const struct zw_tensor *v)
{
	const struct model *h = s->model;
	struct model_cache c = model_cache(s->m, s->o->context, h->kv_heads, h->d);
	struct zw_pkt_kv_write w = {.hdr = HDR(ZW_OP_KV_WRITE, zw_pkt_kv_write),
				    .k = *k,
				    .v = *v,
				    .pos = s->pos,
				    .block_table = c.table,
				    .k_cache = c.k,
				    .v_cache = c.v};
	struct zw_pkt_attention p = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
				     .q = *q,
				     .pos = s->pos,
				     .block_table = c.table,
				     .k_cache = c.k,
				     .v_cache = c.v,
				     .scale_f32 = 0x3db504f3};
	struct zw_tensor y = rows(s, BF16, h->heads * h->d);

	PUT(s, w);
	p.y = machine_heads(&y, 0, h->heads, h->d);
	PUT(s, p);
	return y;
}

static void attention(struct step *s)
{
	const struct model *h = s->model;
	uint32_t nq = h->heads * h->d, nkv = h->kv_heads * h->d, gate = h->hybrid ? nq : 0;
	struct zw_tensor all = rows(s, BF16, nq + 2 * nkv + gate), y;
	struct zw_tensor q = machine_heads(&all, 0, h->heads, h->d);
	struct zw_tensor k = machine_heads(&all, nq, h->kv_heads, h->d);
	struct zw_tensor v = machine_heads(&all, nq + nkv, h->kv_heads, h->d);

	gemm(s, &s->norm, &all, NULL);
	rmsnorm(s, &q, &q, h->d);
	rmsnorm(s, &k, &k, h->d);
	rope(s, &q);
	rope(s, &k);
	y = attend(s, &q, &k, &v);
	if (gate) {
		struct zw_pkt_mul_sigmoid p = {.hdr = HDR(ZW_OP_MUL_SIGMOID, zw_pkt_mul_sigmoid),
					       .x = y,
					       .gate = machine_columns(&all, nq + 2 * nkv, nq),
					       .y = y};

		PUT(s, p);
	}
	gemm(s, &y, &s->x, &s->x);
}

static void recurrent(struct step *s)
{
	uint32_t nk = KEY_HEADS * STATE_DIM, nv = VAL_HEADS * STATE_DIM, mixed = 2 * nk + nv;
	struct zw_tensor all = rows(s, BF16, mixed + nv), ba = rows(s, BF16, 2 * VAL_HEADS);
	struct zw_tensor conv = rows(s, BF16, mixed), y = rows(s, BF16, nv);
	struct zw_pkt_conv c = {.hdr = HDR(ZW_OP_CONV, zw_pkt_conv), .pos = s->pos, .y = conv};
	struct zw_pkt_delta d = {.hdr = HDR(ZW_OP_DELTA, zw_pkt_delta),
				 .pos = s->pos,
				 .eps_f32 = EPS,
				 .scale_f32 = 0x3db504f3};
	struct zw_pkt_gated_norm n = {.hdr = HDR(ZW_OP_GATED_NORM, zw_pkt_gated_norm),
				      .eps_f32 = EPS};

	gemm(s, &s->norm, &all, NULL);
	gemm(s, &s->norm, &ba, NULL);
	c.x = machine_columns(&all, 0, mixed);
	c.w = machine_tensor(s->m, BF16, mixed, TAPS, 0, 0);
	c.state = machine_tensor(s->m, BF16, 1, TAPS - 1, mixed, 0);
	PUT(s, c);
	d.q = machine_heads(&conv, 0, KEY_HEADS, STATE_DIM);
	d.k = machine_heads(&conv, nk, KEY_HEADS, STATE_DIM);
	d.v = machine_heads(&conv, 2 * nk, VAL_HEADS, STATE_DIM);
	d.a = machine_columns(&ba, 0, VAL_HEADS);
	d.b = machine_columns(&ba, VAL_HEADS, VAL_HEADS);
	d.a_log = machine_tensor(s->m, F32, VAL_HEADS, 0, 0, 0);
	d.dt_bias = machine_tensor(s->m, F32, VAL_HEADS, 0, 0, 0);
	d.y = machine_heads(&y, 0, VAL_HEADS, STATE_DIM);
	d.state = machine_tensor(s->m, F32, 1, VAL_HEADS, STATE_DIM, STATE_DIM);
	PUT(s, d);
	n.x = n.y = d.y;
	n.w = machine_tensor(s->m, F32, STATE_DIM, 0, 0, 0);
	n.gate = machine_heads(&all, mixed, VAL_HEADS, STATE_DIM);
	PUT(s, n);
	gemm(s, &y, &s->x, &s->x);
}

static void mlp(struct step *s)
{
	uint32_t n = s->model->inner;
	struct zw_tensor both = rows(s, BF16, 2 * n), glu = rows(s, BF16, n);
	struct zw_pkt_swiglu p = {.hdr = HDR(ZW_OP_SWIGLU, zw_pkt_swiglu), .y = glu};

	gemm(s, &s->norm, &both, NULL);
	p.gate = machine_columns(&both, 0, n);
	p.up = machine_columns(&both, n, n);
	PUT(s, p);
	gemm(s, &glu, &s->x, &s->x);
}

/* Tokens are dealt to experts in turn; one shared expert with a gate of its own. */
static void experts(struct step *s)
{
	uint32_t n = s->model->inner, hidden = s->model->hidden, m = s->o->rows;
	struct zw_tensor logits = rows(s, BF16, EXPERTS), glu, y = rows(s, BF16, n);
	struct zw_pkt_route r = {.hdr = HDR(ZW_OP_ROUTE, zw_pkt_route), .x = logits};
	struct zw_pkt_gemm_experts e = {.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)}, down;
	struct zw_pkt_swiglu g = {.hdr = HDR(ZW_OP_SWIGLU, zw_pkt_swiglu)};
	struct zw_pkt_mul_sigmoid p = {.hdr = HDR(ZW_OP_MUL_SIGMOID, zw_pkt_mul_sigmoid)};
	struct zw_tensor both = rows(s, BF16, 2 * n), shared = rows(s, BF16, hidden);

	r.hdr.flags = ZW_ROUTE_F_RENORM;
	r.weights = machine_tensor(s->m, F32, m, TOP, 0, 0);
	r.ids = machine_tensor(s->m, I32, m, TOP, 0, 0);
	gemm(s, &s->norm, &logits, NULL);
	PUT(s, r);
	for (uint32_t i = 0; i < m * TOP; i++) {
		int32_t id = (int32_t)(i % EXPERTS);

		machine_put(s->m, r.ids.va + 4ull * i, &id, 4);
	}
	down = e;
	e.a = s->norm;
	e.w = machine_tensor(s->m, BF16, EXPERTS, 2 * n, hidden, 0);
	e.ids = down.ids = r.ids;
	e.c = machine_tensor(s->m, BF16, m, TOP, 2 * n, 0);
	PUT(s, e);
	glu = machine_tensor(s->m, BF16, m, TOP, n, 0);
	g.gate = g.up = e.c;
	g.gate.dim[2] = g.up.dim[2] = n;
	g.up.va += 2ull * n;
	g.y = glu;
	PUT(s, g);
	down.hdr.flags = ZW_EXPERTS_F_SCATTER;
	down.a = glu;
	down.w = machine_tensor(s->m, BF16, EXPERTS, hidden, n, 0);
	down.c = down.residual = s->x;
	down.weights = r.weights;
	PUT(s, down);
	gemm(s, &s->norm, &both, NULL);
	g.gate = machine_columns(&both, 0, n);
	g.up = machine_columns(&both, n, n);
	g.y = y;
	PUT(s, g);
	gemm(s, &y, &shared, NULL);
	p.x = shared;
	p.gate = rows(s, BF16, 1);
	p.hdr.flags = ZW_SIGMOID_F_ROW_GATE;
	p.y = p.residual = s->x;
	gemm(s, &s->norm, &p.gate, NULL);
	PUT(s, p);
}

/* Of the last row: the token. */
static void head(struct step *s)
{
	struct zw_pkt_argmax p = {.hdr = HDR(ZW_OP_ARGMAX, zw_pkt_argmax)};
	struct zw_tensor x = s->x, norm = s->norm;

	x.dim[0] = norm.dim[0] = 1;
	rmsnorm(s, &x, &norm, s->model->hidden);
	p.x = machine_tensor(s->m, BF16, 1, s->model->vocabulary, 0, 0);
	gemm(s, &norm, &p.x, NULL);
	p.ids = machine_tensor(s->m, I32, 1, 0, 0, 0);
	PUT(s, p);
}

struct step_count model_step(struct machine *m, const struct model *model,
			     const struct step_options *o)
{
	uint32_t layers = o->layers ? o->layers : model->layers;
	uint32_t rotary = model->hybrid ? ROTARY : model->d;
	struct step s = {.m = m, .model = model, .o = o};

	s.pos = machine_numbers(m, o->rows, (int32_t)(o->context - o->rows), 1);
	s.cos = machine_tensor(m, F32, o->context, rotary / 2, 0, 0);
	s.sin = machine_tensor(m, F32, o->context, rotary / 2, 0, 0);
	s.x = rows(&s, BF16, model->hidden);
	s.norm = rows(&s, BF16, model->hidden);
	for (uint32_t i = 0; i < layers; i++) {
		rmsnorm(&s, &s.x, &s.norm, model->hidden);
		if (model->hybrid && i % 4 != 3)
			recurrent(&s);
		else
			attention(&s);
		rmsnorm(&s, &s.x, &s.norm, model->hidden);
		if (model->hybrid)
			experts(&s);
		else
			mlp(&s);
	}
	if (!o->no_head)
		head(&s);
	return s.count;
}
