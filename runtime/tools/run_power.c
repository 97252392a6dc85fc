// SPDX-License-Identifier: MIT
#include "run_power.h"

#include <stdlib.h>

/* From `ns` on it is `nano` billionths of a watt more. */
struct edge {
	uint64_t ns;
	int64_t nano;
};

struct power {
	struct trace_file *f;
	uint32_t track;
	struct edge *edge;
	size_t n, cap;
	uint64_t nano; /* power behind the last edge that was written */
	uint64_t end_ns;
};

#define NANO UINT64_C(1000000000)

struct power *power_begin(struct trace_file *f, uint32_t pid, uint32_t track, uint32_t rank,
			  uint32_t idle_watts)
{
	struct power *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->f = f;
	p->track = track;
	p->nano = idle_watts * NANO;
	trace_file_counter(f, pid, track, "power", "W", rank);
	trace_file_value(f, track, 0, p->nano);
	return p;
}

static bool add(struct power *p, uint64_t ns, int64_t nano)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 1024;
		struct edge *edge = realloc(p->edge, cap * sizeof(*edge));

		if (!edge)
			return false;
		p->edge = edge;
		p->cap = cap;
	}
	p->edge[p->n++] = (struct edge){ns, nano};
	return true;
}

bool power_add(struct power *p, const struct zw_trace_record *r)
{
	uint64_t start = r->start_ps / 1000, end = r->end_ps / 1000, ns, nano;

	p->end_ns = end > p->end_ns ? end : p->end_ns;
	if (r->kind != ZW_TRACE_PACKET || !r->energy_pj)
		return true;
	end = end > start ? end : start + 1;
	ns = end - start;
	/* pJ / ns are mW, 10^6 nW; what the division leaves is less than a millionth of a pJ each ns. */
	nano = r->energy_pj / ns * 1000000 +
	       (uint64_t)((double)(r->energy_pj % ns) * 1e6 / (double)ns);
	p->end_ns = end > p->end_ns ? end : p->end_ns;
	return add(p, start, (int64_t)nano) && add(p, end, -(int64_t)nano);
}

static int by_time(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return x->ns < y->ns ? -1 : x->ns > y->ns;
}

void power_write(struct power *p, bool all)
{
	size_t i = 0, left = 0;

	if (!p || !p->n)
		return;
	qsort(p->edge, p->n, sizeof(*p->edge), by_time);
	while (i < p->n) {
		uint64_t ns = p->edge[i].ns, was = p->nano;

		/* Another packet may begin in the nanosecond in which the last one ended. */
		if (!all && ns == p->edge[p->n - 1].ns)
			break;
		for (; i < p->n && p->edge[i].ns == ns; i++)
			p->nano += (uint64_t)p->edge[i].nano;
		if (p->nano != was)
			trace_file_value(p->f, p->track, ns * 1000, p->nano);
	}
	for (; i < p->n; i++)
		p->edge[left++] = p->edge[i];
	p->n = left;
}

void power_end(struct power *p)
{
	if (!p)
		return;
	power_write(p, true);
	trace_file_value(p->f, p->track, p->end_ns * 1000, p->nano);
	free(p->edge);
	free(p);
}
