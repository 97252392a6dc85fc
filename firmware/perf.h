/* SPDX-License-Identifier: MIT */
/* Records of single packets, which the device makes, into a ring of the driver's. */
#ifndef PERF_H
#define PERF_H

#include "fw.h"

/* ZW_MSG_PERF and ZW_MSG_SETTLE; status of the reply. */
uint32_t perf_set(const struct zw_msg_perf *m);
uint32_t perf_settle(void);
/* Every turn: has what there is written, as far as the driver has room. */
void perf_run(void);

#endif /* PERF_H */
