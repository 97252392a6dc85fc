/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: everything.
 *
 * Device, address space, buffer, queue, fence, command buffer, copier, counters, traces; in the order in which a
 * program meets them. See Documentation/runtime.md for a guide with a complete program and
 * zhenwu(7) for the environment.
 */
#ifndef ZHENWU_ZHENWU_H
#define ZHENWU_ZHENWU_H

#include "base.h"
#include "device.h"
#include "bo.h"
#include "vm.h"
#include "fence.h"
#include "queue.h"
#include "cmd.h"
#include "copier.h"
#include "perf.h"
#include "trace.h"

#endif /* ZHENWU_ZHENWU_H */
