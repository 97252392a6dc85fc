// SPDX-License-Identifier: MIT
/* A checkpoint into device memory: plan, allocate, stream. */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "family.h"
#include "shapes.h"

#define GIB (1ull << 30)

#define QUANTIZE_ABI_MINOR 2u /* the packet QUANTIZE */
#define REORDER_ABI_MINOR  3u /* the packet REORDER */

int llm_check_hbm(struct zw_dev *dev, uint64_t bytes, const char *what, struct zw_error *err)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	int ret = zw_dev_get_attrs(dev, &attrs);

	if (ret)
		return llm_fail(err, ret, "device: %s", strerror(-ret));
	/* Of the whole: what there is already goes to the other cards too. */
	if (bytes > attrs.hbm_free && attrs.timing_only)
		return llm_fail(err, -ENOSPC,
				"%s needs %.1f GiB of device memory, %.1f of %.1f GiB are free: "
				"%llu cards of this size have as much",
				what, (double)bytes / GIB, (double)attrs.hbm_free / GIB,
				(double)attrs.hbm_size / GIB,
				(unsigned long long)((bytes + attrs.hbm_size - attrs.hbm_free +
						      attrs.hbm_size - 1) /
						     attrs.hbm_size));
	if (bytes > attrs.hbm_free)
		return llm_fail(err, -ENOSPC,
				"%s needs %.1f MiB of device memory, %.1f of %.1f MiB are free",
				what, (double)bytes / 1048576, (double)attrs.hbm_free / 1048576,
				(double)attrs.hbm_size / 1048576);
	return 0;
}

int llm_check_device(struct zw_dev *dev, const struct llm_family *family, struct zw_error *err)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	int ret = zw_dev_get_attrs(dev, &attrs);

	if (ret)
		return llm_fail(err, ret, "device: %s", strerror(-ret));
	if (ZW_ABI_VERSION_MINOR(attrs.abi_version) < family->abi_minor)
		return llm_fail(err, -EOPNOTSUPP,
				"model_type \"%s\" needs a device of ABI %u.%u, this one has %u.%u",
				family->model_type, ZW_ABI_MAJOR, family->abi_minor,
				ZW_ABI_VERSION_MAJOR(attrs.abi_version),
				ZW_ABI_VERSION_MINOR(attrs.abi_version));
	return 0;
}

/* What the family needs, and what the configuration does besides. */
static int check_device(struct zw_dev *dev, const struct llm_family *family,
			const struct llm_model_config *cfg, struct zw_error *err)
{
	struct llm_family f = *family;

	/* MERGE, and ATTENTION from a position on */
	if (cfg->chunks.size && f.abi_minor < 2)
		f.abi_minor = 2;
	return llm_check_device(dev, &f, err);
}

/* Everything that the weights are stored in has to be something that the engines read. */
static int check_dtypes(struct zw_dev *dev, const struct llm_plan *p, struct zw_error *err)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	int ret = zw_dev_get_attrs(dev, &attrs);

	if (ret)
		return llm_fail(err, ret, "device: %s", strerror(-ret));
	for (uint32_t dtype = 0; dtype < 64; dtype++) {
		struct llm_source_tensor t;

		if (!((p->dtypes & ~attrs.dtypes) >> dtype & 1))
			continue;
		p->src->ops->get(p->src, p->first_of[dtype], &t);
		return llm_fail(
			err, -EOPNOTSUPP,
			"%s: tensor %s: dtype %s: a device of profile %s does not compute with %s",
			t.file, t.name, t.dtype_name, attrs.profile_name, zw_dtype_name(dtype));
	}
	if (p->act && ZW_ABI_VERSION_MINOR(attrs.abi_version) < QUANTIZE_ABI_MINOR)
		return llm_fail(
			err, -EOPNOTSUPP,
			"%s: activations in %s need a device of ABI %u.%u, this one has %u.%u",
			p->src->path, zw_dtype_name(p->act), ZW_ABI_MAJOR, QUANTIZE_ABI_MINOR,
			ZW_ABI_VERSION_MAJOR(attrs.abi_version),
			ZW_ABI_VERSION_MINOR(attrs.abi_version));
	if (p->reorders && ZW_ABI_VERSION_MINOR(attrs.abi_version) < REORDER_ABI_MINOR)
		return llm_fail(
			err, -EOPNOTSUPP,
			"%s: columns out of order (desc_act) need a device of ABI %u.%u, this "
			"one has %u.%u",
			p->src->path, ZW_ABI_MAJOR, REORDER_ABI_MINOR,
			ZW_ABI_VERSION_MAJOR(attrs.abi_version),
			ZW_ABI_VERSION_MINOR(attrs.abi_version));
	return 0;
}

/* ---- loading ---- */

static int allocate(struct zw_model *m, const struct llm_plan *p, const char *path,
		    struct zw_error *err)
{
	struct zw_vm_options vm = {.size = sizeof(vm)};
	int ret = llm_check_hbm(m->dev, p->bytes, path, err);

	if (ret)
		return ret;
	vm.flags = m->user_queues ? ZW_VM_LONG_RUNNING : 0;
	ret = zw_vm_create_with(m->dev, &vm, &m->vm);
	if (ret == -EOPNOTSUPP)
		return llm_fail(err, ret, "device or driver has no user-mode queues");
	if (ret)
		return llm_fail(err, ret, "creating an address space: %s", strerror(-ret));
	ret = zw_buffer_create(m->vm, p->bytes, ZW_BO_HBM, &m->buf);
	if (ret)
		return llm_fail(err, ret, "%s: allocating %.1f MiB of device memory: %s", path,
				(double)p->bytes / 1048576, strerror(-ret));
	zw_bo_set_label(m->buf.bo, "weights");
	return 0;
}

/*
 * Whether files are mapped and read directly for the device, which then reads the pages where they are. The
 * simulator's engine would do so by system calls, all of it in one thread: reading beside it takes turns.
 */
static bool pins_pages(struct zw_dev *dev)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};

	return !zw_dev_get_attrs(dev, &attrs) && attrs.transport == ZW_TRANSPORT_DRM;
}

static int stream(struct zw_model *m, const struct llm_plan *p, const struct zw_model_options *opt,
		  struct zw_error *err)
{
	struct llm_plan_ways ways;
	struct zw_copier *c;
	int ret = zw_copier_create(m->vm, NULL, &c);

	if (ret)
		return llm_fail(err, ret, "creating a copier: %s", strerror(-ret));
	ret = llm_plan_run(p, pins_pages(m->dev) ? m->dev : NULL, m->vm, c, m->buf.va,
			   opt->progress, opt->opaque, &ways, err);
	m->info.load_direct_bytes = ways.direct;
	m->info.load_mapped_bytes = ways.mapped;
	m->info.load_direct_refused = ways.refused;
	m->info.load_sim_ps = zw_copier_sim_ps(c);
	zw_copier_destroy(c);
	return ret;
}

static double elements(const struct llm_linear *l)
{
	double n = 0;

	for (uint32_t i = 0; i < LLM_LINEAR_PARTS && l->part[i].w.dtype; i++) {
		const struct zw_tensor *w = &l->part[i].w;
		double each = 1;

		for (uint32_t d = 0; d < w->ndim; d++)
			each *= w->dim[d];
		n += each;
	}
	return n;
}

static uint64_t active_parameters(const struct zw_model *m)
{
	const struct llm_model_config *c = &m->cfg;
	double n = 0, experts = c->num_experts;

	for (uint32_t i = 0; i < c->num_layers; i++) {
		const struct llm_layer_weights *w = &m->w.layers[i];

		n += elements(&w->qkv) + elements(&w->o) + elements(&w->gate_up) +
		     elements(&w->down) + elements(&w->router) + elements(&w->shared_gate_up) +
		     elements(&w->shared_down) + elements(&w->delta_qkvz) + elements(&w->delta_ba);
		if (experts > 0)
			n += (elements(&w->experts_gate_up) + elements(&w->experts_down)) *
			     c->experts_per_token / experts;
	}
	return (uint64_t)n;
}

/* What follows is of the part alone. */
static void cut(struct zw_model *m)
{
	uint32_t *sizes = m->sparse.sizes, first = m->part.first;

	if (llm_part_whole(&m->part))
		return;
	llm_config_cut(&m->cfg, first, m->part.num);
	llm_digest_part(m->digest, first, m->part.num);
	if (sizes)
		memmove(sizes, sizes + 2 * (size_t)first * m->cfg.num_heads,
			2 * (size_t)m->part.num * m->cfg.num_heads * sizeof(*sizes));
}

static int load(struct zw_model *m, struct llm_source *src, const struct zw_model_options *opt,
		struct zw_error *err)
{
	struct llm_plan plan = {.src = src};
	uint64_t start = llm_now_ns();
	int ret;

	ret = src->ops->open(src, err);
	if (!ret)
		ret = llm_family_plan(m->family, &m->cfg, &m->part, m->mtp, &plan, &m->w, err);
	if (!ret)
		ret = check_dtypes(m->dev, &plan, err);
	if (!ret)
		ret = allocate(m, &plan, src->path, err);
	/* Of the whole model; what has no room does without. */
	if (!ret)
		ret = llm_model_digest(src, &m->cfg, m->digest, err);
	if (!ret) {
		cut(m);
		llm_plan_place(&plan, m->buf.va);
		if (llm_part_ends(&m->part) && m->w.head.part[0].w.dtype == ZW_DTYPE_NONE)
			m->w.head.part[0].w = m->w.embed;
		m->info.tensors = (uint32_t)plan.num_parts;
		m->info.parameters = plan.parameters;
		m->info.weight_bytes = m->buf.bytes;
		m->info.active_parameters = active_parameters(m);
		/* Who does not compute does not ask what they are. */
		if (!m->timing_only)
			ret = stream(m, &plan, opt, err);
	}
	m->info.load_ns = llm_now_ns() - start;
	llm_plan_fini(&plan);
	return ret;
}

static void describe(struct zw_model *m)
{
	const struct llm_model_config *c = &m->cfg;
	struct llm_needs n = {0};

	m->family->needs(c, &n);
	_Static_assert(sizeof(m->info.model_type) >= sizeof(c->model_type), "the name fits");
	memcpy(m->info.model_type, c->model_type, sizeof(c->model_type));
	m->info.vocab_size = c->vocab_size;
	m->info.max_context = c->max_position;
	m->info.num_layers = c->num_layers;
	m->info.first_layer = m->part.first;
	m->info.all_layers = m->part.all;
	m->info.hidden_size = c->hidden_size;
	m->info.num_stop = c->num_stop;
	m->info.state_bytes = n.slab_bytes;
	m->info.num_experts = c->num_experts;
	m->info.experts_per_token = c->experts_per_token;
	m->info.num_heads = c->num_heads;
	m->info.head_dim = c->head_dim;
	m->info.kv_layers = n.kv_layers;
	m->info.kv_bytes_per_token = 2ull * n.kv_layers * n.kv_heads * n.kv_dim * 2;
}

/* ---- public ---- */

/* Files with weights, or for a device that needs none something that says what they would be. */
static int open_source(const struct zw_model *m, const char *dir, const struct zw_model_options *o,
		       struct llm_source **src, struct zw_error *err)
{
	const struct llm_shape_ask ask = {.shape = o->shape,
					  .path = dir,
					  .weights = o->weights,
					  .cards = o->cards,
					  .mtp = m->mtp};
	bool made_up = o->shape || o->weights || (m->timing_only && llm_is_shape(dir));

	if (!m->timing_only && (o->positions || o->cards))
		return llm_fail(err, -EINVAL,
				"zw_model_open: positions and cards are for a device that computes "
				"nothing (ZW_DEV_TIMING_ONLY)");
	if (!made_up && o->cards > 1)
		return llm_fail(err, -EINVAL,
				"%s: weights that there are cannot be cut: name the configuration "
				"alone",
				dir);
	if (!made_up)
		return llm_source_new(dir, src, err);
	if (!m->timing_only)
		return llm_fail(err, -EINVAL,
				"%s: without weights a model is for a device that computes nothing "
				"(ZW_DEV_TIMING_ONLY)",
				o->shape ? o->shape : dir);
	return llm_source_new_shape(&ask, src, err);
}

static int find_timing(struct zw_model *m, struct zw_error *err)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	int ret = zw_dev_get_attrs(m->dev, &attrs);

	m->timing_only = attrs.timing_only;
	return ret ? llm_fail(err, ret, "device: %s", strerror(-ret)) : 0;
}

static int choose_part(struct zw_model *m, const struct zw_model_options *o, struct zw_error *err)
{
	uint32_t all = m->cfg.num_layers;

	m->part = (struct llm_part){o->first_layer, o->num_layers ? o->num_layers : all, all};
	if (!o->num_layers && o->first_layer)
		return llm_fail(err, -EINVAL, "zw_model_open: first_layer without num_layers");
	if (m->part.num > all || m->part.first > all - m->part.num)
		return llm_fail(err, -EINVAL,
				"zw_model_open: %u layers from layer %u on: the model has %u",
				o->num_layers, o->first_layer, all);
	if (!llm_part_whole(&m->part) && (m->mtp || o->cards > 1))
		return llm_fail(err, -EOPNOTSUPP,
				"zw_model_open: %s does not go with a part of the layers",
				m->mtp ? "an MTP head" : "`cards`");
	return 0;
}

int zw_model_part(uint32_t layers, uint32_t cards, uint32_t card, uint32_t *first, uint32_t *num)
{
	uint32_t each, more, before;

	if (card >= cards || cards > layers)
		return -EINVAL;
	each = layers / cards;
	more = layers % cards;
	/* Cards [before, before + more) have one more; the last one never has. */
	before = cards - 1 - more;
	*num = each + (card >= before && card - before < more);
	*first = card * each + (card <= before ? 0 : card - before < more ? card - before : more);
	return 0;
}

int zw_model_open(struct zw_dev *dev, const char *dir, const struct zw_model_options *opt,
		  struct zw_model **out, struct zw_error *err)
{
	struct zw_model_options o = {0};
	struct llm_source *src = NULL;
	struct zw_model *m;
	int ret;

	if (!dev || !out)
		return llm_fail(err, -EINVAL, "zw_model_open: bad argument");
	if (opt) {
		ret = sized_in(&o, sizeof(o), SIZED_V0(struct zw_model_options, opaque), opt);
		if (ret)
			return llm_fail(err, ret, "zw_model_open: options of an unknown version");
	}
	if (!dir == !o.shape)
		return llm_fail(err, -EINVAL, "zw_model_open: a path or a shape is needed");
	if (o.positions > LLM_POSITION_MAX)
		return llm_fail(err, -EINVAL, "zw_model_open: more than %u positions",
				LLM_POSITION_MAX);
	if (o.flags & ~(ZW_MODEL_MTP | ZW_MODEL_USER_QUEUES))
		return llm_fail(err, -EINVAL, "zw_model_open: unknown flags");
	m = calloc(1, sizeof(*m));
	if (!m)
		return llm_fail(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&m->lock, NULL);
	m->dev = dev;
	m->mtp = o.flags & ZW_MODEL_MTP;
	m->user_queues = o.flags & ZW_MODEL_USER_QUEUES;
	ret = find_timing(m, err);
	if (!ret)
		ret = open_source(m, dir, &o, &src, err);
	if (!ret)
		ret = src->ops->config(src, &m->cfg, err);
	if (!ret) {
		if (dir)
			llm_sparse_table_load(dir, &m->cfg, &m->sparse);
		m->family = llm_family_find(m->cfg.model_type);
		m->info.own_context = m->cfg.max_position;
		if (m->cfg.max_position < o.positions)
			m->cfg.max_position = o.positions;
		ret = choose_part(m, &o, err);
	}
	if (!ret)
		ret = check_device(dev, m->family, &m->cfg, err);
	if (!ret)
		ret = load(m, src, &o, err);
	if (!ret)
		describe(m);
	llm_source_close(src);
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
	if (atomic_load(&m->contexts))
		return -EBUSY;
	zw_buffer_destroy(&m->buf);
	if (m->vm)
		zw_vm_destroy(m->vm);
	pthread_mutex_destroy(&m->lock);
	llm_sparse_table_free(&m->sparse);
	free(m->w.layers);
	free(m);
	return 0;
}

int zw_model_get_info(const struct zw_model *m, struct zw_model_info *info)
{
	return sized_out(info, SIZED_V0(struct zw_model_info, kv_bytes_per_token), &m->info,
			 sizeof(m->info));
}

size_t zw_model_stop_tokens(const struct zw_model *m, const uint32_t **ids)
{
	*ids = m->cfg.stop;
	return m->cfg.num_stop;
}

bool zw_model_is_stop(const struct zw_model *m, uint32_t id)
{
	return llm_model_config_is_stop(&m->cfg, id);
}
