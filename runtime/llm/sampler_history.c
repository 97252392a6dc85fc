// SPDX-License-Identifier: MIT
/* What a sampler was told about the tokens before the one to choose. */
#include "sampler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room for n tokens more, all with ids up to `top`. */
static int reserve(struct zw_sampler *s, size_t n, uint32_t top)
{
	size_t had = s->num_seen_at;

	if (llm_grow(&s->history, &s->cap_history, s->num_history + n, sizeof(*s->history)) ||
	    llm_grow(&s->seen, &s->cap_seen, s->num_seen + n, sizeof(*s->seen)) ||
	    llm_grow(&s->seen_at, &s->num_seen_at, top + 1ul, sizeof(*s->seen_at)))
		return -ENOMEM;
	memset(s->seen_at + had, 0, (s->num_seen_at - had) * sizeof(*s->seen_at));
	return 0;
}

static struct sampler_seen *append(struct zw_sampler *s, uint32_t id)
{
	uint32_t *at = &s->seen_at[id];

	s->history[s->num_history++] = id;
	if (!*at) {
		s->seen[s->num_seen++] = (struct sampler_seen){.id = id};
		*at = (uint32_t)s->num_seen;
	}
	return &s->seen[*at - 1];
}

int zw_sampler_prompt(struct zw_sampler *s, const uint32_t *ids, size_t n)
{
	uint32_t top = 0;
	int ret;

	if (!s || (n && !ids))
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (ids[i] > SAMPLER_ID_MAX)
			return -EINVAL;
		if (ids[i] > top)
			top = ids[i];
	}
	ret = reserve(s, n, top);
	if (ret)
		return ret;
	for (size_t i = 0; i < n; i++)
		append(s, ids[i]);
	for (size_t i = 0; i < s->num_seen; i++)
		s->seen[i].generated = 0;
	s->prompt_end = s->num_history;
	return 0;
}

int zw_sampler_accept(struct zw_sampler *s, uint32_t id)
{
	int ret;

	if (!s || id > SAMPLER_ID_MAX)
		return -EINVAL;
	ret = reserve(s, 1, id);
	if (!ret)
		append(s, id)->generated++;
	return ret;
}

void zw_sampler_reset(struct zw_sampler *s)
{
	for (size_t i = 0; i < s->num_seen; i++)
		s->seen_at[s->seen[i].id] = 0;
	s->num_seen = s->num_history = s->prompt_end = 0;
}
