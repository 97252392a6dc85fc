/* SPDX-License-Identifier: MIT */
#ifndef FW_MBOX_H
#define FW_MBOX_H

#include "fw.h"

/* The driver's half of the mailbox: requests. */
void mbox_init(void);
void mbox_poll(void);

#endif /* FW_MBOX_H */
