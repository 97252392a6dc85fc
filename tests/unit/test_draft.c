// SPDX-License-Identifier: MIT
/*
 * Generating with drafts, on sim: of the MTP head and of what followed before, the tokens, the end and the
 * sequence behind it are those without.
 */
#include "dev_test.h"
#include "llm_fixture.h"

#include <math.h>

#include "ctx.h"
#include "share.h"
#include "siphash.h"

static struct zw_dev *dev;
static uint64_t drafted, accepted; /* in all */
static uint64_t forbidden;         /* times that the mask was at work */

struct text {
	uint32_t id[64];
	size_t n, stop_at; /* the callback ends it there; 0: never */
	enum zw_finish finish;
	uint32_t length; /* of the sequence behind it */
	float *logits;   /* behind tokens that follow then */
	uint64_t seen;   /* hash of the logits that a mask at work was given */
	struct zw_generate_result r;
};

static int on_token(void *opaque, uint32_t id)
{
	struct text *t = opaque;

	t->id[t->n++] = id;
	return t->n == t->stop_at;
}

static struct zw_model *open_model(const struct fixture *f, uint32_t flags)
{
	struct zw_model_options opt = {.size = sizeof(opt), .flags = flags};
	struct zw_error err = {""};
	struct zw_model *m;

	if (zw_model_open(dev, f->dir, &opt, &m, &err))
		fail_msg("%s", err.msg);
	return m;
}

struct how {
	uint32_t draft, tokens, batch, steps;
	uint64_t max_tokens;
	size_t stop_at;
	bool masked;
};

/* After some tokens half of what may come is forbidden, after the others nothing. */
static int mask_idle(void *opaque)
{
	const struct text *t = opaque;

	return !t->n || t->id[t->n - 1] % 3;
}

static int mask(void *opaque, float *logits, size_t n)
{
	struct text *t = opaque;
	const uint64_t key[2] = {t->seen, 1};

	if (mask_idle(opaque))
		return 0;
	t->seen = siphash(key, logits, n * sizeof(*logits));
	for (size_t i = 0; i < n; i++) {
		if ((i + t->n) % 2)
			logits[i] = -INFINITY;
	}
	forbidden++;
	return 0;
}

/* Generates, and goes on with three tokens more, so that what was left of the sequence is seen. */
static struct text generated(struct zw_model *m, struct how how, const uint32_t *prompt, size_t n)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = 60,
				     .batch = how.batch ? how.batch : 60,
				     .steps = how.steps,
				     .rewind = how.tokens ? how.tokens : how.steps != 1,
				     .outputs = 1 + how.tokens,
				     .draft = how.draft == ZW_DRAFT_MTP ? how.tokens : 0};
	struct zw_generate_params p = {.size = sizeof(p),
				       .max_tokens = how.max_tokens,
				       .token = on_token,
				       .draft = how.draft,
				       .draft_tokens = how.tokens};
	struct zw_eval_options eval = {.size = sizeof(eval), .want = ZW_WANT_LOGITS};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct text t = {.r = {.size = sizeof(t.r)}, .stop_at = how.stop_at};
	struct zw_output out = {.size = sizeof(out)};
	const uint32_t more[3] = {1, 2, 3}, *ids;
	struct zw_error err = {""};
	struct zw_ctx *c;

	p.opaque = &t;
	if (how.masked) {
		sp.mask = mask;
		sp.mask_idle = mask_idle;
		sp.mask_opaque = &t;
	}
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, &err), 0);
	if (zw_ctx_create(m, &opt, &c, &err) || zw_seq_create(c, &p.seq) ||
	    zw_generate(c, &p, prompt, n, &t.r, &err))
		fail_msg("%s", err.msg);
	t.finish = t.r.finish;
	t.length = (uint32_t)zw_seq_length(c, p.seq);
	/* The sequence knows its ids, drafted ones among them. */
	assert_int_equal(zw_seq_tokens(c, p.seq, &ids), t.length);
	for (uint32_t i = 0; i < t.length; i++)
		assert_int_equal(ids[i], i < n ? prompt[i] : t.id[i - n]);
	t.logits = malloc(m->cfg.vocab_size * sizeof(float));
	if (t.length + 3 <= 60) {
		if (zw_ctx_eval(c, p.seq, more, 3, &eval, &out, &err))
			fail_msg("%s", err.msg);
		memcpy(t.logits, out.logits, m->cfg.vocab_size * sizeof(float));
	} else {
		memset(t.logits, 0, m->cfg.vocab_size * sizeof(float));
	}
	zw_ctx_destroy(c);
	zw_sampler_close(p.sampler);
	return t;
}

/* With each number of drafts at a time from `how` on to `most`, as without any; of a share the first, and every third. */
static void expect_same(struct zw_model *m, struct how how, uint32_t most, const uint32_t *prompt,
			size_t n)
{
	struct how plain = how;
	struct text a, b;

	plain.draft = plain.tokens = 0;
	plain.steps = how.masked;
	a = generated(m, plain, prompt, n);
	assert_int_equal(a.r.drafted_tokens, 0);
	for (uint32_t first = how.tokens; how.tokens <= most; how.tokens++) {
		if (!in_share(how.tokens - first))
			continue;
		b = generated(m, how, prompt, n);
		if (a.n != b.n || memcmp(a.id, b.id, a.n * sizeof(a.id[0])))
			fail_msg("draft %u, %u: other tokens", how.draft, how.tokens);
		if (a.finish != b.finish || a.length != b.length)
			fail_msg("draft %u, %u: end %d at %u, not %d at %u", how.draft, how.tokens,
				 b.finish, b.length, a.finish, a.length);
		/* Each choice once, and by its own logits. */
		if (a.seen != b.seen)
			fail_msg("draft %u, %u: the mask has seen other logits", how.draft,
				 how.tokens);
		assert_memory_equal(a.logits, b.logits, m->cfg.vocab_size * sizeof(float));
		assert_true(b.r.accepted_tokens <= b.r.drafted_tokens);
		drafted += b.r.drafted_tokens;
		accepted += b.r.accepted_tokens;
		free(b.logits);
	}
	free(a.logits);
}

/* A text that says the same again and again, and one that does not. */
static void prompts(uint32_t v, uint32_t again[18], uint32_t other[7])
{
	for (uint32_t i = 0; i < 18; i++)
		again[i] = (i % 6 * 5 + 2) % v;
	for (uint32_t i = 0; i < 7; i++)
		other[i] = (i * i * 3 + 1) % v;
}

static void same_with(const struct shape *s, uint32_t draft)
{
	static const uint64_t lengths[] = {0, 1, 2, 3, 4, 9, 25, 64};
	uint32_t again[18], other[7];
	struct fixture f;
	struct zw_model *m;

	drafted = accepted = 0;
	fixture_make(&f, *s);
	fixture_make_easy(&f);
	fixture_write(&f);
	m = open_model(&f, draft == ZW_DRAFT_MTP ? ZW_MODEL_MTP : 0);
	prompts(s->v, again, other);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct how how = {.draft = draft, .tokens = 1, .max_tokens = lengths[i]};

		expect_same(m, how, 4, again, 18);
		expect_same(m, how, 4, other, 7);
	}
	/* Ended by the callback at each token. */
	for (size_t i = 1; i <= 12; i++)
		expect_same(
			m,
			(struct how){.draft = draft, .tokens = 1, .max_tokens = 64, .stop_at = i},
			4, again, 18);
	/* Some were right and some were wrong, else this has shown little. */
	if (!accepted || accepted == drafted)
		fail_msg("draft %u: %llu of %llu accepted", draft, (unsigned long long)accepted,
			 (unsigned long long)drafted);
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

/* A mask that comes and goes is kept to, whether the device is ahead, drafts are checked or neither. */
static void masked_with(const struct shape *s, uint32_t draft)
{
	uint32_t again[18], other[7];
	struct fixture f;
	struct zw_model *m;

	drafted = accepted = forbidden = 0;
	fixture_make(&f, *s);
	fixture_make_easy(&f);
	fixture_write(&f);
	m = open_model(&f, draft == ZW_DRAFT_MTP ? ZW_MODEL_MTP : 0);
	prompts(s->v, again, other);
	for (uint64_t max = 1; max <= 40; max += 13) {
		struct how how = {.draft = draft, .max_tokens = max, .masked = true};

		expect_same(m, how, 4, again, 18);
		expect_same(m, how, 4, other, 7);
	}
	assert_true(forbidden);
	if (!accepted || accepted == drafted)
		fail_msg("draft %u: %llu of %llu accepted", draft, (unsigned long long)accepted,
			 (unsigned long long)drafted);
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

static void test_masked(void **state)
{
	masked_with(&fixture_shapes[0], ZW_DRAFT_NGRAM);
	masked_with(&fixture_shapes[8], ZW_DRAFT_NGRAM);
	masked_with(&fixture_shapes[8], ZW_DRAFT_MTP);
}

static void test_ngram(void **state)
{
	same_with(&fixture_shapes[0], ZW_DRAFT_NGRAM);
	same_with(&fixture_shapes[8], ZW_DRAFT_NGRAM);
}

static void test_mtp(void **state)
{
	same_with(&fixture_shapes[8], ZW_DRAFT_MTP);
	same_with(&fixture_shapes[10], ZW_DRAFT_MTP);
	same_with(&fixture_shapes[11], ZW_DRAFT_MTP);
}

/* The model's stop token ends a text in the middle of what was drafted. */
static void test_stop(void **state)
{
	uint32_t again[18], other[7], ends = 0;
	struct text t;
	struct fixture f;
	struct zw_model *m;

	fixture_make(&f, fixture_shapes[8]);
	fixture_make_easy(&f);
	fixture_write(&f);
	m = open_model(&f, ZW_MODEL_MTP);
	prompts(f.s.v, again, other);
	t = generated(m, (struct how){.max_tokens = 30}, again, 18);
	free(t.logits);
	for (size_t i = 0; i < t.n; i++) {
		m->cfg.stop[0] = t.id[i];
		m->cfg.num_stop = 1;
		for (uint32_t d = ZW_DRAFT_MTP; d <= ZW_DRAFT_NGRAM; d++)
			expect_same(m, (struct how){.draft = d, .tokens = 1, .max_tokens = 30}, 3,
				    again, 18);
		ends++;
	}
	assert_true(ends > 10);
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

/* What the head has behind the last token of a prompt that is computed in steps of so many tokens. */
static void read_hidden(struct zw_model *m, uint32_t batch, const uint32_t *ids, uint32_t n,
			float *hidden)
{
	struct zw_ctx_options opt = {.size = sizeof(opt), .batch = batch, .draft = 1};
	struct zw_eval_options eval = {.size = sizeof(eval), .want = ZW_WANT_ARGMAX};
	uint64_t bytes = 4ull * m->cfg.hidden_size;
	struct zw_error err = {""};
	uint32_t seq, id, row;
	struct zw_copier *cp;
	struct zw_ctx *c;

	if (zw_ctx_create(m, &opt, &c, &err) || zw_seq_create(c, &seq) ||
	    zw_ctx_eval(c, seq, ids, n, &eval, NULL, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(
		llm_mtp_draft(c, c->last_step, llm_step_tokens(c, c->last_step) - 1, &id, &row), 0);
	assert_int_equal(zw_copier_create(m->vm, NULL, &cp), 0);
	assert_int_equal(
		zw_copier_read(cp, hidden, c->act.va + c->a.mtp + row * bytes, bytes, NULL), 0);
	assert_int_equal(zw_copier_flush(cp, ZW_FOREVER), 0);
	zw_copier_destroy(cp);
	zw_ctx_destroy(c);
}

/* However the prompt is cut, the head has seen the same. */
static void test_cuts(void **state)
{
	uint32_t again[18], other[7];
	float whole[64], cut[64];
	struct fixture f;
	struct zw_model *m;

	fixture_make(&f, fixture_shapes[8]);
	fixture_write(&f);
	m = open_model(&f, ZW_MODEL_MTP);
	prompts(f.s.v, again, other);
	read_hidden(m, 18, again, 18, whole);
	for (uint32_t batch = 2; batch < 18; batch++) {
		read_hidden(m, batch, again, 18, cut);
		assert_memory_equal(whole, cut, f.s.h * sizeof(*cut));
	}
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

static void expect_params(struct zw_model *m, struct zw_ctx_options opt, uint32_t draft,
			  uint32_t tokens, const char *words)
{
	struct zw_generate_params p = {
		.size = sizeof(p), .max_tokens = 3, .draft = draft, .draft_tokens = tokens};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_error err = {""};
	const uint32_t id = 1;
	struct zw_ctx *c;

	opt.size = sizeof(opt);
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, &err), 0);
	if (zw_ctx_create(m, &opt, &c, &err) || zw_seq_create(c, &p.seq))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_generate(c, &p, &id, 1, &r, &err), -EINVAL);
	expect_words("parameters", &err, words);
	assert_int_equal(zw_seq_length(c, p.seq), 0);
	zw_ctx_destroy(c);
	zw_sampler_close(p.sampler);
}

static void test_refused(void **state)
{
	struct zw_ctx_options opt = {.size = sizeof(opt), .draft = 1};
	struct zw_model_options mopt = {.size = sizeof(mopt), .flags = ZW_MODEL_MTP};
	struct zw_model *m, *none = NULL;
	struct zw_error err = {""};
	struct zw_ctx *c = NULL;
	struct fixture f;

	fixture_make(&f, fixture_shapes[9]);
	fixture_write(&f);
	assert_int_equal(zw_model_open(dev, f.dir, &mopt, &none, &err), -ENOENT);
	expect_words("no head", &err, "has no MTP head");
	fixture_free(&f);
	fixture_make(&f, fixture_shapes[8]);
	fixture_write(&f);
	m = open_model(&f, 0);
	assert_int_equal(zw_ctx_create(m, &opt, &c, &err), -EOPNOTSUPP);
	expect_words("not loaded", &err, "draft 1|no MTP head is loaded");
	zw_model_close(m);
	m = open_model(&f, ZW_MODEL_MTP);
	opt.draft = ZW_CTX_MAX_REWIND + 1;
	assert_int_equal(zw_ctx_create(m, &opt, &c, &err), -EINVAL);
	expect_words("too many", &err, "draft 16|15");
	opt = (struct zw_ctx_options){.draft = 2};
	expect_params(m, opt, ZW_DRAFT_MTP, 3, "draft_tokens 3|made for 2");
	expect_params(m, opt, ZW_DRAFT_NGRAM, 3, "draft_tokens 3|3 outputs");
	expect_params(m, opt, ZW_DRAFT_NGRAM + 1, 1, "draft 3");
	expect_params(m, opt, ZW_DRAFT_NGRAM, ZW_CTX_MAX_REWIND + 1, "draft_tokens 16");
	opt = (struct zw_ctx_options){.outputs = 4, .rewind = 2};
	expect_params(m, opt, ZW_DRAFT_NGRAM, 3, "draft_tokens 3|go back over 2");
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

struct lines {
	uint32_t titles, all;
};

static void count_line(void *opaque, const char *text)
{
	struct lines *l = opaque;

	l->all++;
	l->titles += text[0] == '#';
}

static struct lines disassembled(struct zw_model *m, uint32_t draft)
{
	struct zw_ctx_options opt = {.size = sizeof(opt), .draft = draft};
	struct lines l = {0};
	struct zw_error err;
	struct zw_ctx *c;

	assert_int_equal(zw_ctx_create(m, &opt, &c, &err), 0);
	zw_ctx_disasm(c, count_line, &l);
	zw_ctx_destroy(c);
	return l;
}

/* What is disassembled has the head's passes, one for each draft but the first, and that over the rows. */
static void test_disasm(void **state)
{
	struct lines l[4];
	struct fixture f;
	struct zw_model *m;

	fixture_make(&f, fixture_shapes[8]);
	fixture_write(&f);
	m = open_model(&f, ZW_MODEL_MTP);
	for (uint32_t draft = 0; draft < 4; draft++)
		l[draft] = disassembled(m, draft);
	assert_int_equal(l[0].titles, 5);
	assert_int_equal(l[1].titles, 9);
	assert_true(l[1].all > l[0].all + 10);
	/* In front of the first pass a row is fetched. */
	assert_true(l[2].all - l[1].all > l[3].all - l[2].all);
	assert_true(l[3].all > l[2].all + 10);
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

static int open_all(void **state)
{
	dev = open_dev(NULL);
	return 0;
}

static int close_all(void **state)
{
	assert_int_equal(zw_dev_close(dev), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ngram),   cmocka_unit_test(test_mtp),
		cmocka_unit_test(test_stop),    cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_masked),
		cmocka_unit_test(test_disasm),
	};

	return cmocka_run_group_tests_name("draft", tests, open_all, close_all);
}
