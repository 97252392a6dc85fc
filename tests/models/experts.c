// SPDX-License-Identifier: MIT
#include "experts.h"

#include <errno.h>
#include <math.h>
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

static void compare(const struct fixture *f, const int32_t *ids, uint32_t n, const double *logits,
		    const float *want, uint32_t rows, struct experts_diff *diff)
{
	const struct shape *s = &f->s;
	double sum = 0;

	*diff = (struct experts_diff){.choices = n * s->layers};
	for (uint32_t i = 0; i < diff->choices; i++) {
		if (same_set(f->chosen + (size_t)i * s->k, ids + (size_t)i * s->k, s->k))
			continue;
		diff->flips++;
		diff->widest = fmax(diff->widest, f->lead[i]);
	}
	logits += (size_t)(n - rows) * s->v;
	for (size_t i = 0; i < (size_t)rows * s->v; i++)
		sum += (logits[i] - (double)want[i]) * (logits[i] - (double)want[i]);
	diff->rms = sqrt(sum / ((double)rows * s->v));
}

int experts_compare(struct zw_ctx *ctx, const char *dir, const uint32_t *ids, uint32_t n,
		    const float *want, uint32_t rows, struct experts_diff *diff,
		    struct zw_error *err)
{
	const struct llm_model_config *c = &ctx->m->cfg;
	struct fixture f = {.s = shape_of(c)};
	size_t choices = (size_t)n * c->num_layers;
	int32_t *chosen = calloc(choices * c->experts_per_token, sizeof(*chosen));
	double *logits = calloc((size_t)n * c->vocab_size, sizeof(*logits));
	int ret;

	f.chosen = calloc(choices * c->experts_per_token, sizeof(*f.chosen));
	f.lead = calloc(choices, sizeof(*f.lead));
	ret = chosen && logits && f.chosen && f.lead ? 0 : llm_fail(err, -ENOMEM, "out of memory");
	if (!ret)
		ret = check_shape(c, n, err);
	if (!ret)
		ret = load(&f, dir, err);
	if (!ret)
		ret = read_chosen(ctx, chosen, n, err);
	if (!ret) {
		fixture_reference(&f, ids, n, logits);
		compare(&f, chosen, n, logits, want, rows, diff);
	}
	for (size_t i = 0; i < f.n; i++)
		free(f.t[i].x);
	free(f.chosen);
	free(f.lead);
	free(chosen);
	free(logits);
	return ret;
}
