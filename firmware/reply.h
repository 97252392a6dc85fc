/* SPDX-License-Identifier: MIT */
#ifndef FW_REPLY_H
#define FW_REPLY_H

#include "fw.h"

/* The firmware's half of the mailbox. */
void reply_init(void);
/* Answers request number reply_to; 0: an event. payload may be NULL. */
void mbox_reply(uint32_t type, uint32_t reply_to, uint32_t status, const void *payload,
		uint32_t len);

#endif /* FW_REPLY_H */
