// SPDX-License-Identifier: MIT
/* RoPE position tables: made once per model, shared by its contexts. */
#include "model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

float llm_rope_frequency(const struct llm_rope_config *r, uint32_t dim, uint32_t j)
{
	/* Every step in binary32, in the reference's order. */
	float power = (float)pow((double)(float)r->theta, (double)((float)(2 * j) / (float)dim));
	float plain = 1.0f / power, scaled, ramp, keep;

	/* The weighted sum of two equal numbers may be rounded to a third. */
	if (r->factor == 1)
		return plain;
	scaled = 1.0f / ((float)r->factor * power);
	ramp = ((float)j - (float)r->ramp_low) / (float)(r->ramp_high - r->ramp_low);
	keep = 1.0f - fminf(fmaxf(ramp, 0.0f), 1.0f);
	return scaled * (1.0f - keep) + plain * keep;
}

void llm_rope_tables(float *cos_out, float *sin_out, uint32_t first, uint32_t n, uint32_t dim,
		     const struct llm_rope_config *r)
{
	float scale = (float)r->attention_factor;
	uint32_t half = dim / 2;

	for (uint32_t j = 0; j < half; j++) {
		float inv = llm_rope_frequency(r, dim, j);

		for (uint32_t i = 0; i < n; i++) {
			float angle = (float)(first + i) * inv;

			/* In double: full range reduction also for large angles. */
			cos_out[(uint64_t)i * half + j] = (float)cos((double)angle) * scale;
			sin_out[(uint64_t)i * half + j] = (float)sin((double)angle) * scale;
		}
	}
}

uint64_t llm_rope_bytes(const struct llm_model_config *cfg, uint32_t positions)
{
	return 2 * llm_align((uint64_t)positions * (cfg->rope.dim / 2) * 4, LLM_ALIGN);
}

/* Through the copier, as many positions at a time as fit a buffer of moderate size. */
static int upload(struct zw_model *m, struct llm_rope *r, struct zw_error *err)
{
	const struct llm_model_config *c = &m->cfg;
	uint32_t half = c->rope.dim / 2, step = 65536 / half;
	uint64_t row = 4ull * half;
	float *cos_part = malloc(2 * step * row), *sin_part;
	struct zw_copier *cp;
	int ret;

	if (!cos_part)
		return llm_fail(err, -ENOMEM, "out of memory");
	sin_part = cos_part + (size_t)step * half;
	ret = zw_copier_create(m->vm, NULL, &cp);
	if (ret) {
		free(cos_part);
		return llm_fail(err, ret, "creating a copier: %s", strerror(-ret));
	}
	for (uint32_t first = 0; first < r->positions && !ret; first += step) {
		uint32_t n = r->positions - first < step ? r->positions - first : step;

		llm_rope_tables(cos_part, sin_part, first, n, c->rope.dim, &c->rope);
		ret = zw_copier_write(cp, r->cos_table.va + first * row, cos_part, n * row, NULL);
		if (!ret)
			ret = zw_copier_write(cp, r->sin_table.va + first * row, sin_part, n * row,
					      NULL);
	}
	if (!ret)
		ret = zw_copier_flush(cp, ZW_FOREVER);
	zw_copier_destroy(cp);
	free(cos_part);
	return ret ? llm_fail(err, ret, "copying RoPE tables: %s", strerror(-ret)) : 0;
}

static void rope_free(struct llm_rope *r)
{
	zw_buffer_destroy(&r->buf);
	free(r);
}

static int rope_new(struct zw_model *m, uint32_t positions, struct llm_rope **out,
		    struct zw_error *err)
{
	struct llm_rope *r = calloc(1, sizeof(*r));
	uint64_t bytes = llm_rope_bytes(&m->cfg, positions);
	uint32_t half = m->cfg.rope.dim / 2;
	int ret;

	if (!r)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = zw_buffer_create(m->vm, bytes, ZW_BO_HBM, &r->buf);
	if (ret) {
		free(r);
		return llm_fail(err, ret, "allocating RoPE tables: %s", strerror(-ret));
	}
	zw_bo_set_label(r->buf.bo, "RoPE tables");
	r->positions = positions;
	r->cos_table = zw_tensor_2d(ZW_DTYPE_F32, r->buf.va, positions, half);
	r->sin_table = zw_tensor_2d(ZW_DTYPE_F32, r->buf.va + bytes / 2, positions, half);
	ret = m->timing_only ? 0 : upload(m, r, err);
	if (ret) {
		rope_free(r);
		return ret;
	}
	*out = r;
	return 0;
}

int llm_rope_get(struct zw_model *m, uint32_t positions, struct llm_rope **out,
		 struct zw_error *err)
{
	struct llm_rope *r;
	int ret = 0;

	pthread_mutex_lock(&m->lock);
	r = m->rope;
	if (!r || r->positions < positions) {
		ret = rope_new(m, positions, &r, err);
		if (!ret)
			m->rope = r;
	}
	if (!ret) {
		r->refs++;
		*out = r;
	}
	pthread_mutex_unlock(&m->lock);
	return ret;
}

void llm_rope_put(struct zw_model *m, struct llm_rope *rope)
{
	if (!rope)
		return;
	pthread_mutex_lock(&m->lock);
	if (!--rope->refs) {
		if (m->rope == rope)
			m->rope = NULL;
		rope_free(rope);
	}
	pthread_mutex_unlock(&m->lock);
}
