/* SPDX-License-Identifier: MIT */
/* Lines that a person types, with editing and history on a terminal; or the lines of a file. */
#ifndef ZW_RUN_LINE_H
#define ZW_RUN_LINE_H

#include <stddef.h>

struct run_line;

/* NULL: out of memory. */
struct run_line *run_line_open(void);
void run_line_close(struct run_line *l);
/* Whether a person types. */
int run_line_interactive(const struct run_line *l);
/*
 * The next line without its newline, malloc()ed; a backslash at its end joins the next one to it. *line is NULL at the
 * end, or when a signal came. 0, -ENOMEM, or -EFBIG: longer than READ_TEXT_MAX, as what has no newline.
 */
int run_line_read(struct run_line *l, char **line, size_t *len);

#endif
