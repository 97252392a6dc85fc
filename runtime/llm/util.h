/* SPDX-License-Identifier: MIT */
/* Shared by the files of libzhenwu-llm: error line, whole-file reads, JSON with clear errors. */
#ifndef ZW_LLM_UTIL_H
#define ZW_LLM_UTIL_H

#include <zhenwu/llm.h>
#include <cjson/cJSON.h>

#include "../common/sized.h"

#define ZW_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Writes the error line and returns code, so that `return llm_fail(err, -EINVAL, ...)` reads well.
 */
int llm_fail(struct zw_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t llm_now_ns(void);

/* Makes room for `need` elements of `elem` bytes at *p, doubling *cap. 0 or -ENOMEM. */
int llm_grow(void *p, size_t *cap, size_t need, size_t elem);

/* "DIR/name" in a malloc()ed string, or NULL. */
char *llm_path_join(const char *dir, const char *name);

/* Whether there is something at path that is no directory. */
bool llm_is_file(const char *path);

/*
 * Opens a regular file for reading. Anything else (FIFO, device, directory) is refused, because a
 * read from it may hang or never end; symbolic links are followed (Hugging Face's cache is made of
 * them). Returns the descriptor or -errno.
 */
int llm_file_open(const char *path, uint64_t *size, struct zw_error *err);

/* Reads exactly len bytes at off; -EIO when the file ends early. */
int llm_file_pread(int fd, const char *path, void *dst, uint64_t len, uint64_t off,
		   struct zw_error *err);

/* Reads a whole regular file of at most max bytes, NUL-terminated; *data is free()d by the caller.
 */
int llm_file_read(const char *path, uint64_t max, char **data, size_t *len, struct zw_error *err);

/* Creates or truncates path and writes data; removes nothing on failure but reports it. */
int llm_file_write(const char *path, const void *head, size_t head_len, const void *data,
		   size_t len, struct zw_error *err);

/* Parses text (len bytes followed by a NUL); `what` names it in errors. */
int llm_json_parse(const char *what, const char *text, size_t len, cJSON **out,
		   struct zw_error *err);
/* Reads and parses a file. */
int llm_json_load(const char *path, uint64_t max, cJSON **out, struct zw_error *err);

/* True when item is a number without fraction in [min, max] (max <= 2^53); *v receives it. */
bool llm_json_uint(const cJSON *item, uint64_t min, uint64_t max, uint64_t *v);

/* The member `key`, or NULL when absent, null, or obj is not an object. -EBADMSG when the object
 * has it twice. */
int llm_json_member(const char *what, const cJSON *obj, const char *key, const cJSON **out,
		    struct zw_error *err);

#endif
