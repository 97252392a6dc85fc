// SPDX-License-Identifier: MIT
/*
 * Documents of schemas, chosen by random logits: grammar_walk TOKENIZER SEED COUNT, one schema per
 * line on standard input. Prints lines "N<tab>DOCUMENT" (N the number of the schema; line breaks are
 * printed as spaces, which JSON has between its parts only), or "N<tab>!ERROR" for a schema that was
 * refused. check_grammar.py validates them.
 *
 * Half of a document's tokens come from the mask of a matcher. In the middle and at the end another
 * matcher must take what was written and the completion that the first one gives, which is printed too.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/llm.h>

#define TOKENS 300 /* of one document, then it is completed */

static uint64_t state;

static double uniform(void)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(state >> 11) * 0x1p-53;
}

static void die(const char *msg)
{
	fprintf(stderr, "grammar_walk: %s\n", msg);
	exit(EXIT_FAILURE);
}

struct walk {
	struct zw_grammar *g;
	struct zw_grammar_vocab *v;
	struct zw_tokenizer *tok;
	float *logits, *bonus;
	size_t n;
	uint32_t stop;
	char text[65536];
	size_t len;
};

static void print_document(int number, const char *text, size_t len)
{
	printf("%d\t", number);
	for (size_t i = 0; i < len; i++)
		putchar(text[i] == '\n' ? ' ' : text[i]);
	putchar('\n');
}

/* What was written, and how the matcher would end it, must be a document to another one. */
static void complete(struct walk *w, int number, const struct zw_grammar_matcher *m)
{
	struct zw_grammar_matcher *other;
	char *rest;
	size_t n;

	if (zw_grammar_matcher_completion(m, &rest, &n))
		die("no completion");
	if (zw_grammar_matcher_open(w->g, w->v, NULL, &other, NULL))
		die("no matcher");
	if (zw_grammar_matcher_accept_bytes(other, w->text, w->len) ||
	    zw_grammar_matcher_accept_bytes(other, rest, n) ||
	    zw_grammar_matcher_status(other) < ZW_GRAMMAR_COMPLETE)
		die("a completion is not accepted");
	memcpy(w->text + w->len, rest, n);
	print_document(number, w->text, w->len + n);
	zw_grammar_matcher_close(other);
	free(rest);
}

static void one(struct walk *w, int number, struct zw_sampler *s, struct zw_grammar_matcher *m)
{
	unsigned int most = (unsigned int)(uniform() * TOKENS), tokens = 0;

	w->len = 0;
	zw_grammar_matcher_reset(m);
	while (zw_grammar_matcher_status(m) != ZW_GRAMMAR_FINISHED && tokens++ < most &&
	       w->len < sizeof(w->text) / 2) {
		const char *bytes;
		struct zw_error err;
		uint32_t id;
		size_t len;

		for (size_t i = 0; i < w->n; i++)
			w->logits[i] = (float)(uniform() * 4) + w->bonus[i];
		if (zw_sampler_pick(s, w->logits, w->n, &id, &err))
			die(err.msg);
		if (zw_grammar_matcher_accept(m, id))
			die("a token that the mask lets through is not accepted");
		if (id == w->stop)
			break;
		zw_tokenizer_token(w->tok, id, &bytes, &len, NULL);
		memcpy(w->text + w->len, bytes, len);
		w->len += len;
	}
	complete(w, number, m);
}

static void schema(struct walk *w, int number, const char *line, int count)
{
	struct zw_grammar_matcher_options opt = {.size = sizeof(opt), .stop = {&w->stop, 1}};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1, .temperature = 1};
	struct zw_grammar_matcher *m;
	struct zw_sampler *s;
	struct zw_error err;

	if (zw_grammar_open_schema(line, strlen(line), number % 3 ? 0 : ZW_GRAMMAR_COMPACT, &w->g,
				   &err)) {
		printf("%d\t!%s\n", number, err.msg);
		return;
	}
	if (zw_grammar_matcher_open(w->g, w->v, &opt, &m, &err))
		die(err.msg);
	sp.seed = (uint64_t)number;
	sp.mask = zw_grammar_matcher_mask;
	sp.mask_opaque = m;
	if (zw_sampler_open(&sp, &s, &err))
		die(err.msg);
	for (int i = 0; i < count; i++)
		one(w, number, s, m);
	zw_sampler_close(s);
	zw_grammar_matcher_close(m);
	zw_grammar_close(w->g);
}

int main(int argc, char **argv)
{
	static struct walk w;
	struct zw_error err;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (argc != 4)
		die("usage: grammar_walk TOKENIZER SEED COUNT");
	state = strtoull(argv[2], NULL, 10);
	if (zw_tokenizer_open(argv[1], &w.tok, &err) || zw_grammar_vocab_open(w.tok, &w.v, &err))
		die(err.msg);
	w.n = zw_tokenizer_size(w.tok);
	w.stop = (uint32_t)zw_tokenizer_find(w.tok, "<|im_end|>", 10);
	w.logits = calloc(w.n, sizeof(float));
	w.bonus = calloc(w.n, sizeof(float));
	if (!w.logits || !w.bonus)
		die("out of memory");
	/* Random text does not end; what ends things is likely here. */
	for (size_t i = 0; i < w.n; i++) {
		const char *bytes;
		size_t len;

		if (!zw_tokenizer_token(w.tok, (uint32_t)i, &bytes, &len, NULL) && len &&
		    strchr("\"}],:{[", bytes[0]))
			w.bonus[i] = bytes[0] == '{' || bytes[0] == '[' ? 2 : 6;
	}
	w.bonus[w.stop] = 8;
	for (int i = 0; (n = getline(&line, &cap, stdin)) > 0; i++) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		schema(&w, i, line, atoi(argv[3]));
	}
	free(line);
	free(w.logits);
	free(w.bonus);
	zw_grammar_vocab_close(w.v);
	zw_tokenizer_close(w.tok);
	return 0;
}
