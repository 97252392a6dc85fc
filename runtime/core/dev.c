// SPDX-License-Identifier: MIT
/* Opening a device: which one, over which transport. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport.h"

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
	if (!strcmp(spec, "sim"))
		return zw_rt_sim_open(dev, opt, err);
	if (!strcmp(spec, "drm"))
		return zw_rt_drm_open(dev, 0, opt, err);
	if (!strncmp(spec, "drm:", 4)) {
		char *end;
		long n;

		errno = 0;
		n = strtol(spec + 4, &end, 10);
		if (end == spec + 4 || *end || errno || n < 0 || n > 4095 || spec[4] == '+' ||
		    spec[4] == ' ')
			return zw_rt_error(err, -EINVAL,
					   "device \"%.60s\": N of drm:N is no number", spec);
		return zw_rt_drm_open(dev, (int)n, opt, err);
	}
	if (!strcmp(spec, "auto")) {
		int ret = zw_rt_drm_open(dev, -1, opt, err);

		/* only "there is none to be had" leads on to sim: a broken device is no reason to
		 * pretend */
		if (ret != -ENODEV && ret != -EACCES)
			return ret;
		zw_rt_log(dev, ZW_DEV_LOG_INFO, "no usable accelerator node, using the simulator");
		return zw_rt_sim_open(dev, opt, err);
	}
	return zw_rt_error(err, -EINVAL, "device \"%.60s\": not auto, drm, drm:N or sim", spec);
}

ZW_API int zw_dev_open(const char *spec, const struct zw_dev_options *options, struct zw_dev **out,
		       struct zw_error *err)
{
	struct zw_dev_options opt = {.size = sizeof(opt)};
	struct zw_dev *dev;
	int ret;

	*out = NULL;
	if (options) {
		ret = zw_rt_struct_in(&opt, sizeof(opt), options);
		if (ret)
			return zw_rt_error(err, ret, "options have an unknown size");
	}
	if (opt.flags || opt.reserved)
		return zw_rt_error(err, -EINVAL, "options have unknown flags");
	if (!spec)
		spec = getenv("ZW_DEVICE");
	if (!spec || !*spec)
		spec = "auto";
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return zw_rt_error(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&dev->submit_lock, NULL);
	ret = log_setup(dev, &opt, err);
	if (!ret)
		ret = open_by_spec(dev, spec, &opt, err);
	if (ret) {
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
	pthread_mutex_destroy(&dev->submit_lock);
	free(dev);
	return 0;
}

ZW_API int zw_dev_get_attrs(struct zw_dev *dev, struct zw_dev_attrs *attrs)
{
	struct zw_dev_attrs a;
	int ret;

	memset(&a, 0, sizeof(a));
	ret = dev->ops->get_attrs(dev, &a);
	if (ret)
		return ret;
	a.transport = dev->transport;
	snprintf(a.transport_name, sizeof(a.transport_name), "%s", dev->ops->name);
	memcpy(a.spec, dev->spec, sizeof(a.spec));
	zw_rt_struct_out(attrs, &a, sizeof(a));
	return 0;
}

ZW_API int zw_dev_get_counters(struct zw_dev *dev, struct zw_dev_counters *counters)
{
	struct zw_dev_counters c;
	int ret;

	memset(&c, 0, sizeof(c));
	ret = dev->ops->get_counters(dev, &c);
	if (!ret)
		zw_rt_struct_out(counters, &c, sizeof(c));
	return ret;
}

ZW_API int zw_dev_list(struct zw_dev_entry *entries, size_t max, size_t entry_size)
{
	if (entry_size != sizeof(*entries) || (max && !entries))
		return -EINVAL;
	return zw_rt_drm_list("/sys", "/dev", getenv("ZW_VISIBLE_DEVICES"), entries, max);
}
