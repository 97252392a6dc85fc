// SPDX-License-Identifier: MIT
/*
 * The command buffers of a step, one per slot:
 *
 *	put drafted ids into their rows               place_bytes (with an MTP head)
 *	fetch the ids that the device chose           chain_bytes
 *	layers, rows for the part of the model behind end_body
 *	gather the rows wanted, norm, head, argmax    end_choice
 *	top-k                                         end_top
 *	logits to the host                            end_logits
 *
 * A step submits the front part that it needs, without the first packets where the host knows all ids. How
 * many rows each part works on is data that the packets read when they run.
 */
#include "ctx.h"

#include <errno.h>
#include <string.h>

#include "chunks.h"
#include "layers.h"

/* Row n of a parameter of each row of a step. */
static struct zw_tensor row_numbers(const struct zw_ctx *c, const struct llm_slot *s, uint64_t off)
{
	return zw_tensor_1d(ZW_DTYPE_I32, llm_param_va(c, s) + off, c->o.batch);
}

static void place_chunks(const struct zw_ctx *c, const struct llm_slot *s, struct llm_build *b)
{
	const struct llm_model_config *cfg = &c->m->cfg;
	uint32_t m = c->o.batch, heads = cfg->num_heads, d = cfg->head_dim;

	b->score_factor = llm_score_factor(cfg, c->o.context);
	if (!llm_has_chunks(cfg, c->o.context))
		return;
	for (int i = 0; i < LLM_RANGES; i++) {
		b->chunks.rope[i] = row_numbers(c, s, c->p.chunks[i].rope);
		b->chunks.start[i] = row_numbers(c, s, c->p.chunks[i].start);
		b->chunks.last[i] = row_numbers(c, s, c->p.chunks[i].last);
	}
	for (int i = 0; i < LLM_RANGES - 1; i++)
		b->chunks.q[i] = zw_tensor_3d(ZW_DTYPE_BF16,
					      c->act.va + c->a.chunk_q + 2ull * i * m * heads * d,
					      m, heads, d);
	b->chunks.y = zw_tensor_4d(ZW_DTYPE_F32, c->act.va + c->a.chunk_y, LLM_RANGES, m, heads, d);
	b->chunks.lse =
		zw_tensor_3d(ZW_DTYPE_F32, c->act.va + c->a.chunk_lse, LLM_RANGES, m, heads);
}

struct llm_build llm_build_of(const struct zw_ctx *c, const struct llm_slot *s, struct zw_cmd *cmd,
			      uint32_t m, uint64_t rows_va, const uint64_t ids_pos_seq[3])
{
	const struct llm_needs *n = &c->needs;
	uint32_t blocks = c->pool.num;
	uint64_t param = llm_param_va(c, s);
	struct llm_build b = {
		.cfg = &c->m->cfg,
		.w = &c->m->w,
		.cmd = cmd,
		.rows_va = rows_va,
		.ids = zw_tensor_1d(ZW_DTYPE_I32, ids_pos_seq[0], m),
		.pos = zw_tensor_1d(ZW_DTYPE_I32, ids_pos_seq[1], m),
		.seq = zw_tensor_1d(ZW_DTYPE_I32, ids_pos_seq[2], m),
		.h = zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.h, m, c->m->cfg.hidden_size),
		.cos_table = c->rope->cos_table,
		.sin_table = c->rope->sin_table,
		.block_table = zw_tensor_2d(ZW_DTYPE_I32, param + c->p.table, c->o.max_seqs,
					    c->seq_blocks),
		.k_cache = zw_tensor_4d(c->o.kv_dtype, c->kv.va, blocks, LLM_BLOCK_TOKENS,
					n->kv_heads, n->kv_dim),
		.v_cache = zw_tensor_4d(c->o.kv_dtype, c->kv.va + c->block_bytes, blocks,
					LLM_BLOCK_TOKENS, n->kv_heads, n->kv_dim),
		.kv_layer_stride = 2 * c->block_bytes,
		.slab_va = c->slab.va,
		.slab_stride = c->slab_stride,
		.slabs = llm_slab_place(c, c->pool.prefix.num_states),
		.state_from = zw_tensor_1d(ZW_DTYPE_I32, param + c->p.from, m),
		.state_to = zw_tensor_1d(ZW_DTYPE_I32, param + c->p.to, m),
		.delta_flags = c->o.delta_chunked ? ZW_DELTA_F_CHUNKED : 0,
		.act_va = c->act.va + c->a.act,
		.act_scale_va = c->act.va + c->a.act_scale,
		.order_va = c->act.va + c->a.order,
		.first_layer = c->m->part.first,
	};

	/* A block holds all layers, so that one copy moves it: pools of layers interleave. */
	b.k_cache.stride[0] = b.v_cache.stride[0] =
		llm_block_bytes(c) / (zw_dtype_bits(c->o.kv_dtype) / 8);
	if (c->scale_bytes) {
		b.k_scale = zw_tensor_3d(ZW_DTYPE_F32, c->kv.va + 2 * n->kv_layers * c->block_bytes,
					 blocks, LLM_BLOCK_TOKENS, n->kv_heads);
		b.k_scale.stride[0] = llm_block_bytes(c) / 4;
		b.v_scale = b.k_scale;
		b.v_scale.va += c->scale_bytes;
		b.kv_scale_stride = 2 * c->scale_bytes;
	}
	for (uint32_t i = 0; i < n->num_scratch; i++)
		b.scratch[i] = zw_tensor_2d(n->scratch[i].dtype, c->act.va + c->a.scratch[i], m,
					    n->scratch[i].cols);
	return b;
}

static void build_layers(const struct zw_ctx *c, const struct llm_slot *s, struct zw_cmd *cmd)
{
	uint64_t param = llm_param_va(c, s);
	const uint64_t rows[3] = {param + c->p.ids, param + c->p.pos, param + c->p.seq};
	struct llm_build b = llm_build_of(c, s, cmd, c->o.batch, param + c->p.num_rows, rows);

	if (!llm_part_begins(&c->m->part))
		b.hidden_va = llm_result_va(c, s) + c->r.hidden_in;
	place_chunks(c, s, &b);
	llm_sparse_operands(c, s, &b);
	c->m->family->build(&b);
	if (!llm_part_ends(&c->m->part))
		llm_build_hand_over(&b, llm_result_va(c, s) + c->r.hidden_out);
}

/* Rows rows[0 .. *count_va) of table to dst: an EMBED is a gather. */
void llm_build_gather(struct zw_cmd *cmd, uint64_t rows_va, uint32_t num, uint64_t count_va,
		      const struct zw_tensor *table, const struct zw_tensor *dst)
{
	struct zw_tensor rows = zw_tensor_1d(ZW_DTYPE_I32, rows_va, num);

	zw_cmd_embed(cmd, &rows, table, dst, count_va, 0);
}

/*
 * The first num_chosen ids: what earlier steps chose. A gather moves bits, so that ids may pass for
 * numbers.
 */
static void build_chain(const struct zw_ctx *c, const struct llm_slot *s, struct zw_cmd *cmd)
{
	uint64_t param = llm_param_va(c, s);
	struct zw_tensor choices =
		zw_tensor_2d(ZW_DTYPE_F32, c->host.va + c->choices, c->o.steps * c->o.outputs, 1);
	struct zw_tensor ids = zw_tensor_2d(ZW_DTYPE_F32, param + c->p.ids, c->o.batch, 1);

	llm_build_gather(cmd, param + c->p.chosen, c->o.batch, param + c->p.num_chosen, &choices,
			 &ids);
}

static void build_outputs(const struct zw_ctx *c, struct llm_slot *s, struct zw_cmd *cmd,
			  const struct zw_tensor *h)
{
	const struct llm_model_config *cfg = &c->m->cfg;
	uint32_t rows = c->o.outputs, v = cfg->vocab_size, k = c->o.top_k;
	uint64_t param = llm_param_va(c, s), res = llm_result_va(c, s);
	uint64_t num_out = param + c->p.num_out;
	struct llm_build b = {
		.cfg = cfg,
		.w = &c->m->w,
		.cmd = cmd,
		.rows_va = num_out,
		.act_va = c->act.va + c->a.act,
		.act_scale_va = c->act.va + c->a.act_scale,
		.order_va = c->act.va + c->a.order,
	};
	struct zw_tensor out_h =
		zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.out_h, rows, cfg->hidden_size);
	struct zw_tensor out_x =
		zw_tensor_2d(ZW_DTYPE_BF16, c->act.va + c->a.out_x, rows, cfg->hidden_size);
	struct zw_tensor logits = zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.logits, rows, v);
	struct zw_tensor allowed = zw_tensor_slice(logits, 1, 0, c->o.vocab);
	struct zw_tensor first = zw_tensor_slice(logits, 1, 0, 1);
	struct zw_tensor argmax = zw_tensor_1d(
		ZW_DTYPE_I32, c->host.va + c->choices + 4 * llm_choice_row(c, s), rows);
	struct zw_tensor probe = zw_tensor_2d(ZW_DTYPE_F32, res + c->r.probe, rows, 1);
	struct zw_tensor host = zw_tensor_2d(ZW_DTYPE_F32, res + c->r.logits, c->o.logits, v);

	llm_build_gather(cmd, param + c->p.out_rows, rows, num_out, h, &out_h);
	zw_cmd_rmsnorm(cmd, &out_h, &c->m->w.norm, &out_x, cfg->rms_norm_eps, num_out, 0);
	llm_build_linear(&b, &out_x, &c->m->w.head, &logits, NULL, NULL);
	zw_cmd_argmax(cmd, &allowed, &argmax, num_out, 0);
	/* An argmax cannot say that its row was no numbers: one logit beside it can. */
	llm_build_gather(cmd, param + c->p.iota, rows, num_out, &first, &probe);
	s->end_choice = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes;
	if (k) {
		struct zw_tensor values =
			zw_tensor_2d(ZW_DTYPE_F32, res + c->r.top_logits, rows, k);
		struct zw_tensor ids = zw_tensor_2d(ZW_DTYPE_I32, res + c->r.top_ids, rows, k);

		zw_cmd_topk(cmd, &allowed, &values, &ids, param + c->p.num_top, 0);
	}
	s->end_top = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes;
	llm_build_gather(cmd, param + c->p.logit_rows, c->o.logits, param + c->p.num_logits,
			 &logits, &host);
	s->end_logits = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes;
}

static int build(const struct zw_ctx *c, struct llm_slot *s, struct zw_cmd *cmd,
		 struct zw_error *err)
{
	struct zw_tensor h =
		zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.h, c->o.batch, c->m->cfg.hidden_size);
	int ret;

	zw_cmd_reset(cmd);
	zw_cmd_without(cmd, c->o.without);
	zw_cmd_tag(cmd, zw_llm_tag(ZW_LLM_PART_IDS, -1));
	if (c->o.draft)
		llm_mtp_build_ids(c, s, cmd);
	s->place_bytes = (uint32_t)cmd->used;
	build_chain(c, s, cmd);
	s->chain_bytes = (uint32_t)cmd->used - s->place_bytes;
	build_layers(c, s, cmd);
	s->end_body = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes;
	s->end_choice = s->end_top = s->end_logits = s->end_body;
	zw_cmd_tag(cmd, zw_llm_tag(ZW_LLM_PART_OUTPUT, -1));
	if (llm_part_ends(&c->m->part))
		build_outputs(c, s, cmd, &h);
	if (c->o.draft)
		llm_mtp_build(c, s, cmd);
	ret = zw_cmd_finish(cmd);
	if (ret)
		return llm_fail(err, ret, "building the layers: %s", cmd->what.msg);
	return 0;
}

/* What no engine of the device computes is told now, not by the first step that fails. */
static int check_supported(const struct zw_ctx *c, const struct zw_cmd *cmd, struct zw_error *err)
{
	struct zw_error what = {""};
	struct zw_pkt hdr;

	for (size_t at = 0; at < cmd->used; at += hdr.size) {
		memcpy(&hdr, cmd->base + at, sizeof(hdr));
		if (zw_dev_check_packet(c->m->dev, cmd->base + at, cmd->used - at, &what))
			return llm_fail(err, -EOPNOTSUPP, "the device does not compute %s: %.200s",
					zw_opcode_name(hdr.opcode), what.msg);
	}
	return 0;
}

int llm_ctx_compile(struct zw_ctx *c, struct zw_error *err)
{
	uint64_t bytes = 0;
	struct zw_cmd cmd;
	int ret = 0;

	zw_cmd_init(&cmd);
	for (uint32_t i = 0; i < c->o.steps && !ret; i++) {
		struct llm_slot *s = &c->slot[i];

		ret = build(c, s, &cmd, err);
		if (!ret && !i)
			ret = check_supported(c, &cmd, err);
		if (!ret && !i) {
			/* The slots differ in addresses only. */
			bytes = llm_align(cmd.used, LLM_ALIGN);
			ret = zw_buffer_create(c->m->vm, bytes * c->o.steps,
					       ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &c->code);
			if (ret == -ENOMEM)
				ret = zw_buffer_create(c->m->vm, bytes * c->o.steps, ZW_BO_SYSTEM,
						       &c->code);
			if (ret)
				llm_fail(err, ret, "allocating command buffers: %s",
					 strerror(-ret));
			else
				zw_bo_set_label(c->code.bo, "command buffers");
		}
		if (!ret) {
			s->code_off = i * bytes + s->place_bytes + s->chain_bytes;
			memcpy((char *)c->code.ptr + i * bytes, cmd.base, cmd.used);
		}
	}
	zw_cmd_fini(&cmd);
	return ret;
}
