// SPDX-License-Identifier: MIT
/*
 * Models and sessions on the sim transport: small random checkpoints against a plain forward pass
 * in double precision, loading from shards, and everything that must be refused.
 */
#include "llm_test.h"

#include <math.h>
#include <pthread.h>

#include <zhenwu/llm_model.h>
#include <zhenwu/zhenwu.h>

#define MAX_TENSORS 64

/* Dimensions chosen unequal and not round, so that no two can be confused. */
struct shape {
	uint32_t h, i, layers, nq, nkv, d, v;
	bool tied, bias;
};

struct tensor {
	char name[80];
	uint32_t ndim, dim[2];
	float *x; /* values that BF16 holds exactly */
	size_t n;
};

struct fixture {
	char *dir;
	struct shape s;
	struct tensor t[MAX_TENSORS];
	size_t n;
};

static struct zw_dev *dev;

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

static void make(struct fixture *f, struct shape s)
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
		add(f, 1, 0.3, 1, s.d, 0, L "self_attn.q_norm.weight", l);
		add(f, 1, 0.3, 1, s.d, 0, L "self_attn.k_norm.weight", l);
		add(f, 0, 0.2, 2, s.i, s.h, L "mlp.gate_proj.weight", l);
		add(f, 0, 0.2, 2, s.i, s.h, L "mlp.up_proj.weight", l);
		add(f, 0, 0.2, 2, s.h, s.i, L "mlp.down_proj.weight", l);
		if (s.bias) {
			add(f, 0, 0.5, 1, s.nq * s.d, 0, L "self_attn.q_proj.bias", l);
			add(f, 0, 0.5, 1, s.nkv * s.d, 0, L "self_attn.k_proj.bias", l);
			add(f, 0, 0.5, 1, s.nkv * s.d, 0, L "self_attn.v_proj.bias", l);
			add(f, 0, 0.5, 1, s.h, 0, L "self_attn.o_proj.bias", l);
		}
#undef L
	}
}

static void unmake(struct fixture *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->t[i].x);
	scratch_free(f->dir);
}

/* Writes tensors i with i % step == first as BF16, or as the dtype that odd_name has. */
static void write_shard(const struct fixture *f, const char *file, size_t first, size_t step,
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

static void write_config(const struct fixture *f)
{
	const struct shape *s = &f->s;
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"model_type\":\"qwen3\",\"hidden_size\":%u,\"intermediate_size\":%u,"
		 "\"num_hidden_layers\":%u,\"num_attention_heads\":%u,\"num_key_value_heads\":%u,"
		 "\"head_dim\":%u,\"vocab_size\":%u,\"max_position_embeddings\":300,"
		 "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":%s,"
		 "\"attention_bias\":%s,\"eos_token_id\":%u}",
		 s->h, s->i, s->layers, s->nq, s->nkv, s->d, s->v, s->tied ? "true" : "false",
		 s->bias ? "true" : "false", s->v - 1);
	scratch_text(f->dir, "config.json", text);
}

static void write_model(const struct fixture *f)
{
	write_config(f);
	write_shard(f, "model.safetensors", 0, 1, NULL, NULL);
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

static void norm(double *y, const double *x, const float *w, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	for (uint32_t i = 0; i < n; i++)
		y[i] = x[i] / sqrt(sum / n + 1e-5) * (double)w[i];
}

static void rope(double *x, uint32_t d, uint32_t pos)
{
	for (uint32_t j = 0; j < d / 2; j++) {
		double a = pos * pow(10000.0, -2.0 * j / d), c = cos(a), s = sin(a);
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
	norm(x, h, W("input_layernorm.weight"), s->h);
	linear(q, x, W("self_attn.q_proj.weight"), W("self_attn.q_proj.bias"), s->nq * d, s->h);
	linear(k, x, W("self_attn.k_proj.weight"), W("self_attn.k_proj.bias"), s->nkv * d, s->h);
	linear(v, x, W("self_attn.v_proj.weight"), W("self_attn.v_proj.bias"), s->nkv * d, s->h);
	for (uint32_t i = 0; i < s->nkv; i++) {
		norm(k + i * d, k + i * d, W("self_attn.k_norm.weight"), d);
		rope(k + i * d, d, pos);
	}
	for (uint32_t i = 0; i < s->nq; i++) {
		double top = -INFINITY, sum = 0;

		norm(q + i * d, q + i * d, W("self_attn.q_norm.weight"), d);
		rope(q + i * d, d, pos);
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

static void feed_forward(const struct fixture *f, uint32_t l, double *h)
{
	const struct shape *s = &f->s;
	double x[256], a[512], b[512], y[256];

	norm(x, h, W("post_attention_layernorm.weight"), s->h);
	linear(a, x, W("mlp.gate_proj.weight"), NULL, s->i, s->h);
	linear(b, x, W("mlp.up_proj.weight"), NULL, s->i, s->h);
	for (uint32_t i = 0; i < s->i; i++)
		a[i] = a[i] / (1 + exp(-a[i])) * b[i];
	linear(y, a, W("mlp.down_proj.weight"), NULL, s->h, s->i);
	for (uint32_t i = 0; i < s->h; i++)
		h[i] += y[i];
#undef W
}

static void reference(const struct fixture *f, const uint32_t *ids, uint32_t n, double *logits)
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
			feed_forward(f, l, h);
		}
		norm(x, h, weight(f, "model.norm.weight"), s->h);
		linear(logits + (size_t)t * s->v, x, s->tied ? embed : weight(f, "lm_head.weight"),
		       NULL, s->v, s->h);
	}
	free(k);
	free(v);
}

/* ---- tests ---- */

static struct zw_model *open_model(const struct fixture *f)
{
	struct zw_error err = {""};
	struct zw_model *m;

	if (zw_model_open(dev, f->dir, NULL, &m, &err))
		fail_msg("%s", err.msg);
	return m;
}

static float *all_logits(struct zw_model *m, const struct fixture *f, uint32_t chunk,
			 const uint32_t *ids, uint32_t n)
{
	struct zw_session_options opt = {
		.size = sizeof(opt), .flags = ZW_SESSION_ALL_LOGITS, .chunk = chunk};
	float *x = malloc((size_t)n * f->s.v * sizeof(*x));
	struct zw_error err = {""};
	struct zw_session *s;

	if (zw_session_open(m, &opt, &s, &err) || zw_session_eval(s, ids, n, x, NULL, &err))
		fail_msg("%s", err.msg);
	zw_session_close(s);
	return x;
}

static const struct shape shapes[] = {
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
};

#define TOKENS 45 /* more than one page of the cache, no multiple of anything */

static void test_reference(void **state)
{
	for (size_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
		struct fixture f;
		uint32_t ids[TOKENS];
		double *want, diff = 0, size = 0;
		struct zw_model *m;
		float *got;

		make(&f, shapes[k]);
		write_model(&f);
		for (uint32_t i = 0; i < TOKENS; i++)
			ids[i] = (i * 31 + 7) % f.s.v;
		want = malloc(TOKENS * f.s.v * sizeof(*want));
		reference(&f, ids, TOKENS, want);
		m = open_model(&f);
		got = all_logits(m, &f, 20, ids, TOKENS);
		for (size_t i = 0; i < (size_t)TOKENS * f.s.v; i++) {
			double d = (double)got[i] - want[i];

			diff += d * d;
			size += want[i] * want[i];
		}
		/* BF16 between the GEMMs keeps about 1 % of error; anything wrong makes 100 %. */
		if (!(sqrt(diff / size) < 0.03))
			fail_msg("shape %zu: relative rms difference %g", k, sqrt(diff / size));
		assert_int_equal(zw_model_close(m), 0);
		free(got);
		free(want);
		unmake(&f);
	}
}

/* Shards, F32 copies of the same values and one file give the same bits. */
static void test_forms(void **state)
{
	uint32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6};
	char *index = NULL;
	size_t len;
	struct zw_model *m;
	struct fixture f;
	float *one, *x;
	FILE *out;

	make(&f, shapes[0]);
	write_model(&f);
	m = open_model(&f);
	one = all_logits(m, &f, 0, ids, 8);
	zw_model_close(m);

	write_shard(&f, "model.safetensors", 0, 1, "", "F32");
	m = open_model(&f);
	x = all_logits(m, &f, 0, ids, 8);
	assert_memory_equal(one, x, 8 * f.s.v * sizeof(*x));
	free(x);
	zw_model_close(m);

	char single[512];

	snprintf(single, sizeof(single), "%s/model.safetensors", f.dir);
	unlink(single);
	out = open_memstream(&index, &len);
	fprintf(out, "{\"weight_map\":{");
	for (size_t i = 0; i < f.n; i++)
		fprintf(out, "%s\"%s\":\"part-%zu.safetensors\"", i ? "," : "", f.t[i].name, i % 3);
	fprintf(out, "}}");
	fclose(out);
	scratch_text(f.dir, "model.safetensors.index.json", index);
	free(index);
	for (size_t i = 0; i < 3; i++) {
		char name[32];

		snprintf(name, sizeof(name), "part-%zu.safetensors", i);
		write_shard(&f, name, i, 3, NULL, NULL);
	}
	m = open_model(&f);
	x = all_logits(m, &f, 0, ids, 8);
	assert_memory_equal(one, x, 8 * f.s.v * sizeof(*x));
	free(x);
	free(one);
	zw_model_close(m);
	unmake(&f);
}

static void expect_refused(const struct fixture *f, int code, const char *words)
{
	struct zw_error err = {""};
	struct zw_model *m = NULL;
	int ret = zw_model_open(dev, f->dir, NULL, &m, &err);

	if (ret != code)
		fail_msg("%s: %d (%s), expected %d", words, ret, err.msg, code);
	assert_null(m);
	expect_words("refused", &err, words);
}

static uint64_t hbm_free(void)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};

	assert_int_equal(zw_dev_get_attrs(dev, &attrs), 0);
	return attrs.hbm_free;
}

static void test_refused(void **state)
{
	uint64_t before = hbm_free();
	struct fixture f;

	make(&f, shapes[0]);
	write_config(&f);
	expect_refused(&f, -ENOENT, "model.safetensors");
	write_shard(&f, "model.safetensors", 0, 1, "", "F16");
	expect_refused(&f, -EOPNOTSUPP, "dtype F16");
	write_shard(&f, "model.safetensors", 0, 1, "k_proj", "F32");
	expect_refused(&f, -EOPNOTSUPP, "k_proj|q_proj|F32");
	write_shard(&f, "model.safetensors", 1, 1, NULL, NULL);
	expect_refused(&f, -EBADMSG, "embed_tokens|missing");
	f.s.layers = 1;
	write_model(&f);
	expect_refused(&f, -EBADMSG, "model.layers.1|does not belong");
	f.s = shapes[0];
	f.s.i++;
	write_model(&f);
	expect_refused(&f, -EBADMSG, "mlp|[80,48]|[81,48]");
	f.s = shapes[0];
	f.s.bias = true;
	write_model(&f);
	expect_refused(&f, -EBADMSG, "bias|missing");
	unmake(&f);
	assert_int_equal(hbm_free(), before);
}

static int cancel(void *opaque, uint64_t done, uint64_t total)
{
	int *calls = opaque;

	assert_true(done <= total && total > 0);
	return ++*calls == 2;
}

static int count(void *opaque, uint64_t done, uint64_t total)
{
	uint64_t *last = opaque;

	assert_true(done >= *last || done == 0);
	*last = done == total ? total : done;
	return 0;
}

static void test_progress(void **state)
{
	int calls = 0;
	uint64_t last = 0, before = hbm_free();
	struct zw_model_options opt = {.size = sizeof(opt), .progress = cancel, .opaque = &calls};
	struct zw_model_info info = {.size = sizeof(info)};
	struct zw_error err = {""};
	struct zw_model *m = NULL;
	struct fixture f;

	make(&f, shapes[1]);
	write_model(&f);
	assert_int_equal(zw_model_open(dev, f.dir, &opt, &m, &err), -ECANCELED);
	assert_null(m);
	assert_int_equal(hbm_free(), before);
	opt.progress = count;
	opt.opaque = &last;
	assert_int_equal(zw_model_open(dev, f.dir, &opt, &m, &err), 0);
	assert_int_equal(zw_model_get_info(m, &info), 0);
	assert_int_equal(last, info.parameters * 2);
	assert_int_equal(info.tensors, f.n);
	assert_true(info.load_sim_ps > 0);
	assert_true(hbm_free() < before);
	assert_int_equal(zw_model_close(m), 0);
	assert_int_equal(hbm_free(), before);
	unmake(&f);
}

/* Neither a model nor a session that does not fit is begun; both say what is missing. */
static void test_too_large(void **state)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .hbm_bytes = 16 << 20};
	struct zw_session_options sopt = {.size = sizeof(sopt), .flags = ZW_SESSION_ALL_LOGITS};
	struct shape s = {.h = 256, .i = 64, .layers = 1, .nq = 4, .nkv = 2, .d = 16, .v = 20000};
	struct zw_dev *small;
	struct zw_session *ses = NULL;
	struct zw_error err = {""};
	struct zw_model *m = NULL;
	struct fixture f;

	if (zw_dev_open("sim", &dopt, &small, &err))
		fail_msg("%s", err.msg);
	make(&f, s); /* two matrices of 10 MB */
	write_model(&f);
	assert_int_equal(zw_model_open(small, f.dir, NULL, &m, &err), -ENOSPC);
	assert_null(m);
	expect_words("model", &err, f.dir);
	expect_words("model", &err, "device memory|MiB are free");
	unmake(&f);

	s.tied = true; /* one: it fits, but not with the logits of 128 rows */
	make(&f, s);
	write_model(&f);
	if (zw_model_open(small, f.dir, NULL, &m, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_session_open(m, &sopt, &ses, &err), -ENOSPC);
	assert_null(ses);
	expect_words("session", &err, "session|device memory|MiB are free");
	sopt.flags = 0;
	if (zw_session_open(m, &sopt, &ses, &err))
		fail_msg("%s", err.msg);
	zw_session_close(ses);
	assert_int_equal(zw_model_close(m), 0);
	assert_int_equal(zw_dev_close(small), 0);
	unmake(&f);
}

struct tokens {
	uint32_t id[64];
	size_t n, stop_at;
};

static int on_token(void *opaque, uint32_t id)
{
	struct tokens *t = opaque;

	t->id[t->n++] = id;
	return t->n == t->stop_at;
}

static void test_generate(void **state)
{
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct tokens a = {.stop_at = 99}, b = {.stop_at = 3};
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_session_options opt = {.size = sizeof(opt), .context = 20, .chunk = 4};
	uint32_t prompt[] = {1, 2, 3, 4, 5};
	struct zw_generate_params p = {.size = sizeof(p), .max_tokens = 10, .token = on_token};
	struct zw_error err = {""};
	struct zw_session *s;
	struct zw_model *m;
	struct fixture f;

	make(&f, shapes[0]);
	write_model(&f);
	m = open_model(&f);
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, &err), 0);
	assert_int_equal(zw_session_open(m, &opt, &s, &err), 0);
	p.vocab = f.s.v - 1; /* leaves out the stop token */
	p.opaque = &a;
	assert_int_equal(zw_generate(s, &p, prompt, 5, &r, &err), 0);
	assert_int_equal(r.finish, ZW_FINISH_LENGTH);
	assert_int_equal(r.generated_tokens, 10);
	assert_int_equal(a.n, 10);
	assert_int_equal(r.prefill.tokens, 5);
	assert_int_equal(r.prefill.jobs, 3); /* two chunks, one head */
	assert_int_equal(r.decode.tokens, 9);
	assert_int_equal(r.decode.jobs, 18);
	assert_true(r.decode.sim_ps > 0 && r.decode.hbm_read > 0 && r.decode.packets > 0);
	assert_true(r.decode.busy_ps[ZW_ENGINE_TENSOR] > 0 && r.decode.busy_ps[ZW_ENGINE_ATTN] > 0);

	/* The same again from a rewound session, stopped by the callback. */
	assert_int_equal(zw_session_truncate(s, 0), 0);
	p.opaque = &b;
	assert_int_equal(zw_generate(s, &p, prompt, 5, &r, &err), 0);
	assert_int_equal(r.finish, ZW_FINISH_CALLBACK);
	assert_memory_equal(a.id, b.id, 3 * sizeof(a.id[0]));

	/* Rewound into the middle it goes on as it did. */
	assert_int_equal(zw_session_truncate(s, 4), 0);
	b.n = 0;
	b.stop_at = 99;
	p.max_tokens = 50;
	assert_int_equal(zw_generate(s, &p, prompt + 4, 1, &r, &err), 0);
	assert_int_equal(r.finish, ZW_FINISH_CONTEXT);
	assert_int_equal(zw_session_length(s), 20);
	assert_int_equal(r.generated_tokens, 16);
	assert_memory_equal(a.id, b.id, 10 * sizeof(a.id[0]));
	assert_int_equal(zw_session_truncate(s, 21), -EINVAL);
	zw_session_close(s);
	zw_sampler_close(p.sampler);
	assert_int_equal(zw_model_close(m), 0);
	unmake(&f);
}

/* Two sessions of one model do not disturb each other. */
static void test_two_sessions(void **state)
{
	struct zw_session_options opt = {.size = sizeof(opt), .context = 64};
	uint32_t a_ids[40], b_ids[40];
	const float *a, *b;
	float *want_a, *want_b;
	struct zw_session *sa, *sb;
	struct zw_error err;
	struct zw_model *m;
	struct fixture f;

	make(&f, shapes[1]);
	write_model(&f);
	m = open_model(&f);
	for (uint32_t i = 0; i < 40; i++) {
		a_ids[i] = i % f.s.v;
		b_ids[i] = (i * 7 + 3) % f.s.v;
	}
	want_a = all_logits(m, &f, 0, a_ids, 40);
	want_b = all_logits(m, &f, 0, b_ids, 40);
	assert_int_equal(zw_session_open(m, &opt, &sa, &err), 0);
	assert_int_equal(zw_session_open(m, &opt, &sb, &err), 0);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(zw_session_eval(sa, &a_ids[i], 1, NULL, &a, &err), 0);
		assert_int_equal(zw_session_eval(sb, &b_ids[i], 1, NULL, &b, &err), 0);
		assert_memory_equal(a, want_a + (size_t)i * f.s.v, f.s.v * sizeof(*a));
		assert_memory_equal(b, want_b + (size_t)i * f.s.v, f.s.v * sizeof(*b));
	}
	assert_int_equal(zw_model_close(m), -EBUSY);
	zw_session_close(sa);
	zw_session_close(sb);
	assert_int_equal(zw_model_close(m), 0);
	free(want_a);
	free(want_b);
	unmake(&f);
}

struct worker {
	struct zw_model *m;
	const struct fixture *f;
	uint32_t ids[40];
	const float *want;
	int wrong;
};

/* No cmocka in here: its failures jump. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct zw_session_options opt = {.size = sizeof(opt), .context = 64};
	struct zw_session *s;
	const float *x;

	for (int round = 0; round < 3; round++) {
		if (zw_session_open(w->m, &opt, &s, NULL)) {
			w->wrong++;
			return NULL;
		}
		for (uint32_t i = 0; i < 40; i++) {
			if (zw_session_eval(s, &w->ids[i], 1, NULL, &x, NULL) ||
			    memcmp(x, w->want + (size_t)i * w->f->s.v, w->f->s.v * sizeof(*x)))
				w->wrong++;
		}
		zw_session_close(s);
	}
	return NULL;
}

/* Sessions of one model in threads of their own, opening and closing while others run. */
static void test_threads(void **state)
{
	struct worker w[3];
	pthread_t thread[3];
	struct zw_model *m;
	struct fixture f;

	make(&f, shapes[0]);
	write_model(&f);
	m = open_model(&f);
	for (uint32_t t = 0; t < 3; t++) {
		w[t] = (struct worker){.m = m, .f = &f};
		for (uint32_t i = 0; i < 40; i++)
			w[t].ids[i] = (i * (2 * t + 3) + t) % f.s.v;
		w[t].want = all_logits(m, &f, 0, w[t].ids, 40);
	}
	for (int t = 0; t < 3; t++)
		assert_int_equal(pthread_create(&thread[t], NULL, work, &w[t]), 0);
	for (int t = 0; t < 3; t++) {
		assert_int_equal(pthread_join(thread[t], NULL), 0);
		assert_int_equal(w[t].wrong, 0);
		free((void *)w[t].want);
	}
	assert_int_equal(zw_model_close(m), 0);
	unmake(&f);
}

static void count_line(void *opaque, const char *text)
{
	++*(unsigned int *)opaque;
	assert_null(strchr(text, '\n'));
}

static void test_disasm(void **state)
{
	struct zw_session *s;
	struct zw_error err;
	struct zw_model *m;
	unsigned int lines = 0;
	struct fixture f;

	make(&f, shapes[0]);
	write_model(&f);
	m = open_model(&f);
	assert_int_equal(zw_session_open(m, NULL, &s, &err), 0);
	zw_session_disasm(s, count_line, &lines);
	assert_true(lines > 2 * 13 * f.s.layers);
	zw_session_close(s);
	zw_model_close(m);
	unmake(&f);
}

static int open_device(void **state)
{
	/* Little HBM: valgrind does not map the 96 GiB of the profile. */
	struct zw_dev_options opt = {.size = sizeof(opt), .hbm_bytes = 256 << 20};
	struct zw_error err = {""};
	int ret = zw_dev_open("sim", &opt, &dev, &err);

	if (ret == -ENOENT) {
		print_message("%s\n", err.msg);
		exit(77); /* no firmware built: skipped */
	}
	if (ret)
		fail_msg("%s", err.msg);
	return 0;
}

static int close_device(void **state)
{
	assert_int_equal(zw_dev_close(dev), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference),    cmocka_unit_test(test_forms),
		cmocka_unit_test(test_refused),      cmocka_unit_test(test_progress),
		cmocka_unit_test(test_too_large),    cmocka_unit_test(test_generate),
		cmocka_unit_test(test_two_sessions), cmocka_unit_test(test_threads),
		cmocka_unit_test(test_disasm),
	};

	return cmocka_run_group_tests_name("model", tests, open_device, close_device);
}
