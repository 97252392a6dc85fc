// SPDX-License-Identifier: MIT
/* Finds libzhenwu-sim: $ZW_SIM_LIBRARY, beside this library, or where the loader looks. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_module.h"

/* The folder this library was loaded from, with a slash; empty when that is not known. */
static void own_folder(char *buf, size_t len)
{
	Dl_info info;
	const char *slash;

	buf[0] = '\0';
	if (!dladdr((void *)(uintptr_t)zw_rt_sim_open, &info) || !info.dli_fname)
		return;
	slash = strrchr(info.dli_fname, '/');
	if (slash && (size_t)(slash - info.dli_fname) + 2 <= len)
		snprintf(buf, len, "%.*s", (int)(slash - info.dli_fname) + 1, info.dli_fname);
}

static void *load(char *why, size_t len)
{
	const char *asked = getenv("ZW_SIM_LIBRARY"), *text;
	char path[4096];
	void *lib = NULL;

	if (asked && *asked) {
		lib = dlopen(asked, RTLD_NOW | RTLD_LOCAL);
	} else {
		own_folder(path, sizeof(path) - sizeof(SIM_MODULE_FILE));
		strcat(path, SIM_MODULE_FILE);
		if (strchr(path, '/'))
			lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		if (!lib)
			lib = dlopen(SIM_MODULE_FILE, RTLD_NOW | RTLD_LOCAL);
	}
	if (lib)
		return lib;
	text = dlerror();
	snprintf(why, len, "%s", text ? text : "unknown error");
	return NULL;
}

int zw_rt_sim_open(struct zw_dev *dev, const struct zw_dev_options *opt, struct zw_error *err)
{
	static const uint32_t sizes[] = SIM_MODULE_SIZES;
	const struct sim_module *m;
	char why[200] = "";
	void *lib = load(why, sizeof(why));
	int ret;

	if (!lib)
		return zw_rt_error(err, -ENOENT, "sim: the simulator is not installed: %s", why);
	m = dlsym(lib, SIM_MODULE_SYMBOL);
	if (!m || m->abi != SIM_MODULE_ABI || m->version != ZW_VERSION ||
	    memcmp(m->sizes, sizes, sizeof(sizes))) {
		dlclose(lib);
		return zw_rt_error(err, -EPROTO,
				   "sim: %s is not of the same build as this libzhenwu",
				   SIM_MODULE_FILE);
	}
	ret = m->open(dev, opt, err);
	/* Stays loaded while the device is open, and after: its threads end in its code. */
	if (ret)
		dlclose(lib);
	return ret;
}
