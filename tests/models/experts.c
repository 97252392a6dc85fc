// SPDX-License-Identifier: MIT
#include "experts.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/llm_fixture.h"
#include "ctx.h"

bool experts_model(const struct zw_model *m)
{
	return m->cfg.num_experts;
}

/* ---- the checkpoint as the plain forward pass takes it ---- */

static struct shape shape_of(const struct llm_model_config *c)
{
	struct shape s = {
		.h = c->hidden_size,
		.i = c->intermediate_size,
		.layers = c->num_layers,
		.nq = c->num_heads,
		.nkv = c->num_kv_heads,
		.d = c->head_dim,
		.v = c->vocab_size,
		.tied = c->tie_word_embeddings,
		.bias = c->attention_bias,
		.e = c->num_experts,
		.k = c->experts_per_token,
		.im = c->expert_size,
		.renorm = c->norm_topk_prob,
		.theta = c->rope.theta,
		.eps = (double)c->rms_norm_eps,
		.next = c->attention_gate,
		.split = !strncmp(c->model_type, "qwen3_5", 7),
		.nested =
			!strcmp(c->model_type, "qwen3_5") || !strcmp(c->model_type, "qwen3_5_moe"),
		.gk = c->key_heads,
		.gv = c->value_heads,
		.dk = c->key_dim,
		.dv = c->value_dim,
		.conv = c->conv_kernel,
		.is = c->shared_expert_size,
		.rotary = c->rope.dim,
	};

	for (uint32_t l = 0; l < c->num_layers && l < 64; l++)
		s.linear |= (uint64_t)llm_layer_is_linear(c, l) << l;
	return s;
}

/* The pass has arrays of these sizes, and knows no more. */
static int check_shape(const struct llm_model_config *c, uint32_t n, struct zw_error *err)
{
	for (uint32_t l = 0; l < c->num_layers; l++) {
		if (!llm_layer_has_experts(c, l))
			return llm_fail(err, -EOPNOTSUPP, "layer %u has no experts", l);
	}
	if (c->hidden_size > 256 || c->num_heads * c->head_dim > 512 || c->num_experts > 64 ||
	    c->expert_size > 512 || n > 640 || c->rope.factor != 1 || c->num_layers > 64)
		return llm_fail(err, -EOPNOTSUPP, "the model is too large for the plain pass");
	return 0;
}

static int load_tensor(const struct llm_source *src, size_t i, struct tensor *t,
		       struct zw_error *err)
{
	struct llm_source_tensor info;
	uint16_t *raw;
	int ret;

	src->ops->get(src, i, &info);
	if (info.dtype != ZW_DTYPE_BF16)
		return llm_fail(err, -EOPNOTSUPP, "tensor %s is not BF16", info.name);
	snprintf(t->name, sizeof(t->name), "%s", info.name);
	t->n = info.bytes / 2;
	t->x = malloc(t->n * sizeof(*t->x));
	raw = malloc(info.bytes);
	if (!t->x || !raw) {
		free(raw);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	ret = src->ops->read(src, i, 0, raw, info.bytes, err);
	for (size_t j = 0; j < t->n && !ret; j++) {
		uint32_t bits = (uint32_t)raw[j] << 16;

		memcpy(&t->x[j], &bits, sizeof(bits));
	}
	free(raw);
	return ret;
}

static int load(struct fixture *f, const char *dir, struct zw_error *err)
{
	struct llm_model_config cfg;
	struct llm_source *src = NULL;
	size_t count = 0;
	int ret = llm_source_new(dir, &src, err);

	if (!ret)
		ret = src->ops->config(src, &cfg, err);
	if (!ret)
		ret = src->ops->open(src, err);
	if (!ret)
		count = src->ops->count(src);
	if (count > MAX_TENSORS)
		ret = llm_fail(err, -E2BIG, "%zu tensors", count);
	for (; f->n < count && !ret; f->n++)
		ret = load_tensor(src, f->n, &f->t[f->n], err);
	llm_source_close(src);
	return ret;
}

/* ---- what the device chose ---- */

/* [n, layers, k], of the step that the context did last. */
static int read_chosen(struct zw_ctx *ctx, int32_t *ids, uint32_t n, struct zw_error *err)
{
	const struct llm_model_config *c = &ctx->m->cfg;
	uint64_t bytes = (uint64_t)n * c->num_layers * c->experts_per_token * sizeof(*ids);
	struct zw_copier *copier;
	int ret = zw_copier_create(ctx->m->vm, NULL, &copier);

	if (!ret) {
		ret = zw_copier_read(copier, ids,
				     ctx->act.va + ctx->a.scratch[ctx->needs.experts_scratch],
				     bytes, NULL);
		if (!ret)
			ret = zw_copier_flush(copier, ZW_FOREVER);
		zw_copier_destroy(copier);
	}
	return ret ? llm_fail(err, ret, "reading the experts: %s", strerror(-ret)) : 0;
}

static bool same_set(const uint32_t *a, const int32_t *b, uint32_t k)
{
	for (uint32_t i = 0; i < k; i++) {
		bool found = false;

		for (uint32_t j = 0; j < k; j++)
			found |= (uint32_t)b[j] == a[i];
		if (!found)
			return false;
	}
	return true;
}

int experts_compare(struct zw_ctx *ctx, const struct experts_exact *exact,
		    struct experts_diff *diff, struct zw_error *err)
{
	uint32_t choices = exact->n * exact->layers, k = exact->k;
	int32_t *ids = calloc((size_t)choices * k, sizeof(*ids));
	int ret = ids ? read_chosen(ctx, ids, exact->n, err)
		      : llm_fail(err, -ENOMEM, "out of memory");

	*diff = (struct experts_diff){.choices = choices};
	for (uint32_t i = 0; i < choices && !ret; i++) {
		if (same_set(exact->chosen + (size_t)i * k, ids + (size_t)i * k, k))
			continue;
		diff->flips++;
		diff->widest = fmax(diff->widest, exact->lead[i]);
	}
	free(ids);
	return ret;
}

/* ---- the exact pass ---- */

#define MAGIC "ZWEXACT"

struct kept {
	char magic[8];
	uint64_t model[2];
	uint32_t n, layers, k, pad;
	double rms;
};

/* In the file behind it: the ids, chosen, lead. */
static struct kept kept_of(const struct zw_model *m, const struct experts_exact *e)
{
	struct kept h = {.magic = MAGIC, .n = e->n, .layers = e->layers, .k = e->k, .rms = e->rms};

	memcpy(h.model, m->digest, sizeof(h.model));
	return h;
}

static bool recall(const struct zw_model *m, const uint32_t *ids, const char *keep,
		   struct experts_exact *e)
{
	size_t choices = (size_t)e->n * e->layers;
	uint32_t *same = calloc(e->n, sizeof(*same));
	FILE *f = same ? fopen(keep, "rb") : NULL;
	struct kept h, want;
	bool good = f && fread(&h, sizeof(h), 1, f) == 1;

	if (good) {
		e->rms = h.rms;
		want = kept_of(m, e);
		good = !memcmp(&h, &want, sizeof(h)) &&
		       fread(same, sizeof(*same), e->n, f) == e->n &&
		       !memcmp(same, ids, e->n * sizeof(*ids)) &&
		       fread(e->chosen, sizeof(*e->chosen), choices * e->k, f) == choices * e->k &&
		       fread(e->lead, sizeof(*e->lead), choices, f) == choices;
	}
	if (f)
		fclose(f);
	free(same);
	return good;
}

static int remember(const struct zw_model *m, const uint32_t *ids, const char *keep,
		    const struct experts_exact *e, struct zw_error *err)
{
	size_t choices = (size_t)e->n * e->layers;
	struct kept h = kept_of(m, e);
	FILE *f = fopen(keep, "wb");
	bool good;

	if (!f)
		return llm_fail(err, -errno, "%s: %s", keep, strerror(errno));
	good = fwrite(&h, sizeof(h), 1, f) == 1 && fwrite(ids, sizeof(*ids), e->n, f) == e->n &&
	       fwrite(e->chosen, sizeof(*e->chosen), choices * e->k, f) == choices * e->k &&
	       fwrite(e->lead, sizeof(*e->lead), choices, f) == choices;
	if (fclose(f) || !good)
		return llm_fail(err, -EIO, "%s: cannot be written", keep);
	return 0;
}

static double rms_of(const double *x, const float *want, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (x[i] - (double)want[i]) * (x[i] - (double)want[i]);
	return sqrt(sum / (double)n);
}

static int compute(const struct zw_model *m, const char *dir, const uint32_t *ids,
		   const float *want, uint32_t rows, struct experts_exact *e, struct zw_error *err)
{
	struct fixture f = {.s = shape_of(&m->cfg), .chosen = e->chosen, .lead = e->lead};
	double *logits = calloc((size_t)e->n * f.s.v, sizeof(*logits));
	int ret =
		logits ? check_shape(&m->cfg, e->n, err) : llm_fail(err, -ENOMEM, "out of memory");

	if (!ret)
		ret = load(&f, dir, err);
	if (!ret) {
		fixture_reference(&f, ids, e->n, logits);
		e->rms = rms_of(logits + (size_t)(e->n - rows) * f.s.v, want, (size_t)rows * f.s.v);
	}
	for (size_t i = 0; i < f.n; i++)
		free(f.t[i].x);
	free(logits);
	return ret;
}

int experts_pass(const struct zw_model *m, const char *dir, const uint32_t *ids, uint32_t n,
		 const float *want, uint32_t rows, const char *keep, struct experts_exact *e,
		 struct zw_error *err)
{
	size_t choices = (size_t)n * m->cfg.num_layers;
	int ret;

	*e = (struct experts_exact){
		.n = n, .layers = m->cfg.num_layers, .k = m->cfg.experts_per_token};
	e->chosen = calloc(choices * e->k, sizeof(*e->chosen));
	e->lead = calloc(choices, sizeof(*e->lead));
	if (!e->chosen || !e->lead)
		return llm_fail(err, -ENOMEM, "out of memory");
	if (keep && recall(m, ids, keep, e))
		return 0;
	ret = compute(m, dir, ids, want, rows, e, err);
	return ret || !keep ? ret : remember(m, ids, keep, e, err);
}

void experts_exact_free(struct experts_exact *e)
{
	free(e->chosen);
	free(e->lead);
}
