/* SPDX-License-Identifier: MIT */
/* Running a program with a text as its input, a limit of time, and a limit to what is kept of its output. */
#ifndef ZW_RUN_EXEC_H
#define ZW_RUN_EXEC_H

#include <stdbool.h>
#include <stddef.h>

struct run_output {
	char *out, *err; /* malloc()ed, NUL behind them */
	size_t out_len, err_len;
	bool out_cut, timed_out, interrupted;
	int status; /* as waitpid() gives it; only when neither of the above */
};

/*
 * Runs argv[0], a path, in a process group of its own, which is killed when the time is over (seconds > 0) or
 * when *stop becomes non-zero. Output beyond max bytes (of standard error: 4096) is read and dropped.
 * 0 or -errno, when it could not be started. Free with run_output_free().
 */
int run_exec(char *const argv[], const char *input, size_t len, double seconds, size_t max,
	     const volatile int *stop, struct run_output *o);
void run_output_free(struct run_output *o);

#endif
