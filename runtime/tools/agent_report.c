// SPDX-License-Identifier: MIT
#include "agent_report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "json_text.h"

static const char *const names[AGENT_PHASES] = {
	[AGENT_PREFILL] = "prefill",
	[AGENT_DECODE] = "decode",
	[AGENT_WAIT] = "tools",
};

struct agent_cost agent_cost_of(const struct zw_ctx_stats *s)
{
	return (struct agent_cost){.tokens = s->tokens,
				   .sim_ps = s->sim_ps,
				   .energy_pj = s->energy_pj,
				   .hbm_bytes = s->hbm_read + s->hbm_written};
}

void agent_cost_add(struct agent_cost *sum, const struct agent_cost *c)
{
	sum->tokens += c->tokens;
	sum->sim_ps += c->sim_ps;
	sum->energy_pj += c->energy_pj;
	sum->hbm_bytes += c->hbm_bytes;
}

struct agent_cost agent_cost_between(const struct agent_cost *a, const struct agent_cost *b,
				     uint64_t n)
{
	return (struct agent_cost){.tokens = n * (a->tokens + b->tokens) / 2,
				   .sim_ps = n * (a->sim_ps + b->sim_ps) / 2,
				   .energy_pj = n * (a->energy_pj + b->energy_pj) / 2,
				   .hbm_bytes = n * (a->hbm_bytes + b->hbm_bytes) / 2};
}

int agent_report_add(struct agent_report *r, const struct agent_phase *p)
{
	if (r->num_phases == r->cap_phases) {
		size_t cap = r->cap_phases ? 2 * r->cap_phases : 64;
		struct agent_phase *more = realloc(r->phases, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->phases = more;
		r->cap_phases = cap;
	}
	r->phases[r->num_phases++] = *p;
	return 0;
}

void agent_report_free(struct agent_report *r)
{
	free(r->phases);
}

/* ---- sums ---- */

static double seconds(uint64_t ps)
{
	return (double)ps * 1e-12;
}

static double idle_joules(const struct agent_report *r, uint64_t ps)
{
	return seconds(ps) * r->attrs->idle_watts * r->cards;
}

/* A phase's work is spread over its time. */
static void spread(struct agent_report *r, const struct agent_phase *p)
{
	double width = (double)r->total_ps / AGENT_INTERVALS;
	double start = (double)p->start_ps, end = start + (double)p->cost.sim_ps;

	for (uint32_t i = 0; i < AGENT_INTERVALS; i++) {
		struct agent_interval *v = &r->intervals[i];
		double from = i * width, to = from + width, share;

		from = from > start ? from : start;
		to = to < end ? to : end;
		if (to <= from)
			continue;
		share = (to - from) / (end - start);
		v->seconds[p->kind] += (to - from) * 1e-12;
		v->tokens[p->kind] += share * (double)p->cost.tokens;
		v->joules += share *
			     ((double)p->cost.energy_pj * 1e-12 + idle_joules(r, p->cost.sim_ps));
		v->hbm_bytes += share * (double)p->cost.hbm_bytes;
	}
}

void agent_report_sum(struct agent_report *r)
{
	for (size_t i = 0; i < r->num_phases; i++) {
		const struct agent_phase *p = &r->phases[i];

		agent_cost_add(&r->sum[p->kind], &p->cost);
		if (p->kind == AGENT_PREFILL)
			r->reused += p->context - p->cost.tokens;
		r->total_ps = p->start_ps + p->cost.sim_ps;
		r->longest = p->context > r->longest ? p->context : r->longest;
	}
	for (size_t i = 0; i < r->num_phases; i++)
		spread(r, &r->phases[i]);
}

/* Each answer has one token more than steps: the first came with the prompt. */
static uint64_t generated(const struct agent_report *r)
{
	uint64_t n = r->sum[AGENT_DECODE].tokens;

	for (size_t i = 0; i < r->num_phases; i++)
		n += r->phases[i].kind == AGENT_DECODE;
	return n;
}

static uint64_t calls(const struct agent_report *r)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->num_phases; i++)
		n += r->phases[i].kind == AGENT_WAIT;
	return n;
}

static double joules(const struct agent_report *r)
{
	return (double)(r->sum[AGENT_PREFILL].energy_pj + r->sum[AGENT_DECODE].energy_pj) * 1e-12 +
	       idle_joules(r, r->total_ps);
}

static bool has_prices(const struct agent_report *r)
{
	return r->args->cost.price > 0 || r->args->cost.power_price > 0;
}

static double cost(const struct agent_report *r)
{
	return tool_cost(&r->args->cost, seconds(r->total_ps) * r->cards, joules(r));
}

static double percent(double part, double of)
{
	return of > 0 ? 100 * part / of : 0;
}

static double rate(double n, double per)
{
	return per > 0 ? n / per : 0;
}

/* ---- for people ---- */

static void print_intervals(const struct agent_report *r, FILE *f)
{
	double width = seconds(r->total_ps) / AGENT_INTERVALS;

	fprintf(f, "%10s %9s %9s %9s %12s %12s %8s %9s\n", "from s", "prefill %", "decode %",
		"tools %", "prompt tok/s", "answer tok/s", "W", "HBM GB/s");
	for (uint32_t i = 0; i < AGENT_INTERVALS; i++) {
		const struct agent_interval *v = &r->intervals[i];

		fprintf(f, "%10.1f %9.2f %9.2f %9.2f %12.1f %12.2f %8.1f %9.2f\n", i * width,
			percent(v->seconds[AGENT_PREFILL], width),
			percent(v->seconds[AGENT_DECODE], width),
			percent(v->seconds[AGENT_WAIT], width),
			rate(v->tokens[AGENT_PREFILL], width), rate(v->tokens[AGENT_DECODE], width),
			rate(v->joules, width), rate(v->hbm_bytes * 1e-9, width));
	}
}

void agent_report_print(const struct agent_report *r, FILE *f)
{
	const struct agent_cost *p = &r->sum[AGENT_PREFILL], *d = &r->sum[AGENT_DECODE];
	double total = seconds(r->total_ps), out = (double)generated(r);

	fprintf(f,
		"\n%llu calls in %.1f s = %.2f h simulated: prefill %.2f %%, decode %.2f %%, tools "
		"%.2f %%\n",
		(unsigned long long)calls(r), total, total / 3600,
		percent((double)p->sim_ps, (double)r->total_ps),
		percent((double)d->sim_ps, (double)r->total_ps),
		percent((double)r->sum[AGENT_WAIT].sim_ps, (double)r->total_ps));
	fprintf(f,
		"tokens: %llu prefilled at %.0f/s, %.0f generated at %.1f/s; a text of up to %u "
		"tokens",
		(unsigned long long)p->tokens, rate((double)p->tokens, seconds(p->sim_ps)), out,
		rate((double)d->tokens, seconds(d->sim_ps)), r->longest);
	fprintf(f, "; the cache had %.2f %% of all prompts",
		percent((double)r->reused, (double)(r->reused + p->tokens)));
	if (r->restarts == 1)
		fprintf(f, ", back to the prompt once");
	else if (r->restarts)
		fprintf(f, ", back to the prompt %u times", r->restarts);
	fprintf(f, "\n");
	if (r->steps_taken)
		fprintf(f,
			"%llu of %llu steps of decoding were run; the others lie on lines between "
			"them (--every-step runs all)\n",
			(unsigned long long)r->steps_run,
			(unsigned long long)(r->steps_run + r->steps_taken));
	else
		fprintf(f, "all %llu steps of decoding were run\n",
			(unsigned long long)r->steps_run);
	fprintf(f,
		"energy: %.4g J, %.4g J of it %u W idle (%.4g J while tools worked); %.4g J for a "
		"generated token\n",
		joules(r), idle_joules(r, r->total_ps), r->attrs->idle_watts * r->cards,
		idle_joules(r, r->sum[AGENT_WAIT].sim_ps), rate(joules(r), out));
	if (has_prices(r))
		fprintf(f,
			"cost: %.4g; of a million generated tokens %.4g, of a million computed "
			"ones "
			"%.4g: %.4g a card over %g years, %.4g a kWh\n",
			cost(r), rate(1e6 * cost(r), out),
			rate(1e6 * cost(r), (double)(p->tokens + d->tokens)), r->args->cost.price,
			r->args->cost.years, r->args->cost.power_price);
	fprintf(f, "memory: %.1f MiB of KV cache for %u tokens\n", (double)r->kv_bytes / 1048576,
		r->context);
	print_intervals(r, f);
	fprintf(f, "device: ");
	if (r->cards > 1)
		fprintf(f, "%u x ", r->cards);
	fprintf(f, "%s, profile %s%s\n", r->attrs->spec, r->attrs->profile_name,
		r->interrupted ? "; interrupted" : "");
}

/* ---- for programs ---- */

static void add_dist(cJSON *o, const char *key, const struct tool_dist *d)
{
	char text[80];

	tool_dist_name(d, text, sizeof(text));
	cJSON_AddStringToObject(o, key, text);
}

static void add_phase(cJSON *o, const struct agent_report *r, enum agent_phase_kind kind)
{
	const struct agent_cost *c = &r->sum[kind];
	cJSON *p = cJSON_AddObjectToObject(o, names[kind]);

	cJSON_AddNumberToObject(p, "sim_s", seconds(c->sim_ps));
	cJSON_AddNumberToObject(p, "sim_ps", (double)c->sim_ps);
	cJSON_AddNumberToObject(p, "tokens", (double)c->tokens);
	cJSON_AddNumberToObject(p, "energy_j",
				(double)c->energy_pj * 1e-12 + idle_joules(r, c->sim_ps));
	cJSON_AddNumberToObject(p, "energy_idle_j", idle_joules(r, c->sim_ps));
	cJSON_AddNumberToObject(p, "hbm_bytes", (double)c->hbm_bytes);
}

static void add_intervals(cJSON *o, const struct agent_report *r)
{
	double width = seconds(r->total_ps) / AGENT_INTERVALS;
	cJSON *list = cJSON_AddArrayToObject(o, "utilisation");

	for (uint32_t i = 0; i < AGENT_INTERVALS; i++) {
		const struct agent_interval *v = &r->intervals[i];
		cJSON *row = cJSON_CreateObject();

		cJSON_AddNumberToObject(row, "start_s", i * width);
		cJSON_AddNumberToObject(row, "length_s", width);
		for (int kind = 0; kind < AGENT_PHASES; kind++)
			cJSON_AddNumberToObject(row, names[kind], rate(v->seconds[kind], width));
		cJSON_AddNumberToObject(row, "prefill_tokens", v->tokens[AGENT_PREFILL]);
		cJSON_AddNumberToObject(row, "decode_tokens", v->tokens[AGENT_DECODE]);
		cJSON_AddNumberToObject(row, "energy_j", v->joules);
		cJSON_AddNumberToObject(row, "hbm_bytes", v->hbm_bytes);
		cJSON_AddItemToArray(list, row);
	}
}

int agent_report_write_json(const struct agent_report *r, const char *path, struct zw_error *err)
{
	cJSON *o = cJSON_CreateObject(), *c;
	double out = (double)generated(r);

	json_add_text(o, "model", r->model);
	cJSON_AddStringToObject(o, "profile", r->attrs->profile_name);
	cJSON_AddNumberToObject(o, "cards", r->cards);
	cJSON_AddStringToObject(o, "finish", r->interrupted ? "interrupted" : "length");
	cJSON_AddNumberToObject(o, "calls", (double)calls(r));
	add_dist(o, "answer_tokens", &r->args->answer);
	add_dist(o, "result_tokens", &r->args->result);
	add_dist(o, "tool_latency", &r->args->latency);
	cJSON_AddNumberToObject(o, "sim_s", seconds(r->total_ps));
	cJSON_AddNumberToObject(o, "generated_tokens", out);
	cJSON_AddNumberToObject(o, "longest_context", r->longest);
	cJSON_AddNumberToObject(o, "context", r->context);
	cJSON_AddNumberToObject(o, "restarts", r->restarts);
	cJSON_AddNumberToObject(o, "reused_tokens", (double)r->reused);
	cJSON_AddNumberToObject(o, "kv_bytes", (double)r->kv_bytes);
	cJSON_AddNumberToObject(o, "steps_run", (double)r->steps_run);
	cJSON_AddNumberToObject(o, "steps_interpolated", (double)r->steps_taken);
	for (int kind = 0; kind < AGENT_PHASES; kind++)
		add_phase(o, r, kind);
	cJSON_AddNumberToObject(o, "energy_j", joules(r));
	cJSON_AddNumberToObject(o, "joules_per_generated_token", rate(joules(r), out));
	if (has_prices(r)) {
		c = cJSON_AddObjectToObject(o, "cost");
		cJSON_AddNumberToObject(c, "total", cost(r));
		cJSON_AddNumberToObject(c, "per_million_generated_tokens",
					rate(1e6 * cost(r), out));
		cJSON_AddNumberToObject(c, "per_million_computed_tokens",
					rate(1e6 * cost(r), (double)(r->sum[AGENT_PREFILL].tokens +
								     r->sum[AGENT_DECODE].tokens)));
	}
	add_intervals(o, r);
	return json_write(o, path, err);
}

int agent_report_write_csv(const struct agent_report *r, const char *path, struct zw_error *err)
{
	FILE *f = fopen(path, "w");
	int ret = f ? 0 : -errno;

	if (f)
		fprintf(f, "phase,call,start_ps,sim_ps,tokens,context,energy_pj,hbm_bytes\n");
	for (size_t i = 0; f && i < r->num_phases; i++) {
		const struct agent_phase *p = &r->phases[i];

		fprintf(f, "%s,%u,%llu,%llu,%llu,%u,%llu,%llu\n", names[p->kind], p->call,
			(unsigned long long)p->start_ps, (unsigned long long)p->cost.sim_ps,
			(unsigned long long)p->cost.tokens, p->context,
			(unsigned long long)p->cost.energy_pj,
			(unsigned long long)p->cost.hbm_bytes);
	}
	if (f && ferror(f))
		ret = -EIO;
	if (f && fclose(f) && !ret)
		ret = -errno;
	if (ret)
		snprintf(err->msg, sizeof(err->msg), "%s: %s", path, strerror(-ret));
	return ret;
}
