// SPDX-License-Identifier: MIT
/* The source of the products with AVX-VNNI over AVX2: what the tests run in its place on a CPU without. */
#if defined(__x86_64__)
#include "zw_i8_dpbusd.h"
#include "zw_k_i8.h"

extern const struct zw_i8 zw_i8_vnni_single;

#define I8_NAME            zw_i8_vnni_single
#define I8_TEXT            "avxvnni source over avx2"
#define I8_FN              __attribute__((target("avx2")))
#define I8_DPBUSD(s, a, w) dpbusd(s, a, w)
#include "zw_i8_vec_256.h"

#include "zw_i8_vec.h"
#endif
