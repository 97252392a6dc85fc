/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Zhenwu LLM accelerator: what the files of the PCIe glue share
 */

#ifndef HW_MISC_ZHENWU_H
#define HW_MISC_ZHENWU_H

#include "exec/memory.h"
#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"
#include "qemu/notify.h"
#include "qemu/uuid.h"
#include "qom/object.h"
#include "system/runstate.h"

#define TYPE_ZHENWU "zhenwu"
OBJECT_DECLARE_SIMPLE_TYPE(ZhenwuState, ZHENWU)

struct ZhenwuState {
    PCIDevice parent_obj;

    MemoryRegion bar0;
    MemoryRegion bar2;      /* power of two around the aperture */
    MemoryRegion bar4;
    MemoryRegion hbm;       /* all of it */
    MemoryRegion aperture;  /* alias of its first bytes */

    AddressSpace *dma_as;   /* without a checked cast for each transfer */
    struct zw_device *core; /* NULL: unplugged */
    struct zw_device *old;  /* the core of an unplugged device, until it ends */
    bool gone;              /* atomic: unplugged, no more DMA */
    bool core_ended;        /* atomic: all threads of the core have ended */
    bool still;             /* the VM is stopped, and the core at rest */
    unsigned int waiting;   /* for the core without the BQL: keep it */
    QEMUBH *bh;
    unsigned int warnings;  /* atomic */

    VMChangeStateEntry *vm_state;
    NotifierWithReturn migration;

    char *profile_name;
    uint64_t hbm_size;
    uint64_t aperture_size;
    int32_t workers;
    uint32_t progress_ms;
    uint32_t num_queues;
    uint32_t num_vms;
    QemuUUID uuid;
    uint64_t backing_limit;
};

/* Before the first use of RCU on a thread that may be the core's */
void zw_rcu_enter(void);
/* What the core has done and waits for the BQL's owner to see */
void zw_core_bh(void *opaque);

/* zhenwu-migrate.c */

extern const VMStateDescription vmstate_zhenwu;

void zw_migrate_class_init(ObjectClass *oc);
/* After the core was made */
void zw_migrate_init(ZhenwuState *s);
/* Also when zw_migrate_init() was not reached */
void zw_migrate_exit(ZhenwuState *s);
/* In a VM that stands still: a reset that began is done */
void zw_settle(ZhenwuState *s);
/* The core wrote there: any of its threads */
void zw_hbm_dirty(void *opaque, uint64_t off, uint64_t len);

#endif
