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
	memset(&cmd->next, 0, sizeof(cmd->next));
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

ZW_API int zw_cmd_room(struct zw_cmd *cmd, size_t bytes)
{
	if (cmd->error)
		return cmd->error;
	if (bytes < sizeof(struct zw_pkt) || bytes % 16 || bytes > UINT16_MAX)
		return fail(cmd, -EINVAL, "no size of a packet");
	return zw_cmd_reserve(cmd, bytes);
}

/*
 * Checks a packet and appends it. It is put together in memory of its own, as the buffer may be
 * mapped write-combined, from which reading is slow.
 */
static int append(struct zw_cmd *cmd, struct zw_pkt *pkt)
{
	struct zw_error what;
	int reason, err = zw_cmd_room(cmd, pkt->size);

	if (err)
		return err;
	zw_cmd_put_header(cmd, pkt);
	reason = zw_cmd_check_packet(pkt, pkt->size, &what);
	if (reason) {
		cmd->reason = (uint32_t)reason;
		cmd->error = -EINVAL;
		snprintf(cmd->what.msg, sizeof(cmd->what.msg), "packet %u %s: %.200s", cmd->packets,
			 zw_opcode_name(pkt->opcode), what.msg);
		return -EINVAL;
	}
	memcpy(cmd->base + cmd->used, pkt, pkt->size);
	cmd->used += pkt->size;
	cmd->packets++;
	return 0;
}

ZW_API int zw_cmd_packet(struct zw_cmd *cmd, const void *packet)
{
	_Alignas(16) uint8_t copy[UINT16_MAX + 1];
	struct zw_pkt hdr;

	memcpy(&hdr, packet, sizeof(hdr));
	if (hdr.size < sizeof(hdr))
		return cmd->error ? cmd->error : fail(cmd, -EINVAL, "size in the header too small");
	memcpy(copy, packet, hdr.size);
	return append(cmd, (struct zw_pkt *)(void *)copy);
}

static void put(struct zw_tensor *dst, const struct zw_tensor *src)
{
	if (src)
		*dst = *src;
}

#define BEGIN(type, code, rows)                                                                    \
	struct type pkt = {.hdr = {.opcode = (code),                                               \
				   .size = sizeof(struct type),                                    \
				   .flags = flags,                                                 \
				   .rows_va = (rows)}},                                            \
		    *p = &pkt
#define END() append(cmd, &pkt.hdr)

ZW_API int zw_cmd_nop(struct zw_cmd *cmd, uint32_t flags)
{
	struct zw_pkt pkt = {.opcode = ZW_OP_NOP, .size = sizeof(pkt), .flags = flags};

	return append(cmd, &pkt);
}

ZW_API int zw_cmd_barrier(struct zw_cmd *cmd, uint32_t flags)
{
	struct zw_pkt pkt = {.opcode = ZW_OP_BARRIER, .size = sizeof(pkt), .flags = flags};

	return append(cmd, &pkt);
}

ZW_API int zw_cmd_timestamp(struct zw_cmd *cmd, uint64_t va, uint32_t flags)
{
	BEGIN(zw_pkt_timestamp, ZW_OP_TIMESTAMP, 0);

	p->va = va;
	return END();
}

ZW_API int zw_cmd_sem_signal(struct zw_cmd *cmd, uint64_t va, uint64_t value, uint32_t flags)
{
	BEGIN(zw_pkt_sem, ZW_OP_SEM_SIGNAL, 0);

	p->va = va;
	p->value = value;
	return END();
}

ZW_API int zw_cmd_sem_wait(struct zw_cmd *cmd, uint64_t va, uint64_t value, uint32_t flags)
{
	BEGIN(zw_pkt_sem, ZW_OP_SEM_WAIT, 0);

	p->va = va;
	p->value = value;
	return END();
}

ZW_API int zw_cmd_gemm(struct zw_cmd *cmd, const struct zw_tensor *a, const struct zw_tensor *w,
		       const struct zw_tensor *c, const struct zw_tensor *bias,
		       const struct zw_tensor *residual, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_gemm, ZW_OP_GEMM, rows_va);

	put(&p->a, a);
	put(&p->w, w);
	put(&p->c, c);
	put(&p->bias, bias);
	put(&p->residual, residual);
	return END();
}

ZW_API int zw_cmd_gemm_experts(struct zw_cmd *cmd, const struct zw_tensor *a,
			       const struct zw_tensor *w, const struct zw_tensor *ids,
			       const struct zw_tensor *c, const struct zw_tensor *weights,
			       const struct zw_tensor *residual, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_gemm_experts, ZW_OP_GEMM_EXPERTS, rows_va);

	put(&p->a, a);
	put(&p->w, w);
	put(&p->ids, ids);
	put(&p->c, c);
	put(&p->weights, weights);
	put(&p->residual, residual);
	return END();
}

ZW_API int zw_cmd_rmsnorm(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *w,
			  const struct zw_tensor *y, float eps, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_rmsnorm, ZW_OP_RMSNORM, rows_va);

	put(&p->x, x);
	put(&p->w, w);
	put(&p->y, y);
	memcpy(&p->eps_f32, &eps, sizeof(eps));
	return END();
}

ZW_API int zw_cmd_rope(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *y,
		       const struct zw_tensor *pos, const struct zw_tensor *cos,
		       const struct zw_tensor *sin, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_rope, ZW_OP_ROPE, rows_va);

	put(&p->x, x);
	put(&p->y, y);
	put(&p->pos, pos);
	put(&p->cos, cos);
	put(&p->sin, sin);
	return END();
}

ZW_API int zw_cmd_swiglu(struct zw_cmd *cmd, const struct zw_tensor *gate,
			 const struct zw_tensor *up, const struct zw_tensor *y, uint64_t rows_va,
			 uint32_t flags)
{
	BEGIN(zw_pkt_swiglu, ZW_OP_SWIGLU, rows_va);

	put(&p->gate, gate);
	put(&p->up, up);
	put(&p->y, y);
	return END();
}

ZW_API int zw_cmd_embed(struct zw_cmd *cmd, const struct zw_tensor *ids,
			const struct zw_tensor *table, const struct zw_tensor *y, uint64_t rows_va,
			uint32_t flags)
{
	BEGIN(zw_pkt_embed, ZW_OP_EMBED, rows_va);

	put(&p->ids, ids);
	put(&p->table, table);
	put(&p->y, y);
	return END();
}

ZW_API int zw_cmd_add(struct zw_cmd *cmd, const struct zw_tensor *a, const struct zw_tensor *b,
		      const struct zw_tensor *y, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_add, ZW_OP_ADD, rows_va);

	put(&p->a, a);
	put(&p->b, b);
	put(&p->y, y);
	return END();
}

ZW_API int zw_cmd_argmax(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *ids,
			 uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_argmax, ZW_OP_ARGMAX, rows_va);

	put(&p->x, x);
	put(&p->ids, ids);
	return END();
}

ZW_API int zw_cmd_topk(struct zw_cmd *cmd, const struct zw_tensor *x,
		       const struct zw_tensor *values, const struct zw_tensor *ids,
		       uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_topk, ZW_OP_TOPK, rows_va);

	put(&p->x, x);
	put(&p->values, values);
	put(&p->ids, ids);
	return END();
}

ZW_API int zw_cmd_route(struct zw_cmd *cmd, const struct zw_tensor *x,
			const struct zw_tensor *weights, const struct zw_tensor *ids,
			uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_route, ZW_OP_ROUTE, rows_va);

	put(&p->x, x);
	put(&p->weights, weights);
	put(&p->ids, ids);
	return END();
}

ZW_API int zw_cmd_gated_norm(struct zw_cmd *cmd, const struct zw_tensor *x,
			     const struct zw_tensor *w, const struct zw_tensor *gate,
			     const struct zw_tensor *y, float eps, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_gated_norm, ZW_OP_GATED_NORM, rows_va);

	put(&p->x, x);
	put(&p->w, w);
	put(&p->gate, gate);
	put(&p->y, y);
	memcpy(&p->eps_f32, &eps, sizeof(eps));
	return END();
}

ZW_API int zw_cmd_mul_sigmoid(struct zw_cmd *cmd, const struct zw_tensor *x,
			      const struct zw_tensor *gate, const struct zw_tensor *residual,
			      const struct zw_tensor *y, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_mul_sigmoid, ZW_OP_MUL_SIGMOID, rows_va);

	put(&p->x, x);
	put(&p->gate, gate);
	put(&p->residual, residual);
	put(&p->y, y);
	return END();
}

ZW_API int zw_cmd_quantize(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *y,
			   const struct zw_tensor *scale, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_quantize, ZW_OP_QUANTIZE, rows_va);

	put(&p->x, x);
	put(&p->y, y);
	put(&p->scale, scale);
	return END();
}

ZW_API int zw_cmd_reorder(struct zw_cmd *cmd, const struct zw_tensor *x,
			  const struct zw_tensor *order, const struct zw_tensor *which,
			  const struct zw_tensor *y, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_reorder, ZW_OP_REORDER, rows_va);

	put(&p->x, x);
	put(&p->order, order);
	put(&p->which, which);
	put(&p->y, y);
	return END();
}

ZW_API int zw_cmd_kv_write(struct zw_cmd *cmd, const struct zw_tensor *k, const struct zw_tensor *v,
			   const struct zw_tensor *pos, const struct zw_tensor *seq,
			   const struct zw_tensor *block_table, const struct zw_tensor *k_cache,
			   const struct zw_tensor *v_cache, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_kv_write, ZW_OP_KV_WRITE, rows_va);

	put(&p->k, k);
	put(&p->v, v);
	put(&p->pos, pos);
	put(&p->seq, seq);
	put(&p->block_table, block_table);
	put(&p->k_cache, k_cache);
	put(&p->v_cache, v_cache);
	return END();
}

ZW_API int zw_cmd_attention(struct zw_cmd *cmd, const struct zw_cmd_attention_args *args,
			    uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_attention, ZW_OP_ATTENTION, rows_va);

	put(&p->q, args->q);
	put(&p->y, args->y);
	put(&p->pos, args->pos);
	put(&p->seq, args->seq);
	put(&p->block_table, args->block_table);
	put(&p->k_cache, args->k_cache);
	put(&p->v_cache, args->v_cache);
	put(&p->lse, args->lse);
	put(&p->k_scale, args->k_scale);
	put(&p->v_scale, args->v_scale);
	put(&p->sinks, args->sinks);
	put(&p->sparse_blocks, args->sparse_blocks);
	put(&p->sparse_counts, args->sparse_counts);
	put(&p->sparse_columns, args->sparse_columns);
	put(&p->sparse_column_counts, args->sparse_column_counts);
	put(&p->start, args->start);
	p->window = args->window;
	memcpy(&p->scale_f32, &args->scale, sizeof(args->scale));
	return END();
}

ZW_API int zw_cmd_merge(struct zw_cmd *cmd, const struct zw_tensor *x,
			const struct zw_tensor *x_lse, const struct zw_tensor *y,
			const struct zw_tensor *lse, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_merge, ZW_OP_MERGE, rows_va);

	put(&p->x, x);
	put(&p->x_lse, x_lse);
	put(&p->y, y);
	put(&p->lse, lse);
	return END();
}

ZW_API int zw_cmd_select_blocks(struct zw_cmd *cmd, const struct zw_cmd_select_args *args,
				uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_select_blocks, ZW_OP_SELECT_BLOCKS, rows_va);

	put(&p->q, args->q);
	put(&p->pos, args->pos);
	put(&p->seq, args->seq);
	put(&p->block_table, args->block_table);
	put(&p->k_cache, args->k_cache);
	put(&p->k_scale, args->k_scale);
	put(&p->blocks, args->blocks);
	put(&p->counts, args->counts);
	put(&p->q_mid, args->q_mid);
	put(&p->mid_end, args->mid_end);
	put(&p->q_far, args->q_far);
	put(&p->far_end, args->far_end);
	return END();
}

ZW_API int zw_cmd_select_slash(struct zw_cmd *cmd, const struct zw_cmd_select_args *args,
			       uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_select_slash, ZW_OP_SELECT_SLASH, rows_va);

	put(&p->q, args->q);
	put(&p->pos, args->pos);
	put(&p->seq, args->seq);
	put(&p->block_table, args->block_table);
	put(&p->k_cache, args->k_cache);
	put(&p->k_scale, args->k_scale);
	put(&p->vertical, args->vertical);
	put(&p->slash, args->slash);
	put(&p->blocks, args->blocks);
	put(&p->counts, args->counts);
	put(&p->columns, args->columns);
	put(&p->column_counts, args->column_counts);
	put(&p->q_mid, args->q_mid);
	put(&p->mid_end, args->mid_end);
	put(&p->q_far, args->q_far);
	put(&p->far_end, args->far_end);
	memcpy(&p->scale_f32, &args->scale, sizeof(args->scale));
	p->sample = args->sample;
	p->first = args->first;
	p->nearest = args->nearest;
	return END();
}

ZW_API int zw_cmd_copy_rows(struct zw_cmd *cmd, uint64_t dst, uint64_t dst_stride, uint64_t src,
			    uint64_t src_stride, uint64_t bytes, uint32_t rows, uint64_t rows_va,
			    uint32_t flags)
{
	BEGIN(zw_pkt_copy, ZW_OP_COPY, rows_va);

	p->dst = dst;
	p->src = src;
	p->bytes = bytes;
	p->dst_stride = dst_stride;
	p->src_stride = src_stride;
	p->rows = rows;
	return END();
}

ZW_API int zw_cmd_conv(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *w,
		       const struct zw_tensor *y, const struct zw_tensor *state,
		       const struct zw_tensor *pos, const struct zw_tensor *seq,
		       const struct zw_tensor *dst, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_conv, ZW_OP_CONV, rows_va);

	put(&p->x, x);
	put(&p->w, w);
	put(&p->y, y);
	put(&p->state, state);
	put(&p->pos, pos);
	put(&p->seq, seq);
	put(&p->dst, dst);
	return END();
}

ZW_API int zw_cmd_delta(struct zw_cmd *cmd, const struct zw_cmd_delta_args *args, uint64_t rows_va,
			uint32_t flags)
{
	BEGIN(zw_pkt_delta, ZW_OP_DELTA, rows_va);

	put(&p->q, args->q);
	put(&p->k, args->k);
	put(&p->v, args->v);
	put(&p->a, args->a);
	put(&p->b, args->b);
	put(&p->a_log, args->a_log);
	put(&p->dt_bias, args->dt_bias);
	put(&p->y, args->y);
	put(&p->state, args->state);
	put(&p->pos, args->pos);
	put(&p->seq, args->seq);
	put(&p->dst, args->dst);
	memcpy(&p->eps_f32, &args->eps, sizeof(args->eps));
	memcpy(&p->scale_f32, &args->scale, sizeof(args->scale));
	return END();
}

ZW_API int zw_cmd_copy(struct zw_cmd *cmd, uint64_t dst, uint64_t src, uint64_t bytes,
		       uint32_t flags)
{
	return zw_cmd_copy_rows(cmd, dst, 0, src, 0, bytes, 1, 0, flags);
}

ZW_API int zw_cmd_fill_rows(struct zw_cmd *cmd, uint64_t dst, uint64_t dst_stride, uint64_t bytes,
			    uint32_t rows, uint32_t pattern, uint64_t rows_va, uint32_t flags)
{
	BEGIN(zw_pkt_fill, ZW_OP_FILL, rows_va);

	p->dst = dst;
	p->bytes = bytes;
	p->dst_stride = dst_stride;
	p->rows = rows;
	p->pattern = pattern;
	return END();
}

ZW_API int zw_cmd_fill(struct zw_cmd *cmd, uint64_t dst, uint64_t bytes, uint32_t pattern,
		       uint32_t flags)
{
	return zw_cmd_fill_rows(cmd, dst, 0, bytes, 1, pattern, 0, flags);
}
