/* SPDX-License-Identifier: MIT */
/* Two texts in one step: cc two_texts.c $(pkg-config --cflags --libs libzhenwu-llm) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>
enum { TEXTS = 2, TOKENS = 8 };

/* Goes on with the most likely token, TOKENS times, from one first token each. */
static int decode(struct zw_model *model, const uint32_t *first, struct zw_error *err)
{
	struct zw_ctx_options opt = {.size = sizeof(opt), .max_seqs = TEXTS};
	struct zw_batch_token token[TEXTS];
	struct zw_batch batch = {.size = sizeof(batch),
				 .count = TEXTS,
				 .token_size = sizeof(token[0]),
				 .tokens = token};
	struct zw_output out = {.size = sizeof(out)};
	struct zw_ctx *ctx;
	uint32_t seq[TEXTS];
	uint64_t step;
	int ret = zw_ctx_create(model, &opt, &ctx, err);

	if (ret)
		return ret;
	for (int i = 0; i < TEXTS; i++) {
		zw_seq_create(ctx, &seq[i]);
		token[i] = (struct zw_batch_token){first[i], 0, seq[i], ZW_WANT_ARGMAX};
	}
	for (uint32_t pos = 1; pos <= TOKENS && !ret; pos++) {
		if ((ret = zw_ctx_submit(ctx, &batch, &step, err)))
			break;
		/* The device computes; the host is free, and could submit another step. */
		if ((ret = zw_ctx_wait(ctx, step, ZW_FOREVER, err)))
			break;
		for (uint32_t i = 0; i < TEXTS; i++) {
			zw_ctx_output(ctx, step, i, &out);
			printf("%lld%s", (long long)out.argmax, i + 1 < TEXTS ? " " : "\n");
			token[i].id = (uint32_t)out.argmax;
			token[i].pos = pos;
		}
	}
	zw_ctx_destroy(ctx);
	return ret;
}

int main(int argc, char **argv)
{
	struct zw_model *model = NULL;
	struct zw_dev *dev = NULL;
	uint32_t first[TEXTS];
	struct zw_error err;
	int ret = 2;

	if (argc != 3 + TEXTS)
		return fprintf(stderr, "usage: two_texts DEVICE MODEL ID ID\n"), ret;
	for (int i = 0; i < TEXTS; i++)
		first[i] = (uint32_t)strtoul(argv[3 + i], NULL, 10);
	ret = zw_dev_open(argv[1], NULL, &dev, &err);
	if (!ret)
		ret = zw_model_open(dev, argv[2], NULL, &model, &err);
	if (!ret)
		ret = decode(model, first, &err);
	if (ret)
		fprintf(stderr, "two_texts: %s\n", err.msg);
	zw_model_close(model);
	if (dev)
		zw_dev_close(dev);
	return ret ? 1 : 0;
}
