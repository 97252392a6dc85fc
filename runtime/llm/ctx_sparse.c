// SPDX-License-Identifier: MIT
/* Sparse attention of a context: options, memory of the lists, and which rows of a step have them. */
#include "ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chunks.h"

#define DEFAULT_GROUP    64
#define DEFAULT_VERTICAL 1000 /* as MInference has it for models without a table */
#define DEFAULT_SLASH    6096
#define DEFAULT_KEEP     200
#define DEFAULT_SAMPLE   64

/* What ATTENTION takes: lists, and numbers in them. */
#define MAX_LISTS     (1u << 20)
#define MAX_NUMBERS   (1u << 22)
/* SELECT_SLASH: positions; SELECT_BLOCKS: elements of mean keys of a step. */
#define MAX_POSITIONS (1u << 22)
#define MAX_MEANS     (1u << 28)

#define SPARSE_ABI_MINOR    2u /* SELECT_BLOCKS, SELECT_SLASH, lists of ATTENTION */
#define QUANTISED_ABI_MINOR 3u /* the first two on a quantised cache */
#define CHUNKS_ABI_MINOR    7u /* the first two with several queries for a row */

/* ---- options ---- */

static int check_kind(const struct zw_ctx *c, struct zw_error *err)
{
	const struct zw_ctx_options *o = &c->o;
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	uint32_t minor = o->kv_dtype == ZW_DTYPE_BF16 ? SPARSE_ABI_MINOR : QUANTISED_ABI_MINOR;
	int ret = zw_dev_get_attrs(c->m->dev, &attrs);

	if (ret)
		return llm_fail(err, ret, "device: %s", strerror(-ret));
	if (llm_has_chunks(&c->m->cfg, o->context))
		minor = CHUNKS_ABI_MINOR;
	if (ZW_ABI_VERSION_MINOR(attrs.abi_version) < minor)
		return llm_fail(err, -EOPNOTSUPP,
				"sparse attention%s needs a device of ABI %u.%u, this one has "
				"%u.%u",
				minor == CHUNKS_ABI_MINOR ? " with Dual Chunk Attention" : "",
				ZW_ABI_MAJOR, minor, ZW_ABI_VERSION_MAJOR(attrs.abi_version),
				ZW_ABI_VERSION_MINOR(attrs.abi_version));
	if (o->sparse == ZW_SPARSE_MODEL && c->m->sparse.code)
		return llm_fail(err, c->m->sparse.code, "%s", c->m->sparse.why.msg);
	return 0;
}

static int check_numbers(struct zw_ctx_options *o, struct zw_error *err)
{
	bool slash = o->sparse == ZW_SPARSE_SLASH;

	if (o->sparse > ZW_SPARSE_MODEL)
		return llm_fail(err, -EINVAL, "sparse %u is no kind of attention", o->sparse);
	if ((!slash && (o->sparse_vertical || o->sparse_slash)) ||
	    (o->sparse != ZW_SPARSE_BLOCKS && o->sparse_keep) ||
	    (!o->sparse && (o->sparse_group || o->sparse_from)))
		return llm_fail(err, -EINVAL, "an option of sparse attention of another kind");
	if (o->sparse_group % LLM_BLOCK_TOKENS || o->sparse_group > ZW_CTX_MAX_BATCH)
		return llm_fail(err, -EINVAL, "sparse_group %u is not a multiple of %u up to %u",
				o->sparse_group, LLM_BLOCK_TOKENS, ZW_CTX_MAX_BATCH);
	if (o->sparse_vertical > LLM_POSITION_MAX || o->sparse_slash > LLM_POSITION_MAX ||
	    o->sparse_keep > LLM_POSITION_MAX)
		return llm_fail(err, -EINVAL, "sparse attention to more than %u keys",
				LLM_POSITION_MAX);
	return 0;
}

/* ---- sizes ---- */

/* Of the heads of all layers with attention; and the most of either. */
static int make_sizes(struct zw_ctx *c, uint32_t most[2], struct zw_error *err)
{
	const struct llm_model_config *cfg = &c->m->cfg;
	uint32_t heads = cfg->num_heads, n = c->needs.kv_layers * heads;
	const uint32_t *table = c->o.sparse == ZW_SPARSE_MODEL ? c->m->sparse.sizes : NULL;

	c->sparse.sizes = calloc(n, 2 * sizeof(*c->sparse.sizes));
	if (!c->sparse.sizes)
		return llm_fail(err, -ENOMEM, "out of memory");
	most[0] = most[1] = 0;
	for (uint32_t l = 0, kv = 0; l < cfg->num_layers; l++) {
		if (llm_layer_is_linear(cfg, l))
			continue;
		for (uint32_t h = 0; h < heads; h++) {
			uint32_t v[2] = {c->o.sparse_vertical, c->o.sparse_slash};

			if (table)
				memcpy(v, table + 2 * ((size_t)l * heads + h), sizeof(v));
			for (uint32_t i = 0; i < 2; i++) {
				c->sparse.sizes[i * n + kv * heads + h] = (int32_t)v[i];
				most[i] = v[i] > most[i] ? v[i] : most[i];
			}
		}
		kv++;
	}
	return 0;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Room for the longest lists of groups of that size. */
static void size_lists(struct zw_ctx *c, uint32_t group, const uint32_t most[2])
{
	struct llm_sparse *s = &c->sparse;
	uint64_t distances = most[1] > LLM_SPARSE_NEAREST ? most[1] : LLM_SPARSE_NEAREST;
	uint64_t columns = most[0] > LLM_SPARSE_FIRST ? most[0] : LLM_SPARSE_FIRST;

	s->group = group;
	s->groups = c->o.batch / group;
	if (s->kind == ZW_SPARSE_BLOCKS) {
		s->blocks = (uint32_t)min_u64(c->o.sparse_keep, c->seq_blocks);
		s->columns = 0;
		return;
	}
	/* A distance reaches so many blocks from the rows of a group. */
	s->blocks = (uint32_t)min_u64(min_u64(distances, c->o.context) *
					      ((group - 1) / LLM_BLOCK_TOKENS + 2),
				      c->seq_blocks);
	s->columns = (uint32_t)min_u64(columns, c->o.context);
}

static uint64_t num_lists(const struct zw_ctx *c)
{
	return (uint64_t)c->sparse.groups * c->m->cfg.num_heads;
}

static uint64_t num_numbers(const struct zw_ctx *c)
{
	return num_lists(c) * ((uint64_t)c->sparse.blocks + c->sparse.columns);
}

static bool fits(const struct zw_ctx *c)
{
	return num_lists(c) <= MAX_LISTS && num_numbers(c) <= MAX_NUMBERS;
}

/* What the packets that choose have memory for. */
static int check_memory(const struct zw_ctx *c, struct zw_error *err)
{
	const struct llm_sparse *s = &c->sparse;
	uint64_t seqs = min_u64(s->groups, c->o.max_seqs);
	uint64_t means = seqs * c->seq_blocks * c->needs.kv_heads * (c->needs.kv_dim + 8ull);

	if (s->kind == ZW_SPARSE_SLASH && c->o.context > MAX_POSITIONS)
		return llm_fail(err, -EINVAL, "sparse attention: context %u is above %u",
				c->o.context, MAX_POSITIONS);
	if (s->kind == ZW_SPARSE_BLOCKS && means > MAX_MEANS)
		return llm_fail(err, -EINVAL,
				"sparse attention: %llu sequences of %u tokens in a step have more "
				"blocks than the device chooses from",
				(unsigned long long)seqs, c->o.context);
	return 0;
}

/* The group that was asked for, or the smallest that has room, so that as few keys as can be are chosen. */
static int choose_group(struct zw_ctx *c, const uint32_t most[2], struct zw_error *err)
{
	uint32_t group = c->o.sparse_group ? c->o.sparse_group : DEFAULT_GROUP;

	while (!c->o.sparse_group && group > c->o.batch && group > LLM_BLOCK_TOKENS)
		group /= 2;
	if (group > c->o.batch)
		return llm_fail(err, -EINVAL,
				"sparse attention: a step of %u tokens has no group of %u",
				c->o.batch, group);
	size_lists(c, group, most);
	while (!c->o.sparse_group && !fits(c) && 2 * group <= c->o.batch) {
		group *= 2;
		size_lists(c, group, most);
	}
	if (!fits(c))
		return llm_fail(err, -EINVAL,
				"sparse attention: the lists of %u groups of %u heads may be "
				"%llu numbers, %u is the most: take a smaller batch",
				c->sparse.groups, c->m->cfg.num_heads,
				(unsigned long long)num_numbers(c), MAX_NUMBERS);
	c->o.sparse_group = group;
	return check_memory(c, err);
}

int llm_sparse_init(struct zw_ctx *c, struct zw_error *err)
{
	struct zw_ctx_options *o = &c->o;
	struct llm_sparse *s = &c->sparse;
	uint32_t most[2] = {0, 0};
	int ret = check_numbers(o, err);

	if (ret || !o->sparse)
		return ret;
	ret = check_kind(c, err);
	if (ret)
		return ret;
	s->kind = o->sparse == ZW_SPARSE_MODEL ? ZW_SPARSE_SLASH : o->sparse;
	s->sample = DEFAULT_SAMPLE;
	if (o->sparse == ZW_SPARSE_MODEL) {
		s->sample = c->m->sparse.sample;
		o->sparse_from = o->sparse_from ? o->sparse_from : c->m->sparse.from;
	}
	s->from = o->sparse_from;
	if (o->sparse == ZW_SPARSE_SLASH) {
		o->sparse_vertical = o->sparse_vertical ? o->sparse_vertical : DEFAULT_VERTICAL;
		o->sparse_slash = o->sparse_slash ? o->sparse_slash : DEFAULT_SLASH;
	}
	if (s->kind == ZW_SPARSE_SLASH)
		ret = make_sizes(c, most, err);
	else
		o->sparse_keep = o->sparse_keep ? o->sparse_keep : DEFAULT_KEEP;
	if (!ret)
		ret = choose_group(c, most, err);
	/* Its own blocks, the first one, and one that is chosen. */
	if (!ret && s->kind == ZW_SPARSE_BLOCKS && o->sparse_keep < s->group / LLM_BLOCK_TOKENS + 2)
		ret = llm_fail(err, -EINVAL,
			       "sparse_keep %u: a group of %u tokens needs %u blocks at least",
			       o->sparse_keep, s->group, s->group / LLM_BLOCK_TOKENS + 2);
	return ret;
}

int llm_sparse_alloc(struct zw_ctx *c)
{
	struct llm_sparse *s = &c->sparse;
	uint64_t bytes = 8ull * c->needs.kv_layers * c->m->cfg.num_heads;
	int ret;

	if (s->kind != ZW_SPARSE_SLASH)
		return 0;
	ret = zw_buffer_create(c->m->vm, bytes, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &s->buf);
	if (ret == -ENOMEM)
		ret = zw_buffer_create(c->m->vm, bytes, ZW_BO_SYSTEM, &s->buf);
	if (!ret)
		memcpy(s->buf.ptr, s->sizes, bytes);
	return ret;
}

void llm_sparse_fini(struct zw_ctx *c)
{
	zw_buffer_destroy(&c->sparse.buf);
	free(c->sparse.sizes);
	c->sparse.sizes = NULL;
}

/* ---- operands ---- */

void llm_sparse_operands(const struct zw_ctx *c, const struct llm_slot *slot, struct llm_build *b)
{
	const struct llm_sparse *s = &c->sparse;
	const struct llm_model_config *cfg = &c->m->cfg;
	uint32_t g = s->groups, q = cfg->num_heads, layers = c->needs.kv_layers;
	uint64_t act = c->act.va;
	struct llm_sparse_tensors *t = &b->sparse;

	if (!s->kind)
		return;
	t->kind = s->kind;
	t->most = s->groups * s->group;
	t->sample = s->sample;
	t->rows_va = llm_param_va(c, slot) + c->p.num_sparse;
	t->dense_va = llm_param_va(c, slot) + c->p.num_dense;
	for (int i = 0; i < LLM_RANGES; i++)
		t->start[i] = zw_tensor_1d(ZW_DTYPE_I32, llm_param_va(c, slot) + c->p.start[i],
					   c->o.batch);
	t->far_end = zw_tensor_1d(ZW_DTYPE_I32, llm_param_va(c, slot) + c->p.far_end, c->o.batch);
	t->y = zw_tensor_3d(ZW_DTYPE_BF16, act + c->a.sparse_y, c->o.batch, q, cfg->head_dim);
	t->blocks = zw_tensor_3d(ZW_DTYPE_I32, act + c->a.blocks, g, q, s->blocks);
	t->counts = zw_tensor_2d(ZW_DTYPE_I32, act + c->a.counts, g, q);
	if (s->kind != ZW_SPARSE_SLASH)
		return;
	t->columns = zw_tensor_3d(ZW_DTYPE_I32, act + c->a.columns, g, q, s->columns);
	t->column_counts = zw_tensor_2d(ZW_DTYPE_I32, act + c->a.column_counts, g, q);
	t->vertical = zw_tensor_2d(ZW_DTYPE_I32, s->buf.va, layers, q);
	t->slash = zw_tensor_2d(ZW_DTYPE_I32, s->buf.va + 4ull * layers * q, layers, q);
}

/* ---- rows ---- */

/* Tokens of a sequence's piece of a step that go in whole groups. */
static uint32_t whole(const struct zw_ctx *c, const struct llm_undo *u)
{
	uint32_t group = c->sparse.group, n = u->end - u->length;

	if (u->length % group || u->end <= c->sparse.from)
		return 0;
	return n / group * group;
}

static uint32_t give_rows(struct zw_ctx *c, const struct llm_undo *u, uint32_t row)
{
	struct llm_seq *s = &c->seqs[u->seq];

	s->placed = c->stamp;
	s->row = row;
	return u->end - u->length;
}

/*
 * Sparse rows are a step's first ones. Of SELECT_SLASH they are of one sequence, of SELECT_BLOCKS each
 * group is, so that pieces of whole groups come first and one with some tokens more may follow them.
 */
uint32_t llm_sparse_rows(struct zw_ctx *c, struct llm_slot *slot, const struct llm_tally *n)
{
	char *param = llm_param(c, slot);
	int32_t *start = (int32_t *)(void *)(param + c->p.start[0]);
	const struct llm_undo *last = NULL;
	uint32_t row = 0, tokens = 0, total = 0, most = 0;

	slot->sparse = 0;
	if (!c->sparse.kind)
		return 0;
	/* What the device chose has the first rows: with that no prompt goes. */
	for (uint32_t i = 0; i < slot->num_undo && !n->chosen; i++) {
		const struct llm_undo *u = &slot->undo[i];
		uint32_t k = whole(c, u);
		bool blocks = c->sparse.kind == ZW_SPARSE_BLOCKS;

		if (k && blocks && k == u->end - u->length) {
			row += give_rows(c, u, row);
			tokens += k;
		} else if (k > most) {
			most = k;
			last = u;
		}
	}
	if (last) {
		row += give_rows(c, last, row);
		tokens += most;
	}
	for (uint32_t i = 0; i < slot->num_undo; i++)
		total += slot->undo[i].end - slot->undo[i].length;
	/* Of several ranges each row has its own: see write_chunks(). */
	for (uint32_t i = 0; i < total && !llm_has_chunks(&c->m->cfg, c->o.context); i++)
		start[i] = i < tokens ? INT32_MAX : 0;
	*(uint32_t *)(void *)(param + c->p.num_sparse) = tokens;
	*(uint32_t *)(void *)(param + c->p.num_dense) = total - tokens;
	slot->sparse = tokens;
	return row;
}

uint32_t llm_sparse_piece(const struct zw_ctx *c, uint32_t pos, uint64_t left, uint32_t most,
			  bool alone)
{
	uint32_t group = c->sparse.group, n = left < most ? (uint32_t)left : most;

	if (!c->sparse.kind)
		return n;
	if (pos % group)
		return n < group - pos % group ? n : group - pos % group;
	/* Two texts that end in a step cannot both have their last groups and what is behind them. */
	if (n > group && (n < left || !alone))
		n -= n % group;
	return n;
}

bool llm_sparse_cuts(const struct zw_ctx *c, uint32_t pos, uint64_t left, uint32_t n)
{
	return c->sparse.kind && n < left && (pos + n) % c->sparse.group;
}
