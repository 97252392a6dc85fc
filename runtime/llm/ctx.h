/* SPDX-License-Identifier: MIT */
/*
 * Inside of contexts.
 *
 *	ctx.c        life: memory, options, figures
 *	ctx_build.c  the command buffers of a step
 *	ctx_seq.c    sequences and their blocks
 *	ctx_prefix.c blocks that sequences with the same beginning share
 *	ctx_snap.c   snapshots
 *	ctx_copy.c   copies that are waited for
 *	ctx_sparse.c sparse attention of prompts
 *	ctx_slab.c   state that is not a KV cache
 *	ctx_batch.c  what is wrong with a batch
 *	ctx_mtp.c    the MTP head: drafts
 *	ctx_step.c   submit, undo
 *	ctx_wait.c   wait, outputs, failures, cancel
 *	ctx_eval.c   a long text in several steps
 *	kv.c         the pool of blocks
 *	prefix.c     what blocks hold
 *	session.c    snapshots in files
 */
#ifndef LLM_CTX_H
#define LLM_CTX_H

#include <pthread.h>
#include <stdatomic.h>

#include <zhenwu/llm_context.h>
#include "zhenwu/zw_cmd.h"

#include "family.h"
#include "kv.h"
#include "model.h"
#include "sparse.h"

/*
 * Where the device left the id that it chose: row `row` of those of the slot that ran step `step`, for
 * as long as no other step has been submitted from there. Step 0: nothing was chosen.
 */
struct llm_choice {
	uint64_t step;
	uint32_t row;
};

struct llm_chain;

struct llm_seq {
	bool live;
	bool lost;          /* a step failed that may have changed its slab */
	uint32_t length;    /* tokens, those in flight included */
	uint32_t in_flight; /* steps it is in */
	struct llm_blocks blocks;
	uint32_t *ids; /* of its tokens; one that the device chose is there when its step is done */
	size_t ids_cap;
	uint32_t known;           /* so many of its first blocks are those of the prefix cache */
	uint32_t kept;            /* with a slab: the last so many tokens can be taken back */
	struct llm_choice choice; /* made after its last token */
	/* Entries of the block table of each slot that are up to date. */
	uint32_t synced[ZW_CTX_MAX_STEPS];
	/* While a batch is checked: */
	uint64_t stamp; /* of the batch that `next` belongs to */
	uint32_t next;  /* position of its next token */
	bool chosen;    /* its first token there is what the device chose */
	uint32_t want;  /* of its last token there */
	/* While a step is written: */
	uint64_t placed; /* stamp of the batch that the next two belong to */
	uint32_t before; /* length */
	uint32_t row;    /* of its next token */
	uint64_t behind; /* stamp of the batch that the next belongs to */
	uint32_t after;  /* id of the token behind */
	uint32_t keep;  /* the state behind so many tokens goes to a place of the prefix cache... */
	uint32_t place; /* ...this one; LLM_NO_STATE: none does */
};

/* What a step changed in one sequence: enough to take it back. */
struct llm_undo {
	uint32_t seq;
	uint32_t length; /* before, as are kept and the choice */
	uint32_t kept;
	uint32_t end;         /* length behind it */
	uint32_t keep, place; /* as of struct llm_seq */
	struct llm_choice choice;
	/* The unfinished block that was shared and has been copied; the step keeps its reference,
	 * so that nobody writes to it before this step is done. LLM_NO_BLOCK: none. */
	uint32_t shared;
};

/* In the place of an id: what the MTP head drafts on the device, in front of the step. */
#define LLM_ID_DRAFTED (UINT32_MAX - 1)

/* Room for one packet that copies a block. */
#define LLM_COPY_BYTES 256

/* Which row of the step is a token of the batch, and which of the outputs; LLM_NO_ROW: none. */
#define LLM_NO_ROW UINT32_MAX
struct llm_out_rows {
	uint32_t in, out, logits;
	uint32_t mtp; /* row of the MTP head's drafts, where there are outputs */
	uint32_t want;
};

enum llm_slot_state {
	LLM_SLOT_FREE,      /* nothing in it */
	LLM_SLOT_IN_FLIGHT, /* submitted */
	LLM_SLOT_DONE,      /* its outputs are there, until it is used again */
	LLM_SLOT_FAILED,    /* undone; `code` says why */
};

/*
 * A step: parameters and command buffers that the host writes, results that the device writes. The
 * command buffer of a step is one: it begins with the packet that puts drafted ids into their rows, then
 * that which fetches ids which the device chose, for a step that has none behind it; each end below is where
 * a step that wants no more stops.
 */
struct llm_slot {
	enum llm_slot_state state;
	uint64_t step;
	int code;
	uint64_t point; /* of the context's fence */
	uint32_t tokens, jobs;
	uint32_t chosen; /* front rows, whose ids the device chose */
	uint32_t sparse; /* front rows that attend to keys that were chosen */
	struct llm_undo *undo;
	uint32_t num_undo;
	struct llm_out_rows *rows; /* by token of the batch */
	uint64_t code_off; /* of the layers; chain_bytes before them the packet that fetches ids */
	uint32_t chain_bytes;
	uint32_t end_body, end_choice, end_top, end_logits;
	/* Behind them, in a context with an MTP head: passes that draft token by token, so many bytes up to
	 * the end of each; and the pass over the rows of the step, without and with drafts. */
	uint32_t draft_off, draft_end[ZW_CTX_MAX_REWIND], mtp_off, mtp_end, mtp_end_draft;
	uint32_t place_bytes; /* before chain_bytes: the packet that puts drafts into their rows */
	uint32_t drafts;      /* passes that the step began with */
	struct zw_error error;
};

/* Offsets in the parameter block of a slot; the host writes, the device reads. */
struct llm_param_layout {
	uint64_t num_rows, num_chosen, num_out, num_top, num_logits; /* u32 */
	uint64_t ids, pos, seq; /* [batch] I32; the ids that the device chose come first */
	uint64_t from, to;      /* [batch] I32, with slabs: the states rows go on from and leave */
	/* With Dual Chunk Attention, of each range of keys: [batch] I32. */
	struct {
		uint64_t rope, start, last;
	} chunks[LLM_RANGES];
	/* With sparse attention: how many rows have it and how many have not (u32), and from which
	 * position on each row sees all keys (of each range, with Dual Chunk Attention), and where the last
	 * range ends: [batch] I32. */
	uint64_t num_sparse, num_dense, start[LLM_RANGES], far_end;
	uint64_t chosen;     /* [batch]: rows of the choices that these are */
	uint64_t out_rows;   /* [outputs]: rows of the batch */
	uint64_t iota;       /* [outputs]: 0, 1, 2, ... */
	uint64_t logit_rows; /* [logits]: rows of the outputs */
	uint64_t table;      /* [max_seqs, seq_blocks] */
	/* With an MTP head, for its rows: as the above, rows of the step whose hidden states they take, and
	 * for the first num_mtp_chosen of them rows of the choices, which are their ids. */
	uint64_t num_mtp_chosen, mtp_ids, mtp_pos, mtp_seq, mtp_rows, mtp_chosen;
	/* For passes that draft token by token, a row for each text: how many texts have each of them (u32
	 * [draft]), rows of the hidden states that the first begins with and sequences [outputs]; of each
	 * pass positions and ids [draft, outputs]: a pass reads its own and leaves those of the next. Then
	 * where each row of the step finds its id: behind all of these are those that the host knows. */
	uint64_t num_drafts, draft_rows, draft_seq, draft_pos, draft_ids, draft_from;
	/* Command buffers: of blocks before the step, of states behind it. */
	uint64_t copies, after;
	uint64_t bytes;
};

/* Offsets in the results of a slot; the device writes, the host reads. */
struct llm_result_layout {
	uint64_t job[5]; /* struct zw_job_result: copies, drafts, step, copies, MTP head */
	uint64_t draft;  /* [outputs] I32: the MTP head's best ids */
	uint64_t probe;  /* [outputs] F32: the first logit; NaN when the row is no numbers */
	uint64_t top_logits, top_ids; /* [outputs, top_k] */
	uint64_t logits;              /* [logits, V] F32 */
	/* Of parts of a model, [batch, H] F32: what they begin with, which the host writes, and what they leave. */
	uint64_t hidden_in, hidden_out;
	uint64_t bytes;
};

/* Offsets in the activations. */
struct llm_act_layout {
	uint64_t h, scratch[LLM_MAX_SCRATCH];
	/* With Dual Chunk Attention: [2, batch, heads, d] BF16, [ranges, batch, heads, d] F32, without d. */
	uint64_t chunk_q, chunk_y, chunk_lse;
	/* With sparse attention: [batch, heads, d] BF16 but with Dual Chunk Attention, and the lists of struct
	 * llm_sparse_tensors. */
	uint64_t sparse_y, blocks, counts, columns, column_counts;
	uint64_t out_h, out_x;   /* rows that something is wanted of: [outputs, H] F32, BF16 */
	uint64_t logits;         /* [outputs, V] F32 */
	uint64_t mtp, draft;     /* hidden states of the MTP head: [batch, H], [outputs, H] F32 */
	uint64_t act, act_scale; /* [batch, the model's act_cols], [batch, act_scales] F32 */
	uint64_t order;          /* [batch, order_cols], room for F32 */
	uint64_t bytes;
};

struct zw_ctx {
	struct zw_model *m;
	struct zw_ctx_options o; /* with the defaults put in */
	struct llm_needs needs;
	struct llm_sparse sparse;
	uint32_t seq_blocks;  /* most blocks of one sequence */
	uint64_t block_bytes; /* of K or V of one layer */
	uint64_t scale_bytes; /* of their scales, which stand behind all of these; 0: none */

	struct zw_buffer kv, act; /* HBM */
	struct zw_buffer slab;    /* HBM: [max_seqs, 1 + rewind, slab_stride], or empty */
	struct zw_buffer copy_cmd;
	uint64_t slab_stride;
	struct zw_buffer param, code, host;
	struct llm_rope *rope;
	struct llm_param_layout p;
	struct llm_result_layout r;
	uint64_t choices; /* behind the results of all slots: [steps, outputs] I32, the best ids */
	struct llm_act_layout a;

	struct llm_kv pool;
	struct llm_seq *seqs;
	uint32_t num_seqs;
	unsigned int snapshots;

	/*
	 * zw_ctx_cancel() may come from another thread. It takes the lock, destroys the queue and
	 * says so in `stopped`; what that means for slots and sequences is found out by the thread
	 * that owns the context. The lock is for the next four and for the state of slots.
	 */
	pthread_mutex_t lock;
	struct zw_queue *queue; /* NULL: made at the next step */
	bool stopped;           /* steps in flight have lost their queue */
	uint64_t cancels;       /* calls of zw_ctx_cancel() */
	struct zw_fence *fence;
	uint64_t point;
	struct llm_slot slot[ZW_CTX_MAX_STEPS];
	uint64_t last_step;

	/* Copies that the next step begins with, and ends with; packets for host-written memory. */
	struct zw_cmd copies, after;
	uint64_t stamp; /* of the batch being checked */
	bool drafting;  /* it may have LLM_ID_DRAFTED */
	/* Texts that are drafted on, those with more drafts first: [outputs]. */
	struct llm_chain *chains;
	uint64_t busy_since; /* when the first of the steps in flight was submitted */
	struct zw_ctx_stats stats;
};

/* Parameter block and results of a slot. */
static inline char *llm_param(const struct zw_ctx *c, const struct llm_slot *s)
{
	return (char *)c->param.ptr + (size_t)(s - c->slot) * c->p.bytes;
}

static inline uint64_t llm_param_va(const struct zw_ctx *c, const struct llm_slot *s)
{
	return c->param.va + (uint64_t)(s - c->slot) * c->p.bytes;
}

static inline char *llm_result(const struct zw_ctx *c, const struct llm_slot *s)
{
	return (char *)c->host.ptr + (size_t)(s - c->slot) * c->r.bytes;
}

static inline uint64_t llm_result_va(const struct zw_ctx *c, const struct llm_slot *s)
{
	return c->host.va + (uint64_t)(s - c->slot) * c->r.bytes;
}

/* The ids that the steps of a slot choose: [outputs] I32. */
static inline uint64_t llm_choice_row(const struct zw_ctx *c, const struct llm_slot *s)
{
	return (uint64_t)(s - c->slot) * c->o.outputs;
}

static inline const int32_t *llm_choice_ptr(const struct zw_ctx *c, const struct llm_slot *s)
{
	return (const int32_t *)(const void *)((char *)c->host.ptr + c->choices) +
	       llm_choice_row(c, s);
}

/*
 * Of n tokens of a text, at position pos, those that go into a step when not all of the text does: with the
 * delta rule in chunks so many that the last chunk is whole, where there is one.
 */
static inline uint32_t llm_piece(const struct zw_ctx *c, uint32_t pos, uint32_t n)
{
	uint32_t over = (pos + n) % ZW_DELTA_CHUNK;

	return c->o.delta_chunked && over < n ? n - over : n;
}

/* Of all layers. */
static inline uint64_t llm_block_bytes(const struct zw_ctx *c)
{
	return 2 * c->needs.kv_layers * (c->block_bytes + c->scale_bytes);
}

/* Operands of the layers for m rows, which count ids, pos and seq at these addresses; rows_va or 0. */
struct llm_build llm_build_of(const struct zw_ctx *c, const struct llm_slot *s, struct zw_cmd *cmd,
			      uint32_t m, uint64_t rows_va, const uint64_t ids_pos_seq[3]);
/* Rows rows[0 .. *count_va) of table to dst. */
void llm_build_gather(struct zw_cmd *cmd, uint64_t rows_va, uint32_t num, uint64_t count_va,
		      const struct zw_tensor *table, const struct zw_tensor *dst);
/* ctx_mtp.c: what an MTP head needs, its command buffers, its parameters. */
struct llm_tally;
void llm_mtp_build(const struct zw_ctx *c, struct llm_slot *s, struct zw_cmd *cmd);
/* The packet that gives each row of a step its id, from those that the host knows and those drafted. */
void llm_mtp_build_ids(const struct zw_ctx *c, const struct llm_slot *s, struct zw_cmd *cmd);
struct llm_submit;
void llm_mtp_write(struct zw_ctx *c, struct llm_slot *s, const struct zw_batch *b,
		   const struct llm_tally *n, const struct llm_submit *how);
/* The draft behind token `index` of a step that is done, and where it came from. */
int llm_mtp_draft(const struct zw_ctx *c, uint64_t step, uint32_t index, uint32_t *id,
		  uint32_t *row);

/* ctx_build.c: the command buffers of all slots, into c->code. */
int llm_ctx_compile(struct zw_ctx *c, struct zw_error *err);

/*
 * ctx_copy.c. Both wait for the device: 0, or the error of a job. The first runs what is in c->copies,
 * which is not much; the second copies n blocks to system memory, where they stand one behind the
 * other, or (not out) from there.
 */
int llm_copy_alloc(struct zw_ctx *c);
int llm_copy_run(struct zw_ctx *c);
int llm_copy_blocks(struct zw_ctx *c, const uint32_t *id, uint32_t n, uint64_t system_va, bool out);

/*
 * ctx_slab.c. A sequence has 1 + rewind slabs, which take turns: the state behind so many tokens is in
 * the one with their number modulo that.
 */
uint32_t llm_slab_of(const struct zw_ctx *c, uint32_t seq, uint32_t length);
uint64_t llm_slab_va(const struct zw_ctx *c, uint32_t seq, uint32_t length);
/* Behind those of all sequences: places of the prefix cache. */
uint32_t llm_slab_place(const struct zw_ctx *c, uint32_t place);
uint64_t llm_slab_place_va(const struct zw_ctx *c, uint32_t place);
/*
 * Nothing for families without slabs. Waits for the device: 0, or the error of a job, then the state
 * is not what was asked for.
 */
int llm_slab_copy(struct zw_ctx *c, uint64_t dst_va, uint64_t src_va);

/* ctx_seq.c */
struct llm_seq *llm_seq_of(const struct zw_ctx *c, uint32_t seq);
/* A sequence that may be changed; and one whose state can be taken over. 0, or why not. */
int llm_seq_idle(const struct zw_ctx *c, uint32_t seq, struct llm_seq **s);
int llm_seq_intact(const struct zw_ctx *c, uint32_t seq, struct llm_seq **s);
/* Gives the blocks behind the first n back and forgets that tables knew them. */
void llm_seq_cut(struct zw_ctx *c, struct llm_seq *s, uint32_t blocks);
/* Block tables forget what they knew of it from block `at` on. */
void llm_seq_unsync(const struct zw_ctx *c, struct llm_seq *s, uint32_t at);

/* ctx_prefix.c: the first `length` tokens are computed; their full blocks may be taken by others. */
void llm_seq_know(struct zw_ctx *c, struct llm_seq *s, uint32_t length);
/*
 * Appends to b, which has room, as many blocks of a text of n blocks as are known; their number. usable: up
 * to the last that a sequence can go on from, which in families with recurrent state is one with a state.
 */
uint32_t llm_prefix_take(struct zw_ctx *c, struct llm_blocks *b, const uint32_t *ids, uint32_t n,
			 bool usable);
/* How many of n blocks are usable, and how many of these nobody has: those are available. */
uint32_t llm_prefix_count(const struct zw_ctx *c, const uint32_t *ids, uint32_t n, uint32_t *idle);
/* Where a step, which the sequence is about to get, leaves a state for the cache: keep and place. */
void llm_seq_plan_state(struct zw_ctx *c, struct llm_seq *s);
void llm_slot_learn(struct zw_ctx *c, const struct llm_slot *slot);
/* Tokens of a text, to be appended to an idle sequence, that it now has without computing them. */
uint32_t llm_seq_take_prefix(struct zw_ctx *c, struct llm_seq *s, const uint32_t *ids, size_t n);

/*
 * Drafts of one sequence in a batch: token `index` of it, whose id is known, and behind it `n` that are
 * LLM_ID_DRAFTED, one after the other. row: where the state behind that id's own draft is, of the last step.
 */
struct llm_chain {
	uint32_t index, n, row;
};

/* What steps have beside their batch. */
struct llm_submit {
	/* Refused with -ECANCELED when zw_ctx_cancel() was called since c->cancels was that; NULL: whenever. */
	const uint64_t *cancels;
	/* The id behind the last token, for the MTP head, when the caller knows it, or LLM_NO_ROW. */
	uint32_t next;
	/* All LLM_ID_DRAFTED of the batch; no more chains than outputs, none longer than draft - 1. */
	const struct llm_chain *chains;
	uint32_t num_chains;
};
/* ctx_step.c */
int llm_ctx_submit(struct zw_ctx *c, const struct zw_batch *b, const struct llm_submit *how,
		   uint64_t *step, struct zw_error *err);
/* Under the lock: to the context's queue, which is made again when it failed while nothing ran. */
int llm_ctx_queue_submit(struct zw_ctx *c, const struct zw_job *job, uint32_t jobs);
uint64_t llm_ctx_cancels(struct zw_ctx *c);
/* ctx_eval.c: zw_ctx_eval() that ends when zw_ctx_cancel() was called since c->cancels was that. */
int llm_ctx_eval(struct zw_ctx *c, uint32_t seq, const uint32_t *ids, size_t n,
		 const struct zw_eval_options *opt, uint64_t cancels, struct zw_output *last,
		 struct zw_error *err);
bool llm_ctx_busy(const struct zw_ctx *c);
/* Ends what is in flight, for good. */
void llm_ctx_stop(struct zw_ctx *c);

/* ctx_batch.c: what a batch asks for, found while it is checked. */
struct llm_tally {
	uint32_t chosen, out, top, logits;
	uint64_t blocks; /* to be taken from the pool */
};

static inline const struct zw_batch_token *llm_token_at(const struct zw_batch *b, uint32_t i)
{
	return (const void *)((const char *)b->tokens + (size_t)i * b->token_size);
}

/* Also marks the sequences and makes room in their lists of blocks. */
/* Row of the choices of all slots in which a choice lies, or LLM_NO_ROW. */
uint32_t llm_choice_find(const struct zw_ctx *c, const struct llm_choice *choice);
int llm_batch_check(struct zw_ctx *c, const struct zw_batch *b, struct llm_tally *n,
		    struct zw_error *err);
/* The block that the next token of a sequence goes to, if it is there and also somebody else's. */
uint32_t llm_shared_block(const struct zw_ctx *c, const struct llm_seq *s, uint32_t length);

/*
 * ctx_step.c: the sequences are as they were before the step; the newest step is the first to be
 * undone. started: the device may have seen it.
 */
void llm_step_undo(struct zw_ctx *c, struct llm_slot *slot, bool started);
/* A step that went well: what it kept for an undo is given back. */
void llm_step_settle(struct zw_ctx *c, struct llm_slot *slot);

/* ctx_wait.c: of a step that is done: how many tokens it had, and the ids of its first n rows. */
uint32_t llm_step_tokens(const struct zw_ctx *c, uint64_t step);
void llm_step_ids(const struct zw_ctx *c, uint64_t step, uint32_t *ids, uint32_t n);
/* ctx_wait.c: the slot in flight that was submitted first (dir < 0) or last, or NULL. */
struct llm_slot *llm_slot_in_flight(struct zw_ctx *c, int dir);
struct zw_job_result *llm_job_result(const struct zw_ctx *c, const struct llm_slot *s, uint32_t i);
/*
 * Finds out what became of the steps up to `step`, whose fence has been reached. failed: the code of
 * a step that did not go well and has no other reason. 0, or -ECANCELED when steps were undone.
 */
int llm_steps_resolve(struct zw_ctx *c, uint64_t step, int failed);
/* "what: reason of the first failed job of the queue"; returns code. */
int llm_fail_queue(struct zw_error *err, struct zw_queue *queue, int code, const char *what);

#endif
