// SPDX-License-Identifier: MIT
#include "run_args.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <zhenwu/base.h>
#include <zhenwu/cmd.h>
#include <zhenwu/llm_generate.h>
#include <zhenwu/llm_shape.h>

#include "kv_type.h"
#include "tool_number.h"
#include "tool_output.h"

static const char usage_text[] = "usage: zw-run --model MODEL (--prompt TEXT | --prompt-file F | "
				 "--prompt-ids FILE.json | --chat)\n"
				 "              [options]\n";

static const char help_text[] =
	"\n"
	"Loads a Qwen checkpoint into a Zhenwu device and continues a prompt.\n"
	"\n"
	"  -m, --model MODEL        GGUF file, or folder with config.json, *.safetensors and, "
	"unless\n"
	"                           --prompt-ids, tokenizer.json\n"
	"  -p, --prompt TEXT        text to continue\n"
	"  -f, --prompt-file F      the same from a file; - is standard input\n"
	"      --prompt-ids F       the same as a JSON list of token ids\n"
	"      --device D           auto (default): first accel device, else sim; drm, drm:N, sim\n"
	"      --profile P          chip profile 810e, m890, c12, a100-80g, h100-sxm (sim; on drm "
	"it must be that "
	"chip)\n"
	"  -n, --max-tokens N       most tokens to generate (default: the model's, else 128)\n"
	"      --user-queues        no system call for a step: queues in memory of the process\n"
	"  -c, --ctx N              room for N tokens (default 4096 or the model's limit)\n"
	"      --chunk N            prefill N tokens at a time (default 128)\n"
	"      --draft KIND         tokens tried ahead of greedy choices: mtp (the model's own "
	"head), "
	"ngram\n"
	"                           (what followed before), none (default)\n"
	"      --draft-tokens N     at most N for each step (default 2)\n"
	"      --kv-type T          KV cache in bf16 (default), int8 or fp8\n"
	"      --sparse KIND[,KEY=N...]   prompts attend to some keys only: slash, blocks, model "
	"(as the\n"
	"                           checkpoint says) or none (default); keys: group, from; "
	"vertical,\n"
	"                           slash; keep\n"
	"      --delta-chunked      delta rule of a prompt in chunks of tokens\n"
	"      --without LIST       simulated time of a chip without kv-cache, tensor, fused, "
	"sparse\n"
	"\n"
	"Time alone:\n"
	"      --timing             the simulator takes its simulated time and computes nothing: "
	"weights "
	"are not\n"
	"                           read, MODEL may be a config.json alone, and no text comes\n"
	"      --shape NAME         with --timing, in place of MODEL: a published size, as "
	"qwen3-235b-a22b;\n"
	"                           --shape list names all\n"
	"      --weights F          with --timing: matrices stored as bf16, fp8, int8, int4, q8_0, "
	"q6_k or "
	"q4_k\n"
	"      --prompt-tokens N    with --timing: a prompt of N tokens\n"
	"      --batch B            with --timing: B sequences at a time (default 1)\n"
	"      --cards N            with --timing: layers on N cards, one behind the other "
	"(default: as "
	"many as\n"
	"                           have room for them)\n"
	"      --micro-batches M    of the sequences, on their way through the cards at once "
	"(default: "
	"as many\n"
	"                           as cards, up to B)\n"
	"      --routing KIND       with --timing: which experts tokens go to: uniform (default), "
	"zipf:S, "
	"or\n"
	"                           file:F, as written by --record-routing\n"
	"      --draft-accept KIND  with --timing and --draft: how many drafted tokens are right: "
	"P[:P...], how\n"
	"                           likely the first, the second... is when those before it are, "
	"or\n"
	"                           file:F, as written by --record-drafts\n"
	"      --agent-calls N      with --timing: N calls of tools: an answer, the tool, its "
	"result, and again\n"
	"      --answer-tokens D    tokens of an answer (default lognormal:400:0.6); D is "
	"fixed:V,\n"
	"                           exp:MEAN or lognormal:MEAN:SIGMA\n"
	"      --result-tokens D    of what a tool says (default lognormal:600:1)\n"
	"      --tool-latency D     seconds that a tool takes (default lognormal:100:1)\n"
	"      --every-step         run every step of decoding, not only samples\n"
	"      --price X            price of a card, --power-price Y of a kWh, --years N (default "
	"4): cost\n"
	"                           of a million tokens\n"
	"      --agent-csv F        what each answer, call and result took\n"
	"      --record-routing F   writes which experts tokens went to, as a JSON list (sim)\n"
	"      --record-drafts F    writes how many drafted tokens were tried and right, as a JSON "
	"list\n"
	"\n"
	"A conversation:\n"
	"      --chat, -cnv         applies the model's chat template; lines of standard input (or "
	"of a\n"
	"                           terminal, with editing and history) are messages, --prompt or\n"
	"                           --prompt-file the first one; /help lists commands\n"
	"  -sys, --system TEXT      what the system says first\n"
	"      --thinking, --no-thinking   let the model reason, or not (default: the template's)\n"
	"      --tools DIR          each executable file there is a tool that the model may call\n"
	"      --tool-calls KIND    what a call may be: json or xml of a tool there is, with "
	"arguments "
	"of its\n"
	"                           schema (default auto: as the template has it), or free\n"
	"      --max-calls N        calls for one message (default 100)\n"
	"      --tool-timeout S     seconds that a call may take (default 30)\n"
	"  -st, --single-turn       one message only\n"
	"      --chat-template-file F      in place of the model's\n"
	"      --transcript F       writes the messages as JSON\n"
	"\n"
	"What is chosen; defaults are the model's generation_config.json:\n"
	"      --temperature T, --temp T   0 is greedy\n"
	"      --top-k K\n"
	"      --top-p P\n"
	"      --min-p P\n"
	"      --repetition-penalty R      above 1: tokens of prompt and answer become less "
	"likely\n"
	"      --frequency-penalty F       the same for generated ones, each time they came\n"
	"      --presence-penalty F        the same for generated ones, once\n"
	"      --no-repeat-ngram N         no N tokens in a row twice\n"
	"      --logit-bias ID(+|-)B       adds B to the logit of token ID; may be given again\n"
	"      --min-tokens N              no stop token among the first N\n"
	"  -s, --seed S             of the draw (default 0): equal seeds give equal text\n"
	"      --stop TEXT          ends the answer and is not printed; may be given again\n"
	"      --json-schema S      the answer is JSON of schema S, a file or a text that begins "
	"with {\n"
	"      --json               the answer is a JSON object\n"
	"      --ignore-eos         do not end at the model's stop tokens\n"
	"      --no-generation-config      do not read generation_config.json\n"
	"\n"
	"What is written:\n"
	"      --logits-out F       the prompt's logits, float32 [T, V], as .npy\n"
	"      --ids-out F          the generated ids as a JSON list\n"
	"      --logprobs N         a JSON line for each token: its log-probability, and those of "
	"the N\n"
	"                           most probable ones\n"
	"      --logprobs-out F     the file for these (default: standard error)\n"
	"      --stats-json F       times, rates and counters\n"
	"      --trace F            what the device did when: Perfetto's form, JSON when F "
	"ends in "
	".json,\n"
	"                           the last step as a Chakra trace when in .et\n"
	"      --save-session F     prompt and answer as the model has them, to go on from\n"
	"      --load-session F     goes on from there: the prompt comes behind it\n"
	"  -t, --threads N          of the device model in this process (sim)\n"
	"  -q, --quiet              no progress, no statistics on standard error\n"
	"  -h, --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failure, 2 usage, 130 interrupted.\n";

static int usage(const char *fmt, const char *arg)
{
	fprintf(stderr, "zw-run: ");
	fprintf(stderr, fmt, arg);
	fprintf(stderr, " (zw-run --help lists the options)\n");
	return EXIT_USAGE;
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
	       (!strncmp(s, "drm:", 4) && tool_parse_u64(s + 4, 0, 255, &n));
}

bool run_args_add_stop(struct run_args *a, const char *text)
{
	const char **stop;

	if (!*text)
		return false;
	stop = realloc(a->stop, (a->num_stop + 1) * sizeof(*stop));
	if (!stop)
		return false;
	a->stop = stop;
	stop[a->num_stop++] = text;
	return true;
}

/* ID+BIAS or ID-BIAS, as llama.cpp has it; "-inf" excludes. */
static bool add_bias(struct run_args *a, const char *v)
{
	size_t digits = strspn(v, "0123456789");
	struct run_bias b, *bias;
	char id[16], *end;
	uint64_t n;

	if (!digits || digits >= sizeof(id) || (v[digits] != '+' && v[digits] != '-'))
		return false;
	snprintf(id, sizeof(id), "%.*s", (int)digits, v);
	/* A second sign would be strtof()'s. */
	if (!tool_parse_u64(id, 0, UINT32_MAX, &n) || strchr("+- \t", v[digits + 1]))
		return false;
	b = (struct run_bias){(uint32_t)n, strtof(v + digits, &end)};
	if (*end || !(b.bias < INFINITY))
		return false;
	bias = realloc(a->bias, (a->num_bias + 1) * sizeof(*bias));
	if (!bias)
		return false;
	a->bias = bias;
	bias[a->num_bias++] = b;
	return true;
}

enum {
	OPT_DEVICE = 256,
	OPT_PROFILE,
	OPT_PROMPT_IDS,
	OPT_TEMPERATURE,
	OPT_TOP_K,
	OPT_TOP_P,
	OPT_MIN_P,
	OPT_REPETITION,
	OPT_FREQUENCY,
	OPT_PRESENCE,
	OPT_NGRAM,
	OPT_LOGIT_BIAS,
	OPT_MIN_TOKENS,
	OPT_LOGPROBS,
	OPT_LOGPROBS_OUT,
	OPT_STOP,
	OPT_JSON_SCHEMA,
	OPT_JSON,
	OPT_IGNORE_EOS,
	OPT_USER_QUEUES,
	OPT_NO_GENERATION_CONFIG,
	OPT_CHUNK,
	OPT_DRAFT,
	OPT_DRAFT_TOKENS,
	OPT_KV_TYPE,
	OPT_SPARSE,
	OPT_DELTA_CHUNKED,
	OPT_WITHOUT,
	OPT_LOGITS_OUT,
	OPT_IDS_OUT,
	OPT_STATS_JSON,
	OPT_TRACE,
	OPT_LOAD_SESSION,
	OPT_SAVE_SESSION,
	OPT_CHAT,
	OPT_SYSTEM,
	OPT_THINKING,
	OPT_NO_THINKING,
	OPT_TOOLS,
	OPT_TOOL_CALLS,
	OPT_MAX_CALLS,
	OPT_TOOL_TIMEOUT,
	OPT_SINGLE_TURN,
	OPT_CHAT_TEMPLATE,
	OPT_TRANSCRIPT,
	OPT_TIMING,
	OPT_SHAPE,
	OPT_WEIGHTS,
	OPT_PROMPT_TOKENS,
	OPT_BATCH,
	OPT_CARDS,
	OPT_MICRO_BATCHES,
	OPT_ROUTING,
	OPT_DRAFT_ACCEPT,
	OPT_RECORD_DRAFTS,
	OPT_AGENT_CALLS,
	OPT_ANSWER_TOKENS,
	OPT_RESULT_TOKENS,
	OPT_TOOL_LATENCY,
	OPT_EVERY_STEP,
	OPT_PRICE,
	OPT_POWER_PRICE,
	OPT_YEARS,
	OPT_AGENT_CSV,
	OPT_RECORD_ROUTING,
	OPT_VERSION,
};

static const char short_options[] = ":m:p:f:n:c:s:t:qh";

/* A value's first name is the one that errors use. */
static const struct option options[] = {
	{"model", required_argument, NULL, 'm'},
	{"device", required_argument, NULL, OPT_DEVICE},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"prompt", required_argument, NULL, 'p'},
	{"prompt-file", required_argument, NULL, 'f'},
	{"prompt-ids", required_argument, NULL, OPT_PROMPT_IDS},
	{"max-tokens", required_argument, NULL, 'n'},
	{"temperature", required_argument, NULL, OPT_TEMPERATURE},
	{"temp", required_argument, NULL, OPT_TEMPERATURE},
	{"top-k", required_argument, NULL, OPT_TOP_K},
	{"top-p", required_argument, NULL, OPT_TOP_P},
	{"min-p", required_argument, NULL, OPT_MIN_P},
	{"repetition-penalty", required_argument, NULL, OPT_REPETITION},
	{"repeat-penalty", required_argument, NULL, OPT_REPETITION},
	{"frequency-penalty", required_argument, NULL, OPT_FREQUENCY},
	{"presence-penalty", required_argument, NULL, OPT_PRESENCE},
	{"no-repeat-ngram", required_argument, NULL, OPT_NGRAM},
	{"logit-bias", required_argument, NULL, OPT_LOGIT_BIAS},
	{"min-tokens", required_argument, NULL, OPT_MIN_TOKENS},
	{"logprobs", required_argument, NULL, OPT_LOGPROBS},
	{"logprobs-out", required_argument, NULL, OPT_LOGPROBS_OUT},
	{"seed", required_argument, NULL, 's'},
	{"stop", required_argument, NULL, OPT_STOP},
	{"json-schema", required_argument, NULL, OPT_JSON_SCHEMA},
	{"json", no_argument, NULL, OPT_JSON},
	{"ignore-eos", no_argument, NULL, OPT_IGNORE_EOS},
	{"user-queues", no_argument, NULL, OPT_USER_QUEUES},
	{"no-generation-config", no_argument, NULL, OPT_NO_GENERATION_CONFIG},
	{"ctx", required_argument, NULL, 'c'},
	{"ctx-size", required_argument, NULL, 'c'},
	{"context", required_argument, NULL, 'c'},
	{"chunk", required_argument, NULL, OPT_CHUNK},
	{"draft", required_argument, NULL, OPT_DRAFT},
	{"draft-tokens", required_argument, NULL, OPT_DRAFT_TOKENS},
	{"kv-type", required_argument, NULL, OPT_KV_TYPE},
	{"sparse", required_argument, NULL, OPT_SPARSE},
	{"delta-chunked", no_argument, NULL, OPT_DELTA_CHUNKED},
	{"without", required_argument, NULL, OPT_WITHOUT},
	{"logits-out", required_argument, NULL, OPT_LOGITS_OUT},
	{"ids-out", required_argument, NULL, OPT_IDS_OUT},
	{"stats-json", required_argument, NULL, OPT_STATS_JSON},
	{"trace", required_argument, NULL, OPT_TRACE},
	{"load-session", required_argument, NULL, OPT_LOAD_SESSION},
	{"save-session", required_argument, NULL, OPT_SAVE_SESSION},
	{"chat", no_argument, NULL, OPT_CHAT},
	{"cnv", no_argument, NULL, OPT_CHAT},
	{"conversation", no_argument, NULL, OPT_CHAT},
	{"system", required_argument, NULL, OPT_SYSTEM},
	{"sys", required_argument, NULL, OPT_SYSTEM},
	{"system-prompt", required_argument, NULL, OPT_SYSTEM},
	{"thinking", no_argument, NULL, OPT_THINKING},
	{"no-thinking", no_argument, NULL, OPT_NO_THINKING},
	{"tools", required_argument, NULL, OPT_TOOLS},
	{"tool-calls", required_argument, NULL, OPT_TOOL_CALLS},
	{"max-calls", required_argument, NULL, OPT_MAX_CALLS},
	{"tool-timeout", required_argument, NULL, OPT_TOOL_TIMEOUT},
	{"single-turn", no_argument, NULL, OPT_SINGLE_TURN},
	{"st", no_argument, NULL, OPT_SINGLE_TURN},
	{"chat-template-file", required_argument, NULL, OPT_CHAT_TEMPLATE},
	{"transcript", required_argument, NULL, OPT_TRANSCRIPT},
	{"timing", no_argument, NULL, OPT_TIMING},
	{"shape", required_argument, NULL, OPT_SHAPE},
	{"weights", required_argument, NULL, OPT_WEIGHTS},
	{"prompt-tokens", required_argument, NULL, OPT_PROMPT_TOKENS},
	{"batch", required_argument, NULL, OPT_BATCH},
	{"cards", required_argument, NULL, OPT_CARDS},
	{"micro-batches", required_argument, NULL, OPT_MICRO_BATCHES},
	{"routing", required_argument, NULL, OPT_ROUTING},
	{"draft-accept", required_argument, NULL, OPT_DRAFT_ACCEPT},
	{"record-drafts", required_argument, NULL, OPT_RECORD_DRAFTS},
	{"agent-calls", required_argument, NULL, OPT_AGENT_CALLS},
	{"answer-tokens", required_argument, NULL, OPT_ANSWER_TOKENS},
	{"result-tokens", required_argument, NULL, OPT_RESULT_TOKENS},
	{"tool-latency", required_argument, NULL, OPT_TOOL_LATENCY},
	{"every-step", no_argument, NULL, OPT_EVERY_STEP},
	{"price", required_argument, NULL, OPT_PRICE},
	{"power-price", required_argument, NULL, OPT_POWER_PRICE},
	{"years", required_argument, NULL, OPT_YEARS},
	{"agent-csv", required_argument, NULL, OPT_AGENT_CSV},
	{"record-routing", required_argument, NULL, OPT_RECORD_ROUTING},
	{"threads", required_argument, NULL, 't'},
	{"predict", required_argument, NULL, 'n'},
	{"n-predict", required_argument, NULL, 'n'},
	{"file", required_argument, NULL, 'f'},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const char *name_of(int opt)
{
	for (const struct option *o = options; o->name; o++) {
		if (o->val == opt)
			return o->name;
	}
	return "?";
}

/* Options of which the sampler's defaults are the model's. */
static bool set_sampling(struct run_args *a, int opt, const char *v)
{
	switch (opt) {
	case OPT_TEMPERATURE:
		a->has_temperature = true;
		return parse_float(v, 0, 1000, &a->temperature);
	case OPT_TOP_K:
		a->has_top_k = true;
		return tool_parse_u32(v, 0, INT32_MAX, &a->top_k);
	case OPT_TOP_P:
		a->has_top_p = true;
		return parse_float(v, 0, 1, &a->top_p);
	case OPT_MIN_P:
		a->has_min_p = true;
		return parse_float(v, 0, 1, &a->min_p);
	case OPT_REPETITION:
		a->has_repetition = true;
		return parse_float(v, 1e-3f, 1000, &a->repetition_penalty);
	case OPT_FREQUENCY:
		a->has_frequency = true;
		return parse_float(v, -100, 100, &a->frequency_penalty);
	case OPT_PRESENCE:
		a->has_presence = true;
		return parse_float(v, -100, 100, &a->presence_penalty);
	case OPT_MIN_TOKENS:
		a->has_min_tokens = true;
		return tool_parse_u32(v, 0, INT32_MAX, &a->min_tokens);
	default:
		a->has_ngram = true;
		return tool_parse_u32(v, 0, INT32_MAX, &a->no_repeat_ngram);
	}
}

/* The number of a word in a list of n. */
static bool word(const char *v, const char *const *words, uint32_t n, uint32_t *number)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!strcmp(v, words[i])) {
			*number = i;
			return true;
		}
	}
	return false;
}

/* Names of features with commas in between. */
static bool set_without(struct run_args *a, const char *v)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} features[] = {
		{"kv-cache", ZW_PKT_F_NO_KV_CACHE},
		{"tensor", ZW_PKT_F_NO_TENSOR},
		{"fused", ZW_PKT_F_NO_FUSED},
		{"sparse", ZW_PKT_F_NO_SPARSE},
	};

	for (size_t n;; v += n + 1) {
		size_t i = 0;

		n = strcspn(v, ",");
		while (i < sizeof(features) / sizeof(features[0]) &&
		       (strlen(features[i].name) != n || memcmp(features[i].name, v, n)))
			i++;
		if (i == sizeof(features) / sizeof(features[0]))
			return false;
		a->without |= features[i].flag;
		if (!v[n])
			return true;
	}
}

static bool set_draft(struct run_args *a, const char *v)
{
	static const char *const names[] = {"none", "mtp", "ngram"};

	return word(v, names, 3, &a->draft);
}

static bool set_calls(struct run_args *a, const char *v)
{
	static const char *const names[] = {"auto", "json", "xml", "free"};
	uint32_t kind;

	if (!word(v, names, 4, &kind))
		return false;
	a->calls = kind;
	a->has_calls = true;
	return true;
}

/* An option of a conversation. */
static bool set_chat(struct run_args *a, int opt, const char *v)
{
	switch (opt) {
	case OPT_CHAT:
		a->chat = true;
		return true;
	case OPT_SYSTEM:
		a->system = v;
		return true;
	case OPT_THINKING:
		a->thinking = true;
		return true;
	case OPT_NO_THINKING:
		a->no_thinking = true;
		return true;
	case OPT_TOOL_CALLS:
		return set_calls(a, v);
	case OPT_MAX_CALLS:
		return tool_parse_u32(v, 0, INT32_MAX, &a->max_calls);
	case OPT_TOOL_TIMEOUT:
		return parse_float(v, 0.1f, 86400, &a->tool_timeout);
	default:
		a->single_turn = true;
		return true;
	}
}

/* An option of a model that calls tools. */
static bool set_agent(struct agent_args *g, int opt, const char *v)
{
	if (opt == OPT_AGENT_CALLS)
		return tool_parse_u32(v, 1, AGENT_MAX_CALLS, &g->calls);
	g->given = name_of(opt);
	switch (opt) {
	case OPT_ANSWER_TOKENS:
		return tool_dist_parse(v, AGENT_MAX_TOKENS, &g->answer);
	case OPT_RESULT_TOKENS:
		return tool_dist_parse(v, AGENT_MAX_TOKENS, &g->result);
	case OPT_TOOL_LATENCY:
		return tool_dist_parse(v, AGENT_MAX_SECONDS, &g->latency);
	case OPT_PRICE:
		return tool_parse_double(v, 0, &g->cost.price);
	case OPT_POWER_PRICE:
		return tool_parse_double(v, 0, &g->cost.power_price);
	case OPT_YEARS:
		return tool_parse_double(v, 0.01, &g->cost.years);
	case OPT_AGENT_CSV:
		g->csv = v;
		return *v;
	default:
		g->every_step = true;
		return true;
	}
}

/* One option's value; false when it is out of range. */
static bool set_option(struct run_args *a, int opt, const char *v)
{
	const char **text = opt == 'm'                  ? &a->model
			    : opt == 'f'                ? &a->prompt_file
			    : opt == OPT_PROFILE        ? &a->profile
			    : opt == OPT_PROMPT_IDS     ? &a->prompt_ids
			    : opt == OPT_LOGITS_OUT     ? &a->logits_out
			    : opt == OPT_IDS_OUT        ? &a->ids_out
			    : opt == OPT_STATS_JSON     ? &a->stats_json
			    : opt == OPT_TRACE          ? &a->trace
			    : opt == OPT_LOAD_SESSION   ? &a->load_session
			    : opt == OPT_SAVE_SESSION   ? &a->save_session
			    : opt == OPT_LOGPROBS_OUT   ? &a->logprobs_out
			    : opt == OPT_TOOLS          ? &a->tools
			    : opt == OPT_CHAT_TEMPLATE  ? &a->chat_template_file
			    : opt == OPT_TRANSCRIPT     ? &a->transcript
			    : opt == OPT_SHAPE          ? &a->shape
			    : opt == OPT_WEIGHTS        ? &a->weights
			    : opt == OPT_RECORD_ROUTING ? &a->record_routing
			    : opt == OPT_RECORD_DRAFTS  ? &a->record_drafts
							: NULL;
	uint64_t threads;

	if (text) {
		*text = v;
		return *v;
	}
	switch (opt) {
	case 'p':
		a->prompt = v;
		return true;
	case 'n':
		a->has_max_tokens = true;
		return tool_parse_u64(v, 0, UINT32_MAX, &a->max_tokens);
	case 'c':
		return tool_parse_u32(v, 1, INT32_MAX, &a->ctx);
	case 's':
		return tool_parse_u64(v, 0, UINT64_MAX, &a->seed);
	case 't':
		/* The device model in this process has its number from there. */
		return tool_parse_u64(v, 1, 256, &threads) && !setenv("ZW_WORKERS", v, 1);
	case 'q':
		a->quiet = true;
		return true;
	case OPT_DEVICE:
		a->device = v;
		return device_ok(v);
	case OPT_CHUNK:
		return tool_parse_u32(v, 1, 4096, &a->chunk);
	case OPT_DRAFT:
		return set_draft(a, v);
	case OPT_DRAFT_TOKENS:
		return tool_parse_u32(v, 1, ZW_CTX_MAX_REWIND, &a->draft_tokens);
	case OPT_KV_TYPE:
		a->kv_dtype = kv_type_find(v);
		return a->kv_dtype;
	case OPT_SPARSE:
		return tool_parse_sparse(v, &a->sparse);
	case OPT_DELTA_CHUNKED:
		a->delta_chunked = true;
		return true;
	case OPT_WITHOUT:
		return set_without(a, v);
	case OPT_LOGIT_BIAS:
		return add_bias(a, v);
	case OPT_LOGPROBS:
		a->has_logprobs = true;
		return tool_parse_u32(v, 0, 1000, &a->logprobs);
	case OPT_STOP:
		return run_args_add_stop(a, v);
	case OPT_JSON_SCHEMA:
		a->json_schema = v;
		return *v;
	case OPT_JSON:
		a->json_schema = "{\"type\":\"object\"}";
		return true;
	case OPT_TIMING:
		a->timing = true;
		return true;
	case OPT_PROMPT_TOKENS:
		return tool_parse_u32(v, 1, INT32_MAX, &a->prompt_tokens);
	case OPT_BATCH:
		return tool_parse_u32(v, 1, ZW_CTX_MAX_BATCH, &a->batch);
	case OPT_CARDS:
		return tool_parse_u32(v, 1, 4096, &a->cards);
	case OPT_MICRO_BATCHES:
		return tool_parse_u32(v, 1, ZW_CTX_MAX_BATCH, &a->micro_batches);
	case OPT_ROUTING:
		a->has_routing = true;
		return tool_routing_parse(v, &a->routing);
	case OPT_DRAFT_ACCEPT:
		a->has_drafts = true;
		return tool_drafts_parse(v, &a->drafts);
	case OPT_AGENT_CALLS:
	case OPT_ANSWER_TOKENS:
	case OPT_RESULT_TOKENS:
	case OPT_TOOL_LATENCY:
	case OPT_EVERY_STEP:
	case OPT_PRICE:
	case OPT_POWER_PRICE:
	case OPT_YEARS:
	case OPT_AGENT_CSV:
		return set_agent(&a->agent, opt, v);
	case OPT_USER_QUEUES:
		a->user_queues = true;
		return true;
	case OPT_IGNORE_EOS:
		a->ignore_eos = true;
		return true;
	case OPT_NO_GENERATION_CONFIG:
		a->no_generation_config = true;
		return true;
	case OPT_CHAT:
	case OPT_SYSTEM:
	case OPT_THINKING:
	case OPT_NO_THINKING:
	case OPT_TOOL_CALLS:
	case OPT_MAX_CALLS:
	case OPT_TOOL_TIMEOUT:
	case OPT_SINGLE_TURN:
		return set_chat(a, opt, v);
	default:
		return set_sampling(a, opt, v);
	}
}

/* Options of a conversation without one would do nothing; and it has no ids in and out. */
static int check_chat(const struct run_args *a)
{
	const char *alone = a->tools                ? "--tools"
			    : a->system             ? "--system"
			    : a->transcript         ? "--transcript"
			    : a->chat_template_file ? "--chat-template-file"
			    : a->single_turn        ? "--single-turn"
			    : a->thinking           ? "--thinking"
			    : a->no_thinking        ? "--no-thinking"
						    : NULL;
	const char *ids = a->prompt_ids     ? "--prompt-ids"
			  : a->logits_out   ? "--logits-out"
			  : a->ids_out      ? "--ids-out"
			  : a->has_logprobs ? "--logprobs"
					    : NULL;

	if (!a->chat && alone)
		return usage("%s needs --chat", alone);
	if (a->has_calls && !a->tools)
		return usage("%s needs --tools", "--tool-calls");
	if (a->chat && ids)
		return usage("%s does not go with --chat", ids);
	if (a->system && a->load_session)
		return usage("%s does not go with --load-session, which has one", "--system");
	if (a->thinking && a->no_thinking)
		return usage("%s contradict each other", "--thinking and --no-thinking");
	return -1;
}

static bool is_shape(const char *name)
{
	for (size_t i = 0; zw_shape_name(i); i++) {
		if (!strcasecmp(zw_shape_name(i), name))
			return true;
	}
	return false;
}

/* An option about what is chosen, or NULL. */
static const char *sampling_given(const struct run_args *a)
{
	return a->has_temperature  ? "--temperature"
	       : a->has_top_k      ? "--top-k"
	       : a->has_top_p      ? "--top-p"
	       : a->has_min_p      ? "--min-p"
	       : a->has_ngram      ? "--no-repeat-ngram"
	       : a->has_min_tokens ? "--min-tokens"
	       : a->has_repetition ? "--repetition-penalty"
	       : a->has_presence   ? "--presence-penalty"
	       : a->has_frequency  ? "--frequency-penalty"
				   : NULL;
}

const char *run_args_one_card(const struct run_args *a)
{
	size_t len = a->trace ? strlen(a->trace) : 0;

	return a->draft                                         ? "--draft"
	       : a->routing.file                                ? "--routing file:"
	       : len >= 3 && !strcmp(a->trace + len - 3, ".et") ? "--trace of a Chakra trace (.et)"
								: NULL;
}

/* Options that only mean something without computing; and those that mean nothing then. */
static int check_timing(const struct run_args *a)
{
	const char *alone = a->shape           ? "--shape"
			    : a->weights       ? "--weights"
			    : a->prompt_tokens ? "--prompt-tokens"
			    : a->batch         ? "--batch"
			    : a->cards         ? "--cards"
			    : a->micro_batches ? "--micro-batches"
			    : a->has_routing   ? "--routing"
			    : a->has_drafts    ? "--draft-accept"
			    : a->agent.calls   ? "--agent-calls"
					       : NULL;
	const char *not = a->chat             ? "--chat"
			  : a->prompt         ? "--prompt"
			  : a->prompt_file    ? "--prompt-file"
			  : a->logits_out     ? "--logits-out"
			  : a->ids_out        ? "--ids-out"
			  : a->has_logprobs   ? "--logprobs"
			  : a->json_schema    ? "--json-schema"
			  : a->load_session   ? "--load-session"
			  : a->save_session   ? "--save-session"
			  : a->record_routing ? "--record-routing"
			  : a->record_drafts  ? "--record-drafts"
			  : a->num_stop       ? "--stop"
			  : a->num_bias       ? "--logit-bias"
			  : a->tools          ? "--tools"
			  : a->system         ? "--system"
			  : a->transcript     ? "--transcript"
					      : sampling_given(a);

	if (a->agent.given && !a->agent.calls)
		return usage("--%s needs --agent-calls", a->agent.given);
	if (!a->timing)
		return alone ? usage("%s needs --timing", alone) : -1;
	if (not )
		return usage("%s does not go with --timing, which computes nothing", not );
	if (a->agent.calls && (a->has_max_tokens || a->batch > 1))
		return usage("%s does not go with --agent-calls",
			     a->batch > 1 ? "--batch" : "--max-tokens");
	if (a->draft && (a->agent.calls || a->batch > 1))
		return usage("--draft does not go with %s in simulated time alone",
			     a->agent.calls ? "--agent-calls" : "--batch");
	if (a->cards > 1 && run_args_one_card(a))
		return usage("%s does not go with several --cards", run_args_one_card(a));
	if (a->micro_batches > (a->batch ? a->batch : 1))
		return usage("more --micro-batches than sequences (%s)", "--batch");
	if (!a->draft != !a->has_drafts)
		return usage("with --timing %s, as which drafted tokens are right is a result of "
			     "computing",
			     a->draft ? "--draft needs --draft-accept"
				      : "--draft-accept needs --draft");
	if (!a->model == !a->shape)
		return usage("one of %s is needed, and only one", "MODEL and --shape");
	if (!a->prompt_tokens == !a->prompt_ids)
		return usage("one of %s is needed, and only one",
			     "--prompt-tokens and --prompt-ids");
	if (a->shape && !is_shape(a->shape)) {
		fprintf(stderr,
			"zw-run: --shape: no published size is called \"%s\" (--shape list names "
			"them)\n",
			a->shape);
		return EXIT_USAGE;
	}
	return -2;
}

int run_args_parse(struct run_args *a, int argc, char **argv)
{
	int opt, prompts;

	*a = (struct run_args){.device = "auto",
			       .draft_tokens = 2,
			       .max_calls = 100,
			       .tool_timeout = 30,
			       .agent = {.answer = {TOOL_DIST_LOGNORMAL, 400, 0.6, 0},
					 .result = {TOOL_DIST_LOGNORMAL, 600, 1, 0},
					 .latency = {TOOL_DIST_LOGNORMAL, 100, 1, 0},
					 .cost.years = TOOL_COST_YEARS}};
	opterr = 0;
	while ((opt = getopt_long_only(argc, argv, short_options, options, NULL)) != -1) {
		if (opt == '?' || opt == ':')
			return usage("unknown or incomplete option %s", argv[optind - 1]);
		if (opt == 'h') {
			printf("%s%s", usage_text, help_text);
			return tool_finish("zw-run", EXIT_SUCCESS);
		}
		if (opt == OPT_VERSION) {
			printf("zw-run %d.%d.%d\n", ZW_VERSION_MAJOR, ZW_VERSION_MINOR,
			       ZW_VERSION_PATCH);
			return tool_finish("zw-run", EXIT_SUCCESS);
		}
		if (!set_option(a, opt, optarg)) {
			fprintf(stderr, "zw-run: --%s: bad value \"%s\" (zw-run --help)\n",
				name_of(opt), optarg);
			return EXIT_USAGE;
		}
	}
	if (a->timing && !a->model && optind < argc)
		a->model = argv[optind++];
	if (optind < argc)
		return usage("unexpected argument %s", argv[optind]);
	if (a->shape && !strcmp(a->shape, "list")) {
		for (size_t i = 0; zw_shape_name(i); i++)
			puts(zw_shape_name(i));
		return tool_finish("zw-run", EXIT_SUCCESS);
	}
	opt = check_timing(a);
	if (opt != -1)
		return opt == -2 ? -1 : opt;
	if (!a->model)
		return usage("%s is missing", "--model");
	if (a->record_drafts && (!a->draft || a->chat))
		return usage("--record-drafts %s",
			     a->chat ? "does not go with --chat" : "needs --draft");
	if (a->logprobs_out && !a->has_logprobs)
		return usage("%s needs --logprobs", "--logprobs-out");
	prompts = !!a->prompt + !!a->prompt_file + !!a->prompt_ids;
	if (check_chat(a) >= 0)
		return EXIT_USAGE;
	if (prompts > 1 || (!prompts && !a->chat))
		return usage("one of %s is needed, and only one",
			     "--prompt, --prompt-file, --prompt-ids or, without one, --chat");
	return -1;
}

void run_args_free(struct run_args *a)
{
	free(a->stop);
	free(a->bias);
}
