/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Zhenwu LLM accelerator: snapshots and migration
 *
 * The core gives its state as one stream, also in the middle of jobs
 * (zw_device_save()); HBM is RAM like any other.  While the VM is stopped the
 * core stands still, so both fit together.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-types-migration.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie_aer.h"
#include "migration/client-options.h"
#include "migration/misc.h"
#include "migration/qemu-file-types.h"
#include "trace.h"
#include "zhenwu.h"
#include "zw_core.h"
#include "zw_present.h"

#define ZW_READ_STEP (1 * MiB)

/* Standing still */

void zw_settle(ZhenwuState *s)
{
    zw_device_pause(s->core);
    zw_device_continue(s->core);
    zw_core_bh(s);
}

/*
 * The core's threads may need the BQL to come to rest: to raise an interrupt,
 * or where DMA goes through MMIO dispatch.  Vcpus have stopped already, so
 * letting go of it lets in little more than the monitor.
 */
static void zw_stand_still(ZhenwuState *s)
{
    struct zw_device *core = s->core;

    s->waiting++;
    object_ref(OBJECT(s));
    bql_unlock();
    zw_device_pause(core);
    bql_lock();
    s->waiting--;
    if (!s->core) {
        zw_core_bh(s); /* unplugged meanwhile */
    } else if (s->still || runstate_is_live(runstate_get())) {
        zw_device_continue(core);
    } else {
        s->still = true;
        zw_settle(s);
    }
    object_unref(OBJECT(s));
}

static void zw_vm_state_change(void *opaque, bool running, RunState state)
{
    ZhenwuState *s = opaque;

    if (!s->core || s->still != running) {
        return;
    }
    trace_zw_run(running);
    if (running) {
        s->still = false;
        zw_device_continue(s->core);
    } else {
        zw_stand_still(s);
    }
}

/* State of the core: a 64-bit length, and that many bytes */

static int zw_put_core(QEMUFile *f, void *pv, size_t size,
                       const VMStateField *field, JSONWriter *vmdesc)
{
    ZhenwuState *s = pv;
    char err[256] = "";
    void *buf;
    size_t len;
    int ret;

    ret = zw_device_save(s->core, &buf, &len, err, sizeof(err));
    trace_zw_save(ret ? 0 : len, ret);
    if (ret) {
        error_report("zhenwu: state cannot be saved: %s", err);
        return ret;
    }
    qemu_put_be64(f, len);
    qemu_put_buffer(f, buf, len);
    free(buf);
    return 0;
}

/*
 * Memory grows with what really comes, not with what the stream says will
 * come.  NULL when it ends too early.
 */
static uint8_t *zw_read(QEMUFile *f, uint64_t len)
{
    g_autofree uint8_t *buf = NULL;
    uint64_t room = 0;

    for (uint64_t at = 0; at < len; ) {
        size_t n = MIN(len - at, ZW_READ_STEP);

        if (at + n > room) {
            uint8_t *more;

            room = MIN(len, MAX(2 * room, ZW_READ_STEP));
            more = g_try_realloc(buf, room);
            if (!more) {
                return NULL;
            }
            buf = more;
        }
        if (qemu_get_buffer(f, buf + at, n) != n) {
            return NULL;
        }
        at += n;
    }
    return g_steal_pointer(&buf);
}

static int zw_get_core(QEMUFile *f, void *pv, size_t size,
                       const VMStateField *field)
{
    ZhenwuState *s = pv;
    uint64_t len = qemu_get_be64(f);
    g_autofree uint8_t *buf = NULL;
    char err[256] = "";
    int ret;

    if (!len || len > zw_device_state_max(s->core)) {
        error_report("zhenwu: %" PRIu64 " bytes are not the state of this "
                     "device", len);
        return -EINVAL;
    }
    buf = zw_read(f, len);
    if (!buf) {
        error_report("zhenwu: the state is cut off");
        return -EIO;
    }
    ret = zw_device_load(s->core, buf, len, err, sizeof(err));
    trace_zw_load(len, ret);
    if (ret) {
        error_report("zhenwu: state cannot be loaded: %s", err);
    }
    return ret;
}

static const VMStateInfo vmstate_info_core = {
    .name = "zhenwu core",
    .get = zw_get_core,
    .put = zw_put_core,
};

const VMStateDescription vmstate_zhenwu = {
    .name = TYPE_ZHENWU,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, ZhenwuState),
        VMSTATE_MSIX(parent_obj, ZhenwuState),
        VMSTATE_STRUCT(parent_obj.exp.aer_log, ZhenwuState, 0,
                       vmstate_pcie_aer_log, PCIEAERLog),
        {
            .name = "core",
            .info = &vmstate_info_core,
            .flags = VMS_SINGLE,
        },
        VMSTATE_END_OF_LIST()
    }
};

/* HBM */

void zw_hbm_dirty(void *opaque, uint64_t off, uint64_t len)
{
    ZhenwuState *s = opaque;

    zw_rcu_enter();
    memory_region_set_dirty(&s->hbm, off, len);
}

static void zw_not_sent(ZhenwuState *s, MemoryRegionSection *section,
                        uint64_t from, uint64_t to,
                        ReplayRamDiscard replay_fn, void *opaque)
{
    uint8_t *base = memory_region_get_ram_ptr(&s->hbm);
    MemoryRegionSection part = *section;
    uint64_t at = from, end;

    if (from >= to) {
        return;
    }
    part.offset_within_region = from;
    part.offset_within_address_space += from - section->offset_within_region;
    part.size = int128_make64(to - from);
    replay_fn(&part, opaque);
    /*
     * From here on the dirty log sees who writes there.  A write before may
     * have been forgotten with the rest, but has left a page behind.
     */
    for (; at < to && zw_present_range(base, to, &at, &end); at = end) {
        memory_region_set_dirty(&s->hbm, at, MIN(end, to) - at);
    }
}

/*
 * What migration need not send: pages without contents.  To everybody else
 * all of HBM is there, as it can be written at any time and nobody would be
 * told; so this is the only method that knows of holes.
 */
static void zw_replay_discarded(const RamDiscardManager *rdm,
                                MemoryRegionSection *section,
                                ReplayRamDiscard replay_fn, void *opaque)
{
    ZhenwuState *s = ZHENWU(rdm);
    uint8_t *base = memory_region_get_ram_ptr(&s->hbm);
    uint64_t hole = section->offset_within_region;
    uint64_t size = hole + int128_get64(section->size);
    uint64_t at = hole, end;

    while (at < size && zw_present_range(base, size, &at, &end)) {
        zw_not_sent(s, section, hole, at, replay_fn, opaque);
        hole = at = MIN(end, size);
    }
    zw_not_sent(s, section, hole, size, replay_fn, opaque);
}

static uint64_t zw_get_min_granularity(const RamDiscardManager *rdm,
                                       const MemoryRegion *mr)
{
    /* HBM comes and goes as a whole. */
    return pow2floor(memory_region_size((MemoryRegion *)mr));
}

static bool zw_is_populated(const RamDiscardManager *rdm,
                            const MemoryRegionSection *section)
{
    return true;
}

static int zw_replay_populated(const RamDiscardManager *rdm,
                               MemoryRegionSection *section,
                               ReplayRamPopulate replay_fn, void *opaque)
{
    return replay_fn(section, opaque);
}

static void zw_register_listener(RamDiscardManager *rdm,
                                 RamDiscardListener *rdl,
                                 MemoryRegionSection *section)
{
    int ret;

    rdl->section = memory_region_section_new_copy(section);
    ret = rdl->notify_populate(rdl, rdl->section);
    if (ret) {
        error_report("zhenwu: HBM is refused by who would use it: %s",
                     strerror(-ret));
    }
}

static void zw_unregister_listener(RamDiscardManager *rdm,
                                   RamDiscardListener *rdl)
{
    rdl->notify_discard(rdl, rdl->section);
    memory_region_section_free_copy(rdl->section);
    rdl->section = NULL;
}

/*
 * Pages without contents are found out once, at the beginning.  Both of these
 * ask for pages later, and by then others have none.
 */
static int zw_migration_event(NotifierWithReturn *notify, MigrationEvent *e,
                              Error **errp)
{
    if (e->type != MIG_EVENT_PRECOPY_SETUP) {
        return 0;
    }
    if (migrate_postcopy_ram() || migrate_background_snapshot()) {
        error_setg(errp, "zhenwu: HBM cannot be migrated with the capability "
                   "%s", migrate_postcopy_ram() ? "postcopy-ram"
                                                : "background-snapshot");
        return -ENOTSUP;
    }
    return 0;
}

/* Life */

void zw_migrate_init(ZhenwuState *s)
{
    vmstate_register_ram(&s->hbm, DEVICE(s));
    memory_region_set_ram_discard_manager(&s->hbm, RAM_DISCARD_MANAGER(s));
    migration_add_notifier(&s->migration, zw_migration_event);
    s->vm_state = qdev_add_vm_change_state_handler(DEVICE(s),
                                                   zw_vm_state_change, s);
    /* Above all what comes in finds nobody at work. */
    if (!runstate_is_live(runstate_get())) {
        zw_device_pause(s->core); /* it has just been made and is at rest */
        s->still = true;
    }
}

void zw_migrate_exit(ZhenwuState *s)
{
    if (!s->vm_state) {
        return;
    }
    qemu_del_vm_change_state_handler(s->vm_state);
    s->vm_state = NULL;
    migration_remove_notifier(&s->migration);
    memory_region_set_ram_discard_manager(&s->hbm, NULL);
    /* The region may live on for a while, and a new device take its place. */
    vmstate_unregister_ram(&s->hbm, DEVICE(s));
}

void zw_migrate_class_init(ObjectClass *oc)
{
    RamDiscardManagerClass *rdmc = RAM_DISCARD_MANAGER_CLASS(oc);

    rdmc->get_min_granularity = zw_get_min_granularity;
    rdmc->is_populated = zw_is_populated;
    rdmc->replay_populated = zw_replay_populated;
    rdmc->replay_discarded = zw_replay_discarded;
    rdmc->register_listener = zw_register_listener;
    rdmc->unregister_listener = zw_unregister_listener;
}
