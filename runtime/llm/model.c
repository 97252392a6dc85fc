// SPDX-License-Identifier: MIT
/* A checkpoint into device memory: plan, allocate, stream. */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoint_adapt.h"
#include "family.h"

int zw_check_hbm(struct zw_dev *dev, uint64_t bytes, const char *what, struct zw_error *err)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	int ret = zw_dev_get_attrs(dev, &attrs);

	if (ret)
		return zw_fail(err, ret, "device: %s", strerror(-ret));
	if (bytes > attrs.hbm_free)
		return zw_fail(err, -ENOSPC,
			       "%s needs %.1f MiB of device memory, %.1f of %.1f MiB are free",
			       what, (double)bytes / 1048576, (double)attrs.hbm_free / 1048576,
			       (double)attrs.hbm_size / 1048576);
	return 0;
}

/* ---- plan ---- */

static int grow(void **p, size_t *cap, size_t need, size_t elem)
{
	size_t want = *cap ? *cap * 2 : 64;
	void *q;

	if (need <= *cap)
		return 0;
	q = realloc(*p, want * elem);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

static uint32_t device_dtype(uint32_t st_dtype)
{
	switch (st_dtype) {
	case ZW_ST_BF16:
		return ZW_DTYPE_BF16;
	case ZW_ST_F32:
		return ZW_DTYPE_F32;
	default:
		return ZW_DTYPE_NONE;
	}
}

int zw_plan_add(struct zw_plan *p, struct zw_tensor *dst, const char *const *names, size_t n,
		struct zw_error *err)
{
	uint64_t rows = 0, off = zw_align(p->bytes, ZW_LLM_ALIGN), at = off, cols = 1;
	uint32_t dtype = ZW_DTYPE_NONE, ndim = 0;

	for (size_t i = 0; i < n; i++) {
		struct zw_st_info info = {.size = sizeof(info)};
		long t = zw_safetensors_find(p->st, names[i]);
		uint32_t type;

		if (t < 0)
			return zw_fail(err, -EBADMSG, "tensor %s is missing", names[i]);
		zw_safetensors_get(p->st, (size_t)t, &info);
		type = device_dtype(info.dtype);
		if (type == ZW_DTYPE_NONE)
			return zw_fail(err, -EOPNOTSUPP,
				       "%s: tensor %s: dtype %s is not supported by the device yet",
				       info.file, names[i], info.dtype_name);
		if (i && type != dtype)
			return zw_fail(
				err, -EOPNOTSUPP,
				"%s: tensor %s: dtype %s differs from that of %s: not supported",
				info.file, names[i], info.dtype_name, names[0]);
		/* Shapes were checked against the configuration, which bounds them. */
		dtype = type;
		ndim = info.ndim;
		rows += info.shape[0];
		cols = info.ndim == 2 ? info.shape[1] : 1;
		if (grow((void **)&p->copies, &p->cap_copies, p->num_copies + 1,
			 sizeof(*p->copies)))
			return zw_fail(err, -ENOMEM, "out of memory");
		p->copies[p->num_copies++] = (struct zw_plan_copy){(size_t)t, at, info.nbytes};
		at += info.nbytes;
	}
	if (grow((void **)&p->dst, &p->cap_dst, p->num_dst + 1, sizeof(*p->dst)))
		return zw_fail(err, -ENOMEM, "out of memory");
	p->dst[p->num_dst++] = dst;
	p->bytes = at;
	p->parameters += rows * cols;
	*dst = ndim == 2 ? zw_tensor_2d(dtype, off, (uint32_t)rows, (uint32_t)cols)
			 : zw_tensor_1d(dtype, off, (uint32_t)rows);
	return 0;
}

void zw_plan_fini(struct zw_plan *p)
{
	free(p->copies);
	free(p->dst);
	memset(p, 0, sizeof(*p));
}

/* ---- loading ---- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static int report(const struct zw_model_options *opt, uint64_t done, uint64_t total,
		  struct zw_error *err)
{
	if (opt->progress && opt->progress(opt->opaque, done, total))
		return zw_fail(err, -ECANCELED, "loading was cancelled");
	return 0;
}

static int stream(struct zw_model *m, const struct zw_plan *p, const struct zw_model_options *opt,
		  struct zw_error *err)
{
	struct zw_upload up;
	uint64_t done = 0, total = 0;
	int ret;

	for (size_t i = 0; i < p->num_copies; i++)
		total += p->copies[i].bytes;
	ret = report(opt, 0, total, err);
	if (ret)
		return ret;
	ret = zw_upload_open(&up, m->dev, m->vm, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < p->num_copies && !ret; i++) {
		const struct zw_plan_copy *c = &p->copies[i];
		uint64_t at = 0;

		while (at < c->bytes && !ret) {
			uint64_t len = c->bytes - at;
			void *ptr;

			ret = zw_upload_reserve(&up, m->buf.va + c->off + at, &len, &ptr, err);
			if (!ret)
				ret = zw_safetensors_read(p->st, c->tensor, at, ptr, len, err);
			at += len;
			done += len;
			if (!ret && done < total)
				ret = report(opt, done, total, err);
		}
	}
	if (!ret)
		ret = zw_upload_finish(&up, err);
	m->info.load_sim_ps = up.sim_ps;
	zw_upload_close(&up);
	return ret ? ret : report(opt, total, total, err);
}

static int load(struct zw_model *m, const char *dir, const struct zw_model_options *opt,
		struct zw_error *err)
{
	struct zw_want_list want = {0};
	struct zw_safetensors *st = NULL;
	struct zw_plan plan = {0};
	uint64_t start = now_ns();
	int ret;

	ret = zw_safetensors_open(dir, &st, err);
	if (ret)
		return ret;
	ret = llm_checkpoint_adapt(st, &m->cfg, err);
	if (!ret && m->family->tensors(&m->cfg, &want))
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", dir);
	if (!ret)
		ret = zw_safetensors_match(st, want.want, want.n, err);
	zw_want_free(&want);
	if (ret)
		goto out;
	m->w.layers = calloc(m->cfg.num_layers, sizeof(*m->w.layers));
	if (!m->w.layers) {
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", dir);
		goto out;
	}
	plan.st = st;
	ret = m->family->plan(&m->cfg, &plan, &m->w, err);
	if (!ret)
		ret = zw_check_hbm(m->dev, plan.bytes, dir, err);
	if (ret)
		goto out;
	ret = zw_vm_create(m->dev, &m->vm);
	if (ret) {
		ret = zw_fail(err, ret, "creating an address space: %s", strerror(-ret));
		goto out;
	}
	ret = zw_buffer_create(m->vm, plan.bytes, ZW_BO_HBM, &m->buf);
	if (ret) {
		ret = zw_fail(err, ret, "%s: allocating %.1f MiB of device memory: %s", dir,
			      (double)plan.bytes / 1048576, strerror(-ret));
		goto out;
	}
	zw_bo_set_label(m->buf.bo, "weights");
	for (size_t i = 0; i < plan.num_dst; i++)
		plan.dst[i]->va += m->buf.va;
	if (m->cfg.tie_word_embeddings)
		m->w.head = m->w.embed;
	m->info.tensors = (uint32_t)plan.num_copies;
	m->info.parameters = plan.parameters;
	m->info.weight_bytes = m->buf.bytes;
	ret = stream(m, &plan, opt, err);
	m->info.load_ns = now_ns() - start;
out:
	zw_plan_fini(&plan);
	zw_safetensors_close(st);
	return ret;
}

int zw_model_open(struct zw_dev *dev, const char *dir, const struct zw_model_options *opt,
		  struct zw_model **out, struct zw_error *err)
{
	struct zw_model_options o = {0};
	struct zw_model *m;
	int ret;

	if (!dev || !dir || !out || (opt && opt->size < 8))
		return zw_fail(err, -EINVAL, "zw_model_open: bad argument");
	if (opt)
		zw_copy_sized(&o, sizeof(o), opt, opt->size);
	if (o.flags)
		return zw_fail(err, -EINVAL, "zw_model_open: unknown flags");
	m = calloc(1, sizeof(*m));
	if (!m)
		return zw_fail(err, -ENOMEM, "out of memory");
	m->dev = dev;
	m->cfg.size = sizeof(m->cfg);
	ret = zw_model_config_load(dir, &m->cfg, err);
	if (!ret) {
		m->family = zw_family_find(m->cfg.model_type);
		m->info.kv_bytes_per_token =
			2ull * m->cfg.num_layers * m->cfg.num_kv_heads * m->cfg.head_dim * 2;
		ret = load(m, dir, &o, err);
	}
	if (ret) {
		zw_model_close(m);
		return ret;
	}
	*out = m;
	return 0;
}

int zw_model_close(struct zw_model *m)
{
	if (!m)
		return 0;
	if (atomic_load(&m->sessions))
		return -EBUSY;
	zw_buffer_destroy(&m->buf);
	if (m->vm)
		zw_vm_destroy(m->vm);
	free(m->w.layers);
	free(m);
	return 0;
}

int zw_model_get_config(const struct zw_model *m, struct zw_model_config *cfg)
{
	uint32_t size = cfg->size;

	if (size < offsetof(struct zw_model_config, hidden_size))
		return -EINVAL;
	zw_copy_sized(cfg, size, &m->cfg, sizeof(m->cfg));
	cfg->size = size;
	return 0;
}

int zw_model_get_info(const struct zw_model *m, struct zw_model_info *info)
{
	uint32_t size = info->size;

	if (size < 8)
		return -EINVAL;
	zw_copy_sized(info, size, &m->info, sizeof(m->info));
	info->size = size;
	return 0;
}
