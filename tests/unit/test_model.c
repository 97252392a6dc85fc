// SPDX-License-Identifier: MIT
/*
 * Models on the sim transport: small random checkpoints against a plain forward pass in double
 * precision, loading from shards, generation, and everything that must be refused.
 */
#include "dev_test.h"
#include "llm_fixture.h"
#include "family.h"

#include <math.h>
#include <pthread.h>

static struct zw_dev *dev;

/* ---- tests ---- */

static struct zw_model *open_model(const struct fixture *f)
{
	struct zw_error err = {""};
	struct zw_model *m;

	if (zw_model_open(dev, f->dir, NULL, &m, &err))
		fail_msg("%s", err.msg);
	return m;
}

static float *all_logits(struct zw_model *m, const struct fixture *f, uint32_t batch,
			 const uint32_t *ids, uint32_t n)
{
	struct zw_ctx_options opt = {
		.size = sizeof(opt), .batch = batch, .outputs = batch ? batch : n};
	float *x = malloc((size_t)n * f->s.v * sizeof(*x));
	struct zw_eval_options eval = {.size = sizeof(eval), .all_logits = x};
	struct zw_error err = {""};
	struct zw_ctx *c;
	uint32_t seq;

	if (zw_ctx_create(m, &opt, &c, &err) || zw_seq_create(c, &seq) ||
	    zw_ctx_eval(c, seq, ids, n, &eval, NULL, &err))
		fail_msg("%s", err.msg);
	zw_ctx_destroy(c);
	return x;
}

#define TOKENS 45 /* more than one page of the cache, no multiple of anything */

static void test_reference(void **state)
{
	for (size_t k = 0; k < NUM_SHAPES; k++) {
		struct fixture f;
		uint32_t ids[TOKENS];
		double *want, diff = 0, size = 0;
		struct zw_model *m;
		float *got;

		fixture_make(&f, fixture_shapes[k]);
		fixture_write(&f);
		for (uint32_t i = 0; i < TOKENS; i++)
			ids[i] = (i * 31 + 7) % f.s.v;
		want = malloc(TOKENS * f.s.v * sizeof(*want));
		fixture_reference(&f, ids, TOKENS, want);
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
		fixture_free(&f);
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

	fixture_make(&f, fixture_shapes[0]);
	fixture_write(&f);
	m = open_model(&f);
	one = all_logits(m, &f, 0, ids, 8);
	zw_model_close(m);

	fixture_write_shard(&f, "model.safetensors", 0, 1, "", "F32");
	m = open_model(&f);
	x = all_logits(m, &f, 0, ids, 8);
	assert_memory_equal(one, x, 8 * f.s.v * sizeof(*x));
	free(x);
	zw_model_close(m);

	/* Types that differ within one matrix meet in the wider one. */
	fixture_write_shard(&f, "model.safetensors", 0, 1, "k_proj", "F32");
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
		fixture_write_shard(&f, name, i, 3, NULL, NULL);
	}
	m = open_model(&f);
	x = all_logits(m, &f, 0, ids, 8);
	assert_memory_equal(one, x, 8 * f.s.v * sizeof(*x));
	free(x);
	free(one);
	zw_model_close(m);
	fixture_free(&f);
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
	struct shape s;

	fixture_make(&f, fixture_shapes[0]);
	fixture_write_config(&f);
	expect_refused(&f, -ENOENT, "model.safetensors");
	fixture_write_shard(&f, "model.safetensors", 0, 1, "", "I16");
	expect_refused(&f, -EOPNOTSUPP, "dtype I16");
	fixture_write_shard(&f, "model.safetensors", 1, 1, NULL, NULL);
	expect_refused(&f, -EBADMSG, "embed_tokens|missing");
	f.s.layers = 1;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "model.layers.1|does not belong");
	f.s = fixture_shapes[0];
	f.s.i++;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "mlp|[80,48]|[81,48]");
	f.s = fixture_shapes[0];
	f.s.bias = true;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "bias|missing");
	/* One family's file with the name of the other. */
	f.s.bias = false;
	f.s.qwen2 = true;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "q_proj.bias|missing");
	fixture_free(&f);
	fixture_make(&f, fixture_shapes[4]);
	f.s.qwen2 = false;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "q_norm|missing");
	fixture_free(&f);
	s = fixture_shapes[4];
	s.bias = true;
	fixture_make(&f, s);
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "o_proj.bias|does not belong");
	fixture_free(&f);
	/* Experts: one too many, one too few, one of another size. */
	fixture_make(&f, fixture_shapes[6]);
	f.s.e--;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "mlp.gate.weight|[6,40]|[5,40]");
	f.s = fixture_shapes[6];
	f.s.dense = false;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "model.layers.1.mlp.gate.weight|missing");
	f.s.dense = true;
	for (size_t i = 0; i < f.n; i++) {
		const char *const last = "model.layers.2.mlp.experts.5.down_proj.weight";
		struct tensor *t = &f.t[i];

		if (strcmp(t->name, last))
			continue;
		strcpy(t->name, "model.layers.2.mlp.experts.6.down_proj.weight");
		fixture_write(&f);
		expect_refused(&f, -EBADMSG, "experts.5.down_proj.weight|missing");
		strcpy(t->name, last);
		t->dim[0]--;
		t->n -= t->dim[1];
		fixture_write(&f);
		expect_refused(&f, -EBADMSG, "experts.5.down_proj.weight|[39,18]|[40,18]");
	}
	fixture_free(&f);
	s = fixture_shapes[6];
	s.e = 7;
	fixture_make(&f, s);
	for (size_t i = 0; i < f.n; i++) {
		if (strstr(f.t[i].name, "gate.weight") && f.t[i].dim[0] == 7) {
			f.t[i].dim[0] = 6;
			f.t[i].n = 6 * s.h;
		}
	}
	f.s.e = 6;
	fixture_write(&f);
	expect_refused(&f, -EBADMSG, "mlp.experts.6|does not belong");
	fixture_free(&f);
	assert_int_equal(hbm_free(), before);
}

/* A family whose packets the device does not have. */
static void test_device_too_old(void **state)
{
	struct llm_family newer = llm_family_qwen3_moe;
	struct zw_error err = {""};

	assert_int_equal(llm_check_device(dev, &newer, &err), 0);
	newer.abi_minor = ZW_ABI_MINOR + 1;
	assert_int_equal(llm_check_device(dev, &newer, &err), -EOPNOTSUPP);
	expect_words("minor", &err, "qwen3_moe|needs a device of ABI|this one has 2.");
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

	fixture_make(&f, fixture_shapes[1]);
	fixture_write(&f);
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
	fixture_free(&f);
}

static int never(void *opaque, uint64_t done, uint64_t total)
{
	fail_msg("%llu of %llu bytes are being loaded", (unsigned long long)done,
		 (unsigned long long)total);
	return 0;
}

/* Neither a model nor a context that does not fit is begun; both say what is missing. */
static void test_too_large(void **state)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .hbm_bytes = 16 << 20};
	struct zw_ctx_options copt = {.size = sizeof(copt), .outputs = 128};
	struct shape s = {.h = 256, .i = 64, .layers = 1, .nq = 4, .nkv = 2, .d = 16, .v = 20000};
	struct zw_dev *small;
	struct zw_ctx *ctx = NULL;
	struct zw_error err = {""};
	struct zw_model *m = NULL;
	struct fixture f;

	if (zw_dev_open("sim", &dopt, &small, &err))
		fail_msg("%s", err.msg);
	fixture_make(&f, s); /* two matrices of 10 MB */
	fixture_write(&f);
	assert_int_equal(zw_model_open(small, f.dir, NULL, &m, &err), -ENOSPC);
	assert_null(m);
	expect_words("model", &err, f.dir);
	expect_words("model", &err, "device memory|MiB are free");
	fixture_free(&f);

	s.tied = true; /* one: it fits, but not with the logits of 128 rows */
	fixture_make(&f, s);
	fixture_write(&f);
	if (zw_model_open(small, f.dir, NULL, &m, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_ctx_create(m, &copt, &ctx, &err), -ENOSPC);
	assert_null(ctx);
	expect_words("context", &err, "context|device memory|MiB are free");
	copt.outputs = 0;
	if (zw_ctx_create(m, &copt, &ctx, &err))
		fail_msg("%s", err.msg);
	zw_ctx_destroy(ctx);
	assert_int_equal(zw_model_close(m), 0);
	assert_int_equal(zw_dev_close(small), 0);
	fixture_free(&f);
}

/* The host lends the device less memory than it has: the model is refused before any of it is read. */
static void test_backing(void **state)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .hbm_backing_limit = 16 << 20};
	struct shape s = {.h = 256, .i = 64, .layers = 1, .nq = 4, .nkv = 2, .d = 16, .v = 20000};
	struct zw_model_options mopt = {.size = sizeof(mopt), .progress = never};
	struct zw_dev *lent;
	struct zw_error err = {""};
	struct zw_model *m = NULL;
	struct fixture f;

	if (zw_dev_open("sim", &dopt, &lent, &err))
		fail_msg("%s", err.msg);
	fixture_make(&f, s); /* two matrices of 10 MB */
	fixture_write(&f);
	assert_int_equal(zw_model_open(lent, f.dir, &mopt, &m, &err), -ENOSPC);
	assert_null(m);
	expect_words("model", &err, f.dir);
	expect_words("model", &err, "device memory|MiB are free");
	fixture_free(&f);
	s.tied = true;
	fixture_make(&f, s);
	fixture_write(&f);
	if (zw_model_open(lent, f.dir, NULL, &m, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_model_close(m), 0);
	assert_int_equal(zw_dev_close(lent), 0);
	fixture_free(&f);
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
	struct zw_ctx_stats prefill = {.size = sizeof(prefill)}, decode = {.size = sizeof(decode)};
	struct zw_generate_result r = {.size = sizeof(r), .prefill = &prefill, .decode = &decode};
	struct zw_ctx_options opt = {.size = sizeof(opt), .context = 20, .batch = 4};
	uint32_t prompt[] = {1, 2, 3, 4, 5};
	struct zw_generate_params p = {.size = sizeof(p), .max_tokens = 10, .token = on_token};
	struct zw_error err = {""};
	struct zw_ctx *c;
	struct zw_model *m;
	struct fixture f;

	fixture_make(&f, fixture_shapes[0]);
	fixture_write(&f);
	m = open_model(&f);
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, &err), 0);
	opt.vocab = f.s.v - 1; /* leaves out the stop token */
	assert_int_equal(zw_ctx_create(m, &opt, &c, &err), 0);
	assert_int_equal(zw_seq_create(c, &p.seq), 0);
	p.opaque = &a;
	assert_int_equal(zw_generate(c, &p, prompt, 5, &r, &err), 0);
	assert_int_equal(r.finish, ZW_FINISH_LENGTH);
	assert_int_equal(r.generated_tokens, 10);
	assert_int_equal(a.n, 10);
	assert_int_equal(prefill.tokens, 5);
	assert_int_equal(prefill.jobs, 2); /* two steps */
	assert_int_equal(decode.tokens, 9);
	assert_int_equal(decode.jobs, 9);
	assert_true(decode.sim_ps > 0 && decode.hbm_read > 0 && decode.packets > 0);
	assert_true(decode.busy_ps[ZW_ENGINE_TENSOR] > 0 && decode.busy_ps[ZW_ENGINE_ATTN] > 0);

	/* The same again from a rewound sequence, stopped by the callback. */
	assert_int_equal(zw_seq_truncate(c, p.seq, 0), 0);
	p.opaque = &b;
	assert_int_equal(zw_generate(c, &p, prompt, 5, &r, &err), 0);
	assert_int_equal(r.finish, ZW_FINISH_CALLBACK);
	assert_memory_equal(a.id, b.id, 3 * sizeof(a.id[0]));
	/* What ran ahead is taken back: from the token that was not fed it goes on as it did. */
	assert_int_equal(zw_seq_length(c, p.seq), 5 + 2);
	b.stop_at = 99;
	p.max_tokens = 7;
	assert_int_equal(zw_generate(c, &p, &b.id[2], 1, &r, &err), 0);
	assert_int_equal(b.n, 10);
	assert_memory_equal(a.id, b.id, 10 * sizeof(a.id[0]));
	assert_int_equal(zw_seq_length(c, p.seq), 5 + 9);

	/* Rewound into the middle it goes on as it did. */
	assert_int_equal(zw_seq_truncate(c, p.seq, 4), 0);
	b.n = 0;
	b.stop_at = 99;
	p.max_tokens = 50;
	assert_int_equal(zw_generate(c, &p, prompt + 4, 1, &r, &err), 0);
	assert_int_equal(r.finish, ZW_FINISH_CONTEXT);
	assert_int_equal(zw_seq_length(c, p.seq), 20);
	assert_int_equal(r.generated_tokens, 16);
	assert_memory_equal(a.id, b.id, 10 * sizeof(a.id[0]));
	assert_int_equal(zw_seq_truncate(c, p.seq, 21), -EINVAL);
	zw_ctx_destroy(c);
	zw_sampler_close(p.sampler);
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

/* What a sampler generates from a prompt, and the bytes that decoding moved to the host. */
static struct tokens generated(struct zw_model *m, const struct zw_sampling_params *sp,
			       uint32_t top_k, uint64_t *bytes)
{
	struct zw_ctx_options opt = {.size = sizeof(opt), .top_k = top_k, .vocab = 90};
	struct zw_ctx_stats decode = {.size = sizeof(decode)};
	struct zw_generate_result r = {.size = sizeof(r), .decode = &decode};
	struct tokens out = {.stop_at = 99};
	struct zw_generate_params p = {
		.size = sizeof(p), .max_tokens = 40, .token = on_token, .opaque = &out};
	uint32_t prompt[] = {5, 4, 3, 2, 1};
	struct zw_error err = {""};
	struct zw_ctx *c;

	if (zw_ctx_create(m, &opt, &c, &err) || zw_seq_create(c, &p.seq) ||
	    zw_sampler_open(sp, &p.sampler, &err) || zw_generate(c, &p, prompt, 5, &r, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(out.n, 40);
	*bytes = decode.sys_written;
	zw_sampler_close(p.sampler);
	zw_ctx_destroy(c);
	return out;
}

/* The host's choice from the logits of every token, fed back. */
static struct tokens host_generated(struct zw_model *m, const struct zw_sampling_params *sp)
{
	struct zw_eval_options want = {.size = sizeof(want), .want = ZW_WANT_LOGITS};
	struct zw_output out = {.size = sizeof(out)};
	uint32_t ids[5] = {5, 4, 3, 2, 1}, seq;
	struct zw_sampler *sampler;
	struct zw_error err = {""};
	struct tokens t = {0};
	struct zw_ctx *c;

	if (zw_ctx_create(m, NULL, &c, &err) || zw_seq_create(c, &seq) ||
	    zw_sampler_open(sp, &sampler, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_sampler_prompt(sampler, ids, 5), 0);
	for (size_t n = 5; t.n < 40; n = 1) {
		if (zw_ctx_eval(c, seq, ids, n, &want, &out, &err) ||
		    zw_sampler_pick(sampler, out.logits, 90, &ids[0], &err))
			fail_msg("%s", err.msg);
		t.id[t.n++] = ids[0];
		assert_int_equal(zw_sampler_accept(sampler, ids[0]), 0);
	}
	zw_sampler_close(sampler);
	zw_ctx_destroy(c);
	return t;
}

/* Choices made on the device are the host's, and only ids and candidates leave it. */
static void test_choices(void **state)
{
	const struct {
		struct zw_sampling_params sp;
		uint32_t top_k; /* of the context */
		uint64_t bytes; /* of a token */
	} cases[] = {
		{{.top_p = 1}, 0, 8},
		{{.temperature = 0.8f, .top_p = 1, .top_k = 1}, 0, 8},
		{{.temperature = 2, .top_p = 1, .top_k = 20, .seed = 3}, 20, 8 + 8 * 20},
		{{.temperature = 2, .top_p = 0.9f, .top_k = 7, .seed = 3}, 20, 8 + 8 * 20},
		{{.temperature = 2, .top_p = 1, .top_k = 21, .seed = 3}, 20, 8 + 4 * 97},
		{{.temperature = 2, .top_p = 0.8f, .min_p = 0.01f, .seed = 4}, 20, 8 + 4 * 97},
		/* What was said before may change any logit: all of them are looked at. */
		{{.top_p = 1, .repetition_penalty = 1.3f}, 20, 8 + 4 * 97},
		{{.temperature = 1, .top_p = 1, .top_k = 9, .no_repeat_ngram = 2}, 20, 8 + 4 * 97},
	};
	struct fixture f;
	struct zw_model *m;

	fixture_make(&f, fixture_shapes[0]);
	fixture_write(&f);
	m = open_model(&f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zw_sampling_params sp = cases[i].sp;
		struct tokens want, got;
		uint64_t bytes;

		sp.size = sizeof(sp);
		want = host_generated(m, &sp);
		got = generated(m, &sp, cases[i].top_k, &bytes);
		assert_memory_equal(want.id, got.id, sizeof(uint32_t) * 40);
		assert_int_equal(bytes, 39 * cases[i].bytes);
	}
	zw_model_close(m);
	fixture_free(&f);
}

struct logprobs {
	struct tokens tokens;
	float lp[8][90]; /* by token generated and id */
	size_t n;
};

static int on_logprob_token(void *opaque, uint32_t id)
{
	struct logprobs *l = opaque;

	assert_int_equal(l->n, l->tokens.n + 1); /* they come in front of it */
	return on_token(&l->tokens, id);
}

static void on_logprobs(void *opaque, const struct zw_logprob *lp, size_t n)
{
	struct logprobs *l = opaque;

	assert_int_equal(n, 91);
	for (size_t i = 1; i < n; i++) {
		l->lp[l->n][lp[i].id] = lp[i].logprob;
		assert_true(i == 1 || lp[i].logprob <= lp[i - 1].logprob);
	}
	assert_true(lp[0].logprob == l->lp[l->n][lp[0].id]);
	l->tokens.id[l->n++] = lp[0].id;
}

/* The model's own distribution, and the one behind the temperature, of the same choices. */
static void test_logprobs(void **state)
{
	struct zw_sampling_params sp = {
		.size = sizeof(sp), .temperature = 2, .top_p = 1, .top_k = 30, .seed = 5};
	struct zw_ctx_options opt = {.size = sizeof(opt), .vocab = 90, .top_k = 30};
	static struct logprobs got[2];
	struct zw_error err = {""};
	struct zw_model *m;
	struct fixture f;

	fixture_make(&f, fixture_shapes[0]);
	fixture_write(&f);
	m = open_model(&f);
	for (int processed = 0; processed < 2; processed++) {
		struct zw_generate_result r = {.size = sizeof(r)};
		struct zw_generate_params p = {.size = sizeof(p),
					       .flags = processed ? ZW_GENERATE_PROCESSED_LOGPROBS
								  : 0,
					       .max_tokens = 8,
					       .token = on_logprob_token,
					       .logprobs = on_logprobs,
					       .top_logprobs = 1000, /* more than there are */
					       .opaque = &got[processed]};
		uint32_t prompt[] = {5, 4, 3, 2, 1};
		struct zw_ctx *c;

		got[processed].tokens.stop_at = 99;
		if (zw_ctx_create(m, &opt, &c, &err) || zw_seq_create(c, &p.seq) ||
		    zw_sampler_open(&sp, &p.sampler, &err) ||
		    zw_generate(c, &p, prompt, 5, &r, &err))
			fail_msg("%s", err.msg);
		assert_int_equal(got[processed].tokens.n, 8);
		zw_sampler_close(p.sampler);
		zw_ctx_destroy(c);
	}
	assert_memory_equal(got[0].tokens.id, got[1].tokens.id, 8 * sizeof(uint32_t));
	for (size_t t = 0; t < 8; t++) {
		double sum = 0, half = 0;

		for (size_t i = 0; i < 90; i++) {
			sum += exp((double)got[0].lp[t][i]);
			half += exp((double)got[0].lp[t][i] / 2);
		}
		assert_true(fabs(sum - 1) < 1e-5);
		for (size_t i = 0; i < 90; i++)
			assert_true(fabs((double)got[0].lp[t][i] / 2 - log(half) -
					 (double)got[1].lp[t][i]) < 1e-4);
	}
	zw_model_close(m);
	fixture_free(&f);
}

/* Numbers that are none are an error wherever the choice is made. */
static void test_not_numbers(void **state)
{
	const struct zw_sampling_params sp[] = {
		{.size = sizeof(sp[0]), .top_p = 1},
		{.size = sizeof(sp[0]), .temperature = 1, .top_k = 3, .top_p = 1},
		{.size = sizeof(sp[0]), .temperature = 1, .top_p = 1},
	};
	struct zw_ctx_options opt = {.size = sizeof(opt), .top_k = 3};
	struct zw_generate_params p = {.size = sizeof(p), .max_tokens = 4};
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_error err = {""};
	uint32_t prompt[] = {1, 2};
	struct zw_ctx *c;
	struct zw_model *m;
	struct fixture f;

	fixture_make(&f, fixture_shapes[0]);
	for (size_t i = 0; i < f.n; i++) {
		if (!strcmp(f.t[i].name, "model.norm.weight"))
			f.t[i].x[3] = NAN;
	}
	fixture_write(&f);
	m = open_model(&f);
	assert_int_equal(zw_ctx_create(m, &opt, &c, &err), 0);
	assert_int_equal(zw_seq_create(c, &p.seq), 0);
	for (size_t i = 0; i < sizeof(sp) / sizeof(sp[0]); i++) {
		assert_int_equal(zw_sampler_open(&sp[i], &p.sampler, &err), 0);
		assert_int_equal(zw_generate(c, &p, prompt, 2, &r, &err), -EDOM);
		expect_words("NaN", &err, "NaN");
		zw_sampler_close(p.sampler);
	}
	zw_ctx_destroy(c);
	zw_model_close(m);
	fixture_free(&f);
}

/* A tied model whose file has a head all the same: a copy is not loaded twice, another one counts. */
static void test_tied_head(void **state)
{
	struct zw_model_info info = {.size = sizeof(info)};
	uint32_t ids[] = {3, 1, 4, 1, 5};
	struct shape s = fixture_shapes[0];
	const uint32_t *stop;
	struct zw_model *m;
	struct fixture f;
	uint64_t plain;
	float *x[3];

	fixture_make(&f, s);
	fixture_write(&f);
	m = open_model(&f);
	zw_model_get_info(m, &info);
	plain = info.parameters;
	assert_string_equal(info.model_type, "qwen3");
	assert_int_equal(info.vocab_size, s.v);
	assert_int_equal(info.max_context, 300);
	assert_int_equal(info.num_layers, s.layers);
	assert_int_equal(zw_model_stop_tokens(m, &stop), 1);
	assert_int_equal(stop[0], s.v - 1);
	assert_true(zw_model_is_stop(m, s.v - 1) && !zw_model_is_stop(m, 0));
	x[0] = all_logits(m, &f, 0, ids, 5);
	zw_model_close(m);
	fixture_free(&f);

	s.tied = false;
	fixture_make(&f, s);
	f.s.tied = true; /* in config.json */
	fixture_write(&f);
	for (int copy = 0; copy < 2; copy++) {
		if (copy) {
			for (size_t i = 0; i < f.n; i++) {
				if (!strcmp(f.t[i].name, "lm_head.weight"))
					memcpy(f.t[i].x, f.t[0].x, f.t[i].n * sizeof(float));
			}
			fixture_write(&f);
		}
		m = open_model(&f);
		zw_model_get_info(m, &info);
		assert_int_equal(info.parameters, plain + (copy ? 0 : (uint64_t)s.v * s.h));
		x[1 + copy] = all_logits(m, &f, 0, ids, 5);
		zw_model_close(m);
	}
	{
		double *want = malloc(5 * s.v * sizeof(*want)), diff = 0, size = 0;

		fixture_free(&f);
		fixture_make(&f, s); /* with its own head again */
		fixture_reference(&f, ids, 5, want);
		for (size_t i = 0; i < 5 * s.v; i++) {
			diff += ((double)x[1][i] - want[i]) * ((double)x[1][i] - want[i]);
			size += want[i] * want[i];
		}
		assert_true(sqrt(diff / size) < 0.03);
		free(want);
	}
	for (int i = 0; i < 3; i++)
		free(x[i]);
	fixture_free(&f);
}

/* The logits of one more token of sequence 0. */
static int one_more(struct zw_ctx *c, uint32_t id, const float **logits)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .want = ZW_WANT_LOGITS};
	struct zw_output out = {.size = sizeof(out)};
	int ret = zw_ctx_eval(c, 0, &id, 1, &opt, &out, NULL);

	*logits = out.logits;
	return ret;
}

static struct zw_ctx *small_context(struct zw_model *m)
{
	struct zw_ctx_options opt = {.size = sizeof(opt), .context = 64};
	struct zw_ctx *c;
	uint32_t seq;

	if (zw_ctx_create(m, &opt, &c, NULL))
		return NULL;
	if (zw_seq_create(c, &seq)) {
		zw_ctx_destroy(c);
		return NULL;
	}
	return c;
}

/* Two contexts of one model do not disturb each other. */
static void test_two_contexts(void **state)
{
	uint32_t a_ids[40], b_ids[40];
	const float *a, *b;
	float *want_a, *want_b;
	struct zw_ctx *ca, *cb;
	struct zw_model *m;
	struct fixture f;

	fixture_make(&f, fixture_shapes[1]);
	fixture_write(&f);
	m = open_model(&f);
	for (uint32_t i = 0; i < 40; i++) {
		a_ids[i] = i % f.s.v;
		b_ids[i] = (i * 7 + 3) % f.s.v;
	}
	want_a = all_logits(m, &f, 0, a_ids, 40);
	want_b = all_logits(m, &f, 0, b_ids, 40);
	ca = small_context(m);
	cb = small_context(m);
	assert_true(ca && cb);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(one_more(ca, a_ids[i], &a), 0);
		assert_int_equal(one_more(cb, b_ids[i], &b), 0);
		assert_memory_equal(a, want_a + (size_t)i * f.s.v, f.s.v * sizeof(*a));
		assert_memory_equal(b, want_b + (size_t)i * f.s.v, f.s.v * sizeof(*b));
	}
	assert_int_equal(zw_model_close(m), -EBUSY);
	zw_ctx_destroy(ca);
	zw_ctx_destroy(cb);
	assert_int_equal(zw_model_close(m), 0);
	free(want_a);
	free(want_b);
	fixture_free(&f);
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
	struct zw_ctx *c;
	const float *x;

	for (int round = 0; round < 3; round++) {
		c = small_context(w->m);
		if (!c) {
			w->wrong++;
			return NULL;
		}
		for (uint32_t i = 0; i < 40; i++) {
			if (one_more(c, w->ids[i], &x) ||
			    memcmp(x, w->want + (size_t)i * w->f->s.v, w->f->s.v * sizeof(*x)))
				w->wrong++;
		}
		zw_ctx_destroy(c);
	}
	return NULL;
}

/* Contexts of one model in threads of their own, opening and closing while others run. */
static void test_threads(void **state)
{
	struct worker w[3];
	pthread_t thread[3];
	struct zw_model *m;
	struct fixture f;

	fixture_make(&f, fixture_shapes[0]);
	fixture_write(&f);
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
	fixture_free(&f);
}

static void count_line(void *opaque, const char *text)
{
	++*(unsigned int *)opaque;
	assert_null(strchr(text, '\n'));
}

static void test_disasm(void **state)
{
	struct zw_ctx *c;
	struct zw_error err;
	struct zw_model *m;
	unsigned int lines = 0;
	struct fixture f;

	fixture_make(&f, fixture_shapes[0]);
	fixture_write(&f);
	m = open_model(&f);
	assert_int_equal(zw_ctx_create(m, NULL, &c, &err), 0);
	zw_ctx_disasm(c, count_line, &lines);
	assert_true(lines > 2 * 13 * f.s.layers);
	zw_ctx_destroy(c);
	zw_model_close(m);
	fixture_free(&f);
}

static int open_device(void **state)
{
	dev = open_dev(NULL);
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
		cmocka_unit_test(test_too_large),    cmocka_unit_test(test_backing),
		cmocka_unit_test(test_generate),     cmocka_unit_test(test_choices),
		cmocka_unit_test(test_not_numbers),  cmocka_unit_test(test_tied_head),
		cmocka_unit_test(test_two_contexts), cmocka_unit_test(test_device_too_old),
		cmocka_unit_test(test_threads),      cmocka_unit_test(test_disasm),
		cmocka_unit_test(test_logprobs),
	};

	return cmocka_run_group_tests_name("model", tests, open_device, close_device);
}
