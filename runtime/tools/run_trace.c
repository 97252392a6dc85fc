// SPDX-License-Identifier: MIT
/*
 * Records of a device as tracks. Slices of a track are written in the order of their begins, so the packets of jobs are
 * kept until no job is open: what comes then is later.
 */
#include "run_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zhenwu/llm_tag.h>
#include <zhenwu/zw_regs.h>

#include "run_chakra.h"
#include "run_power.h"
#include "run_tracefs.h"
#include "tool_interrupt.h"
#include "trace_file.h"

#define TAKE 1024u /* records at once */

enum { PID_DEVICE = 1, PID_HOST = 2 }; /* the second card is PID_HOST + 1, and so on */

/* Tracks: of the process, of the device, and some for each queue. */
enum {
	TRACK_STEPS = 1,
	TRACK_POWER = 2,
	TRACK_DRIVER = 3,
	TRACK_PORT = 4,                               /* + enum zw_trace_port_id */
	TRACK_ENGINE = TRACK_PORT + ZW_TRACE_PORTS,   /* + enum zw_engine */
	TRACK_QUEUES = TRACK_ENGINE + ZW_ENGINE_COUNT /* + QUEUE_TRACKS * queue + ... */
};
enum { QUEUE_JOBS, QUEUE_DONE, QUEUE_LAYERS, QUEUE_PARTS, QUEUE_SUBMITS, QUEUE_SEEN, QUEUE_TRACKS };
#define NUM_TRACKS (TRACK_QUEUES + QUEUE_TRACKS * ZW_MAX_QUEUES) /* of the first card */

/* A flow is of a job, once by each clock. */
enum { FLOW_DEVICE = 1, FLOW_HOST = 2 };

/* Numbers of queues are used again; with how often that was so far a queue has a name of its own. */
struct uses {
	uint32_t generation;
	uint64_t last_job;
};

/* From `from_ps` by the device's clock on its records are `later_ps` later by the clock of all cards. */
struct shift {
	uint64_t from_ps;
	int64_t later_ps;
};

struct run_trace {
	const char *tool, *path;
	/* Of several cards each has one; all write to the file of the first, which is the one that callers have. */
	struct run_trace *first, *next;
	uint32_t card, cards, pid;
	uint32_t *track;     /* of the others: their tracks' numbers in the file, 0: none yet */
	uint32_t num_tracks; /* of the first: numbers given away */
	struct shift *shift; /* in order */
	size_t num_shifts, cap_shifts;
	struct trace_file *f; /* NULL: a Chakra trace, which has no tracks */
	FILE *et;
	struct chakra *chakra;
	struct zw_dev *dev;
	struct zw_dev_attrs attrs;
	struct zw_trace_record *rec; /* of open jobs, and of those that ended meanwhile */
	size_t n, cap;
	struct uses device_uses[ZW_MAX_QUEUES], host_uses[ZW_MAX_QUEUES];
	uint32_t open_jobs;
	struct power *power;
	struct tracefs *driver; /* NULL: no track of the driver */
	uint64_t lost;
	uint64_t base_ns; /* time 0 of this process's tracks */
	uint64_t step_ns; /* the last step's end */
	int error;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int open_file(struct run_trace *t, const char *path)
{
	size_t len = strlen(path);

	if (len < 3 || strcmp(path + len - 3, ".et"))
		return trace_file_open(path, &t->f);
	t->et = fopen(path, "we");
	return t->et ? 0 : -errno;
}

int run_trace_open(const char *tool, const char *path, struct run_trace **out)
{
	struct run_trace *t = calloc(1, sizeof(*t));
	int ret = t ? open_file(t, path) : -ENOMEM;
	char name[64];

	*out = NULL;
	if (ret) {
		fprintf(stderr, "%s: %s: %s\n", tool, path, strerror(-ret));
		free(t);
		return ret;
	}
	t->tool = tool;
	t->path = path;
	t->first = t;
	t->cards = 1;
	t->pid = PID_DEVICE;
	t->num_tracks = NUM_TRACKS;
	snprintf(name, sizeof(name), "%s (clock of the host)", tool);
	t->base_ns = t->step_ns = now_ns();
	if (t->f) {
		trace_file_process(t->f, PID_HOST, name);
		trace_file_track(t->f, PID_HOST, TRACK_STEPS, "steps", 0);
	}
	*out = t;
	return 0;
}

/* The PCI address of a device of the driver; empty: it is none. */
static void find_bus(const char *spec, char bus[32])
{
	struct zw_dev_entry list[64];
	int n = zw_dev_list(list, 64, sizeof(list[0]));

	*bus = '\0';
	for (int i = 0; i < n && i < 64; i++)
		if (!strcmp(list[i].spec, spec))
			memcpy(bus, list[i].bus, sizeof(list[i].bus));
}

/* Where the kernel lets us see them. */
static void begin_driver(struct run_trace *t)
{
	const char *why = "its PCI address is not known";
	char bus[32];

	if (t->attrs.transport != ZW_TRANSPORT_DRM)
		return;
	find_bus(t->attrs.spec, bus);
	if (*bus)
		t->driver = tracefs_begin(t->tool, bus, &why);
	if (!t->driver)
		fprintf(stderr, "%s: %s: no track of the driver: %s\n", t->tool, t->path, why);
}

static void write_driver_event(void *opaque, const struct tracefs_event *e)
{
	struct run_trace *t = opaque;
	uint64_t ps = e->ns > t->base_ns ? (e->ns - t->base_ns) * 1000 : 0;

	trace_file_slice(t->f, &(struct trace_slice){TRACK_DRIVER, e->name, ps, ps, e->args,
						     e->num_args, 0, 0});
}

static void end_driver(struct run_trace *t)
{
	uint64_t lost;

	if (!t->driver)
		return;
	trace_file_track(t->f, PID_HOST, TRACK_DRIVER, "driver", 0);
	lost = tracefs_end(t->driver, write_driver_event, t);
	t->driver = NULL;
	if (lost)
		fprintf(stderr, "%s: %s: %" PRIu64 " events of the driver were lost\n", t->tool,
			t->path, lost);
}

/* The number of a track in the file. */
static uint32_t track(struct run_trace *t, uint32_t own)
{
	if (!t->track)
		return own;
	if (!t->track[own])
		t->track[own] = t->first->num_tracks++;
	return t->track[own];
}

void run_trace_device(struct run_trace *t, struct zw_dev *dev)
{
	static const char *const ports[] = {"HBM", "PCIe to device", "PCIe from device"};
	char name[64];

	if (!t)
		return;
	t->dev = dev;
	t->attrs.size = sizeof(t->attrs);
	zw_dev_get_attrs(dev, &t->attrs);
	if (!t->f) {
		t->chakra = chakra_begin(t->et, t->attrs.profile_name);
		if (!t->chakra)
			t->error = -ENOMEM;
		return;
	}
	if (t->first->cards > 1)
		snprintf(name, sizeof(name), "card %" PRIu32 ": %s (clock of all cards)", t->card,
			 t->attrs.profile_name);
	else
		snprintf(name, sizeof(name), "%s (clock of the device)", t->attrs.profile_name);
	trace_file_process(t->f, t->pid, name);
	for (uint32_t e = 0; e < ZW_ENGINE_COUNT; e++) {
		if (e == ZW_ENGINE_CP)
			trace_file_track(t->f, t->pid, track(t, TRACK_ENGINE), "command processor",
					 100);
		else if (e <= ZW_ENGINE_DELTA)
			trace_file_track(t->f, t->pid, track(t, TRACK_ENGINE + e),
					 zw_engine_name(e), 100 + e);
	}
	for (uint32_t p = 0; p < ZW_TRACE_PORTS; p++)
		trace_file_track(t->f, t->pid, track(t, TRACK_PORT + p), ports[p], 200 + p);
	t->power = power_begin(t->f, t->pid, track(t, TRACK_POWER), 300, t->attrs.idle_watts);
	if (!t->power)
		t->error = -ENOMEM;
	begin_driver(t);
}

void run_trace_cards(struct run_trace *t, struct zw_dev *const *dev, uint32_t cards)
{
	struct run_trace *last = t;

	if (!t)
		return;
	t->cards = cards;
	run_trace_device(t, dev[0]);
	for (uint32_t i = 1; i < cards; i++) {
		struct run_trace *k = calloc(1, sizeof(*k));

		if (k)
			k->track = calloc(NUM_TRACKS, sizeof(*k->track));
		if (!k || !k->track) {
			free(k);
			t->error = -ENOMEM;
			return;
		}
		k->tool = t->tool;
		k->path = t->path;
		k->first = t;
		k->card = i;
		k->pid = PID_HOST + i;
		k->f = t->f;
		k->base_ns = t->base_ns;
		last->next = k;
		last = k;
		run_trace_device(k, dev[i]);
	}
}

/* The track of a queue; it comes to be when something is on it. */
static uint32_t queue_track(struct run_trace *t, uint32_t queue, uint32_t which)
{
	static const char *const names[QUEUE_TRACKS] = {
		[QUEUE_JOBS] = "jobs",           [QUEUE_DONE] = "jobs ended",
		[QUEUE_LAYERS] = "layers",       [QUEUE_PARTS] = "parts of layers",
		[QUEUE_SUBMITS] = "submissions", [QUEUE_SEEN] = "completions",
	};
	bool host = which == QUEUE_SUBMITS || which == QUEUE_SEEN;
	uint32_t number = track(t, TRACK_QUEUES + QUEUE_TRACKS * queue + which);
	char name[64], card[24] = "";

	if (host && t->first->cards > 1)
		snprintf(card, sizeof(card), "card %" PRIu32 ", ", t->card);
	snprintf(name, sizeof(name), "%squeue %" PRIu32 ": %s", card, queue, names[which]);
	trace_file_track(t->f, host ? PID_HOST : t->pid, number, name,
			 (host ? 1 : 10) + QUEUE_TRACKS * queue + which);
	return number;
}

/* In the records that are kept. */
static uint32_t generation(const struct zw_trace_record *r)
{
	return r->reserved;
}

/* Jobs of a queue count up. */
static void set_generation(struct uses *uses, struct zw_trace_record *r, bool first)
{
	struct uses *u = &uses[r->queue % ZW_MAX_QUEUES];

	if (first && r->job <= u->last_job)
		u->generation++;
	if (first)
		u->last_job = r->job;
	r->reserved = u->generation;
}

static uint64_t flow_id(const struct run_trace *t, uint32_t kind, const struct zw_trace_record *r)
{
	return (uint64_t)kind << 60 | (uint64_t)(r->queue & 0xfff) << 48 |
	       (uint64_t)((generation(r) + (t->card << 8)) & 0xffff) << 32 | (r->job & 0xffffffff);
}

/* ---- tracks of the device ---- */

static void write_job(struct run_trace *t, const struct zw_trace_record *r)
{
	const struct trace_arg args[] = {{"job", r->job, NULL},
					 {"generation", generation(r), NULL},
					 {"release_ps", r->release_ps, NULL},
					 {"start_ps", r->start_ps, NULL},
					 {"end_ps", r->end_ps, NULL}};
	uint64_t flow = flow_id(t, FLOW_DEVICE, r);

	trace_file_slice(t->f, &(struct trace_slice){queue_track(t, r->queue, QUEUE_JOBS), "job",
						     r->release_ps, r->end_ps, args, 5, flow, 0});
	trace_file_slice(t->f,
			 &(struct trace_slice){queue_track(t, r->queue, QUEUE_DONE), "job ended",
					       r->end_ps, r->end_ps, args, 2, 0, flow});
}

static const char *name_of(const struct zw_trace_record *r)
{
	return r->kind == ZW_TRACE_BEGIN ? "begin of job" : zw_opcode_name(r->opcode);
}

static void write_on_engine(struct run_trace *t, const struct zw_trace_record *r)
{
	static const char *const waits[] = {"waited_engine_ps", "waited_hbm_ps", "waited_pcie_ps",
					    "waited_tokens_ps", "waited_semaphore_ps"};
	static const char *const ports[] = {"hbm_ps", "pcie_to_device_ps", "pcie_from_device_ps"};
	struct trace_arg args[14 + ZW_TRACE_WAITS + ZW_TRACE_PORTS];
	size_t n = 0;

	args[n++] = (struct trace_arg){"queue", r->queue, NULL};
	args[n++] = (struct trace_arg){"generation", generation(r), NULL};
	args[n++] = (struct trace_arg){"job", r->job, NULL};
	if (r->kind == ZW_TRACE_PACKET) {
		args[n++] = (struct trace_arg){"packet", r->index, NULL};
		args[n++] = (struct trace_arg){"tag", r->tag, NULL};
		if (zw_llm_tag_ours(r->tag) && zw_llm_tag_layer(r->tag) >= 0)
			args[n++] = (struct trace_arg){"layer", (uint64_t)zw_llm_tag_layer(r->tag),
						       NULL};
		if (r->rows)
			args[n++] = (struct trace_arg){"rows", r->rows, NULL};
	}
	args[n++] = (struct trace_arg){"start_ps", r->start_ps, NULL};
	args[n++] = (struct trace_arg){"end_ps", r->end_ps, NULL};
	args[n++] = (struct trace_arg){"fixed_ps", r->fixed_ps, NULL};
	args[n++] = (struct trace_arg){"compute_ps", r->compute_ps, NULL};
	args[n++] = (struct trace_arg){"energy_pj", r->energy_pj, NULL};
	for (int i = 0; i < ZW_TRACE_PORTS; i++)
		if (r->port[i].end_ps)
			args[n++] = (struct trace_arg){
				ports[i], r->port[i].end_ps - r->port[i].start_ps, NULL};
	for (int i = 0; i < ZW_TRACE_WAITS; i++)
		if (r->wait_ps[i])
			args[n++] = (struct trace_arg){waits[i], r->wait_ps[i], NULL};
	trace_file_slice(t->f, &(struct trace_slice){track(t, TRACK_ENGINE + r->engine), name_of(r),
						     r->start_ps, r->end_ps, args, n, 0, 0});
}

static void write_on_port(struct run_trace *t, const struct zw_trace_record *r, int port)
{
	const struct zw_trace_port *p = &r->port[port];
	const struct trace_arg args[] = {{"queue", r->queue, NULL},
					 {"generation", generation(r), NULL},
					 {"job", r->job, NULL},
					 {"packet", r->index, NULL},
					 {"request_ps", p->request_ps, NULL},
					 {"start_ps", p->start_ps, NULL},
					 {"end_ps", p->end_ps, NULL}};

	trace_file_slice(t->f,
			 &(struct trace_slice){track(t, TRACK_PORT + (uint32_t)port), name_of(r),
					       p->start_ps, p->end_ps, args, 7, 0, 0});
}

/* ---- layers ---- */

static const char *part_name(uint32_t part)
{
	static const char *const names[] = {
		[ZW_LLM_PART_IDS] = "ids",
		[ZW_LLM_PART_EMBED] = "embedding",
		[ZW_LLM_PART_MIXER] = "attention",
		[ZW_LLM_PART_FEED_FORWARD] = "feed-forward",
		[ZW_LLM_PART_OUTPUT] = "output",
		[ZW_LLM_PART_DRAFT] = "draft",
		[ZW_LLM_PART_HAND_OVER] = "hand-over",
	};

	return part < sizeof(names) / sizeof(names[0]) && names[part] ? names[part] : "packets";
}

/* From the first begin to the last end of r[0 .. n), packets of one job, in order. */
static void write_run(struct run_trace *t, const struct zw_trace_record *const *r, size_t n,
		      uint32_t which, uint64_t *last_end)
{
	uint64_t start = r[0]->start_ps, end = r[0]->end_ps;
	int layer = zw_llm_tag_layer(r[0]->tag);
	const struct trace_arg args[] = {
		{"job", r[0]->job, NULL}, {"packets", n, NULL}, {"layer", (uint64_t)layer, NULL}};
	char name[32];

	for (size_t i = 1; i < n; i++) {
		start = r[i]->start_ps < start ? r[i]->start_ps : start;
		end = r[i]->end_ps > end ? r[i]->end_ps : end;
	}
	/* Packets of two layers may run at once; a track shows one. */
	if (start < *last_end)
		start = *last_end;
	if (end < start)
		end = start;
	*last_end = end;
	if (which == QUEUE_LAYERS && layer >= 0)
		snprintf(name, sizeof(name), "layer %d", layer);
	else
		snprintf(name, sizeof(name), "%s", part_name(zw_llm_tag_part(r[0]->tag)));
	trace_file_slice(t->f, &(struct trace_slice){queue_track(t, r[0]->queue, which), name,
						     start, end, args, layer >= 0 ? 3 : 2, 0, 0});
}

/* Neighbours, packets of one job, that a track shows as one. */
static bool together(const struct zw_trace_record *a, const struct zw_trace_record *b,
		     uint32_t which)
{
	if (a->queue != b->queue || generation(a) != generation(b) || a->job != b->job)
		return false;
	return a->tag == b->tag || (which == QUEUE_LAYERS && zw_llm_tag_ours(a->tag) &&
				    zw_llm_tag_ours(b->tag) && zw_llm_tag_layer(a->tag) >= 0 &&
				    zw_llm_tag_layer(a->tag) == zw_llm_tag_layer(b->tag));
}

static void write_layers(struct run_trace *t, const struct zw_trace_record *const *r, size_t n,
			 uint32_t which)
{
	uint64_t last_end = 0;

	for (size_t i = 0, j; i < n; i = j) {
		for (j = i + 1; j < n && together(r[i], r[j], which); j++)
			;
		if (i && r[i]->queue != r[i - 1]->queue)
			last_end = 0;
		if (zw_llm_tag_ours(r[i]->tag))
			write_run(t, &r[i], j - i, which, &last_end);
	}
}

/* ---- what is known so far ---- */

#define COMPARE(a, b) ((a) < (b) ? -1 : (a) > (b))

static int sort_port; /* qsort() takes no more */

static int by_port(const void *a, const void *b)
{
	const struct zw_trace_record *x = *(const struct zw_trace_record *const *)a;
	const struct zw_trace_record *y = *(const struct zw_trace_record *const *)b;

	return COMPARE(x->port[sort_port].start_ps, y->port[sort_port].start_ps);
}

static int by_place(const void *a, const void *b)
{
	const struct zw_trace_record *x = *(const struct zw_trace_record *const *)a;
	const struct zw_trace_record *y = *(const struct zw_trace_record *const *)b;

	if (x->queue != y->queue)
		return COMPARE(x->queue, y->queue);
	if (generation(x) != generation(y))
		return COMPARE(generation(x), generation(y));
	if (x->job != y->job)
		return COMPARE(x->job, y->job);
	return COMPARE(x->index, y->index);
}

/* Packets, in the order of a port or of their places. */
static size_t pick(const struct run_trace *t, const struct zw_trace_record **out, int port)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		if (t->rec[i].kind == ZW_TRACE_PACKET && (port < 0 || t->rec[i].port[port].end_ps))
			out[n++] = &t->rec[i];
	sort_port = port;
	qsort(out, n, sizeof(*out), port < 0 ? by_place : by_port);
	return n;
}

static void flush(struct run_trace *t)
{
	const struct zw_trace_record **list = malloc((t->n + 1) * sizeof(*list));
	size_t n;

	if (!list) {
		t->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < t->n; i++) {
		if (t->rec[i].kind == ZW_TRACE_JOB)
			write_job(t, &t->rec[i]);
		else
			write_on_engine(t, &t->rec[i]);
		if (t->power && !power_add(t->power, &t->rec[i]))
			t->error = -ENOMEM;
	}
	power_write(t->power, false);
	for (int p = 0; p < ZW_TRACE_PORTS; p++) {
		n = pick(t, list, p);
		for (size_t i = 0; i < n; i++)
			write_on_port(t, list[i], p);
	}
	n = pick(t, list, -1);
	write_layers(t, list, n, QUEUE_LAYERS);
	write_layers(t, list, n, QUEUE_PARTS);
	free(list);
	t->n = 0;
}

/* ---- records ---- */

static void write_host(struct run_trace *t, struct zw_trace_record *r)
{
	uint64_t ns = r->host_ns > t->base_ns ? r->host_ns - t->base_ns : 0;
	uint64_t flow;
	const struct trace_arg arg = {"job", r->job, NULL};
	bool submit = r->kind == ZW_TRACE_SUBMIT;
	uint32_t which = submit ? QUEUE_SUBMITS : QUEUE_SEEN;

	set_generation(t->host_uses, r, submit);
	flow = flow_id(t, FLOW_HOST, r);
	trace_file_slice(t->f, &(struct trace_slice){queue_track(t, r->queue, which),
						     submit ? "submit" : "completion", ns * 1000,
						     ns * 1000, &arg, 1, submit ? flow : 0,
						     submit ? 0 : flow});
}

/* The last one that begins at or before the record, or the first. */
static const struct shift *shift_of(const struct run_trace *t, uint64_t ps)
{
	size_t low = 0, high = t->num_shifts;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (t->shift[middle].from_ps <= ps)
			low = middle;
		else
			high = middle;
	}
	return &t->shift[low];
}

static void shift(const struct run_trace *t, struct zw_trace_record *r)
{
	const struct shift *s = shift_of(t, r->start_ps);
	uint64_t later = (uint64_t)s->later_ps; /* modulo 2^64 */

	/* What was before the step is of another time. */
	if (r->kind == ZW_TRACE_JOB && r->release_ps < s->from_ps && r->start_ps >= s->from_ps)
		r->release_ps = s->from_ps;
	r->release_ps += later;
	r->start_ps += later;
	r->end_ps += later;
	for (int p = 0; p < ZW_TRACE_PORTS; p++) {
		if (!r->port[p].end_ps)
			continue;
		r->port[p].request_ps += later;
		r->port[p].start_ps += later;
		r->port[p].end_ps += later;
	}
}

void run_trace_shift(struct run_trace *t, uint32_t card, uint64_t from_ps, uint64_t to_ps)
{
	struct shift *more;

	while (t && t->card != card)
		t = t->next;
	if (!t)
		return;
	if (t->num_shifts == t->cap_shifts) {
		size_t cap = t->cap_shifts ? 2 * t->cap_shifts : 64;

		more = realloc(t->shift, cap * sizeof(*more));
		if (!more) {
			t->error = -ENOMEM;
			return;
		}
		t->shift = more;
		t->cap_shifts = cap;
	}
	t->shift[t->num_shifts++] = (struct shift){from_ps, (int64_t)(to_ps - from_ps)};
}

static void keep(struct run_trace *t, const struct zw_trace_record *r)
{
	int ret = t->chakra ? chakra_add(t->chakra, r) : 0;

	if (ret)
		t->error = ret;
	if (!t->f)
		return;
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : TAKE;
		struct zw_trace_record *rec = realloc(t->rec, cap * sizeof(*rec));

		if (!rec) {
			t->error = -ENOMEM;
			return;
		}
		t->rec = rec;
		t->cap = cap;
	}
	t->rec[t->n] = *r;
	if (t->num_shifts)
		shift(t, &t->rec[t->n]);
	set_generation(t->device_uses, &t->rec[t->n], r->kind == ZW_TRACE_BEGIN);
	t->n++;
	if (r->kind == ZW_TRACE_BEGIN)
		t->open_jobs++;
	if (r->kind == ZW_TRACE_JOB && t->open_jobs && !--t->open_jobs)
		flush(t);
}

static void take(struct run_trace *t)
{
	struct zw_trace_record *r = t->dev ? malloc(TAKE * sizeof(*r)) : NULL;
	int n;

	if (!t->dev)
		return;
	if (!r) {
		t->error = -ENOMEM;
		return;
	}
	while ((n = zw_dev_read_trace(t->dev, r, TAKE, sizeof(*r), &t->lost)) > 0) {
		for (int i = 0; i < n; i++) {
			if (r[i].kind != ZW_TRACE_SUBMIT && r[i].kind != ZW_TRACE_DONE)
				keep(t, &r[i]);
			else if (t->f)
				write_host(t, &r[i]);
		}
	}
	if (n < 0)
		t->error = n;
	free(r);
}

void run_trace_step(struct run_trace *t, const char *name, const char *arg, uint64_t value)
{
	const struct trace_arg args = {arg, value, NULL};
	uint64_t now;

	if (!t)
		return;
	now = now_ns();
	if (t->f && name && now > t->step_ns)
		trace_file_slice(t->f, &(struct trace_slice){
					       TRACK_STEPS, name, (t->step_ns - t->base_ns) * 1000,
					       (now - t->base_ns) * 1000, &args, 1, 0, 0});
	for (struct run_trace *k = t; k; k = k->next)
		take(k);
	t->step_ns = now_ns();
}

/* 0 or -errno. */
static int end_file(struct run_trace *t)
{
	int ret;

	if (t->f) {
		for (struct run_trace *k = t; k; k = k->next) {
			flush(k);
			power_end(k->power);
		}
		end_driver(t);
		return trace_file_close(t->f);
	}
	ret = chakra_end(t->chakra);
	errno = 0;
	if ((ferror(t->et) | fclose(t->et)) && !ret)
		ret = errno ? -errno : -EIO;
	return ret;
}

static void free_one(struct run_trace *t)
{
	free(t->rec);
	free(t->track);
	free(t->shift);
	free(t);
}

int run_trace_close(struct run_trace *t, int status)
{
	bool failed = status && status != EXIT_INTERRUPTED;
	int ret;

	if (!t)
		return status;
	for (struct run_trace *k = t; k; k = k->next)
		take(k);
	ret = end_file(t);
	while (t->next) {
		struct run_trace *k = t->next;

		t->next = k->next;
		t->error = t->error ? t->error : k->error;
		t->lost += k->lost;
		free_one(k);
	}
	ret = t->error ? t->error : ret;
	if (ret == -ENODATA && !failed)
		fprintf(stderr, "%s: %s: no step ran\n", t->tool, t->path);
	else if (ret && !failed)
		fprintf(stderr, "%s: %s: %s\n", t->tool, t->path, strerror(-ret));
	else if (t->lost && !failed)
		fprintf(stderr, "%s: %s: %" PRIu64 " records were lost\n", t->tool, t->path,
			t->lost);
	if (!failed && (ret || t->lost))
		status = EXIT_FAILURE;
	free_one(t);
	return status;
}
