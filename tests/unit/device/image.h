/* SPDX-License-Identifier: MIT */
/* Firmware images for tests. */
#ifndef ZW_TEST_IMAGE_H
#define ZW_TEST_IMAGE_H

#include "unit.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_soc.h"
#include "zw_sha256.h"

/* Computes the hash of an image whose header is in place. */
static inline void image_seal(uint8_t *image, size_t size)
{
	struct zw_fw_header *h = (void *)image;

	memset(h->sha256, 0, sizeof(h->sha256));
	zw_sha256(image, size, h->sha256);
}

/* One segment at the start of SRAM with mem_size = len + bss. The caller frees it. */
static inline uint8_t *image_new(const void *text, uint32_t len, uint32_t bss, uint32_t *size)
{
	uint32_t total = (uint32_t)sizeof(struct zw_fw_header) + len;
	uint8_t *image = calloc(1, total);
	struct zw_fw_header *h = (void *)image;

	assert_non_null(image);
	*h = (struct zw_fw_header){
		.magic = ZW_FW_MAGIC,
		.header_version = ZW_FW_HEADER_VERSION,
		.header_size = sizeof(*h),
		.image_size = total,
		.abi_version = ZW_ABI_VERSION,
		.fw_version = ZW_FW_VERSION(1, 2, 3),
		.num_segments = 1,
		.entry = ZW_SOC_SRAM_BASE,
		.build = "test",
		.segment = {{.offset = sizeof(*h),
			     .file_size = len,
			     .mem_size = len + bss,
			     .load_addr = ZW_SOC_SRAM_BASE}},
	};
	memcpy(image + sizeof(*h), text, len);
	image_seal(image, total);
	*size = total;
	return image;
}

#endif
