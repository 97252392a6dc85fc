// SPDX-License-Identifier: MIT
/*
 * Contexts whose delta rule goes in chunks: what is the same, to the bit, however a text comes in, and what is
 * near; drafts, the prefix cache, schedulers; what is refused.
 */
#include "ctx_test.h"

#include <math.h>

#define LONG 200

static void random_ids(uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ids[i] = pick(V);
}

static struct zw_ctx *chunked(struct zw_ctx_options o)
{
	o.delta_chunked = 1;
	return context(o);
}

/* Logits of every token of a text, in one step, in chunks or not. */
static float *whole(const uint32_t *ids, uint32_t n, uint32_t in_chunks)
{
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.batch = 300, .outputs = 300, .delta_chunked = in_chunks});
	float *x = malloc((size_t)n * V * sizeof(*x));
	struct zw_eval_options opt = {.size = sizeof(opt), .all_logits = x};
	struct zw_error err = {""};

	if (zw_ctx_eval(c, sequence(c), ids, n, &opt, NULL, &err))
		fail_msg("%s", err.msg);
	zw_ctx_destroy(c);
	return x;
}

/*
 * What a sequence goes on from. Logits hide much: the head's input is BF16, so of the rows of a text that
 * was computed in another order most have the same bits.
 */
static char *state_of(struct zw_ctx *c, uint32_t seq)
{
	uint32_t n = (uint32_t)zw_seq_length(c, seq);
	char *x = malloc(c->needs.slab_bytes);
	struct zw_copier *cp;

	assert_int_equal(zw_copier_create(c->m->vm, NULL, &cp), 0);
	assert_int_equal(zw_copier_read(cp, x, llm_slab_va(c, seq, n), c->needs.slab_bytes, NULL),
			 0);
	assert_int_equal(zw_copier_flush(cp, ZW_FOREVER), 0);
	zw_copier_destroy(cp);
	return x;
}

static char *whole_state(const uint32_t *ids, uint32_t n, uint32_t in_chunks)
{
	struct zw_ctx *c =
		context((struct zw_ctx_options){.batch = 300, .delta_chunked = in_chunks});
	uint32_t seq = sequence(c);
	char *x;

	append(c, seq, ids, n);
	x = state_of(c, seq);
	zw_ctx_destroy(c);
	return x;
}

static void expect_state(const char *what, uint32_t n, struct zw_ctx *c, uint32_t seq,
			 const char *want, bool same)
{
	char *x = state_of(c, seq);

	if (!memcmp(x, want, c->needs.slab_bytes) != same)
		fail_msg("%s, %u: the state has %s bits", what, n, same ? "other" : "the same");
	free(x);
}

static bool same_row(const float *x, const float *want, uint32_t row)
{
	return !memcmp(x, want + (size_t)row * V, V * sizeof(*x));
}

/* Of logits, which are about 1 each. */
static double distance(const float *x, const float *want, uint32_t row)
{
	double sum = 0;

	for (uint32_t v = 0; v < V; v++) {
		double d = (double)x[v] - (double)want[(size_t)row * V + v];

		sum += d * d;
	}
	return sqrt(sum / V);
}

/*
 * Sums in another order move logits by some 1e-6; where that makes a rounding to BF16, of a query, a key or a
 * value, go the other way, by some 1e-3. Another expert would be 0.1.
 */
#define NEAR 1e-2

static void expect_row(const char *what, uint32_t n, const float *x, const float *want,
		       uint32_t row)
{
	if (!same_row(x, want, row))
		fail_msg("%s, %u: row %u has other bits, %g away", what, n, row,
			 distance(x, want, row));
}

static void expect_near(const char *what, uint32_t n, const float *x, const float *want,
			uint32_t row)
{
	double d = distance(x, want, row);

	if (!(d <= NEAR))
		fail_msg("%s, %u: row %u is %g away", what, n, row, d);
}

/* ---- one text ---- */

/* Against the form row by row: the same numbers, not the same bits; short texts are not touched. */
static void test_near(void **state)
{
	uint32_t ids[LONG], differ = 0;
	double worst = 0;
	float *a, *b;

	random_ids(ids, LONG);
	a = whole(ids, LONG, 0);
	b = whole(ids, LONG, 1);
	for (uint32_t i = 0; i < LONG; i++) {
		expect_near("in chunks", LONG, b + (size_t)i * V, a, i);
		worst = fmax(worst, distance(b + (size_t)i * V, a, i));
		differ += !same_row(b + (size_t)i * V, a, i);
	}
	print_message("# %u of %u rows have other bits, by up to %.2g\n", differ, LONG, worst);
	free(b);
	b = NULL;
	for (uint32_t n = 31; n <= 33; n++) {
		struct zw_ctx *c = chunked((struct zw_ctx_options){.batch = 64});
		uint32_t seq = sequence(c);
		char *plain = whole_state(ids, n, 0);

		append(c, seq, ids, n);
		expect_state("a text of", n, c, seq, plain, n < 32);
		free(plain);
		zw_ctx_destroy(c);
	}
	b = whole(ids, 31, 1);
	assert_memory_equal(a, b, 31 * V * sizeof(*a));
	free(a);
	free(b);
}

/* The library cuts at ends of chunks: steps of any size have the bits of one. */
static void test_steps(void **state)
{
	static const uint32_t batches[] = {64, 65, 100, 127, 128, 199};
	uint32_t ids[LONG];
	float *want, *x = malloc((size_t)LONG * V * sizeof(*x));
	char *state_want;

	random_ids(ids, LONG);
	want = whole(ids, LONG, 1);
	state_want = whole_state(ids, LONG, 1);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(batches); i++) {
		struct zw_ctx *c = chunked(
			(struct zw_ctx_options){.batch = batches[i], .outputs = batches[i]});
		struct zw_eval_options opt = {.size = sizeof(opt), .all_logits = x};
		struct zw_error err = {""};
		uint32_t seq = sequence(c);

		if (zw_ctx_eval(c, seq, ids, LONG, &opt, NULL, &err))
			fail_msg("%s", err.msg);
		for (uint32_t r = 0; r < LONG; r++)
			expect_row("steps", batches[i], x + (size_t)r * V, want, r);
		expect_state("steps", batches[i], c, seq, state_want, true);
		zw_ctx_destroy(c);
	}
	free(x);
	free(state_want);
	free(want);
}

/* The same with sparse attention in the other layers, whose groups texts are cut at, too. */
static void test_sparse(void **state)
{
	static const uint32_t groups[] = {32, 64, 128}, batches[] = {128, 150, 191, LONG};
	uint32_t ids[LONG];

	random_ids(ids, LONG);
	for (size_t g = 0; g < ZW_ARRAY_SIZE(groups); g++) {
		char *want = NULL;

		for (size_t i = 0; i < ZW_ARRAY_SIZE(batches); i++) {
			struct zw_ctx *c =
				chunked((struct zw_ctx_options){.batch = batches[i],
								.sparse = ZW_SPARSE_BLOCKS,
								.sparse_group = groups[g],
								.sparse_from = 1,
								.sparse_keep = groups[g] / 32 + 2});
			uint32_t seq = sequence(c);

			append(c, seq, ids, LONG);
			if (!want)
				want = state_of(c, seq);
			expect_state("groups", groups[g], c, seq, want, true);
			zw_ctx_destroy(c);
		}
		free(want);
	}
}

/* Cut by the caller: bits at ends of chunks, and of all rows that a cut does not stand before; else near. */
static void test_cuts(void **state)
{
	static const uint32_t cuts[] = {1,  2,  3,  4,  5,  31, 32,  33,  62,
					63, 64, 65, 66, 96, 98, 128, 130, 199};
	struct zw_ctx *c = chunked((struct zw_ctx_options){.batch = LONG});
	uint32_t ids[LONG], seq = sequence(c);
	char *state_want;
	float *want;

	random_ids(ids, LONG);
	want = whole(ids, LONG, 1);
	state_want = whole_state(ids, LONG, 1);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(cuts); i++) {
		uint32_t cut = cuts[i], rows = cut % 64;
		const float *x = append(c, seq, ids, cut);

		/* Its last chunk is whole, or long enough, or it is none of the text's either. */
		if (!rows || rows >= 32 || cut >= LONG - LONG % 64)
			expect_row("before a cut", cut, x, want, cut - 1);
		else
			expect_near("before a cut", cut, x, want, cut - 1);
		x = append(c, seq, ids + cut, LONG - cut);
		if (!rows || cut >= LONG - LONG % 64)
			expect_row("behind a cut", cut, x, want, LONG - 1);
		else
			expect_near("behind a cut", cut, x, want, LONG - 1);
		expect_state("behind a cut", cut, c, seq, state_want,
			     !rows || cut >= LONG - LONG % 64);
		assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
	}
	free(want);
	free(state_want);
	zw_ctx_destroy(c);
}

/* The same cuts, the same bits: token by token it is the form without chunks. */
static void test_one_by_one(void **state)
{
	struct zw_ctx *c = chunked((struct zw_ctx_options){.batch = 64});
	uint32_t ids[100], seq = sequence(c);
	char *state_want;
	float *want;

	random_ids(ids, 100);
	want = whole(ids, 100, 0);
	state_want = whole_state(ids, 100, 0);
	for (uint32_t i = 0; i < 100; i++)
		expect_row("token", i, append(c, seq, ids + i, 1), want, i);
	expect_state("tokens", 100, c, seq, state_want, true);
	free(want);
	free(state_want);
	zw_ctx_destroy(c);
}

/* ---- many sequences ---- */

/* A text beside another that is decoded, their rows taking turns in the batch: both as alone. */
static void test_packed(void **state)
{
	enum { N = 100, DECODED = 3 };
	struct zw_ctx *c =
		chunked((struct zw_ctx_options){.batch = N + 2, .outputs = N + 2, .max_seqs = 3});
	uint32_t ids[2 * N], more[DECODED], a = sequence(c), b = sequence(c), d = sequence(c);
	struct zw_batch_token t[N + 2];
	float *want, *other;
	uint64_t step;

	random_ids(ids, 2 * N);
	random_ids(more, DECODED);
	want = whole(ids, N, 1);
	append(c, b, ids + N, 70);
	append(c, d, ids + N, 70);
	for (uint32_t k = 0; k < DECODED; k++) {
		uint32_t n = 0, at = 0;

		for (uint32_t i = 0; i < (k ? 1 : N); i++) {
			if (i == N / 2 || k) {
				at = n;
				t[n++] =
					(struct zw_batch_token){more[k], 70 + k, b, ZW_WANT_LOGITS};
			}
			if (!k)
				t[n++] = (struct zw_batch_token){ids[i], i, a, ZW_WANT_LOGITS};
		}
		step = submitted(c, t, n);
		waited(c, step);
		other = malloc(V * sizeof(*other));
		memcpy(other, logits_of(c, step, at), V * sizeof(*other));
		for (uint32_t i = 0; i < n && !k; i++)
			if (t[i].seq == a)
				expect_row("packed", i, logits_of(c, step, i), want, t[i].pos);
		expect_row("decoded", k, append(c, d, more + k, 1), other, 0);
		free(other);
	}
	free(want);
	zw_ctx_destroy(c);
}

/* Going back into a chunk, and forks: as a text that ends there. */
static void test_rewind(void **state)
{
	struct zw_ctx *c =
		chunked((struct zw_ctx_options){.batch = 128, .rewind = 3, .max_seqs = 2});
	uint32_t ids[100], seq = sequence(c), fork;
	float *want = malloc(V * sizeof(*want));
	char *state_want;

	random_ids(ids, 100);
	for (uint32_t n = 97; n <= 100; n++) {
		append(c, seq, ids, n);
		memcpy(want, append(c, seq, ids, 1), V * sizeof(*want));
		state_want = state_of(c, seq);
		assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
		append(c, seq, ids, 100);
		assert_int_equal(zw_seq_fork(c, seq, n, &fork), 0);
		expect_row("fork", n, append(c, fork, ids, 1), want, 0);
		expect_state("fork", n, c, fork, state_want, true);
		assert_int_equal(zw_seq_remove(c, fork), 0);
		assert_int_equal(zw_seq_truncate(c, seq, n), 0);
		expect_row("truncate", n, append(c, seq, ids, 1), want, 0);
		expect_state("truncate", n, c, seq, state_want, true);
		assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
		free(state_want);
	}
	free(want);
	zw_ctx_destroy(c);
}

/* ---- drafts ---- */

struct text {
	uint32_t id[64];
	size_t n;
	struct zw_generate_result r;
};

static int on_token(void *opaque, uint32_t id)
{
	struct text *t = opaque;

	t->id[t->n++] = id;
	return 0;
}

static struct text generated(struct zw_model *m, uint32_t draft, uint32_t tokens, uint32_t batch,
			     const uint32_t *prompt, uint32_t n)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = n + 64,
				     .batch = batch,
				     .rewind = tokens,
				     .outputs = 1 + tokens,
				     .draft = draft == ZW_DRAFT_MTP ? tokens : 0,
				     .delta_chunked = 1};
	struct zw_generate_params p = {.size = sizeof(p),
				       .flags = ZW_GENERATE_IGNORE_STOP,
				       .max_tokens = 60,
				       .token = on_token,
				       .draft = draft,
				       .draft_tokens = tokens};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct text t = {.r = {.size = sizeof(t.r)}};
	struct zw_error err = {""};
	struct zw_ctx *c;

	p.opaque = &t;
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, &err), 0);
	if (zw_ctx_create(m, &opt, &c, &err) || zw_seq_create(c, &p.seq) ||
	    zw_generate(c, &p, prompt, n, &t.r, &err))
		fail_msg("%s", err.msg);
	zw_ctx_destroy(c);
	zw_sampler_close(p.sampler);
	return t;
}

/* Drafts change no token, whatever the steps of the prompt. */
static void test_drafts(void **state)
{
	struct zw_model_options opt = {.size = sizeof(opt), .flags = ZW_MODEL_MTP};
	uint32_t ids[150];
	struct zw_error err = {""};
	struct zw_model *m;
	uint64_t drafted = 0, accepted = 0;

	if (zw_model_open(dev, fix.dir, &opt, &m, &err))
		fail_msg("%s", err.msg);
	for (uint32_t i = 0; i < 150; i++)
		ids[i] = (i % 6 * 5 + i / 40) % V;
	for (uint32_t n = 90; n <= 150; n += 20) {
		struct text plain = generated(m, ZW_DRAFT_NONE, 0, 128, ids, n);

		for (uint32_t draft = ZW_DRAFT_MTP; draft <= ZW_DRAFT_NGRAM; draft++)
			for (uint32_t k = 1; k <= 5; k += 2) {
				struct text t = generated(m, draft, k, 64 + n / 3, ids, n);

				drafted += t.r.drafted_tokens;
				accepted += t.r.accepted_tokens;
				if (t.n != plain.n || memcmp(t.id, plain.id, 4 * t.n))
					fail_msg("draft %u, %u behind %u: other tokens", draft, k,
						 n);
			}
	}
	print_message("# %llu of %llu drafts accepted\n", (unsigned long long)accepted,
		      (unsigned long long)drafted);
	assert_true(accepted && accepted < drafted);
	assert_int_equal(zw_model_close(m), 0);
}

/* ---- the prefix cache ---- */

static uint64_t hits(const struct zw_ctx *c)
{
	struct zw_ctx_stats s = {.size = sizeof(s)};

	assert_int_equal(zw_ctx_get_stats(c, &s), 0);
	return s.prefix_hits;
}

/* What was computed as a text and is taken has the bits of computing it: states are kept where chunks end. */
static void test_prefix(void **state)
{
	struct zw_ctx *c = chunked((struct zw_ctx_options){.batch = 128,
							   .max_seqs = 3,
							   .prefix_cache = 1,
							   .prefix_states = 8,
							   .prefix_state_tokens = 64});
	static const uint32_t lengths[] = {LONG, 180, 129, 128, 97, 70, 60};
	static const uint32_t taken[] = {192, 128, 128, 0, 0, 64, 0};
	uint32_t ids[LONG], other[LONG], seq;
	float *want;

	random_ids(ids, LONG);
	memcpy(other, ids, sizeof(ids));
	random_ids(other + 150, LONG - 150);
	want = whole(ids, LONG, 1);
	seq = sequence(c);
	expect_row("cold", LONG, append(c, seq, ids, LONG), want, LONG - 1);
	assert_int_equal(zw_seq_remove(c, seq), 0);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(lengths); i++) {
		uint64_t before = hits(c);
		uint32_t n = lengths[i];
		float *short_want = whole(ids, n, 1);
		char *state_want = whole_state(ids, n, 1);

		seq = sequence(c);
		expect_row("hit", n, append(c, seq, ids, n), short_want, n - 1);
		expect_state("hit", n, c, seq, state_want, true);
		free(state_want);
		if (hits(c) - before != taken[i])
			fail_msg("%u tokens: %llu taken, not %u", n,
				 (unsigned long long)(hits(c) - before), taken[i]);
		assert_int_equal(zw_seq_remove(c, seq), 0);
		free(short_want);
	}
	free(want);
	want = whole(other, LONG, 1);
	seq = sequence(c);
	expect_row("shared beginning", 128, append(c, seq, other, LONG), want, LONG - 1);
	free(want);
	want = NULL;
	{
		char *state_want = whole_state(other, LONG, 1);

		expect_state("shared beginning", 128, c, seq, state_want, true);
		free(state_want);
	}
	zw_ctx_destroy(c);
}

/* ---- schedulers ---- */

struct job {
	uint32_t prompt[LONG], n, got[40], num, ends;
	uint64_t seen[41]; /* hashes of the logits of each choice */
	uint32_t num_seen;
	struct zw_sampler *sampler;
};

/* Sees all logits of a choice; nothing is changed. */
static int look(void *opaque, float *logits, size_t n)
{
	struct job *j = opaque;
	uint64_t *seen = &j->seen[j->num_seen++];

	assert_true(j->num_seen <= ZW_ARRAY_SIZE(j->seen));
	for (size_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, &logits[i], sizeof(bits));
		*seen = (*seen ^ bits) * 0x100000001b3ull;
	}
	return 0;
}

static int job_token(void *opaque, uint64_t request, uint32_t id)
{
	struct job *j = opaque;

	j->got[j->num++] = id;
	return 0;
}

static int job_token_alone(void *opaque, uint32_t id)
{
	return job_token(opaque, 0, id);
}

static void job_done(void *opaque, uint64_t request, uint32_t finish, int error)
{
	((struct job *)opaque)->ends++;
}

static void open_sampler(struct job *j)
{
	struct zw_sampling_params sp = {.size = sizeof(sp),
					.top_p = 1,
					.temperature = 1,
					.seed = j->n,
					.mask = look,
					.mask_opaque = j};
	struct zw_error err = {""};

	assert_int_equal(zw_sampler_open(&sp, &j->sampler, &err), 0);
}

static void job_alone(const struct job *j)
{
	struct zw_ctx *c = chunked((struct zw_ctx_options){.batch = 100});
	struct zw_generate_result r = {.size = sizeof(r)};
	struct job a = *j;
	struct zw_generate_params p = {.size = sizeof(p),
				       .flags = ZW_GENERATE_IGNORE_STOP,
				       .seq = sequence(c),
				       .max_tokens = 40,
				       .token = job_token_alone,
				       .opaque = &a};
	struct zw_error err = {""};

	a.num = 0;
	a.num_seen = 0;
	memset(a.seen, 0, sizeof(a.seen));
	open_sampler(&a);
	p.sampler = a.sampler;
	if (zw_generate(c, &p, a.prompt, a.n, &r, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(j->num, a.num);
	if (memcmp(j->got, a.got, sizeof(a.got)))
		fail_msg("a prompt of %u: other tokens than alone", j->n);
	assert_true(a.num_seen >= 40 && j->num_seen >= 40);
	if (memcmp(j->seen, a.seen, 40 * sizeof(a.seen[0])))
		fail_msg("a prompt of %u: other logits than alone", j->n);
	zw_sampler_close(a.sampler);
	zw_ctx_destroy(c);
}

/* Pieces of prompts end with chunks: requests get the tokens that they get alone. */
static void test_sched(void **state)
{
	enum { JOBS = 12 };
	struct zw_ctx *c =
		chunked((struct zw_ctx_options){.context = 256, .batch = 150, .max_seqs = JOBS});
	struct zw_sched_options so = {.size = sizeof(so), .prompt_tokens = 140};
	struct job *jobs = calloc(JOBS, sizeof(*jobs));
	struct zw_error err = {""};
	struct zw_sched *s;
	uint32_t added = 0;
	int left;

	assert_int_equal(zw_sched_create(c, &so, &s, &err), 0);
	do {
		for (uint32_t k = 0; k < 2 && added < JOBS; k++) {
			struct job *j = &jobs[added++];
			struct zw_request_params p = {.size = sizeof(p),
						      .flags = ZW_GENERATE_IGNORE_STOP,
						      .max_tokens = 40,
						      .token = job_token,
						      .done = job_done,
						      .opaque = j};
			uint64_t id;

			j->n = 30 + pick(LONG - 30);
			random_ids(j->prompt, j->n);
			open_sampler(j);
			p.sampler = j->sampler;
			if (zw_sched_add(s, &p, j->prompt, j->n, &id, &err))
				fail_msg("%s", err.msg);
		}
		left = zw_sched_step(s, &err);
		if (left < 0)
			fail_msg("%s", err.msg);
	} while (left || added < JOBS);
	for (uint32_t i = 0; i < JOBS; i++) {
		assert_int_equal(jobs[i].ends, 1);
		job_alone(&jobs[i]);
		zw_sampler_close(jobs[i].sampler);
	}
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
	free(jobs);
}

/* ---- options ---- */

static void test_options(void **state)
{
	static const struct {
		struct zw_ctx_options o;
		const char *words;
	} bad[] = {
		{{.delta_chunked = 2}, "delta_chunked 2|0 to 1"},
		{{.delta_chunked = 1, .batch = 63}, "delta_chunked|batch of 63|64"},
		{{.delta_chunked = 1, .prefix_state_tokens = 96},
		 "delta_chunked|prefix_state_tokens 96|64"},
		{{.delta_chunked = 1, .sparse = ZW_SPARSE_BLOCKS, .sparse_group = 96},
		 "delta_chunked|sparse_group 96|64"},
	};
	struct shape s = fixture_shapes[0];
	uint32_t ids[100];
	struct zw_error err = {""};
	struct zw_model *recurrent = model;
	struct fixture f;
	struct zw_ctx *c;
	float *a, *b;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(bad); i++) {
		struct zw_ctx_options o = bad[i].o;

		o.size = sizeof(o);
		if (zw_ctx_create(model, &o, &c, &err) != -EINVAL)
			fail_msg("%s: taken", bad[i].words);
		expect_words("options", &err, bad[i].words);
	}
	/* A whole context in one step needs no longer one. */
	c = chunked((struct zw_ctx_options){.context = 40});
	zw_ctx_destroy(c);
	/* Where there is no delta rule it is no matter. */
	fixture_make(&f, s);
	fixture_write(&f);
	if (zw_model_open(dev, f.dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
	V = s.v;
	random_ids(ids, 100);
	a = whole(ids, 100, 0);
	b = whole(ids, 100, 1);
	assert_memory_equal(a, b, 100 * V * sizeof(*a));
	free(a);
	free(b);
	assert_int_equal(zw_model_close(model), 0);
	fixture_free(&f);
	model = recurrent;
	V = fix.s.v;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_near),       cmocka_unit_test(test_steps),
		cmocka_unit_test(test_sparse),     cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_one_by_one), cmocka_unit_test(test_packed),
		cmocka_unit_test(test_rewind),     cmocka_unit_test(test_drafts),
		cmocka_unit_test(test_prefix),     cmocka_unit_test(test_sched),
		cmocka_unit_test(test_options),
	};

	setenv("ZW_TEST_SHAPE", "8", 0);
	return cmocka_run_group_tests_name("delta-chunked", tests, open_all, close_all);
}
