// SPDX-License-Identifier: GPL-2.0-only
/* Control: must not compile. */
#include <drm/drm_drv.h>

int zw_probe(void);
int zw_probe(void)
{
	return zw_this_function_does_not_exist();
}
