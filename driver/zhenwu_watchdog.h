/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_WATCHDOG_H__
#define __ZHENWU_WATCHDOG_H__

struct work_struct;

void zhenwu_watchdog_work(struct work_struct *work);

#endif /* __ZHENWU_WATCHDOG_H__ */
