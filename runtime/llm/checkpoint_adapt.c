// SPDX-License-Identifier: MIT
#include "checkpoint_adapt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "safetensors.h"

#define PIECE (1u << 20)

/* Byte for byte; the sizes are equal. */
static int compare(const struct zw_safetensors *st, size_t a, size_t b, uint64_t bytes, bool *same,
		   struct zw_error *err)
{
	char *buf = malloc(2 * PIECE);
	int ret = 0;

	if (!buf)
		return zw_fail(err, -ENOMEM, "out of memory");
	*same = true;
	for (uint64_t at = 0; at < bytes && *same && !ret; at += PIECE) {
		uint64_t n = bytes - at < PIECE ? bytes - at : PIECE;

		ret = zw_safetensors_read(st, a, at, buf, n, err);
		if (!ret)
			ret = zw_safetensors_read(st, b, at, buf + PIECE, n, err);
		if (!ret)
			*same = !memcmp(buf, buf + PIECE, n);
	}
	free(buf);
	return ret;
}

/* A head in the file counts, whatever the configuration says, unless it is a copy. */
static int untie(const struct zw_safetensors *st, struct zw_model_config *cfg, struct zw_error *err)
{
	struct zw_st_info a = {.size = sizeof(a)}, b = a;
	long embed = zw_safetensors_find(st, "model.embed_tokens.weight");
	long head = zw_safetensors_find(st, "lm_head.weight");
	bool same = false;
	int ret = 0;

	if (!cfg->tie_word_embeddings || embed < 0 || head < 0)
		return 0;
	zw_safetensors_get(st, (size_t)embed, &a);
	zw_safetensors_get(st, (size_t)head, &b);
	if (a.dtype == b.dtype && a.nbytes == b.nbytes)
		ret = compare(st, (size_t)embed, (size_t)head, a.nbytes, &same, err);
	if (!ret)
		cfg->tie_word_embeddings = same;
	return ret;
}

int llm_checkpoint_adapt(struct zw_safetensors *st, struct zw_model_config *cfg,
			 struct zw_error *err)
{
	int ret = st_add_prefix(st, "model.", err);

	return ret ? ret : untie(st, cfg, err);
}
