// SPDX-License-Identifier: MIT
#include "trace_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int trace_file_open(const char *path, struct trace_file **out)
{
	struct trace_file *t = calloc(1, sizeof(*t));
	size_t len = strlen(path);
	int ret;

	*out = NULL;
	if (!t)
		return -ENOMEM;
	t->form = len >= 5 && !strcmp(path + len - 5, ".json") ? &trace_json : &trace_proto;
	t->f = fopen(path, "we");
	if (!t->f) {
		ret = -errno;
		free(t);
		return ret;
	}
	t->form->begin(t);
	*out = t;
	return 0;
}

void trace_file_process(struct trace_file *t, uint32_t pid, const char *name)
{
	t->form->process(t, pid, name);
}

void trace_file_track(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
		      uint32_t rank)
{
	if (track >= TRACE_MAX_TRACKS || t->pid_of[track])
		return;
	t->pid_of[track] = pid;
	t->form->track(t, pid, track, name, rank);
}

void trace_file_slice(struct trace_file *t, const struct trace_slice *s)
{
	if (!t->error)
		t->form->slice(t, s);
	if (!t->error && ferror(t->f))
		t->error = errno ? -errno : -EIO;
}

void trace_file_counter(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
			const char *unit, uint32_t rank)
{
	if (track >= TRACE_MAX_TRACKS || t->pid_of[track])
		return;
	t->pid_of[track] = pid;
	t->counter = name;
	t->unit = unit;
	t->form->counter(t, pid, track, name, unit, rank);
}

void trace_file_value(struct trace_file *t, uint32_t track, uint64_t ps, uint64_t nano)
{
	if (!t->error)
		t->form->value(t, track, ps, nano);
	if (!t->error && ferror(t->f))
		t->error = errno ? -errno : -EIO;
}

int trace_file_close(struct trace_file *t)
{
	int ret;

	if (!t)
		return 0;
	if (!t->error)
		t->form->end(t);
	errno = 0;
	if (fclose(t->f) && !t->error)
		t->error = errno ? -errno : -EIO;
	ret = t->error;
	free(t->priv);
	free(t);
	return ret;
}
