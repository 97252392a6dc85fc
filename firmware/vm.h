/* SPDX-License-Identifier: MIT */
#ifndef FW_VM_H
#define FW_VM_H

#include "fw.h"

/* Address spaces: which have a root, who uses them, who waits for the MMU. */
bool vm_exists(uint32_t vm);
void vm_get(uint32_t vm); /* a queue begins to use it ... */
void vm_put(uint32_t vm); /* ... and no longer does */

/* Requests. The first returns its status, the others answer themselves, now or later. */
uint32_t vm_set(const struct zw_msg_set_vm *m);
void vm_clear(const struct zw_msg_set_vm *m, uint32_t reply_to);
void vm_invalidate(const struct zw_msg_tlb *m, uint32_t reply_to);
/* Answers the requests that waited for the MMU to let go of old translations. */
void vm_tlb_done(void);

#endif /* FW_VM_H */
