/* SPDX-License-Identifier: MIT */
/* zw-run --timing: what a run would take, on a device that computes nothing. */
#ifndef ZW_RUN_TIMING_H
#define ZW_RUN_TIMING_H

#include "run.h"

/* The whole run, statistics included; returns the exit status. */
int run_timing(struct run *r);

#endif
