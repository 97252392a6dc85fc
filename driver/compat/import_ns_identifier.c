// SPDX-License-Identifier: GPL-2.0-only
/* MODULE_IMPORT_NS() takes the name; a string would compile, too, and import a name in quotes. */
#include <linux/module.h>

MODULE_IMPORT_NS(DMA_BUF);
