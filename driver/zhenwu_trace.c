// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints of zhenwu_trace.h.
 */

/* sparse does not get on with what the header expands to. */
#ifndef __CHECKER__
#define CREATE_TRACE_POINTS
#include "zhenwu_trace.h"
#endif
