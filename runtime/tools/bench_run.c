// SPDX-License-Identifier: MIT
#include "bench_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AHEAD 2 /* steps in flight while decoding */

struct bench {
	const struct bench_test *t;
	struct zw_ctx *ctx;
	uint32_t vocab;
	uint32_t *ids; /* random ones, as many as the longest text */
	uint32_t *seqs;
	struct zw_batch_token *tokens;
	struct zw_snapshot *begin; /* a sequence of `depth` tokens */
	int (*interrupted)(void);
	struct run_trace *trace;
};

static int fail(struct zw_error *err, int code, const char *msg)
{
	snprintf(err->msg, sizeof(err->msg), "%s", msg);
	return code;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
	const struct bench *b = opaque;

	(void)total;
	run_trace_step(b->trace, done ? "prompt" : NULL, "tokens", done);
	return b->interrupted();
}

static int eval(struct bench *b, uint32_t seq, uint32_t n, struct zw_error *err)
{
	struct zw_eval_options opt = {
		.size = sizeof(opt), .want = ZW_WANT_ARGMAX, .progress = on_progress, .opaque = b};
	struct zw_output out = {.size = sizeof(out)};

	return n ? zw_ctx_eval(b->ctx, seq, b->ids, n, &opt, &out, err) : 0;
}

/*
 * Every sequence is again what it was behind its first `depth` tokens. Where state cannot be rewound it
 * comes from the snapshot, and the block that is then shared is copied in the first step.
 */
static int rewind_all(struct bench *b, struct zw_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < b->t->seqs && !ret; i++) {
		ret = zw_seq_truncate(b->ctx, b->seqs[i], b->t->depth);
		if (ret == -EOPNOTSUPP)
			ret = zw_seq_restore(b->ctx, b->seqs[i], b->begin);
	}
	return ret ? fail(err, ret, strerror(-ret)) : 0;
}

static int prompts(struct bench *b, uint32_t n, struct zw_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < b->t->seqs && !ret; i++)
		ret = eval(b, b->seqs[i], n, err);
	return ret;
}

/*
 * n steps of one token of each sequence; the device goes on with what it chose. The host writes a step
 * while the device runs the one before.
 */
static int decode(struct bench *b, uint32_t n, struct zw_error *err)
{
	const struct bench_test *t = b->t;
	struct zw_batch batch = {.size = sizeof(batch),
				 .count = t->seqs,
				 .token_size = sizeof(b->tokens[0]),
				 .tokens = b->tokens};
	uint64_t steps[AHEAD];
	int ret = 0;

	for (uint32_t i = 0; i < n && !ret; i++) {
		for (uint32_t s = 0; s < t->seqs; s++)
			b->tokens[s] = (struct zw_batch_token){
				.id = i ? ZW_ID_CHOSEN : b->ids[0],
				.pos = t->depth + i,
				.seq = b->seqs[s],
				.want = ZW_WANT_ARGMAX,
			};
		if (i >= AHEAD)
			ret = zw_ctx_wait(b->ctx, steps[i % AHEAD], ZW_FOREVER, err);
		if (!ret && b->interrupted())
			ret = fail(err, -ECANCELED, "interrupted");
		if (!ret)
			ret = zw_ctx_submit(b->ctx, &batch, &steps[i % AHEAD], err);
		if (!ret)
			run_trace_step(b->trace, "decode", "step", i);
	}
	/* The last one is done when those before it are. */
	if (!ret && n)
		ret = zw_ctx_wait(b->ctx, steps[(n - 1) % AHEAD], ZW_FOREVER, err);
	return ret;
}

static int measure(struct bench *b, struct bench_sample *sample, struct zw_error *err)
{
	struct zw_ctx_stats before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
	uint64_t start;
	int ret = rewind_all(b, err);

	if (ret)
		return ret;
	zw_ctx_get_stats(b->ctx, &before);
	start = now_ns();
	ret = b->t->prompt ? prompts(b, b->t->prompt, err) : decode(b, b->t->gen, err);
	if (ret)
		return ret;
	sample->ns = now_ns() - start;
	zw_ctx_get_stats(b->ctx, &after);
	sample->sim_ps = after.sim_ps - before.sim_ps;
	return 0;
}

/* The first steps of a context touch memory for the first time. */
static int warm_up(struct bench *b, struct zw_error *err)
{
	uint32_t n = b->t->prompt < b->t->batch ? b->t->prompt : b->t->batch;
	int ret = rewind_all(b, err);

	if (ret)
		return ret;
	return b->t->prompt ? prompts(b, n, err) : decode(b, 1, err);
}

/*
 * All sequences begin with the same tokens, which are computed once. A first step, not measured, gives
 * each a block of its own in the place of the unfinished one that they share.
 */
static int begin(struct bench *b, struct zw_error *err)
{
	const struct bench_test *t = b->t;
	int ret = zw_seq_create(b->ctx, &b->seqs[0]);

	if (!ret) {
		ret = eval(b, b->seqs[0], t->depth, err);
		if (ret)
			return ret;
	}
	for (uint32_t i = 1; i < t->seqs && !ret; i++)
		ret = zw_seq_fork(b->ctx, b->seqs[0], t->depth, &b->seqs[i]);
	if (!ret)
		ret = zw_seq_snapshot(b->ctx, b->seqs[0], &b->begin);
	return ret ? fail(err, ret, strerror(-ret)) : decode(b, 1, err);
}

static int create(struct bench *b, struct zw_model *model, struct zw_error *err)
{
	const struct bench_test *t = b->t;
	struct zw_model_info info = {.size = sizeof(info)};
	struct zw_ctx_options opt = {.size = sizeof(opt), .max_seqs = t->seqs};
	uint64_t length = (uint64_t)t->depth + t->prompt + t->gen;
	uint32_t state = 1;

	zw_model_get_info(model, &info);
	if (length > info.max_context) {
		snprintf(err->msg, sizeof(err->msg), "%llu tokens are more than the model's %u",
			 (unsigned long long)length, info.max_context);
		return -EINVAL;
	}
	b->vocab = info.vocab_size;
	opt.context = (uint32_t)length;
	opt.batch = t->batch > t->seqs ? t->batch : t->seqs;
	opt.steps = AHEAD;
	tool_set_sparse(&t->sparse, &opt);
	opt.delta_chunked = t->delta_chunked;
	/* Room for the beginning, too, and for what is copied when sequences part. */
	opt.pool_tokens = (t->seqs + 1) * (length + 64);
	b->ids = malloc(length * sizeof(*b->ids));
	b->seqs = malloc(t->seqs * sizeof(*b->seqs));
	b->tokens = malloc(t->seqs * sizeof(*b->tokens));
	if (!b->ids || !b->seqs || !b->tokens)
		return fail(err, -ENOMEM, "out of memory");
	for (uint64_t i = 0; i < length; i++) {
		state = state * 1664525 + 1013904223;
		b->ids[i] = (uint32_t)(((uint64_t)state * b->vocab) >> 32);
	}
	return zw_ctx_create(model, &opt, &b->ctx, err);
}

int bench_run(struct zw_model *model, const struct bench_test *t, int (*interrupted)(void),
	      struct run_trace *trace, struct bench_sample *samples, struct zw_error *err)
{
	struct bench b = {.t = t, .interrupted = interrupted, .trace = trace};
	int ret = create(&b, model, err);

	if (!ret)
		ret = begin(&b, err);
	if (!ret && t->warmup)
		ret = warm_up(&b, err);
	for (uint32_t i = 0; i < t->runs && !ret; i++)
		ret = measure(&b, &samples[i], err);
	zw_snapshot_destroy(b.begin);
	zw_ctx_destroy(b.ctx);
	free(b.ids);
	free(b.seqs);
	free(b.tokens);
	return ret;
}
