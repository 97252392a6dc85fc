/* SPDX-License-Identifier: MIT */
/* A struct zw_token_list that grows; its memory is malloc()ed. */
#ifndef ZW_LLM_TOKEN_LIST_H
#define ZW_LLM_TOKEN_LIST_H

#include <errno.h>
#include <stdlib.h>

#include <zhenwu/llm_sampler.h>

static inline int token_list_append(struct zw_token_list *list, uint32_t id)
{
	uint32_t *ids = realloc((uint32_t *)list->ids, (list->n + 1) * sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	ids[list->n++] = id;
	list->ids = ids;
	return 0;
}

static inline void token_list_free(struct zw_token_list *list)
{
	free((uint32_t *)list->ids);
	*list = (struct zw_token_list){0};
}

#endif
