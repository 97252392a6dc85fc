// SPDX-License-Identifier: MIT
/* The plain forward pass of a checkpoint, in double precision, one token after the other. */
#include "llm_fixture.h"

#include <math.h>

/* Most of what a shape may have, beside MAX_TENSORS. */
#define MAX_H    256
#define MAX_Q    512
#define MAX_WIDE 1024 /* of a projection or a feed-forward */
#define MAX_N    640
#define MAX_E    64

/* What the layers keep of the tokens before. */
struct past {
	double *k, *v; /* [layers, n, nkv, d] */
	double *in;    /* [layers, n, channels]: inputs of the convolution */
	double *s;     /* [layers, gv, dk, dv] */
	size_t kv, channels, state;
	uint32_t n;
};

static const float *weight(const struct fixture *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static const float *weight(const struct fixture *f, const char *fmt, ...)
{
	char name[80];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < f->n; i++) {
		if (!strcmp(f->t[i].name, name))
			return f->t[i].x;
	}
	return NULL;
}

static void linear(double *y, const double *x, const float *w, const float *b, uint32_t n,
		   uint32_t k)
{
	for (uint32_t i = 0; i < n; i++) {
		double sum = b ? (double)b[i] : 0;

		for (uint32_t j = 0; j < k; j++)
			sum += (double)w[(size_t)i * k + j] * x[j];
		y[i] = sum;
	}
}

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static double silu(double x)
{
	return x * sigmoid(x);
}

/* one: what is added to each weight. */
static void norm_one(const struct fixture *f, double *y, const double *x, const float *w,
		     uint32_t n, double one)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	for (uint32_t i = 0; i < n; i++)
		y[i] = x[i] / sqrt(sum / n + (f->s.eps ? f->s.eps : 1e-5)) * (one + (double)w[i]);
}

static void norm(const struct fixture *f, double *y, const double *x, const float *w, uint32_t n)
{
	norm_one(f, y, x, w, n, f->s.next ? 1 : 0);
}

static void rope(const struct fixture *f, double *x, uint32_t pos)
{
	double theta = f->s.theta ? f->s.theta : 10000.0;
	uint32_t d = f->s.next ? f->s.rotary : f->s.d;

	for (uint32_t j = 0; j < d / 2; j++) {
		double a = pos * pow(theta, -2.0 * j / d), c = cos(a), s = sin(a);
		double u = x[j], v = x[j + d / 2];

		x[j] = u * c - v * s;
		x[j + d / 2] = v * c + u * s;
	}
}

#define W(n) weight(f, "%s" n, l)

/* ---- attention ---- */

/* Queries [nq, d], and their gates where there are some. */
static void queries(const struct fixture *f, const char *l, const double *x, double *q,
		    double *gate)
{
	const struct shape *s = &f->s;
	double both[2 * MAX_Q];

	if (!s->next) {
		linear(q, x, W("self_attn.q_proj.weight"), W("self_attn.q_proj.bias"), s->nq * s->d,
		       s->h);
		return;
	}
	linear(both, x, W("self_attn.q_proj.weight"), NULL, 2 * s->nq * s->d, s->h);
	for (uint32_t i = 0; i < s->nq; i++) {
		memcpy(q + i * s->d, both + 2 * i * s->d, s->d * sizeof(*q));
		memcpy(gate + i * s->d, both + (2 * i + 1) * s->d, s->d * sizeof(*q));
	}
}

/* Positions of a chunk: of all of a sequence, without Dual Chunk Attention. */
static uint32_t chunk_length(const struct shape *s)
{
	return s->chunk ? s->chunk - s->local : UINT32_MAX;
}

/* The position by which a query at `pos` is rotated for the key at t. */
static uint32_t query_place(const struct shape *s, uint32_t pos, uint32_t t)
{
	uint32_t c = chunk_length(s), away = pos / c - t / c, at = pos % c; /* away in chunks */

	if (away)
		at = away == 1 ? at + c : 2 * c - 1;
	/* what the model was trained on ends at chunk */
	return s->chunk && at > s->chunk ? s->chunk : at;
}

/*
 * One head: o [d] of the query at `pos`, not rotated; ks and vs are of its KV head at position 0, step
 * apart.
 */
static void attend_head(const struct fixture *f, uint32_t head, const double *q, const double *ks,
			const double *vs, size_t step, uint32_t pos, double *o)
{
	const struct shape *s = &f->s;
	double p[MAX_N], top = -INFINITY, sum = 0, scale = sqrt(s->d);
	uint32_t d = s->d, turned_to = UINT32_MAX;
	double turned[MAX_Q];

	if (s->original && s->context > s->original)
		scale /= pow(0.1 * log((double)s->context / s->original) + 1, 2);
	for (uint32_t t = 0; t <= pos; t++) {
		uint32_t place = query_place(s, pos, t);

		/* For most keys it is the place that it was for the one before. */
		if (place != turned_to) {
			memcpy(turned, q, d * sizeof(*turned));
			rope(f, turned, place);
			turned_to = place;
		}
		p[t] = 0;
		for (uint32_t j = 0; j < d; j++)
			p[t] += turned[j] * ks[t * step + j];
		p[t] /= scale;
	}
	if (f->look)
		f->look(f->opaque, head, pos, p);
	for (uint32_t t = 0; t <= pos; t++)
		top = fmax(top, p[t]);
	for (uint32_t t = 0; t <= pos; t++)
		sum += p[t] = exp(p[t] - top);
	for (uint32_t t = 0; t <= pos; t++) {
		for (uint32_t j = 0; j < d; j++)
			o[j] += p[t] / sum * vs[t * step + j];
	}
}

/* One layer's attention of the token at `pos`; k and v hold the rows of 0..pos. */
static void attend(const struct fixture *f, const char *l, double *h, double *ks, double *vs,
		   uint32_t pos)
{
	const struct shape *s = &f->s;
	uint32_t d = s->d, g = s->nq / s->nkv;
	size_t step = (size_t)s->nkv * d;
	double x[MAX_H], q[MAX_Q], gate[MAX_Q], o[MAX_Q] = {0}, y[MAX_H];
	double *k = ks + pos * step, *v = vs + pos * step;

	norm(f, x, h, W("input_layernorm.weight"), s->h);
	queries(f, l, x, q, gate);
	linear(k, x, W("self_attn.k_proj.weight"), W("self_attn.k_proj.bias"), s->nkv * d, s->h);
	linear(v, x, W("self_attn.v_proj.weight"), W("self_attn.v_proj.bias"), s->nkv * d, s->h);
	for (uint32_t i = 0; i < s->nkv; i++) {
		if (!s->qwen2)
			norm(f, k + i * d, k + i * d, W("self_attn.k_norm.weight"), d);
		rope(f, k + i * d, pos % chunk_length(s));
	}
	for (uint32_t i = 0; i < s->nq; i++) {
		if (!s->qwen2)
			norm(f, q + i * d, q + i * d, W("self_attn.q_norm.weight"), d);
		attend_head(f, i, q + i * d, ks + i / g * d, vs + i / g * d, step, pos, o + i * d);
	}
	for (uint32_t i = 0; s->next && i < s->nq * d; i++)
		o[i] *= sigmoid(gate[i]);
	linear(y, o, W("self_attn.o_proj.weight"), W("self_attn.o_proj.bias"), s->h, s->nq * d);
	for (uint32_t i = 0; i < s->h; i++)
		h[i] += y[i];
}

/* ---- Gated DeltaNet ---- */

/* The input of the convolution and the gates of the values, from what is grouped by key head. */
static void ungroup(const struct shape *s, const double *y, double *in, double *z)
{
	uint32_t r = s->gv / s->gk, block = 2 * s->dk + 2 * r * s->dv;

	for (uint32_t g = 0; g < s->gk; g++) {
		const double *from = y + (size_t)g * block;

		for (uint32_t j = 0; j < s->dk; j++) {
			in[g * s->dk + j] = from[j];
			in[(s->gk + g) * s->dk + j] = from[s->dk + j];
		}
		for (uint32_t j = 0; j < r * s->dv; j++) {
			in[2 * s->gk * s->dk + g * r * s->dv + j] = from[2 * s->dk + j];
			z[g * r * s->dv + j] = from[2 * s->dk + r * s->dv + j];
		}
	}
}

/* Input of the convolution [channels], gates of the values, b and a of each value head. */
static void project(const struct fixture *f, const char *l, const double *x, double *in, double *z,
		    double *b, double *a)
{
	const struct shape *s = &f->s;
	uint32_t values = s->gv * s->dv, channels = 2 * s->gk * s->dk + values, r = s->gv / s->gk;
	double y[2 * MAX_WIDE], ba[2 * MAX_E];

	if (s->split) {
		linear(in, x, W("linear_attn.in_proj_qkv.weight"), NULL, channels, s->h);
		linear(z, x, W("linear_attn.in_proj_z.weight"), NULL, values, s->h);
		linear(b, x, W("linear_attn.in_proj_b.weight"), NULL, s->gv, s->h);
		linear(a, x, W("linear_attn.in_proj_a.weight"), NULL, s->gv, s->h);
		return;
	}
	linear(y, x, W("linear_attn.in_proj_qkvz.weight"), NULL, channels + values, s->h);
	linear(ba, x, W("linear_attn.in_proj_ba.weight"), NULL, 2 * s->gv, s->h);
	ungroup(s, y, in, z);
	for (uint32_t j = 0; j < s->gv; j++) {
		b[j] = ba[j / r * 2 * r + j % r];
		a[j] = ba[j / r * 2 * r + r + j % r];
	}
}

static double length_of(const double *x, uint32_t n)
{
	double sum = 0;

	for (uint32_t j = 0; j < n; j++)
		sum += x[j] * x[j];
	return sqrt(sum + 1e-6);
}

/* One value head: state [dk, dv], q and k [dk], v [dv]; o [dv] comes out in the place of v. */
static void delta_head(const struct shape *s, double *state, const double *q, const double *k,
		       double *v, double decay, double beta)
{
	double nq = length_of(q, s->dk) * sqrt(s->dk), nk = length_of(k, s->dk);

	for (uint32_t j = 0; j < s->dv; j++) {
		double m = 0, o = 0;

		for (uint32_t i = 0; i < s->dk; i++) {
			state[i * s->dv + j] *= decay;
			m += state[i * s->dv + j] * k[i] / nk;
		}
		for (uint32_t i = 0; i < s->dk; i++) {
			state[i * s->dv + j] += k[i] / nk * beta * (v[j] - m);
			o += state[i * s->dv + j] * q[i] / nq;
		}
		v[j] = o;
	}
}

/* in: inputs of the convolution of the tokens 0..pos. */
static void delta(const struct fixture *f, const char *l, double *h, double *in, double *state,
		  uint32_t pos)
{
	const struct shape *s = &f->s;
	uint32_t keys = s->gk * s->dk, values = s->gv * s->dv, channels = 2 * keys + values;
	uint32_t r = s->gv / s->gk;
	double x[MAX_H], y[MAX_H], z[MAX_WIDE], b[MAX_E], a[MAX_E], u[MAX_WIDE] = {0};
	const float *conv = W("linear_attn.conv1d.weight"), *a_log = W("linear_attn.A_log");
	const float *dt_bias = W("linear_attn.dt_bias");
	double *v = u + 2 * keys;

	norm(f, x, h, W("input_layernorm.weight"), s->h);
	project(f, l, x, in + (size_t)pos * channels, z, b, a);
	for (uint32_t c = 0; c < channels; c++) {
		for (uint32_t i = 0; i < s->conv; i++) {
			if (pos + 1 + i >= s->conv)
				u[c] += (double)conv[c * s->conv + i] *
					in[(size_t)(pos + 1 + i - s->conv) * channels + c];
		}
		u[c] = silu(u[c]);
	}
	for (uint32_t j = 0; j < s->gv; j++) {
		double beta = sigmoid(b[j]);
		double dt = log1p(exp(a[j] + (double)dt_bias[j]));

		delta_head(s, state + (size_t)j * s->dk * s->dv, u + j / r * s->dk,
			   u + keys + j / r * s->dk, v + j * s->dv,
			   exp(-exp((double)a_log[j]) * dt), beta);
		norm_one(f, v + j * s->dv, v + j * s->dv, W("linear_attn.norm.weight"), s->dv, 0);
	}
	for (uint32_t j = 0; j < values; j++)
		v[j] *= silu(z[j]);
	linear(y, v, W("linear_attn.out_proj.weight"), NULL, s->h, values);
	for (uint32_t i = 0; i < s->h; i++)
		h[i] += y[i];
}

/* ---- feed-forward ---- */

/* The matrices of a SwiGLU. */
struct ffn {
	const float *gate, *up, *down;
};

static struct ffn ffn_of(const struct fixture *f, const char *prefix)
{
	return (struct ffn){weight(f, "%sgate_proj.weight", prefix),
			    weight(f, "%sup_proj.weight", prefix),
			    weight(f, "%sdown_proj.weight", prefix)};
}

static struct ffn expert_of(const struct fixture *f, const char *l, uint32_t e)
{
	const struct shape *s = &f->s;
	const float *both = W("mlp.experts.gate_up_proj"), *down = W("mlp.experts.down_proj");
	size_t n = (size_t)s->im * s->h;
	char prefix[96];

	snprintf(prefix, sizeof(prefix), "%smlp.experts.%u.", l, e);
	return both ? (struct ffn){both + 2 * n * e, both + 2 * n * e + n, down + n * e}
		    : ffn_of(f, prefix);
}

/* h += weight * down(silu(gate(x)) * up(x)), of size n. */
static void swiglu(const struct fixture *f, struct ffn m, uint32_t n, double scale, const double *x,
		   double *h)
{
	const struct shape *s = &f->s;
	double a[MAX_WIDE], b[MAX_WIDE], y[MAX_H];

	linear(a, x, m.gate, NULL, n, s->h);
	linear(b, x, m.up, NULL, n, s->h);
	for (uint32_t i = 0; i < n; i++)
		a[i] = silu(a[i]) * b[i];
	linear(y, a, m.down, NULL, s->h, n);
	for (uint32_t i = 0; i < s->h; i++)
		h[i] += scale * y[i];
}

/* The k best of z [e], best first, and their weights. Returns by how much the last is ahead. */
static double route(const struct shape *s, const double *z, uint32_t *order, double *w)
{
	double p[MAX_E], sum = 0, chosen = 0, next = -INFINITY;
	bool taken[MAX_E] = {false};

	for (uint32_t e = 0; e < s->e; e++)
		sum += p[e] = exp(z[e]);
	for (uint32_t j = 0; j < s->k; j++) {
		uint32_t best = s->e;

		for (uint32_t e = 0; e < s->e; e++)
			if (!taken[e] && (best == s->e || p[e] > p[best]))
				best = e;
		taken[best] = true;
		order[j] = best;
		chosen += p[best];
	}
	for (uint32_t e = 0; e < s->e; e++)
		next = taken[e] ? next : fmax(next, z[e]);
	for (uint32_t j = 0; j < s->k; j++)
		w[j] = p[order[j]] / (s->renorm ? chosen : sum);
	return z[order[s->k - 1]] - next;
}

/* at: where the choice is written, of f->chosen and f->lead. */
static void feed_forward(const struct fixture *f, const char *l, bool sparse, size_t at, double *h)
{
	const struct shape *s = &f->s;
	double x[MAX_H], z[MAX_E], w[MAX_E], gate, lead;
	uint32_t order[MAX_E];
	char prefix[96];

	norm(f, x, h, W("post_attention_layernorm.weight"), s->h);
	if (!sparse) {
		snprintf(prefix, sizeof(prefix), "%smlp.", l);
		swiglu(f, ffn_of(f, prefix), s->i, 1, x, h);
		return;
	}
	linear(z, x, W("mlp.gate.weight"), NULL, s->e, s->h);
	lead = route(s, z, order, w);
	if (f->chosen) {
		memcpy(f->chosen + at * s->k, order, s->k * sizeof(*order));
		f->lead[at] = lead;
	}
	for (uint32_t j = 0; j < s->k; j++)
		swiglu(f, expert_of(f, l, order[j]), s->im, w[j], x, h);
	if (!s->next)
		return;
	linear(&gate, x, W("mlp.shared_expert_gate.weight"), NULL, 1, s->h);
	snprintf(prefix, sizeof(prefix), "%smlp.shared_expert.", l);
	swiglu(f, ffn_of(f, prefix), s->is, sigmoid(gate), x, h);
}
#undef W

/* ---- the whole ---- */

static void past_make(struct past *p, const struct shape *s, uint32_t n)
{
	p->n = n;
	p->kv = (size_t)s->nkv * s->d * n;
	p->channels = (2 * (size_t)s->gk * s->dk + (size_t)s->gv * s->dv) * n;
	p->state = (size_t)s->gv * s->dk * s->dv;
	p->k = calloc(p->kv * s->layers, sizeof(double));
	p->v = calloc(p->kv * s->layers, sizeof(double));
	p->in = calloc(p->channels * s->layers + 1, sizeof(double));
	p->s = calloc(p->state * s->layers + 1, sizeof(double));
}

static void past_free(struct past *p)
{
	free(p->k);
	free(p->v);
	free(p->in);
	free(p->s);
}

void fixture_reference(const struct fixture *f, const uint32_t *ids, uint32_t n, double *logits)
{
	const struct shape *s = &f->s;
	const float *embed = weight(f, "%sembed_tokens.weight", fixture_prefix(s));
	struct past p;

	past_make(&p, s, n);
	for (uint32_t t = 0; t < n; t++) {
		double h[MAX_H], x[MAX_H];

		for (uint32_t i = 0; i < s->h; i++)
			h[i] = (double)embed[(size_t)ids[t] * s->h + i];
		for (uint32_t l = 0; l < s->layers; l++) {
			char prefix[48];

			snprintf(prefix, sizeof(prefix), "%slayers.%u.", fixture_prefix(s), l);
			if (s->linear >> l & 1)
				delta(f, prefix, h, p.in + p.channels * l, p.s + p.state * l, t);
			else
				attend(f, prefix, h, p.k + p.kv * l, p.v + p.kv * l, t);
			feed_forward(f, prefix, fixture_is_sparse(s, l), (size_t)t * s->layers + l,
				     h);
		}
		norm(f, x, h, weight(f, "%snorm.weight", fixture_prefix(s)), s->h);
		linear(logits + (size_t)t * s->v, x, s->tied ? embed : weight(f, "lm_head.weight"),
		       NULL, s->v, s->h);
	}
	past_free(&p);
}
