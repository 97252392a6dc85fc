/* SPDX-License-Identifier: MIT */
/* DMA port: the firmware's only way to system memory. */
#include "dma.h"

static int dma_run(uint64_t sys, uintptr_t sram, uint32_t len, uint32_t dir)
{
	wr64(ZW_SOC_DMA_SYS, sys);
	wr64(ZW_SOC_DMA_SRAM, sram);
	wr32(ZW_SOC_DMA_LEN, len);
	/* The compiler must have the buffer in memory before the port reads it, and reread it
	 * after. */
	__asm__ volatile("fence" ::: "memory");
	wr32(ZW_SOC_DMA_CTRL, dir);
	__asm__ volatile("fence" ::: "memory");
	return rd32(ZW_SOC_DMA_STATUS) ? -1 : 0;
}

int dma_read(void *sram, uint64_t sys, uint32_t len)
{
	return dma_run(sys, (uintptr_t)sram, len, ZW_SOC_DMA_TO_SRAM);
}

int dma_write(uint64_t sys, const void *sram, uint32_t len)
{
	return dma_run(sys, (uintptr_t)sram, len, ZW_SOC_DMA_TO_SYS);
}
