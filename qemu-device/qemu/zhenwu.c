/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Zhenwu LLM accelerator: PCIe glue
 *
 * The device itself is the library in core/: registers, control core, command
 * processor, engines, MMU.  This file gives it a place on the PCIe bus: BARs,
 * DMA, MSI-X, reset and properties.
 *
 * Locking.  BAR0 handlers, reset and exit run under the BQL and call into the
 * core, which answers at once: it holds its own locks for a few instructions
 * only, and never while it calls back.  The core's threads work without the BQL
 * and take it, with no lock of theirs held, to raise MSI-X and inside of the
 * memory API, where DMA goes through MMIO dispatch (ROM, a vIOMMU's faults).
 *
 * So nobody who has the BQL waits for a core thread, unless the VM is stopped
 * and the core with it (zhenwu-migrate.c).  Letting go of it while
 * waiting would be no way out: FLR and slot power are configuration writes, and
 * until such a write returns the bridge refuses every other CPU's as re-entrant
 * and devices may not come and go.  Instead reset and exit only begin here; the
 * core reports when it is done, and a bottom half does the rest.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "exec/cpu-common.h"
#include "exec/ramblock.h"
#include "hw/boards.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/resettable.h"
#include "trace.h"
#include "zhenwu.h"
#include "zhenwu/zw_regs.h"
#include "zw_core.h"
#include "zw_profile.h"
#include "zw_sha256.h"

#define ZW_MSIX_BAR_SIZE    4096
#define ZW_MSIX_PBA         2048
#define ZW_AER_OFFSET       0x100
#define ZW_APERTURE_DEFAULT (16 * GiB)
#define ZW_GRANULE          (2 * MiB)
#define ZW_WORKERS_AUTO     (-1)
#define ZW_LIMIT_AUTO       UINT64_MAX
/* Firmware comes from the guest, which must not be able to fill our stderr. */
#define ZW_MAX_WARNINGS     16

/* Core callbacks: any thread, mostly without the BQL */

static void zw_rcu_leave(gpointer unused)
{
    rcu_unregister_thread();
}

static GPrivate zw_rcu_member = G_PRIVATE_INIT(zw_rcu_leave);

/*
 * Memory dispatch runs in RCU read sections, so its threads have to be known
 * to RCU.  The core makes its threads itself: they enrol when they first DMA
 * and are struck off when they end.
 */
void zw_rcu_enter(void)
{
    if (!bql_locked() && !g_private_get(&zw_rcu_member)) {
        rcu_register_thread();
        g_private_set(&zw_rcu_member, GINT_TO_POINTER(1));
    }
}

static int zw_dma(ZhenwuState *s, uint64_t addr, void *buf, size_t len,
                  DMADirection dir)
{
    /*
     * To memory only, be it another device's RAM BAR: firmware comes from the
     * guest, and registers it could reach include this device's own.
     */
    const MemTxAttrs attrs = { .memory = 1 };
    MemTxResult res = MEMTX_ACCESS_ERROR;

    zw_rcu_enter();
    /* The address space goes after a grace period, zw_exit() said so before. */
    WITH_RCU_READ_LOCK_GUARD() {
        if (!qatomic_read(&s->gone)) {
            res = dma_memory_rw(s->dma_as, addr, buf, len, dir, attrs);
        }
    }
    if (res != MEMTX_OK) {
        trace_zw_dma_error(addr, len, dir == DMA_DIRECTION_FROM_DEVICE);
        return -EIO;
    }
    return 0;
}

static int zw_dma_read(void *opaque, unsigned int function, uint64_t addr,
                       void *buf, size_t len)
{
    return zw_dma(opaque, addr, buf, len, DMA_DIRECTION_TO_DEVICE);
}

static int zw_dma_write(void *opaque, unsigned int function, uint64_t addr,
                        const void *buf, size_t len)
{
    return zw_dma(opaque, addr, (void *)buf, len, DMA_DIRECTION_FROM_DEVICE);
}

/*
 * Direct pointers into guest RAM only: QEMU's own bounce buffers are small and
 * few, and would show an engine that writes a part of them the rest.
 */
static void *zw_dma_map(void *opaque, unsigned int function, uint64_t addr,
                        size_t *len, bool write)
{
    ZhenwuState *s = opaque;
    DMADirection dir = write ? DMA_DIRECTION_FROM_DEVICE
                             : DMA_DIRECTION_TO_DEVICE;
    dma_addr_t got = *len;
    ram_addr_t offset;
    bool direct;
    void *ptr;

    zw_rcu_enter();
    ptr = dma_memory_map(s->dma_as, addr, &got, dir, MEMTXATTRS_UNSPECIFIED);
    if (!ptr) {
        return NULL;
    }
    WITH_RCU_READ_LOCK_GUARD() {
        direct = memory_region_from_host(ptr, &offset) != NULL;
    }
    if (!direct) {
        dma_memory_unmap(s->dma_as, ptr, got, dir, 0);
        return NULL;
    }
    *len = got;
    return ptr;
}

static void zw_dma_unmap(void *opaque, unsigned int function, void *ptr,
                         size_t len, bool write, size_t access_len)
{
    ZhenwuState *s = opaque;

    zw_rcu_enter();
    dma_memory_unmap(s->dma_as, ptr, len,
                     write ? DMA_DIRECTION_FROM_DEVICE
                           : DMA_DIRECTION_TO_DEVICE,
                     access_len);
}

/*
 * Not by a bottom half: the main loop would have to be woken first, which
 * takes longer than the whole of an empty job.
 */
static void zw_msix_raise(void *opaque, unsigned int function,
                          unsigned int vector)
{
    ZhenwuState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);

    BQL_LOCK_GUARD();
    trace_zw_irq(vector);
    if (s->core && msix_enabled(pdev)) {
        msix_notify(pdev, vector);
    }
}

static void zw_log(void *opaque, enum zw_log_level level, const char *msg)
{
    ZhenwuState *s = opaque;

    trace_zw_core(msg);
    switch (level) {
    case ZW_LOG_ERROR:
        if (qatomic_fetch_inc(&s->warnings) < ZW_MAX_WARNINGS) {
            warn_report("zhenwu: %s", msg);
        }
        qemu_log_mask(LOG_GUEST_ERROR, "zhenwu: %s\n", msg);
        break;
    case ZW_LOG_GUEST_ERROR:
        qemu_log_mask(LOG_GUEST_ERROR, "zhenwu: %s\n", msg);
        break;
    case ZW_LOG_INFO:
    case ZW_LOG_TRACE:
        break;
    }
}

static int zw_hbm_discard(void *opaque, uint64_t off, uint64_t len)
{
    ZhenwuState *s = opaque;

    /* Somebody (vfio) holds on to the pages: dropping would part us. */
    if (ram_block_discard_is_disabled()) {
        return -EBUSY;
    }
    return ram_block_discard_range(s->hbm.ram_block, off, len);
}

static void zw_reset_done(void *opaque)
{
    ZhenwuState *s = opaque;

    qemu_bh_schedule(s->bh);
}

static void zw_stopped(void *opaque)
{
    ZhenwuState *s = opaque;

    qatomic_set(&s->core_ended, true);
    qemu_bh_schedule(s->bh);
}

static const struct zw_host_ops zw_ops = {
    .dma_read = zw_dma_read,
    .dma_write = zw_dma_write,
    .dma_map = zw_dma_map,
    .dma_unmap = zw_dma_unmap,
    .msix_raise = zw_msix_raise,
    .log = zw_log,
    .hbm_discard = zw_hbm_discard,
    .hbm_dirty = zw_hbm_dirty,
    .reset_done = zw_reset_done,
    .stopped = zw_stopped,
};

/* BAR0 */

static uint64_t zw_mmio_read(void *opaque, hwaddr addr, unsigned int size)
{
    ZhenwuState *s = opaque;
    uint64_t val;

    /* A CPU that waited for the BQL while the device was unplugged */
    if (!s->core) {
        return UINT64_MAX;
    }
    val = zw_device_mmio_read(s->core, addr, size);
    trace_zw_mmio_read(addr, val, size);
    return val;
}

static void zw_mmio_write(void *opaque, hwaddr addr, uint64_t val,
                          unsigned int size)
{
    ZhenwuState *s = opaque;

    if (!s->core) {
        return;
    }
    if (addr >= ZW_DOORBELL_BASE) {
        trace_zw_doorbell((addr - ZW_DOORBELL_BASE) >> ZW_DOORBELL_SHIFT);
    } else {
        trace_zw_mmio_write(addr, val, size);
    }
    zw_device_mmio_write(s->core, addr, val, size);
}

static const MemoryRegionOps zw_mmio_ops = {
    .read = zw_mmio_read,
    .write = zw_mmio_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 4,
        .max_access_size = 8,
    },
    .impl = {
        .min_access_size = 4,
        .max_access_size = 8,
    },
};

/* Reset */

static bool zw_in_flr(ZhenwuState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint8_t *exp_cap = pdev->config + pdev->exp.exp_cap;

    return pci_get_word(exp_cap + PCI_EXP_DEVCTL) & PCI_EXP_DEVCTL_BCR_FLR;
}

/*
 * Nobody is to find what the last owner left in device memory: the aperture
 * stays shut until HBM is zeroed.
 */
static void zw_reset_hold(Object *obj, ResetType type)
{
    ZhenwuState *s = ZHENWU(obj);

    if (!s->core) {
        return;
    }
    trace_zw_reset_begin(type, zw_in_flr(s));
    memory_region_set_enabled(&s->aperture, false);
    zw_device_reset_begin(s->core, true);
    /*
     * In a stopped VM the core does nothing but this reset, which needs no
     * BQL.  A snapshot that is loaded, and one that is taken, finds it done.
     */
    if (s->still) {
        zw_settle(s);
    }
}

/* The core has done what was begun: a reset, or its end. */
void zw_core_bh(void *opaque)
{
    ZhenwuState *s = opaque;

    if (s->core && zw_device_reset_end(s->core)) {
        memory_region_set_enabled(&s->aperture, true);
        trace_zw_reset_done();
    }
    if (s->old && !s->waiting && qatomic_read(&s->core_ended)) {
        zw_device_free(s->old);
        s->old = NULL;
        qemu_bh_delete(s->bh);
        s->bh = NULL;
        object_unref(OBJECT(s)); /* zw_exit()'s */
    }
}

static void zw_config_write(PCIDevice *pdev, uint32_t addr, uint32_t val,
                            int len)
{
    pci_default_write_config(pdev, addr, val, len);
    pcie_cap_flr_write_config(pdev, addr, val, len);
    pcie_aer_write_config(pdev, addr, val, len);
}

/* Properties */

static const struct zw_profile *zw_get_profile(ZhenwuState *s,
                                               struct zw_profile *custom,
                                               Error **errp)
{
    const char *name = s->profile_name ?: "810e";
    const struct zw_profile *p = zw_profile_find(name);
    char err[256];

    if (p) {
        return p;
    }
    if (strchr(name, '/')) {
        if (zw_profile_load(name, custom, err, sizeof(err))) {
            error_setg(errp, "profile '%s': %s", name, err);
            return NULL;
        }
        return custom;
    }
    error_setg(errp, "unknown profile '%s'", name);
    for (size_t i = 0; (p = zw_profile_at(i)); i++) {
        error_append_hint(errp, "%s%s", i ? ", " : "Known are: ", p->name);
    }
    error_append_hint(errp, "; a name with a slash is a profile file.\n");
    return NULL;
}

/*
 * One for each CPU of the host: a guest that waits for a job leaves its own
 * to the engines, and engines without work give way to it.
 */
static int zw_default_workers(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    return MAX(1, MIN(cpus, 64));
}

/* Leave the guest its RAM and the host something to breathe. */
static uint64_t zw_default_limit(void)
{
    uint64_t phys = qemu_get_host_physmem();
    uint64_t guest = current_machine ? current_machine->ram_size : 0;

    if (!phys) {
        return 0;
    }
    if (phys < guest + phys / 4 + GiB) {
        return phys / 4;
    }
    return phys - guest - GiB;
}

static bool zw_check_sizes(ZhenwuState *s, const struct zw_profile *profile,
                           Error **errp)
{
    if (!s->hbm_size) {
        s->hbm_size = profile->hbm_bytes;
    }
    if (!QEMU_IS_ALIGNED(s->hbm_size, ZW_GRANULE) || s->hbm_size > 4 * TiB) {
        error_setg(errp, "hbm must be a multiple of 2 MiB and at most 4 TiB");
        return false;
    }
    if (!s->aperture_size) {
        s->aperture_size = MIN(s->hbm_size, ZW_APERTURE_DEFAULT);
    }
    if (!QEMU_IS_ALIGNED(s->aperture_size, ZW_GRANULE) ||
        s->aperture_size > s->hbm_size) {
        error_setg(errp, "aperture must be a multiple of 2 MiB and not larger "
                   "than hbm");
        return false;
    }
    return true;
}

/* Realize */

static bool zw_init_caps(ZhenwuState *s, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    int pm;

    pm = pci_pm_init(pdev, 0, errp);
    if (pm < 0) {
        return false;
    }
    pci_set_word(pdev->config + pm + PCI_PM_PMC, PCI_PM_CAP_VER_1_2);
    pci_set_word(pdev->config + pm + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET);
    pci_set_word(pdev->wmask + pm + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);

    if (pcie_endpoint_cap_init(pdev, 0) < 0) {
        error_setg(errp, "no room for the PCI Express capability");
        return false;
    }
    pcie_cap_fill_link_ep_usp(pdev, QEMU_PCI_EXP_LNK_X16,
                              QEMU_PCI_EXP_LNK_32GT);
    pcie_cap_deverr_init(pdev);
    pcie_cap_flr_init(pdev);
    return pcie_aer_init(pdev, PCI_ERR_VER, ZW_AER_OFFSET, PCI_ERR_SIZEOF,
                         errp) >= 0;
}

static bool zw_init_msix(ZhenwuState *s, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    memory_region_init(&s->bar4, OBJECT(s), "zhenwu-msix", ZW_MSIX_BAR_SIZE);
    if (msix_init(pdev, ZW_NUM_VECTORS, &s->bar4, ZW_BAR_MSIX, 0, &s->bar4,
                  ZW_BAR_MSIX, ZW_MSIX_PBA, 0, errp) < 0) {
        return false;
    }
    for (unsigned int i = 0; i < ZW_NUM_VECTORS; i++) {
        msix_vector_use(pdev, i);
    }
    return true;
}

static bool zw_init_memory(ZhenwuState *s, Error **errp)
{
    Object *obj = OBJECT(s);

    memory_region_init_io(&s->bar0, obj, &zw_mmio_ops, s, "zhenwu-regs",
                          ZW_BAR0_SIZE);
    /*
     * Private and not reserved: 96 GiB take what was written to them.  Shared
     * memory would be filled by whoever reads all of it.
     */
    if (!memory_region_init_ram_flags_nomigrate(&s->hbm, obj, "zhenwu-hbm",
                                                s->hbm_size, RAM_NORESERVE,
                                                errp)) {
        return false;
    }
    memory_region_init_alias(&s->aperture, obj, "zhenwu-hbm-aperture",
                             &s->hbm, 0, s->aperture_size);
    memory_region_init(&s->bar2, obj, "zhenwu-aperture",
                       pow2ceil(s->aperture_size));
    memory_region_add_subregion(&s->bar2, 0, &s->aperture);
    return true;
}

static void zw_register_bars(ZhenwuState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    pci_register_bar(pdev, ZW_BAR_REGS, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &s->bar0);
    pci_register_bar(pdev, ZW_BAR_HBM,
                     PCI_BASE_ADDRESS_MEM_TYPE_64 |
                     PCI_BASE_ADDRESS_MEM_PREFETCH, &s->bar2);
    pci_register_bar(pdev, ZW_BAR_MSIX, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &s->bar4);
}

static void zw_exit(PCIDevice *pdev)
{
    ZhenwuState *s = ZHENWU(pdev);

    zw_migrate_exit(s);
    if (s->core) {
        /* The threads may need us to let go of the BQL before they can end. */
        object_ref(OBJECT(s));
        s->old = s->core;
        s->core = NULL;
        qatomic_set(&s->gone, true);
        zw_device_stop(s->old);
    } else if (s->bh) {
        qemu_bh_delete(s->bh);
        s->bh = NULL;
    }
    /*
     * The device owns both regions, and a region inside of another holds on to
     * its owner: without this the device would keep itself alive.
     */
    if (s->aperture.container) {
        memory_region_del_subregion(&s->bar2, &s->aperture);
    }
    if (msix_present(pdev)) {
        msix_unuse_all_vectors(pdev);
        msix_uninit(pdev, &s->bar4, &s->bar4);
    }
    if (pdev->exp.aer_cap) {
        pcie_aer_exit(pdev);
    }
    if (pdev->exp.exp_cap) {
        pcie_cap_exit(pdev);
    }
}

/* Unless one was given: the same for the same place in the machine. */
static void zw_fill_uuid(ZhenwuState *s, uint8_t uuid[16])
{
    uint8_t digest[ZW_SHA256_SIZE];
    g_autofree char *path = NULL;

    if (!qemu_uuid_is_null(&s->uuid)) {
        memcpy(uuid, s->uuid.data, 16);
        return;
    }
    path = object_get_canonical_path(OBJECT(s));
    zw_sha256(path, strlen(path), digest);
    memcpy(uuid, digest, 16);
    uuid[6] = (uuid[6] & 0x0f) | 0x80; /* version 8: of our own making */
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static void zw_realize(PCIDevice *pdev, Error **errp)
{
    ERRP_GUARD();
    ZhenwuState *s = ZHENWU(pdev);
    const struct zw_profile *profile;
    struct zw_device_config cfg;
    struct zw_profile custom;
    char err[256] = "";

    if (!pci_bus_is_express(pci_get_bus(pdev))) {
        error_setg(errp, "zhenwu needs a PCI Express bus");
        return;
    }
    profile = zw_get_profile(s, &custom, errp);
    if (!profile || !zw_check_sizes(s, profile, errp)) {
        return;
    }
    if (s->workers == ZW_WORKERS_AUTO) {
        s->workers = zw_default_workers();
    }
    if (s->backing_limit == ZW_LIMIT_AUTO) {
        s->backing_limit = zw_default_limit();
    }
    s->bh = qemu_bh_new(zw_core_bh, s);
    s->dma_as = pci_get_address_space(pdev);

    pdev->config[PCI_INTERRUPT_PIN] = 0;
    if (!zw_init_memory(s, errp) || !zw_init_caps(s, errp) ||
        !zw_init_msix(s, errp)) {
        zw_exit(pdev);
        return;
    }
    cfg = (struct zw_device_config) {
        .profile = profile,
        .hbm_size = s->hbm_size,
        .aperture_size = s->aperture_size,
        .hbm = memory_region_get_ram_ptr(&s->hbm),
        .workers = s->workers,
        .progress_ms = s->progress_ms,
        .hbm_backing_limit = s->backing_limit,
        .num_queues = s->num_queues,
        .num_vms = s->num_vms,
    };
    zw_fill_uuid(s, cfg.uuid);
    s->core = zw_device_new(&cfg, &zw_ops, s, err, sizeof(err));
    if (!s->core) {
        error_setg(errp, "%s", err);
        zw_exit(pdev);
        return;
    }
    zw_register_bars(s);
    zw_migrate_init(s);
    trace_zw_realize(profile->name, s->hbm_size, s->aperture_size, s->workers,
                     s->backing_limit);
}

/* Counters for a look from outside: qom-get on the device */

static const struct {
    const char *name;
    const char *description;
    uint32_t reg;
    uint8_t size;
} zw_counters[] = {
    { "boot-status", "ZW_REG_BOOT_STATUS", ZW_REG_BOOT_STATUS, 4 },
    { "fw-heartbeat", "turns of the firmware", ZW_REG_FW_HEARTBEAT, 4 },
    { "jobs", "jobs completed since reset", ZW_PMU_JOBS, 8 },
    { "packets", "packets retired since reset", ZW_PMU_PACKETS, 8 },
    { "faults", "MMU faults since reset", ZW_PMU_FAULTS, 8 },
    { "hbm-read", "simulated HBM bytes read", ZW_PMU_HBM_READ, 8 },
    { "hbm-written", "simulated HBM bytes written", ZW_PMU_HBM_WRITTEN, 8 },
    { "ecc-corrected", "errors of HBM corrected since reset",
      ZW_PMU_ECC_CORRECTED, 8 },
};

static void zw_get_counter(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    size_t i = (uintptr_t)opaque;
    ZhenwuState *s = ZHENWU(obj);
    uint64_t val = 0;

    if (s->core) {
        val = zw_device_mmio_read(s->core, zw_counters[i].reg,
                                  zw_counters[i].size);
    }
    visit_type_uint64(v, name, &val, errp);
}

/* Faults on demand: qom-set at run time, Documentation/device/faults.md */

static void zw_set_inject(Object *obj, const char *value, Error **errp)
{
    ZhenwuState *s = ZHENWU(obj);
    char err[256];

    if (!s->core) {
        error_setg(errp, "faults can be injected into a running device only");
        return;
    }
    if (zw_device_inject_text(s->core, value, err, sizeof(err))) {
        error_setg(errp, "%s", err);
    }
}

static const Property zw_properties[] = {
    DEFINE_PROP_STRING("profile", ZhenwuState, profile_name),
    DEFINE_PROP_SIZE("hbm", ZhenwuState, hbm_size, 0),
    DEFINE_PROP_SIZE("aperture", ZhenwuState, aperture_size, 0),
    DEFINE_PROP_INT32("workers", ZhenwuState, workers, ZW_WORKERS_AUTO),
    DEFINE_PROP_UINT32("queues", ZhenwuState, num_queues, 0),
    DEFINE_PROP_UINT32("vms", ZhenwuState, num_vms, 0),
    DEFINE_PROP_UUID_NODEFAULT("uuid", ZhenwuState, uuid),
    DEFINE_PROP_UINT32("progress-ms", ZhenwuState, progress_ms, 0),
    DEFINE_PROP_SIZE("hbm-backing-limit", ZhenwuState, backing_limit,
                     ZW_LIMIT_AUTO),
};

static void zw_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    pc->realize = zw_realize;
    pc->exit = zw_exit;
    pc->config_write = zw_config_write;
    pc->vendor_id = ZW_PCI_VENDOR_ID;
    pc->device_id = ZW_PCI_DEVICE_ID;
    pc->class_id = ZW_PCI_CLASS;
    pc->revision = ZW_PCI_REVISION;
    rc->phases.hold = zw_reset_hold;
    dc->vmsd = &vmstate_zhenwu;
    zw_migrate_class_init(oc);
    dc->desc = "Zhenwu LLM accelerator";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, zw_properties);
    object_class_property_add_str(oc, "inject", NULL, zw_set_inject);
    object_class_property_set_description(oc, "inject",
                                          "FAULT[=NUMBER[,ADDRESS,BYTES]]");
    for (size_t i = 0; i < ARRAY_SIZE(zw_counters); i++) {
        object_class_property_add(oc, zw_counters[i].name, "uint64",
                                  zw_get_counter, NULL, NULL,
                                  (void *)(uintptr_t)i);
        object_class_property_set_description(oc, zw_counters[i].name,
                                              zw_counters[i].description);
    }
}

static const TypeInfo zw_info = {
    .name = TYPE_ZHENWU,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(ZhenwuState),
    .class_init = zw_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_PCIE_DEVICE },
        { TYPE_RAM_DISCARD_MANAGER },
        { },
    },
};

static void zw_register_types(void)
{
    type_register_static(&zw_info);
}

type_init(zw_register_types)
