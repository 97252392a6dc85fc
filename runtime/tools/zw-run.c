// SPDX-License-Identifier: MIT
/* zw-run: a prompt in, text out. The options are a contract that scripts rely on: see zw-run(1). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zhenwu/llm_model.h>
#include <zhenwu/zhenwu.h>

#include "run_stats.h"

#define EXIT_USAGE 2

static const char usage_text[] =
	"usage: zw-run --model DIR (--prompt TEXT | --prompt-file F | --prompt-ids FILE.json)\n"
	"              [--device auto|drm[:N]|sim] [--profile P] [--max-tokens N]\n"
	"              [--temperature T] [--top-k K] [--top-p P] [--min-p P] [--seed S]\n"
	"              [--ctx N] [--chunk N] [--logits-out F.npy] [--ids-out F.json]\n"
	"              [--stats-json F] [--quiet]\n";

static const char help_text[] =
	"\n"
	"Loads a Qwen checkpoint (Hugging Face directory) into a Zhenwu device and continues a "
	"prompt.\n"
	"\n"
	"  --model DIR          config.json, *.safetensors and, unless --prompt-ids, "
	"tokenizer.json\n"
	"  --prompt TEXT        text to continue\n"
	"  --prompt-file F      the same from a file; - is standard input\n"
	"  --prompt-ids F       the same as a JSON list of token ids\n"
	"  --device D           auto (default): first accel device, else sim; drm, drm:N, sim\n"
	"  --profile P          chip profile 810e, m890 or c12 (sim; on drm it must be that chip)\n"
	"  --max-tokens N       most tokens to generate (default 128)\n"
	"  --temperature T      0 is greedy; this and the next three default to the model's\n"
	"  --top-k K            generation_config.json\n"
	"  --top-p P\n"
	"  --min-p P\n"
	"  --seed S             of the sampler (default 0): equal seeds give equal text\n"
	"  --ctx N              room for N tokens (default 4096 or the model's limit)\n"
	"  --chunk N            prefill N tokens at a time (default 128)\n"
	"  --logits-out F       write the prompt's logits, float32 [T, V], as .npy\n"
	"  --ids-out F          write the generated ids as a JSON list\n"
	"  --stats-json F       write times, rates and counters\n"
	"  --quiet              no progress, no statistics on standard error\n"
	"  --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failure, 2 usage.\n";

struct args {
	const char *model, *device, *profile, *prompt, *prompt_file, *prompt_ids;
	const char *logits_out, *ids_out, *stats_json;
	uint64_t max_tokens, seed;
	uint32_t ctx, chunk, top_k;
	float temperature, top_p, min_p;
	bool has_temperature, has_top_k, has_top_p, has_min_p, quiet;
};

struct run {
	struct args a;
	struct zw_dev *dev;
	struct zw_model *model;
	struct zw_session *session;
	struct zw_tokenizer *tok;
	struct zw_detokenizer *detok;
	struct zw_sampler *sampler;
	uint32_t *prompt, *out;
	size_t num_prompt, num_out, cap_out;
	float *logits;
	bool out_of_memory, output_failed;
	struct timespec last_progress;
};

static int fail(const char *msg)
{
	fprintf(stderr, "zw-run: %s\n", msg);
	return EXIT_FAILURE;
}

static int usage(const char *fmt, const char *arg)
{
	fprintf(stderr, "zw-run: ");
	fprintf(stderr, fmt, arg);
	fprintf(stderr, " (zw-run --help lists the options)\n");
	return EXIT_USAGE;
}

/* ---- options ---- */

static bool parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *v)
{
	char *end;
	unsigned long long u;

	if (s[0] < '0' || s[0] > '9')
		return false;
	errno = 0;
	u = strtoull(s, &end, 10);
	if (errno || *end || u < min || u > max)
		return false;
	*v = u;
	return true;
}

static bool parse_u32(const char *s, uint32_t min, uint32_t max, uint32_t *v)
{
	uint64_t u;

	if (!parse_u64(s, min, max, &u))
		return false;
	*v = (uint32_t)u;
	return true;
}

static bool parse_float(const char *s, float min, float max, float *v)
{
	char *end;

	errno = 0;
	*v = strtof(s, &end);
	/* Written so that NaN fails. */
	return end != s && !*end && *v >= min && *v <= max;
}

static bool device_ok(const char *s)
{
	uint64_t n;

	return !strcmp(s, "auto") || !strcmp(s, "sim") || !strcmp(s, "drm") ||
	       (!strncmp(s, "drm:", 4) && parse_u64(s + 4, 0, 255, &n));
}

enum {
	OPT_MODEL = 256,
	OPT_DEVICE,
	OPT_PROFILE,
	OPT_PROMPT,
	OPT_PROMPT_FILE,
	OPT_PROMPT_IDS,
	OPT_MAX_TOKENS,
	OPT_TEMPERATURE,
	OPT_TOP_K,
	OPT_TOP_P,
	OPT_MIN_P,
	OPT_SEED,
	OPT_CTX,
	OPT_CHUNK,
	OPT_LOGITS_OUT,
	OPT_IDS_OUT,
	OPT_STATS_JSON,
	OPT_QUIET,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option options[] = {
	{"model", required_argument, NULL, OPT_MODEL},
	{"device", required_argument, NULL, OPT_DEVICE},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"prompt", required_argument, NULL, OPT_PROMPT},
	{"prompt-file", required_argument, NULL, OPT_PROMPT_FILE},
	{"prompt-ids", required_argument, NULL, OPT_PROMPT_IDS},
	{"max-tokens", required_argument, NULL, OPT_MAX_TOKENS},
	{"temperature", required_argument, NULL, OPT_TEMPERATURE},
	{"top-k", required_argument, NULL, OPT_TOP_K},
	{"top-p", required_argument, NULL, OPT_TOP_P},
	{"min-p", required_argument, NULL, OPT_MIN_P},
	{"seed", required_argument, NULL, OPT_SEED},
	{"ctx", required_argument, NULL, OPT_CTX},
	{"chunk", required_argument, NULL, OPT_CHUNK},
	{"logits-out", required_argument, NULL, OPT_LOGITS_OUT},
	{"ids-out", required_argument, NULL, OPT_IDS_OUT},
	{"stats-json", required_argument, NULL, OPT_STATS_JSON},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* One option's value; false when it is out of range. */
static bool set_option(struct args *a, int opt, const char *v)
{
	switch (opt) {
	case OPT_MODEL:
		a->model = v;
		return *v;
	case OPT_DEVICE:
		a->device = v;
		return device_ok(v);
	case OPT_PROFILE:
		a->profile = v;
		return *v;
	case OPT_PROMPT:
		a->prompt = v;
		return true;
	case OPT_PROMPT_FILE:
		a->prompt_file = v;
		return *v;
	case OPT_PROMPT_IDS:
		a->prompt_ids = v;
		return *v;
	case OPT_MAX_TOKENS:
		return parse_u64(v, 0, UINT32_MAX, &a->max_tokens);
	case OPT_TEMPERATURE:
		a->has_temperature = true;
		return parse_float(v, 0, 1000, &a->temperature);
	case OPT_TOP_K:
		a->has_top_k = true;
		return parse_u32(v, 0, INT32_MAX, &a->top_k);
	case OPT_TOP_P:
		a->has_top_p = true;
		return parse_float(v, 0, 1, &a->top_p);
	case OPT_MIN_P:
		a->has_min_p = true;
		return parse_float(v, 0, 1, &a->min_p);
	case OPT_SEED:
		return parse_u64(v, 0, UINT64_MAX, &a->seed);
	case OPT_CTX:
		return parse_u32(v, 1, INT32_MAX, &a->ctx);
	case OPT_CHUNK:
		return parse_u32(v, 1, 4096, &a->chunk);
	case OPT_LOGITS_OUT:
		a->logits_out = v;
		return *v;
	case OPT_IDS_OUT:
		a->ids_out = v;
		return *v;
	case OPT_STATS_JSON:
		a->stats_json = v;
		return *v;
	default:
		a->quiet = true;
		return true;
	}
}

/* -1: go on; otherwise the exit status. */
static int parse_args(struct args *a, int argc, char **argv)
{
	int opt, index = 0, prompts;

	*a = (struct args){.device = "auto", .max_tokens = 128};
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", options, &index)) != -1) {
		if (opt == '?' || opt == ':')
			return usage("unknown or incomplete option %s", argv[optind - 1]);
		if (opt == OPT_HELP) {
			printf("%s%s", usage_text, help_text);
			return EXIT_SUCCESS;
		}
		if (opt == OPT_VERSION) {
			printf("zw-run %d.%d.%d\n", ZW_VERSION_MAJOR, ZW_VERSION_MINOR,
			       ZW_VERSION_PATCH);
			return EXIT_SUCCESS;
		}
		if (!set_option(a, opt, optarg)) {
			fprintf(stderr, "zw-run: --%s: bad value \"%s\" (zw-run --help)\n",
				options[index].name, optarg);
			return EXIT_USAGE;
		}
	}
	if (optind < argc)
		return usage("unexpected argument %s", argv[optind]);
	if (!a->model)
		return usage("%s is missing", "--model");
	prompts = !!a->prompt + !!a->prompt_file + !!a->prompt_ids;
	if (prompts != 1)
		return usage("one of %s is needed, and only one",
			     "--prompt, --prompt-file, --prompt-ids");
	return -1;
}

/* ---- steps ---- */

static double seconds_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - t->tv_sec) + (double)(now.tv_nsec - t->tv_nsec) * 1e-9;
}

static int progress(void *opaque, uint64_t done, uint64_t total)
{
	struct run *r = opaque;

	if (r->a.quiet || !isatty(STDERR_FILENO))
		return 0;
	if (done && done < total && seconds_since(&r->last_progress) < 0.1)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &r->last_progress);
	fprintf(stderr, "\rloading weights: %5.1f of %.1f MiB (%3.0f %%)%s", (double)done / 1048576,
		(double)total / 1048576, total ? 100.0 * (double)done / (double)total : 100.0,
		done == total ? "\n" : "");
	return 0;
}

static int read_text(const char *path, char **text, size_t *len)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
	size_t cap = 0, n = 0, got;
	char *buf = NULL;

	if (!f)
		goto fail;
	do {
		if (cap - n < 65536) {
			char *p = realloc(buf, cap = cap * 2 + 65536);

			if (!p) {
				errno = ENOMEM;
				goto fail;
			}
			buf = p;
		}
		got = fread(buf + n, 1, cap - n, f);
		n += got;
	} while (got);
	if (ferror(f)) {
		errno = errno ? errno : EIO;
		goto fail;
	}
	if (f != stdin)
		fclose(f);
	*text = buf;
	*len = n;
	return 0;
fail:
	fprintf(stderr, "zw-run: %s: %s\n", path, strerror(errno));
	if (f && f != stdin)
		fclose(f);
	free(buf);
	return EXIT_FAILURE;
}

static int load_prompt(struct run *r)
{
	const struct args *a = &r->a;
	struct zw_error err;
	char *text = NULL;
	size_t len;
	int ret;

	if (a->prompt_ids) {
		if (zw_ids_read_json(a->prompt_ids, &r->prompt, &r->num_prompt, &err))
			return fail(err.msg);
	} else if (a->prompt_file) {
		ret = read_text(a->prompt_file, &text, &len);
		if (ret)
			return ret;
		ret = zw_tokenizer_encode(r->tok, text, len, 0, &r->prompt, &r->num_prompt, &err);
		free(text);
		if (ret)
			return fail(err.msg);
	} else {
		if (zw_tokenizer_encode(r->tok, a->prompt, strlen(a->prompt), 0, &r->prompt,
					&r->num_prompt, &err))
			return fail(err.msg);
	}
	return r->num_prompt ? 0 : fail("the prompt is empty");
}

/* Ids alone need no tokenizer; then ids are printed in place of text. */
static int load_tokenizer(struct run *r)
{
	struct zw_error err;
	char *path;
	int ret;

	if (r->a.prompt_ids) {
		if (asprintf(&path, "%s/tokenizer.json", r->a.model) < 0)
			return fail("out of memory");
		ret = access(path, F_OK);
		free(path);
		if (ret)
			return 0;
	}
	if (zw_tokenizer_open(r->a.model, &r->tok, &err))
		return fail(err.msg);
	if (zw_detokenizer_open(r->tok, ZW_DECODE_SKIP_SPECIAL, &r->detok))
		return fail("out of memory");
	return 0;
}

static int load_model(struct run *r, struct zw_model_config *cfg, struct zw_dev_attrs *attrs)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .profile = r->a.profile};
	struct zw_model_options mopt = {.size = sizeof(mopt), .progress = progress, .opaque = r};
	struct zw_error err;
	int ret;

	if (zw_dev_open(r->a.device, &dopt, &r->dev, &err))
		return fail(err.msg);
	ret = zw_dev_get_attrs(r->dev, attrs);
	if (ret)
		return fail(strerror(-ret));
	if (!r->a.quiet)
		fprintf(stderr, "device: %s (%s), profile %s, %.1f GiB HBM, firmware %u.%u.%u\n",
			attrs->spec, attrs->transport_name, attrs->profile_name,
			(double)attrs->hbm_size / (1 << 30), ZW_FW_VERSION_MAJOR(attrs->fw_version),
			ZW_FW_VERSION_MINOR(attrs->fw_version),
			ZW_FW_VERSION_PATCH(attrs->fw_version));
	if (zw_model_open(r->dev, r->a.model, &mopt, &r->model, &err))
		return fail(err.msg);
	zw_model_get_config(r->model, cfg);
	return 0;
}

static int open_session(struct run *r, const struct zw_model_config *cfg)
{
	const struct args *a = &r->a;
	struct zw_session_options opt = {.size = sizeof(opt), .context = a->ctx, .chunk = a->chunk};
	struct zw_sampling_params sp = cfg->sampling;
	struct zw_error err;

	if (a->logits_out)
		opt.flags |= ZW_SESSION_ALL_LOGITS;
	sp.size = sizeof(sp);
	sp.seed = a->seed;
	if (a->has_temperature)
		sp.temperature = a->temperature;
	if (a->has_top_k)
		sp.top_k = a->top_k;
	if (a->has_top_p)
		sp.top_p = a->top_p;
	if (a->has_min_p)
		sp.min_p = a->min_p;
	if (zw_sampler_open(&sp, &r->sampler, &err))
		return fail(err.msg);
	if (zw_session_open(r->model, &opt, &r->session, &err))
		return fail(err.msg);
	if (a->logits_out) {
		r->logits = malloc(r->num_prompt * cfg->vocab_size * sizeof(float));
		if (!r->logits)
			return fail("out of memory for the prompt's logits");
	}
	return 0;
}

static void print(struct run *r, const char *text, size_t len)
{
	if (fwrite(text, 1, len, stdout) != len || fflush(stdout))
		r->output_failed = true;
}

static int on_token(void *opaque, uint32_t id)
{
	struct run *r = opaque;
	const char *text;
	size_t len;
	char num[16];

	if (r->num_out == r->cap_out) {
		size_t cap = r->cap_out ? r->cap_out * 2 : 256;
		uint32_t *p = realloc(r->out, cap * sizeof(*p));

		if (!p) {
			r->out_of_memory = true;
			return 1;
		}
		r->out = p;
		r->cap_out = cap;
	}
	r->out[r->num_out++] = id;
	if (!r->detok) {
		snprintf(num, sizeof(num), "%s%u", r->num_out > 1 ? " " : "", id);
		print(r, num, strlen(num));
	} else if (zw_detokenizer_push(r->detok, id, &text, &len) == 0) {
		print(r, text, len);
	}
	return r->output_failed;
}

static int generate(struct run *r, struct zw_generate_result *res)
{
	struct zw_generate_params p = {.size = sizeof(p),
				       .max_tokens = r->a.max_tokens,
				       .sampler = r->sampler,
				       .prompt_logits = r->logits,
				       .token = on_token,
				       .opaque = r};
	struct zw_model_config cfg = {.size = sizeof(cfg)};
	struct zw_error err = {""};
	const char *text;
	size_t len;
	int ret;

	zw_model_get_config(r->model, &cfg);
	if (r->tok && zw_tokenizer_size(r->tok) < cfg.vocab_size)
		p.vocab = zw_tokenizer_size(r->tok);
	res->size = sizeof(*res);
	ret = zw_generate(r->session, &p, r->prompt, r->num_prompt, res, &err);
	if (r->detok && zw_detokenizer_flush(r->detok, &text, &len) == 0 && len)
		print(r, text, len);
	if (r->num_out)
		print(r, "\n", 1);
	if (ret)
		return fail(err.msg);
	if (r->out_of_memory)
		return fail("out of memory");
	if (r->output_failed)
		return fail("writing to standard output failed");
	return 0;
}

static int write_files(struct run *r, const struct zw_model_config *cfg,
		       const struct run_report *report)
{
	struct zw_error err;

	if (r->a.logits_out &&
	    zw_npy_write_f32(r->a.logits_out, r->logits, r->num_prompt, cfg->vocab_size, &err))
		return fail(err.msg);
	if (r->a.ids_out && zw_ids_write_json(r->a.ids_out, r->out, r->num_out, &err))
		return fail(err.msg);
	if (r->a.stats_json && run_report_write_json(report, r->a.stats_json, &err))
		return fail(err.msg);
	return 0;
}

static int run(struct run *r)
{
	struct zw_model_config cfg = {.size = sizeof(cfg)};
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	struct zw_model_info info = {.size = sizeof(info)};
	struct zw_generate_result res = {0};
	struct run_report report;
	int ret;

	/* What can be wrong with files is found before a device is touched. */
	ret = load_tokenizer(r);
	if (!ret)
		ret = load_prompt(r);
	if (!ret)
		ret = load_model(r, &cfg, &attrs);
	if (!ret)
		ret = open_session(r, &cfg);
	if (!ret)
		ret = generate(r, &res);
	if (ret)
		return ret;
	zw_model_get_info(r->model, &info);
	report = (struct run_report){
		.model_dir = r->a.model, .attrs = &attrs, .info = &info, .res = &res};
	if (!r->a.quiet)
		run_report_print(&report, stderr);
	return write_files(r, &cfg, &report);
}

int main(int argc, char **argv)
{
	struct run r = {0};
	int ret;

	/* A reader that went away is an error of the write, told in one line, not a silent death.
	 */
	signal(SIGPIPE, SIG_IGN);
	ret = parse_args(&r.a, argc, argv);
	if (ret >= 0)
		return ret;
	ret = run(&r);
	zw_session_close(r.session);
	zw_model_close(r.model);
	if (r.dev)
		zw_dev_close(r.dev);
	zw_sampler_close(r.sampler);
	zw_detokenizer_close(r.detok);
	zw_tokenizer_close(r.tok);
	free(r.logits);
	free(r.prompt);
	free(r.out);
	return ret;
}
