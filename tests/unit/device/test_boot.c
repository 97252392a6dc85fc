/* SPDX-License-Identifier: MIT */
/* Boot ROM: what an image has to look like, field by field. */
#include "image.h"
#include "zw_boot.h"

#define TEXT 512

static uint8_t text[TEXT];
static uint8_t *image;
static struct zw_fw_header *h;
static uint32_t size;

static int setup(void **state)
{
	for (int i = 0; i < TEXT; i++)
		text[i] = (uint8_t)(i * 7 + 1);
	image = image_new(text, TEXT, 100, &size);
	h = (void *)image;
	return 0;
}

static int teardown(void **state)
{
	free(image);
	return 0;
}

static void expect(uint32_t error, uint32_t detail)
{
	uint32_t d = 0xdead;

	assert_int_equal(zw_boot_verify(image, size, ZW_CAP_USER_QUEUES, &d), error);
	assert_int_equal(d, detail);
}

static void sealed(uint32_t error, uint32_t detail)
{
	image_seal(image, size);
	expect(error, detail);
}

static void good(void **state)
{
	uint8_t *sram = malloc(ZW_SOC_SRAM_SIZE);

	expect(ZW_BOOT_ERR_NONE, 0);
	memset(sram, 0xff, ZW_SOC_SRAM_SIZE);
	assert_int_equal(zw_boot_load(image, sram), ZW_SOC_SRAM_BASE);
	assert_memory_equal(sram, text, TEXT);
	for (uint32_t i = TEXT; i < ZW_SOC_SRAM_SIZE; i++)
		assert_int_equal(sram[i], 0);
	free(sram);
}

/* What the image says it needs, the device has, or it does not start. */
static void needs(void **state)
{
	h->min_minor = ZW_ABI_MINOR;
	h->caps = ZW_CAP_USER_QUEUES;
	sealed(ZW_BOOT_ERR_NONE, 0);
	h->min_minor = ZW_ABI_MINOR + 1;
	sealed(ZW_BOOT_ERR_MINOR, ZW_ABI_MINOR + 1);
	h->min_minor = 0;
	h->caps = ZW_CAP_USER_QUEUES | ZW_CAP_LINKS;
	sealed(ZW_BOOT_ERR_CAPS, ZW_CAP_USER_QUEUES | ZW_CAP_LINKS);
	h->caps = 1u << 31;
	sealed(ZW_BOOT_ERR_CAPS, 1u << 31);
	h->caps = 0;
	sealed(ZW_BOOT_ERR_NONE, 0);
}

static void sizes(void **state)
{
	uint32_t d, s = size;

	for (uint32_t n = 0; n < sizeof(*h); n += 13) {
		assert_int_equal(zw_boot_verify(image, n, ZW_CAP_USER_QUEUES, &d),
				 ZW_BOOT_ERR_SIZE);
		assert_int_equal(d, n);
	}
	assert_int_equal(zw_boot_verify(image, ZW_FW_MAX_SIZE + 1, ZW_CAP_USER_QUEUES, &d),
			 ZW_BOOT_ERR_SIZE);
	size = s - 1;
	expect(ZW_BOOT_ERR_SIZE, s - 1);
	size = s;
	h->image_size++;
	sealed(ZW_BOOT_ERR_SIZE, s);
	h->image_size = 0;
	sealed(ZW_BOOT_ERR_SIZE, s);
}

static void identity(void **state)
{
	h->magic ^= 0x100;
	sealed(ZW_BOOT_ERR_MAGIC, ZW_FW_MAGIC ^ 0x100);
	h->magic = ZW_FW_MAGIC;
	h->header_version = ZW_FW_HEADER_VERSION + 1;
	sealed(ZW_BOOT_ERR_HEADER, ZW_FW_HEADER_VERSION + 1);
	h->header_version = ZW_FW_HEADER_VERSION;
	h->header_size = sizeof(*h) - 4;
	sealed(ZW_BOOT_ERR_HEADER, ZW_FW_HEADER_VERSION);
	h->header_size = sizeof(*h);
	h->abi_version = (ZW_ABI_MAJOR + 1) << 16;
	sealed(ZW_BOOT_ERR_ABI, (ZW_ABI_MAJOR + 1) << 16);
	h->abi_version = 0;
	sealed(ZW_BOOT_ERR_ABI, 0);
	/* another minor is fine */
	h->abi_version = ZW_ABI_VERSION + 7;
	sealed(ZW_BOOT_ERR_NONE, 0);
}

/* Every single bit of the image is covered by some check. */
static void every_bit(void **state)
{
	for (uint32_t i = 0; i < size * 8; i++) {
		uint32_t d;

		image[i / 8] ^= 1u << (i % 8);
		assert_int_not_equal(zw_boot_verify(image, size, ZW_CAP_USER_QUEUES, &d),
				     ZW_BOOT_ERR_NONE);
		if (i / 8 >= 16)
			assert_int_equal(zw_boot_verify(image, size, ZW_CAP_USER_QUEUES, &d),
					 ZW_BOOT_ERR_HASH);
		image[i / 8] ^= 1u << (i % 8);
	}
	expect(ZW_BOOT_ERR_NONE, 0);
}

static void reserved(void **state)
{
	h->reserved = 1;
	sealed(ZW_BOOT_ERR_RESERVED, 0);
	h->reserved = 0;
	h->reserved = 1u << 31;
	sealed(ZW_BOOT_ERR_RESERVED, 0);
	h->reserved = 0;
	h->segment[0].reserved = 1;
	sealed(ZW_BOOT_ERR_RESERVED, 0);
	h->segment[0].reserved = 0;
	h->segment[0].reserved2 = 1;
	sealed(ZW_BOOT_ERR_RESERVED, 0);
	h->segment[0].reserved2 = 0;
	for (int i = 1; i < ZW_FW_MAX_SEGMENTS; i++) {
		h->segment[i].load_addr = ZW_SOC_SRAM_BASE;
		sealed(ZW_BOOT_ERR_RESERVED, 0);
		h->segment[i].load_addr = 0;
	}
	sealed(ZW_BOOT_ERR_NONE, 0);
}

static void bounds(void **state)
{
	struct zw_fw_segment *s = &h->segment[0], keep = *s;
	const uint32_t all = ZW_SOC_SHARED_BASE - ZW_SOC_SRAM_BASE;

	h->num_segments = 0;
	sealed(ZW_BOOT_ERR_BOUNDS, 0);
	h->num_segments = ZW_FW_MAX_SEGMENTS + 1;
	sealed(ZW_BOOT_ERR_BOUNDS, ZW_FW_MAX_SEGMENTS + 1);
	h->num_segments = 0xffffffff;
	sealed(ZW_BOOT_ERR_BOUNDS, 0xffffffff);
	h->num_segments = 1;
#define BAD(field, value)                                                                          \
	do {                                                                                       \
		*s = keep;                                                                         \
		s->field = (value);                                                                \
		sealed(ZW_BOOT_ERR_BOUNDS, 0);                                                     \
		*s = keep;                                                                         \
	} while (0)
	BAD(offset, 0);
	BAD(offset, sizeof(*h) - 16);
	BAD(offset, sizeof(*h) + 8);
	BAD(offset, sizeof(*h) + 16);
	BAD(offset, 0xfffffff0);
	BAD(file_size, TEXT + 1);
	BAD(file_size, 0xffffffff);
	BAD(mem_size, TEXT - 1);
	BAD(mem_size, all + 1);
	BAD(mem_size, 0xffffffff);
	BAD(load_addr, ZW_SOC_SRAM_BASE - 1);
	BAD(load_addr, 0);
	BAD(load_addr, ZW_SOC_SHARED_BASE);
	BAD(load_addr, ZW_SOC_SHARED_BASE - TEXT);
	BAD(load_addr, UINT64_MAX - 10);
	BAD(load_addr, (1ull << 32) + ZW_SOC_SRAM_BASE);
	/* misaligned, and everything else right */
	s->offset += 8;
	s->file_size -= 16;
	sealed(ZW_BOOT_ERR_BOUNDS, 0);
	*s = keep;
	s->mem_size = all;
	sealed(ZW_BOOT_ERR_NONE, 0);
	*s = keep;

	/* second segment */
	h->num_segments = 2;
	h->segment[1] = keep;
	sealed(ZW_BOOT_ERR_BOUNDS, 1); /* in the same place */
	h->segment[1].load_addr += keep.mem_size - 1;
	sealed(ZW_BOOT_ERR_BOUNDS, 1);
	h->segment[1].load_addr++;
	sealed(ZW_BOOT_ERR_NONE, 0);
	h->segment[0].load_addr += 4096; /* the second one below the first */
	h->segment[1].load_addr = h->segment[0].load_addr - keep.mem_size;
	h->entry = h->segment[0].load_addr;
	sealed(ZW_BOOT_ERR_NONE, 0);
	h->segment[1].load_addr++;
	sealed(ZW_BOOT_ERR_BOUNDS, 1);
	h->segment[1].load_addr--;
	h->segment[1].file_size = TEXT + 1;
	sealed(ZW_BOOT_ERR_BOUNDS, 1);
	memset(&h->segment[1], 0, sizeof(keep));
	h->segment[0] = keep;
	h->num_segments = 1;

	/* entry: in the file part, even */
	h->entry = ZW_SOC_SRAM_BASE + 1;
	sealed(ZW_BOOT_ERR_BOUNDS, 1);
	h->entry = ZW_SOC_SRAM_BASE - 2;
	sealed(ZW_BOOT_ERR_BOUNDS, 1);
	h->entry = ZW_SOC_SRAM_BASE + TEXT;
	sealed(ZW_BOOT_ERR_BOUNDS, 1);
	h->entry = UINT64_MAX - 1;
	sealed(ZW_BOOT_ERR_BOUNDS, 1);
	h->entry = ZW_SOC_SRAM_BASE + TEXT - 2;
	sealed(ZW_BOOT_ERR_NONE, 0);
}

/* Whatever the fields say, a verified image loads inside of SRAM: random headers with a good hash.
 */
static void random_headers(void **state)
{
	uint8_t *sram = malloc(ZW_SOC_SRAM_SIZE);
	uint64_t seed = 7;
	unsigned int ok = 0;
	struct zw_fw_header keep = *h;

	for (int round = 0; round < 20000; round++) {
		static const uint32_t edge[] = {0,        1,          16,         240,
						256,      512,        752,        0xf0000,
						0x100000, 0x80000000, 0x800f0000, 0xffffffff};
		uint32_t d;

		*h = keep;
		for (int n = 1 + test_rand(&seed) % 3; n; n--) {
			/* from the end of the fixed fields on */
			uint32_t at = 16 + test_rand(&seed) % ((sizeof(*h) - 16) / 4) * 4;
			uint32_t v = test_rand(&seed) % 2
					     ? edge[test_rand(&seed) % 12]
					     : (uint32_t)test_rand(&seed) >> test_rand(&seed) % 32;

			memcpy(image + at, &v, 4);
		}
		image_seal(image, size);
		if (zw_boot_verify(image, size, ZW_CAP_USER_QUEUES, &d) == ZW_BOOT_ERR_NONE) {
			zw_boot_load(image, sram); /* ASan watches */
			ok++;
		}
	}
	assert_true(ok > 0);
	free(sram);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(good),      T(sizes),    T(needs),  T(identity),
		T(every_bit), T(reserved), T(bounds), T(random_headers),
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
