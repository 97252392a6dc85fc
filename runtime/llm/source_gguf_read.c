// SPDX-License-Identifier: MIT
/*
 * What converters have changed, changed back while it is read: the logarithm of a decay, and the order of
 * value heads.
 *
 * Value heads belong to key heads, R of them to each. Hugging Face has the R of a key head beside each other,
 * head h R + r; files of some architectures have the first ones of all key heads first: r K + h, K key heads.
 */
#include "source_gguf.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/zhenwu.h>

#include "dequant.h"
#include "plan.h"

static const struct gguf_tensor *tensor_of(const struct gguf_source *gs, const struct gguf_view *v)
{
	return &gs->g->tensors[v->tensor];
}

static bool is_tiled(const struct gguf_source *gs, const struct gguf_view *v)
{
	return v->flags & GGUF_N_TILED_ANY && gs->value_heads != gs->key_heads;
}

static uint64_t row_elements(const struct gguf_tensor *t)
{
	return t->ndim > 1 ? t->shape[t->ndim - 1] : 1;
}

/* Elements that change places as one: a head's rows, its columns of a row, its one row or value. */
static uint64_t unit_elements(const struct gguf_source *gs, const struct gguf_view *v)
{
	uint64_t row = row_elements(tensor_of(gs, v));

	if (v->flags & GGUF_N_TILED_ONE)
		return row;
	return v->flags & GGUF_N_TILED_COLUMNS ? gs->value_dim : gs->value_dim * row;
}

bool gguf_is_wide(const struct gguf_source *gs, const struct gguf_view *v)
{
	return is_tiled(gs, v) && unit_elements(gs, v) % tensor_of(gs, v)->dtype->elements;
}

static uint64_t bytes_of(const struct gguf_source *gs, const struct gguf_view *v, uint64_t elements)
{
	const struct gguf_dtype *d = tensor_of(gs, v)->dtype;

	return v->wide ? elements * sizeof(float) : elements / d->elements * d->bytes;
}

/* Bytes in front of the first of them: queries and keys, which are in the same order everywhere. */
static uint64_t first_byte(const struct gguf_source *gs, const struct gguf_view *v)
{
	uint64_t rows = v->flags & GGUF_N_TILED_VALUES ? 2ull * gs->key_heads * gs->key_dim : 0;

	return bytes_of(gs, v, rows * row_elements(tensor_of(gs, v)));
}

/* Bytes [off, off + len) of a tensor of records as F32. */
static int read_wide(const struct gguf_source *gs, const struct gguf_view *v, uint64_t off,
		     void *dst, uint64_t len, struct zw_error *err)
{
	const struct gguf_tensor *t = tensor_of(gs, v);
	uint64_t per = t->dtype->elements, first = off / sizeof(float), n = len / sizeof(float);
	uint64_t from = first / per, records = (first + n + per - 1) / per - from;
	char *raw = malloc(records * t->dtype->bytes);
	float *x = malloc(records * per * sizeof(*x));
	int ret;

	if (!raw || !x)
		ret = llm_fail(err, -ENOMEM, "out of memory");
	else
		ret = zw_gguf_read(gs->g, v->tensor, v->off + from * t->dtype->bytes, raw,
				   records * t->dtype->bytes, err);
	if (!ret) {
		llm_dequant(t->dtype->dtype, raw, x, records * per);
		memcpy(dst, x + (first - from * per), len);
	}
	free(raw);
	free(x);
	return ret;
}

/* As the file has it. */
static int read_plain(const struct gguf_source *gs, const struct gguf_view *v, uint64_t off,
		      void *dst, uint64_t len, struct zw_error *err)
{
	return v->wide ? read_wide(gs, v, off, dst, len, err)
		       : zw_gguf_read(gs->g, v->tensor, v->off + off, dst, len, err);
}

/* In the order that Hugging Face has. */
static int read_ordered(const struct gguf_source *gs, const struct gguf_view *v, uint64_t off,
			void *dst, uint64_t len, struct zw_error *err)
{
	uint64_t unit = bytes_of(gs, v, unit_elements(gs, v)), first = first_byte(gs, v), n;
	uint64_t ratio = gs->value_heads / gs->key_heads;
	char *out = dst;
	int ret = 0;

	for (; len && !ret; off += n, out += n, len -= n) {
		uint64_t head, in, from;

		if (off < first) {
			n = first - off < len ? first - off : len;
			ret = read_plain(gs, v, off, out, n, err);
			continue;
		}
		head = (off - first) / unit;
		in = (off - first) % unit;
		n = unit - in < len ? unit - in : len;
		/* Rows whose columns are in the order of heads have them over and over. */
		from = head / gs->value_heads * gs->value_heads;
		head %= gs->value_heads;
		from += head % ratio * gs->key_heads + head / ratio;
		ret = read_plain(gs, v, first + from * unit + in, out, n, err);
	}
	return ret;
}

/*
 * -exp(A) back to A: the nearest BF16 when that is as good, since checkpoints are mostly stored in it and
 * then have their own bits back.
 */
static float log_of(float x)
{
	float a = (float)log(-(double)x), near;
	uint32_t u;

	memcpy(&u, &a, 4);
	u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
	memcpy(&near, &u, 4);
	return fabs(exp((double)near) + (double)x) <= -(double)x * 0x1p-21 ? near : a;
}

static int read_log(const struct gguf_source *gs, const struct gguf_view *v, uint64_t off,
		    void *dst, uint64_t len, struct zw_error *err)
{
	const struct gguf_tensor *t = tensor_of(gs, v);
	float *x = malloc(len ? len : 1);
	int ret = 0;

	if (!x)
		return llm_fail(err, -ENOMEM, "out of memory");
	if (t->dtype->dtype != ZW_DTYPE_F32 || len % sizeof(*x))
		ret = llm_fail(err, -EOPNOTSUPP, "%s: tensor %s: type %s is not supported here",
			       gs->g->path, t->name, t->dtype->name);
	if (!ret)
		ret = is_tiled(gs, v) ? read_ordered(gs, v, off, x, len, err)
				      : read_plain(gs, v, off, x, len, err);
	for (uint64_t i = 0; i < len / sizeof(*x) && !ret; i++) {
		if (!(x[i] < 0))
			ret = llm_fail(err, -EBADMSG, "%s: tensor %s: %g is not below 0",
				       gs->g->path, t->name, (double)x[i]);
		x[i] = log_of(x[i]);
	}
	if (!ret)
		memcpy(dst, x, len);
	free(x);
	return ret;
}

int gguf_source_read(const struct llm_source *s, size_t i, uint64_t off, void *dst, uint64_t len,
		     struct zw_error *err)
{
	const struct gguf_source *gs = gguf_of(s);
	const struct gguf_view *v = &gs->views[i];

	if (v->flags & GGUF_N_MINUS_EXP)
		return read_log(gs, v, off, dst, len, err);
	return is_tiled(gs, v) ? read_ordered(gs, v, off, dst, len, err)
			       : read_plain(gs, v, off, dst, len, err);
}

bool gguf_source_file(const struct llm_source *s, size_t i, uint64_t off, uint64_t len,
		      struct llm_source_file *file)
{
	const struct gguf_source *gs = gguf_of(s);
	const struct gguf_view *v = &gs->views[i];
	const struct gguf_tensor *t = tensor_of(gs, v);
	const struct gguf_file *f = &gs->g->files[t->file];

	if (v->flags & GGUF_N_MINUS_EXP || v->wide || is_tiled(gs, v) || v->off > t->nbytes ||
	    off > t->nbytes - v->off || len > t->nbytes - v->off - off)
		return false;
	*file = (struct llm_source_file){f->fd, f->path, f->data + t->off + v->off + off};
	return true;
}
