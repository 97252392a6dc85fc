/* SPDX-License-Identifier: MIT */
/*
 * What libzhenwu-sim gives to libzhenwu, which loads it when a simulator is opened: programs that
 * use a card need neither the device model nor its size.
 *
 * The two share the private structures of transport.h, so they have to be of one build. Whatever
 * changes those structures changes SIM_MODULE_ABI or the sizes.
 */
#ifndef ZW_SIM_MODULE_H
#define ZW_SIM_MODULE_H

#include "transport.h"

#define SIM_MODULE_ABI    1
#define SIM_MODULE_SYMBOL "zw_sim_module"
#define SIM_MODULE_FILE   "libzhenwu-sim.so.0"

struct sim_module {
	uint32_t abi;      /* SIM_MODULE_ABI */
	uint32_t version;  /* ZW_VERSION */
	uint32_t sizes[4]; /* of struct transport_ops, zw_dev, zw_dev_options, zw_fence */
	int (*open)(struct zw_dev *dev, const struct zw_dev_options *opt, struct zw_error *err);
};

#define SIM_MODULE_SIZES                                                                           \
	{                                                                                          \
		sizeof(struct transport_ops), sizeof(struct zw_dev),                               \
			sizeof(struct zw_dev_options), sizeof(struct zw_fence)                     \
	}

#endif
