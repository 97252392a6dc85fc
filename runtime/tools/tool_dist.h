/* SPDX-License-Identifier: MIT */
/* Distributions of the command line, and draws from them. The same seed gives the same draws. */
#ifndef ZW_TOOL_DIST_H
#define ZW_TOOL_DIST_H

#include <stdbool.h>
#include <stdint.h>

enum tool_dist_kind { TOOL_DIST_FIXED, TOOL_DIST_EXP, TOOL_DIST_LOGNORMAL };

struct tool_dist {
	enum tool_dist_kind kind;
	double mean, sigma; /* sigma: of the logarithm, lognormal alone */
	uint64_t state;
};

/* "fixed:V", "exp:MEAN", "lognormal:MEAN:SIGMA", V and MEAN in 0..max; false for anything else. */
bool tool_dist_parse(const char *text, double max, struct tool_dist *d);
/* stream: distributions of one seed do not follow each other. */
void tool_dist_seed(struct tool_dist *d, uint64_t seed, uint64_t stream);
/* Finite, not negative. */
double tool_dist_draw(struct tool_dist *d);
/* As it is written on the command line. */
void tool_dist_name(const struct tool_dist *d, char *text, unsigned long size);

#endif
