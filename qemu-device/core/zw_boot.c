/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include "zw_boot.h"
#include "zw_device_int.h"
#include "zw_sha256.h"

#define SEGMENT_ALIGN 16
#define READ_STEP     (64u << 10)

static bool all_zero(const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n--) {
		if (*b++)
			return false;
	}
	return true;
}

static bool hash_matches(const uint8_t *image, uint32_t size)
{
	const size_t at = offsetof(struct zw_fw_header, sha256);
	const uint8_t zero[ZW_SHA256_SIZE] = {0};
	uint8_t digest[ZW_SHA256_SIZE];
	struct zw_sha256_ctx ctx;

	zw_sha256_init(&ctx);
	zw_sha256_update(&ctx, image, at);
	zw_sha256_update(&ctx, zero, sizeof(zero));
	zw_sha256_update(&ctx, image + at + sizeof(zero), size - at - sizeof(zero));
	zw_sha256_final(&ctx, digest);
	return !memcmp(digest, image + at, sizeof(digest));
}

static bool reserved_clear(const struct zw_fw_header *h)
{
	if (h->reserved)
		return false;
	for (uint32_t i = 0; i < ZW_FW_MAX_SEGMENTS; i++) {
		const struct zw_fw_segment *s = &h->segment[i];

		if (i >= h->num_segments ? !all_zero(s, sizeof(*s)) : s->reserved || s->reserved2)
			return false;
	}
	return true;
}

static bool segment_ok(const struct zw_fw_header *h, uint32_t i)
{
	const struct zw_fw_segment *s = &h->segment[i];

	if (s->offset % SEGMENT_ALIGN || s->offset < h->header_size || s->offset > h->image_size ||
	    s->file_size > h->image_size - s->offset || s->mem_size < s->file_size)
		return false;
	if (s->load_addr < ZW_SOC_SRAM_BASE || s->load_addr > ZW_SOC_SHARED_BASE ||
	    s->mem_size > ZW_SOC_SHARED_BASE - s->load_addr)
		return false;
	/* Two segments in one place: what is loaded would depend on the order. */
	for (uint32_t k = 0; k < i; k++) {
		const struct zw_fw_segment *o = &h->segment[k];

		if (s->load_addr < o->load_addr + o->mem_size &&
		    o->load_addr < s->load_addr + s->mem_size)
			return false;
	}
	return true;
}

static bool entry_ok(const struct zw_fw_header *h)
{
	if (h->entry % 2)
		return false;
	for (uint32_t i = 0; i < h->num_segments; i++) {
		const struct zw_fw_segment *s = &h->segment[i];

		if (h->entry >= s->load_addr && h->entry - s->load_addr < s->file_size)
			return true;
	}
	return false;
}

uint32_t zw_boot_verify(const void *image, uint32_t size, uint32_t caps, uint32_t *detail)
{
	struct zw_fw_header h;

	*detail = size;
	if (size < sizeof(h) || size > ZW_FW_MAX_SIZE)
		return ZW_BOOT_ERR_SIZE;
	memcpy(&h, image, sizeof(h));
	*detail = h.magic;
	if (h.magic != ZW_FW_MAGIC)
		return ZW_BOOT_ERR_MAGIC;
	/* Where the hash is depends on the header's version: nothing else can be trusted before. */
	*detail = h.header_version;
	if (h.header_version != ZW_FW_HEADER_VERSION || h.header_size != sizeof(h))
		return ZW_BOOT_ERR_HEADER;
	*detail = size;
	if (h.image_size != size)
		return ZW_BOOT_ERR_SIZE;
	*detail = 0;
	if (!hash_matches(image, size))
		return ZW_BOOT_ERR_HASH;
	*detail = h.abi_version;
	if (ZW_ABI_VERSION_MAJOR(h.abi_version) != ZW_ABI_MAJOR)
		return ZW_BOOT_ERR_ABI;
	*detail = h.min_minor;
	if (h.min_minor > ZW_ABI_MINOR)
		return ZW_BOOT_ERR_MINOR;
	*detail = h.caps;
	if (h.caps & ~caps)
		return ZW_BOOT_ERR_CAPS;
	*detail = h.num_segments;
	if (!h.num_segments || h.num_segments > ZW_FW_MAX_SEGMENTS)
		return ZW_BOOT_ERR_BOUNDS;
	*detail = 0;
	if (!reserved_clear(&h))
		return ZW_BOOT_ERR_RESERVED;
	for (uint32_t i = 0; i < h.num_segments; i++) {
		*detail = i;
		if (!segment_ok(&h, i))
			return ZW_BOOT_ERR_BOUNDS;
	}
	*detail = h.num_segments;
	if (!entry_ok(&h))
		return ZW_BOOT_ERR_BOUNDS;
	*detail = 0;
	return ZW_BOOT_ERR_NONE;
}

uint64_t zw_boot_load(const void *image, uint8_t *sram)
{
	struct zw_fw_header h;

	memcpy(&h, image, sizeof(h));
	memset(sram, 0, ZW_SOC_SRAM_SIZE);
	for (uint32_t i = 0; i < h.num_segments; i++) {
		const struct zw_fw_segment *s = &h.segment[i];

		memcpy(sram + (s->load_addr - ZW_SOC_SRAM_BASE), (const uint8_t *)image + s->offset,
		       s->file_size);
	}
	return h.entry;
}

/* ZW_BOOT_ERR_NONE with the image in buf, or ZW_BOOT_ERR_DMA with the offset in *detail. */
static uint32_t read_image(struct zw_device *dev, uint8_t *buf, uint32_t size, uint32_t *detail)
{
	uint64_t addr = atomic_load(&dev->fw_addr);

	for (uint32_t off = 0; off < size; off += READ_STEP) {
		uint32_t n = size - off < READ_STEP ? size - off : READ_STEP;

		*detail = off;
		if (zw_dev_stopping(dev) || addr > UINT64_MAX - size ||
		    zw_inject_dma(&dev->inject, addr + off, n) ||
		    dev->ops.dma_read(dev->opaque, 0, addr + off, buf + off, n))
			return ZW_BOOT_ERR_DMA;
	}
	return ZW_BOOT_ERR_NONE;
}

static void finish(struct zw_device *dev, uint32_t error, uint32_t detail)
{
	pthread_mutex_lock(&dev->lock);
	/* A reset that came meanwhile has the last word about the registers. */
	if (dev->run == ZW_RUN_BOOT) {
		atomic_store(&dev->boot_error, error);
		atomic_store(&dev->boot_detail, detail);
		zw_dev_enter_locked(dev, error ? ZW_RUN_IDLE : ZW_RUN_FIRMWARE);
		atomic_store(&dev->boot_status,
			     error == ZW_BOOT_ERR_NONE ? ZW_BOOT_RUNNING : ZW_BOOT_FAILED);
	}
	pthread_mutex_unlock(&dev->lock);
	if (error)
		zw_dev_log(dev, ZW_LOG_GUEST_ERROR, "boot: image refused, error %u, detail 0x%x",
			   error, detail);
}

void zw_boot_run(struct zw_device *dev)
{
	uint32_t size = atomic_load(&dev->fw_size);
	uint32_t error, detail = size;
	struct zw_fw_header h;
	uint8_t *image;

	if (size < sizeof(h) || size > ZW_FW_MAX_SIZE) {
		finish(dev, ZW_BOOT_ERR_SIZE, size);
		return;
	}
	image = malloc(size);
	if (!image) {
		zw_dev_log(dev, ZW_LOG_ERROR, "boot: no memory for an image of %u bytes", size);
		finish(dev, ZW_BOOT_ERR_DMA, 0);
		return;
	}
	/* Read once: what is checked is what is loaded, whatever the guest does to its copy
	 * meanwhile. */
	error = read_image(dev, image, size, &detail);
	if (!error)
		error = zw_boot_verify(image, size, dev->caps, &detail);
	if (!error) {
		memcpy(&h, image, sizeof(h));
		zw_rv_reset(dev->rv, zw_boot_load(image, dev->sram));
		zw_rv_invalidate(dev->rv, ZW_SOC_SRAM_BASE, ZW_SOC_SRAM_SIZE);
		atomic_store(&dev->fw_version, 0);
		atomic_store(&dev->fw_heartbeat, 0);
		zw_dev_log(dev, ZW_LOG_INFO, "boot: firmware %u.%u.%u, entry 0x%llx",
			   ZW_FW_VERSION_MAJOR(h.fw_version), ZW_FW_VERSION_MINOR(h.fw_version),
			   ZW_FW_VERSION_PATCH(h.fw_version), (unsigned long long)h.entry);
	}
	free(image);
	finish(dev, error, detail);
}
