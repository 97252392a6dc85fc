/* SPDX-License-Identifier: MIT */
/* What zw-bench prints: a table, or a record for each test. */
#ifndef ZW_BENCH_PRINT_H
#define ZW_BENCH_PRINT_H

#include <stdio.h>

#include <zhenwu/zhenwu.h>

#include "bench_run.h"

enum bench_format {
	BENCH_MD,
	BENCH_CSV,
	BENCH_JSON,
	BENCH_JSONL,
};

struct bench_record {
	const char *model; /* as it was named */
	const struct zw_model_info *info;
	const struct zw_dev_attrs *attrs;
	const struct bench_test *test;
	const struct bench_sample *samples; /* test->runs of them */
	char time[32];                      /* when the test began, UTC, ISO 8601 */
};

struct bench_output {
	FILE *f;
	enum bench_format format;
	bool with_seqs, with_batch; /* columns of the table that not every run needs */
	unsigned int records;
};

void bench_begin(struct bench_output *o);
void bench_print(struct bench_output *o, const struct bench_record *r);
void bench_end(struct bench_output *o);

#endif
