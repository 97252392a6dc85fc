// SPDX-License-Identifier: MIT
/*
 * Chrome's trace events, "Trace Event Format" (JSON Object Format). Times there are microseconds; six digits behind the
 * point are picoseconds. Names are ours and need no escapes but for quotes and backslashes.
 */
#include <inttypes.h>

#include "trace_file.h"

static void text(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if ((unsigned char)*s >= ' ')
			fputc(*s, f);
	}
	fputc('"', f);
}

static void micros(FILE *f, const char *key, uint64_t ps)
{
	fprintf(f, ",\"%s\":%" PRIu64 ".%06" PRIu64, key, ps / 1000000, ps % 1000000);
}

static void json_begin(struct trace_file *t)
{
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
	      "{\"ph\":\"M\",\"name\":\"trace_config\",\"pid\":0,\"tid\":0,\"args\":{}}",
	      t->f);
}

static void meta(struct trace_file *t, const char *what, uint32_t pid, uint32_t track,
		 const char *name)
{
	fprintf(t->f,
		",\n{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32
		",\"args\":{\"name\":",
		what, pid, track);
	text(t->f, name);
	fputs("}}", t->f);
}

static void json_process(struct trace_file *t, uint32_t pid, const char *name)
{
	meta(t, "process_name", pid, 0, name);
}

static void json_track(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
		       uint32_t rank)
{
	meta(t, "thread_name", pid, track, name);
	fprintf(t->f,
		",\n{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":%" PRIu32
		",\"tid\":%" PRIu32 ",\"args\":{\"sort_index\":%" PRIu32 "}}",
		pid, track, rank);
}

static void head(struct trace_file *t, const char *ph, const char *name,
		 const struct trace_slice *s)
{
	fprintf(t->f, ",\n{\"ph\":\"%s\",\"cat\":\"zhenwu\",\"name\":", ph);
	text(t->f, name);
	fprintf(t->f, ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32, t->pid_of[s->track], s->track);
	micros(t->f, "ts", s->start_ps);
}

static void json_slice(struct trace_file *t, const struct trace_slice *s)
{
	head(t, "X", s->name, s);
	micros(t->f, "dur", s->end_ps - s->start_ps);
	fputs(",\"args\":{", t->f);
	for (size_t i = 0; i < s->num_args; i++) {
		if (i)
			fputc(',', t->f);
		text(t->f, s->args[i].name);
		fputc(':', t->f);
		if (s->args[i].text)
			text(t->f, s->args[i].text);
		else
			fprintf(t->f, "%" PRIu64, s->args[i].value);
	}
	fputs("}}", t->f);
	if (s->flow_from) {
		head(t, "s", "job", s);
		fprintf(t->f, ",\"id\":\"0x%" PRIx64 "\"}", s->flow_from);
	}
	if (s->flow_to) {
		head(t, "f", "job", s);
		fprintf(t->f, ",\"bp\":\"e\",\"id\":\"0x%" PRIx64 "\"}", s->flow_to);
	}
}

/* Counters of this form come to be with their first value. */
static void json_counter(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
			 const char *unit, uint32_t rank)
{
	(void)t;
	(void)pid;
	(void)track;
	(void)name;
	(void)unit;
	(void)rank;
}

static void json_value(struct trace_file *t, uint32_t track, uint64_t ps, uint64_t nano)
{
	fputs(",\n{\"ph\":\"C\",\"cat\":\"zhenwu\",\"name\":", t->f);
	text(t->f, t->counter);
	fprintf(t->f, ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32, t->pid_of[track], track);
	micros(t->f, "ts", ps);
	fputs(",\"args\":{", t->f);
	text(t->f, t->unit);
	fprintf(t->f, ":%" PRIu64 ".%09" PRIu64 "}}", nano / 1000000000, nano % 1000000000);
}

static void json_end(struct trace_file *t)
{
	fputs("\n]}\n", t->f);
}

const struct trace_form trace_json = {json_begin,   json_process, json_track, json_slice,
				      json_counter, json_value,   json_end};
