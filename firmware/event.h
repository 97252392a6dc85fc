/* SPDX-License-Identifier: MIT */
#ifndef FW_EVENT_H
#define FW_EVENT_H

#include "fw.h"

/* ZW_MSG_EVENTS; enum zw_msg_status. */
uint32_t event_allow(const struct zw_msg_events *m);
/* ZW_SOC_IRQ_ECC is pending: tells the host what there is, as far as it allowed. */
void event_run(void);

#endif /* FW_EVENT_H */
