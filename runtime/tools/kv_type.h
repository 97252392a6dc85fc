/* SPDX-License-Identifier: MIT */
/* Types of the KV cache as the tools name them. */
#ifndef ZW_KV_TYPE_H
#define ZW_KV_TYPE_H

#include <stdint.h>
#include <string.h>

#include "zhenwu/zw_types.h"

/* enum zw_dtype, or 0 for a name that is none. */
static inline uint32_t kv_type_find(const char *name)
{
	if (!strcmp(name, "bf16"))
		return ZW_DTYPE_BF16;
	if (!strcmp(name, "int8"))
		return ZW_DTYPE_I8;
	return strcmp(name, "fp8") ? 0 : ZW_DTYPE_F8E4M3;
}

#endif
