/* SPDX-License-Identifier: MIT */
#ifndef FW_LOG_H
#define FW_LOG_H

#include "fw.h"

/* Ring of lines in the shared window. */
void log_init(void);
/* Formats: %s %d %u %x (32 bits) and %lx %lu (64 bits). */
void fw_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern volatile struct zw_fw_shared *const fw_shared;

#endif /* FW_LOG_H */
