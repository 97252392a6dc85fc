// SPDX-License-Identifier: MIT
/*
 * Contexts on the sim transport, or on $ZW_TEST_DEVICE: whatever shares a step, every sequence gets the bits that it gets
 * alone; and steps that are refused, cancelled or fail leave everything as it was.
 */
#include "many_test.h"

#include <math.h>
#include <pthread.h>

/* ---- many sequences ---- */

static void test_many_sequences(void **state)
{
	const struct many m = {.seqs = 64, .rounds = 400, .parts = 8};

	many_sequences(&m);
}

/* ---- steps in flight ---- */

static void test_in_flight(void **state)
{
	struct zw_ctx *c =
		context((struct zw_ctx_options){.max_seqs = 2, .batch = 8, .outputs = 8});
	uint32_t a = sequence(c), b = sequence(c);
	struct zw_batch_token t[3][8];
	uint32_t ids[16];
	struct zw_output out = {.size = sizeof(out)};
	struct zw_error err = {""};
	uint64_t step[3];
	float *want;

	for (uint32_t i = 0; i < 16; i++)
		ids[i] = pick(V);
	want = solo(ids, 16);
	/* One sequence in both steps, the second going on where the first is not done yet. */
	for (uint32_t i = 0; i < 16; i++)
		t[i / 8][i % 8] = (struct zw_batch_token){ids[i], i, a, ZW_WANT_LOGITS};
	step[0] = submitted(c, t[0], 8);
	step[1] = submitted(c, t[1], 8);
	assert_true(step[1] > step[0]);
	assert_int_equal(zw_seq_length(c, a), 16);
	t[2][0] = (struct zw_batch_token){1, 0, b, 0};
	assert_int_equal(submit(c, t[2], 1, &step[2], &err), -EAGAIN);
	expect_words("third", &err, "2 steps");
	assert_int_equal(zw_seq_length(c, b), 0);
	assert_int_equal(zw_ctx_output(c, step[1], 0, &out), -ENOENT); /* not waited for */
	/* Waiting for the last one is enough. */
	waited(c, step[1]);
	for (uint32_t i = 0; i < 16; i++)
		assert_memory_equal(logits_of(c, step[i / 8], i % 8), want + (size_t)i * V,
				    V * sizeof(*want));
	step[2] = submitted(c, t[2], 1);
	waited(c, step[2]);
	waited(c, step[1]);                                            /* again: still known */
	assert_int_equal(zw_ctx_output(c, step[2], 0, &out), -EINVAL); /* it wanted nothing */
	assert_int_equal(zw_ctx_output(c, step[1], 8, &out), -EINVAL); /* no such token */
	assert_int_equal(zw_ctx_output(c, step[0], 0, &out), -ENOENT); /* its slot was used */
	assert_int_equal(zw_ctx_wait(c, step[0], ZW_FOREVER, &err), -ENOENT);
	assert_int_equal(zw_ctx_wait(c, 99, ZW_FOREVER, &err), -ENOENT);
	free(want);
	zw_ctx_destroy(c);
}

/* ---- ids that the device chose ---- */

/* The greedy continuation of a text, one step at a time. */
static void greedy(const uint32_t *ids, uint32_t n, uint32_t *next, uint32_t count)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .want = ZW_WANT_ARGMAX};
	struct zw_ctx *c = context((struct zw_ctx_options){.batch = 8});
	struct zw_output out = {.size = sizeof(out)};
	struct zw_error err = {""};
	uint32_t seq = sequence(c);

	for (uint32_t i = 0; i < count; i++) {
		if (zw_ctx_eval(c, seq, i ? &next[i - 1] : ids, i ? 1 : n, &opt, &out, &err))
			fail_msg("%s", err.msg);
		next[i] = (uint32_t)out.argmax;
	}
	zw_ctx_destroy(c);
}

/*
 * Two sequences go on with what the device chose, all steps in flight, beside one whose ids the host
 * knows: the ids and logits are those of each alone.
 */
static void test_chosen(void **state)
{
	enum { N = 20, STEPS = 3, A = 4, B = 2 };
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.max_seqs = 3, .batch = 8, .outputs = 3, .steps = STEPS});
	uint32_t a = sequence(c), b = sequence(c), e = sequence(c);
	uint32_t ids[N + A], next_a[N], next_b[N];
	struct zw_batch_token t[A + B + 1];
	uint64_t step[N];
	float *want;

	for (uint32_t i = 0; i < N + A; i++)
		ids[i] = pick(V);
	greedy(ids, A, next_a, N);
	greedy(ids + A, B, next_b, N);
	want = solo(ids, N);
	for (uint32_t i = 0; i < A; i++)
		t[i] = (struct zw_batch_token){ids[i], i, a, i == A - 1 ? ZW_WANT_ARGMAX : 0};
	for (uint32_t i = 0; i < B; i++)
		t[A + i] =
			(struct zw_batch_token){ids[A + i], i, b, i == B - 1 ? ZW_WANT_ARGMAX : 0};
	t[A + B] = (struct zw_batch_token){ids[0], 0, e, ZW_WANT_LOGITS};
	for (uint32_t i = 0, done = 0; done < N; i++) {
		if (i >= STEPS || i >= N) {
			struct zw_output out = {.size = sizeof(out)};
			/* Where in their batch: a, b, e in the first, b, e, a in the others. */
			uint32_t at_a = done ? 2 : A - 1, at_b = done ? 0 : A + B - 1;

			waited(c, step[done]);
			assert_int_equal(zw_ctx_output(c, step[done], at_a, &out), 0);
			assert_int_equal(out.argmax, next_a[done]);
			assert_int_equal(zw_ctx_output(c, step[done], at_b, &out), 0);
			assert_int_equal(out.argmax, next_b[done]);
			assert_memory_equal(logits_of(c, step[done], done ? 1 : A + B),
					    want + (size_t)done * V, V * sizeof(*want));
			done++;
		}
		if (i < N)
			step[i] = submitted(c, t, i ? 3 : A + B + 1);
		t[0] = (struct zw_batch_token){ZW_ID_CHOSEN, B + i, b, ZW_WANT_ARGMAX};
		t[1] = (struct zw_batch_token){ids[i + 1], i + 1, e, ZW_WANT_LOGITS};
		t[2] = (struct zw_batch_token){ZW_ID_CHOSEN, A + i, a, ZW_WANT_ARGMAX};
	}
	free(want);
	zw_ctx_destroy(c);
}

static void expect_no_choice(const char *what, struct zw_ctx *c, uint32_t seq, uint32_t pos)
{
	struct zw_batch_token t = {ZW_ID_CHOSEN, pos, seq, ZW_WANT_ARGMAX};
	struct zw_error err = {""};
	uint64_t step;

	if (submit(c, &t, 1, &step, &err) != -EINVAL)
		fail_msg("%s: not refused", what);
	expect_words(what, &err, "not chosen");
}

/* Where nothing was chosen, or where it was is not known any more. */
static void test_not_chosen(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.max_seqs = 3, .batch = 8, .steps = 2});
	uint32_t a = sequence(c), b = sequence(c), fork;
	struct zw_batch_token t[2] = {{5, 0, a, 0}}, u = {7, 0, b, 0};
	struct zw_output out = {.size = sizeof(out)};
	struct zw_error err = {""};
	uint64_t step;
	int64_t best;

	expect_no_choice("an empty sequence", c, a, 0);
	waited(c, submitted(c, t, 1));
	expect_no_choice("wanted nothing", c, a, 1);
	t[0] = (struct zw_batch_token){6, 1, a, ZW_WANT_ARGMAX};
	step = submitted(c, t, 1);
	waited(c, step);
	assert_int_equal(zw_ctx_output(c, step, 0, &out), 0);
	best = out.argmax;
	/* A choice of its own is for its first token; a refused batch leaves it. */
	t[0] = (struct zw_batch_token){ZW_ID_CHOSEN, 2, a, 0};
	t[1] = (struct zw_batch_token){ZW_ID_CHOSEN, 3, a, 0};
	assert_int_equal(submit(c, t, 2, &step, &err), -EINVAL);
	expect_words("twice", &err, "token 1: ");
	assert_int_equal(zw_seq_fork(c, a, 2, &fork), 0);
	expect_no_choice("a fork", c, fork, 2);
	/* One step later it is there, and the host's id in its place gives the same. */
	waited(c, submitted(c, &u, 1));
	t[0].want = ZW_WANT_ARGMAX;
	step = submitted(c, t, 1);
	waited(c, step);
	assert_int_equal(zw_ctx_output(c, step, 0, &out), 0);
	t[1] = (struct zw_batch_token){(uint32_t)best, 2, fork, ZW_WANT_ARGMAX};
	best = out.argmax;
	step = submitted(c, t + 1, 1);
	waited(c, step);
	assert_int_equal(zw_ctx_output(c, step, 0, &out), 0);
	assert_int_equal(out.argmax, best);
	/* Two steps later its slot has been used again. */
	u.pos = 1;
	waited(c, submitted(c, &u, 1));
	expect_no_choice("two steps ago", c, a, 3);
	/* Of the fork it is one step ago. */
	assert_int_equal(zw_seq_truncate(c, fork, 3), 0);
	assert_int_equal(zw_seq_truncate(c, fork, 2), 0);
	expect_no_choice("truncated", c, fork, 2);
	zw_ctx_destroy(c);
}

/* ---- what is wanted ---- */

static uint32_t best_of(const float *x, uint32_t n)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < n; i++) {
		if (x[i] > x[best])
			best = i;
	}
	return best;
}

/* Any mix of wants in one step, each against the host's own choice from all logits. */
static void test_wants(void **state)
{
	enum { N = 24, K = 7 };
	struct zw_ctx *c = context((struct zw_ctx_options){
		.batch = N, .outputs = 20, .logits = 9, .top_k = K, .vocab = V - 20});
	struct zw_batch_token t[N];
	uint32_t ids[N], seq = sequence(c);
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_sampler *greedy;
	float *want;

	assert_int_equal(zw_sampler_open(&sp, &greedy, NULL), 0);
	for (uint32_t i = 0; i < N; i++)
		ids[i] = pick(V);
	want = solo(ids, N);
	for (int round = 0; round < 20; round++) {
		uint32_t outputs = 0, logits = 0;
		uint64_t step;

		for (uint32_t i = 0; i < N; i++) {
			uint32_t w = pick(8);

			if (outputs == 20)
				w = 0;
			if (logits == 9)
				w &= ~(uint32_t)ZW_WANT_LOGITS;
			outputs += w != 0;
			logits += !!(w & ZW_WANT_LOGITS);
			t[i] = (struct zw_batch_token){ids[i], i, seq, w};
		}
		step = submitted(c, t, N);
		waited(c, step);
		for (uint32_t i = 0; i < N; i++) {
			const float *row = want + (size_t)i * V;
			struct zw_output o = {.size = sizeof(o)};
			uint32_t id;

			if (!t[i].want) {
				assert_int_equal(zw_ctx_output(c, step, i, &o), -EINVAL);
				continue;
			}
			assert_int_equal(zw_ctx_output(c, step, i, &o), 0);
			assert_int_equal(!!o.logits, !!(t[i].want & ZW_WANT_LOGITS));
			if (o.logits)
				assert_memory_equal(o.logits, row, V * sizeof(*row));
			assert_int_equal(zw_sampler_pick(greedy, row, V - 20, &id, NULL), 0);
			if (t[i].want & ZW_WANT_ARGMAX)
				assert_int_equal(o.argmax, id);
			assert_int_equal(o.num_top, t[i].want & ZW_WANT_TOPK ? K : 0);
			for (uint32_t k = 0; k < o.num_top; k++) {
				assert_true(o.top_ids[k] >= 0 && o.top_ids[k] < (int)V - 20);
				assert_true(o.top_logits[k] == row[o.top_ids[k]]);
				if (k)
					assert_true(o.top_logits[k] <= o.top_logits[k - 1]);
				else
					assert_int_equal(o.top_ids[0], best_of(row, V - 20));
			}
		}
		assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
	}
	zw_sampler_close(greedy);
	free(want);
	zw_ctx_destroy(c);
}

/* Logits cross PCIe only where they are asked for, and then as many rows as are. */
static void test_bytes(void **state)
{
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.batch = 64, .outputs = 64, .top_k = 4, .max_seqs = 1});
	const uint32_t wants[] = {0, ZW_WANT_ARGMAX, ZW_WANT_TOPK, ZW_WANT_LOGITS};
	/* Of three rows: id and probe of each; candidates; logits. */
	const uint32_t bytes[] = {0, 3 * 8, 3 * 8 + 3 * 4 * 8, 3 * 8 + 3 * 4 * V};
	const uint32_t tail[] = {0, 5, 6, 7};
	/* Two more in one with experts, which in that shape one has not. */
	const uint32_t layers = 13 * fix.s.layers + (fix.s.e ? 2 * (fix.s.layers - 1) : 0);
	struct zw_batch_token t[10];
	uint32_t seq = sequence(c);

	for (uint32_t k = 0; k < 4; k++) {
		struct zw_ctx_stats a = {.size = sizeof(a)}, b = a;

		zw_ctx_get_stats(c, &a);
		assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
		for (uint32_t i = 0; i < 10; i++)
			t[i] = (struct zw_batch_token){i, i, seq, i >= 7 ? wants[k] : 0};
		waited(c, submitted(c, t, 10));
		zw_ctx_get_stats(c, &b);
		assert_int_equal(b.sys_written - a.sys_written, bytes[k]);
		/* Nor does a step run what nobody wants. */
		assert_int_equal(b.packets - a.packets, 1 + layers + tail[k]);
	}
	zw_ctx_destroy(c);
}

/* ---- refusals ---- */

static void test_refused(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = 40,
							   .max_seqs = 2,
							   .batch = 36,
							   .outputs = 2,
							   .logits = 1,
							   .pool_tokens = 64});
	uint32_t a = sequence(c), b = sequence(c), other;
	struct zw_batch batch = {
		.size = sizeof(batch), .count = 1, .token_size = sizeof(struct zw_batch_token)};
	struct zw_batch_token t[41];
	struct zw_ctx_stats stats = {.size = sizeof(stats)};
	struct zw_error err = {""};
	uint64_t step = 77;

#define REFUSED(code, words, n, ...)                                                               \
	do {                                                                                       \
		struct zw_batch_token list[] = {__VA_ARGS__};                                      \
		memcpy(t, list, sizeof(list));                                                     \
		assert_int_equal(submit(c, t, n, &step, &err), code);                              \
		expect_words(words, &err, words);                                                  \
	} while (0)
	REFUSED(-EINVAL, "0 tokens|1 to 36", 0, {0});
	REFUSED(-EINVAL, "37 tokens|1 to 36", 37, {0});
	REFUSED(-ERANGE, "97", 1, {97, 0, a});
	REFUSED(-ENOENT, "no sequence 2", 1, {0, 0, 2});
	REFUSED(-EINVAL, "position 1|next one is 0", 1, {0, 1, a});
	REFUSED(-EINVAL, "position 0|next one is 1", 2, {0, 0, a}, {0, 0, a});
	REFUSED(-EINVAL, "position 2|next one is 1", 3, {0, 0, a}, {0, 0, b}, {0, 2, a});
	REFUSED(-EINVAL, "wants", 1, {0, 0, a, 8});
	REFUSED(-EINVAL, "top_k", 1, {0, 0, a, ZW_WANT_TOPK});
	REFUSED(-EINVAL, "3 outputs", 3, {0, 0, a, 2}, {0, 1, a, 2}, {0, 2, a, 2});
	REFUSED(-EINVAL, "2 of them logits", 2, {0, 0, a, 1}, {0, 1, a, 1});
	batch.tokens = t;
	batch.token_size = 12;
	assert_int_equal(zw_ctx_submit(c, &batch, &step, &err), -EINVAL);
	batch.token_size = sizeof(t[0]);
	batch.flags = 1;
	assert_int_equal(zw_ctx_submit(c, &batch, &step, &err), -EINVAL);
	batch.flags = 0;
	batch.size = 8;
	assert_int_equal(zw_ctx_submit(c, &batch, &step, &err), -EINVAL);
	/* Nothing of all this has left a trace. */
	assert_int_equal(step, 77);
	assert_int_equal(zw_seq_length(c, a), 0);
	assert_int_equal(blocks_free(c), 2);
	zw_ctx_get_stats(c, &stats);
	assert_int_equal(stats.steps + stats.jobs + stats.tokens, 0);

	/* The pool: two blocks for two sequences that may have two each. */
	for (uint32_t i = 0; i < 33; i++)
		t[i] = (struct zw_batch_token){i, i, a, 0};
	waited(c, submitted(c, t, 33));
	REFUSED(-ENOSPC, "pool|0 of 2", 1, {0, 0, b});
	assert_int_equal(zw_seq_length(c, b), 0);
	assert_int_equal(zw_seq_create(c, &other), -ENOSPC);
	assert_int_equal(zw_seq_fork(c, a, 33, &other), -ENOSPC);
	assert_int_equal(zw_seq_remove(c, b), 0);
	assert_int_equal(zw_seq_remove(c, b), -ENOENT);
	assert_int_equal(zw_seq_length(c, b), -ENOENT);
	assert_int_equal(zw_seq_fork(c, a, 34, &other), -EINVAL);
	/* A fork takes no block until somebody writes to one that is shared. */
	assert_int_equal(zw_seq_fork(c, a, 33, &other), 0);
	assert_int_equal(other, b);
	REFUSED(-ENOSPC, "pool", 1, {0, 33, b});
	assert_int_equal(zw_seq_truncate(c, b, 32), 0);
	REFUSED(-ENOSPC, "pool", 1, {0, 32, b});
	assert_int_equal(zw_seq_truncate(c, a, 32), 0);
	REFUSED(-ENOSPC, "pool", 2, {0, 32, a}, {0, 32, b});
	waited(c, submitted(c, (struct zw_batch_token[]){{0, 32, b, 0}}, 1));
	assert_int_equal(zw_seq_remove(c, b), 0);
	for (uint32_t i = 0; i < 8; i++)
		t[i] = (struct zw_batch_token){i, 32 + i, a, 0};
	waited(c, submitted(c, t, 8));
	REFUSED(-ENOSPC, "than 40", 1, {0, 40, a});
	assert_int_equal(zw_seq_truncate(c, a, 41), -EINVAL);
	zw_ctx_destroy(c);
}

static void test_options(void **state)
{
	const struct {
		struct zw_ctx_options o;
		const char *words;
	} bad[] = {
		{{.flags = 1}, "flags"},
		{{.context = 301}, "301|300"},
		{{.max_seqs = ZW_CTX_MAX_SEQS + 1}, "max_seqs"},
		{{.batch = ZW_CTX_MAX_BATCH + 1}, "batch"},
		{{.batch = 4, .outputs = 5}, "outputs"},
		{{.batch = 4, .outputs = 3, .logits = 4}, "logits"},
		{{.top_k = V + 1}, "top_k"},
		{{.top_k = 10, .vocab = 9}, "top_k"},
		{{.vocab = V + 1}, "vocab"},
		{{.steps = ZW_CTX_MAX_STEPS + 1}, "steps"},
		{{.pool_tokens = 5}, "pool_tokens"},
		{{.pool_tokens = UINT64_MAX}, "pool_tokens"},
		{{.without = ZW_PKT_F_DEPS}, "without"},
	};
	struct zw_ctx_options o = {.size = 8};
	struct zw_ctx *c = NULL;
	struct zw_error err;
	struct {
		struct zw_ctx_options o;
		uint64_t tail;
	} longer = {.o.size = sizeof(longer)};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		o = bad[i].o;
		o.size = sizeof(o);
		assert_int_equal(zw_ctx_create(model, &o, &c, &err), -EINVAL);
		assert_null(c);
		expect_words(bad[i].words, &err, bad[i].words);
	}
	o = (struct zw_ctx_options){.size = 8};
	assert_int_equal(zw_ctx_create(model, &o, &c, &err), -EINVAL);
	/* A newer caller's structure, as long as it asks for nothing that is not known here. */
	assert_int_equal(zw_ctx_create(model, &longer.o, &c, &err), 0);
	zw_ctx_destroy(c);
	longer.tail = 1;
	assert_int_equal(zw_ctx_create(model, &longer.o, &c, &err), -E2BIG);
}

/* Steps that go without something of the chip: the same bits at other times. */
static void test_without(void **state)
{
	static const uint32_t without[] = {0, ZW_PKT_F_NO_KV_CACHE | ZW_PKT_F_NO_SPARSE,
					   ZW_PKT_F_NO_FUSED,
					   ZW_PKT_F_NO_FUSED | ZW_PKT_F_NO_TENSOR};
	struct zw_ctx_stats s = {.size = sizeof(s)};
	float *first = malloc(V * sizeof(*first));
	uint64_t last = 0;
	uint32_t ids[20];

	for (uint32_t i = 0; i < 20; i++)
		ids[i] = pick(V);
	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
		struct zw_ctx *c = context((struct zw_ctx_options){.without = without[i]});
		const float *x = append(c, sequence(c), ids, 20);

		if (!i)
			memcpy(first, x, V * sizeof(*x));
		assert_memory_equal(first, x, V * sizeof(*x));
		assert_int_equal(zw_ctx_get_stats(c, &s), 0);
		/*
		 * The profile has no KV blocks on the chip, and nothing here is sparse. Products as small as
		 * these may be done sooner where no tile has to be filled.
		 */
		if (i == 1)
			assert_int_equal(s.sim_ps, last);
		else if (i == 3)
			assert_int_not_equal(s.sim_ps, last);
		else
			assert_true(s.sim_ps > last);
		last = s.sim_ps;
		zw_ctx_destroy(c);
	}
	free(first);
}

/* ---- forks and snapshots ---- */

/*
 * Shorter and longer forks of one text go on differently in one step: each writes into a block that
 * the others read. And a snapshot brings back what was, as often as wanted.
 */
static void test_forks(void **state)
{
	enum { N = 45, FORKS = 6 };
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = 100, .max_seqs = FORKS + 1, .batch = 64, .outputs = FORKS + 1});
	struct zw_batch_token t[FORKS + 1];
	uint32_t ids[N + 1], seq[FORKS + 1], len[FORKS + 1], all = blocks_free(c), used;
	struct zw_snapshot *snap;
	uint64_t step;
	float *want;

	for (uint32_t i = 0; i <= N; i++)
		ids[i] = pick(V);
	seq[0] = sequence(c);
	len[0] = N;
	append(c, seq[0], ids, N);
	used = all - blocks_free(c);
	assert_int_equal(used, 2);
	assert_int_equal(zw_seq_snapshot(c, seq[0], &snap), 0);
	for (uint32_t k = 1; k <= FORKS; k++) {
		len[k] = 33 + 2 * k; /* all end within the second block */
		assert_int_equal(zw_seq_fork(c, seq[0], len[k], &seq[k]), 0);
	}
	assert_int_equal(all - blocks_free(c), used);
	for (int round = 0; round < 2; round++) {
		for (uint32_t k = 0; k <= FORKS; k++)
			t[k] = (struct zw_batch_token){(k * 11 + 5) % V, len[k], seq[k],
						       ZW_WANT_LOGITS};
		step = submitted(c, t, FORKS + 1);
		waited(c, step);
		for (uint32_t k = 0; k <= FORKS; k++) {
			uint32_t text[N + 1];

			memcpy(text, ids, len[k] * sizeof(*ids));
			text[len[k]] = t[k].id;
			want = solo(text, len[k] + 1);
			assert_memory_equal(logits_of(c, step, k), want + (size_t)len[k] * V,
					    V * sizeof(*want));
			free(want);
		}
		/* Back to the text as it was: all seven from one snapshot. */
		for (uint32_t k = 0; k <= FORKS; k++) {
			assert_int_equal(zw_seq_restore(c, seq[k], snap), 0);
			assert_int_equal(zw_seq_length(c, seq[k]), N);
			len[k] = N;
		}
		assert_int_equal(all - blocks_free(c), used);
	}
	for (uint32_t k = 0; k <= FORKS; k++)
		assert_int_equal(zw_seq_remove(c, seq[k]), 0);
	assert_int_equal(all - blocks_free(c), used); /* the snapshot's */
	zw_snapshot_destroy(snap);
	assert_int_equal(blocks_free(c), all);
	zw_ctx_destroy(c);
}

/* ---- failures ---- */

/* Spoils the first packet of a slot's command buffer; the second call mends it. */
static void spoil(struct zw_ctx *c, uint32_t slot)
{
	uint16_t *opcode = (uint16_t *)(void *)((char *)c->code.ptr + c->slot[slot].code_off);

	*opcode ^= 0x8000;
}

/* Two good sequences, a fork with a shared block among them; then a step that fails. */
static void test_failed_step(void **state)
{
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.context = 100, .max_seqs = 3, .batch = 64, .outputs = 3});
	uint32_t ids[42], a = sequence(c), b, d = sequence(c), all, used;
	struct zw_batch_token t[3];
	struct zw_error err = {""};
	struct zw_output out = {.size = sizeof(out)};
	uint64_t step[3];
	float *want;
	int ret;

	for (uint32_t i = 0; i < 42; i++)
		ids[i] = pick(V);
	want = solo(ids, 42);
	all = blocks_free(c);
	append(c, a, ids, 40);
	assert_int_equal(zw_seq_fork(c, a, 40, &b), 0);
	append(c, d, ids, 10);
	used = all - blocks_free(c);

	/* Slots are used in turn: a good step, one that fails, and (at once) nothing behind it. */
	t[0] = (struct zw_batch_token){ids[10], 10, d, ZW_WANT_LOGITS};
	t[1] = (struct zw_batch_token){ids[40], 40, a, ZW_WANT_LOGITS};
	t[2] = (struct zw_batch_token){ids[40], 40, b, ZW_WANT_LOGITS};
	for (int round = 0; round < 3; round++) {
		uint32_t bad = c->slot[0].step > c->slot[1].step ? 0 : 1;

		spoil(c, bad);
		step[0] = submitted(c, &t[0], 1);
		step[1] = submitted(c, &t[1], 2); /* copies a block for each of the two */
		assert_int_equal(zw_ctx_wait(c, step[1], ZW_FOREVER, &err), -EIO);
		expect_words("failed", &err, "packet 0|refused");
		assert_int_equal(zw_ctx_output(c, step[1], 0, &out), -ENOENT);
		/* The step before it went well, and it alone has changed something. */
		waited(c, step[0]);
		assert_memory_equal(logits_of(c, step[0], 0), want + 10 * (size_t)V,
				    V * sizeof(*want));
		assert_int_equal(zw_seq_length(c, d), 11);
		assert_int_equal(zw_seq_length(c, a), 40);
		assert_int_equal(zw_seq_length(c, b), 40);
		assert_int_equal(all - blocks_free(c), used);
		spoil(c, bad);
		assert_int_equal(zw_seq_truncate(c, d, 10), 0);

		/* On with a new queue over the same memory: the bits are those of the solo run. */
		step[2] = submitted(c, t, 3);
		waited(c, step[2]);
		assert_memory_equal(logits_of(c, step[2], 0), want + 10 * (size_t)V,
				    V * sizeof(*want));
		for (uint32_t k = 1; k < 3; k++)
			assert_memory_equal(logits_of(c, step[2], k), want + 40 * (size_t)V,
					    V * sizeof(*want));
		assert_int_equal(zw_seq_truncate(c, d, 10), 0);
		assert_int_equal(zw_seq_remove(c, b), 0);
		assert_int_equal(zw_seq_truncate(c, a, 40), 0);
		assert_int_equal(zw_seq_fork(c, a, 40, &b), 0);
		assert_int_equal(all - blocks_free(c), used);
	}
	/* A failure takes the steps behind it along; the newest is undone first. */
	{
		uint32_t bad = c->slot[0].step > c->slot[1].step ? 1 : 0;
		struct zw_batch_token first = {ids[40], 40, a, 0}, then = {ids[41], 41, a, 0};

		spoil(c, bad);
		step[0] = submitted(c, &first, 1);
		ret = submit(c, &then, 1, &step[1], &err);
		if (ret) {
			/* The first had failed already. It says so and has changed nothing. */
			assert_int_equal(ret, -EIO);
			assert_int_equal(zw_seq_length(c, a), 41);
			step[1] = step[0];
		} else {
			assert_int_equal(zw_seq_length(c, a), 42);
		}
		assert_int_equal(zw_ctx_wait(c, step[0], ZW_FOREVER, &err), -EIO);
		assert_int_equal(zw_ctx_wait(c, step[1], ZW_FOREVER, &err), -EIO);
		assert_int_equal(zw_seq_length(c, a), 40);
		spoil(c, bad);
		assert_memory_equal(append(c, a, ids + 40, 2), want + 41 * (size_t)V,
				    V * sizeof(*want));
		assert_memory_equal(append(c, b, ids + 40, 2), want + 41 * (size_t)V,
				    V * sizeof(*want));
	}
	/* What was chosen before a step that failed is known behind it, and gives the same as by name. */
	{
		uint32_t bad = c->slot[0].step > c->slot[1].step ? 0 : 1;
		struct zw_batch_token first = {ids[40], 40, a, ZW_WANT_ARGMAX},
				      then = {ZW_ID_CHOSEN, 41, a, ZW_WANT_LOGITS};

		assert_int_equal(zw_seq_truncate(c, a, 40), 0);
		step[0] = submitted(c, &first, 1);
		waited(c, step[0]);
		assert_int_equal(zw_ctx_output(c, step[0], 0, &out), 0);
		spoil(c, bad);
		step[1] = submitted(c, &then, 1);
		assert_int_equal(zw_ctx_wait(c, step[1], ZW_FOREVER, &err), -EIO);
		spoil(c, bad);
		step[1] = submitted(c, &then, 1);
		waited(c, step[1]);
		ids[41] = (uint32_t)out.argmax;
		free(want);
		want = solo(ids, 42);
		assert_memory_equal(logits_of(c, step[1], 0), want + 41 * (size_t)V,
				    V * sizeof(*want));
	}
	/* A queue that fails while nothing runs, as after a reset, costs nothing. */
	spoil(c, 0);
	assert_int_equal(zw_queue_run(c->queue, c->code.va + c->slot[0].code_off,
				      c->slot[0].end_body, 0, ZW_FOREVER),
			 -EIO);
	spoil(c, 0);
	assert_int_equal(zw_seq_truncate(c, a, 40), 0);
	assert_memory_equal(append(c, a, ids + 40, 2), want + 41 * (size_t)V, V * sizeof(*want));
	free(want);
	zw_ctx_destroy(c);
}

struct canceller {
	struct zw_ctx *c;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint64_t at;
	bool go, gone; /* it may; it has */
};

static void *cancel_thread(void *arg)
{
	struct canceller *k = arg;

	pthread_mutex_lock(&k->lock);
	while (!k->go)
		pthread_cond_wait(&k->cond, &k->lock);
	pthread_mutex_unlock(&k->lock);
	zw_ctx_cancel(k->c);
	pthread_mutex_lock(&k->lock);
	k->gone = true;
	pthread_cond_signal(&k->cond);
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

static int let_go(void *opaque, uint64_t done, uint64_t total)
{
	struct canceller *k = opaque;

	assert_true(done <= total);
	if (done == k->at) {
		pthread_mutex_lock(&k->lock);
		k->go = true;
		pthread_cond_signal(&k->cond);
		pthread_mutex_unlock(&k->lock);
	}
	/* On a busy machine the other thread may not come to it before all is done. */
	if (done + 5 == total) {
		pthread_mutex_lock(&k->lock);
		while (!k->gone)
			pthread_cond_wait(&k->cond, &k->lock);
		pthread_mutex_unlock(&k->lock);
	}
	return 0;
}

static int call_off(void *opaque, uint64_t done, uint64_t total)
{
	return done == *(uint64_t *)opaque;
}

/* Cancelled in the middle, by another thread and by the callback; the rest goes on from there. */
static void test_cancel(void **state)
{
	enum { N = 290 };
	struct zw_ctx *c = context((struct zw_ctx_options){.context = 300, .batch = 1});
	uint32_t ids[N], seq = sequence(c);
	struct canceller k = {.c = c, .at = 5};
	struct zw_eval_options opt = {.size = sizeof(opt), .progress = let_go, .opaque = &k};
	struct zw_error err = {""};
	struct zw_batch_token t[2];
	uint64_t stop = 9, step[2];
	int64_t length;
	pthread_t thread;
	float *want;
	int ret;

	for (uint32_t i = 0; i < N; i++)
		ids[i] = pick(V);
	want = solo(ids, N);
	pthread_mutex_init(&k.lock, NULL);
	pthread_cond_init(&k.cond, NULL);
	assert_int_equal(pthread_create(&thread, NULL, cancel_thread, &k), 0);
	assert_int_equal(zw_ctx_eval(c, seq, ids, N, &opt, NULL, &err), -ECANCELED);
	pthread_join(thread, NULL);
	length = zw_seq_length(c, seq);
	assert_true(length >= 5 && length < N);
	assert_memory_equal(append(c, seq, ids + length, N - (uint32_t)length),
			    want + (N - 1) * (size_t)V, V * sizeof(*want));

	assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
	opt.progress = call_off;
	opt.opaque = &stop;
	assert_int_equal(zw_ctx_eval(c, seq, ids, N, &opt, NULL, &err), -ECANCELED);
	length = zw_seq_length(c, seq);
	/* What was in flight beside the ninth may have been done already. */
	assert_true(length >= 9 && length <= 10);

	/* Steps that the caller submitted. Each is done, or undone and called cancelled. */
	for (uint32_t i = 0; i < 2; i++) {
		t[i] = (struct zw_batch_token){ids[length + i], (uint32_t)length + i, seq, 0};
		step[i] = submitted(c, &t[i], 1);
	}
	zw_ctx_cancel(c);
	zw_ctx_cancel(c);
	for (uint32_t i = 0; i < 2; i++) {
		ret = zw_ctx_wait(c, step[i], ZW_FOREVER, &err);
		if (ret)
			assert_int_equal(ret, -ECANCELED);
		else
			length++;
	}
	assert_int_equal(zw_seq_length(c, seq), length);
	zw_ctx_cancel(c); /* nothing runs: nothing happens */
	assert_memory_equal(append(c, seq, ids + length, N - (uint32_t)length),
			    want + (N - 1) * (size_t)V, V * sizeof(*want));

	/* Cancelled and not waited for: the next submit says so, once. */
	assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
	do {
		for (uint32_t i = 0; i < 2; i++) {
			t[i] = (struct zw_batch_token){ids[i], i, seq, 0};
			step[i] = submitted(c, &t[i], 1);
		}
		zw_ctx_cancel(c);
		t[0].pos = 0;
		ret = submit(c, t, 1, &step[0], &err);
		if (ret != -ECANCELED) /* both were done: the position is wrong now */
			assert_int_equal(ret, -EINVAL);
		if (zw_seq_length(c, seq) == 2)
			assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
	} while (ret != -ECANCELED);
	length = zw_seq_length(c, seq);
	assert_true(length < 2);
	assert_memory_equal(append(c, seq, ids + length, N - (uint32_t)length),
			    want + (N - 1) * (size_t)V, V * sizeof(*want));
	free(want);
	zw_ctx_destroy(c);
}

static int cancel_here(void *opaque, uint64_t done, uint64_t total)
{
	if (done == 5)
		zw_ctx_cancel(opaque);
	return 0;
}

static int cancel_at_third(void *opaque, uint32_t id)
{
	struct canceller *k = opaque;

	if (++k->at == 3)
		zw_ctx_cancel(k->c);
	return 0;
}

/* A cancel between two steps, when nothing is in flight, is not lost. */
static void test_cancel_between(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.batch = 1, .steps = 1});
	struct zw_eval_options opt = {.size = sizeof(opt), .progress = cancel_here, .opaque = c};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct canceller k = {.c = c};
	struct zw_generate_params p = {
		.size = sizeof(p), .max_tokens = 20, .token = cancel_at_third, .opaque = &k};
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_error err = {""};
	uint32_t ids[20] = {1, 2, 3}, seq = sequence(c);

	assert_int_equal(zw_ctx_eval(c, seq, ids, 20, &opt, NULL, &err), -ECANCELED);
	assert_int_equal(zw_seq_length(c, seq), 5);
	p.seq = seq;
	assert_int_equal(zw_sampler_open(&sp, &p.sampler, &err), 0);
	assert_int_equal(zw_generate(c, &p, ids, 3, &r, &err), -ECANCELED);
	assert_int_equal(k.at, 3);
	assert_int_equal(zw_seq_length(c, seq), 5 + 3 + 2);
	zw_sampler_close(p.sampler);
	zw_ctx_destroy(c);
}

/* A context with steps in flight can go. */
static void test_destroy_busy(void **state)
{
	for (int round = 0; round < 5; round++) {
		struct zw_ctx *c = context((struct zw_ctx_options){.batch = 64});
		struct zw_batch_token t[64];
		uint32_t seq = sequence(c);

		for (uint32_t k = 0; k < 2; k++) {
			for (uint32_t i = 0; i < 64; i++)
				t[i] = (struct zw_batch_token){i % V, 64 * k + i, seq, 0};
			submitted(c, t, 64);
		}
		zw_ctx_destroy(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_sequences), cmocka_unit_test(test_in_flight),
		cmocka_unit_test(test_chosen),         cmocka_unit_test(test_not_chosen),
		cmocka_unit_test(test_wants),          cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_refused),        cmocka_unit_test(test_options),
		cmocka_unit_test(test_without),        cmocka_unit_test(test_forks),
		cmocka_unit_test(test_failed_step),    cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_between), cmocka_unit_test(test_destroy_busy),
	};

	return cmocka_run_group_tests_name("context", tests, open_all, close_all);
}
