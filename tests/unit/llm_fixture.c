// SPDX-License-Identifier: MIT
#include "llm_fixture.h"

#include <math.h>

const struct shape fixture_shapes[8] = {
	{.h = 48, .i = 80, .layers = 2, .nq = 6, .nkv = 2, .d = 16, .v = 97, .tied = true},
	{.h = 64, .i = 40, .layers = 3, .nq = 2, .nkv = 2, .d = 32, .v = 50},
	{.h = 40, .i = 72, .layers = 2, .nq = 4, .nkv = 1, .d = 8, .v = 61, .bias = true},
	{.h = 33,
	 .i = 17,
	 .layers = 1,
	 .nq = 3,
	 .nkv = 3,
	 .d = 6,
	 .v = 5,
	 .bias = true,
	 .tied = true},
	{.h = 48, .i = 34, .layers = 2, .nq = 6, .nkv = 3, .d = 8, .v = 71, .qwen2 = true},
	{.h = 44,
	 .i = 58,
	 .layers = 3,
	 .nq = 4,
	 .nkv = 2,
	 .d = 14, /* not h / nq */
	 .v = 37,
	 .qwen2 = true,
	 .tied = true},
	{.h = 40,
	 .i = 30,
	 .layers = 3,
	 .nq = 4,
	 .nkv = 2,
	 .d = 12,
	 .v = 53,
	 .e = 6,
	 .k = 2,
	 .im = 18,
	 .renorm = true,
	 .dense = true},
	{.h = 36,
	 .i = 9,
	 .layers = 2,
	 .nq = 3,
	 .nkv = 1,
	 .d = 16,
	 .v = 41,
	 .bias = true,
	 .e = 5,
	 .k = 5,
	 .im = 22},
};

static uint64_t rng;

static double uniform(void)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(rng >> 11) * 0x1p-53 * 2 - 1;
}

static float bf16(double x)
{
	float f = (float)x;
	uint32_t u;

	memcpy(&u, &f, 4);
	u &= 0xffff0000; /* any value of the type will do */
	memcpy(&f, &u, 4);
	return f;
}

/* ---- making a checkpoint ---- */

static void add(struct fixture *f, double base, double scale, uint32_t ndim, uint32_t d0,
		uint32_t d1, const char *fmt, ...)
{
	struct tensor *t = &f->t[f->n++];
	va_list ap;

	assert_true(f->n <= MAX_TENSORS);
	va_start(ap, fmt);
	vsnprintf(t->name, sizeof(t->name), fmt, ap);
	va_end(ap);
	t->ndim = ndim;
	t->dim[0] = d0;
	t->dim[1] = d1;
	t->n = (size_t)d0 * (ndim == 2 ? d1 : 1);
	t->x = malloc(t->n * sizeof(float));
	for (size_t i = 0; i < t->n; i++)
		t->x[i] = bf16(base + scale * uniform());
}

static bool is_sparse(const struct shape *s, uint32_t l)
{
	return s->e && !(s->dense && l == 1);
}

static void add_experts(struct fixture *f, uint32_t l)
{
	const struct shape *s = &f->s;

	/* Far enough apart for rounding to change hardly a choice, near enough for the sum to matter. */
	add(f, 0, 0.5, 2, s->e, s->h, "model.layers.%u.mlp.gate.weight", l);
	for (uint32_t e = 0; e < s->e; e++) {
#define L "model.layers.%u.mlp.experts.%u."
		add(f, 0, 0.2, 2, s->im, s->h, L "gate_proj.weight", l, e);
		add(f, 0, 0.2, 2, s->im, s->h, L "up_proj.weight", l, e);
		add(f, 0, 0.2, 2, s->h, s->im, L "down_proj.weight", l, e);
#undef L
	}
}

void fixture_make(struct fixture *f, struct shape s)
{
	*f = (struct fixture){.dir = scratch_new(), .s = s};
	rng = 99;
	add(f, 0, 1, 2, s.v, s.h, "model.embed_tokens.weight");
	add(f, 1, 0.3, 1, s.h, 0, "model.norm.weight");
	if (!s.tied)
		add(f, 0, 0.3, 2, s.v, s.h, "lm_head.weight");
	for (uint32_t l = 0; l < s.layers; l++) {
#define L "model.layers.%u."
		add(f, 1, 0.3, 1, s.h, 0, L "input_layernorm.weight", l);
		add(f, 1, 0.3, 1, s.h, 0, L "post_attention_layernorm.weight", l);
		add(f, 0, 0.2, 2, s.nq * s.d, s.h, L "self_attn.q_proj.weight", l);
		add(f, 0, 0.2, 2, s.nkv * s.d, s.h, L "self_attn.k_proj.weight", l);
		add(f, 0, 0.2, 2, s.nkv * s.d, s.h, L "self_attn.v_proj.weight", l);
		add(f, 0, 0.2, 2, s.h, s.nq * s.d, L "self_attn.o_proj.weight", l);
		if (is_sparse(&s, l)) {
			add_experts(f, l);
		} else {
			add(f, 0, 0.2, 2, s.i, s.h, L "mlp.gate_proj.weight", l);
			add(f, 0, 0.2, 2, s.i, s.h, L "mlp.up_proj.weight", l);
			add(f, 0, 0.2, 2, s.h, s.i, L "mlp.down_proj.weight", l);
		}
		if (!s.qwen2) {
			add(f, 1, 0.3, 1, s.d, 0, L "self_attn.q_norm.weight", l);
			add(f, 1, 0.3, 1, s.d, 0, L "self_attn.k_norm.weight", l);
		}
		if (s.bias || s.qwen2) {
			add(f, 0, 0.5, 1, s.nq * s.d, 0, L "self_attn.q_proj.bias", l);
			add(f, 0, 0.5, 1, s.nkv * s.d, 0, L "self_attn.k_proj.bias", l);
			add(f, 0, 0.5, 1, s.nkv * s.d, 0, L "self_attn.v_proj.bias", l);
		}
		if (s.bias)
			add(f, 0, 0.5, 1, s.h, 0, L "self_attn.o_proj.bias", l);
#undef L
	}
}

void fixture_free(struct fixture *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->t[i].x);
	scratch_free(f->dir);
}

/* Writes tensors i with i % step == first as BF16, or as the dtype that odd_name has. */
void fixture_write_shard(const struct fixture *f, const char *file, size_t first, size_t step,
			 const char *odd_name, const char *odd_dtype)
{
	char path[512], *header = NULL;
	size_t hlen, off = 0;
	FILE *h = open_memstream(&header, &hlen), *out;
	uint64_t len;

	fputc('{', h);
	for (size_t i = first; i < f->n; i += step) {
		const struct tensor *t = &f->t[i];
		bool odd = odd_name && strstr(t->name, odd_name);
		size_t bytes = t->n * (odd && !strcmp(odd_dtype, "F32") ? 4 : 2);

		fprintf(h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%u", i == first ? "" : ",",
			t->name, odd ? odd_dtype : "BF16", t->dim[0]);
		if (t->ndim == 2)
			fprintf(h, ",%u", t->dim[1]);
		fprintf(h, "],\"data_offsets\":[%zu,%zu]}", off, off + bytes);
		off += bytes;
	}
	fputc('}', h);
	fclose(h);
	snprintf(path, sizeof(path), "%s/%s", f->dir, file);
	out = fopen(path, "wb");
	len = hlen;
	fwrite(&len, 8, 1, out);
	fwrite(header, 1, hlen, out);
	for (size_t i = first; i < f->n; i += step) {
		const struct tensor *t = &f->t[i];
		bool wide = odd_name && strstr(t->name, odd_name) && !strcmp(odd_dtype, "F32");

		for (size_t j = 0; j < t->n; j++)
			fwrite((const char *)&t->x[j] + (wide ? 0 : 2), wide ? 4 : 2, 1, out);
	}
	assert_int_equal(fclose(out), 0);
	free(header);
}

void fixture_write_config(const struct fixture *f)
{
	const struct shape *s = &f->s;
	char text[1024], own[320] = "";
	int n;

	/* What is not said is hidden_size / num_attention_heads in one family, 128 in the other. */
	if (!s->qwen2) {
		n = snprintf(own, sizeof(own), "\"head_dim\":%u,\"attention_bias\":%s,", s->d,
			     s->bias ? "true" : "false");
		if (s->e)
			snprintf(own + n, sizeof(own) - (size_t)n,
				 "\"num_experts\":%u,\"num_experts_per_tok\":%u,"
				 "\"moe_intermediate_size\":%u,\"norm_topk_prob\":%s,"
				 "\"mlp_only_layers\":[%s],",
				 s->e, s->k, s->im, s->renorm ? "true" : "false",
				 s->dense ? "1" : "");
	} else if (s->d * s->nq != s->h)
		snprintf(own, sizeof(own), "\"head_dim\":%u,", s->d);
	snprintf(text, sizeof(text),
		 "{\"model_type\":\"%s\",\"hidden_size\":%u,\"intermediate_size\":%u,"
		 "\"num_hidden_layers\":%u,\"num_attention_heads\":%u,\"num_key_value_heads\":%u,"
		 "%s\"vocab_size\":%u,\"max_position_embeddings\":300,"
		 "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":%s,"
		 "\"eos_token_id\":%u}",
		 s->qwen2 ? "qwen2"
		 : s->e   ? "qwen3_moe"
			  : "qwen3",
		 s->h, s->i, s->layers, s->nq, s->nkv, own, s->v, s->tied ? "true" : "false",
		 s->v - 1);
	scratch_text(f->dir, "config.json", text);
}

void fixture_write(const struct fixture *f)
{
	fixture_write_config(f);
	fixture_write_shard(f, "model.safetensors", 0, 1, NULL, NULL);
}

/* ---- the plain forward pass ---- */

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

static void norm(const struct fixture *f, double *y, const double *x, const float *w, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	for (uint32_t i = 0; i < n; i++)
		y[i] = x[i] / sqrt(sum / n + (f->s.eps ? f->s.eps : 1e-5)) * (double)w[i];
}

static void rope(const struct fixture *f, double *x, uint32_t d, uint32_t pos)
{
	double theta = f->s.theta ? f->s.theta : 10000.0;

	for (uint32_t j = 0; j < d / 2; j++) {
		double a = pos * pow(theta, -2.0 * j / d), c = cos(a), s = sin(a);
		double u = x[j], v = x[j + d / 2];

		x[j] = u * c - v * s;
		x[j + d / 2] = v * c + u * s;
	}
}

/* One layer's attention of the token at `pos`; k and v hold the rows of 0..pos. */
static void attend(const struct fixture *f, uint32_t l, double *h, double *ks, double *vs,
		   uint32_t pos)
{
	const struct shape *s = &f->s;
	uint32_t d = s->d, g = s->nq / s->nkv;
	double x[256], q[512], o[512] = {0}, y[256], p[300];
	double *k = ks + (size_t)pos * s->nkv * d, *v = vs + (size_t)pos * s->nkv * d;

#define W(n) weight(f, "model.layers.%u." n, l)
	norm(f, x, h, W("input_layernorm.weight"), s->h);
	linear(q, x, W("self_attn.q_proj.weight"), W("self_attn.q_proj.bias"), s->nq * d, s->h);
	linear(k, x, W("self_attn.k_proj.weight"), W("self_attn.k_proj.bias"), s->nkv * d, s->h);
	linear(v, x, W("self_attn.v_proj.weight"), W("self_attn.v_proj.bias"), s->nkv * d, s->h);
	for (uint32_t i = 0; i < s->nkv; i++) {
		if (!s->qwen2)
			norm(f, k + i * d, k + i * d, W("self_attn.k_norm.weight"), d);
		rope(f, k + i * d, d, pos);
	}
	for (uint32_t i = 0; i < s->nq; i++) {
		double top = -INFINITY, sum = 0;

		if (!s->qwen2)
			norm(f, q + i * d, q + i * d, W("self_attn.q_norm.weight"), d);
		rope(f, q + i * d, d, pos);
		for (uint32_t t = 0; t <= pos; t++) {
			p[t] = 0;
			for (uint32_t j = 0; j < d; j++)
				p[t] += q[i * d + j] * ks[((size_t)t * s->nkv + i / g) * d + j];
			p[t] /= sqrt(d);
			top = fmax(top, p[t]);
		}
		for (uint32_t t = 0; t <= pos; t++)
			sum += p[t] = exp(p[t] - top);
		for (uint32_t t = 0; t <= pos; t++) {
			for (uint32_t j = 0; j < d; j++)
				o[i * d + j] +=
					p[t] / sum * vs[((size_t)t * s->nkv + i / g) * d + j];
		}
	}
	linear(y, o, W("self_attn.o_proj.weight"), W("self_attn.o_proj.bias"), s->h, s->nq * d);
	for (uint32_t i = 0; i < s->h; i++)
		h[i] += y[i];
}

/* h += weight * down(silu(gate(x)) * up(x)), the matrices of size n being those of a name's prefix. */
static void swiglu(const struct fixture *f, const char *prefix, uint32_t n, double scale,
		   const double *x, double *h)
{
	const struct shape *s = &f->s;
	double a[512], b[512], y[256];

	linear(a, x, weight(f, "%sgate_proj.weight", prefix), NULL, n, s->h);
	linear(b, x, weight(f, "%sup_proj.weight", prefix), NULL, n, s->h);
	for (uint32_t i = 0; i < n; i++)
		a[i] = a[i] / (1 + exp(-a[i])) * b[i];
	linear(y, a, weight(f, "%sdown_proj.weight", prefix), NULL, s->h, n);
	for (uint32_t i = 0; i < s->h; i++)
		h[i] += scale * y[i];
}

static void feed_forward(const struct fixture *f, uint32_t l, uint32_t pos, double *h)
{
	const struct shape *s = &f->s;
	double x[256], z[64], p[64], sum = 0, chosen = 0, next = -INFINITY;
	char prefix[64];
	bool taken[64] = {false};
	uint32_t order[64];

	norm(f, x, h, W("post_attention_layernorm.weight"), s->h);
	if (!is_sparse(s, l)) {
		snprintf(prefix, sizeof(prefix), "model.layers.%u.mlp.", l);
		swiglu(f, prefix, s->i, 1, x, h);
		return;
	}
	linear(z, x, W("mlp.gate.weight"), NULL, s->e, s->h);
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
	if (f->chosen) {
		size_t at = (size_t)pos * s->layers + l;

		memcpy(f->chosen + at * s->k, order, s->k * sizeof(*order));
		f->lead[at] = z[order[s->k - 1]] - next;
	}
	for (uint32_t j = 0; j < s->k; j++) {
		snprintf(prefix, sizeof(prefix), "model.layers.%u.mlp.experts.%u.", l, order[j]);
		swiglu(f, prefix, s->im, p[order[j]] / (s->renorm ? chosen : sum), x, h);
	}
#undef W
}

void fixture_reference(const struct fixture *f, const uint32_t *ids, uint32_t n, double *logits)
{
	const struct shape *s = &f->s;
	const float *embed = weight(f, "model.embed_tokens.weight");
	size_t kv = (size_t)n * s->nkv * s->d;
	double *k = calloc(kv * s->layers, sizeof(*k)), *v = calloc(kv * s->layers, sizeof(*v));

	for (uint32_t t = 0; t < n; t++) {
		double h[256], x[256];

		for (uint32_t i = 0; i < s->h; i++)
			h[i] = (double)embed[(size_t)ids[t] * s->h + i];
		for (uint32_t l = 0; l < s->layers; l++) {
			attend(f, l, h, k + kv * l, v + kv * l, t);
			feed_forward(f, l, t, h);
		}
		norm(f, x, h, weight(f, "model.norm.weight"), s->h);
		linear(logits + (size_t)t * s->v, x, s->tied ? embed : weight(f, "lm_head.weight"),
		       NULL, s->v, s->h);
	}
	free(k);
	free(v);
}
