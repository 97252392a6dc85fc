/* SPDX-License-Identifier: MIT */
/* Decimal numbers of the command line, within bounds: whole ones are nothing but digits. */
#ifndef ZW_TOOL_NUMBER_H
#define ZW_TOOL_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

bool tool_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *v);
bool tool_parse_u32(const char *s, uint32_t min, uint32_t max, uint32_t *v);
/* Less than 10^15, and a number. */
bool tool_parse_double(const char *s, double min, double *v);

#endif
