/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: PCI identity, BARs and the registers the host sees in BAR0.
 *
 * Registers are 32 or 64 bits wide, little-endian, naturally aligned. A 64-bit register may be read
 * or written as one 64-bit access or as two 32-bit ones, low half first. An access of another size,
 * an unaligned one or one to an unlisted offset reads as zero, writes nothing and is logged as a
 * guest error.
 */
#ifndef ZW_REGS_H
#define ZW_REGS_H

#include "zw_types.h"

/* No silicon vendor is impersonated: 0x1234 is the id QEMU uses for experimental devices. */
#define ZW_PCI_VENDOR_ID 0x1234
#define ZW_PCI_DEVICE_ID 0x5a57 /* "ZW" */
#define ZW_PCI_CLASS     0x1200 /* processing accelerator */
#define ZW_PCI_REVISION  0x01

#define ZW_BAR_REGS 0 /* registers and doorbells, 64-bit */
#define ZW_BAR_HBM  2 /* HBM aperture, 64-bit prefetchable; starts at HBM address 0 */
#define ZW_BAR_MSIX 4 /* MSI-X table and PBA, 64-bit */

#define ZW_BAR0_SIZE 0x2000000u /* 32 MiB */

/* What the register map has room for; a device has ZW_REG_NUM_QUEUES and ZW_REG_NUM_VMS of them. */
#define ZW_MAX_QUEUES  4096
#define ZW_MAX_VMS     4096
#define ZW_NUM_VECTORS 32
#define ZW_VECTOR_MBOX 0 /* replies and events of the firmware */
/* Queue q interrupts on the vector its CREATE_QUEUE message names (1..ZW_NUM_VECTORS-1). */

/* -- identity (read-only) ---------------------------------------------------------------------- */
#define ZW_REG_MAGIC         0x0000      /* 32: ZW_MAGIC; all ones when the device is gone */
#define ZW_MAGIC             0x5550575au /* "ZWPU" */
#define ZW_REG_ABI_VERSION   0x0004      /* 32: ZW_ABI_VERSION of the device */
#define ZW_REG_PROFILE       0x0008      /* 32: enum zw_profile_id */
#define ZW_REG_CAPS          0x000c      /* 32: ZW_CAP_* */
#define ZW_REG_HBM_SIZE      0x0010      /* 64: bytes of HBM */
#define ZW_REG_APERTURE_SIZE 0x0018      /* 64: bytes of HBM reachable through BAR2 */
#define ZW_REG_NUM_QUEUES    0x0020      /* 32 */
#define ZW_REG_NUM_VMS       0x0024      /* 32 */
#define ZW_REG_NUM_VECTORS   0x0028      /* 32 */
/*
 * 32: milliseconds a driver is to wait between two progress checks before it calls an engine stuck.
 * The device knows how fast it really runs (an emulator is slow), the driver cannot.
 */
#define ZW_REG_PROGRESS_MS   0x002c
#define ZW_REG_PROFILE_NAME  0x0030 /* 16 bytes of text, NUL padded, read as four 32-bit words */

#define ZW_REG_SRAM_SIZE 0x0040 /* 64: bytes of the on-chip buffer that a VM can map */
#define ZW_REG_DTYPES    0x0048 /* 64: ZW_DT() that the engines compute with */
#define ZW_REG_NUM_LINKS 0x0050 /* 32: ports to other cards that the chip has */
#define ZW_REG_CARD      0x0054 /* 32: its number in the fabric; 0 without one */
#define ZW_REG_UUID      0x0058 /* 16 bytes, read as four 32-bit words: the same for one device always */

#define ZW_CAP_WORKERS_SYNC (1u << 0) /* engines run synchronously (workers=0) */
#define ZW_CAP_LINKS        (1u << 1) /* peer cards can be reached */
#define ZW_CAP_USER_QUEUES  (1u << 2) /* ZW_QUEUE_F_USER */
#define ZW_CAP_FUNCTIONS    (1u << 3) /* SR-IOV: queues of functions other than 0 */

enum zw_profile_id {
	ZW_PROFILE_CUSTOM = 0,
	ZW_PROFILE_810E = 1,
	ZW_PROFILE_M890 = 2,
	ZW_PROFILE_C12 = 3,
	ZW_PROFILE_A100_80G = 4, /* this and the next: what the clock was held against */
	ZW_PROFILE_H100_SXM = 5,
};

/* -- reset ------------------------------------------------------------------------------------- */
#define ZW_REG_RESET        0x0070 /* 32, W: ZW_RESET_KEY resets all but HBM contents and PCI config */
#define ZW_RESET_KEY        0x52535421u
#define ZW_REG_RESET_STATUS 0x0074 /* 32, R: 1 while a reset of any kind is under way */

/* -- boot -------------------------------------------------------------------------------------- */
#define ZW_REG_BOOT_CTRL     0x0080 /* 32, W: ZW_BOOT_START loads and starts the image */
#define ZW_BOOT_START        1u
#define ZW_REG_BOOT_STATUS   0x0084 /* 32, R: enum zw_boot_status */
#define ZW_REG_BOOT_ERROR    0x0088 /* 32, R: enum zw_boot_error, valid in ZW_BOOT_FAILED */
#define ZW_REG_BOOT_DETAIL   0x008c /* 32, R: offending value, meaning given by the error */
#define ZW_REG_FW_ADDR       0x0090 /* 64, RW: DMA address of the firmware image */
#define ZW_REG_FW_SIZE       0x0098 /* 32, RW: its bytes */
#define ZW_REG_FW_VERSION    0x009c /* 32, R: ZW_FW_VERSION() written by the firmware, 0 before */
#define ZW_REG_FW_HEARTBEAT  0x00a0 /* 32, R: counts up while the firmware's main loop turns */
#define ZW_REG_FW_TRAP_CAUSE 0x00a4 /* 32, R: mcause of a fatal firmware trap | ZW_FW_TRAPPED */
#define ZW_FW_TRAPPED        0x80000000u
#define ZW_REG_FW_TRAP_PC    0x00a8 /* 64, R: mepc of it */

enum zw_boot_status {
	ZW_BOOT_IDLE = 0,    /* out of reset, no image yet */
	ZW_BOOT_LOADING = 1, /* boot ROM reads and verifies */
	ZW_BOOT_RUNNING = 2, /* image verified, control core started */
	ZW_BOOT_READY = 3,   /* firmware initialised, mailbox served */
	ZW_BOOT_FAILED = 4,  /* see BOOT_ERROR */
	ZW_BOOT_HALTED = 5,  /* firmware trapped; see FW_TRAP_* */
};

enum zw_boot_error {
	ZW_BOOT_ERR_NONE = 0,
	ZW_BOOT_ERR_DMA = 1,    /* image not readable by DMA; detail: offset */
	ZW_BOOT_ERR_SIZE = 2,   /* FW_SIZE too small or too large; detail: FW_SIZE */
	ZW_BOOT_ERR_MAGIC = 3,  /* detail: magic found */
	ZW_BOOT_ERR_HEADER = 4, /* header version or size; detail: header version */
	ZW_BOOT_ERR_ABI = 5,    /* built for another ABI major; detail: its ABI version */
	ZW_BOOT_ERR_BOUNDS = 6, /* a segment or the entry is out of bounds; detail: segment index */
	ZW_BOOT_ERR_HASH = 7,   /* SHA-256 differs: the image is corrupt; detail: 0 */
	ZW_BOOT_ERR_RESERVED = 8, /* a reserved field is not zero; detail: 0 */
	ZW_BOOT_ERR_MINOR = 10,   /* needs a later ABI minor; detail: that minor */
	ZW_BOOT_ERR_CAPS = 11, /* needs capabilities this device has not; detail: what it needs */
	ZW_BOOT_ERR_FIRMWARE = 9, /* firmware refused to start; detail: its code */
};

/* -- mailbox (see zw_fw.h) --------------------------------------------------------------------- */
#define ZW_REG_MBOX_H2F      0x0100 /* 64, RW: DMA address of the host-to-firmware message ring */
#define ZW_REG_MBOX_F2H      0x0108 /* 64, RW: DMA address of the firmware-to-host message ring */
#define ZW_REG_MBOX_DOORBELL 0x0110 /* 32, W: any value: a message was placed */

/* -- telemetry (ABI 2.5, read-only) ------------------------------------------------------------ */
#define ZW_REG_TEMPERATURE_MC 0x0120 /* 32: thousandths of a degree Celsius, two's complement */
#define ZW_REG_IDLE_MW        0x0124 /* 32: milliwatts that the chip takes by itself */
#define ZW_REG_CAP_MW         0x0128 /* 32: milliwatts that it takes at most; 0: no limit */

/* -- performance counters (read-only, 64 bits each, count since reset) ------------------------- */
#define ZW_REG_PMU                     0x1000
#define ZW_PMU_BUSY_PS(engine)         (ZW_REG_PMU + 8 * (engine)) /* simulated busy time of an engine */
#define ZW_PMU_HBM_READ                (ZW_REG_PMU + 0x40)         /* bytes */
#define ZW_PMU_HBM_WRITTEN             (ZW_REG_PMU + 0x48)
#define ZW_PMU_SYS_READ                (ZW_REG_PMU + 0x50) /* bytes of system memory moved over PCIe */
#define ZW_PMU_SYS_WRITTEN             (ZW_REG_PMU + 0x58)
#define ZW_PMU_PACKETS                 (ZW_REG_PMU + 0x60) /* packets retired */
#define ZW_PMU_JOBS                    (ZW_REG_PMU + 0x68) /* jobs completed, failed ones included */
#define ZW_PMU_FAULTS                  (ZW_REG_PMU + 0x70) /* MMU faults */
#define ZW_PMU_TLB_HITS                (ZW_REG_PMU + 0x78)
#define ZW_PMU_TLB_MISSES              (ZW_REG_PMU + 0x80)
#define ZW_PMU_SRAM_READ               (ZW_REG_PMU + 0x88)
#define ZW_PMU_SRAM_WRITTEN            (ZW_REG_PMU + 0x90)
#define ZW_PMU_LINK_READ               (ZW_REG_PMU + 0x98)
#define ZW_PMU_LINK_WRITTEN            (ZW_REG_PMU + 0xa0)
#define ZW_PMU_ENERGY_PJ               (ZW_REG_PMU + 0xa8)
#define ZW_PMU_ECC_CORRECTED           (ZW_REG_PMU + 0xb0)
/*
 * In the time of the whole device, in which queues share engines and memory (ABI 2.4): sums over what is
 * settled, that is all that has begun by SETTLED_PS.
 */
#define ZW_PMU_SETTLED_PS              (ZW_REG_PMU + 0xb8) /* nothing that begins earlier is to come */
#define ZW_PMU_SETTLED_JOBS            (ZW_REG_PMU + 0xc0) /* that have ended */
#define ZW_PMU_SETTLED_PACKETS         (ZW_REG_PMU + 0xc8)
#define ZW_PMU_HBM_BUSY_PS             (ZW_REG_PMU + 0xd0) /* how long the ports of memory were busy */
#define ZW_PMU_SYS_READ_BUSY_PS        (ZW_REG_PMU + 0xd8)
#define ZW_PMU_SYS_WRITTEN_BUSY_PS     (ZW_REG_PMU + 0xe0)
#define ZW_PMU_WAIT_ENGINE_PS          (ZW_REG_PMU + 0xe8) /* what packets waited for */
#define ZW_PMU_WAIT_HBM_PS             (ZW_REG_PMU + 0xf0)
#define ZW_PMU_WAIT_PCIE_PS            (ZW_REG_PMU + 0xf8)
#define ZW_PMU_WAIT_TOKENS_PS          (ZW_REG_PMU + 0x100)
#define ZW_PMU_WAIT_SEMAPHORE_PS       (ZW_REG_PMU + 0x108)
#define ZW_PMU_SETTLED_BUSY_PS(engine) (ZW_REG_PMU + 0x110 + 8 * (engine))
#define ZW_PMU_CHIP_ENERGY_UJ                                                                      \
	(ZW_REG_PMU + 0x150) /* microjoules, what it takes by itself too (ABI 2.5) */
#define ZW_PMU_CAPPED_PS                                                                           \
	(ZW_REG_PMU + 0x158) /* of products that the power limit slows down (ABI 2.5) */
#define ZW_PMU_COUNT 44      /* registers from ZW_REG_PMU on; 23 before ABI 2.4, 42 in it */

/* -- window on the shared part of the control core's SRAM (read-only; zw_fw.h) ----------------- */
#define ZW_REG_FW_SHARED  0x20000
#define ZW_FW_SHARED_SIZE 0x10000 /* 64 KiB */

/*
 * Doorbells: a 32-bit write of any value at DOORBELL_BASE + queue * 2^DOORBELL_SHIFT rings. A page
 * each, so that one can be given to a process; the device is made for hosts of 4 KiB pages.
 */
#define ZW_REG_DOORBELL_BASE   0x00c0 /* 32, R */
#define ZW_REG_DOORBELL_SHIFT  0x00c4 /* 32, R */
#define ZW_DOORBELL_BASE       0x1000000u
#define ZW_DOORBELL_SHIFT      12
#define ZW_REG_DOORBELL(queue) (ZW_DOORBELL_BASE + ((queue) << ZW_DOORBELL_SHIFT))

#endif /* ZW_REGS_H */
