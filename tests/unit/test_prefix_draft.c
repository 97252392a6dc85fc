// SPDX-License-Identifier: MIT
/*
 * The prefix cache times speculative decoding: without and with the one, without and with the other, of a
 * model with attention and of one with recurrent layers, one text after the other and many at once. The tokens
 * are the same in all of them, and each of the two is seen to have done something where it is on.
 */
#include "dev_test.h"
#include "llm_fixture.h"

#include "ctx.h"

#define TEXTS  5
#define COMMON 70 /* tokens that all texts begin with */
#define PROMPT 90
#define TOKENS 40

static struct zw_dev *dev;
static struct fixture fix;

struct talk {
	uint32_t prompt[PROMPT], got[TOKENS], n;
	struct zw_sampler *sampler;
};

/* One cell of the matrix. */
struct cell {
	bool cached;
	uint32_t draft;
	enum { ALONE, TOGETHER, AHEAD } how;
};

static int on_token(void *opaque, uint32_t id)
{
	struct talk *t = opaque;

	assert_true(t->n < TOKENS);
	t->got[t->n++] = id;
	return 0;
}

static int on_request_token(void *opaque, uint64_t request, uint32_t id)
{
	return on_token(opaque, id);
}

static void generate(struct zw_ctx *c, const struct cell *cell, struct talk *t, uint64_t *drafted,
		     uint64_t *accepted)
{
	struct zw_generate_params p = {.size = sizeof(p),
				       .flags = ZW_GENERATE_IGNORE_STOP,
				       .max_tokens = TOKENS,
				       .sampler = t->sampler,
				       .token = on_token,
				       .opaque = t,
				       .draft = cell->draft,
				       .draft_tokens = cell->draft ? 3 : 0};
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_error err = {""};

	assert_int_equal(zw_seq_create(c, &p.seq), 0);
	if (zw_generate(c, &p, t->prompt, PROMPT, &r, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_seq_remove(c, p.seq), 0);
	*drafted += r.drafted_tokens;
	*accepted += r.accepted_tokens;
}

/* The first alone, so that the others find what it left. */
static void schedule(struct zw_ctx *c, const struct cell *cell, struct talk *t, uint64_t *drafted,
		     uint64_t *accepted)
{
	struct zw_sched_options o = {.size = sizeof(o),
				     .flags = cell->how == AHEAD ? ZW_SCHED_AHEAD : 0};
	struct zw_sched_stats st = {.size = sizeof(st)};
	struct zw_error err = {""};
	struct zw_sched *s;
	uint64_t id;
	int left;

	assert_int_equal(zw_sched_create(c, &o, &s, &err), 0);
	for (uint32_t i = 0; i < TEXTS; i++) {
		struct zw_request_params p = {.size = sizeof(p),
					      .flags = ZW_GENERATE_IGNORE_STOP,
					      .max_tokens = TOKENS,
					      .sampler = t[i].sampler,
					      .token = on_request_token,
					      .opaque = &t[i],
					      .draft = cell->draft,
					      .draft_tokens = cell->draft ? 3 : 0};

		if (zw_sched_add(s, &p, t[i].prompt, PROMPT, &id, &err))
			fail_msg("%s", err.msg);
		while (!i && !t[0].n) {
			if (zw_sched_step(s, &err) < 0)
				fail_msg("%s", err.msg);
		}
	}
	while ((left = zw_sched_step(s, &err)) > 0)
		;
	if (left)
		fail_msg("%s", err.msg);
	assert_int_equal(zw_sched_get_stats(s, &st), 0);
	/* With drafts, too, pieces of prompts may follow each other. */
	if (cell->how != AHEAD)
		assert_int_equal(st.ahead_steps, 0);
	else if (!cell->draft)
		assert_true(st.ahead_steps > st.steps / 2);
	*drafted = st.drafted_tokens;
	*accepted = st.accepted_tokens;
	zw_sched_destroy(s);
}

/* Fills in what comes out. */
static void run(struct zw_model *m, const struct cell *cell, struct talk *t)
{
	struct zw_ctx_options o = {.size = sizeof(o),
				   .context = PROMPT + TOKENS,
				   .max_seqs = TEXTS,
				   .batch = 64,
				   .outputs = 32,
				   .prefix_cache = cell->cached,
				   .prefix_states = 16,
				   .prefix_state_tokens = 32,
				   .rewind = cell->draft ? 3 : 0,
				   .draft = cell->draft == ZW_DRAFT_MTP ? 3 : 0};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_ctx_stats st = {.size = sizeof(st)};
	uint64_t drafted = 0, accepted = 0;
	struct zw_error err = {""};
	struct zw_ctx *c;

	if (zw_ctx_create(m, &o, &c, &err))
		fail_msg("%s", err.msg);
	for (uint32_t i = 0; i < TEXTS; i++) {
		t[i].n = 0;
		assert_int_equal(zw_sampler_open(&sp, &t[i].sampler, &err), 0);
	}
	if (cell->how == ALONE) {
		for (uint32_t i = 0; i < TEXTS; i++)
			generate(c, cell, &t[i], &drafted, &accepted);
	} else {
		schedule(c, cell, t, &drafted, &accepted);
	}
	for (uint32_t i = 0; i < TEXTS; i++) {
		assert_int_equal(t[i].n, TOKENS);
		zw_sampler_close(t[i].sampler);
	}
	assert_int_equal(zw_ctx_get_stats(c, &st), 0);
	/* All but the first have two blocks of what they begin with. */
	if (cell->cached)
		assert_true(st.prefix_hits >= (TEXTS - 1) * 64);
	else
		assert_int_equal(st.prefix_hits, 0);
	assert_int_equal(accepted != 0, cell->draft != 0);
	assert_int_equal(accepted < drafted, cell->draft != 0);
	zw_ctx_destroy(c);
}

static void matrix(uint32_t shape)
{
	struct zw_model_options mo = {.size = sizeof(mo)};
	struct talk *want = calloc(TEXTS, sizeof(*want)), *t = calloc(TEXTS, sizeof(*t));
	struct zw_error err = {""};
	uint32_t drafts;
	struct zw_model *m;

	fixture_make(&fix, fixture_shapes[shape]);
	/* The one would say the same again and again then, and all of it were drafted right. */
	if (fix.s.mtp)
		fixture_make_easy(&fix);
	fixture_write(&fix);
	drafts = fix.s.mtp ? 3 : 2;
	mo.flags = fix.s.mtp ? ZW_MODEL_MTP : 0;
	if (zw_model_open(dev, fix.dir, &mo, &m, &err))
		fail_msg("%s", err.msg);
	for (uint32_t i = 0; i < TEXTS; i++) {
		for (uint32_t k = 0; k < PROMPT; k++)
			want[i].prompt[k] = (k < COMMON ? k * 7 + 3 : k * k + i) % fix.s.v;
	}
	run(m, &(struct cell){0}, want);
	for (uint32_t k = 0; k < 6 * drafts; k++) {
		/* Of drafts: none, of the text, of the head. */
		static const uint32_t kinds[] = {ZW_DRAFT_NONE, ZW_DRAFT_NGRAM, ZW_DRAFT_MTP};
		const struct cell cell = {.cached = k & 1, .draft = kinds[k / 6], .how = k / 2 % 3};

		memcpy(t, want, TEXTS * sizeof(*t));
		run(m, &cell, t);
		for (uint32_t i = 0; i < TEXTS; i++) {
			if (memcmp(t[i].got, want[i].got, sizeof(want[i].got)))
				fail_msg("shape %u, cached %u, draft %u, %u: text %u has other "
					 "tokens",
					 shape, cell.cached, cell.draft, cell.how, i);
		}
	}
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&fix);
	free(want);
	free(t);
}

static void test_attention(void **state)
{
	matrix(1);
	matrix(6);
}

static void test_recurrent(void **state)
{
	matrix(8);
}

static int open_all(void **state)
{
	dev = open_dev(NULL);
	return 0;
}

static int close_all(void **state)
{
	return zw_dev_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attention),
		cmocka_unit_test(test_recurrent),
	};

	return cmocka_run_group_tests_name("prefix-draft", tests, open_all, close_all);
}
