// SPDX-License-Identifier: MIT
#include "tool_interrupt.h"

#include <stddef.h>

volatile sig_atomic_t tool_interrupts;

static void on_interrupt(int sig)
{
	(void)sig;
	tool_interrupts = 1;
}

void tool_catch_interrupt(bool restart)
{
	struct sigaction on_int = {.sa_handler = on_interrupt,
				   .sa_flags = SA_RESETHAND | (restart ? SA_RESTART : 0)};

	sigaction(SIGINT, &on_int, NULL);
}

int tool_interrupted(void)
{
	return tool_interrupts;
}
