// SPDX-License-Identifier: MIT
/*
 * Fuzz target: command buffers on a command processor with a real MMU.
 *
 * The first byte chooses. Even: the rest is the buffer as it is. Odd: the rest are edits { packet
 * kind, then offset, value } of well-formed packets, which is how a fuzzer gets past the first check
 * of a packet of a thousand bytes.
 */
#include "../unit/cp/cp_packets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct cp_env *env;

static void build(struct cp_env *e, const uint8_t *data, size_t size)
{
	while (size >= 2 && e->n_allocs < MAX_ALLOCS - 20 && e->used[IN_HBM] < AREA_BYTES / 2) {
		union any_packet pk;
		unsigned int edits = data[1] & 7;
		uint32_t len;

		e->rows = data[0] & 0x80 ? 1 : 4;
		make_packet(e, all_opcodes[(data[0] & 0x7f) % N_OPCODES],
			    (enum place)((data[1] >> 3) % 3), &pk);
		if (data[1] & 0x80 && pk.hdr.opcode == ZW_OP_GEMM_EXPERTS)
			sample_scatter(&pk.gemm_experts);
		if (data[1] & 0x80 && pk.hdr.opcode == ZW_OP_MUL_SIGMOID)
			sample_row_gate(&pk.mul_sigmoid);
		if (data[1] & 0x80 && pk.hdr.opcode == ZW_OP_ATTENTION)
			make_sparse(e, (enum place)((data[1] >> 3) % 3), &pk.attention);
		if (edits & 4 && has_cache(pk.hdr.opcode))
			quantise_cache(e, (enum place)((data[1] >> 3) % 3), edits & 1, &pk);
		if (data[1] & 0x80 && pk.hdr.opcode == ZW_OP_GEMM && size >= 4) {
			quantise_gemm(e, (enum place)((data[1] >> 3) % 3),
				      data[2] | (uint64_t)data[3] << 8, &pk.gemm);
			data += 2;
			size -= 2;
		}
		len = pk.hdr.size;
		data += 2;
		size -= 2;
		for (; edits && size >= 11; edits--, data += 11, size -= 11) {
			unsigned int at = (data[0] | data[1] << 8) % len, n = 1 + data[2] % 8;

			memcpy((uint8_t *)&pk + at, data + 3, n < len - at ? n : len - at);
			/* the same edit of the next descriptor */
			if (data[2] & 0x80 && at + 64 < len)
				memcpy((uint8_t *)&pk + at + 64, data + 3,
				       n < len - at - 64 ? n : len - at - 64);
		}
		emit(e, &pk, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cp_env *e = env;

	if (!e) {
		e = env = env_new("m890", 0);
		e->no_guards = true;
	}
	if (!size || size > CMD_MAX)
		return 0;
	env_clear(e);
	zw_cp_queue_reset(e->cp, 0);
	e->rng = 1;
	if (data[0] & 1) {
		build(e, data + 1, size - 1);
	} else {
		memcpy(e->cmd, data + 1, size - 1);
		e->cmd_bytes = (uint32_t)(size - 1) & ~15u;
	}
	env_run(e);
	if (e->job.end != ZW_SOC_END_COMPLETE && e->job.end != ZW_SOC_END_BLOCKED)
		abort();
	if (e->job.end == ZW_SOC_END_COMPLETE &&
	    (e->job.status == ZW_JOB_INTERNAL || e->job.status == ZW_JOB_CANCELED))
		abort();
	return 0;
}
