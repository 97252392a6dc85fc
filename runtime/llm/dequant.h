/* SPDX-License-Identifier: MIT */
/* The records of GGUF files as numbers. */
#ifndef LLM_DEQUANT_H
#define LLM_DEQUANT_H

#include <stdint.h>

#include <zhenwu/zhenwu.h>

/*
 * n elements, whole records of a type of ZW_DT_BLOCKED, to binary32. Products are exact; where a minimum
 * is subtracted or added, that rounds once: what Documentation/device/numerics.md says of them.
 * Thread safety: pure.
 */
void llm_dequant(uint32_t dtype, const void *src, float *dst, uint64_t n);

/* Value of an IEEE binary16. */
float llm_f16_value(uint16_t h);

#endif
