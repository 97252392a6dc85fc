// SPDX-License-Identifier: MIT
/* The loop: prompt, choose, feed back. */
#include "model.h"

#include <errno.h>
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
	uint32_t id;
	int ret;

	if (!s || !params || !result || params->size < 16 || result->size < 8)
		return zw_fail(err, -EINVAL, "zw_generate: bad argument");
	zw_copy_sized(&p, sizeof(p), params, params->size);
	zw_session_get_config(s, &cfg);
	if (!p.sampler || p.vocab > cfg.vocab_size)
		return zw_fail(err, -EINVAL, "zw_generate: bad argument");
	if (!p.vocab)
		p.vocab = cfg.vocab_size;
	zw_session_get_stats(s, &s0);
	ret = zw_session_eval(s, prompt, n, p.prompt_logits, p.max_tokens ? &logits : NULL, err);
	if (ret)
		return ret;
	zw_session_get_stats(s, &s1);
	start = now_ns();
	for (;;) {
		if (r.generated_tokens == p.max_tokens) {
			r.finish = ZW_FINISH_LENGTH;
			break;
		}
		ret = zw_sampler_pick(p.sampler, logits, p.vocab, &id, err);
		if (ret)
			return ret;
		if (zw_model_config_is_stop(&cfg, id)) {
			r.finish = ZW_FINISH_STOP;
			break;
		}
		r.generated_tokens++;
		if (p.token && p.token(p.opaque, id)) {
			r.finish = ZW_FINISH_CALLBACK;
			break;
		}
		if (r.generated_tokens == p.max_tokens)
			continue; /* nobody needs the next logits */
		if (zw_session_length(s) == zw_session_context(s)) {
			r.finish = ZW_FINISH_CONTEXT;
			break;
		}
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
