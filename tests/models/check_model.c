// SPDX-License-Identifier: MIT
/*
 * Runs one stored model on a device and compares with what transformers computed for it.
 *
 *   check_model --model DIR [--device D] [--digest-out FILE] [--workers N]
 *
 * Prints TAP. DIR/expected holds prompt_ids.json, logits_K.npy (float32 arithmetic on the BF16
 * weights), bf16_rms.json (how far a BF16 run of the reference is from that: the noise that BF16
 * storage makes) and greedy.json. FILE receives a digest of the logits of each prompt, so that runs
 * on two transports can be compared bit for bit.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>

#include "experts.h"
#include "mtp.h"
#include "small_files.h"

#define RMS_FACTOR    1.0  /* of the reference's own BF16 noise */
#define FLIP_FACTOR   1.5  /* the same where rounding sends a token to another expert */
#define FLIPS_MAX     0.05 /* of all choices */
#define EXACT_RMS     1e-3 /* of the pass that tells them, of the noise */
#define DRAFT_GAIN    1.3 /* by which two drafts of the MTP head make text faster, in simulated time */
#define DRAFTS_GAIN   1.6 /* the same of three: it goes on well from drafts of its own */
#define CONTEXT       640
#define MARGIN_FACTOR 8.0 /* a top-2 margin above this many times the noise decides the argmax */

struct prompt {
	uint32_t *ids;
	size_t n;
	double rms;                 /* of the reference's BF16 run */
	double mtp_rms;             /* the same for the MTP head; 0: there is none */
	uint32_t flips;             /* choices of experts that are not those of exact arithmetic */
	struct experts_exact exact; /* which makes these, if the model has experts */
	size_t rows;       /* of the expected logits: those of the last tokens, often of all */
	float *want, *got; /* [rows, V]; [n, V] */
};

struct check {
	const char *dir, *name, *device, *digest_out;
	const char *exact; /* what names of files with exact passes begin with, or NULL */
	int workers;
	struct zw_model_info info;
	struct prompt *prompts;
	size_t num_prompts;
	unsigned int count, failed;
};

static void result(struct check *c, bool ok, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void result(struct check *c, bool ok, const char *fmt, ...)
{
	va_list ap;

	c->failed += !ok;
	printf("%sok %u - %s: ", ok ? "" : "not ", ++c->count, c->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
	va_list ap;

	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

static void *alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		die("out of memory");
	return p;
}

/* ---- expected/ ---- */

static cJSON *load_json(const char *dir, const char *name)
{
	char path[1024], *text;
	size_t len;
	cJSON *json;
	FILE *f;

	snprintf(path, sizeof(path), "%s/expected/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		die("%s: %s", path, strerror(errno));
	fseek(f, 0, SEEK_END);
	len = (size_t)ftell(f);
	rewind(f);
	text = alloc(len + 1, 1);
	if (fread(text, 1, len, f) != len)
		die("%s: cannot be read", path);
	fclose(f);
	json = cJSON_Parse(text);
	free(text);
	if (!cJSON_IsArray(json))
		die("%s: not a JSON list", path);
	return json;
}

static size_t load_ids(const cJSON *list, uint32_t **ids)
{
	size_t n = (size_t)cJSON_GetArraySize(list), i = 0;
	const cJSON *it;

	*ids = alloc(n, sizeof(**ids));
	cJSON_ArrayForEach(it, list)(*ids)[i++] = (uint32_t)it->valuedouble;
	return n;
}

static void load_expected(struct check *c)
{
	cJSON *ids = load_json(c->dir, "prompt_ids.json"),
	      *rms = load_json(c->dir, "bf16_rms.json");
	size_t n = (size_t)cJSON_GetArraySize(ids);

	if (!n || n != (size_t)cJSON_GetArraySize(rms))
		die("%s: prompt_ids.json and bf16_rms.json do not agree", c->dir);
	c->prompts = alloc(n, sizeof(*c->prompts));
	c->num_prompts = n;
	for (size_t k = 0; k < n; k++) {
		struct prompt *p = &c->prompts[k];
		const cJSON *r = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(rms, (int)k),
								  "rms_diff");
		char path[1024];
		struct zw_error err;
		uint64_t rows, cols;

		p->n = load_ids(cJSON_GetArrayItem(ids, (int)k), &p->ids);
		if (!cJSON_IsNumber(r) || !(r->valuedouble > 0))
			die("%s: bf16_rms.json has no rms_diff for prompt %zu", c->dir, k);
		p->rms = r->valuedouble;
		r = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(rms, (int)k),
						     "mtp_rms_diff");
		p->mtp_rms = cJSON_IsNumber(r) ? r->valuedouble : 0;
		snprintf(path, sizeof(path), "%s/expected/logits_%zu.npy", c->dir, k);
		if (npy_read_f32(path, &p->want, &rows, &cols, &err))
			die("%s", err.msg);
		if (!rows || rows > p->n || cols != c->info.vocab_size)
			die("%s: [%llu, %llu] does not fit the prompt", path,
			    (unsigned long long)rows, (unsigned long long)cols);
		p->rows = rows;
		p->got = alloc(p->n * cols, sizeof(float));
	}
	cJSON_Delete(ids);
	cJSON_Delete(rms);
}

/* ---- comparisons ---- */

/* Best and second best of a row. */
static uint32_t top2(const float *row, uint32_t v, double *margin)
{
	uint32_t best = 0;
	double second = -INFINITY;

	for (uint32_t i = 1; i < v; i++) {
		if (row[i] > row[best]) {
			second = (double)row[best];
			best = i;
		} else if ((double)row[i] > second) {
			second = (double)row[i];
		}
	}
	*margin = (double)row[best] - second;
	return best;
}

static void check_logits(struct check *c, size_t k)
{
	const struct prompt *p = &c->prompts[k];
	uint32_t v = c->info.vocab_size;
	size_t clear = 0, differ = 0;
	double sum = 0, rms, factor = p->flips ? FLIP_FACTOR : RMS_FACTOR;
	const float *got = p->got + (p->n - p->rows) * v;

	for (size_t i = 0; i < p->rows * v; i++) {
		double d = (double)got[i] - (double)p->want[i];

		sum += d * d;
	}
	rms = sqrt(sum / (double)(p->rows * v));
	/* Written so that a NaN fails. */
	result(c, rms <= factor * p->rms,
	       "prompt %zu: logits, rms difference %.4g <= %.4g, %.1f times the noise", k, rms,
	       factor * p->rms, factor);
	for (size_t t = 0; t < p->rows; t++) {
		double margin, ours;
		uint32_t want = top2(p->want + t * v, v, &margin);

		if (margin <= MARGIN_FACTOR * p->rms)
			continue;
		clear++;
		differ += top2(got + t * v, v, &ours) != want;
	}
	result(c, !differ, "prompt %zu: same best token in %zu of %zu rows with a clear margin", k,
	       clear - differ, clear);
}

/* After the one step that did the prompt. */
static void check_experts(struct check *c, struct zw_ctx *ctx, size_t k)
{
	struct prompt *p = &c->prompts[k];
	struct experts_diff diff;
	struct zw_error err;

	if (experts_compare(ctx, &p->exact, &diff, &err))
		die("%s: %s", c->dir, err.msg);
	p->flips = diff.flips;
	result(c, p->exact.rms <= EXACT_RMS * p->rms,
	       "prompt %zu: the exact pass has the expected logits, rms difference %.2g", k,
	       p->exact.rms);
	result(c, diff.flips <= FLIPS_MAX * diff.choices,
	       "prompt %zu: %u of %u choices of experts are not the exact ones, by up to %.3g", k,
	       diff.flips, diff.choices, diff.widest);
}

static uint64_t digest(const float *x, size_t n)
{
	const uint8_t *p = (const uint8_t *)x;
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < n * sizeof(*x); i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

/* ---- runs ---- */

struct device {
	struct zw_dev *dev;
	struct zw_model *model;
	bool sim;
};

static void device_open_flags(struct check *c, struct device *d, int workers, uint32_t flags)
{
	struct zw_model_options mopt = {.size = sizeof(mopt), .flags = flags};
	struct zw_dev_options opt = {.size = sizeof(opt), .workers = workers};
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	struct zw_error err;

	if (zw_dev_open(c->device, &opt, &d->dev, &err))
		die("%s", err.msg);
	if (zw_dev_get_attrs(d->dev, &attrs))
		die("the device has no attributes");
	d->sim = attrs.transport == ZW_TRANSPORT_SIM;
	if (zw_model_open(d->dev, c->dir, &mopt, &d->model, &err))
		die("%s", err.msg);
}

static void device_open(struct check *c, struct device *d, int workers)
{
	device_open_flags(c, d, workers, 0);
}

static void device_close(struct device *d)
{
	if (zw_model_close(d->model) || zw_dev_close(d->dev))
		die("model or device are still in use");
}

/* What the longest prompt needs, where the model was made for so much. */
static uint32_t context_of(const struct device *d)
{
	struct zw_model_info info = {.size = sizeof(info)};

	if (zw_model_get_info(d->model, &info))
		die("a model says nothing of itself");
	return info.max_context < CONTEXT ? info.max_context : CONTEXT;
}

/* A context with one sequence, number 0. */
static struct zw_ctx *context_open(struct device *d, uint32_t batch, bool every)
{
	uint32_t context = context_of(d), most = batch < context ? batch : context;
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = context,
				     .batch = most,
				     .outputs = every ? most : 1};
	struct zw_ctx *ctx;
	struct zw_error err;
	uint32_t seq;

	if (zw_ctx_create(d->model, &opt, &ctx, &err))
		die("%s", err.msg);
	if (zw_seq_create(ctx, &seq) || seq)
		die("a new context has no sequence 0");
	return ctx;
}

/* Logits of every row of a prompt, from an empty sequence. */
static void eval(struct zw_ctx *ctx, const struct prompt *p, float *out)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .all_logits = out};
	struct zw_error err;

	zw_seq_truncate(ctx, 0, 0);
	if (zw_ctx_eval(ctx, 0, p->ids, p->n, &opt, NULL, &err))
		die("%s", err.msg);
}

/* Appends ids; what is wanted of the last one. */
static int append(struct zw_ctx *ctx, const uint32_t *ids, size_t n, uint32_t want,
		  struct zw_output *out, struct zw_error *err)
{
	struct zw_eval_options opt = {.size = sizeof(opt), .want = want};

	*out = (struct zw_output){.size = sizeof(*out)};
	return zw_ctx_eval(ctx, 0, ids, n, &opt, out, err);
}

static bool same_bits(const struct prompt *p, const float *x, uint32_t v)
{
	return !memcmp(p->got, x, p->n * v * sizeof(*x));
}

/* However a prompt is cut, the bits are those of the whole. */
static void check_chunks(struct check *c, struct device *d)
{
	static const uint32_t chunks[] = {1, 7};
	uint32_t v = c->info.vocab_size;

	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct zw_ctx *ctx = context_open(d, chunks[i], true);

		for (size_t k = 0; k < c->num_prompts; k++) {
			const struct prompt *p = &c->prompts[k];
			float *x = alloc(p->n * v, sizeof(*x));

			eval(ctx, p, x);
			result(c, same_bits(p, x, v),
			       "prompt %zu: prefill in steps of %u has the bits of the whole", k,
			       chunks[i]);
			free(x);
		}
		zw_ctx_destroy(ctx);
	}
}

/* In two pieces, cut near where the state of a convolution, a chunk or a page begins. */
static void check_cuts(struct check *c, struct device *d)
{
	static const uint32_t cuts[] = {1, 2, 3, 4, 5, 31, 32, 33, 62, 63, 64, 65, 66};
	struct zw_ctx *ctx = context_open(d, CONTEXT, false);
	uint32_t v = c->info.vocab_size;

	for (size_t k = 0; k < c->num_prompts; k++) {
		const struct prompt *p = &c->prompts[k];
		uint32_t same = 0, all = 0;

		for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]) && cuts[i] < p->n; i++) {
			struct zw_output out;
			struct zw_error err;

			zw_seq_truncate(ctx, 0, 0);
			if (append(ctx, p->ids, cuts[i], ZW_WANT_LOGITS, &out, &err))
				die("%s", err.msg);
			all += 2;
			same += !memcmp(out.logits, p->got + (cuts[i] - 1) * v, v * sizeof(float));
			if (append(ctx, p->ids + cuts[i], p->n - cuts[i], ZW_WANT_LOGITS, &out,
				   &err))
				die("%s", err.msg);
			same += !memcmp(out.logits, p->got + (p->n - 1) * v, v * sizeof(float));
		}
		result(c, same == all, "prompt %zu: %u of %u pieces have the bits of the whole", k,
		       same, all);
	}
	zw_ctx_destroy(ctx);
}

/* All prompts in one step, their tokens taking turns. */
static void check_packed(struct check *c, struct device *d)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = context_of(d),
				     .max_seqs = (uint32_t)c->num_prompts};
	struct zw_batch b = {.size = sizeof(b), .token_size = sizeof(struct zw_batch_token)};
	uint32_t v = c->info.vocab_size, seq, n = 0;
	struct zw_batch_token *t;
	struct zw_error err;
	struct zw_ctx *ctx;
	uint64_t step;

	for (size_t k = 0; k < c->num_prompts; k++)
		opt.batch += (uint32_t)c->prompts[k].n;
	opt.outputs = opt.batch;
	t = alloc(opt.batch, sizeof(*t));
	if (zw_ctx_create(d->model, &opt, &ctx, &err))
		die("%s", err.msg);
	for (size_t k = 0; k < c->num_prompts; k++) {
		if (zw_seq_create(ctx, &seq) || seq != k)
			die("a new context has no sequence %zu", k);
	}
	for (uint32_t pos = 0; n < opt.batch; pos++) {
		for (uint32_t k = 0; k < c->num_prompts; k++) {
			if (pos < c->prompts[k].n)
				t[n++] = (struct zw_batch_token){c->prompts[k].ids[pos], pos, k,
								 ZW_WANT_LOGITS};
		}
	}
	b.count = n;
	b.tokens = t;
	if (zw_ctx_submit(ctx, &b, &step, &err) || zw_ctx_wait(ctx, step, ZW_FOREVER, &err))
		die("%s", err.msg);
	for (uint32_t i = 0; i < opt.batch; i++) {
		struct zw_output out = {.size = sizeof(out)};

		if (zw_ctx_output(ctx, step, i, &out))
			die("no output %u", i);
		n -= !memcmp(out.logits, c->prompts[t[i].seq].got + (size_t)t[i].pos * v,
			     v * sizeof(float));
	}
	result(c, !n, "%u of %u rows of all prompts in one step have the bits that they have alone",
	       opt.batch - n, opt.batch);
	free(t);
	zw_ctx_destroy(ctx);
}

/*
 * The expected tokens fed back one at a time: wherever our own margin is clear, our choice is
 * theirs; and the device's choice is always the host's. Also: the last row's logits alone are those
 * that every row's give.
 */
static void check_greedy(struct check *c, struct device *d)
{
	const uint32_t want_both = ZW_WANT_LOGITS | ZW_WANT_ARGMAX;
	cJSON *greedy = load_json(c->dir, "greedy.json"), *it;
	struct zw_ctx *ctx = context_open(d, 128, false);
	uint32_t v = c->info.vocab_size;
	size_t k = 0;

	cJSON_ArrayForEach(it, greedy)
	{
		const struct prompt *p = &c->prompts[k];
		uint32_t *want;
		const cJSON *tokens = cJSON_GetObjectItemCaseSensitive(it, "tokens");
		size_t n = load_ids(tokens ? tokens : cJSON_GetObjectItemCaseSensitive(it, "ids"),
				    &want);
		size_t clear = 0, agree = 0, same = 0;
		struct zw_output out;
		struct zw_error err;

		if (k >= c->num_prompts || !n)
			die("%s: greedy.json does not fit the prompts", c->dir);
		zw_seq_truncate(ctx, 0, 0);
		if (append(ctx, p->ids, p->n, want_both, &out, &err))
			die("%s", err.msg);
		result(c, !memcmp(out.logits, p->got + (p->n - 1) * v, v * sizeof(*out.logits)),
		       "prompt %zu: logits of the last row alone have the same bits", k);
		for (size_t i = 0; i < n; i++) {
			double margin;
			uint32_t id = top2(out.logits, v, &margin);

			same += out.argmax == id;
			if (margin > MARGIN_FACTOR * p->rms) {
				clear++;
				agree += id == want[i];
			}
			if (i + 1 < n && append(ctx, &want[i], 1, want_both, &out, &err))
				die("%s", err.msg);
		}
		result(c, agree == clear && clear > 0,
		       "prompt %zu: %zu of %zu greedy tokens with a clear margin as expected", k,
		       agree, clear);
		result(c, same == n, "prompt %zu: %zu of %zu tokens chosen alike on the device", k,
		       same, n);
		free(want);
		k++;
	}
	zw_ctx_destroy(ctx);
	cJSON_Delete(greedy);
}

/* rms distance of a prompt's logits from the expected ones. */
static double distance(const struct check *c, const struct prompt *p, const float *x)
{
	size_t n = p->rows * c->info.vocab_size;
	double sum = 0;

	x += (p->n - p->rows) * c->info.vocab_size;
	for (size_t i = 0; i < n; i++) {
		double d = (double)x[i] - (double)p->want[i];

		sum += d * d;
	}
	return sqrt(sum / (double)n);
}

static bool is_recurrent(const struct check *c)
{
	return !strncmp(c->info.model_type, "qwen3_next", 10) ||
	       !strncmp(c->info.model_type, "qwen3_5", 7);
}

/*
 * With the delta rule in chunks, whole and in two pieces: as near to what is expected as without, and the same bits
 * again where the cut is at the end of a chunk.
 */
static void check_delta_chunked(struct check *c, struct device *d)
{
	static const uint32_t cuts[] = {1, 2, 3, 4, 5, 31, 32, 33, 62, 63, 64, 65, 66, 128, 130};
	uint32_t context = context_of(d), v = c->info.vocab_size;
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = context,
				     .batch = context,
				     .outputs = context,
				     .delta_chunked = 1};
	struct zw_error err;
	struct zw_ctx *ctx;
	uint32_t seq;

	if (zw_ctx_create(d->model, &opt, &ctx, &err) || zw_seq_create(ctx, &seq))
		die("%s", err.msg);
	for (size_t k = 0; k < c->num_prompts; k++) {
		const struct prompt *p = &c->prompts[k];
		double factor = RMS_FACTOR, worst = 0, rms;
		struct experts_diff diff = {0};
		float *want = alloc(p->n * v, sizeof(*want)), *x = alloc(p->n * v, sizeof(*x));
		uint32_t edges = 0, same = 0, pieces = 0;

		eval(ctx, p, want);
		if (experts_model(d->model) && experts_compare(ctx, &p->exact, &diff, &err))
			die("%s: %s", c->dir, err.msg);
		if (diff.flips)
			factor = FLIP_FACTOR;
		rms = distance(c, p, want);
		result(c, rms <= factor * p->rms && diff.flips <= FLIPS_MAX * diff.choices,
		       "prompt %zu: delta rule in chunks, rms difference %.4g <= %.4g (without "
		       "%.4g), "
		       "%u choices of experts are not the exact ones",
		       k, rms, factor * p->rms, distance(c, p, p->got), diff.flips);
		/* Of two steps it is not known who was chosen. */
		if (experts_model(d->model))
			factor = FLIP_FACTOR;
		for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]) && cuts[i] < p->n; i++) {
			struct zw_eval_options e = {.size = sizeof(e), .all_logits = x};

			/* Distances are sums in double precision, minutes of an emulated CPU: bits alone there. */
			if (!d->sim && cuts[i] % 64)
				continue;
			zw_seq_truncate(ctx, 0, 0);
			if (zw_ctx_eval(ctx, 0, p->ids, cuts[i], &e, NULL, &err))
				die("%s", err.msg);
			e.all_logits = x + cuts[i] * v;
			if (zw_ctx_eval(ctx, 0, p->ids + cuts[i], p->n - cuts[i], &e, NULL, &err))
				die("%s", err.msg);
			rms = d->sim ? distance(c, p, x) : 0;
			worst = rms > worst ? rms : worst;
			pieces++;
			if (cuts[i] % 64)
				continue;
			edges++;
			same += !memcmp(x, want, p->n * v * sizeof(*x));
		}
		if (pieces)
			result(c, worst <= factor * p->rms && same == edges,
			       "prompt %zu: delta rule in chunks, cut at %u places, rms difference "
			       "up to "
			       "%.4g <= "
			       "%.4g; %u of %u cuts between chunks have the bits of the whole",
			       k, pieces, worst, factor * p->rms, same, edges);
		free(want);
		free(x);
	}
	zw_ctx_destroy(ctx);
}

static void check_workers(struct check *c)
{
	static const int workers[] = {1, 2, 4, ZW_DEV_WORKERS_NONE};
	uint32_t v = c->info.vocab_size;

	for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++) {
		struct device d;
		struct zw_ctx *ctx;
		bool same = true;

		device_open(c, &d, workers[i]);
		ctx = context_open(&d, 128, true);
		for (size_t k = 0; k < c->num_prompts; k++) {
			const struct prompt *p = &c->prompts[k];
			float *x = alloc(p->n * v, sizeof(*x));

			eval(ctx, p, x);
			same &= same_bits(p, x, v);
			free(x);
		}
		zw_ctx_destroy(ctx);
		device_close(&d);
		result(c, same, "%d engine threads give the same bits",
		       workers[i] == ZW_DEV_WORKERS_NONE ? 0 : workers[i]);
	}
}

/* Wrong calls are refused and leave the sequence as it was. */
static void check_refusals(struct check *c, struct device *d)
{
	struct zw_ctx_options opt = {.size = sizeof(opt), .context = 8, .batch = 3};
	const struct prompt *p = &c->prompts[0];
	uint32_t bad = c->info.vocab_size, nine[9] = {0}, seq;
	struct zw_ctx *ctx, *t = NULL;
	struct zw_output out;
	struct zw_error err;

	if (zw_ctx_create(d->model, &opt, &ctx, &err) || zw_seq_create(ctx, &seq))
		die("%s", err.msg);
	result(c, append(ctx, &bad, 1, ZW_WANT_LOGITS, &out, &err) == -ERANGE,
	       "a token id beyond the vocabulary is refused");
	result(c, append(ctx, nine, 9, ZW_WANT_LOGITS, &out, &err) == -ENOSPC,
	       "more tokens than the context are refused");
	result(c,
	       zw_seq_length(ctx, seq) == 0 &&
		       append(ctx, p->ids, p->n < 8 ? p->n : 8, ZW_WANT_LOGITS, &out, &err) == 0,
	       "the sequence works after refusals");
	result(c, zw_model_close(d->model) == -EBUSY, "a model in use cannot be closed");
	zw_ctx_destroy(ctx);
	opt.context = c->info.max_context + 1;
	result(c, zw_ctx_create(d->model, &opt, &t, &err) == -EINVAL && !t,
	       "a context above the model's limit is refused");
}

/* ---- MTP head ---- */

static void check_mtp_logits(struct check *c, struct zw_ctx *ctx, size_t k)
{
	const struct prompt *p = &c->prompts[k];
	uint32_t v = c->info.vocab_size;
	float *got = alloc(p->n * v, sizeof(*got)), *want;
	double factor = p->flips ? FLIP_FACTOR : RMS_FACTOR, sum = 0, rms;
	uint64_t rows, cols;
	struct zw_error err;
	char path[1024];

	snprintf(path, sizeof(path), "%s/expected/mtp_logits_%zu.npy", c->dir, k);
	if (npy_read_f32(path, &want, &rows, &cols, &err) ||
	    mtp_logits(ctx, p->ids, (uint32_t)p->n, got, &err))
		die("%s", err.msg);
	if (!rows || rows > p->n - 1 || cols != v)
		die("%s: does not fit the prompt", path);
	for (size_t i = 0; i < rows * v; i++) {
		double d = (double)got[(p->n - 1 - rows) * v + i] - (double)want[i];

		sum += d * d;
	}
	rms = sqrt(sum / (double)(rows * v));
	result(c, rms <= factor * p->mtp_rms,
	       "prompt %zu: logits of the MTP head, rms difference %.4g <= %.4g, %.1f times the "
	       "noise",
	       k, rms, factor * p->mtp_rms, factor);
	free(got);
	free(want);
}

struct text {
	uint32_t id[128];
	size_t n;
	struct zw_generate_result res;
	struct zw_ctx_stats decode;
};

static int on_token(void *opaque, uint32_t id)
{
	struct text *t = opaque;

	t->id[t->n++] = id;
	return 0;
}

static void generate(struct device *d, const struct prompt *p, uint32_t draft, uint32_t tokens,
		     struct text *t)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = context_of(d),
				     .rewind = tokens,
				     .outputs = 1 + tokens,
				     .draft = draft == ZW_DRAFT_MTP ? tokens : 0};
	struct zw_generate_params params = {.size = sizeof(params),
					    .max_tokens = sizeof(t->id) / sizeof(t->id[0]),
					    .token = on_token,
					    .opaque = t,
					    .draft = draft,
					    .draft_tokens = tokens};
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_error err;
	struct zw_ctx *ctx;

	*t = (struct text){.res = {.size = sizeof(t->res), .decode = &t->decode},
			   .decode = {.size = sizeof(t->decode)}};
	if (zw_sampler_open(&sp, &params.sampler, &err) ||
	    zw_ctx_create(d->model, &opt, &ctx, &err) || zw_seq_create(ctx, &params.seq) ||
	    zw_generate(ctx, &params, p->ids, p->n, &t->res, &err))
		die("%s", err.msg);
	zw_ctx_destroy(ctx);
	zw_sampler_close(params.sampler);
}

/* Text with drafts of each kind: the same tokens, and for long texts less simulated time for each. */
static void check_drafts(struct check *c)
{
	struct device d;
	struct zw_ctx *ctx;
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = CONTEXT,
				     .batch = CONTEXT,
				     .outputs = CONTEXT,
				     .draft = 1};
	struct zw_error err;
	uint32_t seq;

	device_open_flags(c, &d, c->workers, ZW_MODEL_MTP);
	if (zw_ctx_create(d.model, &opt, &ctx, &err) || zw_seq_create(ctx, &seq))
		die("%s", err.msg);
	for (size_t k = 0; k < c->num_prompts; k++)
		check_mtp_logits(c, ctx, k);
	zw_ctx_destroy(ctx);
	for (size_t k = 0; k < c->num_prompts; k++) {
		struct text plain, t;

		generate(&d, &c->prompts[k], ZW_DRAFT_NONE, 0, &plain);
		for (uint32_t n = 1; n <= 3; n++) {
			for (uint32_t kind = ZW_DRAFT_MTP; kind <= ZW_DRAFT_NGRAM; kind++) {
				double gain;

				generate(&d, &c->prompts[k], kind, n, &t);
				gain = t.decode.sim_ps ? (double)plain.decode.sim_ps /
								 (double)t.decode.sim_ps
						       : 1;
				result(c,
				       t.n == plain.n &&
					       !memcmp(t.id, plain.id, t.n * sizeof(t.id[0])) &&
					       t.res.finish == plain.res.finish,
				       "prompt %zu: %zu tokens with up to %u drafts of kind %u are "
				       "those "
				       "without, %llu of %llu accepted, simulated time / %.2f",
				       k, t.n, n, kind, (unsigned long long)t.res.accepted_tokens,
				       (unsigned long long)t.res.drafted_tokens, gain);
				if (kind == ZW_DRAFT_MTP && n > 1 && plain.n >= 100)
					result(c, gain >= (n == 2 ? DRAFT_GAIN : DRAFTS_GAIN),
					       "prompt %zu: %u drafts of the MTP head, %.2f >= "
					       "%.1f times "
					       "as fast",
					       k, n, gain, n == 2 ? DRAFT_GAIN : DRAFTS_GAIN);
			}
		}
	}
	device_close(&d);
}

static void pass_experts(struct check *c, const struct device *d)
{
	for (size_t k = 0; k < c->num_prompts; k++) {
		struct prompt *p = &c->prompts[k];
		char keep[4096];
		struct zw_error err;

		snprintf(keep, sizeof(keep), "%s-%zu", c->exact ? c->exact : "", k);
		if (experts_pass(d->model, c->dir, p->ids, (uint32_t)p->n, p->want,
				 (uint32_t)p->rows, c->exact ? keep : NULL, &p->exact, &err))
			die("%s: %s", c->dir, err.msg);
	}
}

static void write_digests(const struct check *c)
{
	FILE *f = fopen(c->digest_out, "w");

	if (!f)
		die("%s: %s", c->digest_out, strerror(errno));
	for (size_t k = 0; k < c->num_prompts; k++)
		fprintf(f, "%s prompt %zu %016llx\n", c->name, k,
			(unsigned long long)digest(c->prompts[k].got,
						   c->prompts[k].n * c->info.vocab_size));
	if (fclose(f))
		die("%s: %s", c->digest_out, strerror(errno));
}

static int parse_args(struct check *c, int argc, char **argv)
{
	static const struct option options[] = {
		{"model", required_argument, NULL, 'm'},
		{"device", required_argument, NULL, 'd'},
		{"digest-out", required_argument, NULL, 'o'},
		{"exact", required_argument, NULL, 'e'},
		{"workers", required_argument, NULL, 'w'},
		{NULL, 0, NULL, 0},
	};
	const char *slash;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'm')
			c->dir = optarg;
		else if (opt == 'd')
			c->device = optarg;
		else if (opt == 'o')
			c->digest_out = optarg;
		else if (opt == 'e')
			c->exact = optarg;
		else if (opt == 'w')
			c->workers = atoi(optarg);
		else
			return -1;
	}
	if (!c->dir || optind < argc)
		return -1;
	slash = strrchr(c->dir, '/');
	c->name = slash ? slash + 1 : c->dir;
	return 0;
}

int main(int argc, char **argv)
{
	struct check c = {.device = "sim", .info.size = sizeof(c.info)};
	struct zw_ctx *ctx;
	struct device d;

	if (parse_args(&c, argc, argv)) {
		fprintf(stderr, "usage: check_model --model DIR [--device D] [--digest-out FILE] "
				"[--exact FILES] [--workers N]\n");
		return 2;
	}
	printf("TAP version 13\n");
	device_open(&c, &d, c.workers);
	zw_model_get_info(d.model, &c.info);
	load_expected(&c);
	if (experts_model(d.model))
		pass_experts(&c, &d);
	ctx = context_open(&d, CONTEXT, true); /* above every prompt: one step */
	for (size_t k = 0; k < c.num_prompts; k++) {
		eval(ctx, &c.prompts[k], c.prompts[k].got);
		if (experts_model(d.model))
			check_experts(&c, ctx, k);
		check_logits(&c, k);
	}
	zw_ctx_destroy(ctx);
	check_chunks(&c, &d);
	check_cuts(&c, &d);
	if (is_recurrent(&c))
		check_delta_chunked(&c, &d);
	check_packed(&c, &d);
	check_greedy(&c, &d);
	check_refusals(&c, &d);
	device_close(&d);
	if (c.prompts[0].mtp_rms > 0)
		check_drafts(&c);
	if (d.sim)
		check_workers(&c);
	if (c.digest_out)
		write_digests(&c);
	for (size_t k = 0; k < c.num_prompts; k++) {
		free(c.prompts[k].ids);
		free(c.prompts[k].want);
		free(c.prompts[k].got);
		experts_exact_free(&c.prompts[k].exact);
	}
	free(c.prompts);
	printf("1..%u\n", c.count);
	return c.failed ? 1 : 0;
}
