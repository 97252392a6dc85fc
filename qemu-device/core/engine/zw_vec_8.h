/* SPDX-License-Identifier: MIT */
/* The level's vector is one eight-lane register. */
#ifndef ZW_VEC_8_H
#define ZW_VEC_8_H

#include "zw_vec_avx2.h"

#define VEC_LANES 8

typedef v8 vec;

#define vec_zero()                _mm256_setzero_ps()
#define vec_set1(x)               _mm256_set1_ps(x)
#define vec_load(p)               v8_load(p)
#define vec_load_n(p, n)          v8_load_n(p, n)
#define vec_load_bf16(p)          v8_load_bf16(p)
#define vec_load_bf16_tight(p)    v8_load_bf16_tight(p)
#define vec_load_bf16_n(p, n)     v8_load_bf16_n(p, n)
#define vec_load_f16(p)           v8_load_f16(p)
#define vec_load_f16_n(p, n)      v8_load_f16_n(p, n)
#define vec_store(p, v)           v8_store(p, v)
#define vec_store_n(p, v, n)      v8_store_n(p, v, n)
#define vec_store_bf16(p, v)      v8_store_bf16(p, v)
#define vec_store_bf16_n(p, v, n) v8_store_bf16_n(p, v, n)
#define vec_store_f16(p, v)       v8_store_f16(p, v)
#define vec_store_f16_n(p, v, n)  v8_store_f16_n(p, v, n)
#define vec_add(a, b)             _mm256_add_ps(a, b)
#define vec_sub(a, b)             _mm256_sub_ps(a, b)
#define vec_mul(a, b)             _mm256_mul_ps(a, b)
#define vec_div(a, b)             _mm256_div_ps(a, b)
#define vec_fma(a, b, c)          _mm256_fmadd_ps(a, b, c)
#define vec_fms(a, b, c)          _mm256_fmsub_ps(a, b, c)
/* Of a NaN and a number, the second operand. */
#define vec_min(a, b)             _mm256_min_ps(a, b)
#define vec_max(a, b)             _mm256_max_ps(a, b)
#define vec_neg(a)                _mm256_xor_ps(a, _mm256_set1_ps(-0.0f))
#define vec_canon(a)              v8_canon(a)
#define vec_first_n(v, fill, n)   v8_first_n(v, fill, n)
#define vec_times_exp2(p, t, m)   v8_times_exp2(p, t, m)
/* Eight elements, in every group of eight lanes; eight elements from each of the pointers. */
#define vec_repeat(p)             v8_load(p)
#define vec_repeat_bf16(p)        v8_load_bf16(p)
#define vec_repeat_bf16_tight(p)  v8_load_bf16_tight(p)
#define vec_repeat_f16(p)         v8_load_f16(p)
#define vec_repeat_v8(v)          (v)
#define vec_join(p, i)            v8_load((const float *)(p)[0] + (i))
#define vec_join_bf16(p, i)       v8_load_bf16((const uint16_t *)(p)[0] + (i))
#define vec_join_f16(p, i)        v8_load_f16((const uint16_t *)(p)[0] + (i))
#define vec_join_v8(v)            ((v)[0])
/* The group-th eight lanes. */
#define vec_group(v, group)       (v)
/*
 * Makes the compiler hold it in a register: it would rather load it again for each of its uses, of
 * which the processor can do only so many.
 */
#define vec_keep(v)               __asm__("" : "+x"(v))
/* c += a * b where all registers are taken: c stays where it is, or the compiler runs out of them. */
#define vec_fma_tight(a, b, c)    __asm__("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b))

#endif
