// SPDX-License-Identifier: MIT
/* The one symbol of libzhenwu-sim. */
#include "sim_module.h"

extern const struct sim_module zw_sim_module;

__attribute__((visibility("default"))) const struct sim_module zw_sim_module = {
	.abi = SIM_MODULE_ABI,
	.version = ZW_VERSION,
	.sizes = SIM_MODULE_SIZES,
	.open = zw_rt_sim_open,
};
