/* SPDX-License-Identifier: MIT */
/* Packets that must be refused, and that nothing of them was written. */
#ifndef ZW_TEST_CP_REFUSED_H
#define ZW_TEST_CP_REFUSED_H

#include "cp/zw_cp_int.h"
#include "cp_packets.h"

/* What is wrong with the packet, for messages. */
static const char *what = "";

/*
 * Runs { FILL, packet, NOP } and expects the packet to fail. A packet that is malformed stops the job before
 * the FILL; one that fails when it runs leaves the FILL done. Either way it has written nothing itself.
 */
static inline void expect_at(struct cp_env *e, const union any_packet *pk, uint32_t status,
			     uint32_t reason, bool form)
{
	struct zw_pkt_fill f = {
		.hdr = HDR(ZW_OP_FILL, zw_pkt_fill), .bytes = 8, .rows = 1, .pattern = 0x600df00d};
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(struct zw_pkt)};
	uint32_t packet_bytes = pk->hdr.size, before[2] = {0, 0};
	const struct zw_cp_op *op = zw_cp_op_find(pk->hdr.opcode);
	struct snapshot *s;

	f.dst = AREA_VA(IN_HBM) + AREA_BYTES - 64;
	env_put(e, f.dst, before, 8);
	if (!packet_bytes || packet_bytes % 16 || packet_bytes > sizeof(*pk))
		packet_bytes = sizeof(struct zw_pkt_timestamp);
	if (!e->cmd_va) {
		e->cmd_va = env_alloc(e, IN_PAGES, CMD_MAX);
		e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	}
	e->cmd_bytes = 0;
	EMIT(e, f);
	emit(e, pk, packet_bytes);
	EMIT(e, nop);
	env_put(e, e->cmd_va, e->cmd, e->cmd_bytes);
	if (!form) {
		uint32_t after[2] = {f.pattern, f.pattern};

		env_put(e, f.dst, after, 8);
	}
	s = snapshot_take(e);
	env_put(e, f.dst, before, 8);
	env_run(e);
	if (e->job.status != status || e->job.reason != reason)
		print_error("%s, %s: status %u reason %u, want %u %u\n", op ? op->name : "?", what,
			    e->job.status, e->job.reason, status, reason);
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, status);
	assert_int_equal(e->job.reason, reason);
	assert_int_equal(e->job.packet_index, 1);
	assert_int_equal(e->result.status, status);
	assert_int_equal(e->result.reason, reason);
	assert_int_equal(e->result.packet_index, 1);
	assert_int_equal(e->result.packets, form ? 0 : 1);
	assert_int_equal(e->result.fault_va, e->job.fault_va);
	assert_non_null(strstr(e->log, "packet 1"));
	if (op)
		assert_non_null(strstr(e->log, op->name));
	assert_true(snapshot_same(e, s));
	e->cmd_bytes = 0;
}

static inline void expect(struct cp_env *e, const union any_packet *pk, uint32_t status,
			  uint32_t reason)
{
	expect_at(e, pk, status, reason, status == ZW_JOB_INVALID);
}

#endif
