// SPDX-License-Identifier: MIT
/* zw-run: a prompt in, text out. The options are a contract that scripts rely on: see zw-run(1). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>

#include "read_text.h"
#include "run.h"
#include "run_args.h"
#include "run_chat.h"
#include "run_logprobs.h"
#include "run_schema.h"
#include "run_session.h"
#include "run_stats.h"
#include "run_timing.h"
#include "small_files.h"
#include "tool_interrupt.h"

int run_fail(const char *msg)
{
	fprintf(stderr, "zw-run: %s\n", msg);
	return EXIT_FAILURE;
}

/* ---- steps ---- */

static double seconds_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - t->tv_sec) + (double)(now.tv_nsec - t->tv_nsec) * 1e-9;
}

/* Whether a progress line is due now; at the end always. */
static bool progress_due(struct run *r, uint64_t done, uint64_t total)
{
	if (r->a.quiet || !isatty(STDERR_FILENO))
		return false;
	if (done && done < total && seconds_since(&r->last_progress) < 0.1)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &r->last_progress);
	return true;
}

static int load_progress(void *opaque, uint64_t done, uint64_t total)
{
	if (progress_due(opaque, done, total))
		fprintf(stderr, "\rloading weights: %5.1f of %.1f MiB (%3.0f %%)%s",
			(double)done / 1048576, (double)total / 1048576,
			total ? 100.0 * (double)done / (double)total : 100.0,
			done == total ? "\n" : "");
	return tool_interrupts;
}

int run_prompt_progress(void *opaque, uint64_t done, uint64_t total)
{
	struct run *r = opaque;

	if (progress_due(r, done, total))
		fprintf(stderr, "\rprompt: %llu of %llu tokens%s", (unsigned long long)done,
			(unsigned long long)total, done == total ? "\n" : "");
	run_trace_step(r->trace, done ? "prompt" : NULL, "tokens", done);
	return tool_interrupts;
}

void run_calls_progress(struct run *r, uint32_t done, uint32_t total, double sim_s)
{
	if (progress_due(r, done, total))
		fprintf(stderr, "\rcall %u of %u, %.2f h simulated%s", done, total, sim_s / 3600,
			done == total ? "\n" : "");
}

static int load_prompt(struct run *r)
{
	const struct run_args *a = &r->a;
	struct zw_error err;
	char *text = NULL;
	size_t len;
	int ret;

	if (a->prompt_ids) {
		if (ids_read_json(a->prompt_ids, &r->prompt, &r->num_prompt, &err))
			return run_fail(err.msg);
	} else if (a->prompt_file) {
		ret = read_text(a->prompt_file, READ_TEXT_MAX, &text, &len);
		if (ret) {
			fprintf(stderr, "zw-run: %s: %s\n", a->prompt_file, strerror(-ret));
			return EXIT_FAILURE;
		}
		ret = zw_tokenizer_encode(r->tok, text, len, 0, &r->prompt, &r->num_prompt, &err);
		free(text);
		if (ret)
			return run_fail(err.msg);
	} else {
		if (zw_tokenizer_encode(r->tok, a->prompt, strlen(a->prompt), 0, &r->prompt,
					&r->num_prompt, &err))
			return run_fail(err.msg);
	}
	return r->num_prompt ? 0 : run_fail("the prompt is empty");
}

/* Ids alone need no tokenizer; then ids are printed in place of text. */
static int load_tokenizer(struct run *r)
{
	struct zw_error err;
	int ret = zw_tokenizer_open(r->a.model, &r->tok, &err);

	if (ret == -ENOENT && r->a.prompt_ids && !r->a.json_schema)
		return 0;
	if (ret)
		return run_fail(err.msg);
	/* The tags of calls may be special tokens. */
	if (zw_detokenizer_open(r->tok, r->a.chat ? 0 : ZW_DECODE_SKIP_SPECIAL, &r->detok))
		return run_fail("out of memory");
	return 0;
}

static int load_model(struct run *r, struct zw_model_info *info, struct zw_dev_attrs *attrs)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .profile = r->a.profile};
	struct zw_model_options mopt = {
		.size = sizeof(mopt), .progress = load_progress, .opaque = r};
	struct zw_error err;
	int ret;

	if (r->a.record_routing)
		tool_routing_record(&r->a.routing, &dopt);
	if (r->trace)
		dopt.flags |= ZW_DEV_TRACE;
	if (zw_dev_open(r->a.device, &dopt, &r->dev, &err))
		return run_fail(err.msg);
	run_trace_device(r->trace, r->dev);
	ret = zw_dev_get_attrs(r->dev, attrs);
	if (ret)
		return run_fail(strerror(-ret));
	if (r->a.record_routing && attrs->transport != ZW_TRANSPORT_SIM)
		return run_fail("--record-routing asks the simulator: --device sim");
	if (!r->a.quiet)
		fprintf(stderr, "device: %s (%s), profile %s, %.1f GiB HBM, firmware %u.%u.%u\n",
			attrs->spec, attrs->transport_name, attrs->profile_name,
			(double)attrs->hbm_size / (1 << 30), ZW_FW_VERSION_MAJOR(attrs->fw_version),
			ZW_FW_VERSION_MINOR(attrs->fw_version),
			ZW_FW_VERSION_PATCH(attrs->fw_version));
	if (r->a.draft == ZW_DRAFT_MTP)
		mopt.flags |= ZW_MODEL_MTP;
	if (r->a.user_queues)
		mopt.flags |= ZW_MODEL_USER_QUEUES;
	if (zw_model_open(r->dev, r->a.model, &mopt, &r->model, &err))
		return run_fail(err.msg);
	zw_model_get_info(r->model, info);
	run_trace_step(r->trace, "load", "bytes", info->weight_bytes);
	return 0;
}

/* Wrong schemas are found before a device is touched. */
static int load_grammar(struct run *r)
{
	struct zw_error err;
	int ret = 0;

	if (r->a.chat)
		ret = run_chat_grammar(r->chat, &r->grammar, &err);
	else if (r->a.json_schema)
		ret = run_schema_open(r->a.json_schema, &r->grammar, &err);
	if (!ret && r->grammar)
		ret = zw_grammar_vocab_open(r->tok, &r->vocab, &err);
	return ret ? run_fail(err.msg) : 0;
}

/* The document ends with the model's stop tokens. */
static int open_matcher(struct run *r)
{
	struct zw_grammar_matcher_options opt = {.size = sizeof(opt)};
	struct zw_error err;

	if (!r->grammar)
		return 0;
	opt.stop.n = zw_model_stop_tokens(r->model, &opt.stop.ids);
	return zw_grammar_matcher_open(r->grammar, r->vocab, &opt, &r->matcher, &err)
		       ? run_fail(err.msg)
		       : 0;
}

static int on_mask(void *opaque, float *logits, size_t n)
{
	struct run *r = opaque;

	return zw_grammar_matcher_mask(r->matcher, logits, n);
}

static int on_mask_idle(void *opaque)
{
	struct run *r = opaque;

	return r->matcher && zw_grammar_matcher_idle(r->matcher);
}

void run_accept(struct run *r, uint32_t id)
{
	run_trace_step(r->trace, "token", "id", id);
	if (!r->matcher)
		return;
	/* A choice is one that the mask let through. */
	r->out_of_memory |= zw_grammar_matcher_accept(r->matcher, id) != 0;
	r->json_done = zw_grammar_matcher_status(r->matcher) == ZW_GRAMMAR_FINISHED;
}

static int open_sampler(struct run *r)
{
	const struct run_args *a = &r->a;
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1};
	struct zw_logit_bias *bias;
	struct zw_error err;
	int ret;

	if (r->gc)
		zw_generation_config_get_sampling(r->gc, &sp);
	sp.seed = a->seed;
	if (a->has_temperature)
		sp.temperature = a->temperature;
	if (a->has_top_k)
		sp.top_k = a->top_k;
	if (a->has_top_p)
		sp.top_p = a->top_p;
	if (a->has_min_p)
		sp.min_p = a->min_p;
	if (a->has_repetition)
		sp.repetition_penalty = a->repetition_penalty;
	if (a->has_frequency)
		sp.frequency_penalty = a->frequency_penalty;
	if (a->has_presence)
		sp.presence_penalty = a->presence_penalty;
	if (a->has_ngram)
		sp.no_repeat_ngram = a->no_repeat_ngram;
	if (r->grammar) {
		sp.mask = on_mask;
		sp.mask_idle = on_mask_idle;
		sp.mask_opaque = r;
	}
	if (a->has_min_tokens)
		sp.min_new_tokens = a->min_tokens;
	/* Behind those of the file. */
	bias = calloc(sp.num_bias + a->num_bias + 1, sizeof(*bias));
	if (!bias)
		return run_fail("out of memory");
	for (size_t i = 0; i < sp.num_bias; i++)
		bias[i] = sp.bias[i];
	for (size_t i = 0; i < a->num_bias; i++)
		bias[sp.num_bias++] = (struct zw_logit_bias){{&a->bias[i].id, 1}, a->bias[i].bias};
	sp.bias = bias;
	ret = zw_sampler_open(&sp, &r->sampler, &err);
	free(bias);
	if (ret)
		return run_fail(err.msg);
	/* Rows of the embedding that are no token would be chosen and print nothing. */
	if (r->tok && zw_sampler_set_tokenizer(r->sampler, r->tok))
		return run_fail("out of memory");
	return 0;
}

/* Logits of every token of a step are wanted: as many as a step has tokens, in the end. */
static uint32_t logits_rows(const struct run *r, const struct zw_model_info *info,
			    const struct zw_ctx_options *opt)
{
	uint32_t rows = opt->batch ? opt->batch : ZW_CTX_DEFAULT_BATCH;
	uint32_t context = opt->context ? opt->context : ZW_CTX_DEFAULT_CONTEXT;

	if (context > info->max_context)
		context = info->max_context;
	if (rows > context)
		rows = context;
	return rows < r->num_prompt ? rows : (uint32_t)r->num_prompt;
}

static int open_context(struct run *r, const struct zw_model_info *info)
{
	const struct run_args *a = &r->a;
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = a->ctx,
				     .batch = a->chunk,
				     .kv_dtype = a->kv_dtype,
				     .delta_chunked = a->delta_chunked,
				     .without = a->without};
	struct zw_ctx_info ci = {.size = sizeof(ci)};
	struct zw_error err;
	uint32_t needs;

	tool_set_sparse(&a->sparse, &opt);
	/* Rows of the embedding behind the last token are never chosen. */
	opt.vocab = info->vocab_size;
	if (r->tok && zw_tokenizer_size(r->tok) < opt.vocab)
		opt.vocab = zw_tokenizer_size(r->tok);
	/* A few candidates are picked on the device; where all logits count, they come to the host. */
	needs = zw_sampler_needs(r->sampler, opt.vocab);
	if (needs > 1 && needs <= ZW_CTX_MAX_TOPK && needs <= opt.vocab)
		opt.top_k = needs;
	if (a->draft) {
		opt.rewind = a->draft_tokens;
		opt.outputs = 1 + a->draft_tokens;
		if (a->draft == ZW_DRAFT_MTP)
			opt.draft = a->draft_tokens;
	}
	if (a->logits_out && logits_rows(r, info, &opt) > opt.outputs)
		opt.outputs = logits_rows(r, info, &opt);
	if (zw_ctx_create(r->model, &opt, &r->ctx, &err))
		return run_fail(err.msg);
	if (zw_seq_create(r->ctx, &r->seq))
		return run_fail("the context has no sequence");
	zw_ctx_get_info(r->ctx, &ci);
	if (!a->quiet)
		fprintf(stderr, "context: %u tokens, KV cache %.1f MiB\n", ci.context,
			(double)ci.kv_bytes / 1048576);
	if (a->logits_out) {
		r->logits = malloc(r->num_prompt * info->vocab_size * sizeof(float));
		if (!r->logits)
			return run_fail("out of memory for the prompt's logits");
	}
	return 0;
}

static int load_session(struct run *r)
{
	struct zw_snapshot_info info = {.size = sizeof(info)};
	struct zw_snapshot *snap;
	struct zw_error err;
	int ret;

	if (!r->a.load_session)
		return 0;
	if (run_session_load(r->ctx, r->seq, r->sampler, r->a.load_session, &snap, &err))
		return run_fail(err.msg);
	zw_snapshot_get_info(snap, &info);
	r->session = info.tokens;
	ret = r->a.chat ? run_chat_load(r->chat, snap) : 0;
	zw_snapshot_destroy(snap);
	return ret;
}

static void print(struct run *r, const char *text, size_t len)
{
	if (fwrite(text, 1, len, stdout) != len || fflush(stdout))
		r->output_failed = true;
}

/* Text of the answer: what may be the start of a stop text is held back. */
static void print_text(struct run *r, const char *text, size_t len)
{
	int ret = zw_stop_push(r->stop, text, len, &text, &len);

	r->out_of_memory |= ret < 0;
	r->stop_hit |= ret > 0;
	if (ret >= 0 && len)
		print(r, text, len);
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
		print_text(r, text, len);
	}
	run_accept(r, id);
	return r->output_failed || r->out_of_memory || r->stop_hit || r->json_done ||
	       tool_interrupts;
}

static void on_logprobs(void *opaque, const struct zw_logprob *lp, size_t n)
{
	struct run *r = opaque;

	if (logprobs_print(r->logprobs, r->tok, lp, n))
		r->output_failed = true;
}

static uint64_t max_tokens(const struct run *r)
{
	uint64_t n = UINT64_MAX;

	if (r->a.has_max_tokens)
		return r->a.max_tokens;
	if (r->gc)
		n = zw_generation_config_max_tokens(r->gc, r->num_prompt);
	return n == UINT64_MAX ? 128 : n;
}

static int generate(struct run *r, struct zw_generate_result *res)
{
	struct zw_generate_params p = {.size = sizeof(p),
				       .seq = r->seq,
				       .flags = r->a.ignore_eos ? ZW_GENERATE_IGNORE_STOP : 0,
				       .max_tokens = max_tokens(r),
				       .sampler = r->sampler,
				       .prompt_logits = r->logits,
				       .token = on_token,
				       .progress = run_prompt_progress,
				       .opaque = r};
	struct zw_error err = {""};
	const char *text;
	size_t len;
	int ret;

	if (r->a.draft) {
		p.draft = r->a.draft;
		p.draft_tokens = r->a.draft_tokens;
		p.checked = r->a.record_drafts ? tool_drafts_checked : NULL;
		p.drafts_opaque = &r->a.drafts;
	}
	if (r->logprobs) {
		p.logprobs = on_logprobs;
		p.top_logprobs = r->a.logprobs;
	}
	ret = zw_generate(r->ctx, &p, r->prompt, r->num_prompt, res, &err);
	if (r->detok && !r->stop_hit) {
		if (zw_detokenizer_flush(r->detok, &text, &len) == 0)
			print_text(r, text, len);
		zw_stop_flush(r->stop, &text, &len);
		if (!r->stop_hit && len)
			print(r, text, len);
	}
	if (r->num_out)
		print(r, "\n", 1);
	if (ret)
		return run_fail(err.msg);
	if (r->out_of_memory)
		return run_fail("out of memory");
	if (r->output_failed)
		return run_fail("writing the output failed");
	return 0;
}

/* ---- files ---- */

/*
 * A file that cannot be written is told before the work, not after it. What is not a regular file is
 * only asked about: opening and closing a FIFO would end it for its reader.
 */
static int check_writable(const char *path)
{
	struct stat sb;
	int fd;

	if (!path)
		return 0;
	if (!stat(path, &sb) && !S_ISREG(sb.st_mode) && !S_ISDIR(sb.st_mode)) {
		fd = access(path, W_OK);
	} else {
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		if (fd >= 0)
			close(fd);
	}
	if (fd >= 0)
		return 0;
	fprintf(stderr, "zw-run: %s: %s\n", path, strerror(errno));
	return EXIT_FAILURE;
}

/* Another file of a model's folder in the place of the folder is told apart from a broken one. */
static int check_model(const char *path)
{
	char magic[4] = "";
	struct stat sb;
	FILE *f;

	if (stat(path, &sb) || S_ISDIR(sb.st_mode))
		return 0;
	f = S_ISREG(sb.st_mode) ? fopen(path, "rb") : NULL;
	if (f) {
		if (fread(magic, 1, sizeof(magic), f) != sizeof(magic))
			magic[0] = 0;
		fclose(f);
	}
	if (!memcmp(magic, "GGUF", sizeof(magic)))
		return 0;
	fprintf(stderr,
		"zw-run: %s is a file, but not a GGUF file: --model takes one, or the folder that "
		"holds config.json\n",
		path);
	return EXIT_FAILURE;
}

/* What can be wrong with files is found before a device is touched. */
static int check_files(const struct run *r)
{
	int ret = check_model(r->a.model);

	if (!ret)
		ret = check_writable(r->a.logits_out);
	if (!ret)
		ret = check_writable(r->a.ids_out);
	if (!ret)
		ret = check_writable(r->a.record_routing);
	if (!ret)
		ret = check_writable(r->a.record_drafts);
	if (!ret)
		ret = check_writable(r->a.stats_json);
	if (!ret)
		ret = check_writable(r->a.save_session);
	if (!ret)
		ret = check_writable(r->a.logprobs_out);
	if (!ret)
		ret = check_writable(r->a.transcript);
	return ret;
}

static void print_note(void *opaque, const char *line)
{
	fprintf(stderr, "note: %s\n", line);
}

static int load_generation_config(struct run *r)
{
	const char *const *texts;
	struct zw_error err;
	size_t n = 0;

	if (!r->a.no_generation_config) {
		if (zw_generation_config_open(r->a.model, &r->gc, &err))
			return run_fail(err.msg);
		texts = zw_generation_config_stop_strings(r->gc, &n);
		for (size_t i = 0; i < n; i++) {
			if (!run_args_add_stop(&r->a, texts[i]))
				return run_fail("out of memory");
		}
	}
	if (!r->a.quiet && zw_model_config_notes(r->a.model, print_note, NULL, &err))
		return run_fail(err.msg);
	if (r->a.num_stop && !r->tok)
		return run_fail("stop texts need tokenizer.json");
	if (zw_stop_open(r->a.stop, r->a.num_stop, &r->stop, &err))
		return run_fail(err.msg);
	return 0;
}

static int write_files(struct run *r, const struct zw_model_info *info,
		       const struct run_report *report)
{
	struct zw_error err;

	if (r->a.logits_out &&
	    npy_write_f32(r->a.logits_out, r->logits, r->num_prompt, info->vocab_size, &err))
		return run_fail(err.msg);
	if (r->a.ids_out && ids_write_json(r->a.ids_out, r->out, r->num_out, &err))
		return run_fail(err.msg);
	if (r->a.record_routing && tool_routing_write(&r->a.routing, r->a.record_routing, &err))
		return run_fail(err.msg);
	if (r->a.record_drafts && tool_drafts_write(&r->a.drafts, r->a.record_drafts, &err))
		return run_fail(err.msg);
	if (r->a.save_session && r->a.chat && run_chat_save(r->chat, &err))
		return run_fail(err.msg);
	/* What was interrupted is as long as it is. */
	if (r->a.save_session && !r->a.chat &&
	    run_session_save(r->ctx, r->seq, r->out, r->num_out,
			     tool_interrupts ? 0 : r->session + r->num_prompt + r->num_out, NULL, 0,
			     r->a.save_session, &err))
		return run_fail(err.msg);
	if (r->a.stats_json && run_report_write_json(report, r->a.stats_json, &err))
		return run_fail(err.msg);
	return 0;
}

static int open_logprobs(struct run *r)
{
	if (!r->a.has_logprobs)
		return 0;
	r->logprobs = r->a.logprobs_out ? fopen(r->a.logprobs_out, "we") : stderr;
	if (r->logprobs)
		return 0;
	fprintf(stderr, "zw-run: %s: %s\n", r->a.logprobs_out, strerror(errno));
	return EXIT_FAILURE;
}

static int close_logprobs(struct run *r)
{
	FILE *f = r->logprobs;

	r->logprobs = NULL;
	return f && f != stderr && fclose(f) ? run_fail("writing the logprobs failed") : 0;
}

static int run(struct run *r)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	struct zw_model_info info = {.size = sizeof(info)};
	struct zw_ctx_stats prefill = {.size = sizeof(prefill)}, decode = {.size = sizeof(decode)};
	struct zw_generate_result res = {
		.size = sizeof(res), .prefill = &prefill, .decode = &decode};
	struct run_report report;
	int ret;

	ret = check_files(r);
	if (!ret)
		ret = load_tokenizer(r);
	if (!ret)
		ret = load_generation_config(r);
	if (!ret)
		ret = r->a.chat ? run_chat_open(r, &r->chat) : load_prompt(r);
	if (!ret)
		ret = load_grammar(r);
	if (!ret)
		ret = open_sampler(r);
	if (!ret)
		ret = load_model(r, &info, &attrs);
	if (!ret)
		ret = open_matcher(r);
	if (!ret)
		ret = open_context(r, &info);
	if (!ret)
		ret = load_session(r);
	if (!ret)
		ret = open_logprobs(r);
	if (!ret)
		ret = r->a.chat ? run_chat(r, r->chat, &res) : generate(r, &res);
	if (close_logprobs(r) && !ret)
		ret = EXIT_FAILURE;
	if (ret)
		return tool_interrupts ? EXIT_INTERRUPTED : ret;
	report = (struct run_report){.model_dir = r->a.model,
				     .attrs = &attrs,
				     .info = &info,
				     .res = &res,
				     .chat = run_chat_get_stats(r->chat),
				     .finish = tool_interrupts               ? "interrupted"
					       : r->stop_hit || r->json_done ? "stop"
									     : NULL};
	if (!r->a.quiet)
		run_report_print(&report, stderr);
	ret = write_files(r, &info, &report);
	if (!ret && report.chat && report.chat->unanswered)
		ret = EXIT_FAILURE;
	return !ret && tool_interrupts ? EXIT_INTERRUPTED : ret;
}

int main(int argc, char **argv)
{
	struct run r = {0};
	int ret;

	/* A reader that went away is an error of the write, told in one line, not a silent death.
	 */
	signal(SIGPIPE, SIG_IGN);
	ret = run_args_parse(&r.a, argc, argv);
	if (ret >= 0) {
		run_args_free(&r.a);
		return ret;
	}
	tool_catch_interrupt(true);
	ret = r.a.trace && run_trace_open("zw-run", r.a.trace, &r.trace) ? EXIT_FAILURE : 0;
	if (!ret)
		ret = r.a.timing ? run_timing(&r) : run(&r);
	run_chat_close(r.chat);
	zw_ctx_destroy(r.ctx);
	zw_model_close(r.model);
	/* Everything that ran is settled now: the queues are gone. */
	ret = run_trace_close(r.trace, ret);
	if (r.dev)
		zw_dev_close(r.dev);
	zw_sampler_close(r.sampler);
	zw_generation_config_close(r.gc);
	zw_stop_close(r.stop);
	zw_grammar_matcher_close(r.matcher);
	zw_grammar_vocab_close(r.vocab);
	zw_grammar_close(r.grammar);
	tool_routing_close(&r.a.routing);
	tool_drafts_close(&r.a.drafts);
	run_args_free(&r.a);
	zw_detokenizer_close(r.detok);
	zw_tokenizer_close(r.tok);
	free(r.logits);
	free(r.prompt);
	free(r.out);
	return ret;
}
