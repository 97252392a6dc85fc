// SPDX-License-Identifier: MIT
#include <time.h>

#include "transport.h"

ZW_API uint32_t zw_version(void)
{
	return ZW_VERSION;
}

ZW_API int64_t zw_deadline(int64_t ns)
{
	struct timespec ts;
	int64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	if (ns < 0)
		return now;
	return ns > INT64_MAX - now ? INT64_MAX : now + ns;
}
