// SPDX-License-Identifier: MIT
#include "chunks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config_value.h"
#include "layers.h"
#include "sparse.h"

/* ---- configuration ---- */

static int check_keys(const char *path, const cJSON *obj, struct zw_error *err)
{
	/* A sparse prefill is read when a context asks for it: see sparse.h. */
	static const char *const keys[] = {
		"chunk_size",
		"local_size",
		"original_max_position_embeddings",
		"sparse_attention_config",
		"sparse_attention_enabled",
		"sparse_attention_last_q",
		"sparse_attention_threshold",
	};
	const cJSON *it;

	cJSON_ArrayForEach(it, obj)
	{
		size_t i = 0;

		while (i < ZW_ARRAY_SIZE(keys) && strcmp(keys[i], it->string))
			i++;
		if (i == ZW_ARRAY_SIZE(keys) && !cJSON_IsNull(it))
			return llm_fail(err, -EOPNOTSUPP,
					"%s: dual_chunk_attention_config.%s is not supported yet",
					path, it->string);
	}
	return 0;
}

int llm_config_chunks(const char *path, const cJSON *json, struct llm_model_config *cfg,
		      bool allowed, struct zw_error *err)
{
	struct llm_chunk_config *c = &cfg->chunks;
	char where[sizeof(err->msg)];
	const cJSON *obj;
	int ret = llm_json_member(path, json, "dual_chunk_attention_config", &obj, err);

	if (ret || !obj)
		return ret;
	if (!cJSON_IsObject(obj))
		return llm_fail(err, -EBADMSG, "%s: dual_chunk_attention_config is not an object",
				path);
	if (!obj->child)
		return 0;
	if (!allowed)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: dual_chunk_attention_config is not supported with model_type "
				"\"%s\"",
				path, cfg->model_type);
	if (cfg->rope.factor != 1)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: dual_chunk_attention_config is not supported with YaRN", path);
	ret = check_keys(path, obj, err);
	snprintf(where, sizeof(where), "%s: dual_chunk_attention_config", path);
	if (!ret)
		ret = llm_config_uint(where, obj, "chunk_size", 1, LLM_POSITION_MAX - 1, -1,
				      &c->size, err);
	if (!ret)
		ret = llm_config_uint(where, obj, "local_size", 0, LLM_POSITION_MAX, -1, &c->local,
				      err);
	if (!ret)
		ret = llm_config_uint(where, obj, "original_max_position_embeddings", 0,
				      LLM_POSITION_MAX, 0, &c->original, err);
	if (!ret && c->local >= c->size)
		ret = llm_fail(err, -EBADMSG, "%s: local_size %u is not below chunk_size %u", where,
			       c->local, c->size);
	return ret;
}

/* ---- positions ---- */

uint32_t llm_rope_positions(const struct llm_model_config *cfg, uint32_t positions)
{
	return llm_has_chunks(cfg, positions) ? cfg->chunks.size + 1 : positions;
}

float llm_score_factor(const struct llm_model_config *cfg, uint32_t positions)
{
	double original = cfg->chunks.original, factor;

	if (!llm_has_chunks(cfg, positions) || !cfg->chunks.original || positions <= original)
		return 1.0f;
	/* Once on the keys and once on the scores. */
	factor = 0.1 * log(positions / original) + 1;
	return (float)(factor * factor);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

void llm_chunk_ranges(const struct llm_chunk_config *c, uint32_t pos,
		      struct llm_range out[LLM_RANGES])
{
	uint32_t length = llm_chunk_length(c), first = pos - pos % length;

	out[0] = (struct llm_range){first, pos, pos % length};
	out[1] = out[2] = (struct llm_range){1, 0, 0};
	if (first)
		out[1] = (struct llm_range){first - length, first - 1,
					    min_u32(pos % length + length, c->size)};
	if (first > length)
		out[2] =
			(struct llm_range){0, first - length - 1, min_u32(2 * length - 1, c->size)};
}

/* ---- layers ---- */

/* Part n of a [N, ...] tensor. */
static struct zw_tensor part(struct zw_tensor t, uint32_t n)
{
	t.va += n * t.stride[0] * (zw_dtype_bits(t.dtype) / 8);
	t.ndim--;
	for (unsigned int i = 0; i < ZW_MAX_DIMS - 1; i++)
		t.dim[i] = t.dim[i + 1];
	t.dim[ZW_MAX_DIMS - 1] = 0;
	for (unsigned int i = 0; i + 1 < ZW_MAX_DIMS - 1; i++)
		t.stride[i] = t.stride[i + 1];
	t.stride[ZW_MAX_DIMS - 2] = 0;
	return t;
}

static const struct zw_tensor *opt(const struct zw_tensor *t)
{
	return t->dtype ? t : NULL;
}

static void build_range(const struct llm_build *b, const struct llm_attend *a,
			const struct llm_kv_cache *cache)
{
	struct zw_cmd_attention_args args = {
		.q = &a->q,
		.y = &a->y,
		.pos = &a->pos,
		.seq = &b->seq,
		.block_table = &b->block_table,
		.k_cache = &cache->k,
		.v_cache = &cache->v,
		.k_scale = opt(&cache->k_scale),
		.v_scale = opt(&cache->v_scale),
		.lse = &a->lse,
		.scale = b->score_factor * (1.0f / sqrtf((float)b->cfg->head_dim)),
		.start = &a->start,
	};

	zw_cmd_attention(b->cmd, &args, b->rows_va, 0);
}

void llm_build_chunks(const struct llm_build *b, uint32_t kv, const struct zw_tensor *q,
		      const struct zw_tensor *k, const struct zw_tensor *v,
		      const struct llm_kv_cache *cache)
{
	const struct llm_chunk_tensors *t = &b->chunks;
	struct llm_attend range[LLM_RANGES];
	uint64_t r = b->rows_va;

	/* The last of the three takes the place of q itself. */
	for (uint32_t n = LLM_RANGES; n-- > 0;)
		zw_cmd_rope(b->cmd, q, n ? &t->q[n - 1] : q, &t->rope[n], &b->cos_table,
			    &b->sin_table, r, 0);
	zw_cmd_rope(b->cmd, k, k, &t->rope[0], &b->cos_table, &b->sin_table, r, 0);
	llm_build_kv_write(b, cache, k, v);
	for (uint32_t n = 0; n < LLM_RANGES; n++)
		range[n] = (struct llm_attend){
			.q = n ? t->q[n - 1] : *q,
			.y = part(t->y, n),
			.lse = part(t->lse, n),
			.start = t->start[n],
			.pos = t->last[n],
		};
	if (b->sparse.kind)
		llm_build_sparse(b, kv, range, LLM_RANGES, cache);
	for (uint32_t n = 0; n < LLM_RANGES && !b->sparse.kind; n++)
		build_range(b, &range[n], cache);
	zw_cmd_merge(b->cmd, &t->y, &t->lse, q, NULL, r, 0);
}
