// SPDX-License-Identifier: MIT
/*
 * The MTP head of a context. It has a layer with a part of the KV cache of its own, and sees each token's
 * hidden state together with the token behind it. So it comes after a step: one pass over all rows of it,
 * where the token behind a row whose best one was wanted is that, and behind others the next of the batch.
 * What it gives at a row is a draft of the token after that.
 *
 * In front of the next step it may go on from one of these drafts, a pass for each token more; what such a
 * pass leaves in the cache is written over by the pass after the step, with the true hidden states.
 */
#include "ctx.h"

#include <errno.h>

#include "layers.h"

/* Best ids of hidden [M, H] to dst [M]. */
static void build_head(const struct llm_build *b, const struct zw_ctx *c,
		       const struct zw_tensor *hidden, uint64_t dst)
{
	uint32_t m = hidden->dim[0];
	struct zw_tensor logits =
		zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.logits, m, c->m->cfg.vocab_size);
	struct zw_tensor allowed = zw_tensor_slice(logits, 1, 0, c->o.vocab);
	struct zw_tensor ids = zw_tensor_1d(ZW_DTYPE_I32, dst, m);

	llm_build_linear(b, hidden, &c->m->w.head, &logits, NULL, NULL);
	zw_cmd_argmax(b->cmd, &allowed, &ids, b->rows_va, 0);
}

/* The pass over the rows of a step. */
static void build_rows(const struct zw_ctx *c, struct llm_slot *s, struct zw_cmd *cmd)
{
	const struct llm_model_config *cfg = &c->m->cfg;
	uint32_t m = c->o.batch;
	uint64_t param = llm_param_va(c, s), rows_va = param + c->p.num_rows;
	const uint64_t rows[3] = {param + c->p.mtp_ids, param + c->p.mtp_pos, param + c->p.mtp_seq};
	struct zw_tensor choices =
		zw_tensor_2d(ZW_DTYPE_F32, c->host.va + c->choices, c->o.steps * c->o.outputs, 1);
	struct zw_tensor ids = zw_tensor_2d(ZW_DTYPE_F32, rows[0], c->o.outputs, 1);
	struct zw_tensor hidden =
		zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.mtp, m, cfg->hidden_size);
	struct llm_build b = llm_build_of(c, s, cmd, m, rows_va, rows);

	s->mtp_off = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes;
	/* A gather moves bits, so that ids may pass for numbers. */
	llm_build_gather(cmd, param + c->p.mtp_chosen, c->o.outputs, param + c->p.num_mtp_chosen,
			 &choices, &ids);
	llm_build_gather(cmd, param + c->p.mtp_rows, m, rows_va, &b.h, &hidden);
	zw_cmd_rmsnorm(cmd, &hidden, &c->m->w.norm, &hidden, cfg->rms_norm_eps, rows_va, 0);
	c->m->family->build_mtp(&b, &hidden);
	s->mtp_end = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes - s->mtp_off;
	/* Rows with outputs come first. */
	b.rows_va = param + c->p.num_out;
	hidden = zw_tensor_slice(hidden, 0, 0, c->o.outputs);
	build_head(&b, c, &hidden, llm_result_va(c, s) + c->r.draft);
	s->mtp_end_draft = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes - s->mtp_off;
}

/* Of pass i: a row for each text that is drafted so far. */
static uint64_t draft_row_va(const struct zw_ctx *c, uint64_t param, uint64_t off, uint32_t i)
{
	return param + off + 4ull * i * c->o.outputs;
}

static void build_drafts(const struct zw_ctx *c, struct llm_slot *s, struct zw_cmd *cmd)
{
	uint32_t h = c->m->cfg.hidden_size, m = c->o.outputs;
	uint64_t param = llm_param_va(c, s), num = param + c->p.num_drafts;
	struct zw_tensor all = zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.mtp, c->o.batch, h);
	struct zw_tensor hidden = zw_tensor_2d(ZW_DTYPE_F32, c->act.va + c->a.draft, m, h);

	s->draft_off = (uint32_t)cmd->used - s->place_bytes - s->chain_bytes;
	llm_build_gather(cmd, param + c->p.draft_rows, m, num, &all, &hidden);
	for (uint32_t i = 0; i + 1 < c->o.draft; i++) {
		const uint64_t row[3] = {draft_row_va(c, param, c->p.draft_ids, i),
					 draft_row_va(c, param, c->p.draft_pos, i),
					 param + c->p.draft_seq};
		struct llm_build b = llm_build_of(c, s, cmd, m, num + 4ull * i, row);

		c->m->family->build_mtp(&b, &hidden);
		build_head(&b, c, &hidden, draft_row_va(c, param, c->p.draft_ids, i + 1));
		s->draft_end[i] =
			(uint32_t)cmd->used - s->place_bytes - s->chain_bytes - s->draft_off;
	}
}

void llm_mtp_build_ids(const struct zw_ctx *c, const struct llm_slot *s, struct zw_cmd *cmd)
{
	uint64_t param = llm_param_va(c, s);
	uint32_t num = c->o.draft * c->o.outputs + c->o.batch;
	struct zw_tensor from = zw_tensor_2d(ZW_DTYPE_F32, param + c->p.draft_ids, num, 1);
	struct zw_tensor ids = zw_tensor_2d(ZW_DTYPE_F32, param + c->p.ids, c->o.batch, 1);

	llm_build_gather(cmd, param + c->p.draft_from, c->o.batch, param + c->p.num_rows, &from,
			 &ids);
}

void llm_mtp_build(const struct zw_ctx *c, struct llm_slot *s, struct zw_cmd *cmd)
{
	zw_cmd_tag(cmd, zw_llm_tag(ZW_LLM_PART_DRAFT, -1));
	build_drafts(c, s, cmd);
	build_rows(c, s, cmd);
}

/* Rows whose token behind them the device chooses come first, then the others with outputs. */
static uint32_t group_of(const struct llm_out_rows *r)
{
	if (r->out == LLM_NO_ROW)
		return 2;
	return !(r->want & ZW_WANT_ARGMAX);
}

/* Those with more drafts first, so that each pass has the front rows of the one before. */
static void sort_chains(struct zw_ctx *c, const struct llm_submit *how)
{
	for (uint32_t i = 0; i < how->num_chains; i++) {
		uint32_t k = i;

		for (; k && c->chains[k - 1].n < how->chains[i].n; k--)
			c->chains[k] = c->chains[k - 1];
		c->chains[k] = how->chains[i];
	}
}

/* Of the passes in front of the step, and where its rows then find their ids. */
static void write_drafts(struct zw_ctx *c, struct llm_slot *s, const struct zw_batch *b,
			 const struct llm_submit *how)
{
	char *param = llm_param(c, s);
	uint32_t m = c->o.outputs, known = c->o.draft * m;
	uint32_t *num = (uint32_t *)(void *)(param + c->p.num_drafts);
	int32_t *rows = (int32_t *)(void *)(param + c->p.draft_rows);
	int32_t *seq = (int32_t *)(void *)(param + c->p.draft_seq);
	int32_t *pos = (int32_t *)(void *)(param + c->p.draft_pos);
	int32_t *ids = (int32_t *)(void *)(param + c->p.draft_ids);
	int32_t *from = (int32_t *)(void *)(param + c->p.draft_from);

	s->drafts = 0;
	if (!how->num_chains)
		return;
	sort_chains(c, how);
	s->drafts = c->chains[0].n;
	memset(num, 0, c->o.draft * sizeof(*num));
	memcpy(ids + known, param + c->p.ids, b->count * sizeof(*ids));
	for (uint32_t i = 0; i < b->count; i++)
		from[i] = (int32_t)(known + i);
	for (uint32_t k = 0; k < how->num_chains; k++) {
		const struct llm_chain *chain = &c->chains[k];
		const struct zw_batch_token *t = llm_token_at(b, chain->index);

		rows[k] = (int32_t)chain->row;
		seq[k] = (int32_t)t->seq;
		ids[k] = (int32_t)t->id;
		for (uint32_t i = 0; i < chain->n; i++) {
			num[i]++;
			/* An id is seen beside the state of the token before it, at its place. */
			pos[i * m + k] = (int32_t)(t->pos + i) - 1;
			from[s->rows[chain->index + 1 + i].in] = (int32_t)((i + 1) * m + k);
		}
	}
}

void llm_mtp_write(struct zw_ctx *c, struct llm_slot *s, const struct zw_batch *b,
		   const struct llm_tally *n, const struct llm_submit *how)
{
	char *param = llm_param(c, s);
	int32_t *ids = (int32_t *)(void *)(param + c->p.mtp_ids);
	int32_t *pos = (int32_t *)(void *)(param + c->p.mtp_pos);
	int32_t *seq = (int32_t *)(void *)(param + c->p.mtp_seq);
	int32_t *rows = (int32_t *)(void *)(param + c->p.mtp_rows);
	int32_t *chosen = (int32_t *)(void *)(param + c->p.mtp_chosen);
	uint32_t at[3] = {0, 0, n->out};

	for (uint32_t i = 0; i < b->count; i++)
		at[1] += group_of(&s->rows[i]) == 0;
	*(uint32_t *)(void *)(param + c->p.num_mtp_chosen) = at[1];
	/* From the end, so that each token finds the one behind it. */
	for (uint32_t i = b->count; i-- > 0;) {
		const struct zw_batch_token *t = llm_token_at(b, i);
		struct llm_seq *q = &c->seqs[t->seq];
		struct llm_out_rows *r = &s->rows[i];
		uint32_t next = q->behind == c->stamp ? q->after : how->next;

		/* Where it is not known, anything will do: drafts are guesses. */
		if (next >= c->m->cfg.vocab_size)
			next = 0;
		r->mtp = at[group_of(r)]++;
		if (group_of(r) == 0)
			chosen[r->mtp] = (int32_t)(llm_choice_row(c, s) + r->out);
		else
			ids[r->mtp] = (int32_t)next;
		pos[r->mtp] = (int32_t)t->pos;
		seq[r->mtp] = (int32_t)t->seq;
		rows[r->mtp] = (int32_t)r->in;
		q->behind = c->stamp;
		q->after = t->id;
	}
	write_drafts(c, s, b, how);
}

int llm_mtp_draft(const struct zw_ctx *c, uint64_t step, uint32_t index, uint32_t *id,
		  uint32_t *row)
{
	for (uint32_t i = 0; i < c->o.steps; i++) {
		const struct llm_slot *s = &c->slot[i];
		const int32_t *draft =
			(const int32_t *)(const void *)(llm_result(c, s) + c->r.draft);

		if (s->state != LLM_SLOT_DONE || s->step != step)
			continue;
		if (index >= s->tokens || s->rows[index].out == LLM_NO_ROW)
			return -EINVAL;
		*row = s->rows[index].mtp;
		*id = (uint32_t)draft[*row];
		return 0;
	}
	return -ENOENT;
}
