// SPDX-License-Identifier: MIT
/* The builder, and one checked function per packet. */
#include <errno.h>
#include <stdlib.h>

#include "cmd_table.h"

#define CMD_FIRST_BYTES 4096u

static int fail(struct zw_cmd *cmd, int err, const char *what)
{
	if (!cmd->error) {
		cmd->error = err;
		snprintf(cmd->what.msg, sizeof(cmd->what.msg), "packet %u: %s", cmd->packets, what);
	}
	return cmd->error;
}

ZW_API void zw_cmd_init(struct zw_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->growable = 1;
}

ZW_API void zw_cmd_init_fixed(struct zw_cmd *cmd, void *mem, size_t bytes)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->base = mem;
	cmd->capacity = bytes;
	if ((uintptr_t)mem % 16)
		fail(cmd, -EINVAL, "memory not aligned to 16 bytes");
}

ZW_API void zw_cmd_fini(struct zw_cmd *cmd)
{
	if (cmd->growable)
		free(cmd->base);
	memset(cmd, 0, sizeof(*cmd));
}

ZW_API void zw_cmd_reset(struct zw_cmd *cmd)
{
	cmd->used = 0;
	cmd->packets = 0;
	cmd->error = 0;
	cmd->reason = 0;
	cmd->what.msg[0] = '\0';
}

ZW_API int zw_cmd_reserve(struct zw_cmd *cmd, size_t bytes)
{
	size_t want;
	uint8_t *mem;

	if (cmd->error)
		return cmd->error;
	if (bytes > ZW_CMD_MAX_BYTES || cmd->used + bytes > ZW_CMD_MAX_BYTES)
		return fail(cmd, -EFBIG, "command buffer over 16 MiB");
	if (cmd->capacity - cmd->used >= bytes)
		return 0;
	if (!cmd->growable)
		return fail(cmd, -ENOSPC, "command buffer full");
	want = cmd->capacity ? cmd->capacity : CMD_FIRST_BYTES;
	while (want - cmd->used < bytes)
		want *= 2;
	mem = aligned_alloc(16, want);
	if (!mem)
		return fail(cmd, -ENOMEM, "out of memory");
	if (cmd->used)
		memcpy(mem, cmd->base, cmd->used);
	free(cmd->base);
	cmd->base = mem;
	cmd->capacity = want;
	return 0;
}

/* Checks the packet that was just emitted and takes it back if it is refused. */
static int checked(struct zw_cmd *cmd, const void *pkt)
{
	const struct zw_pkt *hdr = pkt;
	struct zw_error what;
	int reason = zw_cmd_check_packet(pkt, hdr->size, &what);

	if (!reason)
		return 0;
	cmd->used -= hdr->size;
	cmd->packets--;
	cmd->reason = (uint32_t)reason;
	cmd->error = -EINVAL;
	snprintf(cmd->what.msg, sizeof(cmd->what.msg), "packet %u %s: %.200s", cmd->packets,
		 zw_opcode_name(hdr->opcode), what.msg);
	return -EINVAL;
}

static void put(struct zw_tensor *dst, const struct zw_tensor *src)
{
	if (src)
		*dst = *src;
}

#define BEGIN(type, opcode, rows)                                                                  \
	struct zw_pkt_##type *p = zw_cmd_emit_raw(cmd, opcode, sizeof(*p), rows, flags);           \
	if (!p)                                                                                    \
	return cmd->error

ZW_API int zw_cmd_nop(struct zw_cmd *cmd, uint32_t flags)
{
	void *p = zw_cmd_emit_raw(cmd, ZW_OP_NOP, sizeof(struct zw_pkt), 0, flags);

	return p ? checked(cmd, p) : cmd->error;
}

ZW_API int zw_cmd_barrier(struct zw_cmd *cmd, uint32_t flags)
{
	void *p = zw_cmd_emit_raw(cmd, ZW_OP_BARRIER, sizeof(struct zw_pkt), 0, flags);

	return p ? checked(cmd, p) : cmd->error;
}

ZW_API int zw_cmd_timestamp(struct zw_cmd *cmd, uint64_t va, uint32_t flags)
{
	BEGIN(timestamp, ZW_OP_TIMESTAMP, 0);
	p->va = va;
	return checked(cmd, p);
}

ZW_API int zw_cmd_sem_signal(struct zw_cmd *cmd, uint64_t va, uint64_t value, uint32_t flags)
{
	BEGIN(sem, ZW_OP_SEM_SIGNAL, 0);
	p->va = va;
	p->value = value;
	return checked(cmd, p);
}

ZW_API int zw_cmd_sem_wait(struct zw_cmd *cmd, uint64_t va, uint64_t value, uint32_t flags)
{
	BEGIN(sem, ZW_OP_SEM_WAIT, 0);
	p->va = va;
	p->value = value;
	return checked(cmd, p);
}

ZW_API int zw_cmd_gemm(struct zw_cmd *cmd, const struct zw_tensor *a, const struct zw_tensor *w,
		       const struct zw_tensor *c, const struct zw_tensor *bias,
		       const struct zw_tensor *residual, uint64_t rows_va, uint32_t flags)
{
	BEGIN(gemm, ZW_OP_GEMM, rows_va);
	put(&p->a, a);
	put(&p->w, w);
	put(&p->c, c);
	put(&p->bias, bias);
	put(&p->residual, residual);
	return checked(cmd, p);
}

ZW_API int zw_cmd_rmsnorm(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *w,
			  const struct zw_tensor *y, float eps, uint64_t rows_va, uint32_t flags)
{
	BEGIN(rmsnorm, ZW_OP_RMSNORM, rows_va);
	put(&p->x, x);
	put(&p->w, w);
	put(&p->y, y);
	memcpy(&p->eps_f32, &eps, sizeof(eps));
	return checked(cmd, p);
}

ZW_API int zw_cmd_rope(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *y,
		       const struct zw_tensor *pos, const struct zw_tensor *cos_table,
		       const struct zw_tensor *sin_table, uint64_t rows_va, uint32_t flags)
{
	BEGIN(rope, ZW_OP_ROPE, rows_va);
	put(&p->x, x);
	put(&p->y, y);
	put(&p->pos, pos);
	put(&p->cos_table, cos_table);
	put(&p->sin_table, sin_table);
	return checked(cmd, p);
}

ZW_API int zw_cmd_swiglu(struct zw_cmd *cmd, const struct zw_tensor *gate,
			 const struct zw_tensor *up, const struct zw_tensor *y, uint64_t rows_va,
			 uint32_t flags)
{
	BEGIN(swiglu, ZW_OP_SWIGLU, rows_va);
	put(&p->gate, gate);
	put(&p->up, up);
	put(&p->y, y);
	return checked(cmd, p);
}

ZW_API int zw_cmd_embed(struct zw_cmd *cmd, const struct zw_tensor *ids,
			const struct zw_tensor *table, const struct zw_tensor *y, uint64_t rows_va,
			uint32_t flags)
{
	BEGIN(embed, ZW_OP_EMBED, rows_va);
	put(&p->ids, ids);
	put(&p->table, table);
	put(&p->y, y);
	return checked(cmd, p);
}

ZW_API int zw_cmd_add(struct zw_cmd *cmd, const struct zw_tensor *a, const struct zw_tensor *b,
		      const struct zw_tensor *y, uint64_t rows_va, uint32_t flags)
{
	BEGIN(add, ZW_OP_ADD, rows_va);
	put(&p->a, a);
	put(&p->b, b);
	put(&p->y, y);
	return checked(cmd, p);
}

ZW_API int zw_cmd_argmax(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *ids,
			 uint64_t rows_va, uint32_t flags)
{
	BEGIN(argmax, ZW_OP_ARGMAX, rows_va);
	put(&p->x, x);
	put(&p->ids, ids);
	return checked(cmd, p);
}

ZW_API int zw_cmd_topk(struct zw_cmd *cmd, const struct zw_tensor *x,
		       const struct zw_tensor *values, const struct zw_tensor *ids,
		       uint64_t rows_va, uint32_t flags)
{
	BEGIN(topk, ZW_OP_TOPK, rows_va);
	put(&p->x, x);
	put(&p->values, values);
	put(&p->ids, ids);
	return checked(cmd, p);
}

ZW_API int zw_cmd_kv_write(struct zw_cmd *cmd, const struct zw_tensor *k, const struct zw_tensor *v,
			   const struct zw_tensor *pos, const struct zw_tensor *seq,
			   const struct zw_tensor *block_table, const struct zw_tensor *k_cache,
			   const struct zw_tensor *v_cache, uint64_t rows_va, uint32_t flags)
{
	BEGIN(kv_write, ZW_OP_KV_WRITE, rows_va);
	put(&p->k, k);
	put(&p->v, v);
	put(&p->pos, pos);
	put(&p->seq, seq);
	put(&p->block_table, block_table);
	put(&p->k_cache, k_cache);
	put(&p->v_cache, v_cache);
	return checked(cmd, p);
}

ZW_API int zw_cmd_attention(struct zw_cmd *cmd, const struct zw_cmd_attention_args *args,
			    uint64_t rows_va, uint32_t flags)
{
	BEGIN(attention, ZW_OP_ATTENTION, rows_va);
	put(&p->q, args->q);
	put(&p->y, args->y);
	put(&p->pos, args->pos);
	put(&p->seq, args->seq);
	put(&p->block_table, args->block_table);
	put(&p->k_cache, args->k_cache);
	put(&p->v_cache, args->v_cache);
	put(&p->lse, args->lse);
	memcpy(&p->scale_f32, &args->scale, sizeof(args->scale));
	return checked(cmd, p);
}

ZW_API int zw_cmd_copy(struct zw_cmd *cmd, uint64_t dst, uint64_t src, uint64_t bytes,
		       uint32_t flags)
{
	BEGIN(copy, ZW_OP_COPY, 0);
	p->dst = dst;
	p->src = src;
	p->bytes = bytes;
	return checked(cmd, p);
}

ZW_API int zw_cmd_fill(struct zw_cmd *cmd, uint64_t dst, uint64_t bytes, uint32_t pattern,
		       uint32_t flags)
{
	BEGIN(fill, ZW_OP_FILL, 0);
	p->dst = dst;
	p->bytes = bytes;
	p->pattern = pattern;
	return checked(cmd, p);
}
