/* SPDX-License-Identifier: MIT */
/* What the packets that read or write the paged KV cache share. */
#ifndef ZW_CP_KV_H
#define ZW_CP_KV_H

#include "zw_cp_int.h"

/* Sorts and drops duplicates; returns how many are left. */
uint32_t zw_cp_sort_unique(uint64_t *v, uint32_t n);
/* Index of a key that is in the sorted array. */
uint32_t zw_cp_find(const uint64_t *v, uint32_t n, uint64_t key);

/* Pools whose blocks are dense inside, of one type, with a legal block size: enum zw_reason. */
uint32_t zw_cp_pools_validate(const struct zw_tensor *k, const struct zw_tensor *v,
			      const struct zw_tensor *k_scale, const struct zw_tensor *v_scale);

/* The part of the block table that a packet needs of one sequence. */
struct kv_seq {
	uint32_t seq;
	uint32_t first, end;         /* entries; none: UINT32_MAX and 0 */
	uint32_t pos_first, pos_end; /* positions that rows read; the same */
	uint32_t max_pos;            /* of all rows */
	int32_t *blocks;             /* entry first is blocks[0]; not range-checked */
	void **k_pages, **v_pages, **k_scales, **v_scales;
};

struct kv_seqs {
	struct kv_seq *seq;
	uint32_t n;
	uint32_t *of_row; /* row -> index in seq */
	uint32_t refs;    /* entries of all of them */
};

static inline uint32_t kv_seq_entries(const struct kv_seq *q)
{
	return q->end > q->first ? q->end - q->first : 0;
}

/*
 * Groups the rows by sequence and reads the block table where they need it: from the entry of the lowest position to that of
 * the highest. from [rows]: the lowest position that a row reads, above its own: none; NULL: its own. pos and seq are
 * checked here. seq may be NULL: all are 0.
 */
int zw_cp_load_seqs(struct zw_cp_exec *x, const int32_t *pos, const int32_t *from,
		    const int32_t *seq, unsigned int table_opd, uint32_t t, struct kv_seqs *out);

/* Units (a block, or a token's slot of a block) of a pool; sorted, unique. */
struct kv_units {
	const uint64_t *unit;
	uint32_t n;
	uint32_t per_block; /* units in a block, a power of two */
	uint64_t unit_bytes;
	uint64_t block_bytes; /* from one block to the next */
	uint32_t access;
	uint64_t count_bytes; /* traffic of the operand */
};

/* Maps units and leaves a host pointer for each. Neighbours that follow each other in memory share a view. */
int zw_cp_map_units(struct zw_cp_exec *x, unsigned int opd, const struct kv_units *m, void **ptr);

/* -- lists of keys (cp_attn_lists.c) -------------------------------------------------------------------- */

/* Where the operands are, among those of the packet. */
struct kv_list_opds {
	unsigned int blocks, counts, columns, column_counts;
};

/* Rows of one group that belong to one run; the lists of all query heads follow each other. */
struct kv_item {
	uint32_t first, count; /* rows */
	uint32_t from, end;    /* positions that one of the rows sees; none: end 0 */
};

struct kv_lists {
	struct kv_item *item;
	uint32_t n_items;
	struct zw_k_attn_list *list; /* [item][query head] */
};

/*
 * Reads and checks the lists of the groups that have rows. A group is cut where the sequence of its rows (of_row)
 * changes. packet_rows: by which groups are counted; from: as for zw_cp_load_seqs(); max_blocks, t: of a
 * sequence, and tokens of a block.
 */
int zw_cp_load_lists(struct zw_cp_exec *x, const struct kv_list_opds *o, uint32_t packet_rows,
		     const int32_t *pos, const int32_t *from, const uint32_t *of_row,
		     uint32_t max_blocks, uint32_t t, struct kv_lists *out);

/* -- lists that nobody chose (cp_select_lists.c) ---------------------------------------------------------- */

/* Whose they are. */
struct kv_made_up {
	uint32_t head, heads;
};

/*
 * In place of SELECT_BLOCKS, for rows whose lowest and highest position lie in blocks first and last: those in between, the
 * first one, and as many more as the packet would choose, evenly spread. Return how many they are; they ascend.
 */
uint32_t zw_cp_made_up_blocks(const struct kv_made_up *m, uint32_t first, uint32_t last,
			      uint32_t most, int32_t *out);
/*
 * In place of SELECT_SLASH: what so many distances below len reach from positions first to last, in blocks of t. Half of
 * them, and no fewer than `nearest`, are the nearest, the others lie in evenly spread bands of 64.
 */
uint32_t zw_cp_made_up_reach(const struct kv_made_up *m, uint32_t first, uint32_t last, uint32_t t,
			     uint32_t distances, uint32_t nearest, uint32_t len, int32_t *out);
/* So many columns below len: the first `always` of all, and others evenly spread. */
void zw_cp_made_up_columns(const struct kv_made_up *m, uint32_t columns, uint32_t always,
			   uint32_t len, int32_t *out);
/* Those of them up to `last` that lie in no block. All ascend. */
uint32_t zw_cp_columns_apart(const int32_t *column, uint32_t columns, uint32_t last, uint32_t t,
			     const int32_t *block, uint32_t n_blocks, int32_t *out);

#endif
