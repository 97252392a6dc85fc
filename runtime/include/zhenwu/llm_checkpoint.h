/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: the tensors of a Hugging Face directory or a GGUF file. No device is needed.
 * Conventions are those of <zhenwu/llm.h>.
 */
#ifndef ZHENWU_LLM_CHECKPOINT_H
#define ZHENWU_LLM_CHECKPOINT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Element types a safetensors file may hold. Only the first three are loaded today. */
enum zw_safetensors_dtype {
	ZW_SAFETENSORS_BF16 = 1,
	ZW_SAFETENSORS_F16 = 2,
	ZW_SAFETENSORS_F32 = 3,
	ZW_SAFETENSORS_OTHER =
		255, /**< well formed, not supported; its name is in zw_safetensors_info.dtype_name */
};

#define ZW_SAFETENSORS_MAX_DIMS 8

/** One tensor of a checkpoint. The strings belong to the checkpoint. */
struct zw_safetensors_info {
	uint32_t size;  /**< sizeof(struct zw_safetensors_info) */
	uint32_t dtype; /**< enum zw_safetensors_dtype */
	const char *name;
	const char *file;       /**< file name inside the directory */
	const char *dtype_name; /**< as the file spells it, e.g. "BF16" */
	uint32_t ndim;
	uint32_t reserved;
	uint64_t shape[ZW_SAFETENSORS_MAX_DIMS]; /**< row-major, outermost first */
	uint64_t nbytes;                         /**< product of shape times element size */
};

/** A checkpoint: one or more safetensors files. Immutable. */
struct zw_safetensors;

/**
 * Opens DIR/model.safetensors.index.json with the files it names, or else DIR/model.safetensors.
 *
 * Headers are read and checked completely before this returns: header inside the file and at most
 * 100 MB, known dtype, at most 8 dimensions, product of the shape equal to the byte range, ranges
 * that cover the data section exactly (no overlap, no hole, nothing behind the end), no tensor
 * twice (in one file or in two), every tensor where the index says it is, index entries that are
 * plain file names. The files stay open until zw_safetensors_close(); no data is read or mapped
 * (tensors are read with pread(), so that a file which shrinks later is an error and not SIGBUS).
 *
 * Thread safety: reentrant.
 */
ZW_API int zw_safetensors_open(const char *dir, struct zw_safetensors **out, struct zw_error *err);
/** Closes; NULL is allowed. No other call may be running or follow. */
ZW_API void zw_safetensors_close(struct zw_safetensors *st);
/** Number of tensors. Thread safety: immutable. */
ZW_API size_t zw_safetensors_count(const struct zw_safetensors *st);
/** Sum of nbytes over all tensors. Thread safety: immutable. */
ZW_API uint64_t zw_safetensors_bytes(const struct zw_safetensors *st);
/** Describes tensor i (in order of name). -ERANGE past the end. Thread safety: immutable. */
ZW_API int zw_safetensors_get(const struct zw_safetensors *st, size_t i,
			      struct zw_safetensors_info *info);
/** Finds a tensor. Returns its index (>= 0) or -ENOENT. Thread safety: immutable. */
ZW_API long zw_safetensors_find(const struct zw_safetensors *st, const char *name);
/**
 * Reads len bytes of tensor i from byte offset off into dst, which may be device memory mapped into
 * the process. -ERANGE when the range leaves the tensor, -EIO when the file shrank since it was
 * opened. Thread safety: immutable (dst is the caller's).
 */
ZW_API int zw_safetensors_read(const struct zw_safetensors *st, size_t i, uint64_t off, void *dst,
			       uint64_t len, struct zw_error *err);

#define ZW_GGUF_MAX_DIMS 4

/** One tensor of a GGUF file. The strings belong to the file. */
struct zw_gguf_info {
	uint32_t size;    /**< sizeof(struct zw_gguf_info) */
	uint32_t dtype;   /**< enum zw_dtype; ZW_DTYPE_NONE for one that the ABI does not have */
	const char *name; /**< as in the file, e.g. "blk.0.attn_q.weight" */
	const char *dtype_name; /**< as ggml calls it, e.g. "Q4_K" */
	uint32_t ndim;
	uint32_t reserved;
	/** Row-major, outermost first: the reverse of the file's. */
	uint64_t shape[ZW_GGUF_MAX_DIMS];
	uint64_t nbytes;
	const char *file; /**< name of the file it is in, without its folder */
};

/** A GGUF file, or several that are one model. Immutable. */
struct zw_gguf;

/**
 * Opens a little-endian GGUF file of version 2 or 3; of a model in several, NAME-00001-of-00003.gguf and so
 * on, the first one, and with it the others.
 *
 * Everything in front of the data is read and checked before this returns: counts and lengths that fit
 * into the file before memory is taken for them, keys and tensors once each, values of known types (arrays
 * of arrays are refused), shapes of 1 to 4 dimensions whose rows are whole blocks, aligned offsets, tensors
 * inside the file that do not overlap. Bytes between and behind tensors are passed over. The file stays
 * open until zw_gguf_close(); data is read with pread().
 *
 * Thread safety: reentrant.
 */
ZW_API int zw_gguf_open(const char *path, struct zw_gguf **out, struct zw_error *err);
/** Closes; NULL is allowed. No other call may be running or follow. */
ZW_API void zw_gguf_close(struct zw_gguf *gguf);
/** Number of tensors. Thread safety: immutable. */
ZW_API size_t zw_gguf_count(const struct zw_gguf *gguf);
/** Sum of nbytes over all tensors. Thread safety: immutable. */
ZW_API uint64_t zw_gguf_bytes(const struct zw_gguf *gguf);
/** Describes tensor i (in order of name). -ERANGE past the end. Thread safety: immutable. */
ZW_API int zw_gguf_get(const struct zw_gguf *gguf, size_t i, struct zw_gguf_info *info);
/** Finds a tensor. Returns its index (>= 0) or -ENOENT. Thread safety: immutable. */
ZW_API long zw_gguf_find(const struct zw_gguf *gguf, const char *name);
/**
 * Reads len bytes of tensor i from byte offset off into dst, as zw_safetensors_read() does.
 * Thread safety: immutable (dst is the caller's).
 */
ZW_API int zw_gguf_read(const struct zw_gguf *gguf, size_t i, uint64_t off, void *dst, uint64_t len,
			struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_CHECKPOINT_H */
