// SPDX-License-Identifier: MIT
/*
 * The prefix cache: what sequences take from it has the bits that they would have computed, whatever
 * happened to whoever computed it. With recurrent state ($ZW_TEST_SHAPE) that is up to where a state was
 * kept.
 */
#include "ctx_test.h"

/* Texts that begin alike: text k has the first split[k] tokens of text 0. */
#define TEXTS  6
#define LENGTH 150

static const uint32_t split[TEXTS] = {0, 64, 40, 96, 31, 0};
static uint32_t text[TEXTS][LENGTH];
static float *alone[TEXTS]; /* [LENGTH, V] */

static int open_texts(void **state)
{
	const char *seed = getenv("ZW_TEST_SEED");
	int ret = open_all(state);

	rng = seed ? strtoull(seed, NULL, 0) : 7;
	print_message("seed %llu (ZW_TEST_SEED)\n", (unsigned long long)rng);
	for (uint32_t k = 0; k < TEXTS; k++) {
		memcpy(text[k], text[0], split[k] * sizeof(text[k][0]));
		for (uint32_t i = split[k]; i < LENGTH; i++)
			text[k][i] = pick(V);
		alone[k] = solo(text[k], LENGTH);
	}
	return ret;
}

static int close_texts(void **state)
{
	for (uint32_t k = 0; k < TEXTS; k++)
		free(alone[k]);
	return close_all(state);
}

static struct zw_ctx_stats stats_of(const struct zw_ctx *c)
{
	struct zw_ctx_stats s = {.size = sizeof(s)};

	assert_int_equal(zw_ctx_get_stats(c, &s), 0);
	return s;
}

static uint32_t blocks_cached(const struct zw_ctx *c)
{
	struct zw_ctx_info info = {.size = sizeof(info)};

	assert_int_equal(zw_ctx_get_info(c, &info), 0);
	return info.blocks_cached;
}

/* The logits of token i of a text. */
static void expect_row(const float *got, uint32_t k, uint32_t i)
{
	if (memcmp(got, alone[k] + (size_t)i * V, V * sizeof(*got)))
		fail_msg("token %u of text %u differs from the solo run", i, k);
}

/* Appends tokens [from, to) of a text and checks the last; how many of them were computed. */
static uint64_t extend_by(struct zw_ctx *c, uint32_t seq, uint32_t k, uint32_t from, uint32_t to)
{
	uint64_t before = stats_of(c).tokens;

	expect_row(append(c, seq, text[k] + from, to - from), k, to - 1);
	return stats_of(c).tokens - before;
}

/* Spoils the first packet of a slot's command buffer; the second call mends it. */
static void spoil(struct zw_ctx *c, uint32_t slot)
{
	uint16_t *opcode = (uint16_t *)(void *)((char *)c->code.ptr + c->slot[slot].code_off);

	*opcode ^= 0x8000;
}

/* ---- what is taken ---- */

static void test_takes(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 4, .batch = 64, .prefix_cache = 1});
	uint32_t a = sequence(c), b = sequence(c), d, all = blocks_free(c);
	struct zw_ctx_stats s;
	const uint32_t *ids;
	size_t taken;

	assert_int_equal(extend_by(c, a, 0, 0, 100), 100);
	assert_int_equal(blocks_cached(c), 3);
	/* While the first one lives: 64 tokens are alike, and then two blocks of an own. */
	assert_int_equal(extend_by(c, b, 1, 0, 100), 36);
	assert_int_equal(all - blocks_free(c), 4 + 2);
	/* Nothing is taken of a block that is alike in part. */
	assert_int_equal(zw_seq_remove(c, b), 0);
	b = sequence(c);
	assert_int_equal(extend_by(c, b, 2, 0, 50), 18);
	assert_int_equal(zw_seq_tokens(c, b, &ids), 50);
	assert_memory_equal(ids, text[2], 50 * sizeof(*ids));
	/* When all are gone everything is free and still there. */
	assert_int_equal(zw_seq_remove(c, a) | zw_seq_remove(c, b), 0);
	assert_int_equal(blocks_free(c), all);
	assert_int_equal(blocks_cached(c), 3 + 1);
	a = sequence(c);
	assert_int_equal(extend_by(c, a, 0, 0, 128), 32);
	/* A text that is there to its end: the last block is computed, for the sake of its outputs. */
	b = sequence(c);
	assert_int_equal(extend_by(c, b, 0, 0, 128), 32);
	assert_int_equal(all - blocks_free(c), 4); /* but not kept twice */
	/* By hand, and on from there. */
	d = sequence(c);
	assert_int_equal(zw_seq_take_prefix(c, d, text[3], 97, &taken), 0);
	assert_int_equal(taken, 96);
	assert_int_equal(zw_seq_length(c, d), 96);
	assert_int_equal(extend_by(c, d, 3, 96, 120), 24);
	/* Behind an unfinished block there is nothing to take. */
	assert_int_equal(zw_seq_take_prefix(c, d, text[3], 97, &taken), 0);
	assert_int_equal(taken, 0);
	assert_int_equal(zw_seq_take_prefix(c, d, text[3], 0, &taken), -EINVAL);
	assert_int_equal(zw_seq_take_prefix(c, 3, text[3], 9, &taken), -ENOENT);
	s = stats_of(c);
	assert_int_equal(s.prefix_queries, 100 + 100 + 50 + 128 + 128 + 97 + 24);
	assert_int_equal(s.prefix_hits, 64 + 32 + 96 + 96 + 96);
	zw_ctx_destroy(c);
}

/* Without the option nothing is. */
static void test_off(void **state)
{
	struct zw_ctx *c =
		context((struct zw_ctx_options){.context = LENGTH, .max_seqs = 2, .batch = 64});
	uint32_t a = sequence(c), b = sequence(c);
	size_t taken = 1;

	extend_by(c, a, 0, 0, 100);
	assert_int_equal(zw_seq_take_prefix(c, b, text[0], 100, &taken), 0);
	assert_int_equal(taken, 0);
	assert_int_equal(extend_by(c, b, 0, 0, 100), 100);
	assert_int_equal(blocks_cached(c), 0);
	zw_ctx_destroy(c);
}

/* What was unused for longest goes first, and of that the end before the beginning. */
static void test_evicts(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .max_seqs = 3,
							   .batch = 64,
							   .pool_tokens = 8 * 32,
							   .prefix_cache = 1});
	uint32_t seq[3];

	seq[0] = sequence(c);
	extend_by(c, seq[0], 0, 0, 96);
	seq[1] = sequence(c);
	extend_by(c, seq[1], 5, 0, 128);
	assert_int_equal(zw_seq_remove(c, seq[0]) | zw_seq_remove(c, seq[1]), 0);
	assert_int_equal(blocks_cached(c), 7);
	/* One block was never used; two of the first text go. */
	seq[0] = sequence(c);
	extend_by(c, seq[0], 4, 0, 96);
	assert_int_equal(blocks_cached(c), 8);
	assert_int_equal(blocks_free(c), 5);
	seq[1] = sequence(c);
	assert_int_equal(extend_by(c, seq[1], 0, 0, 64), 32);
	seq[2] = sequence(c);
	assert_int_equal(extend_by(c, seq[2], 5, 0, 96), 32);
	/* All eight are in use now. */
	assert_int_equal(blocks_free(c), 0);
	{
		struct zw_batch_token t = {1, 64, seq[1], 0};
		struct zw_eval_options opt = {.size = sizeof(opt)};
		struct zw_error err = {""};
		uint64_t step;

		assert_int_equal(submit(c, &t, 1, &step, &err), -ENOSPC);
		expect_words("full", &err, "pool|0 of 8");
		assert_int_equal(zw_seq_remove(c, seq[1]), 0);
		seq[1] = sequence(c);
		/* What was taken for a text that then does not fit is given back. */
		assert_int_equal(zw_ctx_eval(c, seq[1], text[1], 128, &opt, NULL, &err), -ENOSPC);
		assert_int_equal(zw_seq_length(c, seq[1]), 0);
		assert_int_equal(blocks_free(c), 2);
	}
	zw_ctx_destroy(c);
}

/* ---- what must not be taken ---- */

/* A step that failed makes nothing known, nor does one that is not waited for. */
static void test_failed(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 2, .batch = 64, .prefix_cache = 1});
	uint32_t a = sequence(c), b = sequence(c);
	struct zw_batch_token t[64];
	struct zw_error err = {""};
	uint64_t step;
	size_t taken;

	extend_by(c, a, 0, 0, 40);
	for (uint32_t i = 0; i < 60; i++)
		t[i] = (struct zw_batch_token){text[0][40 + i], 40 + i, a, 0};
	spoil(c, 1);
	step = submitted(c, t, 60);
	assert_int_equal(zw_ctx_wait(c, step, ZW_FOREVER, &err), -EIO);
	spoil(c, 1);
	assert_int_equal(blocks_cached(c), 1);
	step = submitted(c, t, 60);
	assert_int_equal(zw_seq_take_prefix(c, b, text[0], 100, &taken), 0);
	assert_int_equal(taken, 32);
	assert_int_equal(zw_seq_truncate(c, b, 0), 0);
	waited(c, step);
	assert_int_equal(zw_seq_take_prefix(c, b, text[0], 100, &taken), 0);
	assert_int_equal(taken, 96);
	zw_ctx_destroy(c);
}

/* A block that is written to again is not what it was. */
static void test_rewritten(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 3, .batch = 64, .prefix_cache = 1});
	uint32_t a = sequence(c), b;
	size_t taken;

	extend_by(c, a, 0, 0, 96);
	/* It goes on differently behind token 40: the second block changes, the first one does not. */
	assert_int_equal(zw_seq_truncate(c, a, 40), 0);
	assert_int_equal(extend_by(c, a, 2, 40, 50), 10);
	b = sequence(c);
	assert_int_equal(zw_seq_take_prefix(c, b, text[0], 96, &taken), 0);
	assert_int_equal(taken, 32);
	assert_int_equal(zw_seq_truncate(c, b, 0), 0);
	assert_int_equal(blocks_cached(c), 2);
	assert_int_equal(extend_by(c, a, 2, 50, 70), 20);
	assert_int_equal(blocks_cached(c), 3);
	assert_int_equal(zw_seq_take_prefix(c, b, text[0], 96, &taken), 0);
	assert_int_equal(taken, 32);
	extend_by(c, b, 0, 32, 96);
	/* Where somebody else has it, it is copied and stays. */
	assert_int_equal(zw_seq_remove(c, a), 0);
	a = sequence(c);
	assert_int_equal(extend_by(c, a, 0, 0, 65), 1);
	assert_int_equal(zw_seq_truncate(c, a, 40), 0);
	extend_by(c, a, 2, 40, 70);
	assert_int_equal(zw_seq_remove(c, b), 0);
	b = sequence(c);
	assert_int_equal(extend_by(c, b, 0, 0, 96), 32);
	zw_ctx_destroy(c);
}

/* Equal tokens behind different texts are different blocks, also in one chain of the table. */
static void test_keys(void **state)
{
	struct llm_prefix p;
	uint32_t ids[2][LLM_BLOCK_TOKENS] = {{0}, {1}};
	uint64_t serial[3];

	assert_int_equal(llm_prefix_init(&p, 8, 2), 0);
	p.mask = 0;
	llm_prefix_add(&p, 0, LLM_PREFIX_ROOT, ids[0]);
	llm_prefix_add(&p, 1, LLM_PREFIX_ROOT, ids[1]);
	for (uint32_t i = 0; i < 2; i++)
		serial[i] = p.entry[i].serial;
	llm_prefix_add(&p, 2, serial[0], ids[0]);
	llm_prefix_add(&p, 3, serial[1], ids[0]);
	assert_int_equal(llm_prefix_find(&p, LLM_PREFIX_ROOT, ids[0]), 0);
	assert_int_equal(llm_prefix_find(&p, LLM_PREFIX_ROOT, ids[1]), 1);
	assert_int_equal(llm_prefix_find(&p, serial[0], ids[0]), 2);
	assert_int_equal(llm_prefix_find(&p, serial[1], ids[0]), 3);
	assert_int_equal(llm_prefix_find(&p, serial[1], ids[1]), LLM_NO_BLOCK);
	/* The same block again, of other contents: what was behind the old ones is not behind these. */
	llm_prefix_drop(&p, 0);
	llm_prefix_add(&p, 0, LLM_PREFIX_ROOT, ids[0]);
	assert_int_equal(llm_prefix_find(&p, p.entry[0].serial, ids[0]), LLM_NO_BLOCK);
	llm_prefix_idle(&p, 3);
	llm_prefix_idle(&p, 2);
	llm_prefix_idle(&p, 1);
	llm_prefix_wake(&p, 2);
	assert_int_equal(llm_prefix_evict(&p), 3);
	assert_int_equal(llm_prefix_evict(&p), 1);
	assert_int_equal(p.num_idle, 0);
	assert_int_equal(p.num, 2);
	/* States: two places, the one used longest ago makes room. */
	{
		uint32_t a = llm_prefix_state_take(&p), b = llm_prefix_state_take(&p);

		assert_int_equal(llm_prefix_state_take(&p), LLM_NO_STATE);
		llm_prefix_state_keep(&p, a, 0);
		llm_prefix_state_keep(&p, b, 2);
		llm_prefix_state_use(&p, a);
		assert_int_equal(llm_prefix_state_take(&p), b);
		assert_int_equal(p.entry[2].state, LLM_NO_STATE);
		/* One that a block has already is not kept twice. */
		llm_prefix_state_keep(&p, b, 0);
		assert_int_equal(p.entry[0].state, a);
		assert_int_equal(llm_prefix_state_take(&p), b);
		/* A block that goes takes its state along, not that of what comes after it. */
		llm_prefix_drop(&p, 0);
		llm_prefix_add(&p, 0, serial[1], ids[1]);
		llm_prefix_state_keep(&p, b, 0);
		assert_int_equal(llm_prefix_state_take(&p), a);
		assert_int_equal(p.entry[0].state, b);
		llm_prefix_state_put(&p, a);
	}
	llm_prefix_fini(&p);
}

/* ---- recurrent state ---- */

/* What of a text is taken, and the rest computed from there. */
static void expect_taken(struct zw_ctx *c, uint32_t k, uint32_t n, uint32_t want)
{
	uint32_t seq = sequence(c);

	assert_int_equal(n - extend_by(c, seq, k, 0, n), want);
	assert_int_equal(zw_seq_remove(c, seq), 0);
}

/* Where states are kept, which one goes, and that a step that failed keeps none. */
static void states(uint32_t rewind)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .max_seqs = 4,
							   .batch = 64,
							   .prefix_cache = 1,
							   .rewind = rewind,
							   .prefix_states = 4,
							   .prefix_state_tokens = 64});
	uint32_t a = sequence(c), b = sequence(c), d;
	struct zw_batch_token t[64];
	struct zw_error err = {""};
	uint64_t step;
	size_t taken;

	/* A step of 64 tokens, and one of 36 whose end is wanted. */
	extend_by(c, a, 0, 0, 100);
	expect_taken(c, 1, 100, 64); /* it leaves one behind 96 of its own */
	expect_taken(c, 3, 97, 96);
	expect_taken(c, 0, 100, 96);
	/* Tokens one by one: behind a multiple of 64. */
	for (uint32_t i = 100; i < 130; i++)
		extend_by(c, a, 0, i, i + 1);
	expect_taken(c, 0, 140, 128);
	/* Four states: 64, 96 and 128 of text 0, 96 of text 1. The first was used longest ago. */
	assert_int_equal(zw_seq_take_prefix(c, b, text[0], 140, &taken), 0);
	assert_int_equal(taken, 128);
	/* Behind what a sequence has nothing is taken. */
	assert_int_equal(zw_seq_take_prefix(c, b, text[0], 140, &taken), 0);
	assert_int_equal(taken, 0);
	extend_by(c, b, 0, 128, 150);
	d = sequence(c);
	extend_by(c, d, 5, 0, 40); /* a fifth */
	assert_int_equal(zw_seq_remove(c, d), 0);
	expect_taken(c, 1, 90, 0);
	expect_taken(c, 5, 40, 32);
	/* A step that fails, and is done again. */
	assert_int_equal(zw_seq_truncate(c, b, 0), 0);
	for (uint32_t i = 0; i < 40; i++)
		t[i] = (struct zw_batch_token){text[4][i], i, b, i == 39 ? ZW_WANT_LOGITS : 0};
	spoil(c, 0);
	spoil(c, 1);
	step = submitted(c, t, 40);
	assert_int_equal(zw_ctx_wait(c, step, ZW_FOREVER, &err), -EIO);
	spoil(c, 0);
	spoil(c, 1);
	for (uint32_t i = 0; i < 4; i++)
		assert_false(c->pool.prefix.state[i].taken);
	expect_taken(c, 4, 40, 0);
	expect_taken(c, 4, 40, 32);
	/* Its state is lost, and not to be had from the cache before it begins again. */
	assert_int_equal(zw_seq_take_prefix(c, b, text[4], 40, &taken), 0);
	assert_int_equal(taken, 0);
	assert_int_equal(zw_seq_truncate(c, b, 0), 0);
	assert_int_equal(zw_seq_take_prefix(c, b, text[4], 40, &taken), 0);
	assert_int_equal(taken, 32);
	extend_by(c, b, 4, 32, 70);
	zw_ctx_destroy(c);
}

static void test_states(void **state)
{
	states(0);
	states(2);
	states(7);
}

/* ---- drafts ---- */

struct answer {
	uint32_t id[LENGTH], n;
};

static int answer_token(void *opaque, uint32_t id)
{
	struct answer *a = opaque;

	a->id[a->n++] = id;
	return 0;
}

/* The greedy answer to a prompt in a new sequence, drafted so; what the cache had of the prompt. */
static uint64_t answer(struct zw_ctx *c, const uint32_t *prompt, uint32_t n, uint32_t tokens,
		       uint32_t draft, struct answer *a)
{
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_generate_params p = {.size = sizeof(p),
				       .flags = ZW_GENERATE_IGNORE_STOP,
				       .seq = sequence(c),
				       .max_tokens = tokens,
				       .token = answer_token,
				       .opaque = a,
				       .draft = draft,
				       .draft_tokens = draft ? 3 : 0};
	struct zw_generate_result r = {.size = sizeof(r)};
	uint64_t before = stats_of(c).prefix_hits;
	struct zw_error err = {""};

	a->n = 0;
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, &err), 0);
	if (zw_generate(c, &p, prompt, n, &r, &err))
		fail_msg("%s", err.msg);
	zw_sampler_close(p.sampler);
	assert_int_equal(zw_seq_remove(c, p.seq), 0);
	return stats_of(c).prefix_hits - before;
}

/* Ids that were drafted on the device, right or wrong, are what a block is known by. */
static void drafted_ids(struct zw_ctx *c)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .want = ZW_WANT_ARGMAX};
	struct zw_output out = {.size = sizeof(out)};
	uint32_t a = sequence(c), b = sequence(c), whole[40], id;
	struct llm_chain chain = {.index = 1, .n = 2};
	const struct llm_submit how = {.next = LLM_NO_ROW, .chains = &chain, .num_chains = 1};
	struct zw_batch_token t[4];
	struct zw_batch batch = {
		.size = sizeof(batch), .count = 4, .token_size = sizeof(t[0]), .tokens = t};
	struct zw_error err = {""};
	const uint32_t *ids;
	uint64_t step;
	size_t taken;
	float *want;

	if (zw_ctx_eval(c, a, text[4], 29, &opt, &out, &err))
		fail_msg("%s", err.msg);
	step = c->last_step;
	assert_int_equal(llm_mtp_draft(c, step, 28, &id, &chain.row), 0);
	for (uint32_t i = 0; i < 4; i++)
		t[i] = (struct zw_batch_token){LLM_ID_DRAFTED, 29 + i, a, ZW_WANT_ARGMAX};
	t[0].id = (uint32_t)out.argmax;
	t[1].id = id;
	if (llm_ctx_submit(c, &batch, &how, &step, &err))
		fail_msg("%s", err.msg);
	waited(c, step);
	assert_int_equal(zw_seq_tokens(c, a, &ids), 33);
	assert_true(ids[31] < V && ids[32] < V);
	memcpy(whole, ids, 33 * sizeof(*ids));
	memcpy(whole + 33, text[0], 7 * sizeof(*ids));
	assert_int_equal(zw_seq_take_prefix(c, b, whole, 40, &taken), 0);
	assert_int_equal(taken, 32);
	want = solo(whole, 40);
	assert_memory_equal(append(c, b, whole + 32, 8), want + (size_t)39 * V, V * sizeof(*want));
	free(want);
	assert_int_equal(zw_seq_remove(c, a) | zw_seq_remove(c, b), 0);
}

/*
 * With and without the cache, times no drafts, drafts of what was there before, and of the MTP head: the same
 * tokens; and what was generated from drafts is as much there for others as what was not.
 */
static void test_drafts(void **state)
{
	struct zw_model_options mo = {.size = sizeof(mo), .flags = ZW_MODEL_MTP};
	struct answer want[3], got;
	struct zw_model *plain = model;
	struct zw_error err = {""};
	uint32_t whole[LENGTH], other[LENGTH];

	if (!fix.s.mtp)
		return;
	if (zw_model_open(dev, fix.dir, &mo, &model, &err))
		fail_msg("%s", err.msg);
	for (uint32_t k = 0; k < 6; k++) {
		uint32_t cached = k & 1, draft = k / 2;
		struct zw_ctx *c =
			context((struct zw_ctx_options){.context = LENGTH,
							.max_seqs = 2,
							.batch = 64,
							.outputs = 8,
							.prefix_cache = cached,
							.rewind = 3,
							.draft = draft == ZW_DRAFT_MTP ? 3 : 0,
							.prefix_states = 16,
							.prefix_state_tokens = 32});
		uint64_t hits;

		assert_int_equal(answer(c, text[0], 20, 100, draft, k ? &got : &want[0]), 0);
		if (k) {
			assert_int_equal(got.n, 100);
			assert_memory_equal(got.id, want[0].id, sizeof(uint32_t) * 100);
		}
		/* The answer as a prompt, whole, and one that turns off in the middle. */
		memcpy(whole, text[0], 20 * sizeof(*whole));
		memcpy(whole + 20, want[0].id, 100 * sizeof(*whole));
		memcpy(other, whole, sizeof(whole));
		for (uint32_t i = 70; i < 120; i++)
			other[i] = text[5][i];
		hits = answer(c, whole, 110, 30, draft, k ? &got : &want[1]);
		assert_int_equal(hits, cached ? 96 : 0);
		if (k)
			assert_memory_equal(got.id, want[1].id, sizeof(uint32_t) * 30);
		hits = answer(c, other, 100, 30, draft, k ? &got : &want[2]);
		assert_int_equal(hits, cached ? 64 : 0);
		if (k)
			assert_memory_equal(got.id, want[2].id, sizeof(uint32_t) * 30);
		if (cached && draft == ZW_DRAFT_MTP)
			drafted_ids(c);
		zw_ctx_destroy(c);
	}
	assert_int_equal(zw_model_close(model), 0);
	model = plain;
}

/* ---- what the device chose ---- */

static int keep(void *opaque, uint32_t id)
{
	uint32_t **at = opaque;

	*(*at)++ = id;
	return 0;
}

/* A text that was generated can be taken like one that was given. */
static void test_generated(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 2, .batch = 64, .prefix_cache = 1});
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	uint32_t a = sequence(c), b = sequence(c), ids[LENGTH], *at = ids + 20;
	struct zw_generate_params p = {.size = sizeof(p),
				       .flags = ZW_GENERATE_IGNORE_STOP,
				       .seq = a,
				       .max_tokens = 90,
				       .token = keep,
				       .opaque = &at};
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_error err = {""};
	const uint32_t *known;
	uint64_t before;
	float *want;

	memcpy(ids, text[0], 20 * sizeof(*ids));
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, NULL), 0);
	if (zw_generate(c, &p, ids, 20, &r, &err))
		fail_msg("%s", err.msg);
	zw_sampler_close(p.sampler);
	/* The last token chosen is not fed back. */
	assert_int_equal(zw_seq_tokens(c, a, &known), 109);
	assert_memory_equal(known, ids, 109 * sizeof(*ids));
	before = stats_of(c).tokens;
	want = solo(ids, 110);
	assert_memory_equal(append(c, b, ids, 110), want + (size_t)109 * V, V * sizeof(*want));
	assert_int_equal(stats_of(c).tokens - before, 110 - 96);
	free(want);
	zw_ctx_destroy(c);
}

/* ---- everything at random ---- */

#define SEQS 12

struct one {
	bool live;
	uint32_t k, n; /* it has the first n tokens of text k */
};

/* Several sequences go on in one step, those with the same text side by side. */
static void random_step(struct zw_ctx *c, struct one *s)
{
	struct zw_batch_token t[64];
	uint32_t n = 0, last[SEQS], parts = 1 + pick(4), room = blocks_free(c);
	uint64_t step;

	for (uint32_t i = 0; i < SEQS; i++)
		last[i] = UINT32_MAX;
	for (uint32_t p = 0; p < parts; p++) {
		uint32_t i = pick(SEQS), len = 1 + pick(16);

		/* One block for the end, one for a copy. */
		if (!s[i].live || last[i] != UINT32_MAX || s[i].n + len > LENGTH || room < 2)
			continue;
		room -= 2;
		for (uint32_t j = 0; j < len; j++)
			t[n + j] = (struct zw_batch_token){text[s[i].k][s[i].n + j], s[i].n + j, i,
							   j + 1 == len ? ZW_WANT_LOGITS : 0};
		n += len;
		s[i].n += len;
		last[i] = n - 1;
	}
	if (!n)
		return;
	step = submitted(c, t, n);
	waited(c, step);
	for (uint32_t i = 0; i < SEQS; i++) {
		if (last[i] != UINT32_MAX)
			expect_row(logits_of(c, step, last[i]), s[i].k, s[i].n - 1);
	}
}

static void random_change(struct zw_ctx *c, struct one *s, struct zw_snapshot **snap,
			  struct one *of)
{
	uint32_t i = pick(SEQS), id, n, slot = pick(2);

	if (!s[i].live) {
		assert_int_equal(zw_seq_create(c, &id), 0);
		s[id] = (struct one){.live = true, .k = pick(TEXTS)};
		i = id;
	}
	n = s[i].n ? pick(s[i].n) : 0;
	switch (s[i].n ? pick(8) : 7) {
	case 0:
	case 1:
		assert_int_equal(zw_seq_remove(c, i), 0);
		s[i].live = false;
		break;
	case 2:
		if (zw_seq_truncate(c, i, n) == 0)
			s[i].n = n;
		else
			assert_true(fix.s.next);
		break;
	case 3:
		n = fix.s.next && pick(2) ? s[i].n : n;
		if (zw_seq_fork(c, i, n, &id))
			break;
		s[id] = (struct one){.live = true, .k = s[i].k, .n = n};
		break;
	case 4:
		zw_snapshot_destroy(snap[slot]);
		assert_int_equal(zw_seq_snapshot(c, i, &snap[slot]), 0);
		of[slot] = s[i];
		if (pick(2))
			assert_int_equal(zw_snapshot_swap_out(snap[slot]), 0);
		break;
	case 5:
		if (!snap[slot])
			break;
		if (zw_seq_restore(c, i, snap[slot]) == -ENOSPC)
			break;
		s[i] = of[slot];
		break;
	default:
		/* A long piece at once, through the cache when it is at a start. */
		if (s[i].n == LENGTH)
			break;
		n = s[i].n + 1 + pick(LENGTH - s[i].n);
		if (llm_blocks_for(n) + 1 <= blocks_free(c)) {
			extend_by(c, i, s[i].k, s[i].n, n);
			s[i].n = n;
		}
	}
}

static void test_random(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .max_seqs = SEQS,
							   .batch = 64,
							   .pool_tokens = 24 * 32,
							   .prefix_cache = 1,
							   .rewind = 2,
							   .prefix_state_tokens = 32});
	struct zw_snapshot *snap[2] = {NULL};
	struct one s[SEQS] = {{0}}, of[2];
	uint32_t all = blocks_free(c);

	for (int round = 0; round < 3000; round++) {
		random_change(c, s, snap, of);
		random_step(c, s);
	}
	for (uint32_t i = 0; i < SEQS; i++) {
		if (s[i].live)
			assert_int_equal(zw_seq_remove(c, i), 0);
	}
	for (uint32_t i = 0; i < 2; i++)
		zw_snapshot_destroy(snap[i]);
	assert_int_equal(blocks_free(c), all);
	assert_true(stats_of(c).prefix_hits > 1000);
	print_message("%llu of %llu tokens taken\n", (unsigned long long)stats_of(c).prefix_hits,
		      (unsigned long long)stats_of(c).prefix_queries);
	zw_ctx_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),      cmocka_unit_test(test_takes),
		cmocka_unit_test(test_off),       cmocka_unit_test(test_evicts),
		cmocka_unit_test(test_failed),    cmocka_unit_test(test_rewritten),
		cmocka_unit_test(test_generated), cmocka_unit_test(test_random),
	};
	const struct CMUnitTest recurrent[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_drafts),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_random),
	};
	const char *shape = getenv("ZW_TEST_SHAPE");

	if (shape && fixture_shapes[atoi(shape)].next)
		return cmocka_run_group_tests_name("prefix, recurrent", recurrent, open_texts,
						   close_texts);
	return cmocka_run_group_tests_name("prefix", tests, open_texts, close_texts);
}
