/* SPDX-License-Identifier: MIT */
/*
 * Boot ROM of the control core: takes a firmware image (zw_fw.h) in, checks all of it, loads it.
 */
#ifndef ZW_BOOT_H
#define ZW_BOOT_H

#include <stdint.h>
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_regs.h"

struct zw_device;

/*
 * Checks an image of `size` bytes that nobody else can change. Returns enum zw_boot_error; *detail
 * as ZW_REG_BOOT_DETAIL says. For ZW_BOOT_ERR_BOUNDS that is the segment index, or num_segments
 * when that number itself or the entry is wrong. The order is: size, magic, header, image_size,
 * hash, ABI, reserved fields, bounds; so with a good hash the later errors are the image maker's,
 * and any damage on the way is HASH.
 */
uint32_t zw_boot_verify(const void *image, uint32_t size, uint32_t caps, uint32_t *detail);

/* Puts a verified image into SRAM (ZW_SOC_SRAM_SIZE bytes), everything else of which becomes zero.
 * Returns the entry. */
uint64_t zw_boot_load(const void *image, uint8_t *sram);

/* The ROM program: control-core thread, in ZW_BOOT_LOADING. Ends in RUNNING or FAILED. */
void zw_boot_run(struct zw_device *dev);

#endif /* ZW_BOOT_H */
