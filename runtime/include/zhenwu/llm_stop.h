/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: texts that end an answer, found while it comes in pieces. No device is needed.
 * Conventions are those of <zhenwu/llm.h>.
 *
 * What may be the start of a stop text is held back until it is known to be none: nothing of a stop
 * text is ever given out, however the pieces are cut.
 */
#ifndef ZHENWU_LLM_STOP_H
#define ZHENWU_LLM_STOP_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A set of stop texts and what is held back. Single-threaded. */
struct zw_stop;

/**
 * @param texts  n texts, which are copied; none of them empty (-EINVAL). n may be 0: nothing is ever
 *               held back then
 */
ZW_API int zw_stop_open(const char *const *texts, size_t n, struct zw_stop **out,
			struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_stop_close(struct zw_stop *s);

/**
 * Adds a piece of the answer. *out and *out_len receive what can be given out now: all but what a
 * stop text may begin with; when one is found, what was in front of it. They are valid until the next
 * call on this object. Of several the one that ends first counts, of those the longest.
 *
 * @return 0; 1 when a stop text was found, now or before: nothing comes after it; -ENOMEM
 */
ZW_API int zw_stop_push(struct zw_stop *s, const char *text, size_t len, const char **out,
			size_t *out_len);

/** End of the answer: what was held back, if no stop text was found. The object may then be reused. */
ZW_API void zw_stop_flush(struct zw_stop *s, const char **out, size_t *out_len);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_STOP_H */
