// SPDX-License-Identifier: MIT
/* zw-bench: tokens per second of prompts and of decoding. See zw-bench(1). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_print.h"
#include "tool_interrupt.h"
#include "tool_output.h"

#define EXIT_USAGE 2

static const char usage_text[] =
	"usage: zw-bench [options] -m MODEL\n"
	"\n"
	"Measures how fast a Qwen checkpoint (folder or GGUF file) computes prompts (pp) and\n"
	"decodes (tg) on a Zhenwu device. LIST is N or N,N,...; every combination is run.\n"
	"\n"
	"  -m, --model MODEL        may be given again\n"
	"  -p, --n-prompt LIST      tokens of a prompt (default 512; 0: no such test)\n"
	"  -n, --n-gen LIST         tokens that are decoded (default 128; 0: no such test)\n"
	"  -d, --n-depth LIST       tokens in front of them (default 0)\n"
	"  -b, --batch-size LIST    most tokens of a step (default 128)\n"
	"      --seqs LIST          sequences, decoded together in one step (default 1)\n"
	"      --sparse KIND[,KEY=N...]   prompts attend to some keys only: slash, blocks, model "
	"(as the\n"
	"                           checkpoint says) or none (default); keys: group, from; "
	"vertical,\n"
	"                           slash; keep\n"
	"      --delta-chunked      delta rule of prompts in chunks of tokens\n"
	"  -r, --repetitions N      runs of each test (default 5)\n"
	"      --no-warmup          measure the first run, too\n"
	"  -o, --output FORMAT      md (default), csv, json or jsonl\n"
	"      --device D           auto (default): first accel device, else sim; drm, drm:N, sim\n"
	"      --profile P          chip profile 810e, m890, c12, a100-80g, h100-sxm (sim; on drm "
	"it must be that "
	"chip)\n"
	"      --trace F            what the device did when, as zw-run --trace; tests take "
	"longer\n"
	"  -h, --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failure, 2 usage, 130 interrupted.\n";

enum {
	OPT_SEQS = 256,
	OPT_SPARSE,
	OPT_DELTA_CHUNKED,
	OPT_NO_WARMUP,
	OPT_DEVICE,
	OPT_PROFILE,
	OPT_TRACE,
	OPT_VERSION
};

static const struct option options[] = {
	{"model", required_argument, NULL, 'm'},
	{"n-prompt", required_argument, NULL, 'p'},
	{"n-gen", required_argument, NULL, 'n'},
	{"n-depth", required_argument, NULL, 'd'},
	{"batch-size", required_argument, NULL, 'b'},
	{"seqs", required_argument, NULL, OPT_SEQS},
	{"sparse", required_argument, NULL, OPT_SPARSE},
	{"repetitions", required_argument, NULL, 'r'},
	{"delta-chunked", no_argument, NULL, OPT_DELTA_CHUNKED},
	{"no-warmup", no_argument, NULL, OPT_NO_WARMUP},
	{"output", required_argument, NULL, 'o'},
	{"device", required_argument, NULL, OPT_DEVICE},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"trace", required_argument, NULL, OPT_TRACE},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

#define LIST_MAX 64

struct list {
	uint32_t v[LIST_MAX];
	size_t n;
};

struct args {
	const char *models[LIST_MAX];
	size_t num_models;
	struct list prompt, gen, depth, batch, seqs, runs;
	const char *device, *profile, *trace;
	enum bench_format format;
	bool warmup, delta_chunked;
	struct tool_sparse sparse;
};

/* N,N,... each in [min, max], in the place of what was there. */
static bool parse_list(const char *s, uint32_t min, uint32_t max, struct list *l)
{
	l->n = 0;
	for (;;) {
		char *end;
		unsigned long long u;

		if (s[0] < '0' || s[0] > '9' || l->n == LIST_MAX)
			return false;
		errno = 0;
		u = strtoull(s, &end, 10);
		if (errno || u < min || u > max)
			return false;
		l->v[l->n++] = (uint32_t)u;
		if (!*end)
			return true;
		if (*end != ',')
			return false;
		s = end + 1;
	}
}

static bool parse_format(const char *s, enum bench_format *f)
{
	static const char *const names[] = {"md", "csv", "json", "jsonl"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(s, names[i])) {
			*f = (enum bench_format)i;
			return true;
		}
	}
	return false;
}

static bool set_option(struct args *a, int opt, const char *v)
{
	switch (opt) {
	case 'm':
		if (!*v || a->num_models == LIST_MAX)
			return false;
		a->models[a->num_models++] = v;
		return true;
	case 'p':
		return parse_list(v, 0, 1u << 24, &a->prompt);
	case 'n':
		return parse_list(v, 0, 1u << 24, &a->gen);
	case 'd':
		return parse_list(v, 0, 1u << 24, &a->depth);
	case 'b':
		return parse_list(v, 1, ZW_CTX_MAX_BATCH, &a->batch);
	case OPT_SEQS:
		return parse_list(v, 1, ZW_CTX_MAX_SEQS, &a->seqs);
	case OPT_SPARSE:
		return tool_parse_sparse(v, &a->sparse);
	case 'r':
		return parse_list(v, 1, 1000, &a->runs) && a->runs.n == 1;
	case 'o':
		return parse_format(v, &a->format);
	case OPT_DELTA_CHUNKED:
		a->delta_chunked = true;
		return true;
	case OPT_DEVICE:
		a->device = v;
		return *v;
	case OPT_PROFILE:
		a->profile = v;
		return *v;
	case OPT_TRACE:
		a->trace = v;
		return *v;
	default:
		a->warmup = false;
		return true;
	}
}

/* -1: go on; otherwise the exit status. */
static int parse_args(struct args *a, int argc, char **argv)
{
	int opt;

	*a = (struct args){.prompt = {{512}, 1},
			   .gen = {{128}, 1},
			   .depth = {{0}, 1},
			   .batch = {{ZW_CTX_DEFAULT_BATCH}, 1},
			   .seqs = {{1}, 1},
			   .runs = {{5}, 1},
			   .device = "auto",
			   .warmup = true};
	while ((opt = getopt_long(argc, argv, "m:p:n:d:b:r:o:h", options, NULL)) != -1) {
		if (opt == '?')
			return EXIT_USAGE; /* getopt has said why */
		if (opt == 'h') {
			fputs(usage_text, stdout);
			return tool_finish("zw-bench", EXIT_SUCCESS);
		}
		if (opt == OPT_VERSION) {
			printf("zw-bench %d.%d.%d\n", ZW_VERSION_MAJOR, ZW_VERSION_MINOR,
			       ZW_VERSION_PATCH);
			return tool_finish("zw-bench", EXIT_SUCCESS);
		}
		if (!set_option(a, opt, optarg)) {
			fprintf(stderr, "zw-bench: bad value \"%s\" (zw-bench --help)\n", optarg);
			return EXIT_USAGE;
		}
	}
	if (optind < argc)
		fprintf(stderr, "zw-bench: unexpected argument %s (zw-bench --help)\n",
			argv[optind]);
	else if (!a->num_models)
		fprintf(stderr, "zw-bench: --model is missing (zw-bench --help)\n");
	else
		return -1;
	return EXIT_USAGE;
}

struct bench_state {
	const struct args *a;
	struct zw_dev_attrs attrs;
	struct bench_output out;
	struct run_trace *trace;
};

static int one_test(struct bench_state *s, const char *name, struct zw_model *model,
		    const struct bench_test *t, struct zw_error *err)
{
	struct zw_model_info info = {.size = sizeof(info)};
	struct bench_sample *samples = calloc(t->runs, sizeof(*samples));
	struct bench_record r = {
		.model = name, .info = &info, .attrs = &s->attrs, .test = t, .samples = samples};
	time_t now = time(NULL);
	struct tm tm;
	int ret;

	if (!samples) {
		snprintf(err->msg, sizeof(err->msg), "out of memory");
		return -ENOMEM;
	}
	zw_model_get_info(model, &info);
	strftime(r.time, sizeof(r.time), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	ret = bench_run(model, t, tool_interrupted, s->trace, samples, err);
	if (!ret)
		bench_print(&s->out, &r);
	free(samples);
	return ret;
}

/* Prompts, then decoding, at one depth, batch size and number of sequences. */
static int tests_of(struct bench_state *s, const char *name, struct zw_model *model,
		    struct bench_test t, struct zw_error *err)
{
	const struct args *a = s->a;
	int ret = 0;

	for (size_t i = 0; i < a->prompt.n && !ret; i++) {
		t.prompt = a->prompt.v[i];
		t.gen = 0;
		if (t.prompt)
			ret = one_test(s, name, model, &t, err);
	}
	for (size_t i = 0; i < a->gen.n && !ret; i++) {
		t.prompt = 0;
		t.gen = a->gen.v[i];
		if (t.gen)
			ret = one_test(s, name, model, &t, err);
	}
	return ret;
}

static int one_model(struct bench_state *s, struct zw_dev *dev, size_t index, struct zw_error *err)
{
	const struct args *a = s->a;
	const char *name = a->models[index];
	struct zw_model *model;
	int ret = zw_model_open(dev, name, NULL, &model, err);

	if (ret)
		return ret;
	run_trace_step(s->trace, "load", "model", (uint64_t)index);
	for (size_t i = 0; i < a->batch.n * a->seqs.n * a->depth.n && !ret; i++) {
		struct bench_test t = {.depth = a->depth.v[i % a->depth.n],
				       .seqs = a->seqs.v[i / a->depth.n % a->seqs.n],
				       .batch = a->batch.v[i / a->depth.n / a->seqs.n],
				       .runs = a->runs.v[0],
				       .sparse = a->sparse,
				       .warmup = a->warmup,
				       .delta_chunked = a->delta_chunked};

		ret = tests_of(s, name, model, t, err);
	}
	zw_model_close(model);
	return ret;
}

static int run(const struct args *a, struct run_trace *trace)
{
	struct zw_dev_options dopt = {
		.size = sizeof(dopt), .profile = a->profile, .flags = trace ? ZW_DEV_TRACE : 0};
	struct bench_state s = {
		.a = a,
		.trace = trace,
		.attrs = {.size = sizeof(s.attrs)},
		.out = {.f = stdout,
			.format = a->format,
			.with_batch = a->batch.n > 1 || a->batch.v[0] != ZW_CTX_DEFAULT_BATCH,
			.with_seqs = a->seqs.n > 1 || a->seqs.v[0] != 1}};
	struct zw_error err = {""};
	struct zw_dev *dev;
	int ret = zw_dev_open(a->device, &dopt, &dev, &err), status;

	if (ret) {
		fprintf(stderr, "zw-bench: %s\n", err.msg);
		return run_trace_close(trace, EXIT_FAILURE);
	}
	run_trace_device(trace, dev);
	ret = zw_dev_get_attrs(dev, &s.attrs);
	if (ret)
		snprintf(err.msg, sizeof(err.msg), "%s", strerror(-ret));
	if (!ret)
		bench_begin(&s.out);
	for (size_t i = 0; i < a->num_models && !ret; i++)
		ret = one_model(&s, dev, i, &err);
	bench_end(&s.out);
	status = !ret ? EXIT_SUCCESS : tool_interrupts ? EXIT_INTERRUPTED : EXIT_FAILURE;
	if (status == EXIT_FAILURE)
		fprintf(stderr, "zw-bench: %s\n", err.msg);
	status = run_trace_close(trace, status);
	zw_dev_close(dev);
	return status ? status : tool_finish("zw-bench", EXIT_SUCCESS);
}

int main(int argc, char **argv)
{
	struct run_trace *trace = NULL;
	struct args a;
	int ret;

	signal(SIGPIPE, SIG_IGN);
	ret = parse_args(&a, argc, argv);
	if (ret >= 0)
		return ret;
	if (a.trace && run_trace_open("zw-bench", a.trace, &trace))
		return EXIT_FAILURE;
	tool_catch_interrupt(true);
	return run(&a, trace);
}
