// SPDX-License-Identifier: GPL-2.0-only
/* MODULE_IMPORT_NS() takes the name, not a string; given a string, it would import a name with quotes in it. */
#include <linux/module.h>

MODULE_IMPORT_NS(DMA_BUF);
