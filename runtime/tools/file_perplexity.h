/* SPDX-License-Identifier: MIT */
/* The perplexity of a model on a file, from opening the device to the number. */
#ifndef ZW_FILE_PERPLEXITY_H
#define ZW_FILE_PERPLEXITY_H

#include <stdbool.h>
#include <stdint.h>

#include <zhenwu/llm.h>

#include "tool_sparse.h"

struct file_perplexity {
	const char *tool; /* for messages */
	const char *model, *file;
	const char *device, *profile; /* as zw_dev_open() takes them */
	bool ids;                     /* the file is a JSON list of token ids, not a text */
	bool quiet;
	uint32_t window, stride, batch; /* 0: the defaults */
	uint32_t kv_dtype;              /* enum zw_dtype, 0: the default */
	struct tool_sparse sparse;
	bool delta_chunked; /* as of struct zw_ctx_options */
	uint64_t max_windows;
	/* May be NULL. Non-zero from it ends the work: -ECANCELED. */
	int (*interrupted)(void);
};

/*
 * 0 or -errno, told in one line on standard error unless it is -ECANCELED. Progress goes to standard
 * error when that is a terminal.
 */
int file_perplexity(const struct file_perplexity *f, struct zw_perplexity_result *result);

#endif
