/* SPDX-License-Identifier: MIT */
/*
 * The elementary functions of the device, as specified in Documentation/device/numerics.md: a C
 * library's exp() differs from one version to the next, these do not.
 */
#ifndef ZW_K_MATH_H
#define ZW_K_MATH_H

#include <math.h>

#include "zw_bf16.h"

/*
 * GCC fuses a * b + c by default where the target has FMA; the specification says where a fused
 * operation is meant, and everything else is rounded twice. The build also passes
 * -ffp-contract=off; this guards builds that embed the files with flags of their own.
 */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#if defined(__FAST_MATH__)
#error "the engines must not be compiled with -ffast-math"
#endif

/* exp: range, reduction by ln 2 in two parts, polynomial in r = x - n ln 2 (that of Cephes expf) */
#define ZW_EXP_HI     89.0f
#define ZW_EXP_LO     -104.0f
#define ZW_EXP_LOG2E  0x1.715476p+0f
#define ZW_EXP_MAGIC  0x1.8p+23f
#define ZW_EXP_LN2_HI 0x1.62e430p-1f
#define ZW_EXP_LN2_LO -0x1.05c610p-29f
#define ZW_EXP_C5     1.9875691500e-4f
#define ZW_EXP_C4     1.3981999507e-3f
#define ZW_EXP_C3     8.3334519073e-3f
#define ZW_EXP_C2     4.1665795894e-2f
#define ZW_EXP_C1     1.6666665459e-1f
#define ZW_EXP_C0     5.0000001201e-1f

static inline float zw_expf(float x)
{
	float t, n, r, p;
	uint32_t i, lo, hi;

	x = ZW_EXP_HI < x ? ZW_EXP_HI : x; /* written so that a NaN stays one */
	x = ZW_EXP_LO > x ? ZW_EXP_LO : x;
	t = fmaf(x, ZW_EXP_LOG2E, ZW_EXP_MAGIC); /* low bits: n, rounded to nearest even */
	n = t - ZW_EXP_MAGIC;
	r = fmaf(n, -ZW_EXP_LN2_HI, x);
	r = fmaf(n, -ZW_EXP_LN2_LO, r);
	p = fmaf(ZW_EXP_C5, r, ZW_EXP_C4);
	p = fmaf(p, r, ZW_EXP_C3);
	p = fmaf(p, r, ZW_EXP_C2);
	p = fmaf(p, r, ZW_EXP_C1);
	p = fmaf(p, r, ZW_EXP_C0);
	p = fmaf(p, r * r, r);
	p = p + 1.0f;
	/* Times 2^n in two halves: 2^n itself may overflow, or be subnormal and round p twice. */
	i = zw_f32_bits(t) - zw_f32_bits(ZW_EXP_MAGIC);
	lo = (uint32_t)((int32_t)i >> 1);
	hi = i - lo;
	p = p * zw_f32_from_bits((lo + 127u) << 23);
	return p * zw_f32_from_bits((hi + 127u) << 23);
}

static inline float zw_sigmoidf(float x)
{
	return 1.0f / (1.0f + zw_expf(-x));
}

static inline float zw_siluf(float x)
{
	return x / (1.0f + zw_expf(-x));
}

/* Natural logarithm of a positive number; anything else (0, negative, inf, NaN) as logf(). */
static inline float zw_logf(float x)
{
	uint32_t u;
	int e = 0;
	float f, s, z, w, r, hfsq;

	if (!(x > 0.0f))
		return x == 0.0f ? -INFINITY : zw_f32_from_bits(ZW_F32_NAN);
	if (x == INFINITY)
		return x;
	if (x < 0x1p-126f) {
		x = x * 0x1p+23f;
		e = -23;
	}
	/* x = 2^e * m with m in [sqrt(1/2), sqrt(2)) */
	u = zw_f32_bits(x) - 0x3f3504f3u;
	e += (int32_t)u >> 23;
	f = zw_f32_from_bits((u & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
	/* log(1 + f) by the series of fdlibm's e_logf */
	s = f / (2.0f + f);
	z = s * s;
	w = z * z;
	r = z * fmaf(w, 0x1.23d3dcp-2f, 0x1.555554p-1f) +
	    w * fmaf(w, 0x1.f13c4cp-3f, 0x1.999c26p-2f);
	hfsq = 0.5f * f * f;
	return fmaf((float)e, 0x1.62e3p-1f,
		    f - (hfsq - fmaf(s, hfsq + r, (float)e * 0x1.2fefa2p-17f)));
}

/* log(1 + exp(x)), without losing small exp(x) beside the 1. */
static inline float zw_softplusf(float x)
{
	float e = zw_expf(-fabsf(x)), u = 1.0f + e, l = e;

	if (u != 1.0f)
		l = zw_logf(u) * (e / (u - 1.0f));
	return (x > 0.0f ? x : 0.0f) + l;
}

#endif
