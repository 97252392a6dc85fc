// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
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

void zw_rt_log(struct zw_dev *dev, enum zw_dev_log_level level, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!dev->log || level > dev->log_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	dev->log(dev->log_opaque, level, line);
}

int zw_rt_error(struct zw_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
	}
	return code;
}
