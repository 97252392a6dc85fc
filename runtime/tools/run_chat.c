// SPDX-License-Identifier: MIT
#include "run_chat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "read_text.h"
#include "run_conv.h"
#include "run_line.h"
#include "run_schema.h"
#include "run_session.h"
#include "run_tools.h"
#include "tool_interrupt.h"

/* An answer as far as it came. */
struct answer {
	char *text, *reasoning; /* open_memstream()s' */
	size_t text_len, reasoning_len;
	FILE *text_f, *reasoning_f;
	cJSON *calls; /* list of {"name", "arguments"} */
	cJSON *work;  /* all calls in order: those, and {"error"} */
};

struct run_chat {
	struct run *r;
	struct zw_chat_template *tmpl;
	struct zw_chat_parser *parser;
	struct run_tools tools;
	struct conv conv;
	struct run_line *line;
	struct answer now;
	bool dim;        /* the terminal is told to print faintly */
	bool colour;     /* it is one */
	bool at_start;   /* of a line */
	bool full;       /* the context is; */
	bool unanswered; /* and a message, a call or a response to one had no room */
	struct run_chat_stats stats;
};

/* ---- what people see ---- */

static void put(struct run_chat *c, const char *text, size_t len)
{
	if (fwrite(text, 1, len, stdout) != len || fflush(stdout))
		c->r->output_failed = true;
	if (len)
		c->at_start = text[len - 1] == '\n';
}

/* Reasoning is faint on a terminal and between tags elsewhere. */
static void set_dim(struct run_chat *c, bool dim)
{
	const char *text;

	if (c->dim == dim)
		return;
	c->dim = dim;
	if (c->colour)
		text = dim ? "\033[2m" : "\033[0m\n\n";
	else
		text = dim ? "<think>\n" : "\n</think>\n\n";
	put(c, text, strlen(text));
}

static void end_line(struct run_chat *c)
{
	set_dim(c, false);
	if (!c->at_start)
		put(c, "\n", 1);
}

static void note_call(struct run_chat *c, const char *name, const char *arguments,
		      const char *response)
{
	bool colour = isatty(STDERR_FILENO);
	size_t n = strcspn(response, "\n");

	if (c->r->a.quiet)
		return;
	fprintf(stderr, "%s[%s %.200s -> %.*s%s]%s\n", colour ? "\033[2m" : "", name, arguments,
		(int)(n < 200 ? n : 200), response, response[n] || n > 200 ? "..." : "",
		colour ? "\033[0m" : "");
}

/* ---- answers ---- */

static void answer_free(struct answer *a)
{
	if (a->text_f)
		fclose(a->text_f);
	if (a->reasoning_f)
		fclose(a->reasoning_f);
	free(a->text);
	free(a->reasoning);
	cJSON_Delete(a->calls);
	cJSON_Delete(a->work);
	*a = (struct answer){0};
}

static int answer_begin(struct answer *a)
{
	answer_free(a);
	a->text_f = open_memstream(&a->text, &a->text_len);
	a->reasoning_f = open_memstream(&a->reasoning, &a->reasoning_len);
	a->calls = cJSON_CreateArray();
	a->work = cJSON_CreateArray();
	return a->text_f && a->reasoning_f && a->calls && a->work ? 0 : -ENOMEM;
}

static int on_call(struct run_chat *c, const struct zw_chat_event *e)
{
	cJSON *call = cJSON_CreateObject(), *work = cJSON_CreateObject();

	/* As written, for integers beyond a double's. */
	cJSON_AddStringToObject(call, "name", e->name);
	cJSON_AddRawToObject(call, "arguments", e->arguments);
	cJSON_AddItemToArray(c->now.calls, call);
	cJSON_AddStringToObject(work, "name", e->name);
	cJSON_AddStringToObject(work, "arguments", e->arguments);
	cJSON_AddItemToArray(c->now.work, work);
	return 0;
}

/* What is no call stays in the text of the answer, and is answered like one. */
static int on_bad_call(struct run_chat *c, const struct zw_chat_event *e)
{
	cJSON *work = cJSON_CreateObject();

	cJSON_AddStringToObject(work, "error", e->error);
	cJSON_AddItemToArray(c->now.work, work);
	if (ftell(c->now.text_f) > 0)
		fputc('\n', c->now.text_f);
	fwrite(e->text, 1, e->len, c->now.text_f);
	c->stats.bad_calls++;
	return 0;
}

static int on_event(void *opaque, const struct zw_chat_event *e)
{
	struct run_chat *c = opaque;
	bool reasoning = e->type == ZW_CHAT_REASONING;

	switch (e->type) {
	case ZW_CHAT_CALL:
		return on_call(c, e);
	case ZW_CHAT_BAD_CALL:
		return on_bad_call(c, e);
	default:
		set_dim(c, reasoning);
		put(c, e->text, e->len);
		fwrite(e->text, 1, e->len, reasoning ? c->now.reasoning_f : c->now.text_f);
		return c->r->output_failed;
	}
}

/* Text on its way to the parser: stop texts end it, and do not come through. */
static void push(struct run_chat *c, const char *text, size_t len)
{
	struct run *r = c->r;
	int ret = zw_stop_push(r->stop, text, len, &text, &len);

	r->stop_hit |= ret > 0;
	if (ret < 0 || zw_chat_parser_push(c->parser, text, len) < 0)
		r->out_of_memory = true;
}

static int on_token(void *opaque, uint32_t id)
{
	struct run_chat *c = opaque;
	struct run *r = c->r;
	const char *text;
	size_t len;

	r->out_of_memory |= conv_add_token(&c->conv, id) != 0;
	run_accept(r, id);
	if (zw_detokenizer_push(r->detok, id, &text, &len) == 0)
		push(c, text, len);
	return r->output_failed || r->out_of_memory || r->stop_hit || r->json_done ||
	       tool_interrupts;
}

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
	struct run_chat *c = opaque;

	return run_prompt_progress(c->r, done, total);
}

/* ---- sums ---- */

static void add_stats(struct zw_ctx_stats *to, const struct zw_ctx_stats *s)
{
	to->jobs += s->jobs;
	to->steps += s->steps;
	to->tokens += s->tokens;
	to->wall_ns += s->wall_ns;
	to->sim_ps += s->sim_ps;
	to->packets += s->packets;
	to->hbm_read += s->hbm_read;
	to->hbm_written += s->hbm_written;
	to->sys_read += s->sys_read;
	to->sys_written += s->sys_written;
	for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
		to->busy_ps[e] += s->busy_ps[e];
}

static void add_result(struct zw_generate_result *to, const struct zw_generate_result *res)
{
	to->finish = res->finish;
	to->prompt_tokens += res->prompt_tokens;
	to->generated_tokens += res->generated_tokens;
	to->prefill_ns += res->prefill_ns;
	to->decode_ns += res->decode_ns;
	to->drafted_tokens += res->drafted_tokens;
	to->accepted_tokens += res->accepted_tokens;
	add_stats(to->prefill, res->prefill);
	add_stats(to->decode, res->decode);
}

/* ---- a turn ---- */

/* Leaves in the context what the prompt still begins with, and at least one token to compute. */
static void rewind_context(struct run_chat *c, size_t keep)
{
	struct run *r = c->r;
	uint64_t have = zw_seq_length(r->ctx, r->seq);

	if (keep >= c->conv.num_ids)
		keep = c->conv.num_ids - 1;
	if (have <= keep)
		return;
	if (zw_seq_truncate(r->ctx, r->seq, (uint32_t)keep))
		zw_seq_truncate(r->ctx, r->seq, 0); /* state that cannot be rewound */
	zw_sampler_reset(r->sampler);
	if (zw_sampler_prompt(r->sampler, c->conv.ids, zw_seq_length(r->ctx, r->seq)))
		r->out_of_memory = true;
}

static uint32_t context_size(const struct run *r)
{
	struct zw_ctx_info info = {.size = sizeof(info)};

	zw_ctx_get_info(r->ctx, &info);
	return info.context;
}

/* A document without a thinking block, unless that was asked for or is open already. */
static void begin_grammar(struct run *r, bool reasoning)
{
	const char *first = reasoning ? "<think>" : r->a.json_schema && !r->a.thinking ? "\n" : "";

	r->json_done = false;
	if (!r->matcher)
		return;
	zw_grammar_matcher_reset(r->matcher);
	if (zw_grammar_matcher_accept_bytes(r->matcher, first, strlen(first)))
		r->out_of_memory = true;
}

static int generate(struct run_chat *c, struct zw_generate_result *sum)
{
	struct zw_ctx_stats prefill = {.size = sizeof(prefill)}, decode = {.size = sizeof(decode)};
	struct zw_generate_result res = {
		.size = sizeof(res), .prefill = &prefill, .decode = &decode};
	struct run *r = c->r;
	struct zw_generate_params p = {.size = sizeof(p),
				       .seq = r->seq,
				       .flags = r->a.ignore_eos ? ZW_GENERATE_IGNORE_STOP : 0,
				       .max_tokens = UINT64_MAX,
				       .sampler = r->sampler,
				       .draft = r->a.draft,
				       .draft_tokens = r->a.draft ? r->a.draft_tokens : 0,
				       .token = on_token,
				       .progress = on_progress,
				       .opaque = c};
	struct zw_error err = {""};
	size_t keep, first, len, n;
	uint32_t *prompt;
	const char *text;
	bool reasoning;
	uint32_t flags;
	int ret = conv_prompt(&c->conv, &keep, &reasoning, &err);

	if (ret || answer_begin(&c->now))
		return run_fail(ret ? err.msg : "out of memory");
	if (c->conv.num_ids > context_size(r)) {
		c->full = c->unanswered = true;
		return 0;
	}
	rewind_context(c, keep);
	first = zw_seq_length(r->ctx, r->seq);
	n = c->conv.num_ids - first;
	if (r->a.has_max_tokens)
		p.max_tokens = r->a.max_tokens;
	else if (r->gc)
		p.max_tokens = zw_generation_config_max_tokens(r->gc, n);
	flags = (c->tools.n ? ZW_CHAT_PARSE_CALLS : 0) | (reasoning ? ZW_CHAT_PARSE_REASONING : 0);
	zw_chat_parser_finish(c->parser, flags);
	r->stop_hit = false;
	begin_grammar(r, reasoning);
	/* The list grows while the model writes. */
	prompt = malloc(n * sizeof(*prompt));
	if (!prompt)
		return run_fail("out of memory");
	memcpy(prompt, c->conv.ids + first, n * sizeof(*prompt));
	ret = zw_generate(r->ctx, &p, prompt, n, &res, &err);
	free(prompt);
	if (!r->stop_hit) {
		if (zw_detokenizer_flush(r->detok, &text, &len) == 0)
			push(c, text, len);
		zw_stop_flush(r->stop, &text, &len);
		if (!r->stop_hit)
			zw_chat_parser_push(c->parser, text, len);
	}
	zw_chat_parser_finish(c->parser, 0);
	end_line(c);
	if (ret)
		return run_fail(err.msg);
	if (r->out_of_memory)
		return run_fail("out of memory");
	if (r->output_failed)
		return run_fail("writing the output failed");
	add_result(sum, &res);
	c->stats.answers++;
	c->full = res.finish == ZW_FINISH_CONTEXT;
	return 0;
}

static int take_answer(struct run_chat *c, cJSON **work)
{
	struct answer *a = &c->now;
	cJSON *calls = cJSON_GetArraySize(a->calls) ? a->calls : NULL;
	int ret = fflush(a->text_f) || fflush(a->reasoning_f) ? -ENOMEM : 0;

	if (calls)
		a->calls = NULL;
	if (!ret)
		ret = conv_add_answer(&c->conv, a->text, a->reasoning, calls);
	*work = a->work;
	a->work = NULL;
	return ret ? run_fail("out of memory") : 0;
}

/* Answers every call of an answer; *left falls by one for each. */
static int run_calls(struct run_chat *c, cJSON *work, uint64_t *left)
{
	int ret = 0;

	for (const cJSON *w = work->child; w && !ret; w = w->next) {
		const cJSON *error = cJSON_GetObjectItem(w, "error");
		const char *name = error ? "?" : cJSON_GetObjectItem(w, "name")->valuestring;
		const char *arguments =
			error ? "" : cJSON_GetObjectItem(w, "arguments")->valuestring;
		char *text;

		if (error)
			text = run_tools_error(&c->tools, "malformed call", error->valuestring);
		else if (!*left)
			text = run_tools_error(&c->tools, "too many calls", "");
		else
			text = run_tools_call(&c->tools, name, arguments, &tool_interrupts);
		*left -= *left > 0;
		ret = text ? conv_add(&c->conv, "tool", text, strlen(text)) : -ENOMEM;
		if (text)
			note_call(c, name, arguments, text);
		free(text);
	}
	return ret ? run_fail("out of memory") : 0;
}

/* What has no room is not computed: an answer ends where the context does, and its calls are not run. */
static void tell_full(struct run_chat *c, struct zw_generate_result *sum)
{
	sum->finish = ZW_FINISH_CONTEXT;
	fprintf(stderr,
		"zw-run: the context is full%s: /reset begins anew, --ctx makes room for more\n",
		c->unanswered ? ", and something is left unanswered" : "");
}

/* A message, and answers until one has no calls. */
static int turn(struct run_chat *c, const char *text, size_t len, struct zw_generate_result *sum)
{
	uint64_t left = c->r->a.max_calls;
	bool more;
	int ret = conv_add(&c->conv, "user", text, len) ? run_fail("out of memory") : 0;

	c->full = c->unanswered = false;
	do {
		cJSON *work = NULL;

		if (!ret)
			ret = generate(c, sum);
		if (!ret && !c->unanswered)
			ret = take_answer(c, &work);
		if (!ret && c->full) {
			c->unanswered |= work && work->child;
			tell_full(c, sum);
			cJSON_Delete(work);
			break;
		}
		more = !ret && work->child && !tool_interrupts;
		if (more && !left) {
			fprintf(stderr, "zw-run: stopped after %u calls (--max-calls)\n",
				c->r->a.max_calls);
			more = false;
		}
		if (!ret && work->child)
			ret = run_calls(c, work, &left);
		cJSON_Delete(work);
	} while (more && !ret && !tool_interrupts);
	return ret;
}

/* ---- the talk ---- */

static const char help[] =
	"/reset   forgets the conversation\n"
	"/help    this\n"
	"/quit    ends, and so does the end of the input\n"
	"A backslash at the end of a line joins the next one to it. Ctrl-C ends an answer.\n";

static int reset(struct run_chat *c)
{
	zw_seq_truncate(c->r->ctx, c->r->seq, 0);
	zw_sampler_reset(c->r->sampler);
	c->full = false;
	return conv_begin(&c->conv) ? run_fail("out of memory") : 0;
}

/* 1: it was a command, 2: it ends the talk. */
static int command(struct run_chat *c, const char *line, int *ret)
{
	if (line[0] != '/')
		return 0;
	if (!strcmp(line, "/quit") || !strcmp(line, "/exit"))
		return 2;
	if (!strcmp(line, "/reset"))
		*ret = reset(c);
	else if (!strcmp(line, "/help"))
		fputs(help, stderr);
	else
		return 0;
	return 1;
}

/* An error does not end a talk that a person leads; they may reset it. */
static int one_line(struct run_chat *c, const char *line, size_t len,
		    struct zw_generate_result *sum)
{
	struct run *r = c->r;
	int ret;

	tool_interrupts = 0;
	tool_catch_interrupt(true);
	ret = turn(c, line, len, sum);
	return ret && run_line_interactive(c->line) && !r->output_failed && !r->out_of_memory ? 0
											      : ret;
}

static int first_message(struct run_chat *c, struct zw_generate_result *sum)
{
	const struct run_args *a = &c->r->a;
	char *text = NULL;
	size_t len;
	int ret;

	if (a->prompt)
		return one_line(c, a->prompt, strlen(a->prompt), sum);
	if (!a->prompt_file)
		return 0;
	ret = read_text(a->prompt_file, READ_TEXT_MAX, &text, &len);
	if (ret) {
		fprintf(stderr, "zw-run: %s: %s\n", a->prompt_file, strerror(-ret));
		return EXIT_FAILURE;
	}
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	ret = one_line(c, text, len, sum);
	free(text);
	return ret;
}

int run_chat(struct run *r, struct run_chat *c, struct zw_generate_result *sum)
{
	bool single = r->a.single_turn;
	int ret = 0;

	/* There is one when a session was loaded. */
	if (!c->conv.messages && conv_begin(&c->conv))
		ret = run_fail("out of memory");
	if (!ret)
		ret = first_message(c, sum);
	if (run_line_interactive(c->line) && !ret && !r->a.quiet)
		fputs(help, stderr);
	while (!ret && !(single && c->stats.answers) &&
	       !((tool_interrupts || c->unanswered) && !run_line_interactive(c->line))) {
		char *line;
		size_t len;
		int was;

		tool_interrupts = 0;
		tool_catch_interrupt(false);
		ret = run_line_read(c->line, &line, &len);
		if (ret) {
			fprintf(stderr, "zw-run: a line of standard input: %s\n", strerror(-ret));
			ret = EXIT_FAILURE;
		}
		if (!line)
			break;
		was = command(c, line, &ret);
		if (!was && len)
			ret = one_line(c, line, len, sum);
		free(line);
		if (was == 2)
			break;
	}
	c->stats.calls = c->tools.calls;
	c->stats.failed_calls = c->tools.failed;
	c->stats.context = zw_seq_length(r->ctx, r->seq);
	c->stats.context_size = context_size(r);
	c->stats.unanswered = c->unanswered && !run_line_interactive(c->line);
	if (!ret && r->a.transcript) {
		char *json = cJSON_PrintUnformatted(c->conv.messages);
		FILE *f = json ? fopen(r->a.transcript, "we") : NULL;

		if (!f || fprintf(f, "%s\n", json) < 0 || fclose(f))
			ret = run_fail("writing the transcript failed");
		cJSON_free(json);
	}
	return ret;
}

/* ---- sessions ---- */

int run_chat_load(struct run_chat *c, const struct zw_snapshot *snap)
{
	struct zw_snapshot_info info = {.size = sizeof(info)};
	const char *path = c->r->a.load_session;
	const void *note;
	size_t len;
	int ret;

	zw_snapshot_get_info(snap, &info);
	note = zw_snapshot_get_note(snap, &len);
	ret = note ? conv_load(&c->conv, note, len, info.ids, info.tokens) : -ENOENT;
	if (!ret)
		return 0;
	fprintf(stderr, "zw-run: %s: %s\n", path,
		ret == -ENOENT    ? "a session that is no conversation"
		: ret == -EBADMSG ? "the conversation in it is damaged"
				  : strerror(-ret));
	return EXIT_FAILURE;
}

int run_chat_save(struct run_chat *c, struct zw_error *err)
{
	struct run *r = c->r;
	size_t len;
	char *note;
	int ret = conv_save(&c->conv, &note, &len);

	if (ret) {
		snprintf(err->msg, sizeof(err->msg), "out of memory");
		return ret;
	}
	ret = run_session_save(r->ctx, r->seq, c->conv.ids, c->conv.num_ids,
			       tool_interrupts ? 0 : c->conv.num_ids, note, len, r->a.save_session,
			       err);
	free(note);
	return ret;
}

const struct run_chat_stats *run_chat_get_stats(const struct run_chat *c)
{
	return c ? &c->stats : NULL;
}

/* ---- set up ---- */

static int open_template(struct run *r, struct run_chat *c, struct zw_error *err)
{
	const char *path = r->a.chat_template_file, *built_in = zw_tokenizer_chat_template(r->tok);
	char *text;
	size_t len;
	int ret;

	if (path) {
		ret = read_text(path, READ_TEXT_MAX, &text, &len);
		if (ret) {
			snprintf(err->msg, sizeof(err->msg), "%s: %s", path, strerror(-ret));
			return ret;
		}
		ret = zw_chat_template_parse(text, len, &c->tmpl, err);
		free(text);
		return ret;
	}
	ret = zw_chat_template_open(r->a.model, &c->tmpl, err);
	/* Files that are no folder have theirs in the tokenizer. */
	if ((ret == -ENOENT || ret == -ENOTDIR) && built_in)
		ret = zw_chat_template_parse(built_in, strlen(built_in), &c->tmpl, err);
	return ret;
}

int run_chat_open(struct run *r, struct run_chat **out)
{
	struct run_chat *c = calloc(1, sizeof(*c));
	struct zw_chat_parser_options po = {.size = sizeof(po), .event = on_event, .opaque = c};
	struct zw_error err = {"out of memory"};
	int ret = c ? 0 : -ENOMEM;

	*out = c;
	if (!ret)
		ret = open_template(r, c, &err);
	if (!ret && r->a.tools)
		ret = run_tools_open(&c->tools, r->a.tools, &err);
	if (!ret) {
		po.tools = c->tools.json;
		ret = zw_chat_parser_open(&po, &c->parser, &err);
	}
	if (ret)
		return run_fail(err.msg);
	c->r = r;
	c->at_start = true;
	c->colour = isatty(STDOUT_FILENO);
	c->tools.seconds = r->a.tool_timeout;
	c->conv.tmpl = c->tmpl;
	c->conv.tok = r->tok;
	c->conv.system = r->a.system;
	c->conv.tools = c->tools.json;
	c->conv.flags = r->a.thinking      ? ZW_CHAT_THINKING
			: r->a.no_thinking ? ZW_CHAT_NO_THINKING
					   : 0;
	c->line = run_line_open();
	return c->line ? 0 : run_fail("out of memory");
}

/* In the way that the template tells the model; where that cannot be seen, in both. */
static uint32_t calls_of_template(const struct run_chat *c)
{
	const struct zw_chat_input in = {
		.size = sizeof(in),
		.flags = c->conv.flags | ZW_CHAT_GENERATION_PROMPT,
		.messages = "[{\"role\": \"user\", \"content\": \"?\"}]",
		.tools = c->tools.json,
	};
	struct zw_error err;
	uint32_t kind;
	char *text;
	size_t len;

	if (zw_chat_template_apply(c->tmpl, &in, &text, &len, &err))
		return 0;
	kind = strstr(text, "<function=") ? ZW_GRAMMAR_CALLS_XML : ZW_GRAMMAR_CALLS_JSON;
	free(text);
	return kind;
}

int run_chat_grammar(const struct run_chat *c, struct zw_grammar **out, struct zw_error *err)
{
	const struct run_args *a = &c->r->a;
	const char *tools = a->calls == RUN_CALLS_FREE ? NULL : c->tools.json;
	uint32_t flags = a->json_schema ? ZW_GRAMMAR_THINKING : 0;
	char *schema = NULL;
	struct zw_error why;
	int ret;

	if (!tools && !a->json_schema)
		return 0;
	if (a->json_schema && c->tools.json && !tools) {
		snprintf(err->msg, sizeof(err->msg),
			 "--tool-calls free does not go with --json-schema");
		return -EINVAL;
	}
	if (a->json_schema && run_schema_read(a->json_schema, &schema, err))
		return -EINVAL;
	if (tools)
		flags |= a->calls == RUN_CALLS_JSON  ? ZW_GRAMMAR_CALLS_JSON
			 : a->calls == RUN_CALLS_XML ? ZW_GRAMMAR_CALLS_XML
						     : calls_of_template(c);
	ret = zw_grammar_open_answer(tools, schema, flags, out, &why);
	free(schema);
	if (ret)
		snprintf(err->msg, sizeof(err->msg), "%.200s%s", why.msg,
			 tools && !a->json_schema ? " (--tool-calls free does without)" : "");
	return ret;
}

void run_chat_close(struct run_chat *c)
{
	if (!c)
		return;
	answer_free(&c->now);
	conv_free(&c->conv);
	run_line_close(c->line);
	zw_chat_parser_close(c->parser);
	zw_chat_template_close(c->tmpl);
	run_tools_free(&c->tools);
	free(c);
}
