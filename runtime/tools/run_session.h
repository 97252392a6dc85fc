/* SPDX-License-Identifier: MIT */
/* --load-session and --save-session of zw-run. */
#ifndef ZW_RUN_SESSION_H
#define ZW_RUN_SESSION_H

#include <zhenwu/llm.h>

/*
 * The sequence becomes that of the file, and the sampler is told its tokens. *snap is what was read, to
 * be destroyed.
 */
int run_session_load(struct zw_ctx *ctx, uint32_t seq, struct zw_sampler *sampler, const char *path,
		     struct zw_snapshot **snap, struct zw_error *err);
/*
 * Writes the sequence. It is to have n tokens, of which it may lack the last: that is in `ids`, the
 * num_ids last ones, and is computed first if the context has room. A note of note_len bytes goes with it.
 */
int run_session_save(struct zw_ctx *ctx, uint32_t seq, const uint32_t *ids, size_t num_ids,
		     size_t n, const char *note, size_t note_len, const char *path,
		     struct zw_error *err);

#endif
