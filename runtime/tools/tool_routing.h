/* SPDX-License-Identifier: MIT */
/*
 * Which experts tokens go to where nothing computes it: drawn, or recorded; and the recording. The same seed gives the
 * same experts.
 */
#ifndef ZW_TOOL_ROUTING_H
#define ZW_TOOL_ROUTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zhenwu/base.h>
#include <zhenwu/device.h>

struct tool_routing {
	double skew;      /* expert n is as likely as 1 / (n + 1)^skew: 0 is uniform */
	const char *file; /* recorded ids in place of that, or NULL */
	uint64_t seed;
	/* The rest is the routing's own. */
	uint64_t state;
	uint32_t experts; /* that the tables below are for */
	uint32_t *keep, *other, *seen, row;
	uint32_t *ids; /* recorded, being recorded */
	size_t n, cap, at;
	bool no_memory;
};

/* "uniform", "zipf:S", "file:F"; false for anything else. */
bool tool_routing_parse(const char *text, struct tool_routing *r);
/* Reads the file, if one was named, and puts the routing into the options of a device that only takes time. */
int tool_routing_open(struct tool_routing *r, uint64_t seed, struct zw_dev_options *opt,
		      struct zw_error *err);
/* After the model is known: whether recorded ids are of its experts. */
int tool_routing_check(const struct tool_routing *r, uint32_t experts, struct zw_error *err);
/* A device that computes is to write down what its routers choose; then to a file. */
void tool_routing_record(struct tool_routing *r, struct zw_dev_options *opt);
int tool_routing_write(const struct tool_routing *r, const char *path, struct zw_error *err);
/* When nothing runs any more: what became of it. -ENOMEM. */
int tool_routing_result(const struct tool_routing *r, struct zw_error *err);
void tool_routing_close(struct tool_routing *r);

#endif
