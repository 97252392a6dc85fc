/* SPDX-License-Identifier: MIT */
/* A whole device with a host around it: system memory, interrupts, the monitor firmware. */
#ifndef ZW_TEST_DEVICE_ENV_H
#define ZW_TEST_DEVICE_ENV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "image.h"
#include "monitor.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu/zw_regs.h"
#include "zw_core.h"
#include "zw_profile.h"

#define SYS_BASE    (UINT64_C(5) << 30)
#define SYS_SIZE    (UINT64_C(4) << 20)
#define SYS_IMAGE   SYS_BASE /* places in it */
#define SYS_REQUEST (SYS_BASE + 0x200000)
#define SYS_REPLY   (SYS_BASE + 0x201000)
#define SYS_DATA    (SYS_BASE + 0x210000)
#define HBM_SIZE    (64 * MIB)

struct device_env {
	struct zw_device *dev;
	uint8_t *sys;
	uint8_t *hbm;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned int irqs[ZW_NUM_VECTORS];
	_Atomic bool bus_master_off;
	_Atomic unsigned int dma_calls, guest_errors, resets;
	_Atomic bool hold_reset; /* reset_done does not end the reset: the test does */
	_Atomic unsigned int stops;
	_Atomic unsigned int settled_jobs;
	uint32_t seq;
};

/* Monitor firmware read from the file named on the command line. */
extern uint8_t *monitor_text;
extern uint32_t monitor_size;
void monitor_load(const char *path);

struct device_env *env_new(int workers);
struct device_env *env_new_hbm(int workers, uint64_t hbm_size);
void env_free(struct device_env *e);
/* Waits until *reg == val, failing the test after 20 s. */
void env_wait_reg(struct device_env *e, uint64_t reg, uint32_t val);
/* Waits until *count reaches val. */
void env_wait_count(const _Atomic unsigned int *count, unsigned int val);
/* Places an image in system memory and starts it. */
void env_start(struct device_env *e, const uint8_t *image, uint32_t size);
/* The image that is there already. */
void env_start_again(struct device_env *e, uint32_t size);
/* Boots the monitor to READY. */
void env_boot(struct device_env *e);
void env_wait_irq(struct device_env *e, unsigned int vector, unsigned int count);
/* Interrupts of a vector so far. */
unsigned int env_irqs(struct device_env *e, unsigned int vector);

/* One request to the monitor. *cause (may be NULL: must not fault) receives mcause + 1 or 0. */
uint64_t mon(struct device_env *e, uint32_t op, uint64_t addr, uint64_t val, uint64_t *cause);
/* Only sends it. */
void mon_send(struct device_env *e, uint32_t op, uint64_t addr, uint64_t val);

static inline uint32_t r32(struct device_env *e, uint64_t off)
{
	return (uint32_t)zw_device_mmio_read(e->dev, off, 4);
}

static inline uint64_t r64(struct device_env *e, uint64_t off)
{
	return zw_device_mmio_read(e->dev, off, 8);
}

static inline void w32(struct device_env *e, uint64_t off, uint32_t val)
{
	zw_device_mmio_write(e->dev, off, val, 4);
}

static inline void w64(struct device_env *e, uint64_t off, uint64_t val)
{
	zw_device_mmio_write(e->dev, off, val, 8);
}

#endif
