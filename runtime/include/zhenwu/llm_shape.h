/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: models by the names of their published sizes, for devices that compute nothing
 * (ZW_DEV_TIMING_ONLY). Conventions are those of <zhenwu/llm.h>.
 */
#ifndef ZHENWU_LLM_SHAPE_H
#define ZHENWU_LLM_SHAPE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Name of the i-th size, as struct zw_model_options takes it; NULL behind the last. Thread safe. */
ZW_API const char *zw_shape_name(size_t i);

/**
 * For a name whose size is not public: one line that says so, and which size stands in for it; the user
 * should see it. NULL for all others. Thread safe.
 */
ZW_API const char *zw_shape_note(const char *name);

/** Name of the i-th format of weights that a model without any can be given; NULL behind the last.
 *  Thread safe. */
ZW_API const char *zw_shape_weights(size_t i);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_SHAPE_H */
