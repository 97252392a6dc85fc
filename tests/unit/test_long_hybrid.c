// SPDX-License-Identifier: MIT
/*
 * Contexts of 262,144 tokens, and of 1,010,000 with YaRN, of a model with a recurrent layer under one with
 * attention: state, positions, block tables, memory.
 *
 * What the attention of a token sees of those before it depends on the recurrent layer alone, which the
 * test runs in double precision over the whole text. Keys, values and the state behind them go into a
 * snapshot, from where the device goes on to the last position.
 */
#include "llm_fixture.h"

#include <math.h>

#include <zhenwu/zhenwu.h>

#include "snapshot.h"

/* With a sanitizer the longest ones take minutes. */
#ifdef __SANITIZE_ADDRESS__
#define SKIP_LONGEST() skip()
#else
#define SKIP_LONGEST() ((void)0)
#endif

#define TAIL 40 /* tokens that the device computes */
#define SHARP                                                                                      \
	6 /* times what norms of queries and keys give: a few keys then have most of the weight */

static const struct shape tiny = {.h = 16,
				  .i = 10,
				  .layers = 2,
				  .nq = 2,
				  .nkv = 1,
				  .d = 8,
				  .v = 31,
				  .tied = true,
				  .next = true,
				  .split = true,
				  .linear = 1,
				  .gk = 1,
				  .gv = 2,
				  .dk = 8,
				  .dv = 6,
				  .conv = 4,
				  .rotary = 4};

#define CHANNELS 28 /* 2 gk dk + gv dv */
#define VALUES   12 /* gv dv */
#define STATE    96 /* gv dk dv */
#define BEFORE   3  /* inputs of the convolution that are kept */

/* The numbers of one layer, and of the model. */
struct layer {
	double *norm1, *norm2, *gate, *up, *down;
	double *qkv, *z, *b, *a, *conv, *a_log, *dt_bias, *norm, *out; /* recurrent */
	double *q, *k, *v, *q_norm, *k_norm, *o;                       /* attention */
};

struct text {
	struct fixture fix;
	float frequency[2]; /* of the dimensions that are turned */
	double factor;      /* of cosine and sine */
	struct layer l[2];
	double *embed, *norm;
	uint32_t n;
	uint32_t *ids;
	double *k, *v; /* [n, d], of the cache */
};

/* What the recurrent layer keeps. */
struct past {
	double in[BEFORE][CHANNELS], s[STATE];
};

/* As doubles, one more where the norm adds it; the caller frees. */
static double *wide(const struct fixture *f, double one, const char *name)
{
	for (size_t i = 0; i < f->n; i++) {
		double *x;

		if (strcmp(f->t[i].name, name))
			continue;
		x = malloc(f->t[i].n * sizeof(*x));
		for (size_t k = 0; k < f->t[i].n; k++)
			x[k] = one + (double)f->t[i].x[k];
		return x;
	}
	fail_msg("no tensor %s", name);
	return NULL;
}

static void find_weights(struct text *t)
{
	const struct fixture *f = &t->fix;

	t->embed = wide(f, 0, "model.embed_tokens.weight");
	t->norm = wide(f, 1, "model.norm.weight");
	for (int i = 0; i < 2; i++) {
		struct layer *l = &t->l[i];
		char name[96];

#define W(one, field, what)                                                                        \
	(snprintf(name, sizeof(name), "model.layers.%d.%s", i, what), l->field = wide(f, one, name))
		W(1, norm1, "input_layernorm.weight");
		W(1, norm2, "post_attention_layernorm.weight");
		W(0, gate, "mlp.gate_proj.weight");
		W(0, up, "mlp.up_proj.weight");
		W(0, down, "mlp.down_proj.weight");
		if (i) {
			W(0, q, "self_attn.q_proj.weight");
			W(0, k, "self_attn.k_proj.weight");
			W(0, v, "self_attn.v_proj.weight");
			W(1, q_norm, "self_attn.q_norm.weight");
			W(1, k_norm, "self_attn.k_norm.weight");
			W(0, o, "self_attn.o_proj.weight");
		} else {
			W(0, qkv, "linear_attn.in_proj_qkv.weight");
			W(0, z, "linear_attn.in_proj_z.weight");
			W(0, b, "linear_attn.in_proj_b.weight");
			W(0, a, "linear_attn.in_proj_a.weight");
			W(0, conv, "linear_attn.conv1d.weight");
			W(0, a_log, "linear_attn.A_log");
			W(0, dt_bias, "linear_attn.dt_bias");
			W(0, norm, "linear_attn.norm.weight");
			W(0, out, "linear_attn.out_proj.weight");
		}
#undef W
	}
}

static void free_weights(struct text *t)
{
	free(t->embed);
	free(t->norm);
	for (int i = 0; i < 2; i++) {
		double **w = (double **)&t->l[i];

		for (size_t k = 0; k < sizeof(struct layer) / sizeof(double *); k++)
			free(w[k]);
	}
}

/* ---- the forward pass, token by token ---- */

static void linear(double *y, const double *x, const double *w, uint32_t n, uint32_t k)
{
	for (uint32_t i = 0; i < n; i++, w += k) {
		double sum = 0;

		for (uint32_t j = 0; j < k; j++)
			sum += w[j] * x[j];
		y[i] = sum;
	}
}

static void norm(double *y, const double *x, const double *w, uint32_t n)
{
	double sum = 0, r;

	for (uint32_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	r = 1 / sqrt(sum / n + 1e-5);
	for (uint32_t i = 0; i < n; i++)
		y[i] = x[i] * r * w[i];
}

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static void add(double *h, const double *y)
{
	for (uint32_t i = 0; i < tiny.h; i++)
		h[i] += y[i];
}

static void feed_forward(const struct layer *l, double *h)
{
	double x[16], a[10], b[10], y[16];

	norm(x, h, l->norm2, tiny.h);
	linear(a, x, l->gate, tiny.i, tiny.h);
	linear(b, x, l->up, tiny.i, tiny.h);
	for (uint32_t i = 0; i < tiny.i; i++)
		a[i] = a[i] * sigmoid(a[i]) * b[i];
	linear(y, a, l->down, tiny.h, tiny.i);
	add(h, y);
}

/* 1 / the length of x. */
static double inverse(const double *x)
{
	double sum = 0;

	for (uint32_t i = 0; i < tiny.dk; i++)
		sum += x[i] * x[i];
	return 1 / sqrt(sum + 1e-6);
}

/* o [dv] takes the place of v. */
static void delta_head(double *state, const double *q, const double *k, double *v, double decay,
		       double beta)
{
	double rq = inverse(q) / sqrt(tiny.dk), rk = inverse(k);

	for (uint32_t j = 0; j < tiny.dv; j++) {
		double m = 0, o = 0;

		for (uint32_t i = 0; i < tiny.dk; i++) {
			state[i * tiny.dv + j] *= decay;
			m += state[i * tiny.dv + j] * k[i] * rk;
		}
		for (uint32_t i = 0; i < tiny.dk; i++) {
			state[i * tiny.dv + j] += k[i] * rk * beta * (v[j] - m);
			o += state[i * tiny.dv + j] * q[i] * rq;
		}
		v[j] = o;
	}
}

/* Layer 0. */
static void recurrent(const struct layer *l, struct past *p, double *h)
{
	double x[16], in[CHANNELS], u[CHANNELS], z[VALUES], b[2], a[2], y[16], *v = u + 16;

	norm(x, h, l->norm1, tiny.h);
	linear(in, x, l->qkv, CHANNELS, tiny.h);
	linear(z, x, l->z, VALUES, tiny.h);
	linear(b, x, l->b, tiny.gv, tiny.h);
	linear(a, x, l->a, tiny.gv, tiny.h);
	for (uint32_t c = 0; c < CHANNELS; c++) {
		double s = l->conv[c * tiny.conv + BEFORE] * in[c];

		for (uint32_t i = 0; i < BEFORE; i++)
			s += l->conv[c * tiny.conv + i] * p->in[i][c];
		u[c] = s * sigmoid(s);
	}
	memmove(p->in[0], p->in[1], sizeof(p->in) - sizeof(p->in[0]));
	memcpy(p->in[BEFORE - 1], in, sizeof(in));
	for (uint32_t i = 0; i < tiny.gv; i++) {
		double dt = log1p(exp(a[i] + l->dt_bias[i]));

		delta_head(p->s + i * tiny.dk * tiny.dv, u, u + tiny.dk, v + i * tiny.dv,
			   exp(-exp(l->a_log[i]) * dt), sigmoid(b[i]));
		norm(v + i * tiny.dv, v + i * tiny.dv, l->norm, tiny.dv);
	}
	for (uint32_t i = 0; i < VALUES; i++)
		v[i] *= z[i] * sigmoid(z[i]);
	linear(y, v, l->out, tiny.h, VALUES);
	add(h, y);
	feed_forward(l, h);
}

/* The angle is rounded to binary32, as the models were trained; the first dimensions of a head are turned. */
static void rotate(const struct text *t, double *x, uint32_t pos)
{
	uint32_t half = tiny.rotary / 2;

	for (uint32_t j = 0; j < half; j++) {
		float angle = (float)pos * t->frequency[j];
		double c = cos((double)angle) * t->factor;
		double s = sin((double)angle) * t->factor;
		double a = x[j], b = x[j + half];

		x[j] = a * c - b * s;
		x[j + half] = b * c + a * s;
	}
}

static uint16_t bf16(double x)
{
	float f = (float)x;
	uint32_t u;

	memcpy(&u, &f, 4);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static double widened(uint16_t h)
{
	uint32_t u = (uint32_t)h << 16;
	float f;

	memcpy(&f, &u, 4);
	return (double)f;
}

/* Layer 0 of the token at pos, and what the cache of layer 1 gets of it. */
static void token(struct text *t, struct past *p, uint32_t pos, double *h)
{
	double x[16], *k = t->k + (size_t)pos * tiny.d, *v = t->v + (size_t)pos * tiny.d;

	memcpy(h, t->embed + (size_t)t->ids[pos] * tiny.h, tiny.h * sizeof(*h));
	recurrent(&t->l[0], p, h);
	norm(x, h, t->l[1].norm1, tiny.h);
	linear(k, x, t->l[1].k, tiny.d, tiny.h);
	norm(k, k, t->l[1].k_norm, tiny.d);
	rotate(t, k, pos);
	linear(v, x, t->l[1].v, tiny.d, tiny.h);
	for (uint32_t j = 0; j < tiny.d; j++) {
		k[j] = widened(bf16(k[j]));
		v[j] = widened(bf16(v[j]));
	}
}

/* Layer 1 and the head, for a query that says that it is at pos + shift. */
static void attention(const struct text *t, uint32_t pos, int shift, double *h, double *logits)
{
	const struct layer *l = &t->l[1];
	double x[16], both[32], o[16] = {0}, y[16], scale = sqrt(tiny.d);
	double *p = malloc((pos + 1) * sizeof(*p));

	norm(x, h, l->norm1, tiny.h);
	linear(both, x, l->q, 2 * tiny.nq * tiny.d, tiny.h);
	for (uint32_t i = 0; i < tiny.nq; i++) {
		double top = -INFINITY, sum = 0, *oi = o + i * tiny.d;
		double *q = both + 2 * i * tiny.d, *gate = q + tiny.d;

		norm(q, q, l->q_norm, tiny.d);
		rotate(t, q, (uint32_t)((int)pos + shift));
		for (uint32_t k = 0; k <= pos; k++) {
			p[k] = 0;
			for (uint32_t j = 0; j < tiny.d; j++)
				p[k] += q[j] * t->k[(size_t)k * tiny.d + j];
			p[k] /= scale;
			top = fmax(top, p[k]);
		}
		for (uint32_t k = 0; k <= pos; k++) {
			double w = exp(p[k] - top);

			sum += w;
			for (uint32_t j = 0; j < tiny.d; j++)
				oi[j] += w * t->v[(size_t)k * tiny.d + j];
		}
		for (uint32_t j = 0; j < tiny.d; j++)
			oi[j] *= sigmoid(gate[j]) / sum;
	}
	free(p);
	linear(y, o, l->o, tiny.h, tiny.nq * tiny.d);
	add(h, y);
	feed_forward(l, h);
	norm(x, h, t->norm, tiny.h);
	linear(logits, x, t->embed, tiny.v, tiny.h);
}

/* ---- the model and its text ---- */

static void patch(const char *dir, const char *what, const char *with)
{
	char path[512], *text, *at, *out;
	struct zw_error err;
	size_t len;

	snprintf(path, sizeof(path), "%s/config.json", dir);
	if (llm_file_read(path, 1 << 16, &text, &len, &err))
		fail_msg("%s", err.msg);
	at = strstr(text, what);
	assert_non_null(at);
	assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, with, at + strlen(what)) >
		    0);
	scratch_text(dir, "config.json", out);
	free(text);
	free(out);
}

/* Heads whose scores are far apart, so that a wrong position is seen: their norms are multiplied. */
static void sharpen(struct fixture *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct tensor *x = &f->t[i];

		for (size_t k = 0;
		     k < x->n && strstr(x->name, "self_attn.") && strstr(x->name, "_norm"); k++)
			x->x[k] = (float)widened(bf16(SHARP * (1 + (double)x->x[k]) - 1));
	}
}

static void make_text(struct text *t, uint32_t n, const char *positions)
{
	*t = (struct text){.n = n};
	fixture_make(&t->fix, tiny);
	sharpen(&t->fix);
	fixture_write(&t->fix);
	patch(t->fix.dir, "\"max_position_embeddings\":300", positions);
	find_weights(t);
	t->ids = malloc(n * sizeof(*t->ids));
	t->k = malloc((size_t)n * tiny.d * sizeof(*t->k));
	t->v = malloc((size_t)n * tiny.d * sizeof(*t->v));
	for (uint32_t i = 0; i < n; i++)
		t->ids[i] = (uint32_t)((i * 2654435761ull >> 7) % tiny.v);
}

static void free_text(struct text *t)
{
	free_weights(t);
	free(t->ids);
	free(t->k);
	free(t->v);
	fixture_free(&t->fix);
}

/* The first n tokens in system memory: blocks [2, 32, d], then the state as layers_delta.c lays it out. */
static struct zw_snapshot *beginning(struct zw_ctx *c, const struct text *t, uint32_t n,
				     const struct past *p)
{
	struct zw_snapshot *snap = llm_snapshot_new(c, n);
	uint64_t slab = llm_snapshot_slab_off(c, n);
	float *f;
	uint16_t *x;

	assert_non_null(snap);
	snap->out = true;
	assert_int_equal(
		zw_buffer_create(c->m->vm, llm_snapshot_bytes(c, n), ZW_BO_SYSTEM, &snap->system),
		0);
	memcpy(snap->ids, t->ids, n * sizeof(*t->ids));
	x = snap->system.ptr;
	for (uint32_t pos = 0; pos < n; pos++) {
		uint16_t *row = x + pos / 32 * (size_t)(2 * 32 * tiny.d) + pos % 32 * tiny.d;

		for (uint32_t j = 0; j < tiny.d; j++) {
			row[j] = bf16(t->k[(size_t)pos * tiny.d + j]);
			row[32 * tiny.d + j] = bf16(t->v[(size_t)pos * tiny.d + j]);
		}
	}
	assert_int_equal(c->needs.slab_bytes, 512 + 512);
	f = (float *)(void *)((char *)snap->system.ptr + slab);
	for (uint32_t i = 0; i < BEFORE * CHANNELS; i++)
		f[i] = (float)p->in[i / CHANNELS][i % CHANNELS];
	for (uint32_t i = 0; i < STATE; i++)
		f[128 + i] = (float)p->s[i];
	return snap;
}

/* ---- the test ---- */

static double square_diff(const double *a, const float *b, const double *c)
{
	double sum = 0;

	for (uint32_t i = 0; i < tiny.v; i++) {
		double d = a[i] - (b ? (double)b[i] : c[i]);

		sum += d * d;
	}
	return sum;
}

/* What the context takes, and that nothing else in it grows with its length. */
static void check_memory(const struct zw_ctx *c, uint32_t context)
{
	struct zw_ctx_info info = {.size = sizeof(info)};
	uint64_t kv = (context + 31ull) / 32 * 32 * 2 * tiny.d * 2,
		 tables = 4ull * context * tiny.rotary;

	zw_ctx_get_info(c, &info);
	print_message("%u tokens: KV cache %.1f MiB, position tables %.1f MiB, state %llu bytes, "
		      "context %.1f MiB\n",
		      context, (double)info.kv_bytes / 1048576, (double)tables / 1048576,
		      (unsigned long long)c->needs.slab_bytes, (double)info.hbm_bytes / 1048576);
	assert_true(info.kv_bytes >= kv && info.kv_bytes < kv + (2 << 20));
	assert_true(info.hbm_bytes < kv + tables + (6 << 20));
}

static void eval_end(struct zw_model *model, const struct text *t, uint32_t n, const struct past *p,
		     float *got)
{
	struct zw_ctx_options opt = {
		.size = sizeof(opt), .context = t->n, .batch = 16, .outputs = 16};
	struct zw_eval_options eval = {.size = sizeof(eval), .all_logits = got};
	struct zw_error err = {""};
	struct zw_snapshot *snap;
	uint32_t seq, id = 1;
	struct zw_ctx *c;

	if (zw_ctx_create(model, &opt, &c, &err))
		fail_msg("%s", err.msg);
	/* Blocks in a wild order, so that a table that is not looked at is seen. */
	for (uint32_t i = 0; i < c->pool.num; i++) {
		uint32_t j = (uint32_t)(i * 40503ull % c->pool.num), x = c->pool.free[i];

		c->pool.free[i] = c->pool.free[j];
		c->pool.free[j] = x;
	}
	snap = beginning(c, t, n, p);
	assert_int_equal(zw_seq_create(c, &seq), 0);
	assert_int_equal(zw_seq_restore(c, seq, snap), 0);
	zw_snapshot_destroy(snap);
	if (zw_ctx_eval(c, seq, t->ids + n, t->n - n, &eval, NULL, &err))
		fail_msg("%s", err.msg);
	eval.all_logits = NULL;
	assert_int_equal(zw_ctx_eval(c, seq, &id, 1, &eval, NULL, &err), -ENOSPC);
	check_memory(c, t->n);
	zw_ctx_destroy(c);
}

/* The logits of the end in double precision: as they are; with queries one position off; and without the state. */
static void compare(struct text *t, uint32_t n, const struct past *begin, const float *got)
{
	struct past p = *begin, q = *begin, none = {0};
	double error = 0, shift = 0, lost = 0;
	uint32_t values = TAIL * tiny.v;

	for (uint32_t i = 0; i < TAIL; i++) {
		double h[16], want[31], other[31];

		/* The last one leaves the cache as it is to be. */
		token(t, &none, n + i, h);
		attention(t, n + i, 0, h, other);
		token(t, &q, n + i, h);
		attention(t, n + i, 0, h, want);
		lost += square_diff(want, NULL, other);
		error += square_diff(want, got + i * tiny.v, NULL);
		token(t, &p, n + i, h);
		attention(t, n + i, 1, h, other);
		shift += square_diff(want, NULL, other);
	}
	error = sqrt(error / values);
	shift = sqrt(shift / values);
	lost = sqrt(lost / values);
	print_message("%u tokens: rms error %.4f; a query one position off: %.4f; no state: %.4f\n",
		      t->n, error, shift, lost);
	assert_true(error < shift / 2 && error < lost / 2);
}

/* A model on a device of its own. */
struct opened {
	struct zw_dev *dev;
	struct zw_model *model;
};

static struct opened open_text(struct text *t, const char *positions, uint32_t context)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .hbm_bytes = 512 << 20};
	struct zw_error err = {""};
	struct opened o;
	int ret = zw_dev_open("sim", &dopt, &o.dev, &err);

	if (ret == -ENOENT) {
		print_message("%s\n", err.msg);
		exit(77); /* no firmware built: skipped */
	}
	make_text(t, context, positions);
	if (ret || zw_model_open(o.dev, t->fix.dir, NULL, &o.model, &err))
		fail_msg("%s", err.msg);
	for (uint32_t j = 0; j < tiny.rotary / 2; j++)
		t->frequency[j] = llm_rope_frequency(&o.model->cfg.rope, tiny.rotary, j);
	t->factor = o.model->cfg.rope.attention_factor;
	return o;
}

static void close_text(const struct opened *o, struct text *t)
{
	free_text(t);
	assert_int_equal(zw_model_close(o->model), 0);
	assert_int_equal(zw_dev_close(o->dev), 0);
}

static void run(const char *positions, uint32_t context)
{
	float *got = malloc(TAIL * tiny.v * sizeof(*got));
	uint32_t n = context - TAIL;
	struct past p = {0};
	struct opened o;
	struct text t;

	o = open_text(&t, positions, context);
	for (uint32_t pos = 0; pos < n; pos++) {
		double h[16];

		token(&t, &p, pos, h);
	}
	eval_end(o.model, &t, n, &p, got);
	compare(&t, n, &p, got);
	free(got);
	close_text(&o, &t);
}

/* ---- all of a prompt ---- */

/* Of numbers from what they are to be, and these: sums of squares. */
struct distance {
	double diff, size;
};

static void measure(struct distance *d, double got, double want)
{
	d->diff += (got - want) * (got - want);
	d->size += want * want;
}

/* Every token goes through the device; with sparse attention, as that is fast enough. Cache and state behind it. */
static void test_262144_whole(void **state)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = 262144,
				     .batch = 4096,
				     .outputs = 1,
				     .sparse = ZW_SPARSE_BLOCKS,
				     .sparse_group = 256,
				     .sparse_keep = 16};
	struct distance keys = {0, 0}, states = {0, 0};
	struct zw_error err = {""};
	struct zw_snapshot *snap;
	struct past p = {0};
	const uint16_t *x;
	const float *f;
	struct opened o;
	struct text t;
	struct zw_ctx *c;
	uint32_t seq;

	SKIP_LONGEST();
	o = open_text(&t, "\"max_position_embeddings\":262144", 262144);
	if (zw_ctx_create(o.model, &opt, &c, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_seq_create(c, &seq), 0);
	if (zw_ctx_eval(c, seq, t.ids, t.n, NULL, NULL, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_seq_snapshot(c, seq, &snap), 0);
	assert_int_equal(zw_snapshot_swap_out(snap), 0);
	x = snap->system.ptr;
	f = (const float *)(const void *)((const char *)snap->system.ptr +
					  llm_snapshot_slab_off(c, t.n));
	for (uint32_t pos = 0; pos < t.n; pos++) {
		const uint16_t *row = x + pos / 32 * (size_t)(2 * 32 * tiny.d) + pos % 32 * tiny.d;
		double h[16];

		token(&t, &p, pos, h);
		for (uint32_t j = 0; j < tiny.d; j++)
			measure(&keys, widened(row[j]), t.k[(size_t)pos * tiny.d + j]);
	}
	for (uint32_t i = 0; i < STATE; i++)
		measure(&states, (double)f[128 + i], p.s[i]);
	print_message("%u tokens: relative rms error of the keys %.5f, of the state %.7f\n", t.n,
		      sqrt(keys.diff / keys.size), sqrt(states.diff / states.size));
	assert_true(sqrt(keys.diff / keys.size) < 1.0 / 128);
	assert_true(sqrt(states.diff / states.size) < 1e-3);
	zw_snapshot_destroy(snap);
	zw_ctx_destroy(c);
	close_text(&o, &t);
}

static void test_262144(void **state)
{
	run("\"max_position_embeddings\":262144", 262144);
}

static void test_1010000_yarn(void **state)
{
	SKIP_LONGEST();
	run("\"max_position_embeddings\":1010000,\"rope_scaling\":{\"rope_type\":\"yarn\","
	    "\"factor\":4.0,\"original_max_position_embeddings\":262144}",
	    1010000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_262144_whole),
		cmocka_unit_test(test_262144),
		cmocka_unit_test(test_1010000_yarn),
	};

	return cmocka_run_group_tests_name("long-hybrid", tests, NULL, NULL);
}
