// SPDX-License-Identifier: MIT
/* The loop: prompt, choose, feed back. */
#include "model.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void stats_diff(struct zw_session_stats *d, const struct zw_session_stats *a,
		       const struct zw_session_stats *b)
{
	*d = *b;
	d->jobs -= a->jobs;
	d->tokens -= a->tokens;
	d->wall_ns -= a->wall_ns;
	d->sim_ps -= a->sim_ps;
	d->packets -= a->packets;
	d->hbm_read -= a->hbm_read;
	d->hbm_written -= a->hbm_written;
	d->sys_read -= a->sys_read;
	d->sys_written -= a->sys_written;
	for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
		d->busy_ps[e] -= a->busy_ps[e];
}

/* Nothing of the prompt may be computed when some of it cannot be. */
static bool can_eval(const struct zw_session *s, const uint32_t *ids, size_t n, uint32_t vocab)
{
	if (!n || !ids || n > zw_session_context(s) - zw_session_length(s))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (ids[i] >= vocab)
			return false;
	}
	return true;
}

/* The prompt chunk by chunk, so that there is progress to tell. 1 when the callback ended it. */
static int eval_prompt(struct zw_session *s, const struct zw_generate_params *p, uint32_t vocab,
		       const uint32_t *ids, size_t n, const float **logits, struct zw_error *err)
{
	size_t step = p->progress && can_eval(s, ids, n, vocab) ? zw_session_chunk(s) : n;
	float *all = p->prompt_logits;
	size_t at = 0;

	do {
		size_t part = n - at < step ? n - at : step;
		bool last = at + part == n;
		int ret;

		if (p->progress && p->progress(p->opaque, at, n))
			return 1;
		ret = zw_session_eval(s, ids + at, part, all ? all + at * vocab : NULL,
				      last && p->max_tokens ? logits : NULL, err);
		if (ret)
			return ret;
		at += part;
	} while (at < n);
	return p->progress && p->progress(p->opaque, n, n);
}

int zw_generate(struct zw_session *s, const struct zw_generate_params *params,
		const uint32_t *prompt, size_t n, struct zw_generate_result *result,
		struct zw_error *err)
{
	struct zw_session_stats s0 = {.size = sizeof(s0)}, s1 = s0, s2 = s0;
	struct zw_model_config cfg = {.size = sizeof(cfg)};
	struct zw_generate_params p;
	struct zw_generate_result r = {.size = sizeof(r), .prompt_tokens = n};
	const float *logits = NULL;
	uint64_t start;
	bool ended;
	uint32_t id;
	int ret;

	if (!s || !params || !result || params->size < 16 || result->size < 8)
		return zw_fail(err, -EINVAL, "zw_generate: bad argument");
	zw_copy_sized(&p, sizeof(p), params, params->size);
	zw_session_get_config(s, &cfg);
	if (!p.sampler || p.vocab > cfg.vocab_size || p.reserved ||
	    (p.flags & ~ZW_GENERATE_IGNORE_STOP))
		return zw_fail(err, -EINVAL, "zw_generate: bad argument");
	if (!p.vocab)
		p.vocab = cfg.vocab_size;
	zw_session_get_stats(s, &s0);
	ret = eval_prompt(s, &p, cfg.vocab_size, prompt, n, &logits, err);
	if (ret < 0)
		return ret;
	ended = ret > 0;
	ret = zw_sampler_prompt(p.sampler, prompt, n);
	if (ret)
		return zw_fail(err, ret, "the prompt's tokens: %s", strerror(-ret));
	zw_session_get_stats(s, &s1);
	start = now_ns();
	for (;;) {
		if (ended) {
			r.finish = ZW_FINISH_CALLBACK;
			break;
		}
		if (r.generated_tokens == p.max_tokens) {
			r.finish = ZW_FINISH_LENGTH;
			break;
		}
		ret = zw_sampler_pick(p.sampler, logits, p.vocab, &id, err);
		if (ret)
			return ret;
		if (!(p.flags & ZW_GENERATE_IGNORE_STOP) && zw_model_config_is_stop(&cfg, id)) {
			r.finish = ZW_FINISH_STOP;
			break;
		}
		r.generated_tokens++;
		ended = p.token && p.token(p.opaque, id);
		if (ended)
			continue;
		if (r.generated_tokens == p.max_tokens)
			continue; /* nobody needs the next logits */
		if (zw_session_length(s) == zw_session_context(s)) {
			r.finish = ZW_FINISH_CONTEXT;
			break;
		}
		ret = zw_sampler_accept(p.sampler, id);
		if (ret)
			return zw_fail(err, ret, "token %u: %s", id, strerror(-ret));
		ret = zw_session_eval(s, &id, 1, NULL, &logits, err);
		if (ret)
			return ret;
	}
	zw_session_get_stats(s, &s2);
	r.decode_ns = now_ns() - start;
	stats_diff(&r.prefill, &s0, &s1);
	stats_diff(&r.decode, &s1, &s2);
	r.prefill.size = r.decode.size = sizeof(s0);
	id = result->size;
	zw_copy_sized(result, id, &r, sizeof(r));
	result->size = id;
	return 0;
}
