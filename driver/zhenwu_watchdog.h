/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_WATCHDOG_H__
#define __ZHENWU_WATCHDOG_H__

struct work_struct;
struct zhenwu_device;
struct zhenwu_queue;

u32 zhenwu_watchdog_job_timeout_ms(void);
void zhenwu_watchdog_start_locked(struct zhenwu_queue *queue);
void zhenwu_watchdog_kick(struct zhenwu_device *zdev);
void zhenwu_watchdog_work(struct work_struct *work);

#endif /* __ZHENWU_WATCHDOG_H__ */
