/* SPDX-License-Identifier: MIT */
/* --load-session and --save-session of zw-run. */
#ifndef ZW_RUN_SESSION_H
#define ZW_RUN_SESSION_H

#include <zhenwu/llm.h>

/* The sequence becomes that of the file, and the sampler is told its tokens. *n receives their number. */
int run_session_load(struct zw_ctx *ctx, uint32_t seq, struct zw_sampler *sampler, const char *path,
		     uint32_t *n, struct zw_error *err);
/*
 * Writes the sequence. It is to have n tokens, of which it may lack the last: that is in `ids`, the
 * num_ids last ones, and is computed first if the context has room.
 */
int run_session_save(struct zw_ctx *ctx, uint32_t seq, const uint32_t *ids, size_t num_ids,
		     size_t n, const char *path, struct zw_error *err);

#endif
