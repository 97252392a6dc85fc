/* SPDX-License-Identifier: MIT */
/* DMA port: the firmware's only way to system memory. */
#include "dma.h"

const struct dma_space dma_host;

static int dma_run(const struct dma_space *space, uint64_t addr, uintptr_t sram, uint32_t len,
		   uint32_t dir)
{
	/* What the port was told last: both are 0 after a reset, and mostly the same as before. */
	static uint32_t function, vm;

	if (space->function != function) {
		function = space->function;
		wr32(ZW_SOC_DMA_FUNCTION, function);
	}
	if (space->user) {
		if (space->vm != vm) {
			vm = space->vm;
			wr32(ZW_SOC_DMA_VM, vm);
		}
		dir |= ZW_SOC_DMA_VM_F;
	}
	wr64(ZW_SOC_DMA_SYS, addr);
	wr64(ZW_SOC_DMA_SRAM, sram);
	wr32(ZW_SOC_DMA_LEN, len);
	/* The compiler must have the buffer in memory before the port reads it, and reread it
	 * after. */
	__asm__ volatile("fence" ::: "memory");
	wr32(ZW_SOC_DMA_CTRL, dir);
	__asm__ volatile("fence" ::: "memory");
	return rd32(ZW_SOC_DMA_STATUS) ? -1 : 0;
}

int dma_read(const struct dma_space *space, void *sram, uint64_t addr, uint32_t len)
{
	return dma_run(space, addr, (uintptr_t)sram, len, ZW_SOC_DMA_TO_SRAM);
}

int dma_write(const struct dma_space *space, uint64_t addr, const void *sram, uint32_t len)
{
	return dma_run(space, addr, (uintptr_t)sram, len, ZW_SOC_DMA_TO_SYS);
}
