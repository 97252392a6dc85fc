/* SPDX-License-Identifier: MIT */
/*
 * Where a model comes from: metadata and tensors by name, whatever the files are. One file per kind
 * (source_hf.c: a Hugging Face directory; source_gguf.c: a GGUF file) fills in a struct llm_source_ops.
 *
 * Names to find a tensor by are those of Hugging Face's checkpoints, which the tables of the families
 * have; names in error lines are those of the files.
 */
#ifndef LLM_SOURCE_H
#define LLM_SOURCE_H

#include "config.h"

#define LLM_SOURCE_MAX_DIMS 8

/* One tensor of a source; the strings belong to it. */
struct llm_source_tensor {
	const char *name;       /* as the file spells it */
	const char *file;       /* for error lines */
	const char *dtype_name; /* as the file spells it */
	uint32_t dtype;         /* enum zw_dtype, or ZW_DTYPE_NONE for one the ABI does not have */
	uint32_t ndim;
	uint64_t dim[LLM_SOURCE_MAX_DIMS]; /* row-major, outermost first */
	uint64_t bytes;
	float added; /* to the values that the name stands for, in the file already */
};

struct llm_source;

/* Where bytes of a tensor are. */
struct llm_source_file {
	int fd;           /* of the source, open as long as that is */
	const char *path; /* for error lines */
	uint64_t off;
};

struct llm_source_ops {
	/* The model's configuration from the source's metadata. */
	int (*config)(struct llm_source *s, struct llm_model_config *cfg, struct zw_error *err);
	/* Opens and checks the tensors. Called once, after config(), before the calls below. */
	int (*open)(struct llm_source *s, struct zw_error *err);
	size_t (*count)(const struct llm_source *s);
	void (*get)(const struct llm_source *s, size_t i, struct llm_source_tensor *t);
	/* Index of a tensor or -ENOENT. */
	long (*find)(const struct llm_source *s, const char *name);
	/* Bytes [off, off + len) of a tensor; dst may be device memory mapped into the process. */
	int (*read)(const struct llm_source *s, size_t i, uint64_t off, void *dst, uint64_t len,
		    struct zw_error *err);
	/*
	 * Where [off, off + len) of a tensor is in a file, as read() would give it; false when it is
	 * not there as it is. NULL: never.
	 */
	bool (*file)(const struct llm_source *s, size_t i, uint64_t off, uint64_t len,
		     struct llm_source_file *file);
	/* How the files spell a tensor's name, for error lines; NULL: as it is. */
	void (*spell)(const struct llm_source *s, const char *name, char *out, size_t size);
	void (*close)(struct llm_source *s);
};

struct llm_source {
	const struct llm_source_ops *ops;
	char *path; /* what the user named, for error lines */
};

/*
 * The source that `path` is: a GGUF file when it is a file, else a Hugging Face directory. Nothing is
 * read yet. Released by llm_source_close().
 */
int llm_source_new(const char *path, struct llm_source **out, struct zw_error *err);
int llm_source_new_hf(const char *path, struct llm_source **out, struct zw_error *err);
int llm_source_new_gguf(const char *path, struct llm_source **out, struct zw_error *err);
/* Calls note() with a line for what loading a GGUF file will do that its reader may not expect. */
int llm_source_gguf_notes(const char *path, void (*note)(void *opaque, const char *line),
			  void *opaque, struct zw_error *err);
void llm_source_close(struct llm_source *s);

/* 1 when two tensors of equal type and shape hold the same bytes, 0 when not, or -errno. */
int llm_source_equal(const struct llm_source *s, size_t a, size_t b, struct zw_error *err);

#endif
