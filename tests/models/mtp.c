// SPDX-License-Identifier: MIT
#include "mtp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"

/* Rows of the last step's head, whose logits stay where those of the step were. */
static int read_rows(struct zw_ctx *ctx, const struct llm_slot *s, uint32_t n, float *logits)
{
	uint64_t row = 4ull * ctx->m->cfg.vocab_size;
	struct zw_copier *cp;
	int ret = zw_copier_create(ctx->m->vm, NULL, &cp);

	if (ret)
		return ret;
	for (uint32_t i = 0; i + 1 < n && !ret; i++)
		ret = zw_copier_read(cp, (char *)logits + i * row,
				     ctx->act.va + ctx->a.logits + s->rows[i].mtp * row, row, NULL);
	if (!ret)
		ret = zw_copier_flush(cp, ZW_FOREVER);
	zw_copier_destroy(cp);
	return ret;
}

int mtp_logits(struct zw_ctx *ctx, const uint32_t *ids, uint32_t n, float *logits,
	       struct zw_error *err)
{
	struct zw_batch_token *t = calloc(n, sizeof(*t));
	struct zw_batch b = {.size = sizeof(b), .count = n, .token_size = sizeof(*t), .tokens = t};
	uint64_t step;
	int ret = t ? 0 : llm_fail(err, -ENOMEM, "out of memory");

	/* Of rows whose best token is wanted the head would take that one. */
	for (uint32_t i = 0; i < n && !ret; i++)
		t[i] = (struct zw_batch_token){ids[i], i, 0, ZW_WANT_LOGITS};
	if (!ret)
		ret = zw_seq_truncate(ctx, 0, 0);
	if (!ret)
		ret = zw_ctx_submit(ctx, &b, &step, err);
	if (!ret)
		ret = zw_ctx_wait(ctx, step, ZW_FOREVER, err);
	for (uint32_t i = 0; i < ctx->o.steps && !ret; i++) {
		if (ctx->slot[i].step == step)
			ret = read_rows(ctx, &ctx->slot[i], n, logits);
	}
	free(t);
	return ret;
}
