// SPDX-License-Identifier: MIT
#include "tool_cards.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool_random.h"

static int fail(struct zw_error *err, int code, const char *msg)
{
	snprintf(err->msg, sizeof(err->msg), "%s", msg);
	return code;
}

/* ---- devices ---- */

/* Experts are drawn by each card for itself; the first one draws what one card alone draws. */
static uint64_t seed_of(const struct tool_cards *c, uint32_t card)
{
	uint64_t state = c->seed ^ (uint64_t)card << 32;

	return card ? tool_random(&state) : c->seed;
}

static int open_card(struct tool_cards *c, struct zw_error *err)
{
	struct tool_card **all = &c->card, *k, *more;
	struct zw_dev_options dev = c->dev;
	int ret;

	/* The device has the address of the routing: what is opened stays where it is. */
	if (!*all) {
		more = calloc(c->info.all_layers ? c->info.all_layers : 1, sizeof(**all));
		if (!more)
			return fail(err, -ENOMEM, "out of memory");
		*all = more;
	}
	k = &c->card[c->opened];
	k->routing = (struct tool_routing){.skew = c->route->skew};
	ret = tool_routing_open(&k->routing, seed_of(c, c->opened), &dev, err);
	if (!ret)
		ret = zw_dev_open(c->device, &dev, &k->dev, err);
	if (ret)
		return ret;
	c->opened++;
	k->attrs.size = sizeof(k->attrs);
	return zw_dev_get_attrs(k->dev, &k->attrs);
}

int tool_cards_open(struct tool_cards *c, struct zw_error *err)
{
	struct zw_dev_options dev = c->dev;
	struct zw_model_options o = c->model;
	struct zw_model *m = NULL;
	struct zw_dev *d;
	int ret = zw_dev_open(c->device, &dev, &d, err);

	if (ret)
		return ret;
	/* A share of the width is a share of all layers. */
	o.num_layers = o.cards > 1 ? 0 : 1;
	ret = zw_model_open(d, c->path, &o, &m, err);
	c->info.size = sizeof(c->info);
	if (!ret)
		zw_model_get_info(m, &c->info);
	zw_model_close(m);
	zw_dev_close(d);
	return ret;
}

/* ---- placing ---- */

static int open_context(struct tool_cards *c, struct tool_card *k, struct zw_error *err)
{
	int ret = zw_ctx_create(k->model, &c->ctx, &k->ctx, err);

	if (ret)
		return ret;
	k->room.size = sizeof(k->room);
	zw_ctx_get_info(k->ctx, &k->room);
	k->seqs = calloc(c->ctx.max_seqs, sizeof(*k->seqs));
	if (!k->seqs)
		return fail(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < c->ctx.max_seqs && !ret; i++)
		ret = zw_seq_create(k->ctx, &k->seqs[i]);
	return ret ? fail(err, ret, "the context has no sequence") : 0;
}

static int place_card(struct tool_cards *c, uint32_t card, uint32_t num, struct zw_error *err)
{
	struct zw_model_options o = c->model;
	struct tool_card *k;
	int ret = card < c->opened ? 0 : open_card(c, err);

	if (ret)
		return ret;
	k = &c->card[card];
	zw_model_part(c->info.all_layers, num, card, &o.first_layer, &o.num_layers);
	ret = zw_model_open(k->dev, c->path, &o, &k->model, err);
	if (ret)
		return ret;
	k->info.size = sizeof(k->info);
	zw_model_get_info(k->model, &k->info);
	return open_context(c, k, err);
}

void tool_cards_clear(struct tool_cards *c)
{
	for (uint32_t i = 0; i < c->opened; i++) {
		struct tool_card *k = &c->card[i];

		zw_snapshot_destroy(k->kept);
		zw_ctx_destroy(k->ctx);
		zw_model_close(k->model);
		free(k->seqs);
		k->kept = NULL;
		k->ctx = NULL;
		k->model = NULL;
		k->seqs = NULL;
		k->free_ps = k->begin_ps = 0;
		memset(&k->stats, 0, sizeof(k->stats));
	}
	c->num = 0;
}

int tool_cards_place(struct tool_cards *c, uint32_t num, struct zw_error *err)
{
	int ret = 0;

	tool_cards_clear(c);
	if (!num || num > c->info.all_layers) {
		snprintf(err->msg, sizeof(err->msg), "%u cards: the model has %u layers", num,
			 c->info.all_layers);
		return -EINVAL;
	}
	if (!c->tokens)
		c->tokens = calloc(c->ctx.batch, sizeof(*c->tokens));
	if (!c->tokens)
		return fail(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < num && !ret; i++)
		ret = place_card(c, i, num, err);
	if (ret)
		tool_cards_clear(c);
	else
		c->num = num;
	return ret;
}

int tool_cards_find(struct tool_cards *c, uint32_t least, struct zw_error *err)
{
	int ret = tool_cards_place(c, least, err);

	while (ret == -ENOSPC && least < c->info.all_layers)
		ret = tool_cards_place(c, ++least, err);
	if (ret == -ENOSPC) {
		struct zw_error why = *err;

		snprintf(err->msg, sizeof(err->msg), "with a layer on each of %u cards: %.200s",
			 least, why.msg);
	}
	return ret;
}

/* ---- running ---- */

static int submit(struct tool_cards *c, struct tool_card *k, const struct zw_batch_token *tokens,
		  uint32_t n, uint64_t *step, struct zw_error *err)
{
	struct zw_batch b = {.size = sizeof(b),
			     .count = n,
			     .token_size = sizeof(*c->tokens),
			     .tokens = c->tokens};
	bool last = k == &c->card[c->num - 1];
	uint32_t pos = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct zw_batch_token *t = &c->tokens[i];

		*t = tokens[i];
		t->seq = k->seqs[tokens[i].seq];
		/* Of one sequence they are neighbours. */
		pos = i && tokens[i].seq == tokens[i - 1].seq
			      ? pos + 1
			      : (uint32_t)zw_seq_length(k->ctx, t->seq);
		t->pos = pos;
		t->want = last ? tokens[i].want : 0;
	}
	return zw_ctx_submit(k->ctx, &b, step, err);
}

/* As long as it took by the card's clock, from when it can begin by that of all. */
static void settle(struct tool_card *k, uint64_t *ps)
{
	k->stats.size = sizeof(k->stats);
	zw_ctx_get_stats(k->ctx, &k->stats);
	k->begin_ps = *ps > k->free_ps ? *ps : k->free_ps;
	*ps = k->free_ps = k->begin_ps + k->stats.last_end_ps - k->stats.last_start_ps;
}

int tool_cards_step(struct tool_cards *c, const struct zw_batch_token *tokens, uint32_t n,
		    uint64_t *ps, struct zw_error *err)
{
	uint64_t *step;
	int ret = 0;

	if (n > c->ctx.batch)
		return fail(err, -EINVAL, "more tokens than a step takes");
	step = calloc(c->num, sizeof(*step));
	if (!step)
		return fail(err, -ENOMEM, "out of memory");
	/* Nothing is computed, so nothing is waited for: all work at once. */
	for (uint32_t i = 0; i < c->num && !ret; i++)
		ret = submit(c, &c->card[i], tokens, n, &step[i], err);
	for (uint32_t i = 0; i < c->num && !ret; i++) {
		ret = zw_ctx_wait(c->card[i].ctx, step[i], ZW_FOREVER, err);
		if (ret)
			break;
		settle(&c->card[i], ps);
	}
	if (!ret && c->stepped)
		c->stepped(c->opaque, c);
	free(step);
	return ret;
}

int tool_cards_text(struct tool_cards *c, uint32_t seq, const uint32_t *ids, size_t n,
		    const struct zw_eval_options *opt, uint64_t *ps, struct zw_error *err)
{
	struct zw_batch_token *t = calloc(c->ctx.batch, sizeof(*t));
	uint64_t begin = *ps;
	size_t done = 0;
	int ret = t ? 0 : fail(err, -ENOMEM, "out of memory");

	while (done < n && !ret) {
		uint32_t k = zw_ctx_piece(c->card[0].ctx, c->card[0].seqs[seq], n - done);

		for (uint32_t i = 0; i < k; i++)
			t[i] = (struct zw_batch_token){.id = ids ? ids[done + i] : 0, .seq = seq};
		done += k;
		if (done == n)
			t[k - 1].want = opt->want;
		/* The next piece follows at once on every card. */
		*ps = begin;
		ret = tool_cards_step(c, t, k, ps, err);
		if (!ret && opt->progress && opt->progress(opt->opaque, done, n))
			ret = fail(err, -ECANCELED, "cancelled");
	}
	free(t);
	return ret;
}

int tool_cards_round(struct tool_cards *c, uint32_t groups, uint32_t want, uint64_t *ready,
		     struct zw_error *err)
{
	uint32_t num = c->ctx.max_seqs;
	struct zw_batch_token *t = calloc(num, sizeof(*t));
	int ret = t ? 0 : fail(err, -ENOMEM, "out of memory");

	for (uint32_t g = 0; g < groups && !ret; g++) {
		uint32_t first = tool_cards_group(num, groups, g);
		uint32_t n = tool_cards_group(num, groups, g + 1) - first;

		for (uint32_t i = 0; i < n; i++)
			t[i] = (struct zw_batch_token){.seq = first + i, .want = want};
		ret = tool_cards_step(c, t, n, &ready[g], err);
	}
	free(t);
	return ret;
}

int tool_cards_fork(struct tool_cards *c, uint32_t from, uint32_t n, uint32_t to)
{
	int ret = 0;

	for (uint32_t i = 0; i < c->num && !ret; i++) {
		struct tool_card *k = &c->card[i];

		ret = zw_seq_remove(k->ctx, k->seqs[to]);
		if (!ret)
			ret = zw_seq_fork(k->ctx, k->seqs[from], n, &k->seqs[to]);
	}
	return ret;
}

int tool_cards_keep(struct tool_cards *c, uint32_t seq)
{
	int ret = 0;

	for (uint32_t i = 0; i < c->num && !ret; i++) {
		struct tool_card *k = &c->card[i];

		zw_snapshot_destroy(k->kept);
		k->kept = NULL;
		ret = zw_seq_snapshot(k->ctx, k->seqs[seq], &k->kept);
	}
	return ret;
}

int tool_cards_back(struct tool_cards *c, uint32_t seq)
{
	int ret = 0;

	for (uint32_t i = 0; i < c->num && !ret; i++)
		ret = zw_seq_restore(c->card[i].ctx, c->card[i].seqs[seq], c->card[i].kept);
	return ret;
}

void tool_cards_stats(const struct tool_cards *c, struct zw_ctx_stats *s)
{
	*s = c->card[0].stats;
	for (uint32_t i = 1; i < c->num; i++) {
		const struct zw_ctx_stats *k = &c->card[i].stats;

		s->jobs += k->jobs;
		s->sim_ps += k->sim_ps;
		s->packets += k->packets;
		s->hbm_read += k->hbm_read;
		s->hbm_written += k->hbm_written;
		s->sys_read += k->sys_read;
		s->sys_written += k->sys_written;
		s->sram_read += k->sram_read;
		s->sram_written += k->sram_written;
		s->energy_pj += k->energy_pj;
		for (uint32_t e = 0; e < ZW_ENGINE_COUNT; e++)
			s->busy_ps[e] += k->busy_ps[e];
	}
}

int tool_cards_result(const struct tool_cards *c, struct zw_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < c->opened && !ret; i++)
		ret = tool_routing_result(&c->card[i].routing, err);
	return ret;
}

void tool_cards_close(struct tool_cards *c)
{
	if (c->card)
		tool_cards_clear(c);
	for (uint32_t i = 0; i < c->opened; i++) {
		zw_dev_close(c->card[i].dev);
		tool_routing_close(&c->card[i].routing);
	}
	free(c->card);
	free(c->tokens);
	c->card = NULL;
	c->tokens = NULL;
	c->num = c->opened = 0;
}
