/* SPDX-License-Identifier: MIT */
#ifndef FW_CTL_H
#define FW_CTL_H

#include "fw.h"

/*
 * What the driver does with a queue that exists. These answer the message themselves, now or when
 * the command processor has let go.
 */
void queue_destroy(uint32_t id, uint32_t reply_to);
void queue_suspend(uint32_t id, uint32_t reply_to);
void queue_resume(uint32_t id, uint32_t reply_to);
void queue_doorbells(void); /* those that rang since the last call */

#endif /* FW_CTL_H */
