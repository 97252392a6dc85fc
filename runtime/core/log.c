// SPDX-License-Identifier: MIT
/* Lines for the log and for errors. In the library and in the simulator, which are apart. */
#include <stdarg.h>
#include <stdio.h>

#include "transport.h"

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
