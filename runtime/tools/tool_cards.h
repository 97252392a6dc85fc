/* SPDX-License-Identifier: MIT */
/*
 * A model whose layers are on several cards, one behind the other, where nothing is computed: each card has its share of
 * consecutive layers (zw_model_part()) and gives its rows to the next through system memory. Every card has a clock of
 * its own; these are put together here. A step begins on a card when the card before has ended it and the card has
 * ended what it was given before; the host and the way through system memory but for the cards' own copies take no time.
 * One card is the case of one card. Not thread safe.
 */
#ifndef ZW_TOOL_CARDS_H
#define ZW_TOOL_CARDS_H

#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>

#include "tool_routing.h"

struct tool_card {
	struct zw_dev *dev;
	struct zw_model *model;
	struct zw_ctx *ctx;
	struct zw_dev_attrs attrs;
	struct zw_model_info info;
	struct zw_ctx_info room;
	uint32_t *seqs;            /* by number of a sequence, the context's */
	struct zw_snapshot *kept;  /* tool_cards_keep() */
	uint64_t free_ps;          /* by the clock of all, when its last step ended */
	uint64_t begin_ps;         /* when that began */
	struct zw_ctx_stats stats; /* of all steps so far; sim_ps is the time that it worked */
	struct tool_routing routing;
};

struct tool_cards {
	/* Of the caller, before tool_cards_open(). */
	const char *device, *path;        /* of zw_dev_open(), of zw_model_open() */
	struct zw_dev_options dev;        /* but for the routing */
	struct zw_model_options model;    /* but for the layers */
	const struct tool_routing *route; /* drawn, with this seed */
	uint64_t seed;
	/* Of the caller, before tool_cards_place(): of each card's context; max_seqs sequences are created. */
	struct zw_ctx_options ctx;
	/* Not NULL: a step has ended on all cards. */
	void (*stepped)(void *opaque, const struct tool_cards *c);
	void *opaque;

	struct zw_model_info
		info;           /* of the whole, by tool_cards_open(); weight_bytes are not known */
	struct tool_card *card; /* [num] */
	uint32_t num;
	uint32_t opened; /* cards with a device, num of them or more */
	struct zw_batch_token *tokens;
};

/* What the model is. 0 or -errno; tool_cards_close() in any case. */
int tool_cards_open(struct tool_cards *c, struct zw_error *err);
/* Puts it on so many cards, in place of what was before. -ENOSPC: it has no room there; -EINVAL: more cards than layers. */
int tool_cards_place(struct tool_cards *c, uint32_t num, struct zw_error *err);
/* On as few cards as have room for it, but at least so many. -ENOSPC: not even with one layer on each. */
int tool_cards_find(struct tool_cards *c, uint32_t least, struct zw_error *err);
/*
 * A step of all cards: tokens of sequences by their numbers, positions are put in here. *ps: not before then, and
 * receives when it ended on the last card. The last card's tokens want what is asked, the others' nothing.
 */
int tool_cards_step(struct tool_cards *c, const struct zw_batch_token *tokens, uint32_t n,
		    uint64_t *ps, struct zw_error *err);
/*
 * A text, in the pieces that zw_ctx_eval() makes; the last token has the wants. Called back after each piece, as there.
 * ids NULL: some that do not matter.
 */
int tool_cards_text(struct tool_cards *c, uint32_t seq, const uint32_t *ids, size_t n,
		    const struct zw_eval_options *opt, uint64_t *ps, struct zw_error *err);
/* Sequence `to` begins anew as the first n tokens of another one. 0 or -errno. */
int tool_cards_fork(struct tool_cards *c, uint32_t from, uint32_t n, uint32_t to);
/* Keeps what the sequence is, in place of what was kept; makes it that. 0 or -errno. */
int tool_cards_keep(struct tool_cards *c, uint32_t seq);
int tool_cards_back(struct tool_cards *c, uint32_t seq);
/* Of `groups` groups of num sequences, that differ by one at most, the first one of group g. */
static inline uint32_t tool_cards_group(uint32_t num, uint32_t groups, uint32_t g)
{
	return (uint32_t)((uint64_t)num * g / groups);
}
/*
 * A token of every sequence, group by group, want as of zw_batch_token. ready[groups]: when the groups have their last
 * tokens, by the clock of all; receives when they have these.
 */
int tool_cards_round(struct tool_cards *c, uint32_t groups, uint32_t want, uint64_t *ready,
		     struct zw_error *err);
/* Of all cards: sums, sim_ps among them; tokens and steps of one. */
void tool_cards_stats(const struct tool_cards *c, struct zw_ctx_stats *s);
/* When nothing runs any more; as tool_routing_result(). */
int tool_cards_result(const struct tool_cards *c, struct zw_error *err);
/* Contexts and models; then tool_cards_close() is left to do. */
void tool_cards_clear(struct tool_cards *c);
void tool_cards_close(struct tool_cards *c);

#endif
