// SPDX-License-Identifier: MIT
/*
 * Which keys of config.json and generation_config.json are known: read here, or without effect on
 * what is computed. Others are told of: a typing error looks like this, and so does something new.
 */
#include <zhenwu/llm.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_value.h"
#include "source.h"

static const char *const config_keys[] = {
	/* read */
	"architectures",
	"attention_bias",
	"attn_output_gate",
	"decoder_sparse_step",
	"dual_chunk_attention_config",
	"eos_token_id",
	"full_attention_interval",
	"head_dim",
	"hidden_act",
	"hidden_size",
	"intermediate_size",
	"layer_types",
	"linear_conv_kernel_dim",
	"linear_key_head_dim",
	"linear_num_key_heads",
	"linear_num_value_heads",
	"linear_value_head_dim",
	"mamba_ssm_dtype",
	"max_position_embeddings",
	"mlp_only_layers",
	"model_type",
	"moe_intermediate_size",
	"mtp_num_hidden_layers",
	"mtp_use_dedicated_embeddings",
	"norm_topk_prob",
	"num_attention_heads",
	"num_experts",
	"num_experts_per_tok",
	"num_hidden_layers",
	"num_key_value_heads",
	"num_local_experts",
	"num_nextn_predict_layers",
	"partial_rotary_factor",
	"quantization_config",
	"rms_norm_eps",
	"rope_parameters",
	"rope_scaling",
	"rope_theta",
	"shared_expert_intermediate_size",
	"text_config",
	"tie_word_embeddings",
	"use_mrope",
	"use_sliding_window",
	"vocab_size",
	/* refused unless without effect */
	"add_cross_attention",
	"audio_config",
	"compression_config",
	"is_encoder_decoder",
	"pruned_heads",
	"tie_encoder_decoder",
	"vision_config",
	/* of towers that are not used */
	"image_token_id",
	"video_token_id",
	"vision_end_token_id",
	"vision_start_token_id",
	/* of windows that are off */
	"max_window_layers",
	"sliding_window",
	/* training, other tasks, how and where transformers runs */
	"_attn_implementation",
	"_commit_hash",
	"_name_or_path",
	"attention_dropout",
	"attn_implementation",
	"auto_map",
	"bos_token_id",
	"chunk_size_feed_forward",
	"classifier_dropout",
	"cross_attention_hidden_size",
	"decoder_start_token_id",
	"dtype",
	"finetuning_task",
	"gradient_checkpointing",
	"hidden_dropout",
	"id2label",
	"initializer_range",
	"is_decoder",
	"label2id",
	"output_attentions",
	"output_hidden_states",
	"output_router_logits",
	"pad_token_id",
	"prefix",
	"pretraining_tp",
	"problem_type",
	"return_dict",
	"router_aux_loss_coef",
	"sep_token_id",
	"task_specific_params",
	"tokenizer_class",
	"torch_dtype",
	"torchscript",
	"transformers_version",
	"use_bfloat16",
	"use_cache",
	/* tools that leave a mark */
	"unsloth_fixed",
	"unsloth_version",
};

static const char *const generation_keys[] = {
	/* read */
	"bad_words_ids",
	"begin_suppress_tokens",
	"do_sample",
	"eos_token_id",
	"max_length",
	"max_new_tokens",
	"min_length",
	"min_new_tokens",
	"min_p",
	"no_repeat_ngram_size",
	"repetition_penalty",
	"sequence_bias",
	"stop_strings",
	"suppress_tokens",
	"temperature",
	"top_k",
	"top_p",
	/* refused unless without effect */
	"constraints",
	"custom_generate",
	"diversity_penalty",
	"dola_layers",
	"encoder_no_repeat_ngram_size",
	"encoder_repetition_penalty",
	"epsilon_cutoff",
	"eta_cutoff",
	"exponential_decay_length_penalty",
	"force_words_ids",
	"forced_bos_token_id",
	"forced_decoder_ids",
	"forced_eos_token_id",
	"generation_kwargs",
	"guidance_scale",
	"max_time",
	"num_beam_groups",
	"num_beams",
	"num_return_sequences",
	"penalty_alpha",
	"remove_invalid_values",
	"token_healing",
	"top_h",
	"typical_p",
	"watermarking_config",
	/* how transformers computes it, what it returns, beams that there are none of */
	"_from_model_config",
	"assistant_confidence_threshold",
	"assistant_early_exit",
	"assistant_lookbehind",
	"bos_token_id",
	"cache_config",
	"cache_implementation",
	"compile_config",
	"decoder_start_token_id",
	"disable_compile",
	"early_stopping",
	"is_assistant",
	"length_penalty",
	"low_memory",
	"max_matching_ngram_size",
	"num_assistant_tokens",
	"num_assistant_tokens_schedule",
	"output_attentions",
	"output_hidden_states",
	"output_logits",
	"output_scores",
	"pad_token_id",
	"prefill_chunk_size",
	"prompt_lookup_num_tokens",
	"renormalize_logits",
	"return_dict_in_generate",
	"return_legacy_cache",
	"target_lookbehind",
	"transformers_version",
	"trust_remote_code",
	"use_cache",
};

static bool is_in(const char *key, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(list[i], key))
			return true;
	}
	return false;
}

/* A null says nothing, whatever the key. */
static bool is_known(const cJSON *it, bool generation)
{
	return cJSON_IsNull(it) ||
	       is_in(it->string, generation_keys, ZW_ARRAY_SIZE(generation_keys)) ||
	       (!generation && is_in(it->string, config_keys, ZW_ARRAY_SIZE(config_keys)));
}

/* Each key of an object that nobody knows; in text_config, too. */
static void note_object(const char *path, const cJSON *obj, bool generation,
			void (*note)(void *opaque, const char *line), void *opaque)
{
	const cJSON *it;

	for (it = cJSON_IsObject(obj) ? obj->child : NULL; it; it = it->next) {
		struct zw_error line;

		if (!generation && !strcmp(it->string, "text_config"))
			note_object(path, it, generation, note, opaque);
		if (is_known(it, generation))
			continue;
		llm_fail(&line, 0, "%s: key \"%s\" is not known and has no effect", path,
			 it->string);
		note(opaque, line.msg);
	}
}

static int note_file(const char *dir, const char *name, bool generation,
		     void (*note)(void *opaque, const char *line), void *opaque,
		     struct zw_error *err)
{
	char *path = llm_path_join(dir, name);
	cJSON *json = NULL;
	int ret = 0;

	if (!path)
		return llm_fail(err, -ENOMEM, "%s: out of memory", dir);
	if (!access(path, F_OK))
		ret = llm_json_load(path, CONFIG_MAX, &json, err);
	note_object(path, json, generation, note, opaque);
	cJSON_Delete(json);
	free(path);
	return ret;
}

int zw_model_config_notes(const char *dir, void (*note)(void *opaque, const char *line),
			  void *opaque, struct zw_error *err)
{
	int ret;

	if (!dir || !note)
		return llm_fail(err, -EINVAL, "zw_model_config_notes: NULL argument");
	if (llm_is_file(dir))
		return llm_source_gguf_notes(dir, note, opaque, err);
	ret = note_file(dir, "config.json", false, note, opaque, err);
	if (!ret)
		ret = note_file(dir, "generation_config.json", true, note, opaque, err);
	return ret;
}
