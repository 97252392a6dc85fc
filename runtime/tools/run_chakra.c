// SPDX-License-Identifier: MIT
/*
 * Times of nodes are whole microseconds, each moment rounded: a node then begins with the latest end among those that it
 * depends on, as it does in picoseconds, and the longest way through the graph is the job, to the microsecond. Where a
 * packet began later than that (another queue had the engine, or a semaphore), a node without work stands between.
 */
#include "run_chakra.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/llm_tag.h>

#include "proto_message.h"

/* Numbers of fields, from mlcommons/chakra, schema/protobuf/et_def.proto. */
enum {
	META_VERSION = 1,
	META_ATTR = 2,
	NODE_ID = 1,
	NODE_NAME = 2,
	NODE_TYPE = 3,
	NODE_CTRL_DEPS = 4,
	NODE_DATA_DEPS = 5,
	NODE_START_MICROS = 6,
	NODE_DURATION_MICROS = 7,
	NODE_ATTR = 10,
	ATTR_NAME = 1,
	ATTR_INT64 = 9,
	ATTR_UINT64 = 13,
	ATTR_BOOL = 27,
	ATTR_STRING = 29,
};
enum { MEM_LOAD_NODE = 2, MEM_STORE_NODE = 3, COMP_NODE = 4 };

#define SCHEMA "0.0.4"
#define TOKENS 16u
#define NONE   UINT32_MAX

struct list {
	struct zw_trace_record *r;
	size_t n, cap;
};

struct chakra {
	FILE *f;
	const char *profile;
	struct list open;            /* of jobs that have not ended */
	struct list step;            /* begin and packets of the last one */
	struct zw_trace_record last; /* its end */
};

/* A node that was written, and its packet's times. */
struct node {
	uint64_t id, end_ps;
	bool followed; /* by one that depends on it */
};

struct graph {
	FILE *f;
	struct node *node; /* of the records, in their order */
	uint32_t *dep;     /* of the record at hand */
	size_t n_deps;
	uint32_t ordered; /* the last record that all behind it wait for */
	uint32_t token[TOKENS], engine[ZW_ENGINE_COUNT]; /* the last record of each, or NONE */
	uint64_t base_ps, next_id;
	int error;
};

struct chakra *chakra_begin(FILE *f, const char *profile)
{
	struct chakra *c = calloc(1, sizeof(*c));

	if (c) {
		c->f = f;
		c->profile = profile;
	}
	return c;
}

static int append(struct list *l, const struct zw_trace_record *r)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 1024;
		struct zw_trace_record *to = realloc(l->r, cap * sizeof(*to));

		if (!to)
			return -ENOMEM;
		l->r = to;
		l->cap = cap;
	}
	l->r[l->n++] = *r;
	return 0;
}

static bool of_layer(const struct zw_trace_record *r)
{
	return r->kind == ZW_TRACE_PACKET && zw_llm_tag_ours(r->tag) &&
	       zw_llm_tag_layer(r->tag) >= 0;
}

/* A job ended: what is open of its queue is all of it. */
static int job_ended(struct chakra *c, const struct zw_trace_record *job)
{
	bool step = false;
	size_t left = 0;
	int ret = 0;

	for (size_t i = 0; i < c->open.n; i++)
		step |= c->open.r[i].queue == job->queue && of_layer(&c->open.r[i]);
	if (step) {
		c->step.n = 0;
		c->last = *job;
	}
	for (size_t i = 0; i < c->open.n; i++) {
		if (c->open.r[i].queue != job->queue)
			c->open.r[left++] = c->open.r[i];
		else if (step && !ret)
			ret = append(&c->step, &c->open.r[i]);
	}
	c->open.n = left;
	return ret;
}

int chakra_add(struct chakra *c, const struct zw_trace_record *r)
{
	if (r->kind == ZW_TRACE_JOB)
		return job_ended(c, r);
	return append(&c->open, r);
}

/* ---- messages ---- */

static void attr(struct proto_message *m, uint32_t field, const char *name, uint32_t kind,
		 uint64_t v)
{
	struct proto_message a;

	proto_clear(&a);
	proto_string(&a, ATTR_NAME, name);
	proto_number(&a, kind, v);
	proto_sub(m, field, &a);
}

static void attr_text(struct proto_message *m, uint32_t field, const char *name, const char *v)
{
	struct proto_message a;

	proto_clear(&a);
	proto_string(&a, ATTR_NAME, name);
	proto_string(&a, ATTR_STRING, v);
	proto_sub(m, field, &a);
}

/* Messages follow each other, each behind its length. */
static void write_message(struct graph *g, const struct proto_message *m)
{
	struct proto_message head;

	if (m->full)
		g->error = -EOVERFLOW;
	if (g->error)
		return;
	proto_clear(&head);
	proto_varint(&head, m->n);
	fwrite(head.bytes, 1, head.n, g->f);
	fwrite(m->bytes, 1, m->n, g->f);
}

static uint64_t micros(const struct graph *g, uint64_t ps)
{
	return (ps - g->base_ps + 500000) / 1000000;
}

/* Id, name, kind, times and what nodes of each kind have; dependencies and the rest are the caller's. */
static void node_begin(struct graph *g, struct proto_message *m, const char *name, uint32_t type,
		       uint64_t start_ps, uint64_t end_ps)
{
	proto_clear(m);
	proto_number(m, NODE_ID, g->next_id);
	proto_string(m, NODE_NAME, name);
	proto_number(m, NODE_TYPE, type);
	proto_number(m, NODE_START_MICROS, micros(g, start_ps));
	proto_number(m, NODE_DURATION_MICROS, micros(g, end_ps) - micros(g, start_ps));
	attr(m, NODE_ATTR, "is_cpu_op", ATTR_BOOL, false);
	attr(m, NODE_ATTR, "start_ps", ATTR_UINT64, start_ps - g->base_ps);
	attr(m, NODE_ATTR, "duration_ps", ATTR_UINT64, end_ps - start_ps);
}

static void deps(struct proto_message *m, uint32_t field, const struct graph *g,
		 const uint32_t *dep, size_t n)
{
	struct proto_message ids;

	proto_clear(&ids);
	for (size_t i = 0; i < n; i++)
		proto_varint(&ids, g->node[dep[i]].id);
	if (n)
		proto_blob(m, field, ids.bytes, ids.n);
	m->full |= ids.full;
}

/* ---- dependencies ---- */

static void depend(struct graph *g, uint32_t on)
{
	for (size_t i = 0; i < g->n_deps; i++)
		if (g->dep[i] == on)
			return;
	g->dep[g->n_deps++] = on;
}

/* What the packet waited for by its job's rules; those that others in the list waited for are left out. */
static void find_deps(struct graph *g, const struct zw_trace_record *r, uint32_t i)
{
	g->n_deps = 0;
	if (g->ordered == NONE)
		return;
	for (uint32_t j = g->ordered; r->ordered && j < i; j++)
		if (!g->node[j].followed)
			depend(g, j);
	for (uint32_t t = 0; !r->ordered && t < TOKENS; t++)
		if (r->wait >> t & 1 && g->token[t] != NONE && g->token[t] >= g->ordered)
			depend(g, g->token[t]);
	if (!g->n_deps)
		depend(g, g->ordered);
}

static uint64_t latest(const struct graph *g, uint64_t ps, uint32_t i)
{
	return i != NONE && g->node[i].end_ps > ps ? g->node[i].end_ps : ps;
}

/* Nothing of its job kept the packet from `from` to its begin. Takes the place of what it depends on. */
static uint64_t write_wait(struct graph *g, const struct zw_trace_record *r, uint64_t from,
			   uint32_t engine)
{
	struct proto_message m;

	node_begin(g, &m, "wait for others", COMP_NODE, from, r->start_ps);
	attr(&m, NODE_ATTR, "num_ops", ATTR_INT64, 0);
	attr(&m, NODE_ATTR, "tensor_size", ATTR_UINT64, 0);
	deps(&m, NODE_DATA_DEPS, g, g->dep, g->n_deps);
	if (engine != NONE)
		deps(&m, NODE_CTRL_DEPS, g, &engine, 1);
	write_message(g, &m);
	return g->next_id++;
}

static uint32_t type_of(const struct zw_trace_record *r)
{
	if (r->engine != ZW_ENGINE_DMA || !r->sys_bytes)
		return COMP_NODE;
	return r->port[ZW_TRACE_PORT_SYS_READ].end_ps ? MEM_LOAD_NODE : MEM_STORE_NODE;
}

static void write_packet(struct graph *g, const struct zw_trace_record *r, uint32_t i)
{
	uint32_t engine = g->engine[r->engine], type = type_of(r);
	const char *name = r->kind == ZW_TRACE_BEGIN ? "begin of job" : zw_opcode_name(r->opcode);
	uint64_t ready = g->base_ps, wait = 0;
	struct proto_message m;
	char text[64];

	find_deps(g, r, i);
	for (size_t d = 0; d < g->n_deps; d++)
		ready = latest(g, ready, g->dep[d]);
	ready = latest(g, ready, engine);
	if (r->start_ps < ready) {
		g->error = -EPROTO;
		return;
	}
	if (r->start_ps > ready)
		wait = write_wait(g, r, ready, engine);
	if (of_layer(r))
		snprintf(text, sizeof(text), "layer %d: %s", zw_llm_tag_layer(r->tag), name);
	else
		snprintf(text, sizeof(text), "%s", name);
	node_begin(g, &m, text, type, r->start_ps, r->end_ps);
	attr(&m, NODE_ATTR, "num_ops", ATTR_INT64, r->ops);
	attr(&m, NODE_ATTR, "tensor_size", ATTR_UINT64,
	     type == COMP_NODE ? r->hbm_bytes : r->sys_bytes);
	attr(&m, NODE_ATTR, "energy_pj", ATTR_UINT64, r->energy_pj);
	attr_text(&m, NODE_ATTR, "engine", zw_engine_name(r->engine));
	if (wait) {
		proto_number(&m, NODE_DATA_DEPS, wait);
	} else {
		deps(&m, NODE_DATA_DEPS, g, g->dep, g->n_deps);
		if (engine != NONE)
			deps(&m, NODE_CTRL_DEPS, g, &engine, 1);
	}
	write_message(g, &m);
	g->node[i] = (struct node){.id = g->next_id++, .end_ps = r->end_ps};
	for (size_t d = 0; d < g->n_deps; d++)
		g->node[g->dep[d]].followed = true;
	g->engine[r->engine] = i;
	if (r->ordered)
		g->ordered = i;
	if (r->signal && r->signal <= TOKENS)
		g->token[r->signal - 1] = i;
}

static void write_meta(struct graph *g, const struct chakra *c)
{
	struct proto_message m;

	proto_clear(&m);
	proto_string(&m, META_VERSION, SCHEMA);
	attr_text(&m, META_ATTR, "profile", c->profile);
	attr(&m, META_ATTR, "queue", ATTR_UINT64, c->last.queue);
	attr(&m, META_ATTR, "job", ATTR_UINT64, c->last.job);
	attr(&m, META_ATTR, "duration_ps", ATTR_UINT64, c->last.end_ps - c->last.start_ps);
	write_message(g, &m);
}

static int by_place(const void *a, const void *b)
{
	const struct zw_trace_record *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1; /* the begin */
	return x->index < y->index ? -1 : x->index > y->index;
}

static int write_step(struct chakra *c)
{
	struct graph g = {.f = c->f, .ordered = NONE, .base_ps = c->last.start_ps, .next_id = 1};

	g.node = calloc(c->step.n, sizeof(*g.node));
	g.dep = malloc(c->step.n * sizeof(*g.dep));
	memset(g.token, 0xff, sizeof(g.token));
	memset(g.engine, 0xff, sizeof(g.engine));
	if (!g.node || !g.dep)
		g.error = -ENOMEM;
	qsort(c->step.r, c->step.n, sizeof(*c->step.r), by_place);
	write_meta(&g, c);
	for (uint32_t i = 0; i < c->step.n && !g.error; i++)
		write_packet(&g, &c->step.r[i], i);
	free(g.node);
	free(g.dep);
	return g.error;
}

int chakra_end(struct chakra *c)
{
	int ret;

	if (!c)
		return 0;
	ret = c->step.n ? write_step(c) : -ENODATA;
	free(c->open.r);
	free(c->step.r);
	free(c);
	return ret;
}
