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
#include <zhenwu/llm_model.h>
#include <zhenwu/zhenwu.h>

#define RMS_FACTOR    1.5 /* of the reference's own BF16 noise */
#define MARGIN_FACTOR 8.0 /* a top-2 margin above this many times the noise decides the argmax */

struct prompt {
	uint32_t *ids;
	size_t n;
	double rms;        /* of the reference's BF16 run */
	float *want, *got; /* [n, V] */
};

struct check {
	const char *dir, *name, *device, *digest_out;
	int workers;
	struct zw_model_config cfg;
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
		snprintf(path, sizeof(path), "%s/expected/logits_%zu.npy", c->dir, k);
		if (zw_npy_read_f32(path, &p->want, &rows, &cols, &err))
			die("%s", err.msg);
		if (rows != p->n || cols != c->cfg.vocab_size)
			die("%s: [%llu, %llu] does not fit the prompt", path,
			    (unsigned long long)rows, (unsigned long long)cols);
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
	uint32_t v = c->cfg.vocab_size;
	size_t clear = 0, differ = 0;
	double sum = 0, rms;

	for (size_t i = 0; i < p->n * v; i++) {
		double d = (double)p->got[i] - (double)p->want[i];

		sum += d * d;
	}
	rms = sqrt(sum / (double)(p->n * v));
	/* Written so that a NaN fails. */
	result(c, rms <= RMS_FACTOR * p->rms, "prompt %zu: logits, rms difference %.4g <= %.4g", k,
	       rms, RMS_FACTOR * p->rms);
	for (size_t t = 0; t < p->n; t++) {
		double margin, ours;
		uint32_t want = top2(p->want + t * v, v, &margin);

		if (margin <= MARGIN_FACTOR * p->rms)
			continue;
		clear++;
		differ += top2(p->got + t * v, v, &ours) != want;
	}
	result(c, !differ, "prompt %zu: same best token in %zu of %zu rows with a clear margin", k,
	       clear - differ, clear);
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

static void device_open(struct check *c, struct device *d, int workers)
{
	struct zw_dev_options opt = {.size = sizeof(opt), .workers = workers};
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	struct zw_error err;

	if (zw_dev_open(c->device, &opt, &d->dev, &err))
		die("%s", err.msg);
	if (zw_dev_get_attrs(d->dev, &attrs))
		die("the device has no attributes");
	d->sim = attrs.transport == ZW_TRANSPORT_SIM;
	if (zw_model_open(d->dev, c->dir, NULL, &d->model, &err))
		die("%s", err.msg);
}

static void device_close(struct device *d)
{
	if (zw_model_close(d->model) || zw_dev_close(d->dev))
		die("model or device are still in use");
}

static struct zw_session *session_open(struct device *d, uint32_t chunk)
{
	struct zw_session_options opt = {.size = sizeof(opt),
					 .flags = ZW_SESSION_ALL_LOGITS,
					 .context = 512,
					 .chunk = chunk};
	struct zw_session *s;
	struct zw_error err;

	if (zw_session_open(d->model, &opt, &s, &err))
		die("%s", err.msg);
	return s;
}

/* Logits of every row of a prompt, from an empty sequence. */
static void eval(struct zw_session *s, const struct prompt *p, float *out)
{
	struct zw_error err;

	zw_session_truncate(s, 0);
	if (zw_session_eval(s, p->ids, p->n, out, NULL, &err))
		die("%s", err.msg);
}

static bool same_bits(const struct prompt *p, const float *x, uint32_t v)
{
	return !memcmp(p->got, x, p->n * v * sizeof(*x));
}

/* However a prompt is cut, the bits are those of the whole. */
static void check_chunks(struct check *c, struct device *d)
{
	static const uint32_t chunks[] = {1, 7};
	uint32_t v = c->cfg.vocab_size;

	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct zw_session *s = session_open(d, chunks[i]);

		for (size_t k = 0; k < c->num_prompts; k++) {
			const struct prompt *p = &c->prompts[k];
			float *x = alloc(p->n * v, sizeof(*x));

			eval(s, p, x);
			result(c, same_bits(p, x, v),
			       "prompt %zu: prefill in chunks of %u has the bits of the whole", k,
			       chunks[i]);
			free(x);
		}
		zw_session_close(s);
	}
}

/*
 * The expected tokens fed back one at a time: wherever our own margin is clear, our choice is
 * theirs. Also: the last row's logits alone are those that every row's give.
 */
static void check_greedy(struct check *c, struct device *d)
{
	cJSON *greedy = load_json(c->dir, "greedy.json"), *it;
	struct zw_session *s = session_open(d, 0);
	uint32_t v = c->cfg.vocab_size;
	size_t k = 0;

	cJSON_ArrayForEach(it, greedy)
	{
		const struct prompt *p = &c->prompts[k];
		uint32_t *want;
		size_t n = load_ids(cJSON_GetObjectItemCaseSensitive(it, "tokens"), &want);
		size_t clear = 0, agree = 0;
		const float *logits;
		struct zw_error err;

		if (k >= c->num_prompts || !n)
			die("%s: greedy.json does not fit the prompts", c->dir);
		zw_session_truncate(s, 0);
		if (zw_session_eval(s, p->ids, p->n, NULL, &logits, &err))
			die("%s", err.msg);
		result(c, !memcmp(logits, p->got + (p->n - 1) * v, v * sizeof(*logits)),
		       "prompt %zu: logits of the last row alone have the same bits", k);
		for (size_t i = 0; i < n; i++) {
			double margin;
			uint32_t id = top2(logits, v, &margin);

			if (margin > MARGIN_FACTOR * p->rms) {
				clear++;
				agree += id == want[i];
			}
			if (i + 1 < n && zw_session_eval(s, &want[i], 1, NULL, &logits, &err))
				die("%s", err.msg);
		}
		result(c, agree == clear && clear > 0,
		       "prompt %zu: %zu of %zu greedy tokens with a clear margin as expected", k,
		       agree, clear);
		free(want);
		k++;
	}
	zw_session_close(s);
	cJSON_Delete(greedy);
}

static void check_workers(struct check *c)
{
	static const int workers[] = {1, 2, 4, ZW_DEV_WORKERS_NONE};
	uint32_t v = c->cfg.vocab_size;

	for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++) {
		struct device d;
		struct zw_session *s;
		bool same = true;

		device_open(c, &d, workers[i]);
		s = session_open(&d, 0);
		for (size_t k = 0; k < c->num_prompts; k++) {
			const struct prompt *p = &c->prompts[k];
			float *x = alloc(p->n * v, sizeof(*x));

			eval(s, p, x);
			same &= same_bits(p, x, v);
			free(x);
		}
		zw_session_close(s);
		device_close(&d);
		result(c, same, "%d engine threads give the same bits",
		       workers[i] == ZW_DEV_WORKERS_NONE ? 0 : workers[i]);
	}
}

/* Wrong calls are refused and leave the session as it was. */
static void check_refusals(struct check *c, struct device *d)
{
	struct zw_session_options opt = {.size = sizeof(opt), .context = 8, .chunk = 3};
	const struct prompt *p = &c->prompts[0];
	uint32_t bad = c->cfg.vocab_size, nine[9] = {0};
	struct zw_session *s, *t = NULL;
	const float *logits;
	struct zw_error err;

	if (zw_session_open(d->model, &opt, &s, &err))
		die("%s", err.msg);
	result(c, zw_session_eval(s, &bad, 1, NULL, &logits, &err) == -ERANGE,
	       "a token id beyond the vocabulary is refused");
	result(c, zw_session_eval(s, nine, 9, NULL, &logits, &err) == -ENOSPC,
	       "more tokens than the context are refused");
	result(c,
	       zw_session_length(s) == 0 &&
		       zw_session_eval(s, p->ids, p->n < 8 ? p->n : 8, NULL, &logits, &err) == 0,
	       "the session works after refusals");
	result(c, zw_model_close(d->model) == -EBUSY, "a model in use cannot be closed");
	zw_session_close(s);
	opt.context = c->cfg.max_position + 1;
	result(c, zw_session_open(d->model, &opt, &t, &err) == -EINVAL && !t,
	       "a context above the model's limit is refused");
}

static void write_digests(const struct check *c)
{
	FILE *f = fopen(c->digest_out, "w");

	if (!f)
		die("%s: %s", c->digest_out, strerror(errno));
	for (size_t k = 0; k < c->num_prompts; k++)
		fprintf(f, "%s prompt %zu %016llx\n", c->name, k,
			(unsigned long long)digest(c->prompts[k].got,
						   c->prompts[k].n * c->cfg.vocab_size));
	if (fclose(f))
		die("%s: %s", c->digest_out, strerror(errno));
}

static int parse_args(struct check *c, int argc, char **argv)
{
	static const struct option options[] = {
		{"model", required_argument, NULL, 'm'},
		{"device", required_argument, NULL, 'd'},
		{"digest-out", required_argument, NULL, 'o'},
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
	struct check c = {.device = "sim", .cfg.size = sizeof(c.cfg)};
	struct zw_session *s;
	struct zw_error err;
	struct device d;

	if (parse_args(&c, argc, argv)) {
		fprintf(stderr, "usage: check_model --model DIR [--device D] [--digest-out FILE] "
				"[--workers N]\n");
		return 2;
	}
	printf("TAP version 13\n");
	if (zw_model_config_load(c.dir, &c.cfg, &err))
		die("%s", err.msg);
	load_expected(&c);
	device_open(&c, &d, c.workers);
	s = session_open(&d, 512); /* above every prompt: one chunk */
	for (size_t k = 0; k < c.num_prompts; k++) {
		eval(s, &c.prompts[k], c.prompts[k].got);
		check_logits(&c, k);
	}
	zw_session_close(s);
	check_chunks(&c, &d);
	check_greedy(&c, &d);
	check_refusals(&c, &d);
	device_close(&d);
	if (d.sim)
		check_workers(&c);
	if (c.digest_out)
		write_digests(&c);
	for (size_t k = 0; k < c.num_prompts; k++) {
		free(c.prompts[k].ids);
		free(c.prompts[k].want);
		free(c.prompts[k].got);
	}
	free(c.prompts);
	printf("1..%u\n", c.count);
	return c.failed ? 1 : 0;
}
