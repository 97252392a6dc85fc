// SPDX-License-Identifier: MIT
#include "file_perplexity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zhenwu/zhenwu.h>

#include "read_text.h"
#include "small_files.h"

#define LOGITS_MAX_BYTES (64ull << 20) /* of one step, on the host */
#define DEFAULT_WINDOW   512u

struct work {
	const struct file_perplexity *f;
	uint32_t *ids;
	size_t n;
	struct zw_dev *dev;
	struct zw_model *model;
	struct zw_ctx *ctx;
	struct timespec last;
};

static int fail(const struct work *w, int code, const char *msg)
{
	if (code != -ECANCELED)
		fprintf(stderr, "%s: %s\n", w->f->tool, msg);
	return code;
}

static bool interrupted(const struct work *w)
{
	return w->f->interrupted && w->f->interrupted();
}

static bool progress_due(struct work *w, bool last)
{
	struct timespec now;
	double since;

	if (w->f->quiet || !isatty(STDERR_FILENO))
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	since = (double)(now.tv_sec - w->last.tv_sec) +
		(double)(now.tv_nsec - w->last.tv_nsec) * 1e-9;
	if (!last && since < 0.1)
		return false;
	w->last = now;
	return true;
}

static int load_progress(void *opaque, uint64_t done, uint64_t total)
{
	struct work *w = opaque;

	if (progress_due(w, done == total))
		fprintf(stderr, "\rloading weights: %5.1f of %.1f MiB%s", (double)done / 1048576,
			(double)total / 1048576, done == total ? "\n" : "");
	return interrupted(w);
}

static int window_progress(void *opaque, const struct zw_perplexity_result *r, uint64_t windows)
{
	struct work *w = opaque;

	if (progress_due(w, r->windows == windows))
		fprintf(stderr, "\rwindow %u of %llu: perplexity %.4f%s", r->windows,
			(unsigned long long)windows, r->perplexity,
			r->windows == windows ? "\n" : "");
	return interrupted(w);
}

static int read_ids(struct work *w)
{
	const struct file_perplexity *f = w->f;
	struct zw_tokenizer *tok;
	struct zw_error err;
	char *text;
	size_t len;
	int ret;

	if (f->ids) {
		ret = ids_read_json(f->file, &w->ids, &w->n, &err);
		return ret ? fail(w, ret, err.msg) : 0;
	}
	ret = read_text(f->file, READ_TEXT_MAX, &text, &len);
	if (ret) {
		fprintf(stderr, "%s: %s: %s\n", f->tool, f->file, strerror(-ret));
		return ret;
	}
	ret = zw_tokenizer_open(f->model, &tok, &err);
	if (!ret) {
		ret = zw_tokenizer_encode(tok, text, len, 0, &w->ids, &w->n, &err);
		zw_tokenizer_close(tok);
	}
	free(text);
	return ret ? fail(w, ret, err.msg) : 0;
}

static int open_all(struct work *w)
{
	const struct file_perplexity *f = w->f;
	struct zw_dev_options dopt = {.size = sizeof(dopt), .profile = f->profile};
	struct zw_model_options mopt = {
		.size = sizeof(mopt), .progress = load_progress, .opaque = w};
	struct zw_ctx_options copt = {.size = sizeof(copt),
				      .context = f->window,
				      .batch = f->batch,
				      .kv_dtype = f->kv_dtype,
				      .delta_chunked = f->delta_chunked};
	struct zw_model_info info = {.size = sizeof(info)};
	struct zw_error err;
	uint64_t rows;
	int ret = zw_dev_open(f->device, &dopt, &w->dev, &err);

	if (!ret)
		ret = zw_model_open(w->dev, f->model, &mopt, &w->model, &err);
	if (ret)
		return fail(w, ret, err.msg);
	zw_model_get_info(w->model, &info);
	if (!copt.context)
		copt.context =
			info.max_context < DEFAULT_WINDOW ? info.max_context : DEFAULT_WINDOW;
	if (!copt.batch)
		copt.batch = ZW_CTX_DEFAULT_BATCH;
	if (copt.batch > copt.context)
		copt.batch = copt.context;
	rows = LOGITS_MAX_BYTES / (4ull * info.vocab_size);
	copt.outputs = rows < 1 ? 1 : rows < copt.batch ? (uint32_t)rows : copt.batch;
	tool_set_sparse(&f->sparse, &copt);
	/* Pieces of a text then end where groups do, and not where there are too many logits. */
	if (copt.sparse)
		copt.outputs = copt.batch;
	ret = zw_ctx_create(w->model, &copt, &w->ctx, &err);
	return ret ? fail(w, ret, err.msg) : 0;
}

int file_perplexity(const struct file_perplexity *f, struct zw_perplexity_result *result)
{
	struct work w = {.f = f};
	struct zw_perplexity_options opt = {
		.size = sizeof(opt),
		.window = f->window,
		.stride = f->stride,
		.max_windows = f->max_windows,
		.progress = window_progress,
		.opaque = &w,
	};
	struct zw_error err;
	int ret = read_ids(&w);

	if (!ret)
		ret = open_all(&w);
	if (!ret) {
		ret = zw_perplexity(w.ctx, w.ids, w.n, &opt, result, &err);
		if (ret)
			fail(&w, ret, err.msg);
	}
	zw_ctx_destroy(w.ctx);
	zw_model_close(w.model);
	if (w.dev)
		zw_dev_close(w.dev);
	free(w.ids);
	return ret;
}
