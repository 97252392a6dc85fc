// SPDX-License-Identifier: MIT
/*
 * Decoding of many sequences in one step: wall time, simulated time, bytes, and memory of the host.
 *
 *	bench_decode DEVICE MODEL BATCH PROMPT STEPS
 *
 * BATCH sequences of PROMPT ids each, then STEPS steps of one token of each, which the device chooses
 * and feeds back, two steps in flight. Two steps go before them that do not count: the first ones make
 * what the others find ready, which in an emulated guest takes as long as several of them. Prints one
 * JSON object; rates are tokens per second of wall time, bytes are those of one decode step. On sim
 * experts_hit says how many experts a step's routers choose, each counted once per layer; on other
 * devices, which do not tell, it is null.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>

#define FLIGHT      2
#define MAX_EXPERTS 4096

/* Which experts a layer of a step has met: told on a thread of the device, read when no step is in flight. */
struct hits {
	uint64_t count, call;
	uint64_t *seen; /* by expert: the call that met it last */
	uint32_t experts;
};

struct bench {
	struct hits hits;
	bool routed;
	struct zw_dev *dev;
	struct zw_model *model;
	struct zw_ctx *ctx;
	uint32_t batch, prompt, steps;
	uint32_t *seq;
	struct zw_batch_token *tokens;
	struct zw_ctx_stats before, filled, middle, after;
	struct zw_error err;
};

static int number(const char *text, uint32_t *v)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !n || n > 1u << 20)
		return -EINVAL;
	*v = (uint32_t)n;
	return 0;
}

static void on_routed(void *opaque, uint32_t rows, uint32_t k, const int32_t *ids, uint64_t ld)
{
	struct hits *h = opaque;

	h->call++;
	for (uint32_t r = 0; r < rows; r++) {
		for (uint32_t j = 0; j < k; j++) {
			uint32_t e = (uint32_t)ids[r * ld + j];

			if (e >= h->experts || h->seen[e] == h->call)
				continue;
			h->seen[e] = h->call;
			h->count++;
		}
	}
}

static int open_all(struct bench *b, const char *device, const char *dir)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = b->prompt + FLIGHT + b->steps + 1,
				     .max_seqs = b->batch,
				     .batch = b->batch > 512 ? b->batch : 512,
				     .outputs = b->batch,
				     .logits = 1,
				     .steps = FLIGHT};
	struct zw_dev_options dev = {.size = sizeof(dev), .route_opaque = &b->hits};
	int ret;

	b->routed = !strcmp(device, "sim");
	if (b->routed) {
		b->hits.experts = MAX_EXPERTS;
		b->hits.seen = calloc(MAX_EXPERTS, sizeof(*b->hits.seen));
		if (!b->hits.seen)
			return -ENOMEM;
		dev.routed = on_routed;
	}
	ret = zw_dev_open(device, &dev, &b->dev, &b->err);
	if (!ret)
		ret = zw_model_open(b->dev, dir, NULL, &b->model, &b->err);
	if (!ret)
		ret = zw_ctx_create(b->model, &opt, &b->ctx, &b->err);
	b->seq = calloc(b->batch, sizeof(*b->seq));
	b->tokens = calloc(b->batch, sizeof(*b->tokens));
	if (!ret && (!b->seq || !b->tokens))
		ret = -ENOMEM;
	return ret;
}

/* Each sequence has a text of its own. */
static int prefill(struct bench *b)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .want = ZW_WANT_ARGMAX};
	struct zw_model_info info = {.size = sizeof(info)};
	struct zw_output out = {.size = sizeof(out)};
	uint32_t *ids = malloc(b->prompt * sizeof(*ids));
	int ret = ids ? zw_model_get_info(b->model, &info) : -ENOMEM;

	for (uint32_t i = 0; i < b->batch && !ret; i++) {
		for (uint32_t k = 0; k < b->prompt; k++)
			ids[k] = (k * 7919 + i * 104729 + 11) % info.vocab_size;
		ret = zw_seq_create(b->ctx, &b->seq[i]);
		if (!ret)
			ret = zw_ctx_eval(b->ctx, b->seq[i], ids, b->prompt, &opt, &out, &b->err);
		b->tokens[i] = (struct zw_batch_token){(uint32_t)out.argmax, b->prompt, b->seq[i],
						       ZW_WANT_ARGMAX};
	}
	free(ids);
	return ret;
}

static int decode(struct bench *b, uint32_t steps)
{
	struct zw_batch batch = {.size = sizeof(batch),
				 .count = b->batch,
				 .token_size = sizeof(*b->tokens),
				 .tokens = b->tokens};
	uint64_t step[FLIGHT] = {0};
	int ret = 0;

	for (uint32_t k = 0; k < steps + FLIGHT && !ret; k++) {
		if (k >= FLIGHT)
			ret = zw_ctx_wait(b->ctx, step[k % FLIGHT], ZW_FOREVER, &b->err);
		if (ret || k >= steps)
			continue;
		ret = zw_ctx_submit(b->ctx, &batch, &step[k % FLIGHT], &b->err);
		for (uint32_t i = 0; i < b->batch; i++) {
			b->tokens[i].id = ZW_ID_CHOSEN;
			b->tokens[i].pos++;
		}
	}
	return ret;
}

static void print(const struct bench *b)
{
	struct zw_model_info mi = {.size = sizeof(mi)};
	struct zw_ctx_info ci = {.size = sizeof(ci)};
	const struct zw_ctx_stats *a = &b->before, *f = &b->filled, *m = &b->middle, *z = &b->after;
	double steps = b->steps;
	struct rusage use;
	char hit[32] = "null";

	if (b->routed)
		snprintf(hit, sizeof(hit), "%.3f", (double)b->hits.count / steps);
	zw_model_get_info(b->model, &mi);
	zw_ctx_get_info(b->ctx, &ci);
	getrusage(RUSAGE_SELF, &use);
	printf("{\"batch\": %u, \"prefill\": %.3f, \"decode\": %.3f, \"sim_us\": %.3f, "
	       "\"hbm_read\": %.0f, \"weight_bytes\": %llu, \"kv_bytes\": %llu, "
	       "\"context_bytes\": %llu, \"peak_bytes\": %llu, \"experts_hit\": %s}\n",
	       b->batch, (double)(f->tokens - a->tokens) / (double)(f->wall_ns - a->wall_ns) * 1e9,
	       (double)(z->tokens - m->tokens) / (double)(z->wall_ns - m->wall_ns) * 1e9,
	       (double)(z->sim_ps - m->sim_ps) / steps / 1e6,
	       (double)(z->hbm_read - m->hbm_read) / steps, (unsigned long long)mi.weight_bytes,
	       (unsigned long long)ci.kv_bytes, (unsigned long long)ci.hbm_bytes,
	       (unsigned long long)use.ru_maxrss * 1024, hit);
}

int main(int argc, char **argv)
{
	struct bench b = {.before.size = sizeof(b.before),
			  .filled.size = sizeof(b.filled),
			  .middle.size = sizeof(b.middle),
			  .after.size = sizeof(b.after)};
	int ret;

	if (argc != 6 || number(argv[3], &b.batch) || number(argv[4], &b.prompt) ||
	    number(argv[5], &b.steps))
		return fprintf(stderr, "usage: bench_decode DEVICE MODEL BATCH PROMPT STEPS\n"), 2;
	ret = open_all(&b, argv[1], argv[2]);
	if (!ret) {
		zw_ctx_get_stats(b.ctx, &b.before);
		ret = prefill(&b);
		if (!ret)
			zw_ctx_get_stats(b.ctx, &b.filled);
	}
	if (!ret)
		ret = decode(&b, FLIGHT);
	if (!ret) {
		zw_ctx_get_stats(b.ctx, &b.middle);
		b.hits.count = 0;
		ret = decode(&b, b.steps);
	}
	if (!ret) {
		zw_ctx_get_stats(b.ctx, &b.after);
		print(&b);
	} else {
		fprintf(stderr, "bench_decode: %s\n", b.err.msg[0] ? b.err.msg : strerror(-ret));
	}
	zw_ctx_destroy(b.ctx);
	zw_model_close(b.model);
	if (b.dev)
		zw_dev_close(b.dev);
	free(b.seq);
	free(b.tokens);
	free(b.hits.seen);
	return ret ? 1 : 0;
}
