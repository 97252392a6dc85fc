/* SPDX-License-Identifier: MIT */
#ifndef FW_TELEMETRY_H
#define FW_TELEMETRY_H

#include "fw.h"

/* ZW_MSG_TELEMETRY; enum zw_msg_status. */
uint32_t telemetry_set(const struct zw_msg_telemetry *m);
/* Takes a sample if it is time. Returns when to come again, in microseconds; UINT64_MAX: never. */
uint64_t telemetry_run(void);

#endif /* FW_TELEMETRY_H */
