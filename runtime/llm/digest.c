// SPDX-License-Identifier: MIT
#include "digest.h"

#include <stdio.h>
#include <string.h>

#include "siphash.h"

#define SAMPLE 256 /* bytes of a tensor */

/* The state is the key: two hashes of each piece, under keys that the pieces before it made. */
static void mix(uint64_t state[2], const void *data, size_t len)
{
	const uint64_t other[2] = {state[1], ~state[0]};
	uint64_t a = siphash(state, data, len), b = siphash(other, data, len);

	state[0] = a;
	state[1] = b;
}

static int mix_tensor(uint64_t state[2], const struct llm_source *src, size_t i,
		      struct zw_error *err)
{
	struct llm_source_tensor t;
	char sample[SAMPLE];
	uint64_t n;
	int ret;

	src->ops->get(src, i, &t);
	n = t.bytes < SAMPLE ? t.bytes : SAMPLE;
	ret = src->ops->read(src, i, 0, sample, n, err);
	if (ret)
		return ret;
	mix(state, t.name, strlen(t.name));
	mix(state, t.dtype_name, strlen(t.dtype_name));
	mix(state, t.dim, t.ndim * sizeof(t.dim[0]));
	mix(state, sample, n);
	return 0;
}

int llm_model_digest(const struct llm_source *src, const struct llm_model_config *cfg,
		     uint64_t out[2], struct zw_error *err)
{
	const struct llm_rope_config *r = &cfg->rope;
	char text[512];
	int ret = 0;

	out[0] = 1;
	out[1] = 2;
	snprintf(text, sizeof(text), "%s %u %u %u %u %u %u %u %u %u %u %u %u %a %a %a %a %a %a",
		 cfg->model_type, cfg->hidden_size, cfg->num_layers, cfg->num_heads,
		 cfg->num_kv_heads, cfg->head_dim, cfg->vocab_size, cfg->num_experts,
		 cfg->experts_per_token, cfg->norm_topk_prob, cfg->key_heads, cfg->value_heads,
		 r->dim, (double)cfg->rms_norm_eps, r->theta, r->factor, r->ramp_low, r->ramp_high,
		 r->attention_factor);
	mix(out, text, strlen(text));
	mix(out, cfg->linear_layers, sizeof(cfg->linear_layers));
	for (size_t i = 0; i < src->ops->count(src) && !ret; i++)
		ret = mix_tensor(out, src, i, err);
	return ret;
}

void llm_digest_part(uint64_t digest[2], uint32_t first, uint32_t num)
{
	const uint32_t layers[2] = {first, num};

	mix(digest, layers, sizeof(layers));
}
