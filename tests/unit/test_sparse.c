// SPDX-License-Identifier: MIT
/*
 * Sparse attention on the sim transport or on $ZW_TEST_DEVICE: selections of everything have the bits of
 * all keys, for whatever shares a step; which rows are sparse; how texts may be cut; what it costs; options.
 * Selections themselves are tested with the packets that make them.
 */
#include "ctx_test.h"

#include <errno.h>
#include <math.h>

#include "siphash.h"

#define LENGTH 1000
#define GROUP  32
#define BATCH  128

static uint32_t text[LENGTH];

/* Options of a kind that keeps n blocks, or as many columns and distances as they have. */
static struct zw_ctx_options kept(uint32_t kind, uint32_t n)
{
	struct zw_ctx_options o = {
		.context = LENGTH, .batch = BATCH, .outputs = BATCH, .sparse = kind};

	if (kind)
		o.sparse_group = GROUP;
	if (kind == ZW_SPARSE_BLOCKS)
		o.sparse_keep = n;
	if (kind == ZW_SPARSE_SLASH)
		o.sparse_vertical = o.sparse_slash = 32 * n;
	return o;
}

#define EVERYTHING 40 /* blocks of LENGTH tokens, and some */

static struct zw_ctx_stats stats_of(const struct zw_ctx *c)
{
	struct zw_ctx_stats s = {.size = sizeof(s)};

	assert_int_equal(zw_ctx_get_stats(c, &s), 0);
	return s;
}

/* Logits of n tokens of text at a sequence's end. */
static void go_on(struct zw_ctx *c, uint32_t seq, uint32_t from, uint32_t n, float *x)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .all_logits = x};
	struct zw_error err = {""};

	if (zw_ctx_eval(c, seq, text + from, n, &opt, NULL, &err))
		fail_msg("%s", err.msg);
}

/* Logits of the whole text, given in pieces that end at the n places of ends and at its own end. */
static float *pieces(struct zw_ctx_options o, const uint32_t *ends, uint32_t n, uint64_t *sparse)
{
	struct zw_ctx *c = context(o);
	float *x = malloc((size_t)LENGTH * V * sizeof(*x));
	uint32_t seq = sequence(c), at = 0;

	for (uint32_t i = 0; i <= n; i++) {
		uint32_t end = i < n ? ends[i] : LENGTH;

		go_on(c, seq, at, end - at, x + (size_t)at * V);
		at = end;
	}
	if (sparse)
		*sparse = stats_of(c).sparse_tokens;
	zw_ctx_destroy(c);
	return x;
}

static bool same(const float *a, const float *b, uint32_t rows)
{
	return !memcmp(a, b, (size_t)rows * V * sizeof(*a));
}

/* ---- what a selection keeps ---- */

static void test_everything(void **state)
{
	float *dense = pieces(kept(ZW_SPARSE_NONE, 0), NULL, 0, NULL);

	for (uint32_t kind = ZW_SPARSE_SLASH; kind <= ZW_SPARSE_BLOCKS; kind++)
		for (uint32_t group = 32; group <= 128; group *= 2) {
			struct zw_ctx_options o = kept(kind, EVERYTHING);
			uint64_t sparse;
			float *x;

			o.sparse_group = group;
			x = pieces(o, NULL, 0, &sparse);
			assert_int_equal(sparse, LENGTH / group * group);
			assert_true(same(x, dense, LENGTH));
			free(x);
		}
	free(dense);
}

/* Where there is no more than is kept anyway nothing is lost; behind that something is, and not much. */
static void test_some(void **state)
{
	float *dense = pieces(kept(ZW_SPARSE_NONE, 0), NULL, 0, NULL);

	for (uint32_t kind = ZW_SPARSE_SLASH; kind <= ZW_SPARSE_BLOCKS; kind++) {
		const uint32_t keep = 8;
		struct zw_ctx_options o = kept(kind, keep);
		float *x = pieces(o, NULL, 0, NULL);
		double diff = 0, size = 0;

		assert_true(same(x, dense, keep * 32));
		for (size_t i = keep * 32 * (size_t)V; i < (size_t)LENGTH * V; i++) {
			diff += ((double)x[i] - (double)dense[i]) *
				((double)x[i] - (double)dense[i]);
			size += (double)dense[i] * (double)dense[i];
		}
		print_message("kind %u, %u of up to %u blocks: relative rms %.3f\n", kind, keep,
			      LENGTH / 32, sqrt(diff / size));
		assert_true(diff > 0 && sqrt(diff / size) < 0.5);
		free(x);
		/* up to sparse_from all keys are seen */
		o.sparse_from = LENGTH;
		x = pieces(o, NULL, 0, NULL);
		assert_true(same(x, dense, LENGTH));
		free(x);
	}
	free(dense);
}

/* ---- how texts are cut ---- */

static void test_cuts(void **state)
{
	static const uint32_t groups[] = {32, 128, 160, 480, 512, 544, 960};
	static const uint32_t steps[] = {128, 384, 512, 896};
	static const uint32_t odd[] = {50, 511};
	float *whole, *x;
	uint64_t sparse;

	whole = pieces(kept(ZW_SPARSE_BLOCKS, 8), NULL, 0, NULL);
	x = pieces(kept(ZW_SPARSE_BLOCKS, 8), groups, 7, NULL);
	assert_true(same(whole, x, LENGTH));
	free(x);
	/* Within a group its tokens see all keys. */
	x = pieces(kept(ZW_SPARSE_BLOCKS, 8), odd, 2, &sparse);
	assert_false(same(whole, x, LENGTH));
	/* [0, 32), [64, 480), [512, 992) */
	assert_int_equal(sparse, 32 + 416 + 480);
	free(x);
	free(whole);
	whole = pieces(kept(ZW_SPARSE_SLASH, 8), NULL, 0, NULL);
	x = pieces(kept(ZW_SPARSE_SLASH, 8), steps, 4, NULL);
	assert_true(same(whole, x, LENGTH));
	free(x);
	x = pieces(kept(ZW_SPARSE_SLASH, 8), groups, 7, NULL);
	assert_false(same(whole, x, LENGTH));
	free(x);
	free(whole);
}

/* ---- who shares a step ---- */

/* Tokens [pos, pos + n) of a sequence, each with logits. */
static uint32_t put(struct zw_batch_token *t, uint32_t at, uint32_t seq, uint32_t pos, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		t[at++] = (struct zw_batch_token){.id = text[(seq * 97 + pos + i) % LENGTH],
						  .pos = pos + i,
						  .seq = seq,
						  .want = ZW_WANT_LOGITS};
	return at;
}

/* Pieces of several sequences in one step, in a wild order of sequences. */
static void test_mixed(void **state)
{
	static const struct {
		uint32_t n[5]; /* tokens of each sequence */
		uint32_t blocks, slash;
	} steps[] = {
		{{64, 1, 40, 0, 20}, 96, 64}, /* groups, groups and a rest, a rest */
		{{0, 1, 1, 1, 1}, 0, 0},      /* decoding; none begins a group */
		{{33, 1, 23, 64, 0}, 32, 32}, /* 0 begins a group, 2 and 3 do not */
		{{31, 29, 64, 1, 3}, 64, 64}, /* 0 ends one, 2 begins one */
		{{40, 32, 32, 0, 2}, 96, 32}, /* all begin one */
		{{1, 40, 41, 0, 0},
		 32,
		 32}, /* two with a rest: the one that is as long comes first */
	};
	for (uint32_t kind = ZW_SPARSE_SLASH; kind <= ZW_SPARSE_BLOCKS; kind++) {
		struct zw_ctx_options o = kept(kind, EVERYTHING), d = kept(ZW_SPARSE_NONE, 0);
		struct zw_ctx *c, *plain;
		uint32_t at[5] = {0}, seq;

		o.max_seqs = d.max_seqs = 5;
		o.sparse_keep = kind == ZW_SPARSE_BLOCKS ? 100 : 0;
		c = context(o);
		plain = context(d);
		for (uint32_t i = 0; i < 5; i++) {
			assert_int_equal(zw_seq_create(c, &seq), 0);
			assert_int_equal(zw_seq_create(plain, &seq), 0);
		}
		for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
			struct zw_batch_token t[BATCH];
			uint64_t before = stats_of(c).sparse_tokens, a, b;
			uint32_t n = 0;

			for (uint32_t i = 0; i < 5; i++) {
				uint32_t q = (i * 3 + (uint32_t)s) % 5;

				n = put(t, n, q, at[q], steps[s].n[q]);
				at[q] += steps[s].n[q];
			}
			a = submitted(c, t, n);
			waited(c, a);
			b = submitted(plain, t, n);
			waited(plain, b);
			if (stats_of(c).sparse_tokens - before !=
			    (kind == ZW_SPARSE_SLASH ? steps[s].slash : steps[s].blocks))
				fail_msg("kind %u, step %zu: %llu sparse tokens", kind, s,
					 (unsigned long long)(stats_of(c).sparse_tokens - before));
			for (uint32_t i = 0; i < n; i++)
				assert_true(same(logits_of(c, a, i), logits_of(plain, b, i), 1));
		}
		zw_ctx_destroy(c);
		zw_ctx_destroy(plain);
	}
}

/* ---- many requests ---- */

#define REQUESTS 6
#define ANSWER   12

struct answer {
	uint32_t got[ANSWER], n;
	uint64_t seen[ANSWER]; /* hashes of the logits */
	uint32_t num_seen;
};

/* Sees all logits of a choice; nothing is changed. */
static int look(void *opaque, float *x, size_t n)
{
	static const uint64_t key[2] = {1, 2};
	struct answer *a = opaque;

	assert_true(a->num_seen < ANSWER);
	a->seen[a->num_seen++] = siphash(key, x, n * sizeof(*x));
	return 0;
}

static int on_token(void *opaque, uint64_t request, uint32_t id)
{
	struct answer *a = opaque;

	assert_true(a->n < ANSWER);
	a->got[a->n++] = id;
	return 0;
}

/* Tokens of a request's prompt: `shortest` and ever more. */
static uint32_t length_of(uint32_t shortest, uint32_t i)
{
	return shortest + i * 41;
}

/* Requests [first, end) of a scheduler; returns how many tokens were sparse. */
static uint64_t serve(struct zw_ctx_options o, uint32_t shortest, uint32_t first, uint32_t end,
		      struct answer *out)
{
	struct zw_sched_options so = {.size = sizeof(so)};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_sampler *sampler[REQUESTS];
	struct zw_error err = {""};
	struct zw_ctx *c = context(o);
	struct zw_sched *s;
	uint64_t id, sparse;
	int left;

	assert_int_equal(zw_sched_create(c, &so, &s, &err), 0);
	for (uint32_t i = first; i < end; i++) {
		struct zw_request_params p = {.size = sizeof(p),
					      .flags = ZW_GENERATE_IGNORE_STOP,
					      .max_tokens = ANSWER,
					      .token = on_token,
					      .opaque = &out[i]};

		out[i].n = out[i].num_seen = 0;
		sp.mask = look;
		sp.mask_opaque = &out[i];
		assert_int_equal(zw_sampler_open(&sp, &sampler[i], &err), 0);
		p.sampler = sampler[i];
		if (zw_sched_add(s, &p, text + i * 31, length_of(shortest, i), &id, &err))
			fail_msg("%s", err.msg);
	}
	do {
		left = zw_sched_step(s, &err);
		if (left < 0)
			fail_msg("%s", err.msg);
	} while (left);
	sparse = stats_of(c).sparse_tokens;
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
	for (uint32_t i = first; i < end; i++) {
		assert_int_equal(out[i].n, ANSWER);
		assert_int_equal(out[i].num_seen, ANSWER);
		zw_sampler_close(sampler[i]);
	}
	return sparse;
}

static void requests(uint32_t batch, uint32_t shortest)
{
	struct zw_ctx_options o = kept(ZW_SPARSE_BLOCKS, 4);
	struct answer packed[REQUESTS], alone[REQUESTS], dense[REQUESTS];
	uint64_t want = 0;
	bool differs = false;

	o.max_seqs = REQUESTS;
	o.outputs = REQUESTS;
	o.batch = batch;
	for (uint32_t i = 0; i < REQUESTS; i++)
		want += length_of(shortest, i) / GROUP * GROUP;
	assert_int_equal(serve(o, shortest, 0, REQUESTS, packed), want);
	for (uint32_t i = 0; i < REQUESTS; i++)
		serve(o, shortest, i, i + 1, alone);
	o.sparse = o.sparse_group = o.sparse_keep = 0;
	serve(o, shortest, 0, REQUESTS, dense);
	for (uint32_t i = 0; i < REQUESTS; i++) {
		assert_memory_equal(packed[i].got, alone[i].got, sizeof(packed[i].got));
		assert_memory_equal(packed[i].seen, alone[i].seen, sizeof(packed[i].seen));
		differs |= !!memcmp(packed[i].seen, dense[i].seen, sizeof(packed[i].seen));
	}
	assert_true(differs);
}

/* Of BLOCKS a request has the tokens that it has alone, as long as steps have room for whole groups. */
static void test_requests(void **state)
{
	/* One prompt after the other, beside tokens that are decoded; and several whole ones in a step. */
	requests(BATCH + REQUESTS, 250);
	requests(4 * BATCH + REQUESTS, 70);
}

/* ---- drafts ---- */

#define WRITTEN 60

struct written {
	uint32_t id[WRITTEN], n;
	uint64_t accepted, sparse;
};

static int on_written(void *opaque, uint32_t id)
{
	struct written *w = opaque;

	assert_true(w->n < WRITTEN);
	w->id[w->n++] = id;
	return 0;
}

static struct written written_with(uint32_t draft)
{
	struct zw_ctx_options o = kept(ZW_SPARSE_BLOCKS, 4);
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_generate_params p = {.size = sizeof(p),
				       .flags = ZW_GENERATE_IGNORE_STOP,
				       .max_tokens = WRITTEN,
				       .draft = draft,
				       .draft_tokens = draft ? 3 : 0,
				       .token = on_written};
	struct zw_error err = {""};
	struct zw_sampler *sampler;
	uint32_t prompt[300];
	struct written w = {.n = 0};
	struct zw_ctx *c;

	o.rewind = 3;
	o.draft = draft == ZW_DRAFT_MTP ? 3 : 0;
	c = context(o);
	for (uint32_t i = 0; i < 300; i++)
		prompt[i] = text[i % 70];
	assert_int_equal(zw_sampler_open(&sp, &sampler, &err), 0);
	p.seq = sequence(c);
	p.sampler = sampler;
	p.opaque = &w;
	if (zw_generate(c, &p, prompt, 300, &r, &err))
		fail_msg("%s", err.msg);
	w.accepted = r.accepted_tokens;
	w.sparse = stats_of(c).sparse_tokens;
	zw_sampler_close(sampler);
	zw_ctx_destroy(c);
	return w;
}

/* What is drafted sees every key, as what is decoded one by one. */
static void test_drafts(void **state)
{
	struct zw_model_options mopt = {.size = sizeof(mopt), .flags = ZW_MODEL_MTP};
	struct zw_model *was = model;
	struct written plain, drafted;
	struct zw_error err = {""};

	if (fix.s.mtp && zw_model_open(dev, fix.dir, &mopt, &model, &err))
		fail_msg("%s", err.msg);
	plain = written_with(ZW_DRAFT_NONE);
	assert_int_equal(plain.n, WRITTEN);
	assert_int_equal(plain.sparse, 288);
	for (uint32_t d = ZW_DRAFT_MTP; d <= ZW_DRAFT_NGRAM; d++) {
		if (d == ZW_DRAFT_MTP && !fix.s.mtp)
			continue;
		drafted = written_with(d);
		print_message("drafts %u: %llu accepted\n", d,
			      (unsigned long long)drafted.accepted);
		assert_int_equal(drafted.sparse, 288);
		assert_memory_equal(drafted.id, plain.id, sizeof(plain.id));
	}
	if (fix.s.mtp) {
		assert_int_equal(zw_model_close(model), 0);
		model = was;
	}
}

/* ---- what it costs ---- */

/* A prompt of `context` tokens, in steps of `batch`. */
static struct zw_ctx_stats cost(struct zw_ctx_options o, const char *what)
{
	struct zw_ctx *c = context(o);
	struct zw_error err = {""};
	uint32_t *ids = malloc(o.context * sizeof(*ids));
	struct zw_ctx_stats s;

	for (uint32_t i = 0; i < o.context; i++)
		ids[i] = text[i % LENGTH] % V;
	if (zw_ctx_eval(c, sequence(c), ids, o.context, NULL, NULL, &err))
		fail_msg("%s", err.msg);
	s = stats_of(c);
	print_message("%s: simulated %.3f ms, attention engine %.3f ms, %.2f MiB read\n", what,
		      (double)s.sim_ps * 1e-9, (double)s.busy_ps[ZW_ENGINE_ATTN] * 1e-9,
		      (double)s.hbm_read / 1048576);
	assert_int_equal(s.sparse_tokens, o.sparse ? o.context : 0);
	zw_ctx_destroy(c);
	free(ids);
	return s;
}

/* One layer with enough heads for attention to be most of the work, on the smallest chip. */
static void test_cost(void **state)
{
	static const struct shape shape = {.h = 32,
					   .i = 16,
					   .layers = 1,
					   .nq = 8,
					   .nkv = 2,
					   .d = 16,
					   .v = 31,
					   .tied = true,
					   .context = 8192};
	struct zw_ctx_options o = {.context = 8192, .batch = 512, .outputs = 1};
	struct zw_dev_options dopt = {
		.size = sizeof(dopt), .profile = "c12", .hbm_bytes = 256 << 20};
	struct zw_model *was = model;
	struct fixture other = fix;
	struct zw_ctx_stats dense, s;
	struct zw_error err = {""};
	struct zw_dev *small, *full = dev;

	assert_int_equal(zw_dev_open("sim", &dopt, &small, NULL), 0);
	dev = small;
	fixture_make(&fix, shape);
	fixture_write(&fix);
	V = shape.v;
	if (zw_model_open(dev, fix.dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
	dense = cost(o, "dense");
	o.sparse = ZW_SPARSE_BLOCKS;
	o.sparse_keep = 12;
	s = cost(o, "blocks, keep=12");
	assert_true(s.sim_ps * 4 < dense.sim_ps);
	assert_true(s.busy_ps[ZW_ENGINE_ATTN] * 8 < dense.busy_ps[ZW_ENGINE_ATTN]);
	/* Groups of a whole step read keys once for all of its rows, as dense attention does. */
	o.sparse_group = 512;
	o.sparse_keep = 24;
	s = cost(o, "blocks, keep=24, group=512");
	assert_true(s.sim_ps * 4 < dense.sim_ps && s.hbm_read * 10 < dense.hbm_read * 11);
	o.sparse_keep = o.sparse_group = 0;
	o.sparse = ZW_SPARSE_SLASH;
	o.sparse_vertical = 100;
	o.sparse_slash = 128;
	s = cost(o, "slash, vertical=100, slash=128");
	assert_true(s.sim_ps * 3 < dense.sim_ps * 2);
	assert_int_equal(zw_model_close(model), 0);
	assert_int_equal(zw_dev_close(small), 0);
	fixture_free(&fix);
	dev = full;
	model = was;
	fix = other;
	V = fix.s.v;
}

/* ---- options ---- */

static void refused(struct zw_ctx_options o, int code, const char *words)
{
	struct zw_error err = {""};
	struct zw_ctx *c = NULL;

	o.size = sizeof(o);
	assert_int_equal(zw_ctx_create(model, &o, &c, &err), code);
	expect_words(words, &err, words);
	assert_null(c);
}

static void test_options(void **state)
{
	struct zw_ctx_options o = {.context = LENGTH};
	struct zw_ctx_info info = {.size = sizeof(info)};
	struct zw_ctx *c;

	o.sparse = 4;
	refused(o, -EINVAL, "sparse 4");
	o.sparse = ZW_SPARSE_MODEL;
	refused(o, -EOPNOTSUPP, "sparse_attention_config|sparse_attention_config.json");
	o.sparse = ZW_SPARSE_SLASH;
	o.sparse_keep = 9;
	refused(o, -EINVAL, "another kind");
	o.sparse = ZW_SPARSE_BLOCKS;
	o.sparse_slash = 1;
	refused(o, -EINVAL, "another kind");
	o.sparse_slash = 0;
	o.sparse_group = 48;
	refused(o, -EINVAL, "sparse_group 48|32");
	o.sparse_group = 256;
	refused(o, -EINVAL, "128|256");
	o.sparse_group = 0;
	o.batch = 31;
	refused(o, -EINVAL, "31|32");
	o.batch = 0;
	o.sparse_keep = 3;
	refused(o, -EINVAL, "sparse_keep 3|64|4");
	o.sparse = o.sparse_keep = 0;
	o.sparse_from = 5;
	refused(o, -EINVAL, "another kind");
	o.sparse_from = 0;
	/* The default group: as many tokens as a step has at most. */
	o.sparse = ZW_SPARSE_SLASH;
	c = context(o);
	for (int i = 0; i < 2; i++) {
		struct zw_sched_options so = {
			.size = sizeof(so), .step_tokens = i ? 63 : 0, .prompt_tokens = i ? 0 : 63};
		struct zw_error err = {""};
		struct zw_sched *sched = NULL;

		assert_int_equal(zw_sched_create(c, &so, &sched, &err), -EINVAL);
		expect_words("steps", &err, "63|64");
		assert_null(sched);
	}
	zw_ctx_destroy(c);
	for (o.batch = 40; o.batch <= 100; o.batch += 60) {
		c = context(o);
		assert_int_equal(zw_ctx_get_info(c, &info), 0);
		assert_int_equal(info.sparse_group, o.batch == 40 ? 32 : 64);
		/* one group: blocks and columns of each head, and how many */
		assert_true(info.sparse_lists_bytes >=
				    4ull * fix.s.nq * (LENGTH / 32 + LENGTH + 2) &&
			    info.sparse_lists_bytes <=
				    4ull * fix.s.nq * (LENGTH / 32 + 1 + LENGTH + 2) + 4 * 256);
		zw_ctx_destroy(c);
	}
}

/* ---- tables of checkpoints ---- */

/* A table of all layers and heads, of which one entry, of a layer with attention, is other than the rest. */
static char *table(uint32_t layers, const char *entry, const char *odd)
{
	uint32_t last = fix.s.layers - 1;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	while (fix.s.linear >> last & 1)
		last--;
	for (uint32_t l = 0; l < layers; l++) {
		fprintf(f, "%s{", l ? "," : "[");
		for (uint32_t h = 0; h < fix.s.nq; h++)
			fprintf(f, "%s\"%u\":%s", h ? "," : "", h,
				odd && l == last && h == 1 ? odd : entry);
		fprintf(f, "}");
	}
	fprintf(f, "]");
	fclose(f);
	return text;
}

/* A model of the folder as it is now, in the place of the one that all others use. */
static struct zw_model *reopened(void)
{
	struct zw_model *was = model;
	struct zw_error err = {""};

	if (zw_model_open(dev, fix.dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
	return was;
}

static void closed(struct zw_model *was)
{
	assert_int_equal(zw_model_close(model), 0);
	model = was;
}

/* config.json with an object of Dual Chunk Attention, whose one chunk no text fills. */
static void write_config(const char *more)
{
	struct zw_error err;
	char path[512], *text, *at, *out;
	size_t len;

	fixture_write_config(&fix);
	if (!more)
		return;
	snprintf(path, sizeof(path), "%s/config.json", fix.dir);
	assert_int_equal(llm_file_read(path, 1 << 16, &text, &len, &err), 0);
	at = strstr(text, "\"vocab_size\"");
	assert_true(asprintf(&out,
			     "%.*s\"dual_chunk_attention_config\":{\"chunk_size\":4000,"
			     "\"local_size\":10,%s},%s",
			     (int)(at - text), text, more, at) > 0);
	scratch_text(fix.dir, "config.json", out);
	free(text);
	free(out);
}

static void write_side(const char *text)
{
	scratch_text(fix.dir, "sparse_attention_config.json", text);
}

#define HEAD(v, s) "[\"vertical_and_slash\"," #v "," #s ",1.0]"

static void test_table(void **state)
{
	struct zw_ctx_options o = kept(ZW_SPARSE_MODEL, 0), plain = kept(ZW_SPARSE_SLASH, 1);
	char *text_of = table(fix.s.layers, HEAD(100, 150), NULL), *in_config;
	struct zw_model *was;
	float *want, *x;
	uint64_t sparse;

	plain.sparse_vertical = 100;
	plain.sparse_slash = 150;
	want = pieces(plain, NULL, 0, NULL);
	write_side(text_of);
	was = reopened();
	/* Texts as short as this one are not sparse unless that is asked for. */
	x = pieces(o, NULL, 0, &sparse);
	assert_int_equal(sparse, 0);
	free(x);
	o.sparse_from = 1;
	x = pieces(o, NULL, 0, &sparse);
	assert_int_equal(sparse, LENGTH / GROUP * GROUP);
	assert_true(same(x, want, LENGTH));
	free(x);
	closed(was);
	free(want);
	/* One head of the last layer, and what is served for 30 columns. */
	plain.sparse_vertical = 130;
	want = pieces(plain, NULL, 0, NULL);
	free(text_of);
	text_of = table(fix.s.layers, HEAD(30, 150), NULL);
	write_side(text_of);
	was = reopened();
	x = pieces(o, NULL, 0, NULL);
	assert_true(same(x, want, LENGTH));
	free(x);
	closed(was);
	free(text_of);
	text_of = table(fix.s.layers, HEAD(30, 150), HEAD(40, 300));
	write_side(text_of);
	was = reopened();
	x = pieces(o, NULL, 0, NULL);
	assert_true(same(x, want, 128) && !same(x, want, LENGTH));
	closed(was);
	free(want);
	want = x;
	/* In config.json: before the file beside it, with a threshold and fewer last rows. */
	if (!fix.s.next) {
		assert_true(asprintf(&in_config,
				     "\"sparse_attention_threshold\":500,"
				     "\"sparse_attention_config\":%s",
				     text_of) > 0);
		write_config(in_config);
		write_side("{}");
		was = reopened();
		o.sparse_from = 0;
		x = pieces(o, NULL, 0, &sparse);
		/* steps of 128 tokens, from that on which ends behind 500 */
		assert_int_equal(sparse, LENGTH / GROUP * GROUP - 384);
		assert_true(!same(x, want, LENGTH));
		free(x);
		o.sparse_from = 1;
		x = pieces(o, NULL, 0, NULL);
		assert_true(same(x, want, LENGTH));
		free(x);
		closed(was);
		write_config("\"sparse_attention_enabled\":false");
		write_side(text_of);
		was = reopened();
		refused(o, -EOPNOTSUPP, "sparse_attention_enabled");
		closed(was);
		write_config("\"sparse_attention_last_q\":129");
		was = reopened();
		refused(o, -EBADMSG, "sparse_attention_last_q");
		closed(was);
		/* room for more than one chunk */
		write_config("\"sparse_attention_last_q\":9");
		was = reopened();
		o.context = 4000;
		o.sparse_from = 1;
		free(pieces(o, NULL, 0, &sparse));
		assert_int_equal(sparse, LENGTH / GROUP * GROUP);
		o.sparse_from = 0;
		o.context = LENGTH;
		x = pieces(o, NULL, 0, NULL);
		assert_true(!same(x, want, LENGTH));
		free(x);
		closed(was);
		write_config(NULL);
		free(in_config);
	}
	free(want);
	free(text_of);
}

static void test_bad_table(void **state)
{
	static const struct {
		const char *odd;
		int code;
		const char *words;
	} bad[] = {
		{"[\"block_sparse\",100,3,1]", -EOPNOTSUPP, "head 1|block_sparse"},
		{HEAD(-1, 5), -EBADMSG, "head 1"},
		{HEAD(1, 5.5), -EBADMSG, "head 1"},
		{HEAD(1, 67108865), -EBADMSG, "head 1"},
		{"[\"vertical_and_slash\",1]", -EBADMSG, "head 1"},
		{"7", -EBADMSG, "head 1"},
	};
	struct zw_ctx_options o = kept(ZW_SPARSE_MODEL, 0);
	struct zw_model *was;
	struct zw_ctx *c;
	char *t;

	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		bool layers = i == sizeof(bad) / sizeof(bad[0]);

		t = table(fix.s.layers + layers, HEAD(9, 9), layers ? NULL : bad[i].odd);
		write_side(t);
		free(t);
		/* nobody asks: it is not looked at */
		was = reopened();
		c = context(kept(ZW_SPARSE_SLASH, 3));
		zw_ctx_destroy(c);
		refused(o, layers ? -EBADMSG : bad[i].code,
			layers ? "sparse_attention_config.json|layers" : bad[i].words);
		closed(was);
	}
	write_side("{\"0\":");
	was = reopened();
	refused(o, -EBADMSG, "sparse_attention_config.json");
	closed(was);
	write_side("[]");
	was = reopened();
	refused(o, -EBADMSG, "sparse_attention_config.json");
	closed(was);
}

static int setup(void **state)
{
	int ret = open_all(state);
	const char *shape = getenv("ZW_TEST_SHAPE");
	struct shape s = fixture_shapes[shape ? atoi(shape) : 0];
	struct zw_error err = {""};

	/* Again, with room for longer texts. */
	assert_int_equal(zw_model_close(model), 0);
	fixture_free(&fix);
	s.context = 4096;
	fixture_make(&fix, s);
	fixture_write(&fix);
	if (zw_model_open(dev, fix.dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
	for (uint32_t i = 0; i < LENGTH; i++)
		text[i] = pick(V);
	return ret;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything), cmocka_unit_test(test_some),
		cmocka_unit_test(test_cuts),       cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_requests),   cmocka_unit_test(test_drafts),
		cmocka_unit_test(test_cost),       cmocka_unit_test(test_options),
		cmocka_unit_test(test_table),      cmocka_unit_test(test_bad_table),
	};

	return cmocka_run_group_tests_name("sparse", tests, setup, close_all);
}
