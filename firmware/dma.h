/* SPDX-License-Identifier: MIT */
#ifndef FW_DMA_H
#define FW_DMA_H

#include "fw.h"

/* Whose addresses they are: a function's on the bus, or virtual ones of a VM. */
struct dma_space {
	uint32_t function;
	bool user; /* of the VM */
	uint32_t vm;
};

extern const struct dma_space dma_host; /* the bus addresses of the physical function */

/* Through the DMA port. Lengths 1..4096; 0, or -1 on a bus error or an MMU fault. */
int dma_read(const struct dma_space *space, void *sram, uint64_t addr, uint32_t len);
int dma_write(const struct dma_space *space, uint64_t addr, const void *sram, uint32_t len);

#endif /* FW_DMA_H */
