/* SPDX-License-Identifier: MIT */
#ifndef FW_SCHED_H
#define FW_SCHED_H

#include "fw.h"

/* Who runs on the command processor. */
void sched_cp_done(void);
/* Starts or preempts as needed; returns the time at which it wants to be called again, ~0: when
 * something happens. */
uint64_t sched_run(void);
void sched_stop_running(bool cancel); /* preempt or cancel what runs now */

#endif /* FW_SCHED_H */
