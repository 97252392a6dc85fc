// SPDX-License-Identifier: MIT
#include "run_stats.h"

#include <string.h>

#include <cjson/cJSON.h>
#include <zhenwu/zhenwu.h>

#include "json_text.h"

static double per_second(uint64_t n, double seconds)
{
	return seconds > 0 ? (double)n / seconds : 0;
}

static const char *finish_name(const struct run_report *r)
{
	if (r->finish)
		return r->finish;
	switch (r->res->finish) {
	case ZW_FINISH_STOP:
		return "stop";
	case ZW_FINISH_LENGTH:
		return "length";
	case ZW_FINISH_CONTEXT:
		return "context";
	default:
		return "callback";
	}
}

static void print_phase(FILE *f, const char *name, const struct zw_ctx_stats *s, double wall)
{
	double sim = (double)s->sim_ps * 1e-12;

	fprintf(f,
		"%s: %llu tokens in %.3f s = %.1f tokens/s; simulated %.3f us/token = %.0f "
		"tokens/s\n",
		name, (unsigned long long)s->tokens, wall, per_second(s->tokens, wall),
		s->tokens ? sim * 1e6 / (double)s->tokens : 0, per_second(s->tokens, sim));
}

void run_stats_subtract(struct zw_ctx_stats *s, const struct zw_ctx_stats *before)
{
	s->jobs -= before->jobs;
	s->steps -= before->steps;
	s->tokens -= before->tokens;
	s->wall_ns -= before->wall_ns;
	s->sim_ps -= before->sim_ps;
	s->packets -= before->packets;
	s->hbm_read -= before->hbm_read;
	s->hbm_written -= before->hbm_written;
	s->sys_read -= before->sys_read;
	s->sys_written -= before->sys_written;
	s->sram_read -= before->sram_read;
	s->sram_written -= before->sram_written;
	s->energy_pj -= before->energy_pj;
	s->sparse_tokens -= before->sparse_tokens;
	for (uint32_t e = 0; e < ZW_ENGINE_COUNT; e++)
		s->busy_ps[e] -= before->busy_ps[e];
}

/* What the chip takes by itself while a phase runs, and with what the jobs take. */
static double idle_joules(const struct run_report *r, const struct zw_ctx_stats *s)
{
	return (double)s->sim_ps * 1e-12 * r->attrs->idle_watts *
	       (r->timing ? r->timing->cards : 1);
}

static double joules(const struct run_report *r, const struct zw_ctx_stats *s)
{
	return (double)s->energy_pj * 1e-12 + idle_joules(r, s);
}

static double per_token(double v, const struct zw_ctx_stats *s)
{
	return s->tokens ? v / (double)s->tokens : 0;
}

static double share(const struct zw_ctx_stats *worked, const struct zw_ctx_stats *all)
{
	return all->sim_ps ? (double)worked->sim_ps / (double)all->sim_ps : 0;
}

static void print_cards(const struct run_report *r, FILE *f)
{
	const struct run_timing_report *t = r->timing;

	fprintf(f, "%u cards, %u group%s of sequences on their way at once:\n", t->cards, t->groups,
		t->groups > 1 ? "s" : "");
	for (uint32_t i = 0; i < t->cards; i++) {
		const struct run_card_report *c = &t->card[i];

		fprintf(f,
			"  card %u: layers %u to %u, %.1f GiB; works %.1f %% of prefill, %.1f %% "
			"of "
			"decode\n",
			i, c->info->first_layer, c->info->first_layer + c->info->num_layers - 1,
			(double)(c->info->weight_bytes + c->hbm_bytes) / (1 << 30),
			100 * share(&c->prefill, r->res->prefill),
			100 * share(&c->decode, r->res->decode));
	}
}

static void print_timing(const struct run_report *r, FILE *f)
{
	const struct zw_ctx_stats *p = r->res->prefill, *d = r->res->decode;

	fprintf(f, "first token: simulated %.3f ms", (double)r->timing->first_token_ps * 1e-9);
	if (r->timing->batch > 1)
		fprintf(f, ", of the last of %u sequences %.3f ms", r->timing->batch,
			(double)p->sim_ps * 1e-9);
	fprintf(f, "\nmemory: %.1f MiB of KV cache for %u sequences of %u tokens\n",
		(double)r->timing->kv_bytes / 1048576, r->timing->batch, r->timing->context);
	fprintf(f,
		"on the chip: %.2f MiB read, %.2f MiB written\n"
		"energy: prefill %.4g J/token, decode %.4g J/token, %u W idle among it\n",
		(double)(p->sram_read + d->sram_read) / 1048576,
		(double)(p->sram_written + d->sram_written) / 1048576, per_token(joules(r, p), p),
		per_token(joules(r, d), d), r->attrs->idle_watts * r->timing->cards);
	if (r->timing->card)
		print_cards(r, f);
}

static void print_load(const struct zw_model_info *info, FILE *f)
{
	fprintf(f, "\nload: %.1f MiB of weights in %.3f s", (double)info->weight_bytes / 1048576,
		(double)info->load_ns * 1e-9);
	if (info->load_direct_bytes)
		fprintf(f, ", %.1f MiB past the page cache",
			(double)info->load_direct_bytes / 1048576);
	if (info->load_mapped_bytes)
		fprintf(f, ", %.1f MiB by the device from it",
			(double)info->load_mapped_bytes / 1048576);
	if (info->load_direct_refused)
		fprintf(f, ", O_DIRECT refused (%s)", strerror(info->load_direct_refused));
	fputc('\n', f);
}

void run_report_print(const struct run_report *r, FILE *f)
{
	const struct zw_ctx_stats *p = r->res->prefill, *d = r->res->decode;

	print_load(r->info, f);
	print_phase(f, "prefill", p, (double)r->res->prefill_ns * 1e-9);
	if (p->sparse_tokens)
		fprintf(f, "sparse attention: %llu of the prompt's tokens\n",
			(unsigned long long)p->sparse_tokens);
	print_phase(f, "decode", d, (double)r->res->decode_ns * 1e-9);
	if (r->res->drafted_tokens)
		fprintf(f,
			"drafts: %llu of %llu accepted = %.1f %%; simulated %.3f us for each of "
			"%llu "
			"generated tokens\n",
			(unsigned long long)r->res->accepted_tokens,
			(unsigned long long)r->res->drafted_tokens,
			100.0 * (double)r->res->accepted_tokens / (double)r->res->drafted_tokens,
			(double)d->sim_ps * 1e-6 / (double)r->res->generated_tokens,
			(unsigned long long)r->res->generated_tokens);
	fprintf(f,
		"moved: HBM %.2f MiB read, %.2f MiB written; PCIe %.2f MiB read, %.2f MiB "
		"written\n",
		(double)(p->hbm_read + d->hbm_read) / 1048576,
		(double)(p->hbm_written + d->hbm_written) / 1048576,
		(double)(p->sys_read + d->sys_read) / 1048576,
		(double)(p->sys_written + d->sys_written) / 1048576);
	if (r->timing)
		print_timing(r, f);
	if (r->chat)
		fprintf(f,
			"chat: %llu answers, %llu calls (%llu failed), %llu malformed calls, "
			"context of %llu "
			"tokens\n",
			(unsigned long long)r->chat->answers, (unsigned long long)r->chat->calls,
			(unsigned long long)r->chat->failed_calls,
			(unsigned long long)r->chat->bad_calls,
			(unsigned long long)r->chat->context);
	fprintf(f, "device: %s, profile %s, firmware %u.%u.%u; stopped by %s\n", r->attrs->spec,
		r->attrs->profile_name, ZW_FW_VERSION_MAJOR(r->attrs->fw_version),
		ZW_FW_VERSION_MINOR(r->attrs->fw_version),
		ZW_FW_VERSION_PATCH(r->attrs->fw_version), finish_name(r));
}

/* Seconds as doubles, bytes and counts as integers (exact up to 2^53). */
static cJSON *phase_json(const struct run_report *r, const struct zw_ctx_stats *s, double wall)
{
	cJSON *o = cJSON_CreateObject(), *busy = cJSON_CreateObject();
	double sim = (double)s->sim_ps * 1e-12;

	cJSON_AddNumberToObject(o, "tokens", (double)s->tokens);
	cJSON_AddNumberToObject(o, "sparse_tokens", (double)s->sparse_tokens);
	cJSON_AddNumberToObject(o, "wall_s", wall);
	cJSON_AddNumberToObject(o, "tokens_per_s", per_second(s->tokens, wall));
	cJSON_AddNumberToObject(o, "sim_s", sim);
	cJSON_AddNumberToObject(o, "sim_ps", (double)s->sim_ps);
	cJSON_AddNumberToObject(o, "sim_tokens_per_s", per_second(s->tokens, sim));
	cJSON_AddNumberToObject(o, "jobs", s->jobs);
	cJSON_AddNumberToObject(o, "packets", (double)s->packets);
	cJSON_AddNumberToObject(o, "hbm_read_bytes", (double)s->hbm_read);
	cJSON_AddNumberToObject(o, "hbm_written_bytes", (double)s->hbm_written);
	cJSON_AddNumberToObject(o, "sys_read_bytes", (double)s->sys_read);
	cJSON_AddNumberToObject(o, "sys_written_bytes", (double)s->sys_written);
	cJSON_AddNumberToObject(o, "sram_read_bytes", (double)s->sram_read);
	cJSON_AddNumberToObject(o, "sram_written_bytes", (double)s->sram_written);
	cJSON_AddNumberToObject(o, "energy_j", joules(r, s));
	cJSON_AddNumberToObject(o, "energy_idle_j", idle_joules(r, s));
	for (uint32_t e = 0; e < ZW_ENGINE_COUNT; e++) {
		if (strcmp(zw_engine_name(e), "reserved"))
			cJSON_AddNumberToObject(busy, zw_engine_name(e),
						(double)s->busy_ps[e] * 1e-12);
	}
	cJSON_AddItemToObject(o, "engine_busy_s", busy);
	return o;
}

static cJSON *draft_json(const struct zw_generate_result *res)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddNumberToObject(o, "drafted_tokens", (double)res->drafted_tokens);
	cJSON_AddNumberToObject(o, "accepted_tokens", (double)res->accepted_tokens);
	cJSON_AddNumberToObject(o, "sim_s_per_token",
				(double)res->decode->sim_ps * 1e-12 /
					(double)res->generated_tokens);
	return o;
}

/* Of one card; what the whole phase took is beside it. */
static cJSON *card_phase_json(const struct run_report *r, const struct zw_ctx_stats *s,
			      const struct zw_ctx_stats *all)
{
	cJSON *o = cJSON_CreateObject();
	double idle = (double)all->sim_ps * 1e-12 * r->attrs->idle_watts;

	cJSON_AddNumberToObject(o, "worked_s", (double)s->sim_ps * 1e-12);
	cJSON_AddNumberToObject(o, "worked_share", share(s, all));
	cJSON_AddNumberToObject(o, "packets", (double)s->packets);
	cJSON_AddNumberToObject(o, "hbm_read_bytes", (double)s->hbm_read);
	cJSON_AddNumberToObject(o, "hbm_written_bytes", (double)s->hbm_written);
	cJSON_AddNumberToObject(o, "sys_read_bytes", (double)s->sys_read);
	cJSON_AddNumberToObject(o, "sys_written_bytes", (double)s->sys_written);
	cJSON_AddNumberToObject(o, "energy_j", (double)s->energy_pj * 1e-12 + idle);
	return o;
}

static void add_cards(cJSON *o, const struct run_report *r)
{
	cJSON *list = cJSON_AddArrayToObject(o, "cards");

	for (uint32_t i = 0; i < r->timing->cards; i++) {
		const struct run_card_report *c = &r->timing->card[i];
		cJSON *card = cJSON_CreateObject();

		cJSON_AddNumberToObject(card, "first_layer", c->info->first_layer);
		cJSON_AddNumberToObject(card, "layers", c->info->num_layers);
		cJSON_AddNumberToObject(card, "weight_bytes", (double)c->info->weight_bytes);
		cJSON_AddNumberToObject(card, "kv_bytes", (double)c->kv_bytes);
		cJSON_AddNumberToObject(card, "context_bytes", (double)c->hbm_bytes);
		cJSON_AddItemToObject(card, "prefill",
				      card_phase_json(r, &c->prefill, r->res->prefill));
		cJSON_AddItemToObject(card, "decode",
				      card_phase_json(r, &c->decode, r->res->decode));
		cJSON_AddItemToArray(list, card);
	}
}

static void add_timing(cJSON *o, const struct run_timing_report *t)
{
	cJSON *timing = cJSON_AddObjectToObject(o, "timing");

	cJSON_AddNumberToObject(timing, "batch", t->batch);
	cJSON_AddNumberToObject(timing, "cards", t->cards);
	cJSON_AddNumberToObject(timing, "micro_batches", t->groups);
	cJSON_AddNumberToObject(timing, "context", t->context);
	cJSON_AddNumberToObject(timing, "first_token_s", (double)t->first_token_ps * 1e-12);
	cJSON_AddNumberToObject(timing, "kv_bytes", (double)t->kv_bytes);
}

static void add_chat(cJSON *o, const struct run_chat_stats *s)
{
	cJSON *chat = cJSON_AddObjectToObject(o, "chat");

	cJSON_AddNumberToObject(chat, "answers", (double)s->answers);
	cJSON_AddNumberToObject(chat, "calls", (double)s->calls);
	cJSON_AddNumberToObject(chat, "failed_calls", (double)s->failed_calls);
	cJSON_AddNumberToObject(chat, "malformed_calls", (double)s->bad_calls);
	cJSON_AddNumberToObject(chat, "context_tokens", (double)s->context);
	cJSON_AddNumberToObject(chat, "context_size", (double)s->context_size);
	cJSON_AddBoolToObject(chat, "unanswered", s->unanswered);
}

int run_report_write_json(const struct run_report *r, const char *path, struct zw_error *err)
{
	cJSON *o = cJSON_CreateObject(), *load = cJSON_CreateObject();
	const struct zw_ctx_stats *p = r->res->prefill, *d = r->res->decode;
	char fw[32];

	snprintf(fw, sizeof(fw), "%u.%u.%u", ZW_FW_VERSION_MAJOR(r->attrs->fw_version),
		 ZW_FW_VERSION_MINOR(r->attrs->fw_version),
		 ZW_FW_VERSION_PATCH(r->attrs->fw_version));
	json_add_text(o, "model", r->model_dir);
	cJSON_AddStringToObject(o, "device", r->attrs->spec);
	cJSON_AddStringToObject(o, "transport", r->attrs->transport_name);
	cJSON_AddStringToObject(o, "profile", r->attrs->profile_name);
	cJSON_AddStringToObject(o, "firmware", fw);
	cJSON_AddStringToObject(o, "finish", finish_name(r));
	cJSON_AddNumberToObject(o, "prompt_tokens", (double)r->res->prompt_tokens);
	cJSON_AddNumberToObject(o, "generated_tokens", (double)r->res->generated_tokens);
	cJSON_AddNumberToObject(load, "wall_s", (double)r->info->load_ns * 1e-9);
	cJSON_AddNumberToObject(load, "sim_s", (double)r->info->load_sim_ps * 1e-12);
	cJSON_AddNumberToObject(load, "direct_bytes", (double)r->info->load_direct_bytes);
	cJSON_AddNumberToObject(load, "mapped_bytes", (double)r->info->load_mapped_bytes);
	cJSON_AddNumberToObject(load, "direct_refused", r->info->load_direct_refused);
	cJSON_AddNumberToObject(load, "weight_bytes", (double)r->info->weight_bytes);
	cJSON_AddNumberToObject(load, "parameters", (double)r->info->parameters);
	cJSON_AddItemToObject(o, "load", load);
	cJSON_AddItemToObject(o, "prefill", phase_json(r, p, (double)r->res->prefill_ns * 1e-9));
	cJSON_AddItemToObject(o, "decode", phase_json(r, d, (double)r->res->decode_ns * 1e-9));
	if (r->timing)
		add_timing(o, r->timing);
	if (r->timing && r->timing->card)
		add_cards(o, r);
	if (r->chat)
		add_chat(o, r->chat);
	if (r->res->drafted_tokens)
		cJSON_AddItemToObject(o, "draft", draft_json(r->res));
	return json_write(o, path, err);
}
