/* SPDX-License-Identifier: MIT */
/* The end of a tool whose result is its standard output. */
#ifndef ZW_TOOL_OUTPUT_H
#define ZW_TOOL_OUTPUT_H

#include <stdio.h>
#include <stdlib.h>

/* The exit status: `status`, or failure, told in one line, when the output could not be written. */
static inline int tool_finish(const char *tool, int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "%s: writing to standard output failed\n", tool);
	return EXIT_FAILURE;
}

#endif
