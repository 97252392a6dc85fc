// SPDX-License-Identifier: MIT
#include "run_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int failed(struct zw_error *err, const char *path, int ret)
{
	snprintf(err->msg, sizeof(err->msg), "%s: %s", path, strerror(-ret));
	return ret;
}

int run_session_load(struct zw_ctx *ctx, uint32_t seq, struct zw_sampler *sampler, const char *path,
		     struct zw_snapshot **snap, struct zw_error *err)
{
	struct zw_snapshot_info info = {.size = sizeof(info)};
	int ret = zw_snapshot_load(ctx, path, snap, err);

	if (ret)
		return ret;
	ret = zw_seq_restore(ctx, seq, *snap);
	if (!ret)
		ret = zw_snapshot_get_info(*snap, &info);
	if (!ret)
		ret = zw_sampler_prompt(sampler, info.ids, info.tokens);
	if (!ret)
		return 0;
	zw_snapshot_destroy(*snap);
	return failed(err, path, ret);
}

int run_session_save(struct zw_ctx *ctx, uint32_t seq, const uint32_t *ids, size_t num_ids,
		     size_t n, const char *note, size_t note_len, const char *path,
		     struct zw_error *err)
{
	int64_t length = zw_seq_length(ctx, seq);
	struct zw_snapshot *snap;
	size_t lacks = length >= 0 && (uint64_t)length < n ? n - (size_t)length : 0;
	int ret = 0;

	if (lacks && lacks <= num_ids) {
		ret = zw_ctx_eval(ctx, seq, ids + num_ids - lacks, lacks, NULL, NULL, err);
		if (ret && ret != -ENOSPC)
			return ret;
	}
	ret = zw_seq_snapshot(ctx, seq, &snap);
	if (ret)
		return failed(err, path, ret);
	ret = zw_snapshot_set_note(snap, note, note_len);
	ret = ret ? failed(err, path, ret) : zw_snapshot_save(snap, path, err);
	zw_snapshot_destroy(snap);
	return ret;
}
