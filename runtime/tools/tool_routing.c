// SPDX-License-Identifier: MIT
#include "tool_routing.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "small_files.h"
#include "tool_random.h"

#define MAX_SKEW 16.0

bool tool_routing_parse(const char *text, struct tool_routing *r)
{
	char *end;

	*r = (struct tool_routing){0};
	if (!strcmp(text, "uniform"))
		return true;
	if (!strncmp(text, "file:", 5)) {
		r->file = text + 5;
		return *r->file;
	}
	if (strncmp(text, "zipf:", 5))
		return false;
	r->skew = strtod(text + 5, &end);
	/* Written so that NaN fails. */
	return end != text + 5 && !*end && r->skew >= 0 && r->skew <= MAX_SKEW;
}

/*
 * Walker's alias tables, so that a draw takes the same few instructions whatever the distribution: place i is expert i
 * for the share keep[i] / 2^32 of it, else other[i].
 */
static bool make_tables(struct tool_routing *r, uint32_t n)
{
	double *p = malloc(n * sizeof(*p)), sum = 0;
	uint32_t *stack = malloc(2 * (size_t)n * sizeof(*stack)), small = 0, large = 0;

	free(r->keep);
	free(r->other);
	free(r->seen);
	r->experts = n;
	r->row = 0;
	r->keep = malloc(n * sizeof(*r->keep));
	r->other = malloc(n * sizeof(*r->other));
	r->seen = calloc(n, sizeof(*r->seen));
	if (!p || !stack || !r->keep || !r->other || !r->seen) {
		free(p);
		free(stack);
		return false;
	}
	for (uint32_t i = 0; i < n; i++)
		sum += p[i] = pow((double)i + 1, -r->skew);
	for (uint32_t i = 0; i < n; i++) {
		p[i] *= n / sum;
		r->keep[i] = UINT32_MAX;
		r->other[i] = i;
		if (p[i] < 1)
			stack[small++] = i;
		else
			stack[2 * n - ++large] = i;
	}
	while (small && large) {
		uint32_t s = stack[--small], l = stack[2 * n - large--];

		r->keep[s] = (uint32_t)(p[s] * UINT32_MAX);
		r->other[s] = l;
		p[l] -= 1 - p[s];
		if (p[l] < 1)
			stack[small++] = l;
		else
			stack[2 * n - ++large] = l;
	}
	free(p);
	free(stack);
	return true;
}

/* One that the row does not have yet. When it has nearly all of the likely ones the next free one is it. */
static uint32_t draw_expert(struct tool_routing *r)
{
	uint32_t e = 0;

	for (int tries = 0; tries < 64; tries++) {
		uint64_t v = tool_random(&r->state);

		e = (uint32_t)((v & UINT32_MAX) * r->experts >> 32);
		if (v >> 32 > r->keep[e])
			e = r->other[e];
		if (r->seen[e] != r->row)
			break;
	}
	while (r->seen[e] == r->row)
		e = (e + 1) % r->experts;
	r->seen[e] = r->row;
	return e;
}

static void on_route(void *opaque, uint32_t rows, uint32_t experts, uint32_t k, int32_t *ids)
{
	struct tool_routing *r = opaque;

	if (r->n) {
		for (size_t i = 0; i < (size_t)rows * k; i++) {
			ids[i] = (int32_t)r->ids[r->at];
			r->at = r->at + 1 == r->n ? 0 : r->at + 1;
		}
		return;
	}
	if (r->experts != experts && !make_tables(r, experts))
		r->no_memory = true;
	for (uint32_t i = 0; i < rows; i++) {
		if (!++r->row && !r->no_memory) {
			memset(r->seen, 0, experts * sizeof(*r->seen));
			r->row = 1;
		}
		for (uint32_t j = 0; j < k; j++)
			*ids++ = r->no_memory ? 0 : (int32_t)draw_expert(r);
	}
}

static void on_routed(void *opaque, uint32_t rows, uint32_t k, const int32_t *ids, uint64_t ld)
{
	struct tool_routing *r = opaque;

	if (r->cap - r->n < (size_t)rows * k) {
		size_t cap = 2 * r->cap + (size_t)rows * k;
		uint32_t *more = realloc(r->ids, cap * sizeof(*more));

		if (!more) {
			r->no_memory = true;
			return;
		}
		r->ids = more;
		r->cap = cap;
	}
	for (uint32_t i = 0; i < rows; i++, r->n += k)
		memcpy(r->ids + r->n, ids + i * ld, k * sizeof(*ids));
}

int tool_routing_open(struct tool_routing *r, uint64_t seed, struct zw_dev_options *opt,
		      struct zw_error *err)
{
	int ret;

	r->seed = r->state = seed;
	if (r->file) {
		ret = ids_read_json(r->file, &r->ids, &r->n, err);
		if (!ret && !r->n) {
			snprintf(err->msg, sizeof(err->msg), "%.200s: no ids in it", r->file);
			ret = -EINVAL;
		}
		if (ret)
			return ret;
	}
	opt->route = on_route;
	opt->route_opaque = r;
	return 0;
}

int tool_routing_check(const struct tool_routing *r, uint32_t experts, struct zw_error *err)
{
	for (size_t i = 0; r->file && i < r->n; i++) {
		if (r->ids[i] < experts)
			continue;
		snprintf(err->msg, sizeof(err->msg),
			 "%.160s: entry %zu is expert %u, the model has %u", r->file, i, r->ids[i],
			 experts);
		return -EINVAL;
	}
	return 0;
}

void tool_routing_record(struct tool_routing *r, struct zw_dev_options *opt)
{
	opt->routed = on_routed;
	opt->route_opaque = r;
}

int tool_routing_write(const struct tool_routing *r, const char *path, struct zw_error *err)
{
	int ret = tool_routing_result(r, err);

	return ret ? ret : ids_write_json(path, r->ids, r->n, err);
}

int tool_routing_result(const struct tool_routing *r, struct zw_error *err)
{
	if (!r->no_memory)
		return 0;
	snprintf(err->msg, sizeof(err->msg), "out of memory for the routing");
	return -ENOMEM;
}

void tool_routing_close(struct tool_routing *r)
{
	free(r->keep);
	free(r->other);
	free(r->seen);
	free(r->ids);
	r->keep = r->other = r->seen = r->ids = NULL;
}
