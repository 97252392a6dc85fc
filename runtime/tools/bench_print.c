// SPDX-License-Identifier: MIT
#include "bench_print.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "json_text.h"

struct summary {
	double avg_ns, stddev_ns;
	double avg_ts, stddev_ts;
	double sim_ns, sim_ts; /* of the first run: simulated time is the same in all */
};

static double tokens_of(const struct bench_test *t)
{
	return (double)t->seqs * (t->prompt + t->gen);
}

static void mean(const double *v, uint32_t n, double *avg, double *stddev)
{
	double sum = 0, squares = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += v[i];
	*avg = sum / n;
	for (uint32_t i = 0; i < n; i++)
		squares += (v[i] - *avg) * (v[i] - *avg);
	*stddev = n > 1 ? sqrt(squares / (n - 1)) : 0;
}

static double rate(const struct bench_record *r, uint32_t run)
{
	return tokens_of(r->test) / ((double)r->samples[run].ns * 1e-9);
}

static struct summary summarise(const struct bench_record *r)
{
	uint32_t n = r->test->runs;
	double *v = calloc(n, sizeof(*v));
	struct summary s = {0};

	if (v) {
		for (uint32_t i = 0; i < n; i++)
			v[i] = (double)r->samples[i].ns;
		mean(v, n, &s.avg_ns, &s.stddev_ns);
		for (uint32_t i = 0; i < n; i++)
			v[i] = rate(r, i);
		mean(v, n, &s.avg_ts, &s.stddev_ts);
	}
	free(v);
	s.sim_ns = (double)r->samples[0].sim_ps * 1e-3;
	s.sim_ts = s.sim_ns > 0 ? tokens_of(r->test) / (s.sim_ns * 1e-9) : 0;
	return s;
}

static const char *base_name(const char *path, char *out, size_t size)
{
	size_t len = strlen(path), start;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (start = len; start && path[start - 1] != '/'; start--)
		;
	snprintf(out, size, "%.*s", (int)(len - start), path + start);
	return out;
}

/* ---- table ---- */

static void table_head(const struct bench_output *o)
{
	fprintf(o->f, "| %-24s | %10s | %10s | %-7s | %-7s |%s%s %15s | %20s | %15s |\n", "model",
		"size", "params", "backend", "profile", o->with_batch ? " n_batch |" : "",
		o->with_seqs ? " n_seqs |" : "", "test", "t/s", "sim t/s");
	fprintf(o->f, "| %s | %s | %s | %s | %s |%s%s %s | %s | %s |\n", "------------------------",
		"---------:", "---------:", "-------", "-------", o->with_batch ? " ------: |" : "",
		o->with_seqs ? " -----: |" : "",
		"--------------:", "-------------------:", "--------------:");
}

static void print_row(const struct bench_output *o, const struct bench_record *r)
{
	const struct bench_test *t = r->test;
	struct summary s = summarise(r);
	char name[64], test[48], size[24], params[24], speed[48];
	double bytes = (double)r->info->weight_bytes, n = (double)r->info->parameters;

	base_name(r->model, name, sizeof(name));
	snprintf(test, sizeof(test), "%s%u", t->prompt ? "pp" : "tg",
		 t->prompt ? t->prompt : t->gen);
	if (t->depth)
		snprintf(test + strlen(test), sizeof(test) - strlen(test), " @ d%u", t->depth);
	if (t->delta_chunked)
		snprintf(test + strlen(test), sizeof(test) - strlen(test), " chunked");
	snprintf(size, sizeof(size), bytes < 1 << 30 ? "%.2f MiB" : "%.2f GiB",
		 bytes / (bytes < 1 << 30 ? 1 << 20 : 1 << 30));
	snprintf(params, sizeof(params), n < 1e9 ? "%.2f M" : "%.2f B", n / (n < 1e9 ? 1e6 : 1e9));
	snprintf(speed, sizeof(speed), "%.2f ± %.2f", s.avg_ts, s.stddev_ts);
	fprintf(o->f, "| %-24s | %10s | %10s | %-7s | %-7s |", name, size, params,
		r->attrs->transport_name, r->attrs->profile_name);
	if (o->with_batch)
		fprintf(o->f, " %7u |", t->batch);
	if (o->with_seqs)
		fprintf(o->f, " %6u |", t->seqs);
	/* The sign is two bytes wide and one character. */
	fprintf(o->f, " %15s | %21s | %15.2f |\n", test, speed, s.sim_ts);
}

/* ---- records ---- */

static cJSON *record(const struct bench_record *r)
{
	const struct bench_test *t = r->test;
	struct summary s = summarise(r);
	cJSON *o = cJSON_CreateObject(), *ns, *ts;

	json_add_text(o, "model_filename", r->model);
	cJSON_AddStringToObject(o, "model_type", r->info->model_type);
	cJSON_AddNumberToObject(o, "model_size", (double)r->info->weight_bytes);
	cJSON_AddNumberToObject(o, "model_n_params", (double)r->info->parameters);
	cJSON_AddStringToObject(o, "backends", r->attrs->transport_name);
	cJSON_AddStringToObject(o, "profile", r->attrs->profile_name);
	cJSON_AddNumberToObject(o, "n_batch", t->batch);
	cJSON_AddNumberToObject(o, "n_seqs", t->seqs);
	cJSON_AddNumberToObject(o, "delta_chunked", t->delta_chunked);
	cJSON_AddNumberToObject(o, "n_prompt", t->prompt);
	cJSON_AddNumberToObject(o, "n_gen", t->gen);
	cJSON_AddNumberToObject(o, "n_depth", t->depth);
	if (t->sparse.kind)
		cJSON_AddStringToObject(o, "sparse", tool_sparse_name(&t->sparse));
	cJSON_AddStringToObject(o, "test_time", r->time);
	cJSON_AddNumberToObject(o, "avg_ns", round(s.avg_ns));
	cJSON_AddNumberToObject(o, "stddev_ns", round(s.stddev_ns));
	cJSON_AddNumberToObject(o, "avg_ts", s.avg_ts);
	cJSON_AddNumberToObject(o, "stddev_ts", s.stddev_ts);
	cJSON_AddNumberToObject(o, "sim_ns", s.sim_ns);
	cJSON_AddNumberToObject(o, "sim_ts", s.sim_ts);
	ns = cJSON_AddArrayToObject(o, "samples_ns");
	ts = cJSON_AddArrayToObject(o, "samples_ts");
	for (uint32_t i = 0; i < t->runs; i++) {
		cJSON_AddItemToArray(ns, cJSON_CreateNumber((double)r->samples[i].ns));
		cJSON_AddItemToArray(ts, cJSON_CreateNumber(rate(r, i)));
	}
	return o;
}

/* Quoted where it must be, quotes doubled (RFC 4180). */
static void csv_field(FILE *f, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, f);
		return;
	}
	fputc('"', f);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', f);
		fputc(*text, f);
	}
	fputc('"', f);
}

/* The columns of CSV are the keys of a record, but for the lists. */
static void csv_row(FILE *f, const cJSON *o, bool names)
{
	const cJSON *it;
	bool first = true;

	cJSON_ArrayForEach(it, o)
	{
		if (cJSON_IsArray(it))
			continue;
		if (!first)
			fputc(',', f);
		first = false;
		if (names)
			csv_field(f, it->string);
		else if (cJSON_IsString(it))
			csv_field(f, it->valuestring);
		else
			fprintf(f, "%.15g", it->valuedouble);
	}
	fputc('\n', f);
}

void bench_begin(struct bench_output *o)
{
	if (o->format == BENCH_MD)
		table_head(o);
	else if (o->format == BENCH_JSON)
		fputs("[", o->f);
}

void bench_print(struct bench_output *o, const struct bench_record *r)
{
	cJSON *json;
	char *text;

	o->records++;
	if (o->format == BENCH_MD) {
		print_row(o, r);
		fflush(o->f);
		return;
	}
	json = record(r);
	if (o->format == BENCH_CSV) {
		if (o->records == 1)
			csv_row(o->f, json, true);
		csv_row(o->f, json, false);
	} else {
		text = o->format == BENCH_JSON ? cJSON_Print(json) : cJSON_PrintUnformatted(json);
		if (o->format == BENCH_JSON)
			fputs(o->records > 1 ? ",\n" : "\n", o->f);
		fputs(text ? text : "", o->f);
		if (o->format == BENCH_JSONL)
			fputc('\n', o->f);
		cJSON_free(text);
	}
	cJSON_Delete(json);
	fflush(o->f);
}

void bench_end(struct bench_output *o)
{
	if (o->format == BENCH_JSON)
		fputs("\n]\n", o->f);
}
