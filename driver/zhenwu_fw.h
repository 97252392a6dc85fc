/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_FW_H__
#define __ZHENWU_FW_H__

#include <linux/types.h>

struct firmware;
struct seq_file;
struct zhenwu_device;

/**
 * struct zhenwu_fw - the firmware image and what runs
 */
struct zhenwu_fw {
	/** @image: Copy of the image the boot ROM reads, kept for resets. */
	void *image;

	/** @dma: DMA address of @image. */
	dma_addr_t dma;

	/** @size: Bytes of @image. */
	u32 size;

	/** @version: ZW_FW_VERSION() of the running firmware. */
	u32 version;

	/** @abi: ZW_ABI_VERSION it was built for. */
	u32 abi;
};

int zhenwu_fw_load(struct zhenwu_device *zdev);
const struct firmware *zhenwu_fw_fetch(struct zhenwu_device *zdev);
void zhenwu_fw_replace(struct zhenwu_device *zdev, const struct firmware *fw);
void zhenwu_fw_unload(struct zhenwu_device *zdev);
int zhenwu_fw_boot(struct zhenwu_device *zdev);
bool zhenwu_fw_running(struct zhenwu_device *zdev);
int zhenwu_fw_reset_device(struct zhenwu_device *zdev);
int zhenwu_fw_quiet_device(struct zhenwu_device *zdev);
int zhenwu_fw_wait_reset(struct zhenwu_device *zdev);
int zhenwu_fw_show_log(struct zhenwu_device *zdev, struct seq_file *m);

#endif /* __ZHENWU_FW_H__ */
