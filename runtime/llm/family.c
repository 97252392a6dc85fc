// SPDX-License-Identifier: MIT
/* Families by name, and a family's table of tensors against what a checkpoint holds. */
#include "family.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant.h"

#define NAME_MAX_LEN 160

static const struct llm_family *const families[] = {
	&llm_family_qwen2,       &llm_family_qwen3,
	&llm_family_qwen3_moe,   &llm_family_qwen3_next,
	&llm_family_qwen3_5,     &llm_family_qwen3_5_text,
	&llm_family_qwen3_5_moe, &llm_family_qwen3_5_moe_text,
};

const struct llm_family *llm_family_find(const char *model_type)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(families); i++) {
		if (!strcmp(families[i]->model_type, model_type))
			return families[i];
	}
	return NULL;
}

struct match {
	const struct llm_family *f;
	const struct llm_model_config *cfg;
	const struct llm_part *part;
	struct llm_plan *p;
	uint8_t *seen; /* by tensor of the source */
	bool check;    /* tensors have to be there and of the right shape, and are not loaded */
	size_t embed;  /* the embedding, once it is found */
	struct llm_weights *w;
	bool quantised; /* some matrix is, of those seen so far */
};

/* What a file has added to a tensor's values, as others want it done. */
static float added_to(const struct match *m, size_t tensor)
{
	struct llm_source_tensor t;

	m->p->src->ops->get(m->p->src, tensor, &t);
	return t.added;
}

static uint64_t dim_of(const struct llm_model_config *c, uint32_t dim)
{
	uint64_t values = (uint64_t)c->value_heads * c->value_dim;

	switch (dim) {
	case LLM_DIM_HIDDEN:
		return c->hidden_size;
	case LLM_DIM_VOCAB:
		return c->vocab_size;
	case LLM_DIM_INTER:
		return c->intermediate_size;
	case LLM_DIM_Q:
		return (uint64_t)c->num_heads * c->head_dim;
	case LLM_DIM_KV:
		return (uint64_t)c->num_kv_heads * c->head_dim;
	case LLM_DIM_HEAD:
		return c->head_dim;
	case LLM_DIM_EXPERTS:
		return c->num_experts;
	case LLM_DIM_2_EXPERT:
		return 2ull * c->expert_size;
	case LLM_DIM_EXPERT:
		return c->expert_size;
	case LLM_DIM_SHARED:
		return c->shared_expert_size;
	case LLM_DIM_ONE:
		return 1;
	case LLM_DIM_2_HIDDEN:
		return 2ull * c->hidden_size;
	case LLM_DIM_2_Q:
		return 2ull * c->num_heads * c->head_dim;
	case LLM_DIM_VALUE_HEADS:
		return c->value_heads;
	case LLM_DIM_2_VALUE_HEADS:
		return 2ull * c->value_heads;
	case LLM_DIM_VALUE:
		return c->value_dim;
	case LLM_DIM_VALUES:
		return values;
	case LLM_DIM_CONV:
		return llm_conv_channels(c);
	case LLM_DIM_QKVZ:
		return llm_conv_channels(c) + values;
	case LLM_DIM_KERNEL:
		return c->conv_kernel;
	default:
		return 0;
	}
}

static void format_shape(char *buf, size_t size, const uint64_t *dim, uint32_t ndim)
{
	size_t at = 0;

	buf[0] = '\0';
	for (uint32_t i = 0; i < ndim && at < size; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%llu", i ? "," : "",
				       (unsigned long long)dim[i]);
}

/* Which of the tensors that a row stands for. */
struct which {
	uint32_t layer, expert;
};

/* text, with a number in the place of its %u. */
static void put_number(char *dst, size_t size, const char *text, uint32_t number)
{
	const char *mark = strstr(text, "%u");

	snprintf(dst, size, "%.*s%u%s", (int)(mark - text), text, number, mark + 2);
}

static void full_name(const struct match *m, const struct llm_tensor_row *row, struct which which,
		      char *name)
{
	char prefix[NAME_MAX_LEN / 2] = "", own[NAME_MAX_LEN / 2];

	if (row->flags & LLM_T_LAYER && which.layer < m->cfg->num_layers)
		put_number(prefix, sizeof(prefix), m->f->layer_prefix, which.layer);
	else if (row->flags & LLM_T_LAYER)
		snprintf(prefix, sizeof(prefix), "%slayers.0.", m->f->mtp_prefix);
	else if (row->flags & LLM_T_MTP)
		snprintf(prefix, sizeof(prefix), "%s", m->f->mtp_prefix);
	if (row->flags & LLM_T_EXPERT)
		put_number(own, sizeof(own), row->name, which.expert);
	else
		snprintf(own, sizeof(own), "%s", row->name);
	snprintf(name, NAME_MAX_LEN, "%s%s", prefix, own);
}

/* Whether the model, and the layer, has tensors of this row. */
static bool applies(const struct match *m, const struct llm_tensor_row *row, uint32_t layer)
{
	if (row->flags & (LLM_T_SPARSE | LLM_T_DENSE) &&
	    !(row->flags & LLM_T_SPARSE) == llm_layer_has_experts(m->cfg, layer))
		return false;
	if (row->flags & (LLM_T_RECURRENT | LLM_T_ATTENTION) &&
	    !(row->flags & LLM_T_RECURRENT) == llm_layer_is_linear(m->cfg, layer))
		return false;
	return !row->when || row->when(m->cfg);
}

/* The tensor of a row: its index, checked; -ENOENT when it may be absent and is; or an error. */
static long find_row(const struct match *m, const struct llm_tensor_row *row, struct which which,
		     struct zw_error *err)
{
	const struct llm_source *src = m->p->src;
	uint64_t want[ZW_ARRAY_SIZE(row->dim)];
	uint32_t ndim = 0;
	char name[NAME_MAX_LEN], spelled[NAME_MAX_LEN], is[80], should[80];
	struct llm_source_tensor t;
	long i;

	for (; ndim < ZW_ARRAY_SIZE(row->dim) && row->dim[ndim]; ndim++)
		want[ndim] = dim_of(m->cfg, row->dim[ndim]);
	full_name(m, row, which, name);
	i = src->ops->find(src, name);
	if (i < 0) {
		if (row->flags & LLM_T_HEAD && m->cfg->tie_word_embeddings)
			return -ENOENT;
		if (src->ops->spell)
			src->ops->spell(src, name, spelled, sizeof(spelled));
		return llm_fail(err, -EBADMSG, "%s: tensor %s is missing", src->path,
				src->ops->spell ? spelled : name);
	}
	m->seen[i] = 1;
	src->ops->get(src, (size_t)i, &t);
	if (t.ndim != ndim || memcmp(t.dim, want, ndim * sizeof(want[0]))) {
		format_shape(is, sizeof(is), t.dim, t.ndim);
		format_shape(should, sizeof(should), want, ndim);
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: shape [%s], the configuration needs [%s]", t.file,
				t.name, is, should);
	}
	if (t.dtype == ZW_DTYPE_NONE)
		return llm_fail(err, -EOPNOTSUPP, "%s: tensor %s: dtype %s is not supported yet",
				t.file, t.name, t.dtype_name);
	return i;
}

/* What a row takes from the source, to takes[*n]: something, or nothing. */
static int take_row(struct match *m, const struct llm_tensor_row *row, struct which which,
		    struct llm_take *takes, size_t *n, struct zw_error *err)
{
	long t = find_row(m, row, which, err);

	if (t == -ENOENT)
		return 0;
	if (t < 0)
		return (int)t;
	if (row->flags & LLM_T_HEAD && m->cfg->tie_word_embeddings) {
		int copy = llm_source_equal(m->p->src, (size_t)t, m->embed, err);

		if (copy)
			return copy < 0 ? copy : 0;
	}
	if (row->slot == offsetof(struct llm_weights, embed) && !(row->flags & LLM_T_LAYER))
		m->embed = (size_t)t;
	takes[*n] =
		(struct llm_take){.tensor = (size_t)t, .add = row->add - added_to(m, (size_t)t)};
	if (row->part)
		row->part(m->cfg, &takes[*n]);
	(*n)++;
	return 0;
}

/* Of two forms of a slot the one that the file has: the last row alone, or those before it. */
static void pick_form(const struct match *m, const struct llm_tensor_row **first, size_t *n,
		      uint32_t layer)
{
	const struct llm_source *src = m->p->src;
	const struct llm_tensor_row *last = *first + *n - 1;
	char name[NAME_MAX_LEN];
	size_t packed;
	bool fused;

	if (!(last->flags & LLM_T_FUSED))
		return;
	full_name(m, last, (struct which){.layer = layer}, name);
	packed = strlen(name);
	snprintf(name + packed, sizeof(name) - packed, "_packed");
	fused = src->ops->find(src, name) >= 0;
	name[packed] = '\0';
	if (!fused && src->ops->find(src, name) < 0) {
		(*n)--;
	} else {
		*first = last;
		*n = 1;
	}
}

/* Room for a row that goes into a product, or the rows of so many experts. */
static void need_activations(const struct match *m, const struct llm_matrix *l, uint32_t rows)
{
	uint64_t k = l->w.dim[l->w.ndim - 1], block = l->act_block ? l->act_block : k;
	uint64_t scales = (k + block - 1) / block;

	if (m->w->act_cols < rows * k)
		m->w->act_cols = rows * k;
	if (m->w->act_scales < rows * scales)
		m->w->act_scales = rows * scales;
}

/* The same for one that is brought into another order. */
static void need_order(const struct match *m, const struct llm_matrix *l, uint32_t rows)
{
	uint64_t k = l->w.dim[l->w.ndim - 1];

	if (m->w->order_cols < rows * k)
		m->w->order_cols = rows * k;
}

/* ---- linear layers ---- */

/* Rows of the table that are one matrix on the device, and what stands for them in the file. */
struct linear {
	const struct llm_tensor_row *row;
	size_t n;
	uint32_t layer, experts; /* 1: there is but one of each */
	/* [n, experts]; those of a row that is not quantised mean nothing. */
	struct llm_quant_matrix *found;
	bool *quantised;
};

/* One row of the table, for all experts. */
static int find_quantised(struct match *m, struct linear *l, size_t i, struct zw_error *err)
{
	const struct llm_tensor_row *row = &l->row[i];
	bool fused = row->flags & LLM_T_FUSED;
	struct llm_quant_matrix *first = &l->found[i * l->experts];
	struct which which = {.layer = l->layer};
	struct llm_take rows = {0};
	char name[NAME_MAX_LEN];

	if (row->part)
		row->part(m->cfg, &rows);
	for (uint32_t e = 0; e < l->experts; e++) {
		struct llm_quant_want want = {
			.name = name,
			.n = dim_of(m->cfg, row->dim[fused]),
			.k = dim_of(m->cfg, row->dim[fused + 1]),
			.experts = fused ? l->experts : 0,
			.expert = fused ? e : 0,
			.rows = &rows,
		};
		int ret;

		which.expert = e;
		full_name(m, row, which, name);
		ret = llm_quant_find(m->p->src, &m->cfg->quant, &want, m->seen, &first[e], err);
		if (ret < 0)
			return ret;
		if (!e)
			l->quantised[i] = ret;
		m->quantised |= ret;
		if (l->quantised[i] != ret || (ret && first[e].scheme != first->scheme))
			return llm_fail(err, -EOPNOTSUPP,
					"%s: tensor %s is not stored as that of the experts "
					"before: not supported",
					m->p->src->path, name);
	}
	return 0;
}

/* Whether two rows of the table are stored alike. */
static bool goes_with(const struct linear *l, size_t i, size_t j)
{
	const struct llm_quant_matrix *a = &l->found[i * l->experts],
				      *b = &l->found[j * l->experts];

	if (!l->quantised[i] || !l->quantised[j])
		return l->quantised[i] == l->quantised[j];
	if (a->scheme != b->scheme)
		return false;
	for (uint32_t e = 0; e < l->experts; e++) {
		if (!llm_quant_same_order(&a[e], &b[e]))
			return false;
	}
	return true;
}

/* Rows of the table [from, to), quantised in one way, as a part. */
static int plan_quantised(struct match *m, const struct linear *l, size_t from, size_t to,
			  struct llm_matrix *dst, struct zw_error *err)
{
	bool stacked = l->row->flags & (LLM_T_EXPERT | LLM_T_FUSED);
	struct llm_quant_matrix *some = calloc((to - from) * l->experts, sizeof(*some));
	size_t parts = 0;
	int ret;

	if (!some)
		return llm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = from; i < to; i++)
		parts += applies(m, &l->row[i], l->layer);
	for (uint32_t e = 0, at = 0; e < l->experts; e++) {
		for (size_t i = from; i < to; i++) {
			if (applies(m, &l->row[i], l->layer))
				some[at++] = l->found[i * l->experts + e];
		}
	}
	ret = llm_quant_plan(m->p, some, parts, l->experts, stacked, dst, err);
	if (!ret && dst->act)
		need_activations(m, dst, stacked ? m->cfg->experts_per_token : 1);
	if (!ret && dst->order.dtype != ZW_DTYPE_NONE)
		need_order(m, dst, stacked ? m->cfg->experts_per_token : 1);
	free(some);
	return ret;
}

/* Takes of rows [first, first + n) that are stored as they are. */
static int take_rows(struct match *m, const struct llm_tensor_row *first, size_t n, uint32_t layer,
		     struct llm_take *takes, size_t *num, struct zw_error *err)
{
	uint32_t experts = first->flags & LLM_T_EXPERT ? m->cfg->num_experts : 1;
	struct which which = {.layer = layer};
	int ret = 0;

	for (; which.expert < experts; which.expert++) {
		for (size_t i = 0; i < n && !ret; i++) {
			if (applies(m, &first[i], layer))
				ret = take_row(m, &first[i], which, takes, num, err);
		}
	}
	return ret;
}

/* Runs of rows that are stored alike, one after the other. */
static int plan_runs(struct match *m, const struct linear *l, struct llm_take *takes,
		     struct llm_linear *dst, struct zw_error *err)
{
	uint32_t parts = 0;
	int ret = 0;

	for (size_t i = 0, j; i < l->n && !ret; i = j) {
		size_t num = 0;

		j = i + 1;
		if (!applies(m, &l->row[i], l->layer))
			continue;
		while (j < l->n && (!applies(m, &l->row[j], l->layer) || goes_with(l, i, j)))
			j++;
		if (!l->quantised[i]) {
			ret = take_rows(m, &l->row[i], j - i, l->layer, takes, &num, err);
			if (!ret && !m->check)
				ret = llm_plan_linear(m->p, &l->row[i], m->cfg->num_experts, dst,
						      &parts, takes, num, err);
		} else if (!m->check) {
			struct llm_matrix *part = llm_linear_next(dst, &parts, err);

			ret = part ? plan_quantised(m, l, i, j, part, err) : -EOPNOTSUPP;
		}
	}
	return ret;
}

static int plan_linear(struct match *m, const struct llm_tensor_row *first, size_t n,
		       uint32_t layer, struct llm_linear *dst, struct zw_error *err)
{
	bool experts = first->flags & (LLM_T_EXPERT | LLM_T_FUSED);
	struct linear l = {first, n, layer, experts ? m->cfg->num_experts : 1, NULL, NULL};
	struct llm_take *takes = calloc(n * l.experts, sizeof(*takes));
	int ret = 0;

	l.found = calloc(n * l.experts, sizeof(*l.found));
	l.quantised = calloc(n, sizeof(*l.quantised));
	if (!takes || !l.found || !l.quantised)
		ret = llm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n && m->cfg->quant.num && !ret; i++) {
		if (applies(m, &first[i], layer))
			ret = find_quantised(m, &l, i, err);
	}
	if (!ret)
		ret = plan_runs(m, &l, takes, dst, err);
	for (size_t i = 0; l.found && i < n * l.experts; i++)
		llm_quant_free(&l.found[i]);
	free(takes);
	free(l.found);
	free(l.quantised);
	return ret;
}

/* Plans rows [first, first + n), which share a slot of `base`. */
static int plan_slot(struct match *m, const struct llm_tensor_row *first, size_t n, uint32_t layer,
		     char *base, struct zw_error *err)
{
	void *slot = base + first->slot;
	struct llm_take *takes;
	size_t num = 0;
	int ret;

	pick_form(m, &first, &n, layer);
	if (first->flags & LLM_T_LINEAR)
		return plan_linear(m, first, n, layer, slot, err);
	takes = calloc(n, sizeof(*takes));
	if (!takes)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = take_rows(m, first, n, layer, takes, &num, err);
	if (!ret && !m->check)
		ret = llm_plan_slot(m->p, first, m->cfg->num_experts, slot, takes, num, err);
	free(takes);
	return ret;
}

/* What is of no layer: the embedding, where ids come in and where it is the head; norm and head. */
static bool in_part(const struct match *m, const struct llm_tensor_row *row)
{
	if (row->slot == offsetof(struct llm_weights, embed))
		return llm_part_begins(m->part) ||
		       (llm_part_ends(m->part) && m->cfg->tie_word_embeddings);
	return llm_part_ends(m->part);
}

/* Of the model (flag 0), of a layer, or of the MTP head. */
static int plan_rows(struct match *m, uint32_t flag, uint32_t layer, char *base,
		     struct zw_error *err)
{
	const uint32_t flags = LLM_T_LAYER | LLM_T_MTP;
	const struct llm_tensor_row *row = m->f->tensors;

	for (size_t i = 0, n; i < m->f->num_tensors; i += n) {
		int ret;

		for (n = 1; i + n < m->f->num_tensors && row[i + n].slot == row[i].slot &&
			    (row[i + n].flags & flags) == (row[i].flags & flags);
		     n++)
			;
		if ((row[i].flags & flags) != flag)
			continue;
		if (!flag)
			m->check = !in_part(m, &row[i]);
		ret = plan_slot(m, &row[i], n, layer, base, err);
		if (ret)
			return ret;
	}
	return 0;
}

static bool has_prefix(const char *name, const char *prefix)
{
	return prefix && !strncmp(name, prefix, strlen(prefix));
}

static bool has_mtp(const struct match *m, size_t count)
{
	struct llm_source_tensor t;
	char name[NAME_MAX_LEN];

	if (!m->f->mtp_prefix)
		return false;
	/* Files that spell names in another way. */
	snprintf(name, sizeof(name), "%snorm.weight", m->f->mtp_prefix);
	if (m->p->src->ops->find(m->p->src, name) >= 0)
		return true;
	for (size_t i = 0; i < count; i++) {
		m->p->src->ops->get(m->p->src, i, &t);
		if (has_prefix(t.name, m->f->mtp_prefix))
			return true;
	}
	return false;
}

/* Where a file has something of an MTP head, it has to have all of it. */
static int plan_mtp(struct match *m, bool load, struct llm_weights *w, struct zw_error *err)
{
	uint32_t n = m->cfg->num_layers;
	int ret;

	m->check = !load;
	ret = plan_rows(m, LLM_T_MTP, 0, (char *)w, err);
	return ret ? ret : plan_rows(m, LLM_T_LAYER, n, (char *)&w->layers[m->part->num], err);
}

/* Those that are not of the part are looked at all the same. */
static int plan_layers(struct match *m, struct llm_weights *w, struct zw_error *err)
{
	const struct llm_part *p = m->part;
	int ret = 0;

	for (uint32_t n = 0; n < m->cfg->num_layers && !ret; n++) {
		uint32_t at = n - p->first; /* wraps below it */

		m->check = at >= p->num;
		ret = plan_rows(m, LLM_T_LAYER, n, (char *)&w->layers[m->check ? p->num : at], err);
	}
	return ret;
}

int llm_family_plan(const struct llm_family *f, const struct llm_model_config *cfg,
		    const struct llm_part *part, bool mtp, struct llm_plan *p,
		    struct llm_weights *w, struct zw_error *err)
{
	size_t count = p->src->ops->count(p->src);
	struct match m = {.f = f,
			  .cfg = cfg,
			  .part = part,
			  .p = p,
			  .w = w,
			  .seen = calloc(count ? count : 1, 1)};
	struct llm_source_tensor t;
	int ret;

	w->layers = calloc(part->num + 1, sizeof(*w->layers));
	if (!m.seen || !w->layers) {
		ret = llm_fail(err, -ENOMEM, "out of memory");
		goto out;
	}
	ret = plan_rows(&m, 0, 0, (char *)w, err);
	if (!ret)
		ret = plan_layers(&m, w, err);
	if (!ret && has_mtp(&m, count))
		ret = plan_mtp(&m, mtp, w, err);
	else if (!ret && mtp)
		ret = llm_fail(err, -ENOENT, "%s: the model has no MTP head", p->src->path);
	for (size_t i = 0; i < count && !ret; i++) {
		if (m.seen[i])
			continue;
		p->src->ops->get(p->src, i, &t);
		if (has_prefix(t.name, f->ignored_prefix))
			continue;
		ret = cfg->quant.num ? llm_quant_surplus(p->src, i, err) : 0;
		if (!ret)
			ret = llm_fail(err, -EBADMSG, "%s: tensor %s does not belong to this model",
				       t.file, t.name);
		ret = ret > 0 ? 0 : ret;
	}
	/* Which matrices are is for the tensors to say, but not that none is. */
	if (!ret && cfg->quant.num && !m.quantised)
		ret = llm_fail(err, -EBADMSG,
			       "%s: no matrix is stored as the quantization_config says: all are "
			       "plain",
			       p->src->path);
out:
	free(m.seen);
	return ret;
}

/* Of the forms in which a file may have experts. */
static bool is_form(const struct match *m, const struct llm_tensor_row *row, bool fused)
{
	if (!(row->flags & (LLM_T_EXPERT | LLM_T_FUSED)))
		return true;
	for (size_t i = 0; i < m->f->num_tensors; i++) {
		const struct llm_tensor_row *other = &m->f->tensors[i];

		if (other->slot == row->slot && other->flags & LLM_T_FUSED)
			return !(row->flags & LLM_T_FUSED) == !fused;
	}
	return true;
}

void llm_family_each(const struct llm_family *f, const struct llm_model_config *cfg, bool mtp,
		     bool fused,
		     void (*tensor)(void *opaque, const char *name,
				    const struct llm_tensor_row *row, const uint64_t *dim,
				    uint32_t ndim),
		     void *opaque)
{
	struct match m = {.f = f, .cfg = cfg};

	mtp = mtp && f->mtp_prefix;
	for (size_t i = 0; i < f->num_tensors; i++) {
		const struct llm_tensor_row *row = &f->tensors[i];
		uint32_t layers = row->flags & LLM_T_LAYER ? cfg->num_layers + mtp : 1, ndim = 0;
		uint32_t experts = row->flags & LLM_T_EXPERT ? cfg->num_experts : 1;
		uint64_t dim[ZW_ARRAY_SIZE(row->dim)];
		struct which which;
		char name[NAME_MAX_LEN];

		if ((row->flags & LLM_T_MTP && !mtp) || !is_form(&m, row, fused) ||
		    (row->flags & LLM_T_HEAD && cfg->tie_word_embeddings))
			continue;
		for (; ndim < ZW_ARRAY_SIZE(row->dim) && row->dim[ndim]; ndim++)
			dim[ndim] = dim_of(cfg, row->dim[ndim]);
		for (which.layer = 0; which.layer < layers; which.layer++) {
			if (!applies(&m, row, which.layer))
				continue;
			for (which.expert = 0; which.expert < experts; which.expert++) {
				full_name(&m, row, which, name);
				tensor(opaque, name, row, dim, ndim);
			}
		}
	}
}
