// SPDX-License-Identifier: MIT
#include "tool_number.h"

#include <errno.h>
#include <stdlib.h>

bool tool_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *v)
{
	char *end;
	unsigned long long u;

	if (s[0] < '0' || s[0] > '9')
		return false;
	errno = 0;
	u = strtoull(s, &end, 10);
	if (errno || *end || u < min || u > max)
		return false;
	*v = u;
	return true;
}

bool tool_parse_u32(const char *s, uint32_t min, uint32_t max, uint32_t *v)
{
	uint64_t u;

	if (!tool_parse_u64(s, min, max, &u))
		return false;
	*v = (uint32_t)u;
	return true;
}

bool tool_parse_double(const char *s, double min, double *v)
{
	char *end;

	*v = strtod(s, &end);
	/* Written so that NaN fails. */
	return end != s && !*end && *v >= min && *v < 1e15;
}
