// SPDX-License-Identifier: MIT
/* Attention engine: lists of keys, read, checked, and cut to the rows that share them. */
#include <errno.h>
#include <string.h>

#include "cp_kv.h"

/* Blocks or columns that the heads of one group list. */
struct listed {
	int32_t *count; /* of each head; NULL: there are no lists of this kind */
	int32_t *number;
};

/* Copies the first count[h] numbers of each head's list, one behind the other. */
static int copy_lists(struct zw_cp_exec *x, unsigned int opd, uint64_t group, const int32_t *count,
		      int32_t *out)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, opd);
	uint64_t head = t->stride[1], first = UINT64_MAX, end = 0, n = 0;
	struct zw_view view;
	int err;

	for (uint32_t h = 0; h < t->dim[1]; h++) {
		if (!count[h])
			continue;
		first = first == UINT64_MAX ? h * head : first;
		end = h * head + (uint32_t)count[h];
	}
	if (!end)
		return 0;
	err = zw_mem_map(x->cfg->mmu, x->vm, t->va + (group * t->stride[0] + first) * 4,
			 (end - first) * 4, ZW_ACCESS_READ, &view, &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	for (uint32_t h = 0; h < t->dim[1]; h++) {
		if (count[h])
			memcpy(out + n, (const int32_t *)view.ptr + (h * head - first),
			       (size_t)count[h] * 4);
		n += (uint32_t)count[h];
	}
	zw_cp_count(x, opd, &view, n * 4);
	return zw_cp_mem_status(x, zw_mem_unmap(x->cfg->mmu, x->vm, &view, false, &x->fault));
}

/* Reads the lists of a group; their numbers are below limit and ascend. *total: numbers so far. */
static int read_lists(struct zw_cp_exec *x, unsigned int opd, unsigned int counts_opd,
		      uint64_t group, uint64_t limit, uint64_t *total, struct listed *out)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, opd);
	const struct zw_tensor *counts = zw_cp_tensor_at(x->op, x->pkt, counts_opd);
	uint64_t n = 0;
	int err;

	memset(out, 0, sizeof(*out));
	if (!t->dtype)
		return 0;
	out->count = zw_cp_alloc(x, t->dim[1], sizeof(*out->count));
	if (!out->count)
		return -EIO;
	err = zw_cp_read_index(x, counts_opd, counts->va + group * counts->stride[0] * 4, t->dim[1],
			       out->count);
	if (!err)
		err = zw_cp_check_index(x, out->count, t->dim[1], t->dim[2] + 1ull);
	if (err)
		return err;
	for (uint32_t h = 0; h < t->dim[1]; h++)
		n += (uint32_t)out->count[h];
	*total += n;
	if (*total > ZW_CP_MAX_LISTED)
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
	out->number = zw_cp_alloc(x, n, sizeof(*out->number));
	if (!out->number)
		return -EIO;
	err = copy_lists(x, opd, group, out->count, out->number);
	if (!err)
		err = zw_cp_check_index(x, out->number, (uint32_t)n, limit);
	for (uint32_t h = 0, at = 0; h < t->dim[1] && !err; at += (uint32_t)out->count[h++])
		for (uint32_t i = 1; i < (uint32_t)out->count[h] && !err; i++)
			if (out->number[at + i] <= out->number[at + i - 1])
				err = zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
	return err;
}

/* No column lies in a listed block. Both ascend. */
static int check_apart(struct zw_cp_exec *x, const struct zw_k_attn_list *l, uint32_t t)
{
	for (uint32_t c = 0, b = 0; c < l->n_columns; c++) {
		int32_t block = l->columns[c] / (int32_t)t;

		while (b < l->n_blocks && l->blocks[b] < block)
			b++;
		if (b < l->n_blocks && l->blocks[b] == block)
			return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
	}
	return 0;
}

/* The rows from `first` on that are of one sequence, up to `end`. */
static struct kv_item cut_item(const int32_t *pos, const int32_t *from, const uint32_t *of_row,
			       uint32_t first, uint32_t end)
{
	struct kv_item item = {.first = first, .from = UINT32_MAX};

	for (uint32_t r = first; r < end && of_row[r] == of_row[first]; r++) {
		item.count++;
		if (from[r] > pos[r])
			continue;
		item.from = (uint32_t)from[r] < item.from ? (uint32_t)from[r] : item.from;
		item.end = (uint32_t)pos[r] >= item.end ? (uint32_t)pos[r] + 1 : item.end;
	}
	return item;
}

/* The lists of a group, for the first part of it. */
static int load_group(struct zw_cp_exec *x, const struct kv_list_opds *o, uint64_t group,
		      uint32_t heads, uint32_t max_blocks, uint32_t t, uint64_t *total,
		      struct zw_k_attn_list *list)
{
	struct listed blocks, columns;
	int32_t *b, *c;
	int err = read_lists(x, o->blocks, o->counts, group, max_blocks, total, &blocks);

	if (!err)
		err = read_lists(x, o->columns, o->column_counts, group, (uint64_t)max_blocks * t,
				 total, &columns);
	if (err)
		return err;
	b = blocks.number;
	c = columns.number;
	for (uint32_t h = 0; h < heads && !err; h++) {
		list[h] = (struct zw_k_attn_list){
			.head = h,
			.n_blocks = blocks.count ? (uint32_t)blocks.count[h] : 0,
			.n_columns = columns.count ? (uint32_t)columns.count[h] : 0,
			.blocks = b,
			.columns = c,
		};
		err = check_apart(x, &list[h], t);
		b += list[h].n_blocks;
		c += list[h].n_columns;
	}
	return err;
}

int zw_cp_load_lists(struct zw_cp_exec *x, const struct kv_list_opds *o, uint32_t packet_rows,
		     const int32_t *pos, const int32_t *from, const uint32_t *of_row,
		     uint32_t max_blocks, uint32_t t, struct kv_lists *out)
{
	const struct zw_tensor *counts = zw_cp_tensor_at(x->op, x->pkt, o->counts);
	uint32_t heads, group, rows = x->rows;
	uint64_t total = 0;
	int err = 0;

	if (!counts->dtype)
		counts = zw_cp_tensor_at(x->op, x->pkt, o->column_counts);
	heads = counts->dim[1];
	group = packet_rows / counts->dim[0] + !!(packet_rows % counts->dim[0]);
	for (uint32_t r = 0; r < rows; r++)
		out->n_items += r % group == 0 || of_row[r] != of_row[r - 1];
	if ((uint64_t)out->n_items * heads > ZW_CP_MAX_LISTS)
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
	out->item = zw_cp_alloc(x, out->n_items, sizeof(*out->item));
	out->list = zw_cp_alloc(x, (uint64_t)out->n_items * heads, sizeof(*out->list));
	if (!out->item || !out->list)
		return -EIO;
	for (uint32_t r = 0, i = 0; r < rows && !err; i++) {
		struct zw_k_attn_list *list = &out->list[(uint64_t)i * heads];
		uint32_t end = r - r % group + group;

		if (r % group == 0)
			err = load_group(x, o, r / group, heads, max_blocks, t, &total, list);
		else
			memcpy(list, list - heads, heads * sizeof(*list));
		out->item[i] = cut_item(pos, from, of_row, r, end < rows ? end : rows);
		for (uint32_t h = 0; h < heads; h++) {
			list[h].q_first = r;
			list[h].q_count = out->item[i].count;
			total += r % group ? (uint64_t)list[h].n_blocks + list[h].n_columns : 0;
		}
		/* Each part of a group goes through them again. */
		if (!err && total > ZW_CP_MAX_LISTED)
			err = zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_LIMIT);
		r += out->item[i].count;
	}
	return err;
}
