/* SPDX-License-Identifier: MIT */
#ifndef FW_DMA_H
#define FW_DMA_H

#include "fw.h"

/* System memory, through the DMA port. Lengths 1..4096; 0, or -1 on a bus error. */
int dma_read(void *sram, uint64_t sys, uint32_t len);
int dma_write(uint64_t sys, const void *sram, uint32_t len);

#endif /* FW_DMA_H */
