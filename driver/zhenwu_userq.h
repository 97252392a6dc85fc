/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_USERQ_H__
#define __ZHENWU_USERQ_H__

#include <linux/types.h>

struct drm_device;
struct drm_file;
struct vm_area_struct;
struct zhenwu_device;
struct zhenwu_file;
struct zhenwu_queue;
struct zhenwu_user_rings;
struct zhenwu_vm;
struct zw_msg_queue_info;

bool zhenwu_userq_supported(struct zhenwu_device *zdev);
bool zhenwu_userq_fits(const struct zhenwu_user_rings *user, u32 slots,
		       const struct zhenwu_vm *vm);
int zhenwu_userq_init(struct zhenwu_queue *queue, const struct zhenwu_user_rings *user);
u64 zhenwu_userq_doorbell_offset(const struct zhenwu_queue *queue);
int zhenwu_userq_mmap(struct zhenwu_file *zfile, struct vm_area_struct *vma);
void zhenwu_userq_revoke(struct zhenwu_queue *queue);
void zhenwu_userq_revoke_all(struct zhenwu_device *zdev);
void zhenwu_userq_note(struct zhenwu_queue *queue, const struct zw_msg_queue_info *info);
int zhenwu_userq_ask(struct zhenwu_queue *queue);
bool zhenwu_userq_hung(struct zhenwu_queue *queue, u32 state, bool stalled);

int zhenwu_ioctl_queue_wait(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_USERQ_H__ */
