// SPDX-License-Identifier: MIT
/* A model whose layers are on several devices: the bits of one that has them all; and what is refused. */
#include "dev_test.h"

#include "util.h"

#define CARDS_MAX 5
#define TOKENS    44 /* of each sequence */
#define SEQS      2
#define STEP      11 /* tokens of each sequence in a step */
#define ROWS      (SEQS * TOKENS)

static struct zw_dev *dev[CARDS_MAX];

static int open_devices(void **state)
{
	(void)state;
	for (int i = 0; i < CARDS_MAX; i++)
		dev[i] = open_dev(NULL);
	return 0;
}

static int close_devices(void **state)
{
	(void)state;
	for (int i = 0; i < CARDS_MAX; i++)
		assert_int_equal(zw_dev_close(dev[i]), 0);
	return 0;
}

static const char *path_of(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", test_dir("ZW_TEST_MODELS"), name);
	return path;
}

static struct zw_model *model_of(uint32_t card, const char *name, uint32_t first, uint32_t num)
{
	struct zw_model_options o = {.size = sizeof(o), .first_layer = first, .num_layers = num};
	struct zw_error err = {""};
	struct zw_model *m;

	if (zw_model_open(dev[card], path_of(name), &o, &m, &err))
		fail_msg("%s: %s", name, err.msg);
	return m;
}

static struct zw_model_info info_of(const struct zw_model *m)
{
	struct zw_model_info info = {.size = sizeof(info)};

	zw_model_get_info(m, &info);
	return info;
}

/* ---- a pipeline ---- */

struct card {
	struct zw_model *m;
	struct zw_ctx *c;
	uint32_t seq[SEQS];
};

static void open_card(struct card *k)
{
	struct zw_ctx_options o = {.size = sizeof(o),
				   .context = 64,
				   .max_seqs = SEQS,
				   .batch = SEQS * STEP,
				   .outputs = SEQS * STEP,
				   .logits = SEQS * STEP};
	struct zw_error err = {""};

	if (zw_ctx_create(k->m, &o, &k->c, &err))
		fail_msg("%s", err.msg);
	for (uint32_t s = 0; s < SEQS; s++)
		assert_int_equal(zw_seq_create(k->c, &k->seq[s]), 0);
}

/* Tokens of the sequences in turns, so that the rows of a step are in another order than its tokens. */
static uint64_t step_card(struct card *k, uint32_t at, uint32_t want, const float *hidden)
{
	struct zw_batch_token t[SEQS * STEP];
	struct zw_batch b = {.size = sizeof(b),
			     .count = SEQS * STEP,
			     .token_size = sizeof(t[0]),
			     .tokens = t,
			     .hidden = hidden};
	struct zw_error err = {""};
	uint64_t step;

	for (uint32_t i = 0; i < SEQS * STEP; i++)
		t[i] = (struct zw_batch_token){.id = (37 * i + 11 * at + 5) % 200,
					       .pos = at + i / SEQS,
					       .seq = k->seq[i % SEQS],
					       .want = want};
	if (zw_ctx_submit(k->c, &b, &step, &err) || zw_ctx_wait(k->c, step, ZW_FOREVER, &err))
		fail_msg("%s", err.msg);
	return step;
}

/* Logits of all tokens, [ROWS, V]. */
static float *run(const char *name, uint32_t cards, uint32_t *vocab)
{
	struct card k[CARDS_MAX] = {0};
	struct zw_model_info all;
	uint32_t first, num, end = 0;
	float *logits, *hidden;

	for (uint32_t i = 0; i < cards; i++) {
		uint32_t layers = i ? info_of(k[0].m).all_layers : 0;

		if (cards == 1) {
			k[i].m = model_of(i, name, 0, 0);
		} else if (!i) {
			k[i].m = model_of(i, name, 0, 1);
			layers = info_of(k[i].m).all_layers;
			zw_model_close(k[i].m);
		}
		if (cards > 1) {
			assert_int_equal(zw_model_part(layers, cards, i, &first, &num), 0);
			assert_int_equal(first, end);
			end = first + num;
			k[i].m = model_of(i, name, first, num);
			assert_int_equal(info_of(k[i].m).first_layer, first);
			assert_int_equal(info_of(k[i].m).num_layers, num);
		}
		open_card(&k[i]);
	}
	all = info_of(k[0].m);
	assert_true(cards == 1 || end == all.all_layers);
	*vocab = all.vocab_size;
	logits = malloc((size_t)ROWS * *vocab * sizeof(float));
	hidden = malloc((size_t)SEQS * STEP * all.hidden_size * sizeof(float));
	for (uint32_t at = 0; at < TOKENS; at += STEP) {
		for (uint32_t i = 0; i < cards; i++) {
			bool last = i + 1 == cards;
			uint64_t step =
				step_card(&k[i], at, last ? ZW_WANT_LOGITS : 0, i ? hidden : NULL);

			for (uint32_t n = 0; n < SEQS * STEP; n++) {
				struct zw_output out = {.size = sizeof(out)};
				const float *row;

				if (last) {
					assert_int_equal(zw_ctx_output(k[i].c, step, n, &out), 0);
					memcpy(logits + ((size_t)SEQS * at + n) * *vocab,
					       out.logits, *vocab * sizeof(float));
				} else {
					assert_int_equal(zw_ctx_hidden(k[i].c, step, n, &row), 0);
					memcpy(hidden + (size_t)n * all.hidden_size, row,
					       all.hidden_size * sizeof(float));
				}
			}
		}
	}
	for (uint32_t i = 0; i < cards; i++) {
		zw_ctx_destroy(k[i].c);
		assert_int_equal(zw_model_close(k[i].m), 0);
	}
	free(hidden);
	return logits;
}

static void same_bits(void **state)
{
	static const struct {
		const char *name;
		uint32_t most;
	} models[] = {
		{"qwen3-kdoc", 5},       {"qwen3next-agent", 4}, {"tiny-qwen2", 3},
		{"tiny-qwen3-moe", 3},   {"tiny-qwen3-tied", 2}, {"tiny-qwen3-next", 4},
		{"tiny-qwen3_5-moe", 2},
	};

	(void)state;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(models); i++) {
		uint32_t v;
		float *want = run(models[i].name, 1, &v);

		for (uint32_t cards = 2; cards <= models[i].most; cards++) {
			float *got = run(models[i].name, cards, &v);

			if (memcmp(want, got, (size_t)ROWS * v * sizeof(float)))
				fail_msg("%s on %u devices: other logits", models[i].name, cards);
			free(got);
		}
		free(want);
	}
}

/* All that there is once, and what is needed twice twice. */
static void weights(void **state)
{
	struct zw_model *whole = model_of(0, "qwen3-kdoc", 0, 0), *a, *b;
	struct zw_model_info w = info_of(whole);

	(void)state;
	a = model_of(1, "qwen3-kdoc", 0, 2);
	b = model_of(2, "qwen3-kdoc", 2, 3);
	assert_int_equal(w.num_layers, 5);
	assert_int_equal(info_of(a).all_layers, 5);
	/* the embedding is the head */
	assert_int_equal(info_of(a).parameters + info_of(b).parameters,
			 w.parameters + (uint64_t)w.vocab_size * w.hidden_size);
	assert_int_equal(info_of(a).kv_bytes_per_token * 5, w.kv_bytes_per_token * 2);
	zw_model_close(a);
	zw_model_close(b);
	zw_model_close(whole);
}

static void shares(void **state)
{
	uint32_t first, num;

	(void)state;
	for (uint32_t layers = 1; layers < 100; layers++) {
		for (uint32_t cards = 1; cards <= layers; cards++) {
			uint32_t end = 0;

			for (uint32_t i = 0; i < cards; i++) {
				assert_int_equal(zw_model_part(layers, cards, i, &first, &num), 0);
				assert_int_equal(first, end);
				assert_in_range(num, layers / cards,
						i + 1 < cards ? (layers + cards - 1) / cards
							      : layers / cards);
				end += num;
			}
			assert_int_equal(end, layers);
		}
	}
	assert_int_equal(zw_model_part(3, 4, 0, &first, &num), -EINVAL);
	assert_int_equal(zw_model_part(4, 4, 4, &first, &num), -EINVAL);
	assert_int_equal(zw_model_part(4, 0, 0, &first, &num), -EINVAL);
}

static void refused_models(void **state)
{
	static const struct {
		struct zw_model_options o;
		int ret;
		const char *words;
	} cases[] = {
		{{.first_layer = 1}, -EINVAL, "first_layer|num_layers"},
		{{.first_layer = 3, .num_layers = 3}, -EINVAL, "3 layers from layer 3|has 5"},
		{{.first_layer = UINT32_MAX, .num_layers = 2}, -EINVAL, "has 5"},
		{{.num_layers = 6}, -EINVAL, "has 5"},
	};
	struct zw_model_options mtp = {.size = sizeof(mtp), .flags = ZW_MODEL_MTP, .num_layers = 2};
	struct zw_error err = {""};
	struct zw_model *m;

	(void)state;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(cases); i++) {
		struct zw_model_options o = cases[i].o;

		o.size = sizeof(o);
		assert_int_equal(zw_model_open(dev[0], path_of("qwen3-kdoc"), &o, &m, &err),
				 cases[i].ret);
		expect_words("model", &err, cases[i].words);
	}
	assert_int_equal(zw_model_open(dev[0], path_of("qwen3next-agent"), &mtp, &m, &err),
			 -EOPNOTSUPP);
	expect_words("model", &err, "MTP|part of the layers");
}

static void refused_steps(void **state)
{
	struct card a = {.m = model_of(0, "qwen3-kdoc", 0, 2)};
	struct card b = {.m = model_of(1, "qwen3-kdoc", 2, 3)};
	struct zw_ctx_options cached = {.size = sizeof(cached), .prefix_cache = 1};
	struct zw_batch_token t = {.id = 5};
	struct zw_batch batch = {
		.size = sizeof(batch), .count = 1, .token_size = sizeof(t), .tokens = &t};
	uint32_t ids[2] = {1, 2};
	struct zw_error err = {""};
	struct zw_output out = {.size = sizeof(out)};
	const float *row;
	float hidden[1] = {0};
	struct zw_ctx *c;
	uint64_t step;

	(void)state;
	open_card(&a);
	open_card(&b);
	t.seq = a.seq[0];
	/* what goes in */
	batch.hidden = hidden;
	assert_int_equal(zw_ctx_submit(a.c, &batch, &step, &err), -EINVAL);
	expect_words("hidden", &err, "first layers");
	batch.hidden = NULL;
	assert_int_equal(zw_ctx_submit(b.c, &batch, &step, &err), -EINVAL);
	expect_words("no hidden", &err, "hidden is NULL|layer 2");
	/* what comes out */
	t.want = ZW_WANT_ARGMAX;
	assert_int_equal(zw_ctx_submit(a.c, &batch, &step, &err), -EOPNOTSUPP);
	expect_words("want", &err, "without its last layers");
	t.want = 0;
	assert_int_equal(zw_ctx_submit(a.c, &batch, &step, &err), 0);
	assert_int_equal(zw_ctx_wait(a.c, step, ZW_FOREVER, &err), 0);
	assert_int_equal(zw_ctx_output(a.c, step, 0, &out), -EINVAL);
	assert_int_equal(zw_ctx_hidden(a.c, step, 0, &row), 0);
	assert_int_equal(zw_ctx_hidden(a.c, step, 1, &row), -EINVAL);
	assert_int_equal(zw_ctx_hidden(a.c, step + 1, 0, &row), -ENOENT);
	assert_int_equal(zw_ctx_hidden(b.c, step, 0, &row), -EOPNOTSUPP);
	/* what needs all of the model */
	assert_int_equal(zw_ctx_eval(a.c, a.seq[0], ids, 2, NULL, NULL, &err), -EOPNOTSUPP);
	expect_words("eval", &err, "part of a model");
	assert_int_equal(zw_ctx_create(a.m, &cached, &c, &err), -EOPNOTSUPP);
	expect_words("cache", &err, "prefix_cache");
	zw_ctx_destroy(a.c);
	zw_ctx_destroy(b.c);
	zw_model_close(a.m);
	zw_model_close(b.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_bits),     cmocka_unit_test(weights),
		cmocka_unit_test(shares),        cmocka_unit_test(refused_models),
		cmocka_unit_test(refused_steps),
	};

	return cmocka_run_group_tests(tests, open_devices, close_devices);
}
