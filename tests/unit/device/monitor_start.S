/* SPDX-License-Identifier: MIT */
	.section .text.start, "ax"
	.globl _start
_start:
	la	sp, stack_top
	la	t0, handler
	csrw	mtvec, t0
	call	monitor_main

	/* A faulting access: note the cause, go on behind it. The accesses of the monitor are loads and stores the
	 * compiler may have compressed: the two low bits of an instruction tell its length. */
	.balign	4
handler:
	addi	sp, sp, -32
	sd	t0, 0(sp)
	sd	t1, 8(sp)
	csrr	t0, mcause
	addi	t0, t0, 1
	la	t1, trap_cause
	sd	t0, 0(t1)
	csrr	t0, mepc
	lhu	t1, 0(t0)
	andi	t1, t1, 3
	addi	t1, t1, -3
	addi	t0, t0, 2
	bnez	t1, 1f
	addi	t0, t0, 2
1:	csrw	mepc, t0
	ld	t0, 0(sp)
	ld	t1, 8(sp)
	addi	sp, sp, 32
	mret

	.balign	4
	.globl	double_handler
double_handler:
	ebreak

	.bss
	.balign	16
	.globl	trap_cause
trap_cause:
	.dword	0
	.balign	16
	.space	4096
stack_top:
