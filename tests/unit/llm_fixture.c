// SPDX-License-Identifier: MIT
#include "llm_fixture.h"

#include <math.h>

const struct shape fixture_shapes[NUM_SHAPES] = {
	{.h = 48, .i = 80, .layers = 2, .nq = 6, .nkv = 2, .d = 16, .v = 97, .tied = true},
	{.h = 64, .i = 40, .layers = 3, .nq = 2, .nkv = 2, .d = 32, .v = 50},
	{.h = 40, .i = 72, .layers = 2, .nq = 4, .nkv = 1, .d = 8, .v = 61, .bias = true},
	{.h = 33,
	 .i = 17,
	 .layers = 1,
	 .nq = 3,
	 .nkv = 3,
	 .d = 6,
	 .v = 5,
	 .bias = true,
	 .tied = true},
	{.h = 48, .i = 34, .layers = 2, .nq = 6, .nkv = 3, .d = 8, .v = 71, .qwen2 = true},
	{.h = 44,
	 .i = 58,
	 .layers = 3,
	 .nq = 4,
	 .nkv = 2,
	 .d = 14, /* not h / nq */
	 .v = 37,
	 .qwen2 = true,
	 .tied = true},
	{.h = 40,
	 .i = 30,
	 .layers = 3,
	 .nq = 4,
	 .nkv = 2,
	 .d = 12,
	 .v = 53,
	 .e = 6,
	 .k = 2,
	 .im = 18,
	 .renorm = true,
	 .dense = true},
	{.h = 36,
	 .i = 9,
	 .layers = 2,
	 .nq = 3,
	 .nkv = 1,
	 .d = 16,
	 .v = 41,
	 .bias = true,
	 .e = 5,
	 .k = 5,
	 .im = 22},
	{.h = 40,
	 .i = 30,
	 .layers = 5,
	 .nq = 4,
	 .nkv = 2,
	 .d = 16,
	 .v = 53,
	 .e = 6,
	 .k = 2,
	 .im = 18,
	 .renorm = true,
	 .dense = true,
	 .next = true,
	 .linear = 0x17,
	 .gk = 2,
	 .gv = 6,
	 .dk = 10,
	 .dv = 14,
	 .conv = 4,
	 .is = 26,
	 .rotary = 4,
	 .mtp = true},
	{.h = 36,
	 .i = 20,
	 .layers = 2,
	 .nq = 3,
	 .nkv = 1,
	 .d = 12,
	 .v = 41,
	 .tied = true,
	 .e = 4,
	 .k = 3,
	 .im = 22,
	 .next = true,
	 .linear = 0x2,
	 .gk = 3,
	 .gv = 3,
	 .dk = 16,
	 .dv = 8,
	 .conv = 3,
	 .is = 10,
	 .rotary = 12},
	{.h = 40,
	 .layers = 3,
	 .nq = 4,
	 .nkv = 2,
	 .d = 16,
	 .v = 53,
	 .e = 5,
	 .k = 2,
	 .im = 18,
	 .renorm = true,
	 .next = true,
	 .mtp = true,
	 .split = true,
	 .fused = true,
	 .nested = true,
	 .linear = 0x3,
	 .gk = 2,
	 .gv = 4,
	 .dk = 12,
	 .dv = 10,
	 .conv = 4,
	 .is = 26,
	 .rotary = 8},
	{.h = 36,
	 .i = 50,
	 .layers = 2,
	 .nq = 3,
	 .nkv = 1,
	 .d = 12,
	 .v = 41,
	 .tied = true,
	 .next = true,
	 .mtp = true,
	 .split = true,
	 .linear = 0x1,
	 .gk = 2,
	 .gv = 2,
	 .dk = 14,
	 .dv = 8,
	 .conv = 4,
	 .rotary = 4},
};

static uint64_t rng;

static double uniform(void)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(rng >> 11) * 0x1p-53 * 2 - 1;
}

static float bf16(double x)
{
	float f = (float)x;
	uint32_t u;

	memcpy(&u, &f, 4);
	u &= 0xffff0000; /* any value of the type will do */
	memcpy(&f, &u, 4);
	return f;
}

bool fixture_is_sparse(const struct shape *s, uint32_t l)
{
	return s->e && !(s->dense && l == 1);
}

const char *fixture_prefix(const struct shape *s)
{
	return s->nested ? "model.language_model." : "model.";
}

/* ---- making a checkpoint ---- */

static void add(struct fixture *f, double base, double scale, uint32_t ndim, uint32_t d0,
		uint32_t d1, const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* ndim 3: [d0, 1, d1]. */
static void add(struct fixture *f, double base, double scale, uint32_t ndim, uint32_t d0,
		uint32_t d1, const char *fmt, ...)
{
	struct tensor *t = &f->t[f->n++];
	va_list ap;

	assert_true(f->n <= MAX_TENSORS);
	va_start(ap, fmt);
	vsnprintf(t->name, sizeof(t->name), fmt, ap);
	va_end(ap);
	t->ndim = ndim;
	t->dim[0] = d0;
	t->dim[1] = ndim == 3 ? 1 : d1;
	t->dim[2] = d1;
	t->n = (size_t)d0 * (ndim > 1 ? d1 : 1);
	t->x = malloc(t->n * sizeof(float));
	for (size_t i = 0; i < t->n; i++)
		t->x[i] = bf16(base + scale * uniform());
}

/* The last tensor, [d0 * d1, d2], as [d0, d1, d2]. */
static void fold(struct fixture *f, uint32_t d0)
{
	struct tensor *t = &f->t[f->n - 1];

	t->dim[2] = t->dim[1];
	t->dim[1] = t->dim[0] / d0;
	t->dim[0] = d0;
	t->ndim = 3;
}

static void add_experts(struct fixture *f, const char *l, bool fused)
{
	const struct shape *s = &f->s;

	/* Far enough apart for rounding to change hardly a choice, near enough for the sum to matter. */
	add(f, 0, 0.5, 2, s->e, s->h, "%smlp.gate.weight", l);
	if (fused) {
		add(f, 0, 0.2, 2, s->e * 2 * s->im, s->h, "%smlp.experts.gate_up_proj", l);
		fold(f, s->e);
		add(f, 0, 0.2, 2, s->e * s->h, s->im, "%smlp.experts.down_proj", l);
		fold(f, s->e);
	}
	for (uint32_t e = 0; e < s->e && !fused; e++) {
		add(f, 0, 0.2, 2, s->im, s->h, "%smlp.experts.%u.gate_proj.weight", l, e);
		add(f, 0, 0.2, 2, s->im, s->h, "%smlp.experts.%u.up_proj.weight", l, e);
		add(f, 0, 0.2, 2, s->h, s->im, "%smlp.experts.%u.down_proj.weight", l, e);
	}
	if (!s->next)
		return;
	add(f, 0, 0.5, 2, 1, s->h, "%smlp.shared_expert_gate.weight", l);
	add(f, 0, 0.2, 2, s->is, s->h, "%smlp.shared_expert.gate_proj.weight", l);
	add(f, 0, 0.2, 2, s->is, s->h, "%smlp.shared_expert.up_proj.weight", l);
	add(f, 0, 0.2, 2, s->h, s->is, "%smlp.shared_expert.down_proj.weight", l);
}

static void add_attention(struct fixture *f, const char *l)
{
	const struct shape *s = &f->s;
	/* A gate beside each query. */
	uint32_t q = s->nq * s->d * (s->next ? 2 : 1);
	double one = s->next ? 0 : 1;

	add(f, 0, 0.2, 2, q, s->h, "%sself_attn.q_proj.weight", l);
	add(f, 0, 0.2, 2, s->nkv * s->d, s->h, "%sself_attn.k_proj.weight", l);
	add(f, 0, 0.2, 2, s->nkv * s->d, s->h, "%sself_attn.v_proj.weight", l);
	add(f, 0, 0.2, 2, s->h, s->nq * s->d, "%sself_attn.o_proj.weight", l);
	if (!s->qwen2) {
		add(f, one, 0.3, 1, s->d, 0, "%sself_attn.q_norm.weight", l);
		add(f, one, 0.3, 1, s->d, 0, "%sself_attn.k_norm.weight", l);
	}
	if (s->bias || s->qwen2) {
		add(f, 0, 0.5, 1, s->nq * s->d, 0, "%sself_attn.q_proj.bias", l);
		add(f, 0, 0.5, 1, s->nkv * s->d, 0, "%sself_attn.k_proj.bias", l);
		add(f, 0, 0.5, 1, s->nkv * s->d, 0, "%sself_attn.v_proj.bias", l);
	}
	if (s->bias)
		add(f, 0, 0.5, 1, s->h, 0, "%sself_attn.o_proj.bias", l);
}

static void add_delta(struct fixture *f, const char *l)
{
	const struct shape *s = &f->s;
	uint32_t keys = s->gk * s->dk, values = s->gv * s->dv;

	if (s->split) {
		add(f, 0, 0.3, 2, 2 * keys + values, s->h, "%slinear_attn.in_proj_qkv.weight", l);
		add(f, 0, 0.3, 2, values, s->h, "%slinear_attn.in_proj_z.weight", l);
		add(f, 0, 0.3, 2, s->gv, s->h, "%slinear_attn.in_proj_b.weight", l);
		add(f, 0, 0.3, 2, s->gv, s->h, "%slinear_attn.in_proj_a.weight", l);
	} else {
		add(f, 0, 0.3, 2, 2 * keys + 2 * values, s->h, "%slinear_attn.in_proj_qkvz.weight",
		    l);
		add(f, 0, 0.3, 2, 2 * s->gv, s->h, "%slinear_attn.in_proj_ba.weight", l);
	}
	add(f, 0, 0.6, 3, 2 * keys + values, s->conv, "%slinear_attn.conv1d.weight", l);
	add(f, 0, 1, 1, s->gv, 0, "%slinear_attn.A_log", l);
	add(f, -1, 1, 1, s->gv, 0, "%slinear_attn.dt_bias", l);
	add(f, 1, 0.3, 1, s->dv, 0, "%slinear_attn.norm.weight", l);
	add(f, 0, 0.3, 2, s->h, values, "%slinear_attn.out_proj.weight", l);
}

static void add_layer(struct fixture *f, const char *l, bool linear, bool sparse, bool fused)
{
	const struct shape *s = &f->s;
	double one = s->next ? 0 : 1;

	add(f, one, 0.3, 1, s->h, 0, "%sinput_layernorm.weight", l);
	add(f, one, 0.3, 1, s->h, 0, "%spost_attention_layernorm.weight", l);
	if (linear)
		add_delta(f, l);
	else
		add_attention(f, l);
	if (sparse) {
		add_experts(f, l, fused);
	} else {
		add(f, 0, 0.2, 2, s->i, s->h, "%smlp.gate_proj.weight", l);
		add(f, 0, 0.2, 2, s->i, s->h, "%smlp.up_proj.weight", l);
		add(f, 0, 0.2, 2, s->h, s->i, "%smlp.down_proj.weight", l);
	}
}

void fixture_make(struct fixture *f, struct shape s)
{
	*f = (struct fixture){.dir = scratch_new(), .s = s};
	rng = 99;
	add(f, 0, 1, 2, s.v, s.h, "%sembed_tokens.weight", fixture_prefix(&s));
	add(f, s.next ? 0 : 1, 0.3, 1, s.h, 0, "%snorm.weight", fixture_prefix(&s));
	if (!s.tied)
		add(f, 0, 0.3, 2, s.v, s.h, "lm_head.weight");
	for (uint32_t l = 0; l < s.layers; l++) {
		char prefix[48];

		snprintf(prefix, sizeof(prefix), "%slayers.%u.", fixture_prefix(&s), l);
		add_layer(f, prefix, s.linear >> l & 1, fixture_is_sparse(&s, l), s.fused);
	}
	if (s.nested)
		add(f, 0, 1, 2, 3, 5, "model.visual.blocks.0.attn.proj.weight");
	if (s.mtp) {
		add(f, 0, 0.3, 2, s.h, 2 * s.h, "mtp.fc.weight");
		add(f, 0, 0.3, 1, s.h, 0, "mtp.pre_fc_norm_embedding.weight");
		add(f, 0, 0.3, 1, s.h, 0, "mtp.pre_fc_norm_hidden.weight");
		add(f, 0, 0.3, 1, s.h, 0, "mtp.norm.weight");
		/* Never in one tensor there. */
		add_layer(f, "mtp.layers.0.", false, s.e, false);
	}
}

void fixture_make_easy(struct fixture *f)
{
	const float *norm = NULL;

	for (size_t i = 0; i < f->n; i++) {
		struct tensor *t = &f->t[i];
		bool mtp = !strncmp(t->name, "mtp.", 4);
		float scale = mtp ? 0 : 0.125f;

		if (strstr(t->name, ".norm.weight") && !mtp && !strstr(t->name, "layers"))
			norm = t->x;
		for (size_t k = 0; k < t->n; k++) {
			if (strstr(t->name, "o_proj") || strstr(t->name, "out_proj") ||
			    strstr(t->name, "down_proj"))
				t->x[k] *= scale;
			else if (!strcmp(t->name, "mtp.fc.weight"))
				t->x[k] = k % t->dim[1] == k / t->dim[1];
			else if (!strcmp(t->name, "mtp.pre_fc_norm_embedding.weight"))
				t->x[k] = 0;
			else if (!strcmp(t->name, "mtp.norm.weight"))
				t->x[k] = norm[k];
		}
	}
}

void fixture_free(struct fixture *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->t[i].x);
	scratch_free(f->dir);
}

/* Writes tensors i with i % step == first as BF16, or as the dtype that odd_name has. */
void fixture_write_shard(const struct fixture *f, const char *file, size_t first, size_t step,
			 const char *odd_name, const char *odd_dtype)
{
	char path[512], *header = NULL;
	size_t hlen, off = 0;
	FILE *h = open_memstream(&header, &hlen), *out;
	uint64_t len;

	fputc('{', h);
	for (size_t i = first; i < f->n; i += step) {
		const struct tensor *t = &f->t[i];
		bool odd = odd_name && strstr(t->name, odd_name);
		size_t bytes = t->n * (odd && !strcmp(odd_dtype, "F32") ? 4 : 2);

		fprintf(h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%u", i == first ? "" : ",",
			t->name, odd ? odd_dtype : "BF16", t->dim[0]);
		for (uint32_t k = 1; k < t->ndim; k++)
			fprintf(h, ",%u", t->dim[k]);
		fprintf(h, "],\"data_offsets\":[%zu,%zu]}", off, off + bytes);
		off += bytes;
	}
	fputc('}', h);
	fclose(h);
	snprintf(path, sizeof(path), "%s/%s", f->dir, file);
	out = fopen(path, "wb");
	len = hlen;
	fwrite(&len, 8, 1, out);
	fwrite(header, 1, hlen, out);
	for (size_t i = first; i < f->n; i += step) {
		const struct tensor *t = &f->t[i];
		bool wide = odd_name && strstr(t->name, odd_name) && !strcmp(odd_dtype, "F32");

		for (size_t j = 0; j < t->n; j++)
			fwrite((const char *)&t->x[j] + (wide ? 0 : 2), wide ? 4 : 2, 1, out);
	}
	assert_int_equal(fclose(out), 0);
	free(header);
}

static void write_hybrid(const struct shape *s, char *text, size_t size)
{
	char shared[64] = "";
	int n;

	if (s->is)
		snprintf(shared, sizeof(shared), "\"shared_expert_intermediate_size\":%u,", s->is);
	n = snprintf(text, size,
		     "\"linear_num_key_heads\":%u,\"linear_num_value_heads\":%u,"
		     "\"linear_key_head_dim\":%u,\"linear_value_head_dim\":%u,"
		     "\"linear_conv_kernel_dim\":%u,%s"
		     "\"partial_rotary_factor\":%.17g,\"layer_types\":[",
		     s->gk, s->gv, s->dk, s->dv, s->conv, shared, (double)s->rotary / s->d);

	for (uint32_t l = 0; l < s->layers; l++)
		n += snprintf(text + n, size - (size_t)n, "%s\"%s_attention\"", l ? "," : "",
			      s->linear >> l & 1 ? "linear" : "full");
	snprintf(text + n, size - (size_t)n, "],");
}

static const char *model_type(const struct shape *s)
{
	if (s->split)
		return s->e ? "qwen3_5_moe_text" : "qwen3_5_text";
	if (s->next)
		return "qwen3_next";
	if (s->qwen2)
		return "qwen2";
	return s->e ? "qwen3_moe" : "qwen3";
}

void fixture_write_config(const struct fixture *f)
{
	const struct shape *s = &f->s;
	char text[2048], own[1200] = "", chunks[160] = "";
	int n;

	if (s->chunk)
		n = snprintf(chunks, sizeof(chunks),
			     "\"dual_chunk_attention_config\":{\"chunk_size\":%u,"
			     "\"local_size\":%u",
			     s->chunk, s->local);
	if (s->chunk && s->original)
		n += snprintf(chunks + n, sizeof(chunks) - (size_t)n,
			      ",\"original_max_position_embeddings\":%u", s->original);
	if (s->chunk)
		snprintf(chunks + n, sizeof(chunks) - (size_t)n, "},");

	/* What is not said is hidden_size / num_attention_heads in one family, 128 in the other. */
	if (!s->qwen2) {
		n = snprintf(own, sizeof(own), "\"head_dim\":%u,\"attention_bias\":%s,", s->d,
			     s->bias ? "true" : "false");
		if (s->e)
			n += snprintf(own + n, sizeof(own) - (size_t)n,
				      "\"num_experts\":%u,\"num_experts_per_tok\":%u,"
				      "\"moe_intermediate_size\":%u,\"norm_topk_prob\":%s,"
				      "\"mlp_only_layers\":[%s],",
				      s->e, s->k, s->im, s->renorm ? "true" : "false",
				      s->dense ? "1" : "");
		if (s->i)
			n += snprintf(own + n, sizeof(own) - (size_t)n, "\"intermediate_size\":%u,",
				      s->i);
		if (s->next)
			write_hybrid(s, own + n, sizeof(own) - (size_t)n);
	} else {
		n = snprintf(own, sizeof(own), "\"intermediate_size\":%u,", s->i);
		if (s->d * s->nq != s->h)
			snprintf(own + n, sizeof(own) - (size_t)n, "\"head_dim\":%u,", s->d);
	}
	n = s->nested ? snprintf(text, sizeof(text),
				 "{\"model_type\":\"%.*s\",\"vision_config\":{\"depth\":2},"
				 "\"image_token_id\":1,\"text_config\":",
				 (int)(strlen(model_type(s)) - 5), model_type(s))
		      : 0;
	n += snprintf(text + n, sizeof(text) - (size_t)n,
		      "{\"model_type\":\"%s\",\"hidden_size\":%u,"
		      "\"num_hidden_layers\":%u,\"num_attention_heads\":%u,"
		      "\"num_key_value_heads\":%u,"
		      "%s%s\"vocab_size\":%u,\"max_position_embeddings\":%u,"
		      "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":%s,"
		      "\"eos_token_id\":%u}",
		      model_type(s), s->h, s->layers, s->nq, s->nkv, own, chunks, s->v,
		      s->context > 300 ? s->context : 300, s->tied ? "true" : "false", s->v - 1);
	if (s->nested)
		snprintf(text + n, sizeof(text) - (size_t)n, "}");
	scratch_text(f->dir, "config.json", text);
}

void fixture_write(const struct fixture *f)
{
	fixture_write_config(f);
	fixture_write_shard(f, "model.safetensors", 0, 1, NULL, NULL);
}
