// SPDX-License-Identifier: MIT
/*
 * The same steps as a run that computes: prompts piece by piece, then one token of every sequence at a time, in the
 * packets that zw_generate() makes for greedy choices.
 */
#include "run_timing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "run_agent.h"
#include "run_cards.h"
#include "small_files.h"
#include "tool_interrupt.h"

#define DEFAULT_CHUNK 2048u

struct timing {
	struct run *r;
	struct zw_dev_attrs attrs;
	struct zw_model_info info;
	uint32_t batch, *seqs;
	uint64_t tokens; /* to generate for each sequence */
	struct zw_ctx_stats prefill, decode;
	struct zw_generate_result res;
	struct run_timing_report report;
	struct run_agent *agent; /* NULL: no calls of tools */
	bool no_room;            /* on one card */
};

uint64_t run_timing_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- what runs ---- */

void run_timing_device(const struct run *r, struct zw_dev_options *opt)
{
	*opt = (struct zw_dev_options){
		.size = sizeof(*opt),
		.flags = ZW_DEV_TIMING_ONLY | (r->trace ? ZW_DEV_TRACE : 0),
		.profile = r->a.profile,
	};
}

void run_timing_model(const struct run *r, uint64_t tokens, struct zw_model_options *opt)
{
	const struct run_args *a = &r->a;

	*opt = (struct zw_model_options){
		.size = sizeof(*opt),
		.flags = (a->user_queues ? ZW_MODEL_USER_QUEUES : 0) |
			 (a->draft == ZW_DRAFT_MTP ? ZW_MODEL_MTP : 0),
		.shape = a->shape,
		.weights = a->weights,
		.positions = a->ctx ? a->ctx : (uint32_t)(r->num_prompt + tokens),
	};
}

/* no_room is for the caller to tell, in place of an error. */
static int fail_room(struct timing *t, int code, const char *msg)
{
	t->no_room = code == -ENOSPC;
	return t->no_room ? EXIT_FAILURE : run_fail(msg);
}

static int open_model(struct timing *t)
{
	struct run *r = t->r;
	const struct run_args *a = &r->a;
	struct zw_dev_options dopt;
	struct zw_model_options mopt;
	struct zw_error err;
	int ret;

	run_timing_device(r, &dopt);
	run_timing_model(r, t->tokens, &mopt);
	if (tool_routing_open(&r->a.routing, a->seed, &dopt, &err) ||
	    tool_drafts_open(&r->a.drafts, a->seed, &err) ||
	    zw_dev_open(a->device, &dopt, &r->dev, &err))
		return run_fail(err.msg);
	ret = zw_model_open(r->dev, a->model, &mopt, &r->model, &err);
	if (ret)
		return fail_room(t, ret, err.msg);
	zw_dev_get_attrs(r->dev, &t->attrs);
	zw_model_get_info(r->model, &t->info);
	if (tool_routing_check(&a->routing, t->info.num_experts, &err))
		return run_fail(err.msg);
	if (mopt.positions > t->info.own_context && !a->quiet)
		fprintf(stderr, "note: the model was made for %u positions\n", t->info.own_context);
	return 0;
}

/* Ids that are named, or drawn: what they are is no matter but for the rows of the embedding. */
static int make_prompt(struct run *r)
{
	uint64_t state = r->a.seed;
	struct zw_error err;

	if (r->a.prompt_ids) {
		if (ids_read_json(r->a.prompt_ids, &r->prompt, &r->num_prompt, &err))
			return run_fail(err.msg);
		return r->num_prompt ? 0 : run_fail("the prompt is empty");
	}
	r->num_prompt = r->a.prompt_tokens;
	r->prompt = malloc(r->num_prompt * sizeof(*r->prompt));
	if (!r->prompt)
		return run_fail("out of memory");
	for (size_t i = 0; i < r->num_prompt; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		r->prompt[i] = (uint32_t)(state >> 33);
	}
	return 0;
}

/* As in a run that computes: rows of the embedding behind the last token are never chosen. */
static uint32_t choose_vocab(struct run *r, uint32_t vocab)
{
	struct zw_error err;
	int ret = r->a.shape || r->tok ? 0 : zw_tokenizer_open(r->a.model, &r->tok, &err);

	if (!ret && r->tok && zw_tokenizer_size(r->tok) < vocab)
		vocab = zw_tokenizer_size(r->tok);
	if (r->a.prompt_tokens) {
		for (size_t i = 0; i < r->num_prompt; i++)
			r->prompt[i] %= vocab;
	}
	return vocab;
}

void run_timing_context(struct run *r, const struct zw_model_info *info, uint32_t batch,
			uint64_t tokens, struct zw_ctx_options *opt)
{
	const struct run_args *a = &r->a;
	uint32_t chunk = a->chunk ? a->chunk : DEFAULT_CHUNK;

	*opt = (struct zw_ctx_options){
		.size = sizeof(*opt),
		.context = a->ctx ? a->ctx : (uint32_t)(r->num_prompt + tokens),
		.max_seqs = batch,
		.batch = chunk < batch ? batch : chunk,
		.kv_dtype = a->kv_dtype,
		.delta_chunked = a->delta_chunked,
		.without = a->without,
		.rewind = a->draft ? a->draft_tokens : 0,
		.draft = a->draft == ZW_DRAFT_MTP ? a->draft_tokens : 0,
		.outputs = a->draft ? a->draft_tokens + 1 : 0,
		.vocab = choose_vocab(r, info->vocab_size),
	};
	tool_set_sparse(&a->sparse, opt);
}

void run_timing_pool(const struct run *r, struct zw_ctx_options *opt)
{
	if (r->a.agent.calls && r->a.ctx)
		opt->pool_tokens = opt->context + 64ull;
}

static int open_context(struct timing *t)
{
	struct run *r = t->r;
	struct zw_ctx_info ci = {.size = sizeof(ci)};
	struct zw_ctx_options opt;
	struct zw_error err;
	int ret;

	run_timing_context(r, &t->info, t->batch, t->tokens, &opt);
	run_timing_pool(r, &opt);
	ret = zw_ctx_create(r->model, &opt, &r->ctx, &err);
	if (ret)
		return fail_room(t, ret, err.msg);
	run_trace_device(r->trace, r->dev);
	t->seqs = calloc(t->batch, sizeof(*t->seqs));
	if (!t->seqs)
		return run_fail("out of memory");
	for (uint32_t i = 0; i < t->batch; i++) {
		if (zw_seq_create(r->ctx, &t->seqs[i]))
			return run_fail("the context has no sequence");
	}
	zw_ctx_get_info(r->ctx, &ci);
	t->report.kv_bytes = ci.kv_bytes;
	t->report.context = ci.context;
	return 0;
}

static void read_stats(const struct timing *t, struct zw_ctx_stats *s)
{
	s->size = sizeof(*s);
	zw_ctx_get_stats(t->r->ctx, s);
}

static int prefill(struct timing *t)
{
	struct run *r = t->r;
	struct zw_eval_options opt = {.size = sizeof(opt),
				      .want = t->tokens ? ZW_WANT_ARGMAX : 0,
				      .progress = run_prompt_progress,
				      .opaque = r};
	struct zw_error err;

	for (uint32_t i = 0; i < t->batch; i++) {
		if (zw_ctx_eval(r->ctx, t->seqs[i], r->prompt, r->num_prompt, &opt, NULL, &err))
			return run_fail(err.msg);
		read_stats(t, &t->prefill);
		if (!i)
			t->report.first_token_ps = t->prefill.sim_ps;
	}
	return 0;
}

/* One token of every sequence. The device's choice is the token, as soon as it has chosen once in a step. */
static int submit(struct timing *t, struct zw_batch_token *tokens, bool chosen, uint64_t *step)
{
	struct zw_batch b = {.size = sizeof(b),
			     .count = t->batch,
			     .token_size = sizeof(*tokens),
			     .tokens = tokens};
	struct zw_error err;

	for (uint32_t i = 0; i < t->batch; i++)
		tokens[i] = (struct zw_batch_token){
			.id = chosen ? ZW_ID_CHOSEN : 0,
			.pos = (uint32_t)zw_seq_length(t->r->ctx, t->seqs[i]),
			.seq = t->seqs[i],
			.want = ZW_WANT_ARGMAX,
		};
	return zw_ctx_submit(t->r->ctx, &b, step, &err) ? run_fail(err.msg) : 0;
}

static int wait(struct timing *t, uint64_t step)
{
	struct zw_error err;

	return zw_ctx_wait(t->r->ctx, step, ZW_FOREVER, &err) ? run_fail(err.msg) : 0;
}

/* A step ahead of the one that is waited for; not with state that cannot go back, see zw_generate(). */
static int decode(struct timing *t)
{
	struct zw_batch_token *tokens = calloc(t->batch, sizeof(*tokens));
	bool ahead = !t->info.state_bytes;
	uint64_t before = 0, step = 0;
	int ret = tokens ? 0 : run_fail("out of memory");

	for (uint64_t i = 1; i < t->tokens && !ret && !tool_interrupts; i++) {
		ret = submit(t, tokens, ahead && i > 1, &step);
		if (!ret && !ahead)
			ret = wait(t, step);
		else if (!ret && before)
			ret = wait(t, before);
		before = step;
		run_trace_step(t->r->trace, "step", "number", i);
	}
	if (!ret && ahead && step)
		ret = wait(t, step);
	free(tokens);
	return ret;
}

/* Ends what was interrupted. */
static int on_token(void *opaque, uint32_t id)
{
	(void)opaque;
	(void)id;
	return tool_interrupts != 0;
}

/* The steps of a run that computes, with as many right drafts as were drawn or recorded. */
static int run_drafts(struct timing *t)
{
	struct run *r = t->r;
	struct zw_generate_params p = {.size = sizeof(p),
				       .seq = t->seqs[0],
				       .flags = ZW_GENERATE_IGNORE_STOP,
				       .max_tokens = t->tokens,
				       .progress = run_prompt_progress,
				       .opaque = r,
				       .draft = r->a.draft,
				       .draft_tokens = r->a.draft_tokens,
				       .guess = tool_drafts_guess,
				       .drafts_opaque = &r->a.drafts};
	struct zw_sampling_params greedy = {.size = sizeof(greedy), .top_p = 1};
	struct zw_error err;

	t->res.size = sizeof(t->res);
	t->prefill.size = sizeof(t->prefill);
	t->decode.size = sizeof(t->decode);
	t->res.prefill = &t->prefill;
	t->res.decode = &t->decode;
	p.token = on_token;
	if (zw_sampler_open(&greedy, &r->sampler, &err))
		return run_fail(err.msg);
	p.sampler = r->sampler;
	if (zw_generate(r->ctx, &p, r->prompt, r->num_prompt, &t->res, &err))
		return run_fail(err.msg);
	t->report.first_token_ps = t->prefill.sim_ps;
	t->tokens = t->res.generated_tokens;
	return 0;
}

static int run_all(struct timing *t)
{
	uint64_t start = run_timing_ns(), middle;
	int ret;

	if (t->r->a.draft)
		return run_drafts(t);
	ret = prefill(t);
	middle = run_timing_ns();
	if (!ret)
		ret = decode(t);
	if (ret)
		return ret;
	t->res.prefill_ns = middle - start;
	t->res.decode_ns = run_timing_ns() - middle;
	read_stats(t, &t->decode);
	run_stats_subtract(&t->decode, &t->prefill);
	return 0;
}

int run_timing_tell(struct run *r, struct run_report *report, uint64_t tokens)
{
	struct zw_generate_result *res = report->res;
	uint32_t batch = report->timing->batch;
	struct zw_error err;

	report->model_dir = r->a.shape ? r->a.shape : r->a.model;
	res->prompt_tokens = (uint64_t)r->num_prompt * batch;
	res->generated_tokens = tokens * batch;
	res->finish = ZW_FINISH_LENGTH;
	if (tool_interrupts)
		report->finish = "interrupted";
	if (!r->a.quiet)
		run_report_print(report, stderr);
	if (r->a.stats_json && run_report_write_json(report, r->a.stats_json, &err))
		return run_fail(err.msg);
	return tool_interrupts ? EXIT_INTERRUPTED : 0;
}

/* What there is to say of a run without calls. */
static int report_all(struct timing *t)
{
	struct run_report report = {
		.attrs = &t->attrs, .info = &t->info, .res = &t->res, .timing = &t->report};

	t->report.batch = t->batch;
	t->report.cards = t->report.groups = 1;
	t->res.prefill = &t->prefill;
	t->res.decode = &t->decode;
	return run_timing_tell(t->r, &report, t->tokens);
}

int run_timing(struct run *r)
{
	struct timing t = {
		.r = r,
		.attrs.size = sizeof(t.attrs),
		.info.size = sizeof(t.info),
		.batch = r->a.batch ? r->a.batch : 1,
		.tokens = r->a.has_max_tokens ? r->a.max_tokens : 128,
	};
	struct zw_error err;
	int ret;

	if (r->a.shape && zw_shape_note(r->a.shape))
		fprintf(stderr, "note: %s\n", zw_shape_note(r->a.shape));
	ret = make_prompt(r);
	if (!ret && r->a.agent.calls)
		ret = run_agent_open(r, &t.agent, &t.tokens);
	/* As many as are asked for, else as are needed. */
	if (!ret && r->a.cards <= 1)
		ret = open_model(&t);
	if (!ret && r->a.cards <= 1)
		ret = open_context(&t);
	if (t.no_room || (!ret && r->a.cards > 1)) {
		ret = run_cards(r, t.batch, t.tokens, t.agent);
		run_agent_close(t.agent);
		return ret;
	}
	if (!ret && t.agent)
		ret = run_agent_on_context(t.agent, r, t.seqs[0], &t.attrs, &t.info);
	else if (!ret)
		ret = run_all(&t);
	run_agent_close(t.agent);
	free(t.seqs);
	if (!ret && tool_routing_result(&r->a.routing, &err))
		ret = run_fail(err.msg);
	if (ret)
		return tool_interrupts ? EXIT_INTERRUPTED : ret;
	return r->a.agent.calls ? 0 : report_all(&t);
}
