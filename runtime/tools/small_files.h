/* SPDX-License-Identifier: MIT */
/*
 * The two small file formats around the tools and the tests: numpy arrays of float32 and JSON lists
 * of token ids. All return 0 or -errno and then fill in *err with a line that names the file.
 */
#ifndef ZW_SMALL_FILES_H
#define ZW_SMALL_FILES_H

#include <zhenwu/base.h>

/* Writes a C-contiguous float32 [rows, cols] array as .npy, format 1.0, to a new or truncated file. */
int npy_write_f32(const char *path, const float *data, uint64_t rows, uint64_t cols,
		  struct zw_error *err);
/* Reads a two-dimensional little-endian float32 C-order .npy (1.0 or 2.0) into malloc()ed memory. */
int npy_read_f32(const char *path, float **data, uint64_t *rows, uint64_t *cols,
		 struct zw_error *err);
/* Reads a list of ids into malloc()ed memory (NULL when the list is empty). */
int ids_read_json(const char *path, uint32_t **ids, size_t *n, struct zw_error *err);
int ids_write_json(const char *path, const uint32_t *ids, size_t n, struct zw_error *err);

#endif
