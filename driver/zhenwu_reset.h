/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_RESET_H__
#define __ZHENWU_RESET_H__

#include <linux/types.h>

struct pci_dev;
struct work_struct;
struct zhenwu_device;

void zhenwu_reset_work(struct work_struct *work);
void zhenwu_reset_schedule(struct zhenwu_device *zdev);
void zhenwu_reset_wait(struct zhenwu_device *zdev, u32 gen);
void zhenwu_reset_stop(struct zhenwu_device *zdev);
void zhenwu_reset_flr_prepare(struct pci_dev *pdev);
void zhenwu_reset_flr_done(struct pci_dev *pdev);

#endif /* __ZHENWU_RESET_H__ */
