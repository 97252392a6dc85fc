/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: contexts, sequences and batches. Conventions are those of <zhenwu/llm.h>.
 *
 * A context is the memory in which a model runs: a pool of KV-cache blocks, activations, one queue,
 * and a few step slots. Sequences live in it; they share blocks of equal beginnings. A batch is any
 * mix of tokens of any sequences, prefill and decode alike; one batch is one step of the device.
 *
 * Submitting and waiting are apart. Each slot has command buffers and parameters of its own, so that
 * the host writes one step while the device runs the one before. Command buffers are compiled once,
 * when the context is created; a step only writes ids, positions, counts and block numbers.
 *
 * A step that fails (a device that was reset, memory that ran out on the host, a cancel) costs the
 * steps in flight and no more: their sequences are again as they were before those steps, and the
 * context goes on over the same memory with a new queue. In families with recurrent state, which
 * cannot be rewound, these sequences are lost (-EIO) until they are truncated to 0 or restored.
 *
 * A context and what is in it are single-threaded but for zw_ctx_cancel(). Contexts of one model may
 * run at the same time in different threads.
 */
#ifndef ZHENWU_LLM_CONTEXT_H
#define ZHENWU_LLM_CONTEXT_H

#include "base.h"
#include "llm_model.h"
#include "zhenwu/zw_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- context ------------------- */

struct zw_ctx;

#define ZW_CTX_DEFAULT_CONTEXT 4096 /**< or the model's own limit when that is lower */
#define ZW_CTX_DEFAULT_BATCH   128
#define ZW_CTX_MAX_BATCH       4096
#define ZW_CTX_MAX_SEQS        4096
#define ZW_CTX_MAX_STEPS       4
#define ZW_CTX_MAX_TOPK        1024
#define ZW_CTX_MAX_REWIND      15
#define ZW_CTX_MAX_STATES      4096

#define ZW_CTX_DEFAULT_STATE_TOKENS 512

/** Which keys the tokens of a prompt attend to; see struct zw_ctx_options. */
enum zw_sparse {
	ZW_SPARSE_NONE,  /**< all before them */
	ZW_SPARSE_SLASH, /**< vertical-slash: the columns and the distances that the last tokens of a
			   *   step attend to most (MInference, arXiv 2407.02490) */
	ZW_SPARSE_BLOCKS, /**< the blocks of 32 whose mean key is most like a group's mean query */
	ZW_SPARSE_MODEL,  /**< as SLASH, with the numbers that the checkpoint has for each head */
};

struct zw_ctx_options {
	uint32_t size;     /**< sizeof(struct zw_ctx_options) */
	uint32_t flags;    /**< must be 0 */
	uint32_t context;  /**< most tokens of one sequence; 0: the default; at most max_context */
	uint32_t max_seqs; /**< most sequences at a time; 0: 1 */
	uint32_t batch;    /**< most tokens of one step, 1..ZW_CTX_MAX_BATCH; 0: the default */
	uint32_t outputs;  /**< most tokens of one step that want something; 0: max_seqs */
	uint32_t logits;   /**< most of these that want their logits; 0: as outputs */
	uint32_t top_k;    /**< most candidates of ZW_WANT_TOPK; 0: none, it is refused */
	uint32_t vocab;    /**< what is chosen on the device is below it; 0: vocab_size */
	uint32_t steps;    /**< steps in flight, 1..ZW_CTX_MAX_STEPS; 0: 2 */
	/** Tokens that the pool has room for, over all sequences, shared ones counted once; rounded
	 *  up to whole blocks. 0: max_seqs * context. */
	uint64_t pool_tokens;
	/** 1: full blocks that no sequence has any more stay in the pool until it needs them, the
	 *  one unused for longest going first, and sequences that begin with the same tokens take
	 *  them, and those of each other, without computing: see zw_seq_take_prefix(). 0: none. */
	uint32_t prefix_cache;
	/** Tokens that a sequence with recurrent state can go back, 0..ZW_CTX_MAX_REWIND: so many
	 *  more states are kept for each sequence. No matter in families without such state, which
	 *  can always go back. */
	uint32_t rewind;
	/** Tokens that the model's MTP head drafts for one step of zw_generate(), 0..ZW_CTX_MAX_REWIND;
	 *  the model was opened with ZW_MODEL_MTP. The head's layer then has a part of the KV cache and
	 *  sees every token; `rewind` is at least as large, `outputs` larger by one. 0: no head. */
	uint32_t draft;
	/** With prefix_cache, in families with recurrent state: so many states are kept, the one used
	 *  longest ago making room, 0..ZW_CTX_MAX_STATES; 0: max_seqs. A text can be taken up to
	 *  where a state was kept. A step keeps one of a sequence: when it has several tokens of it and
	 *  something is wanted of the last one, behind the last full block; else behind the last
	 *  multiple of prefix_state_tokens, if it comes to one. */
	uint32_t prefix_states;
	uint32_t prefix_state_tokens; /**< a multiple of 32; 0: the default */
	/** What the KV cache is stored in: ZW_DTYPE_BF16, or ZW_DTYPE_I8 or ZW_DTYPE_F8E4M3, each head
	 *  of a token with a scale of its own; 0: BF16. -EOPNOTSUPP where the device does not compute
	 *  with it. */
	uint32_t kv_dtype;
	/**
	 * enum zw_sparse; not NONE: an approximation. Tokens are sparse that come in a step with others of
	 * their sequence, in whole groups of sparse_group tokens, the first at a multiple of that; and in a
	 * step whose last token of the sequence is behind the first sparse_from. All others, those that
	 * are decoded or drafted among them, attend to everything. In a step with ZW_ID_CHOSEN none are
	 * sparse; of those with SLASH or MODEL the ones of one sequence, the one that has most.
	 *
	 * zw_ctx_eval() and zw_sched cut texts where groups end. With BLOCKS a text has the same bits
	 * however it is given, as long as its pieces end at multiples of sparse_group, and with other
	 * sequences beside it; with SLASH as long as they end at multiples of what is the largest
	 * multiple of sparse_group up to `batch`, and alone. Selections that keep everything give the bits
	 * of NONE. With prefix_cache a text has the bits of whoever computed its beginning.
	 *
	 * -EOPNOTSUPP with MODEL where the checkpoint says nothing, and with Dual Chunk Attention of more than
	 * one chunk where the device is of an ABI before 2.7.
	 */
	uint32_t sparse;
	uint32_t
		sparse_group; /**< tokens that share lists, a multiple of 32 up to `batch`; 0: 64, or
				*   more where the lists would be too long */
	uint32_t
		sparse_from; /**< texts up to so many tokens are not sparse; 0: none, or with MODEL what
				*   the checkpoint says, else 32768 */
	uint32_t sparse_keep; /**< BLOCKS: blocks of a list, those of the group itself and the first
				*   one included, at least sparse_group / 32 + 2; 0: 200 */
	uint32_t
		sparse_vertical; /**< SLASH: columns of each head, the first 30 included; 0: 1000 */
	uint32_t sparse_slash;   /**< SLASH: distances of each head, 0 to 99 included; 0: 6096 */
	/** 1: in families with recurrent layers the delta rule of a text goes in chunks of 64 tokens, which end
	 *  at positions that are multiples of 64, as products of matrices (ZW_DELTA_F_CHUNKED): less time
	 *  for long prompts, other rounding. Fewer than 32 tokens of a chunk in one step, so
	 *  what is decoded or drafted, go one after the other as without. `batch` is at least 64,
	 *  prefix_state_tokens a multiple of 64, sparse_group one or 32. What then holds of bits: "In chunks" in
	 *  Documentation/llm.md. -EOPNOTSUPP for a device before ABI 2.3. No matter in other families. */
	uint32_t delta_chunked;
	/** ZW_PKT_F_NO_*: what of the chip the steps go without, in simulated time alone; for comparing.
	 *  -EOPNOTSUPP for a device before ABI 2.4. 0: nothing. */
	uint32_t without;
};

/**
 * Creates a context: allocates its memory and compiles the command buffers. -ENOSPC when HBM has no
 * room (nothing is allocated then); -EINVAL for options out of range.
 *
 * @param opt  NULL for the defaults
 * Thread safety: reentrant. The model must outlive the context.
 */
ZW_API int zw_ctx_create(struct zw_model *model, const struct zw_ctx_options *opt,
			 struct zw_ctx **out, struct zw_error *err);

/** Cancels what is in flight and frees everything but snapshots, which must be gone; NULL is allowed.
 */
ZW_API void zw_ctx_destroy(struct zw_ctx *ctx);

/** What a context has and what is used of it. */
struct zw_ctx_info {
	uint32_t size;    /**< in: sizeof; out: bytes filled */
	uint32_t context; /**< these eight as in struct zw_ctx_options, with the defaults put in */
	uint32_t max_seqs;
	uint32_t batch;
	uint32_t outputs;
	uint32_t logits;
	uint32_t top_k;
	uint32_t vocab;
	uint32_t steps;
	uint32_t seqs;          /**< sequences at present */
	uint32_t block_tokens;  /**< tokens of one block of the pool */
	uint32_t blocks;        /**< of the pool */
	uint32_t blocks_free;   /**< that can be taken, those that are only cached included */
	uint32_t blocks_cached; /**< whose contents another sequence could share */
	uint64_t kv_bytes;      /**< HBM of the pool */
	uint64_t hbm_bytes;     /**< HBM of the context, the pool included */
	uint32_t sparse_group;  /**< as in struct zw_ctx_options, or 0 */
	uint32_t reserved;
	uint64_t sparse_lists_bytes; /**< HBM of the lists of sparse attention */
};

ZW_API int zw_ctx_get_info(const struct zw_ctx *ctx, struct zw_ctx_info *info);

/** What a context has cost since it was created. Subtract two readings for a part. */
struct zw_ctx_stats {
	uint32_t size;    /**< in: sizeof; out: bytes filled */
	uint32_t jobs;    /**< jobs of the steps that were waited for */
	uint64_t steps;   /**< steps that were waited for and went well */
	uint64_t tokens;  /**< their tokens */
	uint64_t wall_ns; /**< wall time during which steps were in flight */
	uint64_t sim_ps;  /**< simulated time from the start of each step to its end */
	uint64_t packets;
	uint64_t hbm_read, hbm_written;    /**< bytes */
	uint64_t sys_read, sys_written;    /**< bytes over PCIe */
	uint64_t busy_ps[ZW_ENGINE_COUNT]; /**< by enum zw_engine */
	uint64_t prefix_queries;           /**< tokens that the prefix cache was asked for */
	uint64_t prefix_hits;              /**< of these, tokens that it had */
	uint64_t sparse_tokens; /**< of the tokens, those that attended to a selection of keys */
	uint64_t sram_read, sram_written; /**< bytes on the chip */
	uint64_t energy_pj; /**< of the jobs; what the chip takes by itself is not in it */
	/** By the device's clock, of the last step that was waited for. */
	uint64_t last_start_ps, last_end_ps;
};

ZW_API int zw_ctx_get_stats(const struct zw_ctx *ctx, struct zw_ctx_stats *stats);

/**
 * Calls line() with the disassembly of the command buffers of a step, those of the MTP head among
 * them where the context has `draft`. For debugging: the text has no stable form.
 */
ZW_API void zw_ctx_disasm(const struct zw_ctx *ctx, void (*line)(void *opaque, const char *text),
			  void *opaque);

/* ---------------------------------------------------------------- sequences ----------------- */

/*
 * A sequence is named by a number below max_seqs, which is used again after zw_seq_remove(). All
 * return -ENOENT for a number without a sequence, and, but for zw_seq_length(), -EBUSY while a step
 * that it is in is in flight: wait for that first. Nothing has happened then. In families with
 * recurrent state they wait for the device, and return what became of that.
 */

/** Starts an empty sequence. -ENOSPC when there are max_seqs. */
ZW_API int zw_seq_create(struct zw_ctx *ctx, uint32_t *seq);

/** Ends a sequence; blocks that no other one shares go back to the pool. */
ZW_API int zw_seq_remove(struct zw_ctx *ctx, uint32_t seq);

/**
 * Starts a sequence with the first n tokens of another one (-EINVAL above its length). Blocks are
 * shared, not copied: the last, unfinished one is copied on the device when either appends to it.
 * -ENOSPC when there are max_seqs. Recurrent state cannot be rewound at will: there n is as for
 * zw_seq_truncate(), and the new sequence cannot go back behind its beginning.
 */
ZW_API int zw_seq_fork(struct zw_ctx *ctx, uint32_t from, uint32_t n, uint32_t *seq);

/**
 * Forgets all tokens from position n on (-EINVAL above the length). A sequence with recurrent state
 * can go back to 0, and, one after the other or at once, over the last `rewind` tokens of those that it
 * was given since it began, was forked or restored; for other n it returns -EOPNOTSUPP.
 */
ZW_API int zw_seq_truncate(struct zw_ctx *ctx, uint32_t seq, uint32_t n);

/** Tokens in a sequence, those in flight included; or -ENOENT. */
ZW_API int64_t zw_seq_length(const struct zw_ctx *ctx, uint32_t seq);

/**
 * The ids of a sequence's tokens, also of those that the device chose. *ids belongs to the context
 * and is valid until the sequence changes. Returns their number.
 */
ZW_API int64_t zw_seq_tokens(const struct zw_ctx *ctx, uint32_t seq, const uint32_t **ids);

/**
 * Appends, without computing, as many of the n tokens (n >= 1) as the prefix cache has: whole blocks,
 * behind whole blocks, never the last token, so that there is something to compute that has outputs.
 * *taken receives their number, which may be 0; the caller goes on with the token behind them. The
 * bits are those that computing gives. zw_ctx_eval() does this by itself unless it is asked for all
 * logits.
 *
 * A block becomes known when the step that filled it was waited for.
 */
ZW_API int zw_seq_take_prefix(struct zw_ctx *ctx, uint32_t seq, const uint32_t *ids, size_t n,
			      size_t *taken);

/**
 * A sequence as it was at one moment. It keeps its blocks in the pool, or has been moved to system memory
 * or come from a file and takes no room there.
 */
struct zw_snapshot;

/** Takes a snapshot. Blocks are shared; recurrent state is copied to memory of its own. -ENOMEM. */
ZW_API int zw_seq_snapshot(struct zw_ctx *ctx, uint32_t seq, struct zw_snapshot **out);
/**
 * Makes a sequence of the same context what the snapshot was; it can be used again. From system memory
 * the blocks are copied into the pool, but for those that the prefix cache has: -ENOSPC when it has no
 * room for them beside those that the sequence has so far. It waits for the device then.
 */
ZW_API int zw_seq_restore(struct zw_ctx *ctx, uint32_t seq, const struct zw_snapshot *snap);
/**
 * Moves what a snapshot holds to system memory, in copies on the device that are waited for, and gives
 * its blocks back to the pool (those that others share stay there for them). With
 * zw_seq_remove() of the sequence before it this is swapping out; zw_seq_restore() into a new one is
 * swapping in. On failure (-ENOMEM, or that of the copies) the snapshot is as it was. One that is in
 * system memory stays there.
 */
ZW_API int zw_snapshot_swap_out(struct zw_snapshot *snap);

/** What a snapshot is. */
struct zw_snapshot_info {
	uint32_t size;       /**< in: sizeof; out: bytes filled */
	uint32_t tokens;     /**< of the sequence */
	const uint32_t *ids; /**< theirs; the memory is the snapshot's */
	uint32_t blocks;     /**< of the pool that it keeps, shared ones among them */
	uint32_t reserved;
	uint64_t system_bytes; /**< system memory that it has */
};

ZW_API int zw_snapshot_get_info(const struct zw_snapshot *snap, struct zw_snapshot_info *info);

#define ZW_SNAPSHOT_MAX_NOTE (1u << 28) /**< bytes */

/**
 * Bytes of the caller's that go with a snapshot into its file and come back from there, copied: what its
 * tokens stand for, say. In place of those before; none with len 0. -EINVAL, -EFBIG, -ENOMEM.
 */
ZW_API int zw_snapshot_set_note(struct zw_snapshot *snap, const void *data, size_t len);
/** Valid until they are set again or the snapshot is destroyed; NULL, *len 0: there are none. */
ZW_API const void *zw_snapshot_get_note(const struct zw_snapshot *snap, size_t *len);

/**
 * Writes a snapshot, wherever it is, to a file, which replaces one that is there when it is complete.
 * The file names the model and its shapes and holds the ids, the KV cache and recurrent state; only its
 * owner may read it.
 * @return 0; what opening and writing files can give; -ENOMEM, -EIO
 */
ZW_API int zw_snapshot_save(const struct zw_snapshot *snap, const char *path, struct zw_error *err);
/**
 * Reads one into system memory, for zw_seq_restore(). err says what a file that is refused is or has.
 * @return 0; -EBADMSG no such file, or one that was cut off or changed; -EOPNOTSUPP of another version;
 *         -EINVAL of another model, or other shapes or types of the cache; -ENOSPC more tokens than the
 *         context takes; -ENOMEM; what opening and reading files can give
 */
ZW_API int zw_snapshot_load(struct zw_ctx *ctx, const char *path, struct zw_snapshot **out,
			    struct zw_error *err);
/** Lets go of it; NULL is allowed. Before its context is destroyed. */
ZW_API void zw_snapshot_destroy(struct zw_snapshot *snap);

/* ---------------------------------------------------------------- batches ------------------- */

/** What is wanted of a token: of the distribution of the token that follows it. */
enum zw_want {
	ZW_WANT_LOGITS = 1 << 0, /**< all logits, F32 [vocab_size], in host memory */
	ZW_WANT_ARGMAX = 1 << 1, /**< the best id, the lowest of equals, chosen on the device */
	ZW_WANT_TOPK = 1 << 2,   /**< the best top_k ids and their logits, chosen on the device */
};

/**
 * In the place of an id: the one that the device chose after the sequence's last token, which was
 * submitted with ZW_WANT_ARGMAX. That step need not be done: so the device goes from token to token
 * without waiting for the host. Up to as many steps later as the context has steps, while nothing
 * else has been done to the sequence. Only for a sequence's first token of a batch, and its only one in
 * families with recurrent state.
 */
#define ZW_ID_CHOSEN UINT32_MAX

/** One token of a batch. */
struct zw_batch_token {
	uint32_t id;   /**< below vocab_size, or ZW_ID_CHOSEN */
	uint32_t pos;  /**< its position: the sequence's length and so on, without a gap */
	uint32_t seq;  /**< the sequence it is appended to */
	uint32_t want; /**< ZW_WANT_*; 0: only the sequence's state */
};

struct zw_batch {
	uint32_t size;       /**< sizeof(struct zw_batch) */
	uint32_t count;      /**< tokens, 1..batch */
	uint32_t token_size; /**< sizeof(struct zw_batch_token), the stride of tokens */
	uint32_t flags;      /**< must be 0 */
	const struct zw_batch_token *tokens; /**< read during the call only */
	/** Of a model without its first layers: F32 [count, hidden_size], what zw_ctx_hidden() of the part
	 *  before gave for the tokens, read during the call only; ids are then those of the text and
	 *  not looked at. NULL in all others, and allowed where nothing is computed. */
	const float *hidden;
};

/**
 * Submits a batch as one step. Tokens of a sequence may stand anywhere in it, in rising positions,
 * and a sequence may be in several steps in flight.
 *
 * Everything is checked first; on failure nothing was submitted and no sequence has changed.
 *
 * @param step  receives the number of the step, greater than those before
 * @return 0; -EAGAIN when all slots are in flight: wait for a step; -EINVAL malformed, a wrong
 *         position, ZW_ID_CHOSEN where nothing was chosen or the choice is gone, more outputs,
 *         logits or candidates than the context was made for; -ERANGE for an
 *         id that is not below vocab_size; -ENOENT for a sequence that is not there; -ENOSPC when
 *         the context of a sequence or the pool is full; -EIO and others when a step in flight has
 *         failed already, -ECANCELED when steps in flight were cancelled: nobody has waited for them
 *         yet; -ENODEV when the device is lost, -ENOMEM
 */
ZW_API int zw_ctx_submit(struct zw_ctx *ctx, const struct zw_batch *batch, uint64_t *step,
			 struct zw_error *err);

/**
 * Waits for a step and for those before it. Its outputs are valid until the next zw_ctx_submit().
 *
 * @param deadline_ns  see base.h
 * @return 0; -ETIME when the deadline passed: the step is still in flight; -ENOENT for a step that is
 *         not in flight; -ECANCELED after zw_ctx_cancel(); -EIO and others when this step, or one
 *         before it, failed: err says which packet and why. After a failure every step that was in
 *         flight is undone; waiting for it gives the same code until zw_ctx_submit() uses its slot.
 */
ZW_API int zw_ctx_wait(struct zw_ctx *ctx, uint64_t step, int64_t deadline_ns,
		       struct zw_error *err);

/** What came out for one token. */
struct zw_output {
	uint32_t size;           /**< in: sizeof; out: bytes filled */
	uint32_t num_top;        /**< entries of the next two */
	const float *top_logits; /**< ZW_WANT_TOPK: falling, equals by rising id; else NULL */
	const int32_t *top_ids;
	const float *logits; /**< ZW_WANT_LOGITS: [vocab_size]; else NULL */
	int64_t argmax;      /**< ZW_WANT_ARGMAX: id, or -EDOM when the logits are no numbers */
};

/**
 * Tokens of a text that zw_ctx_eval() would give to the sequence in its next step, when `left` tokens of it are left: at most
 * `batch`, and as many that cuts show nowhere. For who submits the steps by himself, of parts of a model for instance.
 * @return 1 .. left; 0: left is 0, or there is no such sequence
 */
ZW_API uint32_t zw_ctx_piece(const struct zw_ctx *ctx, uint32_t seq, uint64_t left);

/**
 * Reads the outputs of token `index` of the batch that was the step. -ENOENT for a step whose
 * outputs are gone, which failed or was not waited for; -EINVAL for a token that wanted nothing.
 */
ZW_API int zw_ctx_output(const struct zw_ctx *ctx, uint64_t step, uint32_t index,
			 struct zw_output *out);

/**
 * Of a model without its last layers: the residual stream [hidden_size] of token `index` of the batch that was the step,
 * behind the layers that there are. *row belongs to the context and is valid as long as outputs are. Such a model has no
 * head: its tokens want nothing.
 * @return 0; as zw_ctx_output(); -EOPNOTSUPP: the model has its last layers
 */
ZW_API int zw_ctx_hidden(const struct zw_ctx *ctx, uint64_t step, uint32_t index,
			 const float **row);

/**
 * Cancels all steps in flight, and makes a running zw_ctx_eval() or zw_generate() end, with
 * -ECANCELED. Does nothing when nothing runs. Thread safe, but not from signal handlers.
 */
ZW_API void zw_ctx_cancel(struct zw_ctx *ctx);

/* ---------------------------------------------------------------- evaluation ---------------- */

struct zw_eval_options {
	uint32_t size; /**< sizeof(struct zw_eval_options) */
	uint32_t want; /**< ZW_WANT_* of the last token */
	/** NULL, or room for n * vocab_size floats that receives the logits of every token. Steps
	 *  are then no longer than `logits` of the context. */
	float *all_logits;
	/** May be NULL. Called after each step with the tokens done; non-zero cancels. */
	int (*progress)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
};

/**
 * Appends n tokens (n >= 1) to a sequence and computes: cuts them into batches, keeps all slots
 * busy and waits for the end. No other step may be in flight (-EBUSY).
 *
 * @param opt   NULL: only the sequence's state
 * @param last  NULL, or receives the outputs of the last token; last->size set by the caller
 * @return 0; as zw_ctx_submit() when something is wrong with the arguments or there is no room: then
 *         the sequence is as before; -ECANCELED, -EIO and others: then the sequence holds the
 *         tokens of the steps that went well, see zw_seq_length()
 */
ZW_API int zw_ctx_eval(struct zw_ctx *ctx, uint32_t seq, const uint32_t *ids, size_t n,
		       const struct zw_eval_options *opt, struct zw_output *last,
		       struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_CONTEXT_H */
