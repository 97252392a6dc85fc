// SPDX-License-Identifier: GPL-2.0-only
/*
 * Firmware: image, boot handshake, log.
 */

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/firmware.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "zhenwu/zw_fw.h"
#include "zhenwu_device.h"

#define ZHENWU_FW_NAME "zhenwu/zhenwu_fw.bin"

MODULE_FIRMWARE(ZHENWU_FW_NAME);

/*
 * A boot that takes longer has failed: the boot ROM hashes at most 1 MiB and the firmware
 * initialises some tables. The progress period of the device is added, it knows how slow it is.
 */
#define ZHENWU_BOOT_TIMEOUT_MS	20000
#define ZHENWU_RESET_TIMEOUT_MS	20000
/* The same for a reset on whose end nothing depends. One progress period is added. */
#define ZHENWU_QUIET_TIMEOUT_MS	1000

static const char *zhenwu_fw_boot_error_text(u32 err)
{
	switch (err) {
	case ZW_BOOT_ERR_NONE:
		return "no error given";
	case ZW_BOOT_ERR_DMA:
		return "image not readable by DMA at offset";
	case ZW_BOOT_ERR_SIZE:
		return "image too small or too large, size";
	case ZW_BOOT_ERR_MAGIC:
		return "not a Zhenwu firmware image, magic";
	case ZW_BOOT_ERR_HEADER:
		return "unknown image header, version";
	case ZW_BOOT_ERR_ABI:
		return "image built for another device ABI, version";
	case ZW_BOOT_ERR_BOUNDS:
		return "segment or entry point out of bounds, segment";
	case ZW_BOOT_ERR_HASH:
		return "SHA-256 mismatch, the image is corrupt, detail";
	case ZW_BOOT_ERR_RESERVED:
		return "a reserved field of the image is not zero, detail";
	case ZW_BOOT_ERR_FIRMWARE:
		return "the firmware refused to start, code";
	default:
		return "unknown error, detail";
	}
}

/* The boot ROM checks everything again; this refuses obvious nonsense with a clear message. */
static int zhenwu_fw_check(struct zhenwu_device *zdev, const struct firmware *fw)
{
	const struct zw_fw_header *hdr = (const void *)fw->data;
	struct drm_device *drm = &zdev->drm;
	u32 abi;

	if (fw->size < sizeof(*hdr) || fw->size > ZW_FW_MAX_SIZE) {
		drm_err(drm, "firmware %s: size %zu, expected %zu to %u bytes\n", ZHENWU_FW_NAME,
			fw->size, sizeof(*hdr), ZW_FW_MAX_SIZE);
		return -EINVAL;
	}
	if (le32_to_cpu(hdr->magic) != ZW_FW_MAGIC) {
		drm_err(drm, "firmware %s: magic 0x%08x, expected 0x%08x\n", ZHENWU_FW_NAME,
			le32_to_cpu(hdr->magic), ZW_FW_MAGIC);
		return -EINVAL;
	}
	if (le32_to_cpu(hdr->header_version) != ZW_FW_HEADER_VERSION ||
	    le32_to_cpu(hdr->header_size) != sizeof(*hdr)) {
		drm_err(drm, "firmware %s: header version %u of %u bytes, expected %u of %zu\n",
			ZHENWU_FW_NAME, le32_to_cpu(hdr->header_version),
			le32_to_cpu(hdr->header_size), ZW_FW_HEADER_VERSION, sizeof(*hdr));
		return -EINVAL;
	}
	if (le32_to_cpu(hdr->image_size) != fw->size) {
		drm_err(drm, "firmware %s: truncated, %zu of %u bytes\n", ZHENWU_FW_NAME, fw->size,
			le32_to_cpu(hdr->image_size));
		return -EINVAL;
	}
	abi = le32_to_cpu(hdr->abi_version);
	if (ZW_ABI_VERSION_MAJOR(abi) != ZW_ABI_MAJOR) {
		drm_err(drm, "firmware %s: built for device ABI %u.%u, the driver knows %u.x\n",
			ZHENWU_FW_NAME, ZW_ABI_VERSION_MAJOR(abi), ZW_ABI_VERSION_MINOR(abi),
			ZW_ABI_MAJOR);
		return -EINVAL;
	}
	return 0;
}

/**
 * zhenwu_fw_load() - get the image from the file system into DMA memory
 * @zdev: device
 *
 * It stays there: a device reset must not depend on the file system.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_fw_load(struct zhenwu_device *zdev)
{
	const struct firmware *fw;
	int ret;

	ret = request_firmware(&fw, ZHENWU_FW_NAME, &zdev->pdev->dev);
	if (ret) {
		drm_err(&zdev->drm, "firmware %s: cannot be loaded: %d\n", ZHENWU_FW_NAME, ret);
		return ret;
	}

	ret = zhenwu_fw_check(zdev, fw);
	if (ret)
		goto out;

	zdev->fw.image = dma_alloc_coherent(&zdev->pdev->dev, fw->size, &zdev->fw.dma, GFP_KERNEL);
	if (!zdev->fw.image) {
		ret = -ENOMEM;
		goto out;
	}
	zdev->fw.size = fw->size;
	memcpy(zdev->fw.image, fw->data, fw->size);

out:
	release_firmware(fw);
	return ret;
}

/**
 * zhenwu_fw_fetch() - get the image from the file system once more
 * @zdev: device
 *
 * For a device that does not boot with the copy there is. Nobody in user space is waited for.
 *
 * Return: the image, to be given to zhenwu_fw_replace() and released; NULL when there is none that
 * fits.
 */
const struct firmware *zhenwu_fw_fetch(struct zhenwu_device *zdev)
{
	const struct firmware *fw;
	int ret;

	ret = request_firmware_direct(&fw, ZHENWU_FW_NAME, &zdev->pdev->dev);
	if (ret) {
		drm_err(&zdev->drm, "firmware %s: cannot be loaded: %d\n", ZHENWU_FW_NAME, ret);
		return NULL;
	}
	/* Memory for another size cannot be had now; another version may be what the disk has. */
	if (fw->size == zdev->fw.size && !zhenwu_fw_check(zdev, fw))
		return fw;
	drm_err(&zdev->drm, "firmware %s: is another one now\n", ZHENWU_FW_NAME);
	release_firmware(fw);
	return NULL;
}

/**
 * zhenwu_fw_replace() - put a fresh image in the place of the one there is
 * @zdev: device in reset
 * @fw: image from zhenwu_fw_fetch(), or NULL: it stays
 */
void zhenwu_fw_replace(struct zhenwu_device *zdev, const struct firmware *fw)
{
	if (fw)
		memcpy(zdev->fw.image, fw->data, fw->size);
}

/**
 * zhenwu_fw_unload() - free the image
 * @zdev: device; has to be in reset
 */
void zhenwu_fw_unload(struct zhenwu_device *zdev)
{
	if (!zdev->fw.image)
		return;
	dma_free_coherent(&zdev->pdev->dev, zdev->fw.size, zdev->fw.image, zdev->fw.dma);
	zdev->fw.image = NULL;
}

static int zhenwu_fw_wait_reset_ms(struct zhenwu_device *zdev, unsigned int ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(ms);

	for (;;) {
		bool last = time_after(jiffies, end);

		if (zhenwu_read32(zdev, ZW_REG_MAGIC) != ZW_MAGIC)
			return -ENODEV;
		if (!zhenwu_read32(zdev, ZW_REG_RESET_STATUS))
			return 0;
		if (last)
			return -ETIMEDOUT;
		usleep_range(100, 1000);
	}
}

/**
 * zhenwu_fw_wait_reset() - wait until a reset of any kind is over
 * @zdev: device
 *
 * A function level reset goes on after the 100 ms the PCI core waits: memory is zeroed.
 *
 * Return: 0, -ENODEV when the device does not answer at all, -ETIMEDOUT when it does not get quiet.
 */
int zhenwu_fw_wait_reset(struct zhenwu_device *zdev)
{
	return zhenwu_fw_wait_reset_ms(zdev,
				       ZHENWU_RESET_TIMEOUT_MS + 10 * zdev->info.progress_ms);
}

/**
 * zhenwu_fw_reset_device() - reset the device and wait until it is quiet
 * @zdev: device
 *
 * HBM keeps its contents. On success no DMA is under way and none will start.
 *
 * Return: 0, -ENODEV when the device does not answer at all, -ETIMEDOUT when it does not get quiet.
 */
int zhenwu_fw_reset_device(struct zhenwu_device *zdev)
{
	zhenwu_write32(zdev, ZW_REG_RESET, ZW_RESET_KEY);
	return zhenwu_fw_wait_reset(zdev);
}

/**
 * zhenwu_fw_quiet_device() - reset the device, without much patience
 * @zdev: device
 *
 * For where something stronger stops its DMA right after this: a function level reset, or the loss
 * of bus mastering of a device that was given up. One that works is quiet long before.
 *
 * Return: 0, -ENODEV when the device does not answer at all, -ETIMEDOUT when it does not get quiet.
 */
int zhenwu_fw_quiet_device(struct zhenwu_device *zdev)
{
	zhenwu_write32(zdev, ZW_REG_RESET, ZW_RESET_KEY);
	return zhenwu_fw_wait_reset_ms(zdev, ZHENWU_QUIET_TIMEOUT_MS + zdev->info.progress_ms);
}

static int zhenwu_fw_wait_ready(struct zhenwu_device *zdev)
{
	unsigned long end = jiffies + msecs_to_jiffies(ZHENWU_BOOT_TIMEOUT_MS +
						       10 * zdev->info.progress_ms);
	struct drm_device *drm = &zdev->drm;
	u32 status;

	for (;;) {
		bool last = time_after(jiffies, end);

		status = zhenwu_read32(zdev, ZW_REG_BOOT_STATUS);
		switch (status) {
		case ZW_BOOT_READY:
			return 0;
		case ZW_BOOT_FAILED: {
			u32 err = zhenwu_read32(zdev, ZW_REG_BOOT_ERROR);

			drm_err(drm, "firmware %s refused: %s 0x%x (boot error %u)\n",
				ZHENWU_FW_NAME, zhenwu_fw_boot_error_text(err),
				zhenwu_read32(zdev, ZW_REG_BOOT_DETAIL), err);
			return -EIO;
		}
		case ZW_BOOT_HALTED:
			drm_err(drm, "firmware trapped while booting: cause 0x%x at 0x%llx\n",
				zhenwu_read32(zdev, ZW_REG_FW_TRAP_CAUSE) & ~ZW_FW_TRAPPED,
				zhenwu_read64(zdev, ZW_REG_FW_TRAP_PC));
			return -EIO;
		case U32_MAX:
			drm_err(drm, "the device disappeared while booting\n");
			return -ENODEV;
		}
		if (last)
			break;
		usleep_range(500, 2000);
	}

	drm_err(drm, "firmware did not get ready, boot status %u\n", status);
	return -ETIMEDOUT;
}

/**
 * zhenwu_fw_running() - can the firmware do its work
 * @zdev: device that was booted
 *
 * Return: false, with the reason in the kernel log, when it trapped, is gone, or was taken its way
 * to memory.
 */
bool zhenwu_fw_running(struct zhenwu_device *zdev)
{
	u32 status = zhenwu_read32(zdev, ZW_REG_BOOT_STATUS);
	u16 command = 0;

	pci_read_config_word(zdev->pdev, PCI_COMMAND, &command);
	if (status == ZW_BOOT_READY && command & PCI_COMMAND_MASTER)
		return true;
	if (status == ZW_BOOT_READY)
		drm_err(&zdev->drm, "bus mastering was switched off (PCI command 0x%04x)\n",
			command);
	else if (status == ZW_BOOT_HALTED)
		drm_err(&zdev->drm, "firmware trapped: cause 0x%x at 0x%llx\n",
			zhenwu_read32(zdev, ZW_REG_FW_TRAP_CAUSE) & ~ZW_FW_TRAPPED,
			zhenwu_read64(zdev, ZW_REG_FW_TRAP_PC));
	else
		drm_err(&zdev->drm, "firmware does not run, boot status %u\n", status);
	return false;
}

/**
 * zhenwu_fw_boot() - start the firmware on a device in reset and open the mailbox
 * @zdev: device
 *
 * Allocates nothing: a device reset depends on it.
 *
 * Return: 0 or a negative error, explained in the kernel log.
 */
int zhenwu_fw_boot(struct zhenwu_device *zdev)
{
	struct drm_device *drm = &zdev->drm;
	struct zw_msg_ping ping = { .cookie = cpu_to_le32(0x70696e67) }, pong;
	struct zw_msg_fw_info info;
	u32 abi;
	int ret;

	zhenwu_ipc_prepare(zdev);

	zhenwu_write64(zdev, ZW_REG_FW_ADDR, zdev->fw.dma);
	zhenwu_write32(zdev, ZW_REG_FW_SIZE, zdev->fw.size);
	zhenwu_write32(zdev, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	ret = zhenwu_fw_wait_ready(zdev);
	if (ret)
		return ret;

	zhenwu_ipc_up(zdev);
	ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_PING, &ping, sizeof(ping), &pong, sizeof(pong));
	if (!ret && pong.cookie != ping.cookie)
		ret = -EPROTO;
	if (!ret)
		ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_QUERY_FW, NULL, 0, &info, sizeof(info));
	if (ret) {
		drm_err(drm, "firmware does not answer the mailbox: %d\n", ret);
		goto err_down;
	}

	abi = le32_to_cpu(info.abi_version);
	if (ZW_ABI_VERSION_MAJOR(abi) != ZW_ABI_MAJOR) {
		drm_err(drm, "firmware speaks device ABI %u.%u, the driver %u.x\n",
			ZW_ABI_VERSION_MAJOR(abi), ZW_ABI_VERSION_MINOR(abi), ZW_ABI_MAJOR);
		ret = -EPROTO;
		goto err_down;
	}
	if (le32_to_cpu(info.num_queues) < zdev->info.num_queues ||
	    le32_to_cpu(info.num_vms) < zdev->info.num_vms) {
		drm_err(drm, "firmware has %u queues and %u VMs, the device %u and %u\n",
			le32_to_cpu(info.num_queues), le32_to_cpu(info.num_vms),
			zdev->info.num_queues, zdev->info.num_vms);
		ret = -EPROTO;
		goto err_down;
	}

	ret = zhenwu_ras_start(zdev);
	if (ret) {
		drm_err(drm, "firmware does not take leave to post events: %d\n", ret);
		goto err_down;
	}

	zdev->fw.version = le32_to_cpu(info.fw_version);
	zdev->fw.abi = abi;
	return 0;

err_down:
	zhenwu_ipc_down(zdev);
	return ret;
}

/**
 * zhenwu_fw_show_log() - print the firmware's log ring
 * @zdev: device
 * @m: where to print
 *
 * Every number in the shared window was written by the firmware and is bounded before use.
 *
 * Return: 0, -ENODEV or -ENOMEM; a malformed window is said in the output.
 */
int zhenwu_fw_show_log(struct zhenwu_device *zdev, struct seq_file *m)
{
	void __iomem *win = zdev->regs + ZW_REG_FW_SHARED;
	struct zw_fw_shared sh;
	u32 off, size, head, i;
	int idx, ret = 0;
	char *buf;

	ret = zhenwu_pm_get(zdev);
	if (ret)
		return ret;
	if (!drm_dev_enter(&zdev->drm, &idx)) {
		ret = -ENODEV;
		goto out_pm;
	}

	memcpy_fromio(&sh, win, sizeof(sh));
	off = le32_to_cpu(sh.log_offset);
	size = le32_to_cpu(sh.log_size);
	head = le32_to_cpu(sh.log_head);
	if (le32_to_cpu(sh.magic) != ZW_FW_SHARED_MAGIC || !is_power_of_2(size) || off % 4 ||
	    size < 4 || off > ZW_FW_SHARED_SIZE || size > ZW_FW_SHARED_SIZE - off) {
		seq_puts(m, "shared window is not valid\n");
		goto out;
	}

	seq_printf(m, "jobs done %u failed %u, preemptions %u, messages %u, loops %u\n",
		   le32_to_cpu(sh.jobs_done), le32_to_cpu(sh.jobs_failed),
		   le32_to_cpu(sh.preemptions), le32_to_cpu(sh.messages), le32_to_cpu(sh.loops));

	buf = vmalloc(size);
	if (!buf) {
		ret = -ENOMEM;
		goto out;
	}
	for (i = 0; i < size; i += 4)
		*(__le32 *)(buf + i) = cpu_to_le32(readl(win + off + i));
	for (i = head < size ? 0 : head - size; i != head; i++) {
		char c = buf[i & (size - 1)];

		/* Text of the firmware goes to a terminal: no control characters. */
		seq_putc(m, c == '\n' || (c >= ' ' && c < 0x7f) ? c : '.');
	}
	vfree(buf);
	if (head)
		seq_putc(m, '\n');
out:
	drm_dev_exit(idx);
out_pm:
	zhenwu_pm_put(zdev);
	return ret;
}
