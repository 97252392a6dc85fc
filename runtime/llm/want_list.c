// SPDX-License-Identifier: MIT
/* The list of tensors that a model needs. */
#include "family.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int zw_want_add(struct zw_want_list *l, bool optional, uint32_t ndim, uint64_t d0, uint64_t d1,
		const char *fmt, ...)
{
	struct zw_st_want *w;
	va_list ap;
	char *name;
	int n;

	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;

		w = realloc(l->want, cap * sizeof(*w));
		if (!w)
			return -ENOMEM;
		l->want = w;
		l->cap = cap;
	}
	va_start(ap, fmt);
	n = vasprintf(&name, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	w = &l->want[l->n++];
	*w = (struct zw_st_want){.name = name, .ndim = ndim, .optional = optional};
	w->shape[0] = d0;
	w->shape[1] = d1;
	return 0;
}

void zw_want_free(struct zw_want_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free((char *)l->want[i].name);
	free(l->want);
	*l = (struct zw_want_list){0};
}
