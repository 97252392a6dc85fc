// SPDX-License-Identifier: MIT
/*
 * A GGUF file's metadata as config.json and generation_config.json would say it, so that one reader
 * knows what a configuration may be. Keys are checked for kind and range here, by their own names;
 * what they mean together is the reader's (llm_model_config_parse()).
 */
#include "gguf_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_names.h"

#define KEY_MAX_LEN 160
#define UINT_MAX_OK ((1ull << 53) - 1) /* exact in JSON; the reader has limits of its own */

struct map {
	const struct zw_gguf *g;
	const struct gguf_arch *arch;
	cJSON *json;
	uint64_t num_layers; /* without that of an MTP head */
	struct zw_error *err;
};

/* ---- keys of the architecture: "qwen3.block_count" ---- */

enum kind {
	REQUIRED, /* an integer that has to be there */
	EXPERTS,  /* an integer that has to be there in an architecture with experts */
	SHARED,   /* the same with one that all tokens go through */
	HYBRID,   /* with recurrent layers */
	OPTIONAL, /* an integer */
	NUMBER,
	/* Without a place in config.json: read below, or of one value that has no effect. */
	ELSEWHERE,
	ONE,
	TRUE,
	FALSE,
	ONE_INT, /* and 1 is softmax, of gating functions */
};

static const struct {
	const char *key; /* behind the architecture's name and a dot */
	const char *json;
	uint8_t kind;
} arch_keys[] = {
	{"attention.causal", NULL, TRUE},
	{"attention.head_count", "num_attention_heads", REQUIRED},
	{"attention.head_count_kv", NULL, ELSEWHERE},
	{"attention.key_length", NULL, ELSEWHERE},
	{"attention.layer_norm_rms_epsilon", "rms_norm_eps", NUMBER},
	{"attention.value_length", NULL, ELSEWHERE},
	{"block_count", NULL, ELSEWHERE},
	{"context_length", "max_position_embeddings", REQUIRED},
	{"embedding_length", "hidden_size", REQUIRED},
	{"expert_count", "num_experts", EXPERTS},
	{"expert_feed_forward_length", "moe_intermediate_size", EXPERTS},
	{"expert_gating_func", NULL, ONE_INT},
	{"expert_shared_count", NULL, ONE_INT},
	{"expert_shared_feed_forward_length", "shared_expert_intermediate_size", SHARED},
	{"expert_used_count", "num_experts_per_tok", EXPERTS},
	{"expert_weights_norm", NULL, TRUE},
	{"expert_weights_scale", NULL, ONE},
	{"feed_forward_length", NULL, ELSEWHERE},
	{"full_attention_interval", "full_attention_interval", OPTIONAL},
	{"nextn_predict_layers", NULL, ELSEWHERE},
	{"rope.dimension_count", NULL, ELSEWHERE},
	{"rope.dimension_sections", NULL, ELSEWHERE},
	{"rope.freq_base", "rope_theta", NUMBER},
	{"rope.scaling.attn_factor", NULL, ONE},
	{"rope.scaling.factor", NULL, ELSEWHERE},
	{"rope.scaling.finetuned", NULL, ELSEWHERE},
	{"rope.scaling.original_context_length", NULL, ELSEWHERE},
	{"rope.scaling.type", NULL, ELSEWHERE},
	{"rope.scaling.yarn_attn_factor", NULL, ONE},
	{"rope.scaling.yarn_beta_fast", NULL, ELSEWHERE},
	{"rope.scaling.yarn_beta_slow", NULL, ELSEWHERE},
	{"rope.scaling.yarn_ext_factor", NULL, ONE},
	{"ssm.conv_kernel", "linear_conv_kernel_dim", HYBRID},
	{"ssm.group_count", "linear_num_key_heads", HYBRID},
	{"ssm.inner_size", NULL, ELSEWHERE},
	{"ssm.state_size", "linear_key_head_dim", HYBRID},
	{"ssm.time_step_rank", "linear_num_value_heads", HYBRID},
	{"use_parallel_residual", NULL, FALSE},
	{"vocab_size", NULL, ELSEWHERE},
};

static void arch_key(const struct map *m, const char *key, char *out)
{
	snprintf(out, KEY_MAX_LEN, "%s.%s", m->arch->name, key);
}

static int add_number(struct map *m, cJSON *obj, const char *key, double v)
{
	if (!cJSON_AddNumberToObject(obj, key, v))
		return llm_fail(m->err, -ENOMEM, "out of memory");
	return 0;
}

static int add_bool(struct map *m, const char *key, bool v)
{
	if (!cJSON_AddBoolToObject(m->json, key, v))
		return llm_fail(m->err, -ENOMEM, "out of memory");
	return 0;
}

/* An integer of the architecture; *v is left alone without it. */
static int get_uint(struct map *m, const char *key, uint64_t *v)
{
	char full[KEY_MAX_LEN];

	arch_key(m, key, full);
	return gguf_get_uint(m->g, full, 0, UINT_MAX_OK, v, m->err);
}

static int get_double(struct map *m, const char *key, double *v)
{
	char full[KEY_MAX_LEN];

	arch_key(m, key, full);
	return gguf_get_double(m->g, full, -1e30, 1e30, v, m->err);
}

static int missing(struct map *m, const char *key)
{
	return llm_fail(m->err, -EBADMSG, "%s: %s.%s is missing", m->g->path, m->arch->name, key);
}

/* A value without effect, or one that is not implemented. */
static int check_neutral(struct map *m, const char *key, uint8_t kind)
{
	char full[KEY_MAX_LEN];
	double d = 1;
	uint64_t u = 1;
	bool yes = kind == TRUE;
	int ret;

	arch_key(m, key, full);
	if (kind == ONE)
		ret = get_double(m, key, &d);
	else if (kind == ONE_INT)
		ret = get_uint(m, key, &u);
	else
		ret = gguf_get_bool(m->g, full, &yes, m->err);
	if (!ret && (d != 1 || u != 1 || yes != (kind == TRUE)))
		ret = llm_fail(m->err, -EOPNOTSUPP, "%s: the value of %s is not supported yet",
			       m->g->path, full);
	return ret;
}

static int map_key(struct map *m, const char *key, const char *json, uint8_t kind)
{
	uint64_t u = UINT64_MAX;
	double d = 1e300;
	int ret;

	if (kind == ELSEWHERE)
		return 0;
	if (kind > ELSEWHERE)
		return check_neutral(m, key, kind);
	ret = kind == NUMBER ? get_double(m, key, &d) : get_uint(m, key, &u);
	if (!ret && u == UINT64_MAX &&
	    (kind == REQUIRED || (kind == EXPERTS && m->arch->has_experts) ||
	     (kind == SHARED && m->arch->has_experts && m->arch->hybrid) ||
	     (kind == HYBRID && m->arch->hybrid)))
		ret = missing(m, key);
	if (!ret && u && u != UINT64_MAX &&
	    (((kind == EXPERTS || kind == SHARED) && !m->arch->has_experts) ||
	     (kind == HYBRID && !m->arch->hybrid)))
		ret = llm_fail(m->err, -EBADMSG, "%s: %s.%s is %llu, but a %s has no %s",
			       m->g->path, m->arch->name, key, (unsigned long long)u, m->arch->name,
			       kind == HYBRID ? "recurrent layers" : "experts");
	if (!ret && (u != UINT64_MAX || d != 1e300))
		ret = add_number(m, m->json, json, kind == NUMBER ? d : (double)u);
	return ret;
}

/* Keys of this architecture that nobody reads would change something elsewhere. */
static int check_unknown(struct map *m)
{
	size_t len = strlen(m->arch->name);

	for (size_t i = 0; i < m->g->num_values; i++) {
		const char *key = m->g->values[i].key;
		size_t k = 0;

		if (strncmp(key, m->arch->name, len) || key[len] != '.')
			continue;
		while (k < ZW_ARRAY_SIZE(arch_keys) && strcmp(arch_keys[k].key, key + len + 1))
			k++;
		if (k == ZW_ARRAY_SIZE(arch_keys))
			return llm_fail(m->err, -EOPNOTSUPP, "%s: %s is not supported yet",
					m->g->path, key);
	}
	return 0;
}

/* ---- what several keys, or tensors, say together ---- */

static int map_heads(struct map *m)
{
	uint64_t hidden = 0, heads = 0, kv, key_len = 0, value_len, rot;
	int ret = get_uint(m, "embedding_length", &hidden);

	if (!ret)
		ret = get_uint(m, "attention.head_count", &heads);
	kv = heads;
	if (!ret)
		ret = get_uint(m, "attention.head_count_kv", &kv);
	if (!ret)
		ret = get_uint(m, "attention.key_length", &key_len);
	if (ret)
		return ret;
	if (!key_len) {
		if (!heads || hidden % heads)
			return llm_fail(m->err, -EBADMSG,
					"%s: %s.embedding_length %llu is no multiple of "
					"%s.attention.head_count %llu, and attention.key_length is "
					"missing",
					m->g->path, m->arch->name, (unsigned long long)hidden,
					m->arch->name, (unsigned long long)heads);
		key_len = hidden / heads;
	}
	value_len = rot = key_len;
	ret = get_uint(m, "attention.value_length", &value_len);
	if (!ret)
		ret = get_uint(m, "rope.dimension_count", &rot);
	if (ret)
		return ret;
	if (value_len != key_len)
		return llm_fail(m->err, -EOPNOTSUPP,
				"%s: %s.attention.value_length %llu beside a key_length of %llu is "
				"not supported yet",
				m->g->path, m->arch->name, (unsigned long long)value_len,
				(unsigned long long)key_len);
	if (!rot || rot > key_len)
		return llm_fail(m->err, -EBADMSG,
				"%s: %s.rope.dimension_count %llu of heads of %llu", m->g->path,
				m->arch->name, (unsigned long long)rot,
				(unsigned long long)key_len);
	ret = add_number(m, m->json, "num_key_value_heads", (double)kv);
	if (!ret)
		ret = add_number(m, m->json, "head_dim", (double)key_len);
	if (!ret && (rot != key_len || m->arch->hybrid))
		ret = add_number(m, m->json, "partial_rotary_factor",
				 (double)rot / (double)key_len);
	return ret;
}

/* Of positions in images: in a text all of them are the token's, whatever the sections are. */
static int check_sections(struct map *m)
{
	const struct gguf_value *v;
	char full[KEY_MAX_LEN];

	arch_key(m, "rope.dimension_sections", full);
	return gguf_get_array(m->g, full, GGUF_I32, &v, m->err);
}

/* The format says how many values there are, all heads together. */
static int map_value_dim(struct map *m)
{
	uint64_t heads = 0, all = 0;
	int ret = get_uint(m, "ssm.time_step_rank", &heads);

	if (!ret)
		ret = get_uint(m, "ssm.inner_size", &all);
	if (!ret && !all)
		ret = missing(m, "ssm.inner_size");
	if (!ret && (!heads || all % heads))
		ret = llm_fail(
			m->err, -EBADMSG,
			"%s: %s.ssm.inner_size %llu is no multiple of ssm.time_step_rank %llu",
			m->g->path, m->arch->name, (unsigned long long)all,
			(unsigned long long)heads);
	return ret ? ret : add_number(m, m->json, "linear_value_head_dim", (double)(all / heads));
}

/* Rows of the embedding; a key that says their number must say the same. */
static int map_vocab(struct map *m)
{
	struct zw_gguf_info info = {.size = sizeof(info)};
	long i = zw_gguf_find(m->g, "token_embd.weight");
	uint64_t said;
	int ret;

	if (i < 0)
		return llm_fail(m->err, -EBADMSG, "%s: tensor token_embd.weight is missing",
				m->g->path);
	zw_gguf_get(m->g, (size_t)i, &info);
	if (info.ndim != 2)
		return llm_fail(m->err, -EBADMSG,
				"%s: tensor token_embd.weight has %u dimensions, not 2", m->g->path,
				info.ndim);
	said = info.shape[0];
	ret = get_uint(m, "vocab_size", &said);
	if (!ret && said != info.shape[0])
		ret = llm_fail(m->err, -EBADMSG,
			       "%s: %s.vocab_size is %llu, tensor token_embd.weight has %llu rows",
			       m->g->path, m->arch->name, (unsigned long long)said,
			       (unsigned long long)info.shape[0]);
	if (!ret)
		ret = add_number(m, m->json, "vocab_size", (double)info.shape[0]);
	return ret;
}

static bool has_tensor(const struct map *m, uint64_t layer, const char *name)
{
	char full[KEY_MAX_LEN];

	snprintf(full, sizeof(full), "blk.%llu.%s", (unsigned long long)layer, name);
	return zw_gguf_find(m->g, full) >= 0;
}

/* A layer that predicts one token more stands behind the others, and is counted with them. */
static int map_layers(struct map *m)
{
	uint64_t layers = 0, mtp = 0;
	int ret = get_uint(m, "block_count", &layers);

	if (!ret && !layers)
		ret = missing(m, "block_count");
	if (!ret)
		ret = get_uint(m, "nextn_predict_layers", &mtp);
	if (!ret && mtp && !m->arch->mtp)
		ret = llm_fail(m->err, -EOPNOTSUPP,
			       "%s: %s.nextn_predict_layers is not supported yet", m->g->path,
			       m->arch->name);
	if (!ret && mtp > 1)
		ret = llm_fail(m->err, -EOPNOTSUPP,
			       "%s: %s.nextn_predict_layers %llu is not supported yet", m->g->path,
			       m->arch->name, (unsigned long long)mtp);
	if (!ret && mtp && layers > 1 && has_tensor(m, layers - 1, "nextn.eh_proj.weight"))
		layers--;
	m->num_layers = layers;
	return ret ? ret : add_number(m, m->json, "num_hidden_layers", (double)layers);
}

/* Layers of a model with experts that have a plain feed-forward in their place. */
static int map_dense_layers(struct map *m)
{
	cJSON *list = cJSON_AddArrayToObject(m->json, "mlp_only_layers"), *it;
	uint64_t layers = m->num_layers, experts = 0;
	int ret = list ? get_uint(m, "expert_count", &experts) : -ENOMEM;

	if (layers > LLM_LAYERS_MAX) /* the reader refuses it */
		layers = 0;
	for (uint64_t n = 0; n < layers && experts && !ret; n++) {
		if (!has_tensor(m, n, "ffn_gate.weight") || has_tensor(m, n, "ffn_gate_inp.weight"))
			continue;
		it = cJSON_CreateNumber((double)n);
		if (!it)
			ret = -ENOMEM;
		else
			cJSON_AddItemToArray(list, it);
	}
	return ret == -ENOMEM ? llm_fail(m->err, ret, "out of memory") : ret;
}

/* Files of models with experts may leave the width of a plain feed-forward out: no layer has one. */
static int map_feed_forward(struct map *m)
{
	uint64_t width = 0;
	int ret = get_uint(m, "feed_forward_length", &width);

	if (!ret && !width && m->arch->has_experts)
		ret = get_uint(m, "expert_feed_forward_length", &width);
	if (!ret && !width)
		ret = missing(m, "feed_forward_length");
	return ret ? ret : add_number(m, m->json, "intermediate_size", (double)width);
}

static int map_rope_scaling(struct map *m)
{
	static const struct {
		const char *key, *json;
	} numbers[] = {
		{"rope.scaling.factor", "factor"},
		{"rope.scaling.yarn_beta_fast", "beta_fast"},
		{"rope.scaling.yarn_beta_slow", "beta_slow"},
	};
	struct gguf_str type = {.p = "none", .len = 4};
	uint64_t original = 0;
	char full[KEY_MAX_LEN];
	cJSON *obj;
	int ret;

	arch_key(m, "rope.scaling.type", full);
	ret = gguf_get_str(m->g, full, &type, m->err);
	if (ret || gguf_str_is(type, "none"))
		return ret;
	if (!gguf_str_is(type, "yarn"))
		return llm_fail(m->err, -EOPNOTSUPP, "%s: %s \"%.*s\" is not supported yet",
				m->g->path, full, (int)(type.len < 40 ? type.len : 40), type.p);
	obj = cJSON_AddObjectToObject(m->json, "rope_scaling");
	if (!obj || !cJSON_AddStringToObject(obj, "rope_type", "yarn"))
		return llm_fail(m->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ZW_ARRAY_SIZE(numbers) && !ret; i++) {
		double d = 1e300;

		ret = get_double(m, numbers[i].key, &d);
		if (!ret && d != 1e300)
			ret = add_number(m, obj, numbers[i].json, d);
	}
	if (!ret)
		ret = get_uint(m, "rope.scaling.original_context_length", &original);
	if (!ret && original)
		ret = add_number(m, obj, "original_max_position_embeddings", (double)original);
	return ret;
}

/* ---- tokens that end a text ---- */

static int add_id(struct map *m, cJSON *list, uint64_t id)
{
	const cJSON *it;
	cJSON *item;

	cJSON_ArrayForEach(it, list)
	{
		if (it->valuedouble == (double)id)
			return 0;
	}
	item = cJSON_CreateNumber((double)id);
	if (!item)
		return llm_fail(m->err, -ENOMEM, "out of memory");
	cJSON_AddItemToArray(list, item);
	return 0;
}

/*
 * The file names one; a chat model ends its turn with another than a base model its text, and programs that
 * read such files know both by what they are called.
 */
static int map_eos(struct map *m)
{
	static const char *const keys[] = {"tokenizer.ggml.eos_token_id",
					   "tokenizer.ggml.eot_token_id",
					   "tokenizer.ggml.eom_token_id"};
	cJSON *list = cJSON_AddArrayToObject(m->json, "eos_token_id");
	const struct gguf_value *tokens, *types;
	int ret = 0;

	if (!list)
		return llm_fail(m->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ZW_ARRAY_SIZE(keys) && !ret; i++) {
		uint64_t id = UINT64_MAX;

		/* -1: none, as a u32. */
		ret = gguf_get_uint(m->g, keys[i], 0, UINT32_MAX, &id, m->err);
		if (!ret && id < UINT32_MAX)
			ret = add_id(m, list, id);
	}
	if (!ret)
		ret = gguf_get_array(m->g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, m->err);
	if (!ret)
		ret = gguf_get_array(m->g, "tokenizer.ggml.token_type", GGUF_I32, &types, m->err);
	if (ret || !tokens || !types || tokens->count != types->count)
		return ret; /* what is wrong with them is the tokenizer's to say */
	for (uint64_t i = 0, at = tokens->at, type; i < tokens->count && !ret; i++) {
		struct gguf_str s = gguf_next_str(m->g, &at);

		if (gguf_element_uint(m->g, types, i, &type) && type == GGUF_TOKEN_CONTROL &&
		    (gguf_str_is(s, "<|im_end|>") || gguf_str_is(s, "<|endoftext|>")))
			ret = add_id(m, list, i);
	}
	return ret;
}

/* ---- generation ---- */

static int map_sampling(struct map *m)
{
	static const struct {
		const char *key, *json;
	} numbers[] = {
		{"general.sampling.min_p", "min_p"},
		{"general.sampling.penalty_repeat", "repetition_penalty"},
		{"general.sampling.temp", "temperature"},
		{"general.sampling.top_p", "top_p"},
	};
	uint64_t top_k = UINT64_MAX;
	bool any = false;
	int ret = gguf_get_uint(m->g, "general.sampling.top_k", 0, UINT32_MAX, &top_k, m->err);

	for (size_t i = 0; i < ZW_ARRAY_SIZE(numbers) && !ret; i++) {
		double d = 1e300;

		ret = gguf_get_double(m->g, numbers[i].key, -1e30, 1e30, &d, m->err);
		if (!ret && d != 1e300) {
			any = true;
			ret = add_number(m, m->json, numbers[i].json, d);
		}
	}
	if (!ret && top_k != UINT64_MAX) {
		any = true;
		ret = add_number(m, m->json, "top_k", (double)top_k);
	}
	return ret || !any ? ret : add_bool(m, "do_sample", true);
}

/* ---- public ---- */

static int map_all(struct map *m)
{
	int ret = check_unknown(m);

	if (!cJSON_AddStringToObject(m->json, "model_type", m->arch->model_type))
		return llm_fail(m->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ZW_ARRAY_SIZE(arch_keys) && !ret; i++)
		ret = map_key(m, arch_keys[i].key, arch_keys[i].json, arch_keys[i].kind);
	if (!ret)
		ret = map_layers(m);
	if (!ret)
		ret = map_heads(m);
	if (!ret)
		ret = check_sections(m);
	if (!ret)
		ret = map_vocab(m);
	if (!ret)
		ret = map_feed_forward(m);
	if (!ret)
		ret = map_rope_scaling(m);
	if (!ret && m->arch->hybrid)
		ret = map_value_dim(m);
	if (!ret && m->arch->has_experts) {
		ret = map_dense_layers(m);
		/* Not said in the files: the architecture is so. */
		if (!ret)
			ret = add_bool(m, "norm_topk_prob", true);
	}
	if (!ret)
		ret = add_bool(m, "tie_word_embeddings", zw_gguf_find(m->g, "output.weight") < 0);
	if (!ret && !m->arch->biases_of_qkv && !m->arch->hybrid)
		ret = add_bool(m, "attention_bias", has_tensor(m, 0, "attn_q.bias"));
	if (!ret)
		ret = map_eos(m);
	return ret;
}

static int find_arch(struct map *m)
{
	struct gguf_str name = {0};
	int ret = gguf_get_str(m->g, "general.architecture", &name, m->err);

	if (ret)
		return ret;
	if (!name.p)
		return llm_fail(m->err, -EBADMSG, "%s: general.architecture is missing",
				m->g->path);
	m->arch = gguf_arch_find(name);
	if (!m->arch)
		return llm_fail(m->err, -EOPNOTSUPP,
				"%s: general.architecture \"%.*s\" is not supported yet",
				m->g->path, (int)(name.len < 40 ? name.len : 40), name.p);
	return 0;
}

static int map_file(const struct zw_gguf *g, int (*what)(struct map *m),
		    const struct gguf_arch **arch, cJSON **out, struct zw_error *err)
{
	struct map m = {.g = g, .err = err, .json = cJSON_CreateObject()};
	int ret;

	if (!m.json)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = find_arch(&m);
	if (!ret)
		ret = what(&m);
	if (ret) {
		cJSON_Delete(m.json);
		return ret;
	}
	if (arch)
		*arch = m.arch;
	*out = m.json;
	return 0;
}

int gguf_config_json(const struct zw_gguf *g, const struct gguf_arch **arch, cJSON **out,
		     struct zw_error *err)
{
	return map_file(g, map_all, arch, out, err);
}

static int map_generation(struct map *m)
{
	int ret = map_eos(m);

	return ret ? ret : map_sampling(m);
}

int gguf_generation_json(const struct zw_gguf *g, cJSON **out, struct zw_error *err)
{
	return map_file(g, map_generation, NULL, out, err);
}
