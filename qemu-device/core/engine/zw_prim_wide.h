/* SPDX-License-Identifier: MIT */
/* Shapes of the sixteen-lane primitives: thirty-two registers, of which 24 hold sums. */
#ifndef ZW_PRIM_WIDE_H
#define ZW_PRIM_WIDE_H

#define PRIM_BLOCK_K 1024
#define TILE_UNITS   6
#define DIRECT_ROWS  16
#define DIRECT_TABLE(X)                                                                            \
	X(2, 8)                                                                                    \
	X(3, 8)                                                                                    \
	X(4, 8)                                                                                    \
	X(5, 6)                                                                                    \
	X(6, 6)                                                                                    \
	X(7, 6)                                                                                    \
	X(8, 6)                                                                                    \
	X(9, 4)                                                                                    \
	X(10, 4)                                                                                   \
	X(11, 4)                                                                                   \
	X(12, 4)                                                                                   \
	X(13, 3)                                                                                   \
	X(14, 3)                                                                                   \
	X(15, 3)                                                                                   \
	X(16, 3)
#define WEIGH_ROWS    4
#define WEIGH_VECS(r) ((r) == 1 ? 8 : 4)

#endif
