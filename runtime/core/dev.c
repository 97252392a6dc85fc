// SPDX-License-Identifier: MIT
/* Opening a device: which one, over which transport. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "transport.h"

#define SYSFS "/sys"
#define DEVFS "/dev"

static void log_stderr(void *opaque, enum zw_dev_log_level level, const char *msg)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};

	(void)opaque;
	fprintf(stderr, "zhenwu: %s: %s\n", names[level], msg);
}

/* $ZW_LOG: error (default), warn, info, debug, or none. */
static int log_setup(struct zw_dev *dev, const struct zw_dev_options *opt, struct zw_error *err)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	const char *env = getenv("ZW_LOG");

	if (opt->log) {
		dev->log = opt->log;
		dev->log_opaque = opt->log_opaque;
		dev->log_level = ZW_DEV_LOG_DEBUG;
		return 0;
	}
	dev->log = log_stderr;
	dev->log_level = ZW_DEV_LOG_ERROR;
	if (!env || !*env)
		return 0;
	if (!strcmp(env, "none")) {
		dev->log = NULL;
		return 0;
	}
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(env, names[i])) {
			dev->log_level = (enum zw_dev_log_level)i;
			return 0;
		}
	}
	return zw_rt_error(err, -EINVAL, "ZW_LOG=%.40s: not none, error, warn, info or debug", env);
}

static int open_by_spec(struct zw_dev *dev, const char *spec, const struct zw_dev_options *opt,
			struct zw_error *err)
{
	bool timing = opt->flags & ZW_DEV_TIMING_ONLY;

	if (!strcmp(spec, "sim") || (timing && !strcmp(spec, "auto")))
		return zw_rt_sim_open(dev, opt, err);
	if (timing && !strncmp(spec, "drm", 3))
		return zw_rt_error(err, -EOPNOTSUPP,
				   "device \"%.60s\": timing without computing is a mode of the "
				   "simulator: device sim",
				   spec);
	if (!strcmp(spec, "drm"))
		return zw_rt_drm_open(dev, SYSFS, DEVFS, 0, opt, err);
	if (!strncmp(spec, "drm:", 4)) {
		char *end;
		long n;

		errno = 0;
		n = strtol(spec + 4, &end, 10);
		if (end == spec + 4 || *end || errno || n < 0 || n > 4095 || spec[4] == '+' ||
		    spec[4] == ' ')
			return zw_rt_error(err, -EINVAL,
					   "device \"%.60s\": N of drm:N is no number", spec);
		return zw_rt_drm_open(dev, SYSFS, DEVFS, (int)n, opt, err);
	}
	if (!strcmp(spec, "auto")) {
		int ret = zw_rt_drm_open(dev, SYSFS, DEVFS, -1, opt, err);

		/*
		 * Only "there is none" leads on to sim. One that is there and cannot be used (no
		 * permission, another driver version, broken) is for the user to know of, not to
		 * be pretended away.
		 */
		if (ret != -ENXIO)
			return ret;
		zw_rt_log(dev, ZW_DEV_LOG_INFO, "no accelerator node, using the simulator");
		return zw_rt_sim_open(dev, opt, err);
	}
	return zw_rt_error(err, -EINVAL, "device \"%.60s\": not auto, drm, drm:N or sim", spec);
}

ZW_API int zw_dev_open(const char *spec, const struct zw_dev_options *options, struct zw_dev **out,
		       struct zw_error *err)
{
	struct zw_dev_options opt = {.size = sizeof(opt)};
	pthread_condattr_t attr;
	struct zw_dev *dev;
	int ret;

	*out = NULL;
	if (options) {
		ret = sized_in(&opt, sizeof(opt), SIZED_V0(struct zw_dev_options, log_opaque),
			       options);
		if (ret)
			return zw_rt_error(err, ret,
					   ret == -E2BIG ? "options have a tail this library does "
							   "not know"
							 : "options have no sensible size");
	}
	if (opt.flags & ~(uint32_t)(ZW_DEV_TIMING_ONLY | ZW_DEV_TRACE) || opt.reserved)
		return zw_rt_error(err, -EINVAL, "options have unknown flags");
	if (!spec)
		spec = getenv("ZW_DEVICE");
	if (!spec || !*spec)
		spec = "auto";
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return zw_rt_error(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&dev->submit_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->submitted, &attr);
	pthread_condattr_destroy(&attr);
	dev->trace = opt.flags & ZW_DEV_TRACE;
	ret = log_setup(dev, &opt, err);
	if (!ret)
		ret = open_by_spec(dev, spec, &opt, err);
	if (!ret) {
		struct zw_dev_attrs a;

		memset(&a, 0, sizeof(a));
		ret = dev->ops->get_attrs(dev, &a);
		dev->dtypes = a.dtypes;
		if (ret) {
			zw_rt_error(err, ret, "%s: the device does not say what it is: %s",
				    dev->spec, strerror(-ret));
			dev->ops->close(dev);
		}
	}
	if (ret) {
		pthread_cond_destroy(&dev->submitted);
		pthread_mutex_destroy(&dev->submit_lock);
		free(dev);
		return ret;
	}
	*out = dev;
	return 0;
}

ZW_API int zw_dev_close(struct zw_dev *dev)
{
	if (!dev)
		return 0;
	if (atomic_load(&dev->children))
		return -EBUSY;
	dev->ops->close(dev);
	pthread_cond_destroy(&dev->submitted);
	pthread_mutex_destroy(&dev->submit_lock);
	free(dev);
	return 0;
}

ZW_API int zw_dev_check_packet(const struct zw_dev *dev, const void *buf, size_t avail,
			       struct zw_error *what)
{
	return zw_cmd_check_supported(buf, avail, dev->dtypes, what);
}

ZW_API int zw_dev_get_attrs(struct zw_dev *dev, struct zw_dev_attrs *attrs)
{
	struct zw_dev_attrs a;
	int ret;

	memset(&a, 0, sizeof(a));
	ret = sized_check(attrs->size, SIZED_V0(struct zw_dev_attrs, reserved));
	if (!ret)
		ret = dev->ops->get_attrs(dev, &a);
	if (ret)
		return ret;
	a.transport = dev->transport;
	snprintf(a.transport_name, sizeof(a.transport_name), "%s", dev->ops->name);
	memcpy(a.spec, dev->spec, sizeof(a.spec));
	return sized_out(attrs, SIZED_V0(struct zw_dev_attrs, reserved), &a, sizeof(a));
}

ZW_API int zw_dev_get_counters(struct zw_dev *dev, struct zw_dev_counters *counters)
{
	struct zw_dev_counters c;
	int ret;

	memset(&c, 0, sizeof(c));
	ret = sized_check(counters->size, SIZED_V0(struct zw_dev_counters, fw_heartbeat));
	if (!ret)
		ret = dev->ops->get_counters(dev, &c);
	if (ret)
		return ret;
	return sized_out(counters, SIZED_V0(struct zw_dev_counters, fw_heartbeat), &c, sizeof(c));
}

ZW_API int zw_dev_read_trace(struct zw_dev *dev, struct zw_trace_record *records, size_t max,
			     size_t record_size, uint64_t *lost)
{
	int ret;

	if (record_size > UINT32_MAX || (max && !records))
		return -EINVAL;
	ret = sized_check((uint32_t)record_size, SIZED_V0(struct zw_trace_record, host_ns));
	if (ret)
		return ret;
	return dev->ops->read_trace(dev, records, max > INT32_MAX ? INT32_MAX : max, record_size,
				    lost);
}

ZW_API int zw_dev_set_telemetry(struct zw_dev *dev, uint32_t interval_us)
{
	if (interval_us && (interval_us < ZW_TELEMETRY_MIN_US || interval_us > ZW_TELEMETRY_MAX_US))
		return -EINVAL;
	return dev->ops->set_telemetry(dev, interval_us);
}

ZW_API int zw_dev_read_telemetry(struct zw_dev *dev, struct zw_dev_sample *samples, size_t max,
				 size_t sample_size, uint64_t *seq, uint64_t *lost,
				 int64_t deadline_ns)
{
	uint64_t missing = 0;
	int ret;

	if (!max || !samples || !seq || deadline_ns < 0 || sample_size > UINT32_MAX ||
	    sample_size % 8)
		return -EINVAL;
	ret = sized_check((uint32_t)sample_size, SIZED_V0(struct zw_dev_sample, counter));
	if (ret)
		return ret;
	ret = dev->ops->read_telemetry(dev, samples,
				       max < ZW_RT_MAX_SAMPLES ? (uint32_t)max : ZW_RT_MAX_SAMPLES,
				       sample_size, seq, &missing, deadline_ns);
	if (ret >= 0 && lost)
		*lost = missing;
	return ret;
}

ZW_API int zw_dev_list(struct zw_dev_entry *entries, size_t max, size_t entry_size)
{
	struct zw_dev_entry *own = NULL;
	int ret, filled;

	if (entry_size > UINT32_MAX || (max && !entries))
		return -EINVAL;
	ret = sized_check((uint32_t)entry_size, SIZED_V0(struct zw_dev_entry, reserved));
	if (ret)
		return ret;
	if (max > ZW_RT_MAX_NODES)
		max = ZW_RT_MAX_NODES;
	if (max) {
		own = calloc(max, sizeof(*own));
		if (!own)
			return -ENOMEM;
	}
	ret = zw_rt_drm_list(SYSFS, DEVFS, getenv("ZW_VISIBLE_DEVICES"), own, max);
	filled = ret < (int)max ? ret : (int)max;
	for (int i = 0; i < filled; i++) {
		char *to = (char *)entries + (size_t)i * entry_size;
		size_t n = entry_size < sizeof(*own) ? entry_size : sizeof(*own);

		memset(to, 0, entry_size);
		memcpy(to, &own[i], n);
	}
	free(own);
	return ret;
}
