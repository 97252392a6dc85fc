/* SPDX-License-Identifier: MIT */
/* Ctrl-C: the first one ends the work in an orderly way, the second one kills. */
#ifndef ZW_TOOL_INTERRUPT_H
#define ZW_TOOL_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

#define EXIT_INTERRUPTED 130 /* as shells report SIGINT */

/* Set by the first SIGINT. */
extern volatile sig_atomic_t tool_interrupts;

/* Arms the above (again). `restart`: system calls go on. */
void tool_catch_interrupt(bool restart);
/* The same as a callback. */
int tool_interrupted(void);

#endif
