/* SPDX-License-Identifier: MIT */
/* Inside of the checkpoint: files, their tensors, the steps of opening them. */
#ifndef ZW_LLM_SAFETENSORS_H
#define ZW_LLM_SAFETENSORS_H

#include <zhenwu/llm_checkpoint.h>

#include "util.h"

/* cJSON numbers are doubles: integers above 2^53 are not exact. No real file comes close. */
#define ST_OFFSET_MAX (1ull << 53)

struct st_dtype {
	const char *name;
	uint8_t bits;
	uint8_t id;
};

struct st_tensor {
	char *name;
	uint64_t begin, end; /* in the data section */
	uint64_t shape[ZW_SAFETENSORS_MAX_DIMS];
	uint32_t ndim;
	uint32_t shard;
	const struct st_dtype *dtype;
};

struct st_shard {
	char *name; /* inside the directory */
	char *path;
	uint64_t size;
	uint64_t data; /* file offset of the data section */
	int fd;
};

struct zw_safetensors {
	struct st_shard *shards;
	struct st_tensor *tensors; /* sorted by name after open */
	size_t num_shards, num_tensors, cap_tensors;
	uint64_t bytes;
};

/* Opens and checks the file of st->shards[shard] and appends its tensors. */
int st_open_shard(struct zw_safetensors *st, uint32_t shard, const char *dir, struct zw_error *err);

/* Collects the distinct file names of the index, in order of name. */
int st_list_shards(struct zw_safetensors *st, const char *path, const cJSON *map,
		   struct zw_error *err);
/* Every tensor must be where the index says it is, and every one must be in the index. */
int st_check_index(const struct zw_safetensors *st, const char *path, const cJSON *map,
		   struct zw_error *err);

/* Puts the tensors in order of name, for zw_safetensors_find(); -EBADMSG when one is there twice. */
int st_sort(struct zw_safetensors *st, struct zw_error *err);

/*
 * Files saved from a bare decoder name its tensors without the prefix that the class with a head has.
 * When no tensor begins with `prefix`, all but those of the head get it.
 */
int st_add_prefix(struct zw_safetensors *st, const char *prefix, struct zw_error *err);

#endif
