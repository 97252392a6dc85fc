// SPDX-License-Identifier: MIT
/* Events of the driver as the kernel prints them: "... 12.345678: zhenwu_job_run: dev=0000:00:03.0 queue=1 jobs=1-1 ...". */
#include "run_tracefs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INSTANCES "/sys/kernel/tracing/instances"
/* Of each CPU: some ten thousand events. */
#define BUFFER_KB "2048"

struct tracefs {
	char dir[160];
	char bus[32];
};

static FILE *open_file(const struct tracefs *t, const char *name, const char *mode)
{
	char path[224];

	snprintf(path, sizeof(path), "%s/%s", t->dir, name);
	return fopen(path, mode);
}

static int put(const struct tracefs *t, const char *name, const char *text)
{
	FILE *f = open_file(t, name, "we");
	int ret;

	if (!f)
		return -errno;
	ret = fputs(text, f) < 0 ? -EIO : 0;
	return fclose(f) ? -errno : ret;
}

/*
 * The namespace of this process's pids, which a name has to tell, too: who is gone here may live in another. 0: it is not
 * known.
 */
static unsigned long long pid_namespace(void)
{
	unsigned long long ns;
	char text[64];
	ssize_t n = readlink("/proc/self/ns/pid", text, sizeof(text) - 1);

	if (n < 0)
		return 0;
	text[n] = '\0';
	return sscanf(text, "pid:[%llu]", &ns) == 1 ? ns : 0;
}

/* The file name of an instance. */
static void instance_name(char *buf, size_t len, const char *tool, long pid)
{
	snprintf(buf, len, "%s-%llu-%ld", tool, pid_namespace(), pid);
}

void tracefs_sweep(const char *instances, const char *tool)
{
	size_t len = strlen(tool);
	char name[96], path[512];
	struct dirent *e;
	DIR *dir = opendir(instances);

	while (dir && (e = readdir(dir))) {
		const char *dash = strrchr(e->d_name, '-');
		long pid;

		if (!dash || strncmp(e->d_name, tool, len) || e->d_name[len] != '-')
			continue;
		pid = strtol(dash + 1, NULL, 10);
		instance_name(name, sizeof(name), tool, pid);
		if (pid <= 0 || strcmp(name, e->d_name) || !kill((pid_t)pid, 0) || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "%s/%s", instances, e->d_name);
		rmdir(path);
	}
	if (dir)
		closedir(dir);
}

struct tracefs *tracefs_begin(const char *tool, const char *bus, const char **why)
{
	struct tracefs *t = calloc(1, sizeof(*t));
	char name[96];
	int ret;

	if (!t) {
		*why = strerror(ENOMEM);
		return NULL;
	}
	tracefs_sweep(INSTANCES, tool);
	instance_name(name, sizeof(name), tool, getpid());
	snprintf(t->dir, sizeof(t->dir), INSTANCES "/%s", name);
	snprintf(t->bus, sizeof(t->bus), "%s", bus);
	ret = mkdir(t->dir, 0700) ? -errno : 0;
	if (ret) {
		*why = ret == -EACCES || ret == -EPERM ? "tracefs is for root" : "no tracefs";
		free(t);
		return NULL;
	}
	/* What the clock of the host's other tracks is. */
	ret = put(t, "trace_clock", "mono");
	if (!ret)
		ret = put(t, "buffer_size_kb", BUFFER_KB);
	if (!ret)
		ret = put(t, "events/zhenwu/enable", "1");
	if (ret) {
		*why = "the kernel has no events of the driver";
		rmdir(t->dir);
		free(t);
		return NULL;
	}
	return t;
}

/* "12.345678" that ends at `end`; false: there is none. */
static bool parse_time(const char *line, const char *end, uint64_t *ns)
{
	const char *p = end;
	uint64_t s, us;
	char *q;

	while (p > line && p[-1] != ' ')
		p--;
	s = strtoull(p, &q, 10);
	if (q == p || *q != '.')
		return false;
	us = strtoull(q + 1, &q, 10);
	if (q != end)
		return false;
	*ns = s * 1000000000u + us * 1000u;
	return true;
}

/* "key=value ..."; cuts it up. */
static void parse_args(char *text, struct tracefs_event *e, const char **dev)
{
	char *save, *end;

	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		char *eq = strchr(word, '=');
		struct trace_arg *a = &e->args[e->num_args];

		if (!eq)
			continue;
		*eq++ = '\0';
		if (!strcmp(word, "dev")) {
			*dev = eq;
			continue;
		}
		if (e->num_args == TRACEFS_MAX_ARGS)
			continue;
		*a = (struct trace_arg){.name = word, .value = strtoull(eq, &end, 0)};
		/* Negative ones, runs of jobs, fences. */
		if (*end || *eq == '-' || end == eq)
			*a = (struct trace_arg){.name = word, .text = eq};
		e->num_args++;
	}
}

/* A line of the file; false: it is no event of the device. */
static bool parse(const struct tracefs *t, char *line, struct tracefs_event *e)
{
	char *at = strstr(line, ": zhenwu_"), *name, *end;
	const char *dev = "";

	if (!at || !parse_time(line, at, &e->ns))
		return false;
	name = at + 2;
	end = strchr(name, ':');
	if (!end)
		return false;
	*end = '\0';
	e->name = name;
	e->num_args = 0;
	parse_args(end + 1, e, &dev);
	return !strcmp(dev, t->bus);
}

/* "# entries-in-buffer/entries-written: 10/12   #P:2" */
static uint64_t parse_lost(const char *line)
{
	const char *at = strstr(line, "entries-written: ");
	unsigned long long there, written;

	if (!at || sscanf(at, "entries-written: %llu/%llu", &there, &written) != 2)
		return 0;
	return written - there;
}

uint64_t tracefs_end(struct tracefs *t, void (*event)(void *opaque, const struct tracefs_event *e),
		     void *opaque)
{
	struct tracefs_event e;
	char *line = NULL;
	size_t cap = 0;
	uint64_t lost = 0;
	FILE *f;

	if (!t)
		return 0;
	put(t, "events/zhenwu/enable", "0");
	f = open_file(t, "trace", "re");
	while (f && getline(&line, &cap, f) > 0) {
		if (*line == '#')
			lost += parse_lost(line);
		else if (parse(t, line, &e))
			event(opaque, &e);
	}
	free(line);
	if (f)
		fclose(f);
	rmdir(t->dir);
	free(t);
	return lost;
}
