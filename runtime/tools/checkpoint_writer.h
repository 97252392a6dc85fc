/* SPDX-License-Identifier: MIT */
/*
 * A new folder with safetensors files: tensors are named first, all of them, then written in any order.
 * What is not finished is removed again.
 */
#ifndef ZW_CHECKPOINT_WRITER_H
#define ZW_CHECKPOINT_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include <zhenwu/base.h>

#define WRITER_MAX_DIMS 8

struct checkpoint_writer;

/* Creates the folder, which must not be there yet: -EEXIST. */
int writer_open(const char *dir, struct checkpoint_writer **out, struct zw_error *err);

/* Names a tensor; dtype as safetensors files spell it. Its number, or -errno. */
long writer_add(struct checkpoint_writer *w, const char *name, const char *dtype, uint32_t ndim,
		const uint64_t *dim, uint64_t bytes, struct zw_error *err);
/*
 * After the last one: shares the tensors out to files of at most max_bytes of them (a tensor that is
 * larger has its own) and writes headers: model.safetensors, or several and their index.
 */
int writer_begin(struct checkpoint_writer *w, uint64_t max_bytes, struct zw_error *err);
/* Bytes [off, off + bytes) of a tensor. */
int writer_put(struct checkpoint_writer *w, size_t tensor, uint64_t off, const void *data,
	       uint64_t bytes, struct zw_error *err);
/* Another file of the folder, as it stands in memory or in another one. */
int writer_file(struct checkpoint_writer *w, const char *name, const char *text, size_t len,
		struct zw_error *err);
int writer_copy(struct checkpoint_writer *w, const char *name, const char *from,
		struct zw_error *err);

/* Everything reaches the disk, and stays. */
int writer_finish(struct checkpoint_writer *w, struct zw_error *err);
/* Frees it; without writer_finish() the folder is removed. NULL is allowed. */
void writer_close(struct checkpoint_writer *w);

#endif
