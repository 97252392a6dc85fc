/* SPDX-License-Identifier: MIT */
/* Entry of the test program: no trap handler, so that anything unexpected halts the hart. */
#include "prog.h"

	.section .text.start, "ax"
	.globl _start
_start:
	la	sp, __stack_top
	la	t0, __bss_start
	la	t1, __bss_end
1:	bgeu	t0, t1, 2f
	sd	zero, 0(t0)
	addi	t0, t0, 8
	j	1b
2:	li	a0, RV_PROG_RESULT
	call	rv_prog
	li	a0, RV_PROG_DONE
	ebreak

/* What the compiler expects of a libc; plain loops, more code for the interpreter to get right. */
	.text
	.globl memcpy
memcpy:
	mv	t0, a0
1:	beqz	a2, 2f
	lbu	t1, 0(a1)
	sb	t1, 0(t0)
	addi	a1, a1, 1
	addi	t0, t0, 1
	addi	a2, a2, -1
	j	1b
2:	ret

	.globl memset
memset:
	mv	t0, a0
1:	beqz	a2, 2f
	sb	a1, 0(t0)
	addi	t0, t0, 1
	addi	a2, a2, -1
	j	1b
2:	ret

	.globl memmove
memmove:
	bltu	a0, a1, memcpy
	add	t0, a0, a2
	add	a1, a1, a2
1:	beqz	a2, 2f
	addi	a1, a1, -1
	addi	t0, t0, -1
	lbu	t1, 0(a1)
	sb	t1, 0(t0)
	addi	a2, a2, -1
	j	1b
2:	ret
