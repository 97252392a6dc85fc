// SPDX-License-Identifier: MIT
/* zw-plan: does a model fit, how fast is it, what binds it, what does it cost. See zw-plan(1). */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>

#include "json_text.h"
#include "kv_type.h"
#include "tool_cards.h"
#include "tool_cost.h"
#include "tool_number.h"
#include "tool_output.h"
#include "tool_routing.h"

#define EXIT_USAGE 2
#define ROOM       (16ull << 40) /* HBM of the device that is asked: whether it fits is arithmetic */
#define CHUNK      4096u
#define STEPS      4u /* the first ones differ by where ids come from */
#define GIB        (double)(1 << 30)

static const char usage_text[] =
	"usage: zw-plan [options] MODEL | zw-plan [options] --shape NAME\n"
	"\n"
	"Says whether a model fits into a chip's memory, what a step of decoding takes, and what "
	"binds it.\n"
	"MODEL is a checkpoint, a config.json or its folder; no weight is read and nothing is "
	"computed.\n"
	"\n"
	"      --shape NAME      a published size, as qwen3-235b-a22b (zw-run --timing --shape "
	"list)\n"
	"      --profile P       chip profile 810e (default), m890, c12, a100-80g, h100-sxm, or a "
	"file\n"
	"  -b, --batch B         sequences that are decoded together (default 1)\n"
	"  -c, --context C       tokens of each, all there (default 4096)\n"
	"      --kv T            KV cache in bf16 (default), int8 or fp8\n"
	"      --weights F       matrices in bf16, fp8, int8, int4, q8_0, q6_k or q4_k\n"
	"      --cards N         cut between N cards (default 1)\n"
	"      --cut layers      consecutive layers on each, one behind the other, as zw-run "
	"--timing "
	"(default)\n"
	"      --cut width       heads, columns and words: one card's share; what goes over links "
	"is "
	"not in it\n"
	"      --micro-batches M groups of sequences that are on their way through the cards at "
	"once "
	"(default:\n"
	"                        as many as cards, up to B)\n"
	"      --routing KIND    experts: uniform (default) or zipf:S\n"
	"      --price X         price of a card, --power-price Y of a kWh, --years N (default 4): "
	"cost of\n"
	"                        a million tokens\n"
	"      --json            print a JSON object\n"
	"  -h, --help, --version\n"
	"\n"
	"Exit status: 0 it fits, 1 failure, 2 usage, 3 it does not fit.\n";

struct plan {
	const char *model, *shape, *profile, *weights;
	uint32_t batch, context, kv_dtype, cards, groups;
	bool by_width; /* what is asked is one card's share */
	struct tool_cost cost;
	bool json;
	struct tool_routing routing;

	struct zw_dev_attrs attrs;
	struct zw_model_info info;
	uint64_t kv, state, rest, need; /* bytes of the card that needs most */
	struct zw_ctx_stats step;       /* a token of every sequence */
};

static int plan_fail(const char *msg)
{
	fprintf(stderr, "zw-plan: %s\n", msg);
	return EXIT_FAILURE;
}

/* ---- asking the device ---- */

/* All of them, so many tokens each; the last round counts. */
static int decode(struct plan *p, struct tool_cards *c, struct zw_error *err)
{
	uint64_t *ready = calloc(p->groups, sizeof(*ready)), end = 0, last = 0;
	struct zw_ctx_stats before = {0};
	int ret = ready ? 0 : -1;

	for (uint32_t i = 0; i < c->num; i++)
		end = c->card[i].free_ps > end ? c->card[i].free_ps : end;
	for (uint32_t g = 0; ready && g < p->groups; g++)
		ready[g] = end;
	for (uint32_t i = 0; i < STEPS && !ret; i++) {
		last = end;
		tool_cards_stats(c, &before);
		ret = tool_cards_round(c, p->groups, ZW_WANT_ARGMAX, ready, err);
		for (uint32_t g = 0; g < p->groups; g++)
			end = ready[g] > end ? ready[g] : end;
	}
	free(ready);
	tool_cards_stats(c, &p->step);
	p->step.sim_ps = end - last;
	p->step.energy_pj -= before.energy_pj;
	return ret;
}

/* One text of the length, from which the others begin: they share what lies in memory, not what is read of it. */
static int fill(const struct plan *p, struct tool_cards *c, struct zw_error *err)
{
	const struct zw_eval_options opt = {.size = sizeof(opt)};
	uint32_t tokens = p->context - STEPS, *ids;
	uint64_t ps = 0;
	int ret;

	/* whole blocks: nothing has to be copied */
	tokens -= tokens % 32;
	ids = calloc(tokens ? tokens : 1, sizeof(*ids));
	ret = ids ? 0 : -1;
	if (!ret && tokens)
		ret = tool_cards_text(c, 0, ids, tokens, &opt, &ps, err);
	for (uint32_t i = 1; i < p->batch && !ret; i++) {
		ret = tool_cards_fork(c, 0, tokens, i);
		if (ret)
			snprintf(err->msg, sizeof(err->msg), "a sequence: %s", strerror(-ret));
	}
	free(ids);
	return ret;
}

/* Of the card that needs most. */
static void measure(struct plan *p, const struct tool_cards *c)
{
	p->need = 0;
	for (uint32_t i = 0; i < c->num; i++) {
		const struct tool_card *k = &c->card[i];
		uint64_t need = k->info.weight_bytes + k->room.hbm_bytes;

		if (need <= p->need)
			continue;
		p->need = need;
		p->info = k->info;
		p->kv = k->room.kv_bytes;
		p->state = k->info.state_bytes * p->batch;
		p->rest = k->room.hbm_bytes - p->kv - p->state;
	}
}

/* hbm_bytes 0: what the chip has. */
static void describe(const struct plan *p, const char *lines, uint64_t hbm_bytes,
		     struct tool_cards *c)
{
	*c = (struct tool_cards){
		.device = "sim",
		.path = p->model,
		.dev = {.size = sizeof(c->dev),
			.flags = ZW_DEV_TIMING_ONLY,
			.profile = p->profile,
			.hbm_bytes = hbm_bytes,
			.profile_lines = lines},
		.model = {.size = sizeof(c->model),
			  .shape = p->shape,
			  .weights = p->weights,
			  .positions = p->context,
			  .cards = p->by_width && p->cards > 1 ? p->cards : 0},
		.route = &p->routing,
		.seed = 1,
		.ctx = {.size = sizeof(c->ctx),
			.context = p->context,
			.max_seqs = p->batch,
			.batch = CHUNK,
			.kv_dtype = p->kv_dtype},
	};
}

/* A step on the profile with these lines changed. */
static int ask(struct plan *p, const char *lines, struct zw_error *err)
{
	struct tool_cards c;
	int ret;

	describe(p, lines, ROOM, &c);
	ret = tool_cards_open(&c, err);
	if (!ret)
		ret = tool_cards_place(&c, p->by_width ? 1 : p->cards, err);
	if (!ret) {
		measure(p, &c);
		ret = fill(p, &c, err);
	}
	if (!ret)
		ret = decode(p, &c, err);
	if (!ret)
		ret = tool_cards_result(&c, err);
	tool_cards_close(&c);
	return ret;
}

/* On how many cards that share the layers has it room? 0: on none. */
static uint32_t find_cards(const struct plan *p)
{
	struct zw_error err;
	struct tool_cards c;
	uint32_t cards = 0;

	describe(p, NULL, 0, &c);
	if (!tool_cards_open(&c, &err) && !tool_cards_find(&c, p->cards + 1, &err))
		cards = c.num;
	tool_cards_close(&c);
	return cards;
}

/* What the chip has by itself. */
static int find_chip(struct plan *p, struct zw_error *err)
{
	struct zw_dev_options dopt = {
		.size = sizeof(dopt), .flags = ZW_DEV_TIMING_ONLY, .profile = p->profile};
	struct zw_dev *dev;
	int ret = zw_dev_open("sim", &dopt, &dev, err);

	if (ret)
		return ret;
	p->attrs.size = sizeof(p->attrs);
	ret = zw_dev_get_attrs(dev, &p->attrs);
	zw_dev_close(dev);
	return ret;
}

/* ---- what binds ---- */

#define HALF(key)  #key " = /2\n"
#define TWICE(key) #key " = x2\n"
enum { HBM, COMPUTE, LAUNCHES, RESOURCES };

static const struct {
	const char *name, *lines, *what;
} resources[RESOURCES] = {
	{"HBM", TWICE(hbm_bw) TWICE(unit_bw) TWICE(unit_i8_bw), "twice the bandwidth of HBM"},
	{"compute",
	 TWICE(tensor_bf16_flops) TWICE(tensor_f32_flops) TWICE(tensor_i8_ops)
		 TWICE(tensor_f8_flops) TWICE(vector_flops) TWICE(sram_bw) TWICE(tdp_watts),
	 "twice the rate of all engines"},
	{"launches",
	 HALF(packet_ps) HALF(job_ps) HALF(gemm_ps) HALF(gemm_split_ps) HALF(experts_ps) HALF(
		 expert_ps) HALF(attn_ps) HALF(attn_split_ps) HALF(attn_prefill_ps) HALF(reduce_ps),
	 "half the fixed costs of packets"},
};

static double seconds(const struct plan *p)
{
	return (double)p->step.sim_ps * 1e-12;
}

/* Of a token, all cards together. */
static double joules(const struct plan *p)
{
	double idle = seconds(p) * p->attrs.idle_watts * p->cards;

	return ((double)p->step.energy_pj * 1e-12 * (p->by_width ? p->cards : 1) + idle) / p->batch;
}

static double cost(const struct plan *p)
{
	return 1e6 * tool_cost(&p->cost, p->cards * seconds(p) / p->batch, joules(p));
}

/* ---- saying it ---- */

static void print_text(const struct plan *p, const double *gain, int binds, bool fits)
{
	uint32_t needed = fits ? 0 : find_cards(p);

	printf("%s on %u x %s: %s, %.1f of %.1f GiB%s\n", p->shape ? p->shape : p->model, p->cards,
	       p->attrs.profile_name, fits ? "fits" : "does not fit", (double)p->need / GIB,
	       (double)p->attrs.hbm_size / GIB,
	       p->cards == 1 ? ""
	       : p->by_width ? " of each"
			     : " of the fullest");
	if (p->cards > 1 && p->by_width)
		printf("  cut by width: what goes over links is not in it\n");
	else if (p->cards > 1)
		printf("  cut by layers, %u group%s of sequences on their way at once\n", p->groups,
		       p->groups > 1 ? "s" : "");
	printf("  weights %.2f GiB, KV cache %.2f GiB (%u x %u tokens), state %.2f GiB, "
	       "activations and "
	       "tables %.2f GiB\n",
	       (double)p->info.weight_bytes / GIB, (double)p->kv / GIB, p->batch, p->context,
	       (double)p->state / GIB, (double)p->rest / GIB);
	if (needed)
		printf("  %u cards have room for it, cut by layers: --cards %u, or fewer tokens, "
		       "--weights, --kv\n",
		       needed, needed);
	printf("  decode: %.1f tokens/s, %.3f ms a step, %.4g J/token\n", p->batch / seconds(p),
	       seconds(p) * 1e3, joules(p));
	printf("  bound by %s:", resources[binds].name);
	for (int i = 0; i < RESOURCES; i++)
		printf("%s %s gives %+.0f %%", i ? "," : "", resources[i].what, gain[i]);
	printf("\n");
	if (p->cost.price > 0 || p->cost.power_price > 0)
		printf("  a million tokens cost %.4g: %.4g a card over %g years, %.4g a kWh\n",
		       cost(p), p->cost.price, p->cost.years, p->cost.power_price);
}

static void print_json(const struct plan *p, const double *gain, int binds, bool fits)
{
	cJSON *o = cJSON_CreateObject(), *bytes, *gains;
	char *text;

	json_add_text(o, "model", p->shape ? p->shape : p->model);
	cJSON_AddStringToObject(o, "profile", p->attrs.profile_name);
	cJSON_AddNumberToObject(o, "cards", p->cards);
	cJSON_AddStringToObject(o, "cut", p->by_width ? "width" : "layers");
	cJSON_AddNumberToObject(o, "micro_batches", p->groups);
	cJSON_AddNumberToObject(o, "batch", p->batch);
	cJSON_AddNumberToObject(o, "context", p->context);
	cJSON_AddBoolToObject(o, "fits", fits);
	bytes = cJSON_AddObjectToObject(o, "bytes");
	cJSON_AddNumberToObject(bytes, "hbm", (double)p->attrs.hbm_size);
	cJSON_AddNumberToObject(bytes, "needed", (double)p->need);
	cJSON_AddNumberToObject(bytes, "weights", (double)p->info.weight_bytes);
	cJSON_AddNumberToObject(bytes, "kv", (double)p->kv);
	cJSON_AddNumberToObject(bytes, "state", (double)p->state);
	cJSON_AddNumberToObject(bytes, "rest", (double)p->rest);
	cJSON_AddNumberToObject(o, "step_s", seconds(p));
	cJSON_AddNumberToObject(o, "tokens_per_s", p->batch / seconds(p));
	cJSON_AddNumberToObject(o, "joules_per_token", joules(p));
	cJSON_AddStringToObject(o, "bound_by", resources[binds].name);
	gains = cJSON_AddObjectToObject(o, "gain_percent");
	for (int i = 0; i < RESOURCES; i++)
		cJSON_AddNumberToObject(gains, resources[i].name, gain[i]);
	if (p->cost.price > 0 || p->cost.power_price > 0)
		cJSON_AddNumberToObject(o, "cost_per_million_tokens", cost(p));
	text = cJSON_Print(o);
	puts(text ? text : "{}");
	cJSON_free(text);
	cJSON_Delete(o);
}

static int plan(struct plan *p)
{
	double gain[RESOURCES];
	struct zw_error err = {"out of memory"};
	struct plan base;
	int binds = 0;
	bool fits;

	if (p->shape && zw_shape_note(p->shape))
		fprintf(stderr, "note: %s\n", zw_shape_note(p->shape));
	if (find_chip(p, &err) || ask(p, NULL, &err))
		return plan_fail(err.msg);
	base = *p;
	for (int i = 0; i < RESOURCES; i++) {
		if (ask(p, resources[i].lines, &err))
			return plan_fail(err.msg);
		gain[i] = 100 * (seconds(&base) / seconds(p) - 1);
		if (gain[i] > gain[binds])
			binds = i;
	}
	fits = base.need <= base.attrs.hbm_size;
	if (p->json)
		print_json(&base, gain, binds, fits);
	else
		print_text(&base, gain, binds, fits);
	return tool_finish("zw-plan", fits ? EXIT_SUCCESS : 3);
}

/* ---- command line ---- */

enum {
	OPT_SHAPE = 256,
	OPT_PROFILE,
	OPT_KV,
	OPT_WEIGHTS,
	OPT_CARDS,
	OPT_CUT,
	OPT_MICRO_BATCHES,
	OPT_ROUTING,
	OPT_PRICE,
	OPT_POWER,
	OPT_YEARS,
	OPT_JSON,
	OPT_VERSION
};

static const struct option options[] = {
	{"shape", required_argument, NULL, OPT_SHAPE},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"batch", required_argument, NULL, 'b'},
	{"context", required_argument, NULL, 'c'},
	{"kv", required_argument, NULL, OPT_KV},
	{"weights", required_argument, NULL, OPT_WEIGHTS},
	{"cards", required_argument, NULL, OPT_CARDS},
	{"cut", required_argument, NULL, OPT_CUT},
	{"micro-batches", required_argument, NULL, OPT_MICRO_BATCHES},
	{"routing", required_argument, NULL, OPT_ROUTING},
	{"price", required_argument, NULL, OPT_PRICE},
	{"power-price", required_argument, NULL, OPT_POWER},
	{"years", required_argument, NULL, OPT_YEARS},
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static bool set_option(struct plan *p, int opt, const char *v)
{
	switch (opt) {
	case OPT_SHAPE:
		p->shape = v;
		return *v;
	case OPT_PROFILE:
		p->profile = v;
		return *v;
	case OPT_WEIGHTS:
		p->weights = v;
		return *v;
	case 'b':
		return tool_parse_u32(v, 1, CHUNK, &p->batch);
	case 'c':
		return tool_parse_u32(v, STEPS + 1, 1u << 26, &p->context);
	case OPT_CARDS:
		return tool_parse_u32(v, 1, 4096, &p->cards);
	case OPT_CUT:
		p->by_width = !strcmp(v, "width");
		return p->by_width || !strcmp(v, "layers");
	case OPT_MICRO_BATCHES:
		return tool_parse_u32(v, 1, CHUNK, &p->groups);
	case OPT_KV:
		p->kv_dtype = kv_type_find(v);
		return p->kv_dtype;
	case OPT_ROUTING:
		return tool_routing_parse(v, &p->routing) && !p->routing.file;
	case OPT_PRICE:
		return tool_parse_double(v, 0, &p->cost.price);
	case OPT_POWER:
		return tool_parse_double(v, 0, &p->cost.power_price);
	case OPT_YEARS:
		return tool_parse_double(v, 0.01, &p->cost.years);
	default:
		p->json = true;
		return true;
	}
}

int main(int argc, char **argv)
{
	struct plan p = {.batch = 1, .context = 4096, .cards = 1, .cost.years = TOOL_COST_YEARS};
	int opt;

	signal(SIGPIPE, SIG_IGN);
	while ((opt = getopt_long(argc, argv, "b:c:h", options, NULL)) != -1) {
		if (opt == '?')
			return EXIT_USAGE; /* getopt has said why */
		if (opt == 'h' || opt == OPT_VERSION) {
			if (opt == 'h')
				fputs(usage_text, stdout);
			else
				printf("zw-plan %d.%d.%d\n", ZW_VERSION_MAJOR, ZW_VERSION_MINOR,
				       ZW_VERSION_PATCH);
			return tool_finish("zw-plan", EXIT_SUCCESS);
		}
		if (!set_option(&p, opt, optarg)) {
			fprintf(stderr, "zw-plan: bad value \"%s\" (zw-plan --help)\n", optarg);
			return EXIT_USAGE;
		}
	}
	if (argc - optind != !p.shape) {
		fprintf(stderr, "zw-plan: a MODEL or --shape is needed, and nothing else (zw-plan "
				"--help)\n");
		return EXIT_USAGE;
	}
	if (p.groups && (p.by_width || p.groups > p.batch)) {
		fprintf(stderr,
			"zw-plan: --micro-batches are of --cut layers, and at most as many as "
			"sequences (--batch)\n");
		return EXIT_USAGE;
	}
	if (!p.groups)
		p.groups = p.by_width ? 1 : p.cards < p.batch ? p.cards : p.batch;
	p.model = p.shape ? NULL : argv[optind];
	return plan(&p);
}
