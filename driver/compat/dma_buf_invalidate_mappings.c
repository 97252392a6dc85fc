// SPDX-License-Identifier: GPL-2.0-only
/* What was dma_buf_move_notify() and the callback of an importer, .move_notify. */
#include <linux/dma-buf.h>

void zw_probe(struct dma_buf *buf, struct dma_buf_attach_ops *ops);
void zw_probe(struct dma_buf *buf, struct dma_buf_attach_ops *ops)
{
	ops->invalidate_mappings = NULL;
	dma_buf_invalidate_mappings(buf);
}
