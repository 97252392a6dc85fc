// SPDX-License-Identifier: MIT
/* zw-quant: a checkpoint of plain matrices to one of quantised ones. See zw-quant(1). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert.h"
#include "file_perplexity.h"
#include "tool_interrupt.h"
#include "tool_number.h"
#include "tool_output.h"

#define EXIT_USAGE    2
#define DEFAULT_GROUP 128
#define GROUP_MAX     65536
#define SHARD_BYTES   5000000000ull /* as Hugging Face's tools cut them */

static const char usage_text[] =
	"usage: zw-quant IN OUT --format F [options]\n"
	"\n"
	"Quantises the matrices of a Qwen checkpoint (Hugging Face directory, BF16, F16 or F32)\n"
	"into the new folder OUT. Rounding is to nearest; nothing is calibrated.\n"
	"\n"
	"      --format F      int8       INT8 weights and activations (compressed-tensors)\n"
	"                      int8-wo    INT8 weights (compressed-tensors)\n"
	"                      fp8        E4M3 in blocks of 128 x 128, activations too (fp8)\n"
	"                      mxfp4      FP4 weights in groups of 32 (compressed-tensors)\n"
	"                      nvfp4      FP4 weights in groups of 16 (compressed-tensors)\n"
	"                      int4       4-bit weights in groups (compressed-tensors)\n"
	"                      int4-gptq  4-bit weights in groups (gptq)\n"
	"                      int4-awq   4-bit weights in groups (awq)\n"
	"      --group-size N  columns that share a scale, int4 only (default 128)\n"
	"      --shard-size N  most bytes of tensors in a file (default 5000000000)\n"
	"      --text FILE     print the perplexity on this text before and after\n"
	"  -c, --ctx N         for that: tokens that the model sees at a time (default 512)\n"
	"      --stride N      and from one window to the next (default: half a window)\n"
	"      --device D      auto (default): first accel device, else sim; drm, drm:N, sim\n"
	"      --profile P     chip profile 810e, m890 or c12\n"
	"  -q, --quiet         no progress, no notes on standard error\n"
	"  -h, --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failure, 2 usage, 130 interrupted.\n";

enum {
	OPT_FORMAT = 256,
	OPT_GROUP,
	OPT_SHARD,
	OPT_TEXT,
	OPT_STRIDE,
	OPT_DEVICE,
	OPT_PROFILE,
	OPT_VERSION
};

static const struct option options[] = {
	{"format", required_argument, NULL, OPT_FORMAT},
	{"group-size", required_argument, NULL, OPT_GROUP},
	{"shard-size", required_argument, NULL, OPT_SHARD},
	{"text", required_argument, NULL, OPT_TEXT},
	{"ctx", required_argument, NULL, 'c'},
	{"stride", required_argument, NULL, OPT_STRIDE},
	{"device", required_argument, NULL, OPT_DEVICE},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static int on_progress(void *opaque, size_t done, size_t total)
{
	const struct file_perplexity *text = opaque;

	if (!text->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\rtensor %zu of %zu%s", done, total, done == total ? "\n" : "");
	return tool_interrupts;
}

static void on_note(void *opaque, const char *line)
{
	const struct file_perplexity *text = opaque;

	if (!text->quiet)
		fprintf(stderr, "note: %s\n", line);
}

/* ---- command line ---- */

static bool set_option(struct convert *c, struct file_perplexity *f, int opt, const char *v)
{
	uint64_t n = 0;
	bool good = true;

	switch (opt) {
	case OPT_FORMAT:
		c->q.format = quantise_find(v);
		good = c->q.format != QUANTISE_FORMATS;
		break;
	case OPT_GROUP:
		good = tool_parse_u64(v, 8, GROUP_MAX, &n) && n % 8 == 0;
		c->q.group = (uint32_t)n;
		break;
	case OPT_SHARD:
		good = tool_parse_u64(v, 1, INT64_MAX, &c->shard_bytes);
		break;
	case OPT_TEXT:
		f->file = v;
		break;
	case 'c':
		good = tool_parse_u64(v, 2, INT32_MAX, &n);
		f->window = (uint32_t)n;
		break;
	case OPT_STRIDE:
		good = tool_parse_u64(v, 1, INT32_MAX, &n);
		f->stride = (uint32_t)n;
		break;
	case OPT_DEVICE:
		f->device = v;
		break;
	case OPT_PROFILE:
		f->profile = v;
		break;
	default:
		f->quiet = true;
	}
	if (!good)
		fprintf(stderr, "zw-quant: bad value \"%s\" (zw-quant --help)\n", v);
	return good;
}

static int usage(const char *what)
{
	fprintf(stderr, "zw-quant: %s (zw-quant --help)\n", what);
	return EXIT_USAGE;
}

/* -1: go on; otherwise the exit status. */
static int parse_args(struct convert *c, struct file_perplexity *f, int argc, char **argv)
{
	int opt;

	c->q.format = QUANTISE_FORMATS;
	while ((opt = getopt_long(argc, argv, "c:qh", options, NULL)) != -1) {
		switch (opt) {
		case '?':
			return EXIT_USAGE; /* getopt has said why */
		case 'h':
			fputs(usage_text, stdout);
			return tool_finish("zw-quant", EXIT_SUCCESS);
		case OPT_VERSION:
			printf("zw-quant %d.%d.%d\n", ZW_VERSION_MAJOR, ZW_VERSION_MINOR,
			       ZW_VERSION_PATCH);
			return tool_finish("zw-quant", EXIT_SUCCESS);
		default:
			if (!set_option(c, f, opt, optarg))
				return EXIT_USAGE;
		}
	}
	if (argc - optind != 2)
		return usage("IN and OUT are needed, and nothing else");
	if (c->q.format == QUANTISE_FORMATS)
		return usage("--format is missing");
	if (c->q.group && !quantise_has_groups(c->q.format))
		return usage("--group-size is for int4, int4-gptq and int4-awq");
	if (!c->q.group)
		c->q.group = DEFAULT_GROUP;
	c->in = argv[optind];
	c->out = argv[optind + 1];
	return -1;
}

/* ---- */

static int measure(struct file_perplexity *f, const char *model, struct zw_perplexity_result *r)
{
	*r = (struct zw_perplexity_result){.size = sizeof(*r)};
	f->model = model;
	return f->file ? file_perplexity(f, r) : 0;
}

static int run(struct convert *c, struct file_perplexity *f)
{
	struct zw_perplexity_result before, after;
	struct convert_result r;
	struct zw_error err;
	int ret;

	/* Told before the work, not after it. */
	if (!access(c->out, F_OK)) {
		fprintf(stderr, "zw-quant: %s: is there already, and is not overwritten\n", c->out);
		return -EEXIST;
	}
	ret = measure(f, c->in, &before);
	if (ret)
		return ret;
	ret = convert_checkpoint(c, &r, &err);
	if (ret) {
		if (ret != -ECANCELED)
			fprintf(stderr, "zw-quant: %s\n", err.msg);
		return ret;
	}
	printf("%s: %zu matrices, %.1f MiB of tensors in place of %.1f\n",
	       quantise_name(c->q.format), r.matrices, (double)r.bytes_out / 1048576,
	       (double)r.bytes_in / 1048576);
	ret = measure(f, c->out, &after);
	if (ret || !f->file)
		return ret;
	printf("perplexity before %.4f +- %.4f, after %.4f +- %.4f, factor %.4f (%llu tokens)\n",
	       before.perplexity, before.error, after.perplexity, after.error,
	       after.perplexity / before.perplexity, (unsigned long long)after.scored);
	return 0;
}

int main(int argc, char **argv)
{
	struct file_perplexity text = {
		.tool = "zw-quant", .device = "auto", .interrupted = tool_interrupted};
	struct convert c = {
		.shard_bytes = SHARD_BYTES,
		.progress = on_progress,
		.note = on_note,
		.opaque = &text,
	};
	int ret;

	signal(SIGPIPE, SIG_IGN);
	ret = parse_args(&c, &text, argc, argv);
	if (ret >= 0)
		return ret;
	tool_catch_interrupt(true);
	ret = run(&c, &text);
	if (ret == -ECANCELED && tool_interrupts)
		return EXIT_INTERRUPTED;
	return tool_finish("zw-quant", ret ? EXIT_FAILURE : EXIT_SUCCESS);
}
