// SPDX-License-Identifier: MIT
/* What all kinds of sources share. */
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (256u << 10)

int llm_source_new(const char *path, struct llm_source **out, struct zw_error *err)
{
	return llm_is_file(path) ? llm_source_new_gguf(path, out, err)
				 : llm_source_new_hf(path, out, err);
}

void llm_source_close(struct llm_source *s)
{
	if (s)
		s->ops->close(s);
}

int llm_source_equal(const struct llm_source *s, size_t a, size_t b, struct zw_error *err)
{
	struct llm_source_tensor x, y;
	char *buf;
	int ret = 1;

	s->ops->get(s, a, &x);
	s->ops->get(s, b, &y);
	if (x.bytes != y.bytes || x.dtype != y.dtype || x.ndim != y.ndim ||
	    memcmp(x.dim, y.dim, x.ndim * sizeof(x.dim[0])))
		return 0;
	buf = malloc(2 * PIECE);
	if (!buf)
		return llm_fail(err, -ENOMEM, "out of memory");
	for (uint64_t at = 0; at < x.bytes && ret == 1;) {
		uint64_t len = x.bytes - at < PIECE ? x.bytes - at : PIECE;
		int bad = s->ops->read(s, a, at, buf, len, err);

		if (!bad)
			bad = s->ops->read(s, b, at, buf + PIECE, len, err);
		ret = bad ? bad : !memcmp(buf, buf + PIECE, len);
		at += len;
	}
	free(buf);
	return ret;
}
