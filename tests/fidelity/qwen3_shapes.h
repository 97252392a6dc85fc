/* SPDX-License-Identifier: MIT */
/* Sizes of the dense Qwen3, from the configurations of the published models. */
#ifndef QWEN3_SHAPES_H
#define QWEN3_SHAPES_H

/* X(name, layers, hidden, heads, KV heads, head's size, inner size, vocabulary) of each. */
#define QWEN3_SHAPES(X)                                                                            \
	X("0.6b", 28, 1024, 16, 8, 128, 3072, 151936)                                              \
	X("1.7b", 28, 2048, 16, 8, 128, 6144, 151936)                                              \
	X("4b", 36, 2560, 32, 8, 128, 9728, 151936)                                                \
	X("8b", 36, 4096, 32, 8, 128, 12288, 151936)                                               \
	X("14b", 40, 5120, 40, 8, 128, 17408, 151936)                                              \
	X("32b", 64, 5120, 64, 8, 128, 25600, 151936)

#endif
