/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: from a checkpoint to tokens. This header has all of it.
 *
 * Layers, each usable alone: checkpoint (llm_checkpoint.h), tokenizer (llm_tokenizer.h), generation
 * defaults (llm_generation_config.h), sampler (llm_sampler.h), stop texts (llm_stop.h), conversations
 * (llm_chat.h), output that is JSON of a schema (llm_grammar.h), which need no device; and model
 * (llm_model.h), context with sequences and batches (llm_context.h), generation (llm_generate.h), scheduler
 * (llm_sched.h), which need a device of libzhenwu.
 *
 * Conventions
 *  - Functions return 0 (or a count, where said) on success and a negative errno on failure; errno
 *    itself is not touched on purpose. Codes used everywhere besides those of base.h: -ENOMEM;
 *    -EINVAL for a bad argument; -EBADMSG for a file whose content is malformed or contradicts
 *    itself; -EOPNOTSUPP for content that is well formed but not implemented; -EFBIG for something
 *    above a stated limit; and the errno of the system call for files that cannot be opened or read.
 *  - `err` parameters may be NULL. On failure they receive one line without a newline, fit for
 *    "tool: %s", that names the file, key, tensor or token; on success they are left alone.
 *  - Every structure that crosses the ABI starts with `size`, which the caller sets to sizeof().
 *    At least the fields of the structure's first version must be there and at most a page
 *    (-EINVAL). An input structure's missing tail counts as zero, a tail that this library does not
 *    know must be zero (-E2BIG). An output structure is filled as far as both sides know it; `size`
 *    then says how many bytes that are. No such structure stands inside another one: they are
 *    pointed to.
 *  - Thread safety is stated per function. "Immutable" objects may be used by any number of threads
 *    at once once they are open; "single-threaded" ones by one thread at a time.
 */
#ifndef ZHENWU_LLM_H
#define ZHENWU_LLM_H

#include "base.h"
#include "llm_chat.h"
#include "llm_checkpoint.h"
#include "llm_context.h"
#include "llm_generate.h"
#include "llm_generation_config.h"
#include "llm_grammar.h"
#include "llm_model.h"
#include "llm_perplexity.h"
#include "llm_sampler.h"
#include "llm_sched.h"
#include "llm_shape.h"
#include "llm_stop.h"
#include "llm_tag.h"
#include "llm_tokenizer.h"

#endif /* ZHENWU_LLM_H */
