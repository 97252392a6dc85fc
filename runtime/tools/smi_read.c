// SPDX-License-Identifier: MIT
/* zw-smi: devices and processes out of sysfs and /proc. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "smi.h"

/* The start of a file, without the end of its first line when `line`. Bytes, or -errno. */
static int read_file(const char *dir, const char *name, char *out, size_t len, bool line)
{
	char path[1024];
	ssize_t n;
	int fd;

	*out = '\0';
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, out, len - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	out[n > 0 ? n : 0] = '\0';
	if (line)
		out[strcspn(out, "\n")] = '\0';
	return (int)n;
}

/* Text of a line; control characters of whoever wrote it do not reach a terminal. */
static void read_text(const char *dir, const char *name, char out[SMI_TEXT])
{
	if (read_file(dir, name, out, SMI_TEXT, true) < 0)
		*out = '\0';
	for (char *c = out; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

static struct smi_i64 read_i64(const char *dir, const char *name)
{
	char text[SMI_TEXT], *end;
	struct smi_i64 r = {0};

	if (read_file(dir, name, text, sizeof(text), true) <= 0)
		return r;
	errno = 0;
	r.v = strtoll(text, &end, 10);
	r.have = end != text && !*end && !errno;
	return r;
}

static struct smi_u64 read_u64(const char *dir, const char *name)
{
	char text[SMI_TEXT], *end;
	struct smi_u64 r = {0};

	if (read_file(dir, name, text, sizeof(text), true) <= 0 || *text == '-')
		return r;
	errno = 0;
	r.v = strtoull(text, &end, 10);
	r.have = end != text && !*end && !errno;
	return r;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* -- devices ---------------------------------------------------------------------------------- */

static void read_sensors(struct smi_device *d)
{
	char dir[600], sensor[900], name[SMI_TEXT];
	struct dirent *e;
	DIR *list;

	snprintf(dir, sizeof(dir), "%s/hwmon", d->path);
	list = opendir(dir);
	if (!list)
		return;
	while ((e = readdir(list))) {
		snprintf(sensor, sizeof(sensor), "%s/%s", dir, e->d_name);
		read_text(sensor, "name", name);
		if (strcmp(name, "zhenwu"))
			continue;
		d->temperature_mc = read_i64(sensor, "temp1_input");
		d->power_uw = read_u64(sensor, "power1_average");
		d->cap_uw = read_u64(sensor, "power1_cap");
		d->energy_uj = read_u64(sensor, "energy1_input");
		break;
	}
	closedir(list);
}

/* False when it is not one of ours. */
static bool read_identity(struct smi_device *d)
{
	char text[1024], *at;

	if (read_file(d->path, "uevent", text, sizeof(text), false) < 0)
		return false;
	at = strstr(text, "DRIVER=");
	if (!at || (at != text && at[-1] != '\n') || strncmp(at, "DRIVER=zhenwu\n", 14))
		return false;
	at = strstr(text, "PCI_SLOT_NAME=");
	if (at)
		snprintf(d->bdf, sizeof(d->bdf), "%.*s", (int)strcspn(at + 14, "\n"), at + 14);
	read_text(d->path, "uuid", d->uuid);
	return true;
}

static void read_device(struct smi_device *d)
{
	read_text(d->path, "profile", d->profile);
	read_text(d->path, "health", d->health);
	read_text(d->path, "driver_version", d->driver_version);
	read_text(d->path, "fw_version", d->fw_version);
	read_text(d->path, "abi_version", d->abi_version);
	read_text(d->path, "current_link_speed", d->link_speed);
	d->link_width = read_u64(d->path, "current_link_width");
	d->numa_node = read_u64(d->path, "numa_node");
	d->hbm_total = read_u64(d->path, "hbm_total");
	d->hbm_used = read_u64(d->path, "hbm_used");
	d->busy_us = read_u64(d->path, "busy_time_us");
	d->time_ns = now_ns();
	d->resets = read_u64(d->path, "reset_count");
	d->links = read_u64(d->path, "num_links");
	d->ecc_corrected = read_u64(d->path, "ras/corrected");
	d->ecc_uncorrectable = read_u64(d->path, "ras/uncorrectable");
	d->retired_pages = read_u64(d->path, "ras/retired_pages");
	read_sensors(d);
}

static bool is_wanted(const struct smi_device *d, const char *which)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", d->index);
	return !which || !strcmp(which, number) || !strcmp(which, d->bdf) ||
	       (*d->uuid && !strcmp(which, d->uuid));
}

static int by_index(const void *a, const void *b)
{
	const struct smi_device *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static int read_devices(const char *root, const char *which, struct smi_snapshot *s)
{
	char dir[256];
	struct dirent *e;
	DIR *list;

	if ((size_t)snprintf(dir, sizeof(dir), "%s/sys/class/accel", root) >= sizeof(dir))
		return -ENAMETOOLONG;
	list = opendir(dir);
	if (!list)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(list)) && s->num_devices < SMI_MAX_DEVICES) {
		struct smi_device *d = &s->devices[s->num_devices];
		char *end;

		memset(d, 0, sizeof(*d));
		if (strncmp(e->d_name, "accel", 5) || !isdigit((unsigned char)e->d_name[5]))
			continue;
		d->index = (unsigned int)strtoul(e->d_name + 5, &end, 10);
		if (*end)
			continue;
		snprintf(d->path, sizeof(d->path), "%s/%.200s/device", dir, e->d_name);
		if (!read_identity(d) || !is_wanted(d, which))
			continue;
		read_device(d);
		s->num_devices++;
	}
	closedir(list);
	qsort(s->devices, s->num_devices, sizeof(s->devices[0]), by_index);
	return 0;
}

/* -- processes -------------------------------------------------------------------------------- */

struct client {
	uint64_t id;
	char bdf[32];
	uint64_t busy_ns, device_ns, jobs, hbm, memory;
};

/* Clients of one process that were counted: a file may be open under many numbers. */
struct seen {
	size_t num, room;
	struct client *clients;
};

static uint64_t with_unit(const char *text)
{
	char *unit;
	uint64_t v = strtoull(text, &unit, 10);

	if (!strncmp(unit, " KiB", 4))
		return v << 10;
	if (!strncmp(unit, " MiB", 4))
		return v << 20;
	return v;
}

/* False when it is not a file of this driver. */
static bool parse_fdinfo(char *text, struct client *c)
{
	static const struct {
		const char *key;
		size_t offset;
	} keys[] = {
		{"drm-client-id:", offsetof(struct client, id)},
		{"drm-engine-compute:", offsetof(struct client, busy_ns)},
		{"zhenwu-device-compute:", offsetof(struct client, device_ns)},
		{"zhenwu-jobs:", offsetof(struct client, jobs)},
		{"drm-total-hbm:", offsetof(struct client, hbm)},
		{"drm-total-memory:", offsetof(struct client, memory)},
	};
	bool ours = false;
	char *save = NULL;

	*c = (struct client){0};
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ':');

		if (!value)
			continue;
		value += 1 + strspn(value + 1, " \t");
		if (!strncmp(line, "drm-driver:", 11))
			ours = !strcmp(value, "zhenwu");
		else if (!strncmp(line, "drm-pdev:", 9))
			snprintf(c->bdf, sizeof(c->bdf), "%s", value);
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if (!strncmp(line, keys[i].key, strlen(keys[i].key)))
				*(uint64_t *)((char *)c + keys[i].offset) = with_unit(value);
	}
	return ours;
}

/* False without memory. */
static bool note_client(struct seen *seen, const struct client *c)
{
	for (size_t i = 0; i < seen->num; i++)
		if (seen->clients[i].id == c->id && !strcmp(seen->clients[i].bdf, c->bdf))
			return true;
	if (seen->num == seen->room) {
		size_t room = seen->room ? 2 * seen->room : 16;
		struct client *grown = realloc(seen->clients, room * sizeof(*grown));

		if (!grown)
			return false;
		seen->clients = grown;
		seen->room = room;
	}
	seen->clients[seen->num++] = *c;
	return true;
}

static bool shown(const struct smi_snapshot *s, const char *bdf)
{
	for (size_t i = 0; i < s->num_devices; i++)
		if (!strcmp(s->devices[i].bdf, bdf))
			return true;
	return false;
}

/* One entry per device of the process. */
static bool add_process(struct smi_snapshot *s, const char *dir, uint32_t pid,
			const struct seen *seen)
{
	size_t first = s->num_processes;

	for (size_t i = 0; i < seen->num; i++) {
		const struct client *c = &seen->clients[i];
		struct smi_process *p = NULL;

		if (!shown(s, c->bdf))
			continue;
		for (size_t j = first; j < s->num_processes; j++)
			if (!strcmp(s->processes[j].bdf, c->bdf))
				p = &s->processes[j];
		if (!p) {
			p = realloc(s->processes, (s->num_processes + 1) * sizeof(*p));
			if (!p)
				return false;
			s->processes = p;
			p += s->num_processes++;
			*p = (struct smi_process){.pid = pid};
			memcpy(p->bdf, c->bdf, sizeof(p->bdf));
			read_text(dir, "comm", p->name);
		}
		p->busy_ns += c->busy_ns;
		p->device_ns += c->device_ns;
		p->jobs += c->jobs;
		p->hbm += c->hbm;
		p->memory += c->memory;
	}
	return true;
}

/* Processes come and go meanwhile, and not all may be looked into: what cannot be read is not there. */
static int read_process(struct smi_snapshot *s, const char *proc, const char *name)
{
	char dir[600], fds[620], text[4096];
	struct seen seen = {0};
	struct dirent *e;
	struct client c;
	bool ok = true;
	DIR *list;

	snprintf(dir, sizeof(dir), "%s/%.40s", proc, name);
	snprintf(fds, sizeof(fds), "%s/fdinfo", dir);
	list = opendir(fds);
	if (!list)
		return 0;
	while (ok && (e = readdir(list)))
		if (isdigit((unsigned char)e->d_name[0]) &&
		    read_file(fds, e->d_name, text, sizeof(text), false) > 0 &&
		    parse_fdinfo(text, &c))
			ok = note_client(&seen, &c);
	closedir(list);
	if (ok)
		ok = add_process(s, dir, (uint32_t)strtoul(name, NULL, 10), &seen);
	free(seen.clients);
	return ok ? 0 : -ENOMEM;
}

static int by_pid(const void *a, const void *b)
{
	const struct smi_process *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return strcmp(x->bdf, y->bdf);
}

static int read_processes(const char *root, struct smi_snapshot *s)
{
	struct dirent *e;
	char proc[256];
	int ret = 0;
	DIR *list;

	if (!s->num_devices)
		return 0;
	snprintf(proc, sizeof(proc), "%s/proc", root);
	list = opendir(proc);
	if (!list)
		return 0;
	while (!ret && (e = readdir(list)))
		if (isdigit((unsigned char)e->d_name[0]))
			ret = read_process(s, proc, e->d_name);
	closedir(list);
	if (s->num_processes)
		qsort(s->processes, s->num_processes, sizeof(s->processes[0]), by_pid);
	return ret;
}

/* -- snapshots -------------------------------------------------------------------------------- */

int smi_read(const char *root, const char *which, struct smi_snapshot *s)
{
	int ret;

	memset(s, 0, sizeof(*s));
	ret = read_devices(root, which, s);
	s->time_ns = now_ns();
	return ret ? ret : read_processes(root, s);
}

void smi_free(struct smi_snapshot *s)
{
	free(s->processes);
	s->processes = NULL;
	s->num_processes = 0;
}

static struct smi_u64 permille(uint64_t before, uint64_t now, uint64_t passed_ns)
{
	struct smi_u64 r = {.have = now >= before && passed_ns};

	if (r.have)
		r.v = (uint64_t)((double)(now - before) * 1000.0 / (double)passed_ns + 0.5);
	/* Clocks are not read at one and the same moment. */
	if (r.v > 1000)
		r.v = 1000;
	return r;
}

void smi_rates(const struct smi_snapshot *before, struct smi_snapshot *s)
{
	uint64_t passed = s->time_ns - before->time_ns;

	for (size_t i = 0; i < s->num_devices; i++) {
		struct smi_device *d = &s->devices[i];

		for (size_t j = 0; j < before->num_devices; j++) {
			const struct smi_device *b = &before->devices[j];

			if (!strcmp(b->bdf, d->bdf) && b->busy_us.have && d->busy_us.have)
				d->busy_permille =
					permille(b->busy_us.v * 1000, d->busy_us.v * 1000,
						 d->time_ns - b->time_ns);
		}
	}
	for (size_t i = 0; i < s->num_processes; i++) {
		struct smi_process *p = &s->processes[i];

		for (size_t j = 0; j < before->num_processes; j++) {
			const struct smi_process *b = &before->processes[j];

			if (b->pid == p->pid && !strcmp(b->bdf, p->bdf))
				p->busy_permille = permille(b->busy_ns, p->busy_ns, passed);
		}
	}
}

int smi_read_rates(const char *root, const char *which, unsigned int period_ms,
		   struct smi_snapshot *s)
{
	struct timespec ts = {period_ms / 1000, (long)(period_ms % 1000) * 1000000};
	static struct smi_snapshot before;
	int ret;

	if (!period_ms)
		return smi_read(root, which, s);
	memset(s, 0, sizeof(*s));
	ret = smi_read(root, which, &before);
	if (!ret) {
		nanosleep(&ts, NULL);
		ret = smi_read(root, which, s);
	}
	if (!ret)
		smi_rates(&before, s);
	smi_free(&before);
	return ret;
}
