/* SPDX-License-Identifier: MIT */
/* Shared by the tests of contexts: one small model on the sim transport, or on $ZW_TEST_DEVICE. */
#ifndef CTX_TEST_H
#define CTX_TEST_H

#include "dev_test.h"
#include "llm_fixture.h"

#include "ctx.h"

/* What a test may have otherwise, in front of this file. */
#ifndef TEST_SHAPE
#define TEST_SHAPE 0 /* without $ZW_TEST_SHAPE */
#endif
#ifndef SOLO_BATCH
#define SOLO_BATCH 64
#endif

static struct zw_dev *dev;
static struct fixture fix;
static struct zw_model *model;
static uint32_t V; /* of the model */

static uint64_t rng = 7;

/* 0 .. n - 1 */
static inline uint32_t pick(uint32_t n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng >> 33) % n;
}

/* $ZW_TEST_KV: the number of the type of the KV cache, where a test names none. */
static inline struct zw_ctx *context(struct zw_ctx_options o)
{
	const char *kv = getenv("ZW_TEST_KV");
	struct zw_error err = {""};
	struct zw_ctx *c;

	o.size = sizeof(o);
	if (kv && !o.kv_dtype)
		o.kv_dtype = (uint32_t)atoi(kv);
	if (zw_ctx_create(model, &o, &c, &err))
		fail_msg("%s", err.msg);
	return c;
}

static inline uint32_t sequence(struct zw_ctx *c)
{
	uint32_t seq;

	assert_int_equal(zw_seq_create(c, &seq), 0);
	return seq;
}

static inline uint32_t blocks_free(const struct zw_ctx *c)
{
	struct zw_ctx_info info = {.size = sizeof(info)};

	assert_int_equal(zw_ctx_get_info(c, &info), 0);
	return info.blocks_free;
}

/* Logits of every token of a text that is alone in its context, in steps of SOLO_BATCH. */
static inline float *solo(const uint32_t *ids, uint32_t n)
{
	struct zw_ctx *c =
		context((struct zw_ctx_options){.batch = SOLO_BATCH, .outputs = SOLO_BATCH});
	float *x = malloc((size_t)n * V * sizeof(*x));
	struct zw_eval_options opt = {.size = sizeof(opt), .all_logits = x};
	struct zw_error err = {""};

	if (zw_ctx_eval(c, sequence(c), ids, n, &opt, NULL, &err))
		fail_msg("%s", err.msg);
	zw_ctx_destroy(c);
	return x;
}

static inline int submit(struct zw_ctx *c, const struct zw_batch_token *t, uint32_t n,
			 uint64_t *step, struct zw_error *err)
{
	struct zw_batch b = {.size = sizeof(b), .count = n, .token_size = sizeof(*t), .tokens = t};

	return zw_ctx_submit(c, &b, step, err);
}

static inline uint64_t submitted(struct zw_ctx *c, const struct zw_batch_token *t, uint32_t n)
{
	struct zw_error err = {""};
	uint64_t step;

	if (submit(c, t, n, &step, &err))
		fail_msg("%s", err.msg);
	return step;
}

static inline void waited(struct zw_ctx *c, uint64_t step)
{
	struct zw_error err = {""};

	if (zw_ctx_wait(c, step, ZW_FOREVER, &err))
		fail_msg("%s", err.msg);
}

static inline const float *logits_of(struct zw_ctx *c, uint64_t step, uint32_t index)
{
	struct zw_output out = {.size = sizeof(out)};

	assert_int_equal(zw_ctx_output(c, step, index, &out), 0);
	assert_non_null(out.logits);
	return out.logits;
}

/* The logits of the last of n tokens that are appended alone. */
static inline const float *append(struct zw_ctx *c, uint32_t seq, const uint32_t *ids, uint32_t n)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .want = ZW_WANT_LOGITS};
	struct zw_output out = {.size = sizeof(out)};
	struct zw_error err = {""};

	if (zw_ctx_eval(c, seq, ids, n, &opt, &out, &err))
		fail_msg("%s", err.msg);
	return out.logits;
}

static inline int open_all(void **state)
{
	const char *shape = getenv("ZW_TEST_SHAPE");
	struct zw_error err = {""};

	dev = open_dev(getenv("ZW_TEST_DEVICE"));
	fixture_make(&fix, fixture_shapes[shape ? atoi(shape) : TEST_SHAPE]);
	fixture_write(&fix);
	if (zw_model_open(dev, fix.dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
	V = fix.s.v;
	return 0;
}

static inline int close_all(void **state)
{
	assert_int_equal(zw_model_close(model), 0);
	assert_int_equal(zw_dev_close(dev), 0);
	fixture_free(&fix);
	return 0;
}

#endif
