// SPDX-License-Identifier: MIT
/* zw-perplexity: how well a model foretells a text. See zw-perplexity(1). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file_perplexity.h"
#include "kv_type.h"
#include "tool_interrupt.h"
#include "tool_number.h"
#include "tool_output.h"

#define EXIT_USAGE 2

static const char usage_text[] =
	"usage: zw-perplexity [options] MODEL FILE\n"
	"\n"
	"Prints the perplexity of a Qwen checkpoint (folder or GGUF file) on a text.\n"
	"\n"
	"  FILE                the text; - is standard input\n"
	"      --ids           FILE is a JSON list of token ids\n"
	"  -c, --ctx N         tokens that the model sees at a time (default 512 or its limit)\n"
	"      --stride N      tokens from one window to the next (default: half a window)\n"
	"      --windows N     stop after N windows\n"
	"      --chunk N       compute N tokens at a time (default 128)\n"
	"      --kv-type T     KV cache in bf16 (default), int8 or fp8\n"
	"      --sparse KIND[,KEY=N...]   attend to some keys only: slash, blocks, model or none\n"
	"                      (default), as for zw-run\n"
	"      --delta-chunked delta rule in chunks of tokens, as for zw-run\n"
	"      --device D      auto (default): first accel device, else sim; drm, drm:N, sim\n"
	"      --profile P     chip profile 810e, m890, c12, a100-80g, h100-sxm (sim; on drm: that "
	"chip)\n"
	"      --json          print a JSON object\n"
	"  -q, --quiet         no progress on standard error\n"
	"  -h, --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failure, 2 usage, 130 interrupted.\n";

enum {
	OPT_IDS = 256,
	OPT_STRIDE,
	OPT_WINDOWS,
	OPT_CHUNK,
	OPT_KV_TYPE,
	OPT_SPARSE,
	OPT_DELTA_CHUNKED,
	OPT_DEVICE,
	OPT_PROFILE,
	OPT_JSON,
	OPT_VERSION
};

static const struct option options[] = {
	{"ids", no_argument, NULL, OPT_IDS},
	{"ctx", required_argument, NULL, 'c'},
	{"ctx-size", required_argument, NULL, 'c'},
	{"stride", required_argument, NULL, OPT_STRIDE},
	{"windows", required_argument, NULL, OPT_WINDOWS},
	{"chunk", required_argument, NULL, OPT_CHUNK},
	{"kv-type", required_argument, NULL, OPT_KV_TYPE},
	{"sparse", required_argument, NULL, OPT_SPARSE},
	{"delta-chunked", no_argument, NULL, OPT_DELTA_CHUNKED},
	{"device", required_argument, NULL, OPT_DEVICE},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"json", no_argument, NULL, OPT_JSON},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static bool set_option(struct file_perplexity *f, int opt, const char *v)
{
	uint32_t n = 0;
	bool good = true;

	switch (opt) {
	case 'c':
		good = tool_parse_u32(v, 2, INT32_MAX, &f->window);
		break;
	case OPT_STRIDE:
		good = tool_parse_u32(v, 1, INT32_MAX, &f->stride);
		break;
	case OPT_WINDOWS:
		good = tool_parse_u32(v, 1, INT32_MAX, &n);
		f->max_windows = n;
		break;
	case OPT_CHUNK:
		good = tool_parse_u32(v, 1, ZW_CTX_MAX_BATCH, &f->batch);
		break;
	case OPT_KV_TYPE:
		f->kv_dtype = kv_type_find(v);
		good = f->kv_dtype;
		break;
	case OPT_SPARSE:
		good = tool_parse_sparse(v, &f->sparse);
		break;
	case OPT_DELTA_CHUNKED:
		f->delta_chunked = true;
		break;
	case OPT_DEVICE:
		f->device = v;
		break;
	case OPT_PROFILE:
		f->profile = v;
		break;
	case OPT_IDS:
		f->ids = true;
		break;
	default:
		f->quiet = true;
	}
	if (!good)
		fprintf(stderr, "zw-perplexity: bad value \"%s\" (zw-perplexity --help)\n", v);
	return good;
}

/* -1: go on; otherwise the exit status. */
static int parse_args(struct file_perplexity *f, bool *json, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "c:qh", options, NULL)) != -1) {
		switch (opt) {
		case '?':
			return EXIT_USAGE; /* getopt has said why */
		case 'h':
			fputs(usage_text, stdout);
			return tool_finish("zw-perplexity", EXIT_SUCCESS);
		case OPT_VERSION:
			printf("zw-perplexity %d.%d.%d\n", ZW_VERSION_MAJOR, ZW_VERSION_MINOR,
			       ZW_VERSION_PATCH);
			return tool_finish("zw-perplexity", EXIT_SUCCESS);
		case OPT_JSON:
			*json = true;
			break;
		default:
			if (!set_option(f, opt, optarg))
				return EXIT_USAGE;
		}
	}
	if (argc - optind != 2) {
		fprintf(stderr, "zw-perplexity: MODEL and FILE are needed, and nothing else "
				"(zw-perplexity --help)\n");
		return EXIT_USAGE;
	}
	f->model = argv[optind];
	f->file = argv[optind + 1];
	return -1;
}

int main(int argc, char **argv)
{
	struct file_perplexity f = {
		.tool = "zw-perplexity", .device = "auto", .interrupted = tool_interrupted};
	struct zw_perplexity_result r = {.size = sizeof(r)};
	bool json = false;
	int ret;

	signal(SIGPIPE, SIG_IGN);
	ret = parse_args(&f, &json, argc, argv);
	if (ret >= 0)
		return ret;
	tool_catch_interrupt(true);
	ret = file_perplexity(&f, &r);
	if (ret == -ECANCELED && tool_interrupts)
		return EXIT_INTERRUPTED;
	if (ret)
		return EXIT_FAILURE;
	if (json)
		printf("{\"perplexity\": %.17g, \"error\": %.17g, \"nll\": %.17g, "
		       "\"tokens\": %llu, \"windows\": %u}\n",
		       r.perplexity, r.error, r.nll, (unsigned long long)r.scored, r.windows);
	else
		printf("perplexity %.4f +- %.4f (%llu tokens scored in %u windows)\n", r.perplexity,
		       r.error, (unsigned long long)r.scored, r.windows);
	return tool_finish("zw-perplexity", EXIT_SUCCESS);
}
