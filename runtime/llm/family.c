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
	struct llm_plan *p;
	uint8_t *seen; /* by tensor of the source */
	bool check;    /* tensors have to be there and of the right shape, and are not loaded */
	size_t embed;  /* the embedding, once it is found */
	struct llm_weights *w;
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

	if (!(last->flags & LLM_T_FUSED))
		return;
	full_name(m, last, (struct which){.layer = layer}, name);
	if (src->ops->find(src, name) < 0) {
		(*n)--;
	} else {
		*first = last;
		*n = 1;
	}
}

/* Room for a row that goes into a product, or the rows of so many experts. */
static void need_activations(const struct match *m, const struct llm_linear *l, uint32_t rows)
{
	uint64_t k = l->w.dim[l->w.ndim - 1], block = l->act_block ? l->act_block : k;
	uint64_t scales = (k + block - 1) / block;

	if (m->w->act_cols < rows * k)
		m->w->act_cols = rows * k;
	if (m->w->act_scales < rows * scales)
		m->w->act_scales = rows * scales;
}

/*
 * Rows of a linear layer whose matrices are quantised: 1 when they are planned, 0 when none of them is,
 * or an error.
 */
static int plan_quantised(struct match *m, const struct llm_tensor_row *first, size_t n,
			  uint32_t layer, struct llm_linear *dst, struct zw_error *err)
{
	uint32_t experts = first->flags & LLM_T_EXPERT ? m->cfg->num_experts : 1;
	struct llm_quant_matrix *found = calloc(n * experts, sizeof(*found));
	char name[NAME_MAX_LEN], yes[NAME_MAX_LEN] = "", no[NAME_MAX_LEN] = "";
	struct which which = {.layer = layer};
	struct llm_take rows;
	size_t parts = 0;
	int ret = 0;

	if (!found)
		return llm_fail(err, -ENOMEM, "out of memory");
	for (; which.expert < experts; which.expert++) {
		for (size_t i = 0; i < n && ret >= 0; i++) {
			if (!applies(m, &first[i], layer))
				continue;
			full_name(m, &first[i], which, name);
			rows = (struct llm_take){0};
			if (first[i].part)
				first[i].part(m->cfg, &rows);
			ret = llm_quant_find(m->p->src, &m->cfg->quant, name,
					     dim_of(m->cfg, first[i].dim[0]),
					     dim_of(m->cfg, first[i].dim[1]), &rows, m->seen,
					     &found[parts], err);
			if (ret > 0 && first[i].flags & LLM_T_FUSED)
				ret = llm_fail(err, -EOPNOTSUPP,
					       "%s: tensor %s: quantised experts in one tensor are "
					       "not supported",
					       m->p->src->path, name);
			parts += ret > 0;
			if (ret >= 0)
				memcpy(ret ? yes : no, name, sizeof(name));
		}
	}
	if (ret >= 0 && *yes && *no)
		ret = llm_fail(err, -EOPNOTSUPP,
			       "%s: tensor %s is quantised, %s beside it is not: not supported",
			       m->p->src->path, yes, no);
	else if (ret >= 0 && parts && !m->check)
		ret = llm_quant_plan(m->p, &m->cfg->quant, found, parts / experts, experts,
				     first->flags & LLM_T_EXPERT, dst, err);
	free(found);
	if (ret >= 0 && parts && !m->check && dst->act)
		need_activations(m, dst,
				 first->flags & LLM_T_EXPERT ? m->cfg->experts_per_token : 1);
	return ret < 0 ? ret : parts > 0;
}

/* Plans rows [first, first + n), which share a slot of `base`. */
static int plan_slot(struct match *m, const struct llm_tensor_row *first, size_t n, uint32_t layer,
		     char *base, struct zw_error *err)
{
	struct llm_take *takes;
	uint32_t experts;
	struct which which = {.layer = layer};
	size_t parts = 0;
	int ret = 0;

	pick_form(m, &first, &n, layer);
	experts = first->flags & LLM_T_EXPERT ? m->cfg->num_experts : 1;
	takes = calloc(n * experts, sizeof(*takes));
	if (!takes)
		return llm_fail(err, -ENOMEM, "out of memory");
	if (first->flags & LLM_T_LINEAR && m->cfg->quant.format) {
		ret = plan_quantised(m, first, n, layer,
				     (struct llm_linear *)(void *)(base + first->slot), err);
		if (ret) {
			free(takes);
			return ret < 0 ? ret : 0;
		}
	}
	for (; which.expert < experts; which.expert++) {
		for (size_t i = 0; i < n && !ret; i++) {
			if (applies(m, &first[i], layer))
				ret = take_row(m, &first[i], which, takes, &parts, err);
		}
	}
	if (m->check)
		parts = 0;
	if (!ret)
		ret = llm_plan_slot(m->p, first, m->cfg->num_experts, base, takes, parts, err);
	free(takes);
	return ret;
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
	return ret ? ret : plan_rows(m, LLM_T_LAYER, n, (char *)&w->layers[n], err);
}

int llm_family_plan(const struct llm_family *f, const struct llm_model_config *cfg, bool mtp,
		    struct llm_plan *p, struct llm_weights *w, struct zw_error *err)
{
	size_t count = p->src->ops->count(p->src);
	struct match m = {.f = f, .cfg = cfg, .p = p, .w = w, .seen = calloc(count ? count : 1, 1)};
	struct llm_source_tensor t;
	int ret;

	w->layers = calloc(cfg->num_layers + 1, sizeof(*w->layers));
	if (!m.seen || !w->layers) {
		ret = llm_fail(err, -ENOMEM, "out of memory");
		goto out;
	}
	ret = plan_rows(&m, 0, 0, (char *)w, err);
	for (uint32_t n = 0; n < cfg->num_layers && !ret; n++)
		ret = plan_rows(&m, LLM_T_LAYER, n, (char *)&w->layers[n], err);
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
		ret = llm_fail(err, -EBADMSG, "%s: tensor %s does not belong to this model", t.file,
			       t.name);
	}
out:
	free(m.seen);
	return ret;
}
