// SPDX-License-Identifier: MIT
#include "tool_dist.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool_random.h"

#define MAX_SIGMA 4.0
#define TWO_PI    6.283185307179586

static const char *const kinds[] = {
	[TOOL_DIST_FIXED] = "fixed",
	[TOOL_DIST_EXP] = "exp",
	[TOOL_DIST_LOGNORMAL] = "lognormal",
};

/* Up to `last`; *text is behind it afterwards. */
static bool parse_value(const char **text, char last, double max, double *v)
{
	char *end;

	*v = strtod(*text, &end);
	/* Written so that NaN fails. */
	if (end == *text || *end != last || !(*v >= 0 && *v <= max))
		return false;
	*text = end + 1;
	return true;
}

bool tool_dist_parse(const char *text, double max, struct tool_dist *d)
{
	size_t n = strcspn(text, ":");

	*d = (struct tool_dist){0};
	for (int kind = 0; kind <= TOOL_DIST_LOGNORMAL; kind++) {
		if (strlen(kinds[kind]) != n || strncmp(kinds[kind], text, n) || !text[n])
			continue;
		d->kind = kind;
		text += n + 1;
		if (kind != TOOL_DIST_LOGNORMAL)
			return parse_value(&text, 0, max, &d->mean);
		return parse_value(&text, ':', max, &d->mean) &&
		       parse_value(&text, 0, MAX_SIGMA, &d->sigma);
	}
	return false;
}

void tool_dist_seed(struct tool_dist *d, uint64_t seed, uint64_t stream)
{
	d->state = seed;
	d->state = tool_random(&d->state) + stream;
}

/* In (0, 1]. */
static double uniform(struct tool_dist *d)
{
	return (double)((tool_random(&d->state) >> 11) + 1) * 0x1p-53;
}

double tool_dist_draw(struct tool_dist *d)
{
	double radius, angle;

	switch (d->kind) {
	case TOOL_DIST_FIXED:
		return d->mean;
	case TOOL_DIST_EXP:
		return -log(uniform(d)) * d->mean;
	default:
		radius = sqrt(-2 * log(uniform(d)));
		angle = TWO_PI * uniform(d);
		/* The mean is that of what is drawn, not of its logarithm. */
		return d->mean * exp(d->sigma * radius * cos(angle) - d->sigma * d->sigma / 2);
	}
}

void tool_dist_name(const struct tool_dist *d, char *text, unsigned long size)
{
	int n = snprintf(text, size, "%s:%g", kinds[d->kind], d->mean);

	if (d->kind == TOOL_DIST_LOGNORMAL && n > 0 && (unsigned long)n < size)
		snprintf(text + n, size - (unsigned long)n, ":%g", d->sigma);
}
