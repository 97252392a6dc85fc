// SPDX-License-Identifier: MIT
/* Command builder, checker, disassembler: no device needed. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "rt_packets.h"

static void test_every_packet(void **state)
{
	struct zw_cmd c;
	uint32_t packet = 99;

	zw_cmd_init(&c);
	for (unsigned int i = 0; i < RT_PACKETS; i++) {
		assert_int_equal(rt_packet(&c, i, 0x100000), 0);
		assert_int_equal(c.packets, i + 1);
	}
	assert_int_equal(zw_cmd_finish(&c), 0);
	assert_int_equal(c.used % 16, 0);
	assert_int_equal(zw_cmd_check(c.base, c.used, &packet, NULL), 0);
	assert_int_equal(packet, 99);
	/* cut off in the middle of the last packet */
	assert_int_equal(zw_cmd_check(c.base, c.used - 16, &packet, NULL), ZW_REASON_PACKET_SIZE);
	assert_int_equal(packet, RT_PACKETS - 1);
	assert_int_equal(zw_cmd_check(c.base, c.used - 1, &packet, NULL), ZW_REASON_CMD_SIZE);
	zw_cmd_fini(&c);
}

static void test_memory(void **state)
{
	_Alignas(16) uint8_t mem[64];
	struct zw_cmd c;

	zw_cmd_init_fixed(&c, mem, sizeof(mem));
	assert_int_equal(zw_cmd_copy(&c, 0x1000, 0x2000, 16, 0), 0);
	assert_ptr_equal(c.base, mem);
	assert_int_equal(zw_cmd_copy(&c, 0x1000, 0x2000, 16, 0), -ENOSPC);
	assert_int_equal(zw_cmd_nop(&c, 0), -ENOSPC); /* there is room, but errors stick */
	assert_int_equal(zw_cmd_finish(&c), -ENOSPC);
	assert_int_equal(c.packets, 1);
	zw_cmd_reset(&c);
	assert_int_equal(zw_cmd_finish(&c), 0);
	assert_int_equal(c.used, 0);
	zw_cmd_fini(&c);

	zw_cmd_init_fixed(&c, mem + 4, 32);
	assert_int_equal(zw_cmd_nop(&c, 0), -EINVAL);
	zw_cmd_fini(&c);

	/* growth keeps what is there; 16 MiB is the end */
	zw_cmd_init(&c);
	assert_int_equal(zw_cmd_fill(&c, 0x1000, 4, 0xabcd, 0), 0);
	while (c.used + sizeof(struct zw_pkt) <= ZW_CMD_MAX_BYTES)
		if (!zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(struct zw_pkt), 0, 0))
			break;
	assert_int_equal(c.error, 0);
	assert_int_equal(c.used, ZW_CMD_MAX_BYTES);
	assert_int_equal(((struct zw_pkt_fill *)(void *)c.base)->pattern, 0xabcd);
	assert_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(struct zw_pkt), 0, 0));
	assert_int_equal(c.error, -EFBIG);
	zw_cmd_fini(&c);
}

static void test_tensors(void **state)
{
	struct zw_tensor t = zw_tensor_3d(ZW_DTYPE_BF16, 0x1000, 5, 4, 8), s;

	assert_int_equal(zw_tensor_span(&t), 5 * 4 * 8 * 2);
	s = zw_tensor_slice(t, 1, 2, 2);
	assert_int_equal(s.va, 0x1000 + 2 * 8 * 2);
	assert_int_equal(s.dim[1], 2);
	assert_int_equal(s.stride[0], 32);
	assert_int_equal(zw_tensor_span(&s), (4 * 32 + 8 + 8) * 2);
	s = zw_tensor_slice(t, 2, 3, 1);
	assert_int_equal(s.va, 0x1000 + 3 * 2);
	t = zw_tensor_none();
	assert_int_equal(zw_tensor_span(&t), 0);
	t = zw_tensor_2d(ZW_DTYPE_F32, 0, 4, 4);
	t.stride[0] = UINT64_MAX / 2;
	assert_int_equal(zw_tensor_span(&t), 0);
	t.ndim = 200;
	assert_int_equal(zw_tensor_span(&t), 0);
}

/* Builds packet i, changes one 32-bit word of it, and tells the reason for which it is refused. */
static int refused(unsigned int i, size_t offset, uint32_t word, char *what, size_t len)
{
	struct zw_error e = {""};
	struct zw_cmd c;
	int reason;

	zw_cmd_init(&c);
	assert_int_equal(rt_packet(&c, i, 0x100000), 0);
	memcpy(c.base + offset, &word, 4);
	reason = zw_cmd_check_packet(c.base, c.used, &e);
	snprintf(what, len, "%s", e.msg);
	zw_cmd_fini(&c);
	return reason;
}

static void test_reasons(void **state)
{
#define G(operand, field)                                                                          \
	(offsetof(struct zw_pkt_gemm, operand) + offsetof(struct zw_tensor, field))
	static const struct {
		unsigned int packet;
		size_t offset;
		uint32_t word;
		int reason;
		const char *text;
	} cases[] = {
		{0, 0, 0x00100fff, ZW_REASON_OPCODE, "header"},
		{0, 0, 0x00200000, ZW_REASON_PACKET_SIZE, "header"},
		{0, 4, 2, ZW_REASON_FLAGS, "header"},
		{1, 4, ZW_PKT_F_ASYNC, ZW_REASON_FLAGS, "header"},
		{0, 8, 4, ZW_REASON_RESERVED, "rows_va"},
		{5, 8, 2, ZW_REASON_ALIGN, "rows_va"},
		{2, 16, 4, ZW_REASON_ALIGN, "va"},
		{2, 24, 1, ZW_REASON_RESERVED, "reserved"},
		{3, 16, 8, ZW_REASON_ALIGN, "va"},
		{5, G(a, dtype), 0x0002007f, ZW_REASON_DTYPE, "a"},
		{5, G(a, dtype), 0x00020003, ZW_REASON_UNSUPPORTED, "a"},
		{5, G(a, dtype), 0x00020040, ZW_REASON_UNSUPPORTED, "a"},
		{5, G(a, dtype), 0x00020010, ZW_REASON_DTYPE, "a"},
		{5, G(a, dtype), 0x00020000, ZW_REASON_OPERAND, "a"},
		{5, G(bias, dtype), 0x00010000, ZW_REASON_RESERVED, "bias"},
		{5, G(a, dtype), 0x00030002, ZW_REASON_NDIM, "[MK] expected"},
		{5, G(a, dtype), 0x01020002, ZW_REASON_RESERVED, "a"},
		{5, G(a, flags), 1, ZW_REASON_RESERVED, "a"},
		{5, G(a, scale_va), 1, ZW_REASON_RESERVED, "a"},
		{5, G(a, dim) + 8, 1, ZW_REASON_RESERVED, "a"},
		{5, G(a, dim), 0, ZW_REASON_SHAPE, "zero"},
		{5, G(a, dim), (1u << 28) + 1, ZW_REASON_LIMIT, "a"},
		{5, G(a, stride), 39, ZW_REASON_STRIDE, "a"},
		{5, G(a, stride) + 4, 0x80000000, ZW_REASON_STRIDE, "a"},
		{5, G(a, va), 0x100001, ZW_REASON_ALIGN, "a"},
		{5, G(w, dim), 25, ZW_REASON_SHAPE, "N is 24 here and 25 in w"},
		{5, G(bias, dim), 23, ZW_REASON_SHAPE, "bias"},
		{5, G(c, va), 0x100000, ZW_REASON_OVERLAP,
		 "c: output overlaps another operand: overlaps a"},
		{6, offsetof(struct zw_pkt_rmsnorm, eps_f32), 0x7f800000, ZW_REASON_VALUE, "eps"},
		{6, offsetof(struct zw_pkt_rmsnorm, eps_f32), 0x80000000, ZW_REASON_VALUE, "eps"},
		{6, offsetof(struct zw_pkt_rmsnorm, reserved), 1, ZW_REASON_RESERVED, "reserved"},
		{14, offsetof(struct zw_pkt_attention, scale_f32), 0, ZW_REASON_VALUE, "scale"},
		{14, offsetof(struct zw_pkt_attention, window), 1, ZW_REASON_RESERVED, "window"},
		{14, offsetof(struct zw_pkt_attention, q.dim) + 4, 3, ZW_REASON_SHAPE, "y"},
		{15, offsetof(struct zw_pkt_copy, src), 0x100100, ZW_REASON_OVERLAP, "dst"},
		{15, offsetof(struct zw_pkt_copy, bytes) + 4, 0x20000, ZW_REASON_LIMIT, "bytes"},
		{16, offsetof(struct zw_pkt_fill, bytes), 63, ZW_REASON_ALIGN, "bytes"},
	};
#undef G
	char what[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int reason = refused(cases[i].packet, cases[i].offset, cases[i].word, what,
				     sizeof(what));

		if (reason != cases[i].reason || !strstr(what, cases[i].text))
			fail_msg("case %zu: reason %d (%s), expected %d (... %s ...)", i, reason,
				 what, cases[i].reason, cases[i].text);
	}
}

static void test_refused_packet_is_not_added(void **state)
{
	struct zw_tensor a = zw_tensor_2d(ZW_DTYPE_F32, 0x1000, 2, 3);
	struct zw_tensor w = zw_tensor_2d(ZW_DTYPE_F32, 0x2000, 4, 5);
	struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, 0x3000, 2, 4);
	struct zw_cmd c;

	zw_cmd_init(&c);
	assert_int_equal(zw_cmd_nop(&c, 0), 0);
	assert_int_equal(zw_cmd_gemm(&c, &a, &w, &y, NULL, NULL, 0, 0), -EINVAL);
	assert_int_equal(c.packets, 1);
	assert_int_equal(c.used, 16);
	assert_int_equal(c.reason, ZW_REASON_SHAPE);
	assert_string_equal(c.what.msg, "packet 1 gemm: w: shapes do not agree, or a dimension is "
					"zero: K is 5 here and 3 in a");
	assert_int_equal(zw_cmd_finish(&c), -EINVAL);
	zw_cmd_reset(&c);
	assert_int_equal(zw_cmd_rmsnorm(&c, &a, NULL, &a, 1e-6f, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OPERAND);
	zw_cmd_fini(&c);
}

static void test_overlap(void **state)
{
	/* gate and up side by side in one matrix of 80 columns; y over gate is fine, one column on
	 * is not */
	struct zw_tensor fused = zw_tensor_2d(ZW_DTYPE_BF16, 0x1000, 4, 80);
	struct zw_tensor gate = zw_tensor_slice(fused, 1, 0, 40);
	struct zw_tensor up = zw_tensor_slice(fused, 1, 40, 40), off;
	struct zw_cmd c;

	zw_cmd_init(&c);
	assert_int_equal(zw_cmd_swiglu(&c, &gate, &up, &gate, 0, 0), 0);
	assert_int_equal(zw_cmd_swiglu(&c, &gate, &up, &up, 0, 0), 0);
	off = zw_tensor_slice(fused, 1, 1, 40);
	assert_int_equal(zw_cmd_swiglu(&c, &gate, &up, &off, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OVERLAP);
	/* columns 60 to 100 of a matrix of 80: the last 20 are the first of the next row, and so
	 * gate's */
	zw_cmd_reset(&c);
	off = zw_tensor_slice(fused, 1, 60, 40);
	assert_int_equal(zw_cmd_add(&c, &gate, &gate, &off, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OVERLAP);
	zw_cmd_reset(&c);
	assert_int_equal(zw_cmd_add(&c, &off, &off, &gate, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OVERLAP);
	zw_cmd_fini(&c);
}

/* Packets with an index per row have fewer rows, as the device copies the indices. */
static void test_index_rows(void **state)
{
	const uint32_t most = 1u << 20;
	struct zw_cmd c;

	zw_cmd_init(&c);
	for (uint32_t n = most; n <= most + 1; n++) {
		struct zw_tensor ids = zw_tensor_1d(ZW_DTYPE_I32, 0x1000, n);
		struct zw_tensor table = zw_tensor_2d(ZW_DTYPE_F32, 1ull << 32, 8, 2);
		struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, 2ull << 32, n, 2);

		assert_int_equal(zw_cmd_embed(&c, &ids, &table, &y, 0, 0), n == most ? 0 : -EINVAL);
	}
	assert_int_equal(c.reason, ZW_REASON_LIMIT);
	zw_cmd_fini(&c);
}

struct text {
	char buf[8192];
	size_t len;
};

static void add_line(void *opaque, const char *line)
{
	struct text *t = opaque;

	t->len += (size_t)snprintf(t->buf + t->len, sizeof(t->buf) - t->len, "%s\n", line);
	assert_true(t->len < sizeof(t->buf));
}

static void test_disasm(void **state)
{
	static const char expected[] =
		"   0 000000  gemm rows [0x000000009000] async\n"
		"          a            0x000000001000 bf16[2,8] stride 8\n"
		"          w            0x000000002000 bf16[4,8] stride 8\n"
		"          c            0x000000003000 f32[2,4] stride 4\n"
		"          bias         -\n"
		"          residual     -\n"
		"   1 000150  fill\n"
		"          dst          0x000000001002\n"
		"          bytes        8\n"
		"          pattern      0x00000007\n"
		"          ^ refused: dst: address not aligned (reason 12)\n"
		"   2 000180  opcode 0x0999, 16 bytes\n"
		"          ^ refused: header: unknown opcode (reason 3)\n"
		"          000180: 99 09 10 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
		"   3 000190  nop\n"
		"          ^ refused: header: packet size wrong for the opcode or beyond the "
		"buffer "
		"(reason 2)\n"
		"          000190: 00 00 08 00 00 00 00 00 00 00 00 00 00 00 00 00\n";
	struct zw_tensor a = zw_tensor_2d(ZW_DTYPE_BF16, 0x1000, 2, 8);
	struct zw_tensor w = zw_tensor_2d(ZW_DTYPE_BF16, 0x2000, 4, 8);
	struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, 0x3000, 2, 4);
	struct text t = {.len = 0};
	struct zw_pkt_fill *fill;
	struct zw_pkt *nop;
	struct zw_cmd c;

	zw_cmd_init(&c);
	assert_int_equal(zw_cmd_gemm(&c, &a, &w, &y, NULL, NULL, 0x9000, ZW_PKT_F_ASYNC), 0);
	fill = zw_cmd_emit_raw(&c, ZW_OP_FILL, sizeof(*fill), 0, 0);
	fill->dst = 0x1002;
	fill->bytes = 8;
	fill->pattern = 7;
	zw_cmd_emit_raw(&c, 0x999, 16, 0, 0);
	nop = zw_cmd_emit_raw(&c, ZW_OP_NOP, 16, 0, 0);
	nop->size = 8;
	assert_int_equal(zw_cmd_disasm(c.base, c.used, add_line, &t), 3);
	assert_string_equal(t.buf, expected);
	zw_cmd_fini(&c);
}

static void drop_line(void *opaque, const char *line)
{
	size_t *longest = opaque, len = strlen(line);

	if (len > *longest)
		*longest = len;
}

/* Whatever the bytes: it ends, and reads nothing beyond them (the address sanitizer watches). */
static void test_garbage(void **state)
{
	uint64_t seed = 1;
	size_t longest = 0;

	for (unsigned int round = 0; round < 3000; round++) {
		size_t bytes = rt_random(&seed) % 700;
		uint8_t *buf = malloc(bytes + 1), *p = buf + round % 2; /* odd addresses, too */

		assert_non_null(buf);
		bytes -= bytes ? round % 2 : 0;
		for (size_t i = 0; i < bytes; i++)
			p[i] = (uint8_t)rt_random(&seed);
		if (bytes > 4 && round % 3) {
			static const uint16_t op[] = {ZW_OP_GEMM, ZW_OP_ATTENTION, ZW_OP_NOP};
			uint16_t size = (uint16_t)(rt_random(&seed) % 40 * 16);

			memcpy(p, &op[round % 3], 2);
			memcpy(p + 2, &size, 2);
		}
		zw_cmd_disasm(p, bytes, drop_line, &longest);
		zw_cmd_check(p, bytes, NULL, NULL);
		free(buf);
	}
	assert_in_range(longest, 1, 511);
}

static void test_mutations(void **state)
{
	unsigned int refusals = 0;
	uint64_t seed = 2;

	for (unsigned int round = 0; round < 4000; round++) {
		struct zw_error what = {""};
		struct zw_cmd c;
		size_t longest = 0;
		int reason;

		zw_cmd_init(&c);
		assert_int_equal(rt_packet(&c, round % RT_PACKETS, 0x100000), 0);
		rt_mutate(c.base, c.used, &seed);
		reason = zw_cmd_check(c.base, c.used, NULL, &what);
		assert_in_range(reason, 0, ZW_REASON_RING);
		assert_int_equal(reason != 0, what.msg[0] != '\0');
		refusals += reason != 0;
		zw_cmd_disasm(c.base, c.used, drop_line, &longest);
		zw_cmd_fini(&c);
	}
	assert_in_range(refusals, 1000, 3999);
}

static void test_names(void **state)
{
	assert_string_equal(zw_opcode_name(ZW_OP_ATTENTION), "attention");
	assert_null(zw_opcode_name(0xffff));
	assert_string_equal(zw_dtype_name(ZW_DTYPE_BF16), "bf16");
	assert_null(zw_dtype_name(0x7f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_packet),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_tensors),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_refused_packet_is_not_added),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_index_rows),
		cmocka_unit_test(test_disasm),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
